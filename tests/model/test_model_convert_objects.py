"""Pods, namespaces, sets, pools, nodes, services and configuration as the dataplane sees them."""

from typing import Any

import msgspec
import pytest

from tortie.model import catalog, convert
from tortie.model.dataplane import (
    BGPConfig,
    Block,
    BlockKey,
    ConfigValues,
    EndpointSlice,
    HostEndpoint,
    HostEndpointKey,
    IPPool,
    NamedPort,
    NetworkSet,
    NetworkSetKey,
    Node,
    Profile,
    ProfileKey,
    Rule,
    Service,
    ServiceKey,
    ServicePort,
    WorkloadEndpoint,
    WorkloadEndpointKey,
)
from tortie.model.resource import Resource

ALLOW = (Rule(action="allow"),)


def struct(resource: Resource[Any], **fields: Any) -> Any:
    metadata = {"name": "x", **({"namespace": "ns"} if resource.namespaced else {}), **fields.pop("metadata", {})}
    return msgspec.convert({"metadata": metadata, **fields}, resource.type)


# --- profiles --------------------------------------------------------------------------------------------------


def test_a_namespace_becomes_a_profile_that_allows_and_passes_on_its_labels() -> None:
    update = convert.namespace_to_profile(struct(catalog.NAMESPACES, metadata={"labels": {"a": "b"}}))
    assert update.key == ProfileKey("kns.x")
    labels = {"pcns.a": "b", "pcns.projectcalico.org/name": "x"}
    assert update.value == Profile(ingress=ALLOW, egress=ALLOW, labels=labels)


def test_a_service_account_becomes_a_profile_without_rules() -> None:
    update = convert.service_account_to_profile(struct(catalog.SERVICE_ACCOUNTS, metadata={"labels": {"a": "b"}}))
    assert update.key == ProfileKey("ksa.ns.x")
    assert update.value == Profile(labels={"pcsa.a": "b", "pcsa.projectcalico.org/name": "x"})


# --- pods ------------------------------------------------------------------------------------------------------


