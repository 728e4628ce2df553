"""Local workloads: which endpoint has an interface, its chains, routes, neighbour entry and kernel settings.

Endpoint messages and interface changes come in through the driver; chains go to the tables, wishes to the route table,
settings and neighbour entries straight to the kernel; addresses that left come out for the connection table to forget.
"""

from dataclasses import dataclass, field

from tortie.felix.dataplane import names, static
from tortie.felix.dataplane.config import DataplaneConfig
from tortie.felix.dataplane.endpoints import workload_chains
from tortie.felix.dataplane.interfaces import Interfaces
from tortie.felix.dataplane.routes import RouteTable, Wanted
from tortie.felix.dataplane.sets import parse_net
from tortie.felix.dataplane.table import TableState
from tortie.felix.messages import EndpointStatus, WorkloadEndpointUpdate
from tortie.model.dataplane import WorkloadEndpointKey
from tortie.net import neighbour, sysctl
from tortie.net.link import Link, mac_bytes
from tortie.net.netlink import Netlink, NetlinkError


@dataclass(slots=True)
class _Device:
    """What was done to an interface. index 0: nothing yet."""

    index: int = 0
    settings: dict[str, str] = field(default_factory=dict)
    neighbours: dict[str, str] = field(default_factory=dict)
    error: str = ""


def bare(cidr: str) -> str:
    return cidr.partition("/")[0]


