"""The HTTP face: one handler that authenticates, authorises, and dispatches every request.

In: aiohttp requests. Out: responses; every refusal is a Status object in the media type the client accepts.
"""

import asyncio
import dataclasses
import gzip
import logging
import zlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import msgspec
from aiohttp import web
from multidict import CIMultiDict

from tortie.apiserver import (
    conversion,
    deletes,
    errors,
    lists,
    negotiate,
    patching,
    render,
    requests,
    reviews,
    subresources,
    watches,
    writes,
)
from tortie.apiserver.context import Call, Context, User
from tortie.apiserver.errors import StatusError
from tortie.apiserver.kinds import Kind
from tortie.apiserver.negotiate import Output, warning_headers
from tortie.apiserver.paths import Paths
from tortie.apiserver.requests import RequestInfo
from tortie.apiserver.schema import protobuf
from tortie.apiserver.subresources import Subresources

Object = dict[str, Any]
_log = logging.getLogger("tortie.apiserver")
_GZIP_FROM = 128 * 1024
_MANAGER_LENGTH = 128
_ONE = ("Table", "PartialObjectMetadata")
_MANY = ("Table", "PartialObjectMetadataList")


class Api:
    """Handles requests for one server."""

    def __init__(
        self,
        context: Context,
        authenticate: Callable[[web.Request], Awaitable[User]],
        authorize: Callable[[User, RequestInfo], Awaitable[None]],
        paths: Paths,
        subresources: Subresources,
    ) -> None:
        self.context = context
        self.authenticate = authenticate
        self.authorize = authorize
        self.paths = paths
        self.subresources = subresources

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """The one aiohttp handler."""
        try:
            return await self._handle(request)
        except StatusError as error:
            return self._refuse(request, error)
        except (web.HTTPException, ConnectionError):
            raise
        except Exception:
            _log.exception("unexpected error for %s %s", request.method, request.path)
            return self._refuse(request, errors.internal("unexpected error; the server's log has the details"))

    def _refuse(self, request: web.Request, error: StatusError) -> web.Response:
        try:
            output = negotiate.choose(request.headers.get("Accept", ""), shapes=(*_ONE, *_MANY))
        except StatusError:
            output = Output()
        body = render.encode(error.status(), Output(output.media, pretty=_pretty(request)))
        headers = dict(error.headers)
        retry = (error.details or {}).get("retryAfterSeconds")
        if retry and "Retry-After" not in headers:
            headers["Retry-After"] = str(retry)
        return web.Response(body=body, status=error.code, content_type=output.media, headers=headers)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        info = requests.parse(request.method, request.path, query)
        user = await self.authenticate(request)
        await self.authorize(user, info)
        if self.context.aggregator is not None:
            remote = self.context.aggregator.find(info.path)
            if remote is not None:
                lasting = info.verb == "watch"
                return await self.context.aggregator.forward(request, user, remote, long_running=lasting)
        if not info.is_resource:
            return await self.paths.serve(request, user)
        kind = self.context.registry.find(info.group, info.version, info.plural)
        if kind is None:
            return web.Response(text="404 page not found\n", status=404)
        call = self._call(request, user, info, kind, query)
        if info.subresource:
            return await self.subresources.serve(call, request, self)
        named = bool(info.name) if info.verb in {"create", "update", "patch"} else None
        if info.verb not in kind.verbs or (named is not None and named is (info.verb == "create")):
            raise errors.method_not_allowed()
        return await self._resource(call, request)

    def _call(self, request: web.Request, user: User, info: RequestInfo, kind: Kind, query: Mapping[str, str]) -> Call:
        manager = query.get("fieldManager") or _program(request)
        if len(manager) > _MANAGER_LENGTH:
            raise _options_error("fieldManager", manager[:40], f"must be at most {_MANAGER_LENGTH} characters")
        if not manager.isprintable():
            raise _options_error("fieldManager", manager, "should only contain printable characters")
        dry = query.getall("dryRun", []) if hasattr(query, "getall") else []
        if dry and dry != ["All"] and request.method != "DELETE":
            raise errors.invalid("meta.k8s.io", "Options", "", [errors.not_supported("dryRun", list(dry), ["All"])])
        strictness = query.get("fieldValidation") or "Warn"
        if strictness not in {"Ignore", "Warn", "Strict"}:
            raise errors.invalid(
                "meta.k8s.io",
                "Options",
                "",
                [errors.not_supported("fieldValidation", strictness, ["", "Ignore", "Strict", "Warn"])],
            )
        call = Call(self.context, user, info, kind, query, manager, bool(dry), strictness)
        if kind.warning:
            call.warn(kind.warning)
        return call

    async def _resource(self, call: Call, request: web.Request) -> web.StreamResponse:
        info, query = call.info, call.query
        pretty = _pretty(request)
        accept = request.headers.get("Accept", "")
        include = query.get("includeObject", "")
        if info.verb in {"list", "watch", "deletecollection"} and call.kind.hooks.scope is not None:
            call.scope = await call.kind.hooks.scope(call)
        match info.verb:
            case "watch":
                return await watches.serve(
                    call, request, negotiate.choose(accept, shapes=(*_ONE, *_MANY), include=include)
                )
            case "list":
                output = negotiate.choose(accept, shapes=_MANY, pretty=pretty, include=include)
                records, meta = await lists.select(call)
                records = await conversion.records(call.kind, records)
                pieces = render.many(call.kind, records, output, self.context.now(), meta)
                if len(records) <= render.PIECE:
                    return self.answer(call, request, b"".join(pieces), output)
                return await self._stream(call, request, pieces, output)
        output = negotiate.choose(accept, shapes=_ONE, pretty=pretty, include=include)
        match info.verb:
            case "get":
                return await self.get(call, request, output)
            case "create":
                body, duplicates = await self.body(call, request)
                if not call.kind.stored:
                    return await self._review(call, request, body, duplicates)
                return self.object(call, request, await writes.create(call, body, duplicates), output, 201)
            case "update":
                body, duplicates = await self.body(call, request)
                change = writes.replacement(call, body, duplicates)
                return self.object(call, request, await writes.update(call, change), output)
            case "patch":
                obj, created = await patching.patch(call, request)
                return self.object(call, request, obj, output, 201 if created else 200)
            case "delete":
                call, options = await self._delete_options(call, request)
                code, tree = await deletes.delete(call, options)
                if tree["kind"] == "Status":
                    return self.answer(
                        call, request, render.encode(tree, Output(output.media, pretty=pretty)), output, code
                    )
                return self.object(call, request, tree, output, code)
            case "deletecollection":
                call, options = await self._delete_options(call, request)
                records, meta = await lists.select(call)
                deleted = await deletes.delete_collection(call, records, options)
                tree = {
                    "kind": call.kind.list_kind,
                    "apiVersion": call.kind.api_version,
                    "metadata": {"resourceVersion": str(call.store.newest(call.context.collection(call.kind)))},
                    "items": deleted,
                }
                return self.answer(call, request, render.encode(tree, Output(output.media, pretty=pretty)), output)
        raise errors.method_not_allowed()

    async def _review(self, call: Call, request: web.Request, body: Any, duplicates: list[str]) -> web.StreamResponse:
        """Kinds that are created and not stored."""
        obj = writes.fit(call, body, duplicates)
        if call.kind.kind == "Binding":
            call.info = dataclasses.replace(call.info, name=obj["metadata"].get("name", ""))
            pods = self.context.registry.find("", "v1", "pods")
            assert pods is not None
            call.kind = pods
            await subresources.bind(call, obj)
            status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
            return self.tree(call, request, status, 201)
        answer = call.kind.hooks.review or reviews.review
        return self.tree(call, request, await answer(call, obj), 201)

    async def _delete_options(self, call: Call, request: web.Request) -> tuple[Call, deletes.Options]:
        body: Any = {}
        if (await read_body(request)).strip():
            body, _ = await self.decode(request, custom=False)
        options, dry = deletes.read_options(body, call.query)
        call.dry_run = dry
        return call, options

    async def get(self, call: Call, request: web.Request, output: Output) -> web.StreamResponse:
        kind, info = call.kind, call.info
        collection = call.context.collection(kind)
        key = (info.namespace if kind.namespaced else "", info.name)
        await lists.reach(call.store, collection, call.query.get("resourceVersion", ""), key)
        record = collection.get(key)
        if record is None:
            raise errors.not_found(kind.group, kind.plural, info.name)
        if kind.hooks.read is not None:
            await kind.hooks.read(call, record.decode())
        (record,) = await conversion.records(kind, (record,))
        if output.plain:
            return self.answer(call, request, render.data(kind, record), output)
        return self.object(call, request, render.convert(kind, record), output)

    async def body(self, call: Call, request: web.Request, *, own_type: bool = False) -> tuple[Any, list[str]]:
        """The decoded body of a write, and fields given twice in it. `own_type`: it is of the call's kind for sure."""
        checked = call.query.get("fieldValidation") in {"Strict", "Warn"}
        type_name = call.kind.schema.ref if own_type or not call.info.subresource else ""
        return await self.decode(request, custom=call.kind.custom, type_name=type_name, checked=checked)

    async def decode(
        self, request: web.Request, *, custom: bool, type_name: str = "", checked: bool = False
    ) -> tuple[Any, list[str]]:
        """A body in JSON, YAML, or for built-in kinds protobuf."""
        accepted = negotiate.ACCEPTED if custom else negotiate.BODIES
        kind = negotiate.check_body_type(request.headers.get("Content-Type", ""), accepted)
        raw = await read_body(request)
        if kind != negotiate.PROTOBUF:
            return negotiate.decode(raw, find_duplicates=checked)
        try:
            return protobuf.decode(raw, type_name), []
        except protobuf.ProtobufError as error:
            raise errors.bad_request(f"the body of the request could not be decoded: {error}") from None

    def tree(self, call: Call, request: web.Request, tree: Object, code: int = 200) -> web.Response:
        """Answers with a tree that is not an object of the call's kind."""
        output = negotiate.choose(request.headers.get("Accept", ""), shapes=_ONE, pretty=_pretty(request))
        return self.answer(call, request, render.encode(tree, Output(output.media, pretty=output.pretty)), output, code)

    def object(self, call: Call, request: web.Request, tree: Object, output: Output, code: int = 200) -> web.Response:
        """Answers with one object."""
        return self.answer(call, request, render.one(call.kind, tree, output, self.context.now()), output, code)

    async def _stream(
        self, call: Call, request: web.Request, pieces: Iterable[bytes], output: Output
    ) -> web.StreamResponse:
        """Answers with a long body, giving way to other requests between its pieces."""
        response = web.StreamResponse(headers=self._headers(call, output))
        compress = "gzip" in request.headers.get("Accept-Encoding", "")
        squeeze = zlib.compressobj(1, zlib.DEFLATED, 31) if compress else None
        if compress:
            response.headers["Content-Encoding"] = "gzip"
            response.headers["Vary"] = "Accept-Encoding"
        response.enable_chunked_encoding()
        await response.prepare(request)
        try:
            for piece in pieces:
                chunk = squeeze.compress(piece) if squeeze is not None else piece
                if chunk:
                    await response.write(chunk)
                await asyncio.sleep(0)
            if squeeze is not None:
                await response.write(squeeze.flush())
            await response.write_eof()
        except ConnectionError:
            return response  # the client has gone
        return response

    def _headers(self, call: Call, output: Output) -> CIMultiDict[str]:
        headers = CIMultiDict({"Content-Type": output.content_type, "Cache-Control": "no-cache, private"})
        for value in warning_headers(call.warnings):
            headers.add("Warning", value)
        return headers

    def answer(self, call: Call, request: web.Request, body: Any, output: Output, code: int = 200) -> web.Response:
        """Answers with bytes: warnings as headers, gzip for large bodies."""
        headers = self._headers(call, output)
        if len(body) > _GZIP_FROM and "gzip" in request.headers.get("Accept-Encoding", ""):
            body = gzip.compress(body, 1)
            headers["Content-Encoding"] = "gzip"
            headers["Vary"] = "Accept-Encoding"
        return web.Response(body=body, status=code, headers=headers)


def _program(request: web.Request) -> str:
    """The name of the program that asks, which owns the fields that it changes unless it says otherwise."""
    name = request.headers.get("User-Agent", "").partition("/")[0]
    return "".join(c for c in name if c.isprintable())[:_MANAGER_LENGTH] or "unknown"


def _pretty(request: web.Request) -> bool:
    asked = request.query.get("pretty")
    if asked is not None:
        return asked in {"1", "true"}
    agent = request.headers.get("User-Agent", "")
    return agent.startswith(("curl", "Wget", "Mozilla/5.0"))


def _options_error(field: str, value: str, detail: str) -> StatusError:
    return errors.invalid("meta.k8s.io", "Options", "", [errors.invalid_value(field, value, detail)])


async def read_body(request: web.Request) -> bytes:
    """The raw body, within the limit."""
    try:
        raw = await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise errors.too_large(negotiate.BODY_LIMIT) from None
    if request.headers.get("Content-Encoding") == "gzip":
        return gzip.decompress(raw)
    return raw


def json_response(tree: Any, code: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(tree), status=code, content_type="application/json", headers=dict(headers or {})
    )
