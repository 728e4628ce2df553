"""What admission accepts and refuses in BGPConfiguration, BGPPeer and BGPFilter, one case a line (spec 1.4, 2.4)."""

from typing import Any

import pytest
from validation_cases import Case, Expected, Verdicts, every_case_has_both, judge, parameters

from tortie.model import catalog as c
from tortie.model.resource import Resource

SECRET = {"secretKeyRef": {"name": "bgp", "key": "password"}}
NAMED = {"name": "mine", "value": "65001:100"}


def prefix(*communities: str, cidr: str = "10.0.0.0/8") -> dict[str, Any]:
    return {"prefixAdvertisements": [{"cidr": cidr, "communities": list(communities)}]}


def named(name: str = "mine", value: str = "1:2") -> dict[str, Any]:
    return {"communities": [{"name": name, "value": value}], **prefix("1:2")}


def v4(**fields: Any) -> dict[str, Any]:
    return {"importV4": [{"action": "Accept", **fields}]}


def v6(**fields: Any) -> dict[str, Any]:
    return {"exportV6": [{"action": "Reject", **fields}]}


def change(*operations: dict[str, Any], action: str = "Accept") -> dict[str, Any]:
    return v4(action=action, operations=list(operations))


RULE = "spec.importV4[0]"
IN_10: dict[str, Any] = {"cidr": "10.0.0.0/8", "matchOperator": "In"}
IN_FD: dict[str, Any] = {"cidr": "fd00::/8", "matchOperator": "In"}
PRIORITY = {"setPriority": {"value": 1}}

