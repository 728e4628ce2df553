"""Events grow old: what happened more than an hour ago is removed.

In: the store's changes of events, and the clock. Out: removals, a few at a time, called from the server's housekeeping.
"""

from collections import OrderedDict

from tortie.apiserver.records import Collection, Event, Key
from tortie.apiserver.storage import Storage

EVENT_SECONDS = 3600.0
_EVENTS = "/events"
_AT_ONCE = 200


class Expiry:
    """When each event was last written, oldest first."""

    def __init__(self, store: Storage) -> None:
        self.store = store
        self._written: OrderedDict[Key, float] = OrderedDict()
        now = store.clock()
        for record in store.collection(_EVENTS).select(None):
            self._written[record.key] = now  # after a restart events get another hour
        store.on_event.append(self._listen)

    def _listen(self, collection: Collection, event: Event) -> None:
        if collection.name != _EVENTS:
            return
        self._written.pop(event.key, None)
        if event.new is not None:
            self._written[event.key] = event.at

    async def sweep(self) -> int:
        """Removes old events; returns how many."""
        collection = self.store.collection(_EVENTS)
        horizon = self.store.clock() - EVENT_SECONDS
        removed = 0
        while self._written and removed < _AT_ONCE:
            key, at = next(iter(self._written.items()))
            if at > horizon:
                break
            async with self.store.lock(collection, key):
                if collection.get(key) is None:
                    self._written.pop(key, None)
                    continue
                await self.store.remove(collection, key)
            removed += 1
        return removed
