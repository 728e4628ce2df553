"""The dataplane's view of the API: keys and values that policy, calculation and routing work on.

Objects of the API arrive here after conversion (`tortie.model.convert`): selectors already carry their scope
(spec/resources.md 4.5), protocols are numbers, ports are ranges or names, Kubernetes policies look like any other
policy. The syncer delivers `Update(key, value)` pairs; `value is None` means the object is absent.
"""

from typing import Literal, TypeAlias

import msgspec

# --- keys ------------------------------------------------------------------------------------------------------


class TierKey(msgspec.Struct, frozen=True, order=True):
    name: str


class PolicyKey(msgspec.Struct, frozen=True, order=True):
    """kind: NetworkPolicy, GlobalNetworkPolicy, KubernetesNetworkPolicy, KubernetesClusterNetworkPolicy, Staged…;
    namespace: "" for kinds of cluster scope."""

    kind: str
    namespace: str
    name: str

    @property
    def sort_text(self) -> str:
        """The tie-break between policies of equal order: one string, compared byte-wise (spec/felix.md 2.1)."""
        return f"{self.name}/{self.namespace}/{self.kind}"

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace + '/' if self.namespace else ''}{self.name}"


class ProfileKey(msgspec.Struct, frozen=True, order=True):
    name: str


class WorkloadEndpointKey(msgspec.Struct, frozen=True, order=True):
    """node: the Kubernetes node's name; orchestrator: `k8s` or `cni`; workload: `<namespace>/<pod>`."""

    node: str
    orchestrator: str
    workload: str
    endpoint: str


class HostEndpointKey(msgspec.Struct, frozen=True, order=True):
    node: str
    name: str


class NetworkSetKey(msgspec.Struct, frozen=True, order=True):
    """namespace: "" for a GlobalNetworkSet."""

    namespace: str
    name: str


class ServiceKey(msgspec.Struct, frozen=True, order=True):
    namespace: str
    name: str


class EndpointSliceKey(msgspec.Struct, frozen=True, order=True):
    namespace: str
    name: str


class IPPoolKey(msgspec.Struct, frozen=True, order=True):
    name: str


class BlockKey(msgspec.Struct, frozen=True, order=True):
    """cidr: canonical text, such as 192.168.10.64/26."""

    cidr: str


class NodeKey(msgspec.Struct, frozen=True, order=True):
    name: str


class FelixConfigKey(msgspec.Struct, frozen=True, order=True):
    """name: `default`, `node.<node>`, or any other name for one scoped by a node selector."""

    name: str


class BGPConfigKey(msgspec.Struct, frozen=True, order=True):
    name: str


class ClusterInfoKey(msgspec.Struct, frozen=True, order=True):
    name: str


EndpointKey: TypeAlias = WorkloadEndpointKey | HostEndpointKey

# --- rules -----------------------------------------------------------------------------------------------------

Action = Literal["allow", "deny", "pass", "log"]


class PortRange(msgspec.Struct, frozen=True, order=True):
    """Both ends included; a single port has first == last."""

    first: int
    last: int


class Icmp(msgspec.Struct, frozen=True):
    """code None: any code of the type."""

    type: int
    code: int | None = None


class HTTPMatch(msgspec.Struct, frozen=True):
    """paths: pairs of (`exact` or `prefix`, path). headers: (name, operator as in the API, values), all must hold."""

    methods: tuple[str, ...] = ()
    paths: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str, tuple[str, ...]], ...] = ()


class EntityMatch(msgspec.Struct, frozen=True):
    """One side of a rule. Fields that are present AND together; an empty tuple or "" constrains nothing.

    nets, not_nets: canonical CIDRs; any of `nets`, none of `not_nets`. ports and named_ports OR together, so do
    their negations. selector and not_selector are complete selector texts, scope included. service: the members of
    its EndpointSlices (address, protocol and port as destination; address alone as source).
    """

    nets: tuple[str, ...] = ()
    not_nets: tuple[str, ...] = ()
    ports: tuple[PortRange, ...] = ()
    named_ports: tuple[str, ...] = ()
    not_ports: tuple[PortRange, ...] = ()
    not_named_ports: tuple[str, ...] = ()
    selector: str = ""
    not_selector: str = ""
    service: ServiceKey | None = None
    domains: tuple[str, ...] = ()


class Rule(msgspec.Struct, frozen=True):
    """protocol, not_protocol: IANA numbers. ip_version: 4, 6 or None; set also when ICMP or ICMPv6 implies it."""

    action: Action
    ip_version: int | None = None
    protocol: int | None = None
    not_protocol: int | None = None
    icmp: Icmp | None = None
    not_icmp: Icmp | None = None
    src: EntityMatch = EntityMatch()
    dst: EntityMatch = EntityMatch()
    http: HTTPMatch | None = None
    annotations: tuple[tuple[str, str], ...] = ()


# --- values ----------------------------------------------------------------------------------------------------


class Tier(msgspec.Struct, frozen=True):
    """order None sorts last; default_action applies at the end of the tier to endpoints that its policies select."""

    order: float | None = None
    default_action: Literal["deny", "pass"] = "deny"


class Policy(msgspec.Struct, frozen=True):
    """order None sorts last. selector: complete, scope included. staged: the staged action, None if enforced.

    generation and resource_version come from the API object, so that enforcement receipts can name what is in force.
    """

    tier: str = "default"
    order: float | None = None
    selector: str = "all()"
    applies_ingress: bool = True
    applies_egress: bool = False
    ingress: tuple[Rule, ...] = ()
    egress: tuple[Rule, ...] = ()
    do_not_track: bool = False
    pre_dnat: bool = False
    apply_on_forward: bool = False
    staged: str | None = None
    performance_hints: tuple[str, ...] = ()
    generation: int = 0
    resource_version: str = ""
    errors: tuple[str, ...] = ()
    """Rules or peers that conversion had to leave out, in words for the user."""


