"""Namespaces that are being deleted: removes everything in them, then lets them go.

In: namespaces with a deletion timestamp. Out: deletions of every kind that discovery lists, aggregated ones included;
the finalizer `kubernetes` removed when nothing is left anywhere; conditions that say what remains, or whose server does
not answer.
"""

import asyncio
import contextlib

from tortie.kube.errors import ApiError, NotFound
from tortie.lab.controllers.discovery import served
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
        resources, unknown = await namespaced_resources(self._world)
        counts = await asyncio.gather(*(self._empty(r, key[1]) for r in resources), return_exceptions=True)
        left, refused = {}, {}
        for resource, count in zip(resources, counts, strict=True):
            if isinstance(count, ApiError):
                refused[resource.plural] = count.message or str(count)
            elif isinstance(count, BaseException):
                raise count
            elif count:
                left[resource] = count
        if left or unknown or refused:
            healthy = not (unknown or refused)
            if healthy:
                self._left[key[1]] = (list(left), _FIRST)
            self.queue.add_later(key, _FIRST if healthy else _LAST)
            await self._say_what_remains(namespace, {r.plural: n for r, n in left.items()}, unknown, refused)
            return
        body = {**namespace, "spec": {"finalizers": []}}
        try:
            await self._world.client.raw("PUT", NAMESPACES.path(name=key[1], subresource="finalize"), body=body)
        except NotFound:
            return

    async def _empty_all(self, resources: list[Resource[Object]], namespace: str) -> list[int]:
        return await asyncio.gather(*(self._empty(resource, namespace) for resource in resources))

    async def _say_what_remains(
        self, namespace: Object, left: dict[str, int], unknown: dict[str, str], refused: dict[str, str]
    ) -> None:
        status = {"status": {"conditions": new_conditions(namespace, *conditions(left, unknown, refused))}}
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


def conditions(
    left: dict[str, int], unknown: dict[str, str], refused: dict[str, str]
) -> list[tuple[str, str, str, str]]:
    """What a namespace that cannot go yet says about it: type, status, reason, message."""
    found = [
        ("NamespaceDeletionDiscoveryFailure", "False", "ResourcesDiscovered", "All resources successfully discovered"),
        (
            "NamespaceDeletionContentFailure",
            "False",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ),
        ("NamespaceContentRemaining", "False", "ContentRemoved", "All content successfully removed"),
    ]
    if unknown:
        parts = ", ".join(f"{name}: {why}" for name, why in sorted(unknown.items()))
        message = f"Discovery failed for some groups, {len(unknown)} failing: {parts}"
        found[0] = (found[0][0], "True", "DiscoveryFailed", message)
    if refused:
        parts = ", ".join(f"{name}: {why}" for name, why in sorted(refused.items()))
        message = f"Failed to delete all resource types, {len(refused)} remaining: {parts}"
        found[1] = (found[1][0], "True", "ContentDeletionFailed", message)
    if left:
        parts = ", ".join(f"{plural} has {count} resource instances" for plural, count in sorted(left.items()))
        found[2] = (found[2][0], "True", "SomeResourcesRemain", f"Some resources are remaining: {parts}")
    return found


async def namespaced_resources(world: World) -> tuple[list[Resource[Object]], dict[str, str]]:
    """Every namespaced kind that can be listed and deleted, as discovery says now, and the groups it cannot tell of."""
    found = await served(world.client)
    # Events are in two groups and need one deletion.
    resources = [
        resource
        for resource, verbs in found.resources
        if resource.namespaced
        and {"list", "deletecollection"} <= verbs
        and (resource.group, resource.plural) != ("events.k8s.io", "events")
    ]
    return resources, found.failed
