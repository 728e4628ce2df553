"""The product as its users feel it, in a three-node lab with 150 pods.

Measures: from the API server's answer to the first packet judged, for a policy and for a label change; CNI ADD as
kubelet sees it; throughput with 100 policies on a pod against no table at all; memory of everything on one node. In:
nothing; it makes a lab called `bench` and removes it. Out: one JSON object a line.
"""

import asyncio
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests" / "lab"))

from lab_client import Lab, open_lab, tortie  # noqa: E402 - after the path is known

from tortie.kube import config as kube_config  # noqa: E402
from tortie.kube.client import Client  # noqa: E402
from tortie.lab import machines  # noqa: E402
from tortie.model import catalog  # noqa: E402

NAME = "bench"
PODS = 150
ROUNDS = 100
SPACING = 0.25
ATTACHMENTS = 60
_REPAIRERS = ("/etc/service/enabled/felix", "/etc/lab/services/proxy")


def emit(name: str, value: float, unit: str, scale: str, **more: Any) -> None:
    print(json.dumps({"name": name, "value": round(value, 3), "unit": unit, "scale": scale, **more}), flush=True)


def main() -> None:
    tortie("lab", "down", "--name", NAME, "--quiet")
    started = time.monotonic()
    tortie("lab", "up", "--name", NAME, "--no-demo", "--quiet", "--api-port", "26443")
    emit("lab up to ready", time.monotonic() - started, "s", "3 nodes, no demo, warm install")
    try:
        lab = open_lab(NAME, str(Path(sys.executable).with_name("kubectl")))
        _deploy(lab)
        asyncio.run(_attach(lab))
        asyncio.run(_latency(lab))
        _memory(lab)
        _throughput(lab)
    finally:
        tortie("lab", "down", "--name", NAME, "--quiet")


def _deploy(lab: Lab) -> None:
    started = time.monotonic()
    documents = ["apiVersion: v1\nkind: Namespace\nmetadata: {name: load}\n"]
    documents.append(
        f"""apiVersion: apps/v1
kind: Deployment
metadata: {{name: idle, namespace: load}}
spec:
  replicas: {PODS - 3}
  selector: {{matchLabels: {{app: idle}}}}
  template:
    metadata: {{labels: {{app: idle}}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{{name: idle, image: pause}}]
"""
    )
    for name, node in (("client", "node-1"), ("server", "node-2"), ("near", "node-1")):
        documents.append(
            f"""apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: load, labels: {{app: {name}}}}}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 0
  containers: [{{name: echo, image: tortie/echo, args: ["80"]}}]
"""
        )
    lab.apply("---\n".join(documents))
    lab.kubectl("rollout", "status", "deploy/idle", "-n", "load", "--timeout=180s", timeout=200)
    lab.wait_for_pods("load", seconds=120)
    emit("150 pods applied to ready", time.monotonic() - started, "s", f"{PODS} pods, 3 nodes")


def _attach_times(lab: Lab, namespace: str) -> list[float]:
    """Milliseconds from kubelet's start of the plugin to its result, for each pod of a namespace, sorted."""
    times = []
    for node in lab.layout.spec.node_names:
        for line in lab.on_node(node, "/bin/sh", "-c", "cat /var/log/lab/kubelet/*").splitlines():
            if '"network attached"' in line and f'"{namespace}/' in line:
                times.append(float(json.loads(line[line.index("{") :])["milliseconds"]))
    return sorted(times)


async def _attach(lab: Lab) -> None:
    """CNI ADD as kubelet sees it, process start included: all pods at once, then one after another."""
    _percentiles("CNI ADD as kubelet sees it, all pods at once", _attach_times(lab, "load"), f"{PODS} pods, 3 nodes")
    lab.kubectl("create", "namespace", "churn")
    async with Client(kube_config.load(str(lab.layout.kubeconfig))) as client:
        for number in range(ATTACHMENTS):
            body = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": f"churn-{number}", "namespace": "churn"},
                "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "idle", "image": "pause"}]},
            }
            await client.create(catalog.PODS.untyped(), body, "churn")
            while (await client.get(catalog.PODS, f"churn-{number}", "churn")).status.phase != "Running":
                await asyncio.sleep(0.02)
    times = _attach_times(lab, "churn")
    _percentiles("CNI ADD as kubelet sees it, one after another", times, f"{len(times)} pods beside {PODS}, 3 nodes")
    lab.kubectl("delete", "namespace", "churn")


