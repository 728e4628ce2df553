"""A storage whose objects another API server keeps, in crd.projectcalico.org/v1.

In: reads and changes from the REST machinery, in v3; the objects of the server behind, through `mirror`. Out: changes
sent to the server behind, packed (`model.packing`); a change is answered when the mirror shows it. A server behind
that is away, late or without the CustomResourceDefinitions makes requests fail with a Status (`refusals`), never hang.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from tortie.apiserver import errors
from tortie.apiserver.aggregated import refusals
from tortie.apiserver.aggregated.mirror import Mirror
from tortie.apiserver.memory import Memory, Window
from tortie.apiserver.records import Collection, Key, Object, Record
from tortie.kube.client import Client
from tortie.kube.errors import ApiError, NotFound
from tortie.kube.objects import BareObject, resource_version, uid_of
from tortie.model.packing import PackingError, pack, storage_names
from tortie.model.resource import Resource

T = TypeVar("T")
_TRIM_SECONDS = 15.0


class Backend(Memory):
    """resources: what is mirrored. seconds: how long a request waits for the mirror at most."""

    def __init__(
        self,
        client: Client,
        resources: Iterable[Resource[Any]],
        *,
        seconds: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
        window: Window | None = None,
    ) -> None:
        super().__init__(clock=clock, window=window)
        self.client = client
        self._seconds = seconds
        self._began = 0
        self._closed = False
        self._mirrors: dict[str, Mirror] = {}
        self._listing: dict[str, asyncio.Future[None]] = {}
        for resource in resources:
            mirror = Mirror(client, self, resource)
            self._mirrors[mirror.collection.name] = mirror

    async def run(self) -> None:
        """Follows the server behind until cancelled."""
        async with asyncio.TaskGroup() as group:
            for mirror in self._mirrors.values():
                group.create_task(mirror.cache.run(), name=f"mirror of {mirror.stored.plural}")
            while True:
                await asyncio.sleep(_TRIM_SECONDS)
                self.trim()

    async def wait_synced(self) -> None:
        """Returns once everything has been seen."""
        for mirror in self._mirrors.values():
            await mirror.cache.wait_synced()
        self.revision = self._began = max(mirror.newest for mirror in self._mirrors.values())

    @property
    def waiting_for(self) -> list[str]:
        """What has not been seen yet."""
        return [mirror.stored.plural for mirror in self._mirrors.values() if not mirror.cache.synced]

    # --- revisions ---------------------------------------------------------------------------------------------

    def newest(self, collection: Collection) -> int:
        mirror = self._mirrors.get(collection.name)
        return mirror.newest if mirror is not None else self.revision

    def oldest(self, collection: Collection) -> int:
        mirror = self._mirrors.get(collection.name)
        return max(self.compacted, mirror.floor if mirror is not None else self._began)

    async def fresh(self, collection: Collection, key: Key | None = None) -> None:
        mirror = self._mirrors.get(collection.name)
        if mirror is None:
            return
        await self._ready(mirror)
        if key is None:
            await self._fresh_all(mirror)
            return
        names = storage_names(mirror.resource, key[1])
        shown = [name for name in names if mirror.version(key, name)]
        for name in shown or names:
            if await self._fresh_one(mirror, key, name):
                return

    async def _fresh_one(self, mirror: Mirror, key: Key, name: str) -> bool:
        """Waits until the mirror is as new as one stored object; False if there is none of that name."""
        before = mirror.version(key, name)
        found = await self._send(mirror, key, self.client.find(mirror.stored, name, key[0] or None))
        if found is not None:
            version = int(resource_version(found))
            await self._until(mirror, lambda: mirror.version(key, name) >= version)
        elif before:
            await self._until(mirror, lambda: mirror.version(key, name) != before)
        return found is not None

    async def _fresh_all(self, mirror: Mirror) -> None:
        """One listing serves everybody who asked before it began."""
        name = mirror.collection.name
        under_way = self._listing.get(name)
        if under_way is not None:
            await asyncio.wait((under_way,))
            if (later := self._listing.get(name)) is not None:
                await asyncio.wait((later,))
                if later.done() and not later.exception():
                    return
        mine = asyncio.ensure_future(self._compare(mirror))
        self._listing[name] = mine
        try:
            await asyncio.shield(mine)
        finally:
            if self._listing.get(name) is mine:
                del self._listing[name]

    async def _compare(self, mirror: Mirror) -> None:
        """Waits until the mirror shows what a list of the server behind showed."""
        bare: Resource[BareObject] = _bare(mirror.stored)
        try:
            listed = await self.client.list(bare)
        except NotFound as error:
            raise refusals.absent(mirror.resource) from error
        except ApiError as error:
            raise refusals.translate(error, mirror.resource, ("", "")) from error
        at = int(listed.resource_version)
        wanted = {
            (item.metadata.namespace, item.metadata.name): int(item.metadata.resource_version) for item in listed.items
        }

        def caught_up() -> bool:
            if mirror.newest >= at:
                return True
            have = mirror.versions()
            if any(have.get(place, 0) < version for place, version in wanted.items()):
                return False
            return all(place in wanted or version > at for place, version in have.items())

        await self._until(mirror, caught_up)

    async def require(self, collection: Collection) -> None:
        """Raises StatusError 503 unless the collection is known: what is not known yet must not look empty."""
        mirror = self._mirrors.get(collection.name)
        if mirror is not None:
            await self._ready(mirror)
        elif not self._began:
            raise errors.unavailable(f"{collection.plural} are not known yet")

    # --- changes -----------------------------------------------------------------------------------------------

    async def put(self, collection: Collection, key: Key, obj: Object) -> Record:
        mirror = await self._for_change(collection)
        meta = obj["metadata"]
        if meta.get("resourceVersion"):
            stored = await self._replace(mirror, key, obj)
        else:
            new = {**obj, "metadata": {k: v for k, v in meta.items() if k not in {"uid", "creationTimestamp"}}}
            stored = await self._send(mirror, key, self.client.create(mirror.stored, self._packed(mirror, new)))
        stored = await self._with_status(mirror, key, obj, stored)
        try:
            record = mirror.record(stored)
        except PackingError as error:
            raise errors.internal(f"the stored object cannot be read: {error}") from error
        await self._seen(mirror, stored)
        obj.clear()
        obj.update(record.decode())
        return record

    async def _replace(self, mirror: Mirror, key: Key, obj: Object) -> Object:
        current = mirror.object(key)
        if current is None:
            raise errors.not_found(mirror.resource.group, mirror.resource.plural, key[1])
        name = current["metadata"]["name"]
        packed = self._packed(mirror, obj, stored_name=name)
        marked = obj["metadata"].get("deletionTimestamp") and not current["metadata"].get("deletionTimestamp")
        stored: Object = await self._send(mirror, key, self.client.update(mirror.stored, packed))
        if marked:  # only a deletion can mark an object; what must stay has finalizers by now
            conditions = {"uid": uid_of(stored), "resourceVersion": resource_version(stored)}
            await self._send(
                mirror, key, self.client.delete(mirror.stored, name, key[0] or None, preconditions=conditions)
            )
            stored = await self._send(mirror, key, self.client.get(mirror.stored, name, key[0] or None))
        return stored

    def _packed(self, mirror: Mirror, obj: Object, *, stored_name: str | None = None) -> Object:
        try:
            packed: Object = pack(mirror.resource, obj, stored_name=stored_name)
            return packed
        except PackingError as error:
            raise errors.bad_request(str(error)) from error

    async def _with_status(self, mirror: Mirror, key: Key, obj: Object, stored: Object) -> Object:
        """The server behind may keep the status apart: then it takes a write of its own."""
        if not mirror.resource.facts.status or stored.get("status") == obj.get("status"):
            return stored
        wanted = {**stored, "status": obj.get("status") or {}}
        return await self._send(mirror, key, self.client.update(mirror.stored, wanted, "status"))

    async def remove(self, collection: Collection, key: Key, expected: int = 0) -> int:
        mirror = await self._for_change(collection)
        current = mirror.object(key)
        if current is None:
            raise errors.not_found(collection.group, collection.plural, key[1])
        name, uid = current["metadata"]["name"], uid_of(current)
        if current["metadata"].get("deletionTimestamp") and current["metadata"].get("finalizers"):
            await self._send(mirror, key, self.client.update(mirror.stored, _unheld(current)))
        else:
            conditions = {"uid": uid, **({"resourceVersion": str(expected)} if expected else {})}
            await self._send(
                mirror, key, self.client.delete(mirror.stored, name, key[0] or None, preconditions=conditions)
            )

        def gone() -> bool:
            now = mirror.object(key)
            return now is None or uid_of(now) != uid or bool(now["metadata"].get("deletionTimestamp"))

        await self._until(mirror, gone)
        return mirror.newest

    async def close(self) -> None:
        """Takes no more changes; `run` is ended by whoever began it."""
        self._closed = True

    async def _for_change(self, collection: Collection) -> Mirror:
        if self._closed:
            raise errors.unavailable("the server is stopping")
        mirror = self._mirrors.get(collection.name)
        if mirror is None:
            raise errors.method_not_allowed()
        await self._ready(mirror)
        return mirror

    async def _send(self, mirror: Mirror, key: Key, request: Awaitable[T]) -> T:
        try:
            return await request
        except ApiError as error:
            raise refusals.translate(error, mirror.resource, key) from error

    async def _seen(self, mirror: Mirror, stored: Object) -> None:
        place = (stored["metadata"].get("namespace", ""), stored["metadata"]["name"])
        version = int(resource_version(stored))
        await self._until(mirror, lambda: mirror.versions_of(place) >= version or mirror.newest >= version)

    # --- waiting -----------------------------------------------------------------------------------------------

    async def _ready(self, mirror: Mirror) -> None:
        """Raises StatusError 503 if the resource has not been seen (yet)."""
        if not mirror.cache.synced:
            try:
                async with asyncio.timeout(self._seconds):
                    await mirror.cache.wait_synced()
            except TimeoutError:
                raise errors.unavailable(
                    f"{mirror.resource.plural} are not known yet: the API server that keeps them does not answer"
                ) from None
        if not mirror.served:
            raise refusals.absent(mirror.resource)

    async def _until(self, mirror: Mirror, condition: Callable[[], bool]) -> None:
        """Waits for the mirror. Raises StatusError 504 when it lags behind too long."""
        if not await self.until(condition, self._seconds):
            raise refusals.late(f"the mirror of {mirror.stored.plural} lags behind the API server")

    def statistics(self) -> dict[str, int]:
        """Counts for metrics and diagnostics."""
        mirrors = self._mirrors.values()
        return {
            **super().statistics(),
            "mirrors": len(mirrors),
            "mirrors_not_synced": len(self.waiting_for),
            "lists_total": sum(int(m.cache.statistics()["lists_total"]) for m in mirrors),
            "failures_total": sum(int(m.cache.statistics()["failures_total"]) for m in mirrors),
        }


def _bare(stored: Resource[Any]) -> Resource[BareObject]:
    return Resource(stored.group, stored.version, stored.kind, stored.plural, stored.namespaced, BareObject)


def _unheld(stored: Object) -> Object:
    """The stored object without what keeps it from going."""
    meta = {field: value for field, value in stored["metadata"].items() if field != "finalizers"}
    return {**stored, "metadata": meta}
