"""What admission accepts, fills in and refuses in the kinds other than policies (spec/resources.md 1.4, 5)."""

from typing import Any

import pytest

from tortie.model import catalog
from tortie.model.admission import ServingMode, admit, cross_check
from tortie.model.resource import Resource

Case = tuple[Resource[Any], dict[str, Any]]


def errors(resource: Resource[Any], spec: Any, *, name: str = "default", old: Any = None) -> list[str]:
    metadata = {"name": name, "namespace": "ns"} if resource.namespaced else {"name": name}
    stored = None if old is None else {"metadata": metadata, "spec": old}
    return [str(error) for error in admit(resource, {"metadata": metadata, "spec": spec}, stored).errors]


HEP, GNS, POOL = catalog.HOST_ENDPOINTS, catalog.GLOBAL_NETWORK_SETS, catalog.IP_POOLS
BGP, PEER, FILTER = catalog.BGP_CONFIGURATIONS, catalog.BGP_PEERS, catalog.BGP_FILTERS
FELIX, KCC = catalog.FELIX_CONFIGURATIONS, catalog.KUBE_CONTROLLERS_CONFIGURATIONS


def pool(cidr: str = "10.0.0.0/16", **fields: Any) -> dict[str, Any]:
    return {"cidr": cidr, **fields}


def rule(**fields: Any) -> dict[str, Any]:
    return {"importV4": [{"action": "Accept", **fields}]}


def template(**fields: Any) -> dict[str, Any]:
    return {"controllers": {"node": {"hostEndpoint": {"templates": [{"generateName": "t", **fields}]}}}}


COMMUNITY = {"name": "c", "value": "65000:1"}
PREFIX = {"cidr": "10.0.0.0/8", "communities": ["c", "1:2:3"]}
SECRET = {"secretKeyRef": {"name": "s", "key": "k"}}

