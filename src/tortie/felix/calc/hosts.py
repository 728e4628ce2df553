"""What the dataplane must know about nodes, pools and services besides policy and routes (spec/felix.md 1.3: VXLAN
resolver, encapsulation resolver, dataplane passthrough).

In: nodes, IP pools, services, the BGP configuration. Out: their messages, nearly unchanged, and what follows from
them: VXLAN tunnel endpoints and which encapsulations are in use.
"""

from tortie.felix.calc.channel import Channel
from tortie.felix.messages import (
    Encapsulation,
    NodeUpdate,
    PoolUpdate,
    ServiceCIDRs,
    ServiceUpdate,
    VTEPUpdate,
)
from tortie.model.dataplane import BGPConfig, BGPConfigKey, IPPool, IPPoolKey, Node, NodeKey, Service, ServiceKey
from tortie.model.names import vtep_mac


class Hosts:
    """Every input sets what its channel wants at once; `encapsulation` and `service_cidrs` are said from the start."""

    def __init__(self) -> None:
        self.nodes: Channel[NodeKey, NodeUpdate] = Channel()
        self.pools: Channel[str, PoolUpdate] = Channel()
        self.services: Channel[ServiceKey, ServiceUpdate] = Channel()
        self.vteps: Channel[str, VTEPUpdate] = Channel()
        self.encapsulation: Channel[None, Encapsulation] = Channel()
        self.service_cidrs: Channel[None, ServiceCIDRs] = Channel()
        self._pools: dict[IPPoolKey, IPPool] = {}
        self._derive_encapsulation()
        self.service_cidrs.want(None, ServiceCIDRs(cidrs=()))

    def set_node(self, key: NodeKey, node: Node | None) -> None:
        """Adds, changes or removes a node."""
        if node is None:
            self.nodes.want(key, None)
            self.vteps.want(key.name, None)
        else:
            self.nodes.want(key, NodeUpdate(key=key, ipv4=node.ipv4, ipv6=node.ipv6))
            self.vteps.want(key.name, _vtep(key.name, node))

    def set_pool(self, key: IPPoolKey, pool: IPPool | None) -> None:
        """Adds, changes or removes an IP pool."""
        if pool is None:
            self._pools.pop(key, None)
            self.pools.want(key.name, None)
        else:
            self._pools[key] = pool
            self.pools.want(key.name, PoolUpdate(name=key.name, pool=pool))
        self._derive_encapsulation()

    def set_service(self, key: ServiceKey, service: Service | None) -> None:
        """Adds, changes or removes a service."""
        message = None if service is None else ServiceUpdate(key=key, cluster_ips=service.cluster_ips)
        self.services.want(key, message)

    def set_bgp_config(self, key: BGPConfigKey, config: BGPConfig | None) -> None:
        """Sets the cluster-wide BGP configuration; those of single nodes say nothing here."""
        if key.name != "default":
            return
        cidrs: tuple[str, ...] = ()
        if config is not None:
            cidrs = (
                *config.service_cluster_cidrs,
                *config.service_external_cidrs,
                *config.service_load_balancer_cidrs,
            )
        self.service_cidrs.want(None, ServiceCIDRs(cidrs=cidrs))

    def _derive_encapsulation(self) -> None:
        # Disabled pools count: workloads that have an address of theirs keep needing the tunnel.
        pools = self._pools.values()
        vxlan = [pool for pool in pools if pool.vxlan_mode != "Never"]
        self.encapsulation.want(
            None,
            Encapsulation(
                vxlan=any(":" not in pool.cidr for pool in vxlan),
                vxlan_v6=any(":" in pool.cidr for pool in vxlan),
                ipip=any(pool.ipip_mode != "Never" for pool in pools),
            ),
        )


def _vtep(name: str, node: Node) -> VTEPUpdate | None:
    has_v4 = bool(node.vxlan_tunnel_ipv4 and node.ipv4)
    has_v6 = bool(node.vxlan_tunnel_ipv6 and node.ipv6)
    if not has_v4 and not has_v6:
        return None
    return VTEPUpdate(
        node=name,
        mac_v4=(node.vxlan_mac_v4 or vtep_mac(name)) if has_v4 else "",
        tunnel_ipv4=node.vxlan_tunnel_ipv4 if has_v4 else "",
        parent_ipv4=node.ipv4 if has_v4 else "",
        mac_v6=(node.vxlan_mac_v6 or vtep_mac(f"{name}-v6")) if has_v6 else "",
        tunnel_ipv6=node.vxlan_tunnel_ipv6 if has_v6 else "",
        parent_ipv6=node.ipv6 if has_v6 else "",
    )
