"""The whole table of one family: what should be in it, what is, and the transaction between the two. Pure.

In: `Rules` per contributor (the frame, the node, each service). Out: nft text that changes only what differs, or, when
nothing is known about the kernel's state, text that replaces everything in one transaction and keeps client affinity.
Several contributors may claim one element (two services with one external address): the lowest owner's counts, and
when it goes the next one's takes its place.
"""

from collections.abc import Iterable, Mapping
from typing import TypeVar

from tortie.lab.proxy.endpoints import Family
from tortie.lab.proxy.rules import EMPTY, MAPS, SETS, TABLE, Rules, address_type, map_type

V = TypeVar("V")

Owner = tuple[str, str]
Element = tuple[str, str]
"""(set or map, key)."""


class Table:
    """Contributors change independently; `transaction` gives the text since the last `committed`."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self._rules: dict[Owner, Rules] = {}
        self._chains: dict[str, tuple[str, ...]] = {}
        self._affinity: dict[str, int] = {}
        self._claims: dict[Element, dict[Owner, str]] = {}
        self._kernel_chains: dict[str, tuple[str, ...]] = {}
        self._kernel_affinity: dict[str, int] = {}
        self._kernel_elements: dict[Element, str] = {}
        self._dirty_chains: dict[str, None] = {}
        self._dirty_elements: dict[Element, None] = {}
        self._dirty_affinity: dict[str, None] = {}

    def set(self, owner: Owner, rules: Rules) -> None:
        """What this contributor wants from now on; EMPTY takes it away. O(its own rules)."""
        before = self._rules.get(owner, EMPTY)
        if rules == before:
            return
        for name in before.chains:
            del self._chains[name]
        for name in before.affinity:
            del self._affinity[name]
        for element, _ in _elements_of(before):
            claims = self._claims[element]
            del claims[owner]
            if not claims:
                del self._claims[element]
        self._chains.update(rules.chains)
        self._affinity.update(rules.affinity)
        for element, verdict in _elements_of(rules):
            self._claims.setdefault(element, {})[owner] = verdict
        for part in (before, rules):
            self._dirty_chains.update(dict.fromkeys(part.chains))
            self._dirty_affinity.update(dict.fromkeys(part.affinity))
            self._dirty_elements.update(dict.fromkeys(element for element, _ in _elements_of(part)))
        self._rules[owner] = rules
        if rules == EMPTY:
            del self._rules[owner]

    @property
    def dirty(self) -> bool:
        """There may be something to commit."""
        return bool(self._dirty_chains or self._dirty_elements or self._dirty_affinity)

    def udp(self) -> dict[tuple[str, int], frozenset[str]]:
        """All addresses and ports of UDP services with their right backends."""
        return {key: value for rules in self._rules.values() for key, value in rules.udp.items()}

    def statistics(self) -> dict[str, float]:
        """Sizes, for metrics."""
        return {"contributors": len(self._rules), "chains": len(self._chains), "elements": len(self._claims)}

    def committed(self) -> None:
        """The kernel took what `transaction` or `replacement` gave."""
        for name in self._dirty_chains:
            _copy(name, self._chains, self._kernel_chains)
        for name in self._dirty_affinity:
            _copy(name, self._affinity, self._kernel_affinity)
        for element in self._dirty_elements:
            if element in self._claims:
                self._kernel_elements[element] = self._winner(element)
            else:
                self._kernel_elements.pop(element, None)
        self._dirty_chains.clear()
        self._dirty_elements.clear()
        self._dirty_affinity.clear()

    def transaction(self) -> str:
        """Changes from the last committed state; "" if there are none."""
        return self._difference(
            self._dirty_chains,
            self._dirty_elements,
            self._dirty_affinity,
            (self._kernel_chains, self._kernel_elements, self._kernel_affinity),
        )

    def replacement(self, existing: Mapping[str, list[str]]) -> str:
        """Everything anew in one transaction, over whatever the kernel holds. existing: names of chains, sets and maps
        there; the members of affinity sets that are still wanted stay."""
        head = f"{self.family} {TABLE}"
        lines = [f"add table {head}"]
        lines += [f"flush chain {head} {name}" for name in existing.get("chain", ())]
        lines += [f"flush map {head} {name}" for name in existing.get("map", ())]
        lines += [f"flush set {head} {name}" for name in existing.get("set", ()) if name in SETS]
        lines += [f"add map {head} {name} {{ type {map_type(name, self.family)}; }}" for name in MAPS]
        lines += [f"add set {head} {name} {{ type {address_type(self.family)}; }}" for name in SETS]
        lines.append(self._difference(self._chains, self._claims, self._affinity, ({}, {}, {})))
        lines += [f"delete chain {head} {name}" for name in existing.get("chain", ()) if name not in self._chains]
        stale = [n for n in existing.get("set", ()) if n not in SETS and n not in self._affinity]
        lines += [f"delete set {head} {name}" for name in stale]
        lines += [f"delete map {head} {name}" for name in existing.get("map", ()) if name not in MAPS]
        return "\n".join(lines) + "\n"

    def _winner(self, element: Element) -> str:
        claims = self._claims[element]
        return claims[min(claims)] if len(claims) > 1 else next(iter(claims.values()))

    def _difference(
        self,
        chains: Iterable[str],
        elements: Iterable[Element],
        affinity: Iterable[str],
        kernel: tuple[Mapping[str, tuple[str, ...]], Mapping[Element, str], Mapping[str, int]],
    ) -> str:
        """The order matters: what is referred to comes before what refers to it, and goes after."""
        head = f"{self.family} {TABLE}"
        had_chains, had_elements, had_affinity = kernel
        remove: dict[str, list[str]] = {}
        add: dict[str, list[str]] = {}
        for container, key in elements:
            old = had_elements.get((container, key))
            new = self._winner((container, key)) if (container, key) in self._claims else None
            if old != new:
                if old is not None:
                    remove.setdefault(container, []).append(key)
                if new is not None:
                    add.setdefault(container, []).append(f"{key} : {new}" if new else key)
        changed = [name for name in chains if name in self._chains and had_chains.get(name) != self._chains[name]]
        gone = [name for name in chains if name in had_chains and name not in self._chains]
        lines = [f"delete element {head} {name} {{ {', '.join(keys)} }}" for name, keys in remove.items()]
        for name in affinity:
            if name in self._affinity and name not in had_affinity:
                seconds = self._affinity[name]
                kind = f"type {address_type(self.family)}; size 65535; flags dynamic,timeout; timeout {seconds}s;"
                lines.append(f"add set {head} {name} {{ {kind} }}")
        for name in changed:
            hook = next((rule for rule in self._chains[name] if rule.startswith("type ")), "")
            lines.append(f"add chain {head} {name}" + (f" {{ {hook} }}" if hook else ""))
        lines += [f"flush chain {head} {name}" for name in (*changed, *gone) if name in had_chains]
        for name in changed:
            lines += [f"add rule {head} {name} {rule}" for rule in self._chains[name] if not rule.startswith("type ")]
        lines += [f"add element {head} {name} {{ {', '.join(keys)} }}" for name, keys in add.items()]
        lines += [f"delete chain {head} {name}" for name in gone]
        lines += [f"delete set {head} {n}" for n in affinity if n in had_affinity and n not in self._affinity]
        return "\n".join(lines) + ("\n" if lines else "")


def _copy(name: str, source: Mapping[str, V], target: dict[str, V]) -> None:
    if name in source:
        target[name] = source[name]
    else:
        target.pop(name, None)


def _elements_of(rules: Rules) -> Iterable[tuple[Element, str]]:
    for name, elements in rules.maps.items():
        for key, verdict in elements.items():
            yield (name, key), verdict
    for name, members in rules.sets.items():
        for key in members:
            yield (name, key), ""
