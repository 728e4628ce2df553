"""The program `nc` of the lab's images, for hosts that have none: connect, listen, scan, over TCP and UDP.

In: options -z -v -w -u -l -p -k -n -4 -6 -q -N, standard input. Out: bytes both ways; with -v the usual one line for
each port; exit status 0 if the (last) connection came about.
"""

import contextlib
import os
import select
import socket
import sys


def _parse(arguments: list[str]) -> tuple[set[str], dict[str, str], list[str]]:
    flags: set[str] = set()
    values: dict[str, str] = {}
    rest: list[str] = []
    pending = list(arguments)
    while pending:
        argument = pending.pop(0)
        if not argument.startswith("-") or argument == "-":
            rest.append(argument)
            continue
        letters = argument[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter in "zvulknN46rtC":
                flags.add(letter)
            elif letter in "wpqsiX":
                values[letter] = letters or (pending.pop(0) if pending else "")
                letters = ""
            else:
                sys.stderr.write(f"nc: option -{letter} is not one of -z -v -u -l -k -n -N -4 -6 -w -p -q\n")
                raise SystemExit(1)
    return flags, values, rest


def _pump(connection: socket.socket, *, quit_after: float | None, half_close: bool) -> None:
    """Standard input to the peer and back until the peer closes."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    poll.register(0, select.POLLIN)
    limit: float | None = None
    while True:
        events = poll.poll(None if limit is None else limit * 1000)
        if not events:
            return
        for descriptor, _ in events:
            if descriptor == 0:
                data = os.read(0, 65536)
                if data:
                    connection.sendall(data)
                    continue
                poll.unregister(0)
                limit = quit_after
                if connection.type == socket.SOCK_STREAM and half_close:
                    connection.shutdown(socket.SHUT_WR)
                elif connection.type == socket.SOCK_DGRAM and limit is None:
                    limit = 1.0
            else:
                data = connection.recv(65536)
                if not data:
                    return
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()


def _family(flags: set[str]) -> int:
    return socket.AF_INET if "4" in flags else socket.AF_INET6 if "6" in flags else socket.AF_UNSPEC


def _listen(flags: set[str], values: dict[str, str], rest: list[str]) -> None:
    port = int(values.get("p") or rest[-1])
    kind = socket.SOCK_DGRAM if "u" in flags else socket.SOCK_STREAM
    family = socket.AF_INET if "4" in flags else socket.AF_INET6
    server = socket.socket(family, kind)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("", port))
    if "v" in flags:
        sys.stderr.write(f"Listening on 0.0.0.0 {port}\n")
    while True:
        if kind == socket.SOCK_DGRAM:
            data, peer = server.recvfrom(65536)
            server.connect(peer)
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
            connection = server
        else:
            server.listen(16)
            connection, peer = server.accept()
        if "v" in flags:
            sys.stderr.write(f"Connection received on {peer[0].removeprefix('::ffff:')} {peer[1]}\n")
        _pump(connection, quit_after=None, half_close=True)
        connection.close()
        if "k" not in flags or kind == socket.SOCK_DGRAM:
            return


def _ports(text: str) -> list[int]:
    first, _, last = text.partition("-")
    return list(range(int(first), int(last or first) + 1))


def _connect(flags: set[str], values: dict[str, str], host: str, port: int) -> bool:
    kind = socket.SOCK_DGRAM if "u" in flags else socket.SOCK_STREAM
    limit = float(values["w"]) if "w" in values else None
    protocol = "udp" if "u" in flags else "tcp"
    try:
        found = socket.getaddrinfo(host, port, _family(flags), kind)
    except OSError as error:
        sys.stderr.write(f'nc: getaddrinfo for host "{host}" port {port}: {error.strerror}\n')
        return False
    for family, _, _, _, address in found:
        connection = socket.socket(family, kind)
        connection.settimeout(limit)
        try:
            connection.connect(address)
            if "z" in flags and kind == socket.SOCK_DGRAM:
                # Only an ICMP error can tell; silence counts as open, as with any nc.
                connection.settimeout(min(limit or 1.0, 1.0))
                connection.send(b"X")
                with contextlib.suppress(TimeoutError):
                    connection.recv(1)
        except OSError as error:
            reason = "Operation timed out" if isinstance(error, TimeoutError) else error.strerror or str(error)
            if "v" in flags or "z" not in flags:
                sys.stderr.write(f"nc: connect to {host} ({address[0]}) port {port} ({protocol}) failed: {reason}\n")
            connection.close()
            continue
        if "v" in flags:
            sys.stderr.write(f"Connection to {host} ({address[0]}) {port} port [{protocol}/*] succeeded!\n")
        if "z" not in flags:
            connection.settimeout(None)
            quit_after = float(values["q"]) if "q" in values else limit
            _pump(connection, quit_after=quit_after, half_close=True)
        connection.close()
        return True
    return False


def main() -> None:
    flags, values, rest = _parse(sys.argv[1:])
    if "l" in flags:
        if not rest and "p" not in values:
            sys.stderr.write("nc: no port to listen on\n")
            raise SystemExit(1)
        _listen(flags, values, rest)
        return
    if len(rest) < 2:
        sys.stderr.write("usage: nc [-zvu46] [-w SECONDS] HOST PORT[-LAST]\n       nc -l [-kuv] [-p] PORT\n")
        raise SystemExit(1)
    done = [_connect(flags, values, rest[0], port) for port in _ports(rest[1])]
    raise SystemExit(0 if any(done) else 1)
