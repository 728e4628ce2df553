"""Users of an OpenID Connect provider: ID tokens as bearer tokens.

In: the provider's address and rules from the command line, tokens from requests, the provider's published keys. Out: a
`User`, or 401. The keys are fetched when first needed and again for a key that is not known, so the provider may start
later, and rotate.
"""

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import msgspec

from tortie.apiserver import bodies, errors
from tortie.apiserver.context import User
from tortie.apiserver.requestheader import with_authenticated

ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512")
_SECONDS = 10.0  # for one request to the provider
_AGAIN_SECONDS = 2.0  # the least time between two, so that tokens with invented keys do no harm
_OLD_SECONDS = 3600.0
_LIMIT = 1 << 20
_NOT_YET_SECONDS = 300.0  # how far a provider's clock may be ahead
_log = logging.getLogger("tortie.apiserver")


class OidcError(ValueError):
    """What is wrong with a setting, a token's claims, or the provider."""


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """The --oidc- flags. username_prefix None: the issuer and #, unless the claim is `email`; `-`: none at all."""

    issuer: str
    client_id: str
    username_claim: str = "sub"
    username_prefix: str | None = None
    groups_claim: str = ""
    groups_prefix: str = ""
    required_claims: Mapping[str, str] = field(default_factory=dict)
    ca_file: Path | None = None
    algorithms: tuple[str, ...] = ("RS256",)

    @property
    def prefix(self) -> str:
        if self.username_prefix is None:
            return "" if self.username_claim == "email" else f"{self.issuer}#"
        return "" if self.username_prefix == "-" else self.username_prefix


def check(settings: OidcSettings) -> None:
    """Raises OidcError, which names the flag, for settings that cannot work."""
    if not settings.issuer.startswith("https://"):
        raise OidcError(f"--oidc-issuer-url {settings.issuer!r} must begin with https://")
    for flag, value in (("--oidc-client-id", settings.client_id), ("--oidc-username-claim", settings.username_claim)):
        if not value:
            raise OidcError(f"{flag} must not be empty when --oidc-issuer-url is given")
    for name in settings.algorithms:
        if name not in ALGORITHMS:
            raise OidcError(f"--oidc-signing-algs {name!r} must be one of {', '.join(ALGORITHMS)}")
    if settings.ca_file is not None:
        try:
            ssl.create_default_context(cafile=str(settings.ca_file))
        except OSError as error:  # an ssl.SSLError is one
            raise OidcError(f"--oidc-ca-file {settings.ca_file} cannot be read: {error.strerror or error}") from None


def user_of(settings: OidcSettings, claims: Mapping[str, Any]) -> User:
    """The user that verified claims describe. Raises OidcError."""
    name = claims.get(settings.username_claim)
    if not isinstance(name, str) or not name:
        raise OidcError(f"the claim {settings.username_claim!r} must be a text that is not empty")
    if settings.username_claim == "email" and claims.get("email_verified", True) is not True:
        raise OidcError("the e-mail address is not verified")
    for key, wanted in settings.required_claims.items():
        if claims.get(key) != wanted:
            raise OidcError(f"the claim {key!r} must be {wanted!r}")
    groups: list[str] = []
    if settings.groups_claim:
        found = claims.get(settings.groups_claim, [])
        groups = [found] if isinstance(found, str) else found
        if not isinstance(groups, list) or not all(isinstance(g, str) for g in groups):
            raise OidcError(f"the claim {settings.groups_claim!r} must be a text or a list of texts")
    known = f"{settings.prefix}{name}"
    identifier = claims.get("jti")
    extra = {"authentication.kubernetes.io/credential-id": (f"JTI={identifier}",)} if identifier else {}
    return User(known, with_authenticated(known, tuple(f"{settings.groups_prefix}{g}" for g in groups)), "", extra)


def issuer_of(token: str) -> str:
    """Who says that he made the token; nothing is verified."""
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except jwt.PyJWTError:
        return ""
    return str(claims.get("iss", ""))


