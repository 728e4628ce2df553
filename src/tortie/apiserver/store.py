"""The storage of the embedded server: everything in memory, every change in the journal before anyone sees it.

In: new states of objects from the request handlers. Out: records for reads, and events for watchers, in the order of
one revision sequence for the whole store and only after the journal has them on disk. After a restart the memory is
rebuilt from the journal, the recent changes included, so that watches go on where they were.
"""

import asyncio
import time
from collections.abc import Callable

import msgspec

from tortie.apiserver import errors
from tortie.apiserver.journal import Journal, JournalError, Row, explain, no_space
from tortie.apiserver.memory import Memory, Window
from tortie.apiserver.records import Collection, Event, Key, Object, Record

_OVER = 1.25  # how far the window may be exceeded between two rounds of housekeeping


class Store(Memory):
    """The collections, the revision counter, and the way from a change to its durable, visible state."""

    def __init__(
        self,
        journal: Journal,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        window: Window | None = None,
    ) -> None:
        super().__init__(clock=clock, window=window)
        self.journal = journal
        self.wall = wall
        self._assigned = 1
        self._garbage: list[int] = []
        self._closed = False

    def load(self) -> None:
        """Rebuilds the memory from the journal; call before `start`. Raises JournalError."""
        self.compacted = self.journal.compacted()
        shift = self.clock() - self.wall()
        revision = max(1, self.compacted)
        garbage = []
        for row in self.journal.load():
            revision = row.revision if row.revision > revision else revision
            collection = self.collection(row.collection)
            key = (row.namespace, row.name)
            records = collection.records
            old = records.get(key)
            new = None
            if row.data is None:
                records.pop(key, None)
            else:
                new = records[key] = self._read(collection, row, row.data)
            if row.revision > self.compacted:
                event = Event(row.revision, key, old, new, min(row.at + shift, self.clock()))
                collection.history.append(event)
                self.remember(collection, event)
                continue
            if old is not None:
                garbage.append(old.revision)
            if new is None:
                garbage.append(row.revision)
        for collection in self.collections.values():
            collection.order = sorted(collection.records)
        self._garbage = garbage  # left behind by a compaction that the end of the process interrupted
        self.revision = self._assigned = revision

    def _read(self, collection: Collection, row: Row, data: bytes) -> Record:
        try:
            return collection.read((row.namespace, row.name), row.revision, data)
        except (msgspec.MsgspecError, KeyError, TypeError, AttributeError) as error:
            raise JournalError(
                f"the database {self.journal.path} is damaged: revision {row.revision} of {row.name!r} in "
                f"{row.collection} is not an object ({error}); restore a backup with `tortie apiserver restore`"
            ) from error

    async def fresh(self, collection: Collection, key: Key | None = None) -> None:
        """Memory is always as new as the journal."""

    async def put(self, collection: Collection, key: Key, obj: Object) -> Record:
        """Stores a new state and returns it once it is durable and visible. The caller holds the key's lock."""
        self.expect(collection, key, obj)
        meta = obj["metadata"]
        given = meta.get("resourceVersion")
        self._assigned += 1
        revision = self._assigned
        meta["resourceVersion"] = str(revision)
        record = collection.record(key, revision, msgspec.json.encode(obj), obj)
        try:
            await self._commit(collection, key, record, revision)
        except errors.StatusError:
            if given is None:
                del meta["resourceVersion"]
            else:
                meta["resourceVersion"] = given
            raise
        return record

    async def remove(self, collection: Collection, key: Key, expected: int = 0) -> int:
        """Removes the object; returns the revision of the deletion. The caller holds the key's lock."""
        self.expect_removal(collection, key, expected)
        self._assigned += 1
        revision = self._assigned
        await self._commit(collection, key, None, revision)
        return revision

    async def _commit(self, collection: Collection, key: Key, record: Record | None, revision: int) -> None:
        if self._closed:
            raise errors.unavailable("the server is stopping: the change was not stored")
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(error: Exception | None) -> None:
            if error is None:
                self.show(collection, Event(revision, key, collection.records.get(key), record, self.clock()))
            if waiting.done():
                return
            if error is None:
                waiting.set_result(None)
            else:
                waiting.set_exception(_refusal(error, self.journal))

        data = None if record is None else record.data
        self.journal.write((Row(revision, collection.name, key[0], key[1], data, int(self.wall())),), done)
        await self.settle(collection, key, waiting)

    def show(self, collection: Collection, event: Event) -> None:
        super().show(collection, event)
        if self.exceeds(_OVER):
            self.compact()

    def compact(self) -> None:
        """Forgets history that is too old or too much, in memory now and on disk soon."""
        dropped = self.trim()
        self._garbage += [event.old.revision for event in dropped if event.old is not None]
        self._garbage += [event.revision for event in dropped if event.new is None]
        if dropped or self._garbage:
            garbage, self._garbage = self._garbage, []
            self.journal.compact(self.compacted, garbage)

    async def close(self) -> None:
        """Waits for the changes that are under way, and closes the journal."""
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(None, self.journal.close)

    def statistics(self) -> dict[str, int]:
        """Counts for metrics and diagnostics."""
        return {**super().statistics(), **self.journal.statistics()}


def _refusal(error: Exception, journal: Journal) -> errors.StatusError:
    text = explain(error, journal.path)
    if no_space(error, journal.path):
        return errors.no_space(f"the change was not stored: {text}; reading still works, and writing will as soon as "
                               "there is space again")  # fmt: skip
    return errors.internal(f"the change was not stored: {text}; reading still works")
