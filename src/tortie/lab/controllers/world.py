"""What every controller of the lab stands on: shared caches of raw objects, a queue of keys, a loop that reconciles.

In: changes from the API. Out, to a controller's `reconcile(key)`: each key that something changed about, one at a time
for each key, again after a delay if it failed. Controllers look at the caches for the state and never at the event.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tortie.kube.cache import Cache, EventType
from tortie.kube.client import Client
from tortie.kube.errors import ApiError, Conflict, NotFound
from tortie.kube.events import EventRecorder, Reference
from tortie.model.resource import Resource
from tortie.service.log import get_logger

Object = dict[str, Any]
Key = tuple[str, str]
"""(namespace, name); namespace "" for objects of cluster scope."""

_FIRST_DELAY = 0.02
_LAST_DELAY = 10.0

_log = get_logger("lab.controllers")


def key_of(obj: Object) -> Key:
    metadata = obj["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def controller_of(obj: Object) -> Object | None:
    """The owner reference with controller true."""
    for owner in obj["metadata"].get("ownerReferences", ()):
        if owner.get("controller"):
            reference: Object = owner
            return reference
    return None


def owner_reference(resource: Resource[Any], obj: Object) -> Object:
    """A reference that makes obj the controller of another object."""
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "name": obj["metadata"]["name"],
        "uid": obj["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


class Queue:
    """Keys to reconcile: each at most once in line, never two workers on one key; failures come again later."""

    def __init__(self, name: str, reconcile: Callable[[Key], Awaitable[None]], *, workers: int = 4) -> None:
        self.name = name
        self._reconcile = reconcile
        self._workers = workers
        self._waiting: asyncio.Queue[Key] = asyncio.Queue()
        self._queued: set[Key] = set()
        self._active: set[Key] = set()
        self._again: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._done = self._failed = 0

    def add(self, key: Key) -> None:
        """Asks for a reconciliation of this key, now or after the one that is going on."""
        if key in self._active:
            self._again.add(key)
        elif key not in self._queued:
            self._queued.add(key)
            self._waiting.put_nowait(key)

    def add_later(self, key: Key, seconds: float) -> None:
        """The same after some seconds. Of several such requests for one key the earliest counts."""
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if timer is not None and timer.when() <= loop.time() + seconds:
            return
        if timer is not None:
            timer.cancel()
        self._timers[key] = loop.call_later(seconds, self._due, key)

    def _due(self, key: Key) -> None:
        del self._timers[key]
        self.add(key)

    def statistics(self) -> dict[str, int]:
        return {
            "waiting": self._waiting.qsize(),
            "active": len(self._active),
            "done": self._done,
            "failed": self._failed,
        }

    async def run(self) -> None:
        """Works until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._workers):
                tasks.create_task(self._work())

    async def _work(self) -> None:
        while True:
            key = await self._waiting.get()
            self._queued.discard(key)
            self._active.add(key)
            try:
                await self._reconcile(key)
            except (Conflict, NotFound):
                # The cache is behind; the event that is on its way, or the retry, brings the truth.
                self._retry(key)
            except ApiError as error:
                _log.warning("reconciliation failed", controller=self.name, key="/".join(key), reason=str(error))
                self._retry(key)
            except Exception:
                # One bad object must not stop the others.
                _log.exception("reconciliation failed", controller=self.name, key="/".join(key))
                self._retry(key)
            else:
                self._failures.pop(key, None)
                self._done += 1
            finally:
                self._active.discard(key)
                if key in self._again:
                    self._again.discard(key)
                    self.add(key)

    def _retry(self, key: Key) -> None:
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self._failed += 1
        self.add_later(key, min(_LAST_DELAY, _FIRST_DELAY * 2.0**failures))


