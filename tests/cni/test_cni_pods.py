"""Pods through the real executables, agent, API server and kernel: what ADD sets up, CHECK notices and DEL removes.

Covered elsewhere: the protocol's rules about input (test_cni_protocol), crashes and concurrency (test_cni_faults).
"""

import json
import os
from collections.abc import Mapping
from typing import Any

import pytest
from cni_harness import Netns, Node, addresses_of, container_id, dual, pool

from tortie.model.names import workload_interface_name

pytestmark = pytest.mark.netns

IPV4, IPV6, DUAL = ("true", "false"), ("false", "true"), ("true", "true")


def families(node: Node, choice: tuple[str, str], **changes: Any) -> dict[str, Any]:
    return node.config(ipam={"assign_ipv4": choice[0], "assign_ipv6": choice[1]}, **changes)


class Pod:
    """A pod of the API with a sandbox; keeps what each further call needs."""

    def __init__(
        self, node: Node, name: str, *, namespace: str = "default", annotations: Mapping[str, str] | None = None
    ) -> None:
        self.node = node
        self.name = name
        self.namespace = namespace
        self.uid = node.pod(name, namespace=namespace, annotations=annotations)["metadata"]["uid"]
        self.sandbox = node.sandbox()
        self.container = container_id()
        self.host = workload_interface_name(namespace, name)

    @property
    def how(self) -> dict[str, Any]:
        return {
            "container": self.container,
            "netns": self.sandbox,
            "pod": self.name,
            "namespace": self.namespace,
            "uid": self.uid,
        }

    def add(self, config: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return self.node.add(config, **self.how)

    def delete(self, config: Mapping[str, Any] | None = None) -> None:
        self.node.delete(config, **self.how)

    def annotations(self) -> dict[str, str]:
        stored: dict[str, str] = self.node.get_pod(self.name, namespace=self.namespace)["metadata"]["annotations"]
        return {key.removeprefix("cni.projectcalico.org/"): value for key, value in stored.items()}


def bare(result: Mapping[str, Any]) -> list[str]:
    return [address.partition("/")[0] for address in addresses_of(result)]


def ping(netns: Netns, address: str) -> bool:
    return netns.run("ping", "-c", "1", "-W", "2", address, check=False).returncode == 0


def sysctl(netns: Netns, key: str) -> str:
    return netns.run("cat", f"/proc/sys/net/{key}").stdout.strip()


# --- ADD and DEL -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["0.3.1", "0.4.0", "1.0.0"])
@pytest.mark.parametrize("choice", [IPV4, IPV6, DUAL], ids=["ipv4", "ipv6", "dual"])
def test_a_pod_is_connected_and_disconnected_without_a_trace(node: Node, version: str, choice: tuple[str, str]) -> None:
    pod = Pod(node, f"web-{version.replace('.', '-')}-{choice[0]}-{choice[1]}")
    config = families(node, choice, cniVersion=version)
    result = pod.add(config)

    assert result["cniVersion"] == version
    assert result["interfaces"][0] == {"name": pod.host}
    inner = result["interfaces"][1]
    assert (inner["name"], inner["sandbox"]) == ("eth0", pod.sandbox.path)
    assert pod.sandbox.links()["eth0"]["address"] == inner["mac"]
    assert [each["interface"] for each in result["ips"]] == [1] * len(result["ips"])
    assert all("gateway" not in each for each in result["ips"])
    lengths = [address.partition("/")[2] for address in addresses_of(result)]
    assert lengths == ["32"] * (choice[0] == "true") + ["128"] * (choice[1] == "true")
    masks = [route["dst"].partition("/")[2] for route in result["routes"]]
    assert masks == ["26"] * (choice[0] == "true") + ["122"] * (choice[1] == "true"), "routes keep the block's mask"

    for address in bare(result):
        assert ping(node.netns, address)
        assert ping(pod.sandbox, "10.20.0.1" if ":" not in address else "fd00:20::1")
    annotations = pod.annotations()
    assert annotations["podIP"] == addresses_of(result)[0]
    assert annotations["podIPs"] == ",".join(addresses_of(result))
    assert annotations["containerID"] == pod.container

    assert node.call("CHECK", {**config, "prevResult": result}, **pod.how).returncode == (0 if version >= "0.4" else 1)
    pod.delete(config)
    pod.delete(config)
    assert "eth0" not in pod.sandbox.links()
    assert pod.host not in node.netns.links()
    assert not [route for v in (4, 6) for route in node.netns.routes(v) if route["dst"] in bare(result)]
    assert not set(bare(result)) & set(node.allocated())
    assert f"k8s-pod-network.{pod.container}" not in [each["metadata"]["name"] for each in node.objects("ipamhandles")]
    assert (pod.annotations()["podIP"], pod.annotations()["podIPs"]) == ("", "")
    assert pod.annotations()["containerID"] == pod.container, "the container's ID stays"


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0", None])
def test_the_oldest_versions_get_the_oldest_form(node: Node, version: str | None) -> None:
    pod = Pod(node, f"old-{(version or 'none').replace('.', '-')}")
    config = dual(node, cniVersion=version) if version else dual(node)
    if version is None:
        del config["cniVersion"]
    result = pod.add(config)
    assert result["cniVersion"] == version or "0.2.0"
    assert result["ip4"]["ip"].endswith("/32")
    assert result["ip6"]["ip"].endswith("/128")
    pod.delete(config)


def test_the_kernel_on_both_sides_is_set_up_as_documented(node: Node) -> None:
    pod = Pod(node, "kernel")
    result = pod.add(dual(node, mtu=1410))
    v4, v6 = bare(result)
    outer, inner = node.netns.links()[pod.host], pod.sandbox.links()["eth0"]
    assert outer["address"] == "ee:ee:ee:ee:ee:ee"
    assert (outer["mtu"], inner["mtu"]) == (1410, 1410)
    assert (outer["operstate"], inner["operstate"]) == ("UP", "UP"), "packets pass from the first moment"
    assert {a["local"] for a in inner["addr_info"] if a["scope"] == "global"} == {v4, v6}
    assert "fe80::ecee:eeff:feee:eeee" in {a["local"] for a in outer["addr_info"]}

    routes = {(r["dst"], r.get("gateway"), r.get("scope")) for r in pod.sandbox.routes(4)}
    assert routes == {("default", "169.254.1.1", None), ("169.254.1.1", None, "link")}
    assert ("default", "fe80::ecee:eeff:feee:eeee") in {(r["dst"], r.get("gateway")) for r in pod.sandbox.routes(6)}
    assert {"dst": v4, "dev": pod.host, "scope": "link", "flags": []} in node.netns.routes(4)
    assert v6 in {r["dst"] for r in node.netns.routes(6) if r["dev"] == pod.host}

    wanted = {
        f"ipv4/conf/{pod.host}/route_localnet": "1",
        f"ipv4/conf/{pod.host}/proxy_arp": "1",
        f"ipv4/conf/{pod.host}/forwarding": "1",
        f"ipv4/neigh/{pod.host}/proxy_delay": "0",
        f"ipv6/conf/{pod.host}/accept_ra": "0",
        f"ipv6/conf/{pod.host}/accept_dad": "0",
        f"ipv6/conf/{pod.host}/proxy_ndp": "1",
        f"ipv6/conf/{pod.host}/forwarding": "1",
    }
    assert {key: sysctl(node.netns, key) for key in wanted} == wanted
    assert sysctl(pod.sandbox, "ipv4/ip_forward") == "0"
    assert sysctl(pod.sandbox, "ipv6/conf/all/forwarding") == "0"
    assert sysctl(pod.sandbox, "ipv6/conf/eth0/accept_dad") == "0"
    pod.delete(dual(node))


def test_router_advertisements_are_refused_on_the_node_side_also_for_an_ipv4_pod(node: Node) -> None:
    pod = Pod(node, "v4-only")
    pod.add()
    assert sysctl(node.netns, f"ipv6/conf/{pod.host}/accept_ra") == "0"
    pod.delete()


def test_forwarding_in_the_pod_and_queues_can_be_asked_for(node: Node) -> None:
    pod = Pod(node, "router")
    config = dual(node, container_settings={"allow_ip_forwarding": True}, num_queues=3)
    pod.add(config)
    assert sysctl(pod.sandbox, "ipv4/ip_forward") == "1"
    assert sysctl(pod.sandbox, "ipv6/conf/all/forwarding") == "1"
    for side, name in ((node.netns, pod.host), (pod.sandbox, "eth0")):
        (link,) = json.loads(side.run("ip", "-d", "-j", "link", "show", "dev", name).stdout)
        assert (link["num_tx_queues"], link["num_rx_queues"]) == (3, 3)
    pod.delete(config)


def test_the_mtu_file_of_felix_is_used_when_the_configuration_names_none(node: Node) -> None:
    pod = Pod(node, "mtu")
    (node.state / "mtu").write_text("1380")
    try:
        pod.add()
    finally:
        (node.state / "mtu").unlink()
    assert pod.sandbox.links()["eth0"]["mtu"] == 1380
    pod.delete()


def test_netkit_falls_back_to_veth_on_a_kernel_without_it(node: Node) -> None:
    pod = Pod(node, "netkit")
    result = pod.add(dual(node, device_type="netkit"))
    assert all(ping(node.netns, address) for address in bare(result))
    pod.delete()


def test_another_interface_prefix_is_taken_from_the_environment(node: Node) -> None:
    pod = Pod(node, "prefix")
    result = node.add(**pod.how, FELIX_INTERFACEPREFIX="gke,cali")
    assert result["interfaces"][0]["name"] == workload_interface_name("default", "prefix", prefix="gke")
    node.delete(**pod.how, FELIX_INTERFACEPREFIX="gke,cali")


# --- repeated calls --------------------------------------------------------------------------------------------------


def test_a_new_sandbox_of_a_pod_gets_a_new_address_and_the_old_ones_del_disturbs_nothing(node: Node) -> None:
    pod = Pod(node, "again")
    first = pod.add()
    old = dict(pod.how)
    pod.sandbox, pod.container = node.sandbox(), container_id()
    second = pod.add()
    assert bare(second) != bare(first)
    assert pod.annotations()["containerID"] == pod.container
    assert "eth0" not in old["netns"].links(), "the pair has one name on the node, so the old one made way"
    assert set(bare(first) + bare(second)) <= set(node.allocated())
    node.delete(**old)
    assert bare(first)[0] not in node.allocated()
    assert bare(second)[0] in node.allocated()
    assert pod.annotations()["podIP"] == addresses_of(second)[0]
    assert ping(node.netns, bare(second)[0])
    pod.delete()


def test_an_interface_name_that_is_taken_in_the_sandbox_fails_and_only_the_new_address_is_given_back(
    node: Node,
) -> None:
    first = Pod(node, "first")
    result = first.add()
    second = Pod(node, "second")
    before = node.allocated()
    error = node.error("ADD", **{**second.how, "netns": first.sandbox})
    assert error["code"] == 999
    assert "File exists" in error["msg"]
    assert node.allocated() == before
    assert ping(node.netns, bare(result)[0])
    assert second.host not in node.netns.links()
    first.delete()


def test_a_del_after_the_sandbox_and_the_pod_have_vanished_still_gives_the_address_back(node: Node) -> None:
    pod = Pod(node, "gone")
    result = pod.add()
    node.kubectl("delete", "pod", "gone", "--grace-period=0", "--force")
    pod.sandbox.close()
    pod.delete()
    assert bare(result)[0] not in node.allocated()
    assert pod.host not in node.netns.links()
    node.delete(**{**pod.how, "netns": None})


def test_a_pod_of_the_same_name_but_another_uid_is_not_touched(node: Node) -> None:
    pod = Pod(node, "renewed")
    error = node.error("ADD", **{**pod.how, "uid": "11111111-2222-3333-4444-555555555555"})
    assert error["code"] == 999
    assert "the runtime set up 11111111-2222-3333-4444-555555555555" in error["msg"]
    assert "podIP" not in pod.annotations()


def test_a_pod_that_does_not_exist_gets_no_address(node: Node) -> None:
    before = node.allocated()
    error = node.error("ADD", container=container_id(), netns=node.sandbox(), pod="nobody")
    assert (error["code"], error["msg"]) == (999, "pod default/nobody does not exist")
    assert node.allocated() == before


# --- pools and annotations -------------------------------------------------------------------------------------------


def test_pools_are_chosen_by_name_or_range_in_annotations(node: Node) -> None:
    node.create(
        pool("special", "10.99.0.0/24", nodeSelector="!all()"), pool("extra", "10.98.0.0/24", assignmentMode="Manual")
    )
    for choice, prefix in (('["special"]', "10.99."), ('["10.98.0.0/24"]', "10.98.")):
        pod = Pod(node, f"pool-{prefix[3:5]}", annotations={"cni.projectcalico.org/ipv4pools": choice})
        assert bare(pod.add())[0].startswith(prefix)
        pod.delete()
    pod = Pod(node, "pool-none", annotations={"cni.projectcalico.org/ipv4pools": '["nowhere"]'})
    error = node.error("ADD", **pod.how)
    assert "IP pool 'nowhere' does not exist" in error["msg"]


def test_the_namespaces_pools_apply_unless_the_pod_names_its_own(node: Node) -> None:
    node.create(
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": "team", "annotations": {"cni.projectcalico.org/ipv4pools": '["team"]'}},
        },
        pool("team", "10.97.0.0/24", namespaceSelector="kubernetes.io/metadata.name == 'nobody'"),
    )
    pod = Pod(node, "member", namespace="team")
    assert bare(pod.add())[0].startswith("10.97.")
    pod.delete()
    own = Pod(node, "own", namespace="team", annotations={"cni.projectcalico.org/ipv4pools": '["v4"]'})
    assert bare(own.add())[0].startswith("10.244.")
    own.delete()


