"""Which selectors match which labelled items, kept up to date when either side changes (spec/felix.md 8.2).

Items (endpoints, network sets) bring labels and the names of their parents (profiles), whose labels they inherit:
an item's own label wins, then the first parent that has the key. Selectors come with the label restrictions that
every match must satisfy. Out go differences: which selectors an item gained and lost, which items a selector has.

Items with equal labels and parents form one group, so that a selector is evaluated once for a whole Deployment.
Groups are found from selectors, and selectors from groups, through label restrictions in either direction; a change
of a parent's labels visits only the groups that inherit from it. Costs: an item that joins an existing group O(1);
a new group O(its labels + candidate selectors); a new selector O(candidate groups).
"""

from collections.abc import Collection, Iterable, Mapping, Set
from typing import NamedTuple, TypeAlias

from tortie.felix.calc.selectors import Matcher, Requirement, SelectorBuckets
from tortie.model.dataplane import HostEndpointKey, NetworkSetKey, WorkloadEndpointKey

Item: TypeAlias = WorkloadEndpointKey | HostEndpointKey | NetworkSetKey

_NOTHING: frozenset[str] = frozenset()
_KEYS_INDEXED_ON_DEMAND = 64
"""Label keys that get a posting list one by one, when a selector asks; beyond, every key gets one in one pass."""
_GOOD_ENOUGH = 64
"""So few candidate groups are evaluated at once rather than looking for a better index."""


class _Group:
    """Items with equal labels and parents; matches: the ids of the selectors that select them."""

    __slots__ = ("identity", "items", "labels", "matches", "parents")

    def __init__(self, identity: tuple[frozenset[tuple[str, str]], tuple[str, ...]], labels: Mapping[str, str]) -> None:
        self.identity = identity
        self.labels = labels
        self.parents = identity[1]
        self.items: set[Item] = set()
        self.matches: set[str] = set()


class Change(NamedTuple):
    """The items of one group began (matched) or ceased to match a selector."""

    selector: str
    items: Collection[Item]
    matched: bool


