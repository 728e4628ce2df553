"""Labs of other shapes: an overlay without BGP, IPv6 alone, the aggregated API. Each is made, tried and removed."""

from collections.abc import Iterator

import pytest
from lab_client import Lab, open_lab, tortie
from reachability import Matrix, manifest
from tools import new_kubectl

NAMESPACES = ("x", "y")

pytestmark = [pytest.mark.lab, pytest.mark.slow]


@pytest.fixture(
    params=[
        pytest.param(("shape-vx", "vxlan", "dual", "native"), id="vxlan"),
        pytest.param(("shape-six", "none", "ipv6", "native"), id="ipv6"),
        pytest.param(("shape-agg", "none", "ipv4", "aggregated"), id="aggregated"),
    ]
)
def shaped(request: pytest.FixtureRequest) -> Iterator[Lab]:
    name, encapsulation, family, mode = request.param
    tortie("lab", "down", "--name", name, "--quiet")
    options = ("--nodes", "2", "--no-demo", "--quiet", "--encapsulation", encapsulation, "--ip-family", family)
    tortie("lab", "up", "--name", name, *options, "--api-mode", mode)
    lab = open_lab(name, str(new_kubectl()))
    yield lab
    lab.close()
    tortie("lab", "down", "--name", name, "--quiet")


def test_pods_talk_and_policies_hold(shaped: Lab) -> None:
    shaped.apply(manifest(NAMESPACES))
    for namespace in NAMESPACES:
        shaped.wait_for_pods(namespace)
    matrix = Matrix(shaped, NAMESPACES)
    matrix.check(lambda source, destination, protocol, port: True)
    shaped.apply(
        """
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: from-y, namespace: x}
spec:
  types: [Ingress]
  ingress: [{action: Allow, protocol: TCP, source: {namespaceSelector: ns == "y"}, destination: {ports: [80]}}]
"""
    )
    matrix.check(
        lambda source, destination, protocol, port: (
            destination.namespace != "x" or (source.namespace == "y" and (protocol, port) == ("tcp", 80))
        )
    )
    if shaped.layout.spec.aggregated:
        stored = shaped.kubectl("get", "networkpolicies.crd.projectcalico.org", "-n", "x", "-o", "name").stdout
        assert stored.strip().endswith("/from-y")
        assert "10.244." in shaped.kubectl("get", "ipamblocks.crd.projectcalico.org").stdout
    if shaped.layout.spec.encapsulation == "vxlan":
        assert "vxlan.calico" in shaped.on_node("node-1", "ip", "route")
        assert "bird" not in shaped.on_node("node-1", "ls", "/etc/service/enabled")