CONFIGURATION: list[Case] = [
    ("nothing is required", {}, None),
    *[(f"log level {w}", {"logSeverityScreen": w}, None) for w in ("Trace", "DEBUG", "info", "Fatal", "")],
    ("log level of syslog", {"logSeverityScreen": "Notice"}, "spec.logSeverityScreen"),
    ("mesh on", {"nodeToNodeMeshEnabled": True}, None),
    ("mesh as text", {"nodeToNodeMeshEnabled": "yes"}, "spec.nodeToNodeMeshEnabled"),
    ("least AS number", {"asNumber": 0}, None),
    ("greatest AS number", {"asNumber": 4_294_967_295}, None),
    ("AS number as text", {"asNumber": "65001"}, Verdicts("spec.asNumber", None)),
    ("AS number with a dot", {"asNumber": "1.10"}, Verdicts("spec.asNumber", None)),
    ("AS number with leading zeros", {"asNumber": "001.0010"}, Verdicts("spec.asNumber", None)),
    ("AS number too great", {"asNumber": 4_294_967_296}, "spec.asNumber"),
    ("AS number negative", {"asNumber": -1}, "spec.asNumber"),
    ("AS number in words", {"asNumber": "one"}, "spec.asNumber"),
    ("AS number part too great", {"asNumber": "1.65536"}, "spec.asNumber"),
    *[
        item
        for field in ("serviceClusterIPs", "serviceExternalIPs", "serviceLoadBalancerIPs")
        for item in (
            (f"{field} of both families", {field: [{"cidr": "10.96.0.0/12"}, {"cidr": "fd00::/108"}]}, None),
            (f"{field} with host bits", {field: [{"cidr": "10.96.0.1/12"}]}, f"spec.{field}[0].cidr"),
            (f"{field} without a length", {field: [{"cidr": "10.96.0.1"}]}, f"spec.{field}[0].cidr"),
            (f"{field} as text", {field: ["10.96.0.0/12"]}, f"spec.{field}[0]"),
        )
    ],
    ("addresses one by one", {"serviceLoadBalancerAggregation": "Disabled"}, None),
    (
        "aggregation in lower case",
        {"serviceLoadBalancerAggregation": "disabled"},
        "spec.serviceLoadBalancerAggregation",
    ),
    ("community by name", {"communities": [NAMED], **prefix("mine")}, None),
    ("community by value", prefix("65535:65535"), None),
    ("large community", prefix("4294967295:0:1"), None),
    ("prefix by bare address", prefix("1:2", cidr="10.0.0.1"), None),
    ("500 communities", {"communities": [NAMED] * 500, **prefix("mine")}, None),
    ("501 communities", {"communities": [NAMED] * 501, **prefix("mine")}, "spec.communities"),
    (
        "501 prefixes",
        {"prefixAdvertisements": prefix("1:2")["prefixAdvertisements"] * 501},
        "spec.prefixAdvertisements",
    ),
    ("50 communities of a prefix", prefix(*["1:2"] * 50), None),
    ("51 communities of a prefix", prefix(*["1:2"] * 51), "spec.prefixAdvertisements[0].communities"),
    ("communities without prefixes", {"communities": [NAMED]}, "spec.prefixAdvertisements"),
    ("community that nobody defines", prefix("other"), "spec.prefixAdvertisements[0].communities[0]"),
    ("community part too great", prefix("65536:1"), "spec.prefixAdvertisements[0].communities[0]"),
    ("community of four parts", named(value="1:2:3:4"), "spec.communities[0].value"),
    ("community value too long", named(value="1:" + "2" * 40), "spec.communities[0].value"),
    ("community name with capitals", named(name="Mine"), "spec.communities[0].name"),
    ("community name too long", named(name="x" * 254), "spec.communities[0].name"),
    ("community without a name", {"communities": [{"value": "1:2"}]}, "spec.communities[0].name"),
    ("prefix with host bits", prefix("1:2", cidr="10.0.0.1/8"), "spec.prefixAdvertisements[0].cidr"),
    ("port 1", {"listenPort": 1}, None),
    ("port 65535", {"listenPort": 65535}, None),
    ("port 0", {"listenPort": 0}, "spec.listenPort"),
    ("port 65536", {"listenPort": 65536}, "spec.listenPort"),
    ("mesh password", {"nodeMeshPassword": SECRET}, None),
    (
        "mesh password and mesh off",
        {"nodeMeshPassword": SECRET, "nodeToNodeMeshEnabled": False},
        "spec.nodeMeshPassword",
    ),
    ("password without a key", {"nodeMeshPassword": {"secretKeyRef": {}}}, "spec.nodeMeshPassword.secretKeyRef.key"),
    ("restart time", {"nodeMeshMaxRestartTime": "1h2m3.5s"}, None),
    ("restart time as a number", {"nodeMeshMaxRestartTime": "120"}, "spec.nodeMeshMaxRestartTime"),
    (
        "restart time and mesh off",
        {"nodeMeshMaxRestartTime": "2m", "nodeToNodeMeshEnabled": False},
        "spec.nodeMeshMaxRestartTime",
    ),
    ("bound to the node's address", {"bindMode": "NodeIP"}, None),
    ("bound to something else", {"bindMode": "All"}, "spec.bindMode"),
    ("ignored interfaces", {"ignoredInterfaces": ["docker*", "eth0", "a.b-c_d"]}, None),
    ("all interfaces ignored", {"ignoredInterfaces": ["*"]}, "spec.ignoredInterfaces[0]"),
    ("ignored interface too long", {"ignoredInterfaces": ["a" * 16]}, "spec.ignoredInterfaces[0]"),
    ("ignored interface with a colon", {"ignoredInterfaces": ["eth0:1"]}, "spec.ignoredInterfaces[0]"),
    ("ignored interface twice", {"ignoredInterfaces": ["a", "a"]}, "spec.ignoredInterfaces[1]"),
    ("local peering", {"localWorkloadPeeringIPV4": "169.254.0.1", "localWorkloadPeeringIPV6": "fe80::1"}, None),
    ("local peering of the other family", {"localWorkloadPeeringIPV4": "fe80::1"}, "spec.localWorkloadPeeringIPV4"),
    (
        "local peering by a mapped address",
        {"localWorkloadPeeringIPV6": "::ffff:1.2.3.4"},
        "spec.localWorkloadPeeringIPV6",
    ),
    ("local peering with a length", {"localWorkloadPeeringIPV4": "10.0.0.1/32"}, "spec.localWorkloadPeeringIPV4"),
    *[
        (f"cluster routes {w}", {"programClusterRoutes": w}, None)
        for w in ("Enabled", "Disabled", "EnabledIPIPOnly", "EnabledNoEncapOnly")
    ],
    ("cluster routes otherwise", {"programClusterRoutes": "EnabledVXLANOnly"}, "spec.programClusterRoutes"),
    ("least priorities", {"ipv4NormalRoutePriority": 1, "ipv6NormalRoutePriority": 1}, None),
    ("greatest priority", {"ipv4NormalRoutePriority": 2_147_483_646}, None),
    ("priority 0", {"ipv4NormalRoutePriority": 0}, "spec.ipv4NormalRoutePriority"),
    ("priority too great", {"ipv6NormalRoutePriority": 2_147_483_647}, "spec.ipv6NormalRoutePriority"),
    ("extensions", {"extensions": {"any": "thing"}}, None),
    ("extensions that are no texts", {"extensions": {"any": 1}}, "spec.extensions.any"),
]

