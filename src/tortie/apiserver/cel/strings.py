"""The extended string functions, regular expressions, lists, sets and optionals.

In: calls from compiled expressions. Out: values. What grows with its arguments says beforehand what it will cost.
Regular expressions are RE2's, which cannot be made to run for ever.
"""

import functools
import itertools
from collections.abc import Callable
from typing import Any

from tortie.apiserver.cel import values
from tortie.apiserver.cel.registry import define
from tortie.apiserver.cel.standard import to_text
from tortie.apiserver.cel.values import INT_MAX, INT_MIN, NONE, CelError, Meter, Optional, Uint


def _within(text: str, index: int) -> int:
    if not 0 <= index <= len(text):
        raise CelError(f"index out of range: {index}")
    return index


@define("charAt", "string.(int) -> string")
def _char_at(text: str, index: int) -> str:
    return text[_within(text, index) : index + 1]


@define("indexOf", "string.(string) -> int", "string.(string, int) -> int")
def _index_of(text: str, part: str, start: int = 0) -> int:
    return text.find(part, _within(text, start)) if part else start


@define("lastIndexOf", "string.(string) -> int", "string.(string, int) -> int")
def _last_index_of(text: str, part: str, last: int | None = None) -> int:
    if last is None:
        return text.rfind(part)
    return text.rfind(part, 0, _within(text, last) + len(part))


define("startsWith", "string.(string) -> bool")(str.startswith)
define("endsWith", "string.(string) -> bool")(str.endswith)
define("contains", "string.(string) -> bool")(lambda text, part: part in text)
define("trim", "string.() -> string")(str.strip)
define("reverse", "string.() -> string")(lambda text: text[::-1])
_UPPER = {lower: lower - 32 for lower in range(ord("a"), ord("z") + 1)}
_LOWER = {upper: lower for lower, upper in _UPPER.items()}
define("lowerAscii", "string.() -> string")(lambda text: text.translate(_LOWER))
define("upperAscii", "string.() -> string")(lambda text: text.translate(_UPPER))


@define("substring", "string.(int) -> string", "string.(int, int) -> string")
def _substring(text: str, start: int, end: int | None = None) -> str:
    end = len(text) if end is None else _within(text, end)
    if _within(text, start) > end:
        raise CelError(f"invalid substring range. start: {start}, end: {end}")
    return text[start:end]


def _replace_cost(text: str, old: str, new: str, count: int = -1) -> int:
    times = len(text) + 1 if not old else len(text) // len(old)
    return (times if count < 0 else min(times, count)) * len(new) // 10


@define("replace", "string.(string, string) -> string", "string.(string, string, int) -> string", cost=_replace_cost)
def _replace(text: str, old: str, new: str, count: int = -1) -> str:
    return text.replace(old, new, max(count, -1))


@define("split", "string.(string) -> list(string)", "string.(string, int) -> list(string)", cost=lambda t, *_: len(t))
def _split(text: str, by: str, count: int = -1) -> list[str]:
    if count == 0:
        return []
    if not by:
        parts = list(text)
        return parts if count < 0 or count >= len(parts) else [*parts[: count - 1], "".join(parts[count - 1 :])]
    return text.split(by, count - 1 if count > 0 else -1)


@define(
    "join",
    "list(string).() -> string",
    "list(string).(string) -> string",
    cost=lambda items, by="": sum(len(i) + len(by) for i in items if isinstance(i, str)) // 10,
)
def _join(items: list[Any], by: str = "") -> str:
    if not all(isinstance(item, str) for item in items):
        raise CelError("no such overload: join needs texts")
    return by.join(items)


_QUOTED = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    "\\": "\\\\",
    '"': '\\"',
}


@define("strings.quote", "(string) -> string")
def _quote(text: str) -> str:
    return '"' + "".join(_QUOTED.get(char, char) for char in text) + '"'


