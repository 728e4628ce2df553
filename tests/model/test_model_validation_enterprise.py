"""What admission accepts and refuses in kinds of the Enterprise edition, one case a line (spec/resources.md 0.3, 1.4).

Each case: what it is about, the spec, and the path of the field that is at fault, or None if the object is accepted.
"""

from typing import Any

import pytest
from validation_cases import Case, Expected, every_case_has_both, judge, named, parameters, without

from tortie.model import catalog as c
from tortie.model.admission import admit, cross_check
from tortie.model.resource import Resource

UI = {"group": "g", "description": "d", "layer": {"nodes": [{"id": "1", "name": "n", "type": "t"}]}}
ACCESS = {"namespace": "n", "name": "s"}
PEM = "-----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----\n"
VRF = {"routeTableIndex": 5}
HOST = {"bridge": {"managedBridge": {"stp": "Disabled"}}}
ROUTE = {"destination": "0.0.0.0/0", "action": {"nextHop": "10.0.0.1"}}
BAD_ROUTE = {"destination": "0.0.0.0/0", "action": {"nextHop": "fd00::1"}}
VLAN = {"vlan": {"id": 10}, "subnets": [{"cidr": "10.0.0.0/24"}]}


def vrf(**fields: Any) -> dict[str, Any]:
    return {"vrf": {"hostConfig": [{**VRF, **fields}]}}


def bridge(host: Any = HOST, vlan: Any = VLAN) -> dict[str, Any]:
    return {"l2Bridge": {"hostConfig": [host], "vlans": [vlan]}}


def trunk(vlan: int) -> dict[str, Any]:
    return {**HOST, "hostConnections": [{"trunkPort": {"interface": {"name": "eth1"}, "nativeVLAN": vlan}}]}


