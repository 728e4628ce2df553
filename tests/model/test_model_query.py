"""The query language of alerts, exceptions and webhooks (spec/logs-linseed.md 3.6)."""

import contextlib
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tortie.model.query import And, Compare, Not, Or, QueryError, Within, parse, variables

A, B, C = Compare("a", "=", "x"), Compare("b", "=", "y"), Compare("c", "=", "z")


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("", None),
        (" \n\t", None),
        ("a = x", A),
        ('"a"="x"', A),
        ("'a'='x'", A),
        ("proto='tcp'", Compare("proto", "=", "tcp")),
        ('"servers.ip" = "127.0.0.1"', Compare("servers.ip", "=", "127.0.0.1")),
        ("_n1 >= 443", Compare("_n1", ">=", 443)),
        ("n < -1.5", Compare("n", "<", -1.5)),
        ("n != 0", Compare("n", "!=", 0)),
        ("n<=1", Compare("n", "<=", 1)),
        ("n>1", Compare("n", ">", 1)),
        # Wildcards are literal outside sets.
        ('a = "x*"', Compare("a", "=", "x*")),
        ("a = x AND b = y OR c = z", Or((And((A, B)), C))),
        ("a = x and (b = y or c = z)", And((A, Or((B, C))))),
        ("NOT a = x AND b = y", And((Not(A), B))),
        ("not not (a = x)", Not(Not(A))),
        ("a IN {\"x\", 'y*'}", Within("a", ("x", "y*"))),
        ('a notin {"x"}', Not(Within("a", ("x",)))),
        ("a IN ${names}", Within("a", (), "names")),
        ("a NOTIN ${my names}", Not(Within("a", (), "my names"))),
        ('"label app"="x y"', Compare("label app", "=", "x y")),
        ('a = ""', Compare("a", "=", "")),
    ],
    ids=str,
)
def test_what_a_query_means(text: str, meaning: Any) -> None:
    assert parse(text) == meaning


@pytest.mark.parametrize(
    ("text", "position", "words"),
    [
        ("a", 1, "expected ="),
        ("a =", 3, "value"),
        ("= x", 0, "name of a field"),
        ("a == x", 3, "value"),
        ("a.b = x", 1, "need quotes"),
        ("a = x.y", 5, "need quotes"),
        ("a = 1x", 4, "need quotes"),
        ("a = x b = y", 6, "AND, OR or the end"),
        ("a = x AND", 9, "name of a field"),
        ("a = x && b = y", 6, "need quotes"),
        ("(a = x", 6, "closing parenthesis"),
        ("a = x)", 5, "AND, OR or the end"),
        ("()", 1, "name of a field"),
        ('a = "x', 4, "closing quote"),
        ("a IN {}", 6, "text in quotes"),
        ("a IN {x}", 6, "text in quotes"),
        ('a IN {"x",}', 10, "text in quotes"),
        ('a IN {"x" "y"}', 10, "comma"),
        ('a IN ("x")', 5, "set such as"),
        ("a IN ${}", 5, "name of a substitution"),
        ("a = ${x}", 4, "value"),
        ("and = x", 0, "name of a field"),
        ("a = in", 4, "value"),
        ('"" = x', 0, "name of a field"),
        ("a = x" + " " * 10_240, 10_240, "longer"),
        ("(" * 66 + "a = x" + ")" * 66, 65, "levels"),
        ("NOT " * 66 + "a = x", 260, "levels"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_no_query_is_refused_where_it_goes_wrong(text: str, position: int, words: str) -> None:
    with pytest.raises(QueryError) as caught:
        parse(text)
    assert caught.value.position == position
    assert words in caught.value.message


def test_the_substitutions_of_a_query_are_known() -> None:
    node = parse('NOT (a IN ${x} OR b NOTIN ${y}) AND c IN {"z"}')
    assert list(variables(node)) == ["x", "y"]
    assert list(variables(None)) == []


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("ab1._\"'${}(),=!<> \nANDORTI"), max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse(text)
    except QueryError as error:
        assert 0 <= error.position <= len(text)


@pytest.mark.parametrize("text", ["(" * 10_000, "NOT " * 2_500, "a = x OR " * 1_100, '"' * 10_001, "$" * 10_000])
def test_the_cost_of_a_hostile_text_is_bounded(text: str) -> None:
    began = time.process_time()
    with contextlib.suppress(QueryError):
        parse(text)
    assert time.process_time() - began < 0.5
