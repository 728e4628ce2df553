"""Whether a rule matches a packet: every match field of spec/felix.md 2.9.

In, from the engine: a rule, a packet, and the world that says who holds the packet's addresses. Out: yes or no.
"""

import ipaddress

from tortie.model.dataplane import EntityMatch, Icmp, PortRange, Rule
from tortie.policy.packet import Packet
from tortie.policy.world import World

_NAMED_PORT_PROTOCOLS = (6, 17, 132)
_PORT_PROTOCOLS = (6, 17, 33, 132, 136)
_ICMP = {4: 1, 6: 58}


def rule_matches(world: World, rule: Rule, packet: Packet) -> bool:
    """Whether all match fields of a rule hold for a packet. Domains and HTTP fields are judged elsewhere: a rule with
    domains matches nothing here, one with HTTP fields as if it had none (felix.md 2.13)."""
    if rule.ip_version not in (None, packet.version):
        return False
    if rule.protocol not in (None, packet.protocol):
        return False
    if rule.not_protocol is not None and rule.not_protocol == packet.protocol:
        return False
    if rule.icmp is not None and not (packet.protocol == _ICMP[packet.version] and _icmp_equals(rule.icmp, packet)):
        return False
    if rule.not_icmp is not None and not (
        packet.protocol == _ICMP[packet.version] and not _icmp_equals(rule.not_icmp, packet)
    ):
        return False
    return _side_matches(world, rule.src, packet, is_source=True) and _side_matches(
        world, rule.dst, packet, is_source=False
    )


def _icmp_equals(icmp: Icmp, packet: Packet) -> bool:
    return icmp.type == packet.icmp_type and icmp.code in (None, packet.icmp_code)


def _side_matches(world: World, side: EntityMatch, packet: Packet, *, is_source: bool) -> bool:
    address = packet.src_ip if is_source else packet.dst_ip
    port = packet.src_port if is_source else packet.dst_port
    if side.domains:
        return False
    if not _nets_match(side, address):
        return False
    if side.selector and not world.matches(address, side.selector, side.not_selector):
        return False
    if side.not_selector and not side.selector and world.matches(address, side.not_selector):
        return False
    if side.service is not None and not _service_matches(world, side, packet, is_source=is_source):
        return False
    if side.ports or side.named_ports:
        by_number = _in_ranges(side.ports, packet, port)
        if not by_number and not _named_port_matches(world, side, packet, address, port, side.named_ports):
            return False
    return not _in_ranges(side.not_ports, packet, port) and not _named_port_matches(
        world, side, packet, address, port, side.not_named_ports
    )


def _nets_match(side: EntityMatch, address: str) -> bool:
    """A list that has nothing of the packet's family leaves the rule out in that family, negated or not."""
    parsed = ipaddress.ip_address(address)
    if side.nets and not any(parsed in ipaddress.ip_network(net, strict=False) for net in side.nets):
        return False
    if side.not_nets:
        excluded = [ipaddress.ip_network(net, strict=False) for net in side.not_nets]
        same_family = [net for net in excluded if net.version == parsed.version]
        return bool(same_family) and not any(parsed in net for net in same_family)
    return True


def _in_ranges(ranges: tuple[PortRange, ...], packet: Packet, port: int | None) -> bool:
    if packet.protocol not in _PORT_PROTOCOLS or port is None:
        return False
    return any(ports.first <= port <= ports.last for ports in ranges)


def _named_port_matches(
    world: World, side: EntityMatch, packet: Packet, address: str, port: int | None, names: tuple[str, ...]
) -> bool:
    """Whether the packet's address and port are those of a port with one of the names and the packet's protocol, which
    is the rule's protocol too if it has one."""
    if not names or packet.protocol not in _NAMED_PORT_PROTOCOLS:
        return False
    return any(
        named.name in names and named.protocol == packet.protocol and named.port == port
        for named in world.named_ports(address, side.selector, side.not_selector if side.selector else "")
    )


def _service_matches(world: World, side: EntityMatch, packet: Packet, *, is_source: bool) -> bool:
    assert side.service is not None
    for endpoint_slice in world.service_endpoints(side.service):
        if is_source:
            if packet.src_ip in endpoint_slice.addresses:
                return True
        elif packet.dst_ip in endpoint_slice.addresses and any(
            protocol == packet.protocol and port == packet.dst_port for _, protocol, port in endpoint_slice.ports
        ):
            return True
    return False
