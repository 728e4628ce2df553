"""One call to another program of the lab: HTTP, TCP or UDP, with a deadline, told in one line.

In: a URL (http://host[:port]/path, tcp://host:port, udp://host:port) from `client`, `shop` or `agnhost`. Out: whether
it was answered, what, and how long it took; a refused, a silent and an unknown host are told apart.
"""

import socket
import time
from collections.abc import Callable


class Result:
    """kind: ok, status (an HTTP answer of 400 and above), timeout, refused, dns, or error. text: for people."""

    def __init__(self, kind: str, text: str, milliseconds: float, body: bytes = b"") -> None:
        self.kind = kind
        self.text = text
        self.milliseconds = milliseconds
        self.body = body

    @property
    def ok(self) -> bool:
        return self.kind == "ok"


def split(url: str) -> tuple[str, str, int, str]:
    """scheme, host, port, path. Raises ValueError with the allowed forms."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in ("http", "tcp", "udp"):
        raise ValueError(f"{url!r} is not http://host[:port][/path], tcp://host:port or udp://host:port")
    authority, slash, path = rest.partition("/")
    if authority.startswith("["):
        host, _, tail = authority[1:].partition("]")
        port = tail.removeprefix(":")
    else:
        host, _, port = authority.partition(":")
    if not port:
        if scheme != "http":
            raise ValueError(f"{url!r} names no port")
        port = "80"
    return scheme, host, int(port), slash + path or "/"


def call(url: str, *, timeout: float = 2.0, payload: bytes = b"hello\n", agent: str = "tortie-client") -> Result:
    """Makes one call. Never raises for what the network does; raises ValueError for a malformed URL."""
    scheme, host, port, path = split(url)
    start = time.monotonic()

    def result(kind: str, text: str, body: bytes = b"") -> Result:
        return Result(kind, text, (time.monotonic() - start) * 1000, body)

    kind = socket.SOCK_DGRAM if scheme == "udp" else socket.SOCK_STREAM
    try:
        found = socket.getaddrinfo(host, port, type=kind)
    except OSError as error:
        return result("dns", f"cannot resolve {host}: {error.strerror or error}")
    outcome = result("error", f"no address of {host} is usable")
    for family, _, _, _, address in found:
        try:
            with socket.socket(family, kind) as connection:
                connection.settimeout(timeout)
                connection.connect(address)
                return _exchange(scheme, connection, host, path, payload, agent, result)
        except TimeoutError:
            return result("timeout", f"timed out after {timeout:g} s")
        except ConnectionRefusedError:
            outcome = result("refused", "connection refused")
        except OSError as error:
            outcome = result("error", (error.strerror or str(error)).lower())
    return outcome


def _exchange(
    scheme: str,
    connection: socket.socket,
    host: str,
    path: str,
    payload: bytes,
    agent: str,
    result: Callable[..., Result],
) -> Result:
    if scheme == "udp":
        connection.send(payload)
        data = connection.recv(65536)
        return result("ok", f"{len(data)} bytes back", data)
    if scheme == "tcp":
        return result("ok", "connected")
    shown = f"[{host}]" if ":" in host else host
    request = f"GET {path} HTTP/1.1\r\nHost: {shown}\r\nUser-Agent: {agent}\r\nConnection: close\r\n\r\n"
    connection.sendall(request.encode())
    data = b""
    while chunk := connection.recv(65536):
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    if len(words) < 2 or not words[1].isdigit():
        return result("error", "no HTTP answer")
    status = int(words[1])
    return result("ok" if status < 400 else "status", f"HTTP {status}", body)
