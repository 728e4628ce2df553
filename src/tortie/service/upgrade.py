"""HTTP connections that become something else: SPDY, which the HTTP library does not know.

In: a request, inside its handler, before any answer. Out: the connection as plain streams; the library lets go of it
and believes that the client went away.
"""

import asyncio
import contextlib

from aiohttp import web


def asks_for(request: web.Request, protocol: str) -> bool:
    """Whether a request wants its connection upgraded to `protocol` (case does not matter)."""
    upgrade = "upgrade" in request.headers.get("Connection", "").lower()
    return upgrade and request.headers.get("Upgrade", "").lower() == protocol.lower()


def take_over(request: web.Request) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """The request's connection. Whatever the handler returns afterwards is not sent. Raises ConnectionError if the
    client is gone."""
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the client is gone")
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 20)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    request.protocol.transport = None  # the library would close it
    request.protocol.connection_lost(None)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


async def both_ways(
    client: asyncio.StreamReader, to_client: asyncio.StreamWriter,
    back: asyncio.StreamReader, to_server: asyncio.StreamWriter,
) -> None:  # fmt: skip
    """Copies bytes between a connection that was taken over and the one behind it, until either side ends."""
    tasks = [
        asyncio.create_task(_pump(client, to_server), name="client to server"),
        asyncio.create_task(_pump(back, to_client), name="server to client"),
    ]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        to_client.close()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
