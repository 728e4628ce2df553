"""VXLAN devices: making one, and telling whether an existing one is as wanted.

Parameters come in as `Vxlan`; the caller passes the socket. Differences that the kernel cannot change in place are
named, so that the caller deletes and makes the device anew.
"""

import struct
from dataclasses import dataclass

from tortie.net import link
from tortie.net.link import Link, ip_bytes, ip_text
from tortie.net.netlink import Netlink, attribute, be16, u8, u32

_ID, _LINK, _LOCAL, _LEARNING, _PORT, _LOCAL6 = 1, 3, 4, 7, 15, 17
_UDP_CSUM, _UDP6_TX, _UDP6_RX = 18, 19, 20


@dataclass(frozen=True, slots=True)
class Vxlan:
    """local: the address from which encapsulated packets leave; parent: index of the device they leave by."""

    name: str
    vni: int
    port: int
    local: str
    parent: int
    mac: str
    mtu: int


def create(sock: Netlink, wanted: Vxlan) -> None:
    """Learning is off: where a MAC address lives is programmed. Raises NetlinkError."""
    v6 = ":" in wanted.local
    data = u32(_ID, wanted.vni) + be16(_PORT, wanted.port) + u8(_LEARNING, 0)
    data += attribute(_LOCAL6 if v6 else _LOCAL, ip_bytes(wanted.local))
    data += u32(_LINK, wanted.parent) + u8(_UDP_CSUM, 1)
    if v6:
        data += u8(_UDP6_TX, 0) + u8(_UDP6_RX, 0)
    link.create(sock, wanted.name, "vxlan", data=data, mac=wanted.mac, mtu=wanted.mtu, up=True)


def difference(found: Link, wanted: Vxlan) -> str:
    """Why the device must be made anew, in words; "" if it need not."""
    if found.kind != "vxlan":
        return f"it is of kind {found.kind or 'physical'}"
    local = found.data.get(_LOCAL) or found.data.get(_LOCAL6)
    comparisons = (
        ("VNI", struct.unpack("=I", found.data.get(_ID, b"\0\0\0\0"))[0], wanted.vni),
        ("port", struct.unpack(">H", found.data.get(_PORT, b"\0\0"))[0], wanted.port),
        ("local address", ip_text(local) if local else "", wanted.local),
        ("parent", struct.unpack("=I", found.data.get(_LINK, b"\0\0\0\0"))[0], wanted.parent),
        ("learning", found.data.get(_LEARNING, b"\0")[0], 0),
        ("MAC address", found.mac, wanted.mac),
    )
    for word, has, should in comparisons:
        if has != should:
            return f"{word} is {has}, should be {should}"
    return ""
