"""Leader election and event recording against a small in-memory client with optimistic concurrency."""

import asyncio
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kube_fake_api import eventually

from tortie.kube.errors import AlreadyExists, Conflict, NotFound, Unavailable
from tortie.kube.events import EventRecorder, Reference
from tortie.kube.leader import LeaderElector, LeadershipLost, Timing

FAST = Timing(duration=0.3, deadline=0.2, retry=0.02)


class MemoryClient:
    """The four verbs used here, on a dictionary."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.version = 0
        self.down = False
        self.crashed: str | None = None  # the identity whose writes fail
        self.answer_after = 0.0

    async def get(self, _resource: Any, name: str, _namespace: str) -> dict[str, Any]:
        await self._work()
        if name not in self.objects:
            raise NotFound(404, "NotFound", name)
        return deepcopy(self.objects[name])

    async def create(self, _resource: Any, obj: dict[str, Any], _namespace: str) -> dict[str, Any]:
        await self._work()
        name = obj["metadata"]["name"]
        if name in self.objects:
            raise AlreadyExists(409, "AlreadyExists", name)
        return self._store(obj)

    async def update(self, _resource: Any, obj: dict[str, Any]) -> dict[str, Any]:
        await self._work()
        stored = self.objects[obj["metadata"]["name"]]
        if stored["metadata"]["resourceVersion"] != obj["metadata"]["resourceVersion"]:
            raise Conflict(409, "Conflict", "modified")
        if obj["spec"]["holderIdentity"] == self.crashed:
            raise Unavailable(0, "Unreachable", "crashed")
        result = self._store(obj)
        await asyncio.sleep(self.answer_after)
        return result

    async def patch(self, _resource: Any, name: str, change: dict[str, Any], *, namespace: str) -> None:
        await self._work()
        if name not in self.objects:
            raise NotFound(404, "NotFound", name)
        self.objects[name].update(change)

    async def _work(self) -> None:
        await asyncio.sleep(0)
        if self.down:
            raise Unavailable(0, "Unreachable", "down")

    def _store(self, obj: dict[str, Any]) -> dict[str, Any]:
        self.version += 1
        metadata = {**obj["metadata"], "resourceVersion": str(self.version)}
        self.objects[metadata["name"]] = {**deepcopy(obj), "metadata": metadata}
        return self.objects[metadata["name"]]


def elector(client: Any, identity: str) -> LeaderElector:
    return LeaderElector(client, namespace="kube-system", name="lock", identity=identity, timing=FAST)


async def work_until_cancelled(log: list[str], name: str) -> None:
    log.append(f"{name} starts")
    try:
        await asyncio.Event().wait()
    finally:
        log.append(f"{name} stops")


async def test_one_of_two_leads_and_the_other_follows_at_once_after_an_orderly_end() -> None:
    client, log = MemoryClient(), list[str]()
    first = asyncio.create_task(elector(client, "a").run(lambda: work_until_cancelled(log, "a")))
    await eventually(lambda: log)
    second = asyncio.create_task(elector(client, "b").run(lambda: work_until_cancelled(log, "b")))
    await asyncio.sleep(0.5)
    assert log == ["a starts"], "renewals keep the lease past its duration"
    first.cancel()
    await eventually(lambda: len(log) == 3, within=FAST.duration * 0.8)
    assert log == ["a starts", "a stops", "b starts"]
    assert client.objects["lock"]["spec"]["leaseTransitions"] == 1
    second.cancel()
    await asyncio.gather(first, second, return_exceptions=True)


async def test_a_leader_cut_off_stops_working_before_another_may_begin() -> None:
    client, log = MemoryClient(), list[str]()
    task = asyncio.create_task(elector(client, "a").run(lambda: work_until_cancelled(log, "a")))
    await eventually(lambda: log)
    loop = asyncio.get_running_loop()
    client.down, cut = True, loop.time()
    with pytest.raises(LeadershipLost, match="not renewed"):
        await task
    assert log == ["a starts", "a stops"]
    assert loop.time() - cut < FAST.duration


async def test_a_stolen_lease_ends_leadership() -> None:
    client, log = MemoryClient(), list[str]()
    task = asyncio.create_task(elector(client, "a").run(lambda: work_until_cancelled(log, "a")))
    await eventually(lambda: log)
    client.objects["lock"]["spec"]["holderIdentity"] = "thief"
    with pytest.raises(LeadershipLost, match="thief"):
        await task


async def test_an_error_of_the_work_comes_out() -> None:
    async def fails() -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        await elector(MemoryClient(), "a").run(fails)


async def test_clocks_that_disagree_neither_shorten_nor_lengthen_a_lease() -> None:
    client, log = MemoryClient(), list[str]()
    far = {"a": timedelta(hours=-2), "b": timedelta(hours=2)}
    tasks = {}
    for name in far:
        skewed = LeaderElector(
            client, namespace="kube-system", name="lock", identity=name, timing=FAST,
            now=lambda name=name: datetime.now(UTC) + far[name],
        )  # fmt: skip
        tasks[name] = asyncio.create_task(skewed.run(lambda name=name: work_until_cancelled(log, name)))
        await eventually(lambda: log)
    await asyncio.sleep(FAST.duration * 3)
    assert log == ["a starts"]
    crashed, client.crashed = asyncio.get_running_loop().time(), "a"
    await eventually(lambda: "b starts" in log)
    assert FAST.duration * 0.8 < asyncio.get_running_loop().time() - crashed < FAST.duration * 3
    assert log == ["a starts", "a stops", "b starts"]
    for task in tasks.values():
        task.cancel()
    await asyncio.gather(*tasks.values(), return_exceptions=True)


async def test_a_renewal_counts_from_when_it_was_asked_for_not_from_its_answer() -> None:
    client, log = MemoryClient(), list[str]()
    task = asyncio.create_task(elector(client, "a").run(lambda: work_until_cancelled(log, "a")))
    await eventually(lambda: log)
    loop = asyncio.get_running_loop()
    client.answer_after = FAST.deadline * 0.8
    seen = client.version
    await eventually(lambda: client.version > seen)
    stored, client.crashed = loop.time(), "a"
    with pytest.raises(LeadershipLost):
        await task
    assert loop.time() - stored < FAST.duration, "another candidate may begin now"


def test_timing_that_cannot_be_safe_is_refused() -> None:
    with pytest.raises(ValueError, match="duration > deadline > retry"):
        Timing(duration=5, deadline=10, retry=1)


# --- events --------------------------------------------------------------------------------------------------------

POD = Reference("v1", "Pod", "web", "shop", "uid-1")


async def test_the_same_event_again_counts_up_one_object() -> None:
    client = MemoryClient()
    recorder = EventRecorder(client, "lab-kubelet", host="n1")  # type: ignore[arg-type]  # duck-typed test client
    task = asyncio.create_task(recorder.run())
    for _ in range(3):
        recorder.event(POD, "Warning", "BackOff", "Back-off restarting failed container")
    recorder.event(POD, "Normal", "Started", "Started container web")
    await recorder.flush()
    task.cancel()
    counts = sorted((e["reason"], e["count"]) for e in client.objects.values())
    assert counts == [("BackOff", 3), ("Started", 1)]
    event = next(iter(client.objects.values()))
    assert event["involvedObject"] == {
        "apiVersion": "v1",
        "kind": "Pod",
        "name": "web",
        "namespace": "shop",
        "uid": "uid-1",
    }
    assert event["source"] == {"component": "lab-kubelet", "host": "n1"}


async def test_an_object_that_shouts_is_held_back_and_others_are_not() -> None:
    client = MemoryClient()
    now = [0.0]
    recorder = EventRecorder(client, "x", burst=5, refill=10.0, clock=lambda: now[0])  # type: ignore[arg-type]  # duck-typed test client
    for number in range(50):
        recorder.event(POD, "Warning", "Noise", str(number))
    recorder.event(Reference("v1", "Pod", "calm", "shop"), "Normal", "Started", "ok")
    assert recorder.statistics() == {"written_total": 0, "dropped_total": 45, "queued": 6}
    now[0] = 20.0
    recorder.event(POD, "Warning", "Noise", "later")
    assert recorder.statistics()["queued"] == 7


async def test_a_failing_server_drops_events_but_never_raises() -> None:
    client = MemoryClient()
    client.down = True
    recorder = EventRecorder(client, "x")  # type: ignore[arg-type]  # duck-typed test client
    task = asyncio.create_task(recorder.run())
    recorder.event(POD, "Normal", "Started", "ok")
    await recorder.flush()
    assert recorder.statistics()["dropped_total"] == 1
    task.cancel()
