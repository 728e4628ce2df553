"""Network: a network besides the pod network, as a routing domain (VRF) or a bridge with VLANs.

For admission and the node agent. In: JSON of projectcalico.org/v3. Out: immutable structs; the kind is of the
Enterprise edition, and a technical preview there (spec/resources.md 1.4).
"""

from typing import Annotated

from tortie.model.fields import ApiStruct, Object, constant, doc
from tortie.model.meta import Condition, ObjectMeta


class RouteAction(ApiStruct, frozen=True, kw_only=True):
    next_hop: Annotated[str, doc("Address of the next hop.")] = ""


class StaticRoute(ApiStruct, frozen=True, kw_only=True):
    destination: Annotated[str, doc("Range of destination addresses, as a CIDR.", format="cidr", required=True)] = ""
    action: Annotated[RouteAction | None, doc("Where the traffic goes.")] = None


class HostInterface(ApiStruct, frozen=True, kw_only=True):
    name: Annotated[str, doc("Name of the interface.", maxLength=15)] = ""


class VRFHostConfig(ApiStruct, frozen=True, kw_only=True):
    node_selector: Annotated[str, doc("Selector on the labels of the nodes; no two entries have the same.")] = ""
    route_table_index: Annotated[
        int | None, doc("Number of the routing table.", minimum=1, maximum=2**31 - 1, required=True)
    ] = None
    host_interfaces: Annotated[tuple[HostInterface, ...], doc("Interfaces that belong to the network.")] = ()
    static_routes: Annotated[tuple[StaticRoute, ...], doc("Routes of the network.")] = ()


class VRFRouting(ApiStruct, frozen=True, kw_only=True):
    in_cluster_mode: Annotated[str, doc("How pods of the network reach each other.", enum=["Local"])] = ""


class VRF(ApiStruct, frozen=True, kw_only=True):
    host_config: Annotated[
        tuple[VRFHostConfig, ...], doc("Settings by node.", minItems=1, maxItems=100, required=True)
    ] = ()
    routing: Annotated[VRFRouting | None, doc("How traffic is routed.")] = None


class ExistingBridge(ApiStruct, frozen=True, kw_only=True):
    name: Annotated[
        str, doc("Name of the bridge; not one that begins with calb- or calq-.", maxLength=15, required=True)
    ] = ""


class ManagedBridge(ApiStruct, frozen=True, kw_only=True):
    stp: Annotated[str, doc("Whether the bridge speaks the spanning tree protocol.", enum=["Disabled"])] = ""


class Bridge(ApiStruct, frozen=True, kw_only=True):
    """Exactly one field is set."""

    existing_bridge: Annotated[ExistingBridge | None, doc("A bridge that others made.")] = None
    managed_bridge: Annotated[ManagedBridge | None, doc("A bridge that the node agent makes.")] = None


class TrunkInterface(ApiStruct, frozen=True, kw_only=True):
    name: Annotated[str, doc("Name of the interface.", maxLength=15, required=True)] = ""


class TrunkPort(ApiStruct, frozen=True, kw_only=True):
    interface: Annotated[TrunkInterface | None, doc("The interface that leads out.", required=True)] = None
    native_vlan: Annotated[int | None, doc("VLAN of frames without a tag.", minimum=1, maximum=4094)] = None


class HostConnection(ApiStruct, frozen=True, kw_only=True):
    trunk_port: Annotated[TrunkPort | None, doc("An interface that carries all VLANs.")] = None


class L2BridgeHostConfig(ApiStruct, frozen=True, kw_only=True):
    node_selector: Annotated[str, doc("Selector on the labels of the nodes; no two entries have the same.")] = ""
    bridge: Annotated[Bridge | None, doc("The bridge on these nodes.", required=True)] = None
    host_connections: Annotated[
        tuple[HostConnection, ...], doc("How the bridge is connected to the outside.", maxItems=1)
    ] = ()


class VLANRange(ApiStruct, frozen=True, kw_only=True):
    start: Annotated[int | None, doc("First VLAN.", minimum=1, maximum=4094, required=True)] = None
    end: Annotated[int | None, doc("Last VLAN.", minimum=1, maximum=4094, required=True)] = None


class VLANId(ApiStruct, frozen=True, kw_only=True):
    """Exactly one field is set."""

    id: Annotated[int | None, doc("One VLAN.", minimum=1, maximum=4094)] = None
    range: Annotated[VLANRange | None, doc("VLANs from first to last.")] = None


class VLANRoute(ApiStruct, frozen=True, kw_only=True):
    destination: Annotated[str, doc("Range of destination addresses, as a CIDR.", format="cidr", required=True)] = ""
    action: Annotated[RouteAction | None, doc("Where the traffic goes.")] = None


class VLANSubnet(ApiStruct, frozen=True, kw_only=True):
    cidr: Annotated[str, doc("The addresses of the subnet, as a CIDR.", format="cidr", required=True)] = ""
    routes: Annotated[tuple[VLANRoute, ...], doc("Routes that pods of the subnet get.")] = ()


class VLANConfig(ApiStruct, frozen=True, kw_only=True):
    vlan: Annotated[VLANId | None, doc("The VLANs.", required=True)] = None
    subnets: Annotated[tuple[VLANSubnet, ...], doc("Subnets in these VLANs.")] = ()


class L2Bridge(ApiStruct, frozen=True, kw_only=True):
    host_config: Annotated[
        tuple[L2BridgeHostConfig, ...], doc("Settings by node.", minItems=1, maxItems=100, required=True)
    ] = ()
    vlans: Annotated[tuple[VLANConfig, ...], doc("VLANs of the network.", minItems=1, required=True)] = ()


class NetworkSpec(ApiStruct, frozen=True, kw_only=True):
    vrf: Annotated[VRF | None, doc("A routing domain of its own; excludes l2Bridge.")] = None
    l2_bridge: Annotated[L2Bridge | None, doc("A bridge with VLANs; excludes vrf.")] = None


class NetworkStatus(ApiStruct, frozen=True, kw_only=True):
    conditions: Annotated[tuple[Condition, ...], doc("Whether the network works.")] = ()


class Network(Object, frozen=True, kw_only=True):
    """A network besides the pod network. Its type cannot be changed."""

    api_version: str = constant("projectcalico.org/v3")
    kind: str = constant("Network")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[NetworkSpec, doc("The type of the network and its settings.")] = NetworkSpec()
    status: Annotated[NetworkStatus | None, doc("What the system observes of the network.")] = None
