"""The CNI protocol without a node: calls, network configuration, annotations, results, status files, installation.

Covered elsewhere: the same through the executables (test_cni_executables), the kernel (test_cni_pods).
"""

import asyncio
import json
import os
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tortie.cni import annotations, delegate, netconf
from tortie.cni.call import parse
from tortie.cni.errors import CNIError, PluginError
from tortie.cni.install import Options, install
from tortie.cni.netconf import Route
from tortie.cni.result import Address, Interface, Result, decode, encode
from tortie.cni.status_files import StatusFiles, file_name

VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0")


def environment(command: str = "ADD", **changes: str) -> dict[str, str]:
    base = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": "abc",
        "CNI_NETNS": "/run/netns/x",
        "CNI_IFNAME": "eth0",
        "CNI_PATH": "/opt/cni/bin",
    }
    return base | changes


def refused(config: Any = None, env: dict[str, str] | None = None) -> CNIError:
    text = config if isinstance(config, bytes) else json.dumps(config or {"cniVersion": "1.0.0", "name": "n"}).encode()
    with pytest.raises(CNIError) as caught:
        parse(plugin="calico", environment=env or environment(), stdin=text)
    return caught.value


# --- calls -----------------------------------------------------------------------------------------------------------


def test_every_missing_variable_is_named_in_one_error() -> None:
    error = refused(env={"CNI_COMMAND": "ADD", "CNI_IFNAME": "eth0"})
    assert error.code == 4
    assert error.message == "required env variables [CNI_CONTAINERID,CNI_NETNS,CNI_PATH] missing"


def test_a_del_needs_no_network_namespace() -> None:
    env = environment("DEL", CNI_NETNS="")
    assert parse(plugin="calico", environment=env, stdin=b'{"name":"n"}').version == "0.2.0"


def test_an_unknown_command_is_an_invalid_environment() -> None:
    assert refused(env=environment("EAT")).code == 4


@pytest.mark.parametrize("container", ["-abc", "a b", "a/b", ".x"])
def test_a_container_id_outside_its_alphabet_is_refused(container: str) -> None:
    assert refused(env=environment(CNI_CONTAINERID=container)).code == 4


@pytest.mark.parametrize("name", ["sixteen-letters-", ".", "..", "a/b", "a:b", "a b"])
def test_an_impossible_interface_name_is_refused(name: str) -> None:
    assert refused(env=environment(CNI_IFNAME=name)).code == 4


@pytest.mark.parametrize(("config", "code"), [(b"{", 6), (b"[]", 6), ({"cniVersion": "1.0.0"}, 7), ({"name": "-n"}, 7)])
def test_a_configuration_that_cannot_be_read_or_has_no_name_is_refused(config: Any, code: int) -> None:
    assert refused(config).code == code


@pytest.mark.parametrize("version", ["1.1.0", "2.0.0", "x"])
def test_other_versions_are_incompatible(version: str) -> None:
    error = refused({"cniVersion": version, "name": "n"})
    assert error.code == 1
    assert version in error.message


@pytest.mark.parametrize("command", ["GC", "STATUS"])
def test_gc_and_status_are_incompatible_with_every_announced_version(command: str) -> None:
    assert refused(env=environment(command)).code == 1


@pytest.mark.parametrize("version", VERSIONS[:4])
def test_check_needs_version_0_4_0(version: str) -> None:
    assert refused({"cniVersion": version, "name": "n"}, environment("CHECK")).code == 1


def test_unknown_arguments_are_refused_unless_the_runtime_says_to_ignore_them() -> None:
    assert refused(env=environment(CNI_ARGS="FOO=1")).code == 100
    assert refused(env=environment(CNI_ARGS="FOO")).code == 100
    assert refused(env=environment(CNI_ARGS="A=b=c")).code == 100
    call = parse(plugin="calico", environment=environment(CNI_ARGS="IgnoreUnknown=1;FOO=1"), stdin=b'{"name":"n"}')
    assert call.arguments["FOO"] == "1"


