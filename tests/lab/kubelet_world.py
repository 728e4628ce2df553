"""A world for the kubelet's tests: an API server and one lab-like node in a network namespace of their own.

For the test_kubelet_* modules. In: nothing. Out: kubectl, a running kubelet that can be killed and started again, and a
trivial CNI plugin that records what it was asked. Everything ends by pid; the namespace is removed.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tools import debian_kubectl, new_kubectl

from tortie.apiserver import pki

NODE = "node-a"
NODE_IP = "10.99.0.1"

# Gives out 10.98.0.N and fd98::N by a counter, a veth pair per sandbox, and leaves a line per call in calls.jsonl.
PLUGIN = """#!/usr/bin/python3 -IS
import fcntl, json, os, subprocess, sys
state = {state!r}
config = json.load(sys.stdin)
command, cid = os.environ["CNI_COMMAND"], os.environ["CNI_CONTAINERID"]
netns = os.environ.get("CNI_NETNS", "")
with open(state + "/calls.jsonl", "a") as log:
    fcntl.flock(log, fcntl.LOCK_EX)
    log.write(json.dumps({{"command": command, "type": config["type"], "id": cid, "netns": netns, "config": config,
                          "args": os.environ.get("CNI_ARGS", "")}}) + "\\n")
if os.path.exists(state + "/fail-" + command):
    print(json.dumps({{"cniVersion": config["cniVersion"], "code": 999, "msg": "made to fail", "details": ""}}))
    sys.exit(1)
if config["type"] != "tt-net":
    if command == "ADD":
        print(json.dumps(config["prevResult"]))
    sys.exit(0)
host = "tt" + cid[:11]
def ip(*words):
    subprocess.run(["/usr/sbin/ip", *words], check=True, stdout=sys.stderr)
if command == "ADD":
    with open(state + "/counter", "a+") as counter:
        fcntl.flock(counter, fcntl.LOCK_EX)
        counter.write("x")
        counter.flush()
        number = 1 + os.path.getsize(state + "/counter")
    enter = ["/usr/bin/nsenter", "--net=" + netns, "--", "/usr/sbin/ip"]
    name = os.path.basename(netns)
    ip("link", "add", host, "address", "ee:ee:ee:ee:ee:ee", "type", "veth", "peer", "name", "p" + host)
    ip("link", "set", "p" + host, "netns", name)
    subprocess.run([*enter, "link", "set", "p" + host, "name", "eth0"], check=True)
    for words in (["address", "add", "10.98.0.%d/32" % number, "dev", "eth0"],
                  ["-6", "address", "add", "fd98::%x/128" % number, "dev", "eth0", "nodad"],
                  ["link", "set", "eth0", "up"], ["route", "add", "169.254.1.1", "dev", "eth0"],
                  ["neigh", "add", "169.254.1.1", "lladdr", "ee:ee:ee:ee:ee:ee", "dev", "eth0"],
                  ["route", "add", "default", "via", "169.254.1.1", "dev", "eth0"]):
        subprocess.run([*enter, *words], check=True)
    ip("link", "set", host, "up")
    ip("route", "add", "10.98.0.%d/32" % number, "dev", host)
    addresses = ["10.98.0.%d/32" % number, "fd98::%x/128" % number]
    print(json.dumps({{"cniVersion": config["cniVersion"],
        "interfaces": [{{"name": host}}, {{"name": "eth0", "sandbox": netns}}],
        "ips": [{{"address": address, "interface": 1}} for address in addresses]}}))
elif command == "DEL":
    subprocess.run(["/usr/sbin/ip", "link", "del", host], stderr=subprocess.DEVNULL)
"""

CONFLIST = {
    "cniVersion": "1.0.0",
    "name": "test-network",
    "plugins": [
        {"type": "tt-net"},
        {"type": "tt-second", "capabilities": {"portMappings": True}},
    ],
}


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 20.0) -> Any:
    """Polls until the condition gives something true, and gives it back."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.02)


