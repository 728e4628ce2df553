"""Kubernetes nodes with Calico's annotations as the dataplane's nodes (spec/resources.md 4.6).

For the syncer and for routing. In: Kubernetes nodes. Out: updates; annotations that cannot be read are left out.
"""

import ipaddress

import msgspec

from tortie.model import formats
from tortie.model.dataplane import Node, NodeKey, Update
from tortie.model.k8s import Node as ApiNode

PREFIX = "projectcalico.org/"
IPV4_ADDRESS = PREFIX + "IPv4Address"
IPV6_ADDRESS = PREFIX + "IPv6Address"
AS_NUMBER = PREFIX + "ASNumber"
ROUTE_REFLECTOR_CLUSTER_ID = PREFIX + "RouteReflectorClusterID"
IPIP_TUNNEL = PREFIX + "IPv4IPIPTunnelAddr"
VXLAN_TUNNEL_V4 = PREFIX + "IPv4VXLANTunnelAddr"
VXLAN_TUNNEL_V6 = PREFIX + "IPv6VXLANTunnelAddr"
VXLAN_MAC_V4 = PREFIX + "VXLANTunnelMACAddr"
VXLAN_MAC_V6 = PREFIX + "VXLANTunnelMACAddrV6"
WIREGUARD_IPV4 = PREFIX + "IPv4WireguardInterfaceAddr"
WIREGUARD_PUBLIC_KEY = PREFIX + "WireguardPublicKey"
LABELS = PREFIX + "labels"


class _Reader:
    """Reads annotations, collecting what is wrong with them."""

    def __init__(self, annotations: dict[str, str]) -> None:
        self.annotations = annotations
        self.errors: list[str] = []

    def text(self, name: str) -> str:
        return self.annotations.get(name, "")

    def _checked(self, name: str, problem: str) -> str:
        value = self.text(name)
        if problem:
            self.errors.append(f"annotation {name} is left out: {value!r} {problem}")
            return ""
        return value

    def address(self, name: str, version: int) -> str:
        value = self.text(name)
        return self._checked(name, formats.address_problem(value, version=version)) if value else ""

    def mac(self, name: str) -> str:
        value = self.text(name)
        return self._checked(name, formats.mac_problem(value)).lower() if value else ""

    def interface(self, name: str, version: int) -> tuple[str, str]:
        """Address and subnet length: the bare address and the address with the length, or twice ""."""
        value = self.text(name)
        if not value:
            return "", ""
        try:
            if "%" in value:
                raise ValueError
            parsed = ipaddress.ip_interface(value)
        except ValueError:
            parsed = None
        if parsed is None or parsed.version != version:
            self._checked(name, f"must be an IPv{version} address with the length of its subnet")
            return "", ""
        return str(parsed.ip), parsed.with_prefixlen

    def as_number(self) -> int | None:
        value = self.text(AS_NUMBER)
        if not value:
            return None
        try:
            return formats.as_number(value)
        except ValueError as error:
            self.errors.append(f"annotation {AS_NUMBER} is left out: {error}")
            return None

    def labels(self) -> dict[str, str]:
        value = self.text(LABELS)
        if not value:
            return {}
        try:
            return msgspec.json.decode(value, type=dict[str, str])
        except msgspec.MsgspecError as error:
            self.errors.append(f"annotation {LABELS} is left out: {error}")
            return {}


def node(node: ApiNode) -> Update:
    """Addresses come from the annotations that calico-node writes, else from the node's internal addresses."""
    reader = _Reader(node.metadata.annotations)
    ipv4, ipv4_cidr = reader.interface(IPV4_ADDRESS, 4)
    ipv6, ipv6_cidr = reader.interface(IPV6_ADDRESS, 6)
    value = Node(
        ipv4=ipv4 or internal_address(node, 4),
        ipv4_cidr=ipv4_cidr,
        ipv6=ipv6 or internal_address(node, 6),
        ipv6_cidr=ipv6_cidr,
        as_number=reader.as_number(),
        labels={**reader.labels(), **node.metadata.labels},
        vxlan_tunnel_ipv4=reader.address(VXLAN_TUNNEL_V4, 4),
        vxlan_tunnel_ipv6=reader.address(VXLAN_TUNNEL_V6, 6),
        vxlan_mac_v4=reader.mac(VXLAN_MAC_V4),
        vxlan_mac_v6=reader.mac(VXLAN_MAC_V6),
        ipip_tunnel_ipv4=reader.address(IPIP_TUNNEL, 4),
        wireguard_public_key=reader.text(WIREGUARD_PUBLIC_KEY),
        wireguard_ipv4=reader.address(WIREGUARD_IPV4, 4),
        route_reflector_cluster_id=reader.address(ROUTE_REFLECTOR_CLUSTER_ID, 4),
    )
    return Update(NodeKey(node.metadata.name), value, tuple(reader.errors))


def internal_address(node: ApiNode, version: int) -> str:
    """The first InternalIP of the version, "" if there is none."""
    for entry in node.status.addresses:
        if entry.type == "InternalIP" and not formats.address_problem(entry.address, version=version):
            return entry.address
    return ""