def test_a_fixed_address_is_taken_and_can_be_had_again_by_the_same_pod(node: Node) -> None:
    wish = {"cni.projectcalico.org/ipAddrs": '["10.244.77.7", "fd00:10:244::7777"]'}
    pod = Pod(node, "fixed", annotations=wish)
    first = pod.add()
    assert addresses_of(first) == ["10.244.77.7/32", "fd00:10:244::7777/128"]
    assert "routes" not in first, "Felix programs the node's route"
    other = Pod(node, "thief", annotations=wish)
    assert "is already assigned" in node.error("ADD", **other.how)["msg"]
    old = dict(pod.how)
    pod.sandbox, pod.container = node.sandbox(), container_id()
    assert addresses_of(pod.add()) == addresses_of(first)
    node.delete(**old)
    assert "10.244.77.7" in node.allocated()
    pod.delete()
    assert "10.244.77.7" not in node.allocated()


def test_addresses_outside_ipam_need_the_feature_and_are_not_recorded_there(node: Node) -> None:
    pod = Pod(node, "free", annotations={"cni.projectcalico.org/ipAddrsNoIpam": '["192.0.2.9"]'})
    assert "needs feature_control.ip_addrs_no_ipam" in node.error("ADD", **pod.how)["msg"]
    config = node.config(feature_control={"ip_addrs_no_ipam": True})
    assert addresses_of(pod.add(config)) == ["192.0.2.9/32"]
    assert "192.0.2.9" not in node.allocated()
    pod.delete(config)


