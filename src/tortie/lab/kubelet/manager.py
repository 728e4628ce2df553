"""All pods of the node: one worker for each, started by the watch, ended with the object.

In: pods whose spec.nodeName is this node, from the API's watch; directories and CNI records of earlier kubelets. Out:
running workers; orphans (sandboxes whose pod is gone) detached and removed before anything new of theirs could start.
"""

import asyncio
import contextlib
import functools
import signal
from pathlib import Path

from tortie.kube.cache import Cache, EventType
from tortie.lab.kubelet import cni, launch, linux, sandbox
from tortie.lab.kubelet.api import Pod
from tortie.lab.kubelet.environment import PodFacts
from tortie.lab.kubelet.node_services import PODS, NodeServices
from tortie.lab.kubelet.runtime import Process
from tortie.lab.kubelet.sandbox import SandboxError
from tortie.lab.kubelet.worker import Worker
from tortie.service.log import get_logger

_ORPHAN_RETRY = 30.0
_log = get_logger("kubelet.manager")


class Manager:
    """facts: of the node, for the downward API."""

    def __init__(self, services: NodeServices, facts: PodFacts) -> None:
        self._services = services
        self._facts = facts
        self._workers: dict[str, Worker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._cache: Cache[Pod] = Cache(
            services.client,
            PODS,
            field_selector=f"spec.nodeName={services.config.node}",
            on_event=self._on_event,
        )

    @property
    def synced(self) -> bool:
        """The node's pods are known."""
        return self._cache.synced

    async def wait_synced(self) -> None:
        """Returns once the node's pods are known. Raises TimeoutError after ten seconds."""
        async with asyncio.timeout(10):
            await self._cache.wait_synced()

    def workers(self) -> list[Worker]:
        """The pods on this node."""
        return list(self._workers.values())

    def find(self, namespace: str, name: str) -> Worker | None:
        """A pod by name; of two with the same name the one that is not ending."""
        found = [
            w for w in self._workers.values() if w.pod.metadata.namespace == namespace and w.pod.metadata.name == name
        ]
        return min(found, key=lambda worker: worker.pod.metadata.deletion_timestamp is not None, default=None)

    def statistics(self) -> dict[str, int]:
        """Counts for metrics."""
        units = [unit for worker in self._workers.values() for unit in worker.units]
        return {"pods": len(self._workers), "containers_running": sum(unit.running for unit in units)}

    def objects_changed(self, namespace: str) -> None:
        """A ConfigMap or Secret of a namespace changed."""
        for worker in self._workers.values():
            if worker.pod.metadata.namespace == namespace:
                worker.objects_changed()

    async def run(self) -> None:
        """Follows the node's pods until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._cache.run())
            group.create_task(self._clean_up())

    async def stop(self) -> None:
        """Lets the pods be: they run on without the kubelet."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _on_event(self, kind: EventType, old: Pod | None, new: Pod | None) -> None:
        if old is not None and (new is None or new.uid != old.uid) and (worker := self._workers.get(old.uid)):
            worker.removed()
        if kind == "deleted" or new is None:
            return
        worker = self._workers.get(new.uid)
        if worker is not None:
            worker.update(new)
            return
        worker = Worker(new, self._services, self._facts)
        self._workers[new.uid] = worker
        task = asyncio.get_running_loop().create_task(worker.run(), name=f"pod {new.key}")
        self._tasks[new.uid] = task
        task.add_done_callback(functools.partial(self._ended, new.uid))

    def _ended(self, uid: str, _task: "asyncio.Task[None]") -> None:
        worker = self._workers.pop(uid)
        self._tasks.pop(uid, None)
        namespace = worker.pod.metadata.namespace
        last = not any(w.pod.metadata.namespace == namespace for w in self._workers.values())
        self._services.sources.forget(uid, namespace, last_of_namespace=last)

    # orphans -----------------------------------------------------------------------------------------------------

    async def _clean_up(self) -> None:
        """Once the node's pods are known, what belongs to none of them goes; what the network refuses, later."""
        await self._cache.wait_synced()
        while True:
            if await self._remove_orphans():
                return
            await asyncio.sleep(_ORPHAN_RETRY)

    async def _remove_orphans(self) -> bool:
        done = True
        base = self._services.config.root_dir / "pods"
        for directory in _entries(base):
            if directory.name not in self._workers:
                done = await self._remove_orphan(directory) and done
        known = {worker.sandbox.id for worker in self.workers() if worker.sandbox is not None}
        recorded = {state.id for path in _entries(base) if (state := sandbox.load(path)) is not None}
        for attachment in self._services.runner.cached_attachments():
            if attachment.container_id not in known | recorded:
                done = await self._detach(attachment) and done
        return done

    async def _remove_orphan(self, directory: Path) -> bool:
        state = sandbox.load(directory)
        _log.info("orphan removed", directory=directory.name, pod=f"{state.namespace}/{state.name}" if state else "")
        for container in _entries(directory / "containers"):
            for record in launch.records(container):
                path = launch.attempt_directory(container, record.attempt)
                process = Process(path, record.socket, record.init_pid)
                await process.signal(signal.SIGKILL)
                await process.exited()
        if state is not None:
            try:
                await sandbox.destroy(state, runner=self._services.runner, conf_dir=self._services.config.cni_conf_dir)
            except SandboxError as error:
                _log.warning("orphan's sandbox stays for now", sandbox=state.id, error=str(error))
                return False
        sandbox.forget(directory)
        return True

    async def _detach(self, attachment: cni.Attachment) -> bool:
        """An attachment whose pod directory is gone too."""
        alive = bool(attachment.netns) and linux.is_network_namespace(Path(attachment.netns))
        gone = cni.Attachment(
            container_id=attachment.container_id,
            netns=attachment.netns if alive else "",
            namespace=attachment.namespace,
            pod=attachment.pod,
            uid=attachment.uid,
            ifname=attachment.ifname,
        )
        try:
            await self._services.runner.delete(None, gone)
        except cni.CNIError as error:
            _log.warning("attachment stays for now", container=attachment.container_id, error=str(error))
            return False
        if alive:
            with contextlib.suppress(OSError):
                linux.remove_network_namespace(Path(attachment.netns))
        return True


def _entries(directory: Path) -> list[Path]:
    return sorted(directory.iterdir()) if directory.is_dir() else []
