"""The stream of dataplane updates for one consumer, straight from the Kubernetes API.

In: one cache per resource kind. Out, to a sink (Felix): batches of `Update`s and the status of the whole: waiting for
the datastore, catching up, in sync. What arrives in the same turn of the event loop leaves in one batch.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, Protocol

from tortie.kube.cache import Cache, CacheStatus
from tortie.kube.client import Client
from tortie.kube.objects import ObjectKey
from tortie.model.dataplane import Update
from tortie.service.log import Throttle, get_logger
from tortie.syncer.merge import Merge
from tortie.syncer.sources import BUILTIN, FELIX, Source

SyncStatus = Literal["wait-for-datastore", "resync-in-progress", "in-sync"]

_log = get_logger("syncer")


class Sink(Protocol):
    """Who takes the stream. Both are called on the event loop and must not block; an exception ends the syncer."""

    def on_updates(self, updates: list[Update]) -> None:
        """A batch, never empty. Updates of one batch belong together; the order inside carries no meaning."""

    def on_status(self, status: SyncStatus) -> None:
        """A change of status; every update that led to it has been delivered."""


class Syncer:
    """node: the consumer's node, for logs. sources: what to follow. builtin: what exists without the API saying so."""

    def __init__(
        self,
        client: Client,
        *,
        node: str,
        sources: Sequence[Source] = FELIX,
        builtin: Sequence[Update] = BUILTIN,
    ) -> None:
        self._client = client
        self._node = node
        self._sources = sources
        self._builtin = builtin
        self._merge = Merge()
        self._sink: Sink | None = None
        self._status: SyncStatus | None = None
        self._scheduled = False
        self._failure: asyncio.Future[None] | None = None
        self._caches: dict[str, Cache[Any]] = {}
        self._throttle = Throttle(period=60.0)
        self._errors: Counter[str] = Counter()
        self._broken: set[tuple[str, ObjectKey]] = set()
        self._updates = self._batches = 0

    @property
    def status(self) -> SyncStatus:
        """The status announced last."""
        return self._status or "wait-for-datastore"

    async def run(self, sink: Sink) -> None:
        """Feeds the sink until cancelled. Raises what the sink raises."""
        self._sink = sink
        self._failure = asyncio.get_running_loop().create_future()
        self._announce("wait-for-datastore")
        for number, update in enumerate(self._builtin):
            self._merge.put(("builtin", ("", str(number))), update)
        for source in self._sources:
            self._caches[_origin(source)] = self._follow(source)
        tasks = [asyncio.create_task(cache.run(), name=f"syncer-{origin}") for origin, cache in self._caches.items()]
        waited: set[asyncio.Future[Any]] = {self._failure, *tasks}
        try:
            done, _ = await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            for future in done:
                future.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def statistics(self) -> dict[str, float]:
        """Counters for metrics."""
        return {
            "keys": len(self._merge),
            "updates_total": self._updates,
            "batches_total": self._batches,
            "swallowed_total": self._merge.swallowed,
            "conversion_errors_total": self._errors.total(),
            "unconvertible": len(self._broken),
            "in_sync": float(self._status == "in-sync"),
        }

    def cache_statistics(self) -> dict[str, dict[str, float]]:
        """The statistics of each cache, by resource."""
        return {origin: cache.statistics() for origin, cache in self._caches.items()}

    def _follow(self, source: Source) -> Cache[Any]:
        origin = _origin(source)

        def changed(key: ObjectKey, obj: Any) -> None:
            self._changed(source, (origin, key), obj)

        return Cache(
            self._client, source.resource, on_change=changed, retain=False, on_status=lambda _status: self._review()
        )

    def _changed(self, source: Source, origin: tuple[str, ObjectKey], obj: Any) -> None:
        update: Update | None = None
        if obj is not None:
            try:
                update = source.convert(obj)
            except Exception as error:  # whatever an object holds, it must not stop the others
                self._complain(origin, f"{type(error).__name__}: {error}", absent=True)
            else:
                if update.errors:
                    self._complain(origin, "; ".join(update.errors), absent=update.value is None)
                else:
                    self._broken.discard(origin)
        else:
            self._broken.discard(origin)
        if self._merge.put(origin, update) and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._flush_soon)

    def _complain(self, origin: tuple[str, ObjectKey], error: str, *, absent: bool) -> None:
        kind, (namespace, name) = origin
        self._broken.add(origin)
        self._errors[kind] += 1
        suppressed = self._throttle.allow(f"{kind}/{namespace}/{name}")
        if suppressed is not None:
            _log.error(
                "object cannot be converted; treated as absent" if absent else "part of an object was left out",
                resource=kind,
                namespace=namespace,
                name=name,
                error=error,
                node=self._node,
                suppressed=suppressed,
            )

    def _flush_soon(self) -> None:
        self._scheduled = False
        try:
            self._flush()
        except Exception as error:
            if self._failure is not None and not self._failure.done():
                self._failure.set_exception(error)

    def _flush(self) -> None:
        updates = self._merge.take()
        if updates and self._sink is not None:
            self._updates += len(updates)
            self._batches += 1
            self._sink.on_updates(updates)

    def _review(self) -> None:
        """A cache's status changed: what does the whole amount to?"""
        states: set[CacheStatus] = {cache.status for cache in self._caches.values()}
        if states == {"synced"}:
            status: SyncStatus = "in-sync"
        elif states == {"waiting"}:
            status = "wait-for-datastore"
        else:
            status = "resync-in-progress"
        self._announce(status)

    def _announce(self, status: SyncStatus) -> None:
        if status == self._status or self._sink is None:
            return
        if self._status not in (None, "wait-for-datastore"):  # nothing is delivered while waiting
            self._flush()
        self._status = status
        _log.info("datastore", status=status, keys=len(self._merge), node=self._node)
        self._sink.on_status(status)


def _origin(source: Source) -> str:
    return f"{source.resource.plural}.{source.resource.group}" if source.resource.group else source.resource.plural
