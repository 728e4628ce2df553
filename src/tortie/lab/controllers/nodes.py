"""Nodes that stop answering, and what becomes of the pods on them.

In: nodes, their Leases, pods. Out: the condition Ready set to Unknown when a Lease is no longer renewed; taints that
say so; pods there marked as not ready; pods evicted that do not tolerate a NoExecute taint (any longer); pods removed
whose node does not exist any more.
"""

import asyncio
import time
from collections.abc import Sequence

from tortie.kube.errors import ApiError, NotFound
from tortie.lab.controllers.fitting import NOT_READY, UNREACHABLE, UNSCHEDULABLE, seconds_tolerated
from tortie.lab.controllers.world import Key, Object, Queue, World, age, condition, is_active, is_ready, key_of, now
from tortie.model.catalog import LEASES, NODES, PODS

LEASE_NAMESPACE = "kube-node-lease"
_OURS = (NOT_READY, UNREACHABLE, UNSCHEDULABLE)
_LONELY = 5.0
# A longer pause than this between two looks means that we were held up ourselves.
_HELD_UP = 5.0


class Nodes:
    """grace: seconds without a renewed Lease after which a node counts as lost. Measured by when we saw the renewal,
    so the clocks of nodes do not matter, and a controller that has just started waits as long anew."""

    def __init__(self, world: World, *, grace: float = 40.0) -> None:
        self._world = world
        self._grace = grace
        self._nodes = world.cache(NODES)
        self._pods = world.cache(PODS)
        self._leases = world.cache(LEASES, namespace=LEASE_NAMESPACE, name="node-leases")
        self._renewed: dict[str, float] = {}
        # When a taint without a time of its own was first seen, by node, key and effect.
        self._tainted: dict[tuple[str, str, str], float] = {}
        self.queue = Queue("node", self._reconcile)
        world.watch(self._nodes, self._node_changed)
        world.watch(self._leases, self._lease_changed)
        world.watch(self._pods, self._pod_changed)

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        node = new or old
        assert node is not None
        name = node["metadata"]["name"]
        if new is None:
            self._renewed.pop(name, None)
        else:
            self._renewed.setdefault(name, time.monotonic())
            if old is not None and condition(old, "Ready") != condition(new, "Ready"):
                self._renewed[name] = time.monotonic()
        self.queue.add(("", name))

    def _lease_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            return
        name = new["metadata"]["name"]
        if old is None or old["spec"].get("renewTime") != new["spec"].get("renewTime"):
            was_lost = self._is_lost(name)
            self._renewed[name] = time.monotonic()
            if was_lost:
                self.queue.add(("", name))

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        """A pod that has just come to a node must leave it again if the node is gone or tainted."""
        name = (new or {}).get("spec", {}).get("nodeName", "")
        if name and (old is None or not old["spec"].get("nodeName")):
            node = self._nodes.get(name)
            if node is None or not is_ready(node) or node["spec"].get("taints"):
                self.queue.add(("", name))

    def _is_lost(self, name: str) -> bool:
        return time.monotonic() - self._renewed.get(name, time.monotonic()) > self._grace

    async def run(self) -> None:
        """Looks at every node's Lease from time to time, and for pods on nodes that nobody has heard of."""
        period = min(2.0, self._grace / 4)
        looked = time.monotonic()
        while True:
            # Leases cannot arrive while we or the API are out of action: the nodes then get their time anew.
            if not await self._api_answers() or time.monotonic() - looked > period + _HELD_UP:
                self._renewed = dict.fromkeys(self._renewed, time.monotonic())
            looked = time.monotonic()
            for node in self._nodes.items():
                name = node["metadata"]["name"]
                if self._is_lost(name) and condition(node, "Ready").get("status") != "Unknown":
                    self.queue.add(("", name))
            for name in {pod["spec"].get("nodeName", "") for pod in self._pods.items()} - {""}:
                if self._nodes.get(name) is None:
                    self.queue.add_later(("", name), _LONELY)
            await asyncio.sleep(period)

    async def _api_answers(self) -> bool:
        try:
            await self._world.client.raw("GET", "/readyz", deadline=5.0)
        except ApiError:
            return False
        return True

    async def _reconcile(self, key: Key) -> None:
        name = key[1]
        pods = self._pods.by_index("node", name)
        node = self._nodes.get(name)
        if node is None:
            await self._remove_lonely(name, pods)
            return
        if self._is_lost(name) and condition(node, "Ready").get("status") != "Unknown":
            await self._mark_unknown(node)
            return
        if not await self._set_taints(node):
            return
        if not is_ready(node):
            for pod in pods:
                await self._mark_pod(pod)
        await self._evict(node, pods)

    async def _mark_unknown(self, node: Object) -> None:
        stamp = now()
        entries = [
            {
                **entry,
                "status": "Unknown",
                "reason": "NodeStatusUnknown",
                "message": "Kubelet stopped posting node status.",
                "lastTransitionTime": stamp,
            }
            for entry in node.get("status", {}).get("conditions") or [{"type": "Ready"}]
            if entry["type"] in ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
        ]
        name = node["metadata"]["name"]
        await self._world.client.patch(
            NODES.untyped(), name, {"status": {"conditions": entries}}, patch_type="strategic", subresource="status"
        )
        self._world.event(NODES, node, "Normal", "NodeNotReady", f"Node {name} status is now: NodeNotReady")

    async def _set_taints(self, node: Object) -> bool:
        """Brings the taints about readiness up to date; False if they were not, and the change will come back."""
        status = condition(node, "Ready").get("status")
        key = {"True": "", "Unknown": UNREACHABLE}.get(status or "", NOT_READY)
        taints: list[Object] = list(node["spec"].get("taints") or ())
        wanted = [(key, effect) for effect in ("NoSchedule", "NoExecute")] if key else []
        if node["spec"].get("unschedulable"):
            wanted.append((UNSCHEDULABLE, "NoSchedule"))
        have = [(taint["key"], taint["effect"]) for taint in taints if taint["key"] in _OURS]
        if sorted(wanted) == sorted(have):
            return True
        kept = [taint for taint in taints if (taint["key"], taint["effect"]) in wanted or taint["key"] not in _OURS]
        for pair in wanted:
            if pair not in have:
                stamp = {"timeAdded": now()} if pair[1] == "NoExecute" else {}
                kept.append({"key": pair[0], "effect": pair[1], **stamp})
        patch = {
            "metadata": {"resourceVersion": node["metadata"]["resourceVersion"]},
            "spec": {"taints": kept or None},
        }
        await self._world.client.patch(NODES.untyped(), node["metadata"]["name"], patch)
        return False

    async def _mark_pod(self, pod: Object) -> None:
        """A pod on a node that does not answer counts as not ready, so that Services stop using it."""
        if not is_active(pod) or not is_ready(pod):
            return
        namespace, name = key_of(pod)
        entry = {"type": "Ready", "status": "False", "reason": "NodeNotReady", "lastTransitionTime": now()}
        try:
            await self._world.client.patch(
                PODS.untyped(),
                name,
                {"metadata": {"uid": pod["metadata"]["uid"]}, "status": {"conditions": [entry]}},
                namespace=namespace,
                patch_type="strategic",
                subresource="status",
            )
        except NotFound:
            return
        self._world.event(PODS, pod, "Warning", "NodeNotReady", "Node is not ready")

    async def _evict(self, node: Object, pods: Sequence[Object]) -> None:
        taints = [taint for taint in node["spec"].get("taints") or () if taint["effect"] == "NoExecute"]
        present = {(node["metadata"]["name"], taint["key"], taint["effect"]) for taint in taints}
        for key in [k for k in self._tainted if k[0] == node["metadata"]["name"] and k not in present]:
            del self._tainted[key]
        if not taints:
            return
        for pod in pods:
            if not is_active(pod):
                continue
            for taint in taints:
                limit = seconds_tolerated(pod["spec"], taint)
                if limit is None:
                    continue
                left = limit - self._seconds_tainted(node, taint) if limit else 0.0
                if left > 0:
                    self.queue.add_later(("", node["metadata"]["name"]), left + 0.1)
                    continue
                await self._delete(pod, grace=None)
                message = f"Marking for deletion Pod {'/'.join(key_of(pod))}"
                self._world.event(PODS, pod, "Normal", "TaintManagerEviction", message)
                break

    def _seconds_tainted(self, node: Object, taint: Object) -> float:
        if taint.get("timeAdded"):
            return age(taint["timeAdded"])
        key = (node["metadata"]["name"], taint["key"], taint["effect"])
        return time.monotonic() - self._tainted.setdefault(key, time.monotonic())

    async def _remove_lonely(self, name: str, pods: Sequence[Object]) -> None:
        """Pods of a node that was removed: nobody else can say that they have ended."""
        if not pods:
            return
        if await self._world.client.find(NODES, name) is not None:
            return
        for pod in pods:
            await self._delete(pod, grace=0)

    async def _delete(self, pod: Object, *, grace: int | None) -> None:
        namespace, name = key_of(pod)
        uid = {"uid": pod["metadata"]["uid"]}
        try:
            await self._world.client.delete(PODS, name, namespace, grace_period_seconds=grace, preconditions=uid)
        except NotFound:
            return
        except ApiError as error:
            if error.status != 409:
                raise
