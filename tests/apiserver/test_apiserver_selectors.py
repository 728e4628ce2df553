"""Label and field selectors."""

import pytest

from tortie.apiserver.errors import StatusError
from tortie.apiserver.selectors import parse_fields, parse_labels

LABELS = {"app": "web", "tier": "front", "weight": "5"}


@pytest.mark.parametrize(
    "text",
    [
        "app", "app=web", "app==web", "app in (web, api)", "app notin (db)", "!gone", "gone!=x", "weight>4", "weight<6",
        "app=web,tier=front", " app = web , tier in (front) ", "gone notin (x)", "app in (web),!gone",
    ],
)  # fmt: skip
def test_selectors_that_match(text: str) -> None:
    selector = parse_labels(text)
    assert selector is not None
    assert selector.matches(LABELS)


@pytest.mark.parametrize(
    "text", ["app=db", "app!=web", "!app", "gone", "app in (db)", "app notin (web)", "weight>5", "app=web,tier=back"]
)
def test_selectors_that_do_not_match(text: str) -> None:
    selector = parse_labels(text)
    assert selector is not None
    assert not selector.matches(LABELS)


@pytest.mark.parametrize("text", ["app in", "app in (", "=x", "app=a=b", "app=-x-", "a b", "app in ()x", "weight>high"])
def test_bad_selectors_are_refused_with_400(text: str) -> None:
    with pytest.raises(StatusError) as caught:
        parse_labels(text)
    assert caught.value.code == 400


def test_no_selector_selects_all() -> None:
    assert parse_labels("") is None
    assert parse_fields("", {}, namespaced=True) is None


def test_field_selectors_compare_name_namespace_and_the_kinds_own_fields() -> None:
    selector = parse_fields("metadata.name=a,spec.nodeName!=n1", {"spec.nodeName": ...}, namespaced=True)
    assert selector is not None
    assert selector.matches("ns", "a", {"spec.nodeName": "n2"})
    assert not selector.matches("ns", "a", {"spec.nodeName": "n1"})
    assert selector.exact("metadata.name") == "a"


def test_an_unknown_field_is_refused_by_name() -> None:
    with pytest.raises(StatusError, match=r"field label not supported: spec\.colour"):
        parse_fields("spec.colour=red", {}, namespaced=True)


def test_a_comma_in_a_value_is_escaped() -> None:
    selector = parse_fields(r"metadata.name=a\,b", {}, namespaced=True)
    assert selector is not None
    assert selector.matches("", "a,b", {})
