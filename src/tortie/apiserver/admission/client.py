"""The way to a webhook: one HTTPS request with a review, one answer, within a time and a size.

In: a `Webhook` and the request of an AdmissionReview, or another body. Out: the review's `response`, checked for its
form; `CallError` says in one sentence why there is none. A Service is found through its EndpointSlices; redirects are
not followed.
"""

import asyncio
import base64
import binascii
import ssl
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import msgspec

from tortie.apiserver import bodies, endpoints
from tortie.apiserver.admission.configurations import Reach, Webhook
from tortie.apiserver.context import Context

Object = dict[str, Any]
MAX_ANSWER = 8 * 1024 * 1024
_API = "admission.k8s.io/v1"


class CallError(Exception):
    """Why a webhook gave no usable answer."""


class WebhookClient:
    """Connections to webhooks. Each call makes its own, so that a webhook may be restarted at any moment."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._session: aiohttp.ClientSession | None = None
        self._trust: dict[bytes, ssl.SSLContext] = {}

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, force_close=True),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                timeout=aiohttp.ClientTimeout(total=None),
                headers={"User-Agent": "tortie-apiserver-admission", "Accept": "application/json"},
            )
        return self._session

    def _tls(self, ca: bytes) -> ssl.SSLContext:
        found = self._trust.get(ca)
        if found is None:
            found = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            found.minimum_version = ssl.TLSVersion.TLSv1_2
            if ca:
                try:
                    found.load_verify_locations(cadata=ca.decode("ascii", "replace"))
                except ssl.SSLError as error:
                    raise CallError(f"caBundle has no usable certificate: {error.reason or error}") from None
            else:
                found.load_default_certs(ssl.Purpose.SERVER_AUTH)
            if len(self._trust) > 256:
                self._trust.clear()
            self._trust[ca] = found
        return found

    def _urls(self, reach: Reach) -> list[str]:
        """What to connect to: the URL, or one for each ready address of the Service."""
        if reach.service is None:
            return [_timed(reach.url, reach.seconds)]
        service = reach.service
        try:
            found = endpoints.addresses(self._context, service.namespace, service.name, service.port)
        except endpoints.Unreachable as problem:
            raise CallError(str(problem)) from None
        return [_timed(f"https://{endpoints.url_host(a)}{service.path}", reach.seconds) for a in found]

    async def ask(self, webhook: Webhook, request: Object) -> Object:
        """The `response` of the webhook's AdmissionReview. Raises CallError."""
        body = msgspec.json.encode({"kind": "AdmissionReview", "apiVersion": _API, "request": request})
        return _response(await self.post(webhook.reach, body), str(request["uid"]))

    async def post(self, reach: Reach, body: bytes) -> bytes:
        """The body of the answer to one POST, within the time and size that a webhook has. Raises CallError."""
        shown = _timed(reach.target, reach.seconds)
        try:
            async with asyncio.timeout(reach.seconds):
                return await self._post(reach, body, shown)
        except TimeoutError:
            raise CallError(f'Post "{shown}": context deadline exceeded') from None

    async def _post(self, reach: Reach, body: bytes, shown: str) -> bytes:
        name = reach.service.server_name if reach.service is not None else None
        tls = self._tls(reach.ca)
        refused: Exception | None = None
        for url in self._urls(reach):
            headers = {"Content-Type": "application/json"}
            if name is not None:
                headers["Host"] = f"{name}:{reach.service.port}" if reach.service else name
            try:
                async with self._open().post(
                    url, data=body, headers=headers, ssl=tls, server_hostname=name, allow_redirects=False
                ) as answer:
                    return await _read(answer, shown)
            except aiohttp.ClientConnectorCertificateError as error:
                raise CallError(f'Post "{shown}": {_reason(error)}') from None
            except aiohttp.ClientConnectorError as error:
                refused = error  # another endpoint of the Service may listen
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise CallError(f'Post "{shown}": {error or type(error).__name__}') from None
        raise CallError(f'Post "{shown}": {_reason(refused)}')


def _reason(error: Exception | None) -> str:
    inner = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    return str(getattr(inner, "verify_message", "") or getattr(inner, "strerror", "") or inner)


def _timed(url: str, seconds: int) -> str:
    """The URL with the query that tells a webhook how long it has."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc, parts.path, f"timeout={seconds}s", ""))


async def _read(answer: aiohttp.ClientResponse, shown: str) -> bytes:
    if answer.status != 200:
        text = (await answer.content.read(512)).decode("utf-8", "replace").strip()
        if 300 <= answer.status < 400:
            raise CallError(f'Post "{shown}": the answer is a redirect ({answer.status}), which is not followed')
        raise CallError(
            f"the webhook answered {answer.status}: {text}" if text else f"the webhook answered {answer.status}"
        )
    try:
        return await bodies.read(answer, MAX_ANSWER)
    except bodies.TooLarge:
        raise CallError(f"the webhook's answer is larger than {MAX_ANSWER} bytes") from None


def answer_of(raw: bytes, uid: str, *, api: str, kind: str, absent: str) -> Object:
    """The `response` of the review with that uid in an answer. absent: what to say without one. Raises CallError."""
    try:
        review = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CallError(f"the webhook's answer is not JSON: {error}") from None
    if not isinstance(review, dict) or review.get("kind") != kind or review.get("apiVersion") != api:
        got = (review.get("apiVersion"), review.get("kind")) if isinstance(review, dict) else type(review).__name__
        raise CallError(f"expected webhook response of {api}, Kind={kind}, got {got}")
    response = review.get("response")
    if not isinstance(response, dict):
        raise CallError(absent)
    if response.get("uid") != uid:
        raise CallError(f'expected response.uid="{uid}", got "{response.get("uid", "")}"')
    return response


def _response(raw: bytes, uid: str) -> Object:
    """Checks the form of an answer. Raises CallError."""
    response = answer_of(raw, uid, api=_API, kind="AdmissionReview", absent="webhook response was absent")
    if not isinstance(response.get("allowed", False), bool):
        raise CallError("webhook response: allowed must be a boolean")
    patch, patch_type = response.get("patch"), response.get("patchType")
    if patch and patch_type is None:
        raise CallError("webhook returned response.patch but not response.patchType")
    if patch_type is not None and not patch:
        raise CallError("webhook returned response.patchType but not response.patch")
    if patch_type not in {None, "JSONPatch"}:
        raise CallError(f'invalid webhook response.patchType, expected "JSONPatch", got "{patch_type}"')
    return response


def operations(response: Object) -> list[Any]:
    """The JSON patch of a response, empty when it has none. Raises CallError."""
    patch = response.get("patch")
    if not patch:
        return []
    try:
        decoded = msgspec.json.decode(base64.b64decode(patch, validate=True))
    except (TypeError, ValueError, binascii.Error, RecursionError) as error:
        raise CallError(f"webhook response.patch is not a JSON patch in base64: {error}") from None
    if not isinstance(decoded, list):
        raise CallError("webhook response.patch must be a list of operations")
    return decoded
