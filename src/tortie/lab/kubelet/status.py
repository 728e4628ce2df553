"""What the API is told about a pod: phase, conditions, quality of service.

In: the pod's spec, the statuses of its containers, what others said before. Out: a `PodStatus`, and the smallest patch
that turns the reported status into it. Pure.
"""

from typing import Any

import msgspec

from tortie.lab.kubelet.api import Container, ContainerStatus, Pod, PodCondition, PodIP, PodSpec, PodStatus
from tortie.lab.kubelet.environment import quantity

_OURS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady")


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """What the kubelet knows of a pod besides its containers. failed: reason and message of a pod that was ended."""

    start_time: str
    host_ips: list[str]
    pod_ips: list[str]
    sandbox: bool
    terminating: bool = False
    failed: tuple[str, str] | None = None
    gates: dict[str, str] = {}


def is_sidecar(container: Container) -> bool:
    """An init container that keeps running beside the others."""
    return container.restart_policy == "Always"


def phase(spec: PodSpec, init: list[ContainerStatus], statuses: list[ContainerStatus]) -> str:
    """Pending, Running, Succeeded or Failed, by Kubernetes' rules."""
    sidecars = {c.name for c in spec.init_containers if is_sidecar(c)}
    for status in init:
        done = status.state.terminated
        if status.name in sidecars:
            if not status.started and not any(s.state.running or s.state.terminated for s in statuses):
                return "Pending"
        elif done is None or done.exit_code != 0:
            return "Failed" if done is not None and spec.restart_policy == "Never" else "Pending"
    running = waiting = succeeded = failed = 0
    for status in statuses:
        if status.state.running is not None:
            running += 1
        elif (ended := status.state.terminated or status.last_state.terminated) is not None:
            if ended.exit_code == 0:
                succeeded += 1
            else:
                failed += 1
        else:
            waiting += 1
    if waiting or len(statuses) < len(spec.containers):
        return "Pending"
    if running:
        return "Running"
    if spec.restart_policy == "Always" or any(s.state.waiting is not None for s in statuses):
        return "Running"
    if failed == 0:
        return "Succeeded"
    return "Failed" if spec.restart_policy == "Never" else "Running"


def build(
    pod: Pod, init: list[ContainerStatus], statuses: list[ContainerStatus], situation: Situation, *, now: str
) -> PodStatus:
    """The status to report. now: for conditions that change with it."""
    current = phase(pod.spec, init, statuses)
    reason = message = ""
    if situation.failed is not None:
        current, (reason, message) = "Failed", situation.failed
    elif pod.status.phase in ("Succeeded", "Failed"):
        current, reason, message = pod.status.phase, pod.status.reason, pod.status.message
    elif situation.terminating and all(s.state.terminated is not None for s in statuses) and statuses:
        # A pod that is being deleted and has ended says how it ended.
        bad = any((s.state.terminated or s.last_state.terminated).exit_code for s in statuses)  # type: ignore[union-attr]  # checked above
        current = "Failed" if bad else "Succeeded"
    conditions = _conditions(pod, current, init, statuses, situation)
    return PodStatus(
        phase=current,
        reason=reason,
        message=message,
        conditions=_merge(pod.status.conditions, conditions, pod.metadata.generation, now),
        host_ip=situation.host_ips[0] if situation.host_ips else "",
        host_ips=tuple(PodIP(ip=text) for text in situation.host_ips),
        pod_ip=situation.pod_ips[0] if situation.pod_ips else "",
        pod_ips=tuple(PodIP(ip=text) for text in situation.pod_ips),
        start_time=situation.start_time,
        init_container_statuses=tuple(init),
        container_statuses=tuple(statuses),
        qos_class=pod.status.qos_class or qos_class(pod.spec),
        observed_generation=pod.metadata.generation,
    )


def _conditions(
    pod: Pod, current: str, init: list[ContainerStatus], statuses: list[ContainerStatus], situation: Situation
) -> list[PodCondition]:
    ended = current in ("Succeeded", "Failed")
    sidecars = {c.name for c in pod.spec.init_containers if is_sidecar(c)}
    incomplete = [
        s.name
        for s in init
        if not (
            s.started if s.name in sidecars else s.state.terminated is not None and s.state.terminated.exit_code == 0
        )
    ]
    initialized = PodCondition(type="Initialized", status="True")
    if current == "Succeeded":
        initialized = PodCondition(type="Initialized", status="True", reason="PodCompleted")
    elif incomplete and not any(s.state.running for s in statuses):
        text = f"containers with incomplete status: [{' '.join(incomplete)}]"
        initialized = PodCondition(type="Initialized", status="False", reason="ContainersNotInitialized", message=text)
    unready = [s.name for s in statuses if not s.ready]
    if ended:
        why = "PodCompleted" if current == "Succeeded" else "PodFailed"
        containers = PodCondition(type="ContainersReady", status="False", reason=why)
        ready = PodCondition(type="Ready", status="False", reason=why)
    elif unready or len(statuses) < len(pod.spec.containers):
        text = f"containers with unready status: [{' '.join(unready)}]"
        containers = PodCondition(type="ContainersReady", status="False", reason="ContainersNotReady", message=text)
        ready = PodCondition(type="Ready", status="False", reason="ContainersNotReady", message=text)
    else:
        containers = PodCondition(type="ContainersReady", status="True")
        closed = [g.condition_type for g in pod.spec.readiness_gates if situation.gates.get(g.condition_type) != "True"]
        ready = PodCondition(type="Ready", status="True")
        if closed:
            text = f"the status of pod readiness gates {closed} is not True"
            ready = PodCondition(type="Ready", status="False", reason="ReadinessGatesNotReady", message=text)
    sandbox = PodCondition(type="PodReadyToStartContainers", status="True" if situation.sandbox else "False")
    return [sandbox, initialized, ready, containers]


def _merge(
    old: tuple[PodCondition, ...], new: list[PodCondition], generation: int, now: str
) -> tuple[PodCondition, ...]:
    """Ours over what was there; others' conditions stay, and an unchanged status keeps its transition time."""
    before = {condition.type: condition for condition in old}
    merged = []
    for condition in new:
        previous = before.get(condition.type)
        same = previous is not None and previous.status == condition.status
        stamp = previous.last_transition_time if same and previous is not None else now
        merged.append(
            msgspec.structs.replace(condition, last_transition_time=stamp or now, observed_generation=generation)
        )
    others = [condition for condition in old if condition.type not in _OURS]
    return (*merged, *others)


def qos_class(spec: PodSpec) -> str:
    """Guaranteed, Burstable or BestEffort, from requests and limits of CPU and memory."""
    containers = [*spec.init_containers, *spec.containers]
    names = ("cpu", "memory")

    def values(given: dict[str, Any]) -> dict[str, float]:
        return {name: quantity(given[name]) for name in names if name in given and quantity(given[name])}

    if not any(values(c.resources.requests) or values(c.resources.limits) for c in containers):
        return "BestEffort"
    for container in containers:
        limits = values(container.resources.limits)
        requests = {**limits, **values(container.resources.requests)}
        if set(limits) != set(names) or limits != requests:
            return "Burstable"
    return "Guaranteed"


def patch(old: PodStatus, new: PodStatus) -> dict[str, Any]:
    """A merge patch for the status: what changed, and null for what went away."""
    before, after = msgspec.to_builtins(old), msgspec.to_builtins(new)
    change = {key: value for key, value in after.items() if before.get(key) != value}
    change |= {key: None for key in before if key not in after}
    return change
