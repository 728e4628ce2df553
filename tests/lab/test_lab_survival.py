"""Nothing is cut and nothing leaks while components die, one after another, under a steady stream of connections."""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from lab_client import Lab, eventually, tortie
from reachability import Matrix, manifest

from tortie.lab import machines, state

NAMESPACES = ("live", "dead")
STREAM = Path(__file__).with_name("stream.py")

pytestmark = [pytest.mark.lab, pytest.mark.slow]


@pytest.fixture(scope="module")
def matrix(lab: Lab) -> Iterator[Matrix]:
    lab.apply(manifest(NAMESPACES))
    for namespace in NAMESPACES:
        lab.wait_for_pods(namespace)
    lab.apply(
        """
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: only-80, namespace: dead}
spec: {types: [Ingress], ingress: [{action: Allow, protocol: TCP, destination: {ports: [80]}}]}
"""
    )
    matrix = Matrix(lab, NAMESPACES)
    matrix.check(
        lambda source, destination, protocol, port: destination.namespace != "dead" or (protocol, port) == ("tcp", 80)
    )
    yield matrix
    lab.forget_probers(*NAMESPACES)
    lab.delete_namespaces(*NAMESPACES)


@contextmanager
def streams(lab: Lab, matrix: Matrix) -> Iterator[list[dict[str, Any]]]:
    """Streams from every pod to every other; the list is filled with their counts when the block ends."""
    processes = []
    for source in matrix.pods:
        others = [(a, p) for p in matrix.pods if p != source for a in p.addresses]
        wanted = {
            "allowed": [[address, 80] for address, _pod in others],
            "denied": [[address, 81] for address, pod in others if pod.namespace == "dead"],
        }
        node, path = lab.namespace_of_pod(source.namespace, source.name)
        inner = ["nsenter", f"--net={path}", "--", "/usr/bin/python3", "-I", "-S", str(STREAM), json.dumps(wanted)]
        process = subprocess.Popen(
            machines.enter_command(lab.layout, node, inner),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "started"
        processes.append(process)
    counts: list[dict[str, Any]] = []
    try:
        yield counts
    finally:
        for process in processes:
            output, _ = process.communicate("", timeout=30)
            counts.append(json.loads(output))


@pytest.mark.parametrize(
    ("machine", "component"),
    [
        ("node-1", "felix"),
        ("node-1", "bird"),
        ("node-2", "confd"),
        ("node-2", "cni"),
        ("control", "apiserver"),
        ("node-2", "felix"),
    ],
)
def test_a_killed_component_cuts_nothing_and_leaks_nothing(
    lab: Lab, matrix: Matrix, machine: str, component: str
) -> None:
    with streams(lab, matrix) as counts:
        time.sleep(1)  # a second of traffic before, so that the kill meets a steady stream
        before = _component_pid(lab, machine, component)
        tortie("lab", "component", "kill", "--name", lab.layout.spec.name, machine, component)
        eventually(lambda: _component_pid(lab, machine, component) not in (0, before), seconds=20, what="restart")
        eventually(lambda: not _problems(lab), seconds=40, what="readiness after the restart")
        time.sleep(1)
    assert sum(count["allowed"] for count in counts) > 100
    assert sum(count["denied"] for count in counts) > 100
    assert [failure for count in counts for failure in count["failed"]] == []
    assert [leak for count in counts for leak in count["succeeded"]] == []


def test_acknowledged_writes_survive_the_api_servers_death(lab: Lab) -> None:
    lab.kubectl("create", "ns", "writes")
    acknowledged = []
    for number in range(60):
        name = f"cm-{number}"
        if number % 20 == 10:
            tortie("lab", "component", "kill", "--name", lab.layout.spec.name, "control", "apiserver")
        result = lab.kubectl("create", "configmap", name, f"--from-literal=n={number}", "-n", "writes", check=False)
        if result.returncode == 0:
            acknowledged.append(name)
    eventually(lambda: lab.kubectl("get", "ns", check=False).returncode == 0, seconds=20)
    found = {item["metadata"]["name"]: item for item in lab.get("configmaps", "-n", "writes")["items"]}
    assert len(acknowledged) > 20
    assert [name for name in acknowledged if name not in found] == []
    for name in acknowledged:
        assert found[name]["data"] == {"n": name.removeprefix("cm-")}
    lab.delete_namespaces("writes")


def _component_pid(lab: Lab, machine: str, component: str) -> int:
    from tortie.lab.components import service_directory

    directory = service_directory(lab.layout, machine, component)
    text = lab.on_node(machine, "sv", "status", directory, check=False)
    return int(text.split("(pid ")[1].split(")")[0]) if text.startswith("run:") else 0


def _problems(lab: Lab) -> list[str]:
    import asyncio

    from tortie.lab.status import calico_problems

    return asyncio.run(calico_problems(state.require(lab.layout.spec.name)))
