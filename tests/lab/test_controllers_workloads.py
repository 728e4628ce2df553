"""Deployments, ReplicaSets, DaemonSets and StatefulSets on a cluster without machines.

Jobs are in test_controllers_jobs.py; services, namespaces, nodes and garbage in test_controllers_cluster.py.
"""

import time
from collections import Counter
from collections.abc import Iterator

import pytest
from controllers_world import Cluster, cluster_in, template, workload

from tortie.model.catalog import (
    CONTROLLER_REVISIONS,
    DAEMON_SETS,
    DEPLOYMENTS,
    NODES,
    PODS,
    REPLICA_SETS,
    STATEFUL_SETS,
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster_in(tmp_path_factory.mktemp("cluster")) as running:
        yield running


# --- Deployments -----------------------------------------------------------------------------------------------


async def test_a_deployment_brings_up_its_pods_and_says_so(cluster: Cluster) -> None:
    async with cluster.client() as api:
        ns = await api.namespace("deploy")
        await api.create(DEPLOYMENTS, ns, "web", workload("web", 5))
        pods = await api.pods(ns, 5)
        spread = Counter(pod["spec"]["nodeName"] for pod in pods)
        assert sorted(spread.values()) == [1, 2, 2]
        owner = pods[0]["metadata"]["ownerReferences"][0]
        assert (owner["kind"], owner["controller"]) == ("ReplicaSet", True)
        assert pods[0]["metadata"]["name"].startswith("web-" + pods[0]["metadata"]["labels"]["pod-template-hash"] + "-")
        await api.status(DEPLOYMENTS, ns, "web", replicas=5, readyReplicas=5, availableReplicas=5, updatedReplicas=5)
        done = cluster.server.kubectl("-n", ns, "rollout", "status", "deployment/web", "--timeout=10s")
        assert "successfully rolled out" in done.stdout
        assert await api.events(ns, "ScalingReplicaSet")
        assert len(await api.events(ns, "SuccessfulCreate")) == 5
        assert len(await api.events(ns, "Scheduled")) == 5


async def test_pods_are_created_within_a_moment(cluster: Cluster) -> None:
    async with cluster.client() as api:
        ns = await api.namespace("quick")
        started = time.monotonic()
        await api.create(DEPLOYMENTS, ns, "web", workload("web", 1))
        await api.eventually(lambda: api.items(PODS, ns))
        assert time.monotonic() - started < 1.0


async def test_a_deployment_scales_and_replaces_what_is_deleted(cluster: Cluster) -> None:
    async with cluster.client() as api:
        ns = await api.namespace("scale")
        await api.create(DEPLOYMENTS, ns, "web", workload("web", 2))
        first = await api.pods(ns, 2)
        await api.client.delete(PODS, first[0]["metadata"]["name"], ns)
        await api.eventually(lambda: _gone(api, ns, first[0]["metadata"]["uid"]))
        await api.pods(ns, 2)
        cluster.server.kubectl("-n", ns, "scale", "deployment/web", "--replicas=6")
        await api.pods(ns, 6)
        cluster.server.kubectl("-n", ns, "scale", "deployment/web", "--replicas=0")
        await api.pods(ns, 0)
        await api.status(DEPLOYMENTS, ns, "web", replicas=0, availableReplicas=0)


async def _gone(api, namespace: str, uid: str) -> bool:
    return all(pod["metadata"]["uid"] != uid for pod in await api.items(PODS, namespace))


async def test_a_rolling_update_keeps_its_promises_and_can_be_undone(cluster: Cluster) -> None:
    async with cluster.client() as api:
        ns = await api.namespace("roll")
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
        await api.create(DEPLOYMENTS, ns, "web", workload("web", 4, strategy=strategy))
        await api.pods(ns, 4)
        await api.status(DEPLOYMENTS, ns, "web", availableReplicas=4)
        change = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "web:2"}]}}}}
        await api.patch(DEPLOYMENTS, ns, "web", change)

        async def updated() -> bool:
            pods = [pod for pod in await api.items(PODS, ns) if "deletionTimestamp" not in pod["metadata"]]
            ready = [pod for pod in pods if pod["status"].get("phase") == "Running"]
            assert len(pods) <= 5
            assert len(ready) >= 4
            return all(pod["spec"]["containers"][0]["image"] == "web:2" for pod in pods)

        await api.eventually(updated)
        await api.status(DEPLOYMENTS, ns, "web", updatedReplicas=4, availableReplicas=4, replicas=4)
        sets = await api.items(REPLICA_SETS, ns)
        revisions = {s["metadata"]["annotations"]["deployment.kubernetes.io/revision"]: s for s in sets}
        assert {rev: s["spec"]["replicas"] for rev, s in revisions.items()} == {"1": 0, "2": 4}
        cluster.server.kubectl("-n", ns, "rollout", "undo", "deployment/web")
        cluster.server.kubectl("-n", ns, "rollout", "status", "deployment/web", "--timeout=15s")
        pods = await api.pods(ns, 4)
        assert {pod["spec"]["containers"][0]["image"] for pod in pods} == {"web:1"}
        assert len(await api.items(REPLICA_SETS, ns)) == 2
        history = cluster.server.kubectl("-n", ns, "rollout", "history", "deployment/web").stdout
        assert [line.split()[0] for line in history.splitlines()[2:] if line.strip()] == ["2", "3"]


