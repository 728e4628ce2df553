"""Owners of fields: what `metadata.managedFields` says after each write.

In: the state of an object before and after a write, who writes, and how. Out: the new entries. An update takes the
fields that it changes; a server-side apply (see `apply`) owns exactly what it sent.
"""

import copy
from dataclasses import dataclass
from typing import Any

from tortie.apiserver import objects
from tortie.apiserver.context import Call
from tortie.apiserver.schema.fieldset import (
    FieldSet,
    difference_of,
    drop,
    of_value,
    subtract,
    union,
)
from tortie.apiserver.schema.node import FREE

Object = dict[str, Any]
UPDATE, APPLY = "Update", "Apply"
_MAX_UPDATES = 10
_OLDER = "ancient-changes"

# What no one owns: the server's own fields.
IGNORED: FieldSet = {
    "f:apiVersion": {},
    "f:kind": {},
    "f:metadata": {
        f"f:{name}": {}
        for name in (
            "name", "namespace", "creationTimestamp", "selfLink", "uid", "generation", "managedFields",
            "resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "generateName",
        )
    },
}  # fmt: skip
_IGNORED_NEW: FieldSet = {**IGNORED, "f:status": {}}
_NOTHING: Object = {"metadata": {}}


@dataclass(slots=True)
class Entry:
    """One manager's fields."""

    manager: str
    operation: str
    api_version: str
    subresource: str
    time: str
    fields: FieldSet

    @property
    def identity(self) -> tuple[str, str, str, str]:
        return (self.manager, self.operation, self.api_version if self.operation == UPDATE else "", self.subresource)

    def tree(self) -> Object:
        tree: Object = {"manager": self.manager, "operation": self.operation, "apiVersion": self.api_version}
        if self.time:
            tree["time"] = self.time
        tree["fieldsType"] = "FieldsV1"
        tree["fieldsV1"] = self.fields
        if self.subresource:
            tree["subresource"] = self.subresource
        return tree


def read(obj: Object) -> list[Entry]:
    """The entries of an object; damaged ones are dropped."""
    entries = []
    for tree in obj["metadata"].get("managedFields") or ():
        if not isinstance(tree, dict) or tree.get("operation") not in {UPDATE, APPLY}:
            continue
        entries.append(
            Entry(
                str(tree.get("manager", "")),
                str(tree["operation"]),
                str(tree.get("apiVersion", "")),
                str(tree.get("subresource", "")),
                str(tree.get("time") or ""),
                tree.get("fieldsV1") or {},
            )
        )
    return entries


def write(obj: Object, entries: list[Entry]) -> None:
    """Sets the entries, the oldest first as readers know it, empty ones left out."""
    kept = [e for e in entries if e.fields]
    kept.sort(key=lambda e: (e.operation != APPLY, e.time, e.manager, e.subresource))
    if kept:
        obj["metadata"]["managedFields"] = [e.tree() for e in kept]
    else:
        obj["metadata"].pop("managedFields", None)


def fields_of(call: Call, obj: Object) -> FieldSet:
    """Every field of an object that someone can own."""
    return drop(of_value(call.kind.schema or FREE, _bare(obj)), IGNORED)


def _bare(obj: Object) -> Object:
    if "managedFields" not in obj["metadata"]:
        return obj
    return {**obj, "metadata": {k: v for k, v in obj["metadata"].items() if k != "managedFields"}}


def on_create(call: Call, obj: Object, operation: str) -> None:
    """The creator owns everything (an applier's entry is set by `apply`)."""
    if operation == APPLY:
        return
    obj["metadata"].pop("managedFields", None)
    fields = _creation_fields(call, obj)
    entry = Entry(call.manager, UPDATE, call.kind.api_version, "", objects.timestamp(call.context.now()), fields)
    write(obj, [entry])


def _creation_fields(call: Call, obj: Object) -> FieldSet:
    changed, _ = difference_of(call.kind.schema, _NOTHING, _bare(obj))
    return drop(changed, _IGNORED_NEW if call.kind.has_status else IGNORED)


def on_update(call: Call, old: Object, new: Object, subresource: str) -> None:
    """The writer takes what it changed; others lose it."""
    if _asked_to_clear(new):
        entries: list[Entry] = []
    elif "managedFields" in new["metadata"]:
        entries = read(new)
    else:
        entries = read(old)
    changed, removed = difference_of(call.kind.schema, _bare(old), _bare(new))
    changed, removed = drop(changed, IGNORED), drop(removed, IGNORED)
    if not changed and not removed:
        write(new, entries)
        return
    label = subresource if subresource in {"status", "scale", "approval"} else ""
    mine = Entry(call.manager, UPDATE, call.kind.api_version, label, objects.timestamp(call.context.now()), changed)
    result = []
    for entry in entries:
        if entry.identity == mine.identity:
            mine.fields = union(subtract(entry.fields, removed), changed)
            continue
        entry.fields = subtract(subtract(entry.fields, changed), removed)
        result.append(entry)
    result.append(mine)
    write(new, _capped(result))


def _capped(entries: list[Entry]) -> list[Entry]:
    """At most ten update entries; the oldest are put together."""
    updates = sorted((e for e in entries if e.operation == UPDATE and e.fields), key=lambda e: e.time)
    if len(updates) <= _MAX_UPDATES:
        return entries
    old = updates[: len(updates) - _MAX_UPDATES + 1]
    fields: FieldSet = {}
    for entry in old:
        fields = union(fields, entry.fields)
    last = old[-1]
    together = Entry(_OLDER, UPDATE, last.api_version, "", last.time, fields)
    return [*[e for e in entries if e not in old], together]


def _asked_to_clear(new: Object) -> bool:
    given = new["metadata"].get("managedFields")
    return isinstance(given, list) and (not given or given == [{}])


def same(old: Object, new: Object) -> bool:
    """Whether a write changes nothing worth storing: times of entries do not count."""
    if old == new:
        return True
    before = {k: v for k, v in old.items() if k != "metadata"}
    after = {k: v for k, v in new.items() if k != "metadata"}
    if before != after:
        return False
    return _untimed(old["metadata"]) == _untimed(new["metadata"])


def _untimed(meta: Object) -> Object:
    meta = copy.copy(meta)
    entries = meta.pop("managedFields", None) or ()
    meta["managedFields"] = [{k: v for k, v in e.items() if k != "time"} for e in entries]
    return meta
