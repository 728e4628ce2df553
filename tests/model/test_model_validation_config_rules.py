"""Limits and shared types of rules, in every kind of policy, and the property that what is accepted can be enforced.

The rules between fields are in test_model_rules.py, policies as a whole in test_model_policies.py (spec 2).
"""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from validation_cases import Case, Expected, every_case_has_both, judge, named, parameters, survives

from tortie.model import catalog as c
from tortie.model import convert
from tortie.model.admission import admit
from tortie.model.dataplane import Policy
from tortie.model.resource import Resource

RULE = "spec.ingress[0]"
OUT = "spec.egress[0]"


def rule(**fields: Any) -> dict[str, Any]:
    return {"ingress": [{"action": "Allow", **fields}]}


def source(**entity: Any) -> dict[str, Any]:
    return rule(source=entity)


def to(**entity: Any) -> dict[str, Any]:
    return {"egress": [{"action": "Allow", "protocol": "TCP", "destination": entity}]}


def domains(*names: str) -> dict[str, Any]:
    return to(domains=list(names))


def http(**fields: Any) -> dict[str, Any]:
    return rule(http=fields)


def header(operator: str, *values: str, name: str = "x-team") -> dict[str, Any]:
    return http(headers=[{"header": name, "operator": operator, "values": list(values)}])


def nets(count: int) -> list[str]:
    return [f"10.{number // 256}.{number % 256}.0/24" for number in range(count)]


