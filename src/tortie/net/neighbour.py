"""Neighbour entries and the forwarding table of VXLAN devices.

Callers pass an open `Netlink` socket and the index of an interface. Entries made here are permanent; listings name only
those, since the kernel's own come and go.
"""

import struct
from dataclasses import dataclass

from tortie.net.link import family_of, ip_bytes, ip_text, mac_bytes
from tortie.net.netlink import CREATE, REPLACE, Netlink, NetlinkError, attribute, attributes

RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
_MESSAGE = struct.Struct("=BxxxiHBB")
_PERMANENT, _NOARP = 0x80, 0x40
_SELF = 0x02
_DST, _LLADDR = 1, 2
_AF_BRIDGE = 7


@dataclass(frozen=True, slots=True)
class Neighbour:
    ip: str
    mac: str


def _dump(sock: Netlink, family: int, index: int, operation: str) -> list[tuple[int, int, dict[int, bytes]]]:
    # The kernel filters by interface for IP neighbours (NDA_IFINDEX); for a bridge's table the header's index does.
    if family == _AF_BRIDGE:
        body = _MESSAGE.pack(family, index, 0, 0, 0)
    else:
        body = _MESSAGE.pack(family, 0, 0, 0, 0) + attribute(8, struct.pack("=I", index))
    result = []
    for reply in sock.dump(RTM_GETNEIGH, body, operation):
        _, found, state, flags, _ = _MESSAGE.unpack_from(reply.body)
        if found == index:
            result.append((state, flags, attributes(reply.body, 12)))
    return result


def neighbours(sock: Netlink, family: int, index: int) -> set[Neighbour]:
    """The permanent entries of an interface."""
    result = set()
    for state, _, values in _dump(sock, family, index, f"listing neighbours of interface {index}"):
        if state & _PERMANENT and _DST in values and _LLADDR in values:
            result.add(Neighbour(ip=ip_text(values[_DST]), mac=values[_LLADDR].hex(":")))
    return result


def set_neighbour(sock: Netlink, index: int, ip: str, mac: str) -> None:
    body = _MESSAGE.pack(family_of(ip), index, _PERMANENT, 0, 1)
    body += attribute(_DST, ip_bytes(ip)) + attribute(_LLADDR, mac_bytes(mac))
    sock.request(RTM_NEWNEIGH, CREATE | REPLACE, body, f"neighbour {ip} {mac} on interface {index}")


def delete_neighbour(sock: Netlink, index: int, ip: str) -> None:
    """An entry that is not there is no error."""
    body = _MESSAGE.pack(family_of(ip), index, _PERMANENT, 0, 0) + attribute(_DST, ip_bytes(ip))
    try:
        sock.request(RTM_DELNEIGH, 0, body, f"deleting neighbour {ip} on interface {index}")
    except NetlinkError as error:
        if error.errno not in (2, 19, 6):  # ENOENT, ENODEV, ENXIO
            raise


def forwarding(sock: Netlink, index: int) -> set[tuple[str, str]]:
    """(MAC, node address) pairs of a VXLAN device."""
    result = set()
    for _, _, values in _dump(sock, _AF_BRIDGE, index, f"listing the forwarding table of interface {index}"):
        if _DST in values and _LLADDR in values:
            result.add((values[_LLADDR].hex(":"), ip_text(values[_DST])))
    return result


def _forwarding_body(index: int, mac: str, node: str) -> bytes:
    body = _MESSAGE.pack(_AF_BRIDGE, index, _PERMANENT | _NOARP, _SELF, 0)
    return body + attribute(_LLADDR, mac_bytes(mac)) + attribute(_DST, ip_bytes(node))


def set_forwarding(sock: Netlink, index: int, mac: str, node: str) -> None:
    """Frames for `mac` go to the VXLAN endpoint at `node`, and to no other."""
    body = _forwarding_body(index, mac, node)
    sock.request(RTM_NEWNEIGH, CREATE | REPLACE, body, f"VXLAN forwarding {mac} to {node}")


def delete_forwarding(sock: Netlink, index: int, mac: str, node: str) -> None:
    try:
        sock.request(RTM_DELNEIGH, 0, _forwarding_body(index, mac, node), f"deleting VXLAN forwarding {mac} to {node}")
    except NetlinkError as error:
        if error.errno not in (2, 19):
            raise
