"""Sets of fields in FieldsV1 form, and the walks that make them.

A set is a tree of dicts with the keys of FieldsV1: `f:name`, `k:{…}` (list item by keys), `v:…` (set item). A leaf
`{}` is a member; an inner node is a member only if it has the key ".". In: schema nodes and objects. Out: sets, and
their union, difference and intersection. Pure.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from tortie.apiserver.schema import node as n
from tortie.apiserver.schema.node import FREE, Node

FieldSet = dict[str, Any]
SELF = "."
_LEAF: FieldSet = {}  # shared by all leaves: no set is changed once it is made
_encode = msgspec.json.encode


def item_key(node: Node, item: Any) -> str | None:
    """The path element of a list item; None when it lacks its keys."""
    if node.list_type == "set":
        return "v:" + _encode(item).decode()
    if not isinstance(item, dict):
        return None
    found = {}
    for key in sorted(node.keys) if len(node.keys) > 1 else node.keys:
        value = item.get(key)
        if value is None:
            child = (node.items or FREE).child(key)
            if child is not None and child.default is not n.UNSET:
                value = child.default
            elif key == "protocol":
                value = "TCP"  # the one defaulted key among the built-in kinds
            else:
                continue
        found[key] = value
    if not found:
        return None
    return "k:" + _encode(found).decode()


def of_value(node: Node, value: Any) -> FieldSet:
    """Every field that a value sets."""
    if type(value) is dict:
        if node.atomic or not (node.type == n.OBJECT or node.preserve or node.properties):
            return _LEAF
        found: FieldSet = {}
        properties, values = node.properties, node.values
        for key, sub in value.items():
            if type(sub) is not dict and type(sub) is not list:
                found["f:" + key] = _LEAF
                continue
            below = properties.get(key)
            inner = of_value(below or values or FREE, sub)
            if inner and below is None:
                inner[SELF] = _LEAF
            found["f:" + key] = inner
        return found
    if type(value) is list and node.type == n.ARRAY and node.list_type != "atomic":
        found = {}
        below, mapped = node.items or FREE, node.list_type == "map"
        for item in value:
            place = item_key(node, item)
            if place is None:
                continue
            inner = of_value(below, item) if mapped else _LEAF
            if inner:
                inner[SELF] = _LEAF
            found[place] = inner
        return found
    return _LEAF


def _opens(node: Node) -> bool:
    return node.type == n.OBJECT or bool(node.properties) or node.preserve


def difference_of(node: Node, old: Any, new: Any) -> tuple[FieldSet, FieldSet]:
    """(fields that `new` adds or changes, fields that it removes)."""
    changed: FieldSet = {}
    removed: FieldSet = {}
    if isinstance(old, dict) and isinstance(new, dict) and not node.atomic and _opens(node):
        for key, value in new.items():
            below = node.child(key) or FREE
            place = f"f:{key}"
            if key not in old:
                changed[place] = _added(node, key, below, value)
            elif old[key] != value:
                up, down = difference_of(below, old[key], value)
                if up or not down:
                    changed[place] = up
                if down:
                    removed[place] = down
        for key, value in old.items():
            if key not in new:
                below = node.child(key) or FREE
                inner = of_value(below, value)
                if inner:
                    inner[SELF] = {}
                removed[f"f:{key}"] = inner
        return changed, removed
    if isinstance(old, list) and isinstance(new, list) and node.type == n.ARRAY and node.list_type != "atomic":
        return _list_difference(node, old, new)
    return {}, {}


def _added(node: Node, key: str, below: Node, value: Any) -> FieldSet:
    inner = of_value(below, value)
    if inner and (key not in node.properties or below.values is not None):
        inner[SELF] = {}
    return inner


def _list_difference(node: Node, old: list[Any], new: list[Any]) -> tuple[FieldSet, FieldSet]:
    changed: FieldSet = {}
    removed: FieldSet = {}
    before = {item_key(node, item): item for item in old}
    after = {item_key(node, item): item for item in new}
    below = node.items or FREE
    for key, item in after.items():
        if key is None:
            continue
        if key not in before:
            inner = of_value(below, item) if node.list_type == "map" else {}
            if inner:
                inner[SELF] = {}
            changed[key] = inner
        elif before[key] != item:
            up, down = difference_of(below, before[key], item)
            if up:
                changed[key] = up
            if down:
                removed[key] = down
    for key, item in before.items():
        if key is not None and key not in after:
            inner = of_value(below, item) if node.list_type == "map" else {}
            if inner:
                inner[SELF] = {}
            removed[key] = inner
    return changed, removed


def _member(child: FieldSet) -> bool:
    return not child or SELF in child


def union(left: FieldSet, right: FieldSet) -> FieldSet:
    """Fields in either."""
    result = dict(left)
    for key, child in right.items():
        if key not in result:
            result[key] = child
            continue
        mine = result[key]
        if mine == child:
            continue
        merged = union(mine, child)
        if merged and (_member(mine) or _member(child)):
            merged[SELF] = {}
        result[key] = merged
    return result


def subtract(left: FieldSet, right: FieldSet) -> FieldSet:
    """Fields of `left` that are not in `right`."""
    result: FieldSet = {}
    for key, child in left.items():
        if key == SELF:
            continue
        other = right.get(key)
        if other is None:
            result[key] = child
            continue
        keeps = _member(child) and not _member(other)
        inner = subtract(child, other)
        if inner:
            if keeps:
                inner[SELF] = {}
            result[key] = inner
        elif keeps:
            result[key] = {}
    return result


def intersect(left: FieldSet, right: FieldSet) -> FieldSet:
    """Fields in both."""
    result: FieldSet = {}
    for key, child in left.items():
        if key == SELF or key not in right:
            continue
        other = right[key]
        both = _member(child) and _member(other)
        inner = intersect(child, other)
        if inner:
            if both:
                inner[SELF] = {}
            result[key] = inner
        elif both:
            result[key] = {}
    return result


def drop(fields: FieldSet, right: FieldSet) -> FieldSet:
    """`fields` without what `right` names and everything below it."""
    result: FieldSet = {}
    for key, child in fields.items():
        other = right.get(key)
        if other is None:
            result[key] = child
        elif other and SELF not in other:
            inner = drop(child, other)
            if inner:
                result[key] = inner
    return result


def paths(fields: FieldSet, prefix: str = "") -> Iterator[str]:
    """Every member as a path: `.spec.replicas`, `.spec.ports[port=80,protocol="TCP"].name`."""
    for key, child in fields.items():
        if key == SELF:
            continue
        kind, _, rest = key.partition(":")
        if kind == "f":
            path = f"{prefix}.{rest}"
        elif kind == "k":
            pairs = json.loads(rest)
            shown = ",".join(f"{k}={json.dumps(v, ensure_ascii=False)}" for k, v in pairs.items())
            path = f"{prefix}[{shown}]"
        else:
            path = f"{prefix}[={rest}]" if kind == "v" else f"{prefix}[{rest}]"
        if _member(child):
            yield path
        yield from paths(child, path)


def merge(node: Node, live: Any, config: Any) -> Any:
    """The live value with an applied configuration merged into it."""
    if isinstance(config, dict) and isinstance(live, dict) and not node.atomic and _opens(node):
        result = dict(live)
        for key, value in config.items():
            below = node.child(key) or FREE
            result[key] = merge(below, live[key], value) if key in live else value
        return result
    if isinstance(config, list) and isinstance(live, list) and node.type == n.ARRAY and node.list_type != "atomic":
        return _merge_lists(node, live, config)
    return config


def _merge_lists(node: Node, live: list[Any], config: list[Any]) -> list[Any]:
    below = node.items or FREE
    wanted = [(item_key(node, item), item) for item in config]
    have = {item_key(node, item): item for item in live}
    wanted_keys = {key for key, _ in wanted}
    merged = {
        key: merge(below, have[key], item) if key in have and node.list_type == "map" else item for key, item in wanted
    }
    result: list[Any] = []
    queue = [key for key, _ in wanted]
    placed: set[Any] = set()
    for item in live:
        key = item_key(node, item)
        if key not in wanted_keys:
            result.append(item)
            continue
        if key in placed:
            continue
        while queue:  # items that the configuration puts before this one
            following = queue.pop(0)
            if following in placed:
                continue
            result.append(merged[following])
            placed.add(following)
            if following == key:
                break
    result += [merged[key] for key in queue if key not in placed]
    return result


def prune(node: Node, value: Any, last: FieldSet, new: FieldSet, others: Iterable[FieldSet]) -> Any:
    """`value` without what the applier owned before (`last`), sets no more (`new`) and nobody else owns."""
    kept = list(others)
    if isinstance(value, dict) and not node.atomic:
        result = dict(value)
        for key, child in last.items():
            kind, _, name = key.partition(":")
            if kind != "f" or name not in result:
                continue
            below = node.child(name) or FREE
            owned = [o[key] for o in kept if key in o]
            if key not in new and not owned:
                del result[name]
            elif child:
                result[name] = prune(below, result[name], child, new.get(key, {}), owned)
        return result
    if isinstance(value, list) and node.type == n.ARRAY and node.list_type != "atomic":
        result_list = []
        for item in value:
            key_text = item_key(node, item)
            child = last.get(key_text) if key_text is not None else None
            if child is None or key_text is None:
                result_list.append(item)
                continue
            owned = [o[key_text] for o in kept if key_text in o]
            if key_text not in new and not owned:
                continue
            result_list.append(prune(node.items or FREE, item, child, new.get(key_text, {}), owned))
        return result_list
    return value
