"""Objects that every cluster has from its first start."""

import copy
import ipaddress
from typing import Any

from tortie.apiserver import calico, rbac_defaults, requestheader, writes
from tortie.apiserver.authn import own_trust
from tortie.apiserver.builtin import namespaces, roles
from tortie.apiserver.context import SYSTEM, Call, Context
from tortie.apiserver.requests import RequestInfo

Object = dict[str, Any]

MANAGER = "tortie-apiserver"
_RBAC = "rbac.authorization.k8s.io"
NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease", "calico-system")


async def ensure(
    context: Context, group: str, version: str, plural: str, obj: Object, *, aggregate: bool = True
) -> None:
    """Creates an object unless it is there. `aggregate` False leaves the gathering of ClusterRoles to the caller."""
    kind = context.registry.find(group, version, plural)
    assert kind is not None
    meta = obj["metadata"]
    namespace = meta.get("namespace", "")
    if context.collection(kind).get((namespace, meta["name"])) is not None:
        return
    info = RequestInfo(True, "create", "", group, version, namespace, plural)
    manager = MANAGER if aggregate else roles.AGGREGATION
    await writes.create(Call(context, SYSTEM, info, kind, {}, manager), obj)


async def run(context: Context) -> None:
    """Makes what is missing: namespaces, roles, tiers, the Service kubernetes."""
    for name in NAMESPACES:
        await ensure(context, "", "v1", "namespaces", {"metadata": {"name": name}})
        await namespaces.furnish(context, name)
    for role in rbac_defaults.cluster_roles():
        await ensure(context, _RBAC, "v1", "clusterroles", role, aggregate=False)
    await roles.aggregate(context)
    for binding in rbac_defaults.cluster_role_bindings():
        await ensure(context, _RBAC, "v1", "clusterrolebindings", binding)
    role, binding = rbac_defaults.authentication_reader()
    await ensure(context, _RBAC, "v1", "roles", role)
    await ensure(context, _RBAC, "v1", "rolebindings", binding)
    namespace, name = requestheader.CONFIG_MAP
    trust = {"metadata": {"name": name, "namespace": namespace}, "data": requestheader.write(own_trust(context.pki))}
    await _assert(context, "", "configmaps", trust)
    for name, value in (("system-node-critical", 2000001000), ("system-cluster-critical", 2000000000)):
        await ensure(
            context, "scheduling.k8s.io", "v1", "priorityclasses", {"metadata": {"name": name}, "value": value}
        )
    for tier in calico.BUILT_IN_TIERS if context.native else ():
        await ensure(context, "projectcalico.org", "v3", "tiers", copy.deepcopy(tier))
    await _kubernetes_service(context)


async def _kubernetes_service(context: Context) -> None:
    """The Service kubernetes and its endpoints: where pods find this server."""
    cidrs = context.allocators.ranges
    addresses = [str(r.network[1]) for r in cidrs]
    families = [r.family for r in cidrs]
    await ensure(
        context,
        "",
        "v1",
        "services",
        {
            "metadata": {
                "name": "kubernetes",
                "namespace": "default",
                "labels": {"component": "apiserver", "provider": "kubernetes"},
            },
            "spec": {
                "type": "ClusterIP",
                "clusterIP": addresses[0],
                "clusterIPs": addresses[:1],
                "ipFamilies": families[:1],
                "ipFamilyPolicy": "SingleStack",
                "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": context.port}],
                "sessionAffinity": "None",
            },
        },
    )
    reach = [a for a in context.advertise if f"IPv{ipaddress.ip_address(a).version}" == families[0]]
    port = {"name": "https", "port": context.port, "protocol": "TCP"}
    subsets = [{"addresses": [{"ip": a} for a in reach], "ports": [port]}] if reach else []
    meta: Object = {"name": "kubernetes", "namespace": "default"}
    mirror = {"endpointslice.kubernetes.io/skip-mirror": "true"}
    await _assert(context, "", "endpoints", {"metadata": {**meta, "labels": mirror}, "subsets": subsets})
    await _assert(
        context,
        "discovery.k8s.io",
        "endpointslices",
        {
            "metadata": {**meta, "labels": {"kubernetes.io/service-name": "kubernetes"}},
            "addressType": families[0],
            "endpoints": [{"addresses": reach, "conditions": {"ready": True}}] if reach else [],
            "ports": [port],
        },
    )


async def _assert(context: Context, group: str, plural: str, obj: Object) -> None:
    """Creates the object, or makes the stored one equal to it."""
    kind = context.registry.find(group, "v1", plural)
    assert kind is not None
    meta = obj["metadata"]
    if context.collection(kind).get((meta["namespace"], meta["name"])) is None:
        await ensure(context, group, "v1", plural, obj)
        return
    info = RequestInfo(True, "update", "", group, "v1", meta["namespace"], plural, meta["name"])

    def change(current: Object) -> Object:
        return {**current, **{k: v for k, v in obj.items() if k != "metadata"}}

    await writes.update(Call(context, SYSTEM, info, kind, {}, MANAGER), change)
