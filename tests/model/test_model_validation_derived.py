"""What admission says of staged Kubernetes policies, and of kinds that are derived or kept in files (spec 1.4).

One case a line.
"""

from typing import Any

import pytest
from validation_cases import Case, Expected, every_case_has_both, judge, named, parameters, without

from tortie.model import catalog as c
from tortie.model.admission import ServingMode, admit
from tortie.model.resource import Resource

STAGED = c.STAGED_KUBERNETES_NETWORK_POLICIES
WEP = {"interfaceName": "cali1", "ipNetworks": ["10.0.0.1/32", "fd00::1/128"]}
KEY = "jlkVyQYooZYzI2wFfNhSZez5eWh44yfq1wKVjLvSXgY="
FROM = "spec.ingress[0].from[0]"
PORT = "spec.ingress[0].ports[0]"


def nat(internal: str = "10.0.0.1", external: str = "172.16.0.1") -> dict[str, Any]:
    return {**WEP, "ipNATs": [{"internalIP": internal, "externalIP": external}]}


def port(**fields: Any) -> dict[str, Any]:
    return {**WEP, "ports": [{"name": "http", "protocol": "TCP", "port": 80, **fields}]}


def bgp(**fields: Any) -> dict[str, Any]:
    return {"bgp": fields}


def early(**fields: Any) -> dict[str, Any]:
    return {"nodes": [fields]}


def peer(**fields: Any) -> dict[str, Any]:
    return {"ingress": [{"from": [fields]}]}


def ports(**fields: Any) -> dict[str, Any]:
    return {"ingress": [{"ports": [fields]}]}


def expression(operator: str, *values: str) -> dict[str, Any]:
    return {"podSelector": {"matchExpressions": [{"key": "a", "operator": operator, "values": list(values)}]}}


