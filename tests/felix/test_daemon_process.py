"""`tortie felix` as a process, between a real API server and a real kernel. (What rules mean is tested elsewhere.)"""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from dataplane_world import until
from felix_node import DENY_ALL, FelixNode, felix_node

pytestmark = pytest.mark.netns


@pytest.fixture
def node(tmp_path: Path) -> Iterator[FelixNode]:
    with felix_node(tmp_path) as made:
        yield made


def felix_configuration(name: str, **spec: object) -> dict[str, object]:
    return {
        "apiVersion": "projectcalico.org/v3",
        "kind": "FelixConfiguration",
        "metadata": {"name": name},
        "spec": spec,
    }


def test_a_policy_takes_hold_and_survives_every_end_of_felix(node: FelixNode) -> None:
    node.start_felix()
    node.wait_ready()
    a, b = node.pod("a", app="a"), node.pod("b", app="b")
    b.listen(80)
    until(lambda: node.status_file("b").exists() and node.status_file("a").exists())
    assert f"{b.ip}/32" in node.status_file("b").read_text()
    assert a.tcp(b.ip, 80)
    assert a.tcp(b.ip6, 80)

    node.apply(DENY_ALL)
    until(lambda: not a.tcp(b.ip, 80))
    assert not a.tcp(b.ip6, 80)

    node.stop_felix(kill=True)
    assert not a.tcp(b.ip, 80), "a crash took the rules away"
    node.kubectl("delete", "networkpolicy", "-n", "red", "deny-all")
    node.start_felix()
    node.wait_ready()
    until(lambda: a.tcp(b.ip, 80))
    until(lambda: node.status_file("b").exists())

    node.apply(DENY_ALL)
    until(lambda: not a.tcp(b.ip, 80))
    assert node.stop_felix() == 0
    assert not a.tcp(b.ip, 80), "an orderly stop took the rules away"


def test_the_status_file_goes_with_the_pod(node: FelixNode) -> None:
    node.start_felix()
    node.wait_ready()
    node.pod("a")
    until(lambda: node.status_file("a").exists())
    node.kubectl("delete", "pod", "-n", "red", "a", "--force", "--grace-period=0")
    until(lambda: not node.status_file("a").exists())


def test_a_lost_api_server_changes_nothing(node: FelixNode) -> None:
    node.start_felix()
    node.wait_ready()
    a, b = node.pod("a"), node.pod("b")
    b.listen(80)
    node.apply(DENY_ALL)
    until(lambda: node.status_file("b").exists() and not a.tcp(b.ip, 80))
    node.kill_api_server()
    assert not a.tcp(b.ip, 80)
    assert node.http("readiness")[0] == 200
    node.start_api_server()
    node.kubectl("delete", "networkpolicy", "-n", "red", "deny-all")
    until(lambda: a.tcp(b.ip, 80), 15)


def test_a_changed_configuration_restarts_felix_unless_it_is_masked_or_live(node: FelixNode) -> None:
    node.start_felix(FELIX_LOGPREFIX="mine")
    node.wait_ready()
    node.apply(felix_configuration("default", logPrefix="masked"))
    node.apply(felix_configuration("node.n1", healthTimeoutOverrides=[{"name": "CalculationGraph", "timeout": "77s"}]))
    until(lambda: "77s" in node.http("readiness")[1])
    assert node.felix is not None and node.felix.poll() is None
    node.apply(felix_configuration("default", logPrefix="masked", allowVXLANPacketsFromWorkloads=True))
    assert node.felix.wait(10) == 129
    assert "allowvxlanpacketsfromworkloads" in node.log.read_text()

    node.start_felix()
    node.wait_ready()
    node.felix.send_signal(signal.SIGHUP)
    assert node.felix.wait(10) == 129, "SIGHUP asks for the file to be read again"


def test_felix_waits_for_a_datastore_that_is_not_ready(node: FelixNode) -> None:
    information = {
        "apiVersion": "projectcalico.org/v3",
        "kind": "ClusterInformation",
        "metadata": {"name": "default"},
        "spec": {"datastoreReady": False},
    }
    node.apply(information)
    node.start_felix()
    until(lambda: "datastore is not ready" in node.http("readiness")[1], 15)
    assert node.http("readiness")[0] == 503
    assert node.http("liveness")[0] == 200
    node.apply({**information, "spec": {"datastoreReady": True}})
    node.wait_ready()


def test_metrics_have_the_names_that_dashboards_know(node: FelixNode) -> None:
    node.start_felix(FELIX_PROMETHEUSMETRICSENABLED="true")
    node.wait_ready()
    node.pod("a")
    until(lambda: "felix_active_local_endpoints 1.0" in node.http("metrics", 9091)[1])
    text = node.http("metrics", 9091)[1]
    for line in ("felix_resync_state 3.0", "felix_cluster_num_workload_endpoints 1.0", 'felix_host{host="n1"} 1.0'):
        assert line in text
    for name in ("felix_int_dataplane_failures", "felix_calc_graph_update_time_seconds_count", "felix_nft_chains"):
        assert f"\n{name}" in text


def test_a_wrong_setting_stops_felix_with_one_line_that_names_it(node: FelixNode) -> None:
    node.start_felix(FELIX_DEFAULTENDPOINTTOHOSTACTION="maybe")
    assert node.felix is not None
    assert node.felix.wait(15) == 1
    [line] = node.log.read_text().splitlines()
    reason = json.loads(line)["reason"]
    assert reason == "DefaultEndpointToHostAction='maybe' in environment is not one of Drop, Accept, Return"


def test_what_is_not_in_force_is_told_in_an_event_and_the_rest_is_enforced(node: FelixNode) -> None:
    node.start_felix()
    node.wait_ready()
    endpoint = {
        "apiVersion": "projectcalico.org/v3",
        "kind": "HostEndpoint",
        "metadata": {"name": "nowhere"},
        "spec": {"node": "n1", "interfaceName": "eth77"},
    }
    node.apply(endpoint)
    [event] = until(lambda: [event for event in node.events() if event["reason"] == "NotInForce"], 10)
    assert event["involvedObject"]["kind"] == "HostEndpoint"
    assert event["involvedObject"]["name"] == "nowhere"
    assert event["message"].startswith("not in force on node n1: ")
    assert "felix_problems 1.0" in node.http("metrics")[1]
    a, b = node.pod("a"), node.pod("b")
    b.listen(80)
    node.apply(DENY_ALL)
    until(lambda: node.status_file("b").exists() and not a.tcp(b.ip, 80))
    node.kubectl("delete", "hostendpoint", "nowhere")
    until(lambda: any(event["reason"] == "InForce" for event in node.events()), 10)
