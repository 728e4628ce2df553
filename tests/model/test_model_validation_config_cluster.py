"""What admission accepts and refuses in KubeControllersConfiguration, ClusterInformation and CalicoNodeStatus.

One case a line (spec/resources.md 0.3, 1.4; apiserver-controllers-clis.md 3.2).
"""

from typing import Any

import pytest
from validation_cases import Case, Expected, every_case_has_both, judge, named, parameters, survives

from tortie.model import catalog as c
from tortie.model.admission import admit
from tortie.model.resource import Resource

PERIODIC = (
    "node",
    "policy",
    "workloadEndpoint",
    "serviceAccount",
    "namespace",
    "federatedServices",
    "applicationLayer",
    "rbacSync",
)
CONTROLLERS = "spec.controllers"
TEMPLATES = f"{CONTROLLERS}.node.hostEndpoint.templates"


def controllers(**fields: Any) -> dict[str, Any]:
    return {"controllers": fields}


def general(**fields: Any) -> dict[str, Any]:
    return {"controllers": {}, **fields}


def node(**fields: Any) -> dict[str, Any]:
    return controllers(node=fields)


def templates(*items: dict[str, Any]) -> dict[str, Any]:
    return node(hostEndpoint={"templates": list(items)})


def template(**fields: Any) -> dict[str, Any]:
    return templates({"generateName": "wan", "interfacePattern": "eth.*", **fields})


