"""Create and update: the way of an object from a request's body to its stored state.

In: a call and a decoded tree (or a function that makes the new state from the old one, for patches). Out: the stored
object. The order is: shape of the body, metadata, defaults, the kind's own preparation, owners of fields, validation,
storage; all of it while holding the lock of the object's key, so a patch never races. Where a webhook has a say, the
lock is held for the storage alone, and a change that met another one is made again.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tortie.apiserver import admission, conversion, errors, managed, objects
from tortie.apiserver.context import Call
from tortie.apiserver.errors import StatusError
from tortie.apiserver.kinds import Kind
from tortie.apiserver.records import Key, Record
from tortie.apiserver.schema.prune import TypeMismatch, prune

Object = dict[str, Any]


def fit(call: Call, body: Any, duplicates: list[str] | None = None) -> Object:
    """Checks that the body is an object of the call's kind, and drops what its schema does not know."""
    kind = call.kind
    if not isinstance(body, dict):
        raise errors.bad_request(f"the body of the request must be one {kind.kind} object")
    body.setdefault("apiVersion", kind.api_version)
    body.setdefault("kind", kind.kind)
    if body["kind"] != kind.kind:
        raise errors.bad_request(
            f"the kind in the data ({body['kind']}) does not match the expected kind ({kind.kind})"
        )
    if body["apiVersion"] != kind.api_version:
        raise errors.bad_request(
            f"the API version in the data ({body['apiVersion']}) does not match the expected API version "
            f"({kind.api_version})"
        )
    if not isinstance(body.get("metadata"), dict):
        body["metadata"] = {}
    unknown: list[str] = []
    try:
        prune(kind.schema, body, unknown, strict_types=not kind.custom)
        if kind.custom:
            prune(kind.schema.properties["metadata"], body["metadata"], [], "metadata")
    except TypeMismatch as mismatch:
        raise errors.bad_request(
            f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: {mismatch}'
        ) from None
    complain(call, unknown, duplicates or [])
    return body


def complain(call: Call, unknown: list[str], duplicates: list[str]) -> None:
    """Unknown and repeated fields: refused (Strict), warned about (Warn), or nothing (Ignore)."""
    if call.field_validation == "Ignore" or not (unknown or duplicates):
        return
    texts = [f'unknown field "{u}"' for u in unknown] + [f'duplicate field "{d}"' for d in duplicates]
    if call.field_validation == "Strict":
        kind = call.kind
        raise errors.bad_request(
            f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: strict decoding error: '
            + ", ".join(texts)
        )
    for text in texts:
        call.warn(text)


async def create(call: Call, body: Any, duplicates: list[str] | None = None, *, manager_op: str = "Update") -> Object:
    """Creates the object; returns its stored state. Raises StatusError."""
    kind = call.kind
    obj = fit(call, body, duplicates)
    meta = obj["metadata"]
    _place(call, obj)
    await _know_namespace(call, meta.get("namespace", ""))
    if meta.get("resourceVersion"):
        raise errors.bad_request("resourceVersion should not be set on objects to be created")
    if call.info.name and meta.get("name") and meta["name"] != call.info.name:
        raise errors.bad_request(
            f"the name of the object ({meta['name']}) does not match the name on the URL ({call.info.name})"
        )
    prefix = "" if meta.get("name") else str(meta.get("generateName") or "")
    if prefix:
        meta["name"] = objects.generated(prefix)
    for name in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"):
        meta.pop(name, None)
    meta["uid"] = objects.new_uid()
    meta["creationTimestamp"] = objects.timestamp(call.context.now())
    meta.pop("generation", None)
    if kind.has_generation:
        meta["generation"] = 1
    if kind.has_status and not kind.status_on_create:
        obj.pop("status", None)
    if kind.hooks.authorize is not None:
        await kind.hooks.authorize(call, obj, None)
    for attempt in range(8):
        key: Key = (meta.get("namespace", ""), meta.get("name", ""))
        made = await _create_as(call, obj, key, manager_op)
        if made is not None:
            if kind.hooks.committed is not None and not call.dry_run:
                await kind.hooks.committed(call, made, None)
            return made
        if not prefix:
            raise errors.already_exists(kind.group, kind.plural, key[1])
        if attempt < 7:
            meta["name"] = objects.generated(prefix)
    error = errors.already_exists(kind.group, kind.plural, meta["name"])
    error.details = {**(error.details or {}), "retryAfterSeconds": 1}
    raise error


