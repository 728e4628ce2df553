"""Patches as pure functions. What the server does around them is in test_apiserver_writes."""

import copy

import pytest

from tortie.apiserver.patches.merge import PatchError, json_patch, merge_patch
from tortie.apiserver.patches.strategic import strategic_merge
from tortie.apiserver.schema import dsl

POD = dsl.types()["Pod"]
DEPLOYMENT = dsl.types()["Deployment"]


def _pod(*containers: dict, **spec: object) -> dict:
    return {"spec": {"containers": list(containers), **spec}}


def test_a_merge_patch_replaces_lists_and_null_removes() -> None:
    document = {"a": {"b": 1, "c": [1, 2]}, "d": 4}
    assert merge_patch(document, {"a": {"b": None, "c": [3]}, "e": {"f": 1, "g": None}}) == {
        "a": {"c": [3]},
        "d": 4,
        "e": {"f": 1},
    }


def test_a_merge_patch_leaves_the_document_as_it_was() -> None:
    document = {"a": {"b": 1}}
    before = copy.deepcopy(document)
    merge_patch(document, {"a": {"b": 2}})
    assert document == before


@pytest.mark.parametrize(
    ("operations", "result"),
    [
        ([{"op": "add", "path": "/a/-", "value": 3}], {"a": [1, 2, 3]}),
        ([{"op": "add", "path": "/a/0", "value": 0}], {"a": [0, 1, 2]}),
        ([{"op": "remove", "path": "/a/1"}], {"a": [1]}),
        ([{"op": "replace", "path": "/a", "value": {}}], {"a": {}}),
        ([{"op": "move", "from": "/a/0", "path": "/b"}], {"a": [2], "b": 1}),
        ([{"op": "copy", "from": "/a", "path": "/x~1y"}], {"a": [1, 2], "x/y": [1, 2]}),
        ([{"op": "test", "path": "/a/0", "value": 1}, {"op": "remove", "path": "/a"}], {}),
    ],
)
def test_json_patch_operations(operations: list, result: dict) -> None:
    assert json_patch({"a": [1, 2]}, operations) == result


@pytest.mark.parametrize(
    ("operation", "says"),
    [
        ({"op": "test", "path": "/a/0", "value": 9}, "testing value /a/0 failed"),
        ({"op": "remove", "path": "/nope"}, "does not exist"),
        ({"op": "replace", "path": "/a/7", "value": 1}, "out of bounds"),
        ({"op": "wiggle", "path": "/a"}, "unknown operation"),
    ],
)
def test_a_json_patch_that_does_not_apply_says_why(operation: dict, says: str) -> None:
    with pytest.raises(PatchError, match=says):
        json_patch({"a": [1, 2]}, [operation])


def test_a_json_patch_has_at_most_ten_thousand_operations() -> None:
    with pytest.raises(PatchError) as caught:
        json_patch({}, [{"op": "add", "path": "/a", "value": 1}] * 10_001)
    assert caught.value.code == 413


def test_strategic_merge_merges_containers_by_name() -> None:
    old = _pod({"name": "a", "image": "one"}, {"name": "b", "image": "two"})
    new = strategic_merge(old, _pod({"name": "b", "image": "three"}, {"name": "c", "image": "four"}), POD)
    assert new == _pod({"name": "a", "image": "one"}, {"name": "b", "image": "three"}, {"name": "c", "image": "four"})


def test_strategic_merge_deletes_an_item_by_its_key() -> None:
    old = _pod({"name": "a"}, {"name": "b"})
    assert strategic_merge(old, _pod({"name": "a", "$patch": "delete"}), POD) == _pod({"name": "b"})


def test_strategic_merge_replaces_a_list_when_told_so() -> None:
    old = _pod({"name": "a"}, {"name": "b"})
    assert strategic_merge(old, _pod({"$patch": "replace"}, {"name": "c"}), POD) == _pod({"name": "c"})


def test_strategic_merge_replaces_lists_without_a_merge_key() -> None:
    old = _pod({"name": "a", "args": ["1", "2"]})
    assert strategic_merge(old, _pod({"name": "a", "args": ["3"]}), POD) == _pod({"name": "a", "args": ["3"]})


def test_strategic_merge_orders_a_list_as_the_patch_says() -> None:
    old = _pod({"name": "a"}, {"name": "b"})
    patch = {
        "spec": {
            "$setElementOrder/containers": [{"name": "b"}, {"name": "a"}],
            "containers": [{"name": "b", "tty": True}],
        }
    }
    assert strategic_merge(old, patch, POD) == _pod({"name": "b", "tty": True}, {"name": "a"})


def test_strategic_merge_keeps_only_the_retained_keys() -> None:
    old = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert strategic_merge(old, patch, DEPLOYMENT) == {"spec": {"strategy": {"type": "Recreate"}}}


def test_strategic_merge_removes_values_from_a_list_of_texts() -> None:
    old = {"metadata": {"finalizers": ["a", "b"]}}
    patch = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}
    assert strategic_merge(old, patch, POD) == {"metadata": {"finalizers": ["b"]}}


def test_strategic_merge_adds_to_a_list_of_texts_that_merges() -> None:
    assert strategic_merge({"metadata": {"finalizers": ["a"]}}, {"metadata": {"finalizers": ["b"]}}, POD) == {
        "metadata": {"finalizers": ["a", "b"]}
    }


def test_strategic_merge_demands_the_merge_key() -> None:
    with pytest.raises(PatchError, match="does not contain declared merge key: name"):
        strategic_merge(_pod({"name": "a"}), _pod({"image": "x"}), POD)