def test_a_pod_can_name_the_mac_of_its_interface(node: Node) -> None:
    pod = Pod(node, "mac", annotations={"cni.projectcalico.org/hwAddr": "0A:0B:0C:0D:0E:0F"})
    result = pod.add()
    assert result["interfaces"][1]["mac"] == "0a:0b:0c:0d:0e:0f"
    assert pod.sandbox.links()["eth0"]["address"] == "0a:0b:0c:0d:0e:0f"
    pod.delete()


def test_if_one_family_is_short_the_other_one_is_given_back_and_the_error_names_the_family(node: Node) -> None:
    node.create(pool("tiny", "fd00:99::/128", blockSize=128, nodeSelector="!all()"))
    pools = {"cni.projectcalico.org/ipv6pools": '["tiny"]'}
    first = Pod(node, "lucky", annotations=pools)
    first.add(dual(node))
    second = Pod(node, "unlucky", annotations=pools)
    before = node.allocated()
    error = node.error("ADD", dual(node), **second.how)
    assert error["code"] == 999
    assert "only 0 of 1 IPv6 addresses assigned: no free address in pools [tiny]" in error["msg"]
    assert node.allocated() == before
    assert "podIP" not in second.annotations()
    first.delete(dual(node))


# --- calico-ipam by itself -------------------------------------------------------------------------------------------


