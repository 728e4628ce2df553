"""HTTP as `curl` and `wget` of the lab's images need it: one request over a socket, with deadlines and exact errors.

In: a URL and what to send. Out: the answer, streamed to a callback; `FetchError` says which step failed, so that each
program can name its own exit status.
"""

import socket
import time
from collections.abc import Callable


class FetchError(Exception):
    """step: url, resolve, connect, timeout, tls, empty, receive."""

    def __init__(self, step: str, message: str, *, host: str = "", port: int = 0, milliseconds: float = 0) -> None:
        super().__init__(message)
        self.step = step
        self.host = host
        self.port = port
        self.milliseconds = milliseconds


class Url:
    """The parts of http://user:pw@host:port/path?query; a missing scheme means http. Raises FetchError."""

    def __init__(self, text: str) -> None:
        scheme, separator, rest = text.partition("://")
        if not separator:
            scheme, rest = "http", text
        self.scheme = scheme.lower()
        for index, character in enumerate(rest):
            if character in "/?":
                authority, tail = rest[:index], rest[index:]
                break
        else:
            authority, tail = rest, ""
        self.user, at, authority2 = authority.rpartition("@")
        authority = authority2 if at else authority
        if authority.startswith("["):
            self.host, _, port = authority[1:].partition("]")
            port = port.removeprefix(":")
        else:
            self.host, _, port = authority.partition(":")
        if self.scheme not in ("http", "https", "telnet", "tcp"):
            raise FetchError("url", f"scheme {scheme!r} is not one of http, https")
        if not self.host or (port and not port.isdigit()):
            raise FetchError("url", f"{text!r} is no URL")
        self.port = int(port) if port else {"https": 443, "telnet": 23}.get(self.scheme, 80)
        self.path = tail.partition("#")[0] or "/"
        if self.path.startswith("?"):
            self.path = "/" + self.path

    @property
    def authority(self) -> str:
        """As in the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == {"https": 443}.get(self.scheme, 80) else f"{host}:{self.port}"

    def join(self, location: str) -> "Url":
        """Where a Location header leads from here."""
        if "://" in location:
            return Url(location)
        if location.startswith("//"):
            return Url(f"{self.scheme}:{location}")
        base = f"{self.scheme}://{self.authority}"
        if location.startswith("/"):
            return Url(base + location)
        return Url(base + self.path.partition("?")[0].rpartition("/")[0] + "/" + location)


class Options:
    """How to connect. family: 0, AF_INET or AF_INET6. resolve: (host, port) -> address. deadline: monotonic time."""

    def __init__(self) -> None:
        self.family = 0
        self.connect_timeout: float | None = None
        self.deadline: float | None = None
        self.resolve: dict[tuple[str, int], str] = {}
        self.verify = True
        self.ca_file: str | None = None
        self.certificate: str | None = None
        self.key: str | None = None
        self.source: str | None = None
        self.say: Callable[[str], None] = lambda _text: None

    def remaining(self, limit: float | None = None) -> float | None:
        """Seconds that the next step may take."""
        left = None if self.deadline is None else max(0.001, self.deadline - time.monotonic())
        return min(v for v in (left, limit) if v is not None) if left is not None or limit is not None else None


class Answer:
    """status and headers of a response (names in lower case, in order), with the raw head."""

    def __init__(self, head: bytes, url: Url, address: str) -> None:
        self.head = head
        self.url = url
        self.address = address
        lines = head.decode("latin-1").split("\r\n")
        words = lines[0].split(" ", 2)
        if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdigit():
            raise FetchError("receive", "Received HTTP/0.9 when not allowed")
        self.status = int(words[1])
        self.headers = [
            (name.strip().lower(), value.strip())
            for name, _, value in (line.partition(":") for line in lines[1:] if line)
        ]

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)


def connect(url: Url, options: Options) -> socket.socket:
    """A connection to the URL's host; the first of its addresses that answers. Raises FetchError."""
    start = time.monotonic()
    host = options.resolve.get((url.host, url.port), url.host)
    try:
        found = socket.getaddrinfo(host, url.port, options.family, socket.SOCK_STREAM)
    except OSError as error:
        raise FetchError("resolve", f"Could not resolve host: {url.host}", host=url.host) from error
    failure: FetchError | None = None
    for family, _, _, _, address in found:
        connection = socket.socket(family, socket.SOCK_STREAM)
        options.say(f"  Trying {address[0]}:{url.port}...")
        try:
            if options.source:
                connection.bind((options.source, 0))
            connection.settimeout(options.remaining(options.connect_timeout))
            connection.connect(address)
            options.say(f"Connected to {url.host} ({address[0]}) port {url.port}")
            return connection
        except TimeoutError:
            elapsed = (time.monotonic() - start) * 1000
            failure = FetchError(
                "timeout", f"Connection timed out after {elapsed:.0f} milliseconds", host=url.host, port=url.port
            )
        except OSError as error:
            elapsed = (time.monotonic() - start) * 1000
            failure = FetchError(
                "connect", error.strerror or str(error), host=url.host, port=url.port, milliseconds=elapsed
            )
        connection.close()
    assert failure is not None
    raise failure


