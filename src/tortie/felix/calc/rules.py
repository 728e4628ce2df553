"""Rules as the dataplane takes them: selectors, named ports, services and domains replaced by sets (spec/felix.md 1.6).

In: the rules of one policy or profile. Out: compiled rules with their chained ids, and a description of every set
they refer to, from which the set table and the membership modules make and fill it. Pure functions.
"""

from base64 import urlsafe_b64encode
from collections.abc import Iterable
from functools import lru_cache
from hashlib import sha224
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from tortie.felix.messages import CompiledRule, RuleSide, SetKind
from tortie.model.dataplane import EntityMatch, Rule, ServiceKey
from tortie.model.selector import Selector, parse

_PORT_PROTOCOLS = frozenset({6, 17, 132})
_RULE_ID_BYTES = 12  # 16 characters of base64


class SelectorSource(NamedTuple):
    """Members: the addresses of the endpoints and network sets that the selector matches."""

    selector: Selector


class NamedPortSource(NamedTuple):
    """Members: (address, protocol, port) of the matching endpoints' ports of that name; protocol None: of any."""

    selector: Selector
    protocol: int | None
    name: str


class ServiceSource(NamedTuple):
    """Members: the addresses of a service's endpoints, with their ports or without."""

    service: ServiceKey
    with_ports: bool


class DomainSource(NamedTuple):
    """Members: the addresses learned for the domains; nobody learns any yet, so the set is empty."""

    domains: tuple[str, ...]


Source: TypeAlias = SelectorSource | NamedPortSource | ServiceSource | DomainSource


class SetSpec(NamedTuple):
    """A set: its stable id, what kind of members it has, and where they come from."""

    id: str
    kind: SetKind
    source: Source


class Compiled(NamedTuple):
    """The rules of one direction, and the sets they refer to by id."""

    rules: tuple[CompiledRule, ...]
    sets: dict[str, SetSpec]


def compile_rules(owner: str, direction: Literal["ingress", "egress"], rules: Iterable[Rule]) -> Compiled:
    """Compiles rules in order. owner names the policy or profile, for the rule ids.

    Raises SelectorError for a selector that does not parse."""
    sets: dict[str, SetSpec] = {}
    compiled: list[CompiledRule] = []
    digest = sha224(f"{owner}|{direction}".encode()).digest()
    for rule in rules:
        digest = sha224(digest + msgspec.msgpack.encode(rule)).digest()
        compiled.append(
            CompiledRule(
                action=rule.action,
                rule_id=urlsafe_b64encode(digest[:_RULE_ID_BYTES]).decode(),
                ip_version=rule.ip_version,
                protocol=rule.protocol,
                not_protocol=rule.not_protocol,
                icmp=rule.icmp,
                not_icmp=rule.not_icmp,
                src=_side(rule, rule.src, sets, is_source=True),
                dst=_side(rule, rule.dst, sets, is_source=False),
                http=rule.http,
            )
        )
    return Compiled(tuple(compiled), sets)


def _side(rule: Rule, side: EntityMatch, sets: dict[str, SetSpec], *, is_source: bool) -> RuleSide:
    if side == _ANY:
        return _ANY_SIDE
    selector = not_selector = None
    if side.selector and side.not_selector:
        # One set "positive and not negative" instead of two.
        selector = parse(f"({side.selector}) && !({side.not_selector})")
    elif side.selector:
        selector = parse(side.selector)
    elif side.not_selector:
        not_selector = parse(side.not_selector)

    set_ids: list[str] = []
    only_named_ports = bool(side.named_ports) and not side.ports
    if selector is not None and not only_named_ports:
        set_ids.append(_add(sets, _selector_set(selector)))
    if side.domains:
        set_ids.append(_add(sets, _domain_set(side.domains)))
    service_set_ids: list[str] = []
    if side.service is not None:
        spec = _service_set(side.service, with_ports=not is_source)
        (set_ids if is_source else service_set_ids).append(_add(sets, spec))

    scope = selector or parse("all()")

    def named(names: tuple[str, ...]) -> tuple[str, ...]:
        if rule.protocol is not None and rule.protocol not in _PORT_PROTOCOLS:
            return ()  # no endpoint's port has such a protocol
        return tuple(_add(sets, _named_port_set(scope, rule.protocol, name)) for name in dict.fromkeys(names))

    return RuleSide(
        nets=side.nets,
        not_nets=side.not_nets,
        ports=side.ports,
        not_ports=side.not_ports,
        set_ids=tuple(set_ids),
        not_set_ids=() if not_selector is None else (_add(sets, _selector_set(not_selector)),),
        port_set_ids=named(side.named_ports),
        not_port_set_ids=named(side.not_named_ports),
        service_set_ids=tuple(service_set_ids),
        has_ports=bool(side.ports or side.named_ports),
    )


_ANY = EntityMatch()
_ANY_SIDE = RuleSide()


def _add(sets: dict[str, SetSpec], spec: SetSpec) -> str:
    sets[spec.id] = spec
    return spec.id


@lru_cache(maxsize=16384)
def _selector_set(selector: Selector) -> SetSpec:
    return SetSpec(selector.unique_id, "net", SelectorSource(selector))


def _named_port_set(selector: Selector, protocol: int | None, name: str) -> SetSpec:
    wanted = "any" if protocol is None else str(protocol)
    identifier = _hashed("n:", f"{selector.unique_id},{wanted},{name}")
    return SetSpec(identifier, "ip-port", NamedPortSource(selector, protocol, name))


def _service_set(service: ServiceKey, *, with_ports: bool) -> SetSpec:
    prefix = "svc:" if with_ports else "svcnoport:"
    identifier = _hashed(prefix, f"{service.namespace}/{service.name}")
    return SetSpec(identifier, "ip-port" if with_ports else "net", ServiceSource(service, with_ports))


def _domain_set(domains: tuple[str, ...]) -> SetSpec:
    wanted = tuple(sorted(set(domains)))
    return SetSpec(_hashed("d:", ",".join(wanted)), "net", DomainSource(wanted))


@lru_cache(maxsize=16384)
def _hashed(prefix: str, text: str) -> str:
    return prefix + urlsafe_b64encode(sha224((prefix + text).encode()).digest()).decode().rstrip("=")
