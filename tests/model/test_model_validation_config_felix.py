"""What admission accepts and refuses in FelixConfiguration: each constraint of each of its parameters (spec 5).

The first part follows from the table of parameters: types, ranges, words and durations of all of them. The second has
what the table cannot say, one case a line. Both forms and the reference are in test_model_felix_parameters.py.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from validation_cases import Case, Expected, judge, parameters

from tortie.model.catalog import FELIX_CONFIGURATIONS as FELIX
from tortie.model.v3.felix_parameters import PARAMETERS, Parameter

WRONG_TYPE: dict[str, Any] = {
    "bool": "true",
    "int": "1",
    "dscp": True,
    "port-range": True,
    "conntrack-timeouts": "10s",
    "table-range": "1-250",
    "map": [],
}
LISTS = {"list", "cidrs", "dns-servers", "ports", "port-ranges", "table-ranges", "timeouts"}


def of_table(parameter: Parameter) -> Iterator[Case]:
    """Cases that follow from what the table says about a parameter."""
    field, path = parameter.field, f"spec.{parameter.field}"

    def case(value: Any, *, good: bool) -> Case:
        return f"{field} {str(value)[:40]}", {field: value}, None if good else path

    yield case(WRONG_TYPE.get(parameter.kind, "text" if parameter.kind in LISTS else 1), good=False)
    match parameter.kind:
        case "bool":
            yield from (case(value, good=True) for value in (True, False))
        case "int":
            for limit, beyond in ((parameter.minimum, -1), (parameter.maximum, 1)):
                yield case(limit if limit is not None else 1, good=True)
                if limit is not None:
                    yield case(limit + beyond, good=False)
        case "choice":
            for word in parameter.choices:
                yield case(word, good=True)
                # Detail 34: words by pattern ignore case, words by marker do not.
                yield case(word.upper() if word.upper() != word else word.lower(), good=parameter.fold)
            yield case("Whatever", good=False)
        case "duration":
            yield from (case(value, good=True) for value in ("0s", "90s", "1h2m3s4ms", ""))
            # Detail 34: the schema refuses fractions, which Felix would take.
            yield from (case(value, good=False) for value in ("1.5s", "90", "-1s", "1us", "soon"))
        case "regex":
            yield case("^eth[0-9]+$", good=True)
            yield case("(", good=False)
        case "address":
            own, other = ("10.0.0.1", "fd00::1") if parameter.version == 4 else ("fd00::1", "10.0.0.1")
            yield case(own, good=True)
            yield from (case(value, good=False) for value in (other, f"{own}/32", "nonsense"))


TABLE: list[Case] = [case for parameter in PARAMETERS.values() for case in of_table(parameter) if parameter.kind]
PORTS = "failsafeInboundHostPorts"
TIMEOUTS = "healthTimeoutOverrides"


def ports(*items: Any) -> dict[str, Any]:
    return {PORTS: list(items)}


def timeout(name: str = "a", limit: str = "1s") -> dict[str, Any]:
    return {TIMEOUTS: [{"name": name, "timeout": limit}]}


def tables(*pairs: tuple[int, int]) -> dict[str, Any]:
    return {"routeTableRanges": [{"min": low, "max": high} for low, high in pairs]}


def dns(*servers: str) -> dict[str, Any]:
    return {"dnsTrustedServers": list(servers)}


SPECIAL: list[Case] = [
    ("nothing is required", {}, None),
    # Detail 33: no failsafes at all, and the protocols as written.
    ("no failsafes", ports(), None),
    *[(f"failsafe {p}", ports({"protocol": p, "port": 22}), None) for p in ("TCP", "UDP", "SCTP", "")],
    ("failsafe for a range", ports({"protocol": "TCP", "port": 22, "net": "10.0.0.1/8"}), None),
    ("failsafe for an address", ports({"port": 22, "net": "fd00::1"}), None),
    ("failsafe ports 0 and 65535", ports({"port": 0}, {"port": 65535}), None),
    ("failsafe tcp", ports({"protocol": "tcp", "port": 22}), f"spec.{PORTS}[0].protocol"),
    ("failsafe ICMP", ports({"protocol": "ICMP", "port": 22}), f"spec.{PORTS}[0].protocol"),
    ("failsafe port too great", ports({"port": 65536}), f"spec.{PORTS}[0].port"),
    ("failsafe without a port", ports({"protocol": "TCP"}), f"spec.{PORTS}[0].port"),
    ("failsafe for nonsense", ports({"port": 22, "net": "here"}), f"spec.{PORTS}[0].net"),
    (
        "outbound failsafe udp",
        {"failsafeOutboundHostPorts": [{"protocol": "udp", "port": 1}]},
        "spec.failsafeOutboundHostPorts[0].protocol",
    ),
    ("tables", tables((1, 250), (1000, 2000)), None),
    ("a table of its own", tables((4294967295, 4294967295)), None),
    ("65535 tables", tables((1, 65535)), None),
    ("65536 tables", tables((1, 65536)), "spec.routeTableRanges"),
    ("65536 tables in two ranges", tables((1, 65535), (70000, 70000)), "spec.routeTableRanges"),
    ("table 0", tables((0, 5)), "spec.routeTableRanges[0]"),
    ("tables backwards", tables((5, 4)), "spec.routeTableRanges[0]"),
    ("table too great", tables((1, 2), (4294967296, 4294967296)), "spec.routeTableRanges[1]"),
    ("tables in the old way", {"routeTableRange": {"min": 1, "max": 250}}, None),
    ("table 251 in the old way", {"routeTableRange": {"min": 1, "max": 251}}, "spec.routeTableRange"),
    ("table 0 in the old way", {"routeTableRange": {"min": 0, "max": 250}}, "spec.routeTableRange"),
    ("tables in both ways", {"routeTableRange": {"min": 1, "max": 2}, **tables((1, 2))}, "spec.routeTableRange"),
    ("watchdog", timeout("Int Dataplane_1-x"), None),
    ("watchdog off", timeout(limit="0s"), None),
    ("watchdog of a path", timeout("a/b"), f"spec.{TIMEOUTS}[0].name"),
    ("watchdog of nothing", timeout(""), f"spec.{TIMEOUTS}[0].name"),
    ("watchdog before its time", timeout(limit="-1s"), f"spec.{TIMEOUTS}[0].timeout"),
    ("watchdog without a unit", timeout(limit="5"), f"spec.{TIMEOUTS}[0].timeout"),
    ("NAT ports", {"natPortRange": "32768:65535"}, None),
    ("NAT port", {"natPortRange": 4000}, None),
    ("no NAT ports", {"natPortRange": 0}, None),
    ("NAT ports backwards", {"natPortRange": "9:8"}, "spec.natPortRange"),
    ("NAT ports from 0", {"natPortRange": "0:8"}, "spec.natPortRange"),
    ("NAT port by name", {"natPortRange": "http"}, "spec.natPortRange"),
    ("seven ranges of node ports", {"kubeNodePortRanges": ["30000:32767", 80, *["1:2"] * 5]}, None),
    ("eight ranges of node ports", {"kubeNodePortRanges": ["1:2"] * 8}, "spec.kubeNodePortRanges"),
    ("node port 0", {"kubeNodePortRanges": [0]}, "spec.kubeNodePortRanges[0]"),
    ("eBPF source ports backwards", {"bpfPSNATPorts": "2:1"}, "spec.bpfPSNATPorts"),
    *[(f"DSCP {value}", {"istioDSCPMark": value}, None) for value in (0, 63, "46", "EF", "af41", "cs6", "DF")],
    *[(f"DSCP {value}", {"istioDSCPMark": value}, "spec.istioDSCPMark") for value in (64, -1, "CS7", "AF44", "64")],
    ("external nodes", {"externalNodesList": ["10.0.0.1", "10.1.0.1/16"]}, None),
    ("external nodes of IPv6", {"externalNodesList": ["10.0.0.1", "fd00::1"]}, "spec.externalNodesList[1]"),
    ("opted out of DSR", {"bpfDSROptoutCIDRs": ["10.0.0.0/8", "fd00::/8"]}, None),
    ("opted out of DSR by name", {"bpfDSROptoutCIDRs": ["here"]}, "spec.bpfDSROptoutCIDRs[0]"),
    ("not translated", {"bpfExcludeCIDRsFromNAT": ["10.0.0.1"]}, None),
    ("not translated by name", {"bpfExcludeCIDRsFromNAT": ["10.0.0.0/33"]}, "spec.bpfExcludeCIDRsFromNAT[0]"),
    ("log limit", {"logActionRateLimit": "9999/day"}, None),
    *[
        (f"log limit {value}", {"logActionRateLimit": value}, "spec.logActionRateLimit")
        for value in ("0/second", "10000/day", "1/week", "1", "1.5/hour")
    ],
    ("log prefix", {"logPrefix": "tier %t: %k/%n_%p-"}, None),
    ("log prefix with a quote", {"logPrefix": 'a"b'}, "spec.logPrefix"),
    ("features", {"featureDetectOverride": "SNATFullyRandom=false, ChecksumOffloadBroken=true"}, None),
    ("features that are numbers", {"featureDetectOverride": "SNATFullyRandom=0"}, "spec.featureDetectOverride"),
    ("features without a value", {"featureDetectOverride": "SNATFullyRandom"}, "spec.featureDetectOverride"),
    ("previews", {"featureGates": "A=Enabled,B=1"}, None),
    ("previews without a value", {"featureGates": "A="}, "spec.featureGates"),
    ("interfaces left out", {"interfaceExclude": "kube-ipvs0,/^veth.*$/,dummy+"}, None),
    ("interfaces by a broken expression", {"interfaceExclude": "kube-ipvs0,/(/"}, "spec.interfaceExclude"),
    ("interface for SNAT", {"iptablesNATOutgoingInterfaceFilter": "eth0:1+"}, None),
    (
        "interface for SNAT with a star",
        {"iptablesNATOutgoingInterfaceFilter": "eth*"},
        "spec.iptablesNATOutgoingInterfaceFilter",
    ),
    (
        "interface for SNAT too long",
        {"iptablesNATOutgoingInterfaceFilter": "e" * 16},
        "spec.iptablesNATOutgoingInterfaceFilter",
    ),
    ("DNS servers", dns("10.0.0.1", "10.0.0.1:53", "fd00::1", "[fd00::1]:53"), None),
    ("DNS services", dns("k8s-service:kube-dns", "k8s-service:ns/dns:5353"), None),
    ("DNS by name", dns("dns.example.com"), "spec.dnsTrustedServers[0]"),
    ("DNS at port 0", dns("10.0.0.1:0"), "spec.dnsTrustedServers[0]"),
    ("DNS service with capitals", dns("10.0.0.1", "k8s-service:DNS"), "spec.dnsTrustedServers[1]"),
    ("DNS service with a port by name", dns("k8s-service:dns:dns"), "spec.dnsTrustedServers[0]"),
    ("connection timeouts", {"bpfConntrackTimeouts": {"tcpFinsSeen": "Auto", "udpTimeout": "1m"}}, None),
    (
        "connection timeouts in words",
        {"bpfConntrackTimeouts": {"udpTimeout": "Never"}},
        "spec.bpfConntrackTimeouts.udpTimeout",
    ),
    ("packet filters", {"bpfLogFilters": {"eth0": "tcp port 80"}}, None),
    ("load balancing log", {"bpfCTLBLogFilter": "all"}, None),
    ("load balancing log in part", {"bpfCTLBLogFilter": "tcp"}, "spec.bpfCTLBLogFilter"),
    ("region", {"openstackRegion": "region-1"}, None),
    ("region of 46 characters", {"openstackRegion": "r" * 46}, None),
    ("region of 47 characters", {"openstackRegion": "r" * 47}, "spec.openstackRegion"),
    ("region with a dot", {"openstackRegion": "a.b"}, "spec.openstackRegion"),
    ("device name of 15 characters", {"wireguardInterfaceName": "w" * 15}, None),
    ("device name of 16 characters", {"wireguardInterfaceNameV6": "w" * 16}, "spec.wireguardInterfaceNameV6"),
]


@pytest.mark.parametrize(("resource", "spec", "path"), parameters({FELIX: TABLE}))
def test_the_type_range_and_words_of_every_parameter_hold(resource: Any, spec: Any, path: Expected) -> None:
    judge(resource, spec, path)


@pytest.mark.parametrize(("resource", "spec", "path"), parameters({FELIX: SPECIAL}))
def test_what_has_a_form_of_its_own_is_accepted_or_refused(resource: Any, spec: Any, path: Expected) -> None:
    judge(resource, spec, path)


@pytest.mark.parametrize(
    ("name", "selector", "path"),
    [
        ("some-nodes", "zone == 'a'", None),
        ("some-nodes", "zone", "spec.nodeSelector"),
        ("some-nodes", "global()", "spec.nodeSelector"),
        ("some-nodes", f"a == '{'x' * 1024}'", "spec.nodeSelector"),
        ("default", "zone == 'a'", "spec.nodeSelector"),
        ("node.n1", "zone == 'a'", "spec.nodeSelector"),
    ],
)
def test_a_selector_is_for_objects_whose_name_says_nothing(name: str, selector: str, path: str | None) -> None:
    judge(FELIX, {"nodeSelector": selector}, path, name=name)
