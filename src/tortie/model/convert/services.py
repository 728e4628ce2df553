"""Services and EndpointSlices as the dataplane sees them (spec/resources.md 4.6).

For the syncer. In: Kubernetes objects. Out: updates. Readiness of endpoints is not looked at: a rule about a Service
means all of its endpoints.
"""

from tortie.model import formats
from tortie.model.dataplane import EndpointSlice, EndpointSliceKey, Service, ServiceKey, ServicePort, Update
from tortie.model.k8s import EndpointSlice as ApiEndpointSlice
from tortie.model.k8s import Service as ApiService

SERVICE_NAME = "kubernetes.io/service-name"
_PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}


def service(service: ApiService) -> Update:
    spec = service.spec
    cluster_ips = spec.cluster_ips or ((spec.cluster_ip,) if spec.cluster_ip else ())
    load_balancer_ips = [entry.ip for entry in service.status.load_balancer.ingress if entry.ip]
    value = Service(
        type=spec.type,
        cluster_ips=tuple(ip for ip in cluster_ips if ip and ip != "None"),
        external_ips=spec.external_ips,
        load_balancer_ips=tuple(load_balancer_ips),
        ports=tuple(
            ServicePort(
                name=port.name, protocol=_PROTOCOLS[port.protocol or "TCP"], port=port.port, node_port=port.node_port
            )
            for port in spec.ports
            if (port.protocol or "TCP") in _PROTOCOLS
        ),
    )
    return Update(ServiceKey(namespace=service.metadata.namespace, name=service.metadata.name), value)


def endpoint_slice(endpoint_slice: ApiEndpointSlice) -> Update:
    """Absent without the label that names its Service, and for slices of domain names."""
    metadata = endpoint_slice.metadata
    key = EndpointSliceKey(namespace=metadata.namespace, name=metadata.name)
    owner = metadata.labels.get(SERVICE_NAME)
    if not owner or endpoint_slice.address_type not in ("IPv4", "IPv6"):
        return Update(key, None)
    addresses: dict[str, None] = {}
    errors: list[str] = []
    for endpoint in endpoint_slice.endpoints or ():
        for text in endpoint.addresses:
            try:
                addresses[str(formats.address(text))] = None
            except ValueError:
                errors.append(f"address {text!r} is left out: it is not an IP address")
    ports = tuple(
        (port.name, _PROTOCOLS[port.protocol or "TCP"], port.port)
        for port in endpoint_slice.ports or ()
        if port.port is not None and (port.protocol or "TCP") in _PROTOCOLS
    )
    value = EndpointSlice(
        service=ServiceKey(namespace=metadata.namespace, name=owner), addresses=tuple(addresses), ports=ports
    )
    return Update(key, value, tuple(errors))