ACCEPTED: list[Case] = [
    # Detail 1: network sets take bare addresses and host bits.
    (GNS, {"nets": ["10.0.0.1", "10.0.0.1/8", "fd00::1", "0.0.0.0/0"], "allowedEgressDomains": ["*.a.com"]}),
    (GNS, {}),
    (HEP, {"node": "n", "interfaceName": "eth0"}),
    (HEP, {"node": "n", "interfaceName": "*", "profiles": ["p"], "expectedIPs": ["10.0.0.1", "fd00::1"]}),
    (HEP, {"node": "n", "expectedIPs": ["10.0.0.1"], "ports": [{"name": "http", "protocol": "TCP", "port": 80}]}),
    (HEP, {"node": "n", "interfaceName": "eth0", "ports": [{"name": "a", "protocol": 17, "port": 65535}]}),
    (POOL, pool()),
    (POOL, pool("fd00:10::/48", vxlanMode="Always", natOutgoing=True)),
    (POOL, pool("10.0.0.0/26")),
    (POOL, pool("10.0.0.0/28", disabled=True)),
    (POOL, pool("10.0.0.0/28", blockSize=30, ipipMode="CrossSubnet")),
    (POOL, pool(allowedUses=["LoadBalancer"])),
    (POOL, pool(allowedUses=["Tunnel"])),
    (POOL, pool(namespaceSelector="a == 'b'")),
    (POOL, pool(assignmentMode="Manual", nodeSelector="!has(x)")),
    (catalog.IP_RESERVATIONS, {"reservedCIDRs": ["10.0.0.1/8", "fd00::/64"]}),
    (catalog.IPAM_CONFIGURATIONS, {}),
    (catalog.IPAM_CONFIGURATIONS, {"strictAffinity": True, "autoAllocateBlocks": False, "maxBlocksPerHost": 5}),
    (catalog.IPAM_CONFIGURATIONS, {"ipCooldownSeconds": 1200, "kubeVirtVMAddressPersistence": "Disabled"}),
    (catalog.BLOCK_AFFINITIES, {"state": "confirmed", "node": "n", "cidr": "10.0.0.0/26", "type": "host"}),
    (BGP, {"asNumber": 65001, "logSeverityScreen": "info", "listenPort": 1790, "bindMode": "NodeIP"}),
    (BGP, {"communities": [COMMUNITY], "prefixAdvertisements": [PREFIX]}),
    (BGP, {"serviceClusterIPs": [{"cidr": "10.96.0.0/12"}], "ignoredInterfaces": ["docker*", "eth0"]}),
    (BGP, {"nodeMeshPassword": SECRET, "nodeMeshMaxRestartTime": "1m30s", "nodeToNodeMeshEnabled": True}),
    (BGP, {"localWorkloadPeeringIPV4": "169.254.0.1", "localWorkloadPeeringIPV6": "fe80::1"}),
    (PEER, {"peerIP": "192.0.2.1", "asNumber": 64512, "node": "n"}),
    (PEER, {"peerIP": "192.0.2.1:1179", "asNumber": 1}),
    (PEER, {"peerIP": "[2001:db8::1]:1179", "reachableBy": "2001:db8::2"}),
    (PEER, {"peerSelector": "rr == 'true'", "nodeSelector": "all()", "reversePeering": "Manual"}),
    (PEER, {"localWorkloadSelector": "has(bgp)", "asNumber": 65000, "filters": ["a", "b"]}),
    (PEER, {"keepOriginalNextHop": False, "nextHopMode": "Self", "keepaliveTime": "10s", "ttlSecurity": 1}),
    (FILTER, rule()),
    (FILTER, rule(cidr="10.0.0.0/8", matchOperator="In", prefixLength={"min": 8, "max": 32})),
    (FILTER, {"exportV6": [{"action": "Reject", "cidr": "fd00::/8", "matchOperator": "Equal", "interface": "eth*"}]}),
    (FILTER, rule(operations=[{"addCommunity": {"value": "1:2"}}, {"prependASPath": {"prefix": [1, 65537]}}])),
    (FILTER, rule(communities={"values": ["1:2:3"]}, peerType="eBGP", priority=100, asPathPrefix=[1])),
    (catalog.CLUSTER_INFORMATIONS, {}),
    (KCC, {"controllers": {}}),
    (KCC, {"controllers": {"node": {"reconcilerPeriod": "1m"}}, "etcdV3CompactionPeriod": "0"}),
    (KCC, template(interfaceCIDRs=["10.0.0.1/8"])),
    (KCC, template(interfacePattern="eth.*", labels={"a": "b"}, nodeSelector="all()")),
    (catalog.CALICO_NODE_STATUSES, {"node": "n", "classes": ["BGP", "Agent", "Routes"], "updatePeriodSeconds": 0}),
    (FELIX, {}),
    # Detail 34: enumerations by pattern ignore case.
    (FELIX, {"defaultEndpointToHostAction": "accept", "logSeverityScreen": "DEBUG", "chainInsertMode": "append"}),
    (FELIX, {"failsafeInboundHostPorts": [], "failsafeOutboundHostPorts": [{"protocol": "UDP", "port": 53}]}),
    (FELIX, {"failsafeInboundHostPorts": [{"protocol": "SCTP", "port": 22, "net": "10.0.0.1/8"}]}),
    (FELIX, {"routeTableRanges": [{"min": 1, "max": 250}, {"min": 1000, "max": 2000}]}),
    (FELIX, {"routeTableRange": {"min": 1, "max": 250}}),
    (FELIX, {"natPortRange": "32768:65535", "kubeNodePortRanges": [30000, "31000:32000"], "istioDSCPMark": "EF"}),
    (FELIX, {"healthTimeoutOverrides": [{"name": "Int Dataplane_1", "timeout": "0s"}]}),
    (FELIX, {"logActionRateLimit": "10/minute", "logPrefix": "x %t-%p: ", "iptablesMarkMask": 0xFFFF0000}),
    (FELIX, {"netlinkTimeout": "", "iptablesRefreshInterval": "1h30m", "flowLogsFlushInterval": "15s"}),
]


@pytest.mark.parametrize(("resource", "spec"), ACCEPTED, ids=str)
def test_a_correct_object_is_accepted(resource: Resource[Any], spec: dict[str, Any]) -> None:
    assert errors(resource, spec) == []


