"""Objects checked against a structural schema: unknown fields pruned, defaults filled in, types and limits checked.

For admission. In: plain JSON and a schema of `schema`. Out: a new object and what is wrong with it, each error with the
path of its field in Kubernetes' notation. Rules that look at several fields are not written here.
"""

import json
import re
import sys
from dataclasses import dataclass, field
from typing import Any, Literal

from tortie.model import formats
from tortie.model.schema import Schema

ErrorType = Literal["Invalid", "Required", "NotSupported", "Forbidden", "TypeInvalid"]

_TITLES: dict[ErrorType, str] = {
    "Invalid": "Invalid value",
    "Required": "Required value",
    "NotSupported": "Unsupported value",
    "Forbidden": "Forbidden",
    "TypeInvalid": "Invalid value",
}


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field. path: such as `spec.ingress[0].destination.ports[1]`."""

    path: str
    value: Any
    message: str
    type: ErrorType = "Invalid"

    def __str__(self) -> str:
        title = _TITLES[self.type]
        if self.type in ("Required", "Forbidden"):
            return f"{self.path}: {title}: {self.message}" if self.message else f"{self.path}: {title}"
        return f"{self.path}: {title}: {json.dumps(self.value)}: {self.message}"


@dataclass(slots=True)
class Check:
    """The result of a check, collected while walking. unknown: paths of fields that the schema does not have.
    unfit: whether a value is of the wrong type, missing or too long, so that looking closer at it makes no sense."""

    errors: list[FieldError] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    unfit: bool = False

    def add(self, path: str, value: Any, message: str, type_: ErrorType = "Invalid", *, unfit: bool = False) -> None:
        self.unfit |= unfit
        collect(self.errors, path, value, message, type_)

    def wrong_type(self, path: str, value: Any, wanted: str) -> None:
        found = _NAMES.get(type(value), "null")
        self.add(path, found, f'{path} in body must be of type {wanted}: "{found}"', "TypeInvalid", unfit=True)


def collect(errors: list[FieldError], path: str, value: Any, message: str, type_: ErrorType) -> None:
    """Adds an error to those of an object, of a length that can be read: an object with a million mistakes, or with one
    in a text of a megabyte, must not become an answer of a hundred megabytes."""
    if len(errors) < MOST_ERRORS:
        errors.append(FieldError(path[:_LONGEST], _short(value), message[:_LONGEST], type_))


def _short(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= _LONGEST else f"{value[:_LONGEST]}…"
    if isinstance(value, dict):
        return "object"
    if isinstance(value, list | tuple):
        scalars = len(value) <= _MOST_ITEMS and not any(isinstance(item, dict | list) for item in value)
        return [_short(item) for item in value] if scalars else "array"
    return value


MOST_ERRORS = 256
_MOST_ITEMS = 16
_LONGEST = 2048
_NAMES = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}
_GREATEST = sys.float_info.max
_INTEGERS = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}


def apply(schema: Schema, value: Any, path: str, check: Check) -> Any:
    """The value without unknown fields and with defaults; problems go to `check`. The input is not changed."""
    if schema.get("x-kubernetes-int-or-string"):
        if isinstance(value, bool) or not isinstance(value, int | str):
            check.wrong_type(path, value, "integer or string")
        return value
    match schema.get("type"):
        case "object":
            return _object(schema, value, path, check)
        case "array":
            return _array(schema, value, path, check)
        case "string":
            if not isinstance(value, str):
                check.wrong_type(path, value, "string")
            else:
                _string(schema, value, path, check)
        case "boolean":
            if not isinstance(value, bool):
                check.wrong_type(path, value, "boolean")
        case "integer":
            if isinstance(value, float) and value.is_integer():
                value = int(value)
            if isinstance(value, bool) or not isinstance(value, int):
                check.wrong_type(path, value, "integer")
            else:
                _number(schema, value, path, check)
        case "number":
            if isinstance(value, bool) or not isinstance(value, int | float):
                check.wrong_type(path, value, "number")
            else:
                _number(schema, value, path, check)
    return value


def _object(schema: Schema, value: Any, path: str, check: Check) -> Any:
    if not isinstance(value, dict):
        check.wrong_type(path, value, "object")
        return value
    properties = schema.get("properties")
    if properties is None:
        return _map(schema.get("additionalProperties"), value, path, check)
    result: dict[str, Any] = {}
    for name, item in value.items():
        inner = f"{path}.{name}" if path else name
        if name not in properties:
            check.unknown.append(inner)
        elif item is not None:
            result[name] = apply(properties[name], item, inner, check)
    for name, inner_schema in properties.items():
        # An empty text is how clients with typed objects write an absent field.
        if "default" in inner_schema and result.get(name, "") == "":
            result[name] = inner_schema["default"]
    for name in schema.get("required", ()):
        if name not in result:
            check.add(f"{path}.{name}" if path else name, None, "", "Required", unfit=True)
    return result


def _map(schema: Schema | None, value: dict[str, Any], path: str, check: Check) -> dict[str, Any]:
    if schema is None:
        return value
    return {name: apply(schema, item, f"{path}.{name}", check) for name, item in value.items() if item is not None}


def _array(schema: Schema, value: Any, path: str, check: Check) -> Any:
    if not isinstance(value, list | tuple):
        check.wrong_type(path, value, "array")
        return value
    limit, least = schema.get("maxItems"), schema.get("minItems", 0)
    if limit is not None and len(value) > limit:
        check.add(path, len(value), f"must have at most {limit} items", unfit=True)
        return value
    if len(value) < least:
        check.add(path, len(value), f"must have at least {least} items")
    items = schema["items"]
    result = [
        item if item is None and items.get("nullable") else apply(items, item, f"{path}[{index}]", check)
        for index, item in enumerate(value)
    ]
    if schema.get("x-kubernetes-list-type") == "set":
        seen: set[Any] = set()
        for index, item in enumerate(result):
            if isinstance(item, str | int) and item in seen:
                check.add(f"{path}[{index}]", item, "duplicate entry: each may occur only once")
            elif isinstance(item, str | int):
                seen.add(item)
    return result


def _string(schema: Schema, value: str, path: str, check: Check) -> None:
    limit = schema.get("maxLength")
    if limit is not None and len(value) > limit:
        check.add(path, value[:limit], f"must be no more than {limit} characters", unfit=True)
        return
    if value == "" and schema.get("minLength"):
        check.add(path, value, "must not be empty")
        return
    allowed = schema.get("enum")
    if allowed is not None and value not in allowed:
        words = ", ".join(json.dumps(word) for word in allowed if word)
        if value:
            check.add(path, value, f"supported values: {words}", "NotSupported")
        return
    pattern = schema.get("pattern")
    if pattern is not None and not re.search(pattern, value):
        check.add(path, value, _pattern_message(pattern))
    if value and (problem := _FORMATS.get(schema.get("format", ""), _no_problem)(value)):
        check.add(path, value, problem)


def _cidr_problem(value: str) -> str:
    if "/" not in value:
        return "must be a CIDR with a prefix length, such as 10.0.0.0/8"
    return formats.net_problem(value, host_bits=True)


def _no_problem(_: str) -> str:
    return ""


_FORMATS = {"cidr": _cidr_problem, "date-time": formats.time_problem, "byte": formats.base64_problem}


def _pattern_message(pattern: str) -> str:
    words = re.fullmatch(r"\(\?i\)\^\((\w+(?:\|\w+)*)\)\?\$", pattern)
    if words:
        return f"must be one of {', '.join(words.group(1).split('|'))}"
    if pattern == "^([0-9]+(ms|s|m|h))*$":
        return "must be a duration in whole numbers of h, m, s or ms, such as 90s or 1h30m"
    return f"must match the regular expression {pattern}"


def _number(schema: Schema, value: float, path: str, check: Check) -> None:
    allowed = schema.get("enum")
    if allowed is not None and value not in allowed:
        words = ", ".join(json.dumps(word) for word in allowed)
        check.add(path, value, f"supported values: {words}", "NotSupported")
    if not -_GREATEST <= value <= _GREATEST:  # not a number either
        check.add(path, "infinite", "must be a number that 64 bits of floating point can hold", unfit=True)
        return
    least, most = schema.get("minimum"), schema.get("maximum")
    if schema["type"] == "integer":
        lowest, highest = _INTEGERS[schema.get("format", "int64")]
        least, most = (lowest if least is None else least), (highest if most is None else most)
    if least is not None and most is not None and not least <= value <= most:
        check.add(path, _shown(value), f"must be between {least} and {most}")
    elif least is not None and value < least:
        check.add(path, value, f"must be at least {least}")
    elif most is not None and value > most:
        check.add(path, value, f"must be at most {most}")


def _shown(value: float) -> float | str:
    """A number too long to be written is not shown."""
    return value if abs(value) < 10**30 else "a number of more than 30 digits"
