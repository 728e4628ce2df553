"""The nftables tables of Felix: what should be in them, what is, and the one transaction between the two.

The driver puts chains, sets and maps in by name; `plan` turns what differs into a transaction for both families at
once (spec/felix.md 3.1), `settle` records that the kernel took it. What the kernel refuses is `isolate`d: its place
is taken by a chain that drops, and the rest goes through.
"""

import struct
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tortie.felix.dataplane import names
from tortie.felix.dataplane.chain import Chain, ContentSet, Version, stand_in
from tortie.felix.dataplane.sets import SetMembers
from tortie.felix.messages import Member, SetKind
from tortie.net.nft import transaction as nft
from tortie.net.nft.transaction import Family, Transaction

FAMILY: dict[int, Family] = {4: "ip", 6: "ip6"}


@dataclass(slots=True)
class _Set:
    """changes: +1 for an element to add, -1 for one to delete; fresh: the kernel has no such set, or another's content."""

    members: SetMembers
    changes: dict[bytes, int] = field(default_factory=dict)
    fresh: bool = True

    def record(self, deleted: list[bytes], added: list[bytes]) -> None:
        for elements, step in ((deleted, -1), (added, 1)):
            for element in elements:
                change = self.changes.get(element, 0) + step
                if change:
                    self.changes[element] = change
                else:
                    self.changes.pop(element, None)

    def with_sign(self, sign: int) -> list[bytes]:
        return [element for element, change in self.changes.items() if change == sign]


