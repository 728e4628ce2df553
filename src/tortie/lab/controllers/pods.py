"""What the controllers that own pods have in common: making and removing them, and whose they are.

In: owners (ReplicaSets, DaemonSets, StatefulSets, Jobs) and the cache of pods. Out: pods created and deleted with their
Events; orphans taken over and strays let go; how long until a pod counts as available.
"""

import asyncio
import copy
import time
from collections.abc import Sequence
from typing import Any

from tortie.kube.cache import Cache
from tortie.kube.errors import ApiError, NotFound
from tortie.lab.controllers.world import (
    Key,
    Object,
    Queue,
    World,
    age,
    condition,
    controller_of,
    is_ready,
    key_of,
    owner_reference,
    selects,
)
from tortie.model.catalog import PODS
from tortie.model.resource import Resource

# How long a write that the cache has not shown is believed; longer than any watch takes to come back.
_PATIENCE = 30.0


class PodControl:
    """The pods of one kind of owner.

    The cache lags behind our own writes; without a record of those, a controller that looks at the cache would create
    pods twice. The record is kept by the owner's uid and forgets what the cache has shown, or what took too long.
    """

    def __init__(self, world: World, resource: Resource[Any], owners: Cache[Object]) -> None:
        self._world = world
        self._resource = resource
        self._owners = owners
        self.pods = world.cache(PODS)
        self._created: dict[str, dict[str, float]] = {}
        self._deleted: dict[str, float] = {}
        self._queue: Queue | None = None

    def feed(self, queue: Queue) -> None:
        """Puts the owner of every pod that changes into the queue."""
        self._queue = queue
        self._world.watch(self.pods, self._changed)

    def _changed(self, old: Object | None, new: Object | None) -> None:
        assert self._queue is not None
        pod = new or old
        assert pod is not None
        if new is None:
            self._deleted.pop(pod["metadata"]["uid"], None)
        namespace = pod["metadata"]["namespace"]
        before = controller_of(old) if old is not None else None
        owner = controller_of(pod)
        for reference in (before, owner):
            if reference is not None and reference["kind"] == self._resource.kind:
                self._created.get(reference["uid"], {}).pop(pod["metadata"]["name"], None)
                self._queue.add((namespace, reference["name"]))
        if owner is None and new is not None:
            for candidate in self._owners.by_index("namespace", namespace):
                if selects(candidate["spec"].get("selector"), pod["metadata"].get("labels", {})):
                    self._queue.add(key_of(candidate))

    def forget(self, owner_uid: str) -> None:
        """The owner is gone."""
        self._created.pop(owner_uid, None)

    def pending(self, owner: Object) -> int:
        """How many pods were created for the owner that the cache does not show yet."""
        created = self._created.get(owner["metadata"]["uid"], {})
        late = [name for name, deadline in created.items() if deadline < time.monotonic()]
        for name in late:
            del created[name]
        if created and self._queue is not None:
            self._queue.add_later(key_of(owner), _PATIENCE)
        return len(created)

    def is_going(self, pod: Object) -> bool:
        """Whether the pod is being deleted, as far as the cache or our own record knows."""
        return (
            "deletionTimestamp" in pod["metadata"] or self._deleted.get(pod["metadata"]["uid"], 0.0) > time.monotonic()
        )

    async def owned(self, owner: Object) -> list[Object]:
        """The owner's pods, in whatever state: strays are let go, orphans with fitting labels taken over."""
        return await claim(self._world, self._resource, owner, self.pods, PODS, owner["spec"].get("selector"))

    async def create(self, owner: Object, bodies: Sequence[Object]) -> None:
        """Creates pods, all at once. Raises the first failure, after an Event about it."""
        namespace = owner["metadata"]["namespace"]
        jobs = [self._world.client.create(PODS.untyped(), body, namespace) for body in bodies]
        results = await asyncio.gather(*jobs, return_exceptions=True)
        failures: list[BaseException] = []
        for result in results:
            if isinstance(result, BaseException):
                failures.append(result)
                continue
            name = result["metadata"]["name"]
            if self.pods.get(name, namespace) is None:
                deadline = time.monotonic() + _PATIENCE
                self._created.setdefault(owner["metadata"]["uid"], {})[name] = deadline
            self._world.event(self._resource, owner, "Normal", "SuccessfulCreate", f"Created pod: {name}")
        if failures:
            self._world.event(self._resource, owner, "Warning", "FailedCreate", f"Error creating: {failures[0]}")
            raise failures[0]

    async def delete(self, owner: Object, pod: Object, *, reason: str = "SuccessfulDelete") -> None:
        """Deletes a pod; nothing happens if it has gone already."""
        namespace, name = key_of(pod)
        uid = pod["metadata"]["uid"]
        if self.is_going(pod):
            return
        self._deleted[uid] = time.monotonic() + _PATIENCE
        try:
            await self._world.client.delete(PODS, name, namespace, preconditions={"uid": uid})
        except NotFound:
            return
        except ApiError:
            self._deleted.pop(uid, None)
            raise
        self._world.event(self._resource, owner, "Normal", reason, f"Deleted pod: {name}")


