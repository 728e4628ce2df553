"""The label index: inheritance, candidates found through requirements, and the shortcut for namespaces."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tortie.felix.calc.labels import Item, LabelIndex
from tortie.felix.calc.selectors import LazySelector, namespace_requirement, requirements
from tortie.model.dataplane import NetworkSetKey
from tortie.model.selector import SelectorError, parse


def item(name: str) -> Item:
    return NetworkSetKey("", name)


def add(index: LabelIndex, text: str) -> None:
    index.add(text, parse(text), requirements(parse(text)))


def test_an_items_own_label_wins_then_the_first_parent_that_has_the_key() -> None:
    index = LabelIndex()
    index.set_parent("p", {"a": "parent", "b": "first"})
    index.set_parent("q", {"b": "second", "c": "second"})
    for text in ("a == 'own'", "a == 'parent'", "b == 'first'", "b == 'second'", "c == 'second'"):
        add(index, text)
    _, after = index.assign(item("x"), {"a": "own"}, ("p", "q"))
    assert after == {"a == 'own'", "b == 'first'", "c == 'second'"}


def test_a_parents_new_label_visits_only_its_children() -> None:
    index = LabelIndex()
    add(index, "team == 'one'")
    index.assign(item("child"), {}, ("p",))
    index.assign(item("stranger"), {}, ("q",))
    before = index.evaluations
    [change] = index.set_parent("p", {"team": "one"})
    assert (change.selector, set(change.items), change.matched) == ("team == 'one'", {item("child")}, True)
    assert index.evaluations == before + 1
    [change] = index.set_parent("p", {"team": "two"})
    assert not change.matched


def test_an_old_label_of_a_parent_makes_nobody_a_candidate() -> None:
    index = LabelIndex()
    add(index, "has(team)")
    index.set_parent("p", {"team": "one"})
    index.assign(item("x"), {}, ("p",))
    index.set_parent("p", {"team": "two"})
    before = index.evaluations
    add(index, "team == 'one'")
    assert index.evaluations == before
    add(index, "team == 'two'")
    assert index.evaluations == before + 1


def test_a_selector_is_tried_only_for_items_that_meet_its_requirements() -> None:
    index = LabelIndex()
    for number in range(1000):
        index.assign(item(str(number)), {"app": str(number % 500), "tier": "back"}, ())
    add(index, "app == '7' && tier == 'back'")
    assert index.evaluations == 1  # two items, one group
    assert sum(len(items) for items in index.items("app == '7' && tier == 'back'")) == 2


def test_an_item_is_tried_only_for_selectors_whose_requirements_it_meets() -> None:
    index = LabelIndex()
    for number in range(1000):
        add(index, f"app == '{number}' && tier == 'back'")
    before = index.evaluations
    index.assign(item("x"), {"app": "3", "tier": "back"}, ())
    # Each selector stands under whichever of its labels was the less crowded, so few stand under tier.
    assert index.evaluations - before <= 5


def test_many_different_label_keys_do_not_need_a_pass_over_all_items_each() -> None:
    index = LabelIndex()
    for number in range(300):
        index.assign(item(str(number)), {f"key-{number}": "x"}, ())
    for number in range(300):
        text = f"has(key-{number})"
        add(index, text)
        assert [set(items) for items in index.items(text)] == [{item(str(number))}]


KEYS = ("a", "b", "c")
VALUES = ("", "x", "y")
labels = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES))
SELECTORS = (
    "all()",
    "a == 'x'",
    "a != 'x'",
    "has(b)",
    "!has(b)",
    "b in {'x', 'y'} && has(c)",
    "c not in {'x'}",
    "a == 'x' || b == 'y'",
    "a == 'x' && a == 'y'",
    "c starts with 'x' && !(b == 'y')",
)


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(range(6)), labels), max_size=30), st.integers(0, 2**32))
@settings(max_examples=200, deadline=None)
def test_after_any_history_the_index_knows_what_a_plain_scan_finds(
    history: list[tuple[int, int, dict[str, str]]], seed: int
) -> None:
    choose = random.Random(seed)
    index = LabelIndex()
    parents: dict[str, dict[str, str]] = {}
    items: dict[Item, tuple[dict[str, str], tuple[str, ...]]] = {}
    registered: set[str] = set()
    for what, number, chosen in history:
        if what == 0:
            name = f"p{number % 2}"
            parents[name] = chosen
            index.set_parent(name, chosen)
        elif what == 1:
            items.pop(item(str(number)), None)
            index.discard(item(str(number)))
        elif what == 2:
            text = choose.choice(SELECTORS)
            if text in registered:
                registered.discard(text)
                index.remove(text)
            else:
                registered.add(text)
                add(index, text)
        else:
            chain = choose.choice(((), ("p0",), ("p1", "p0")))
            items[item(str(number))] = (chosen, chain)
            index.assign(item(str(number)), chosen, chain)
    for key, (own, chain) in items.items():
        effective: dict[str, str] = {}
        for source in (own, *(parents.get(name, {}) for name in chain)):
            effective = {**source, **effective}
        expected = {text for text in registered if parse(text).matches(effective)}
        assert index.matches(key) == expected
    for text in registered:
        found = {key for group in index.items(text) for key in group}
        assert found == {key for key in items if text in index.matches(key)}


# --- the shortcut --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "projectcalico.org/namespace == 'red'",
        'projectcalico.org/namespace == "red"',
        "(a == 'b') && projectcalico.org/namespace == 'red'",
        '((a == "b" || c in {"d"}) && projectcalico.org/namespace == "red")',
        '(!(a == "b") && projectcalico.org/namespace == "red")',
        "has(x) && (y == '|| (' && projectcalico.org/namespace == 'red')",
    ],
)
def test_the_namespace_at_the_end_of_a_selector_is_read_without_parsing(text: str) -> None:
    found = namespace_requirement(text)
    assert found is not None and found.values == ("red",)
    assert parse(text).restrictions["projectcalico.org/namespace"].values == {"red"}


@pytest.mark.parametrize(
    "text",
    [
        "all()",
        "a == 'b' || projectcalico.org/namespace == 'red'",
        "a == 'b' || c == 'd' && projectcalico.org/namespace == 'red'",
        "!(a == 'b' && projectcalico.org/namespace == 'red')",
        "! (a == 'b' && projectcalico.org/namespace == 'red')",
        "(a == 'b' || (c == 'd' && projectcalico.org/namespace == 'red'))",
        "x == 'y' && a == '&& projectcalico.org/namespace == \"red\"'",
        "projectcalico.org/namespace == 'red' || has(a)",
        "a == 'b' && xprojectcalico.org/namespace == 'red'",
    ],
)
def test_a_namespace_that_is_no_requirement_of_the_whole_is_not_taken_for_one(text: str) -> None:
    parse(text)
    assert namespace_requirement(text) is None


PIECES = (
    "projectcalico.org/namespace == 'red'",
    'projectcalico.org/namespace == "red"',
    "a == 'x'",
    "has(b)",
    "c == '\" && projectcalico.org/namespace == '",
)


@given(st.lists(st.sampled_from((*PIECES, "(", ")", "!", " && ", " || ", " ")), max_size=14))
@settings(max_examples=1500, deadline=None)
def test_the_shortcut_never_claims_what_parsing_denies(parts: list[str]) -> None:
    text = "".join(parts)
    found = namespace_requirement(text)
    if found is None:
        return
    try:
        parsed = parse(text)
    except SelectorError:
        return  # matches nothing, so that any requirement holds
    for other in ({}, {"a": "x"}, {"a": "x", "b": "y"}, {"b": "z", "projectcalico.org/namespace": "blue"}):
        assert not parsed.matches(other)


def test_a_lazy_selector_that_does_not_parse_matches_nothing_and_says_so_once() -> None:
    errors: list[SelectorError] = []
    lazy = LazySelector("a == && projectcalico.org/namespace == 'red'", errors.append)
    assert not lazy.matches({"projectcalico.org/namespace": "red"})
    assert not lazy.matches({"projectcalico.org/namespace": "red"})
    assert len(errors) == 1
