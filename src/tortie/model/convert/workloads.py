"""Pods and host endpoints as the dataplane's endpoints (spec/resources.md 4.2).

For the syncer. In: pods of Kubernetes and HostEndpoints. Out: updates; a pod that shares its node's network, has no
node, no address or has finished is absent.
"""

import msgspec

from tortie.model import formats
from tortie.model.convert.scopes import (
    NAMESPACE_LABEL,
    NAMESPACE_PREFIX,
    ORCHESTRATOR_LABEL,
    SERVICE_ACCOUNT_LABEL,
    SERVICE_ACCOUNT_PREFIX,
)
from tortie.model.dataplane import (
    HostEndpoint,
    HostEndpointKey,
    NamedPort,
    Update,
    WorkloadEndpoint,
    WorkloadEndpointKey,
)
from tortie.model.k8s import Pod
from tortie.model.names import namespace_profile, service_account_profile, workload_interface_name
from tortie.model.v3.endpoints import HostEndpoint as ApiHostEndpoint

POD_IP = "cni.projectcalico.org/podIP"
POD_IPS = "cni.projectcalico.org/podIPs"
CONTAINER_ID = "cni.projectcalico.org/containerID"
ALLOWED_SOURCE_PREFIXES = "cni.projectcalico.org/allowedSourcePrefixes"
AWS_POD_IPS = "vpc.amazonaws.com/pod-ips"

ORCHESTRATOR = "k8s"
ENDPOINT = "eth0"

_FINISHED = frozenset({"Succeeded", "Failed", "Completed"})
_PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}
# Annotations that the dataplane acts on.
_KEPT_ANNOTATIONS = (
    "qos.projectcalico.org/",
    "kubernetes.io/ingress-bandwidth",
    "kubernetes.io/egress-bandwidth",
    "cni.projectcalico.org/floatingIPs",
)


def pod_to_workload_endpoint(pod: Pod, *, interface_prefix: str = "cali") -> Update:
    """interface_prefix: Felix's InterfacePrefix. An address or prefix that cannot be read makes the pod absent."""
    metadata, spec = pod.metadata, pod.spec
    key = WorkloadEndpointKey(
        node=spec.node_name,
        orchestrator=ORCHESTRATOR,
        workload=f"{metadata.namespace}/{metadata.name}",
        endpoint=ENDPOINT,
    )
    if spec.host_network or not spec.node_name or is_finished(pod):
        return Update(key, None)
    try:
        nets = [_host_net(ip) for ip in pod_ips(pod)]
        prefixes = _source_prefixes(metadata.annotations)
    except ValueError as error:
        return Update(key, None, (f"pod {metadata.namespace}/{metadata.name} has no endpoint: {error}",))
    if not nets:
        return Update(key, None)
    profiles = [namespace_profile(metadata.namespace)]
    if spec.service_account_name:
        profiles.append(service_account_profile(metadata.namespace, spec.service_account_name))
    endpoint = WorkloadEndpoint(
        interface=workload_interface_name(metadata.namespace, metadata.name, prefix=interface_prefix),
        ipv4_nets=tuple(net for net in nets if ":" not in net),
        ipv6_nets=tuple(net for net in nets if ":" in net),
        profiles=tuple(profiles),
        labels=_labels(pod),
        ports=_named_ports(pod),
        container_id=metadata.annotations.get(CONTAINER_ID, ""),
        service_account=spec.service_account_name,
        allowed_source_prefixes=prefixes,
        annotations={name: value for name, value in metadata.annotations.items() if name.startswith(_KEPT_ANNOTATIONS)},
    )
    return Update(key, endpoint)


def is_finished(pod: Pod) -> bool:
    """Whether the pod's addresses may go to somebody else: it has ended, or the CNI plugin has blanked them.

    A deletion timestamp alone does not count; a terminating pod still finishes its connections.
    """
    if pod.status.phase in _FINISHED:
        return True
    annotations = pod.metadata.annotations
    return pod.metadata.deletion_timestamp is not None and (
        annotations.get(POD_IP) == "" or annotations.get(AWS_POD_IPS) == ""
    )


def pod_ips(pod: Pod) -> list[str]:
    """The pod's addresses as written, from the first source that has any: its status, then annotations."""
    if pod.status.pod_ips:
        return [entry.ip for entry in pod.status.pod_ips if entry.ip]
    if pod.status.pod_ip:
        return [pod.status.pod_ip]
    annotations = pod.metadata.annotations
    for name in (POD_IPS, POD_IP, AWS_POD_IPS):
        if text := annotations.get(name):
            return [part.strip() for part in text.split(",") if part.strip()]
    return []


def _host_net(text: str) -> str:
    return formats.host_net(text.partition("/")[0])


def _source_prefixes(annotations: dict[str, str]) -> tuple[str, ...]:
    text = annotations.get(ALLOWED_SOURCE_PREFIXES)
    if not text:
        return ()
    try:
        return tuple(formats.canonical_net(cidr) for cidr in msgspec.json.decode(text, type=list[str]))
    except (msgspec.MsgspecError, ValueError) as error:
        raise ValueError(f"annotation {ALLOWED_SOURCE_PREFIXES} is not a JSON list of CIDRs: {error}") from error


def _labels(pod: Pod) -> dict[str, str]:
    # A pod must not be able to pass for a member of another namespace or service account.
    labels = {
        key: value
        for key, value in pod.metadata.labels.items()
        if not key.startswith((NAMESPACE_PREFIX, SERVICE_ACCOUNT_PREFIX))
    }
    labels[NAMESPACE_LABEL] = pod.metadata.namespace
    labels[ORCHESTRATOR_LABEL] = ORCHESTRATOR
    if pod.spec.service_account_name:
        labels[SERVICE_ACCOUNT_LABEL] = pod.spec.service_account_name
    return labels


def _named_ports(pod: Pod) -> tuple[NamedPort, ...]:
    ports: list[NamedPort] = []
    for container in (*pod.spec.containers, *pod.spec.init_containers):
        for port in container.ports:
            protocol = _PROTOCOLS.get(port.protocol or "TCP")
            if port.name and port.container_port and protocol is not None:
                ports.append(NamedPort(name=port.name, protocol=protocol, port=port.container_port))
    return tuple(ports)


def host_endpoint(endpoint: ApiHostEndpoint) -> Update:
    """Addresses and ports that cannot be read are left out."""
    spec = endpoint.spec
    errors: list[str] = []
    expected: list[str] = []
    for ip in spec.expected_ips:
        try:
            expected.append(str(formats.address(ip)))
        except ValueError:
            errors.append(f"expected IP {ip!r} is left out: it is not an IP address")
    ports: list[NamedPort] = []
    for port in spec.ports:
        try:
            ports.append(NamedPort(name=port.name, protocol=formats.protocol_number(port.protocol), port=port.port))
        except ValueError as error:
            errors.append(f"port {port.name!r} is left out: {error}")
    value = HostEndpoint(
        interface=spec.interface_name,
        expected_ips=tuple(expected),
        profiles=spec.profiles,
        labels=dict(endpoint.metadata.labels),
        ports=tuple(ports),
    )
    return Update(HostEndpointKey(node=spec.node, name=endpoint.metadata.name), value, tuple(errors))
