"""`tortie node startup` on a host with a real API server."""

import json
import os
import signal
from pathlib import Path

import pytest
from lan import eventually
from node_world import Cluster, cluster_in, register

from tortie.model.names import hostname_hash

pytestmark = pytest.mark.netns


@pytest.fixture
def cluster(tmp_path: Path):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    with cluster_in(tmp_path) as one:
        register(one)
        yield one


def test_a_node_introduces_itself_and_prepares_the_cluster(cluster: Cluster):
    (machine,) = cluster.machines
    machine.tortie("node", "startup", CLUSTER_TYPE="k8s,bgp", CALICO_IPV4POOL_VXLAN="Always")
    annotations = cluster.annotations("node-1")
    assert annotations["IPv4Address"] == "172.30.0.11/24"
    assert annotations["IPv6Address"] == "fd00:30::11/64"
    pools = {p["metadata"]["name"]: p["spec"] for p in cluster.get("ippools.projectcalico.org")["items"]}
    assert pools["default-ipv4-ippool"]["cidr"] == "192.168.0.0/16"
    assert pools["default-ipv4-ippool"]["natOutgoing"] is True
    assert pools["default-ipv6-ippool"]["cidr"].startswith("fd")
    information = cluster.get("clusterinformations.projectcalico.org", "default")["spec"]
    assert len(information["clusterGUID"]) == 32
    assert information["clusterType"] == "k8s,bgp,kdd"
    assert information["datastoreReady"] is True
    for kind in ("felixconfigurations", "bgpconfigurations", "ipamconfigurations"):
        assert cluster.get(f"{kind}.projectcalico.org", "default")
    tiers = {t["metadata"]["name"]: t["spec"] for t in cluster.get("tiers.projectcalico.org")["items"]}
    assert tiers["kube-admin"]["order"] == 1000
    assert tiers["default"].get("defaultAction", "Deny") == "Deny"
    assert annotations["IPv4VXLANTunnelAddr"].startswith("192.168.")
    assert annotations["VXLANTunnelMACAddr"][1] in "26ae"
    assert machine.path("/var/lib/calico/nodename").read_text() == "node-1"
    conflist = json.loads(machine.path("/etc/cni/net.d/10-calico.conflist").read_text())
    ipam = conflist["plugins"][0]["ipam"]
    assert (ipam["assign_ipv4"], ipam["assign_ipv6"]) == ("true", "true")
    assert os.access(machine.path("/opt/cni/bin/calico"), os.X_OK)


def test_starting_again_changes_nothing_but_the_nodename_files_time(cluster: Cluster):
    (machine,) = cluster.machines
    machine.tortie("node", "startup", CALICO_IPV4POOL_VXLAN="CrossSubnet")

    def state() -> dict:
        kinds = ("ippools", "clusterinformations", "tiers", "ipamblocks", "ipamhandles")
        items = [i for k in kinds for i in cluster.get(f"{k}.projectcalico.org")["items"]] + cluster.get("nodes")[
            "items"
        ]
        return {i["metadata"]["name"]: i["metadata"]["resourceVersion"] for i in items}

    before, stamp = state(), machine.path("/var/lib/calico/nodename").stat().st_mtime_ns
    machine.tortie("node", "startup", CALICO_IPV4POOL_VXLAN="CrossSubnet")
    assert state() == before
    assert machine.path("/var/lib/calico/nodename").stat().st_mtime_ns > stamp


def test_the_tunnel_address_goes_when_no_pool_needs_it_and_is_taken_up_again_after_a_crash(cluster: Cluster):
    (machine,) = cluster.machines
    machine.tortie("node", "startup", CALICO_IPV4POOL_VXLAN="Always", CALICO_IPV6POOL_CIDR="none")
    address = cluster.annotations("node-1")["IPv4VXLANTunnelAddr"]
    patch = json.dumps({"metadata": {"annotations": {"projectcalico.org/IPv4VXLANTunnelAddr": None}}})
    cluster.kubectl("patch", "node", "node-1", "--type=merge", "-p", patch)
    machine.tortie("node", "allocate-tunnel-addrs")
    assert cluster.annotations("node-1")["IPv4VXLANTunnelAddr"] == address, "allocated but not noted: the same again"
    off = json.dumps({"spec": {"vxlanMode": "Never"}})
    cluster.kubectl("patch", "ippools.projectcalico.org", "default-ipv4-ippool", "--type=merge", "-p", off)
    machine.tortie("node", "allocate-tunnel-addrs")
    assert "IPv4VXLANTunnelAddr" not in cluster.annotations("node-1")
    assert "VXLANTunnelMACAddr" not in cluster.annotations("node-1")
    assert cluster.get("ipamhandles.projectcalico.org")["items"] == []


