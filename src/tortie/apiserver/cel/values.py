"""The values of CEL, their equality and order, and the error that evaluation raises.

In: plain JSON values; bool, int, float, str, bytes, list, dict and None stand for themselves. Out: the types that JSON
lacks (unsigned integers, times, durations, optionals, types), comparisons with CEL's rules, and `Meter`, which counts
what an evaluation costs so that no expression keeps the server busy.
"""

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

INT_MIN, INT_MAX, UINT_MAX = -(2**63), 2**63 - 1, 2**64 - 1
NANOS = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST, _LATEST = -62135596800, 253402300799  # years 1 to 9999
DURATION_MAX = 315_576_000_000 * NANOS


class CelError(Exception):
    """What is wrong with an expression or its evaluation. position: offset in the expression, -1 if there is none."""

    def __init__(self, message: str, position: int = -1) -> None:
        super().__init__(message)
        self.message = message
        self.position = position

    def shown(self, expression: str) -> str:
        """The message with its line, column, and the place marked, as clients of Kubernetes know it."""
        if self.position < 0:
            return self.message
        before = expression[: self.position]
        line, column = before.count("\n") + 1, self.position - (before.rfind("\n") + 1)
        text = expression.split("\n")[line - 1]
        return f"ERROR: <input>:{line}:{column + 1}: {self.message}\n | {text}\n | {'.' * column}^"


class CostExceeded(CelError):
    """The evaluation used up its budget; unlike other errors no operator absorbs it."""


