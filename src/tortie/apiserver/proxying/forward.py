"""The way of a request to an aggregated API server, and of its answer back: plain, streamed, or upgraded.

In: an authenticated and authorised request, and its `Target`. Out: the other server's answer, unchanged. Who asks is
told in X-Remote- headers, which that server believes because of this server's front-proxy certificate; what the client
sent in such headers, and its credentials, stay here.
"""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from typing import Any, TypeVar

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from tortie.apiserver import endpoints, errors, requestheader
from tortie.apiserver.context import Context, User
from tortie.apiserver.endpoints import Address, Unreachable, url_host
from tortie.apiserver.pki import FRONT_PROXY_CLIENT
from tortie.apiserver.proxying.services import Target
from tortie.service import upgrade

_log = logging.getLogger("tortie.apiserver")
_T = TypeVar("_T")
CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 60.0
GONE_SECONDS = 2.0  # how soon a client that went away during a silent watch is noticed
_DECODED = frozenset({"gzip", "deflate", "br", "zstd"})  # compressions of bodies that the HTTP library has undone
_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
     "trailers", "transfer-encoding", "upgrade"}
)  # fmt: skip


def outgoing(headers: Mapping[str, str], user: User, *, peer: str = "", upgrading: bool = False) -> CIMultiDict[str]:
    """The headers of the forwarded request."""
    sent: CIMultiDict[str] = CIMultiDict({"Connection": "Upgrade"} if upgrading else {})
    named = {h.strip().lower() for h in headers.get("Connection", "").split(",")}
    for key, value in headers.items():
        lower = key.lower()
        if lower in {"host", "authorization", "expect"}:
            continue
        if lower.replace("_", "-").startswith(("x-remote-", "impersonate-")):  # some servers take _ for -
            continue
        if (lower in _HOP or lower in named) and not (upgrading and lower == "upgrade"):
            continue
        if lower == "x-forwarded-for":
            continue
        if not _sendable(value):
            raise errors.bad_request(f"the header {key} must be UTF-8")
        kept = _without_token(value) if lower == "sec-websocket-protocol" else value
        if kept or not value:
            sent.add(key, kept)
    before = headers.get("X-Forwarded-For", "")
    if peer:
        sent["X-Forwarded-For"] = f"{before}, {peer}" if before else peer
    for key, value in requestheader.headers(user):
        sent.add(key, value)
    return sent


def _sendable(value: str) -> bool:
    """Whether the value came as UTF-8: other bytes are kept as lone surrogates."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _without_token(protocols: str) -> str:
    """Sub-protocols of a WebSocket without the one that carries a bearer token."""
    kept = [p.strip() for p in protocols.split(",") if p.strip()]
    return ", ".join(p for p in kept if not p.startswith("base64url.bearer.authorization.k8s.io."))


def _path(request: web.Request) -> str:
    """Path and query as the client wrote them, without the scheme and host that it may have written too."""
    url = request.rel_url
    return f"{url.raw_path}?{url.raw_query_string}" if url.raw_query_string else url.raw_path


def straight(path: str) -> bool:
    """Whether every server reads the path as this one does: no empty segment, nothing that goes up."""
    return not any(part in {"", ".", ".."} for part in path.strip("/").split("/")) and "//" not in path


async def _while_connected(request: web.Request, work: Coroutine[Any, Any, _T]) -> _T:
    """The result of `work`, which ends when the client goes away."""
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait((task,), timeout=GONE_SECONDS))[0]:
            if request.transport is None or request.transport.is_closing():
                raise ClientGone("the client is gone")
        return task.result()
    finally:
        task.cancel()


class _Body:
    """A request's body on its way; `broken` says what was wrong with it."""

    def __init__(self, request: web.Request) -> None:
        self._content = request.content
        self.broken = ""

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._content.iter_any():
                yield chunk
        except Exception as error:  # what the parser says of broken chunks, or of a compression that is none
            self.broken = str(error) or type(error).__name__
            raise aiohttp.ClientPayloadError(self.broken) from None


class ClientGone(ConnectionResetError):
    """The client went away while the other server was at work."""


def refusal(status: int, text: str) -> web.Response:
    """An answer of this server itself, in plain text: clients tell it by that from what the other server says."""
    return web.Response(status=status, text=text + "\n", headers={"X-Content-Type-Options": "nosniff"})


