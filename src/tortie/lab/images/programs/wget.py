"""The program `wget` of the lab's images, for hosts that have none: busybox's options and messages.

In: busybox wget's command line. Out: the page in a file or on standard output; exit status 1 for any failure.
"""

import os
import sys
import time

from tortie.lab.images.programs.fetch import Answer, FetchError, Options, Url, fetch

_WITH_VALUE = {
    "O": "output",
    "T": "timeout",
    "t": "tries",
    "U": "agent",
    "P": "prefix",
    "output-document": "output",
    "timeout": "timeout",
    "tries": "tries",
    "user-agent": "agent",
    "header": "header",
    "post-data": "post",
    "connect-timeout": "timeout",
    "read-timeout": "timeout",
    "dns-timeout": "timeout",
    "directory-prefix": "prefix",
    "waitretry": "wait",
    "max-redirect": "redirects",
}
_SWITCHES = {
    "q": "quiet",
    "S": "headers",
    "c": "continue",
    "quiet": "quiet",
    "server-response": "headers",
    "spider": "spider",
    "no-check-certificate": "insecure",
    "no-verbose": "quiet",
    "continue": "continue",
    "no-proxy": "",
    "4": "ipv4",
    "6": "ipv6",
    "inet4-only": "ipv4",
    "inet6-only": "ipv6",
    "Y": "",
}


def _die(message: str) -> None:
    sys.stderr.write(f"wget: {message}\n")
    raise SystemExit(1)


def _parse(arguments: list[str]) -> tuple[dict[str, list[str]], set[str], list[str]]:
    values: dict[str, list[str]] = {}
    switches: set[str] = set()
    urls = []
    pending = list(arguments)
    while pending:
        argument = pending.pop(0)
        if argument.startswith("--"):
            name, separator, value = argument[2:].partition("=")
            if name in _SWITCHES:
                switches.add(_SWITCHES[name])
            elif name in _WITH_VALUE:
                given = value if separator else (pending.pop(0) if pending else "")
                values.setdefault(_WITH_VALUE[name], []).append(given)
            else:
                _die(f"unrecognized option: {name}")
        elif argument.startswith("-") and len(argument) > 1:
            letters = argument[1:]
            while letters:
                letter, letters = letters[0], letters[1:]
                if letter in _SWITCHES:
                    switches.add(_SWITCHES[letter])
                elif letter in _WITH_VALUE:
                    given = letters or (pending.pop(0) if pending else "")
                    values.setdefault(_WITH_VALUE[letter], []).append(given)
                    letters = ""
                else:
                    _die(f"unrecognized option: {letter}")
        else:
            urls.append(argument)
    return values, switches, urls


def main() -> None:
    values, switches, urls = _parse(sys.argv[1:])
    if not urls:
        _die("missing URL")
    tries = int(values.get("tries", ["1"])[-1]) or 1
    for text in urls:
        for attempt in range(tries):
            message = _download(text, values, switches)
            if message is None:
                break
            if attempt + 1 == tries:
                _die(message)
            time.sleep(1)


def _download(text: str, values: dict[str, list[str]], switches: set[str]) -> str | None:
    """None when all went well, else what went wrong."""
    options = Options()
    limit = float(values.get("timeout", ["900"])[-1])
    options.connect_timeout = limit
    options.deadline = time.monotonic() + limit
    options.verify = "insecure" not in switches
    options.family = 2 if "ipv4" in switches else 10 if "ipv6" in switches else 0
    headers = [("User-Agent", values.get("agent", ["Wget"])[-1]), ("Accept", "*/*")]
    headers += [(n.strip(), v.strip()) for n, _, v in (h.partition(":") for h in values.get("header", []))]
    post = values.get("post", [None])[-1]
    body = post.encode() if post is not None else None
    if body is not None:
        headers.append(("Content-Type", "application/x-www-form-urlencoded"))
    output = values.get("output", [""])[-1]
    target: list[int] = []

    def sink(answer: Answer, data: bytes) -> None:
        if answer.status // 100 != 2 or "spider" in switches or not data:
            return
        if output == "-":
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
            return
        if not target:
            name = output or url.path.partition("?")[0].rpartition("/")[2] or "index.html"
            prefix = values.get("prefix", [""])[-1]
            name = f"{prefix}/{name}" if prefix and not output else name
            target.append(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644))
            if "quiet" not in switches:
                sys.stderr.write(f"saving to '{name}'\n")
        os.write(target[0], data)

    try:
        url = Url(text)
        for _ in range(10):
            if "quiet" not in switches:
                sys.stderr.write(f"Connecting to {url.authority}\n")
            method = "HEAD" if "spider" in switches else "GET" if body is None else "POST"
            answer = fetch(method, url, headers, body, options, sink)
            if "headers" in switches:
                sys.stderr.write("".join(f"  {line}\n" for line in answer.head.decode("latin-1").split("\r\n")))
            location = answer.header("location")
            if answer.status // 100 != 3 or location is None:
                break
            url = answer.url.join(location)
        else:
            return "too many redirections"
        if answer.status // 100 != 2:
            first = answer.head.split(b"\r\n", 1)[0].decode("latin-1")
            return f"server returned error: {first}"
        if "spider" in switches and "quiet" not in switches:
            sys.stderr.write("remote file exists\n")
    except FetchError as error:
        return _words(error, text)
    except OSError as error:
        return f"can't open '{error.filename}': {error.strerror}"
    return None


def _words(error: FetchError, text: str) -> str:
    if error.step == "resolve":
        return f"bad address '{error.host}'"
    if error.step == "timeout":
        return "download timed out"
    if error.step == "connect":
        return f"can't connect to remote host ({error.host}): {error}"
    if error.step == "empty":
        return "error getting response"
    return f"{error} ({text})"
