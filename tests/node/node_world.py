"""A host for calico-node: a network namespace on a LAN with the API server, and a private view of the directories that
calico-node writes to. In: a directory. Out: commands run as on that host; everything is removed at the end.
"""

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from lan import BirdNode, eventually, lan_in
from tools import ROOT, new_kubectl

API = "172.30.0.1"
RBAC = ROOT / "deploy" / "manifests" / "calico-rbac.yaml"

_SETUP = """set -e
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/netns /run/lock
mkdir -p {base}/etc {base}/work {base}/var-lib {base}/var-log {base}/opt
mount -t overlay overlay -o lowerdir=/etc,upperdir={base}/etc,workdir={base}/work /etc
mount --bind {base}/var-lib /var/lib
mount --bind {base}/var-log /var/log
mount --bind {base}/opt /opt
echo ready > {base}/ready
exec sleep infinity
"""


@dataclass
class Started:
    """calico-node's entry point, behind the nsenter that brought it into the host's namespaces."""

    outer: subprocess.Popen[bytes]

    def signal(self, number: int) -> None:
        os.kill(_child(self.outer.pid), number)

    def wait(self, timeout: float = 15) -> int:
        return self.outer.wait(timeout)


@dataclass
class Machine:
    """One host. environment: of calico-node's commands."""

    name: str
    node: BirdNode
    base: Path
    process: subprocess.Popen[bytes]
    init: int
    environment: dict[str, str] = field(default_factory=dict)

    def path(self, inside: str) -> Path:
        """A file of the host, as this process sees it; Debian's absolute links would lead out of the host's root."""
        for link, target in (("/var/run", "/run"), ("/etc/service", os.path.realpath("/etc/service"))):
            if inside.startswith(link + "/"):
                inside = target + inside.removeprefix(link)
        return Path(f"/proc/{self.init}/root{inside}")

    def command(self, *argv: str) -> list[str]:
        return ["nsenter", "-t", str(self.init), "-m", "-p", "-n", "-u", "--", *argv]

    def run(self, *argv: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        env = {"PATH": os.environ["PATH"], **self.environment, **environment}
        done = subprocess.run(self.command(*argv), capture_output=True, text=True, env=env, timeout=90)
        if check and done.returncode:
            raise AssertionError(f"{shlex.join(argv)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def tortie(self, *argv: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "tortie.cli.main", *argv, check=check, **environment)

    def start(self, **environment: str) -> "Started":
        """`tortie node start`, left running; its output goes to the file `output`."""
        env = {"PATH": os.environ["PATH"], **self.environment, **environment}
        with (self.base / "output").open("ab") as output:
            command = self.command(sys.executable, "-m", "tortie.cli.main", "node", "start")
            return Started(subprocess.Popen(command, env=env, stdout=output, stderr=output))

    def output(self) -> str:
        return (self.base / "output").read_text()

    def processes(self) -> list[str]:
        """Command lines of everything that runs in the host's PID namespace, the sleeping first one left out."""
        space = Path(f"/proc/{self.init}/ns/pid").readlink()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != self.init:
                try:
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
                    if line and (entry / "ns" / "pid").readlink() == space:
                        found.append(line)
                except OSError:
                    continue
        return found


@dataclass
class Cluster:
    machines: list[Machine]
    namespace: str
    data: Path
    api: subprocess.Popen[bytes]

    def kubectl(self, *argv: str, stdin: str | None = None, check: bool = True) -> str:
        kubeconfig = f"--kubeconfig={self.data / 'admin.kubeconfig'}"
        command = ["ip", "netns", "exec", self.namespace, str(new_kubectl()), kubeconfig, *argv]
        env = {"PATH": os.environ["PATH"], "HOME": str(self.data)}
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, env=env, timeout=60)
        if check and done.returncode:
            raise AssertionError(f"kubectl {shlex.join(argv)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def apply(self, *objects: dict) -> None:
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        self.kubectl("apply", "--validate=false", "-f", "-", stdin=text)

    def get(self, *argv: str) -> dict:
        return json.loads(self.kubectl("get", *argv, "-o", "json"))

    def annotations(self, node: str) -> dict[str, str]:
        """The node's annotations of ours, prefix removed."""
        found = self.get("node", node)["metadata"].get("annotations", {})
        prefix = "projectcalico.org/"
        return {k.removeprefix(prefix): v for k, v in found.items() if k.startswith(prefix)}


@contextmanager
def cluster_in(directory: Path, *, nodes: int = 1) -> Iterator[Cluster]:
    """A LAN with an API server and hosts, each of which has a Node object of its name."""
    with lan_in(directory) as make:
        lan = make(nodes)
        namespace = lan[0].namespace.rpartition("-")[0] + "-lan"
        subprocess.run(["ip", "-n", namespace, "address", "add", f"{API}/24", "dev", "br0"], check=True)
        data = directory / "api"
        data.mkdir()
        command = [sys.executable, "-m", "tortie.cli.main", "apiserver", "--data-dir", str(data)]
        command += ["--listen", "127.0.0.1:6443", "--listen", f"{API}:6443", "--advertise", API]
        with (data / "log").open("wb") as log:
            api = subprocess.Popen(["ip", "netns", "exec", namespace, *command], stdout=log, stderr=log)
        cluster = Cluster([], namespace, data, api)
        try:
            kubeconfig = data / "admin.kubeconfig"
            eventually(kubeconfig.exists, within=30, what="the API server's start")
            eventually(lambda: "ok" in cluster.kubectl("get", "--raw", "/readyz"), within=30)
            far = data / "node.kubeconfig"
            far.write_text(_calico_node(cluster, kubeconfig))
            for number, one in enumerate(lan, 1):
                cluster.machines.append(_machine(f"node-{number}", one, directory, far))
            yield cluster
        finally:
            for machine in cluster.machines:
                machine.process.kill()
                machine.process.wait()
            api.terminate()
            api.wait(10)


def register(cluster: Cluster) -> None:
    """What the kubelets would do: a Node object for each host."""
    for machine in cluster.machines:
        cluster.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": machine.name}})


def _calico_node(cluster: Cluster, admin: Path) -> str:
    """A kubeconfig with the rights of calico-node and no others, as hosts reach the API server."""
    cluster.kubectl("apply", "--validate=false", "-f", str(RBAC))
    token = cluster.kubectl("create", "token", "calico-node", "-n", "kube-system").strip()
    config = yaml.safe_load(admin.read_text().replace("127.0.0.1", API))
    config["users"][0]["user"] = {"token": token}
    return json.dumps(config)


def _machine(name: str, node: BirdNode, directory: Path, kubeconfig: Path) -> Machine:
    base = directory / f"root-{name}"
    base.mkdir()
    command = ["ip", "netns", "exec", node.namespace, "unshare", "--mount", "--pid", "--uts", "--fork"]
    command += ["--mount-proc", "--kill-child=KILL", "--propagation", "private"]
    process = subprocess.Popen([*command, "/bin/sh", "-c", _SETUP.format(base=base)])
    eventually((base / "ready").exists, within=10, what="the host's start")
    init = _child(process.pid)
    environment = {
        "NODENAME": name,
        "KUBECONFIG": str(kubeconfig),
        "WAIT_FOR_DATASTORE": "true",
        "IP": "autodetect",
        "IP6": "autodetect",
        "IP_AUTODETECTION_METHOD": "interface=eth0",
        "IP6_AUTODETECTION_METHOD": "interface=eth0",
    }
    return Machine(name, node, base, process, init, environment)


def _child(pid: int) -> int:
    """The first process of the new PID namespace."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if children:
            return int(children[0])
        time.sleep(0.01)
    raise AssertionError("the host did not start")
