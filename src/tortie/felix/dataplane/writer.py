"""Brings both families' tables into the kernel, and keeps what cannot be programmed from stopping the rest.

The driver calls `apply` with the desired `TableState`s; one transaction carries both families. What the kernel
refuses is found by the message it complains about, or by halving when it complains about the whole; a stand-in that
drops takes its place, the reason is kept with the table, and the transaction is tried again.
"""

import errno
import time

from tortie.felix.dataplane import names
from tortie.felix.dataplane.plan import Plan, RenderError, plan
from tortie.felix.dataplane.table import TableState
from tortie.net.nft.connection import Connection, Refusal
from tortie.net.nft.transaction import Transaction

_ROUNDS = 50
NO_RIGHTS = "writing nftables rules needs the capability CAP_NET_ADMIN (run as root)"


class ApplyError(Exception):
    """The tables could not be written and no single object is to blame. Temporary or not: the driver tries again."""


class NotSupportedError(ApplyError):
    """The kernel or the process lacks what nftables needs; the message says what, in one sentence."""


class TableWriter:
    def __init__(self, connection: Connection, tables: list[TableState]) -> None:
        self._connection = connection
        self._tables = tables
        self._identity: dict[str, tuple[int, int] | None] = {}
        self._whole = False
        self.last_seconds = 0.0
        self.isolated = 0

    def apply(self) -> bool:
        """True if something was written. Raises ApplyError."""
        if not any(table.pending for table in self._tables):
            return False
        started = time.perf_counter()
        for table in self._tables:
            if not table.exists and not self._whole:
                self._adopt(table)
        for _ in range(_ROUNDS):
            planned = self._plan()
            if planned is None:
                continue
            transaction, plans = planned
            refusals = self._connection.commit(transaction)
            if not refusals:
                for table, made in plans:
                    table.settle(made)
                self._whole = False
                if len(transaction) or not self._identity:
                    self._remember_identity()
                self.last_seconds = time.perf_counter() - started
                return bool(len(transaction))
            self._isolate(refusals)
        raise ApplyError("more than 50 objects were refused in one go")

    def _adopt(self, table: TableState) -> None:
        listing = self._connection.list_table(table.family, names.TABLE)
        if listing.chains or listing.sets:
            table.adopt(
                listing, lambda name: self._connection.list_elements(table.family, names.TABLE, name)
            )  # what cannot be adopted is replaced

    def _plan(self) -> tuple[Transaction, list[tuple[TableState, Plan]]] | None:
        """None if something could not be rendered and was marked as broken."""
        transaction = Transaction()
        plans = []
        for table in self._tables:
            try:
                plans.append((table, plan(table, transaction)))
            except RenderError as error:
                self.isolated += 1
                if not table.mark_broken(error.chain, error.reason):
                    raise ApplyError(str(error)) from error
                return None
        return transaction, plans

    def _isolate(self, refusals: list[Refusal]) -> None:
        for refusal in refusals:
            if refusal.errno in (errno.EPERM, errno.EACCES):
                raise NotSupportedError(NO_RIGHTS)
            if refusal.errno in (errno.EPROTONOSUPPORT, errno.EINVAL, errno.EOPNOTSUPP) and self._no_tables(refusal):
                raise NotSupportedError("this kernel has no nf_tables (CONFIG_NF_TABLES)")
        progress = False
        for refusal in refusals:
            if isinstance(refusal.subject, tuple):
                progress = self._blame(*refusal.subject, reason=str(refusal)) or progress
        if not progress:
            progress = self._bisect(refusals[0])
        if not progress:
            raise ApplyError("; ".join(f"{refusal.subject}: {refusal}" for refusal in refusals[:3]))
        self.isolated += 1

    def _no_tables(self, refusal: Refusal) -> bool:
        return isinstance(refusal.subject, tuple) and refusal.subject[0] == "table"

    def _blame(self, kind: str, family: str, name: str, *, reason: str) -> bool:
        table = next(table for table in self._tables if table.family == family)
        if kind == "chain":
            return table.mark_broken(name, reason)
        if kind == "set":
            return table.mark_set_broken(name, reason)
        return False

    def _bisect(self, refusal: Refusal) -> bool:
        """Finds one chain whose replacement lets more through, by trying without committing."""
        suspects = [(table, name) for table in self._tables for name in table.replaceable()]
        if not suspects or not self._accepted_without(suspects):
            return False
        while len(suspects) > 1:
            half = suspects[: len(suspects) // 2]
            rest = suspects[len(suspects) // 2 :]
            if self._accepted_without(half):
                suspects = half
            elif self._accepted_without(rest):
                suspects = rest
            else:
                break  # more than one culprit, on both sides: give the lot a stand-in and say so
        for table, name in suspects:
            table.mark_broken(name, str(refusal))
        return True

    def _accepted_without(self, suspects: list[tuple[TableState, str]]) -> bool:
        """Whether the kernel would take everything if these were stand-ins."""
        for table, name in suspects:
            table.broken[name] = "on trial"
        try:
            planned = self._plan()
            return planned is not None and not self._connection.commit(planned[0], check=True)
        finally:
            for table, name in suspects:
                table.broken.pop(name, None)

    # --- what others may have done ---------------------------------------------------------------------------------

    def _remember_identity(self) -> None:
        for table in self._tables:
            self._identity[table.family] = self._connection.table_identity(table.family, names.TABLE)

    def tables_intact(self) -> bool:
        """A cheap look: the tables are still the ones we made, with as many chains and sets."""
        return all(
            self._connection.table_identity(table.family, names.TABLE) == self._identity.get(table.family)
            for table in self._tables
        )

    def verify(self) -> str:
        """A full listing against what was written; what is wrong, in words, or ""."""
        for table in self._tables:
            listing = self._connection.list_table(table.family, names.TABLE)
            expected = table.written
            if listing.chains.keys() != expected.keys():
                odd = sorted(listing.chains.keys() ^ expected.keys())
                return f"chains of table {table.family} calico differ: {', '.join(odd[:3])}"
            for name, rules in expected.items():
                if listing.chains[name] != rules:
                    return f"rules of chain {name} in table {table.family} calico differ"
            if listing.sets.keys() != table.expected_sets():
                odd = sorted(listing.sets.keys() ^ table.expected_sets())
                return f"sets of table {table.family} calico differ: {', '.join(odd[:3])}"
        return ""

    def verify_set(self, table: TableState, name: str) -> bool:
        """Whether the kernel has exactly the elements that were written."""
        found = self._connection.list_elements(table.family, names.TABLE, name)
        return found.keys() == table.expected_keys(name)

    def repair(self, *, whole: bool = False) -> None:
        """The next apply looks at what is there and writes what differs; with `whole` it replaces everything."""
        self._whole = whole
        for table in self._tables:
            table.forget_kernel()
