"""What one object counts against quotas, and which quotas of its namespace look at it.

In: an object and a ResourceQuota. Out: amounts by the names that `spec.hard` may have. Pure.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from tortie.apiserver.admission.limits import pod_totals
from tortie.apiserver.builtin.podspec import containers, qos
from tortie.apiserver.quantity import ZERO, Quantity, amounts

Object = dict[str, Any]
ONE = Quantity(ZERO.value + 1)
COUNTED = {
    "pods": "pods",
    "services": "services",
    "replicationcontrollers": "replicationcontrollers",
    "resourcequotas": "resourcequotas",
    "secrets": "secrets",
    "configmaps": "configmaps",
    "persistentvolumeclaims": "persistentvolumeclaims",
}
_COMPUTE = ("cpu", "memory", "ephemeral-storage")
_BARE = frozenset(_COMPUTE)
_CLASS = "storageclass.storage.k8s.io"


def count_name(group: str, plural: str) -> str:
    return f"count/{plural}.{group}" if group else f"count/{plural}"


def finished(pod: Object) -> bool:
    """A pod that runs no more counts only as an object."""
    status, meta = pod.get("status") or {}, pod["metadata"]
    if status.get("phase") in {"Succeeded", "Failed"}:
        return True
    return bool(meta.get("deletionTimestamp")) and meta.get("deletionGracePeriodSeconds") == 0


def of(group: str, plural: str, obj: Object) -> dict[str, Quantity]:
    """Everything that the object counts for."""
    used = {count_name(group, plural): ONE}
    if group:
        return used
    spec = obj.get("spec") or {}
    if plural == "pods":
        if not finished(obj):
            used["pods"] = ONE
            used.update(_pod(spec))
    elif plural in COUNTED:
        used[COUNTED[plural]] = ONE
    if plural == "services":
        used.update(_service(spec))
    elif plural == "persistentvolumeclaims":
        size = amounts((spec.get("resources") or {}).get("requests")).get("storage", ZERO)
        used["requests.storage"] = size
        name = spec.get("storageClassName")
        if name:
            used[f"{name}.{_CLASS}/requests.storage"] = size
            used[f"{name}.{_CLASS}/persistentvolumeclaims"] = ONE
    return used


def _pod(spec: Object) -> dict[str, Quantity]:
    used = {}
    requests, limits = pod_totals(spec)
    for name, amount in requests.items():
        used[f"requests.{name}"] = amount
        if name in _BARE:
            used[name] = amount
    for name, amount in limits.items():
        used[f"limits.{name}"] = amount
    return used


def _service(spec: Object) -> dict[str, Quantity]:
    kind, ports = spec.get("type", "ClusterIP"), spec.get("ports") or ()
    if kind == "NodePort":
        return {"services.nodeports": Quantity(ZERO.value + len(ports))}
    if kind == "LoadBalancer":
        allocate = spec.get("allocateLoadBalancerNodePorts", True)
        nodes = len(ports) if allocate else sum(1 for p in ports if p.get("nodePort"))
        return {"services.loadbalancers": ONE, "services.nodeports": Quantity(ZERO.value + nodes)}
    return {}


def missing(hard: Iterable[str], pod: Object) -> dict[str, list[str]]:
    """For a pod: the compute resources that the quota bounds and a container does not state, with the containers."""
    found: dict[str, list[str]] = {}
    for name in hard:
        field, _, resource = name.partition(".")
        if field not in {"requests", "limits"} or not resource:
            field, resource = "requests", name
        if resource not in _COMPUTE:
            continue
        for _, container in containers(pod.get("spec") or {}, "initContainers", "containers"):
            if resource not in ((container.get("resources") or {}).get(field) or {}):
                found.setdefault(name, []).append(str(container.get("name", "")))
    return found


def in_scope(quota: Object, group: str, plural: str, obj: Object) -> bool:
    """Whether the scopes of a quota include an object; without scopes it includes all."""
    spec = quota.get("spec") or {}
    terms: list[Mapping[str, Any]] = [{"scopeName": s, "operator": "Exists"} for s in spec.get("scopes") or ()]
    terms += (spec.get("scopeSelector") or {}).get("matchExpressions") or []
    if not terms:
        return True
    if group or plural != "pods":
        return False
    return all(_scope(term, obj.get("spec") or {}) for term in terms)


def _scope(term: Mapping[str, Any], spec: Object) -> bool:
    match term.get("scopeName"):
        case "Terminating":
            return spec.get("activeDeadlineSeconds") is not None
        case "NotTerminating":
            return spec.get("activeDeadlineSeconds") is None
        case "BestEffort":
            return _best_effort(spec)
        case "NotBestEffort":
            return not _best_effort(spec)
        case "PriorityClass":
            name, values = spec.get("priorityClassName") or "", term.get("values") or []
            match term.get("operator"):
                case "In":
                    return name in values
                case "NotIn":
                    return name not in values
                case "Exists":
                    return bool(name)
                case "DoesNotExist":
                    return not name
        case "CrossNamespacePodAffinity":
            return _cross_namespace(spec.get("affinity") or {})
    return False


def _best_effort(spec: Object) -> bool:
    return qos(spec) == "BestEffort"


def _cross_namespace(affinity: Object) -> bool:
    for name in ("podAffinity", "podAntiAffinity"):
        rules = affinity.get(name) or {}
        terms = list(rules.get("requiredDuringSchedulingIgnoredDuringExecution") or ())
        preferred = rules.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        terms += [p.get("podAffinityTerm") or {} for p in preferred]
        if any(t.get("namespaces") or t.get("namespaceSelector") is not None for t in terms):
            return True
    return False