SERVICE = {"name": "db", "namespace": "data"}
SHARED: list[Case] = [
    *[(f"action {action}", rule(action=action), None) for action in ("Allow", "Deny", "Log", "Pass")],
    *[(f"action {action}", rule(action=action), f"{RULE}.action") for action in ("allow", "Accept", "next-tier")],
    ("no action", {"ingress": [{}]}, f"{RULE}.action"),
    *[(f"version {version}", rule(ipVersion=version), None) for version in (4, 6)],
    *[(f"version {version}", rule(ipVersion=version), f"{RULE}.ipVersion") for version in (0, 5, "4")],
    *[(f"protocol {p}", rule(protocol=p), None) for p in ("TCP", "UDP", "ICMP", "ICMPv6", "SCTP", "UDPLite", 1, 255)],
    *[(f"protocol {p}", rule(protocol=p), f"{RULE}.protocol") for p in ("tcp", "Icmp", 0, 256, -1, "256", "0", "")],
    ("both protocol and its opposite", rule(protocol="TCP", notProtocol="UDP"), None),
    ("not protocol 0", rule(notProtocol=0), f"{RULE}.notProtocol"),
    ("ICMP 0 and 254", rule(protocol="ICMP", icmp={"type": 254, "code": 255}, notICMP={"type": 0}), None),
    ("ICMP 255", rule(protocol="ICMP", icmp={"type": 255}), f"{RULE}.icmp.type"),
    ("ICMP code 256", rule(protocol="ICMP", icmp={"type": 0, "code": 256}), f"{RULE}.icmp.code"),
    ("ICMP by number", rule(protocol=1, icmp={"type": 8}), None),
    ("ICMPv6 by number", rule(protocol=58, icmp={"type": 128}), None),
    ("ICMP without a protocol", rule(icmp={"type": 8}), f"{RULE}.icmp"),
    ("not ICMP without a protocol", rule(notICMP={"type": 8}), None),
    ("ICMP in IPv6", rule(protocol="ICMP", ipVersion=6), f"{RULE}.protocol"),
    ("ICMPv6 by number in IPv4", rule(protocol=58, ipVersion=4), f"{RULE}.protocol"),
    ("256 nets", source(nets=nets(256), notNets=nets(256)), None),
    ("257 nets", source(nets=nets(257)), f"{RULE}.source.nets"),
    ("257 opposite nets", source(notNets=nets(257)), f"{RULE}.source.notNets"),
    ("50 ports", to(ports=list(range(1, 51)), notPorts=list(range(1, 51))), None),
    ("51 ports", to(ports=list(range(1, 52))), f"{OUT}.destination.ports"),
    ("51 opposite ports", to(notPorts=list(range(1, 52))), f"{OUT}.destination.notPorts"),
    ("port of true", to(ports=[True]), f"{OUT}.destination.ports[0]"),
    ("port by a name of 15", to(ports=["a-name-of-fifte"]), None),
    ("port by a name of digits and a dash", to(ports=["1-a"]), None),
    ("port by a name of 16", to(ports=["a-name-of-fiftee"]), f"{OUT}.destination.ports[0]"),
    ("port range of one", to(ports=["80:80"]), None),
    ("selector of 1024", source(selector=f"a == '{'x' * 1017}'"), None),
    ("selector of 1025", source(selector=f"a == '{'x' * 1018}'"), f"{RULE}.source.selector"),
    ("opposite selector of 1025", source(notSelector=f"a == '{'x' * 1018}'"), f"{RULE}.source.notSelector"),
    ("namespaces of 1025", source(namespaceSelector=f"a == '{'x' * 1018}'"), f"{RULE}.source.namespaceSelector"),
    ("global namespaces", source(namespaceSelector="global()", selector="has(a)"), None),
    ("global and others", source(namespaceSelector="global() && has(a)"), f"{RULE}.source.namespaceSelector"),
    ("accounts", source(serviceAccounts={"names": ["a", "b.c"], "selector": "has(x)"}), None),
    ("account twice", source(serviceAccounts={"names": ["a", "a"]}), f"{RULE}.source.serviceAccounts.names[1]"),
    ("account with capitals", source(serviceAccounts={"names": ["A"]}), f"{RULE}.source.serviceAccounts.names[0]"),
    ("accounts by text", source(serviceAccounts="a"), f"{RULE}.source.serviceAccounts"),
    ("service", source(services=SERVICE), None),
    ("service with ports at the source", rule(protocol="TCP", source={"services": SERVICE, "ports": [1]}), None),
    ("service of a long name", source(services={**SERVICE, "name": "x" * 254}), f"{RULE}.source.services.name"),
    (
        "service of a long space",
        source(services={**SERVICE, "namespace": "x" * 254}),
        f"{RULE}.source.services.namespace",
    ),
    (
        "service and accounts",
        source(services=SERVICE, serviceAccounts={"names": ["a"]}),
        f"{RULE}.source.serviceAccounts",
    ),
    ("annotations", rule(metadata={"annotations": {"a/b": "c"}}), None),
    ("annotations of 256 KiB", rule(metadata={"annotations": {"a": "x" * 262_143}}), None),
    ("more annotations", rule(metadata={"annotations": {"a": "x" * 262_144}}), f"{RULE}.metadata.annotations"),
    ("annotation with a blank", rule(metadata={"annotations": {"a b": "c"}}), f"{RULE}.metadata.annotations"),
    # Detail 36.
    ("domains", domains("example.com", "*.a.com", "a.*.com", "update.*.a.com", "a_b.com"), None),
    *[
        (f"domain {d!r}", domains(d), f"{OUT}.destination.domains[0]")
        for d in ("*", "a.*", "*.*.a", "x*.a", "10.0.0.0/8", "^a$")
    ],
    ("domains and ports", to(domains=["a.com"], ports=[443]), None),
    ("domains and nets", to(domains=["a.com"], nets=["10.0.0.0/8"]), f"{OUT}.destination.nets"),
    ("domains and a selector", to(domains=["a.com"], selector="has(a)"), f"{OUT}.destination.selector"),
    (
        "domains of a source",
        {"egress": [{"action": "Allow", "source": {"domains": ["a.com"]}}]},
        f"{OUT}.source.domains",
    ),
    (
        "domains denied",
        {"egress": [{"action": "Deny", "destination": {"domains": ["a.com"]}}]},
        f"{OUT}.destination.domains",
    ),
    ("domains in ingress", rule(destination={"domains": ["a.com"]}), f"{RULE}.destination.domains"),
    ("HTTP of anything", http(), None),
    ("20 methods", http(methods=[f"M{number}" for number in range(20)]), None),
    ("21 methods", http(methods=[f"M{number}" for number in range(21)]), f"{RULE}.http.methods"),
    ("methods in two cases", http(methods=["GET", "get"]), None),
    ("method twice", http(methods=["GET", "GET"]), f"{RULE}.http.methods[1]"),
    ("20 paths", http(paths=[{"prefix": f"/{number}"} for number in range(20)]), None),
    ("21 paths", http(paths=[{"prefix": f"/{number}"} for number in range(21)]), f"{RULE}.http.paths"),
    ("path of 1024", http(paths=[{"exact": "/" + "x" * 1023}]), None),
    ("path of 1025", http(paths=[{"exact": "/" + "x" * 1024}]), f"{RULE}.http.paths[0].exact"),
    *[
        (f"path {p!r}", http(paths=[{"exact": p}]), f"{RULE}.http.paths[0].exact")
        for p in ("a", "/a b", "/a?b", "/a#b")
    ],
    ("path in two ways", http(paths=[{"exact": "/a", "prefix": "/a"}]), f"{RULE}.http.paths[0]"),
    ("path in no way", http(paths=[{}]), f"{RULE}.http.paths[0]"),
    *[(f"header {o}", header(o, "v"), None) for o in ("HasPrefix", "HasSuffix", "In", "NotIn", "MatchesRegex")],
    *[(f"header {o}", header(o), None) for o in ("Exists", "DoesNotExist")],
    ("header exists with a value", header("Exists", "v"), f"{RULE}.http.headers[0].values"),
    ("header in nothing", header("In"), f"{RULE}.http.headers[0].values"),
    ("header by a broken expression", header("MatchesRegex", "("), f"{RULE}.http.headers[0].values[0]"),
    ("header otherwise", header("Equals", "v"), f"{RULE}.http.headers[0].operator"),
    ("header without a name", header("Exists", name=""), f"{RULE}.http.headers[0].header"),
    ("header without values", http(headers=[{"header": "a", "operator": "Exists"}]), f"{RULE}.http.headers[0].values"),
    ("HTTP in egress", {"egress": [{"action": "Allow", "http": {}}]}, f"{OUT}.http"),
    ("HTTP over UDP", rule(protocol="UDP", http={}), f"{RULE}.protocol"),
    ("HTTP denied", {"ingress": [{"action": "Deny", "http": {}}]}, f"{RULE}.http"),
    ("1024 rules", {"ingress": [{"action": "Deny"}] * 1024, "egress": [{"action": "Deny"}] * 1024}, None),
    ("1025 rules", {"egress": [{"action": "Deny"}] * 1025}, "spec.egress"),
    ("hints", {"performanceHints": ["AssumeNeededOnEveryNode"]}, None),
    ("hint twice", {"performanceHints": ["AssumeNeededOnEveryNode"] * 2}, "spec.performanceHints[1]"),
    ("other hint", {"performanceHints": ["Fast"]}, "spec.performanceHints[0]"),
    ("order below zero", {"order": -1e9}, None),
    ("order as text", {"order": "1"}, "spec.order"),
    ("types", {"types": ["Egress", "Ingress"]}, None),
    ("type twice", {"types": ["Egress", "Egress"]}, "spec.types[1]"),
    ("three types", {"types": ["Egress", "Ingress", "Egress"]}, "spec.types"),
    ("other type", {"types": ["Forward"]}, "spec.types[0]"),
]

