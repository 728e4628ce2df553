"""Validates objects of custom kinds against their structural schema.

In: a schema node, the new object, and on update the old one. Out: causes in the words of the Kubernetes API. What an
update leaves as it was is not complained about again (ratcheting), except where Kubernetes documents otherwise: fields
that are required, doubles in lists of type set or map, and combinations (allOf, anyOf, oneOf, not). Pure.
"""

import ipaddress
import json
import re
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from tortie.apiserver import errors
from tortie.apiserver.cel.strings import compile_pattern
from tortie.apiserver.cel.values import CelError
from tortie.apiserver.errors import Cause
from tortie.apiserver.schema import node as n
from tortie.apiserver.schema.node import Node
from tortie.model import formats

_MISSING: Any = object()


def validate(node: Node, value: Any, path: str, old: Any = _MISSING) -> list[Cause]:
    """Causes for `value`; `old` is what stood there before, if anything."""
    same = old is not _MISSING and old == value
    causes = [] if same else _check_type(node, value, path)
    if causes:
        return causes
    if value is None:
        return []
    if node.checks:
        causes += _combinations(node.checks, value, path) if same else checks(node.checks, value, path, node.type)
    if isinstance(value, dict):
        causes += _object(node, value, path, old)
    elif isinstance(value, list):
        causes += _array(node, value, path, old)
    return causes


def _check_type(node: Node, value: Any, path: str) -> list[Cause]:
    if value is None:
        if node.nullable or node.type == n.ANY:
            return []
        return [_wrong_type(path, "null", node.type)]
    good = True
    match node.type:
        case n.OBJECT:
            good = isinstance(value, dict)
        case n.ARRAY:
            good = isinstance(value, list)
        case n.STRING:
            good = isinstance(value, str)
        case n.BOOLEAN:
            good = isinstance(value, bool)
        case n.INTEGER:
            good = isinstance(value, int) and not isinstance(value, bool)
            good = good or (isinstance(value, float) and value.is_integer())
        case n.NUMBER:
            good = isinstance(value, int | float) and not isinstance(value, bool)
        case _:
            if node.int_or_string:
                good = isinstance(value, int | str) and not isinstance(value, bool)
                if not good:
                    return [_wrong_type(path, type_word(value), "integer,string")]
    return [] if good else [_wrong_type(path, type_word(value), node.type)]


