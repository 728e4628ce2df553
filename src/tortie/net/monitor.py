"""Events of interfaces, addresses and routes, as the kernel tells them.

The dataplane watches the descriptor and calls `read`; typed events come back, or None when the kernel had to drop some,
whereupon the caller lists everything afresh.
"""

import errno
from dataclasses import dataclass

from tortie.net import link, netlink, route
from tortie.net.link import Address, Link
from tortie.net.netlink import Netlink
from tortie.net.route import Route

_GROUP_LINK, _GROUP_ADDRESS4, _GROUP_ROUTE4, _GROUP_ADDRESS6, _GROUP_ROUTE6 = 1, 5, 7, 9, 11
_MSG_DONTWAIT = 0x40


@dataclass(frozen=True, slots=True)
class LinkEvent:
    link: Link
    present: bool


@dataclass(frozen=True, slots=True)
class AddressEvent:
    address: Address
    present: bool


@dataclass(frozen=True, slots=True)
class RouteEvent:
    route: Route
    present: bool


Event = LinkEvent | AddressEvent | RouteEvent


class Monitor:
    """Listens in the network namespace of the calling thread."""

    def __init__(self, *, with_routes: bool = True) -> None:
        groups: tuple[int, ...] = (_GROUP_LINK, _GROUP_ADDRESS4, _GROUP_ADDRESS6)
        if with_routes:
            groups += (_GROUP_ROUTE4, _GROUP_ROUTE6)
        self._netlink = Netlink(netlink.ROUTE, groups=groups, receive_buffer=4 << 20)

    def fileno(self) -> int:
        return self._netlink.fileno()

    def close(self) -> None:
        self._netlink.close()

    def read(self) -> list[Event] | None:
        """Everything that has arrived; never blocks."""
        events: list[Event] = []
        while True:
            try:
                messages = self._netlink.receive(flags=_MSG_DONTWAIT)
            except BlockingIOError:
                return events
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    return None
                raise
            for message in messages:
                if message.type in (link.RTM_NEWLINK, link.RTM_DELLINK):
                    events.append(LinkEvent(link.parse_link(message.body), message.type == link.RTM_NEWLINK))
                elif message.type in (link.RTM_NEWADDR, link.RTM_DELADDR):
                    events.append(AddressEvent(link.parse_address(message.body), message.type == link.RTM_NEWADDR))
                elif message.type in (route.RTM_NEWROUTE, route.RTM_DELROUTE):
                    events.append(RouteEvent(route.parse(message.body), message.type == route.RTM_NEWROUTE))
