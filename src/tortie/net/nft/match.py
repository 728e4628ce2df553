"""What a rule may require of a packet: each requirement is data that is both nft text and kernel expressions.

The renderers of the dataplane compose rules from these; `transaction` asks them for `encode()`, golden files and error
reports ask for `text()`. A test proves that the nft program lists for the encoded form what the text form says.
"""

import ipaddress
import struct
from dataclasses import dataclass
from typing import Literal

from tortie.net.nft import wire

Side = Literal["saddr", "daddr"]
PortSide = Literal["sport", "dport"]

_META_MARK, _META_IIFNAME, _META_OIFNAME, _META_L4PROTO = 3, 6, 7, 16
_NETWORK, _TRANSPORT = 1, 2
_U32 = struct.Struct("=I")
_PORT = struct.Struct(">H")
_ADDRESS_AT = {("saddr", 4): 12, ("daddr", 4): 16, ("saddr", 6): 8, ("daddr", 6): 24}
_FAMILY_WORD = {4: "ip", 6: "ip6"}
_CT_STATES = {"invalid": 1, "established": 2, "related": 4, "new": 8, "untracked": 64}
_FIB_FLAGS = {"saddr": 1, "daddr": 2, "mark": 4, "iif": 8, "oif": 16}
_FIB_PRESENT = 32
_ADDRESS_TYPES = {"unicast": 1, "local": 2, "broadcast": 3, "multicast": 5}
_INTERFACE_LENGTH = 16


def _not(negated: bool) -> str:
    return "!= " if negated else ""


@dataclass(frozen=True, slots=True)
class Interface:
    """direction: iifname or oifname; a name that ends in * is a prefix."""

    direction: Literal["iifname", "oifname"]
    name: str
    negated: bool = False

    def text(self) -> str:
        return f'{self.direction} {_not(self.negated)}"{self.name}"'

    def encode(self) -> bytes:
        name = self.name.encode()
        value = name[:-1] if name.endswith(b"*") else name.ljust(_INTERFACE_LENGTH, b"\0")
        key = _META_IIFNAME if self.direction == "iifname" else _META_OIFNAME
        return wire.meta(key) + wire.compare(value, negated=self.negated)


@dataclass(frozen=True, slots=True)
class Mark:
    """The packet mark under `mask` equals `value`."""

    mask: int
    value: int
    negated: bool = False

    def text(self) -> str:
        return f"meta mark & 0x{self.mask:08x} {'!=' if self.negated else '=='} 0x{self.value:08x}"

    def encode(self) -> bytes:
        return (
            wire.meta(_META_MARK)
            + wire.bitwise(_U32.pack(self.mask), _U32.pack(0))
            + wire.compare(_U32.pack(self.value), negated=self.negated)
        )


@dataclass(frozen=True, slots=True)
class ConntrackState:
    states: tuple[str, ...]

    def text(self) -> str:
        return f"ct state {','.join(self.states)}"

    def encode(self) -> bytes:
        bits = sum(_CT_STATES[state] for state in self.states)
        return (
            wire.expression("ct", wire.be32(2, 0), wire.be32(1, wire.REG_1))
            + wire.bitwise(_U32.pack(bits), _U32.pack(0))
            + wire.compare(_U32.pack(0), negated=True)
        )


@dataclass(frozen=True, slots=True)
class DestinationTranslated:
    """The connection's destination was rewritten."""

    negated: bool = False

    def text(self) -> str:
        return f"ct status {'! ' if self.negated else ''}dnat"

    def encode(self) -> bytes:
        return (
            wire.expression("ct", wire.be32(2, 2), wire.be32(1, wire.REG_1))
            + wire.bitwise(_U32.pack(32), _U32.pack(0))
            + wire.compare(_U32.pack(0), negated=not self.negated)
        )


@dataclass(frozen=True, slots=True)
class Protocol:
    number: int
    negated: bool = False

    def text(self) -> str:
        return f"meta l4proto {_not(self.negated)}{self.number}"

    def encode(self) -> bytes:
        if not 0 <= self.number <= 255:
            raise ValueError(f"protocol {self.number} is not within 0-255")
        return wire.meta(_META_L4PROTO) + wire.compare(bytes((self.number,)), negated=self.negated)


@dataclass(frozen=True, slots=True)
class ProtocolSet:
    name: str

    def text(self) -> str:
        return f"meta l4proto @{self.name}"

    def encode(self) -> bytes:
        return wire.meta(_META_L4PROTO) + wire.lookup(self.name)


@dataclass(frozen=True, slots=True)
class Address:
    """The packet's source or destination lies within one CIDR."""

    side: Side
    cidr: str
    negated: bool = False

    def text(self) -> str:
        network = ipaddress.ip_network(self.cidr)
        shown = str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)
        return f"{_FAMILY_WORD[network.version]} {self.side} {_not(self.negated)}{shown}"

    def encode(self) -> bytes:
        network = ipaddress.ip_network(self.cidr)
        offset = _ADDRESS_AT[self.side, network.version]
        length, address = network.prefixlen, network.network_address.packed
        if length and length % 8 == 0:
            size = length // 8
            return wire.payload(_NETWORK, offset, size) + wire.compare(address[:size], negated=self.negated)
        return (
            wire.payload(_NETWORK, offset, len(address))
            + wire.bitwise(network.netmask.packed, bytes(len(address)))
            + wire.compare(address, negated=self.negated)
        )


@dataclass(frozen=True, slots=True)
class AddressSet:
    side: Side
    version: Literal[4, 6]
    name: str
    negated: bool = False

    def text(self) -> str:
        return f"{_FAMILY_WORD[self.version]} {self.side} {_not(self.negated)}@{self.name}"

    def encode(self) -> bytes:
        size = 4 if self.version == 4 else 16
        return wire.payload(_NETWORK, _ADDRESS_AT[self.side, self.version], size) + wire.lookup(
            self.name, negated=self.negated
        )


