"""What pods do by themselves on a node: environment, volumes, restarts, probes, isolation, end.

Streams (exec, logs, port-forward) are in test_kubelet_streams; the kubelet's own death in test_kubelet_survival.
"""

import base64
import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubelet_world import NODE, NODE_IP, World, pod, wait_for, world_in

pytestmark = pytest.mark.netns


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world_in(tmp_path_factory.mktemp("kl")) as world:
        yield world


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": data}


def secret(name: str, **data: str) -> dict[str, Any]:
    encoded = {key: base64.b64encode(text.encode()).decode() for key, text in data.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "default"}, "data": encoded}


def container_status(world: World, name: str) -> dict[str, Any]:
    found = world.get("pod", name)
    statuses = (found or {}).get("status", {}).get("containerStatuses", [])
    return statuses[0] if statuses else {}


def waiting_reason(world: World, name: str) -> str:
    return str(container_status(world, name).get("state", {}).get("waiting", {}).get("reason", ""))


def test_the_node_registers_with_addresses_capacity_and_a_lease(world: World) -> None:
    node = world.get("node", NODE)
    assert node is not None
    assert {"type": "InternalIP", "address": NODE_IP} in node["status"]["addresses"]
    assert node["metadata"]["labels"]["kubernetes.io/hostname"] == NODE
    assert node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"] == 10250
    assert int(node["status"]["capacity"]["pods"]) > 100
    done = world.kubectl("get", "lease", NODE, "-n", "kube-node-lease", "-o", "jsonpath={.spec.holderIdentity}")
    assert done.stdout == NODE


def test_a_pod_gets_its_addresses_from_the_plugin_chain_and_gives_them_back(world: World) -> None:
    port = {"containerPort": 80, "hostPort": 8088, "protocol": "TCP"}
    world.apply(pod("net", ["sleep", "1000"], container={"ports": [port]}))
    found = world.wait_phase("net", "Running")
    assert [entry["ip"].split(".")[0].split(":")[0] for entry in found["status"]["podIPs"]] == ["10", "fd98"]
    assert found["status"]["podIP"] == found["status"]["podIPs"][0]["ip"]
    assert found["status"]["hostIP"] == NODE_IP
    calls = [call for call in world.cni_calls() if "K8S_POD_NAME=net;" in call["args"]]
    assert [(call["command"], call["type"]) for call in calls] == [("ADD", "tt-net"), ("ADD", "tt-second")]
    assert "prevResult" not in calls[0]["config"]
    assert "runtimeConfig" not in calls[0]["config"]
    assert calls[1]["config"]["prevResult"]["ips"][0]["address"] == found["status"]["podIP"] + "/32"
    mapping = {"hostPort": 8088, "containerPort": 80, "protocol": "tcp"}
    assert calls[1]["config"]["runtimeConfig"] == {"portMappings": [mapping]}
    assert calls[0]["netns"].startswith("/run/netns/cni-")
    world.delete("net")
    ended = [call for call in world.cni_calls() if "K8S_POD_NAME=net;" in call["args"]][2:]
    assert [(call["command"], call["type"]) for call in ended] == [("DEL", "tt-second"), ("DEL", "tt-net")]
    assert all(call["config"]["prevResult"] == calls[1]["config"]["prevResult"] for call in ended)
    assert world.run_in_node("ls", "/run/netns").split() == [] or calls[0]["netns"] not in world.run_in_node(
        "ls", "/run/netns"
    )


