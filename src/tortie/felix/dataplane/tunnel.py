"""One VXLAN device and its peers, kept as wanted (spec/felix.md 3.8).

This node's own tunnel endpoint and the others' come in from `network`; the device, its address, its forwarding
table and its neighbour entries are written to the kernel, differences only.
"""

import errno
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from tortie.felix.dataplane.config import DataplaneConfig
from tortie.felix.dataplane.interfaces import Interfaces
from tortie.felix.dataplane.static import VXLAN_DEVICE
from tortie.net import link, neighbour, vxlan
from tortie.net.link import Link
from tortie.net.neighbour import Neighbour
from tortie.net.netlink import Netlink, NetlinkError

_OVERHEAD = {4: 50, 6: 70}
_FALLBACK_MTU = 1460


@dataclass(frozen=True, slots=True)
class Peer:
    """parent_ip: the node's address, to which encapsulated packets go."""

    mac: str
    tunnel_ip: str
    parent_ip: str


class Tunnel:
    def __init__(self, version: Literal[4, 6], config: DataplaneConfig, interfaces: Interfaces) -> None:
        self.version = version
        self.name = VXLAN_DEVICE[version]
        self.due = True
        self.error = ""
        self._config = config
        self._interfaces = interfaces
        self._own: Peer | None = None
        self._peers: frozenset[Peer] = frozenset()

    def want(self, own: Peer | None, peers: Iterable[Peer]) -> None:
        """own None: no device."""
        new = frozenset(peers)
        if (own, new) != (self._own, self._peers):
            self._own, self._peers = own, new
            self.due = True

    def sync(self, sock: Netlink) -> None:
        """Errors are kept in `error`, and the tunnel stays due."""
        try:
            self.error = self._sync(sock)
            self.due = bool(self.error)
        except NetlinkError as error:
            self.error = str(error)
            self.due = True

    def _sync(self, sock: Netlink) -> str:
        found = link.link(sock, self.name)
        own = self._own
        if own is None:
            if found is not None and found.kind == "vxlan":
                link.delete(sock, found.index)
            return ""
        if not own.mac or not own.tunnel_ip or not own.parent_ip:
            return "this node has no tunnel address yet"
        parent = self._interfaces.with_address(own.parent_ip)
        if parent is None:
            return f"no interface has this node's address {own.parent_ip}"
        device = self._device(sock, found, own, parent)
        self._address(sock, device, own.tunnel_ip)
        self._forwarding(sock, device)
        self._neighbours(sock, device)
        return ""

    def _device(self, sock: Netlink, found: Link | None, own: Peer, parent: Link) -> Link:
        configured = self._config.vxlan_mtu if self.version == 4 else self._config.vxlan_mtu_v6
        mtu = configured or (parent.mtu or _FALLBACK_MTU) - _OVERHEAD[self.version]
        wanted = vxlan.Vxlan(
            name=self.name,
            vni=self._config.vxlan_vni,
            port=self._config.vxlan_port,
            local=own.parent_ip,
            parent=parent.index,
            mac=own.mac.lower(),
            mtu=mtu,
        )
        if found is not None and vxlan.difference(found, wanted):
            link.delete(sock, found.index)
            found = None
        if found is None:
            vxlan.create(sock, wanted)
            found = link.link(sock, self.name)
            if found is None:
                raise NetlinkError(errno.ENODEV, f"making {self.name}", "it vanished at once")
        if found.mtu != mtu:
            link.set_mtu(sock, found.index, mtu)
        if not found.up:
            link.set_up(sock, found.index)
        return found

    def _address(self, sock: Netlink, device: Link, ip: str) -> None:
        length = 32 if self.version == 4 else 128
        family = ":" in ip
        present = False
        for address in link.addresses(sock):
            if address.index != device.index or (":" in address.ip) != family:
                continue
            if address.ip.startswith("fe80:"):
                continue
            if (address.ip, address.length) == (ip, length):
                present = True
            else:
                link.delete_address(sock, device.index, address.ip, address.length)
        if not present:
            link.add_address(sock, device.index, ip, length)

    def _forwarding(self, sock: Netlink, device: Link) -> None:
        wanted = {(peer.mac.lower(), peer.parent_ip) for peer in self._peers}
        found = neighbour.forwarding(sock, device.index)
        for mac, node in found - wanted:
            neighbour.delete_forwarding(sock, device.index, mac, node)
        for mac, node in wanted - found:
            neighbour.set_forwarding(sock, device.index, mac, node)

    def _neighbours(self, sock: Netlink, device: Link) -> None:
        family = socket.AF_INET if self.version == 4 else socket.AF_INET6
        wanted = {Neighbour(peer.tunnel_ip, peer.mac.lower()) for peer in self._peers}
        found = neighbour.neighbours(sock, family, device.index)
        wanted_ips = {item.ip for item in wanted}
        for item in found - wanted:
            if item.ip not in wanted_ips:
                neighbour.delete_neighbour(sock, device.index, item.ip)
        for item in wanted - found:
            neighbour.set_neighbour(sock, device.index, item.ip, item.mac)
