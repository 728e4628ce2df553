"""BGP resources: what their fields accept and exclude (spec/resources.md 1.4).

For admission. In: decoded objects. Out: problems with their paths.
"""

import re

from tortie.model import formats
from tortie.model.admission.problems import Problems
from tortie.model.v3.bgp import (
    BGPConfiguration,
    BGPConfigurationSpec,
    BGPFilter,
    BGPFilterRule,
    BGPPeer,
    BGPPeerSpec,
)

_LEVELS = ("Trace", "Debug", "Info", "Warning", "Error", "Fatal")
_INTERFACE = re.compile(r"[A-Za-z0-9_.*-]{1,15}")
_PEER_V4 = re.compile(r"([0-9.]+)(?::([0-9]+))?")
_PEER_V6 = re.compile(r"\[([0-9A-Fa-f:.]+)\]:([0-9]+)")


def _interface_problem(value: str) -> str:
    return "" if _INTERFACE.fullmatch(value) else "must be 1 to 15 letters, digits, '_', '.', '-' or '*'"


def _ignored_interface_problem(value: str) -> str:
    return "must not be * alone: that would ignore every interface" if value == "*" else _interface_problem(value)


# --- BGPConfiguration ------------------------------------------------------------------------------------------


def check_bgp_configuration(configuration: BGPConfiguration, problems: Problems) -> None:
    spec = configuration.spec
    if spec.log_severity_screen and spec.log_severity_screen.capitalize() not in _LEVELS:
        problems.add(
            "spec.logSeverityScreen",
            spec.log_severity_screen,
            f"supported values: {', '.join(_LEVELS)}",
            "NotSupported",
        )
    if configuration.metadata.name != "default":
        _only_on_default(spec, problems)
    for field, entries in (
        ("serviceClusterIPs", spec.service_cluster_ips),
        ("serviceExternalIPs", spec.service_external_ips),
        ("serviceLoadBalancerIPs", spec.service_load_balancer_ips),
    ):
        for index, entry in enumerate(entries):
            where = f"spec.{field}[{index}].cidr"
            if message := formats.net_problem(entry.cidr, need_length=True):
                problems.add(where, entry.cidr, message)
    _communities(spec, problems)
    if spec.node_to_node_mesh_enabled is False:
        for field, value in (
            ("nodeMeshPassword", spec.node_mesh_password),
            ("nodeMeshMaxRestartTime", spec.node_mesh_max_restart_time),
        ):
            if value:
                problems.forbidden(f"spec.{field}", "cannot be set when nodeToNodeMeshEnabled is false")
    problems.duration("spec.nodeMeshMaxRestartTime", spec.node_mesh_max_restart_time)
    problems.texts("spec.ignoredInterfaces", spec.ignored_interfaces, _ignored_interface_problem)
    for version, field, address in (
        (4, "localWorkloadPeeringIPV4", spec.local_workload_peering_ipv4),
        (6, "localWorkloadPeeringIPV6", spec.local_workload_peering_ipv6),
    ):
        if address and (message := formats.address_problem(address, version=version)):
            problems.add(f"spec.{field}", address, message)


def _only_on_default(spec: BGPConfigurationSpec, problems: Problems) -> None:
    fields = {
        "nodeToNodeMeshEnabled": spec.node_to_node_mesh_enabled is not None,
        "asNumber": spec.as_number is not None,
        "serviceClusterIPs": bool(spec.service_cluster_ips),
        "serviceExternalIPs": bool(spec.service_external_ips),
        "serviceLoadBalancerIPs": bool(spec.service_load_balancer_ips),
        "nodeMeshPassword": spec.node_mesh_password is not None,
        "nodeMeshMaxRestartTime": bool(spec.node_mesh_max_restart_time),
    }
    for field, is_set in fields.items():
        if is_set:
            problems.forbidden(f"spec.{field}", "can be set only in the object named default")


def _communities(spec: BGPConfigurationSpec, problems: Problems) -> None:
    names = {community.name for community in spec.communities}
    for index, community in enumerate(spec.communities):
        problems.text(f"spec.communities[{index}].name", community.name, formats.name_problem)
        if message := formats.community_problem(community.value):
            problems.add(f"spec.communities[{index}].value", community.value, message)
    if spec.communities and not spec.prefix_advertisements:
        problems.required("spec.prefixAdvertisements", "communities have no effect without prefixAdvertisements")
    for index, advertisement in enumerate(spec.prefix_advertisements):
        where = f"spec.prefixAdvertisements[{index}]"
        if message := formats.net_problem(advertisement.cidr):
            problems.add(f"{where}.cidr", advertisement.cidr, message)
        for position, value in enumerate(advertisement.communities):
            if value not in names and formats.community_problem(value):
                problems.add(
                    f"{where}.communities[{position}]",
                    value,
                    "must be a community aa:nn or aa:nn:mm, or the name of one in spec.communities",
                )


# --- BGPPeer ---------------------------------------------------------------------------------------------------


