"""Rights on policies by tier, put to requests: which tier a request is about, and the questions of `tiered`.

In: calls on policies of the four tiered kinds, and how this server has access questions answered: by its own RBAC
(the embedded server), or by the API server behind it (the aggregated one). Out: nothing, a `Scope`, or a 403. Plain
RBAC on the resource itself has been checked before.

The embedded server asks about writes only, like the webhook that real clusters have for it: each write is a create,
an update or a delete of one policy there, whatever the request was. The aggregated server asks about every verb.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from tortie.apiserver import tiered
from tortie.apiserver.context import Call, Object, Scope
from tortie.apiserver.rbac import Attributes
from tortie.apiserver.records import Record, Watcher
from tortie.apiserver.tiered import tier_of

Ask = Callable[[Call, Attributes], Awaitable[bool]]
"""Whether the caller may do it."""


async def ask_here(call: Call, wanted: Attributes) -> bool:
    """The embedded server's own answer."""
    return call.context.authorizer.allowed(call.user, wanted)


async def decide(call: Call, ask: Ask, tier: str, name: str, verb: str) -> tiered.Decision:
    """The three questions, asked at once."""
    asked = tiered.checks(
        verb, call.kind.plural, tier, name=name, namespace=call.info.namespace, subresource=call.info.subresource
    )
    return tiered.decide(await asyncio.gather(*(ask(call, question) for question in asked)))


async def check(call: Call, ask: Ask, tier: str, name: str, verb: str) -> None:
    """Raises StatusError 403 unless the caller may use `verb` on the policy in the tier."""
    decision = await decide(call, ask, tier, name, verb)
    if not decision.allowed:
        raise tiered.refusal(
            call.user.name,
            verb,
            call.kind.plural,
            tier,
            name=name,
            namespace=call.info.namespace,
            gets_tier=decision.gets_tier,
        )


async def check_write(call: Call, ask: Ask, verb: str, new: Object | None, old: Object | None) -> None:
    """A write: in the tier that the policy is in, and in the one that it moves to. Raises StatusError 403."""
    obj = old if old is not None else new
    assert obj is not None
    name = obj["metadata"].get("name", "")
    tier = tier_of(obj)
    await check(call, ask, tier, name, verb)
    if new is not None and tier_of(new) != tier:
        await check(call, ask, tier_of(new), name, verb)


async def scope(call: Call, ask: Ask, tiers: Iterable[str], watchers: set[Watcher]) -> Scope | None:
    """What of the policies a list, watch or deletecollection is about: those of the tiers that its selectors name, all
    of which must be allowed, else those of the allowed ones among `tiers`. Raises StatusError 400 and 403."""
    verb, plural, namespace = call.info.verb, call.kind.plural, call.info.namespace
    named = tiered.selected_tiers(call.query.get("labelSelector", ""), call.query.get("fieldSelector", ""))
    names = sorted(tiers) if named is None else named
    decisions = await asyncio.gather(*(decide(call, ask, tier, "", verb) for tier in names))
    refused = [(t, d) for t, d in zip(names, decisions, strict=True) if not d.allowed]
    if refused and (named is not None or len(refused) == len(names)):
        tier, decision = refused[0]
        raise tiered.refusal(call.user.name, verb, plural, tier, namespace=namespace, gets_tier=decision.gets_tier)
    if named is not None:
        return None
    allowed = frozenset(t for t, d in zip(names, decisions, strict=True) if d.allowed)

    def covers(record: Record) -> bool:
        return record.labels.get(tiered.TIER_LABEL, tiered.DEFAULT) in allowed

    return Scope(covers, watchers)


__all__ = ["Ask", "ask_here", "check", "check_write", "scope", "tier_of"]
