"""Brings a lab up, or repairs what is missing of one, and waits until it is ready.

In: a specification. Out: running machines and a cluster whose nodes, names and demo answer; a summary on stdout.
Every step looks at what is there first, so that a second run changes nothing.
"""

import asyncio
import contextlib
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path

import click

from tortie.apiserver import pki
from tortie.kube import config as kube_config
from tortie.kube.client import Client
from tortie.lab import aggregated, bootstrap, machines, nodes, preflight, state, status, underlay
from tortie.lab.layout import CONTROL, LabSpec, Layout
from tortie.lab.machines import ServiceDefinition
from tortie.lab.progress import Progress
from tortie.lab.state import LabError

_READY_SECONDS = 120.0


def up(spec: LabSpec, *, quiet: bool = False) -> None:
    """Raises LabError with one sentence if the lab cannot become what the specification says."""
    layout = Layout(spec)
    progress = Progress(quiet=quiet)
    started = time.monotonic()
    with progress.step("checking this machine"):
        preflight.check(api_port=spec.api_port, api_running=machines.pid(layout, CONTROL) is not None)
    state.save(layout)
    with progress.step("laying the wires: bridge, node and outside namespaces"):
        underlay.ensure(layout)
    with progress.step("starting the API server"):
        authority = _prepare_control(layout)
        machines.start(layout, CONTROL, _control_services(layout))
        _wait_for_api(layout, authority)
    asyncio.run(_cluster(layout, authority, progress))
    if not quiet:
        click.echo(summary(layout, seconds=time.monotonic() - started))


def _control_services(layout: Layout) -> Path:
    return layout.machine_dir(CONTROL) / "services"


def _prepare_control(layout: Layout) -> pki.Authority:
    """Writes certificates and the services of the control plane."""
    api = layout.api_dir
    api.mkdir(parents=True, exist_ok=True, mode=0o700)
    authority = pki.ensure(api, ["127.0.0.1", layout.control_address]).authority
    controllers = layout.machine_dir(CONTROL) / "controllers.kubeconfig"
    if not controllers.exists():
        _write_identity(
            controllers, authority, layout.local_url, name="system:kube-controller-manager", groups=["system:lab"]
        )
    if not layout.kubeconfig.exists():
        _write_identity(
            layout.kubeconfig, authority, layout.local_url, name="kubernetes-admin", groups=["system:masters"]
        )
    listen = [f"127.0.0.1:{layout.spec.api_port}"]
    if layout.spec.ipv4:
        listen.append(f"{layout.address_v4(1)}:{layout.spec.api_port}")
    if layout.spec.ipv6:
        listen.append(f"[{layout.address_v6(1)}]:{layout.spec.api_port}")
    arguments = [item for address in listen for item in ("--listen", address)]
    if layout.spec.aggregated:
        aggregated.prepare(layout, authority)
    machines.write_services(
        _control_services(layout),
        [
            *([aggregated.service(layout)] if layout.spec.aggregated else []),
            ServiceDefinition(
                name="apiserver",
                argv=[
                    nodes.program(),
                    "apiserver",
                    *("--data-dir", str(api)),
                    *arguments,
                    *("--advertise", layout.control_address),
                    *("--service-cidr", ",".join(layout.service_cidrs)),
                    *("--api-mode", layout.spec.api_mode),
                ],
            ),
            ServiceDefinition(
                name="controllers", argv=[nodes.program(), "lab-controllers", "--kubeconfig", str(controllers)]
            ),
        ],
        log_dir=str(layout.log_dir(CONTROL)),
    )
    return authority


def _write_identity(path: Path, authority: pki.Authority, server: str, *, name: str, groups: list[str]) -> None:
    pair = pki.issue_client_certificate(authority, name, groups)
    nodes.write_secret(path, pki.kubeconfig(server, authority.pem, pair, cluster="lab", user=name))


def _wait_for_api(layout: Layout, authority: pki.Authority) -> None:
    context = ssl.create_default_context(cadata=authority.pem.decode())
    deadline = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(f"{layout.local_url}/readyz", context=context, timeout=2) as answer:  # noqa: S310 - https, fixed host
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            pass
        if machines.pid(layout, CONTROL) is None:
            raise LabError(f"The control plane ended; {layout.machine_dir(CONTROL) / 'console'} says why.")
        if time.monotonic() > deadline:
            raise LabError(
                f"The API server did not become ready in 30 s; its log is {layout.log_dir(CONTROL)}/apiserver/current"
            )
        time.sleep(0.05)


