"""The merge gives the consumer the smallest true difference; a model checks it on random histories."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tortie.model.dataplane import Key, Tier, TierKey, Update
from tortie.syncer.merge import Merge, Origin

A: Origin = ("tiers", ("", "a"))
B: Origin = ("tiers", ("", "b"))


def tier(name: str, order: float) -> Update:
    return Update(TierKey(name), Tier(order=order))


def test_of_two_objects_with_one_key_the_lowest_name_wins_and_the_next_follows() -> None:
    merge = Merge()
    merge.put(B, tier("t", 2))
    assert merge.take() == [tier("t", 2)]
    merge.put(A, tier("t", 1))
    assert merge.take() == [tier("t", 1)]
    merge.put(A, None)
    assert merge.take() == [tier("t", 2)]
    merge.put(B, None)
    assert merge.take() == [Update(TierKey("t"), None)]


def test_a_value_that_goes_and_comes_back_before_anybody_looked_is_no_change() -> None:
    merge = Merge()
    merge.put(A, tier("t", 1))
    merge.take()
    merge.put(A, None)
    merge.put(A, tier("t", 1))
    assert merge.take() == []


def test_the_deletion_of_what_was_never_sent_is_not_sent() -> None:
    merge = Merge()
    merge.put(A, tier("t", 1))
    merge.put(A, None)
    assert merge.take() == []


changes = st.lists(
    st.one_of(
        st.none(),
        st.tuples(
            st.sampled_from("abcd"),
            st.one_of(st.none(), st.tuples(st.sampled_from("xyz"), st.integers(0, 2))),
        ),
    ),
    max_size=60,
)


@given(changes)
def test_the_consumer_always_ends_with_what_the_objects_say(history: list[Any]) -> None:
    """None in the history: the consumer takes."""
    merge = Merge()
    objects: dict[Origin, tuple[str, int]] = {}
    told: dict[Key, Any] = {}
    for change in [*history, None]:
        if change is not None:
            name, value = change
            origin: Origin = ("tiers", ("", name))
            merge.put(origin, tier(value[0], value[1]) if value is not None else None)
            if value is None:
                objects.pop(origin, None)
            else:
                objects[origin] = value
            continue
        for update in merge.take():
            if update.value is None:
                del told[update.key]
            else:
                assert told.get(update.key) != update.value
                told[update.key] = update.value
        want: dict[Key, Any] = {}
        for _, (key, order) in sorted(objects.items(), reverse=True):
            want[TierKey(key)] = Tier(order=order)
        assert told == want
