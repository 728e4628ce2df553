"""What a REST resource has besides its struct: short names, columns, sub-resources, storage names, verbs.

For the API servers, the generator of CustomResourceDefinitions and the command lines. In: nothing; the tables are
spec/resources.md 1.1 and spec/apiserver-controllers-clis.md 1.4. Out: one immutable `Facts` for each plural, which
`tortie.model.catalog` hangs on the resources.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

EVERY_VERB = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
CREATE_ONLY = ("create",)
NO_DELETE = tuple(verb for verb in EVERY_VERB if not verb.startswith("delete"))


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `kubectl get`, as a CustomResourceDefinition writes it."""

    name: str
    path: str
    type: str = "string"

    def as_definition(self) -> dict[str, Any]:
        return {"name": self.name, "type": self.type, "jsonPath": self.path}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """short: short names in native mode; aggregated_short: in the aggregated server. singleton: the only allowed name.

    selectable: fields besides the name and namespace that field selectors may use. access: pseudo sub-resources that
    exist for RBAC alone. storage_kind, storage_plural: names in group crd.projectcalico.org/v1 if they differ.
    aggregated: whether the aggregated server has the kind. stored: False for reviews, which are answered and forgotten.
    """

    short: tuple[str, ...] = ()
    aggregated_short: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    status: bool = False
    selectable: tuple[str, ...] = ()
    access: tuple[str, ...] = ()
    singleton: str = ""
    verbs: tuple[str, ...] = EVERY_VERB
    storage_kind: str = ""
    storage_plural: str = ""
    aggregated: bool = True
    stored: bool = True
    enterprise: bool = False


NO_FACTS = Facts()
AGE = Column("Age", ".metadata.creationTimestamp", "date")
_TIER = Column("Tier", ".spec.tier")
_ORDER = Column("Order", ".spec.order", "number")


def _condition(name: str, type_: str, field: str = "status") -> Column:
    return Column(name, f'.status.conditions[?(@.type=="{type_}")].{field}')


_OPEN_SOURCE: dict[str, Facts] = {
    "networkpolicies": Facts(
        short=("cnp", "caliconetworkpolicy"),
        aggregated_short=("cnp", "caliconetworkpolicy", "caliconetworkpolicies"),
        columns=(_TIER, _ORDER),
        selectable=("spec.tier",),
    ),
    "globalnetworkpolicies": Facts(
        short=("gnp", "cgnp"),
        aggregated_short=("gnp", "cgnp", "calicoglobalnetworkpolicies"),
        columns=(_TIER, _ORDER, AGE),
        selectable=("spec.tier",),
    ),
    "stagednetworkpolicies": Facts(
        short=("scnp", "snp"), aggregated_short=("snp",), columns=(_TIER, _ORDER), selectable=("spec.tier",)
    ),
    "stagedglobalnetworkpolicies": Facts(
        short=("sgnp",), aggregated_short=("sgnp",), columns=(_TIER, _ORDER), selectable=("spec.tier",)
    ),
    "stagedkubernetesnetworkpolicies": Facts(short=("sknp",), aggregated_short=("sknp",)),
    "tiers": Facts(
        columns=(
            _ORDER,
            Column("DefaultAction", ".spec.defaultAction"),
            _condition("Status", "Ready", "reason"),
        ),
        status=True,
    ),
    "networksets": Facts(aggregated_short=("netsets",)),
    "globalnetworksets": Facts(short=("gns",), columns=(AGE,)),
    "hostendpoints": Facts(
        short=("hep", "heps"),
        aggregated_short=("hep", "heps"),
        columns=(Column("Node", ".spec.node"), Column("Interface", ".spec.interfaceName")),
    ),
    "profiles": Facts(verbs=("get", "list", "watch")),
    "workloadendpoints": Facts(short=("wep", "weps"), aggregated=False),
    "nodes": Facts(verbs=("get", "list", "update", "patch"), aggregated=False, stored=False),
    "ippools": Facts(
        columns=(
            Column("CIDR", ".spec.cidr"),
            Column("VXLAN", ".spec.vxlanMode"),
            Column("IPIP", ".spec.ipipMode"),
            Column("NAT", ".spec.natOutgoing", "boolean"),
            _condition("Allocatable", "Allocatable"),
            AGE,
        ),
        status=True,
    ),
    "ipreservations": Facts(),
    "ipamconfigurations": Facts(
        short=("ipamconfig", "ipamconfigs"),
        aggregated_short=("ipamconfig",),
        columns=(
            Column("StrictAffinity", ".spec.strictAffinity", "boolean"),
            Column("MaxBlocksPerHost", ".spec.maxBlocksPerHost", "integer"),
            Column("AutoAllocateBlocks", ".spec.autoAllocateBlocks", "boolean"),
        ),
        singleton="default",
        storage_kind="IPAMConfig",
        storage_plural="ipamconfigs",
    ),
    "blockaffinities": Facts(
        short=("affinity", "affinities"),
        aggregated_short=("blockaffinity", "affinity", "affinities"),
        columns=(Column("CIDR", ".spec.cidr"), Column("Node", ".spec.node"), Column("Type", ".spec.type")),
    ),
    "ipamblocks": Facts(
        columns=(
            Column("CIDR", ".spec.cidr"),
            Column("Affinity", ".spec.affinity"),
            Column("ClaimTime", ".spec.affinityClaimTime", "date"),
        ),
        aggregated=False,
    ),
    "ipamhandles": Facts(columns=(Column("ID", ".spec.handleID"),), aggregated=False),
    "bgpconfigurations": Facts(short=("bgpconfig", "bgpconfigs"), aggregated_short=("bgpconfig", "bgpconfigs")),
    "bgppeers": Facts(
        columns=(
            Column("Node Selector", ".spec.nodeSelector"),
            Column("Node", ".spec.node"),
            Column("Local ASN", ".spec.localASNumber", "integer"),
            Column("Peer Selector", ".spec.peerSelector"),
            Column("Peer IP", ".spec.peerIP"),
            Column("Peer ASN", ".spec.asNumber", "integer"),
        )
    ),
    "bgpfilters": Facts(),
    "caliconodestatuses": Facts(
        aggregated_short=("caliconodestatus",),
        columns=(Column("Node", ".spec.node"), Column("Classes", ".spec.classes")),
        status=True,
    ),
    "clusterinformations": Facts(
        short=("clusterinfo", "clusterinfos"),
        aggregated_short=("clusterinfo",),
        columns=(
            Column("Version", ".spec.calicoVersion"),
            Column("Ready", ".spec.datastoreReady", "boolean"),
            Column("Types", ".spec.clusterType"),
        ),
        singleton="default",
    ),
    "felixconfigurations": Facts(aggregated_short=("felixconfig", "felixconfigs")),
    "kubecontrollersconfigurations": Facts(
        short=("kcc", "kccs"), aggregated_short=("kcconfig",), status=True, singleton="default"
    ),
}


