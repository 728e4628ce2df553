"""The lab's nodes: their files, their private view of /etc, /opt, /var/lib, /var/log and /run, and their services.

In: the layout and the credentials that `bootstrap` obtained. Out: running machines in which the lab's kubelet and
service proxy and the real calico-node (its own runit beneath) are supervised, as on a host.
"""

import os
import shlex
import sys
from pathlib import Path

from tortie.lab import machines
from tortie.lab.layout import OUTSIDE, OUTSIDE_DNS_V4, OUTSIDE_DNS_V6, Layout
from tortie.lab.machines import ServiceDefinition

_SERVICES = "/etc/lab/services"
_KUBELET_PKI = "/var/lib/kubelet/pki"


def program() -> str:
    """The `tortie` executable of this installation."""
    return str(Path(sys.executable).with_name("tortie"))


def write_secret(path: Path, text: str) -> None:
    """Writes a file that only root may read, never readable by others in between; unchanged content is left alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.read_text() == text:
        return
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    temporary.replace(path)


def kubeconfig_path(layout: Layout, node: str, owner: str) -> Path:
    """Where a node's component finds its kubeconfig, as this host sees it. owner: calico, kubelet or proxy."""
    base = layout.machine_dir(node)
    return {
        "calico": base / "etc" / "calico" / "kubeconfig",
        "kubelet": base / "var-lib" / "kubelet" / "kubeconfig",
        "proxy": base / "var-lib" / "kube-proxy" / "kubeconfig",
    }[owner]


def prepare(layout: Layout, node: str) -> None:
    """Writes the node's directories and service definitions."""
    base = layout.machine_dir(node)
    for part in ("etc", ".etc-work", "opt", ".opt-work", "var-lib", "var-log"):
        (base / part).mkdir(parents=True, exist_ok=True)
    (base / "etc" / "hostname").write_text(f"{node}\n")
    names = [f"nameserver {OUTSIDE_DNS_V4 if layout.spec.ipv4 else OUTSIDE_DNS_V6}\n"]
    (base / "etc" / "resolv.conf").write_text("".join(names))
    machines.write_services(base / "etc" / "lab" / "services", _services(layout, node), log_dir="/var/log/lab")


def start(layout: Layout, node: str) -> None:
    """Starts the node unless it runs."""
    machines.start(layout, node, Path(_SERVICES), setup=_setup(layout, node))


def start_outside(layout: Layout) -> None:
    """Starts the outside world: name, web and echo servers on documentation addresses."""
    base = layout.machine_dir(OUTSIDE)
    services = base / "services"
    machines.write_services(
        services,
        [ServiceDefinition(name="outside", argv=[program(), "lab-outside"])],
        log_dir=str(layout.log_dir(OUTSIDE)),
    )
    machines.start(layout, OUTSIDE, services)


def _setup(layout: Layout, node: str) -> str:
    """Shell lines that give the node a private view of the directories it writes to; the state directory disappears
    from its view with /var/lib, so everything under it is mounted first."""
    base = shlex.quote(str(layout.machine_dir(node)))
    return "\n".join(
        [
            f"hostname {node}",
            "mount -t sysfs sysfs /sys 2>/dev/null || true",
            f"mount -t overlay overlay -o lowerdir=/etc,upperdir={base}/etc,workdir={base}/.etc-work /etc",
            f"mount -t overlay overlay -o lowerdir=/opt,upperdir={base}/opt,workdir={base}/.opt-work /opt",
            "mount -t tmpfs -o mode=755 tmpfs /run",
            "mkdir -p /run/netns /run/lock /run/calico /run/bird",
            # Where birdc looks for BIRD when it is not told.
            "ln -s /run/calico/bird.ctl /run/bird/bird.ctl",
            f"mount --bind {base}/var-log /var/log",
            f"mount --bind {base}/var-lib /var/lib",
            "cd /",
        ]
    )


def _services(layout: Layout, node: str) -> list[ServiceDefinition]:
    backend = "bird" if layout.spec.encapsulation == "none" else "vxlan"
    dns = ",".join(layout.dns_services)
    return [
        ServiceDefinition(
            name="kubelet",
            argv=[
                program(),
                "lab-kubelet",
                *("--node", node),
                *("--kubeconfig", "/var/lib/kubelet/kubeconfig"),
                *("--node-ip", ",".join(layout.node_addresses(node))),
                *("--cluster-dns", dns),
                *("--tls-cert-file", f"{_KUBELET_PKI}/kubelet.crt"),
                *("--tls-private-key-file", f"{_KUBELET_PKI}/kubelet.key"),
                *("--client-ca-file", f"{_KUBELET_PKI}/ca.crt"),
            ],
        ),
        ServiceDefinition(
            name="proxy",
            argv=[
                program(),
                "lab-proxy",
                *("--node", node),
                *("--kubeconfig", "/var/lib/kube-proxy/kubeconfig"),
                *("--cluster-cidr", ",".join(layout.pod_cidrs)),
            ],
        ),
        ServiceDefinition(
            name="calico-node",
            argv=[program(), "node", "start"],
            environment={
                "NODENAME": node,
                "KUBECONFIG": "/etc/calico/kubeconfig",
                "DATASTORE_TYPE": "kubernetes",
                "WAIT_FOR_DATASTORE": "true",
                "CALICO_NETWORKING_BACKEND": backend,
                "CLUSTER_TYPE": "k8s,bgp" if backend == "bird" else "k8s",
                "IP": "autodetect" if layout.spec.ipv4 else "none",
                "IP6": "autodetect" if layout.spec.ipv6 else "none",
                "IP_AUTODETECTION_METHOD": "interface=eth0",
                "IP6_AUTODETECTION_METHOD": "interface=eth0",
                "NO_DEFAULT_POOLS": "true",
                "FELIX_NFTABLESMODE": "Enabled",
                "FELIX_HEALTHENABLED": "true",
                "FELIX_PROMETHEUSMETRICSENABLED": "true",
                "FELIX_IPV6SUPPORT": "true" if layout.spec.ipv6 else "false",
                "FELIX_DEFAULTENDPOINTTOHOSTACTION": "ACCEPT",
                "FELIX_INTERFACEPREFIX": "cali",
                **({"CALICO_ROUTER_ID": "hash"} if not layout.spec.ipv4 else {}),
            },
        ),
    ]
