"""Checks of an object against others: its tier must exist, pools must not overlap, tiers with policies must stay.

For whoever stores objects: the API server, and tools that check a set of manifests. In: the object as JSON, and a
function that lists the existing objects of a resource. Out: field errors.
"""

from collections.abc import Iterator
from typing import Any

from tortie.model import formats
from tortie.model.admission.server import Lister, overlapping
from tortie.model.catalog import (
    EXTERNAL_NETWORKS,
    FELIX_CONFIGURATIONS,
    IP_POOLS,
    IPAM_BLOCKS,
    POLICIES,
    STAGED_KUBERNETES_NETWORK_POLICIES,
    TIERS,
    UI_SETTINGS,
    UI_SETTINGS_GROUPS,
)
from tortie.model.resource import Resource
from tortie.model.serving import ServingMode
from tortie.model.structural import FieldError
from tortie.model.v3.tier import BUILT_IN_TIERS, DEFAULT_TIER

Object = dict[str, Any]

TIER_FINALIZER = "projectcalico.org/tier-controller"
_TIERED = frozenset(resource.plural for resource in POLICIES)


def cross_check(
    resource: Resource[Any],
    obj: Object,
    lister: Lister,
    *,
    old: Object | None = None,
    mode: ServingMode = ServingMode.NATIVE,
) -> list[FieldError]:
    """What is wrong with an admitted object in view of the others.

    lister: existing objects, the stored form of this one included. old: the stored object on an update.
    """
    if resource.plural in _TIERED:
        return _tier_exists(obj["spec"].get("tier") or DEFAULT_TIER, "spec.tier", lister, old, mode)
    if resource.plural == STAGED_KUBERNETES_NETWORK_POLICIES.plural:
        return _tier_exists(DEFAULT_TIER, "spec", lister, old, mode)
    if resource.plural == IP_POOLS.plural:
        return _pool_fits(obj, lister, mode)
    if resource.plural == UI_SETTINGS.plural:
        group = obj["spec"].get("group", "")
        if not any(other["metadata"]["name"] == group for other in lister(UI_SETTINGS_GROUPS)):
            return [FieldError("spec.group", group, f"UISettingsGroup {group} does not exist")]
    if resource.plural == EXTERNAL_NETWORKS.plural:
        return _table_is_free(obj, lister)
    return []


def _tier_exists(name: str, path: str, lister: Lister, old: Object | None, mode: ServingMode) -> list[FieldError]:
    """The aggregated server looks at creation only, and lets a policy into a tier that is being deleted: such a tier
    has no policies there, or its deletion would have been refused."""
    aggregated = mode is ServingMode.AGGREGATED
    if aggregated and old is not None:
        return []
    tiers = {tier["metadata"]["name"]: tier for tier in lister(TIERS)}
    if name not in tiers:
        known = ", ".join(sorted(tiers)) or "none"
        return [FieldError(path, name, f"tier {name} does not exist; the existing tiers are: {known}")]
    if not aggregated and tiers[name]["metadata"].get("deletionTimestamp"):
        return [FieldError(path, name, f"tier {name} is being deleted")]
    return []


def _table_is_free(obj: Object, lister: Lister) -> list[FieldError]:
    path, index, name = "spec.routeTableIndex", obj["spec"].get("routeTableIndex"), obj["metadata"].get("name")
    for other in lister(EXTERNAL_NETWORKS):
        if other["metadata"]["name"] != name and other["spec"].get("routeTableIndex") == index:
            return [FieldError(path, index, f"ExternalNetwork {other['metadata']['name']} has this table already")]
    for owner, low, high in _felix_tables(lister):
        if isinstance(index, int) and low <= index <= high:
            return [FieldError(path, index, f"must be outside of {low} to {high}, which {owner} leaves to Felix")]
    return []


def _felix_tables(lister: Lister) -> Iterator[tuple[str, int, int]]:
    """The routing tables that Felix may use on any node: who says so, and the first and last one."""
    everywhere = False
    for configuration in lister(FELIX_CONFIGURATIONS):
        name, spec = configuration["metadata"]["name"], configuration.get("spec") or {}
        ranges = spec.get("routeTableRanges") or [spec.get("routeTableRange")]
        for item in ranges:
            if isinstance(item, dict):
                everywhere |= name == "default"
                yield f"FelixConfiguration {name}", item.get("min", 0), item.get("max", 0)
    if not everywhere:
        yield "the default of routeTableRanges", 1, 250


def _pool_fits(pool: Object, lister: Lister, mode: ServingMode) -> list[FieldError]:
    """Overlap with other pools is refused by the aggregated server; natively a condition reports it."""
    cidr, name = pool["spec"].get("cidr", ""), pool["metadata"].get("name")
    if mode is ServingMode.AGGREGATED and (other := overlapping(cidr, name, lister)):
        message = f"overlaps with pool {other['metadata']['name']} ({other['spec']['cidr']})"
        return [FieldError("spec.cidr", cidr, message)]
    if any(other["metadata"]["name"] == name for other in lister(IP_POOLS)):
        return []
    size = pool["spec"].get("blockSize")
    for block in lister(IPAM_BLOCKS):
        own = block["spec"].get("cidr", "")
        if not block["spec"].get("deleted") and formats.overlap(cidr, own) and formats.network(own).prefixlen != size:
            message = f"block {own} with addresses of this range exists already and has another size"
            return [FieldError("spec.blockSize", size, message)]
    return []


def check_delete(
    resource: Resource[Any], obj: Object, lister: Lister, *, mode: ServingMode = ServingMode.NATIVE
) -> list[FieldError]:
    """What forbids the deletion of an object: built-in tiers stay, and so do tiers with policies in them, unless they
    carry the finalizer with which native mode lets the deletion wait for the last policy."""
    if resource.plural != TIERS.plural:
        return []
    name = obj["metadata"]["name"]
    if name in BUILT_IN_TIERS:
        return [FieldError("metadata.name", name, f"the built-in tier {name} cannot be deleted", "Forbidden")]
    if mode is ServingMode.NATIVE and TIER_FINALIZER in (obj["metadata"].get("finalizers") or ()):
        return []
    for policies in POLICIES:
        for policy in lister(policies):
            if (policy["spec"].get("tier") or DEFAULT_TIER) == name:
                namespace = policy["metadata"].get("namespace")
                where = f"{namespace}/" if namespace else ""
                example = f"{policies.kind} {where}{policy['metadata']['name']}"
                message = f"Cannot delete a non-empty tier: delete its policies first, such as {example}"
                return [FieldError("metadata.name", name, message, "Forbidden")]
    return []