PEER: list[Case] = [
    ("by address", {"peerIP": "192.0.2.1", "asNumber": 64512}, None),
    ("by address and port", {"peerIP": "192.0.2.1:1179"}, None),
    ("by IPv6 address", {"peerIP": "2001:db8::1"}, None),
    ("by IPv6 address and port", {"peerIP": "[2001:db8::1]:65535"}, None),
    ("port 0", {"peerIP": "192.0.2.1:0"}, "spec.peerIP"),
    ("port 65536", {"peerIP": "[2001:db8::1]:65536"}, "spec.peerIP"),
    ("brackets without a port", {"peerIP": "[2001:db8::1]"}, "spec.peerIP"),
    ("address with a length", {"peerIP": "192.0.2.1/32"}, "spec.peerIP"),
    ("host name", {"peerIP": "router.example.com"}, "spec.peerIP"),
    ("address too long", {"peerIP": "1" * 65}, "spec.peerIP"),
    ("of one node", {"node": "n-1.example"}, None),
    ("of a node with capitals", {"node": "N1"}, "spec.node"),
    ("of a node with a long name", {"node": "n" * 254}, "spec.node"),
    ("of selected nodes", {"nodeSelector": "rack == 'a'"}, None),
    ("of nodes by a broken selector", {"nodeSelector": "rack ="}, "spec.nodeSelector"),
    ("of nodes by a long selector", {"nodeSelector": f"a == '{'x' * 1024}'"}, "spec.nodeSelector"),
    ("node and nodeSelector", {"node": "n", "nodeSelector": "all()"}, "spec.nodeSelector"),
    ("peerSelector", {"peerSelector": "has(rr)"}, None),
    ("peerSelector and AS number 0", {"peerSelector": "has(rr)", "asNumber": 0}, None),
    ("peerSelector broken", {"peerSelector": "rr"}, "spec.peerSelector"),
    ("peerSelector and address", {"peerSelector": "has(rr)", "peerIP": "192.0.2.1"}, "spec.peerIP"),
    ("peerSelector and AS number", {"peerSelector": "has(rr)", "asNumber": 1}, "spec.asNumber"),
    ("local workloads", {"localWorkloadSelector": "has(bgp)", "asNumber": 65000}, None),
    ("local workloads without AS number", {"localWorkloadSelector": "has(bgp)"}, "spec.asNumber"),
    ("local workloads with AS number 0", {"localWorkloadSelector": "has(bgp)", "asNumber": 0}, "spec.asNumber"),
    (
        "local workloads and address",
        {"localWorkloadSelector": "has(bgp)", "asNumber": 1, "peerIP": "192.0.2.1"},
        "spec.peerIP",
    ),
    (
        "local workloads and peerSelector",
        {"localWorkloadSelector": "has(bgp)", "peerSelector": "has(rr)"},
        "spec.peerSelector",
    ),
    ("local AS number", {"peerIP": "192.0.2.1", "localASNumber": "1.1"}, Verdicts("spec.localASNumber", None)),
    ("local AS number too great", {"localASNumber": 2**32}, "spec.localASNumber"),
    ("old switch of next hops", {"keepOriginalNextHop": True}, None),
    ("both switches of next hops", {"keepOriginalNextHop": True, "nextHopMode": "Self"}, "spec.nextHopMode"),
    ("old switch off and new one", {"keepOriginalNextHop": False, "nextHopMode": "Keep"}, None),
    ("next hops otherwise", {"nextHopMode": "self"}, "spec.nextHopMode"),
    ("password", {"password": SECRET}, None),
    ("password in clear", {"password": "secret"}, "spec.password"),
    ("source address None", {"sourceAddress": "None"}, None),
    ("source address otherwise", {"sourceAddress": "10.0.0.1"}, "spec.sourceAddress"),
    ("times", {"maxRestartTime": "2m", "keepaliveTime": "1.5s"}, None),
    ("restart time without a unit", {"maxRestartTime": "90"}, "spec.maxRestartTime"),
    ("keepalive time in words", {"keepaliveTime": "often"}, "spec.keepaliveTime"),
    ("own AS numbers allowed", {"numAllowedLocalASNumbers": 3}, None),
    ("own AS numbers as text", {"numAllowedLocalASNumbers": "3"}, "spec.numAllowedLocalASNumbers"),
    ("TTL security 255", {"ttlSecurity": 255}, None),
    ("TTL security 256", {"ttlSecurity": 256}, "spec.ttlSecurity"),
    ("gateway", {"peerIP": "192.0.2.1:179", "reachableBy": "192.0.2.9"}, None),
    ("gateway without a peer", {"reachableBy": "192.0.2.9"}, "spec.peerIP"),
    ("gateway of the other family", {"peerIP": "192.0.2.1", "reachableBy": "fd00::1"}, "spec.reachableBy"),
    ("gateway with a length", {"peerIP": "192.0.2.1", "reachableBy": "192.0.2.9/32"}, "spec.reachableBy"),
    ("filters", {"filters": ["b", "a"]}, None),
    ("filter with capitals", {"filters": ["A"]}, "spec.filters[0]"),
    ("reverse peering by hand", {"reversePeering": "Manual"}, None),
    ("reverse peering otherwise", {"reversePeering": "Off"}, "spec.reversePeering"),
    ("gateways looked up directly", {"birdGatewayMode": "DirectIfDirectlyConnected"}, None),
    ("gateways otherwise", {"birdGatewayMode": "Direct"}, "spec.birdGatewayMode"),
    ("watched by BFD", {"failureDetectionMode": "BFDIfDirectlyConnected"}, None),
    ("watched otherwise", {"failureDetectionMode": "BFD"}, "spec.failureDetectionMode"),
    ("long-lived restart", {"restartMode": "LongLivedGracefulRestart"}, None),
    ("restart otherwise", {"restartMode": "Graceful"}, "spec.restartMode"),
    ("external network", {"externalNetwork": "wan"}, None),
    ("network", {"network": "blue"}, None),
    ("both networks", {"externalNetwork": "wan", "network": "blue"}, "spec.network"),
    ("extensions", {"extensions": {"a": "b"}}, None),
    ("extensions as a list", {"extensions": ["a"]}, "spec.extensions"),
]

