"""Address management against the embedded API server, and the in-memory API against the same contract.

Covered elsewhere: every rule of assignment, on the in-memory API (test_ipam_allocator).
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from ipam_world import World, take, want
from tools import ApiServer

from tortie.ipam.affinity import Owner
from tortie.ipam.allocator import Allocator
from tortie.ipam.memory import MemoryApi
from tortie.ipam.view import CachedView
from tortie.kube import config
from tortie.kube.client import Client
from tortie.kube.errors import AlreadyExists, Conflict, NotFound
from tortie.model import v3
from tortie.model.catalog import BLOCK_AFFINITIES, IPAM_BLOCKS, IPAM_HANDLES
from tortie.model.meta import ObjectMeta
from tortie.model.v3.ipam import BlockAffinitySpec, IPAMHandleSpec


@pytest.fixture(params=["memory", "server"])
async def any_api(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    if request.param == "memory":
        yield MemoryApi()
        return
    server: ApiServer = request.getfixturevalue("api_server")
    async with Client(config.load(str(server.kubeconfig))) as client:
        yield client


def handle(name: str, **blocks: int) -> v3.IPAMHandle:
    return v3.IPAMHandle(metadata=ObjectMeta(name=name), spec=IPAMHandleSpec(handle_id=name.upper(), block=blocks))


# --- the contract that both keep -------------------------------------------------------------------------------------


async def test_an_object_is_created_once_and_read_as_it_was_written(any_api: Any) -> None:
    made = await any_api.create(IPAM_HANDLES, handle("a", b=2))
    assert made.metadata.uid
    assert made.metadata.resource_version
    found = await any_api.get(IPAM_HANDLES, "a")
    assert (found.spec.handle_id, dict(found.spec.block)) == ("A", {"b": 2})
    assert found.metadata.resource_version == made.metadata.resource_version
    with pytest.raises(AlreadyExists):
        await any_api.create(IPAM_HANDLES, handle("a"))
    assert await any_api.find(IPAM_HANDLES, "b") is None
    with pytest.raises(NotFound):
        await any_api.get(IPAM_HANDLES, "b")


async def test_an_update_of_an_old_revision_is_a_conflict(any_api: Any) -> None:
    first = await any_api.create(IPAM_HANDLES, handle("a", b=1))
    second = await any_api.update(
        IPAM_HANDLES, msgspec.structs.replace(first, spec=msgspec.structs.replace(first.spec, block={"b": 2}))
    )
    assert second.metadata.resource_version != first.metadata.resource_version
    with pytest.raises(Conflict):
        await any_api.update(
            IPAM_HANDLES, msgspec.structs.replace(first, spec=msgspec.structs.replace(first.spec, block={"b": 3}))
        )
    assert dict((await any_api.get(IPAM_HANDLES, "a")).spec.block) == {"b": 2}


async def test_a_deletion_with_preconditions_deletes_exactly_that_revision(any_api: Any) -> None:
    first = await any_api.create(IPAM_HANDLES, handle("a", b=1))
    second = await any_api.update(
        IPAM_HANDLES, msgspec.structs.replace(first, spec=msgspec.structs.replace(first.spec, block={"b": 2}))
    )
    for uid, version in (
        (first.metadata.uid, first.metadata.resource_version),
        ("11111111-2222-3333-4444-555555555555", second.metadata.resource_version),
    ):
        with pytest.raises(Conflict):
            await any_api.delete(IPAM_HANDLES, "a", preconditions={"uid": uid, "resourceVersion": version})
    await any_api.delete(
        IPAM_HANDLES,
        "a",
        preconditions={"uid": second.metadata.uid, "resourceVersion": second.metadata.resource_version},
    )
    with pytest.raises(NotFound):
        await any_api.delete(IPAM_HANDLES, "a")
    again = await any_api.create(IPAM_HANDLES, handle("a", b=1))
    assert again.metadata.uid != first.metadata.uid


async def test_lists_are_selected_by_labels(any_api: Any) -> None:
    for name, labels in (("x", {"a": "1", "b": "1"}), ("y", {"a": "1"}), ("z", {})):
        await any_api.create(
            BLOCK_AFFINITIES,
            v3.BlockAffinity(
                metadata=ObjectMeta(name=name, labels=labels),
                spec=BlockAffinitySpec(state="pending", node="n", type="host", cidr="10.0.0.0/26"),
            ),
        )
    found = await any_api.list(BLOCK_AFFINITIES, label_selector="a=1,b=1")
    assert [each.metadata.name for each in found.items] == ["x"]
    assert [each.metadata.name for each in (await any_api.list(BLOCK_AFFINITIES)).items] == ["x", "y", "z"]


# --- assignment ------------------------------------------------------------------------------------------------------


async def test_a_pods_life_leaves_an_empty_block_and_nothing_else(any_api: Any) -> None:
    world = World(any_api)
    node = await world.node("node-1")
    await world.pool("v4", "10.0.0.0/24")
    await world.pool("v6", "fd00::/112")
    v4, v6 = await take(node, "net.AbC", v6=1)
    assert await world.held() == {v4: "net.AbC", v6: "net.AbC"}
    assert await node.addresses_by_handle("net.AbC") == [v4, v6]
    await world.assert_sound()
    assert set(await node.release.handle("net.AbC", sole_user=True)) == {v4, v6}
    assert await world.held() == {}
    assert await world.handles() == {}
    assert {state for _, state in (await world.affinities()).values()} == {"confirmed"}
    await node.release.owner(Owner("node-1"))
    assert await world.blocks() == {}
    assert await world.affinities() == {}


async def test_several_nodes_at_once_never_share_an_address_and_borrow_when_they_must(any_api: Any) -> None:
    world = World(any_api)
    nodes = [await world.node(f"n{number}") for number in range(3)]
    await world.pool("p", "10.0.0.0/27", block_size=29)
    results = await asyncio.gather(
        *(node.auto_assign(want(f"h{number}-{step}")) for number, node in enumerate(nodes) for step in range(12))
    )
    given = [address.partition("/")[0] for result in results for address in result[0].addresses]
    assert len(given) == 32, "the whole pool"
    assert set(await world.held()) == set(given)
    await world.assert_sound()


async def test_a_cached_view_sees_a_pool_that_was_made_a_moment_ago(api_server: ApiServer) -> None:
    async with Client(config.load(str(api_server.kubeconfig))) as client:
        world = World(client)
        await world.node("n1")
        view = CachedView(client, node="n1")
        running = asyncio.create_task(view.run())
        await view.wait_synced()
        allocator = Allocator(client, view, owner=Owner("n1"))
        await world.pool("p", "10.0.0.0/24")
        assert len(await take(allocator, "a")) == 1
        assert len((await client.list(IPAM_BLOCKS)).items) == 1
        running.cancel()
        await asyncio.wait([running])
