"""`tortie lab …`: starts, stops and reports a lab; everything else about it is kubectl's to show.

In: command-line options. Out: results on stdout, progress and errors on stderr, exit status 0 or 1.
"""

import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click
import msgspec

from tortie.kube.errors import ApiError
from tortie.lab import state
from tortie.lab.layout import LabSpec
from tortie.lab.state import LabError

F = TypeVar("F", bound=Callable[..., Any])


def _name_option(function: F) -> F:
    return click.option("--name", default="default", show_default=True, metavar="NAME", help="Which lab.")(function)


class _LabGroup(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except LabError as error:
            click.echo(f"tortie lab: {error}", err=True)
            sys.exit(1)
        except ApiError as error:
            click.echo(f"tortie lab: the API server refused: {error}", err=True)
            sys.exit(1)


@click.group(cls=_LabGroup)
def command() -> None:
    """A whole cluster on this machine, for trying, teaching, testing and policy CI. Not for production."""


@command.command()
@_name_option
@click.option("--nodes", type=click.IntRange(1, 50), default=3, show_default=True, help="How many nodes.")
@click.option("--ip-family", type=click.Choice(["ipv4", "ipv6", "dual"]), default="dual", show_default=True)
@click.option(
    "--encapsulation",
    type=click.Choice(["none", "vxlan", "vxlan-cross-subnet"]),
    default="none",
    show_default=True,
    help="none: routes by BGP. vxlan: an overlay that needs no BGP.",
)
@click.option("--api-port", type=click.IntRange(1, 65535), default=None, help="Port of the API server on 127.0.0.1.")
@click.option(
    "--api-mode",
    type=click.Choice(["native", "aggregated"]),
    default="native",
    show_default=True,
    help="Who serves projectcalico.org/v3: the API server itself, or calico-apiserver behind it.",
)
@click.option("--demo/--no-demo", default=True, show_default=True, help="Deploy the demo shop.")
@click.option("--quiet", is_flag=True, help="No progress, no summary.")
def up(quiet: bool, **options: Any) -> None:
    """Create the lab or repair what is missing of it, and wait until it is ready."""
    from tortie.lab.up import up as bring_up

    bring_up(_spec(**options), quiet=quiet)


@command.command()
@_name_option
@click.option("--all", "every", is_flag=True, help="Every lab of this machine.")
@click.option("--quiet", is_flag=True, help="No progress.")
def down(name: str, every: bool, quiet: bool) -> None:
    """Remove every process, namespace, interface, rule and file that `up` made."""
    from tortie.lab.down import down as bring_down

    for lab in state.names() if every else [name]:
        bring_down(lab, quiet=quiet)


@command.command()
@_name_option
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def status(name: str, output: str) -> None:
    """Show nodes, components, pods and addresses, and what is wrong with each. Exit status 1 if something is."""
    from tortie.lab.status import collect, render

    report = collect(state.require(name))
    if output == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(report), indent=2).decode())
    else:
        click.echo(render(report))
    if report.problems:
        sys.exit(1)


@command.command("list")
def list_labs() -> None:
    """Show the labs of this machine."""
    for name in state.names():
        click.echo(name)


@command.command()
@_name_option
def kubeconfig(name: str) -> None:
    """Print the path of a kubeconfig with all rights."""
    click.echo(state.require(name).kubeconfig)


@command.group()
def node() -> None:
    """Run commands on a node; stop, start and kill nodes."""


@node.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@_name_option
@click.argument("node_name", metavar="NODE")
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED)
def node_exec(name: str, node_name: str, argv: tuple[str, ...]) -> None:
    """Run a command on a node: tortie lab node exec NODE -- CMD…"""
    from tortie.lab import machines

    layout = state.require(name)
    _check_node(layout.spec, node_name)
    command_line = list(argv[1:] if argv[0] == "--" else argv)
    if not command_line:
        raise LabError("node exec needs a command: tortie lab node exec NODE -- CMD…")
    line = machines.enter_command(layout, node_name, command_line)
    sys.stdout.flush()
    os.execvp(line[0], line)  # noqa: S606 - replaces this process on purpose


@node.command("stop")
@_name_option
@click.argument("node_name", metavar="NODE")
def node_stop(name: str, node_name: str) -> None:
    """Shut a node down in order."""
    from tortie.lab import machines

    layout = state.require(name)
    _check_node(layout.spec, node_name)
    machines.stop(layout, node_name)


@node.command("kill")
@_name_option
@click.argument("node_name", metavar="NODE")
def node_kill(name: str, node_name: str) -> None:
    """End a node at once, as a power cut would."""
    from tortie.lab import machines

    layout = state.require(name)
    _check_node(layout.spec, node_name)
    machines.kill(layout, node_name)


@node.command("start")
@_name_option
@click.argument("node_name", metavar="NODE")
def node_start(name: str, node_name: str) -> None:
    """Start a stopped node."""
    from tortie.lab import nodes

    layout = state.require(name)
    _check_node(layout.spec, node_name)
    nodes.prepare(layout, node_name)
    nodes.start(layout, node_name)


@command.group()
def component() -> None:
    """Restart or kill one component: of a node, or of `control` (apiserver, controllers)."""


@component.command("restart")
@_name_option
@click.argument("node_name", metavar="NODE")
@click.argument("component_name", metavar="COMPONENT")
def component_restart(name: str, node_name: str, component_name: str) -> None:
    """Stop a component in order and start it again."""
    from tortie.lab.components import restart

    restart(state.require(name), node_name, component_name)


@component.command("kill")
@_name_option
@click.argument("node_name", metavar="NODE")
@click.argument("component_name", metavar="COMPONENT")
def component_kill(name: str, node_name: str, component_name: str) -> None:
    """Kill a component with SIGKILL; its supervisor starts it again."""
    from tortie.lab.components import kill

    kill(state.require(name), node_name, component_name)


def _spec(
    *,
    name: str,
    nodes: int,
    ip_family: Any,
    encapsulation: Any,
    api_port: int | None,
    api_mode: Any,
    demo: bool,
) -> LabSpec:
    """The specification of an existing lab wins where it cannot change; a contradiction is an error."""
    existing = state.load(name)
    if existing is None:
        index = state.free_index()
        return LabSpec(
            name=name,
            index=index,
            nodes=nodes,
            ip_family=ip_family,
            encapsulation=encapsulation,
            api_port=api_port or 6443 + index,
            demo=demo,
            api_mode=api_mode,
        )
    source = click.get_current_context().get_parameter_source
    spec = existing.spec
    asked = {
        "nodes": nodes,
        "ip_family": ip_family,
        "encapsulation": encapsulation,
        "api_port": api_port,
        "api_mode": api_mode,
    }
    for option, value in asked.items():
        given = source(option) is click.core.ParameterSource.COMMANDLINE
        if given and value != getattr(spec, option):
            raise LabError(
                f"Lab {name!r} exists with --{option.replace('_', '-')} {getattr(spec, option)}, which cannot change; "
                f"`tortie lab down --name {name}` first, or use another --name."
            )
    return spec


def _check_node(spec: LabSpec, node_name: str) -> None:
    if node_name not in spec.node_names:
        raise LabError(f"Lab {spec.name!r} has no node {node_name!r}; its nodes are {', '.join(spec.node_names)}.")
