"""Kubernetes' functions on quantities, semantic versions and named formats.

In: calls from compiled expressions. Out: values of the types kubernetes.Quantity, kubernetes.Semver and
kubernetes.NamedFormat.
"""

import math
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from tortie.apiserver.cel import addresses, values
from tortie.apiserver.cel.registry import define
from tortie.apiserver.cel.values import INT_MAX, INT_MIN, NONE, CelError, Optional
from tortie.apiserver.quantity import parse


@dataclass(frozen=True, slots=True)
class Quantity:
    """An amount such as 500m or 2Gi."""

    amount: Fraction

    @property
    def cel_type(self) -> str:
        return "kubernetes.Quantity"

    def __str__(self) -> str:
        amount = self.amount
        if amount.denominator == 1:
            return str(amount.numerator)
        return f"{math.ceil(amount * 1000)}m" if (amount * 1000).denominator == 1 else f"{math.ceil(amount * 10**9)}n"


@define("quantity", "(string) -> kubernetes.Quantity")
def quantity(text: str) -> Quantity:
    """A quantity. Raises CelError."""
    try:
        if len(text) > 64:
            raise ValueError("too long")
        return Quantity(parse(text).value)
    except ValueError:
        raise CelError(
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        ) from None


def _amount(value: Any) -> Fraction:
    return value.amount if isinstance(value, Quantity) else Fraction(int(value))


def _sign(value: Fraction) -> int:
    return (value > 0) - (value < 0)


define("isQuantity", "(string) -> bool")(addresses.succeeds(quantity))
define("sign", "kubernetes.Quantity.() -> int")(lambda q: _sign(q.amount))
define("isInteger", "kubernetes.Quantity.() -> bool")(
    lambda q: q.amount.denominator == 1 and INT_MIN <= q.amount <= INT_MAX
)
define("asApproximateFloat", "kubernetes.Quantity.() -> double")(lambda q: float(q.amount))
_WITH_NUMBER = ("kubernetes.Quantity.(kubernetes.Quantity)", "kubernetes.Quantity.(int)")
define("add", *(f"{w} -> kubernetes.Quantity" for w in _WITH_NUMBER))(lambda a, b: Quantity(a.amount + _amount(b)))
define("sub", *(f"{w} -> kubernetes.Quantity" for w in _WITH_NUMBER))(lambda a, b: Quantity(a.amount - _amount(b)))
define("isLessThan", f"{_WITH_NUMBER[0]} -> bool")(lambda a, b: a.amount < b.amount)
define("isGreaterThan", f"{_WITH_NUMBER[0]} -> bool")(lambda a, b: a.amount > b.amount)
define("compareTo", f"{_WITH_NUMBER[0]} -> int")(lambda a, b: _sign(a.amount - b.amount))


@define("asInteger", "kubernetes.Quantity.() -> int")
def _as_integer(value: Quantity) -> int:
    if value.amount.denominator != 1 or not INT_MIN <= value.amount <= INT_MAX:
        raise CelError("cannot convert value to integer")
    return int(value.amount)


# --- semantic versions -------------------------------------------------------------------------------------------

_NUMBER = r"(0|[1-9]\d{0,18})"
_SEMVER = re.compile(
    rf"^{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?$"
)


@dataclass(frozen=True, slots=True)
class Semver:
    """A semantic version; what follows a plus takes no part in comparisons."""

    numbers: tuple[int, int, int]
    before: tuple[str, ...]

    @property
    def cel_type(self) -> str:
        return "kubernetes.Semver"

    def __str__(self) -> str:
        return ".".join(map(str, self.numbers)) + ("-" + ".".join(self.before) if self.before else "")

    @property
    def rank(self) -> Any:
        parts = tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in self.before)
        return (self.numbers, not self.before, parts)


@define("semver", "(string) -> kubernetes.Semver", "(string, bool) -> kubernetes.Semver")
def semver(text: str, normalize: bool = False) -> Semver:
    """A version. Raises CelError."""
    if normalize:
        core, mark, rest = re.match(r"^v?([0-9.]*)([-+]?)(.*)$", text, re.DOTALL).groups()  # type: ignore[union-attr] # matches anything
        numbers = [part.lstrip("0") or "0" for part in core.split(".")] if core else []
        text = ".".join([*numbers, "0", "0"][: max(3, len(numbers))]) + mark + rest
    match = _SEMVER.match(text)
    before = tuple(match[4].split(".")) if match and match[4] else ()
    if match is None or any(part.isdecimal() and part != "0" and part.startswith("0") for part in before):
        raise CelError(f"cannot parse {text!r} as a semantic version")
    return Semver((int(match[1]), int(match[2]), int(match[3])), before)


