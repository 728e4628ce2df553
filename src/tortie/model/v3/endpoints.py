"""Endpoints and profiles: what policies apply to, and what endpoints inherit.

For admission, conversion and the CNI plugin. In: JSON of projectcalico.org/v3; WorkloadEndpoint and Profile are made
from pods, namespaces and service accounts and are not stored. Out: immutable structs.
"""

from typing import Annotated

from tortie.model.fields import UNIQUE, ApiStruct, Object, constant, doc, empty_map
from tortie.model.meta import ObjectMeta
from tortie.model.v3.policy import Rule


class EndpointPort(ApiStruct, frozen=True, kw_only=True):
    name: Annotated[str, doc("Name by which rules refer to the port.", required=True)] = ""
    protocol: Annotated[
        int | str, doc("Protocol of the port: TCP, UDP or SCTP; a rule with another one does not match.", required=True)
    ] = ""
    port: Annotated[int, doc("Number of the port.", minimum=1, maximum=65535, required=True)] = 0


class HostEndpointSpec(ApiStruct, frozen=True, kw_only=True):
    node: Annotated[str, doc("Name of the node whose interface this is.", maxLength=253, required=True)] = ""
    interface_name: Annotated[
        str,
        doc(
            "Name of the interface, or * for all interfaces of the node that have no endpoint of their own. If absent"
            " the interface is found by expectedIPs.",
            maxLength=15,
        ),
    ] = ""
    expected_ips: Annotated[
        tuple[str, ...],
        doc("Addresses of the interface. Rules that select this endpoint by label match these addresses.", **UNIQUE),
    ] = ()
    profiles: Annotated[
        tuple[str, ...],
        doc("Profiles whose rules apply, in order, after all tiers, and whose labels the endpoint inherits.", **UNIQUE),
    ] = ()
    ports: Annotated[tuple[EndpointPort, ...], doc("Named ports that rules may refer to.")] = ()


class HostEndpoint(Object, frozen=True, kw_only=True):
    """An interface of a node, so that policies apply to the traffic of the node itself."""

    api_version: str = constant("projectcalico.org/v3")
    kind: str = constant("HostEndpoint")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[HostEndpointSpec, doc("Which interface of which node is meant.")] = HostEndpointSpec()


class ProfileSpec(ApiStruct, frozen=True, kw_only=True):
    ingress: Annotated[
        tuple[Rule, ...], doc("Rules for traffic to endpoints that no policy has decided.", maxItems=1024)
    ] = ()
    egress: Annotated[
        tuple[Rule, ...], doc("Rules for traffic from endpoints that no policy has decided.", maxItems=1024)
    ] = ()
    labels_to_apply: Annotated[
        dict[str, str], doc("Labels that endpoints with this profile inherit; their own labels win.")
    ] = empty_map()


class Profile(Object, frozen=True, kw_only=True):
    """What the endpoints of a namespace or service account have in common: labels, and rules after all policies."""

    api_version: str = constant("projectcalico.org/v3")
    kind: str = constant("Profile")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[ProfileSpec, doc("Rules and labels of the profile.")] = ProfileSpec()


class IPNAT(ApiStruct, frozen=True, kw_only=True):
    internal_ip: Annotated[str, doc("The endpoint's own address.", required=True)] = ""
    external_ip: Annotated[str, doc("The floating address that is translated to it.", required=True)] = ""


class WorkloadEndpointPort(ApiStruct, frozen=True, kw_only=True):
    name: Annotated[str, doc("Name by which rules refer to the port; may be empty only with a host port.")] = ""
    protocol: Annotated[int | str, doc("Protocol of the port: TCP, UDP or SCTP.", required=True)] = ""
    port: Annotated[int, doc("Number of the port.", minimum=1, maximum=65535, required=True)] = 0
    host_port: Annotated[
        int, doc("Port of the node that is forwarded to it; 0 for none.", minimum=0, maximum=65535)
    ] = 0
    host_ip: Annotated[str, doc("Address of the node that the host port is bound to; all if empty.")] = ""


class QoSControls(ApiStruct, frozen=True, kw_only=True):
    """Limits of an endpoint: bandwidth in bit/s, bursts in bit, packet rates in packets/s."""

    ingress_bandwidth: int | None = None
    egress_bandwidth: int | None = None
    ingress_burst: int | None = None
    egress_burst: int | None = None
    ingress_peakrate: int | None = None
    egress_peakrate: int | None = None
    ingress_minburst: int | None = None
    egress_minburst: int | None = None
    ingress_packet_rate: int | None = None
    egress_packet_rate: int | None = None
    ingress_packet_burst: int | None = None
    egress_packet_burst: int | None = None
    ingress_max_connections: int | None = None
    egress_max_connections: int | None = None
    dscp: int | str | None = None


class WorkloadEndpointSpec(ApiStruct, frozen=True, kw_only=True):
    orchestrator: Annotated[str, doc("The orchestrator that runs the workload, such as k8s.")] = ""
    workload: Annotated[str, doc("The workload, for orchestrators other than Kubernetes.")] = ""
    node: Annotated[str, doc("The node on which the workload runs.")] = ""
    container_id: Annotated[str, doc("The container or sandbox that owns the interface.")] = ""
    pod: Annotated[str, doc("The pod, for Kubernetes.")] = ""
    endpoint: Annotated[str, doc("The interface inside the workload, such as eth0.")] = ""
    service_account_name: Annotated[str, doc("The service account that the workload runs as.")] = ""
    ip_networks: Annotated[tuple[str, ...], doc("The addresses, each with /32 or /128.")] = ()
    ip_nats: Annotated[tuple[IPNAT, ...], doc("Floating addresses that are translated to the endpoint's own.")] = ()
    aws_elastic_ips: Annotated[
        tuple[str, ...], doc("Elastic addresses of AWS that may be attached to the endpoint.")
    ] = ()
    ipv4_gateway: Annotated[str, doc("The IPv4 gateway inside the workload.")] = ""
    ipv6_gateway: Annotated[str, doc("The IPv6 gateway inside the workload.")] = ""
    profiles: Annotated[tuple[str, ...], doc("Profiles that the endpoint inherits from, in order.")] = ()
    interface_name: Annotated[str, doc("The interface on the node's side.")] = ""
    mac: Annotated[str, doc("The hardware address of the interface inside the workload.")] = ""
    ports: Annotated[tuple[WorkloadEndpointPort, ...], doc("Ports that are named or forwarded from the node.")] = ()
    allow_spoofed_source_prefixes: Annotated[
        tuple[str, ...], doc("Ranges that the workload may use as source addresses besides its own.")
    ] = ()
    qos_controls: Annotated[QoSControls | None, doc("Limits on bandwidth, packets and connections.")] = None


class WorkloadEndpoint(Object, frozen=True, kw_only=True):
    """An interface of a workload, usually of a pod."""

    api_version: str = constant("projectcalico.org/v3")
    kind: str = constant("WorkloadEndpoint")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[WorkloadEndpointSpec, doc("Where the endpoint is and what it inherits.")] = WorkloadEndpointSpec()