def test_calico_ipam_alone_answers_with_the_blocks_mask(node: Node) -> None:
    node.pod("solo")
    how = {"plugin": "calico-ipam", "container": container_id(), "netns": "/nowhere", "pod": "solo"}
    config = dual(node)
    result = node.add(config, **how)
    assert [address.partition("/")[2] for address in addresses_of(result)] == ["26", "122"]
    assert [route["dst"] for route in result["routes"]] == addresses_of(result)
    assert "interfaces" not in result
    held = [a for a, h in node.allocated().items() if h == f"k8s-pod-network.{how['container']}"]
    assert sorted(held) == sorted(bare(result))
    assert node.call("CHECK", {**config, "prevResult": result}, **how).returncode == 0
    node.delete(config, **how)
    node.delete(config, **how)
    assert not set(bare(result)) & set(node.allocated())


def test_calico_ipam_alone_takes_a_named_address(node: Node) -> None:
    how = {
        "plugin": "calico-ipam",
        "container": container_id(),
        "netns": "/nowhere",
        "args": "IgnoreUnknown=1;IP=10.244.88.8",
    }
    result = node.add(**how)
    assert addresses_of(result) == ["10.244.88.8/32"]
    node.delete(**how)


# --- other IPAM plugins ----------------------------------------------------------------------------------------------

