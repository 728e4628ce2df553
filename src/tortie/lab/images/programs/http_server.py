"""A small threaded HTTP/1.1 server for the lab's programs; `http.server` costs twice the memory and start-up.

In: a handler function and ports. Out: answers with keep-alive on IPv4 and IPv6, one thread per open connection.
"""

import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Callable

_LIMIT = 64 * 1024
_BODY_LIMIT = 16 * 1024 * 1024
REASONS = {
    200: "OK",
    201: "Created",
    204: "No Content",
    206: "Partial Content",
    301: "Moved Permanently",
    302: "Found",
    304: "Not Modified",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    413: "Content Too Large",
    418: "I'm a teapot",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


class Request:
    """One request. path: without the query. headers: names in lower case. peer: the client's address and port."""

    def __init__(self, method: str, target: str, version: str, headers: dict[str, str], peer: tuple[str, int]) -> None:
        self.method = method
        self.target = target
        self.version = version
        self.headers = headers
        self.peer = peer
        self.body = b""
        self.local_port = 0
        path, _, query = target.partition("?")
        self.path = unquote(path)
        self.query = parse_query(query)


class Response:
    """What a handler gives back. body: text becomes UTF-8."""

    def __init__(
        self, body: str | bytes = b"", status: int = 200, kind: str = "text/plain; charset=utf-8", **headers: str
    ) -> None:
        self.body = body.encode() if isinstance(body, str) else body
        self.status = status
        self.headers = {"Content-Type": kind, **{name.replace("_", "-"): value for name, value in headers.items()}}


Handler = Callable[[Request], Response]


def unquote(text: str) -> str:
    """Percent-decoding."""
    if "%" not in text:
        return text
    parts = text.encode().split(b"%")
    out = bytearray(parts[0])
    for part in parts[1:]:
        try:
            out.append(int(part[:2], 16))
            out += part[2:]
        except ValueError:
            out += b"%" + part
    return out.decode(errors="replace")


def parse_query(text: str) -> dict[str, str]:
    """The last value of each parameter."""
    found = {}
    for pair in text.split("&"):
        if pair:
            name, _, value = pair.replace("+", " ").partition("=")
            found[unquote(name)] = unquote(value)
    return found


def listen(port: int, kind: int = socket.SOCK_STREAM) -> socket.socket:
    """A socket on all addresses of both families; of IPv4 alone where the kernel has no IPv6."""
    last: OSError | None = None
    for family, address in ((socket.AF_INET6, "::"), (socket.AF_INET, "0.0.0.0")):  # noqa: S104  # a server's purpose
        try:
            server = socket.socket(family, kind)
        except OSError as error:
            last = error
            continue
        try:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            server.bind((address, port))
            if kind == socket.SOCK_STREAM:
                server.listen(512)
            return server
        except OSError as error:
            server.close()
            last = error
    assert last is not None
    raise last


def plain(address: str) -> str:
    """An IPv4 address in its IPv6 form, as dual-stack sockets show it, becomes itself again."""
    return address.removeprefix("::ffff:") if "." in address else address


def serve_connections(server: socket.socket, handle: Callable[[socket.socket, tuple[str, int]], None]) -> None:
    """Accepts for ever; each connection gets a thread."""
    while True:
        try:
            connection, peer = server.accept()
        except OSError as error:
            sys.stderr.write(f"accept: {error}\n")
            time.sleep(0.1)
            continue
        client = (plain(peer[0]), peer[1])
        threading.Thread(target=_guarded, args=(handle, connection, client), daemon=True).start()


def _guarded(
    handle: Callable[[socket.socket, tuple[str, int]], None], connection: socket.socket, peer: tuple[str, int]
) -> None:
    with connection, contextlib.suppress(ConnectionError, TimeoutError, OSError):
        handle(connection, peer)


def serve(port: int, handler: Handler, *, name: str = "tortie", server: socket.socket | None = None) -> None:
    """Serves HTTP on a port for ever."""
    listener = server or listen(port)

    def connection_loop(connection: socket.socket, peer: tuple[str, int]) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(75)
        buffer = bytearray()
        while (request := _read_request(connection, buffer, peer)) is not None:
            request.local_port = port
            try:
                response = handler(request)
            except Exception as error:  # one bad request must not end the server
                response = Response(f"{type(error).__name__}: {error}\n", 500)
            keep = _keep_alive(request)
            connection.sendall(_render(request, response, keep=keep, name=name))
            if not keep:
                return

    serve_connections(listener, connection_loop)


def serve_in_background(port: int, handler: Handler, *, name: str = "tortie") -> None:
    """The same in a thread, once the port is bound."""
    listener = listen(port)
    threading.Thread(target=serve, args=(port, handler), kwargs={"name": name, "server": listener}, daemon=True).start()


def _keep_alive(request: Request) -> bool:
    connection = request.headers.get("connection", "").lower()
    return connection != "close" if request.version == "HTTP/1.1" else connection == "keep-alive"


def _read_request(connection: socket.socket, buffer: bytearray, peer: tuple[str, int]) -> Request | None:
    while (end := buffer.find(b"\r\n\r\n")) < 0:
        data = connection.recv(65536)
        if not data or len(buffer) > _LIMIT:
            return None
        buffer += data
    lines = bytes(buffer[:end]).decode("latin-1").split("\r\n")
    del buffer[: end + 4]
    words = lines[0].split()
    if len(words) != 3:
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        return None
    headers = {}
    for line in lines[1:]:
        key, _, value = line.partition(":")
        headers[key.strip().lower()] = value.strip()
    target = words[1]
    if "://" in target:  # the form that proxies get
        target = "/" + target.split("://", 1)[1].partition("/")[2]
    request = Request(words[0], target, words[2], headers, peer)
    if headers.get("expect", "").lower() == "100-continue":
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    if headers.get("transfer-encoding", "").lower() == "chunked":
        request.body = _read_chunks(connection, buffer)
    else:
        request.body = _read_exactly(connection, buffer, int(headers.get("content-length") or 0))
    return request


def _read_exactly(connection: socket.socket, buffer: bytearray, length: int) -> bytes:
    if length > _BODY_LIMIT:
        raise OSError("the body is too large")
    while len(buffer) < length:
        data = connection.recv(65536)
        if not data:
            raise ConnectionError("the body ended early")
        buffer += data
    body = bytes(buffer[:length])
    del buffer[:length]
    return body


def _read_chunks(connection: socket.socket, buffer: bytearray) -> bytes:
    body = b""
    while True:
        while b"\r\n" not in buffer:
            data = connection.recv(65536)
            if not data:
                raise ConnectionError("the body ended early")
            buffer += data
        line, _, rest = bytes(buffer).partition(b"\r\n")
        buffer[:] = rest
        length = int(line.split(b";")[0], 16)
        body += _read_exactly(connection, buffer, length)
        _read_exactly(connection, buffer, 2)
        if length == 0:
            return body


def _render(request: Request, response: Response, *, keep: bool, name: str) -> bytes:
    reason = REASONS.get(response.status, "")
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
    lines = [
        f"HTTP/1.1 {response.status} {reason}",
        f"Server: {name}",
        f"Date: {date}",
        *(f"{key}: {value}" for key, value in response.headers.items()),
        f"Content-Length: {len(response.body)}",
        f"Connection: {'keep-alive' if keep else 'close'}",
    ]
    head = "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n"
    return head if request.method == "HEAD" else head + response.body


def exit_on_sigterm() -> None:
    """A polite end: Python's own default would print nothing but leave status 143, which reads as a failure."""
    import signal

    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGINT, lambda *_: os._exit(0))