class Oidc:
    """One provider."""

    def __init__(self, settings: OidcSettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.settings = settings
        self._clock = clock
        self._keys: list[jwt.PyJWK] = []
        self._fetched = self._tried = float("-inf")
        self._lock = asyncio.Lock()

    def concerns(self, token: str) -> bool:
        """Whether the token says that it is this provider's."""
        return issuer_of(token) == self.settings.issuer

    async def user(self, token: str) -> User:
        """The user of an ID token. Raises StatusError 401."""
        try:
            return user_of(self.settings, await self._claims(token))
        except (jwt.PyJWTError, OidcError) as error:
            _log.info("an ID token is refused: %s", error)
            raise errors.unauthorized() from None

    async def _claims(self, token: str) -> dict[str, Any]:
        header = jwt.get_unverified_header(token)
        algorithm = str(header.get("alg"))
        if algorithm not in self.settings.algorithms:
            raise OidcError(f"it is signed with {algorithm!r}, not with {', '.join(self.settings.algorithms)}")
        if self._clock() - self._fetched > _OLD_SECONDS:
            await self._fetch()
        try:
            return self._verified(token, header.get("kid"), algorithm)
        except jwt.InvalidSignatureError:
            before = self._fetched
            await self._fetch()  # the provider may have new keys
            if self._fetched == before:
                raise
            return self._verified(token, header.get("kid"), algorithm)

    def _verified(self, token: str, key_id: Any, algorithm: str) -> dict[str, Any]:
        last: jwt.PyJWTError = jwt.InvalidSignatureError("no key of the provider fits")
        for key in self._keys:
            if key_id and key.key_id and key.key_id != key_id:
                continue
            if key.algorithm_name != algorithm and not (key.key_type == "RSA" and algorithm[:2] in {"RS", "PS"}):
                continue
            try:
                claims: dict[str, Any] = jwt.decode(
                    token,
                    key.key,
                    algorithms=[algorithm],
                    audience=self.settings.client_id,
                    issuer=self.settings.issuer,
                    options={"require": ["exp", "iss", "aud"], "verify_iat": False, "verify_nbf": False},
                )
            except jwt.InvalidSignatureError as error:
                last = error
                continue
            start = claims.get("nbf")
            if isinstance(start, int | float) and start > time.time() + _NOT_YET_SECONDS:
                raise OidcError("it is not valid yet")
            return claims
        raise last

    async def _fetch(self) -> None:
        """Reads the provider's keys; the old ones stay when that does not work."""
        async with self._lock:
            if self._clock() - self._tried < _AGAIN_SECONDS:
                return
            self._tried = self._clock()
            try:
                self._keys = await self._published()
            except (aiohttp.ClientError, OSError, TimeoutError, OidcError, msgspec.MsgspecError) as error:
                _log.warning("keys of %s cannot be read: %s", self.settings.issuer, error or type(error).__name__)
            else:
                self._fetched = self._clock()

    async def _published(self) -> list[jwt.PyJWK]:
        settings = self.settings
        tls = ssl.create_default_context(cafile=str(settings.ca_file) if settings.ca_file else None)
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls, force_close=True), timeout=timeout
        ) as session:
            document = await _get(session, f"{settings.issuer.rstrip('/')}/.well-known/openid-configuration")
            if document.get("issuer") != settings.issuer:
                raise OidcError(f"the provider calls itself {document.get('issuer')!r}")
            place = str(document.get("jwks_uri", ""))
            if not place.startswith("https://"):
                raise OidcError(f"jwks_uri {place!r} must begin with https://")
            listed = (await _get(session, place)).get("keys")
        found = []
        for entry in listed if isinstance(listed, list) else []:
            if not isinstance(entry, dict) or entry.get("use", "sig") != "sig" or entry.get("kty") == "oct":
                continue
            try:
                found.append(jwt.PyJWK(entry))
            except (jwt.PyJWTError, ValueError, TypeError) as error:
                _log.info("a key of %s is left out: %s", settings.issuer, error)
        if not found:
            raise OidcError("no key to verify signatures with is published")
        return found


async def _get(session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    async with session.get(url, allow_redirects=False) as answer:
        if answer.status != 200:
            raise OidcError(f"{url} answered {answer.status}")
        tree = msgspec.json.decode(await bodies.read(answer, _LIMIT))
    if not isinstance(tree, dict):
        raise OidcError(f"{url} answered no JSON object")
    return tree
