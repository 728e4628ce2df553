"""A Kubernetes API client, typed by `Resource[T]`: the one place that sends requests to an API server.

In: calls from every room that reads or writes objects. Out: decoded objects, watch events, or the errors of
`tortie.kube.errors`. HTTP/1.1 with kept-alive connections on the caller's event loop; no threads.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import aiohttp
import msgspec
from multidict import CIMultiDict
from yarl import URL

import tortie
from tortie.kube import credentials, requests, serving
from tortie.kube.config import ClusterConfig
from tortie.kube.credentials import CredentialError
from tortie.kube.errors import ApiError, NotFound, TooManyRequests, Unauthorized, Unavailable, from_response
from tortie.kube.objects import ObjectList, WatchEvent, codec
from tortie.kube.requests import PatchType, PropagationPolicy, Request
from tortie.kube.watch import LineSplitter
from tortie.model.resource import Resource
from tortie.service.log import get_logger

T = TypeVar("T")

_log = get_logger("kube.client")

_NETWORK_ERRORS = (aiohttp.ClientError, OSError, asyncio.TimeoutError, EOFError)


class Client:
    """Use as an async context manager. timeout: seconds for one ordinary request; retries: how often a request that
    the server asked to repeat (429, or 503 with Retry-After) is repeated before the error reaches the caller."""

    def __init__(
        self, config: ClusterConfig, *, timeout: float = 30.0, retries: int = 5, user_agent: str | None = None
    ) -> None:
        self.config = config
        self._timeout = timeout
        self._retries = retries
        self._user_agent = user_agent or f"tortie/{tortie.__version__}"
        self._credentials = credentials.of(config)
        self._certificate: tuple[bytes, bytes] | None = None
        self._impersonation = config.impersonate.headers()
        self._session: aiohttp.ClientSession | None = None
        self._retired: list[aiohttp.ClientSession] = []
        self._closing: set[asyncio.Task[None]] = set()
        self._cert_stamp: tuple[float, ...] = ()
        self._cert_checked = float("-inf")
        self._away_since: float | None = None
        self._back = asyncio.Event()
        self._prober: asyncio.Task[None] | None = None
        self._probe_interval = 0.25
        self._mode = serving.told(config.calico_api_group)
        self._requests = 0
        self._errors = 0
        self._watches = 0

    async def __aenter__(self) -> "Client":
        self._session = self._new_session()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes all connections."""
        if self._prober is not None:
            self._prober.cancel()
        sessions = [*self._retired, *([self._session] if self._session is not None else [])]
        self._session, self._retired = None, []
        for session in sessions:
            await session.close()

    def statistics(self) -> dict[str, float]:
        """Counters for metrics."""
        return {
            "requests_total": self._requests,
            "errors_total": self._errors,
            "open_watches": self._watches,
            "server_away": float(self._away_since is not None),
        }

    async def pause(self, delay: float) -> None:
        """Sleeps between attempts, but only until a server that was away answers somebody again."""
        if self._away_since is not None and (self._prober is None or self._prober.done()):
            self._prober = asyncio.get_running_loop().create_task(self._probe(), name="kube-probe")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._back.wait()

    async def _probe(self) -> None:
        """While the server is away, one small request now and then on behalf of everybody who waits for it."""
        while self._away_since is not None:
            await asyncio.sleep(self._probe_interval)
            with contextlib.suppress(ApiError, RuntimeError):
                await self.raw("GET", "/readyz", deadline=5.0)

    async def served(self, resource: Resource[T]) -> Resource[T]:
        """The resource as this cluster serves it: Calico's address management is stored elsewhere behind an
        aggregated API server. The cluster is asked once, by the first who needs to know."""
        if not serving.concerned(resource):
            return resource
        if self._mode is None:
            try:
                self._mode = serving.seen(await self.raw("GET", "/apis"))
            except ApiError as error:
                self._mode = serving.refused(error)
            except msgspec.DecodeError as error:
                raise Unavailable(0, "BadAnswer", f"GET /apis: {error}") from error
        return serving.served(resource, self._mode)

    # --- verbs -------------------------------------------------------------------------------------------------

    async def get(
        self, resource: Resource[T], name: str, namespace: str | None = None, *, subresource: str | None = None
    ) -> T:
        """Reads one object. Raises NotFound."""
        resource = await self.served(resource)
        return await self._one(resource, requests.get(resource, name, namespace, subresource))

    async def find(self, resource: Resource[T], name: str, namespace: str | None = None) -> T | None:
        """Reads one object, None if there is none."""
        try:
            return await self.get(resource, name, namespace)
        except NotFound:
            return None

    async def list(
        self,
        resource: Resource[T],
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 0,
        continue_: str = "",
        resource_version: str = "",
        deadline: float | None = None,
    ) -> ObjectList[T]:
        """Reads a collection in one request. With a limit, `continue_` of the result leads to the next page.
        Objects that do not decode are in `undecodable`."""
        resource = await self.served(resource)
        request = requests.list_(
            resource,
            namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            limit=limit,
            continue_=continue_,
            resource_version=resource_version,
        )
        body = await self.send(request, deadline=deadline)
        try:
            return codec(resource).list(body)
        except msgspec.DecodeError as error:
            raise Unavailable(0, "BadAnswer", f"{request.what}: answer is not a list: {error}") from error

    async def create(
        self,
        resource: Resource[T],
        obj: Any,
        namespace: str | None = None,
        *,
        subresource: tuple[str, str] | None = None,
        field_manager: str = "",
    ) -> T:
        """Creates an object (a struct or plain JSON) and gives it back as stored. Raises AlreadyExists, Invalid."""
        resource = await self.served(resource)
        request = requests.create(resource, obj, namespace, subresource=subresource, field_manager=field_manager)
        return await self._one(resource, request)

    async def update(
        self, resource: Resource[T], obj: Any, subresource: str | None = None, *, field_manager: str = ""
    ) -> T:
        """Replaces an object. Raises Conflict when its resource version is not the latest."""
        resource = await self.served(resource)
        return await self._one(resource, requests.update(resource, obj, subresource, field_manager=field_manager))

    async def patch(
        self,
        resource: Resource[T],
        name: str,
        patch: Any,
        *,
        namespace: str | None = None,
        patch_type: PatchType = "merge",
        subresource: str | None = None,
        field_manager: str | None = None,
        force: bool = False,
    ) -> T:
        """Changes part of an object; see `requests.patch`."""
        resource = await self.served(resource)
        request = requests.patch(
            resource,
            name,
            patch,
            namespace=namespace,
            patch_type=patch_type,
            subresource=subresource,
            field_manager=field_manager,
            force=force,
        )
        return await self._one(resource, request)

    async def apply(
        self,
        resource: Resource[T],
        obj: Any,
        *,
        field_manager: str,
        force: bool = True,
        namespace: str | None = None,
        subresource: str | None = None,
    ) -> T:
        """Server-side apply: the object has these fields, owned by field_manager; it is made where it is missing.
        obj: a struct or plain JSON with a name, only with the fields that the caller wants to own. force: takes fields
        from other managers; without it Conflict names them (details.causes)."""
        body = requests.applied(resource, obj)
        return await self.patch(
            resource,
            body["metadata"]["name"],
            body,
            namespace=namespace or body["metadata"].get("namespace"),
            patch_type="apply",
            subresource=subresource,
            field_manager=field_manager,
            force=force,
        )

    async def delete(
        self,
        resource: Resource[Any],
        name: str,
        namespace: str | None = None,
        *,
        grace_period_seconds: int | None = None,
        preconditions: Mapping[str, str] | None = None,
        propagation_policy: PropagationPolicy | None = None,
    ) -> None:
        """Deletes an object. Raises NotFound, and Conflict when a precondition does not hold."""
        resource = await self.served(resource)
        request = requests.delete(
            resource,
            name,
            namespace,
            grace_period_seconds=grace_period_seconds,
            preconditions=preconditions,
            propagation_policy=propagation_policy,
        )
        await self.send(request)

    async def raw(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        deadline: float | None = None,
    ) -> bytes:
        """Sends any request and gives the body. body: bytes as they are, anything else as JSON."""
        payload = body if body is None or isinstance(body, bytes) else msgspec.json.encode(body)
        request = Request(method=method, target=requests.target(path, query), body=payload, content_type=content_type)
        return await self.send(request, deadline=deadline)

    async def watch(
        self,
        resource: Resource[T],
        namespace: str | None = None,
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
        timeout_seconds: int = 0,
        send_initial_events: bool = False,
        silence: float | None = 180.0,
    ) -> AsyncGenerator[WatchEvent[T], None]:
        """Events after a resource version, until the server ends the stream (the iteration then just ends).

        silence: seconds without a single byte after which the connection counts as dead. Raises Gone or another
        ApiError when the watch cannot start, Unavailable when the connection breaks; an ERROR event in the stream
        is yielded, not raised.
        """
        resource = await self.served(resource)
        request = requests.watch(
            resource,
            namespace,
            resource_version=resource_version,
            label_selector=label_selector,
            field_selector=field_selector,
            timeout_seconds=timeout_seconds,
            send_initial_events=send_initial_events,
        )
        async with contextlib.aclosing(self.watch_batches(resource, request, silence=silence)) as batches:
            async for batch in batches:
                for event in batch:
                    yield event

    async def watch_batches(
        self, resource: Resource[T], request: Request, *, silence: float | None = 180.0
    ) -> AsyncGenerator[Sequence[WatchEvent[T]], None]:
        """The events of `watch`, those that arrived together in one list; first an empty one: the watch is open.
        resource: as the cluster serves it (`served`), like the request."""
        decode = codec(resource).frame
        splitter = LineSplitter()
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10.0, sock_read=silence)
        opened = False
        self._watches += 1
        try:
            async with self._open(request, timeout) as response:
                opened = True
                if response.status != 200:
                    failure = self._failure(request, response, await response.read())
                    if isinstance(failure, Unauthorized):
                        await self._credentials.refresh()  # for the caller's next attempt
                    raise failure
                yield ()
                async for chunk in response.content.iter_any():
                    events = [decode(line) for line in splitter.feed(chunk)]
                    if events:
                        yield events
        except _NETWORK_ERRORS as error:
            raise self._unreachable(request, error, away=not opened) from error
        except (msgspec.DecodeError, ValueError) as error:
            raise Unavailable(0, "BadStream", f"{request.what}: {error}") from error
        finally:
            self._watches -= 1

    # --- executor ----------------------------------------------------------------------------------------------

    async def send(self, request: Request, *, deadline: float | None = None) -> bytes:
        """Executes a request: credentials, one retry after 401 with a fresh token, polite retries after 429."""
        limit = aiohttp.ClientTimeout(total=deadline or self._timeout, sock_connect=10.0)
        refreshed = False
        for attempt in range(self._retries + 1):
            try:
                async with self._open(request, limit) as response:
                    body = await response.read()
                    if response.status < 300:
                        return body
                    failure = self._failure(request, response, body)
            except _NETWORK_ERRORS as error:
                raise self._unreachable(request, error, away=True) from error
            if isinstance(failure, Unauthorized) and not refreshed:
                refreshed = True
                if await self._credentials.refresh():
                    continue
                raise failure
            asked_to_wait = isinstance(failure, TooManyRequests) or (
                isinstance(failure, Unavailable) and failure.retry_after is not None
            )
            if not asked_to_wait or attempt == self._retries:
                raise failure
            await asyncio.sleep(min(failure.retry_after or 1.0, 30.0))
        raise AssertionError("unreachable")

    async def _one(self, resource: Resource[T], request: Request) -> T:
        body = await self.send(request)
        try:
            return codec(resource).one.decode(body)
        except msgspec.DecodeError as error:
            raise ApiError(0, "Undecodable", f"{request.what}: answer does not decode: {error}") from error

    @contextlib.asynccontextmanager
    async def _open(self, request: Request, limits: aiohttp.ClientTimeout) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._session is None:
            raise RuntimeError("the client is closed; use it as `async with Client(config) as client`")
        headers: CIMultiDict[str] = CIMultiDict(self._impersonation)
        headers["Accept"] = "application/json"
        if request.body is not None:
            headers["Content-Type"] = request.content_type
        try:
            authorization = await self._credentials.authorization()
        except CredentialError as error:
            raise Unavailable(0, "NoCredentials", str(error)) from error
        session = self._current_session()
        if authorization is not None:
            headers["Authorization"] = authorization
        self._requests += 1
        url = URL(self.config.server + request.target, encoded=True)
        async with session.request(
            request.method,
            url,
            data=request.body,
            headers=headers,
            timeout=limits,
            allow_redirects=False,
            proxy=self.config.proxy_url,
            server_hostname=self.config.server_name,
        ) as response:
            if self._away_since is not None:
                away = round(time.monotonic() - self._away_since, 1)
                self._away_since = None
                self._back.set()
                self._back = asyncio.Event()
                _log.info("the API server answers again", server=self.config.server, after_seconds=away)
            yield response

    def _failure(self, request: Request, response: aiohttp.ClientResponse, body: bytes) -> ApiError:
        self._errors += 1
        return from_response(response.status, body, retry_after=response.headers.get("Retry-After"), what=request.what)

    def _unreachable(self, request: Request, error: BaseException, *, away: bool) -> Unavailable:
        """away: the server cannot be talked to at all, as opposed to a stream that broke off."""
        self._errors += 1
        text = str(error) or type(error).__name__
        if away and self._away_since is None:
            self._away_since = time.monotonic()
            _log.warning("the API server does not answer", server=self.config.server, error=text)
        return Unavailable(0, "Unreachable", f"{request.what} at {self.config.server}: {text}")

    # --- connections -------------------------------------------------------------------------------------------

    def _new_session(self) -> aiohttp.ClientSession:
        context = self.config.ssl_context(self._credentials.certificate)
        self._certificate = self._credentials.certificate
        self._cert_stamp = _stamp(self.config.files())
        connector = aiohttp.TCPConnector(
            limit=0,
            ssl=context if context is not None else True,
            keepalive_timeout=60.0,
            ttl_dns_cache=30,
            socket_factory=_socket,
        )
        return aiohttp.ClientSession(
            connector=connector,
            headers={"User-Agent": self._user_agent},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=True,
            read_bufsize=1 << 20,
            trust_env=False,
        )

    def _current_session(self) -> aiohttp.ClientSession:
        """The session; a new one after certificates have rotated (open watches finish on the old one)."""
        if self._session is None:
            raise RuntimeError("the client is closed; use it as `async with Client(config) as client`")
        now = time.monotonic()
        if self._credentials.certificate != self._certificate:
            self._renew_session()
        files = self.config.files()
        if files and now - self._cert_checked > 10.0:
            self._cert_checked = now
            if _stamp(files) != self._cert_stamp:
                with contextlib.suppress(OSError):  # half-written files: keep what works, look again later
                    self._renew_session()
        return self._session

    def _renew_session(self) -> None:
        """New connections with the certificates of now. The session before last has no more watches worth keeping."""
        fresh = self._new_session()
        assert self._session is not None
        self._retired.append(self._session)
        self._session = fresh
        while len(self._retired) > 2:
            task = asyncio.get_running_loop().create_task(self._retired.pop(0).close(), name="kube-close")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


def _stamp(files: list[Path]) -> tuple[float, ...]:
    try:
        return tuple(f.stat().st_mtime for f in files)
    except OSError:
        return ()


def _socket(address: Any) -> socket.socket:
    """A TCP socket that notices a dead peer within half a minute, even while only listening."""
    family, kind, protocol, _, _ = address
    sock = socket.socket(family, kind, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock
