"""Policies and profiles as chains: one compiled rule becomes the fewest kernel rules that mean the same.

`CompiledRule`s come in from the calculation, per policy or profile; `Chain`s for one address family go out to the table
writer. Pure. Where the specification describes slots and scratch marks (3.6), lists of ports or networks become small
sets instead: one lookup, whatever their length.
"""

import ipaddress
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import msgspec

from tortie.felix.dataplane import names
from tortie.felix.dataplane.chain import Chain, ContentSet, Version
from tortie.felix.dataplane.config import DataplaneConfig
from tortie.felix.messages import CompiledRule, PolicyUpdate, ProfileUpdate, RuleSide
from tortie.model.dataplane import PortRange
from tortie.net.nft import transaction as nft
from tortie.net.nft.match import (
    Address,
    AddressPortSet,
    AddressSet,
    Icmp,
    NotIcmp,
    Port,
    PortSet,
    Protocol,
    ProtocolSet,
    Side,
)
from tortie.net.nft.statement import ACCEPT, COUNTER, DROP, RETURN, Limit, Log, Part, Reject, Rule, SetMark

_WITH_PORTS = (6, 17, 33, 132, 136)
_ICMP_PROTOCOL = {4: 1, 6: 58}
_LOG_BURST = 5
LOG_PREFIX_LIMIT = 127


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose rules are rendered. layer: filter, raw or mangle; label: for comments; flow_id: for flow log prefixes."""

    layer: str
    inbound: bool
    label: str
    flow_id: str
    log_prefix: str
    letter: str = "P"


def policy_chains(update: PolicyUpdate, version: Version, config: DataplaneConfig) -> tuple[Chain, Chain]:
    """The inbound and the outbound chain."""
    layer = "raw" if update.do_not_track else "mangle" if update.pre_dnat else "filter"
    label = names.policy_id(update.key)
    kind, _, _ = label.partition("/")
    prefix = log_prefix(config, tier=update.tier, kind=kind, name=update.key.name, namespace=update.key.namespace)
    flow_id = f"{update.key.kind}/{update.key.namespace + '/' if update.key.namespace else ''}{update.key.name}"
    chains = []
    for inbound, rules in ((True, update.ingress), (False, update.egress)):
        owner = Owner(layer=layer, inbound=inbound, label=label, flow_id=flow_id, log_prefix=prefix)
        name = names.policy_chain(layer, inbound=inbound, key=update.key)
        chains.append(_chain(name, rules, owner, version, config, str(update.key)))
    return chains[0], chains[1]


def profile_chains(update: ProfileUpdate, version: Version, config: DataplaneConfig) -> tuple[Chain, Chain]:
    prefix = log_prefix(config, tier="", kind="pr", name=update.name, namespace="")
    chains = []
    for inbound, rules in ((True, update.ingress), (False, update.egress)):
        owner = Owner(
            layer="filter",
            inbound=inbound,
            label=f"profile {update.name}",
            flow_id=update.name,
            log_prefix=prefix,
            letter="R",
        )
        name = names.profile_chain(inbound=inbound, name=update.name)
        chains.append(_chain(name, rules, owner, version, config, f"Profile {update.name}"))
    return chains[0], chains[1]


def log_prefix(config: DataplaneConfig, *, tier: str, kind: str, name: str, namespace: str) -> str:
    """The prefix of a Log rule, with its specifiers filled in (spec/felix.md 2.3)."""
    full = f"{namespace}/{name}" if namespace else name
    filled = config.log_prefix
    for specifier, value in (("%t", tier), ("%k", kind), ("%n", name), ("%p", full)):
        filled = filled.replace(specifier, value)
    return f"{filled}: "[:LOG_PREFIX_LIMIT]


def flow_prefix(letter: str, owner: str, *, inbound: bool, index: int, flow_id: str) -> str:
    """The prefix by which the flow collector knows the rule (spec/felix.md 4.1)."""
    direction = "I" if inbound else "E"
    prefix = f"{letter}{owner}{direction}{index}|{flow_id}"
    if len(prefix) < 63:
        return prefix
    return f"{letter}{owner}{direction}{index}|{flow_id[:10]}_{names.digest(flow_id)}_{flow_id[-10:]}"


def _chain(
    name: str, rules: Sequence[CompiledRule], owner: Owner, version: Version, config: DataplaneConfig, title: str
) -> Chain:
    sets: dict[str, ContentSet] = {}
    rendered: list[Rule] = []
    for index, rule in enumerate(rules):
        effects = _effects(rule, index, owner, version, config)
        for match in matches(rule, version, sets):
            rendered += [Rule((*match, *effect), f"{owner.label} rule {index}") for effect in effects]
    return Chain(name=name, rules=tuple(rendered), sets=tuple(sets.values()), owner=title)


def deny_parts(config: DataplaneConfig, version: Version, log: str) -> tuple[tuple[Part, ...], ...]:
    """What happens to a denied packet: a list of rules' effects, since logging and dropping may be two rules."""
    final: Part = Reject(version) if config.reject_denied else DROP
    if config.drop_override in ("Accept", "LogAndAccept"):
        final = ACCEPT
    first: tuple[Part, ...] = (Log(log),) if config.drop_override.startswith("Log") else ()
    return ((COUNTER, *first, final),)


