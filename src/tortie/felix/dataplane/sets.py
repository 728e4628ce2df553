"""Members of IP sets, split by family, in the form in which the kernel can hold them.

Full sets and deltas come in from the calculation and from the managers; each family's part answers with the elements to
add and to delete. Pure. The kernel refuses overlapping networks in one set, so only those that no other member covers
are programmed; what a removed cover hid comes back.
"""

import socket
from collections.abc import Iterable
from typing import Protocol

from tortie.felix.dataplane.chain import Version
from tortie.felix.messages import IPPort, Member, SetKind
from tortie.net.nft import transaction as nft

Net = tuple[int, int]
"""Address as a number, prefix length."""


class SetMembers(Protocol):
    """One family's part of one set."""

    type: nft.SetType

    def update(self, added: Iterable[Member], removed: Iterable[Member]) -> tuple[list[bytes], list[bytes]]:
        """Elements to delete and elements to add, in the kernel's form. Members of the other family are passed over."""
        ...

    def elements(self) -> list[bytes]:
        """Everything that should be in the kernel."""
        ...

    def __len__(self) -> int: ...


def make(kind: SetKind, version: Version) -> SetMembers:
    return NetMembers(version) if kind == "net" else PortMembers(version)


def parse_net(text: str) -> tuple[Version, int, int]:
    """Family, address as a number, prefix length of a CIDR or address. Raises ValueError."""
    address, _, length = text.partition("/")
    try:
        if ":" in address:
            packed, version, bits = socket.inet_pton(socket.AF_INET6, address), 6, 128
        else:
            packed, version, bits = socket.inet_pton(socket.AF_INET, address), 4, 32
        prefix = int(length) if length else bits
    except (OSError, ValueError):
        raise ValueError(f"{text!r} is not an address or CIDR") from None
    if not 0 <= prefix <= bits:
        raise ValueError(f"{text!r}: prefix length is not within 0-{bits}")
    number = int.from_bytes(packed, "big") >> (bits - prefix) << (bits - prefix)
    return version, number, prefix  # type: ignore[return-value]  # 4 or 6


class NetMembers:
    """Networks of one family. O(1) for sets of single addresses; O(n) when a cover comes or goes."""

    def __init__(self, version: Version) -> None:
        self.version: Version = version
        self.type = nft.NETS4 if version == 4 else nft.NETS6
        self._bits = 32 if version == 4 else 128
        self._members: set[Net] = set()
        self._programmed: set[Net] = set()
        self._lengths: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._programmed)

    def update(self, added: Iterable[Member], removed: Iterable[Member]) -> tuple[list[bytes], list[bytes]]:
        changes: dict[Net, int] = {}
        for net in self._parse(removed):
            self._remove(net, changes)
        for net in self._parse(added):
            self._add(net, changes)
        deleted = [self._element(net) for net, change in changes.items() if change < 0]
        new = [self._element(net) for net, change in changes.items() if change > 0]
        return deleted, new

    def elements(self) -> list[bytes]:
        return [self._element(net) for net in self._programmed]

    def _parse(self, members: Iterable[Member]) -> list[Net]:
        result = []
        for member in members:
            if not isinstance(member, str):
                raise ValueError(f"{member!r} in a set of networks")  # noqa: TRY004  # content, not a caller's type error
            if (":" in member) == (self.version == 6):
                _, address, length = parse_net(member)
                result.append((address, length))
        return result

    def _element(self, net: Net) -> bytes:
        return nft.net_element(self.version, *net)

    def _covered(self, net: Net) -> bool:
        address, length = net
        for other in self._lengths:
            if other < length:
                shift = self._bits - other
                if (address >> shift << shift, other) in self._members:
                    return True
        return False

    def _inside(self, candidates: set[Net], cover: Net) -> list[Net]:
        address, length = cover
        shift = self._bits - length
        return [net for net in candidates if net[1] > length and net[0] >> shift << shift == address]

    def _add(self, net: Net, changes: dict[Net, int]) -> None:
        if net in self._members:
            return
        longer = any(length > net[1] for length in self._lengths)
        self._members.add(net)
        self._lengths[net[1]] = self._lengths.get(net[1], 0) + 1
        if self._covered(net):
            return
        if longer:
            for child in self._inside(self._programmed, net):
                self._programmed.discard(child)
                changes[child] = changes.get(child, 0) - 1
        self._programmed.add(net)
        changes[net] = changes.get(net, 0) + 1

    def _remove(self, net: Net, changes: dict[Net, int]) -> None:
        if net not in self._members:
            return
        self._members.discard(net)
        self._lengths[net[1]] -= 1
        if not self._lengths[net[1]]:
            del self._lengths[net[1]]
        if net not in self._programmed:
            return
        self._programmed.discard(net)
        changes[net] = changes.get(net, 0) - 1
        if any(length > net[1] for length in self._lengths):
            for child in self._inside(self._members, net):
                if not self._covered(child):
                    self._programmed.add(child)
                    changes[child] = changes.get(child, 0) + 1


class PortMembers:
    """Triples of address, protocol and port of one family."""

    def __init__(self, version: Version) -> None:
        self.version: Version = version
        self.type = nft.ADDRESS_PORTS4 if version == 4 else nft.ADDRESS_PORTS6
        self._members: set[IPPort] = set()

    def __len__(self) -> int:
        return len(self._members)

    def update(self, added: Iterable[Member], removed: Iterable[Member]) -> tuple[list[bytes], list[bytes]]:
        gone = self._mine(removed) & self._members
        new = self._mine(added) - self._members
        self._members -= gone
        self._members |= new
        return [self._element(member) for member in gone - new], [self._element(member) for member in new - gone]

    def elements(self) -> list[bytes]:
        return [self._element(member) for member in self._members]

    def _mine(self, members: Iterable[Member]) -> set[IPPort]:
        result = set()
        for member in members:
            if isinstance(member, str):
                raise ValueError(f"{member!r} in a set of addresses with ports")  # noqa: TRY004  # content, not a type
            if (":" in member.ip) == (self.version == 6):
                result.add(member)
        return result

    @staticmethod
    def _element(member: IPPort) -> bytes:
        return nft.address_port_element(member.ip, member.protocol, member.port)
