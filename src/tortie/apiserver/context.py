"""What request handlers and kinds' hooks share: the server's parts, and the request at hand.

In: parts made at start by `server`. Out: `Context` (one per server) and `Call` (one per request).
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tortie.apiserver.kinds import Kind
from tortie.apiserver.records import Collection, Record, Watcher
from tortie.apiserver.registry import Registry
from tortie.apiserver.requests import RequestInfo
from tortie.apiserver.storage import Storage

if TYPE_CHECKING:
    from tortie.apiserver.admission import Admission
    from tortie.apiserver.allocate import Allocators
    from tortie.apiserver.authz import Authorizer
    from tortie.apiserver.pki import Pki
    from tortie.apiserver.proxying.aggregator import Aggregator
    from tortie.apiserver.tokens import Tokens

Object = dict[str, Any]
_log = logging.getLogger("tortie.apiserver")


@dataclass(frozen=True, slots=True)
class User:
    """Who asks."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def anonymous(self) -> bool:
        return self.name == "system:anonymous"


ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))
SYSTEM = User("system:apiserver", ("system:masters", "system:authenticated"))


@dataclass(slots=True, eq=False)
class Context:
    """The server's parts. data_dir, pki, allocators, tokens, authorizer: of the embedded server alone."""

    store: Storage
    registry: Registry
    now: Callable[[], float]
    data_dir: Path = field(init=False)
    pki: "Pki" = field(init=False)
    allocators: "Allocators" = field(init=False)
    authorizer: "Authorizer" = field(init=False)
    tokens: "Tokens" = field(init=False)
    admission: "Admission | None" = None
    aggregator: "Aggregator | None" = None
    advertise: tuple[str, ...] = ()
    port: int = 6443
    cluster_cidrs: tuple[str, ...] = ()
    ready: bool = False
    native: bool = True  # projectcalico.org/v3 is served here, not by an aggregated API server
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Runs follow-up work of a write after its answer; a failure is logged."""
        task = asyncio.create_task(work, name=name)
        self.tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("follow-up work failed: %s", task.get_name(), exc_info=task.exception())

    def collection(self, kind: Kind) -> Collection:
        return self.store.collection(kind.collection)

    def read(self, collection: str, namespace: str, name: str) -> Object | None:
        """A fresh copy of a stored object by collection name (`group/plural`)."""
        record = self.store.collection(collection).get((namespace, name))
        return record.decode() if record else None

    def record(self, collection: str, namespace: str, name: str) -> Record | None:
        return self.store.collection(collection).get((namespace, name))


@dataclass(frozen=True, slots=True)
class Scope:
    """The part of a collection that a list, watch or deletecollection may be about. watchers: where its watches are
    noted that must end when the scope may have grown."""

    covers: Callable[[Record], bool]
    watchers: set[Watcher] | None = None


@dataclass(slots=True, eq=False)
class Call:
    """One request on a resource."""

    context: Context
    user: User
    info: RequestInfo
    kind: Kind
    query: Mapping[str, str]
    manager: str = ""
    dry_run: bool = False
    field_validation: str = "Warn"
    warnings: list[str] = field(default_factory=list)
    applied: bool = False  # a server-side apply has set the owners of fields itself
    annotations: dict[str, str] = field(default_factory=dict)  # what admission adds to the audit event
    scope: Scope | None = None  # None: all of the collection
    others: dict[str, list[Object]] = field(default_factory=dict)  # plural -> objects for rules, not in the store

    @property
    def store(self) -> Storage:
        return self.context.store

    def annotate(self, key: str, value: str) -> None:
        """Adds an annotation to the request's audit event; the first value of a key stays."""
        self.annotations.setdefault(key, value)

    def warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)
