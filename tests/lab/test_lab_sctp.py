"""SCTP is enforced: a Kubernetes NetworkPolicy with protocol SCTP, crafted packets, same node and across nodes."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab_client import Lab
from reachability import Matrix, Pod, manifest

from tortie.lab import machines

SCRIPT = str(Path(__file__).with_name("sctp.py"))
NAMESPACES = ("sctp-a", "sctp-b")

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def matrix(lab: Lab) -> Iterator[Matrix]:
    lab.apply(manifest(NAMESPACES))
    for namespace in NAMESPACES:
        lab.wait_for_pods(namespace)
    lab.apply(
        """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: sctp, namespace: sctp-b}
spec:
  podSelector: {matchLabels: {pod: a}}
  ingress:
    - from: [{namespaceSelector: {matchLabels: {ns: sctp-a}}}]
      ports: [{protocol: SCTP, port: 7777}, {protocol: TCP, port: 80}]
"""
    )
    matrix = Matrix(lab, NAMESPACES)
    matrix.check(
        lambda source, destination, protocol, port: (
            str(destination) != "sctp-b/a" or (source.namespace == "sctp-a" and (protocol, port) == ("tcp", 80))
        )
    )
    yield matrix
    lab.forget_probers(*NAMESPACES)
    lab.delete_namespaces(*NAMESPACES)


def _in_pod(lab: Lab, pod: Pod, *arguments: str) -> subprocess.Popen[str]:
    node, path = lab.namespace_of_pod(pod.namespace, pod.name)
    inner = ["nsenter", f"--net={path}", "--", "/usr/bin/python3", "-I", "-S", SCRIPT, *arguments]
    process = subprocess.Popen(
        machines.enter_command(lab.layout, node, inner), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "ready"
    return process


@pytest.mark.parametrize(
    ("source", "allowed"), [("sctp-a/a", True), ("sctp-a/b", True), ("sctp-b/b", False)], ids=["near", "far", "denied"]
)
def test_only_the_allowed_sctp_port_is_reached(lab: Lab, matrix: Matrix, source: str, allowed: bool) -> None:
    target = matrix.pod("sctp-b/a")
    counter = _in_pod(lab, target, "count")
    for address in target.addresses:
        _in_pod(lab, matrix.pod(source), "send", address, "7777", "7778").wait(10)
    output, _ = counter.communicate("", timeout=10)
    expected = {"7777": len(target.addresses)} if allowed else {}
    assert json.loads(output) == expected
