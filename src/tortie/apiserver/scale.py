"""The scale subresource: autoscaling/v1 Scale for workloads and for custom kinds that declare it.

In: calls on .../scale. Out: Scale objects, and changes of the replicas they ask for.
"""

from typing import TYPE_CHECKING, Any

from aiohttp import web

from tortie.apiserver import conversion, errors, negotiate, objects, patching, writes
from tortie.apiserver.builtin.columns import selector_text
from tortie.apiserver.context import Call

if TYPE_CHECKING:
    from tortie.apiserver.http import Api

Object = dict[str, Any]
_DEFAULT_PATHS = {"spec": ".spec.replicas", "status": ".status.replicas", "selector": ""}


def _paths(call: Call) -> tuple[list[str], list[str], list[str]]:
    declared = call.kind.scale or _DEFAULT_PATHS
    spec, status, selector = (declared.get(k, "").strip(".").split(".") for k in ("spec", "status", "selector"))
    return spec, status, [p for p in selector if p]


def of(call: Call, obj: Object) -> Object:
    """The Scale of an object."""
    spec, status, selector = _paths(call)
    meta = obj["metadata"]
    if selector:
        chosen = objects.get(obj, *selector)
        text = chosen if isinstance(chosen, str) else ""
    else:
        text = selector_text(objects.get(obj, "spec", "selector"))
    shown: Object = {"replicas": objects.get(obj, *status) or 0}
    if text and text != "<none>":
        shown["selector"] = text
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {
            k: meta[k] for k in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp") if k in meta
        },
        "spec": {"replicas": objects.get(obj, *spec) or 0},
        "status": shown,
    }


def put(call: Call, obj: Object, replicas: int) -> None:
    """Sets the replicas of an object where its kind has them."""
    path, _, _ = _paths(call)
    place = obj
    for part in path[:-1]:
        place = place.setdefault(part, {})
    place[path[-1]] = replicas


async def serve(call: Call, request: web.Request, api: "Api") -> web.StreamResponse:
    """GET, PUT and PATCH of a Scale."""
    negotiate.choose(request.headers.get("Accept", ""))
    kind, info = call.kind, call.info
    if request.method in {"GET", "HEAD"}:
        obj = call.context.read(kind.collection, info.namespace if kind.namespaced else "", info.name)
        if obj is None:
            raise errors.not_found(kind.group, kind.plural, info.name)
        return api.tree(call, request, of(call, await conversion.shown(kind, obj)))
    body: Any
    patch_type = ""
    if request.method == "PUT":
        body, _ = await api.body(call, request)
    else:
        patch_type, body = await patching.read(call, request)

    def change(obj: Object) -> Object:
        if patch_type:
            current = of(call, obj)
            wanted = patching.run(call, patch_type, current, body)
        else:
            wanted = body
        replicas = objects.get(wanted, "spec", "replicas") or 0
        if not isinstance(replicas, int) or isinstance(replicas, bool) or replicas < 0:
            raise errors.invalid(
                "autoscaling",
                "Scale",
                info.name,
                [errors.invalid_value("spec.replicas", replicas, "must be greater than or equal to 0")],
            )
        version = objects.get(wanted, "metadata", "resourceVersion")
        if version and not patch_type:
            obj["metadata"]["resourceVersion"] = version
        else:
            obj["metadata"].pop("resourceVersion", None)
        put(call, obj, replicas)
        return obj

    return api.tree(call, request, of(call, await writes.update(call, change, subresource="scale")))