def _percentiles(name: str, values: list[float], scale: str) -> None:
    """values: sorted, milliseconds."""
    emit(f"{name}, p50", statistics.median(values), "ms", scale)
    emit(f"{name}, p99", values[math.ceil(len(values) * 0.99) - 1], "ms", scale, max=round(values[-1], 3))


async def _latency(lab: Lab) -> None:
    server = lab.get("pod", "server", "-n", "load")["status"]["podIP"]
    async with Client(kube_config.load(str(lab.layout.kubeconfig))) as client:

        async def policy(allow: bool) -> None:
            action = "Allow" if allow else "Deny"
            spec = {
                "selector": "app == 'server'",
                "types": ["Ingress"],
                "ingress": [{"action": action, "source": {"selector": "app == 'client'"}}],
            }
            await client.patch(
                catalog.NETWORK_POLICIES.untyped(),
                "toggle",
                {
                    "apiVersion": "projectcalico.org/v3",
                    "kind": "NetworkPolicy",
                    "metadata": {"name": "toggle", "namespace": "load"},
                    "spec": spec,
                },
                namespace="load",
                patch_type="apply",
                field_manager="bench",
                force=True,
            )

        await policy(True)
        await asyncio.sleep(1)
        await _toggle(lab, server, policy, "policy change, API answer to first packet judged")

        async def label(allow: bool) -> None:
            await client.patch(
                catalog.PODS.untyped(),
                "client",
                {"metadata": {"labels": {"app": "client" if allow else "other"}}},
                namespace="load",
            )

        await policy(True)
        await asyncio.sleep(1)
        await _toggle(lab, server, label, "label change, API answer to first packet judged")
        await label(True)
        await client.delete(catalog.NETWORK_POLICIES, "toggle", "load")


async def _toggle(lab: Lab, server: str, change: Callable[[bool], Awaitable[None]], name: str) -> None:
    """Switches between allow and deny while a stream of new connections runs; finds when each switch took hold."""
    node, path = lab.namespace_of_pod("load", "client")
    for each in lab.layout.spec.node_names:
        # What an earlier stream left would count as established.
        lab.on_node(each, "conntrack", "-F", check=False)
    duration = ROUNDS * SPACING + 3
    inner = ["nsenter", f"--net={path}", "--", "/usr/bin/python3", "-I", "-S", str(HERE / "lab_stream.py")]
    process = await asyncio.create_subprocess_exec(
        *machines.enter_command(lab.layout, node, [*inner, server, "80", str(duration)]),
        stdout=asyncio.subprocess.PIPE,
        limit=64 << 20,
    )
    assert process.stdout is not None
    await process.stdout.readline()
    await asyncio.sleep(1)
    switches: list[tuple[float, bool]] = []
    allow = True
    for _ in range(ROUNDS):
        allow = not allow
        await change(allow)
        switches.append((time.monotonic(), allow))
        await asyncio.sleep(SPACING)
    stream: list[tuple[float, bool]] = json.loads(await process.stdout.read())
    await process.wait()
    delays = []
    for (at, verdict), following in zip(switches, [*switches[1:], (float("inf"), True)], strict=True):
        window = [(sent, answered) for sent, answered in stream if at <= sent < min(following[0], at + SPACING)]
        delays.append(_first_judged(window, verdict, at) * 1000)
    delays.sort()
    _percentiles(name, delays, f"{PODS} pods, 3 nodes, {len(delays)} changes")


def _first_judged(window: list[tuple[float, bool]], verdict: bool, at: float) -> float:
    """Seconds from `at` to the first packet judged anew: the first of five in a row, since one may be lost anyway."""
    for index in range(len(window) - 4):
        if all(answered == verdict for _sent, answered in window[index : index + 5]):
            return window[index][0] - at
    return SPACING