class Meter:
    """What an evaluation may still cost; shared by all rules that belong to one request if the caller wants it so."""

    __slots__ = ("left", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = self.left = limit

    def charge(self, amount: int) -> None:
        self.left -= amount
        if self.left < 0:
            raise CostExceeded("operation cancelled: actual cost limit exceeded")


class Uint(int):
    """An unsigned integer."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, order=True)
class Timestamp:
    """A point in time in nanoseconds since 1970."""

    nanos: int

    def __str__(self) -> str:
        seconds, rest = divmod(self.nanos, NANOS)
        text = (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
        return text + (f".{rest:09d}".rstrip("0") if rest else "") + "Z"


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    """A length of time in nanoseconds."""

    nanos: int

    def __str__(self) -> str:
        sign = "-" if self.nanos < 0 else ""
        seconds, rest = divmod(abs(self.nanos), NANOS)
        return f"{sign}{seconds}" + (f".{rest:09d}".rstrip("0") if rest else "") + "s"


@dataclass(frozen=True, slots=True)
class TypeValue:
    """The type of a value, as `type(x)` gives it."""

    name: str


class Optional:
    """A value that may be absent."""

    __slots__ = ("present", "value")

    def __init__(self, present: bool, value: Any = None) -> None:
        self.present = present
        self.value = value


NONE = Optional(False)


class KeyedList(list[Any]):
    """A list of type set (no keys) or map (keys): equality and concatenation take no notice of the order."""

    __slots__ = ("keys",)

    def __init__(self, items: Any, keys: tuple[str, ...]) -> None:
        super().__init__(items)
        self.keys = keys

    def identity(self, item: Any) -> Any:
        if self.keys and isinstance(item, dict):
            return tuple(_frozen(item.get(key)) for key in self.keys)
        return _frozen(item)


def _frozen(value: Any) -> Any:
    if isinstance(value, dict | list):
        return repr(value)
    return (type(value).__name__, value)


class Opaque(Protocol):
    """A value of a library or of the host."""

    @property
    def cel_type(self) -> str: ...


_NAMES: dict[type, str] = {
    bool: "bool",
    int: "int",
    Uint: "uint",
    float: "double",
    str: "string",
    bytes: "bytes",
    list: "list",
    tuple: "list",
    KeyedList: "list",
    dict: "map",
    type(None): "null_type",
    Timestamp: "google.protobuf.Timestamp",
    Duration: "google.protobuf.Duration",
    TypeValue: "type",
    Optional: "optional_type",
}


def type_name(value: Any) -> str:
    """The CEL name of a value's type."""
    return _NAMES.get(type(value)) or str(getattr(value, "cel_type", type(value).__name__))


_NUMBERS = (int, float)


def equal(left: Any, right: Any, meter: Meter) -> bool:
    """CEL's `==` over values of any types."""
    kind = type(left)
    if kind is type(right) and (kind is str or kind is int or kind is bool):
        return bool(left == right)
    if isinstance(left, bool) or isinstance(right, bool):
        return isinstance(left, bool) and isinstance(right, bool) and left == right
    if isinstance(left, _NUMBERS) and isinstance(right, _NUMBERS):
        return left == right
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        meter.charge(min(len(left), len(right)) + 1)
        if len(left) != len(right):
            return False
        if isinstance(left, KeyedList):
            others = {left.identity(item): item for item in right}
            return all((key := left.identity(item)) in others and equal(item, others[key], meter) for item in left)
        return all(equal(a, b, meter) for a, b in zip(left, right, strict=True))
    if isinstance(left, dict) and isinstance(right, dict):
        meter.charge(min(len(left), len(right)) + 1)
        if len(left) != len(right):
            return False
        return all(key in right and equal(value, right[key], meter) for key, value in left.items())
    if isinstance(left, Optional) and isinstance(right, Optional):
        if not (left.present and right.present):
            return left.present == right.present
        return equal(left.value, right.value, meter)
    if type(left) is not type(right):
        return False
    return bool(left == right)


def order(left: Any, right: Any) -> int:
    """-1, 0 or 1; raises CelError when the two have no order. NaN gives 2: neither less, equal nor greater."""
    if isinstance(left, _NUMBERS) and isinstance(right, _NUMBERS) and isinstance(left, bool) == isinstance(right, bool):
        if (isinstance(left, float) and math.isnan(left)) or (isinstance(right, float) and math.isnan(right)):
            return 2
    elif type(left) is not type(right) or not isinstance(left, str | bytes | Timestamp | Duration):
        raise CelError(f"no such overload: cannot compare {type_name(left)} with {type_name(right)}")
    return -1 if left < right else int(left > right)


# --- texts of times and numbers ----------------------------------------------------------------------------------

_RFC3339 = re.compile(r"^(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9})\d*)?(?:[Zz]|([+-])(\d\d):(\d\d))$")
_UNITS = {"ns": 1, "us": 1_000, "µs": 1_000, "ms": 1_000_000, "s": NANOS, "m": 60 * NANOS, "h": 3600 * NANOS}
_DURATION_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")


def timestamp(text: str) -> Timestamp:
    """A time from RFC 3339 text. Raises CelError."""
    match = _RFC3339.match(text)
    if match is None:
        raise CelError(f"parsing time {text!r}: must be an RFC 3339 time")
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError as error:
        raise CelError(f"parsing time {text!r}: {error}") from None
    seconds = int((moment - _EPOCH).total_seconds())
    if match[8]:
        shift = int(match[9]) * 3600 + int(match[10]) * 60
        seconds += -shift if match[8] == "+" else shift
    return in_range(Timestamp(seconds * NANOS + int((match[7] or "").ljust(9, "0"))))


def in_range(moment: Timestamp) -> Timestamp:
    """The time itself, if its year is between 1 and 9999. Raises CelError."""
    if not _EARLIEST * NANOS <= moment.nanos < (_LATEST + 1) * NANOS:
        raise CelError("range: timestamp overflow")
    return moment


def duration(text: str) -> Duration:
    """A duration from texts such as 1h30m or -1.5s. Raises CelError."""
    sign, rest = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    if rest == "0":
        return Duration(0)
    total, at = 0, 0
    while at < len(rest):
        match = _DURATION_PART.match(rest, at)
        if match is None:
            break
        whole, _, part = match[1].partition(".")
        unit = _UNITS[match[2]]
        total += int(whole or 0) * unit + (int(part) * unit // 10 ** len(part) if part else 0)
        at = match.end()
    if not rest or at != len(rest) or total > DURATION_MAX:
        raise CelError(f"invalid duration {text!r}")
    return Duration(sign * total)


def number_text(value: float) -> str:
    """A double as `string(x)` writes it."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    mantissa, _, power = f"{value:.17e}".partition("e")
    text = repr(value)
    exponent = int(power)
    if value == 0 or -5 < exponent < 6:
        if "e" in text:
            text = f"{value:.{max(0, 17 - exponent)}f}".rstrip("0")
        return text.removesuffix(".0").rstrip(".")
    digits = text.partition("e")[0].removesuffix(".0") if "e" in text else mantissa.rstrip("0").rstrip(".")
    return f"{digits}e{'+' if exponent >= 0 else '-'}{abs(exponent):02d}"


def plain(value: Any, meter: Meter) -> Any:
    """A value as JSON holds it; what JSON lacks becomes text. Raises CelError for what has no such form."""
    match value:
        case None | bool() | str() | float():
            return value
        case int():
            return int(value)
        case list() | tuple():
            meter.charge(len(value))
            return [plain(item, meter) for item in value]
        case dict():
            meter.charge(len(value))
            return {key if isinstance(key, str) else key_text(key): plain(item, meter) for key, item in value.items()}
        case Timestamp() | Duration():
            return str(value)
        case bytes():
            import base64

            return base64.b64encode(value).decode()
        case Optional():
            return plain(value.value, meter) if value.present else None
        case TypeValue():
            return value.name
    if isinstance(getattr(value, "cel_type", None), str):
        return str(value)
    raise CelError(f"a value of type {type_name(value)} cannot be written as JSON")


def key_text(key: Any) -> str:
    """The text of a map's key."""
    if isinstance(key, bool):
        return "true" if key else "false"
    return str(key)
