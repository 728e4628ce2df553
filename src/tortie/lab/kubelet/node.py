"""The node as the API sees it: registration, addresses, capacity, conditions, heartbeat.

In: flags, what the machine is, whether CNI is configured. Out: a Node object kept up to date and a Lease renewed every
ten seconds; other components' labels, annotations and conditions on the Node are left alone.
"""

import asyncio
import contextlib
import os
import platform
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

import tortie
from tortie.kube.client import Client
from tortie.kube.errors import AlreadyExists, ApiError, Conflict, NotFound
from tortie.lab.kubelet import cni
from tortie.lab.kubelet.node_services import Config, now
from tortie.model.resource import Resource
from tortie.service.log import Throttle, get_logger

_NODES: Resource[dict[str, Any]] = Resource(
    group="", version="v1", kind="Node", plural="nodes", namespaced=False, type=dict[str, Any]
)
_LEASES: Resource[dict[str, Any]] = Resource(
    group="coordination.k8s.io", version="v1", kind="Lease", plural="leases", namespaced=True, type=dict[str, Any]
)
_LEASE_NAMESPACE = "kube-node-lease"
_HEARTBEAT, _STATUS_PERIOD, _UNREADY_POLL = 10.0, 300.0, 0.5
_VERSION = "v1.33.0"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_OURS = ("MemoryPressure", "DiskPressure", "PIDPressure", "Ready")
_log = get_logger("kubelet.node")


def detect_addresses() -> list[str]:
    """The node's own addresses, IPv4 first: the first global one of each family that is not on a virtual interface
    of the cluster."""
    output = subprocess.run(["ip", "-j", "address", "show", "up"], capture_output=True, check=True).stdout
    found: dict[str, str] = {}
    for link in msgspec.json.decode(output):
        name = str(link.get("ifname", ""))
        if name == "lo" or name.startswith(("cali", "tunl", "vxlan", "docker", "br-", "kube", "veth", "dummy")):
            continue
        for address in link.get("addr_info", []):
            if address.get("scope") == "global" and not address.get("temporary") and not address.get("deprecated"):
                found.setdefault(address["family"], address["local"])
    return [found[family] for family in ("inet", "inet6") if family in found]


