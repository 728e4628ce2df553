"""Wires confd: client, caches, renderer, reports.

In: the node's name, paths, and the environment. Out: tasks of the `Service` that `tortie confd` runs in.
"""

import os
import re
from pathlib import Path
from typing import TextIO

from tortie.kube.client import Client
from tortie.kube.config import load
from tortie.kube.events import EventRecorder
from tortie.routing.bird import render
from tortie.routing.confd import Confd
from tortie.routing.gather import Gatherer
from tortie.service.run import Service, freeze_garbage

_PASSWORD = re.compile(r'(\bpassword )"[^"]*"')


async def confd(service: Service, *, node: str, config: Path, control: Path) -> None:
    """Runs until the service stops."""
    async with Client(load()) as client:
        recorder = EventRecorder(client, "confd", host=node)
        daemon = Confd(config=config, control=control, recorder=recorder)
        gatherer = _gatherer(client, node, daemon)
        gatherer.start(service.spawn)
        service.spawn(recorder.run(), "events")
        service.spawn(daemon.reload_forever(), "reload")
        service.spawn(daemon.run(gatherer), "render")
        await gatherer.wait_synced()
        freeze_garbage()
        await service.stopping.wait()
        await gatherer.stop()


async def print_once(service: Service, *, node: str, out: TextIO) -> None:
    """Prints the configuration of a node, passwords hidden, and what is not in effect."""
    async with Client(load()) as client:
        daemon = Confd(config=Path("/dev/null"))
        gatherer = _gatherer(client, node, daemon)
        gatherer.start(service.spawn)
        await gatherer.wait_synced()
        rendered = render(gatherer.world())
        if gatherer.refer_to(rendered.secrets):
            await gatherer.wait_secrets(3.0)
            rendered = render(gatherer.world())
        await gatherer.stop()
        out.write(_PASSWORD.sub(r'\1"(hidden)"', rendered.text))
        for problem in rendered.problems:
            out.write(f"# {problem.kind} {problem.name}: {problem.message}\n")


def _gatherer(client: Client, node: str, daemon: Confd) -> Gatherer:
    env = os.environ
    prefix = env.get("CALICO_ENDPOINT_STATUS_PATH_PREFIX", "") or "/var/run/calico"
    return Gatherer(
        client,
        node=node,
        namespace=env.get("NAMESPACE", "") or "kube-system",
        status_dir=Path(prefix) / "endpoint-status",
        on_change=daemon.changed,
        router_id=env.get("CALICO_ROUTER_ID", ""),
        advertise_cluster_ips=env.get("CALICO_ADVERTISE_CLUSTER_IPS", ""),
        endpoint_node=env.get("CALICO_K8S_NODE_REF", ""),
    )
