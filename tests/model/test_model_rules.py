"""What admission accepts and refuses in the rules of policies (spec/resources.md 2).

Policies as a whole are in test_model_policies.py, other kinds in test_model_kinds.py.
"""

from typing import Any

import pytest

from tortie.model.admission import ServingMode, admit
from tortie.model.catalog import GLOBAL_NETWORK_POLICIES, NETWORK_POLICIES


def problems(rule: dict[str, Any], *, direction: str = "ingress", namespaced: bool = True) -> list[str]:
    """The errors about one rule, without the path to it."""
    resource = NETWORK_POLICIES if namespaced else GLOBAL_NETWORK_POLICIES
    metadata = {"name": "p", "namespace": "ns"} if namespaced else {"name": "p"}
    spec = {direction: [rule]}
    prefix = f"spec.{direction}[0]."
    return [str(e).removeprefix(prefix) for e in admit(resource, {"metadata": metadata, "spec": spec}, None).errors]


def allow(**fields: Any) -> dict[str, Any]:
    return {"action": "Allow", **fields}


def to(**entity: Any) -> dict[str, Any]:
    return {"action": "Allow", "protocol": "TCP", "destination": entity}


def source(**entity: Any) -> dict[str, Any]:
    return {"action": "Allow", "source": entity}


HTTP = {"methods": ["GET"], "paths": [{"exact": "/a"}, {"prefix": "/b"}]}
SERVICE = {"name": "db", "namespace": "data"}

ACCEPTED: list[dict[str, Any]] = [
    allow(),
    {"action": "Log"},
    {"action": "Pass", "ipVersion": 6},
    *({"action": "Deny", "protocol": protocol} for protocol in ("TCP", "UDPLite", "ICMPv6", 1, 255, "132")),
    allow(notProtocol="UDP"),
    allow(protocol="ICMP"),
    allow(protocol="ICMP", ipVersion=4),
    allow(protocol="ICMP", icmp={"type": 8}),
    allow(protocol=58, icmp={"type": 128, "code": 0}),
    allow(notICMP={"type": 8, "code": 0}),
    allow(protocol="ICMP", icmp={"type": 0}, notICMP={"type": 0, "code": 255}),
    *(allow(protocol=p, destination={"ports": [80, "8000:8080", "http"]}) for p in ("TCP", "UDP", "SCTP", 6, 17, 132)),
    to(ports=[1, 65535], notPorts=["1:65535"]),
    # Detail 4: named ports need no protocol, and an empty list of ports is harmless with any.
    allow(destination={"ports": ["http", "metrics-2"]}),
    allow(protocol="ICMP", destination={"ports": []}),
    source(ports=["client"]),
    source(nets=["10.0.0.0/8", "10.0.0.1/32"], notNets=["10.1.0.0/16"]),
    source(nets=["fd00::/8"]),
    {"action": "Allow", "ipVersion": 6, "source": {"nets": ["fd00::/8"]}},
    source(nets=["0.0.0.0/0"], notNets=["10.0.0.0/8"]),
    source(selector="a == 'b'", notSelector="has(c)", namespaceSelector="all()"),
    source(namespaceSelector="global()"),
    source(namespaceSelector=" global( ) "),
    source(serviceAccounts={"names": ["a", "b"], "selector": "x == 'y'"}),
    source(serviceAccounts={}),
    source(services=SERVICE),
    source(services={"name": "db"}),
    # Ports are allowed beside a Service that is the source.
    {"action": "Allow", "protocol": "TCP", "source": {"services": SERVICE, "ports": [80], "notPorts": [81]}},
    allow(http=HTTP),
    allow(protocol="TCP", http={"methods": ["*"]}),
    allow(protocol=6, http={}),
    allow(metadata={"annotations": {"Owner/team": "web"}}),
]


