"""Nodes as Calico sees them, and the early networking of hosts with two fabrics: Node and EarlyNetworkConfiguration.

For command lines and for the start of a node. In: JSON of projectcalico.org/v3. Out: immutable structs. Neither kind is
served: a Node is made from the Kubernetes node and its annotations, an EarlyNetworkConfiguration is a file in a
ConfigMap (spec/resources.md 1.4).
"""

from typing import Annotated

import msgspec

from tortie.model.fields import ApiStruct, Object, constant, doc, empty_map
from tortie.model.meta import ObjectMeta

_MAX_AS = 4_294_967_295


class NodeBGP(ApiStruct, frozen=True, kw_only=True):
    as_number: Annotated[
        int | None, doc("AS number; that of BGPConfiguration if absent.", minimum=0, maximum=_MAX_AS, format="int64")
    ] = None
    ipv4_address: Annotated[str, doc("IPv4 address for BGP, with the length of its subnet.")] = msgspec.field(
        default="", name="ipv4Address"
    )
    ipv6_address: Annotated[str, doc("IPv6 address for BGP, with the length of its subnet.")] = msgspec.field(
        default="", name="ipv6Address"
    )
    ipv4_ipip_tunnel_addr: Annotated[str, doc("Address of the IPIP device.")] = msgspec.field(
        default="", name="ipv4IPIPTunnelAddr"
    )
    route_reflector_cluster_id: Annotated[
        str, doc("Makes the node a route reflector with this cluster id, which looks like an IPv4 address.")
    ] = ""


class OrchestratorReference(ApiStruct, frozen=True, kw_only=True):
    node_name: Annotated[str, doc("Name of the node in the orchestrator.")] = ""
    orchestrator: Annotated[str, doc("The orchestrator, such as k8s.", required=True)] = ""


class NodeAddress(ApiStruct, frozen=True, kw_only=True):
    address: Annotated[str, doc("The address.", required=True)] = ""
    type: Annotated[str, doc("Where it comes from.", enum=["CalicoNodeIP", "InternalIP", "ExternalIP"])] = ""


class NodeInterface(ApiStruct, frozen=True, kw_only=True):
    name: Annotated[str, doc("Name of the interface.")] = ""
    addresses: Annotated[tuple[str, ...], doc("Its addresses.")] = ()


class NodeWireguard(ApiStruct, frozen=True, kw_only=True):
    interface_ipv4_address: Annotated[str, doc("Address of the IPv4 WireGuard device.")] = msgspec.field(
        default="", name="interfaceIPv4Address"
    )
    interface_ipv6_address: Annotated[str, doc("Address of the IPv6 WireGuard device.")] = msgspec.field(
        default="", name="interfaceIPv6Address"
    )


class NodeLoadBalancer(ApiStruct, frozen=True, kw_only=True):
    maintenance: Annotated[str, doc("Whether the node takes no new connections.")] = ""


class CalicoNodeSpec(ApiStruct, frozen=True, kw_only=True):
    bgp: Annotated[NodeBGP | None, doc("Settings of BGP; no BGP on this node if absent.")] = None
    ipv4_vxlan_tunnel_addr: Annotated[str, doc("Address of the IPv4 VXLAN device.")] = msgspec.field(
        default="", name="ipv4VXLANTunnelAddr"
    )
    ipv6_vxlan_tunnel_addr: Annotated[str, doc("Address of the IPv6 VXLAN device.")] = msgspec.field(
        default="", name="ipv6VXLANTunnelAddr"
    )
    vxlan_tunnel_mac_addr: Annotated[str, doc("Hardware address of the IPv4 VXLAN device.")] = msgspec.field(
        default="", name="vxlanTunnelMACAddr"
    )
    vxlan_tunnel_mac_addr_v6: Annotated[str, doc("Hardware address of the IPv6 VXLAN device.")] = msgspec.field(
        default="", name="vxlanTunnelMACAddrV6"
    )
    wireguard: Annotated[NodeWireguard | None, doc("Addresses of the WireGuard devices.")] = None
    orch_refs: Annotated[tuple[OrchestratorReference, ...], doc("What the node is called elsewhere.")] = ()
    addresses: Annotated[tuple[NodeAddress, ...], doc("Addresses of the node.")] = ()
    interfaces: Annotated[tuple[NodeInterface, ...], doc("Interfaces of the node.")] = ()
    load_balancer: Annotated[NodeLoadBalancer | None, doc("The node's part in load balancing.")] = None


class CalicoNodeStatus(ApiStruct, frozen=True, kw_only=True):
    wireguard_public_key: Annotated[str, doc("Public key of the IPv4 WireGuard device.")] = ""
    wireguard_public_key_v6: Annotated[str, doc("Public key of the IPv6 WireGuard device.")] = ""
    pod_cidrs: Annotated[tuple[str, ...], doc("Ranges that Kubernetes gave the node.")] = msgspec.field(
        default=(), name="podCIDRs"
    )


class CalicoNode(Object, frozen=True, kw_only=True):
    """A node, with what Calico keeps about it."""

    api_version: str = constant("projectcalico.org/v3")
    kind: str = constant("Node")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[CalicoNodeSpec, doc("Addresses and settings.")] = CalicoNodeSpec()
    status: Annotated[CalicoNodeStatus | None, doc("What the node says of itself.")] = None


class EarlyPeering(ApiStruct, frozen=True, kw_only=True):
    peer_ip: Annotated[str, doc("Address of the switch.", required=True)] = ""
    peer_as_number: Annotated[
        int | None,
        doc("AS number of the switch; the node's own if 0 or absent.", minimum=0, maximum=_MAX_AS, format="int64"),
    ] = None


class StableAddress(ApiStruct, frozen=True, kw_only=True):
    address: Annotated[str, doc("The address that stays when a link is lost.")] = ""


class EarlyNode(ApiStruct, frozen=True, kw_only=True):
    interface_addresses: Annotated[
        tuple[str, ...], doc("Addresses of its interfaces, by which a node finds its entry.")
    ] = ()
    as_number: Annotated[int | None, doc("AS number of the node.", minimum=0, maximum=_MAX_AS, format="int64")] = None
    stable_address: Annotated[StableAddress | None, doc("The address of the node as a whole.")] = None
    peerings: Annotated[tuple[EarlyPeering, ...], doc("The switches that the node peers with.")] = ()
    labels: Annotated[dict[str, str], doc("Labels that the node gets.")] = empty_map()


class EarlyLegacy(ApiStruct, frozen=True, kw_only=True):
    node_ip_from_default_route: Annotated[bool, doc("Take the node's address from its default route.")] = msgspec.field(
        default=False, name="nodeIPFromDefaultRoute"
    )
    unconditional_default_route_programming: Annotated[bool, doc("Always program the default route.")] = False


class EarlyNetworkConfigurationSpec(ApiStruct, frozen=True, kw_only=True):
    platform: Annotated[str, doc("What the node runs: openshift, or nothing in particular.", enum=["openshift"])] = ""
    nodes: Annotated[tuple[EarlyNode, ...], doc("An entry for each node.")] = ()
    legacy: Annotated[EarlyLegacy | None, doc("Behaviour of older versions.")] = None


class EarlyNetworkConfiguration(Object, frozen=True, kw_only=True):
    """How nodes with several fabrics get their addresses and routes before Kubernetes runs."""

    api_version: str = constant("projectcalico.org/v3")
    kind: str = constant("EarlyNetworkConfiguration")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[EarlyNetworkConfigurationSpec, doc("The nodes.")] = EarlyNetworkConfigurationSpec()
