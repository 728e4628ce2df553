"""`tortie lab-outside`: runs the outside world's servers in the namespace it is started in."""

import click

from tortie.service import log
from tortie.service.run import Service, run


@click.command()
def command() -> None:
    """Serve DNS (53), HTTP (80, 8080) and echo (7) on the documentation addresses of this namespace."""
    from tortie.lab.outside.servers import serve

    log.configure("outside")

    async def main(_service: Service) -> None:
        await serve()

    run(main, component="outside")
