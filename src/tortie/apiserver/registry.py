"""Every resource served now, by group, version and plural.

In: built-in kinds at start, custom kinds when CustomResourceDefinitions come and go. Out: lookups for requests, and
ordered groups for discovery and OpenAPI; `generation` changes with each change so that they can be cached.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tortie.apiserver.kinds import Kind

# Order of groups in discovery; what is not named comes after, by name. Ties of short names resolve in this order.
_PRIORITY = {
    "": 18000,
    "apiregistration.k8s.io": 18000,
    "events.k8s.io": 17750,
    "authentication.k8s.io": 17700,
    "authorization.k8s.io": 17600,
    "autoscaling": 17500,
    "batch": 17400,
    "certificates.k8s.io": 17300,
    "networking.k8s.io": 17200,
    "policy": 17100,
    "rbac.authorization.k8s.io": 17000,
    "storage.k8s.io": 16800,
    "admissionregistration.k8s.io": 16700,
    "apiextensions.k8s.io": 16700,
    "scheduling.k8s.io": 16600,
    "coordination.k8s.io": 16500,
    "node.k8s.io": 16300,
    "discovery.k8s.io": 16200,
    "apps": 17800,
    "projectcalico.org": 1500,
}


def group_priority(group: str) -> int:
    """The place of a group in discovery: the highest comes first."""
    return _PRIORITY.get(group, 1000)


@dataclass(slots=True)
class GroupVersion:
    group: str
    version: str
    priority: int = 0
    kinds: dict[str, Kind] = field(default_factory=dict)


class Registry:
    """The lookup tables."""

    def __init__(self) -> None:
        self.versions: dict[tuple[str, str], GroupVersion] = {}
        self.generation = 0
        self.on_change: list[Callable[[], None]] = []

    def _changed(self) -> None:
        self.generation += 1
        for listener in self.on_change:
            listener()

    def add(self, kind: Kind, *, version_priority: int = 0) -> None:
        """Serves a resource; a version with a higher priority comes first in its group."""
        place = (kind.group, kind.version)
        gv = self.versions.get(place)
        if gv is None:
            gv = self.versions[place] = GroupVersion(kind.group, kind.version)
        gv.priority = max(gv.priority, version_priority)
        gv.kinds[kind.plural] = kind
        self._changed()

    def remove(self, group: str, version: str, plural: str) -> None:
        gv = self.versions.get((group, version))
        if gv is None:
            return
        gv.kinds.pop(plural, None)
        if not gv.kinds:
            del self.versions[(group, version)]
        self._changed()

    def find(self, group: str, version: str, plural: str) -> Kind | None:
        gv = self.versions.get((group, version))
        return gv.kinds.get(plural) if gv else None

    def has_version(self, group: str, version: str) -> bool:
        return (group, version) in self.versions

    def kinds(self) -> Iterable[Kind]:
        for gv in self.versions.values():
            yield from gv.kinds.values()

    def by_kind(self, group: str, version: str, kind: str) -> Kind | None:
        gv = self.versions.get((group, version))
        if gv is None:
            return None
        for candidate in gv.kinds.values():
            if candidate.kind == kind:
                return candidate
        return None

    def groups(self) -> list[tuple[str, list[GroupVersion]]]:
        """Groups in discovery order, each with its versions, the preferred first."""
        found: dict[str, list[GroupVersion]] = {}
        for gv in self.versions.values():
            found.setdefault(gv.group, []).append(gv)
        for versions in found.values():
            versions.sort(key=lambda gv: (-gv.priority, gv.version))
        return sorted(found.items(), key=lambda item: (-group_priority(item[0]), item[0]))

    def storage_kinds(self) -> list[Kind]:
        """One kind for each stored collection: the preferred version's."""
        seen: dict[str, Kind] = {}
        for _, versions in self.groups():
            for gv in versions:
                for kind in gv.kinds.values():
                    if kind.stored:
                        seen.setdefault(kind.collection, kind)
        return list(seen.values())
