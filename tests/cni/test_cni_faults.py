"""The CNI agent under load and under attack: many pods at once, killed agents, lost APIs, slow policy.

Covered elsewhere: what one ADD or DEL does (test_cni_pods), crashes of address management (test_ipam_allocator).
"""

import asyncio
import fcntl
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cni_harness import Node, addresses_of, container_id, dual, until

from tortie.cni.status_files import file_name

pytestmark = pytest.mark.netns


class Call:
    """An executable that runs beside the test."""

    def __init__(self, node: Node, command: str, config: dict[str, Any], **how: Any) -> None:
        self.process = subprocess.Popen(
            [node.bin / "calico"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=node.environment(command, **how),
        )
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(config))
        self.process.stdin.close()
        self.process.stdin = None

    def result(self) -> dict[str, Any]:
        out, err = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, out + err
        return dict(json.loads(out or "{}"))


def made(node: Node, names: list[str]) -> list[dict[str, Any]]:
    return [
        {"container": container_id(), "netns": node.sandbox(), "pod": name, "uid": node.pod(name)["metadata"]["uid"]}
        for name in names
    ]


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Node]:
    """A node whose agent or API may be killed."""
    node = Node(tmp_path)
    try:
        node.start()
        yield node
    finally:
        node.close()


def leftovers(node: Node) -> tuple[Any, ...]:
    interfaces = [name for name in node.netns.links() if name != "lo"]
    routes = [route["dst"] for v in (4, 6) for route in node.netns.routes(v) if route.get("dev") != "lo"]
    return interfaces, routes, node.allocated(), [each["spec"]["handleID"] for each in node.objects("ipamhandles")]


def test_many_pods_at_once_get_different_addresses_and_leave_nothing(node: Node) -> None:
    pods = made(node, [f"crowd-{number}" for number in range(24)])
    config = dual(node)
    results = [call.result() for call in [Call(node, "ADD", config, **how) for how in pods]]
    addresses = [address for result in results for address in addresses_of(result)]
    assert len(set(addresses)) == 48
    assert {address.partition("/")[0] for address in addresses} == set(node.allocated())
    for call in [Call(node, "DEL", config, **how) for how in pods]:
        call.result()
    assert leftovers(node) == ([], [], {}, [])


def test_calls_of_one_pod_take_turns(node: Node) -> None:
    (how,) = made(node, ["turns"])
    calls = [Call(node, command, node.config(), **how) for command in ("ADD", "DEL") * 4]
    for call in calls:
        call.process.communicate(timeout=60)
    node.delete(**how)
    assert leftovers(node) == ([], [], {}, [])


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.04, 0.06, 0.1])
def test_a_killed_agent_fails_no_pod_and_loses_no_address(fresh: Node, delay: float) -> None:
    node = fresh
    names = [f"victim-{number}" for number in range(8)]
    pods = made(node, names)
    config = dual(node)
    calls = [Call(node, "ADD", config, **how) for how in pods]
    time.sleep(delay)
    node.stop_agent(signal.SIGKILL)
    node.start_agent()
    results = [call.result() for call in calls]
    addresses = {address.partition("/")[0] for result in results for address in addresses_of(result)}
    assert len(addresses) == 16
    assert set(node.allocated()) == addresses, "an attempt that was cut short leaves nothing"
    for how, result in zip(pods, results, strict=True):
        check = node.call("CHECK", {**config, "prevResult": result}, **how)
        assert check.returncode == 0, check.stdout

    calls = [Call(node, "DEL", config, **how) for how in pods]
    time.sleep(delay)
    node.stop_agent(signal.SIGKILL)
    node.start_agent()
    for call in calls:
        call.result()
    assert leftovers(node) == ([], [], {}, [])


def test_an_agent_that_is_told_to_stop_finishes_its_calls_first(fresh: Node) -> None:
    node = fresh
    pods = made(node, [f"last-{number}" for number in range(6)])
    calls = [Call(node, "ADD", node.config(), **how) for how in pods]
    until(node.allocated, what="a first address")
    assert node.stop_agent() == 0
    node.start_agent()
    for call in calls:
        call.result()
    assert len(node.allocated()) == 6


def test_an_api_that_restarts_during_add_delays_the_pod_at_most(fresh: Node) -> None:
    from tools import start_api_server

    node = fresh
    assert node.api is not None
    (warm, how) = made(node, ["warm", "outage"])
    node.add(**warm)
    node.api.kill()
    call = node.call("ADD", **how)
    assert call.returncode == 1
    assert json.loads(call.stdout)["code"] in (11, 999)
    with node.netns.inside():
        node.api = start_api_server(node.api.data_dir, port=node.api.port)
    until(lambda: node.call("ADD", **how).returncode == 0, seconds=30, what="ADD after the API came back")
    node.delete(**how)
    node.delete(**warm)
    assert leftovers(node) == ([], [], {}, [])