FILTER: list[Case] = [
    ("nothing is required", {}, None),
    ("a bare rule", v4(), None),
    ("all four lists", {n: [{"action": "Reject"}] for n in ("exportV4", "importV4", "exportV6", "importV6")}, None),
    ("no action", {"importV4": [{}]}, f"{RULE}.action"),
    ("action in lower case", v4(action="accept"), f"{RULE}.action"),
    *[(f"operator {w}", v4(cidr="10.0.0.0/8", matchOperator=w), None) for w in ("Equal", "NotEqual", "In", "NotIn")],
    ("operator otherwise", v4(cidr="10.0.0.0/8", matchOperator="Contains"), f"{RULE}.matchOperator"),
    ("range without an operator", v4(cidr="10.0.0.0/8"), f"{RULE}.matchOperator"),
    ("operator without a range", v4(matchOperator="In"), f"{RULE}.cidr"),
    ("range with host bits", v4(**{**IN_10, "cidr": "10.0.0.1/8"}), f"{RULE}.cidr"),
    ("range of the other family", v4(**IN_FD), f"{RULE}.cidr"),
    ("IPv4 range for IPv6", v6(**IN_10), "spec.exportV6[0].cidr"),
    ("bare address", v4(**{**IN_10, "cidr": "10.0.0.1"}), f"{RULE}.cidr"),
    ("lengths of IPv4", v4(**IN_10, prefixLength={"min": 0, "max": 32}), None),
    ("lengths of IPv6", v6(**IN_FD, prefixLength={"min": 8, "max": 128}), None),
    ("length 33 of IPv4", v4(**IN_10, prefixLength={"max": 33}), f"{RULE}.prefixLength.max"),
    ("length 129 of IPv6", v6(**IN_FD, prefixLength={"min": 129}), "spec.exportV6[0].prefixLength.min"),
    ("negative length", v4(**IN_10, prefixLength={"min": -1}), f"{RULE}.prefixLength.min"),
    ("lengths without a range", v4(prefixLength={"max": 24}), f"{RULE}.cidr"),
    ("from other nodes", v4(source="RemotePeers"), None),
    ("from elsewhere", v4(source="Kernel"), f"{RULE}.source"),
    ("interface with a star", v4(interface="eth*.1"), None),
    ("interface too long", v4(interface="a" * 16), f"{RULE}.interface"),
    ("interface with a plus", v4(interface="eth+"), f"{RULE}.interface"),
    ("peers of another AS", v4(peerType="eBGP"), None),
    ("peers in other letters", v4(peerType="ebgp"), f"{RULE}.peerType"),
    ("one community", v4(communities={"values": ["1:2"]}), None),
    ("one large community", v4(communities={"values": ["1:2:3"]}), None),
    ("two communities", v4(communities={"values": ["1:2", "1:3"]}), f"{RULE}.communities.values"),
    ("no community", v4(communities={"values": []}), f"{RULE}.communities.values"),
    ("community with a leading zero", v4(communities={"values": ["01:2"]}), f"{RULE}.communities.values[0]"),
    ("community too long", v4(communities={"values": ["1:" + "2" * 31]}), f"{RULE}.communities.values[0]"),
    ("beginning of the path", v4(asPathPrefix=[1, 65000]), None),
    ("beginning as text", v4(asPathPrefix=[1, "1.1"]), Verdicts(f"{RULE}.asPathPrefix[1]", None)),
    ("beginning that is no AS number", v4(asPathPrefix=["x"]), f"{RULE}.asPathPrefix[0]"),
    ("metric", v4(priority=2_147_483_646), None),
    ("metric 0", v4(priority=0), f"{RULE}.priority"),
    ("metric too great", v4(priority=2_147_483_647), f"{RULE}.priority"),
    ("every change", change({"addCommunity": {"value": "1:2"}}, {"prependASPath": {"prefix": [1]}}, PRIORITY), None),
    ("ten changes", change(*[PRIORITY] * 10), None),
    ("eleven changes", change(*[PRIORITY] * 11), f"{RULE}.operations"),
    ("an empty list of changes", change(), f"{RULE}.operations"),
    ("changes to what is rejected", change(PRIORITY, action="Reject"), f"{RULE}.operations"),
    ("a change of nothing", change({}), f"{RULE}.operations[0]"),
    ("two changes in one", change({**PRIORITY, "addCommunity": {"value": "1:2"}}), f"{RULE}.operations[0]"),
    ("community that is none", change({"addCommunity": {"value": "1"}}), f"{RULE}.operations[0].addCommunity.value"),
    ("ten AS numbers", change({"prependASPath": {"prefix": [1] * 10}}), None),
    ("eleven", change({"prependASPath": {"prefix": [1] * 11}}), f"{RULE}.operations[0].prependASPath.prefix"),
    ("none", change({"prependASPath": {"prefix": []}}), f"{RULE}.operations[0].prependASPath.prefix"),
    ("metric set to 0", change({"setPriority": {"value": 0}}), f"{RULE}.operations[0].setPriority.value"),
    ("metric set to nothing", change({"setPriority": {}}), f"{RULE}.operations[0].setPriority.value"),
]

