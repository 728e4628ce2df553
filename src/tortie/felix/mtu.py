"""The MTU of pods: what fits through this node's devices under the encapsulations in use (spec/felix.md 3.8).

In: the node's devices and which encapsulations are on. Out: a number, and the file in which the CNI agent finds it.
"""

from collections.abc import Iterable
from pathlib import Path

from tortie.felix.messages import Encapsulation
from tortie.model import formats
from tortie.net import link
from tortie.net.link import Link
from tortie.net.netlink import Netlink
from tortie.service.log import get_logger

_FALLBACK = 1460
_IPIP, _VXLAN, _VXLAN_V6 = 20, 50, 70
_NETLINK_ROUTE = 0
_log = get_logger("felix.mtu")


def pod_mtu(links: Iterable[Link], pattern: str, encapsulation: Encapsulation) -> int:
    """The smallest MTU of the devices whose name matches, less the largest overhead in use; 1460 less it if none
    matches."""
    matching = formats.regex(pattern)
    device = min((found.mtu for found in links if matching.match(found.name)), default=_FALLBACK)
    overheads = ((encapsulation.ipip, _IPIP), (encapsulation.vxlan, _VXLAN), (encapsulation.vxlan_v6, _VXLAN_V6))
    return device - max((overhead for used, overhead in overheads if used), default=0)


def publish(path: Path, pattern: str, encapsulation: Encapsulation) -> int:
    """Writes the MTU where the CNI agent reads it, if it is not there already. Returns it. Raises OSError."""
    with Netlink(_NETLINK_ROUTE) as sock:
        mtu = pod_mtu(link.links(sock), pattern, encapsulation)
    text = str(mtu)
    if not path.exists() or path.read_text() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}")
        temporary.write_text(text)
        temporary.rename(path)
        _log.info("MTU of pods", mtu=mtu, file=str(path))
    return mtu
