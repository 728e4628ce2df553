"""The base chains and what hangs on them: how a packet finds the chains of its endpoints (spec/felix.md 3.2-3.4).

A `Situation` comes in, the few facts about the node on which the frame depends; chains for one address family go out to
the table writer. Pure. A hook that would have nothing to do gets no base chain, since every hook costs every packet.
"""

from dataclasses import dataclass
from typing import Literal

from tortie.felix.dataplane import endpoints, names
from tortie.felix.dataplane.chain import Chain, Version
from tortie.felix.dataplane.config import DataplaneConfig
from tortie.net.nft.match import (
    Address,
    AddressSet,
    AddressType,
    ConntrackState,
    DestinationTranslated,
    Icmp,
    Interface,
    Mark,
    NoRouteBack,
    Port,
    Protocol,
)
from tortie.net.nft.statement import (
    ACCEPT,
    COUNTER,
    DROP,
    RETURN,
    InterfaceMap,
    Masquerade,
    NoTrack,
    Part,
    Reject,
    Rule,
    SetMark,
    SourceNat,
    Verdict,
)
from tortie.net.nft.transaction import Hook

RAW_PREROUTING = Hook("filter", "prerouting", -300)
RAW_OUTPUT = Hook("filter", "output", -300)
MANGLE_PREROUTING = Hook("filter", "prerouting", -150)
MANGLE_POSTROUTING = Hook("filter", "postrouting", -150)
NAT_POSTROUTING = Hook("nat", "postrouting", 110)
FILTER_INPUT = Hook("filter", "input", 0)
FILTER_FORWARD = Hook("filter", "forward", 0)
FILTER_OUTPUT = Hook("filter", "output", 0)

ALL_POOLS, MASQUERADE_POOLS, ALL_HOSTS, VXLAN_HOSTS, SERVICE_CIDRS = (
    "all-ipam-pools",
    "masq-ipam-pools",
    "all-hosts-net",
    "all-vxlan-net",
    "service-cidrs",
)
FROM_WORKLOAD, TO_WORKLOAD = "filter-cali-from-wl-dispatch", "filter-cali-to-wl-dispatch"
VXLAN_DEVICE: dict[int, str] = {4: "vxlan.calico", 6: "vxlan-v6.calico"}

_ESTABLISHED = ConntrackState(("established", "related"))
_ND_AND_MLD = (130, 131, 132, 133, 135, 136)
_TCP, _UDP, _ICMPV6, _IPIP = 6, 17, 58, 4


@dataclass(frozen=True, slots=True)
class Situation:
    """host_dispatch: dispatch chains of host endpoints in use, each with the chain of the wildcard endpoint or "".

    spoofing: (interface, CIDR) pairs of workloads that may send from addresses that are not theirs."""

    vxlan: bool = False
    ipip: bool = False
    masquerade: bool = False
    service_cidrs: bool = False
    host_dispatch: tuple[tuple[str, str], ...] = ()
    spoofing: tuple[tuple[str, str], ...] = ()


def chains(situation: Situation, version: Version, config: DataplaneConfig) -> list[Chain]:
    return [
        *_raw(situation, version, config),
        *_mangle(situation, config),
        *_nat(situation, version, config),
        *_filter(situation, version, config),
        *_dispatch(situation),
        *_failsafes(situation, version, config),
    ]


def _to_workloads(direction: Literal["iifname", "oifname"], config: DataplaneConfig) -> list[Interface]:
    return [Interface(direction, f"{prefix}*") for prefix in config.interface_prefixes]


def _known(version: Version, name: str) -> str:
    return names.ip_set(version, name)


def _vxlan_port(config: DataplaneConfig) -> tuple[Part, ...]:
    return (Protocol(_UDP), Port("dport", config.vxlan_port, config.vxlan_port))


def _layers(situation: Situation, layer: str) -> bool:
    return any(name.startswith(f"{layer}-") for name, _ in situation.host_dispatch)


# --- raw -------------------------------------------------------------------------------------------------------


