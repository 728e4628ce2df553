"""Makes a decoded body fit its schema: unknown fields out, nulls out, types checked.

In: the tree from a request's body, and the kind's node. Out: the same tree, changed in place, the paths of dropped
fields, and for values of the wrong type a `TypeMismatch` that names the path.
"""

import base64
import binascii
from typing import Any

from tortie.apiserver.schema import node as n
from tortie.apiserver.schema.node import Node


class TypeMismatch(ValueError):
    """A value of a type that the field does not take."""

    def __init__(self, path: str, wanted: str, value: Any) -> None:
        super().__init__(f"{path}: expected {wanted}, got {_name(value)}")
        self.path = path
        self.wanted = wanted
        self.value = value


_WORDS = {
    n.OBJECT: "an object",
    n.ARRAY: "a list",
    n.STRING: "a string",
    n.INTEGER: "an integer",
    n.NUMBER: "a number",
    n.BOOLEAN: "true or false",
}


def _name(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'the string "{value[:60]}"'
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    return f"the number {value}"


def prune(node: Node, value: Any, unknown: list[str], path: str = "", *, strict_types: bool = True) -> Any:
    """Returns the value that fits `node`. `strict_types` False leaves type errors to the validation (custom kinds)."""
    kind = node.type
    if kind == n.OBJECT:
        if not isinstance(value, dict):
            if strict_types:
                raise TypeMismatch(path, _WORDS[kind], value)
            return value
        if node.preserve and not node.properties and node.values is None:
            return value
        _prune_object(node, value, unknown, path, strict_types=strict_types)
        return value
    if kind == n.ARRAY:
        if not isinstance(value, list):
            if strict_types:
                raise TypeMismatch(path, _WORDS[kind], value)
            return value
        item = node.items
        if item is not None and item.type != n.ANY:
            for index, element in enumerate(value):
                if element is not None or not item.nullable:
                    value[index] = prune(item, element, unknown, f"{path}[{index}]", strict_types=strict_types)
        return value
    if strict_types:
        return _scalar(node, value, path)
    return value


def _prune_object(node: Node, value: dict[str, Any], unknown: list[str], path: str, *, strict_types: bool) -> None:
    properties = node.properties
    values = node.values
    drop: list[str] = []
    for key, sub in value.items():
        below = properties.get(key)
        if below is None:
            below = values
            if below is None:
                if node.embedded and key in {"apiVersion", "kind", "metadata"}:
                    continue
                if not node.preserve:
                    unknown.append(f"{path}.{key}" if path else key)
                    drop.append(key)
                continue
        if sub is None:
            nothing = strict_types or (below.type != n.ANY and not below.nullable and below.default is n.UNSET)
            if nothing and below is not values:
                drop.append(key)
            elif strict_types and below.type == n.STRING:
                value[key] = ""  # an entry without a value is an entry with the empty one
            elif strict_types:
                drop.append(key)
            continue
        kind = below.type
        if kind == n.STRING:
            if type(sub) is str and not below.format:
                continue
        elif kind == n.ANY and not below.int_or_string and not below.properties:
            continue
        value[key] = prune(below, sub, unknown, f"{path}.{key}" if path else key, strict_types=strict_types)
    for key in drop:
        del value[key]


def _scalar(node: Node, value: Any, path: str) -> Any:
    kind = node.type
    if kind == n.STRING:
        if isinstance(value, str):
            if node.format == "byte":
                try:
                    base64.b64decode(value, validate=True)
                except (binascii.Error, ValueError):
                    raise TypeMismatch(path, "base64 text", value) from None
            return value
        if node.format == "quantity" and isinstance(value, int | float) and not isinstance(value, bool):
            return f"{value:g}" if isinstance(value, float) else str(value)
        raise TypeMismatch(path, _WORDS[kind], value)
    if kind == n.INTEGER:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, float) and value.is_integer():
            return int(value)
        raise TypeMismatch(path, _WORDS[kind], value)
    if kind == n.BOOLEAN:
        if isinstance(value, bool):
            return value
        raise TypeMismatch(path, _WORDS[kind], value)
    if kind == n.NUMBER:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value
        raise TypeMismatch(path, _WORDS[kind], value)
    if node.int_or_string and (isinstance(value, bool) or not isinstance(value, int | str)):
        raise TypeMismatch(path, "an integer or a string", value)
    return value
