"""ReplicaSets: as many pods as asked for.

In: ReplicaSets and the pods they own. Out: pods created and deleted, the ReplicaSet's status.
"""

import asyncio

from tortie.kube.errors import ApiError, NotFound
from tortie.lab.controllers.world import (
    Key,
    Object,
    Queue,
    World,
    controller_of,
    is_active,
    is_ready,
    key_of,
    owner_reference,
)
from tortie.model.catalog import PODS, REPLICA_SETS

_AT_ONCE = 16


def pod_from_template(template: Object, *, namespace: str, owner: Object, generate_name: str) -> Object:
    """A pod as a template describes it, owned by `owner`."""
    metadata = template.get("metadata", {})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": generate_name,
            "namespace": namespace,
            "labels": dict(metadata.get("labels", {})),
            "annotations": dict(metadata.get("annotations", {})),
            "ownerReferences": [owner],
        },
        "spec": template["spec"],
    }


class ReplicaSets:
    def __init__(self, world: World) -> None:
        self._world = world
        self._sets = world.cache(REPLICA_SETS)
        self._pods = world.cache(PODS)
        # Pods that were created but have not come back through the watch: without them too many would be made.
        self._expected: dict[str, set[str]] = {}
        self._deleting: set[str] = set()
        self.queue = Queue("replicaset", self._reconcile)
        world.watch(self._sets, lambda old, new: self.queue.add(key_of(new or old or {})))
        world.watch(self._pods, self._pod_changed)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        pod = new or old
        assert pod is not None
        if new is None:
            self._deleting.discard(pod["metadata"]["uid"])
        owner = controller_of(pod)
        if owner is None or owner["kind"] != "ReplicaSet":
            return
        expected = self._expected.get(owner["uid"])
        if expected is not None:
            expected.discard(pod["metadata"]["name"])
        self.queue.add((pod["metadata"]["namespace"], owner["name"]))

    async def _reconcile(self, key: Key) -> None:
        current = self._sets.get(key[1], key[0])
        if current is None:
            return
        uid = current["metadata"]["uid"]
        if "deletionTimestamp" in current["metadata"]:
            self._expected.pop(uid, None)
            return
        pods = [pod for pod in self._pods.by_index("owner", uid) if is_active(pod)]
        pods = [pod for pod in pods if pod["metadata"]["uid"] not in self._deleting]
        expected = self._expected.setdefault(uid, set())
        difference = current["spec"].get("replicas", 1) - len(pods) - len(expected)
        if difference > 0:
            await self._create(current, min(difference, _AT_ONCE))
            if difference > _AT_ONCE:
                self.queue.add(key)
        elif difference < 0:
            await self._delete(current, pods, -difference)
        await self._write_status(current, pods)

    async def _create(self, current: Object, count: int) -> None:
        namespace, name = key_of(current)
        owner = owner_reference(REPLICA_SETS, current)
        pod = pod_from_template(current["spec"]["template"], namespace=namespace, owner=owner, generate_name=f"{name}-")
        jobs = [self._world.client.create(PODS.untyped(), pod, namespace) for _ in range(count)]
        results = await asyncio.gather(*jobs, return_exceptions=True)
        failures = [result for result in results if isinstance(result, BaseException)]
        for result in results:
            if isinstance(result, dict):
                created = result["metadata"]["name"]
                if self._pods.get(created, namespace) is None:
                    self._expected[current["metadata"]["uid"]].add(created)
                self._world.event(REPLICA_SETS, current, "Normal", "SuccessfulCreate", f"Created pod: {created}")
        if failures:
            message = f"Error creating: {failures[0]}"
            self._world.event(REPLICA_SETS, current, "Warning", "FailedCreate", message)
            raise failures[0]

    async def _delete(self, current: Object, pods: list[Object], count: int) -> None:
        victims = sorted(pods, key=_deletion_order)[:count]
        for pod in victims:
            namespace, name = key_of(pod)
            self._deleting.add(pod["metadata"]["uid"])
            try:
                await self._world.client.delete(PODS, name, namespace)
            except NotFound:
                continue
            except ApiError:
                self._deleting.discard(pod["metadata"]["uid"])
                raise
            self._world.event(REPLICA_SETS, current, "Normal", "SuccessfulDelete", f"Deleted pod: {name}")

    async def _write_status(self, current: Object, pods: list[Object]) -> None:
        ready = sum(1 for pod in pods if is_ready(pod))
        labels = current["spec"]["template"].get("metadata", {}).get("labels", {})
        labelled = sum(1 for pod in pods if labels.items() <= pod["metadata"].get("labels", {}).items())
        status = {
            "replicas": len(pods),
            "fullyLabeledReplicas": labelled,
            "readyReplicas": ready,
            "availableReplicas": ready,
            "observedGeneration": current["metadata"].get("generation", 0),
        }
        old = current.get("status", {})
        if any(old.get(name, 0) != value for name, value in status.items()):
            namespace, name = key_of(current)
            await self._world.client.patch(
                REPLICA_SETS, name, {"status": status}, namespace=namespace, subresource="status"
            )


def _deletion_order(pod: Object) -> tuple[bool, bool, str]:
    """Unscheduled first, then those that are not ready, then the youngest."""
    created = pod["metadata"].get("creationTimestamp", "")
    return bool(pod["spec"].get("nodeName")), is_ready(pod), "".join(chr(0x10FFFF - ord(c)) for c in created)