async def _create_as(call: Call, obj: Object, key: Key, manager_op: str) -> Object | None:
    """The stored object; None if the name is taken."""
    collection = call.context.collection(call.kind)
    if not admission.calls_out(call, "CREATE"):
        async with call.store.lock(collection, key):
            if collection.get(key) is not None:
                return None
            return await _store_new(call, await _admit_new(call, obj, manager_op), key)
    if collection.get(key) is not None:
        return None
    admitted = await _admit_new(call, copy.deepcopy(obj), manager_op)
    async with call.store.lock(collection, key):
        if collection.get(key) is not None:
            admitted.undo()
            return None
        return await _store_new(call, admitted, key)


@dataclass(frozen=True, slots=True)
class _Admitted:
    """An object that may be stored. undo: takes back what was reserved for it; release: quotas no longer hold it."""

    obj: Object
    stored: Object
    undo: Callable[[], None]
    release: Callable[[], None]


async def _admit_new(call: Call, obj: Object, manager_op: str) -> _Admitted:
    kind = call.kind
    hooks = kind.hooks
    admission.admit_create(call, obj)
    hooks.default(obj)
    asked, obj = obj, await admission.mutate(call, "CREATE", obj, None)
    if obj is not asked:
        obj = _refit(call, obj, asked)
        hooks.default(obj)
        if hooks.authorize is not None:
            await hooks.authorize(call, obj, None)
    if hooks.prepare is not None:
        hooks.prepare(call, obj, None)

    def undo() -> None:
        if hooks.undo is not None:
            hooks.undo(call, obj, None)

    try:
        causes = objects.validate_metadata(obj, namespaced=kind.namespaced, name_rule=kind.name_rule)
        causes += hooks.validate(obj, None)
        if causes:
            raise errors.invalid(kind.group, kind.kind, obj["metadata"].get("name", ""), causes)
        managed.on_create(call, obj, manager_op)
        if obj is not asked and manager_op == managed.APPLY:
            managed.on_update(call, asked, obj, "")
        obj = objects.order(obj)
        stored = await conversion.stored(kind, obj)
        release = await admission.validate(call, "CREATE", obj, None)
    except BaseException:
        undo()
        raise
    return _Admitted(obj, stored, undo, release)


async def _store_new(call: Call, admitted: _Admitted, key: Key) -> Object:
    kind = call.kind
    obj = admitted.obj
    try:
        if call.dry_run:
            admitted.undo()
            return obj
        record = await call.store.put(call.context.collection(kind), key, admitted.stored)
    except StatusError:
        admitted.undo()
        raise
    finally:
        admitted.release()
    obj["metadata"]["resourceVersion"] = str(record.revision)
    return obj


_KEPT = ("uid", "creationTimestamp", "generation", "resourceVersion", "deletionTimestamp",
         "deletionGracePeriodSeconds", "managedFields", "selfLink")  # fmt: skip


def _refit(call: Call, obj: Object, asked: Object) -> Object:
    """An object that admission changed: of its kind's shape, under its name, the server's fields as they were."""
    kind = call.kind
    for field in ("apiVersion", "kind"):
        obj[field] = asked[field]
    try:
        prune(kind.schema, obj, [], strict_types=not kind.custom)
        if kind.custom:
            prune(kind.schema.properties["metadata"], obj["metadata"], [], "metadata")
    except (TypeMismatch, KeyError, TypeError) as problem:
        raise errors.internal(f"admission made something that is not a {kind.kind}: {problem}") from None
    meta, before = obj["metadata"], asked["metadata"]
    for field in ("name", "namespace"):
        if meta.get(field, "") != before.get(field, ""):
            raise errors.internal(
                f"admission tried to change metadata.{field} from {before.get(field, '')!r} to {meta.get(field, '')!r}"
            )
    for field in _KEPT:
        _keep(before, meta, field)
    return obj


def _place(call: Call, obj: Object) -> None:
    """Namespace of the body against the URL's."""
    meta = obj["metadata"]
    if not call.kind.namespaced:
        if meta.get("namespace"):
            raise errors.bad_request("namespace is not allowed on this type of object")
        meta.pop("namespace", None)
        return
    if not call.info.namespace:
        raise errors.bad_request("an empty namespace may not be set during creation")
    if meta.get("namespace", "") not in {"", call.info.namespace}:
        raise errors.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    meta["namespace"] = call.info.namespace


async def _know_namespace(call: Call, name: str) -> None:
    """A namespace that is kept elsewhere may have been made a moment ago."""
    if name and call.context.record("/namespaces", "", name) is None:
        await call.store.fresh(call.store.collection("/namespaces"), ("", name))


Change = Callable[[Object], Object]


