"""Pools, nodes and service ranges as well-known sets; blocks of other nodes as routes and VXLAN peers.

Messages about pools, nodes, routes and tunnel endpoints come in through the driver; members of the well-known sets
go to the tables, wishes to the route table, devices, neighbours and forwarding entries to the kernel (spec/felix.md
3.7-3.9).
"""

from typing import Literal

from tortie.felix.dataplane import static
from tortie.felix.dataplane.config import DataplaneConfig
from tortie.felix.dataplane.interfaces import Interfaces
from tortie.felix.dataplane.routes import RouteTable, Wanted, blackhole_needed
from tortie.felix.dataplane.sets import parse_net
from tortie.felix.dataplane.table import TableState
from tortie.felix.dataplane.tunnel import Peer, Tunnel
from tortie.felix.messages import (
    Encapsulation,
    Member,
    NodeRemove,
    NodeUpdate,
    PoolRemove,
    PoolUpdate,
    RouteRemove,
    RouteUpdate,
    ServiceCIDRs,
    VTEPRemove,
    VTEPUpdate,
)
from tortie.model.dataplane import IPPool
from tortie.net.netlink import Netlink

IPIP_DEVICE = "tunl0"
NetworkMessage = (
    PoolUpdate
    | PoolRemove
    | NodeUpdate
    | NodeRemove
    | RouteUpdate
    | RouteRemove
    | VTEPUpdate
    | VTEPRemove
    | Encapsulation
    | ServiceCIDRs
)


