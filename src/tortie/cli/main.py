"""The program `tortie`: one sub-command for each component and tool.

A sub-command's module is imported only when it is called, so that every daemon pays for its own imports alone.
"""

import importlib

import click

import tortie

# name -> (module, attribute, one line for --help, hidden)
_COMMANDS: dict[str, tuple[str, str, str, bool]] = {
    "lab": ("tortie.lab.command", "command", "A whole cluster on this machine: up, status, down.", False),
    "why": ("tortie.cli.why", "command", "Why is this connection allowed or denied?", False),
    "crds": ("tortie.cli.crds", "command", "Calico's kinds as CustomResourceDefinitions.", False),
    "apiserver": ("tortie.apiserver.command", "command", "The embedded Kubernetes API server.", False),
    "calico-apiserver": (
        "tortie.apiserver.aggregated.command",
        "command",
        "The aggregated API server for projectcalico.org/v3.",
        False,
    ),
    "webhooks": (
        "tortie.apiserver.calico_webhooks.command",
        "command",
        "The admission webhooks of native mode on real clusters.",
        False,
    ),
    "felix": ("tortie.felix.command", "command", "The policy and route agent of a node.", False),
    "confd": ("tortie.routing.command", "command", "Renders BIRD's configuration from BGP resources.", False),
    "cni": ("tortie.cni.command", "command", "The CNI plugin's node agent, and its installation.", False),
    "node": ("tortie.node.command", "command", "calico-node: start-up, supervision, readiness.", False),
    "lab-kubelet": ("tortie.lab.kubelet.command", "command", "The lab's kubelet.", True),
    "lab-proxy": ("tortie.lab.proxy.command", "command", "The lab's service proxy.", True),
    "lab-dns": ("tortie.lab.dns.command", "command", "The lab's cluster DNS.", True),
    "lab-controllers": ("tortie.lab.controllers.command", "command", "The lab's controllers.", True),
    "lab-outside": ("tortie.lab.outside.command", "command", "The lab's outside world.", True),
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name, (_, _, _, hidden) in _COMMANDS.items() if not hidden]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = _COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module, attribute, _, _ = entry
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, text) for name, (_, _, text, hidden) in _COMMANDS.items() if not hidden]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(tortie.__version__, prog_name="tortie")
def main() -> None:
    """Tortie connects Kubernetes workloads, decides which of them may talk, and explains itself."""


if __name__ == "__main__":
    main()
