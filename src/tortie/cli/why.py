"""`tortie why SRC DST[:PORT]`: is this connection allowed, and which policy and rule says so?

In: two ends as users name them, and a cluster or manifests. Out: a verdict, what decided it, and the trace of
everything that was asked, for people or as JSON. Exit status: 0 allowed, 1 denied, 2 no answer.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

import click

_ALLOWED, _DENIED, _ERROR = 0, 1, 2


@click.command()
@click.argument("source")
@click.argument("destination")
@click.option("-n", "--namespace", default="default", show_default=True, help="Where pods and services are looked for.")
@click.option(
    "--protocol",
    default="tcp",
    show_default=True,
    type=click.Choice(["tcp", "udp", "sctp", "icmp", "icmpv6"], case_sensitive=False),
)
@click.option("--source-port", type=click.IntRange(1, 65535), help="For rules that look at it; else some high port.")
@click.option("--ip-version", type=click.Choice(["4", "6"]), help="Default: IPv4 if both ends have it.")
@click.option(
    "--from",
    "manifests",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    metavar="DIR|FILE",
    help="Ask manifests instead of a cluster; may be repeated.",
)
@click.option("--kubeconfig", default=None, help="Credentials; default: $KUBECONFIG.")
@click.option("--context", default=None, help="The context in the kubeconfig.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option(
    "--endpoint-to-host-action",
    type=click.Choice(["drop", "accept", "return"], case_sensitive=False),
    help="What Felix's environment sets; the API does not tell.",
)
def command(
    source: str,
    destination: str,
    namespace: str,
    protocol: str,
    source_port: int | None,
    ip_version: str | None,
    manifests: tuple[Path, ...],
    kubeconfig: str | None,
    context: str | None,
    output: str,
    endpoint_to_host_action: str | None,
) -> None:
    """Why is this connection allowed or denied?

    SOURCE and DESTINATION are NAMESPACE/POD, a pod's name with -n, an address, service/NAMESPACE/NAME (destination
    only) or node/NAME. A port follows the destination: shop/web-1:80, service/shop/web:http, [2001:db8::1]:443.

    \b
    tortie why shop/frontend-1 shop/db-0:5432
    tortie why shop/frontend-1 service/shop/db
    tortie why 203.0.113.7 shop/frontend-1:80 --from manifests/
    """
    try:
        loaded = _load(manifests, kubeconfig, context)
        answers = _answers(
            loaded, source, destination, namespace, protocol.lower(), source_port, ip_version, endpoint_to_host_action
        )
    except _problems() as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(_ERROR)
    from tortie.cli import render

    if output == "json":
        click.echo(render.json_text(answers, loaded.notes))
    else:
        styled = sys.stdout.isatty()
        click.echo(render.text(answers, loaded.notes, styled=styled), color=styled)
    sys.exit(_ALLOWED if all(answer.verdict.allowed for answer in answers) else _DENIED)


def _problems() -> tuple[type[Exception], ...]:
    from tortie.kube.errors import ApiError

    return (ApiError, ValueError, OSError)  # ValueError: manifests, targets, kubeconfig, selectors


def _load(manifests: tuple[Path, ...], kubeconfig: str | None, context: str | None) -> Any:
    if manifests:
        from tortie.cli.manifests import from_files

        return from_files(manifests)
    from tortie.cli.world import from_cluster
    from tortie.kube.config import load

    return asyncio.run(from_cluster(load(kubeconfig, context)))


def _answers(
    loaded: Any,
    source: str,
    destination: str,
    namespace: str,
    protocol_name: str,
    source_port: int | None,
    ip_version: str | None,
    host_action: str | None,
) -> list[Any]:
    import msgspec

    from tortie.cli import targets
    from tortie.cli.render import Answer
    from tortie.policy import evaluate

    protocol = targets.PROTOCOLS[protocol_name]
    sender = targets.source(loaded, source, namespace=namespace)
    answers: list[Answer] = []
    failure: targets.TargetError | None = None
    for receiver in targets.destinations(loaded, destination, namespace=namespace, protocol=protocol):
        try:
            packet = targets.packets(
                sender,
                receiver,
                protocol=protocol,
                source_port=source_port,
                version=int(ip_version) if ip_version else None,
            )
        except targets.TargetError as error:
            failure = error  # a backend of the other family; the others may do
            continue
        settings = loaded.settings(getattr(packet.src, "node", ""))
        if host_action is not None:
            settings = msgspec.structs.replace(settings, endpoint_to_host_action=host_action.lower())
        answers.append(Answer(sender.name, receiver.name, packet, evaluate(loaded.world, packet, settings)))
    if not answers and failure is not None:
        raise failure
    return answers
