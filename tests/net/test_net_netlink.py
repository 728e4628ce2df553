"""Links, addresses, routes, neighbours, VXLAN, events, settings and connections against the real kernel.

nftables is covered in test_net_nft.py.
"""

import errno
import os
import socket
import subprocess
import threading
from collections.abc import Iterator

import pytest

from tortie.net import conntrack, link, monitor, namespace, neighbour, netlink, route, sysctl, vxlan
from tortie.net.netlink import Netlink, NetlinkError
from tortie.net.route import Route

pytestmark = pytest.mark.netns


@pytest.fixture
def netns() -> Iterator[int]:
    made: list[int] = []

    def make() -> None:
        namespace.unshare_network()
        made.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    with namespace.inside(made[0]):
        yield made[0]
    os.close(made[0])


@pytest.fixture
def sock(netns: int) -> Iterator[Netlink]:
    with Netlink(netlink.ROUTE) as opened:
        yield opened


@pytest.fixture
def wire(sock: Netlink) -> link.Link:
    """An interface that is up, with an address of each family."""
    link.create(sock, "wire0", "bridge", mtu=1400, mac="02:00:00:00:00:01", up=True)
    made = link.link(sock, "wire0")
    assert made is not None
    link.add_address(sock, made.index, "10.0.0.1", 24)
    link.add_address(sock, made.index, "fd00::1", 64)
    return made


def shell(*argv: str) -> str:
    return subprocess.run(argv, text=True, capture_output=True, check=True).stdout


def test_an_interface_has_what_it_was_made_with(sock: Netlink, wire: link.Link) -> None:
    assert (wire.name, wire.up, wire.mtu, wire.mac, wire.kind) == (
        "wire0",
        True,
        1400,
        "02:00:00:00:00:01",
        "bridge",
    )
    link.set_mtu(sock, wire.index, 1300)
    link.set_mac(sock, wire.index, "02:00:00:00:00:02")
    link.set_up(sock, wire.index, up=False)
    changed = link.link(sock, "wire0")
    assert changed is not None and (changed.mtu, changed.mac, changed.up) == (1300, "02:00:00:00:00:02", False)
    assert {item.name for item in link.links(sock)} >= {"lo", "wire0"}
    link.delete(sock, wire.index)
    assert link.link(sock, "wire0") is None


def test_errors_name_the_operation_and_the_kernels_reason(sock: Netlink, wire: link.Link) -> None:
    with pytest.raises(NetlinkError, match=r"making bridge interface wire0.*EEXIST") as caught:
        link.create(sock, "wire0", "bridge")
    assert caught.value.errno == errno.EEXIST
    with pytest.raises(NetlinkError, match="Unknown device type"):
        link.create(sock, "other", "no-such-kind")


def test_addresses_are_listed_added_and_removed(sock: Netlink, wire: link.Link) -> None:
    found = {(address.ip, address.length) for address in link.addresses(sock) if address.index == wire.index}
    assert {("10.0.0.1", 24), ("fd00::1", 64)} <= found
    link.delete_address(sock, wire.index, "10.0.0.1", 24)
    assert ("10.0.0.1", 24) not in {(address.ip, address.length) for address in link.addresses(sock)}


ROUTES = [
    Route("192.168.1.5/32", scope=route.SCOPE_LINK, protocol=3, metric=1024),
    Route("192.168.2.0/26", gateway="10.9.9.9", onlink=True, protocol=80),
    Route("192.168.3.0/26", kind=route.BLACKHOLE, protocol=80),
    Route("0.0.0.0/0", gateway="10.0.0.2", protocol=80, metric=77),
    Route("fd01::5/128", protocol=3, metric=1024),
    Route("fd01:1::/122", gateway="fd99::1", onlink=True, protocol=80, metric=1024),
    Route("::/0", gateway="fd00::2", protocol=80, metric=5),
]


