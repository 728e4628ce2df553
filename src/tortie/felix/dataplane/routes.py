"""Felix's routes in the main table: what should be there, what is, and the difference (spec/felix.md 3.9).

Managers `put` the routes of one class; `sync` writes what differs through a `Netlink` socket and remembers it; a
listing now and then replaces the memory. Ownership: everything on VXLAN devices, everything on workload interfaces,
and elsewhere only routes with our own protocol number. BIRD's routes are never touched.
"""

import errno
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from tortie.felix.dataplane.config import DataplaneConfig
from tortie.felix.dataplane.interfaces import Interfaces
from tortie.felix.dataplane.static import VXLAN_DEVICE
from tortie.net import route
from tortie.net.netlink import Netlink, NetlinkError
from tortie.net.route import PROTOCOL_BIRD, PROTOCOL_KERNEL, Route

OWN_PROTOCOL = 80
WORKLOAD_METRIC = 1024
EXTERNAL_GRACE = 10.0

Class = Literal["workload", "same-subnet", "vxlan", "no-encapsulation", "blackhole"]
_PRIORITY: tuple[Class, ...] = ("workload", "same-subnet", "vxlan", "no-encapsulation", "blackhole")
_GONE = {errno.ESRCH, errno.ENODEV, errno.ENOENT, errno.ENETDOWN, errno.ENETUNREACH}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A route by the name of its device; "" for a blackhole."""

    cidr: str
    device: str
    gateway: str = ""


class RouteTable:
    def __init__(self, config: DataplaneConfig, interfaces: Interfaces) -> None:
        self._config = config
        self._interfaces = interfaces
        self._classes: dict[Class, dict[str, Wanted]] = {name: {} for name in _PRIORITY}
        self._kernel: dict[tuple[str, int, int], Route] = {}
        self._known: dict[str, set[tuple[str, int, int]]] = {}
        self._dirty: set[str] = set()
        self._listed = False
        self._first_seen: dict[str, float] = {}
        self._later: dict[str, float] = {}
        self.failures: dict[str, str] = {}
        self.writes = 0

    # --- desired ---------------------------------------------------------------------------------------------------

    def put(self, name: Class, wanted: Wanted) -> None:
        if self._classes[name].get(wanted.cidr) != wanted:
            self._classes[name][wanted.cidr] = wanted
            self._dirty.add(wanted.cidr)

    def drop(self, name: Class, cidr: str) -> None:
        if self._classes[name].pop(cidr, None) is not None:
            self._dirty.add(cidr)

    def of_class(self, name: Class) -> dict[str, Wanted]:
        return self._classes[name]

    def interface_changed(self, name: str) -> None:
        """Routes over an interface that came, went or changed are looked at again."""
        for wanted in self._classes.values():
            self._dirty |= {cidr for cidr, item in wanted.items() if item.device == name}

    def _desired(self, cidr: str) -> Route | None:
        for name in _PRIORITY:
            wanted = self._classes[name].get(cidr)
            if wanted is None:
                continue
            if name == "blackhole":
                metric = WORKLOAD_METRIC if ":" in cidr else 0
                return Route(cidr, kind=route.BLACKHOLE, protocol=OWN_PROTOCOL, metric=metric)
            link = self._interfaces.get(wanted.device)
            if link is None or not link.up:
                self.failures[cidr] = f"interface {wanted.device} is {'down' if link else 'missing'}"
                continue
            v6 = ":" in cidr
            if name == "workload":
                source = self._config.device_route_source
                return Route(
                    cidr,
                    interface=link.index,
                    scope=route.SCOPE_UNIVERSE if v6 else route.SCOPE_LINK,
                    protocol=self._config.device_route_protocol,
                    source=source if source and (":" in source) == v6 else "",
                    metric=WORKLOAD_METRIC,
                )
            own = self._config.device_route_protocol
            return Route(
                cidr,
                interface=link.index,
                gateway=wanted.gateway,
                protocol=OWN_PROTOCOL if own == 3 else own,
                onlink=True,
                metric=WORKLOAD_METRIC if v6 else 0,
            )
        return None

    # --- reconciling -----------------------------------------------------------------------------------------------

    @property
    def pending(self) -> bool:
        return bool(self._dirty) or not self._listed

    @property
    def next_time(self) -> float | None:
        """When a foreign route on a new interface loses its grace."""
        return min(self._later.values(), default=None)

    def expire(self, now: float) -> None:
        for cidr in [cidr for cidr, when in self._later.items() if when <= now]:
            del self._later[cidr]
            self._dirty.add(cidr)

    def relist(self) -> None:
        self._listed = False

    def sync(self, sock: Netlink, now: float) -> None:
        """Writes what differs. Failures are in `failures`, by CIDR; their routes stay due."""
        if self._config.route_sync_disabled:
            self._dirty.clear()
            self._listed = True
            return
        if not self._listed:
            self._list(sock, now)
        dirty, self._dirty = self._dirty, set()
        wanted: list[Route] = []
        unwanted: list[Route] = []
        for cidr in dirty:
            self.failures.pop(cidr, None)
            desired = self._desired(cidr)
            current = [self._kernel[key] for key in self._known.get(cidr, ())]
            if desired is not None and desired not in current:
                wanted.append(desired)
            unwanted += [
                item for item in current if desired is None or (item.key != desired.key and self._owned(item, now))
            ]
        self._write(sock, wanted)
        self._delete(sock, [item for item in unwanted if self._owned(item, now)])

    def _write(self, sock: Netlink, wanted: list[Route]) -> None:
        for item, error in zip(wanted, route.replace(sock, wanted), strict=True):
            self.writes += 1
            if error is None:
                self._remember(item)
                continue
            self.failures[item.cidr] = str(error)
            if error.errno not in _GONE:  # a vanished interface will be heard of
                self._dirty.add(item.cidr)

    def _delete(self, sock: Netlink, unwanted: list[Route]) -> None:
        for item, error in zip(unwanted, route.delete(sock, unwanted), strict=True):
            self.writes += 1
            if error is None or error.errno in _GONE:
                self._forget(item)
            else:
                self.failures[item.cidr] = str(error)
                self._dirty.add(item.cidr)

    def _remember(self, item: Route) -> None:
        self._kernel[item.key] = item
        self._known.setdefault(item.cidr, set()).add(item.key)

    def _forget(self, item: Route) -> None:
        self._kernel.pop(item.key, None)
        keys = self._known.get(item.cidr)
        if keys is not None:
            keys.discard(item.key)
            if not keys:
                del self._known[item.cidr]

    def _list(self, sock: Netlink, now: float) -> None:
        self._kernel, self._known = {}, {}
        families = [socket.AF_INET] if self._config.ipv4 else []
        families += [socket.AF_INET6] if self._config.ipv6 else []
        for family in families:
            try:
                found = route.routes(sock, family)
            except NetlinkError as error:
                if error.errno in (errno.EAFNOSUPPORT, errno.EOPNOTSUPP):  # a kernel without this family
                    continue
                raise
            for item in found:
                normal = _normalised(item)
                if self._concerns(normal):
                    self._remember(normal)
                    self._dirty.add(normal.cidr)
        for wanted in self._classes.values():
            self._dirty |= wanted.keys()
        self._listed = True

    def _concerns(self, item: Route) -> bool:
        """Not every route is worth remembering: the kernel's own are not ours to judge."""
        return item.protocol not in (PROTOCOL_KERNEL, PROTOCOL_BIRD) and item.kind in (route.UNICAST, route.BLACKHOLE)

    def _owned(self, item: Route, now: float) -> bool:
        if item.protocol in (PROTOCOL_KERNEL, PROTOCOL_BIRD):
            return False
        if item.protocol == OWN_PROTOCOL:
            return True
        link = self._interfaces.by_index(item.interface)
        if link is None:
            return False
        if link.name in VXLAN_DEVICE.values():
            return True
        if not self._config.is_workload(link.name):
            return False
        if (item.protocol, item.metric) == (self._config.device_route_protocol, WORKLOAD_METRIC):
            return True  # our own form, from before a restart perhaps
        if not self._config.remove_external_routes:
            return False
        since = self._first_seen.setdefault(link.name, now)
        if now - since >= EXTERNAL_GRACE:
            return True
        # CNI may have put a route there for an endpoint that we are about to hear of.
        self._later[item.cidr] = since + EXTERNAL_GRACE
        return False

    def interface_gone(self, name: str, index: int) -> None:
        """The kernel has removed its routes along with it."""
        self._first_seen.pop(name, None)
        for item in [item for item in self._kernel.values() if item.interface == index]:
            self._forget(item)
            self._dirty.add(item.cidr)

    def changed_elsewhere(self, item: Route, *, present: bool) -> None:
        """Takes the kernel's event; what differs from the wish is repaired by the next sync."""
        normal = _normalised(item)
        if not self._listed or normal.table != route.MAIN_TABLE or not self._concerns(normal):
            return
        known = self._kernel.get(normal.key)
        if present and known != normal:
            self._remember(normal)
        elif not present and known == normal:
            self._forget(normal)
        else:
            return
        if any(normal.cidr in wanted for wanted in self._classes.values()) or normal.protocol == OWN_PROTOCOL:
            self._dirty.add(normal.cidr)

    def statistics(self) -> dict[str, int]:
        return {
            "wanted": sum(map(len, self._classes.values())),
            "known": len(self._kernel),
            "failed": len(self.failures),
            "writes": self.writes,
        }


def _normalised(item: Route) -> Route:
    """The kernel reports some IPv6 routes with interface index 1 and always with a metric."""
    if ":" in item.cidr and item.kind != route.UNICAST:
        return Route(
            item.cidr, kind=item.kind, protocol=item.protocol, metric=item.metric, table=item.table, scope=item.scope
        )
    return item


def blackhole_needed(cidr: str) -> bool:
    """Not for single addresses: a blackhole would fight the route to the workload itself."""
    return cidr.partition("/")[2] not in ("32", "128", "")


def wanted_of(cidrs: Iterable[str], device: str) -> list[Wanted]:
    return [Wanted(cidr, device) for cidr in cidrs]
