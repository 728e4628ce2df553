"""The small parts of the daemon: status files, the MTU of pods, and what users are told about problems."""

import json
from pathlib import Path
from typing import Any

import pytest

from tortie.felix.messages import Encapsulation, WorkloadEndpointUpdate
from tortie.felix.mtu import pod_mtu
from tortie.felix.report import Report, reference, subject
from tortie.felix.status import StatusFiles, file_name
from tortie.kube.events import Reference
from tortie.model.dataplane import HostEndpointKey, PolicyKey, ProfileKey, WorkloadEndpointKey
from tortie.net.link import Link

KEY = WorkloadEndpointKey("n1", "k8s", "red/a-b", "eth0")


def endpoint(ip: str = "10.0.0.1") -> WorkloadEndpointUpdate:
    return WorkloadEndpointUpdate(
        key=KEY, interface="cali1", mac="aa:bb", ipv4_nets=(f"{ip}/32",), ipv6_nets=(), profiles=(), tiers=()
    )


# --- status files --------------------------------------------------------------------------------------------------


def test_the_name_of_a_status_file_is_the_escaped_identity() -> None:
    assert file_name(KEY) == "k8s red%2Fa-b eth0"


def test_an_endpoint_that_is_up_has_a_file_and_one_that_is_not_has_none(tmp_path: Path) -> None:
    files = StatusFiles(tmp_path)
    files.sweep()
    directory = tmp_path / "endpoint-status"
    assert files.sync({KEY: endpoint()})
    [path] = directory.iterdir()
    assert json.loads(path.read_text()) == {
        "ifaceName": "cali1",
        "mac": "aa:bb",
        "ipv4Nets": ["10.0.0.1/32"],
        "ipv6Nets": [],
        "bgpPeerName": "",
    }
    assert path.stat().st_mode & 0o777 == 0o644
    files.sync({KEY: endpoint("10.0.0.2")})
    assert "10.0.0.2/32" in path.read_text()
    files.sync({})
    assert list(directory.iterdir()) == []


def test_what_an_earlier_process_left_is_swept(tmp_path: Path) -> None:
    stale = tmp_path / "endpoint-status" / "k8s red%2Fgone eth0"
    stale.parent.mkdir()
    stale.write_text("{}")
    StatusFiles(tmp_path).sweep()
    assert not stale.exists()


def test_a_full_look_repairs_what_others_did(tmp_path: Path) -> None:
    files = StatusFiles(tmp_path)
    files.sweep()
    files.sync({KEY: endpoint()})
    directory = tmp_path / "endpoint-status"
    (directory / file_name(KEY)).unlink()
    (directory / "stranger").write_text("x")
    files.sync({KEY: endpoint()}, everything=True)
    assert [path.name for path in directory.iterdir()] == [file_name(KEY)]


def test_a_directory_that_cannot_be_written_is_tried_again(tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the directory should be")
    files = StatusFiles(blocked)
    files.sweep()
    assert not files.sync({KEY: endpoint()})
    blocked.unlink()
    assert files.sync({KEY: endpoint()})
    assert len(list((blocked / "endpoint-status").iterdir())) == 1


# --- MTU -----------------------------------------------------------------------------------------------------------


def device(name: str, mtu: int) -> Link:
    return Link(index=1, name=name, up=True, running=True, mtu=mtu, mac="", kind="", parent=0, master=0, data={})


@pytest.mark.parametrize(
    ("encapsulation", "expected"),
    [
        (Encapsulation(vxlan=False, vxlan_v6=False, ipip=False), 1500),
        (Encapsulation(vxlan=False, vxlan_v6=False, ipip=True), 1480),
        (Encapsulation(vxlan=True, vxlan_v6=False, ipip=True), 1450),
        (Encapsulation(vxlan=True, vxlan_v6=True, ipip=False), 1430),
    ],
)
def test_pods_get_what_the_smallest_device_leaves_under_the_largest_overhead(
    encapsulation: Encapsulation, expected: int
) -> None:
    links = [device("eth0", 1500), device("eth1", 9000), device("cali1", 100), device("lo", 65536)]
    assert pod_mtu(links, "^eth.*", encapsulation) == expected


def test_without_a_matching_device_the_mtu_is_1460() -> None:
    assert pod_mtu([device("lo", 65536)], "^eth.*", Encapsulation(vxlan=False, vxlan_v6=False, ipip=False)) == 1460


# --- reports -------------------------------------------------------------------------------------------------------


class Recorder:
    """Keeps what would become Events."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str, str, str]] = []

    def event(self, about: Reference, type_: str, reason: str, message: str) -> None:
        self.said.append((f"{about.kind} {about.namespace}/{about.name}", type_, reason, message))


def test_a_problem_is_told_when_it_comes_when_it_changes_and_when_it_goes() -> None:
    recorder: Any = Recorder()
    report = Report(recorder, node="n1")
    name = subject(PolicyKey("NetworkPolicy", "red", "p"))
    report.update(refused={}, failed={name: "set too large"})
    report.update(refused={}, failed={name: "set too large"})
    report.update(refused={}, failed={name: "another reason"})
    report.update(refused={}, failed={})
    assert recorder.said == [
        ("NetworkPolicy red/p", "Warning", "NotInForce", "not in force on node n1: set too large"),
        ("NetworkPolicy red/p", "Warning", "NotInForce", "not in force on node n1: another reason"),
        ("NetworkPolicy red/p", "Normal", "InForce", "in force again on node n1"),
    ]


def test_every_kind_of_object_has_words_and_those_of_the_api_a_reference() -> None:
    def kind(text: str) -> str:
        found = reference(text)
        return "" if found is None else f"{found.api_version} {found.kind} {found.namespace}/{found.name}"

    assert kind(subject(PolicyKey("KubernetesNetworkPolicy", "red", "p"))) == "networking.k8s.io/v1 NetworkPolicy red/p"
    assert kind(subject(PolicyKey("GlobalNetworkPolicy", "", "g"))) == "projectcalico.org/v3 GlobalNetworkPolicy /g"
    assert kind(subject(KEY)) == "v1 Pod red/a-b"
    assert kind(subject(HostEndpointKey("n1", "eth0"))) == "projectcalico.org/v3 HostEndpoint /eth0"
    assert subject(ProfileKey("kns.red")) == "Profile kns.red"
    assert kind("Profile kns.red") == ""
    assert kind("dataplane") == ""


def test_writing_files_needs_no_temporary_file_afterwards(tmp_path: Path) -> None:
    files = StatusFiles(tmp_path)
    files.sync({KEY: endpoint()})
    assert [path.name for path in (tmp_path / "endpoint-status").iterdir()] == [file_name(KEY)]