# --- network configuration -------------------------------------------------------------------------------------------


def conf(**config: Any) -> netconf.NetConf:
    return netconf.parse({"name": "n", **config})


def test_by_default_pods_get_ipv4_and_no_ipv6() -> None:
    found = conf(ipam={"type": "calico-ipam"})
    assert (found.ipam.wants_ipv4, found.ipam.wants_ipv6) == (True, False)


def test_the_switches_are_texts() -> None:
    found = conf(ipam={"assign_ipv4": "false", "assign_ipv6": "true"})
    assert (found.ipam.wants_ipv4, found.ipam.wants_ipv6) == (False, True)
    with pytest.raises(PluginError, match=r"ipam.assign_ipv4 is 'maybe'; allowed: true, false"):
        conf(ipam={"assign_ipv4": "maybe"})


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"device_type": "tap"}, "device_type 'tap' is not supported; allowed: veth, netkit"),
        ({"policy_setup_timeout_seconds": -1}, "policy_setup_timeout_seconds is -1"),
        ({"mtu": "big"}, r"Expected `int`, got `str` - at `\$.mtu`"),
        ({"dataplane_options": {"type": "grpc"}}, "dataplane_options.type 'grpc'"),
    ],
)
def test_a_wrong_setting_is_named_with_its_value(config: dict[str, Any], text: str) -> None:
    with pytest.raises(CNIError, match=text):
        conf(**config)


def test_settings_of_other_platforms_are_ignored() -> None:
    conf(windows_use_single_network=True, vxlan_vni=4096, mode="vxlan", runtimeConfig={"DNS": {}}, capabilities={})


def test_the_nodes_name_comes_from_the_file_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "nodename").write_text("node-1\n")
    assert netconf.node_name(conf(), state_directory=tmp_path) == "node-1\n", "nothing is trimmed"
    assert netconf.node_name(conf(nodename="other"), state_directory=tmp_path) == "other"
    with pytest.raises(PluginError, match="is calico-node running"):
        netconf.node_name(conf(nodename_file=str(tmp_path / "none")), state_directory=tmp_path)
    optional = conf(nodename_file=str(tmp_path / "none"), nodename_file_optional=True, hostname="h")
    assert netconf.node_name(optional, state_directory=tmp_path) == "h"


def test_the_mtu_comes_from_the_configuration_then_the_file_then_the_kernel(tmp_path: Path) -> None:
    assert netconf.effective_mtu(conf(), state_directory=tmp_path) == 0
    with pytest.raises(PluginError, match="require_mtu_file is set"):
        netconf.effective_mtu(conf(require_mtu_file=True), state_directory=tmp_path)
    (tmp_path / "mtu").write_text(" 1410\n")
    assert netconf.effective_mtu(conf(), state_directory=tmp_path) == 1410
    assert netconf.effective_mtu(conf(mtu=9000), state_directory=tmp_path) == 9000
    (tmp_path / "mtu").write_text("many")
    with pytest.raises(PluginError, match="holds 'many'"):
        netconf.effective_mtu(conf(), state_directory=tmp_path)


# --- annotations -----------------------------------------------------------------------------------------------------

P = "cni.projectcalico.org/"
IPAM = {"type": "calico-ipam"}


def test_the_pods_pools_replace_the_namespaces_which_replace_the_configurations() -> None:
    base = conf(ipam={**IPAM, "ipv4_pools": ["c"]})
    namespace = {P + "ipv4pools": '["n"]'}
    assert annotations.wishes(base, pod={}, namespace={}).ipv4_pools == ("c",)
    assert annotations.wishes(base, pod={}, namespace=namespace).ipv4_pools == ("n",)
    assert annotations.wishes(base, pod={P + "ipv4pools": '["p", "q"]'}, namespace=namespace).ipv4_pools == ("p", "q")


def test_families_can_be_chosen_by_annotation() -> None:
    found = annotations.wishes(conf(ipam=IPAM), pod={P + "ipFamilies": '["IPv6"]'}, namespace={})
    assert (found.ipv4, found.ipv6) == (False, True)