def _effects(
    rule: CompiledRule, index: int, owner: Owner, version: Version, config: DataplaneConfig
) -> tuple[tuple[Part, ...], ...]:
    marks = config.marks

    def recorded(letter: str) -> tuple[Part, ...]:
        if not config.flow_logs or owner.layer == "raw":
            return ()
        prefix = flow_prefix(letter, owner.letter, inbound=owner.inbound, index=index, flow_id=owner.flow_id)
        return (Log(prefix, group=1 if owner.inbound else 2),)

    if rule.action == "allow":
        return ((COUNTER, *recorded("A"), SetMark(bits=marks.accept), RETURN),)
    if rule.action == "pass":
        return ((COUNTER, *recorded("P"), SetMark(bits=marks.passed), RETURN),)
    if rule.action == "deny":
        return tuple((*recorded("D"), *parts) for parts in deny_parts(config, version, owner.log_prefix))
    if config.log_rate_limit:
        rate, _, unit = config.log_rate_limit.partition("/")
        return ((Limit(int(rate), unit or "second", _LOG_BURST), COUNTER, Log(owner.log_prefix)),)
    return ((COUNTER, Log(owner.log_prefix)),)


def matches(rule: CompiledRule, version: Version, sets: dict[str, ContentSet]) -> list[tuple[Part, ...]]:
    """Alternatives, each a conjunction; none if the rule can match nothing in this family. Adds the sets it needs."""
    # An edit changes the ids of all rules after it, but not what they match.
    found, needed = _matches_and_sets(msgspec.structs.replace(rule, rule_id="", action="allow"), version)
    for content in needed:
        sets[content.name] = content
    return found


@lru_cache(maxsize=1 << 15)
def _matches_and_sets(rule: CompiledRule, version: Version) -> tuple[list[tuple[Part, ...]], tuple[ContentSet, ...]]:
    sets: dict[str, ContentSet] = {}
    found = _matches(rule, version, sets)
    return found, tuple(sets.values()) if found else ()


def _matches(rule: CompiledRule, version: Version, sets: dict[str, ContentSet]) -> list[tuple[Part, ...]]:
    if rule.ip_version not in (None, version):
        return []
    common: list[Part] = []
    icmp = rule.icmp or rule.not_icmp
    protocol = rule.protocol
    if icmp is not None and protocol is None:
        protocol = _ICMP_PROTOCOL[version]
    if icmp is not None and protocol != _ICMP_PROTOCOL[version]:
        return []
    if protocol is not None:
        common.append(Protocol(protocol))
    elif _needs_ports(rule):
        common.append(_ports_protocols(version, sets))
    if rule.not_protocol is not None:
        common.append(Protocol(rule.not_protocol, negated=True))
    for side, word in ((rule.src, "saddr"), (rule.dst, "daddr")):
        parts = _address_parts(side, word, version, sets)  # type: ignore[arg-type]  # the words are Side's
        if parts is None:
            return []
        common += parts
    if rule.icmp is not None:
        common.append(Icmp(version, rule.icmp.type, rule.icmp.code))
    if rule.not_icmp is not None:
        common.append(NotIcmp(version, rule.not_icmp.type, rule.not_icmp.code))
    sources = _port_alternatives(rule.src, "saddr", version, sets)
    destinations = _port_alternatives(rule.dst, "daddr", version, sets)
    return [(*common, *source, *destination) for source, destination in itertools.product(sources, destinations)]


def _needs_ports(rule: CompiledRule) -> bool:
    return any(side.ports or side.not_ports for side in (rule.src, rule.dst))


def _ports_protocols(version: Version, sets: dict[str, ContentSet]) -> Part:
    shown = tuple(str(number) for number in _WITH_PORTS)
    content = ContentSet(
        names.content_set(version, "proto", shown),
        nft.PROTOCOLS,
        tuple(nft.key_element(bytes((number,))) for number in _WITH_PORTS),
        shown,
    )
    sets[content.name] = content
    return ProtocolSet(content.name)


