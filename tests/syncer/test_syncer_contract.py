"""The syncer on the real embedded API server: what an administrator writes arrives as Felix needs it."""

import asyncio
import contextlib
import time

from kube_fake_api import eventually
from tools import ApiServer

from tortie.kube.client import Client
from tortie.kube.config import load
from tortie.model.catalog import (
    CLUSTER_NETWORK_POLICIES,
    GLOBAL_NETWORK_POLICIES,
    NAMESPACES,
    NODES,
    PODS,
    SERVICES,
)
from tortie.model.dataplane import Key, Policy, PolicyKey, ProfileKey, ServiceKey, Update, Value, WorkloadEndpointKey
from tortie.syncer import Syncer


class Sink:
    def __init__(self) -> None:
        self.state: dict[Key, Value] = {}
        self.statuses: list[str] = []

    def on_updates(self, updates: list[Update]) -> None:
        for update in updates:
            if update.value is None:
                del self.state[update.key]
            else:
                self.state[update.key] = update.value

    def on_status(self, status: str) -> None:
        self.statuses.append(status)


async def test_objects_of_the_api_arrive_within_milliseconds(api_server: ApiServer) -> None:
    async with Client(load(str(api_server.kubeconfig))) as client:
        sink = Sink()
        task = asyncio.create_task(Syncer(client, node="n1").run(sink))
        await eventually(lambda: sink.statuses[-1:] == ["in-sync"], what=str(sink.statuses))
        assert ProfileKey("kns.default") in sink.state
        assert ServiceKey("default", "kubernetes") in sink.state

        await client.create(NAMESPACES, {"metadata": {"name": "shop", "labels": {"team": "a"}}})
        await client.create(NODES, {"metadata": {"name": "n1"}})
        pod = {"metadata": {"name": "web"}, "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "x"}]}}
        await client.create(PODS, pod, "shop")
        status = {"status": {"phase": "Running", "podIP": "192.168.1.5", "podIPs": [{"ip": "192.168.1.5"}]}}
        await client.patch(PODS, "web", status, namespace="shop", subresource="status")
        key = WorkloadEndpointKey("n1", "k8s", "shop/web", "eth0")
        await eventually(lambda: key in sink.state)
        await client.create(SERVICES, {"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}, "shop")
        await eventually(lambda: ServiceKey("shop", "web") in sink.state)

        delays = []
        for number in range(20):
            policy = {"metadata": {"name": f"p{number}"}, "spec": {"selector": "all()", "types": ["Ingress"]}}
            start = time.perf_counter()
            made = await client.create(GLOBAL_NETWORK_POLICIES, policy)
            want = PolicyKey("GlobalNetworkPolicy", "", made.metadata.name)
            await eventually(lambda want=want: want in sink.state)
            delays.append(time.perf_counter() - start)
        assert sorted(delays)[10] < 0.2
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_cluster_network_policy_arrives_in_the_administrators_tier(api_server: ApiServer) -> None:
    async with Client(load(str(api_server.kubeconfig))) as client:
        sink = Sink()
        task = asyncio.create_task(Syncer(client, node="n1").run(sink))
        await eventually(lambda: sink.statuses[-1:] == ["in-sync"], what=str(sink.statuses))
        spec = {
            "tier": "Admin",
            "priority": 5,
            "subject": {"namespaces": {}},
            "ingress": [{"action": "Deny", "from": [{"namespaces": {}}]}],
        }
        await client.create(CLUSTER_NETWORK_POLICIES, {"metadata": {"name": "syncer-contract"}, "spec": spec})
        key = PolicyKey("KubernetesClusterNetworkPolicy", "", "syncer-contract")
        await eventually(lambda: key in sink.state)
        value = sink.state[key]
        assert isinstance(value, Policy)
        assert (value.tier, value.order) == ("kube-admin", 5.0)
        await client.delete(CLUSTER_NETWORK_POLICIES, "syncer-contract")
        await eventually(lambda: key not in sink.state)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