@pytest.mark.parametrize(
    ("pod", "text"),
    [
        ({"ipFamilies": '["IPX"]'}, "'IPX' is not a family"),
        ({"ipv4pools": "pool-a"}, "must be a JSON list of texts"),
        ({"ipAddrs": '["10.0.0.1", "10.0.0.2"]'}, r"has 2 IPv4 addresses \(10.0.0.1, 10.0.0.2\); one at most"),
        ({"ipAddrs": '["ten"]'}, "'ten' is not an IP address"),
        ({"ipAddrs": '["10.0.0.1"]', "ipAddrsNoIpam": '["10.0.0.1"]'}, "exclude each other"),
        ({"ipAddrsNoIpam": '["10.0.0.1"]'}, "needs feature_control.ip_addrs_no_ipam"),
        ({"floatingIPs": '["10.0.0.1"]'}, "needs feature_control.floating_ips"),
        ({"allowedSourcePrefixes": '["x/24"]'}, "'x/24' is not a CIDR"),
        ({"hwAddr": "1:2:3"}, "'1:2:3' is not a MAC address"),
    ],
)
def test_a_wrong_annotation_is_named_with_its_value(pod: dict[str, str], text: str) -> None:
    with pytest.raises(PluginError, match=text):
        annotations.wishes(conf(ipam=IPAM), pod={P + key: value for key, value in pod.items()}, namespace={})


def test_a_floating_address_needs_a_pod_address_of_its_family() -> None:
    annotations.check_floating(("192.0.2.1",), ["10.0.0.1/32"])
    with pytest.raises(PluginError, match="2001:db8::1 has no pod address of its family"):
        annotations.check_floating(("2001:db8::1",), ["10.0.0.1/32"])


# --- results ---------------------------------------------------------------------------------------------------------

RESULT = Result(
    interfaces=(Interface("cali0"), Interface("eth0", "0a:00:00:00:00:01", "/run/netns/x")),
    addresses=(Address("10.0.0.1/32", 1), Address("fd00::1/128", 1)),
    routes=(Route("10.0.0.1/26"), Route("fd00::/122")),
)


def test_the_current_form_names_interfaces_and_no_families() -> None:
    body = json.loads(encode(RESULT, "1.0.0"))
    assert body == {
        "cniVersion": "1.0.0",
        "interfaces": [{"name": "cali0"}, {"name": "eth0", "mac": "0a:00:00:00:00:01", "sandbox": "/run/netns/x"}],
        "ips": [{"address": "10.0.0.1/32", "interface": 1}, {"address": "fd00::1/128", "interface": 1}],
        "routes": [{"dst": "10.0.0.1/26"}, {"dst": "fd00::/122"}],
    }


def test_the_form_of_0_3_and_0_4_names_families() -> None:
    for version in ("0.3.0", "0.3.1", "0.4.0"):
        body = json.loads(encode(RESULT, version))
        assert [each["version"] for each in body["ips"]] == ["4", "6"]
        assert body["dns"] == {}


def test_the_oldest_form_has_one_object_for_each_family() -> None:
    for version in ("0.1.0", "0.2.0"):
        body = json.loads(encode(RESULT, version))
        assert body["ip4"] == {"ip": "10.0.0.1/32", "routes": [{"dst": "10.0.0.1/26"}]}
        assert body["ip6"] == {"ip": "fd00::1/128", "routes": [{"dst": "fd00::/122"}]}
    with pytest.raises(CNIError, match="need an address"):
        encode(Result(), "0.2.0")


_ADDRESSES = st.lists(
    st.builds(
        Address,
        st.sampled_from(["10.0.0.1/32", "10.9.0.0/26", "fd00::1/128", "2001:db8::/64"]),
        st.sampled_from([None, 0, 1]),
        st.sampled_from(["", "10.0.0.254"]),
    ),
    max_size=3,
)


