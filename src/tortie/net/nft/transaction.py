"""One atomic change of the ruleset, message by message, each remembered with what it is about.

The dataplane adds tables, chains, sets, elements and rules in the order in which the kernel must see them;
`Connection.commit` sends the lot as one batch and translates the kernel's complaints back into the subjects.
"""

import ipaddress
import struct
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from tortie.net.netlink import (
    ACK,
    CREATE,
    REQUEST,
    attribute,
    attribute_list,
    attributes,
    be32,
    message,
    nested,
)
from tortie.net.nft import wire

Family = Literal["ip", "ip6"]
_GENERIC = struct.Struct(">BBH")
_PORT = struct.Struct(">H")
_ELEMENTS_LIMIT = 48_000  # bytes of elements in one message; an attribute's length has 16 bits


@dataclass(frozen=True, slots=True)
class Hook:
    type: Literal["filter", "nat", "route"]
    hook: Literal["prerouting", "input", "forward", "output", "postrouting"]
    priority: int

    def text(self) -> str:
        return f"type {self.type} hook {self.hook} priority {self.priority}; policy accept;"


@dataclass(frozen=True, slots=True)
class SetShape:
    """What cannot change in the life of a set. key_type: nft's number of the type; key_length: bytes."""

    key_type: int
    key_length: int
    interval: bool = False
    verdict_map: bool = False


@dataclass(frozen=True, slots=True)
class SetType:
    """What a set holds. interval: ranges of a single field. Otherwise as in SetShape."""

    name: str
    key_type: int
    key_length: int
    interval: bool = False
    verdict_map: bool = False

    @property
    def shape(self) -> SetShape:
        return SetShape(self.key_type, self.key_length, self.interval, self.verdict_map)

    def text(self) -> str:
        kind = f"type {self.name} : verdict;" if self.verdict_map else f"type {self.name};"
        return f"{kind} flags interval;" if self.interval else kind


def _concatenated(*types: int) -> int:
    number = 0
    for kind in types:
        number = number << 6 | kind
    return number


NETS4 = SetType("ipv4_addr", wire.TYPE_IPV4, 4, interval=True)
NETS6 = SetType("ipv6_addr", wire.TYPE_IPV6, 16, interval=True)
ADDRESSES4 = SetType("ipv4_addr", wire.TYPE_IPV4, 4)
ADDRESSES6 = SetType("ipv6_addr", wire.TYPE_IPV6, 16)
ADDRESS_PORTS4 = SetType(
    "ipv4_addr . inet_proto . inet_service",
    _concatenated(wire.TYPE_IPV4, wire.TYPE_PROTOCOL, wire.TYPE_PORT),
    12,
)
ADDRESS_PORTS6 = SetType(
    "ipv6_addr . inet_proto . inet_service",
    _concatenated(wire.TYPE_IPV6, wire.TYPE_PROTOCOL, wire.TYPE_PORT),
    24,
)
PROTOCOLS = SetType("inet_proto", wire.TYPE_PROTOCOL, 1)
PORTS = SetType("inet_service", wire.TYPE_PORT, 2)
PORT_RANGES = SetType("inet_service", wire.TYPE_PORT, 2, interval=True)
INTERFACE_VERDICTS = SetType("ifname", wire.TYPE_INTERFACE, 16, verdict_map=True)
INTERFACE_ADDRESSES4 = SetType("ifname . ipv4_addr", _concatenated(wire.TYPE_INTERFACE, wire.TYPE_IPV4), 20)
INTERFACE_ADDRESSES6 = SetType("ifname . ipv6_addr", _concatenated(wire.TYPE_INTERFACE, wire.TYPE_IPV6), 32)

# --- elements --------------------------------------------------------------------------------------------------


def _element(key: bytes, *extra: bytes) -> bytes:
    return nested(1, wire.data(1, key), *extra)


_END = be32(3, wire.ELEMENT_INTERVAL_END)


def key_element(key: bytes) -> bytes:
    return _element(key)


def interval_element(first: int, last: int, size: int) -> bytes:
    """All keys of `size` bytes from first to last, both included."""
    prefix, _ = _template(size, False)
    start = prefix + first.to_bytes(size, "big") + _padding(size)
    if last + 1 >= 1 << (8 * size):
        return start
    prefix, suffix = _template(size, True)
    return start + prefix + (last + 1).to_bytes(size, "big") + suffix


