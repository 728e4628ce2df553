"""The SPDY/3.1 framing that kubectl speaks for port forwarding, and old ones for exec and attach too.

In: bytes from the peer. Out: events (stream opened, data, reset, end of connection) and frames to send. Pure.
Only what the Kubernetes clients use: they ignore flow control and priorities, and so does this.
"""

import struct
import zlib

import msgspec

_WORDS = (
    *("options", "head", "post", "put", "delete", "trace", "accept", "accept-charset", "accept-encoding"),
    *("accept-language", "accept-ranges", "age", "allow", "authorization", "cache-control", "connection"),
    *("content-base", "content-encoding", "content-language", "content-length", "content-location", "content-md5"),
    *("content-range", "content-type", "date", "etag", "expect", "expires", "from", "host", "if-match"),
    *("if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "last-modified", "location"),
    *("max-forwards", "pragma", "proxy-authenticate", "proxy-authorization", "range", "referer", "retry-after"),
    *("server", "te", "trailer", "transfer-encoding", "upgrade", "user-agent", "vary", "via", "warning"),
    *("www-authenticate", "method", "get", "status", "200 OK", "version", "HTTP/1.1", "url", "public"),
    *("set-cookie", "keep-alive", "origin"),
)
_TEXT = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
    "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
# The header dictionary of SPDY/3, section 2.6.10.1 of its specification: words with their lengths, then plain text.
DICTIONARY = b"".join(struct.pack(">I", len(word)) + word.encode() for word in _WORDS) + _TEXT.encode()

_VERSION = 3
_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _HEADERS, _WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9
_FIN = 0x01
_FRAME_LIMIT = 1 << 24
_PIECE = 1 << 16


class ProtocolError(Exception):
    """The peer does not speak SPDY/3."""


class Opened(msgspec.Struct, frozen=True):
    """headers: names in lower case. fin: the peer will send nothing on it."""

    stream: int
    headers: dict[str, str]
    fin: bool


class Data(msgspec.Struct, frozen=True):
    stream: int
    data: bytes
    fin: bool


class Reset(msgspec.Struct, frozen=True):
    stream: int


class Ended(msgspec.Struct, frozen=True):
    """The peer says goodbye."""


class Pong(msgspec.Struct, frozen=True):
    """frame: an answer that has to be sent."""

    frame: bytes


Event = Opened | Data | Reset | Ended | Pong


class Connection:
    """One side of a connection."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    # receiving ---------------------------------------------------------------------------------------------------

    def feed(self, data: bytes) -> list[Event]:
        """The events in newly received bytes. Raises ProtocolError."""
        self._buffer += data
        events: list[Event] = []
        while len(self._buffer) >= 8:
            first, second = struct.unpack_from(">II", self._buffer)
            length = second & 0xFFFFFF
            if len(self._buffer) < 8 + length:
                break
            payload = bytes(self._buffer[8 : 8 + length])
            del self._buffer[: 8 + length]
            flags = second >> 24
            if first & 0x80000000:
                event = self._control(first, flags, payload)
                if event is not None:
                    events.append(event)
            else:
                events.append(Data(first, payload, bool(flags & _FIN)))
        return events

    def _control(self, first: int, flags: int, payload: bytes) -> Event | None:
        version, kind = first >> 16 & 0x7FFF, first & 0xFFFF
        if version != _VERSION:
            raise ProtocolError(f"SPDY version {version} is not {_VERSION}")
        if kind == _SYN_STREAM:
            stream = struct.unpack_from(">I", payload)[0] & 0x7FFFFFFF
            return Opened(stream, self._headers(payload[10:]), bool(flags & _FIN))
        if kind in (_SYN_REPLY, _HEADERS):
            self._headers(payload[4:])  # keeps the decompressor in step
            return None
        if kind == _RST_STREAM:
            return Reset(struct.unpack_from(">I", payload)[0] & 0x7FFFFFFF)
        if kind == _PING:
            number = struct.unpack(">I", payload)[0]
            # Pings with odd numbers are the client's; even ones would be answers to ours, and we send none.
            return Pong(_frame(_PING, 0, payload)) if number % 2 else None
        if kind == _GOAWAY:
            return Ended()
        return None

    def _headers(self, block: bytes) -> dict[str, str]:
        try:
            text = self._inflate.decompress(block)
            count = struct.unpack_from(">I", text)[0]
            offset, words = 4, []
            for _ in range(2 * count):
                length = struct.unpack_from(">I", text, offset)[0]
                words.append(text[offset + 4 : offset + 4 + length].decode("latin-1"))
                offset += 4 + length
        except (zlib.error, struct.error) as error:
            raise ProtocolError(f"headers cannot be read: {error}") from error
        return {name.lower(): value for name, value in zip(words[::2], words[1::2], strict=True)}

    # sending -----------------------------------------------------------------------------------------------------

    def open(self, stream: int, headers: dict[str, str], *, fin: bool = False) -> bytes:
        """A frame that opens a stream (odd numbers are the client's)."""
        payload = struct.pack(">IIH", stream, 0, 0) + self._block(headers)
        return _frame(_SYN_STREAM, _FIN if fin else 0, payload)

    def reply(self, stream: int) -> bytes:
        """The frame that accepts a stream."""
        return _frame(_SYN_REPLY, 0, struct.pack(">I", stream) + self._block({}))

    def data(self, stream: int, data: bytes, *, fin: bool = False) -> bytes:
        """Frames with data; fin closes our side of the stream."""
        pieces = [data[offset : offset + _PIECE] for offset in range(0, len(data), _PIECE)] or [b""]
        frames = b""
        for index, piece in enumerate(pieces):
            flags = _FIN if fin and index == len(pieces) - 1 else 0
            frames += struct.pack(">II", stream, flags << 24 | len(piece)) + piece
        return frames

    def reset(self, stream: int) -> bytes:
        """The frame that ends a stream for both sides (status: cancel)."""
        return _frame(_RST_STREAM, 0, struct.pack(">II", stream, 5))

    def goaway(self) -> bytes:
        """The frame that says goodbye."""
        return _frame(_GOAWAY, 0, struct.pack(">II", 0, 0))

    def _block(self, headers: dict[str, str]) -> bytes:
        text = struct.pack(">I", len(headers))
        for name, value in headers.items():
            for word in (name.encode(), value.encode()):
                text += struct.pack(">I", len(word)) + word
        return self._deflate.compress(text) + self._deflate.flush(zlib.Z_SYNC_FLUSH)


def _frame(kind: int, flags: int, payload: bytes) -> bytes:
    return struct.pack(">II", 0x80000000 | _VERSION << 16 | kind, flags << 24 | len(payload)) + payload
