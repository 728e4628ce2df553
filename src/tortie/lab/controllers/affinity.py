"""Whether a pod may run beside the pods that are there. Pure.

For the scheduler. In: a pod, a node, and the pods that have places. Out: a reason in the scheduler's words, or "". What
counts: ports of the node, required pod affinity and anti-affinity (of both sides), hard topology spread.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from tortie.lab.controllers.world import Object, selects

Placed = Iterable[tuple[Object, Object]]
"""Pods and the nodes they are on."""

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def excludes(pod: Object) -> bool:
    """Whether the pod has required anti-affinity, which binds pods that come later too."""
    return bool(_terms(pod, "podAntiAffinity"))


def asks_about_others(pod: Object) -> bool:
    """Whether the pod's own wishes depend on which pods are where."""
    spec = pod["spec"]
    return bool(spec.get("affinity") or spec.get("topologySpreadConstraints") or any(_host_ports(pod)))


def excluded(pod: Object, node: Object, excluding: Placed) -> str:
    """Why pods that are there do not let the pod onto the node, "" if they do."""
    for other, at in excluding:
        for term in _terms(other, "podAntiAffinity"):
            if _same_place(term, node, at) and _selected(term, other, pod):
                return "node(s) didn't satisfy existing pods anti-affinity rules"
    return ""


def rejection(pod: Object, node: Object, placed: Placed) -> str:
    """Why the pod's own wishes keep it off the node, "" if they do not. placed: every pod that has a place."""
    placed = list(placed)
    ports = set(_host_ports(pod))
    name = node["metadata"]["name"]
    if ports and any(ports & set(_host_ports(other)) for other, at in placed if at["metadata"]["name"] == name):
        return "node(s) didn't have free ports for the requested pod ports"
    for term in _terms(pod, "podAffinity"):
        near = [other for other, at in placed if _same_place(term, node, at)]
        # The first of a group that wants to be together has nobody to join.
        first = _selected(term, pod, pod) and not any(_selected(term, pod, other) for other, _ in placed)
        if not first and not any(_selected(term, pod, other) for other in near):
            return "node(s) didn't match pod affinity rules"
    for term in _terms(pod, "podAntiAffinity"):
        if any(_same_place(term, node, at) and _selected(term, pod, other) for other, at in placed):
            return "node(s) didn't match pod anti-affinity rules"
    for constraint in pod["spec"].get("topologySpreadConstraints") or ():
        if constraint.get("whenUnsatisfiable") == "DoNotSchedule" and not _spreads(constraint, pod, node, placed):
            return "node(s) didn't match pod topology spread constraints"
    return ""


def _host_ports(pod: Object) -> Iterator[tuple[str, int]]:
    for container in pod["spec"].get("containers", ()):
        for port in container.get("ports") or ():
            number = port.get("hostPort") or (port.get("containerPort") if pod["spec"].get("hostNetwork") else 0)
            if number:
                yield port.get("protocol", "TCP"), number


def _terms(pod: Object, kind: str) -> list[Object]:
    affinity: Any = pod["spec"].get("affinity") or {}
    return list((affinity.get(kind) or {}).get(_REQUIRED) or ())


def _same_place(term: Object, one: Object, other: Object) -> bool:
    key = term.get("topologyKey", "")
    value = one["metadata"].get("labels", {}).get(key)
    return value is not None and other["metadata"].get("labels", {}).get(key) == value


def _selected(term: Object, asking: Object, other: Object) -> bool:
    namespaces = term.get("namespaces") or [asking["metadata"]["namespace"]]
    if term.get("namespaceSelector") != {} and other["metadata"]["namespace"] not in namespaces:
        return False
    return selects(term.get("labelSelector"), other["metadata"].get("labels", {}))


def _spreads(constraint: Object, pod: Object, node: Object, placed: Placed) -> bool:
    """Whether the difference between places stays within maxSkew, counting the places that have pods."""
    key = constraint.get("topologyKey", "")
    here = node["metadata"].get("labels", {}).get(key)
    if here is None:
        return False
    term = {"labelSelector": constraint.get("labelSelector"), "topologyKey": key}
    counts: dict[str, int] = {here: 0}
    for other, at in placed:
        value = at["metadata"].get("labels", {}).get(key)
        if value is not None:
            counts[value] = counts.get(value, 0) + _selected(term, pod, other)
    skew: int = constraint.get("maxSkew", 1)
    return counts[here] + 1 - min(counts.values()) <= skew
