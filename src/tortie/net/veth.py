"""A narrow, fast door to rtnetlink: veth pairs across network namespaces, their addresses and routes.

For the CNI agent, which connects pods within milliseconds; messages are built as bytes and sent several at a time. In:
names, addresses, namespace descriptors. Out: changes in the kernel, or NetlinkError with the errno of the message that
failed. Everything else that needs netlink uses the rest of `tortie.net`.
"""

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

_CLONE_NEWNET = 0x40000000
_ANSWER_SECONDS = 20.0
# PyDLL keeps the interpreter lock: entering a namespace is too short to hand it over.
_libc = ctypes.PyDLL(None, use_errno=True)

_NEWLINK, _DELLINK, _GETLINK, _SETLINK = 16, 17, 18, 19
_NEWADDR, _GETADDR = 20, 22
_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26
_NEWNEIGH = 28
_ERROR, _DONE = 2, 3
_REQUEST, _MULTI, _ACK, _ROOT, _MATCH, _REPLACE, _EXCL, _CREATE = 1, 2, 4, 0x100, 0x200, 0x100, 0x200, 0x400
_IFF_UP, _IFF_RUNNING = 1, 0x40
_IFA_F_NODAD = 0x02
_RTM_F_FIB_MATCH = 0x2000
_RTPROT_BOOT, _TABLE_MAIN = 3, 254
SCOPE_UNIVERSE, SCOPE_LINK = 0, 253
_SOL_NETLINK, _NETLINK_EXT_ACK, _NETLINK_CAP_ACK, _NETLINK_GET_STRICT_CHK = 270, 11, 10, 12


class NetlinkError(OSError):
    """The kernel refused a message. errno is the kernel's; the text says what was asked, and the kernel's own words."""


@dataclass(frozen=True, slots=True)
class Message:
    """One request. tolerated: errnos that mean `already so`. what: for the error text."""

    type: int
    flags: int
    body: bytes
    what: str
    tolerated: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Link:
    """up: as configured. running: packets pass, which comes a little later. kind: such as veth. parent: the number of
    the other end in its own namespace, None if the kernel does not say."""

    index: int
    name: str
    mac: str
    mtu: int
    up: bool
    running: bool
    kind: str
    parent: int | None


@dataclass(frozen=True, slots=True)
class Route:
    """destination: canonical CIDR; gateway "" for none."""

    destination: str
    interface_index: int
    scope: int
    protocol: int
    gateway: str = ""


