"""A dataplane made of dictionaries: it takes the calculation's messages and judges packets by them alone.

For tests of the calculation. It refuses every message that a real dataplane could not act on: a set announced twice,
a difference for an unknown set, a reference to something not announced, the removal of something still referenced.
"""

import ipaddress
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from tortie.felix import messages as m
from tortie.model.dataplane import EndpointKey, Icmp, PolicyKey, PortRange
from tortie.policy.packet import Packet

_ICMP = {4: 1, 6: 58}
List = Literal["tiers", "untracked_tiers", "pre_dnat_tiers", "forward_tiers"]


class MessageState:
    """What the messages so far amount to."""

    def __init__(self) -> None:
        self.sets: dict[str, tuple[str, frozenset[m.Member]]] = {}
        self.policies: dict[PolicyKey, m.PolicyUpdate] = {}
        self.profiles: dict[str, m.ProfileUpdate] = {}
        self.endpoints: dict[EndpointKey, m.WorkloadEndpointUpdate | m.HostEndpointUpdate] = {}
        self.others: dict[tuple[str, Any], Any] = {}
        self.in_sync = 0

    def apply(self, messages: Iterable[m.Message]) -> None:
        """Takes messages in order; after each, everything that is referenced is known."""
        for message in messages:
            self._apply(message)

    def _apply(self, message: m.Message) -> None:
        match message:
            case m.IPSetUpdate(id=identifier):
                assert identifier not in self.sets, f"set {identifier} was announced twice"
                self.sets[identifier] = (message.kind, message.members)
            case m.IPSetDelta(id=identifier):
                kind, members = self.sets[identifier]
                assert message.added or message.removed, "an empty difference"
                assert not message.added & members, "added a member that was there"
                assert message.removed <= members, "removed a member that was not there"
                self.sets[identifier] = (kind, (members | message.added) - message.removed)
            case m.IPSetRemove(id=identifier):
                for update in (*self.policies.values(), *self.profiles.values()):
                    assert identifier not in _set_ids(update), f"set {identifier} removed while {update} refers to it"
                del self.sets[identifier]
            case m.PolicyUpdate():
                assert _set_ids(message) <= self.sets.keys(), "a policy refers to an unknown set"
                self.policies[message.key] = message
            case m.PolicyRemove():
                for endpoint in self.endpoints.values():
                    assert message.key not in _policy_keys(endpoint), f"{message.key} removed while {endpoint} has it"
                del self.policies[message.key]
            case m.ProfileUpdate():
                assert _set_ids(message) <= self.sets.keys(), "a profile refers to an unknown set"
                self.profiles[message.name] = message
            case m.ProfileRemove():
                assert all(message.name not in endpoint.profiles for endpoint in self.endpoints.values())
                del self.profiles[message.name]
            case m.WorkloadEndpointUpdate() | m.HostEndpointUpdate():
                unknown = _policy_keys(message) - self.policies.keys()
                assert not unknown, f"{message.key} has unknown policies {unknown}"
                assert set(message.profiles) <= self.profiles.keys(), f"{message.key} has unknown profiles"
                self.endpoints[message.key] = message
            case m.WorkloadEndpointRemove() | m.HostEndpointRemove():
                del self.endpoints[message.key]
            case m.InSync():
                self.in_sync += 1
            case m.Encapsulation() | m.ServiceCIDRs():
                self.others[type(message).__name__, None] = message
            case m.PoolRemove() | m.NodeRemove() | m.RouteRemove() | m.VTEPRemove() | m.ServiceRemove():
                del self.others[type(message).__name__.removesuffix("Remove"), _identity(message)]
            case _:
                self.others[type(message).__name__.removesuffix("Update"), _identity(message)] = message

    def snapshot(self) -> tuple[Any, ...]:
        """The whole state, for comparison."""
        return self.sets, self.policies, self.profiles, self.endpoints, self.others

    # --- verdicts ------------------------------------------------------------------------------------------------

    def allows(
        self, endpoint: EndpointKey, direction: Literal["ingress", "egress"], which: List, packet: Packet
    ) -> str:
        """allow, deny, or (untracked and pre-DNAT lists) pass: go on to the next list."""
        update = self.endpoints[endpoint]
        if isinstance(update, m.WorkloadEndpointUpdate) and not update.active:
            return "deny"
        for tier in getattr(update, which):
            outcome = "none"
            keys = getattr(tier, direction)
            for key in keys:
                outcome = self._first(getattr(self.policies[key], direction), packet)
                if outcome != "none":
                    break
            if outcome in ("allow", "deny"):
                return outcome
            if outcome == "none" and keys and tier.default_action == "deny":
                return "deny"
        if which in ("untracked_tiers", "pre_dnat_tiers"):
            return "pass"
        if which == "forward_tiers":
            return "allow"
        for name in update.profiles:
            outcome = self._first(getattr(self.profiles[name], direction), packet)
            if outcome in ("allow", "deny"):
                return outcome
        return "deny"

    def _first(self, rules: tuple[m.CompiledRule, ...], packet: Packet) -> str:
        for rule in rules:
            if rule.action != "log" and self._matches(rule, packet):
                return rule.action
        return "none"

    def _matches(self, rule: m.CompiledRule, packet: Packet) -> bool:
        return all(self._conditions(rule, packet))

    def _conditions(self, rule: m.CompiledRule, packet: Packet) -> Iterator[bool]:
        yield rule.ip_version is None or rule.ip_version == packet.version
        yield rule.protocol is None or rule.protocol == packet.protocol
        yield rule.not_protocol is None or rule.not_protocol != packet.protocol
        if rule.icmp is not None:
            yield packet.protocol == _ICMP[packet.version] and _icmp(rule.icmp, packet)
        if rule.not_icmp is not None:
            yield packet.protocol == _ICMP[packet.version] and not _icmp(rule.not_icmp, packet)
        for side, address, port in (
            (rule.src, packet.src_ip, packet.src_port),
            (rule.dst, packet.dst_ip, packet.dst_port),
        ):
            yield from self._side(side, address, port, packet)

    def _side(self, side: m.RuleSide, address: str, port: int | None, packet: Packet) -> Iterator[bool]:
        member = m.IPPort(address, packet.protocol, -1 if port is None else port)
        for nets, wanted in ((side.nets, True), (side.not_nets, False)):
            if nets:
                family = [net for net in nets if (":" in net) == (packet.version == 6)]
                yield bool(family) and _in_nets(address, family) == wanted
        for identifier in side.set_ids:
            yield self._in_net_set(identifier, address)
        for identifier in side.not_set_ids:
            yield not self._in_net_set(identifier, address)
        for identifier in side.service_set_ids:
            yield self._in_port_set(identifier, member)
        if side.has_ports:
            yield _in_ranges(side.ports, port) or any(self._in_port_set(i, member) for i in side.port_set_ids)
        if side.not_ports:
            yield not _in_ranges(side.not_ports, port)
        for identifier in side.not_port_set_ids:
            yield not self._in_port_set(identifier, member)

    def _in_net_set(self, identifier: str, address: str) -> bool:
        kind, members = self.sets[identifier]
        assert kind == "net"
        return _in_nets(address, members)  # type: ignore[arg-type]  # a net set has CIDRs

    def _in_port_set(self, identifier: str, member: m.IPPort) -> bool:
        kind, members = self.sets[identifier]
        assert kind == "ip-port"
        return member in members


