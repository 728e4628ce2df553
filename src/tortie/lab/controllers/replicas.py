"""ReplicaSets: as many pods as asked for.

In: ReplicaSets and the pods they own. Out: pods created and deleted, the ReplicaSet's status.
"""

from tortie.kube.errors import ApiError
from tortie.lab.controllers.pods import (
    PodControl,
    count_available,
    pod_from_template,
    template_labels,
    write_status,
)
from tortie.lab.controllers.world import (
    Key,
    Object,
    Queue,
    World,
    is_active,
    is_ready,
    key_of,
    new_conditions,
    owner_reference,
)
from tortie.model.catalog import REPLICA_SETS

_AT_ONCE = 16


class ReplicaSets:
    def __init__(self, world: World) -> None:
        self._world = world
        self._sets = world.cache(REPLICA_SETS)
        self.queue = Queue("replicaset", self._reconcile)
        self._control = PodControl(world, REPLICA_SETS, self._sets)
        self._control.feed(self.queue)
        world.watch(self._sets, lambda old, new: self.queue.add(key_of(new or old or {})))

    async def _reconcile(self, key: Key) -> None:
        current = self._sets.get(key[1], key[0])
        if current is None:
            return
        if "deletionTimestamp" in current["metadata"]:
            self._control.forget(current["metadata"]["uid"])
            return
        owned = await self._control.owned(current)
        pods = [pod for pod in owned if is_active(pod) and not self._control.is_going(pod)]
        difference = current["spec"].get("replicas", 1) - len(pods) - self._control.pending(current)
        failure: ApiError | None = None
        try:
            if difference > 0:
                await self._create(current, min(difference, _AT_ONCE))
                if difference > _AT_ONCE:
                    self.queue.add(key)
            elif difference < 0:
                for pod in sorted(pods, key=deletion_order)[:-difference]:
                    await self._control.delete(current, pod)
        except ApiError as error:
            failure = error
        await self._write_status(current, pods, failure)
        if failure is not None:
            raise failure

    async def _create(self, current: Object, count: int) -> None:
        namespace, name = key_of(current)
        owner = owner_reference(REPLICA_SETS, current)
        pod = pod_from_template(current["spec"]["template"], namespace=namespace, owner=owner, generate_name=f"{name}-")
        await self._control.create(current, [pod] * count)

    async def _write_status(self, current: Object, pods: list[Object], failure: ApiError | None) -> None:
        labels = template_labels(current)
        status = {
            "replicas": len(pods),
            "fullyLabeledReplicas": sum(labels.items() <= pod["metadata"].get("labels", {}).items() for pod in pods),
            "readyReplicas": sum(is_ready(pod) for pod in pods),
            "availableReplicas": count_available(pods, current, self.queue),
            "observedGeneration": current["metadata"].get("generation", 0),
            "conditions": None
            if failure is None
            else new_conditions(current, ("ReplicaFailure", "True", "FailedCreate", str(failure))),
        }
        await write_status(self._world, REPLICA_SETS, current, status)


def deletion_order(pod: Object) -> tuple[bool, bool, float, str]:
    """Unscheduled first, then those that are not ready, then the cheapest, then the youngest."""
    metadata = pod["metadata"]
    try:
        cost = float(metadata.get("annotations", {}).get("controller.kubernetes.io/pod-deletion-cost", "0"))
    except ValueError:
        cost = 0.0
    created = metadata.get("creationTimestamp", "")
    youngest_first = "".join(chr(0x10FFFF - ord(c)) for c in created)
    return bool(pod["spec"].get("nodeName")), is_ready(pod), cost, youngest_first
