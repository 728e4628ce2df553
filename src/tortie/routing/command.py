"""`tortie confd`: renders BIRD's configuration from BGP resources, for ever or once to the screen.

In: the environment (NODENAME, KUBECONFIG, CALICO_ROUTER_ID, …) and options. Out: a running `Confd`, or the text that it
would write.
"""

import os
import sys
from pathlib import Path

import click

_NODENAME_FILE = Path("/var/lib/calico/nodename")


@click.command()
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    default=Path("/etc/calico/confd/config/bird.cfg"),
    show_default=True,
    help="The file to keep.",
)
@click.option(
    "--bird-socket",
    type=click.Path(path_type=Path),
    default=Path("/var/run/calico/bird.ctl"),
    show_default=True,
    help="BIRD's control socket.",
)
@click.option("--once", is_flag=True, help="Print the configuration as it would be now, passwords hidden, and exit.")
def command(config: Path, bird_socket: Path, once: bool) -> None:
    """Renders BIRD's configuration from BGP resources and has BIRD load it."""
    from tortie.service import log
    from tortie.service.run import run

    log.configure("confd", _level(os.environ.get("BGP_LOGSEVERITYSCREEN", "")))
    node = os.environ.get("NODENAME", "").strip() or _nodename_from_file()
    if not node:
        raise click.ClickException(f"NODENAME is not set and {_NODENAME_FILE} does not exist; set NODENAME")
    from tortie.routing.daemon import confd, print_once

    if once:
        run(lambda service: print_once(service, node=node, out=sys.stdout), component="confd")
    else:
        run(lambda service: confd(service, node=node, config=config, control=bird_socket), component="confd")


def _nodename_from_file() -> str:
    try:
        return _NODENAME_FILE.read_text()
    except OSError:
        return ""


def _level(severity: str) -> str:
    """Calico's names of log levels as ours."""
    names = {"trace": "debug", "debug": "debug", "warning": "warning", "warn": "warning", "error": "error"}
    return names.get(severity.lower(), "critical" if severity.lower() in ("fatal", "panic", "none") else "info")
