"""The API server as stock kubectl sees it: Debian's 1.20 and the newest, the same script for both.

What kubectl does with logs and exec is in test_apiserver_streams.
"""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from apiserver_http import Http, pod
from tools import ApiServer, debian_kubectl, new_kubectl

Kubectl = Callable[..., subprocess.CompletedProcess[str]]

MANIFESTS = {
    "1-app.yaml": """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: NS}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: NS}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: main, image: nginx, ports: [{containerPort: 8080}]}]}
""",
    "2-policies.yaml": """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: NS}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress: [{from: [{podSelector: {matchLabels: {role: client}}}], ports: [{port: 8080, protocol: TCP}]}]
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: NS-deny}
spec: {tier: default, order: 100, selector: "app == 'web'", types: [Ingress], ingress: [{action: Deny}]}
""",
}


@pytest.fixture(params=["1.20", "newest"])
def old(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "1.20")


@pytest.fixture
def kubectl(shared_api_server: ApiServer, old: bool) -> Kubectl:
    def run(*args: str, **options: object) -> subprocess.CompletedProcess[str]:
        return shared_api_server.kubectl(*args, old=old, **options)  # type: ignore[arg-type]

    return run


@pytest.fixture
def namespace(
    shared_api_server: ApiServer, kubectl: Kubectl, old: bool, request: pytest.FixtureRequest
) -> Iterator[str]:
    digest = abs(hash(request.node.name)) % 10_000
    name = f"t{'old' if old else 'new'}-{digest}"
    kubectl("create", "namespace", name)
    yield name
    finish_namespace(shared_api_server, name)


def finish_namespace(server: ApiServer, name: str) -> None:
    """What the namespace controller does: empties the namespace and lets it go."""
    http = Http(server)
    http("DELETE", f"/api/v1/namespaces/{name}")
    for path in ("/api/v1", "/apis/apps/v1", "/apis/networking.k8s.io/v1"):
        for resource in http.ok("GET", path)["resources"]:
            if resource["namespaced"] and "deletecollection" in resource["verbs"]:
                http("DELETE", f"{path}/namespaces/{name}/{resource['name']}", query={"gracePeriodSeconds": "0"})
    left = http("GET", f"/api/v1/namespaces/{name}")
    if left.status == 200:
        tree = left.json
        tree["spec"]["finalizers"] = []
        http.ok("PUT", f"/api/v1/namespaces/{name}/finalize", tree)


@pytest.fixture
def manifests(tmp_path: Path, namespace: str) -> Path:
    for name, text in MANIFESTS.items():
        (tmp_path / name).write_text(text.replace("NS", namespace))
    return tmp_path


def test_nodes_and_pods_are_shown_wide(
    kubectl: Kubectl, namespace: str, shared_api_server: ApiServer, old: bool
) -> None:
    node = f"node-{'old' if old else 'new'}"
    status = {
        "addresses": [{"type": "InternalIP", "address": "172.30.0.11"}],
        "conditions": [{"type": "Ready", "status": "True"}],
        "nodeInfo": {"kubeletVersion": "v1.37.0", "osImage": "Debian", "kernelVersion": "6.1"},
    }
    http = Http(shared_api_server)
    http.ok("POST", "/api/v1/nodes", {"metadata": {"name": node}})
    http.ok("PATCH", f"/api/v1/nodes/{node}/status", {"status": status}, content="application/merge-patch+json")
    http.ok("POST", f"/api/v1/namespaces/{namespace}/pods", pod("p", nodeName=node))
    running = {
        "status": {
            "phase": "Running",
            "podIP": "192.168.7.9",
            "containerStatuses": [{"name": "main", "ready": True, "restartCount": 2, "state": {"running": {}}}],
        }
    }
    path = f"/api/v1/namespaces/{namespace}/pods/p/status"
    http.ok("PATCH", path, running, content="application/merge-patch+json")
    nodes = kubectl("get", "nodes", "-o", "wide").stdout
    assert node in nodes
    assert "Ready" in nodes
    assert "172.30.0.11" in nodes
    row = next(line for line in kubectl("get", "pods", "-A", "-o", "wide").stdout.splitlines() if namespace in line)
    assert row.split()[1:5] == ["p", "1/1", "Running", "2"]
    assert row.split()[6:8] == ["192.168.7.9", node]
    both = kubectl("get", "nodes,pods", "-A", "-o", "wide").stdout
    assert f"node/{node}" in both
    assert "pod/p" in both


