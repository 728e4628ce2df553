"""HTTP connections that become SPDY, which the HTTP library does not know.

In: every connection to the kubelet's port. Out: those whose first request asks for SPDY/3.1 go to a handler as plain
streams; all others go to the HTTP library as if nothing had been in front of it.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

_HEAD_LIMIT = 64 * 1024
_REASONS = {400: "Bad Request", 403: "Forbidden", 404: "Not Found", 500: "Internal Server Error"}


class Query:
    """Query parameters with the two methods that the HTTP library's mapping has too."""

    def __init__(self, text: str) -> None:
        self._values = parse_qs(text, keep_blank_values=True)

    def get(self, name: str, default: str | None = None) -> str | None:
        values = self._values.get(name)
        return values[0] if values else default

    def getall(self, name: str, default: list[str]) -> list[str]:
        return self._values.get(name, default)


class SpdyRequest:
    """The request that asked for the upgrade. protocols: as the client offers them, the best first."""

    def __init__(self, head: bytes) -> None:
        lines = head.decode("latin-1").split("\r\n")
        words = lines[0].split(" ")
        target = urlsplit(words[1] if len(words) > 1 else "/")
        self.path = target.path
        self.query = Query(target.query)
        self.headers = [
            (name.strip().lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])
        ]
        self.protocols = [
            text.strip()
            for name, value in self.headers
            if name == "x-stream-protocol-version"
            for text in value.split(",")
        ]

    def choose(self, known: tuple[str, ...]) -> str | None:
        """The best protocol that both sides know; without an offer the oldest."""
        if not self.protocols:
            return known[-1]
        return next((name for name in known if name in self.protocols), None)

    def accept(self, writer: asyncio.StreamWriter, protocol: str) -> None:
        """Answers 101."""
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
            b"X-Stream-Protocol-Version: " + protocol.encode() + b"\r\n\r\n"
        )

    def refuse(self, writer: asyncio.StreamWriter, status: int, text: str) -> None:
        """Answers with an error and closes."""
        body = f"{text}\n".encode()
        writer.write(
            f"HTTP/1.1 {status} {_REASONS.get(status, 'Error')}\r\nContent-Type: text/plain\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
            + body
        )
        writer.close()


Handler = Callable[[SpdyRequest, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class _Front(asyncio.Protocol):
    """Reads the head of the first request and decides."""

    def __init__(self, http: Callable[[], asyncio.Protocol], spdy: Handler, tasks: set[asyncio.Task[Any]]) -> None:
        self._http = http
        self._spdy = spdy
        self._tasks = tasks
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]  # uvloop's own class

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 and len(self._buffer) < _HEAD_LIMIT:
            return
        head = bytes(self._buffer[: max(end, 0)])
        if b"\r\nupgrade: spdy/3.1" in head.lower():
            self._hand_to_spdy(head, bytes(self._buffer[end + 4 :]))
        else:
            self._hand_to_http()

    def _hand_to_http(self) -> None:
        assert self._transport is not None
        protocol = self._http()
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        protocol.data_received(bytes(self._buffer))

    def _hand_to_spdy(self, head: bytes, rest: bytes) -> None:
        assert self._transport is not None
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=1 << 20)
        protocol = asyncio.StreamReaderProtocol(reader)
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        if rest:
            reader.feed_data(rest)
        writer = asyncio.StreamWriter(self._transport, protocol, reader, loop)
        task = loop.create_task(self._run(SpdyRequest(head), reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, request: SpdyRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._spdy(request, reader, writer)
        finally:
            writer.close()


async def serve_with_upgrades(
    http: Callable[[], Any], spdy: Handler, *, host: str | None, port: int, context: ssl.SSLContext | None
) -> asyncio.Server:
    """Listens. Raises OSError when the port is taken."""
    tasks: set[asyncio.Task[Any]] = set()
    return await asyncio.get_running_loop().create_server(
        lambda: _Front(http, spdy, tasks), host, port, ssl=context, backlog=128, reuse_address=True
    )
