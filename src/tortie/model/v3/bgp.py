"""BGP: settings of the speaker on each node, its peers, and filters for what they exchange.

For routing and admission. In: JSON of projectcalico.org/v3. Out: immutable structs (spec/resources.md 1.4).
"""

from typing import Annotated

import msgspec

from tortie.model.fields import UNIQUE, ApiStruct, Object, constant, doc, empty_map
from tortie.model.meta import ObjectMeta, SecretKeySelector

_MAX_AS = 4_294_967_295
_MAX_PRIORITY = 2_147_483_646
PROGRAM_CLUSTER_ROUTES = ["Enabled", "Disabled", "EnabledIPIPOnly", "EnabledNoEncapOnly"]


class ServiceCIDR(ApiStruct, frozen=True, kw_only=True):
    cidr: Annotated[str, doc("The range to announce, such as 10.96.0.0/12.", format="cidr")] = ""


class Community(ApiStruct, frozen=True, kw_only=True):
    name: Annotated[str, doc("Name by which prefixAdvertisements refer to it.", maxLength=253, required=True)] = ""
    value: Annotated[str, doc("A standard community aa:nn or a large one aa:nn:mm.", maxLength=40, required=True)] = ""


class PrefixAdvertisement(ApiStruct, frozen=True, kw_only=True):
    cidr: Annotated[str, doc("Routes inside this range get the communities.", required=True)] = ""
    communities: Annotated[
        tuple[str, ...],
        doc("Names of communities defined in this object, or values of communities.", maxItems=50, required=True),
    ] = constant(())


class BGPPassword(ApiStruct, frozen=True, kw_only=True):
    secret_key_ref: Annotated[
        SecretKeySelector | None, doc("The key of a Secret in the namespace of calico-node that holds the password.")
    ] = None


class BGPConfigurationSpec(ApiStruct, frozen=True, kw_only=True):
    log_severity_screen: Annotated[
        str,
        doc("What is logged: Trace, Debug, Info, Warning, Error or Fatal, and what is worse; Info if absent."),
    ] = ""
    node_to_node_mesh_enabled: Annotated[
        bool | None, doc("Whether every node peers with every other one; true if absent. On default only.")
    ] = None
    as_number: Annotated[
        int | None,
        doc(
            "AS number of nodes without one of their own; 64512 if absent. On default only.",
            minimum=0,
            maximum=_MAX_AS,
            format="int64",
        ),
    ] = None
    service_cluster_ips: Annotated[
        tuple[ServiceCIDR, ...], doc("Ranges of cluster addresses of Services to announce. On default only.")
    ] = ()
    service_external_ips: Annotated[
        tuple[ServiceCIDR, ...], doc("Ranges in which external addresses of Services are announced. On default only.")
    ] = ()
    service_load_balancer_ips: Annotated[
        tuple[ServiceCIDR, ...],
        doc("Ranges in which load balancer addresses of Services are announced. On default only."),
    ] = ()
    service_load_balancer_aggregation: Annotated[
        str,
        doc(
            "Enabled announces ranges of load balancer addresses as a whole, Disabled each address; Enabled if absent.",
            enum=["Enabled", "Disabled"],
        ),
    ] = ""
    communities: Annotated[
        tuple[Community, ...], doc("Names for BGP communities, for prefixAdvertisements.", maxItems=500)
    ] = ()
    prefix_advertisements: Annotated[
        tuple[PrefixAdvertisement, ...], doc("Which communities are set on routes inside which ranges.", maxItems=500)
    ] = ()
    listen_port: Annotated[
        int | None, doc("The port that the speaker listens on; 179 if absent.", minimum=1, maximum=65535)
    ] = None
    node_mesh_password: Annotated[
        BGPPassword | None, doc("Password of the sessions of the node-to-node mesh. On default only.")
    ] = None
    node_mesh_max_restart_time: Annotated[
        str | None,
        doc("How long routes of a restarting node of the mesh are kept, such as 2m. On default only."),
    ] = None
    bind_mode: Annotated[
        str,
        doc("None listens on all addresses, NodeIP on the node's own; None if absent.", enum=["None", "NodeIP"]),
    ] = ""
    ignored_interfaces: Annotated[
        tuple[str, ...],
        doc("Interfaces whose addresses are not announced; * stands for any characters.", **UNIQUE),
    ] = ()
    local_workload_peering_ipv4: Annotated[
        str, doc("The IPv4 address at which workloads of the node reach its speaker.")
    ] = msgspec.field(default="", name="localWorkloadPeeringIPV4")
    local_workload_peering_ipv6: Annotated[
        str, doc("The IPv6 address at which workloads of the node reach its speaker.")
    ] = msgspec.field(default="", name="localWorkloadPeeringIPV6")
    program_cluster_routes: Annotated[
        str,
        doc(
            "Which routes to blocks of other nodes the speaker programs; the rest is left to Felix, whose field of the"
            " same name must complement it. EnabledNoEncapOnly if absent.",
            enum=PROGRAM_CLUSTER_ROUTES,
        ),
    ] = ""
    ipv4_normal_route_priority: Annotated[
        int | None, doc("Metric of IPv4 routes; 1024 if absent.", minimum=1, maximum=_MAX_PRIORITY)
    ] = None
    ipv6_normal_route_priority: Annotated[
        int | None, doc("Metric of IPv6 routes; 1024 if absent.", minimum=1, maximum=_MAX_PRIORITY)
    ] = None
    extensions: Annotated[dict[str, str], doc("Values for templates of the speaker's configuration.")] = empty_map()


class BGPConfiguration(Object, frozen=True, kw_only=True):
    """Settings of BGP: of the whole cluster in the object default, of one node in node.<name>."""

    api_version: str = constant("projectcalico.org/v3")
    kind: str = constant("BGPConfiguration")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[BGPConfigurationSpec, doc("The settings.")] = BGPConfigurationSpec()


class BGPPeerSpec(ApiStruct, frozen=True, kw_only=True):
    node: Annotated[
        str, doc("The one node that has this peer; all nodes if neither this nor nodeSelector is set.", maxLength=253)
    ] = ""
    node_selector: Annotated[str, doc("The nodes that have this peer, by their labels.", maxLength=1024)] = ""
    peer_ip: Annotated[
        str,
        doc("Address of the peer, with a port if it is not 179: 192.0.2.1:1179 or [2001:db8::1]:1179.", maxLength=64),
    ] = ""
    as_number: Annotated[int | None, doc("AS number of the peer.", minimum=0, maximum=_MAX_AS, format="int64")] = None
    local_as_number: Annotated[
        int | None,
        doc(
            "AS number that the node shows to the peer instead of its own.", minimum=0, maximum=_MAX_AS, format="int64"
        ),
    ] = None
    peer_selector: Annotated[
        str, doc("The peers are the nodes with these labels; excludes peerIP and asNumber.", maxLength=1024)
    ] = ""
    local_workload_selector: Annotated[
        str,
        doc("The peers are workloads of the same node with these labels; needs asNumber.", maxLength=1024),
    ] = ""
    keep_original_next_hop: Annotated[
        bool, doc("Deprecated: use nextHopMode Keep. Leaves the next hop of routes to an eBGP peer as it is.")
    ] = False
    next_hop_mode: Annotated[
        str,
        doc(
            "Auto lets BGP decide, Self puts the node as next hop of all routes, Keep leaves next hops as they are.",
            enum=["Auto", "Self", "Keep"],
        ),
    ] = ""
    password: Annotated[BGPPassword | None, doc("Password of the session (TCP MD5).")] = None
    source_address: Annotated[
        str,
        doc(
            "UseNodeIP uses the node's address, None lets the kernel choose; UseNodeIP if absent.",
            enum=["UseNodeIP", "None"],
        ),
    ] = ""
    max_restart_time: Annotated[
        str | None, doc("How long routes of the peer are kept while it restarts, such as 2m.")
    ] = None
    keepalive_time: Annotated[str | None, doc("Time between keepalive messages, such as 30s.")] = None
    num_allowed_local_as_numbers: Annotated[
        int | None,
        doc("How often the node's own AS number may occur in the path of a route that it accepts.", format="int32"),
    ] = msgspec.field(default=None, name="numAllowedLocalASNumbers")
    ttl_security: Annotated[
        int | None,
        doc("Accept packets only from this many hops away (generalised TTL security).", minimum=0, maximum=255),
    ] = None
    reachable_by: Annotated[
        str, doc("Gateway through which peerIP is reached; a static route is added for it.", maxLength=64)
    ] = ""
    filters: Annotated[tuple[str, ...], doc("Names of BGPFilters, in the order in which their rules apply.")] = ()
    reverse_peering: Annotated[
        str,
        doc(
            "With peerSelector: Auto makes the sessions on the selected peers too, Manual leaves that to another"
            " BGPPeer; Auto if absent.",
            enum=["Auto", "Manual"],
        ),
    ] = ""
    bird_gateway_mode: Annotated[
        str,
        doc(
            "How the next hop of routes from the peer is resolved: Recursive by other routes,"
            " DirectIfDirectlyConnected straight through the interface if the peer is in the same subnet; Recursive"
            " if absent.",
            enum=["Recursive", "DirectIfDirectlyConnected"],
        ),
    ] = ""
    failure_detection_mode: Annotated[
        str,
        doc(
            "Whether BFD watches the peer: BFDIfDirectlyConnected does so if it is in the same subnet, None never;"
            " None if absent.",
            enum=["None", "BFDIfDirectlyConnected"],
        ),
    ] = ""
    restart_mode: Annotated[
        str,
        doc(
            "How routes of the peer are kept while it restarts; GracefulRestart if absent.",
            enum=["GracefulRestart", "LongLivedGracefulRestart"],
        ),
    ] = ""
    external_network: Annotated[str, doc("The ExternalNetwork that the peer belongs to; excludes network.")] = ""
    network: Annotated[str, doc("The Network that the peer belongs to; excludes externalNetwork.")] = ""
    extensions: Annotated[dict[str, str], doc("Values for templates of the speaker's configuration.")] = empty_map()


