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
from tortie.felix.dataplane.interfaces import Interfaces
from tortie.felix.dataplane.kernel import Kernel
from tortie.felix.dataplane.network import Network
from tortie.felix.dataplane.policies import policy_chains, profile_chains
from tortie.felix.dataplane.routes import RouteTable
from tortie.felix.dataplane.static import Situation
from tortie.felix.dataplane.table import TableState
from tortie.felix.dataplane.workloads import Workloads
from tortie.felix.dataplane.writer import ApplyError, NotSupportedError, TableWriter
from tortie.felix.messages import (
    ConfigUpdate,
    EndpointStatus,
    HostEndpointRemove,
    HostEndpointUpdate,
    InSync,
    IPSetDelta,
    IPSetRemove,
    IPSetUpdate,
    Message,
    PolicyRemove,
    PolicyUpdate,
    ProfileRemove,
    ProfileUpdate,
    ServiceRemove,
    ServiceUpdate,
    WorkloadEndpointRemove,
    WorkloadEndpointUpdate,
)
from tortie.model.dataplane import EndpointKey
from tortie.service.log import get_logger

_BATCH = 1000
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 10.0
_REBUILD_AFTER = 5
_SETS_A_ROUND = 20
_LOG = get_logger("tortie.felix.dataplane")


class Dataplane:
    """enqueue() from the event loop's thread; run() until cancelled. `revision` counts messages' batches."""

    def __init__(
        self, config: DataplaneConfig, *, on_status: Callable[[list[EndpointStatus]], None] | None = None
    ) -> None:
        self.config = config
        self._on_status = on_status or (lambda statuses: None)
        self._queue: deque[Message] = deque()
        self.revision = 0
        self.applied_revision = 0
        self._wake = asyncio.Event()
        self._applied = asyncio.Condition()
        self._in_sync = False
        self.ready = False
        self._interfaces = Interfaces(config.interface_exclude)
        self._tables = [TableState(version) for version in config.versions]
        self._routes = RouteTable(config, self._interfaces)
        self._workloads = Workloads(config, self._interfaces, self._tables, self._routes)
        self._hosts = HostEndpoints(config, self._interfaces, self._tables)
        self._network = Network(config, self._interfaces, self._tables, self._routes)
        self._situations: dict[int, Situation] = {}
        self._kernel: Kernel | None = None
        self._writer: TableWriter | None = None
        self._statuses: dict[EndpointKey, EndpointStatus] = {}
        self._problems: dict[str, str] = {}
        self._failures = 0
        self._next_try = 0.0
        self._counts = {"messages": 0, "applies": 0, "failures": 0, "repairs": 0}
        self._last_apply_seconds = 0.0
        self._set_cursor = 0

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
        kernel = Kernel(self.config)
        loop = asyncio.get_running_loop()
        self._kernel = kernel
        self._writer = TableWriter(kernel.nft, self._tables)
        watched = kernel.descriptors()
        try:
            for descriptor in watched:
                loop.add_reader(descriptor, self._wake.set)
            self._schedule_refreshes(time.monotonic())
            while True:
                await self._turn()
        finally:
            for descriptor in watched:
                loop.remove_reader(descriptor)
            kernel.close()

    # --- the loop --------------------------------------------------------------------------------------------------

    async def _turn(self) -> None:
        now = time.monotonic()
        timeout = self._sleep_time(now)
        if not self._queue:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), timeout)
        self._wake.clear()
        now = time.monotonic()
        self._hear(now)
        self._refresh(now)
        complete = self._drain()
        if self._in_sync and self._interfaces.listed and now >= self._next_try:
            self._apply(now)
            if complete and not self._failures:
                await self._announce(self.revision)
        await asyncio.sleep(0)

    def _sleep_time(self, now: float) -> float:
        times = [self._next_refresh[name] for name in self._next_refresh]
        expiry = self._interfaces.next_expiry
        if expiry is not None:
            times.append(expiry)
        if self._failures:
            times.append(self._next_try)
        if self._suspicion:
            times.append(self._suspicion)
        return max(0.0, min(times) - now) if times else 10.0

    async def _announce(self, revision: int) -> None:
        if revision > self.applied_revision:
            self.applied_revision = revision
            async with self._applied:
                self._applied.notify_all()

    def _drain(self) -> bool:
        """Takes queued messages; True if none are left."""
        for _ in range(min(_BATCH, len(self._queue))):
            message = self._queue.popleft()
            self._counts["messages"] += 1
            try:
                self._handle(message)
            except (ValueError, KeyError) as error:
                name = type(message).__name__
                _LOG.error("message cannot be used", message=name, subject=_subject(message), error=str(error))
                self._problems[f"{name} {_subject(message)}"] = str(error)
        return not self._queue

    def _handle(self, message: Message) -> None:
        match message:
            case IPSetUpdate():
                for table in self._tables:
                    table.put_set(message.id, message.kind, message.members)
            case IPSetDelta():
                for table in self._tables:
                    table.change_set(message.id, message.added, message.removed)
            case IPSetRemove():
                for table in self._tables:
                    table.drop_set(message.id)
            case PolicyUpdate():
                for table in self._tables:
                    table.put(f"policy:{message.key}", policy_chains(message, table.version, self.config))
            case PolicyRemove():
                for table in self._tables:
                    table.drop(f"policy:{message.key}")
            case ProfileUpdate():
                for table in self._tables:
                    table.put(f"profile:{message.name}", profile_chains(message, table.version, self.config))
            case ProfileRemove():
                for table in self._tables:
                    table.drop(f"profile:{message.name}")
            case WorkloadEndpointUpdate():
                self._workloads.update(message)
            case WorkloadEndpointRemove():
                self._workloads.remove(message.key)
            case HostEndpointUpdate():
                self._hosts.update(message)
            case HostEndpointRemove():
                self._hosts.remove(message.key)
            case InSync():
                self._in_sync = True
            case ConfigUpdate() | ServiceUpdate() | ServiceRemove():
                pass  # the daemon restarts on a changed configuration; services matter to the collector alone
            case _:
                self._network.update(message)
