"""A node in a namespace of its own: the real API server, the real `tortie felix` process, pods with real interfaces.

For tests of the daemon. Objects go in through kubectl; what comes out is read where users would: packets, files, HTTP,
Events, exit statuses.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dataplane_world import Node, Pod, World, path_of, run, until, world
from tools import new_kubectl

from tortie.model.names import workload_interface_name

NODE = "n1"
_PROGRAM = [sys.executable, "-m", "tortie.cli.main"]


class FelixNode:
    """directory: where everything that the processes write goes."""

    def __init__(self, made: World, directory: Path) -> None:
        self.directory = directory
        self.world = made
        self.node: Node = made.node(1)
        self.felix: subprocess.Popen[bytes] | None = None
        self.status_directory = directory / "run" / "endpoint-status"
        self.log = directory / "felix.log"
        self._home = directory / "home"
        self._home.mkdir()
        self._kubeconfig = directory / "api" / "admin.kubeconfig"
        self.start_api_server()
        self.apply(
            {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE, "labels": {"zone": "a"}}},
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "red", "labels": {"team": "one"}}},
        )

    # --- processes -------------------------------------------------------------------------------------------------

    def _start(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        log = (self.directory / f"{arguments[0]}.log").open("ab")
        return subprocess.Popen(
            ["nsenter", f"--net={path_of(self.node.fd)}", *_PROGRAM, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **environment},
        )

    def start_api_server(self) -> None:
        """Starts the API server, with whatever it stored before."""
        self._api = self._start("apiserver", "--data-dir", str(self.directory / "api"), "--listen", "127.0.0.1:6443")
        until(self._answers, 30)

    def kill_api_server(self) -> None:
        """Ends the API server as a crash would."""
        self._api.kill()
        self._api.wait()

    def start_felix(self, **environment: str) -> None:
        """Starts Felix with FELIX_ parameters; `wait_ready` waits for it."""
        self.felix = self._start(
            "felix",
            "--node",
            NODE,
            "--kubeconfig",
            str(self._kubeconfig),
            "--config-file",
            str(self.directory / "felix.cfg"),
            "--state-dir",
            str(self.directory),
            **{
                "FELIX_HEALTHENABLED": "true",
                "FELIX_ENDPOINTSTATUSPATHPREFIX": str(self.directory / "run"),
                **environment,
            },
        )

    def wait_ready(self) -> None:
        """Returns when Felix says that it is ready."""
        until(lambda: self._alive() and self.http("readiness")[0] == 200, 20)

    def _alive(self) -> bool:
        assert self.felix is not None and self.felix.poll() is None, self.log.read_text()
        return True

    def stop_felix(self, *, kill: bool = False) -> int:
        """Ends Felix and returns its exit status."""
        assert self.felix is not None
        if kill:
            self.felix.kill()
        else:
            self.felix.terminate()
        return self.felix.wait(15)

    def close(self) -> None:
        for process in (self.felix, self._api):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()

    # --- API -------------------------------------------------------------------------------------------------------

    def kubectl(self, *arguments: str, stdin: str = "", check: bool = True) -> str:
        done = subprocess.run(
            [
                "nsenter",
                f"--net={path_of(self.node.fd)}",
                str(new_kubectl()),
                f"--kubeconfig={self._kubeconfig}",
                *arguments,
            ],
            input=stdin,
            capture_output=True,
            text=True,
            env={"HOME": str(self._home), "PATH": os.environ["PATH"]},
        )
        assert not check or done.returncode == 0, f"kubectl {arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def apply(self, *objects: dict[str, Any]) -> None:
        self.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))

    def events(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.kubectl("get", "events", "-A", "-o", "json"))["items"]
        return found

    def _answers(self) -> bool:
        return self._kubeconfig.exists() and "ok" in self.kubectl("get", "--raw", "/readyz", check=False)

    # --- pods ------------------------------------------------------------------------------------------------------

    def pod(self, name: str, **labels: str) -> Pod:
        """A pod with an interface of the right name, known to the API server."""
        pod = self.world.pod(self.node, name)
        wanted = workload_interface_name("red", name)
        run(self.node.fd, f"link set {pod.interface} down\nlink set {pod.interface} name {wanted}\n"
            f"link set {wanted} up\naddress replace fe80::1/64 dev {wanted} nodad")  # fmt: skip
        pod.interface = wanted
        self.declare(pod, **labels)
        return pod

    def declare(self, pod: Pod, **labels: str) -> None:
        """Makes the Pod object, with the address that its interface has."""
        container = {"name": "c", "image": "none", "ports": [{"name": "http", "containerPort": 80}]}
        self.apply(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": pod.name, "namespace": "red", "labels": labels},
                "spec": {"nodeName": NODE, "containers": [container]},
            }
        )
        status = {"podIP": pod.ip, "podIPs": [{"ip": pod.ip}, {"ip": pod.ip6}], "phase": "Running"}
        self.kubectl(
            "patch", "pod", "-n", "red", pod.name, "--subresource=status", "--type=merge",
            "-p", json.dumps({"status": status}),
        )  # fmt: skip

    def status_file(self, name: str) -> Path:
        return self.status_directory / f"k8s red%2F{name} eth0"

    # --- HTTP ------------------------------------------------------------------------------------------------------

    def http(self, path: str, port: int = 9099) -> tuple[int, str]:
        """Status and body; status 0 when nobody answers."""
        done = subprocess.run(
            ["nsenter", f"--net={path_of(self.node.fd)}", sys.executable, "-I", "-S", "-c", _GET, str(port), path],
            capture_output=True,
            text=True,
        )
        status, _, body = done.stdout.partition("\n")
        return int(status or 0), body


_GET = """
import http.client, sys
try:
    c = http.client.HTTPConnection("localhost", int(sys.argv[1]), timeout=5)
    c.request("GET", "/" + sys.argv[2])
    r = c.getresponse()
    print(r.status)
    print(r.read().decode())
except OSError:
    print(0)
"""


@contextlib.contextmanager
def felix_node(directory: Path) -> Iterator[FelixNode]:
    """A node for the length of a block. Nothing is left behind."""
    with world() as made:
        node = FelixNode(made, directory)
        try:
            yield node
        finally:
            node.close()


DENY_ALL = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "deny-all", "namespace": "red"},
    "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
}
