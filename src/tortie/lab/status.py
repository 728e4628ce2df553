"""What a lab looks like: its nodes, components and pods, and in one sentence each what is wrong.

In: the layout; the API server's view of nodes and pods; each node's supervisor. Out: a `Report`, or just the problems.
"""

import asyncio
import io
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from tortie.kube import config as kube_config
from tortie.kube.client import Client
from tortie.kube.errors import ApiError
from tortie.lab import machines
from tortie.lab.layout import CONTROL, OUTSIDE, Layout
from tortie.lab.state import LabError
from tortie.model.catalog import NODES, PODS


class NodeReport(msgspec.Struct, frozen=True):
    name: str
    running: bool
    ready: bool
    addresses: list[str]


class ComponentReport(msgspec.Struct, frozen=True):
    machine: str
    name: str
    state: str


class PodReport(msgspec.Struct, frozen=True):
    namespace: str
    name: str
    node: str
    phase: str
    ready: bool
    addresses: list[str]


class Report(msgspec.Struct, frozen=True):
    name: str
    nodes: list[NodeReport]
    components: list[ComponentReport]
    pods: list[PodReport]
    urls: dict[str, str]
    kubeconfig: str
    problems: list[str]


def collect(layout: Layout) -> Report:
    """Looks at everything once."""
    return asyncio.run(_collect(layout))


async def _collect(layout: Layout) -> Report:
    problems: list[str] = []
    nodes: list[dict[str, Any]] = []
    pods: list[dict[str, Any]] = []
    try:
        async with Client(kube_config.load(str(layout.kubeconfig))) as client:
            nodes = list((await client.list(NODES.untyped())).items)
            pods = list((await client.list(PODS.untyped())).items)
    except (ApiError, OSError, ValueError) as error:
        problems.append(f"the API server does not answer: {error}")
    by_name = {node["metadata"]["name"]: node for node in nodes}
    node_reports = []
    for name in layout.spec.node_names:
        running = machines.pid(layout, name) is not None
        ready = _is_ready(by_name.get(name))
        node_reports.append(NodeReport(name, running, ready, layout.node_addresses(name)))
        if not running:
            problems.append(f"{name} is not running; `tortie lab node start {name}` starts it")
        elif not ready and nodes:
            problems.append(f"{name} is not Ready: {_not_ready_reason(by_name.get(name))}")
    for machine in (CONTROL, OUTSIDE):
        if machines.pid(layout, machine) is None:
            problems.append(f"the {machine} machine is not running; `tortie lab up` starts it")
    components = await _components(layout)
    problems += [f"{c.machine}: {c.name} is {c.state}" for c in components if not c.state.startswith("run")]
    problems += await calico_problems(layout)
    pod_reports = [_pod_report(pod) for pod in pods]
    problems += [_pod_problem(pod) for pod in pods if _pod_problem(pod)]
    return Report(
        name=layout.spec.name,
        nodes=node_reports,
        components=components,
        pods=pod_reports,
        urls={"api": layout.local_url},
        kubeconfig=str(layout.kubeconfig),
        problems=problems,
    )


async def node_problems(layout: Layout, client: Client) -> list[str]:
    """Nodes that the API server does not call Ready."""
    listed = {node["metadata"]["name"]: node for node in (await client.list(NODES.untyped())).items}
    return [
        f"{name}: {_not_ready_reason(listed.get(name))}"
        for name in layout.spec.node_names
        if not _is_ready(listed.get(name))
    ]


async def pod_problems(client: Client) -> list[str]:
    """Pods that are neither Ready nor finished."""
    pods = (await client.list(PODS.untyped())).items
    if not pods:
        return ["no pods yet"]
    return [problem for pod in pods if (problem := _pod_problem(pod))]