@pytest.mark.parametrize("rule", ACCEPTED, ids=str)
def test_a_correct_rule_is_accepted(rule: dict[str, Any]) -> None:
    assert problems(rule) == []


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "action: Required"),
    ({"action": ""}, "action: Required"),
    ({"action": "allow"}, 'action: Unsupported value: "allow"'),
    (allow(ipVersion=5), "ipVersion: Unsupported"),
    # Detail 6: protocols are case-sensitive, and 0 is none.
    (allow(protocol="tcp"), 'protocol: Invalid value: "tcp"'),
    (allow(protocol=0), "protocol: Invalid value: 0"),
    (allow(protocol="256"), "protocol: Invalid"),
    (allow(notProtocol="icmp"), "notProtocol: Invalid"),
    (allow(protocol=True), "protocol: Invalid"),
    (allow(protocol="ICMP", ipVersion=6), "protocol: Invalid"),
    (allow(notProtocol=58, ipVersion=4), "notProtocol: Invalid"),
    (allow(icmp={"type": 8}), "icmp: Invalid"),
    (allow(protocol="TCP", icmp={"type": 8}), "icmp: Invalid"),
    (allow(protocol="ICMP", icmp={"code": 1}), "icmp.code: Invalid"),
    (allow(notICMP={"code": 1}), "notICMP.code: Invalid"),
    (allow(protocol="ICMP", icmp={"type": 255}), "icmp.type: Invalid"),
    (allow(protocol="ICMP", icmp={"type": 1, "code": 256}), "icmp.code: Invalid"),
    # Detail 4.
    (allow(destination={"ports": [80]}), "destination.ports: Invalid value: 80"),
    (allow(destination={"ports": ["http", "80"]}), 'destination.ports: Invalid value: "80"'),
    (allow(protocol="ICMP", destination={"ports": [80]}), "destination.ports: Invalid"),
    (allow(protocol="UDPLite", source={"notPorts": ["http"]}), "source.notPorts: Invalid"),
    (allow(notProtocol="TCP", source={"ports": [80]}), "source.ports: Invalid"),
    # Detail 5: port 0 decodes and is refused; names follow Kubernetes.
    (to(ports=[0]), "destination.ports[0]: Invalid"),
    (to(ports=[80, "0:10"]), "destination.ports[1]: Invalid"),
    (to(ports=[65536]), "destination.ports[0]: Invalid"),
    (to(ports=["90:80"]), "destination.ports[0]: Invalid"),
    (to(ports=["http_x"]), "destination.ports[0]: Invalid"),
    (to(ports=["sixteen-letters-x"]), "destination.ports[0]: Invalid"),
    (to(ports=["a--b"]), "destination.ports[0]: Invalid"),
    (to(notPorts=["1-2"]), "destination.notPorts[0]: Invalid"),
    (to(ports=list(range(1, 52))), "destination.ports: Invalid"),
    # Detail 1: a length is needed, and host bits must be clear.
    (source(nets=["10.0.0.1"]), "source.nets[0]: Invalid"),
    (source(nets=["10.0.0.1/8"]), "source.nets[0]: Invalid"),
    (source(nets=["10.0.0.0/33"]), "source.nets[0]: Invalid"),
    (source(nets=["10.0.0.0/255.0.0.0"]), "source.nets[0]: Invalid"),
    (source(notNets=["nonsense"]), "source.notNets[0]: Invalid"),
    (source(nets=["10.0.0.0/8", "10.0.0.0/8"]), "source.nets[1]: Invalid"),
    # Detail 2: families are compared across all four lists.
    (source(nets=["10.0.0.0/8", "fd00::/8"]), "source.nets[1]: Invalid"),
    (source(nets=["10.0.0.0/8"], notNets=["fd00::/8"]), "source.notNets[0]: Invalid"),
    (allow(source={"nets": ["10.0.0.0/8"]}, destination={"notNets": ["fd00::/8"]}), "destination.notNets[0]: Invalid"),
    (allow(ipVersion=6, source={"nets": ["10.0.0.0/8"]}), "source.nets[0]: Invalid"),
    # Detail 3.
    (source(notNets=["0.0.0.0/0"]), "source.notNets[0]: Invalid"),
    (source(notNets=["::/0"]), "source.notNets[0]: Invalid"),
    (source(notNets=["0::0/0"]), "source.notNets[0]: Invalid"),
    (source(selector="a ="), "source.selector: Invalid"),
    (source(notSelector="a"), "source.notSelector: Invalid"),
    (source(selector="x" * 1025), "source.selector: Invalid"),
    # Detail 7: global( is looked for in the text, quoted or not.
    (source(selector="global()"), "source.selector: Invalid"),
    (source(selector="a == 'global('"), "source.selector: Invalid"),
    (source(namespaceSelector="!global()"), "source.namespaceSelector: Invalid"),
    (source(namespaceSelector="(global())"), "source.namespaceSelector: Invalid"),
    (source(namespaceSelector="global() || all()"), "source.namespaceSelector: Invalid"),
    (source(serviceAccounts={"names": ["A"]}), "source.serviceAccounts.names[0]: Invalid"),
    (source(serviceAccounts={"selector": "x"}), "source.serviceAccounts.selector: Invalid"),
    (source(services={"namespace": "x"}), "source.services.name: Required"),
    (source(services={"name": ""}), "source.services.name: Required"),
    (allow(destination={"services": SERVICE}), "destination.services: Forbidden"),
    *(
        (source(services=SERVICE, **{field: value}), f"source.{field}: Forbidden")
        for field, value in (
            ("selector", "has(a)"),
            ("notSelector", "has(a)"),
            ("namespaceSelector", "all()"),
            ("serviceAccounts", {"names": ["a"]}),
            ("nets", ["10.0.0.0/8"]),
            ("notNets", ["10.0.0.0/8"]),
        )
    ),
    (source(domains=["example.com"]), "source.domains: Forbidden"),
    ({"action": "Deny", "http": HTTP}, "http: Forbidden"),
    (allow(protocol="UDP", http=HTTP), "protocol: Invalid"),
    (allow(http={"methods": ["GET", "GET"]}), "http.methods[1]: Invalid"),
    (allow(http={"paths": [{}]}), "http.paths[0]: Invalid"),
    (allow(http={"paths": [{"exact": "/a", "prefix": "/a"}]}), "http.paths[0]: Invalid"),
    (allow(http={"paths": [{"exact": "a"}]}), "http.paths[0].exact: Invalid"),
    (allow(http={"paths": [{"prefix": "/a?b"}]}), "http.paths[0].prefix: Invalid"),
    (allow(http={"paths": [{"prefix": "/" + "a" * 1024}]}), "http.paths[0].prefix: Invalid"),
    (allow(metadata={"annotations": {"a b": "c"}}), "metadata.annotations: Invalid"),
]