CASES: dict[Resource[Any], list[Case]] = {
    c.KUBE_CONTROLLERS_CONFIGURATIONS: [
        ("no controllers", general(), None),
        ("controllers missing", {}, CONTROLLERS),
        *[
            (f"log level {w}", general(logSeverityScreen=w), None)
            for w in ("None", "Debug", "Info", "Warning", "Error", "Fatal", "Panic")
        ],
        ("log level Trace", general(logSeverityScreen="Trace"), "spec.logSeverityScreen"),
        ("log level in lower case", general(logSeverityScreen="info"), "spec.logSeverityScreen"),
        ("no health checks", general(healthChecks="Disabled"), None),
        ("health checks by truth", general(healthChecks=True), "spec.healthChecks"),
        ("health checks otherwise", general(healthChecks="On"), "spec.healthChecks"),
        ("compaction", general(etcdV3CompactionPeriod="10m"), None),
        ("no compaction", general(etcdV3CompactionPeriod="0"), None),
        ("compaction without a unit", general(etcdV3CompactionPeriod="10"), "spec.etcdV3CompactionPeriod"),
        ("ports 0", general(prometheusMetricsPort=0, debugProfilePort=0), None),
        ("ports 65535", general(prometheusMetricsPort=65535, debugProfilePort=65535), None),
        ("metrics port negative", general(prometheusMetricsPort=-1), "spec.prometheusMetricsPort"),
        ("metrics port too great", general(prometheusMetricsPort=65536), "spec.prometheusMetricsPort"),
        ("profile port too great", general(debugProfilePort=65536), "spec.debugProfilePort"),
        *[
            item
            for name in PERIODIC
            for item in (
                (f"{name} on", controllers(**{name: {}}), None),
                (f"{name} period", controllers(**{name: {"reconcilerPeriod": "30s"}}), None),
                (
                    f"{name} period as a number",
                    controllers(**{name: {"reconcilerPeriod": 30}}),
                    f"{CONTROLLERS}.{name}.reconcilerPeriod",
                ),
                (
                    f"{name} period without a unit",
                    controllers(**{name: {"reconcilerPeriod": "30"}}),
                    f"{CONTROLLERS}.{name}.reconcilerPeriod",
                ),
            )
        ],
        ("labels not copied", node(syncLabels="Disabled"), None),
        ("labels otherwise", node(syncLabels="Off"), f"{CONTROLLERS}.node.syncLabels"),
        ("grace period", node(leakGracePeriod="15m"), None),
        ("no grace period", node(leakGracePeriod="0"), None),
        ("grace period in words", node(leakGracePeriod="long"), f"{CONTROLLERS}.node.leakGracePeriod"),
        (
            "host endpoints",
            node(hostEndpoint={"autoCreate": "Enabled", "createDefaultHostEndpoint": "Disabled"}),
            None,
        ),
        (
            "host endpoints otherwise",
            node(hostEndpoint={"autoCreate": "Yes"}),
            f"{CONTROLLERS}.node.hostEndpoint.autoCreate",
        ),
        (
            "default host endpoint otherwise",
            node(hostEndpoint={"createDefaultHostEndpoint": "Yes"}),
            f"{CONTROLLERS}.node.hostEndpoint.createDefaultHostEndpoint",
        ),
        ("template by pattern", template(), None),
        ("template by ranges", templates({"generateName": "wan", "interfaceCIDRs": ["10.0.0.1/8", "fd00::1"]}), None),
        ("template by both", template(interfaceCIDRs=["10.0.0.0/8"]), None),
        ("template by neither", templates({"generateName": "wan"}), f"{TEMPLATES}[0].interfaceCIDRs"),
        ("template without a name", templates({"interfacePattern": "e"}), f"{TEMPLATES}[0].generateName"),
        ("template with capitals", template(generateName="WAN"), f"{TEMPLATES}[0].generateName"),
        ("template with a long name", template(generateName="w" * 254), f"{TEMPLATES}[0].generateName"),
        (
            "template twice",
            templates(*[{"generateName": "a", "interfacePattern": "e"}] * 2),
            f"{TEMPLATES}[1].generateName",
        ),
        ("template range twice", template(interfaceCIDRs=["10.0.0.0/8"] * 2), f"{TEMPLATES}[0].interfaceCIDRs[1]"),
        ("template range that is none", template(interfaceCIDRs=["eth0"]), f"{TEMPLATES}[0].interfaceCIDRs[0]"),
        ("template pattern that is none", template(interfacePattern="("), f"{TEMPLATES}[0].interfacePattern"),
        (
            "template labels",
            template(labels={"zone": "wan"}, annotations={"a/b": "c d"}, nodeSelector="has(wan)"),
            None,
        ),
        ("template label with a blank", template(labels={"a b": "c"}), f"{TEMPLATES}[0].labels"),
        ("template annotation with a blank", template(annotations={"a b": "c"}), f"{TEMPLATES}[0].annotations"),
        ("template selector that is none", template(nodeSelector="wan"), f"{TEMPLATES}[0].nodeSelector"),
        ("addresses on request", controllers(loadBalancer={"assignIPs": "RequestedServicesOnly"}), None),
        (
            "addresses otherwise",
            controllers(loadBalancer={"assignIPs": "None"}),
            f"{CONTROLLERS}.loadBalancer.assignIPs",
        ),
        ("no migration", controllers(migration={"policyNameMigrator": "Disabled"}), None),
        (
            "migration otherwise",
            controllers(migration={"policyNameMigrator": "Never"}),
            f"{CONTROLLERS}.migration.policyNameMigrator",
        ),
    ],
    c.CLUSTER_INFORMATIONS: [
        ("nothing is required", {}, None),
        (
            "everything",
            {
                "clusterGUID": "0" * 32,
                "clusterType": "k8s,bgp,kdd",
                "calicoVersion": "v3.33.0",
                "datastoreReady": False,
                "variant": "Calico",
                "calicoEnterpriseVersion": "v3.23.0",
                "cnxVersion": "v3.23.0",
            },
            None,
        ),
        ("ready as text", {"datastoreReady": "true"}, "spec.datastoreReady"),
        ("type as a list", {"clusterType": ["k8s"]}, "spec.clusterType"),
    ],
    c.CALICO_NODE_STATUSES: [
        ("everything", {"node": "n", "classes": ["Agent", "BGP", "Routes"], "updatePeriodSeconds": 86400}, None),
        ("stopped", {"node": "n", "classes": [], "updatePeriodSeconds": 0}, None),
        ("without a node", {"classes": [], "updatePeriodSeconds": 1}, "spec.node"),
        ("without classes", {"node": "n", "updatePeriodSeconds": 1}, "spec.classes"),
        ("without a period", {"node": "n", "classes": []}, "spec.updatePeriodSeconds"),
        ("node with capitals", {"node": "N", "classes": [], "updatePeriodSeconds": 1}, "spec.node"),
        ("other class", {"node": "n", "classes": ["IPAM"], "updatePeriodSeconds": 1}, "spec.classes[0]"),
        ("class twice", {"node": "n", "classes": ["BGP", "BGP"], "updatePeriodSeconds": 1}, "spec.classes[1]"),
        ("period negative", {"node": "n", "classes": [], "updatePeriodSeconds": -1}, "spec.updatePeriodSeconds"),
        ("period of two days", {"node": "n", "classes": [], "updatePeriodSeconds": 86401}, "spec.updatePeriodSeconds"),
    ],
}


