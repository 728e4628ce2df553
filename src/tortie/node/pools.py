"""The address pools that the first node of a cluster creates.

For start-up. In: settings, the pools that exist, kubeadm's pod range, the host's addresses. Out: IPPool objects. Pure
(spec/cni-ipam-node.md 3.4).
"""

import secrets
from collections.abc import Iterable
from ipaddress import IPv6Network, ip_interface, ip_network
from typing import Any

from tortie.model.v3.ipam import IPPool
from tortie.node.settings import FAMILIES, Settings

_DEFAULT_V4 = "192.168.0.0/16"
_FALLBACKS_V4 = tuple(f"172.{n}.0.0/16" for n in range(16, 32))


def default_pools(
    settings: Settings,
    *,
    existing: Iterable[IPPool],
    kubeadm_cidrs: tuple[str, ...] = (),
    host_addresses: Iterable[str] = (),
    kernel_has_ipv6: bool = True,
    random_bits: int | None = None,
) -> list[dict[str, Any]]:
    """A pool for each family that has none yet. random_bits: 40 bits for the unique local range, drawn if None."""
    if settings.no_default_pools:
        return []
    present = {ip_network(p.spec.cidr, strict=False).version for p in existing if p.spec.cidr}
    result = []
    for family in FAMILIES:
        wanted = settings.pools[family]
        if family in present or wanted.cidr.lower() == "none":
            continue
        if family == 6 and not (settings.ipv6_support and kernel_has_ipv6):
            continue
        cidr = wanted.cidr or _of_family(kubeadm_cidrs, family)
        if not cidr:
            cidr = _free_v4(host_addresses) if family == 4 else _unique_local(random_bits)
        result.append(
            {
                "apiVersion": "projectcalico.org/v3",
                "kind": "IPPool",
                "metadata": {"name": f"default-ipv{family}-ippool"},
                "spec": {
                    "cidr": str(ip_network(cidr, strict=False)),
                    "blockSize": wanted.block_size,
                    "ipipMode": wanted.ipip_mode,
                    "vxlanMode": wanted.vxlan_mode,
                    "natOutgoing": wanted.nat_outgoing,
                    "nodeSelector": wanted.node_selector,
                    "disableBGPExport": wanted.disable_bgp_export,
                },
            }
        )
    return result


def _of_family(cidrs: Iterable[str], family: int) -> str:
    for text in cidrs:
        try:
            if ip_network(text.strip(), strict=False).version == family:
                return text.strip()
        except ValueError:
            continue
    return ""


def _free_v4(host_addresses: Iterable[str]) -> str:
    """192.168.0.0/16, or the first range in which the host has no address itself."""
    taken = [ip_interface(text).ip for text in host_addresses]
    for cidr in (_DEFAULT_V4, *_FALLBACKS_V4):
        if not any(ip in ip_network(cidr) for ip in taken if ip.version == 4):
            return cidr
    return _DEFAULT_V4


def _unique_local(random_bits: int | None) -> str:
    bits = secrets.randbits(40) if random_bits is None else random_bits
    return str(IPv6Network(((0xFD << 120) | (bits << 80), 48)))
