"""The policy engine: what becomes of a packet, and why (spec/felix.md 2.1 to 2.11).

In: a world, a packet that opens a connection, and the Felix parameters that matter. Out: a verdict with a trace of
every place where policy was asked. Pure; shared by `tortie why`, by tests, and by whatever previews a change.
"""

import ipaddress

from tortie.model.dataplane import HostEndpointKey, WorkloadEndpointKey
from tortie.policy.evaluate import judge
from tortie.policy.packet import Direction, Failsafe, Outcome, Packet, Settings, Stage, Step, Verdict
from tortie.policy.path import End, Place, ends, places
from tortie.policy.world import World

_IPIP, _UDP, _ICMPV6 = 4, 17, 58
_NEIGHBOUR_DISCOVERY = (130, 131, 132, 133, 135, 136)
"""ICMPv6 that a pod's node answers as its router; it is exempt from egress policy toward the node."""
_ROUTER_ADVERTISEMENT = 134


def evaluate(world: World, packet: Packet, settings: Settings = Settings()) -> Verdict:  # noqa: B008 - immutable
    """Follows a packet from its sender to its receiver and asks policy wherever Felix would.

    Every place is asked, even after one has denied, so that a trace tells all that stands in the way.
    """
    source, target = ends(world, packet)
    if source.workload is not None and source.workload == target.workload and not packet.service_ip:
        return Verdict(allowed=True, stages=(), note="a pod reaches itself without leaving its network namespace")
    stages: list[Stage] = []
    accepted: tuple[str, Direction] | None = None
    for place in places(world, packet, source, target):
        here = (place.endpoint.node, place.direction)
        if accepted == here and isinstance(place.endpoint, HostEndpointKey):
            continue  # accepted by an untracked or pre-DNAT policy: the host endpoint's other lists are not asked
        stage = _ask(world, place, packet, settings)
        stages.append(stage)
        if place.list in ("untracked", "pre-dnat"):
            accepted = here if stage.decided_by.outcome == "allow" else None
    allowed = all(stage.allowed for stage in stages)
    note = "" if stages else _why_nobody_was_asked(source, target)
    return Verdict(allowed=allowed, stages=tuple(stages), note=note)


def _why_nobody_was_asked(source: End, target: End) -> str:
    if source.is_host and source.node == target.node:
        return "a node always reaches its own pods and itself"
    if source.is_host or target.is_host:
        return "no host endpoint covers this traffic, so policy does not apply to it"
    return "neither end is a workload or node of the cluster, so policy does not apply"


def _ask(world: World, place: Place, packet: Packet, settings: Settings) -> Stage:
    fixed = _fixed_rule(world, place, packet, settings)
    if fixed is not None:
        return _stage(place, fixed)
    original = place.list in ("untracked", "pre-dnat") and place.direction == "ingress" and packet.service_ip
    stage = judge(world, place.endpoint, place.direction, place.list, _before_dnat(packet) if original else packet)
    if place.to_host and stage.allowed:
        return _stage(place, _to_host(settings), before=stage.steps)
    return stage


def _before_dnat(packet: Packet) -> Packet:
    return Packet(
        src_ip=packet.src_ip,
        dst_ip=packet.service_ip,
        protocol=packet.protocol,
        src_port=packet.src_port,
        dst_port=packet.service_port,
        icmp_type=packet.icmp_type,
        icmp_code=packet.icmp_code,
    )


def _stage(place: Place, step: Step, *, before: tuple[Step, ...] = ()) -> Stage:
    return Stage(
        endpoint=place.endpoint,
        node=place.endpoint.node,
        list=place.list,
        direction=place.direction,
        steps=(*before, step),
        allowed=step.outcome != "deny",
    )


def _to_host(settings: Settings) -> Step:
    action = settings.endpoint_to_host_action
    outcome: Outcome = "deny" if action == "drop" else "allow"
    after = {"drop": "", "accept": "", "return": "; the node's own firewall has the last word"}[action]
    return Step(
        outcome=outcome,
        text=f"traffic from a pod to its own node: defaultEndpointToHostAction is {action.capitalize()}{after}",
    )


def _fixed_rule(world: World, place: Place, packet: Packet, settings: Settings) -> Step | None:
    """Felix's own rules, which come before policy; None if none of them matches."""
    if isinstance(place.endpoint, WorkloadEndpointKey):
        return _fixed_workload_rule(world, place.endpoint, place, packet, settings)
    if place.list == "forward":
        return None
    if packet.protocol == _ICMPV6 and packet.icmp_type in (*_NEIGHBOUR_DISCOVERY, _ROUTER_ADVERTISEMENT):
        return Step(outcome="allow", text="neighbour discovery of the node itself is always allowed")
    inbound = place.direction == "ingress"
    failsafes = settings.failsafe_inbound if inbound else settings.failsafe_outbound
    peer = packet.src_ip if inbound else packet.dst_ip
    port = packet.service_port if packet.service_ip and place.list in ("untracked", "pre-dnat") else packet.dst_port
    for failsafe in failsafes:
        if _failsafe_matches(failsafe, packet.protocol, port, peer):
            return Step(outcome="allow", text=f"failsafe port {failsafe.port} is always open on host endpoints")
    return None


def _fixed_workload_rule(
    world: World, key: WorkloadEndpointKey, place: Place, packet: Packet, settings: Settings
) -> Step | None:
    value = world.workload(key)
    if value is None:
        return Step(outcome="deny", text="the endpoint is unknown to the dataplane")
    if place.to_host and packet.protocol == _ICMPV6 and packet.icmp_type in _NEIGHBOUR_DISCOVERY:
        return Step(outcome="allow", text="neighbour discovery toward the node is always allowed")
    if not value.active:
        return Step(outcome="deny", text="the endpoint is administratively down")
    if place.direction == "egress":
        if packet.protocol == _IPIP and not settings.allow_ipip_from_workloads:
            return Step(outcome="deny", text="IP-in-IP from pods is blocked (allowIPIPPacketsFromWorkloads)")
        is_vxlan = packet.protocol == _UDP and packet.dst_port == settings.vxlan_port
        if is_vxlan and not settings.allow_vxlan_from_workloads:
            return Step(outcome="deny", text="VXLAN from pods is blocked (allowVXLANPacketsFromWorkloads)")
    return None


def _failsafe_matches(failsafe: Failsafe, protocol: int, port: int | None, peer: str) -> bool:
    if failsafe.protocol != protocol or failsafe.port != port:
        return False
    return not failsafe.net or ipaddress.ip_address(peer) in ipaddress.ip_network(failsafe.net, strict=False)
