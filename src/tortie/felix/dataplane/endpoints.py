"""Endpoints as chains: the tiers that apply, in order, then the profiles, then deny (spec/felix.md 2.3-2.5).

Endpoint messages come in from the calculation; chains for one address family go out to the table writer: two for a
workload, up to eight for a host endpoint, plus shared group chains. Pure.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from tortie.felix.dataplane import names
from tortie.felix.dataplane.chain import Chain, Version
from tortie.felix.dataplane.config import DataplaneConfig, Failsafe
from tortie.felix.dataplane.marks import Marks
from tortie.felix.dataplane.policies import deny_parts
from tortie.felix.messages import HostEndpointUpdate, TierInfo, WorkloadEndpointUpdate
from tortie.model.dataplane import PolicyKey
from tortie.net.nft.match import Address, ConntrackState, Icmp, Mark, Port, Protocol
from tortie.net.nft.statement import ACCEPT, COUNTER, DROP, RETURN, Log, Part, Rule, SetMark, Verdict

_UDP, _IPIP, ICMPV6 = 17, 4, 58
NEIGHBOUR_DISCOVERY = (130, 131, 132, 133, 134, 135, 136)
"""ICMPv6 types of neighbour discovery and multicast listener discovery."""
_INVALID = ConntrackState(("invalid",))
_CHECK_EVERY = 5

FAILSAFE_IN, FAILSAFE_OUT = "cali-failsafe-in", "cali-failsafe-out"
ANY_INTERFACE = "any-interface"


@dataclass(frozen=True, slots=True)
class _Direction:
    layer: str
    inbound: bool

    def policies(self, tier: TierInfo) -> tuple[PolicyKey, ...]:
        return tier.ingress if self.inbound else tier.egress

    @property
    def group(self) -> int:
        return 1 if self.inbound else 2

    @property
    def letter(self) -> str:
        return "I" if self.inbound else "E"


def workload_chains(update: WorkloadEndpointUpdate, version: Version, config: DataplaneConfig) -> list[Chain]:
    """The chain for packets to the workload, the one for packets from it, and the groups they jump to."""
    title = str(update.key.workload)
    chains: list[Chain] = []
    for inbound, kind in ((True, "tw"), (False, "fw")):
        direction = _Direction("filter", inbound)
        name = names.endpoint_chain("filter", kind, update.interface)
        groups: list[Chain] = []
        if not update.active:
            rules = [Rule((COUNTER, DROP), f"{title} is not active")]
        elif not (update.ipv4_nets if version == 4 else update.ipv6_nets) and not update.allowed_source_prefixes:
            # Nothing it sends could have a valid source, and nothing can be routed to it.
            rules = [Rule((COUNTER, DROP), f"{title} has no address of this family")]
        else:
            rules = _start(config)
            if not inbound:
                rules += _no_encapsulation(version, config)
            tier_part, groups = _tiers(update.tiers, direction, version, config)
            rules += tier_part
            rules += _profiles(update.profiles, direction, version, config)
        chains.append(Chain(name=name, rules=tuple(rules), owner=title))
        chains += groups
    return chains


def _start(config: DataplaneConfig) -> list[Rule]:
    rules = []
    if config.check_conntrack_invalid:
        rules.append(Rule((_INVALID, COUNTER, DROP), "invalid connection state"))
    rules.append(Rule((SetMark(clear=config.marks.both),)))
    return rules


def _no_encapsulation(version: Version, config: DataplaneConfig) -> list[Rule]:
    rules = []
    if not config.allow_vxlan_from_workloads:
        rules.append(
            Rule(
                (Protocol(_UDP), Port("dport", config.vxlan_port, config.vxlan_port), COUNTER, DROP),
                "no VXLAN from workloads",
            )
        )
    if version == 4 and not config.allow_ipip_from_workloads:
        rules.append(Rule((Protocol(_IPIP), COUNTER, DROP), "no IPIP from workloads"))
    return rules


def _accepted(marks: Marks) -> Mark:
    return Mark(marks.accept, marks.accept)


def _tiers(
    tiers: Sequence[TierInfo],
    direction: _Direction,
    version: Version,
    config: DataplaneConfig,
    *,
    always_continue: bool = False,
) -> tuple[list[Rule], list[Chain]]:
    """always_continue: the end of a tier never denies, as for untracked and pre-DNAT policy."""
    marks = config.marks
    rules: list[Rule] = []
    groups: list[Chain] = []
    for tier in tiers:
        policies = direction.policies(tier)
        if not policies:
            continue
        if rules:
            rules.append(Rule((SetMark(clear=marks.passed),), f"tier {tier.name}"))
        chains = tuple(names.policy_chain(direction.layer, inbound=direction.inbound, key=key) for key in policies)
        if len(chains) > 1:
            group = _group(chains, direction.layer, direction.inbound, marks)
            groups.append(group)
            target = group.name
        else:
            target = chains[0]
        rules.append(Rule((Verdict("jump", target),), f"tier {tier.name}"))
        rules.append(Rule((_accepted(marks), RETURN)))
        if always_continue:
            continue
        undecided = Mark(marks.passed, 0)
        if tier.default_action == "deny":
            recorded = _recorded(config, f"DP{direction.letter}|{tier.name}", direction)
            log = f"{config.log_prefix}: "
            rules += [
                Rule((undecided, *recorded, *parts), f"end of tier {tier.name}")
                for parts in deny_parts(config, version, log)
            ]
        else:
            recorded = _recorded(config, f"PP{direction.letter}|{tier.name}", direction)
            if recorded:
                rules.append(Rule((undecided, *recorded), f"end of tier {tier.name}"))
    return rules, groups


def _recorded(config: DataplaneConfig, prefix: str, direction: _Direction) -> tuple[Part, ...]:
    return (Log(prefix, group=direction.group),) if config.flow_logs else ()


@lru_cache(maxsize=4096)
def _group(chains: tuple[str, ...], layer: str, inbound: bool, marks: Marks) -> Chain:
    """Policies one after the other until one decides; looks at the mark before each, leaves after every fifth."""
    undecided, decided = Mark(marks.both, 0), Mark(marks.both, 0, negated=True)
    rules: list[Rule] = []
    for position, chain in enumerate(chains):
        if position == 0:
            rules.append(Rule((Verdict("jump", chain),)))
        elif position % _CHECK_EVERY == 0:
            rules += [Rule((decided, RETURN)), Rule((Verdict("jump", chain),))]
        else:
            rules.append(Rule((undecided, Verdict("jump", chain))))
    return Chain(name=names.group_chain(layer, inbound=inbound, policy_chains=chains), rules=tuple(rules))


def _profiles(profiles: Sequence[str], direction: _Direction, version: Version, config: DataplaneConfig) -> list[Rule]:
    rules: list[Rule] = []
    for profile in profiles:
        chain = names.profile_chain(inbound=direction.inbound, name=profile)
        rules.append(Rule((Verdict("jump", chain),), f"profile {profile}"))
        rules.append(Rule((_accepted(config.marks), RETURN)))
    recorded = _recorded(config, f"DR{direction.letter}", direction)
    rules += [
        Rule((*recorded, *parts), "no profile matched")
        for parts in deny_parts(config, version, f"{config.log_prefix}: ")
    ]
    return rules


# --- host endpoints --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HostChains:
    """The chains of one host endpoint on one interface, and which dispatch maps lead to them (name of the dispatch
    chain -> chain)."""

    chains: tuple[Chain, ...]
    dispatch: dict[str, str]


def host_chains(update: HostEndpointUpdate, interface: str, version: Version, config: DataplaneConfig) -> HostChains:
    """interface: the device, or `ANY_INTERFACE` for the wildcard endpoint, which has no untracked policy."""
    title = f"HostEndpoint {update.key.name}"
    chains: list[Chain] = []
    dispatch: dict[str, str] = {}

    def add(layer: str, kind: str, dispatch_name: str, render: Callable[[_Direction], list[Rule]]) -> None:
        inbound = kind.startswith("f")
        name = names.endpoint_chain(layer, kind, interface)
        chains.append(Chain(name=name, rules=tuple(render(_Direction(layer, inbound))), owner=title))
        dispatch[f"{layer}-{dispatch_name}"] = name

    def normal(direction: _Direction) -> list[Rule]:
        rules = [
            Rule((Verdict("jump", f"filter-{FAILSAFE_IN if direction.inbound else FAILSAFE_OUT}"),)),
        ]
        rules = [*_invalid(config), *rules, Rule((SetMark(clear=config.marks.both),))]
        tier_part, groups = _tiers(update.tiers, direction, version, config)
        chains.extend(groups)
        return [*rules, *tier_part, *_profiles(update.profiles, direction, version, config)]

    def forward(direction: _Direction) -> list[Rule]:
        tiers = [tier for tier in update.forward_tiers if direction.policies(tier)]
        if not tiers:
            return [Rule((COUNTER, RETURN), "no forward policy")]
        tier_part, groups = _tiers(tiers, direction, version, config)
        chains.extend(groups)
        return [*_invalid(config), Rule((SetMark(clear=config.marks.both),)), *tier_part]

    def early(tiers: tuple[TierInfo, ...]) -> Callable[[_Direction], list[Rule]]:
        def render(direction: _Direction) -> list[Rule]:
            failsafe = FAILSAFE_IN if direction.inbound else FAILSAFE_OUT
            start = Rule((Verdict("jump", f"{direction.layer}-{failsafe}"),))
            tier_part, groups = _tiers(tiers, direction, version, config, always_continue=True)
            chains.extend(groups)
            return [start, Rule((SetMark(clear=config.marks.both),)), *tier_part]

        return render

    add("filter", "fh", "cali-from-host-endpoint", normal)
    add("filter", "th", "cali-to-host-endpoint", normal)
    add("filter", "fhfw", "cali-from-hep-forward", forward)
    add("filter", "thfw", "cali-to-hep-forward", forward)
    if update.pre_dnat_tiers:
        add("mangle", "fh", "cali-from-host-endpoint", early(update.pre_dnat_tiers))
    if update.untracked_tiers and interface != ANY_INTERFACE:
        add("raw", "fh", "cali-from-host-endpoint", early(update.untracked_tiers))
        add("raw", "th", "cali-to-host-endpoint", early(update.untracked_tiers))
    return HostChains(chains=tuple(chains), dispatch=dispatch)


def _invalid(config: DataplaneConfig) -> list[Rule]:
    if not config.check_conntrack_invalid:
        return []
    return [Rule((_INVALID, COUNTER, DROP), "invalid connection state")]


def failsafe_chains(layer: str, version: Version, config: DataplaneConfig) -> list[Chain]:
    """What stays open whatever policy says; without conntrack (raw) the other direction's replies too.

    Neighbour discovery belongs to it: without it no open port could be reached by IPv6 for long.
    """
    inbound = [_failsafe(entry, "saddr", "dport", version) for entry in config.failsafe_in]
    outbound = [_failsafe(entry, "daddr", "dport", version) for entry in config.failsafe_out]
    if layer == "raw":
        replies_in = [_failsafe(entry, "saddr", "sport", version) for entry in config.failsafe_out]
        replies_out = [_failsafe(entry, "daddr", "sport", version) for entry in config.failsafe_in]
        inbound, outbound = inbound + replies_in, outbound + replies_out
    discovery = [
        Rule((Protocol(ICMPV6), Icmp(6, kind), COUNTER, ACCEPT), "neighbour discovery")
        for kind in (NEIGHBOUR_DISCOVERY if version == 6 else ())
    ]
    return [
        Chain(name=f"{layer}-{FAILSAFE_IN}", rules=(*discovery, *[rule for rule in inbound if rule])),
        Chain(name=f"{layer}-{FAILSAFE_OUT}", rules=(*discovery, *[rule for rule in outbound if rule])),
    ]


def _failsafe(entry: Failsafe, side: str, port_side: str, version: Version) -> Rule | None:
    parts: list[Part] = [Protocol(entry.protocol)]
    if entry.net:
        if (":" in entry.net) != (version == 6):
            return None
        if not entry.net.endswith("/0"):
            parts.append(Address(side, entry.net))  # type: ignore[arg-type]  # saddr or daddr
    parts.append(Port(port_side, entry.port, entry.port))  # type: ignore[arg-type]  # sport or dport
    return Rule((*parts, COUNTER, ACCEPT), "failsafe")
