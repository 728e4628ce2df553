"""One TCP stream between two network namespaces, sent and received by one thread.

`CLIENT_NAMESPACE SERVER_NAMESPACE SERVER_ADDRESS`; for every line on stdin it prints processor seconds per byte: the
best of several runs, since whatever else the machine does only adds.
"""

import ctypes
import os
import socket
import sys
import time
from pathlib import Path

CHUNK = 1 << 20
CHUNKS = 64
RUNS = 8


def main() -> None:
    client, server, address = sys.argv[1:]
    _enter(server)
    listener = socket.create_server((address, 0))
    _enter(client)
    sender = socket.create_connection(listener.getsockname())
    receiver, _peer = listener.accept()
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * CHUNK)
    data, buffer = bytes(CHUNK), bytearray(CHUNK)

    def run(chunks: int) -> float:
        began = time.process_time()
        for _ in range(chunks):
            sender.sendall(data)
            missing = CHUNK
            while missing:
                missing -= receiver.recv_into(buffer, missing)
        return (time.process_time() - began) / (chunks * CHUNK)

    run(4 * CHUNKS)
    print("ready", flush=True)
    for _line in sys.stdin:
        print(min(run(CHUNKS) for _ in range(RUNS)), flush=True)


def _enter(namespace: str) -> None:
    with Path(namespace).open() as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), 0) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")


if __name__ == "__main__":
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    main()