@dataclass
class World:
    """The client, the caches (one for each resource, shared by all controllers) and the event recorder."""

    client: Client
    recorder: EventRecorder
    caches: dict[str, Cache[Object]] = field(default_factory=dict)
    _listeners: dict[str, list[Callable[[Object | None, Object | None], None]]] = field(default_factory=dict)

    def cache(
        self,
        resource: Resource[Any],
        *,
        indexes: dict[str, Callable[[Object], list[str]]] | None = None,
        field_selector: str = "",
        namespace: str | None = None,
        name: str = "",
    ) -> Cache[Object]:
        """The cache of a resource; made at the first call, whose indexes, selector and namespace count."""
        title = name or f"{resource.plural}.{resource.group}"
        if title not in self.caches:
            listeners: list[Callable[[Object | None, Object | None], None]] = []
            self._listeners[title] = listeners

            def on_event(_type: EventType, old: Object | None, new: Object | None) -> None:
                for listener in listeners:
                    listener(old, new)

            self.caches[title] = Cache(
                self.client,
                resource.untyped(),
                on_event=on_event,
                indexes={"owner": owners, "namespace": namespaces, "node": node_of, **(indexes or {})},
                field_selector=field_selector,
                namespace=namespace,
            )
        return self.caches[title]

    def watch(self, cache: Cache[Object], listener: Callable[[Object | None, Object | None], None]) -> None:
        """Calls listener(old, new) for each change of a cache."""
        title = next(title for title, known in self.caches.items() if known is cache)
        self._listeners[title].append(listener)

    async def run(self) -> None:
        """Follows everything, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for cache in self.caches.values():
                tasks.create_task(cache.run())

    async def wait_synced(self) -> None:
        for cache in self.caches.values():
            await cache.wait_synced()

    def event(self, resource: Resource[Any], obj: Object, type_: Any, reason: str, message: str) -> None:
        """Records an Event about an object."""
        self.recorder.event(Reference.to(resource, obj), type_, reason, message)


def owners(obj: Object) -> list[str]:
    """Index by the uids of all owners."""
    return [owner["uid"] for owner in obj["metadata"].get("ownerReferences", ())]


def namespaces(obj: Object) -> list[str]:
    """Index by namespace."""
    return [obj["metadata"].get("namespace", "")]


def node_of(obj: Object) -> list[str]:
    """Index by the node that a pod is on, "" for none."""
    return [(obj.get("spec") or {}).get("nodeName", "")]


def selects(selector: Object | None, labels: dict[str, str]) -> bool:
    """Whether a LabelSelector selects these labels; an empty one selects everything, None nothing."""
    if selector is None:
        return False
    for key, value in selector.get("matchLabels", {}).items():
        if labels.get(key) != value:
            return False
    return all(_expression(term, labels) for term in selector.get("matchExpressions", ()))


def _expression(term: Object, labels: dict[str, str]) -> bool:
    value, values = labels.get(term["key"]), term.get("values", ())
    match term["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt":
            return value is not None and value.lstrip("-").isdigit() and int(value) > int(values[0])
        case "Lt":
            return value is not None and value.lstrip("-").isdigit() and int(value) < int(values[0])
    return False


def is_ready(obj: Object) -> bool:
    """Whether the condition Ready is True."""
    return condition(obj, "Ready").get("status") == "True"


def condition(obj: Object, type_: str) -> Object:
    for entry in obj.get("status", {}).get("conditions", ()):
        if entry["type"] == type_:
            found: Object = entry
            return found
    return {}


def new_conditions(obj: Object, *wanted: tuple[str, str, str, str], updates: bool = False) -> list[Object]:
    """The conditions (type, status, reason, message) with the times of the ones that the object has already.

    updates: whether conditions of this kind say when they were written (lastUpdateTime)."""
    stamp = now()
    result = []
    for type_, status, reason, message in wanted:
        old = condition(obj, type_)
        same = (old.get("status"), old.get("reason"), old.get("message")) == (status, reason, message)
        entry = {
            "type": type_,
            "status": status,
            "reason": reason,
            "message": message,
            "lastTransitionTime": old.get("lastTransitionTime", stamp) if old.get("status") == status else stamp,
        }
        if updates:
            entry["lastUpdateTime"] = old.get("lastUpdateTime", stamp) if same else stamp
        result.append(entry)
    return result


def now() -> str:
    """The time as the API writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def age(stamp: str | None) -> float:
    """Seconds since a time of the API; 0 if there is none."""
    if not stamp:
        return 0.0
    return (datetime.now(UTC) - datetime.fromisoformat(stamp)).total_seconds()


def is_active(pod: Object) -> bool:
    """Neither finished nor being deleted."""
    finished = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
    return not finished and "deletionTimestamp" not in pod["metadata"]
