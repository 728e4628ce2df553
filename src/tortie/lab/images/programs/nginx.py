"""The image `nginx`: a small web server that reads the plainest parts of nginx's configuration.

In: `listen`, `root`, `index` and `return` from /etc/nginx/conf.d/*.conf or nginx.conf, files below the root. Out: the
files over HTTP, and the access log in nginx's combined format on standard output.
"""

import os
import re
import sys
import threading
import time

from tortie.lab.images.programs.http_server import Request, Response, exit_on_sigterm, listen, serve

_ROOT = "/usr/share/nginx/html"
_TYPES = {
    ".html": "text/html",
    ".htm": "text/html",
    ".txt": "text/plain",
    ".json": "application/json",
    ".css": "text/css",
    ".js": "application/javascript",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
    ".gif": "image/gif",
    ".xml": "text/xml",
    ".ico": "image/x-icon",
}
_ERROR = """<html>
<head><title>{code} {reason}</title></head>
<body>
<center><h1>{code} {reason}</h1></center>
<hr><center>nginx</center>
</body>
</html>
"""


class Site:
    """One server block. answer: status and text of a plain `return`."""

    def __init__(self) -> None:
        self.ports: list[int] = []
        self.root = _ROOT
        self.index = ["index.html", "index.htm"]
        self.answer: tuple[int, str] | None = None


def parse(text: str) -> list[Site]:
    """The server blocks of a configuration; directives that mean nothing here are passed over."""
    lexemes = re.findall(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|[{};]|[^\s{};]+", re.sub(r"(?m)#.*$", "", text))
    sites: list[Site] = []
    words: list[str] = []
    blocks: list[str] = []
    for word in lexemes:
        if word == "{":
            blocks.append(words[0] if words else "")
            if blocks[-1] == "server":
                sites.append(Site())
            words = []
        elif word == "}":
            if blocks:
                blocks.pop()
            words = []
        elif word == ";":
            if sites and "server" in blocks and words:
                _directive(sites[-1], words)
            words = []
        else:
            words.append(_unquote(word))
    return sites


def _unquote(word: str) -> str:
    if word[0] not in "\"'":
        return word
    return re.sub(r"\\(.)", lambda match: {"n": "\n", "t": "\t"}.get(match[1], match[1]), word[1:-1])


def _directive(site: Site, words: list[str]) -> None:
    name, values = words[0], words[1:]
    if name == "listen" and values:
        port = values[0].rpartition("]")[2].rpartition(":")[2] if "]" in values[0] else values[0].rpartition(":")[2]
        number = int(port) if port.isdigit() else 80
        if number not in site.ports:
            site.ports.append(number)
    elif name == "root" and values:
        site.root = values[0]
    elif name == "index" and values:
        site.index = values
    elif name == "return" and values:
        site.answer = (
            (int(values[0]), values[1] if len(values) > 1 else "") if values[0].isdigit() else (302, values[0])
        )


def load() -> list[Site]:
    """The configured sites, or the default one on port 80 (NGINX_PORT)."""
    sites: list[Site] = []
    directory = "/etc/nginx/conf.d"
    files = sorted(f"{directory}/{name}" for name in os.listdir(directory)) if os.path.isdir(directory) else []  # noqa: PTH112, PTH208  # no pathlib here
    for path in [*files, "/etc/nginx/nginx.conf"]:
        try:
            with open(path, encoding="utf-8") as file:  # noqa: PTH123  # no pathlib here
                sites += parse(file.read())
        except OSError:
            continue
    if not sites:
        site = Site()
        site.ports = [int(os.environ.get("NGINX_PORT", "80"))]
        return [site]
    for site in sites:
        site.ports = site.ports or [80]
    return sites


def _page(site: Site, request: Request) -> Response:
    if site.answer is not None:
        status, text = site.answer
        if status in (301, 302, 303, 307, 308):
            return Response(b"", status, "text/html", Location=text)
        return Response(text, status)
    if request.method not in ("GET", "HEAD"):
        return Response(_ERROR.format(code=405, reason="Not Allowed"), 405, "text/html")
    root = os.path.realpath(site.root)
    path = os.path.realpath(root + "/" + request.path)
    # A symbolic link may lead elsewhere below the container's root, as with mounted ConfigMaps; `..` may not.
    if ".." in request.path.split("/"):
        return Response(_ERROR.format(code=400, reason="Bad Request"), 400, "text/html")
    candidates = [f"{path}/{name}" for name in site.index] if os.path.isdir(path) else [path]  # noqa: PTH112  # as above
    for candidate in candidates:
        try:
            with open(candidate, "rb") as file:  # noqa: PTH123  # no pathlib here
                kind = _TYPES.get(os.path.splitext(candidate)[1], "application/octet-stream")  # noqa: PTH122  # as above
                return Response(file.read(), 200, kind)
        except FileNotFoundError:
            continue
        except OSError:
            return Response(_ERROR.format(code=403, reason="Forbidden"), 403, "text/html")
    if candidates != [path]:
        return Response(_ERROR.format(code=403, reason="Forbidden"), 403, "text/html")
    return Response(_ERROR.format(code=404, reason="Not Found"), 404, "text/html")


def _handler(site: Site, request: Request) -> Response:
    response = _page(site, request)
    moment = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime())
    agent = request.headers.get("user-agent", "-")
    referrer = request.headers.get("referer", "-")
    sys.stdout.write(
        f'{request.peer[0]} - - [{moment}] "{request.method} {request.target} {request.version}" '
        f'{response.status} {len(response.body)} "{referrer}" "{agent}" '
        f'"{request.headers.get("x-forwarded-for", "-")}"\n'
    )
    sys.stdout.flush()
    return response


def main() -> None:
    exit_on_sigterm()
    pairs = [(site, port) for site in load() for port in site.ports]
    taken: set[int] = set()
    threads = []
    for site, port in pairs:
        if port in taken:
            continue
        taken.add(port)
        try:
            server = listen(port)
        except OSError as error:
            sys.stderr.write(f"nginx: [emerg] bind() to 0.0.0.0:{port} failed ({error.errno}: {error.strerror})\n")
            raise SystemExit(1) from None
        thread = threading.Thread(
            target=serve,
            args=(port, lambda request, site=site: _handler(site, request)),
            kwargs={"name": "nginx", "server": server},
            daemon=True,
        )
        threads.append(thread)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