class Forwarder:
    """Connections to aggregated API servers."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._contexts: dict[tuple[bytes, bool], ssl.SSLContext] = {}
        self._kept: aiohttp.ClientSession | None = None
        self._single: aiohttp.ClientSession | None = None
        self.counts = {"forwarded": 0, "unreachable": 0, "active": 0, "upgraded": 0, "connected": 0}

    def tls(self, target: Target) -> ssl.SSLContext:
        """TLS with the front-proxy certificate, and trust in what the APIService says."""
        place = (target.ca, target.insecure)
        found = self._contexts.get(place)
        if found is None:
            found = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            found.minimum_version = ssl.TLSVersion.TLSv1_2
            if target.insecure:
                found.check_hostname = False
                found.verify_mode = ssl.CERT_NONE
            elif target.ca:
                found.load_verify_locations(cadata=target.ca.decode())
            else:
                found.load_default_certs(ssl.Purpose.SERVER_AUTH)
            found.load_cert_chain(*self.context.pki.pair(FRONT_PROXY_CLIENT))
            if len(self._contexts) > 64:
                self._contexts.clear()
            self._contexts[place] = found
        return found

    def session(self, method: str) -> aiohttp.ClientSession:
        """Connections are kept for reads only: a write on one that the other side is closing could not be repeated."""
        if self._kept is None or self._single is None:
            timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS)

            def made(**options: Any) -> aiohttp.ClientSession:
                return aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(limit=0, **options),
                    timeout=timeout,
                    auto_decompress=False,
                    cookie_jar=aiohttp.DummyCookieJar(),
                    skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
                )

            self._kept, self._single = made(keepalive_timeout=30), made(force_close=True)
        return self._kept if method in {"GET", "HEAD"} else self._single

    async def close(self) -> None:
        for session in (self._kept, self._single):
            if session is not None:
                await session.close()

    async def forward(
        self, request: web.Request, user: User, target: Target, *, audit_id: str = "", long_running: bool = False
    ) -> web.StreamResponse:
        """Answers a request with what the target answers. Raises StatusError."""
        self.counts["forwarded"] += 1
        self.counts["active"] += 1
        try:
            return await self._forward(request, user, target, audit_id=audit_id, long_running=long_running)
        finally:
            self.counts["active"] -= 1

    async def _forward(
        self, request: web.Request, user: User, target: Target, *, audit_id: str, long_running: bool
    ) -> web.StreamResponse:
        try:
            found = endpoints.addresses(self.context, target.namespace, target.service, target.port)
        except Unreachable as problem:
            self.counts["unreachable"] += 1
            _log.warning("%s: %s", target.name, problem.message)
            return refusal(503, "service unavailable")
        upgrading = "upgrade" in request.headers.get("Connection", "").lower() and "Upgrade" in request.headers
        try:
            headers = outgoing(request.headers, user, peer=request.remote or "", upgrading=upgrading)
        except requestheader.HeaderError as problem:
            raise errors.internal(f"the user's name, groups or extra values cannot be passed on: {problem}") from None
        headers["Host"] = f"{target.server_name}:{target.port}"
        if audit_id:
            headers["Audit-Id"] = audit_id
        if upgrading:
            return await self._upgrade(request, headers, target, found)
        return await self._plain(request, headers, target, found, long_running=long_running)

    async def _plain(
        self,
        request: web.Request,
        headers: CIMultiDict[str],
        target: Target,
        found: list[Address],
        *,
        long_running: bool,
    ) -> web.StreamResponse:
        body = _Body(request) if request.body_exists else None
        if headers.get("Content-Encoding", "").lower() in _DECODED:
            headers.popall("Content-Encoding")
            headers.popall("Content-Length", None)
        for number, address in enumerate(found):
            url = URL(f"https://{url_host(address)}{_path(request)}", encoded=True)
            try:
                async with asyncio.timeout(None if long_running else ANSWER_SECONDS) as limit:
                    answer = await _while_connected(request, self.session(request.method).request(
                        request.method, url, headers=headers, data=body and body.chunks(), ssl=self.tls(target),
                        server_hostname=target.server_name, allow_redirects=False,
                    ))  # fmt: skip
            except aiohttp.ClientConnectorError as error:
                if number + 1 < len(found):
                    continue  # nothing of the body was sent
                return self._unreachable(target, error)
            except TimeoutError as error:
                if limit.expired():
                    return refusal(504, f"the server of {target.name} did not answer within {ANSWER_SECONDS:.0f} s")
                return self._unreachable(target, error)
            except ClientGone:
                raise
            except (aiohttp.ClientError, OSError) as error:
                if body is not None and body.broken:
                    return refusal(400, f"the body of the request could not be read: {body.broken}")
                return self._unreachable(target, error)
            async with answer:
                return await _relay(request, answer)
        return refusal(503, "service unavailable")

    async def _upgrade(
        self, request: web.Request, headers: CIMultiDict[str], target: Target, found: list[Address]
    ) -> web.StreamResponse:
        """WebSocket, SPDY or anything else: the request as it came, then bytes both ways."""
        headers.popall("Content-Length", None)
        lines = [f"{request.method} {_path(request)} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
        if any("\r" in line or "\n" in line for line in lines):
            raise errors.bad_request("a header has a line break")
        problem: BaseException = OSError("no address")
        for address in found:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    back, to_server = await asyncio.open_connection(
                        *address, ssl=self.tls(target), server_hostname=target.server_name, limit=1 << 20
                    )
                break
            except OSError as error:
                problem = error
        else:
            return self._unreachable(target, problem)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                to_server.write("\r\n".join(lines).encode() + b"\r\n\r\n")
                head = await back.readuntil(b"\r\n\r\n")
        except (OSError, EOFError, asyncio.LimitOverrunError) as error:
            to_server.close()
            return self._unreachable(target, error)
        status = _status(head)
        if status != 101:
            try:
                return await _refused(head, back, status)
            finally:
                to_server.close()
        try:
            client, to_client = upgrade.take_over(request)
        except ConnectionError:
            to_server.close()
            raise
        to_client.write(head)
        self.counts["upgraded"] += 1
        # The request is answered; what follows may last for hours and holds nothing of the server but two connections.
        self.context.spawn(self._relay(client, to_client, back, to_server), f"upgraded connection to {target.name}")
        return web.Response(status=101)

    async def _relay(
        self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter,
        back: asyncio.StreamReader, to_server: asyncio.StreamWriter,
    ) -> None:  # fmt: skip
        self.counts["connected"] += 1
        try:
            await upgrade.both_ways(client, to_client, back, to_server)
        finally:
            self.counts["connected"] -= 1
            to_server.close()

    def _unreachable(self, target: Target, error: BaseException) -> web.Response:
        self.counts["unreachable"] += 1
        _log.warning("cannot reach the server of %s: %s", target.name, error or type(error).__name__)
        return refusal(503, f"error trying to reach service: {error or type(error).__name__}")


def _status(head: bytes) -> int:
    """The status code of an answer's head; 502 for what is no HTTP."""
    first = head.split(b" ", 2)
    return int(first[1]) if len(first) == 3 and first[0].startswith(b"HTTP/1.") and first[1].isdigit() else 502


