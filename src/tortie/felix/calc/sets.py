"""The sets that rules refer to: who uses them, and how often each member was contributed (spec/felix.md 1.5, 1.6).

In, from the rule scanner: which sets exist; from the membership modules: members coming and going, each perhaps
several times over (two endpoints may share an address). Out, to the sequencer: full contents of new sets, differences
of known ones, and sets to remove; what comes and goes between two flushes cancels out.
"""

from collections.abc import Iterable

from tortie.felix.calc.rules import SetSpec
from tortie.felix.messages import IPSetDelta, IPSetRemove, IPSetUpdate, Member, SetKind


class MemberSet:
    """One set. Members are counted, so that one contributor's leaving does not take another's member away."""

    __slots__ = ("_added", "_announced", "_counts", "_removed", "_table", "id", "kind", "uses")

    def __init__(self, table: "SetTable", identifier: str, kind: SetKind) -> None:
        self.id = identifier
        self.kind = kind
        self.uses = 0
        self._table = table
        self._counts: dict[Member, int] = {}
        self._announced = False
        self._added: set[Member] = set()
        self._removed: set[Member] = set()

    def __len__(self) -> int:
        return len(self._counts)

    def add(self, members: Iterable[Member]) -> None:
        """Counts each member once more."""
        counts = self._counts
        for member in members:
            count = counts.get(member, 0)
            counts[member] = count + 1
            if not count and self._announced:
                if member in self._removed:
                    self._removed.discard(member)
                else:
                    self._added.add(member)
                self._table.changed.add(self)

    def remove(self, members: Iterable[Member]) -> None:
        """Counts each member once less; it must have been counted before."""
        counts = self._counts
        for member in members:
            count = counts[member] - 1
            if count:
                counts[member] = count
                continue
            del counts[member]
            if self._announced:
                if member in self._added:
                    self._added.discard(member)
                else:
                    self._removed.add(member)
                self._table.changed.add(self)

    def full(self) -> IPSetUpdate:
        """The announcement of the set; differences count from here."""
        self._announced = True
        self._added.clear()
        self._removed.clear()
        return IPSetUpdate(id=self.id, kind=self.kind, members=frozenset(self._counts))

    def delta(self) -> IPSetDelta | None:
        """The difference since the last call, None if there is none."""
        if not self._added and not self._removed:
            return None
        message = IPSetDelta(id=self.id, added=frozenset(self._added), removed=frozenset(self._removed))
        self._added = set()
        self._removed = set()
        return message

    @property
    def announced(self) -> bool:
        return self._announced


class SetTable:
    """All sets in use, or unused since the last flush."""

    def __init__(self) -> None:
        self._sets: dict[str, tuple[SetSpec, MemberSet]] = {}
        self._created: dict[str, MemberSet] = {}
        self._unused: set[str] = set()
        self.changed: set[MemberSet] = set()

    def __len__(self) -> int:
        return len(self._sets)

    def use(self, spec: SetSpec) -> MemberSet | None:
        """One more use of a set. Returns it when it is new, for the caller to fill it and keep it filled."""
        known = self._sets.get(spec.id)
        if known is not None:
            known[1].uses += 1
            return None
        created = MemberSet(self, spec.id, spec.kind)
        created.uses = 1
        self._sets[spec.id] = (spec, created)
        self._created[spec.id] = created
        return created

    def release(self, identifier: str) -> None:
        """One use less; an unused set stays until `collect`."""
        entry = self._sets[identifier][1]
        entry.uses -= 1
        assert entry.uses >= 0, f"set {identifier} was released more often than used"
        if not entry.uses:
            self._unused.add(identifier)

    def collect(self) -> tuple[list[tuple[SetSpec, MemberSet]], list[IPSetRemove]]:
        """Forgets the sets that nobody uses. Returns them, for their members to be no longer maintained, and the
        messages that remove those that were announced."""
        gone: list[tuple[SetSpec, MemberSet]] = []
        messages: list[IPSetRemove] = []
        for identifier in sorted(self._unused):
            spec, entry = self._sets[identifier]
            if entry.uses:
                continue
            del self._sets[identifier]
            self._created.pop(identifier, None)
            self.changed.discard(entry)
            gone.append((spec, entry))
            if entry.announced:
                messages.append(IPSetRemove(id=identifier))
        self._unused.clear()
        return gone, messages

    def messages(self) -> list[IPSetUpdate | IPSetDelta]:
        """New sets in full, then differences; call after `collect`."""
        updates: list[IPSetUpdate | IPSetDelta] = [self._created[identifier].full() for identifier in self._created]
        self._created.clear()
        deltas = [delta for entry in self.changed if (delta := entry.delta()) is not None]
        self.changed.clear()
        return updates + sorted(deltas, key=lambda delta: delta.id)