REFUSED: list[tuple[Resource[Any], dict[str, Any], str]] = [
    (GNS, {"nets": ["10.0.0.0/33"]}, "spec.nets[0]"),
    (GNS, {"nets": ["10.0.0.1", "10.0.0.1"]}, "spec.nets[1]"),
    (GNS, {"allowedEgressDomains": ["a.*"]}, "spec.allowedEgressDomains[0]"),
    (HEP, {"interfaceName": "eth0"}, "spec.node: Required"),
    (HEP, {"node": "n"}, "spec.interfaceName: Required"),
    (HEP, {"node": "N", "interfaceName": "eth0"}, "spec.node"),
    (HEP, {"node": "n", "interfaceName": "a-name-of-sixteen"}, "spec.interfaceName"),
    (HEP, {"node": "n", "interfaceName": "eth*"}, "spec.interfaceName"),
    (HEP, {"node": "n", "expectedIPs": ["10.0.0.1/32"]}, "spec.expectedIPs[0]"),
    (HEP, {"node": "n", "expectedIPs": ["10.0.0.1", "10.0.0.1"]}, "spec.expectedIPs[1]"),
    (
        HEP,
        {"node": "n", "interfaceName": "e", "ports": [{"name": "a", "protocol": "tcp", "port": 1}]},
        "spec.ports[0].pr",
    ),
    (
        HEP,
        {"node": "n", "interfaceName": "e", "ports": [{"name": "a", "protocol": "TCP", "port": 0}]},
        "spec.ports[0].po",
    ),
    (
        HEP,
        {"node": "n", "interfaceName": "e", "ports": [{"protocol": "TCP", "port": 1}]},
        "spec.ports[0].name: Required",
    ),
    (POOL, {}, "spec.cidr: Required"),
    (POOL, pool("10.0.0.0"), "spec.cidr"),
    (POOL, pool("10.0.0.1/16"), "spec.cidr"),
    (POOL, pool("nonsense/16"), "spec.cidr"),
    (POOL, pool("169.254.0.0/24"), "spec.cidr"),
    (POOL, pool("168.0.0.0/6"), "spec.cidr"),
    (POOL, pool("fe80::/64"), "spec.cidr"),
    (POOL, pool("10.0.0.0/27"), "spec.cidr"),
    (POOL, pool(blockSize=19), "spec.blockSize"),
    (POOL, pool(blockSize=33), "spec.blockSize"),
    (POOL, pool("fd00::/48", blockSize=26), "spec.blockSize"),
    (POOL, pool(blockSize=129), "spec.blockSize"),
    (POOL, pool(ipipMode="Always", vxlanMode="CrossSubnet"), "spec.ipipMode"),
    (POOL, pool(ipipMode="always"), "spec.ipipMode"),
    (POOL, pool("fd00::/48", ipipMode="Always"), "spec.ipipMode"),
    (POOL, pool(nodeSelector="global()"), "spec.nodeSelector"),
    (POOL, pool(nodeSelector="x"), "spec.nodeSelector"),
    (POOL, pool(namespaceSelector="a == 'b'", allowedUses=["Workload", "Tunnel"]), "spec.namespaceSelector"),
    (POOL, pool(allowedUses=["Workload", "LoadBalancer"]), "spec.allowedUses"),
    (POOL, pool(allowedUses=["Workload", "Workload"]), "spec.allowedUses[1]"),
    (POOL, pool(allowedUses=["Other"]), "spec.allowedUses[0]"),
    (POOL, pool(allowedUses=["LoadBalancer"], vxlanMode="Always"), "spec.vxlanMode"),
    (POOL, pool(allowedUses=["LoadBalancer"], disableBGPExport=True), "spec.disableBGPExport"),
    (POOL, pool(allowedUses=["LoadBalancer"], nodeSelector="has(a)"), "spec.nodeSelector"),
    (POOL, pool(allowedUses=["L2Workload"]), "spec.disableBGPExport"),
    (POOL, pool(assignmentMode="Other"), "spec.assignmentMode"),
    # Detail 1: a reservation needs a prefix length.
    (catalog.IP_RESERVATIONS, {"reservedCIDRs": ["10.0.0.1"]}, "spec.reservedCIDRs[0]"),
    (catalog.IP_RESERVATIONS, {"reservedCIDRs": ["10.0.0.0/8", "10.0.0.0/8"]}, "spec.reservedCIDRs[1]"),
    (catalog.IPAM_CONFIGURATIONS, {"autoAllocateBlocks": False}, "spec.autoAllocateBlocks"),
    (catalog.IPAM_CONFIGURATIONS, {"maxBlocksPerHost": 1000001}, "spec.maxBlocksPerHost"),
    (catalog.IPAM_CONFIGURATIONS, {"ipCooldownSeconds": 1201}, "spec.ipCooldownSeconds"),
    (catalog.BLOCK_AFFINITIES, {"state": "other", "node": "n", "cidr": "10.0.0.0/26"}, "spec.state"),
    (BGP, {"asNumber": 4294967296}, "spec.asNumber"),
    (BGP, {"logSeverityScreen": "loud"}, "spec.logSeverityScreen"),
    (BGP, {"listenPort": 0}, "spec.listenPort"),
    (BGP, {"serviceClusterIPs": [{"cidr": "10.96.0.1"}]}, "spec.serviceClusterIPs[0].cidr"),
    (BGP, {"serviceExternalIPs": [{"cidr": "10.96.0.1/12"}]}, "spec.serviceExternalIPs[0].cidr"),
    # Detail 31.
    (BGP, {"communities": [COMMUNITY]}, "spec.prefixAdvertisements: Required"),
    (BGP, {"nodeToNodeMeshEnabled": False, "nodeMeshPassword": SECRET}, "spec.nodeMeshPassword: Forbidden"),
    (BGP, {"nodeToNodeMeshEnabled": False, "nodeMeshMaxRestartTime": "1s"}, "spec.nodeMeshMaxRestartTime: Forbidden"),
    (BGP, {"prefixAdvertisements": [PREFIX]}, "spec.prefixAdvertisements[0].communities[0]"),
    (
        BGP,
        {"communities": [{"name": "c", "value": "65536:1"}], "prefixAdvertisements": [PREFIX]},
        "spec.communities[0].v",
    ),
    (BGP, {"ignoredInterfaces": ["*"]}, "spec.ignoredInterfaces[0]"),
    (BGP, {"localWorkloadPeeringIPV4": "fe80::1"}, "spec.localWorkloadPeeringIPV4"),
    (BGP, {"bindMode": "nodeip"}, "spec.bindMode"),
    (BGP, {"ipv4NormalRoutePriority": 0}, "spec.ipv4NormalRoutePriority"),
    (BGP, {"nodeMeshPassword": {"secretKeyRef": {"name": "s"}}}, "spec.nodeMeshPassword.secretKeyRef.key: Required"),
    # Detail 32.
    (PEER, {"node": "n", "nodeSelector": "all()"}, "spec.nodeSelector: Forbidden"),
    (PEER, {"peerSelector": "all()", "peerIP": "192.0.2.1"}, "spec.peerIP: Forbidden"),
    (PEER, {"peerSelector": "all()", "asNumber": 1}, "spec.asNumber: Forbidden"),
    (PEER, {"localWorkloadSelector": "all()"}, "spec.asNumber: Required"),
    (PEER, {"localWorkloadSelector": "all()", "asNumber": 1, "peerIP": "192.0.2.1"}, "spec.peerIP: Forbidden"),
    (PEER, {"localWorkloadSelector": "all()", "asNumber": 1, "peerSelector": "all()"}, "spec.asNumber: Forbidden"),
    (PEER, {"peerIP": "192.0.2.1/32"}, "spec.peerIP"),
    (PEER, {"peerIP": "192.0.2.1:0"}, "spec.peerIP"),
    (PEER, {"peerIP": "192.0.2.1:65536"}, "spec.peerIP"),
    (PEER, {"peerIP": "[192.0.2.1]:179"}, "spec.peerIP"),
    (PEER, {"reachableBy": "192.0.2.2"}, "spec.peerIP: Required"),
    (PEER, {"peerIP": "2001:db8::1", "reachableBy": "192.0.2.2"}, "spec.reachableBy"),
    (PEER, {"keepOriginalNextHop": True, "nextHopMode": "Auto"}, "spec.nextHopMode: Forbidden"),
    (PEER, {"filters": ["A"]}, "spec.filters[0]"),
    (PEER, {"ttlSecurity": 256}, "spec.ttlSecurity"),
    (PEER, {"maxRestartTime": "soon"}, "spec.maxRestartTime"),
    (FILTER, {"importV4": [{}]}, "spec.importV4[0].action: Required"),
    (FILTER, rule(cidr="10.0.0.0/8"), "spec.importV4[0].matchOperator: Required"),
    (FILTER, rule(matchOperator="In"), "spec.importV4[0].cidr: Required"),
    (FILTER, rule(cidr="fd00::/8", matchOperator="In"), "spec.importV4[0].cidr"),
    (FILTER, rule(prefixLength={"min": 1}), "spec.importV4[0].cidr: Required"),
    (
        FILTER,
        rule(cidr="10.0.0.0/8", matchOperator="In", prefixLength={"max": 33}),
        "spec.importV4[0].prefixLength.max",
    ),
    (
        FILTER,
        {"importV4": [{"action": "Reject", "operations": [{"setPriority": {"value": 1}}]}]},
        "spec.importV4[0].op",
    ),
    (FILTER, rule(operations=[{}]), "spec.importV4[0].operations[0]"),
    (FILTER, rule(operations=[]), "spec.importV4[0].operations"),
    (FILTER, rule(operations=[{"setPriority": {"value": 0}}]), "spec.importV4[0].operations[0].setPriority.value"),
    (FILTER, rule(communities={"values": ["01:2"]}), "spec.importV4[0].communities.values[0]"),
    (FILTER, rule(communities={"values": ["1:2", "1:3"]}), "spec.importV4[0].communities.values"),
    (FILTER, rule(interface="eth/0"), "spec.importV4[0].interface"),
    (KCC, {}, "spec.controllers: Required"),
    (KCC, {"controllers": {}, "logSeverityScreen": "info"}, "spec.logSeverityScreen"),
    (KCC, template(), "spec.controllers.node.hostEndpoint.templates[0].interfaceCIDRs: Required"),
    (KCC, template(interfacePattern="("), "spec.controllers.node.hostEndpoint.templates[0].interfacePattern"),
    (catalog.CALICO_NODE_STATUSES, {"node": "n", "classes": ["BGP"]}, "spec.updatePeriodSeconds: Required"),
    (
        catalog.CALICO_NODE_STATUSES,
        {"node": "n", "classes": ["BGP", "BGP"], "updatePeriodSeconds": 86401},
        "spec.classes[1]",
    ),
    (FELIX, {"nodeSelector": "all()"}, "spec.nodeSelector: Forbidden"),
    # Detail 34: marker types mind the case, and the schema refuses fractions of durations.
    (FELIX, {"floatingIPs": "enabled"}, "spec.floatingIPs: Unsupported"),
    (FELIX, {"netlinkTimeout": "1.5s"}, "spec.netlinkTimeout"),
    (FELIX, {"defaultEndpointToHostAction": "Allow"}, "spec.defaultEndpointToHostAction"),
    # Detail 33: lower-case protocols are refused.
    (
        FELIX,
        {"failsafeInboundHostPorts": [{"protocol": "tcp", "port": 22}]},
        "spec.failsafeInboundHostPorts[0].protocol",
    ),
    (FELIX, {"failsafeInboundHostPorts": [{"protocol": "TCP"}]}, "spec.failsafeInboundHostPorts[0].port: Required"),
    (FELIX, {"routeTableRange": {"min": 0, "max": 250}}, "spec.routeTableRange"),
    (FELIX, {"routeTableRange": {"min": 1, "max": 251}}, "spec.routeTableRange"),
    (FELIX, {"routeTableRanges": [{"min": 1, "max": 65536}]}, "spec.routeTableRanges"),
    (
        FELIX,
        {"routeTableRange": {"min": 1, "max": 2}, "routeTableRanges": [{"min": 1, "max": 2}]},
        "spec.routeTableRange",
    ),
    (FELIX, {"logActionRateLimit": "10000/second"}, "spec.logActionRateLimit"),
    (FELIX, {"logPrefix": "ümlaut"}, "spec.logPrefix"),
    (FELIX, {"mtuIfacePattern": "("}, "spec.mtuIfacePattern"),
    (FELIX, {"externalNodesList": ["fd00::1"]}, "spec.externalNodesList[0]"),
    (FELIX, {"natPortRange": "0:10"}, "spec.natPortRange"),
    (FELIX, {"istioDSCPMark": "CS7"}, "spec.istioDSCPMark"),
    (FELIX, {"healthPort": "9099"}, "spec.healthPort"),
    (FELIX, {"wireguardRoutingRulePriority": 32766}, "spec.wireguardRoutingRulePriority"),
    (FELIX, {"healthTimeoutOverrides": [{"name": "a/b", "timeout": "1s"}]}, "spec.healthTimeoutOverrides[0].name"),
    (FELIX, {"healthTimeoutOverrides": [{"name": "a", "timeout": "-1s"}]}, "spec.healthTimeoutOverrides[0].timeout"),
]