class World:
    """base: a directory for everything."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.root_dir = base / "kubelet"
        self.cni = base / "cni"
        self.namespace = f"tt-kl-{os.getpid()}"
        self.kubeconfig = base / "api" / "admin.kubeconfig"
        self.node_kubeconfig = base / "node.kubeconfig"
        self._enter_net = ["nsenter", f"--net=/run/netns/{self.namespace}", "--"]
        self._processes: list[subprocess.Popen[bytes]] = []
        self.node: subprocess.Popen[bytes] | None = None
        self.kubelet: subprocess.Popen[bytes] | None = None

    # life --------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        subprocess.run(["ip", "netns", "add", self.namespace], check=True)
        for words in ("link set lo up", f"address add {NODE_IP}/32 dev lo"):
            subprocess.run([*self._enter_net, "ip", *words.split()], check=True)
        subprocess.run([*self._enter_net, "sysctl", "-qw", "net.ipv4.ip_forward=1"], check=True)
        self._start_api_server()
        self._start_node()
        self._write_cni()
        self._issue_certificates()
        self.start_kubelet()

    def _start_api_server(self) -> None:
        data = self.base / "api"
        data.mkdir(parents=True)
        log = (self.base / "apiserver.log").open("wb")
        command = [sys.executable, "-m", "tortie.cli.main", "apiserver", "--data-dir", str(data)]
        self._processes.append(
            subprocess.Popen(
                [*self._enter_net, *command, "--listen", "127.0.0.1:6443"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        )
        wait_for(
            lambda: self.kubectl("get", "--raw", "/readyz", check=False).stdout == "ok", "the API server answers", 30
        )

    def _issue_certificates(self) -> None:
        """As the lab does: a node's identity for the API, a serving certificate of the same authority."""
        folder = self.base / "api" / "pki"
        authority = pki.load_authority(folder / "ca.crt", folder / "ca.key")
        client = pki.issue_client_certificate(authority, f"system:node:{NODE}", ["system:nodes"])
        server = pki.issue_server_certificate(authority, f"system:node:{NODE}", [NODE, NODE_IP])
        (self.root_dir / "pki").mkdir(parents=True)
        (self.root_dir / "pki" / "kubelet.crt").write_bytes(server.certificate)
        (self.root_dir / "pki" / "kubelet.key").write_bytes(server.key)
        text = pki.kubeconfig("https://127.0.0.1:6443", (folder / "ca.crt").read_bytes(), client)
        self.node_kubeconfig.write_text(text)

    def _start_node(self) -> None:
        script = "mount -t tmpfs tmpfs /run && mkdir -p /run/netns && exec sleep infinity"
        self.node = subprocess.Popen(
            [*self._enter_net, "unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc",
             "--propagation", "private", "--", "sh", "-c", script],
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        wait_for(lambda: self._node_ready(), "the node's namespaces are there")

    def _node_ready(self) -> bool:
        with contextlib.suppress(OSError):
            return self.node_pid() != 0 and Path(f"/proc/{self.node_pid()}/comm").read_text().strip() == "sleep"
        return False

    def node_pid(self) -> int:
        assert self.node is not None
        children = Path(f"/proc/{self.node.pid}/task/{self.node.pid}/children").read_text().split()
        return int(children[0]) if children else 0

    def in_node(self, *command: str) -> list[str]:
        return ["nsenter", f"--target={self.node_pid()}", "--mount", "--net", "--pid", "--", *command]

    def run_in_node(self, *command: str) -> str:
        done = subprocess.run(self.in_node(*command), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _write_cni(self) -> None:
        (self.cni / "bin").mkdir(parents=True)
        (self.cni / "conf").mkdir()
        (self.cni / "state").mkdir()
        for name in ("tt-net", "tt-second"):
            plugin = self.cni / "bin" / name
            plugin.write_text(PLUGIN.format(state=str(self.cni / "state")))
            plugin.chmod(0o755)
        (self.cni / "conf" / "10-test.conflist").write_text(json.dumps(CONFLIST))

    def start_kubelet(self) -> None:
        log = (self.base / "kubelet.log").open("ab")
        self.kubelet = subprocess.Popen(
            self.in_node(
                sys.executable, "-m", "tortie.cli.main", "lab-kubelet",
                *("--node", NODE, "--kubeconfig", str(self.node_kubeconfig), "--root-dir", str(self.root_dir)),
                *("--cni-bin-dir", str(self.cni / "bin"), "--cni-conf-dir", str(self.cni / "conf")),
                *("--cni-cache-dir", str(self.cni / "cache"), "--node-ip", NODE_IP),
            ),
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
        wait_for(self.kubelet_answers, "the kubelet answers", 30)
        wait_for(self.node_is_ready, "the node is Ready", 30)

    def kubelet_answers(self) -> bool:
        """Its server is up."""
        api = self.base / "api" / "pki" / "apiserver-kubelet-client"
        command = ["curl", "-sk", "--max-time", "5", "--cert", f"{api}.crt", "--key", f"{api}.key"]
        done = subprocess.run([*self._enter_net, *command, f"https://{NODE_IP}:10250/healthz"], capture_output=True)
        return done.stdout == b"ok"

    def node_is_ready(self) -> bool:
        path = "{.status.conditions[?(@.type=='Ready')].status}"
        done = self.kubectl("get", "node", NODE, "-o", f"jsonpath={path}", check=False)
        assert self.kubelet is not None
        if self.kubelet.poll() is not None:
            raise AssertionError(f"the kubelet ended: {(self.base / 'kubelet.log').read_text()[-2000:]}")
        return done.stdout == "True"

    def kubelet_pid(self) -> int:
        """The kubelet itself; nsenter stays its parent."""
        assert self.kubelet is not None
        children = Path(f"/proc/{self.kubelet.pid}/task/{self.kubelet.pid}/children").read_text().split()
        return int(children[0]) if children else self.kubelet.pid

    def kill_kubelet(self) -> None:
        """kill -9."""
        assert self.kubelet is not None
        os.kill(self.kubelet_pid(), signal.SIGKILL)
        self.kubelet.wait(10)

    def stop(self) -> None:
        if self.node is not None:
            with contextlib.suppress(OSError):
                os.kill(self.node_pid(), signal.SIGKILL)
            self.node.wait(10)
        for process in [*self._processes, *([self.kubelet] if self.kubelet else [])]:
            process.kill()
            process.wait(10)
        subprocess.run(["ip", "netns", "delete", self.namespace], check=False)

    # kubectl -----------------------------------------------------------------------------------------------------

    def kubectl_command(self, *args: str, old: bool = False) -> list[str]:
        program = debian_kubectl() if old else new_kubectl()
        return [*self._enter_net, str(program), f"--kubeconfig={self.kubeconfig}", *args]

    def kubectl(
        self, *args: str, stdin: str | None = None, check: bool = True, old: bool = False, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        home = self.base / ("home-old" if old else "home")
        home.mkdir(exist_ok=True)
        done = subprocess.run(
            self.kubectl_command(*args, old=old),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env={"HOME": str(home), "PATH": os.environ["PATH"]},
        )
        if check and done.returncode:
            raise AssertionError(f"kubectl {' '.join(args)} failed:\n{done.stdout}{done.stderr}")
        return done

    def apply(self, *objects: dict[str, Any]) -> None:
        text = "\n---\n".join(json.dumps(item) for item in objects)
        self.kubectl("apply", "--validate=false", "-f", "-", stdin=text)

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        done = self.kubectl("get", kind, name, "-o", "json", check=False)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def wait_phase(self, name: str, phase: str, seconds: float = 20.0) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            found = self.get("pod", name)
            return found if found and found["status"].get("phase") == phase else None

        try:
            return wait_for(look, f"pod {name} is {phase}", seconds)
        except AssertionError as error:
            described = self.kubectl("describe", "pod", name, check=False).stdout
            log = (self.base / "kubelet.log").read_text()[-3000:]
            raise AssertionError(f"{error}\n{described}\n{log}") from error

    def logs(self, name: str, *args: str) -> str:
        return self.kubectl("logs", name, *args).stdout

    def events(self, name: str) -> list[dict[str, Any]]:
        done = self.kubectl("get", "events", "-o", "json", f"--field-selector=involvedObject.name={name}")
        return json.loads(done.stdout)["items"]

    def wait_event(self, name: str, reason: str, seconds: float = 20.0) -> dict[str, Any]:
        return wait_for(
            lambda: next((e for e in self.events(name) if e["reason"] == reason), None),
            f"event {reason} of {name}",
            seconds,
        )

    def delete(self, *names: str) -> None:
        self.kubectl("delete", "pod", "--wait=true", "--timeout=40s", *names)

    def cni_calls(self) -> list[dict[str, Any]]:
        path = self.cni / "state" / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def pod(
    name: str,
    command: list[str] | None = None,
    *,
    image: str = "busybox",
    container: dict[str, Any] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """A pod bound to the world's node."""
    main = {"name": "main", "image": image, **({"command": command} if command else {}), **(container or {})}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": name}, **spec.pop("metadata", {})},
        "spec": {"nodeName": NODE, "terminationGracePeriodSeconds": 3, "containers": [main], **spec},
    }


@contextlib.contextmanager
def world_in(base: Path) -> Iterator[World]:
    world = World(base)
    try:
        world.start()
        yield world
    finally:
        world.stop()
