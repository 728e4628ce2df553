"""Quantities of resources: "500m", "2Gi", "1e3" as exact numbers, and back.

In: the text of a Kubernetes quantity. Out: a fraction to compute with, and the canonical text of one, in the notation
(decimal or binary suffixes) of where it came from. Pure.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

_PATTERN = re.compile(r"^(?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+))(?P<suffix>[eE][+-]?\d{1,3}|[numkMGTPE]|[KMGTPE]i)?$")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}


@dataclass(frozen=True, slots=True)
class Quantity:
    """An exact amount. binary: it is written with Ki, Mi and so on."""

    value: Fraction = Fraction(0)
    binary: bool = False

    def __add__(self, other: "Quantity") -> "Quantity":
        return Quantity(self.value + other.value, self.binary if self.value else other.binary)

    def __sub__(self, other: "Quantity") -> "Quantity":
        return Quantity(self.value - other.value, self.binary if self.value else other.binary)

    def __str__(self) -> str:
        value = self.value
        if not value:
            return "0"
        if self.binary and value.denominator == 1 and abs(value) >= 1024:
            for suffix, power in reversed(_BINARY.items()):
                if not value % 1024**power:
                    return f"{value // 1024**power}{suffix}"
            return str(value)
        for suffix, power in reversed(_DECIMAL.items()):
            scaled = value / Fraction(10) ** power
            if scaled.denominator == 1:
                return f"{scaled}{suffix}"
        return f"{-((-value * 10**9) // 1)}n"  # finer than the API keeps: rounded up


ZERO = Quantity()


def parse(text: Any) -> Quantity:
    """A quantity from its text or a plain number. Raises ValueError."""
    match = _PATTERN.match(str(text))
    if match is None or isinstance(text, bool):
        raise ValueError(f"{text!r} is not a quantity such as 500m, 2 or 1Gi")
    number, suffix = Fraction(match["number"]), match["suffix"] or ""
    if suffix in _BINARY:
        return Quantity(number * 1024 ** _BINARY[suffix], True)
    power = int(suffix[1:]) if suffix[:1] in {"e", "E"} and len(suffix) > 1 else _DECIMAL[suffix]
    return Quantity(number * Fraction(10) ** power)


def amounts(tree: Any) -> dict[str, Quantity]:
    """A map of resource names to quantities; what is not a quantity is left out (validation names it)."""
    found = {}
    for name, text in (tree or {}).items():
        try:
            found[name] = parse(text)
        except ValueError:
            continue
    return found


def canonical(tree: Any) -> dict[str, str]:
    return {name: str(amount) for name, amount in amounts(tree).items()}
