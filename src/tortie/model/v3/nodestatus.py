"""CalicoNodeStatus: a request to a node to report its agent, BGP sessions and routes, and the report.

For routing, which writes the status, and for command lines. In: JSON of projectcalico.org/v3. Out: immutable structs.
"""

from typing import Annotated

import msgspec

from tortie.model.fields import UNIQUE, ApiStruct, Object, constant, doc
from tortie.model.meta import ObjectMeta


class CalicoNodeStatusSpec(ApiStruct, frozen=True, kw_only=True):
    node: Annotated[str, doc("The node that reports.", maxLength=253, required=True)] = ""
    classes: Annotated[
        tuple[str, ...],
        doc(
            "What it reports: Agent, BGP, Routes.", items={"enum": ["Agent", "BGP", "Routes"]}, required=True, **UNIQUE
        ),
    ] = constant(())
    update_period_seconds: Annotated[
        int | None,
        doc("Seconds between reports; 0 stops them.", minimum=0, maximum=86400, required=True),
    ] = None


class BGPDaemonStatus(ApiStruct, frozen=True, kw_only=True):
    state: Annotated[str, doc("Whether the daemon answers.", enum=["Ready", "NotReady"])] = ""
    version: Annotated[str, doc("Version of the daemon.")] = ""
    router_id: Annotated[str, doc("Router id in use.")] = msgspec.field(default="", name="routerID")
    last_boot_time: Annotated[str, doc("When the daemon started.")] = ""
    last_reconfiguration_time: Annotated[str, doc("When it read its configuration last.")] = ""


class AgentStatus(ApiStruct, frozen=True, kw_only=True):
    bird_v4: Annotated[BGPDaemonStatus, doc("The IPv4 side of BIRD.")] = BGPDaemonStatus()
    bird_v6: Annotated[BGPDaemonStatus, doc("The IPv6 side of BIRD.")] = BGPDaemonStatus()


class BGPPeerStatus(ApiStruct, frozen=True, kw_only=True):
    peer_ip: Annotated[str, doc("Address of the peer.")] = ""
    type: Annotated[str, doc("Why there is a session with it.", enum=["NodeMesh", "NodePeer", "GlobalPeer"])] = ""
    state: Annotated[
        str,
        doc(
            "State of the session.",
            enum=["Idle", "Connect", "Active", "OpenSent", "OpenConfirm", "Established", "Close"],
        ),
    ] = ""
    since: Annotated[str, doc("When it got into this state.")] = ""


class BGPStatus(ApiStruct, frozen=True, kw_only=True):
    number_established_v4: Annotated[int, doc("IPv4 sessions that are up.", required=True)] = constant(0)
    number_established_v6: Annotated[int, doc("IPv6 sessions that are up.", required=True)] = constant(0)
    number_not_established_v4: Annotated[int, doc("IPv4 sessions that are not up.", required=True)] = constant(0)
    number_not_established_v6: Annotated[int, doc("IPv6 sessions that are not up.", required=True)] = constant(0)
    peers_v4: Annotated[tuple[BGPPeerStatus, ...], doc("The IPv4 sessions.")] = ()
    peers_v6: Annotated[tuple[BGPPeerStatus, ...], doc("The IPv6 sessions.")] = ()


class RouteSource(ApiStruct, frozen=True, kw_only=True):
    source_type: Annotated[
        str,
        doc("Where the route comes from.", enum=["Kernel", "Static", "Direct", "NodeMesh", "BGPPeer"]),
    ] = ""
    peer_ip: Annotated[str, doc("The peer that announced it.")] = ""


class RouteStatus(ApiStruct, frozen=True, kw_only=True):
    type: Annotated[str, doc("FIB if it is in the kernel, RIB if it is known to BGP only.", enum=["FIB", "RIB"])] = ""
    destination: Annotated[str, doc("Where the route leads.")] = ""
    gateway: Annotated[str, doc("The next hop.")] = ""
    interface: Annotated[str, doc("The interface.")] = ""
    learned_from: Annotated[RouteSource, doc("Where the route comes from.")] = RouteSource()


class RoutesStatus(ApiStruct, frozen=True, kw_only=True):
    routes_v4: Annotated[tuple[RouteStatus, ...], doc("The IPv4 routes.")] = ()
    routes_v6: Annotated[tuple[RouteStatus, ...], doc("The IPv6 routes.")] = ()


class CalicoNodeStatusStatus(ApiStruct, frozen=True, kw_only=True):
    last_updated: Annotated[str | None, doc("When the report was made.", format="date-time")] = None
    agent: Annotated[AgentStatus | None, doc("The routing daemon.")] = None
    bgp: Annotated[BGPStatus | None, doc("The BGP sessions.")] = None
    routes: Annotated[RoutesStatus | None, doc("The routes.")] = None


class CalicoNodeStatus(Object, frozen=True, kw_only=True):
    """Asks a node to report on itself; the report is in the status."""

    api_version: str = constant("projectcalico.org/v3")
    kind: str = constant("CalicoNodeStatus")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[CalicoNodeStatusSpec, doc("Who reports, what and how often.")] = CalicoNodeStatusSpec()
    status: Annotated[CalicoNodeStatusStatus | None, doc("The latest report.")] = None
