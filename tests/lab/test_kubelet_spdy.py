"""SPDY framing by itself: what one side writes, the other reads. kubectl's own use of it is in test_kubelet_streams."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tortie.lab.kubelet import spdy


def test_the_dictionary_is_the_one_of_the_specification() -> None:
    """Its Adler-32 checksum is part of every compressed header block that a SPDY/3 peer sends."""
    assert len(spdy.DICTIONARY) == 1423
    assert zlib.adler32(spdy.DICTIONARY) == 0xE3C6A7C2


def test_headers_of_several_streams_share_one_compression() -> None:
    client, server = spdy.Connection(), spdy.Connection()
    opened = []
    for number, kind in ((1, "error"), (3, "data"), (5, "error")):
        opened += server.feed(client.open(number, {"streamType": kind, "port": "8080"}, fin=kind == "error"))
    assert opened == [
        spdy.Opened(1, {"streamtype": "error", "port": "8080"}, True),
        spdy.Opened(3, {"streamtype": "data", "port": "8080"}, False),
        spdy.Opened(5, {"streamtype": "error", "port": "8080"}, True),
    ]
    assert client.feed(server.reply(1) + server.reply(3)) == []


@given(data=st.binary(max_size=200_000), cut=st.integers(1, 5000), fin=st.booleans())
def test_data_arrives_whole_however_the_bytes_are_cut(data: bytes, cut: int, fin: bool) -> None:
    sender, receiver = spdy.Connection(), spdy.Connection()
    frames = sender.data(7, data, fin=fin) + sender.goaway()
    events = []
    for offset in range(0, len(frames), cut):
        events += receiver.feed(frames[offset : offset + cut])
    assert events[-1] == spdy.Ended()
    pieces = [event for event in events if isinstance(event, spdy.Data)]
    assert b"".join(piece.data for piece in pieces) == data
    assert [piece.fin for piece in pieces] == [False] * (len(pieces) - 1) + [fin]


def test_a_ping_is_answered_with_the_same_number() -> None:
    ping = struct.pack(">III", 0x80030006, 4, 9)
    assert spdy.Connection().feed(ping) == [spdy.Pong(ping)]


def test_a_reset_names_its_stream() -> None:
    assert spdy.Connection().feed(spdy.Connection().reset(11)) == [spdy.Reset(11)]


def test_another_version_and_broken_headers_are_refused() -> None:
    with pytest.raises(spdy.ProtocolError, match="version 2"):
        spdy.Connection().feed(struct.pack(">II", 0x80020001, 0))
    with pytest.raises(spdy.ProtocolError, match="headers"):
        spdy.Connection().feed(struct.pack(">IIIIH", 0x80030001, 14, 1, 0, 0) + b"junk")
