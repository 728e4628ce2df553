"""Names and metadata of v3 objects (spec/resources.md 0.3).

For admission. In: the plural of a resource and an object's metadata as JSON. Out: problems with it.
"""

import re
from typing import Any

from tortie.model import formats
from tortie.model.admission.problems import Problems
from tortie.model.facts import FACTS, NO_FACTS
from tortie.model.serving import ServingMode

_NAMESPACED_POLICIES = frozenset({"networkpolicies", "stagednetworkpolicies"})
_GLOBAL_POLICIES = frozenset({"globalnetworkpolicies", "stagedglobalnetworkpolicies"})
_CONVERTED = re.compile(r"(knp|ossg)\.default\..+")
TIER_LABEL = "projectcalico.org/tier"
NAMESPACE_LABEL = "projectcalico.org/namespace"


def check_metadata(plural: str, metadata: Any, problems: Problems) -> None:
    if not isinstance(metadata, dict):
        problems.add("metadata", metadata, "must be an object", "TypeInvalid")
        return
    name = metadata.get("name")
    if name:
        if not isinstance(name, str):
            problems.add("metadata.name", name, "must be a string", "TypeInvalid")
        elif message := name_problem(plural, name, problems.mode):
            problems.add("metadata.name", name, message)
    elif not metadata.get("generateName"):
        problems.required("metadata.name", "name or generateName is required")
    labels = metadata.get("labels") or {}
    if not isinstance(labels, dict):
        problems.add("metadata.labels", labels, "must be an object", "TypeInvalid")
    else:
        problems.labels("metadata.labels", labels)
        if plural in ("networksets", "globalnetworksets") and NAMESPACE_LABEL in labels:
            problems.add("metadata.labels", NAMESPACE_LABEL, "this label is set by the system and cannot be given")
    annotations = metadata.get("annotations") or {}
    if not isinstance(annotations, dict):
        problems.add("metadata.annotations", annotations, "must be an object", "TypeInvalid")
    else:
        problems.annotations("metadata.annotations", annotations)


def name_problem(plural: str, name: str, mode: ServingMode) -> str:
    """What is wrong with the name of a new object of this resource. Only the aggregated server knows that names of
    policies have parts."""
    if message := formats.name_problem(name):
        return message
    singleton = FACTS.get(plural, NO_FACTS).singleton
    if singleton and name != singleton:
        return f"the only object of this kind must be named {singleton}"
    if plural == "managedclusters" and name == "cluster":
        return "the name cluster is reserved for this cluster itself"
    if plural == "tiers":
        return formats.dns_label_problem(name)
    if mode is ServingMode.NATIVE:
        return ""
    if plural in _NAMESPACED_POLICIES and not _CONVERTED.fullmatch(name):
        return _policy_name_problem(name)
    if plural in _GLOBAL_POLICIES:
        return _policy_name_problem(name)
    return ""


def _policy_name_problem(name: str) -> str:
    """One DNS label, or two with a dot between them."""
    labels = name.split(".")
    if len(labels) > 2 or any(formats.dns_label_problem(label) for label in labels):
        return (
            "must be a name of lower case letters, digits and '-' that begins and ends with a letter or digit,"
            " optionally after a tier's name and a dot, such as allow-dns or security.allow-dns"
        )
    return ""
