"""The program `curl` of the lab's images, for hosts that have none: the options that scripts and tutorials use.

In: curl's command line. Out: curl's output forms and exit statuses (6 resolve, 7 connect, 22 HTTP error with -f,
28 timeout, 35/60 TLS, 52 empty reply, 56 receive).
"""

import os
import socket
import sys
import time

from tortie.lab.images.programs.fetch import Answer, FetchError, Options, Url, connect, fetch

_STATUS = {"url": 3, "resolve": 6, "connect": 7, "timeout": 28, "tls": 35, "empty": 52, "receive": 56}
_SHORT = {
    "s": "silent",
    "S": "show-error",
    "f": "fail",
    "v": "verbose",
    "i": "include",
    "I": "head",
    "o": "output",
    "O": "remote-name",
    "w": "write-out",
    "X": "request",
    "d": "data",
    "H": "header",
    "k": "insecure",
    "L": "location",
    "m": "max-time",
    "u": "user",
    "A": "user-agent",
    "4": "ipv4",
    "6": "ipv6",
    "G": "get",
    "e": "referer",
    "b": "cookie",
    "x": "proxy",
    "V": "version",
    "N": "no-buffer",
    "#": "progress-bar",
    "g": "globoff",
    "E": "cert",
    "T": "upload-file",
}
_SWITCHES = {
    *("silent", "show-error", "fail", "verbose", "include", "head", "remote-name", "insecure", "location", "ipv4"),
    *("ipv6", "get", "version", "no-buffer", "progress-bar", "globoff", "compressed", "http1.1", "http1.0", "http2"),
    *("retry-connrefused", "retry-all-errors", "no-keepalive", "fail-with-body", "no-progress-meter", "path-as-is"),
    *("location-trusted", "tcp-nodelay", "http2-prior-knowledge"),
}
_VALUES = {
    *("output", "write-out", "request", "data", "header", "max-time", "user", "user-agent", "referer", "cookie"),
    *("proxy", "connect-timeout", "data-raw", "data-binary", "data-urlencode", "resolve", "retry", "retry-delay"),
    *("retry-max-time", "cacert", "cert", "key", "noproxy", "interface", "url", "json", "upload-file", "max-redirs"),
    *("keepalive-time", "local-port"),
}


class Arguments:
    """The parsed command line: values by long name (lists where an option may repeat), and the URLs."""

    def __init__(self, arguments: list[str]) -> None:
        self.switches: set[str] = set()
        self.values: dict[str, list[str]] = {}
        self.urls: list[str] = []
        pending = list(arguments)
        while pending:
            argument = pending.pop(0)
            if argument.startswith("--") and len(argument) > 2:
                self._long(argument[2:], pending)
            elif argument.startswith("-") and len(argument) > 1:
                self._short(argument[1:], pending)
            else:
                self.urls.append(argument)
        self.urls += self.values.get("url", [])

    def _long(self, name: str, pending: list[str]) -> None:
        if name in _SWITCHES:
            self.switches.add(name)
        elif name in _VALUES:
            self._value(name, pending)
        elif name.startswith("no-") and name[3:] in _SWITCHES:
            self.switches.discard(name[3:])
        else:
            _die(2, f"option --{name}: is unknown")

    def _short(self, letters: str, pending: list[str]) -> None:
        for index, letter in enumerate(letters):
            name = _SHORT.get(letter)
            if name is None:
                _die(2, f"option -{letter}: is unknown")
            elif name in _SWITCHES:
                self.switches.add(name)
            else:
                rest = letters[index + 1 :]
                self._value(name, [rest] if rest else pending)
                return

    def _value(self, name: str, pending: list[str]) -> None:
        if not pending:
            _die(2, f"option --{name}: requires parameter")
        self.values.setdefault(name, []).append(pending.pop(0))

    def last(self, name: str, default: str = "") -> str:
        return self.values.get(name, [default])[-1]

    def has(self, *names: str) -> bool:
        return any(name in self.switches for name in names)


def _die(status: int, message: str) -> None:
    sys.stderr.write(
        f"curl: {message}\ncurl: this is the lab's small curl\n" if status == 2 else f"curl: ({status}) {message}\n"
    )
    raise SystemExit(status)


