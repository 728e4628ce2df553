"""Examples of the projectcalico.org/v3 policies: tiers with Pass, order, sets, named ports, negations, ICMP types."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from lab_client import Lab, eventually
from reachability import Matrix, Pod, manifest

EXAMPLES = Path(__file__).parents[2] / "examples" / "calico"
NAMESPACES = ("x", "y", "z")

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def matrix(lab: Lab) -> Iterator[Matrix]:
    lab.apply(manifest(NAMESPACES))
    for namespace in NAMESPACES:
        lab.wait_for_pods(namespace)
    matrix = Matrix(lab, NAMESPACES)
    yield matrix
    lab.forget_probers(*NAMESPACES)
    lab.delete_namespaces(*NAMESPACES)


@pytest.fixture
def example(lab: Lab, request: pytest.FixtureRequest) -> Iterator[None]:
    path = str(EXAMPLES / f"{request.param}.yaml")
    lab.kubectl("apply", "-f", path)
    yield
    # A tier goes only when its policies are gone, and the file names the tier first.
    lab.kubectl("delete", "-f", path, "--ignore-not-found", check=False)
    lab.kubectl("delete", "-f", path, "--ignore-not-found")


@pytest.mark.parametrize("example", ["tiers-with-pass"], indirect=True)
def test_a_tier_decides_denies_or_passes_to_the_next(example: None, matrix: Matrix) -> None:
    def allowed(source: Pod, destination: Pod, protocol: str, port: int) -> bool:
        if destination.namespace != "x":
            return True
        if source.namespace in ("z", "x"):  # denied by a rule; denied at the end of the tier
            return False
        return destination.name == "a" or (protocol, port) == ("tcp", 80)

    matrix.check(allowed)


@pytest.mark.parametrize("example", ["global-order"], indirect=True)
def test_of_two_global_policies_the_lower_order_decides(example: None, matrix: Matrix) -> None:
    matrix.check(lambda source, destination, protocol, port: protocol == "udp" or port == 80)


@pytest.mark.parametrize("example", ["named-ports"], indirect=True)
def test_named_ports_match_only_with_their_own_protocol(example: None, matrix: Matrix) -> None:
    matrix.check(
        lambda source, destination, protocol, port: destination.namespace != "x" or (protocol, port) == ("tcp", 81)
    )


@pytest.mark.parametrize("example", ["not-selector"], indirect=True)
def test_not_selector_leaves_out_what_it_names(example: None, matrix: Matrix) -> None:
    matrix.check(lambda source, destination, protocol, port: destination.namespace != "y" or source.name != "b")


@pytest.mark.parametrize("example", ["icmp"], indirect=True)
def test_icmp_types_are_told_apart(example: None, lab: Lab, matrix: Matrix) -> None:
    target = matrix.pod("z/a")

    def words() -> list[str]:
        probes = [("icmp", address, 0) for address in target.addresses] + [("tcp", target.addresses[0], 80)]
        return lab.probe("x", "a", probes) + lab.probe("x", "b", probes)

    wanted = (["ok"] * len(target.addresses) + ["timeout"]) * 2
    eventually(lambda: words() == wanted, what=f"ping only; now {words()}")


def test_network_sets_admit_their_networks_and_follow_changes(lab: Lab, matrix: Matrix) -> None:
    friend = matrix.pod("y/b")
    template = """
apiVersion: projectcalico.org/v3
kind: GlobalNetworkSet
metadata: {{name: friends, labels: {{role: friends}}}}
spec: {{nets: [{nets}]}}
"""
    lab.apply(template.format(nets=", ".join(f'"{address}"' for address in friend.addresses)))
    lab.apply(
        """
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: friends-only}
spec:
  namespaceSelector: ns == "z"
  types: [Ingress]
  ingress:
    - action: Allow
      source: {selector: role == "friends"}
"""
    )
    try:
        matrix.check(lambda source, destination, protocol, port: destination.namespace != "z" or source == friend)
        lab.apply(template.format(nets=""))
        matrix.check(lambda source, destination, protocol, port: destination.namespace != "z")
    finally:
        lab.kubectl("delete", "globalnetworkpolicy", "friends-only")
        lab.kubectl("delete", "globalnetworkset", "friends")