def _raw(situation: Situation, version: Version, config: DataplaneConfig) -> list[Chain]:
    marks = config.marks
    untracked = _layers(situation, "raw")
    accepted = Mark(marks.accept, marks.accept)
    arriving = [Rule((SetMark(clear=marks.both),))]
    if situation.vxlan:
        arriving.append(Rule((*_vxlan_port(config), NoTrack()), "VXLAN is not tracked"))
    arriving += [Rule((match, Verdict("goto", "raw-cali-rpf"))) for match in _to_workloads("iifname", config)]
    if untracked:
        arriving.append(Rule((Verdict("jump", "raw-cali-from-host-endpoint"),)))
        arriving.append(Rule((accepted, COUNTER, NoTrack(), ACCEPT), "untracked policy"))
    check = [
        Rule((Interface("iifname", interface), Address("saddr", cidr), COUNTER, RETURN), "allowed source prefix")
        for interface, cidr in situation.spoofing
        if (":" in cidr) == (version == 6)
    ]
    check.append(Rule((NoRouteBack(), COUNTER, DROP), "source address is not the workload's"))
    result = [
        Chain("raw-PREROUTING", tuple(arriving), RAW_PREROUTING),
        Chain("raw-cali-rpf", tuple(check)),
    ]
    leaving: list[Rule] = []
    if situation.host_dispatch:
        leaving.append(Rule((SetMark(clear=marks.both),)))
    if untracked:
        leaving.append(Rule((Verdict("jump", "raw-cali-to-host-endpoint"),)))
    if situation.vxlan:
        leaving.append(Rule((*_vxlan_port(config), NoTrack()), "VXLAN is not tracked"))
    if untracked:
        leaving.append(Rule((accepted, COUNTER, NoTrack(), ACCEPT), "untracked policy"))
    if leaving:
        result.append(Chain("raw-OUTPUT", tuple(leaving), RAW_OUTPUT))
    return result


# --- mangle ----------------------------------------------------------------------------------------------------


def _mangle(situation: Situation, config: DataplaneConfig) -> list[Chain]:
    accepted = Mark(config.marks.accept, config.marks.accept)
    result = []
    if _layers(situation, "mangle"):
        rules = [
            Rule((_ESTABLISHED, COUNTER, ACCEPT)),
            Rule((accepted, COUNTER, ACCEPT), "accepted by untracked policy"),
            Rule((Interface("iifname", "lo"), ACCEPT)),
            Rule((Verdict("jump", "mangle-cali-from-host-endpoint"),)),
        ]
        result.append(Chain("mangle-PREROUTING", tuple(rules), MANGLE_PREROUTING))
    if _layers(situation, "filter"):
        rules = [
            Rule((_ESTABLISHED, COUNTER, ACCEPT)),
            Rule((accepted, ACCEPT), "forwarded, or accepted by untracked policy"),
            Rule((DestinationTranslated(negated=True), ACCEPT)),
            Rule((Interface("oifname", "lo"), ACCEPT)),
            *[Rule((match, ACCEPT), "host to local workload") for match in _to_workloads("oifname", config)],
            Rule((Verdict("jump", "filter-cali-to-host-endpoint"),), "from the host, destination translated"),
        ]
        result.append(Chain("mangle-POSTROUTING", tuple(rules), MANGLE_POSTROUTING))
    return result


# --- nat -------------------------------------------------------------------------------------------------------


def _nat(situation: Situation, version: Version, config: DataplaneConfig) -> list[Chain]:
    rules: list[Rule] = []
    if situation.masquerade:
        matches: list[Part] = [
            AddressSet("saddr", version, _known(version, MASQUERADE_POOLS)),
            AddressSet("daddr", version, _known(version, ALL_POOLS), negated=True),
        ]
        if config.nat_exclude_hosts:
            matches.append(AddressSet("daddr", version, _known(version, ALL_HOSTS), negated=True))
        rules += [Rule((*matches, *how), "outgoing NAT") for how in _translations(situation, version, config)]
    if situation.vxlan:
        device = VXLAN_DEVICE[version]
        rules.append(
            Rule(
                (
                    Interface("oifname", device),
                    AddressType(("saddr",), "local"),
                    AddressType(("saddr", "oif"), "local", negated=True),
                    COUNTER,
                    Masquerade(),
                ),
                "host to tunnel",
            )
        )
    if not rules:
        return []
    return [
        Chain("nat-POSTROUTING", (Rule((Verdict("jump", "nat-cali-nat-outgoing"),)),), NAT_POSTROUTING),
        Chain("nat-cali-nat-outgoing", tuple(rules)),
    ]


