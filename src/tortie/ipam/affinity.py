"""Who owns a block: the protocol by which nodes claim blocks and give them up, without a lock between them.

For the allocator, node deletion and garbage collection. In: an owner and a block's CIDR. Out: a confirmed BlockAffinity
and a block that names the same owner, or AffinityLost. Each step is a compare-and-swap, so two nodes that race for a
block end with exactly one owner (spec/cni-ipam-node.md 2.4, 2.8).
"""

import ipaddress
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import msgspec

from tortie.ipam.api import ATTEMPTS, Api
from tortie.ipam.block import Draft, is_empty, new_block
from tortie.ipam.blocks import BlockGone, Blocks
from tortie.ipam.errors import AffinityLost, BlockNotEmpty, TooMuchContention
from tortie.kube.errors import AlreadyExists, Conflict, NotFound
from tortie.model.catalog import BLOCK_AFFINITIES
from tortie.model.meta import ObjectMeta
from tortie.model.names import affinity_name, hostname_hash
from tortie.model.v3.ipam import BlockAffinity, BlockAffinitySpec, IPAMBlock

PENDING, CONFIRMED, PENDING_DELETION = "pending", "confirmed", "pendingDeletion"

HOST_LABEL = "projectcalico.org/hostname-hash"
TYPE_LABEL = "projectcalico.org/affinity-type"
VERSION_LABEL = "projectcalico.org/ip-version"


@dataclass(frozen=True, slots=True)
class Owner:
    """A node, or a virtual owner such as `load-balancer`."""

    name: str
    virtual: bool = False

    @property
    def type(self) -> str:
        return "virtual" if self.virtual else "host"

    @property
    def affinity(self) -> str:
        """As blocks write it."""
        return f"{self.type}:{self.name}"

    def owns(self, affinity: BlockAffinity) -> bool:
        spec = affinity.spec
        return spec.node == self.name and (spec.type or "host") == self.type and not spec.deleted


def labels_of(owner: Owner, cidr: str) -> dict[str, str]:
    """Lists select affinities by these, so an object without them is invisible."""
    version = ipaddress.ip_network(cidr).version
    return {HOST_LABEL: hostname_hash(owner.name), TYPE_LABEL: owner.type, VERSION_LABEL: str(version)}


def is_confirmed(affinity: BlockAffinity) -> bool:
    return affinity.spec.state in ("", CONFIRMED)


