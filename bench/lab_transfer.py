"""One TCP stream: `receive` prints its port, then Gbit/s; `send HOST PORT SECONDS` fills it. Run inside namespaces."""

import socket
import sys
import time


def main() -> None:
    if sys.argv[1] == "receive":
        listener = socket.create_server(("0.0.0.0", 0))
        print(listener.getsockname()[1], flush=True)
        connection, _ = listener.accept()
        buffer = bytearray(1 << 20)
        started, total = time.monotonic(), 0
        while count := connection.recv_into(buffer):
            total += count
        print(total * 8 / (time.monotonic() - started) / 1e9)
    else:
        connection = socket.create_connection((sys.argv[2], int(sys.argv[3])))
        data = bytes(1 << 20)
        end = time.monotonic() + float(sys.argv[4])
        while time.monotonic() < end:
            connection.sendall(data)


if __name__ == "__main__":
    main()