class LabelIndex:
    """Selectors are known by ids that the caller chooses; adding an id twice is an error of the caller."""

    def __init__(self) -> None:
        self._parents: dict[str, Mapping[str, str]] = {}
        self._children: dict[str, set[_Group]] = {}
        self._groups: dict[tuple[frozenset[tuple[str, str]], tuple[str, ...]], _Group] = {}
        self._group_of: dict[Item, _Group] = {}
        self._selectors: SelectorBuckets[_Group] = SelectorBuckets()
        self._postings: dict[str, dict[str, set[_Group]]] = {}
        self._index_every_key = False
        self.evaluations = 0

    # --- items ---------------------------------------------------------------------------------------------------

    def assign(self, item: Item, labels: Mapping[str, str], parents: tuple[str, ...]) -> tuple[Set[str], Set[str]]:
        """Adds or relabels an item. Returns the ids of the selectors that matched it before and that match it now;
        both are live views, valid until the next call."""
        identity = (frozenset(labels.items()), parents)
        old = self._group_of.get(item)
        if old is not None and old.identity == identity:
            return old.matches, old.matches
        group = self._groups.get(identity)
        if group is None:
            group = self._new_group(identity, labels)
        group.items.add(item)
        self._group_of[item] = group
        before: Set[str] = _NOTHING
        if old is not None:
            before = old.matches
            self._leave(old, item)
        return before, group.matches

    def discard(self, item: Item) -> Set[str]:
        """Removes an item if it is there. Returns the ids of the selectors that matched it."""
        group = self._group_of.pop(item, None)
        if group is None:
            return _NOTHING
        matches = group.matches
        self._leave(group, item)
        return matches

    def matches(self, item: Item) -> Set[str]:
        """The ids of the selectors that match the item; none for an unknown item."""
        group = self._group_of.get(item)
        return _NOTHING if group is None else group.matches

    def known(self) -> Iterable[Item]:
        """Every item."""
        return self._group_of.keys()

    def _new_group(
        self, identity: tuple[frozenset[tuple[str, str]], tuple[str, ...]], labels: Mapping[str, str]
    ) -> _Group:
        group = _Group(identity, labels)
        self._groups[identity] = group
        for parent in set(group.parents):
            self._children.setdefault(parent, set()).add(group)
        effective = self._effective(group)
        self._post(group, effective)
        for identifier in self._selectors.candidates(effective):
            self._try(identifier, group, effective)
        return group

    def _leave(self, group: _Group, item: Item) -> None:
        group.items.discard(item)
        if group.items:
            return
        del self._groups[group.identity]
        for parent in set(group.parents):
            children = self._children[parent]
            children.discard(group)
            if not children:
                del self._children[parent]
        self._unpost(group, self._effective(group))
        for identifier in group.matches:
            self._selectors[identifier].groups.discard(group)

    # --- parents -------------------------------------------------------------------------------------------------

    def set_parent(self, name: str, labels: Mapping[str, str]) -> list[Change]:
        """Sets the labels that the children of a parent inherit; {} when there is no such parent."""
        old_labels = self._parents.get(name, {})
        if labels == old_labels:
            return []
        groups = list(self._children.get(name, ()))
        before = [self._effective(group) for group in groups]
        if labels:
            self._parents[name] = labels
        else:
            self._parents.pop(name, None)
        changes: list[Change] = []
        for group, old in zip(groups, before, strict=True):
            new = self._effective(group)
            if new != old:
                self._unpost(group, dict(old.items() - new.items()))
                self._post(group, dict(new.items() - old.items()))
                changes += self._reevaluate(group, new)
        return changes

    def _reevaluate(self, group: _Group, effective: Mapping[str, str]) -> list[Change]:
        changes: list[Change] = []
        for identifier in [i for i in group.matches if not self._selectors[i].selector.matches(effective)]:
            group.matches.discard(identifier)
            self._selectors[identifier].groups.discard(group)
            changes.append(Change(identifier, group.items, matched=False))
        for identifier in self._selectors.candidates(effective) - group.matches:
            if self._try(identifier, group, effective):
                changes.append(Change(identifier, group.items, matched=True))
        return changes

    # --- selectors -----------------------------------------------------------------------------------------------

    def add(self, identifier: str, selector: Matcher, needs: list[Requirement]) -> Iterable[Collection[Item]]:
        """Registers a selector; every match meets all of `needs`. Returns the items that match it, in collections."""
        entry = self._selectors.add(identifier, selector, needs)
        for group in self._candidate_groups(needs):
            self._try(identifier, group, self._effective(group))
        return [group.items for group in entry.groups]

    def remove(self, identifier: str) -> None:
        """Forgets a selector if it is there; its matches end without a word."""
        for group in self._selectors.remove(identifier):
            group.matches.discard(identifier)

    def items(self, identifier: str) -> Iterable[Collection[Item]]:
        """The items that match a registered selector, in collections."""
        return [group.items for group in self._selectors[identifier].groups]

    def _try(self, identifier: str, group: _Group, effective: Mapping[str, str]) -> bool:
        self.evaluations += 1
        entry = self._selectors[identifier]
        if not entry.selector.matches(effective):
            return False
        group.matches.add(identifier)
        entry.groups.add(group)
        return True

    # --- which groups a selector may match -----------------------------------------------------------------------

    def _candidate_groups(self, needs: list[Requirement]) -> Iterable[_Group]:
        """The groups that meet the requirement that the fewest groups meet; all of them when nothing is required."""
        if len(needs) == 1:
            self._index_key(needs[0].key)
            return self._meeting(needs[0])
        best = self._smallest(need for need in needs if need.key in self._postings)
        if best is None or len(best) > _GOOD_ENOUGH:
            for need in needs:
                self._index_key(need.key)
            best = self._smallest(needs)
        return list(self._groups.values()) if best is None else best

    def _smallest(self, needs: Iterable[Requirement]) -> list[_Group] | None:
        return min(map(self._meeting, needs), key=len, default=None)

    def _meeting(self, need: Requirement) -> list[_Group]:
        posting = self._postings.get(need.key, {})
        if need.values is None:
            return [group for groups in posting.values() for group in groups]
        return [group for value in need.values for group in posting.get(value, ())]

    def _index_key(self, key: str) -> None:
        if key in self._postings or self._index_every_key:
            return
        if len(self._postings) >= _KEYS_INDEXED_ON_DEMAND:
            self._index_every_key = True
            self._postings.clear()
            for group in self._groups.values():
                self._post(group, self._effective(group))
            return
        posting: dict[str, set[_Group]] = {}
        for group in self._groups.values():
            value = self._lookup(group, key)
            if value is not None:
                posting.setdefault(value, set()).add(group)
        self._postings[key] = posting

    def _post(self, group: _Group, labels: Mapping[str, str]) -> None:
        postings = self._postings
        keys = labels if self._index_every_key else labels.keys() & postings.keys()
        for key in keys:
            postings.setdefault(key, {}).setdefault(labels[key], set()).add(group)

    def _unpost(self, group: _Group, labels: Mapping[str, str]) -> None:
        for key in labels.keys() & self._postings.keys():
            posting = self._postings[key]
            groups = posting[labels[key]]
            groups.discard(group)
            if not groups:
                del posting[labels[key]]

    # --- inheritance ---------------------------------------------------------------------------------------------

    def _effective(self, group: _Group) -> Mapping[str, str]:
        merged: dict[str, str] = {}
        for parent in reversed(group.parents):
            labels = self._parents.get(parent)
            if labels is not None:
                merged.update(labels)
        if not merged:
            return group.labels
        merged.update(group.labels)
        return merged

    def _lookup(self, group: _Group, key: str) -> str | None:
        value = group.labels.get(key)
        if value is not None:
            return value
        for parent in group.parents:
            labels = self._parents.get(parent)
            if labels is not None and key in labels:
                return labels[key]
        return None

    def statistics(self) -> dict[str, int]:
        """Sizes and work done so far."""
        return {
            "items": len(self._group_of),
            "groups": len(self._groups),
            "selectors": len(self._selectors),
            "selectors_without_requirement": self._selectors.unrestricted,
            "evaluations": self.evaluations,
        }
