"""The scheduler: gives each pending pod a node.

In: pods without a node, nodes. Out: a binding for each pod that fits somewhere; for others the condition PodScheduled
False and an Event that counts the reasons. Of the nodes that fit (see `fitting`) the most preferred wins, then the one
with the fewest pods of the same owner, then the one with the fewest pods.
"""

from collections import Counter

from tortie.lab.controllers.affinity import asks_about_others, excluded, rejection
from tortie.lab.controllers.fitting import preference, refusal
from tortie.lab.controllers.placement import Placement
from tortie.lab.controllers.world import (
    Key,
    Object,
    Queue,
    World,
    condition,
    is_active,
    key_of,
    now,
)
from tortie.model.catalog import NODES, PODS

NAME = "default-scheduler"


class Scheduler:
    def __init__(self, world: World) -> None:
        self._world = world
        self._pods = world.cache(PODS)
        self._nodes = world.cache(NODES)
        self._placement = Placement()
        # Pods that were given a node which the cache does not show yet.
        self._assumed: set[Key] = set()
        # One worker: each decision must see the one before.
        self.queue = Queue("scheduler", self._reconcile, workers=1)
        world.watch(self._pods, self._pod_changed)
        world.watch(self._nodes, self._node_changed)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        pod = new or old
        assert pod is not None
        key = key_of(pod)
        node = (new or {}).get("spec", {}).get("nodeName", "")
        if new is not None and not node:
            self.queue.add(key)
            return
        self._assumed.discard(key)
        if new is None:
            self._placement.drop(key)
        else:
            self._placement.put(new, node)
        if new is None or not is_active(new):
            self._try_all()

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        if old is None or new is None or _fitness(old) != _fitness(new):
            self._try_all()

    def _try_all(self) -> None:
        for pod in self._pods.by_index("node", ""):
            self.queue.add(key_of(pod))

    async def _reconcile(self, key: Key) -> None:
        pod = self._pods.get(key[1], key[0])
        if pod is None or pod["spec"].get("nodeName") or not is_active(pod) or key in self._assumed:
            return
        if pod["spec"].get("schedulerName", NAME) != NAME or pod["spec"].get("schedulingGates"):
            return
        nodes = {node["metadata"]["name"]: node for node in self._nodes.items()}
        excluding = [(other, nodes[at]) for other, at in self._placement.excluding() if at in nodes]
        placed: list[tuple[Object, Object]] = []
        if asks_about_others(pod):
            placed = [(other, nodes[at]) for other, at in self._placement.everywhere() if at in nodes]
        refusals: Counter[str] = Counter()
        fitting = []
        for node in nodes.values():
            reason = refusal(pod, node) or excluded(pod, node, excluding) or rejection(pod, node, placed)
            if reason:
                refusals[reason] += 1
            else:
                fitting.append(node)
        if not fitting:
            await self._cannot(pod, refusals)
            return
        await self._bind(key, pod, min(fitting, key=lambda node: self._rank(pod, node))["metadata"]["name"])

    def _rank(self, pod: Object, node: Object) -> tuple[int, int, int, str]:
        """Smallest is best: preference first, then pods of the same owner on the node, then all pods on it."""
        name: str = node["metadata"]["name"]
        there = self._placement
        return -preference(pod["spec"], node), there.siblings(pod, name), there.count(name), name

    async def _bind(self, key: Key, pod: Object, node: str) -> None:
        self._assumed.add(key)
        self._placement.put(pod, node)
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": key[1], "namespace": key[0], "uid": pod["metadata"]["uid"]},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        try:
            await self._world.client.raw("POST", PODS.path(key[0], key[1], "binding"), body=body)
        except BaseException:
            self._assumed.discard(key)
            self._placement.drop(key)
            raise
        message = f"Successfully assigned {key[0]}/{key[1]} to {node}"
        self._world.event(PODS, pod, "Normal", "Scheduled", message)

    async def _cannot(self, pod: Object, refusals: Counter[str]) -> None:
        total = sum(refusals.values())
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(refusals.items()))
        message = f"0/{total} nodes are available: {reasons}." if total else "no nodes available to schedule pods"
        if condition(pod, "PodScheduled").get("message") == message:
            return
        namespace, name = key_of(pod)
        entry = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message,
            "lastTransitionTime": now(),
        }
        await self._world.client.patch(
            PODS.untyped(),
            name,
            {"status": {"conditions": [entry]}},
            namespace=namespace,
            patch_type="strategic",
            subresource="status",
        )
        self._world.event(PODS, pod, "Warning", "FailedScheduling", message)


def _fitness(node: Object) -> Object:
    """What of a node decides about pods; its heartbeats do not."""
    return {
        "labels": node["metadata"].get("labels"),
        "spec": node.get("spec"),
        "ready": condition(node, "Ready").get("status"),
    }
