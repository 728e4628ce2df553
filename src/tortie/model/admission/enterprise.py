"""Kinds of the Enterprise edition about traffic and clusters: what they accept and exclude (spec/resources.md 1.4).

For admission. In: decoded objects. Out: problems with their paths. Alerts, feeds and reports are in `alerts`.
"""

import re
from collections.abc import Sequence

from tortie.model import formats
from tortie.model.admission.problems import Problems
from tortie.model.v3 import (
    BFDConfiguration,
    DeepPacketInspection,
    EgressGatewayPolicy,
    LicenseKey,
    ManagedCluster,
    Network,
    PacketCapture,
    PolicyRecommendationScope,
    RemoteClusterConfiguration,
    UISettings,
    UISettingsGroup,
)
from tortie.model.v3.networks import L2Bridge, StaticRoute, VLANRoute
from tortie.model.v3.waf import WAFPluginReference, WAFPluginSpec

_PATTERN = re.compile(r"\*|[A-Za-z0-9_.-]{1,15}\*?")


def check_period(path: str, start: str | None, end: str | None, problems: Problems) -> None:
    """Two times, the second of which must be later than the first."""
    first, last = problems.time(f"{path}.startTime", start), problems.time(f"{path}.endTime", end)
    if first is not None and last is not None and last <= first:
        problems.add(f"{path}.endTime", end, f"must be later than startTime {start}")


def needed(path: str, value: object, problems: Problems) -> None:
    """An error if a required text is there but empty."""
    if not value:
        problems.required(path, "must not be empty")


# --- traffic ---------------------------------------------------------------------------------------------------


def check_packet_capture(capture: PacketCapture, problems: Problems) -> None:
    spec = capture.spec
    problems.selector("spec.selector", spec.selector)
    for index, item in enumerate(spec.filters):
        where = f"spec.filters[{index}]"
        if item.protocol is not None and (message := formats.protocol_problem(item.protocol)):
            problems.add(f"{where}.protocol", item.protocol, message)
        for position, port in enumerate(item.ports):
            path = f"{where}.ports[{position}]"
            if message := formats.port_problem(port):
                problems.add(path, port, message)
            elif isinstance(formats.parse_port(port), str):
                problems.add(path, port, "must be a number or a range: packets know no names of ports")
    check_period("spec", spec.start_time, spec.end_time, problems)


def check_deep_packet_inspection(inspection: DeepPacketInspection, problems: Problems) -> None:
    problems.selector("spec.selector", inspection.spec.selector)


def check_egress_gateway_policy(policy: EgressGatewayPolicy, problems: Problems) -> None:
    seen: dict[str, int] = {}
    for index, rule in enumerate(policy.spec.rules):
        path = f"spec.rules[{index}]"
        cidr = (rule.destination.cidr if rule.destination is not None else "") or "0.0.0.0/0"
        if message := formats.net_problem(cidr, need_length=True):
            problems.add(f"{path}.destination.cidr", cidr, message)
        else:
            canonical = formats.canonical_net(cidr)
            if canonical in seen:
                problems.add(f"{path}.destination.cidr", cidr, f"is the destination of rule {seen[canonical]} already")
            seen.setdefault(canonical, index)
        if rule.gateway is not None:
            problems.selector(f"{path}.gateway.selector", rule.gateway.selector)
            problems.selector(f"{path}.gateway.namespaceSelector", rule.gateway.namespace_selector)


def check_bfd_configuration(configuration: BFDConfiguration, problems: Problems) -> None:
    problems.selector("spec.nodeSelector", configuration.spec.node_selector)
    for index, item in enumerate(configuration.spec.interfaces):
        path = f"spec.interfaces[{index}]"
        if not _PATTERN.fullmatch(item.match_pattern):
            problems.add(
                f"{path}.matchPattern", item.match_pattern, "must be an interface, the beginning of one and *, or *"
            )
        for field, value in (
            ("minimumRecvInterval", item.minimum_recv_interval),
            ("minimumSendInterval", item.minimum_send_interval),
            ("idleSendInterval", item.idle_send_interval),
        ):
            if value and (message := _milliseconds_problem(value)):
                problems.add(f"{path}.{field}", value, message)


