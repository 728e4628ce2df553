"""`tortie lab-controllers`: all of the lab's controllers in one process."""

import asyncio

import click

from tortie.service import log
from tortie.service.run import Service, run


@click.command()
@click.option("--kubeconfig", required=True, type=click.Path(exists=True, dir_okay=False), help="How to reach the API.")
@click.option("--node-grace", default=40.0, show_default=True, help="Seconds until a silent node counts as lost.")
def command(kubeconfig: str, node_grace: float) -> None:
    """Run scheduler, workload, endpoint, account, namespace, node and garbage controllers."""
    log.configure("lab-controllers")

    async def main(_service: Service) -> None:
        await control(kubeconfig, node_grace=node_grace)

    run(main, component="lab-controllers")


async def control(kubeconfig: str, *, node_grace: float = 40.0) -> None:
    """Runs every controller until cancelled."""
    from tortie.kube import config as kube_config
    from tortie.kube.client import Client
    from tortie.kube.events import EventRecorder
    from tortie.lab.controllers.accounts import Accounts
    from tortie.lab.controllers.cron import CronJobs
    from tortie.lab.controllers.daemons import DaemonSets
    from tortie.lab.controllers.deployments import Deployments
    from tortie.lab.controllers.endpoints import EndpointSlices
    from tortie.lab.controllers.garbage import Garbage
    from tortie.lab.controllers.jobs import Jobs
    from tortie.lab.controllers.namespaces import Namespaces
    from tortie.lab.controllers.nodes import Nodes
    from tortie.lab.controllers.replicas import ReplicaSets
    from tortie.lab.controllers.scheduler import Scheduler
    from tortie.lab.controllers.stateful import StatefulSets
    from tortie.lab.controllers.world import World

    settings = kube_config.load(kubeconfig)
    async with Client(settings) as client:
        recorder = EventRecorder(client, component="lab-controllers")
        world = World(client, recorder)
        nodes, garbage = Nodes(world, grace=node_grace), Garbage(world)
        queues = [
            Scheduler(world).queue,
            ReplicaSets(world).queue,
            Deployments(world).queue,
            DaemonSets(world).queue,
            StatefulSets(world).queue,
            Jobs(world).queue,
            CronJobs(world).queue,
            EndpointSlices(world).queue,
            Accounts(world, authority=_authority(kubeconfig)).queue,
            Namespaces(world).queue,
            nodes.queue,
            garbage.queue,
        ]
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(recorder.run())
            tasks.create_task(world.run())
            await world.wait_synced()
            for queue in queues:
                tasks.create_task(queue.run())
            tasks.create_task(garbage.run())
            tasks.create_task(nodes.run())


def _authority(kubeconfig: str) -> str:
    """The certificate authority that a kubeconfig trusts, PEM."""
    import base64
    from pathlib import Path

    import yaml

    loaded = yaml.safe_load(Path(kubeconfig).read_text())
    cluster: dict[str, str] = loaded["clusters"][0]["cluster"]
    if "certificate-authority-data" in cluster:
        return base64.b64decode(cluster["certificate-authority-data"]).decode()
    return (Path(kubeconfig).parent / cluster["certificate-authority"]).read_text()