@contextmanager
def inside(netns: int) -> Iterator[None]:
    """Moves the calling thread into a network namespace, and back. Never await or switch threads within."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _setns(netns)
        try:
            yield
        finally:
            _setns(home)
    finally:
        os.close(home)


def _setns(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot enter the network namespace: {os.strerror(number)}")


class RouteSocket:
    """A netlink socket. It stays in the namespace of the thread that opened it, wherever it is used later."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_GET_STRICT_CHK, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.settimeout(_ANSWER_SECONDS)
        self._socket.bind((0, 0))
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> "RouteSocket":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def apply(self, *messages: Message) -> None:
        """Sends the messages as one batch, in order. Raises NetlinkError for the first that fails; the kernel still
        carries out the later ones, so a caller undoes the whole on failure."""
        first = self._sequence + 1
        chunks = []
        for message in messages:
            self._sequence += 1
            chunks.append(
                struct.pack(
                    "=IHHII", 16 + len(message.body), message.type, message.flags | _REQUEST | _ACK, self._sequence, 0
                )
            )
            chunks.append(message.body)
            chunks.append(b"\0" * (-len(message.body) % 4))
        self._socket.send(b"".join(chunks))
        waiting = len(messages)
        failed: tuple[int, int, str] | None = None
        while waiting:
            for kind, sequence, payload in self._receive():
                if kind != _ERROR or sequence < first:
                    continue
                waiting -= 1
                code = -struct.unpack_from("=i", payload)[0]
                if code and code not in messages[sequence - first].tolerated:
                    failed = failed or (sequence - first, code, _extended_text(payload))
        if failed is not None:
            position, code, text = failed
            detail = f" ({text})" if text else ""
            raise NetlinkError(code, f"cannot {messages[position].what}: {os.strerror(code)}{detail}")

    def query(self, message: Message) -> list[tuple[int, bytes]]:
        """Asks one question; gives (type, body) of each answer. Raises NetlinkError, also for nothing found."""
        self._sequence += 1
        mine = self._sequence
        header = struct.pack("=IHHII", 16 + len(message.body), message.type, message.flags | _REQUEST, mine, 0)
        self._socket.send(header + message.body)
        answers: list[tuple[int, bytes]] = []
        dumping = bool(message.flags & _ROOT)
        while True:
            for kind, sequence, payload in self._receive():
                if sequence != mine:
                    continue
                if kind == _ERROR:
                    code = -struct.unpack_from("=i", payload)[0]
                    raise NetlinkError(code, f"cannot {message.what}: {os.strerror(code)}")
                if kind == _DONE:
                    return answers
                answers.append((kind, payload))
                if not dumping:
                    return answers

    def _receive(self) -> Iterator[tuple[int, int, bytes]]:
        data = self._socket.recv(1 << 18)
        offset = 0
        while offset + 16 <= len(data):
            length, kind, _, sequence, _ = struct.unpack_from("=IHHII", data, offset)
            yield kind, sequence, data[offset + 16 : offset + length]
            offset += (length + 3) & ~3

    # --- questions -------------------------------------------------------------------------------------------

    def link(self, name: str) -> Link | None:
        """The link of that name, None if there is none."""
        body = struct.pack("=BxHiII", 0, 0, 0, 0, 0) + _text(_IFLA_IFNAME, name)
        return self._link(Message(_GETLINK, 0, body, f"read link {name}"))

    def link_at(self, index: int) -> Link | None:
        body = struct.pack("=BxHiII", 0, 0, index, 0, 0)
        return self._link(Message(_GETLINK, 0, body, f"read link number {index}"))

    def _link(self, message: Message) -> Link | None:
        try:
            ((_, payload),) = self.query(message)
        except NetlinkError as error:
            if error.errno in (errno.ENODEV, errno.EINVAL):
                return None
            raise
        _, _, index, flags, _ = struct.unpack_from("=BxHiII", payload)
        found = _attributes(payload[16:])
        info = _attributes(found.get(_IFLA_LINKINFO, b""))
        parent = found.get(_IFLA_LINK)
        return Link(
            index=index,
            name=found[_IFLA_IFNAME].rstrip(b"\0").decode(),
            mac=":".join(f"{byte:02x}" for byte in found.get(_IFLA_ADDRESS, b"")),
            mtu=struct.unpack("=I", found[_IFLA_MTU])[0],
            up=bool(flags & _IFF_UP),
            running=bool(flags & _IFF_RUNNING),
            kind=info.get(_IFLA_INFO_KIND, b"").rstrip(b"\0").decode(),
            parent=struct.unpack("=I", parent)[0] if parent else None,
        )

    def addresses(self, index: int) -> list[str]:
        """Addresses with prefix length on one link, both families."""
        body = struct.pack("=BBBBI", 0, 0, 0, 0, index)
        found = []
        for _, payload in self.query(Message(_GETADDR, _ROOT | _MATCH, body, f"read addresses of link {index}")):
            _, length, _, _, at = struct.unpack_from("=BBBBI", payload)
            attributes = _attributes(payload[8:])
            raw = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS)
            if at == index and raw:
                found.append(f"{ip_address(raw)}/{length}")
        return found

    def route(self, destination: str) -> Route | None:
        """The entry of the main lookup that matches a /32 or /128 destination exactly; None if none does."""
        network = ip_network(destination)
        family = socket.AF_INET if network.version == 4 else socket.AF_INET6
        body = struct.pack("=BBBBBBBBI", family, network.prefixlen, 0, 0, 0, 0, 0, 0, _RTM_F_FIB_MATCH)
        body += _raw(_RTA_DST, network.network_address.packed)
        try:
            ((_, payload),) = self.query(Message(_GETROUTE, 0, body, f"read route {destination}"))
        except NetlinkError as error:
            if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EINVAL, errno.EACCES):
                return None
            raise
        found = _route(payload)
        return found if found.destination == str(network) else None

    def routes(self, *, version: int, index: int) -> list[Route]:
        """Routes of the main table that leave through one link."""
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        body = struct.pack("=BBBBBBBBI", family, 0, 0, 0, _TABLE_MAIN, 0, 0, 0, 0)
        body += _raw(_RTA_OIF, struct.pack("=I", index))
        answers = self.query(Message(_GETROUTE, _ROOT | _MATCH, body, f"read routes of link {index}"))
        return [found for _, payload in answers if (found := _route(payload)).interface_index == index]