def _milliseconds_problem(value: str) -> str:
    if message := formats.duration_problem(value):
        return message
    microseconds = round(formats.duration_seconds(value) * 1_000_000)
    return "" if microseconds > 0 and microseconds % 1000 == 0 else "must be whole milliseconds, at least one"


# --- networks --------------------------------------------------------------------------------------------------


def check_network(network: Network, problems: Problems) -> None:
    spec = network.spec
    problems.one_of("spec", spec, "vrf", "l2Bridge")
    if spec.vrf is not None:
        _node_selectors("spec.vrf.hostConfig", [item.node_selector for item in spec.vrf.host_config], problems)
        for index, host in enumerate(spec.vrf.host_config):
            for position, interface in enumerate(host.host_interfaces):
                path = f"spec.vrf.hostConfig[{index}].hostInterfaces[{position}].name"
                needed(path, interface.name, problems)
                problems.text(path, interface.name, formats.interface_problem)
            _routes(f"spec.vrf.hostConfig[{index}].staticRoutes", host.static_routes, problems)
    if spec.l2_bridge is not None:
        _bridge(spec.l2_bridge, problems)


def check_network_update(old: Network, new: Network, problems: Problems) -> None:
    if (old.spec.vrf is None) != (new.spec.vrf is None):
        problems.forbidden("spec", "the type of a network cannot be changed: make a new one instead")


def _node_selectors(path: str, selectors: list[str], problems: Problems) -> None:
    for index, selector in enumerate(selectors):
        problems.selector(f"{path}[{index}].nodeSelector", selector)
    problems.unique(path, "nodeSelector", selectors, "entry")


def _routes(path: str, routes: Sequence[StaticRoute | VLANRoute], problems: Problems) -> None:
    """A next hop is an address of the family of the destination."""
    for index, route in enumerate(routes):
        hop = route.action.next_hop if route.action is not None else ""
        if not hop:
            continue
        version = formats.version_of(route.destination)
        if message := formats.address_problem(hop, version=version):
            problems.add(f"{path}[{index}].action.nextHop", hop, f"{message}, as destination {route.destination} is")


def _bridge(bridge: L2Bridge, problems: Problems) -> None:
    _node_selectors("spec.l2Bridge.hostConfig", [item.node_selector for item in bridge.host_config], problems)
    for index, host in enumerate(bridge.host_config):
        path = f"spec.l2Bridge.hostConfig[{index}].bridge"
        if host.bridge is None:
            continue
        existing = host.bridge.existing_bridge
        problems.one_of(path, host.bridge)
        if existing is not None:
            needed(f"{path}.existingBridge.name", existing.name, problems)
            problems.text(f"{path}.existingBridge.name", existing.name, formats.interface_problem)
            if existing.name.startswith(("calb-", "calq-")):
                problems.add(f"{path}.existingBridge.name", existing.name, "must not begin with calb- or calq-")
        for position, connection in enumerate(host.host_connections):
            port = connection.trunk_port
            if port is not None and port.interface is not None:
                where = f"spec.l2Bridge.hostConfig[{index}].hostConnections[{position}].trunkPort.interface.name"
                needed(where, port.interface.name, problems)
                problems.text(where, port.interface.name, formats.interface_problem)
    for index, item in enumerate(bridge.vlans):
        path = f"spec.l2Bridge.vlans[{index}].vlan"
        for position, subnet in enumerate(item.subnets):
            _routes(f"spec.l2Bridge.vlans[{index}].subnets[{position}].routes", subnet.routes, problems)
        if item.vlan is None:
            continue
        span = item.vlan.range
        problems.one_of(path, item.vlan)
        if span is not None and (span.start or 0) > (span.end or 0):
            problems.add(f"{path}.range.end", span.end, f"must not be less than start {span.start}")


# --- clusters --------------------------------------------------------------------------------------------------


def check_managed_cluster(cluster: ManagedCluster, problems: Problems) -> None:
    problems.text("spec.operatorNamespace", cluster.spec.operator_namespace, formats.dns_label_problem)


def check_managed_cluster_update(old: ManagedCluster, new: ManagedCluster, problems: Problems) -> None:
    manifest = new.spec.installation_manifest
    if manifest and manifest != old.spec.installation_manifest:
        problems.forbidden("spec.installationManifest", "cannot be changed: the server makes it at creation")


