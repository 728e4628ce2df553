"""Which addresses of Kubernetes Services this node announces.

For rendering. In: the `World`'s services, EndpointSlices and configured ranges. Out: networks to originate, and the
ranges that must never reach this node's kernel (spec/bgp-typha.md A.3.4).
"""

from collections.abc import Iterator

import msgspec

from tortie.model import k8s
from tortie.routing.settings import GLOBAL, configuration, service_networks
from tortie.routing.world import FAMILIES, Network, World, inside, network

EXCLUDE_LABEL = "node.kubernetes.io/exclude-from-external-load-balancers"
_SERVICE_NAME = "kubernetes.io/service-name"


class ServiceRoutes(msgspec.Struct, frozen=True):
    """originated: announced by this node. shielded: ranges kept out of its kernel. relayed: ranges in which a route
    reflector passes on what other nodes announce. All by family, sorted."""

    originated: dict[int, tuple[Network, ...]]
    shielded: dict[int, tuple[Network, ...]]
    relayed: dict[int, tuple[Network, ...]]


class _Ranges(msgspec.Struct, frozen=True):
    cluster: tuple[Network, ...]
    external: tuple[Network, ...]
    balancer: tuple[Network, ...]
    aggregate: bool

    @property
    def whole(self) -> Iterator[Network]:
        """Ranges that every node announces as they are."""
        yield from self.cluster
        yield from (n for n in self.external if not _single(n))
        if self.aggregate:
            yield from (n for n in self.balancer if not _single(n))


def wants_services(world: World) -> bool:
    """Whether any service range is configured, that is, whether services have to be watched at all."""
    return any(any(service_networks(world, family).values()) for family in FAMILIES)


def service_routes(world: World) -> ServiceRoutes:
    """The routes of all services, as this node should announce them."""
    both = {family: service_networks(world, family) for family in FAMILIES}
    aggregate = configuration(world, GLOBAL).service_load_balancer_aggregation != "Disabled"
    ranges = _Ranges(
        **{k: tuple(both[4][k] + both[6][k]) for k in ("cluster", "external", "balancer")}, aggregate=aggregate
    )
    excluded = world.own.labels.get(EXCLUDE_LABEL) == "true"
    whole = set(ranges.whole)
    found: set[Network] = set()
    if not excluded:
        found |= whole
        slices: dict[tuple[str, str], list[k8s.EndpointSlice]] = {}
        for one in world.slices:
            slices.setdefault((one.metadata.namespace, one.metadata.labels.get(_SERVICE_NAME, "")), []).append(one)
        node = world.endpoint_node or world.node
        for service in world.services:
            own_slices = slices.get((service.metadata.namespace, service.metadata.name), [])
            if _announced(service, own_slices, ranges, node=node):
                found |= set(_host_routes(service, ranges))
    return ServiceRoutes(
        originated=_by_family(found),
        shielded=_by_family(whole),
        relayed=_by_family({*ranges.balancer, *ranges.external}),
    )


def _announced(service: k8s.Service, slices: list[k8s.EndpointSlice], ranges: _Ranges, *, node: str) -> bool:
    spec = service.spec
    if spec.type not in ("ClusterIP", "NodePort", "LoadBalancer") or spec.cluster_ip in ("", "None"):
        return False
    local = spec.external_traffic_policy == "Local"
    if not local and _has_single_address(service, ranges):
        return True
    if not local and ranges.aggregate:
        return False
    families = spec.ip_families or ("IPv4", "IPv6")
    for one in slices:
        if one.address_type not in families:
            continue
        for endpoint in one.endpoints or ():
            if endpoint.conditions.ready is False:
                continue
            if not local or endpoint.node_name == node:
                return True
    return False


def _has_single_address(service: k8s.Service, ranges: _Ranges) -> bool:
    """The service holds an address that is configured by itself, so every node may announce it."""
    spec = service.spec
    balancers = {n for n in ranges.balancer if _single(n)}
    externals = {n for n in ranges.external if _single(n)}
    if spec.type == "LoadBalancer" and any(network(t) in balancers for t in _balancer_ips(service)):
        return True
    return any(network(t) in externals for t in spec.external_ips)


def _host_routes(service: k8s.Service, ranges: _Ranges) -> Iterator[Network]:
    spec = service.spec
    if ranges.cluster:
        yield from filter(None, map(network, spec.cluster_ips or (spec.cluster_ip,)))
    yield from _inside(spec.external_ips, ranges.external)
    yield from _inside(tuple(i.ip for i in service.status.load_balancer.ingress), ranges.balancer)


def _inside(texts: tuple[str, ...], allowed: tuple[Network, ...]) -> Iterator[Network]:
    for text in texts:
        net = network(text)
        if net is not None and any(inside(net, r) for r in allowed):
            yield net


def _balancer_ips(service: k8s.Service) -> tuple[str, ...]:
    return (service.spec.load_balancer_ip, *(i.ip for i in service.status.load_balancer.ingress))


def _single(net: Network) -> bool:
    return net.prefixlen == net.max_prefixlen


def _by_family(nets: set[Network]) -> dict[int, tuple[Network, ...]]:
    return {
        family: tuple(
            sorted((n for n in nets if n.version == family), key=lambda n: (int(n.network_address), n.prefixlen))
        )
        for family in FAMILIES
    }
