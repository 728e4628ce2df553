"""Deletion: at once, after finalizers, or after a pod's grace period; one object or a collection.

In: a call and its DeleteOptions. Out: a Status, or the object that stays for its finalizers or its grace period.
The garbage collector and the kubelet finish what is only marked here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tortie.apiserver import admission, conversion, errors, managed, objects
from tortie.apiserver.context import SYSTEM, Call
from tortie.apiserver.kinds import Kind
from tortie.apiserver.records import Collection, Key, Record

Object = dict[str, Any]
FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


@dataclass(frozen=True, slots=True)
class Options:
    """DeleteOptions, from the body or the query."""

    grace: int | None = None
    propagation: str = ""
    uid: str = ""
    resource_version: str = ""


def read_options(body: Any, query: Mapping[str, str]) -> tuple[Options, bool]:
    """The options, and whether they ask for a dry run. Raises StatusError 400 and 422."""
    body = body if isinstance(body, dict) else {}
    kind = body.get("kind")
    if kind not in {None, "", "DeleteOptions"}:
        raise errors.bad_request(f"the body of a delete must be DeleteOptions, not {kind}")
    grace = body.get("gracePeriodSeconds", query.get("gracePeriodSeconds"))
    propagation = body.get("propagationPolicy") or query.get("propagationPolicy") or ""
    orphan = body.get("orphanDependents", query.get("orphanDependents"))
    if orphan is not None:
        if propagation:
            raise errors.invalid(
                "meta.k8s.io",
                "DeleteOptions",
                "",
                [
                    errors.invalid_value(
                        "propagationPolicy", propagation, "orphanDependents and deletionPropagation cannot be both set"
                    )
                ],
            )
        propagation = "Orphan" if orphan in {True, "true", "1"} else "Background"
    if propagation not in {"", "Background", "Foreground", "Orphan"}:
        raise errors.invalid(
            "meta.k8s.io",
            "DeleteOptions",
            "",
            [errors.not_supported("propagationPolicy", propagation, ["Foreground", "Background", "Orphan"])],
        )
    dry = body.get("dryRun") or ([query["dryRun"]] if query.get("dryRun") else [])
    if dry and dry != ["All"]:
        raise errors.invalid("meta.k8s.io", "DeleteOptions", "", [errors.not_supported("dryRun", dry, ["All"])])
    try:
        seconds = None if grace is None else int(grace)
    except (TypeError, ValueError):
        raise errors.bad_request(f"gracePeriodSeconds must be an integer, not {grace!r}") from None
    wanted = body.get("preconditions") or {}
    options = Options(seconds, propagation, wanted.get("uid") or "", wanted.get("resourceVersion") or "")
    return options, bool(dry)


async def delete(call: Call, options: Options) -> tuple[int, Object]:
    """Deletes one object; returns the HTTP code and the body to answer with."""
    kind = call.kind
    collection = call.context.collection(kind)
    key: Key = (call.info.namespace if kind.namespaced else "", call.info.name)
    await call.store.fresh(collection, key)
    record = collection.get(key)
    if record is not None:
        if kind.conversion is not None:
            await conversion.shown(kind, record.decode())  # fails here, rather than after the deletion
        await _ask(call, record, options)
    async with call.store.lock(collection, key):
        record = collection.get(key)
        if record is None:
            raise errors.not_found(kind.group, kind.plural, key[1])
        code, body, before = await _delete_locked(call, collection, record, options)
    await _follow_up(call, body, before)
    return code, body if body["kind"] == "Status" else await conversion.shown(kind, body)


async def _ask(call: Call, record: Record, options: Options) -> None:
    """Admission of a deletion: before the lock is taken, because it may take a while."""
    if not admission.asks(call, "DELETE"):
        return
    tree: Object = {"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"}
    if options.grace is not None:
        tree["gracePeriodSeconds"] = options.grace
    if options.propagation:
        tree["propagationPolicy"] = options.propagation
    wanted = {"uid": options.uid, "resourceVersion": options.resource_version}
    if any(wanted.values()):
        tree["preconditions"] = {key: value for key, value in wanted.items() if value}
    if call.dry_run:
        tree["dryRun"] = ["All"]
    old = await conversion.shown(call.kind, record.decode())
    _check_preconditions(call.kind, record, old, options)
    await admission.delete(call, old, tree)


async def _follow_up(call: Call, obj: Object, before: Object | None) -> None:
    """Tells the kind's hook about an object that was marked for deletion and stays."""
    committed = call.kind.hooks.committed
    if before is not None and committed is not None:
        await committed(call, obj, before)


def _check_preconditions(kind: Kind, record: Record, obj: Object, options: Options) -> None:
    meta = obj["metadata"]
    if options.uid and options.uid != meta["uid"]:
        raise errors.conflict(
            kind.group,
            kind.plural,
            meta["name"],
            f"Precondition failed: UID in precondition: {options.uid}, UID in object meta: {meta['uid']}",
        )
    if options.resource_version and options.resource_version != str(record.revision):
        raise errors.conflict(
            kind.group,
            kind.plural,
            meta["name"],
            f"Precondition failed: ResourceVersion in precondition: {options.resource_version}, "
            f"ResourceVersion in object meta: {record.revision}",
        )


