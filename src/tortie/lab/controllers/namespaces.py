"""Namespaces that are being deleted: removes everything in them, then lets them go.

In: namespaces with a deletion timestamp. Out: deletions of every kind that discovery lists; the finalizer `kubernetes`
removed when nothing is left; conditions that say what remains.
"""

import asyncio
import json

from tortie.kube.errors import ApiError, NotFound
from tortie.lab.controllers.world import Key, Object, Queue, World
from tortie.model.catalog import NAMESPACES
from tortie.model.resource import Resource

_AGAIN = 0.15


class Namespaces:
    def __init__(self, world: World) -> None:
        self._world = world
        self._namespaces = world.cache(NAMESPACES)
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
        resources = await namespaced_resources(self._world)
        remaining = await asyncio.gather(*(self._empty(resource, key[1]) for resource in resources))
        left = {resource.plural: count for resource, count in zip(resources, remaining, strict=True) if count}
        if left:
            self.queue.add_later(key, _AGAIN)
            return
        body = {**namespace, "spec": {"finalizers": []}}
        try:
            await self._world.client.raw("PUT", NAMESPACES.path(name=key[1], subresource="finalize"), body=body)
        except NotFound:
            return

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
