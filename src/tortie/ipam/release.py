"""Giving addresses back: by address, by handle, and what happens to a block that becomes empty.

For the allocator's callers: the CNI agent, tunnel addresses, garbage collection, calicoctl. In: addresses (with the
handle and sequence number that the caller saw) or a handle. Out: which addresses were freed. The block is written
before the handle, so a crash in between leaves a handle that counts too much (spec/cni-ipam-node.md 2.6, 2.8).
"""

import asyncio
import ipaddress
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from tortie.ipam import pools as pool_rules
from tortie.ipam.affinity import Affinities, Owner
from tortie.ipam.api import ATTEMPTS
from tortie.ipam.block import Draft, Released, ReleaseRequest, is_empty, owner_of
from tortie.ipam.blocks import BlockGone, Blocks
from tortie.ipam.errors import AffinityLost, BlockNotEmpty, HandleNotFound, TooMuchContention
from tortie.ipam.handles import Handles
from tortie.ipam.view import View
from tortie.model.v3.ipam import IPPool

_PARALLEL = 8


@dataclass(frozen=True, slots=True)
class ReleaseResult:
    """Bare addresses: those freed now, and those that nobody held."""

    released: tuple[str, ...] = ()
    unallocated: tuple[str, ...] = ()


class Releaser:
    def __init__(
        self,
        *,
        blocks: Blocks,
        handles: Handles,
        affinities: Affinities,
        view: View,
        now: Callable[[], datetime],
        on_disowned: Callable[[str], None],
    ) -> None:
        self._blocks = blocks
        self._handles = handles
        self._affinities = affinities
        self._view = view
        self._now = now
        self._on_disowned = on_disowned

    async def addresses(self, requests: Iterable[ReleaseRequest]) -> ReleaseResult:
        """Frees the addresses, block by block. A wrong handle or sequence number refuses its whole block: raises
        BadHandle or BadSequence after the other blocks are done."""
        unique = list(dict.fromkeys(requests))
        by_block = await self._by_block(unique)
        gate = asyncio.Semaphore(_PARALLEL)

        async def one(cidr: str | None, group: list[ReleaseRequest]) -> Released:
            if cidr is None:
                return Released(unallocated=tuple(each.address for each in group))
            async with gate:
                return await self._from_block(cidr, group)

        outcomes = await asyncio.gather(*(one(*entry) for entry in by_block.items()), return_exceptions=True)
        done = [outcome for outcome in outcomes if isinstance(outcome, Released)]
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return ReleaseResult(
            released=tuple(address for each in done for address in each.addresses),
            unallocated=tuple(address for each in done for address in each.unallocated),
        )

    async def handle(self, handle_id: str, *, sole_user: bool = False) -> tuple[str, ...]:
        """Frees all addresses of the handle and gives them. Raises HandleNotFound.

        sole_user: nobody else can be assigning under this handle now, so it is deleted whatever it counts. Without,
        a count that no block explains stays for garbage collection, since it may belong to an assignment under way.
        """
        handle = await self._handles.read(handle_id)
        if handle is None:
            raise HandleNotFound(f"nothing is held under handle {handle_id}")
        freed: dict[str, tuple[str, ...]] = {}
        for _ in range(ATTEMPTS):
            todo = [cidr for cidr in handle.spec.block if cidr not in freed]
            results = await asyncio.gather(*(self._handle_from_block(cidr, handle_id) for cidr in todo))
            freed.update(zip(todo, results, strict=True))
            if not sole_user:
                await self._handles.subtract(handle_id, {cidr: len(found) for cidr, found in freed.items() if found})
                break
            if await self._handles.delete(handle):
                break
            # The remembered handle was old: look for blocks that it did not name.
            handle = await self._handles.read(handle_id, fresh=True)
            if handle is None:
                break
        else:
            raise TooMuchContention(f"handle {handle_id}: {ATTEMPTS} attempts to delete it met other writers' changes")
        return tuple(address for found in freed.values() for address in found)

    async def owner(self, owner: Owner) -> list[str]:
        """Gives up all blocks of a node that is gone, and gives their CIDRs: empty ones are deleted, others stay
        without owner until their last address is released."""
        cidrs = [each.spec.cidr for each in await self._affinities.of_owner(owner)]
        for cidr in cidrs:
            await self._affinities.release(owner, cidr, must_be_empty=False)
            self._on_disowned(cidr)
        return cidrs

    async def _by_block(self, requests: Sequence[ReleaseRequest]) -> dict[str | None, list[ReleaseRequest]]:
        pools = await self._view.pools()
        every: list[str] | None = None
        grouped: dict[str | None, list[ReleaseRequest]] = {}
        for request in requests:
            pool = pool_rules.pool_of(request.address, pools)
            cidr: str | None
            if pool is not None:
                cidr = pool_rules.block_of(request.address, pool)
            else:
                if every is None:
                    every = [block.spec.cidr for block in await self._blocks.all()]
                cidr = _block_among(request.address, every)
            grouped.setdefault(cidr, []).append(request)
        return grouped

    async def _from_block(self, cidr: str, requests: list[ReleaseRequest]) -> Released:
        def operation(draft: Draft) -> Released:
            return draft.release(requests, now=self._now(), cooldown=self._blocks.cooldown)

        try:
            released = await self._blocks.change(cidr, operation)
        except BlockGone:
            return Released(unallocated=tuple(each.address for each in requests))
        for handle_id, count in released.counts.items():
            if handle_id:
                await self._handles.subtract(handle_id, {cidr: count})
        await self._after_release(cidr)
        return released

    async def _handle_from_block(self, cidr: str, handle_id: str) -> tuple[str, ...]:
        def operation(draft: Draft) -> tuple[str, ...]:
            return draft.release_handle(handle_id, now=self._now(), cooldown=self._blocks.cooldown)

        try:
            freed = await self._blocks.change(cidr, operation)
        except BlockGone:
            return ()
        await self._after_release(cidr)
        return freed

    async def _after_release(self, cidr: str) -> None:
        """An empty block whose pool no longer selects its node, or is gone, is given up."""
        spec = self._blocks.known(cidr)
        if spec is None or not is_empty(spec):
            return
        kind, name = owner_of(spec)
        if kind != "host":
            return
        pool = pool_rules.pool_of(cidr, await self._view.pools())
        if pool is not None and await self._selected(pool, name):
            return
        with suppress(BlockNotEmpty, AffinityLost):
            await self._affinities.release(Owner(name), cidr)
            self._on_disowned(cidr)

    async def _selected(self, pool: IPPool, node: str) -> bool:
        labels = await self._view.node_labels(node)
        return labels is None or pool_rules.selects_node(pool, labels)


def _block_among(address: str, blocks: Iterable[str]) -> str | None:
    wanted = ipaddress.ip_address(address)
    for cidr in blocks:
        network = ipaddress.ip_network(cidr)
        if network.version == wanted.version and wanted in network:
            return cidr
    return None
