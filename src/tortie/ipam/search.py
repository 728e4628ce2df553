"""Finding a block with a free address: own blocks, then a new one, then an abandoned one, then a borrowed address.

For the allocator. In: what a request may use (`Wanted`). Out: a block to take addresses from, or words that say why
there is none. Remembers which blocks the owner has, so that the usual answer needs no read; before it answers anything
else it reads afresh, and only one search per owner runs at a time (spec/cni-ipam-node.md 2.5 steps 4 to 9).
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from tortie.ipam import pools as pool_rules
from tortie.ipam.affinity import Affinities, Owner, is_confirmed
from tortie.ipam.block import free_count, is_empty, owner_of
from tortie.ipam.blocks import Blocks
from tortie.ipam.errors import AffinityLost, BlockLimitReached, BlockNotEmpty
from tortie.ipam.ranges import Ranges
from tortie.model.v3.ipam import IPAMBlock, IPPool

RECLAIM_AGE = timedelta(minutes=1)
"""An empty block of another host may be taken over this long after it was claimed."""

_PROBES = 8
"""Candidate blocks that are looked at one by one before all blocks of the cluster are listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """pools: usable, in order. deselected: pools of the family that do not select this node (any more)."""

    version: int
    pools: Sequence[IPPool]
    deselected: Sequence[IPPool]
    reserved: Ranges
    strict: bool
    may_claim: bool
    max_blocks: int


@dataclass(frozen=True, slots=True)
class Found:
    """borrowed: the block is not the owner's. free: about how many addresses can be had."""

    cidr: str
    free: int
    borrowed: bool = False


