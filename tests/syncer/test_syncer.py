"""What Felix is told, and when. Caches and their faults: tests/kube."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from kube_fake_api import FakeApi, eventually

from tortie.kube.client import Client
from tortie.model.dataplane import (
    HostEndpointKey,
    Key,
    PolicyKey,
    ProfileKey,
    TierKey,
    Update,
    Value,
    WorkloadEndpointKey,
)
from tortie.syncer import Syncer
from tortie.syncer.sources import FELIX

GNP = "globalnetworkpolicies.projectcalico.org"
HEP = "hostendpoints.projectcalico.org"
TIER = "tiers.projectcalico.org"


class Felix:
    """A sink that keeps the picture and the order of what it was told."""

    def __init__(self) -> None:
        self.state: dict[Key, Value] = {}
        self.log: list[str | list[Update]] = []

    def on_updates(self, updates: list[Update]) -> None:
        assert updates
        self.log.append(updates)
        for update in updates:
            if update.value is None:
                del self.state[update.key]
            else:
                assert self.state.get(update.key) != update.value, "an update that changes nothing"
                self.state[update.key] = update.value

    def on_status(self, status: str) -> None:
        self.log.append(status)

    @property
    def statuses(self) -> list[str]:
        return [entry for entry in self.log if isinstance(entry, str)]

    @property
    def batches(self) -> list[list[Update]]:
        return [entry for entry in self.log if not isinstance(entry, str)]


class World:
    def __init__(self, api: FakeApi, client: Client) -> None:
        self.api = api
        self.felix = Felix()
        self.syncer = Syncer(client, node="n1")
        self.task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self.task = asyncio.create_task(self.syncer.run(self.felix))
        await eventually(lambda: "in-sync" in self.felix.statuses, what=str(self.felix.statuses))
        await eventually(lambda: len(self.api.watchers) == len(FELIX))

    def pod(
        self, name: str, *, ip: str = "192.168.1.1", phase: str = "Running", node: str = "n1", **labels: str
    ) -> None:
        spec = {"nodeName": node, "containers": [{"name": "c"}]}
        status = {"phase": phase, "podIPs": [{"ip": ip}] if ip else []}
        obj = self.api.put("pods", name, "shop", spec=spec, status=status)
        obj["metadata"]["labels"] = labels


@pytest.fixture
async def world() -> AsyncIterator[World]:
    api = FakeApi()
    await api.start()
    async with Client(api.config) as client:
        w = World(api, client)
        yield w
        if w.task is not None:
            w.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await w.task
    await api.stop()


def pod_key(name: str, node: str = "n1") -> WorkloadEndpointKey:
    return WorkloadEndpointKey(node=node, orchestrator="k8s", workload=f"shop/{name}", endpoint="eth0")


async def test_everything_arrives_before_in_sync_and_nothing_before_the_resync(world: World) -> None:
    world.api.put("namespaces", "shop")
    world.api.put(TIER, "default", spec={"order": 1000000})
    world.api.put(GNP, "deny", spec={"selector": "all()", "types": ["Ingress"]})
    world.pod("web")
    await world.start()
    assert world.felix.statuses == ["wait-for-datastore", "resync-in-progress", "in-sync"]
    assert world.felix.log[:2] == ["wait-for-datastore", "resync-in-progress"]
    assert world.felix.log[-1] == "in-sync"
    assert {
        ProfileKey("projectcalico-default-allow"),
        ProfileKey("kns.shop"),
        TierKey("default"),
        PolicyKey("GlobalNetworkPolicy", "", "deny"),
        pod_key("web"),
    } == set(world.felix.state)


async def test_a_server_that_is_away_means_waiting(world: World) -> None:
    await world.api.stop()
    world.task = asyncio.create_task(world.syncer.run(world.felix))
    await asyncio.sleep(0.2)
    assert world.felix.log == ["wait-for-datastore"]
    await world.api.start()
    await eventually(lambda: world.felix.statuses[-1] == "in-sync")


async def test_what_arrives_together_leaves_in_one_batch(world: World) -> None:
    await world.start()
    before = len(world.felix.batches)
    for number in range(50):
        world.pod(f"web-{number}", ip=f"192.168.1.{number}")
        world.api.put(TIER, f"t{number}")
    await eventually(lambda: len(world.felix.state) == 101)
    assert len(world.felix.batches) - before <= 4


async def test_a_change_that_the_dataplane_does_not_see_wakes_nobody(world: World) -> None:
    world.pod("web")
    await world.start()
    before = len(world.felix.log)
    swallowed = world.syncer.statistics()["swallowed_total"]
    for _ in range(5):
        world.pod("web")
    await eventually(lambda: world.syncer.statistics()["swallowed_total"] >= swallowed + 5)
    assert len(world.felix.log) == before


async def test_a_finished_pod_leaves_the_dataplane(world: World) -> None:
    world.pod("web")
    await world.start()
    world.pod("web", phase="Succeeded")
    await eventually(lambda: pod_key("web") not in world.felix.state)


async def test_an_object_that_stops_converting_is_absent_not_stale(world: World) -> None:
    world.pod("web")
    world.pod("other", ip="192.168.1.2")
    await world.start()
    world.pod("web", ip="not-an-address")
    await eventually(lambda: pod_key("web") not in world.felix.state)
    assert pod_key("other") in world.felix.state
    assert world.syncer.statistics()["unconvertible"] == 1
    world.pod("web", ip="192.168.1.3")
    await eventually(lambda: pod_key("web") in world.felix.state)
    assert world.syncer.statistics()["unconvertible"] == 0


async def test_an_object_that_does_not_even_decode_is_absent(world: World) -> None:
    world.api.put(GNP, "deny", spec={"selector": "all()"})
    await world.start()
    world.api.put(GNP, "deny", spec={"selector": ["not", "text"]})
    await eventually(lambda: PolicyKey("GlobalNetworkPolicy", "", "deny") not in world.felix.state)


async def test_an_object_that_moves_to_another_key_leaves_the_old_one(world: World) -> None:
    world.api.put(HEP, "eth0", spec={"node": "n1", "interfaceName": "eth0"})
    await world.start()
    world.api.put(HEP, "eth0", spec={"node": "n2", "interfaceName": "eth0"})
    await eventually(lambda: HostEndpointKey("n2", "eth0") in world.felix.state)
    assert HostEndpointKey("n1", "eth0") not in world.felix.state
    last = world.felix.batches[-1]
    assert [u.value is None for u in last] == [True, False]


async def test_deletions_missed_while_the_server_was_away_are_made_up_for(world: World) -> None:
    world.pod("web")
    world.pod("other", ip="192.168.1.2")
    await world.start()
    await world.api.stop()
    world.api.remove("pods", "web", "shop")
    world.api.compact()
    await world.api.start()
    await eventually(lambda: pod_key("web") not in world.felix.state)
    assert pod_key("other") in world.felix.state
    assert world.felix.statuses == ["wait-for-datastore", "resync-in-progress", "in-sync"], "in sync stays in sync"


async def test_an_exception_of_the_sink_ends_the_syncer(world: World) -> None:
    def broken(_updates: list[Update]) -> Any:
        raise RuntimeError("a bug in felix")

    world.felix.on_updates = broken  # type: ignore[method-assign]  # the fault under test
    world.pod("web")
    with pytest.raises(RuntimeError, match="a bug in felix"):
        await asyncio.wait_for(world.syncer.run(world.felix), 10)