def _in_nets(address: str, nets: Iterable[str]) -> bool:
    parsed = ipaddress.ip_address(address)
    return any(parsed in ipaddress.ip_network(net) for net in nets)


def _in_ranges(ranges: tuple[PortRange, ...], port: int | None) -> bool:
    return port is not None and any(span.first <= port <= span.last for span in ranges)


def _icmp(icmp: Icmp, packet: Packet) -> bool:
    return icmp.type == packet.icmp_type and (icmp.code is None or icmp.code == packet.icmp_code)


def _set_ids(update: m.PolicyUpdate | m.ProfileUpdate) -> set[str]:
    return {
        identifier
        for rule in (*update.ingress, *update.egress)
        for side in (rule.src, rule.dst)
        for identifier in (
            *side.set_ids,
            *side.not_set_ids,
            *side.port_set_ids,
            *side.not_port_set_ids,
            *side.service_set_ids,
        )
    }


def _policy_keys(update: m.WorkloadEndpointUpdate | m.HostEndpointUpdate) -> set[PolicyKey]:
    tiers = list(update.tiers)
    if isinstance(update, m.HostEndpointUpdate):
        tiers += [*update.untracked_tiers, *update.pre_dnat_tiers, *update.forward_tiers]
    return {key for tier in tiers for key in (*tier.ingress, *tier.egress)}


def _identity(message: Any) -> Any:
    for name in ("key", "name", "cidr", "node"):
        if hasattr(message, name):
            return getattr(message, name)
    raise AssertionError(f"unexpected message {message}")
