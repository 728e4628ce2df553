"""Discovery documents: which groups, versions and resources are served.

In: the registry. Out: the legacy trees (/api, /apis, /apis/G/V) and the aggregated one (apidiscovery.k8s.io), cached
by the registry's generation.
"""

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec

from tortie.apiserver.kinds import Kind, Subresource
from tortie.apiserver.registry import GroupVersion, Registry

if TYPE_CHECKING:
    from tortie.apiserver.proxying.aggregator import Aggregator

Object = dict[str, Any]


def _hash(*parts: str) -> str:
    import base64

    return base64.b64encode(hashlib.sha256("/".join(parts).encode()).digest()[:8]).decode()


def api_versions(addresses: list[str]) -> Object:
    """The body of /api."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": a} for a in addresses],
    }


def _group(name: str, versions: list[GroupVersion]) -> Object:
    entries = [{"groupVersion": f"{name}/{gv.version}", "version": gv.version} for gv in versions]
    return {"name": name, "versions": entries, "preferredVersion": entries[0]}


def group_list(registry: Registry) -> Object:
    """The body of /apis."""
    groups = [_group(name, versions) for name, versions in registry.groups() if name]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def group(registry: Registry, name: str) -> Object | None:
    """The body of /apis/G."""
    for found, versions in registry.groups():
        if found == name and name:
            return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, versions)}
    return None


def _entry(kind: Kind) -> Object:
    entry: Object = {
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        entry["shortNames"] = list(kind.short_names)
    if kind.categories:
        entry["categories"] = list(kind.categories)
    if kind.stored:
        entry["storageVersionHash"] = _hash(kind.group, kind.version, kind.kind)
    return entry


def _subentry(kind: Kind, sub: Subresource) -> Object:
    entry: Object = {
        "name": f"{kind.plural}/{sub.name}",
        "singularName": "",
        "namespaced": kind.namespaced,
        "kind": sub.kind,
        "verbs": list(sub.verbs),
    }
    if sub.version:
        entry["group"] = sub.group
        entry["version"] = sub.version
    return entry


def resource_list(gv: GroupVersion) -> Object:
    """The body of /api/v1 or /apis/G/V."""
    resources: list[Object] = []
    for plural in sorted(gv.kinds):
        kind = gv.kinds[plural]
        resources.append(_entry(kind))
        resources += [_subentry(kind, sub) for sub in sorted(kind.subresources.values(), key=lambda s: s.name)]
    name = f"{gv.group}/{gv.version}" if gv.group else gv.version
    tree: Object = {"kind": "APIResourceList", "groupVersion": name, "resources": resources}
    if gv.group:
        tree["apiVersion"] = "v1"
    return tree


def _aggregated_resource(kind: Kind) -> Object:
    response = {"group": kind.group, "version": kind.version, "kind": kind.kind}
    entry: Object = {
        "resource": kind.plural,
        "responseKind": response,
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        entry["shortNames"] = list(kind.short_names)
    if kind.categories:
        entry["categories"] = list(kind.categories)
    if kind.subresources:
        entry["subresources"] = [
            {
                "subresource": sub.name,
                "responseKind": {
                    "group": sub.group if sub.version else kind.group,
                    "version": sub.version or kind.version,
                    "kind": sub.kind,
                },
                "verbs": list(sub.verbs),
            }
            for sub in sorted(kind.subresources.values(), key=lambda s: s.name)
        ]
    return entry


def aggregated(registry: Registry, *, legacy: bool, version: str) -> Object:
    """The APIGroupDiscoveryList for /api (legacy) or /apis."""
    items = []
    for name, versions in registry.groups():
        if bool(name) is legacy:
            continue
        items.append(
            {
                "metadata": {"name": name, "creationTimestamp": None} if name else {"creationTimestamp": None},
                "versions": [
                    {
                        "version": gv.version,
                        "resources": [_aggregated_resource(gv.kinds[p]) for p in sorted(gv.kinds)],
                        "freshness": "Current",
                    }
                    for gv in versions
                ],
            }
        )
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": items,
    }


class Discovery:
    """Encoded aggregated documents, kept until the registry or what other servers serve changes."""

    def __init__(self, registry: Registry, aggregator: "Aggregator | None" = None) -> None:
        self.registry = registry
        self.aggregator = aggregator
        self._generation = (-1, -1)
        self._kept: dict[tuple[bool, str], tuple[bytes, str]] = {}

    def document(self, *, legacy: bool, version: str) -> tuple[bytes, str]:
        """The encoded document and its ETag."""
        generation = (self.registry.generation, self.aggregator.generation if self.aggregator else 0)
        if self._generation != generation:
            self._kept.clear()
            self._generation = generation
        place = (legacy, version)
        found = self._kept.get(place)
        if found is None:
            tree = aggregated(self.registry, legacy=legacy, version=version)
            if self.aggregator is not None and not legacy:
                tree = self.aggregator.discovery(tree)
            body = msgspec.json.encode(tree)
            found = self._kept[place] = (body, hashlib.sha512(body).hexdigest().upper())
        return found
