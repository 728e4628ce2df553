"""`tortie webhooks`: the admission webhooks of native mode as a process.

In: flags and environment. Out: a server until SIGTERM; one line of reason and exit status 1 when it cannot start.
"""

import os
import sys
from pathlib import Path

import click

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=6443, show_default=True, help="Port to serve HTTPS on.")
@click.option("--bind-address", default="0.0.0.0", show_default=True, help="Address to serve on.")  # noqa: S104 - a server
@click.option("--tls-cert-file", type=_FILE, required=True, help="Certificate to serve with, PEM.")
@click.option("--tls-private-key-file", type=_FILE, required=True, help="Its private key, PEM.")
@click.option("--client-ca-file", type=_FILE, default=None, help="Authority of who may ask; default: everybody may.")
@click.option("--namespace", envvar="POD_NAMESPACE", default="calico-system", show_default=True,
              help="Where Calico's service accounts are.")  # fmt: skip
@click.option("--kubeconfig", envvar="KUBECONFIG", default=None, help="The API server; default: that of the pod.")
def command(
    port: int,
    bind_address: str,
    tls_cert_file: Path,
    tls_private_key_file: Path,
    client_ca_file: Path | None,
    namespace: str,
    kubeconfig: str | None,
) -> None:
    """The admission webhooks that a real cluster needs when it serves projectcalico.org/v3 from CRDs."""
    from tortie.apiserver.calico_webhooks.server import Server, Settings
    from tortie.kube.client import Client
    from tortie.kube.config import ConfigError, load
    from tortie.service.log import configure, get_logger
    from tortie.service.run import Service, run

    configure("calico-webhooks", os.environ.get("LOG_LEVEL", "info").lower())
    try:
        cluster = load(kubeconfig)
    except (ConfigError, OSError) as error:
        get_logger("apiserver.webhooks").error("cannot start", reason=str(error))
        sys.exit(1)
    settings = Settings(bind_address, port, tls_cert_file, tls_private_key_file, client_ca_file, namespace)

    async def main(service: Service) -> None:
        async with Client(cluster, timeout=4.0, retries=0, user_agent="calico-webhooks") as client:
            await Server(settings, client).run(service)

    sys.exit(run(main, component="calico-webhooks", status_exit=False))
