"""Handles in the datastore: how many addresses an owner holds in which block.

For the allocator. In: counts to add or to take away. Out: compare-and-swap writes. Counts go up before a block is
written and down after it, so a crash leaves them too high, never too low; the blocks are the truth
(spec/cni-ipam-node.md 2.6).
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress

import msgspec

from tortie.ipam.api import ATTEMPTS, Api
from tortie.ipam.errors import TooMuchContention
from tortie.kube.errors import Conflict, NotFound, Temporary
from tortie.model.catalog import IPAM_HANDLES
from tortie.model.meta import ObjectMeta
from tortie.model.names import handle_name
from tortie.model.v3.ipam import IPAMHandle, IPAMHandleSpec

_REMEMBERED = 4096
_TEMPORARY_ATTEMPTS = 4


class Handles:
    """All access to IPAMHandle objects of one process. Remembers those it wrote, to spare a read before the next."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._known: OrderedDict[str, IPAMHandle] = OrderedDict()
        self.writes = 0

    def statistics(self) -> dict[str, float]:
        return {"handle_writes_total": self.writes, "handles_known": len(self._known)}

    async def read(self, handle_id: str, *, fresh: bool = False) -> IPAMHandle | None:
        """The handle, None if there is none. A remembered one may be old unless `fresh`; writes find that out."""
        known = self._known.get(handle_name(handle_id))
        if known is not None and not fresh:
            return known
        handle = await self._api.find(IPAM_HANDLES, handle_name(handle_id))
        if handle is not None and handle.spec.deleted:
            await self._finish_delete(handle)
            handle = None
        self._remember(handle_id, handle)
        return handle

    async def add(self, handle_id: str, counts: Mapping[str, int]) -> None:
        """Raises the counts of the given blocks in one write; makes the handle if need be."""

        def changed(handle: IPAMHandle | None) -> dict[str, int]:
            blocks = dict(handle.spec.block) if handle is not None else {}
            for cidr, count in counts.items():
                blocks[cidr] = blocks.get(cidr, 0) + count
            return blocks

        known = self._known.get(handle_name(handle_id))
        await self._write(handle_id, changed, first=known, look_first=False)

    async def subtract(self, handle_id: str, counts: Mapping[str, int]) -> None:
        """Lowers the counts; a block at zero is dropped, a handle without blocks deleted. A missing handle and a count
        below zero are left at nothing: the blocks are the truth."""

        def changed(handle: IPAMHandle | None) -> dict[str, int]:
            blocks = dict(handle.spec.block) if handle is not None else {}
            for cidr, count in counts.items():
                left = blocks.get(cidr, 0) - count
                if left > 0:
                    blocks[cidr] = left
                else:
                    blocks.pop(cidr, None)
            return blocks

        await self._write(handle_id, changed, first=await self.read(handle_id), look_first=True)

    async def delete(self, handle: IPAMHandle) -> bool:
        """Deletes exactly this revision; False if it has changed since. An absent one counts as done."""
        try:
            await self._delete(handle)
        except Conflict:
            self._known.pop(handle.metadata.name, None)
            return False
        return True

    async def _write(
        self,
        handle_id: str,
        changed: Callable[[IPAMHandle | None], dict[str, int]],
        *,
        first: IPAMHandle | None,
        look_first: bool,
    ) -> None:
        handle = first
        temporary = 0
        for _ in range(ATTEMPTS):
            try:
                blocks = changed(handle)
                if handle is None and blocks:
                    handle = await self._api.create(
                        IPAM_HANDLES,
                        IPAMHandle(
                            metadata=ObjectMeta(name=handle_name(handle_id)),
                            spec=IPAMHandleSpec(handle_id=handle_id, block=blocks),
                        ),
                    )
                elif handle is None:
                    return
                elif blocks:
                    spec = msgspec.structs.replace(handle.spec, block=blocks)
                    handle = await self._api.update(IPAM_HANDLES, msgspec.structs.replace(handle, spec=spec))
                else:
                    await self._delete(handle)
                    return
            except (Conflict, NotFound):
                handle = await self.read(handle_id, fresh=True)
            except Temporary:
                temporary += 1
                if temporary == _TEMPORARY_ATTEMPTS:
                    raise
                await asyncio.sleep(0.05 * 3**temporary)
                if look_first:
                    handle = await self.read(handle_id, fresh=True)
            else:
                self.writes += 1
                self._remember(handle_id, handle)
                return
        raise TooMuchContention(f"handle {handle_id}: {ATTEMPTS} attempts to write it met other writers' changes")

    async def _delete(self, handle: IPAMHandle) -> None:
        revision = {"uid": handle.metadata.uid, "resourceVersion": handle.metadata.resource_version}
        with suppress(NotFound):
            await self._api.delete(IPAM_HANDLES, handle.metadata.name, preconditions=revision)
        self.writes += 1
        self._known.pop(handle.metadata.name, None)

    async def _finish_delete(self, handle: IPAMHandle) -> None:
        with suppress(NotFound, Conflict):  # somebody else has done it
            await self._api.delete(IPAM_HANDLES, handle.metadata.name, preconditions={"uid": handle.metadata.uid})

    def _remember(self, handle_id: str, handle: IPAMHandle | None) -> None:
        name = handle_name(handle_id)
        if handle is None:
            self._known.pop(name, None)
            return
        self._known[name] = handle
        self._known.move_to_end(name)
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
