"""The pod's interface: the pair, its addresses and routes, and what the node's kernel must know of it.

For the agent, which calls these functions in worker threads. In: namespaces as descriptors, names, addresses. Out: the
kernel changed as a whole or, after an error, the pair removed again (spec/cni-ipam-node.md 1.14).
"""

import errno
import ipaddress
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tortie.cni.errors import PluginError
from tortie.cni.netconf import Route
from tortie.net import veth
from tortie.net.veth import RouteSocket
from tortie.service.log import get_logger

HOST_MAC = "ee:ee:ee:ee:ee:ee"
GATEWAY_V4 = "169.254.1.1"
GATEWAY_V6 = "fe80::ecee:eeff:feee:eeee"
"""The link-local address that the fixed MAC leads to."""

_DEFAULT_V4, _DEFAULT_V6 = "0.0.0.0/0", "::/0"
_MAC_SECONDS = 5.0
_RUNNING_SECONDS = 0.2
_log = get_logger("cni.interface")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """netns: descriptor of the pod's namespace. addresses: /32 and /128. routes: the pod's routes, all through the
    node; None for default routes. host_routes: destinations that the node routes to the pod. mtu 0: the kernel's
    default. mac "": the kernel chooses."""

    netns: int
    name: str
    host_name: str
    addresses: Sequence[str]
    routes: Sequence[Route] | None = None
    host_routes: Sequence[str] = ()
    mtu: int = 0
    queues: int = 1
    mac: str = ""
    forwarding: bool = False
    device: str = "veth"

    @property
    def ipv4(self) -> bool:
        return any(ipaddress.ip_interface(each).version == 4 for each in self.addresses)

    @property
    def ipv6(self) -> bool:
        return any(ipaddress.ip_interface(each).version == 6 for each in self.addresses)


@dataclass(frozen=True, slots=True)
class Connected:
    mac: str
    mtu: int


def connect(attachment: Attachment) -> Connected:
    """Creates the pair and makes it carry packets. Raises PluginError; nothing is left then."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        with RouteSocket() as host:
            # A left-over of an earlier sandbox of this pod; its other end goes with it.
            host.apply(veth.delete_link(attachment.host_name))
            with veth.inside(attachment.netns):
                pod = RouteSocket()
            with pod:
                _create(pod, host, home, attachment)
                try:
                    return _configure(pod, host, attachment)
                except OSError:
                    host.apply(veth.delete_link(attachment.host_name))
                    raise
    except OSError as error:
        raise PluginError(f"cannot connect interface {attachment.name} of the pod: {error}") from error
    finally:
        os.close(home)


def disconnect(netns: int | None, name: str, *, host_name: str | None = None) -> None:
    """Removes the interface; absent ones count as done. host_name: removes that end too, for a vanished namespace."""
    if netns is not None:
        try:
            with veth.inside(netns):
                pod = RouteSocket()
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOENT):
                raise
        else:
            with pod:
                pod.apply(veth.delete_link(name))
    if host_name is not None:
        with RouteSocket() as host:
            host.apply(veth.delete_link(host_name))


def present(netns: int, name: str) -> veth.Link | None:
    """The pod's interface, None if there is none."""
    with veth.inside(netns):
        pod = RouteSocket()
    with pod:
        return pod.link(name)


def exists_on_host(host_name: str) -> bool:
    with RouteSocket() as host:
        return host.link(host_name) is not None


def _create(pod: RouteSocket, host: RouteSocket, home: int, attachment: Attachment) -> None:
    common = {"mtu": attachment.mtu, "queues": attachment.queues}
    if attachment.device == "netkit":
        message = veth.new_netkit(
            name=attachment.host_name,
            mac=HOST_MAC,
            peer=attachment.name,
            peer_mac=attachment.mac,
            peer_netns=attachment.netns,
            **common,
        )
        try:
            host.apply(message)
            return
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EPROTONOSUPPORT):
                raise
            _log.warning("kernel without netkit, using veth", interface=attachment.host_name)
    pod.apply(
        veth.new_veth(
            name=attachment.name,
            mac=attachment.mac,
            peer=attachment.host_name,
            peer_mac=HOST_MAC,
            peer_netns=home,
            **common,
        )
    )


def _configure(pod: RouteSocket, host: RouteSocket, attachment: Attachment) -> Connected:
    outer = _fixed_mac(host, attachment.host_name)
    inner = pod.link(attachment.name)
    if inner is None:
        raise OSError(errno.ENODEV, f"interface {attachment.name} vanished from the pod")
    with veth.inside(attachment.netns):
        _pod_sysctls(attachment)
    _host_sysctls(attachment)
    up = [veth.set_up(outer)]
    if attachment.ipv6:
        up.append(veth.add_address(outer, f"{GATEWAY_V6}/64"))
    host.apply(*up)
    # Routes before addresses: so the kernel derives no subnet route.
    pod.apply(
        veth.set_up(inner.index),
        *_pod_routes(inner.index, attachment),
        *(veth.add_address(inner.index, address) for address in attachment.addresses),
    )
    for destination in attachment.host_routes:
        _host_route(host, outer, destination, attachment.host_name)
    _wait_running(host, outer)
    _wait_running(pod, inner.index)
    return Connected(mac=inner.mac, mtu=inner.mtu)


