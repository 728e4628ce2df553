"""What the CEL rules of a definition could cost at most, before it is accepted.

In: a structural schema whose rules compile. Out: causes for rules that could cost more than Kubernetes allows, since an
object could then keep the server busy. Sizes come from maxItems, maxProperties and maxLength; where they are missing,
from what fits into one request. The estimate follows the way evaluation is charged and is meant to be no stricter than
that of Kubernetes. Pure.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tortie.apiserver import errors
from tortie.apiserver.cel import syntax as s
from tortie.apiserver.cel.fields import unescape
from tortie.apiserver.cel.parser import parse
from tortie.apiserver.cel.values import CelError
from tortie.apiserver.errors import Cause
from tortie.apiserver.schema import node as n
from tortie.apiserver.schema.node import Node

RULE_LIMIT = 10_000_000
SCHEMA_LIMIT = 100_000_000
REQUEST_BYTES = 3 * 1024 * 1024 - 2
_TRY = (
    "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are "
    "declared)"
)
_FORMAT_BYTES = {"date": 12, "date-time": 40, "datetime": 40, "duration": 32, "ipv4": 15, "ipv6": 45, "uuid": 36}


@dataclass(frozen=True, slots=True)
class _Value:
    """What is known of a value. size: characters, items or entries at most."""

    node: Node | None = None
    size: int = 1
    item: "_Value | None" = None


_UNKNOWN = _Value()


def least(node: Node) -> int:
    """The bytes that the shortest value of a node takes."""
    match node.type:
        case n.STRING | n.ARRAY:
            return 2
        case n.BOOLEAN:
            return 4
        case n.OBJECT:
            needed = ((name, node.properties[name]) for name in node.required if name in node.properties)
            return 2 + sum(len(name) + 4 + least(below) for name, below in needed if below.default is n.UNSET)
    return 1


def most(node: Node) -> int:
    """The characters, items or entries that a value of a node has at most."""
    checks = node.checks or {}
    match node.type:
        case n.STRING:
            if checks.get("enum"):
                return max(len(str(value)) for value in checks["enum"])
            if "maxLength" in checks:
                return max(int(checks["maxLength"]), 0) * (1 if node.format == "byte" else 4)
            return _FORMAT_BYTES.get(node.format, REQUEST_BYTES)
        case n.ARRAY:
            if "maxItems" in checks:
                return max(int(checks["maxItems"]), 0)
            return REQUEST_BYTES // ((least(node.items) if node.items is not None else 1) + 1)
        case n.OBJECT if node.values is not None:
            if "maxProperties" in checks:
                return max(int(checks["maxProperties"]), 0)
            return REQUEST_BYTES // (least(node.values) + 6)
    if node.int_or_string:
        return max(int(checks["maxLength"]), 0) * 4 if "maxLength" in checks else REQUEST_BYTES
    return 1


def _of(node: Node | None) -> _Value:
    return _UNKNOWN if node is None else _Value(node, most(node))


class _Estimate:
    """Walks an expression; every visit gives what is known of the value, and adds to the cost."""

    def cost(self, expression: str, scope: Mapping[str, _Value]) -> int:
        """Raises CelError for an expression that does not parse."""
        return self._visit(parse(expression), scope)[1]

    def _visit(self, node: s.Node, scope: Mapping[str, _Value]) -> tuple[_Value, int]:
        match node:
            case s.Literal(value=value):
                return _Value(size=len(value) if isinstance(value, str | bytes) else 1), 0
            case s.Name(name=name):
                return scope.get(name, _UNKNOWN), 1
            case s.Select():
                value, cost = self._visit(node.operand, scope)
                return _UNKNOWN if node.test else self._field(value, node.field_name), cost + 1
            case s.Index():
                value, cost = self._visit(node.operand, scope)
                _, more = self._visit(node.index, scope)
                return self._item(value), cost + more + 1
            case s.Call():
                return self._call(node, scope)
            case s.Logic():
                return _UNKNOWN, sum(self._visit(part, scope)[1] for part in node.parts)
            case s.Conditional():
                _, cost = self._visit(node.condition, scope)
                then, one = self._visit(node.then, scope)
                otherwise, two = self._visit(node.otherwise, scope)
                return max(then, otherwise, key=lambda v: v.size), cost + max(one, two)
            case s.ListOf():
                found = [self._visit(item, scope) for item, _ in node.items]
                item = max((v for v, _ in found), key=lambda v: v.size, default=_UNKNOWN)
                return _Value(size=len(found), item=item), 10 + sum(c for _, c in found)
            case s.MapOf():
                parts = [self._visit(part, scope) for key, value, _ in node.entries for part in (key, value)]
                return _Value(size=len(node.entries)), 30 + sum(c for _, c in parts)
            case s.Message():
                return _UNKNOWN, 40 + sum(self._visit(value, scope)[1] for _, value, _ in node.fields)
            case s.Loop():
                return self._loop(node, scope)
            case s.Bind():
                value, cost = self._visit(node.value, scope)
                result, more = self._visit(node.body, {**scope, node.name: value})
                return result, cost + more + 10
            case s.OptionalMap():
                value, cost = self._visit(node.target, scope)
                result, more = self._visit(node.body, {**scope, node.name: value})
                return result, cost + more + 10
        return _UNKNOWN, 1

    @staticmethod
    def _field(value: _Value, name: str) -> _Value:
        if value.node is None:
            return _UNKNOWN
        return _of(value.node.properties.get(unescape(name)) or value.node.child(name))

    @staticmethod
    def _item(value: _Value) -> _Value:
        if value.item is not None:
            return value.item
        if value.node is None:
            return _UNKNOWN
        return _of(value.node.items if value.node.type == n.ARRAY else value.node.values)

    def _loop(self, node: s.Loop, scope: Mapping[str, _Value]) -> tuple[_Value, int]:
        over, cost = self._visit(node.over, scope)
        item = self._item(over)
        is_map = over.node is not None and over.node.type == n.OBJECT
        first = _UNKNOWN if is_map or len(node.variables) == 2 else item
        inner = {**scope, node.variables[0]: first}
        if len(node.variables) == 2:
            inner[node.variables[1]] = item
        turn, result = 2, item
        if node.condition is not None:
            turn += self._visit(node.condition, inner)[1]
        if node.result is not None:
            result, more = self._visit(node.result, inner)
            turn += more
        return _Value(size=over.size, item=result), cost + over.size * turn

    def _call(self, node: s.Call, scope: Mapping[str, _Value]) -> tuple[_Value, int]:
        parts = [*([node.target] if node.target is not None else []), *node.arguments]
        found = [self._visit(part, scope) for part in parts]
        values, cost = [v for v, _ in found], sum(c for _, c in found)
        sizes = [v.size for v in values]
        first = sizes[0] if sizes else 1
        match node.name:
            case "_==_" | "_!=_" | "_<_" | "_<=_" | "_>_" | "_>=_" if len(sizes) == 2:
                return _UNKNOWN, cost + _tenth(min(sizes))
            case "_in_" if len(sizes) == 2:
                return _UNKNOWN, cost + (1 if _is_map(values[1]) else max(sizes[1], 1))
            case "_+_":
                joined = _Value(values[0].node, sum(sizes), values[0].item)
                return joined, cost + _tenth(sum(sizes))
            case "startsWith" | "endsWith" if len(sizes) == 2:
                return _UNKNOWN, cost + _tenth(min(sizes))
            case "matches" | "find" | "findAll" if len(sizes) >= 2:
                return values[0], cost + _tenth(first) * max(math.ceil(sizes[1] / 4), 1)
            case "contains" if len(sizes) == 2:
                return _UNKNOWN, cost + _tenth(first)
            case "size" | "string" | "int" | "double" | "type" | "dyn" | "hasValue" | "value":
                kept = values[0] if node.name in {"dyn", "value", "string"} and values else _UNKNOWN
                return kept, cost + 1
            case "split":
                return _Value(size=first, item=_Value(size=first)), cost + 1 + _tenth(first)
            case "join":
                inside = values[0].item.size if values and values[0].item is not None else 1
                return _Value(size=first * inside), cost + 1 + _tenth(first * inside)
            case "orValue" if len(values) == 2:
                return max(values, key=lambda v: v.size), cost + 1
            case (
                "cidr" | "ip" | "isIP" | "isCIDR" | "url" | "isURL" | "quantity" | "isQuantity" | "semver" | "isSemver"
            ):
                return _UNKNOWN, cost + _tenth(first)
            case "isSorted" | "sum" | "min" | "max" | "indexOf" | "lastIndexOf":
                return self._item(values[0]) if values else _UNKNOWN, cost + 1 + _tenth(first)
        if node.name.endswith("_"):
            return _UNKNOWN, cost + 1
        return (values[0] if values else _UNKNOWN), cost + _tenth(first)


def _is_map(value: _Value) -> bool:
    return value.node is not None and value.node.type == n.OBJECT


def _tenth(size: int) -> int:
    """What walking a text of a size costs."""
    return max(math.ceil(size / 10), 1)


def problems(schema: Node, path: str) -> list[Cause]:
    """Causes for a definition. path: of its schema in it."""
    causes: list[Cause] = []
    costs: list[tuple[str, int]] = []
    for at, what, cost in estimates(schema, path):
        costs.append((at, cost))
        if cost > RULE_LIMIT:
            causes.append(
                errors.forbidden_field(
                    at, f"estimated {what} cost exceeds budget by {_factor(cost, RULE_LIMIT)} {_TRY}"
                )
            )
    total = sum(cost for _, cost in costs)
    if total > SCHEMA_LIMIT:
        causes += [
            errors.forbidden_field(
                at, "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
            )
            for at, cost in sorted(costs, key=lambda c: -c[1])[:4]
        ]
        causes.append(
            errors.forbidden_field(
                path,
                "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget by "
                f"{_factor(total, SCHEMA_LIMIT)} {_TRY}",
            )
        )
    return causes


def _factor(cost: int, limit: int) -> str:
    return "factor of more than 100x" if cost > 100 * limit else f"factor of {cost / limit:.6f}x"


def estimates(node: Node, path: str, count: int = 1) -> Iterator[tuple[str, str, int]]:
    """Place, expression and cost of each rule at a node and below. count: how often the node may be there."""
    scope = {"self": _of(node), "oldSelf": _of(node)}
    for place, rule in enumerate(node.rules):
        at = f"{path}.x-kubernetes-validations[{place}]"
        for field, what in (("rule", "rule"), ("messageExpression", "messageExpression")):
            text = str(rule.get(field) or "")
            if text.strip():
                yield f"{at}.{field}", what, _cost(text, scope) * count
    for name, below in node.properties.items():
        yield from estimates(below, f"{path}.properties[{name}]", count)
    for inner, step in ((node.items, "items"), (node.values, "additionalProperties")):
        if inner is not None:
            within = min(count * most(node), REQUEST_BYTES // (least(inner) + 1))
            yield from estimates(inner, f"{path}.{step}", max(within, 1))


def _cost(text: str, scope: Mapping[str, Any]) -> int:
    try:
        return _Estimate().cost(text, scope)
    except CelError:
        return 0
