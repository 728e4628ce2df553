"""`tortie confd` against a real API server and a real BIRD: what a user changes arrives in the routing daemon."""

import base64
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from lan import BirdNode, eventually
from tools import ApiServer

from tortie.model.names import hostname_hash

pytestmark = pytest.mark.netns


def v3(kind: str, name: str, **spec) -> dict:
    return {"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": {"name": name}, "spec": spec}


def k8s_node(name: str, ipv4: str) -> dict:
    annotations = {"projectcalico.org/IPv4Address": f"{ipv4}/24"}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "annotations": annotations}}


def apply(server: ApiServer, *objects: dict) -> None:
    server.kubectl(
        "apply",
        "--validate=false",
        "-f",
        "-",
        stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}),
    )


class ConfdProcess:
    def __init__(self, server: ApiServer, node: BirdNode, name: str, status: Path) -> None:
        self.log = node.directory / "confd.log"
        self.command = [sys.executable, "-m", "tortie.cli.main", "confd"]
        self.command += ["--config", str(node.config), "--bird-socket", str(node.control)]
        self.environment = {
            "PATH": os.environ["PATH"],
            "KUBECONFIG": str(server.kubeconfig),
            "NODENAME": name,
            "CALICO_ENDPOINT_STATUS_PATH_PREFIX": str(status),
        }
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, env=self.environment, stderr=log)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(10)

    def rss_mib(self) -> float:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise AssertionError("no VmRSS")


@pytest.fixture
def cluster(lan, api_server, tmp_path):
    """One node with BIRD and confd, known to the API as node-1; node-2 exists in the API alone."""
    (node,) = lan(1)
    apply(api_server, k8s_node("node-1", "172.30.0.11"), k8s_node("node-2", "172.30.0.12"))
    apply(api_server, v3("IPPool", "pool", cidr="192.168.0.0/16", blockSize=26))
    confd = ConfdProcess(api_server, node, "node-1", tmp_path / "status")
    eventually(node.config.exists, what="the first configuration")
    node.start_bird()
    yield api_server, node, confd
    confd.stop(signal.SIGKILL)


def sessions(node: BirdNode) -> set[str]:
    return {p.name for p in node.protocols().values() if p.kind == "BGP"}


def test_changes_of_the_api_arrive_in_bird_and_restarts_of_confd_change_nothing(cluster):
    server, node, confd = cluster
    eventually(lambda: sessions(node) == {"Mesh_172_30_0_12"})
    assert confd.rss_mib() < 60

    began = time.monotonic()
    apply(server, v3("BGPPeer", "tor", peerIP="172.30.0.254", asNumber=65000))
    eventually(lambda: "Global_172_30_0_254" in sessions(node))
    assert time.monotonic() - began < 3

    affinity = v3("BlockAffinity", "node-1-192-168-5-0-26", node="node-1", cidr="192.168.5.0/26", state="confirmed")
    affinity["metadata"]["labels"] = {
        "projectcalico.org/hostname-hash": hostname_hash("node-1"),
        "projectcalico.org/affinity-type": "host",
        "projectcalico.org/ip-version": "4",
    }
    affinity["spec"]["deleted"] = False
    apply(server, affinity)
    eventually(lambda: "blackhole 192.168.5.0/26" in node.routes())

    before = node.log().count("State changed"), node.config.stat().st_mtime_ns
    confd.stop(signal.SIGKILL)
    confd.log.unlink()
    confd.start()
    eventually(lambda: "configuration loaded" in confd.log.read_text())
    assert confd.stop() == 0
    assert (node.log().count("State changed"), node.config.stat().st_mtime_ns) == before


def test_a_bad_peer_is_reported_as_an_event_and_stops_no_other(cluster):
    server, node, confd = cluster
    apply(
        server,
        v3("BGPPeer", "too-slow", peerIP="172.30.0.253", asNumber=65000, keepaliveTime="30h"),
        v3("BGPPeer", "good", peerIP="172.30.0.254", asNumber=65000),
    )
    eventually(lambda: "Global_172_30_0_254" in sessions(node))
    assert "Global_172_30_0_253" not in sessions(node)

    def events() -> list[tuple[str, str]]:
        items = json.loads(server.kubectl("get", "events", "-A", "-o", "json").stdout)["items"]
        return [(i["involvedObject"]["name"], i["reason"]) for i in items]

    eventually(lambda: ("too-slow", "NotInEffect") in events())
    server.kubectl("delete", "bgppeers.projectcalico.org", "too-slow")
    eventually(lambda: "no longer a problem" in confd.log.read_text())


def test_passwords_come_from_secrets_as_they_change(cluster):
    server, node, confd = cluster
    reference = {"secretKeyRef": {"name": "bgp-secrets", "key": "tor"}}
    apply(server, v3("BGPPeer", "tor", peerIP="172.30.0.254", asNumber=65000, password=reference))
    eventually(lambda: "Global_172_30_0_254" in sessions(node))
    assert "password" not in node.config.read_text()
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "bgp-secrets", "namespace": "kube-system"},
        "data": {"tor": encoded("first one")},
    }
    apply(server, secret)
    eventually(lambda: 'password "first one";' in node.config.read_text())
    secret["data"]["tor"] = encoded("second one")
    apply(server, secret)
    eventually(lambda: 'password "second one";' in node.config.read_text())
    assert "first one" not in confd.log.read_text()
    assert "second one" not in confd.log.read_text()


def test_services_are_followed_once_a_range_is_configured(cluster):
    server, node, _ = cluster
    apply(server, v3("BGPConfiguration", "default", serviceClusterIPs=[{"cidr": "10.96.0.0/16"}]))
    eventually(lambda: "route 10.96.0.0/16 blackhole;" in node.config.read_text())
    assert "10.96.0.0/16" not in " ".join(node.routes())


def test_local_workloads_become_peers_when_felix_writes_their_status(cluster, tmp_path):
    server, node, _ = cluster
    apply(server, v3("BGPPeer", "pods", localWorkloadSelector="color == 'red'", asNumber=64600))
    directory = tmp_path / "status" / "endpoint-status"
    directory.mkdir(parents=True)
    status = {"ifaceName": "cali1", "ipv4Nets": ["192.168.5.9/32"], "ipv6Nets": [], "bgpPeerName": "pods"}
    (directory / "k8s default%2Fpod eth0").write_text(json.dumps(status))
    eventually(lambda: "Local_Workload_192_168_5_9" in sessions(node))


def test_without_the_api_server_the_last_configuration_stays(cluster):
    server, node, confd = cluster
    eventually(lambda: sessions(node) == {"Mesh_172_30_0_12"})
    text = node.config.read_text()
    server.kill()
    confd.stop()
    confd.start()
    time.sleep(1.5)
    assert node.config.read_text() == text
    assert sessions(node) == {"Mesh_172_30_0_12"}
    assert confd.process.poll() is None


def test_the_configuration_can_be_printed_without_its_passwords(cluster):
    server, _, confd = cluster
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "bgp-secrets", "namespace": "kube-system"},
        "data": {"mesh": encoded("hunter2")},
    }
    reference = {"secretKeyRef": {"name": "bgp-secrets", "key": "mesh"}}
    apply(server, secret, v3("BGPConfiguration", "default", nodeMeshPassword=reference))
    done = subprocess.run([*confd.command, "--once"], env=confd.environment, capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    assert "protocol bgp Mesh_172_30_0_12" in done.stdout
    assert "hunter2" not in done.stdout


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
