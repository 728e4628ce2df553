"""The arithmetic of a Deployment's move from old pods to new ones. Pure.

For the Deployment controller. In: numbers of pods. Out: numbers of pods. At no time more than `wanted + surge` pods are
asked for, and none is taken away that would leave fewer than `wanted - unavailable` available ones.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]

# Letters and digits that cannot spell words.
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


@dataclass(frozen=True, slots=True)
class Size:
    """How many pods a ReplicaSet asks for, and how many of those that it has are available."""

    replicas: int
    available: int


@dataclass(frozen=True, slots=True)
class Limits:
    """surge: how many pods may exist beyond the wanted number; unavailable: how many of it may be missing."""

    surge: int
    unavailable: int


def limits(deployment: Object) -> Limits:
    """Of a rolling update; not both are 0, or it could not move."""
    replicas = deployment["spec"].get("replicas", 1)
    rolling = deployment["spec"].get("strategy", {}).get("rollingUpdate") or {}
    surge = share(rolling.get("maxSurge", "25%"), replicas, up=True)
    unavailable = share(rolling.get("maxUnavailable", "25%"), replicas, up=False)
    return Limits(surge, unavailable if surge or unavailable else 1)


def share(value: int | str, total: int, *, up: bool) -> int:
    """A number, or a percentage of the total rounded up or down."""
    if isinstance(value, int):
        return value
    part = total * int(value.rstrip("%")) / 100
    return math.ceil(part) if up else math.floor(part)


def roll(wanted: int, bounds: Limits, new: Size, old: Sequence[Size]) -> tuple[int, list[int]]:
    """The next sizes: of the new ReplicaSet, and of the old ones (oldest first) in their order."""
    sizes = [item.replicas for item in old]
    grown = min(new.replicas, wanted)
    if new.replicas < wanted:
        room = max(0, wanted + bounds.surge - new.replicas - sum(sizes))
        grown = min(wanted, new.replicas + room)
    least = wanted - bounds.unavailable
    # Pods of old versions that do not work go first: removing them costs nothing.
    spare = grown + sum(sizes) - least - max(0, grown - new.available)
    for index, item in enumerate(old):
        broken = min(max(0, spare), max(0, item.replicas - item.available))
        sizes[index] -= broken
        spare -= broken
    available = [min(item.available, size) for item, size in zip(old, sizes, strict=True)]
    spare = min(new.available, grown) + sum(available) - least
    for index, size in enumerate(sizes):
        count = min(max(0, spare), size)
        sizes[index] -= count
        spare -= count
    return grown, sizes


def template_hash(template: Object) -> str:
    """Ten characters that depend on the whole pod template."""
    text = json.dumps(template, sort_keys=True, separators=(",", ":")).encode()
    number = int.from_bytes(hashlib.sha256(text).digest()[:8])
    letters = []
    for _ in range(10):
        number, rest = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[rest])
    return "".join(letters)