async def update(call: Call, change: Change, *, subresource: str = "") -> Object:
    """Replaces an object by what `change` makes of a copy of it; returns the new state."""
    kind = call.kind
    key: Key = (call.info.namespace if kind.namespaced else "", call.info.name)
    within = subresource == "binding" or not admission.calls_out(call, "UPDATE", subresource)
    for _ in range(_ATTEMPTS):
        try:
            result, old = await (_update_within if within else _update_between)(call, key, change, subresource)
        except _Moved:
            continue
        if old is not None and kind.hooks.committed is not None:
            await kind.hooks.committed(call, result, old)
        return result
    raise errors.conflict(kind.group, kind.plural, key[1])


_ATTEMPTS = 6  # of a change whose object others change at the same time


class _Moved(Exception):
    """Somebody else changed the object meanwhile: the change is to be made anew, of the state that is there now."""


async def _update_within(call: Call, key: Key, change: Change, subresource: str) -> tuple[Object, Object | None]:
    async with call.store.lock(call.context.collection(call.kind), key):
        return await _store_changed(call, await _revise(call, await _stored(call, key), change, subresource))


async def _update_between(call: Call, key: Key, change: Change, subresource: str) -> tuple[Object, Object | None]:
    """`update` that is made without the lock and stored only if the object is still the one that was changed."""
    revised = await _revise(call, await _stored(call, key), change, subresource)
    async with call.store.lock(call.context.collection(call.kind), key):
        if call.context.collection(call.kind).get(key) is revised.record:
            return await _store_changed(call, revised)
    revised.undo()
    revised.release()
    raise _Moved


async def _stored(call: Call, key: Key) -> Record:
    collection = call.context.collection(call.kind)
    await call.store.fresh(collection, key)
    record = collection.get(key)
    if record is None:
        raise errors.not_found(call.kind.group, call.kind.plural, key[1])
    return record


@dataclass(frozen=True, slots=True)
class _Revised:
    """A change that may be stored in place of `record`. stored: as it will be; None when nothing has changed."""

    record: Record
    old: Object
    new: Object
    stored: Object | None
    undo: Callable[[], None]
    release: Callable[[], None]


async def _revise(call: Call, record: Record, change: Change, subresource: str) -> _Revised:
    """The changed object, admitted and valid. Raises StatusError."""
    kind = call.kind
    hooks = kind.hooks
    old = await conversion.shown(kind, record.decode())
    new = change(copy.deepcopy(old))
    _keep_server_owned(call, old, new)
    new = _only_written(call, old, new, subresource)
    _check_version(call, record, new)
    _check_finalizers(call, old, new)
    hooks.default(new)
    if subresource != "binding":
        asked, new = new, await admission.mutate(call, "UPDATE", new, old, subresource=subresource)
        if new is not asked:
            new = _only_written(call, old, _refit(call, new, asked), subresource)
            hooks.default(new)
            if call.applied:
                managed.on_update(call, asked, new, subresource)
    if hooks.authorize is not None:
        await hooks.authorize(call, new, old)
    if hooks.prepare is not None:
        hooks.prepare(call, new, old)

    def undo() -> None:
        if hooks.undo is not None:
            hooks.undo(call, new, old)

    release: Callable[[], None] | None = None
    try:
        causes = objects.validate_metadata(new, namespaced=kind.namespaced, name_rule=kind.name_rule)
        causes += hooks.validate(new, old)
        if causes:
            raise errors.invalid(kind.group, kind.kind, record.key[1], causes)
        if kind.has_generation and subresource != "status" and _spec_changed(kind, old, new):
            new["metadata"]["generation"] = int(old["metadata"].get("generation", 0)) + 1
        if not call.applied:
            managed.on_update(call, old, new, subresource)
        new = objects.order(new)
        new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
        stored = None if managed.same(old, new) else await conversion.stored(kind, new)
        if subresource != "binding":
            release = await admission.validate(call, "UPDATE", new, old, subresource=subresource)
    except BaseException:
        undo()
        raise
    return _Revised(record, old, new, stored, undo, release or (lambda: None))


def _only_written(call: Call, old: Object, new: Object, subresource: str) -> Object:
    """The new object with what the subresource may not write as it was."""
    kind = call.kind
    if subresource in {"status", "approval"}:
        return _only_status(kind.kind if not kind.group else "", old, new)
    if kind.has_status and subresource != "binding":
        _keep(old, new, "status")
    return new


async def _store_changed(call: Call, revised: _Revised) -> tuple[Object, Object | None]:
    """Stores the new state; answers it, and the old one if anything was stored."""
    stored = False
    try:
        result, stored = await _store_revised(call, revised)
    except StatusError as error:
        if error.reason == "Conflict":  # the backend has a newer state than the one that was changed
            raise _Moved from error
        raise
    finally:
        if not stored:
            revised.undo()
        revised.release()
    return result, revised.old if stored else None


