"""The Kubernetes kinds that Tortie reads, with the fields it needs and no others.

For caches, conversions and controllers. In: JSON of the Kubernetes API; fields that are not listed here are skipped
while decoding. Out: immutable structs. They are for reading: to change an object, patch it or work on plain JSON,
because writing one of these back would drop what it does not know. A list that the API may hold as null can be None.
"""

from typing import Annotated

from tortie.model.fields import ApiStruct, Object, constant, doc, empty_map
from tortie.model.meta import LabelSelector, ObjectMeta, ObjectReference

# --- core/v1 ---------------------------------------------------------------------------------------------------


class Namespace(Object, frozen=True, kw_only=True):
    metadata: ObjectMeta = ObjectMeta()


class ServiceAccount(Object, frozen=True, kw_only=True):
    metadata: ObjectMeta = ObjectMeta()


class ContainerPort(ApiStruct, frozen=True, kw_only=True):
    name: str = ""
    container_port: int = 0
    protocol: str = "TCP"
    host_port: int = 0
    host_ip: str = ""


class Container(ApiStruct, frozen=True, kw_only=True):
    name: str = ""
    ports: tuple[ContainerPort, ...] = ()


class PodSpec(ApiStruct, frozen=True, kw_only=True):
    node_name: str = ""
    host_network: bool = False
    service_account_name: str = ""
    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()


class PodIP(ApiStruct, frozen=True, kw_only=True):
    ip: str = ""


class PodCondition(ApiStruct, frozen=True, kw_only=True):
    type: str = ""
    status: str = ""


class PodStatus(ApiStruct, frozen=True, kw_only=True):
    phase: str = ""
    host_ip: str = ""
    pod_ip: str = ""
    pod_ips: tuple[PodIP, ...] = ()
    conditions: tuple[PodCondition, ...] = ()


class Pod(Object, frozen=True, kw_only=True):
    metadata: ObjectMeta = ObjectMeta()
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class Taint(ApiStruct, frozen=True, kw_only=True):
    key: str = ""
    value: str = ""
    effect: str = ""


class NodeSpec(ApiStruct, frozen=True, kw_only=True):
    pod_cidr: str = ""
    pod_cidrs: tuple[str, ...] = ()
    provider_id: str = ""
    unschedulable: bool = False
    taints: tuple[Taint, ...] = ()


class NodeAddress(ApiStruct, frozen=True, kw_only=True):
    """type: InternalIP, ExternalIP, Hostname, InternalDNS or ExternalDNS."""

    type: str = ""
    address: str = ""


class NodeCondition(ApiStruct, frozen=True, kw_only=True):
    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    last_heartbeat_time: str | None = None
    last_transition_time: str | None = None


class NodeStatus(ApiStruct, frozen=True, kw_only=True):
    addresses: tuple[NodeAddress, ...] = ()
    conditions: tuple[NodeCondition, ...] = ()


class Node(Object, frozen=True, kw_only=True):
    metadata: ObjectMeta = ObjectMeta()
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()


class ServicePort(ApiStruct, frozen=True, kw_only=True):
    name: str = ""
    protocol: str = "TCP"
    port: int = 0
    target_port: int | str | None = None
    node_port: int = 0
    app_protocol: str = ""


class ClientIPConfig(ApiStruct, frozen=True, kw_only=True):
    timeout_seconds: int | None = None


class SessionAffinityConfig(ApiStruct, frozen=True, kw_only=True):
    client_ip: ClientIPConfig = ClientIPConfig()


class ServiceSpec(ApiStruct, frozen=True, kw_only=True):
    type: str = "ClusterIP"
    cluster_ip: str = ""
    cluster_ips: tuple[str, ...] = ()
    external_ips: tuple[str, ...] = ()
    external_name: str = ""
    load_balancer_ip: str = ""
    load_balancer_class: str = ""
    load_balancer_source_ranges: tuple[str, ...] = ()
    selector: dict[str, str] = empty_map()
    ports: tuple[ServicePort, ...] = ()
    session_affinity: str = "None"
    session_affinity_config: SessionAffinityConfig | None = None
    external_traffic_policy: str = ""
    internal_traffic_policy: str = ""
    health_check_node_port: int = 0
    ip_families: tuple[str, ...] = ()
    publish_not_ready_addresses: bool = False