GLOBAL: list[Case] = [
    ("service without a namespace", source(services={"name": "db"}), f"{RULE}.source.services.namespace"),
    ("namespaces", {"namespaceSelector": "has(team)"}, None),
    ("global namespaces of the policy", {"namespaceSelector": "global()"}, "spec.namespaceSelector"),
    ("namespaces of 1025", {"namespaceSelector": f"a == '{'x' * 1018}'"}, "spec.namespaceSelector"),
    ("untracked", {"doNotTrack": True, "applyOnForward": True}, None),
    ("untracked alone", {"doNotTrack": True}, "spec.applyOnForward"),
    ("before DNAT", {"preDNAT": True, "applyOnForward": True, "ingress": [{"action": "Deny"}]}, None),
    ("before DNAT alone", {"preDNAT": True}, "spec.applyOnForward"),
    ("both", {"preDNAT": True, "doNotTrack": True, "applyOnForward": True}, "spec.doNotTrack"),
    ("before DNAT, outwards", {"preDNAT": True, "applyOnForward": True, "egress": [{"action": "Deny"}]}, "spec.egress"),
    ("before DNAT of type egress", {"preDNAT": True, "applyOnForward": True, "types": ["Egress"]}, "spec.types"),
]
NAMESPACED: list[Case] = [("service of the same namespace", source(services={"name": "db"}), None)]
STAGED: list[Case] = [
    *[(f"staged {action}", {"stagedAction": action}, None) for action in ("Set", "Delete", "Learn", "Ignore", "")],
    ("staged otherwise", {"stagedAction": "set"}, "spec.stagedAction"),
    ("deleted with an order", {"stagedAction": "Delete", "order": 1}, "spec.order"),
    ("deleted in a tier", {"stagedAction": "Delete", "tier": "security"}, None),
]

