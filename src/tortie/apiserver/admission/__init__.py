"""Admission: who besides authorization has a say in a write, and in which order they are asked.

In: a call with the object it would store, from `writes`, `deletes` and the subresources. Out: the object as admission
leaves it, or a StatusError. The order is that of Kubernetes: limit ranges' defaults and mutating policies, mutating
webhooks, (the kind's own validation, in `writes`), bounds of limit ranges, validating policies, validating webhooks,
quotas last.
"""

import copy
from collections.abc import Callable
from typing import Any, Protocol

from tortie.apiserver.admission import attributes, limits
from tortie.apiserver.admission.attributes import Attributes, Operation
from tortie.apiserver.admission.lifecycle import admit_create
from tortie.apiserver.admission.quotas import Quotas
from tortie.apiserver.admission.webhooks import Webhooks
from tortie.apiserver.context import SYSTEM, Call, Context
from tortie.apiserver.kinds import Kind

Object = dict[str, Any]


class Policies(Protocol):
    """Admission policies in CEL: they wait for nobody, but for a webhook that converts the object for them."""

    def statistics(self) -> dict[str, int]: ...

    def concern(self, kind: Kind, operation: str, subresource: str) -> bool:
        """Whether some policy with a binding may match."""

    async def mutate(self, call: Call, attributes: Attributes, *, again: bool) -> Object | None:
        """The object after every mutating policy. again: only those that want to see changes of webhooks."""

    async def validate(self, call: Call, attributes: Attributes) -> None:
        """Raises StatusError when a policy refuses."""


class Admission:
    """The admission of one server. policies: None while it has none."""

    def __init__(self, context: Context, policies: Policies | None = None) -> None:
        self.webhooks = Webhooks(context)
        self.quotas = Quotas(context)
        self.policies = policies

    async def close(self) -> None:
        await self.webhooks.close()

    def statistics(self) -> dict[str, int]:
        policies = self.policies.statistics() if self.policies is not None else {}
        return {**self.webhooks.statistics(), **policies}


def _of(call: Call) -> Admission | None:
    """None for the server's own bookkeeping, which must go on whatever users have configured."""
    return None if call.user is SYSTEM else call.context.admission


def calls_out(call: Call, operation: Operation, subresource: str = "") -> bool:
    """Whether a webhook may be asked, or has to convert: the write then takes its turn without holding the lock of its
    object, so that a slow webhook, or one that writes the same object, stops nobody."""
    if call.kind.conversion is not None:
        return True
    admission = _of(call)
    return admission is not None and admission.webhooks.may_ask(call.kind, operation, subresource)


def asks(call: Call, operation: Operation, subresource: str = "") -> bool:
    """Whether anybody with a rule of his own, a webhook or a policy, may have a say."""
    admission = _of(call)
    if admission is None:
        return False
    if admission.policies is not None and admission.policies.concern(call.kind, operation, subresource):
        return True
    return admission.webhooks.may_ask(call.kind, operation, subresource)


async def mutate(call: Call, operation: Operation, obj: Object, old: Object | None, *, subresource: str = "") -> Object:
    """The object after everyone who may change it: the same one when nobody did, else another one."""
    admission = _of(call)
    if admission is None:
        return obj
    if limits.concerns(call, operation, subresource):
        limits.default(call, obj)
    policies = admission.policies
    decided = policies is not None and policies.concern(call.kind, operation, subresource)
    remote = admission.webhooks.may_ask(call.kind, operation, subresource)
    if not decided and not remote:
        return obj
    if subresource == "scale":
        return await _mutate_scale(call, operation, obj, old)
    current = obj
    if decided and policies is not None:
        seen = attributes.of(call, operation, current, old, subresource=subresource)
        current = await policies.mutate(call, seen, again=False) or current
    if remote:
        before = current
        seen = attributes.of(call, operation, current, old, subresource=subresource)
        current = await admission.webhooks.mutate(call, seen) or current
        if decided and policies is not None and current is not before:
            seen = attributes.of(call, operation, current, old, subresource=subresource)
            current = await policies.mutate(call, seen, again=True) or current
        if current is not before and limits.concerns(call, operation, subresource):
            limits.default(call, current)
    return current


async def _mutate_scale(call: Call, operation: Operation, obj: Object, old: Object | None) -> Object:
    """The object with the replicas that policies and webhooks leave in its Scale."""
    from tortie.apiserver import scale  # late: it writes, and writes ask here

    admission = _of(call)
    assert admission is not None
    shown = scale.of(call, obj)
    before = scale.of(call, old) if old else None
    seen = attributes.of(call, operation, shown, before, subresource="scale")
    changed, policies = shown, admission.policies
    if policies is not None and policies.concern(call.kind, operation, "scale"):
        changed = await policies.mutate(call, seen, again=False) or changed
        seen = attributes.of(call, operation, changed, before, subresource="scale")
    if admission.webhooks.may_ask(call.kind, operation, "scale"):
        changed = await admission.webhooks.mutate(call, seen) or changed
    replicas = (changed.get("spec") or {}).get("replicas")
    if changed is shown or not isinstance(replicas, int):
        return obj
    result = copy.deepcopy(obj)
    scale.put(call, result, replicas)
    return result


async def validate(
    call: Call, operation: Operation, obj: Object | None, old: Object | None, *, subresource: str = ""
) -> Callable[[], None]:
    """Asks everyone who may refuse. The returned function gives back what quotas hold for the write; it is called
    when the write has happened or failed."""
    admission = _of(call)
    if admission is None:
        return _nothing
    if obj is not None and limits.concerns(call, operation, subresource):
        limits.check(call, obj)
    policies = admission.policies
    decided = policies is not None and policies.concern(call.kind, operation, subresource)
    remote = admission.webhooks.may_ask(call.kind, operation, subresource)
    if decided or remote:
        if subresource == "scale":
            from tortie.apiserver import scale  # late: it writes, and writes ask here

            obj, old = (scale.of(call, o) if o is not None else None for o in (obj, old))
        seen = attributes.of(call, operation, obj, old, subresource=subresource)
        if decided and policies is not None:
            await policies.validate(call, seen)
        if remote:
            await admission.webhooks.validate(call, seen)
    if obj is not None and operation in {"CREATE", "UPDATE"} and not subresource:
        return admission.quotas.reserve(call, obj, old)
    return _nothing


async def delete(call: Call, old: Object, options: Object) -> None:
    """Asks about a deletion; there is nothing to change in one, so mutating webhooks only allow or refuse."""
    admission = _of(call)
    if admission is None:
        return
    policies = admission.policies
    remote = admission.webhooks.may_ask(call.kind, "DELETE", "")
    seen = attributes.of(call, "DELETE", None, old, name=old["metadata"]["name"], options=options)
    if remote:
        await admission.webhooks.mutate(call, seen)
    if policies is not None and policies.concern(call.kind, "DELETE", ""):
        await policies.validate(call, seen)
    if remote:
        await admission.webhooks.validate(call, seen)


async def subresource(call: Call, operation: Operation, obj: Object) -> Object:
    """Admission of a request on a subresource with an object of its own: exec and the like (CONNECT), binding,
    eviction, token (CREATE). Returns the object, perhaps changed."""
    name = call.info.subresource
    if not asks(call, operation, name):
        return obj
    changed = await mutate(call, operation, obj, None, subresource=name)
    await validate(call, operation, changed, None, subresource=name)
    return changed


def _nothing() -> None:
    return


__all__ = [
    "Admission",
    "Operation",
    "Policies",
    "admit_create",
    "asks",
    "calls_out",
    "delete",
    "mutate",
    "subresource",
    "validate",
]
