"""Pods reach pods, services and names, on one node and across nodes; what a pod had is gone when the pod is."""

from collections.abc import Iterator

import pytest
from lab_client import Lab, eventually, tortie
from reachability import Matrix, manifest

NAMESPACES = ("net-a", "net-b")

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def matrix(lab: Lab) -> Iterator[Matrix]:
    lab.apply(manifest(NAMESPACES))
    for namespace in NAMESPACES:
        lab.wait_for_pods(namespace)
    lab.apply(
        """
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: net-b}
spec:
  ipFamilyPolicy: PreferDualStack
  selector: {app: net-b-b}
  ports:
    - {name: tcp, port: 8080, targetPort: serve-80, protocol: TCP}
    - {name: udp, port: 8080, targetPort: 80, protocol: UDP}
"""
    )
    yield Matrix(lab, NAMESPACES)
    lab.forget_probers(*NAMESPACES)
    lab.delete_namespaces(*NAMESPACES)


def test_pods_reach_each_other_by_address_on_one_node_and_across_nodes(matrix: Matrix) -> None:
    assert {pod.node for pod in matrix.pods} == {"node-1", "node-2"}
    assert all(len(pod.addresses) == 2 for pod in matrix.pods)
    matrix.check(lambda source, destination, protocol, port: True)


def test_pods_reach_a_service_by_each_of_its_addresses(lab: Lab, matrix: Matrix) -> None:
    addresses = lab.get("service", "echo", "-n", "net-b")["spec"]["clusterIPs"]
    assert len(addresses) == 2
    probes = [(protocol, address, 8080) for address in addresses for protocol in ("tcp", "udp")]
    for namespace, pod in (("net-a", "a"), ("net-a", "b"), ("net-b", "b")):
        eventually(
            lambda namespace=namespace, pod=pod: lab.probe(namespace, pod, probes) == ["ok"] * len(probes),
            what=f"{namespace}/{pod} reaches the service",
        )


def test_pods_find_a_service_by_its_names(lab: Lab, matrix: Matrix) -> None:
    service = lab.get("service", "echo", "-n", "net-b")["spec"]["clusterIP"]
    script = (
        "import socket,sys\n"
        "for n in ('echo.net-b', 'echo.net-b.svc', 'echo.net-b.svc.cluster.local'):\n"
        "    print(socket.getaddrinfo(n, 8080, socket.AF_INET, socket.SOCK_STREAM)[0][4][0])\n"
        "with socket.create_connection(('echo.net-b', 8080), 5) as c:\n"
        "    c.sendall(b'hello\\n'); print(c.recv(6).decode().strip())\n"
    )
    result = eventually(
        lambda: lab.kubectl("exec", "-n", "net-a", "a", "--", "python3", "-c", script, check=False).stdout.split(),
        what="names resolve",
    )
    assert result == [service] * 3 + ["hello"]


def test_pods_reach_the_outside_masqueraded_and_find_it_by_name(lab: Lab, matrix: Matrix) -> None:
    script = "import urllib.request as u; print(u.urlopen('http://www.example.com/', timeout=5).read().decode())"
    output = lab.kubectl("exec", "-n", "net-a", "a", "--", "python3", "-c", script).stdout
    node = lab.get("node", "node-1")["status"]["addresses"]
    own = {entry["address"] for entry in node if entry["type"] == "InternalIP"}
    seen = output.strip().rpartition(" ")[2]
    assert seen in own, f"{output!r}; the node's addresses are {own}"


def test_every_mesh_session_is_established_and_routes_are_in_the_kernel(lab: Lab) -> None:
    for node in lab.layout.spec.node_names:
        output = tortie("lab", "node", "exec", "--name", lab.layout.spec.name, node, "--", "birdc", "show", "protocols")
        sessions = [line for line in output.stdout.splitlines() if " BGP " in line]
        assert len(sessions) >= lab.layout.spec.nodes - 1
        assert all("Established" in line for line in sessions), output.stdout
        assert "proto bird" in lab.on_node(node, "ip", "route")
        assert "proto bird" in lab.on_node(node, "ip", "-6", "route")