def memory_bytes() -> int:
    """The machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


class NodeStatus:
    """Keeps Node and Lease. port: where the kubelet's own server listens."""

    def __init__(self, config: Config, client: Client, *, port: int, ready: Callable[[], bool]) -> None:
        self._config = config
        self._client = client
        self._port = port
        self._synced = ready
        self._throttle = Throttle(period=60.0)
        self._wake = asyncio.Event()
        self._uid = ""

    async def run(self) -> None:
        """Registers, then keeps heartbeat and status until cancelled."""
        await self._register()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_lease())
            group.create_task(self._keep_status())

    def labels(self) -> dict[str, str]:
        arch = _ARCHITECTURES.get(platform.machine(), platform.machine())
        return {
            "kubernetes.io/hostname": self._config.node,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": arch,
            "beta.kubernetes.io/os": "linux",
            "beta.kubernetes.io/arch": arch,
        }

    async def _register(self) -> None:
        delay = 0.2
        while True:
            try:
                body = {
                    "apiVersion": "v1",
                    "kind": "Node",
                    "metadata": {"name": self._config.node, "labels": self.labels()},
                    "spec": {},
                }
                try:
                    stored = await self._client.create(_NODES, body)
                except AlreadyExists:
                    change = {"metadata": {"labels": self.labels()}}
                    stored = await self._client.patch(_NODES, self._config.node, change)
                self._uid = stored["metadata"]["uid"]
                _log.info("node registered", node=self._config.node, addresses=self._config.node_ips)
                return
            except ApiError as error:
                if self._throttle.allow("register") is not None:
                    _log.warning("node not registered yet", node=self._config.node, error=str(error))
                await asyncio.sleep(delay)
                delay = min(5.0, delay * 1.5)

    # lease -------------------------------------------------------------------------------------------------------

    async def _keep_lease(self) -> None:
        while True:
            with contextlib.suppress(Conflict):
                try:
                    await self._renew()
                except ApiError as error:
                    if self._throttle.allow("lease") is not None:
                        _log.warning("heartbeat not written", error=str(error))
            await asyncio.sleep(_HEARTBEAT * random.uniform(0.9, 1.1))  # noqa: S311  # only spreads load

    async def _renew(self) -> None:
        spec = {
            "holderIdentity": self._config.node,
            "leaseDurationSeconds": 40,
            "renewTime": now()[:-1] + ".000000Z",
        }
        try:
            await self._client.patch(_LEASES, self._config.node, {"spec": spec}, namespace=_LEASE_NAMESPACE)
        except NotFound:
            owner = {"apiVersion": "v1", "kind": "Node", "name": self._config.node, "uid": self._uid}
            body = {"metadata": {"name": self._config.node, "ownerReferences": [owner]}, "spec": spec}
            with contextlib.suppress(AlreadyExists):
                await self._client.create(_LEASES, body, _LEASE_NAMESPACE)

    # status ------------------------------------------------------------------------------------------------------

    async def _keep_status(self) -> None:
        reported: tuple[Any, ...] | None = None
        next_report = 0.0
        loop = asyncio.get_running_loop()
        while True:
            problem = self._problem()
            facts = (problem, tuple(self._config.node_ips))
            if facts != reported or loop.time() >= next_report or (not problem and await self._is_doubted()):
                try:
                    await self._write(problem)
                    reported, next_report = facts, loop.time() + _STATUS_PERIOD
                except NotFound:
                    await self._register()  # somebody deleted the Node: it comes back, as a kubelet's does
                    continue
                except ApiError as error:
                    if self._throttle.allow("status") is not None:
                        _log.warning("node status not written", error=str(error))
            await asyncio.sleep(_UNREADY_POLL if problem else _HEARTBEAT)

    async def _is_doubted(self) -> bool:
        """Whether the API does not say that we are ready: the cluster had lost sight of this node, or of its object."""
        try:
            current = await self._client.get(_NODES, self._config.node)
        except NotFound:
            return True
        except ApiError:
            return False
        conditions = current.get("status", {}).get("conditions", [])
        return not any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    def _problem(self) -> str:
        """Why the node is not ready, "" when it is."""
        if cni.find(self._config.cni_conf_dir) is None:
            return (
                "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady "
                f"message:Network plugin returns error: no CNI configuration in {self._config.cni_conf_dir}"
            )
        return "" if self._synced() else "the node's pods are not known yet"

    async def _write(self, problem: str) -> None:
        current = await self._client.get(_NODES, self._config.node)
        old = {c["type"]: c for c in current.get("status", {}).get("conditions", [])}
        conditions = [_condition(old, *entry) for entry in self._conditions(problem)]
        conditions += [condition for kind, condition in old.items() if kind not in _OURS]
        change = {
            "addresses": [
                *({"type": "InternalIP", "address": address} for address in self._config.node_ips),
                {"type": "Hostname", "address": self._config.node},
            ],
            "capacity": self._capacity(),
            "allocatable": self._capacity(),
            "conditions": conditions,
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self._port}},
            "nodeInfo": _node_info(),
        }
        await self._client.patch(_NODES, self._config.node, {"status": change}, subresource="status")

    def _conditions(self, problem: str) -> list[tuple[str, str, str, str]]:
        ready = (
            ("Ready", "False", "KubeletNotReady", problem)
            if problem
            else (
                *("Ready", "True", "KubeletReady"),
                "kubelet is posting ready status",
            )
        )
        return [
            ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            (ready[0], ready[1], ready[2], ready[3]),
        ]

    def _capacity(self) -> dict[str, str]:
        disk = os.statvfs(self._config.root_dir)
        return {
            "cpu": str(os.cpu_count() or 1),
            "memory": f"{memory_bytes() // 1024}Ki",
            "pods": str(self._config.max_pods),
            "ephemeral-storage": f"{disk.f_blocks * disk.f_frsize // 1024}Ki",
        }


def _condition(old: dict[str, dict[str, Any]], kind: str, status: str, reason: str, message: str) -> dict[str, Any]:
    before = old.get(kind, {})
    moment = now()
    changed = before.get("status") != status
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastHeartbeatTime": moment,
        "lastTransitionTime": moment if changed else before.get("lastTransitionTime", moment),
    }


def _node_info() -> dict[str, str]:
    def read(path: str) -> str:
        with contextlib.suppress(OSError):
            return Path(path).read_text().strip()
        return ""

    release = dict(line.split("=", 1) for line in read("/etc/os-release").splitlines() if "=" in line)
    return {
        "machineID": read("/etc/machine-id"),
        "systemUUID": read("/etc/machine-id"),
        "bootID": read("/proc/sys/kernel/random/boot_id"),
        "kernelVersion": platform.release(),
        "osImage": release.get("PRETTY_NAME", "Linux").strip('"'),
        "containerRuntimeVersion": f"tortie://{tortie.__version__}",
        "kubeletVersion": _VERSION,
        "kubeProxyVersion": _VERSION,
        "operatingSystem": "linux",
        "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
    }
