"""Who sends a request to the aggregated server.

In: aiohttp requests: the certificate that TLS has verified against either authority, headers, bearer tokens. Out: a
`User`, or 401. In this order: the headers of a front proxy, the client certificate, the bearer token (by TokenReview
to the API server behind), nobody (spec/apiserver-controllers-clis.md 1.2). Headers from anyone but a front proxy are
not read at all.
"""

import hashlib
import time
from collections.abc import Callable
from typing import Any

from aiohttp import web

from tortie.apiserver import errors, requestheader
from tortie.apiserver.aggregated.trust import authorities
from tortie.apiserver.authn import CLIENTS, FRONT_PROXY, certificate_user
from tortie.apiserver.certificates import Peer, Peers
from tortie.apiserver.context import ANONYMOUS, User
from tortie.apiserver.errors import StatusError
from tortie.apiserver.requestheader import Trust
from tortie.kube.client import Client
from tortie.kube.errors import ApiError
from tortie.model.resource import Resource

TOKEN_SECONDS = 10.0
_LIMIT = 4096
TOKEN_REVIEWS: Resource[dict[str, Any]] = Resource(
    "authentication.k8s.io", "v1", "TokenReview", "tokenreviews", False, dict[str, Any]
)


class Authenticator:
    """Authenticates requests of one server."""

    def __init__(self, client: Client, trust: Trust, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._trust = trust
        self._clock = clock
        # Front proxies first: one bundle may hold authorities of both, and then the headers count.
        self._peers = Peers({FRONT_PROXY: authorities(trust.authority), CLIENTS: authorities(trust.client_authority)})
        self._users = Peers({CLIENTS: authorities(trust.client_authority)})
        self._tokens: dict[bytes, tuple[float, User | None]] = {}

    async def __call__(self, request: web.Request) -> User:
        user = await self._identify(request)
        if any(name.lower().startswith("impersonate-") for name in request.headers):
            raise StatusError(
                403,
                "Forbidden",
                "this server does not impersonate; send the request through the API server in front of it",
                details={},
            )
        return user

    async def _identify(self, request: web.Request) -> User:
        peer = self._peers.of(request.transport)
        if peer is not None:
            user = self._by_certificate(peer, request)
            if user is not None:
                return user
        header = request.headers.get("Authorization", "")
        if header:
            scheme, _, token = header.partition(" ")
            if scheme.lower() != "bearer" or not token.strip():
                raise errors.unauthorized()
            return await self._from_token(token.strip())
        if peer is not None:
            raise errors.unauthorized()  # it wanted to be somebody
        return ANONYMOUS

    def _by_certificate(self, peer: Peer, request: web.Request) -> User | None:
        if peer.authority == FRONT_PROXY and self._trust.allows(peer.common_name):
            try:
                user = requestheader.user(self._trust, request.headers.items())
            except requestheader.HeaderError:
                raise errors.unauthorized() from None
            if user is not None:
                return user
        as_user = self._users.of(request.transport)
        if as_user is not None and as_user.authority == CLIENTS and as_user.common_name:
            return certificate_user(as_user)
        return None

    async def _from_token(self, token: str) -> User:
        place = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        found = self._tokens.get(place)
        if found is None or found[0] <= self._clock():
            found = (self._clock() + TOKEN_SECONDS, await self._review(token))
            _keep(self._tokens, place, found)
        if found[1] is None:
            raise errors.unauthorized()
        return found[1]

    async def _review(self, token: str) -> User | None:
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
        try:
            answer = await self._client.create(TOKEN_REVIEWS, review)
        except ApiError as error:
            raise errors.unavailable(f"the token cannot be reviewed now: {error.message}") from None
        status = answer.get("status") or {}
        if not status.get("authenticated"):
            return None
        user = status.get("user") or {}
        extra = {str(k).lower(): tuple(v) for k, v in (user.get("extra") or {}).items()}
        return User(str(user.get("username", "")), tuple(user.get("groups") or ()), str(user.get("uid") or ""), extra)


def _keep(cache: dict[bytes, Any], key: bytes, value: Any) -> None:
    if len(cache) >= _LIMIT:
        cache.pop(next(iter(cache)))
    cache[key] = value
