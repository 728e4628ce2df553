"""The store and its journal: revisions, history, reload, compaction, a failing disk."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tortie.apiserver.errors import StatusError
from tortie.apiserver.journal import Journal, JournalError
from tortie.apiserver.store import Store


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(tmp_path: Path, clock: Clock) -> AsyncIterator[Store]:
    journal = Journal(tmp_path / "store.db")
    made = Store(journal, clock=clock)
    made.load()
    journal.start(asyncio.get_running_loop())
    yield made
    journal.close()


def _object(name: str, value: int = 0, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": labels}, "value": value}


async def _put(store: Store, name: str, value: int = 0) -> int:
    collection = store.collection("things")
    async with store.lock(collection, ("", name)):
        obj, have = _object(name, value), collection.get(("", name))
        if have is not None:
            obj["metadata"]["resourceVersion"] = str(have.revision)
        return (await store.put(collection, ("", name), obj)).revision


async def _remove(store: Store, name: str) -> int:
    collection = store.collection("things")
    async with store.lock(collection, ("", name)):
        return await store.remove(collection, ("", name))


def _reopen(path: Path, clock: Clock) -> Store:
    again = Store(Journal(path), clock=clock)
    again.load()
    return again


async def test_revisions_grow_by_one_over_all_collections(store: Store) -> None:
    first = await _put(store, "a")
    other = store.collection("others")
    second = (await store.put(other, ("", "x"), _object("x"))).revision
    third = await _remove(store, "a")
    assert [second - first, third - second] == [1, 1]
    assert store.revision == third


async def test_a_record_carries_its_own_revision(store: Store) -> None:
    revision = await _put(store, "a")
    record = store.collection("things").get(("", "a"))
    assert record is not None
    assert record.decode()["metadata"]["resourceVersion"] == str(revision)


async def test_a_reopened_store_has_every_object_and_the_history(store: Store, tmp_path: Path, clock: Clock) -> None:
    await _put(store, "a", 1)
    start = await _put(store, "b", 1)
    await _put(store, "a", 2)
    last = await _remove(store, "b")
    store.journal.close()
    again = _reopen(tmp_path / "store.db", clock)
    things = again.collection("things")
    assert [r.key[1] for r in things.select(None)] == ["a"]
    assert things.get(("", "a")).decode()["value"] == 2  # type: ignore[union-attr]
    assert again.revision == last
    _, past = again.watch(things, start)
    assert [(e.key[1], e.new is None) for e in past] == [("a", False), ("b", True)]
    assert past[0].old is not None
    assert past[0].old.decode()["value"] == 1
    again.journal.start(asyncio.get_running_loop())


async def test_revisions_never_repeat_after_the_newest_object_was_deleted_and_compacted(
    store: Store, tmp_path: Path, clock: Clock
) -> None:
    await _put(store, "a")
    last = await _remove(store, "a")
    clock.now += 1000
    store.compact()
    store.journal.close()
    again = _reopen(tmp_path / "store.db", clock)
    assert again.revision >= last
    again.journal.start(asyncio.get_running_loop())


async def test_compaction_forgets_old_revisions_and_keeps_the_current_state(
    store: Store, tmp_path: Path, clock: Clock
) -> None:
    for value in range(10):
        await _put(store, "a", value)
    await _put(store, "gone")
    await _remove(store, "gone")
    clock.now += 1000
    store.compact()
    assert store.compacted == store.revision
    assert store.history_events == 0
    store.journal.close()
    with sqlite3.connect(tmp_path / "store.db") as database:
        rows = database.execute("SELECT name, data IS NULL FROM revisions").fetchall()
    assert rows == [("a", 0)]


async def test_an_older_state_can_be_rebuilt(store: Store) -> None:
    await _put(store, "a", 1)
    await _put(store, "b", 1)
    pinned = store.revision
    await _put(store, "a", 2)
    await _remove(store, "b")
    await _put(store, "c", 1)
    records, order = store.collection("things").at(pinned)
    assert [(k[1], records[k].decode()["value"]) for k in order] == [("a", 1), ("b", 1)]


async def test_watchers_get_each_event_once_and_in_order(store: Store) -> None:
    things = store.collection("things")
    watchers = [store.watch(things, store.revision)[0] for _ in range(20)]
    revisions = await asyncio.gather(*(_put(store, f"n{i}") for i in range(50)))
    for watcher in watchers:
        assert [e.revision for e in watcher.events] == sorted(revisions)


async def test_writes_that_arrive_together_share_a_transaction(store: Store) -> None:
    before = store.journal.commits
    await asyncio.gather(*(_put(store, f"n{i}") for i in range(200)))
    assert store.journal.commits - before < 100


async def test_a_failed_write_changes_nothing_and_the_next_one_works(store: Store) -> None:
    revision = await _put(store, "a", 1)
    store.journal._db.execute("PRAGMA max_page_count = 1")  # what a full disk looks like to SQLite
    collection = store.collection("things")
    with pytest.raises(StatusError, match="no space is left") as caught:
        for number in range(1000):
            await store.put(
                collection,
                ("", f"big-{number}"),
                {"metadata": {"name": f"big-{number}"}, "data": "x" * 100_000 * (number + 1)},
            )
    assert caught.value.code == 507
    assert collection.get(("", "a")).revision == revision  # type: ignore[union-attr]
    store.journal._db.execute("PRAGMA max_page_count = 1000000")
    assert await _put(store, "a", 2) > revision


def test_a_damaged_database_is_reported_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"this is no database" * 1000)
    with pytest.raises(JournalError, match="is damaged"):
        Journal(path)


def test_a_database_in_use_is_reported(tmp_path: Path) -> None:
    first = Journal(tmp_path / "store.db")
    try:
        with pytest.raises(JournalError, match="in use by another process"):
            Journal(tmp_path / "store.db")
    finally:
        first.close()
