"""What the API server remembers: every object as encoded bytes, and the recent changes for watches.

In: new states of objects from the request handlers. Out: records for reads, and events for watchers, in the order of
one revision sequence for the whole store and only after the journal has them on disk. An object's bytes are its API
JSON, resourceVersion included, so a read copies bytes and builds no objects.
"""

import asyncio
import time
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from tortie.apiserver import errors
from tortie.apiserver.journal import Journal, Row, explain

Key = tuple[str, str]  # namespace ("" when cluster-scoped), name
Object = dict[str, Any]
NO_LABELS: Mapping[str, str] = {}

HISTORY_SECONDS = 300.0
HISTORY_EVENTS = 20_000
HISTORY_BYTES = 48 * 1024 * 1024


class Record:
    """One state of one object. Immutable once stored."""

    __slots__ = ("data", "fields", "key", "labels", "revision")

    def __init__(
        self, key: Key, revision: int, data: bytes, labels: Mapping[str, str], fields: Mapping[str, str]
    ) -> None:
        self.key = key
        self.revision = revision
        self.data = data
        self.labels = labels
        self.fields = fields

    def decode(self) -> Object:
        """A fresh tree of the object, free to change."""
        return msgspec.json.decode(self.data, type=Object)


class Event:
    """One committed change. old None: created; new None: deleted. `encoded` keeps what watchers were sent."""

    __slots__ = ("at", "encoded", "key", "new", "old", "revision")

    def __init__(self, revision: int, key: Key, old: Record | None, new: Record | None, at: float) -> None:
        self.revision = revision
        self.key = key
        self.old = old
        self.new = new
        self.at = at
        self.encoded: dict[Any, bytes] = {}


