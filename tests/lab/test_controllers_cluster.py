"""Scheduling, services, namespaces, nodes and garbage on a cluster without machines."""

from collections.abc import Iterator
from typing import Any

import pytest
from controllers_world import Api, Cluster, cluster_in, template, workload

from tortie.model.catalog import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    NAMESPACES,
    NODES,
    PODS,
    REPLICA_SETS,
    SERVICE_ACCOUNTS,
    SERVICES,
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster_in(tmp_path_factory.mktemp("cluster")) as running:
        yield running


async def pod(api: Api, namespace: str, name: str, app: str = "x", **spec: Any) -> dict[str, Any]:
    made = template(app, **spec)
    return await api.create(PODS, namespace, name, made["spec"], **made["metadata"])


async def node_of(api: Api, namespace: str, name: str) -> str:
    async def placed() -> str:
        return (await api.get(PODS, namespace, name))["spec"].get("nodeName", "")

    found: str = await api.eventually(placed)
    return found


async def refusal_of(api: Api, namespace: str, name: str) -> str:
    async def refused() -> str:
        conditions = (await api.get(PODS, namespace, name))["status"].get("conditions", ())
        return next((c["message"] for c in conditions if c["type"] == "PodScheduled" and c["status"] == "False"), "")

    found: str = await api.eventually(refused)
    return found


# --- scheduling ------------------------------------------------------------------------------------------------


async def test_selectors_and_affinity_choose_the_node(cluster: Cluster) -> None:
    async with cluster.client() as api:
        ns = await api.namespace("sched")
        await pod(api, ns, "by-label", nodeSelector={"kubernetes.io/hostname": "node-2"})
        assert await node_of(api, ns, "by-label") == "node-2"
        term = {"matchExpressions": [{"key": "zone", "operator": "NotIn", "values": ["west"]}]}
        required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
        await pod(api, ns, "by-affinity", affinity={"nodeAffinity": required})
        assert await node_of(api, ns, "by-affinity") == "node-1"
        await pod(api, ns, "by-name", nodeName="node-3")
        assert await node_of(api, ns, "by-name") == "node-3"


async def test_a_pod_that_fits_nowhere_says_why_and_is_placed_when_it_does(cluster: Cluster) -> None:
    async with cluster.client() as api:
        ns = await api.namespace("pending")
        await pod(api, ns, "p", nodeSelector={"disk": "nvme"})
        message = await refusal_of(api, ns, "p")
        assert message == "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."
        assert await api.eventually(lambda: api.events(ns, "FailedScheduling"))
        await api.patch(NODES, "", "node-3", {"metadata": {"labels": {"disk": "nvme"}}})
        assert await node_of(api, ns, "p") == "node-3"


async def test_taints_and_cordons_keep_pods_away_unless_tolerated(cluster: Cluster) -> None:
    async with cluster.client() as api:
        ns = await api.namespace("taints")
        here = {"kubernetes.io/hostname": "node-1"}
        kubectl = cluster.server.kubectl
        kubectl("taint", "node", "node-1", "dedicated=db:NoSchedule")
        await pod(api, ns, "intruder", nodeSelector=here)
        assert "untolerated taint {dedicated: db}" in await refusal_of(api, ns, "intruder")
        tolerations = [{"key": "dedicated", "value": "db", "effect": "NoSchedule"}]
        await pod(api, ns, "guest", nodeSelector=here, tolerations=tolerations)
        assert await node_of(api, ns, "guest") == "node-1"
        kubectl("taint", "node", "node-1", "dedicated-")
        assert await node_of(api, ns, "intruder") == "node-1"
        kubectl("cordon", "node-1")
        await pod(api, ns, "late", nodeSelector=here)
        assert "unschedulable" in await refusal_of(api, ns, "late")
        kubectl("uncordon", "node-1")
        assert await node_of(api, ns, "late") == "node-1"


