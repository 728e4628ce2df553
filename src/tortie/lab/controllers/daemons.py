"""DaemonSets: one pod on every node that fits.

In: DaemonSets, nodes, the pods they own. Out: pods created (for a named node; the scheduler binds them) and deleted,
new versions rolled out within maxUnavailable, the DaemonSet's status.
"""

import copy
from collections import defaultdict

from tortie.lab.controllers.fitting import NOT_READY, UNREACHABLE, UNSCHEDULABLE, matches_node, untolerated
from tortie.lab.controllers.pods import (
    PodControl,
    count_available,
    pod_from_template,
    seconds_to_available,
    write_status,
)
from tortie.lab.controllers.revisions import HASH_LABEL, Revisions, hash_of
from tortie.lab.controllers.rollout import share
from tortie.lab.controllers.world import Key, Object, Queue, World, is_ready, key_of, owner_reference
from tortie.model.catalog import DAEMON_SETS, NODES

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_RETRY_FAILED = 2.0
# Daemons stay where other pods may not go.
_TOLERATIONS = (
    (NOT_READY, "NoExecute"),
    (UNREACHABLE, "NoExecute"),
    (NOT_READY, "NoSchedule"),
    (UNREACHABLE, "NoSchedule"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    (UNSCHEDULABLE, "NoSchedule"),
    ("node.kubernetes.io/network-unavailable", "NoSchedule"),
)


class DaemonSets:
    def __init__(self, world: World) -> None:
        self._world = world
        self._sets = world.cache(DAEMON_SETS)
        self._nodes = world.cache(NODES)
        self._revisions = Revisions(world, DAEMON_SETS)
        self.queue = Queue("daemonset", self._reconcile)
        self._control = PodControl(world, DAEMON_SETS, self._sets)
        self._control.feed(self.queue)
        world.watch(self._sets, lambda old, new: self.queue.add(key_of(new or old or {})))
        world.watch(self._nodes, self._node_changed)

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        if old is not None and new is not None and _place(old) == _place(new):
            return
        for daemon in self._sets.items():
            self.queue.add(key_of(daemon))

    async def _reconcile(self, key: Key) -> None:
        current = self._sets.get(key[1], key[0])
        if current is None:
            return
        if "deletionTimestamp" in current["metadata"]:
            self._control.forget(current["metadata"]["uid"])
            return
        revision = hash_of(await self._revisions.current(current))
        owned = await self._control.owned(current)
        by_node: dict[str, list[Object]] = defaultdict(list)
        for pod in owned:
            by_node[target_of(pod)].append(pod)
        wanted = [node for node in self._nodes.items() if runs_on(current, node)]
        names = {node["metadata"]["name"] for node in wanted}
        await self._remove_wrong(current, by_node, names)
        # A pod that is going keeps its node until it has gone.
        missing = [name for name in sorted(names) if not by_node[name]]
        if missing and not self._control.pending(current):
            owner = owner_reference(DAEMON_SETS, current)
            await self._control.create(current, [daemon_pod(current, owner, revision, name) for name in missing])
        await self._roll(current, by_node, names, revision)
        await self._write_status(current, by_node, names, revision)
        await self._revisions.clean_up(current, {hash_of(pod) for pod in owned})

    async def _remove_wrong(self, current: Object, by_node: dict[str, list[Object]], names: set[str]) -> None:
        """Pods on nodes that no longer fit, second pods of one node, and pods that have failed."""
        for name, pods in by_node.items():
            staying = [pod for pod in pods if not self._control.is_going(pod)]
            failed = [pod for pod in staying if pod.get("status", {}).get("phase") == "Failed"]
            for pod in failed:
                await self._control.delete(current, pod, reason="FailedDaemonPod")
                self.queue.add_later(key_of(current), _RETRY_FAILED)
            alive = [pod for pod in staying if pod not in failed]
            alive.sort(key=lambda pod: (not is_ready(pod), pod["metadata"].get("creationTimestamp", "")))
            for pod in alive if name not in names else alive[1:]:
                await self._control.delete(current, pod)

    async def _roll(self, current: Object, by_node: dict[str, list[Object]], names: set[str], revision: str) -> None:
        """Deletes pods of old versions: those that do not work at once, the others within maxUnavailable."""
        strategy = current["spec"].get("updateStrategy", {})
        if strategy.get("type", "RollingUpdate") != "RollingUpdate":
            return
        rolling = strategy.get("rollingUpdate") or {}
        allowed = max(1, share(rolling.get("maxUnavailable", 1), len(names), up=True))
        least = current["spec"].get("minReadySeconds", 0)
        unavailable, old_available = 0, []
        for name in sorted(names):
            pod = next((pod for pod in by_node[name] if not self._control.is_going(pod)), None)
            if pod is None or seconds_to_available(pod, least) != 0.0:
                unavailable += 1
                if pod is not None and hash_of(pod) != revision:
                    await self._control.delete(current, pod)
            elif hash_of(pod) != revision:
                old_available.append(pod)
        for pod in old_available[: max(0, allowed - unavailable)]:
            await self._control.delete(current, pod)

    async def _write_status(
        self, current: Object, by_node: dict[str, list[Object]], names: set[str], revision: str
    ) -> None:
        there = [pods[0] for name in names if (pods := by_node[name])]
        available = count_available(there, current, self.queue)
        status = {
            "desiredNumberScheduled": len(names),
            "currentNumberScheduled": len(there),
            "numberMisscheduled": sum(bool(pods) for name, pods in by_node.items() if name not in names),
            "numberReady": sum(is_ready(pod) for pod in there),
            "updatedNumberScheduled": sum(hash_of(pod) == revision for pod in there),
            "numberAvailable": available,
            "numberUnavailable": len(names) - available,
            "observedGeneration": current["metadata"].get("generation", 0),
        }
        await write_status(self._world, DAEMON_SETS, current, status)


def runs_on(daemon: Object, node: Object) -> bool:
    """Whether the node should have a pod of the DaemonSet."""
    spec = with_tolerations(daemon["spec"]["template"]["spec"])
    return matches_node(spec, node) and untolerated(spec, node, ("NoSchedule", "NoExecute")) is None


def with_tolerations(spec: Object) -> Object:
    """A pod's spec that tolerates what daemons do."""
    added = [{"key": key, "operator": "Exists", "effect": effect} for key, effect in _TOLERATIONS]
    own = list(spec.get("tolerations") or ())
    return {**spec, "tolerations": own + [toleration for toleration in added if toleration not in own]}


def daemon_pod(daemon: Object, owner: Object, revision: str, node: str) -> Object:
    """The DaemonSet's pod for a node: required affinity to the node's name takes it there."""
    namespace, name = key_of(daemon)
    template = daemon["spec"]["template"]
    pod = pod_from_template(template, namespace=namespace, owner=owner, generate_name=f"{name}-")
    pod["metadata"]["labels"][HASH_LABEL] = revision
    pod["spec"] = with_tolerations(pod["spec"])
    affinity = copy.deepcopy(pod["spec"].get("affinity") or {})
    field = {"key": "metadata.name", "operator": "In", "values": [node]}
    # The node fits already, so its name alone says everything.
    affinity.setdefault("nodeAffinity", {})[_REQUIRED] = {"nodeSelectorTerms": [{"matchFields": [field]}]}
    pod["spec"]["affinity"] = affinity
    return pod


def target_of(pod: Object) -> str:
    """The node that a daemon's pod is on or meant for."""
    name: str = pod["spec"].get("nodeName", "")
    if name:
        return name
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    for term in (affinity.get(_REQUIRED) or {}).get("nodeSelectorTerms", ()):
        for field in term.get("matchFields", ()):
            if field["key"] == "metadata.name" and field.get("values"):
                target: str = field["values"][0]
                return target
    return ""


def _place(node: Object) -> Object:
    return {"labels": node["metadata"].get("labels"), "spec": node.get("spec")}
