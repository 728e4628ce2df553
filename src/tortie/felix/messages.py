"""What the calculation tells the dataplane (spec/felix.md 1.4), and what the dataplane reports back.

Every message is plain data; one flush is a list of them in the order of spec/felix.md 1.5: nothing is referenced
before it is announced, nothing is removed while referenced. Both address families share one message; the dataplane
splits members and rules by family.
"""

from typing import Literal, TypeAlias

import msgspec

from tortie.model.dataplane import (
    Action,
    EndpointKey,
    HostEndpointKey,
    HTTPMatch,
    Icmp,
    IPPool,
    NodeKey,
    PolicyKey,
    PortRange,
    ServiceKey,
    WorkloadEndpointKey,
)

SetKind = Literal["net", "ip-port"]


class IPPort(msgspec.Struct, frozen=True, order=True):
    """A member of an `ip-port` set: address, IANA protocol number, port."""

    ip: str
    protocol: int
    port: int


Member: TypeAlias = str | IPPort
"""A canonical CIDR (a single address is /32 or /128) in a `net` set; an IPPort in an `ip-port` set."""


class ConfigUpdate(msgspec.Struct, frozen=True):
    """Always the first message: the effective parameters, name to text."""

    config: dict[str, str]


class InSync(msgspec.Struct, frozen=True):
    """Sent once, after the first complete snapshot."""


class IPSetUpdate(msgspec.Struct, frozen=True):
    """The full membership of a new set."""

    id: str
    kind: SetKind
    members: frozenset[Member]


class IPSetDelta(msgspec.Struct, frozen=True):
    id: str
    added: frozenset[Member]
    removed: frozenset[Member]


class IPSetRemove(msgspec.Struct, frozen=True):
    id: str


class RuleSide(msgspec.Struct, frozen=True):
    """set_ids: `net` sets, all must contain the address. port_set_ids: `ip-port` sets of named ports, any of them or
    any of `ports` must match (address, protocol, port). service_set_ids: `ip-port` sets (destination) that must match.
    not_*: none may match."""

    nets: tuple[str, ...] = ()
    not_nets: tuple[str, ...] = ()
    ports: tuple[PortRange, ...] = ()
    not_ports: tuple[PortRange, ...] = ()
    set_ids: tuple[str, ...] = ()
    not_set_ids: tuple[str, ...] = ()
    port_set_ids: tuple[str, ...] = ()
    not_port_set_ids: tuple[str, ...] = ()
    service_set_ids: tuple[str, ...] = ()
    has_ports: bool = False
    """True when the rule named ports at all; with empty `ports` and `port_set_ids` it then matches nothing."""


class CompiledRule(msgspec.Struct, frozen=True):
    """A rule with its selectors, named ports and services replaced by set ids.

    rule_id: 16 base64url characters that depend on the owner, the direction and all rules before this one."""

    action: Action
    rule_id: str
    ip_version: int | None = None
    protocol: int | None = None
    not_protocol: int | None = None
    icmp: Icmp | None = None
    not_icmp: Icmp | None = None
    src: RuleSide = RuleSide()
    dst: RuleSide = RuleSide()
    http: HTTPMatch | None = None


class PolicyUpdate(msgspec.Struct, frozen=True):
    key: PolicyKey
    tier: str
    ingress: tuple[CompiledRule, ...]
    egress: tuple[CompiledRule, ...]
    do_not_track: bool = False
    pre_dnat: bool = False
    generation: int = 0
    resource_version: str = ""


class PolicyRemove(msgspec.Struct, frozen=True):
    key: PolicyKey


class ProfileUpdate(msgspec.Struct, frozen=True):
    name: str
    ingress: tuple[CompiledRule, ...]
    egress: tuple[CompiledRule, ...]


class ProfileRemove(msgspec.Struct, frozen=True):
    name: str


class TierInfo(msgspec.Struct, frozen=True):
    """The policies of one tier that select the endpoint, per direction, in order; staged ones are not in it."""

    name: str
    ingress: tuple[PolicyKey, ...]
    egress: tuple[PolicyKey, ...]
    default_action: Literal["deny", "pass"]


