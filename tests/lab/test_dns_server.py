"""The DNS server on real sockets: UDP, TCP, limits of size, forwarding, and the real API server behind it.

Which names exist: test_dns_zone.py.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from dnslib import EDNS0, QTYPE, RCODE, RR, A, DNSRecord
from tools import ApiServer

from tortie.kube.client import Client
from tortie.kube.config import load
from tortie.lab.dns.forward import Forwarder, Upstream
from tortie.lab.dns.server import Server, _bound
from tortie.model.catalog import ENDPOINT_SLICES, NAMESPACES, SERVICES


class Upstreams(asyncio.DatagramProtocol):
    """A server of the outside world: knows example.org; big.example.org only over TCP."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        self.transport.sendto(self.answer(data, udp=True), address)

    def answer(self, data: bytes, *, udp: bool) -> bytes:
        query = DNSRecord.parse(data)
        name = str(query.q.qname).rstrip(".")
        self.seen.append(name)
        reply = query.reply()
        if name == "big.example.org" and udp:
            reply.header.tc = 1
        elif name.endswith("example.org") and query.q.qtype == QTYPE.A:
            reply.add_answer(RR(query.q.qname, QTYPE.A, rdata=A("203.0.113.7"), ttl=300))
        else:
            reply.header.rcode = RCODE.NXDOMAIN
        return bytes(reply.pack())

    async def tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = int.from_bytes(await reader.readexactly(2), "big")
        reply = self.answer(await reader.readexactly(size), udp=False)
        writer.write(len(reply).to_bytes(2, "big") + reply)
        await writer.drain()
        writer.close()


class World:
    def __init__(self, server: Server, client: Client, outside: Upstreams) -> None:
        self.server, self.client, self.outside = server, client, outside

    @property
    def port(self) -> int:
        return self.server.ports[0]

    async def ask(
        self, name: str, type_: str = "A", *, tcp: bool = False, edns: int = 0, host: str = "127.0.0.1"
    ) -> DNSRecord:
        query = DNSRecord.question(name, type_)
        if edns:
            query.add_ar(EDNS0(udp_len=edns))
        data = await self.exchange(bytes(query.pack()), tcp=tcp, host=host)
        reply = DNSRecord.parse(data)
        assert reply.header.id == query.header.id
        return reply

    async def exchange(self, data: bytes, *, tcp: bool = False, host: str = "127.0.0.1") -> bytes:
        loop = asyncio.get_running_loop()
        if tcp:
            reader, writer = await asyncio.open_connection(host, self.port)
            writer.write(struct.pack(">H", len(data)) + data)
            size = int.from_bytes(await reader.readexactly(2), "big")
            result = await reader.readexactly(size)
            writer.close()
            return result
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.connect((host, self.port))
            await loop.sock_sendall(sock, data)
            async with asyncio.timeout(5):
                return await loop.sock_recv(sock, 65535)

    async def until(self, name: str, want: list[str], type_: str = "A") -> None:
        async with asyncio.timeout(10):
            while sorted(str(rr.rdata) for rr in (await self.ask(name, type_)).rr) != sorted(want):
                await asyncio.sleep(0.01)


@pytest.fixture
def cluster(shared_api_server: ApiServer) -> Iterator[ApiServer]:
    yield shared_api_server


@pytest.fixture
async def world(cluster: ApiServer) -> AsyncIterator[World]:
    loop = asyncio.get_running_loop()
    outside = Upstreams()
    tcp = _bound(socket.SOCK_STREAM, "127.0.0.1", 0)
    port = tcp.getsockname()[1]
    udp = _bound(socket.SOCK_DGRAM, "127.0.0.1", port)
    transport, _ = await loop.create_datagram_endpoint(lambda: outside, sock=udp)
    upstream = await asyncio.start_server(outside.tcp, sock=tcp)
    async with Client(load(str(cluster.kubeconfig))) as client:
        server = Server(client, domain="cluster.local", upstreams=[Upstream("127.0.0.1", port)])
        task = asyncio.create_task(server.run([("", 0)]))
        await asyncio.wait_for(server.listening.wait(), 20)
        yield World(server, client, outside)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    transport.close()
    upstream.close()


async def test_the_api_servers_own_service_resolves_at_once(world: World) -> None:
    for tcp in (False, True):
        reply = await world.ask("kubernetes.default.svc.cluster.local", tcp=tcp)
        [record] = reply.rr
        assert str(record.rdata).startswith("10.96.0.") and record.ttl == 5
        assert reply.header.aa == 1 and reply.header.ra == 1


async def test_the_server_answers_on_ipv6_and_keeps_the_spelling_of_the_question(world: World) -> None:
    reply = await world.ask("KuBernetes.Default.svc.CLUSTER.local", host="::1")
    assert str(reply.rr[0].rname) == "KuBernetes.Default.svc.CLUSTER.local."