def pod(*, spec: Any = None, status: Any = None, **metadata: Any) -> Any:
    spec = {"nodeName": "n", "serviceAccountName": "sa", **(spec or {})}
    status = {"podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]} if status is None else status
    return struct(catalog.PODS, metadata=metadata, spec=spec, status=status)


def endpoint(**fields: Any) -> WorkloadEndpoint | None:
    value = convert.pod_to_workload_endpoint(pod(**fields)).value
    assert value is None or isinstance(value, WorkloadEndpoint)
    return value


def test_a_pod_becomes_a_workload_endpoint() -> None:
    ports = [
        {"name": "http", "containerPort": 80},
        {"name": "dns", "containerPort": 53, "protocol": "UDP"},
        {"containerPort": 81, "hostPort": 81},
        {"name": "odd", "containerPort": 1, "protocol": "OTHER"},
    ]
    spec = {
        "containers": [{"name": "c", "ports": ports}],
        "initContainers": [{"name": "i", "ports": [{"name": "init", "containerPort": 9}]}],
    }
    annotations = {"cni.projectcalico.org/containerID": "c1", "qos.projectcalico.org/ingressBandwidth": "1M", "z": "z"}
    update = convert.pod_to_workload_endpoint(pod(spec=spec, labels={"app": "web"}, annotations=annotations))
    assert update.key == WorkloadEndpointKey("n", "k8s", "ns/x", "eth0")
    assert update.value == WorkloadEndpoint(
        interface="calidd7f507277f",
        ipv4_nets=("10.0.0.1/32",),
        ipv6_nets=("fd00::1/128",),
        profiles=("kns.ns", "ksa.ns.sa"),
        labels={
            "app": "web",
            "projectcalico.org/namespace": "ns",
            "projectcalico.org/orchestrator": "k8s",
            "projectcalico.org/serviceaccount": "sa",
        },
        ports=(NamedPort("http", 6, 80), NamedPort("dns", 17, 53), NamedPort("init", 6, 9)),
        container_id="c1",
        service_account="sa",
        annotations={"qos.projectcalico.org/ingressBandwidth": "1M"},
    )


def test_a_pod_cannot_pass_for_a_member_of_another_namespace_or_account() -> None:
    """Detail 23; the account's label is there however long its name is."""
    labels = {"pcns.a": "b", "pcsa.c": "d", "projectcalico.org/namespace": "other"}
    found = endpoint(labels=labels, spec={"serviceAccountName": "s" * 70})
    assert found is not None
    assert found.labels == {
        "projectcalico.org/namespace": "ns",
        "projectcalico.org/orchestrator": "k8s",
        "projectcalico.org/serviceaccount": "s" * 70,
    }


def test_a_pod_without_a_service_account_has_one_profile() -> None:
    found = endpoint(spec={"serviceAccountName": ""})
    assert found is not None
    assert found.profiles == ("kns.ns",)


CNI = "cni.projectcalico.org/"


@pytest.mark.parametrize(
    ("status", "annotations", "nets"),
    [
        ({"podIPs": [{"ip": "10.0.0.1"}], "podIP": "10.0.0.2"}, {}, ("10.0.0.1/32",)),
        ({"podIP": "10.0.0.2"}, {CNI + "podIPs": "10.0.0.3/32"}, ("10.0.0.2/32",)),
        ({}, {CNI + "podIPs": "10.0.0.3/32,10.0.0.4/32", CNI + "podIP": "10.0.0.5/32"}, ("10.0.0.3/32", "10.0.0.4/32")),
        ({}, {CNI + "podIP": "10.0.0.5/32"}, ("10.0.0.5/32",)),
        ({}, {"vpc.amazonaws.com/pod-ips": "10.0.0.6"}, ("10.0.0.6/32",)),
    ],
)
def test_addresses_come_from_the_first_source_that_has_any(status: Any, annotations: Any, nets: Any) -> None:
    found = endpoint(status=status, annotations=annotations)
    assert found is not None
    assert found.ipv4_nets == nets


@pytest.mark.parametrize(
    "fields",
    [
        {"spec": {"hostNetwork": True}},
        {"spec": {"nodeName": ""}},
        {"status": {}},
        {"status": {"podIP": "10.0.0.1", "phase": "Succeeded"}},
        {"status": {"podIP": "10.0.0.1", "phase": "Failed"}},
        {"deletionTimestamp": "2026-01-01T00:00:00Z", "annotations": {CNI + "podIP": ""}},
    ],
    ids=str,
)
def test_pods_without_a_place_in_the_dataplane_are_absent(fields: dict[str, Any]) -> None:
    assert endpoint(**fields) is None


def test_a_terminating_pod_stays_until_its_addresses_are_blanked() -> None:
    """Detail 28."""
    assert endpoint(deletionTimestamp="2026-01-01T00:00:00Z") is not None
    with_ip = {CNI + "podIP": "10.0.0.1/32"}
    assert endpoint(deletionTimestamp="2026-01-01T00:00:00Z", annotations=with_ip) is not None
    assert endpoint(annotations={CNI + "podIP": ""}) is not None


@pytest.mark.parametrize("text", ['["10.0.0.0/33"]', "nonsense", '{"a": 1}'])
def test_a_bad_address_or_source_prefix_makes_a_pod_absent_and_says_why(text: str) -> None:
    update = convert.pod_to_workload_endpoint(pod(annotations={CNI + "allowedSourcePrefixes": text}))
    assert update.value is None
    assert "allowedSourcePrefixes" in update.errors[0]
    assert convert.pod_to_workload_endpoint(pod(status={"podIP": "nonsense"})).errors


def test_source_prefixes_are_normalised() -> None:
    found = endpoint(annotations={CNI + "allowedSourcePrefixes": '["10.1.2.3/8", "fd00::1"]'})
    assert found is not None
    assert found.allowed_source_prefixes == ("10.0.0.0/8", "fd00::1/128")


# --- endpoints, sets, pools, blocks ----------------------------------------------------------------------------


def test_a_host_endpoint_keeps_what_can_be_read() -> None:
    spec = {
        "node": "n",
        "expectedIPs": ["10.0.0.1", "bad", "FD00::1"],
        "profiles": ["p"],
        "ports": [{"name": "a", "protocol": "TCP", "port": 1}, {"name": "b", "protocol": "?", "port": 2}],
    }
    update = convert.host_endpoint(struct(catalog.HOST_ENDPOINTS, metadata={"labels": {"a": "b"}}, spec=spec))
    assert update.key == HostEndpointKey("n", "x")
    assert update.value == HostEndpoint(
        expected_ips=("10.0.0.1", "fd00::1"), profiles=("p",), labels={"a": "b"}, ports=(NamedPort("a", 6, 1),)
    )
    assert len(update.errors) == 2


def test_network_sets_skip_bad_members_and_namespaced_ones_inherit_from_their_namespace() -> None:
    spec = {"nets": ["10.0.0.1", "10.1.2.3/8", "bad", "fd00::/8"], "allowedEgressDomains": ["a.com"]}
    nets = ("10.0.0.1/32", "10.0.0.0/8", "fd00::/8")
    update = convert.network_set(struct(catalog.NETWORK_SETS, metadata={"labels": {"a": "b"}}, spec=spec))
    labels = {"a": "b", "projectcalico.org/namespace": "ns"}
    assert update.key == NetworkSetKey("ns", "x")
    assert update.value == NetworkSet(nets=nets, domains=("a.com",), labels=labels, profiles=("kns.ns",))
    assert len(update.errors) == 1
    other = convert.global_network_set(struct(catalog.GLOBAL_NETWORK_SETS, metadata={"labels": {"a": "b"}}, spec=spec))
    assert other.key == NetworkSetKey("", "x")
    assert other.value == NetworkSet(nets=nets, domains=("a.com",), labels={"a": "b"})


def test_pools_get_the_defaults_of_their_family() -> None:
    update = convert.ip_pool(struct(catalog.IP_POOLS, spec={"cidr": "fd00::1/64", "vxlanMode": "Always"}))
    assert update.value == IPPool(cidr="fd00::/64", block_size=122, vxlan_mode="Always")
    assert convert.ip_pool(struct(catalog.IP_POOLS, spec={"cidr": "bad"})).errors


def test_blocks_name_the_node_that_uses_each_address() -> None:
    spec = {
        "cidr": "10.0.0.0/30",
        "affinity": "host:a",
        "allocations": [0, None, 1, 2],
        "unallocated": [1],
        "attributes": [
            {"handle_id": "h", "secondary": {"node": "a"}},
            {"secondary": {"node": "b"}},
            {"secondary": {"node": "c"}, "releasedAt": "2026-01-01T00:00:00Z"},
        ],
        "strictAffinity": False,
    }
    update = convert.block(struct(catalog.IPAM_BLOCKS, spec=spec))
    assert update.key == BlockKey("10.0.0.0/30")
    allocated = (("10.0.0.0", "a"), ("10.0.0.2", "b"))
    assert update.value == Block(cidr="10.0.0.0/30", affinity_node="a", allocated=allocated)
    assert convert.block(struct(catalog.IPAM_BLOCKS, spec={**spec, "deleted": True})).value is None
    virtual = convert.block(struct(catalog.IPAM_BLOCKS, spec={**spec, "affinity": "virtual:lb"})).value
    assert isinstance(virtual, Block)
    assert virtual.affinity_node == ""


# --- nodes -----------------------------------------------------------------------------------------------------

PREFIX = "projectcalico.org/"


def test_a_nodes_annotations_say_how_it_is_reached() -> None:
    annotations = {
        PREFIX + "IPv4Address": "172.30.0.11/24",
        PREFIX + "IPv6Address": "fd00:30::11/64",
        PREFIX + "ASNumber": "1.10",
        PREFIX + "IPv4VXLANTunnelAddr": "192.168.1.0",
        PREFIX + "VXLANTunnelMACAddr": "66:AA:bb:cc:dd:ee",
        PREFIX + "RouteReflectorClusterID": "1.0.0.1",
        PREFIX + "labels": '{"a": "calico", "b": "calico"}',
    }
    update = convert.node(struct(catalog.NODES, metadata={"labels": {"a": "kubernetes"}, "annotations": annotations}))
    assert update.value == Node(
        ipv4="172.30.0.11",
        ipv4_cidr="172.30.0.11/24",
        ipv6="fd00:30::11",
        ipv6_cidr="fd00:30::11/64",
        as_number=65546,
        labels={"a": "kubernetes", "b": "calico"},
        vxlan_tunnel_ipv4="192.168.1.0",
        vxlan_mac_v4="66:aa:bb:cc:dd:ee",
        route_reflector_cluster_id="1.0.0.1",
    )


def test_bad_annotations_of_a_node_are_skipped_and_internal_addresses_fill_in() -> None:
    annotations = {
        PREFIX + "IPv4Address": "fd00::1/64",
        PREFIX + "ASNumber": "x",
        PREFIX + "IPv4VXLANTunnelAddr": "1.2",
    }
    addresses = [{"type": "Hostname", "address": "x"}, {"type": "InternalIP", "address": "10.0.0.5"}]
    obj = struct(catalog.NODES, metadata={"annotations": annotations}, status={"addresses": addresses})
    update = convert.node(obj)
    assert update.value == Node(ipv4="10.0.0.5")
    assert len(update.errors) == 3


# --- services --------------------------------------------------------------------------------------------------


def test_a_service_names_all_its_addresses() -> None:
    obj = struct(
        catalog.SERVICES,
        spec={
            "type": "LoadBalancer",
            "clusterIP": "10.96.0.1",
            "clusterIPs": ["10.96.0.1", "fd00::1"],
            "externalIPs": ["192.0.2.1"],
            "ports": [{"name": "http", "port": 80, "nodePort": 30080}],
        },
        status={"loadBalancer": {"ingress": [{"ip": "192.0.2.2"}, {"hostname": "x"}]}},
    )
    assert convert.service(obj).value == Service(
        type="LoadBalancer",
        cluster_ips=("10.96.0.1", "fd00::1"),
        external_ips=("192.0.2.1",),
        load_balancer_ips=("192.0.2.2",),
        ports=(ServicePort("http", 6, 80, 30080),),
    )
    headless = convert.service(struct(catalog.SERVICES, spec={"clusterIP": "None"})).value
    assert headless == Service()


def test_slices_give_every_address_ready_or_not() -> None:
    """Detail 27."""
    obj = struct(
        catalog.ENDPOINT_SLICES,
        metadata={"labels": {"kubernetes.io/service-name": "web"}},
        addressType="IPv4",
        endpoints=[{"addresses": ["10.0.0.1"], "conditions": {"ready": False}}, {"addresses": ["10.0.0.1", "bad"]}],
        ports=[{"name": "http", "port": 80}, {"name": "none"}, {"name": "dns", "protocol": "UDP", "port": 53}],
    )
    update = convert.endpoint_slice(obj)
    ports = (("http", 6, 80), ("dns", 17, 53))
    assert update.value == EndpointSlice(service=ServiceKey("ns", "web"), addresses=("10.0.0.1",), ports=ports)
    assert len(update.errors) == 1


@pytest.mark.parametrize("fields", [{"addressType": "FQDN"}, {"metadata": {"labels": {}}}])
def test_slices_of_names_or_of_no_service_are_absent(fields: dict[str, Any]) -> None:
    obj = struct(catalog.ENDPOINT_SLICES, **{"metadata": {"labels": {"kubernetes.io/service-name": "web"}}, **fields})
    assert convert.endpoint_slice(obj).value is None


def test_a_slice_may_hold_null_lists() -> None:
    labels = {"labels": {"kubernetes.io/service-name": "web"}}
    obj = struct(catalog.ENDPOINT_SLICES, metadata=labels, endpoints=None, ports=None)
    assert convert.endpoint_slice(obj).value == EndpointSlice(service=ServiceKey("ns", "web"))


# --- configuration ---------------------------------------------------------------------------------------------


def felix(spec: dict[str, Any], **metadata: Any) -> ConfigValues:
    value = convert.felix_configuration(struct(catalog.FELIX_CONFIGURATIONS, metadata=metadata, spec=spec)).value
    assert isinstance(value, ConfigValues)
    return value


@pytest.mark.parametrize(
    ("field", "value", "name", "text"),
    [
        ("bpfEnabled", False, "BpfEnabled", "false"),
        ("healthPort", 9100, "HealthPort", "9100"),
        ("iptablesRefreshInterval", "1m30s", "IptablesRefreshInterval", "90"),
        ("iptablesLockProbeInterval", "50ms", "IptablesLockProbeIntervalMillis", "50"),
        ("netlinkTimeout", "500ms", "NetlinkTimeoutSecs", "0.5"),
        ("ipipEnabled", True, "IpInIpEnabled", "true"),
        ("ipipMTU", 1480, "IpInIpMtu", "1480"),
        ("externalNodesList", ["10.0.0.1", "10.0.0.0/8"], "ExternalNodesList", "10.0.0.1,10.0.0.0/8"),
        # Detail 33: an empty list means none, which is not the same as absent.
        ("failsafeInboundHostPorts", [], "FailsafeInboundHostPorts", "none"),
        (
            "failsafeInboundHostPorts",
            [{"protocol": "UDP", "port": 53}, {"port": 22, "net": "10.0.0.0/8"}, {"port": 1, "net": "fd00::/8"}],
            "FailsafeInboundHostPorts",
            "udp:53,tcp:10.0.0.0/8:22,tcp:[fd00::/8]:1",
        ),
        ("routeTableRanges", [{"min": 1, "max": 2}, {"min": 5, "max": 6}], "RouteTableRanges", "1-2,5-6"),
        ("kubeNodePortRanges", [30000, "31000:32000"], "KubeNodePortRanges", "30000,31000:32000"),
        ("healthTimeoutOverrides", [{"name": "a b", "timeout": "5s"}], "HealthTimeoutOverrides", "a b=5s"),
        ("bpfLogFilters", {"b": "2", "a": "1"}, "BpfLogFilters", "a=1,b=2"),
    ],
)
def test_fields_become_parameters_in_the_form_of_the_environment(field: str, value: Any, name: str, text: str) -> None:
    assert felix({field: value}).values == {name: text}


def test_annotations_override_fields_whatever_the_case_of_their_name() -> None:
    annotations = {"config.projectcalico.org/healthport": "1", "config.projectcalico.org/Other": "x", "else": "y"}
    assert felix({"healthPort": 2}, annotations=annotations).values == {"HealthPort": "1", "Other": "x"}


def test_the_node_selector_is_not_a_parameter() -> None:
    found = felix({"nodeSelector": "a == 'b'"}, creationTimestamp="2026-01-01T00:00:00Z")
    assert found == ConfigValues(node_selector="a == 'b'", created="2026-01-01T00:00:00Z")


def test_a_field_that_cannot_be_read_is_left_out() -> None:
    spec = {"netlinkTimeout": "soon", "healthPort": 1}
    update = convert.felix_configuration(struct(catalog.FELIX_CONFIGURATIONS, spec=spec))
    assert isinstance(update.value, ConfigValues)
    assert update.value.values == {"HealthPort": "1"}
    assert update.errors[0].startswith("netlinkTimeout")


def test_cluster_information_becomes_parameters() -> None:
    spec = {"clusterGUID": "g", "datastoreReady": False}
    value = convert.cluster_information(struct(catalog.CLUSTER_INFORMATIONS, spec=spec)).value
    assert value == ConfigValues(values={"ClusterGUID": "g", "DatastoreReady": "false"})


def test_bgp_configuration_gives_the_ranges_of_services() -> None:
    spec = {"serviceClusterIPs": [{"cidr": "10.96.0.1/12"}, {"cidr": "bad"}]}
    update = convert.bgp_configuration(struct(catalog.BGP_CONFIGURATIONS, spec=spec))
    assert update.value == BGPConfig(service_cluster_cidrs=("10.96.0.0/12",))
    assert len(update.errors) == 1