@pytest.mark.parametrize(("resource", "spec", "path"), parameters(CASES))
def test_a_spec_is_accepted_or_refused_at_the_field_at_fault(
    resource: Resource[Any], spec: dict[str, Any], path: Expected
) -> None:
    judge(resource, spec, path)


def test_every_kind_has_cases_of_both_sorts() -> None:
    every_case_has_both(CASES)


@pytest.mark.parametrize("resource", [c.KUBE_CONTROLLERS_CONFIGURATIONS, c.CLUSTER_INFORMATIONS], ids=lambda r: r.kind)
def test_the_only_object_is_named_default(resource: Resource[Any]) -> None:
    spec = {"controllers": {}} if resource is c.KUBE_CONTROLLERS_CONFIGURATIONS else {}
    judge(resource, spec, None)
    judge(resource, spec, "metadata.name", name="other")


STATUS: dict[Resource[Any], tuple[dict[str, Any], dict[str, Any]]] = {
    c.KUBE_CONTROLLERS_CONFIGURATIONS: (
        general(),
        {"runningConfig": controllers(node={"syncLabels": "Disabled"}), "environmentVars": {"LOG_LEVEL": "debug"}},
    ),
    c.CALICO_NODE_STATUSES: (
        {"node": "n", "classes": ["BGP"], "updatePeriodSeconds": 10},
        {
            "lastUpdated": "2026-01-01T00:00:00Z",
            "agent": {"birdV4": {"state": "Ready", "version": "2.0.12", "routerID": "10.0.0.1"}},
            "bgp": {
                "numberEstablishedV4": 1,
                "numberEstablishedV6": 0,
                "numberNotEstablishedV4": 0,
                "numberNotEstablishedV6": 0,
                "peersV4": [{"peerIP": "10.0.0.2", "type": "NodeMesh", "state": "Established", "since": "12:00:00"}],
            },
            "routes": {
                "routesV4": [
                    {
                        "type": "FIB",
                        "destination": "10.0.0.0/26",
                        "gateway": "10.0.0.2",
                        "interface": "eth0",
                        "learnedFrom": {"sourceType": "BGPPeer", "peerIP": "10.0.0.2"},
                    }
                ]
            },
        },
    ),
}


@pytest.mark.parametrize("resource", STATUS, ids=lambda resource: resource.kind)
def test_a_status_is_kept_as_it_was_written(resource: Resource[Any]) -> None:
    spec, status = STATUS[resource]
    admission = admit(resource, {**named(resource, spec, "default"), "status": status}, None)
    assert (admission.errors, admission.unknown_fields) == ([], [])
    assert admission.object["status"] == status
    survives(resource, admission.object)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"agent": {"birdV4": {"state": "Up"}}}, "status.agent.birdV4.state"),
        ({"routes": {"routesV4": [{"type": "rib"}]}}, "status.routes.routesV4[0].type"),
        (
            {"routes": {"routesV6": [{"learnedFrom": {"sourceType": "OSPF"}}]}},
            "status.routes.routesV6[0].learnedFrom.sourceType",
        ),
        ({"bgp": {}}, "status.bgp.numberEstablishedV4"),
    ],
    ids=str,
)
def test_a_wrong_status_is_refused(change: dict[str, Any], path: str) -> None:
    spec, _ = STATUS[c.CALICO_NODE_STATUSES]
    admission = admit(c.CALICO_NODE_STATUSES, {**named(c.CALICO_NODE_STATUSES, spec, "s"), "status": change}, None)
    assert admission.errors[0].path == path
