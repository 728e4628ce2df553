"""Whether a CustomResourceDefinition's schema is structural, as version 1 demands.

In: OpenAPI v3 JSON from a definition. Out: causes that name the place in the definition. Pure.
"""

from collections.abc import Mapping
from typing import Any

from tortie.apiserver import errors
from tortie.apiserver.errors import Cause

_TYPES = ["array", "boolean", "integer", "number", "object", "string"]
_FORBIDDEN = (
    "definitions",
    "dependencies",
    "deprecated",
    "discriminator",
    "id",
    "patternProperties",
    "readOnly",
    "writeOnly",
    "xml",
    "$ref",
)


def check(schema: Any, path: str, *, top: bool = False) -> list[Cause]:
    """Causes for one schema and everything below it."""
    if not isinstance(schema, Mapping):
        return [errors.required(path, "a schema is required")]
    causes: list[Cause] = []
    kind = schema.get("type", "")
    free = schema.get("x-kubernetes-preserve-unknown-fields") or schema.get("x-kubernetes-int-or-string")
    if not kind and not free:
        causes.append(
            errors.required(
                f"{path}.type",
                "must not be empty for specified " + ("object fields" if not top else "objects at the root"),
            )
        )
    elif kind and kind not in _TYPES:
        causes.append(errors.not_supported(f"{path}.type", kind, _TYPES))
    if top and kind != "object":
        causes.append(errors.invalid_value(f"{path}.type", kind, "must be object at the root"))
    for name in _FORBIDDEN:
        if name in schema:
            causes.append(errors.forbidden_field(f"{path}.{name}", "is not supported in a structural schema"))
    if schema.get("uniqueItems"):
        causes.append(
            errors.forbidden_field(
                f"{path}.uniqueItems",
                "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
            )
        )
    if schema.get("properties") and schema.get("additionalProperties"):
        causes.append(
            errors.forbidden_field(
                f"{path}.additionalProperties", "additionalProperties and properties are mutual exclusive"
            )
        )
    if kind == "array" and not isinstance(schema.get("items"), Mapping):
        causes.append(errors.required(f"{path}.items", "must be specified"))
    for name, sub in (schema.get("properties") or {}).items():
        if top and name in {"metadata", "apiVersion", "kind"}:
            continue
        causes += check(sub, f"{path}.properties[{name}]")
    if isinstance(schema.get("items"), Mapping):
        causes += check(schema["items"], f"{path}.items")
    if isinstance(schema.get("additionalProperties"), Mapping):
        causes += check(schema["additionalProperties"], f"{path}.additionalProperties")
    for name in ("allOf", "anyOf", "oneOf", "not"):
        parts = schema.get(name) or ()
        for index, part in enumerate(parts if isinstance(parts, list) else [parts]):
            causes += _combined(part, f"{path}.{name}" + (f"[{index}]" if isinstance(parts, list) else ""))
    keys = schema.get("x-kubernetes-list-map-keys")
    if schema.get("x-kubernetes-list-type") == "map" and not keys:
        causes.append(
            errors.required(f"{path}.x-kubernetes-list-map-keys", "must not be empty if x-kubernetes-list-type is map")
        )
    return causes


def _combined(schema: Any, path: str) -> list[Cause]:
    """A schema of a combination says nothing about what a value is, and its rules would never run."""
    if not isinstance(schema, Mapping):
        return []
    causes = []
    if schema.get("x-kubernetes-validations"):
        causes.append(
            errors.forbidden_field(
                f"{path}.x-kubernetes-validations", "must be empty inside allOf, anyOf, oneOf and not"
            )
        )
    for name, below in schema.items():
        if name == "properties" and isinstance(below, Mapping):
            for key, sub in below.items():
                causes += _combined(sub, f"{path}.properties[{key}]")
        elif name in {"items", "additionalProperties", "not"}:
            causes += _combined(below, f"{path}.{name}")
        elif name in {"allOf", "anyOf", "oneOf"} and isinstance(below, list):
            for index, sub in enumerate(below):
                causes += _combined(sub, f"{path}.{name}[{index}]")
    return causes
