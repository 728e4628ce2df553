"""Whether a pod may run on a node. Pure.

For the scheduler and the DaemonSet controller. In: a pod's spec and a node. Out: a reason in the scheduler's words, or
"". What counts: node name, selector, required node affinity, taints, readiness, being schedulable.
"""

from collections.abc import Iterable
from typing import Any

from tortie.lab.controllers.world import Object, is_ready, selects

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"

_UNSCHEDULABLE = {"key": UNSCHEDULABLE, "effect": "NoSchedule"}
_NOT_READY = {"key": NOT_READY, "effect": "NoSchedule"}
_NO_MATCH = "node(s) didn't match Pod's node affinity/selector"


def refusal(pod: Object, node: Object) -> str:
    """Why the pod cannot run on the node, "" if it can."""
    spec = pod["spec"]
    if not matches_node(spec, node):
        return _NO_MATCH
    if not is_ready(node) and not tolerates(spec, _NOT_READY):
        return "node(s) were not ready"
    if node.get("spec", {}).get("unschedulable") and not tolerates(spec, _UNSCHEDULABLE):
        return "node(s) were unschedulable"
    taint = untolerated(spec, node, ("NoSchedule", "NoExecute"))
    if taint is not None:
        return f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"
    return ""


def matches_node(spec: Object, node: Object) -> bool:
    """Whether the node's name and labels are what the pod's spec asks for."""
    name, labels = node["metadata"]["name"], node["metadata"].get("labels", {})
    if spec.get("nodeName") not in (None, "", name):
        return False
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    return required is None or any(_term(term, node) for term in required.get("nodeSelectorTerms", ()))


def preference(spec: Object, node: Object) -> int:
    """The sum of the weights of the preferred node affinity terms that the node fits, less its soft taints."""
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    preferred: list[Any] = affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or []
    weight = sum(int(item.get("weight", 1)) for item in preferred if _term(item.get("preference", {}), node))
    soft = [taint for taint in _taints(node) if taint.get("effect") == "PreferNoSchedule"]
    return weight - 100 * sum(not tolerates(spec, taint) for taint in soft)


def untolerated(spec: Object, node: Object, effects: Iterable[str]) -> Object | None:
    """The first taint with one of the effects that the pod does not tolerate."""
    wanted = set(effects)
    return next((t for t in _taints(node) if t.get("effect") in wanted and not tolerates(spec, t)), None)


def tolerates(spec: Object, taint: Object) -> bool:
    return any(_applies(toleration, taint) for toleration in spec.get("tolerations") or ())


def seconds_tolerated(spec: Object, taint: Object) -> float | None:
    """How long a pod that runs already may stay despite the taint: 0 not at all, None for ever."""
    found = [toleration for toleration in spec.get("tolerations") or () if _applies(toleration, taint)]
    if not found:
        return 0.0
    limits = [float(item["tolerationSeconds"]) for item in found if item.get("tolerationSeconds") is not None]
    return min(limits) if len(limits) == len(found) else None


def _taints(node: Object) -> list[Object]:
    return list(node.get("spec", {}).get("taints") or ())


def _applies(toleration: Object, taint: Object) -> bool:
    if toleration.get("effect") not in (None, "", taint.get("effect")):
        return False
    key = toleration.get("key") or ""
    if (toleration.get("operator") or "Equal") == "Exists":
        return key in ("", taint["key"])
    return key == taint["key"] and (toleration.get("value") or "") == (taint.get("value") or "")


def _term(term: Object, node: Object) -> bool:
    fields = term.get("matchFields") or ()
    expressions = term.get("matchExpressions") or ()
    if not fields and not expressions:
        return False
    return selects({"matchExpressions": expressions}, node["metadata"].get("labels", {})) and selects(
        {"matchExpressions": fields}, {"metadata.name": node["metadata"]["name"]}
    )