CASES: dict[Resource[Any], list[Case]] = {
    c.MANAGED_CLUSTERS: [
        ("nothing is required", {}, None),
        ("certificate and namespace", {"certificate": "YWJj", "operatorNamespace": "tigera-operator"}, None),
        ("certificate is text", {"certificate": 5}, "spec.certificate"),
        ("certificate is base64", {"certificate": "not base64"}, "spec.certificate"),
        ("namespace is a label", {"operatorNamespace": "a.b"}, "spec.operatorNamespace"),
    ],
    c.LICENSE_KEYS: [
        ("token and certificate", {"token": "t", "certificate": PEM}, None),
        ("certificate that is none", {"token": "t", "certificate": "c"}, "spec.certificate"),
        ("certificate of nonsense", {"token": "t", "certificate": PEM.replace("YWJj", "YWJ")}, "spec.certificate"),
        ("token is required", {"certificate": PEM}, "spec.token"),
        ("token is not empty", {"token": ""}, "spec.token"),
    ],
    c.REMOTE_CLUSTER_CONFIGURATIONS: [
        ("etcd", {"datastoreType": "etcdv3", "etcdEndpoints": "https://x:2379", "etcdCACert": "pem"}, None),
        ("kubernetes", {"datastoreType": "kubernetes", "kubeconfig": "/f", "k8sInsecureSkipTLSVerify": True}, None),
        ("secret alone", {"clusterAccessSecret": {"namespace": "n", "name": "s"}}, None),
        ("etcd by default", {"etcdEndpoints": "https://x:2379"}, None),
        ("kubernetes field by default", {"kubeconfig": "/f"}, "spec.kubeconfig"),
        ("secret without a namespace", {"clusterAccessSecret": {"name": "s"}}, "spec.clusterAccessSecret.namespace"),
        ("secret without a name", {"clusterAccessSecret": {"namespace": "n"}}, "spec.clusterAccessSecret.name"),
        ("secret with another field", {"clusterAccessSecret": ACCESS, "kubeconfig": "/f"}, "spec.kubeconfig"),
        ("secret with a type", {"clusterAccessSecret": ACCESS, "datastoreType": "etcdv3"}, "spec.datastoreType"),
        ("requests a second", {"datastoreType": "kubernetes", "kubeconfig": "/f", "k8sClientQPS": 12.5}, None),
        ("requests in words", {"datastoreType": "kubernetes", "k8sClientQPS": "12"}, "spec.k8sClientQPS"),
        ("etcd field for kubernetes", {"datastoreType": "kubernetes", "etcdKey": "k"}, "spec.etcdKey"),
        ("kubernetes field for etcd", {"datastoreType": "etcdv3", "k8sAPIToken": "t"}, "spec.k8sAPIToken"),
        ("unknown type", {"datastoreType": "sqlite"}, "spec.datastoreType"),
        (
            "overlay mode",
            {"datastoreType": "kubernetes", "syncOptions": {"overlayRoutingMode": "Enabled"}},
            None,
        ),
        ("overlay mode by name", {"syncOptions": {"overlayRoutingMode": "on"}}, "spec.syncOptions.overlayRoutingMode"),
    ],
    c.PACKET_CAPTURES: [
        ("everything", {}, None),
        (
            "selector and filters",
            {"selector": "a == 'b'", "filters": [{"protocol": "TCP", "ports": [80, "1:2"]}]},
            None,
        ),
        ("protocol by number", {"filters": [{"protocol": 255}]}, None),
        ("protocol is case-sensitive", {"filters": [{"protocol": "tcp"}]}, "spec.filters[0].protocol"),
        ("named ports are refused", {"filters": [{"ports": ["http"]}]}, "spec.filters[0].ports[0]"),
        ("port 0", {"filters": [{"ports": [0]}]}, "spec.filters[0].ports[0]"),
        ("bad selector", {"selector": "a =="}, "spec.selector"),
        ("end after start", {"startTime": "2026-01-01T00:00:00Z", "endTime": "2026-01-01T00:00:01+00:00"}, None),
        ("end at start", {"startTime": "2026-01-01T01:00:00+01:00", "endTime": "2026-01-01T00:00:00Z"}, "spec.endTime"),
        ("not a time", {"startTime": "tomorrow"}, "spec.startTime"),
        ("a time without dashes", {"startTime": "20260101T000000Z"}, "spec.startTime"),
        ("a time of nanoseconds", {"startTime": "2026-01-01t00:00:00.123456789z"}, None),
        ("a day that is none", {"startTime": "2026-02-30T00:00:00Z"}, "spec.startTime"),
        ("a time without a zone", {"endTime": "2026-01-01T00:00:00"}, "spec.endTime"),
    ],
    c.DEEP_PACKET_INSPECTIONS: [
        ("selector", {"selector": "k8s-app == 'x'"}, None),
        ("bad selector", {"selector": "x"}, "spec.selector"),
    ],
    c.EGRESS_GATEWAY_POLICIES: [
        ("default destination", {"rules": [{"gateway": {"selector": "a == 'b'", "maxNextHops": 0}}]}, None),
        ("no gateway", {"rules": [{"destination": {"cidr": "10.0.0.0/8"}, "description": "d"}]}, None),
        (
            "destinations are unique",
            {"rules": [{}, {"destination": {"cidr": "0.0.0.0/0"}}]},
            "spec.rules[1].destination.cidr",
        ),
        ("bad destination", {"rules": [{"destination": {"cidr": "x"}}]}, "spec.rules[0].destination.cidr"),
        ("bad selector", {"rules": [{"gateway": {"selector": "x"}}]}, "spec.rules[0].gateway.selector"),
        ("hops below 0", {"rules": [{"gateway": {"maxNextHops": -1}}]}, "spec.rules[0].gateway.maxNextHops"),
        ("preference", {"rules": [{"gatewayPreference": "PreferNodeLocal"}]}, None),
        ("unknown preference", {"rules": [{"gatewayPreference": "Local"}]}, "spec.rules[0].gatewayPreference"),
    ],
    c.EXTERNAL_NETWORKS: [
        ("table", {"routeTableIndex": 500}, None),
        ("table is required", {}, "spec.routeTableIndex"),
        ("greatest", {"routeTableIndex": 2**31 - 1}, None),
        ("beyond int32", {"routeTableIndex": 2**31}, "spec.routeTableIndex"),
        ("table by name", {"routeTableIndex": "main"}, "spec.routeTableIndex"),
    ],
    c.BFD_CONFIGURATIONS: [
        ("every interface", {"nodeSelector": "all()", "interfaces": [{"matchPattern": "*"}]}, None),
        ("beginning", {"interfaces": [{"matchPattern": "eth*", "minimumRecvInterval": "1s", "multiplier": 3}]}, None),
        ("pattern is required", {"interfaces": [{}]}, "spec.interfaces[0].matchPattern"),
        ("* in the middle", {"interfaces": [{"matchPattern": "e*h"}]}, "spec.interfaces[0].matchPattern"),
        (
            "below a millisecond",
            {"interfaces": [{"matchPattern": "*", "minimumSendInterval": "1500us"}]},
            "spec.interfaces[0].minimumSendInterval",
        ),
        ("multiplier 0", {"interfaces": [{"matchPattern": "*", "multiplier": 0}]}, "spec.interfaces[0].multiplier"),
        (
            "interval in words",
            {"interfaces": [{"matchPattern": "*", "minimumRecvInterval": "soon"}]},
            "spec.interfaces[0].minimumRecvInterval",
        ),
        ("0", {"interfaces": [{"matchPattern": "*", "idleSendInterval": "0s"}]}, "spec.interfaces[0].idleSendInterval"),
        ("bad selector", {"nodeSelector": "x"}, "spec.nodeSelector"),
    ],
    c.NETWORKS: [
        ("vrf", vrf(staticRoutes=[{"destination": "10.0.0.0/8", "action": {"nextHop": "192.0.2.1"}}]), None),
        (
            "next hop of the other family",
            vrf(staticRoutes=[{"destination": "10.0.0.0/8", "action": {"nextHop": "fd00::1"}}]),
            "spec.vrf.hostConfig[0].staticRoutes[0].action.nextHop",
        ),
        (
            "next hop by name",
            vrf(staticRoutes=[{"destination": "fd00::/8", "action": {"nextHop": "gateway"}}]),
            "spec.vrf.hostConfig[0].staticRoutes[0].action.nextHop",
        ),
        (
            "destination that is none",
            vrf(staticRoutes=[{"destination": "10.0.0.1"}]),
            "spec.vrf.hostConfig[0].staticRoutes[0].destination",
        ),
        (
            "table beyond int32",
            vrf(routeTableIndex=2**31),
            "spec.vrf.hostConfig[0].routeTableIndex",
        ),
        (
            "interface with a slash",
            vrf(hostInterfaces=[{"name": "a/b"}]),
            "spec.vrf.hostConfig[0].hostInterfaces[0].name",
        ),
        ("bad nodes", vrf(nodeSelector="x"), "spec.vrf.hostConfig[0].nodeSelector"),
        ("local mode", {"vrf": {"hostConfig": [VRF], "routing": {"inClusterMode": "Local"}}}, None),
        ("bridge", bridge(), None),
        (
            "routes of a subnet",
            bridge(vlan={**VLAN, "subnets": [{"cidr": "10.0.0.0/24", "routes": [ROUTE]}]}),
            None,
        ),
        (
            "route of a subnet to the other family",
            bridge(vlan={**VLAN, "subnets": [{"cidr": "10.0.0.0/24", "routes": [BAD_ROUTE]}]}),
            "spec.l2Bridge.vlans[0].subnets[0].routes[0].action.nextHop",
        ),
        (
            "bridge without a name",
            bridge({"bridge": {"existingBridge": {"name": ""}}}),
            "spec.l2Bridge.hostConfig[0].bridge.existingBridge.name",
        ),
        ("two trunks", bridge({**HOST, "hostConnections": [{}, {}]}), "spec.l2Bridge.hostConfig[0].hostConnections"),
        (
            "trunk without an interface",
            bridge({**HOST, "hostConnections": [{"trunkPort": {}}]}),
            "spec.l2Bridge.hostConfig[0].hostConnections[0].trunkPort.interface",
        ),
        ("neither", {}, "spec"),
        ("both", {**vrf(), **bridge()}, "spec"),
        ("table 0", vrf(routeTableIndex=0), "spec.vrf.hostConfig[0].routeTableIndex"),
        ("no hosts", {"vrf": {"hostConfig": []}}, "spec.vrf.hostConfig"),
        ("100 hosts", {"vrf": {"hostConfig": [{**VRF, "nodeSelector": f"n == '{n}'"} for n in range(100)]}}, None),
        (
            "101 hosts",
            {"vrf": {"hostConfig": [{**VRF, "nodeSelector": f"n == '{n}'"} for n in range(101)]}},
            "spec.vrf.hostConfig",
        ),
        ("same nodes twice", {"vrf": {"hostConfig": [VRF, VRF]}}, "spec.vrf.hostConfig[1].nodeSelector"),
        ("long interface", vrf(hostInterfaces=[{"name": "x" * 16}]), "spec.vrf.hostConfig[0].hostInterfaces[0].name"),
        (
            "mode",
            {"vrf": {"hostConfig": [VRF], "routing": {"inClusterMode": "Remote"}}},
            "spec.vrf.routing.inClusterMode",
        ),
        ("existing bridge", bridge({"bridge": {"existingBridge": {"name": "br0"}}}), None),
        (
            "our bridge names",
            bridge({"bridge": {"existingBridge": {"name": "calb-1"}}}),
            "spec.l2Bridge.hostConfig[0].bridge.existingBridge.name",
        ),
        ("no bridge", bridge({"bridge": {}}), "spec.l2Bridge.hostConfig[0].bridge"),
        (
            "spanning tree",
            bridge({"bridge": {"managedBridge": {"stp": "Enabled"}}}),
            "spec.l2Bridge.hostConfig[0].bridge.managedBridge.stp",
        ),
        ("trunk", bridge(trunk(1)), None),
        (
            "native VLAN 4095",
            bridge(trunk(4095)),
            "spec.l2Bridge.hostConfig[0].hostConnections[0].trunkPort.nativeVLAN",
        ),
        ("range", bridge(vlan={"vlan": {"range": {"start": 1, "end": 4094}}}), None),
        (
            "range backwards",
            bridge(vlan={"vlan": {"range": {"start": 2, "end": 1}}}),
            "spec.l2Bridge.vlans[0].vlan.range.end",
        ),
        ("VLAN 0", bridge(vlan={"vlan": {"id": 0}}), "spec.l2Bridge.vlans[0].vlan.id"),
        (
            "id and range",
            bridge(vlan={"vlan": {"id": 1, "range": {"start": 1, "end": 2}}}),
            "spec.l2Bridge.vlans[0].vlan",
        ),
        (
            "subnet needs a cidr",
            bridge(vlan={"vlan": {"id": 1}, "subnets": [{}]}),
            "spec.l2Bridge.vlans[0].subnets[0].cidr",
        ),
        ("no vlans", {"l2Bridge": {"hostConfig": [HOST], "vlans": []}}, "spec.l2Bridge.vlans"),
    ],
    c.POLICY_RECOMMENDATION_SCOPES: [
        ("defaults", {}, None),
        ("namespaces", {"namespaceSpec": {"selector": "all()", "recStatus": "Enabled"}}, None),
        ("selector is required", {"namespaceSpec": {}}, "spec.namespaceSpec.selector"),
        ("selector of 4097", {"hostEndpointSpec": {"selector": "x" * 4097}}, "spec.hostEndpointSpec.selector"),
        ("unknown status", {"namespaceSpec": {"selector": "", "recStatus": "On"}}, "spec.namespaceSpec.recStatus"),
        ("bad duration", {"interval": "soon"}, "spec.interval"),
        ("bad lookback", {"initialLookback": "1 day"}, "spec.initialLookback"),
        ("bad stabilization", {"stabilizationPeriod": "x"}, "spec.stabilizationPeriod"),
        ("rules below 0", {"maxRules": -1}, "spec.maxRules"),
        ("selector of 4096", {"namespaceSpec": {"selector": f"a == '{'x' * 4089}'"}}, None),
        ("bad selector", {"namespaceSpec": {"selector": "x"}}, "spec.namespaceSpec.selector"),
        ("tier with a dot", {"namespaceSpec": {"selector": "", "tierName": "a.b"}}, "spec.namespaceSpec.tierName"),
        (
            "unknown status of hosts",
            {"hostEndpointSpec": {"selector": "", "recommendationStatus": "On"}},
            "spec.hostEndpointSpec.recommendationStatus",
        ),
    ],
    c.UI_SETTINGS_GROUPS: [
        ("for each user", {"description": "d", "filterType": "User"}, None),
        ("for all", {"description": "d", "filterType": "None"}, None),
        ("description is required", {}, "spec.description"),
        ("unknown filter", {"description": "d", "filterType": "Role"}, "spec.filterType"),
    ],
    c.UI_SETTINGS: [
        ("layer", UI, None),
        ("view", {**without(UI, "layer"), "view": {"positions": [{"id": "1", "xPos": 1, "yPos": 2, "zPos": 3}]}}, None),
        ("nothing", without(UI, "layer"), "spec"),
        ("two", {**UI, "dashboard": {}}, "spec"),
        ("group is required", without(UI, "group"), "spec.group"),
        ("description is required", without(UI, "description"), "spec.description"),
        ("name of another group", {**UI, "group": "h"}, "metadata.name"),
        (
            "hosts as one",
            {**without(UI, "layer"), "view": {"hostAggregationSelectors": [{"name": "n", "selector": "has(a)"}]}},
            None,
        ),
        (
            "hosts by a bad selector",
            {**without(UI, "layer"), "view": {"hostAggregationSelectors": [{"name": "n", "selector": "a"}]}},
            "spec.view.hostAggregationSelectors[0].selector",
        ),
        (
            "card without a width",
            {**without(UI, "layer"), "dashboard": {"dashboardData": [{"layout": {"xPos": 1, "yPos": 1, "height": 1}}]}},
            "spec.dashboard.dashboardData[0].layout.width",
        ),
        (
            "position without a depth",
            {**without(UI, "layer"), "view": {"positions": [{"id": "1", "xPos": 1, "yPos": 2}]}},
            "spec.view.positions[0].zPos",
        ),
        ("node without an id", {**UI, "layer": {"nodes": [{"name": "n", "type": "t"}]}}, "spec.layer.nodes[0].id"),
    ],
    c.LICENSE_USAGE_REPORTS: [
        ("both", {"reportData": "e30=", "hmac": "x"}, None),
        ("data is required", {"hmac": "x"}, "spec.reportData"),
        ("proof is required", {"reportData": "x"}, "spec.hmac"),
    ],
    c.GLOBAL_WAF_POLICIES: [
        ("defaults", {"coreRuleSet": {}}, None),
        ("paranoia 5", {"coreRuleSet": {"paranoiaLevel": 5}}, "spec.coreRuleSet.paranoiaLevel"),
        ("unknown action", {"defaultAction": "Drop"}, "spec.defaultAction"),
        ("64 plugins", {"plugins": [{"name": f"p{n}"} for n in range(64)]}, None),
        ("65 plugins", {"plugins": [{"name": f"p{n}"} for n in range(65)]}, "spec.plugins"),
    ],
    c.WAF_POLICIES: [
        ("a gateway", {"targetRefs": [{"kind": "Gateway", "name": "g"}], "action": "Block"}, None),
        ("no target", {"targetRefs": []}, "spec.targetRefs"),
        ("17 targets", {"targetRefs": [{"kind": "HTTPRoute", "name": f"r{n}"} for n in range(17)]}, "spec.targetRefs"),
        ("other target", {"targetRefs": [{"kind": "Service", "name": "g"}]}, "spec.targetRefs[0].kind"),
        (
            "global plugin",
            {"targetRefs": [{"kind": "Gateway", "name": "g"}], "plugins": [{"kind": "GlobalWAFPlugin", "name": "p"}]},
            "spec.plugins[0].kind",
        ),
    ],
}
for _kind in (c.WAF_PLUGINS, c.GLOBAL_WAF_PLUGINS):
    CASES[_kind] = [
        ("one part", {"rules": "SecRule"}, None),
        ("no part", {"description": "d"}, "spec"),
        ("every part", {"config": "a", "before": "b", "rules": "c", "after": "d", "description": "x" * 1024}, None),
        ("part of 65536", {"after": "x" * 65536}, None),
        ("part of 65537", {"before": "x" * 65537}, "spec.before"),
        ("description of 1025", {"rules": "x", "description": "x" * 1025}, "spec.description"),
    ]
