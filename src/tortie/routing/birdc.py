"""Speaks to a running BIRD over its control socket, without starting a client program.

For confd (reload), the readiness probe and the node status (reading state). In: a command as an operator would type it.
Out: the reply's lines with their four-digit codes; an unreachable daemon and a refused command are different errors.
"""

import re
import socket
import time
from pathlib import Path
from typing import NamedTuple

CONTROL_SOCKET = Path("/var/run/calico/bird.ctl")
FALLBACK_SOCKET = Path("/var/run/bird/bird.ctl")

_CODED = re.compile(rb"(\d{4})([ -])(.*)", re.DOTALL)
_GREETING = 1
_RECONFIGURED = (3, 4, 5)  # done; in progress; queued behind the one in progress
_FIRST_ERROR = 8000


class BirdError(Exception):
    """BIRD did not do what was asked; `reason` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class BirdUnreachable(BirdError):
    """No daemon answers at the socket: it is not running, starting, or hung. Worth a retry."""


class BirdRefused(BirdError):
    """The daemon answered with an error code; asking again will not help."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{reason} (code {code:04d})")
        self.code = code


class Line(NamedTuple):
    """One line of a reply; a continuation line carries the code of the line before it."""

    code: int
    text: str


def socket_path(path: Path | None = None) -> Path:
    """The control socket to use: the given one, else calico's, else Debian's if only that exists."""
    if path is not None:
        return path
    if not CONTROL_SOCKET.exists() and FALLBACK_SOCKET.exists():
        return FALLBACK_SOCKET
    return CONTROL_SOCKET


def ask(command: str, *, path: Path | None = None, timeout: float = 2.0) -> list[Line]:
    """Sends one command and returns its reply, greeting left out.

    timeout: seconds for the whole exchange. Raises BirdUnreachable or BirdRefused.
    """
    where = socket_path(path)
    deadline = time.monotonic() + timeout
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(str(where))
            buffer = bytearray()
            _read_reply(connection, buffer, deadline)
            connection.sendall(command.encode() + b"\n")
            reply = _read_reply(connection, buffer, deadline)
    except OSError as e:
        reason = "no answer in time" if isinstance(e, TimeoutError) else (e.strerror or str(e))
        raise BirdUnreachable(f"BIRD at {where}: {reason}") from e
    last = reply[-1]
    if last.code >= _FIRST_ERROR:
        raise BirdRefused(last.code, last.text)
    return reply


def configure(config: Path, *, path: Path | None = None, timeout: float = 10.0) -> str:
    """Makes BIRD load the file `config` without touching sessions that do not change; returns BIRD's words.

    Raises BirdRefused if the file does not parse (the active configuration stays), BirdUnreachable if BIRD is not up.
    """
    last = ask(f'configure "{config}"', path=path, timeout=timeout)[-1]
    if last.code not in _RECONFIGURED:
        raise BirdRefused(last.code, last.text)
    return last.text


def parse_reply(data: bytes) -> list[Line]:
    """All complete lines of a reply as the protocol frames them."""
    lines: list[Line] = []
    for raw in data.split(b"\n"):
        if not raw:
            continue
        coded = _CODED.fullmatch(raw)
        if coded:
            lines.append(Line(int(coded[1]), coded[3].decode(errors="replace")))
        else:
            code = lines[-1].code if lines else 0
            lines.append(Line(code, raw[1:].decode(errors="replace")))
    return lines


def _read_reply(connection: socket.socket, buffer: bytearray, deadline: float) -> list[Line]:
    """Reads up to the line that ends a reply: a code followed by a blank, not a dash."""
    start = 0
    while True:
        end = buffer.find(b"\n", start)
        while end >= 0:
            line = bytes(buffer[start:end])
            start = end + 1
            coded = _CODED.fullmatch(line)
            if coded and coded[2] == b" ":
                reply = parse_reply(bytes(buffer[:start]))
                del buffer[:start]
                return reply
            end = buffer.find(b"\n", start)
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        connection.settimeout(remaining)
        chunk = connection.recv(65536)
        if not chunk:
            raise BirdUnreachable("BIRD closed the control connection in the middle of a reply")
        buffer += chunk
