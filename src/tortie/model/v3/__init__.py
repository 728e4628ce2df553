"""The kinds of projectcalico.org/v3 and of Calico's other groups as typed structs.

For everyone who handles such objects. In: JSON of the API, through msgspec. Out: one struct for each kind; the parts
they are made of live in the modules beside this one, grouped by subject.
"""

from tortie.model.v3.alerts import (
    AlertException,
    GlobalAlert,
    GlobalAlertTemplate,
    GlobalThreatFeed,
    SecurityEventWebhook,
)
from tortie.model.v3.bgp import BGPConfiguration, BGPFilter, BGPPeer
from tortie.model.v3.captures import DeepPacketInspection, PacketCapture
from tortie.model.v3.cluster import ClusterInformation, KubeControllersConfiguration
from tortie.model.v3.clusters import LicenseKey, LicenseUsageReport, ManagedCluster, RemoteClusterConfiguration
from tortie.model.v3.endpoints import HostEndpoint, Profile, WorkloadEndpoint
from tortie.model.v3.felix import FelixConfiguration
from tortie.model.v3.gateways import BFDConfiguration, EgressGatewayPolicy, ExternalNetwork
from tortie.model.v3.ipam import BlockAffinity, IPAMBlock, IPAMConfiguration, IPAMHandle, IPPool, IPReservation
from tortie.model.v3.networks import Network
from tortie.model.v3.networkset import GlobalNetworkSet, NetworkSet
from tortie.model.v3.node import CalicoNode, EarlyNetworkConfiguration
from tortie.model.v3.nodestatus import CalicoNodeStatus
from tortie.model.v3.policy import (
    EntityRule,
    GlobalNetworkPolicy,
    NetworkPolicy,
    Rule,
    StagedGlobalNetworkPolicy,
    StagedKubernetesNetworkPolicy,
    StagedNetworkPolicy,
)
from tortie.model.v3.recommendations import PolicyRecommendationScope
from tortie.model.v3.reports import GlobalReport, GlobalReportType
from tortie.model.v3.reviews import AuthenticationReview, AuthorizationReview
from tortie.model.v3.tier import Tier
from tortie.model.v3.userinterface import UISettings, UISettingsGroup
from tortie.model.v3.waf import (
    GlobalWAFPlugin,
    GlobalWAFPolicy,
    GlobalWAFValidationPolicy,
    WAFPlugin,
    WAFPolicy,
    WAFValidationPolicy,
)

__all__ = [
    "AlertException",
    "AuthenticationReview",
    "AuthorizationReview",
    "BFDConfiguration",
    "BGPConfiguration",
    "BGPFilter",
    "BGPPeer",
    "BlockAffinity",
    "CalicoNode",
    "CalicoNodeStatus",
    "ClusterInformation",
    "DeepPacketInspection",
    "EarlyNetworkConfiguration",
    "EgressGatewayPolicy",
    "EntityRule",
    "ExternalNetwork",
    "FelixConfiguration",
    "GlobalAlert",
    "GlobalAlertTemplate",
    "GlobalNetworkPolicy",
    "GlobalNetworkSet",
    "GlobalReport",
    "GlobalReportType",
    "GlobalThreatFeed",
    "GlobalWAFPlugin",
    "GlobalWAFPolicy",
    "GlobalWAFValidationPolicy",
    "HostEndpoint",
    "IPAMBlock",
    "IPAMConfiguration",
    "IPAMHandle",
    "IPPool",
    "IPReservation",
    "KubeControllersConfiguration",
    "LicenseKey",
    "LicenseUsageReport",
    "ManagedCluster",
    "Network",
    "NetworkPolicy",
    "NetworkSet",
    "PacketCapture",
    "PolicyRecommendationScope",
    "Profile",
    "RemoteClusterConfiguration",
    "Rule",
    "SecurityEventWebhook",
    "StagedGlobalNetworkPolicy",
    "StagedKubernetesNetworkPolicy",
    "StagedNetworkPolicy",
    "Tier",
    "UISettings",
    "UISettingsGroup",
    "WAFPlugin",
    "WAFPolicy",
    "WAFValidationPolicy",
    "WorkloadEndpoint",
]