def check_license_key(license_key: LicenseKey, problems: Problems) -> None:
    needed("spec.token", license_key.spec.token, problems)
    problems.text("spec.certificate", license_key.spec.certificate, formats.certificate_problem)


def check_remote_cluster(remote: RemoteClusterConfiguration, problems: Problems) -> None:
    spec = remote.spec
    secret = spec.cluster_access_secret
    if secret is not None:
        needed("spec.clusterAccessSecret.name", secret.name, problems)
        needed("spec.clusterAccessSecret.namespace", secret.namespace, problems)
    kind = spec.datastore_type or "etcdv3"
    for attribute, field in zip(spec.__struct_fields__, spec.__struct_encode_fields__, strict=True):
        if not getattr(spec, attribute):
            continue
        ours = attribute.startswith(("etcd_", "k8s_", "kubeconfig"))
        if secret is not None:
            if ours or attribute == "datastore_type":
                problems.forbidden(f"spec.{field}", "must be empty when clusterAccessSecret is set")
        elif attribute.startswith("etcd_") and kind != "etcdv3":
            problems.forbidden(f"spec.{field}", "is for datastoreType etcdv3 only")
        elif ours and not attribute.startswith("etcd_") and kind != "kubernetes":
            problems.forbidden(f"spec.{field}", "is for datastoreType kubernetes only")


# --- recommendations, the console and the firewall -------------------------------------------------------------


def check_recommendation_scope(scope: PolicyRecommendationScope, problems: Problems) -> None:
    spec = scope.spec
    problems.duration("spec.initialLookback", spec.initial_lookback)
    problems.duration("spec.interval", spec.interval)
    problems.duration("spec.stabilizationPeriod", spec.stabilization_period)
    for field, part in (("namespaceSpec", spec.namespace_spec), ("hostEndpointSpec", spec.host_endpoint_spec)):
        if part is not None:
            problems.selector(f"spec.{field}.selector", part.selector)
            problems.text(f"spec.{field}.tierName", part.tier_name, formats.dns_label_problem)


def check_ui_settings_group(group: UISettingsGroup, problems: Problems) -> None:
    needed("spec.description", group.spec.description, problems)


def check_ui_settings(settings: UISettings, problems: Problems) -> None:
    spec = settings.spec
    needed("spec.group", spec.group, problems)
    needed("spec.description", spec.description, problems)
    problems.one_of("spec", spec, "view", "layer", "dashboard")
    for index, item in enumerate(spec.view.host_aggregation_selectors if spec.view is not None else ()):
        needed(f"spec.view.hostAggregationSelectors[{index}].name", item.name, problems)
        problems.selector(f"spec.view.hostAggregationSelectors[{index}].selector", item.selector)
    name = settings.metadata.name
    if name and spec.group and not name.startswith(f"{spec.group}."):
        problems.add("metadata.name", name, f"must begin with the name of the group and a dot: {spec.group}.")


def check_ui_settings_update(old: UISettings, new: UISettings, problems: Problems) -> None:
    for field, before, after in (("group", old.spec.group, new.spec.group), ("user", old.spec.user, new.spec.user)):
        if before != after:
            problems.add(f"spec.{field}", after, f"cannot be changed from {before!r}")


def check_waf_plugin(plugin: object, problems: Problems) -> None:
    spec: WAFPluginSpec = plugin.spec  # type: ignore[attr-defined]  # two kinds, one spec
    if not (spec.config or spec.before or spec.rules or spec.after):
        problems.required("spec", "at least one of config, before, rules and after must be set")


def check_waf_policy(policy: object, problems: Problems) -> None:
    plugins: tuple[WAFPluginReference, ...] = policy.spec.plugins  # type: ignore[attr-defined]  # two kinds
    namespaced: bool = hasattr(policy.spec, "target_refs")  # type: ignore[attr-defined]  # two kinds
    for index, plugin in enumerate(plugins):
        if namespaced and plugin.kind == "GlobalWAFPlugin":
            problems.forbidden(f"spec.plugins[{index}].kind", "a WAFPolicy may name plugins of its namespace only")
