"""`tortie node start`: services under runit, from the first start to the last stop. Felix is left out here: its room
tests it, and the lab tests the whole node."""

import base64
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from lan import eventually
from node_world import Cluster, Machine, cluster_in, register

from tortie.model.names import affinity_name, hostname_hash

pytestmark = [pytest.mark.netns]

OPTIONS = {"CALICO_DISABLE_FELIX": "true", "CALICO_IPV6POOL_CIDR": "none", "IP6": "none"}


@pytest.fixture
def cluster(tmp_path: Path, request: pytest.FixtureRequest):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    with cluster_in(tmp_path, nodes=getattr(request, "param", 1)) as one:
        register(one)
        yield one


def running(machine: Machine) -> set[str]:
    """The services that runit calls running."""
    root = machine.path("/etc/service/available")
    return {
        d.name
        for d in root.iterdir()
        if (d / "supervise/stat").exists() and "run" in (d / "supervise/stat").read_text()
    }


def pid(machine: Machine, service: str) -> int:
    """The service's process, as the host numbers it."""
    text = machine.path(f"/etc/service/available/{service}/supervise/pid").read_text()
    return int(text) if text.strip() else 0


def give_each_node_a_block(cluster: Cluster) -> None:
    for number in (1, 2):
        name, cidr = f"node-{number}", f"192.168.{number}.0/26"
        labels = {"projectcalico.org/hostname-hash": hostname_hash(name)}
        cluster.apply(
            {
                "apiVersion": "projectcalico.org/v3",
                "kind": "BlockAffinity",
                "metadata": {"name": affinity_name(name, cidr), "labels": labels},
                "spec": {"node": name, "cidr": cidr, "state": "confirmed", "deleted": False, "type": "host"},
            }
        )