@pytest.mark.parametrize(("resource", "spec", "error"), REFUSED, ids=str)
def test_a_wrong_object_is_refused_at_the_field_that_is_wrong(
    resource: Resource[Any], spec: dict[str, Any], error: str
) -> None:
    found = errors(resource, spec)
    assert found
    assert found[0].startswith(error)


def test_network_sets_may_not_carry_the_namespace_label() -> None:
    obj = {"metadata": {"name": "s", "labels": {"projectcalico.org/namespace": "x"}}, "spec": {}}
    assert admit(GNS, obj, None).errors[0].path == "metadata.labels"


@pytest.mark.parametrize(
    "field",
    [
        {"nodeToNodeMeshEnabled": False},
        {"asNumber": 1},
        {"serviceClusterIPs": [{"cidr": "10.0.0.0/8"}]},
        {"serviceExternalIPs": [{"cidr": "10.0.0.0/8"}]},
        {"serviceLoadBalancerIPs": [{"cidr": "10.0.0.0/8"}]},
        {"nodeMeshPassword": SECRET},
        {"nodeMeshMaxRestartTime": "1s"},
    ],
    ids=str,
)
def test_some_bgp_settings_are_for_the_object_named_default(field: dict[str, Any]) -> None:
    """Detail 31."""
    assert errors(BGP, field) == []
    assert ": Forbidden: " in errors(BGP, field, name="node.n")[0]


