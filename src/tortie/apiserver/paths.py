"""What is served beside resources: discovery, version, health, OpenAPI, keys, metrics.

In: non-resource requests. Out: their documents. Unknown paths get the plain 404 that clients know.
"""

import gzip
import platform
import sys
from collections.abc import Callable
from typing import Any

import msgspec
from aiohttp import web

import tortie
from tortie.apiserver import discovery, negotiate
from tortie.apiserver.context import Context, User
from tortie.apiserver.openapi.documents import Documents

_GNOSTIC = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
MINOR = "37"
OPEN_PATHS = frozenset({"/healthz", "/livez", "/readyz", "/version"})


def version() -> dict[str, str]:
    """The body of /version: compatible with Kubernetes 1.37."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return {
        "major": "1",
        "minor": MINOR,
        "gitVersion": f"v1.{MINOR}.0+tortie-{tortie.__version__}",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "2026-08-01T00:00:00Z",
        "goVersion": f"python{sys.version_info.major}.{sys.version_info.minor}",
        "compiler": "cpython",
        "platform": f"linux/{machine}",
    }


class Paths:
    """Serves the non-resource paths of one server."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.discovery = discovery.Discovery(context.registry, context.aggregator)
        self.documents = Documents(context.registry, f"v1.{MINOR}.0", context.aggregator)
        self.extra: dict[str, Callable[[web.Request], web.StreamResponse]] = {
            "/.well-known/openid-configuration": lambda _: _json(context.tokens.openid_configuration()),
            "/openid/v1/jwks": lambda _: _json(context.tokens.key_set(), "application/jwk-set+json"),
            "/metrics": self._metrics,
            "/openapi/v2": self._openapi_v2,
            "/openapi/v3": lambda _: _json(self.documents.v3_index()),
            "/openapi/v3/*": self._openapi_v3,
        }

    async def serve(self, request: web.Request, user: User) -> web.StreamResponse:
        path = request.path.rstrip("/") or "/"
        if request.method not in {"GET", "HEAD"}:
            return _not_found()
        handler = self.extra.get(path)
        aggregator = self.context.aggregator
        if aggregator is not None and path.startswith("/openapi/v3/apis/"):
            found = aggregator.find(path.removeprefix("/openapi/v3"))
            if found is not None:
                return await aggregator.forward(request, user, found)
        if handler is None:
            for prefix, candidate in self.extra.items():
                if prefix.endswith("/*") and path.startswith(prefix[:-1]):
                    handler = candidate
                    break
        if handler is not None:
            return handler(request)
        head = path.split("/")[1]
        if head in {"healthz", "livez", "readyz"}:
            return self._health(request, path)
        if path == "/version":
            return _json(version())
        if head in {"api", "apis"}:
            return self._discover(request, path)
        if path == "/":
            return _json(
                {"paths": sorted(["/api", "/api/v1", "/apis", *self.extra, *OPEN_PATHS, *self._group_paths()])}
            )
        return _not_found()

    def _groups(self) -> Any:
        tree = discovery.group_list(self.context.registry)
        return self.context.aggregator.group_list(tree) if self.context.aggregator else tree

    def _group_paths(self) -> list[str]:
        return [f"/apis/{group['name']}" for group in self._groups()["groups"]]

    def _health(self, request: web.Request, path: str) -> web.Response:
        checks = {"ping": True, "storage": True}
        if path.startswith("/readyz"):
            checks["started"] = self.context.ready
        good = all(checks.values())
        parts = path.split("/")
        if len(parts) > 2:
            good = checks.get(parts[2], False)
            if parts[2] not in checks:
                return _not_found()
        if "verbose" in request.query or not good:
            lines = [f"[{'+' if ok else '-'}]{name} {'ok' if ok else 'failed'}" for name, ok in checks.items()]
            lines.append(f"{parts[1]} check {'passed' if good else 'failed'}")
            return web.Response(text="\n".join(lines) + "\n", status=200 if good else 500)
        return web.Response(text="ok")

    def _discover(self, request: web.Request, path: str) -> web.Response:
        registry = self.context.registry
        parts = path.strip("/").split("/")
        if parts in (["api"], ["apis"]):
            aggregated = self._aggregated(request, legacy=parts == ["api"])
            if aggregated is not None:
                return aggregated
        if parts == ["api"]:
            addresses = [f"{a}:{self.context.port}" for a in self.context.advertise[:1]]
            return self._plain(request, discovery.api_versions(addresses))
        if parts == ["apis"]:
            return self._plain(request, self._groups())
        if parts[0] == "apis" and len(parts) == 2:
            group = discovery.group(registry, parts[1])
            if self.context.aggregator is not None:
                group = self.context.aggregator.group(group, parts[1])
            return self._plain(request, group) if group else _not_found()
        group_name, version_name = ("", parts[1]) if parts[0] == "api" else (parts[1], parts[2])
        gv = registry.versions.get((group_name, version_name))
        if gv is None or len(parts) > (2 if parts[0] == "api" else 3):
            return _not_found()
        return self._plain(request, discovery.resource_list(gv))

    def _plain(self, request: web.Request, tree: Any) -> web.Response:
        output = negotiate.choose(request.headers.get("Accept", ""))
        from tortie.apiserver import render

        return web.Response(body=render.encode(tree, output), content_type=output.media)

    def _metrics(self, _request: web.Request) -> web.Response:
        """Counters of the store, of aggregation and of admission, in Prometheus' text form."""
        store, admission = self.context.store, self.context.admission
        lines = [f"tortie_apiserver_store_{name} {value}" for name, value in store.statistics().items()]
        if self.context.aggregator is not None:
            counts = self.context.aggregator.statistics()
            lines += [f"tortie_apiserver_aggregation_{name} {value}" for name, value in counts.items()]
        if admission is not None:
            lines += [f"tortie_apiserver_admission_{name} {value}" for name, value in admission.statistics().items()]
        for name, collection in store.collections.items():
            label = f'{{collection="{name}"}}'
            lines.append(f"tortie_apiserver_objects{label} {len(collection.records)}")
            lines.append(f"tortie_apiserver_watchers{label} {len(collection.watchers)}")
        return web.Response(text="\n".join(lines) + "\n", content_type="text/plain")

    def _openapi_v2(self, request: web.Request) -> web.Response:
        for media in negotiate.parse_accept(request.headers.get("Accept", "") or "*/*"):
            kind = media.type
            if kind in {_GNOSTIC, _GNOSTIC.replace("@", ".")}:
                body, etag = self.documents.v2_protobuf()
                return _document(request, body, etag, "application/octet-stream")
            if kind in {negotiate.JSON, "*/*", "application/*"}:
                body, etag = self.documents.v2_json()
                return _document(request, body, etag, negotiate.JSON)
        return web.Response(status=406)

    def _openapi_v3(self, request: web.Request) -> web.Response:
        parts = request.path.removeprefix("/openapi/v3/").strip("/").split("/")
        group, version = ("", parts[1]) if len(parts) == 2 and parts[0] == "api" else ("", "")
        if len(parts) == 3 and parts[0] == "apis":
            group, version = parts[1], parts[2]
        found = self.documents.v3(group, version) if version else None
        if found is None:
            return _not_found()
        body, etag = found
        wanted = request.query.get("hash")
        if wanted and wanted != etag:
            return web.Response(status=301, headers={"Location": f"{request.path}?hash={etag}"})
        response = _document(request, body, etag, negotiate.JSON)
        if wanted:
            response.headers["Cache-Control"] = "public, immutable"
        return response

    def _aggregated(self, request: web.Request, *, legacy: bool) -> web.Response | None:
        for media in negotiate.parse_accept(request.headers.get("Accept", "")):
            if media.type != negotiate.JSON:
                continue
            params = media.params
            if not params.get("as"):
                return None
            if params.get("as") != "APIGroupDiscoveryList" or params.get("g") != "apidiscovery.k8s.io":
                continue
            if params.get("v") not in {"v2", "v2beta1"}:
                continue
            body, etag = self.discovery.document(legacy=legacy, version=params["v"])
            headers = {
                "Content-Type": f"application/json;g=apidiscovery.k8s.io;v={params['v']};as=APIGroupDiscoveryList",
                "ETag": f'"{etag}"',
                "Vary": "Accept",
                "Cache-Control": "public",
            }
            if request.headers.get("If-None-Match", "").strip('"') == etag:
                return web.Response(status=304, headers=headers)
            return web.Response(body=body, headers=headers)
        return None


def _document(request: web.Request, compressed: bytes, etag: str, content_type: str) -> web.Response:
    headers = {"ETag": f'"{etag}"', "Vary": "Accept", "Content-Type": content_type}
    if request.headers.get("If-None-Match", "").strip('"') == etag:
        return web.Response(status=304, headers=headers)
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        headers["Content-Encoding"] = "gzip"
        return web.Response(body=compressed, headers=headers)
    return web.Response(body=gzip.decompress(compressed), headers=headers)


def _json(tree: Any, media: str = "application/json") -> web.Response:
    return web.Response(body=msgspec.json.encode(tree), content_type=media)


def _not_found() -> web.Response:
    return web.Response(text="404 page not found\n", status=404)
