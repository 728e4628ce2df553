"""Block arithmetic: what an allocation and a release do to the fields of a block.

Covered elsewhere: writing blocks and the choice of a block (test_ipam_allocator).
"""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tortie.ipam.block import (
    AlreadyAssigned,
    BadHandle,
    BadSequence,
    Draft,
    NotInBlock,
    ReleaseRequest,
    addresses_of,
    allocations_of,
    free_count,
    is_empty,
    new_block,
    owner_of,
)
from tortie.ipam.ranges import Ranges
from tortie.model.v3.ipam import AllocationAttribute, IPAMBlockSpec

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def block(cidr: str = "10.0.0.0/29", **changes: object) -> IPAMBlockSpec:
    spec = new_block(cidr, affinity="host:n1", claimed_at=None, now_ns=1000)
    return msgspec.structs.replace(spec, **changes)


def test_a_new_block_has_every_address_free_in_order_and_counts_from_the_clock() -> None:
    spec = block()
    assert spec.allocations == (None,) * 8
    assert spec.unallocated == tuple(range(8))
    assert spec.sequence_number == 1000
    assert is_empty(spec)


def test_the_first_and_last_address_of_a_block_are_assigned_like_any_other() -> None:
    draft = Draft(block())
    taken = draft.allocate(8, handle="h", attributes={})
    assert taken[0] == "10.0.0.0/29"
    assert taken[-1] == "10.0.0.7/29"


def test_an_ipv6_block_counts_from_its_own_start() -> None:
    draft = Draft(block("fd80:50::40/122"))
    assert draft.allocate(2, handle="h", attributes={}) == ["fd80:50::40/122", "fd80:50::41/122"]


def test_freed_addresses_go_to_the_tail_so_that_the_longest_free_one_is_used_next() -> None:
    draft = Draft(block())
    draft.allocate(2, handle="a", attributes={})
    draft.release([ReleaseRequest("10.0.0.0")])
    assert draft.allocate(1, handle="b", attributes={}) == ["10.0.0.2/29"]
    assert draft.finish().unallocated == (3, 4, 5, 6, 7, 0)


def test_a_reserved_address_is_passed_over_and_keeps_its_place() -> None:
    reserved = Ranges(["10.0.0.0/31", " 10.0.0.3 ", "nonsense"], version=4)
    draft = Draft(block())
    assert draft.allocate(2, handle="h", attributes={}, reserved=reserved) == ["10.0.0.2/29", "10.0.0.4/29"]
    spec = draft.finish()
    assert spec.unallocated == (0, 1, 3, 5, 6, 7)
    assert free_count(spec, reserved) == 3


def test_one_request_shares_one_attribute_entry_and_an_equal_request_uses_it_too() -> None:
    draft = Draft(block())
    draft.allocate(2, handle="h", attributes={"pod": "p"})
    draft.allocate(1, handle="h", attributes={"pod": "p"})
    draft.allocate(1, handle="h", attributes={"pod": "q"})
    spec = draft.finish()
    assert spec.allocations[:5] == (0, 0, 0, 1, None)
    assert [attribute.secondary for attribute in spec.attributes] == [{"pod": "p"}, {"pod": "q"}]


def test_an_attribute_without_users_is_removed_and_the_others_are_renumbered() -> None:
    draft = Draft(block())
    for handle in "abc":
        draft.allocate(1, handle=handle, attributes={})
    middle = Draft(draft.finish())
    middle.release_handle("b")
    spec = middle.finish()
    assert [attribute.handle_id for attribute in spec.attributes] == ["a", "c"]
    assert spec.allocations[:3] == (0, None, 1)


def test_each_allocation_remembers_the_number_before_the_write_that_made_it() -> None:
    draft = Draft(block())
    draft.allocate(1, handle="a", attributes={})
    first = draft.finish()
    second = Draft(first)
    second.allocate(1, handle="b", attributes={})
    spec = second.finish()
    assert (first.sequence_number, spec.sequence_number) == (1001, 1002)
    assert spec.sequence_number_for_allocation == {"0": 1000, "1": 1001}


