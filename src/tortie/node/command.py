"""`tortie node`: calico-node's entry point, its start-up, its probes, and the services beside Felix.

In: the environment and flags. Out: exit status 0, or 1 with one line that says why. The probes import next to nothing.
"""

import os
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tortie.kube.client import Client
    from tortie.node.settings import Settings


@click.group()
def command() -> None:
    """calico-node: start-up, supervision, readiness."""


@command.command()
def start() -> None:
    """Prepares the node, then runs and supervises its services until told to stop."""
    from tortie.node import supervise

    settings = _settings()
    left = supervise.stop_leftovers()
    if left:
        click.echo(f"ended services of an earlier start: {', '.join(left)}", err=True)
    os.environ["NODENAME"] = settings.node
    os.environ["CALICO_NETWORKING_BACKEND"] = settings.backend
    _with_client(settings, _startup)
    supervise.render(supervise.services(settings), file_logging=settings.file_logging)
    sys.stdout.flush()
    sys.stderr.flush()
    supervise.supervise()


@command.command()
def startup() -> None:
    """Prepares the node and exits: addresses, default pools and objects, CNI files, tunnel addresses."""
    _with_client(_settings(), _startup)


@command.command("allocate-tunnel-addrs")
def allocate_tunnel_addrs() -> None:
    """Settles the addresses of the node's tunnel devices and exits."""

    async def once(client: "Client", settings: "Settings") -> None:
        from tortie.node.tunnels import TunnelAddresses
        from tortie.service.run import Fatal

        if not await TunnelAddresses(client, node=settings.node).reconcile():
            raise Fatal("not all tunnel addresses could be settled; the lines above say which")

    _with_client(_settings(), once)


@command.command()
def monitor() -> None:
    """The services beside Felix: watches addresses and tunnels, reports status, keeps the CNI plugin's credentials."""
    from tortie.node.monitor import monitor as main
    from tortie.service.run import run

    settings = _settings()
    run(lambda service: main(service, settings), component="node-services")


@command.command()
def shutdown() -> None:
    """Before a stop: notes the time, and tells Kubernetes that the node's network is going away."""

    async def once(client: "Client", settings: "Settings") -> None:
        from tortie.node.nodeobject import set_network_unavailable
        from tortie.node.startup import write_shutdown_time

        write_shutdown_time(settings.shutdown_file)
        if settings.backend != "none":
            await set_network_unavailable(client, settings.node, unavailable=True)

    _with_client(_settings(), once)


@command.command()
@click.option("--felix-ready", "-felix-ready", is_flag=True, help="Felix is in sync and has programmed the kernel.")
@click.option("--bird-ready", "-bird-ready", is_flag=True, help="BGP sessions are established.")
@click.option("--bird6-ready", "-bird6-ready", is_flag=True, help="BGP sessions of IPv6 are established.")
@click.option(
    "--threshold-time",
    "-threshold-time",
    default="30s",
    show_default=True,
    help="How long after the node's start every session must be established; later one is enough.",
)
def ready(felix_ready: bool, bird_ready: bool, bird6_ready: bool, threshold_time: str) -> None:
    """Is the node ready? Without flags: Felix, and BIRD where it runs."""
    from tortie.node import health

    if not (felix_ready or bird_ready or bird6_ready):
        felix_ready = not os.environ.get("CALICO_DISABLE_FELIX", "")
        bird_ready = (health.SERVICES / "bird").exists()
    threshold = _seconds(threshold_time)
    complaints = [
        health.felix("/readiness") if felix_ready else "",
        health.bird_ready(threshold=threshold) if bird_ready else "",
        health.bird_ready(threshold=threshold, family=6) if bird6_ready else "",
    ]
    _finish(complaints)


@command.command()
@click.option("--felix-live", "-felix-live", is_flag=True, help="Felix's loops turn.")
@click.option("--bird-live", "-bird-live", is_flag=True, help="BIRD and confd run, and BIRD answers.")
@click.option("--bird6-live", "-bird6-live", is_flag=True, help="The same: one BIRD serves both families.")
def live(felix_live: bool, bird_live: bool, bird6_live: bool) -> None:
    """Is the node alive? Without flags: Felix, and BIRD where it runs."""
    from tortie.node import health

    if not (felix_live or bird_live or bird6_live):
        felix_live = not os.environ.get("CALICO_DISABLE_FELIX", "")
        bird_live = (health.SERVICES / "bird").exists()
    _finish(
        [
            health.felix("/liveness") if felix_live else "",
            health.bird_live() if bird_live or bird6_live else "",
        ]
    )


def _finish(complaints: list[str]) -> None:
    text = "; ".join(c for c in complaints if c)
    if text:
        click.echo(f"calico/node is not ready: {text}" if "ready" in text else text, err=True)
        raise SystemExit(1)


def _seconds(text: str) -> float:
    try:
        return float(text.removesuffix("s"))
    except ValueError as e:
        raise click.BadParameter(
            f"{text!r} is not a number of seconds such as 30s", param_hint="--threshold-time"
        ) from e


def _settings() -> "Settings":
    from tortie.node.settings import from_environment
    from tortie.service import log
    from tortie.service.run import Fatal

    try:
        settings = from_environment()
    except Fatal as e:
        raise click.ClickException(str(e)) from e
    log.configure("calico-node", settings.log_level)
    return settings


async def _startup(client: "Client", settings: "Settings") -> None:
    from tortie.node.startup import startup as prepare

    await prepare(client, settings)


def _with_client(settings: "Settings", action: Callable[["Client", "Settings"], Awaitable[None]]) -> None:
    """Runs one action against the API; what goes wrong becomes one line and status 1."""
    import asyncio  # late, as all that a probe does not need

    from tortie.kube.client import Client
    from tortie.kube.config import ConfigError, load
    from tortie.kube.errors import ApiError
    from tortie.service.run import Fatal

    async def body() -> None:
        async with Client(load()) as client:
            await action(client, settings)

    try:
        asyncio.run(body())
    except (Fatal, ConfigError, ApiError, OSError) as e:
        raise click.ClickException(str(e)) from e