_STATIC = """#!/bin/sh
echo "$CNI_COMMAND $CNI_ARGS" >> "$(dirname "$0")/static.log"
cat >> "$(dirname "$0")/static.log"
case "$CNI_COMMAND" in
ADD) if [ -e "$(dirname "$0")/static.fail" ]; then echo '{"code": 42, "msg": "no luck"}'; exit 1; fi
     echo '{"cniVersion": "0.3.1", "ips": [{"version": "4", "address": "10.55.0.5/24", "gateway": "10.55.0.1"}]}';;
esac
"""


def test_another_ipam_plugin_is_started_as_the_specification_says(node: Node) -> None:
    path = node.bin / "static-test"
    path.write_text(_STATIC)
    path.chmod(0o755)
    log = node.bin / "static.log"
    pod = Pod(node, "foreign")
    config = node.config(
        ipam={"type": "static-test", "subnet": "10.55.0.0/24", "routes": [{"dst": "10.0.0.0/8"}]},
        include_default_routes=True,
    )
    result = pod.add(config)
    assert addresses_of(result) == ["10.55.0.5/32"]
    assert {route["dst"] for route in pod.sandbox.routes(4)} == {"169.254.1.1", "10.0.0.0/8", "default"}
    assert "10.55.0.5" in {route["dst"] for route in node.netns.routes(4)}
    assert "ADD IgnoreUnknown=1;" in log.read_text()
    pod.delete(config)
    assert "DEL IgnoreUnknown=1;" in log.read_text()
    (node.bin / "static.fail").touch()
    error = node.error("ADD", config, **pod.how)
    assert (error["code"], error["msg"]) == (42, "IPAM plugin static-test: no luck")
    missing = node.error("ADD", node.config(ipam={"type": "host-local"}), **pod.how)
    assert "IPAM plugin 'host-local' is not an executable" in missing["msg"]


# --- outside Kubernetes ----------------------------------------------------------------------------------------------


def test_a_container_without_pod_gets_an_address_and_a_repeated_add_changes_nothing(node: Node) -> None:
    sandbox, container = node.sandbox(), container_id()
    how = {"container": container, "netns": sandbox}
    config = node.config(policy={})
    first = node.add(config, **how)
    assert first["interfaces"][0]["name"] == f"cali{container[:11]}"
    assert ping(node.netns, bare(first)[0])
    again = node.add(config, **how)
    assert addresses_of(again) == addresses_of(first)
    assert again["interfaces"] == first["interfaces"]
    node.delete(config, **how)
    assert bare(first)[0] not in node.allocated()
    assert "eth0" not in sandbox.links()


# --- CHECK -----------------------------------------------------------------------------------------------------------


def test_check_names_everything_that_is_not_as_add_left_it(node: Node) -> None:
    pod = Pod(node, "checked")
    config = dual(node)
    result = pod.add(config)
    config["prevResult"] = result
    v4, v6 = bare(result)

    def fault() -> str:
        return str(node.error("CHECK", config, **pod.how)["msg"])

    def sound() -> bool:
        return node.call("CHECK", config, **pod.how).returncode == 0

    assert sound()
    node.netns.run("ip", "route", "delete", f"{v4}/32")
    assert f"the node has no route {v4}/32 through {pod.host}" in fault()
    node.netns.run("ip", "route", "add", f"{v4}/32", "dev", pod.host, "scope", "link")
    assert sound()
    pod.sandbox.run("ip", "address", "delete", f"{v6}/128", "dev", "eth0")
    assert f"address {v6}/128 is missing in the pod" in fault()
    pod.sandbox.run("ip", "address", "add", f"{v6}/128", "dev", "eth0", "nodad")
    pod.sandbox.run("ip", "route", "delete", "default")
    assert "route 0.0.0.0/0 via 169.254.1.1 is missing in the pod" in fault()
    pod.sandbox.run("ip", "link", "set", "eth0", "down")
    assert "interface eth0 is down in the pod" in fault()
    pod.sandbox.run("ip", "link", "delete", "eth0")
    assert "interface eth0 is missing in the pod; interface " in fault()
    pod.delete(config)
    assert "IPAM does not hold" in fault()