def test_a_release_with_another_handle_refuses_the_whole_request() -> None:
    draft = Draft(block())
    draft.allocate(1, handle="a", attributes={})
    draft.allocate(1, handle="b", attributes={})
    before = draft.finish()
    with pytest.raises(BadHandle, match=r"10\.0\.0\.1 is held by handle 'b', not by 'a'"):
        draft.release([ReleaseRequest("10.0.0.0", "a"), ReleaseRequest("10.0.0.1", "a")])
    assert draft.finish() == before


def test_a_release_with_an_old_sequence_number_refuses_the_whole_request() -> None:
    draft = Draft(block())
    draft.allocate(2, handle="a", attributes={})
    with pytest.raises(BadSequence, match="at sequence 1000, not 7"):
        draft.release([ReleaseRequest("10.0.0.0", "a", 1000), ReleaseRequest("10.0.0.1", "a", 7)])
    assert len(allocations_of(draft.finish())) == 2


def test_releasing_a_free_address_is_reported_and_no_error() -> None:
    draft = Draft(block())
    done = draft.release([ReleaseRequest("10.0.0.5")])
    assert (done.addresses, done.unallocated) == ((), ("10.0.0.5",))
    assert not draft.changed


def test_a_release_counts_addresses_by_handle() -> None:
    draft = Draft(block())
    draft.allocate(2, handle="a", attributes={})
    draft.allocate(1, handle="b", attributes={})
    done = draft.release([ReleaseRequest(f"10.0.0.{last}") for last in range(3)])
    assert done.counts == {"a": 2, "b": 1}
    assert is_empty(draft.finish())


def test_a_named_address_is_taken_once() -> None:
    draft = Draft(block())
    draft.assign("10.0.0.6", handle="a", attributes={})
    assert addresses_of(draft.finish(), "a") == ["10.0.0.6"]
    with pytest.raises(AlreadyAssigned):
        draft.assign("10.0.0.6", handle="b", attributes={})
    with pytest.raises(NotInBlock):
        draft.assign("10.0.0.8", handle="b", attributes={})


def test_a_handle_is_read_up_to_the_first_carriage_return() -> None:
    spec = block(
        attributes=(AllocationAttribute(handle_id="net.abc\r\neth0"),),
        allocations=(0, *(None,) * 7),
        unallocated=tuple(range(1, 8)),
    )
    assert addresses_of(spec, "net.abc") == ["10.0.0.0"]
    assert Draft(spec).release_handle("net.abc") == ("10.0.0.0",)


def test_a_cooling_address_stays_allocated_and_is_free_only_after_the_time() -> None:
    draft = Draft(block())
    draft.allocate(1, handle="a", attributes={})
    draft.release([ReleaseRequest("10.0.0.0", "a")], now=NOW, cooldown=timedelta(seconds=60))
    cooling = draft.finish()
    assert cooling.allocations[0] == 0
    assert cooling.attributes == (AllocationAttribute(released_at="2026-01-01T12:00:00Z"),)
    assert not is_empty(cooling)
    assert allocations_of(cooling) == []

    again = Draft(cooling)
    assert again.release([ReleaseRequest("10.0.0.0")]).unallocated == ("10.0.0.0",)
    with pytest.raises(AlreadyAssigned):
        again.assign("10.0.0.0", handle="b", attributes={})

    exactly = Draft(cooling)
    assert exactly.collect_cooled(now=NOW + timedelta(seconds=60), cooldown=timedelta(seconds=60)) == 0
    later = Draft(cooling)
    assert later.collect_cooled(now=NOW + timedelta(seconds=61), cooldown=timedelta(seconds=60)) == 1
    assert later.finish().unallocated == (1, 2, 3, 4, 5, 6, 7, 0)


def test_windows_reservations_do_not_keep_a_block_from_being_empty() -> None:
    draft = Draft(block())
    draft.allocate(3, handle="windows-reserved-ipam-handle", attributes={"note": "windows host rsvd"})
    assert is_empty(draft.finish())