def _finalizers(kind: Kind, obj: Object, options: Options) -> list[str]:
    """The finalizers after the propagation policy had its say."""
    current = [f for f in obj["metadata"].get("finalizers") or () if f not in {FOREGROUND, ORPHAN}]
    before = set(obj["metadata"].get("finalizers") or ())
    policy = options.propagation
    if not policy:
        if FOREGROUND in before:
            policy = "Foreground"
        elif ORPHAN in before or (kind.orphan_by_default and not before):
            policy = "Orphan" if ORPHAN in before or kind.orphan_by_default else ""
    if policy == "Foreground":
        current.append(FOREGROUND)
    elif policy == "Orphan":
        current.append(ORPHAN)
    return current


def _grace(kind: Kind, obj: Object, options: Options) -> int:
    """Seconds that a pod may still run; 0 for everything else."""
    if not kind.graceful:
        return 0
    spec = obj.get("spec") or {}
    if not spec.get("nodeName") or objects.get(obj, "status", "phase") in {"Failed", "Succeeded"}:
        return 0
    wanted = options.grace
    if wanted is None:
        wanted = spec.get("terminationGracePeriodSeconds", 30)
    return max(int(wanted), 0) if wanted >= 0 else 1


async def _delete_locked(
    call: Call, collection: Collection, record: Record, options: Options
) -> tuple[int, Object, Object | None]:
    """The HTTP code, the body, and for an object that was only marked its state before."""
    kind = call.kind
    obj = record.decode()
    meta = obj["metadata"]
    if kind.hooks.authorize is not None:
        await kind.hooks.authorize(call, None, obj)
    _check_preconditions(kind, record, obj, options)
    if kind.hooks.check_delete is not None:
        kind.hooks.check_delete(call, obj)
    finalizers = _finalizers(kind, obj, options)
    namespace_content = kind.plural == "namespaces" and not kind.group and bool(objects.get(obj, "spec", "finalizers"))
    grace = _grace(kind, obj, options)
    deleting = bool(meta.get("deletionTimestamp"))
    if deleting and grace and grace >= int(meta.get("deletionGracePeriodSeconds", 0)):
        grace = int(meta.get("deletionGracePeriodSeconds", 0))
    stays = bool(finalizers) or namespace_content or grace > 0
    if call.dry_run:
        return 200, obj if stays else errors.success(meta["name"], kind.group, kind.plural, meta["uid"]), None
    if not stays:
        if kind.hooks.retire is not None:
            await kind.hooks.retire(call, obj)
            await call.store.remove(collection, record.key)
        else:
            await call.store.remove(collection, record.key, record.revision if options.resource_version else 0)
        if kind.graceful:
            return 200, obj, None
        return 200, errors.success(meta["name"], kind.group, kind.plural, meta["uid"]), None
    before: Object | None = record.decode()
    if finalizers:
        meta["finalizers"] = finalizers
    else:
        meta.pop("finalizers", None)
    now = call.context.now()
    if not deleting:
        meta["deletionTimestamp"] = objects.timestamp(now + grace)
        meta["deletionGracePeriodSeconds"] = grace
        if kind.has_generation:
            meta["generation"] = int(meta.get("generation", 0)) + 1
    elif grace < int(meta.get("deletionGracePeriodSeconds", 0)):
        requested = objects.parse_time(meta["deletionTimestamp"]) - int(meta["deletionGracePeriodSeconds"])
        meta["deletionTimestamp"] = objects.timestamp(requested + grace)
        meta["deletionGracePeriodSeconds"] = grace
    if namespace_content:
        obj.setdefault("status", {})["phase"] = "Terminating"
    if before is not None and not managed.same(before, obj):
        stored = await call.store.put(collection, record.key, obj)
        obj = stored.decode()
    else:
        before = None
    return (202 if options.propagation == "Foreground" else 200), obj, before


async def delete_collection(call: Call, records: Iterable[Record], options: Options) -> list[Object]:
    """Deletes every record given, skipping what has gone meanwhile; returns what was deleted."""
    collection = call.context.collection(call.kind)
    deleted = []
    for chosen in list(records):
        # The server's own clean-up must end even when no webhook is there to convert what it deletes.
        shown = await conversion.shown(call.kind, chosen.decode()) if call.user is not SYSTEM else {}
        await _ask(call, chosen, options)
        async with call.store.lock(collection, chosen.key):
            record = collection.get(chosen.key)
            if record is None:
                continue
            _, body, before = await _delete_locked(call, collection, record, options)
        await _follow_up(call, body, before)
        deleted.append(shown)
    return deleted