def check_bgp_peer(peer: BGPPeer, problems: Problems) -> None:
    spec = peer.spec
    problems.text("spec.node", spec.node, formats.name_problem)
    problems.selector("spec.nodeSelector", spec.node_selector)
    problems.selector("spec.peerSelector", spec.peer_selector)
    problems.selector("spec.localWorkloadSelector", spec.local_workload_selector)
    if spec.node and spec.node_selector:
        problems.forbidden("spec.nodeSelector", "cannot be set together with node")
    address = peer_address(spec.peer_ip)
    if spec.peer_ip and address is None:
        problems.add(
            "spec.peerIP", spec.peer_ip, "must be an IP address, or one with a port: 192.0.2.1:1179, [2001:db8::1]:1179"
        )
    _who(spec, problems)
    if spec.keep_original_next_hop and spec.next_hop_mode:
        problems.forbidden("spec.nextHopMode", "cannot be set when keepOriginalNextHop is true")
    if spec.reachable_by:
        if message := formats.address_problem(spec.reachable_by):
            problems.add("spec.reachableBy", spec.reachable_by, message)
        elif address is None:
            problems.required("spec.peerIP", "reachableBy needs a peerIP")
        elif formats.version_of(spec.reachable_by) != formats.version_of(address[0]):
            problems.add("spec.reachableBy", spec.reachable_by, f"must be of the IP version of peerIP {spec.peer_ip}")
    problems.duration("spec.maxRestartTime", spec.max_restart_time)
    problems.duration("spec.keepaliveTime", spec.keepalive_time)
    problems.texts("spec.filters", spec.filters, formats.name_problem)
    if spec.external_network and spec.network:
        problems.forbidden("spec.network", "cannot be set together with externalNetwork")


def _who(spec: BGPPeerSpec, problems: Problems) -> None:
    """Peers are given by address, as selected nodes, or as local workloads."""
    if spec.peer_selector:
        if spec.peer_ip:
            problems.forbidden("spec.peerIP", "cannot be set together with peerSelector")
        if spec.as_number:
            problems.forbidden("spec.asNumber", "cannot be set together with peerSelector: the nodes have AS numbers")
    if spec.local_workload_selector:
        if spec.peer_ip:
            problems.forbidden("spec.peerIP", "cannot be set together with localWorkloadSelector")
        if spec.peer_selector:
            problems.forbidden("spec.peerSelector", "cannot be set together with localWorkloadSelector")
        if not spec.as_number:
            problems.required("spec.asNumber", "localWorkloadSelector needs the AS number of the workloads")


def peer_address(text: str) -> tuple[str, int | None] | None:
    """The address and port of a peerIP; None if it is not one. The port is None if absent."""
    if not formats.address_problem(text):
        return text, None
    found = _PEER_V4.fullmatch(text) or _PEER_V6.fullmatch(text)
    if found is None:
        return None
    address, port = found.groups()
    version = 6 if text.startswith("[") else 4
    if formats.address_problem(address, version=version) or not 1 <= int(port or 0) <= 65535:
        return None
    return address, int(port)


# --- BGPFilter -------------------------------------------------------------------------------------------------


def check_bgp_filter(bgp_filter: BGPFilter, problems: Problems) -> None:
    spec = bgp_filter.spec
    for field, rules, version in (
        ("exportV4", spec.export_v4, 4),
        ("importV4", spec.import_v4, 4),
        ("exportV6", spec.export_v6, 6),
        ("importV6", spec.import_v6, 6),
    ):
        for index, rule in enumerate(rules):
            _filter_rule(rule, f"spec.{field}[{index}]", version, problems)


def _filter_rule(rule: BGPFilterRule, path: str, version: int, problems: Problems) -> None:
    if not rule.action:
        problems.required(f"{path}.action", "must be Accept or Reject")
    if rule.cidr and (message := formats.net_problem(rule.cidr, version=version, need_length=True)):
        problems.add(f"{path}.cidr", rule.cidr, message)
    if bool(rule.cidr) != bool(rule.match_operator):
        missing = "matchOperator" if rule.cidr else "cidr"
        problems.required(f"{path}.{missing}", "cidr and matchOperator must be set together")
    if rule.prefix_length is not None:
        if not rule.cidr:
            problems.required(f"{path}.cidr", "prefixLength needs a cidr")
        most = 32 if version == 4 else 128
        for field, length in (("min", rule.prefix_length.min), ("max", rule.prefix_length.max)):
            if length is not None and length > most:
                problems.add(f"{path}.prefixLength.{field}", length, f"must be between 0 and {most}")
    problems.text(f"{path}.interface", rule.interface, _interface_problem)
    if rule.communities is not None:
        problems.texts(f"{path}.communities.values", rule.communities.values, _filter_community_problem)
    if rule.operations and rule.action != "Accept":
        problems.forbidden(f"{path}.operations", "only a rule with action Accept can change routes")
    for index, operation in enumerate(rule.operations):
        where = f"{path}.operations[{index}]"
        problems.one_of(where, operation)
        if operation.add_community is not None:
            value = operation.add_community.value
            if message := _filter_community_problem(value):
                problems.add(f"{where}.addCommunity.value", value, message)


def _filter_community_problem(value: str) -> str:
    return formats.community_problem(value, leading_zeros=False)