class TableState:
    """One family's table. Nothing here talks to the kernel."""

    def __init__(self, version: Version) -> None:
        self.version: Version = version
        self.family: Family = FAMILY[version]
        self._chains: dict[str, Chain] = {}
        self._owners: dict[str, set[str]] = {}
        self._owned: dict[str, tuple[str, ...]] = {}
        self._sets: dict[str, _Set] = {}
        self._maps: dict[str, dict[str, str]] = {}
        self._references: Counter[str] = Counter()
        self._uses: Counter[str] = Counter()
        self._content: dict[str, ContentSet] = {}
        # What the kernel holds.
        self._written: dict[str, Chain] = {}
        self._written_sets: dict[str, nft.SetType] = {}
        self._written_maps: dict[str, dict[str, str]] = {}
        self._exists = False
        # What differs.
        self._dirty: set[str] = set()
        self._dirty_sets: set[str] = set()
        self._dirty_maps: set[str] = set()
        self.broken: dict[str, str] = {}
        """chain -> why a stand-in is in force"""
        self.broken_sets: dict[str, str] = {}
        self.faults: dict[str, str] = {}
        """chain -> why a stand-in was written for it, whoever is to blame"""

    # --- desired state ---------------------------------------------------------------------------------------------

    def put(self, owner: str, chains: Iterable[Chain]) -> None:
        """Replaces all chains of `owner`. A chain that several owners put (a group) stays while one of them has it."""
        new = {chain.name: chain for chain in chains}
        for name in self._owned.get(owner, ()):
            if name not in new:
                self._disown(owner, name)
        for name, chain in new.items():
            self._owners.setdefault(name, set()).add(owner)
            old = self._chains.get(name)
            if old != chain:
                self._account(old, chain)
                self._chains[name] = chain
                self._dirty.add(name)
                self.broken.pop(name, None)
        if new:
            self._owned[owner] = tuple(new)
        else:
            self._owned.pop(owner, None)

    def drop(self, owner: str) -> None:
        self.put(owner, ())

    def _disown(self, owner: str, name: str) -> None:
        owners = self._owners[name]
        owners.discard(owner)
        if not owners:
            del self._owners[name]
            self._account(self._chains.pop(name), None)
            self.broken.pop(name, None)
            self.faults.pop(name, None)
            self._dirty.add(name)

    def _account(self, old: Chain | None, new: Chain | None) -> None:
        """Keeps the counts of who refers to which chain and set."""
        if old is not None:
            self._references.subtract(old.targets)
            self._uses.subtract(old.uses)
            self._touch(old)
        if new is not None:
            self._references.update(new.targets)
            self._uses.update(new.uses)
            for content in new.sets:
                self._content[content.name] = content
            self._touch(new)

    def _touch(self, chain: Chain) -> None:
        self._dirty |= {name for name in chain.targets if name not in self._chains}
        self._dirty_sets |= {name for name in chain.uses if name not in self._sets and name not in self._maps}

    def put_set(self, set_id: str, kind: SetKind, members: Iterable[Member]) -> None:
        from tortie.felix.dataplane import sets

        name = names.ip_set(self.version, set_id)
        holder = sets.make(kind, self.version)
        holder.update(members, ())
        self._sets[name] = _Set(members=holder)
        self.broken_sets.pop(name, None)
        self._dirty_sets.add(name)
        self._dirty |= {chain for chain in self.faults if name in self._chains[chain].uses}

    def change_set(self, set_id: str, added: Iterable[Member], removed: Iterable[Member]) -> None:
        """Raises KeyError for a set that was never put."""
        name = names.ip_set(self.version, set_id)
        entry = self._sets[name]
        deleted, new = entry.members.update(added, removed)
        if deleted or new:
            entry.record(deleted, new)
            self._dirty_sets.add(name)

    def drop_set(self, set_id: str) -> None:
        name = names.ip_set(self.version, set_id)
        if self._sets.pop(name, None) is not None:
            self.broken_sets.pop(name, None)
            self._dirty_sets.add(name)

    def put_map(self, name: str, entries: dict[str, str] | None) -> None:
        """interface -> chain to go to; None removes the map."""
        if self._maps.get(name) == entries:
            return
        old = self._maps.get(name) or {}
        self._references.subtract(old.values())
        self._dirty |= {chain for chain in old.values() if chain not in self._chains}
        if entries is None:
            self._maps.pop(name, None)
        else:
            self._references.update(entries.values())
            self._dirty |= {chain for chain in entries.values() if chain not in self._chains}
            self._maps[name] = entries
        self._dirty_maps.add(name)

    def map_entries(self, name: str) -> dict[str, str]:
        return self._maps.get(name, {})

    def problems(self) -> dict[str, str]:
        """chain or set -> what is wrong with it"""
        return {**self.faults, **self.broken_sets}

    def problems_by_owner(self) -> dict[str, str]:
        """The same in the user's words: policy, profile or endpoint -> what is wrong."""
        return {self._chains[name].owner or f"chain {name}": reason for name, reason in self.faults.items()}

    # --- from desired to kernel ------------------------------------------------------------------------------------

    @property
    def pending(self) -> bool:
        return not self._exists or bool(self._dirty or self._dirty_sets or self._dirty_maps)

    def forget_kernel(self) -> None:
        """The next plan replaces the whole table, whatever is in it."""
        self._exists = False

    def effective(self, name: str) -> Chain | None:
        """What should be written: the chain, a stand-in if it is broken or missing but referred to, or None."""
        chain = self._chains.get(name)
        if chain is None:
            return stand_in(name, "not there") if self._references[name] > 0 else None
        fault = self._fault(name, chain)
        return stand_in(chain, fault) if fault else chain

    def note_fault(self, name: str) -> None:
        """Keeps `faults` in step with what is written."""
        chain = self._chains.get(name)
        fault = self._fault(name, chain) if chain is not None else ""
        if fault:
            self.faults[name] = fault
        else:
            self.faults.pop(name, None)

    def _fault(self, name: str, chain: Chain) -> str:
        if name in self.broken:
            return self.broken[name]
        for used in sorted(chain.uses):
            if used in self.broken_sets:
                return f"set {used}: {self.broken_sets[used]}"
            if used not in self._sets and used not in self._content and used not in self._maps:
                return f"set {used} is not there"
        return ""

    def plan(self, transaction: Transaction) -> "Plan":
        """Adds the difference to the transaction. Raises RenderError for a chain or set with impossible values."""
        return Plan.make(self, transaction)

    def settle(self, plan: "Plan") -> None:
        """The kernel has taken the plan."""
        if plan.whole:
            self._written, self._written_sets, self._written_maps = {}, {}, {}
            self._exists = True
        for name, chain in plan.chains.items():
            if chain is None:
                self._written.pop(name, None)
            else:
                self._written[name] = chain
        for name, kind in plan.sets.items():
            if kind is None:
                self._written_sets.pop(name, None)
                self._content.pop(name, None) if self._uses[name] <= 0 else None
            else:
                self._written_sets[name] = kind
            entry = self._sets.get(name)
            if entry is not None:
                entry.changes, entry.fresh = {}, name not in self._written_sets
        for name, entries in plan.maps.items():
            if entries is None:
                self._written_maps.pop(name, None)
            else:
                self._written_maps[name] = dict(entries)
        self._dirty.clear()
        self._dirty_sets.clear()
        self._dirty_maps.clear()

    def mark_broken(self, chain: str, reason: str) -> bool:
        """False if the chain has no stand-in that would help: it is one of the frame's, or already replaced."""
        entry = self._chains.get(chain)
        if entry is None or chain in self.broken or entry.hook is not None:
            return False
        self.broken[chain] = reason
        self._dirty.add(chain)
        return True

    def mark_set_broken(self, name: str, reason: str) -> bool:
        """Chains that use the set are replaced by stand-ins, since a missing set could open as well as close."""
        if name in self.broken_sets:
            return False
        self.broken_sets[name] = reason
        self._dirty_sets.add(name)
        self._dirty |= {chain.name for chain in self._chains.values() if name in chain.uses}
        return True

    def retry_broken(self) -> None:
        """Gives everything that was replaced by a stand-in another chance."""
        self._dirty |= self.broken.keys()
        self._dirty |= {chain.name for chain in self._chains.values() if not chain.uses.isdisjoint(self.broken_sets)}
        self._dirty_sets |= self.broken_sets.keys()
        self.broken, self.broken_sets = {}, {}

    # --- checks ----------------------------------------------------------------------------------------------------

    def expected_chains(self) -> dict[str, list[bytes]]:
        return {name: chain.user_data for name, chain in self._written.items()}

    def expected_sets(self) -> set[str]:
        return self._written_sets.keys() | self._written_maps.keys()

    def set_names(self) -> list[str]:
        return sorted(name for name in self._written_sets if name in self._sets)

    def expected_keys(self, name: str) -> set[bytes]:
        """The elements of a set as a listing of the kernel gives them. Pending changes make the answer useless."""
        return {key for element in self._sets[name].members.elements() for key in nft.element_keys(element)}

    def replaceable(self) -> list[str]:
        """Chains that are due to be written and could be replaced by stand-ins."""
        return [
            name
            for name in sorted(self._dirty if self._exists else self._chains.keys())
            if name in self._chains and name not in self.broken and self._chains[name].hook is None
        ]

    def statistics(self) -> dict[str, int]:
        return {
            "chains": len(self._written),
            "rules": sum(len(chain.rules) for chain in self._written.values()),
            "sets": len(self._written_sets),
            "maps": len(self._written_maps),
            "members": sum(len(entry.members) for entry in self._sets.values()),
            "problems": len(self.faults) + len(self.broken_sets),
        }