@dataclass(frozen=True, slots=True)
class Port:
    """Both ends included. Needs a requirement of a protocol with ports before it."""

    side: PortSide
    first: int
    last: int
    negated: bool = False

    def text(self) -> str:
        span = f"{self.first}" if self.first == self.last else f"{self.first}-{self.last}"
        return f"th {self.side} {_not(self.negated)}{span}"

    def encode(self) -> bytes:
        load = wire.payload(_TRANSPORT, 0 if self.side == "sport" else 2, 2)
        first, last = _PORT.pack(self.first), _PORT.pack(self.last)
        if self.first == self.last:
            return load + wire.compare(first, negated=self.negated)
        return load + wire.value_range(first, last, negated=self.negated)


@dataclass(frozen=True, slots=True)
class PortSet:
    side: PortSide
    name: str
    negated: bool = False

    def text(self) -> str:
        return f"th {self.side} {_not(self.negated)}@{self.name}"

    def encode(self) -> bytes:
        offset = 0 if self.side == "sport" else 2
        return wire.payload(_TRANSPORT, offset, 2) + wire.lookup(self.name, negated=self.negated)


@dataclass(frozen=True, slots=True)
class AddressPortSet:
    """address . protocol . port of one side is in a set."""

    side: Side
    version: Literal[4, 6]
    name: str
    negated: bool = False

    def text(self) -> str:
        port = "sport" if self.side == "saddr" else "dport"
        word = _FAMILY_WORD[self.version]
        return f"{word} {self.side} . meta l4proto . th {port} {_not(self.negated)}@{self.name}"

    def encode(self) -> bytes:
        words = 1 if self.version == 4 else 4
        return (
            wire.payload(_NETWORK, _ADDRESS_AT[self.side, self.version], words * 4, wire.reg32(0))
            + wire.meta(_META_L4PROTO, wire.reg32(words))
            + wire.payload(_TRANSPORT, 0 if self.side == "saddr" else 2, 2, wire.reg32(words + 1))
            + wire.lookup(self.name, negated=self.negated, register=wire.reg32(0))
        )


@dataclass(frozen=True, slots=True)
class Icmp:
    """ICMP (version 4) or ICMPv6 (version 6) type, and code if given. Needs the protocol to be required before."""

    version: Literal[4, 6]
    type: int
    code: int | None = None

    def text(self) -> str:
        word = "icmp" if self.version == 4 else "icmpv6"
        code = "" if self.code is None else f" {word} code {self.code}"
        return f"{word} type {self.type}{code}"

    def encode(self) -> bytes:
        if self.code is None:
            return wire.payload(_TRANSPORT, 0, 1) + wire.compare(bytes((self.type,)))
        return wire.payload(_TRANSPORT, 0, 2) + wire.compare(bytes((self.type, self.code)))


@dataclass(frozen=True, slots=True)
class NotIcmp:
    """Any ICMP message but the given type, or but the given pair of type and code."""

    version: Literal[4, 6]
    type: int
    code: int | None = None

    def text(self) -> str:
        word = "icmp" if self.version == 4 else "icmpv6"
        if self.code is None:
            return f"{word} type != {self.type}"
        return f"@th,0,16 != 0x{self.type:02x}{self.code:02x}"

    def encode(self) -> bytes:
        if self.code is None:
            return wire.payload(_TRANSPORT, 0, 1) + wire.compare(bytes((self.type,)), negated=True)
        return wire.payload(_TRANSPORT, 0, 2) + wire.compare(bytes((self.type, self.code)), negated=True)


@dataclass(frozen=True, slots=True)
class NoRouteBack:
    """The routing table sends packets for the source elsewhere than to the interface the packet came from."""

    def text(self) -> str:
        return "fib saddr . mark . iif oif missing"

    def encode(self) -> bytes:
        flags = _FIB_FLAGS["saddr"] | _FIB_FLAGS["mark"] | _FIB_FLAGS["iif"] | _FIB_PRESENT
        return wire.expression("fib", wire.be32(3, flags), wire.be32(2, 1), wire.be32(1, wire.REG_1)) + wire.compare(
            _U32.pack(0)
        )


@dataclass(frozen=True, slots=True)
class AddressType:
    """keys: parts of the lookup, such as ("saddr", "oif"); type: such as local."""

    keys: tuple[str, ...]
    type: str
    negated: bool = False

    def text(self) -> str:
        return f"fib {' . '.join(self.keys)} type {_not(self.negated)}{self.type}"

    def encode(self) -> bytes:
        flags = sum(_FIB_FLAGS[key] for key in self.keys)
        return wire.expression("fib", wire.be32(3, flags), wire.be32(2, 3), wire.be32(1, wire.REG_1)) + wire.compare(
            _U32.pack(_ADDRESS_TYPES[self.type]), negated=self.negated
        )


@dataclass(frozen=True, slots=True)
class InterfaceAddressSet:
    """interface . address is in a set; of the incoming interface and the source address."""

    version: Literal[4, 6]
    name: str
    negated: bool = False

    def text(self) -> str:
        return f"iifname . {_FAMILY_WORD[self.version]} saddr {_not(self.negated)}@{self.name}"

    def encode(self) -> bytes:
        size = 4 if self.version == 4 else 16
        return (
            wire.meta(_META_IIFNAME, wire.reg32(0))
            + wire.payload(_NETWORK, _ADDRESS_AT["saddr", self.version], size, wire.reg32(4))
            + wire.lookup(self.name, negated=self.negated, register=wire.reg32(0))
        )
