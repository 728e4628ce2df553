"""The host's interfaces and the kernel's choice of source addresses, for autodetection.

In: the kernel of the network namespace that the process is in. Out: a `Host` for `tortie.node.autodetect`.
"""

import socket
from ipaddress import ip_interface
from pathlib import Path

from tortie.model.k8s import Node
from tortie.net import link
from tortie.net.netlink import Netlink
from tortie.node.autodetect import Host, HostAddress, Interface

_ROUTE = 0  # NETLINK_ROUTE


def host(node: Node | None = None) -> Host:
    """The host as it is now. node: the Kubernetes node, for its internal addresses."""
    internal = tuple(a.address for a in node.status.addresses if a.type == "InternalIP") if node is not None else ()
    return Host(interfaces=interfaces(), internal=internal, source_towards=source_towards)


def interfaces() -> tuple[Interface, ...]:
    """All interfaces with their addresses."""
    with Netlink(_ROUTE) as kernel:
        found: dict[int, list[HostAddress]] = {}
        for address in link.addresses(kernel):
            found.setdefault(address.index, []).append(ip_interface(f"{address.ip}/{address.length}"))
        return tuple(Interface(one.index, one.name, tuple(found.get(one.index, ()))) for one in link.links(kernel))


def kernel_has_ipv6() -> bool:
    """Whether the kernel was built and booted with IPv6."""
    return Path("/proc/net/if_inet6").exists()


def source_towards(destination: str, family: int) -> str:
    """The source address of a UDP "connection" to port 80 of the destination (a name or address); nothing is sent."""
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    try:
        target = socket.getaddrinfo(destination, 80, family=kind, type=socket.SOCK_DGRAM)[0][4]
        with socket.socket(kind, socket.SOCK_DGRAM) as probe:
            probe.connect(target)
            return str(probe.getsockname()[0]).partition("%")[0]
    except OSError:
        return ""
