"""`tortie lab-proxy`: the lab's kube-proxy as a process in a node's network namespace.

In: the command line. Out: a running `Proxy`, its health and metrics.
"""

import ipaddress

import click


@click.command()
@click.option("--node", required=True, envvar="NODENAME", help="The node whose traffic is handled.")
@click.option("--kubeconfig", default=None, help="Credentials for the API server.")
@click.option(
    "--cluster-cidr",
    default="192.168.0.0/16,fd00:10:244::/48",
    show_default=True,
    help="The pods' ranges, comma-separated; traffic to cluster IPs from elsewhere is masqueraded.",
)
@click.option("--health-listen", default="127.0.0.1:10256", show_default=True, help="host:port; empty for none.")
@click.option("--log-level", default="info", show_default=True)
def command(node: str, kubeconfig: str | None, cluster_cidr: str, health_listen: str, log_level: str) -> None:
    """Makes Kubernetes services work on a node of the lab."""
    from tortie.kube.client import Client
    from tortie.kube.config import ConfigError, load
    from tortie.lab.proxy.dataplane import Dataplane
    from tortie.lab.proxy.proxy import Proxy
    from tortie.service.health import HealthAggregator, serve
    from tortie.service.log import configure
    from tortie.service.metrics import StatisticsCollector
    from tortie.service.run import Fatal, Service, freeze_garbage, run

    configure("lab-proxy", log_level)
    cidrs = tuple(part.strip() for part in cluster_cidr.split(",") if part.strip())

    async def main(service: Service) -> None:
        try:
            for cidr in cidrs:
                ipaddress.ip_network(cidr)
            config = load(kubeconfig)
        except (ConfigError, ValueError) as error:
            raise Fatal(str(error)) from error
        health = HealthAggregator()
        dataplane = Dataplane()
        async with Client(config) as client:
            proxy = Proxy(client, dataplane, node=node, cluster_cidrs=cidrs, health=health)
            collector = StatisticsCollector()
            collector.add("tortie_lab_proxy", proxy.statistics)
            collector.register()
            if health_listen:
                host, _, port = health_listen.rpartition(":")
                server = await serve(health, host.strip("[]"), int(port))
                service.on_stop(server.close)
            freeze_garbage()
            await proxy.run()

    run(main, component="lab-proxy")
