"""The program `nslookup` of the lab's images, for hosts that have none.

In: a name or an address, optionally a server and -type=A|AAAA|SRV|PTR|TXT|CNAME; servers and search domains from
/etc/resolv.conf. Out: answers in the usual form; exit status 1 when there is none.
"""

import os
import socket
import struct
import sys

_TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "SRV": 33}
_CODES = {1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}


def _resolver() -> tuple[list[str], list[str], int]:
    servers, search, dots = [], [], 1
    try:
        with open("/etc/resolv.conf", encoding="utf-8") as file:  # noqa: PTH123  # no pathlib here
            lines = [line.split() for line in file]
    except OSError:
        lines = []
    for words in lines:
        if words[:1] == ["nameserver"] and len(words) > 1:
            servers.append(words[1])
        elif words[:1] == ["search"]:
            search = words[1:]
        elif words[:1] == ["options"]:
            dots = next((int(word[6:]) for word in words if word.startswith("ndots:")), dots)
    return servers or ["127.0.0.1"], search, dots


def _name(data: bytes, offset: int) -> tuple[str, int]:
    labels: list[str] = []
    end = -1
    while True:
        length = data[offset]
        if length & 0xC0:
            end = offset + 2 if end < 0 else end
            offset = struct.unpack_from(">H", data, offset)[0] & 0x3FFF
            continue
        offset += 1
        if not length:
            return ".".join(labels), offset if end < 0 else end
        labels.append(data[offset : offset + length].decode(errors="replace"))
        offset += length


def _query(server: str, name: str, kind: int) -> tuple[int, list[tuple[str, int, str]]]:
    """The response code and the answers. Raises OSError when the server does not answer."""
    number = int.from_bytes(os.urandom(2), "big")
    question = b"".join(bytes([len(label)]) + label.encode() for label in name.rstrip(".").split(".")) + b"\0"
    message = struct.pack(">6H", number, 0x0100, 1, 0, 0, 0) + question + struct.pack(">2H", kind, 1)
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    failure: OSError = TimeoutError()
    for _ in range(2):
        with socket.socket(family, socket.SOCK_DGRAM) as connection:
            connection.settimeout(3)
            try:
                connection.connect((server, 53))
                connection.send(message)
                data = connection.recv(65536)
            except OSError as error:
                failure = error
                continue
        return _parse(data)
    raise failure


def _parse(data: bytes) -> tuple[int, list[tuple[str, int, str]]]:
    _, flags, questions, count, _, _ = struct.unpack_from(">6H", data)
    offset = 12
    for _ in range(questions):
        offset = _name(data, offset)[1] + 4
    answers = []
    for _ in range(count):
        name, offset = _name(data, offset)
        kind, _, _, length = struct.unpack_from(">2HIH", data, offset)
        offset += 10
        value = data[offset : offset + length]
        if kind == 1:
            text = socket.inet_ntop(socket.AF_INET, value)
        elif kind == 28:
            text = socket.inet_ntop(socket.AF_INET6, value)
        elif kind in (2, 5, 12):
            text = _name(data, offset)[0] + "."
        elif kind == 33:
            text = " ".join(map(str, struct.unpack_from(">3H", value))) + " " + _name(data, offset + 6)[0] + "."
        elif kind == 16:
            text = '"' + value[1:].decode(errors="replace") + '"'
        else:
            text = value.hex()
        answers.append((name, kind, text))
        offset += length
    return flags & 15, answers


def _reverse(text: str) -> str | None:
    for family, tail in ((socket.AF_INET, "in-addr.arpa"), (socket.AF_INET6, "ip6.arpa")):
        try:
            packed = socket.inet_pton(family, text)
        except OSError:
            continue
        if family == socket.AF_INET:
            return ".".join(str(byte) for byte in reversed(packed)) + f".{tail}"
        return ".".join(reversed(packed.hex())) + f".{tail}"
    return None


def _print(answers: list[tuple[str, int, str]]) -> None:
    for name, kind, text in answers:
        if kind in (1, 28):
            print(f"Name:\t{name}\nAddress: {text}")
        elif kind == 5:
            print(f"{name}\tcanonical name = {text}")
        elif kind == 12:
            print(f"{name}\tname = {text}")
        elif kind == 33:
            print(f"{name}\tservice = {text}")
        else:
            print(f"{name}\ttext = {text}")


def main() -> None:
    kinds = ["A", "AAAA"]
    words = []
    for argument in sys.argv[1:]:
        if argument.startswith("-"):
            option, _, value = argument.lstrip("-").partition("=")
            if option in ("type", "q", "query", "querytype"):
                kinds = [value.upper()]
        else:
            words.append(argument)
    if not words or any(kind not in _TYPES for kind in kinds):
        sys.stderr.write(f"usage: nslookup [-type={'|'.join(_TYPES)}] NAME [SERVER]\n")
        raise SystemExit(1)
    servers, search, dots = _resolver()
    server = words[1] if len(words) > 1 else servers[0]
    if _reverse(server) is None:
        server = socket.gethostbyname(server)
    shown = f"[{server}]:53" if ":" in server else f"{server}#53"
    print(f"Server:\t\t{server}\nAddress:\t{shown}\n")
    name = words[0]
    reverse = _reverse(name)
    if reverse is not None:
        candidates, kinds = [reverse], ["PTR"]
    elif name.endswith("."):
        candidates = [name]
    else:
        searched = [f"{name}.{domain}" for domain in search]
        candidates = [name, *searched] if name.count(".") >= dots else [*searched, name]
    code = 3
    try:
        for candidate in candidates:
            answers: list[tuple[str, int, str]] = []
            for kind in kinds:
                code, found = _query(server, candidate, _TYPES[kind])
                answers += [answer for answer in found if answer not in answers]
            if answers:
                _print(answers)
                return
    except TimeoutError:
        print(";; connection timed out; no servers could be reached\n")
        raise SystemExit(1) from None
    except OSError as error:
        print(f";; {error.strerror or error} ({server})\n")
        raise SystemExit(1) from None
    print(f"** server can't find {name}: {_CODES.get(code, 'No answer')}\n")
    raise SystemExit(1)
