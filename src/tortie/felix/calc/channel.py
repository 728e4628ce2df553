"""One kind of message on its way to the dataplane: what is wanted, and what was said last (spec/felix.md 1.5).

In: the wanted message of a key, or that none is wanted, as often as the calculation likes. Out, at a flush: only what
differs from what was said before.
"""

from typing import Generic, TypeVar

K = TypeVar("K")
M = TypeVar("M")


class Channel(Generic[K, M]):
    """Coalesces per key; a message equal to the last one is not repeated."""

    def __init__(self) -> None:
        self._sent: dict[K, M] = {}
        self._pending: dict[K, M | None] = {}

    def __len__(self) -> int:
        return len(self._sent)

    def want(self, key: K, message: M | None) -> None:
        """The message that holds for a key from now on; None: nothing of that key."""
        self._pending[key] = message

    def wanted(self, key: K) -> M | None:
        """What holds for a key, sent or not."""
        return self._pending[key] if key in self._pending else self._sent.get(key)

    def drain(self) -> tuple[list[M], list[K]]:
        """The messages that are new or differ, and the keys of those that are gone."""
        updates: list[M] = []
        removes: list[K] = []
        for key, message in self._pending.items():
            sent = self._sent.get(key)
            if message is None:
                if sent is not None:
                    del self._sent[key]
                    removes.append(key)
            elif message != sent:
                self._sent[key] = message
                updates.append(message)
        self._pending.clear()
        return updates, removes
