"""Sends a UDP datagram from a new port every millisecond and notes which are answered; run inside a pod's namespace.

In: target address, port and duration as arguments. Out: one JSON list on stdout of [monotonic send time, answered].
Source ports are taken in turn from a range that lasts longer than an entry of conntrack, so every datagram is a new
connection and is judged by the policy of its moment; one from a port used before would count as established.
"""

import contextlib
import json
import select
import socket
import sys
import time

INTERVAL = 0.001
PATIENCE = 0.3
PORTS = range(1024, 65000)


def main() -> None:
    host, port, duration = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    poll = select.epoll()
    open_sockets: dict[int, tuple[socket.socket, int]] = {}
    times: list[float] = []
    answered: list[bool] = []
    oldest: list[tuple[float, int]] = []
    end = time.monotonic() + duration
    print("started", flush=True)
    next_send = time.monotonic()
    while (now := time.monotonic()) < end + PATIENCE:
        if now < end and now >= next_send:
            connection = socket.socket(family, socket.SOCK_DGRAM)
            connection.setblocking(False)
            connection.bind(("", PORTS.start + len(times) % len(PORTS)))
            sent = time.monotonic()
            with contextlib.suppress(OSError):
                connection.sendto(b"x", (host, port))
            open_sockets[connection.fileno()] = (connection, len(times))
            poll.register(connection, select.EPOLLIN)
            oldest.append((sent, connection.fileno()))
            times.append(sent)
            answered.append(False)
            next_send = max(next_send + INTERVAL, now)
        for number, _event in poll.poll(max(0.0, min(next_send - time.monotonic(), 0.001))):
            connection, index = open_sockets.pop(number)
            answered[index] = True
            connection.close()
        while oldest and oldest[0][0] < now - PATIENCE:
            _sent, number = oldest.pop(0)
            entry = open_sockets.get(number)
            if entry is not None and times[entry[1]] == _sent:
                del open_sockets[number]
                entry[0].close()
    print(json.dumps(list(zip(times, answered, strict=True))))


if __name__ == "__main__":
    main()
