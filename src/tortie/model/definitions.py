"""Calico's kinds as CustomResourceDefinitions: served natively, or storage of an aggregated API server.

For `tortie crds`, deploy/crds, the aggregated API server and tests. In: a resource of the catalogue with its facts, its
schema and its rules. Out: a new plain object of apiextensions.k8s.io/v1, which no caller shares.
"""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from tortie.model.catalog import CALICO, CALICO_GROUP
from tortie.model.facts import AGE, STORAGE_FIELDS
from tortie.model.packing import STORAGE_GROUP, storage_resource
from tortie.model.resource import Resource
from tortie.model.schema import openapi_schema
from tortie.model.validations import Limit, rules

Object = dict[str, Any]

GROUPS: tuple[str, ...] = (CALICO_GROUP, STORAGE_GROUP, *sorted({r.group for r in CALICO} - {CALICO_GROUP}))
"""Groups that have definitions, the native one first."""


def definition(resource: Resource[Any], *, group: str = CALICO_GROUP) -> Object:
    """The CustomResourceDefinition of a resource of `CALICO`.

    group: projectcalico.org, or crd.projectcalico.org for where an aggregated API server stores its objects. Kinds of
    Calico's other groups are stored as they are and have one definition in both. Raises ValueError for what has none.
    """
    if resource not in CALICO:
        raise ValueError(f"{resource.kind} of {resource.api_version} has no CustomResourceDefinition: it is not stored")
    if group not in (CALICO_GROUP, STORAGE_GROUP, resource.group):
        raise ValueError(f"group {group!r}: must be {CALICO_GROUP} or {STORAGE_GROUP}")
    stored = group == STORAGE_GROUP and resource.group == CALICO_GROUP
    served = storage_resource(resource) if stored else resource.untyped()
    names: Object = {
        "kind": served.kind,
        "listKind": f"{served.kind}List",
        "plural": served.plural,
        "singular": served.singular or served.kind.lower(),
    }
    if served.short_names:
        names["shortNames"] = list(served.short_names)
    if served.categories:
        names["categories"] = list(served.categories)
    version: Object = {"name": served.version, "served": True, "storage": True}
    if served.facts.selectable:
        version["selectableFields"] = [{"jsonPath": f".{field}"} for field in served.facts.selectable]
    version["additionalPrinterColumns"] = [column.as_definition() for column in served.facts.columns or (AGE,)]
    if served.facts.status:
        version["subresources"] = {"status": {}}
    version["schema"] = {"openAPIV3Schema": _schema(resource, stored=stored)}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{served.plural}.{served.group}"},
        "spec": {
            "group": served.group,
            "names": names,
            "scope": "Namespaced" if served.namespaced else "Cluster",
            "versions": [version],
        },
    }


def definitions(group: str) -> Iterator[Object]:
    """Every CustomResourceDefinition of one of `GROUPS`."""
    for resource in CALICO:
        if resource.group == (CALICO_GROUP if group == STORAGE_GROUP else group):
            yield definition(resource, group=group)


def _schema(resource: Resource[Any], *, stored: bool) -> Object:
    schema = deepcopy(openapi_schema(resource))
    # The API server knows what metadata is, and refuses descriptions of it.
    metadata: Object = {"type": "object"}
    schema["properties"]["metadata"] = metadata
    if stored:
        for path, field in STORAGE_FIELDS.get(resource.plural, {}).items():
            place = _place(schema, path)
            place.clear()
            place.update(deepcopy(dict(field)))
    for path, checks in rules(resource, stored=stored).items():
        place = _place(schema, path)
        for check in checks:
            if isinstance(check, Limit):
                place.update(deepcopy(dict(check.keywords)))
            else:
                place.setdefault("x-kubernetes-validations", []).append(check.as_validation())
                if check.field == ".metadata.name":
                    metadata["properties"] = {"name": {"type": "string"}}
    # An object without a spec has nothing that could be missing in it.
    if "required" in schema["properties"].get("spec", {}):
        schema["required"] = ["spec"]
    return _in_order(schema)


_ORDER = ("description", "type", "format", "enum", "default", "nullable")
_LAST = ("required", "x-kubernetes-validations", "properties", "additionalProperties", "items")


def _in_order(schema: Object) -> Object:
    """What a field means first, what is below it last, so that people can read the text."""
    keys = [*(key for key in _ORDER if key in schema), *(key for key in schema if key not in (*_ORDER, *_LAST))]
    ordered = {key: schema[key] for key in [*keys, *(key for key in _LAST if key in schema)]}
    for key in ("additionalProperties", "items"):
        if key in ordered:
            ordered[key] = _in_order(ordered[key])
    if "properties" in ordered:
        ordered["properties"] = {name: _in_order(field) for name, field in ordered["properties"].items()}
    return ordered


def _place(schema: Object, path: str) -> Object:
    """The schema of a field: `spec.ingress[].source`; [] for the members of a list, {} for the values of a map."""
    for step in filter(None, path.split(".")):
        name = step.removesuffix("[]").removesuffix("{}")
        schema = schema["properties"][name]
        if step.endswith("[]"):
            schema = schema["items"]
        elif step.endswith("{}"):
            schema = schema["additionalProperties"]
    return schema
