"""The lab's cluster DNS server, over UDP and TCP.

In: clients' questions. Out: answers from the `Zone`, which caches of the Kubernetes API keep current, or from upstream
servers for names that are not the cluster's. Until the API has been seen once, cluster names are answered SERVFAIL.
"""

import asyncio
import contextlib
import itertools
import socket
from collections.abc import Callable
from typing import Any, cast

from tortie.kube.cache import Cache
from tortie.kube.client import Client
from tortie.lab.dns import wire
from tortie.lab.dns.forward import Forwarder, Unanswered, Upstream
from tortie.lab.dns.zone import Answer, Zone
from tortie.model.catalog import ENDPOINT_SLICES, NAMESPACES, SERVICES
from tortie.service.log import Throttle, get_logger
from tortie.service.run import Fatal

TTL = 5

_log = get_logger("lab.dns")


class Responder:
    """Answers one message. synced: whether the zone is complete."""

    def __init__(self, zone: Zone, forwarder: Forwarder, *, synced: Callable[[], bool]) -> None:
        self._zone = zone
        self._forwarder = forwarder
        self._synced = synced
        self._turn = itertools.count()
        self._throttle = Throttle(period=60.0)
        self.queries = self.errors = 0

    def statistics(self) -> dict[str, float]:
        """Counters for metrics."""
        return {
            "queries_total": self.queries,
            "errors_total": self.errors,
            **self._zone.statistics(),
            **self._forwarder.statistics(),
        }

    def answer_now(self, data: bytes, *, udp: bool) -> bytes | wire.Query:
        """The reply, or the query if somebody else has to be asked for it."""
        self.queries += 1
        try:
            query = wire.parse(data)
        except wire.BadQuery as error:
            self.errors += 1
            return error.reply
        answer = self._zone.lookup(query.name, query.type)
        if answer.outcome == "not-ours":
            return query if self._forwarder else self._failure(query, "REFUSED")
        if not self._synced():
            return self._failure(query, "SERVFAIL")
        if self._leads_outside(query, answer):
            return query
        return self._reply(query, self._follow(answer, query.type), udp=udp)

    async def answer_later(self, data: bytes, query: wire.Query, *, udp: bool) -> bytes:
        """The reply to a query that `answer_now` gave back."""
        try:
            answer = self._zone.lookup(query.name, query.type)
            if answer.outcome != "found":
                return wire.fit(await self._forwarder.ask(data, query), query, udp=udp)
            alias = self._reply(query, answer, udp=False)
            target = str(answer.records[0].value)
            asked = wire.question(query.id, target, query.type_number)
            return wire.with_alias(alias, await self._forwarder.ask(asked, query), query, udp=udp)
        except Unanswered:
            if self._throttle.allow("unanswered") is not None:
                _log.warning("no upstream server answers", name=query.name)
            return self._failure(query, "SERVFAIL")

    def _leads_outside(self, query: wire.Query, answer: Answer) -> bool:
        if not answer.records or answer.records[0].type != "CNAME" or query.type == "CNAME" or not self._forwarder:
            return False
        return self._zone.lookup(str(answer.records[0].value), query.type).outcome == "not-ours"

    def _follow(self, answer: Answer, type_: str) -> Answer:
        """An alias to one of our own names carries that name's records along."""
        records = list(answer.records)
        while records and records[-1].type == "CNAME" and type_ != "CNAME" and len(records) < 8:
            further = self._zone.lookup(str(records[-1].value), type_)
            if further.outcome != "found":
                break
            records += further.records
        return Answer(answer.outcome, tuple(records), answer.additional)

    def _reply(self, query: wire.Query, answer: Answer, *, udp: bool) -> bytes:
        alias = bool(answer.records) and answer.records[0].type == "CNAME"
        return wire.reply(
            query,
            answer,
            soa=self._zone.soa(),
            ttl=TTL,
            udp=udp,
            recursive=bool(self._forwarder),
            turn=0 if alias else next(self._turn),
        )

    def _failure(self, query: wire.Query, code: str) -> bytes:
        self.errors += 1
        return wire.failure(query, code, recursive=bool(self._forwarder))


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, responder: Responder) -> None:
        self._responder = responder
        self._transport: asyncio.DatagramTransport | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: Any) -> None:
        result = self._responder.answer_now(data, udp=True)
        if isinstance(result, bytes):
            self._send(result, address)
        elif len(self._tasks) < 1000:
            task = asyncio.ensure_future(self._later(data, result, address))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _later(self, data: bytes, query: wire.Query, address: Any) -> None:
        self._send(await self._responder.answer_later(data, query, udp=True), address)

    def _send(self, reply: bytes, address: Any) -> None:
        if reply and self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(reply, address)


