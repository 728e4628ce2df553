"""`tortie lab-controllers`: all of the lab's controllers in one process."""

import asyncio

import click

from tortie.service import log
from tortie.service.run import Service, run


@click.command()
@click.option("--kubeconfig", required=True, type=click.Path(exists=True, dir_okay=False), help="How to reach the API.")
def command(kubeconfig: str) -> None:
    """Run scheduler, workload, endpoint, account, namespace and garbage controllers."""
    log.configure("lab-controllers")

    async def main(_service: Service) -> None:
        await control(kubeconfig)

    run(main, component="lab-controllers")


async def control(kubeconfig: str) -> None:
    """Runs every controller until cancelled."""
    from tortie.kube import config as kube_config
    from tortie.kube.client import Client
    from tortie.kube.events import EventRecorder
    from tortie.lab.controllers.accounts import Accounts
    from tortie.lab.controllers.deployments import Deployments
    from tortie.lab.controllers.endpoints import EndpointSlices
    from tortie.lab.controllers.garbage import Garbage
    from tortie.lab.controllers.namespaces import Namespaces
    from tortie.lab.controllers.replicas import ReplicaSets
    from tortie.lab.controllers.scheduler import Scheduler
    from tortie.lab.controllers.world import World

    settings = kube_config.load(kubeconfig)
    async with Client(settings) as client:
        recorder = EventRecorder(client, component="lab-controllers")
        world = World(client, recorder)
        queues = [
            Scheduler(world).queue,
            ReplicaSets(world).queue,
            Deployments(world).queue,
            EndpointSlices(world).queue,
            Accounts(world, authority=_authority(kubeconfig)).queue,
            Namespaces(world).queue,
        ]
        garbage = Garbage(world)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(recorder.run())
            tasks.create_task(world.run())
            await world.wait_synced()
            for queue in [*queues, garbage.queue]:
                tasks.create_task(queue.run())
            tasks.create_task(garbage.run())


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
