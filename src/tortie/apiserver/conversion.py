"""Objects of custom kinds in another version than the one they are stored in.

In: kinds and stored objects. Out: the objects in the kind's version, and the other way round for storing. By strategy
None only the apiVersion changes, by strategy Webhook the kind's `conversion` asks (`conversion_webhook`).
"""

import copy
from collections.abc import Sequence
from typing import Any

from tortie.apiserver.kinds import Kind
from tortie.apiserver.records import Record

Object = dict[str, Any]


def local(kind: Kind, obj: Object) -> Object:
    """A stored object in the kind's version, as far as this server can say by itself."""
    if kind.convert_out is not None:
        return kind.convert_out(obj)
    if obj.get("apiVersion") != kind.api_version:
        obj["apiVersion"] = kind.api_version
    return obj


async def shown(kind: Kind, obj: Object) -> Object:
    """A stored object in the kind's version. Raises StatusError."""
    if kind.conversion is not None and obj.get("apiVersion") != kind.api_version:
        (obj,) = await kind.conversion.convert([obj], kind.api_version)
    return local(kind, obj)


async def stored(kind: Kind, obj: Object) -> Object:
    """An object of the kind's version as it is stored; a copy, unless it is the same. Raises StatusError."""
    if kind.conversion is not None and kind.conversion.storage != kind.api_version:
        (tree,) = await kind.conversion.convert([copy.deepcopy(obj)], kind.conversion.storage)
        return tree
    return kind.convert_in(copy.deepcopy(obj)) if kind.convert_in is not None else obj


async def between(obj: Object | None, kind: Kind, other: Kind) -> Object | None:
    """An object of `kind` as the other version of the same resource shows it. Raises StatusError."""
    if obj is None or kind is other:
        return obj
    if kind.conversion is not None:
        (tree,) = await kind.conversion.convert([copy.deepcopy(obj)], other.api_version)
    else:
        tree = kind.convert_in(dict(obj)) if kind.convert_in else {**obj, "apiVersion": kind.api_version}
    if other.convert_out is not None:
        tree = other.convert_out(tree)
    return {**tree, "apiVersion": other.api_version, "kind": other.kind}


async def records(kind: Kind, found: Sequence[Record]) -> Sequence[Record]:
    """Stored records in the kind's version, as far as a webhook is needed for it. Raises StatusError."""
    converter = kind.conversion
    if converter is None:
        return found
    return await converter.records(found, kind.api_version)
