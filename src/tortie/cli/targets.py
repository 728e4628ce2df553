"""What users call the ends of a connection, and the packets that this means.

In: SRC and DST[:PORT] as typed: a pod, an address, a service, a node. Out: one packet for each backend; or a
`TargetError` that names what is known instead.
"""

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass

from tortie.cli.world import Loaded
from tortie.model.dataplane import (
    EndpointKey,
    HostEndpoint,
    Node,
    NodeKey,
    Service,
    ServiceKey,
    WorkloadEndpoint,
    WorkloadEndpointKey,
)
from tortie.policy.packet import Packet

PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132, "icmp": 1, "icmpv6": 58}
_WITH_PORTS = (6, 17, 132)
_EPHEMERAL_PORT = 49152
_ECHO = {1: 8, 58: 128}


class TargetError(ValueError):
    """An end of the connection cannot be found; the text is for the user."""


@dataclass(frozen=True, slots=True)
class End:
    """name: as shown to the user. addresses: of either family. key: the endpoint, if it is one. port: as typed, or a
    backend's. service_ip, service_port: what a client of the service would address."""

    name: str
    addresses: tuple[str, ...]
    key: EndpointKey | None = None
    port: int | None = None
    service_ip: str = ""
    service_port: int | None = None


def split_port(text: str) -> tuple[str, str]:
    """DST[:PORT] in two; an IPv6 address with a port stands in brackets."""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        return host, rest.removeprefix(":")
    if text.count(":") > 1:
        return text, ""
    host, _, port = text.partition(":")
    return host, port


def source(loaded: Loaded, text: str, *, namespace: str) -> End:
    """Who sends. Raises TargetError."""
    host, port = split_port(text)
    if port:
        raise TargetError(f"source {text!r} has a port; use --source-port")
    if _service_name(host, namespace) is not None:
        raise TargetError(f"source {text!r} is a service; connections come from pods, nodes and addresses")
    return _end(loaded, host, namespace)


def destinations(loaded: Loaded, text: str, *, namespace: str, protocol: int) -> list[End]:
    """Who receives: one end, or every backend of a service. Raises TargetError."""
    host, port = split_port(text)
    service = _service_name(host, namespace)
    address = _address(host)
    if address:
        service = _service_at(loaded, address)
    if service is None and not address and not _is_pod(loaded, host, namespace):
        # `shop/catalog` is a service for whoever calls it, unless a pod has that very name.
        first, slash, second = host.partition("/")
        plain = ServiceKey(first, second) if slash else ServiceKey(namespace, host)
        service = plain if isinstance(loaded.world.get(plain), Service) and protocol in _WITH_PORTS else None
    if service is not None:
        return list(_backends(loaded, service, port, protocol, via=address))
    end = _end(loaded, host, namespace)
    return [_with_port(loaded, end, port, protocol)]


def packets(source: End, destination: End, *, protocol: int, source_port: int | None, version: int | None) -> Packet:
    """The packet that opens the connection, over IPv4 if both ends have it. Raises TargetError."""
    families = [4, 6] if version is None else [version]
    if protocol in _ECHO:
        families = [4 if protocol == 1 else 6]
    for family in families:
        ours = _of_family(source.addresses, family)
        theirs = _of_family(destination.addresses, family)
        if not ours or not theirs:
            continue
        with_ports = protocol in _WITH_PORTS
        return Packet(
            src=source.key,
            dst=destination.key,
            src_ip=ours,
            dst_ip=theirs,
            protocol=protocol,
            src_port=(source_port or _EPHEMERAL_PORT) if with_ports else None,
            dst_port=destination.port if with_ports else None,
            icmp_type=_ECHO.get(protocol),
            icmp_code=0 if protocol in _ECHO else None,
            service_ip=destination.service_ip,
            service_port=destination.service_port,
        )
    wanted = " or ".join(f"IPv{family}" for family in families)
    raise TargetError(f"{source.name} and {destination.name} have no {wanted} addresses in common")


# --- ends ------------------------------------------------------------------------------------------------------


def _end(loaded: Loaded, text: str, namespace: str) -> End:
    address = _address(text)
    if address:
        return End(name=address, addresses=(address,))
    kind, slash, name = text.partition("/")
    if slash and kind in ("node", "nodes", "no"):
        return _node(loaded, name)
    if slash and kind in ("pod", "pods", "po"):
        text = name
    wanted = text if "/" in text else f"{namespace}/{text}"
    return _pod(loaded, wanted)


def _pod(loaded: Loaded, name: str) -> End:
    for key, value in loaded.world.of(WorkloadEndpoint):
        if isinstance(key, WorkloadEndpointKey) and key.workload == name:
            nets = (*value.ipv4_nets, *value.ipv6_nets)
            return End(name=f"pod {name}", addresses=tuple(net.partition("/")[0] for net in nets), key=key)
    if name in loaded.host_pods:
        node, address = loaded.host_pods[name]
        end = _node(loaded, node)
        return End(name=f"pod {name} (host network of node {node})", addresses=end.addresses or (address,))
    for key, value in sorted(loaded.world.of(WorkloadEndpoint), key=lambda item: str(item[0])):
        # A workload's name stands for any of its pods: they differ in nothing that policy sees.
        if isinstance(key, WorkloadEndpointKey) and _is_of_workload(key.workload, name):
            nets = (*value.ipv4_nets, *value.ipv6_nets)
            return End(f"pod {key.workload}", tuple(net.partition("/")[0] for net in nets), key)
    raise TargetError(f"there is no pod {name} with an address; {_known_pods(loaded, name)}")


