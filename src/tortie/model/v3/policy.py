"""Network policies of every scope, enforced and staged, and the rules they are made of.

For whoever reads, checks or converts policies. In: JSON of projectcalico.org/v3. Out: immutable structs whose field
descriptions are what `kubectl explain` prints; the meaning of the fields is spec/resources.md 1.4 and 2.
"""

from typing import Annotated, Any

import msgspec

from tortie.model.fields import UNIQUE, ApiStruct, Object, constant, doc, empty_map
from tortie.model.k8s import NetworkPolicyEgressRule, NetworkPolicyIngressRule
from tortie.model.meta import LabelSelector, ObjectMeta

ACTIONS = ["Allow", "Deny", "Log", "Pass"]
HEADER_OPERATORS = ["Exists", "DoesNotExist", "HasPrefix", "HasSuffix", "In", "NotIn", "MatchesRegex"]
STAGED_ACTIONS = ["Set", "Delete", "Learn", "Ignore"]


class ICMPFields(ApiStruct, frozen=True, kw_only=True):
    type: Annotated[int | None, doc("ICMP type, such as 8 for an echo request (ping).", minimum=0, maximum=254)] = None
    code: Annotated[
        int | None, doc("ICMP code; only together with a type. Absent means any code.", minimum=0, maximum=255)
    ] = None


class ServiceMatch(ApiStruct, frozen=True, kw_only=True):
    name: Annotated[str, doc("Name of the Kubernetes Service.", maxLength=253, required=True)] = ""
    namespace: Annotated[
        str,
        doc(
            "Namespace of the Service. In a namespaced policy the policy's own if absent; in a global policy required.",
            maxLength=253,
        ),
    ] = ""


class ServiceAccountMatch(ApiStruct, frozen=True, kw_only=True):
    names: Annotated[
        tuple[str, ...], doc("Names of service accounts, any of which may match; empty for any name.", **UNIQUE)
    ] = ()
    selector: Annotated[
        str, doc("Selector on the labels of the service account; must match as well as the names.", maxLength=1024)
    ] = ""


class EntityRule(ApiStruct, frozen=True, kw_only=True):
    """One side of a rule. All fields that are set must match; without any, every address matches."""

    nets: Annotated[
        tuple[str, ...],
        doc(
            "Ranges of addresses in CIDR notation, any of which must contain the address. Write a single address with"
            " its length, as in 10.0.0.1/32.",
            maxItems=256,
            **UNIQUE,
        ),
    ] = ()
    not_nets: Annotated[
        tuple[str, ...],
        doc("Ranges of addresses in CIDR notation, none of which may contain the address.", maxItems=256, **UNIQUE),
    ] = ()
    selector: Annotated[
        str,
        doc(
            "Selector on the labels of endpoints and network sets that the address must belong to, such as"
            " app == 'web' && tier in {'front', 'back'}. In a namespaced policy it is confined to the policy's"
            " namespace unless namespaceSelector says otherwise.",
            maxLength=1024,
        ),
    ] = ""
    not_selector: Annotated[
        str,
        doc(
            "Selector on the labels of endpoints and network sets that the address must not belong to.", maxLength=1024
        ),
    ] = ""
    namespace_selector: Annotated[
        str,
        doc(
            "Selector on the labels of namespaces; endpoints and network sets are taken from the namespaces that it"
            " selects. all() means any namespace; global() means what belongs to no namespace: host endpoints and"
            " global network sets. The label projectcalico.org/name holds the namespace's name.",
            maxLength=1024,
        ),
    ] = ""
    ports: Annotated[
        tuple[int | str, ...],
        doc(
            "Ports, any of which must match: a number, a range such as 8000:8080, or the name of a port. Numbers need"
            " a protocol of TCP, UDP or SCTP.",
            maxItems=50,
        ),
    ] = ()
    not_ports: Annotated[
        tuple[int | str, ...], doc("Ports, none of which may match; written like ports.", maxItems=50)
    ] = ()
    service_accounts: Annotated[
        ServiceAccountMatch | None, doc("Restricts the endpoints to pods that run as one of these service accounts.")
    ] = None
    services: Annotated[
        ServiceMatch | None,
        doc(
            "The endpoints behind a Kubernetes Service: addresses and ports as a destination, addresses alone as a"
            " source. Excludes selectors, nets and, as a destination, ports."
        ),
    ] = None
    domains: Annotated[
        tuple[str, ...],
        doc(
            "Domain names, any of which must have resolved to the address; one * may stand for one or more leading or"
            " inner components. For the destination of Allow rules in egress only.",
        ),
    ] = ()


