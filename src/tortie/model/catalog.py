"""The known resources of the API, by the names that the rest of the house uses.

For the API client, the caches, the API server and the command lines. In: the structs of `k8s` and `v3`. Out: one
`Resource` constant for each, and the tuple `CALICO` of those in group projectcalico.org.
"""

from typing import Any, TypeVar

from tortie.model import k8s, v3
from tortie.model.resource import Resource

T = TypeVar("T")

CALICO_GROUP = "projectcalico.org"


def _kubernetes(
    group_version: str, kind: str, plural: str, type_: type[T], *short_names: str, namespaced: bool = True
) -> Resource[T]:
    group, _, version = group_version.rpartition("/")
    return Resource(
        group=group,
        version=version,
        kind=kind,
        plural=plural,
        namespaced=namespaced,
        type=type_,
        singular=kind.lower(),
        short_names=short_names,
    )


def _calico(kind: str, plural: str, type_: type[T], *short_names: str, namespaced: bool = False) -> Resource[T]:
    return _kubernetes(f"{CALICO_GROUP}/v3", kind, plural, type_, *short_names, namespaced=namespaced)


# --- Kubernetes kinds with a struct of their own ------------------------------------------------------------------

PODS = _kubernetes("v1", "Pod", "pods", k8s.Pod, "po")
NODES = _kubernetes("v1", "Node", "nodes", k8s.Node, "no", namespaced=False)
NAMESPACES = _kubernetes("v1", "Namespace", "namespaces", k8s.Namespace, "ns", namespaced=False)
SERVICE_ACCOUNTS = _kubernetes("v1", "ServiceAccount", "serviceaccounts", k8s.ServiceAccount, "sa")
SERVICES = _kubernetes("v1", "Service", "services", k8s.Service, "svc")
ENDPOINT_SLICES = _kubernetes("discovery.k8s.io/v1", "EndpointSlice", "endpointslices", k8s.EndpointSlice)
KUBERNETES_NETWORK_POLICIES = _kubernetes(
    "networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", k8s.KubernetesNetworkPolicy, "netpol"
)

# --- Kubernetes kinds handled as plain JSON -----------------------------------------------------------------------

_JSON = dict[str, Any]

CONFIG_MAPS = _kubernetes("v1", "ConfigMap", "configmaps", _JSON, "cm")
SECRETS = _kubernetes("v1", "Secret", "secrets", _JSON)
PERSISTENT_VOLUME_CLAIMS = _kubernetes("v1", "PersistentVolumeClaim", "persistentvolumeclaims", _JSON, "pvc")
ENDPOINTS = _kubernetes("v1", "Endpoints", "endpoints", _JSON, "ep")
EVENTS = _kubernetes("v1", "Event", "events", _JSON, "ev")
LEASES = _kubernetes("coordination.k8s.io/v1", "Lease", "leases", _JSON)
DEPLOYMENTS = _kubernetes("apps/v1", "Deployment", "deployments", _JSON, "deploy")
REPLICA_SETS = _kubernetes("apps/v1", "ReplicaSet", "replicasets", _JSON, "rs")
DAEMON_SETS = _kubernetes("apps/v1", "DaemonSet", "daemonsets", _JSON, "ds")
STATEFUL_SETS = _kubernetes("apps/v1", "StatefulSet", "statefulsets", _JSON, "sts")
CONTROLLER_REVISIONS = _kubernetes("apps/v1", "ControllerRevision", "controllerrevisions", _JSON)
JOBS = _kubernetes("batch/v1", "Job", "jobs", _JSON)
CRON_JOBS = _kubernetes("batch/v1", "CronJob", "cronjobs", _JSON, "cj")

# --- projectcalico.org/v3 -----------------------------------------------------------------------------------------

TIERS = _calico("Tier", "tiers", v3.Tier)
NETWORK_POLICIES = _calico(
    "NetworkPolicy", "networkpolicies", v3.NetworkPolicy, "cnp", "caliconetworkpolicy", namespaced=True
)
GLOBAL_NETWORK_POLICIES = _calico("GlobalNetworkPolicy", "globalnetworkpolicies", v3.GlobalNetworkPolicy, "gnp", "cgnp")
STAGED_NETWORK_POLICIES = _calico(
    "StagedNetworkPolicy", "stagednetworkpolicies", v3.StagedNetworkPolicy, "scnp", "snp", namespaced=True
)
STAGED_GLOBAL_NETWORK_POLICIES = _calico(
    "StagedGlobalNetworkPolicy", "stagedglobalnetworkpolicies", v3.StagedGlobalNetworkPolicy, "sgnp"
)
STAGED_KUBERNETES_NETWORK_POLICIES = _calico(
    "StagedKubernetesNetworkPolicy",
    "stagedkubernetesnetworkpolicies",
    v3.StagedKubernetesNetworkPolicy,
    "sknp",
    namespaced=True,
)
NETWORK_SETS = _calico("NetworkSet", "networksets", v3.NetworkSet, "netsets", namespaced=True)
GLOBAL_NETWORK_SETS = _calico("GlobalNetworkSet", "globalnetworksets", v3.GlobalNetworkSet, "gns")
HOST_ENDPOINTS = _calico("HostEndpoint", "hostendpoints", v3.HostEndpoint, "hep", "heps")
PROFILES = _calico("Profile", "profiles", v3.Profile)
WORKLOAD_ENDPOINTS = _calico(
    "WorkloadEndpoint", "workloadendpoints", v3.WorkloadEndpoint, "wep", "weps", namespaced=True
)
IP_POOLS = _calico("IPPool", "ippools", v3.IPPool)
IP_RESERVATIONS = _calico("IPReservation", "ipreservations", v3.IPReservation)
IPAM_CONFIGURATIONS = _calico(
    "IPAMConfiguration", "ipamconfigurations", v3.IPAMConfiguration, "ipamconfig", "ipamconfigs"
)
IPAM_BLOCKS = _calico("IPAMBlock", "ipamblocks", v3.IPAMBlock)
IPAM_HANDLES = _calico("IPAMHandle", "ipamhandles", v3.IPAMHandle)
BLOCK_AFFINITIES = _calico("BlockAffinity", "blockaffinities", v3.BlockAffinity, "affinity", "affinities")
BGP_CONFIGURATIONS = _calico("BGPConfiguration", "bgpconfigurations", v3.BGPConfiguration, "bgpconfig", "bgpconfigs")
BGP_PEERS = _calico("BGPPeer", "bgppeers", v3.BGPPeer)
BGP_FILTERS = _calico("BGPFilter", "bgpfilters", v3.BGPFilter)
FELIX_CONFIGURATIONS = _calico(
    "FelixConfiguration", "felixconfigurations", v3.FelixConfiguration, "felixconfig", "felixconfigs"
)
CLUSTER_INFORMATIONS = _calico(
    "ClusterInformation", "clusterinformations", v3.ClusterInformation, "clusterinfo", "clusterinfos"
)
CALICO_NODE_STATUSES = _calico("CalicoNodeStatus", "caliconodestatuses", v3.CalicoNodeStatus)
KUBE_CONTROLLERS_CONFIGURATIONS = _calico(
    "KubeControllersConfiguration",
    "kubecontrollersconfigurations",
    v3.KubeControllersConfiguration,
    "kcc",
    "kccs",
    "kcconfig",
)

CALICO: tuple[Resource[Any], ...] = (
    TIERS,
    NETWORK_POLICIES,
    GLOBAL_NETWORK_POLICIES,
    STAGED_NETWORK_POLICIES,
    STAGED_GLOBAL_NETWORK_POLICIES,
    STAGED_KUBERNETES_NETWORK_POLICIES,
    NETWORK_SETS,
    GLOBAL_NETWORK_SETS,
    HOST_ENDPOINTS,
    IP_POOLS,
    IP_RESERVATIONS,
    IPAM_CONFIGURATIONS,
    IPAM_BLOCKS,
    IPAM_HANDLES,
    BLOCK_AFFINITIES,
    BGP_CONFIGURATIONS,
    BGP_PEERS,
    BGP_FILTERS,
    FELIX_CONFIGURATIONS,
    CLUSTER_INFORMATIONS,
    CALICO_NODE_STATUSES,
    KUBE_CONTROLLERS_CONFIGURATIONS,
)
"""What an API server stores and serves. Profile and WorkloadEndpoint are not in it: both are derived."""

WITH_STATUS: frozenset[str] = frozenset({"tiers", "ippools", "caliconodestatuses", "kubecontrollersconfigurations"})
"""Plurals of the CALICO resources that have a status sub-resource."""

POLICIES: tuple[Resource[Any], ...] = (
    NETWORK_POLICIES,
    GLOBAL_NETWORK_POLICIES,
    STAGED_NETWORK_POLICIES,
    STAGED_GLOBAL_NETWORK_POLICIES,
)
"""The kinds that name their tier, carry its label and can be selected by spec.tier."""