for _kind in (c.WAF_VALIDATION_POLICIES, c.GLOBAL_WAF_VALIDATION_POLICIES):
    CASES[_kind] = [
        ("a rule", {"rules": [{"name": "n", "rego": "package x", "severity": "critical"}]}, None),
        ("greatest lengths", {"rules": [{"name": "n" * 63, "rego": "x" * 16384, "message": "x" * 1024}]}, None),
        ("rego of 16385", {"rules": [{"name": "n", "rego": "x" * 16385}]}, "spec.rules[0].rego"),
        ("name is required", {"rules": [{"rego": "x"}]}, "spec.rules[0].name"),
        ("no rule", {"rules": []}, "spec.rules"),
        ("unknown severity", {"rules": [{"name": "n", "rego": "x", "severity": "bad"}]}, "spec.rules[0].severity"),
        ("name of 64", {"rules": [{"name": "n" * 64, "rego": "x"}]}, "spec.rules[0].name"),
        ("rego is required", {"rules": [{"name": "n"}]}, "spec.rules[0].rego"),
        ("message of 1025", {"rules": [{"name": "n", "rego": "x", "message": "x" * 1025}]}, "spec.rules[0].message"),
    ]


def name_of(kind: Resource[Any]) -> str:
    return kind.facts.singleton or ("g.x" if kind is c.UI_SETTINGS else "x")


