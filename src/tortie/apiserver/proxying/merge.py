"""Discovery and OpenAPI of this server with those of aggregated ones put in.

In: this server's trees and the `Remote`s. Out: the merged trees. Pure. In a group that is both here and there, the
versions of the aggregated servers come first.
"""

import copy
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tortie.apiserver.proxying.services import Target
from tortie.apiserver.registry import group_priority

if TYPE_CHECKING:
    from tortie.apiserver.proxying.remote import Remote

Object = dict[str, Any]
_V2 = "#/definitions/"


def _by_group(targets: Iterable[Target]) -> dict[str, list[Target]]:
    found: dict[str, list[Target]] = {}
    for target in targets:
        found.setdefault(target.group, []).append(target)
    for group in found.values():
        group.sort(key=lambda t: (-t.version_priority, t.version))
    return found


def _place(name: str, targets: list[Target]) -> tuple[int, str]:
    priority = max((t.group_priority for t in targets), default=0)
    return (-(priority or group_priority(name)), name)


def group_list(tree: Object, targets: Iterable[Target]) -> Object:
    """The APIGroupList with the groups of the targets."""
    ours = {g["name"]: g for g in tree["groups"]}
    theirs = _by_group(targets)
    for name, found in theirs.items():
        ours[name] = group(ours.get(name), name, found)
    tree["groups"] = sorted(ours.values(), key=lambda g: _place(g["name"], theirs.get(g["name"], [])))
    return tree


def group(ours: Object | None, name: str, targets: list[Target]) -> Object:
    """One APIGroup with the versions of the targets."""
    entries = [{"groupVersion": f"{name}/{t.version}", "version": t.version} for t in targets]
    taken = {t.version for t in targets}
    entries += [v for v in (ours or {}).get("versions", ()) if v["version"] not in taken]
    return {**(ours or {}), "name": name, "versions": entries, "preferredVersion": entries[0]}


def aggregated(tree: Object, remotes: "Iterable[Remote]") -> Object:
    """The APIGroupDiscoveryList with what the targets serve; Stale marks what does not answer now."""
    ours = {(item.get("metadata") or {}).get("name", ""): item for item in tree["items"]}
    remotes = sorted(remotes, key=lambda r: (-r.target.version_priority, r.target.version))
    theirs = _by_group(r.target for r in remotes)
    for remote in reversed(remotes):
        name = remote.target.group
        item = ours.setdefault(name, {"metadata": {"name": name, "creationTimestamp": None}, "versions": []})
        entry: Object = {"version": remote.target.version}
        if remote.resources:
            entry["resources"] = remote.resources
        entry["freshness"] = "Current" if remote.available and remote.discovered else "Stale"
        item["versions"] = [entry, *(v for v in item["versions"] if v["version"] != remote.target.version)]
    tree["items"] = [ours[n] for n in sorted(ours, key=lambda n: _place(n, theirs.get(n, [])))]
    return tree


def openapi_v2(tree: Object, remotes: "Iterable[Remote]") -> Object:
    """The OpenAPI v2 document with the paths of the targets and the definitions that those need."""
    paths, definitions = dict(tree["paths"]), dict(tree["definitions"])
    for remote in remotes:
        if not remote.v2:
            continue
        mine = {p: v for p, v in (remote.v2.get("paths") or {}).items() if _under(p, remote.target.path)}
        theirs = remote.v2.get("definitions") or {}
        needed = _closure(mine, theirs)
        needed |= {n for n, d in theirs.items() if _is_of(d, remote.target)}
        for name in tuple(needed):
            needed |= _closure(theirs[name], theirs)
        renamed = {n: _free(n, definitions) for n in needed if n in definitions and definitions[n] != theirs[n]}
        renamed = {old: new for old, new in renamed.items() if old != new}
        if renamed:
            mine = _rewrite(copy.deepcopy(mine), renamed)
        for name in needed:
            value = _rewrite(copy.deepcopy(theirs[name]), renamed) if renamed else theirs[name]
            definitions[renamed.get(name, name)] = value
        paths.update(mine)
    return {**tree, "paths": dict(sorted(paths.items())), "definitions": dict(sorted(definitions.items()))}


def _under(path: str, prefix: str) -> bool:
    return path.rstrip("/") == prefix or path.startswith(prefix + "/")


def _is_of(definition: Any, target: Target) -> bool:
    marks = definition.get("x-kubernetes-group-version-kind") or () if isinstance(definition, dict) else ()
    return any(m.get("group") == target.group and m.get("version") == target.version for m in marks)


def _references(tree: Any) -> Iterable[str]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            if key == "$ref" and isinstance(value, str) and value.startswith(_V2):
                yield value[len(_V2) :]
            else:
                yield from _references(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _references(value)


def _closure(tree: Any, definitions: Object) -> set[str]:
    """The definitions that a tree refers to, and those that they refer to."""
    found: set[str] = set()
    waiting = set(_references(tree))
    while waiting:
        name = waiting.pop()
        if name in found or name not in definitions:
            continue
        found.add(name)
        waiting |= set(_references(definitions[name]))
    return found


def _free(name: str, taken: Object) -> str:
    number = 2
    while f"{name}_v{number}" in taken:
        number += 1
    return f"{name}_v{number}"


def _rewrite(tree: Any, renamed: dict[str, str]) -> Any:
    if isinstance(tree, dict):
        for key, value in tree.items():
            if key == "$ref" and isinstance(value, str) and value.startswith(_V2):
                name = value[len(_V2) :]
                tree[key] = _V2 + renamed.get(name, name)
            else:
                _rewrite(value, renamed)
    elif isinstance(tree, list):
        for value in tree:
            _rewrite(value, renamed)
    return tree
