"""Questions about the rest of the world, passed on to other DNS servers as they are.

In: a client's message. Out: the upstream server's reply under the client's id; `Unanswered` when none replies in time.
UDP first; a reply that was cut is fetched again over TCP.
"""

import asyncio
import secrets
import socket
from dataclasses import dataclass
from typing import cast

from tortie.lab.dns.wire import Query


class Unanswered(Exception):
    """No upstream server gave a reply."""


@dataclass(frozen=True, slots=True)
class Upstream:
    host: str
    port: int = 53

    @staticmethod
    def parse(text: str) -> "Upstream":
        """`192.0.2.1`, `192.0.2.1:5353`, `2001:db8::1`, `[2001:db8::1]:53`. Raises ValueError."""
        if text.startswith("["):
            host, _, port = text[1:].partition("]")
            return Upstream(host, int(port.lstrip(":") or 53))
        if text.count(":") == 1:
            host, _, port = text.partition(":")
            return Upstream(host, int(port))
        return Upstream(text)


class Forwarder:
    """Asks the upstream servers in order; one that failed last time is asked last."""

    def __init__(self, upstreams: list[Upstream], *, patience: float = 1.5) -> None:
        self._upstreams = list(upstreams)
        self._patience = patience
        self.asked = self.failed = 0

    def __bool__(self) -> bool:
        return bool(self._upstreams)

    def statistics(self) -> dict[str, float]:
        """Counters for metrics."""
        return {"forwarded_total": self.asked, "forward_failures_total": self.failed}

    async def ask(self, data: bytes, query: Query) -> bytes:
        """Raises Unanswered."""
        self.asked += 1
        for upstream in list(self._upstreams):
            number = secrets.randbelow(65536)
            message = number.to_bytes(2, "big") + data[2:]
            try:
                async with asyncio.timeout(self._patience):
                    answer = await _over_udp(upstream, message)
                    if answer[2] & 0x02:
                        answer = await _over_tcp(upstream, message)
            except (OSError, TimeoutError, EOFError):
                self._upstreams.append(self._upstreams.pop(self._upstreams.index(upstream)))
                continue
            return query.id.to_bytes(2, "big") + answer[2:]
        self.failed += 1
        raise Unanswered(query.name)


class _Exchange(asyncio.DatagramProtocol):
    """One question on a socket of its own: a random port and id, and only the server asked may answer."""

    def __init__(self, message: bytes) -> None:
        self._message = message
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.DatagramTransport, transport).sendto(self._message)

    def datagram_received(self, data: bytes, _address: object) -> None:
        if len(data) >= 12 and data[:2] == self._message[:2] and data[2] & 0x80 and not self.answer.done():
            self.answer.set_result(data)

    def error_received(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


async def _over_udp(upstream: Upstream, message: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in upstream.host else socket.AF_INET
    transport, protocol = await loop.create_datagram_endpoint(
        lambda: _Exchange(message), remote_addr=(upstream.host, upstream.port), family=family
    )
    try:
        return await protocol.answer
    finally:
        transport.close()


async def _over_tcp(upstream: Upstream, message: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(upstream.host, upstream.port)
    try:
        writer.write(len(message).to_bytes(2, "big") + message)
        size = int.from_bytes(await reader.readexactly(2), "big")
        return await reader.readexactly(size)
    finally:
        writer.close()