async def _cluster(layout: Layout, authority: pki.Authority, progress: Progress) -> None:
    async with Client(kube_config.load(str(layout.kubeconfig))) as client:
        discovery = bootstrap.Discovery(client)
        if layout.spec.aggregated:
            with progress.step("starting calico-apiserver behind it"):
                await bootstrap.apply(client, discovery, aggregated.objects(layout, authority))
                await aggregated.credentials(layout, client, authority)
                await _until(lambda: aggregated.problems(client), "projectcalico.org/v3 did not become available")
        with progress.step("applying rights, pools and configuration"):
            await bootstrap.apply(client, discovery, bootstrap.cluster_objects(layout))
            await _credentials(layout, client, authority)
        with progress.step(f"starting {layout.spec.nodes} nodes and the outside world"):
            nodes.start_outside(layout)
            for node in layout.spec.node_names:
                nodes.prepare(layout, node)
                nodes.start(layout, node)
        with progress.step("waiting for the nodes"):
            await _until(lambda: status.node_problems(layout, client), "The nodes did not become ready")
        # Only now, or the first node to be ready would get every pod.
        await bootstrap.apply(client, discovery, bootstrap.dns_objects(layout))
        if layout.spec.demo:
            await bootstrap.apply(client, discovery, bootstrap.demo_objects())
        with progress.step("waiting for calico-node: policy in force, routes exchanged"):
            await _until(lambda: status.calico_problems(layout), "calico-node did not become ready")
        with progress.step("waiting for the pods"):
            await _until(lambda: status.pod_problems(client), "Pods did not become ready")


async def _credentials(layout: Layout, client: Client, authority: pki.Authority) -> None:
    """Gives each node what it does not have yet: certificates for kubelet and proxy, a token for calico-node."""
    missing = [node for node in layout.spec.node_names if not bootstrap.has_credentials(layout, node)]
    if not missing:
        return
    token = await bootstrap.service_account_token(client, *bootstrap.CALICO_ACCOUNT)
    text = bootstrap.kubeconfig_text(server=layout.control_url, authority_pem=authority.pem, user={"token": token})
    for node in missing:
        nodes.write_secret(nodes.kubeconfig_path(layout, node, "calico"), text)
        kubelet = nodes.kubeconfig_path(layout, node, "kubelet")
        _write_identity(kubelet, authority, layout.control_url, name=f"system:node:{node}", groups=["system:nodes"])
        pki_dir = kubelet.parent / "pki"
        pair = pki.issue_server_certificate(authority, node, [node, *layout.node_addresses(node)])
        nodes.write_secret(pki_dir / "ca.crt", authority.pem.decode())
        nodes.write_secret(pki_dir / "kubelet.crt", pair.certificate.decode())
        nodes.write_secret(pki_dir / "kubelet.key", pair.key.decode())
        _write_identity(
            nodes.kubeconfig_path(layout, node, "proxy"),
            authority,
            layout.control_url,
            name="system:kube-proxy",
            groups=["system:node-proxier"],
        )


async def _until(problems: Callable[[], Awaitable[list[str]]], failure: str) -> None:
    """Waits until a check reports nothing; raises LabError with what it reported last."""
    deadline = time.monotonic() + _READY_SECONDS
    while found := await problems():
        if time.monotonic() > deadline:
            raise LabError(f"{failure} in {_READY_SECONDS:.0f} s: {'; '.join(found[:5])}")
        await asyncio.sleep(0.1)


def summary(layout: Layout, *, seconds: float) -> str:
    """What a newcomer wants to see when `up` ends: the nodes, the pods, the kubeconfig and what to try."""
    lines = [f"Lab {layout.spec.name!r} is ready after {seconds:.0f} s.", ""]
    with contextlib.suppress(LabError):
        lines += [status.render(status.collect(layout)), ""]
    examples = Path(__file__).parent / "demo"
    flag = "" if layout.spec.name == "default" else f" --name {layout.spec.name}"
    lines += [
        "To use it:",
        f"  export KUBECONFIG={layout.kubeconfig} PATH={Path(nodes.program()).parent}:$PATH",
        "",
        "Worth trying:",
        *(f"  {line}" for line in _worth_trying(examples, flag)),
        "",
        f"Remove everything with: tortie lab down{flag}",
    ]
    return "\n".join(lines)


def _worth_trying(examples: Path, flag: str) -> list[str]:
    return [
        f"kubectl apply -f {examples}/try/deny-scraper.yaml      # then: kubectl logs -n analytics deploy/scraper -f",
        "tortie why analytics/scraper shop/catalog:8080      # which policy and rule decided",
        "kubectl get tiers,globalnetworkpolicies,networkpolicies -A",
        f"tortie lab node exec{flag} node-1 -- birdc show protocols",
        f"tortie lab component kill{flag} node-1 felix      # and nothing is cut",
    ]
