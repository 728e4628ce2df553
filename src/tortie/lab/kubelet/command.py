"""`tortie lab-kubelet`: the lab's kubelet, inside a lab node.

In: flags. Out: a running kubelet, or one line that says which flag is wrong.
"""

from pathlib import Path

import click

from tortie.lab.kubelet.node_services import Config
from tortie.lab.kubelet.sandbox import DNSSettings
from tortie.service import log
from tortie.service.run import run


@click.command("lab-kubelet")
@click.option("--node", required=True, help="Name of the Node.")
@click.option("--kubeconfig", required=True, type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--root-dir", type=click.Path(path_type=Path, file_okay=False), default=Path("/var/lib/kubelet"))
@click.option("--cni-bin-dir", default="/opt/cni/bin", help="Directories of CNI plugins, separated by colons.")
@click.option("--cni-conf-dir", type=click.Path(path_type=Path, file_okay=False), default=Path("/etc/cni/net.d"))
@click.option("--cni-cache-dir", type=click.Path(path_type=Path, file_okay=False), default=Path("/var/lib/cni"))
@click.option("--node-ip", default="", help="The node's addresses, separated by commas; found out when not given.")
@click.option("--cluster-dns", default="10.96.0.10", help="Addresses of the cluster's DNS, separated by commas.")
@click.option("--cluster-domain", default="cluster.local")
@click.option("--address", default="", help="Address of the HTTPS server; all addresses when not given.")
@click.option("--port", type=click.IntRange(1, 65535), default=10250)
@click.option("--tls-cert-file", type=click.Path(path_type=Path, dir_okay=False), default=None)
@click.option("--tls-private-key-file", type=click.Path(path_type=Path, dir_okay=False), default=None)
@click.option(
    "--client-ca-file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="Whose client certificates may use the server; the kubeconfig's CA when not given.",
)
@click.option("--max-pods", type=click.IntRange(1, 10000), default=250)
@click.option("--log-level", default="info", type=click.Choice(list(log.LEVELS), case_sensitive=False))
def command(
    node: str,
    kubeconfig: Path,
    root_dir: Path,
    cni_bin_dir: str,
    cni_conf_dir: Path,
    cni_cache_dir: Path,
    node_ip: str,
    cluster_dns: str,
    cluster_domain: str,
    address: str,
    port: int,
    tls_cert_file: Path | None,
    tls_private_key_file: Path | None,
    client_ca_file: Path | None,
    max_pods: int,
    log_level: str,
) -> None:
    """The lab's kubelet."""
    from tortie.lab.kubelet import daemon
    from tortie.lab.kubelet.node import detect_addresses
    from tortie.lab.kubelet.server import Listen

    log.configure("kubelet", log_level)
    if (tls_cert_file is None) != (tls_private_key_file is None):
        raise click.UsageError("--tls-cert-file and --tls-private-key-file belong together; one of them is missing")
    addresses = [text for text in node_ip.split(",") if text] or detect_addresses()
    if not addresses:
        raise click.UsageError("no address of this node was found; give it with --node-ip")
    config = Config(
        node=node,
        root_dir=root_dir,
        cni_bin_dirs=[Path(text) for text in cni_bin_dir.split(":") if text],
        cni_conf_dir=cni_conf_dir,
        cni_cache_dir=cni_cache_dir,
        node_ips=addresses,
        dns=DNSSettings(cluster=[text for text in cluster_dns.split(",") if text], domain=cluster_domain),
        max_pods=max_pods,
    )
    listen = Listen(
        address=address,
        port=port,
        certificate=tls_cert_file,
        key=tls_private_key_file,
        client_ca=client_ca_file,
        root_dir=root_dir,
        kubeconfig=kubeconfig,
    )
    run(lambda service: daemon.run(service, config, kubeconfig=kubeconfig, listen=listen), component="kubelet")