def test_check_notices_that_the_pod_names_another_container(node: Node) -> None:
    pod = Pod(node, "replaced")
    config = node.config()
    config["prevResult"] = pod.add(config)
    node.kubectl("annotate", "pod", "replaced", "--overwrite", "cni.projectcalico.org/containerID=other")
    assert f"the pod names container other, not {pod.container}" in node.error("CHECK", config, **pod.how)["msg"]
    node.kubectl("annotate", "pod", "replaced", "--overwrite", f"cni.projectcalico.org/containerID={pod.container}")
    pod.delete(config)


def test_check_without_a_previous_result_is_an_invalid_configuration(node: Node) -> None:
    pod = Pod(node, "no-result")
    assert node.error("CHECK", **pod.how)["code"] == 7


# --- refusals --------------------------------------------------------------------------------------------------------


def test_wrong_input_is_answered_on_stdout_with_the_protocols_codes(node: Node) -> None:
    pod = Pod(node, "wrong")
    assert node.error("ADD", "{", **pod.how)["code"] == 6
    assert node.error("ADD", json.dumps({"cniVersion": "1.0.0"}), **pod.how)["code"] == 7
    assert node.error("ADD", node.config(cniVersion="1.1.0"), **pod.how)["code"] == 1
    assert node.error("CHECK", node.config(cniVersion="0.3.1"), **pod.how)["code"] == 1
    assert node.error("ADD", **{**pod.how, "ifname": "with/slash"})["code"] == 4
    assert node.error("ADD", **{**pod.how, "netns": None})["code"] == 4
    assert node.error("EAT", **pod.how)["code"] == 4
    assert node.error("ADD", node.config(device_type="tap"), **pod.how)["code"] == 999
    assert node.error("ADD", **{**pod.how, "netns": "/run/netns/none"})["code"] == 999
    missing = node.error("ADD", container="", netns=None)
    assert missing["msg"] == "required env variables [CNI_CONTAINERID,CNI_NETNS] missing"


def test_the_nodes_own_network_namespace_is_refused_unless_overridden(node: Node) -> None:
    pod = Pod(node, "host-net")
    error = node.error("ADD", **{**pod.how, "netns": node.netns})
    assert error["code"] == 8
    assert "eth0" not in node.netns.links()


def test_the_agents_socket_is_for_root_alone(node: Node) -> None:
    assert node.socket.stat().st_mode & 0o777 == 0o600


def test_t_tests_the_datastore(node: Node) -> None:
    import subprocess

    done = subprocess.run(
        [node.bin / "calico", "-t"],
        input="{}",
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"]},
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")
    done = subprocess.run(
        [node.bin / "calico", "-x"],
        input="{}",
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"]},
        check=False,
    )
    assert done.returncode == 1
    assert json.loads(done.stdout)["code"] == 100


def test_while_the_datastore_is_not_ready_neither_add_nor_del_works(node: Node) -> None:
    pod = Pod(node, "locked")
    result = pod.add()
    try:
        node.kubectl(
            "patch",
            "clusterinformations.projectcalico.org",
            "default",
            "--type=merge",
            "-p",
            '{"spec":{"datastoreReady":false}}',
        )
        for command in ("ADD", "DEL"):
            error = node.error(command, **pod.how)
            assert error["code"] == 999
            assert "is not ready to process requests" in error["msg"]
    finally:
        node.kubectl(
            "patch",
            "clusterinformations.projectcalico.org",
            "default",
            "--type=merge",
            "-p",
            '{"spec":{"datastoreReady":true}}',
        )
    assert bare(result)[0] in node.allocated()
    pod.delete()
