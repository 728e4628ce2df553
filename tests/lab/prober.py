"""Opens connections from inside a pod's network namespace; run there by the lab tests with `python3 -I -S`.

In: one JSON object a line on stdin, {"probes": [[protocol, host, port], …], "timeout": seconds}. Out: one JSON list a
line, a word for each probe: `ok`, `timeout`, `refused`, `unreachable`. Protocols: tcp (a line is echoed), udp (a
datagram is echoed), icmp (an echo request is answered), sctp (an INIT chunk is answered by anything at all).
"""

import contextlib
import errno
import json
import os
import select
import socket
import struct
import sys
import time

TOKEN = b"tortie-probe\n"


def main() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(run(request["probes"], float(request["timeout"]))), flush=True)


def run(probes: list[list], timeout: float) -> list[str]:
    results: list[str] = [""] * len(probes)
    waiting: dict[int, tuple[int, socket.socket, str, bytes]] = {}
    poll = select.poll()
    for index, (protocol, host, port) in enumerate(probes):
        try:
            connection, answer = _start(protocol, host, port, index)
        except OSError as error:
            results[index] = _word(error)
            continue
        waiting[connection.fileno()] = (index, connection, protocol, answer)
        poll.register(connection, select.POLLOUT if protocol == "tcp" else select.POLLIN)
    deadline = time.monotonic() + timeout
    while waiting and (left := deadline - time.monotonic()) > 0:
        for number, _event in poll.poll(left * 1000):
            index, connection, protocol, answer = waiting[number]
            outcome = _advance(connection, protocol, answer, poll)
            if outcome is not None:
                results[index] = outcome
                poll.unregister(number)
                del waiting[number]
                connection.close()
    for index, connection, _protocol, _answer in waiting.values():
        results[index] = "timeout"
        connection.close()
    return results


def _start(protocol: str, host: str, port: int, index: int) -> tuple[socket.socket, bytes]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if protocol == "icmp":
        number = socket.IPPROTO_ICMPV6 if family == socket.AF_INET6 else socket.IPPROTO_ICMP
        connection = socket.socket(family, socket.SOCK_RAW, number)
        connection.setblocking(False)
        identifier = (os.getpid() + index * 7) & 0xFFFF
        kind = 128 if family == socket.AF_INET6 else 8
        head = struct.pack("!BBHHH", kind, 0, 0, identifier, 1)
        packet = struct.pack("!BBHHH", kind, 0, _checksum(head + TOKEN), identifier, 1) + TOKEN
        connection.connect((host, 0))
        connection.send(packet)
        return connection, struct.pack("!H", identifier)
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    connection = socket.socket(family, kind)
    connection.setblocking(False)
    if protocol == "udp":
        connection.connect((host, port))
        connection.send(TOKEN)
    else:
        with contextlib.suppress(BlockingIOError):
            connection.connect((host, port))
    return connection, TOKEN


def _advance(connection: socket.socket, protocol: str, answer: bytes, poll: select.poll) -> str | None:
    if protocol == "tcp":
        error = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return "ok" if error == 0 else _word(OSError(error, os.strerror(error)))
    try:
        data = connection.recv(2048)
    except BlockingIOError:
        return None
    except OSError as error:
        return _word(error)
    if protocol == "icmp":
        body = data if connection.family == socket.AF_INET6 else data[(data[0] & 15) * 4 :]
        is_reply = body[:1] == (b"\x81" if connection.family == socket.AF_INET6 else b"\x00")
        return "ok" if is_reply and body[4:6] == answer else None
    return "ok" if data else None


def _word(error: OSError) -> str:
    if error.errno == errno.ECONNREFUSED:
        return "refused"
    return "unreachable" if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES) else "timeout"


def _checksum(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


if __name__ == "__main__":
    main()
