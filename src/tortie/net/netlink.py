"""The netlink socket on which every door to the kernel stands: requests, acknowledgements, dumps and events.

Messages come in as bytes that the sibling modules build once with `attribute` and `struct`; parsed messages or a
`NetlinkError` that names the operation go back to them. No library is imported, because importing one costs more
than everything a node agent does in its first hundred milliseconds.
"""

import errno as errno_names
import os
import socket
import struct
from collections.abc import Iterator
from types import TracebackType
from typing import NamedTuple, Self

ROUTE = 0
NETFILTER = 12

REQUEST = 0x1
ACK = 0x4
REPLACE = 0x100
EXCL = 0x200
CREATE = 0x400
APPEND = 0x800
DUMP = 0x300
NESTED = 0x8000

_ERROR = 2
_DONE = 3
_OVERRUN = 4
_DUMP_INTERRUPTED = 0x10

_SOL_NETLINK = 270
_CAP_ACK = 10
_EXT_ACK = 11
_STRICT_CHECK = 12
_ADD_MEMBERSHIP = 1
_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33

HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_ERRNO = struct.Struct("=i")
_TYPE_MASK = 0x3FFF
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")


class NetlinkError(OSError):
    """The kernel refused a request. operation: what was tried; detail: the kernel's own words, if it had any."""

    def __init__(self, number: int, operation: str, detail: str = "") -> None:
        super().__init__(number, os.strerror(number))
        self.operation = operation
        self.detail = detail

    def __str__(self) -> str:
        name = errno_names.errorcode.get(self.errno or 0, str(self.errno))
        words = f": {self.detail}" if self.detail else ""
        return f"{self.operation}: {self.strerror} ({name}){words}"


class Message(NamedTuple):
    """type: nlmsg_type; body: what follows the netlink header; sender: the port of whose request it is a result."""

    type: int
    flags: int
    sequence: int
    sender: int
    body: bytes


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    length = 4 + len(payload)
    return _ATTRIBUTE.pack(length, kind) + payload + _PADDING[length & 3]


def nested(kind: int, *parts: bytes) -> bytes:
    return attribute(kind | NESTED, b"".join(parts))


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def u8(kind: int, value: int) -> bytes:
    return attribute(kind, bytes((value,)))


def u16(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=H", value))


def u32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def be16(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">H", value))


def be32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">I", value))


def be64(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">Q", value))


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    length = 16 + len(body)
    return HEADER.pack(length, kind, flags, sequence, 0) + body + _PADDING[length & 3]