def test_the_environment_comes_from_fields_objects_and_expansion(world: World) -> None:
    world.apply(config_map("settings", COLOR="blue", SIZE="xl"), secret("keys", TOKEN="hunter2"))
    env = [
        {"name": "PLAIN", "value": "a$(MISSING)b$$(X)"},
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
        {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "TOKEN"}}},
        {"name": "OPTIONAL", "valueFrom": {"configMapKeyRef": {"name": "nosuch", "key": "x", "optional": True}}},
        {"name": "BOTH", "value": "$(POD)-$(CM_COLOR)"},
    ]
    spec = {
        "env": env,
        "envFrom": [{"prefix": "CM_", "configMapRef": {"name": "settings"}}],
        "args": ["-c", "env; echo arg $(BOTH); sleep 1000"],
        "resources": {"limits": {"cpu": "250m"}},
    }
    world.apply(pod("env", ["sh"], container=spec))
    found = world.wait_phase("env", "Running")
    text = wait_for(lambda: (t := world.logs("env")) and "arg " in t and t, "the output")
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    assert values["PLAIN"] == "a$(MISSING)b$(X)"
    assert (values["POD"], values["APP"], values["IP"]) == ("env", "env", found["status"]["podIP"])
    assert (values["CM_COLOR"], values["CM_SIZE"], values["SECRET"]) == ("blue", "xl", "hunter2")
    assert values["CPU"] == "250"
    assert values["KUBERNETES_SERVICE_HOST"] == "10.96.0.1"
    assert "OPTIONAL" not in values
    assert "arg env-blue" in text
    assert "hunter2" not in world.run_in_node("ps", "axww"), "secrets never show in process lists"
    assert values["PATH"].startswith("/usr/local/sbin")


def test_a_missing_reference_holds_the_container_until_it_appears(world: World) -> None:
    env = [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "late", "key": "x"}}}]
    world.apply(pod("waits", ["sh", "-c", "echo X=$X; sleep 1000"], container={"env": env}))
    wait_for(lambda: waiting_reason(world, "waits") == "CreateContainerConfigError", "it waits")
    message = container_status(world, "waits")["state"]["waiting"]["message"]
    assert message == 'configmap "late" not found'
    world.apply(config_map("late", x="here"))
    world.wait_phase("waits", "Running")
    wait_for(lambda: world.logs("waits") == "X=here\n", "the value arrived")


