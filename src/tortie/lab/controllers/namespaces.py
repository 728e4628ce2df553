"""Namespaces that are being deleted: removes everything in them, then lets them go.

In: namespaces with a deletion timestamp. Out: deletions of every kind that discovery lists; the finalizer `kubernetes`
removed when nothing is left; conditions that say what remains.
"""

import asyncio
import contextlib
import json

from tortie.kube.errors import ApiError, NotFound
from tortie.lab.controllers.world import Key, Object, Queue, World, new_conditions
from tortie.model.catalog import NAMESPACES
from tortie.model.resource import Resource

_FIRST, _LAST = 0.05, 1.0


class Namespaces:
    def __init__(self, world: World) -> None:
        self._world = world
        self._namespaces = world.cache(NAMESPACES)
        # What was left of a namespace at the last look, and how long to wait for the next one.
        self._left: dict[str, tuple[list[Resource[Object]], float]] = {}
        self.queue = Queue("namespace", self._reconcile)
        world.watch(self._namespaces, self._changed)

    def _changed(self, _old: Object | None, new: Object | None) -> None:
        if new is not None and "deletionTimestamp" in new["metadata"]:
            self.queue.add(("", new["metadata"]["name"]))

    async def _reconcile(self, key: Key) -> None:
        namespace = self._namespaces.get(key[1])
        if namespace is None or "deletionTimestamp" not in namespace["metadata"]:
            return
        if "kubernetes" not in namespace.get("spec", {}).get("finalizers", ()):
            return
        before, pause = self._left.pop(key[1], ([], _FIRST))
        if before and sum(await self._empty_all(before, key[1])):
            # Only when the kinds that had something left are empty is it worth asking about all the others again.
            self._left[key[1]] = (before, min(_LAST, pause * 1.5))
            self.queue.add_later(key, pause)
            return
        resources = await namespaced_resources(self._world)
        counts = await self._empty_all(resources, key[1])
        left = [resource for resource, count in zip(resources, counts, strict=True) if count]
        if left:
            self._left[key[1]] = (left, _FIRST)
            self.queue.add_later(key, _FIRST)
            await self._say_what_remains(namespace, {r.plural: n for r, n in zip(resources, counts, strict=True) if n})
            return
        body = {**namespace, "spec": {"finalizers": []}}
        try:
            await self._world.client.raw("PUT", NAMESPACES.path(name=key[1], subresource="finalize"), body=body)
        except NotFound:
            return

    async def _empty_all(self, resources: list[Resource[Object]], namespace: str) -> list[int]:
        return await asyncio.gather(*(self._empty(resource, namespace) for resource in resources))

    async def _say_what_remains(self, namespace: Object, left: dict[str, int]) -> None:
        parts = ", ".join(f"{plural} has {count} resource instances" for plural, count in sorted(left.items()))
        message = f"Some resources are remaining: {parts}"
        wanted = ("NamespaceContentRemaining", "True", "SomeResourcesRemain", message)
        status = {"status": {"conditions": new_conditions(namespace, wanted)}}
        with contextlib.suppress(NotFound):
            await self._world.client.patch(
                NAMESPACES.untyped(), namespace["metadata"]["name"], status, subresource="status"
            )

    async def _empty(self, resource: Resource[Object], namespace: str) -> int:
        """Deletes every object of a kind in the namespace; returns how many are still there."""
        try:
            listed = (await self._world.client.list(resource, namespace)).items
            if not listed:
                return 0
            if any("deletionTimestamp" not in item["metadata"] for item in listed):
                await self._world.client.raw(
                    "DELETE",
                    resource.path(namespace),
                    body={"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"},
                )
                listed = (await self._world.client.list(resource, namespace)).items
        except NotFound:
            return 0
        except ApiError as error:
            if error.status == 405:
                return 0
            raise
        return len(listed)


async def namespaced_resources(world: World) -> list[Resource[Object]]:
    """Every namespaced kind that can be listed and deleted, as discovery says now."""
    paths = ["/api/v1"]
    groups = json.loads(await world.client.raw("GET", "/apis"))["groups"]
    paths += [f"/apis/{group['preferredVersion']['groupVersion']}" for group in groups]
    found: list[Resource[Object]] = []
    for path, body in zip(paths, await asyncio.gather(*(world.client.raw("GET", p) for p in paths)), strict=True):
        group, _, version = path.removeprefix("/apis/").removeprefix("/api/").rpartition("/")
        for entry in json.loads(body)["resources"]:
            verbs = entry.get("verbs", ())
            if entry["namespaced"] and "/" not in entry["name"] and "list" in verbs and "deletecollection" in verbs:
                found.append(
                    Resource(
                        group=group,
                        version=version,
                        kind=entry["kind"],
                        plural=entry["name"],
                        namespaced=True,
                        type=dict,
                    )
                )
    # Owners before what they own, so that nothing is created again; Events are in two groups and need one deletion.
    return [r for r in found if (r.group, r.plural) != ("events.k8s.io", "events")]