def _translations(situation: Situation, version: Version, config: DataplaneConfig) -> list[tuple[Part, ...]]:
    """Port ranges are given per protocol; UDP keeps away from the VXLAN port, whose packets are never tracked."""
    address = config.nat_outgoing_address
    own_address = bool(address) and (":" in address) == (version == 6)

    def translate(first: int = 0, last: int = 0) -> Part:
        return SourceNat(address, first, last) if own_address else Masquerade(first, last)

    first, last = config.nat_first_port, config.nat_last_port
    udp_first, udp_last = first, last
    if situation.vxlan:
        low, high = first or 1024, last or 65535
        if low <= config.vxlan_port <= high:
            below, above = (low, config.vxlan_port - 1), (config.vxlan_port + 1, high)
            udp_first, udp_last = max(below, above, key=lambda span: span[1] - span[0])
    result: list[tuple[Part, ...]] = []
    if first:
        result.append((Protocol(_TCP), COUNTER, translate(first, last)))
    if udp_first:
        result.append((Protocol(_UDP), COUNTER, translate(udp_first, udp_last)))
    result.append((COUNTER, translate()))
    return result


# --- filter ----------------------------------------------------------------------------------------------------


def _filter(situation: Situation, version: Version, config: DataplaneConfig) -> list[Chain]:
    result = [
        Chain("filter-INPUT", tuple(_input(situation, version, config)), FILTER_INPUT),
        Chain("filter-FORWARD", tuple(_forward(situation, version, config)), FILTER_FORWARD),
        Chain("filter-cali-wl-to-host", tuple(_workload_to_host(version, config))),
    ]
    output = _output(situation, version, config)
    if output:
        result.append(Chain("filter-OUTPUT", tuple(output), FILTER_OUTPUT))
    if situation.service_cidrs and config.service_loop_prevention != "Disabled":
        final: Part = Reject(version) if config.service_loop_prevention == "Reject" else DROP
        match = AddressSet("daddr", version, _known(version, SERVICE_CIDRS))
        result.append(Chain("filter-cali-cidr-block", (Rule((match, COUNTER, final), "service address loops"),)))
    return result


def _input(situation: Situation, version: Version, config: DataplaneConfig) -> list[Rule]:
    rules = [Rule((_ESTABLISHED, COUNTER, ACCEPT))]
    if situation.vxlan:
        known = AddressSet("saddr", version, _known(version, VXLAN_HOSTS))
        local = AddressType(("daddr",), "local")
        rules.append(Rule((*_vxlan_port(config), known, local, COUNTER, ACCEPT), "VXLAN from a known node"))
        rules.append(Rule((*_vxlan_port(config), COUNTER, DROP), "VXLAN from elsewhere"))
    if situation.ipip:
        known = AddressSet("saddr", version, _known(version, ALL_HOSTS))
        rules.append(
            Rule((Protocol(_IPIP), known, AddressType(("daddr",), "local"), COUNTER, ACCEPT), "IPIP of a node")
        )
        rules.append(Rule((Protocol(_IPIP), COUNTER, DROP), "IPIP from elsewhere"))
    rules += [Rule((match, Verdict("goto", "filter-cali-wl-to-host"))) for match in _to_workloads("iifname", config)]
    if _layers(situation, "filter"):
        rules += [
            Rule((Mark(config.marks.accept, config.marks.accept), COUNTER, ACCEPT), "accepted by earlier policy"),
            Rule((Interface("iifname", "lo"), ACCEPT)),
            Rule((Verdict("jump", "filter-cali-from-host-endpoint"),)),
        ]
    return rules


