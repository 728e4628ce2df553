"""Calls of functions: which overloads the static types leave, and which of them the values choose.

In: a call with its built arguments. Out: a closure. Every call is charged 1 and the sizes of its arguments.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from tortie.apiserver.cel import addresses, quantities, registry, standard, strings, types, values
from tortie.apiserver.cel import syntax as s
from tortie.apiserver.cel.registry import Overload
from tortie.apiserver.cel.types import DYN, Type
from tortie.apiserver.cel.values import CelError, Meter

LIBRARIES = (standard, strings, addresses, quantities)
"""Importing them makes their functions known."""
HOST_METHODS = frozenset(
    [
        "group",
        "serviceAccount",
        "resource",
        "subresource",
        "namespace",
        "name",
        "path",
        "check",
        "allowed",
        "reason",
        "errored",
        "error",
        "fieldSelector",
        "labelSelector",
    ]
)
"""Methods that values of the host answer themselves: the authorizer of admission policies."""
_MISSING = object()


class Receiver(Protocol):
    """A value of the host with methods and fields of its own, such as the authorizer of an admission policy."""

    @property
    def cel_type(self) -> str: ...

    def cel_call(self, method: str, arguments: list[Any]) -> Any: ...

    def cel_field(self, name: str) -> Any: ...


class Frame:
    """The variables of an evaluation, and its meter."""

    __slots__ = ("meter", "names")

    def __init__(self, names: dict[str, Any], meter: Meter) -> None:
        self.names = names
        self.meter = meter

    @contextmanager
    def bound(self, name: str, value: Any) -> Iterator[None]:
        """A variable for the time of a body."""
        before = self.names.get(name, _MISSING)
        self.names[name] = value
        try:
            yield
        finally:
            self.restore(name, before)

    def restore(self, name: str, before: Any) -> None:
        if before is _MISSING:
            self.names.pop(name, None)
        else:
            self.names[name] = before

    def before(self, name: str) -> Any:
        """What to hand to `restore` later."""
        return self.names.get(name, _MISSING)


class Built:
    """A part of a program: its static type, how to run it, and its value if it is a literal."""

    __slots__ = ("known", "literal", "run", "type")

    def __init__(self, type: Type, run: Callable[[Frame], Any], literal: Any = None, *, known: bool = False) -> None:
        self.type = type
        self.run = run
        self.literal = literal
        self.known = known


def call(node: s.Call, name: str, arguments: list[Built], *, member: bool) -> Built:
    """The closure of a call. Raises CelError when nothing fits."""
    candidates = registry.overloads(name, member=member)
    dynamic = member and arguments[0].type.name == "dyn" and name in HOST_METHODS
    if not candidates and not dynamic:
        raise CelError(f"undeclared reference to '{name}' (in container '')", node.at)
    given = [argument.type for argument in arguments]
    fitting: list[Overload] = []
    result: Type | None = None
    for candidate in candidates:
        bound: dict[str, Type] = {}
        if len(candidate.parameters) == len(given) and all(
            types.fits(wanted, have, bound) for wanted, have in zip(candidate.parameters, given, strict=True)
        ):
            fitting.append(candidate)
            resolved = types.resolve(candidate.result, bound)
            result = resolved if result is None else types.common(result, resolved)
    if not fitting and not dynamic:
        shown = ", ".join(str(kind) for kind in given)
        text = f"{given[0]}.({', '.join(str(kind) for kind in given[1:])})" if member else f"({shown})"
        raise CelError(f"found no matching overload for '{name}' applied to '{text}'", node.at)
    if name in {"matches", "find", "findAll"} and arguments[1].known and isinstance(arguments[1].literal, str):
        _located(node.at, strings.check_pattern, arguments[1].literal)
    return Built(result or DYN, _closure(node, name, fitting, arguments, member))


def _located(at: int, run: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return run(*arguments)
    except CelError as error:
        if error.position < 0:
            error.position = at
        raise


def _size(value: Any) -> int:
    if type(value) is str or type(value) is bytes:
        return len(value) // 10
    return len(value) if isinstance(value, list) else 0


def _closure(
    node: s.Call, name: str, candidates: list[Overload], arguments: list[Built], member: bool
) -> Callable[[Frame], Any]:
    runs = [argument.run for argument in arguments]
    at = node.at
    first = candidates[0] if candidates else None
    # Overloads of one function that share their implementation need no choice when the static types are certain.
    certain = (
        first is not None
        and all(c.run is first.run for c in candidates)
        and all(argument.type.name != "dyn" and not argument.type.params for argument in arguments)
    )
    lazy_size = name in {"_in_", "size", "_==_", "_!=_", "isSorted"}

    def choose(found: list[Any]) -> Overload | None:
        names = [values.type_name(value) for value in found]
        for candidate in candidates:
            if all(registry.accepts(p, n) for p, n in zip(candidate.parameters, names, strict=True)):
                return candidate
        return None

    def run(frame: Frame) -> Any:
        found = [each(frame) for each in runs]
        meter = frame.meter
        meter.charge(1 if lazy_size else 1 + sum(map(_size, found)))
        chosen = first if certain else choose(found)
        if chosen is None:
            receiver = getattr(found[0], "cel_call", None) if member and found else None
            if receiver is not None:
                return receiver(name, found[1:])
            shown = ", ".join(values.type_name(value) for value in found)
            raise CelError(f"no such overload: {name}({shown})", at)
        if chosen.cost is not None:
            meter.charge(chosen.cost(*found))
        try:
            return chosen.run(meter, *found) if chosen.metered else chosen.run(*found)
        except CelError as error:
            if error.position < 0:
                error.position = at
            raise

    return run
