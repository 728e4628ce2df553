"""ResourceQuotas: a namespace's objects and compute, counted as they come and go, and refused beyond the bound.

In: writes in namespaces that have quotas, and every committed change there. Out: a 403 with what was asked, used and
allowed; `status` of the quotas, written shortly after a change. A write that is on its way counts already, so that
writes at the same moment do not slip through together.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tortie.apiserver import errors, objects
from tortie.apiserver.admission import usage
from tortie.apiserver.admission.limits import add
from tortie.apiserver.context import SYSTEM, Call, Context
from tortie.apiserver.errors import StatusError
from tortie.apiserver.quantity import ZERO, Quantity, amounts, canonical
from tortie.apiserver.records import Collection, Event, Key
from tortie.apiserver.requests import RequestInfo

Object = dict[str, Any]
Amounts = dict[str, Quantity]
Place = tuple[str, Key]
_COLLECTION = "/resourcequotas"
_log = logging.getLogger("tortie.apiserver")


@dataclass(slots=True)
class _Quota:
    """One quota and what it counts at this moment. pending: what writes that are not stored yet will add."""

    tree: Object
    hard: Amounts
    used: Amounts
    pending: dict[Place, Amounts] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return str(self.tree["metadata"]["name"])


def _split(collection: str) -> tuple[str, str]:
    group, _, plural = collection.partition("/")
    return group, plural


class Quotas:
    """The quotas of one server, by namespace; a namespace is counted when it is first asked about."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._known: dict[str, dict[str, _Quota]] = {}
        self._writing: set[str] = set()
        self._again: set[str] = set()
        context.store.on_event.append(self._changed)

    def resume(self) -> None:
        """At start: counts anew in every namespace that has quotas."""
        for namespace in {key[0] for key in self._context.store.collection(_COLLECTION).records}:
            self._publish(namespace)

    def _has(self, namespace: str) -> bool:
        quotas = self._context.store.collection(_COLLECTION)
        return next(iter(quotas.keys(namespace)), None) is not None

    def _of(self, namespace: str) -> dict[str, _Quota]:
        found = self._known.get(namespace)
        if found is None:
            found = {}
            for record in self._context.store.collection(_COLLECTION).select(namespace):
                found[record.key[1]] = self._counted(namespace, record.decode())
            self._known[namespace] = found
        return found

    def _counted(self, namespace: str, tree: Object) -> _Quota:
        quota = _Quota(tree, amounts((tree.get("spec") or {}).get("hard")), {})
        for collection in list(self._context.store.collections.values()):
            group, plural = _split(collection.name)
            if not self._relevant(quota, group, plural):
                continue
            for record in collection.select(namespace):
                self._count(quota, group, plural, record.decode(), 1)
        return quota

    @staticmethod
    def _relevant(quota: _Quota, group: str, plural: str) -> bool:
        """Whether a quota bounds anything that objects of the resource count for."""
        if usage.count_name(group, plural) in quota.hard:
            return True
        if group:
            return False
        if plural == "pods":
            return any(
                n == "pods" or n.startswith(("requests.", "limits.")) or n in {"cpu", "memory", "ephemeral-storage"}
                for n in quota.hard
            )
        return any(plural in n or (plural == "persistentvolumeclaims" and "storage" in n) for n in quota.hard)

    @staticmethod
    def _count(quota: _Quota, group: str, plural: str, obj: Object, sign: int) -> None:
        if not usage.in_scope(quota.tree, group, plural, obj):
            return
        for name, amount in usage.of(group, plural, obj).items():
            if name in quota.hard:
                have = quota.used.get(name, ZERO)
                quota.used[name] = have + amount if sign > 0 else have - amount

    def _changed(self, collection: Collection, event: Event) -> None:
        namespace = event.key[0]
        if collection.name == _COLLECTION:
            before, after = event.old, event.new
            spec = (before.decode().get("spec") if before else None, after.decode().get("spec") if after else None)
            if spec[0] != spec[1]:
                self._known.pop(namespace, None)
                self._publish(namespace)
                return
        if not namespace or not self._has(namespace):
            self._known.pop(namespace, None)
            return
        group, plural = _split(collection.name)
        touched = False
        for quota in self._known.get(namespace, {}).values():
            quota.pending.pop((collection.name, event.key), None)
            if self._relevant(quota, group, plural):
                touched = True
                if event.old is not None:
                    self._count(quota, group, plural, event.old.decode(), -1)
                if event.new is not None:
                    self._count(quota, group, plural, event.new.decode(), 1)
        if touched or namespace not in self._known:
            self._publish(namespace)

    # --- admission ---------------------------------------------------------------------------------------------

    def reserve(self, call: Call, obj: Object, old: Object | None) -> Callable[[], None]:
        """Takes what the write adds, until the returned function is called. Raises StatusError 403."""
        namespace, kind = call.info.namespace, call.kind
        if not kind.namespaced or not self._has(namespace):
            return _nothing
        taken: list[tuple[_Quota, Amounts]] = []
        for quota in self._of(namespace).values():
            if not self._relevant(quota, kind.group, kind.plural):
                continue
            if not usage.in_scope(quota.tree, kind.group, kind.plural, obj):
                continue
            if kind.plural == "pods" and not kind.group and old is None:
                _check_stated(call, quota, obj)
            wanted = self._difference(quota, call, obj, old)
            _check(call, quota, obj, wanted)
            if wanted:
                taken.append((quota, wanted))
        if not taken or call.dry_run:
            return _nothing
        place = (kind.collection, (namespace, str(obj["metadata"].get("name", ""))))
        for quota, wanted in taken:
            quota.pending[place] = wanted

        def release() -> None:
            for quota, _ in taken:
                quota.pending.pop(place, None)

        return release

    @staticmethod
    def _difference(quota: _Quota, call: Call, obj: Object, old: Object | None) -> Amounts:
        kind = call.kind
        after = usage.of(kind.group, kind.plural, obj)
        before: Amounts = {}
        if old is not None and usage.in_scope(quota.tree, kind.group, kind.plural, old):
            before = usage.of(kind.group, kind.plural, old)
        difference = {}
        for name, amount in after.items():
            more = amount - before.get(name, ZERO)
            if name in quota.hard and more.value > 0:
                difference[name] = more
        return difference

    # --- status ------------------------------------------------------------------------------------------------

    def _publish(self, namespace: str) -> None:
        """Has the status of a namespace's quotas written soon; many changes become one write."""
        if namespace in self._writing:
            self._again.add(namespace)
            return
        self._writing.add(namespace)
        self._context.spawn(self._write(namespace), f"quotas of {namespace}")

    async def _write(self, namespace: str) -> None:
        try:
            await asyncio.sleep(0.05)
            while True:
                self._again.discard(namespace)
                for quota in list(self._of(namespace).values()) if self._has(namespace) else ():
                    await self._write_one(namespace, quota)
                if namespace not in self._again:
                    return
        finally:
            self._writing.discard(namespace)

    async def _write_one(self, namespace: str, quota: _Quota) -> None:
        from tortie.apiserver import writes

        kind = self._context.registry.find("", "v1", "resourcequotas")
        assert kind is not None
        group = RequestInfo(True, "update", "", "", "v1", namespace, "resourcequotas", quota.name, "status")
        used = {name: str(quota.used.get(name, ZERO)) for name in quota.hard}

        def change(tree: Object) -> Object:
            tree["status"] = {"hard": canonical(objects.get(tree, "spec", "hard")), "used": used}
            tree["metadata"].pop("resourceVersion", None)
            return tree

        call = Call(self._context, SYSTEM, group, kind, {}, "kube-controller-manager")
        try:
            await writes.update(call, change, subresource="status")
        except StatusError as error:
            if error.reason != "NotFound":
                _log.warning("status of quota %s/%s not written: %s", namespace, quota.name, error.message)


def _nothing() -> None:
    return


def _check_stated(call: Call, quota: _Quota, obj: Object) -> None:
    found = usage.missing(quota.hard, obj)
    if found:
        text = "; ".join(f"{name} for: {','.join(found[name])}" for name in sorted(found))
        raise errors.forbidden(
            "", call.kind.plural, obj["metadata"].get("name", ""), f"failed quota: {quota.name}: must specify {text}"
        )


def _check(call: Call, quota: _Quota, obj: Object, wanted: Amounts) -> None:
    over = []
    coming: Amounts = {}
    add(coming, quota.pending.values())
    for name, amount in sorted(wanted.items()):
        used = quota.used.get(name, ZERO) + coming.get(name, ZERO)
        if (used + amount).value > quota.hard[name].value:
            over.append((name, amount, used, quota.hard[name]))
    if over:
        raise errors.forbidden(
            call.kind.group,
            call.kind.plural,
            obj["metadata"].get("name", ""),
            f"exceeded quota: {quota.name}, requested: {','.join(f'{n}={a}' for n, a, _, _ in over)}, "
            f"used: {','.join(f'{n}={u}' for n, _, u, _ in over)}, "
            f"limited: {','.join(f'{n}={h}' for n, _, _, h in over)}",
        )
