"""What a mutating policy makes of an object: apply configurations merged into it, JSON patches carried out.

In: an object with the schema of its kind, and the plain value of a mutation's expression. Out: a changed copy;
`MutationError` says in one sentence why there is none. Pure.
"""

import copy
from typing import Any

from tortie.apiserver.patches.merge import PatchError, json_patch
from tortie.apiserver.schema import fieldset
from tortie.apiserver.schema import node as n
from tortie.apiserver.schema.node import Node
from tortie.apiserver.schema.prune import TypeMismatch, prune

Object = dict[str, Any]


class MutationError(Exception):
    """The value of the expression cannot change this object."""


def patched(obj: Object, operations: Any, schema: Node, *, custom: bool) -> Object:
    """The object after a JSON patch. custom: values of wrong types are left to the kind's validation."""
    if not isinstance(operations, list):
        raise MutationError("the expression must give a list of JSONPatch")
    try:
        changed = json_patch(copy.deepcopy(obj), operations)
    except (PatchError, RecursionError, AttributeError, TypeError) as error:
        raise MutationError(f"JSON patch cannot be applied: {error}") from None
    if not isinstance(changed, dict) or not isinstance(changed.get("metadata", {}), dict):
        raise MutationError("the JSON patch makes something that is not an object")
    try:
        prune(schema, copy.deepcopy(changed), [], strict_types=not custom)
    except TypeMismatch as mismatch:
        raise MutationError(f"the JSON patch gives a field a wrong value: {mismatch}") from None
    _refuse_renaming(obj, changed)
    return changed


def applied(obj: Object, configuration: Any, schema: Node, *, custom: bool) -> Object:
    """The object with an apply configuration merged in, lists with keys item by item."""
    if not isinstance(configuration, dict):
        raise MutationError("the expression must give an Object")
    wanted = {k: v for k, v in configuration.items() if k not in {"apiVersion", "kind"}}
    _refuse_atomic(schema, wanted, "")
    unknown: list[str] = []
    try:
        prune(schema, copy.deepcopy(wanted), unknown, strict_types=not custom)
    except TypeMismatch as mismatch:
        raise MutationError(f"invalid ApplyConfiguration: {mismatch}") from None
    if unknown:
        raise MutationError(f"invalid ApplyConfiguration: .{unknown[0]}: field not declared in schema")
    merged: Object = copy.deepcopy(fieldset.merge(schema, obj, wanted))
    _refuse_renaming(obj, merged)
    return merged


def _refuse_renaming(before: Object, after: Object) -> None:
    for field in ("name", "namespace"):
        have, wanted = ((o.get("metadata") or {}).get(field) or "" for o in (before, after))
        if have != wanted:
            raise MutationError(f"metadata.{field} may not be changed from {have!r} to {wanted!r}")


def _refuse_atomic(node: Node, value: Any, path: str) -> None:
    """Atomic values are not for merging: what the configuration does not name would be lost. Items of a list with
    keys may be new, so inside them anything may be set."""
    atomic = node.atomic if isinstance(value, dict) else isinstance(value, list) and node.list_type == "atomic"
    if atomic and path:
        raise MutationError(f"invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {path}")
    if isinstance(value, dict):
        for key, sub in value.items():
            _refuse_atomic(node.child(key) or n.FREE, sub, f"{path}.{key}")
    elif isinstance(value, list) and node.list_type == "map":
        for index, item in enumerate(value):
            if fieldset.item_key(node, item) is None:
                keys = ", ".join(node.keys)
                raise MutationError(f"invalid ApplyConfiguration: {path}[{index}] needs its keys ({keys})")
