"""The node's interfaces as last heard: who exists, who is up, who has which address.

A full listing and the kernel's events come in from the driver; names of interfaces that changed go out, and lookups
serve every manager. An address that disappears keeps counting for 100 ms, since services replace addresses by
removing them first (spec/felix.md 3.10, 7.3). State is keyed by index, because a new interface may carry an old
name.
"""

from collections.abc import Iterable

from tortie.net.link import Address, Link

ADDRESS_REMOVAL_DELAY = 0.1


class Interfaces:
    def __init__(self, exclude: tuple[str, ...] = ()) -> None:
        self._exclude = frozenset(exclude)
        self._links: dict[int, Link] = {}
        self._by_name: dict[str, Link] = {}
        self._addresses: dict[int, set[str]] = {}
        self._leaving: dict[tuple[int, str], float] = {}
        self.listed = False

    def load(self, links: Iterable[Link], addresses: Iterable[Address]) -> set[str]:
        """Takes a full listing; returns the names of interfaces that differ from what was known."""
        before = {name: (link, frozenset(self.addresses(name))) for name, link in self._by_name.items()}
        self._links = {link.index: link for link in links if link.name not in self._exclude}
        self._by_name = {link.name: link for link in self._links.values()}
        self._addresses = {}
        self._leaving = {}
        for address in addresses:
            self._addresses.setdefault(address.index, set()).add(address.ip)
        self.listed = True
        after = {name: (link, frozenset(self.addresses(name))) for name, link in self._by_name.items()}
        return {name for name in before.keys() | after.keys() if not _same(before.get(name), after.get(name))}

    def link_changed(self, link: Link, *, present: bool) -> set[str]:
        """Takes one event; returns the names it concerns (both, if an interface was renamed)."""
        if link.name in self._exclude:
            return set()
        old = self._links.get(link.index)
        if not present:
            if old is None:
                return set()
            del self._links[link.index]
            self._addresses.pop(link.index, None)
            if self._by_name.get(old.name) is old:
                del self._by_name[old.name]
            return {old.name}
        if old is not None and old.name != link.name and self._by_name.get(old.name) is old:
            del self._by_name[old.name]
        self._links[link.index] = link
        self._by_name[link.name] = link
        if old is not None and _same((old, frozenset()), (link, frozenset())):
            return set()
        return {link.name} | ({old.name} if old is not None else set())

    def address_changed(self, address: Address, *, present: bool, now: float) -> set[str]:
        key = address.index, address.ip
        known = self._addresses.setdefault(address.index, set())
        if not present:
            if address.ip in known:
                self._leaving[key] = now + ADDRESS_REMOVAL_DELAY
            return set()
        self._leaving.pop(key, None)
        if address.ip in known:
            return set()
        known.add(address.ip)
        link = self._links.get(address.index)
        return {link.name} if link else set()

    def expire(self, now: float) -> set[str]:
        """Forgets addresses whose removal has lasted; returns the names of their interfaces."""
        result = set()
        for key in [key for key, deadline in self._leaving.items() if deadline <= now]:
            del self._leaving[key]
            index, ip = key
            self._addresses.get(index, set()).discard(ip)
            if index in self._links:
                result.add(self._links[index].name)
        return result

    @property
    def next_expiry(self) -> float | None:
        return min(self._leaving.values(), default=None)

    def get(self, name: str) -> Link | None:
        return self._by_name.get(name)

    def by_index(self, index: int) -> Link | None:
        return self._links.get(index)

    def names(self) -> list[str]:
        return sorted(self._by_name)

    def addresses(self, name: str) -> set[str]:
        link = self._by_name.get(name)
        return self._addresses.get(link.index, set()) if link else set()

    def with_address(self, ip: str) -> Link | None:
        for index, known in self._addresses.items():
            if ip in known and index in self._links:
                return self._links[index]
        return None

    def statistics(self) -> dict[str, int]:
        return {"interfaces": len(self._links), "addresses": sum(map(len, self._addresses.values()))}


def _same(old: tuple[Link, frozenset[str]] | None, new: tuple[Link, frozenset[str]] | None) -> bool:
    """Equal in what the dataplane cares about: statistics and the like change all the time."""
    if old is None or new is None:
        return old is new
    a, b = old[0], new[0]
    return (a.index, a.name, a.up, a.running, a.mtu, a.mac, a.master) == (
        b.index,
        b.name,
        b.up,
        b.running,
        b.mtu,
        b.mac,
        b.master,
    ) and old[1] == new[1]
