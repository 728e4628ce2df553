"""Schemas of kinds as OpenAPI definitions.

In: `Node` trees of built-in types and the source schemas of custom ones. Out: JSON schemas by definition name, for
OpenAPI version 2 or 3, with the extensions that kubectl reads. Pure.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from tortie.apiserver.kinds import Kind
from tortie.apiserver.schema import dsl
from tortie.apiserver.schema import node as n
from tortie.apiserver.schema.node import Node

Object = dict[str, Any]
META = "io.k8s.apimachinery.pkg.apis.meta.v1"
_V2_DROPPED = frozenset({"nullable", "oneOf", "anyOf", "not", "allOf", "default", "example", "discriminator", "xml"})


def type_name(name: str) -> str:
    """The definition name of a built-in type."""
    package = dsl.package(name)
    if package == "meta":
        return f"{META}.{name}"
    short = {"EventsEvent": "Event", "EventsEventSeries": "EventSeries", "DiscoveryEndpointPort": "EndpointPort"}
    roots = {
        "apiextensions": "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions",
        "apiregistration": "io.k8s.kube-aggregator.pkg.apis.apiregistration",
    }
    version = "v2" if package == "autoscaling" and name != "Scale" and not name.startswith("Scale") else "v1"
    return f"{roots.get(package, f'io.k8s.api.{package}')}.{version}.{short.get(name, name)}"


def kind_name(kind: Kind) -> str:
    """The definition name of a served kind."""
    if not kind.custom:
        return type_name(kind.schema.ref)
    return ".".join([*reversed(kind.group.split(".")), kind.version, kind.kind])


def gvk(kind: Kind, name: str | None = None) -> Object:
    return {"group": kind.group, "version": kind.version, "kind": name or kind.kind}


class Writer:
    """Writes schemas for one document and notes which types they refer to."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.prefix = "#/components/schemas/" if version == 3 else "#/definitions/"
        self.wanted: list[str] = []
        self.definitions: dict[str, Object] = {}

    def reference(self, name: str) -> Object:
        self.wanted.append(name)
        return {"$ref": self.prefix + type_name(name)}

    def builtin(self, name: str, kinds: Iterable[Object] = ()) -> None:
        """Adds a built-in type and everything below it."""
        place = type_name(name)
        if place not in self.definitions:
            self.definitions[place] = self._struct(name)
        marks = list(kinds)
        if marks:
            self.definitions[place]["x-kubernetes-group-version-kind"] = marks
        while self.wanted:
            following = self.wanted.pop()
            below = type_name(following)
            if below not in self.definitions:
                self.definitions[below] = {}
                self.definitions[below] = self._struct(following)

    def _struct(self, name: str) -> Object:
        node = dsl.types()[name]
        schema: Object = {"type": "object"}
        if text := dsl.description(name):
            schema["description"] = text
        properties: Object = {}
        for field, below in node.properties.items():
            properties[field] = self._property(below, dsl.description(name, field))
        if properties:
            schema["properties"] = properties
        if node.required:
            schema["required"] = list(node.required)
        if node.atomic:
            schema["x-kubernetes-map-type"] = "atomic"
        return schema

    def _property(self, node: Node, text: str) -> Object:
        schema = self.schema(node)
        extensions: Object = {}
        if node.merge:
            extensions["x-kubernetes-patch-strategy"] = "merge,retainKeys" if node.retain else "merge"
            if node.merge_key:
                extensions["x-kubernetes-patch-merge-key"] = node.merge_key
        elif node.retain:
            extensions["x-kubernetes-patch-strategy"] = "retainKeys"
        if "$ref" in schema and self.version == 3 and (text or extensions):
            schema = {"allOf": [schema]}
        if text:
            schema = {"description": text, **schema}
        return {**schema, **extensions}

    def schema(self, node: Node) -> Object:
        """One node as a schema; types are referred to."""
        if node.ref and node.type == n.OBJECT:
            return self.reference(node.ref)
        if node.int_or_string:
            if self.version == 3:
                return {"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"}
            return {"type": "string", "format": "int-or-string"}
        if node.format == "quantity":
            if self.version == 3:
                return {"oneOf": [{"type": "string"}, {"type": "number"}]}
            return {"type": "string"}
        schema: Object = {"type": node.type} if node.type else {}
        if node.format and node.format != "quantity":
            schema["format"] = "date-time" if node.format == "micro-time" else node.format
        if node.type == n.ARRAY:
            schema["items"] = self.schema(node.items) if node.items else {}
            schema["x-kubernetes-list-type"] = node.list_type
            if node.keys:
                schema["x-kubernetes-list-map-keys"] = list(node.keys)
        elif node.values is not None:
            schema["additionalProperties"] = self.schema(node.values)
        if node.atomic and node.type == n.OBJECT and node.values is not None:
            schema["x-kubernetes-map-type"] = "atomic"
        return schema

    def custom(self, kind: Kind) -> None:
        """Adds a custom or Calico kind from its source schema."""
        source = dict(kind.schema.source or {"type": "object"})
        source = plain(source) if self.version == 2 else source
        properties = {
            **_identity(),
            **dict(source.get("properties") or {}),
        }
        reference = self.reference("ObjectMeta")
        text = dsl.description("", "metadata")
        properties["metadata"] = (
            {"description": text, "allOf": [reference]} if self.version == 3 else {"description": text, **reference}
        )
        schema: Object = {**source, "properties": properties, "x-kubernetes-group-version-kind": [gvk(kind)]}
        self.definitions[kind_name(kind)] = schema
        self.builtin("ObjectMeta")

    def list_of(self, kind: Kind) -> str:
        """Adds the list of a kind; returns its definition name."""
        name = f"{kind_name(kind)}List"
        meta = {"$ref": f"{self.prefix}{META}.ListMeta"}
        self.definitions[name] = {
            "type": "object",
            "description": f"A list of {kind.kind} objects.",
            "required": ["items"],
            "properties": {
                **_identity(),
                "metadata": {"description": dsl.description("", "listMetadata"), "allOf": [meta]}
                if self.version == 3
                else {"description": dsl.description("", "listMetadata"), **meta},
                "items": {
                    "type": "array",
                    "description": dsl.description("", "items"),
                    "items": {"$ref": self.prefix + kind_name(kind)},
                },
            },
            "x-kubernetes-group-version-kind": [gvk(kind, kind.list_kind)],
        }
        if f"{META}.ListMeta" not in self.definitions:
            self.builtin("ListMeta")
        return name


def _identity() -> Object:
    return {field: {"type": "string", "description": dsl.description("", field)} for field in ("apiVersion", "kind")}


def plain(schema: Any) -> Any:
    """A structural version 3 schema as version 2 can say it."""
    if not isinstance(schema, Mapping):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {
            **{k: v for k, v in schema.items() if k == "description"},
            "type": "string",
            "format": "int-or-string",
        }
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        kept = {k: v for k, v in schema.items() if k in {"description", "x-kubernetes-preserve-unknown-fields"}}
        return {**kept, **({"type": "object"} if schema.get("type") == "object" else {})}
    result: Object = {}
    for key, value in schema.items():
        if key in _V2_DROPPED or (key == "items" and not value):
            continue
        if key == "properties":
            result[key] = {name: plain(sub) for name, sub in value.items()}
        elif key in {"items", "additionalProperties"} and isinstance(value, Mapping):
            result[key] = plain(value)
        else:
            result[key] = value
    if schema.get("nullable"):
        result.pop("type", None)
        for key in ("items", "properties"):
            result.pop(key, None)
    return result