async def test_a_version_that_never_gets_ready_stops_the_update_and_is_reported(cluster: Cluster) -> None:
    async with cluster.client() as api:
        ns = await api.namespace("stuck")
        await api.create(DEPLOYMENTS, ns, "web", workload("web", 4, progressDeadlineSeconds=2))
        await api.pods(ns, 4)
        await api.status(DEPLOYMENTS, ns, "web", availableReplicas=4)
        change = {"spec": {"template": {"metadata": {"annotations": {"hollow": "unready"}}}}}
        await api.patch(DEPLOYMENTS, ns, "web", change)

        async def given_up() -> bool:
            found = (await api.get(DEPLOYMENTS, ns, "web"))["status"]["conditions"]
            return any(c["reason"] == "ProgressDeadlineExceeded" and c["status"] == "False" for c in found)

        await api.eventually(given_up)
        status = (await api.get(DEPLOYMENTS, ns, "web"))["status"]
        assert status["availableReplicas"] == 3
        assert status["replicas"] <= 5
        assert [c["status"] for c in status["conditions"] if c["type"] == "Available"] == ["True"]


async def test_recreate_lets_the_old_pods_end_first(cluster: Cluster) -> None:
    async with cluster.client() as api:
        ns = await api.namespace("recreate")
        await api.create(DEPLOYMENTS, ns, "web", workload("web", 3, strategy={"type": "Recreate"}))
        await api.pods(ns, 3)
        await api.patch(DEPLOYMENTS, ns, "web", {"spec": {"template": {"metadata": {"annotations": {"v": "2"}}}}})

        async def replaced() -> bool:
            versions = {pod["metadata"]["annotations"].get("v") for pod in await api.items(PODS, ns)}
            assert len(versions) <= 1, "old and new pods side by side"
            return versions == {"2"}

        await api.eventually(replaced)
        await api.pods(ns, 3)


async def test_a_paused_deployment_changes_its_size_but_not_its_version(cluster: Cluster) -> None:
    async with cluster.client() as api:
        ns = await api.namespace("paused")
        await api.create(DEPLOYMENTS, ns, "web", workload("web", 1))
        await api.pods(ns, 1)
        change = {"spec": {"paused": True, "replicas": 3, "template": {"metadata": {"annotations": {"v": "2"}}}}}
        await api.patch(DEPLOYMENTS, ns, "web", change)
        pods = await api.pods(ns, 3)
        assert {pod["metadata"]["annotations"].get("v") for pod in pods} == {None}
        cluster.server.kubectl("-n", ns, "rollout", "resume", "deployment/web")
        cluster.server.kubectl("-n", ns, "rollout", "status", "deployment/web", "--timeout=15s")
        assert {pod["metadata"]["annotations"].get("v") for pod in await api.pods(ns, 3)} == {"2"}


