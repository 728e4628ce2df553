"""Field sets of server-side apply: how they are made, combined, merged and pruned."""

from hypothesis import given
from hypothesis import strategies as st

from tortie.apiserver.schema import dsl
from tortie.apiserver.schema.fieldset import difference_of, intersect, merge, of_value, paths, prune, subtract, union
from tortie.apiserver.schema.node import from_openapi

POD = dsl.types()["Pod"]
SERVICE = dsl.types()["Service"]
FREE = from_openapi(
    {"type": "object", "additionalProperties": {"type": "object", "additionalProperties": {"type": "string"}}}
)


def test_a_set_names_list_items_by_their_keys_and_atomic_maps_as_one() -> None:
    service = {"spec": {"selector": {"a": "b"}, "ports": [{"port": 80, "targetPort": 8080}]}}
    assert of_value(SERVICE, service) == {
        "f:spec": {
            "f:selector": {},
            "f:ports": {'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:port": {}, "f:targetPort": {}}},
        }
    }


def test_paths_are_written_as_conflicts_show_them() -> None:
    fields = of_value(SERVICE, {"spec": {"ports": [{"port": 80, "name": "web"}]}})
    assert list(paths(fields)) == [
        '.spec.ports[port=80,protocol="TCP"]',
        '.spec.ports[port=80,protocol="TCP"].port',
        '.spec.ports[port=80,protocol="TCP"].name',
    ]


def test_a_difference_tells_changes_from_removals() -> None:
    old = {"metadata": {"labels": {"a": "1", "b": "2"}}}
    new = {"metadata": {"labels": {"a": "3", "c": "4"}}}
    changed, removed = difference_of(POD, old, new)
    assert changed == {"f:metadata": {"f:labels": {"f:a": {}, "f:c": {}}}}
    assert removed == {"f:metadata": {"f:labels": {"f:b": {}}}}


def test_merging_keeps_live_items_and_adds_applied_ones() -> None:
    live = {"spec": {"containers": [{"name": "injected", "image": "x"}, {"name": "a", "image": "1", "tty": True}]}}
    config = {"spec": {"containers": [{"name": "a", "image": "2"}, {"name": "b", "image": "3"}]}}
    assert merge(POD, live, config)["spec"]["containers"] == [
        {"name": "injected", "image": "x"},
        {"name": "a", "image": "2", "tty": True},
        {"name": "b", "image": "3"},
    ]


def test_pruning_removes_what_only_the_applier_owned() -> None:
    live = {"metadata": {"labels": {"mine": "1", "shared": "2", "foreign": "3"}}}
    last = {"f:metadata": {"f:labels": {"f:mine": {}, "f:shared": {}}}}
    other = {"f:metadata": {"f:labels": {"f:shared": {}}}}
    assert prune(POD, live, last, {}, [other]) == {"metadata": {"labels": {"shared": "2", "foreign": "3"}}}


def test_pruning_removes_a_list_item_with_all_its_defaults() -> None:
    live = {"spec": {"containers": [{"name": "a", "imagePullPolicy": "Always"}, {"name": "b"}]}}
    last = of_value(POD, {"spec": {"containers": [{"name": "a"}, {"name": "b"}]}})
    new = of_value(POD, {"spec": {"containers": [{"name": "b"}]}})
    assert prune(POD, live, last, new, []) == {"spec": {"containers": [{"name": "b"}]}}


def test_an_item_stays_while_another_owns_part_of_it() -> None:
    live = {"spec": {"containers": [{"name": "a", "image": "1", "tty": True}]}}
    last = of_value(POD, {"spec": {"containers": [{"name": "a", "image": "1"}]}})
    other = {"f:spec": {"f:containers": {'k:{"name":"a"}': {"f:tty": {}}}}}
    left = prune(POD, live, last, {}, [other])
    assert left["spec"]["containers"][0]["tty"] is True
    assert "image" not in left["spec"]["containers"][0]


_MAPS = st.dictionaries(st.sampled_from("abc"), st.dictionaries(st.sampled_from("xyz"), st.sampled_from("12")))


def _members(value: dict) -> set[str]:
    return set(paths(of_value(FREE, value)))


@given(_MAPS, _MAPS)
def test_set_operations_agree_with_sets_of_paths(left: dict, right: dict) -> None:
    a, b = of_value(FREE, left), of_value(FREE, right)
    assert set(paths(union(a, b))) == _members(left) | _members(right)
    assert set(paths(intersect(a, b))) == _members(left) & _members(right)
    assert set(paths(subtract(a, b))) == _members(left) - _members(right)


@given(_MAPS, _MAPS)
def test_applying_a_configuration_twice_changes_nothing_more(live: dict, config: dict) -> None:
    once = merge(FREE, live, config)
    assert merge(FREE, once, config) == once