def attributes(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """type -> payload of the attributes from `offset` on; of a repeated type the last one counts."""
    result: dict[int, bytes] = {}
    end = len(data)
    while offset + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4:
            break
        result[kind & _TYPE_MASK] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return result


def attribute_list(data: bytes, offset: int = 0) -> list[tuple[int, bytes]]:
    """The same for lists whose elements share one type."""
    result: list[tuple[int, bytes]] = []
    end = len(data)
    while offset + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4:
            break
        result.append((kind & _TYPE_MASK, data[offset + 4 : offset + length]))
        offset += (length + 3) & ~3
    return result


def split(data: bytes) -> Iterator[Message]:
    offset, end = 0, len(data)
    while offset + 16 <= end:
        length, kind, flags, sequence, sender = HEADER.unpack_from(data, offset)
        if length < 16:
            return
        yield Message(kind, flags, sequence, sender, data[offset + 16 : offset + length])
        offset += (length + 3) & ~3


def error_of(reply: Message) -> tuple[int, str]:
    """errno (0 for an acknowledgement) and the kernel's explanation of an error message."""
    number = -_ERRNO.unpack_from(reply.body)[0]
    if not reply.flags & 0x200:  # no NLM_F_ACK_TLVS
        return number, ""
    # After the error code comes the header of the refused message, with its payload unless it was capped.
    skip = 20 if reply.flags & 0x100 else 4 + ((HEADER.unpack_from(reply.body, 4)[0] + 3) & ~3)
    words = attributes(reply.body, skip).get(1, b"")
    return number, words.rstrip(b"\0").decode(errors="replace")


class Netlink:
    """A blocking netlink socket in the network namespace in which the calling thread stands when it is made."""

    def __init__(self, protocol: int, *, groups: tuple[int, ...] = (), receive_buffer: int = 0) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.setsockopt(_SOL_NETLINK, _EXT_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
        if protocol == ROUTE:
            self._socket.setsockopt(_SOL_NETLINK, _STRICT_CHECK, 1)
        if receive_buffer:
            self.set_receive_buffer(receive_buffer)
        self._socket.bind((0, 0))
        for group in groups:
            self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
        self.port: int = self._socket.getsockname()[0]
        self._sequence = 1
        self._send_buffer = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def socket(self) -> socket.socket:
        return self._socket

    def set_receive_buffer(self, size: int) -> None:
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)
        except PermissionError:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)

    def _ensure_send_buffer(self, size: int) -> None:
        if size > max(self._send_buffer, 100_000):
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, size * 2)
            except PermissionError:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size * 2)
            self._send_buffer = size

    def next_sequence(self) -> int:
        return self.reserve_sequences(1)

    def reserve_sequences(self, count: int) -> int:
        """The first of `count` consecutive sequence numbers that nobody else gets."""
        first = self._sequence + 1
        if first + count > 0x7FFFFFFF:
            first = 1
        self._sequence = first + count - 1
        return first

    def send(self, data: bytes) -> None:
        self._ensure_send_buffer(len(data))
        self._socket.send(data)

    def receive(self, *, flags: int = 0) -> list[Message]:
        return list(split(self._socket.recv(1 << 20, flags)))

    def request(self, kind: int, flags: int, body: bytes, operation: str) -> None:
        """Sends one request and waits for its acknowledgement. Raises NetlinkError."""
        sequence = self.next_sequence()
        self.send(message(kind, flags | REQUEST | ACK, sequence, body))
        while True:
            for reply in self.receive():
                if reply.sequence != sequence or reply.type != _ERROR:
                    continue
                number, words = error_of(reply)
                if number:
                    raise NetlinkError(number, operation, words)
                return

    def request_many(self, requests: list[tuple[int, int, bytes]], operation: str) -> list[NetlinkError | None]:
        """Sends (type, flags, body) requests in few system calls; one result for each, in order."""
        results: list[NetlinkError | None] = []
        for start in range(0, len(requests), 64):
            part = requests[start : start + 64]
            first = self.reserve_sequences(len(part))
            self.send(b"".join(message(k, f | REQUEST | ACK, first + i, b) for i, (k, f, b) in enumerate(part)))
            answers: dict[int, NetlinkError | None] = {}
            while len(answers) < len(part):
                for reply in self.receive():
                    if reply.type == _ERROR and first <= reply.sequence < first + len(part):
                        number, words = error_of(reply)
                        answers[reply.sequence] = NetlinkError(number, operation, words) if number else None
            results += [answers[first + i] for i in range(len(part))]
        return results

    def get(self, kind: int, body: bytes, operation: str) -> Message:
        """Sends one request for one object and returns the answer. Raises NetlinkError."""
        sequence = self.next_sequence()
        self.send(message(kind, REQUEST, sequence, body))
        while True:
            for reply in self.receive():
                if reply.sequence != sequence:
                    continue
                if reply.type == _ERROR:
                    number, words = error_of(reply)
                    raise NetlinkError(number or errno_names.ENODATA, operation, words)
                return reply

    def dump(self, kind: int, body: bytes, operation: str) -> list[Message]:
        """All objects that a dump request yields; starts over while the kernel says that the answer is torn."""
        for _ in range(10):
            result, torn = self._dump_once(kind, body, operation)
            if not torn:
                break
        return result

    def _dump_once(self, kind: int, body: bytes, operation: str) -> tuple[list[Message], bool]:
        sequence = self.next_sequence()
        self.send(message(kind, REQUEST | DUMP, sequence, body))
        result: list[Message] = []
        torn = False
        while True:
            for reply in self.receive():
                if reply.sequence != sequence:
                    continue
                torn = torn or bool(reply.flags & _DUMP_INTERRUPTED)
                if reply.type == _DONE:
                    number = -_ERRNO.unpack_from(reply.body)[0] if len(reply.body) >= 4 else 0
                    if number > 0:
                        raise NetlinkError(number, operation)
                    return result, torn
                if reply.type == _ERROR:
                    number, words = error_of(reply)
                    if number == errno_names.EINTR:
                        return result, True
                    if number:
                        raise NetlinkError(number, operation, words)
                    return result, torn
                result.append(reply)
