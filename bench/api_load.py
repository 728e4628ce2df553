"""The load generator of bench_apiserver.py: clients of an API server that cost as little as clients can.

In: one JSON object as argument: what to do, the server's address, certificate files, numbers. Out: one JSON object with
what was measured. A process of its own, so that its work shows neither in the server's numbers nor in its event loop;
HTTP is spoken by hand over kept connections, and requests are built before the clock starts.
"""

import asyncio
import json
import os
import ssl
import sys
import time
from collections.abc import Callable
from typing import Any, cast

import uvloop


class Connection(asyncio.Protocol):
    """One kept connection: a request, then its answer; or a watch, whose lines are counted as they come."""

    def __init__(self, on_watch: Callable[[bytes, float], None] | None = None) -> None:
        self._buffer = bytearray()
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._on_watch = on_watch
        self.started = False
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are none of its class

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError(f"the server closed the connection: {exc}"))

    def data_received(self, data: bytes) -> None:
        if self._on_watch is not None and self.started:
            self._on_watch(data, time.perf_counter())
            return
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or self._answer is None:
            return
        head = bytes(self._buffer[:end])
        if self._on_watch is not None:
            self.started = True
            self._answer.set_result((int(head[9:12]), b""))
            return
        body = self._body(head, end + 4)
        if body is not None:
            self._answer.set_result((int(head[9:12]), body))

    def _body(self, head: bytes, start: int) -> bytes | None:
        at = head.lower().find(b"content-length:")
        if at >= 0:
            length = int(head[at + 15 :].split(b"\r\n", 1)[0])
            if len(self._buffer) < start + length:
                return None
            body = bytes(self._buffer[start : start + length])
        else:
            if not self._buffer.endswith(b"0\r\n\r\n"):
                return None
            body = _unchunk(self._buffer, start)
        self._buffer.clear()
        return body

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and body of the answer."""
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self._answer


def _unchunk(data: bytearray, at: int) -> bytes:
    parts = []
    while True:
        end = data.find(b"\r\n", at)
        length = int(data[at:end], 16)
        if not length:
            return b"".join(parts)
        parts.append(bytes(data[end + 2 : end + 2 + length]))
        at = end + 4 + length


class Client:
    """Where the server is, and how to reach it."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.host, self.port = options["host"], options["port"]
        self.tls = ssl.create_default_context(cafile=options["ca"])
        self.tls.load_cert_chain(options["certificate"], options["key"])

    async def connect(self, on_watch: Callable[[bytes, float], None] | None = None) -> Connection:
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: Connection(on_watch), self.host, self.port, ssl=self.tls
        )
        return connection

    def request(self, method: str, path: str, body: bytes = b"", headers: str = "") -> bytes:
        kind = "Content-Type: application/json\r\n" if body else ""
        head = f"{method} {path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n{kind}{headers}"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def summary(seconds: list[float]) -> dict[str, float]:
    """Median, 99th percentile and maximum, in milliseconds."""
    times = sorted(seconds)
    return {"p50": times[len(times) // 2] * 1e3, "p99": times[int(len(times) * 0.99)] * 1e3, "max": times[-1] * 1e3}


def config_map(number: int, size: int) -> bytes:
    """A ConfigMap of about `size` bytes in JSON."""
    meta = {"name": f"bench-{number:06d}", "labels": {"app": f"app-{number % 100}", "shard": str(number % 7)}}
    data = {f"key-{i}": f"{number:08d}" * 8 for i in range(max(1, size // 76 - 5))}
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}).encode()


def pod(number: int) -> bytes:
    """A pod of ordinary size (about 3 KB once it is stored)."""
    container = {
        "name": "main",
        "image": "registry.example/team/app:1.2.3",
        "ports": [{"containerPort": 8080, "name": "http"}],
        "env": [{"name": f"SETTING_{i}", "value": "x" * 20} for i in range(8)],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
        "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}},
    }
    labels = {f"example.com/label-{i}": f"value-{number % (i + 2)}" for i in range(6)}
    meta = {"name": f"pod-{number:05d}", "namespace": "default", "labels": labels}
    spec = {"containers": [container], "nodeName": f"node-{number % 50}"}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}).encode()


MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"


async def writes(client: Client, options: dict[str, Any]) -> dict[str, Any]:
    """`clients` connections create `count` objects, each one request at a time."""
    count, path = options["count"], PODS if options["what"] == "pods" else MAPS
    make = pod if options["what"] == "pods" else (lambda n: config_map(n, options["size"]))
    first = options.get("first", 0)
    requests = [client.request("POST", path, make(first + n)) for n in range(count)]
    connections = [await client.connect() for _ in range(options["clients"])]
    waiting = iter(requests)
    times: list[float] = []

    async def work(connection: Connection) -> None:
        for request in waiting:
            start = time.perf_counter()
            status, body = await connection.ask(request)
            times.append(time.perf_counter() - start)
            if status != 201:
                raise RuntimeError(f"a create was answered with {status}: {body[:300]!r}")

    start = time.perf_counter()
    await asyncio.gather(*map(work, connections))
    return {"seconds": time.perf_counter() - start, **summary(times)}


async def lists(client: Client, options: dict[str, Any]) -> dict[str, Any]:
    """One connection lists `path` several times; the time is to the last byte of the body."""
    connection = await client.connect()
    request = client.request("GET", options["path"], b"", options["headers"])
    times, size = [], 0
    for _ in range(options["rounds"]):
        start = time.perf_counter()
        status, body = await connection.ask(request)
        times.append(time.perf_counter() - start)
        size = len(body)
        if status != 200:
            raise RuntimeError(f"a list was answered with {status}: {body[:300]!r}")
    return {**summary(times), "bytes": size}


async def watchers(client: Client, options: dict[str, Any]) -> dict[str, Any]:
    """`watchers` connections watch; one more creates `count` objects, one after the other, with pauses between.

    Gives for each change and watcher the seconds from sending the write to its last byte at the watcher.
    """
    arrived: list[float] = []

    def on_watch(data: bytes, now: float) -> None:
        if data.endswith(b"}\n\r\n"):
            arrived.append(now)

    path = f"{MAPS}?watch=1&resourceVersion={options['revision']}"
    opened = []
    for start in range(0, options["watchers"], 50):
        some = range(start, min(start + 50, options["watchers"]))
        connections = await asyncio.gather(*(client.connect(on_watch) for _ in some))
        opened += connections
        answers = await asyncio.gather(*(c.ask(client.request("GET", path)) for c in connections))
        if any(status != 200 for status, _ in answers):
            raise RuntimeError(f"a watch was answered with {answers[0]}")
    writer = await client.connect()
    from_send: list[float] = []
    from_answer: list[float] = []
    for number in range(options["count"]):
        request = client.request("POST", MAPS, config_map(900_000 + number, 500))
        await asyncio.sleep(options["pause"])
        arrived.clear()
        sent = time.perf_counter()
        status, body = await writer.ask(request)
        answered = time.perf_counter()
        if status != 201:
            raise RuntimeError(f"a create was answered with {status}: {body[:300]!r}")
        while len(arrived) < len(opened):
            if time.perf_counter() - sent > 30:
                raise RuntimeError(f"{len(arrived)} of {len(opened)} watchers got the change within 30 s")
            await asyncio.sleep(0.0005)
        from_send += [at - sent for at in arrived]
        from_answer += [max(0.0, at - answered) for at in arrived]
    return {"from_send": summary(from_send), "from_answer": summary(from_answer)}


def main() -> None:
    options = json.loads(sys.argv[1])
    work = {"writes": writes, "lists": lists, "watchers": watchers}[options["do"]]
    result = uvloop.run(work(Client(options), options))
    used = os.times()
    print(json.dumps({**result, "cpu": used.user + used.system}))


if __name__ == "__main__":
    main()
