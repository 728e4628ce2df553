"""The picture of the dataplane that one consumer has been given, and the difference to what it should be given next.

In: objects of the API, added, changed or gone, per source. Out: the smallest batch of `Update`s for the consumer. Pure:
no clock, no socket; the loop around it is `tortie.syncer.syncer`.

Rules (spec/bgp-typha.md C.2, C.5): an object that does not convert counts as absent, never as its last good state; an
object that moves to another key leaves the old one first; a value equal to the one last sent is not sent again; of two
objects with the same key the lowest name wins, and when it goes the next one takes its place.
"""

from typing import Any

from tortie.kube.objects import ObjectKey
from tortie.model.dataplane import Key, Update, Value

Origin = tuple[str, ObjectKey]
"""(plural and group of the resource, namespace and name)."""


class Merge:
    """Event-loop local; O(1) per change apart from keys that several objects claim."""

    def __init__(self) -> None:
        self._key_of: dict[Origin, Key] = {}
        self._single: dict[Key, tuple[Origin, Value]] = {}
        self._contested: dict[Key, dict[Origin, Value]] = {}
        self._sent: dict[Key, Value] = {}
        self._dirty: dict[Key, None] = {}
        self.swallowed = 0

    def put(self, origin: Origin, update: Update | None) -> bool:
        """An object is now this update; None or a value of None: it has no place. True if something is to be sent."""
        value = update.value if update is not None else None
        key = update.key if update is not None and value is not None else None
        before = self._key_of.get(origin)
        if before is not None and before != key:
            self._withdraw(before, origin)
            del self._key_of[origin]
        if key is not None and value is not None:
            self._key_of[origin] = key
            self._claim(key, origin, value)
        return bool(self._dirty)

    def take(self) -> list[Update]:
        """The updates that bring the consumer up to date; empty when it is. Deletions come first."""
        gone: list[Update] = []
        new: list[Update] = []
        for key in self._dirty:
            value = self._current(key)
            before = self._sent.get(key)
            if value is None:
                if before is not None:
                    del self._sent[key]
                    gone.append(Update(key, None))
            elif before is None or before != value:
                self._sent[key] = value
                new.append(Update(key, value))
            else:
                self.swallowed += 1
        self._dirty.clear()
        return gone + new

    def __len__(self) -> int:
        return len(self._sent)

    def _claim(self, key: Key, origin: Origin, value: Value) -> None:
        contested = self._contested.get(key)
        if contested is not None:
            contested[origin] = value
        else:
            holder = self._single.get(key)
            if holder is not None and holder[0] != origin:
                self._contested[key] = {holder[0]: holder[1], origin: value}
                del self._single[key]
            else:
                if holder is not None and holder[1] == value:
                    self.swallowed += 1
                    return
                self._single[key] = (origin, value)
        self._dirty[key] = None

    def _withdraw(self, key: Key, origin: Origin) -> None:
        contested = self._contested.get(key)
        if contested is not None:
            contested.pop(origin, None)
            if len(contested) == 1:
                self._single[key] = next(iter(contested.items()))
                del self._contested[key]
        else:
            self._single.pop(key, None)
        self._dirty[key] = None

    def _current(self, key: Key) -> Value | None:
        contested: dict[Origin, Any] | None = self._contested.get(key)
        if contested is not None:
            winner: Value = contested[min(contested)]
            return winner
        single = self._single.get(key)
        return single[1] if single is not None else None
