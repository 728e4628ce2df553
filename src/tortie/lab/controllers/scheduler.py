"""The scheduler: gives each pending pod a node.

In: pods without a node, nodes. Out: a binding for each pod that fits somewhere; for others the condition PodScheduled
False and an Event that counts the reasons. Of the nodes that fit (see `fitting`) the most preferred wins, then the one
with the fewest pods of the same owner, then the one with the fewest pods.
"""

from collections import Counter

from tortie.lab.controllers.affinity import rejection
from tortie.lab.controllers.fitting import preference, refusal
from tortie.lab.controllers.world import (
    Key,
    Object,
    Queue,
    World,
    condition,
    controller_of,
    is_active,
    key_of,
    now,
)
from tortie.model.catalog import NODES, PODS

NAME = "default-scheduler"


class Scheduler:
    def __init__(self, world: World) -> None:
        self._world = world
        self._pods = world.cache(PODS, indexes={"node": lambda pod: [pod.get("spec", {}).get("nodeName", "")]})
        self._nodes = world.cache(NODES)
        # Decisions that the cache does not show yet: the pod and its node.
        self._assumed: dict[Key, str] = {}
        # One worker: each decision must see the one before.
        self.queue = Queue("scheduler", self._reconcile, workers=1)
        world.watch(self._pods, self._pod_changed)
        world.watch(self._nodes, self._node_changed)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        pod = new or old
        assert pod is not None
        if new is None or new.get("spec", {}).get("nodeName"):
            self._assumed.pop(key_of(pod), None)
            if new is None or not is_active(new):
                self._try_all()
        else:
            self.queue.add(key_of(new))

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        if old is not None and new is not None and _fitness(old) == _fitness(new):
            return
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
        placed = self._placed()
        refusals: Counter[str] = Counter()
        fitting = []
        for node in self._nodes.items():
            reason = refusal(pod, node) or rejection(pod, node, placed)
            if reason:
                refusals[reason] += 1
            else:
                fitting.append(node)
        if not fitting:
            await self._cannot(pod, refusals)
            return
        chosen: str = min(fitting, key=lambda node: _rank(pod, node, placed))["metadata"]["name"]
        await self._bind(key, pod, chosen)

    def _placed(self) -> list[tuple[Object, Object]]:
        """Every pod that holds a place on a node, with that node; decisions not yet seen included."""
        nodes = {node["metadata"]["name"]: node for node in self._nodes.items()}
        placed: list[tuple[Object, Object]] = []
        for name, node in nodes.items():
            placed += [(pod, node) for pod in self._pods.by_index("node", name) if is_active(pod)]
        for key, name in self._assumed.items():
            pod = self._pods.get(key[1], key[0])
            if pod is not None and name in nodes:
                placed.append((pod, nodes[name]))
        return placed

    async def _bind(self, key: Key, pod: Object, node: str) -> None:
        self._assumed[key] = node
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": key[1], "namespace": key[0], "uid": pod["metadata"]["uid"]},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        try:
            await self._world.client.raw("POST", PODS.path(key[0], key[1], "binding"), body=body)
        except BaseException:
            self._assumed.pop(key, None)
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


def _rank(pod: Object, node: Object, placed: list[tuple[Object, Object]]) -> tuple[int, int, int, str]:
    """Smallest is best: preference first, then pods of the same owner on the node, then all pods on it."""
    name: str = node["metadata"]["name"]
    owner = (controller_of(pod) or {}).get("uid")
    there = [other for other, at in placed if at["metadata"]["name"] == name]
    siblings = sum(owner is not None and (controller_of(other) or {}).get("uid") == owner for other in there)
    return -preference(pod["spec"], node), siblings, len(there), name


def _fitness(node: Object) -> Object:
    """What of a node decides about pods; its heartbeats do not."""
    return {
        "labels": node["metadata"].get("labels"),
        "spec": node.get("spec"),
        "ready": condition(node, "Ready").get("status"),
    }
