"""The image `tortie/echo`: sends back what it receives, over TCP and UDP.

In: ports on the command line (7 without any), bytes and datagrams from clients. Out: the same bytes; one line on
standard output for each TCP connection and each UDP client seen for the first time.
"""

import socket
import sys
import threading

from tortie.lab.images.programs.http_server import exit_on_sigterm, listen, plain, serve_connections


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _echo(connection: socket.socket, peer: tuple[str, int]) -> None:
    _say(f"tcp {peer[0]} port {peer[1]}")
    while data := connection.recv(65536):
        connection.sendall(data)


def _echo_datagrams(server: socket.socket) -> None:
    seen: set[str] = set()
    while True:
        data, peer = server.recvfrom(65536)
        if peer[0] not in seen and len(seen) < 10000:
            seen.add(peer[0])
            _say(f"udp {plain(peer[0])} port {peer[1]}")
        try:
            server.sendto(data, peer)
        except OSError as error:
            _say(f"udp {plain(peer[0])}: {error}")


def main() -> None:
    exit_on_sigterm()
    ports = [int(argument) for argument in sys.argv[1:]] or [7]
    for port in ports:
        threading.Thread(target=serve_connections, args=(listen(port), _echo), daemon=True).start()
        threading.Thread(target=_echo_datagrams, args=(listen(port, socket.SOCK_DGRAM),), daemon=True).start()
    _say(f"echo on {', '.join(map(str, ports))} (tcp and udp)")
    threading.Event().wait()
