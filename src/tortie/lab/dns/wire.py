"""DNS messages: questions read, answers written. Pure; dnslib does the packing.

In: bytes from a client or an upstream server. Out: a `Query`, or the bytes of a reply that fits the client's limits.
"""

import struct
from dataclasses import dataclass

from dnslib import AAAA, CNAME, EDNS0, NS, PTR, QTYPE, RCODE, RR, SOA, SRV, TXT, A, DNSHeader, DNSQuestion, DNSRecord

from tortie.lab.dns.zone import Answer, Record

UDP_LIMIT = 1232
_HEADER = struct.Struct(">HHHHHH")


class BadQuery(ValueError):
    """Bytes that are no question; `reply` is what to send back, b"" for nothing."""

    def __init__(self, text: str, reply: bytes = b"") -> None:
        super().__init__(text)
        self.reply = reply


@dataclass(frozen=True, slots=True)
class Query:
    """name: lower case, without a final dot; asked: as the client spelled it. size: what its UDP answer may measure."""

    id: int
    name: str
    asked: str
    type: str
    type_number: int
    recursion: bool
    edns: bool
    size: int


def parse(data: bytes) -> Query:
    """Reads a question. Raises BadQuery."""
    if len(data) < 12:
        raise BadQuery("shorter than a header")
    number, flags, questions, *_ = _HEADER.unpack_from(data)
    if flags & 0x8000:
        raise BadQuery("an answer, not a question")
    try:
        record = DNSRecord.parse(data)
    except Exception as error:  # dnslib raises many kinds on malformed input
        raise BadQuery(f"malformed: {error}", _HEADER.pack(number, 0x8001, 0, 0, 0, 0)) from error
    if flags & 0x7800 or questions != 1:
        raise BadQuery("not a standard query", _HEADER.pack(number, 0x8004 | flags & 0x7800, 0, 0, 0, 0))
    asked = str(record.q.qname).rstrip(".")
    option = next((rr for rr in record.ar if rr.rtype == QTYPE.OPT), None)
    size = min(max(option.rclass, 512), UDP_LIMIT) if option is not None else 512
    type_: str = QTYPE.get(record.q.qtype)
    return Query(number, asked.lower(), asked, type_, record.q.qtype, bool(flags & 0x0100), option is not None, size)


def reply(query: Query, answer: Answer, *, soa: Record, ttl: int, udp: bool, recursive: bool, turn: int = 0) -> bytes:
    """The reply to a question about our names. turn: how far to rotate equal records, so that clients that take the
    first one spread. A reply that is too long for UDP is cut and marked so."""
    code = RCODE.NXDOMAIN if answer.outcome == "no-name" else RCODE.NOERROR
    message = _head(query, code, authoritative=True, recursive=recursive)
    records = answer.records
    if len(records) > 1:
        records = (*records[turn % len(records) :], *records[: turn % len(records)])
    for record in records:
        message.add_answer(_pack(record, ttl, query))
    if not records:
        message.add_auth(_pack(soa, ttl, query))
    for record in answer.additional:
        message.add_ar(_pack(record, ttl, query))
    return _finish(query, message, udp=udp)


def failure(query: Query, code: str, *, recursive: bool) -> bytes:
    """A reply without records: code is `SERVFAIL`, `REFUSED`, …"""
    return _finish(query, _head(query, getattr(RCODE, code), authoritative=False, recursive=recursive), udp=True)


def with_alias(alias: bytes, target: bytes, query: Query, *, udp: bool) -> bytes:
    """The reply for an alias whose target another server has resolved: alias first, then the target's records."""
    message = DNSRecord.parse(alias)
    other = DNSRecord.parse(target)
    for record in other.rr:
        message.add_answer(record)
    if other.header.rcode:
        message.header.rcode = other.header.rcode
    return _finish(query, message, udp=udp)


def question(number: int, name: str, type_number: int) -> bytes:
    """A recursive question of our own."""
    header = DNSHeader(id=number, bitmap=0x0100)
    return bytes(DNSRecord(header, q=DNSQuestion(name, type_number)).pack())


def fit(data: bytes, query: Query, *, udp: bool) -> bytes:
    """A foreign reply, cut to what the client takes over UDP."""
    return data if not udp or len(data) <= query.size else _cut(data)


def _head(query: Query, code: int, *, authoritative: bool, recursive: bool) -> DNSRecord:
    header = DNSHeader(id=query.id, qr=1, aa=authoritative, rd=query.recursion, ra=recursive, rcode=code)
    return DNSRecord(header, q=DNSQuestion(query.asked, query.type_number))


def _finish(query: Query, message: DNSRecord, *, udp: bool) -> bytes:
    if query.edns and not any(rr.rtype == QTYPE.OPT for rr in message.ar):
        message.add_ar(EDNS0(udp_len=UDP_LIMIT))
    packed = bytes(message.pack())
    return packed if not udp or len(packed) <= query.size else _cut(packed)


def _cut(packed: bytes) -> bytes:
    """Header and question only, with the bit that asks the client to come back over TCP."""
    number, flags, *_ = _HEADER.unpack_from(packed)
    end = 12
    while packed[end]:
        end += packed[end] + 1
    return _HEADER.pack(number, flags | 0x0200, 1, 0, 0, 0) + packed[12 : end + 5]


def _pack(record: Record, ttl: int, query: Query) -> RR:
    name = query.asked if record.name == query.name else record.name
    value = record.value
    if isinstance(value, tuple):
        priority, weight, port, target = value
        return RR(name, QTYPE.SRV, rdata=SRV(priority, weight, port, target), ttl=ttl)
    if record.type == "SOA":
        server, mailbox = value.split()
        return RR(name, QTYPE.SOA, rdata=SOA(server, mailbox, (1, 7200, 1800, 86400, ttl)), ttl=ttl)
    kind = {"A": A, "AAAA": AAAA, "CNAME": CNAME, "PTR": PTR, "NS": NS, "TXT": TXT}[record.type]
    return RR(name, getattr(QTYPE, record.type), rdata=kind(value), ttl=ttl)