def object_of(kind: Resource[Any], spec: dict[str, Any]) -> dict[str, Any]:
    return named(kind, spec, name_of(kind))


@pytest.mark.parametrize(("kind", "spec", "path"), parameters(CASES))
def test_each_constraint_is_kept(kind: Resource[Any], spec: dict[str, Any], path: Expected) -> None:
    judge(kind, spec, path, name=name_of(kind))


def test_every_kind_has_cases_of_both_sorts() -> None:
    every_case_has_both(CASES)


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (c.LICENSE_KEYS, "default", "other"),
        (c.POLICY_RECOMMENDATION_SCOPES, "default", "other"),
        (c.GLOBAL_WAF_POLICIES, "default", "other"),
        (c.MANAGED_CLUSTERS, "east", "cluster"),
    ],
    ids=lambda value: getattr(value, "kind", value),
)
def test_names_that_are_fixed_or_taken(kind: Resource[Any], good: str, bad: str) -> None:
    spec = {"token": "t"} if kind is c.LICENSE_KEYS else {}
    assert admit(kind, {"metadata": {"name": good}, "spec": spec}, None).errors == []
    assert [e.path for e in admit(kind, {"metadata": {"name": bad}, "spec": spec}, None).errors] == ["metadata.name"]


@pytest.mark.parametrize(
    ("kind", "old", "new", "path"),
    [
        (c.NETWORKS, vrf(), vrf(routeTableIndex=6), None),
        (c.NETWORKS, vrf(), bridge(), "spec"),
        (c.UI_SETTINGS, UI, {**UI, "description": "e"}, None),
        (c.UI_SETTINGS, UI, {**UI, "user": "me"}, "spec.user"),
        (c.UI_SETTINGS, {**UI, "group": "h"}, UI, "spec.group"),
        (c.MANAGED_CLUSTERS, {"installationManifest": "m"}, {}, None),
        (c.MANAGED_CLUSTERS, {"installationManifest": "m"}, {"installationManifest": "n"}, "spec.installationManifest"),
    ],
    ids=str,
)
def test_what_cannot_be_changed(kind: Resource[Any], old: Any, new: Any, path: str | None) -> None:
    errors = admit(kind, object_of(kind, new), object_of(kind, old)).errors
    assert [error.path for error in errors] == ([] if path is None else [path])


