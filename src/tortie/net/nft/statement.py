"""What a rule does: verdicts, marks, counters, logs, address translation; and the rule itself.

Like `match`, everything here is data with a text form (nft's language) and an encoded form (kernel expressions).
`Rule` joins matches and statements with a comment; `transaction` writes it.
"""

import hashlib
import ipaddress
import struct
from base64 import urlsafe_b64encode
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Protocol

from tortie.net.nft import wire

_U32 = struct.Struct("=I")
_PORT = struct.Struct(">H")
_META_MARK, _META_IIFNAME, _META_OIFNAME = 3, 6, 7
_RATE_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
_LEVELS = {"emerg": 0, "alert": 1, "crit": 2, "err": 3, "warn": 4, "notice": 5, "info": 6, "debug": 7}
COMMENT_LIMIT = 128


class Part(Hashable, Protocol):
    """A requirement or an effect."""

    def text(self) -> str: ...

    def encode(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """action: accept, drop, return, or jump and goto with a chain."""

    action: Literal["accept", "drop", "return", "jump", "goto"]
    chain: str = ""

    def text(self) -> str:
        return f"{self.action} {self.chain}" if self.chain else self.action

    def encode(self) -> bytes:
        code = {
            "accept": wire.ACCEPT,
            "drop": wire.DROP,
            "return": wire.RETURN,
            "jump": wire.JUMP,
            "goto": wire.GOTO,
        }[self.action]
        return wire.immediate_verdict(code, self.chain)


@dataclass(frozen=True, slots=True)
class InterfaceMap:
    """Takes the verdict that a map holds for the interface; goes on with the next rule if it holds none."""

    direction: Literal["iifname", "oifname"]
    map: str

    def text(self) -> str:
        return f"{self.direction} vmap @{self.map}"

    def encode(self) -> bytes:
        key = _META_IIFNAME if self.direction == "iifname" else _META_OIFNAME
        return wire.meta(key) + wire.lookup(self.map, into=wire.REG_VERDICT)


@dataclass(frozen=True, slots=True)
class Counter:
    def text(self) -> str:
        return "counter"

    def encode(self) -> bytes:
        return _COUNTER


_COUNTER = wire.expression("counter", wire.be64(1, 0), wire.be64(2, 0))


@dataclass(frozen=True, slots=True)
class SetMark:
    """Clears the bits of `clear`, then sets those of `bits`."""

    clear: int = 0
    bits: int = 0

    def text(self) -> str:
        if not self.clear:
            return f"meta mark set meta mark | 0x{self.bits:08x}"
        keep = 0xFFFFFFFF & ~(self.clear | self.bits)
        return f"meta mark set meta mark & 0x{keep:08x}" + (f" | 0x{self.bits:08x}" if self.bits else "")

    def encode(self) -> bytes:
        keep = 0xFFFFFFFF & ~(self.clear | self.bits)
        return (
            wire.meta(_META_MARK)
            + wire.bitwise(_U32.pack(keep), _U32.pack(self.bits))
            + wire.expression("meta", wire.be32(2, _META_MARK), wire.be32(3, wire.REG_1))
        )


@dataclass(frozen=True, slots=True)
class Log:
    """To the kernel log with a level, or to a netlink group (then `snaplen` bytes of each packet)."""

    prefix: str
    level: str = "info"
    group: int | None = None
    snaplen: int = 80

    def text(self) -> str:
        if self.group is None:
            return f'log prefix "{self.prefix}"' + ("" if self.level == "warn" else f" level {self.level}")
        return f'log prefix "{self.prefix}" group {self.group} snaplen {self.snaplen}'

    def encode(self) -> bytes:
        fields = [wire.attribute(2, self.prefix.encode() + b"\0")]
        if self.group is None:
            fields.append(wire.be32(5, _LEVELS[self.level]))
        else:
            fields += [wire.attribute(1, _PORT.pack(self.group)), wire.be32(3, self.snaplen)]
        return wire.expression("log", *fields)


@dataclass(frozen=True, slots=True)
class Limit:
    """Goes on only while no more than `rate` packets a unit of time arrive."""

    rate: int
    unit: str
    burst: int = 5

    def text(self) -> str:
        return f"limit rate {self.rate}/{self.unit} burst {self.burst} packets"

    def encode(self) -> bytes:
        return wire.expression(
            "limit",
            wire.be64(1, self.rate),
            wire.be64(2, _RATE_UNITS[self.unit]),
            wire.be32(3, self.burst),
            wire.be32(4, 0),
            wire.be32(5, 0),
        )


@dataclass(frozen=True, slots=True)
class NoTrack:
    def text(self) -> str:
        return "notrack"

    def encode(self) -> bytes:
        return wire.expression("notrack")


@dataclass(frozen=True, slots=True)
class Reject:
    """Answers with ICMP or ICMPv6 "port unreachable"."""

    version: Literal[4, 6]

    def text(self) -> str:
        return "reject"

    def encode(self) -> bytes:
        return wire.expression("reject", wire.be32(1, 0), wire.attribute(2, b"\x03" if self.version == 4 else b"\x04"))


@dataclass(frozen=True, slots=True)
class Masquerade:
    """first_port 0: the kernel chooses the port."""

    first_port: int = 0
    last_port: int = 0

    def text(self) -> str:
        return f"masquerade to :{self.first_port}-{self.last_port}" if self.first_port else "masquerade"

    def encode(self) -> bytes:
        if not self.first_port:
            return wire.expression("masq")
        return (
            wire.immediate(_PORT.pack(self.first_port), 1)
            + wire.immediate(_PORT.pack(self.last_port), 2)
            + wire.expression("masq", wire.be32(1, 2), wire.be32(2, 1), wire.be32(3, 2))
        )


@dataclass(frozen=True, slots=True)
class SourceNat:
    address: str
    first_port: int = 0
    last_port: int = 0

    def text(self) -> str:
        if not self.first_port:
            return f"snat to {self.address}"
        shown = f"[{self.address}]" if ":" in self.address else self.address
        return f"snat to {shown}:{self.first_port}-{self.last_port}"

    def encode(self) -> bytes:
        address = ipaddress.ip_address(self.address)
        family = wire.FAMILY_IPV4 if address.version == 4 else wire.FAMILY_IPV6
        result = wire.immediate(address.packed, 1)
        fields = [wire.be32(1, 0), wire.be32(2, family), wire.be32(3, 1)]
        if self.first_port:
            result += wire.immediate(_PORT.pack(self.first_port), 2) + wire.immediate(_PORT.pack(self.last_port), 3)
            fields += [wire.be32(5, 2), wire.be32(6, 3), wire.be32(7, 2)]
        return result + wire.expression("nat", *fields)


@dataclass(frozen=True, slots=True)
class Rule:
    """Parts in order; the last is usually a verdict."""

    parts: tuple[Part, ...]
    comment: str = ""

    def text(self) -> str:
        body = " ".join(part.text() for part in self.parts)
        return f'{body} comment "{self.comment}"' if self.comment else body

    def encode(self) -> bytes:
        """The list of expressions. Raises ValueError or struct.error for values that no packet can have."""
        return b"".join([_encoded(part) for part in self.parts])


@lru_cache(maxsize=1 << 16)
def _encoded(part: Part) -> bytes:
    """Most parts of a large ruleset are equal to others; encoding one takes longer than finding it."""
    return part.encode()


ACCEPT = Verdict("accept")
DROP = Verdict("drop")
RETURN = Verdict("return")
COUNTER = Counter()


def chain_hashes(encoded: Sequence[bytes]) -> list[str]:
    """One hash of 16 characters for each rule, which covers all rules before it."""
    state = hashlib.sha256()
    result = []
    for body in encoded:
        state.update(len(body).to_bytes(4, "little"))
        state.update(body)
        result.append(urlsafe_b64encode(state.digest()[:12]).decode())
    return result