def test_a_felix_configuration_is_for_all_nodes_for_one_or_for_selected_ones() -> None:
    assert errors(FELIX, {"nodeSelector": "a == 'b'"}, name="some-nodes") == []
    assert errors(FELIX, {"nodeSelector": "a"}, name="some-nodes")[0].startswith("spec.nodeSelector: Invalid")
    assert errors(FELIX, {"nodeSelector": "a == 'b'"}, name="node.n")[0].startswith("spec.nodeSelector: Forbidden")


def test_a_pool_gets_the_block_size_of_its_family_and_its_other_defaults() -> None:
    stored = admit(POOL, {"metadata": {"name": "p"}, "spec": {"cidr": "fd00::/64"}}, None).object["spec"]
    assert stored == {
        "cidr": "fd00::/64",
        "blockSize": 122,
        "ipipMode": "Never",
        "vxlanMode": "Never",
        "nodeSelector": "all()",
        "allowedUses": ["Workload", "Tunnel"],
        "assignmentMode": "Automatic",
    }


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        (pool(), pool("10.1.0.0/16"), "spec.cidr"),
        (pool(blockSize=26), pool(blockSize=27), "spec.blockSize"),
        (pool(blockSize=28), pool(), "spec.blockSize"),
        (pool(allowedUses=["LoadBalancer"]), pool(), "spec.allowedUses"),
    ],
)
def test_a_pool_keeps_its_range_block_size_and_load_balancer_use(old: Any, new: Any, path: str) -> None:
    """Detail 29."""
    assert errors(POOL, new, old=old)[0].startswith(path)