def secure(connection: socket.socket, url: Url, options: Options) -> socket.socket:
    """TLS over a connection. Raises FetchError."""
    import ssl

    context = ssl.create_default_context(cafile=options.ca_file)
    if not options.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if options.certificate:
        context.load_cert_chain(options.certificate, options.key)
    try:
        connection.settimeout(options.remaining(options.connect_timeout))
        return context.wrap_socket(connection, server_hostname=url.host)
    except TimeoutError as error:
        raise FetchError("timeout", "SSL connection timeout", host=url.host, port=url.port) from error
    except OSError as error:
        raise FetchError("tls", f"SSL: {error}", host=url.host, port=url.port) from error


def fetch(
    method: str,
    url: Url,
    headers: list[tuple[str, str]],
    body: bytes | None,
    options: Options,
    sink: Callable[[Answer, bytes], None],
) -> Answer:
    """One request. sink gets the body piece by piece. Raises FetchError."""
    connection = connect(url, options)
    if url.scheme == "https":
        connection = secure(connection, url, options)
    with connection:
        names = {name.lower() for name, _ in headers}
        lines = [f"{method} {url.path} HTTP/1.1"]
        if "host" not in names:
            lines.append(f"Host: {url.authority}")
        lines += [f"{name}: {value}" for name, value in headers]
        if body is not None and "content-length" not in names:
            lines.append(f"Content-Length: {len(body)}")
        head = "\r\n".join(lines)
        for line in lines:
            options.say(f"> {line}")
        options.say(">")
        try:
            connection.settimeout(options.remaining())
            connection.sendall(head.encode() + b"\r\nConnection: close\r\n\r\n" + (body or b""))
            return _receive(connection, method, url, options, sink)
        except TimeoutError as error:
            raise FetchError("timeout", "Operation timed out", host=url.host, port=url.port) from error
        except ConnectionResetError as error:
            raise FetchError("receive", "Recv failure: Connection reset by peer") from error
        except OSError as error:
            raise FetchError("receive", f"Recv failure: {error.strerror or error}") from error


def _receive(
    connection: socket.socket, method: str, url: Url, options: Options, sink: Callable[[Answer, bytes], None]
) -> Answer:
    buffer = b""

    def more() -> bytes:
        connection.settimeout(options.remaining())
        return connection.recv(65536)

    while True:
        while b"\r\n\r\n" not in buffer:
            data = more()
            if not data:
                raise FetchError("empty", "Empty reply from server")
            buffer += data
        head, _, buffer = buffer.partition(b"\r\n\r\n")
        answer = Answer(head, url, connection.getpeername()[0])
        if answer.status >= 200 or answer.status == 101:
            break
    for line in head.decode("latin-1").split("\r\n"):
        options.say(f"< {line}")
    options.say("<")
    sink(answer, b"")
    if method == "HEAD" or answer.status in (204, 304):
        return answer
    if (answer.header("transfer-encoding") or "").lower() == "chunked":
        _receive_chunks(buffer, more, lambda data: sink(answer, data))
        return answer
    length = answer.header("content-length")
    left = int(length) if length and length.isdigit() else None
    while left is None or left > 0:
        piece = buffer or more()
        buffer = b""
        if not piece:
            if left:
                raise FetchError("receive", f"transfer closed with {left} bytes remaining to read")
            break
        piece = piece if left is None else piece[:left]
        left = None if left is None else left - len(piece)
        sink(answer, piece)
    return answer


def _receive_chunks(buffer: bytes, more: Callable[[], bytes], sink: Callable[[bytes], None]) -> None:
    def need(count: int) -> None:
        nonlocal buffer
        while len(buffer) < count:
            data = more()
            if not data:
                raise FetchError("receive", "transfer closed with outstanding read data remaining")
            buffer += data

    while True:
        while b"\r\n" not in buffer:
            need(len(buffer) + 1)
        line, _, buffer = buffer.partition(b"\r\n")
        length = int(line.split(b";")[0] or b"0", 16)
        if length == 0:
            return
        need(length + 2)
        sink(buffer[:length])
        buffer = buffer[length + 2 :]
