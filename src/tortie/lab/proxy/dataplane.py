"""Keeps the kernel's table in step with the wanted one, both families; repairs it when somebody else spoils it.

In: `Rules` per contributor. Out: nftables transactions and, after UDP backends went, conntrack deletions. It works in
the network namespace in which it was made.
"""

from tortie.lab.proxy import conntrack, rules
from tortie.lab.proxy.endpoints import FAMILIES, Family
from tortie.lab.proxy.rules import Rules
from tortie.lab.proxy.table import Owner, Table
from tortie.net.libnftables import Libnftables, NftError
from tortie.service.log import Throttle, get_logger

_log = get_logger("lab.proxy")


class Dataplane:
    """`set` then `apply`. A refused transaction is answered by replacing the whole table once."""

    def __init__(self) -> None:
        self._nft = Libnftables()
        self._tables = {family: Table(family) for family in FAMILIES}
        self._addresses: dict[Family, frozenset[str]] = dict.fromkeys(FAMILIES, frozenset())
        self._replace = set(FAMILIES)
        self._cleaned: dict[Family, dict[tuple[str, int], frozenset[str]]] = {family: {} for family in FAMILIES}
        self._throttle = Throttle(period=30.0)
        self.transactions = self.replacements = self.failures = self.conntrack_deleted = 0
        for family, table in self._tables.items():
            table.set(("", "frame"), rules.frame(family))

    def close(self) -> None:
        """Leaves the kernel as it is: services go on working."""
        self._nft.close()

    def set(self, family: Family, owner: Owner, wanted: Rules) -> None:
        """What a contributor wants from the next `apply` on."""
        self._tables[family].set(owner, wanted)

    def set_node_addresses(self, family: Family, addresses: frozenset[str]) -> None:
        """The addresses on which node ports answer."""
        self._addresses[family] = addresses
        self._tables[family].set(("", "node"), rules.nodes(addresses))

    def apply(self) -> bool:
        """Writes what changed. False if the kernel refused; the next call tries again with everything."""
        good = True
        for family, table in self._tables.items():
            if not table.dirty and family not in self._replace:
                continue
            try:
                self._write(family, table)
            except NftError as error:
                good = False
                self.failures += 1
                self._replace.add(family)
                suppressed = self._throttle.allow(family)
                if suppressed is not None:
                    _log.error("nftables refuses", family=family, error=str(error), suppressed=suppressed)
                continue
            self._clean(family, table)
        return good

    def verify(self) -> bool:
        """Looks whether the tables are still there as written; if not, the next `apply` writes them anew."""
        intact = True
        for family, table in self._tables.items():
            try:
                there = len(self._nft.names(family, rules.TABLE).get("chain", ()))
            except NftError:
                there = -1
            if there != table.statistics()["chains"]:
                _log.warning("the service table was changed by somebody else; writing it anew", family=family)
                self._replace.add(family)
                intact = False
        return intact

    def statistics(self) -> dict[str, float]:
        """Counters for metrics."""
        sizes = [table.statistics() for table in self._tables.values()]
        return {
            "transactions_total": self.transactions,
            "replacements_total": self.replacements,
            "failures_total": self.failures,
            "conntrack_deleted_total": self.conntrack_deleted,
            **{name: sum(size[name] for size in sizes) for name in ("chains", "elements")},
        }

    def _write(self, family: Family, table: Table) -> None:
        if family not in self._replace:
            try:
                text = table.transaction()
                if text:
                    self._nft.run(text)
                self.transactions += 1
                table.committed()
                return
            except NftError as error:
                _log.warning("a change was refused; replacing the table", family=family, error=str(error)[:500])
                self.failures += 1
        try:
            self._nft.run(table.replacement(self._nft.names(family, rules.TABLE)))
        except NftError:
            # What is there does not even let itself be emptied piece by piece: begin with nothing, still atomically.
            empty = f"add table {family} {rules.TABLE}\ndelete table {family} {rules.TABLE}\n"
            self._nft.run(empty + table.replacement({}))
        self.replacements += 1
        self._replace.discard(family)
        table.committed()

    def _clean(self, family: Family, table: Table) -> None:
        services = table.udp()
        if services == self._cleaned[family]:
            return
        changed = {k: v for k, v in services.items() if self._cleaned[family].get(k) != v}
        changed.update({k: frozenset() for k in self._cleaned[family] if k not in services})
        self._cleaned[family] = services
        try:
            deleted = conntrack.clean(family, changed, self._addresses[family])
        except (OSError, ValueError) as error:
            _log.warning("conntrack entries not cleaned", family=family, error=str(error))
            return
        self.conntrack_deleted += len(deleted)
