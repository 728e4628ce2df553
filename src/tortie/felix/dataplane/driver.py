"""The dataplane driver: messages of the calculation in, the kernel as they say, reports of endpoints out.

It orders calls and owns time: nothing is written before the first complete snapshot and the first listing of interfaces
(spec/felix.md 1.7); then each wake-up drains messages and events, resolves, writes what differs, and tries again with
growing pauses what failed. Rules before routes, sets before rules, status last.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence

from tortie.felix.dataplane import static
from tortie.felix.dataplane.config import DataplaneConfig
from tortie.felix.dataplane.hosts import HostEndpoints
from tortie.felix.dataplane.inbox import Inbox
from tortie.felix.dataplane.interfaces import Interfaces
from tortie.felix.dataplane.kernel import Kernel
from tortie.felix.dataplane.network import Network
from tortie.felix.dataplane.refresh import Refreshes
from tortie.felix.dataplane.routes import RouteTable
from tortie.felix.dataplane.static import Situation
from tortie.felix.dataplane.table import TableState
from tortie.felix.dataplane.workloads import Workloads
from tortie.felix.dataplane.writer import NO_RIGHTS, ApplyError, NotSupportedError, TableWriter
from tortie.felix.messages import EndpointStatus, Message
from tortie.model.dataplane import EndpointKey
from tortie.net.monitor import AddressEvent, LinkEvent
from tortie.service.log import get_logger

_BATCH = 1000
_LARGE = 200  # messages whose work is left to a thread, so that the event loop goes on breathing
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 10.0
_REBUILD_AFTER = 5
_GIVE_UP_AFTER = 10
_KERNEL_RETRY = 1.0
_LOG = get_logger("tortie.felix.dataplane")


class Dataplane:
    """enqueue() from the event loop's thread; run() until cancelled. `revision` counts messages' batches.
    `turns` grows at least every ten seconds while the loop lives, for the daemon's watchdog."""

    def __init__(
        self, config: DataplaneConfig, *, on_status: Callable[[list[EndpointStatus]], None] | None = None
    ) -> None:
        self.config = config
        self._on_status = on_status or (lambda statuses: None)
        self._queue: deque[Message] = deque()
        self.revision = 0
        self.applied_revision = 0
        self.turns = 0
        self._wake = asyncio.Event()
        self._applied = asyncio.Condition()
        self.ready = False
        self._interfaces = Interfaces(config.interface_exclude)
        self._tables = [TableState(version) for version in config.versions]
        self._routes = RouteTable(config, self._interfaces)
        self._workloads = Workloads(config, self._interfaces, self._tables, self._routes)
        self._hosts = HostEndpoints(config, self._interfaces, self._tables)
        self._network = Network(config, self._interfaces, self._tables, self._routes)
        self._inbox = Inbox(config, self._tables, self._workloads, self._hosts, self._network)
        self._situations: dict[int, Situation] = {}
        self._kernel: Kernel | None = None
        self._writer: TableWriter | None = None
        self._statuses: dict[EndpointKey, EndpointStatus] = {}
        self._problems: dict[str, str] = {}
        self._chain_problems: dict[str, str] = {}
        self._failures = 0
        self._next_try = 0.0
        self._retry_at = 0.0
        self._last_turn = time.monotonic()
        self._status_due = False
        self._counts = {"messages": 0, "applies": 0, "failures": 0, "repairs": 0}
        self._last_apply_seconds = 0.0
        self._refreshes = Refreshes(config)

    # --- for the daemon --------------------------------------------------------------------------------------------

    def enqueue(self, messages: Sequence[Message]) -> int:
        """Takes one flush of the calculation; returns the revision for `wait_applied`."""
        self._queue.extend(messages)
        self.revision += 1
        self._wake.set()
        return self.revision

    async def wait_applied(self, revision: int) -> None:
        """Returns when everything up to `revision` is in force."""
        async with self._applied:
            await self._applied.wait_for(lambda: self.applied_revision >= revision)

    def problems(self) -> dict[str, str]:
        """What is not in force as wished: object in the user's words -> why."""
        return dict(self._problems)

    @property
    def last_turn(self) -> float:
        """When the loop last went round, on the monotonic clock; at least every ten seconds unless it hangs."""
        return self._last_turn

    def statuses(self) -> list[EndpointStatus]:
        return list(self._statuses.values())

    def statistics(self) -> dict[str, object]:
        """Plain numbers for metrics, status commands and the support bundle."""
        return {
            **self._counts,
            "queued": len(self._queue),
            "ready": self.ready,
            "revision": self.revision,
            "applied_revision": self.applied_revision,
            "last_apply_seconds": self._last_apply_seconds,
            "tables": {table.family: table.statistics() for table in self._tables},
            "routes": self._routes.statistics(),
            "interfaces": self._interfaces.statistics(),
            "workloads": self._workloads.statistics(),
            "host_endpoints": self._hosts.statistics(),
            "network": self._network.statistics(),
            "isolated": self._writer.isolated if self._writer else 0,
        }

    async def run(self) -> None:
        """Runs in the network namespace of the calling thread until cancelled; leaves the kernel as it is then."""
        kernel = self.open()
        loop = asyncio.get_running_loop()
        watched = kernel.descriptors()
        try:
            for descriptor in watched:
                loop.add_reader(descriptor, self._wake.set)
            while True:
                await self._turn()
        finally:
            for descriptor in watched:
                loop.remove_reader(descriptor)
            kernel.close()

    def open(self) -> Kernel:
        """Opens the kernel's doors in the calling thread's namespace; the caller closes them. Part of `run`."""
        try:
            kernel = Kernel(self.config)
        except PermissionError as error:
            raise NotSupportedError(NO_RIGHTS) from error
        self._kernel = kernel
        self._writer = TableWriter(kernel.nft, self._tables)
        self._refreshes.start(time.monotonic())
        if self.config.prepare_host:
            kernel.prepare_host()
        self._list_interfaces()
        return kernel

    def work(self) -> bool:
        """One turn of the loop without waiting: hears, drains, applies. True if everything queued is in force."""
        now = self._last_turn = time.monotonic()
        self._hear(now)
        self._refresh(now)
        complete = self._drain()
        if self._inbox.in_sync and self._interfaces.listed and now >= self._next_try:
            self._apply(now)
        return complete and not self._failures

    # --- the loop --------------------------------------------------------------------------------------------------

    async def _turn(self) -> None:
        self.turns += 1
        now = time.monotonic()
        timeout = max(0.0, self._next_time(now) - now)
        if not self._queue:
            # Not wait_for: it loses a cancellation that comes together with what it waits for.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._wake.wait()
        self._wake.clear()
        revision = self.revision
        if self.ready and len(self._queue) < _LARGE and not self._refreshes.takes_long(time.monotonic()):
            settled = self.work()
        else:
            settled = await self._work_aside()
        if settled and self._inbox.in_sync:
            await self._announce(revision)
        await asyncio.sleep(0)

    def _next_time(self, now: float) -> float:
        times = [self._refreshes.next_time, now + _LONGEST_PAUSE]
        times += [when for when in (self._interfaces.next_expiry, self._routes.next_time) if when is not None]
        if self._failures:
            times.append(self._next_try)
        if self._retry_at:
            times.append(self._retry_at)
        return min(times)

    async def _work_aside(self) -> bool:
        """A turn on a thread. Not even cancelling leaves before it is done: the sockets are in use until then."""
        turn = asyncio.get_running_loop().run_in_executor(None, self.work)
        try:
            return await asyncio.shield(turn)
        except asyncio.CancelledError:
            with contextlib.suppress(ApplyError, OSError):
                await turn
            raise

    async def _announce(self, revision: int) -> None:
        if revision > self.applied_revision:
            self.applied_revision = revision
            async with self._applied:
                self._applied.notify_all()

    def _drain(self) -> bool:
        """Takes queued messages; True if none are left."""
        for _ in range(min(_BATCH, len(self._queue))):
            self._counts["messages"] += 1
            if not self._inbox.take(self._queue.popleft()):
                self._status_due = True
        return not self._queue

    # --- hearing ---------------------------------------------------------------------------------------------------

    def _list_interfaces(self) -> None:
        assert self._kernel is not None
        self._interfaces_changed(self._interfaces.load(*self._kernel.interfaces()))

    def _interfaces_changed(self, names: set[str]) -> None:
        if names:
            self._status_due = True
        for name in names:
            self._workloads.interface_changed(name)
            self._hosts.interface_changed(name)
            self._network.interface_changed(name)
            self._routes.interface_changed(name)

    def _hear(self, now: float) -> None:
        """Takes the kernel's events; looks after the tables when somebody else has changed rules."""
        assert self._kernel is not None and self._writer is not None
        events = self._kernel.events()
        if events is None:
            self._list_interfaces()
            self._routes.relist()
            events = []
        changed: set[str] = set()
        for event in events:
            if isinstance(event, LinkEvent):
                old = self._interfaces.by_index(event.link.index)
                changed |= self._interfaces.link_changed(event.link, present=event.present)
                if old is not None and not event.present:
                    self._routes.interface_gone(old.name, old.index)
            elif isinstance(event, AddressEvent):
                changed |= self._interfaces.address_changed(event.address, present=event.present, now=now)
            else:
                self._routes.changed_elsewhere(event.route, present=event.present)
        self._interfaces_changed(changed | self._interfaces.expire(now))
        self._routes.expire(now)
        if self._kernel.foreign_changes() and self.ready:
            if not self._writer.tables_intact():
                self._repair("another program changed the nftables tables")
            else:
                self._refreshes.suspect(now)

    def _repair(self, why: str) -> None:
        assert self._writer is not None
        _LOG.warning("repairing the nftables rules", reason=why)
        self._counts["repairs"] += 1
        self._writer.repair()

    def _refresh(self, now: float) -> None:
        """The checks that are due: a slip of the kernel's or anybody's is found without an event, too."""
        assert self._writer is not None
        due = self._refreshes.due(now)
        if "interfaces" in due:
            self._list_interfaces()
        if "routes" in due:
            self._routes.relist()
            self._workloads.recheck()
            self._network.recheck()
        if not self.ready or any(table.pending for table in self._tables):
            return
        if "tables" in due:
            started = time.monotonic()
            why = self._writer.verify()
            self._refreshes.verified(time.monotonic() - started)
            if why:
                self._repair(why)
            else:
                for table in self._tables:
                    table.retry_broken()
        if "sets" in due and not any(table.pending for table in self._tables):
            wrong = self._refreshes.check_sets(self._tables, self._writer)
            if wrong:
                self._repair(f"set {wrong} differs")

    # --- applying --------------------------------------------------------------------------------------------------

    def _apply(self, now: float) -> None:
        started = time.perf_counter()
        try:
            worked = self._apply_once(now)
        except NotSupportedError:
            raise
        except (ApplyError, OSError) as error:
            self._failed(now, str(error))
            return
        self._failures = 0
        if worked:
            self._counts["applies"] += 1
            self._last_apply_seconds = time.perf_counter() - started
        if not self.ready:
            self.ready = True
            _LOG.info("dataplane in sync", seconds=round(time.perf_counter() - started, 4))

    def _failed(self, now: float, reason: str) -> None:
        self._failures += 1
        self._counts["failures"] += 1
        _LOG.warning("the kernel refused an update", attempt=self._failures, error=reason)
        self._problems["dataplane"] = reason
        if self._failures >= _GIVE_UP_AFTER:
            raise ApplyError(f"giving up after {self._failures} attempts: {reason}")
        if self._failures == _REBUILD_AFTER and self._writer is not None:
            self._writer.repair(whole=True)
        self._next_try = now + min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (self._failures - 1) * 2)

    def _apply_once(self, now: float) -> bool:
        assert self._kernel is not None and self._writer is not None
        self._status_due = self._status_due or self._hosts.pending or self._workloads.pending or self._routes.pending
        self._hosts.resolve()
        self._workloads.resolve()
        self._network.resolve()
        self._frame()
        worked = self._writer.apply()
        left = self._workloads.take_left()
        if left:
            self._kernel.forget_connections(left)
        if self._workloads.pending or self._network.pending or self._routes.pending:
            worked = True
            self._workloads.sync(self._kernel.route)
            self._network.sync(self._kernel.route)
            self._routes.sync(self._kernel.route, now)
            unfinished = self._workloads.pending or self._network.pending or self._routes.pending
            self._retry_at = now + _KERNEL_RETRY if unfinished else 0.0
            self._status_due = True
        if worked or self._status_due:
            self._publish()
        return worked

    def _frame(self) -> None:
        """The base chains, which depend on little and change rarely."""
        for table in self._tables:
            situation = Situation(
                **self._network.situation(table.version),
                host_dispatch=self._hosts.dispatch,
                spoofing=self._workloads.spoofing(),
            )
            if self._situations.get(table.version) == situation:
                continue
            if table.version not in self._situations:
                for name in (static.FROM_WORKLOAD, static.TO_WORKLOAD):
                    table.put_map(name, dict(table.map_entries(name)))
            self._situations[table.version] = situation
            table.put("frame", static.chains(situation, table.version, self.config))

    # --- reporting -------------------------------------------------------------------------------------------------

    def _publish(self) -> None:
        problems: dict[str, str] = {}
        named: dict[str, str] = {**self._inbox.rejected, **self._network.problems()}
        for table in self._tables:
            problems |= table.problems()
            for owner, reason in table.problems_by_owner().items():
                problems[owner] = named[owner] = reason
        if named != self._problems:
            self._report(named)
        if not self._status_due and problems == self._chain_problems:
            return
        self._status_due = False
        self._chain_problems = problems
        statuses: dict[EndpointKey, EndpointStatus] = {}
        for status in (*self._workloads.statuses(problems), *self._hosts.statuses(problems)):
            statuses[status.key] = status
        changed = [status for key, status in statuses.items() if self._statuses.get(key) != status]
        changed += [EndpointStatus(key, "down", "removed") for key in self._statuses.keys() - statuses.keys()]
        self._statuses = statuses
        if changed:
            self._on_status(changed)

    def _report(self, named: dict[str, str]) -> None:
        for owner, reason in named.items():
            if self._problems.get(owner) != reason:
                _LOG.error("not in force as wished; what it covers is denied", object=owner, reason=reason)
        for owner in self._problems.keys() - named.keys():
            _LOG.info("in force again", object=owner)
        self._problems = named