async def _refused(head: bytes, back: asyncio.StreamReader, status: int) -> web.Response:
    """The other server's refusal of an upgrade."""
    headers = {}
    for line in head.decode(errors="replace").split("\r\n")[1:]:
        key, _, value = line.partition(":")
        if key.lower() in {"content-type", "retry-after"}:
            headers[key] = value.strip()
    body = b""
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(2):
            body = await back.read(65536)
    return web.Response(status=status, headers=headers, body=body)


def _kept_headers(answer: aiohttp.ClientResponse) -> Iterable[tuple[str, str]]:
    named = {h.strip().lower() for h in answer.headers.get("Connection", "").split(",")}
    for key, value in answer.headers.items():
        if key.lower() not in _HOP and key.lower() not in named and key.lower() != "audit-id" and _sendable(value):
            yield key, value


async def _relay(request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    """Copies an answer as it arrives. Ends with the client."""
    if 300 <= answer.status < 400 and answer.status != 304:
        return refusal(502, "the backend attempted to redirect this request, which is not permitted")
    reason = answer.reason if answer.reason and answer.reason.isascii() else None
    response = web.StreamResponse(status=answer.status, reason=reason)
    for key, value in _kept_headers(answer):
        response.headers.add(key, value)
    if "Content-Length" not in answer.headers and answer.status not in {204, 304} and request.method != "HEAD":
        response.enable_chunked_encoding()
    try:
        await response.prepare(request)
        if request.method != "HEAD":
            await _copy(request, answer, response)
        await response.write_eof()
    except (ConnectionError, aiohttp.ClientError) as error:
        answer.close()
        if request.transport is not None:
            request.transport.close()  # the only way to tell a client that the rest will not come
        _log.debug("forwarding ended: %s", error)
    return response


async def _copy(request: web.Request, answer: aiohttp.ClientResponse, response: web.StreamResponse) -> None:
    while chunk := await _while_connected(request, answer.content.readany()):
        await response.write(chunk)
