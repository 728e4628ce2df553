"""A cache mirrors the server through every kind of failure. The faults come from kube_fake_api; the real embedded
server is met in test_kube_contract.py."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from aiohttp import web
from kube_fake_api import FakeApi, answer, eventually, reset

from tortie.kube.cache import Backoff, Cache
from tortie.kube.client import Client
from tortie.model.meta import ObjectMeta
from tortie.model.resource import Resource


class Thing(msgspec.Struct, frozen=True):
    metadata: ObjectMeta = ObjectMeta()
    size: int = 0


THINGS = Resource(group="", version="v1", kind="Thing", plural="things", namespaced=False, type=Thing)


class Journal:
    """What a cache reported; checks on the way that no report contradicts the ones before."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.state: dict[str, Thing] = {}
        self.times: list[float] = []

    def __call__(self, type_: str, old: Thing | None, new: Thing | None) -> None:
        self.times.append(time.perf_counter())
        if type_ == "added":
            assert new is not None and new.metadata.name not in self.state
            self.state[new.metadata.name] = new
        elif type_ == "modified":
            assert new is not None and old == self.state[new.metadata.name]
            assert new.metadata.resource_version != old.metadata.resource_version
            self.state[new.metadata.name] = new
        else:
            assert old is not None
            del self.state[old.metadata.name]
        subject = new or old
        assert subject is not None
        self.lines.append(f"{type_} {subject.metadata.name} {subject.size}")


class World:
    def __init__(self, api: FakeApi, client: Client) -> None:
        self.api, self.client = api, client
        self.journal = Journal()
        self.statuses: list[str] = []
        self.cache: Cache[Thing]
        self.tasks: list[asyncio.Task[None]] = []

    async def start(self, *, synced: bool = True, **options: Any) -> "World":
        options.setdefault("backoff", Backoff(first=0.01, limit=0.05))
        self.cache = Cache(self.client, THINGS, on_event=self.journal, on_status=self.statuses.append, **options)
        self.tasks.append(asyncio.create_task(self.cache.run()))
        if synced:
            await self.cache.wait_synced()
            await eventually(lambda: self.api.watchers, what="a watch is open")
        return self

    def agrees(self) -> bool:
        mine = {t.metadata.name: t.metadata.resource_version for t in self.cache.items()}
        theirs = {n: o["metadata"]["resourceVersion"] for (p, _, n), o in self.api.objects.items() if p == "things"}
        return mine == theirs and {n: t.metadata.resource_version for n, t in self.journal.state.items()} == theirs


@pytest.fixture
async def world() -> AsyncIterator[World]:
    api = FakeApi()
    await api.start()
    async with Client(api.config) as client:
        w = World(api, client)
        yield w
        for task in w.tasks:
            task.cancel()
        for task in w.tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
    await api.stop()


async def test_existing_objects_are_reported_as_added_before_the_cache_is_synced(world: World) -> None:
    world.api.put("things", "a", size=1)
    world.api.put("things", "b", size=2)
    await world.start()
    assert world.journal.lines == ["added a 1", "added b 2"]
    assert world.statuses == ["listing", "synced"]


async def test_changes_arrive_once_each_and_in_order(world: World) -> None:
    await world.start()
    world.api.put("things", "a", size=1)
    world.api.put("things", "a", size=2)
    world.api.remove("things", "a")
    world.api.put("things", "a", size=3)
    await eventually(lambda: len(world.journal.lines) == 4)
    assert world.journal.lines == ["added a 1", "modified a 2", "deleted a 2", "added a 3"]


async def test_an_ended_watch_resumes_where_it_stopped_without_listing_again(world: World) -> None:
    await world.start()
    world.api.put("things", "a", size=1)
    await eventually(lambda: world.journal.lines)
    world.api.cut()
    world.api.put("things", "b", size=1)
    await eventually(lambda: len(world.journal.lines) == 2)
    assert world.journal.lines == ["added a 1", "added b 1"]
    assert sum(r.startswith("list") for r in world.api.requests) == 1


async def test_a_line_cut_in_the_middle_is_read_again_whole(world: World) -> None:
    await world.start()
    world.api.silent = True
    world.api.put("things", "a", size=7)
    world.api.silent = False
    world.api.cut(after=b'{"type":"ADDED","object":{"metadata":{"name":"a","resour')
    await eventually(lambda: world.journal.lines)
    assert world.journal.lines == ["added a 7"]


async def test_garbage_in_the_stream_costs_a_reconnect_and_nothing_else(world: World) -> None:
    await world.start()
    world.api.raw(b"<html>proxy says hello</html>\n")
    await eventually(lambda: sum(r.startswith("watch") for r in world.api.requests) >= 2)
    world.api.put("things", "a", size=1)
    await eventually(world.agrees)