class RenderError(ValueError):
    """A chain or set holds a value that no kernel rule can express. kind: chain or set."""

    def __init__(self, kind: str, name: str, reason: str) -> None:
        super().__init__(f"{kind} {name}: {reason}")
        self.kind = kind
        self.name = name
        self.reason = reason


@dataclass(slots=True)
class Plan:
    """What a transaction does to one table: name -> new content, None for what goes."""

    whole: bool
    chains: dict[str, Chain | None]
    sets: dict[str, nft.SetType | None]
    maps: dict[str, dict[str, str] | None]

    @classmethod
    def make(cls, table: TableState, out: Transaction) -> "Plan":
        whole = not table._exists
        plan = cls(whole=whole, chains={}, sets={}, maps={})
        if whole:
            out.add_table(table.family, names.TABLE)
            out.delete_table(table.family, names.TABLE)
            out.add_table(table.family, names.TABLE)
        dirty = set(table._dirty) | (table._chains.keys() if whole else set())
        if whole:
            dirty |= {name for name, count in table._references.items() if count > 0}
        dirty_sets = set(table._dirty_sets)
        if whole:
            dirty_sets |= table._sets.keys() | {name for name, count in table._uses.items() if count > 0}
        dirty_maps = set(table._dirty_maps) | (table._maps.keys() if whole else set())
        plan._write_sets(table, out, dirty_sets)
        plan._write_chains(table, out, dirty, dirty_maps)
        plan._remove(table, out, dirty, dirty_sets, dirty_maps)
        return plan

    def _write_sets(self, table: TableState, out: Transaction, dirty: set[str]) -> None:
        family = table.family
        for name in sorted(dirty):
            subject = ("set", family, name)
            known = not self.whole and name in table._written_sets
            entry = table._sets.get(name)
            if name in table.broken_sets:
                continue
            if entry is not None:
                if known and not entry.fresh:
                    out.delete_elements(family, names.TABLE, name, entry.with_sign(-1), subject)
                    out.add_elements(family, names.TABLE, name, entry.with_sign(1), subject)
                else:
                    if known:
                        out.flush_elements(family, names.TABLE, name, subject)
                    else:
                        out.add_set(family, names.TABLE, name, entry.members.type, subject)
                    out.add_elements(family, names.TABLE, name, entry.members.elements(), subject)
                self.sets[name] = entry.members.type
            elif table._uses[name] > 0 and name in table._content and not known:
                content = table._content[name]
                out.add_set(family, names.TABLE, name, content.type, subject)
                out.add_elements(family, names.TABLE, name, content.elements, subject)
                self.sets[name] = content.type

    def _write_chains(self, table: TableState, out: Transaction, dirty: set[str], dirty_maps: set[str]) -> None:
        family = table.family
        changed: list[tuple[str, Chain]] = []
        for name in sorted(dirty):
            chain = table.effective(name)
            table.note_fault(name)
            if chain is None or (not self.whole and table._written.get(name) == chain):
                continue
            try:
                _ = chain.encoded
            except (ValueError, struct.error, OverflowError) as error:
                raise RenderError("chain", name, str(error)) from error
            changed.append((name, chain))
        for name, chain in changed:
            if self.whole or name not in table._written:
                out.add_chain(family, names.TABLE, name, ("chain", family, name), chain.hook)
        for name in sorted(dirty_maps):
            if table._maps.get(name) is not None and (self.whole or name not in table._written_maps):
                out.add_set(family, names.TABLE, name, nft.INTERFACE_VERDICTS, ("map", family, name))
        for name, chain in changed:
            subject = ("chain", family, name)
            if not self.whole and name in table._written:
                out.flush_chain(family, names.TABLE, name, subject)
            out.add_rules(family, names.TABLE, name, chain.encoded, subject)
            self.chains[name] = chain
        for name in sorted(dirty_maps):
            entries = table._maps.get(name)
            if entries is None:
                continue
            subject = ("map", family, name)
            old = {} if self.whole else table._written_maps.get(name, {})
            gone = [nft.interface_goto(key, chain) for key, chain in old.items() if entries.get(key) != chain]
            new = [nft.interface_goto(key, chain) for key, chain in entries.items() if old.get(key) != chain]
            out.delete_elements(family, names.TABLE, name, gone, subject)
            out.add_elements(family, names.TABLE, name, new, subject)
            self.maps[name] = entries

    def _remove(
        self, table: TableState, out: Transaction, dirty: set[str], dirty_sets: set[str], dirty_maps: set[str]
    ) -> None:
        if self.whole:
            return
        family = table.family
        gone = sorted(name for name in dirty if table.effective(name) is None and name in table._written)
        for name in gone:
            out.flush_chain(family, names.TABLE, name, ("chain", family, name))
            self.chains[name] = None
        for name in sorted(name for name in dirty_maps if name not in table._maps and name in table._written_maps):
            out.delete_set(family, names.TABLE, name, ("map", family, name))
            self.maps[name] = None
        for name in gone:
            out.delete_chain(family, names.TABLE, name, ("chain", family, name))
        for name in sorted(dirty_sets):
            if name not in table._written_sets or name in self.sets:
                continue
            if name in table._sets and name not in table.broken_sets:
                continue
            if table._uses[name] > 0 and name not in table.broken_sets and name in table._content:
                continue
            out.delete_set(family, names.TABLE, name, ("set", family, name))
            self.sets[name] = None
