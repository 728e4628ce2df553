"""Which service addresses a node announces (spec/bgp-typha.md A.3.4)."""

import pytest
from routing_worlds import configuration, node, world

from tortie.model import k8s
from tortie.model.meta import ObjectMeta
from tortie.model.v3 import bgp
from tortie.routing.services import service_routes, wants_services


def cidrs(*texts: str) -> tuple[bgp.ServiceCIDR, ...]:
    return tuple(bgp.ServiceCIDR(cidr=t) for t in texts)


def service(**changes):
    status = k8s.ServiceStatus(
        load_balancer=k8s.LoadBalancerStatus(
            ingress=tuple(k8s.LoadBalancerIngress(ip=t) for t in changes.pop("ingress", ()))
        )
    )
    spec = {
        "type": "LoadBalancer",
        "cluster_ip": "10.96.0.7",
        "cluster_ips": ("10.96.0.7",),
        "external_traffic_policy": "Local",
        "ip_families": ("IPv4",),
    }
    metadata = ObjectMeta(name=changes.pop("name", "web"), namespace="shop")
    return k8s.Service(metadata=metadata, spec=k8s.ServiceSpec(**{**spec, **changes}), status=status)


def endpoints(*node_and_ready, service="web", name="web-1", family="IPv4"):
    labels = {"kubernetes.io/service-name": service}
    members = tuple(
        k8s.Endpoint(addresses=("192.168.0.9",), node_name=n, conditions=k8s.EndpointConditions(ready=r))
        for n, r in node_and_ready
    )
    metadata = ObjectMeta(name=name, namespace="shop", labels=labels)
    return k8s.EndpointSlice(metadata=metadata, address_type=family, endpoints=members)


RANGES = {
    "service_cluster_ips": cidrs("10.96.0.0/16"),
    "service_external_ips": cidrs("203.0.113.0/24", "198.51.100.9/32"),
    "service_load_balancer_ips": cidrs("203.0.114.0/24", "198.51.100.8/32"),
}


def originated(*, services=(), slices=(), changes=None, **world_changes):
    configurations = configuration(**{**RANGES, **(changes or {})})
    picture = world(configurations=configurations, services=tuple(services), slices=tuple(slices), **world_changes)
    return [str(n) for n in service_routes(picture).originated[4]]


WHOLE = ["10.96.0.0/16", "203.0.113.0/24", "203.0.114.0/24"]


def test_services_are_watched_only_when_a_range_is_configured():
    assert not wants_services(world())
    assert wants_services(world(configurations=configuration(service_cluster_ips=cidrs("10.96.0.0/16"))))
    assert wants_services(world(advertise_cluster_ips="10.96.0.0/16"))


def test_every_node_announces_the_ranges_but_not_the_single_addresses():
    assert originated() == WHOLE


def test_the_environments_cluster_range_beats_the_resource():
    assert originated(advertise_cluster_ips="10.97.0.0/16")[0] == "10.97.0.0/16"


def test_balancer_ranges_are_not_announced_whole_when_aggregation_is_off():
    picture = world(configurations=configuration(**RANGES, service_load_balancer_aggregation="Disabled"))
    routes = service_routes(picture)
    assert "203.0.114.0/24" not in map(str, routes.originated[4])
    assert "203.0.114.0/24" not in map(str, routes.shielded[4])


def test_a_local_service_is_announced_by_the_nodes_that_have_a_ready_endpoint():
    web = service(ingress=("203.0.114.5",))
    extra = {"10.96.0.7/32", "203.0.114.5/32"}
    here = originated(services=[web], slices=[endpoints(("node-1", True))])
    assert set(here) == {*WHOLE, *extra}
    for slices in ([endpoints(("node-2", True))], [endpoints(("node-1", False))], []):
        assert originated(services=[web], slices=slices) == WHOLE


def test_readiness_that_is_not_told_counts_as_ready():
    assert "203.0.114.5/32" in originated(
        services=[service(ingress=("203.0.114.5",))], slices=[endpoints(("node-1", None))]
    )


def test_one_unready_slice_does_not_withdraw_a_route_that_another_slice_supports():
    slices = [endpoints(("node-1", False), name="web-1"), endpoints(("node-1", True), name="web-2")]
    assert "10.96.0.7/32" in originated(services=[service()], slices=slices)


def test_a_slice_of_another_family_than_the_services_does_not_count():
    assert originated(services=[service()], slices=[endpoints(("node-1", True), family="IPv6")]) == WHOLE


def test_a_cluster_wide_service_is_covered_by_the_ranges():
    web = service(external_traffic_policy="Cluster", ingress=("203.0.114.5",))
    assert originated(services=[web], slices=[endpoints(("node-1", True))]) == WHOLE


def test_without_aggregation_a_cluster_wide_service_is_announced_if_any_endpoint_is_ready():
    web = service(external_traffic_policy="Cluster", ingress=("203.0.114.5",))
    off = {"service_load_balancer_aggregation": "Disabled"}
    assert "203.0.114.5/32" in originated(services=[web], slices=[endpoints(("node-3", True))], changes=off)
    assert "203.0.114.5/32" not in originated(services=[web], slices=[endpoints(("node-3", False))], changes=off)


@pytest.mark.parametrize("address", [{"ingress": ("198.51.100.8",)}, {"external_ips": ("198.51.100.9",)}])
def test_a_single_address_is_announced_by_every_node_without_asking_for_endpoints(address):
    web = service(external_traffic_policy="Cluster", **address)
    value = next(iter(address.values()))[0]
    assert f"{value}/32" in originated(services=[web])


def test_addresses_outside_the_allowed_ranges_are_not_announced():
    web = service(ingress=("192.0.2.1",), external_ips=("192.0.2.2",))
    found = originated(services=[web], slices=[endpoints(("node-1", True))])
    assert set(found) == {*WHOLE, "10.96.0.7/32"}


@pytest.mark.parametrize("change", [{"type": "ExternalName"}, {"cluster_ip": "None"}, {"cluster_ip": ""}])
def test_headless_and_external_services_are_not_announced(change):
    assert originated(services=[service(**change)], slices=[endpoints(("node-1", True))]) == WHOLE


def test_an_excluded_node_announces_nothing_but_keeps_the_ranges_out_of_its_kernel():
    excluded = {"node-1": node(1, labels={"node.kubernetes.io/exclude-from-external-load-balancers": "true"})}
    picture = world(
        nodes=excluded,
        configurations=configuration(**RANGES),
        services=(service(),),
        slices=(endpoints(("node-1", True)),),
    )
    routes = service_routes(picture)
    assert routes.originated[4] == ()
    assert [str(n) for n in routes.shielded[4]] == WHOLE


def test_endpoints_may_know_the_node_by_another_name():
    web = service()
    assert "10.96.0.7/32" in originated(services=[web], slices=[endpoints(("k8s-1", True))], endpoint_node="k8s-1")
