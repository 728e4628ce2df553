"""The OIDC auth-provider of kubeconfigs: an ID token, and a refresh token that gives the next one.

In: `OidcProvider` from the kubeconfig. Out: the Authorization header; renewed tokens are written back to the file that
they came from, so that the next process need not log in again.
"""

import asyncio
import base64
import binascii
import contextlib
import json
import os
import ssl
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp

from tortie.kube.config import OidcProvider, as_pem
from tortie.kube.credentials import CredentialError
from tortie.service.log import get_logger

_EARLY = 10.0
_SECONDS = 30.0
_log = get_logger("kube.oidc")


class OidcCredentials:
    """One provider's tokens."""

    certificate = None

    def __init__(self, provider: OidcProvider, *, clock: Callable[[], float] = time.time) -> None:
        self._provider = provider
        self._clock = clock
        self._token = provider.id_token
        self._refresh_token = provider.refresh_token
        self._lock = asyncio.Lock()
        self._refused = ""

    async def authorization(self) -> str | None:
        if self._usable():
            return f"Bearer {self._token}"
        async with self._lock:
            if not self._usable():
                await self._renew()
        return f"Bearer {self._token}"

    async def refresh(self) -> bool:
        self._refused = self._token
        return bool(self._refresh_token)

    def _usable(self) -> bool:
        return bool(self._token) and self._token != self._refused and self._clock() + _EARLY < expiry(self._token)

    async def _renew(self) -> None:
        provider = self._provider
        where = f"OIDC provider {provider.issuer}"
        if not self._refresh_token:
            raise CredentialError(f"{where}: the id-token has expired, and there is no refresh-token: log in again")
        form = {"grant_type": "refresh_token", "refresh_token": self._refresh_token}
        try:
            async with asyncio.timeout(_SECONDS), aiohttp.ClientSession(trust_env=True) as session:
                endpoint = await self._endpoint(session)
                answer = await self._ask(session, endpoint, form)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise CredentialError(f"{where}: {error or type(error).__name__}") from error
        token = answer.get("id_token")
        if not isinstance(token, str) or not token:
            raise CredentialError(f"{where}: its answer to the refresh has no id_token")
        self._token = token
        if isinstance(answer.get("refresh_token"), str) and answer["refresh_token"]:
            self._refresh_token = answer["refresh_token"]
        await asyncio.get_running_loop().run_in_executor(None, self._keep)

    def _tls(self) -> ssl.SSLContext:
        ca = self._provider.ca
        return ssl.create_default_context(cadata=as_pem(ca) if ca is not None else None)

    async def _endpoint(self, session: aiohttp.ClientSession) -> str:
        url = self._provider.issuer.rstrip("/") + "/.well-known/openid-configuration"
        document = await _json(session.get(url, ssl=self._tls()), url)
        endpoint = document.get("token_endpoint")
        if not isinstance(endpoint, str) or not endpoint:
            raise CredentialError(f"OIDC provider {self._provider.issuer}: its configuration has no token_endpoint")
        return endpoint

    async def _ask(self, session: aiohttp.ClientSession, endpoint: str, form: dict[str, str]) -> dict[str, Any]:
        """Refreshes; the client proves itself by a header, or, where the provider refuses that, in the form."""
        provider = self._provider
        pair = f"{quote(provider.client_id, safe='')}:{quote(provider.client_secret, safe='')}"
        basic = {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
        try:
            return await _json(session.post(endpoint, data=form, headers=basic, ssl=self._tls()), endpoint)
        except CredentialError:
            full = {**form, "client_id": provider.client_id, "client_secret": provider.client_secret}
            return await _json(session.post(endpoint, data=full, ssl=self._tls()), endpoint)

    def _keep(self) -> None:
        provider = self._provider
        try:
            keep_tokens(provider.source, provider.user, self._token, self._refresh_token)
        except (OSError, ValueError) as error:
            _log.warning("renewed tokens not written back", kubeconfig=str(provider.source), error=str(error))


async def _json(request: Any, url: str) -> dict[str, Any]:
    async with request as response:
        body = await response.content.read(1 << 20)
        if response.status != 200:
            raise CredentialError(f"{url}: HTTP {response.status}")
    try:
        document = json.loads(body)
    except ValueError:
        raise CredentialError(f"{url}: the answer is not JSON") from None
    if not isinstance(document, dict):
        raise CredentialError(f"{url}: the answer is not a JSON object")
    return document


def expiry(token: str) -> float:
    """When a JWT expires, in seconds since 1970; 0 for what is not one."""
    try:
        part = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        return float(claims["exp"])
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error):
        return 0.0


def keep_tokens(path: Path, user: str, id_token: str, refresh_token: str) -> None:
    """Writes tokens into a user's auth-provider entry: all at once, readable by the owner alone."""
    import yaml

    path = path.resolve()
    document = yaml.safe_load(path.read_text())
    for entry in document.get("users") or ():
        if entry.get("name") == user:
            settings = entry["user"]["auth-provider"].setdefault("config", {})
            settings["id-token"], settings["refresh-token"] = id_token, refresh_token
            break
    else:
        raise ValueError(f"no user {user!r}")
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(descriptor, "w") as file:
            yaml.safe_dump(document, file, sort_keys=False)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