def test_a_directory_is_applied_diffed_changed_and_deleted(kubectl: Kubectl, manifests: Path, namespace: str) -> None:
    created = kubectl("apply", "-f", str(manifests)).stdout
    assert created.count(" created") == 4
    again = kubectl("apply", "-f", str(manifests)).stdout
    assert again.count(" unchanged") == 4, again
    assert kubectl("diff", "-f", str(manifests)).stdout == ""
    text = (manifests / "1-app.yaml").read_text().replace("replicas: 2", "replicas: 5")
    (manifests / "1-app.yaml").write_text(text)
    changed = kubectl("diff", "-f", str(manifests), check=False)
    assert changed.returncode == 1
    assert "+  replicas: 5" in changed.stdout
    dry = kubectl("apply", "--dry-run=server", "-f", str(manifests)).stdout
    assert "configured (server dry run)" in dry
    assert kubectl("get", "deploy", "web", "-n", namespace, "-o", "jsonpath={.spec.replicas}").stdout == "2"
    assert "deployment.apps/web configured" in kubectl("apply", "-f", str(manifests)).stdout
    assert kubectl("get", "deploy", "web", "-n", namespace, "-o", "jsonpath={.spec.replicas}").stdout == "5"
    assert "2/5" not in kubectl("get", "deploy", "-n", namespace).stdout
    deleted = kubectl("delete", "-f", str(manifests)).stdout
    assert deleted.count(" deleted") == 4


def test_server_side_apply_reports_conflicts_and_can_force(
    kubectl: Kubectl, manifests: Path, namespace: str, old: bool
) -> None:
    file = str(manifests / "1-app.yaml")
    assert kubectl("apply", "--server-side", "-f", file).stdout.count("serverside-applied") == 2
    kubectl("scale", "deploy", "web", "-n", namespace, "--replicas=7")
    refused = kubectl("apply", "--server-side", "--field-manager=other", "-f", file, check=False)
    assert refused.returncode == 1
    assert "Apply failed with 1 conflict" in refused.stderr
    assert ".spec.replicas" in refused.stderr
    kubectl("apply", "--server-side", "--force-conflicts", "--field-manager=other", "-f", file)
    assert kubectl("get", "deploy", "web", "-n", namespace, "-o", "jsonpath={.spec.replicas}").stdout == "2"


def test_explain_networkpolicy_means_the_kubernetes_one(kubectl: Kubectl) -> None:
    text = kubectl("explain", "networkpolicy.spec").stdout
    assert "networking.k8s.io" in text
    for field in ("podSelector", "policyTypes", "ingress", "egress"):
        assert field in text
    assert "no description" not in text
    calico = kubectl("explain", "globalnetworkpolicies.spec.ingress.source").stdout
    assert "selector" in calico
    assert "namespaceSelector" in calico


def test_a_namespace_is_deleted_with_what_is_in_it(kubectl: Kubectl, shared_api_server: ApiServer, old: bool) -> None:
    name = f"short-lived-{'old' if old else 'new'}"
    kubectl("create", "ns", name)
    kubectl("create", "configmap", "a", "-n", name, "--from-literal=k=v")
    kubectl("delete", "ns", name, "--wait=false")
    assert kubectl("get", "ns", name, "-o", "jsonpath={.status.phase}").stdout == "Terminating"
    refused = kubectl("create", "configmap", "b", "-n", name, "--from-literal=k=v", check=False)
    assert "because it is being terminated" in refused.stderr
    finish_namespace(shared_api_server, name)
    assert "not found" in kubectl("get", "ns", name, check=False).stderr