class Server:
    """zone and forwarder as given; addresses: (host, port) pairs to listen on. A host of "" means every address."""

    def __init__(self, client: Client, *, domain: str, upstreams: list[Upstream]) -> None:
        self._zone = Zone(domain)
        self._caches: tuple[Cache[Any], ...] = (
            Cache(client, NAMESPACES, on_change=self._zone.put_namespace, retain=False),
            Cache(client, SERVICES, on_change=self._zone.put_service, retain=False),
            Cache(client, ENDPOINT_SLICES, on_change=self._zone.put_slice, retain=False),
        )
        self.responder = Responder(
            self._zone, Forwarder(upstreams), synced=lambda: all(cache.synced for cache in self._caches)
        )
        self.ports: list[int] = []
        self.listening = asyncio.Event()

    async def run(self, addresses: list[tuple[str, int]], *, sync_patience: float = 20.0) -> None:
        """Works until cancelled. It listens once the API has been seen, or after sync_patience seconds without."""
        async with asyncio.TaskGroup() as group:
            for cache in self._caches:
                group.create_task(cache.run())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(sync_patience):
                    for cache in self._caches:
                        await cache.wait_synced()
            async with contextlib.AsyncExitStack() as stack:
                for host, port in addresses:
                    self.ports.append(await self._listen(stack, host, port))
                _log.info("answering", addresses=[f"{host or '*'}:{port}" for host, port in addresses])
                self.listening.set()
                await asyncio.Event().wait()

    async def _listen(self, stack: contextlib.AsyncExitStack, host: str, port: int) -> int:
        loop = asyncio.get_running_loop()
        try:
            tcp_socket = _bound(socket.SOCK_STREAM, host, port)
            port = tcp_socket.getsockname()[1]
            udp_socket = _bound(socket.SOCK_DGRAM, host, port)
        except OSError as error:
            raise Fatal(f"cannot listen on {host or '*'} port {port}: {error.strerror}") from error
        transport, _ = await loop.create_datagram_endpoint(lambda: _Udp(self.responder), sock=udp_socket)
        stack.callback(transport.close)
        server = await asyncio.start_server(self._serve_tcp, sock=tcp_socket)
        stack.callback(server.close)
        return port

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError, TimeoutError):
            while True:
                async with asyncio.timeout(10.0):
                    size = int.from_bytes(await reader.readexactly(2), "big")
                    data = await reader.readexactly(size)
                result = self.responder.answer_now(data, udp=False)
                if not isinstance(result, bytes):
                    result = await self.responder.answer_later(data, result, udp=False)
                if not result:
                    break
                writer.write(len(result).to_bytes(2, "big") + result)
                await writer.drain()
        writer.close()


def _bound(kind: socket.SocketKind, host: str, port: int) -> socket.socket:
    """A socket on one address, or for "" on all of both families (IPv4 only where the kernel has no IPv6)."""
    if host:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, kind)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    else:
        try:
            sock = socket.socket(socket.AF_INET6, kind)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            host = "::"
        except OSError:
            sock = socket.socket(socket.AF_INET, kind)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock
