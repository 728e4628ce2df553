"""A cluster without machines: the embedded API server, the lab's controllers and a hollow kubelet, as processes.

For test_controllers_*.py. In: a folder. Out: `Cluster`, with a client and waiting; its processes end with the block.
"""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools import ApiServer, api_server_in

from tortie.kube import config
from tortie.kube.client import Client
from tortie.model import catalog
from tortie.model.resource import Resource

Object = dict[str, Any]
HOLLOW = Path(__file__).with_name("hollow_kubelet.py")


@dataclass
class Cluster:
    server: ApiServer
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, *arguments: str) -> None:
        log = (self.server.data_dir / f"{name}.log").open("ab")
        self.processes[name] = subprocess.Popen(
            [sys.executable, *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )

    def start_controllers(self, *arguments: str) -> None:
        program = ("-m", "tortie.cli.main", "lab-controllers", "--kubeconfig", str(self.server.kubeconfig))
        self.start("controllers", *program, *arguments)

    def start_kubelet(self, nodes: int) -> None:
        self.start("kubelet", str(HOLLOW), str(self.server.kubeconfig), str(nodes))

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    @asynccontextmanager
    async def client(self) -> AsyncIterator["Api"]:
        async with Client(config.load(str(self.server.kubeconfig))) as client:
            yield Api(client)


@contextmanager
def cluster_in(folder: Path, *, nodes: int = 3, grace: float = 3.0) -> Iterator[Cluster]:
    with api_server_in(folder) as server:
        cluster = Cluster(server)
        cluster.start_controllers("--node-grace", str(grace))
        if nodes:
            cluster.start_kubelet(nodes)
        try:
            yield cluster
            crashed = [name for name, process in cluster.processes.items() if process.poll() is not None]
            logs = {name: (folder / f"{name}.log").read_text()[-3000:] for name in crashed}
            assert not crashed, logs
        finally:
            for name in list(cluster.processes):
                cluster.kill(name)


@dataclass
class Api:
    """A client in the words of these tests."""

    client: Client

    async def namespace(self, name: str) -> str:
        """A namespace of one's own, complete with its service account."""
        await self.client.create(catalog.NAMESPACES.untyped(), {"metadata": {"name": name}})
        await self.eventually(lambda: self.client.find(catalog.SERVICE_ACCOUNTS, "default", name))
        return name

    async def create(self, resource: Resource[Any], namespace: str, name: str, spec: Object, **metadata: Any) -> Object:
        body = {"metadata": {"name": name, **metadata}, "spec": spec}
        return await self.client.create(resource.untyped(), body, namespace)

    async def get(self, resource: Resource[Any], namespace: str, name: str) -> Object:
        return await self.client.get(resource.untyped(), name, namespace)

    async def items(self, resource: Resource[Any], namespace: str, selector: str = "") -> list[Object]:
        listed = await self.client.list(resource.untyped(), namespace, label_selector=selector)
        return sorted(listed.items, key=lambda item: item["metadata"]["name"])

    async def patch(self, resource: Resource[Any], namespace: str, name: str, patch: Object) -> Object:
        return await self.client.patch(resource.untyped(), name, patch, namespace=namespace or None)

    async def eventually(self, ask: Callable[[], Awaitable[Any]], *, seconds: float = 30.0) -> Any:
        """The first answer that is true; an AssertionError with the last one after so many seconds."""
        deadline = time.monotonic() + seconds
        while True:
            answer = await ask()
            if answer:
                return answer
            if time.monotonic() > deadline:
                raise AssertionError(f"still {answer!r} after {seconds} s")
            await asyncio.sleep(0.03)

    async def status(self, resource: Resource[Any], namespace: str, name: str, **wanted: Any) -> Object:
        """Waits until the status has these values; absent counts as 0."""

        async def reached() -> Object | None:
            status = (await self.get(resource, namespace, name)).get("status", {})
            matches = all((status.get(key) or 0) == value for key, value in wanted.items())
            return {"found": status} if matches else None

        try:
            found: Object = (await self.eventually(reached))["found"]
        except AssertionError as error:
            status = (await self.get(resource, namespace, name)).get("status", {})
            raise AssertionError(f"{name}: wanted {wanted}, has {status}") from error
        return found

    async def pods(self, namespace: str, count: int, *, selector: str = "", phase: str = "Running") -> list[Object]:
        """Waits until there are exactly so many pods of this phase, none of them being deleted."""

        async def reached() -> list[Object] | None:
            pods = await self.items(catalog.PODS, namespace, selector)
            alive = [
                pod
                for pod in pods
                if pod["status"].get("phase") == phase and "deletionTimestamp" not in pod["metadata"]
            ]
            return [*alive, {}] if len(alive) == count and len(pods) == count else None

        found: list[Object] = await self.eventually(reached)
        return found[:-1]

    async def events(self, namespace: str, reason: str) -> list[Object]:
        return [e for e in await self.items(catalog.EVENTS, namespace) if e["reason"] == reason]


def template(app: str, *, behaviour: str = "run", image: str = "web:1", **spec: Any) -> Object:
    """A pod template with label app; behaviour: see hollow_kubelet."""
    return {
        "metadata": {"labels": {"app": app}, "annotations": {"hollow": behaviour}},
        "spec": {"containers": [{"name": "main", "image": image}], "terminationGracePeriodSeconds": 1, **spec},
    }


def workload(app: str, replicas: int | None = None, **fields: Any) -> Object:
    """The spec of a Deployment, ReplicaSet, StatefulSet or DaemonSet."""
    options = {key: fields.pop(key) for key in ("behaviour", "image") if key in fields}
    count = {} if replicas is None else {"replicas": replicas}
    return {"selector": {"matchLabels": {"app": app}}, "template": template(app, **options), **count, **fields}
