"""The image `agnhost`: the parts of the Kubernetes tests' helper that network tests and tutorials use.

In: a sub-command and its flags, as the original names them. Out: servers and one-shot checks that answer in the
original's forms, so that scripts written for it read the results unchanged.
"""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from tortie.lab.images.programs import http_server
from tortie.lab.images.programs.call import call
from tortie.lab.images.programs.http_server import Request, Response

_VERSION = "2.53"
_started = time.monotonic()


def _flags(arguments: list[str], known: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """Flags as --name value or --name=value, and the rest. known: defaults; `false`/`true` defaults take no value."""
    values = dict(known)
    rest = []
    pending = list(arguments)
    while pending:
        argument = pending.pop(0)
        if not argument.startswith("-") or argument == "-":
            rest.append(argument)
            continue
        name, separator, value = argument.lstrip("-").partition("=")
        if name not in known:
            sys.stderr.write(f"Error: unknown flag: --{name}\nKnown: {', '.join('--' + flag for flag in known)}\n")
            raise SystemExit(1)
        if separator:
            values[name] = value
        elif known[name] in ("true", "false"):
            values[name] = "true"
        else:
            values[name] = pending.pop(0) if pending else ""
    return values, rest


def _seconds(text: str) -> float:
    """A Go duration such as 500ms, 2s, 1m30s; a bare number is seconds."""
    units = {"ms": 0.001, "us": 0.000001, "s": 1.0, "m": 60.0, "h": 3600.0}
    total, number, index = 0.0, "", 0
    while index < len(text):
        character = text[index]
        if character.isdigit() or character == ".":
            number += character
            index += 1
            continue
        unit = text[index : index + 2] if text[index : index + 2] in units else character
        total += float(number or 0) * units[unit]
        number = ""
        index += len(unit)
    return total + float(number or 0)


def _serve_datagrams(port: int) -> None:
    server = http_server.listen(port, socket.SOCK_DGRAM)
    while True:
        data, peer = server.recvfrom(65536)
        words = data.decode(errors="replace").strip().split(" ", 1)
        name = words[0].lower()
        answer = ""
        if name == "hostname":
            answer = socket.gethostname()
        elif name == "echo":
            answer = words[1] if len(words) > 1 else ""
        elif name == "clientip":
            answer = f"{http_server.plain(peer[0])}:{peer[1]}"
        elif name == "serverport":
            answer = str(port)
        server.sendto(answer.encode(), peer)


def _dial(query: dict[str, str]) -> Response:
    """Calls another netexec on behalf of the caller, as service tests do."""
    host, port = query.get("host", ""), query.get("port", "")
    protocol = query.get("protocol", "http")
    request = query.get("request", "hostname")
    tries = int(query.get("tries") or 1)
    shown = f"[{host}]" if ":" in host else host
    responses, errors = [], []
    for _ in range(tries):
        if protocol in ("http", "tcp"):
            result = call(f"http://{shown}:{port}/{request}", timeout=5)
        else:
            result = call(f"udp://{shown}:{port}", timeout=5, payload=request.encode())
        if result.ok:
            responses.append(result.body.decode(errors="replace").strip())
        else:
            errors.append(result.text)
    parts = []
    if responses:
        parts.append(f'"responses":[{",".join(_quote(text) for text in responses)}]')
    if errors:
        parts.append(f'"errors":[{",".join(_quote(text) for text in errors)}]')
    return Response("{" + ",".join(parts) + "}", kind="application/json")


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _netexec_page(request: Request) -> Response:
    path, query = request.path, request.query
    if path == "/":
        return Response(f"NOW: {time.strftime('%Y-%m-%d %H:%M:%S +0000 UTC', time.gmtime())}")
    if path in ("/hostname", "/hostName"):
        return Response(socket.gethostname())
    if path == "/clientip":
        return Response(f"{request.peer[0]}:{request.peer[1]}")
    if path == "/echo":
        return Response(query.get("msg", ""), int(query.get("code") or 200))
    if path == "/healthz":
        return Response("")
    if path == "/header":
        return Response(request.headers.get(query.get("key", "").lower(), ""))
    if path == "/redirect":
        return Response("", int(query.get("code") or 302), Location=query.get("location", "/"))
    if path == "/dial":
        return _dial(query)
    if path == "/shell":
        done = subprocess.run(
            ["/bin/sh", "-c", query.get("shellCommand", query.get("cmd", ""))], capture_output=True, check=False
        )
        body = f'{{"output":{_quote((done.stdout + done.stderr).decode(errors="replace"))}'
        return Response(body + (f',"error":"exit status {done.returncode}"' if done.returncode else "") + "}")
    if path == "/exit":
        code = int(query.get("code") or 0)
        threading.Timer(_seconds(query.get("timeout", "0s") or "0s"), lambda: os._exit(code)).start()
        return Response("")
    if path == "/shutdown":
        os._exit(0)
    return Response("404 page not found\n", 404)


def _netexec(arguments: list[str]) -> None:
    flags, _ = _flags(
        arguments,
        {"http-port": "8080", "udp-port": "8081", "sctp-port": "-1", "http-override": "", "delay-shutdown": "0"},
    )
    udp = int(flags["udp-port"])
    if udp > 0:
        threading.Thread(target=_serve_datagrams, args=(udp,), daemon=True).start()
    override = flags["http-override"]

    def page(request: Request) -> Response:
        sys.stdout.write(f"{time.strftime('%Y/%m/%d %H:%M:%S')} {request.method} {request.target} {request.peer[0]}\n")
        sys.stdout.flush()
        if override:
            request.path = override
        return _netexec_page(request)

    sys.stdout.write(f"Started HTTP server on port {flags['http-port']}\nStarted UDP server on port {udp}\n")
    sys.stdout.flush()
    http_server.serve(int(flags["http-port"]), page, name="agnhost")


def _connect(arguments: list[str]) -> None:
    """Prints why a connection failed in one word, as network policy tests expect it: TIMEOUT, REFUSED, DNS, OTHER."""
    flags, rest = _flags(arguments, {"timeout": "", "protocol": "tcp", "udp-data": "hello"})
    if len(rest) != 1 or ":" not in rest[0]:
        sys.stderr.write("Error: usage: agnhost connect [--timeout=2s] [--protocol=tcp|udp] HOST:PORT\n")
        raise SystemExit(1)
    protocol = flags["protocol"].lower()
    if protocol not in ("tcp", "udp"):
        sys.stderr.write(f"OTHER: protocol {protocol!r} is not one of tcp, udp\n")
        raise SystemExit(1)
    limit = _seconds(flags["timeout"]) or 30.0
    payload = b"echo hello" if protocol == "udp" else b""
    result = call(f"{protocol}://{rest[0]}", timeout=limit, payload=payload)
    if result.ok:
        return
    words = {"timeout": "TIMEOUT", "refused": "REFUSED", "dns": "DNS"}
    sys.stderr.write(f"{words.get(result.kind, 'OTHER')}{'' if result.kind in words else ': ' + result.text}\n")
    raise SystemExit(1)


def _serve_hostname(arguments: list[str]) -> None:
    flags, _ = _flags(arguments, {"port": "9376", "tcp": "false", "udp": "false", "http": "true", "close": "false"})
    port = int(flags["port"])

    def name(connection: socket.socket, _peer: tuple[str, int]) -> None:
        connection.sendall(socket.gethostname().encode())

    if flags["udp"] == "true":
        server = http_server.listen(port, socket.SOCK_DGRAM)

        def answer() -> None:
            while True:
                _, peer = server.recvfrom(4096)
                server.sendto(socket.gethostname().encode(), peer)

        threading.Thread(target=answer, daemon=True).start()
    if flags["tcp"] == "true":
        http_server.serve_connections(http_server.listen(port), name)
    if flags["udp"] == "true":
        threading.Event().wait()
    http_server.serve(port, lambda _request: Response(socket.gethostname()), name="agnhost")


def _pause(_arguments: list[str]) -> None:
    sys.stdout.write("Paused\n")
    sys.stdout.flush()
    threading.Event().wait()


def _porter(_arguments: list[str]) -> None:
    """Serves the text of each SERVE_PORT_<n> variable on port n."""
    found = [
        (int(name.rpartition("_")[2]), text) for name, text in os.environ.items() if name.startswith("SERVE_PORT_")
    ]
    for port, text in found:
        http_server.serve_in_background(port, _constant(text), name="agnhost")
    threading.Event().wait()


def _constant(text: str) -> Callable[[Request], Response]:
    return lambda _request: Response(text)


def _echo(arguments: list[str]) -> None:
    sys.stdout.write(" ".join(arguments) + "\n")


def _liveness(_arguments: list[str]) -> None:
    """Healthy for ten seconds, then not: what probe tests need."""

    def page(_request: Request) -> Response:
        age = time.monotonic() - _started
        return Response(f"error: {age}", 500) if age > 10 else Response("ok")

    http_server.serve(8080, page, name="agnhost")


def _logs_generator(arguments: list[str]) -> None:
    flags, _ = _flags(arguments, {"log-lines-total": "0", "run-duration": "0s"})
    total = int(flags["log-lines-total"] or 0)
    pause = _seconds(flags["run-duration"]) / total if total else 0.1
    number = 0
    while not total or number < total:
        sys.stdout.write(f"{number} GET /api/v1/namespaces/ns/pods/pod{number % 97} {200 + number % 300}\n")
        sys.stdout.flush()
        number += 1
        time.sleep(pause)


def _test_webserver(arguments: list[str]) -> None:
    flags, _ = _flags(arguments, {"port": "80"})

    def page(request: Request) -> Response:
        try:
            with open(os.path.normpath("/" + request.path), "rb") as file:  # noqa: PTH123  # no pathlib here
                return Response(file.read())
        except OSError:
            return Response("404 page not found\n", 404)

    http_server.serve(int(flags["port"]), page, name="agnhost")


def _resolver_lines(word: str) -> list[str]:
    with open("/etc/resolv.conf", encoding="utf-8") as file:  # noqa: PTH123  # no pathlib here
        return [line.split(None, 1)[1].strip() for line in file if line.startswith(word)]


def _dns_suffix(_arguments: list[str]) -> None:
    sys.stdout.write(",".join(" ".join(_resolver_lines("search")).split()) + "\n")


def _dns_servers(_arguments: list[str]) -> None:
    sys.stdout.write(",".join(_resolver_lines("nameserver")) + "\n")


def _hosts(_arguments: list[str]) -> None:
    with open("/etc/hosts", encoding="utf-8") as file:  # noqa: PTH123  # no pathlib here
        sys.stdout.write(file.read())


def _version(_arguments: list[str]) -> None:
    sys.stdout.write(f"agnhost version {_VERSION}\n")


_COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "netexec": _netexec,
    "connect": _connect,
    "serve-hostname": _serve_hostname,
    "pause": _pause,
    "porter": _porter,
    "echo": _echo,
    "entrypoint-tester": _echo,
    "liveness": _liveness,
    "logs-generator": _logs_generator,
    "test-webserver": _test_webserver,
    "dns-suffix": _dns_suffix,
    "dns-server-list": _dns_servers,
    "etc-hosts": _hosts,
    "version": _version,
}


def main() -> None:
    http_server.exit_on_sigterm()
    arguments = sys.argv[1:]
    if not arguments or arguments[0] not in _COMMANDS:
        name = f"unknown command {arguments[0]!r}; " if arguments else ""
        sys.stderr.write(f"Error: {name}the lab's agnhost knows: {', '.join(_COMMANDS)}\n")
        raise SystemExit(1)
    _COMMANDS[arguments[0]](arguments[1:])
