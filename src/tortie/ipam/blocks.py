"""Blocks in the datastore: reads, compare-and-swap writes, and one write for many operations.

For the allocator. In: operations on a `Draft`, from any number of concurrent requests. Out: their results, once the
write that holds them has succeeded. Operations on the same block that wait while a write is under way travel together
in the next one, so that N pods started at once cost a few writes, not N (group commit).
"""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, TypeVar, cast

import msgspec

from tortie.ipam.api import ATTEMPTS, Api
from tortie.ipam.block import Draft
from tortie.ipam.errors import TooMuchContention
from tortie.kube.errors import Conflict, NotFound, Temporary
from tortie.model.catalog import IPAM_BLOCKS
from tortie.model.meta import ObjectMeta
from tortie.model.names import cidr_name
from tortie.model.v3.ipam import IPAMBlock, IPAMBlockSpec

R = TypeVar("R")

_TEMPORARY_ATTEMPTS = 4


class BlockGone(Exception):
    """The block does not exist (any more)."""


class Blocks:
    """All access to IPAMBlock objects of one process. Keeps the last state it saw of each block it wrote.

    cooldown: how long a released address rests; entries that have rested longer are free in every block read here.
    """

    def __init__(self, api: Api, *, now: Callable[[], datetime]) -> None:
        self._api = api
        self._now = now
        self.cooldown = timedelta()
        self._writers: dict[str, _Writer] = {}
        self.writes = 0
        self.operations = 0
        self.conflicts = 0

    def statistics(self) -> dict[str, float]:
        return {
            "block_writes_total": self.writes,
            "block_operations_total": self.operations,
            "block_conflicts_total": self.conflicts,
            "blocks_known": len(self._writers),
        }

    def known(self, cidr: str) -> IPAMBlockSpec | None:
        """The last state seen, which may be old; None if none was seen."""
        writer = self._writers.get(cidr)
        return writer.block.spec if writer is not None and writer.block is not None else None

    def queued(self, cidr: str) -> int:
        """Addresses that requests of this process are about to take from the block."""
        writer = self._writers.get(cidr)
        return writer.promised if writer is not None else 0

    def promise(self, cidr: str, count: int) -> None:
        """Counts addresses as about to be taken (negative: no longer)."""
        self._writer(cidr).promised += count

    async def read(self, cidr: str) -> IPAMBlock | None:
        """The present state, None if there is none. A block found half deleted is deleted for good."""
        block = await self._api.find(IPAM_BLOCKS, cidr_name(cidr))
        if block is not None and block.spec.deleted:
            await self._finish_delete(block)
            block = None
        if block is not None:
            block = self._tidied(block)
        self._remember(cidr, block)
        return block

    async def all(self) -> list[IPAMBlock]:
        """Every block of the cluster, half deleted ones too: an expensive call, kept off the usual path."""
        return [self._tidied(block) for block in (await self._api.list(IPAM_BLOCKS)).items]

    async def create(self, spec: IPAMBlockSpec) -> IPAMBlock:
        """Raises AlreadyExists."""
        block = await self._api.create(
            IPAM_BLOCKS, IPAMBlock(metadata=ObjectMeta(name=cidr_name(spec.cidr)), spec=spec)
        )
        self._remember(spec.cidr, block)
        return block

    async def change(self, cidr: str, operation: Callable[[Draft], R]) -> R:
        """Applies an operation to the block and writes it. Raises BlockGone, TooMuchContention, what the operation
        raises, and errors of the API. The operation may run several times; an ownerless block that it leaves empty
        is deleted."""
        return cast(R, await self._writer(cidr).submit(operation))

    async def delete(self, block: IPAMBlock) -> None:
        """Deletes exactly this revision: raises Conflict if it has changed, and counts an absent one as done.

        One request with preconditions on UID and resourceVersion is the same compare-and-swap as writing `deleted`
        first, and leaves no state in between.
        """
        with suppress(NotFound):
            await self._erase(block)
        self._remember(block.spec.cidr, None)

    async def _finish_delete(self, block: IPAMBlock) -> None:
        with suppress(NotFound, Conflict):  # somebody else has done it
            await self._api.delete(IPAM_BLOCKS, block.metadata.name, preconditions={"uid": block.metadata.uid})

    async def _erase(self, block: IPAMBlock) -> None:
        revision = {"uid": block.metadata.uid, "resourceVersion": block.metadata.resource_version}
        await self._api.delete(IPAM_BLOCKS, block.metadata.name, preconditions=revision)

    def _tidied(self, block: IPAMBlock) -> IPAMBlock:
        """The block with rested addresses free again. The number of the revision stays: nothing is written."""
        if not any(attribute.released_at for attribute in block.spec.attributes):
            return block
        draft = Draft(block.spec)
        draft.collect_cooled(now=self._now(), cooldown=self.cooldown)
        spec = msgspec.structs.replace(draft.finish(), sequence_number=block.spec.sequence_number)
        return msgspec.structs.replace(block, spec=spec)

    def _remember(self, cidr: str, block: IPAMBlock | None) -> None:
        writer = self._writers.get(cidr)
        if block is not None:
            self._writer(cidr).block = block
        elif writer is not None:
            writer.block = None
            if writer.idle:
                del self._writers[cidr]

    def _writer(self, cidr: str) -> "_Writer":
        writer = self._writers.get(cidr)
        if writer is None:
            writer = self._writers[cidr] = _Writer(self, cidr)
        return writer

    # --- for writers ------------------------------------------------------------------------------------------

    async def _fetch(self, cidr: str) -> IPAMBlock:
        block = await self._api.find(IPAM_BLOCKS, cidr_name(cidr))
        if block is not None and block.spec.deleted:
            await self._finish_delete(block)
            block = None
        if block is None:
            raise BlockGone(f"block {cidr} does not exist")
        return self._tidied(block)

    async def _store(self, block: IPAMBlock, draft: Draft) -> IPAMBlock | None:
        if draft.affinity is None and draft.is_empty():
            await self._erase(block)
            return None
        return await self._api.update(IPAM_BLOCKS, msgspec.structs.replace(block, spec=draft.finish()))


