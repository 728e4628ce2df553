"""The macros that walk lists and maps, with one or two variables.

In: a loop of `syntax` and a way to build its parts. Out: a closure. Each turn is charged the size of its body, so the
meter bounds the work whatever the nesting.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tortie.apiserver.cel import syntax as s
from tortie.apiserver.cel import types, values
from tortie.apiserver.cel.calls import Built, Frame
from tortie.apiserver.cel.types import DYN, Type
from tortie.apiserver.cel.values import CelError, CostExceeded

Build = Callable[[s.Node, Mapping[str, Type]], Built]


class Lazy:
    """A variable that is computed when it is first read, as the variables of admission policies are."""

    __slots__ = ("_done", "_error", "_make", "_value")

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._value: Any = None
        self._error: CelError | None = None
        self._done = False

    def get(self, _frame: Frame) -> Any:
        if not self._done:
            self._done = True
            try:
                self._value = self._make()
            except CelError as error:
                self._error = error
        if self._error is not None:
            raise self._error
        return self._value


def _variables(kind: Type, count: int, at: int) -> list[Type]:
    if kind.name == "list":
        item = kind.params[0] if kind.params else DYN
        return [item] if count == 1 else [types.INT, item]
    if kind.name == "map":
        key, value = kind.params if kind.params else (DYN, DYN)
        return [key] if count == 1 else [key, value]
    if kind.fields is not None:
        return [types.STRING] if count == 1 else [types.STRING, DYN]
    if kind.name == "dyn":
        return [DYN] * count
    raise CelError(
        f"expression of type '{kind}' cannot be range of a comprehension (must be list, map, or dynamic)", at
    )


def build(node: s.Loop, scope: Mapping[str, Type], build_part: Build) -> Built:
    """The closure of a macro."""
    over = build_part(node.over, scope)
    kinds = _variables(over.type, len(node.variables), node.over.at)
    inner = {**scope, **dict(zip(node.variables, kinds, strict=True))}
    condition = build_part(node.condition, inner) if node.condition is not None else None
    result = build_part(node.result, inner) if node.result is not None else None
    if condition is not None and condition.type.name not in {"bool", "dyn"}:
        assert node.condition is not None
        raise CelError(
            f"found no matching overload for '{node.macro}': expected bool, found {condition.type}", node.condition.at
        )
    cost = 1 + sum(part.size for part in (node.condition, node.result) if part is not None)
    turns = _turns(node, over, cost)
    if node.macro in {"all", "exists"}:
        assert condition is not None
        return Built(types.BOOL, _quantifier(node, turns, condition, decisive=node.macro == "exists"))
    if node.macro == "existsOne":
        assert condition is not None
        return Built(types.BOOL, _exists_one(node, turns, condition))
    if node.macro == "filter":
        assert condition is not None
        kind = over.type if over.type.name == "list" else types.list_of(kinds[0])
        return Built(kind, _filter(node, turns, condition))
    assert result is not None
    if node.macro in {"map", "transformList"}:
        return Built(types.list_of(result.type), _map(node, turns, condition, result))
    value = DYN if node.macro == "transformMapEntry" else result.type
    key = DYN if node.macro == "transformMapEntry" else kinds[0]
    return Built(types.map_of(key, value), _map_of(node, turns, condition, result))


Turns = Callable[[Frame], Iterable[tuple[Any, Any]]]


def _turns(node: s.Loop, over: Built, cost: int) -> Turns:
    """Sets the variables for each turn, gives (first, last) of them, and takes them back at the end."""
    names = node.variables

    def turns(frame: Frame) -> Iterable[tuple[Any, Any]]:
        container = over.run(frame)
        if isinstance(container, dict):
            pairs: Iterable[tuple[Any, Any]] = container.items()
        elif isinstance(container, list | tuple):
            pairs = enumerate(container) if len(names) == 2 else ((item, item) for item in container)
        else:
            raise CelError(f"no such overload: {values.type_name(container)} is neither list nor map", node.over.at)
        before = [frame.before(name) for name in names]
        slots, meter = frame.names, frame.meter
        try:
            for first, last in pairs:
                meter.charge(cost)
                slots[names[0]] = first
                if len(names) == 2:
                    slots[names[1]] = last
                yield first, last
        finally:
            for name, old in zip(names, before, strict=True):
                frame.restore(name, old)

    return turns


def _close(turns: Any) -> None:
    turns.close()


def _truth(value: Any, at: int) -> bool:
    if type(value) is not bool:
        raise CelError(f"no such overload: expected bool, found {values.type_name(value)}", at)
    return value


def _quantifier(node: s.Loop, turns: Turns, condition: Built, *, decisive: bool) -> Callable[[Frame], bool]:
    run = condition.run

    def quantifier(frame: Frame) -> bool:
        held: CelError | None = None
        walk = turns(frame)
        try:
            for _ in walk:
                try:
                    if _truth(run(frame), node.at) is decisive:
                        return decisive
                except CostExceeded:
                    raise
                except CelError as error:
                    held = held or error
        finally:
            _close(walk)
        if held is not None:
            raise held
        return not decisive

    return quantifier


def _exists_one(node: s.Loop, turns: Turns, condition: Built) -> Callable[[Frame], bool]:
    def exists_one(frame: Frame) -> bool:
        walk = turns(frame)
        try:
            return sum(_truth(condition.run(frame), node.at) for _ in walk) == 1
        finally:
            _close(walk)

    return exists_one


def _filter(node: s.Loop, turns: Turns, condition: Built) -> Callable[[Frame], list[Any]]:
    def keep(frame: Frame) -> list[Any]:
        walk = turns(frame)
        try:
            return [first for first, _ in walk if _truth(condition.run(frame), node.at)]
        finally:
            _close(walk)

    return keep


def _map(node: s.Loop, turns: Turns, condition: Built | None, result: Built) -> Callable[[Frame], list[Any]]:
    def transform(frame: Frame) -> list[Any]:
        walk = turns(frame)
        try:
            return [result.run(frame) for _ in walk if condition is None or _truth(condition.run(frame), node.at)]
        finally:
            _close(walk)

    return transform


def _map_of(node: s.Loop, turns: Turns, condition: Built | None, result: Built) -> Callable[[Frame], dict[Any, Any]]:
    entries = node.macro == "transformMapEntry"

    def transform(frame: Frame) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        walk = turns(frame)
        try:
            for first, _ in walk:
                if condition is not None and not _truth(condition.run(frame), node.at):
                    continue
                value = result.run(frame)
                if not entries:
                    found[first] = value
                    continue
                if not isinstance(value, dict):
                    raise CelError("no such overload: transformMapEntry needs a map", node.at)
                frame.meter.charge(len(value))
                for key, item in value.items():
                    if key in found:
                        raise CelError(f"insert failed: key {values.key_text(key)} already exists", node.at)
                    found[key] = item
        finally:
            _close(walk)
        return found

    return transform
