"""Puts the aggregated server together, and its life from start to stop.

In: `Settings` from the command line, a client of the API server behind. Out: a running server; it ends by itself when
the trust that it was started with changes, to be started again with the new one.
"""

import asyncio
import gzip
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from tortie.apiserver import negotiate, objects
from tortie.apiserver.aggregated import defaults, profiles, trust
from tortie.apiserver.aggregated.authn import Authenticator
from tortie.apiserver.aggregated.authz import Access
from tortie.apiserver.aggregated.backend import Backend
from tortie.apiserver.aggregated.kinds import STORED, kinds
from tortie.apiserver.aggregated.served import Served
from tortie.apiserver.authz import GROUP as RBAC
from tortie.apiserver.authz import Authorizer
from tortie.apiserver.context import Context
from tortie.apiserver.http import Api
from tortie.apiserver.paths import Paths
from tortie.apiserver.registry import Registry
from tortie.apiserver.requestheader import Trust
from tortie.apiserver.subresources import Subresources
from tortie.kube.client import Client
from tortie.kube.config import ClusterConfig
from tortie.model.catalog import NAMESPACES, SERVICE_ACCOUNTS
from tortie.model.resource import Resource
from tortie.service.log import get_logger
from tortie.service.run import Fatal, Service

_log = get_logger("apiserver.aggregated")
_ROLES: tuple[Resource[Any], ...] = tuple(
    Resource(RBAC, "v1", kind, plural, namespaced, dict[str, Any])
    for kind, plural, namespaced in (
        ("ClusterRole", "clusterroles", False),
        ("ClusterRoleBinding", "clusterrolebindings", False),
        ("Role", "roles", True),
        ("RoleBinding", "rolebindings", True),
    )
)
MIRRORED: tuple[Resource[Any], ...] = (*STORED, NAMESPACES, SERVICE_ACCOUNTS, *_ROLES)


@dataclass(frozen=True, slots=True)
class Settings:
    """certificate, key: PEM files to serve with. minimum_tls: of the versions that clients may speak. refresh: seconds
    between two looks at what resources the cluster has."""

    host: str
    port: int
    certificate: Path
    key: Path
    minimum_tls: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    refresh: float = 5.0


class Server:
    """One aggregated API server."""

    def __init__(self, settings: Settings, cluster: ClusterConfig) -> None:
        self.settings = settings
        self.port = 0
        self.client = Client(cluster, timeout=10.0, retries=1, user_agent="calico-apiserver")
        self.backend = Backend(self.client, MIRRORED)
        self.access = Access(self.client)
        self.context = make_context(self.backend, self.access, refresh=settings.refresh)

    async def run(self, service: Service) -> None:
        """Serves until the service stops. Raises Fatal for what needs somebody's hand, or another start."""
        async with self.client:
            believed, data = await trust.load(self.client)
            service.spawn(self.backend.run(), "backend")
            ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

            def changed(how: str) -> None:
                if not ended.done():
                    ended.set_result(how)

            cache = trust.follow(self.client, data, changed)
            service.spawn(cache.run(), "trust")
            runner = await self._listen(believed)
            service.on_stop(lambda: self._stop(runner))
            _log.info("serving", port=self.port)
            service.spawn(self._become_ready(), "start")
            stopping = asyncio.ensure_future(service.stopping.wait())
            await asyncio.wait((ended, stopping), return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if ended.done():
                raise Fatal(f"ConfigMap {trust.NAMESPACE}/{trust.NAME} {ended.result()}: starting again with new trust")
            await self._stop(runner)

    async def _become_ready(self) -> None:
        await self.backend.wait_synced()
        profiles.serve(self.backend)
        await defaults.ensure(self.context)
        self.context.ready = True
        _log.info("ready", objects=self.backend.statistics()["objects"])

    async def _listen(self, believed: Trust) -> web.AppRunner:
        paths = Paths(self.context)
        for path in ("/.well-known/openid-configuration", "/openid/v1/jwks"):
            paths.extra.pop(path, None)
        api = Api(self.context, Authenticator(self.client, believed), self.access.check, paths, Subresources())
        app = web.Application(client_max_size=negotiate.BODY_LIMIT)
        app.router.add_route("*", "/{tail:.*}", api.handle)
        runner = web.AppRunner(app, access_log=None, keepalive_timeout=120, shutdown_timeout=1.0)
        await runner.setup()
        try:
            site = web.TCPSite(
                runner, self.settings.host, self.settings.port, ssl_context=self._tls(believed), backlog=1024
            )
            await site.start()
        except OSError as error:
            raise Fatal(f"cannot serve on {self.settings.host}:{self.settings.port}: {error}") from None
        assert site._server is not None
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]  # aiohttp's own server
        return runner

    def _tls(self, believed: Trust) -> ssl.SSLContext:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.minimum_version = self.settings.minimum_tls
        tls.load_cert_chain(self.settings.certificate, self.settings.key)
        known = "\n".join(pem for pem in (believed.client_authority, believed.authority) if pem.strip())
        if known:
            tls.load_verify_locations(cadata=known)
            tls.verify_mode = ssl.CERT_OPTIONAL
        return tls

    async def _stop(self, runner: web.AppRunner) -> None:
        self.context.ready = False
        for collection in self.backend.collections.values():
            for watcher in tuple(collection.watchers):
                watcher.close("")
        await runner.cleanup()


def make_context(backend: Backend, access: Access, *, refresh: float) -> Context:
    """The parts that handle requests, with every kind that is served."""
    registry = Registry()
    context = Context(store=backend, registry=registry, now=time.time)
    context.authorizer = Authorizer(context)
    served = Served(backend.client, registry, seconds=refresh)
    for kind in kinds(backend, access.ask, served.namespaced):
        registry.add(kind)
        if kind.stored:
            backend.collection(kind.collection).index_fields = kind.fields
    backend.collection("/namespaces").index_fields = lambda obj: {
        "status.phase": str(objects.get(obj, "status", "phase") or "")
    }
    return context


def swagger(cluster: ClusterConfig) -> bytes:
    """The OpenAPI v2 document of what this server serves."""
    client = Client(cluster)
    context = make_context(Backend(client, MIRRORED), Access(client), refresh=5.0)
    return gzip.decompress(Paths(context).documents.v2_json()[0])
