"""The connection tracking table: forgetting the connections of an address, counting entries.

Callers pass addresses that left the node; every entry with one of them in any of its four places goes. The table is
read as raw bytes with fixed offsets, since it may hold a million entries.
"""

import errno
import struct
from collections.abc import Iterable

from tortie.net import netlink
from tortie.net.link import ip_bytes
from tortie.net.netlink import Netlink, NetlinkError, attribute, attributes

_SUBSYSTEM = 1
_GET, _DELETE = _SUBSYSTEM << 8 | 1, _SUBSYSTEM << 8 | 2
_GENERIC = struct.Struct(">BBH")
_ORIGINAL, _REPLY, _ID, _ZONE = 1, 2, 12, 18
_TUPLE_IP = 1
_FAMILIES = {4: 2, 16: 10}


def forget_addresses(ips: Iterable[str]) -> int:
    """Deletes all entries that involve one of the addresses; returns how many. Raises NetlinkError."""
    packed: dict[int, set[bytes]] = {4: set(), 16: set()}
    for ip in ips:
        value = ip_bytes(ip)
        packed[len(value)].add(value)
    deleted = 0
    for size, wanted in packed.items():
        if wanted:
            deleted += _forget(_FAMILIES[size], wanted)
    return deleted


def _forget(family: int, wanted: set[bytes]) -> int:
    deleted = 0
    with Netlink(netlink.NETFILTER, receive_buffer=4 << 20) as sock:
        for reply in sock.dump(_GET, _GENERIC.pack(family, 0, 0), "listing connections"):
            body = reply.body
            if not any(address in body for address in wanted):  # a cheap look before parsing
                continue
            values = attributes(body, 4)
            if not _addresses(values) & wanted:
                continue
            request = _GENERIC.pack(family, 0, 0) + attribute(_ORIGINAL | netlink.NESTED, values[_ORIGINAL])
            if _ID in values:
                request += attribute(_ID, values[_ID])
            if _ZONE in values:
                request += attribute(_ZONE, values[_ZONE])
            try:
                sock.request(_DELETE, 0, request, "forgetting a connection")
                deleted += 1
            except NetlinkError as error:
                if error.errno != errno.ENOENT:  # it ended meanwhile
                    raise
    return deleted


def _addresses(values: dict[int, bytes]) -> set[bytes]:
    result = set()
    for direction in (_ORIGINAL, _REPLY):
        addresses = attributes(attributes(values.get(direction, b"")).get(_TUPLE_IP, b""))
        result |= set(addresses.values())
    return result
