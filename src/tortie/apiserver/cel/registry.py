"""The functions that expressions may call, by name, with the types they take.

In: the library modules, which define functions with a signature in text (`string.(string) -> bool` is a method of a
string, `(string) -> int` a plain function). Out: the overloads of a name, for checking and for calls.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from tortie.apiserver.cel import types
from tortie.apiserver.cel.types import Type

F = TypeVar("F", bound=Callable[..., Any])
Cost = Callable[..., int]


@dataclass(frozen=True, slots=True)
class Overload:
    """One function for one row of types; a method's target is its first parameter."""

    name: str
    member: bool
    parameters: tuple[Type, ...]
    result: Type
    run: Callable[..., Any]
    metered: bool
    cost: Cost | None


_FUNCTIONS: dict[tuple[str, bool], list[Overload]] = {}


def define(name: str, *signatures: str, metered: bool = False, cost: Cost | None = None) -> Callable[[F], F]:
    """Makes a function known to expressions. metered: it takes the `Meter` first. cost: beyond the arguments' sizes."""

    def add(run: F) -> F:
        for signature in signatures:
            left, _, result = signature.partition("->")
            target, member, inside = left.rpartition(".(") if ".(" in left else ("", "", left.strip()[1:])
            parameters = [types.parse(part) for part in types.split(inside.strip().removesuffix(")"))]
            if member:
                parameters.insert(0, types.parse(target))
            overload = Overload(name, bool(member), tuple(parameters), types.parse(result), run, metered, cost)
            _FUNCTIONS.setdefault((name, bool(member)), []).append(overload)
        return run

    return add


def overloads(name: str, *, member: bool) -> list[Overload]:
    """Every overload of a function or method; empty when there is none."""
    return _FUNCTIONS.get((name, member), [])


_RUNTIME: dict[str, tuple[str, ...]] = {
    "null": ("null_type",),
}


def accepts(parameter: Type, value_type: str) -> bool:
    """Whether a value whose type has this run-time name may be given for a parameter."""
    name = parameter.name
    if name == value_type or name == "dyn" or (len(name) == 1 and name.isupper()):
        return True
    return value_type in _RUNTIME.get(name, ())