def _options(arguments: Arguments) -> Options:
    options = Options()
    options.family = socket.AF_INET if arguments.has("ipv4") else socket.AF_INET6 if arguments.has("ipv6") else 0
    if value := arguments.last("connect-timeout"):
        options.connect_timeout = float(value)
    if value := arguments.last("max-time"):
        options.deadline = time.monotonic() + float(value)
    for entry in arguments.values.get("resolve", []):
        host, port, address = entry.lstrip("+").split(":", 2)
        options.resolve[host, int(port)] = address.strip("[]")
    options.verify = not arguments.has("insecure")
    options.ca_file = arguments.last("cacert") or None
    options.certificate = arguments.last("cert") or None
    options.key = arguments.last("key") or None
    if arguments.has("verbose"):
        options.say = _narrate
    return options


def _narrate(text: str) -> None:
    sys.stderr.write(f"{text}\n" if text[:1] in ("<", ">") else f"* {text}\n")


def _quote(text: str) -> str:
    safe = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~"
    return "".join(chr(b) if chr(b) in safe else f"%{b:02X}" for b in text.encode())


def _body(arguments: Arguments) -> bytes | None:
    parts = []
    for name in ("data", "data-raw", "data-binary", "data-urlencode", "json"):
        for value in arguments.values.get(name, []):
            if value.startswith("@") and name in ("data", "data-binary", "json"):
                data = sys.stdin.buffer.read() if value == "@-" else _read(value[1:])
                parts.append(data.replace(b"\n", b"").replace(b"\r", b"") if name == "data" else data)
            elif name == "data-urlencode":
                key, separator, text = value.partition("=")
                parts.append((f"{key}={_quote(text)}" if separator and key else _quote(text or key)).encode())
            else:
                parts.append(value.encode())
    return b"&".join(parts) if parts else None


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123  # no pathlib here
            return file.read()
    except OSError as error:
        _die(26, f"Failed to open {path}: {error.strerror}")
        raise


def _headers(arguments: Arguments, body: bytes | None) -> list[tuple[str, str]]:
    given = [
        (name.strip(), value.strip())
        for name, _, value in (h.partition(":") for h in arguments.values.get("header", []))
    ]
    names = {name.lower() for name, _ in given}
    headers = []
    if "user-agent" not in names:
        headers.append(("User-Agent", arguments.last("user-agent", "curl/8.5.0")))
    if "accept" not in names:
        headers.append(("Accept", "application/json" if "json" in arguments.values else "*/*"))
    if value := arguments.last("user"):
        import binascii

        headers.append(("Authorization", "Basic " + binascii.b2a_base64(value.encode(), newline=False).decode()))
    if value := arguments.last("referer"):
        headers.append(("Referer", value))
    if value := arguments.last("cookie"):
        headers.append(("Cookie", value))
    if body is not None and "content-type" not in names:
        kind = "application/json" if "json" in arguments.values else "application/x-www-form-urlencoded"
        headers.append(("Content-Type", kind))
    return headers + [(name, value) for name, value in given if value]