def test_pools_that_exist_are_respected_and_as_number_and_fixed_address_are_written(cluster: Cluster):
    (machine,) = cluster.machines
    cluster.apply(
        {
            "apiVersion": "projectcalico.org/v3",
            "kind": "IPPool",
            "metadata": {"name": "mine"},
            "spec": {"cidr": "10.77.0.0/16", "blockSize": 26},
        }
    )
    machine.tortie("node", "startup", IP="172.30.0.11", IP6="none", AS="65001", FELIX_IPV6SUPPORT="false")
    annotations = cluster.annotations("node-1")
    assert annotations["IPv4Address"] == "172.30.0.11/24"
    assert annotations["ASNumber"] == "65001"
    assert "IPv6Address" not in annotations
    names = [p["metadata"]["name"] for p in cluster.get("ippools.projectcalico.org")["items"]]
    assert names == ["mine"]


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"CALICO_NETWORKING_BACKEND": "quagga"}, "CALICO_NETWORKING_BACKEND='quagga' is not one of bird, vxlan, none"),
        ({"IP": "172.30.0.300"}, "IP='172.30.0.300' is not an IPv4 address"),
        ({"IP_AUTODETECTION_METHOD": "guess"}, "autodetection method 'guess' is not known"),
        ({"IP_AUTODETECTION_METHOD": "interface=wlan"}, "no IPv4 address found"),
        ({"NO_DEFAULT_POOLS": "true", "CALICO_IPV4POOL_CIDR": "10.0.0.0/8"}, "contradicts NO_DEFAULT_POOLS"),
        ({"KUBECONFIG": "/nowhere"}, "/nowhere"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(cluster: Cluster, environment, words):
    (machine,) = cluster.machines
    done = machine.tortie("node", "startup", check=False, **environment)
    assert done.returncode == 1
    assert words in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_an_address_that_another_node_has_is_refused(cluster: Cluster):
    (machine,) = cluster.machines
    other = {"name": "other", "annotations": {"projectcalico.org/IPv4Address": "172.30.0.11/24"}}
    cluster.apply({"apiVersion": "v1", "kind": "Node", "metadata": other})
    done = machine.tortie("node", "startup", check=False)
    assert done.returncode == 1
    assert "172.30.0.11 is already that of node other" in done.stderr
    assert "IPv4Address" not in cluster.annotations("node-1")
    machine.tortie("node", "startup", DISABLE_NODE_IP_CHECK="true")
    assert cluster.annotations("node-1")["IPv4Address"] == "172.30.0.11/24"


def test_block_affinities_of_an_earlier_release_get_their_labels(cluster: Cluster):
    (machine,) = cluster.machines
    for name in ("node-1", "node-2"):
        spec = {"node": name, "cidr": "192.168.7.0/26", "state": "confirmed", "deleted": False, "type": "host"}
        metadata = {"name": f"{name}-192-168-7-0-26"}
        kind = {"apiVersion": "projectcalico.org/v3", "kind": "BlockAffinity"}
        cluster.apply({**kind, "metadata": metadata, "spec": spec})
    machine.tortie("node", "startup")
    found = {a["spec"]["node"]: a["metadata"] for a in cluster.get("blockaffinities.projectcalico.org")["items"]}
    assert found["node-1"]["labels"]["projectcalico.org/hostname-hash"] == hostname_hash("node-1")
    assert "labels" not in found["node-2"], "that is for node-2 to do"


def test_a_node_with_ipv6_alone_prepares_itself(cluster: Cluster):
    (machine,) = cluster.machines
    machine.tortie("node", "startup", IP="none", NO_DEFAULT_POOLS="true")
    assert set(cluster.annotations("node-1")) == {"IPv6Address"}
    ipam = json.loads(machine.path("/etc/cni/net.d/10-calico.conflist").read_text())["plugins"][0]["ipam"]
    assert ipam["assign_ipv6"] == "false", "no pool yet; the node services follow the pools later"


def test_without_the_api_server_the_start_waits_or_says_why(cluster: Cluster):
    (machine,) = cluster.machines
    cluster.api.kill()
    cluster.api.wait()
    done = machine.tortie("node", "startup", check=False, WAIT_FOR_DATASTORE="false")
    assert done.returncode == 1
    assert "set WAIT_FOR_DATASTORE=true to wait for it" in done.stderr
    started = machine.start()
    eventually(lambda: "waiting for the API" in machine.output())
    assert started.outer.poll() is None
    started.signal(signal.SIGTERM)
    started.wait()
