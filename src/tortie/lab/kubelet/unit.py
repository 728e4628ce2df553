"""One container of a pod over its restarts: starting, stopping, probing, and what it says about itself.

In: the container's spec and the pod's circumstances from `worker`. Out: a running container, its records below the
pod's directory, events, a `ContainerStatus`; the worker is woken when the container ends or its readiness changes.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from tortie.lab.images import catalog
from tortie.lab.kubelet import launch, probes, rootfs
from tortie.lab.kubelet.api import (
    Container,
    ContainerState,
    ContainerStatus,
    LifecycleHandler,
    Probe,
    RunningState,
    TerminatedState,
    WaitingState,
)
from tortie.lab.kubelet.environment import MissingReference
from tortie.lab.kubelet.launch import Circumstances, Record
from tortie.lab.kubelet.logs import last_lines
from tortie.lab.kubelet.node_services import NodeServices
from tortie.lab.kubelet.runtime import Process, StartError, read_exit
from tortie.lab.kubelet.volumes import VolumeError

_BACKOFF_FIRST, _BACKOFF_LIMIT, _BACKOFF_FORGET = 10.0, 300.0, 600.0
_MESSAGE_LIMIT = 4096
_REFERENCE_RETRY = 2.0


class Backoff:
    """Delays that double from ten seconds to five minutes; ten quiet minutes forget them. free: the first failure
    costs nothing, as with restarts."""

    def __init__(self, *, free: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._free = free
        self._clock = clock
        self._delay: float | None = None
        self._last = float("-inf")
        self._until = float("-inf")

    def failed(self) -> float:
        """One more failure; returns the delay before the next try."""
        moment = self._clock()
        if moment - self._last > _BACKOFF_FORGET:
            self._delay = None
        if self._delay is None:
            self._delay = 0.0 if self._free else _BACKOFF_FIRST
        else:
            self._delay = min(_BACKOFF_LIMIT, self._delay * 2 or _BACKOFF_FIRST)
        self._last = moment
        self._until = moment + self._delay
        return self._delay

    @property
    def remaining(self) -> float:
        return max(0.0, self._until - self._clock())


Role = Literal["init", "main", "ephemeral"]


class Unit:
    """wake: called whenever the pod's worker should look again."""

    def __init__(
        self,
        spec: Container,
        directory: Path,
        services: NodeServices,
        circumstances: Callable[[], Circumstances],
        wake: Callable[[], None],
        *,
        role: Role,
    ) -> None:
        self.spec = spec
        self.role = role
        self.init = role == "init"
        self.sidecar = self.init and spec.restart_policy == "Always"
        self.record: Record | None = None
        self.process: Process | None = None
        self.terminated: TerminatedState | None = None
        self.last: TerminatedState | None = None
        self.waiting = WaitingState(reason="ContainerCreating")
        self.ready = False
        self.started = False
        self.stopping: asyncio.Task[None] | None = None
        self._crash = Backoff(free=True)
        self._crash_counted: TerminatedState | None = None
        self._looping = False
        self._pull = Backoff(free=False)
        self._retry_at = float("-inf")
        self._directory = directory
        self._services = services
        self._circumstances = circumstances
        self._wake = wake
        self._probes: asyncio.Task[None] | None = None
        self._started_at = 0.0

    # what it says ------------------------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        return self.process is not None

    @property
    def done(self) -> bool:
        """An init container that has done its part."""
        if self.sidecar:
            return self.started
        return self.terminated is not None and self.terminated.exit_code == 0

    def status(self) -> ContainerStatus:
        """As the API wants it."""
        if self.running and self.record is not None:
            state = ContainerState(running=RunningState(started_at=self.record.started_at[:19] + "Z"))
        elif self.terminated is not None and not self._looping:
            state = ContainerState(terminated=self.terminated)
        else:
            state = ContainerState(waiting=self.waiting)
        record = self.record
        last = self.terminated if self._looping else self.last
        return ContainerStatus(
            name=self.spec.name,
            state=state,
            last_state=ContainerState(terminated=last),
            ready=self.done if self.init and not self.sidecar else self.running and self.ready,
            restart_count=record.attempt if record is not None else 0,
            image=self.spec.image,
            image_id=record.image_id if record is not None else "",
            container_id=f"tortie://{record.id}" if record is not None else "",
            started=self.running and self.started,
        )

    def wait_as(self, reason: str, message: str = "") -> None:
        """Waiting, for the given reason."""
        self.waiting = WaitingState(reason=reason, message=message)

    # starting ----------------------------------------------------------------------------------------------------

    @property
    def delay(self) -> float:
        """Seconds until a start may be tried; 0 for now."""
        return max(self._crash.remaining, self._pull.remaining, self._retry_at - time.monotonic(), 0.0)

    def back_off(self) -> None:
        """Counts the end of the container, once, and says so while it waits for its restart."""
        if self.terminated is not self._crash_counted:
            self._crash_counted = self.terminated
            self._crash_delay = self._crash.failed()
        if self._crash.remaining > 0 and not self._looping:
            self._looping = True
            pod = self._circumstances().pod
            name, where = self.spec.name, f"{pod.metadata.name}_{pod.metadata.namespace}({pod.uid})"
            self._event("Warning", "BackOff", f"Back-off restarting failed container {name} in pod {where}")
            delay = f"{int(self._crash_delay) // 60}m{int(self._crash_delay) % 60}s".removeprefix("0m")
            self.wait_as("CrashLoopBackOff", f"back-off {delay} restarting failed container={name} pod={where}")

    _crash_delay = 0.0

    async def start(self) -> bool:
        """Tries to start the container; on failure it waits with a reason and a time to try again."""
        self._looping = False
        if self.terminated is not None:
            self.last, self.terminated = self.terminated, None
            self.wait_as("ContainerCreating")
        try:
            image = catalog.resolve(self.spec.image)
        except catalog.InvalidReferenceError as error:
            return self._refuse("InvalidImageName", f'Failed to apply default image tag "{self.spec.image}": {error}')
        except catalog.UnknownImageError as error:
            return self._cannot_pull(str(error))
        self._event("Normal", "Pulled", f'Container image "{self.spec.image}" already present on machine')
        attempt = 0 if self.record is None else self.record.attempt + 1
        try:
            record, process = await launch.launch(
                self.spec, image, self._directory, attempt, self._circumstances(), self._services, self._created
            )
        except (MissingReference, VolumeError) as error:
            return self._refuse("CreateContainerConfigError", str(error))
        except (StartError, OSError) as error:
            return self._refuse("CreateContainerError", str(error))
        self.record, self.process = record, process
        self._event("Normal", "Started", f"Started container {self.spec.name}")
        self._watch(process)
        hook = self.spec.lifecycle.post_start if self.spec.lifecycle is not None else None
        if hook is not None:
            await self._post_start(hook)
        if self.process is process:
            self._start_probes(started=False)
        return True

    def _created(self) -> None:
        self._event("Normal", "Created", f"Created container: {self.spec.name}")

    def _refuse(self, reason: str, message: str) -> bool:
        if self.waiting.reason != reason or self.waiting.message != message:
            self._event("Warning", "Failed", f"Error: {message}")
        self.wait_as(reason, message)
        self._retry_at = time.monotonic() + _REFERENCE_RETRY
        return False

    def _cannot_pull(self, message: str) -> bool:
        image = self.spec.image
        self._event("Normal", "Pulling", f'Pulling image "{image}"')
        self._event("Warning", "Failed", f'Failed to pull image "{image}": {message}')
        self._event("Warning", "Failed", "Error: ErrImagePull")
        self.wait_as("ErrImagePull", message)
        self._pull.failed()
        return False

    def image_backed_off(self) -> bool:
        """Turns ErrImagePull into ImagePullBackOff once it has been reported. Returns whether it did."""
        if self.waiting.reason != "ErrImagePull" or self._pull.remaining <= 0:
            return False
        image = self.spec.image
        self._event("Normal", "BackOff", f'Back-off pulling image "{image}"')
        self._event("Warning", "Failed", "Error: ImagePullBackOff")
        self.wait_as("ImagePullBackOff", f'Back-off pulling image "{image}": {self.waiting.message}')
        return True

    async def _post_start(self, hook: LifecycleHandler) -> None:
        outcome = await probes.run_hook(hook, self._target(), 60)
        if not outcome.ok:
            self._event("Warning", "FailedPostStartHook", f"PostStartHook failed: {outcome.text}")
            self.stop(self._circumstances().pod.spec.termination_grace_period_seconds, "FailedPostStartHook")

    # adoption ----------------------------------------------------------------------------------------------------

    def adopt(self) -> bool:
        """Finds what a kubelet before this one left: a running container, or how it ended. Returns whether any."""
        records = launch.records(self._directory)
        if not records:
            return False
        self.record = records[-1]
        directory = launch.attempt_directory(self._directory, self.record.attempt)
        if len(records) > 1:
            previous = records[-2]
            self.last = self._termination(previous, launch.attempt_directory(self._directory, previous.attempt))
        if (directory / "exit.json").exists() or not Path(self.record.socket).exists():
            self.terminated = self._termination(self.record, directory)
            return True
        self.process = Process(directory, self.record.socket, self.record.init_pid)
        self._watch(self.process)
        self._start_probes(started=self.record.started)
        return True

    # running and ending ------------------------------------------------------------------------------------------

    def _watch(self, process: Process) -> None:
        self._started_at = time.monotonic()
        process.exited().add_done_callback(lambda _task: self._ended(process))

    def _ended(self, process: Process) -> None:
        if self.process is not process or self.record is None:
            return
        self._stop_probes()
        self.process = None
        self.ready = self.started = False
        self.terminated = self._termination(self.record, process.directory)
        rootfs.unmount_overlays(process.directory)
        self._wake()

    def _termination(self, record: Record, directory: Path) -> TerminatedState:
        end = read_exit(directory)
        code = end.exit_code
        reason, message = ("Completed" if code == 0 else "Error"), self._termination_message(record, directory, code)
        if end.lost:
            reason, message = "ContainerStatusUnknown", "The container could not be located when the kubelet looked"
        elif code == 1 and (missing := launch.missing_program(self._directory, record.attempt)):
            code, reason, message = 128, "StartError", missing
        return TerminatedState(
            exit_code=code,
            reason=reason,
            message=message or None,
            started_at=record.started_at[:19] + "Z",
            finished_at=end.finished_at[:19] + "Z",
            container_id=f"tortie://{record.id}",
        )

    def _termination_message(self, record: Record, directory: Path, code: int) -> str:
        text = ""
        with contextlib.suppress(OSError):
            text = (directory / "termination-log").read_text(errors="replace")[:_MESSAGE_LIMIT]
        if not text and code != 0 and self.spec.termination_message_policy == "FallbackToLogsOnError":
            text = last_lines(launch.log_path(self._directory, record.attempt), lines=80, limit=2048)
        return text

    def stop(self, grace: float, reason: str = "") -> asyncio.Task[None]:
        """Ends the container: preStop hook, SIGTERM, SIGKILL when `grace` seconds are over. A second call with less
        grace hastens the first."""
        if self.process is None:
            return asyncio.get_running_loop().create_task(asyncio.sleep(0))
        if self.stopping is not None and not self.stopping.done():
            if grace >= self._stop_deadline - time.monotonic():
                return self.stopping
            self.stopping.cancel()
        self._stop_deadline = time.monotonic() + grace
        self._event("Normal", "Killing", reason or f"Stopping container {self.spec.name}")
        self._stop_probes()
        self.stopping = asyncio.get_running_loop().create_task(self._stop(self.process, grace))
        return self.stopping

    _stop_deadline = float("inf")

    async def _stop(self, process: Process, grace: float) -> None:
        ended = asyncio.shield(process.exited())
        hook = self.spec.lifecycle.pre_stop if self.spec.lifecycle is not None else None
        if hook is not None and grace > 0:
            outcome = await probes.run_hook(hook, self._target(), grace)
            if not outcome.ok:
                self._event("Warning", "FailedPreStopHook", f"PreStopHook failed: {outcome.text}")
        if grace > 0:
            left = max(2.0 if hook is not None else 0.0, self._stop_deadline - time.monotonic())
            await process.signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await ended
                    return
        await process.signal(signal.SIGKILL)
        await process.exited()

    # probes ------------------------------------------------------------------------------------------------------

    def _start_probes(self, *, started: bool) -> None:
        spec = self.spec
        if spec.startup_probe is None and spec.liveness_probe is None and spec.readiness_probe is None:
            self.started = self.ready = True
            self._wake()
            return
        reports = probes.Reports(
            on_started=self._on_started,
            on_ready=self._on_ready,
            on_failure=self._on_failure,
            on_unhealthy=self._on_unhealthy,
        )
        self._probes = asyncio.get_running_loop().create_task(
            probes.watch(spec, self._target(), reports, started=started)
        )

    def _stop_probes(self) -> None:
        if self._probes is not None:
            self._probes.cancel()
            self._probes = None

    def _target(self) -> probes.Target:
        addresses = self._circumstances().addresses
        return probes.Target(
            address=addresses[0] if addresses else "127.0.0.1", container=self.spec, execute=self.execute
        )

    def _on_started(self) -> None:
        self.started = True
        if self.record is not None and not self.record.started:
            self.record = msgspec.structs.replace(self.record, started=True)
            launch.save(self._directory, self.record)
        self._wake()

    def _on_ready(self, ready: bool) -> None:
        self.ready = ready
        self._wake()

    def _on_failure(self, kind: probes.Kind, text: str) -> None:
        self._event("Warning", "Unhealthy", f"{kind} probe failed: {text}")

    def _on_unhealthy(self, kind: probes.Kind, probe: Probe) -> None:
        grace = probe.termination_grace_period_seconds
        if grace is None:
            grace = self._circumstances().pod.spec.termination_grace_period_seconds
        # The probe's own task must not be the one that ends it.
        text = f"Container {self.spec.name} failed {kind.lower()} probe, will be restarted"
        asyncio.get_running_loop().call_soon(lambda: self.stop(grace, text))

    # commands ----------------------------------------------------------------------------------------------------

    async def execute(self, command: list[str], seconds: float) -> tuple[int, bytes]:
        """Runs a command in the container and gives its exit code and output. Raises TimeoutError, OSError."""
        if self.process is None or self.record is None:
            raise OSError("the container is not running")
        request = rootfs.exec_request(self.record.isolation, self.process.init_pid, command, tty=False)
        read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        os.set_blocking(write, True)
        try:
            running = await self._services.runtime.execute(request, (null, write, write))
        except StartError as error:
            os.close(read)
            raise OSError(str(error)) from error
        finally:
            os.close(write)
            os.close(null)
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read, "rb"))
        try:
            async with asyncio.timeout(seconds):
                code = await running.wait()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.2):  # a child of it may hold the output open
                        return code, await reader.read(65536)
                return code, b""
        finally:
            running.close()
            transport.close()

    def _event(self, kind: str, reason: str, message: str) -> None:
        where = {"init": "spec.initContainers", "main": "spec.containers", "ephemeral": "spec.ephemeralContainers"}[
            self.role
        ]
        pod = self._circumstances().pod
        self._services.event(pod, kind, reason, message, field_path=f"{where}{{{self.spec.name}}}")