# --- messages ----------------------------------------------------------------------------------------------------

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_LINKINFO = 1, 3, 4, 5, 18
_IFLA_NET_NS_FD, _IFLA_NUM_TX_QUEUES, _IFLA_NUM_RX_QUEUES = 28, 31, 32
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_NETKIT_PEER_INFO, _NETKIT_POLICY, _NETKIT_MODE, _NETKIT_PEER_POLICY = 1, 3, 5, 4
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_RTA_DST, _RTA_OIF, _RTA_GATEWAY = 1, 4, 5
_NDA_DST, _NDA_LLADDR, _NUD_PERMANENT = 1, 2, 0x80


def _raw(kind: int, payload: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(payload), kind) + payload + b"\0" * (-len(payload) % 4)


def _text(kind: int, text: str) -> bytes:
    return _raw(kind, text.encode() + b"\0")


def _number(kind: int, value: int) -> bytes:
    return _raw(kind, struct.pack("=I", value))


def _mac(text: str) -> bytes:
    return _raw(_IFLA_ADDRESS, bytes.fromhex(text.replace(":", "").replace("-", "")))


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    offset = 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        if length < 4:
            break
        found[kind & 0x3FFF] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def _extended_text(payload: bytes) -> str:
    # With capped acknowledgements the attributes follow error code and the header of the request.
    return _attributes(payload[20:]).get(1, b"").rstrip(b"\0").decode(errors="replace")


def _route(payload: bytes) -> Route:
    family, length, _, _, _, protocol, scope, _, _ = struct.unpack_from("=BBBBBBBBI", payload)
    found = _attributes(payload[12:])
    raw = found.get(_RTA_DST, bytes(4 if family == socket.AF_INET else 16))
    out = found.get(_RTA_OIF)
    gateway = found.get(_RTA_GATEWAY)
    return Route(
        destination=f"{ip_address(raw)}/{length}",
        interface_index=struct.unpack("=I", out)[0] if out else 0,
        scope=scope,
        protocol=protocol,
        gateway=str(ip_address(gateway)) if gateway else "",
    )


def _end(*, name: str, mac: str, mtu: int, queues: int) -> bytes:
    attributes = _text(_IFLA_IFNAME, name)
    if mac:
        attributes += _mac(mac)
    if mtu:
        attributes += _number(_IFLA_MTU, mtu)
    return attributes + _number(_IFLA_NUM_TX_QUEUES, queues) + _number(_IFLA_NUM_RX_QUEUES, queues)


def new_veth(
    *, name: str, mac: str = "", peer: str, peer_mac: str = "", peer_netns: int, mtu: int = 0, queues: int = 1
) -> Message:
    """Creates `name` in the socket's namespace and its other end directly in `peer_netns` (a descriptor)."""
    header = struct.pack("=BxHiII", 0, 0, 0, 0, 0)
    other = header + _end(name=peer, mac=peer_mac, mtu=mtu, queues=queues) + _number(_IFLA_NET_NS_FD, peer_netns)
    info = _text(_IFLA_INFO_KIND, "veth") + _raw(_IFLA_INFO_DATA, _raw(_VETH_INFO_PEER, other))
    body = header + _end(name=name, mac=mac, mtu=mtu, queues=queues) + _raw(_IFLA_LINKINFO, info)
    return Message(_NEWLINK, _CREATE | _EXCL, body, f"create veth pair {name} and {peer}")


def new_netkit(
    *, name: str, mac: str = "", peer: str, peer_mac: str = "", peer_netns: int, mtu: int = 0, queues: int = 1
) -> Message:
    """A netkit pair in layer 2 mode that forwards by default; `name` is the primary. EOPNOTSUPP: kernel without it."""
    header = struct.pack("=BxHiII", 0, 0, 0, 0, 0)
    other = header + _end(name=peer, mac=peer_mac, mtu=mtu, queues=queues) + _number(_IFLA_NET_NS_FD, peer_netns)
    data = _number(_NETKIT_MODE, 0) + _number(_NETKIT_POLICY, 0) + _number(_NETKIT_PEER_POLICY, 0)
    info = _text(_IFLA_INFO_KIND, "netkit") + _raw(_IFLA_INFO_DATA, data + _raw(_NETKIT_PEER_INFO, other))
    body = header + _end(name=name, mac=mac, mtu=mtu, queues=queues) + _raw(_IFLA_LINKINFO, info)
    return Message(_NEWLINK, _CREATE | _EXCL, body, f"create netkit pair {name} and {peer}")