async def test_pods_that_exclude_each_other_never_share_a_node(cluster: Cluster) -> None:
    async with cluster.client() as api:
        ns = await api.namespace("anti")
        term = {"labelSelector": {"matchLabels": {"app": "lonely"}}, "topologyKey": "kubernetes.io/hostname"}
        affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
        for number in range(4):
            await pod(api, ns, f"p-{number}", "lonely", affinity=affinity)
        message = await api.eventually(lambda: _any_refusal(api, ns))
        assert "anti-affinity" in message
        nodes = [p["spec"].get("nodeName") for p in await api.items(PODS, ns)]
        assert sorted(n for n in nodes if n) == ["node-1", "node-2", "node-3"]


async def _any_refusal(api: Api, namespace: str) -> str:
    for item in await api.items(PODS, namespace):
        for condition in item["status"].get("conditions", ()):
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                message: str = condition["message"]
                return message
    return ""


# --- services --------------------------------------------------------------------------------------------------


async def test_a_services_slices_follow_its_pods(cluster: Cluster) -> None:
    async with cluster.client() as api:
        ns = await api.namespace("svc")
        spec = workload("web", 2)
        spec["template"]["spec"]["containers"][0]["ports"] = [{"name": "http", "containerPort": 8080}]
        await api.create(DEPLOYMENTS, ns, "web", spec)
        ports = [{"name": "web", "port": 80, "targetPort": "http"}]
        await api.create(SERVICES, ns, "web", {"selector": {"app": "web"}, "ports": ports})
        pods = await api.pods(ns, 2)

        async def addresses(ready: bool, count: int) -> Any:
            slices = await api.items(ENDPOINT_SLICES, ns, "kubernetes.io/service-name=web")
            found = [a for s in slices for e in s.get("endpoints") or () for a in e["addresses"]
                     if e["conditions"]["ready"] == ready]  # fmt: skip
            return slices if len(found) == count else None

        slices = await api.eventually(lambda: addresses(True, 2))
        assert slices[0]["ports"] == [{"name": "web", "port": 8080, "protocol": "TCP"}]
        assert slices[0]["endpoints"][0]["targetRef"]["name"] == pods[0]["metadata"]["name"]
        assert slices[0]["endpoints"][0]["nodeName"] == pods[0]["spec"]["nodeName"]
        unready = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
        await api.client.patch(
            PODS.untyped(),
            pods[0]["metadata"]["name"],
            unready,
            namespace=ns,
            patch_type="strategic",
            subresource="status",
        )
        await api.eventually(lambda: addresses(True, 1))
        await api.eventually(lambda: addresses(False, 1))

        async def in_endpoints() -> bool:
            subset = (await api.get(ENDPOINTS, ns, "web"))["subsets"][0]
            return [len(subset.get(key, ())) for key in ("addresses", "notReadyAddresses")] == [1, 1]

        await api.eventually(in_endpoints)
        await api.patch(DEPLOYMENTS, ns, "web", {"spec": {"replicas": 0}})
        await api.eventually(lambda: addresses(True, 0))
        await api.client.delete(SERVICES, "web", ns)

        async def gone() -> bool:
            return not await api.items(ENDPOINT_SLICES, ns)

        await api.eventually(gone)


async def test_a_service_that_is_made_anew_gets_slices_of_its_own(cluster: Cluster) -> None:
    async with cluster.client() as api:
        ns = await api.namespace("again")
        await pod(api, ns, "p", "web")
        await api.pods(ns, 1)
        spec = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
        for _ in range(3):
            made = await api.create(SERVICES, ns, "web", spec)

            async def owned(uid: str = made["metadata"]["uid"]) -> bool:
                slices = await api.items(ENDPOINT_SLICES, ns)
                return any(
                    s["metadata"]["ownerReferences"][0]["uid"] == uid and len(s.get("endpoints") or ()) == 1
                    for s in slices
                )

            await api.eventually(owned)
            await api.client.delete(SERVICES, "web", ns)


# --- namespaces ------------------------------------------------------------------------------------------------


async def test_a_namespace_has_a_service_account_and_the_root_certificate(cluster: Cluster) -> None:
    async with cluster.client() as api:
        ns = await api.namespace("fresh")
        config = await api.eventually(lambda: api.client.find(CONFIG_MAPS, "kube-root-ca.crt", ns))
        assert config["data"]["ca.crt"].startswith("-----BEGIN CERTIFICATE-----")
        await api.client.delete(SERVICE_ACCOUNTS, "default", ns)
        await api.eventually(lambda: api.client.find(SERVICE_ACCOUNTS, "default", ns))
        await api.patch(CONFIG_MAPS, ns, "kube-root-ca.crt", {"data": {"ca.crt": "forged"}})

        async def restored() -> bool:
            return (await api.get(CONFIG_MAPS, ns, "kube-root-ca.crt"))["data"] == config["data"]

        await api.eventually(restored)


