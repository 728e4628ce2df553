"""What every storage promises (`tortie.apiserver.storage.Storage`), as tests that run against each implementation.

In: a `Harness`, which opens one implementation and does to it what its surroundings would: time passes, the process
ends, the disk fails, somebody else writes. A test file derives a class from `StorageContract` with a fixture `harness`.
"""

import asyncio
import random
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from tortie.apiserver.errors import StatusError
from tortie.apiserver.memory import Memory, Window
from tortie.apiserver.records import Collection, Event, Key, Record, Watcher
from tortie.apiserver.storage import Storage

Object = dict[str, Any]
WINDOW = Window(seconds=100.0, events=200, size=200_000)


class Harness:
    """One implementation in its surroundings. Override what it does differently."""

    durable = True
    shared = False  # whether others write to the same backend
    collections = ("example.org/things", "example.org/others")  # namespaced
    namespaces = ("blue", "green")

    def __init__(self) -> None:
        self.now = 1000.0

    def clock(self) -> float:
        return self.now

    async def open(self) -> Storage:
        """A storage that is ready; the same objects each time, if it is durable."""
        raise NotImplementedError

    async def crash(self, storage: Storage) -> Storage:
        """The process ends without notice; another one starts."""
        raise NotImplementedError

    async def reopen(self, storage: Storage) -> Storage:
        """The process ends in order; another one starts."""
        await storage.close()
        return await self.open()

    def forget(self, storage: Storage) -> None:
        """Housekeeping: what is outside the window goes."""
        raise NotImplementedError

    def failing(self, storage: Storage) -> AbstractContextManager[None]:
        """While it lasts, the backend takes no changes."""
        return nullcontext()

    can_fail = False

    async def foreign(self, key: Key, value: int) -> None:
        """Somebody else creates an object in the first collection, behind the storage's back."""
        raise NotImplementedError

    def make(self, key: Key, value: int, **labels: str) -> Object:
        """An object of either collection."""
        meta: Object = {"name": key[1], "namespace": key[0]}
        if labels:
            meta["labels"] = labels
        return {"metadata": meta, "spec": {"value": value}}

    def value(self, record: Record) -> int:
        """The value that `make` was given."""
        return int(record.decode()["spec"]["value"])

    def end(self) -> None:
        """After the test."""


async def put(harness: Harness, storage: Storage, key: Key, value: int, which: int = 0, **labels: str) -> Record:
    """Creates or replaces, as a request would."""
    collection = storage.collection(harness.collections[which])
    async with storage.lock(collection, key):
        obj, have = harness.make(key, value, **labels), collection.get(key)
        if have is not None:
            kept = have.decode()["metadata"]
            obj["metadata"] = {**kept, **obj["metadata"], "resourceVersion": str(have.revision)}
        return await storage.put(collection, key, obj)


async def remove(harness: Harness, storage: Storage, key: Key) -> int:
    collection = storage.collection(harness.collections[0])
    async with storage.lock(collection, key):
        return await storage.remove(collection, key)


def state(harness: Harness, collection: Collection) -> dict[Key, tuple[int, int]]:
    """What a list shows: revision and value of each object."""
    return {r.key: (r.revision, harness.value(r)) for r in collection.select(None)}


class Follower:
    """A watch that keeps its own copy of a collection, and complains about what does not fit."""

    def __init__(self, harness: Harness, storage: Storage, collection: Collection, revision: int) -> None:
        self.harness = harness
        self.seen = revision
        self.copy: dict[Key, tuple[int, int]] = {}
        if revision == storage.newest(collection):
            self.copy = state(harness, collection)
        else:
            records, _ = collection.at(revision)
            self.copy = {k: (r.revision, harness.value(r)) for k, r in records.items()}
        self.watcher, past = storage.watch(collection, revision)
        self.take(past)

    def take(self, events: list[Event]) -> None:
        for event in events:
            assert event.revision > self.seen, "an event came twice or out of order"
            self.seen = event.revision
            before = None if event.old is None else (event.old.revision, self.harness.value(event.old))
            assert self.copy.get(event.key) == before, "the state before is not the one the watcher was told of"
            if event.new is None:
                del self.copy[event.key]
            else:
                self.copy[event.key] = (event.new.revision, self.harness.value(event.new))

    def drain(self) -> None:
        events = list(self.watcher.events)
        self.watcher.events.clear()
        self.take(events)


async def settled(storage: Storage, collection: Collection, revision: int) -> None:
    assert await storage.reach(collection, revision, 5.0)