def delete_link(name: str) -> Message:
    """Absent counts as done."""
    body = struct.pack("=BxHiII", 0, 0, 0, 0, 0) + _text(_IFLA_IFNAME, name)
    return Message(_DELLINK, 0, body, f"delete link {name}", frozenset({errno.ENODEV}))


def set_up(index: int, *, up: bool = True) -> Message:
    body = struct.pack("=BxHiII", 0, 0, index, _IFF_UP if up else 0, _IFF_UP)
    return Message(_NEWLINK, 0, body, f"set link number {index} {'up' if up else 'down'}")


def set_mac(index: int, mac: str) -> Message:
    body = struct.pack("=BxHiII", 0, 0, index, 0, 0) + _mac(mac)
    return Message(_NEWLINK, 0, body, f"set address of link number {index} to {mac}")


def add_address(index: int, address: str) -> Message:
    """`address` with prefix length. Without duplicate address detection; already there counts as done."""
    text, _, length = address.partition("/")
    parsed = ip_address(text)
    family = socket.AF_INET if parsed.version == 4 else socket.AF_INET6
    body = struct.pack("=BBBBI", family, int(length), 0, SCOPE_UNIVERSE, index)
    body += _raw(_IFA_LOCAL, parsed.packed) + _raw(_IFA_ADDRESS, parsed.packed)
    if parsed.version == 6:
        body += _number(_IFA_FLAGS, _IFA_F_NODAD)
    return Message(
        _NEWADDR, _CREATE | _EXCL, body, f"add address {address} to link number {index}", frozenset({errno.EEXIST})
    )


def add_route(index: int, destination: str, *, gateway: str = "", tolerate_existing: bool = False) -> Message:
    """A route of the main table, protocol boot; scope link without a gateway."""
    network = ip_network(destination, strict=False)
    family = socket.AF_INET if network.version == 4 else socket.AF_INET6
    scope = SCOPE_UNIVERSE if gateway or network.version == 6 else SCOPE_LINK
    body = struct.pack("=BBBBBBBBI", family, network.prefixlen, 0, 0, _TABLE_MAIN, _RTPROT_BOOT, scope, 1, 0)
    if network.prefixlen:
        body += _raw(_RTA_DST, network.network_address.packed)
    if gateway:
        body += _raw(_RTA_GATEWAY, ip_address(gateway).packed)
    body += _number(_RTA_OIF, index)
    tolerated = frozenset({errno.EEXIST}) if tolerate_existing else frozenset[int]()
    what = f"add route {destination}{f' via {gateway}' if gateway else ''} on link number {index}"
    return Message(_NEWROUTE, _CREATE | _EXCL, body, what, tolerated)


def add_neighbour(index: int, address: str, mac: str) -> Message:
    """A permanent entry; replaces another one."""
    parsed = ip_address(address)
    family = socket.AF_INET if parsed.version == 4 else socket.AF_INET6
    body = struct.pack("=BxHiHBB", family, 0, index, _NUD_PERMANENT, 0, 0)
    body += _raw(_NDA_DST, parsed.packed) + _raw(_NDA_LLADDR, bytes.fromhex(mac.replace(":", "")))
    return Message(_NEWNEIGH, _CREATE | _REPLACE, body, f"add neighbour {address} on link number {index}")


def delete_route(index: int, destination: str) -> Message:
    """Absent counts as done."""
    network = ip_network(destination)
    family = socket.AF_INET if network.version == 4 else socket.AF_INET6
    nowhere = 255
    body = struct.pack("=BBBBBBBBI", family, network.prefixlen, 0, 0, _TABLE_MAIN, 0, nowhere, 0, 0)
    body += _raw(_RTA_DST, network.network_address.packed) + _number(_RTA_OIF, index)
    return Message(_DELROUTE, 0, body, f"delete route {destination}", frozenset({errno.ESRCH, errno.ENODEV}))