def _address_parts(side: RuleSide, word: Side, version: Version, sets: dict[str, ContentSet]) -> list[Part] | None:
    """None: nothing can match."""
    parts: list[Part] = []
    if side.nets:
        nets = _of_family(side.nets, version)
        if not nets:
            return None
        if not _is_everything(nets):
            parts.append(_nets(nets, word, version, sets, negated=False))
    if side.not_nets:
        nets = _of_family(side.not_nets, version)
        # A list with nothing left of this family leaves the rule out of it, negated or not (spec/felix.md 2.9).
        if not nets or _is_everything(nets):
            return None
        parts.append(_nets(nets, word, version, sets, negated=True))
    parts += [AddressSet(word, version, names.ip_set(version, name)) for name in side.set_ids]
    parts += [AddressSet(word, version, names.ip_set(version, name), negated=True) for name in side.not_set_ids]
    return parts


def _of_family(nets: Iterable[str], version: Version) -> list[str]:
    """The networks of one family, without those that lie within another of them (nftables refuses overlaps)."""
    parsed = {ipaddress.ip_network(net) for net in nets if (":" in net) == (version == 6)}
    return [str(net) for net in ipaddress.collapse_addresses(parsed)]  # type: ignore[type-var]  # one family only


def _is_everything(nets: list[str]) -> bool:
    return nets[0].endswith("/0")


def _nets(nets: list[str], word: Side, version: Version, sets: dict[str, ContentSet], *, negated: bool) -> Part:
    if len(nets) == 1:
        return Address(word, nets[0], negated)
    elements = []
    for net in nets:
        network = ipaddress.ip_network(net)
        elements.append(nft.net_element(version, int(network.network_address), network.prefixlen))
    kind = nft.NETS4 if version == 4 else nft.NETS6
    content = ContentSet(names.content_set(version, "nets", nets), kind, tuple(elements), tuple(nets))
    sets[content.name] = content
    return AddressSet(word, version, content.name, negated)


def _port_alternatives(
    side: RuleSide, word: Side, version: Version, sets: dict[str, ContentSet]
) -> list[tuple[Part, ...]]:
    port_word = "sport" if word == "saddr" else "dport"
    required: list[Part] = []
    if side.not_ports:
        required.append(_ports(side.not_ports, port_word, version, sets, negated=True))
    required += [
        AddressPortSet(word, version, names.ip_set(version, name), negated=True) for name in side.not_port_set_ids
    ]
    required += [AddressPortSet(word, version, names.ip_set(version, name)) for name in side.service_set_ids]
    alternatives: list[Part] = []
    if side.ports:
        alternatives.append(_ports(side.ports, port_word, version, sets, negated=False))
    alternatives += [AddressPortSet(word, version, names.ip_set(version, name)) for name in side.port_set_ids]
    if alternatives:
        return [(*required, alternative) for alternative in alternatives]
    if side.has_ports:
        return []
    return [tuple(required)]


def _ports(
    ranges: tuple[PortRange, ...], word: str, version: Version, sets: dict[str, ContentSet], *, negated: bool
) -> Part:
    joined = join_ports(ranges)
    side: object = word
    if len(joined) == 1:
        return Port(side, joined[0].first, joined[0].last, negated)  # type: ignore[arg-type]  # sport or dport
    content = _port_set(joined, version)
    sets[content.name] = content
    return PortSet(side, content.name, negated)  # type: ignore[arg-type]  # sport or dport


@lru_cache(maxsize=4096)
def _port_set(joined: tuple[PortRange, ...], version: Version) -> ContentSet:
    interval = any(span.first != span.last for span in joined)
    shown = tuple(str(span.first) if span.first == span.last else f"{span.first}-{span.last}" for span in joined)
    return ContentSet(
        names.content_set(version, "ports", shown),
        nft.PORT_RANGES if interval else nft.PORTS,
        tuple(nft.port_element(span.first, span.last, interval=interval) for span in joined),
        shown,
    )


def join_ports(ranges: Iterable[PortRange]) -> tuple[PortRange, ...]:
    """Sorted, with ranges that touch or overlap joined."""
    result: list[PortRange] = []
    for span in sorted(ranges):
        if result and span.first <= result[-1].last + 1:
            if span.last > result[-1].last:
                result[-1] = PortRange(result[-1].first, span.last)
        else:
            result.append(span)
    return tuple(result)