@given(_ADDRESSES, st.sampled_from(["0.3.0", "0.3.1", "0.4.0", "1.0.0"]))
def test_what_is_rendered_can_be_read_back(addresses: list[Address], version: str) -> None:
    result = Result(interfaces=RESULT.interfaces, addresses=tuple(addresses), routes=RESULT.routes)
    assert decode(json.loads(encode(result, version))) == result


def test_a_result_that_makes_no_sense_is_a_decoding_failure() -> None:
    with pytest.raises(CNIError) as caught:
        decode({"ips": [{"address": "nowhere"}]})
    assert caught.value.code == 6


# --- host-local's configuration --------------------------------------------------------------------------------------


def test_the_nodes_pod_ranges_stand_in_for_use_pod_cidr() -> None:
    config = {
        "ipam": {
            "type": "host-local",
            "subnet": "usePodCidr",
            "ranges": [[{"subnet": "UsePodCidrIPv6"}], [{"subnet": "10.1.0.0/24"}]],
        }
    }
    assert delegate.uses_pod_cidr(config)
    done = delegate.with_pod_cidrs(config, ["10.244.1.0/24", "fd00:1::/64"])["ipam"]
    assert done["subnet"] == "10.244.1.0/24"
    assert done["ranges"] == [[{"subnet": "fd00:1::/64"}], [{"subnet": "10.1.0.0/24"}]]
    assert delegate.with_pod_cidrs(config, None)["ipam"]["subnet"] == "0.0.0.0/0"
    with pytest.raises(PluginError, match=r"the node has no IPv6 range in spec\.podCIDRs"):
        delegate.with_pod_cidrs(config, ["10.244.1.0/24"])


# --- Felix's status files --------------------------------------------------------------------------------------------


def test_a_status_file_is_named_by_escaped_parts_with_a_blank_between() -> None:
    assert file_name(orchestrator="k8s", workload="default/web-0", endpoint="eth0") == "k8s default%2Fweb-0 eth0"