@pytest.mark.parametrize(("rule", "error"), REFUSED, ids=str)
def test_a_wrong_rule_is_refused_at_the_field_that_is_wrong(rule: dict[str, Any], error: str) -> None:
    found = problems(rule)
    assert found
    assert found[0].startswith(error)


def test_egress_rules_match_services_as_destination_and_domains_but_not_http() -> None:
    assert problems({"action": "Allow", "destination": {"services": SERVICE}}, direction="egress") == []
    assert problems({"action": "Allow", "destination": {"domains": ["*.a.com", "a.*.com"]}}, direction="egress") == []
    assert problems(source(services=SERVICE), direction="egress")[0].startswith("source.services: Forbidden")
    assert problems(allow(http=HTTP), direction="egress")[0].startswith("http: Forbidden")
    with_ports = {"action": "Allow", "protocol": "TCP", "destination": {"services": SERVICE, "ports": [80]}}
    assert problems(with_ports, direction="egress")[0].startswith("destination.ports: Forbidden")


@pytest.mark.parametrize("domain", ["a.*", "*.*.a.com", "x*.com", "10.0.0.0/8", "", "*"])
def test_patterns_of_domains_are_refused_unless_a_star_stands_for_leading_or_inner_components(domain: str) -> None:
    """Detail 36."""
    found = problems({"action": "Allow", "destination": {"domains": [domain]}}, direction="egress")
    assert found[0].startswith("destination.domains[0]: Invalid")


def test_domains_exclude_nets_and_selectors_and_need_an_allow_rule() -> None:
    """Detail 36."""
    entity = {"domains": ["a.com"], "nets": ["10.0.0.0/8"], "selector": "has(a)"}
    found = problems({"action": "Deny", "destination": entity}, direction="egress")
    assert [error.partition(":")[0] for error in found] == [
        "destination.domains",
        "destination.nets",
        "destination.selector",
    ]


def test_services_need_a_namespace_in_a_global_policy() -> None:
    assert problems(source(services=SERVICE), namespaced=False) == []
    assert problems(source(services={"name": "db"}), namespaced=False)[0].startswith("source.services.namespace: Req")


def test_ports_and_protocols_are_stored_in_one_form_by_the_aggregated_server() -> None:
    """Numeric text becomes a number; ranges and names stay text. Natively everything stays as it was written."""
    spec = {"ingress": [{"action": "Allow", "protocol": "6", "destination": {"ports": ["80", "1:2", "5:5", "http"]}}]}
    obj = {"metadata": {"name": "p", "namespace": "ns"}, "spec": spec}
    assert admit(NETWORK_POLICIES, obj, None).object["spec"]["ingress"] == spec["ingress"]
    stored = admit(NETWORK_POLICIES, obj, None, mode=ServingMode.AGGREGATED).object
    rule = stored["spec"]["ingress"][0]
    assert rule["protocol"] == 6
    assert rule["destination"]["ports"] == [80, "1:2", 5, "http"]
    assert spec["ingress"][0]["destination"]["ports"][0] == "80", "the caller's object must not change"


def test_every_error_of_a_policy_is_reported_at_once() -> None:
    bad = [{"action": "allow"}, allow(protocol="tcp"), source(nets=["x"])]
    admission = admit(NETWORK_POLICIES, {"metadata": {"name": "p"}, "spec": {"ingress": bad}}, None)
    assert {error.path for error in admission.errors} == {
        "spec.ingress[0].action",
        "spec.ingress[1].protocol",
        "spec.ingress[2].source.nets[0]",
    }
