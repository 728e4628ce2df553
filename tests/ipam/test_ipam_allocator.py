"""Assigning and releasing addresses against an API: what is written, in which order, and what races end in.

Covered elsewhere: arithmetic within a block (test_ipam_block); the same calls against the embedded API server
(test_ipam_server).
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress

import msgspec
import pytest
from ipam_world import World, messages, reads, take, want, writes

from tortie.ipam.affinity import Owner
from tortie.ipam.allocator import Allocator
from tortie.ipam.block import BadHandle, BadSequence, Draft, ReleaseRequest, allocations_of
from tortie.ipam.errors import (
    AddressInUse,
    AddressNotInPool,
    AffinityLost,
    BlockLimitReached,
    BlockNotEmpty,
    HandleNotFound,
    NotOwner,
    NoUsablePool,
    TooMuchContention,
)
from tortie.ipam.memory import MemoryApi
from tortie.kube.errors import Conflict, Unavailable
from tortie.model.catalog import BLOCK_AFFINITIES, IP_POOLS, IPAM_BLOCKS, IPAM_HANDLES, NODES
from tortie.model.names import affinity_name, hostname_hash
from tortie.model.v3.ipam import IPAMBlock


@pytest.fixture
def api() -> MemoryApi:
    return MemoryApi()


@pytest.fixture
def world(api: MemoryApi) -> World:
    return World(api)


# --- the usual way ---------------------------------------------------------------------------------------------------


async def test_the_first_address_claims_a_block_with_a_confirmed_and_labelled_affinity(world: World) -> None:
    node = await world.node("n1")
    await world.pool("p", "10.0.0.0/24", block_size=28)
    (address,) = await take(node, "net.c1", attributes={"pod": "web", "node": "n1"})
    ((cidr, block),) = (await world.blocks()).items()
    assert block.spec.affinity == "host:n1"
    assert block.spec.affinity_claim_time == "2026-01-01T00:00:00Z"
    assert await world.held() == {address: "net.c1"}
    assert block.spec.attributes[0].secondary == {"pod": "web", "node": "n1"}
    (affinity,) = (await world.api.list(BLOCK_AFFINITIES)).items
    assert (affinity.spec.state, affinity.spec.node, affinity.spec.type, affinity.spec.cidr) == (
        "confirmed",
        "n1",
        "host",
        cidr,
    )
    assert affinity.metadata.labels == {
        "projectcalico.org/hostname-hash": hostname_hash("n1"),
        "projectcalico.org/affinity-type": "host",
        "projectcalico.org/ip-version": "4",
    }
    await world.assert_sound()


async def test_a_further_address_costs_two_writes_the_handle_before_the_block(world: World, api: MemoryApi) -> None:
    node = await world.node("n1")
    await world.pool("p", "10.0.0.0/24")
    await take(node, "a")
    api.requests.clear()
    await take(node, "b")
    assert writes(api.requests) == [("create", "ipamhandles"), ("update", "ipamblocks")]
    assert not {"ipamblocks", "ipamhandles", "blockaffinities"} & set(reads(api.requests))


async def test_a_dual_stack_pod_costs_three_writes(world: World, api: MemoryApi) -> None:
    node = await world.node("n1")
    await world.pool("p4", "10.0.0.0/24")
    await world.pool("p6", "fd00::/112")
    await take(node, "a", v6=1)
    api.requests.clear()
    v4, v6 = await take(node, "b", v6=1)
    assert (":" in v4, ":" in v6) == (False, True)
    assert writes(api.requests) == [("create", "ipamhandles"), ("update", "ipamblocks"), ("update", "ipamblocks")]
    await world.assert_sound()


async def test_a_release_costs_two_writes_the_block_before_the_handle(world: World, api: MemoryApi) -> None:
    node = await world.node("n1")
    await world.pool("p", "10.0.0.0/24")
    await take(node, "a")
    (address,) = await take(node, "b")
    api.requests.clear()
    assert await node.release.handle("b", sole_user=True) == (address,)
    assert writes(api.requests) == [("update", "ipamblocks"), ("delete", "ipamhandles")]
    assert set(await world.handles()) == {"a"}


async def test_requests_at_the_same_time_share_writes_of_a_block(world: World, api: MemoryApi) -> None:
    node = await world.node("n1")
    await world.pool("p", "10.0.0.0/24")
    await take(node, "first")
    api.requests.clear()
    results = await asyncio.gather(*(take(node, f"h{number}") for number in range(50)))
    assert len({address for result in results for address in result}) == 50
    assert writes(api.requests).count(("update", "ipamblocks")) <= 5
    await world.assert_sound()


async def test_many_requests_at_the_same_time_claim_only_the_blocks_they_need(world: World) -> None:
    node = await world.node("n1")
    await world.pool("p", "10.0.0.0/24", block_size=29)
    await asyncio.gather(*(take(node, f"h{number}") for number in range(20)))
    assert len(await world.blocks()) == 3
    await world.assert_sound()


async def test_a_request_for_more_than_a_block_is_spread_over_blocks(world: World) -> None:
    node = await world.node("n1")
    await world.pool("p", "10.0.0.0/24", block_size=28)
    assert len(set(await take(node, "big", v4=64))) == 64
    assert sorted((await world.handles())["big"].values()) == [16, 16, 16, 16]
    await world.assert_sound()


async def test_addresses_come_with_the_prefix_length_of_their_block(world: World) -> None:
    node = await world.node("n1")
    await world.pool("p", "10.0.0.0/24", block_size=28)
    v4, _ = await node.auto_assign(want("h"))
    assert v4.addresses[0].endswith("/28")


async def test_a_restarted_process_uses_the_blocks_its_node_has(world: World) -> None:
    node = await world.node("n1")
    await world.pool("p", "10.0.0.0/16")
    first = await take(node, "a")
    again = world.allocator("n1")
    assert await take(again, "b") != first
    assert len(await world.blocks()) == 1


async def test_after_warming_up_the_first_address_costs_two_writes_too(world: World, api: MemoryApi) -> None:
    await take(await _with_pool(world), "a")
    again = world.allocator("n1")
    await again.warm()
    api.requests.clear()
    await take(again, "b")
    assert writes(api.requests) == [("create", "ipamhandles"), ("update", "ipamblocks")]


# --- which pool, which block -----------------------------------------------------------------------------------------


async def test_different_hosts_start_at_different_blocks(world: World) -> None:
    await world.pool("p", "10.0.0.0/16")
    for number in range(6):
        await take(await world.node(f"node-{number}"), f"h{number}")
    starts = sorted(await world.blocks())
    assert len(starts) == 6


async def test_pools_are_used_in_order_of_name_and_only_those_that_select_the_node(world: World) -> None:
    node = await world.node("n1", zone="b")
    await world.pool("a", "10.1.0.0/24", node_selector="zone == 'a'")
    await world.pool("c", "10.3.0.0/24")
    await world.pool("b", "10.2.0.0/24", node_selector="zone == 'b'")
    assert (await take(node, "h"))[0].startswith("10.2.0.")


async def test_a_pool_with_a_namespace_selector_serves_matching_namespaces_only(world: World) -> None:
    node = await world.node("n1")
    await world.pool("team", "10.1.0.0/24", namespace_selector="team == 'red'")
    assert (await take(node, "h", namespace_labels={"team": "red"}))[0].startswith("10.1.0.")
    for labels in ({"team": "blue"}, None):
        with pytest.raises(NoUsablePool, match="no enabled IPv4 pool with use Workload for node n1"):
            await take(node, "x", namespace_labels=labels)


async def test_requested_pools_replace_selectors_and_manual_mode_but_not_disabled_nor_uses(world: World) -> None:
    node = await world.node("n1")
    await world.pool("manual", "10.1.0.0/24", node_selector="!all()", assignment_mode="Manual")
    await world.pool("off", "10.2.0.0/24", disabled=True)
    await world.pool("tunnels", "10.3.0.0/24", allowed_uses=("Tunnel",))
    with pytest.raises(NoUsablePool):
        await take(node, "h")
    assert (await take(node, "h", pools_v4=["10.1.0.0/24"]))[0].startswith("10.1.0.")
    for cidr in ("10.2.0.0/24", "10.3.0.0/24", "10.9.0.0/24"):
        with pytest.raises(NoUsablePool, match=f"among the requested {cidr}"):
            await take(node, "x", pools_v4=[cidr])


async def test_reserved_addresses_are_never_assigned_automatically(world: World) -> None:
    node = await world.node("n1")
    await world.pool("p", "10.0.0.0/27", block_size=28)
    await world.reserve("10.0.0.0/28", " 10.0.0.17 ", "10.0.0.20/30")
    got = await take(node, "h", v4=11)
    free = {f"10.0.0.{n}" for n in range(16, 32)} - {"10.0.0.17", *(f"10.0.0.{n}" for n in range(20, 24))}
    assert set(got) == free
    assert list(await world.blocks()) == ["10.0.0.16/28"]
    assert "no free address in pools [p]" in messages(await node.auto_assign(want("more")))


async def test_the_block_limit_ends_a_request_without_borrowing(world: World) -> None:
    await world.settings(strict_affinity=False, max_blocks_per_host=0)
    node, other = await world.node("n1"), await world.node("n2")
    await world.pool("p", "10.0.0.0/28", block_size=30)
    await take(other, "theirs")
    await take(node, "mine", v4=4)
    with pytest.raises(BlockLimitReached, match=r"already owns 1 blocks in pools \[p\], the limit is 1"):
        await take(node, "more", max_blocks=1)
    await world.assert_sound()


async def test_the_block_limit_counts_only_blocks_of_usable_pools_and_the_family(world: World) -> None:
    await world.settings(strict_affinity=True, max_blocks_per_host=1)
    node = await world.node("n1")
    await world.pool("a", "10.1.0.0/28", block_size=30)
    await world.pool("b", "10.2.0.0/28", block_size=30)
    await world.pool("c", "fd00::/112")
    await take(node, "a", pools_v4=["10.1.0.0/28"], v6=1)
    assert (await take(node, "b", pools_v4=["10.2.0.0/28"]))[0].startswith("10.2.")
    with pytest.raises(BlockLimitReached):
        await take(node, "c", v4=7)


async def test_a_node_owns_twenty_blocks_at_most_unless_told_otherwise(world: World) -> None:
    node = await world.node("n1")
    await world.pool("p", "10.0.0.0/24", block_size=32)
    with pytest.raises(BlockLimitReached, match="the limit is 20"):
        await take(node, "h", v4=21)
    assert await world.held() == {}, "what had been assigned is given back"
    await world.assert_sound()


async def test_without_automatic_blocks_a_node_without_space_gets_nothing(world: World) -> None:
    await world.settings(strict_affinity=True, auto_allocate_blocks=False)
    node = await world.node("n1")
    await world.pool("p", "10.0.0.0/24")
    result = await node.auto_assign(want("h"))
    assert not result[0].complete
    assert "autoAllocateBlocks is off" in messages(result)
    assert await world.blocks() == {}


async def test_an_exhausted_pool_is_served_from_other_nodes_blocks(world: World) -> None:
    node, other = await world.node("n1"), await world.node("n2")
    await world.pool("p", "10.0.0.0/29", block_size=30)
    await take(other, "o1", v4=5)
    assert set((await world.affinities()).values()) == {("n2", "confirmed")}
    (address,) = await take(node, "borrowed")
    block = next(b for b in (await world.blocks()).values() if address in _addresses(b))
    assert block.spec.affinity == "host:n2", "borrowing changes no owner"
    assert len(await take(node, "rest", v4=2)) == 2
    assert "no free address in pools [p]" in messages(await node.auto_assign(want("none")))
    await world.assert_sound()


async def test_strict_affinity_forbids_borrowing_and_says_so(world: World) -> None:
    await world.settings(strict_affinity=True)
    node, other = await world.node("n1"), await world.node("n2")
    await world.pool("p", "10.0.0.0/29", block_size=30)
    await take(other, "o1", v4=5)
    result = await node.auto_assign(want("h"))
    assert not result[0].complete
    assert "strict affinity forbids" in messages(result)


async def test_an_empty_block_of_another_node_is_taken_over_after_a_minute_only(world: World) -> None:
    await world.settings(strict_affinity=True)
    node, other = await world.node("n1"), await world.node("n2")
    await world.pool("p", "10.0.0.0/30", block_size=30)
    await take(other, "o")
    await other.release.handle("o")
    world.wait(59)
    assert not (await node.auto_assign(want("h")))[0].complete
    world.wait(1)
    assert len(await take(node, "h")) == 1
    assert await world.affinities() == {"10.0.0.0/30": ("n1", "confirmed")}
    # The other node's process still believes in its block.
    assert not (await other.auto_assign(want("o2")))[0].complete
    await world.assert_sound()


async def test_a_block_in_cool_down_is_neither_taken_over_nor_given_out(world: World) -> None:
    await world.settings(strict_affinity=True, ip_cooldown_seconds=600)
    node, other = await world.node("n1"), await world.node("n2")
    await world.pool("p", "10.0.0.0/30", block_size=30)
    await take(other, "o", v4=4)
    await other.release.handle("o")
    world.wait(300)
    assert not (await node.auto_assign(want("h")))[0].complete
    assert not (await other.auto_assign(want("h")))[0].complete
    with pytest.raises(AddressInUse):
        await other.assign_address("10.0.0.1", handle="x", attributes={})
    world.wait(301)
    assert len(await take(other, "h")) == 1


async def test_an_empty_block_whose_pool_no_longer_selects_the_node_is_released_on_the_way(world: World) -> None:
    node = await world.node("n1", zone="a")
    pool = await world.pool("p", "10.1.0.0/24")
    await world.pool("q", "10.2.0.0/24")
    await take(node, "h", pools_v4=["10.2.0.0/24"])
    await node.affinities.claim(Owner("n1"), "10.1.0.0/26")
    await node.warm()
    spec = msgspec.structs.replace(pool.spec, node_selector="zone == 'b'")
    await world.api.update(IP_POOLS, msgspec.structs.replace(pool, spec=spec))
    await take(node, "h2")
    assert "10.1.0.0/26" not in await world.blocks()
    assert "10.1.0.0/26" not in await world.affinities()


async def test_a_virtual_owner_needs_no_node(world: World) -> None:
    balancer = world.allocator("load-balancer", virtual=True)
    await world.pool("lb", "10.5.0.0/28", allowed_uses=("LoadBalancer",), block_size=30)
    await take(balancer, "lb-1", use="LoadBalancer")
    ((block),) = (await world.blocks()).values()
    assert block.spec.affinity == "virtual:load-balancer"


# --- one named address -----------------------------------------------------------------------------------------------


async def test_a_named_address_claims_its_block_whatever_selectors_limits_and_reservations_say(world: World) -> None:
    await world.settings(strict_affinity=True, auto_allocate_blocks=False, max_blocks_per_host=1)
    node = await world.node("n1")
    await world.pool("p", "10.0.0.0/24", node_selector="!all()", assignment_mode="Manual")
    await world.reserve("10.0.0.0/24")
    await node.assign_address("10.0.0.70", handle="h", attributes={"pod": "p"}, use="Workload")
    assert await world.held() == {"10.0.0.70": "h"}
    assert await world.affinities() == {"10.0.0.64/26": ("n1", "confirmed")}
    await world.assert_sound()


async def test_a_named_address_must_be_in_an_enabled_pool_for_the_use(world: World) -> None:
    node = await world.node("n1")
    await world.pool("off", "10.1.0.0/24", disabled=True)
    await world.pool("tunnels", "10.2.0.0/24", allowed_uses=("Tunnel",))
    for address in ("10.1.0.1", "10.9.0.1", "fd00::1"):
        with pytest.raises(AddressNotInPool, match="is not in a configured pool"):
            await node.assign_address(address, handle="h", attributes={})
    with pytest.raises(AddressNotInPool, match="not for use Workload"):
        await node.assign_address("10.2.0.1", handle="h", attributes={}, use="Workload")
    await node.assign_address("10.2.0.1", handle="h", attributes={})


async def test_a_named_address_in_another_nodes_block_needs_loose_affinity(world: World) -> None:
    node, other = await world.node("n1"), await world.node("n2")
    await world.pool("p", "10.0.0.0/26")
    await take(other, "o")
    await node.assign_address("10.0.0.40", handle="h", attributes={})
    await world.settings(strict_affinity=True)
    with pytest.raises(NotOwner, match=r"block 10\.0\.0\.0/26 belongs to host:n2, not to host:n1"):
        await node.assign_address("10.0.0.41", handle="h2", attributes={})
    await world.assert_sound()


async def test_a_named_address_in_use_is_refused_and_the_handle_counts_as_before(world: World) -> None:
    node = await world.node("n1")
    await world.pool("p", "10.0.0.0/26")
    await node.assign_address("10.0.0.40", handle="h", attributes={})
    for handle in ("h", "other"):
        with pytest.raises(AddressInUse, match=r"10\.0\.0\.40 is already assigned"):
            await node.assign_address("10.0.0.40", handle=handle, attributes={})
    assert await world.handles() == {"h": {"10.0.0.0/26": 1}}


# --- giving back -----------------------------------------------------------------------------------------------------


async def test_a_released_address_is_used_last(world: World) -> None:
    node = await world.node("n1")
    await world.pool("p", "10.0.0.0/29", block_size=29)
    first = await take(node, "a")
    await node.release.handle("a")
    order = [(await take(node, f"h{number}"))[0] for number in range(8)]
    assert order[-1] == first[0]


async def test_releasing_by_an_unknown_handle_says_so(world: World) -> None:
    node = await world.node("n1")
    with pytest.raises(HandleNotFound):
        await node.release.handle("nobody")


async def test_addresses_are_released_with_their_handles_and_unknown_ones_are_reported(world: World) -> None:
    node = await world.node("n1")
    await world.pool("p", "10.0.0.0/26")
    one, two = await take(node, "a", v4=2)
    (three,) = await take(node, "b")
    done = await node.release.addresses(
        [
            ReleaseRequest(one, "a"),
            ReleaseRequest(one, "a"),
            ReleaseRequest(three),
            ReleaseRequest("10.0.0.63"),
            ReleaseRequest("10.9.9.9"),
        ]
    )
    assert set(done.released) == {one, three}
    assert set(done.unallocated) == {"10.0.0.63", "10.9.9.9"}
    assert await world.held() == {two: "a"}
    await world.assert_sound()


async def test_a_wrong_handle_or_sequence_number_frees_nothing_of_the_block(world: World) -> None:
    node = await world.node("n1")
    await world.pool("p", "10.0.0.0/26")
    one, two = await take(node, "a", v4=2)
    with pytest.raises(BadHandle):
        await node.release.addresses([ReleaseRequest(one, "a"), ReleaseRequest(two, "b")])
    with pytest.raises(BadSequence):
        await node.release.addresses([ReleaseRequest(one, "a"), ReleaseRequest(two, "a", 5)])
    assert len(await world.held()) == 2


async def test_an_address_of_a_disabled_or_deleted_pool_can_be_released(world: World) -> None:
    node = await world.node("n1")
    pool = await world.pool("p", "10.0.0.0/26")
    one, two = await take(node, "a", v4=2)
    spec = msgspec.structs.replace(pool.spec, disabled=True)
    await world.api.update(IP_POOLS, msgspec.structs.replace(pool, spec=spec))
    await node.release.addresses([ReleaseRequest(one)])
    await world.api.delete(IP_POOLS, "p")
    await node.release.addresses([ReleaseRequest(two)])
    assert await world.held() == {}


async def test_the_last_release_from_a_block_without_owner_deletes_the_block(world: World) -> None:
    node = await world.node("n1")
    await world.pool("p", "10.0.0.0/26")
    await take(node, "a")
    await node.affinities.release(Owner("n1"), "10.0.0.0/26", must_be_empty=False)
    ((block),) = (await world.blocks()).values()
    assert (block.spec.affinity, block.spec.affinity_claim_time) == (None, None)
    assert await world.affinities() == {}
    await node.release.handle("a")
    assert await world.blocks() == {}


async def test_an_owned_block_stays_when_it_becomes_empty_unless_its_pool_selects_the_node_no_more(
    world: World,
) -> None:
    node = await world.node("n1", zone="a")
    pool = await world.pool("p", "10.0.0.0/26")
    await take(node, "a")
    await node.release.handle("a")
    assert len(await world.blocks()) == 1
    await take(node, "b")
    spec = msgspec.structs.replace(pool.spec, node_selector="zone == 'b'")
    await world.api.update(IP_POOLS, msgspec.structs.replace(pool, spec=spec))
    await node.release.handle("b")
    assert await world.blocks() == {}
    assert await world.affinities() == {}


async def test_a_node_that_is_gone_gives_up_its_blocks_and_addresses_in_use_stay(world: World) -> None:
    node, controller = await world.node("n1"), await world.node("controller")
    await world.pool("p", "10.0.0.0/28", block_size=30)
    await take(node, "a", v4=5)
    await node.release.handle("a")
    (kept,) = await take(node, "b")
    assert len(await controller.release.owner(Owner("n1"))) == 2
    assert await world.affinities() == {}
    ((block),) = (await world.blocks()).values()
    assert block.spec.affinity is None
    assert await world.held() == {kept: "b"}
    await controller.release.handle("b")
    assert await world.blocks() == {}


async def test_an_affinity_is_not_released_while_its_block_is_in_use_or_has_changed(world: World) -> None:
    node = await world.node("n1")
    await world.pool("p", "10.0.0.0/26")
    await take(node, "a")
    with pytest.raises(BlockNotEmpty):
        await node.affinities.release(Owner("n1"), "10.0.0.0/26")
    with pytest.raises(AffinityLost, match="changed: sequence"):
        await node.affinities.release(Owner("n1"), "10.0.0.0/26", must_be_empty=False, sequence=1)
    assert await world.affinities() == {"10.0.0.0/26": ("n1", "confirmed")}


async def test_handles_are_stored_in_lower_case_and_keep_their_spelling(world: World) -> None:
    node = await world.node("n1")
    await world.pool("p", "10.0.0.0/26")
    (address,) = await take(node, "Net.ABC")
    (handle,) = (await world.api.list(IPAM_HANDLES)).items
    assert (handle.metadata.name, handle.spec.handle_id) == ("net.abc", "Net.ABC")
    assert await node.addresses_by_handle("Net.ABC") == [address]
    assert await node.release.handle("net.abc") == (address,)


# --- races and crashes -----------------------------------------------------------------------------------------------


async def test_two_nodes_that_race_for_one_block_end_with_one_owner_and_no_left_overs(
    world: World, api: MemoryApi
) -> None:
    await world.settings(strict_affinity=True)
    nodes = [await world.node(f"n{number}") for number in range(3)]
    await world.pool("p", "10.0.0.0/29", block_size=29)
    api.before = _shuffle(seed=3)
    results = await asyncio.gather(*(node.auto_assign(want(f"h{number}")) for number, node in enumerate(nodes)))
    assert sum(result[0].complete for result in results) == 1
    ((owner, state),) = (await world.affinities()).values()
    assert state == "confirmed"
    ((block),) = (await world.blocks()).values()
    assert block.spec.affinity == f"host:{owner}"
    await world.assert_sound()


@pytest.mark.parametrize("seed", range(12))
async def test_nodes_that_assign_release_and_borrow_at_random_never_share_an_address(
    world: World, api: MemoryApi, seed: int
) -> None:
    rng = random.Random(seed)
    nodes = [await world.node(f"n{number}") for number in range(4)]
    await world.pool("p", "10.0.0.0/27", block_size=rng.choice([28, 29, 30, 32]))
    held: dict[str, str] = {}
    api.before = _shuffle(seed)

    async def worker(number: int) -> None:
        node = nodes[number % len(nodes)]
        for step in range(6):
            handle = f"h{number}-{step}"
            v4, _ = await node.auto_assign(want(handle, v4=rng.randint(1, 2)))
            for address in v4.addresses:
                bare = address.partition("/")[0]
                assert bare not in held, f"{bare} is held by {held[bare]} and was given to {handle}"
                held[bare] = handle
            if rng.random() < 0.6 and v4.addresses:
                for address in v4.addresses:
                    del held[address.partition("/")[0]]
                await nodes[rng.randrange(len(nodes))].release.handle(handle)

    await asyncio.gather(*(worker(number) for number in range(10)))
    assert await world.held() == held
    await world.assert_sound()


async def test_a_change_by_another_writer_is_noticed_and_no_address_is_given_twice(
    world: World, api: MemoryApi
) -> None:
    node = await world.node("n1")
    await world.pool("p", "10.0.0.0/29", block_size=29)
    await take(node, "a")
    stranger = world.allocator("n1")
    (theirs,) = await take(stranger, "theirs")
    (ours,) = await take(node, "ours")
    assert ours != theirs
    await world.assert_sound()


async def test_a_block_remembered_as_full_is_looked_at_again_before_another_is_claimed(world: World) -> None:
    node = await world.node("n1")
    await world.pool("p", "10.0.0.0/29", block_size=30)
    await take(node, "a", v4=4)
    await world.allocator("n1").release.handle("a")
    await take(node, "b", v4=4)
    assert len(await world.blocks()) == 1


class _Crash(BaseException):
    """The process dies: nothing of it runs any more."""


async def _count_requests(world: World, api: MemoryApi, work: Callable[[], Awaitable[object]]) -> int:
    api.requests.clear()
    await work()
    return len(api.requests)


@pytest.mark.parametrize("shape", ["first address", "further address", "dual stack", "release"])
async def test_after_a_crash_before_any_request_no_address_is_lost_and_the_handle_frees_everything(shape: str) -> None:
    async def prepared() -> tuple[World, MemoryApi, Callable[[], Awaitable[object]]]:
        api = MemoryApi()
        world = World(api)
        node = await world.node("n1")
        await world.pool("p", "10.0.0.0/28", block_size=29)
        await world.pool("p6", "fd00::/120")
        if shape != "first address":
            await take(node, "before", v6=1)
        if shape == "release":
            await take(node, "victim", v6=1)
            return world, api, lambda: node.release.handle("victim", sole_user=True)
        return world, api, lambda: take(node, "victim", v6=int(shape == "dual stack"))

    world, api, work = await prepared()
    total = await _count_requests(world, api, work)
    for fatal in range(total):
        world, api, work = await prepared()
        alive = True
        left = fatal

        async def before(verb: str, plural: str, name: str) -> None:
            nonlocal alive, left
            if left == 0 or not alive:
                alive = False
                raise _Crash
            left -= 1

        api.before = before
        with pytest.raises((_Crash, asyncio.CancelledError)):
            await work()
        api.before = None
        await world.assert_sound(exact=False)
        successor = world.allocator("n1")
        with suppress(HandleNotFound):
            await successor.release.handle("victim", sole_user=True)
        assert "victim" not in (await world.held()).values(), f"leaked after a crash before request {fatal}"
        assert "victim" not in await world.handles()
        assert len(await take(successor, "next", v6=1)) == 2
        await world.assert_sound(exact=False)


async def test_a_failing_block_write_brings_the_handle_down_again(world: World, api: MemoryApi) -> None:
    node = await world.node("n1")
    await world.pool("p", "10.0.0.0/26")
    await take(node, "a")

    async def refuse(verb: str, plural: str, name: str) -> None:
        if (verb, plural) == ("update", "ipamblocks"):
            raise Conflict(409, "Conflict", "always")

    api.before = refuse
    with pytest.raises(TooMuchContention, match="100 attempts"):
        await asyncio.wait_for(take(node, "b"), 60)
    api.before = None
    assert set(await world.handles()) == {"a"}


async def test_an_unanswered_block_write_leaves_the_handle_counting_too_much_not_too_little(
    world: World, api: MemoryApi
) -> None:
    node = await world.node("n1")
    await world.pool("p", "10.0.0.0/26")
    await take(node, "a")

    async def silence(verb: str, plural: str, name: str) -> None:
        if (verb, plural) == ("update", "ipamblocks"):
            raise Unavailable(0, "", "connection lost")

    api.before = silence
    with pytest.raises(Unavailable):
        await take(node, "b")
    api.before = None
    assert (await world.handles())["b"] == {"10.0.0.0/26": 1}
    await world.assert_sound(exact=False)


async def test_a_handle_whose_count_no_block_explains_is_kept_unless_its_only_user_releases_it(world: World) -> None:
    node = await world.node("n1")
    await world.pool("p", "10.0.0.0/26")
    await take(node, "a")
    await node.handles.add("a", {"10.0.0.0/26": 1})
    await node.release.handle("a")
    assert await world.handles() == {"a": {"10.0.0.0/26": 1}}, "it may be an assignment under way"
    await node.release.handle("a", sole_user=True)
    assert await world.handles() == {}


async def test_half_deleted_objects_count_as_absent_and_are_deleted_for_good(world: World) -> None:
    node = await world.node("n1")
    await world.pool("p", "10.0.0.0/26")
    await take(node, "a")
    await node.release.handle("a")
    ((block),) = (await world.blocks()).values()
    spec = Draft(block.spec).finish(deleted=True)
    await world.api.update(IPAM_BLOCKS, msgspec.structs.replace(block, spec=spec))
    (affinity,) = (await world.api.list(BLOCK_AFFINITIES)).items
    gone = msgspec.structs.replace(affinity.spec, deleted=True)
    await world.api.update(BLOCK_AFFINITIES, msgspec.structs.replace(affinity, spec=gone))
    assert len(await take(world.allocator("n1"), "b")) == 1
    ((fresh),) = (await world.blocks()).values()
    assert not fresh.spec.deleted
    assert fresh.metadata.uid != block.metadata.uid
    await world.assert_sound()


@pytest.mark.parametrize("state", ["pending", "pendingDeletion"])
async def test_an_unconfirmed_claim_of_the_own_node_is_finished(world: World, state: str) -> None:
    node = await world.node("n1")
    await world.pool("p", "10.0.0.0/26")
    await take(node, "a")
    (affinity,) = (await world.api.list(BLOCK_AFFINITIES)).items
    spec = msgspec.structs.replace(affinity.spec, state=state)
    await world.api.update(BLOCK_AFFINITIES, msgspec.structs.replace(affinity, spec=spec))
    assert len(await take(world.allocator("n1"), "b")) == 1
    assert await world.affinities() == {"10.0.0.0/26": ("n1", "confirmed")}


async def test_an_affinity_to_a_block_that_somebody_else_has_is_deleted_on_sight(world: World) -> None:
    node, other = await world.node("n1"), await world.node("n2")
    await world.pool("p", "10.0.0.0/25")
    await take(other, "o")
    (cidr,) = await world.blocks()
    await node.affinities._ensure(Owner("n1"), cidr)
    await take(node, "h")
    owners = await world.affinities()
    assert owners[cidr] == ("n2", "confirmed")
    assert sorted(owner for owner, _ in owners.values()) == ["n1", "n2"]


async def test_a_very_long_node_name_still_has_an_affinity_of_its_own(world: World) -> None:
    names = [f"{'x' * 240}.{letter}" for letter in "ab"]
    await world.pool("p", "10.0.0.0/24")
    for name in names:
        await take(await world.node(name), f"h-{name[-1]}")
    found = [each.metadata.name for each in (await world.api.list(BLOCK_AFFINITIES)).items]
    assert len(set(found)) == 2
    assert all(len(name) <= 253 for name in found)
    assert affinity_name(names[0], "10.0.0.0/26") != affinity_name(names[1], "10.0.0.0/26")


async def test_old_affinities_get_labels(world: World) -> None:
    node = await world.node("n1")
    await world.pool("p", "10.0.0.0/26")
    await take(node, "a")
    (affinity,) = (await world.api.list(BLOCK_AFFINITIES)).items
    bare = msgspec.structs.replace(affinity.metadata, labels={})
    await world.api.update(BLOCK_AFFINITIES, msgspec.structs.replace(affinity, metadata=bare))
    assert await node.affinities.of_owner(Owner("n1")) == []
    assert await node.affinities.label_old_ones(Owner("n1")) == 1
    assert len(await node.affinities.of_owner(Owner("n1"))) == 1


async def test_a_node_that_does_not_exist_gets_no_address(world: World) -> None:
    await world.pool("p", "10.0.0.0/26")
    with pytest.raises(NoUsablePool, match="node ghost does not exist"):
        await take(world.allocator("ghost"), "h")
    assert (await world.api.list(NODES)).items == []


@pytest.mark.parametrize(("pools", "length"), [(100, 26), (100, 32), (50, 20)])
async def test_an_address_comes_quickly_among_many_pools(world: World, pools: int, length: int) -> None:
    node = await world.node("n1")
    for number in range(pools):
        await world.pool(f"p{number:03}", f"10.{number}.0.0/16", block_size=length)
    began = asyncio.get_running_loop().time()
    await take(node, "h")
    assert asyncio.get_running_loop().time() - began < 5


# --- helpers ---------------------------------------------------------------------------------------------------------


async def _with_pool(world: World) -> Allocator:
    node = await world.node("n1")
    await world.pool("p", "10.0.0.0/26")
    return node


def _addresses(block: IPAMBlock) -> set[str]:
    return {each.address for each in allocations_of(block.spec)}


def _shuffle(seed: int) -> Callable[[str, str, str], Awaitable[None]]:
    """Lets requests of several workers overtake each other, the same way for the same seed."""
    rng = random.Random(seed)

    async def before(verb: str, plural: str, name: str) -> None:
        for _ in range(rng.randrange(4)):
            await asyncio.sleep(0)

    return before
