"""One nftables table of Felix: what should be in it, and what is known to be.

The driver and the managers put chains, sets and maps in by name; `plan` turns what differs into a transaction (see
plan.py), `settle` records that the kernel took it. What cannot be programmed has a stand-in: a chain that drops.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tortie.felix.dataplane import names, sets
from tortie.felix.dataplane.chain import Chain, Version, stand_in
from tortie.felix.dataplane.graph import ChainGraph
from tortie.felix.dataplane.sets import SetMembers
from tortie.felix.messages import Member, SetKind
from tortie.net.nft import transaction as nft
from tortie.net.nft.connection import TableListing
from tortie.net.nft.transaction import Family

if TYPE_CHECKING:
    from tortie.felix.dataplane.plan import Plan

FAMILY: dict[int, Family] = {4: "ip", 6: "ip6"}


@dataclass(slots=True)
class IPSet:
    """changes: +1 for an element to add, -1 for one to delete; fresh: the kernel has no such set, or other content."""

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
    """Nothing here talks to the kernel."""

    def __init__(self, version: Version) -> None:
        self.version: Version = version
        self.family: Family = FAMILY[version]
        self.graph = ChainGraph()
        self.sets: dict[str, IPSet] = {}
        self.maps: dict[str, dict[str, str]] = {}
        self.dirty_maps: set[str] = set()
        # What the kernel holds.
        self.exists = False
        self._rules = 0
        self.written: dict[str, list[bytes]] = {}
        """chain -> user data of its rules, which contains hashes of all they do"""
        self.written_sets: set[str] = set()
        self.written_maps: dict[str, dict[str, str]] = {}
        # What cannot be.
        self.broken: dict[str, str] = {}
        """chain -> why the kernel or the encoder refused it"""
        self.broken_sets: dict[str, str] = {}
        self.faults: dict[str, str] = {}
        """chain -> why a stand-in is in force for it, whoever is to blame"""

    # --- desired state ---------------------------------------------------------------------------------------------

    def put(self, owner: str, chains: Iterable[Chain]) -> None:
        """Replaces all chains of `owner`."""
        for name in self.graph.put(owner, chains):
            self.broken.pop(name, None)
            if name not in self.graph.live:
                self.faults.pop(name, None)

    def drop(self, owner: str) -> None:
        self.put(owner, ())

    def put_set(self, set_id: str, kind: SetKind, members: Iterable[Member]) -> None:
        """Raises ValueError for a member that is none."""
        name = names.ip_set(self.version, set_id)
        holder = sets.make(kind, self.version)
        holder.update(members, ())
        self.sets[name] = IPSet(members=holder)
        self.broken_sets.pop(name, None)
        self.graph.dirty_sets.add(name)
        self.graph.dirty |= {chain for chain in self.faults if name in self.graph.chains[chain].uses}

    def change_set(self, set_id: str, added: Iterable[Member], removed: Iterable[Member]) -> None:
        """Raises KeyError for a set that was never put, ValueError for a member that is none."""
        name = names.ip_set(self.version, set_id)
        entry = self.sets[name]
        deleted, new = entry.members.update(added, removed)
        if (deleted or new) and not entry.fresh:
            entry.record(deleted, new)
            self.graph.dirty_sets.add(name)

    def drop_set(self, set_id: str) -> None:
        name = names.ip_set(self.version, set_id)
        if self.sets.pop(name, None) is not None:
            self.broken_sets.pop(name, None)
            self.graph.dirty_sets.add(name)
            if self.graph.is_used(name):
                self.graph.dirty |= self.graph.users(name)

    def put_map(self, name: str, entries: dict[str, str] | None) -> None:
        """interface -> chain to go to; None removes the map."""
        old = self.maps.get(name)
        if old == entries:
            return
        before, after = old or {}, entries or {}
        self.graph.refer(chain for interface, chain in after.items() if before.get(interface) != chain)
        self.graph.unrefer(chain for interface, chain in before.items() if after.get(interface) != chain)
        if entries is None:
            del self.maps[name]
        else:
            self.maps[name] = entries
        self.dirty_maps.add(name)

    def map_entries(self, name: str) -> dict[str, str]:
        return self.maps.get(name, {})

    # --- what cannot be programmed -----------------------------------------------------------------------------------

    def problems(self) -> dict[str, str]:
        """chain or set -> what is wrong with it"""
        return {**self.faults, **self.broken_sets}

    def problems_by_owner(self) -> dict[str, str]:
        """The same in the user's words: policy, profile or endpoint -> what is wrong."""
        chains = self.graph.chains
        return {
            (chains[name].owner if name in chains else "") or f"chain {name}": reason
            for name, reason in self.faults.items()
        }

    def fault(self, name: str) -> str:
        """Why a live chain cannot be written as it is; "" if it can."""
        chain = self.graph.chains[name]
        if name in self.broken:
            return self.broken[name]
        for used in sorted(chain.uses):
            if used in self.broken_sets:
                return f"set {used}: {self.broken_sets[used]}"
            if used not in self.sets and used not in self.graph.content and used not in self.maps:
                return f"set {used} is not there"
        return ""

    def effective(self, name: str) -> Chain | None:
        """What should be written: the chain, a stand-in, or None for nothing. Keeps `faults` in step."""
        chain = self.graph.chains.get(name)
        if chain is None or name not in self.graph.live:
            self.faults.pop(name, None)
            return stand_in(name, "not there") if chain is None and self.graph.is_referred(name) else None
        reason = self.fault(name)
        if not reason:
            self.faults.pop(name, None)
            return chain
        self.faults[name] = reason
        return stand_in(chain, reason)

    def mark_broken(self, chain: str, reason: str) -> bool:
        """False if the chain has no stand-in that would help: it is one of the frame's, or already replaced."""
        entry = self.graph.chains.get(chain)
        if entry is None or chain in self.broken or entry.hook is not None:
            return False
        self.broken[chain] = reason
        self.graph.dirty.add(chain)
        return True

    def mark_set_broken(self, name: str, reason: str) -> bool:
        """Chains that use the set are replaced by stand-ins, since a missing set could open as well as close."""
        if name in self.broken_sets:
            return False
        self.broken_sets[name] = reason
        self.graph.dirty_sets.add(name)
        self.graph.dirty |= self.graph.users(name)
        return True

    def retry_broken(self) -> None:
        """Gives everything that was replaced by a stand-in another chance."""
        self.graph.dirty |= self.broken.keys()
        for name in self.broken_sets:
            self.graph.dirty |= self.graph.users(name)
        self.graph.dirty_sets |= self.broken_sets.keys()
        self.broken, self.broken_sets = {}, {}

    def replaceable(self) -> list[str]:
        """Chains that are due to be written and could be replaced by stand-ins."""
        graph = self.graph
        due = graph.dirty & graph.live if self.exists else graph.live
        return [name for name in sorted(due) if name not in self.broken and graph.chains[name].hook is None]

    # --- from desired to kernel ------------------------------------------------------------------------------------

    @property
    def pending(self) -> bool:
        return not self.exists or bool(self.graph.dirty or self.graph.dirty_sets or self.dirty_maps)

    def forget_kernel(self) -> None:
        """Unless something is adopted, the next plan replaces the whole table, whatever is in it."""
        self.exists = False

    def adopt(self, listing: TableListing, elements: Callable[[str], dict[bytes, str]]) -> str:
        """Takes what is in the kernel, an earlier process's or what is left of ours, as written, so that the next plan
        changes only what differs; elements: those of one set. Returns why that is impossible, or "".

        Replacing the table would do as well, but for the packets that are between two rules at that very moment: maps
        that are replaced count as empty for them."""
        graph = self.graph
        for name in listing.chains.keys() & graph.live:
            if graph.chains[name].hook != listing.hooks.get(name):
                return f"chain {name} has another hook"
        found: dict[str, dict[bytes, str]] = {}
        for name, shape in listing.sets.items():
            wanted = self._wanted_type(name)
            if wanted is not None and wanted.shape != shape:
                return f"set {name} has another type"
            if wanted is not None or shape.verdict_map:
                found[name] = elements(name)
            content = graph.content.get(name)
            if name not in self.sets and content is not None and found[name].keys() != _keys(content.elements):
                return f"set {name} has other elements"
        self.exists = True
        self.written = dict(listing.chains)
        self._rules = sum(map(len, self.written.values()))
        maps = {name for name, shape in listing.sets.items() if shape.verdict_map}
        self.written_sets = listing.sets.keys() - maps
        self.written_maps = {
            name: {key[:-1].rstrip(b"\0").decode(errors="replace"): chain for key, chain in found[name].items()}
            for name in maps
        }
        for name, entry in self.sets.items():
            entry.changes = {}
            entry.fresh = name not in found or found[name].keys() != _keys(entry.members.elements())
        graph.dirty |= graph.live | set(graph.referred()) | self.written.keys()
        graph.dirty_sets |= set(graph.used()) | self.written_sets
        self.dirty_maps |= self.maps.keys() | self.written_maps.keys()
        return ""

    def _wanted_type(self, name: str) -> nft.SetType | None:
        if name in self.maps:
            return nft.INTERFACE_VERDICTS
        if name in self.sets:
            return self.sets[name].members.type
        content = self.graph.content.get(name)
        return content.type if content is not None else None

    def settle(self, plan: "Plan") -> None:
        """The kernel has taken the plan."""
        if plan.whole:
            self.written, self.written_sets, self.written_maps = {}, set(), {}
            self._rules = 0
            self.exists = True
        for name, chain in plan.chains.items():
            old = self.written.pop(name, None)
            self._rules -= len(old or ())
            if chain is not None:
                self.written[name] = chain.user_data
                self._rules += len(chain.rules)
        for name, kind in plan.sets.items():
            if kind is None:
                self.written_sets.discard(name)
                if not self.graph.is_used(name):
                    self.graph.content.pop(name, None)
            else:
                self.written_sets.add(name)
            entry = self.sets.get(name)
            if entry is not None:
                entry.changes, entry.fresh = {}, name not in self.written_sets
        for name, entries in plan.maps.items():
            if entries is None:
                self.written_maps.pop(name, None)
            else:
                self.written_maps[name] = dict(entries)
        self.graph.dirty.clear()
        self.graph.dirty_sets.clear()
        self.dirty_maps.clear()

    # --- checks ----------------------------------------------------------------------------------------------------

    def expected_sets(self) -> set[str]:
        return self.written_sets | self.written_maps.keys()

    def set_names(self) -> list[str]:
        return sorted(name for name in self.written_sets if name in self.sets)

    def expected_keys(self, name: str) -> set[bytes]:
        """The elements of a set as a listing of the kernel gives them. Pending changes make the answer useless."""
        return _keys(self.sets[name].members.elements())

    def statistics(self) -> dict[str, int]:
        return {
            "chains": len(self.written),
            "rules": self._rules,
            "sets": len(self.written_sets),
            "maps": len(self.written_maps),
            "problems": len(self.faults) + len(self.broken_sets),
        }


def _keys(elements: Iterable[bytes]) -> set[bytes]:
    return {key for element in elements for key in nft.element_keys(element)}
