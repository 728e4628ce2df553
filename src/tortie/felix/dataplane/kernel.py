"""The sockets through which the dataplane hears and speaks, opened once, all in one network namespace.

The driver asks it for events and listings; managers get the route socket for their writes. Everything that blocks
or fails because of the machine is behind this door.
"""

import socket

from tortie.felix.dataplane.config import DataplaneConfig
from tortie.net import conntrack, link, netlink, sysctl
from tortie.net.link import Address, Link
from tortie.net.monitor import Event, Monitor
from tortie.net.netlink import Netlink
from tortie.net.nft.connection import Connection, Generations


class Kernel:
    def __init__(self, config: DataplaneConfig) -> None:
        self._config = config
        self.route = Netlink(netlink.ROUTE, receive_buffer=4 << 20)
        self.nft = Connection()
        self._monitor = Monitor(with_routes=not config.route_sync_disabled)
        self._generations = Generations()

    def close(self) -> None:
        for door in (self.route, self.nft, self._monitor, self._generations):
            door.close()

    def descriptors(self) -> list[int]:
        return [self._monitor.fileno(), self._generations.fileno()]

    def events(self) -> list[Event] | None:
        """None: some were lost, list everything."""
        return self._monitor.read()

    def foreign_changes(self) -> bool:
        """Whether anybody else has changed the ruleset since the last call."""
        senders = self._generations.read()
        return senders is None or any(sender != self.nft.port for sender in senders)

    def interfaces(self) -> tuple[list[Link], list[Address]]:
        return link.links(self.route), link.addresses(self.route)

    def prepare_host(self) -> None:
        """Global settings (spec/felix.md 3.10). A kernel without IPv6 is no error."""
        if self._config.ip_forwarding:
            if self._config.ipv4:
                sysctl.ensure("ipv4/ip_forward", 1)
            if self._config.ipv6 and socket.has_ipv6:
                self._ensure("ipv6/conf/all/forwarding", 1)
        self._ensure("netfilter/nf_conntrack_acct", 1)

    @staticmethod
    def _ensure(name: str, value: int) -> None:
        try:
            sysctl.ensure(name, value)
        except FileNotFoundError:
            return

    @staticmethod
    def forget_connections(ips: set[str]) -> int:
        return conntrack.forget_addresses(ips)
