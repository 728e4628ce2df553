"""The storage contract (storage_contract.py) against the storages of this process: memory alone, and SQLite."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from storage_contract import WINDOW, Harness, StorageContract, forget, put, state

from tortie.apiserver.journal import Journal, JournalError
from tortie.apiserver.records import Collection
from tortie.apiserver.storage import Storage
from tortie.apiserver.store import Store
from tortie.apiserver.volatile import Volatile


class VolatileHarness(Harness):
    durable = False

    async def open(self) -> Storage:
        return Volatile(clock=self.clock, window=WINDOW)

    def forget(self, storage: Storage) -> None:
        forget(storage)


class SqliteHarness(Harness):
    can_fail = True

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.path = folder / "store.db"
        self.crashed: list[Store] = []

    async def open(self) -> Storage:
        store = Store(Journal(self.path), clock=self.clock, wall=self.clock, window=WINDOW)
        store.load()
        store.journal.start(asyncio.get_running_loop())
        return store

    async def crash(self, storage: Storage) -> Storage:
        assert isinstance(storage, Store)
        storage.journal._own.close()  # a dead process holds no lock; its thread writes nothing that was not queued
        self.crashed.append(storage)
        deadline = time.monotonic() + 5
        while not storage.journal._queue.empty() and time.monotonic() < deadline:
            time.sleep(0.001)  # the loop stands still: nothing is applied or acknowledged any more
        return await self.open()

    def forget(self, storage: Storage) -> None:
        forget(storage)

    @contextmanager
    def failing(self, storage: Storage) -> Iterator[None]:
        assert isinstance(storage, Store)
        database = storage.journal._db
        database.execute("PRAGMA query_only = 1")
        try:
            yield
        finally:
            database.execute("PRAGMA query_only = 0")

    def end(self) -> None:
        for store in self.crashed:
            store.journal.close()


class TestVolatile(StorageContract):
    @pytest.fixture
    def harness(self, tmp_path: Path) -> Iterator[Harness]:
        yield VolatileHarness()


class TestSqlite(StorageContract):
    @pytest.fixture
    def harness(self, tmp_path: Path) -> Iterator[Harness]:
        yield SqliteHarness(tmp_path)

    async def test_a_change_on_disk_that_was_not_applied_before_a_crash_is_there_after_it(
        self, harness: Harness, storage: Storage, things: Collection
    ) -> None:
        assert isinstance(storage, Store)
        first = await put(harness, storage, ("blue", "a"), 1)
        commits = storage.journal.commits
        task = asyncio.create_task(put(harness, storage, ("blue", "a"), 2))
        deadline = time.monotonic() + 5
        for _ in range(5):
            await asyncio.sleep(0)
        while storage.journal.commits == commits and time.monotonic() < deadline:
            time.sleep(0.001)  # the loop stands still: the answer of the journal is not heard
        assert things.get(("blue", "a")) is first, "not applied yet"
        again = await harness.crash(storage)
        try:
            things = again.collection(harness.collections[0])
            assert [value for _, value in state(harness, things).values()] == [2]
            _, past = again.watch(things, first.revision)
            assert [e.revision for e in past] == [first.revision + 1]
        finally:
            await task
            await again.close()

    async def test_one_change_that_cannot_be_stored_does_not_fail_those_that_arrived_with_it(
        self, harness: Harness, storage: Storage, things: Collection
    ) -> None:
        poison = ("blue", "\ud800")  # no UTF-8
        keys = [("blue", f"n{n}") for n in range(20)]
        done = await asyncio.gather(
            *(storage.put(things, key, harness.make(("blue", "x"), 1)) for key in [*keys[:10], poison, *keys[10:]]),
            return_exceptions=True,
        )
        assert [type(d).__name__ for d in done].count("StatusError") == 1
        assert sorted(things.records) == sorted(keys)
        assert await put(harness, storage, ("blue", "after"), 1)

    async def test_a_database_has_one_owner(self, harness: Harness, storage: Storage, tmp_path: Path) -> None:
        with pytest.raises(JournalError, match="in use by another process"):
            Journal(tmp_path / "store.db")