class Watcher:
    """A queue of events for one watch request. Overflow marks it broken: the client re-lists."""

    __slots__ = ("_wake", "broken", "events", "limit", "reason")

    def __init__(self, limit: int = 20_000) -> None:
        self.events: deque[Event] = deque()
        self.broken = False
        self.reason = ""
        self.limit = limit
        self._wake: asyncio.Future[None] | None = None

    def push(self, event: Event) -> None:
        if len(self.events) >= self.limit:
            self.close("the watcher is too slow")
            return
        self.events.append(event)
        self._signal()

    def close(self, reason: str) -> None:
        """Ends the watch after what is queued; with a reason, the client is told to list again."""
        self.broken = True
        self.reason = reason
        self._signal()

    def _signal(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def wait(self, seconds: float) -> bool:
        """Waits until something is queued or the watch was closed; False when the time ran out."""
        if self.events or self.broken:
            return True
        self._wake = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(seconds):
                await self._wake
        except TimeoutError:
            return False
        finally:
            self._wake = None
        return True


def no_fields(_: Object) -> Mapping[str, str]:
    return NO_LABELS


class Collection:
    """All objects of one stored resource, with the index for ordered lists and the recent history."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.records: dict[Key, Record] = {}
        self.order: list[Key] = []
        self.history: deque[Event] = deque()
        self.watchers: set[Watcher] = set()
        self.index_fields: Callable[[Object], Mapping[str, str]] = no_fields

    def get(self, key: Key) -> Record | None:
        return self.records.get(key)

    def keys(self, namespace: str | None, after: Key | None = None) -> Iterator[Key]:
        """Keys in order; `after` starts behind that key."""
        start = 0 if namespace is None else bisect_left(self.order, (namespace, ""))
        stop = len(self.order) if namespace is None else bisect_left(self.order, (namespace + "\0", ""))
        if after is not None:
            start = max(start, bisect_right(self.order, after))
        for at in range(start, stop):
            yield self.order[at]

    def select(self, namespace: str | None) -> Iterator[Record]:
        """Records of a namespace (None: all), ordered by namespace and name."""
        for key in self.keys(namespace):
            yield self.records[key]

    def at(self, revision: int) -> tuple[dict[Key, Record], list[Key]]:
        """The collection as it was at an older revision that history still reaches."""
        if not self.history or self.history[-1].revision <= revision:
            return self.records, self.order
        records = dict(self.records)
        for event in reversed(self.history):
            if event.revision <= revision:
                break
            if event.old is None:
                records.pop(event.key, None)
            else:
                records[event.key] = event.old
        return records, sorted(records)

    def apply(self, event: Event) -> None:
        if event.new is None:
            if self.records.pop(event.key, None) is not None:
                del self.order[bisect_left(self.order, event.key)]
        else:
            if event.key not in self.records:
                insort(self.order, event.key)
            self.records[event.key] = event.new
        self.history.append(event)


class _Lock:
    __slots__ = ("lock", "users")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0


class Store:
    """The collections, the revision counter, and the way from a change to its durable, visible state."""

    def __init__(self, journal: Journal, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.journal = journal
        self.clock = clock
        self.collections: dict[str, Collection] = {}
        self.revision = 1  # the newest one that readers may see
        self._assigned = 1
        self.compacted = 0
        self.history_bytes = 0
        self.history_events = 0
        self._log: deque[tuple[Collection, Event]] = deque()
        self._locks: dict[tuple[str, Key], _Lock] = {}
        self._advance: set[asyncio.Future[None]] = set()
        self.on_event: list[Callable[[Collection, Event], None]] = []

    def collection(self, name: str) -> Collection:
        """The collection of that name, made on first use."""
        found = self.collections.get(name)
        if found is None:
            found = self.collections[name] = Collection(name)
        return found

    def drop_collection(self, name: str) -> None:
        """Forgets an empty collection (its CustomResourceDefinition is gone)."""
        found = self.collections.get(name)
        if found is not None:
            for watcher in found.watchers:
                watcher.close("the resource is no longer served")

    def load(self) -> None:
        """Rebuilds the memory from the journal; call before `start`."""
        self.compacted = self.journal.compacted()
        now = self.clock()
        revision = max(1, self.compacted)
        for row in self.journal.load():
            revision = max(revision, row.revision)
            collection = self.collection(row.collection)
            key = (row.namespace, row.name)
            old = collection.records.get(key)
            new = None if row.data is None else self._record(collection, key, row.revision, row.data)
            event = Event(row.revision, key, old, new, now)
            collection.apply(event)
            if row.revision <= self.compacted:
                collection.history.pop()
            else:
                self._remember(collection, event)
        self.revision = self._assigned = revision

    def reindex(self, collection: Collection, index_fields: Callable[[Object], Mapping[str, str]]) -> None:
        """Sets how the selectable fields are found, and computes them for what is already loaded."""
        collection.index_fields = index_fields
        for record in collection.records.values():
            record.fields = index_fields(record.decode())

    def _record(self, collection: Collection, key: Key, revision: int, data: bytes) -> Record:
        obj = msgspec.json.decode(data, type=Object)
        labels = obj["metadata"].get("labels") or NO_LABELS
        return Record(key, revision, data, labels, collection.index_fields(obj))

    @asynccontextmanager
    async def lock(self, collection: Collection, key: Key) -> AsyncIterator[None]:
        """Serialises read-modify-write of one object."""
        place = (collection.name, key)
        entry = self._locks.get(place)
        if entry is None:
            entry = self._locks[place] = _Lock()
        entry.users += 1
        try:
            async with entry.lock:
                yield
        finally:
            entry.users -= 1
            if not entry.users:
                del self._locks[place]

    async def put(self, collection: Collection, key: Key, obj: Object) -> Record:
        """Stores a new state and returns it once it is durable and visible. The caller holds the key's lock."""
        self._assigned += 1
        revision = self._assigned
        obj["metadata"]["resourceVersion"] = str(revision)
        data = msgspec.json.encode(obj)
        labels = obj["metadata"].get("labels") or NO_LABELS
        record = Record(key, revision, data, labels, collection.index_fields(obj))
        await self._commit(collection, key, record, revision)
        return record

    async def remove(self, collection: Collection, key: Key) -> int:
        """Removes the object; returns the revision of the deletion. The caller holds the key's lock."""
        self._assigned += 1
        revision = self._assigned
        await self._commit(collection, key, None, revision)
        return revision

    async def _commit(self, collection: Collection, key: Key, record: Record | None, revision: int) -> None:
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(error: Exception | None) -> None:
            if error is None:
                self._apply(collection, Event(revision, key, collection.records.get(key), record, self.clock()))
            if waiting.done():
                return  # the client went away; its write is in the log all the same
            if error is None:
                waiting.set_result(None)
            else:
                text = explain(error, self.journal.path)
                waiting.set_exception(errors.internal(f"the change was not stored: {text}; reading still works"))

        row = Row(revision, collection.name, key[0], key[1], None if record is None else record.data)
        self.journal.write((row,), done)
        await asyncio.shield(waiting)

    def _apply(self, collection: Collection, event: Event) -> None:
        collection.apply(event)
        self.revision = event.revision
        self._remember(collection, event)
        for watcher in tuple(collection.watchers):
            watcher.push(event)
        for listener in self.on_event:
            listener(collection, event)
        for future in self._advance:
            if not future.done():
                future.set_result(None)

    def _remember(self, collection: Collection, event: Event) -> None:
        self._log.append((collection, event))
        self.history_events += 1
        self.history_bytes += len(event.new.data) if event.new else 0

    def compact(self) -> None:
        """Forgets history that is too old or too much, in memory now and on disk soon."""
        horizon = self.clock() - HISTORY_SECONDS
        dropped: list[int] = []
        upto = 0
        while self._log:
            collection, event = self._log[0]
            if event.at > horizon and self.history_events <= HISTORY_EVENTS and self.history_bytes <= HISTORY_BYTES:
                break
            self._log.popleft()
            self.history_events -= 1
            self.history_bytes -= len(event.new.data) if event.new else 0
            if collection.history and collection.history[0] is event:
                collection.history.popleft()
            upto = event.revision
            if event.old is not None:
                dropped.append(event.old.revision)
            if event.new is None:
                dropped.append(event.revision)
        if upto:
            self.compacted = upto
            self.journal.compact(upto, dropped)

    async def reach(self, revision: int, seconds: float) -> bool:
        """Waits until readers see `revision`; False when the time ran out."""
        try:
            async with asyncio.timeout(seconds):
                while self.revision < revision:
                    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                    self._advance.add(future)
                    try:
                        await future
                    finally:
                        self._advance.discard(future)
        except TimeoutError:
            return False
        return True

    def watch(self, collection: Collection, revision: int) -> tuple[Watcher, list[Event]]:
        """A registered watcher, and the past events after `revision`. The caller checks `revision` >= compacted."""
        watcher = Watcher()
        collection.watchers.add(watcher)
        past: list[Event] = []
        for event in reversed(collection.history):
            if event.revision <= revision:
                break
            past.append(event)
        past.reverse()
        return watcher, past

    def unwatch(self, collection: Collection, watcher: Watcher) -> None:
        collection.watchers.discard(watcher)

    def statistics(self) -> dict[str, int]:
        """Counts for metrics and diagnostics."""
        return {
            "objects": sum(len(c.records) for c in self.collections.values()),
            "bytes": sum(len(r.data) for c in self.collections.values() for r in c.records.values()),
            "watchers": sum(len(c.watchers) for c in self.collections.values()),
            "history_events": self.history_events,
            "history_bytes": self.history_bytes,
            "revision": self.revision,
            "compacted": self.compacted,
            "commits": self.journal.commits,
        }
