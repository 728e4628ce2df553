"""Kubernetes Events: what users see under `kubectl describe`.

In: `event(...)` calls from controllers and agents, which never wait and never fail. Out: core/v1 Events; the same
event again only counts up, and an object that produces too many is held back.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from tortie.kube.client import Client
from tortie.kube.errors import ApiError, NotFound
from tortie.model.resource import Resource
from tortie.service.log import Throttle, get_logger

_EVENTS: Resource[dict[str, Any]] = Resource(
    group="", version="v1", kind="Event", plural="events", namespaced=True, type=dict[str, Any]
)

_log = get_logger("kube.events")


@dataclass(frozen=True, slots=True)
class Reference:
    """The object that an event is about."""

    api_version: str
    kind: str
    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    field_path: str = ""

    @staticmethod
    def to(resource: Resource[Any], obj: Any, *, field_path: str = "") -> "Reference":
        """A reference to an object, given as a struct or as plain JSON."""
        if isinstance(obj, Mapping):
            m = obj.get("metadata", {})
            name, space, uid, version = (m.get(k, "") for k in ("name", "namespace", "uid", "resourceVersion"))
        else:
            m = obj.metadata
            name, space, uid, version = m.name, m.namespace or "", m.uid, m.resource_version
        return Reference(resource.api_version, resource.kind, name, space, uid, version, field_path)

    def as_json(self) -> dict[str, str]:
        """As `involvedObject`."""
        fields = {
            "apiVersion": self.api_version,
            "kind": self.kind,
            "name": self.name,
            "namespace": self.namespace,
            "uid": self.uid,
            "resourceVersion": self.resource_version,
            "fieldPath": self.field_path,
        }
        return {key: value for key, value in fields.items() if value}


@dataclass(slots=True)
class _Series:
    name: str
    count: int
    first: str


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


_Pending = tuple[Reference, str, str, str]


class EventRecorder:
    """component: who reports. burst and refill: per involved object, `burst` events at once and one more every
    `refill` seconds; what exceeds that is dropped and counted. `run` writes them; without it they wait (at most
    `queue` of them)."""

    def __init__(
        self,
        client: Client,
        component: str,
        *,
        host: str = "",
        burst: int = 25,
        refill: float = 300.0,
        queue: int = 1000,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client = client
        self._component = component
        self._host = host
        self._burst = burst
        self._refill = refill
        self._clock = clock
        self._now = now
        self._queue: asyncio.Queue[_Pending] = asyncio.Queue(queue)
        self._series: OrderedDict[tuple[Reference, str, str, str], _Series] = OrderedDict()
        self._buckets: OrderedDict[tuple[str, str, str, str], _Bucket] = OrderedDict()
        self._throttle = Throttle()
        self._written = self._dropped = self._sequence = 0

    def event(self, about: Reference, type_: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        """Reports. reason: one CamelCase word; message: for people, cut at 1024 bytes."""
        if not self._admit(about):
            self._dropped += 1
            return
        try:
            self._queue.put_nowait((about, type_, reason, message[:1024]))
        except asyncio.QueueFull:
            self._dropped += 1

    def statistics(self) -> dict[str, float]:
        """Counters for metrics."""
        return {
            "written_total": self._written,
            "dropped_total": self._dropped,
            "queued": self._queue.qsize(),
        }

    async def run(self) -> None:
        """Writes events until cancelled; failures are logged and the event is given up."""
        while True:
            pending = await self._queue.get()
            try:
                await self._write(*pending)
                self._written += 1
            except (ApiError, ValueError) as error:
                self._dropped += 1
                suppressed = self._throttle.allow(type(error).__name__)
                if suppressed is not None:
                    _log.warning("event not written", error=str(error), reason=pending[2], suppressed=suppressed)
            finally:
                self._queue.task_done()

    async def flush(self) -> None:
        """Returns when everything reported so far is written or given up."""
        await self._queue.join()

    def _admit(self, about: Reference) -> bool:
        key = (about.kind, about.namespace, about.name, about.uid)
        now = self._clock()
        bucket = self._buckets.pop(key, None) or _Bucket(float(self._burst), now)
        bucket.tokens = min(float(self._burst), bucket.tokens + (now - bucket.at) / self._refill)
        bucket.at = now
        self._buckets[key] = bucket
        if len(self._buckets) > 4096:
            self._buckets.popitem(last=False)
        if bucket.tokens < 1.0:
            return False
        bucket.tokens -= 1.0
        return True

    async def _write(self, about: Reference, type_: str, reason: str, message: str) -> None:
        stamp = self._now().strftime("%Y-%m-%dT%H:%M:%SZ")
        namespace = about.namespace or "default"
        identity = Reference(
            about.api_version, about.kind, about.name, about.namespace, about.uid, "", about.field_path
        )
        key = (identity, type_, reason, message)
        series = self._series.pop(key, None)
        if series is not None:
            series.count += 1
            self._series[key] = series
            change = {"count": series.count, "lastTimestamp": stamp}
            try:
                await self._client.patch(_EVENTS, series.name, change, namespace=namespace)
                return
            except NotFound:
                del self._series[key]  # expired on the server: begin a new one
        self._sequence += 1
        unique = f"{int(self._now().timestamp() * 1e6):x}{self._sequence:x}"
        name = f"{about.name[:200]}.{unique}"
        body = {
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": about.as_json(),
            "type": type_,
            "reason": reason,
            "message": message,
            "source": {"component": self._component, **({"host": self._host} if self._host else {})},
            "reportingComponent": self._component,
            "reportingInstance": self._host,
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
        }
        await self._client.create(_EVENTS, body, namespace)
        self._series[key] = _Series(name, 1, stamp)
        if len(self._series) > 4096:
            self._series.popitem(last=False)
