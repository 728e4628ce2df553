"""Kinds that are derived or kept in files: Profile, WorkloadEndpoint, Node, EarlyNetworkConfiguration (spec 1.4).

For tools that check manifests; no server stores these. In: decoded objects. Out: problems with their paths.
"""

import base64
import binascii

from tortie.model import formats
from tortie.model.admission.problems import Problems
from tortie.model.admission.rules import check_rules
from tortie.model.v3.endpoints import Profile, WorkloadEndpoint, WorkloadEndpointSpec
from tortie.model.v3.node import CalicoNode, EarlyNetworkConfiguration

_KEY_SIZE = 32


def check_profile(profile: Profile, problems: Problems) -> None:
    spec = profile.spec
    check_rules("spec.ingress", spec.ingress, problems, egress=False, global_policy=True)
    check_rules("spec.egress", spec.egress, problems, egress=True, global_policy=True)
    problems.labels("spec.labelsToApply", spec.labels_to_apply)


def check_workload_endpoint(endpoint: WorkloadEndpoint, problems: Problems) -> None:
    spec = endpoint.spec
    for field, name in (
        ("orchestrator", spec.orchestrator),
        ("workload", spec.workload),
        ("node", spec.node),
        ("pod", spec.pod),
        ("endpoint", spec.endpoint),
        ("serviceAccountName", spec.service_account_name),
    ):
        problems.text(f"spec.{field}", name, formats.name_problem)
    problems.text("spec.containerID", spec.container_id, formats.container_id_problem)
    problems.texts("spec.ipNetworks", spec.ip_networks, _host_net_problem)
    problems.texts("spec.awsElasticIPs", spec.aws_elastic_ips, formats.address_problem)
    problems.text("spec.ipv4Gateway", spec.ipv4_gateway, lambda value: formats.address_problem(value, version=4))
    problems.text("spec.ipv6Gateway", spec.ipv6_gateway, lambda value: formats.address_problem(value, version=6))
    problems.texts("spec.profiles", spec.profiles, formats.name_problem)
    if not spec.interface_name:
        problems.required("spec.interfaceName", "the name of the interface on the node's side is required")
    problems.text("spec.interfaceName", spec.interface_name, formats.interface_problem)
    problems.text("spec.mac", spec.mac, formats.mac_problem)
    problems.texts(
        "spec.allowSpoofedSourcePrefixes",
        spec.allow_spoofed_source_prefixes,
        lambda net: formats.net_problem(net, host_bits=True),
    )
    _translations(spec, problems)
    for index, port in enumerate(spec.ports):
        where = f"spec.ports[{index}]"
        problems.text(f"{where}.name", port.name, formats.port_name_problem)
        if not port.name and not port.host_port:
            problems.required(f"{where}.name", "a port without a host port needs a name")
        if port.protocol not in ("TCP", "UDP", "SCTP"):
            problems.add(f"{where}.protocol", port.protocol, "must be TCP, UDP or SCTP")
        problems.text(f"{where}.hostIP", port.host_ip, formats.address_problem)


def _host_net_problem(net: str) -> str:
    if message := formats.net_problem(net):
        return message
    network = formats.network(net)
    return "" if network.prefixlen == network.max_prefixlen else "must be a single address: /32, or /128 for IPv6"


def _translations(spec: WorkloadEndpointSpec, problems: Problems) -> None:
    own = {formats.canonical_net(net) for net in spec.ip_networks if not _host_net_problem(net)}
    for index, nat in enumerate(spec.ip_nats):
        where = f"spec.ipNATs[{index}]"
        bad = False
        for field, address in (("internalIP", nat.internal_ip), ("externalIP", nat.external_ip)):
            if message := formats.address_problem(address):
                problems.add(f"{where}.{field}", address, message)
                bad = True
        if bad:
            continue
        if formats.version_of(nat.internal_ip) != formats.version_of(nat.external_ip):
            problems.add(f"{where}.externalIP", nat.external_ip, f"must be of the family of {nat.internal_ip}")
        if formats.host_net(nat.internal_ip) not in own:
            problems.add(f"{where}.internalIP", nat.internal_ip, "must be one of the addresses in spec.ipNetworks")


def check_node(node: CalicoNode, problems: Problems) -> None:
    spec = node.spec
    bgp = spec.bgp
    if bgp is not None:
        fields = (bgp.ipv4_address, bgp.ipv6_address, bgp.ipv4_ipip_tunnel_addr, bgp.route_reflector_cluster_id)
        if bgp.as_number is None and not any(fields):
            problems.required("spec.bgp", "must not be empty: leave it out for a node without BGP")
        for field, net, version in (("ipv4Address", bgp.ipv4_address, 4), ("ipv6Address", bgp.ipv6_address, 6)):
            if net and (message := formats.net_problem(net, version=version, host_bits=True)):
                problems.add(f"spec.bgp.{field}", net, message)
    addresses = [
        ("ipv4VXLANTunnelAddr", spec.ipv4_vxlan_tunnel_addr, 4),
        ("ipv6VXLANTunnelAddr", spec.ipv6_vxlan_tunnel_addr, 6),
    ]
    if bgp is not None:
        addresses.append(("bgp.ipv4IPIPTunnelAddr", bgp.ipv4_ipip_tunnel_addr, 4))
        addresses.append(("bgp.routeReflectorClusterID", bgp.route_reflector_cluster_id, 4))
    if spec.wireguard is not None:
        addresses.append(("wireguard.interfaceIPv4Address", spec.wireguard.interface_ipv4_address, 4))
        addresses.append(("wireguard.interfaceIPv6Address", spec.wireguard.interface_ipv6_address, 6))
    for field, address, version in addresses:
        if address and (message := formats.address_problem(address, version=version)):
            problems.add(f"spec.{field}", address, message)
    problems.text("spec.vxlanTunnelMACAddr", spec.vxlan_tunnel_mac_addr, formats.mac_problem)
    problems.text("spec.vxlanTunnelMACAddrV6", spec.vxlan_tunnel_mac_addr_v6, formats.mac_problem)
    problems.texts("spec.addresses", [item.address for item in spec.addresses], formats.net_problem)
    if node.status is not None:
        problems.text("status.wireguardPublicKey", node.status.wireguard_public_key, _key_problem)
        problems.text("status.wireguardPublicKeyV6", node.status.wireguard_public_key_v6, _key_problem)


def _key_problem(value: str) -> str:
    try:
        key = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    return "" if len(key) == _KEY_SIZE else "must be a WireGuard key: base64 of 32 bytes"


def check_early_network(configuration: EarlyNetworkConfiguration, problems: Problems) -> None:
    for index, node in enumerate(configuration.spec.nodes):
        where = f"spec.nodes[{index}]"
        problems.texts(f"{where}.interfaceAddresses", node.interface_addresses, formats.address_problem)
        if node.stable_address is not None:
            problems.text(f"{where}.stableAddress.address", node.stable_address.address, formats.address_problem)
        for position, peering in enumerate(node.peerings):
            if message := formats.address_problem(peering.peer_ip):
                problems.add(f"{where}.peerings[{position}].peerIP", peering.peer_ip, message)
        problems.labels(f"{where}.labels", node.labels)
