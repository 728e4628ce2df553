"""One resource of the API, mirrored in memory: list, then watch, for ever.

In: a client and a resource. Out: the current objects, and one callback per change for the owner of the cache (syncer,
controllers, agents). After any failure the mirror catches up: nothing is missed, and no change is reported twice.

How: the state is a mapping from (namespace, name) to object. A watch resumes from the last resource version seen, so a
broken connection costs nothing; when the server no longer knows that version (410), the resource is listed anew and the
difference to the state is reported, deletions included. An event that carries the version already held is swallowed.
An object that does not decode is reported as absent until a readable version arrives: wrong data is never kept.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from typing import Any, Generic, Literal, TypeVar

from tortie.kube import requests
from tortie.kube.client import Client
from tortie.kube.errors import ApiError, Gone, Invalid, NotFound, from_status, too_large_resource_version
from tortie.kube.objects import ObjectKey, Undecodable, WatchEvent, key_of, resource_version, uid_of
from tortie.model.resource import Resource
from tortie.service.log import Throttle, get_logger
from tortie.service.run import garbage_paused

T = TypeVar("T")

EventType = Literal["added", "modified", "deleted"]
CacheStatus = Literal["waiting", "listing", "synced"]

_LIST_GAP = 0.5
"""Seconds at least from one list to the next."""
_SETTLED = 2.0
"""A watch that lived for so many seconds was sound; its end says nothing about the server."""
_ABSENT_RETRY = 30.0
_LONGEST_WAIT = 60.0
"""What a server may ask for with Retry-After before we look anyway."""

_log = get_logger("kube.cache")


class Backoff:
    """Delays that double from `first` to `limit` seconds, each shortened at random by up to a half, so that many
    clients of one server do not return in step."""

    def __init__(self, *, first: float = 0.1, limit: float = 5.0, choose: Callable[[], float] = random.random) -> None:
        self._first = first
        self._limit = limit
        self._choose = choose
        self.failures = 0

    def next(self) -> float:
        """The delay before the next attempt."""
        delay = min(self._limit, self._first * 2.0 ** min(self.failures, 30))
        self.failures += 1
        return delay * (1.0 - self._choose() / 2.0)

    def reset(self) -> None:
        """Success: begin anew."""
        self.failures = 0

    def ease(self) -> None:
        """Half a success: the next delays are short ones, though not the shortest."""
        self.failures = min(self.failures, 3)


class Cache(Generic[T]):
    """on_event(type, old, new) is called synchronously in the order of the server's history; an exception in it ends
    `run`. on_change(key, new) is the same for owners that keep their own picture: with retain=False the cache then
    holds only identities, and reading it gives nothing. on_status tells `waiting` (no contact yet), `listing`,
    `synced`. indexes: name -> function that gives the index values of an object. page_size: objects per list request,
    0 for all in one. initial_events: ask for the list as a stream. watch_seconds: range from which the length of
    each watch is drawn. silence: seconds without a byte after which a connection counts as dead. absent_retry: seconds
    until a resource that the server does not serve is looked for again."""

    def __init__(
        self,
        client: Client,
        resource: Resource[T],
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        on_event: Callable[[EventType, T | None, T | None], None] | None = None,
        on_change: Callable[[ObjectKey, T | None], None] | None = None,
        retain: bool = True,
        on_status: Callable[[CacheStatus], None] | None = None,
        indexes: dict[str, Callable[[T], list[str]]] | None = None,
        page_size: int = 0,
        initial_events: bool = False,
        watch_seconds: tuple[int, int] = (300, 600),
        silence: float = 150.0,
        absent_retry: float = _ABSENT_RETRY,
        backoff: Backoff | None = None,
        choose: Callable[[], float] = random.random,
    ) -> None:
        self.resource = resource
        self.status: CacheStatus = "waiting"
        self.absent = False  # the server does not serve the resource: nothing exists
        self._client = client
        self._namespace = namespace
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._on_event = on_event
        self._on_change = on_change
        self._retain = retain
        self._on_status = on_status
        self._indexers = indexes or {}
        self._indexes: dict[str, dict[str, dict[ObjectKey, T]]] = {name: {} for name in self._indexers}
        self._page_size = page_size
        self._initial_events = initial_events
        self._watch_seconds = watch_seconds
        self._silence = silence
        self._absent_retry = absent_retry
        self._backoff = backoff or Backoff(choose=choose)
        self._choose = choose
        self._opened_at: float | None = None
        self._progressed = False
        self._objects: dict[ObjectKey, T] = {}
        self._known: dict[ObjectKey, tuple[str, str]] = {}
        self._bad: dict[ObjectKey, str] = {}
        self._version: str | None = None
        self._synced = asyncio.Event()
        self._changed = asyncio.Event()
        self._throttle = Throttle(period=30.0)
        self._lists = self._watches = self._events = self._failures = self._undecodable = 0

    # --- reading -----------------------------------------------------------------------------------------------

    async def wait_synced(self) -> None:
        """Returns once the whole resource has been seen."""
        await self._synced.wait()

    async def wait_for(self, condition: Callable[[], bool]) -> None:
        """Returns once condition() holds; it is asked again after every change of the cache."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    @property
    def synced(self) -> bool:
        """The whole resource has been seen at least once."""
        return self._synced.is_set()

    @property
    def resource_version(self) -> str:
        """The version up to which the state is known; "" before the first list."""
        return self._version or ""

    def get(self, name: str, namespace: str | None = None) -> T | None:
        """One object, None if it is not there. O(1)."""
        return self._objects.get((namespace or "", name))

    def items(self) -> Iterator[T]:
        """All objects, in no particular order."""
        return iter(list(self._objects.values()))

    def by_index(self, index: str, value: str) -> list[T]:
        """The objects that have this value in an index. O(matches)."""
        return list(self._indexes[index].get(value, {}).values())

    def __len__(self) -> int:
        return len(self._known)

    def statistics(self) -> dict[str, float]:
        """Counters for metrics."""
        return {
            "objects": len(self._known),
            "undecodable": len(self._bad),
            "lists_total": self._lists,
            "watches_total": self._watches,
            "events_total": self._events,
            "failures_total": self._failures,
            "undecodable_total": self._undecodable,
            "synced": float(self.synced),
        }

    # --- following ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Follows the resource until cancelled. Ends by itself only with an exception of a callback."""
        last_list = float("-inf")
        stalled = 0
        while True:
            self._opened_at, self._progressed, answered, asked = None, False, True, 0.0
            try:
                if self._version is None:
                    gap = last_list + _LIST_GAP - time.monotonic()
                    if gap > 0:
                        await asyncio.sleep(gap)
                    last_list = time.monotonic()
                    await self._resync()
                    stalled = 0
                await self._follow(self._version)
            except Gone as error:
                self._failed(error, "list again: the server no longer has our resource version")
                self._version = None
                continue
            except NotFound as error:
                # The resource is not served (yet): nothing exists, and that is a complete picture.
                self._failed(error, "nothing to follow; will look again")
                self.absent = True
                self._replace({}, {}, "")
                self._became_synced()
                await asyncio.sleep(self._absent_retry * (1.0 - self._choose() / 2.0))
                continue
            except ApiError as error:
                answered = error.reason != "Unreachable"
                asked = min(error.retry_after or 0.0, _LONGEST_WAIT)
                if too_large_resource_version(error):
                    self._version = None
                self._failed(error, "will try again")
            if self._progressed or self._lived() > _SETTLED:
                stalled = 0
                self._backoff.reset()
                continue
            if self._lived() > 0.0:
                self._backoff.ease()
            stalled += answered
            if stalled >= 5:
                # Attempt after attempt the server answers and nothing comes of it: perhaps the version we hold is
                # what it chokes on.
                self._version, stalled = None, 0
            await self._client.pause(max(self._backoff.next(), asked))

    def _lived(self) -> float:
        """For how many seconds the last watch was open; 0 if it never was."""
        return time.monotonic() - self._opened_at if self._opened_at is not None else 0.0

    async def _resync(self) -> None:
        self._lists += 1
        if self._initial_events:
            try:
                await self._stream_initial()
                return
            except ApiError as error:
                if not _no_such_stream(error):
                    raise
                self._initial_events = False  # a server without it says so, or lets it pass; lists do the same
        objects: dict[ObjectKey, T] = {}
        bad: dict[ObjectKey, Undecodable] = {}
        token, page_size, version = "", self._page_size, ""
        while True:
            try:
                page = await self._client.list(
                    self.resource,
                    self._namespace,
                    label_selector=self._label_selector,
                    field_selector=self._field_selector,
                    limit=page_size,
                    continue_=token,
                    deadline=120.0,
                )
            except Gone:
                if not token:
                    raise
                objects.clear()
                bad.clear()
                token, page_size = "", 0  # the pages took too long: take everything at once
                continue
            if not self.synced:
                self._set_status("listing")
            for obj in page.items:
                objects[key_of(obj)] = obj
            for item in page.undecodable:
                bad[item.key] = item
            version = version or page.resource_version
            token = page.continue_
            if not token:
                break
        self.absent = False
        self._replace(objects, bad, version)
        self._backoff.reset()
        self._became_synced()

    async def _stream_initial(self) -> None:
        """The list as a stream of events (sendInitialEvents): the server needs no second copy of it in memory."""
        resource = await self._client.served(self.resource)
        request = requests.watch(
            resource,
            self._namespace,
            resource_version="",
            label_selector=self._label_selector,
            field_selector=self._field_selector,
            timeout_seconds=120,
            send_initial_events=True,
        )
        objects: dict[ObjectKey, T] = {}
        bad: dict[ObjectKey, Undecodable] = {}
        async with aclosing(self._client.watch_batches(resource, request, silence=self._silence)) as stream:
            if await self._collect(stream, objects, bad):
                return
        raise Invalid(0, "NoInitialEvents", "the server ended the initial events before they were complete")

    async def _collect(
        self,
        stream: AsyncIterator[Sequence[WatchEvent[T]]],
        objects: dict[ObjectKey, T],
        bad: dict[ObjectKey, Undecodable],
    ) -> bool:
        """Gathers initial events; True once they were complete and have replaced the state."""
        async for batch in stream:
            for event in batch:
                if event.type == "ERROR":
                    assert event.status is not None
                    raise from_status(event.status)
                if event.type == "BOOKMARK" and event.initial_events_end:
                    self.absent = False
                    self._replace(objects, bad, event.resource_version)
                    self._backoff.reset()
                    self._became_synced()
                    return True
                if event.undecodable is not None:
                    objects.pop(event.undecodable.key, None)
                    bad[event.undecodable.key] = event.undecodable
                elif event.object is not None:
                    key = key_of(event.object)
                    bad.pop(key, None)
                    if event.type == "DELETED":
                        objects.pop(key, None)
                    else:
                        objects[key] = event.object
        return False

    async def _follow(self, version: str | None) -> None:
        """One watch from a version on, until it ends; notes when it opened and whether it brought anything."""
        self._watches += 1
        shortest, longest = self._watch_seconds
        resource = await self._client.served(self.resource)
        request = requests.watch(
            resource,
            self._namespace,
            resource_version=version or "0",
            label_selector=self._label_selector,
            field_selector=self._field_selector,
            timeout_seconds=round(shortest + (longest - shortest) * self._choose()),
        )
        async with aclosing(self._client.watch_batches(resource, request, silence=self._silence)) as stream:
            async for batch in stream:
                if self._opened_at is None:
                    self._opened_at = time.monotonic()
                for event in batch:
                    if event.type == "ERROR":
                        assert event.status is not None
                        raise from_status(event.status)
                    self._apply(event)
                    self._progressed = True
                self._changed.set()

    # --- state -------------------------------------------------------------------------------------------------

    def _apply(self, event: WatchEvent[T]) -> None:
        self._events += 1
        if event.type == "BOOKMARK":
            if _older(event.resource_version, self._version):
                raise Gone(410, "Expired", "the server's history is older than ours: it was restored or replaced")
        elif event.type == "DELETED":
            key = key_of(event.object) if event.object is not None else _bad_key(event)
            self._bad.pop(key, None)
            self._remove(key, event.object)
        elif event.undecodable is not None:
            self._spoil(event.undecodable)
        elif event.object is not None:
            self._store(event.object)
        if event.resource_version:
            self._version = event.resource_version

    def _store(self, obj: T) -> None:
        key = key_of(obj)
        self._bad.pop(key, None)
        identity = (uid_of(obj), resource_version(obj))
        known = self._known.get(key)
        if known is not None:
            if known == identity:
                return
            if known[0] != identity[0]:  # deleted and made again while we were not looking
                self._remove(key, None)
                known = None
        self._known[key] = identity
        old = self._objects.get(key)
        if self._retain:
            self._objects[key] = obj
            self._reindex(key, old, obj)
        if self._on_event is not None:
            self._on_event("added" if known is None else "modified", old, obj)
        if self._on_change is not None:
            self._on_change(key, obj)

    def _remove(self, key: ObjectKey, last: T | None) -> None:
        """last: the final state as the server sent it, where it did."""
        if self._known.pop(key, None) is None:
            return
        old = self._objects.pop(key, None)
        self._reindex(key, old, None)
        if self._on_event is not None:
            self._on_event("deleted", last if last is not None else old, None)
        if self._on_change is not None:
            self._on_change(key, None)

    def _reindex(self, key: ObjectKey, old: T | None, new: T | None) -> None:
        for name, values in self._indexers.items():
            index = self._indexes[name]
            before = values(old) if old is not None else []
            after = values(new) if new is not None else []
            for value in before:
                if value not in after:
                    _drop(index, value, key)
            if new is not None:
                for value in after:
                    index.setdefault(value, {})[key] = new

    def _spoil(self, item: Undecodable) -> None:
        if self._bad.get(item.key) == item.resource_version:
            return
        self._undecodable += 1
        self._bad[item.key] = item.resource_version
        _log.error(
            "object does not decode; treated as absent",
            resource=self.resource.plural,
            namespace=item.key[0],
            name=item.key[1],
            error=item.error,
        )
        self._remove(item.key, None)

    def _replace(self, objects: dict[ObjectKey, T], bad: dict[ObjectKey, Undecodable], version: str) -> None:
        """Brings the state to what a list showed, by the smallest number of events; deletions first."""
        for key in [k for k in self._known if k not in objects and k not in bad]:
            self._remove(key, None)
        for key in [k for k in self._bad if k not in bad]:
            del self._bad[key]
        for item in bad.values():
            self._spoil(item)
        with garbage_paused():
            for obj in objects.values():
                self._store(obj)
        self._version = version or None
        self._changed.set()

    def _became_synced(self) -> None:
        self._synced.set()
        self._set_status("synced")

    def _set_status(self, status: CacheStatus) -> None:
        if status != self.status:
            self.status = status
            if self._on_status is not None:
                self._on_status(status)

    def _failed(self, error: ApiError, consequence: str) -> None:
        self._failures += 1
        if error.reason == "Unreachable":
            # A stream that broke, or a server that is away: the client says so, once for all its caches.
            _log.debug("watching interrupted", resource=self.resource.plural, error=str(error))
            return
        suppressed = self._throttle.allow(type(error).__name__)
        if suppressed is not None:
            _log.warning(
                "watching failed",
                resource=self.resource.plural,
                error=str(error),
                consequence=consequence,
                suppressed=suppressed,
            )


def _drop(index: dict[str, dict[ObjectKey, Any]], value: str, key: ObjectKey) -> None:
    members = index.get(value)
    if members is not None:
        members.pop(key, None)
        if not members:
            del index[value]


def _bad_key(event: WatchEvent[Any]) -> ObjectKey:
    assert event.undecodable is not None
    return event.undecodable.key


def _no_such_stream(error: ApiError) -> bool:
    """Whether a server's answer to sendInitialEvents means that it has none. Any refusal of the request's form does."""
    return isinstance(error, Invalid) or error.status in {400, 405, 406, 415, 501}


def _older(version: str, than: str | None) -> bool:
    """Resource versions are compared as numbers where both are numbers, and not at all otherwise."""
    return version.isdecimal() and than is not None and than.isdecimal() and int(version) < int(than)