def test_defaults_are_filled_in() -> None:
    assert admit(c.PACKET_CAPTURES, object_of(c.PACKET_CAPTURES, {}), None).object["spec"] == {"selector": "all()"}
    feed_spec = admit(c.GLOBAL_THREAT_FEEDS, object_of(c.GLOBAL_THREAT_FEEDS, {}), None).object["spec"]
    assert feed_spec == {"content": "IPSet", "mode": "Enabled", "feedType": "Custom"}
    scope = admit(c.POLICY_RECOMMENDATION_SCOPES, object_of(c.POLICY_RECOMMENDATION_SCOPES, {}), None).object["spec"]
    assert (scope["initialLookback"], scope["interval"], scope["maxRules"]) == ("24h", "150s", 20)


def test_settings_need_their_group() -> None:
    groups = [{"metadata": {"name": "g"}}]
    assert cross_check(c.UI_SETTINGS, object_of(c.UI_SETTINGS, UI), lambda _: groups) == []
    assert cross_check(c.UI_SETTINGS, object_of(c.UI_SETTINGS, UI), lambda _: [])[0].path == "spec.group"


def felix(name: str, *ranges: tuple[int, int], field: str = "routeTableRanges") -> dict[str, Any]:
    items = [{"min": low, "max": high} for low, high in ranges]
    return {"metadata": {"name": name}, "spec": {field: items if field == "routeTableRanges" else items[0]}}


