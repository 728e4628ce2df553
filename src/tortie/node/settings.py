"""What the environment asks of calico-node, checked before anything is done.

For start-up, supervision and monitoring. In: the environment as operators set it for calico-node. Out: `Settings`, or
one `Fatal` that names every wrong variable (spec/cni-ipam-node.md 3.1, 3.2, 3.4, 3.11).
"""

import os
import socket
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path

import msgspec

from tortie.model import formats
from tortie.service.run import Fatal

NODENAME_FILE = Path("/var/lib/calico/nodename")
BACKENDS = ("bird", "vxlan", "none")
FAMILIES = (4, 6)
_FALSE = {"", "false", "0", "no", "n", "f"}
_ENCAPSULATIONS = {
    "off": "Never",
    "never": "Never",
    "crosssubnet": "CrossSubnet",
    "cross-subnet": "CrossSubnet",
    "always": "Always",
}


class PoolSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The default pool of one family. cidr: "" for a choice by us, `none` for no pool."""

    cidr: str
    block_size: int
    ipip_mode: str
    vxlan_mode: str
    nat_outgoing: bool
    node_selector: str
    disable_bgp_export: bool


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """ip, methods: IP and IP_AUTODETECTION_METHOD by family. as_number: "" for none."""

    node: str
    backend: str
    ip: dict[int, str]
    methods: dict[int, str]
    as_number: str
    pools: dict[int, PoolSettings]
    no_default_pools: bool
    ipv6_support: bool
    wait_for_datastore: bool
    check_addresses: bool
    cluster_type: str
    use_pod_cidr: bool
    poll_seconds: float
    file_logging: bool
    manage_cni: bool
    felix: bool
    log_level: str
    namespace: str
    shutdown_file: Path
    felix_health: tuple[str, int]

    @property
    def bird(self) -> bool:
        """BIRD and confd run on this node."""
        return self.backend == "bird"


def node_name(environ: Mapping[str, str] | None = None, *, file: Path = NODENAME_FILE) -> str:
    """NODENAME, else the name of an earlier start, else HOSTNAME, else the kernel's."""
    env = os.environ if environ is None else environ
    name = env.get("NODENAME", "").strip()
    if name:
        return name
    try:
        name = file.read_text()
    except OSError:
        name = ""
    return name or env.get("HOSTNAME", "").strip().lower() or socket.gethostname().lower()


def from_environment(environ: Mapping[str, str] | None = None) -> Settings:
    """Raises Fatal."""
    env = os.environ if environ is None else environ
    problems: list[str] = []
    backend = env.get("CALICO_NETWORKING_BACKEND", "") or "bird"
    if env.get("CALICO_NETWORKING", "").lower() == "false":
        backend = "none"
    if backend not in BACKENDS:
        problems.append(f"CALICO_NETWORKING_BACKEND={backend!r} is not one of {', '.join(BACKENDS)}")
    datastore = env.get("DATASTORE_TYPE", "") or "kubernetes"
    if datastore != "kubernetes":
        problems.append(f"DATASTORE_TYPE={datastore!r} is not supported; allowed: kubernetes")
    as_number = env.get("AS", "").strip()
    if as_number:
        try:
            as_number = str(formats.as_number(as_number))
        except ValueError as e:
            problems.append(f"AS={as_number!r}: {e}")
    no_default_pools = _true(env, "NO_DEFAULT_POOLS")
    pools = {family: _pool(env, family, no_default_pools, problems) for family in FAMILIES}
    health_port = env.get("FELIX_HEALTHPORT", "") or "9099"
    if not health_port.isdigit():
        problems.append(f"FELIX_HEALTHPORT={health_port!r} is not a port number")
    poll = env.get("AUTODETECT_POLL_INTERVAL", "") or "60s"
    try:
        poll_seconds = formats.duration_seconds(poll)
    except ValueError as e:
        problems.append(f"AUTODETECT_POLL_INTERVAL: {e}")
        poll_seconds = 60.0
    if problems:
        raise Fatal("wrong settings: " + "; ".join(problems))
    node = node_name(env)
    return Settings(
        node=node,
        backend=backend,
        ip={4: env.get("IP", "").strip(), 6: env.get("IP6", "").strip()},
        methods={
            4: env.get("IP_AUTODETECTION_METHOD", "") or "first-found",
            6: env.get("IP6_AUTODETECTION_METHOD", "") or "first-found",
        },
        as_number=as_number,
        pools=pools,
        no_default_pools=no_default_pools,
        ipv6_support=env.get("FELIX_IPV6SUPPORT", "").lower() not in _FALSE - {""},
        wait_for_datastore=_true(env, "WAIT_FOR_DATASTORE"),
        check_addresses=not _true(env, "DISABLE_NODE_IP_CHECK"),
        cluster_type=env.get("CLUSTER_TYPE", ""),
        use_pod_cidr=_true(env, "USE_POD_CIDR"),
        poll_seconds=poll_seconds,
        file_logging=not _true(env, "CALICO_DISABLE_FILE_LOGGING"),
        manage_cni=env.get("CALICO_MANAGE_CNI", "").lower() not in _FALSE - {""},
        felix=not env.get("CALICO_DISABLE_FELIX", ""),
        log_level=_level(env.get("CALICO_STARTUP_LOGLEVEL", "")),
        namespace=env.get("NAMESPACE", "") or "kube-system",
        shutdown_file=Path(env.get("CALICO_SHUTDOWN_TIMESTAMP_FILE", "") or "/var/lib/calico/shutdownTS"),
        felix_health=(env.get("FELIX_HEALTHHOST", "") or "localhost", int(health_port)),
    )


