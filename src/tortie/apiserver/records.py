"""The units of the API server's memory: a state of an object, a change, a watcher's queue, a collection with its order.

In: states and changes from whoever stores them (`store` for the embedded server). Out: records for reads, events for
watches. An object's bytes are its API JSON, resourceVersion included, so a read copies bytes and builds no objects.
"""

import asyncio
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

Key = tuple[str, str]  # namespace ("" when cluster-scoped), name
Object = dict[str, Any]
IndexFields = Callable[[Object], Mapping[str, str]]
NO_LABELS: Mapping[str, str] = {}


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

    __slots__ = ("_wake", "broken", "events", "failed", "limit", "reason")

    def __init__(self, limit: int = 20_000) -> None:
        self.events: deque[Event] = deque()
        self.broken = False
        self.failed = False
        self.reason = ""
        self.limit = limit
        self._wake: asyncio.Future[None] | None = None

    def push(self, event: Event) -> None:
        if len(self.events) >= self.limit:
            self.close("the watcher is too slow")
            return
        self.events.append(event)
        self._signal()

    def close(self, reason: str, *, failed: bool = False) -> None:
        """Ends the watch after what is queued; with a reason, the client is told to list again, or if it is the
        server that failed, so."""
        self.broken = True
        self.failed = failed
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


class _Metadata(msgspec.Struct):
    labels: dict[str, str] | None = None


class _Head(msgspec.Struct):
    metadata: _Metadata


_decode_head = msgspec.json.Decoder(_Head).decode


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
        self.index_fields: IndexFields = no_fields

    @property
    def group(self) -> str:
        return self.name.partition("/")[0]

    @property
    def plural(self) -> str:
        return self.name.partition("/")[2]

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

    def read(self, key: Key, revision: int, data: bytes) -> Record:
        """A record from its encoded form; without selectable fields only the labels are decoded."""
        if self.index_fields is no_fields:
            return Record(key, revision, data, _decode_head(data).metadata.labels or NO_LABELS, NO_LABELS)
        return self.record(key, revision, data, msgspec.json.decode(data, type=Object))

    def record(self, key: Key, revision: int, data: bytes, obj: Object) -> Record:
        """A record of this collection, indexed, for `obj` and its encoded form."""
        return Record(key, revision, data, obj["metadata"].get("labels") or NO_LABELS, self.index_fields(obj))

    def apply(self, event: Event) -> None:
        if event.new is None:
            if self.records.pop(event.key, None) is not None:
                del self.order[bisect_left(self.order, event.key)]
        else:
            if event.key not in self.records:
                insort(self.order, event.key)
            self.records[event.key] = event.new
        self.history.append(event)
