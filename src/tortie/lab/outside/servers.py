"""Servers that play the internet: DNS, HTTP and echo on every documentation address of the outside namespace.

In: requests from the lab's nodes and pods. Out: plain answers that say which address was asked and who asked.
"""

import asyncio
from typing import Any, cast

from dnslib import AAAA, QTYPE, RCODE, RR, TXT, A, DNSError, DNSRecord

from tortie.lab.layout import OUTSIDE_DNS_V4, OUTSIDE_DNS_V6, OUTSIDE_WEB_V4, OUTSIDE_WEB_V6

HTTP_PORTS = (80, 8080)
ECHO_PORT = 7
_TTL = 30

# Names that the outside's DNS server knows; everything below them answers the same, so that wildcards can be tried.
ZONES: dict[str, tuple[str, str]] = {
    "example.com": (OUTSIDE_WEB_V4, OUTSIDE_WEB_V6),
    "example.org": ("198.51.100.10", "2001:db8:1::10"),
    "example.net": ("198.51.100.20", "2001:db8:1::20"),
    "dns.example": (OUTSIDE_DNS_V4, OUTSIDE_DNS_V6),
}


def resolve(request: bytes) -> bytes | None:
    """Answers one DNS message; None if it cannot be parsed at all."""
    try:
        query = DNSRecord.parse(request)
    except DNSError:
        return None
    reply = query.reply()
    name = str(query.q.qname).rstrip(".").lower()
    addresses = next((pair for zone, pair in ZONES.items() if name == zone or name.endswith("." + zone)), None)
    if addresses is None:
        reply.header.rcode = RCODE.NXDOMAIN
    elif query.q.qtype == QTYPE.A:
        reply.add_answer(RR(query.q.qname, QTYPE.A, rdata=A(addresses[0]), ttl=_TTL))
    elif query.q.qtype == QTYPE.AAAA:
        reply.add_answer(RR(query.q.qname, QTYPE.AAAA, rdata=AAAA(addresses[1]), ttl=_TTL))
    elif query.q.qtype == QTYPE.TXT:
        reply.add_answer(RR(query.q.qname, QTYPE.TXT, rdata=TXT("the outside world of a Tortie lab"), ttl=_TTL))
    packed: bytes = reply.pack()
    return packed


class _NameServer(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not inherit from asyncio's.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        answer = resolve(data)
        if answer is not None:
            self._transport.sendto(answer, addr)


class _Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not inherit from asyncio's.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._transport.sendto(data, addr)


async def serve() -> None:
    """Serves until cancelled."""
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as tasks:
        for address in (OUTSIDE_DNS_V4, OUTSIDE_DNS_V6, "127.0.0.1"):
            # A lab of one address family has only one of them.
            try:
                await loop.create_datagram_endpoint(_NameServer, local_addr=(address, 53))
            except OSError:
                continue
            server = await asyncio.start_server(_dns_over_tcp, address, 53)
            tasks.create_task(server.serve_forever())
        for host in (OUTSIDE_WEB_V4, OUTSIDE_WEB_V6):
            try:
                await loop.create_datagram_endpoint(_Echo, local_addr=(host, ECHO_PORT))
            except OSError:
                continue
        for port in HTTP_PORTS:
            server = await asyncio.start_server(_http, ["0.0.0.0", "::"], port)  # noqa: S104 - a namespace of its own
            tasks.create_task(server.serve_forever())
        echo = await asyncio.start_server(_echo, ["0.0.0.0", "::"], ECHO_PORT)  # noqa: S104 - a namespace of its own
        tasks.create_task(echo.serve_forever())


async def _dns_over_tcp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            length = int.from_bytes(await reader.readexactly(2))
            answer = resolve(await reader.readexactly(length))
            if answer is None:
                break
            writer.write(len(answer).to_bytes(2) + answer)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def _http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        async with asyncio.timeout(10):
            await reader.readuntil(b"\r\n\r\n")
        peer, here = writer.get_extra_info("peername"), writer.get_extra_info("sockname")
        body = f"outside {here[0]} saw you as {peer[0]}\n".encode()
        head = (
            f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        writer.write(head.encode() + body)
        await writer.drain()
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, TimeoutError):
        pass
    finally:
        writer.close()


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()
