"""Fields of objects, keys of maps, items of lists, and `has()`.

In: a selection or index with its built operand. Out: a closure. Field names of objects may be written escaped
(`x__dash__y`), as Kubernetes has it for names that are no CEL identifiers.
"""

from collections.abc import Callable
from typing import Any

from tortie.apiserver.cel import syntax as s
from tortie.apiserver.cel import types, values
from tortie.apiserver.cel.calls import Built, Frame
from tortie.apiserver.cel.standard import find_key
from tortie.apiserver.cel.types import DYN, Type
from tortie.apiserver.cel.values import NONE, CelError, Optional

_ESCAPED = {"__underscores__": "__", "__dot__": ".", "__dash__": "-", "__slash__": "/"}
_KEYWORDS = s.RESERVED | {"true", "false", "null", "in"}


def unescape(name: str) -> str:
    """A field's name in the API from its name in an expression."""
    if "__" not in name:
        return name
    if name.startswith("__") and name.endswith("__") and name[2:-2] in _KEYWORDS:
        return name[2:-2]
    for escaped, plain in _ESCAPED.items():
        name = name.replace(escaped, plain)
    return name


def build_select(node: s.Select, operand: Built) -> Built:
    """`operand.field`, `operand.?field` and `has(operand.field)`."""
    kind = operand.type
    name, given, at = unescape(node.field_name), node.field_name, node.at
    optional = kind.name == "optional_type"
    inner = (kind.params or (DYN,))[0] if optional else kind
    result = DYN
    if inner.fields is not None:
        if name not in inner.fields and given not in inner.fields:
            raise CelError(f"undefined field '{given}'", at)
        result = inner.fields[name if name in inner.fields else given]
    elif inner.name == "map":
        result = inner.params[1] if inner.params else DYN
        name = given
    elif inner.name != "dyn":
        raise CelError(f"type '{inner}' does not support field selection", at)

    def find(value: Any) -> tuple[bool, Any]:
        if isinstance(value, dict):
            if given in value:
                return True, value[given]
            if name in value:
                return True, value[name]
            return False, None
        member = getattr(value, "cel_field", None)
        if member is not None:
            return True, member(given)
        raise CelError(f"no such overload: {values.type_name(value)} has no fields", at)

    run = operand.run
    if node.test:

        def test(frame: Frame) -> bool:
            value = run(frame)
            if isinstance(value, Optional):
                return value.present and find(value.value)[0]
            return find(value)[0]

        return Built(types.BOOL, test)
    if node.optional or optional:
        return Built(result if result.name == "optional_type" else types.optional_of(result), _optional(run, find))

    def select(frame: Frame) -> Any:
        value = run(frame)
        if type(value) is dict and given in value:
            return value[given]
        if isinstance(value, Optional):
            return _optional(lambda _: value, find)(frame)
        present, found = find(value)
        if not present:
            raise CelError(f"no such key: {given}", at)
        return found

    return Built(result, select)


def _optional(run: Callable[[Frame], Any], find: Callable[[Any], tuple[bool, Any]]) -> Callable[[Frame], Optional]:
    def select(frame: Frame) -> Optional:
        value = run(frame)
        if isinstance(value, Optional):
            if not value.present:
                return NONE
            value = value.value
        present, found = find(value)
        return Optional(True, found) if present else NONE

    return select


def build_index(node: s.Index, operand: Built, index: Built) -> Built:
    """`operand[index]` and `operand[?index]`."""
    kind = operand.type
    optional = kind.name == "optional_type"
    inner = (kind.params or (DYN,))[0] if optional else kind
    result: Type = DYN
    if inner.name == "list":
        result = inner.params[0] if inner.params else DYN
        fits = index.type.name in {"int", "uint", "double", "dyn"}
    elif inner.name == "map":
        result = inner.params[1] if inner.params else DYN
        fits = types.fits(inner.params[0] if inner.params else DYN, index.type, {})
    else:
        fits = inner.name == "dyn" or inner.fields is not None
    if not fits:
        raise CelError(f"found no matching overload for '_[_]' applied to '({kind}, {index.type})'", node.at)
    run, at = operand.run, node.at

    def find(value: Any, key: Any) -> tuple[bool, Any]:
        if isinstance(value, dict):
            return find_key(value, key)
        if isinstance(value, list | tuple):
            if isinstance(key, bool) or not isinstance(key, int | float) or key != int(key):
                raise CelError(f"no such overload: a list has no item {key!r}", at)
            return (True, value[int(key)]) if 0 <= key < len(value) else (False, None)
        raise CelError(f"no such overload: {values.type_name(value)} has no items", at)

    def whether(frame: Frame) -> Optional:
        value, key = run(frame), index.run(frame)
        if isinstance(value, Optional):
            if not value.present:
                return NONE
            value = value.value
        present, found = find(value, key)
        return Optional(True, found) if present else NONE

    if node.optional or optional:
        return Built(types.optional_of(result), whether)

    def item(frame: Frame) -> Any:
        value, key = run(frame), index.run(frame)
        if isinstance(value, Optional):
            return whether(frame)
        present, found = find(value, key)
        if not present:
            what = "index out of bounds" if isinstance(value, list | tuple) else "no such key"
            raise CelError(f"{what}: {values.key_text(key)}", at)
        return found

    return Built(result, item)
