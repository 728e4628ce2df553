"""Server-side apply: merges a configuration into the live object by who owns which field.

In: a call and the applied configuration. Out: the new object, and whether it was created; conflicts are a 409 with
one cause for each field.
"""

import copy
from typing import Any

from tortie.apiserver import errors, managed, objects, writes
from tortie.apiserver.context import Call
from tortie.apiserver.errors import Cause, StatusError
from tortie.apiserver.managed import APPLY, Entry
from tortie.apiserver.schema.fieldset import (
    FieldSet,
    difference_of,
    drop,
    intersect,
    merge,
    of_value,
    paths,
    prune,
    subtract,
)

Object = dict[str, Any]


def _check(call: Call, config: Any) -> Object:
    if not call.query.get("fieldManager"):
        raise errors.invalid(
            "meta.k8s.io", "PatchOptions", "", [errors.required("fieldManager", "is required for apply patch")]
        )
    if not isinstance(config, dict):
        raise errors.bad_request("the body of an apply must be one object")
    kind = call.kind
    for key in ("apiVersion", "kind"):
        if not config.get(key):
            raise errors.bad_request(f"the body of an apply needs {key}")
    meta = config.get("metadata")
    if isinstance(meta, dict) and meta.get("managedFields"):
        raise errors.bad_request("metadata.managedFields must be nil")
    obj = writes.fit(call, config)
    name = obj["metadata"].get("name")
    if name and name != call.info.name:
        raise errors.bad_request(
            f"the name of the object ({name}) does not match the name on the URL ({call.info.name})"
        )
    obj["metadata"]["name"] = call.info.name
    if kind.namespaced:
        if obj["metadata"].get("namespace", call.info.namespace) != call.info.namespace:
            raise errors.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        obj["metadata"]["namespace"] = call.info.namespace
    return obj


def _ignored(call: Call, subresource: str) -> FieldSet:
    if call.kind.has_status and subresource not in {"status", "approval"}:
        return {**managed.IGNORED, "f:status": {}}
    return managed.IGNORED


async def apply(call: Call, config: Any, *, subresource: str = "") -> tuple[Object, bool]:
    """Applies a configuration. Raises StatusError."""
    wanted = _check(call, config)
    kind = call.kind
    key = (call.info.namespace if kind.namespaced else "", call.info.name)
    exists = call.context.collection(kind).get(key) is not None
    if not exists:
        if subresource:
            raise errors.not_found(kind.group, kind.plural, call.info.name)
        if wanted["metadata"].get("uid"):
            raise errors.conflict(
                kind.group,
                kind.plural,
                call.info.name,
                "uid mismatch: the provided object specified uid "
                f"{wanted['metadata']['uid']}, and no existing object was found",
            )
        fields = drop(of_value(kind.schema, wanted), _ignored(call, subresource))
        created = copy.deepcopy(wanted)
        for name in ("resourceVersion", "creationTimestamp"):
            created["metadata"].pop(name, None)
        entry = Entry(call.manager, APPLY, kind.api_version, "", objects.timestamp(call.context.now()), fields)
        managed.write(created, [entry])
        try:
            return await writes.create(call, created, manager_op=APPLY), True
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise
    return await writes.update(call, _merger(call, wanted, subresource), subresource=subresource), False


def _merger(call: Call, wanted: Object, subresource: str) -> writes.Change:
    schema = call.kind.schema
    force = call.query.get("force") in {"1", "true", "True"}

    def change(live: Object) -> Object:
        ignored = _ignored(call, subresource)
        fields = drop(of_value(schema, wanted), ignored)
        entries = managed.read(live)
        mine = Entry(
            call.manager, APPLY, call.kind.api_version, subresource, objects.timestamp(call.context.now()), fields
        )
        last = next((e for e in entries if e.identity == mine.identity), None)
        others = [e for e in entries if e is not last]
        bare = {**live, "metadata": {k: v for k, v in live["metadata"].items() if k != "managedFields"}}
        merged: Object = merge(schema, bare, wanted)
        for name in ("uid", "creationTimestamp", "generation"):
            if name in live["metadata"]:
                merged["metadata"][name] = live["metadata"][name]
        version = wanted["metadata"].get("resourceVersion")
        if version:
            merged["metadata"]["resourceVersion"] = version
        if last is not None:
            merged = prune(schema, merged, last.fields, fields, [e.fields for e in others])
        changed, removed = difference_of(schema, bare, merged)
        changed = drop(changed, ignored)
        conflicts = [(e, intersect(intersect(e.fields, changed), fields)) for e in others]
        found = [(e, c) for e, c in conflicts if c]
        if found and not force:
            raise _conflict(found)
        for entry, overlap in found:
            entry.fields = subtract(entry.fields, overlap)
        for entry in others:
            entry.fields = subtract(entry.fields, drop(removed, ignored))
        if last is not None and last.fields == fields and last.api_version == mine.api_version:
            mine.time = last.time
        managed.write(merged, [*others, mine])
        call.applied = True
        return merged

    return change


def _conflict(found: list[tuple[Entry, FieldSet]]) -> StatusError:
    causes = []
    texts = []
    for entry, overlap in found:
        using = f" using {entry.api_version}" if entry.operation == managed.UPDATE else ""
        sub = f' with subresource "{entry.subresource}"' if entry.subresource else ""
        when = f" at {entry.time}" if entry.operation == managed.UPDATE and entry.time else ""
        who = f'conflict with "{entry.manager}"{sub}{using}{when}'
        fields = list(paths(overlap))
        causes += [Cause("FieldManagerConflict", path, who) for path in fields]
        if len(fields) > 1:
            texts.append(f"{who}:\n" + "\n".join(f"- {p}" for p in fields))
        else:
            texts.append(f"{who}: {fields[0]}")
    many = len(causes) > 1
    text = texts[0] if len(texts) == 1 else "\n" + "\n".join(texts)
    return StatusError(
        409,
        "Conflict",
        f"Apply failed with {len(causes)} conflict{'s' if many else ''}: {text}",
        details={"causes": [{"reason": c.reason, "message": c.message, "field": c.field} for c in causes]},
    )
