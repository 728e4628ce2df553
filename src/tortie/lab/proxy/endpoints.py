"""Which backends a service port has, and which of them traffic of each kind may use.

In: a Service and its EndpointSlices as the API has them, and this node's name. Out: `PortPlan`s for the rule renderer.
Pure. The rules are kube-proxy's: ready backends first; if there is none, those that are terminating but still serving;
policies `Local` keep to this node.
"""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from tortie.model import k8s

Family = Literal["ip", "ip6"]
FAMILIES: tuple[Family, ...] = ("ip", "ip6")
VERSIONS: dict[Family, int] = {"ip": 4, "ip6": 6}

SERVICE_LABEL = "kubernetes.io/service-name"
PROTOCOLS = {"TCP": "tcp", "UDP": "udp", "SCTP": "sctp"}
_NAME = re.compile(r"[a-z0-9A-Z]([-a-z0-9A-Z_.]*[a-z0-9A-Z])?")


@dataclass(frozen=True, slots=True, order=True)
class Backend:
    ip: str
    port: int
    local: bool = False


@dataclass(frozen=True, slots=True)
class PortPlan:
    """One port of one service in one family. cluster and local: the backends for policies Cluster and Local; affinity:
    seconds, 0 for none; source_ranges: who may use the load balancer's addresses, everyone if empty."""

    namespace: str
    service: str
    port_name: str
    protocol: str
    port: int
    node_port: int
    cluster_ips: tuple[str, ...]
    external_ips: tuple[str, ...]
    load_balancer_ips: tuple[str, ...]
    source_ranges: tuple[str, ...]
    cluster: tuple[Backend, ...]
    local: tuple[Backend, ...]
    internal_local: bool
    external_local: bool
    affinity: int

    @property
    def title(self) -> str:
        """Names the port in chains: letters, digits and `/-_.` only."""
        name = f"{self.namespace}/{self.service}/{self.protocol}/{self.port}"
        return f"{name}/{self.port_name}" if self.port_name else name

    @property
    def internal(self) -> tuple[Backend, ...]:
        """Backends for the cluster IP."""
        return self.local if self.internal_local else self.cluster

    @property
    def external(self) -> tuple[Backend, ...]:
        """Backends for node ports, external and load balancer addresses."""
        return self.local if self.external_local else self.cluster


def plan(service: k8s.Service, slices: Iterable[k8s.EndpointSlice], *, node: str, family: Family) -> list[PortPlan]:
    """The ports of a service in one family; empty for headless and ExternalName services and for families that the
    service does not have. Raises ValueError for names that no API server should have let in."""
    spec = service.spec
    version = VERSIONS[family]
    cluster_ips = tuple(a for a in (spec.cluster_ips or (spec.cluster_ip,)) if ip_version(a) == version)
    if spec.type == "ExternalName" or not cluster_ips:
        return []
    for name in (service.metadata.namespace, service.metadata.name):
        if not _NAME.fullmatch(name):
            raise ValueError(f"service name {name!r} has characters that are not allowed")
    external_ips = tuple(sorted(a for a in spec.external_ips if ip_version(a) == version))
    ingress = tuple(sorted(i.ip for i in service.status.load_balancer.ingress if ip_version(i.ip) == version))
    mine = [s for s in slices if s.address_type == ("IPv4" if version == 4 else "IPv6")]
    result = []
    for port in spec.ports:
        protocol = PROTOCOLS.get(port.protocol or "TCP")
        if protocol is None or not 0 < port.port < 65536 or (port.name and not _NAME.fullmatch(port.name)):
            continue
        cluster, local = _backends(mine, port.name, port.protocol or "TCP", node)
        result.append(
            PortPlan(
                namespace=service.metadata.namespace,
                service=service.metadata.name,
                port_name=port.name,
                protocol=protocol,
                port=port.port,
                node_port=port.node_port if spec.type in ("NodePort", "LoadBalancer") else 0,
                cluster_ips=cluster_ips,
                external_ips=external_ips,
                load_balancer_ips=ingress if spec.type == "LoadBalancer" else (),
                source_ranges=_ranges(spec.load_balancer_source_ranges, version),
                cluster=cluster,
                local=local,
                internal_local=spec.internal_traffic_policy == "Local",
                external_local=spec.external_traffic_policy == "Local",
                affinity=_affinity(spec),
            )
        )
    return result


def _backends(
    slices: Sequence[k8s.EndpointSlice], port_name: str, protocol: str, node: str
) -> tuple[tuple[Backend, ...], tuple[Backend, ...]]:
    ready: set[Backend] = set()
    serving: set[Backend] = set()
    for piece in slices:
        numbers = [
            p.port for p in piece.ports or () if p.name == port_name and (p.protocol or "TCP") == protocol and p.port
        ]
        for endpoint in piece.endpoints or ():
            conditions = endpoint.conditions
            is_ready = conditions.ready is not False
            is_serving = conditions.serving if conditions.serving is not None else is_ready
            for address in endpoint.addresses[:1]:
                if ip_version(address) is None:
                    continue
                for number in numbers:
                    backend = Backend(str(ipaddress.ip_address(address)), number, endpoint.node_name == node)
                    if is_ready:
                        ready.add(backend)
                    elif is_serving and conditions.terminating:
                        serving.add(backend)
    cluster = ready or serving
    local = {b for b in ready if b.local} or {b for b in serving if b.local}
    return _sorted(cluster), _sorted(local)


def _sorted(backends: set[Backend]) -> tuple[Backend, ...]:
    """One entry per address and port; two slices may name the same one."""
    unique: dict[tuple[str, int], Backend] = {}
    for backend in sorted(backends):
        unique[(backend.ip, backend.port)] = backend
    return tuple(unique.values())


def _affinity(spec: k8s.ServiceSpec) -> int:
    if spec.session_affinity != "ClientIP":
        return 0
    config = spec.session_affinity_config
    seconds = config.client_ip.timeout_seconds if config is not None else None
    return min(max(seconds or 10800, 1), 86400)


def _ranges(texts: Iterable[str], version: int) -> tuple[str, ...]:
    networks = []
    for text in texts:
        try:
            network = ipaddress.ip_network(text.strip(), strict=False)
        except ValueError:
            continue
        if network.version == version:
            networks.append(str(network))
    return tuple(sorted(set(networks)))


def ip_version(address: str) -> int | None:
    """4, 6, or None for text that is not an address."""
    try:
        return ipaddress.ip_address(address).version
    except ValueError:
        return None
