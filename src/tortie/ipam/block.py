"""The arithmetic of one address block: which ordinals are free, who holds the others, what a write raises.

For the allocator, `calicoctl ipam` and the controllers that collect leaks. In: a block's spec and one or more
operations on it. Out: the changed spec and what each operation did. Pure: time comes in as an argument, and an
operation that is refused leaves the draft as it was (spec/cni-ipam-node.md 2.3, 2.8).
"""

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tortie.ipam.ranges import NOTHING, Ranges
from tortie.model.v3.ipam import AllocationAttribute, IPAMBlockSpec

WINDOWS_RESERVED_HANDLE = "windows-reserved-ipam-handle"
"""Allocations that Windows nodes make for themselves: they do not keep a block from counting as empty."""


class BlockError(Exception):
    """An operation that this block refuses. Base of the errors below; they carry the address concerned."""

    def __init__(self, message: str, *, address: str = "") -> None:
        super().__init__(message)
        self.address = address


class AlreadyAssigned(BlockError):
    """The address is in use, or cools down after use."""


class NotInBlock(BlockError):
    """The address lies outside the block."""


class BadHandle(BlockError):
    """The address is held under another handle than the caller named."""


class BadSequence(BlockError):
    """The address was allocated anew since the caller looked."""


@dataclass(frozen=True, slots=True)
class ReleaseRequest:
    """One address to give back; handle and sequence, where given, must match what the block says."""

    address: str
    handle: str | None = None
    sequence: int | None = None


@dataclass(frozen=True, slots=True)
class Released:
    """counts: how many addresses were freed for each handle; unallocated: addresses that nobody held."""

    addresses: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    unallocated: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Allocation:
    """One address in use. sequence: the block's number just before the write that allocated it, None if unknown."""

    address: str
    handle: str
    attributes: Mapping[str, str]
    alternate_owner: Mapping[str, str]
    sequence: int | None


def size(cidr: str) -> int:
    """How many addresses the block has."""
    return ipaddress.ip_network(cidr).num_addresses


def new_block(cidr: str, *, affinity: str | None, claimed_at: str | None, now_ns: int) -> IPAMBlockSpec:
    """An empty block. Its sequence number starts at the clock, so that a re-created block repeats no old number."""
    count = size(cidr)
    return IPAMBlockSpec(
        cidr=cidr,
        affinity=affinity,
        affinity_claim_time=claimed_at,
        allocations=(None,) * count,
        unallocated=tuple(range(count)),
        attributes=(),
        sequence_number=now_ns,
        sequence_number_for_allocation={},
        deleted=False,
        strict_affinity=False,
    )


def handle_of(attribute: AllocationAttribute) -> str:
    """The handle, cut at the first carriage return: an import of host-local files once left more behind it."""
    return (attribute.handle_id or "").split("\r", 1)[0]


def owner_of(spec: IPAMBlockSpec) -> tuple[str, str]:
    """(`host` or `virtual`, name) of the block's affinity; two empty texts for none."""
    kind, _, name = (spec.affinity or "").partition(":")
    return (kind, name) if name else ("", "")


def affinity_text(node: str, *, virtual: bool = False) -> str:
    return f"{'virtual' if virtual else 'host'}:{node}"


def is_empty(spec: IPAMBlockSpec) -> bool:
    """No address is in use or cooling down."""
    return all(
        index is None or handle_of(spec.attributes[index]).lower() == WINDOWS_RESERVED_HANDLE
        for index in spec.allocations
    )


def free_count(spec: IPAMBlockSpec, reserved: Ranges = NOTHING) -> int:
    """How many addresses could be handed out."""
    if not reserved:
        return len(spec.unallocated)
    base = int(ipaddress.ip_network(spec.cidr).network_address)
    return sum(1 for ordinal in spec.unallocated if base + ordinal not in reserved)


def addresses_of(spec: IPAMBlockSpec, handle: str) -> list[str]:
    """The addresses that a handle holds in this block, cooling ones left out."""
    return [found.address for found in allocations_of(spec) if found.handle == handle]


