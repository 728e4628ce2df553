"""Keeps APIServices true: Local ones for what is served here, the health of the others, and what those serve.

In: stored APIServices, Services and endpoints, CustomResourceDefinitions. Out: `target` for each request, Available
conditions, and merged discovery and OpenAPI; `generation` changes whenever a merged document would.
"""

import asyncio
import contextlib
import logging
from typing import Any

from aiohttp import web

from tortie.apiserver import objects
from tortie.apiserver.context import SYSTEM, Call, Context, User
from tortie.apiserver.endpoints import Address, Unreachable
from tortie.apiserver.errors import StatusError
from tortie.apiserver.proxying import merge, remote, services
from tortie.apiserver.proxying.forward import Forwarder, refusal, straight
from tortie.apiserver.proxying.remote import Remote
from tortie.apiserver.proxying.services import COLLECTION, GROUP, Target
from tortie.apiserver.records import Collection, Event
from tortie.apiserver.requests import RequestInfo

Object = dict[str, Any]
MANAGER = "kube-aggregator"
RECHECK_SECONDS = 30.0  # a healthy server
RETRY_SECONDS = 1.0  # one that is not
_SLICES = "discovery.k8s.io/endpointslices"
_WAKING = frozenset({COLLECTION, "/services", "/endpoints", _SLICES})
_LOCAL = "Local APIServices are always available"
_log = logging.getLogger("tortie.apiserver")