@pytest.mark.parametrize("wanted", ROUTES, ids=[item.cidr for item in ROUTES])
def test_a_route_reads_back_as_it_was_written(sock: Netlink, wire: link.Link, wanted: Route) -> None:
    import dataclasses

    if wanted.kind == route.UNICAST:
        wanted = dataclasses.replace(wanted, interface=wire.index)
    family = socket.AF_INET6 if ":" in wanted.cidr else socket.AF_INET
    assert route.replace(sock, [wanted]) == [None]
    assert wanted in route.routes(sock, family)
    assert route.replace(sock, [wanted]) == [None]
    assert route.routes(sock, family).count(wanted) == 1
    assert route.delete(sock, [wanted]) == [None]
    assert wanted not in route.routes(sock, family)


def test_many_routes_go_in_few_calls_and_each_has_its_own_answer(sock: Netlink, wire: link.Link) -> None:
    many = [Route(f"10.1.{n >> 8}.{n & 255}/32", wire.index, scope=route.SCOPE_LINK) for n in range(1000)]
    bad = Route("10.2.0.0/24", 9999)
    results = route.replace(sock, [*many[:500], bad, *many[500:]])
    assert [result.errno for result in results if result is not None] == [errno.ENODEV]
    assert results.index(next(result for result in results if result)) == 500
    assert len([item for item in route.routes(sock, socket.AF_INET) if item in set(many)]) == 1000


def test_routes_of_other_tables_are_kept_apart(sock: Netlink, wire: link.Link) -> None:
    other = Route("10.7.0.0/16", wire.index, table=1000)
    assert route.replace(sock, [other]) == [None]
    assert other not in route.routes(sock, socket.AF_INET)
    assert route.routes(sock, socket.AF_INET, table=1000) == [other]
    assert route.routes(sock, socket.AF_INET, table=1001) == []


def test_a_vxlan_device_is_made_as_wanted_and_differences_are_told(sock: Netlink, wire: link.Link) -> None:
    import dataclasses

    wanted = vxlan.Vxlan("vxlan.calico", 4096, 4789, "10.0.0.1", wire.index, "66:00:00:00:00:01", 1350)
    vxlan.create(sock, wanted)
    made = link.link(sock, "vxlan.calico")
    assert made is not None and made.mtu == 1350 and made.up
    assert vxlan.difference(made, wanted) == ""
    shown = shell("ip", "-d", "link", "show", "vxlan.calico")
    assert "vxlan id 4096 local 10.0.0.1 dev wire0" in shown and "dstport 4789 nolearning" in shown
    for field, value, words in (
        ("vni", 5, "VNI is 4096, should be 5"),
        ("port", 5, "port is 4789, should be 5"),
        ("local", "10.0.0.9", "local address is 10.0.0.1, should be 10.0.0.9"),
        ("mac", "66:00:00:00:00:02", "MAC address is 66:00:00:00:00:01, should be 66:00:00:00:00:02"),
    ):
        assert vxlan.difference(made, dataclasses.replace(wanted, **{field: value})) == words
    assert vxlan.difference(wire, wanted) == "it is of kind bridge"


def test_forwarding_and_neighbour_entries_of_a_vxlan_device(sock: Netlink, wire: link.Link) -> None:
    vxlan.create(sock, vxlan.Vxlan("vxlan.calico", 4096, 4789, "10.0.0.1", wire.index, "66:00:00:00:00:01", 1350))
    made = link.link(sock, "vxlan.calico")
    assert made is not None
    peer = "66:00:00:00:00:09"
    neighbour.set_forwarding(sock, made.index, peer, "10.0.0.9")
    neighbour.set_forwarding(sock, made.index, peer, "10.0.0.8")
    assert neighbour.forwarding(sock, made.index) == {(peer, "10.0.0.8")}
    neighbour.set_neighbour(sock, made.index, "192.168.9.0", peer)
    neighbour.set_neighbour(sock, made.index, "fd09::", peer)
    assert neighbour.neighbours(sock, socket.AF_INET, made.index) == {neighbour.Neighbour("192.168.9.0", peer)}
    assert neighbour.neighbours(sock, socket.AF_INET6, made.index) == {neighbour.Neighbour("fd09::", peer)}
    for _ in range(2):
        neighbour.delete_forwarding(sock, made.index, peer, "10.0.0.8")
        neighbour.delete_neighbour(sock, made.index, "192.168.9.0")
    assert neighbour.forwarding(sock, made.index) == set()
    assert neighbour.neighbours(sock, socket.AF_INET, made.index) == set()


