"""API objects turned into what the dataplane works on (spec/resources.md 4).

For the syncer and the command-line tools. In: typed objects of the API. Out: one `Update` for each; its value is None
when the object has no place in the dataplane, and its errors say what had to be left out.
"""

from tortie.model.convert.addresses import block, global_network_set, ip_pool, network_set
from tortie.model.convert.cluster_policy import cluster_network_policy
from tortie.model.convert.configuration import bgp_configuration, cluster_information, felix_configuration
from tortie.model.convert.kubernetes_policy import kubernetes_network_policy, staged_kubernetes_network_policy
from tortie.model.convert.nodes import node
from tortie.model.convert.policies import (
    global_network_policy,
    network_policy,
    staged_global_network_policy,
    staged_network_policy,
    tier,
)
from tortie.model.convert.profiles import (
    default_allow_profile,
    namespace_to_profile,
    profile,
    service_account_to_profile,
)
from tortie.model.convert.services import endpoint_slice, service
from tortie.model.convert.workloads import host_endpoint, pod_to_workload_endpoint

__all__ = [
    "bgp_configuration",
    "block",
    "cluster_information",
    "cluster_network_policy",
    "default_allow_profile",
    "endpoint_slice",
    "felix_configuration",
    "global_network_policy",
    "global_network_set",
    "host_endpoint",
    "ip_pool",
    "kubernetes_network_policy",
    "namespace_to_profile",
    "network_policy",
    "network_set",
    "node",
    "pod_to_workload_endpoint",
    "profile",
    "service",
    "service_account_to_profile",
    "staged_global_network_policy",
    "staged_kubernetes_network_policy",
    "staged_network_policy",
    "tier",
]
