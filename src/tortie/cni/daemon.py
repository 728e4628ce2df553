"""The agent as a process: settings, API client, caches, socket, health; and an end without losing a call.

For `tortie cni agent`. In: `Settings`. Out: an exit status. A call that has begun is finished before the process ends;
the executables repeat one that was cut short.
"""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from tortie.cni.agent import Agent, listen
from tortie.cni.attach import Plugin
from tortie.cni.cluster import Cluster
from tortie.cni.reconcile import Reconciler
from tortie.kube import config as kube_config
from tortie.kube.client import Client
from tortie.service.log import configure, get_logger
from tortie.service.run import Fatal, Service, freeze_garbage, run

_THREADS = 16
_DRAIN_SECONDS = 20.0
_SWITCH_SECONDS = 0.0005
_log = get_logger("cni.daemon")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """node "": wait for the nodename file. health_port 0: no health server."""

    socket: Path
    node: str = ""
    kubeconfig: str | None = None
    state_directory: Path = Path("/var/lib/calico")
    health_port: int = 0
    log_level: str = "info"


def start(settings: Settings) -> None:
    """Runs until SIGTERM or failure."""
    try:
        configure("cni", settings.log_level)
    except ValueError as error:
        raise SystemExit(f"--log-level: {error}") from error

    async def main(service: Service) -> None:
        await _main(service, settings)

    # Threads that talk to the kernel wait for the event loop after every system call, by default up to 5 ms.
    sys.setswitchinterval(_SWITCH_SECONDS)
    run(main, component="cni", drain_timeout=_DRAIN_SECONDS)


async def _main(service: Service, settings: Settings) -> None:
    node = settings.node.strip() or await _node_name(settings.state_directory / "nodename")
    try:
        config = kube_config.load(settings.kubeconfig)
    except ValueError as error:
        raise Fatal(str(error)) from error
    async with Client(config) as client:
        cluster = Cluster(client, node=node)
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="netlink") as executor:
            plugin = Plugin(cluster, executor=executor, state_directory=settings.state_directory)
            agent = Agent(plugin, cluster)
            listener = listen(settings.socket)
            service.spawn(cluster.run(), "cluster")
            accepting = service.spawn(agent.serve(listener), "socket")
            service.on_stop(agent.drain)
            if settings.health_port:
                await _serve_health(service, agent, cluster, settings.health_port)
            _log.info("agent listens", socket=str(settings.socket), node=node)
            await cluster.wait_synced()
            await plugin.allocator(node).warm()
            _log.info("agent is in sync", node=node)
            freeze_garbage()
            service.spawn(Reconciler(cluster, plugin.allocator(node), executor=executor).run(), "reconciler")
            await service.stopping.wait()
            accepting.cancel()
            listener.close()
            await agent.drain()
            plugin.close()


async def _node_name(path: Path) -> str:
    """The nodename file's content, as soon as calico-node has written it."""
    said = False
    while True:
        try:
            if name := (await asyncio.to_thread(path.read_text)).strip():
                return name
        except OSError as error:
            if not said:
                _log.info("waiting for the nodename file", path=str(path), error=str(error))
                said = True
        await asyncio.sleep(0.2)


async def _serve_health(service: Service, agent: Agent, cluster: Cluster, port: int) -> None:
    from tortie.service.health import HealthAggregator, serve
    from tortie.service.metrics import StatisticsCollector

    aggregator = HealthAggregator()
    aggregator.register("api", timeout=30.0)
    collector = StatisticsCollector()
    collector.add("tortie_cni", agent.statistics)
    collector.register()
    await serve(aggregator, "127.0.0.1", port)

    async def beat() -> None:
        while True:
            waiting = cluster.waiting_for
            aggregator.report("api", ready=not waiting, detail=f"waiting for {', '.join(waiting)}" if waiting else "")
            await asyncio.sleep(5)

    service.spawn(beat(), "health")