async def calico_problems(layout: Layout) -> list[str]:
    """Nodes on which calico-node does not call itself ready, with its own words."""
    arguments = ["--felix-ready"] + (["--bird-ready"] if layout.spec.encapsulation == "none" else [])

    async def one(node: str) -> str:
        from tortie.lab.nodes import program

        try:
            argv = machines.enter_command(layout, node, [program(), "node", "ready", *arguments])
        except LabError as error:
            return str(error)
        process = await asyncio.create_subprocess_exec(
            *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await process.communicate()
        if process.returncode == 0:
            return ""
        lines = output.decode(errors="replace").strip().splitlines()
        return f"{node}: calico-node is not ready: {lines[-1] if lines else 'no answer'}"

    found = await asyncio.gather(*(one(node) for node in layout.spec.node_names))
    return [problem for problem in found if problem]


def render(report: Report) -> str:
    """The report as text."""
    out = io.StringIO()
    console = Console(file=out, width=120, highlight=False)
    table = Table(box=None, pad_edge=False, title=None)
    for column in ("NODE", "STATE", "ADDRESSES"):
        table.add_column(column)
    for node in report.nodes:
        table.add_row(node.name, "Ready" if node.ready else "not ready", ", ".join(node.addresses))
    console.print(table)
    console.print()
    table = Table(box=None, pad_edge=False)
    for column in ("NAMESPACE", "POD", "STATE", "NODE", "ADDRESSES"):
        table.add_column(column)
    for pod in report.pods:
        state = "Ready" if pod.ready else pod.phase
        table.add_row(pod.namespace, pod.name, state, pod.node, ", ".join(pod.addresses))
    console.print(table)
    console.print()
    console.print(f"API server  {report.urls['api']}")
    console.print(f"kubeconfig  {report.kubeconfig}")
    if report.problems:
        console.print()
        console.print("Problems:")
        for problem in report.problems:
            console.print(f"  - {problem}", markup=False)
    return out.getvalue().rstrip()


async def _components(layout: Layout) -> list[ComponentReport]:
    async def one(machine: str, directory: str) -> list[ComponentReport]:
        script = f'for d in {directory}/*/; do printf "%s " "$d"; sv status "$d" 2>&1 | head -1; done'
        try:
            argv = machines.enter_command(layout, machine, ["/bin/sh", "-c", script])
        except LabError:
            return []
        process = await asyncio.create_subprocess_exec(
            *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        output, _ = await process.communicate()
        reports = []
        for line in output.decode(errors="replace").splitlines():
            path, _, state = line.partition(" ")
            name = path.rstrip("/").rsplit("/", 1)[-1]
            reports.append(ComponentReport(machine, name, state.split(":", 1)[0].strip() or "unknown"))
        return reports

    jobs = [one(CONTROL, str(layout.machine_dir(CONTROL) / "services"))]
    jobs.append(one(OUTSIDE, str(layout.machine_dir(OUTSIDE) / "services")))
    for node in layout.spec.node_names:
        jobs.append(one(node, "/etc/lab/services"))
        jobs.append(one(node, "/etc/service/enabled"))
    return [report for group in await asyncio.gather(*jobs) for report in group if report.name != "*"]


def _conditions(obj: dict[str, Any] | None) -> dict[str, dict[str, Any]]:
    if obj is None:
        return {}
    return {c["type"]: c for c in obj.get("status", {}).get("conditions", [])}


def _is_ready(obj: dict[str, Any] | None) -> bool:
    return _conditions(obj).get("Ready", {}).get("status") == "True"


def _not_ready_reason(node: dict[str, Any] | None) -> str:
    if node is None:
        return "its kubelet has not registered it yet"
    condition = _conditions(node).get("Ready", {})
    return str(condition.get("message") or condition.get("reason") or "no Ready condition yet")


def _pod_report(pod: dict[str, Any]) -> PodReport:
    status = pod.get("status", {})
    return PodReport(
        namespace=pod["metadata"]["namespace"],
        name=pod["metadata"]["name"],
        node=pod.get("spec", {}).get("nodeName", ""),
        phase=status.get("phase", "Pending"),
        ready=_is_ready(pod),
        addresses=[entry["ip"] for entry in status.get("podIPs", [])],
    )


def _pod_problem(pod: dict[str, Any]) -> str:
    report = _pod_report(pod)
    if report.ready or report.phase == "Succeeded":
        return ""
    reasons = [
        str(waiting.get("reason", ""))
        for container in pod.get("status", {}).get("containerStatuses", [])
        if (waiting := container.get("state", {}).get("waiting"))
    ]
    scheduled = _conditions(pod).get("PodScheduled", {})
    if scheduled.get("status") == "False":
        reasons.append(str(scheduled.get("message", "")))
    return f"pod {report.namespace}/{report.name} is {report.phase}: {', '.join(filter(None, reasons)) or 'starting'}"
