"""Felix, put together: the syncer feeds the calculation, the calculation feeds the dataplane, and people can see it.

In: the Kubernetes API through the syncer. Out: the kernel through the dataplane, status files for the CNI agent, health
and metrics for operators, Events for users. It only orders calls; what each part does is written in that part. Nothing
here ever takes rules away: at every end of this process the kernel stays as it is (spec/felix.md 1.8).
"""

import asyncio
import gc
import signal
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tortie.felix import mtu
from tortie.felix.calc import Calculation
from tortie.felix.config import Effective
from tortie.felix.dataplane import Dataplane, DataplaneConfig
from tortie.felix.messages import (
    ConfigUpdate,
    Encapsulation,
    EndpointStatus,
    Message,
    WorkloadEndpointRemove,
    WorkloadEndpointUpdate,
)
from tortie.felix.metrics import Metrics
from tortie.felix.report import Report, subject
from tortie.felix.settings import Settings
from tortie.felix.status import StatusFiles
from tortie.kube.client import Client
from tortie.kube.config import ClusterConfig
from tortie.kube.events import EventRecorder
from tortie.model.dataplane import Update, WorkloadEndpointKey
from tortie.model.v3.felix_parameters.values import parse_timeouts
from tortie.service.health import HealthAggregator, serve
from tortie.service.log import get_logger
from tortie.service.run import Fatal, Service, freeze_garbage
from tortie.syncer import Syncer, SyncStatus

RESTART_STATUS = 129
"""Exit status that asks the supervisor to start Felix again with a changed configuration."""

_STARTUP, _CALCULATION, _DATAPLANE = "FelixStartup", "CalculationGraph", "InternalDataplaneMainLoop"
_CALCULATION_DEADLINE, _SHORTEST_WATCHDOG = 30.0, 20.0
_BEAT, _STATUS_RESYNC, _MTU_POLL, _REPORT_POLL, _RESTART_PAUSE = 5.0, 10.0, 30.0, 1.0, 2.0

_log = get_logger("felix")


@dataclass(slots=True)
class _Batch:
    """Messages on their way to the kernel: when their cause arrived, and what they say about endpoints."""

    revision: int
    since: float
    endpoints: dict[WorkloadEndpointKey, WorkloadEndpointUpdate | None]


