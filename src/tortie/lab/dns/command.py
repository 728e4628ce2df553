"""`tortie lab-dns`: the lab's cluster DNS as a process, in a pod or on a node.

In: the command line; without --kubeconfig the service account of the pod it runs in. Out: a running `Server`.
"""

import click


@click.command()
@click.option("--kubeconfig", default=None, help="Credentials for the API server.")
@click.option("--listen", multiple=True, help="ADDRESS[:PORT], repeatable; every address, port 53 unless given.")
@click.option("--domain", default="cluster.local", show_default=True, help="The cluster's domain.")
@click.option("--forward", default="", help="Servers for all other names, comma-separated ADDRESS[:PORT].")
@click.option("--health-listen", default="", help="host:port for /liveness, /readiness and /metrics; none if empty.")
@click.option("--log-level", default="info", show_default=True)
def command(
    kubeconfig: str | None, listen: tuple[str, ...], domain: str, forward: str, health_listen: str, log_level: str
) -> None:
    """Answers the names of a lab's services and pods."""
    from tortie.kube.client import Client
    from tortie.kube.config import ConfigError, load
    from tortie.lab.dns.forward import Upstream
    from tortie.lab.dns.server import Server
    from tortie.service.health import HealthAggregator, serve
    from tortie.service.log import configure
    from tortie.service.metrics import StatisticsCollector
    from tortie.service.run import Fatal, Service, run

    configure("lab-dns", log_level)

    async def main(service: Service) -> None:
        try:
            upstreams = [Upstream.parse(part.strip()) for part in forward.split(",") if part.strip()]
            places = [Upstream.parse(text) for text in listen]
            config = load(kubeconfig)
        except (ConfigError, ValueError) as error:
            raise Fatal(str(error)) from error
        async with Client(config) as client:
            server = Server(client, domain=domain, upstreams=upstreams)
            collector = StatisticsCollector()
            collector.add("tortie_lab_dns", server.responder.statistics)
            collector.register()
            if health_listen:
                health = HealthAggregator()
                health.register("dns", timeout=None)
                host, _, port = health_listen.rpartition(":")
                web = await serve(health, host.strip("[]"), int(port))
                service.on_stop(web.close)

                async def beat() -> None:
                    await server.listening.wait()
                    health.report("dns")

                service.spawn(beat(), "readiness")
            await server.run([(place.host, place.port) for place in places] or [("", 53)])

    run(main, component="lab-dns")
