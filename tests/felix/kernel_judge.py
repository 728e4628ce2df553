"""Asks the kernel for verdicts: one namespace that plays node-a, a tun device for every endpoint, real packets.

A tun device hands a written packet to the kernel before `write` returns, and what the kernel forwards can be read from
the other device at once; so a verdict costs microseconds and any packet can be made. Delivery to the node itself shows
in raw sockets, which get a copy of what passed the input hook.
"""

import contextlib
import fcntl
import ipaddress
import os
import socket
import struct
from collections.abc import Iterator

from dataplane_world import checksum, new_namespace, run

from tortie.felix.calc import Calculation
from tortie.felix.dataplane import Dataplane, DataplaneConfig
from tortie.felix.messages import ConfigUpdate
from tortie.model.dataplane import Key, Node, NodeKey, Update
from tortie.net import namespace, netlink
from tortie.net.netlink import Netlink
from tortie.policy.packet import Packet

NODE = "node-a"
NODE_IP4, NODE_IP6 = "172.30.0.11", "fd00:30::11"
UPLINK = "eth0"
PODS = tuple(f"calipod{number}" for number in range(4))
NODES = (
    Update(
        NodeKey("node-a"),
        Node(ipv4=NODE_IP4, ipv4_cidr=f"{NODE_IP4}/24", ipv6=NODE_IP6, ipv6_cidr=f"{NODE_IP6}/64"),
    ),
    Update(
        NodeKey("node-b"),
        Node(ipv4="172.30.0.12", ipv4_cidr="172.30.0.12/24", ipv6="fd00:30::12", ipv6_cidr="fd00:30::12/64"),
    ),
)
_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_TCP, _UDP, _SCTP = 6, 17, 132


def _tun(name: str) -> int:
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    return fd


class KernelJudge:
    def __init__(self) -> None:
        self._namespace = new_namespace()
        with namespace.inside(self._namespace):
            self._tuns = {name: _tun(name) for name in (UPLINK, *PODS)}
            self._conntrack = Netlink(netlink.NETFILTER)
            self._sockets = {
                (family, protocol): socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol)
                for family, protocols in ((socket.AF_INET, (1, 6, 17, 132)), (socket.AF_INET6, (58, 6, 17, 132)))
                for protocol in protocols
            }
            self._senders = {
                4: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW),
                6: socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW),
            }
        lines = [f"link set {name} up" for name in self._tuns]
        lines += [
            f"address add {NODE_IP4}/24 dev {UPLINK}",
            f"address add {NODE_IP6}/64 dev {UPLINK} nodad",
            f"route add default dev {UPLINK}",
            f"route add ::/0 dev {UPLINK}",
        ]
        run(self._namespace, "\n".join(lines))

    def close(self) -> None:
        for fd in (*self._tuns.values(), self._namespace):
            os.close(fd)
        for sock in (*self._sockets.values(), *self._senders.values()):
            sock.close()
        self._conntrack.close()

    @contextlib.contextmanager
    def dataplane(self, updates: tuple[Update, ...]) -> Iterator[Dataplane]:
        """The whole chain for one case: calculation, dataplane, kernel."""
        calculation = Calculation(NODE)
        calculation.update((*NODES, *updates))
        calculation.in_sync()
        config = DataplaneConfig(node=NODE, check_conntrack_invalid=False)
        dataplane = Dataplane(config)
        with namespace.inside(self._namespace):
            kernel = dataplane.open()
            try:
                dataplane.enqueue([ConfigUpdate({}), *calculation.flush()])
                while not dataplane.work():
                    pass
                assert dataplane.ready, dataplane.problems()
                yield dataplane
            finally:
                kernel.close()

    @contextlib.contextmanager
    def walking(self) -> Iterator["Walk"]:
        """One calculation and one dataplane that go from case to case by differences."""
        dataplane = Dataplane(DataplaneConfig(node=NODE, check_conntrack_invalid=False))
        with namespace.inside(self._namespace):
            kernel = dataplane.open()
            try:
                yield Walk(dataplane)
            finally:
                kernel.close()

    def passes(self, packet: Packet, entry: str, exit_: str) -> bool:
        """Whether a packet that comes in by interface `entry` ("" for: sent by the node) leaves by `exit_` ("" for: is
        delivered to the node)."""
        self._forget_connections()
        for fd in self._tuns.values():
            _empty(fd)
        nonce = os.urandom(8)
        data = build(packet, nonce)
        if entry:
            os.write(self._tuns[entry], data)
        else:
            with contextlib.suppress(PermissionError):  # dropped in the output hook
                self._senders[packet.version].sendto(data, (packet.dst_ip, 0))
        if exit_:
            return _arrived(lambda: os.read(self._tuns[exit_], 2000), nonce)
        family = socket.AF_INET if packet.version == 4 else socket.AF_INET6
        sock = self._sockets[family, packet.protocol]
        return _arrived(lambda: sock.recv(2000), nonce)

    def _forget_connections(self) -> None:
        for family in (2, 10):
            self._conntrack.request(1 << 8 | 2, 0, struct.pack(">BBH", family, 0, 0), "forgetting all connections")