class HTTPPath(ApiStruct, frozen=True, kw_only=True):
    exact: Annotated[str, doc("The whole path, such as /metrics. Begins with /.", maxLength=1024)] = ""
    prefix: Annotated[
        str, doc("Leading segments of the path: /api covers /api and /api/x, not /apis.", maxLength=1024)
    ] = ""


class HTTPHeader(ApiStruct, frozen=True, kw_only=True):
    header: Annotated[str, doc("Name of the header.", minLength=1, required=True)] = ""
    operator: Annotated[
        str,
        doc(
            "How the header must relate to the values: any of them must be its value (In), a beginning (HasPrefix), an"
            " end (HasSuffix) or a regular expression for it (MatchesRegex); none of them may be its value (NotIn); or"
            " the header must be there or not, whatever its value (Exists, DoesNotExist).",
            enum=HEADER_OPERATORS,
            required=True,
        ),
    ] = ""
    values: Annotated[
        tuple[str, ...], doc("What the header is compared with; empty for Exists and DoesNotExist.", required=True)
    ] = constant(())


class HTTPMatch(ApiStruct, frozen=True, kw_only=True):
    methods: Annotated[
        tuple[str, ...],
        doc(
            "HTTP methods, any of which must match, upper case as in the request; * matches all.", maxItems=20, **UNIQUE
        ),
    ] = ()
    paths: Annotated[
        tuple[HTTPPath, ...], doc("Paths, any of which must match; each is either exact or a prefix.", maxItems=20)
    ] = ()
    headers: Annotated[tuple[HTTPHeader, ...], doc("What the headers must be; all of these must hold.")] = ()


class RuleMetadata(ApiStruct, frozen=True, kw_only=True):
    annotations: Annotated[dict[str, str], doc("Notes on the rule, shown wherever it is shown.")] = empty_map()


class Rule(ApiStruct, frozen=True, kw_only=True):
    """A rule applies to a packet if every field that is set matches; an empty rule matches everything."""

    action: Annotated[
        str,
        doc(
            "What happens to a packet that matches: Allow accepts it, Deny drops it, Pass skips the remaining policies"
            " of this tier, Log writes a log line and continues with the next rule.",
            enum=ACTIONS,
            required=True,
        ),
    ] = ""
    ip_version: Annotated[int | None, doc("Only packets of this IP version: 4 or 6.", enum=[4, 6])] = None
    protocol: Annotated[
        int | str | None,
        doc("Only this protocol: TCP, UDP, ICMP, ICMPv6, SCTP, UDPLite or a number from 1 to 255."),
    ] = None
    not_protocol: Annotated[int | str | None, doc("Every protocol but this one; written like protocol.")] = None
    icmp: Annotated[ICMPFields | None, doc("Only this ICMP type and code; needs a protocol of ICMP or ICMPv6.")] = None
    not_icmp: Annotated[ICMPFields | None, doc("Every ICMP type and code but this one.")] = msgspec.field(
        default=None, name="notICMP"
    )
    source: Annotated[EntityRule, doc("What the source of the packet must match.")] = EntityRule()
    destination: Annotated[EntityRule, doc("What the destination of the packet must match.")] = EntityRule()
    http: Annotated[
        HTTPMatch | None, doc("What the HTTP request must match; for Allow rules on TCP in ingress only.")
    ] = None
    metadata: Annotated[RuleMetadata | None, doc("Additional information about the rule.")] = None