def _pool(env: Mapping[str, str], family: int, no_default_pools: bool, problems: list[str]) -> PoolSettings:
    prefix = f"CALICO_IPV{family}POOL_"

    def get(name: str) -> str:
        return env.get(prefix + name, "").strip()

    def encapsulation(name: str) -> str:
        text = get(name).lower() or "never"
        if text not in _ENCAPSULATIONS:
            problems.append(f"{prefix}{name}={get(name)!r} is not one of {', '.join(_ENCAPSULATIONS)}")
        return _ENCAPSULATIONS.get(text, "Never")

    cidr = get("CIDR")
    if cidr and no_default_pools:
        problems.append(f"{prefix}CIDR={cidr!r} contradicts NO_DEFAULT_POOLS=true; unset one of them")
    if cidr and cidr.lower() != "none":
        try:
            if ip_network(cidr, strict=False).version != family:
                raise ValueError
        except ValueError:
            problems.append(f"{prefix}CIDR={cidr!r} is not an IPv{family} network, nor none")
    default, least, most = (26, 20, 32) if family == 4 else (122, 116, 128)
    size = get("BLOCK_SIZE") or str(default)
    if not size.isdigit() or not least <= int(size) <= most:
        problems.append(f"{prefix}BLOCK_SIZE={size!r} is not a number from {least} to {most}")
        size = str(default)
    vxlan = encapsulation("VXLAN")
    ipip = encapsulation("IPIP") if family == 4 else "Never"
    if vxlan != "Never" and ipip != "Never":
        problems.append(f"{prefix}IPIP and {prefix}VXLAN are both on; a pool has one encapsulation")
    nat = get("NAT_OUTGOING").lower()
    return PoolSettings(
        cidr=cidr,
        block_size=int(size),
        ipip_mode=ipip,
        vxlan_mode=vxlan,
        nat_outgoing=nat not in _FALSE if nat else family == 4,
        node_selector=get("NODE_SELECTOR") or "all()",
        disable_bgp_export=get("DISABLE_BGP_EXPORT").lower() not in _FALSE,
    )


def _true(env: Mapping[str, str], name: str) -> bool:
    return env.get(name, "").strip().lower() not in _FALSE


def _level(text: str) -> str:
    """Calico's names of log levels as ours; info for anything unknown."""
    known = {"debug": "debug", "warning": "warning", "warn": "warning", "error": "error"}
    return known.get(text.lower(), "critical" if text.lower() in ("fatal", "panic") else "info")