@pytest.mark.parametrize(
    ("index", "configurations", "message"),
    [
        (500, [], ""),
        (7, [], "ExternalNetwork other has this table already"),
        (251, [], ""),
        (250, [], "must be outside of 1 to 250, which the default of routeTableRanges leaves to Felix"),
        (250, [felix("default", (300, 400))], ""),
        (400, [felix("default", (300, 400))], "must be outside of 300 to 400, which FelixConfiguration default leaves"),
        (250, [felix("node.a", (300, 400))], "must be outside of 1 to 250"),
        (300, [felix("node.a", (300, 400))], "must be outside of 300 to 400"),
        (60, [felix("default", (1, 50), field="routeTableRange")], ""),
        (50, [felix("default", (1, 50), field="routeTableRange")], "must be outside of 1 to 50"),
    ],
)
def test_an_external_network_has_a_table_of_its_own(index: int, configurations: Any, message: str) -> None:
    stored = {
        c.EXTERNAL_NETWORKS.plural: [
            {"metadata": {"name": "other"}, "spec": {"routeTableIndex": 7}},
            {"metadata": {"name": "x"}, "spec": {"routeTableIndex": index}},
        ],
        c.FELIX_CONFIGURATIONS.plural: configurations,
    }
    network = object_of(c.EXTERNAL_NETWORKS, {"routeTableIndex": index})
    found = cross_check(c.EXTERNAL_NETWORKS, network, lambda kind: stored[kind.plural])
    assert [error.path for error in found] == (["spec.routeTableIndex"] if message else [])
    assert not message or found[0].message.startswith(message)