# The descriptions that the policy kinds share.
_Tier = Annotated[
    str,
    doc("Name of the tier that the policy belongs to; the tier must exist. The default is the tier named default."),
]
_Order = Annotated[
    float | None,
    doc("Place among the policies of the tier: lower comes first. Policies without an order come last."),
]
_Ingress = Annotated[
    tuple[Rule, ...],
    doc("Rules for traffic to the selected endpoints, in order; the first that decides wins.", maxItems=1024),
]
_Egress = Annotated[
    tuple[Rule, ...],
    doc("Rules for traffic from the selected endpoints, in order; the first that decides wins.", maxItems=1024),
]
_Types = Annotated[
    tuple[str, ...],
    doc(
        "Directions that the policy governs: Ingress, Egress or both. If absent it is worked out from the rules when"
        " the policy is written: Ingress, Egress if there are only egress rules, or both.",
        items={"enum": ["Ingress", "Egress"]},
        maxItems=2,
        **UNIQUE,
    ),
]
_ServiceAccountSelector = Annotated[
    str,
    doc("Restricts the policy to pods whose service account has labels that this selector matches.", maxLength=1024),
]
_Hints = Annotated[
    tuple[str, ...],
    doc(
        "Hints for the calculation. AssumeNeededOnEveryNode: prepare the policy on every node before an endpoint needs"
        " it.",
        items={"enum": ["AssumeNeededOnEveryNode"]},
        **UNIQUE,
    ),
]
_NamespacedSelector = Annotated[
    str, doc("Which endpoints of the namespace the policy applies to; all of them if empty.", maxLength=1024)
]
_GlobalSelector = Annotated[
    str,
    doc("Which endpoints the policy applies to, pods and host endpoints alike; all of them if empty.", maxLength=1024),
]
_NamespaceSelector = Annotated[
    str, doc("Restricts the policy to pods in namespaces whose labels this selector matches.", maxLength=1024)
]
_DoNotTrack = Annotated[
    bool,
    doc(
        "Apply the rules before connection tracking, and do not track what they allow; replies then need rules of"
        " their own. For host endpoints; needs applyOnForward."
    ),
]
_PreDNAT = Annotated[
    bool,
    doc("Apply the rules before destination addresses are translated. Ingress only; needs applyOnForward."),
]
_ApplyOnForward = Annotated[
    bool, doc("Apply the rules also to traffic that a host endpoint forwards, not only to what it ends or begins.")
]
_StagedAction = Annotated[
    str,
    doc(
        "What enforcing this policy would do: Set creates or replaces the enforced policy of the same name, Delete"
        " removes it; Learn and Ignore mark policies that are still being made up, or are put aside.",
        enum=STAGED_ACTIONS,
        default="Set",
    ),
]


class NetworkPolicySpec(ApiStruct, frozen=True, kw_only=True):
    tier: _Tier = ""
    order: _Order = None
    selector: _NamespacedSelector = ""
    service_account_selector: _ServiceAccountSelector = ""
    types: _Types = ()
    ingress: _Ingress = ()
    egress: _Egress = ()
    performance_hints: _Hints = ()


class GlobalNetworkPolicySpec(ApiStruct, frozen=True, kw_only=True):
    tier: _Tier = ""
    order: _Order = None
    selector: _GlobalSelector = ""
    namespace_selector: _NamespaceSelector = ""
    service_account_selector: _ServiceAccountSelector = ""
    types: _Types = ()
    ingress: _Ingress = ()
    egress: _Egress = ()
    do_not_track: _DoNotTrack = False
    pre_dnat: _PreDNAT = False
    apply_on_forward: _ApplyOnForward = False
    performance_hints: _Hints = ()


class StagedNetworkPolicySpec(ApiStruct, frozen=True, kw_only=True):
    staged_action: _StagedAction = ""
    tier: _Tier = ""
    order: _Order = None
    selector: _NamespacedSelector = ""
    service_account_selector: _ServiceAccountSelector = ""
    types: _Types = ()
    ingress: _Ingress = ()
    egress: _Egress = ()
    performance_hints: _Hints = ()


