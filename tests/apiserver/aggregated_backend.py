"""A server behind an APIService, for tests: TLS, front-proxy trust, discovery, OpenAPI, streams and WebSockets.

In: the files of an API server's PKI. Out: a listening server in a thread of its own, which keeps what it was asked and
as whom. It answers only who shows a certificate of the front-proxy authority.
"""

import asyncio
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web
from multidict import CIMultiDict

from tortie.apiserver.pki import issue_server_certificate, make_authority

GROUP, VERSION = "metrics.example.com", "v1"
ROOT = f"/apis/{GROUP}/{VERSION}"
_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_KIND = {"group": GROUP, "version": VERSION, "kind": "Reading"}
_V2 = {
    "swagger": "2.0",
    "info": {"title": "readings", "version": "1"},
    "paths": {
        f"{ROOT}/namespaces/{{namespace}}/readings": {
            "get": {
                "x-kubernetes-action": "list",
                "x-kubernetes-group-version-kind": _KIND,
                "responses": {"200": {"description": "OK", "schema": {"$ref": "#/definitions/com.example.Reading"}}},
            }
        },
        "/apis/foreign.example.com/v1/things": {"get": {"responses": {"200": {"description": "OK"}}}},
    },
    "definitions": {
        "com.example.Reading": {
            "type": "object",
            "description": "A value that was measured.",
            "x-kubernetes-group-version-kind": [_KIND],
            "properties": {
                "value": {"type": "integer", "description": "What was measured."},
                "metadata": {"$ref": "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"},
            },
        },
        "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta": {"type": "object", "description": "Another one."},
        "unused": {"type": "string"},
    },
}


@dataclass
class Backend:
    """The running server."""

    port: int = 0
    ca: bytes = b""
    healthy: bool = True
    aggregated: bool = True
    instead: dict[str, bytes] = field(default_factory=dict)  # what to answer for a path, whatever it may be
    seen: list[tuple[str, str, CIMultiDict[str], bytes]] = field(default_factory=list)
    closed_watches: int = 0

    def last(self, path: str) -> CIMultiDict[str]:
        """The headers of the newest request for a path."""
        return next(h for _, p, h, _ in reversed(self.seen) if p == path)


def _items(count: int) -> dict[str, Any]:
    items = [{"metadata": {"name": f"r{n}", "namespace": "default"}, "value": n} for n in range(count)]
    return {"kind": "ReadingList", "apiVersion": f"{GROUP}/{VERSION}", "metadata": {}, "items": items}


class _Handlers:
    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    async def handle(self, request: web.Request) -> web.StreamResponse:
        transport = request.transport
        peer = transport.get_extra_info("peercert") if transport is not None else None
        body = await request.read()
        headers = CIMultiDict(request.headers)
        headers["Test-Peer"] = dict(part[0] for part in (peer or {}).get("subject", ())).get("commonName", "")
        self.backend.seen.append((request.method, request.raw_path.partition("?")[0], headers, body))
        if not peer:
            return web.Response(status=401)
        if not self.backend.healthy:
            return web.Response(status=500, text="not healthy")
        path = request.path
        if path in self.backend.instead:
            kind = _AGGREGATED if path == "/apis" else "application/json"
            return web.Response(body=self.backend.instead[path], headers={"Content-Type": kind})
        if path == "/apis" and self.backend.aggregated and "apidiscovery" in request.headers.get("Accept", ""):
            return self._discovery()
        if path.startswith("/apis/") and not path.startswith(ROOT):
            return web.Response(status=404)
        if path == ROOT:
            return web.json_response(_legacy())
        if path == "/openapi/v2":
            if request.headers.get("If-None-Match") == '"two"':
                return web.Response(status=304)
            return web.json_response(_V2, headers={"ETag": '"two"'})
        if path == "/openapi/v3":
            place = {"serverRelativeURL": f"/openapi/v3{ROOT}?hash=ABC"}
            return web.json_response({"paths": {ROOT.strip("/"): place}})
        if path == f"/openapi/v3{ROOT}":
            return web.json_response({"openapi": "3.0.0", "paths": {}, "components": {"schemas": {}}})
        if path.endswith("/redirect"):
            return web.Response(status=302, headers={"Location": "https://127.0.0.1:1/"})
        if path.endswith("/socket"):
            return await self._socket(request)
        if path.endswith("/dropped") and request.transport is not None:
            request.transport.abort()
            return web.Response()
        if "watch" in request.query:
            return await self._watch(request)
        if request.method == "POST":
            return web.json_response({"kind": "Echo", "length": len(body)}, status=201)
        return web.json_response(_items(3), headers={"Warning": '299 - "from the backend"'})

    def _discovery(self) -> web.Response:
        resource = {
            "resource": "readings",
            "responseKind": _KIND,
            "scope": "Namespaced",
            "singularResource": "reading",
            "verbs": ["get", "list", "create"],
            "shortNames": ["rd"],
        }
        versions = [{"version": VERSION, "freshness": "Current", "resources": [resource]}]
        tree = {
            "kind": "APIGroupDiscoveryList",
            "apiVersion": "apidiscovery.k8s.io/v2",
            "metadata": {},
            "items": [{"metadata": {"name": GROUP}, "versions": versions}],
        }
        return web.Response(body=json.dumps(tree).encode(), headers={"Content-Type": _AGGREGATED})

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=["v5.channel.k8s.io"])
        await socket.prepare(request)
        async for message in socket:
            if message.type == WSMsgType.TEXT:
                await socket.send_str(message.data[::-1])
        return socket

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        try:
            while "silent" in request.query and request.transport is not None:
                await asyncio.sleep(0.05)
            await response.prepare(request)
            for number in range(2):
                line = {"type": "ADDED", "object": {"metadata": {"name": f"r{number}"}}}
                await response.write(json.dumps(line).encode() + b"\n")
            while request.transport is not None and not request.transport.is_closing():
                await asyncio.sleep(0.05)
        finally:
            self.backend.closed_watches += 1
        return response


def _legacy() -> dict[str, Any]:
    readings = {
        "name": "readings",
        "singularName": "reading",
        "namespaced": True,
        "kind": "Reading",
        "verbs": ["get", "list", "create"],
        "shortNames": ["rd"],
    }
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{GROUP}/{VERSION}",
        "resources": [readings],
    }


@contextmanager
def backend_for(pki: Path, folder: Path, name: str = "readings.default.svc") -> Iterator[Backend]:
    """A running backend whose certificate is for `name`."""
    authority = make_authority("readings-ca")
    pair = issue_server_certificate(authority, name, [name])
    for file, data in (("crt", pair.certificate), ("key", pair.key)):
        (folder / f"backend.{file}").write_bytes(data)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "backend.crt", folder / "backend.key")
    tls.load_verify_locations(pki / "front-proxy-ca.crt")
    tls.verify_mode = ssl.CERT_OPTIONAL
    backend = Backend(ca=authority.pem)
    ready, loop = threading.Event(), asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{tail:.*}", _Handlers(backend).handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        backend.port = int(runner.addresses[0][1])
        ready.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield backend
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()