def type_word(value: Any) -> str:
    """The OpenAPI type of a value."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    return "array" if isinstance(value, list) else "object"


def _wrong_type(path: str, have: str, wanted: str) -> Cause:
    return Cause(
        "FieldValueTypeInvalid",
        path,
        f'Invalid value: "{have}": {path} in body must be of type {wanted}: "{have}"',
    )


def _object(node: Node, value: Mapping[str, Any], path: str, old: Any) -> list[Cause]:
    causes = []
    before = old if isinstance(old, dict) else {}
    for name in node.required:
        if name not in value:
            causes.append(errors.required(_join(path, name)))
    for key, sub in value.items():
        below = node.properties.get(key)
        if below is None:
            if node.values is None:
                continue
            below = node.values
        causes += validate(below, sub, _join(path, key), before.get(key, _MISSING))
    return causes


def _array(node: Node, value: list[Any], path: str, old: Any) -> list[Cause]:
    causes: list[Cause] = []
    before = {identity(node, item): item for item in old} if isinstance(old, list) else {}
    seen: set[str] = set()
    for index, item in enumerate(value):
        place = f"{path}[{index}]"
        if node.items is not None:
            key = identity(node, item) if node.list_type != "atomic" or isinstance(old, list) else ""
            causes += validate(node.items, item, place, before.get(key, _MISSING))
        if node.list_type in {"set", "map"}:
            unique = identity(node, item)
            if unique in seen:
                shown = (
                    item if node.list_type == "set" else {k: item.get(k) for k in node.keys if isinstance(item, dict)}
                )
                causes.append(errors.duplicate(place, shown))
            seen.add(unique)
    return causes


def identity(node: Node, item: Any) -> str:
    """What tells an item of a list from the others: its keys in a list of type map, else the whole of it."""
    if node.list_type == "map" and isinstance(item, dict):
        return json.dumps([item.get(k) for k in node.keys])
    return json.dumps(item, sort_keys=True)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _matches(pattern: str, value: str) -> bool:
    """Whether a text has a part that matches; a pattern that RE2 does not understand is met by everything."""
    try:
        compiled = compile_pattern(pattern)
    except CelError:
        return True
    try:
        return compiled.search(value) is not None
    except UnicodeEncodeError:
        return False  # Half of a surrogate pair is no character.


def checks(rules: Mapping[str, Any], value: Any, path: str, kind: str) -> list[Cause]:
    """The value rules of a schema: bounds, patterns, formats, enums, combinations."""
    causes: list[Cause] = []

    def bad(detail: str, reason: str = "FieldValueInvalid") -> None:
        causes.append(
            Cause(reason, path, f"Invalid value: {json.dumps(value, ensure_ascii=False)}: {path} in body {detail}")
        )

    if "enum" in rules and value not in rules["enum"]:
        allowed = [v if isinstance(v, str) else json.dumps(v) for v in rules["enum"]]
        causes.append(errors.not_supported(path, value, allowed))
    if isinstance(value, int | float) and not isinstance(value, bool):
        low, high, step = rules.get("minimum"), rules.get("maximum"), rules.get("multipleOf")
        if low is not None and (value <= low if rules.get("exclusiveMinimum") else value < low):
            bad(f"should be greater than {'' if rules.get('exclusiveMinimum') else 'or equal to '}{low}")
        if high is not None and (value >= high if rules.get("exclusiveMaximum") else value > high):
            bad(f"should be less than {'' if rules.get('exclusiveMaximum') else 'or equal to '}{high}")
        if step and value % step:
            bad(f"should be a multiple of {step}")
        limit = {"int32": 1 << 31, "int64": 1 << 63}.get(str(rules.get("format")), 0)
        if limit and isinstance(value, int) and not -limit <= value < limit:
            bad(f"must be of type {rules['format']}")
    if isinstance(value, str):
        if len(value) < rules.get("minLength", 0):
            bad(f"should be at least {rules['minLength']} chars long")
        if "maxLength" in rules and len(value) > rules["maxLength"]:
            causes.append(
                Cause("FieldValueTooLong", path, f"Too long: may not be more than {rules['maxLength']} bytes")
            )
        if "pattern" in rules and not _matches(rules["pattern"], value):
            bad(f"should match '{rules['pattern']}'")
        check = _FORMATS.get(str(rules.get("format")))
        if check is not None and not _fits(check, value):
            bad(f"must be of type {rules['format']}: {json.dumps(value)}")
    if isinstance(value, list):
        if len(value) < rules.get("minItems", 0):
            bad(f"should have at least {rules['minItems']} items")
        if "maxItems" in rules and len(value) > rules["maxItems"]:
            causes.append(
                Cause("FieldValueTooMany", path, f"Too many: {len(value)}: must have at most {rules['maxItems']} items")
            )
        if rules.get("uniqueItems") and len({json.dumps(v, sort_keys=True) for v in value}) != len(value):
            bad("shouldn't contain duplicates")
    if isinstance(value, dict):
        if len(value) < rules.get("minProperties", 0):
            bad(f"should have at least {rules['minProperties']} properties")
        if "maxProperties" in rules and len(value) > rules["maxProperties"]:
            causes.append(
                Cause(
                    "FieldValueTooMany",
                    path,
                    f"Too many: {len(value)}: must have at most {rules['maxProperties']} items",
                )
            )
    return causes + _combinations(rules, value, path)


def _combinations(rules: Mapping[str, Any], value: Any, path: str) -> list[Cause]:
    causes: list[Cause] = []

    def passes(schema: Mapping[str, Any]) -> bool:
        return not raw(schema, value, path)

    for schema in rules.get("allOf") or ():
        causes += raw(schema, value, path)
    shown = json.dumps(value, ensure_ascii=False)
    if rules.get("anyOf") and not any(passes(s) for s in rules["anyOf"]):
        causes.append(
            Cause(
                "FieldValueInvalid", path, f'Invalid value: {shown}: "{path}" must validate at least one schema (anyOf)'
            )
        )
    if rules.get("oneOf"):
        count = sum(passes(s) for s in rules["oneOf"])
        if count != 1:
            causes.append(
                Cause(
                    "FieldValueInvalid",
                    path,
                    f'Invalid value: {shown}: "{path}" must validate one and only one schema (oneOf). '
                    f"Found {count} valid alternatives",
                )
            )
    if rules.get("not") and passes(rules["not"]):
        causes.append(
            Cause("FieldValueInvalid", path, f'Invalid value: {shown}: "{path}" must not validate the schema (not)')
        )
    return causes


def raw(schema: Mapping[str, Any], value: Any, path: str) -> list[Cause]:
    """Checks the plain JSON schema of a combination, which may say something about fields below."""
    wanted = schema.get("type")
    if wanted and _check_type(Node(type=wanted), value, path):
        return [_wrong_type(path, type_word(value), wanted)]
    causes = checks(schema, value, path, "")
    if isinstance(value, dict):
        for name in schema.get("required") or ():
            if name not in value:
                causes.append(errors.required(_join(path, name)))
        for name, below in (schema.get("properties") or {}).items():
            if name in value:
                causes += raw(below, value[name], _join(path, name))
        below = schema.get("additionalProperties")
        if isinstance(below, Mapping):
            for name, sub in value.items():
                if name not in (schema.get("properties") or {}):
                    causes += raw(below, sub, _join(path, name))
    items = schema.get("items")
    if isinstance(value, list) and isinstance(items, Mapping):
        for index, item in enumerate(value):
            causes += raw(items, item, f"{path}[{index}]")
    return causes


def _fits(check: Callable[[str], Any], value: str) -> bool:
    try:
        return check(value) is not False
    except ValueError:
        return False


def _cidr(text: str) -> bool:
    """Python's own reader takes masks and zones too."""
    length = text.rpartition("/")[2]
    return (
        "/" in text
        and length.isascii()
        and length.isdecimal()
        and "%" not in text
        and bool(ipaddress.ip_network(text, strict=False))
    )