def _is_of_workload(pod: str, workload: str) -> bool:
    """Whether a pod's name is the workload's with one or two generated parts behind it (ReplicaSet's and its own)."""
    rest = pod.removeprefix(f"{workload}-")
    return rest != pod and rest.count("-") <= 1


def _is_pod(loaded: Loaded, text: str, namespace: str) -> bool:
    wanted = text if "/" in text else f"{namespace}/{text}"
    return wanted in loaded.host_pods or any(
        isinstance(key, WorkloadEndpointKey) and key.workload == wanted for key, _ in loaded.world.of(WorkloadEndpoint)
    )


def _known_pods(loaded: Loaded, name: str) -> str:
    namespace = name.partition("/")[0]
    workloads = [key.workload for key, _ in loaded.world.of(WorkloadEndpoint) if isinstance(key, WorkloadEndpointKey)]
    near = sorted(workload for workload in workloads if workload.startswith(f"{namespace}/"))
    if near:
        shown = ", ".join(near[:8]) + (", …" if len(near) > 8 else "")
        return f"namespace {namespace} has {shown}"
    namespaces = sorted({workload.partition("/")[0] for workload in workloads})
    return f"namespaces with pods: {', '.join(namespaces) or 'none'}"


def _node(loaded: Loaded, name: str) -> End:
    node = loaded.world.get(NodeKey(name))
    if not isinstance(node, Node):
        names = sorted(str(getattr(key, "name", "")) for key, _ in loaded.world.of(Node))
        raise TargetError(f"there is no node {name}; there are {', '.join(names) or 'none'}")
    return End(name=f"node {name}", addresses=tuple(filter(None, (node.ipv4, node.ipv6))))


# --- ports and services ----------------------------------------------------------------------------------------


def _with_port(loaded: Loaded, end: End, port: str, protocol: int) -> End:
    if protocol not in _WITH_PORTS:
        if port:
            raise TargetError(f"port {port} makes no sense with a protocol without ports")
        return end
    value = loaded.world.get(end.key) if end.key is not None else None
    named = value.ports if isinstance(value, WorkloadEndpoint | HostEndpoint) else ()
    if port.isdigit():
        return _on(end, _number(port))
    fitting = [found for found in named if found.protocol == protocol and (not port or found.name == port)]
    if len({found.port for found in fitting}) == 1:
        return _on(end, fitting[0].port)
    known = ", ".join(f"{found.name}={found.port}" for found in named)
    hint = f"its named ports are {known}" if known else "it has no named ports"
    if port:
        raise TargetError(f"{end.name} has no port named {port!r} of that protocol; {hint}")
    raise TargetError(f"which port of {end.name}? Say DST:PORT, such as :80, or --protocol icmp; {hint}")


def _on(end: End, port: int) -> End:
    return End(name=end.name, addresses=end.addresses, key=end.key, port=port)


def _number(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 65535:
        raise TargetError(f"port {text} is not between 1 and 65535")
    return number


def _service_name(text: str, namespace: str) -> ServiceKey | None:
    kind, slash, rest = text.partition("/")
    if not slash or kind not in ("service", "services", "svc"):
        return None
    first, slash, second = rest.partition("/")
    return ServiceKey(namespace=first, name=second) if slash else ServiceKey(namespace=namespace, name=first)


def _service_at(loaded: Loaded, address: str) -> ServiceKey | None:
    for key, value in loaded.world.of(Service):
        if isinstance(key, ServiceKey) and address in (
            *value.cluster_ips,
            *value.external_ips,
            *value.load_balancer_ips,
        ):
            return key
    return None


def _backends(loaded: Loaded, service: ServiceKey, port: str, protocol: int, *, via: str) -> Iterator[End]:
    name = f"service {service.namespace}/{service.name}"
    value = loaded.world.get(service)
    if not isinstance(value, Service):
        raise TargetError(f"there is no {name}")
    if protocol not in _WITH_PORTS:
        raise TargetError(f"{name} forwards connections to ports only; ask for one of its pods instead")
    ports = [found for found in value.ports if found.protocol == protocol]
    chosen = [found for found in ports if not port or port in (found.name, str(found.port))]
    if len(chosen) != 1:
        known = ", ".join(f"{found.port}{f' ({found.name})' if found.name else ''}" for found in ports)
        raise TargetError(f"which port of {name}? It has {known or 'none of that protocol'}")
    count = 0
    for endpoint_slice in loaded.world.service_endpoints(service):
        for slice_name, slice_protocol, number in endpoint_slice.ports:
            if slice_name != chosen[0].name or slice_protocol != protocol:
                continue
            for address in endpoint_slice.addresses:
                count += 1
                yield _backend(loaded, address, number, via or _first(value, address), chosen[0].port)
    if not count:
        raise TargetError(f"{name} has no endpoints for port {chosen[0].port}, so nothing can answer")


def _first(service: Service, address: str) -> str:
    """The cluster address of the backend's family; "" for a headless service."""
    return _of_family(service.cluster_ips, 6 if ":" in address else 4)


def _backend(loaded: Loaded, address: str, port: int, service_ip: str, service_port: int) -> End:
    for key, value in loaded.world.of(WorkloadEndpoint):
        nets = (*value.ipv4_nets, *value.ipv6_nets)
        if isinstance(key, WorkloadEndpointKey) and address in (net.partition("/")[0] for net in nets):
            return End(f"pod {key.workload}", (address,), key, port, service_ip, service_port if service_ip else None)
    return End(address, (address,), None, port, service_ip, service_port if service_ip else None)


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""


def _of_family(addresses: tuple[str, ...], family: int) -> str:
    return next((address for address in addresses if (":" in address) == (family == 6)), "")
