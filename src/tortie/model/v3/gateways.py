"""Ways out of the cluster: EgressGatewayPolicy, ExternalNetwork and BFDConfiguration.

For admission and routing. In: JSON of projectcalico.org/v3. Out: immutable structs; all three kinds are of the
Enterprise edition (spec/resources.md 1.4).
"""

from typing import Annotated

from tortie.model.fields import ApiStruct, Object, constant, doc
from tortie.model.meta import ObjectMeta


class EgressDestination(ApiStruct, frozen=True, kw_only=True):
    cidr: Annotated[str, doc("Range of destination addresses; every address if absent.")] = ""


class EgressGateway(ApiStruct, frozen=True, kw_only=True):
    selector: Annotated[str, doc("Selector on the labels of the pods that are gateways.")] = ""
    namespace_selector: Annotated[
        str, doc("Selector on the labels of the namespaces of the gateways; the pod's own if absent.")
    ] = ""
    max_next_hops: Annotated[
        int | None, doc("How many of the gateways each pod uses; all if 0 or absent.", minimum=0)
    ] = None


class EgressGatewayRule(ApiStruct, frozen=True, kw_only=True):
    description: Annotated[str, doc("A note on the rule.")] = ""
    destination: Annotated[EgressDestination | None, doc("Destinations of the rule; every one if absent.")] = None
    gateway: Annotated[EgressGateway | None, doc("The gateways to use; none if absent: traffic leaves directly.")] = (
        None
    )
    gateway_preference: Annotated[
        str,
        doc(
            "PreferNodeLocal prefers gateways on the node of the pod.",
            enum=["None", "PreferNodeLocal"],
            default="None",
        ),
    ] = ""


class EgressGatewayPolicySpec(ApiStruct, frozen=True, kw_only=True):
    rules: Annotated[
        tuple[EgressGatewayRule, ...],
        doc("Gateways by destination; the longest prefix wins, and no destination may occur twice."),
    ] = ()


class EgressGatewayPolicy(Object, frozen=True, kw_only=True):
    """Which egress gateways traffic of pods takes, by destination. Pods and namespaces name it in an annotation."""

    api_version: str = constant("projectcalico.org/v3")
    kind: str = constant("EgressGatewayPolicy")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[EgressGatewayPolicySpec, doc("The rules.")] = EgressGatewayPolicySpec()


class ExternalNetworkSpec(ApiStruct, frozen=True, kw_only=True):
    route_table_index: Annotated[
        int | None,
        doc(
            "Number of the routing table of the network; no other network may have it.",
            format="int32",
            minimum=-(2**31),
            maximum=2**31 - 1,
            required=True,
        ),
    ] = None


class ExternalNetwork(Object, frozen=True, kw_only=True):
    """A network outside the cluster with routes of its own, which BGP peers and egress gateways may belong to."""

    api_version: str = constant("projectcalico.org/v3")
    kind: str = constant("ExternalNetwork")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[ExternalNetworkSpec, doc("Where the routes of the network are.")] = ExternalNetworkSpec()


class BFDInterface(ApiStruct, frozen=True, kw_only=True):
    match_pattern: Annotated[
        str, doc("The interfaces: a name, the beginning of names with * behind it, or * for all.", required=True)
    ] = ""
    minimum_recv_interval: Annotated[
        str, doc("Least time between packets that is accepted from the peer.", default="10ms")
    ] = ""
    minimum_send_interval: Annotated[str, doc("Least time between packets sent.", default="100ms")] = ""
    idle_send_interval: Annotated[str, doc("Time between packets sent while the session is down.", default="1m")] = ""
    multiplier: Annotated[
        int, doc("How many packets may be lost before the peer counts as gone.", minimum=1, default=5)
    ] = 0


class BFDConfigurationSpec(ApiStruct, frozen=True, kw_only=True):
    node_selector: Annotated[str, doc("Selector on the labels of the nodes that the settings are for.")] = ""
    interfaces: Annotated[tuple[BFDInterface, ...], doc("Settings by interface; the first that matches counts.")] = ()


class BFDConfiguration(Object, frozen=True, kw_only=True):
    """How quickly nodes notice that a BGP peer is gone."""

    api_version: str = constant("projectcalico.org/v3")
    kind: str = constant("BFDConfiguration")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[BFDConfigurationSpec, doc("The settings.")] = BFDConfigurationSpec()
