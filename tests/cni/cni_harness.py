"""A node for tests: a network namespace with an API server and the CNI agent in it, and namespaces for pods.

For the tests of the CNI plugin and its benchmark. In: a directory for files. Out: calls of the real executables through
the CNI protocol, and looks into the namespaces. Everything it starts, it ends.
"""

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tools import ApiServer, start_api_server

from tortie.cni.install import Options, install
from tortie.kube import config as kube_config
from tortie.kube.client import Client
from tortie.net import veth

T = TypeVar("T")
NODE = "node-1"
POOL_V4, POOL_V6 = "10.244.0.0/16", "fd00:10:244::/112"
_numbers = itertools.count()


def run(*command: str | Path, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done


def until(condition: Callable[[], T], *, seconds: float = 10.0, what: str = "") -> T:
    """Polls until the condition gives something true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or condition}")
        time.sleep(0.01)
    return found


class Netns:
    """A named network namespace."""

    def __init__(self, kind: str) -> None:
        self.name = f"tt-cni-{kind}-{os.getpid()}-{next(_numbers)}"
        run("ip", "netns", "add", self.name)
        self.path = f"/run/netns/{self.name}"
        self.run("ip", "link", "set", "lo", "up")
        if kind == "node":
            self.run("ip", "address", "add", "10.20.0.1/32", "dev", "lo")
            self.run("ip", "address", "add", "fd00:20::1/128", "dev", "lo", "nodad")

    def run(self, *command: str | Path, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        return run("ip", "netns", "exec", self.name, *command, check=check, **options)

    def links(self) -> dict[str, dict[str, Any]]:
        return {link["ifname"]: link for link in json.loads(self.run("ip", "-j", "address").stdout)}

    def routes(self, version: int) -> list[dict[str, Any]]:
        return list(json.loads(self.run("ip", f"-{version}", "-j", "route").stdout or "[]"))

    @contextmanager
    def inside(self) -> Iterator[None]:
        """The calling thread, its new sockets and its new processes are in the namespace."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            with veth.inside(descriptor):
                yield
        finally:
            os.close(descriptor)

    def close(self) -> None:
        run("ip", "netns", "delete", self.name, check=False)


class Node:
    """Runs an API server and an agent; keeps what tests need to call the executables."""

    def __init__(self, directory: Path, *, policy_timeout: int = 0, name: str = NODE) -> None:
        self.name = name
        self.directory = directory
        self.state = directory / "var-lib-calico"
        self.state.mkdir()
        (self.state / "nodename").write_text(name)
        self.bin = directory / "bin"
        self.socket = directory / "cni.sock"
        self.status = directory / "endpoint-status"
        self.netns = Netns("node")
        self.namespaces = [self.netns]
        self.agent: subprocess.Popen[bytes] | None = None
        self.api: ApiServer | None = None
        self.policy_timeout = policy_timeout
        install(bin_dir=self.bin, conf_dir=None, options=Options(socket=str(self.socket)))

    def start(self) -> None:
        data = self.directory / "apiserver"
        data.mkdir()
        with self.netns.inside():
            self.api = start_api_server(data)
        self.create(
            {"apiVersion": "v1", "kind": "Node", "metadata": {"name": self.name, "labels": {"zone": "a"}}},
            {
                "apiVersion": "projectcalico.org/v3",
                "kind": "ClusterInformation",
                "metadata": {"name": "default"},
                "spec": {"datastoreReady": True},
            },
            pool("v4", POOL_V4),
            pool("v6", POOL_V6),
        )
        self.start_agent()

    def start_agent(self, *options: str) -> None:
        assert self.api is not None
        log = (self.directory / "agent.log").open("ab")
        with self.netns.inside():
            self.agent = subprocess.Popen(
                [sys.executable, "-m", "tortie.cli.main", "cni", "agent", "--socket", self.socket,
                 "--state-dir", self.state, "--kubeconfig", self.api.kubeconfig, "--log-level", "debug", *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        until(lambda: b"agent is in sync" in self.log(), what="agent in sync")

    def log(self) -> bytes:
        return (self.directory / "agent.log").read_bytes()

    def stop_agent(self, number: int = signal.SIGTERM) -> int:
        assert self.agent is not None
        self.agent.send_signal(number)
        return self.agent.wait(30)

    def close(self) -> None:
        if self.agent is not None and self.agent.poll() is None:
            self.agent.kill()
            self.agent.wait()
        if self.api is not None:
            self.api.stop()
        for namespace in self.namespaces:
            namespace.close()

    def sandbox(self) -> Netns:
        made = Netns("pod")
        self.namespaces.append(made)
        return made

    # --- API -------------------------------------------------------------------------------------------------

    def kubectl(self, *args: str, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        assert self.api is not None
        with self.netns.inside():
            return self.api.kubectl(*args, stdin=stdin, check=check)

    def ask(self, question: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
        """Runs a coroutine function with a client of the API server."""
        assert self.api is not None
        config = kube_config.load(str(self.api.kubeconfig))

        async def main() -> T:
            async with Client(config) as client:
                return await question(client)

        with self.netns.inside():
            return asyncio.run(main())

    def create(self, *objects: Mapping[str, Any]) -> None:
        plurals = {"IPPool": "ippools", "ClusterInformation": "clusterinformations", "IPReservation": "ipreservations"}

        async def write(client: Client) -> None:
            for obj in objects:
                plural = plurals.get(obj["kind"], obj["kind"].lower() + "s")
                version = obj["apiVersion"]
                namespace = obj["metadata"].get("namespace")
                root = f"/apis/{version}" if "/" in version else f"/api/{version}"
                await client.raw("POST", f"{root}/{f'namespaces/{namespace}/' if namespace else ''}{plural}", body=obj)

        self.ask(write)

    def get(self, path: str) -> Any:
        async def read(client: Client) -> Any:
            return json.loads(await client.raw("GET", path))

        return self.ask(read)

    def objects(self, plural: str) -> list[dict[str, Any]]:
        return list(self.get(f"/apis/projectcalico.org/v3/{plural}")["items"])

    def pod(
        self, name: str, *, namespace: str = "default", annotations: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Creates a pod that is bound to this node; gives it as stored."""
        self.create(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": namespace, "annotations": dict(annotations or {})},
                "spec": {"nodeName": self.name, "containers": [{"name": "c", "image": "pause"}]},
            }
        )
        return self.get_pod(name, namespace=namespace)

    def get_pod(self, name: str, *, namespace: str = "default") -> dict[str, Any]:
        return dict(self.get(f"/api/v1/namespaces/{namespace}/pods/{name}"))

    # --- CNI -------------------------------------------------------------------------------------------------

    def config(self, **changes: Any) -> dict[str, Any]:
        """The network configuration of one plugin; `ipam` is merged into the default."""
        ipam = {"type": "calico-ipam", **changes.pop("ipam", {})}
        return {
            "cniVersion": "1.0.0",
            "name": "k8s-pod-network",
            "type": "calico",
            "nodename_file": str(self.state / "nodename"),
            "ipam_lock_file": str(self.directory / "ipam.lock"),
            "endpoint_status_dir": str(self.status),
            "policy_setup_timeout_seconds": self.policy_timeout,
            "policy": {"type": "k8s"},
            "kubernetes": {"kubeconfig": "/nowhere"},
            "ipam": ipam,
            **changes,
        }

    def environment(
        self,
        command: str,
        *,
        container: str,
        netns: Netns | str | None,
        pod: str = "",
        namespace: str = "default",
        uid: str = "",
        ifname: str = "eth0",
        args: str = "",
        **more: str,
    ) -> dict[str, str]:
        pairs = [args] if args else []
        if pod:
            pairs += ["IgnoreUnknown=1", f"K8S_POD_NAMESPACE={namespace}", f"K8S_POD_NAME={pod}"]
            pairs += [f"K8S_POD_INFRA_CONTAINER_ID={container}"] + ([f"K8S_POD_UID={uid}"] if uid else [])
        return {
            "PATH": os.environ["PATH"],
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container,
            "CNI_IFNAME": ifname,
            "CNI_PATH": str(self.bin),
            "CNI_NETNS": netns.path if isinstance(netns, Netns) else netns or "",
            "CNI_ARGS": ";".join(pairs),
            "TORTIE_CNI_WAIT": "40",
            **more,
        }

    def call(
        self, command: str, config: Mapping[str, Any] | str | None = None, *, plugin: str = "calico", **how: Any
    ) -> subprocess.CompletedProcess[str]:
        """Runs an executable as a runtime does."""
        config = self.config() if config is None else config
        text = config if isinstance(config, str) else json.dumps(config)
        return run(self.bin / plugin, check=False, input=text, env=self.environment(command, **how), timeout=120)

    def add(self, config: Mapping[str, Any] | None = None, **how: Any) -> dict[str, Any]:
        done = self.call("ADD", config, **how)
        assert done.returncode == 0, done.stdout + done.stderr + self.log().decode()[-2000:]
        return dict(json.loads(done.stdout))

    def delete(self, config: Mapping[str, Any] | None = None, **how: Any) -> None:
        done = self.call("DEL", config, **how)
        assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr

    def error(self, command: str, config: Mapping[str, Any] | str | None = None, **how: Any) -> dict[str, Any]:
        done = self.call(command, config, **how)
        assert done.returncode == 1, done
        return dict(json.loads(done.stdout))

    def allocated(self) -> dict[str, str]:
        """address -> handle, from the blocks."""
        from tortie.ipam.block import allocations_of
        from tortie.model.catalog import IPAM_BLOCKS

        async def read(client: Client) -> dict[str, str]:
            blocks = (await client.list(IPAM_BLOCKS)).items
            return {each.address: each.handle for block in blocks for each in allocations_of(block.spec)}

        return self.ask(read)


def pool(name: str, cidr: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "projectcalico.org/v3",
        "kind": "IPPool",
        "metadata": {"name": name},
        "spec": {"cidr": cidr, **spec},
    }


def container_id() -> str:
    return uuid.uuid4().hex


def dual(node: Node, **changes: Any) -> dict[str, Any]:
    return node.config(ipam={"assign_ipv4": "true", "assign_ipv6": "true"}, **changes)


def addresses_of(result: Mapping[str, Any]) -> Sequence[str]:
    return [each["address"] for each in result["ips"]]
