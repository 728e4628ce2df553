"""`tortie cni`: the node agent, and the installation of the executables.

In: options and environment. Out: a running agent, or files in place.
"""

from pathlib import Path

import click

from tortie.cni import plugin


@click.group()
def command() -> None:
    """The CNI plugin's node agent, and its installation."""


@command.command()
@click.option("--socket", default=plugin.SOCKET, show_default=True, help="Where the executables find the agent.")
@click.option("--node", default="", envvar="NODENAME", help="The node's name; default: from the nodename file.")
@click.option("--kubeconfig", default=None, envvar="KUBECONFIG", help="Credentials; default: those of the pod.")
@click.option(
    "--state-dir", default="/var/lib/calico", show_default=True, help="The directory of the files nodename and mtu."
)
@click.option("--health-port", default=0, show_default=True, help="Port on 127.0.0.1 for health and metrics; 0: none.")
@click.option("--log-level", default="info", show_default=True, help="debug, info, warning, error or critical.")
def agent(socket: str, node: str, kubeconfig: str | None, state_dir: str, health_port: int, log_level: str) -> None:
    """Runs the node agent until it is told to stop."""
    from tortie.cni.daemon import Settings, start

    start(
        Settings(
            socket=Path(socket),
            node=node,
            kubeconfig=kubeconfig,
            state_directory=Path(state_dir),
            health_port=health_port,
            log_level=log_level,
        )
    )


@command.command()
@click.option("--bin-dir", default="/opt/cni/bin", show_default=True, help="Directory of the executables.")
@click.option("--conf-dir", default="/etc/cni/net.d", show_default=True, help="Directory of the configuration list.")
@click.option("--no-conf", is_flag=True, help="Write no configuration list.")
@click.option("--kubeconfig", default="/etc/cni/net.d/calico-kubeconfig", show_default=True, help="Named in the list.")
@click.option("--ipv4/--no-ipv4", default=True, show_default=True, help="Give pods IPv4 addresses.")
@click.option("--ipv6/--no-ipv6", default=False, show_default=True, help="Give pods IPv6 addresses.")
@click.option("--mtu", default=0, show_default=True, help="MTU of pods; 0: the one that Felix detects.")
@click.option(
    "--policy-timeout",
    default=10,
    show_default=True,
    help="Seconds a pod's start waits for its policy; 0: do not wait.",
)
@click.option("--socket", default=plugin.SOCKET, show_default=True, help="Where the agent listens.")
def install(
    bin_dir: str,
    conf_dir: str,
    no_conf: bool,
    kubeconfig: str,
    ipv4: bool,
    ipv6: bool,
    mtu: int,
    policy_timeout: int,
    socket: str,
) -> None:
    """Writes the executables `calico` and `calico-ipam` and the list 10-calico.conflist."""
    from tortie.cni.install import Options
    from tortie.cni.install import install as put

    options = Options(
        kubeconfig=kubeconfig,
        assign_ipv4=ipv4,
        assign_ipv6=ipv6,
        mtu=mtu,
        policy_timeout=policy_timeout,
        socket=socket,
    )
    for path in put(bin_dir=Path(bin_dir), conf_dir=None if no_conf else Path(conf_dir), options=options):
        click.echo(f"wrote {path}")