def test_nothing_of_a_deleted_pod_is_left(lab: Lab, matrix: Matrix) -> None:
    lab.apply(
        """
apiVersion: v1
kind: Pod
metadata: {name: brief, namespace: net-a, labels: {role: brief}}
spec:
  nodeName: node-1
  terminationGracePeriodSeconds: 0
  containers: [{name: echo, image: tortie/echo, args: ["80"]}]
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: brief, namespace: net-a}
spec:
  selector: pod == "a"
  types: [Ingress]
  ingress: [{action: Allow, source: {selector: role == "brief"}}, {action: Allow}]
"""
    )
    lab.kubectl("wait", "--for=condition=Ready", "pod/brief", "-n", "net-a", "--timeout=30s")
    pod = lab.get("pod", "brief", "-n", "net-a")
    addresses = [entry["ip"] for entry in pod["status"]["podIPs"]]
    route = lab.on_node("node-1", "ip", "route", "get", addresses[0])
    interface = route.split(" dev ")[1].split()[0]
    assert interface.startswith("cali")
    rules = lambda: lab.on_node("node-1", "nft", "list", "ruleset")  # noqa: E731 - asked again and again
    eventually(lambda: interface in rules() and addresses[0] in rules(), what="chains and set member of the pod")

    lab.kubectl("delete", "pod", "brief", "-n", "net-a")
    eventually(lambda: interface not in lab.on_node("node-1", "ip", "-o", "link"), what="the veth goes")
    eventually(lambda: interface not in rules() and addresses[0] not in rules(), what="chains and set members go")
    for family, address in zip(("-4", "-6"), addresses, strict=True):
        assert f"{address} dev" not in lab.on_node("node-1", "ip", family, "route")
    assert not [n for n in lab.on_node("node-1", "ls", "/run/calico/endpoint-status").split() if "brief" in n]

    def allocated() -> list[str]:
        blocks = lab.get("ipamblocks")["items"]
        return [str(block["spec"]["attributes"]) for block in blocks if "brief" in str(block["spec"]["attributes"])]

    eventually(lambda: not allocated(), what="the addresses return to their blocks")
    handles = [item["spec"]["handleID"] for item in lab.get("ipamhandles")["items"]]
    assert not [handle for handle in handles if pod["metadata"]["uid"] in handle]
    lab.kubectl("delete", "networkpolicies.projectcalico.org", "brief", "-n", "net-a")


def test_a_policy_that_cannot_be_accepted_says_which_field_and_what_is_allowed(lab: Lab) -> None:
    bad = {
        "selector": ("spec: {selector: 'role = web'}", ["spec.selector"]),
        "ports without protocol": (
            "spec: {ingress: [{action: Allow, destination: {ports: [80]}}]}",
            ["spec.ingress[0]", "protocol"],
        ),
        "unknown tier": ("spec: {tier: nowhere, selector: all()}", ["nowhere"]),
        "unknown action": ("spec: {ingress: [{action: Permit}]}", ["spec.ingress[0].action", "Allow"]),
    }
    for what, (spec, wanted) in bad.items():
        head = "apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata: {name: bad, namespace: default}\n"
        text = f"{head}{spec}\n"
        result = lab.kubectl("apply", "-f", "-", text=text, check=False)
        assert result.returncode == 1, f"{what} was accepted"
        for part in wanted:
            assert part in result.stderr, f"{what}: {result.stderr}"


def test_a_pool_that_overlaps_another_is_kept_but_assigns_nothing_and_says_why(lab: Lab) -> None:
    text = "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: twice}\nspec: {cidr: 10.244.128.0/20}\n"
    lab.kubectl("apply", "-f", "-", text=text)
    try:
        (pool,) = [item for item in lab.get("ippools")["items"] if item["metadata"]["name"] == "twice"]
        (condition,) = pool["status"]["conditions"]
        assert (condition["type"], condition["status"], condition["reason"]) == ("Allocatable", "False", "CIDROverlap")
        assert "default-ipv4-ippool" in condition["message"]
    finally:
        lab.kubectl("delete", "ippool", "twice")


def test_an_unknown_image_says_which_ones_are_known(lab: Lab) -> None:
    lab.kubectl("run", "strange", "--image=registry.example/not/known:1", "-n", "default")

    def message() -> str:
        events = lab.get("events", "-n", "default", "--field-selector", "involvedObject.name=strange")["items"]
        return " ".join(event["message"] for event in events)

    try:
        eventually(lambda: "catalogue" in message() and "busybox" in message(), what=f"an event; now {message()!r}")
    finally:
        lab.kubectl("delete", "pod", "strange", "-n", "default", "--grace-period=0")
