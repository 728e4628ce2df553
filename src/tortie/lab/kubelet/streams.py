"""How a client's streams reach a command: WebSocket channels or SPDY streams on one side, descriptors on the other.

In: an upgraded connection from `server`. Out: one interface for `execution` and `portforward`, whatever the client
speaks; and reading and writing of descriptors on the event loop.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any, Literal, Protocol

import msgspec
from aiohttp import WSMsgType, web

from tortie.lab.kubelet import spdy

StreamName = Literal["stdin", "stdout", "stderr", "error", "resize"]
_CHANNELS: dict[int, StreamName] = {0: "stdin", 1: "stdout", 2: "stderr", 3: "error", 4: "resize"}
_NUMBERS = {name: number for number, name in _CHANNELS.items()}
_CLOSE = 255


class Input(msgspec.Struct, frozen=True):
    """What the client sent on stdin or resize. end: it closed that stream."""

    stream: StreamName
    data: bytes
    end: bool = False


class Tunnel(Protocol):
    """A byte stream to the client."""

    async def read(self) -> bytes:
        """Some bytes; b"" at the end."""
        ...

    async def write(self, data: bytes) -> None: ...

    async def close(self) -> None: ...


class RemoteStreams(Protocol):
    """A command's streams at the client."""

    def inputs(self) -> AsyncIterator[Input]:
        """What arrives, until the client is gone."""
        ...

    async def write(self, stream: StreamName, data: bytes) -> None: ...

    async def finish(self, status: dict[str, Any]) -> None:
        """Tells how it ended and closes the connection."""
        ...


class WebSocketTunnel:
    """Bytes in binary messages, as kubectl tunnels SPDY."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket

    async def read(self) -> bytes:
        while True:
            message = await self._socket.receive()
            if message.type in (WSMsgType.BINARY, WSMsgType.TEXT):
                data = message.data if isinstance(message.data, bytes) else message.data.encode()
                if data:
                    return bytes(data)
            elif message.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR):
                return b""

    async def write(self, data: bytes) -> None:
        await self._socket.send_bytes(data)

    async def close(self) -> None:
        await self._socket.close()


class RawTunnel:
    """A connection that was upgraded away from HTTP."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self) -> bytes:
        try:
            return await self._reader.read(65536)
        except OSError:
            return b""

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def close(self) -> None:
        self._writer.close()


class WebSocketStreams:
    """The channel protocol of Kubernetes (v5 and v4): the first byte of a message is the channel."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket
        self._half_close = socket.ws_protocol == "v5.channel.k8s.io"

    async def greet(self, stream: StreamName) -> None:
        """An empty message, by which a client knows that the connection stands."""
        await self._socket.send_bytes(bytes([_NUMBERS[stream]]))

    async def inputs(self) -> AsyncIterator[Input]:
        async for message in self._socket:
            if message.type not in (WSMsgType.BINARY, WSMsgType.TEXT):
                continue
            data = message.data if isinstance(message.data, bytes) else message.data.encode()
            if len(data) >= 2 and data[0] == _CLOSE and self._half_close:
                if (name := _CHANNELS.get(data[1])) is not None:
                    yield Input(name, b"", end=True)
            elif data and (name := _CHANNELS.get(data[0])) in ("stdin", "resize"):
                yield Input(name, bytes(data[1:]))

    async def write(self, stream: StreamName, data: bytes) -> None:
        await self._socket.send_bytes(bytes([_NUMBERS[stream]]) + data)

    async def finish(self, status: dict[str, Any]) -> None:
        with contextlib.suppress(ConnectionError):
            await self.write("error", msgspec.json.encode(status))
        await self._socket.close()


class SpdyStreams:
    """Exec and attach over SPDY: one stream for each of stdin, stdout, stderr, error and resize."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel
        self._connection = spdy.Connection()
        self._numbers: dict[StreamName, int] = {}
        self._names: dict[int, StreamName] = {}
        self._pending: list[Input] = []

    async def open(self, expected: set[StreamName]) -> None:
        """Waits until the client has opened its streams. Raises ConnectionError, TimeoutError."""
        async with asyncio.timeout(30):
            while not expected <= set(self._numbers):
                if not await self._receive():
                    raise ConnectionError("the client went away before it had opened its streams")

    async def inputs(self) -> AsyncIterator[Input]:
        while True:
            while self._pending:
                yield self._pending.pop(0)
            if not await self._receive():
                return

    async def write(self, stream: StreamName, data: bytes) -> None:
        number = self._numbers.get(stream)
        if number is not None:
            await self._tunnel.write(self._connection.data(number, data))

    async def finish(self, status: dict[str, Any]) -> None:
        with contextlib.suppress(ConnectionError):
            frames = b""
            for name in ("stdout", "stderr"):
                if (number := self._numbers.get(name)) is not None:
                    frames += self._connection.data(number, b"", fin=True)
            if (error := self._numbers.get("error")) is not None:
                frames += self._connection.data(error, msgspec.json.encode(status), fin=True)
            await self._tunnel.write(frames)
            # The client closes once it has read all; it must not lose the last frames to a reset.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2):
                    while await self._receive():
                        pass
        await self._tunnel.close()

    async def _receive(self) -> bool:
        data = await self._tunnel.read()
        if not data:
            return False
        for event in self._connection.feed(data):
            if isinstance(event, spdy.Opened):
                name = event.headers.get("streamtype", "")
                if name in _NUMBERS:
                    self._numbers[name] = event.stream
                    self._names[event.stream] = name
                await self._tunnel.write(self._connection.reply(event.stream))
                if name == "stdin" and event.fin:
                    self._pending.append(Input("stdin", b"", end=True))
            elif isinstance(event, spdy.Data):
                stream = self._names.get(event.stream)
                if stream in ("stdin", "resize"):
                    self._pending.append(Input(stream, event.data, end=event.fin))
            elif isinstance(event, spdy.Pong):
                await self._tunnel.write(event.frame)
            elif isinstance(event, spdy.Ended):
                return False
        return True


async def read_descriptor(descriptor: int) -> bytes:
    """Some bytes of a non-blocking descriptor; b"" at its end (a closed terminal is at its end)."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            return os.read(descriptor, 65536)
        except BlockingIOError:
            ready: asyncio.Future[None] = loop.create_future()
            loop.add_reader(descriptor, _set, ready)
            try:
                await ready
            finally:
                loop.remove_reader(descriptor)
        except OSError:
            return b""


async def write_descriptor(descriptor: int, data: bytes) -> None:
    """All of the bytes to a non-blocking descriptor. Raises OSError when nobody reads."""
    loop = asyncio.get_running_loop()
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            ready: asyncio.Future[None] = loop.create_future()
            loop.add_writer(descriptor, _set, ready)
            try:
                await ready
            finally:
                loop.remove_writer(descriptor)


def _set(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
