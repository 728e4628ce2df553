"""Reads Kubernetes' protobuf bodies of built-in kinds into the trees that JSON bodies give.

Newer kubectl writes built-in kinds as protobuf. In: the body of a request (magic `k8s\\0`, then a runtime.Unknown).
Out: a tree, by the field numbers in `types/`; answers stay JSON, which the same clients accept. Pure.
"""

import base64
import json
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from tortie.apiserver.schema import dsl
from tortie.apiserver.schema import node as n
from tortie.apiserver.schema.node import FREE, Node

MAGIC = b"k8s\x00"
Value = int | bytes


class ProtobufError(ValueError):
    """The body is not what its media type says."""


def _varint(data: bytes, at: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ProtobufError("the protobuf body ends too early")
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return result, at
        shift += 7


def fields(data: bytes) -> Iterator[tuple[int, Value]]:
    """The (number, raw value) pairs of one message."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        wire = tag & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield tag >> 3, value
        elif wire == 2:
            size, at = _varint(data, at)
            if at + size > len(data):
                raise ProtobufError("the protobuf body ends too early")
            yield tag >> 3, data[at : at + size]
            at += size
        elif wire in {1, 5}:
            size = 8 if wire == 1 else 4
            yield tag >> 3, data[at : at + size]
            at += size
        else:
            raise ProtobufError(f"unknown protobuf wire type {wire}")


def _signed(value: Value) -> int:
    if isinstance(value, bytes):
        raise ProtobufError("a number was expected")
    return value - (1 << 64) if value >= 1 << 63 else value


def _bytes(value: Value) -> bytes:
    if not isinstance(value, bytes):
        raise ProtobufError("text or a message was expected")
    return value


def _text(value: Value) -> str:
    return _bytes(value).decode()


def _time(data: bytes, *, micro: bool) -> str | None:
    found = dict(fields(data))
    if not found:
        return None
    seconds = _signed(found.get(1, 0))
    if seconds == -62135596800:  # year 1: what Go calls no time
        return None
    moment = datetime.fromtimestamp(seconds, UTC)
    if micro:
        return moment.strftime("%Y-%m-%dT%H:%M:%S") + f".{_signed(found.get(2, 0)) // 1000:06d}Z"
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _int_or_string(data: bytes) -> int | str:
    found = dict(fields(data))
    return _text(found.get(3, b"")) if found.get(1) == 1 else _signed(found.get(2, 0))


def _scalar(node: Node, value: Value) -> Any:
    if node.int_or_string:
        return _int_or_string(_bytes(value))
    if node.type == n.BOOLEAN:
        return bool(value)
    if node.type == n.INTEGER:
        return _signed(value)
    if node.type == n.NUMBER:
        return struct.unpack("<d", _bytes(value))[0]
    if node.format in {"date-time", "micro-time"}:
        return _time(_bytes(value), micro=node.format == "micro-time")
    if node.format == "byte":
        return base64.b64encode(_bytes(value)).decode()
    if node.format == "quantity":
        return _text(dict(fields(_bytes(value))).get(1, b""))
    if node.type == n.STRING:
        return _text(value)
    raw = dict(fields(_bytes(value))).get(1, b"{}")  # RawExtension, FieldsV1: one field that holds JSON
    return json.loads(_bytes(raw) or b"null")


def _value(node: Node, value: Value) -> Any:
    if node.type == n.OBJECT and node.ref:
        return message(node.ref, _bytes(value))
    return _scalar(node, value)


def message(type_name: str, data: bytes) -> dict[str, Any]:
    """One message as the tree that its JSON would be."""
    known = dsl.numbers(type_name)
    properties = dsl.types()[type_name].properties
    tree: dict[str, Any] = {}
    for number, value in _flat(data, known, ""):
        name, keep_zero = known[number]
        node = properties[name]
        if node.type == n.ARRAY:
            _append(tree.setdefault(name, []), node.items or FREE, value)
        elif node.type == n.OBJECT and node.values is not None:
            entry = dict(fields(_bytes(value)))
            tree.setdefault(name, {})[_text(entry.get(1, b""))] = _map_value(node.values, entry.get(2))
        else:
            found = _value(node, value)
            if found is None or (not keep_zero and found in ("", 0, False) and not isinstance(found, dict)):
                continue
            tree[name] = found
    return tree


def _map_value(node: Node, value: Value | None) -> Any:
    if value is None:
        return [] if node.type == n.ARRAY else ""
    if node.type == n.ARRAY:  # ExtraValue: a message with one repeated field
        return [_text(item) for _, item in fields(_bytes(value))]
    return _value(node, value)


def _append(found: list[Any], node: Node, value: Value) -> None:
    if node.type == n.INTEGER and isinstance(value, bytes):  # packed
        at = 0
        while at < len(value):
            number, at = _varint(value, at)
            found.append(_signed(number))
        return
    found.append(_value(node, value))


def _flat(data: bytes, known: dict[str, tuple[str, bool]], prefix: str) -> Iterator[tuple[str, Value]]:
    """Pairs by dotted number, inlined messages opened."""
    for number, value in fields(data):
        dotted = f"{prefix}{number}"
        if dotted in known:
            yield dotted, value
        elif isinstance(value, bytes) and any(k.startswith(f"{dotted}.") for k in known):
            yield from _flat(value, known, f"{dotted}.")


def decode(body: bytes, type_name: str = "") -> dict[str, Any]:
    """A whole body: its apiVersion, kind, and the object. `type_name` is the schema's name for the kind."""
    if not body.startswith(MAGIC):
        raise ProtobufError("the body does not begin with the mark of Kubernetes' protobuf")
    try:
        envelope = dict(fields(body[len(MAGIC) :]))
        meta = dict(fields(_bytes(envelope.get(1, b""))))
        api_version, kind = _text(meta.get(1, b"")), _text(meta.get(2, b""))
        name = type_name or kind
        if name not in dsl.types():
            raise ProtobufError(f"no protobuf form of {kind} is known")
        tree = message(name, _bytes(envelope.get(2, b"")))
    except (UnicodeDecodeError, struct.error, json.JSONDecodeError, OverflowError) as error:
        raise ProtobufError(f"the protobuf body is damaged: {error}") from None
    return {"kind": kind, "apiVersion": api_version, **tree}