class Felix:
    """state_directory: where the file `mtu` goes. exit_status: what the process should leave with, if it ends well."""

    def __init__(self, settings: Settings, cluster: ClusterConfig, *, node: str, state_directory: Path) -> None:
        self.exit_status = 0
        self._settings = settings
        self._cluster = cluster
        self._node = node
        self._state_directory = state_directory
        self._started = time.monotonic()
        self._calculation = Calculation(node)
        self._dataplane: Dataplane | None = None
        self._health = HealthAggregator()
        self._metrics = Metrics(node)
        self._metrics.calculation = self._calculation.statistics
        self._files: StatusFiles | None = None
        self._endpoints: dict[WorkloadEndpointKey, WorkloadEndpointUpdate] = {}
        self._batches: deque[_Batch] = deque()
        self._encapsulation = Encapsulation(vxlan=False, vxlan_v6=False, ipip=False)
        self._synced = asyncio.Event()
        self._sent = asyncio.Event()
        self._endpoints_changed = asyncio.Event()
        self._mtu_due = asyncio.Event()
        self._restarting = False
        self._frozen = False

    async def run(self, service: Service) -> None:
        """The daemon's main: returns when the service stops. Raises Fatal."""
        self._service = service
        self._loop = asyncio.get_running_loop()
        self._loop.add_signal_handler(signal.SIGHUP, self._restart, "SIGHUP")
        self._health.register(_STARTUP, timeout=None)
        self._health.report(_STARTUP, ready=False, detail="waiting for the datastore")
        self._health.register(_CALCULATION, timeout=_CALCULATION_DEADLINE)
        serving = await self._serve_health(self._settings.effective)
        service.spawn(self._beat(), "health beat")
        # The first snapshot is almost all that is ever allocated, and it stays: collecting meanwhile finds nothing.
        gc.disable()
        async with Client(self._cluster) as client:
            service.spawn(Syncer(client, node=self._node).run(self), "syncer")
            await self._wait_for_datastore()
            effective = self._settings.settle()
            if not serving:
                await self._serve_health(effective)
            await self._serve_metrics(effective)
            self._start_dataplane(effective)
            recorder = EventRecorder(client, "felix", host=self._node)
            service.spawn(recorder.run(), "events")
            service.spawn(self._report(Report(recorder, node=self._node)), "report")
            self._health.report(_STARTUP, detail="started")
            await service.stopping.wait()

    # --- what the syncer calls -------------------------------------------------------------------------------------

    def on_updates(self, updates: list[Update]) -> None:
        """A batch from the syncer: calculated at once, no waiting for more."""
        since = time.monotonic()
        self._metrics.received(updates)
        for update in updates:
            self._settings.take(update)
        self._calculation.update(updates)
        if self._dataplane is not None:
            self._reconsider()
            self._flush(since)
        elif self._metrics.state == "in-sync":
            self._synced.set()  # the start may wait for a change of ClusterInformation

    def on_status(self, status: SyncStatus) -> None:
        """What the syncer thinks of its own state. A lost datastore changes nothing here: the last state stands."""
        self._metrics.syncing(status)
        if status == "in-sync":
            self._synced.set()

    # --- start -----------------------------------------------------------------------------------------------------

    async def _wait_for_datastore(self) -> None:
        while True:
            await self._synced.wait()
            self._synced.clear()
            if self._settings.datastore_ready:
                return
            self._health.report(_STARTUP, ready=False, detail="ClusterInformation says the datastore is not ready")

    def _start_dataplane(self, effective: Effective) -> None:
        for problem in effective.problems:
            _log.warning("configuration", problem=problem)
        named = effective.named()
        try:
            config = DataplaneConfig.of(named, node=self._node)
        except ValueError as error:
            raise Fatal(f"configuration: {error}") from error
        self._calculation.source_spoofing = config.workload_source_spoofing
        self._dataplane = dataplane = Dataplane(config, on_status=self._on_endpoint_status)
        self._metrics.dataplane = dataplane.statistics
        watchdog = max(_SHORTEST_WATCHDOG, effective.seconds("DataplaneWatchdogTimeout"))
        self._health.register(_DATAPLANE, timeout=watchdog)
        self._apply_live(effective)
        prefix = effective.text("EndpointStatusPathPrefix")
        if prefix:
            self._files = StatusFiles(Path(prefix))
            self._files.sweep()
        dataplane.enqueue([ConfigUpdate(config=named)])
        self._calculation.in_sync()
        self._flush(self._started)
        self._service.spawn(dataplane.run(), "dataplane")
        self._service.spawn(self._follow_dataplane(dataplane), "revisions")
        self._service.spawn(self._publish_status(dataplane), "endpoint status")
        self._service.spawn(self._publish_mtu(effective.text("MtuIfacePattern")), "mtu")

    async def _serve_health(self, effective: Effective) -> bool:
        if not effective.boolean("HealthEnabled"):
            return False
        host, port = effective.text("HealthHost"), effective.integer("HealthPort")
        server = await serve(self._health, host, port, registry=self._metrics.registry)
        self._service.on_stop(server.close)
        return True

    async def _serve_metrics(self, effective: Effective) -> None:
        if effective.boolean("PrometheusMetricsEnabled"):
            host = effective.text("PrometheusMetricsHost") or "0.0.0.0"  # noqa: S104 - the documented default
            port = effective.integer("PrometheusMetricsPort")
            server = await serve(self._health, host, port, registry=self._metrics.registry)
            self._service.on_stop(server.close)

    # --- calculation to dataplane ----------------------------------------------------------------------------------

    def _flush(self, since: float) -> None:
        assert self._dataplane is not None
        with self._metrics.calculation_time.time():
            messages = self._calculation.flush()
        if not messages:
            return
        self._metrics.sent(messages)
        revision = self._dataplane.enqueue(messages)
        self._batches.append(_Batch(revision, since, self._note(messages)))
        self._sent.set()

    def _note(self, messages: Sequence[Message]) -> dict[WorkloadEndpointKey, WorkloadEndpointUpdate | None]:
        endpoints: dict[WorkloadEndpointKey, WorkloadEndpointUpdate | None] = {}
        for message in messages:
            if isinstance(message, WorkloadEndpointUpdate):
                endpoints[message.key] = message
            elif isinstance(message, WorkloadEndpointRemove):
                endpoints[message.key] = None
            elif isinstance(message, Encapsulation):
                self._encapsulation = message
                self._mtu_due.set()
        return endpoints

    async def _follow_dataplane(self, dataplane: Dataplane) -> None:
        """Notes when each batch is in the kernel: what its endpoints are from then on, and how long it took."""
        while True:
            await self._sent.wait()
            self._sent.clear()
            while self._batches:
                await dataplane.wait_applied(self._batches[0].revision)
                now = time.monotonic()
                while self._batches and self._batches[0].revision <= dataplane.applied_revision:
                    batch = self._batches.popleft()
                    self._applied(dataplane, batch, now - batch.since)
                self._endpoints_changed.set()

    def _applied(self, dataplane: Dataplane, batch: _Batch, seconds: float) -> None:
        for key, update in batch.endpoints.items():
            if update is None:
                self._endpoints.pop(key, None)
            else:
                self._endpoints[key] = update
        last = dataplane.statistics().get("last_apply_seconds")
        if isinstance(last, float):
            self._metrics.apply_time.observe(last)
        if self._frozen:
            self._metrics.latency.observe(seconds)
            return
        self._frozen = True
        self._metrics.initial_resync_seconds = seconds
        _log.info("everything is in force", seconds=round(seconds, 3), **self._sizes())
        freeze_garbage()
        gc.enable()

    def _sizes(self) -> dict[str, int]:
        numbers = self._calculation.statistics()
        return {name: numbers[name] for name in ("local_endpoints", "active_policies", "active_sets")}

    # --- configuration ---------------------------------------------------------------------------------------------

    def _reconsider(self) -> None:
        decision = self._settings.decide()
        if decision.action == "restart":
            self._restart(decision.reason)
        elif decision.action == "live":
            _log.info("configuration changed", parameters=decision.reason)
            self._apply_live(self._settings.effective)

    def _apply_live(self, effective: Effective) -> None:
        self._health.set_timeouts(parse_timeouts(effective.text("HealthTimeoutOverrides")))

    def _restart(self, reason: str) -> None:
        """Leaves, for the supervisor to start a new process; not at once, so that a storm of changes is one restart."""
        if self._restarting:
            return
        self._restarting = True
        self.exit_status = RESTART_STATUS
        _log.info("restarting with a changed configuration", reason=reason)
        self._loop.call_later(_RESTART_PAUSE, self._service.stop)

    # --- what others see -------------------------------------------------------------------------------------------

    def _on_endpoint_status(self, statuses: list[EndpointStatus]) -> None:
        """From the dataplane, perhaps on a thread of its own."""
        for status in statuses:
            _log.info("endpoint", endpoint=subject(status.key), status=status.status, error=status.error)
        self._loop.call_soon_threadsafe(self._endpoints_changed.set)

    async def _publish_status(self, dataplane: Dataplane) -> None:
        """Keeps the status files: at every change, and every ten seconds whatever happened to the directory."""
        while self._files is not None:
            everything = False
            try:
                async with asyncio.timeout(_STATUS_RESYNC):
                    await self._endpoints_changed.wait()
            except TimeoutError:
                everything = True
            self._endpoints_changed.clear()
            if dataplane.ready:
                up = {status.key for status in dataplane.statuses() if status.status == "up"}
                self._files.sync(
                    {key: update for key, update in self._endpoints.items() if key in up}, everything=everything
                )

    async def _publish_mtu(self, pattern: str) -> None:
        path = self._state_directory / "mtu"
        while True:
            try:
                mtu.publish(path, pattern, self._encapsulation)
            except OSError as error:
                _log.warning("the MTU file cannot be written", file=str(path), error=str(error))
            try:
                async with asyncio.timeout(_MTU_POLL):
                    await self._mtu_due.wait()
            except TimeoutError:
                pass
            self._mtu_due.clear()

    async def _report(self, report: Report) -> None:
        """Looks for what is not in force; the parts only keep tables, so that a storm of failures is one report."""
        while True:
            assert self._dataplane is not None
            refused = {subject(key): reason for key, reason in self._calculation.problems.items()}
            refused |= {subject(key): reason for key, reason in self._calculation.incomplete.items()}
            failed = {
                subject(status.key): status.error for status in self._dataplane.statuses() if status.status == "error"
            }
            report.update(refused=refused, failed=failed | self._dataplane.problems())
            self._metrics.problems = len(report.problems)
            await asyncio.sleep(_REPORT_POLL)

    async def _beat(self) -> None:
        """The loops' signs of life, on a timer, traffic or not. The calculation shares this task's event loop, so any
        beat is its sign of life; the dataplane's is that its loop has turned."""
        turns = -1
        while True:
            dataplane = self._dataplane
            in_sync = dataplane is not None
            self._health.report(_CALCULATION, ready=in_sync, detail="in sync" if in_sync else "not in sync yet")
            if dataplane is not None and dataplane.turns != turns:
                turns = dataplane.turns
                detail = "programmed" if dataplane.ready else "first apply is due"
                self._health.report(_DATAPLANE, ready=dataplane.ready, detail=detail)
            # Until it is ready, somebody waits to hear so.
            await asyncio.sleep(_BEAT if dataplane is not None and dataplane.ready else 0.05)
