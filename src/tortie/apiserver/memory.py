"""The half of a storage that every backend shares: collections in memory, locks of keys, the watch window, watchers.

In: changes from a backend, through `show`, in order of revisions. Out: reads, and the recent changes for watches:
a window bounded by age, number and size. Backends derive from `Memory` and add `put`, `remove`, `fresh` and `close`.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import chain

from tortie.apiserver import errors
from tortie.apiserver.records import Collection, Event, IndexFields, Key, Object, Record, Watcher
from tortie.apiserver.storage import Listener


@dataclass(frozen=True, slots=True)
class Window:
    """How much of the past is kept for watches that resume: whichever bound is met first."""

    seconds: float = 300.0
    events: int = 20_000
    size: int = 48 * 1024 * 1024


class _Lock:
    __slots__ = ("lock", "users")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0


class Memory:
    """The collections, the newest visible revision, and the recent changes."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, window: Window | None = None) -> None:
        self.clock = clock
        self.window = window or Window()
        self.collections: dict[str, Collection] = {}
        self.revision = 1  # the newest one that readers may see
        self.compacted = 0
        self.history_bytes = 0
        self.history_events = 0
        self.on_event: list[Listener] = []
        self._log: deque[tuple[Collection, Event]] = deque()
        self._locks: dict[tuple[str, Key], _Lock] = {}
        self._unfinished: dict[tuple[str, Key], asyncio.Future[None]] = {}
        self._advance: set[asyncio.Future[None]] = set()

    def newest(self, collection: Collection) -> int:
        """All collections move together here."""
        return self.revision

    def oldest(self, collection: Collection) -> int:
        return self.compacted

    def collection(self, name: str) -> Collection:
        """The collection of that name, made on first use."""
        found = self.collections.get(name)
        if found is None:
            found = self.collections[name] = Collection(name)
        return found

    def drop_collection(self, name: str) -> None:
        """Ends the watches of a collection (its CustomResourceDefinition is gone)."""
        found = self.collections.get(name)
        if found is not None:
            for watcher in tuple(found.watchers):
                watcher.close("the resource is no longer served")

    def reindex(self, collection: Collection, index_fields: IndexFields) -> None:
        """Sets how the selectable fields are found, and computes them for what is already loaded, the past included."""
        collection.index_fields = index_fields
        past = (record for event in collection.history for record in (event.old, event.new) if record is not None)
        for record in {id(r): r for r in chain(collection.records.values(), past)}.values():
            record.fields = index_fields(record.decode())

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
                unfinished = self._unfinished.get(place)
                if unfinished is not None:  # of a request that was given up while its write was under way
                    await asyncio.wait((unfinished,))
                yield
        finally:
            entry.users -= 1
            if not entry.users:
                del self._locks[place]

    async def settle(self, collection: Collection, key: Key, done: "asyncio.Future[None]") -> None:
        """Waits for a write; if the request is given up meanwhile, the next holder of the key's lock waits for it."""
        try:
            await asyncio.shield(done)
        except asyncio.CancelledError:
            if not done.done():
                place = (collection.name, key)
                self._unfinished[place] = done
                done.add_done_callback(lambda over: (self._unfinished.pop(place, None), over.exception()))
            raise

    def expect(self, collection: Collection, key: Key, obj: Object) -> Record | None:
        """The state that `put` of this object replaces; None creates it. Raises StatusError 404 or 409."""
        given = obj["metadata"].get("resourceVersion")
        have = collection.records.get(key)
        if have is None:
            if given:
                raise errors.not_found(collection.group, collection.plural, key[1])
            return None
        if not given:
            raise errors.already_exists(collection.group, collection.plural, key[1])
        if str(have.revision) != given:
            raise errors.conflict(collection.group, collection.plural, key[1])
        return have

    def expect_removal(self, collection: Collection, key: Key, expected: int) -> Record:
        """The state that `remove` ends. Raises StatusError 404 or 409."""
        have = collection.records.get(key)
        if have is None:
            raise errors.not_found(collection.group, collection.plural, key[1])
        if expected and have.revision != expected:
            raise errors.conflict(collection.group, collection.plural, key[1])
        return have

    def show(self, collection: Collection, event: Event) -> None:
        """Makes a change visible to readers, watchers and listeners."""
        collection.apply(event)
        self.revision = max(self.revision, event.revision)
        self.remember(collection, event)
        for watcher in tuple(collection.watchers):
            watcher.push(event)
        for listener in self.on_event:
            listener(collection, event)
        self.advanced()

    def advanced(self) -> None:
        """Lets those look again who wait in `reach`."""
        for future in self._advance:
            if not future.done():
                future.set_result(None)

    def remember(self, collection: Collection, event: Event) -> None:
        """Counts a change that `Collection.apply` put into the history."""
        self._log.append((collection, event))
        self.history_events += 1
        self.history_bytes += len(event.new.data) if event.new else 0

    def exceeds(self, times: float) -> bool:
        """Whether the recent changes are that many times more than the window holds."""
        return self.history_events > self.window.events * times or self.history_bytes > self.window.size * times

    def trim(self) -> list[Event]:
        """Forgets changes that are too old or too many for the window; returns them, oldest first."""
        horizon = self.clock() - self.window.seconds
        dropped: list[Event] = []
        while self._log:
            collection, event = self._log[0]
            if (
                event.at > horizon
                and self.history_events <= self.window.events
                and self.history_bytes <= self.window.size
            ):
                break
            self._log.popleft()
            self.history_events -= 1
            self.history_bytes -= len(event.new.data) if event.new else 0
            if collection.history and collection.history[0] is event:
                collection.history.popleft()
            dropped.append(event)
        if dropped:
            self.compacted = max(self.compacted, dropped[-1].revision)
        return dropped

    async def reach(self, collection: Collection, revision: int, seconds: float) -> bool:
        """Waits until readers of the collection see `revision`; False when the time ran out."""
        return await self.until(lambda: self.newest(collection) >= revision, seconds)

    async def until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Waits until the condition holds, asking again after each change; False when the time ran out."""
        try:
            async with asyncio.timeout(seconds):
                while not condition():
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
        """A registered watcher, and the past events after `revision`. The caller checks `revision` >= oldest."""
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
        }
