"""An API server for tests of the client side that misbehaves on request: cut lines, 410, resets, silence.

It keeps objects of any resource with resource versions and history and serves list and watch. The real embedded server
is tested against the same client in test_kube_contract.py; this one exists for the faults.
"""

import asyncio
import json
from collections import deque
from collections.abc import Callable
from typing import Any

from aiohttp import web

from tortie.kube.config import ClusterConfig

Fault = Callable[["FakeApi", web.Request], Any]


class FakeApi:
    def __init__(self) -> None:
        self.version = 100
        self.oldest = 0
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.history: list[tuple[int, str, str, dict[str, Any]]] = []
        self.requests: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.list_faults: deque[Fault] = deque()
        self.watch_faults: deque[Fault] = deque()
        self.other_faults: deque[Fault] = deque()
        self.watchers: list[tuple[str, web.StreamResponse, web.Request]] = []
        self.silent = False
        self.port = 0
        self._runner: web.AppRunner | None = None

    # --- life ----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """As abruptly as kill -9."""
        self.cut()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @property
    def config(self) -> ClusterConfig:
        return ClusterConfig(server=f"http://127.0.0.1:{self.port}", calico_api_group="projectcalico.org/v3")

    # --- state ---------------------------------------------------------------------------------------------------

    def put(
        self, plural: str, name: str, namespace: str = "", *, uid: str | None = None, **fields: Any
    ) -> dict[str, Any]:
        self.version += 1
        key = (plural, namespace, name)
        old = self.objects.get(key)
        metadata = {
            "name": name,
            "uid": uid or (old["metadata"]["uid"] if old else f"uid-{self.version}"),
            "resourceVersion": str(self.version),
            **({"namespace": namespace} if namespace else {}),
        }
        obj = {"metadata": metadata, **fields}
        self.objects[key] = obj
        self._record("MODIFIED" if old else "ADDED", plural, obj)
        return obj

    def remove(self, plural: str, name: str, namespace: str = "") -> None:
        self.version += 1
        obj = self.objects.pop((plural, namespace, name))
        metadata = {**obj["metadata"], "resourceVersion": str(self.version)}
        self._record("DELETED", plural, {**obj, "metadata": metadata})

    def compact(self) -> None:
        """Forget history: watches from older versions get 410."""
        self.oldest = self.version
        self.history.clear()

    def _record(self, type_: str, plural: str, obj: dict[str, Any]) -> None:
        self.history.append((self.version, type_, plural, obj))
        self._send(plural, frame(type_, obj))

    def bookmark(self, version: int | None = None) -> None:
        obj = {"kind": "X", "apiVersion": "v1", "metadata": {"resourceVersion": str(version or self.version)}}
        self._send(None, frame("BOOKMARK", obj))

    def error_event(self, code: int, reason: str) -> None:
        status = {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": reason}
        self._send(None, frame("ERROR", status))

    def cut(self, after: bytes = b"") -> None:
        """Break every open watch at once, after some bytes of an unfinished line."""
        for _, response, request in self.watchers:
            if request.transport is not None:
                if after and response._payload_writer is not None:
                    request.transport.write(b"%x\r\n%s\r\n" % (len(after), after))
                request.transport.abort() if not after else request.transport.close()
        self.watchers.clear()

    def raw(self, data: bytes) -> None:
        self._send(None, data)

    def _send(self, plural: str | None, data: bytes) -> None:
        if self.silent:
            return
        for watched, _, request in self.watchers:
            if (plural is None or watched == plural) and request.transport is not None:
                request.transport.write(b"%x\r\n%s\r\n" % (len(data), data))

    # --- HTTP ----------------------------------------------------------------------------------------------------

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/readyz":
            return web.Response(text="ok")
        watching = request.query.get("watch") == "true"
        parts = request.path.strip("/").split("/")
        start = 2 if parts[0] == "api" else 3
        rest = parts[start:]
        if len(rest) >= 3 and rest[0] == "namespaces":
            rest = rest[2:]
        plural = f"{rest[0]}.{parts[1]}" if parts[0] == "apis" else rest[0]
        kind = "watch" if watching else ("list" if len(rest) == 1 and request.method == "GET" else "other")
        self.requests.append(f"{kind} {plural} {request.query.get('resourceVersion', '')}".strip())
        self.headers.append(dict(request.headers))
        faults = {"watch": self.watch_faults, "list": self.list_faults, "other": self.other_faults}[kind]
        if faults:
            result = faults.popleft()(self, request)
            if asyncio.iscoroutine(result):
                result = await result
            if result is not None:
                return result
        if kind == "watch":
            return await self._watch(request, plural)
        if kind == "list":
            return self._list(request, plural)
        return web.json_response(dict(request.headers))

    def _list(self, request: web.Request, plural: str) -> web.Response:
        items = [o for (p, _, _), o in sorted(self.objects.items()) if p == plural]
        metadata: dict[str, Any] = {"resourceVersion": str(self.version)}
        limit, token = int(request.query.get("limit", 0)), int(request.query.get("continue") or 0)
        if limit and len(items) > token + limit:
            metadata["continue"] = str(token + limit)
        page = items[token : token + limit] if limit else items
        return web.json_response({"kind": "List", "metadata": metadata, "items": page})

    async def _watch(self, request: web.Request, plural: str) -> web.StreamResponse:
        since = int(request.query.get("resourceVersion") or 0)
        if since < self.oldest:
            return status(410, "Expired", f"too old resource version: {since} ({self.oldest})")
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        backlog = b"".join(frame(t, o) for v, t, p, o in self.history if p == plural and v > since)
        assert request.transport is not None
        if backlog:
            request.transport.write(b"%x\r\n%s\r\n" % (len(backlog), backlog))
        self.watchers.append((plural, response, request))
        while request.transport is not None and not request.transport.is_closing():
            await asyncio.sleep(0.01)
        return response


def frame(type_: str, obj: dict[str, Any]) -> bytes:
    return json.dumps({"type": type_, "object": obj}).encode() + b"\n"


def status(code: int, reason: str, message: str = "", *, retry_after: str = "", **details: Any) -> web.Response:
    body = {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message or reason}
    if details:
        body["details"] = details
    return web.json_response(body, status=code, headers={"Retry-After": retry_after} if retry_after else {})


def answer(code: int, reason: str, **more: Any) -> Fault:
    return lambda _api, _request: status(code, reason, **more)


def reset(_api: FakeApi, request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def eventually(condition: Callable[[], Any], *, within: float = 10.0, what: str = "") -> None:
    """Polls until the condition holds."""
    loop = asyncio.get_running_loop()
    end = loop.time() + within
    while not condition():
        if loop.time() > end:
            raise AssertionError(f"not within {within} s: {what or condition}")
        await asyncio.sleep(0.005)
