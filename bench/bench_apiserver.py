"""What the embedded API server costs: durable writes, lists, watch fan-out, memory, start.

In: nothing; starts a `tortie apiserver` of its own on loopback, and clients as processes of their own (api_load.py).
Out: one JSON object per line on stdout with name, value, unit and scale; where there is a target, target and pass;
processor seconds of the server beside what the clock says. Run: .venv/bin/python bench/bench_apiserver.py [--small]
"""

import argparse
import base64
import http.client
import json
import os
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

import yaml

HERE = Path(__file__).parent
MORE = ("1/s",)  # units in which more is better


def emit(name: str, value: float, unit: str, scale: str, target: float | None = None) -> None:
    """Prints one measurement, and whether it meets its target."""
    line: dict[str, Any] = {"name": f"apiserver.{name}", "value": round(value, 3), "unit": unit, "scale": scale}
    if target is not None:
        line |= {"target": target, "pass": value >= target if unit in MORE else value <= target}
    print(json.dumps(line), flush=True)


class Server:
    """One `tortie apiserver` over a folder, started and stopped by this program."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])

    def start(self) -> float:
        """Starts it; returns the seconds until it is ready."""
        started = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tortie.cli.main", "apiserver", "--data-dir", str(self.folder / "data"),
             "--listen", f"127.0.0.1:{self.port}"],
            stderr=(self.folder / "log").open("ab"),
        )  # fmt: skip
        nobody = ssl._create_unverified_context()
        while True:
            if self.process.poll() is not None:
                raise RuntimeError((self.folder / "log").read_text())
            connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=nobody, timeout=5)
            try:
                connection.request("GET", "/readyz")
                if connection.getresponse().status == 200:
                    return time.perf_counter() - started
            except OSError:
                pass
            finally:
                connection.close()
            time.sleep(0.01)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)

    def cpu(self) -> float:
        """Processor seconds that it has used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident(self) -> float:
        """Resident memory in MiB."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        return 0.0

    def credentials(self) -> dict[str, Any]:
        """What the load generator needs to be the administrator."""
        config = yaml.safe_load((self.folder / "data/admin.kubeconfig").read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        files = {"ca": cluster["certificate-authority-data"], "certificate": user["client-certificate-data"],
                 "key": user["client-key-data"]}  # fmt: skip
        for name, data in files.items():
            (self.folder / name).write_bytes(base64.b64decode(data))
        return {"host": "127.0.0.1", "port": self.port, **{name: str(self.folder / name) for name in files}}

    def load(self, **options: Any) -> tuple[dict[str, Any], float]:
        """Runs the load generator; its result, and the processor seconds that the server used meanwhile."""
        before = self.cpu()
        text = json.dumps({**self.credentials(), **options})
        done = subprocess.run([sys.executable, HERE / "api_load.py", text], stdout=subprocess.PIPE, check=True)
        return json.loads(done.stdout), self.cpu() - before


def _writes(server: Server, count: int) -> None:
    one, _ = server.load(do="writes", what="maps", size=500, clients=1, count=300, first=800_000)
    emit("write.p50", one["p50"], "ms", "300 creates, one after the other")
    emit("write.p99", one["p99"], "ms", "300 creates, one after the other")
    many, cpu = server.load(do="writes", what="maps", size=2048, clients=32, count=count)
    scale = f"{count} creates of 2 KiB, 32 clients"
    emit("writes", count / many["seconds"], "1/s", scale, target=1500)
    emit("writes.cpu", cpu / count * 1e6, "us", f"{scale}: the server's processor time for each")
    emit("writes.load_share", many["cpu"] / many["seconds"], "cores", f"{scale}: processor of the load generator")
    emit("writes.p99", many["p99"], "ms", scale)
    emit("rss", server.resident(), "MiB", f"{count} objects of 2 KiB, just created", target=600)


def _start(server: Server, count: int) -> None:
    server.stop()
    seconds = server.start()
    emit("start", seconds, "s", f"to ready, with {count} objects of 2 KiB", target=5)
    emit("start.cpu", server.cpu(), "s", f"to ready, with {count} objects: the server's processor time")
    emit("rss_after_start", server.resident(), "MiB", f"{count} objects of 2 KiB", target=600)


def _watchers(server: Server) -> None:
    for count, changes in ((1, 200), (1000, 30)):
        revision = _get(server, "/api/v1/namespaces/kube-public/configmaps")["metadata"]["resourceVersion"]
        target = 50 if count == 1000 else None
        result, cpu = server.load(do="watchers", watchers=count, count=changes, pause=0.05, revision=revision)
        _delete_watched(server)
        scale = f"{count} watchers of one kind, {changes} changes"
        emit("watch.p50", result["from_send"]["p50"], "ms", f"{scale}, from sending the write")
        emit("watch.p99", result["from_send"]["p99"], "ms", f"{scale}, from sending the write", target=target)
        emit("watch_from_answer.p99", result["from_answer"]["p99"], "ms", f"{scale}, from the write's answer")
        if count > 1:
            emit("watch.cpu", cpu / changes * 1e3, "ms", f"{scale}: the server's processor time, connections included")


def _delete_watched(server: Server) -> None:
    names = [i["metadata"]["name"] for i in _get(server, "/api/v1/namespaces/default/configmaps?limit=100000")["items"]]
    for name in names:
        if name.startswith("bench-9"):
            _ask(server, "DELETE", f"/api/v1/namespaces/default/configmaps/{name}")


def _lists(server: Server, count: int) -> None:
    server.load(do="writes", what="pods", clients=32, count=count)
    plain = "Accept: application/json\r\nUser-Agent: bench\r\n"
    table = "Accept: application/json;as=Table;v=v1;g=meta.k8s.io\r\nAccept-Encoding: gzip\r\nUser-Agent: bench\r\n"
    for name, path, headers, target in (
        ("list", "/api/v1/pods", plain, 500),
        ("list_gzip", "/api/v1/pods", plain + "Accept-Encoding: gzip\r\n", 500),
        ("list_label", "/api/v1/pods?labelSelector=example.com/label-0%3Dvalue-1", plain, None),
        ("list_table", "/api/v1/pods", table, 500),
    ):
        result, cpu = server.load(do="lists", path=path, headers=headers, rounds=5)
        scale = f"{count} pods in one page, {result['bytes'] / 1e6:.1f} MB"
        emit(name, result["p50"], "ms", scale, target)
        emit(f"{name}.cpu", cpu / 5 * 1e3, "ms", f"{scale}: the server's processor time")
    kubectl = [str(Path(sys.executable).parent / "kubectl"), f"--kubeconfig={server.folder / 'data/admin.kubeconfig'}"]
    times = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run([*kubectl, "get", "pods", "--chunk-size=0"], stdout=subprocess.DEVNULL, check=True,
                       env={"HOME": str(server.folder)})  # fmt: skip
        times.append(time.perf_counter() - start)
    emit(
        "kubectl_get",
        statistics.median(times) * 1e3,
        "ms",
        f"kubectl get pods, {count} in one page, process start included",
    )
    emit("rss_after_lists", server.resident(), "MiB", f"{count} pods beside what was there")


def _ask(server: Server, method: str, path: str) -> Any:
    files = server.credentials()
    tls = ssl.create_default_context(cafile=files["ca"])
    tls.load_cert_chain(files["certificate"], files["key"])
    connection = http.client.HTTPSConnection("127.0.0.1", server.port, context=tls, timeout=60)
    try:
        connection.request(method, path)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def _get(server: Server, path: str) -> Any:
    return _ask(server, "GET", path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=50_000, help="objects of 2 KiB that are created first")
    parser.add_argument("--pods", type=int, default=10_000, help="pods of the lists")
    parser.add_argument("--small", action="store_true", help="a tenth of everything, for a quick look")
    options = parser.parse_args()
    share = 10 if options.small else 1
    objects, pods = options.objects // share, options.pods // share
    with tempfile.TemporaryDirectory() as name:
        server = Server(Path(name))
        try:
            emit("start_empty", server.start(), "s", "to ready, with an empty folder")
            emit("rss_empty", server.resident(), "MiB", "after start")
            _writes(server, objects)
            _start(server, objects)
            _watchers(server)
            _lists(server, pods)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