_SEMVERS = "kubernetes.Semver.(kubernetes.Semver)"
define("isSemver", "(string) -> bool", "(string, bool) -> bool")(addresses.succeeds(semver))
define("isLessThan", f"{_SEMVERS} -> bool")(lambda a, b: a.rank < b.rank)
define("isGreaterThan", f"{_SEMVERS} -> bool")(lambda a, b: a.rank > b.rank)
define("compareTo", f"{_SEMVERS} -> int")(lambda a, b: (a.rank > b.rank) - (a.rank < b.rank))
for _place, _name in enumerate(("major", "minor", "patch")):
    define(_name, "kubernetes.Semver.() -> int")(lambda v, place=_place: v.numbers[place])


# --- formats -----------------------------------------------------------------------------------------------------

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"


def _pattern(pattern: str, limit: int, what: str) -> Callable[[str], list[str]]:
    compiled = re.compile(pattern)

    def check(text: str) -> list[str]:
        problems = [] if len(text) <= limit else [f"must be no more than {limit} characters"]
        if not compiled.fullmatch(text[: limit + 1]):
            problems.append(f"a {what} must match the regular expression {pattern}")
        return problems

    return check


def _conversion(convert: Callable[[str], Any], what: str) -> Callable[[str], list[str]]:
    def check(text: str) -> list[str]:
        try:
            convert(text)
        except (CelError, ValueError):
            return [f"must be a valid {what}"]
        return []

    return check


_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_label = _pattern(_LABEL, 63, "DNS-1123 label")
_subdomain = _pattern(_SUBDOMAIN, 253, "DNS-1123 subdomain")
_name_part = _pattern(_QUALIFIED, 63, "name part of a qualified name")


def _qualified(text: str) -> list[str]:
    prefix, slash, name = text.rpartition("/")
    if slash and ("/" in prefix or not prefix):
        return ["a qualified name is a name with an optional DNS subdomain prefix and '/'"]
    return (_subdomain(prefix) if slash else []) + _name_part(name)


def _without_dash(check: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
    return lambda text: check(text.removesuffix("-") + "a" if text.endswith("-") else text)


_FORMATS: dict[str, Callable[[str], list[str]]] = {
    "dns1123Label": _label,
    "dns1123Subdomain": _subdomain,
    "dns1035Label": _pattern(r"[a-z]([-a-z0-9]*[a-z0-9])?", 63, "DNS-1035 label"),
    "dns1123LabelPrefix": _without_dash(_label),
    "dns1123SubdomainPrefix": _without_dash(_subdomain),
    "dns1035LabelPrefix": _without_dash(_pattern(r"[a-z]([-a-z0-9]*[a-z0-9])?", 63, "DNS-1035 label")),
    "qualifiedName": _qualified,
    "labelValue": _pattern(rf"({_QUALIFIED})?", 63, "label value"),
    "uri": _conversion(addresses.url, "URI"),
    "uuid": _conversion(uuid.UUID, "UUID"),
    "byte": _pattern(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?", 1 << 24, "base64 text"),
    "date": _conversion(lambda text: values.timestamp(f"{text}T00:00:00Z"), "date"),
    "datetime": _conversion(values.timestamp, "date and time"),
}


@dataclass(frozen=True, slots=True)
class NamedFormat:
    """A format by its name."""

    name: str

    @property
    def cel_type(self) -> str:
        return "kubernetes.NamedFormat"

    def __str__(self) -> str:
        return self.name


@define("format.named", "(string) -> optional(kubernetes.NamedFormat)")
def _named(name: str) -> Optional:
    return Optional(True, NamedFormat(name)) if name in _FORMATS else NONE


for _format in _FORMATS:
    define(f"format.{_format}", "() -> kubernetes.NamedFormat")(lambda name=_format: NamedFormat(name))


@define("validate", "kubernetes.NamedFormat.(string) -> optional(list(string))")
def _validate(which: NamedFormat, text: str) -> Optional:
    problems = _FORMATS[which.name](text)
    return Optional(True, problems) if problems else NONE


@define("jsonpatch.escapeKey", "(string) -> string")
def _escape_key(text: str) -> str:
    return text.replace("~", "~0").replace("/", "~1")
