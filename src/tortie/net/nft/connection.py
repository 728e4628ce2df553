"""The open door to nf_tables: commits transactions, reads back what a table holds, hears of foreign changes.

`Transaction`s come in from the dataplane's table writer; refusals with their subjects go back, as do listings of one
table (chains, rules' user data, sets and elements), which nobody calls on a hot path. `Generations` yields the process
behind each change of the ruleset.
"""

import ctypes
import errno
import socket
import struct
from collections.abc import Hashable
from dataclasses import dataclass, field

from tortie.net import netlink
from tortie.net.netlink import Netlink, NetlinkError, attribute, attribute_list, attributes
from tortie.net.nft import wire
from tortie.net.nft.transaction import Family, Hook, SetShape, Transaction

_GENERIC = struct.Struct(">BBH")
_U32 = struct.Struct(">I")
_I32 = struct.Struct(">i")
_U64 = struct.Struct(">Q")
_ERROR = 2
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Refusal:
    """subject: as given to the transaction; None when the kernel refused the whole (a loop, no memory)."""

    subject: Hashable
    errno: int
    detail: str

    def __str__(self) -> str:
        error = NetlinkError(self.errno, "nftables", self.detail)
        return str(error)


@dataclass(slots=True)
class TableListing:
    """What the kernel holds. chains: name -> user data of its rules in order; hooks: of the base chains; sets: maps are
    among them, elements are not."""

    chains: dict[str, list[bytes]] = field(default_factory=dict)
    hooks: dict[str, Hook] = field(default_factory=dict)
    sets: dict[str, SetShape] = field(default_factory=dict)


def _name(payload: bytes) -> str:
    return payload.rstrip(b"\0").decode(errors="replace")


def _hook(chain: dict[int, bytes]) -> Hook:
    hook = attributes(chain[4])
    number, priority = _U32.unpack(hook[1])[0], _I32.unpack(hook[2])[0]
    word = next((word for word, code in wire.HOOKS.items() if code == number), str(number))
    return Hook(_name(chain.get(7, b"")), word, priority)  # type: ignore[arg-type]  # the kernel's words are Hook's


def _shape(kind: dict[int, bytes]) -> SetShape:
    flags = _U32.unpack(kind[3])[0] if 3 in kind else 0
    return SetShape(
        key_type=_U32.unpack(kind[4])[0],
        key_length=_U32.unpack(kind[5])[0],
        interval=bool(flags & wire.SET_INTERVAL),
        verdict_map=bool(flags & wire.SET_MAP),
    )