def test_volumes_show_objects_and_follow_their_changes(world: World) -> None:
    world.apply(config_map("files", a="one", b="two"), secret("hidden", key="s3cret"))
    volumes = [
        {"name": "map", "configMap": {"name": "files"}},
        {"name": "part", "configMap": {"name": "files", "items": [{"key": "b", "path": "sub/b.txt", "mode": 0o400}]}},
        {"name": "sec", "secret": {"secretName": "hidden", "defaultMode": 0o440}},
        {"name": "scratch", "emptyDir": {}},
        {"name": "down", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
    ]
    mounts = [
        {"name": "map", "mountPath": "/config"},
        {"name": "part", "mountPath": "/part"},
        {"name": "sec", "mountPath": "/secret"},
        {"name": "scratch", "mountPath": "/scratch"},
        {"name": "down", "mountPath": "/down"},
        {"name": "map", "mountPath": "/usr/share/nginx/html/one.html", "subPath": "a"},
    ]
    spec = pod("vols", ["sleep", "1000"], container={"volumeMounts": mounts}, volumes=volumes)
    other = {"name": "other", "image": "busybox", "command": ["sleep", "1000"]}
    spec["spec"]["containers"].append({**other, "volumeMounts": [{"name": "scratch", "mountPath": "/s2"}]})
    world.apply(spec)
    world.wait_phase("vols", "Running")

    def run(*command: str, container: str = "main", check: bool = True) -> str:
        return world.kubectl("exec", "vols", "-c", container, "--", *command, check=check).stdout

    assert run("sh", "-c", "cat /config/a /config/b; ls /config") == "onetwoa\nb\n"
    assert run("stat", "-L", "-c", "%a", "/part/sub/b.txt", "/secret/key").split() == ["400", "440"]
    assert run("cat", "/secret/key") == "s3cret"
    assert run("cat", "/down/labels") == 'app="vols"'
    assert run("cat", "/usr/share/nginx/html/one.html") == "one"
    assert run("sh", "-c", "touch /config/x 2>&1; true").endswith("Read-only file system\n")
    run("sh", "-c", "echo shared > /scratch/file")
    assert run("cat", "/s2/file", container="other") == "shared\n"
    token = run("cat", "/var/run/secrets/kubernetes.io/serviceaccount/token")
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert claims["sub"] == "system:serviceaccount:default:default"
    assert claims["kubernetes.io"]["pod"]["name"] == "vols"
    assert run("cat", "/var/run/secrets/kubernetes.io/serviceaccount/namespace") == "default"
    assert "BEGIN CERTIFICATE" in run("cat", "/run/secrets/kubernetes.io/serviceaccount/ca.crt")
    world.apply(config_map("files", a="changed", c="new"))
    wait_for(lambda: run("cat", "/config/a") == "changed", "the change shows")
    assert run("ls", "/config") == "a\nc\n"


def test_a_missing_volume_object_is_an_event_and_heals(world: World) -> None:
    volumes = [{"name": "v", "configMap": {"name": "later-files"}}]
    mounts = [{"name": "v", "mountPath": "/v"}]
    world.apply(pod("mounts", ["sleep", "1000"], container={"volumeMounts": mounts}, volumes=volumes))
    event = world.wait_event("mounts", "FailedMount")
    assert 'configmap "later-files" not found' in event["message"]
    world.apply(config_map("later-files", k="v"))
    world.wait_phase("mounts", "Running")


def test_host_paths_are_read_only_and_never_show_the_machines_secrets(world: World) -> None:
    volumes = [{"name": "root", "hostPath": {"path": "/"}}]
    mounts = [{"name": "root", "mountPath": "/host"}]
    world.apply(pod("host", ["sleep", "1000"], container={"volumeMounts": mounts}, volumes=volumes))
    world.wait_phase("host", "Running")
    script = "touch /host/x; ls -A /host/root /host/home; cat /host/etc/shadow; cat /host/etc/debian_version"
    done = world.kubectl("exec", "host", "--", "sh", "-c", f"({script}) 2>&1", check=False)
    lines = done.stdout.splitlines()
    assert lines[0] == "touch: cannot touch '/host/x': Read-only file system"
    assert lines[1:4] == ["/host/home:", "", "/host/root:"]
    assert lines[4:] == ["cat: /host/etc/shadow: Permission denied", Path("/etc/debian_version").read_text().strip()]
    world.apply(pod("spy", ["true"], volumes=[{"name": "r", "hostPath": {"path": "/root"}}]))
    assert "holds secrets of the machine" in world.wait_event("spy", "FailedMount")["message"]
    world.kubectl("delete", "pod", "spy", "--force", "--grace-period=0")


def test_a_container_sees_itself_alone(world: World) -> None:
    world.apply(pod("alone", ["sleep", "1000"]))
    world.wait_phase("alone", "Running")
    script = """
    ls -A /root /home /var/lib
    echo pids $(ls /proc | grep -c '^[0-9]')
    hostname
    echo 1 > /proc/sys/vm/swappiness || echo sysctl refused
    mknod /tmp/disk b 254 0 || echo mknod refused
    mount -t tmpfs none /mnt || echo mount refused
    touch /etc/mine /usr/bin/mine /tmp/mine && echo writable
    cat /proc/kcore | head -c 10 | wc -c
    grep NoNewPrivs /proc/self/status
    """
    done = world.kubectl("exec", "alone", "--", "sh", "-c", script, check=False)
    text = done.stdout
    assert "/root:\n\n/var/lib:" in text or "/home:\n\n/root:\n\n/var/lib:" in text
    assert int(re.search(r"pids (\d+)", text)[1]) <= 6  # type: ignore[index]
    for line in ("alone", "sysctl refused", "mknod refused", "mount refused", "writable", "0", "NoNewPrivs:\t1"):
        assert line in text.splitlines(), text + done.stderr


def test_users_capabilities_and_a_read_only_root_are_as_asked(world: World) -> None:
    context = {"runAsUser": 1234, "runAsGroup": 2345, "readOnlyRootFilesystem": True}
    container = {
        "securityContext": context,
        "volumeMounts": [{"name": "w", "mountPath": "/w"}],
    }
    spec = pod(
        "user",
        [
            "sh",
            "-c",
            "id; touch /x || echo read-only; touch /w/x && echo volume ok; grep CapEff /proc/self/status; sleep 1000",
        ],
        container=container,
        volumes=[{"name": "w", "emptyDir": {}}],
        securityContext={"fsGroup": 3456},
    )
    dropped = {"capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]}}
    caps = pod(
        "caps", ["sh", "-c", "grep CapEff /proc/self/status; sleep 1000"], container={"securityContext": dropped}
    )
    world.apply(spec, caps)
    world.wait_phase("user", "Running")
    world.wait_phase("caps", "Running")
    text = wait_for(lambda: (t := world.logs("user")) and "CapEff" in t and t, "output")
    assert "uid=1234 gid=2345 groups=2345,3456" in text
    assert "read-only" in text
    assert "volume ok" in text
    assert "CapEff:\t0000000000000000" in text
    assert f"CapEff:\t{1 << 12:016x}" in wait_for(lambda: world.logs("caps"), "output")
    inside = world.kubectl("exec", "user", "--", "sh", "-c", "id -u; grep CapEff /proc/self/status").stdout
    assert inside == "1234\nCapEff:\t0000000000000000\n"
    assert f"{1 << 12:016x}" in world.kubectl("exec", "caps", "--", "grep", "CapEff", "/proc/self/status").stdout


def test_init_containers_run_one_after_another_before_the_others(world: World) -> None:
    mounts = [{"name": "w", "mountPath": "/w"}]
    init = [
        {"name": f"i{n}", "image": "busybox", "command": ["sh", "-c", f"echo {n} >> /w/order"], "volumeMounts": mounts}
        for n in (1, 2)
    ]
    world.apply(
        pod(
            "inits", ["sh", "-c", "cat /w/order; sleep 1000"],
            container={"volumeMounts": mounts}, initContainers=init, volumes=[{"name": "w", "emptyDir": {}}],
        )
    )  # fmt: skip
    found = world.wait_phase("inits", "Running")
    assert [s["state"]["terminated"]["exitCode"] for s in found["status"]["initContainerStatuses"]] == [0, 0]
    wait_for(lambda: world.logs("inits") == "1\n2\n", "the order")
    init[0]["command"] = ["sh", "-c", "exit 3"]
    bad = pod(
        "badinit",
        ["sleep", "1000"],
        initContainers=init,
        restartPolicy="Never",
        volumes=[{"name": "w", "emptyDir": {}}],
    )
    world.apply(bad)
    failed = world.wait_phase("badinit", "Failed")
    assert failed["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 3
    assert failed["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "PodInitializing"


def test_a_sidecar_runs_beside_the_others_and_ends_with_them(world: World) -> None:
    sidecar = {"name": "side", "image": "busybox", "command": ["sleep", "1000"], "restartPolicy": "Always"}
    world.apply(pod("sided", ["sh", "-c", "sleep 1"], initContainers=[sidecar], restartPolicy="Never"))
    found = world.wait_phase("sided", "Succeeded")
    wait_for(
        lambda: world.get("pod", "sided")["status"]["initContainerStatuses"][0]["state"].get("terminated"),  # type: ignore[index]
        "the sidecar has ended",
    )
    assert found["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 0


def test_a_finished_pod_keeps_its_logs_and_gives_its_address_back(world: World) -> None:
    world.apply(pod("job", ["sh", "-c", "echo result; exit 0"], restartPolicy="Never"))
    world.apply(pod("badjob", ["sh", "-c", "echo why > /dev/termination-log; exit 9"], restartPolicy="Never"))
    done = world.wait_phase("job", "Succeeded")
    assert done["status"]["containerStatuses"][0]["state"]["terminated"]["reason"] == "Completed"
    failed = world.wait_phase("badjob", "Failed")
    terminated = failed["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (terminated["exitCode"], terminated["reason"], terminated["message"]) == (9, "Error", "why\n")
    wait_for(
        lambda: any(c["command"] == "DEL" and "K8S_POD_NAME=job;" in c["args"] for c in world.cni_calls()), "CNI DEL"
    )
    assert world.logs("job") == "result\n"
    world.delete("job", "badjob")


def test_a_crashing_container_restarts_with_back_off_and_keeps_its_previous_log(world: World) -> None:
    world.apply(pod("crash", ["sh", "-c", "echo attempt $$ $RANDOM; sleep 0.3; exit 4"]))
    wait_for(lambda: waiting_reason(world, "crash") == "CrashLoopBackOff", "it backs off")
    found = world.get("pod", "crash")
    assert found is not None
    assert found["status"]["phase"] == "Running"
    status = container_status(world, "crash")
    assert status["restartCount"] >= 1
    assert status["lastState"]["terminated"]["exitCode"] == 4
    assert status["ready"] is False
    assert "back-off 10s restarting failed container=main" in status["state"]["waiting"]["message"]
    assert "attempt" in world.logs("crash", "--previous")
    assert "Back-off restarting failed container main" in world.wait_event("crash", "BackOff")["message"]
    world.delete("crash")


def test_an_unknown_image_says_which_are_known(world: World) -> None:
    world.apply(pod("noimage", image="registry.example/acme/teapot:v2"), pod("badimage", image="Not An Image"))
    wait_for(lambda: waiting_reason(world, "noimage") in ("ErrImagePull", "ImagePullBackOff"), "it cannot be pulled")
    message = next(e["message"] for e in world.events("noimage") if "Failed to pull" in e["message"])
    for name in ("registry.example/acme/teapot:v2", "busybox", "nginx", "tortie/client"):
        assert name in message
    wait_for(lambda: waiting_reason(world, "noimage") == "ImagePullBackOff", "it backs off")
    wait_for(lambda: waiting_reason(world, "badimage") == "InvalidImageName", "the other is no reference")
    world.delete("noimage", "badimage")


def test_a_command_that_does_not_exist_is_a_start_error(world: World) -> None:
    world.apply(pod("nocmd", ["no-such-thing"], restartPolicy="Never"))
    failed = world.wait_phase("nocmd", "Failed")
    terminated = failed["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (terminated["reason"], terminated["exitCode"]) == ("StartError", 128)
    assert 'exec: "no-such-thing": executable file not found in $PATH' in terminated["message"]


def test_readiness_follows_the_probe(world: World) -> None:
    probe = {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1, "failureThreshold": 1}
    world.apply(pod("ready", ["sleep", "1000"], container={"readinessProbe": probe}))
    world.wait_phase("ready", "Running")

    def ready() -> str:
        path = "{.status.conditions[?(@.type=='Ready')].status}"
        return world.kubectl("get", "pod", "ready", "-o", f"jsonpath={path}").stdout

    assert ready() == "False"
    world.kubectl("exec", "ready", "--", "touch", "/tmp/ready")
    wait_for(lambda: ready() == "True", "it is ready")
    world.kubectl("exec", "ready", "--", "rm", "/tmp/ready")
    wait_for(lambda: ready() == "False", "it is not ready any more")
    assert "Readiness probe failed" in world.wait_event("ready", "Unhealthy")["message"]


def test_a_failed_liveness_probe_restarts_the_container(world: World) -> None:
    probe = {"httpGet": {"path": "/healthz", "port": "web"}, "periodSeconds": 1, "failureThreshold": 2}
    container = {
        "args": ["netexec", "--http-port=8080"],
        "ports": [{"name": "web", "containerPort": 8080}],
        "livenessProbe": {**probe, "initialDelaySeconds": 1},
        "startupProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1, "failureThreshold": 10},
    }
    world.apply(pod("live", image="registry.k8s.io/e2e-test-images/agnhost:2.47", container=container))
    wait_for(lambda: container_status(world, "live").get("started"), "it has started")
    address = world.get("pod", "live")["status"]["podIP"]  # type: ignore[index]
    world.run_in_node("curl", "-s", f"http://{address}:8080/clientip")
    assert container_status(world, "live")["restartCount"] == 0
    # The program is stopped in its tracks: it neither answers nor ends.
    world.kubectl("exec", "live", "--", "sh", "-c", "kill -STOP 3 2>/dev/null; kill -STOP 2", check=False)
    wait_for(lambda: container_status(world, "live").get("restartCount", 0) == 1, "it was restarted", 30)
    assert "failed liveness probe, will be restarted" in world.wait_event("live", "Killing")["message"]
    world.delete("live")


def test_a_pod_ends_politely_after_its_hook(world: World) -> None:
    script = "trap 'echo got TERM; exit 0' TERM; while :; do sleep 0.1; done"
    hook = {"preStop": {"exec": {"command": ["sh", "-c", "echo hook > /proc/1/fd/1 2>/dev/null; sleep 0.5"]}}}
    world.apply(pod("polite", ["sh", "-c", script], container={"lifecycle": hook}))
    world.wait_phase("polite", "Running")
    uid = world.get("pod", "polite")["metadata"]["uid"]  # type: ignore[index]
    log = world.root_dir / "pods" / uid / "containers" / "main" / "0.log"
    seen: list[str] = []

    def follow() -> None:
        seen.append(world.kubectl("logs", "-f", "polite", check=False).stdout)

    thread = threading.Thread(target=follow)
    thread.start()
    time.sleep(0.3)
    started = time.monotonic()
    world.delete("polite")
    assert 0.5 < time.monotonic() - started < 3
    thread.join(10)
    assert "got TERM" in seen[0]
    wait_for(lambda: not log.exists(), "its files are gone")


def test_a_pod_that_does_not_listen_is_killed_after_its_grace_period(world: World) -> None:
    world.apply(pod("deaf", ["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"], terminationGracePeriodSeconds=1))
    world.wait_phase("deaf", "Running")
    started = time.monotonic()
    world.delete("deaf")
    assert 0.9 < time.monotonic() - started < 4


def test_force_deletion_takes_everything_away(world: World) -> None:
    world.apply(pod("forced", ["sh", "-c", "trap '' TERM; sleep 5000; sleep 5001"]))
    world.wait_phase("forced", "Running")
    world.kubectl("delete", "pod", "forced", "--force", "--grace-period=0")
    wait_for(lambda: "sleep 5000" not in world.run_in_node("ps", "axwwo", "args"), "the process is gone")
    wait_for(
        lambda: any(c["command"] == "DEL" and "K8S_POD_NAME=forced;" in c["args"] for c in world.cni_calls()), "CNI DEL"
    )


def test_a_failing_network_is_reported_and_tried_again(world: World) -> None:
    marker = world.cni / "state" / "fail-ADD"
    marker.touch()
    try:
        world.apply(pod("unlucky", ["sleep", "1000"]))
        event = world.wait_event("unlucky", "FailedCreatePodSandBox")
        assert 'plugin type="tt-net" failed (add): made to fail' in event["message"]
        assert waiting_reason(world, "unlucky") == "ContainerCreating"
    finally:
        marker.unlink()
    world.wait_phase("unlucky", "Running")
    calls = [c for c in world.cni_calls() if "K8S_POD_NAME=unlucky;" in c["args"]]
    ids = {c["id"] for c in calls if c["command"] == "ADD"}
    assert len(ids) >= 2, "each try is a sandbox of its own"
    assert {c["id"] for c in calls if c["command"] == "DEL"} >= ids - {calls[-1]["id"]}


def test_a_pod_on_the_hosts_network_shares_the_nodes_address(world: World) -> None:
    world.apply(pod("hostnet", ["sh", "-c", "hostname; ip -4 -o a; sleep 1000"], hostNetwork=True))
    found = world.wait_phase("hostnet", "Running")
    assert found["status"]["podIP"] == NODE_IP
    assert NODE_IP in wait_for(lambda: world.logs("hostnet"), "output")
    assert not any("K8S_POD_NAME=hostnet;" in call["args"] for call in world.cni_calls())


def test_a_changed_image_restarts_its_container(world: World) -> None:
    world.apply(pod("upgraded", ["sleep", "1000"], image="busybox:1"))
    world.wait_phase("upgraded", "Running")
    world.kubectl("set", "image", "pod/upgraded", "main=debian:12")
    wait_for(lambda: container_status(world, "upgraded").get("restartCount") == 1, "it was restarted")
    assert "definition changed" in world.wait_event("upgraded", "Killing")["message"]
    assert container_status(world, "upgraded")["image"] == "debian:12"


def test_an_active_deadline_ends_the_pod(world: World) -> None:
    world.apply(pod("deadline", ["sleep", "1000"], activeDeadlineSeconds=1, restartPolicy="Never"))
    failed = world.wait_phase("deadline", "Failed")
    assert failed["status"]["reason"] == "DeadlineExceeded"


def test_many_pods_start_together_quickly(world: World) -> None:
    names = [f"many-{n}" for n in range(20)]
    started = time.monotonic()
    world.apply(*(pod(name, image="pause") for name in names))
    wait_for(
        lambda: (
            world.kubectl(
                "get", "pods", "-o", "jsonpath={.items[*].metadata.name} ", "--field-selector=status.phase=Running"
            ).stdout.count("many-")
            == 20
        ),
        "all run",
        40,
    )
    assert time.monotonic() - started < 20
    world.delete(*names)