@pytest.mark.parametrize(
    ("affinity", "owner"),
    [("host:n1", ("host", "n1")), ("virtual:load-balancer", ("virtual", "load-balancer")), (None, ("", ""))],
)
def test_the_owner_is_a_host_or_virtual_or_nobody(affinity: str | None, owner: tuple[str, str]) -> None:
    assert owner_of(block(affinity=affinity)) == owner


def test_a_block_keeps_its_required_lists_when_written_and_read_again() -> None:
    draft = Draft(block())
    draft.allocate(8, handle="h", attributes={})
    written = msgspec.json.encode(draft.finish())
    assert b'"unallocated":[]' in written
    assert msgspec.json.decode(written, type=IPAMBlockSpec) == draft.finish()
    empty = msgspec.json.encode(block())
    assert b'"attributes":[]' in empty
    assert b'"allocations":[null,' in empty
    assert b'"strictAffinity":false' in empty


# --- properties --------------------------------------------------------------------------------------------------

_HANDLES = st.sampled_from(["a", "b", "c", "D"])
_ORDINALS = st.integers(0, 7)
_OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("allocate"), _HANDLES, st.integers(1, 4)),
        st.tuples(st.just("assign"), _HANDLES, _ORDINALS),
        st.tuples(st.just("release"), st.just(""), _ORDINALS),
        st.tuples(st.just("cool"), st.just(""), _ORDINALS),
        st.tuples(st.just("release handle"), _HANDLES, st.just(0)),
        st.tuples(st.just("write"), st.just(""), st.just(0)),
    ),
    max_size=30,
)


@given(_OPERATIONS)
@settings(max_examples=200, deadline=None)
def test_whatever_happens_a_block_stays_consistent_and_no_address_has_two_holders(
    operations: list[tuple[str, str, int]],
) -> None:
    spec = block()
    draft = Draft(spec)
    model: dict[str, str] = {}  # address -> holder, "" while cooling
    for kind, handle, number in operations:
        address = f"10.0.0.{number}"
        if kind == "allocate":
            for taken in draft.allocate(number, handle=handle, attributes={"of": handle}):
                bare = taken.removesuffix("/29")
                assert bare not in model
                model[bare] = handle
        elif kind == "assign":
            if address in model:
                with pytest.raises(AlreadyAssigned):
                    draft.assign(address, handle=handle, attributes={})
            else:
                draft.assign(address, handle=handle, attributes={})
                model[address] = handle
        elif kind == "release":
            draft.release([ReleaseRequest(address)])
            if model.get(address):
                del model[address]
        elif kind == "cool":
            draft.release([ReleaseRequest(address)], now=NOW, cooldown=timedelta(seconds=5))
            if model.get(address):
                model[address] = ""
        elif kind == "release handle":
            freed = draft.release_handle(handle)
            assert set(freed) == {a for a, h in model.items() if h == handle}
            for each in freed:
                del model[each]
        else:
            spec = draft.finish()
            draft = Draft(msgspec.json.decode(msgspec.json.encode(spec), type=IPAMBlockSpec))
    final = draft.finish()
    held = {i for i, index in enumerate(final.allocations) if index is not None}
    assert sorted(final.unallocated) == sorted(set(range(8)) - held), "free list and allocations disagree"
    assert {index for index in final.allocations if index is not None} == set(range(len(final.attributes)))
    assert {each.address: each.handle for each in allocations_of(final)} == {a: h for a, h in model.items() if h}
    assert set(final.sequence_number_for_allocation) == {a.rsplit(".", 1)[1] for a, h in model.items() if h}


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(24, 32)), max_size=8), st.integers(0, 255))
def test_ranges_agree_with_the_networks_they_were_made_of(parts: list[tuple[int, int]], probe: int) -> None:
    import ipaddress

    texts = [f"10.0.0.{address}/{length}" for address, length in parts]
    networks = [ipaddress.ip_network(text, strict=False) for text in texts]
    ranges = Ranges(texts, version=4)
    wanted = ipaddress.ip_address(f"10.0.0.{probe}")
    assert (int(wanted) in ranges) == any(wanted in network for network in networks)