class Affinities:
    """All access to BlockAffinity objects of one process."""

    def __init__(self, api: Api, blocks: Blocks, *, now: Callable[[], datetime]) -> None:
        self._api = api
        self._blocks = blocks
        self._now = now
        self.claims = 0
        self.lost = 0

    def statistics(self) -> dict[str, float]:
        return {"block_claims_total": self.claims, "block_claims_lost_total": self.lost}

    async def of_owner(self, owner: Owner, *, version: int | None = None) -> list[BlockAffinity]:
        """The owner's affinities in order of name, whatever their state; those being deleted are left out."""
        selector = f"{HOST_LABEL}={hostname_hash(owner.name)},{TYPE_LABEL}={owner.type}"
        if version is not None:
            selector += f",{VERSION_LABEL}={version}"
        found = await self._api.list(BLOCK_AFFINITIES, label_selector=selector)
        return sorted((each for each in found.items if owner.owns(each)), key=lambda each: each.metadata.name)

    async def claim(self, owner: Owner, cidr: str) -> IPAMBlock:
        """Makes `owner` the owner of the block and gives the block. Raises AffinityLost if another one has it."""
        for _ in range(ATTEMPTS):
            try:
                affinity = await self._ensure(owner, cidr)
                block = await self._blocks.read(cidr)
                if block is not None and block.spec.affinity != owner.affinity:
                    self.lost += 1
                    await self._drop(affinity)
                    raise AffinityLost(f"block {cidr} belongs to {block.spec.affinity or 'nobody'}")
                if block is not None and is_confirmed(affinity):
                    return block
                # The write proves that nobody has changed the affinity since it was read.
                affinity = await self._set_state(affinity, PENDING)
                if block is None:
                    now = self._now()
                    spec = new_block(
                        cidr,
                        affinity=owner.affinity,
                        claimed_at=now.isoformat(timespec="seconds").replace("+00:00", "Z"),
                        now_ns=time.time_ns(),
                    )
                    block = await self._blocks.create(spec)
                elif not await self._blocks.change(cidr, _touch_if_owned(owner)):
                    continue
                await self._confirm(affinity)
                self.claims += 1
                return block
            except (Conflict, NotFound, BlockGone):
                continue  # somebody moved; look again
        raise TooMuchContention(f"block {cidr}: {ATTEMPTS} attempts to claim it met other writers' changes")

    async def release(
        self, owner: Owner, cidr: str, *, must_be_empty: bool = True, sequence: int | None = None
    ) -> None:
        """Gives the block up: an empty one is deleted, another one stays without owner. The affinity goes last.

        Raises BlockNotEmpty, and AffinityLost when `sequence` is given and the block has changed since.
        """
        for _ in range(ATTEMPTS):
            affinity = await self._api.find(BLOCK_AFFINITIES, affinity_name(owner.name, cidr))
            block = await self._blocks.read(cidr)
            if block is None or block.spec.affinity != owner.affinity:
                if affinity is not None:
                    await self._drop(affinity)
                return
            empty = is_empty(block.spec)
            if must_be_empty and not empty:
                if affinity is not None and affinity.spec.state == PENDING_DELETION:
                    await self._confirm(affinity)
                raise BlockNotEmpty(f"block {cidr} of {owner.name} has addresses in use")
            if sequence is not None and block.spec.sequence_number != sequence:
                raise AffinityLost(f"block {cidr} changed: sequence {block.spec.sequence_number}, not {sequence}")
            try:
                if affinity is not None:
                    affinity = await self._set_state(affinity, PENDING_DELETION)
                if empty:
                    await self._blocks.delete(block)
                else:
                    await self._blocks.change(cidr, _disown(owner))
                if affinity is not None:
                    await self._drop(affinity)
                return
            except (Conflict, NotFound, BlockGone):
                continue  # somebody moved; look again
        raise TooMuchContention(f"block {cidr}: {ATTEMPTS} attempts to release it met other writers' changes")

    async def label_old_ones(self, owner: Owner) -> int:
        """Gives labels to affinities that were written without (spec 2.15); says how many. Lists all affinities."""
        done = 0
        for affinity in (await self._api.list(BLOCK_AFFINITIES)).items:
            wanted = labels_of(owner, affinity.spec.cidr)
            if not owner.owns(affinity) or wanted.items() <= affinity.metadata.labels.items():
                continue
            metadata = msgspec.structs.replace(affinity.metadata, labels={**affinity.metadata.labels, **wanted})
            try:
                await self._api.update(BLOCK_AFFINITIES, msgspec.structs.replace(affinity, metadata=metadata))
                done += 1
            except (Conflict, NotFound):
                pass  # changed by its node meanwhile, which writes labels
        return done

    async def _ensure(self, owner: Owner, cidr: str) -> BlockAffinity:
        """The affinity: a confirmed one as it is, else one in state pending."""
        name = affinity_name(owner.name, cidr)
        wanted = BlockAffinity(
            metadata=ObjectMeta(name=name, labels=labels_of(owner, cidr)),
            spec=BlockAffinitySpec(state=PENDING, node=owner.name, type=owner.type, cidr=cidr),
        )
        try:
            return await self._api.create(BLOCK_AFFINITIES, wanted)
        except AlreadyExists:
            found = await self._api.get(BLOCK_AFFINITIES, name)
        if found.spec.deleted:
            await self._drop(found)
            raise Conflict(409, "Conflict", f"affinity {name} was being deleted")
        if is_confirmed(found) or found.spec.state == PENDING:
            return found
        return await self._set_state(found, PENDING)

    async def _set_state(self, affinity: BlockAffinity, state: str) -> BlockAffinity:
        spec = msgspec.structs.replace(affinity.spec, state=state)
        return await self._api.update(BLOCK_AFFINITIES, msgspec.structs.replace(affinity, spec=spec))

    async def _confirm(self, affinity: BlockAffinity) -> None:
        try:
            await self._set_state(affinity, CONFIRMED)
        except Conflict:
            found = await self._api.find(BLOCK_AFFINITIES, affinity.metadata.name)
            if found is None or found.spec.deleted or not is_confirmed(found):
                raise

    async def _drop(self, affinity: BlockAffinity) -> None:
        with suppress(NotFound, Conflict):  # gone, or taken up again by somebody
            await self._api.delete(
                BLOCK_AFFINITIES,
                affinity.metadata.name,
                preconditions={"uid": affinity.metadata.uid, "resourceVersion": affinity.metadata.resource_version},
            )


def _touch_if_owned(owner: Owner) -> Callable[[Draft], bool]:
    def operation(draft: Draft) -> bool:
        if draft.affinity == owner.affinity:
            draft.touch()
            return True
        return False

    return operation


def _disown(owner: Owner) -> Callable[[Draft], None]:
    def operation(draft: Draft) -> None:
        if draft.affinity == owner.affinity:
            draft.set_affinity(None, claimed_at=None)

    return operation
