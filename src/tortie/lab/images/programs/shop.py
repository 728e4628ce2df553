"""The demo shop's services: each answers HTTP on port 8080 and calls others all the time.

In: its name on the command line; CALLS (URLs, separated by blanks) and INTERVAL in the environment, from the manifest.
Out: JSON answers naming service and pod; one line on standard output for each call made.
"""

import os
import socket
import sys
import time

from tortie.lab.images.programs.call import call
from tortie.lab.images.programs.http_server import Request, Response, exit_on_sigterm, serve_in_background

_WORDS = {
    "frontend": "welcome",
    "cart": "3 articles",
    "catalog": "yarn, basket, scratching post",
    "payments": "accepted",
    "scraper": "nothing to see",
}


def _answer(name: str, request: Request) -> Response:
    if request.path == "/healthz":
        return Response("ok\n")
    text = _WORDS.get(name, "here")
    return Response(
        f'{{"service":"{name}","pod":"{socket.gethostname()}","path":"{request.path}","client":"{request.peer[0]}",'
        f'"answer":"{text}"}}\n',
        kind="application/json",
    )


def main() -> None:
    exit_on_sigterm()
    name = sys.argv[1] if len(sys.argv) > 1 else "shop"
    port = int(os.environ.get("PORT_HTTP", "8080"))
    serve_in_background(port, lambda request: _answer(name, request), name=f"shop-{name}")
    targets = os.environ.get("CALLS", "").split()
    interval = float(os.environ.get("INTERVAL", "2"))
    timeout = float(os.environ.get("TIMEOUT", "1.5"))
    while True:
        for url in targets:
            result = call(url, timeout=timeout, agent=f"shop-{name}")
            moment = time.strftime("%H:%M:%S", time.gmtime())
            word = "ok  " if result.ok else "FAIL"
            sys.stdout.write(f"{moment} {word} {name} -> {url} {result.text} {result.milliseconds:.0f}ms\n")
            sys.stdout.flush()
        time.sleep(interval if targets else 3600)