CASES: dict[Resource[Any], list[Case]] = {
    STAGED: [
        ("nothing", {}, None),
        *[(f"action {action}", {"stagedAction": action}, None) for action in ("Set", "Delete", "Learn", "Ignore", "")],
        ("other action", {"stagedAction": "Drop"}, "spec.stagedAction"),
        # Detail 21.
        (
            "deletion with pods",
            {"stagedAction": "Delete", "podSelector": {"matchLabels": {"a": "b"}}},
            "spec.podSelector",
        ),
        ("deletion with rules", {"stagedAction": "Delete", "ingress": [{}]}, "spec.ingress"),
        ("deletion with egress", {"stagedAction": "Delete", "egress": [{}]}, "spec.egress"),
        ("deletion with both types", {"stagedAction": "Delete", "policyTypes": ["Egress"]}, "spec.policyTypes"),
        ("types", {"policyTypes": ["Ingress", "Egress"]}, None),
        ("type twice", {"policyTypes": ["Egress", "Egress"]}, "spec.policyTypes[1]"),
        ("three types", {"policyTypes": ["Egress", "Ingress", "Egress"]}, "spec.policyTypes"),
        ("other type", {"policyTypes": ["ingress"]}, "spec.policyTypes[0]"),
        ("pods", {"podSelector": {"matchLabels": {"a": "b"}}}, None),
        ("pods by a bad label", {"podSelector": {"matchLabels": {"a b": "c"}}}, "spec.podSelector.matchLabels"),
        ("pods in a set", expression("In", "x"), None),
        ("pods in no set", expression("In"), "spec.podSelector.matchExpressions[0].values"),
        ("pods with a label", expression("Exists"), None),
        ("pods with a label and a value", expression("Exists", "x"), "spec.podSelector.matchExpressions[0].values"),
        ("pods otherwise", expression("Like", "x"), "spec.podSelector.matchExpressions[0].operator"),
        ("any peer of pods", peer(podSelector={}, namespaceSelector={}), None),
        ("a peer of nothing", peer(), FROM),
        ("a range", peer(ipBlock={"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}), None),
        ("a range and pods", peer(ipBlock={"cidr": "10.0.0.0/8"}, podSelector={}), FROM),
        ("a range that is none", peer(ipBlock={"cidr": "10.0.0.0"}), f"{FROM}.ipBlock.cidr"),
        (
            "an exception outside",
            peer(ipBlock={"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}),
            f"{FROM}.ipBlock.except[0]",
        ),
        ("a port", ports(protocol="TCP", port=80, endPort=90), None),
        ("a named port", ports(port="http"), None),
        ("port 0", ports(port=0), f"{PORT}.port"),
        ("ports backwards", ports(port=80, endPort=79), f"{PORT}.endPort"),
        ("an end alone", ports(endPort=79), f"{PORT}.port"),
        ("an end of a name", ports(port="http", endPort=79), f"{PORT}.endPort"),
        ("a bad name", ports(port="HTTP"), f"{PORT}.port"),
        ("ICMP", ports(protocol="ICMP"), f"{PORT}.protocol"),
    ],
    c.PROFILES: [
        ("nothing", {}, None),
        ("labels", {"labelsToApply": {"pcns.a/b": "c"}, "ingress": [{"action": "Allow"}]}, None),
        ("a bad label", {"labelsToApply": {"a b": "c"}}, "spec.labelsToApply"),
        ("a bad rule", {"egress": [{"action": "Accept"}]}, "spec.egress[0].action"),
        ("1025 rules", {"ingress": [{"action": "Deny"}] * 1025}, "spec.ingress"),
    ],
    c.WORKLOAD_ENDPOINTS: [
        ("an interface", WEP, None),
        ("no interface", without(WEP, "interfaceName"), "spec.interfaceName"),
        ("an interface of 16", {**WEP, "interfaceName": "a" * 16}, "spec.interfaceName"),
        *[
            (f"{field} with capitals", {**WEP, field: "A"}, f"spec.{field}")
            for field in ("orchestrator", "workload", "node", "pod", "endpoint", "serviceAccountName")
        ],
        (
            "names",
            {**WEP, "orchestrator": "k8s", "node": "n", "pod": "p", "endpoint": "eth0", "profiles": ["kns.a"]},
            None,
        ),
        ("a container", {**WEP, "containerID": "Ab-9"}, None),
        ("a container with a dot", {**WEP, "containerID": "a.b"}, "spec.containerID"),
        ("a container with a dash at its end", {**WEP, "containerID": "a-"}, "spec.containerID"),
        ("a range", {**WEP, "ipNetworks": ["10.0.0.0/31"]}, "spec.ipNetworks[0]"),
        ("a floating address", nat(), None),
        ("a floating address of another", nat("10.0.0.2"), "spec.ipNATs[0].internalIP"),
        ("a floating address of the other family", nat("10.0.0.1", "fd00::9"), "spec.ipNATs[0].externalIP"),
        ("a floating range", nat("10.0.0.1", "172.16.0.0/24"), "spec.ipNATs[0].externalIP"),
        ("an elastic address", {**WEP, "awsElasticIPs": ["1.2.3.4"]}, None),
        ("an elastic name", {**WEP, "awsElasticIPs": ["a"]}, "spec.awsElasticIPs[0]"),
        ("gateways", {**WEP, "ipv4Gateway": "10.0.0.1", "ipv6Gateway": "fe80::1"}, None),
        ("gateway of the other family", {**WEP, "ipv4Gateway": "fe80::1"}, "spec.ipv4Gateway"),
        ("gateway that wraps", {**WEP, "ipv6Gateway": "::ffff:1.2.3.4"}, "spec.ipv6Gateway"),
        ("a hardware address", {**WEP, "mac": "EE:ee:ee:ee:ee:ee"}, None),
        ("a short hardware address", {**WEP, "mac": "ee:ee:ee:ee:ee"}, "spec.mac"),
        ("a port", port(), None),
        ("the same port twice", {**WEP, "ports": [*port()["ports"], *port()["ports"]]}, None),
        ("a port of a host alone", port(name="", hostPort=8080, hostIP="10.0.0.9"), None),
        ("a port of nothing", port(name=""), "spec.ports[0].name"),
        ("a port of ICMP", port(protocol="ICMP"), "spec.ports[0].protocol"),
        ("a port at a name", port(hostPort=1, hostIP="host"), "spec.ports[0].hostIP"),
        ("source prefixes", {**WEP, "allowSpoofedSourcePrefixes": ["10.0.0.1/8"]}, None),
        ("a bad source prefix", {**WEP, "allowSpoofedSourcePrefixes": ["all"]}, "spec.allowSpoofedSourcePrefixes[0]"),
    ],
    c.CALICO_NODES: [
        ("nothing", {}, None),
        (
            "BGP",
            bgp(asNumber=64512, ipv4Address="10.0.0.1/24", ipv6Address="fd00::1", ipv4IPIPTunnelAddr="10.1.0.1"),
            None,
        ),
        ("a route reflector", bgp(routeReflectorClusterID="224.0.0.1"), None),
        ("BGP of nothing", bgp(), "spec.bgp"),
        ("address of the other family", bgp(ipv4Address="fd00::1/64"), "spec.bgp.ipv4Address"),
        ("tunnel with a length", bgp(ipv4IPIPTunnelAddr="10.0.0.1/32"), "spec.bgp.ipv4IPIPTunnelAddr"),
        ("cluster id by number", bgp(routeReflectorClusterID="1"), "spec.bgp.routeReflectorClusterID"),
        ("AS number too great", bgp(asNumber=2**32), "spec.bgp.asNumber"),
        (
            "devices",
            {
                "ipv4VXLANTunnelAddr": "10.0.0.1",
                "ipv6VXLANTunnelAddr": "fd00::1",
                "vxlanTunnelMACAddr": "66:00:00:00:00:01",
                "vxlanTunnelMACAddrV6": "66:00:00:00:00:02",
                "wireguard": {"interfaceIPv4Address": "10.0.0.2", "interfaceIPv6Address": "fd00::2"},
            },
            None,
        ),
        ("device of the other family", {"ipv6VXLANTunnelAddr": "10.0.0.1"}, "spec.ipv6VXLANTunnelAddr"),
        ("device of a bad address", {"vxlanTunnelMACAddrV6": "66:00"}, "spec.vxlanTunnelMACAddrV6"),
        (
            "WireGuard of the other family",
            {"wireguard": {"interfaceIPv4Address": "fd00::1"}},
            "spec.wireguard.interfaceIPv4Address",
        ),
        ("elsewhere", {"orchRefs": [{"nodeName": "n", "orchestrator": "k8s"}]}, None),
        ("elsewhere without an orchestrator", {"orchRefs": [{"nodeName": "n"}]}, "spec.orchRefs[0].orchestrator"),
        ("addresses", {"addresses": [{"address": "10.0.0.1/24", "type": "CalicoNodeIP"}]}, "spec.addresses[0]"),
        ("bare addresses", {"addresses": [{"address": "10.0.0.1", "type": "InternalIP"}]}, None),
        (
            "addresses of another sort",
            {"addresses": [{"address": "10.0.0.1", "type": "Other"}]},
            "spec.addresses[0].type",
        ),
        ("interfaces", {"interfaces": [{"name": "eth0", "addresses": ["10.0.0.1/24"]}]}, None),
    ],
    c.EARLY_NETWORK_CONFIGURATIONS: [
        ("nothing", {}, None),
        ("OpenShift", {"platform": "openshift", "legacy": {"nodeIPFromDefaultRoute": True}}, None),
        ("other platform", {"platform": "aks"}, "spec.platform"),
        (
            "a node",
            early(
                interfaceAddresses=["10.0.0.1"],
                asNumber=65001,
                stableAddress={"address": "10.9.0.1"},
                peerings=[{"peerIP": "10.0.0.254", "peerASNumber": 0}],
                labels={"rack": "a"},
            ),
            None,
        ),
        ("an interface by range", early(interfaceAddresses=["10.0.0.1/24"]), "spec.nodes[0].interfaceAddresses[0]"),
        ("a stable name", early(stableAddress={"address": "n"}), "spec.nodes[0].stableAddress.address"),
        ("a switch by name", early(peerings=[{"peerIP": "tor"}]), "spec.nodes[0].peerings[0].peerIP"),
        ("no switch", early(peerings=[{}]), "spec.nodes[0].peerings[0].peerIP"),
        ("a bad label", early(labels={"a b": "c"}), "spec.nodes[0].labels"),
    ],
}


@pytest.mark.parametrize(("resource", "spec", "path"), parameters(CASES))
def test_a_spec_is_accepted_or_refused_at_the_field_at_fault(
    resource: Resource[Any], spec: dict[str, Any], path: Expected
) -> None:
    judge(resource, spec, path)


def test_every_kind_has_cases_of_both_sorts() -> None:
    every_case_has_both(CASES)


@pytest.mark.parametrize(("key", "paths"), [(KEY, []), (KEY[:-5], ["status.wireguardPublicKey"]), ("x", None)])
def test_the_key_of_a_node_is_32_bytes(key: str, paths: list[str] | None) -> None:
    node = {**named(c.CALICO_NODES, {}, "n"), "status": {"wireguardPublicKey": key}}
    found = [error.path for error in admit(c.CALICO_NODES, node, None).errors]
    assert found == (["status.wireguardPublicKey"] if paths is None else paths)


def test_as_numbers_of_nodes_may_be_text_where_a_tool_reads_them() -> None:
    node = named(c.CALICO_NODES, bgp(asNumber="1.10"), "n")
    admission = admit(c.CALICO_NODES, node, None, mode=ServingMode.AGGREGATED)
    assert (admission.errors, admission.object["spec"]["bgp"]["asNumber"]) == ([], 65546)
    switch = early(asNumber="65001", peerings=[{"peerIP": "10.0.0.254", "peerASNumber": "0"}])
    early_node = named(c.EARLY_NETWORK_CONFIGURATIONS, switch, "n")
    admission = admit(c.EARLY_NETWORK_CONFIGURATIONS, early_node, None, mode=ServingMode.AGGREGATED)
    found = admission.object["spec"]["nodes"][0]
    assert (admission.errors, found["asNumber"], found["peerings"][0]["peerASNumber"]) == ([], 65001, 0)
