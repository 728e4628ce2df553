"""A storage that keeps nothing but memory: for tests, and for whoever needs a `Storage` without a disk.

In: changes, as `storage.Storage` says. Out: records and events; each change is visible after one turn of the event
loop, so that callers meet the same waiting as with a disk. When the process ends, everything is gone.
"""

import asyncio

import msgspec

from tortie.apiserver import errors
from tortie.apiserver.memory import Memory
from tortie.apiserver.records import Collection, Event, Key, Object, Record

_OVER = 1.25  # how far the window may be exceeded before old changes are forgotten


class Volatile(Memory):
    """The collections, and one sequence of revisions."""

    closed = False

    async def fresh(self, collection: Collection, key: Key | None = None) -> None:
        """There is nothing that memory could lag behind."""

    async def put(self, collection: Collection, key: Key, obj: Object) -> Record:
        """Stores a new state. The caller holds the key's lock."""
        self.expect(collection, key, obj)
        await self._turn()
        have = self.expect(collection, key, obj)
        revision = self.revision + 1
        obj["metadata"]["resourceVersion"] = str(revision)
        record = collection.record(key, revision, msgspec.json.encode(obj), obj)
        self.show(collection, Event(revision, key, have, record, self.clock()))
        return record

    async def remove(self, collection: Collection, key: Key, expected: int = 0) -> int:
        """Removes the object. The caller holds the key's lock."""
        self.expect_removal(collection, key, expected)
        await self._turn()
        have = self.expect_removal(collection, key, expected)
        revision = self.revision + 1
        self.show(collection, Event(revision, key, have, None, self.clock()))
        return revision

    async def _turn(self) -> None:
        if self.closed:
            raise errors.unavailable("the server is stopping: the change was not stored")
        await asyncio.sleep(0)

    def show(self, collection: Collection, event: Event) -> None:
        super().show(collection, event)
        if self.exceeds(_OVER):
            self.trim()

    def compact(self) -> None:
        """Forgets changes that are outside the window."""
        self.trim()

    async def close(self) -> None:
        self.closed = True
