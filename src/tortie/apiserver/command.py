"""`tortie apiserver`: the embedded Kubernetes API server as a process; `backup` and `restore` of its data.

In: flags. Out: a server until SIGTERM or SIGINT; what fails prints one sentence and exits with 1.
"""

import asyncio
import ipaddress
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tortie.apiserver.oidc import OidcSettings


def _listen(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> list[tuple[str, int]]:
    found = []
    for value in values:
        host, colon, port = value.rpartition(":")
        if not colon or not port.isdigit() or int(port) > 65535:
            raise click.BadParameter(f"{value!r} must be HOST:PORT, with PORT from 0 to 65535")
        found.append((host.strip("[]") or "0.0.0.0", int(port)))  # noqa: S104 - the user asked for every address
    return found


def _cidrs(_ctx: click.Context, _param: click.Parameter, value: str) -> list[str]:
    found = []
    for text in value.split(","):
        try:
            found.append(str(ipaddress.ip_network(text.strip())))
        except ValueError as error:
            raise click.BadParameter(f"{text!r} is not a network: {error}") from None
    families = [ipaddress.ip_network(c).version for c in found]
    if len(families) != len(set(families)):
        raise click.BadParameter("give at most one network of each IP family")
    return found


def _address(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> list[str]:
    for value in values:
        try:
            ipaddress.ip_address(value)
        except ValueError:
            raise click.BadParameter(f"{value!r} is not an IP address") from None
    return list(values)


def _claims(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for value in values:
        name, equals, wanted = value.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{value!r} must be NAME=VALUE")
        found[name] = wanted
    return found


def _oidc(
    *,
    oidc_issuer_url: str,
    oidc_client_id: str,
    oidc_username_claim: str,
    oidc_username_prefix: str | None,
    oidc_groups_claim: str,
    oidc_groups_prefix: str,
    oidc_required_claim: dict[str, str],
    oidc_ca_file: Path | None,
    oidc_signing_algs: str,
) -> "OidcSettings | None":
    from tortie.apiserver.oidc import OidcSettings

    if not oidc_issuer_url:
        if oidc_client_id:
            raise click.UsageError("--oidc-client-id means nothing without --oidc-issuer-url")
        return None
    return OidcSettings(
        issuer=oidc_issuer_url,
        client_id=oidc_client_id,
        username_claim=oidc_username_claim,
        username_prefix=oidc_username_prefix,
        groups_claim=oidc_groups_claim,
        groups_prefix=oidc_groups_prefix,
        required_claims=oidc_required_claim,
        ca_file=oidc_ca_file,
        algorithms=tuple(name.strip() for name in oidc_signing_algs.split(",")),
    )


@click.group(invoke_without_command=True)
@click.option("--data-dir", type=click.Path(path_type=Path), help="Database, keys, admin.kubeconfig.  [required]")
@click.option(
    "--listen",
    multiple=True,
    default=("127.0.0.1:6443",),
    callback=_listen,
    metavar="HOST:PORT",
    help="Where to listen; may be repeated. Port 0 takes a free one.",
    show_default=True,
)
@click.option(
    "--advertise",
    multiple=True,
    callback=_address,
    metavar="IP",
    help="Address of the Service kubernetes; may be repeated.",
)
@click.option(
    "--service-cidr",
    default="10.96.0.0/16",
    callback=_cidrs,
    show_default=True,
    help="Networks for Services, one for each IP family, separated by a comma.",
)
@click.option(
    "--api-mode",
    default="native",
    type=click.Choice(["native", "aggregated"]),
    show_default=True,
    help="Who serves projectcalico.org/v3: this server, or an aggregated one that an APIService names.",
)
@click.option("--oidc-issuer-url", default="", help="OpenID provider whose ID tokens are accepted; https only.")
@click.option("--oidc-client-id", default="", help="The audience that ID tokens must have.")
@click.option("--oidc-username-claim", default="sub", show_default=True, help="The claim that names the user.")
@click.option(
    "--oidc-username-prefix",
    default=None,
    help="What user names begin with; - for nothing. Without it the issuer and #, and nothing for the claim email.",
)
@click.option("--oidc-groups-claim", default="", help="The claim with the user's groups, one or a list.")
@click.option("--oidc-groups-prefix", default="", help="What names of groups begin with.")
@click.option(
    "--oidc-required-claim",
    multiple=True,
    callback=_claims,
    metavar="NAME=VALUE",
    help="A claim that ID tokens must have; may be repeated.",
)
@click.option("--oidc-ca-file", default=None, type=click.Path(path_type=Path), help="Who signed the provider's "
              "certificate, in PEM; without it, who the system trusts.")  # fmt: skip
@click.option("--oidc-signing-algs", default="RS256", show_default=True, help="Allowed, separated by a comma.")
@click.option("--log-level", default="info", type=click.Choice(["debug", "info", "warning", "error"]),
              show_default=True)  # fmt: skip
@click.pass_context
def command(
    ctx: click.Context,
    /,
    data_dir: Path | None,
    listen: list[tuple[str, int]],
    advertise: list[str],
    service_cidr: list[str],
    api_mode: str,
    log_level: str,
    **oidc: Any,
) -> None:
    """The embedded Kubernetes API server: for labs, tests and learning."""
    if ctx.invoked_subcommand is not None:
        return
    if data_dir is None:
        raise click.UsageError("Missing option '--data-dir'.")
    import uvloop

    from tortie.apiserver.server import Settings, StartError

    settings = Settings(
        data_dir,
        tuple(listen),
        tuple(advertise),
        tuple(service_cidr),
        native=api_mode == "native",
        oidc=_oidc(**oidc),
    )
    try:
        uvloop.run(_run(settings))
    except StartError as error:
        click.echo(f"tortie apiserver: {error}", err=True)
        sys.exit(1)


async def _run(settings: object) -> None:
    from tortie.apiserver.server import Server, Settings

    assert isinstance(settings, Settings)
    server = Server(settings)
    await server.start()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    kubeconfig = settings.data_dir / "admin.kubeconfig"
    click.echo(f"serving on port {server.port}; kubeconfig: {kubeconfig}", err=True)
    await stop.wait()
    await server.stop()


_DATA = click.option("--data-dir", required=True, type=click.Path(path_type=Path), help="The server's folder.")


@command.command()
@_DATA
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Overwrite FILE.")
def backup(data_dir: Path, file: Path, force: bool) -> None:
    """Writes every object, and the cluster's keys, into FILE; the server may be running.

    FILE holds secrets: it is readable by its owner alone.
    """
    from tortie.apiserver import backup as backups

    with _reported("backup") as progress:
        made = backups.write(data_dir, file, force=force, progress=progress)
    click.echo(
        f"{file}: {made.objects} objects at resourceVersion {made.revision}, {made.files} files of pki/, "
        f"{made.size / 1e6:.1f} MB; checked"
    )


@command.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@_DATA
@click.option("--force", is_flag=True, help="Also into a folder that is not empty; the old content is kept beside.")
def restore(file: Path, data_dir: Path, force: bool) -> None:
    """Makes the folder of a stopped server from a backup.

    Clients' watches from before are answered with 410 Gone; they list again, as they do after any long absence.
    """
    from tortie.apiserver import restore as restores

    with _reported("restore") as progress:
        made, kept = restores.restore(file, data_dir, force=force, progress=progress)
    click.echo(f"{data_dir}: {made.objects} objects of resourceVersion {made.revision}, {made.files} files of pki/")
    if kept is not None:
        click.echo(f"what was there before is in {kept}; remove it when it is not needed any more")


@contextmanager
def _reported(what: str) -> Iterator[Callable[[int, int], None]]:
    """Shows progress on a terminal; turns a refusal into one sentence and exit status 1."""
    from tortie.apiserver.backup import BackupError

    with click.progressbar(length=1, label=what, file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:

        def progress(done: int, total: int) -> None:
            bar.length = max(1, total)
            bar.update(done - bar.pos)

        try:
            yield progress
        except BackupError as error:
            bar.finish()
            failure = f"tortie apiserver {what}: {error}"
        else:
            return
    click.echo(failure, err=True)
    sys.exit(1)
