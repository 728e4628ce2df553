"""What CEL sees of a structural schema: the static type of each place, and the values in it.

In: schema nodes, and the JSON values that stand there. Out: types for compiling, and views, which turn a JSON value
into the one that expressions work with (times, durations, bytes, lists with keys). Fields that the schema does not
know, and those of unknown type, have no place in a type and so cannot be named. Pure.
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from typing import Any

from tortie.apiserver import cel
from tortie.apiserver.cel import values
from tortie.apiserver.cel.types import DYN, Type
from tortie.apiserver.schema import node as n
from tortie.apiserver.schema.node import Node

View = Callable[[Any], Any]
_ACCESSIBLE = re.compile(r"^[a-zA-Z_./-][a-zA-Z0-9_./-]*$")
_METADATA = cel.object_of("metadata", {"name": cel.STRING, "generateName": cel.STRING})
_HEAD = ("apiVersion", "kind", "metadata")
_SCALARS = {n.STRING: cel.STRING, n.INTEGER: cel.INT, n.NUMBER: cel.DOUBLE, n.BOOLEAN: cel.BOOL}
_FORMATS = {
    "byte": cel.BYTES,
    "date": cel.TIMESTAMP,
    "date-time": cel.TIMESTAMP,
    "datetime": cel.TIMESTAMP,
    "duration": cel.DURATION,
}


def type_of(node: Node, name: str = "self", *, root: bool = False) -> Type | None:
    """The type of a node; None where the schema knows none. root: the whole object, whose head is always there."""
    if node.int_or_string:
        return DYN
    if node.type == n.STRING:
        return _FORMATS.get(node.format, cel.STRING)
    if node.type in _SCALARS:
        return _SCALARS[node.type]
    if node.type == n.ARRAY:
        item = type_of(node.items, f"{name}.@item") if node.items is not None else None
        return cel.list_of(item) if item is not None else None
    if node.type != n.OBJECT:
        return None
    if node.values is not None and not node.properties:
        value = type_of(node.values, f"{name}.@value")
        return cel.map_of(cel.STRING, value) if value is not None else None
    fields: dict[str, Type] = {}
    for key, below in fields_of(node, root=root):
        kind = type_of(below, f"{name}.{key}")
        if kind is not None:
            fields[key] = kind
    if root or node.embedded:
        fields |= {"apiVersion": cel.STRING, "kind": cel.STRING, "metadata": _METADATA}
    return cel.object_of(name, fields)


def fields_of(node: Node, *, root: bool) -> Iterator[tuple[str, Node]]:
    """The properties that expressions can name, without the head of a whole object."""
    for key, below in node.properties.items():
        if not ((root or node.embedded) and key in _HEAD) and _ACCESSIBLE.match(key):
            yield key, below


def view_of(node: Node, *, root: bool = False) -> View | None:
    """How a value of this node becomes one of CEL; None when it is the same."""
    if root:
        return _object_view(node, root=True)
    if node.type == n.STRING:
        return _TEXTS.get(node.format)
    if node.type == n.INTEGER:
        return _whole
    if node.type == n.NUMBER:
        return _double
    if node.type == n.ARRAY:
        return _list_view(node)
    if node.type != n.OBJECT:
        return None
    if node.values is not None and not node.properties:
        each = view_of(node.values)
        if each is None:
            return None
        return lambda value: {k: _seen(each, v) for k, v in value.items()} if isinstance(value, dict) else value
    return _object_view(node, root=False)


def _object_view(node: Node, *, root: bool) -> View | None:
    known = dict(fields_of(node, root=root))
    below = {key: each for key, sub in known.items() if (each := view_of(sub)) is not None}
    hides = node.preserve or root or node.embedded or len(known) != len(node.properties)
    if not below and not hides:
        return None

    def view(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if not hides:
            return {k: _seen(below.get(k), v) for k, v in value.items()}
        shown = {k: _seen(below.get(k), v) for k, v in value.items() if k in known}
        if root or node.embedded:
            shown |= {k: value[k] for k in ("apiVersion", "kind") if k in value}
            meta = value.get("metadata")
            if isinstance(meta, dict):
                shown["metadata"] = {k: meta[k] for k in ("name", "generateName") if k in meta}
        return shown

    return view


def _list_view(node: Node) -> View | None:
    below = view_of(node.items) if node.items is not None else None
    atomic = node.list_type == "atomic"
    if atomic and below is None:
        return None
    keys = node.keys if node.list_type == "map" else ()

    def view(value: Any) -> Any:
        if not isinstance(value, list):
            return value
        items = [_seen(below, v) for v in value]
        return items if atomic else cel.KeyedList(items, keys)

    return view


def _seen(view: View | None, value: Any) -> Any:
    return value if view is None or value is None else view(value)


def _whole(value: Any) -> Any:
    return int(value) if type(value) is float else value


def _double(value: Any) -> Any:
    return float(value) if type(value) is int else value


def _bytes(value: Any) -> Any:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise cel.CelError("the value is not base64") from None


_TEXTS: dict[str, View] = {
    "byte": _bytes,
    "date": lambda value: values.timestamp(f"{value}T00:00:00Z"),
    "date-time": lambda value: values.timestamp(str(value)),
    "datetime": lambda value: values.timestamp(str(value)),
    "duration": lambda value: values.duration(str(value)),
}