class WorkloadEndpointUpdate(msgspec.Struct, frozen=True):
    key: WorkloadEndpointKey
    interface: str
    mac: str
    ipv4_nets: tuple[str, ...]
    ipv6_nets: tuple[str, ...]
    profiles: tuple[str, ...]
    tiers: tuple[TierInfo, ...]
    active: bool = True
    allowed_source_prefixes: tuple[str, ...] = ()
    annotations: dict[str, str] = {}


class WorkloadEndpointRemove(msgspec.Struct, frozen=True):
    key: WorkloadEndpointKey


class HostEndpointUpdate(msgspec.Struct, frozen=True):
    key: HostEndpointKey
    interface: str
    expected_ips: tuple[str, ...]
    profiles: tuple[str, ...]
    tiers: tuple[TierInfo, ...]
    untracked_tiers: tuple[TierInfo, ...] = ()
    pre_dnat_tiers: tuple[TierInfo, ...] = ()
    forward_tiers: tuple[TierInfo, ...] = ()


class HostEndpointRemove(msgspec.Struct, frozen=True):
    key: HostEndpointKey


class PoolUpdate(msgspec.Struct, frozen=True):
    name: str
    pool: IPPool


class PoolRemove(msgspec.Struct, frozen=True):
    name: str


class NodeUpdate(msgspec.Struct, frozen=True):
    """The addresses of a node, this one included."""

    key: NodeKey
    ipv4: str
    ipv6: str


class NodeRemove(msgspec.Struct, frozen=True):
    key: NodeKey


RouteKind = Literal["local-block", "remote-block", "remote-host", "remote-tunnel", "local-tunnel", "borrowed"]


class RouteUpdate(msgspec.Struct, frozen=True):
    """A route that follows from pools, blocks and nodes. encapsulation: what the pool asks for between this node and
    `node` (CrossSubnet already resolved into `none` or the encapsulation by comparing subnets)."""

    cidr: str
    kind: RouteKind
    node: str
    node_ip: str
    encapsulation: Literal["none", "vxlan", "ipip"]
    same_subnet: bool
    nat_outgoing: bool = False


class RouteRemove(msgspec.Struct, frozen=True):
    cidr: str


class VTEPUpdate(msgspec.Struct, frozen=True):
    """A VXLAN tunnel endpoint; the one of this node too. Empty strings where a family is not in use."""

    node: str
    mac_v4: str = ""
    tunnel_ipv4: str = ""
    parent_ipv4: str = ""
    mac_v6: str = ""
    tunnel_ipv6: str = ""
    parent_ipv6: str = ""


class VTEPRemove(msgspec.Struct, frozen=True):
    node: str


class Encapsulation(msgspec.Struct, frozen=True):
    vxlan: bool
    vxlan_v6: bool
    ipip: bool


class ServiceCIDRs(msgspec.Struct, frozen=True):
    """Cluster, external and load balancer ranges for service loop prevention."""

    cidrs: tuple[str, ...]


class ServiceUpdate(msgspec.Struct, frozen=True):
    key: ServiceKey
    cluster_ips: tuple[str, ...]


class ServiceRemove(msgspec.Struct, frozen=True):
    key: ServiceKey


Message: TypeAlias = (
    ConfigUpdate
    | InSync
    | IPSetUpdate
    | IPSetDelta
    | IPSetRemove
    | PolicyUpdate
    | PolicyRemove
    | ProfileUpdate
    | ProfileRemove
    | WorkloadEndpointUpdate
    | WorkloadEndpointRemove
    | HostEndpointUpdate
    | HostEndpointRemove
    | PoolUpdate
    | PoolRemove
    | NodeUpdate
    | NodeRemove
    | RouteUpdate
    | RouteRemove
    | VTEPUpdate
    | VTEPRemove
    | Encapsulation
    | ServiceCIDRs
    | ServiceUpdate
    | ServiceRemove
)


class EndpointStatus(msgspec.Struct, frozen=True):
    """From the dataplane: what became of an endpoint. error: in words, "" when there is none."""

    key: EndpointKey
    status: Literal["up", "down", "error"]
    error: str = ""
