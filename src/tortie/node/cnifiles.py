"""The CNI executables and configuration list, where this node's container runtime looks for them.

For start-up and the node services. In: settings, the pools (which families pods get). Out: files, written only when
they differ (spec/cni-ipam-node.md 3.8).
"""

import os
from collections.abc import Iterable
from ipaddress import ip_network
from pathlib import Path

from tortie.cni.install import Options, install
from tortie.model.v3.ipam import IPPool
from tortie.node.settings import Settings
from tortie.service.log import get_logger

_log = get_logger("node.cnifiles")


def directories() -> tuple[Path, Path]:
    """The runtime's directories for executables and configuration; the host's, if they are mounted into a container."""
    host_bin, host_conf = Path("/host/opt/cni/bin"), Path("/host/etc/cni/net.d")
    return (
        host_bin if host_bin.is_dir() else Path("/opt/cni/bin"),
        host_conf if host_conf.is_dir() else Path("/etc/cni/net.d"),
    )


def kubeconfig_path() -> Path:
    """Where the plugin's kubeconfig is written, as this process sees it."""
    return directories()[1] / "calico-kubeconfig"


def install_cni(settings: Settings, pools: Iterable[IPPool]) -> None:
    """Writes what is not in place yet; the list comes last, since the runtime takes it as the node's readiness."""
    families = {ip_network(p.spec.cidr, strict=False).version for p in pools if p.spec.cidr}
    bin_dir, conf_dir = directories()
    options = Options(
        kubeconfig=f"{os.environ.get('CNI_NET_DIR', '') or '/etc/cni/net.d'}/calico-kubeconfig",
        assign_ipv4=4 in families or not families,
        assign_ipv6=6 in families,
        mtu=int(os.environ.get("CNI_MTU", "") or 0),
    )
    for path in install(bin_dir=bin_dir, conf_dir=conf_dir, options=options):
        _log.info("installed", file=str(path))