class Transfer:
    """One URL: requests, redirects, output."""

    def __init__(self, arguments: Arguments, url: str, output: str) -> None:
        self._arguments = arguments
        self._url = url
        self._output = output
        self._file: int | None = None
        self._start = time.monotonic()
        self.size = 0
        self.redirects = 0
        self.answer: Answer | None = None

    def run(self) -> int:
        """The exit status."""
        arguments = self._arguments
        try:
            url = Url(self._url)
            if url.scheme in ("telnet", "tcp"):
                connect(url, _options(arguments)).close()
                return 0
            self._follow(url)
        except FetchError as error:
            return self._failed(error)
        finally:
            if self._file is not None:
                os.close(self._file)
        assert self.answer is not None
        if self.answer.status >= 400 and arguments.has("fail", "fail-with-body"):
            return self._complain(22, f"The requested URL returned error: {self.answer.status}")
        return 0

    def _follow(self, url: Url) -> None:
        arguments = self._arguments
        body = _body(arguments)
        if arguments.has("get") and body is not None:
            url.path += ("&" if "?" in url.path else "?") + body.decode()
            body = None
        if upload := arguments.last("upload-file"):
            body = sys.stdin.buffer.read() if upload == "-" else _read(upload)
        default = "HEAD" if arguments.has("head") else "PUT" if upload else "POST" if body is not None else "GET"
        method = arguments.last("request", default)
        headers = _headers(arguments, body)
        options = _options(arguments)
        while True:
            self.answer = answer = fetch(method, url, headers, body, options, self._sink)
            location = answer.header("location")
            if not arguments.has("location", "location-trusted") or location is None or answer.status // 100 != 3:
                return
            self.redirects += 1
            if self.redirects > int(arguments.last("max-redirs", "50")):
                raise FetchError("redirects", f"Maximum ({self.redirects - 1}) redirects followed")
            if answer.status in (301, 302, 303) and method not in ("GET", "HEAD"):
                method, body = "GET", None
                headers = [(name, value) for name, value in headers if name.lower() != "content-type"]
            url = answer.url.join(location)

    def _sink(self, answer: Answer, data: bytes) -> None:
        arguments = self._arguments
        following = (
            arguments.has("location", "location-trusted") and answer.status // 100 == 3 and answer.header("location")
        )
        if not data and arguments.has("include", "head"):
            self._write(answer.head + b"\r\n\r\n")
        if following or (answer.status >= 400 and arguments.has("fail")):
            return
        self.size += len(data)
        self._write(data)

    def _write(self, data: bytes) -> None:
        if not data:
            return
        if self._output in ("", "-"):
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
            return
        if self._file is None:
            try:
                self._file = os.open(self._output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            except OSError as error:
                _die(23, f"Failure writing output to destination: {error.strerror}")
        assert self._file is not None
        os.write(self._file, data)

    def _failed(self, error: FetchError) -> int:
        message = str(error)
        if error.step == "connect":
            reason = "Couldn't connect to server" if error.args[0] == "Connection refused" else error.args[0]
            message = f"Failed to connect to {error.host} port {error.port} after {error.milliseconds:.0f} ms: {reason}"
        status = 47 if error.step == "redirects" else _STATUS[error.step]
        if error.step == "tls" and "CERTIFICATE_VERIFY_FAILED" in message:
            status = 60
        return self._complain(status, message)

    def _complain(self, status: int, message: str) -> int:
        if not self._arguments.has("silent") or self._arguments.has("show-error"):
            sys.stderr.write(f"curl: ({status}) {message}\n")
        return status

    def write_out(self, template: str, status: int) -> None:
        """-w: the variables that scripts use."""
        answer = self.answer
        elapsed = f"{time.monotonic() - self._start:.6f}"
        values = {
            "http_code": f"{answer.status if answer else 0:03d}",
            "response_code": f"{answer.status if answer else 0:03d}",
            "size_download": str(self.size),
            "time_total": elapsed,
            "time_connect": elapsed,
            "time_starttransfer": elapsed,
            "time_namelookup": "0.000000",
            "remote_ip": answer.address.removeprefix("::ffff:") if answer else "",
            "url_effective": self._url,
            "url": self._url,
            "content_type": (answer.header("content-type") or "") if answer else "",
            "num_redirects": str(self.redirects),
            "redirect_url": (answer.header("location") or "") if answer else "",
            "exitcode": str(status),
            "errormsg": "",
            "http_version": "1.1" if answer else "0",
            "scheme": self._url.partition("://")[0].upper(),
        }
        for name, value in values.items():
            template = template.replace(f"%{{{name}}}", value)
        for escape, character in (("\\n", "\n"), ("\\t", "\t"), ("\\r", "\r")):
            template = template.replace(escape, character)
        sys.stdout.write(template)
        sys.stdout.flush()


def main() -> None:
    arguments = Arguments(sys.argv[1:])
    if arguments.has("version"):
        sys.stdout.write("curl 8.5.0 (the lab's small curl)\nProtocols: http https\n")
        return
    if not arguments.urls:
        _die(2, "(2) no URL specified")
    outputs = list(arguments.values.get("output", []))
    status = 0
    for url in arguments.urls:
        output = outputs.pop(0) if outputs else ""
        if arguments.has("remote-name"):
            output = url.partition("://")[2].partition("?")[0].rpartition("/")[2] or "index.html"
        for attempt in range(int(arguments.last("retry", "0")) + 1):
            transfer = Transfer(arguments, url, output)
            status = transfer.run()
            temporary = status in (6, 28, 56, 52) or (status == 7 and arguments.has("retry-connrefused"))
            temporary = temporary or (status != 0 and arguments.has("retry-all-errors"))
            if not temporary or attempt == int(arguments.last("retry", "0")):
                break
            time.sleep(float(arguments.last("retry-delay", "1")))
        if template := arguments.last("write-out"):
            transfer.write_out(template, status)
    raise SystemExit(status)
