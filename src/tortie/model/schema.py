"""Structural OpenAPI v3 schemas and printer columns of the v3 kinds.

For the API server (pruning, defaults, `kubectl explain`, tables) and for admission. In: the structs of `v3`, with the
descriptions and keywords beside their fields. Out: plain dictionaries as CustomResourceDefinitions carry them.
"""

from functools import cache
from typing import Any

from msgspec import inspect

from tortie.model.facts import AGE
from tortie.model.resource import Resource

Schema = dict[str, Any]

_IDENTITY: Schema = {
    "apiVersion": {"type": "string", "description": "Version of the API that the object is written in."},
    "kind": {"type": "string", "description": "Kind of the object."},
    "metadata": {"type": "object", "description": "Name, labels, annotations and other metadata of the object."},
}


@cache
def openapi_schema(resource: Resource[Any]) -> Schema:
    """The schema of one object of the resource. The caller must not change it."""
    information = inspect.type_info(resource.type)
    assert isinstance(information, inspect.StructType)
    schema = _struct(information)
    schema["properties"] = {**_IDENTITY, **{k: v for k, v in schema["properties"].items() if k not in _IDENTITY}}
    schema.pop("required", None)
    return schema


def _schema(information: inspect.Type) -> Schema:
    match information:
        case inspect.Metadata(type=inner, extra_json_schema=keywords):
            return _with_keywords(_schema(inner), dict(keywords or {}))
        case inspect.BoolType():
            return {"type": "boolean"}
        case inspect.IntType():
            return {"type": "integer"}
        case inspect.FloatType():
            return {"type": "number"}
        case inspect.StrType():
            return {"type": "string"}
        case inspect.VarTupleType(item_type=item) | inspect.ListType(item_type=item):
            return {"type": "array", "items": _schema(item)}
        case inspect.DictType(value_type=value):
            return {"type": "object", "additionalProperties": _schema(value)}
        case inspect.StructType():
            return _struct(information)
        case inspect.UnionType(types=types):
            return _union([member for member in types if not isinstance(member, inspect.NoneType)])
        case _:
            raise TypeError(f"no schema for {information}")


def _union(members: list[inspect.Type]) -> Schema:
    if len(members) == 1:
        return _schema(members[0])
    if {type(member) for member in members} == {inspect.IntType, inspect.StrType}:
        return {"x-kubernetes-int-or-string": True}
    raise TypeError(f"no schema for a union of {members}")


def _with_keywords(schema: Schema, keywords: Schema) -> Schema:
    """Keywords of a field beside its type; those under `items` are for the members of a list."""
    keywords.pop("required", None)
    items = keywords.pop("items", None)
    merged = {**schema, **keywords}
    if items is not None:
        merged["items"] = {**merged["items"], **items}
    return merged


def _struct(information: inspect.StructType) -> Schema:
    properties: Schema = {}
    required: list[str] = []
    for field in information.fields:
        properties[field.encode_name] = _schema(field.type)
        if _is_required(field.type):
            required.append(field.encode_name)
    schema: Schema = {"type": "object", "properties": properties}
    if information.cls.__doc__:
        schema["description"] = " ".join(information.cls.__doc__.split())
    if required:
        schema["required"] = required
    return schema


def _is_required(information: inspect.Type) -> bool:
    return isinstance(information, inspect.Metadata) and bool((information.extra_json_schema or {}).get("required"))


# --- printer columns -------------------------------------------------------------------------------------------


def printer_columns(resource: Resource[Any]) -> list[Schema]:
    """The columns of `kubectl get` after Name, as a CustomResourceDefinition writes them; Age alone if none are set."""
    return [column.as_definition() for column in resource.facts.columns or (AGE,)]