async def claim(
    world: World,
    owner_kind: Resource[Any],
    owner: Object,
    cache: Cache[Object],
    kind: Resource[Any],
    selector: Object | None,
) -> list[Object]:
    """What the owner controls: objects with its reference whose labels fit, and fitting ones that nobody controls.

    The latter get the reference; objects whose labels no longer fit lose it, so that somebody can look into them.
    """
    namespace, uid = owner["metadata"]["namespace"], owner["metadata"]["uid"]
    mine: list[Object] = []
    for obj in cache.by_index("namespace", namespace):
        reference = controller_of(obj)
        if reference is not None and reference["uid"] != uid:
            continue
        fits = selects(selector, obj["metadata"].get("labels", {}))
        if reference is not None:
            if fits or "deletionTimestamp" in obj["metadata"]:
                mine.append(obj)
            else:
                await _refer(world, kind, obj, [r for r in _references(obj) if r["uid"] != uid])
        elif fits and "deletionTimestamp" not in obj["metadata"] and "deletionTimestamp" not in owner["metadata"]:
            references = [*_references(obj), owner_reference(owner_kind, owner)]
            mine.append(await _refer(world, kind, obj, references))
    return mine


def _references(obj: Object) -> list[Object]:
    return list(obj["metadata"].get("ownerReferences", ()))


async def _refer(world: World, kind: Resource[Any], obj: Object, references: list[Object]) -> Object:
    namespace, name = key_of(obj)
    patch = {"metadata": {"uid": obj["metadata"]["uid"], "ownerReferences": references or None}}
    return await world.client.patch(kind.untyped(), name, patch, namespace=namespace)


def pod_from_template(
    template: Object, *, namespace: str, owner: Object, name: str = "", generate_name: str = ""
) -> Object:
    """A pod as a template describes it, owned by `owner`. The caller may change it."""
    metadata = template.get("metadata", {})
    pod: Object = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": namespace,
            "labels": dict(metadata.get("labels", {})),
            "annotations": dict(metadata.get("annotations", {})),
            "ownerReferences": [owner],
        },
        "spec": copy.deepcopy(template["spec"]),
    }
    if finalizers := metadata.get("finalizers"):
        pod["metadata"]["finalizers"] = list(finalizers)
    pod["metadata"].update({"name": name} if name else {"generateName": generate_name})
    return pod


def seconds_to_available(pod: Object, min_ready_seconds: int) -> float | None:
    """0 if the pod is available, None if it is not ready, else how long it must stay ready until it is."""
    if not is_ready(pod):
        return None
    return max(0.0, min_ready_seconds - age(condition(pod, "Ready").get("lastTransitionTime")))


def count_available(pods: Sequence[Object], owner: Object, queue: Queue) -> int:
    """How many of the pods are available. If one will be later, its owner is looked at again then."""
    least = owner["spec"].get("minReadySeconds", 0)
    waits = [seconds_to_available(pod, least) for pod in pods]
    later = [wait for wait in waits if wait]
    if later:
        queue.add_later(key_of(owner), min(later) + 0.01)
    return sum(1 for wait in waits if wait == 0.0)


def template_labels(owner: Object) -> dict[str, str]:
    labels: dict[str, str] = owner["spec"]["template"].get("metadata", {}).get("labels", {})
    return labels


async def write_status(
    world: World, resource: Resource[Any], obj: Object, status: Object, *, exact: bool = False
) -> Object | None:
    """Writes what differs from the status that the object has; a count of 0 is the same as none. Gives the object as
    stored, None if nothing differed. exact: raises Conflict if the object is not the latest version."""
    old = obj.get("status", {})
    if all((old.get(name) or None) == (value or None) for name, value in status.items()):
        return None
    namespace, name = key_of(obj)
    identity = {"uid": obj["metadata"]["uid"]}
    if exact:
        identity["resourceVersion"] = obj["metadata"]["resourceVersion"]
    patch = {"metadata": identity, "status": status}
    return await world.client.patch(resource.untyped(), name, patch, namespace=namespace, subresource="status")


def owner_key(obj: Object) -> Key | None:
    """Namespace and name of the object's controller."""
    owner = controller_of(obj)
    return None if owner is None else (obj["metadata"]["namespace"], owner["name"])
