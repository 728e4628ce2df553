"""`tortie felix`: the policy and route agent of a node.

In: options, environment, configuration file. Out: a running daemon, whose exit status tells the supervisor why it
left: 0 on request, 129 for a restart with a changed configuration, 1 for an error.
"""

import os
import sys
from pathlib import Path

import click


@click.command()
@click.option("--node", default="", envvar="NODENAME", help="The node's name; default: FELIX_FELIXHOSTNAME.")
@click.option("--kubeconfig", default=None, envvar="KUBECONFIG", help="Credentials; default: those of the pod.")
@click.option(
    "--config-file", default="/etc/calico/felix.cfg", show_default=True, help="The configuration file, if there is one."
)
@click.option("--state-dir", default="/var/lib/calico", show_default=True, help="The directory of the file mtu.")
def command(node: str, kubeconfig: str | None, config_file: str, state_dir: str) -> None:
    """The policy and route agent of a node.

    Parameters come from the environment (FELIX_<Name>), the configuration file and the FelixConfiguration resources,
    in this order.
    """
    from tortie.felix.config import read_environment, read_file
    from tortie.felix.daemon import Felix
    from tortie.felix.settings import Settings
    from tortie.kube.config import ConfigError, load
    from tortie.service.log import configure, get_logger
    from tortie.service.run import Fatal, Service, run

    configure("felix")
    try:
        local = [read_environment(os.environ), read_file(Path(config_file))]
        named = next((source.values["felixhostname"] for source in local if source.values.get("felixhostname")), "")
        name = named or node or os.uname().nodename.lower()
        settings = Settings(local, node=name)
        configure("felix", _level(settings.effective.text("LogSeverityScreen")))
        cluster = load(kubeconfig)
    except (Fatal, ConfigError, OSError) as error:
        get_logger("felix").error("cannot start", reason=str(error))
        sys.exit(1)

    felix: Felix | None = None

    async def main(service: Service) -> None:
        nonlocal felix
        felix = Felix(settings, cluster, node=name, state_directory=Path(state_dir))
        await felix.run(service)

    status = run(main, component="felix", status_exit=False)
    sys.exit(status or (felix.exit_status if felix is not None else 0))


def _level(severity: str) -> str:
    return {"trace": "debug", "fatal": "critical", "none": "critical"}.get(severity.lower(), severity.lower() or "info")
