"""The kubelet's pure parts: status, environment, resolver and hosts files, CNI configuration, logs, images."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from tortie.lab.images import catalog
from tortie.lab.kubelet import api, cni, environment, logs, rootfs, sandbox, status
from tortie.lab.kubelet.environment import MissingReference, PodFacts, References
from tortie.lab.kubelet.shim import log as shim_log


def make_pod(**spec: Any) -> api.Pod:
    document = {
        "metadata": {"name": "web-0", "namespace": "shop", "uid": "u1", "generation": 3, "labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "busybox"}], **spec},
    }
    return msgspec.convert(document, type=api.Pod)


def running(name: str = "c", *, ready: bool = True) -> api.ContainerStatus:
    return api.ContainerStatus(
        name=name, state=api.ContainerState(running=api.RunningState()), ready=ready, started=True
    )


def ended(code: int, name: str = "c") -> api.ContainerStatus:
    return api.ContainerStatus(name=name, state=api.ContainerState(terminated=api.TerminatedState(exit_code=code)))


def waiting(reason: str, name: str = "c", *, last: int | None = None) -> api.ContainerStatus:
    before = api.TerminatedState(exit_code=last) if last is not None else None
    return api.ContainerStatus(
        name=name,
        state=api.ContainerState(waiting=api.WaitingState(reason=reason)),
        last_state=api.ContainerState(terminated=before),
    )


@pytest.mark.parametrize(
    ("policy", "statuses", "phase"),
    [
        ("Always", [waiting("ContainerCreating")], "Pending"),
        ("Always", [running()], "Running"),
        ("Always", [ended(0)], "Running"),
        ("Always", [waiting("CrashLoopBackOff", last=1)], "Running"),
        ("OnFailure", [ended(0)], "Succeeded"),
        ("OnFailure", [ended(2)], "Running"),
        ("OnFailure", [waiting("CrashLoopBackOff", last=2)], "Running"),
        ("Never", [ended(0)], "Succeeded"),
        ("Never", [ended(1)], "Failed"),
        ("Always", [], "Pending"),
    ],
)
def test_the_phase_follows_the_containers(policy: str, statuses: list[api.ContainerStatus], phase: str) -> None:
    assert status.phase(make_pod(restartPolicy=policy).spec, [], statuses) == phase


def test_conditions_of_others_stay_and_times_change_only_with_the_status() -> None:
    old = (
        api.PodCondition(type="PodScheduled", status="True", last_transition_time="t0"),
        api.PodCondition(type="Ready", status="True", last_transition_time="t1"),
    )
    pod = msgspec.structs.replace(make_pod(), status=api.PodStatus(conditions=old))
    situation = status.Situation(start_time="t0", host_ips=["10.0.0.1"], pod_ips=["10.1.0.1"], sandbox=True)
    built = status.build(pod, [], [running()], situation, now="t2")
    found = {condition.type: condition for condition in built.conditions}
    assert found["PodScheduled"] == old[0]
    assert found["Ready"].last_transition_time == "t1"
    assert found["ContainersReady"].last_transition_time == "t2"
    assert built.observed_generation == 3
    unready = status.build(pod, [], [running(ready=False)], situation, now="t3")
    ready = next(condition for condition in unready.conditions if condition.type == "Ready")
    assert (ready.status, ready.reason, ready.last_transition_time) == ("False", "ContainersNotReady", "t3")
    assert ready.message == "containers with unready status: [c]"


def test_a_closed_readiness_gate_keeps_the_pod_unready() -> None:
    pod = make_pod(readinessGates=[{"conditionType": "example.com/gate"}])
    situation = status.Situation(start_time="t", host_ips=[], pod_ips=[], sandbox=True, gates={})
    built = status.build(pod, [], [running()], situation, now="t")
    states = {condition.type: condition.status for condition in built.conditions}
    assert (states["ContainersReady"], states["Ready"]) == ("True", "False")


def test_a_patch_holds_what_changed_and_null_for_what_went() -> None:
    old = api.PodStatus(phase="Running", pod_ip="10.0.0.1", reason="Old")
    assert status.patch(old, api.PodStatus(phase="Failed", pod_ip="10.0.0.1")) == {"phase": "Failed", "reason": None}
    assert status.patch(old, old) == {}


@pytest.mark.parametrize(
    ("resources", "qos"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
        ({"limits": {"cpu": "1000m", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1024Mi"}}, "Guaranteed"),
        ({"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "1"}}, "Burstable"),
    ],
)
def test_the_quality_of_service_class(resources: dict[str, Any], qos: str) -> None:
    assert status.qos_class(make_pod(containers=[{"name": "c", "resources": resources}]).spec) == qos


@pytest.mark.parametrize(
    ("text", "expanded"),
    [("$(A)", "1"), ("$$(A)", "$(A)"), ("$(B)", "$(B)"), ("x$(A)y$(A)", "x1y1"), ("$A $", "$A $"), ("$$$(A)", "$1")],
)
def test_references_in_text(text: str, expanded: str) -> None:
    assert environment.expand(text, {"A": "1"}) == expanded


def test_service_variables_have_the_names_that_programs_expect() -> None:
    service = api.Service(
        metadata=api.ObjectMeta(name="redis-master"),
        spec=api.ServiceSpec(cluster_ip="10.0.0.11", ports=(api.ServicePort(name="db", port=6379),)),
    )
    values = environment.service_variables([service, api.Service(spec=api.ServiceSpec(cluster_ip="None"))])
    assert values["REDIS_MASTER_SERVICE_HOST"] == "10.0.0.11"
    assert values["REDIS_MASTER_SERVICE_PORT_DB"] == "6379"
    assert values["REDIS_MASTER_PORT_6379_TCP"] == "tcp://10.0.0.11:6379"
    assert values["REDIS_MASTER_PORT_6379_TCP_ADDR"] == "10.0.0.11"


def test_command_and_arguments_combine_with_the_images() -> None:
    image = catalog.Image(names=("x",), about="", entrypoint=("/in",), command=("a", "b"))

    def line(**container: Any) -> list[str]:
        spec = msgspec.convert({"name": "c", **container}, type=api.Container)
        return environment.command_line(spec, image, {"V": "v"})

    assert line() == ["/in", "a", "b"]
    assert line(args=["$(V)"]) == ["/in", "v"]
    assert line(command=["cmd"]) == ["cmd"]
    assert line(command=["cmd"], args=["z"]) == ["cmd", "z"]


def test_a_missing_key_is_named() -> None:
    ref = {"name": "X", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
    pod = make_pod(containers=[{"name": "c", "image": "busybox", "env": [ref]}])
    arguments: dict[str, Any] = {"hostname": "h", "services": [], "facts": PodFacts()}
    image = catalog.resolve("busybox")
    with pytest.raises(MissingReference, match='secret "s" not found'):
        environment.build(pod, pod.spec.containers[0], image, refs=References(secrets={"s": None}), **arguments)
    with pytest.raises(MissingReference, match="couldn't find key k in Secret shop/s"):
        environment.build(pod, pod.spec.containers[0], image, refs=References(secrets={"s": api.Secret()}), **arguments)


@pytest.mark.parametrize(
    ("text", "value"),
    [("500m", 0.5), ("2", 2.0), ("64Mi", 64 * 2**20), ("1e3", 1000.0), ("1k", 1000.0), ("1.5Gi", 1.5 * 2**30)],
)
def test_quantities(text: str, value: float) -> None:
    assert environment.quantity(text) == value


def test_resolver_files_follow_the_dns_policy() -> None:
    settings = sandbox.DNSSettings(cluster=["10.96.0.10", "fd00::a"])
    host = "nameserver 9.9.9.9\nsearch example.org\n"
    clustered = sandbox.resolv_conf(make_pod(), settings, host)
    assert clustered == (
        "search shop.svc.cluster.local svc.cluster.local cluster.local\n"
        "nameserver 10.96.0.10\nnameserver fd00::a\noptions ndots:5\n"
    )
    assert (
        sandbox.resolv_conf(make_pod(dnsPolicy="Default"), settings, host) == "search example.org\nnameserver 9.9.9.9\n"
    )
    assert "9.9.9.9" in sandbox.resolv_conf(make_pod(hostNetwork=True), settings, host)
    own = {
        "nameservers": ["1.1.1.1"],
        "searches": ["a.b"],
        "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
    }
    assert sandbox.resolv_conf(make_pod(dnsPolicy="None", dnsConfig=own), settings, host) == (
        "search a.b\nnameserver 1.1.1.1\noptions ndots:2 edns0\n"
    )
    assert "options ndots:2 edns0" in sandbox.resolv_conf(make_pod(dnsConfig=own), settings, host)


def test_the_hosts_file_names_the_pod_and_its_aliases() -> None:
    pod = make_pod(subdomain="web", hostname="zero", hostAliases=[{"ip": "1.2.3.4", "hostnames": ["foo", "bar"]}])
    text = sandbox.hosts_file(pod, ["10.1.2.3"])
    assert "10.1.2.3\tzero.web.shop.svc.cluster.local\tzero\n" in text
    assert "1.2.3.4\tfoo\tbar\n" in text


def test_cni_configurations_are_taken_in_order_of_name_and_broken_ones_passed_over(tmp_path: Path) -> None:
    assert cni.find(tmp_path / "nowhere") is None
    (tmp_path / "00-broken.conflist").write_text("{")
    (tmp_path / "20-late.conflist").write_text('{"cniVersion":"1.0.0","name":"late","plugins":[{"type":"x"}]}')
    (tmp_path / "10-single.conf").write_text('{"cniVersion":"0.3.1","name":"single","type":"y"}')
    (tmp_path / "README.txt").write_text("no")
    found = cni.find(tmp_path)
    assert found is not None
    assert (found.name, found.version, [p["type"] for p in found.plugins]) == ("single", "0.3.1", ["y"])


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[]", "top level must be an object"),
        ('{"plugins":[{"type":"x"}]}', "`name` is missing"),
        ('{"name":"n","plugins":[]}', "`plugins` must list"),
        ('{"name":"n","plugins":[{}]}', r"plugins\[0\].type is missing"),
        ('{"name":"n","plugins":[{"type":"../x"}]}', "without `/`"),
        ('{"name":"n","cniVersion":"9.0.0","plugins":[{"type":"x"}]}', "none of the versions"),
    ],
)
def test_a_bad_cni_configuration_is_explained(text: str, complaint: str) -> None:
    with pytest.raises(cni.CNIError, match=complaint):
        cni.parse(text.encode(), path="/etc/cni/net.d/x")


def test_the_best_common_cni_version_is_used() -> None:
    text = b'{"name":"n","cniVersion":"0.4.0","cniVersions":["0.4.0","1.0.0","1.1.0"],"plugins":[{"type":"x"}]}'
    assert cni.parse(text, path="x").version == "1.1.0"


async def test_a_plugin_that_is_missing_or_fails_is_named(tmp_path: Path) -> None:
    runner = cni.Runner(bin_dirs=[tmp_path / "bin"], cache=tmp_path / "cache")
    network = cni.parse(b'{"name":"n","cniVersion":"1.0.0","plugins":[{"type":"absent"}]}', path="x")
    attachment = cni.Attachment(container_id="c1", netns="/x", namespace="ns", pod="p", uid="u")
    with pytest.raises(cni.CNIError, match="'absent' is not an executable in"):
        await runner.add(network, attachment)
    (tmp_path / "bin").mkdir()
    plugin = tmp_path / "bin" / "absent"
    plugin.write_text("#!/bin/sh\ncat >/dev/null; echo something bad >&2; exit 3\n")
    plugin.chmod(0o755)
    with pytest.raises(cni.CNIError, match="ADD ended with status 3: something bad"):
        await runner.add(network, attachment)
    plugin.write_text('#!/bin/sh\ncat >/dev/null; echo \'{"code":11,"msg":"later","details":"busy"}\'; exit 1\n')
    with pytest.raises(cni.CNIError, match="later: busy") as caught:
        await runner.add(network, attachment)
    assert caught.value.code == 11
    assert [found.container_id for found in runner.cached_attachments()] == ["c1"], "a failed ADD still needs its DEL"
    plugin.write_text("#!/bin/sh\ncat >/dev/null\n")
    await runner.delete(network, attachment)
    assert runner.cached_attachments() == []


def write_log(path: Path, lines: list[str]) -> None:
    path.write_text("".join(f"2024-01-01T00:00:0{n % 10}.000000000Z stdout F {text}\n" for n, text in enumerate(lines)))


async def read_log(path: Path, **options: Any) -> str:
    chunks = [chunk async for chunk in logs.read(path, logs.Options(**options), lambda: False)]
    return b"".join(chunks).decode()


async def test_logs_are_cut_at_tail_since_and_limit(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    write_log(path, [f"line {n}" for n in range(10)])
    assert await read_log(path) == "".join(f"line {n}\n" for n in range(10))
    assert await read_log(path, tail=2) == "line 8\nline 9\n"
    assert await read_log(path, tail=0) == ""
    assert await read_log(path, tail=100) == await read_log(path)
    assert await read_log(path, since="2024-01-01T00:00:08Z") == "line 8\nline 9\n"
    assert await read_log(path, limit=9) == "line 0\nli"
    assert (await read_log(path, timestamps=True, tail=1)).startswith("2024-01-01T00:00:09.000000000Z line 9")


async def test_logs_continue_over_a_rotation_and_join_long_lines(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    write_log(tmp_path / "0.log.1", ["old 1", "old 2"])
    path.write_text(
        "2024-01-01T00:00:00Z stdout P long \n2024-01-01T00:00:00Z stdout F line\n2024-01-01T00:00:00Z stderr F err\n"
    )
    assert await read_log(path) == "old 1\nold 2\nlong line\nerr\n"
    assert await read_log(path, tail=4) == "old 2\nlong line\nerr\n"
    assert await read_log(path, stream="stderr") == "err\n"


async def test_a_log_is_rotated_and_what_is_followed_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shim_log, "LOG_LIMIT", 500)
    path = tmp_path / "0.log"
    log = shim_log.Log(str(path))
    written = 0
    got = b""

    def running() -> bool:
        """The container writes while its log is being read."""
        nonlocal written
        if written < 40:
            log.write("stdout", f"line {written}\n".encode())
            written += 1
        return written < 40

    async for chunk in logs.read(path, logs.Options(follow=True), running):
        got += chunk
    assert path.with_name("0.log.1").exists()
    numbers = [int(line.split()[1]) for line in got.decode().splitlines()]
    assert numbers == list(range(40))


def test_partial_and_overlong_lines_are_kept_whole(tmp_path: Path) -> None:
    log = shim_log.Log(str(tmp_path / "0.log"))
    log.write("stdout", b"no end")
    log.write("stderr", b"other\n")
    log.write("stdout", b" yet\n" + b"x" * 20000 + b"\n" + b"tail")
    log.finish()
    rows = [line.split(" ", 3)[1:] for line in (tmp_path / "0.log").read_text().splitlines()]
    assert rows[0] == ["stderr", "F", "other"]
    assert rows[1] == ["stdout", "F", "no end yet"]
    assert [(row[1], len(row[2])) for row in rows[2:4]] == [("P", 16384), ("F", 20000 - 16384)]
    assert rows[4] == ["stdout", "F", "tail"]


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("nginx", "nginx"),
        ("nginx:1.25-alpine", "nginx"),
        ("docker.io/library/nginx@sha256:abc", "nginx"),
        ("registry.k8s.io/e2e-test-images/agnhost:2.47", "agnhost"),
        ("localhost:5000/library/busybox:1", "busybox"),
        ("python:3.12-slim", "python"),
        ("curlimages/curl", "curl"),
        ("mirror.example:443/team/nginx:1", "nginx"),
        ("tortie/shop-cart:v1", "tortie/shop-cart"),
    ],
)
def test_references_lead_to_images_whatever_registry_and_tag(reference: str, name: str) -> None:
    assert catalog.resolve(reference).names[0] == name


def test_unknown_and_malformed_references_are_told_apart() -> None:
    with pytest.raises(catalog.UnknownImageError, match=r"known: .*busybox.*tortie/echo") as caught:
        catalog.resolve("acme/app:v1")
    assert len(str(caught.value)) < 900, "it has to fit into an event"
    for bad in ("", "UPPER", "a b", "x:bad tag"):
        with pytest.raises(catalog.InvalidReferenceError):
            catalog.resolve(bad)


def test_capabilities_are_what_the_pod_asks_for_within_limits() -> None:
    def names(trusted: bool = False, **context: Any) -> set[str]:
        return set(rootfs.capabilities_of(msgspec.convert(context, type=api.SecurityContext), trusted=trusted))

    assert names() == set(rootfs.DEFAULT_CAPABILITIES)
    assert names(capabilities={"drop": ["ALL"]}) == set()
    assert names(capabilities={"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}) == {"NET_BIND_SERVICE"}
    assert "SYS_ADMIN" not in names(capabilities={"add": ["SYS_ADMIN"]})
    assert "NET_ADMIN" in names(privileged=True)
    assert "SYS_ADMIN" not in names(privileged=True)
    assert "SYS_ADMIN" in names(trusted=True, privileged=True)
    assert "SYS_MODULE" not in names(trusted=True, privileged=True)


def test_secrets_reach_bubblewrap_without_showing_in_its_command_line() -> None:
    isolation = rootfs.Isolation(
        root="/r", usr="/u", usr_writable=True, netns="/run/netns/x", hostname="h", environment={"T": "hunter2"},
        mounts=[], hidden=[], working_dir="", user=rootfs.User(), capabilities=(),
    )  # fmt: skip
    assert "hunter2" not in " ".join(rootfs.start_command(isolation, ["run"]))
    assert "hunter2" in rootfs.bwrap_arguments(isolation)