def test_events_tell_of_links_addresses_and_routes(sock: Netlink) -> None:
    events = monitor.Monitor()
    link.create(sock, "wire0", "bridge", up=True)
    made = link.link(sock, "wire0")
    assert made is not None
    link.add_address(sock, made.index, "10.0.0.1", 24)
    blackhole = Route("10.5.0.0/24", kind=route.BLACKHOLE, protocol=80)
    route.replace(sock, [blackhole])
    link.delete(sock, made.index)
    seen = events.read()
    assert seen is not None
    assert any(isinstance(e, monitor.LinkEvent) and e.present and e.link.name == "wire0" for e in seen)
    assert any(isinstance(e, monitor.AddressEvent) and e.present and e.address.ip == "10.0.0.1" for e in seen)
    assert monitor.RouteEvent(blackhole, True) in seen
    assert any(isinstance(e, monitor.LinkEvent) and not e.present and e.link.name == "wire0" for e in seen)
    assert events.read() == []
    events.close()


def test_lost_events_are_admitted(netns: int, sock: Netlink) -> None:
    events = monitor.Monitor()
    events._netlink.set_receive_buffer(1)
    for number in range(200):
        route.replace(sock, [Route(f"10.5.{number}.0/24", kind=route.BLACKHOLE)])
    assert events.read() is None
    events.close()


def test_settings_are_those_of_the_namespace(sock: Netlink, wire: link.Link) -> None:
    assert sysctl.read("ipv4/conf/wire0/proxy_arp") == "0"
    assert sysctl.ensure("ipv4/conf/wire0/proxy_arp", 1)
    assert not sysctl.ensure("ipv4/conf/wire0/proxy_arp", 1)
    assert sysctl.read("ipv4/conf/wire0/proxy_arp") == "1"
    with pytest.raises(FileNotFoundError):
        sysctl.write("ipv4/conf/gone0/proxy_arp", 1)


def test_connections_of_an_address_are_forgotten_and_others_kept(netns: int, sock: Netlink) -> None:
    shell("ip", "link", "set", "lo", "up")
    shell(
        "nft", "add table ip t; add chain ip t c { type filter hook output priority 0; }; add rule ip t c ct state new"
    )
    for ip in ("127.0.0.5", "127.0.0.6"):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"x", (ip, 9))
    assert conntrack.forget_addresses(["127.0.0.5", "fd00::5"]) == 1
    left = shell("conntrack", "-L")
    assert "127.0.0.5" not in left and "127.0.0.6" in left
    assert conntrack.forget_addresses(["127.0.0.5"]) == 0


def test_a_socket_works_in_the_namespace_in_which_it_was_made(sock: Netlink, netns: int) -> None:
    names = namespace.call(netns, lambda: {item.name for item in link.links(Netlink(netlink.ROUTE))})
    assert names == {item.name for item in link.links(sock)} == {"lo"}


def test_the_doors_to_the_kernel_import_quickly() -> None:
    """Less than half of what a netlink library takes (230 ms); on an idle machine it is 40 ms, mostly ctypes."""
    code = (
        "import time; t = time.process_time();"
        "import tortie.net.nft.connection, tortie.net.monitor, tortie.net.conntrack, tortie.net.vxlan;"
        "print(time.process_time() - t)"
    )
    best = min(float(shell(".venv/bin/python", "-c", code)) for _ in range(5))
    assert best < 0.115