CASES: dict[Resource[Any], list[Case]] = {
    c.NETWORK_POLICIES: [*SHARED, *NAMESPACED],
    c.GLOBAL_NETWORK_POLICIES: [*SHARED, *GLOBAL],
    c.STAGED_NETWORK_POLICIES: [*SHARED, *NAMESPACED, *STAGED],
    c.STAGED_GLOBAL_NETWORK_POLICIES: [*SHARED, *GLOBAL, *STAGED],
}


@pytest.mark.parametrize(("resource", "spec", "path"), parameters(CASES))
def test_a_policy_is_accepted_or_refused_at_the_field_at_fault(
    resource: Resource[Any], spec: dict[str, Any], path: Expected
) -> None:
    judge(resource, spec, path, name="p")


def test_every_kind_has_cases_of_both_sorts() -> None:
    every_case_has_both(CASES)


# --- what is accepted can be enforced ------------------------------------------------------------------------------

_SELECTORS = st.sampled_from(("", "all()", "has(a)", "a == 'b'", "a not in {'b', 'c'} || !has(d)", "a ="))
_NETS = st.lists(
    st.sampled_from(("10.0.0.0/8", "10.1.0.1/32", "fd00::/8", "10.0.0.1", "0.0.0.0/0", "::/0")), max_size=2
)
_PORTS = st.lists(st.one_of(st.integers(0, 65535), st.sampled_from(("http", "80", "80:90", "9:8", "a_b"))), max_size=3)
_PROTOCOLS = st.sampled_from(("TCP", "UDP", "SCTP", "ICMP", "ICMPv6", "UDPLite", 6, 58, "17", 0, "tcp"))
_SERVICES = st.sampled_from((SERVICE, {"name": "db"}, {"name": ""}))
_ACCOUNTS = st.fixed_dictionaries({}, optional={"names": st.just(["a", "b"]), "selector": _SELECTORS})
_ENTITIES = st.fixed_dictionaries(
    {},
    optional={
        "nets": _NETS,
        "notNets": _NETS,
        "selector": _SELECTORS,
        "notSelector": _SELECTORS,
        "namespaceSelector": st.sampled_from(("all()", "global()", "has(a)", "!global()")),
        "ports": _PORTS,
        "notPorts": _PORTS,
        "serviceAccounts": _ACCOUNTS,
        "services": _SERVICES,
        "domains": st.just(["*.example.com"]),
    },
)
_ICMP = st.fixed_dictionaries({}, optional={"type": st.integers(0, 255), "code": st.integers(0, 256)})
_HTTP = st.fixed_dictionaries(
    {},
    optional={
        "methods": st.just(["GET", "PUT"]),
        "paths": st.just([{"prefix": "/a"}]),
        "headers": st.just([{"header": "a", "operator": "In", "values": ["b"]}]),
    },
)
_RULES = st.fixed_dictionaries(
    {"action": st.sampled_from(("Allow", "Deny", "Log", "Pass"))},
    optional={
        "ipVersion": st.sampled_from((4, 6)),
        "protocol": _PROTOCOLS,
        "notProtocol": _PROTOCOLS,
        "icmp": _ICMP,
        "notICMP": _ICMP,
        "source": _ENTITIES,
        "destination": _ENTITIES,
        "http": _HTTP,
        "metadata": st.just({"annotations": {"a": "b"}}),
    },
)
_FUNCTIONS = {
    c.NETWORK_POLICIES: convert.network_policy,
    c.GLOBAL_NETWORK_POLICIES: convert.global_network_policy,
    c.STAGED_NETWORK_POLICIES: convert.staged_network_policy,
    c.STAGED_GLOBAL_NETWORK_POLICIES: convert.staged_global_network_policy,
}


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(list(_FUNCTIONS)), st.sampled_from(("ingress", "egress")), _RULES)
def test_a_rule_that_is_accepted_survives_storage_and_reaches_the_dataplane(
    resource: Resource[Any], direction: str, written: dict[str, Any]
) -> None:
    admission = admit(resource, named(resource, {direction: [written]}, "p"), None)
    if admission.errors:
        return
    survives(resource, admission.object)
    function: Any = _FUNCTIONS[resource]
    update = function(msgspec.convert(admission.object, resource.type))
    assert update.errors == ()
    assert isinstance(update.value, Policy)
    assert len(update.value.ingress if direction == "ingress" else update.value.egress) == 1
