"""What routing decisions are made from: one immutable picture of the API objects, secrets and files that matter.

For the pure renderer. In: objects gathered by confd's caches, decoded structs of `tortie.model`. Out: `World`, and
`Problem`, in which the renderer reports an object that it had to leave out.
"""

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

import msgspec

from tortie.model import k8s
from tortie.model.dataplane import Node
from tortie.model.v3 import bgp, ipam

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

FAMILIES = (4, 6)


class WorkloadPeer(msgspec.Struct, frozen=True, order=True):
    """A local workload that speaks BGP, as Felix's endpoint status file tells; addresses are bare, "" if none."""

    peer: str
    ipv4: str = ""
    ipv6: str = ""


class World(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a node's BIRD configuration depends on.

    node: this node's name. affinities: this node's. secrets: secret name -> key -> value, those in calico-node's own
    namespace. router_id, advertise_cluster_ips: CALICO_ROUTER_ID and CALICO_ADVERTISE_CLUSTER_IPS, "" if unset.
    endpoint_node: the name by which endpoints of this node are known (CALICO_K8S_NODE_REF), "" for `node`.
    excluded: objects that BIRD's parser refused in an earlier attempt, as (kind, name).
    """

    node: str
    nodes: Mapping[str, Node] = {}
    configurations: Mapping[str, bgp.BGPConfiguration] = {}
    peers: Mapping[str, bgp.BGPPeer] = {}
    filters: Mapping[str, bgp.BGPFilter] = {}
    pools: Mapping[str, ipam.IPPool] = {}
    affinities: tuple[ipam.BlockAffinity, ...] = ()
    services: tuple[k8s.Service, ...] = ()
    slices: tuple[k8s.EndpointSlice, ...] = ()
    secrets: Mapping[str, Mapping[str, str]] = {}
    workload_peers: tuple[WorkloadPeer, ...] = ()
    router_id: str = ""
    advertise_cluster_ips: str = ""
    endpoint_node: str = ""
    excluded: frozenset[tuple[str, str]] = frozenset()

    @property
    def own(self) -> Node:
        """This node; blank while the API does not know it."""
        return self.nodes.get(self.node) or Node()


class Problem(msgspec.Struct, frozen=True, order=True):
    """An object, or a part of it, that does not take effect, and why; in words for the user."""

    kind: str
    name: str
    message: str


def address(text: str) -> Address | None:
    """The address, or None if it is not one. An IPv6 zone is not accepted."""
    if "%" in text:
        return None
    try:
        return ip_address(text)
    except ValueError:
        return None


def network(text: str) -> Network | None:
    """The network with host bits cleared (BIRD refuses them), or None; a bare address is its host prefix."""
    try:
        return ip_network(text.strip(), strict=False)
    except ValueError:
        return None


def networks(texts: "list[str] | tuple[str, ...]", version: int) -> list[Network]:
    """Those of the texts that are networks of the family, sorted, without duplicates."""
    found = {n for n in map(network, texts) if n is not None and n.version == version}
    return sorted(found, key=lambda n: (int(n.network_address), n.prefixlen))


def inside(net: Network, outer: Network) -> bool:
    """Whether the network is the other one or lies within it."""
    if isinstance(net, IPv4Network):
        return isinstance(outer, IPv4Network) and net.subnet_of(outer)
    return isinstance(outer, IPv6Network) and net.subnet_of(outer)