CASES: dict[Resource[Any], list[Case]] = {
    c.BGP_CONFIGURATIONS: CONFIGURATION,
    c.BGP_PEERS: PEER,
    c.BGP_FILTERS: FILTER,
}

ON_DEFAULT_ONLY: list[dict[str, Any]] = [
    {"nodeToNodeMeshEnabled": True},
    {"asNumber": 1},
    {"serviceClusterIPs": [{"cidr": "10.0.0.0/8"}]},
    {"serviceExternalIPs": [{"cidr": "10.0.0.0/8"}]},
    {"serviceLoadBalancerIPs": [{"cidr": "10.0.0.0/8"}]},
    {"nodeMeshPassword": SECRET},
    {"nodeMeshMaxRestartTime": "1s"},
]


@pytest.mark.parametrize(("resource", "spec", "path"), parameters(CASES))
def test_a_spec_is_accepted_or_refused_at_the_field_at_fault(
    resource: Resource[Any], spec: dict[str, Any], path: Expected
) -> None:
    judge(resource, spec, path)


def test_every_kind_has_cases_of_both_sorts() -> None:
    every_case_has_both(CASES)


@pytest.mark.parametrize("name", ["node.n1", "other"])
@pytest.mark.parametrize("spec", ON_DEFAULT_ONLY, ids=str)
def test_some_settings_are_for_the_object_default_alone(spec: dict[str, Any], name: str) -> None:
    """Detail 31."""
    judge(c.BGP_CONFIGURATIONS, spec, None)
    judge(c.BGP_CONFIGURATIONS, spec, f"spec.{next(iter(spec))}", name=name)
    judge(c.BGP_CONFIGURATIONS, {"listenPort": 1179, **prefix("1:2")}, None, name=name)
