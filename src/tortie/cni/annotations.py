"""What a pod and its namespace ask of the network, in annotations.

For the agent's ADD. In: annotations of the pod and of its namespace, and the network configuration. Out: `Wishes`, or
PluginError that names the annotation and its value (spec/cni-ipam-node.md 1.10). Pure.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from tortie.cni.errors import PluginError
from tortie.cni.netconf import NetConf

PREFIX = "cni.projectcalico.org/"
IPV4_POOLS, IPV6_POOLS = PREFIX + "ipv4pools", PREFIX + "ipv6pools"
IP_FAMILIES = PREFIX + "ipFamilies"
IP_ADDRS, IP_ADDRS_NO_IPAM = PREFIX + "ipAddrs", PREFIX + "ipAddrsNoIpam"
FLOATING_IPS, HW_ADDR = PREFIX + "floatingIPs", PREFIX + "hwAddr"
SOURCE_PREFIXES = PREFIX + "allowedSourcePrefixes"
POD_IP, POD_IPS, CONTAINER_ID = PREFIX + "podIP", PREFIX + "podIPs", PREFIX + "containerID"

_MAC = re.compile(r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """pools: names or CIDRs as written. fixed: bare addresses to take through IPAM. unmanaged: bare addresses to use
    without IPAM. mac: "" for any."""

    ipv4: bool
    ipv6: bool
    ipv4_pools: tuple[str, ...] = ()
    ipv6_pools: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    unmanaged: tuple[str, ...] = ()
    floating: tuple[str, ...] = ()
    mac: str = ""


def without_pod(conf: NetConf) -> Wishes:
    """What the network configuration alone says."""
    return Wishes(
        ipv4=conf.ipam.wants_ipv4,
        ipv6=conf.ipam.wants_ipv6,
        ipv4_pools=conf.ipam.ipv4_pools or (),
        ipv6_pools=conf.ipam.ipv6_pools or (),
    )


def wishes(conf: NetConf, *, pod: Mapping[str, str], namespace: Mapping[str, str]) -> Wishes:
    """The pod's annotation replaces the namespace's, that one the network configuration's. Raises PluginError."""
    base = without_pod(conf)
    ipv4, ipv6 = base.ipv4, base.ipv6
    if families := _list(IP_FAMILIES, pod, namespace):
        unknown = [family for family in families if family not in ("IPv4", "IPv6")]
        if unknown:
            raise PluginError(f"annotation {IP_FAMILIES}: {unknown[0]!r} is not a family; allowed: IPv4, IPv6")
        ipv4, ipv6 = "IPv4" in families, "IPv6" in families
    fixed = _addresses(IP_ADDRS, pod)
    unmanaged = _addresses(IP_ADDRS_NO_IPAM, pod)
    if fixed and unmanaged:
        raise PluginError(f"annotations {IP_ADDRS} and {IP_ADDRS_NO_IPAM} exclude each other; set one of them")
    for name, value in ((IP_ADDRS, fixed), (IP_ADDRS_NO_IPAM, unmanaged)):
        if value and conf.ipam.type != "calico-ipam":
            raise PluginError(f"annotation {name} needs ipam.type calico-ipam, not {conf.ipam.type!r}")
    if unmanaged and not conf.feature_control.ip_addrs_no_ipam:
        raise PluginError(f"annotation {IP_ADDRS_NO_IPAM} needs feature_control.ip_addrs_no_ipam in the network config")
    floating = _list(FLOATING_IPS, pod)
    if floating and not conf.feature_control.floating_ips:
        raise PluginError(f"annotation {FLOATING_IPS} needs feature_control.floating_ips in the network config")
    for address in floating:
        _address(FLOATING_IPS, address)
    for prefix in _list(SOURCE_PREFIXES, pod):
        try:
            ipaddress.ip_network(prefix, strict=False)
        except ValueError:
            raise PluginError(f"annotation {SOURCE_PREFIXES}: {prefix!r} is not a CIDR") from None
    mac = pod.get(HW_ADDR, "")
    if mac and not _MAC.fullmatch(mac):
        raise PluginError(f"annotation {HW_ADDR}: {mac!r} is not a MAC address of six pairs of hex digits")
    return Wishes(
        ipv4=ipv4,
        ipv6=ipv6,
        ipv4_pools=_list(IPV4_POOLS, pod, namespace) or base.ipv4_pools,
        ipv6_pools=_list(IPV6_POOLS, pod, namespace) or base.ipv6_pools,
        fixed=fixed,
        unmanaged=unmanaged,
        floating=floating,
        mac=mac.lower().replace("-", ":"),
    )


def check_floating(floating: tuple[str, ...], addresses: list[str]) -> None:
    """Each floating address needs a pod address of its family. Raises PluginError."""
    families = {ipaddress.ip_interface(address).version for address in addresses}
    for address in floating:
        if ipaddress.ip_address(address).version not in families:
            raise PluginError(f"annotation {FLOATING_IPS}: {address} has no pod address of its family")


def _list(name: str, *sources: Mapping[str, str]) -> tuple[str, ...]:
    """The first source that has the annotation decides."""
    text = next((source[name] for source in sources if name in source), "")
    if not text:
        return ()
    try:
        return tuple(part.strip() for part in msgspec.json.decode(text, type=list[str]))
    except msgspec.DecodeError:
        raise PluginError(f"annotation {name} is {text!r}; it must be a JSON list of texts") from None


def _addresses(name: str, pod: Mapping[str, str]) -> tuple[str, ...]:
    """At most one address of each family."""
    parsed = [_address(name, text) for text in _list(name, pod)]
    for version in (4, 6):
        same = [str(each) for each in parsed if each.version == version]
        if len(same) > 1:
            raise PluginError(
                f"annotation {name} has {len(same)} IPv{version} addresses ({', '.join(same)}); one at most"
            )
    return tuple(str(each) for each in parsed)


def _address(name: str, text: str) -> Any:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise PluginError(f"annotation {name}: {text!r} is not an IP address") from None
