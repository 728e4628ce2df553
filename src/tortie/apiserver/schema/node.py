"""One node of a structural schema, and its reading from OpenAPI v3 JSON.

For built-in kinds the tree comes from the texts in `types/` (see `dsl`), for custom resources from their
CustomResourceDefinition, for Calico kinds from `tortie.model.schema`. Everything that walks an object walks it
beside such a tree.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

OBJECT, ARRAY, STRING, INTEGER, NUMBER, BOOLEAN, ANY = "object", "array", "string", "integer", "number", "boolean", ""


class _Unset:
    def __repr__(self) -> str:
        return "UNSET"


UNSET: Any = _Unset()


@dataclass(slots=True, eq=False)
class Node:
    """What one place of an object may hold.

    type "" means anything. An object has `properties` (a struct), or `values` (a map), or neither with `preserve`
    (free-form). list_type: atomic, set or map with `keys`. merge_key/merge/retain: strategic merge of built-ins.
    """

    type: str = ANY
    format: str = ""
    ref: str = ""
    description: str = ""
    properties: dict[str, "Node"] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    values: "Node | None" = None
    items: "Node | None" = None
    list_type: str = "atomic"
    keys: tuple[str, ...] = ()
    atomic: bool = False
    merge_key: str = ""
    merge: bool = False
    retain: bool = False
    preserve: bool = False
    embedded: bool = False
    nullable: bool = False
    int_or_string: bool = False
    default: Any = UNSET
    checks: Mapping[str, Any] | None = None
    rules: tuple[Mapping[str, Any], ...] = ()
    source: Mapping[str, Any] | None = None

    def child(self, name: str) -> "Node | None":
        """The node below an object's key, or None when the schema does not know it."""
        return self.properties.get(name) or self.values

    @property
    def granular(self) -> bool:
        """Whether owners and merges look inside (not an atomic map or list)."""
        if self.type == OBJECT:
            return not self.atomic
        return self.type == ARRAY and self.list_type != "atomic"


def has_rules(node: Node) -> bool:
    """Whether there is a CEL rule on the node or below."""
    below = [*node.properties.values(), node.items, node.values]
    return bool(node.rules) or any(b is not None and b is not node and has_rules(b) for b in below)


FREE = Node(type=ANY, preserve=True)

_CHECKS = (
    "enum",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "format",
)


def from_openapi(schema: Mapping[str, Any], *, metadata: Node | None = None, top: bool = False) -> Node:
    """Reads a structural OpenAPI v3 schema. `metadata` replaces the top `metadata` property."""
    kind = str(schema.get("type", ""))
    int_or_string = bool(schema.get("x-kubernetes-int-or-string"))
    node = Node(
        type=ANY if int_or_string else kind,
        format=str(schema.get("format", "")),
        description=str(schema.get("description", "")),
        required=tuple(schema.get("required", ())),
        preserve=bool(schema.get("x-kubernetes-preserve-unknown-fields")),
        embedded=bool(schema.get("x-kubernetes-embedded-resource")),
        nullable=bool(schema.get("nullable")),
        int_or_string=int_or_string,
        default=schema.get("default", UNSET),
        checks={k: schema[k] for k in _CHECKS if k in schema} or None,
        rules=tuple(schema.get("x-kubernetes-validations", ())),
        atomic=schema.get("x-kubernetes-map-type") == "atomic",
        list_type=str(schema.get("x-kubernetes-list-type", "atomic")),
        keys=tuple(schema.get("x-kubernetes-list-map-keys", ())),
        source=schema if top else None,
    )
    if node.type == ANY and not int_or_string:
        node.preserve = True
    for name, sub in (schema.get("properties") or {}).items():
        node.properties[name] = from_openapi(sub)
    values = schema.get("additionalProperties")
    if isinstance(values, Mapping):
        node.values = from_openapi(values)
    elif values is True:
        node.values = FREE
    items = schema.get("items")
    if isinstance(items, Mapping):
        node.items = from_openapi(items)
    if top and metadata is not None:
        node.properties["metadata"] = metadata
        node.properties.setdefault("apiVersion", Node(type=STRING))
        node.properties.setdefault("kind", Node(type=STRING))
    return node