class Search:
    def __init__(self, blocks: Blocks, affinities: Affinities, *, owner: Owner, now: Callable[[], datetime]) -> None:
        self._blocks = blocks
        self._affinities = affinities
        self._owner = owner
        self._now = now
        self._owned: dict[str, None] = {}
        self._lock = asyncio.Lock()
        self._slow = 0
        self._borrowed = 0
        self._reclaimed = 0

    def statistics(self) -> dict[str, float]:
        return {
            "blocks_owned": len(self._owned),
            "block_searches_total": self._slow,
            "borrowed_total": self._borrowed,
            "blocks_reclaimed_total": self._reclaimed,
        }

    @property
    def owned(self) -> Sequence[str]:
        """Blocks known to be the owner's, in order of object name."""
        return list(self._owned)

    def forget(self, cidr: str) -> None:
        """The block turned out not to be the owner's: look again before using it."""
        self._owned.pop(cidr, None)

    def add(self, cidr: str) -> None:
        self._owned = dict.fromkeys(sorted([*self._owned, cidr], key=_name_order))

    async def warm(self) -> None:
        """Reads the owner's confirmed blocks. What is not in order waits for the first search."""
        async with self._lock:
            affinities = [each for each in await self._affinities.of_owner(self._owner) if is_confirmed(each)]
            blocks = await asyncio.gather(*(self._blocks.read(each.spec.cidr) for each in affinities))
            for block in blocks:
                if block is not None and block.spec.affinity == self._owner.affinity:
                    self.add(block.spec.cidr)

    async def block_for(self, wanted: Wanted, *, skip: set[str]) -> Found | str:
        """A block to take from, or why there is none. Raises BlockLimitReached."""
        found = self._own_with_space(wanted, skip)
        if found is not None and not self._abandoned(wanted):
            return found
        async with self._lock:
            # Another request may have claimed a block while this one waited.
            found = self._own_with_space(wanted, skip)
            if found is not None and not self._abandoned(wanted):
                return found
            self._slow += 1
            return await self._search(wanted, skip)

    def _own_with_space(self, wanted: Wanted, skip: set[str]) -> Found | None:
        for cidr in self._owned:
            if cidr in skip or pool_rules.pool_of(cidr, wanted.pools) is None:
                continue
            spec = self._blocks.known(cidr)
            if spec is None:
                continue
            free = free_count(spec, wanted.reserved) - self._blocks.queued(cidr)
            if free > 0:
                return Found(cidr, free)
        return None

    def _abandoned(self, wanted: Wanted) -> list[str]:
        """Own empty blocks in pools that no longer select this node: they are to be released."""
        if not wanted.deselected:
            return []
        return [
            cidr
            for cidr in self._owned
            if pool_rules.pool_of(cidr, wanted.deselected) is not None
            and (spec := self._blocks.known(cidr)) is not None
            and is_empty(spec)
            and not self._blocks.queued(cidr)
        ]

    async def _search(self, wanted: Wanted, skip: set[str]) -> Found | str:
        mine = await self._refresh(wanted)
        for cidr in self._abandoned(wanted):
            with suppress(BlockNotEmpty, AffinityLost):
                await self._affinities.release(self._owner, cidr)
                self.forget(cidr)
        found = self._own_with_space(wanted, skip)
        if found is not None:
            return found
        names = ", ".join(pool.metadata.name for pool in wanted.pools)
        if len(mine) >= wanted.max_blocks:
            raise BlockLimitReached(
                f"node {self._owner.name} already owns {len(mine)} blocks in pools [{names}], the limit is"
                f" {wanted.max_blocks} (maxBlocksPerHost), and none has a free address"
            )
        if not wanted.may_claim:
            return f"no free address in the blocks of {self._owner.name}, and autoAllocateBlocks is off"
        claimed = await self._claim_new(wanted, skip)
        if claimed is not None:
            return claimed
        if wanted.strict:
            return (
                f"no free block in pools [{names}], and strict affinity forbids to borrow addresses from blocks of"
                " other nodes"
            )
        return await self._borrow(wanted, skip) or f"no free address in pools [{names}]"

    async def _refresh(self, wanted: Wanted) -> list[str]:
        """Reads the owner's affinities and blocks of the family; gives those in the usable pools."""
        affinities = await self._affinities.of_owner(self._owner, version=wanted.version)
        confirmed: list[str] = []
        for affinity in affinities:
            cidr = affinity.spec.cidr
            block = await self._blocks.read(cidr)
            if block is not None and block.spec.affinity == self._owner.affinity and is_confirmed(affinity):
                confirmed.append(cidr)
                continue
            if pool_rules.pool_of(cidr, wanted.pools) is None and block is None:
                continue
            # A claim that was begun and not finished, or an affinity to a block that somebody else has.
            with suppress(AffinityLost):
                await self._affinities.claim(self._owner, cidr)
                confirmed.append(cidr)
        others = [cidr for cidr in self._owned if (":" in cidr) != (wanted.version == 6)]
        self._owned = dict.fromkeys(sorted([*others, *confirmed], key=_name_order))
        return [cidr for cidr in confirmed if pool_rules.pool_of(cidr, wanted.pools) is not None]

    async def _claim_new(self, wanted: Wanted, skip: set[str]) -> Found | None:
        tried: set[str] = set(self._owned) | skip
        for cidr in self._probes(wanted, tried):
            tried.add(cidr)
            if await self._blocks.read(cidr) is None and (found := await self._try_claim(cidr, wanted)):
                return found
        existing = {block.spec.cidr: block for block in await self._blocks.all() if not block.spec.deleted}
        for cidr in self._all(wanted):
            if cidr not in existing and cidr not in skip and (found := await self._try_claim(cidr, wanted)):
                return found
        for cidr in self._all(wanted):
            block = existing.get(cidr)
            if block is None or not self._is_reclaimable(block) or not await self._reclaim(block):
                continue
            if found := await self._try_claim(cidr, wanted):
                return found
        return None

    async def _try_claim(self, cidr: str, wanted: Wanted) -> Found | None:
        try:
            block = await self._affinities.claim(self._owner, cidr)
        except AffinityLost:
            return None
        self.add(cidr)
        free = free_count(block.spec, wanted.reserved)
        return Found(cidr, free) if free else None

    def _is_reclaimable(self, block: IPAMBlock) -> bool:
        kind, name = owner_of(block.spec)
        if not kind or (kind, name) == (self._owner.type, self._owner.name) or not is_empty(block.spec):
            return False
        claimed = block.spec.affinity_claim_time or block.metadata.creation_timestamp
        return claimed is None or self._now() - datetime.fromisoformat(claimed) >= RECLAIM_AGE

    async def _reclaim(self, block: IPAMBlock) -> bool:
        kind, name = owner_of(block.spec)
        try:
            await self._affinities.release(
                Owner(name, virtual=kind == "virtual"), block.spec.cidr, sequence=block.spec.sequence_number
            )
        except (BlockNotEmpty, AffinityLost):
            return False
        self._reclaimed += 1
        return True

    async def _borrow(self, wanted: Wanted, skip: set[str]) -> Found | None:
        existing = {block.spec.cidr: block for block in await self._blocks.all() if not block.spec.deleted}
        for cidr in self._all(wanted):
            block = existing.get(cidr)
            if block is None or cidr in skip:
                continue
            free = free_count(block.spec, wanted.reserved) - self._blocks.queued(cidr)
            if free > 0:
                self._borrowed += 1
                return Found(cidr, free, borrowed=block.spec.affinity != self._owner.affinity)
        return None

    def _probes(self, wanted: Wanted, known: set[str]) -> Iterator[str]:
        left = _PROBES
        for cidr in self._all(wanted):
            if cidr in known:
                continue
            if left == 0:
                return
            left -= 1
            yield cidr

    def _all(self, wanted: Wanted) -> Iterator[str]:
        for pool in wanted.pools:
            yield from pool_rules.candidates(
                pool, seed=self._owner.name, reserved=wanted.reserved, clock_ns=time.time_ns()
            )


def _name_order(cidr: str) -> str:
    return cidr.replace(".", "-").replace(":", "-").replace("/", "-")
