"""Subresources: status, scale, binding, eviction, token, finalize, and the streams to the kubelet.

In: calls whose path has a subresource. Out: their answers. Each writes through the same path as the main resource.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tortie.apiserver import admission, deletes, errors, negotiate, objects, patching, scale, streams, writes
from tortie.apiserver.context import Call
from tortie.apiserver.kinds import Subresource
from tortie.apiserver.tokens import DEFAULT_SECONDS, MAX_SECONDS, MIN_SECONDS

if TYPE_CHECKING:
    from tortie.apiserver.http import Api

Object = dict[str, Any]
Handler = Callable[[Call, web.Request, "Api"], Awaitable[web.StreamResponse]]


class Subresources:
    """Dispatch by subresource name."""

    def __init__(self) -> None:
        self.handlers: dict[str, Handler] = {
            "status": _status,
            "approval": _approval,
            "ephemeralcontainers": _whole,
            "resize": _whole,
            "finalize": _finalize,
            "scale": scale.serve,
            "binding": _binding,
            "eviction": _eviction,
            "token": _token,
            "log": streams.log,
            "exec": streams.connect,
            "attach": streams.connect,
            "portforward": streams.connect,
        }

    async def serve(self, call: Call, request: web.Request, api: "Api") -> web.StreamResponse:
        """Answers a request on a subresource."""
        sub = call.kind.subresources.get(call.info.subresource)
        if sub is None:
            return web.Response(text="404 page not found\n", status=404)
        handler = self.handlers.get(sub.name)
        verb = "get" if call.info.verb in {"get", "watch", "list"} else call.info.verb
        if handler is None or verb not in sub.verbs:
            raise errors.method_not_allowed()
        if sub.name in CONNECTS:
            await admission.subresource(call, "CONNECT", _connect_options(sub, request))
        return await handler(call, request, api)


CONNECTS = frozenset({"exec", "attach", "portforward", "proxy"})


def _connect_options(sub: Subresource, request: web.Request) -> Object:
    """What a connect asks for, as the object that admission sees: PodExecOptions and the like."""
    options: Object = {"kind": sub.kind, "apiVersion": "v1"}
    for key in request.query:
        values = request.query.getall(key)
        if key in {"stdin", "stdout", "stderr", "tty"}:
            options[key] = values[0] in {"1", "true"}
        elif key == "command":
            options[key] = values
        elif key == "ports":
            options[key] = [int(v) for v in values if v.isdigit()]
        else:
            options[key] = values[0]
    return options


async def _status(call: Call, request: web.Request, api: "Api") -> web.StreamResponse:
    return await _write(call, request, api, "status")


async def _approval(call: Call, request: web.Request, api: "Api") -> web.StreamResponse:
    return await _write(call, request, api, "approval")


async def _whole(call: Call, request: web.Request, api: "Api") -> web.StreamResponse:
    return await _write(call, request, api, "")


async def _finalize(call: Call, request: web.Request, api: "Api") -> web.StreamResponse:
    return await _write(call, request, api, "finalize")


async def _write(call: Call, request: web.Request, api: "Api", subresource: str) -> web.StreamResponse:
    output = negotiate.choose(request.headers.get("Accept", ""), shapes=("Table", "PartialObjectMetadata"))
    if request.method in {"GET", "HEAD"}:
        return await api.get(call, request, output)
    if request.method == "PUT":
        body, duplicates = await api.body(call, request, own_type=True)
        change = writes.replacement(call, body, duplicates)
        return api.object(call, request, await writes.update(call, change, subresource=subresource), output)
    obj, created = await patching.patch(call, request, subresource=subresource)
    return api.object(call, request, obj, output, 201 if created else 200)


def _created(call: Call) -> Object:
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


async def _binding(call: Call, request: web.Request, api: "Api") -> web.StreamResponse:
    body, _ = await api.body(call, request)
    if isinstance(body, dict):
        body = await admission.subresource(call, "CREATE", body)
    await bind(call, body)
    return api.tree(call, request, _created(call), 201)


async def bind(call: Call, body: Any) -> None:
    """Assigns a pod to a node, once."""
    target = objects.get(body, "target", "name")
    if not target or objects.get(body, "target", "kind") not in {None, "", "Node"}:
        raise errors.invalid("", "Binding", call.info.name, [errors.required("target.name", "the name of a Node")])
    uid = objects.get(body, "metadata", "uid")

    def change(pod: Object) -> Object:
        if uid and pod["metadata"]["uid"] != uid:
            raise errors.conflict("", "pods", call.info.name, "the pod has another uid than the binding")
        if pod["metadata"].get("deletionTimestamp"):
            raise errors.conflict(
                "",
                "pods/binding",
                call.info.name,
                f"pod {call.info.name} is being deleted, cannot be assigned to a host",
            )
        if pod["spec"].get("nodeName"):
            raise errors.conflict(
                "",
                "pods/binding",
                call.info.name,
                f'pod {call.info.name} is already assigned to node "{pod["spec"]["nodeName"]}"',
            )
        pod["spec"]["nodeName"] = target
        annotations = objects.get(body, "metadata", "annotations")
        if annotations:
            pod["metadata"].setdefault("annotations", {}).update(annotations)
        pod["status"]["conditions"] = [
            *[c for c in pod["status"].get("conditions") or () if c.get("type") != "PodScheduled"],
            {
                "type": "PodScheduled",
                "status": "True",
                "lastProbeTime": None,
                "lastTransitionTime": objects.timestamp(call.context.now()),
            },
        ]
        return pod

    await writes.update(call, change, subresource="binding")


async def _eviction(call: Call, request: web.Request, api: "Api") -> web.StreamResponse:
    body, _ = await api.body(call, request)
    body = body if isinstance(body, dict) else {}
    pod = call.context.read("/pods", call.info.namespace, call.info.name)
    if pod is None:
        raise errors.not_found("", "pods", call.info.name)
    body = await admission.subresource(call, "CREATE", body)
    options, dry = deletes.read_options(body.get("deleteOptions") or {}, call.query)
    call.dry_run = dry or call.dry_run
    if objects.get(pod, "status", "phase") not in {"Succeeded", "Failed", "Pending"}:
        _check_budgets(call, pod)
    deletion = replace(options)
    await deletes.delete(call, deletion)
    return api.tree(call, request, _created(call), 201)


def _check_budgets(call: Call, pod: Object) -> None:
    from tortie.apiserver.builtin.workloads import matches

    for record in call.store.collection("policy/poddisruptionbudgets").select(call.info.namespace):
        budget = record.decode()
        selector = objects.get(budget, "spec", "selector")
        if not selector or not matches(selector, pod["metadata"].get("labels") or {}):
            continue
        if int(objects.get(budget, "status", "disruptionsAllowed") or 0) <= 0:
            raise errors.StatusError(
                429,
                "TooManyRequests",
                "Cannot evict pod as it would violate the pod's disruption budget.",
                details={
                    "causes": [
                        {
                            "reason": "DisruptionBudget",
                            "message": f"The disruption budget {record.key[1]} needs "
                            f"{objects.get(budget, 'status', 'desiredHealthy') or 0} healthy pods and has "
                            f"{objects.get(budget, 'status', 'currentHealthy') or 0} currently",
                        }
                    ]
                },
                headers={"Retry-After": "10"},
            )


async def _token(call: Call, request: web.Request, api: "Api") -> web.StreamResponse:
    body, _ = await api.body(call, request)
    if isinstance(body, dict):
        body = await admission.subresource(call, "CREATE", body)
    spec = (body.get("spec") if isinstance(body, dict) else None) or {}
    account = call.context.read("/serviceaccounts", call.info.namespace, call.info.name)
    if account is None:
        raise errors.not_found("", "serviceaccounts", call.info.name)
    seconds = spec.get("expirationSeconds", DEFAULT_SECONDS)
    causes = []
    if not isinstance(seconds, int) or seconds < MIN_SECONDS:
        causes.append(
            errors.invalid_value("spec.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
        )
    elif seconds > 1 << 32:
        causes.append(
            errors.invalid_value(
                "spec.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds"
            )
        )
    if causes:
        raise errors.invalid("authentication.k8s.io", "TokenRequest", call.info.name, causes)
    reference = spec.get("boundObjectRef") or {}
    bound = None
    if reference:
        kind = reference.get("kind", "")
        if kind not in {"Pod", "Secret", "Node"}:
            raise errors.invalid(
                "authentication.k8s.io",
                "TokenRequest",
                call.info.name,
                [errors.not_supported("spec.boundObjectRef.kind", kind, ["Node", "Pod", "Secret"])],
            )
        plural = f"{kind.lower()}s"
        bound = call.context.read(
            f"/{plural}", "" if kind == "Node" else call.info.namespace, reference.get("name", "")
        )
        if bound is None:
            raise errors.not_found("", plural, reference.get("name", ""))
        if reference.get("uid") and reference["uid"] != bound["metadata"]["uid"]:
            raise errors.conflict(
                "",
                plural,
                reference["name"],
                f"the UID in the bound object reference ({reference['uid']}) does not match the UID in record. "
                "The object might have been deleted and then recreated",
            )
        if kind == "Pod" and objects.get(bound, "spec", "serviceAccountName") != call.info.name:
            raise errors.bad_request(
                f'cannot bind token for serviceaccount "{call.info.name}" to pod running with different serviceaccount '
                "name."
            )
    token, expires = call.context.tokens.issue(
        account,
        audiences=list(spec.get("audiences") or ()),
        seconds=min(int(seconds), MAX_SECONDS),
        bound=bound,
        bound_kind=str(reference.get("kind", "")),
    )
    answer = {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {
            "name": call.info.name,
            "namespace": call.info.namespace,
            "creationTimestamp": objects.timestamp(call.context.now()),
        },
        "spec": {
            "audiences": list(spec.get("audiences") or ()) or [_issuer()],
            "expirationSeconds": seconds,
            "boundObjectRef": reference or None,
        },
        "status": {"token": token, "expirationTimestamp": objects.timestamp(expires)},
    }
    return api.tree(call, request, answer, 201)


def _issuer() -> str:
    from tortie.apiserver.tokens import ISSUER

    return ISSUER
