"""One pod's life on the node: volumes, sandbox, containers, status, end.

In: versions of the pod from `manager`, wake-ups from its containers. Out: the pod as its spec wants it, its status in
the API, and after its end nothing. One task per pod; it sleeps until something happens.
"""

import asyncio
import contextlib
import datetime
import time
from pathlib import Path

import msgspec

from tortie.kube.errors import ApiError, Conflict, NotFound
from tortie.lab.kubelet import sandbox, status
from tortie.lab.kubelet.api import Container, ContainerStatus, Pod, PodStatus
from tortie.lab.kubelet.environment import PodFacts
from tortie.lab.kubelet.launch import Circumstances
from tortie.lab.kubelet.node_services import PODS, NodeServices, now, trusted
from tortie.lab.kubelet.sandbox import SandboxError, SandboxState
from tortie.lab.kubelet.unit import Role, Unit
from tortie.lab.kubelet.volumes import VolumeError, Volumes
from tortie.service.log import get_logger

_RETRY_FIRST, _RETRY_LIMIT = 1.0, 10.0
_log = get_logger("kubelet.worker")


class Worker:
    """pod: the first version seen. facts: of the node, for the downward API."""

    def __init__(self, pod: Pod, services: NodeServices, facts: PodFacts) -> None:
        self.pod = pod
        self.directory = services.pod_directory(pod.uid)
        self.sandbox: SandboxState | None = None
        self._finished = False
        self._services = services
        self._facts = facts
        self._wake = asyncio.Event()
        self._volumes = Volumes(pod, self.directory / "volumes", services.sources)
        self._volumes_due = 0.0
        self._start_time = pod.status.start_time or ""
        self._failed: tuple[str, str] | None = None
        self._gone = False
        self._torn_down = False
        self._retry_delay = _RETRY_FIRST
        self._refresh_needed = False
        self._seen = time.monotonic()
        self._network_seconds: float | None = None
        self.units = [
            *(self._unit(spec, "init") for spec in pod.spec.init_containers),
            *(self._unit(spec, "main") for spec in pod.spec.containers),
            *(self._unit(spec, "ephemeral") for spec in pod.spec.ephemeral_containers),
        ]
        self._adopt()

    # from the manager --------------------------------------------------------------------------------------------

    def update(self, pod: Pod) -> None:
        """A version of the pod from the watch; one that our own write has overtaken is passed over."""
        if _version(pod) < _version(self.pod):
            return
        self.pod = pod
        self._volumes.update(pod)
        self._take_containers(pod)
        if self._volumes.follows_objects:
            self._refresh_needed = True
        self.wake()

    def _take_containers(self, pod: Pod) -> None:
        """What may change in a running pod: images, and ephemeral containers that are added."""
        known = {unit.spec.name: unit for unit in self.units}
        for spec in (*pod.spec.init_containers, *pod.spec.containers):
            unit = known.get(spec.name)
            if unit is not None and unit.spec.image != spec.image:
                unit.spec = spec
                if unit.running:
                    grace = pod.spec.termination_grace_period_seconds
                    unit.stop(grace, f"Container {spec.name} definition changed, will be restarted")
        added = [spec for spec in pod.spec.ephemeral_containers if spec.name not in known]
        self.units += [self._unit(spec, "ephemeral") for spec in added]

    def _unit(self, spec: Container, role: Role) -> Unit:
        directory = self.directory / "containers" / spec.name
        return Unit(spec, directory, self._services, self._circumstances, self.wake, role=role)

    def _statuses(self, role: Role) -> list[ContainerStatus]:
        return [unit.status() for unit in self.units if unit.role == role]

    def removed(self) -> None:
        """The API object is gone: whatever still runs has to end."""
        self._gone = True
        self.wake()

    def objects_changed(self) -> None:
        """A ConfigMap or Secret of the namespace changed."""
        if self._volumes.follows_objects:
            self._refresh_needed = True
            self.wake()

    def wake(self) -> None:
        self._wake.set()

    def unit(self, name: str) -> Unit | None:
        """A container by name."""
        return next((unit for unit in self.units if unit.spec.name == name), None)

    # the loop ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until the pod is gone from the node. A step that fails is tried again; no pod stops the others."""
        while True:
            self._wake.clear()
            delay: float | None
            try:
                delay = await self._step()
            except (ApiError, OSError, SandboxError) as error:
                _log.warning("pod needs another try", pod=self.pod.key, error=str(error))
                delay = self._next_retry()
            except Exception:
                _log.exception("pod failed in an unforeseen way", pod=self.pod.key)
                delay = self._next_retry()
            if self._finished:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._wake.wait()

    def _next_retry(self) -> float:
        delay, self._retry_delay = self._retry_delay, min(_RETRY_LIMIT, self._retry_delay * 2)
        return delay

    def _adopt(self) -> None:
        """Takes over what a kubelet before this one left."""
        self.sandbox = sandbox.load(self.directory)
        if self.sandbox is None:
            return
        self._start_time = self.sandbox.start_time or self._start_time
        adopted = [unit for unit in self.units if unit.adopt()]
        if adopted:
            _log.info("pod adopted", pod=self.pod.key, running=sum(unit.running for unit in adopted))

    @property
    def _terminating(self) -> bool:
        return self._gone or self.pod.metadata.deletion_timestamp is not None

    async def _step(self) -> float | None:
        """Does what can be done now; returns when to look again at the latest (None: only when woken)."""
        if self._terminating:
            await self._terminate()
            return None
        if self.pod.status.phase in ("Succeeded", "Failed"):
            await self._stop_all(self.pod.spec.termination_grace_period_seconds)
            await self._end_sandbox()
            return None
        delay = await self._advance()
        await self._report()
        if self._phase() in ("Succeeded", "Failed"):
            await self._stop_all(self.pod.spec.termination_grace_period_seconds)
            await self._report()
            await self._end_sandbox()
            return None
        return delay

    async def _advance(self) -> float | None:
        if self._phase() in ("Succeeded", "Failed"):
            return None
        if not self._start_time:
            self._start_time = now()
        delays: list[float] = []
        if (left := self._deadline()) is not None:
            if left <= 0:
                self._failed = ("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
                await self._stop_all(self.pod.spec.termination_grace_period_seconds)
                return None
            delays.append(left)
        if not await self._ensure_sandbox():
            return self._next_retry()
        self._retry_delay = _RETRY_FIRST
        delays += await self._keep_volumes()
        delays += await self._run_containers()
        return min(delays) if delays else None

    def _deadline(self) -> float | None:
        seconds = self.pod.spec.active_deadline_seconds
        if seconds is None:
            return None
        return seconds - _seconds_since(self._start_time)

    # sandbox and volumes -----------------------------------------------------------------------------------------

    async def _ensure_sandbox(self) -> bool:
        """Volumes and network before any container. False: not now; an event says why."""
        state = self.sandbox
        if state is not None and self._sandbox_alive(state):
            if not self._volumes.prepared:
                return await self._prepare_volumes()
            return True
        async with self._services.starts:
            if state is not None:
                if state.attached:
                    self._event("Normal", "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
                await self._stop_all(0)
                await self._destroy(state)
            self.directory.mkdir(mode=0o711, parents=True, exist_ok=True)
            if not await self._prepare_volumes():
                return False
            started = time.monotonic()
            try:
                self.sandbox = await sandbox.create(
                    self.pod,
                    self.directory,
                    runner=self._services.runner,
                    conf_dir=self._services.config.cni_conf_dir,
                    start_time=self._start_time,
                )
            except SandboxError as error:
                self._event("Warning", "FailedCreatePodSandBox", f"Failed to create pod sandbox: {error}")
                self.sandbox = sandbox.load(self.directory)
                await self._report()
                return False
            self._network_seconds = time.monotonic() - started
            self._write_shared_files()
            return True

    def _sandbox_alive(self, state: SandboxState) -> bool:
        if not state.netns:
            return self.pod.spec.host_network
        return state.attached and sandbox.attachment(state).netns != ""

    async def _prepare_volumes(self) -> bool:
        try:
            await self._volumes.prepare(self._pod_facts(), trusted=trusted(self.pod))
        except (VolumeError, ApiError) as error:
            self._event("Warning", "FailedMount", str(error))
            await self._report()
            return False
        self._note_token_renewal()
        return True

    def _write_shared_files(self) -> None:
        with contextlib.suppress(OSError):
            host = Path("/etc/resolv.conf").read_text()
            text = sandbox.resolv_conf(self.pod, self._services.config.dns, host)
            (self.directory / "resolv.conf").write_text(text)
        addresses = self._addresses()
        text = sandbox.hosts_file(self.pod, addresses)
        if self.pod.spec.host_network:
            with contextlib.suppress(OSError):
                text = Path("/etc/hosts").read_text()
        (self.directory / "hosts").write_text(text)

    async def _keep_volumes(self) -> list[float]:
        """Shows changed objects and fresh tokens; returns when the next token is due."""
        due = self._volumes_due - time.monotonic() if self._volumes_due else None
        if self._refresh_needed or (due is not None and due <= 0):
            self._refresh_needed = False
            try:
                await self._volumes.refresh(self._pod_facts())
            except (VolumeError, ApiError) as error:
                _log.warning("volumes not refreshed", pod=self.pod.key, error=str(error))
                self._volumes_due = time.monotonic() + 10
                return [10.0]
            self._note_token_renewal()
            due = self._volumes_due - time.monotonic() if self._volumes_due else None
        return [due] if due is not None else []

    def _note_token_renewal(self) -> None:
        seconds = self._services.sources.tokens_due(self.pod.uid)
        self._volumes_due = 0.0 if seconds is None else time.monotonic() + seconds + 1

    async def _destroy(self, state: SandboxState) -> None:
        await sandbox.destroy(state, runner=self._services.runner, conf_dir=self._services.config.cni_conf_dir)

    async def _end_sandbox(self) -> None:
        """A pod that has ended gives its address back; its logs stay until it is deleted."""
        if self._torn_down:
            return
        if self.sandbox is not None:
            await self._destroy(self.sandbox)
            self.sandbox = msgspec.structs.replace(self.sandbox, netns="", attached=False)
            sandbox.save(self.directory, self.sandbox)
        self._torn_down = True

    # containers --------------------------------------------------------------------------------------------------

    async def _run_containers(self) -> list[float]:
        delays: list[float] = []
        for unit in self.units:
            if unit.init:
                if unit.done and not unit.sidecar:
                    continue
                delays += await self._keep(unit)
                if not unit.done and not self._main_started():
                    self._hold_back(unit)
                    return delays
            else:
                delays += await self._keep(unit)
        return delays

    def _main_started(self) -> bool:
        return any(unit.record is not None for unit in self.units if unit.role == "main")

    def _hold_back(self, current: Unit) -> None:
        seen = False
        for unit in self.units:
            if seen and unit.record is None:
                unit.wait_as("PodInitializing")
            seen = seen or unit is current

    async def _keep(self, unit: Unit) -> list[float]:
        """Starts the container if it should run and does not; returns when to try again."""
        if unit.running or (unit.role == "ephemeral" and unit.record is not None):
            return []
        if unit.init and not unit.sidecar and self._main_started():
            return []
        policy = "Always" if unit.sidecar else self.pod.spec.restart_policy
        if unit.init and not unit.sidecar and policy == "Always":
            policy = "OnFailure"
        ended = unit.terminated
        if ended is not None:
            if policy == "Never" or (policy == "OnFailure" and ended.exit_code == 0):
                return []
            unit.back_off()
        if unit.delay > 0:
            unit.image_backed_off()
            return [unit.delay]
        if await unit.start():
            return []
        if unit.waiting.reason == "ErrImagePull":
            self.wake()  # reported as such first, as back-off right after
        return [unit.delay]

    async def _stop_all(self, grace: float) -> None:
        """Ends the containers, sidecars after the others."""
        for sidecars in (False, True):
            tasks = [unit.stop(grace) for unit in self.units if unit.running and unit.sidecar == sidecars]
            if tasks:
                await asyncio.gather(*tasks, return_exceptions=True)

    # end ---------------------------------------------------------------------------------------------------------

    async def _terminate(self) -> None:
        grace = self.pod.metadata.deletion_grace_period_seconds
        if self._gone and self.pod.metadata.deletion_timestamp is None:
            grace = 1
        stopping = asyncio.get_running_loop().create_task(self._stop_all(30 if grace is None else grace))
        while not stopping.done():  # a later, shorter grace period hastens it
            waker = asyncio.get_running_loop().create_task(self._wake.wait())
            await asyncio.wait({stopping, waker}, return_when=asyncio.FIRST_COMPLETED)
            waker.cancel()
            if not stopping.done():
                self._wake.clear()
                shorter = 0 if self._gone else self.pod.metadata.deletion_grace_period_seconds
                if shorter is not None:
                    for unit in self.units:
                        if unit.running:
                            unit.stop(shorter)
        await self._report()
        await self._end_sandbox()
        self._volumes.remove()
        if not self._gone:
            with contextlib.suppress(NotFound, Conflict):
                await self._services.client.delete(
                    PODS,
                    self.pod.metadata.name,
                    self.pod.metadata.namespace,
                    grace_period_seconds=0,
                    preconditions={"uid": self.pod.uid},
                )
        sandbox.forget(self.directory)
        self._finished = True

    # status ------------------------------------------------------------------------------------------------------

    def _addresses(self) -> list[str]:
        if self.pod.spec.host_network:
            return list(self._services.config.node_ips)
        return list(self.sandbox.addresses) if self.sandbox is not None else []

    def _pod_facts(self) -> PodFacts:
        return msgspec.structs.replace(self._facts, pod_ips=tuple(self._addresses()))

    def _circumstances(self) -> Circumstances:
        netns = self.sandbox.netns if self.sandbox is not None and self.sandbox.netns else None
        return Circumstances(
            pod=self.pod,
            netns=netns,
            addresses=self._addresses(),
            facts=self._pod_facts(),
            volumes=self._volumes.prepared,
            pod_directory=self.directory,
        )

    def _phase(self) -> str:
        if self._failed is not None:
            return "Failed"
        return status.phase(self.pod.spec, self._statuses("init"), self._statuses("main"))

    def status(self) -> PodStatus:
        """The status as it should be reported now."""
        situation = status.Situation(
            start_time=self._start_time or now(),
            host_ips=self._services.config.node_ips,
            pod_ips=self._addresses(),
            sandbox=self.sandbox is not None and not self._torn_down,
            terminating=self._terminating,
            failed=self._failed,
            gates={condition.type: condition.status for condition in self.pod.status.conditions},
        )
        built = status.build(self.pod, self._statuses("init"), self._statuses("main"), situation, now=now())
        return msgspec.structs.replace(built, ephemeral_container_statuses=tuple(self._statuses("ephemeral")))

    async def _report(self) -> None:
        """Tells the API what changed; a pod that is gone there needs no report."""
        if self._gone:
            return
        wanted = self.status()
        change = status.patch(self.pod.status, wanted)
        if not change:
            return
        body = {"metadata": {"uid": self.pod.uid}, "status": change}
        try:
            stored = await self._services.client.patch(
                PODS, self.pod.metadata.name, body, namespace=self.pod.metadata.namespace, subresource="status"
            )
        except (NotFound, Conflict):
            return  # deleted, or another pod of the same name: the watch will tell
        if _version(stored) >= _version(self.pod):
            self.pod = stored
        if wanted.phase == "Running" and self._network_seconds is not None:
            total, network = (time.monotonic() - self._seen) * 1000, self._network_seconds * 1000
            self._network_seconds = None
            _log.info("pod running", pod=self.pod.key, milliseconds=round(total), network_milliseconds=round(network))

    def _event(self, kind: str, reason: str, message: str) -> None:
        self._services.event(self.pod, kind, reason, message)


def _version(pod: Pod) -> int:
    text = pod.metadata.resource_version
    return int(text) if text.isdigit() else 0


def _seconds_since(stamp: str) -> float:
    started = datetime.datetime.fromisoformat(stamp.replace("Z", "+00:00"))
    return (datetime.datetime.now(datetime.UTC) - started).total_seconds()
