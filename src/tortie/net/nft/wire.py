"""Numbers and building blocks of the nf_tables netlink protocol.

`match` and `statement` compose expressions from them, `transaction` composes messages; nothing else needs them. The
numbers are those of the kernel's uapi header linux/netfilter/nf_tables.h.
"""

import struct

from tortie.net.netlink import NESTED, nested
from tortie.net.netlink import attribute as attribute
from tortie.net.netlink import be32 as be32
from tortie.net.netlink import be64 as be64

SUBSYSTEM = 10
BATCH_BEGIN, BATCH_END = 16, 17
NEWTABLE, GETTABLE, DELTABLE = 0, 1, 2
NEWCHAIN, GETCHAIN, DELCHAIN = 3, 4, 5
NEWRULE, GETRULE, DELRULE = 6, 7, 8
NEWSET, GETSET, DELSET = 9, 10, 11
NEWSETELEM, GETSETELEM, DELSETELEM = 12, 13, 14
NEWGEN, GETGEN = 15, 16

GROUP_NFTABLES = 7  # multicast group with every change to the ruleset

FAMILY_IPV4, FAMILY_IPV6 = 2, 10
FAMILIES = {"ip": FAMILY_IPV4, "ip6": FAMILY_IPV6}

HOOKS = {"prerouting": 0, "input": 1, "forward": 2, "output": 3, "postrouting": 4}

SET_CONSTANT, SET_INTERVAL, SET_MAP, SET_CONCAT = 0x2, 0x4, 0x8, 0x80
ELEMENT_INTERVAL_END = 0x1
DATA_VERDICT = 0xFFFFFF00

ACCEPT, DROP, JUMP, GOTO, RETURN = 1, 0, -3, -4, -5

CMP_EQ, CMP_NEQ = 0, 1

# nft's numbers for data types, which let the nft program print keys in their own notation.
TYPE_IPV4, TYPE_IPV6, TYPE_PROTOCOL, TYPE_PORT, TYPE_INTERFACE = 7, 8, 12, 13, 41

REG_VERDICT = 0
REG_1 = 1


def reg32(word: int) -> int:
    """The register that begins at 32-bit word `word` of the 16 words that a concatenation may use."""
    return 8 + word


_ELEMENT = 1 | NESTED
_HEADER = struct.Struct("=HH")


def expression(name: str, *fields: bytes) -> bytes:
    """One expression as an element of a rule's list."""
    return attribute(_ELEMENT, attribute(1, name.encode() + b"\0") + nested(2, *fields))


def data(kind: int, value: bytes) -> bytes:
    return nested(kind, attribute(1, value))


def verdict(code: int, chain: str = "") -> bytes:
    fields = be32(1, code & 0xFFFFFFFF)
    if chain:
        fields += attribute(2, chain.encode() + b"\0")
    return nested(2, fields)


def meta(key: int, register: int = REG_1) -> bytes:
    return expression("meta", be32(2, key), be32(1, register))


def payload(base: int, offset: int, length: int, register: int = REG_1) -> bytes:
    return expression("payload", be32(1, register), be32(2, base), be32(3, offset), be32(4, length))


def compare(value: bytes, *, negated: bool = False, register: int = REG_1) -> bytes:
    return expression("cmp", be32(1, register), be32(2, CMP_NEQ if negated else CMP_EQ), data(3, value))


def value_range(first: bytes, last: bytes, *, negated: bool = False) -> bytes:
    return expression("range", be32(1, REG_1), be32(2, CMP_NEQ if negated else CMP_EQ), data(3, first), data(4, last))


def bitwise(mask: bytes, xor: bytes) -> bytes:
    return expression("bitwise", be32(1, REG_1), be32(2, REG_1), be32(3, len(mask)), data(4, mask), data(5, xor))


def lookup(name: str, *, negated: bool = False, register: int = REG_1, into: int | None = None) -> bytes:
    fields = [attribute(1, name.encode() + b"\0"), be32(2, register)]
    if into is not None:
        fields.append(be32(3, into))
    if negated:
        fields.append(be32(5, 1))
    return expression("lookup", *fields)


def immediate_verdict(code: int, chain: str = "") -> bytes:
    return expression("immediate", be32(1, REG_VERDICT), nested(2, verdict(code, chain)))


def immediate(value: bytes, register: int = REG_1) -> bytes:
    return expression("immediate", be32(1, register), data(2, value))