def test_delete_waits_until_the_namespace_is_gone(shared_api_server: ApiServer, kubectl: Kubectl, old: bool) -> None:
    name = f"waited-for-{'old' if old else 'new'}"
    kubectl("create", "ns", name)
    program = debian_kubectl() if old else new_kubectl()
    waiting = subprocess.Popen(
        [program, f"--kubeconfig={shared_api_server.kubeconfig}", "delete", "ns", name, "--timeout=20s"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    http = Http(shared_api_server)
    wait_until(lambda: http.ok("GET", f"/api/v1/namespaces/{name}")["status"]["phase"] == "Terminating")
    finish_namespace(shared_api_server, name)
    out, _ = waiting.communicate(timeout=20)
    assert waiting.returncode == 0
    assert f'namespace "{name}" deleted' in out


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true in time"
        time.sleep(0.02)


def test_events_are_watched(shared_api_server: ApiServer, kubectl: Kubectl, namespace: str, old: bool) -> None:
    program = debian_kubectl() if old else new_kubectl()
    watching = subprocess.Popen(
        [program, f"--kubeconfig={shared_api_server.kubeconfig}", "get", "events", "-n", namespace, "-w"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        http = Http(shared_api_server)
        wait_until(lambda: _watchers(http) > 0)
        for number in range(3):
            http.ok(
                "POST",
                f"/api/v1/namespaces/{namespace}/events",
                {
                    "metadata": {"name": f"e{number}"},
                    "involvedObject": {"kind": "Pod", "name": "p", "namespace": namespace},
                    "reason": "Tested",
                    "message": f"happened {number}",
                    "type": "Normal",
                    "firstTimestamp": "2026-01-01T00:00:00Z",
                    "lastTimestamp": "2026-01-01T00:00:00Z",
                },
            )
        assert watching.stdout is not None
        lines = [watching.stdout.readline() for _ in range(4)]
    finally:
        watching.terminate()
        watching.wait()
    assert lines[0].split() == ["LAST", "SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    assert [line.split()[-2:] for line in lines[1:]] == [["happened", str(n)] for n in range(3)]


def _watchers(http: Http) -> int:
    for line in http("GET", "/metrics").data.decode().splitlines():
        if line.startswith('tortie_apiserver_watchers{collection="/events"}'):
            return int(float(line.split()[-1]))
    return 0


def test_can_i_answers_for_me_and_for_others(kubectl: Kubectl, namespace: str) -> None:
    assert kubectl("auth", "can-i", "create", "deployments").stdout.strip() == "yes"
    assert kubectl("auth", "can-i", "get", "pods", "--as=jane", "-n", namespace, check=False).stdout.strip() == "no"
    kubectl("create", "rolebinding", "jane", "--clusterrole=view", "--user=jane", "-n", namespace)
    assert kubectl("auth", "can-i", "get", "pods", "--as=jane", "-n", namespace).stdout.strip() == "yes"
    assert kubectl("auth", "can-i", "delete", "pods", "--as=jane", "-n", namespace, check=False).stdout.strip() == "no"
    assert "*.*" in kubectl("auth", "can-i", "--list").stdout


def test_tiers_and_global_policies_are_listed_together(kubectl: Kubectl, manifests: Path, namespace: str) -> None:
    kubectl("apply", "-f", str(manifests / "2-policies.yaml"))
    text = kubectl("get", "tiers,globalnetworkpolicies").stdout
    assert "tier.projectcalico.org/default" in text
    assert f"globalnetworkpolicy.projectcalico.org/{namespace}-deny" in text
    wide = kubectl("get", "tiers,globalnetworkpolicies", "-o", "wide").stdout
    assert "1000000" in wide
    kubectl("delete", "-f", str(manifests / "2-policies.yaml"))


def test_imperative_commands_work(kubectl: Kubectl, namespace: str) -> None:
    n = ("-n", namespace)
    kubectl("run", "runner", "--image=nginx", "--port=80", "--labels=app=runner", *n)
    kubectl("create", "deployment", "d", "--image=nginx", *n)
    kubectl("expose", "deployment", "d", "--port=80", *n)
    kubectl("set", "image", "deployment/d", "nginx=nginx:1.2", *n)
    kubectl("label", "pod", "runner", "colour=blue", *n)
    kubectl("annotate", "pod", "runner", "note=hello", *n)
    kubectl("create", "secret", "generic", "s", "--from-literal=password=x", *n)
    kubectl("create", "serviceaccount", "robot", *n)
    kubectl("create", "role", "reader", "--verb=get,list", "--resource=pods", *n)
    kubectl("create", "cronjob", "c", "--image=busybox", "--schedule=*/5 * * * *", *n)
    kubectl("create", "job", "j", "--image=busybox", *n)
    kubectl("patch", "deployment", "d", "-p", '{"spec":{"replicas":3}}', *n)
    assert kubectl("get", "pods", "-l", "colour=blue", "-o", "name", *n).stdout.strip() == "pod/runner"
    assert "nginx:1.2" in kubectl("get", "deploy", "d", "-o", "wide", *n).stdout
    assert kubectl("get", "secret", "s", "-o", "jsonpath={.data.password}", *n).stdout == "eA=="
    described = kubectl("describe", "pod", "runner", *n).stdout
    assert "kube-api-access-" in described
    assert "note: hello" in described
    for kind in ("deployment/d", "service/d", "networkpolicies", "job/j", "cronjob/c", "sa/robot"):
        kubectl("describe", kind, *n)
    assert kubectl("get", "all", *n).stdout.count("\n") > 5
    kubectl("delete", "pod", "runner", *n)
    kubectl("delete", "deployment,service,job,cronjob", "--all", *n)


def test_unknown_fields_are_refused_by_validation(kubectl: Kubectl, namespace: str) -> None:
    text = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "dataa": {"a": "b"}})
    refused = kubectl("create", "-f", "-", "-n", namespace, stdin=text, check=False)
    assert refused.returncode == 1
    assert "dataa" in refused.stderr


def test_api_resources_and_versions_are_listed(kubectl: Kubectl) -> None:
    resources = kubectl("api-resources").stdout
    for name in ("pods", "networkpolicies", "globalnetworkpolicies", "tiers", "customresourcedefinitions", "leases"):
        assert name in resources
    assert "projectcalico.org/v3" in kubectl("api-versions").stdout
    assert "Server Version" in kubectl("version").stdout


def test_rollout_status_follows_a_deployment(
    kubectl: Kubectl, shared_api_server: ApiServer, namespace: str, old: bool
) -> None:
    kubectl("create", "deployment", "d", "--image=nginx", "-n", namespace)
    program = debian_kubectl() if old else new_kubectl()
    waiting = subprocess.Popen(
        [program, f"--kubeconfig={shared_api_server.kubeconfig}", "rollout", "status", "deploy/d", "-n", namespace,
         "--timeout=20s"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    status = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1}
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/d/status"
    Http(shared_api_server).ok("PATCH", path, {"status": status}, content="application/merge-patch+json")
    out, _ = waiting.communicate(timeout=20)
    assert "successfully rolled out" in out
