"""Network interfaces: listing, changing, making and deleting them, and their addresses.

Callers pass an open `Netlink` socket, which decides the namespace, and names or indexes; typed `Link`s and `Address`es
come back. `parse_link` and `parse_address` serve the event monitor too.
"""

import socket
import struct
from dataclasses import dataclass

from tortie.net import netlink
from tortie.net.netlink import CREATE, EXCL, REPLACE, Netlink, attribute, attributes, nested, text, u32

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
IFF_UP, IFF_RUNNING = 0x1, 0x40

_INFO = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_U32 = struct.Struct("=I")
_IFLA_ADDRESS, _IFLA_NAME, _IFLA_MTU, _IFLA_LINK, _IFLA_MASTER = 1, 3, 4, 5, 10
_IFLA_OPERSTATE, _IFLA_LINKINFO, _IFLA_EXT_MASK, _IFLA_ALIAS = 16, 18, 29, 20
_INFO_KIND, _INFO_DATA = 1, 2
_OPERATIONAL_DOWN = (2, 3, 4)  # down, lower layer down, testing


@dataclass(frozen=True, slots=True)
class Link:
    """up: switched on; running: switched on and able to carry packets; data: attributes of its kind."""

    index: int
    name: str
    up: bool
    running: bool
    mtu: int
    mac: str
    kind: str
    parent: int
    master: int
    data: dict[int, bytes]


@dataclass(frozen=True, slots=True)
class Address:
    index: int
    ip: str
    length: int


def mac_bytes(mac: str) -> bytes:
    """Raises ValueError."""
    packed = bytes.fromhex(mac.replace(":", "").replace("-", ""))
    if len(packed) != 6:
        raise ValueError(f"{mac!r} is not a MAC address")
    return packed


def ip_text(packed: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


def ip_bytes(ip: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in ip else socket.AF_INET, ip)


def family_of(ip: str) -> int:
    return socket.AF_INET6 if ":" in ip else socket.AF_INET


def parse_link(body: bytes) -> Link:
    _, _, index, flags, _ = _INFO.unpack_from(body)
    values = attributes(body, 16)
    info = attributes(values.get(_IFLA_LINKINFO, b""))
    state = values.get(_IFLA_OPERSTATE, b"\0")[0]
    return Link(
        index=index,
        name=values.get(_IFLA_NAME, b"").rstrip(b"\0").decode(errors="replace"),
        up=bool(flags & IFF_UP),
        running=bool(flags & IFF_UP) and state not in _OPERATIONAL_DOWN,
        mtu=_U32.unpack(values[_IFLA_MTU])[0] if _IFLA_MTU in values else 0,
        mac=values.get(_IFLA_ADDRESS, b"").hex(":"),
        kind=info.get(_INFO_KIND, b"").rstrip(b"\0").decode(),
        parent=_U32.unpack(values[_IFLA_LINK])[0] if _IFLA_LINK in values else 0,
        master=_U32.unpack(values[_IFLA_MASTER])[0] if _IFLA_MASTER in values else 0,
        data=attributes(info.get(_INFO_DATA, b"")),
    )


def parse_address(body: bytes) -> Address:
    _, length, _, _, index = _ADDRESS.unpack_from(body)
    values = attributes(body, 8)
    # IFA_LOCAL is the interface's own address where IFA_ADDRESS is the peer's.
    return Address(index=index, ip=ip_text(values[2] if 2 in values else values[1]), length=length)


def links(sock: Netlink) -> list[Link]:
    # The extended filter mask leaves statistics of virtual functions out.
    body = _INFO.pack(0, 0, 0, 0, 0) + u32(_IFLA_EXT_MASK, 8)
    return [parse_link(reply.body) for reply in sock.dump(RTM_GETLINK, body, "listing interfaces")]


def link(sock: Netlink, name: str) -> Link | None:
    body = _INFO.pack(0, 0, 0, 0, 0) + text(_IFLA_NAME, name) + u32(_IFLA_EXT_MASK, 8)
    try:
        return parse_link(sock.get(RTM_GETLINK, body, f"reading interface {name}").body)
    except netlink.NetlinkError as error:
        if error.errno == 19:  # ENODEV
            return None
        raise


def set_up(sock: Netlink, index: int, *, up: bool = True) -> None:
    body = _INFO.pack(0, 0, index, IFF_UP if up else 0, IFF_UP)
    sock.request(RTM_NEWLINK, 0, body, f"switching interface {index} {'on' if up else 'off'}")


def set_mtu(sock: Netlink, index: int, mtu: int) -> None:
    sock.request(RTM_NEWLINK, 0, _INFO.pack(0, 0, index, 0, 0) + u32(_IFLA_MTU, mtu), f"MTU {mtu} of interface {index}")


def set_mac(sock: Netlink, index: int, mac: str) -> None:
    body = _INFO.pack(0, 0, index, 0, 0) + attribute(_IFLA_ADDRESS, mac_bytes(mac))
    sock.request(RTM_NEWLINK, 0, body, f"MAC address {mac} of interface {index}")


def create(
    sock: Netlink, name: str, kind: str, *, data: bytes = b"", mac: str = "", mtu: int = 0, up: bool = False
) -> None:
    """A virtual interface. data: encoded attributes of its kind. Raises NetlinkError, EEXIST for a taken name."""
    body = _INFO.pack(0, 0, 0, IFF_UP if up else 0, IFF_UP if up else 0) + text(_IFLA_NAME, name)
    if mac:
        body += attribute(_IFLA_ADDRESS, mac_bytes(mac))
    if mtu:
        body += u32(_IFLA_MTU, mtu)
    info = [text(_INFO_KIND, kind)]
    if data:
        info.append(nested(_INFO_DATA, data))
    body += nested(_IFLA_LINKINFO, *info)
    sock.request(RTM_NEWLINK, CREATE | EXCL, body, f"making {kind} interface {name}")


def delete(sock: Netlink, index: int) -> None:
    sock.request(RTM_DELLINK, 0, _INFO.pack(0, 0, index, 0, 0), f"deleting interface {index}")


def addresses(sock: Netlink) -> list[Address]:
    body = _ADDRESS.pack(0, 0, 0, 0, 0)
    return [parse_address(reply.body) for reply in sock.dump(RTM_GETADDR, body, "listing addresses")]


def _address_body(index: int, ip: str, length: int) -> bytes:
    packed = ip_bytes(ip)
    # 0x02: no duplicate address detection, which would keep an IPv6 address from use for seconds.
    head = _ADDRESS.pack(family_of(ip), length, 0x02 if ":" in ip else 0, 0, index)
    return head + attribute(2, packed) + attribute(1, packed)


def add_address(sock: Netlink, index: int, ip: str, length: int) -> None:
    """Idempotent."""
    sock.request(
        RTM_NEWADDR, CREATE | REPLACE, _address_body(index, ip, length), f"address {ip}/{length} on interface {index}"
    )


def delete_address(sock: Netlink, index: int, ip: str, length: int) -> None:
    sock.request(
        RTM_DELADDR, 0, _address_body(index, ip, length), f"removing address {ip}/{length} from interface {index}"
    )