# --- ReplicaSets -----------------------------------------------------------------------------------------------


async def test_a_replicaset_takes_over_orphans_and_lets_strays_go(cluster: Cluster) -> None:
    async with cluster.client() as api:
        ns = await api.namespace("claims")
        orphan = template("web")
        await api.create(PODS, ns, "orphan", orphan["spec"], **orphan["metadata"])
        made = await api.create(REPLICA_SETS, ns, "web", workload("web", 2))
        pods = await api.pods(ns, 2)
        owners = {pod["metadata"]["name"]: pod["metadata"]["ownerReferences"][0]["uid"] for pod in pods}
        assert owners["orphan"] == made["metadata"]["uid"]
        await api.patch(PODS, ns, "orphan", {"metadata": {"labels": {"app": "quarantine"}}})
        await api.pods(ns, 3)
        stray = await api.get(PODS, ns, "orphan")
        assert not stray["metadata"].get("ownerReferences")


async def test_a_pod_that_the_api_refuses_is_reported(cluster: Cluster) -> None:
    async with cluster.client() as api:
        ns = await api.namespace("refused")
        spec = workload("web", 1)
        spec["template"]["spec"]["serviceAccountName"] = "missing"
        await api.create(REPLICA_SETS, ns, "web", spec)
        await api.eventually(lambda: api.events(ns, "FailedCreate"))
        conditions = await api.eventually(lambda: _conditions(api, ns))
        assert conditions[0]["type"] == "ReplicaFailure"


async def _conditions(api, namespace: str):
    return (await api.get(REPLICA_SETS, namespace, "web"))["status"].get("conditions")


# --- DaemonSets ------------------------------------------------------------------------------------------------


async def test_a_daemonset_has_one_pod_on_every_node_that_fits(cluster: Cluster) -> None:
    async with cluster.client() as api:
        ns = await api.namespace("daemons")
        await api.create(DAEMON_SETS, ns, "agent", workload("agent"))
        pods = await api.pods(ns, 3)
        assert sorted(pod["spec"]["nodeName"] for pod in pods) == ["node-1", "node-2", "node-3"]
        await api.status(DAEMON_SETS, ns, "agent", desiredNumberScheduled=3, numberReady=3, numberAvailable=3)
        await api.client.create(NODES.untyped(), {"metadata": {"name": "node-9", "labels": {"disk": "ssd"}}})
        await api.status(DAEMON_SETS, ns, "agent", desiredNumberScheduled=4, numberUnavailable=1)
        selecting = {"spec": {"template": {"spec": {"nodeSelector": {"disk": "ssd"}}}}}
        await api.patch(DAEMON_SETS, ns, "agent", selecting)
        await api.status(DAEMON_SETS, ns, "agent", desiredNumberScheduled=1, currentNumberScheduled=1)
        await api.client.delete(NODES, "node-9")
        await api.pods(ns, 0)


async def test_a_daemonset_rolls_out_node_by_node_and_can_be_undone(cluster: Cluster) -> None:
    async with cluster.client() as api:
        ns = await api.namespace("daemonroll")
        await api.create(DAEMON_SETS, ns, "agent", workload("agent"))
        await api.pods(ns, 3)
        await api.status(DAEMON_SETS, ns, "agent", numberAvailable=3)
        cluster.server.kubectl("-n", ns, "set", "image", "daemonset/agent", "main=web:2")

        async def updated() -> bool:
            pods = await api.items(PODS, ns)
            assert sum(pod["status"].get("phase") == "Running" for pod in pods) >= 1
            return [pod["spec"]["containers"][0]["image"] for pod in pods] == ["web:2"] * 3

        await api.eventually(updated)
        done = cluster.server.kubectl("-n", ns, "rollout", "status", "daemonset/agent", "--timeout=15s")
        assert "successfully rolled out" in done.stdout
        cluster.server.kubectl("-n", ns, "rollout", "undo", "daemonset/agent")
        cluster.server.kubectl("-n", ns, "rollout", "status", "daemonset/agent", "--timeout=15s")
        assert {pod["spec"]["containers"][0]["image"] for pod in await api.pods(ns, 3)} == {"web:1"}
        revisions = await api.items(CONTROLLER_REVISIONS, ns)
        assert sorted(revision["revision"] for revision in revisions) == [2, 3]