class LoadBalancerIngress(ApiStruct, frozen=True, kw_only=True):
    ip: str = ""
    hostname: str = ""


class LoadBalancerStatus(ApiStruct, frozen=True, kw_only=True):
    ingress: tuple[LoadBalancerIngress, ...] = ()


class ServiceStatus(ApiStruct, frozen=True, kw_only=True):
    load_balancer: LoadBalancerStatus = LoadBalancerStatus()


class Service(Object, frozen=True, kw_only=True):
    metadata: ObjectMeta = ObjectMeta()
    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = ServiceStatus()


# --- discovery.k8s.io/v1 ---------------------------------------------------------------------------------------


class EndpointConditions(ApiStruct, frozen=True, kw_only=True):
    """None: not said, which readers take as ready, and serving as ready says."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class Endpoint(ApiStruct, frozen=True, kw_only=True):
    addresses: tuple[str, ...] = ()
    conditions: EndpointConditions = EndpointConditions()
    hostname: str = ""
    node_name: str = ""
    zone: str = ""
    target_ref: ObjectReference | None = None


class EndpointPort(ApiStruct, frozen=True, kw_only=True):
    name: str = ""
    protocol: str = "TCP"
    port: int | None = None
    app_protocol: str = ""


class EndpointSlice(Object, frozen=True, kw_only=True):
    """address_type: IPv4, IPv6 or FQDN."""

    metadata: ObjectMeta = ObjectMeta()
    address_type: str = "IPv4"
    endpoints: tuple[Endpoint, ...] | None = None
    ports: tuple[EndpointPort, ...] | None = None


# --- networking.k8s.io/v1 --------------------------------------------------------------------------------------


class IPBlock(ApiStruct, frozen=True, kw_only=True):
    cidr: Annotated[str, doc("The range of addresses that is meant, such as 192.168.1.0/24.", required=True)] = ""
    except_: Annotated[tuple[str, ...], doc("Ranges inside cidr that are left out.")] = ()


class NetworkPolicyPeer(ApiStruct, frozen=True, kw_only=True):
    pod_selector: Annotated[
        LabelSelector | None,
        doc("Pods by their labels: in the namespaces of namespaceSelector, or else in the policy's own namespace."),
    ] = None
    namespace_selector: Annotated[
        LabelSelector | None, doc("Namespaces by their labels; an empty selector means all of them.")
    ] = None
    ip_block: Annotated[IPBlock | None, doc("A range of addresses; excludes both selectors.")] = None


class NetworkPolicyPort(ApiStruct, frozen=True, kw_only=True):
    protocol: Annotated[str, doc("TCP, UDP or SCTP; TCP if absent.")] = ""
    port: Annotated[int | str | None, doc("A port by number or by name; absent means every port.")] = None
    end_port: Annotated[
        int | None, doc("The last port of a range that begins at port, which must be a number.", format="int32")
    ] = None


class NetworkPolicyIngressRule(ApiStruct, frozen=True, kw_only=True):
    from_: Annotated[tuple[NetworkPolicyPeer, ...], doc("Who may connect: any of these peers; everyone if empty.")] = ()
    ports: Annotated[
        tuple[NetworkPolicyPort, ...], doc("To which ports of the selected pods: any of these; all if empty.")
    ] = ()


class NetworkPolicyEgressRule(ApiStruct, frozen=True, kw_only=True):
    to: Annotated[
        tuple[NetworkPolicyPeer, ...], doc("To whom connections may go: any of these peers; everyone if empty.")
    ] = ()
    ports: Annotated[tuple[NetworkPolicyPort, ...], doc("To which ports of the peer: any of these; all if empty.")] = ()


class NetworkPolicySpec(ApiStruct, frozen=True, kw_only=True):
    pod_selector: LabelSelector = LabelSelector()
    ingress: tuple[NetworkPolicyIngressRule, ...] = ()
    egress: tuple[NetworkPolicyEgressRule, ...] = ()
    policy_types: tuple[str, ...] = ()


class KubernetesNetworkPolicy(Object, frozen=True, kw_only=True):
    """networking.k8s.io/v1 NetworkPolicy."""

    api_version: str = constant("networking.k8s.io/v1")
    kind: str = constant("NetworkPolicy")
    metadata: ObjectMeta = ObjectMeta()
    spec: NetworkPolicySpec = NetworkPolicySpec()