async def test_deleting_a_namespace_removes_everything_in_it(cluster: Cluster) -> None:
    async with cluster.client() as api:
        ns = await api.namespace("doomed")
        await api.create(DEPLOYMENTS, ns, "web", workload("web", 3))
        await api.create(SERVICES, ns, "web", {"selector": {"app": "web"}, "ports": [{"port": 80}]})
        await api.pods(ns, 3)
        cluster.server.kubectl("delete", "namespace", ns, "--timeout=30s")
        assert await api.client.find(NAMESPACES, ns) is None
        for resource in (PODS, DEPLOYMENTS, REPLICA_SETS, SERVICES, CONFIG_MAPS):
            assert await api.items(resource, ns) == []


async def test_a_namespace_waits_for_an_aggregated_server_that_is_away_and_says_so(cluster: Cluster) -> None:
    api_service = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": "v1.away.example.com"},
        "spec": {
            "group": "away.example.com",
            "version": "v1",
            "groupPriorityMinimum": 1000,
            "versionPriority": 10,
            "insecureSkipTLSVerify": True,
            "service": {"namespace": "default", "name": "nowhere"},
        },
    }
    async with cluster.client() as api:
        ns = await api.namespace("patient")
        await api.create(SERVICES, ns, "web", {"selector": {"app": "web"}, "ports": [{"port": 80}]})
        path = "/apis/apiregistration.k8s.io/v1/apiservices"
        await api.client.raw("POST", path, body=api_service)
        cluster.server.kubectl("delete", "namespace", ns, "--wait=false")

        async def told() -> str:
            conditions = (await api.get(NAMESPACES, "", ns))["status"].get("conditions", ())
            found = {c["type"]: c for c in conditions if c["status"] == "True"}
            return str(found.get("NamespaceDeletionDiscoveryFailure", {}).get("message", ""))

        assert "1 failing: away.example.com/v1: " in await api.eventually(told)
        assert await api.items(SERVICES, ns) == [], "the rest is removed"
        await api.client.raw("DELETE", f"{path}/v1.away.example.com")

        async def gone() -> bool:
            return await api.client.find(NAMESPACES, ns) is None

        await api.eventually(gone)


# --- garbage ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["background", "foreground"])
async def test_what_an_owner_leaves_behind_is_removed(cluster: Cluster, policy: str) -> None:
    async with cluster.client() as api:
        ns = await api.namespace(f"gc-{policy}")
        await api.create(DEPLOYMENTS, ns, "web", workload("web", 2))
        await api.pods(ns, 2)
        cluster.server.kubectl("-n", ns, "delete", "deployment", "web", f"--cascade={policy}", "--timeout=20s")
        if policy == "foreground":
            assert await api.items(REPLICA_SETS, ns) == []

        async def gone() -> bool:
            return not await api.items(REPLICA_SETS, ns) and not await api.items(PODS, ns)

        await api.eventually(gone)


async def test_orphans_stay_and_are_taken_over_by_a_successor(cluster: Cluster) -> None:
    async with cluster.client() as api:
        ns = await api.namespace("gc-orphan")
        await api.create(DEPLOYMENTS, ns, "web", workload("web", 2))
        before = {p["metadata"]["uid"] for p in await api.pods(ns, 2)}
        cluster.server.kubectl("-n", ns, "delete", "deployment", "web", "--cascade=orphan", "--timeout=20s")
        sets = await api.items(REPLICA_SETS, ns)
        assert [s["metadata"].get("ownerReferences") for s in sets] == [None]
        made = await api.create(DEPLOYMENTS, ns, "web", workload("web", 2))

        async def adopted() -> bool:
            (only,) = await api.items(REPLICA_SETS, ns)
            owners = only["metadata"].get("ownerReferences") or [{}]
            return owners[0].get("uid") == made["metadata"]["uid"]

        await api.eventually(adopted)
        assert {p["metadata"]["uid"] for p in await api.pods(ns, 2)} == before