@pytest.mark.parametrize("how", ["event", "response"])
async def test_after_410_the_list_is_read_again_and_missed_deletions_are_reported(world: World, how: str) -> None:
    for name in "abc":
        world.api.put("things", name, size=1)
    await world.start()
    world.api.silent = True
    world.api.remove("things", "a")
    world.api.put("things", "b", size=2)
    world.api.put("things", "d", size=1)
    world.api.compact()
    world.api.silent = False
    if how == "event":
        world.api.error_event(410, "Expired")
    else:
        world.api.cut()
    await eventually(world.agrees)
    assert world.journal.lines[3:] == ["deleted a 1", "modified b 2", "added d 1"]


async def test_an_object_deleted_and_made_again_unseen_is_reported_as_both(world: World) -> None:
    world.api.put("things", "a", size=1, uid="first")
    await world.start()
    world.api.silent = True
    world.api.remove("things", "a")
    world.api.put("things", "a", size=2, uid="second")
    world.api.compact()
    world.api.silent = False
    world.api.cut()
    await eventually(lambda: len(world.journal.lines) == 3)
    assert world.journal.lines == ["added a 1", "deleted a 1", "added a 2"]


async def test_bookmarks_keep_a_quiet_cache_from_listing_again(world: World) -> None:
    await world.start()
    for _ in range(5):
        world.api.put("others", "x")
    world.api.bookmark()
    await eventually(lambda: world.cache.resource_version == str(world.api.version))
    world.api.compact()
    world.api.cut()
    world.api.put("things", "a", size=1)
    await eventually(world.agrees)
    assert sum(r.startswith("list") for r in world.api.requests) == 1


async def test_a_server_with_an_older_history_than_ours_is_listed_again(world: World) -> None:
    """A restored or replaced server counts from an earlier version; what it has is the truth."""
    for name in "ab":
        world.api.put("things", name, size=1)
    await world.start()
    world.api.silent = True
    world.api.remove("things", "a")
    world.api.version = 50
    world.api.history.clear()
    world.api.silent = False
    world.api.bookmark(50)
    await eventually(lambda: "deleted a 1" in world.journal.lines)
    await eventually(world.agrees)


async def test_too_large_resource_version_leads_to_a_new_list(world: World) -> None:
    await world.start()
    cause = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
    world.api.watch_faults.append(answer(504, "Timeout", causes=cause))
    world.api.cut()
    await eventually(lambda: sum(r.startswith("list") for r in world.api.requests) == 2)
    world.api.put("things", "a", size=1)
    await eventually(world.agrees)


async def test_failing_lists_are_retried_and_only_success_counts_as_synced(world: World) -> None:
    world.api.put("things", "a", size=1)
    world.api.list_faults.extend([answer(500, "InternalError"), reset, answer(503, "ServiceUnavailable"), reset])
    await world.start()
    assert world.statuses == ["listing", "synced"]
    assert world.journal.lines == ["added a 1"]


async def test_a_missing_resource_is_synced_and_empty(world: World) -> None:
    world.api.list_faults.append(answer(404, "NotFound"))
    await world.start(synced=False)
    await world.cache.wait_synced()
    assert len(world.cache) == 0


async def test_a_killed_server_that_comes_back_is_caught_up_with(world: World) -> None:
    world.api.put("things", "a", size=1)
    await world.start()
    await world.api.stop()
    world.api.put("things", "b", size=1)
    world.api.remove("things", "a")
    await asyncio.sleep(0.1)
    assert world.journal.lines == ["added a 1"], "the last good state is kept while the server is away"
    await world.api.start()
    await eventually(world.agrees)
    assert sum(r.startswith("list") for r in world.api.requests) == 1


async def test_an_undecodable_object_is_absent_and_its_neighbours_are_not(world: World) -> None:
    world.api.put("things", "good", size=1)
    world.api.put("things", "bad", size="much")
    await world.start()
    assert world.journal.lines == ["added good 1"]
    world.api.put("things", "good", size="more")
    await eventually(lambda: "deleted good 1" in world.journal.lines)
    world.api.put("things", "bad", size=3)
    world.api.put("things", "good", size=4)
    await eventually(lambda: len(world.journal.lines) == 4)
    assert world.journal.lines[2:] == ["added bad 3", "added good 4"]
    assert world.cache.statistics()["undecodable"] == 0


async def test_a_silent_connection_is_given_up_and_resumed(world: World) -> None:
    await world.start(silence=0.2)
    world.api.silent = True
    world.api.put("things", "a", size=1)
    await eventually(world.agrees, within=5)
    assert sum(r.startswith("list") for r in world.api.requests) == 1


async def test_pages_make_one_list(world: World) -> None:
    for number in range(7):
        world.api.put("things", f"t{number}", size=number)
    await world.start(page_size=3)
    assert len(world.cache) == 7
    assert sum(r.startswith("list") for r in world.api.requests) == 3


async def test_an_expired_page_token_restarts_the_list_in_one_piece(world: World) -> None:
    for number in range(7):
        world.api.put("things", f"t{number}", size=number)
    world.api.list_faults.extend([lambda _a, _r: None, answer(410, "Expired")])
    await world.start(page_size=3)
    assert world.agrees()


async def test_a_server_without_initial_events_is_listed_instead(world: World) -> None:
    world.api.put("things", "a", size=1)
    world.api.watch_faults.append(answer(422, "Invalid"))
    await world.start(initial_events=True)
    assert world.agrees()


