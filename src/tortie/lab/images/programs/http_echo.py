"""The images `echoserver` and `http-echo`: every request is answered with a description of it, or with a fixed text.

In: -listen=:PORT and -text=TEXT as hashicorp/http-echo takes them, or PORT in the environment. Out: plain text.
"""

import os
import socket
import sys

from tortie.lab.images.programs.http_server import Request, Response, exit_on_sigterm, serve


def _describe(request: Request) -> str:
    headers = "".join(f"\t{key}={value}\n" for key, value in sorted(request.headers.items()))
    body = request.body.decode(errors="replace") or "-no body in request-"
    return (
        f"Hostname: {socket.gethostname()}\n\nRequest Information:\n\tclient_address={request.peer[0]}\n"
        f"\tmethod={request.method}\n\treal path={request.target}\n\nRequest Headers:\n{headers}\n"
        f"Request Body:\n\t{body}\n"
    )


def main() -> None:
    exit_on_sigterm()
    port = int(os.environ.get("PORT", "8080"))
    text: str | None = os.environ.get("ECHO_TEXT")
    for argument in sys.argv[1:]:
        name, _, value = argument.lstrip("-").partition("=")
        if name == "listen":
            port = int(value.rpartition(":")[2])
        elif name == "text":
            text = value
        elif name not in ("status-code", ""):
            sys.stderr.write(f"http-echo: unknown option {argument!r}; known: -listen=:PORT, -text=TEXT\n")
            raise SystemExit(2)
    if text is not None and "-text" in " ".join(sys.argv) and not any("listen" in a for a in sys.argv[1:]):
        port = 5678
    fixed = text
    serve(port, lambda request: Response(_describe(request) if fixed is None else fixed + "\n"), name="http-echo")
