"""One resource of the API server behind, mirrored as v3 records.

In: the stored objects that a `Cache` reports. Out: records and events for the collection that requests read. The order
of events is that of the server behind; where it is unknown (the cache had to list again), watches end, so that their
clients list again too.

A policy of tier default may be stored under `default.NAME` (until 3.32) or NAME, for a while under both; the newer
form is shown.
"""

from typing import Any

import msgspec

from tortie.apiserver.memory import Memory
from tortie.apiserver.records import Collection, Event, Key, Object, Record
from tortie.kube.cache import Cache
from tortie.kube.client import Client
from tortie.kube.objects import key_of, resource_version
from tortie.model.packing import PackingError, storage_names, storage_resource, unpack
from tortie.model.resource import Resource
from tortie.service.log import Throttle, get_logger

_ABSENT_RETRY = 3.0
_log = get_logger("apiserver.aggregated")


class Mirror:
    """resource: as it is served. floor: the oldest revision from which a watch can go on."""

    def __init__(self, client: Client, memory: Memory, resource: Resource[Any]) -> None:
        self.resource = resource
        self.stored: Resource[Any] = storage_resource(resource)
        self.collection: Collection = memory.collection(f"{resource.group}/{resource.plural}")
        self.floor = 0
        self._memory = memory
        self._newest = 0
        self._objects: dict[Key, dict[str, Object]] = {}
        self._keys: dict[Key, Key] = {}  # stored (namespace, name) -> where it shows
        self._throttle = Throttle(period=30.0)
        self.cache: Cache[dict[str, Any]] = Cache(
            client,
            self.stored,
            on_event=self._changed,
            on_status=lambda status: self._became_synced() if status == "synced" else None,
            absent_retry=_ABSENT_RETRY,
        )

    # --- reading -----------------------------------------------------------------------------------------------

    @property
    def newest(self) -> int:
        """The revision that the collection reflects."""
        version = self.cache.resource_version
        return max(self._newest, int(version) if version.isdecimal() else 0, 1)

    @property
    def served(self) -> bool:
        """Whether the server behind has the resource at all."""
        return not self.cache.absent

    def object(self, key: Key) -> Object | None:
        """The stored object that is shown as the v3 object of that name."""
        found = self._objects.get(key)
        return self._chosen(key, found) if found else None

    def version(self, key: Key, stored_name: str) -> int:
        """The revision of a stored object, 0 if there is none."""
        found = self._objects.get(key, {}).get(stored_name)
        return int(resource_version(found)) if found is not None else 0

    def versions_of(self, place: Key) -> int:
        """The revision of a stored object by (namespace, stored name), 0 if there is none."""
        key = self._keys.get(place)
        return self.version(key, place[1]) if key is not None else 0

    def versions(self) -> dict[tuple[str, str], int]:
        """The revision of every stored object by (namespace, name)."""
        return {
            (key[0], name): int(resource_version(obj))
            for key, found in self._objects.items()
            for name, obj in found.items()
        }

    def record(self, stored: Object) -> Record:
        """The v3 record of a stored object. Raises PackingError."""
        obj = unpack(self.resource, stored)
        meta = obj["metadata"]
        key = (meta.get("namespace", ""), meta["name"])
        return self.collection.record(key, int(meta["resourceVersion"]), msgspec.json.encode(obj), obj)

    # --- following ---------------------------------------------------------------------------------------------

    def _changed(self, _change: str, old: Object | None, new: Object | None) -> None:
        stored = new if new is not None else old
        if stored is None:
            return
        place = key_of(stored)
        known = self._keys.get(place)
        key: Key | None = None
        if new is not None:
            try:
                key = self.record(new).key
            except (PackingError, ValueError, TypeError, KeyError, AttributeError) as error:
                self._spoiled(place, error)
        revision = int(resource_version(stored) or 0)
        if known is not None and known != key:
            self._place(known, place, None, revision)
        if key is not None:
            self._place(key, place, new, revision)

    def _place(self, key: Key, place: Key, new: Object | None, revision: int) -> None:
        """A stored object shows, or no longer shows, under a name; `new` None: the latter."""
        before = self.collection.get(key)
        found = self._objects.setdefault(key, {})
        if new is None:
            found.pop(place[1], None)
            self._keys.pop(place, None)
        else:
            found[place[1]] = new
            self._keys[place] = key
        after = self.record(self._chosen(key, found)) if found else None
        if not found:
            del self._objects[key]
        if before is None and after is None:
            return
        if not self.cache.synced:
            self.collection.apply(Event(revision, key, before, after, 0.0))
            self.collection.history.clear()
            return
        if revision <= self._newest:
            self._gap()
            revision = self._newest + 1
        self._newest = revision
        self._memory.show(self.collection, Event(revision, key, before, after, self._memory.clock()))

    def _chosen(self, key: Key, found: dict[str, Object]) -> Object:
        for name in storage_names(self.resource, key[1]):
            if name in found:
                return found[name]
        return next(iter(found.values()))

    def _spoiled(self, place: Key, error: Exception) -> None:
        suppressed = self._throttle.allow(self.resource.plural)
        if suppressed is not None:
            _log.error(
                "stored object cannot be read; treated as absent",
                resource=self.stored.plural,
                namespace=place[0],
                name=place[1],
                error=str(error),
                suppressed=suppressed,
            )

    def _became_synced(self) -> None:
        self._newest = max(self._newest, self.newest)
        self.floor = self._newest

    def _gap(self) -> None:
        """The history has a hole here: nobody may follow it across."""
        self.collection.history.clear()
        self.floor = max(self.floor, self._newest)
        failed = not self.served
        reason = "the resource is no longer served behind" if failed else "changes of a while are unknown"
        for watcher in tuple(self.collection.watchers):
            watcher.close(reason, failed=failed)
