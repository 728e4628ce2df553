"""A kubelet without containers, for tests of controllers: pods that are bound to its nodes say that they run.

In: a kubeconfig, a number of nodes. Out: Node objects with Leases; for every pod on them a status; pods that are being
deleted are let go. The annotation `hollow` chooses what becomes of a pod: `succeed`, `fail`, `unready`, or (default) it
runs and is ready. Started by the fixtures of test_controllers_*.py as a process of its own.
"""

import asyncio
import sys
from datetime import UTC, datetime
from typing import Any

from tortie.kube import config
from tortie.kube.cache import Cache
from tortie.kube.client import Client
from tortie.kube.errors import ApiError, NotFound
from tortie.model.catalog import LEASES, NODES, PODS

Object = dict[str, Any]
FINISHED = {"succeed": "Succeeded", "fail": "Failed"}


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Kubelet:
    def __init__(self, client: Client, nodes: list[str]) -> None:
        self.client = client
        self.nodes = nodes
        self.addresses: dict[str, str] = {}
        self.work: asyncio.Queue[Object] = asyncio.Queue()

    async def run(self) -> None:
        for name in self.nodes:
            labels = {"kubernetes.io/hostname": name, "zone": "east" if name.endswith("1") else "west"}
            await self.client.create(NODES.untyped(), {"metadata": {"name": name, "labels": labels}})
            ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastTransitionTime": now()}
            status = {"status": {"conditions": [ready]}}
            await self.client.patch(NODES.untyped(), name, status, subresource="status")
        cache = Cache(self.client, PODS.untyped(), on_event=lambda _type, _old, new: self.changed(new))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(cache.run())
            tasks.create_task(self.renew())
            for _ in range(4):
                tasks.create_task(self.serve())

    async def renew(self) -> None:
        await asyncio.sleep(0.2)
        while True:
            for name in self.nodes:
                spec = {"holderIdentity": name, "renewTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")}
                try:
                    if await self.client.find(NODES, name) is None:
                        continue
                    await self.client.patch(LEASES, name, {"spec": spec}, namespace="kube-node-lease")
                except NotFound:
                    await self.client.create(LEASES, {"metadata": {"name": name}, "spec": spec}, "kube-node-lease")
            await asyncio.sleep(0.5)

    def changed(self, pod: Object | None) -> None:
        if pod is not None and pod["spec"].get("nodeName") in self.nodes:
            self.work.put_nowait(pod)

    async def serve(self) -> None:
        while True:
            pod = await self.work.get()
            try:
                await self.handle(pod)
            except ApiError:
                continue  # the next event brings the newer state

    async def handle(self, pod: Object) -> None:
        metadata = pod["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        if "deletionTimestamp" in metadata:
            await self.client.delete(PODS, name, namespace, grace_period_seconds=0)
            return
        behaviour = metadata.get("annotations", {}).get("hollow", "run")
        phase = FINISHED.get(behaviour, "Running")
        if pod["status"].get("phase") == phase:
            return
        ready = "True" if phase == "Running" and behaviour != "unready" else "False"
        number = len(self.addresses) + 2
        address = self.addresses.setdefault(metadata["uid"], f"10.244.{number // 250}.{number % 250}")
        status = {
            "phase": phase,
            "podIP": address,
            "podIPs": [{"ip": address}],
            "startTime": now(),
            "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": now()}],
        }
        await self.client.patch(
            PODS.untyped(), name, {"status": status}, namespace=namespace, patch_type="strategic", subresource="status"
        )


async def main(kubeconfig: str, count: int) -> None:
    async with Client(config.load(kubeconfig)) as client:
        await Kubelet(client, [f"node-{number}" for number in range(1, count + 1)]).run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
