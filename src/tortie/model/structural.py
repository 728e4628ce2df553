"""Objects checked against a structural schema: unknown fields pruned, defaults filled in, types and limits checked.

For admission. In: plain JSON and a schema of `schema`. Out: a new object and what is wrong with it, each error with the
path of its field in Kubernetes' notation. Rules that look at several fields are not written here.
"""

import json
import re
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
    """The result of a check, collected while walking. unknown: paths of fields that the schema does not have."""

    errors: list[FieldError] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def apply(schema: Schema, value: Any, path: str, check: Check) -> Any:
    """The value without unknown fields and with defaults; problems go to `check`. The input is not changed."""
    if schema.get("x-kubernetes-int-or-string"):
        if isinstance(value, bool) or not isinstance(value, int | str):
            check.errors.append(_wrong_type(path, value, "integer or string"))
        return value
    match schema.get("type"):
        case "object":
            return _object(schema, value, path, check)
        case "array":
            return _array(schema, value, path, check)
        case "string":
            if not isinstance(value, str):
                check.errors.append(_wrong_type(path, value, "string"))
            else:
                _string(schema, value, path, check)
        case "boolean":
            if not isinstance(value, bool):
                check.errors.append(_wrong_type(path, value, "boolean"))
        case "integer":
            if isinstance(value, float) and value.is_integer():
                value = int(value)
            if isinstance(value, bool) or not isinstance(value, int):
                check.errors.append(_wrong_type(path, value, "integer"))
            else:
                _number(schema, value, path, check)
        case "number":
            if isinstance(value, bool) or not isinstance(value, int | float):
                check.errors.append(_wrong_type(path, value, "number"))
            else:
                _number(schema, value, path, check)
    return value


def _wrong_type(path: str, value: Any, wanted: str) -> FieldError:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}
    found = names.get(type(value), "null")
    return FieldError(path, found, f'{path} in body must be of type {wanted}: "{found}"', "TypeInvalid")


def _object(schema: Schema, value: Any, path: str, check: Check) -> Any:
    if not isinstance(value, dict):
        check.errors.append(_wrong_type(path, value, "object"))
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
        if name not in result and "default" in inner_schema:
            result[name] = inner_schema["default"]
    for name in schema.get("required", ()):
        if name not in result:
            check.errors.append(FieldError(f"{path}.{name}" if path else name, None, "", "Required"))
    return result


def _map(schema: Schema | None, value: dict[str, Any], path: str, check: Check) -> dict[str, Any]:
    if schema is None:
        return value
    return {name: apply(schema, item, f"{path}.{name}", check) for name, item in value.items() if item is not None}


def _array(schema: Schema, value: Any, path: str, check: Check) -> Any:
    if not isinstance(value, list | tuple):
        check.errors.append(_wrong_type(path, value, "array"))
        return value
    limit, least = schema.get("maxItems"), schema.get("minItems", 0)
    if limit is not None and len(value) > limit:
        check.errors.append(FieldError(path, len(value), f"must have at most {limit} items"))
        return value
    if len(value) < least:
        check.errors.append(FieldError(path, len(value), f"must have at least {least} items"))
    items = schema["items"]
    result = [
        item if item is None and items.get("nullable") else apply(items, item, f"{path}[{index}]", check)
        for index, item in enumerate(value)
    ]
    if schema.get("x-kubernetes-list-type") == "set":
        seen: set[Any] = set()
        for index, item in enumerate(result):
            if isinstance(item, str | int) and item in seen:
                check.errors.append(FieldError(f"{path}[{index}]", item, "duplicate entry: each may occur only once"))
            elif isinstance(item, str | int):
                seen.add(item)
    return result


def _string(schema: Schema, value: str, path: str, check: Check) -> None:
    limit = schema.get("maxLength")
    if limit is not None and len(value) > limit:
        check.errors.append(FieldError(path, value, f"must be no more than {limit} characters"))
        return
    allowed = schema.get("enum")
    if allowed is not None and value not in allowed:
        words = ", ".join(json.dumps(word) for word in allowed if word)
        # An empty text is how clients with typed objects write an absent field.
        if value:
            check.errors.append(FieldError(path, value, f"supported values: {words}", "NotSupported"))
        return
    pattern = schema.get("pattern")
    if pattern is not None and not re.search(pattern, value):
        check.errors.append(FieldError(path, value, _pattern_message(pattern)))
    match schema.get("format"):
        case "cidr" if value:
            if "/" not in value:
                check.errors.append(FieldError(path, value, "must be a CIDR with a prefix length, such as 10.0.0.0/8"))
            elif problem := formats.net_problem(value, host_bits=True):
                check.errors.append(FieldError(path, value, problem))


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
        check.errors.append(FieldError(path, value, f"supported values: {words}", "NotSupported"))
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is not None and most is not None and not least <= value <= most:
        check.errors.append(FieldError(path, value, f"must be between {least} and {most}"))
    elif least is not None and value < least:
        check.errors.append(FieldError(path, value, f"must be at least {least}"))
    elif most is not None and value > most:
        check.errors.append(FieldError(path, value, f"must be at most {most}"))
