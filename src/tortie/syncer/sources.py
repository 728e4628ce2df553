"""Which resources a consumer needs and how each becomes a dataplane update.

In: the catalogue and the conversions of `model`. Out: tables of (resource, conversion) for `Syncer`
(spec/bgp-typha.md C.1).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tortie.model import catalog, convert
from tortie.model.dataplane import Update
from tortie.model.resource import Resource


@dataclass(frozen=True, slots=True)
class Source:
    """convert: an object as (key, value); value None when it has no place in the dataplane. May raise: then the
    object counts as absent."""

    resource: Resource[Any]
    convert: Callable[[Any], Update]


FELIX: tuple[Source, ...] = (
    Source(catalog.CLUSTER_INFORMATIONS, convert.cluster_information),
    Source(catalog.FELIX_CONFIGURATIONS, convert.felix_configuration),
    Source(catalog.BGP_CONFIGURATIONS, convert.bgp_configuration),
    Source(catalog.NODES, convert.node),
    Source(catalog.IP_POOLS, convert.ip_pool),
    Source(catalog.IPAM_BLOCKS, convert.block),
    Source(catalog.TIERS, convert.tier),
    Source(catalog.NAMESPACES, convert.namespace_to_profile),
    Source(catalog.SERVICE_ACCOUNTS, convert.service_account_to_profile),
    Source(catalog.PODS, convert.pod_to_workload_endpoint),
    Source(catalog.HOST_ENDPOINTS, convert.host_endpoint),
    Source(catalog.NETWORK_SETS, convert.network_set),
    Source(catalog.GLOBAL_NETWORK_SETS, convert.global_network_set),
    Source(catalog.SERVICES, convert.service),
    Source(catalog.ENDPOINT_SLICES, convert.endpoint_slice),
    Source(catalog.KUBERNETES_NETWORK_POLICIES, convert.kubernetes_network_policy),
    Source(catalog.CLUSTER_NETWORK_POLICIES, convert.cluster_network_policy),
    Source(catalog.NETWORK_POLICIES, convert.network_policy),
    Source(catalog.GLOBAL_NETWORK_POLICIES, convert.global_network_policy),
    Source(catalog.STAGED_NETWORK_POLICIES, convert.staged_network_policy),
    Source(catalog.STAGED_GLOBAL_NETWORK_POLICIES, convert.staged_global_network_policy),
    Source(catalog.STAGED_KUBERNETES_NETWORK_POLICIES, convert.staged_kubernetes_network_policy),
)
"""What Felix works on."""

BUILTIN: tuple[Update, ...] = (convert.default_allow_profile(),)
"""What exists for Felix without an object in the API."""
