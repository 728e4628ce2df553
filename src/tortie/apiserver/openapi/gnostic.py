"""An OpenAPI version 2 document in the protobuf form that older kubectl reads (gnostic's openapi.v2.Document).

In: the document as a JSON tree. Out: its protobuf bytes, by the field numbers of the public OpenAPIv2.proto. Only
what this server's documents contain is written. Pure.
"""

import struct
from typing import Any

import msgspec

Object = dict[str, Any]


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _block(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _text(field: int, value: Any) -> bytes:
    return _block(field, str(value).encode()) if value else b""


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value & (1 << 64) - 1)


def _double(field: int, value: float) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<d", value)


def _any(value: Any) -> bytes:
    return _block(2, msgspec.json.encode(value))  # JSON is YAML


def _extensions(field: int, tree: Object) -> bytes:
    out = []
    for key, value in tree.items():
        if key.startswith("x-"):
            out.append(_block(field, _text(1, key) + _block(2, _any(value))))
    return b"".join(out)


_TEXT_FIELDS = {"$ref": 1, "format": 2, "title": 3, "description": 4, "pattern": 13}
_DOUBLES = {"multipleOf": 6, "maximum": 7, "minimum": 9}
_BOOLEANS = {"exclusiveMaximum": 8, "exclusiveMinimum": 10, "uniqueItems": 16}
_INTEGERS = {"maxLength": 11, "minLength": 12, "maxItems": 14, "minItems": 15, "maxProperties": 17, "minProperties": 18}


def schema(tree: Object) -> bytes:
    """One Schema message."""
    out = [_text(number, tree.get(key)) for key, number in _TEXT_FIELDS.items()]
    if "default" in tree:
        out.append(_block(5, _any(tree["default"])))
    out += [_double(number, float(tree[key])) for key, number in _DOUBLES.items() if key in tree]
    out += [_number(number, 1) for key, number in _BOOLEANS.items() if tree.get(key)]
    out += [_number(number, int(tree[key])) for key, number in _INTEGERS.items() if key in tree]
    out += [_text(19, name) for name in tree.get("required") or ()]
    out += [_block(20, _any(value)) for value in tree.get("enum") or ()]
    below = tree.get("additionalProperties")
    if isinstance(below, dict):
        out.append(_block(21, _block(1, schema(below))))
    elif below is not None:
        out.append(_block(21, _number(2, int(bool(below)))))
    if tree.get("type"):
        out.append(_block(22, _text(1, tree["type"])))
    if isinstance(tree.get("items"), dict):
        out.append(_block(23, _block(1, schema(tree["items"]))))
    properties = tree.get("properties")
    if properties:
        named = [_block(1, _text(1, name) + _block(2, schema(sub))) for name, sub in properties.items()]
        out.append(_block(25, b"".join(named)))
    out.append(_extensions(31, tree))
    return b"".join(out)


def _parameter(tree: Object) -> bytes:
    """One ParametersItem: of the path, of the query, or the body."""
    said = _text(3, tree.get("description")) + _text(4, tree["name"])
    if tree["in"] == "body":
        body = _text(2, tree["in"]) + _text(3, tree["name"]) + (_number(4, 1) if tree.get("required") else b"")
        return _block(1, _block(1, body + _block(5, schema(tree["schema"]))))
    if tree["in"] == "path":
        return _block(1, _block(2, _block(4, _number(1, 1) + _text(2, tree["in"]) + said + _text(5, tree.get("type")))))
    return _block(1, _block(2, _block(3, _text(2, tree["in"]) + said + _text(6, tree.get("type")))))


def _answer(tree: Object) -> bytes:
    """One Response."""
    held = tree.get("schema")
    return _text(1, tree.get("description")) + (_block(2, _block(1, schema(held))) if held else b"")


def _operation(tree: Object) -> bytes:
    out = [_text(1, tag) for tag in tree.get("tags") or ()]
    out.append(_text(5, tree.get("operationId")))
    out += [_text(6, media) for media in tree.get("produces") or ()]
    out += [_text(7, media) for media in tree.get("consumes") or ()]
    out += [_block(8, _parameter(p)) for p in tree.get("parameters") or ()]
    responses = [
        _block(1, _text(1, code) + _block(2, _block(1, _answer(answer))))
        for code, answer in (tree.get("responses") or {}).items()
    ]
    out.append(_block(9, b"".join(responses)))
    out.append(_extensions(13, tree))
    return b"".join(out)


_METHODS = {"get": 2, "put": 3, "post": 4, "delete": 5, "options": 6, "head": 7, "patch": 8}


def document(tree: Object) -> bytes:
    """The whole Document message."""
    info = tree["info"]
    paths = []
    for path, item in tree["paths"].items():
        operations = b"".join(_block(_METHODS[m], _operation(o)) for m, o in item.items() if m in _METHODS)
        operations += b"".join(_block(9, _parameter(p)) for p in item.get("parameters") or ())
        paths.append(_block(2, _text(1, path) + _block(2, operations)))
    named = [_block(1, _text(1, name) + _block(2, schema(sub))) for name, sub in tree["definitions"].items()]
    return b"".join(
        (
            _text(1, tree["swagger"]),
            _block(2, _text(1, info["title"]) + _text(2, info["version"])),
            _block(8, b"".join(paths)),
            _block(9, b"".join(named)),
        )
    )
