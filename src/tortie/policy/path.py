"""Where on its way a packet meets policy: the endpoints and lists it passes, in order (spec/felix.md 2.5, 2.6).

In, from the engine: a packet and the world. Out: for each end what it is, and the places to ask. Which device of a
node a packet uses is inferred: traffic between nodes leaves by the device that has the node's address, or by a tunnel
where the address's pool asks for encapsulation.
"""

import ipaddress
from collections.abc import Iterator
from typing import Literal, NamedTuple, TypeAlias

from tortie.model.dataplane import (
    EndpointKey,
    HostEndpoint,
    HostEndpointKey,
    IPPool,
    Node,
    NodeKey,
    WorkloadEndpoint,
    WorkloadEndpointKey,
)
from tortie.policy.packet import Direction, Packet, PolicyList
from tortie.policy.world import World

Device: TypeAlias = Literal["uplink", "tunnel", "veth"]


class End(NamedTuple):
    """One end of a connection. workload: if it is one. node: where it is, "" if outside the cluster."""

    workload: WorkloadEndpointKey | None
    node: str

    @property
    def is_host(self) -> bool:
        """Whether it is a process of a node itself."""
        return self.workload is None and bool(self.node)


class Place(NamedTuple):
    """One list of one endpoint that the packet meets. to_host: it is on its way to its own node."""

    endpoint: EndpointKey
    list: PolicyList
    direction: Direction
    to_host: bool = False


def ends(world: World, packet: Packet) -> tuple[End, End]:
    """Who sends and who receives."""
    source = _end(world, packet.src, packet.src_ip, near="")
    return source, _end(world, packet.dst, packet.dst_ip, near=source.node)


def _end(world: World, key: EndpointKey | None, address: str, *, near: str) -> End:
    if isinstance(key, WorkloadEndpointKey):
        return End(key, key.node)
    if isinstance(key, HostEndpointKey):
        return End(None, key.node)
    wanted = ipaddress.ip_address(address)
    found = [
        candidate
        for candidate, value in world.of(WorkloadEndpoint)
        if isinstance(candidate, WorkloadEndpointKey)
        and world.workload(candidate) is not None
        and any(wanted in ipaddress.ip_network(net) for net in (*value.ipv4_nets, *value.ipv6_nets))
    ]
    if found:
        # An address that two endpoints have for a moment: a local one wins, then the lowest id.
        chosen = min(found, key=lambda candidate: (candidate.node != near, candidate))
        return End(chosen, chosen.node)
    return End(None, world.node_of(address))


def places(world: World, packet: Packet, source: End, target: End) -> Iterator[Place]:
    """The lists that a packet meets, in the order in which it meets them."""
    if source.node and source.node == target.node:
        yield from _within_node(world, source, target)
        return
    if source.workload is not None:
        yield from _arrival(world, source.node, "veth", forwarded=True)
        yield Place(source.workload, "workload", "egress")
        yield from _departure(world, source.node, _device(world, packet, source, target))
    elif source.is_host:
        endpoint = _host_endpoint(world, source.node, _device(world, packet, source, target))
        if endpoint is not None:
            if not _is_wildcard(world, endpoint):
                yield Place(endpoint, "untracked", "egress")
            yield Place(endpoint, "normal", "egress")
    if target.workload is not None:
        yield from _arrival(world, target.node, _device(world, packet, source, target), forwarded=True)
        yield Place(target.workload, "workload", "ingress")
        yield from _departure(world, target.node, "veth")
    elif target.is_host:
        yield from _arrival(world, target.node, _device(world, packet, source, target), forwarded=False)


def _within_node(world: World, source: End, target: End) -> Iterator[Place]:
    if source.workload is None:
        return  # a node's own processes reach its pods and itself unpoliced
    if target.workload is None:
        yield from _arrival(world, source.node, "veth", forwarded=None)
        yield Place(source.workload, "workload", "egress", to_host=True)
        return
    yield from _arrival(world, source.node, "veth", forwarded=True)
    yield Place(source.workload, "workload", "egress")
    yield Place(target.workload, "workload", "ingress")
    yield from _departure(world, source.node, "veth")


def _arrival(world: World, node: str, device: Device, *, forwarded: bool | None) -> Iterator[Place]:
    """The ingress lists of the host endpoint that a device belongs to. forwarded None: neither forwarded nor for a
    host endpoint, as from a pod to its own node."""
    endpoint = _host_endpoint(world, node, device)
    if endpoint is None:
        return
    if not _is_wildcard(world, endpoint):
        yield Place(endpoint, "untracked", "ingress")
    yield Place(endpoint, "pre-dnat", "ingress")
    if forwarded is not None:
        yield Place(endpoint, "forward" if forwarded else "normal", "ingress")


def _departure(world: World, node: str, device: Device) -> Iterator[Place]:
    endpoint = _host_endpoint(world, node, device)
    if endpoint is not None:
        yield Place(endpoint, "forward", "egress")


def _host_endpoint(world: World, node: str, device: Device) -> HostEndpointKey | None:
    """The host endpoint of a device: the first by name that has the node's address or names an interface (taken to be
    the uplink), else the wildcard, which alone covers tunnels and pods' interfaces."""
    candidates = sorted(
        (
            (key, value)
            for key, value in world.of(HostEndpoint)
            if isinstance(key, HostEndpointKey) and key.node == node
        ),
        key=lambda item: item[0],
    )
    if device == "uplink":
        own = world.get(NodeKey(node))
        addresses = {own.ipv4, own.ipv6} - {""} if isinstance(own, Node) else set()
        for key, value in candidates:
            by_address = not value.interface and not addresses.isdisjoint(value.expected_ips)
            if by_address or value.interface not in ("", "*"):
                return key
    for key, value in candidates:
        if value.interface == "*":
            return key
    return None


def _is_wildcard(world: World, key: HostEndpointKey) -> bool:
    value = world.get(key)
    return isinstance(value, HostEndpoint) and value.interface == "*"


def _device(world: World, packet: Packet, source: End, target: End) -> Device:
    """How a packet goes between nodes: through a tunnel if the pool of the workload's address asks for it."""
    if not (source.node and target.node) or target.workload is None:
        return "uplink"
    destination = ipaddress.ip_address(packet.dst_ip)
    pools = [
        (ipaddress.ip_network(pool.cidr), pool)
        for _, pool in world.of(IPPool)
        if destination in ipaddress.ip_network(pool.cidr)
    ]
    if not pools:
        return "uplink"
    _, pool = max(pools, key=lambda item: item[0].prefixlen)
    modes = {pool.ipip_mode, pool.vxlan_mode}
    if "Always" in modes or ("CrossSubnet" in modes and not _share_subnet(world, source.node, target.node, packet)):
        return "tunnel"
    return "uplink"


def _share_subnet(world: World, first: str, second: str, packet: Packet) -> bool:
    ours, theirs = world.get(NodeKey(first)), world.get(NodeKey(second))
    if not isinstance(ours, Node) or not isinstance(theirs, Node):
        return False
    subnet, address = (ours.ipv6_cidr, theirs.ipv6) if packet.version == 6 else (ours.ipv4_cidr, theirs.ipv4)
    if not subnet or not address:
        return False
    return ipaddress.ip_address(address) in ipaddress.ip_network(subnet, strict=False)