async def test_objects_of_custom_kinds_are_collected_too(cluster: Cluster) -> None:
    definition = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: toys.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: toys, singular: toy, kind: Toy}
  versions:
    - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}
"""
    async with cluster.client() as api:
        ns = await api.namespace("gc-custom")
        cluster.server.kubectl("apply", "-f", "-", stdin=definition)
        cluster.server.kubectl("wait", "--for=condition=Established", "crd/toys.example.com", "--timeout=10s")
        owner = await api.client.create(CONFIG_MAPS, {"metadata": {"name": "owner"}}, ns)
        uid = owner["metadata"]["uid"]
        toy = f"""
apiVersion: example.com/v1
kind: Toy
metadata:
  name: ball
  namespace: {ns}
  ownerReferences: [{{apiVersion: v1, kind: ConfigMap, name: owner, uid: {uid}}}]
"""
        cluster.server.kubectl("apply", "-f", "-", stdin=toy)
        await api.client.delete(CONFIG_MAPS, "owner", ns)

        async def gone() -> bool:
            found = cluster.server.kubectl("-n", ns, "get", "toys", "-o", "name")
            return not found.stdout.strip()

        await api.eventually(gone, seconds=20)


# --- nodes -----------------------------------------------------------------------------------------------------


async def ready_status(api: Api, node: str) -> str:
    found = await api.client.get(NODES.untyped(), node)
    return next((c["status"] for c in found["status"].get("conditions", ()) if c["type"] == "Ready"), "")


async def test_a_taint_with_no_execute_drives_pods_out(cluster: Cluster) -> None:
    async with cluster.client() as api:
        ns = await api.namespace("evict")
        await api.create(DEPLOYMENTS, ns, "web", workload("web", 3))
        await api.pods(ns, 3)
        cluster.server.kubectl("taint", "node", "node-2", "repair=now:NoExecute")

        async def moved() -> bool:
            pods = await api.items(PODS, ns)
            return len(pods) == 3 and all(p["spec"].get("nodeName") not in ("node-2", None) for p in pods)

        await api.eventually(moved)
        cluster.server.kubectl("taint", "node", "node-2", "repair-")


async def test_pods_of_a_node_that_was_removed_are_removed_and_replaced(cluster: Cluster) -> None:
    async with cluster.client() as api:
        ns = await api.namespace("lost")
        await api.client.create(NODES.untyped(), {"metadata": {"name": "node-lost"}})
        await pod(api, ns, "p", nodeName="node-lost")
        assert await node_of(api, ns, "p") == "node-lost"
        await api.client.delete(NODES, "node-lost")

        async def gone() -> bool:
            return await api.client.find(PODS, "p", ns) is None

        await api.eventually(gone, seconds=20)


async def test_a_node_that_stops_renewing_its_lease_is_marked_and_its_pods_leave_the_services(cluster: Cluster) -> None:
    """Last in this file: it ends the kubelet."""
    async with cluster.client() as api:
        ns = await api.namespace("silent")
        await api.create(DEPLOYMENTS, ns, "web", workload("web", 3))
        await api.create(SERVICES, ns, "web", {"selector": {"app": "web"}, "ports": [{"port": 80}]})
        await api.pods(ns, 3)
        assert await ready_status(api, "node-1") == "True"
        cluster.kill("kubelet")

        async def unknown() -> bool:
            return [await ready_status(api, f"node-{n}") for n in (1, 2, 3)] == ["Unknown"] * 3

        await api.eventually(unknown, seconds=20)

        async def drained() -> bool:
            slices = await api.items(ENDPOINT_SLICES, ns)
            return not [e for s in slices for e in s.get("endpoints") or () if e["conditions"]["ready"]]

        await api.eventually(drained)
        node = await api.client.get(NODES.untyped(), "node-1")
        assert {t["effect"] for t in node["spec"]["taints"] if t["key"] == "node.kubernetes.io/unreachable"} == {
            "NoSchedule",
            "NoExecute",
        }
