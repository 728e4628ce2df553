"""`kubectl port-forward`: connections of a client carried to ports inside a pod's network namespace.

In: SPDY streams (raw, or inside a WebSocket as kubectl 1.31 and later do), or the older WebSocket channels; the pod's
namespace. Out: TCP connections to the pod's own loopback, as container runtimes make them; a failed one is told on its
error stream, the others go on.
"""

import asyncio
import contextlib
import os
import socket
import struct
from pathlib import Path

from aiohttp import WSMsgType, web

from tortie.lab.kubelet import linux, spdy
from tortie.lab.kubelet.streams import Tunnel

_READ = 65536


async def connect(netns: Path | None, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to a port on the loopback of a pod. Raises OSError naming it."""
    reasons = []
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        made = linux.socket_in_namespace(netns, family, socket.SOCK_STREAM)
        try:
            await asyncio.get_running_loop().sock_connect(made, (address, port))
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return await asyncio.open_connection(sock=made)
        except OSError as error:
            made.close()
            reasons.append(f"{address}: {os.strerror(error.errno or 0).lower()}")
    where = f"network namespace {netns.name}" if netns is not None else "the node's network namespace"
    raise OSError(f"failed to connect to localhost:{port} inside {where}: {', '.join(reasons)}")


class _Forward:
    """One forwarded connection: the client's data and error streams, the pod's socket."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.error: int | None = None
        self.data: int | None = None
        self.input: asyncio.Queue[bytes] = asyncio.Queue(64)
        self.task: asyncio.Task[None] | None = None


class SpdyForwarder:
    """Serves one client over SPDY."""

    def __init__(self, tunnel: Tunnel, netns: Path | None) -> None:
        self._tunnel = tunnel
        self._netns = netns
        self._connection = spdy.Connection()
        self._forwards: dict[str, _Forward] = {}
        self._by_stream: dict[int, tuple[str, _Forward]] = {}

    async def run(self) -> None:
        """Until the client is gone."""
        try:
            while data := await self._tunnel.read():
                for event in self._connection.feed(data):
                    if isinstance(event, spdy.Ended):
                        return
                    await self._handle(event)
        finally:
            tasks = [forward.task for forward in self._forwards.values() if forward.task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with contextlib.suppress(ConnectionError):
                await self._tunnel.close()

    async def _handle(self, event: spdy.Event) -> None:
        if isinstance(event, spdy.Pong):
            await self._tunnel.write(event.frame)
        elif isinstance(event, spdy.Opened):
            await self._open(event)
        elif isinstance(event, spdy.Data) and event.stream in self._by_stream:
            _, forward = self._by_stream[event.stream]
            if forward.data == event.stream:
                if event.data:
                    await forward.input.put(event.data)
                if event.fin:
                    await forward.input.put(b"")
        elif isinstance(event, spdy.Reset) and event.stream in self._by_stream:
            _, forward = self._by_stream[event.stream]
            if forward.data == event.stream and forward.task is not None:
                forward.task.cancel()

    async def _open(self, event: spdy.Opened) -> None:
        """The client opens an error stream and a data stream for each connection; requestID ties them together."""
        kind, port = event.headers.get("streamtype", ""), event.headers.get("port", "")
        if kind not in ("error", "data") or not port.isdigit() or not 1 <= int(port) <= 65535:
            await self._tunnel.write(self._connection.reset(event.stream))
            return
        key = event.headers.get("requestid", f"stream-{event.stream // 2 * 2}")
        forward = self._forwards.setdefault(key, _Forward(int(port)))
        self._by_stream[event.stream] = (key, forward)
        await self._tunnel.write(self._connection.reply(event.stream))
        if kind == "error":
            forward.error = event.stream
        else:
            forward.data = event.stream
        if forward.error is not None and forward.data is not None and forward.task is None:
            forward.task = asyncio.get_running_loop().create_task(self._carry(key, forward))

    async def _carry(self, key: str, forward: _Forward) -> None:
        assert forward.data is not None
        assert forward.error is not None
        message = b""
        try:
            reader, writer = await connect(self._netns, forward.port)
            try:
                await self._copy(forward, reader, writer)
            finally:
                writer.close()
        except OSError as error:
            message = f"error forwarding port {forward.port} to pod: {error}".encode()
        finally:
            self._forwards.pop(key, None)
            for stream in (forward.data, forward.error):
                self._by_stream.pop(stream, None)
            while not forward.input.empty():  # the reader of the tunnel may wait for room
                forward.input.get_nowait()
        with contextlib.suppress(ConnectionError):
            await self._tunnel.write(
                self._connection.data(forward.error, message, fin=True)
                + self._connection.data(forward.data, b"", fin=True)
            )

    async def _copy(self, forward: _Forward, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def inward() -> None:
            while data := await forward.input.get():
                writer.write(data)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()

        task = asyncio.get_running_loop().create_task(inward())
        assert forward.data is not None
        try:
            while data := await reader.read(_READ):
                await self._tunnel.write(self._connection.data(forward.data, data))
        except ConnectionResetError:
            pass
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def serve_channels(websocket: web.WebSocketResponse, netns: Path | None, ports: list[int]) -> None:
    """The older form: for the n-th port channel 2n carries data and 2n+1 errors; each begins with the port number."""
    writers: dict[int, asyncio.StreamWriter] = {}
    tasks = []

    async def outward(channel: int, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_READ):
                await websocket.send_bytes(bytes([channel]) + data)

    try:
        for index, port in enumerate(ports):
            for channel in (2 * index, 2 * index + 1):
                await websocket.send_bytes(bytes([channel]) + struct.pack("<H", port))
            try:
                reader, writer = await connect(netns, port)
            except OSError as error:
                await websocket.send_bytes(bytes([2 * index + 1]) + str(error).encode())
                continue
            writers[2 * index] = writer
            tasks.append(asyncio.get_running_loop().create_task(outward(2 * index, reader)))
        received = asyncio.get_running_loop().create_task(_inward(websocket, writers))
        tasks.append(received)
        while tasks and not received.done():
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            tasks = [task for task in tasks if task not in done]
            if tasks == [received]:
                break  # every pod-side connection has ended
    finally:
        for task in tasks:
            task.cancel()
        for writer in writers.values():
            writer.close()
        await websocket.close()


async def _inward(websocket: web.WebSocketResponse, writers: dict[int, asyncio.StreamWriter]) -> None:
    async for message in websocket:
        if message.type == WSMsgType.BINARY and message.data and (writer := writers.get(message.data[0])):
            with contextlib.suppress(OSError):
                writer.write(message.data[1:])
                await writer.drain()