class BGPPeer(Object, frozen=True, kw_only=True):
    """A BGP neighbour of some or all nodes."""

    api_version: str = constant("projectcalico.org/v3")
    kind: str = constant("BGPPeer")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[BGPPeerSpec, doc("Who peers with whom, and how.")] = BGPPeerSpec()


class PrefixLength(ApiStruct, frozen=True, kw_only=True):
    min: Annotated[int | None, doc("Shortest prefix that matches.", minimum=0, maximum=128)] = None
    max: Annotated[int | None, doc("Longest prefix that matches.", minimum=0, maximum=128)] = None


class CommunityMatch(ApiStruct, frozen=True, kw_only=True):
    values: Annotated[
        tuple[str, ...],
        doc(
            "The community that the route must carry: aa:nn or aa:nn:mm. Exactly one.",
            minItems=1,
            maxItems=1,
            items={"maxLength": 32},
            required=True,
        ),
    ] = ()


class AddCommunity(ApiStruct, frozen=True, kw_only=True):
    value: Annotated[str, doc("The community to add: aa:nn or aa:nn:mm.", required=True)] = ""


class PrependASPath(ApiStruct, frozen=True, kw_only=True):
    prefix: Annotated[
        tuple[int, ...],
        doc(
            "AS numbers to put before the path; the first one ends up first.",
            minItems=1,
            maxItems=10,
            items={"minimum": 0, "maximum": _MAX_AS, "format": "int64"},
            required=True,
        ),
    ] = ()


class SetPriority(ApiStruct, frozen=True, kw_only=True):
    value: Annotated[int, doc("The metric to set.", minimum=1, maximum=_MAX_PRIORITY, required=True)] = 0


class BGPFilterOperation(ApiStruct, frozen=True, kw_only=True):
    """Exactly one of the fields is set."""

    add_community: Annotated[AddCommunity | None, doc("Adds a community to the route.")] = None
    prepend_as_path: Annotated[PrependASPath | None, doc("Lengthens the AS path of the route.")] = None
    set_priority: Annotated[SetPriority | None, doc("Sets the metric of the route in the kernel.")] = None


class BGPFilterRule(ApiStruct, frozen=True, kw_only=True):
    """A rule applies to a route if every field that is set matches."""

    action: Annotated[str, doc("What happens to a route that matches.", enum=["Accept", "Reject"], required=True)] = ""
    cidr: Annotated[str, doc("A range to compare the route with, as matchOperator says.", format="cidr")] = ""
    match_operator: Annotated[
        str,
        doc(
            "How the route must relate to cidr: Equal, NotEqual, In (inside it) or NotIn.",
            enum=["Equal", "NotEqual", "In", "NotIn"],
        ),
    ] = ""
    prefix_length: Annotated[PrefixLength | None, doc("Which prefix lengths match; needs cidr.")] = None
    source: Annotated[str, doc("RemotePeers: only routes that were learnt from a BGP peer.", enum=["RemotePeers"])] = ""
    interface: Annotated[str, doc("Only routes through this interface; * stands for any characters.", maxLength=15)] = (
        ""
    )
    peer_type: Annotated[
        str, doc("Only for peers of another AS (eBGP) or of the same (iBGP).", enum=["eBGP", "iBGP"])
    ] = ""
    communities: Annotated[CommunityMatch | None, doc("Only routes that carry this community.")] = None
    as_path_prefix: Annotated[
        tuple[int, ...],
        doc(
            "Only routes whose AS path begins with these numbers.",
            items={"minimum": 0, "maximum": _MAX_AS, "format": "int64"},
        ),
    ] = ()
    priority: Annotated[int | None, doc("Only routes of this metric.", minimum=1, maximum=_MAX_PRIORITY)] = None
    operations: Annotated[
        tuple[BGPFilterOperation, ...],
        doc("Changes to a route that is accepted, in order.", minItems=1, maxItems=10),
    ] = ()


class BGPFilterSpec(ApiStruct, frozen=True, kw_only=True):
    export_v4: Annotated[tuple[BGPFilterRule, ...], doc("Rules for IPv4 routes sent to the peer, in order.")] = ()
    import_v4: Annotated[tuple[BGPFilterRule, ...], doc("Rules for IPv4 routes from the peer, in order.")] = ()
    export_v6: Annotated[tuple[BGPFilterRule, ...], doc("Rules for IPv6 routes sent to the peer, in order.")] = ()
    import_v6: Annotated[tuple[BGPFilterRule, ...], doc("Rules for IPv6 routes from the peer, in order.")] = ()


class BGPFilter(Object, frozen=True, kw_only=True):
    """Rules for which routes are exchanged with the peers that name this filter; the first that matches decides."""

    api_version: str = constant("projectcalico.org/v3")
    kind: str = constant("BGPFilter")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[BGPFilterSpec, doc("The rules.")] = BGPFilterSpec()