def watch_routes(first: Machine, second: Machine, *, seconds: float) -> None:
    """While BIRD of one node dies and comes back, neither kernel loses a route."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert {"192.168.2.0/26", "blackhole 192.168.1.0/26"} <= first.node.routes()
        assert {"192.168.1.0/26", "blackhole 192.168.2.0/26"} <= second.node.routes()
        time.sleep(0.05)


def protect_the_mesh(cluster: Cluster) -> None:
    """A password for the mesh, in the Secret that calico-node may read."""
    secret = {"name": "bgp-secrets", "namespace": "kube-system"}
    data = {"mesh": base64.b64encode(b"open sesame").decode()}
    reference = {"secretKeyRef": {"name": "bgp-secrets", "key": "mesh"}}
    cluster.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": secret, "data": data},
        {
            "apiVersion": "projectcalico.org/v3",
            "kind": "BGPConfiguration",
            "metadata": {"name": "default"},
            "spec": {"nodeMeshPassword": reference},
        },
    )


@pytest.mark.parametrize("cluster", [2], indirect=True)
def test_two_nodes_come_up_exchange_routes_and_survive_the_loss_of_any_service(cluster: Cluster):
    first, second = cluster.machines
    protect_the_mesh(cluster)
    began = time.monotonic()
    starts = [m.start(**OPTIONS) for m in cluster.machines]
    eventually(lambda: running(first) == {"bird", "confd", "cni", "node-services"}, within=20)
    for machine in cluster.machines:
        eventually(lambda m=machine: m.tortie("node", "ready", "--bird-ready", check=False).returncode == 0, within=20)
    assert "Mesh_172_30_0_12" in first.run("birdcl", "-s", "/var/run/calico/bird.ctl", "show", "protocols").stdout
    print("two nodes ready after", round(time.monotonic() - began, 2), "s")
    assert first.tortie("node", "live", "--bird-live").returncode == 0
    assert 'password "open sesame";' in first.path("/etc/calico/confd/config/bird.cfg").read_text()

    def network_is_up() -> bool:
        conditions = cluster.get("node", "node-1")["status"].get("conditions", [])
        return any(c["type"] == "NetworkUnavailable" and c["status"] == "False" for c in conditions)

    eventually(network_is_up)
    memory = {name: rss_mib(first, pid(first, name)) for name in running(first)}
    print("resident memory in MiB:", memory)
    assert memory["confd"] < 60
    assert memory["node-services"] < 70

    give_each_node_a_block(cluster)
    eventually(lambda: "192.168.2.0/26" in first.node.routes() and "192.168.1.0/26" in second.node.routes())
    for service in ("bird", "confd", "node-services"):
        before = pid(first, service)
        first.run("kill", "-KILL", str(before))
        if service == "bird":
            watch_routes(first, second, seconds=4)
        eventually(
            lambda s=service, b=before: pid(first, s) not in (0, b) and s in running(first), what=f"{service}'s return"
        )
    eventually(lambda: first.tortie("node", "ready", "--bird-ready", check=False).returncode == 0, within=20)
    for name in ("bird", "confd", "node-services"):
        assert first.path(f"/var/log/calico/{name}/current").stat().st_size > 0
    assert "node is prepared" in first.output()
    assert "confd" in first.output(), "the services' lines go to the container's output too"

    for start in starts:
        start.signal(signal.SIGTERM)
    assert [s.wait() for s in starts] == [0, 0]
    eventually(lambda: not (first.processes() + second.processes()), what="the end of all processes")


def test_a_restart_of_bird_is_a_graceful_one(cluster: Cluster):
    (machine,) = cluster.machines
    start = machine.start(**OPTIONS)
    eventually(lambda: "bird" in running(machine), within=20)
    eventually(lambda: machine.path("/var/run/calico/bird.ctl").exists())
    machine.run("sv", "-w", "5", "restart", "/etc/service/enabled/bird")
    log = machine.path("/var/log/calico/bird/current").read_text()
    assert "Shutting down" not in log, "peers are not told, so they keep our routes"
    start.signal(signal.SIGTERM)
    assert start.wait() == 0


def test_services_do_not_outlive_a_killed_entry_point_and_a_new_one_takes_over(cluster: Cluster):
    (machine,) = cluster.machines
    start = machine.start(**OPTIONS)
    eventually(lambda: running(machine) == {"bird", "confd", "cni", "node-services"}, within=20)
    old = pid(machine, "confd")
    start.signal(signal.SIGKILL)
    start.wait()
    inner = [p for p in machine.processes() if "runsvdir" in p and p.startswith("calico-node")]
    assert len(inner) <= 1
    again = machine.start(**OPTIONS)
    eventually(lambda: pid(machine, "confd") != old and "confd" in running(machine), within=20)
    eventually(lambda: machine.tortie("node", "live", "--bird-live", check=False).returncode == 0, within=20)
    assert sum("runsvdir -P" in p and not p.startswith("calico-node") for p in machine.processes()) == 1
    again.signal(signal.SIGTERM)
    assert again.wait() == 0
    eventually(lambda: not machine.processes(), what="the end of all processes")


def test_the_backend_decides_which_services_run(cluster: Cluster):
    (machine,) = cluster.machines
    start = machine.start(**OPTIONS, CALICO_NETWORKING_BACKEND="vxlan", CALICO_DISABLE_FILE_LOGGING="true")
    eventually(lambda: running(machine) == {"cni", "node-services"}, within=20)
    assert not machine.path("/etc/service/enabled/bird").exists()
    assert not machine.path("/var/log/calico/cni").exists()
    start.signal(signal.SIGTERM)
    assert start.wait() == 0


def test_the_node_services_follow_pools_and_addresses(cluster: Cluster):
    (machine,) = cluster.machines
    machine.environment |= {"IP_AUTODETECTION_METHOD": "cidr=172.30.0.0/24", "AUTODETECT_POLL_INTERVAL": "500ms"}
    start = machine.start(**OPTIONS, CALICO_NETWORKING_BACKEND="vxlan")
    eventually(lambda: "node-services" in running(machine), within=20)
    assert "IPv4VXLANTunnelAddr" not in cluster.annotations("node-1")
    on = json.dumps({"spec": {"vxlanMode": "Always"}})
    cluster.kubectl("patch", "ippools.projectcalico.org", "default-ipv4-ippool", "--type=merge", "-p", on)
    eventually(lambda: "IPv4VXLANTunnelAddr" in cluster.annotations("node-1"))
    pool = {"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": "six"}}
    cluster.apply({**pool, "spec": {"cidr": "fd00:10:244::/48", "blockSize": 122}})

    def pods_get_ipv6() -> bool:
        conflist = json.loads(machine.path("/etc/cni/net.d/10-calico.conflist").read_text())
        return conflist["plugins"][0]["ipam"]["assign_ipv6"] == "true"

    eventually(pods_get_ipv6)
    assert cluster.annotations("node-1")["IPv4Address"] == "172.30.0.11/24"
    machine.node.ip("link", "add", "eth9", "type", "veth", "peer", "eth8")
    machine.node.ip("address", "add", "172.30.0.77/32", "dev", "eth9")
    eventually(lambda: cluster.annotations("node-1")["IPv4Address"] == "172.30.0.77/32")
    start.signal(signal.SIGTERM)
    assert start.wait() == 0


def test_shutdown_is_noted_and_told_to_kubernetes(cluster: Cluster):
    (machine,) = cluster.machines
    machine.path("/var/lib/calico").mkdir(exist_ok=True)
    machine.tortie("node", "shutdown")
    assert machine.path("/var/lib/calico/shutdownTS").read_text().endswith("Z")
    conditions = cluster.get("node", "node-1")["status"]["conditions"]
    assert [(c["status"], c["reason"]) for c in conditions if c["type"] == "NetworkUnavailable"] == [
        ("True", "CalicoIsDown")
    ]


def test_node_status_is_reported_on_request_and_the_cni_kubeconfig_is_kept(cluster: Cluster):
    (machine,) = cluster.machines
    account = {"apiVersion": "v1", "kind": "ServiceAccount"}
    cluster.apply({**account, "metadata": {"name": "calico-cni-plugin", "namespace": "kube-system"}})
    start = machine.start(**OPTIONS)
    eventually(lambda: "bird" in running(machine), within=20)
    request = {
        "apiVersion": "projectcalico.org/v3",
        "kind": "CalicoNodeStatus",
        "metadata": {"name": "mine"},
        "spec": {"node": "node-1", "classes": ["Agent", "BGP", "Routes"], "updatePeriodSeconds": 1},
    }
    cluster.apply(request)

    def reported() -> bool:
        status = cluster.get("caliconodestatuses.projectcalico.org", "mine").get("status", {})
        return status.get("agent", {}).get("birdV4", {}).get("state") == "Ready"

    eventually(reported, within=20)
    status = cluster.get("caliconodestatuses.projectcalico.org", "mine")["status"]
    assert status["agent"]["birdV4"]["version"].startswith("2.")
    routes = [r["destination"] for r in status["routes"]["routesV4"]]
    assert "172.30.0.0/24" in routes
    file = machine.path("/etc/cni/net.d/calico-kubeconfig")
    eventually(file.exists)
    assert file.stat().st_mode & 0o777 == 0o600
    assert json.loads(file.read_text())["current-context"] == "calico-context"
    start.signal(signal.SIGTERM)
    assert start.wait() == 0


def rss_mib(machine: Machine, inner: int) -> float:
    text = machine.run("cat", f"/proc/{inner}/status").stdout
    line = next(x for x in text.splitlines() if x.startswith("VmRSS:"))
    return round(int(line.split()[1]) / 1024, 1)


def test_probes_say_what_is_wrong(cluster: Cluster):
    (machine,) = cluster.machines
    done = machine.tortie("node", "ready", "-felix-ready", "-bird-ready", check=False)
    assert done.returncode == 1
    assert "Felix is not ready: no answer at localhost:9099" in done.stderr
    assert "BIRD is not ready: BIRD at /var/run/calico/bird.ctl: No such file or directory" in done.stderr
    began = time.monotonic()
    subprocess.run(machine.command("true"), check=True)
    assert time.monotonic() - began < 5