class Walk:
    def __init__(self, dataplane: Dataplane) -> None:
        self.dataplane = dataplane
        self._calculation = Calculation(NODE)
        self._known: set[Key] = set()

    def go(self, updates: tuple[Update, ...]) -> None:
        wanted = (*NODES, *updates)
        keys = {update.key for update in wanted}
        self._calculation.update([*wanted, *[Update(key, None) for key in self._known - keys]])
        self._known = keys
        self._calculation.in_sync()
        self.dataplane.enqueue(self._calculation.flush())
        while not self.dataplane.work():
            pass
        assert self.dataplane.ready, self.dataplane.problems()
        assert not self.dataplane.problems()

    def chains(self) -> dict[str, dict[str, list[bytes]]]:
        """What is written, by family and chain."""
        return {table.family: dict(table.written) for table in self.dataplane._tables}

    def elements(self) -> dict[str, set[bytes]]:
        return {
            f"{table.family} {name}": table.expected_keys(name)
            for table in self.dataplane._tables
            for name in table.set_names()
        }

    def differs(self) -> str:
        """What the kernel has otherwise than written."""
        writer = self.dataplane._writer
        assert writer is not None
        wrong = [
            name for table in self.dataplane._tables for name in table.set_names() if not writer.verify_set(table, name)
        ]
        return writer.verify() or ", ".join(wrong)


def _empty(fd: int) -> None:
    with contextlib.suppress(BlockingIOError):
        while True:
            os.read(fd, 2000)


def _arrived(read: object, nonce: bytes) -> bool:
    try:
        while nonce not in read():  # type: ignore[operator]
            pass
    except BlockingIOError:
        return False
    return True


# --- packets ---------------------------------------------------------------------------------------------------


def build(packet: Packet, nonce: bytes) -> bytes:
    """The packet on the wire, with `nonce` in its payload."""
    src, dst = ipaddress.ip_address(packet.src_ip).packed, ipaddress.ip_address(packet.dst_ip).packed
    payload = _transport(packet, src, dst, nonce)
    if packet.version == 4:
        head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, 64, packet.protocol, 0) + src + dst
        return head[:10] + checksum(head) + head[12:] + payload
    return struct.pack(">IHBB", 6 << 28, len(payload), packet.protocol, 64) + src + dst + payload


def _transport(packet: Packet, src: bytes, dst: bytes, nonce: bytes) -> bytes:
    pseudo = src + dst
    if packet.protocol == _SCTP:
        # An INIT chunk; its CRC is wrong, which only the receiver would mind.
        chunk = struct.pack(">BBHIIHHI", 1, 0, 20, 7, 65535, 1, 1, 1)
        return struct.pack(">HHII", packet.src_port, packet.dst_port, 0, 0) + chunk + nonce
    if packet.protocol == _TCP:
        body = struct.pack(">HHIIBBHHH", packet.src_port, packet.dst_port, 1, 0, 0x50, 2, 1000, 0, 0) + nonce
        at = 16
    elif packet.protocol == _UDP:
        body = struct.pack(">HHHH", packet.src_port, packet.dst_port, 8 + len(nonce), 0) + nonce
        at = 6
    else:
        body = struct.pack(">BBHHH", packet.icmp_type, packet.icmp_code, 0, 1, 1) + nonce
        at = 2
    if packet.protocol == 1:
        total = checksum(body)
    else:
        total = checksum(pseudo + struct.pack(">II", len(body), packet.protocol) + body)
    return body[:at] + total + body[at + 2 :]
