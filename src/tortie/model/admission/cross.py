"""Checks of an object against others: its tier must exist, pools must not overlap, tiers with policies must stay.

For whoever stores objects: the API server, and tools that check a set of manifests. In: the object as JSON, and a
function that lists the existing objects of a resource. Out: field errors.
"""

from collections.abc import Callable, Iterable
from typing import Any

from tortie.model import formats
from tortie.model.catalog import (
    EXTERNAL_NETWORKS,
    IP_POOLS,
    IPAM_BLOCKS,
    POLICIES,
    STAGED_KUBERNETES_NETWORK_POLICIES,
    TIERS,
    UI_SETTINGS,
    UI_SETTINGS_GROUPS,
)
from tortie.model.resource import Resource
from tortie.model.structural import FieldError
from tortie.model.v3.tier import BUILT_IN_TIERS, DEFAULT_TIER

Object = dict[str, Any]
Lister = Callable[[Resource[Any]], Iterable[Object]]

_TIERED = frozenset(resource.plural for resource in POLICIES)


def cross_check(resource: Resource[Any], obj: Object, lister: Lister) -> list[FieldError]:
    """What is wrong with an admitted object in view of the others. lister: existing objects, this one included."""
    if resource.plural in _TIERED:
        return _tier_exists(obj["spec"].get("tier") or DEFAULT_TIER, "spec.tier", lister)
    if resource.plural == STAGED_KUBERNETES_NETWORK_POLICIES.plural:
        return _tier_exists(DEFAULT_TIER, "spec", lister)
    if resource.plural == IP_POOLS.plural:
        return _pool_fits(obj, lister)
    if resource.plural == UI_SETTINGS.plural:
        group = obj["spec"].get("group", "")
        if not any(other["metadata"]["name"] == group for other in lister(UI_SETTINGS_GROUPS)):
            return [FieldError("spec.group", group, f"UISettingsGroup {group} does not exist")]
    if resource.plural == EXTERNAL_NETWORKS.plural:
        return _table_is_free(obj, lister)
    return []


def _tier_exists(name: str, path: str, lister: Lister) -> list[FieldError]:
    tiers = {tier["metadata"]["name"]: tier for tier in lister(TIERS)}
    if name not in tiers:
        known = ", ".join(sorted(tiers)) or "none"
        return [FieldError(path, name, f"tier {name} does not exist; the existing tiers are: {known}")]
    if tiers[name]["metadata"].get("deletionTimestamp"):
        return [FieldError(path, name, f"tier {name} is being deleted")]
    return []


def _table_is_free(obj: Object, lister: Lister) -> list[FieldError]:
    index = obj["spec"].get("routeTableIndex")
    for other in lister(EXTERNAL_NETWORKS):
        name = other["metadata"]["name"]
        if name != obj["metadata"].get("name") and other["spec"].get("routeTableIndex") == index:
            return [FieldError("spec.routeTableIndex", index, f"ExternalNetwork {name} has this table already")]
    return []


def _pool_fits(pool: Object, lister: Lister) -> list[FieldError]:
    try:
        network = formats.network(pool["spec"]["cidr"])
    except ValueError:
        return []
    name = pool["metadata"].get("name")
    known = False
    for other in lister(IP_POOLS):
        if other["metadata"]["name"] == name:
            known = True
        elif _overlaps(network, other["spec"].get("cidr", "")):
            message = f"overlaps with pool {other['metadata']['name']} ({other['spec']['cidr']})"
            return [FieldError("spec.cidr", pool["spec"]["cidr"], message)]
    if known:
        return []
    size = pool["spec"].get("blockSize")
    for block in lister(IPAM_BLOCKS):
        cidr = block["spec"].get("cidr", "")
        if not block["spec"].get("deleted") and _overlaps(network, cidr) and formats.network(cidr).prefixlen != size:
            message = f"block {cidr} with addresses of this range exists already and has another size"
            return [FieldError("spec.blockSize", size, message)]
    return []


def _overlaps(network: formats.Network, cidr: str) -> bool:
    try:
        other = formats.network(cidr)
    except ValueError:
        return False
    return network.version == other.version and network.overlaps(other)


def check_delete(resource: Resource[Any], obj: Object, lister: Lister) -> list[FieldError]:
    """What forbids the deletion of an object: built-in tiers stay, and so do tiers with policies in them."""
    if resource.plural != TIERS.plural:
        return []
    name = obj["metadata"]["name"]
    if name in BUILT_IN_TIERS:
        return [FieldError("metadata.name", name, f"the built-in tier {name} cannot be deleted", "Forbidden")]
    for policies in POLICIES:
        for policy in lister(policies):
            if (policy["spec"].get("tier") or DEFAULT_TIER) == name:
                namespace = policy["metadata"].get("namespace")
                where = f"{namespace}/" if namespace else ""
                example = f"{policies.kind} {where}{policy['metadata']['name']}"
                message = f"Cannot delete a non-empty tier: delete its policies first, such as {example}"
                return [FieldError("metadata.name", name, message, "Forbidden")]
    return []