def test_a_pools_range_may_be_spelt_another_way_and_everything_else_changed() -> None:
    assert errors(POOL, pool("fd00::/64"), old=pool("fd00:0::/64")) == []
    assert errors(POOL, pool(natOutgoing=True, blockSize=26, disabled=True), old=pool()) == []
    assert errors(POOL, pool(allowedUses=["LoadBalancer"]), old=pool()) == []


def test_pools_may_not_overlap_each_other_nor_blocks_of_another_size() -> None:
    def cluster(resource: Resource[Any]) -> list[dict[str, Any]]:
        return {
            "ippools": [{"metadata": {"name": "a"}, "spec": {"cidr": "10.0.0.0/16"}}],
            "ipamblocks": [
                {"metadata": {"name": "b"}, "spec": {"cidr": "10.9.0.0/26"}},
                {"metadata": {"name": "c"}, "spec": {"cidr": "10.8.0.0/26", "deleted": True}},
            ],
        }.get(resource.plural, [])

    def check(name: str, cidr: str, size: int = 26, mode: ServingMode = ServingMode.AGGREGATED) -> list[str]:
        obj = {"metadata": {"name": name}, "spec": {"cidr": cidr, "blockSize": size}}
        return [str(error) for error in cross_check(POOL, obj, cluster, mode=mode)]

    assert check("a", "10.0.0.0/16") == []
    assert check("new", "10.1.0.0/16") == []
    assert check("new", "10.0.128.0/17") == [
        'spec.cidr: Invalid value: "10.0.128.0/17": overlaps with pool a (10.0.0.0/16)'
    ]
    assert check("new", "10.0.128.0/17", mode=ServingMode.NATIVE) == [], "natively a condition reports it"
    assert check("new", "fd00::/64", 122) == []
    assert check("new", "10.9.0.0/16") == []
    assert check("new", "10.9.0.0/16", 27)[0].startswith("spec.blockSize")
    assert check("new", "10.9.0.0/16", 27, ServingMode.NATIVE)[0].startswith("spec.blockSize")
    assert check("new", "10.8.0.0/16", 27) == []


