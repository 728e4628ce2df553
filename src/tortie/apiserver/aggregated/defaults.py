"""The objects of projectcalico.org/v3 that every cluster has.

In: a context that serves v3. Out: the built-in tiers, ClusterInformation `default`, the console's two groups of
settings; what exists stays as it is (spec/apiserver-controllers-clis.md 1.7, 1.8).
"""

import asyncio
import copy
import uuid

import tortie
from tortie.apiserver import calico, writes
from tortie.apiserver.context import SYSTEM, Call, Context, Object
from tortie.apiserver.errors import StatusError
from tortie.apiserver.requests import RequestInfo
from tortie.model.catalog import CALICO_GROUP
from tortie.service.log import get_logger

_RETRY_SECONDS = 1.0
_UI_GROUPS = (("cluster-settings", "Cluster settings", ""), ("user-settings", "User settings", "User"))
_log = get_logger("apiserver.aggregated")


async def ensure(context: Context) -> None:
    """Creates what is missing, and tries until everything is there."""
    told = ""
    while True:
        try:
            await _ensure_all(context)
            return
        except StatusError as error:
            if error.message != told:
                told = error.message
                _log.warning("built-in objects cannot be created yet", reason=told)
            await asyncio.sleep(_RETRY_SECONDS)


async def _ensure_all(context: Context) -> None:
    for tier in calico.BUILT_IN_TIERS:
        await _one(context, "tiers", copy.deepcopy(tier))
    information = {
        "clusterGUID": uuid.uuid4().hex,
        "clusterType": "kdd",
        "calicoVersion": f"v{tortie.__version__}",
        "datastoreReady": True,
    }
    await _one(context, "clusterinformations", {"metadata": {"name": "default"}, "spec": information})
    for name, description, filter_type in _UI_GROUPS:
        spec = {"description": description, **({"filterType": filter_type} if filter_type else {})}
        await _one(context, "uisettingsgroups", {"metadata": {"name": name}, "spec": spec})


async def _one(context: Context, plural: str, obj: Object) -> None:
    name = obj["metadata"]["name"]
    kind = context.registry.find(CALICO_GROUP, "v3", plural)
    assert kind is not None
    collection = context.collection(kind)
    await context.store.fresh(collection, ("", name))
    if collection.get(("", name)) is not None:
        return
    path = f"/apis/{CALICO_GROUP}/v3/{plural}"
    info = RequestInfo(True, "create", path, CALICO_GROUP, "v3", "", plural)
    try:
        await writes.create(Call(context, SYSTEM, info, kind, {}, "calico-apiserver"), obj)
    except StatusError as error:
        if error.reason != "AlreadyExists":
            raise