def test_a_pod_waits_for_its_policy_and_starts_the_moment_it_is_in_force(node: Node) -> None:
    (how,) = made(node, ["patient"])
    node.status.mkdir(exist_ok=True)
    config = node.config(policy_setup_timeout_seconds=20)
    call = Call(node, "ADD", config, **how)
    annotated = until(lambda: node.get_pod("patient")["metadata"].get("annotations"), what="the pod's addresses")
    time.sleep(0.2)
    assert call.process.poll() is None, "it waits"
    file = node.status / file_name(orchestrator="k8s", workload="default/patient", endpoint="eth0")
    file.write_text(json.dumps({"ipv4Nets": [annotated["cni.projectcalico.org/podIP"]]}))
    began = time.monotonic()
    call.result()
    assert time.monotonic() - began < 1
    node.delete(**how)
    file.unlink()


def test_a_policy_that_never_comes_only_delays_the_pod(node: Node) -> None:
    (how,) = made(node, ["impatient"])
    began = time.monotonic()
    node.add(node.config(policy_setup_timeout_seconds=1), **how)
    assert 1 <= time.monotonic() - began < 6
    assert b"policy was not set up in time" in node.log()
    node.delete(**how)


def test_another_programs_lock_on_the_ipam_file_is_respected(node: Node) -> None:
    (how,) = made(node, ["locked-out"])
    lock = node.directory / "ipam.lock"
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        call = Call(node, "ADD", node.config(), **how)
        time.sleep(0.3)
        assert call.process.poll() is None
        assert not [handle for handle in node.allocated().values() if how["container"] in handle]
    call.result()
    node.delete(**how)


def test_addresses_that_a_dead_agent_left_are_given_back_once_pod_and_interface_are_gone(node: Node) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from tortie.cni.cluster import Cluster
    from tortie.cni.reconcile import Reconciler
    from tortie.ipam.affinity import Owner
    from tortie.ipam.allocator import Allocator, Request
    from tortie.kube.client import Client

    (how,) = made(node, ["alive"])
    alive = addresses_of(node.add(**how))[0].partition("/")[0]

    async def scenario(client: Client) -> tuple[list[str], list[str], list[str]]:
        cluster = Cluster(client, node=node.name)
        running = asyncio.create_task(cluster.run())
        await cluster.wait_synced()
        allocator = Allocator(client, cluster.view, owner=Owner(node.name))
        await allocator.warm()
        attributes = {"node": node.name, "namespace": "default", "pod": "never-seen"}
        await allocator.auto_assign(
            Request(handle="k8s-pod-network.dead", attributes=attributes, use="Workload", count_v4=1)
        )
        left = await allocator.addresses_by_handle("k8s-pod-network.dead")
        with ThreadPoolExecutor(1) as executor:
            patient = Reconciler(cluster, allocator, executor=executor, grace=3600)
            hasty = Reconciler(cluster, allocator, executor=executor, grace=0)
            released = await patient.step(), await hasty.step()
        running.cancel()
        return left, *released

    left, within_grace, after = node.ask(scenario)
    assert within_grace == []
    assert after == left
    assert set(node.allocated()) == {alive}
    node.delete(**how)


def test_a_caller_that_goes_away_or_talks_nonsense_does_not_disturb_others(node: Node) -> None:
    import socket

    for payload in (b"", b"GET / HTTP/1.1\r\n\r\n", b"tcni" + b"\xff" * 16, b"tcni" + bytes(15)):
        with socket.socket(socket.AF_UNIX) as rude:
            rude.connect(str(node.socket))
            rude.sendall(payload)
    (how,) = made(node, ["polite"])
    node.add(**how)
    node.delete(**how)
    assert node.agent is not None
    assert node.agent.poll() is None


def test_the_agent_keeps_no_descriptor_of_a_pod_after_the_call(node: Node) -> None:
    assert node.agent is not None
    descriptors = Path(f"/proc/{node.agent.pid}/fd")
    (first, *rest) = made(node, [f"descriptor-{number}" for number in range(12)])
    node.add(**first)
    before = len(list(descriptors.iterdir()))
    for how in rest:
        node.add(**how)
    after = len(list(descriptors.iterdir()))
    assert after <= before + 3
    for how in (first, *rest):
        node.delete(**how)


def test_health_and_metrics_are_served_on_request(fresh: Node) -> None:
    import urllib.request

    node = fresh
    (how,) = made(node, ["measured"])
    node.stop_agent()
    with node.netns.inside():
        from tools import free_port

        port = free_port()
    node.start_agent("--health-port", str(port))

    def fetch(path: str) -> str:
        with node.netns.inside():
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
                    return str(answer.read().decode())
            except OSError:
                return ""

    until(lambda: fetch("/readiness"), what="readiness")
    assert fetch("/liveness")
    node.add(**how)
    metrics = fetch("/metrics")
    assert "tortie_cni_calls_total_ADD_ok 1.0" in metrics
    assert "tortie_cni_ipam_handle_writes_total 1.0" in metrics
    node.delete(**how)
