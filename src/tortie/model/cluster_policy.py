"""ClusterNetworkPolicy of group policy.networking.k8s.io/v1alpha2: policy of the cluster's administrators.

For the API server, admission and conversion. In: JSON of the Kubernetes API. Out: immutable structs whose descriptions
are what `kubectl explain` prints. Peers that only the experimental channel of that API has (nodes, domainNames) are not
known here: an object that has them is refused, and one that was stored elsewhere fails closed when it is converted.
"""

from typing import Annotated

from tortie.model.fields import UNIQUE, ApiStruct, Object, constant, doc
from tortie.model.meta import Condition, LabelSelector, ObjectMeta

ACTIONS = ["Accept", "Deny", "Pass"]
TIERS = {"Admin": "kube-admin", "Baseline": "kube-baseline"}
"""spec.tier -> name of the tier that such policies belong to."""

_MOST = 25


class NamespacedPods(ApiStruct, frozen=True, kw_only=True):
    """Pods that match podSelector in namespaces that match namespaceSelector."""

    namespace_selector: Annotated[
        LabelSelector | None, doc("Namespaces by their labels; all of them if empty or absent.")
    ] = None
    pod_selector: Annotated[LabelSelector | None, doc("Pods by their labels; all of them if empty or absent.")] = None


class Subject(ApiStruct, frozen=True, kw_only=True):
    """Exactly one of the fields is set."""

    namespaces: Annotated[LabelSelector | None, doc("All pods of the namespaces with these labels.")] = None
    pods: Annotated[NamespacedPods | None, doc("Certain pods of certain namespaces.")] = None


class IngressPeer(ApiStruct, frozen=True, kw_only=True):
    """Exactly one of the fields is set. Pods in the network of their node are not meant."""

    namespaces: Annotated[LabelSelector | None, doc("All pods of the namespaces with these labels.")] = None
    pods: Annotated[NamespacedPods | None, doc("Certain pods of certain namespaces.")] = None


class EgressPeer(ApiStruct, frozen=True, kw_only=True):
    """Exactly one of the fields is set. Pods in the network of their node are not meant."""

    namespaces: Annotated[LabelSelector | None, doc("All pods of the namespaces with these labels.")] = None
    pods: Annotated[NamespacedPods | None, doc("Certain pods of certain namespaces.")] = None
    networks: Annotated[
        tuple[str, ...] | None,
        doc(
            "Ranges of addresses in CIDR notation. They cover pods with such addresses as well.",
            items={"format": "cidr", "maxLength": 43},
            minItems=1,
            maxItems=_MOST,
            **UNIQUE,
        ),
    ] = None


class PortSpan(ApiStruct, frozen=True, kw_only=True):
    start: Annotated[int, doc("The first port.", minimum=1, maximum=65535, required=True)] = 0
    end: Annotated[int, doc("The last port.", minimum=1, maximum=65535, required=True)] = 0


class DestinationPort(ApiStruct, frozen=True, kw_only=True):
    """Exactly one of the fields is set."""

    number: Annotated[int | None, doc("A single port.", minimum=1, maximum=65535)] = None
    range: Annotated[PortSpan | None, doc("Ports from start to end, both included.")] = None


class ProtocolPorts(ApiStruct, frozen=True, kw_only=True):
    destination_port: Annotated[
        DestinationPort | None, doc("The destination port; every port of the protocol if absent.")
    ] = None


class Protocol(ApiStruct, frozen=True, kw_only=True):
    """Exactly one of the fields is set."""

    tcp: Annotated[ProtocolPorts | None, doc("TCP, to any or certain ports.")] = None
    udp: Annotated[ProtocolPorts | None, doc("UDP, to any or certain ports.")] = None
    sctp: Annotated[ProtocolPorts | None, doc("SCTP, to any or certain ports.")] = None
    destination_named_port: Annotated[
        str | None, doc("A port of the destination pod by its name, whatever its protocol.", minLength=1, maxLength=15)
    ] = None


_Name = Annotated[str, doc("A name for the rule, shown wherever the rule is shown.", maxLength=100)]
_Action = Annotated[
    str,
    doc(
        "Accept lets the traffic through and Deny drops it, whatever later tiers say; Pass leaves the decision to the"
        " next tier.",
        enum=ACTIONS,
        required=True,
    ),
]
_Protocols = Annotated[
    tuple[Protocol, ...],
    doc("Protocols and destination ports, any of which must match; everything if empty.", maxItems=_MOST),
]


class IngressRule(ApiStruct, frozen=True, kw_only=True):
    name: _Name = ""
    action: _Action = ""
    from_: Annotated[
        tuple[IngressPeer, ...],
        doc("Where the traffic comes from: any of these peers.", minItems=1, maxItems=_MOST, required=True),
    ] = ()
    protocols: _Protocols = ()


class EgressRule(ApiStruct, frozen=True, kw_only=True):
    name: _Name = ""
    action: _Action = ""
    to: Annotated[
        tuple[EgressPeer, ...],
        doc("Where the traffic goes: any of these peers.", minItems=1, maxItems=_MOST, required=True),
    ] = ()
    protocols: _Protocols = ()


class ClusterNetworkPolicySpec(ApiStruct, frozen=True, kw_only=True):
    tier: Annotated[
        str,
        doc(
            "Admin policies are asked before every NetworkPolicy, Baseline policies after them, for what none of them"
            " has decided.",
            enum=list(TIERS),
            required=True,
        ),
    ] = ""
    priority: Annotated[
        int | None,
        doc(
            "Place among the policies of the tier: lower comes first.",
            minimum=0,
            maximum=1000,
            format="int32",
            required=True,
        ),
    ] = None
    subject: Annotated[Subject | None, doc("The pods that the policy is for.", required=True)] = None
    ingress: Annotated[
        tuple[IngressRule, ...],
        doc("Rules for traffic to these pods, in order; the first that matches decides.", maxItems=_MOST),
    ] = ()
    egress: Annotated[
        tuple[EgressRule, ...],
        doc("Rules for traffic from these pods, in order; the first that matches decides.", maxItems=_MOST),
    ] = ()


class ClusterNetworkPolicyStatus(ApiStruct, frozen=True, kw_only=True):
    conditions: Annotated[tuple[Condition, ...], doc("What implementations report about the policy.")] = ()


class ClusterNetworkPolicy(Object, frozen=True, kw_only=True):
    """A policy for the pods of the whole cluster, before or after the NetworkPolicies of its namespaces."""

    api_version: str = constant("policy.networking.k8s.io/v1alpha2")
    kind: str = constant("ClusterNetworkPolicy")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[ClusterNetworkPolicySpec, doc("Which pods the policy is for, and its rules.")] = (
        ClusterNetworkPolicySpec()
    )
    status: Annotated[ClusterNetworkPolicyStatus | None, doc("What implementations report.")] = None