async def test_a_server_that_overlooks_the_wish_for_initial_events_is_listed_instead(world: World) -> None:
    world.api.put("things", "a", size=1)

    async def plain(_: FakeApi, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        return response  # a watch that ends: no events, no bookmark

    world.api.watch_faults.append(plain)
    await world.start(initial_events=True)
    assert world.agrees()


async def test_a_watch_that_is_told_to_come_back_later_waits_that_long(world: World) -> None:
    await world.start()
    world.api.watch_faults.append(answer(429, "TooManyRequests", retry_after="1"))
    began = asyncio.get_running_loop().time()
    world.api.cut()
    world.api.put("things", "late", size=1)
    await eventually(world.agrees)
    assert asyncio.get_running_loop().time() - began > 0.9


@pytest.mark.parametrize("code", [301, 500, 502, 503, 504])
async def test_whatever_a_watch_is_answered_with_costs_a_retry_and_no_change(world: World, code: int) -> None:
    await world.start()
    world.api.watch_faults.extend([answer(code, "Odd")] * 2)
    world.api.cut()
    world.api.put("things", "late", size=1)
    await eventually(world.agrees)


async def test_indexes_follow_additions_changes_and_deletions(world: World) -> None:
    world.api.put("things", "a", size=1)
    await world.start(indexes={"size": lambda thing: [str(thing.size)]})
    assert [t.metadata.name for t in world.cache.by_index("size", "1")] == ["a"]
    world.api.put("things", "a", size=2)
    await eventually(lambda: world.cache.by_index("size", "2"))
    assert world.cache.by_index("size", "1") == []
    world.api.remove("things", "a")
    await eventually(lambda: not world.cache.by_index("size", "2"))


async def test_without_retaining_only_keys_and_new_objects_are_reported(world: World) -> None:
    changes: list[tuple[Any, int | None]] = []
    world.api.put("things", "a", size=1)
    cache = Cache(
        world.client,
        THINGS,
        on_change=lambda key, new: changes.append((key, new.size if new else None)),
        retain=False,
        backoff=Backoff(first=0.01, limit=0.05),
    )
    world.tasks.append(asyncio.create_task(cache.run()))
    await cache.wait_synced()
    await eventually(lambda: world.api.watchers)
    world.api.remove("things", "a")
    await eventually(lambda: len(changes) == 2)
    assert changes == [(("", "a"), 1), (("", "a"), None)]
    assert list(cache.items()) == []


async def test_an_exception_in_the_callback_ends_run_with_it(world: World) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("a bug")

    world.api.put("things", "a")
    with pytest.raises(RuntimeError, match="a bug"):
        await Cache(world.client, THINGS, on_event=broken).run()


async def test_random_faults_never_lose_or_repeat_a_change(world: World) -> None:
    """The journal's own assertions check every report; at the end both sides must agree."""
    dice = random.Random(4711)
    api = world.api
    await world.start(silence=0.3)
    for step in range(400):
        name = f"t{dice.randrange(8)}"
        roll = dice.random()
        if roll < 0.55:
            api.put("things", name, size=step)
        elif roll < 0.75:
            if ("things", "", name) in api.objects:
                api.remove("things", name)
        elif roll < 0.82:
            api.cut()
        elif roll < 0.86:
            api.cut(after=b'{"type":"MODIFIED","object":{"metadata":{"na')
        elif roll < 0.89:
            api.bookmark()
        elif roll < 0.91:
            api.compact()
            api.cut()
        elif roll < 0.93:
            api.error_event(410, "Gone")
        elif roll < 0.95:
            api.watch_faults.append(dice.choice([reset, answer(500, "InternalError"), answer(410, "Expired")]))
            api.cut()
        elif roll < 0.97:
            api.list_faults.append(dice.choice([reset, answer(500, "InternalError")]))
        elif roll < 0.98:
            await api.stop()
            await api.start()
        if dice.random() < 0.3:
            await asyncio.sleep(dice.random() * 0.02)
    await eventually(world.agrees, within=20)


async def test_an_event_reaches_the_callback_within_milliseconds(world: World) -> None:
    """Median over loopback, decoding included; a fifth of the limit on an idle machine."""
    await world.start()
    delays = []
    for number in range(200):
        sent = time.perf_counter()
        world.api.put("things", "a", size=number)
        await eventually(lambda want=number + 1: len(world.journal.times) == want)
        delays.append(world.journal.times[-1] - sent)
    assert sorted(delays)[100] < 0.005


def test_backoff_doubles_to_its_limit_with_jitter_and_resets() -> None:
    steady = Backoff(first=0.1, limit=1.0, choose=lambda: 0.0)
    assert [round(steady.next(), 3) for _ in range(5)] == [0.1, 0.2, 0.4, 0.8, 1.0]
    steady.reset()
    assert steady.next() == pytest.approx(0.1)
    jittered = Backoff(first=0.1, limit=1.0, choose=lambda: 1.0)
    assert jittered.next() == pytest.approx(0.05)