def allocations_of(spec: IPAMBlockSpec) -> list[Allocation]:
    """Every address in use, in order of address; cooling ones left out."""
    base = ipaddress.ip_network(spec.cidr).network_address
    found = []
    for ordinal, index in enumerate(spec.allocations):
        if index is None or spec.attributes[index].released_at:
            continue
        attribute = spec.attributes[index]
        found.append(
            Allocation(
                address=str(base + ordinal),
                handle=handle_of(attribute),
                attributes=attribute.secondary,
                alternate_owner=attribute.alternate_owner_attrs,
                sequence=spec.sequence_number_for_allocation.get(str(ordinal)),
            )
        )
    return found


class Draft:
    """A working copy of one block, on which several operations make up one write.

    Costs O(block size) to open and to finish; an allocation costs O(addresses taken + attributes in use).
    """

    def __init__(self, spec: IPAMBlockSpec) -> None:
        self._spec = spec
        network = ipaddress.ip_network(spec.cidr)
        self._base = network.network_address
        self._first = int(self._base)
        self._prefix = network.prefixlen
        self._allocations = list(spec.allocations)
        self._unallocated = list(spec.unallocated)
        self._attributes = list(spec.attributes)
        self._sequences = dict(spec.sequence_number_for_allocation)
        self._affinity = spec.affinity
        self._claimed_at = spec.affinity_claim_time
        self.changed = False

    @property
    def affinity(self) -> str | None:
        return self._affinity

    def is_empty(self) -> bool:
        return all(
            index is None or handle_of(self._attributes[index]).lower() == WINDOWS_RESERVED_HANDLE
            for index in self._allocations
        )

    def allocate(
        self, count: int, *, handle: str, attributes: Mapping[str, str], reserved: Ranges = NOTHING
    ) -> list[str]:
        """Takes up to `count` addresses from the head of the free list; gives them with the block's prefix length.

        A reserved ordinal is passed over and keeps its place.
        """
        taken: list[int] = []
        kept: list[int] = []
        for position, ordinal in enumerate(self._unallocated):
            if len(taken) == count:
                kept.extend(self._unallocated[position:])
                break
            (kept if self._first + ordinal in reserved else taken).append(ordinal)
        if taken:
            index = self._attribute_index(handle, attributes)
            self._unallocated = kept
            for ordinal in taken:
                self._take(ordinal, index)
        return [f"{self._base + ordinal}/{self._prefix}" for ordinal in taken]

    def assign(self, address: str, *, handle: str, attributes: Mapping[str, str]) -> None:
        """Takes one named address. Raises AlreadyAssigned or NotInBlock."""
        ordinal = self._ordinal(address)
        if self._allocations[ordinal] is not None:
            raise AlreadyAssigned(f"address {address} is already assigned in block {self._spec.cidr}", address=address)
        self._unallocated.remove(ordinal)
        self._take(ordinal, self._attribute_index(handle, attributes))

    def release(
        self, requests: Iterable[ReleaseRequest], *, now: datetime | None = None, cooldown: timedelta = timedelta()
    ) -> Released:
        """Gives addresses back. One wrong handle or sequence number refuses them all (BadHandle, BadSequence)."""
        ordinals: dict[int, str] = {}
        unallocated: dict[str, None] = {}
        for request in requests:
            ordinal = self._ordinal(request.address)
            index = self._allocations[ordinal]
            if index is None or self._attributes[index].released_at:
                unallocated[request.address] = None
                continue
            held = handle_of(self._attributes[index])
            if request.handle is not None and held.lower() != request.handle.lower():
                raise BadHandle(
                    f"address {request.address} is held by handle {held!r}, not by {request.handle!r}",
                    address=request.address,
                )
            sequence = self._sequences.get(str(ordinal))
            if request.sequence is not None and sequence is not None and sequence != request.sequence:
                raise BadSequence(
                    f"address {request.address} was allocated at sequence {sequence}, not {request.sequence}",
                    address=request.address,
                )
            ordinals[ordinal] = held
        self._free(list(ordinals), now=now, cooldown=cooldown)
        counts: dict[str, int] = {}
        for held in ordinals.values():
            counts[held] = counts.get(held, 0) + 1
        return Released(
            addresses=tuple(str(self._base + ordinal) for ordinal in ordinals),
            counts=counts,
            unallocated=tuple(unallocated),
        )

    def release_handle(
        self, handle: str, *, now: datetime | None = None, cooldown: timedelta = timedelta()
    ) -> tuple[str, ...]:
        """Gives back every address that the handle holds here, and says which they were."""
        mine = {
            index
            for index, attribute in enumerate(self._attributes)
            if not attribute.released_at and handle_of(attribute).lower() == handle.lower()
        }
        ordinals = [ordinal for ordinal, index in enumerate(self._allocations) if index in mine]
        self._free(ordinals, now=now, cooldown=cooldown)
        return tuple(str(self._base + ordinal) for ordinal in ordinals)

    def collect_cooled(self, *, now: datetime, cooldown: timedelta) -> int:
        """Frees what has cooled for longer than `cooldown`; says how many. Alone it is no reason to write."""
        before = self.changed
        done = [
            ordinal
            for ordinal, index in enumerate(self._allocations)
            if index is not None
            and (since := self._attributes[index].released_at)
            and now - _parse_time(since) > cooldown
        ]
        self._free(done, now=None, cooldown=timedelta())
        self.changed = before
        return len(done)

    def set_affinity(self, affinity: str | None, *, claimed_at: str | None) -> None:
        self._affinity, self._claimed_at = affinity, claimed_at
        self.changed = True

    def touch(self) -> None:
        """Makes the write happen though nothing differs: it proves that nobody else changed the block."""
        self.changed = True

    def finish(self, *, deleted: bool = False) -> IPAMBlockSpec:
        """The spec to write: attributes without users are gone, the rest renumbered, the sequence number raised."""
        used = sorted({index for index in self._allocations if index is not None})
        renumber = {old: new for new, old in enumerate(used)}
        return IPAMBlockSpec(
            cidr=self._spec.cidr,
            affinity=self._affinity,
            affinity_claim_time=self._claimed_at,
            allocations=tuple(None if index is None else renumber[index] for index in self._allocations),
            unallocated=tuple(self._unallocated),
            attributes=tuple(self._attributes[index] for index in used),
            sequence_number=self._spec.sequence_number + 1,
            sequence_number_for_allocation=self._sequences,
            deleted=deleted,
            strict_affinity=False,
        )

    def _ordinal(self, address: str) -> int:
        parsed = ipaddress.ip_address(address)
        ordinal = int(parsed) - self._first
        if parsed.version != self._base.version or not 0 <= ordinal < len(self._allocations):
            raise NotInBlock(f"address {address} is not in block {self._spec.cidr}", address=address)
        return ordinal

    def _attribute_index(self, handle: str, attributes: Mapping[str, str]) -> int:
        wanted = AllocationAttribute(handle_id=handle or None, secondary=dict(attributes))
        try:
            return self._attributes.index(wanted)
        except ValueError:
            self._attributes.append(wanted)
            return len(self._attributes) - 1

    def _take(self, ordinal: int, index: int) -> None:
        self._allocations[ordinal] = index
        self._sequences[str(ordinal)] = self._spec.sequence_number
        self.changed = True

    def _free(self, ordinals: list[int], *, now: datetime | None, cooldown: timedelta) -> None:
        if not ordinals:
            return
        self.changed = True
        if cooldown and now is not None:
            cooling = AllocationAttribute(released_at=now.isoformat().replace("+00:00", "Z"))
            if cooling not in self._attributes:
                self._attributes.append(cooling)
            index = self._attributes.index(cooling)
            for ordinal in ordinals:
                self._allocations[ordinal] = index
                self._sequences.pop(str(ordinal), None)
            return
        for ordinal in ordinals:
            self._allocations[ordinal] = None
            self._sequences.pop(str(ordinal), None)
        self._unallocated.extend(ordinals)


def _parse_time(text: str) -> datetime:
    return datetime.fromisoformat(text)