class StorageContract:
    """The promises. `harness` and `storage` are fixtures."""

    @pytest.fixture
    def harness(self, tmp_path: Path) -> Iterator[Harness]:
        raise NotImplementedError

    @pytest.fixture
    async def storage(self, harness: Harness) -> Any:
        storage = await harness.open()
        yield storage
        await storage.close()
        harness.end()

    @pytest.fixture
    def things(self, harness: Harness, storage: Storage) -> Collection:
        return storage.collection(harness.collections[0])

    # Changes and their preconditions

    async def test_a_created_object_is_visible_with_its_revision(
        self, harness: Harness, storage: Storage, things: Collection
    ) -> None:
        before = storage.newest(things)
        obj = harness.make(("blue", "a"), 7, colour="red")
        record = await storage.put(things, ("blue", "a"), obj)
        assert things.get(("blue", "a")) is record
        assert record.revision > before
        assert storage.newest(things) >= record.revision
        assert record.decode()["metadata"]["resourceVersion"] == str(record.revision)
        assert harness.value(record) == 7
        assert record.labels["colour"] == "red"

    async def test_creating_what_exists_is_refused_and_changes_nothing(
        self, harness: Harness, storage: Storage, things: Collection
    ) -> None:
        first = await put(harness, storage, ("blue", "a"), 1)
        obj = harness.make(("blue", "a"), 2)
        with pytest.raises(StatusError) as refused:
            await storage.put(things, ("blue", "a"), obj)
        assert (refused.value.code, refused.value.reason) == (409, "AlreadyExists")
        assert obj == harness.make(("blue", "a"), 2), "the caller's object is as it was"
        assert things.get(("blue", "a")) is first

    async def test_replacing_another_state_than_the_named_one_is_a_conflict(
        self, harness: Harness, storage: Storage, things: Collection
    ) -> None:
        old = (await put(harness, storage, ("blue", "a"), 1)).decode()
        new = await put(harness, storage, ("blue", "a"), 2)
        with pytest.raises(StatusError) as refused:
            await storage.put(things, ("blue", "a"), old)
        assert (refused.value.code, refused.value.reason) == (409, "Conflict")
        assert old["metadata"]["resourceVersion"] != str(new.revision)
        assert things.get(("blue", "a")) is new

    async def test_replacing_what_is_gone_is_not_found(
        self, harness: Harness, storage: Storage, things: Collection
    ) -> None:
        old = (await put(harness, storage, ("blue", "a"), 1)).decode()
        await remove(harness, storage, ("blue", "a"))
        with pytest.raises(StatusError) as refused:
            await storage.put(things, ("blue", "a"), old)
        assert refused.value.code in {404, 409}
        assert things.get(("blue", "a")) is None

    async def test_removal_names_its_own_revision_and_respects_the_expected_one(
        self, harness: Harness, storage: Storage, things: Collection
    ) -> None:
        first = await put(harness, storage, ("blue", "a"), 1)
        second = await put(harness, storage, ("blue", "a"), 2)
        with pytest.raises(StatusError) as refused:
            await storage.remove(things, ("blue", "a"), first.revision)
        assert refused.value.reason == "Conflict"
        assert things.get(("blue", "a")) is second
        gone = await storage.remove(things, ("blue", "a"), second.revision)
        assert gone > second.revision
        assert things.get(("blue", "a")) is None
        with pytest.raises(StatusError) as refused:
            await storage.remove(things, ("blue", "a"))
        assert refused.value.code == 404

    async def test_an_object_that_comes_back_is_another_one(
        self, harness: Harness, storage: Storage, things: Collection
    ) -> None:
        first = await put(harness, storage, ("blue", "a"), 1)
        gone = await remove(harness, storage, ("blue", "a"))
        again = await put(harness, storage, ("blue", "a"), 1)
        assert first.revision < gone < again.revision

    async def test_revisions_grow_over_all_collections(self, harness: Harness, storage: Storage) -> None:
        revisions = []
        for number in range(6):
            revisions.append((await put(harness, storage, ("blue", f"n{number}"), 1, number % 2)).revision)
        assert revisions == sorted(set(revisions))
        assert storage.revision >= revisions[-1]

    # Reads

    async def test_keys_come_in_order_of_namespace_and_name(
        self, harness: Harness, storage: Storage, things: Collection
    ) -> None:
        names = [f"n{number:02d}" for number in range(12)]
        chosen = [(space, name) for space in harness.namespaces for name in names]
        shuffled = random.Random(1).sample(chosen, len(chosen))
        await asyncio.gather(*(put(harness, storage, key, 1) for key in shuffled))
        assert list(things.keys(None)) == sorted(chosen)
        blue = [k for k in sorted(chosen) if k[0] == "blue"]
        assert [r.key for r in things.select("blue")] == blue
        assert list(things.keys("blue", after=blue[4])) == blue[5:]
        assert list(things.keys(None, after=("blue", "n04x"))) == sorted(chosen)[5:]
        assert list(things.keys("nowhere")) == []

    async def test_selectable_fields_are_found_also_in_what_was_there_before(
        self, harness: Harness, storage: Storage, things: Collection
    ) -> None:
        await put(harness, storage, ("blue", "a"), 1)
        start = storage.newest(things)
        await put(harness, storage, ("blue", "a"), 2)
        storage.reindex(things, lambda obj: {"name": obj["metadata"]["name"] + "!"})
        assert [r.fields["name"] for r in things.select(None)] == ["a!"]
        assert (await put(harness, storage, ("blue", "b"), 1)).fields["name"] == "b!"
        _, past = storage.watch(things, start)
        assert past[0].old is not None
        assert past[0].old.fields["name"] == "a!", "a watch that resumes selects by fields in the past too"

    async def test_an_older_state_can_be_rebuilt(self, harness: Harness, storage: Storage, things: Collection) -> None:
        await put(harness, storage, ("blue", "a"), 1)
        await put(harness, storage, ("blue", "b"), 1)
        pinned = storage.newest(things)
        await put(harness, storage, ("blue", "a"), 2)
        await remove(harness, storage, ("blue", "b"))
        await put(harness, storage, ("blue", "c"), 1)
        records, order = things.at(pinned)
        assert [(k[1], harness.value(records[k])) for k in order] == [("a", 1), ("b", 1)]

    async def test_a_fresh_read_shows_what_others_wrote(
        self, harness: Harness, storage: Storage, things: Collection
    ) -> None:
        if not harness.shared:
            await storage.fresh(things)
            await storage.fresh(things, ("blue", "a"))
            return
        await harness.foreign(("blue", "theirs"), 5)
        await storage.fresh(things, ("blue", "theirs"))
        found = things.get(("blue", "theirs"))
        assert found is not None
        assert harness.value(found) == 5
        await harness.foreign(("blue", "more"), 6)
        await storage.fresh(things)
        assert things.get(("blue", "more")) is not None

    # Concurrency

    async def test_read_modify_write_under_the_lock_loses_no_update(
        self, harness: Harness, storage: Storage, things: Collection
    ) -> None:
        await put(harness, storage, ("blue", "counter"), 0)

        async def increment() -> None:
            async with storage.lock(things, ("blue", "counter")):
                have = things.get(("blue", "counter"))
                assert have is not None
                obj = have.decode()
                obj["spec"] = harness.make(("blue", "counter"), harness.value(have) + 1)["spec"]
                await storage.put(things, ("blue", "counter"), obj)

        await asyncio.gather(*(increment() for _ in range(40)))
        found = things.get(("blue", "counter"))
        assert found is not None
        assert harness.value(found) == 40

    async def test_a_lock_is_free_again_after_an_error(
        self, harness: Harness, storage: Storage, things: Collection
    ) -> None:
        with pytest.raises(ZeroDivisionError):
            async with storage.lock(things, ("blue", "a")):
                _ = 1 / 0
        async with asyncio.timeout(5):
            await put(harness, storage, ("blue", "a"), 1)

    async def test_a_change_whose_caller_gave_up_is_decided_for_the_next_one(
        self, harness: Harness, storage: Storage, things: Collection
    ) -> None:
        for turn in range(10):
            key = ("blue", f"given-up-{turn}")
            task = asyncio.create_task(put(harness, storage, key, 1))
            for _ in range(turn):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            async with asyncio.timeout(5):
                record = await put(harness, storage, key, 2)
            assert harness.value(record) == 2
            assert things.get(key) is record

    # Watches

    async def test_a_watch_gets_the_past_and_then_what_comes(
        self, harness: Harness, storage: Storage, things: Collection
    ) -> None:
        start = storage.newest(things)
        await put(harness, storage, ("blue", "a"), 1)
        await put(harness, storage, ("blue", "elsewhere"), 1, 1)
        await put(harness, storage, ("blue", "a"), 2)
        watcher, past = storage.watch(things, start)
        assert [(e.key[1], e.old is None, e.new is None) for e in past] == [("a", True, False), ("a", False, False)]
        last = await remove(harness, storage, ("blue", "a"))
        await settled(storage, things, last)
        (event,) = watcher.events
        assert (event.revision, event.new) == (last, None)
        assert event.old is not None
        assert harness.value(event.old) == 2

    async def test_random_changes_reach_every_watch_in_order_without_gap(
        self, harness: Harness, storage: Storage, things: Collection
    ) -> None:
        chance = random.Random(20)
        keys = [(space, f"n{n}") for space in harness.namespaces for n in range(4)]
        followers: list[Follower] = []
        revisions = [storage.newest(things)]
        for step in range(120):
            key = chance.choice(keys)
            if things.get(key) is not None and chance.random() < 0.3:
                revisions.append(await remove(harness, storage, key))
            else:
                revisions.append((await put(harness, storage, key, step)).revision)
            if chance.random() < 0.2:
                followers.append(Follower(harness, storage, things, chance.choice(revisions)))
            if followers and chance.random() < 0.3:
                chance.choice(followers).drain()
        await settled(storage, things, revisions[-1])
        assert len(followers) > 10
        for follower in followers:
            follower.drain()
            assert follower.copy == state(harness, things)

    async def test_listeners_hear_each_change_once_when_it_is_visible(
        self, harness: Harness, storage: Storage, things: Collection
    ) -> None:
        heard: list[tuple[int, bool]] = []

        def listen(collection: Collection, event: Event) -> None:
            if collection is things:
                heard.append((event.revision, collection.get(event.key) is event.new))

        storage.on_event.append(listen)
        await asyncio.gather(*(put(harness, storage, ("blue", f"n{n}"), n) for n in range(20)))
        await remove(harness, storage, ("blue", "n3"))
        assert len(heard) == 21
        assert [r for r, _ in heard] == sorted({r for r, _ in heard})
        assert all(visible for _, visible in heard)

    async def test_a_watch_that_ended_gets_nothing_and_may_end_again(
        self, harness: Harness, storage: Storage, things: Collection
    ) -> None:
        watcher, _ = storage.watch(things, storage.newest(things))
        storage.unwatch(things, watcher)
        storage.unwatch(things, watcher)
        await put(harness, storage, ("blue", "a"), 1)
        assert not watcher.events
        assert storage.statistics()["watchers"] == 0

    async def test_a_watch_that_does_not_read_ends_and_says_so(
        self, harness: Harness, storage: Storage, things: Collection
    ) -> None:
        watcher = Watcher(limit=3)
        things.watchers.add(watcher)
        for number in range(5):
            await put(harness, storage, ("blue", f"n{number}"), number)
        assert watcher.broken
        assert "too slow" in watcher.reason
        assert len(watcher.events) == 3, "what was queued before is in order and whole"

    async def test_a_collection_that_is_no_longer_served_ends_its_watches(
        self, harness: Harness, storage: Storage, things: Collection
    ) -> None:
        watcher, _ = storage.watch(things, storage.newest(things))
        storage.drop_collection(harness.collections[0])
        assert await watcher.wait(1)
        assert watcher.broken
        assert watcher.reason

    async def test_reach_waits_for_a_revision_and_gives_up_in_time(
        self, harness: Harness, storage: Storage, things: Collection
    ) -> None:
        assert await storage.reach(things, storage.newest(things), 0.01)
        assert not await storage.reach(things, storage.newest(things) + 1_000_000, 0.05)
        wanted = storage.newest(things) + 1
        waiting = asyncio.create_task(storage.reach(things, wanted, 5.0))
        await asyncio.sleep(0)
        await put(harness, storage, ("blue", "a"), 1)
        assert await waiting

    # The window of the past

    async def test_what_is_older_than_the_window_is_gone_and_the_present_stays(
        self, harness: Harness, storage: Storage, things: Collection
    ) -> None:
        await put(harness, storage, ("blue", "a"), 1)
        await put(harness, storage, ("blue", "b"), 1)
        await remove(harness, storage, ("blue", "b"))
        assert storage.oldest(things) <= storage.newest(things)
        harness.now += WINDOW.seconds + 1
        harness.forget(storage)
        last = storage.newest(things)
        assert storage.oldest(things) == last, "nothing older can be resumed"
        _, past = storage.watch(things, last)
        assert past == []
        assert list(state(harness, things)) == [("blue", "a")]
        await put(harness, storage, ("blue", "a"), 2)
        _, past = storage.watch(things, last)
        assert len(past) == 1, "from the oldest revision nothing is missing"

    async def test_the_window_is_bounded_while_changes_keep_coming(
        self, harness: Harness, storage: Storage, things: Collection
    ) -> None:
        for number in range(0, 600, 20):
            await asyncio.gather(
                *(put(harness, storage, ("blue", f"n{n % 30}"), n) for n in range(number, number + 20))
            )
            counts = storage.statistics()
            assert counts["history_events"] <= WINDOW.events * 1.25 + 20
            assert counts["history_bytes"] <= WINDOW.size * 1.25 + 20_000
        oldest = storage.oldest(things)
        assert oldest > 0
        follower = Follower(harness, storage, things, max(oldest, things.history[0].revision))
        assert follower.copy == state(harness, things)

    # Restarts and failures

    async def test_a_restart_keeps_objects_revisions_and_the_past(
        self, harness: Harness, storage: Storage, things: Collection
    ) -> None:
        if not harness.durable:
            return
        await put(harness, storage, ("blue", "a"), 1)
        start = storage.newest(things)
        await put(harness, storage, ("blue", "a"), 2)
        await put(harness, storage, ("blue", "b"), 1)
        last = await remove(harness, storage, ("blue", "b"))
        before = state(harness, things)
        again = await harness.reopen(storage)
        try:
            things = again.collection(harness.collections[0])
            assert state(harness, things) == before
            assert again.newest(things) >= last, "a revision is never given twice"
            if again.oldest(things) <= start:
                follower = Follower(harness, again, things, start)
                assert follower.copy == before
            assert (await put(harness, again, ("blue", "c"), 1)).revision > last
        finally:
            await again.close()

    async def test_what_was_acknowledged_survives_a_crash_and_what_was_not_is_whole_or_absent(
        self, harness: Harness, storage: Storage, things: Collection
    ) -> None:
        if not harness.durable:
            return
        acknowledged: dict[Key, int] = {}

        async def write(number: int) -> None:
            for value in range(1, 50):
                key = ("blue", f"n{number}")
                await put(harness, storage, key, value)
                acknowledged[key] = value

        tasks = [asyncio.create_task(write(n)) for n in range(5)]
        while sum(acknowledged.values()) < 60:
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        last = storage.newest(things)
        again = await harness.crash(storage)
        await asyncio.gather(*tasks, return_exceptions=True)
        try:
            things = again.collection(harness.collections[0])
            found = state(harness, things)
            for key, value in acknowledged.items():
                assert found[key][1] in {value, value + 1}
            assert again.newest(things) >= last
            revisions = [revision for revision, _ in found.values()]
            assert len(set(revisions)) == len(revisions)
        finally:
            await again.close()

    async def test_a_failing_backend_refuses_changes_while_reads_go_on(
        self, harness: Harness, storage: Storage, things: Collection
    ) -> None:
        if not harness.can_fail:
            return
        first = await put(harness, storage, ("blue", "a"), 1)
        watcher, _ = storage.watch(things, storage.newest(things))
        obj = harness.make(("blue", "b"), 1)
        with harness.failing(storage):
            with pytest.raises(StatusError) as refused:
                await storage.put(things, ("blue", "b"), obj)
            assert refused.value.code >= 500
            with pytest.raises(StatusError):
                await storage.remove(things, ("blue", "a"))
            assert things.get(("blue", "a")) is first
            assert things.get(("blue", "b")) is None
            assert not watcher.events
        assert obj == harness.make(("blue", "b"), 1)
        again = await put(harness, storage, ("blue", "b"), 1)
        assert again.revision > first.revision
        assert [e.key[1] for e in watcher.events] == ["b"]

    async def test_a_closed_storage_refuses_changes(
        self, harness: Harness, storage: Storage, things: Collection
    ) -> None:
        under_way = asyncio.create_task(put(harness, storage, ("blue", "a"), 1))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await storage.close()
        async with asyncio.timeout(5):
            await asyncio.gather(under_way, return_exceptions=True)
            with pytest.raises(StatusError) as refused:
                await storage.put(things, ("blue", "b"), harness.make(("blue", "b"), 1))
            assert refused.value.code == 503
            await storage.close()

    async def test_statistics_count_what_is_there(self, harness: Harness, storage: Storage, things: Collection) -> None:
        before = storage.statistics()
        await put(harness, storage, ("blue", "a"), 1)
        storage.watch(things, storage.newest(things))
        counts = storage.statistics()
        assert counts["objects"] == before["objects"] + 1
        assert counts["bytes"] > before["bytes"]
        assert counts["watchers"] == before["watchers"] + 1
        assert counts["history_events"] == before["history_events"] + 1
        assert counts["revision"] == storage.revision


def forget(storage: Storage) -> None:
    """Housekeeping of the storages in this process."""
    assert isinstance(storage, Memory)
    storage.compact()  # type: ignore[attr-defined]  # each of them has it
