"""`tortie calico-apiserver`: the aggregated API server for projectcalico.org/v3 as a process.

In: flags and environment (spec/apiserver-controllers-clis.md 1.2). Out: a server until SIGTERM; it ends with 1 and one
line of reason when it cannot start, or must start again.
"""

import os
import ssl
import sys
import tempfile
from pathlib import Path

import click

_TLS = {
    "1.2": ssl.TLSVersion.TLSv1_2,
    "VersionTLS12": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
    "VersionTLS13": ssl.TLSVersion.TLSv1_3,
}


@click.command()
@click.option("--secure-port", type=click.IntRange(0, 65535), default=5443, show_default=True,
              help="Port to serve HTTPS on; 0 takes a free one.")  # fmt: skip
@click.option("--bind-address", default="0.0.0.0", show_default=True, help="Address to serve on.")  # noqa: S104 - a server
@click.option("--tls-cert-file", type=click.Path(path_type=Path), help="Certificate to serve with, PEM.")
@click.option("--tls-private-key-file", type=click.Path(path_type=Path), help="Its private key, PEM.")
@click.option("--kubeconfig", envvar="KUBECONFIG", default=None,
              help="The API server that keeps the objects; default: that of the pod.")  # fmt: skip
@click.option("--enable-validating-admission-policy", type=bool, default=False, hidden=True)
@click.option("--print-swagger", is_flag=True, help="Print the OpenAPI document and exit.")
@click.option("--swagger-file-path", type=click.Path(path_type=Path), default=None,
              help="Where --print-swagger writes to, instead of standard output.")  # fmt: skip
def command(
    secure_port: int,
    bind_address: str,
    tls_cert_file: Path | None,
    tls_private_key_file: Path | None,
    kubeconfig: str | None,
    enable_validating_admission_policy: bool,
    print_swagger: bool,
    swagger_file_path: Path | None,
) -> None:
    """The aggregated API server for projectcalico.org/v3, on any Kubernetes API server.

    Environment: LOG_LEVEL, TLS_MIN_VERSION (1.2, 1.3), MIN_RESOURCE_REFRESH_INTERVAL (such as 5s).
    """
    from tortie.apiserver.aggregated.server import Server, Settings, swagger
    from tortie.kube.config import ClusterConfig, ConfigError, load
    from tortie.model.formats import duration_seconds
    from tortie.service.log import configure, get_logger
    from tortie.service.run import Service, run

    if print_swagger:
        document = swagger(ClusterConfig("https://none.invalid"))
        if swagger_file_path is not None:
            swagger_file_path.write_bytes(document)
        else:
            sys.stdout.buffer.write(document + b"\n")
        return
    configure("calico-apiserver", os.environ.get("LOG_LEVEL", "info").lower())
    log = get_logger("apiserver.aggregated")
    if enable_validating_admission_policy:
        log.warning("admission policies are evaluated by the API server behind, on the objects as it keeps them")
    if (tls_cert_file is None) != (tls_private_key_file is None):
        raise click.UsageError("--tls-cert-file and --tls-private-key-file belong together")
    least = os.environ.get("TLS_MIN_VERSION") or "1.2"
    if least not in _TLS:
        raise click.UsageError(f"TLS_MIN_VERSION is {least!r}; it must be one of {', '.join(_TLS)}")
    try:
        refresh = duration_seconds(os.environ.get("MIN_RESOURCE_REFRESH_INTERVAL") or "5s")
        cluster = load(kubeconfig)
    except (ConfigError, OSError, ValueError) as error:
        log.error("cannot start", reason=str(error))  # noqa: TRY400 - the reason says everything
        sys.exit(1)
    with tempfile.TemporaryDirectory(prefix="calico-apiserver-") as folder:
        certificate, key = tls_cert_file, tls_private_key_file
        if certificate is None or key is None:
            certificate, key = _own_certificate(Path(folder))
        settings = Settings(bind_address, secure_port, certificate, key, _TLS[least], refresh)

        async def main(service: Service) -> None:
            await Server(settings, cluster).run(service)

        status = run(main, component="calico-apiserver", status_exit=False)
    sys.exit(status)


def _own_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of this process alone, for clients that do not verify it."""
    from tortie.apiserver import pki

    names = ["localhost", "127.0.0.1", "calico-api.calico-system.svc"]
    pair = pki.issue_server_certificate(pki.make_authority("calico-apiserver"), "calico-api", names)
    certificate, key = folder / "tls.crt", folder / "tls.key"
    key.touch(mode=0o600)
    key.write_bytes(pair.key)
    certificate.write_bytes(pair.certificate)
    return certificate, key
