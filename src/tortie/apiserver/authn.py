"""Who sends a request: client certificates, bearer tokens, or nobody.

In: aiohttp requests (the TLS peer's certificate, the Authorization header). Out: a `User`; bad credentials are 401.
"""

from typing import Any

from aiohttp import web

from tortie.apiserver import errors
from tortie.apiserver.context import ANONYMOUS, Context, User


def certificate_user(subject: Any) -> User:
    """The user that a certificate's subject names: CN is the user, every O a group."""
    name = ""
    groups: list[str] = []
    for rdn in subject:
        for key, value in rdn:
            if key == "commonName":
                name = value
            elif key == "organizationName":
                groups.append(value)
    return User(name, (*groups, "system:authenticated"))


class Authenticator:
    """Authenticates requests of one server."""

    def __init__(self, context: Context) -> None:
        self.context = context

    async def __call__(self, request: web.Request) -> User:
        user = await self._identify(request)
        if any(name.lower().startswith("impersonate-") for name in request.headers):
            return self.context.authorizer.impersonate(user, request.headers)
        return user

    async def _identify(self, request: web.Request) -> User:
        transport = request.transport
        peer = transport.get_extra_info("peercert") if transport is not None else None
        if peer:
            user = certificate_user(peer.get("subject", ()))
            if user.name:
                return user
        header = request.headers.get("Authorization", "")
        if header:
            scheme, _, token = header.partition(" ")
            if scheme.lower() != "bearer" or not token.strip():
                raise errors.unauthorized()
            return await self.context.tokens.authenticate(token.strip())
        return ANONYMOUS
