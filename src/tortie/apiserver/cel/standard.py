"""The functions and operators of the CEL language definition: arithmetic, comparison, conversion, sizes, times.

In: calls from compiled expressions. Out: values; what the definition calls an error is a CelError.
"""

import math
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from tortie.apiserver.cel import values
from tortie.apiserver.cel.registry import define
from tortie.apiserver.cel.values import (
    INT_MAX,
    INT_MIN,
    NANOS,
    UINT_MAX,
    CelError,
    Duration,
    KeyedList,
    Meter,
    Timestamp,
    TypeValue,
    Uint,
)


def _int(value: int) -> int:
    if not INT_MIN <= value <= INT_MAX:
        raise CelError("integer overflow")
    return value


def _uint(value: int) -> Uint:
    if not 0 <= value <= UINT_MAX:
        raise CelError("unsigned integer overflow")
    return Uint(value)


def _span(nanos: int) -> Duration:
    if abs(nanos) > values.DURATION_MAX:
        raise CelError("range: duration overflow")
    return Duration(nanos)


# --- operators ---------------------------------------------------------------------------------------------------

define("_+_", "(int, int) -> int")(lambda a, b: _int(a + b))
define("_+_", "(uint, uint) -> uint")(lambda a, b: _uint(int(a) + int(b)))
define("_+_", "(double, double) -> double")(lambda a, b: a + b)
define("_+_", "(string, string) -> string", "(bytes, bytes) -> bytes")(lambda a, b: a + b)
define("_+_", "(timestamp, duration) -> timestamp")(lambda a, b: values.in_range(Timestamp(a.nanos + b.nanos)))
define("_+_", "(duration, timestamp) -> timestamp")(lambda a, b: values.in_range(Timestamp(a.nanos + b.nanos)))
define("_+_", "(duration, duration) -> duration")(lambda a, b: _span(a.nanos + b.nanos))
define("_-_", "(int, int) -> int")(lambda a, b: _int(a - b))
define("_-_", "(uint, uint) -> uint")(lambda a, b: _uint(int(a) - int(b)))
define("_-_", "(double, double) -> double")(lambda a, b: a - b)
define("_-_", "(timestamp, timestamp) -> duration")(lambda a, b: _span(a.nanos - b.nanos))
define("_-_", "(timestamp, duration) -> timestamp")(lambda a, b: values.in_range(Timestamp(a.nanos - b.nanos)))
define("_-_", "(duration, duration) -> duration")(lambda a, b: _span(a.nanos - b.nanos))
define("_*_", "(int, int) -> int")(lambda a, b: _int(a * b))
define("_*_", "(uint, uint) -> uint")(lambda a, b: _uint(int(a) * int(b)))
define("_*_", "(double, double) -> double")(lambda a, b: a * b)
define("-_", "(int) -> int")(lambda a: _int(-a))
define("-_", "(double) -> double")(lambda a: -a)
define("!_", "(bool) -> bool")(lambda a: not a)


@define("_+_", "(list(T), list(T)) -> list(T)")
def _concatenate(left: list[Any], right: list[Any]) -> list[Any]:
    if not isinstance(left, KeyedList):
        return [*left, *right]
    found = {left.identity(item): item for item in left}
    for item in right:
        key = left.identity(item)
        old = found.get(key)
        found[key] = {**old, **item} if isinstance(old, dict) and isinstance(item, dict) else item
    return KeyedList(found.values(), left.keys)


@define("_/_", "(int, int) -> int")
def _divide(left: int, right: int) -> int:
    if right == 0:
        raise CelError("division by zero")
    quotient = abs(left) // abs(right)
    return _int(quotient if (left < 0) == (right < 0) else -quotient)


