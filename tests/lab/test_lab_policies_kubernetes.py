"""The examples of the Kubernetes documentation for network policies, applied unmodified, against real connections.

Each cell is tried over TCP and UDP, IPv4 and IPv6, on the same node and across nodes, in both directions.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from lab_client import Lab, eventually
from reachability import Matrix, Pod, manifest

EXAMPLES = Path(__file__).parents[2] / "examples" / "kubernetes"
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


@pytest.fixture(autouse=True)
def no_policies_left(lab: Lab) -> Iterator[None]:
    yield
    for namespace in (*NAMESPACES, "default"):
        lab.kubectl("delete", "networkpolicies.networking.k8s.io", "--all", "-n", namespace, "--ignore-not-found")


def apply_example(lab: Lab, name: str, namespace: str) -> None:
    lab.kubectl("apply", "-n", namespace, "-f", str(EXAMPLES / f"{name}.yaml"))


def test_without_policies_every_pod_reaches_every_pod(matrix: Matrix) -> None:
    matrix.check(lambda source, destination, protocol, port: True)


def test_default_deny_ingress_isolates_the_namespace_from_all_sources(lab: Lab, matrix: Matrix) -> None:
    apply_example(lab, "default-deny-ingress", "x")
    matrix.check(lambda source, destination, protocol, port: destination.namespace != "x")


def test_allow_all_ingress_wins_over_default_deny_ingress(lab: Lab, matrix: Matrix) -> None:
    apply_example(lab, "default-deny-ingress", "x")
    matrix.check(lambda source, destination, protocol, port: destination.namespace != "x")
    apply_example(lab, "allow-all-ingress", "x")
    matrix.check(lambda source, destination, protocol, port: True)


def test_default_deny_egress_isolates_the_namespace_as_a_source(lab: Lab, matrix: Matrix) -> None:
    apply_example(lab, "default-deny-egress", "y")
    matrix.check(lambda source, destination, protocol, port: source.namespace != "y")


def test_allow_all_egress_wins_over_default_deny_egress(lab: Lab, matrix: Matrix) -> None:
    apply_example(lab, "default-deny-egress", "y")
    matrix.check(lambda source, destination, protocol, port: source.namespace != "y")
    apply_example(lab, "allow-all-egress", "y")
    matrix.check(lambda source, destination, protocol, port: True)


def test_default_deny_all_isolates_both_directions(lab: Lab, matrix: Matrix) -> None:
    apply_example(lab, "default-deny-all", "z")
    matrix.check(lambda source, destination, protocol, port: "z" not in (source.namespace, destination.namespace))


def test_egress_to_namespaces_by_label(lab: Lab, matrix: Matrix) -> None:
    lab.kubectl("label", "pod", "-n", "x", "a", "app=myapp", "--overwrite")
    lab.kubectl("label", "ns", "y", "namespace=frontend")
    apply_example(lab, "egress-namespaces", "x")
    try:
        matrix.check(lambda source, destination, protocol, port: str(source) != "x/a" or destination.namespace == "y")
        lab.kubectl("label", "ns", "z", "namespace=backend")
        matrix.check(
            lambda source, destination, protocol, port: str(source) != "x/a" or destination.namespace in ("y", "z")
        )
    finally:
        lab.kubectl("label", "ns", "y", "z", "namespace-")
        lab.kubectl("label", "pod", "-n", "x", "a", "app=x-a", "--overwrite")


def test_ingress_by_pod_and_namespace_labels_follows_label_changes(lab: Lab, matrix: Matrix) -> None:
    lab.apply(
        """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: from-labels, namespace: x}
spec:
  podSelector: {matchLabels: {pod: a}}
  ingress:
    - from:
        - namespaceSelector: {matchLabels: {ns: "y"}}
          podSelector: {matchExpressions: [{key: pod, operator: NotIn, values: [b]}]}
        - podSelector: {matchLabels: {friend: "true"}}
      ports: [{port: 80}]
