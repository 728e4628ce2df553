"""What the REST machinery asks of a storage: the seam between requests and wherever objects are kept.

In: reads and changes from the request handlers. Out: records, and events for watches. `store.Store` keeps objects in
SQLite for the embedded server; `volatile.Volatile` keeps them nowhere else; the aggregated server puts another API
server's objects behind the same machinery. All derive from `memory.Memory`, and all pass the contract tests
(tests/apiserver/storage_contract.py): whoever adds a storage adds a harness for it there.

How it fits together. Reads are answered from memory without waiting: `collection(name)` is a plain in-memory
collection of records in key order. `fresh` is called before a read that must not be stale and may wait: a get, a list
or a watch without resourceVersion, and the read of a read-modify-write. Every change goes through `put` or `remove`
while the caller holds the `lock` of the key; it returns once the change is durable and readers see it. Every change
that readers can see (a foreign one too) was shown as one event, in order of revisions.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from tortie.apiserver.records import Collection, Event, IndexFields, Key, Object, Record, Watcher

Listener = Callable[[Collection, Event], None]


class Storage(Protocol):
    """One store of objects with one sequence of revisions."""

    on_event: list[Listener]
    """Called for each change, in order, after it became visible; must be quick and must not raise."""

    @property
    def clock(self) -> Callable[[], float]:
        """Seconds that only grow, as in `Event.at`."""

    @property
    def collections(self) -> Mapping[str, Collection]:
        """What has been asked for so far, by `group/plural`."""

    @property
    def revision(self) -> int:
        """The newest revision that any reader may see."""

    def newest(self, collection: Collection) -> int:
        """The newest revision that this collection reflects: what a list of it is stamped with, and where a watch
        may start so that no change is missed or repeated."""

    def oldest(self, collection: Collection) -> int:
        """The oldest revision from which a watch of this collection can go on (see `watch`); below it is 410."""

    def collection(self, name: str) -> Collection:
        """The collection of that name (`group/plural`, group "" for core), made on first use."""

    def drop_collection(self, name: str) -> None:
        """The resource is no longer served: its watches end."""

    def reindex(self, collection: Collection, index_fields: IndexFields) -> None:
        """Sets how the selectable fields are found, also for the records that are there already."""

    def lock(self, collection: Collection, key: Key) -> AbstractAsyncContextManager[None]:
        """Serialises read-modify-write of one object among the requests of this server."""

    async def fresh(self, collection: Collection, key: Key | None = None) -> None:
        """Returns when the collection (or only that key) is at least as new as the moment of the call.

        What any client was told before the call, by this server or another one of the same backend, is then visible.
        May raise StatusError 503 or 504 when the backend does not answer.
        """

    async def put(self, collection: Collection, key: Key, obj: Object) -> Record:
        """Stores a new state; returns the record once it is durable and visible.

        `obj["metadata"]["resourceVersion"]` names the state that is replaced: absent or empty means that the object
        must not exist yet. The new one is set in `obj`, which the storage may keep nothing of. A storage may let the
        record differ from what was given (a backend has the last word): then it changes `obj` to what was stored.
        Raises StatusError: 404 when the named state is gone, 409 AlreadyExists or Conflict, 507 when there is no space,
        500, 503 or 504 otherwise. Then nothing was stored and `obj` is as it was; after a 504 nobody knows.
        A caller that is cancelled does not know either, but the next holder of the key's lock finds it decided.
        """

    async def remove(self, collection: Collection, key: Key, expected: int = 0) -> int:
        """Removes the object; returns the revision of the deletion once it is durable and visible.

        `expected`: only the state of that revision; 0 is any. Raises StatusError as `put`, and 404 NotFound.
        """

    async def reach(self, collection: Collection, revision: int, seconds: float) -> bool:
        """Waits until `newest` is at least `revision`; False when the time ran out."""

    def watch(self, collection: Collection, revision: int) -> tuple[Watcher, list[Event]]:
        """A registered watcher, and the past events after `revision`, which is at least `oldest`.

        The past events and what is pushed into the watcher from now on make one sequence without gap or repeat.
        """

    def unwatch(self, collection: Collection, watcher: Watcher) -> None:
        """Ends a watcher; harmless when it ended already."""

    def statistics(self) -> dict[str, int]:
        """Counts for metrics and diagnostics."""

    async def close(self) -> None:
        """Finishes what is under way and lets the backend go; changes after that raise StatusError 503."""