def _enterprise(**facts: Any) -> Facts:
    return Facts(enterprise=True, **facts)


_ENTERPRISE: dict[str, Facts] = {
    "alertexceptions": _enterprise(status=True),
    "bfdconfigurations": _enterprise(),
    "deeppacketinspections": _enterprise(status=True),
    "egressgatewaypolicies": _enterprise(),
    "externalnetworks": _enterprise(),
    "globalalerts": _enterprise(status=True),
    "globalalerttemplates": _enterprise(),
    "globalreports": _enterprise(status=True),
    "globalreporttypes": _enterprise(),
    "globalthreatfeeds": _enterprise(status=True),
    "licensekeys": _enterprise(
        columns=(
            Column("Expiry", ".status.expiry", "date"),
            Column("Grace-Period", ".status.gracePeriod"),
            Column("Max-Nodes", ".status.maxnodes", "integer"),
            Column("Max-Cores", ".status.maxcores", "integer"),
            _condition("Valid", "Valid"),
            AGE,
        ),
        status=True,
        singleton="default",
        verbs=NO_DELETE,
    ),
    "managedclusters": _enterprise(columns=(_condition("Connected", "ManagedClusterConnected"), AGE), status=True),
    "networks": _enterprise(status=True),
    "packetcaptures": _enterprise(status=True, access=("files",)),
    "policyrecommendationscopes": _enterprise(status=True, singleton="default"),
    "remoteclusterconfigurations": _enterprise(),
    "securityeventwebhooks": _enterprise(status=True),
    "uisettings": _enterprise(selectable=("spec.group", "spec.user")),
    "uisettingsgroups": _enterprise(access=("data",)),
    "authenticationreviews": _enterprise(verbs=CREATE_ONLY, stored=False),
    "authorizationreviews": _enterprise(verbs=CREATE_ONLY, stored=False),
    "earlynetworkconfigurations": _enterprise(verbs=(), aggregated=False, stored=False),
    "licenseusagereports": _enterprise(aggregated=False),
    "globalwafplugins": _enterprise(short=("gwafplugin",), status=True, aggregated=False),
    "globalwafpolicies": _enterprise(short=("gwafp",), status=True, singleton="default", aggregated=False),
    "globalwafvalidationpolicies": _enterprise(short=("gwafvp",), status=True, aggregated=False),
    "wafplugins": _enterprise(short=("wafplugin",), status=True, aggregated=False),
    "wafpolicies": _enterprise(short=("wafp",), status=True, aggregated=False),
    "wafvalidationpolicies": _enterprise(short=("wafvp",), status=True, aggregated=False),
}

CLUSTER_NETWORK_POLICY = Facts(
    short=("cnp",),
    columns=(Column("Tier", ".spec.tier"), Column("Priority", ".spec.priority", "integer"), AGE),
    status=True,
    aggregated=False,
)
"""The one kind that the API server has for policy beyond Calico's groups and Kubernetes' own."""

FACTS: Mapping[str, Facts] = MappingProxyType({**_OPEN_SOURCE, **_ENTERPRISE})
"""plural -> facts, for every kind of Calico's groups"""

STORAGE_FIELDS: Mapping[str, Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "ipamconfigurations": {
            "spec.maxBlocksPerHost": {
                "type": "integer",
                "description": "How many blocks a node may own; 0 means 20.",
                "minimum": 0,
                "maximum": 2_147_483_647,
                "default": 0,
            }
        },
        "blockaffinities": {
            "spec.deleted": {
                "type": "string",
                "description": "The text true while the affinity is being deleted, else the text false.",
                "enum": ["true", "false"],
                "default": "false",
            }
        },
    }
)
"""plural -> path -> schema, for the fields that differ in group crd.projectcalico.org/v1"""