@define("format", "string.(list(dyn)) -> string", metered=True)
def _format(meter: Meter, text: str, arguments: list[Any]) -> str:
    parts: list[str] = []
    at, used = 0, 0
    while True:
        found = text.find("%", at)
        if found < 0:
            parts.append(text[at:])
            return "".join(parts)
        parts.append(text[at:found])
        at = found + 1
        if text[at : at + 1] == "%":
            parts.append("%")
            at += 1
            continue
        precision = 6
        if text[at : at + 1] == ".":
            end = at + 1
            while text[end : end + 1].isdigit():
                end += 1
            precision, at = int(text[at + 1 : end][:4] or 0), end
            if precision > 100:
                raise CelError("precision of a number must be at most 100")
        if used >= len(arguments):
            raise CelError(f"index {used} out of range")
        if at >= len(text):
            raise CelError("unexpected end of string")
        piece = _clause(meter, text[at], arguments[used], precision)
        meter.charge(len(piece) // 10)
        parts.append(piece)
        at, used = at + 1, used + 1


def _clause(meter: Meter, letter: str, value: Any, precision: int) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    whole = number and not isinstance(value, float)
    match letter:
        case "s":
            return _shown(meter, value)
        case "d" if whole:
            return str(int(value))
        case "f" if number:
            return f"{value:.{precision}f}"
        case "e" if number:
            return f"{value:.{precision}e}"
        case "b" if isinstance(value, bool):
            return "1" if value else "0"
        case "b" | "o" if whole:
            return format(int(value), letter)
        case "x" | "X" if whole:
            return format(int(value), letter)
        case "x" | "X" if isinstance(value, str | bytes):
            data = (value.encode() if isinstance(value, str) else value).hex()
            return data.upper() if letter == "X" else data
        case "d" | "f" | "e" | "b" | "o" | "x" | "X":
            raise CelError(f"error during formatting: %{letter} cannot be used with {values.type_name(value)}")
    raise CelError(f'unrecognized formatting clause "{letter}"')


def _shown(meter: Meter, value: Any) -> str:
    if isinstance(value, list | tuple):
        meter.charge(len(value))
        return "[" + ", ".join(_shown(meter, item) for item in value) + "]"
    if isinstance(value, dict):
        meter.charge(len(value))
        pairs = sorted((_shown(meter, key), _shown(meter, item)) for key, item in value.items())
        return "{" + ", ".join(f"{key}: {item}" for key, item in pairs) + "}"
    if value is None:
        return "null"
    if isinstance(value, values.TypeValue):
        return value.name
    return to_text(value)


# --- regular expressions -----------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=512)
def compile_pattern(text: str) -> Any:
    """The compiled RE2 expression. Raises CelError."""
    try:
        import re2  # type: ignore[import-untyped] # has no stubs
    except ImportError:
        # Python's own expressions can be made to run for ever, so there is no falling back to them.
        raise CelError("regular expressions need the package google-re2, which is not installed") from None
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 1 << 20
    try:
        return re2.compile(text, options)
    except re2.error as error:
        why = error.args[0] if error.args else ""
        raise CelError(
            f"error parsing regexp: {why.decode(errors='replace') if isinstance(why, bytes) else why}"
        ) from None


def check_pattern(text: str) -> None:
    """Refuses a regular expression that cannot be compiled, when it is a literal. Raises CelError."""
    compile_pattern(text)


def _match_cost(text: str, pattern: str, *_: Any) -> int:
    return (len(text) // 10 + 1) * (len(pattern) // 4 + 1)


@define("matches", "string.(string) -> bool", cost=_match_cost)
@define("matches", "(string, string) -> bool", cost=_match_cost)
def _matches(text: str, pattern: str) -> bool:
    return compile_pattern(pattern).search(text) is not None


@define("find", "string.(string) -> string", cost=_match_cost)
def _find(text: str, pattern: str) -> str:
    match = compile_pattern(pattern).search(text)
    return match.group(0) if match else ""


@define("findAll", "string.(string) -> list(string)", "string.(string, int) -> list(string)", cost=_match_cost)
def _find_all(text: str, pattern: str, count: int = -1) -> list[str]:
    found: list[str] = []
    for match in compile_pattern(pattern).finditer(text):
        if 0 <= count <= len(found):
            break
        found.append(match.group(0))
    return found


# --- lists and sets ----------------------------------------------------------------------------------------------


@define("isSorted", "list(T).() -> bool")
def _is_sorted(items: list[Any]) -> bool:
    return all(values.order(a, b) in (-1, 0) for a, b in itertools.pairwise(items))


@define("sum", "list(T).() -> T")
def _sum(items: list[Any]) -> Any:
    if not items:
        return 0
    first = items[0]
    if isinstance(first, bool) or any(type(item) is not type(first) for item in items):
        raise CelError("no such overload: sum needs numbers or durations of one type")
    if isinstance(first, values.Duration):
        return values.Duration(sum(item.nanos for item in items))
    if not isinstance(first, int | float):
        raise CelError("no such overload: sum needs numbers or durations of one type")
    total = sum(float(item) for item in items) if isinstance(first, float) else sum(int(item) for item in items)
    if isinstance(first, Uint):
        if total > values.UINT_MAX:
            raise CelError("unsigned integer overflow")
        return Uint(total)
    if isinstance(first, int) and not INT_MIN <= total <= INT_MAX:
        raise CelError("integer overflow")
    return total


def _extreme(wanted: int, name: str) -> Callable[[list[Any]], Any]:
    def run(items: list[Any]) -> Any:
        if not items:
            raise CelError(f"{name} called on empty list")
        best = items[0]
        for item in items[1:]:
            if values.order(item, best) == wanted:
                best = item
        return best

    return run


define("min", "list(T).() -> T")(_extreme(-1, "min"))
define("max", "list(T).() -> T")(_extreme(1, "max"))


def _places(meter: Meter, items: list[Any], wanted: Any) -> list[int]:
    return [place for place, item in enumerate(items) if values.equal(item, wanted, meter)]


define("indexOf", "list(T).(T) -> int", metered=True)(lambda m, items, x: next(iter(_places(m, items, x)), -1))
define("lastIndexOf", "list(T).(T) -> int", metered=True)(lambda m, items, x: ([-1, *_places(m, items, x)])[-1])


def _covers(meter: Meter, left: list[Any], right: list[Any]) -> bool:
    meter.charge(len(left) * len(right))
    return all(any(values.equal(a, b, meter) for a in left) for b in right)


define("sets.contains", "(list(T), list(T)) -> bool", metered=True)(_covers)
define("sets.equivalent", "(list(T), list(T)) -> bool", metered=True)(
    lambda m, a, b: _covers(m, a, b) and _covers(m, b, a)
)


@define("sets.intersects", "(list(T), list(T)) -> bool", metered=True)
def _intersects(meter: Meter, left: list[Any], right: list[Any]) -> bool:
    meter.charge(len(left) * len(right))
    return any(values.equal(a, b, meter) for a in left for b in right)


# --- optionals ---------------------------------------------------------------------------------------------------

define("optional.of", "(T) -> optional(T)")(lambda value: Optional(True, value))
define("optional.none", "() -> optional(T)")(lambda: NONE)


@define("optional.ofNonZeroValue", "(T) -> optional(T)")
def _non_zero(value: Any) -> Optional:
    empty = value is None or (isinstance(value, int | float | str | bytes | list | dict) and not value)
    return NONE if empty or value in (values.Duration(0),) else Optional(True, value)


define("hasValue", "optional(T).() -> bool")(lambda optional: optional.present)
define("or", "optional(T).(optional(T)) -> optional(T)")(lambda a, b: a if a.present else b)
define("orValue", "optional(T).(T) -> T")(lambda optional, other: optional.value if optional.present else other)


@define("value", "optional(T).() -> T")
def _value(optional: Optional) -> Any:
    if not optional.present:
        raise CelError("optional.none() dereference")
    return optional.value


define("optional.unwrap", "(list(optional(T))) -> list(T)")(lambda items: [i.value for i in items if i.present])
define("unwrapOpt", "list(optional(T)).() -> list(T)")(lambda items: [i.value for i in items if i.present])
define("first", "list(T).() -> optional(T)")(lambda items: Optional(True, items[0]) if items else NONE)
define("last", "list(T).() -> optional(T)")(lambda items: Optional(True, items[-1]) if items else NONE)
