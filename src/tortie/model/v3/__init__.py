"""The kinds of projectcalico.org/v3 as typed structs.

For everyone who handles such objects. In: JSON of the API, through msgspec. Out: one struct for each kind; the parts
they are made of live in the modules beside this one, grouped by subject.
"""

from tortie.model.v3.bgp import BGPConfiguration, BGPFilter, BGPPeer
from tortie.model.v3.cluster import ClusterInformation, KubeControllersConfiguration
from tortie.model.v3.endpoints import HostEndpoint, Profile, WorkloadEndpoint
from tortie.model.v3.felix import FelixConfiguration
from tortie.model.v3.ipam import BlockAffinity, IPAMBlock, IPAMConfiguration, IPAMHandle, IPPool, IPReservation
from tortie.model.v3.networkset import GlobalNetworkSet, NetworkSet
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
from tortie.model.v3.tier import Tier

__all__ = [
    "BGPConfiguration",
    "BGPFilter",
    "BGPPeer",
    "BlockAffinity",
    "CalicoNodeStatus",
    "ClusterInformation",
    "EntityRule",
    "FelixConfiguration",
    "GlobalNetworkPolicy",
    "GlobalNetworkSet",
    "HostEndpoint",
    "IPAMBlock",
    "IPAMConfiguration",
    "IPAMHandle",
    "IPPool",
    "IPReservation",
    "KubeControllersConfiguration",
    "NetworkPolicy",
    "NetworkSet",
    "Profile",
    "Rule",
    "StagedGlobalNetworkPolicy",
    "StagedKubernetesNetworkPolicy",
    "StagedNetworkPolicy",
    "Tier",
    "WorkloadEndpoint",
]
