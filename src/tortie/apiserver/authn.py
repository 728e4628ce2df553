"""Who sends a request: a front proxy's word, client certificates, bearer tokens, or nobody.

In: aiohttp requests (the TLS peer's certificate, headers). Out: a `User`; bad credentials are 401. The first that knows
the sender decides, in this order. X-Remote- headers of anybody else than a trusted front proxy mean nothing.
"""

from aiohttp import web

from tortie.apiserver import errors, requestheader
from tortie.apiserver.certificates import Peer, Peers
from tortie.apiserver.context import ANONYMOUS, Context, User
from tortie.apiserver.pki import FRONT_PROXY_CLIENT, Pki

CLIENTS, FRONT_PROXY = "clients", "front proxy"
_CREDENTIAL = "authentication.kubernetes.io/credential-id"


def certificate_user(peer: Peer) -> User:
    """The user that a certificate's subject names: CN is the user, every O a group."""
    groups = requestheader.with_authenticated(peer.common_name, peer.organizations)
    return User(peer.common_name, groups, extra={_CREDENTIAL: (f"X509SHA256={peer.fingerprint}",)})


def own_trust(keys: Pki) -> requestheader.Trust:
    """Whom this server believes, which is also what it tells aggregated API servers to believe."""
    return requestheader.Trust(
        authority=keys.front_proxy.pem.decode(),
        client_authority=keys.authority.pem.decode(),
        allowed_names=(FRONT_PROXY_CLIENT,),
        username_headers=("X-Remote-User",),
        uid_headers=("X-Remote-Uid",),
        group_headers=("X-Remote-Group",),
        extra_prefixes=("X-Remote-Extra-",),
    )


class Authenticator:
    """Authenticates requests of one server."""

    def __init__(self, context: Context) -> None:
        self.context = context
        keys = context.pki
        self.peers = Peers(
            {CLIENTS: [keys.authority.certificate], FRONT_PROXY: [keys.front_proxy.certificate]}, context.now
        )
        self.trust = own_trust(keys)

    async def __call__(self, request: web.Request) -> User:
        user = await self._identify(request)
        if any(name.lower().startswith("impersonate-") for name in request.headers):
            return self.context.authorizer.impersonate(user, request.headers)
        return user

    async def _identify(self, request: web.Request) -> User:
        peer = self.peers.of(request.transport)
        if peer is not None:
            user = self._by_certificate(peer, request)
            if user is not None:
                return user
        header = request.headers.get("Authorization", "")
        if header:
            scheme, _, token = header.partition(" ")
            if scheme.lower() != "bearer" or not token.strip() or not token.isascii():
                raise errors.unauthorized()
            return await self.context.tokens.authenticate(token.strip())
        if peer is not None:
            raise errors.unauthorized()  # it wanted to be somebody
        return ANONYMOUS

    def _by_certificate(self, peer: Peer, request: web.Request) -> User | None:
        if peer.authority == FRONT_PROXY and self.trust.allows(peer.common_name):
            try:
                return requestheader.user(self.trust, request.headers.items())
            except requestheader.HeaderError:
                raise errors.unauthorized() from None
        if peer.authority == CLIENTS and peer.common_name:
            return certificate_user(peer)
        return None
