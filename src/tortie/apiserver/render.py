"""Turns stored records into the bytes of answers: objects, lists, tables, metadata only, watch lines.

In: records, the kind, the negotiated output. Out: bytes. Plain JSON is copied from the record without decoding;
what a watch sends is encoded once for each shape and kept with the event for the other watchers.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import yaml

from tortie.apiserver import conversion, tables
from tortie.apiserver.kinds import Kind
from tortie.apiserver.negotiate import JSON, YAML, Output
from tortie.apiserver.records import Event, Record

Object = dict[str, Any]
PIECE = 100  # objects of a list that are rendered between two looks at other requests


def encode(tree: Any, output: Output) -> bytes:
    """A tree as JSON or YAML."""
    if output.media == YAML:
        return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True).encode()
    if output.pretty:
        return json.dumps(tree, indent=2, ensure_ascii=False).encode() + b"\n"
    return msgspec.json.encode(tree)


def convert(kind: Kind, record: Record) -> Object:
    """The record as an object of the kind's version; where a webhook is needed for it, `conversion` comes before."""
    return conversion.local(kind, record.decode())


def data(kind: Kind, record: Record) -> bytes:
    """The record's JSON in the kind's version."""
    if kind.convert_out is None and not (kind.custom and _other_version(kind, record)):
        return record.data
    return msgspec.json.encode(convert(kind, record))


def _other_version(kind: Kind, record: Record) -> bool:
    return f'"apiVersion":"{kind.api_version}"'.encode() not in record.data[:200]


def metadata_only(obj: Object, version: str) -> Object:
    return {"kind": "PartialObjectMetadata", "apiVersion": f"meta.k8s.io/{version}", "metadata": obj["metadata"]}


def one(kind: Kind, obj: Object, output: Output, now: float) -> bytes:
    """One object in the negotiated shape."""
    if output.shape == "Table":
        return encode(tables.table(kind, [obj], output, now, {"resourceVersion": _revision(obj)}), output)
    if output.shape == "PartialObjectMetadata":
        return encode(metadata_only(obj, output.shape_version), output)
    return encode(obj, output)


def _revision(obj: Object) -> str:
    return str(obj["metadata"].get("resourceVersion", ""))


def many(kind: Kind, records: Sequence[Record], output: Output, now: float, list_meta: Object) -> Iterator[bytes]:
    """A list in the negotiated shape, in pieces: only a few objects are decoded at a time."""
    version = output.shape_version
    if output.media != JSON or output.pretty:
        trees = [convert(kind, r) for r in records]
        yield encode(_list_tree(kind, trees, output, now, list_meta), output)
        return
    if output.shape == "Table":
        empty = tables.table(kind, [], output, now, list_meta)
        member = b'"rows":['
    elif output.shape:
        empty = {"kind": output.shape, "apiVersion": f"meta.k8s.io/{version}", "metadata": list_meta, "items": []}
        member = b'"items":['
    else:
        empty = {"kind": kind.list_kind, "apiVersion": kind.api_version, "metadata": list_meta, "items": []}
        member = b'"items":['
    head, _, tail = msgspec.json.encode(empty).rpartition(member + b"]")
    yield head + member
    for start in range(0, len(records), PIECE):
        part = records[start : start + PIECE]
        if output.shape == "Table":
            encoded = [msgspec.json.encode(tables.row(kind, convert(kind, r), output, now)) for r in part]
        elif output.shape:
            encoded = [msgspec.json.encode(metadata_only(convert(kind, r), version)) for r in part]
        else:
            encoded = [data(kind, r) for r in part]
        yield (b"," if start else b"") + b",".join(encoded)
    yield b"]" + tail


def _list_tree(kind: Kind, trees: list[Object], output: Output, now: float, list_meta: Object) -> Object:
    if output.shape == "Table":
        return tables.table(kind, trees, output, now, list_meta)
    if output.shape:
        items = [metadata_only(t, output.shape_version) for t in trees]
        api_version = f"meta.k8s.io/{output.shape_version}"
        return {"kind": output.shape, "apiVersion": api_version, "metadata": list_meta, "items": items}
    return {"kind": kind.list_kind, "apiVersion": kind.api_version, "metadata": list_meta, "items": trees}


def line(kind: Kind, event: Event, record: Record, change: str, output: Output, now: float, *, first: bool) -> bytes:
    """One line of a watch. Shared between watchers of the same shape."""
    if output.shape == "Table":
        tree = _as_of(kind, record, event.revision, change)
        table = tables.table(kind, [tree], output, now, {"resourceVersion": _revision(tree)}, with_columns=first)
        return _line(change, msgspec.json.encode(table))
    place = (kind.api_version, output.shape, output.shape_version, change)
    found = event.encoded.get(place)
    if found is None:
        found = event.encoded[place] = added(kind, record, change, output, revision=event.revision)
    return found


def added(kind: Kind, record: Record, change: str, output: Output, *, revision: int = 0) -> bytes:
    """A watch line for a record as it is, or for a deleted one with the revision of its deletion."""
    if not output.shape and change != "DELETED":
        return _line(change, data(kind, record))
    tree = _as_of(kind, record, revision, change)
    if output.shape:
        tree = metadata_only(tree, output.shape_version)
    return _line(change, msgspec.json.encode(tree))


def _as_of(kind: Kind, record: Record, revision: int, change: str) -> Object:
    tree = convert(kind, record)
    if change == "DELETED":
        tree["metadata"]["resourceVersion"] = str(revision)
    return tree


def _line(change: str, encoded: bytes) -> bytes:
    return b'{"type":"' + change.encode() + b'","object":' + encoded + b"}\n"


def bookmark(kind: Kind, revision: int, output: Output, *, initial_end: bool = False) -> bytes:
    """A BOOKMARK line; with `initial_end` the one that closes the initial events of a streaming list."""
    meta: Object = {"resourceVersion": str(revision)}
    if initial_end:
        meta["annotations"] = {"k8s.io/initial-events-end": "true"}
    meta["creationTimestamp"] = None
    if output.shape == "Table":
        tree: Object = {
            "kind": "Table",
            "apiVersion": f"meta.k8s.io/{output.shape_version}",
            "metadata": {"resourceVersion": str(revision)},
            "columnDefinitions": None,
            "rows": [{"cells": [], "object": metadata_only({"metadata": meta}, output.shape_version)}],
        }
    elif output.shape:
        tree = metadata_only({"metadata": meta}, output.shape_version)
    else:
        tree = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": meta}
    return _line("BOOKMARK", msgspec.json.encode(tree))


def error_line(status: Object) -> bytes:
    return _line("ERROR", msgspec.json.encode(status))