class Connection:
    """One socket, used by one thread at a time."""

    def __init__(self) -> None:
        self._netlink = Netlink(netlink.NETFILTER, receive_buffer=4 << 20)
        self.transactions = 0
        self.failures = 0

    @property
    def port(self) -> int:
        return self._netlink.port

    def close(self) -> None:
        self._netlink.close()

    def commit(self, transaction: Transaction, *, check: bool = False) -> list[Refusal]:
        """All or nothing: an empty list says that all of it is in force; with `check`, that it could be."""
        if not len(transaction):
            return []
        for _ in range(_TRIES):
            refusals = self._commit_once(transaction, check=check)
            if not any(refusal.errno in (errno.EINTR, errno.EAGAIN) for refusal in refusals):
                break
        self.transactions += 1
        self.failures += bool(refusals)
        return refusals

    def _commit_once(self, transaction: Transaction, *, check: bool) -> list[Refusal]:
        first = self._netlink.reserve_sequences(len(transaction) + 2)
        self._drain()
        try:
            self._netlink.send(transaction.encode(first, check=check))
        except OSError as error:
            return [Refusal(None, error.errno or 0, f"sending {transaction.size} bytes")]
        # The kernel has worked by the time send returns; whatever it had to say lies in the socket.
        refusals: dict[Hashable, Refusal] = {}
        while True:
            try:
                replies = self._netlink.receive(flags=0x40)  # MSG_DONTWAIT
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    refusals.setdefault(None, Refusal(None, errno.ENOBUFS, "too many errors to report"))
                    continue
                raise
            for reply in replies:
                if reply.type != _ERROR:
                    continue
                number, words = netlink.error_of(reply)
                if not number:
                    continue
                index = reply.sequence - first - 1
                subject = transaction.subjects[index] if 0 <= index < len(transaction) else None
                refusals.setdefault(subject, Refusal(subject, number, words))
        return list(refusals.values())

    def _drain(self) -> None:
        while True:
            try:
                self._netlink.receive(flags=0x40)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise

    # --- reading ---------------------------------------------------------------------------------------------------

    def _dump(self, kind: int, family: Family, body: bytes, operation: str) -> list[dict[int, bytes]]:
        request = _GENERIC.pack(wire.FAMILIES[family], 0, 0) + body
        replies = self._netlink.dump(wire.SUBSYSTEM << 8 | kind, request, operation)
        return [attributes(reply.body, 4) for reply in replies]

    def tables(self, family: Family) -> set[str]:
        return {_name(table[1]) for table in self._dump(wire.GETTABLE, family, b"", "listing nftables tables")}

    def table_identity(self, family: Family, table: str) -> tuple[int, int] | None:
        """handle and number of objects of a table; None if there is no such table. Costs a few microseconds."""
        body = _GENERIC.pack(wire.FAMILIES[family], 0, 0) + attribute(1, table.encode() + b"\0")
        try:
            reply = self._netlink.get(wire.SUBSYSTEM << 8 | wire.GETTABLE, body, f"reading nftables table {table}")
        except NetlinkError as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        values = attributes(reply.body, 4)
        return _U64.unpack(values[4])[0], _U32.unpack(values[3])[0]

    def list_table(self, family: Family, table: str) -> TableListing:
        """Everything but the elements of sets. Raises NetlinkError."""
        listing = TableListing()
        head = attribute(1, table.encode() + b"\0")
        if table not in self.tables(family):
            return listing
        for chain in self._dump(wire.GETCHAIN, family, b"", "listing nftables chains"):
            if _name(chain[1]) != table:
                continue
            name = _name(chain[3])
            listing.chains[name] = []
            if 4 in chain:
                listing.hooks[name] = _hook(chain)
        for rule in self._dump(wire.GETRULE, family, head, f"listing the rules of nftables table {table}"):
            if _name(rule[1]) == table:
                listing.chains.setdefault(_name(rule[2]), []).append(rule.get(7, b""))
        for kind in self._dump(wire.GETSET, family, head, f"listing the sets of nftables table {table}"):
            if _name(kind[1]) == table:
                listing.sets[_name(kind[2])] = _shape(kind)
        return listing

    def list_elements(self, family: Family, table: str, name: str) -> dict[bytes, str]:
        """The keys of a set's elements, as `element_keys` gives them (the two ends of an interval are two keys), each
        with the chain that a verdict map sends it to, or ""."""
        head = attribute(1, table.encode() + b"\0") + attribute(2, name.encode() + b"\0")
        result: dict[bytes, str] = {}
        for part in self._dump(wire.GETSETELEM, family, head, f"listing the elements of nftables set {name}"):
            for _, element in attribute_list(part.get(3, b"")):
                values = attributes(element)
                key = attributes(values[1])[1]
                verdict = values.get(2)
                target = _name(attributes(attributes(verdict)[2]).get(2, b"")) if verdict else ""
                result[key + (b"\x01" if values.get(3) == b"\0\0\0\x01" else b"\0")] = target
        return result


class Generations:
    """Tells when anybody commits a change to the ruleset of this network namespace."""

    def __init__(self) -> None:
        self._netlink = Netlink(netlink.NETFILTER, groups=(wire.GROUP_NFTABLES,), receive_buffer=1 << 20)
        self._keep_generations_only()

    def _keep_generations_only(self) -> None:
        """A filter in the kernel drops every event but "new generation", so that large changes cost us nothing."""
        wanted = struct.unpack(">H", struct.pack("=H", wire.SUBSYSTEM << 8 | wire.NEWGEN))[0]
        program = b"".join(
            struct.pack("=HBBI", *instruction)
            for instruction in ((0x28, 0, 0, 4), (0x15, 0, 1, wanted), (0x06, 0, 0, 0x40000), (0x06, 0, 0, 0))
        )
        _attach_filter(self._netlink.socket, program)

    def fileno(self) -> int:
        return self._netlink.fileno()

    def close(self) -> None:
        self._netlink.close()

    def read(self) -> list[int] | None:
        """The netlink port behind each change since the last call (see `Connection.port`: process ids differ between
        process namespaces); None if some went by unseen."""
        changes: list[int] = []
        while True:
            try:
                events = self._netlink.receive(flags=0x40)
            except BlockingIOError:
                return changes
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    return None
                raise
            changes += [event.sender for event in events]


def _attach_filter(sock: socket.socket, program: bytes) -> None:
    buffer = ctypes.create_string_buffer(program)
    sock.setsockopt(1, 26, struct.pack("HL", len(program) // 8, ctypes.addressof(buffer)))
