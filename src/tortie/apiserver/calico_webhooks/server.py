"""Answers AdmissionReviews over HTTPS.

In: POSTs of admission.k8s.io/v1 AdmissionReviews from an API server. Out: the same with a response; what is no such
review is 400, 405, 413 or 415, and a decision that cannot be made now 503, so that the failure policy decides.
"""

import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from tortie.apiserver.aggregated.authz import Access
from tortie.apiserver.calico_webhooks import rules
from tortie.apiserver.calico_webhooks.rules import Request
from tortie.apiserver.errors import StatusError
from tortie.kube.cache import Cache
from tortie.kube.client import Client
from tortie.kube.errors import ApiError
from tortie.model.catalog import TIERS
from tortie.service.log import get_logger
from tortie.service.run import Fatal, Service

Object = dict[str, Any]
Decide = Callable[[Request], Awaitable[StatusError | None]]
LIMIT = 3 * 1024 * 1024
CACHED_SECONDS = 5.0
VERSION = "admission.k8s.io/v1"
_log = get_logger("apiserver.webhooks")


@dataclass(frozen=True, slots=True)
class Settings:
    """client_ca: PEM of who may ask; None lets everybody. namespace: where Calico's service accounts are."""

    host: str
    port: int
    certificate: Path
    key: Path
    client_ca: Path | None = None
    namespace: str = "calico-system"


class Server:
    """The webhooks of one cluster. client: open."""

    def __init__(self, settings: Settings, client: Client) -> None:
        self.settings = settings
        self.port = 0
        self._client = client
        self._access = Access(client, seconds=CACHED_SECONDS)
        self._tiers: Cache[dict[str, Any]] = Cache(client, TIERS.untyped())
        self._deciders: dict[str, Decide] = {"/rbac": self._by_tier, "/cluster-info": self._cluster_information}

    async def run(self, service: Service) -> None:
        """Serves until the service stops. Raises Fatal."""
        service.spawn(self._tiers.run(), "tiers")
        runner = await self._listen()
        service.on_stop(runner.cleanup)
        _log.info("serving", port=self.port)
        await service.stopping.wait()

    async def _listen(self) -> web.AppRunner:
        app = web.Application(client_max_size=LIMIT)
        app.router.add_route("*", "/{tail:.*}", self.handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.minimum_version = ssl.TLSVersion.TLSv1_2
            tls.load_cert_chain(self.settings.certificate, self.settings.key)
            if self.settings.client_ca is not None:
                tls.load_verify_locations(self.settings.client_ca)
                tls.verify_mode = ssl.CERT_REQUIRED
            site = web.TCPSite(runner, self.settings.host, self.settings.port, ssl_context=tls, backlog=512)
            await site.start()
        except OSError as error:
            raise Fatal(f"cannot serve on {self.settings.host}:{self.settings.port}: {error}") from None
        assert site._server is not None
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]  # aiohttp's own server
        return runner

    async def handle(self, request: web.Request) -> web.Response:
        """The one aiohttp handler."""
        if request.path == "/readyz":
            ready = self._tiers.synced
            return web.Response(text="ok" if ready else "tiers are not known yet", status=200 if ready else 503)
        decide = self._deciders.get(request.path)
        if decide is None:
            return web.Response(text="404 page not found\n", status=404)
        if request.method != "POST":
            return web.Response(text="AdmissionReviews are sent by POST\n", status=405)
        if request.content_type != "application/json":
            return web.Response(text="the Content-Type must be application/json\n", status=415)
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return web.Response(text=f"the body may have {LIMIT} bytes\n", status=413)
        try:
            review = msgspec.json.decode(body, type=dict[str, Any])
            asked = _asked(review)
            wanted = rules.read(asked)
        except (msgspec.DecodeError, ValueError, TypeError, AttributeError) as error:
            return web.Response(text=f"the body must be an AdmissionReview of {VERSION}: {error}\n", status=400)
        try:
            refused = await decide(wanted)
        except (StatusError, ApiError) as error:
            _log.warning("a review cannot be decided", path=request.path, reason=str(error))
            return web.Response(text=f"{error}\n", status=503)
        return _answer(str(asked.get("uid", "")), refused)

    async def _by_tier(self, request: Request) -> StatusError | None:
        return await rules.by_tier(request, self._access.allowed, self._find_tier)

    async def _cluster_information(self, request: Request) -> StatusError | None:
        return rules.cluster_information(request, self.settings.namespace)

    async def _find_tier(self, name: str) -> Object | None:
        """The tier as remembered; one that is not remembered may have been made a moment ago."""
        found: Object | None = self._tiers.get(name)
        if found is None:
            found = await self._client.find(TIERS.untyped(), name)
        return found


def _asked(review: Object) -> Object:
    if (review.get("apiVersion"), review.get("kind")) != (VERSION, "AdmissionReview"):
        raise ValueError(f"it is {review.get('kind')} of {review.get('apiVersion')}")
    asked = review.get("request")
    if not isinstance(asked, dict) or not asked.get("uid"):
        raise ValueError("request.uid is missing")
    return asked


def _answer(uid: str, refused: StatusError | None) -> web.Response:
    response: Object = {"uid": uid, "allowed": refused is None}
    if refused is not None:
        response["status"] = refused.status()
    tree = {"apiVersion": VERSION, "kind": "AdmissionReview", "response": response}
    return web.Response(body=msgspec.json.encode(tree), content_type="application/json")
