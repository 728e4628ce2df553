"""The network configuration of the plugin `calico`, typed.

For the agent. In: the JSON that the runtime hands over. Out: `NetConf` with defaults filled in, the node's name and the
MTU, or CNIError that names the key. Keys of other platforms are accepted and ignored (spec/cni-ipam-node.md 1.4).
"""

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from tortie.cni.errors import DECODING_FAILURE, CNIError, PluginError

STATE_DIRECTORY = Path("/var/lib/calico")


class Route(msgspec.Struct, frozen=True):
    """gw: as given; "" for the pod's usual gateway."""

    dst: str
    gw: str = ""


class IPAM(msgspec.Struct, frozen=True):
    """assign_ipv4, assign_ipv6: the texts true and false; a JSON boolean is accepted too."""

    type: str = ""
    assign_ipv4: str | bool | None = None
    assign_ipv6: str | bool | None = None
    ipv4_pools: tuple[str, ...] | None = None
    ipv6_pools: tuple[str, ...] | None = None
    subnet: str = ""
    ranges: tuple[Any, ...] | None = None
    routes: tuple[Route, ...] | None = None

    @property
    def wants_ipv4(self) -> bool:
        return _truth("ipam.assign_ipv4", self.assign_ipv4, default=True)

    @property
    def wants_ipv6(self) -> bool:
        return _truth("ipam.assign_ipv6", self.assign_ipv6, default=False)


class Policy(msgspec.Struct, frozen=True):
    type: str = ""


class Kubernetes(msgspec.Struct, frozen=True):
    kubeconfig: str = ""
    node_name: str = ""


class FeatureControl(msgspec.Struct, frozen=True):
    ip_addrs_no_ipam: bool = False
    floating_ips: bool = False


class ContainerSettings(msgspec.Struct, frozen=True):
    allow_ip_forwarding: bool = False


class NetConf(msgspec.Struct, frozen=True, kw_only=True):
    """mtu 0: from the MTU file, else the kernel's default."""

    name: str
    type: str = ""
    cni_version: str = msgspec.field(default="", name="cniVersion")
    ipam: IPAM = IPAM()
    include_default_routes: bool = False
    mtu: int = 0
    require_mtu_file: bool = False
    num_queues: int = 1
    nodename: str = ""
    nodename_file: str = ""
    nodename_file_optional: bool = False
    hostname: str = ""
    ipam_lock_file: str = "/var/run/calico/ipam.lock"
    log_level: str = "info"
    policy: Policy = Policy()
    kubernetes: Kubernetes = Kubernetes()
    feature_control: FeatureControl = FeatureControl()
    container_settings: ContainerSettings = ContainerSettings()
    dataplane_options: dict[str, Any] | None = None
    device_type: str = ""
    readiness_gates: tuple[str, ...] = ()
    policy_setup_timeout_seconds: int = 0
    endpoint_status_dir: str = "/var/run/calico/endpoint-status"
    prev_result: dict[str, Any] | None = msgspec.field(default=None, name="prevResult")

    @property
    def queues(self) -> int:
        return max(self.num_queues, 1)


def parse(config: Mapping[str, Any]) -> NetConf:
    """Raises CNIError that names the key and what is allowed."""
    try:
        conf = msgspec.convert(config, NetConf)
    except msgspec.ValidationError as error:
        raise CNIError(DECODING_FAILURE, f"network config: {error}") from error
    if conf.device_type not in ("", "veth", "netkit"):
        raise PluginError(f"device_type {conf.device_type!r} is not supported; allowed: veth, netkit")
    if conf.policy_setup_timeout_seconds < 0:
        raise PluginError(
            f"policy_setup_timeout_seconds is {conf.policy_setup_timeout_seconds}; it must not be negative"
        )
    if conf.policy.type not in ("", "k8s"):
        raise PluginError(f"policy.type {conf.policy.type!r} is not supported; allowed: k8s, or empty")
    if conf.dataplane_options:
        raise PluginError(
            f"dataplane_options.type {conf.dataplane_options.get('type')!r} is not supported; leave the key out"
        )
    _ = conf.ipam.wants_ipv4, conf.ipam.wants_ipv6  # refuses other texts early
    return conf


def node_name(conf: NetConf, *, state_directory: Path = STATE_DIRECTORY) -> str:
    """`nodename`, else the nodename file as it is (nothing is trimmed), else `hostname`, else the machine's name."""
    if conf.nodename:
        return conf.nodename
    path = Path(conf.nodename_file) if conf.nodename_file else state_directory / "nodename"
    try:
        name = path.read_text()
    except FileNotFoundError:
        if not conf.nodename_file_optional:
            raise PluginError(
                f"{path} does not exist: is calico-node running on this node, with {path.parent} mounted?"
            ) from None
        name = ""
    return name or conf.hostname or socket.gethostname().strip().lower()


def effective_mtu(conf: NetConf, *, state_directory: Path = STATE_DIRECTORY) -> int:
    """The configured MTU, else the one that Felix wrote, else 0 for the kernel's default."""
    if conf.mtu:
        return conf.mtu
    path = state_directory / "mtu"
    try:
        text = path.read_text().strip()
    except FileNotFoundError:
        if conf.require_mtu_file:
            raise PluginError(f"{path} does not exist, and require_mtu_file is set") from None
        return 0
    try:
        return int(text)
    except ValueError:
        raise PluginError(f"{path} holds {text!r}; it must hold a number") from None


def _truth(key: str, value: str | bool | None, *, default: bool) -> bool:
    if value is None or value == "":
        return default
    text = str(value).lower()
    if text not in ("true", "false"):
        raise PluginError(f"{key} is {value!r}; allowed: true, false")
    return text == "true"
