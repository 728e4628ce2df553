"""Strategic merge patch: a merge patch that knows which lists are merged by a key.

In: a document, a patch, and the kind's schema node. Out: the patched document. Understands the directives $patch
(replace, delete, merge), $retainKeys, $deleteFromPrimitiveList/F and $setElementOrder/F. Pure.
"""

from typing import Any

from tortie.apiserver.patches.merge import PatchError
from tortie.apiserver.schema import node as n
from tortie.apiserver.schema.node import FREE, Node

_DELETE = "$deleteFromPrimitiveList/"
_ORDER = "$setElementOrder/"
_RETAIN = "$retainKeys"
_PATCH = "$patch"


def strategic_merge(document: Any, patch: Any, node: Node) -> Any:
    """The document with the patch merged in by the schema's merge keys."""
    if not isinstance(patch, dict):
        raise PatchError("a strategic merge patch must be an object", 400)
    return _merge_object(document if isinstance(document, dict) else {}, patch, node)


def _merge_object(document: dict[str, Any], patch: dict[str, Any], node: Node) -> dict[str, Any]:
    directive = patch.get(_PATCH)
    if directive == "replace":
        return {k: v for k, v in patch.items() if k != _PATCH}
    if directive == "delete":
        return {}
    if directive not in {None, "merge"}:
        raise PatchError(f"unknown patch directive {directive!r}; allowed: replace, delete, merge", 400)
    result = dict(document)
    retain = patch.get(_RETAIN)
    if retain is not None:
        result = {k: v for k, v in result.items() if k in retain}
    for key, value in patch.items():
        if key in {_PATCH, _RETAIN}:
            continue
        if key.startswith(_DELETE):
            name = key.removeprefix(_DELETE)
            if isinstance(result.get(name), list):
                result[name] = [v for v in result[name] if v not in value]
            continue
        if key.startswith(_ORDER):
            continue
        below = node.child(key) or FREE
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            merged = _merge_object(result[key] if isinstance(result.get(key), dict) else {}, value, below)
            if value.get(_PATCH) == "delete":
                result.pop(key, None)
            else:
                result[key] = merged
        elif isinstance(value, list):
            result[key] = _merge_list(result.get(key), value, below, patch.get(_ORDER + key))
        else:
            result[key] = value
    for key, value in patch.items():
        name = key.removeprefix(_ORDER)
        if key.startswith(_ORDER) and name not in patch and isinstance(result.get(name), list):
            result[name] = _reorder(result[name], value, (node.child(name) or FREE).merge_key)
    return result


def _merge_list(old: Any, patch: list[Any], node: Node, order: Any) -> list[Any]:
    current = old if isinstance(old, list) else []
    if any(isinstance(v, dict) and v.get(_PATCH) == "replace" and len(v) == 1 for v in patch):
        return [v for v in patch if not (isinstance(v, dict) and v.get(_PATCH) == "replace" and len(v) == 1)]
    if not node.merge:
        return [_clean(v) for v in patch]
    if not node.merge_key:
        merged = [*current, *[v for v in patch if v not in current]]
        return _reorder(merged, order, "") if order else merged
    key = node.merge_key
    item = node.items or FREE
    result = list(current)
    for entry in patch:
        if not isinstance(entry, dict) or key not in entry:
            if isinstance(entry, dict) and entry.get(_PATCH) == "replace":
                continue
            raise PatchError(f"map: {entry!r} does not contain declared merge key: {key}", 422)
        at = next((i for i, have in enumerate(result) if isinstance(have, dict) and have.get(key) == entry[key]), None)
        if entry.get(_PATCH) == "delete":
            result = [have for have in result if not (isinstance(have, dict) and have.get(key) == entry[key])]
        elif at is None:
            result.append(_merge_object({}, entry, item) if item.type == n.OBJECT else entry)
        else:
            result[at] = _merge_object(result[at], entry, item)
    return _reorder(result, order, key) if order else result


def _clean(value: Any) -> Any:
    """A value without directives, for lists that are replaced whole."""
    if isinstance(value, dict):
        return {
            k: _clean(v) for k, v in value.items() if k not in {_PATCH, _RETAIN} and not k.startswith((_ORDER, _DELETE))
        }
    if isinstance(value, list):
        return [_clean(v) for v in value]
    return value


def _reorder(values: list[Any], order: list[Any], key: str) -> list[Any]:
    """Puts what `order` names into that order; what it does not name keeps its place behind its neighbour."""

    def identity(value: Any) -> Any:
        return value.get(key) if key and isinstance(value, dict) else value

    wanted = [identity(o) for o in order]
    ranked = [v for v in values if identity(v) in wanted]
    ranked.sort(key=lambda v: wanted.index(identity(v)))
    result: list[Any] = []
    named = iter(ranked)
    pending = list(values)
    for value in pending:
        if identity(value) in wanted:
            result.append(next(named))
        else:
            result.append(value)
    return result