class Workloads:
    def __init__(
        self, config: DataplaneConfig, interfaces: Interfaces, tables: list[TableState], routes: RouteTable
    ) -> None:
        self._config = config
        self._interfaces = interfaces
        self._tables = tables
        self._routes = routes
        self._endpoints: dict[WorkloadEndpointKey, WorkloadEndpointUpdate] = {}
        self._claims: dict[str, set[WorkloadEndpointKey]] = {}
        self._active: dict[str, WorkloadEndpointUpdate] = {}
        self._devices: dict[str, _Device] = {}
        self._dirty: set[str] = set()
        self._due: set[str] = set()
        self._owners: dict[str, set[str]] = {}
        self._left: set[str] = set()
        self._default_rp_filter = ""

    # --- messages --------------------------------------------------------------------------------------------------

    def update(self, message: WorkloadEndpointUpdate) -> None:
        """Raises ValueError for an address or MAC that is none."""
        for net in (*message.ipv4_nets, *message.ipv6_nets, *message.allowed_source_prefixes):
            parse_net(net)
        if message.mac:
            mac_bytes(message.mac)
        self.remove(message.key)
        self._endpoints[message.key] = message
        self._claims.setdefault(message.interface, set()).add(message.key)
        self._dirty.add(message.interface)

    def remove(self, key: WorkloadEndpointKey) -> None:
        old = self._endpoints.pop(key, None)
        if old is None:
            return
        claims = self._claims[old.interface]
        claims.discard(key)
        if not claims:
            del self._claims[old.interface]
        self._dirty.add(old.interface)

    def interface_changed(self, name: str) -> None:
        if self._config.is_workload(name):
            self._due.add(name)

    # --- resolving -------------------------------------------------------------------------------------------------

    @property
    def pending(self) -> bool:
        return bool(self._dirty or self._due)

    def resolve(self) -> None:
        """Chooses the endpoint of every interface concerned and puts chains and routes for it."""
        if not self._dirty:
            return
        dirty, self._dirty = self._dirty, set()
        for name in dirty:
            claims = self._claims.get(name)
            if claims:
                key = min(claims, key=lambda item: (item.orchestrator, item.workload, item.endpoint))
                self._activate(name, self._endpoints[key])
            else:
                self._deactivate(name)
        self._dispatch(dirty)

    def _activate(self, name: str, endpoint: WorkloadEndpointUpdate) -> None:
        for table in self._tables:
            table.put(f"wep:{name}", workload_chains(endpoint, table.version, self._config))
        old = self._active.get(name)
        self._active[name] = endpoint
        self._own(name, self._nets(old) if old is not None else (), self._nets(endpoint))

    def _deactivate(self, name: str) -> None:
        for table in self._tables:
            table.drop(f"wep:{name}")
        old = self._active.pop(name, None)
        self._own(name, self._nets(old) if old is not None else (), ())

    def _own(self, name: str, before: tuple[str, ...], after: tuple[str, ...]) -> None:
        """Keeps routes in step with who has which address. During a migration two interfaces may claim one; then the
        first by name keeps the route until it lets go."""
        self._due.add(name)
        for net in after:
            self._owners.setdefault(net, set()).add(name)
            if net not in before:
                self._routes.put("workload", Wanted(net, min(self._owners[net])))
        for net in set(before) - set(after):
            owners = self._owners[net]
            owners.discard(name)
            self._left.add(bare(net))
            if owners:
                self._routes.put("workload", Wanted(net, min(owners)))
            else:
                del self._owners[net]
                self._routes.drop("workload", net)

    def _nets(self, endpoint: WorkloadEndpointUpdate) -> tuple[str, ...]:
        """What is routed to an endpoint."""
        if not endpoint.active:
            return ()
        nets = endpoint.ipv4_nets if self._config.ipv4 else ()
        return nets + (endpoint.ipv6_nets if self._config.ipv6 else ())

    def _dispatch(self, dirty: set[str]) -> None:
        """The maps from interface to chain. Names that the kernel cannot have are left out and reported."""
        for table in self._tables:
            for dispatch, kind in ((static.FROM_WORKLOAD, "fw"), (static.TO_WORKLOAD, "tw")):
                entries = dict(table.map_entries(dispatch))
                for name in dirty:
                    entries.pop(name, None)
                    if name in self._active and len(name.encode()) <= 15:
                        entries[name] = names.endpoint_chain("filter", kind, name)
                table.put_map(dispatch, entries)

    def spoofing(self) -> tuple[tuple[str, str], ...]:
        if not self._config.workload_source_spoofing:
            return ()
        return tuple(
            (name, cidr) for name, endpoint in sorted(self._active.items()) for cidr in endpoint.allowed_source_prefixes
        )

    def take_left(self) -> set[str]:
        """Addresses that left the node or moved to another interface since the last call."""
        left, self._left = self._left, set()
        return left

    # --- kernel ----------------------------------------------------------------------------------------------------

    def sync(self, sock: Netlink) -> None:
        """Writes settings and neighbour entries of interfaces that are due; failures stay due."""
        due, self._due = self._due, set()
        for name in due:
            link = self._interfaces.get(name)
            endpoint = self._active.get(name)
            if link is None or not link.up:
                self._devices.pop(name, None)
                continue
            device = self._devices.get(name)
            if device is None or device.index != link.index:
                device = self._devices[name] = _Device(index=link.index)
            try:
                if endpoint is not None and endpoint.active:
                    self._configure(name, endpoint, device)
                self._neighbours(sock, link, endpoint, device)
                device.error = ""
            except FileNotFoundError:
                device.error = ""  # gone between hearing of it and now; its removal will be heard of as well
                device.index = 0
            except OSError as error:
                device.error = str(error)
                self._due.add(name)

    def _configure(self, name: str, endpoint: WorkloadEndpointUpdate, device: _Device) -> None:
        settings: dict[str, str] = {}
        if self._config.ipv4:
            settings |= {
                f"ipv4/conf/{name}/rp_filter": self._rp_filter(endpoint),
                f"ipv4/conf/{name}/route_localnet": "1",
                f"ipv4/neigh/{name}/proxy_delay": "0",
                f"ipv4/conf/{name}/proxy_arp": "1",
                f"ipv4/conf/{name}/forwarding": "1",
            }
        if self._config.ipv6:
            settings |= {
                f"ipv6/conf/{name}/accept_ra": "0",
                f"ipv6/conf/{name}/proxy_ndp": "1",
                f"ipv6/conf/{name}/forwarding": "1",
            }
        for setting, value in settings.items():
            if device.settings.get(setting) == value:
                continue
            try:
                sysctl.write(setting, value)
            except FileNotFoundError:
                if setting.startswith("ipv6/"):  # the kernel has no IPv6, or none on this interface
                    continue
                raise
            device.settings[setting] = value

    def _rp_filter(self, endpoint: WorkloadEndpointUpdate) -> str:
        if self._config.workload_source_spoofing and endpoint.allowed_source_prefixes:
            return "0"
        if not self._default_rp_filter:
            self._default_rp_filter = sysctl.read("ipv4/conf/default/rp_filter")
        return self._default_rp_filter

    def _neighbours(self, sock: Netlink, link: Link, endpoint: WorkloadEndpointUpdate | None, device: _Device) -> None:
        wanted: dict[str, str] = {}
        if endpoint is not None and endpoint.active and endpoint.mac:
            wanted = {bare(net): endpoint.mac for net in endpoint.ipv4_nets}
        for ip in device.neighbours.keys() - wanted.keys():
            neighbour.delete_neighbour(sock, link.index, ip)
        for ip, mac in wanted.items():
            if device.neighbours.get(ip) == mac:
                continue
            try:
                neighbour.set_neighbour(sock, link.index, ip, mac)
            except NetlinkError as error:
                if error.errno not in (19, 100):  # ENODEV, ENETDOWN: will be heard of
                    raise
        device.neighbours = wanted

    def recheck(self) -> None:
        """Settings and neighbour entries are written afresh at the next sync, in case somebody changed them."""
        for name, device in self._devices.items():
            device.settings.clear()
            device.neighbours.clear()
            self._due.add(name)

    # --- status ----------------------------------------------------------------------------------------------------

    def statuses(self, problems: dict[str, str]) -> list[EndpointStatus]:
        """problems: chain -> reason, of both families."""
        return [self._status(key, endpoint, problems) for key, endpoint in self._endpoints.items()]

    def _status(
        self, key: WorkloadEndpointKey, endpoint: WorkloadEndpointUpdate, problems: dict[str, str]
    ) -> EndpointStatus:
        name = endpoint.interface
        if len(name.encode()) > 15:
            return EndpointStatus(key, "error", f"interface name {name!r} is longer than 15 bytes")
        link = self._interfaces.get(name)
        if not endpoint.active:
            return EndpointStatus(key, "down", "not active")
        active = self._active.get(name)
        if active is not None and active.key != key:
            return EndpointStatus(key, "down", f"interface {name} belongs to {active.key.workload}")
        if link is None or not link.up:
            return EndpointStatus(key, "down", f"interface {name} is {'missing' if link is None else 'down'}")
        device = self._devices.get(name)
        if device is not None and device.error:
            return EndpointStatus(key, "error", device.error)
        for kind in ("fw", "tw"):
            chain = names.endpoint_chain("filter", kind, name)
            if chain in problems:
                return EndpointStatus(key, "error", problems[chain])
        for net in self._nets(endpoint):
            if net in self._routes.failures:
                return EndpointStatus(key, "error", self._routes.failures[net])
        if device is None or not device.index:
            return EndpointStatus(key, "down", f"interface {name} is not configured yet")
        if not link.running:
            return EndpointStatus(key, "down", f"interface {name} has no carrier")
        return EndpointStatus(key, "up")

    def statistics(self) -> dict[str, int]:
        return {"endpoints": len(self._endpoints), "active": len(self._active)}
