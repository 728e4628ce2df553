"""How soon a policy judges packets: from the write at the API server to the first packet that the kernel lets pass.

Run as root: `python bench/bench_felix.py`. In: a node of its own (network namespace, API server, Felix, two pods), as
in the daemon's tests. Out: one JSON object per line: name, value, unit, scale.
"""

import asyncio
import json
import re
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "felix")]

from dataplane_world import Pod, until  # noqa: E402  # found through the line above
from felix_node import FelixNode, felix_node  # noqa: E402

from tortie.kube.client import Client  # noqa: E402
from tortie.kube.config import load  # noqa: E402
from tortie.model import catalog  # noqa: E402
from tortie.net import namespace  # noqa: E402

ROUNDS, PORT = 100, 5000
PODS, POLICIES = 100, 50
SCALE = f"{PODS} pods on one node, {POLICIES} policies"
POLICY = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "probe", "namespace": "red"},
}


def emit(name: str, value: float, unit: str = "ms") -> None:
    print(json.dumps({"name": name, "value": round(value, 2), "unit": unit, "scale": SCALE}), flush=True)


def summary(name: str, seconds: list[float]) -> None:
    ordered = sorted(seconds)
    emit(f"{name}_p50", ordered[len(ordered) // 2] * 1000)
    emit(f"{name}_p99", ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1000)


def spec(*, allow: bool) -> dict[str, Any]:
    peers = [{"from": [{"podSelector": {"matchLabels": {"app": "client"}}}]}] if allow else []
    return {"podSelector": {"matchLabels": {"app": "server"}}, "policyTypes": ["Ingress"], "ingress": peers}


def until_heard(client: Pod, server: Pod) -> None:
    """Sends a packet a millisecond from a fresh port until one is answered."""
    with client.open(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(0.001)
        while True:
            probe.sendto(b"?", (server.ip, PORT))
            try:
                probe.recv(10)
                return
            except TimeoutError:
                continue


async def measure(node: FelixNode, client: Pod, server: Pod) -> list[float]:
    times: list[float] = []
    resource = catalog.KUBERNETES_NETWORK_POLICIES.untyped()
    async with Client(load(str(node.directory / "api" / "admin.kubeconfig"))) as api:
        await api.create(resource, {**POLICY, "spec": spec(allow=False)}, "red")
        for _ in range(ROUNDS):
            await api.patch(resource, "probe", {"spec": spec(allow=False)}, namespace="red")
            await asyncio.sleep(0.05)
            started = time.perf_counter()
            await api.patch(resource, "probe", {"spec": spec(allow=True)}, namespace="red")
            until_heard(client, server)
            times.append(time.perf_counter() - started)
    return times


def populate(node: FelixNode) -> tuple[Pod, Pod]:
    """Pods that exist for Felix; only two of them have interfaces."""
    client, server = node.pod("client", app="client"), node.pod("server", app="server")
    server.listen(PORT, kind=socket.SOCK_DGRAM)
    policies = [
        {
            **POLICY,
            "metadata": {"name": f"policy-{number}", "namespace": "red"},
            "spec": {
                "podSelector": {"matchLabels": {"group": str(number)}},
                "ingress": [{"from": [{"podSelector": {"matchLabels": {"group": str(number + 1)}}}]}],
            },
        }
        for number in range(POLICIES)
    ]
    node.apply(*policies)

    async def pods() -> None:
        async with Client(load(str(node.directory / "api" / "admin.kubeconfig"))) as api:
            for number in range(PODS - 2):
                meta = {"name": f"pod-{number}", "namespace": "red", "labels": {"group": str(number % POLICIES)}}
                body = {"metadata": meta, "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]}}
                await api.create(catalog.PODS.untyped(), body, "red")
                status = {"podIPs": [{"ip": f"10.66.0.{number + 1}"}], "phase": "Running"}
                await api.patch(
                    catalog.PODS.untyped(), meta["name"], {"status": status}, namespace="red", subresource="status"
                )

    in_namespace(node, pods)
    until(lambda: f"felix_active_local_endpoints {PODS}.0" in node.http("metrics")[1], 30)
    return client, server


def in_namespace(node: FelixNode, main: Any) -> Any:
    """Runs a coroutine function on a thread that stands in the node's namespace."""
    result: list[Any] = []

    def thread() -> None:
        namespace.setns(node.node.fd)
        result.append(asyncio.run(main()))

    runner = threading.Thread(target=thread)
    runner.start()
    runner.join()
    return result[0]


def main() -> None:
    with tempfile.TemporaryDirectory() as directory, felix_node(Path(directory)) as node:
        started = time.perf_counter()
        node.start_felix()
        node.wait_ready()
        emit("felix_start_to_ready", (time.perf_counter() - started) * 1000)
        client, server = populate(node)
        times = in_namespace(node, lambda: measure(node, client, server))
        summary("policy_to_first_packet", times)
        text = node.http("metrics")[1]
        total, count = (float(_value(text, f"felix_update_to_kernel_seconds_{part}")) for part in ("sum", "count"))
        emit("felix_update_to_kernel_mean", total / count * 1000)
        emit("felix_memory", float(_value(text, "process_resident_memory_bytes")) / 2**20, "MiB")


def _value(text: str, name: str) -> str:
    found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    return "nan" if found is None else found.group(1)


if __name__ == "__main__":
    main()
