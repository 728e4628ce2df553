"""What the server itself writes into an object because of who asks and what else there is (spec/resources.md 1.4,
spec/apiserver-controllers-clis.md 1.8, 6.2).

For whoever stores objects, between `admit` and `cross_check`. In: an admitted object, the stored one on an update, the
caller's name, the time, and a function that lists existing objects. Out: nothing; the object is changed in place.
"""

from collections.abc import Callable, Iterable
from typing import Any

from tortie.model import formats
from tortie.model.catalog import IP_POOLS, MANAGED_CLUSTERS, UI_SETTINGS, UI_SETTINGS_GROUPS
from tortie.model.resource import Resource
from tortie.model.serving import ServingMode

Object = dict[str, Any]
Lister = Callable[[Resource[Any]], Iterable[Object]]

CONNECTED = "ManagedClusterConnected"
ALLOCATABLE = "Allocatable"


def server_fields(
    resource: Resource[Any],
    obj: Object,
    old: Object | None,
    lister: Lister,
    *,
    user: str,
    now: str,
    mode: ServingMode = ServingMode.NATIVE,
) -> None:
    """now: the time as RFC 3339. lister: existing objects, the stored form of this one included."""
    if resource.plural == UI_SETTINGS.plural:
        _ui_settings(obj, old, lister, user)
    elif resource.plural == MANAGED_CLUSTERS.plural and old is None:
        condition = {"type": CONNECTED, "status": "Unknown", "reason": "", "message": ""}
        obj["status"] = {"conditions": [condition]}
    elif resource.plural == IP_POOLS.plural and old is None and mode is ServingMode.NATIVE:
        _new_pool(obj, lister, now)


def _ui_settings(obj: Object, old: Object | None, lister: Lister, user: str) -> None:
    """A setting belongs to its group, and to the user who made it if the group shows each user only his or her own."""
    spec = obj["spec"]
    name = spec.get("group")
    group = next((item for item in lister(UI_SETTINGS_GROUPS) if item["metadata"]["name"] == name), None)
    if group is None:
        return
    if old is None:
        spec.pop("user", None)
        if (group.get("spec") or {}).get("filterType") == "User" and user:
            spec["user"] = user
    metadata = obj["metadata"]
    uid = group["metadata"].get("uid", "")
    owners = [owner for owner in metadata.get("ownerReferences") or [] if owner.get("kind") != UI_SETTINGS_GROUPS.kind]
    reference = {
        "apiVersion": UI_SETTINGS_GROUPS.api_version,
        "kind": UI_SETTINGS_GROUPS.kind,
        "name": name,
        "uid": uid,
    }
    metadata["ownerReferences"] = [*owners, reference]


def _new_pool(obj: Object, lister: Lister, now: str) -> None:
    """A pool that overlaps another is stored but assigns nothing: of two the newer one loses."""
    name = obj["metadata"].get("name")
    other = overlapping(obj["spec"].get("cidr", ""), name, lister)
    if other is None:
        return
    condition = {
        "type": ALLOCATABLE,
        "status": "False",
        "reason": "CIDROverlap",
        "message": f"overlaps with pool {other['metadata']['name']} ({other['spec']['cidr']})",
        "lastTransitionTime": now,
    }
    obj["status"] = {"conditions": [condition]}


def overlapping(cidr: str, name: str | None, lister: Lister) -> Object | None:
    """A pool of another name whose range overlaps this one."""
    for pool in lister(IP_POOLS):
        if pool["metadata"]["name"] != name and formats.overlap(cidr, pool["spec"].get("cidr", "")):
            return pool
    return None