class Network:
    def __init__(
        self, config: DataplaneConfig, interfaces: Interfaces, tables: list[TableState], routes: RouteTable
    ) -> None:
        self._config = config
        self._interfaces = interfaces
        self._tables = tables
        self._routes = routes
        self._pools: dict[str, IPPool] = {}
        self._nodes: dict[str, tuple[str, str]] = {}
        self._cidrs: tuple[str, ...] = ()
        self._remote: dict[str, RouteUpdate] = {}
        self._vteps: dict[str, VTEPUpdate] = {}
        self._encapsulation = Encapsulation(vxlan=False, vxlan_v6=False, ipip=False)
        self._sets: dict[str, frozenset[Member]] = {}
        self._tunnels = {version: Tunnel(version, config, interfaces) for version in config.versions}
        self._changed = True
        self._routes_changed = True

    def update(self, message: NetworkMessage) -> None:
        """Raises ValueError for a CIDR that is none."""
        if isinstance(message, PoolUpdate):
            parse_net(message.pool.cidr)
            self._pools[message.name] = message.pool
            self._routes_changed = True
        elif isinstance(message, PoolRemove):
            self._pools.pop(message.name, None)
            self._routes_changed = True
        elif isinstance(message, NodeUpdate):
            self._nodes[message.key.name] = message.ipv4, message.ipv6
        elif isinstance(message, NodeRemove):
            self._nodes.pop(message.key.name, None)
        elif isinstance(message, ServiceCIDRs):
            for cidr in message.cidrs:
                parse_net(cidr)
            self._cidrs = message.cidrs
        elif isinstance(message, RouteUpdate):
            parse_net(message.cidr)
            self._remote[message.cidr] = message
            self._routes_changed = True
        elif isinstance(message, RouteRemove):
            self._remote.pop(message.cidr, None)
            self._routes_changed = True
        elif isinstance(message, VTEPUpdate):
            self._vteps[message.node] = message
            self._routes_changed = True
        elif isinstance(message, VTEPRemove):
            self._vteps.pop(message.node, None)
            self._routes_changed = True
        else:
            self._encapsulation = message
            self._routes_changed = True
        self._changed = True

    def interface_changed(self, name: str) -> None:
        """A tunnel's device or the one beneath it may have changed."""
        if not self._config.is_workload(name):
            for tunnel in self._tunnels.values():
                tunnel.due = True
            self._routes_changed = self._routes_changed or bool(self._remote)

    @property
    def pending(self) -> bool:
        return self._changed or self._routes_changed or any(tunnel.due for tunnel in self._tunnels.values())

    # --- facts for the frame ---------------------------------------------------------------------------------------

    def vxlan(self, version: int) -> bool:
        return self._encapsulation.vxlan if version == 4 else self._encapsulation.vxlan_v6

    def situation(self, version: int) -> dict[str, bool]:
        """The part of `static.Situation` that follows from the network."""

        def of_version(cidr: str) -> bool:
            return (":" in cidr) == (version == 6)

        return {
            "vxlan": self.vxlan(version),
            "ipip": self._encapsulation.ipip and version == 4,
            "masquerade": any(pool.nat_outgoing and of_version(pool.cidr) for pool in self._pools.values()),
            "service_cidrs": any(of_version(cidr) for cidr in self._cidrs),
        }

    # --- resolving -------------------------------------------------------------------------------------------------

    def resolve(self) -> None:
        if self._changed:
            self._changed = False
            self._put_sets()
        if self._routes_changed:
            self._routes_changed = False
            self._put_routes()

    def _put_sets(self) -> None:
        workload_pools = [
            pool for pool in self._pools.values() if "Workload" in pool.allowed_uses or "Tunnel" in pool.allowed_uses
        ]
        hosts = {ip for pair in self._nodes.values() for ip in pair if ip}
        parents = {ip for vtep in self._vteps.values() for ip in (vtep.parent_ipv4, vtep.parent_ipv6) if ip}
        wanted: dict[str, set[str]] = {
            static.ALL_POOLS: {pool.cidr for pool in workload_pools},
            static.MASQUERADE_POOLS: {pool.cidr for pool in workload_pools if pool.nat_outgoing},
            static.ALL_HOSTS: hosts,
            static.VXLAN_HOSTS: parents,
            static.SERVICE_CIDRS: set(self._cidrs),
        }
        for name, members in wanted.items():
            new: frozenset[Member] = frozenset(members)
            old = self._sets.get(name)
            if old == new:
                continue
            for table in self._tables:
                if old is None:
                    table.put_set(name, "net", new)
                else:
                    table.change_set(name, new - old, old - new)
            self._sets[name] = new

    def _put_routes(self) -> None:
        same_subnet: dict[str, Wanted] = {}
        vxlan: dict[str, Wanted] = {}
        direct: dict[str, Wanted] = {}
        blackholes: dict[str, Wanted] = {}
        for cidr, item in self._remote.items():
            if cidr.endswith("/0"):
                continue
            if item.kind == "local-block":
                if blackhole_needed(cidr):
                    blackholes[cidr] = Wanted(cidr, "")
            elif item.kind in ("remote-block", "remote-tunnel", "borrowed") and item.node != self._config.node:
                self._route_to_node(item, same_subnet, vxlan, direct)
        self._replace("same-subnet", same_subnet)
        self._replace("vxlan", vxlan)
        self._replace("no-encapsulation", direct)
        self._replace("blackhole", blackholes)
        self._put_tunnels()

    def _route_to_node(
        self,
        item: RouteUpdate,
        same_subnet: dict[str, Wanted],
        vxlan: dict[str, Wanted],
        direct: dict[str, Wanted],
    ) -> None:
        version: Literal[4, 6] = 6 if ":" in item.cidr else 4
        if version not in self._tunnels:
            return
        if item.encapsulation == "vxlan":
            vtep = self._vteps.get(item.node)
            gateway = (vtep.tunnel_ipv6 if version == 6 else vtep.tunnel_ipv4) if vtep else ""
            if gateway:
                vxlan[item.cidr] = Wanted(item.cidr, static.VXLAN_DEVICE[version], gateway)
            return
        if item.encapsulation != "none" or not item.node_ip or not item.same_subnet:
            return
        pool = self._pool_of(item.cidr)
        crosses = pool is not None and pool.vxlan_mode == "CrossSubnet"
        if not crosses and not self._config.program_cluster_routes:
            return  # BIRD's business
        parent = self._parent(version)
        if parent:
            (same_subnet if crosses else direct)[item.cidr] = Wanted(item.cidr, parent, item.node_ip)

    def _pool_of(self, cidr: str) -> IPPool | None:
        version, address, length = parse_net(cidr)
        bits = 32 if version == 4 else 128
        for pool in self._pools.values():
            pool_version, pool_address, pool_length = parse_net(pool.cidr)
            shift = bits - pool_length
            if pool_version == version and pool_length <= length and address >> shift << shift == pool_address:
                return pool
        return None

    def _parent(self, version: Literal[4, 6]) -> str:
        """Name of the device that has this node's address."""
        own = self._nodes.get(self._config.node)
        ip = (own[0] if version == 4 else own[1]) if own else ""
        link = self._interfaces.with_address(ip) if ip else None
        return link.name if link else ""

    def _replace(
        self, name: Literal["same-subnet", "vxlan", "no-encapsulation", "blackhole"], new: dict[str, Wanted]
    ) -> None:
        for cidr in self._routes.of_class(name).keys() - new.keys():
            self._routes.drop(name, cidr)
        for wanted in new.values():
            self._routes.put(name, wanted)

    def _put_tunnels(self) -> None:
        own = self._vteps.get(self._config.node)
        for version, tunnel in self._tunnels.items():
            if not self.vxlan(version):
                tunnel.want(None, ())
                continue
            peers = []
            for node, vtep in self._vteps.items():
                peer = (
                    Peer(vtep.mac_v4, vtep.tunnel_ipv4, vtep.parent_ipv4)
                    if version == 4
                    else Peer(vtep.mac_v6, vtep.tunnel_ipv6, vtep.parent_ipv6)
                )
                if node != self._config.node and peer.mac and peer.tunnel_ip and peer.parent_ip:
                    peers.append(peer)
            if own is None:
                tunnel.want(None, ())
            elif version == 4:
                tunnel.want(Peer(own.mac_v4, own.tunnel_ipv4, own.parent_ipv4), peers)
            else:
                tunnel.want(Peer(own.mac_v6, own.tunnel_ipv6, own.parent_ipv6), peers)

    # --- kernel ----------------------------------------------------------------------------------------------------

    def sync(self, sock: Netlink) -> None:
        for tunnel in self._tunnels.values():
            if tunnel.due:
                tunnel.sync(sock)

    def recheck(self) -> None:
        for tunnel in self._tunnels.values():
            tunnel.due = True

    def problems(self) -> dict[str, str]:
        result = {tunnel.name: tunnel.error for tunnel in self._tunnels.values() if tunnel.error}
        if self._encapsulation.ipip and self._interfaces.get(IPIP_DEVICE) is None:
            result["IPIP"] = f"there is no {IPIP_DEVICE}: the kernel lacks IPIP tunnels; use VXLAN or no encapsulation"
        return result

    def statistics(self) -> dict[str, int]:
        return {
            "pools": len(self._pools),
            "nodes": len(self._nodes),
            "routes": len(self._remote),
            "vteps": len(self._vteps),
        }