class Profile(msgspec.Struct, frozen=True):
    ingress: tuple[Rule, ...] = ()
    egress: tuple[Rule, ...] = ()
    labels: dict[str, str] = {}


class NamedPort(msgspec.Struct, frozen=True, order=True):
    name: str
    protocol: int
    port: int


class WorkloadEndpoint(msgspec.Struct, frozen=True):
    """ipv4_nets, ipv6_nets: /32 and /128. profiles: in the order in which labels are inherited and rules evaluated.

    labels: the endpoint's own (pcns. and pcsa. ones removed, projectcalico.org/namespace, /orchestrator and
    /serviceaccount added).
    """

    interface: str
    mac: str = ""
    ipv4_nets: tuple[str, ...] = ()
    ipv6_nets: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    ports: tuple[NamedPort, ...] = ()
    active: bool = True
    container_id: str = ""
    service_account: str = ""
    allowed_source_prefixes: tuple[str, ...] = ()
    annotations: dict[str, str] = {}


class HostEndpoint(msgspec.Struct, frozen=True):
    """interface "": matched by expected addresses; "*": every interface without an endpoint of its own."""

    interface: str = ""
    expected_ips: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    ports: tuple[NamedPort, ...] = ()


class NetworkSet(msgspec.Struct, frozen=True):
    """profiles: (`kns.<namespace>`,) for a namespaced set, so that namespace labels are inherited."""

    nets: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    profiles: tuple[str, ...] = ()


class IPPool(msgspec.Struct, frozen=True):
    cidr: str
    block_size: int = 26
    ipip_mode: Literal["Never", "Always", "CrossSubnet"] = "Never"
    vxlan_mode: Literal["Never", "Always", "CrossSubnet"] = "Never"
    nat_outgoing: bool = False
    disabled: bool = False
    disable_bgp_export: bool = False
    node_selector: str = "all()"
    allowed_uses: tuple[str, ...] = ("Workload", "Tunnel")


class Block(msgspec.Struct, frozen=True):
    """affinity_node: the owning node, "" for none. allocated: (address, node that uses it) for every address in use;
    the node is "" when unknown. An address used by another node than the owner is borrowed."""

    cidr: str
    affinity_node: str = ""
    allocated: tuple[tuple[str, str], ...] = ()


class Node(msgspec.Struct, frozen=True):
    """ipv4, ipv6: bare addresses, "" if unset; ipv4_cidr, ipv6_cidr: the same with the length of the node's subnet."""

    ipv4: str = ""
    ipv4_cidr: str = ""
    ipv6: str = ""
    ipv6_cidr: str = ""
    as_number: int | None = None
    labels: dict[str, str] = {}
    vxlan_tunnel_ipv4: str = ""
    vxlan_tunnel_ipv6: str = ""
    vxlan_mac_v4: str = ""
    vxlan_mac_v6: str = ""
    ipip_tunnel_ipv4: str = ""
    wireguard_public_key: str = ""
    wireguard_ipv4: str = ""
    route_reflector_cluster_id: str = ""


class ServicePort(msgspec.Struct, frozen=True):
    name: str
    protocol: int
    port: int
    node_port: int = 0


class Service(msgspec.Struct, frozen=True):
    type: str = "ClusterIP"
    cluster_ips: tuple[str, ...] = ()
    external_ips: tuple[str, ...] = ()
    load_balancer_ips: tuple[str, ...] = ()
    ports: tuple[ServicePort, ...] = ()


class EndpointSlice(msgspec.Struct, frozen=True):
    """ports: (name, protocol, port); ports without a number are left out by conversion."""

    service: ServiceKey
    addresses: tuple[str, ...] = ()
    ports: tuple[tuple[str, int, int], ...] = ()


class ConfigValues(msgspec.Struct, frozen=True):
    """A FelixConfiguration or ClusterInformation as raw parameters: name as in environment form, text value."""

    values: dict[str, str] = {}
    node_selector: str = ""
    created: str = ""


class BGPConfig(msgspec.Struct, frozen=True):
    """The part of BGPConfiguration that the dataplane needs (service loop prevention, programmed routes)."""

    service_cluster_cidrs: tuple[str, ...] = ()
    service_external_cidrs: tuple[str, ...] = ()
    service_load_balancer_cidrs: tuple[str, ...] = ()


Key: TypeAlias = (
    TierKey
    | PolicyKey
    | ProfileKey
    | WorkloadEndpointKey
    | HostEndpointKey
    | NetworkSetKey
    | ServiceKey
    | EndpointSliceKey
    | IPPoolKey
    | BlockKey
    | NodeKey
    | FelixConfigKey
    | BGPConfigKey
    | ClusterInfoKey
)
Value: TypeAlias = (
    Tier
    | Policy
    | Profile
    | WorkloadEndpoint
    | HostEndpoint
    | NetworkSet
    | Service
    | EndpointSlice
    | IPPool
    | Block
    | Node
    | ConfigValues
    | BGPConfig
)


class Update(msgspec.Struct, frozen=True):
    """value None: the object is absent. Values may repeat or go back in time; only the last one counts.

    errors: why the object has no place in the dataplane, or what of it had to be left out, in words for the user."""

    key: Key
    value: Value | None
    errors: tuple[str, ...] = ()