async def test_services_and_endpoints_appear_and_go_as_the_api_says(world: World) -> None:
    space = await world.client.create(NAMESPACES, {"metadata": {"generateName": "dns-"}})
    ns = space.metadata.name
    body: dict[str, Any] = {"metadata": {"name": "db"}, "spec": {"clusterIP": "None", "ports": [{"port": 5432}]}}
    await world.client.create(SERVICES, body, ns)
    slices = {
        "metadata": {"name": "db-x", "labels": {"kubernetes.io/service-name": "db"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["192.168.1.1"]}, {"addresses": ["192.168.1.2"]}],
        "ports": [{"port": 5432, "protocol": "TCP", "name": ""}],
    }
    await world.client.create(ENDPOINT_SLICES, slices, ns)
    await world.until(f"db.{ns}.svc.cluster.local", ["192.168.1.1", "192.168.1.2"])
    firsts = {str((await world.ask(f"db.{ns}.svc.cluster.local")).rr[0].rdata) for _ in range(4)}
    assert firsts == {"192.168.1.1", "192.168.1.2"}, "clients that take the first address spread"
    await world.client.delete(ENDPOINT_SLICES, "db-x", ns)
    await world.until(f"db.{ns}.svc.cluster.local", [])
    reply = await world.ask(f"db.{ns}.svc.cluster.local")
    assert reply.header.rcode == RCODE.NXDOMAIN
    assert reply.auth[0].rtype == QTYPE.SOA and reply.auth[0].ttl == 5


async def test_an_answer_too_long_for_udp_is_cut_and_complete_over_tcp(world: World) -> None:
    ns = (await world.client.create(NAMESPACES, {"metadata": {"generateName": "dns-"}})).metadata.name
    await world.client.create(
        SERVICES, {"metadata": {"name": "many"}, "spec": {"clusterIP": "None", "ports": [{"port": 1}]}}, ns
    )
    addresses = [f"192.168.2.{n}" for n in range(100)]
    slices = {
        "metadata": {"name": "many-x", "labels": {"kubernetes.io/service-name": "many"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [a]} for a in addresses],
        "ports": [{"port": 1, "protocol": "TCP", "name": ""}],
    }
    await world.client.create(ENDPOINT_SLICES, slices, ns)
    name = f"many.{ns}.svc.cluster.local"
    async with asyncio.timeout(10):
        while not (cut := await world.ask(name)).header.tc:
            await asyncio.sleep(0.01)
    assert cut.rr == []
    assert (await world.ask(name, edns=4096)).header.tc == 1, "no UDP reply exceeds 1232 bytes"
    whole = await world.ask(name, tcp=True)
    assert len(whole.rr) == 100 and whole.header.tc == 0


async def test_other_names_are_asked_outside_and_the_reply_comes_back_as_it_is(world: World) -> None:
    reply = await world.ask("www.example.org")
    assert [(str(rr.rdata), rr.ttl) for rr in reply.rr] == [("203.0.113.7", 300)]
    assert (await world.ask("nobody.test")).header.rcode == RCODE.NXDOMAIN
    assert world.outside.seen == ["www.example.org", "nobody.test"]
    assert (await world.ask("example.org.default.svc.cluster.local")).header.rcode == RCODE.NXDOMAIN
    assert len(world.outside.seen) == 2, "names under the cluster's domain never leave the cluster"


async def test_a_cut_reply_from_outside_is_fetched_over_tcp(world: World) -> None:
    reply = await world.ask("big.example.org", edns=1232)
    assert [str(rr.rdata) for rr in reply.rr] == ["203.0.113.7"]
    assert world.outside.seen == ["big.example.org"] * 2


async def test_an_external_name_comes_with_the_addresses_of_its_target(world: World) -> None:
    ns = (await world.client.create(NAMESPACES, {"metadata": {"generateName": "dns-"}})).metadata.name
    spec = {"type": "ExternalName", "externalName": "www.example.org"}
    await world.client.create(SERVICES, {"metadata": {"name": "away"}, "spec": spec}, ns)
    await world.until(f"away.{ns}.svc.cluster.local", ["www.example.org.", "203.0.113.7"])


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x12\x34" + b"\xff" * 40, bytes(12), b"\x12\x34\x01\x00\x00\x01"])
async def test_rubbish_is_survived(world: World, data: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(data, ("127.0.0.1", world.port))
    assert (await world.ask("kubernetes.default.svc.cluster.local")).header.rcode == 0


async def test_a_dead_upstream_gives_servfail_and_the_next_one_is_tried(world: World) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as dead:
        dead.bind(("127.0.0.1", 0))
        port = dead.getsockname()[1]
        good = world.server.responder._forwarder._upstreams[0]
        forwarder = Forwarder([Upstream("127.0.0.1", port), good], patience=0.2)
        world.server.responder._forwarder = forwarder
        assert [str(rr.rdata) for rr in (await world.ask("www.example.org")).rr] == ["203.0.113.7"]
        assert forwarder._upstreams[0] == good, "the dead one is asked last from now on"
        world.server.responder._forwarder = Forwarder([Upstream("127.0.0.1", port)], patience=0.2)
        assert (await world.ask("www.example.org")).header.rcode == RCODE.SERVFAIL
        world.server.responder._forwarder = Forwarder([])
        assert (await world.ask("www.example.org")).header.rcode == RCODE.REFUSED


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("192.0.2.1", ("192.0.2.1", 53)),
        ("192.0.2.1:5353", ("192.0.2.1", 5353)),
        ("2001:db8::1", ("2001:db8::1", 53)),
        ("[2001:db8::1]:54", ("2001:db8::1", 54)),
    ],
)
def test_addresses_of_servers_are_read_in_every_form(text: str, want: tuple[str, int]) -> None:
    upstream = Upstream.parse(text)
    assert (upstream.host, upstream.port) == want
