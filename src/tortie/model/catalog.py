"""The known resources of the API, by the names that the rest of the house uses.

For the API client, the caches, the API server and the command lines. In: the structs of `k8s` and `v3`, and the facts
of `facts`. Out: one `Resource` constant for each, and the tuple `CALICO` of those in Calico's own groups.
"""

from dataclasses import replace
from typing import Any, TypeVar

from tortie.model import k8s, v3
from tortie.model.cluster_policy import ClusterNetworkPolicy
from tortie.model.facts import CLUSTER_NETWORK_POLICY, FACTS
from tortie.model.resource import Resource

T = TypeVar("T")

CALICO_GROUP = "projectcalico.org"
WAF_GROUP_VERSION = "applicationlayer.projectcalico.org/v3"


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


def _calico(
    kind: str, plural: str, type_: type[T], *, namespaced: bool = False, group_version: str = f"{CALICO_GROUP}/v3"
) -> Resource[T]:
    facts = FACTS[plural]
    resource = _kubernetes(group_version, kind, plural, type_, *facts.short, namespaced=namespaced)
    return replace(resource, facts=facts)


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

CLUSTER_NETWORK_POLICIES = replace(
    _kubernetes(
        "policy.networking.k8s.io/v1alpha2",
        "ClusterNetworkPolicy",
        "clusternetworkpolicies",
        ClusterNetworkPolicy,
        *CLUSTER_NETWORK_POLICY.short,
        namespaced=False,
    ),
    facts=CLUSTER_NETWORK_POLICY,
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
NETWORK_POLICIES = _calico("NetworkPolicy", "networkpolicies", v3.NetworkPolicy, namespaced=True)
GLOBAL_NETWORK_POLICIES = _calico("GlobalNetworkPolicy", "globalnetworkpolicies", v3.GlobalNetworkPolicy)
STAGED_NETWORK_POLICIES = _calico(
    "StagedNetworkPolicy", "stagednetworkpolicies", v3.StagedNetworkPolicy, namespaced=True
)
STAGED_GLOBAL_NETWORK_POLICIES = _calico(
    "StagedGlobalNetworkPolicy", "stagedglobalnetworkpolicies", v3.StagedGlobalNetworkPolicy
)
STAGED_KUBERNETES_NETWORK_POLICIES = _calico(
    "StagedKubernetesNetworkPolicy",
    "stagedkubernetesnetworkpolicies",
    v3.StagedKubernetesNetworkPolicy,
    namespaced=True,
)
NETWORK_SETS = _calico("NetworkSet", "networksets", v3.NetworkSet, namespaced=True)
GLOBAL_NETWORK_SETS = _calico("GlobalNetworkSet", "globalnetworksets", v3.GlobalNetworkSet)
HOST_ENDPOINTS = _calico("HostEndpoint", "hostendpoints", v3.HostEndpoint)
PROFILES = _calico("Profile", "profiles", v3.Profile)
WORKLOAD_ENDPOINTS = _calico("WorkloadEndpoint", "workloadendpoints", v3.WorkloadEndpoint, namespaced=True)
IP_POOLS = _calico("IPPool", "ippools", v3.IPPool)
IP_RESERVATIONS = _calico("IPReservation", "ipreservations", v3.IPReservation)
IPAM_CONFIGURATIONS = _calico("IPAMConfiguration", "ipamconfigurations", v3.IPAMConfiguration)
IPAM_BLOCKS = _calico("IPAMBlock", "ipamblocks", v3.IPAMBlock)
IPAM_HANDLES = _calico("IPAMHandle", "ipamhandles", v3.IPAMHandle)
BLOCK_AFFINITIES = _calico("BlockAffinity", "blockaffinities", v3.BlockAffinity)
BGP_CONFIGURATIONS = _calico("BGPConfiguration", "bgpconfigurations", v3.BGPConfiguration)
BGP_PEERS = _calico("BGPPeer", "bgppeers", v3.BGPPeer)
BGP_FILTERS = _calico("BGPFilter", "bgpfilters", v3.BGPFilter)
FELIX_CONFIGURATIONS = _calico("FelixConfiguration", "felixconfigurations", v3.FelixConfiguration)
CLUSTER_INFORMATIONS = _calico("ClusterInformation", "clusterinformations", v3.ClusterInformation)
CALICO_NODE_STATUSES = _calico("CalicoNodeStatus", "caliconodestatuses", v3.CalicoNodeStatus)
KUBE_CONTROLLERS_CONFIGURATIONS = _calico(
    "KubeControllersConfiguration", "kubecontrollersconfigurations", v3.KubeControllersConfiguration
)

# --- the Enterprise edition ---------------------------------------------------------------------------------------

ALERT_EXCEPTIONS = _calico("AlertException", "alertexceptions", v3.AlertException)
BFD_CONFIGURATIONS = _calico("BFDConfiguration", "bfdconfigurations", v3.BFDConfiguration)
DEEP_PACKET_INSPECTIONS = _calico(
    "DeepPacketInspection", "deeppacketinspections", v3.DeepPacketInspection, namespaced=True
)
EGRESS_GATEWAY_POLICIES = _calico("EgressGatewayPolicy", "egressgatewaypolicies", v3.EgressGatewayPolicy)
EXTERNAL_NETWORKS = _calico("ExternalNetwork", "externalnetworks", v3.ExternalNetwork)
GLOBAL_ALERTS = _calico("GlobalAlert", "globalalerts", v3.GlobalAlert)
GLOBAL_ALERT_TEMPLATES = _calico("GlobalAlertTemplate", "globalalerttemplates", v3.GlobalAlertTemplate)
GLOBAL_REPORTS = _calico("GlobalReport", "globalreports", v3.GlobalReport)
GLOBAL_REPORT_TYPES = _calico("GlobalReportType", "globalreporttypes", v3.GlobalReportType)
GLOBAL_THREAT_FEEDS = _calico("GlobalThreatFeed", "globalthreatfeeds", v3.GlobalThreatFeed)
LICENSE_KEYS = _calico("LicenseKey", "licensekeys", v3.LicenseKey)
MANAGED_CLUSTERS = _calico("ManagedCluster", "managedclusters", v3.ManagedCluster)
NETWORKS = _calico("Network", "networks", v3.Network)
PACKET_CAPTURES = _calico("PacketCapture", "packetcaptures", v3.PacketCapture, namespaced=True)
POLICY_RECOMMENDATION_SCOPES = _calico(
    "PolicyRecommendationScope", "policyrecommendationscopes", v3.PolicyRecommendationScope
)
REMOTE_CLUSTER_CONFIGURATIONS = _calico(
    "RemoteClusterConfiguration", "remoteclusterconfigurations", v3.RemoteClusterConfiguration
)
SECURITY_EVENT_WEBHOOKS = _calico("SecurityEventWebhook", "securityeventwebhooks", v3.SecurityEventWebhook)
UI_SETTINGS_GROUPS = _calico("UISettingsGroup", "uisettingsgroups", v3.UISettingsGroup)
UI_SETTINGS = _calico("UISettings", "uisettings", v3.UISettings)
LICENSE_USAGE_REPORTS = _calico(
    "LicenseUsageReport", "licenseusagereports", v3.LicenseUsageReport, group_version="usage.tigera.io/v1"
)
GLOBAL_WAF_PLUGINS = _calico("GlobalWAFPlugin", "globalwafplugins", v3.GlobalWAFPlugin, group_version=WAF_GROUP_VERSION)
GLOBAL_WAF_POLICIES = _calico(
    "GlobalWAFPolicy", "globalwafpolicies", v3.GlobalWAFPolicy, group_version=WAF_GROUP_VERSION
)
GLOBAL_WAF_VALIDATION_POLICIES = _calico(
    "GlobalWAFValidationPolicy",
    "globalwafvalidationpolicies",
    v3.GlobalWAFValidationPolicy,
    group_version=WAF_GROUP_VERSION,
)
WAF_PLUGINS = _calico("WAFPlugin", "wafplugins", v3.WAFPlugin, namespaced=True, group_version=WAF_GROUP_VERSION)
WAF_POLICIES = _calico("WAFPolicy", "wafpolicies", v3.WAFPolicy, namespaced=True, group_version=WAF_GROUP_VERSION)
WAF_VALIDATION_POLICIES = _calico(
    "WAFValidationPolicy",
    "wafvalidationpolicies",
    v3.WAFValidationPolicy,
    namespaced=True,
    group_version=WAF_GROUP_VERSION,
)

AUTHENTICATION_REVIEWS = _calico("AuthenticationReview", "authenticationreviews", v3.AuthenticationReview)
AUTHORIZATION_REVIEWS = _calico("AuthorizationReview", "authorizationreviews", v3.AuthorizationReview)

CALICO_NODES = _calico("Node", "nodes", v3.CalicoNode)
EARLY_NETWORK_CONFIGURATIONS = _calico(
    "EarlyNetworkConfiguration", "earlynetworkconfigurations", v3.EarlyNetworkConfiguration
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
    ALERT_EXCEPTIONS,
    BFD_CONFIGURATIONS,
    DEEP_PACKET_INSPECTIONS,
    EGRESS_GATEWAY_POLICIES,
    EXTERNAL_NETWORKS,
    GLOBAL_ALERTS,
    GLOBAL_ALERT_TEMPLATES,
    GLOBAL_REPORTS,
    GLOBAL_REPORT_TYPES,
    GLOBAL_THREAT_FEEDS,
    LICENSE_KEYS,
    MANAGED_CLUSTERS,
    NETWORKS,
    PACKET_CAPTURES,
    POLICY_RECOMMENDATION_SCOPES,
    REMOTE_CLUSTER_CONFIGURATIONS,
    SECURITY_EVENT_WEBHOOKS,
    UI_SETTINGS_GROUPS,
    UI_SETTINGS,
    LICENSE_USAGE_REPORTS,
    GLOBAL_WAF_PLUGINS,
    GLOBAL_WAF_POLICIES,
    GLOBAL_WAF_VALIDATION_POLICIES,
    WAF_PLUGINS,
    WAF_POLICIES,
    WAF_VALIDATION_POLICIES,
)
"""What an API server stores and serves. Not in it are the DERIVED kinds, which are made from others or kept in files,
and REVIEWS, which are answered by the aggregated server and not stored."""

REVIEWS: tuple[Resource[Any], ...] = (AUTHENTICATION_REVIEWS, AUTHORIZATION_REVIEWS)

DERIVED: tuple[Resource[Any], ...] = (PROFILES, WORKLOAD_ENDPOINTS, CALICO_NODES, EARLY_NETWORK_CONFIGURATIONS)
"""Kinds that are made from others or kept in files, and checked all the same."""

UPSTREAM: tuple[Resource[Any], ...] = (CLUSTER_NETWORK_POLICIES,)
"""Kinds of other groups, with a CustomResourceDefinition of their own elsewhere, that are admitted like CALICO."""

WITH_STATUS: frozenset[str] = frozenset(resource.plural for resource in CALICO if resource.facts.status)
"""Plurals of the CALICO resources that have a status sub-resource."""

POLICIES: tuple[Resource[Any], ...] = (
    NETWORK_POLICIES,
    GLOBAL_NETWORK_POLICIES,
    STAGED_NETWORK_POLICIES,
    STAGED_GLOBAL_NETWORK_POLICIES,
)
"""The kinds that name their tier, carry its label and can be selected by spec.tier."""
