"""What the embedded API server costs: writes, watch latency, lists, memory.

In: nothing; starts a `tortie apiserver` of its own on loopback. Out: one JSON object per line on stdout with name,
value, unit and scale. Run: .venv/bin/python bench/bench_apiserver.py [--objects 5000]
"""

import argparse
import asyncio
import base64
import json
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
import yaml

POD_LABELS = 6


def emit(name: str, value: float, unit: str, scale: str) -> None:
    """Prints one measurement."""
    print(json.dumps({"name": f"apiserver.{name}", "value": round(value, 3), "unit": unit, "scale": scale}), flush=True)


def pod(number: int) -> dict[str, Any]:
    """A pod of ordinary size (about 3 KB once it is stored)."""
    container = {
        "name": "main",
        "image": "registry.example/team/app:1.2.3",
        "ports": [{"containerPort": 8080, "name": "http"}],
        "env": [{"name": f"SETTING_{i}", "value": "x" * 20} for i in range(8)],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
        "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}},
    }
    labels = {f"example.com/label-{i}": f"value-{number % (i + 2)}" for i in range(POD_LABELS)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"pod-{number:05d}", "namespace": "default", "labels": labels},
        "spec": {"containers": [container], "nodeName": f"node-{number % 50}"},
    }


def resident(pid: int) -> float:
    """Resident memory of a process in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def connect(kubeconfig: Path, folder: Path) -> tuple[str, ssl.SSLContext]:
    """The server's address and a TLS context with the administrator's certificate."""
    config = yaml.safe_load(kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    (folder / "client.crt").write_bytes(base64.b64decode(user["client-certificate-data"]))
    (folder / "client.key").write_bytes(base64.b64decode(user["client-key-data"]))
    tls = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    tls.load_cert_chain(folder / "client.crt", folder / "client.key")
    return cluster["server"], tls


async def write_latency(session: aiohttp.ClientSession, base: str, count: int) -> None:
    """One writer, one write after the other."""
    times = []
    for number in range(count):
        body = {"metadata": {"name": f"write-{number}"}, "data": {"key": "x" * 500}}
        start = time.perf_counter()
        async with session.post(f"{base}/api/v1/namespaces/default/configmaps", json=body) as answer:
            assert answer.status == 201, await answer.text()
            await answer.read()
        times.append((time.perf_counter() - start) * 1e3)
    emit("write.p50", statistics.median(times), "ms", f"{count} creates, one after the other")
    emit("write.p99", sorted(times)[int(count * 0.99)], "ms", f"{count} creates, one after the other")


async def watch_latency(session: aiohttp.ClientSession, base: str, count: int, watchers: int) -> None:
    """From sending a policy write to its event, and from its answer to its event, at each of several watchers."""
    url = f"{base}/apis/projectcalico.org/v3/globalnetworkpolicies"
    seen: dict[str, list[float]] = {}
    ready = asyncio.Semaphore(0)

    async def follow() -> None:
        async with session.get(url, params={"watch": "1", "resourceVersion": "0"}) as stream:
            ready.release()
            async for line in stream.content:
                name = json.loads(line)["object"]["metadata"]["name"]
                seen.setdefault(name, []).append(time.perf_counter())

    tasks = [asyncio.create_task(follow()) for _ in range(watchers)]
    for _ in range(watchers):
        await ready.acquire()
    from_start, from_answer = [], []
    for number in range(count):
        name = f"bench-{watchers}-{number}"
        body = {
            "apiVersion": "projectcalico.org/v3",
            "kind": "GlobalNetworkPolicy",
            "metadata": {"name": name},
            "spec": {"selector": f"app == 'a{number}'", "ingress": [{"action": "Allow", "protocol": "TCP"}]},
        }
        start = time.perf_counter()
        async with session.post(url, json=body) as answer:
            assert answer.status == 201, await answer.text()
            await answer.read()
        answered = time.perf_counter()
        while len(seen.get(name, ())) < watchers:
            await asyncio.sleep(0.0002)
        from_start.append((max(seen[name]) - start) * 1e3)
        from_answer.append(max(0.0, max(seen[name]) - answered) * 1e3)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    scale = f"{count} policies, last of {watchers} watchers"
    emit("write_to_watch.p50", statistics.median(from_start), "ms", scale)
    emit("write_to_watch.p99", sorted(from_start)[int(count * 0.99)], "ms", scale)
    emit("answer_to_watch.p50", statistics.median(from_answer), "ms", scale)


async def fill(session: aiohttp.ClientSession, base: str, count: int) -> None:
    """Creates pods, 32 requests at a time."""
    gate = asyncio.Semaphore(32)

    async def create(number: int) -> None:
        async with gate, session.post(f"{base}/api/v1/namespaces/default/pods", json=pod(number)) as answer:
            assert answer.status == 201, await answer.text()
            await answer.read()

    start = time.perf_counter()
    await asyncio.gather(*(create(n) for n in range(count)))
    emit("fill", count / (time.perf_counter() - start), "writes/s", f"{count} pods, 32 at a time")


async def lists(session: aiohttp.ClientSession, base: str, count: int) -> None:
    """Whole lists: plain, as a table, and by label."""
    for name, params, accept in (
        ("list", {}, "application/json"),
        ("list_label", {"labelSelector": "example.com/label-0=value-1"}, "application/json"),
        ("list_table", {}, "application/json;as=Table;v=v1;g=meta.k8s.io"),
    ):
        times = []
        for _ in range(5):
            start = time.perf_counter()
            headers = {"Accept": accept, "Accept-Encoding": "identity"}
            async with session.get(f"{base}/api/v1/pods", params=params, headers=headers) as answer:
                size = len(await answer.read())
            times.append((time.perf_counter() - start) * 1e3)
        emit(name, statistics.median(times), "ms", f"{count} pods, {size / 1e6:.1f} MB")


async def run(server: "subprocess.Popen[bytes]", folder: Path, objects: int) -> None:
    kubeconfig = folder / "data" / "admin.kubeconfig"
    base, tls = connect(kubeconfig, folder)
    timeout = aiohttp.ClientTimeout(total=None)
    connector = aiohttp.TCPConnector(ssl=tls, limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, read_bufsize=1 << 22) as session:
        emit("rss_empty", resident(server.pid), "MiB", "after start")
        await write_latency(session, base, 300)
        await watch_latency(session, base, 200, 1)
        await watch_latency(session, base, 50, 100)
        await fill(session, base, objects)
        emit("rss", resident(server.pid), "MiB", f"{objects} pods")
        await lists(session, base, objects)
        emit("rss_after_lists", resident(server.pid), "MiB", f"{objects} pods")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=5000)
    objects = parser.parse_args().objects
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = subprocess.Popen(
            [sys.executable, "-m", "tortie.cli.main", "apiserver", "--data-dir", str(folder / "data"),
             "--listen", f"127.0.0.1:{free_port()}"],
            stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            assert server.stderr is not None
            server.stderr.readline()
            asyncio.run(run(server, folder, objects))
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(20)


if __name__ == "__main__":
    main()
