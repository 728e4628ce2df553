"""SCTP packets made by hand, for kernels without SCTP sockets; run inside a pod's namespace with `python3 -I -S`.

`send HOST PORT…` sends an INIT chunk to each port. `count SECONDS` prints one JSON object when SECONDS are over: how
many SCTP packets arrived for each destination port. Both print `ready` first.
"""

import json
import select
import socket
import struct
import sys
import time

SCTP = 132


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def init_packet(source: int, destination: int) -> bytes:
    """A common header and an INIT chunk, checksum right (RFC 9260)."""
    chunk = struct.pack("!BBHIIHHI", 1, 0, 20, 0x1234, 65535, 1, 1, 1)
    head = struct.pack("!HHI", source, destination, 0)
    checksum = struct.pack("<I", _crc32c(head + b"\0\0\0\0" + chunk))
    return head + checksum + chunk


def main() -> None:
    if sys.argv[1] == "send":
        host = sys.argv[2]
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        print("ready", flush=True)
        with socket.socket(family, socket.SOCK_RAW, SCTP) as sender:
            for port in sys.argv[3:]:
                sender.sendto(init_packet(40000 + int(port) % 1000, int(port)), (host, 0))
        return
    counts: dict[str, int] = {}
    listeners = [socket.socket(family, socket.SOCK_RAW, SCTP) for family in (socket.AF_INET, socket.AF_INET6)]
    print("ready", flush=True)
    deadline = time.monotonic() + float(sys.argv[2])
    while (left := deadline - time.monotonic()) > 0:
        for listener in select.select(listeners, [], [], left)[0]:
            data = listener.recv(2048)
            body = data if listener.family == socket.AF_INET6 else data[(data[0] & 15) * 4 :]
            port = str(struct.unpack_from("!H", body, 2)[0])
            counts[port] = counts.get(port, 0) + 1
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
