"""The selector language: grammar, meaning, canonical text, identifiers, restrictions.

Scoping of selectors by policies is covered in test_model_convert_policies.py.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tortie.model.selector import Restriction, Selector, SelectorError, normalise, parse
from tortie.model.selector_nodes import All, And, Compare, Global, Has, InSet, Node, Not, Or

CANONICAL = [
    ("", "all()"),
    (" \t ", "all()"),
    ("all( )", "all()"),
    ("global()", "global()"),
    ("has( a )", "has(a)"),
    ("a=='b'", 'a == "b"'),
    ('a  !=\t"b"', 'a != "b"'),
    ("a contains'x'", 'a contains "x"'),
    ("a startswith 'x'", 'a starts with "x"'),
    ("a starts   with 'x'", 'a starts with "x"'),
    ("a endswith'x'", 'a ends with "x"'),
    ("a in {'b','a','b',}", 'a in {"a", "b"}'),
    ("a notin{'b'}", 'a not in {"b"}'),
    ("a not in {}", "a not in {}"),
    ("a == 'say \"hi\"'", "a == 'say \"hi\"'"),
    ("a == 'two\nlines'", 'a == "two\nlines"'),
    ("(((has(a))))", "has(a)"),
    ("!!has(a)", "has(a)"),
    ("! ! !has(a)", "!has(a)"),
    ("!a == 'b'", '!a == "b"'),
    ("!(!has(a))", "!!has(a)"),
    ("!!(!has(a))", "!has(a)"),
    ("has(a)&&has(b)||has(c)", "((has(a) && has(b)) || has(c))"),
    ("has(a)&&(has(b)||has(c))", "(has(a) && (has(b) || has(c)))"),
    ("(has(a)&&has(b))&&has(c)", "((has(a) && has(b)) && has(c))"),
    ("has(a)&&has(b)&&has(c)", "(has(a) && has(b) && has(c))"),
    ("!(has(a)&&has(b))", "!(has(a) && has(b))"),
]


@pytest.mark.parametrize(("text", "canonical"), CANONICAL)
def test_canonical_text_has_one_spelling(text: str, canonical: str) -> None:
    assert parse(text).canonical == canonical


@pytest.mark.parametrize("word", ["contains", "in", "not", "has", "all", "global", "startswith", "starts", "with"])
def test_operator_words_are_legal_label_names(word: str) -> None:
    """Detail 11."""
    assert parse(f"{word} == 'x'").matches({word: "x"})
    assert parse(f"has({word}) && {word} in {{'x'}}").matches({word: "x"})


@pytest.mark.parametrize("label", ["-x", "9", "/", "a.b/c_d-e", "x" * 512])
def test_labels_may_begin_with_any_label_character_and_have_512_of_them(label: str) -> None:
    assert parse(f"has({label})").matches({label: ""})
    assert not parse(f"{label} == 'x'").matches({label: ""})


REFUSED = [
    "a",
    "'a' == 'b'",
    "a == b",
    "a == {'b'}",
    "a in 'b'",
    "a == 'b' == 'c'",
    "has(a) has(b)",
    "()",
    "(has(a)",
    "has(a))",
    "has(a) &&",
    "&& has(a)",
    "has(a) & has(b)",
    "has(a) | has(b)",
    "a = 'b'",
    "a in {,}",
    "a in {'x' 'y'}",
    "a in {'x'",
    "a == 'x",
    "has (a)",
    "has()",
    "all ()",
    "all(a)",
    "!",
    "has(a)\n",
    "\nhas(a)",
    "has(a)\u00a0&& has(b)",
    "a containsx 'b'",
    "a not 'b'",
    "has(" + "x" * 513 + ")",
    "x" * 513 + " == 'a'",
    "has(ä)",
]


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_not_a_selector_is_refused_with_its_position(text: str) -> None:
    """Newlines and other Unicode blanks do not separate tokens; sets need commas; labels end at 512 characters."""
    with pytest.raises(SelectorError) as caught:
        parse(text)
    assert 0 <= caught.value.position <= len(text)
    assert str(caught.value.position + 1) in str(caught.value)


MEANING = [
    ("a == 'x'", {"a": "x"}, True),
    ("a == 'x'", {"a": "X"}, False),
    ("a == 'x'", {}, False),
    ("a == ''", {}, False),
    ("a != 'x'", {}, True),
    ("a != 'x'", {"a": "x"}, False),
    ("a in {'x', 'y'}", {"a": "y"}, True),
    ("a in {}", {"a": "y"}, False),
    ("a in {}", {}, False),
    ("a not in {'x'}", {}, True),
    ("a not in {}", {"a": "x"}, True),
    ("a not in {'x'}", {"a": "x"}, False),
    ("a contains 'b'", {"a": "abc"}, True),
    ("a contains ''", {"a": ""}, True),
    ("a contains ''", {}, False),
    ("a starts with 'ab'", {"a": "abc"}, True),
    ("a ends with 'ab'", {"a": "abc"}, False),
    ("a ends with ''", {"a": "abc"}, True),
    ("has(a)", {"a": ""}, True),
    ("!has(a)", {"a": ""}, False),
    ("all()", {}, True),
    ("global()", {}, True),
    ("!has(a) && b == 'x'", {"b": "x"}, True),
    ("has(a) || has(b) && has(c)", {"a": ""}, True),
    ("(has(a) || has(b)) && has(c)", {"a": ""}, False),
    ("has(a) || has(b) || has(c)", {"c": ""}, True),
    ("has(a) && has(b) && has(c)", {"a": "", "b": ""}, False),
    ("!(!(has(a)))", {"a": ""}, True),
]


@pytest.mark.parametrize(("text", "labels", "expected"), MEANING)
def test_an_operation_means_what_the_language_says(text: str, labels: dict[str, str], expected: bool) -> None:
    """Details 9 and 10: != and not in match endpoints without the label; ! binds to one operation."""
    assert parse(text).matches(labels) is expected


@pytest.mark.parametrize(
    ("text", "unique_id"),
    [
        ("all()", "s:5y5I3VdRZfDU01O--xXAPx2yxCQQqMf0M6IWug"),
        ("!all()", "s:Z9zLaL1EHxF9kgXz1JwBD_e-AJbeJyFDpG-oKw"),
        ("!(has(b) || !has(a))", "s:Iss0uCleLYv1GSv_pNm7hAO58kE9jAx1NKyG3Q"),
    ],
)
def test_unique_ids_follow_from_the_canonical_text(text: str, unique_id: str) -> None:
    assert parse(text).unique_id == unique_id
    assert len(unique_id) == 40


def test_groups_are_neither_flattened_nor_reordered_so_ids_differ() -> None:
    """Details 10 and 12."""
    texts = ["has(a) && has(b)", "has(b) && has(a)", "!(!(has(a) && has(b)))", "(has(a) && has(b)) && all()"]
    assert len({parse(text).unique_id for text in texts}) == len(texts)


def test_normalise_trims_and_keeps_what_it_cannot_read() -> None:
    assert normalise("\n a=='b'  \u00a0") == 'a == "b"'
    assert normalise("  not a selector ") == "not a selector"


def test_prefixing_reaches_every_label_and_does_not_look_at_what_is_there() -> None:
    selector = parse("a == 'x' && (has(pcns.b) || !c in {'y'}) && all()").prefixed("pcns.")
    assert selector.canonical == '(pcns.a == "x" && (has(pcns.pcns.b) || !pcns.c in {"y"}) && all())'


def test_thousands_of_parentheses_neither_overflow_nor_change_the_meaning() -> None:
    assert parse("(" * 5000 + "has(a)" + ")" * 5000).canonical == "has(a)"


def test_groups_nested_without_end_are_refused_instead_of_exhausting_the_stack() -> None:
    assert parse("!(" * 150 + "has(a)" + ")" * 150).matches({"a": ""})
    with pytest.raises(SelectorError, match="nested"):
        parse("!(" * 5000 + "has(a)" + ")" * 5000)


present, absent = Restriction(present=True), Restriction(absent=True)


def one_of(*values: str) -> Restriction:
    return Restriction(present=True, values=frozenset(values))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a == 'x'", {"a": one_of("x")}),
        ("a != 'x'", {}),
        ("a in {'x', 'y'}", {"a": one_of("x", "y")}),
        ("a not in {'x'}", {}),
        ("a contains 'x'", {"a": present}),
        ("!has(a)", {"a": absent}),
        ("!(a == 'x')", {}),
        ("all()", {}),
        ("a in {'x', 'y'} && a in {'y', 'z'}", {"a": one_of("y")}),
        ("has(a) && b == 'x'", {"a": present, "b": one_of("x")}),
        ("a == 'x' || a == 'y'", {"a": one_of("x", "y")}),
        ("a == 'x' || has(a)", {"a": present}),
        ("a == 'x' || has(b)", {}),
        ("!has(a) || !has(a)", {"a": absent}),
        ("!has(a) || has(a)", {}),
    ],
)
def test_restrictions_say_what_every_match_has(text: str, expected: dict[str, Restriction]) -> None:
    assert parse(text).restrictions == expected


def test_a_contradiction_shows_as_an_unsatisfiable_restriction() -> None:
    assert parse("has(a) && !has(a)").restrictions["a"].unsatisfiable
    assert parse("a == 'x' && a == 'y'").restrictions["a"].unsatisfiable
    assert not parse("a == 'x'").restrictions["a"].unsatisfiable


# --- properties ------------------------------------------------------------------------------------------------

labels = st.sampled_from(["a", "b", "in", "not", "x/y.z", "-"])
# No value holds both quotes, because no literal could.
values = st.text(st.characters(exclude_characters="'"), max_size=5) | st.sampled_from(["", "x", "it's"])
operators = st.sampled_from(["==", "!=", "contains", "starts with", "ends with"])
leaves: st.SearchStrategy[Node] = st.one_of(
    st.builds(Compare, labels, operators, values),
    st.builds(InSet, labels, st.frozensets(values, max_size=3), negated=st.booleans()),
    st.builds(Has, labels),
    st.just(All()),
    st.just(Global()),
)


def _grow(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    several = st.lists(inner, min_size=2, max_size=3).map(tuple)
    # Two negations in a row collapse while parsing, so a tree that was parsed has none.
    single = inner.filter(lambda node: not isinstance(node, Not))
    return st.one_of(st.builds(And, several), st.builds(Or, several), st.builds(Not, single))


trees = st.recursive(leaves, _grow, max_leaves=8)
label_sets = st.dictionaries(labels, st.text(max_size=3) | st.just("x"), max_size=4)


@given(trees, label_sets)
def test_canonical_text_reads_back_as_the_same_selector(tree: Node, some: dict[str, str]) -> None:
    selector = Selector(tree)
    again = parse(selector.canonical)
    assert again.canonical == selector.canonical
    assert again.matches(some) is selector.matches(some)


@given(trees, label_sets)
def test_no_match_breaks_a_restriction(tree: Node, some: dict[str, str]) -> None:
    selector = Selector(tree)
    if selector.matches(some):
        for label, restriction in selector.restrictions.items():
            assert not restriction.present or label in some
            assert not restriction.absent or label not in some
            assert restriction.values is None or some.get(label) in restriction.values


@given(st.text(max_size=30))
def test_any_text_is_either_a_selector_or_refused(text: str) -> None:
    try:
        parse(text)
    except SelectorError as error:
        assert error.text == text
