"""IP pools: what a new one must not overlap, and how an old one goes.

In: calls on IPPools; blocks and their affinities, which are read when they are needed: they change with every pod, and
nothing else of this server is about them. Out: hooks. A pool that is deleted is disabled first, and the claims of
nodes on its blocks are released (spec/apiserver-controllers-clis.md 1.6).
"""

import asyncio
from ipaddress import ip_network
from typing import Any

from tortie.apiserver.aggregated import refusals
from tortie.apiserver.calico import prepared
from tortie.apiserver.context import Call
from tortie.apiserver.kinds import Hooks, Object
from tortie.kube.client import Client
from tortie.kube.errors import ApiError, Conflict, NotFound
from tortie.kube.objects import resource_version, uid_of
from tortie.model.catalog import BLOCK_AFFINITIES, IP_POOLS, IPAM_BLOCKS
from tortie.model.names import cidr_name
from tortie.model.packing import storage_resource
from tortie.model.resource import Resource
from tortie.model.serving import ServingMode

_SETTLE_SECONDS = 0.5
_ATTEMPTS = 5


def hooks(client: Client) -> Hooks:
    """The rules of IPPools."""

    async def authorize(call: Call, new: Object | None, old: Object | None) -> None:
        if new is not None and old is None:
            call.others[IPAM_BLOCKS.plural] = await _all(client, IPAM_BLOCKS)

    async def retire(call: Call, obj: Object) -> None:
        if not obj["spec"].get("disabled"):
            disabled = {**obj, "spec": {**obj["spec"], "disabled": True}}
            await call.store.put(call.context.collection(call.kind), ("", obj["metadata"]["name"]), disabled)
            await asyncio.sleep(_SETTLE_SECONDS)  # for those who allocate to see it
        try:
            await _release(client, str(obj["spec"].get("cidr", "")))
        except ApiError as error:
            raise refusals.translate(error, IP_POOLS, ("", obj["metadata"]["name"])) from error

    return Hooks(prepare=prepared(IP_POOLS, mode=ServingMode.AGGREGATED), authorize=authorize, retire=retire)


async def _all(client: Client, resource: Resource[Any]) -> list[Object]:
    try:
        return (await client.list(storage_resource(resource))).items
    except NotFound:
        return []  # nothing is kept there yet
    except ApiError as error:
        raise refusals.translate(error, resource, ("", "")) from error


async def _release(client: Client, pool: str) -> None:
    """Takes from every node its claim on blocks of the pool. Addresses in use stay allocated."""
    stored = storage_resource(BLOCK_AFFINITIES)
    for affinity in await _all(client, BLOCK_AFFINITIES):
        spec = affinity.get("spec") or {}
        cidr = str(spec.get("cidr", ""))
        if _within(cidr, pool):
            await _disown(client, cidr, f"{spec.get('type') or 'host'}:{spec.get('node', '')}")
            try:
                await client.delete(stored, affinity["metadata"]["name"], preconditions={"uid": uid_of(affinity)})
            except (NotFound, Conflict):
                continue


async def _disown(client: Client, cidr: str, owner: str) -> None:
    stored = storage_resource(IPAM_BLOCKS)
    name = cidr_name(cidr)
    for _ in range(_ATTEMPTS):
        block = await client.find(stored, name)
        if block is None or (block.get("spec") or {}).get("affinity") != owner:
            return
        spec = block["spec"]
        try:
            if any(slot is not None for slot in spec.get("allocations") or ()):
                bare = {key: value for key, value in spec.items() if key not in {"affinity", "affinityClaimTime"}}
                await client.update(stored, {**block, "spec": bare})
            else:
                conditions = {"uid": uid_of(block), "resourceVersion": resource_version(block)}
                await client.delete(stored, name, preconditions=conditions)
        except (NotFound, Conflict):
            continue
        return


def _within(cidr: str, pool: str) -> bool:
    try:
        inner, outer = ip_network(cidr), ip_network(pool, strict=False)
    except ValueError:
        return False
    return inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]  # of one version
