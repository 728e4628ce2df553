"""Which chains are wanted, who refers to whom, and which are reached from a hook or a dispatch map.

Renderers' chains come in by owner through `table`; what became dirty comes out as names. Only live chains are
programmed, and only the sets that live chains use (spec/felix.md 3.1): a family that no pod uses costs nothing.
"""

from collections import Counter
from collections.abc import Iterable

from tortie.felix.dataplane.chain import Chain, ContentSet


class ChainGraph:
    def __init__(self) -> None:
        self.chains: dict[str, Chain] = {}
        self.content: dict[str, ContentSet] = {}
        """the small sets that chains own, by name; those of chains that are gone are forgotten when they are deleted"""
        self.live: set[str] = set()
        self.dirty: set[str] = set()
        self.dirty_sets: set[str] = set()
        self._owners: dict[str, set[str]] = {}
        self._owned: dict[str, tuple[str, ...]] = {}
        self._references: Counter[str] = Counter()
        self._uses: Counter[str] = Counter()

    def put(self, owner: str, chains: Iterable[Chain]) -> list[str]:
        """Replaces all chains of `owner`; returns the names whose content changed. A chain that several owners put (a
        group) stays while one of them has it."""
        new = {chain.name: chain for chain in chains}
        changed = []
        for name, chain in new.items():
            self._owners.setdefault(name, set()).add(owner)
            if self.chains.get(name) != chain:
                self._replace(name, chain)
                changed.append(name)
        for name in self._owned.get(owner, ()):
            if name not in new:
                owners = self._owners[name]
                owners.discard(owner)
                if not owners:
                    del self._owners[name]
                    self._replace(name, None)
                    changed.append(name)
        if new:
            self._owned[owner] = tuple(new)
        else:
            self._owned.pop(owner, None)
        return changed

    def _replace(self, name: str, chain: Chain | None) -> None:
        old = self.chains.get(name)
        was_live = name in self.live
        if chain is None:
            del self.chains[name]
        else:
            self.chains[name] = chain
            for content in chain.sets:
                self.content[content.name] = content
        stays = chain is not None and (chain.hook is not None or self._references[name] > 0)
        if stays:
            self.live.add(name)
        else:
            self.live.discard(name)
        if was_live or stays:
            self.dirty.add(name)
        # New references first, so that what both versions refer to does not die in between.
        if stays and chain is not None:
            self._attach(chain)
        if was_live and old is not None:
            self._detach(old)

    def refer(self, names: Iterable[str]) -> None:
        """Something outside the graph, a map, leads to these chains."""
        for name in names:
            self._references[name] += 1
            if self._references[name] == 1:
                self._revive(name)

    def unrefer(self, names: Iterable[str]) -> None:
        for name in names:
            self._references[name] -= 1
            if self._references[name] == 0:
                del self._references[name]
                self._retire(name)

    def _revive(self, name: str) -> None:
        self.dirty.add(name)
        chain = self.chains.get(name)
        if chain is not None and name not in self.live:
            self.live.add(name)
            self._attach(chain)

    def _retire(self, name: str) -> None:
        self.dirty.add(name)
        chain = self.chains.get(name)
        if name in self.live and chain is not None and chain.hook is None:
            self.live.discard(name)
            self._detach(chain)

    def _attach(self, chain: Chain) -> None:
        for used in chain.uses:
            self._uses[used] += 1
            if self._uses[used] == 1:
                self.dirty_sets.add(used)
        self.refer(chain.targets)

    def _detach(self, chain: Chain) -> None:
        for used in chain.uses:
            self._uses[used] -= 1
            if self._uses[used] == 0:
                del self._uses[used]
                self.dirty_sets.add(used)
        self.unrefer(chain.targets)

    def is_referred(self, name: str) -> bool:
        return self._references[name] > 0

    def is_used(self, name: str) -> bool:
        return self._uses[name] > 0

    def referred(self) -> Iterable[str]:
        return self._references.keys()

    def used(self) -> Iterable[str]:
        return self._uses.keys()

    def users(self, used: str) -> set[str]:
        """Live chains that use a set. O(chains): for the rare case that a set cannot be programmed."""
        return {name for name in self.live if used in self.chains[name].uses}