# --- StatefulSets ----------------------------------------------------------------------------------------------


async def test_a_statefulset_makes_its_pods_in_order_with_names_of_their_own(cluster: Cluster) -> None:
    async with cluster.client() as api:
        ns = await api.namespace("stateful")
        await api.create(STATEFUL_SETS, ns, "db", workload("db", 3, serviceName="db"))
        pods = await api.pods(ns, 3)
        assert [pod["metadata"]["name"] for pod in pods] == ["db-0", "db-1", "db-2"]
        assert (pods[1]["spec"]["hostname"], pods[1]["spec"]["subdomain"]) == ("db-1", "db")
        assert pods[2]["metadata"]["labels"]["apps.kubernetes.io/pod-index"] == "2"
        created = [pod["metadata"]["creationTimestamp"] for pod in pods]
        assert created == sorted(created)
        await api.status(STATEFUL_SETS, ns, "db", replicas=3, readyReplicas=3, availableReplicas=3, updatedReplicas=3)
        cluster.server.kubectl("-n", ns, "scale", "statefulset/db", "--replicas=1")
        assert [pod["metadata"]["name"] for pod in await api.pods(ns, 1)] == ["db-0"]


async def test_a_statefulset_waits_for_a_pod_that_is_not_ready(cluster: Cluster) -> None:
    async with cluster.client() as api:
        ns = await api.namespace("statefulwait")
        await api.create(STATEFUL_SETS, ns, "db", workload("db", 3, serviceName="db", behaviour="unready"))
        await api.pods(ns, 1)
        await api.status(STATEFUL_SETS, ns, "db", replicas=1, readyReplicas=0)
        ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
        await api.client.patch(
            PODS.untyped(), "db-0", ready, namespace=ns, patch_type="strategic", subresource="status"
        )
        assert len(await api.pods(ns, 2)) == 2


async def test_a_statefulset_rolls_out_from_the_last_to_the_partition(cluster: Cluster) -> None:
    async with cluster.client() as api:
        ns = await api.namespace("statefulroll")
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}
        spec = workload("db", 3, serviceName="db", updateStrategy=strategy, podManagementPolicy="Parallel")
        await api.create(STATEFUL_SETS, ns, "db", spec)
        await api.pods(ns, 3)
        cluster.server.kubectl("-n", ns, "set", "image", "statefulset/db", "main=web:2")

        async def images() -> list[str]:
            return [pod["spec"]["containers"][0]["image"] for pod in await api.items(PODS, ns)]

        async def rolled(wanted: list[str]) -> bool:
            return await images() == wanted

        await api.eventually(lambda: rolled(["web:1", "web:2", "web:2"]))
        await api.client.delete(PODS, "db-0", ns)
        await api.pods(ns, 3)
        assert await images() == ["web:1", "web:2", "web:2"], "pods below the partition come back as they were"
        await api.patch(STATEFUL_SETS, ns, "db", {"spec": {"updateStrategy": {"rollingUpdate": {"partition": 0}}}})
        await api.eventually(lambda: rolled(["web:2"] * 3))
        done = cluster.server.kubectl("-n", ns, "rollout", "status", "statefulset/db", "--timeout=15s")
        assert "complete" in done.stdout
        status = (await api.get(STATEFUL_SETS, ns, "db"))["status"]
        assert status["currentRevision"] == status["updateRevision"]
