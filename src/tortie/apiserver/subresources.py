"""Subresources: status, scale, binding, eviction, token, finalize, and the streams to the kubelet.

In: calls whose path has a subresource. Out: their answers.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from aiohttp import web

from tortie.apiserver import errors, negotiate, patching, writes
from tortie.apiserver.context import Call

if TYPE_CHECKING:
    from tortie.apiserver.http import Api

Handler = Callable[[Call, web.Request, "Api"], Awaitable[web.StreamResponse]]


class Subresources:
    """Dispatch by subresource name."""

    def __init__(self) -> None:
        self.handlers: dict[str, Handler] = {
            "status": _status,
            "approval": _status,
            "ephemeralcontainers": _whole,
            "resize": _whole,
        }

    async def serve(self, call: Call, request: web.Request, api: "Api") -> web.StreamResponse:
        sub = call.kind.subresources.get(call.info.subresource)
        if sub is None:
            return web.Response(text="404 page not found\n", status=404)
        handler = self.handlers.get(sub.name)
        if handler is None:
            raise errors.method_not_allowed()
        if request.method in {"GET", "HEAD"} and "get" not in sub.verbs:
            raise errors.method_not_allowed()
        return await handler(call, request, api)


async def _status(call: Call, request: web.Request, api: "Api") -> web.StreamResponse:
    return await _write(call, request, api, "status")


async def _whole(call: Call, request: web.Request, api: "Api") -> web.StreamResponse:
    return await _write(call, request, api, "")


async def _write(call: Call, request: web.Request, api: "Api", subresource: str) -> web.StreamResponse:
    output = negotiate.choose(request.headers.get("Accept", ""), shapes=("Table", "PartialObjectMetadata"))
    if request.method in {"GET", "HEAD"}:
        return await api._get(call, request, output)  # noqa: SLF001 - a get of the same object
    if request.method == "PUT":
        body, duplicates = await api.body(call, request)
        change = writes.replacement(call, body, duplicates)
        return api.object(call, request, await writes.update(call, change, subresource=subresource), output)
    if request.method == "PATCH":
        obj, created = await patching.patch(call, request, subresource=subresource)
        return api.object(call, request, obj, output, 201 if created else 200)
    raise errors.method_not_allowed()