def test_felix_configurations_get_few_defaults_and_more_from_the_aggregated_server() -> None:
    def stored(mode: ServingMode) -> Any:
        return admit(FELIX, {"metadata": {"name": "default"}, "spec": {}}, None, mode=mode).object["spec"]

    native = {"nftablesMode": "Auto", "nftablesFlowTableOffload": "Disabled"}
    assert stored(ServingMode.NATIVE) == native
    assert stored(ServingMode.AGGREGATED) == {
        **native,
        "floatingIPs": "Disabled",
        "bpfConnectTimeLoadBalancing": "TCP",
        "bpfHostNetworkedNATWithoutCTLB": "Enabled",
    }


@pytest.mark.parametrize(("old", "mode"), [(True, "Enabled"), (False, "Disabled")])
def test_the_deprecated_switch_of_load_balancing_sets_its_successors(old: bool, mode: str) -> None:
    spec = {"bpfConnectTimeLoadBalancingEnabled": old}
    obj = {"metadata": {"name": "default"}, "spec": spec}
    stored = admit(FELIX, obj, None, mode=ServingMode.AGGREGATED).object["spec"]
    assert stored["bpfConnectTimeLoadBalancing"] == mode
    assert stored["bpfHostNetworkedNATWithoutCTLB"] == "Disabled"


def test_as_numbers_are_stored_as_numbers_by_the_aggregated_server_and_must_be_numbers_natively() -> None:
    """Detail 32."""
    spec = {"peerIP": "192.0.2.1", "asNumber": "1.10", "localASNumber": "65000"}
    obj = {"metadata": {"name": "p"}, "spec": spec}
    stored = admit(PEER, obj, None, mode=ServingMode.AGGREGATED).object["spec"]
    assert (stored["asNumber"], stored["localASNumber"]) == (65546, 65000)
    assert [error.path for error in admit(PEER, obj, None).errors] == ["spec.asNumber", "spec.localASNumber"]


@pytest.mark.parametrize(("given", "stored"), [({}, True), ({"datastoreReady": False}, False)])
def test_the_datastore_is_ready_unless_said_otherwise(given: dict[str, Any], stored: bool) -> None:
    obj = {"metadata": {"name": "default"}, "spec": given}
    assert admit(catalog.CLUSTER_INFORMATIONS, obj, None).object["spec"]["datastoreReady"] is stored


def test_unknown_fields_are_left_out_and_named() -> None:
    obj = {
        "metadata": {"name": "default"},
        "spec": {"healthPrt": 1, "healthTimeoutOverrides": [{"nam": "x"}]},
        "foo": 1,
    }
    admission = admit(FELIX, obj, None)
    assert admission.unknown_fields == ["spec.healthPrt", "spec.healthTimeoutOverrides[0].nam", "foo"]
    assert "foo" not in admission.object


def test_labels_and_annotations_follow_kubernetes() -> None:
    metadata = {"name": "s", "labels": {"a b": "c", "x": "y" * 64}, "annotations": {"A/b": "c", "/": "d"}}
    found = {str(error.value) for error in admit(GNS, {"metadata": metadata, "spec": {}}, None).errors}
    assert found == {"a b", "y" * 64, "/"}


def test_objects_that_are_no_objects_are_refused_without_a_crash() -> None:
    for metadata, spec in (
        ({"name": "p"}, []),
        ("x", {}),
        ({"name": 5, "labels": []}, {}),
        ({"name": "p"}, {"nets": {}}),
    ):
        assert admit(GNS, {"metadata": metadata, "spec": spec}, None).errors
    assert admit(catalog.NETWORK_POLICIES, {"metadata": {"name": "p"}, "spec": {"ingress": ["x"]}}, None).errors
    assert admit(BGP, {"metadata": {"name": "default"}, "spec": {"asNumber": {}}}, None).errors
