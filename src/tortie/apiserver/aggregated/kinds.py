"""What the aggregated server serves, and under which rules.

In: the catalogue, and how access questions are answered. Out: `Kind`s with hooks: tiered rights on every verb, the
built-in tiers, pools that are taken out of use before they go, the console's settings, reviews.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tortie.apiserver import calico, tiers
from tortie.apiserver.aggregated import columns, pools, review, settings
from tortie.apiserver.aggregated.backend import Backend
from tortie.apiserver.calico import TIERED, deletable, prepared
from tortie.apiserver.context import Call, Scope
from tortie.apiserver.kinds import Hooks, Kind, Object
from tortie.apiserver.records import Collection, Event, Watcher
from tortie.apiserver.storage import Listener
from tortie.apiserver.tables import PLAIN
from tortie.apiserver.tiers import Ask, tier_of
from tortie.model import catalog
from tortie.model.catalog import CALICO, CALICO_GROUP, IP_POOLS, POLICIES, PROFILES, REVIEWS, TIERS
from tortie.model.resource import Resource
from tortie.model.serving import ServingMode

_TIERS = f"{TIERS.group}/{TIERS.plural}"

STORED: tuple[Resource[Any], ...] = tuple(r for r in CALICO if r.facts.aggregated and r.group == CALICO_GROUP)
"""What is kept in crd.projectcalico.org/v1."""


def kinds(backend: Backend, ask: Ask, scopes: review.Scopes) -> Iterator[Kind]:
    """Every kind of projectcalico.org/v3 in this mode."""
    watchers: set[Watcher] = set()
    backend.on_event.append(_ends_watches(watchers))
    for resource in (*STORED, PROFILES, *REVIEWS):
        node_status = resource is catalog.CALICO_NODE_STATUSES
        yield calico.kind(
            resource,
            hooks=Hooks(review=review.answers(resource, scopes))
            if resource in REVIEWS
            else _known_first(backend, _hooks(resource, backend, ask, watchers)),
            table=columns.NODE_STATUS if node_status else PLAIN,
            short_names=resource.facts.aggregated_short,
            stored=resource.facts.stored,
            paged=False,
            bookmarks=False,
        )


def _known_first(backend: Backend, hooks: Hooks) -> Hooks:
    """Hooks that refuse lists and watches of what has not been seen yet."""
    inner = hooks.scope

    async def scope(call: Call) -> Scope | None:
        await backend.require(call.context.collection(call.kind))
        return await inner(call) if inner is not None else None

    return replace(hooks, scope=scope)


def _ends_watches(watchers: set[Watcher]) -> Listener:
    """A tier that comes or changes may be one more that a watch without a tier selector has to show."""

    def listen(collection: Collection, event: Event) -> None:
        if collection.name == _TIERS and event.new is not None:
            for watcher in tuple(watchers):
                watcher.close("")

    return listen


def _hooks(resource: Resource[Any], backend: Backend, ask: Ask, watchers: set[Watcher]) -> Hooks:
    if resource.plural in TIERED:
        return _policy_hooks(resource, ask, watchers)
    if resource is TIERS:
        return Hooks(
            prepare=prepared(resource, mode=ServingMode.AGGREGATED),
            check_delete=deletable(resource),
            authorize=_look_for_policies,
        )
    if resource is IP_POOLS:
        return pools.hooks(backend.client)
    if resource is catalog.UI_SETTINGS:
        return settings.hooks(ask)
    return Hooks(prepare=prepared(resource, mode=ServingMode.AGGREGATED))


# --- policies and tiers ----------------------------------------------------------------------------------------


def _policy_hooks(resource: Resource[Any], ask: Ask, watchers: set[Watcher]) -> Hooks:
    async def authorize(call: Call, new: Object | None, old: Object | None) -> None:
        if call.info.verb == "deletecollection":
            return  # its scope has said what it is about
        await tiers.check_write(call, ask, call.info.verb, new, old)
        if new is not None and (old is None or tier_of(old) != tier_of(new)):
            await _know_tier(call, tier_of(new))

    async def read(call: Call, obj: Object) -> None:
        await tiers.check(call, ask, tier_of(obj), obj["metadata"]["name"], "get")

    async def scope(call: Call) -> Scope | None:
        known = call.store.collection(_TIERS)
        return await tiers.scope(call, ask, (record.key[1] for record in known.select(None)), watchers)

    return Hooks(prepare=prepared(resource, mode=ServingMode.AGGREGATED), authorize=authorize, read=read, scope=scope)


async def _know_tier(call: Call, name: str) -> None:
    """A tier that was made through another server a moment ago counts."""
    collection = call.store.collection(_TIERS)
    if collection.get(("", name)) is None:
        await call.store.fresh(collection, ("", name))


async def _look_for_policies(call: Call, new: Object | None, _old: Object | None) -> None:
    """A tier with policies stays: they are looked for where they are kept, not where they are remembered."""
    if new is None:
        await asyncio.gather(*(call.store.fresh(call.store.collection(f"{r.group}/{r.plural}")) for r in POLICIES))