async def _store_revised(call: Call, revised: _Revised) -> tuple[Object, bool]:
    kind, old, new = call.kind, revised.old, revised.new
    meta = new["metadata"]
    if revised.stored is None:
        return old, False
    if call.dry_run:
        return new, False
    collection = call.context.collection(kind)
    if meta.get("deletionTimestamp") and not meta.get("finalizers") and _may_vanish(kind, new):
        meta["resourceVersion"] = str(await call.store.remove(collection, revised.record.key))
        return new, False
    stored_record = await call.store.put(collection, revised.record.key, revised.stored)
    meta["resourceVersion"] = str(stored_record.revision)
    return new, True


def _may_vanish(kind: Kind, obj: Object) -> bool:
    """Whether nothing but finalizers kept the object: no grace period runs, no namespace content is left."""
    if kind.graceful and obj["metadata"].get("deletionGracePeriodSeconds"):
        return False
    return not (kind.plural == "namespaces" and not kind.group and objects.get(obj, "spec", "finalizers"))


def _keep(old: Object, new: Object, key: str) -> None:
    if key in old:
        new[key] = old[key]
    else:
        new.pop(key, None)


_SERVER_OWNED = (
    "name",
    "namespace",
    "creationTimestamp",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
)


def _keep_server_owned(call: Call, old: Object, new: Object) -> None:
    kind = call.kind
    meta, old_meta = new["metadata"], old["metadata"]
    name = meta.get("name")
    if name and name != old_meta["name"]:
        raise errors.bad_request(
            f"the name of the object ({name}) does not match the name on the URL ({old_meta['name']})"
        )
    if kind.namespaced and meta.get("namespace", old_meta["namespace"]) != old_meta["namespace"]:
        raise errors.bad_request(
            f"the namespace of the object ({meta['namespace']}) does not match the namespace on the URL "
            f"({old_meta['namespace']})"
        )
    uid = meta.get("uid")
    if uid and uid != old_meta["uid"]:
        raise errors.conflict(
            kind.group,
            kind.plural,
            old_meta["name"],
            f"Precondition failed: UID in precondition: {uid}, UID in object meta: {old_meta['uid']}",
        )
    meta["uid"] = old_meta["uid"]
    for key in _SERVER_OWNED:
        _keep(old_meta, meta, key)


_METADATA_WITH_STATUS = frozenset({"Pod", "Node"})
"""Core kinds whose labels and annotations may be written together with their status: node agents rely on it."""


def _only_status(core_kind: str, old: Object, new: Object) -> Object:
    result = dict(old)
    result["metadata"] = dict(old["metadata"])
    written = ("labels", "annotations") if core_kind in _METADATA_WITH_STATUS else ()
    for key in ("resourceVersion", "managedFields", *written):
        _keep(new["metadata"], result["metadata"], key)
    _keep(new, result, "status")
    return result


def _check_version(call: Call, record: Record, new: Object) -> None:
    version = new["metadata"].get("resourceVersion")
    kind = call.kind
    if not version:
        if not kind.unconditional_update and call.info.verb == "update":
            raise errors.invalid(
                kind.group,
                kind.kind,
                record.key[1],
                [errors.invalid_value("metadata.resourceVersion", 0, "must be specified for an update")],
            )
        return
    if version != str(record.revision):
        raise errors.conflict(kind.group, kind.plural, record.key[1])


def _check_finalizers(call: Call, old: Object, new: Object) -> None:
    if not old["metadata"].get("deletionTimestamp"):
        return
    added = set(new["metadata"].get("finalizers") or ()) - set(old["metadata"].get("finalizers") or ())
    if added:
        raise errors.invalid(
            call.kind.group,
            call.kind.kind,
            old["metadata"]["name"],
            [
                errors.forbidden_field(
                    "metadata.finalizers",
                    "no new finalizers can be added if the object is being deleted, found new finalizers "
                    + str(sorted(added)),
                )
            ],
        )


def _spec_changed(kind: Kind, old: Object, new: Object) -> bool:
    skip = {"metadata", "apiVersion", "kind"}
    if kind.has_status:
        skip.add("status")
    return {k: v for k, v in old.items() if k not in skip} != {k: v for k, v in new.items() if k not in skip}


def replacement(call: Call, body: Any, duplicates: list[str] | None = None) -> Change:
    """The change that a PUT asks for."""
    new = fit(call, body, duplicates)
    name = new["metadata"].get("name")
    if name is not None and name != call.info.name:
        raise errors.bad_request(
            f"the name of the object ({name}) does not match the name on the URL ({call.info.name})"
        )
    return lambda _old: new


__all__ = ["Change", "StatusError", "create", "fit", "replacement", "update"]
