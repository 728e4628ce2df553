"""Objects that every cluster has from its first start."""

import copy
from typing import Any

from tortie.apiserver import calico, writes
from tortie.apiserver.context import SYSTEM, Call, Context
from tortie.apiserver.requests import RequestInfo

Object = dict[str, Any]

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease", "calico-system")


async def ensure(context: Context, group: str, version: str, plural: str, obj: Object) -> None:
    """Creates an object unless it is there."""
    kind = context.registry.find(group, version, plural)
    assert kind is not None
    meta = obj["metadata"]
    namespace = meta.get("namespace", "")
    if context.collection(kind).get((namespace, meta["name"])) is not None:
        return
    info = RequestInfo(True, "create", "", group, version, namespace, plural)
    call = Call(context, SYSTEM, info, kind, {}, "tortie-apiserver")
    await writes.create(call, obj)


async def run(context: Context) -> None:
    for name in NAMESPACES:
        await ensure(context, "", "v1", "namespaces", {"metadata": {"name": name}})
    for tier in calico.BUILT_IN_TIERS:
        await ensure(context, "projectcalico.org", "v3", "tiers", copy.deepcopy(tier))