async def test_a_file_that_is_there_already_ends_the_wait_at_once(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("{}")
    assert await StatusFiles(str(tmp_path)).wait("f", ["10.0.0.1/32"], seconds=0)


async def test_a_file_about_an_earlier_pod_of_the_same_name_does_not_count(tmp_path: Path) -> None:
    files = StatusFiles(str(tmp_path))
    (tmp_path / "f").write_text('{"ipv4Nets":["10.0.0.9/32"]}')
    assert not await files.wait("f", ["10.0.0.1/32"], seconds=0.05)
    waiting = asyncio.create_task(files.wait("f", ["10.0.0.1/32"], seconds=10))
    await asyncio.sleep(0)
    (tmp_path / "new").write_text('{"ipv4Nets":["10.0.0.1/32"],"ipv6Nets":[]}')
    (tmp_path / "new").rename(tmp_path / "f")
    assert await waiting
    files.close()


async def test_the_wait_ends_within_milliseconds_of_the_file_also_when_its_directory_comes_later(
    tmp_path: Path,
) -> None:
    files = StatusFiles(str(tmp_path / "later"))
    waiting = [asyncio.create_task(files.wait(name, ["10.0.0.1/32"], seconds=10)) for name in ("a", "b")]
    await asyncio.sleep(0.05)
    (tmp_path / "later").mkdir()
    await asyncio.sleep(0.05)
    for name in ("a", "b"):
        (tmp_path / "later" / name).write_text('{"ipv4Nets":["10.0.0.1/32"]}')
    began = time.monotonic()
    assert await asyncio.gather(*waiting) == [True, True]
    assert time.monotonic() - began < 1
    assert not await files.wait("c", [], seconds=0.02)
    files.close()


# --- installation ----------------------------------------------------------------------------------------------------


def test_installation_writes_two_executables_and_then_a_private_list(tmp_path: Path) -> None:
    options = Options(assign_ipv6=True, policy_timeout=7)
    changed = install(bin_dir=tmp_path / "bin", conf_dir=tmp_path / "net.d", options=options)
    assert [path.name for path in changed] == ["calico", "calico-ipam", "10-calico.conflist"]
    assert stat.S_IMODE((tmp_path / "net.d/10-calico.conflist").stat().st_mode) == 0o600
    body = json.loads((tmp_path / "net.d/10-calico.conflist").read_text())
    assert (body["name"], body["cniVersion"]) == ("k8s-pod-network", "1.0.0")
    (plugin,) = body["plugins"]
    assert plugin["type"] == "calico"
    assert plugin["ipam"] == {"type": "calico-ipam", "assign_ipv4": "true", "assign_ipv6": "true"}
    assert plugin["policy"] == {"type": "k8s"}
    assert plugin["mtu"] == 0
    assert plugin["policy_setup_timeout_seconds"] == 7
    netconf.parse({**plugin, "name": body["name"]})
    assert install(bin_dir=tmp_path / "bin", conf_dir=tmp_path / "net.d", options=options) == [], "nothing to do twice"


def test_an_executable_is_replaced_while_it_runs(tmp_path: Path) -> None:
    install(bin_dir=tmp_path, conf_dir=None, options=Options(socket=str(tmp_path / "no.sock")))
    env = environment() | {"PATH": os.environ["PATH"], "TORTIE_CNI_WAIT": "0.5"}
    running = subprocess.Popen([tmp_path / "calico"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=env)
    assert len(install(bin_dir=tmp_path, conf_dir=None, options=Options(socket="/elsewhere"))) == 2
    out, _ = running.communicate(timeout=20)
    assert json.loads(out)["code"] == 11
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


# --- the executable alone --------------------------------------------------------------------------------------------


def shim(directory: Path, *arguments: str, name: str = "calico", **env: str) -> subprocess.CompletedProcess[str]:
    install(bin_dir=directory, conf_dir=None, options=Options(socket=str(directory / "no.sock")))
    return subprocess.run(
        [directory / name, *arguments], input="{}", capture_output=True, text=True, env=env, timeout=30, check=False
    )


def test_without_a_command_the_executable_introduces_itself(tmp_path: Path) -> None:
    done = shim(tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert "CNI protocol versions 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0" in done.stderr


def test_the_version_is_told_without_an_agent(tmp_path: Path) -> None:
    import tortie

    assert shim(tmp_path, "-v").stdout == tortie.__version__ + "\n"
    for name in ("calico", "calico-ipam"):
        done = shim(tmp_path, name=name, CNI_COMMAND="VERSION")
        assert json.loads(done.stdout) == {"cniVersion": "1.0.0", "supportedVersions": list(VERSIONS)}


def test_without_an_agent_the_error_says_to_try_again_later(tmp_path: Path) -> None:
    done = shim(tmp_path, TORTIE_CNI_WAIT="0.1", **environment())
    assert done.returncode == 1
    body = json.loads(done.stdout)
    assert body["code"] == 11
    assert "not running; try again later" in body["msg"]
    assert str(tmp_path / "no.sock") in body["details"]


def test_the_executable_imports_nothing_but_c_modules_of_the_interpreter(tmp_path: Path) -> None:
    install(bin_dir=tmp_path, conf_dir=None, options=Options())
    text = (tmp_path / "calico").read_text()
    assert text.startswith("#!/usr/bin/python3 -IS\n")
    imported = {line.split()[1] for line in text.splitlines() if line.startswith(("import ", "from "))}
    assert imported == {"_socket", "posix", "sys", "time"}


def test_the_executable_costs_less_than_twenty_milliseconds_of_process_time(tmp_path: Path) -> None:
    install(bin_dir=tmp_path, conf_dir=None, options=Options())
    costs = []
    for _ in range(10):
        process = subprocess.Popen(
            [tmp_path / "calico"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env={"CNI_COMMAND": "VERSION"}
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        costs.append(usage.ru_utime + usage.ru_stime)
    assert min(costs) < 0.020
