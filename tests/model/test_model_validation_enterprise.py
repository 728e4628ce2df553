"""What admission accepts and refuses in kinds of the Enterprise edition, one case a line (spec/resources.md 0.3, 1.4).

Each case: what it is about, the spec, and the path of the field that is at fault, or None if the object is accepted.
"""

import json
from typing import Any

import msgspec
import pytest

from tortie.model import catalog as c
from tortie.model.admission import admit, cross_check
from tortie.model.resource import Resource

Case = tuple[str, dict[str, Any], str | None]

ALERT = {"description": "d", "severity": 50, "dataSet": "flows"}
EXCEPTION = {"description": "d", "selector": "origin = x", "startTime": "2026-01-01T00:00:00Z"}
HOOK = {"consumer": "Slack", "state": "Enabled", "query": "q", "config": [{"name": "url", "value": "https://x"}]}
UI = {"group": "g", "description": "d", "layer": {"nodes": [{"id": "1", "name": "n", "type": "t"}]}}
KEY = {"name": "s", "key": "k"}
VRF = {"routeTableIndex": 5}
HOST = {"bridge": {"managedBridge": {"stp": "Disabled"}}}
VLAN = {"vlan": {"id": 10}, "subnets": [{"cidr": "10.0.0.0/24"}]}


def feed(**http: Any) -> dict[str, Any]:
    return {"pull": {"http": {"url": "https://x/feed", **http}}}


def csv(**fields: Any) -> dict[str, Any]:
    return feed(format={"csv": fields})


def vrf(**fields: Any) -> dict[str, Any]:
    return {"vrf": {"hostConfig": [{**VRF, **fields}]}}


def bridge(host: Any = HOST, vlan: Any = VLAN) -> dict[str, Any]:
    return {"l2Bridge": {"hostConfig": [host], "vlans": [vlan]}}


def trunk(vlan: int) -> dict[str, Any]:
    return {**HOST, "hostConnections": [{"trunkPort": {"interface": {"name": "eth1"}, "nativeVLAN": vlan}}]}


def without(spec: dict[str, Any], field: str) -> dict[str, Any]:
    return {name: value for name, value in spec.items() if name != field}