def _throughput(lab: Lab) -> None:
    """TCP between two pods of one node: 100 policies on the receiver, connection tracking alone, no table at all."""
    documents = [
        f"""apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {{name: rule-{number}, namespace: load}}
spec:
  order: {number}
  selector: app == 'near'
  types: [Ingress, Egress]
  ingress:
    - action: Allow
      protocol: TCP
      source: {{selector: "app == 'group-{number}'"}}
      destination: {{ports: [{9000 + number}]}}
    - {{action: Allow, protocol: TCP, source: {{nets: [10.99.{number}.0/24]}}}}
  egress:
    - {{action: Allow, protocol: UDP, destination: {{nets: [10.98.{number}.0/24]}}}}
"""
        for number in range(99)
    ]
    documents.append(
        """apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: rule-last, namespace: load}
spec:
  order: 1000
  selector: app == 'near'
  types: [Ingress, Egress]
  ingress: [{action: Allow}]
  egress: [{action: Allow}]
"""
    )
    lab.apply("---\n".join(documents))
    time.sleep(2)
    # Felix and the service proxy stand still meanwhile: they leave the kernel as it is, and their own work would count.
    for service in _REPAIRERS:
        lab.on_node("node-1", "sv", "-w", "10", "down", service)
    everything = "flush ruleset\n" + lab.on_node("node-1", "nft", "list", "ruleset")
    tracking = "flush ruleset\ntable ip bench {\nchain f {\ntype filter hook forward priority 0;\n"
    tracking += "ct state established accept\n}\n}\n"
    cost = _costs(lab, {"none": "flush ruleset\n", "tracking": tracking, "policies": everything})
    for service in _REPAIRERS:
        lab.on_node("node-1", "sv", "up", service)
    for name, other in (("100 policies", "policies"), ("connection tracking alone", "tracking")):
        ratios = [bare / loaded for bare, loaded in zip(cost["none"], cost[other], strict=True)]
        emit(
            f"pod-to-pod TCP throughput, {name} against no table",
            statistics.median(ratios),
            "ratio",
            f"same node, one core, {ROUNDS} pairs, by processor time",
            quartiles=[round(quartile, 3) for quartile in statistics.quantiles(ratios)],
            gbit_per_core=round(8e-9 / statistics.median(cost[other]), 2),
        )


def _costs(lab: Lab, rulesets: dict[str, str]) -> dict[str, list[float]]:
    """Processor seconds per byte for one stream from client to near on node-1, the rulesets taking turns.

    Processor time of a single thread that sends and receives: on a machine shared with others, bits a second vary by
    a third between rounds, which hides differences of a twentieth.
    """
    address = lab.get("pod", "near", "-n", "load")["status"]["podIP"]
    _node, client = lab.namespace_of_pod("load", "client")
    _node, near = lab.namespace_of_pod("load", "near")
    python = ["/usr/bin/python3", "-I", "-S", str(HERE / "lab_transfer.py"), client, near, address]
    process = subprocess.Popen(
        machines.enter_command(lab.layout, "node-1", python),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    process.stdout.readline()
    found: dict[str, list[float]] = {name: [] for name in rulesets}
    with tempfile.TemporaryDirectory() as directory:
        files = {name: Path(directory) / name for name in rulesets}
        for name, text in rulesets.items():
            files[name].write_text(text)
        for turn in range(ROUNDS):
            for name in list(files) if turn % 2 else reversed(files):
                lab.on_node("node-1", "nft", "-f", str(files[name]))
                process.stdin.write("measure\n")
                process.stdin.flush()
                found[name].append(float(process.stdout.readline()))
    process.stdin.close()
    process.wait()
    return found


def _memory(lab: Lab) -> None:
    script = (
        "for p in /proc/[0-9]*; do c=$(tr '\\0' ' ' <$p/cmdline 2>/dev/null); "
        'k=$(awk \'/^Pss:/{print $2}\' $p/smaps_rollup 2>/dev/null); [ -n "$k" ] && echo "$k $c"; done'
    )
    parts = {"felix": 0, "confd": 0, "bird": 0, "cni agent": 0, "node monitor": 0}
    for line in lab.on_node("node-1", "/bin/sh", "-c", script).splitlines():
        size, _, text = line.partition(" ")
        for part in parts:
            if f"tortie {part}" in text or (part == "bird" and text.startswith(("bird ", "/usr/sbin/bird "))):
                parts[part] += int(size)
    total = sum(parts.values()) / 1024
    detail = {name: round(size / 1024, 1) for name, size in parts.items()}
    emit("memory of one node's components (PSS)", total, "MiB", f"{PODS} pods, 3 nodes", parts=detail)


if __name__ == "__main__":
    main()