class Aggregator:
    """The aggregation of one server."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.forwarder = Forwarder(context)
        self.remotes: dict[tuple[str, str], Remote] = {}
        self.generation = 0
        self._wake = asyncio.Event()
        context.store.on_event.append(self._listen)
        context.registry.on_change.append(self._wake.set)
        for record in context.store.collection(COLLECTION).select(None):
            self._take(record.decode())

    # What there is ---------------------------------------------------------------------------------------------------

    def _listen(self, collection: Collection, event: Event) -> None:
        if collection.name not in _WAKING:
            return
        if collection.name == COLLECTION:
            before = event.old.decode() if event.old is not None else {}
            after = event.new.decode() if event.new is not None else {}
            if after:
                self._take(after)
            else:
                self._forget(before)
            if before.get("spec") != after.get("spec") or services.is_managed(before) != services.is_managed(after):
                self._wake.set()
        elif self._behind(collection.name, event):
            self._wake.set()

    def _behind(self, collection: str, event: Event) -> bool:
        """Whether a Service or its endpoints belong to some target."""
        namespace, name = event.key
        if collection == _SLICES:
            record = event.new or event.old
            name = record.labels.get("kubernetes.io/service-name", "") if record is not None else ""
        return any((r.target.namespace, r.target.service) == (namespace, name) for r in self.remotes.values())

    def _take(self, obj: Object) -> None:
        target = services.read(obj)
        if target is None:
            self._forget(obj)
            return
        place = (target.group, target.version)
        found = self.remotes.get(place)
        available = services.available(obj)
        if found is None or found.target != target:
            self.remotes[place] = Remote(target, available)
        elif found.available == available:
            return
        else:
            found.available = available
        self.generation += 1

    def _forget(self, obj: Object) -> None:
        spec = obj.get("spec") or {}
        if self.remotes.pop((str(spec.get("group", "")), str(spec.get("version", ""))), None) is not None:
            self.generation += 1

    def _built_in(self, group: str, version: str) -> bool:
        gv = self.context.registry.versions.get((group, version))
        return gv is not None and not all(kind.definition for kind in gv.kinds.values())

    def active(self) -> list[Remote]:
        """Everything that another server answers for. What is built in here is never given away."""
        return [r for place, r in self.remotes.items() if not self._built_in(*place)]

    def find(self, path: str) -> Remote | None:
        """Who answers for /apis/GROUP/VERSION and what is below."""
        if not self.remotes or not path.startswith("/apis/"):
            return None
        parts = path.split("/", 4)
        if len(parts) < 4:
            return None
        found = self.remotes.get((parts[2], parts[3]))
        return None if found is None or self._built_in(parts[2], parts[3]) else found

    async def forward(
        self, request: web.Request, user: User, found: Remote, *, audit_id: str = "", long_running: bool = False
    ) -> web.StreamResponse:
        """Passes a request on. Raises StatusError."""
        if not straight(request.path):
            return refusal(404, "404 page not found")
        if not found.available:
            return refusal(503, "service unavailable")
        return await self.forwarder.forward(request, user, found.target, audit_id=audit_id, long_running=long_running)

    def openapi_v3(self) -> dict[str, str]:
        """Name and hash of each document that another server has."""
        return {r.target.path.strip("/"): r.v3_hash for r in self.active() if r.v3_hash}

    def group_list(self, tree: Object) -> Object:
        return merge.group_list(tree, [r.target for r in self.active()])

    def group(self, ours: Object | None, name: str) -> Object | None:
        """The APIGroup of a name, here, there or both."""
        targets = sorted(
            (r.target for r in self.active() if r.target.group == name), key=lambda t: (-t.version_priority, t.version)
        )
        if not targets:
            return ours
        return {"kind": "APIGroup", "apiVersion": "v1", **merge.group(ours, name, targets)}

    def discovery(self, tree: Object) -> Object:
        return merge.aggregated(tree, self.active())

    def openapi_v2(self, tree: Object) -> Object:
        return merge.openapi_v2(tree, [r for r in self.active() if r.v2])

    def statistics(self) -> dict[str, int]:
        """Numbers for /metrics: aggregated group versions, how many answer, and what was passed on to them."""
        active = self.active()
        return {"services": len(active), "available": sum(r.available for r in active), **self.forwarder.counts}

    # Keeping it true -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Checks and repairs until cancelled; one bad APIService holds nothing else up."""
        due: dict[str, float] = {}
        clock = asyncio.get_running_loop().time
        while True:
            woken = self._wake.is_set()
            self._wake.clear()
            try:
                await self.keep_local()
            except StatusError as error:
                _log.warning("local APIServices could not be brought up to date: %s", error.message)
            now = clock()
            pending = [r for r in self.active() if woken or due.get(r.target.name, 0.0) <= now]
            await asyncio.gather(*(self._check(r) for r in pending))
            now = clock()
            for found in pending:
                due[found.target.name] = now + (RECHECK_SECONDS if found.available else RETRY_SECONDS)
            names = {r.target.name for r in self.active()}
            due = {name: at for name, at in due.items() if name in names}
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.05, min(due.values(), default=now + 300) - now)):
                    await self._wake.wait()
            await asyncio.sleep(0.05)  # what changes together is looked at together

    async def close(self) -> None:
        await self.forwarder.close()

    async def keep_local(self) -> None:
        """Makes, repairs and removes the APIServices of what is served here."""
        wanted = {
            services.name_of(*place): services.local(gv)
            for place, gv in self.context.registry.versions.items()
            if place[0] != GROUP
        }
        missing = [tree for name, tree in wanted.items() if self.context.record(COLLECTION, "", name) is None]
        await asyncio.gather(*(self._create(tree) for tree in missing))
        for name, tree in wanted.items():
            stored = self.context.read(COLLECTION, "", name)
            if stored is None or (services.read(stored) is not None and self._custom(tree)):
                continue  # somebody gave the group version of a CustomResourceDefinition to another server
            if stored["spec"] != tree["spec"] or not services.is_managed(stored):
                await self._repair(name, tree)
        for record in list(self.context.store.collection(COLLECTION).select(None)):
            name = record.key[1]
            if name not in wanted:
                obj = record.decode()
                if services.is_managed(obj) and services.read(obj) is None:
                    await self._delete(name)
                elif services.read(obj) is None and not services.available(obj):
                    await self._mark(name, services.condition(True, "Local", _LOCAL, self._now()))

    @staticmethod
    def _custom(tree: Object) -> bool:
        return bool(tree["metadata"]["labels"][services.MANAGED] == "true")

    def _now(self) -> str:
        return objects.timestamp(self.context.now())

    def _call(self, verb: str, name: str = "", subresource: str = "") -> Call:
        kind = self.context.registry.find(GROUP, "v1", "apiservices")
        assert kind is not None
        info = RequestInfo(True, verb, "", GROUP, "v1", "", "apiservices", name, subresource)
        return Call(self.context, SYSTEM, info, kind, {}, MANAGER)

    async def _create(self, tree: Object) -> None:
        from tortie.apiserver import writes

        name = tree["metadata"]["name"]
        try:
            await writes.create(self._call("create"), tree)
        except StatusError as error:
            _log.warning("APIService %s was not made: %s", name, error.message)
        else:
            await self._mark(name, services.condition(True, "Local", _LOCAL, self._now()))

    async def _repair(self, name: str, tree: Object) -> None:
        from tortie.apiserver import writes

        def change(obj: Object) -> Object:
            obj["spec"] = tree["spec"]
            obj["metadata"].setdefault("labels", {}).update(tree["metadata"]["labels"])
            return obj

        _log.info("APIService %s is put back: its group version is served here", name)
        await writes.update(self._call("patch", name), change)
        await self._mark(name, services.condition(True, "Local", _LOCAL, self._now()))

    async def _delete(self, name: str) -> None:
        from tortie.apiserver import deletes

        options, _ = deletes.read_options({}, {})
        await deletes.delete(self._call("delete", name), options)

    async def _mark(self, name: str, wanted: Object) -> None:
        from tortie.apiserver import writes

        with contextlib.suppress(StatusError):  # it went away meanwhile
            await writes.update(
                self._call("patch", name, "status"),
                lambda obj: services.with_condition(obj, dict(wanted)),
                subresource="status",
            )

    async def _check(self, found: Remote) -> None:
        target: Target = found.target
        try:
            address = await remote.check(self.context, self.forwarder, target)
        except Unreachable as problem:
            wanted = services.condition(False, problem.reason, problem.message, self._now())
        except Exception as error:
            text = f"failing or missing response from {target.path}: {error or type(error).__name__}"
            wanted = services.condition(False, "FailedDiscoveryCheck", text, self._now())
        else:
            wanted = services.condition(True, "Passed", "all checks passed", self._now())
            await self._learn(found, address)
        good = wanted["status"] == "True"
        if found.available != good:
            _log.log(logging.INFO if good else logging.WARNING, "APIService %s: %s", target.name, wanted["message"])
            found.available = good
            found.changed = True
        if found.changed:
            found.changed = False
            self.generation += 1
        before = self.context.read(COLLECTION, "", target.name)
        if before is not None and services.read(before) == target:
            await self._mark(target.name, wanted)

    async def _learn(self, found: Remote, address: Address) -> None:
        """What the server says of itself may be wrong in any way; that makes it no less available."""
        try:
            await remote.learn(self.forwarder, found, address)
        except Exception as error:
            _log.warning(
                "APIService %s: discovery cannot be read: %s", found.target.name, error or type(error).__name__
            )