def _forward(situation: Situation, version: Version, config: DataplaneConfig) -> list[Rule]:
    host = _layers(situation, "filter")
    rules = [Rule((_ESTABLISHED, COUNTER, ACCEPT))]
    if host:
        rules.append(Rule((Mark(config.marks.accept, 0), Verdict("jump", "filter-cali-from-hep-forward"))))
    rules += [Rule((match, Verdict("jump", FROM_WORKLOAD))) for match in _to_workloads("iifname", config)]
    rules += [Rule((match, Verdict("jump", TO_WORKLOAD))) for match in _to_workloads("oifname", config)]
    if host:
        rules.append(Rule((Verdict("jump", "filter-cali-to-hep-forward"),)))
    if situation.service_cidrs and config.service_loop_prevention != "Disabled":
        rules.append(Rule((Verdict("jump", "filter-cali-cidr-block"),)))
    if host:
        rules.append(Rule((SetMark(bits=config.marks.accept),), "tells postrouting that this was forwarded"))
    return rules


def _output(situation: Situation, version: Version, config: DataplaneConfig) -> list[Rule]:
    if not _layers(situation, "filter"):
        return []
    rules = [
        Rule((_ESTABLISHED, COUNTER, ACCEPT)),
        Rule((Mark(config.marks.accept, config.marks.accept), COUNTER, ACCEPT), "accepted by untracked policy"),
        Rule((Interface("oifname", "lo"), ACCEPT)),
        *[Rule((match, ACCEPT), "host to local workload") for match in _to_workloads("oifname", config)],
    ]
    if situation.vxlan:
        known = AddressSet("daddr", version, _known(version, VXLAN_HOSTS))
        local = AddressType(("saddr",), "local")
        rules.append(Rule((*_vxlan_port(config), local, known, COUNTER, ACCEPT), "VXLAN to a known node"))
    if situation.ipip:
        known = AddressSet("daddr", version, _known(version, ALL_HOSTS))
        rules.append(
            Rule((Protocol(_IPIP), AddressType(("saddr",), "local"), known, COUNTER, ACCEPT), "IPIP to a node")
        )
    rules.append(Rule((DestinationTranslated(), ACCEPT), "judged in postrouting"))
    rules.append(Rule((Verdict("jump", "filter-cali-to-host-endpoint"),)))
    return rules


def _workload_to_host(version: Version, config: DataplaneConfig) -> list[Rule]:
    rules = []
    if version == 6:
        rules += [
            Rule((Protocol(_ICMPV6), Icmp(6, kind), COUNTER, ACCEPT), "the host acts as router") for kind in _ND_AND_MLD
        ]
    rules.append(Rule((Verdict("jump", FROM_WORKLOAD),)))
    action: Part = {"drop": DROP, "return": RETURN, "accept": ACCEPT}[config.endpoint_to_host_action]
    rules.append(Rule((COUNTER, action), "workload to host"))
    return rules


# --- dispatch --------------------------------------------------------------------------------------------------


def _dispatch(situation: Situation) -> list[Chain]:
    unknown = Rule((COUNTER, DROP), "unknown workload interface")
    result = [
        Chain(FROM_WORKLOAD, (Rule((InterfaceMap("iifname", FROM_WORKLOAD),)), unknown)),
        Chain(TO_WORKLOAD, (Rule((InterfaceMap("oifname", TO_WORKLOAD),)), unknown)),
    ]
    for name, wildcard in situation.host_dispatch:
        direction: Literal["iifname", "oifname"] = "iifname" if "-from-" in name else "oifname"
        rules = [Rule((InterfaceMap(direction, name),))]
        if wildcard:
            rules.append(Rule((Verdict("goto", wildcard),), "every other interface"))
        result.append(Chain(name, tuple(rules)))
    return result


def _failsafes(situation: Situation, version: Version, config: DataplaneConfig) -> list[Chain]:
    result: list[Chain] = []
    for layer in ("raw", "mangle", "filter"):
        if _layers(situation, layer):
            result += endpoints.failsafe_chains(layer, version, config)
    return result
