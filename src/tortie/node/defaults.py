"""Objects that every cluster has, created by whichever node starts first.

For start-up. In: a client. Out: the objects exist; those that existed are left as they are, except that
ClusterInformation learns the version and type of what runs now (spec/cni-ipam-node.md 3.5).
"""

import asyncio
import uuid
from typing import Any

import tortie
from tortie.kube.client import Client
from tortie.kube.errors import AlreadyExists, Conflict
from tortie.model import catalog
from tortie.model.resource import Resource

_TIERS: dict[str, dict[str, Any]] = {
    "default": {"order": 1_000_000, "defaultAction": "Deny"},
    "kube-admin": {"order": 1_000, "defaultAction": "Pass"},
    "kube-baseline": {"order": 10_000_000, "defaultAction": "Pass"},
}
_ATTEMPTS = 5


async def ensure(client: Client, *, cluster_type: str) -> list[str]:
    """Creates what is absent and gives its names. cluster_type: CLUSTER_TYPE."""
    wanted: list[tuple[Resource[Any], str, dict[str, Any]]] = [
        (catalog.TIERS, name, spec) for name, spec in _TIERS.items()
    ]
    wanted += [
        (catalog.FELIX_CONFIGURATIONS, "default", {"reportingInterval": "0s", "logSeverityScreen": "Info"}),
        (catalog.BGP_CONFIGURATIONS, "default", {}),
        (
            catalog.IPAM_CONFIGURATIONS,
            "default",
            {
                "autoAllocateBlocks": True,
                "strictAffinity": False,
                "maxBlocksPerHost": 0,
                "kubeVirtVMAddressPersistence": "Enabled",
            },
        ),
    ]
    results = await asyncio.gather(
        *(_create_if_absent(client, *one) for one in wanted), _cluster_information(client, cluster_type)
    )
    return [name for name in results if name]


async def _create_if_absent(client: Client, resource: Resource[Any], name: str, spec: dict[str, Any]) -> str:
    if await client.find(resource.untyped(), name) is not None:
        return ""
    try:
        await client.create(resource.untyped(), _object(resource, name, spec))
    except AlreadyExists:
        return ""  # another node was quicker
    return f"{resource.kind} {name}"


async def _cluster_information(client: Client, cluster_type: str) -> str:
    """The GUID is chosen once and for all; type and version follow what runs."""
    resource = catalog.CLUSTER_INFORMATIONS.untyped()
    for _ in range(_ATTEMPTS):
        found = await client.find(resource, "default")
        if found is None:
            spec = {
                "clusterGUID": uuid.uuid4().hex,
                "clusterType": merged_type("", cluster_type),
                "calicoVersion": version(),
                "datastoreReady": True,
            }
            try:
                await client.create(resource, _object(catalog.CLUSTER_INFORMATIONS, "default", spec))
            except AlreadyExists:
                continue
            return "ClusterInformation default"
        spec = found.setdefault("spec", {})
        wanted = {
            **spec,
            "clusterGUID": spec.get("clusterGUID") or uuid.uuid4().hex,
            "clusterType": merged_type(spec.get("clusterType", ""), cluster_type),
            "calicoVersion": version(),
            "datastoreReady": spec.get("datastoreReady", True),
        }
        if wanted == spec:
            return ""
        try:
            await client.update(resource, {**found, "spec": wanted})
        except Conflict:
            continue
        return ""
    return ""


def merged_type(present: str, added: str) -> str:
    """Two comma-separated lists as one without repetitions, `kdd` last."""
    words = [word.strip() for word in (*present.split(","), *added.split(","))]
    unique = dict.fromkeys(word for word in words if word and word != "kdd")
    return ",".join([*unique, "kdd"])


def version() -> str:
    """As ClusterInformation names what runs."""
    return f"v{tortie.__version__}"


def _object(resource: Resource[Any], name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {"name": name},
        "spec": spec,
    }
