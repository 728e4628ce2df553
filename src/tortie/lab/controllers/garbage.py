"""Garbage: objects whose owners are gone, and owners that wait for what they own.

In: metadata of every kind that discovery lists. Out: deletion of objects none of whose owners exist any more; the
finalizers `foregroundDeletion` and `orphan` worked off.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Literal

from tortie.kube.cache import Cache
from tortie.kube.errors import ApiError, NotFound
from tortie.lab.controllers.discovery import served
from tortie.lab.controllers.world import Key, Object, Queue, World, owners
from tortie.model.resource import Resource

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
# Kinds that change often and own nothing.
_LEFT_OUT = {("", "events"), ("events.k8s.io", "events"), ("coordination.k8s.io", "leases")}
_DISCOVERY_PERIOD = 5.0


class Garbage:
    """Keeps caches of its own for every kind, those of custom resources included."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._caches: dict[str, Cache[Object]] = {}
        self._resources: dict[str, Resource[Object]] = {}
        self._by_uid: dict[str, tuple[str, Key]] = {}
        self._complete = asyncio.Event()
        self.queue = Queue("garbage", self._reconcile)

    async def run(self) -> None:
        """Follows discovery and every kind it lists, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                with contextlib.suppress(ApiError):
                    await self._discover(tasks)
                await asyncio.sleep(_DISCOVERY_PERIOD)

    async def _discover(self, tasks: asyncio.TaskGroup) -> None:
        known_to_world = {f"{c.resource.plural}.{c.resource.group}": c for c in self._world.caches.values()}
        for resource in await _all_resources(self._world):
            title = f"{resource.plural}.{resource.group}"
            if title in self._resources:
                continue
            self._resources[title] = resource
            shared = known_to_world.get(title)
            if shared is not None:
                self._world.watch(shared, self._listener(title))
                for obj in shared.items():
                    self._changed(title, None, obj)
                continue
            cache = self._follow(resource, self._listener(title))
            self._caches[title] = cache
            tasks.create_task(cache.run())
        for cache in list(self._caches.values()):
            await cache.wait_synced()
        if not self._complete.is_set():
            self._complete.set()
            for title, key in list(self._by_uid.values()):
                self.queue.add((title, _join(key)))

    def _follow(
        self, resource: Resource[Object], listener: Callable[[Object | None, Object | None], None]
    ) -> Cache[Object]:
        return Cache(
            self._world.client,
            resource,
            on_event=lambda _type, old, new: listener(old, new),
            indexes={"owner": owners},
        )

    def _listener(self, title: str) -> Callable[[Object | None, Object | None], None]:
        return lambda old, new: self._changed(title, old, new)

    def _changed(self, title: str, old: Object | None, new: Object | None) -> None:
        obj = new or old
        assert obj is not None
        metadata = obj["metadata"]
        key = (metadata.get("namespace", ""), metadata["name"])
        if new is None:
            self._by_uid.pop(metadata["uid"], None)
            # What it owned is garbage now; an owner that waits for it may go.
            for cache in self._everything():
                for owned in cache.by_index("owner", metadata["uid"]):
                    self.queue.add((_title(cache), _join(_key(owned))))
        else:
            self._by_uid[metadata["uid"]] = (title, key)
            if metadata.get("ownerReferences") or "deletionTimestamp" in metadata:
                self.queue.add((title, _join(key)))
        for owner in metadata.get("ownerReferences", ()):
            entry = self._by_uid.get(owner["uid"])
            if entry is not None:
                waiting = self._find(*entry)
                if waiting is not None and FOREGROUND in waiting["metadata"].get("finalizers", ()):
                    self.queue.add((entry[0], _join(entry[1])))

    async def _reconcile(self, key: Key) -> None:
        await self._complete.wait()
        title, place = key
        obj = self._find(title, _split(place))
        if obj is None:
            return
        resource = self._resources[title]
        finalizers = obj["metadata"].get("finalizers", ())
        if "deletionTimestamp" in obj["metadata"]:
            if ORPHAN in finalizers:
                await self._orphan(resource, obj)
            elif FOREGROUND in finalizers:
                await self._foreground(resource, obj)
            return
        references = obj["metadata"].get("ownerReferences", ())
        if references and not [owner for owner in references if owner["uid"] in self._by_uid]:
            # The caches may be behind: ask the API before anything is deleted.
            for owner in references:
                if await self._exists(owner, obj["metadata"].get("namespace")):
                    self.queue.add_later(key, 1.0)
                    return
            await self._delete(resource, obj, "Background")

    async def _exists(self, owner: Object, namespace: str | None) -> bool:
        resource = next(
            (r for r in self._resources.values() if r.kind == owner["kind"] and r.api_version == owner["apiVersion"]),
            None,
        )
        if resource is None:
            return True  # a kind that is not known (yet): not garbage until it is
        found = await self._world.client.find(resource, owner["name"], namespace if resource.namespaced else None)
        return found is not None and found["metadata"]["uid"] == owner["uid"]

    async def _delete(
        self, resource: Resource[Object], obj: Object, policy: Literal["Background", "Foreground"]
    ) -> None:
        namespace, name = _key(obj)
        with contextlib.suppress(NotFound):
            await self._world.client.delete(
                resource,
                name,
                namespace or None,
                preconditions={"uid": obj["metadata"]["uid"]},
                propagation_policy=policy,
            )

    async def _foreground(self, resource: Resource[Object], obj: Object) -> None:
        uid = obj["metadata"]["uid"]
        blocking = 0
        for cache in self._everything():
            for owned in cache.by_index("owner", uid):
                reference = next(o for o in owned["metadata"]["ownerReferences"] if o["uid"] == uid)
                blocking += bool(reference.get("blockOwnerDeletion"))
                if "deletionTimestamp" not in owned["metadata"]:
                    await self._delete(self._resources[_title(cache)], owned, "Foreground")
        if not blocking:
            await self._remove_finalizer(resource, obj, FOREGROUND)

    async def _orphan(self, resource: Resource[Object], obj: Object) -> None:
        uid = obj["metadata"]["uid"]
        for cache in self._everything():
            for owned in cache.by_index("owner", uid):
                namespace, name = _key(owned)
                kept = [owner for owner in owned["metadata"]["ownerReferences"] if owner["uid"] != uid]
                patch = {"metadata": {"ownerReferences": kept or None, "uid": owned["metadata"]["uid"]}}
                with contextlib.suppress(NotFound):
                    await self._world.client.patch(
                        self._resources[_title(cache)], name, patch, namespace=namespace or None
                    )
        await self._remove_finalizer(resource, obj, ORPHAN)

    async def _remove_finalizer(self, resource: Resource[Object], obj: Object, finalizer: str) -> None:
        namespace, name = _key(obj)
        kept = [entry for entry in obj["metadata"]["finalizers"] if entry != finalizer]
        patch = {
            "metadata": {"finalizers": kept or None, "resourceVersion": obj["metadata"]["resourceVersion"]},
        }
        with contextlib.suppress(NotFound):
            await self._world.client.patch(resource, name, patch, namespace=namespace or None)

    def _everything(self) -> list[Cache[Object]]:
        shared = [
            c for c in self._world.caches.values() if _title(c) in self._resources and _title(c) not in self._caches
        ]
        return [*self._caches.values(), *shared]

    def _find(self, title: str, key: Key) -> Object | None:
        cache = self._caches.get(title)
        if cache is None:
            cache = next((c for c in self._world.caches.values() if _title(c) == title), None)
        return None if cache is None else cache.get(key[1], key[0] or None)


async def _all_resources(world: World) -> list[Resource[Object]]:
    """Every kind that can be watched and deleted, of the groups that answer."""
    return [
        resource
        for resource, verbs in (await served(world.client)).resources
        if {"watch", "delete"} <= verbs and (resource.group, resource.plural) not in _LEFT_OUT
    ]


def _title(cache: Cache[Object]) -> str:
    return f"{cache.resource.plural}.{cache.resource.group}"


def _key(obj: Object) -> Key:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def _join(key: Key) -> str:
    return "/".join(key)


def _split(place: str) -> Key:
    namespace, _, name = place.partition("/")
    return namespace, name