class StagedGlobalNetworkPolicySpec(ApiStruct, frozen=True, kw_only=True):
    staged_action: _StagedAction = ""
    tier: _Tier = ""
    order: _Order = None
    selector: _GlobalSelector = ""
    namespace_selector: _NamespaceSelector = ""
    service_account_selector: _ServiceAccountSelector = ""
    types: _Types = ()
    ingress: _Ingress = ()
    egress: _Egress = ()
    do_not_track: _DoNotTrack = False
    pre_dnat: _PreDNAT = False
    apply_on_forward: _ApplyOnForward = False
    performance_hints: _Hints = ()


class StagedKubernetesNetworkPolicySpec(ApiStruct, frozen=True, kw_only=True):
    staged_action: _StagedAction = ""
    pod_selector: Annotated[
        LabelSelector, doc("Which pods of the namespace the policy applies to; all of them if empty.")
    ] = LabelSelector()
    ingress: Annotated[
        tuple[NetworkPolicyIngressRule, ...],
        doc("Traffic to the selected pods that is allowed: whatever any of these rules matches."),
    ] = ()
    egress: Annotated[
        tuple[NetworkPolicyEgressRule, ...],
        doc("Traffic from the selected pods that is allowed: whatever any of these rules matches."),
    ] = ()
    policy_types: Annotated[
        tuple[str, ...],
        doc(
            "Directions that the policy governs. If absent: Ingress, and Egress too if there is an egress section.",
            items={"enum": ["Ingress", "Egress"]},
            maxItems=2,
            **UNIQUE,
        ),
    ] = ()


class NetworkPolicy(Object, frozen=True, kw_only=True):
    """A network policy for the pods and other workloads of one namespace."""

    api_version: str = constant("projectcalico.org/v3")
    kind: str = constant("NetworkPolicy")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[NetworkPolicySpec, doc("Which endpoints the policy applies to, and its rules.")] = (
        NetworkPolicySpec()
    )


class GlobalNetworkPolicy(Object, frozen=True, kw_only=True):
    """A network policy for endpoints of the whole cluster: pods of any namespace and host endpoints."""

    api_version: str = constant("projectcalico.org/v3")
    kind: str = constant("GlobalNetworkPolicy")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[GlobalNetworkPolicySpec, doc("Which endpoints the policy applies to, and its rules.")] = (
        GlobalNetworkPolicySpec()
    )


class StagedNetworkPolicy(Object, frozen=True, kw_only=True):
    """A NetworkPolicy that is not enforced; its effect can be studied before it is."""

    api_version: str = constant("projectcalico.org/v3")
    kind: str = constant("StagedNetworkPolicy")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[StagedNetworkPolicySpec, doc("The policy as it would be enforced, and what to do with it.")] = (
        StagedNetworkPolicySpec()
    )


class StagedGlobalNetworkPolicy(Object, frozen=True, kw_only=True):
    """A GlobalNetworkPolicy that is not enforced; its effect can be studied before it is."""

    api_version: str = constant("projectcalico.org/v3")
    kind: str = constant("StagedGlobalNetworkPolicy")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[
        StagedGlobalNetworkPolicySpec, doc("The policy as it would be enforced, and what to do with it.")
    ] = StagedGlobalNetworkPolicySpec()


class StagedKubernetesNetworkPolicy(Object, frozen=True, kw_only=True):
    """A Kubernetes NetworkPolicy that is not enforced; its effect can be studied before it is."""

    api_version: str = constant("projectcalico.org/v3")
    kind: str = constant("StagedKubernetesNetworkPolicy")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[
        StagedKubernetesNetworkPolicySpec, doc("The policy as it would be enforced, and what to do with it.")
    ] = StagedKubernetesNetworkPolicySpec()


AnyPolicySpec = NetworkPolicySpec | GlobalNetworkPolicySpec | StagedNetworkPolicySpec | StagedGlobalNetworkPolicySpec
AnyPolicy = NetworkPolicy | GlobalNetworkPolicy | StagedNetworkPolicy | StagedGlobalNetworkPolicy


def is_zero(value: Any) -> bool:
    """Whether a field's value is the one it has when absent."""
    return value is None or value == () or value == {} or value == "" or value is False