class _Writer:
    """The queue of one block. At most one write is under way; what arrives meanwhile waits for the next."""

    def __init__(self, blocks: Blocks, cidr: str) -> None:
        self._blocks = blocks
        self._cidr = cidr
        self._queue: list[tuple[Callable[[Draft], Any], asyncio.Future[Any]]] = []
        self._task: asyncio.Task[None] | None = None
        self.block: IPAMBlock | None = None
        self.promised = 0

    @property
    def idle(self) -> bool:
        return self._task is None and not self._queue and not self.promised

    async def submit(self, operation: Callable[[Draft], Any]) -> Any:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._queue.append((operation, future))
        if self._task is None:
            self._task = asyncio.create_task(self._drain(), name=f"block {self._cidr}")
        return await future

    async def _drain(self) -> None:
        try:
            while self._queue:
                batch, self._queue = self._queue, []
                try:
                    await self._commit([entry for entry in batch if not entry[1].cancelled()])
                except BaseException as error:
                    for _, future in batch:
                        if not future.done():
                            future.set_exception(error if isinstance(error, Exception) else asyncio.CancelledError())
                    if not isinstance(error, Exception):
                        raise
        finally:
            self._task = None

    async def _commit(self, batch: list[tuple[Callable[[Draft], Any], asyncio.Future[Any]]]) -> None:
        temporary = 0
        for attempt in range(ATTEMPTS):
            cached = self.block
            block = cached if cached is not None else await self._blocks._fetch(self._cidr)
            draft = Draft(block.spec)
            done: list[tuple[asyncio.Future[Any], Any]] = []
            failed: list[tuple[asyncio.Future[Any], Exception]] = []
            for operation, future in batch:
                try:
                    done.append((future, operation(draft)))
                except Exception as error:  # handed to its caller
                    failed.append((future, error))
            if cached is not None and (failed or not draft.changed):
                # The state was a remembered one: refuse nothing before having looked.
                self.block = None
                continue
            try:
                stored = await self._blocks._store(block, draft) if draft.changed else block
            except (Conflict, NotFound):
                self._blocks.conflicts += 1
                self.block = None
                await _pause(attempt)
                continue
            except Temporary:
                # The write may have happened; the look at the block on the next attempt tells.
                self.block = None
                temporary += 1
                if temporary == _TEMPORARY_ATTEMPTS:
                    raise
                await asyncio.sleep(0.05 * 3**temporary)
                continue
            self.block = stored
            self._blocks.writes += draft.changed
            self._blocks.operations += len(batch)
            for future, result in done:
                if not future.done():
                    future.set_result(result)
            for future, refusal in failed:
                if not future.done():
                    future.set_exception(refusal)
            return
        raise TooMuchContention(f"block {self._cidr}: {ATTEMPTS} attempts to write it met other writers' changes")


async def _pause(attempt: int) -> None:
    """Nothing at first; a few random milliseconds once it is clear that others write the same block."""
    if attempt >= 2:
        await asyncio.sleep(random.uniform(0, min(0.002 * attempt, 0.05)))  # noqa: S311  # spreads writers, no secret
