"""SCTP packets made by hand, for kernels without SCTP sockets; run inside a pod's namespace with `python3 -I -S`.

`send HOST PORT…` sends an INIT chunk to each port. `count` prints one JSON object when its stdin is closed: how
many SCTP packets arrived for each destination port. Both print `ready` first.
"""

import json
import select
import socket
import struct
import sys

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
    quiet = 0.0
    while True:
        readable = select.select([*listeners, *([] if quiet else [sys.stdin])], [], [], quiet or None)[0]
        if not readable:
            break
        for source in readable:
            if source is sys.stdin:
                quiet = 0.5  # the senders are done; what is on its way arrives within that
                continue
            data = source.recv(2048)
            body = data if source.family == socket.AF_INET6 else data[(data[0] & 15) * 4 :]
            port = str(struct.unpack_from("!H", body, 2)[0])
            counts[port] = counts.get(port, 0) + 1
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