def _fixed_mac(host: RouteSocket, name: str) -> int:
    """The index of the host end, once it has the fixed MAC: some versions of udev overwrite it at first."""
    deadline = time.monotonic() + _MAC_SECONDS
    while True:
        link = host.link(name)
        if link is None:
            raise OSError(errno.ENODEV, f"interface {name} vanished from the node")
        if link.mac == HOST_MAC:
            return link.index
        if time.monotonic() > deadline:
            raise OSError(errno.EIO, f"interface {name} keeps MAC {link.mac}; something overwrites {HOST_MAC}")
        host.apply(veth.set_mac(link.index, HOST_MAC))
        time.sleep(0.1)


def _wait_running(side: RouteSocket, index: int) -> None:
    """The end that came up first drops packets until the kernel has noticed that the other one is up too. Asking makes
    it notice at once, on kernels that synchronise then."""
    deadline = time.monotonic() + _RUNNING_SECONDS
    while (link := side.link_at(index)) is not None and not link.running and time.monotonic() < deadline:
        time.sleep(0.001)


def _pod_routes(index: int, attachment: Attachment) -> list[veth.Message]:
    messages = []
    for version, gateway, default, wanted in (
        (4, GATEWAY_V4, _DEFAULT_V4, attachment.ipv4),
        (6, GATEWAY_V6, _DEFAULT_V6, attachment.ipv6),
    ):
        if not wanted:
            continue
        if version == 4:
            messages.append(veth.add_route(index, f"{gateway}/32"))
        # Known at once: the first packet needs no resolution, and none that depends on the node's own routes.
        messages.append(veth.add_neighbour(index, gateway, HOST_MAC))
        destinations = [default]
        if attachment.routes is not None:
            destinations = [
                r.dst for r in attachment.routes if ipaddress.ip_network(r.dst, strict=False).version == version
            ]
        messages += [veth.add_route(index, each, gateway=gateway) for each in dict.fromkeys(destinations)]
    return messages


def _host_route(host: RouteSocket, index: int, destination: str, name: str) -> None:
    try:
        host.apply(veth.add_route(index, destination))
    except OSError as error:
        if error.errno != errno.EEXIST:
            raise
        present = host.route(destination)
        if present is not None and present.interface_index == index:
            return
        other = host.link_at(present.interface_index) if present is not None else None
        where = other.name if other is not None else "another interface"
        raise OSError(
            errno.EEXIST, f"route {destination} exists already and leads to {where}, not to {name}"
        ) from error


def _host_sysctls(attachment: Attachment) -> None:
    name = attachment.host_name
    if attachment.ipv4:
        _write(f"ipv4/conf/{name}/route_localnet", b"1")
        _try_write(f"ipv4/neigh/{name}/proxy_delay", b"0")
        _write(f"ipv4/conf/{name}/proxy_arp", b"1")
        _write(f"ipv4/conf/{name}/forwarding", b"1")
    _try_write(f"ipv6/conf/{name}/accept_ra", b"0")
    if attachment.ipv6:
        _write(f"ipv6/conf/{name}/disable_ipv6", b"0")
        _write(f"ipv6/conf/{name}/accept_dad", b"0")
        _write(f"ipv6/conf/{name}/proxy_ndp", b"1")
        _write(f"ipv6/conf/{name}/forwarding", b"1")


def _pod_sysctls(attachment: Attachment) -> None:
    """In the pod's namespace. Duplicate address detection goes off before the interface comes up."""
    forwarding = b"1" if attachment.forwarding else b"0"
    if attachment.ipv6:
        for scope in ("all", "default", "lo", attachment.name):
            _write(f"ipv6/conf/{scope}/disable_ipv6", b"0")
        _write(f"ipv6/conf/{attachment.name}/accept_dad", b"0")
        _write("ipv6/conf/all/forwarding", forwarding)
    if attachment.ipv4:
        _write("ipv4/ip_forward", forwarding)


def _write(key: str, value: bytes) -> None:
    descriptor = os.open(f"/proc/sys/net/{key}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, value)
    finally:
        os.close(descriptor)


def _try_write(key: str, value: bytes) -> None:
    try:
        _write(key, value)
    except OSError as error:
        _log.warning("cannot set sysctl", key=f"net/{key}", value=value.decode(), error=str(error))