CASES: dict[Resource[Any], list[Case]] = {
    c.MANAGED_CLUSTERS: [
        ("nothing is required", {}, None),
        ("certificate and namespace", {"certificate": "YWJj", "operatorNamespace": "tigera-operator"}, None),
        ("certificate is text", {"certificate": 5}, "spec.certificate"),
    ],
    c.LICENSE_KEYS: [
        ("token and certificate", {"token": "t", "certificate": "c"}, None),
        ("token is required", {"certificate": "c"}, "spec.token"),
        ("token is not empty", {"token": ""}, "spec.token"),
    ],
    c.REMOTE_CLUSTER_CONFIGURATIONS: [
        ("etcd", {"datastoreType": "etcdv3", "etcdEndpoints": "https://x:2379", "etcdCACert": "pem"}, None),
        ("kubernetes", {"datastoreType": "kubernetes", "kubeconfig": "/f", "k8sInsecureSkipTLSVerify": True}, None),
        ("secret alone", {"clusterAccessSecret": {"namespace": "n", "name": "s"}}, None),
        ("secret with another field", {"clusterAccessSecret": {"name": "s"}, "kubeconfig": "/f"}, "spec.kubeconfig"),
        ("secret with a type", {"clusterAccessSecret": {"name": "s"}, "datastoreType": "etcdv3"}, "spec.datastoreType"),
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
        ("a time without a zone", {"endTime": "2026-01-01T00:00:00"}, "spec.endTime"),
    ],
    c.DEEP_PACKET_INSPECTIONS: [
        ("selector", {"selector": "k8s-app == 'x'"}, None),
        ("bad selector", {"selector": "x"}, "spec.selector"),
    ],
    c.ALERT_EXCEPTIONS: [
        ("start alone", EXCEPTION, None),
        ("end after start", {**EXCEPTION, "endTime": "2027-01-01T00:00:00Z"}, None),
        ("end before start", {**EXCEPTION, "endTime": "2025-01-01T00:00:00Z"}, "spec.endTime"),
        ("description is required", without(EXCEPTION, "description"), "spec.description"),
        ("selector is required", {**EXCEPTION, "selector": ""}, "spec.selector"),
        ("start is required", without(EXCEPTION, "startTime"), "spec.startTime"),
    ],
    c.GLOBAL_THREAT_FEEDS: [
        ("pushed", {}, None),
        ("pulled", feed(headers=[{"name": "A", "valueFrom": {"secretKeyRef": KEY}}]), None),
        ("copied to a set", {**feed(), "globalNetworkSet": {"labels": {"a": "b"}}}, None),
        (
            "domains have no set",
            {**feed(), "content": "DomainNameSet", "globalNetworkSet": {}},
            "spec.globalNetworkSet",
        ),
        ("a set needs pull", {"globalNetworkSet": {}}, "spec.pull"),
        ("unknown content", {"content": "URLs"}, "spec.content"),
        ("unknown type", {"feedType": "Other"}, "spec.feedType"),
        ("unknown mode", {"mode": "On"}, "spec.mode"),
        ("description of 256", {"description": "x" * 256}, None),
        ("description of 257", {"description": "x" * 257}, "spec.description"),
        ("period of 5m", {"pull": {"period": "5m", "http": {"url": "http://x"}}}, None),
        ("period below 5m", {"pull": {"period": "4m59s", "http": {"url": "http://x"}}}, "spec.pull.period"),
        ("pull needs http", {"pull": {"period": "5m"}}, "spec.pull.http"),
        ("other scheme", feed(url="ftp://x"), "spec.pull.http.url"),
        ("url is required", {"pull": {"http": {}}}, "spec.pull.http.url"),
        (
            "value and source",
            feed(headers=[{"name": "A", "value": "v", "valueFrom": {"secretKeyRef": KEY}}]),
            "spec.pull.http.headers[0].value",
        ),
        (
            "two sources",
            feed(headers=[{"name": "A", "valueFrom": {"secretKeyRef": KEY, "configMapKeyRef": KEY}}]),
            "spec.pull.http.headers[0].valueFrom",
        ),
        ("one format", feed(format={"json": {"path": "$.x"}}), None),
        ("two formats", feed(format={"json": {"path": "$.x"}, "newlineDelimited": {}}), "spec.pull.http.format"),
        ("column by number", csv(fieldNum=0), None),
        ("column by name", csv(fieldName="ip", header=True), None),
        ("column by both", csv(fieldNum=0, fieldName="ip", header=True), "spec.pull.http.format.csv"),
        ("column by neither", csv(header=True), "spec.pull.http.format.csv"),
        ("a name needs a header", csv(fieldName="ip"), "spec.pull.http.format.csv.header"),
        ("record size", csv(fieldNum=0, recordSize=3), None),
        (
            "record size checked and not",
            csv(fieldNum=0, recordSize=3, disableRecordSizeValidation=True),
            "spec.pull.http.format.csv.recordSize",
        ),
        ("record size 0", csv(fieldNum=0, recordSize=0), "spec.pull.http.format.csv.recordSize"),
    ],
    c.SECURITY_EVENT_WEBHOOKS: [
        ("Slack", HOOK, None),
        ("Slack needs a url", {**HOOK, "config": []}, "spec.config"),
        ("Jira needs five settings", {**HOOK, "consumer": "Jira"}, "spec.config"),
        ("unknown consumer", {**HOOK, "consumer": "Pager"}, "spec.consumer"),
        ("unknown state", {**HOOK, "state": "On"}, "spec.state"),
        ("query is required", without(HOOK, "query"), "spec.query"),
        ("config is required", without(HOOK, "config"), "spec.config"),
        ("url from a secret", {**HOOK, "config": [{"name": "url", "valueFrom": {"secretKeyRef": KEY}}]}, None),
        (
            "url twice",
            {**HOOK, "config": [{"name": "url", "value": "x", "valueFrom": {"secretKeyRef": KEY}}]},
            "spec.config[0].value",
        ),
    ],
    c.GLOBAL_REPORTS: [
        ("type", {"reportType": "inventory", "schedule": "0 0 * * *", "jobNodeSelector": {"a": "b"}}, None),
        ("twice an hour", {"reportType": "inventory", "schedule": "*/30 * * * *"}, None),
        ("three times an hour", {"reportType": "inventory", "schedule": "0,20,40 * * * *"}, "spec.schedule"),
        ("not a schedule", {"reportType": "inventory", "schedule": "daily"}, "spec.schedule"),
        ("type is required", {}, "spec.reportType"),
        ("endpoints", {"reportType": "a", "endpoints": {"selector": "a == 'b'", "namespaces": {"names": ["x"]}}}, None),
        (
            "bad selector",
            {"reportType": "a", "endpoints": {"namespaces": {"selector": "=="}}},
            "spec.endpoints.namespaces.selector",
        ),
    ],
    c.GLOBAL_REPORT_TYPES: [
        ("templates", {"downloadTemplates": [{"name": "a"}, {"name": "b"}], "includeCISBenchmarkData": True}, None),
        ("names are unique", {"downloadTemplates": [{"name": "a"}, {"name": "a"}]}, "spec.downloadTemplates[1].name"),
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
        ("beyond int32", {"routeTableIndex": 2**31}, "spec.routeTableIndex"),
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
        ("0", {"interfaces": [{"matchPattern": "*", "idleSendInterval": "0s"}]}, "spec.interfaces[0].idleSendInterval"),
        ("bad selector", {"nodeSelector": "x"}, "spec.nodeSelector"),
    ],
    c.NETWORKS: [
        ("vrf", vrf(staticRoutes=[{"destination": "10.0.0.0/8", "action": {"nextHop": "192.0.2.1"}}]), None),
        ("bridge", bridge(), None),
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
for _kind in (c.GLOBAL_ALERTS, c.GLOBAL_ALERT_TEMPLATES):
    CASES[_kind] = [
        ("least", ALERT, None),
        ("metric", {**ALERT, "metric": "sum", "field": "bytes", "condition": "gt", "threshold": 1.5}, None),
        ("count", {**ALERT, "metric": "count", "condition": "gt", "threshold": 1}, None),
        ("count of a field", {**ALERT, "metric": "count", "condition": "gt", "field": "x"}, "spec.field"),
        ("sum of nothing", {**ALERT, "metric": "sum", "condition": "gt"}, "spec.field"),
        ("field without metric", {**ALERT, "field": "x"}, "spec.field"),
        ("metric without condition", {**ALERT, "metric": "count"}, "spec.condition"),
        ("unknown metric", {**ALERT, "metric": "median", "condition": "gt", "field": "x"}, "spec.metric"),
        ("unknown condition", {**ALERT, "metric": "count", "condition": "ne"}, "spec.condition"),
        ("field of 257", {**ALERT, "metric": "sum", "condition": "gt", "field": "x" * 257}, "spec.field"),
        ("severity 0", {**ALERT, "severity": 0}, "spec.severity"),
        ("severity 101", {**ALERT, "severity": 101}, "spec.severity"),
        ("severity is required", without(ALERT, "severity"), "spec.severity"),
        ("description is required", {**ALERT, "description": ""}, "spec.description"),
        ("data set is required", without(ALERT, "dataSet"), "spec.dataSet"),
        ("unknown data set", {**ALERT, "dataSet": "mail"}, "spec.dataSet"),
        ("period of 1m", {**ALERT, "period": "1m"}, None),
        ("period below 1m", {**ALERT, "period": "59s"}, "spec.period"),
        ("substitutions", {**ALERT, "substitutions": [{"name": "a", "values": ["x*"]}, {"name": "b"}]}, None),
        ("same substitution", {**ALERT, "substitutions": [{"name": "a"}, {"name": "a"}]}, "spec.substitutions[1].name"),
        ("unknown type", {**ALERT, "type": "Learned"}, "spec.type"),
    ]
for _kind in (c.WAF_PLUGINS, c.GLOBAL_WAF_PLUGINS):
    CASES[_kind] = [
        ("one part", {"rules": "SecRule"}, None),
        ("no part", {"description": "d"}, "spec"),
        ("part of 65537", {"before": "x" * 65537}, "spec.before"),
        ("description of 1025", {"rules": "x", "description": "x" * 1025}, "spec.description"),
    ]
for _kind in (c.WAF_VALIDATION_POLICIES, c.GLOBAL_WAF_VALIDATION_POLICIES):
    CASES[_kind] = [
        ("a rule", {"rules": [{"name": "n", "rego": "package x", "severity": "critical"}]}, None),
        ("no rule", {"rules": []}, "spec.rules"),
        ("unknown severity", {"rules": [{"name": "n", "rego": "x", "severity": "bad"}]}, "spec.rules[0].severity"),
        ("name of 64", {"rules": [{"name": "n" * 64, "rego": "x"}]}, "spec.rules[0].name"),
        ("rego is required", {"rules": [{"name": "n"}]}, "spec.rules[0].rego"),
        ("message of 1025", {"rules": [{"name": "n", "rego": "x", "message": "x" * 1025}]}, "spec.rules[0].message"),
    ]
FLAT = [(kind, *case) for kind, cases in CASES.items() for case in cases]


def object_of(resource: Resource[Any], spec: dict[str, Any]) -> dict[str, Any]:
    name = resource.facts.singleton or ("g.x" if resource is c.UI_SETTINGS else "x")
    return {"metadata": {"name": name, **({"namespace": "ns"} if resource.namespaced else {})}, "spec": spec}


@pytest.mark.parametrize(
    ("kind", "about", "spec", "path"), FLAT, ids=lambda value: str(getattr(value, "kind", value))[:40]
)
def test_each_constraint_is_kept(kind: Resource[Any], about: str, spec: dict[str, Any], path: str | None) -> None:
    result = admit(kind, object_of(kind, spec), None)
    assert result.unknown_fields == []
    paths = [error.path for error in result.errors]
    assert (paths == []) if path is None else (path in paths), f"{about}: {result.errors}"
    if path is None:
        again = admit(kind, result.object, result.object)
        assert (again.object, again.errors) == (result.object, [])
        decoded = msgspec.json.decode(msgspec.json.encode(result.object), type=kind.type)
        assert admit(kind, json.loads(msgspec.json.encode(decoded)), None).errors == []


def test_every_enterprise_kind_has_an_accepting_and_a_refusing_case() -> None:
    for kind in c.CALICO:
        if kind.facts.enterprise:
            outcomes = {path is None for _, _, path in CASES[kind]}
            assert outcomes == {True, False}, kind.kind


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


def test_settings_need_their_group_and_networks_a_table_of_their_own() -> None:
    groups = [{"metadata": {"name": "g"}}]
    assert cross_check(c.UI_SETTINGS, object_of(c.UI_SETTINGS, UI), lambda _: groups) == []
    assert cross_check(c.UI_SETTINGS, object_of(c.UI_SETTINGS, UI), lambda _: [])[0].path == "spec.group"
    other = [{"metadata": {"name": "other"}, "spec": {"routeTableIndex": 7}}]
    for index, found in ((7, ["spec.routeTableIndex"]), (8, [])):
        network = object_of(c.EXTERNAL_NETWORKS, {"routeTableIndex": index})
        assert [e.path for e in cross_check(c.EXTERNAL_NETWORKS, network, lambda _: other)] == found