@define("_/_", "(uint, uint) -> uint")
def _divide_unsigned(left: int, right: int) -> Uint:
    if right == 0:
        raise CelError("division by zero")
    return Uint(int(left) // int(right))


@define("_/_", "(double, double) -> double")
def _divide_double(left: float, right: float) -> float:
    if right != 0:
        return left / right
    return math.nan if left == 0 or math.isnan(left) else math.copysign(math.inf, left) * math.copysign(1, right)


@define("_%_", "(int, int) -> int")
def _modulus(left: int, right: int) -> int:
    if right == 0:
        raise CelError("modulus by zero")
    rest = abs(left) % abs(right)
    return -rest if left < 0 else rest


@define("_%_", "(uint, uint) -> uint")
def _modulus_unsigned(left: int, right: int) -> Uint:
    if right == 0:
        raise CelError("modulus by zero")
    return Uint(int(left) % int(right))


define("_==_", "(T, T) -> bool", metered=True)(lambda meter, a, b: values.equal(a, b, meter))
define("_!=_", "(T, T) -> bool", metered=True)(lambda meter, a, b: not values.equal(a, b, meter))
_NUMBERS = ("int", "uint", "double")
_ORDERED = [
    *(f"({a}, {b}) -> bool" for a in _NUMBERS for b in _NUMBERS),
    *(f"({t}, {t}) -> bool" for t in ("bool", "string", "bytes", "timestamp", "duration")),
]
define("_<_", *_ORDERED)(lambda a, b: values.order(a, b) == -1)
define("_<=_", *_ORDERED)(lambda a, b: values.order(a, b) in (-1, 0))
define("_>_", *_ORDERED)(lambda a, b: values.order(a, b) == 1)
define("_>=_", *_ORDERED)(lambda a, b: values.order(a, b) in (0, 1))


@define("_in_", "(T, list(T)) -> bool", "(K, map(K, V)) -> bool", metered=True)
def _in(meter: Meter, item: Any, container: Any) -> bool:
    if isinstance(container, dict):
        return find_key(container, item)[0]
    meter.charge(len(container))
    return any(values.equal(item, other, meter) for other in container)


def find_key(container: dict[Any, Any], key: Any) -> tuple[bool, Any]:
    """Whether a map has a key, and its value; numbers of different types are the same key."""
    if isinstance(key, float):
        if not key.is_integer():
            return False, None
        key = int(key)
    try:
        found = container[key]
    except (KeyError, TypeError):
        return False, None
    # Python takes True for 1: CEL does not.
    if key in (0, 1) and not any(k == key and isinstance(k, bool) == isinstance(key, bool) for k in container):
        return False, None
    return True, found


# --- conversions -------------------------------------------------------------------------------------------------

define("size", "(string) -> int", "(bytes) -> int", "(list(T)) -> int", "(map(K, V)) -> int")(len)
define("size", "string.() -> int", "bytes.() -> int", "list(T).() -> int", "map(K, V).() -> int")(len)
define("type", "(T) -> type")(lambda value: TypeValue(values.type_name(value)))
define("dyn", "(T) -> dyn")(lambda value: value)
define("bool", "(bool) -> bool")(lambda value: value)


@define("bool", "(string) -> bool")
def _to_bool(text: str) -> bool:
    if text in {"true", "True", "TRUE", "t", "T", "1"}:
        return True
    if text in {"false", "False", "FALSE", "f", "F", "0"}:
        return False
    raise CelError(f"cannot convert the text {text!r} to bool")


@define("int", "(int) -> int", "(uint) -> int", "(string) -> int", "(double) -> int", "(timestamp) -> int")
def _to_int(value: Any) -> int:
    if isinstance(value, Timestamp):
        return value.nanos // NANOS
    return _int(_whole(value, "int"))


@define("int", "(duration) -> int")
def _nanoseconds(value: Duration) -> int:
    return value.nanos


@define("uint", "(uint) -> uint", "(int) -> uint", "(string) -> uint", "(double) -> uint")
def _to_uint(value: Any) -> Uint:
    return _uint(_whole(value, "uint"))


def _whole(value: Any, wanted: str) -> int:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise CelError("integer overflow")
        return int(value)
    if isinstance(value, str):
        if len(value) > 40 or not value.lstrip("+-").isascii() or not value.lstrip("+-").isdecimal():
            raise CelError(f"cannot convert the text {value!r} to {wanted}")
        try:
            return int(value)
        except ValueError:
            raise CelError(f"cannot convert the text {value!r} to {wanted}") from None
    return int(value)


@define("double", "(double) -> double", "(int) -> double", "(uint) -> double", "(string) -> double")
def _to_double(value: Any) -> float:
    if isinstance(value, str) and ("_" in value or value != value.strip()):
        raise CelError(f"cannot convert the text {value!r} to double")
    try:
        return float(value)
    except ValueError:
        raise CelError(f"cannot convert the text {value!r} to double") from None


@define(
    "string",
    *(f"({t}) -> string" for t in ("string", "bool", "int", "uint", "double", "bytes", "timestamp", "duration")),
    *(f"({t}) -> string" for t in ("net.IP", "net.CIDR")),
)
def to_text(value: Any) -> str:
    """`string(x)`."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case float():
            return values.number_text(value)
        case bytes():
            try:
                return value.decode()
            except UnicodeDecodeError:
                raise CelError("invalid UTF-8 in bytes, cannot convert to string") from None
    return str(value)


define("bytes", "(bytes) -> bytes", "(string) -> bytes")(lambda v: v.encode() if isinstance(v, str) else v)
define("duration", "(duration) -> duration", "(string) -> duration")(
    lambda v: values.duration(v) if isinstance(v, str) else v
)
define("timestamp", "(timestamp) -> timestamp", "(string) -> timestamp")(
    lambda v: values.timestamp(v) if isinstance(v, str) else v
)
define("timestamp", "(int) -> timestamp")(lambda v: values.in_range(Timestamp(v * NANOS)))


# --- times -------------------------------------------------------------------------------------------------------


def _zone(name: str) -> tzinfo:
    sign = -1 if name.startswith("-") else 1
    hours, colon, minutes = name.lstrip("+-").partition(":")
    if colon and hours.isdecimal() and minutes.isdecimal() and int(hours) < 24 and int(minutes) < 60:
        return timezone(sign * timedelta(hours=int(hours), minutes=int(minutes)))
    if name in {"UTC", "Z", ""}:
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise CelError(f"unknown time zone {name!r}") from None


def _local(moment: Timestamp, zone: str = "UTC") -> datetime:
    seconds, rest = divmod(moment.nanos, NANOS)
    try:
        base = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds, microseconds=rest // 1000)
        return base.astimezone(_zone(zone))
    except OverflowError:
        raise CelError("range: timestamp overflow") from None


for _name, _read in {
    "getFullYear": lambda t: t.year,
    "getMonth": lambda t: t.month - 1,
    "getDate": lambda t: t.day,
    "getDayOfMonth": lambda t: t.day - 1,
    "getDayOfWeek": lambda t: t.isoweekday() % 7,
    "getDayOfYear": lambda t: t.timetuple().tm_yday - 1,
    "getHours": lambda t: t.hour,
    "getMinutes": lambda t: t.minute,
    "getSeconds": lambda t: t.second,
    "getMilliseconds": lambda t: t.microsecond // 1000,
}.items():
    define(_name, "timestamp.() -> int", "timestamp.(string) -> int")(
        lambda moment, zone="UTC", read=_read: read(_local(moment, zone))
    )
for _name, _unit in {
    "getHours": 3600 * NANOS,
    "getMinutes": 60 * NANOS,
    "getSeconds": NANOS,
    "getMilliseconds": 10**6,
}.items():
    define(_name, "duration.() -> int")(
        lambda span, unit=_unit: int(math.copysign(abs(span.nanos) // unit, span.nanos))
    )
