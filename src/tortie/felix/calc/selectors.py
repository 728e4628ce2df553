"""Registered selectors, found by the labels that may satisfy them (spec/felix.md 8.2).

In: selectors under ids that the caller chooses. Out, to the label index: for any labels the few selectors worth
evaluating, and for any selector what every match must have.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Generic, NamedTuple, Protocol, TypeVar

from tortie.model.selector import Selector, SelectorError, parse

G = TypeVar("G")
_NAMESPACE = "projectcalico.org/namespace"
_ENDS_WITH_NAMESPACE = re.compile(
    r"""(?:^\(*|&& *\(*)(projectcalico\.org/namespace) == (?:'([^'"]*)'|"([^'"]*)")\)*$"""
)
_TOKENS = re.compile(r"""'[^']*'|"[^"]*"|\|\||!?[ \t]*\(|\)""")


class Requirement(NamedTuple):
    """Every match carries the label `key`, with one of the values (None: with any)."""

    key: str
    values: tuple[str, ...] | None


def requirements(selector: Selector) -> list[Requirement]:
    """What labels must have for the selector to match; an empty list when nothing can be said."""
    found: list[Requirement] = []
    for key, restriction in selector.restrictions.items():
        if restriction.values is not None:
            found.append(Requirement(key, tuple(sorted(restriction.values))))
        elif restriction.present:
            found.append(Requirement(key, None))
    return found


class Matcher(Protocol):
    """What the index needs of a selector."""

    @property
    def matches(self) -> Callable[[Mapping[str, str]], bool]:
        """Whether labels satisfy it."""


def namespace_requirement(text: str) -> Requirement | None:
    """The namespace that the selector of a namespaced policy asks for at its end, read without parsing the rest.

    If the text is a selector at all, then nothing after that end can close a quotation around it, and it is a conjunct
    of the whole when no group that is open there is negated or has an alternative.
    """
    found = _ENDS_WITH_NAMESPACE.search(text)
    if found is None:
        return None
    spoilt = [False]
    for token in _TOKENS.finditer(text, 0, found.start(1)):
        part = token.group()
        if part == "||":
            spoilt[-1] = True
        elif part == ")":
            spoilt.pop()
            if not spoilt:
                return None
        elif part.endswith("("):
            spoilt.append(part.startswith("!"))
    if any(spoilt):
        return None
    return Requirement(_NAMESPACE, (found.group(2) or found.group(3) or "",))


class LazySelector:
    """A selector that is parsed when it is first tried: most policies of a large cluster never meet a local endpoint
    of their namespace. One that does not parse matches nothing; failed is then called with the error."""

    __slots__ = ("_failed", "matches", "text")

    def __init__(self, text: str, failed: Callable[[SelectorError], None]) -> None:
        self.text = text
        self._failed = failed
        self.matches: Callable[[Mapping[str, str]], bool] = self._first

    def _first(self, labels: Mapping[str, str]) -> bool:
        try:
            self.matches = parse(self.text).matches
        except SelectorError as error:
            self.matches = _never
            self._failed(error)
        return self.matches(labels)


def _never(_: Mapping[str, str]) -> bool:
    return False


class Entry(Generic[G]):
    """A registered selector; bucket: the requirement by which it is found (None: it is tried for all labels);
    groups: what it matches, kept by the label index."""

    __slots__ = ("bucket", "groups", "selector")

    def __init__(self, selector: Matcher, bucket: Requirement | None) -> None:
        self.selector = selector
        self.bucket = bucket
        self.groups: set[G] = set()


class SelectorBuckets(Generic[G]):
    """Selectors, found by the labels of a group that may match them: each stands under one of its requirements, the
    one whose buckets hold the fewest selectors when it is added."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry[G]] = {}
        self._by_value: dict[str, dict[str, set[str]]] = {}
        self._by_key: dict[str, set[str]] = {}
        self._anywhere: set[str] = set()

    def __getitem__(self, identifier: str) -> Entry[G]:
        return self._entries[identifier]

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def unrestricted(self) -> int:
        return len(self._anywhere)

    def add(self, identifier: str, selector: Matcher, needs: list[Requirement]) -> Entry[G]:
        assert identifier not in self._entries, f"selector {identifier} was added before"
        bucket = needs[0] if len(needs) == 1 else min(needs, key=self._load, default=None)
        for ids in self._sets(bucket):
            ids.add(identifier)
        entry: Entry[G] = Entry(selector, bucket)
        self._entries[identifier] = entry
        return entry

    def remove(self, identifier: str) -> Iterable[G]:
        entry = self._entries.pop(identifier, None)
        if entry is None:
            return ()
        for ids in self._sets(entry.bucket):
            ids.discard(identifier)
        bucket = entry.bucket
        if bucket is not None:
            if bucket.values is None:
                if not self._by_key[bucket.key]:
                    del self._by_key[bucket.key]
            else:
                values = self._by_value[bucket.key]
                for value in bucket.values:
                    if not values[value]:
                        del values[value]
                if not values:
                    del self._by_value[bucket.key]
        return entry.groups

    def candidates(self, labels: Mapping[str, str]) -> set[str]:
        """The ids of the selectors that may match the labels."""
        found = set(self._anywhere)
        for key in _shared(labels, self._by_value):
            ids = self._by_value[key].get(labels[key])
            if ids is not None:
                found |= ids
        for key in _shared(labels, self._by_key):
            found |= self._by_key[key]
        return found

    def _sets(self, bucket: Requirement | None) -> list[set[str]]:
        if bucket is None:
            return [self._anywhere]
        if bucket.values is None:
            return [self._by_key.setdefault(bucket.key, set())]
        values = self._by_value.setdefault(bucket.key, {})
        return [values.setdefault(value, set()) for value in bucket.values]

    def _load(self, need: Requirement) -> tuple[bool, int, int]:
        if need.values is None:
            return True, len(self._by_key.get(need.key, ())), 1
        values = self._by_value.get(need.key, {})
        return False, sum(len(values.get(value, ())) for value in need.values), len(need.values)


def _shared(labels: Mapping[str, str], index: Mapping[str, object]) -> Iterable[str]:
    if len(index) < len(labels):
        return [key for key in index if key in labels]
    return [key for key in labels if key in index]