def _padding(size: int) -> bytes:
    return bytes(-size & 3)


@lru_cache
def _template(size: int, end: bool) -> tuple[bytes, bytes]:
    """What stands before and after the key of an element: sets have tens of thousands, alike but for their keys."""
    element = _element(bytes(size), *([_END] if end else []))
    return element[:12], element[12 + size :]


def net_element(version: Literal[4, 6], address: int, length: int) -> bytes:
    """All addresses of a network."""
    bits = 32 if version == 4 else 128
    return interval_element(address, address + (1 << (bits - length)) - 1, bits // 8)


def address_port_element(ip: str, protocol: int, port: int) -> bytes:
    packed = ipaddress.ip_address(ip).packed
    return _element(packed + bytes((protocol, 0, 0, 0)) + _PORT.pack(port) + b"\0\0")


def port_element(first: int, last: int, *, interval: bool) -> bytes:
    return interval_element(first, last, 2) if interval else _element(_PORT.pack(first))


def interface_key(name: str) -> bytes:
    encoded = name.encode()
    if len(encoded) > 15:
        raise ValueError(f"interface name {name!r} is longer than 15 bytes")
    return encoded.ljust(16, b"\0")


def interface_goto(name: str, chain: str) -> bytes:
    """An element of a verdict map: packets of interface `name` go to `chain`."""
    return _element(interface_key(name), nested(2, wire.verdict(wire.GOTO, chain)))


def interface_address_element(name: str, ip: str) -> bytes:
    return _element(interface_key(name) + ipaddress.ip_address(ip).packed)


# User data of a set that tells the nft program how to print keys: record 0, four bytes, 1 for host order, 2 for big.
_BYTE_ORDER_HOST = struct.pack("=BBI", 0, 4, 1)
_BYTE_ORDER_BIG = struct.pack("=BBI", 0, 4, 2)

# --- the transaction -------------------------------------------------------------------------------------------


class Transaction:
    """Messages in order. `subject` is any hashable that tells the caller what a refusal is about."""

    def __init__(self) -> None:
        self._messages: list[tuple[int, int, int, bytes]] = []
        self.subjects: list[Hashable] = []
        self.size = 0

    def __len__(self) -> int:
        return len(self._messages)

    def _add(self, kind: int, flags: int, family: Family, body: bytes, subject: Hashable) -> None:
        self._messages.append((kind, flags, wire.FAMILIES[family], body))
        self.subjects.append(subject)
        self.size += len(body) + 24

    def add_table(self, family: Family, name: str) -> None:
        self._add(wire.NEWTABLE, CREATE, family, attribute(1, name.encode() + b"\0"), ("table", family, name))

    def delete_table(self, family: Family, name: str) -> None:
        self._add(wire.DELTABLE, 0, family, attribute(1, name.encode() + b"\0"), ("table", family, name))

    def add_chain(self, family: Family, table: str, name: str, subject: Hashable, hook: Hook | None = None) -> None:
        body = attribute(1, table.encode() + b"\0") + attribute(3, name.encode() + b"\0")
        if hook is not None:
            body += nested(4, be32(1, wire.HOOKS[hook.hook]), be32(2, hook.priority & 0xFFFFFFFF))
            body += be32(5, wire.ACCEPT) + attribute(7, hook.type.encode() + b"\0")
        self._add(wire.NEWCHAIN, CREATE, family, body, subject)

    def flush_chain(self, family: Family, table: str, name: str, subject: Hashable) -> None:
        body = attribute(1, table.encode() + b"\0") + attribute(2, name.encode() + b"\0")
        self._add(wire.DELRULE, 0, family, body, subject)

    def delete_chain(self, family: Family, table: str, name: str, subject: Hashable) -> None:
        body = attribute(1, table.encode() + b"\0") + attribute(3, name.encode() + b"\0")
        self._add(wire.DELCHAIN, 0, family, body, subject)

    def add_rules(
        self, family: Family, table: str, chain: str, rules: Iterable[tuple[bytes, bytes]], subject: Hashable
    ) -> None:
        """Appends rules, each as its encoded expressions and its user data (see `comment_data`)."""
        head = attribute(1, table.encode() + b"\0") + attribute(2, chain.encode() + b"\0")
        for expressions, user_data in rules:
            body = head + nested(4, expressions)
            if user_data:
                body += attribute(7, user_data)
            self._add(wire.NEWRULE, CREATE | 0x800, family, body, subject)

    def add_set(self, family: Family, table: str, name: str, kind: SetType, subject: Hashable) -> None:
        flags = (wire.SET_INTERVAL if kind.interval else 0) | (wire.SET_MAP if kind.verdict_map else 0)
        body = (
            attribute(1, table.encode() + b"\0")
            + attribute(2, name.encode() + b"\0")
            + be32(3, flags)
            + be32(4, kind.key_type)
            + be32(5, kind.key_length)
            + be32(10, len(self._messages) + 1)
        )
        if kind.verdict_map:
            body += be32(6, wire.DATA_VERDICT) + be32(7, 16)
        body += attribute(13, _BYTE_ORDER_HOST if kind.key_type == wire.TYPE_INTERFACE else _BYTE_ORDER_BIG)
        self._add(wire.NEWSET, CREATE, family, body, subject)

    def delete_set(self, family: Family, table: str, name: str, subject: Hashable) -> None:
        body = attribute(1, table.encode() + b"\0") + attribute(2, name.encode() + b"\0")
        self._add(wire.DELSET, 0, family, body, subject)

    def add_elements(self, family: Family, table: str, name: str, elements: Iterable[bytes], subject: Hashable) -> None:
        self._elements(wire.NEWSETELEM, CREATE, family, table, name, elements, subject)

    def delete_elements(
        self, family: Family, table: str, name: str, elements: Iterable[bytes], subject: Hashable
    ) -> None:
        self._elements(wire.DELSETELEM, 0, family, table, name, elements, subject)

    def flush_elements(self, family: Family, table: str, name: str, subject: Hashable) -> None:
        body = attribute(1, table.encode() + b"\0") + attribute(2, name.encode() + b"\0")
        self._add(wire.DELSETELEM, 0, family, body, subject)

    def _elements(
        self, kind: int, flags: int, family: Family, table: str, name: str, elements: Iterable[bytes], subject: Hashable
    ) -> None:
        head = attribute(1, table.encode() + b"\0") + attribute(2, name.encode() + b"\0")
        part: list[bytes] = []
        size = 0
        for element in elements:
            if size + len(element) > _ELEMENTS_LIMIT:
                self._add(kind, flags, family, head + nested(3, *part), subject)
                part, size = [], 0
            part.append(element)
            size += len(element)
        if part:
            self._add(kind, flags, family, head + nested(3, *part), subject)

    def encode(self, first_sequence: int, *, check: bool = False) -> bytes:
        """The batch; message i has sequence number first_sequence + 1 + i, so that an error finds its subject. With
        `check` the end is missing, so that the kernel examines everything and takes nothing."""
        boundary = _GENERIC.pack(0, 0, wire.SUBSYSTEM)
        parts = [message(wire.BATCH_BEGIN, REQUEST, first_sequence, boundary)]
        sequence = first_sequence
        for kind, flags, family, body in self._messages:
            sequence += 1
            parts.append(
                message(wire.SUBSYSTEM << 8 | kind, REQUEST | flags, sequence, _GENERIC.pack(family, 0, 0) + body)
            )
        if not check:
            parts.append(message(wire.BATCH_END, REQUEST | ACK, sequence + 1, boundary))
        return b"".join(parts)


def element_keys(elements: bytes) -> list[bytes]:
    """The keys of encoded elements, each followed by a byte that is 1 for the end of an interval."""
    result = []
    for _, element in attribute_list(elements):
        values = attributes(element)
        result.append(attributes(values[1])[1] + (b"\x01" if 3 in values else b"\0"))
    return result


def comment_data(comment: str) -> bytes:
    """The user data in which the nft program finds a rule's comment."""
    value = comment.encode()[:127] + b"\0"
    return bytes((0, len(value))) + value