"""
    )

    def expected(friends: set[str]) -> object:
        def allowed(source: Pod, destination: Pod, protocol: str, port: int) -> bool:
            if str(destination) != "x/a":
                return True
            return (str(source) == "y/a" or str(source) in friends) and (protocol, port) == ("tcp", 80)

        return allowed

    matrix.check(expected(set()))
    lab.kubectl("label", "pod", "-n", "x", "b", "friend=true")
    matrix.check(expected({"x/b"}))
    lab.kubectl("label", "pod", "-n", "x", "b", "friend-")
    matrix.check(expected(set()))


@pytest.mark.slow
def test_the_documentations_first_example_with_ip_blocks_and_exceptions(lab: Lab) -> None:
    pools = {"docs-a": "172.17.0.0/24", "docs-b": "172.17.1.0/24", "docs-c": "10.0.0.0/24"}
    for name, cidr in pools.items():
        lab.apply(
            f"apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {{name: {name}}}\n"
            f"spec: {{cidr: {cidr}, natOutgoing: true, assignmentMode: Manual}}\n"
        )
    lab.apply(
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: myproject, labels: {project: myproject}}\n---\n"
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: elsewhere}\n"
    )

    def pod(name: str, namespace: str, node: str, *, labels: str = "", pool: str = "", ports: str) -> str:
        note = f"annotations: {{cni.projectcalico.org/ipv4pools: '[\"{pool}\"]'}}," if pool else ""
        return (
            "apiVersion: v1\nkind: Pod\n"
            f"metadata: {{name: {name}, namespace: {namespace}, {note} labels: {{{labels}}}}}\n"
            f"spec: {{nodeName: {node}, terminationGracePeriodSeconds: 0, containers: "
            f"[{{name: echo, image: tortie/echo, args: [{ports}]}}]}}\n"
        )

    try:
        lab.apply(
            "---\n".join(
                [
                    pod("db", "default", "node-1", labels="role: db", ports='"6379", "6380"'),
                    pod("frontend", "default", "node-2", labels="role: frontend", ports='"80"'),
                    pod("plain", "default", "node-1", ports='"80"'),
                    pod("member", "myproject", "node-2", ports='"80"'),
                    pod("stranger", "elsewhere", "node-1", ports='"80"'),
                    pod("in-block", "elsewhere", "node-2", pool="docs-a", ports='"80"'),
                    pod("in-except", "elsewhere", "node-2", pool="docs-b", ports='"80"'),
                    pod(
                        "target",
                        "elsewhere",
                        "node-2",
                        pool="docs-c",
                        ports='"5978", "5979", "32000", "32768", "32769"',
                    ),
                ]
            )
        )
        for namespace in ("default", "myproject", "elsewhere"):
            lab.wait_for_pods(namespace)
        db = lab.get("pod", "db")["status"]["podIP"]
        target = lab.get("pod", "target", "-n", "elsewhere")["status"]["podIP"]
        lab.kubectl("apply", "-f", str(EXAMPLES / "test-network-policy.yaml"))

        def words() -> dict[str, str]:
            found = {
                name: " ".join(lab.probe(namespace, name, [("tcp", db, 6379), ("tcp", db, 6380)]))
                for namespace, name in [
                    ("default", "frontend"),
                    ("default", "plain"),
                    ("myproject", "member"),
                    ("elsewhere", "stranger"),
                    ("elsewhere", "in-block"),
                    ("elsewhere", "in-except"),
                ]
            }
            found["db"] = " ".join(lab.probe("default", "db", [("tcp", target, 5978), ("tcp", target, 5979)]))
            return found

        wanted = {
            "frontend": "ok timeout",
            "plain": "timeout timeout",
            "member": "ok timeout",
            "stranger": "timeout timeout",
            "in-block": "ok timeout",
            "in-except": "timeout timeout",
            "db": "ok timeout",
        }
        eventually(lambda: words() == wanted or None, seconds=20, what=f"{wanted}; now {words()}")

        lab.kubectl("delete", "-f", str(EXAMPLES / "test-network-policy.yaml"))
        lab.kubectl("apply", "-f", str(EXAMPLES / "multi-port-egress.yaml"))
        ports = (5978, 32000, 32768, 32769)

        def egress() -> list[str]:
            return lab.probe("default", "db", [("tcp", target, port) for port in ports])

        eventually(
            lambda: egress() == ["timeout", "ok", "ok", "timeout"], seconds=10, what=f"port range; now {egress()}"
        )
    finally:
        lab.forget_probers("default", "elsewhere", "myproject")
        lab.kubectl("delete", "pods", "--all", "-n", "default", "--ignore-not-found")
        lab.delete_namespaces("myproject", "elsewhere")
        for name in pools:
            lab.kubectl("delete", "ippool", name, "--ignore-not-found")