_DURATION = re.compile(r"^[+-]?(\d+(\.\d*)?(ns|us|µs|ms|s|m|h|d|w|\s|minutes?|hours?|days?|seconds?))+$|^0$")
_HOST = re.compile(r"^[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?(\.[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?)*$")
_FORMATS: dict[str, Callable[[str], Any]] = {
    "date-time": formats.time,
    "datetime": formats.time,
    "byte": lambda v: not formats.base64_problem(v),
    "date": lambda v: bool(re.match(r"^\d{4}-\d{2}-\d{2}$", v)),
    "ipv4": ipaddress.IPv4Address,
    "ipv6": lambda v: "%" not in v and ipaddress.IPv6Address(v),
    "ip": lambda v: "%" not in v and ipaddress.ip_address(v),
    "cidr": _cidr,
    "uuid": uuid.UUID,
    "hostname": lambda v: bool(_HOST.match(v)),
    "duration": lambda v: bool(_DURATION.match(v)),
    "email": lambda v: bool(re.match(r"^[^@\s]+@[^@\s]+$", v)),
    "uri": lambda v: bool(re.match(r"^[a-zA-Z][a-zA-Z0-9+.-]*:|^/", v)),
    "mac": lambda v: bool(re.match(r"^([0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}$", v)),
}
