"""Arithmetic on CIDR texts, as integers because the ipaddress module costs ten times as much.

In: canonical CIDR or address texts of the dataplane model. Out: `Prefix` tuples and canonical texts for the other
modules of the calculation.
"""

import socket
from collections.abc import Iterable
from functools import lru_cache
from typing import Generic, NamedTuple, TypeVar

V = TypeVar("V")
_BITS = {4: 32, 6: 128}


class Prefix(NamedTuple):
    """version: 4 or 6; network: the address as an integer, host bits zero."""

    version: int
    network: int
    length: int

    def contains(self, other: "Prefix") -> bool:
        """Whether every address of `other` lies in this prefix."""
        if self.version != other.version or other.length < self.length:
            return False
        shift = _BITS[self.version] - self.length
        return self.network >> shift == other.network >> shift

    def __str__(self) -> str:
        return f"{_address_text(self.version, self.network)}/{self.length}"


@lru_cache(maxsize=65536)
def parse(text: str) -> Prefix:
    """A CIDR, or a bare address as a prefix of full length. Raises ValueError on anything else."""
    address, slash, length_text = text.partition("/")
    version = 6 if ":" in address else 4
    bits = _BITS[version]
    try:
        packed = socket.inet_pton(socket.AF_INET6 if version == 6 else socket.AF_INET, address)
        length = int(length_text) if slash else bits
    except (OSError, ValueError):
        raise ValueError(f"{text!r} is not an address or CIDR") from None
    if not 0 <= length <= bits:
        raise ValueError(f"{text!r} has a prefix length outside 0 to {bits}")
    shift = bits - length
    return Prefix(version, int.from_bytes(packed, "big") >> shift << shift, length)


def single(address: str) -> str:
    """The CIDR of one address: /32 or /128; a CIDR is returned as it is."""
    if "/" in address:
        return address
    return f"{address}/{128 if ':' in address else 32}"


def host(cidr: str) -> str:
    """The address part of a CIDR."""
    return cidr.partition("/")[0]


def is_single(cidr: str) -> bool:
    """Whether the CIDR is one address."""
    return cidr.endswith("/128") if ":" in cidr else cidr.endswith("/32")


def set_members(nets: Iterable[str]) -> tuple[str, ...]:
    """Network set nets as members of a kernel set, in canonical form; a /0 becomes two halves (felix.md 2.9)."""
    members: list[str] = []
    for net in nets:
        prefix = parse(net)
        if prefix.length:
            members.append(str(prefix))
        elif prefix.version == 4:
            members += ("0.0.0.0/1", "128.0.0.0/1")
        else:
            members += ("::/1", "8000::/1")
    return tuple(dict.fromkeys(members))


class PrefixTable(Generic[V]):
    """Values by prefix, found by longest match in one dict lookup for each length in use."""

    def __init__(self) -> None:
        self._values: dict[Prefix, V] = {}
        self._lengths: dict[int, tuple[int, ...]] = {4: (), 6: ()}

    def replace(self, values: dict[Prefix, V]) -> None:
        """Takes over all values, keyed by prefix."""
        self._values = dict(values)
        for version in (4, 6):
            lengths = {prefix.length for prefix in values if prefix.version == version}
            self._lengths[version] = tuple(sorted(lengths, reverse=True))

    def covering(self, prefix: Prefix) -> V | None:
        """The value of the longest prefix that contains the given one."""
        bits = _BITS[prefix.version]
        for length in self._lengths[prefix.version]:
            if length <= prefix.length:
                shift = bits - length
                value = self._values.get(Prefix(prefix.version, prefix.network >> shift << shift, length))
                if value is not None:
                    return value
        return None


def _address_text(version: int, number: int) -> str:
    if version == 4:
        return socket.inet_ntop(socket.AF_INET, number.to_bytes(4, "big"))
    return socket.inet_ntop(socket.AF_INET6, number.to_bytes(16, "big"))
