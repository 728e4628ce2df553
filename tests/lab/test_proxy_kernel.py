"""Service addresses on a real kernel, seen by pods, by the node itself and by a client outside.

Which backends a service has and the exact rules: test_proxy_rules.py.
"""

import os
import socket
from collections.abc import Iterator

import pytest
from proxy_world import (
    CLIENT4,
    NODE4,
    NODE6,
    PODS,
    ProxyWorld,
    sctp_available,
    service,
    sh,
    slices,
)

from tortie.lab.proxy.dataplane import Dataplane
from tortie.lab.proxy.rules import TABLE
from tortie.model import k8s
from tortie.net.libnftables import Libnftables

pytestmark = [pytest.mark.netns, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

VIP4, VIP6 = "10.96.7.7", "fd00:10:96::77"


@pytest.fixture(scope="module")
def module_world() -> Iterator[ProxyWorld]:
    world = ProxyWorld()
    try:
        world.build()
        yield world
    finally:
        world.destroy()


@pytest.fixture
def world(module_world: ProxyWorld) -> Iterator[ProxyWorld]:
    yield module_world
    for name in ("web", "dns", "other"):
        module_world.remove(service(VIP4, name=name))


@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_a_cluster_ip_reaches_every_backend_from_a_pod_and_from_the_node(world: ProxyWorld, vip: str) -> None:
    world.apply((service(VIP4, VIP6), slices("a", "b")))
    answers = {world.tcp("a", vip, 80).split()[0] for _ in range(24)}
    assert answers == {"a", "b"}
    assert {world.tcp("node", vip, 80).split()[0] for _ in range(24)} == {"a", "b"}


@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_a_pod_reaches_itself_through_its_service(world: ProxyWorld, vip: str) -> None:
    """Without masquerade the answer would never pass the node; with it the pod sees the node."""
    world.apply((service(VIP4, VIP6), slices("a")))
    answer = world.tcp("a", vip, 80)
    assert answer == f"a {'fd00:10:244:71::1' if ':' in vip else '192.168.71.1'}"


def test_pods_see_each_other_and_outsiders_are_masqueraded(world: ProxyWorld) -> None:
    world.apply((service(VIP4), slices("b")))
    assert world.tcp("a", VIP4, 80) == f"b {PODS['a'][0]}"
    assert world.tcp("client", VIP4, 80) == "b 192.168.71.1"


def test_udp_and_tcp_on_one_port_are_two_ports(world: ProxyWorld) -> None:
    udp = service(VIP4, name="dns", protocol="UDP", port=53)
    world.apply((udp, slices("b", name="dns", protocol="UDP")))
    assert world.udp("a", VIP4, 53) == f"b {PODS['a'][0]}"
    assert world.tcp("a", VIP4, 53) == "refused", "a port that the cluster IP does not have is refused"


@pytest.mark.skipif(not sctp_available(), reason="kernel without SCTP")
def test_sctp_is_balanced_too(world: ProxyWorld) -> None:
    world.apply((service(VIP4, protocol="SCTP"), slices("b", protocol="SCTP")))
    assert world.tcp("a", VIP4, 80, protocol=socket.IPPROTO_SCTP).startswith("b ")


@pytest.mark.parametrize("node", [NODE4, NODE6])
def test_a_node_port_answers_outsiders_pods_and_the_node(world: ProxyWorld, node: str) -> None:
    world.apply((service(VIP4, VIP6, node_port=30080), slices("a", "b")))
    for who in ("client", "a", "node"):
        assert {world.tcp(who, node, 30080).split()[0] for _ in range(24)} == {"a", "b"}, who
    assert world.tcp("client", "192.168.71.1", 30080) == "refused", "only the node's primary addresses answer"


def test_a_local_external_policy_keeps_the_clients_address(world: ProxyWorld) -> None:
    local = service(VIP4, node_port=30080, external_traffic_policy="Local")
    world.apply((local, slices("a", "b", nodes={"a": "elsewhere"})))
    assert {world.tcp("client", NODE4, 30080) for _ in range(12)} == {f"b {CLIENT4}"}
    assert {world.tcp("a", NODE4, 30080).split()[0] for _ in range(24)} == {"a", "b"}, "pods go as by cluster IP"


def test_a_local_external_policy_without_local_backends_drops_outsiders_only(world: ProxyWorld) -> None:
    local = service(VIP4, node_port=30080, external_traffic_policy="Local")
    world.apply((local, slices("b", nodes={"b": "elsewhere"})))
    assert world.tcp("client", NODE4, 30080, timeout=0.5) == "timeout"
    assert world.tcp("a", NODE4, 30080).startswith("b ")
    assert world.tcp("node", NODE4, 30080).startswith("b ")


def test_a_local_internal_policy_uses_this_nodes_backends_or_drops(world: ProxyWorld) -> None:
    local = service(VIP4, internal_traffic_policy="Local")
    world.apply((local, slices("a", "b", nodes={"a": "elsewhere"})))
    assert {world.tcp("a", VIP4, 80).split()[0] for _ in range(12)} == {"b"}
    world.apply((local, slices("b", nodes={"b": "elsewhere"})))
    assert world.tcp("a", VIP4, 80, timeout=0.5) == "timeout"


@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_a_service_without_backends_refuses_at_once(world: ProxyWorld, vip: str) -> None:
    node = NODE6 if ":" in vip else NODE4
    world.apply((service(VIP4, VIP6, node_port=30080), slices()))
    for who in ("a", "node", "client"):
        assert world.tcp(who, vip, 80) == "refused", who
        assert world.tcp(who, node, 30080) == "refused", who
    world.apply((service(VIP4, VIP6, name="dns", protocol="UDP", port=53), slices(name="dns")))
    assert "refused" in {world.udp("a", VIP4, 53) for _ in range(3)}, "ICMP errors are rate-limited by the kernel"


def test_terminating_backends_serve_only_when_no_ready_one_is_left(world: ProxyWorld) -> None:
    leaving = k8s.EndpointConditions(ready=False, serving=True, terminating=True)
    world.apply((service(VIP4), slices("a", "b", conditions={"a": leaving})))
    assert {world.tcp("b", VIP4, 80).split()[0] for _ in range(12)} == {"b"}
    gone = k8s.EndpointConditions(ready=False, serving=False)
    world.apply((service(VIP4), slices("a", "b", conditions={"a": leaving, "b": gone})))
    assert {world.tcp("b", VIP4, 80).split()[0] for _ in range(12)} == {"a"}


@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_client_ip_affinity_sticks_and_survives_a_restart_of_the_proxy(world: ProxyWorld, vip: str) -> None:
    sticky = service(VIP4, VIP6, session_affinity="ClientIP")
    world.apply((sticky, slices("a", "b")))
    first = world.tcp("client", vip, 80).split()[0]
    assert {world.tcp("client", vip, 80).split()[0] for _ in range(12)} == {first}
    with world.inside("node"):
        world.dataplane.close()
        world.dataplane = Dataplane()
        world.dataplane.set_node_addresses("ip", frozenset({NODE4}))
        world.dataplane.set_node_addresses("ip6", frozenset({NODE6}))
    world.apply((sticky, slices("a", "b")))
    assert {world.tcp("client", vip, 80).split()[0] for _ in range(12)} == {first}
    other = "b" if first == "a" else "a"
    world.apply((sticky, slices(other)))
    assert {world.tcp("client", vip, 80).split()[0] for _ in range(12)} == {other}


def test_external_and_load_balancer_addresses_answer_within_their_source_ranges(world: ProxyWorld) -> None:
    sh(f"ip -n {world.names['client']} route replace 198.51.100.0/24 via {NODE4}")
    balancer = service(
        VIP4,
        type="LoadBalancer",
        external_ips=("198.51.100.7",),
        ingress=("198.51.100.8",),
        load_balancer_source_ranges=("192.168.71.0/24",),
    )
    world.apply((balancer, slices("b")))
    assert world.tcp("client", "198.51.100.7", 80) == "b 192.168.71.1"
    assert world.tcp("client", "198.51.100.8", 80, timeout=0.5) == "timeout"
    assert world.tcp("a", "198.51.100.8", 80).startswith("b ")


def test_a_udp_client_follows_when_its_backend_goes(world: ProxyWorld) -> None:
    """The client keeps its socket, so its conntrack entry would keep leading to the old backend."""
    dns = service(VIP4, name="dns", protocol="UDP", port=53, node_port=30053)
    for address, port in ((VIP4, 53), (NODE4, 30053)):
        world.apply((dns, slices("a", name="dns", protocol="UDP")))
        with world.udp_socket("client", address) as sock:
            assert world.udp("client", address, port, sock=sock).split()[0] == "a"
            world.apply((dns, slices("b", name="dns", protocol="UDP")))
            assert world.udp("client", address, port, sock=sock).split()[0] == "b"
    assert world.dataplane.statistics()["conntrack_deleted_total"] >= 2


def test_a_udp_client_that_was_first_finds_the_backend_that_comes_later(world: ProxyWorld) -> None:
    dns = service(VIP4, name="dns", protocol="UDP", port=53)
    world.apply((dns, slices(name="dns", protocol="UDP")))
    with world.udp_socket("a", VIP4) as sock:
        assert world.udp("a", VIP4, 53, sock=sock) in ("refused", "timeout")
        world.apply((dns, slices("b", name="dns", protocol="UDP")))
        assert world.udp("a", VIP4, 53, sock=sock).split()[0] == "b"


def test_an_open_connection_survives_changes_of_its_service(world: ProxyWorld) -> None:
    world.apply((service(VIP4), slices("a")))
    with world.inside("client"):
        sock = socket.create_connection((VIP4, 80), timeout=2)
    with sock:
        world.apply((service(VIP4), slices("b")), (service("10.96.7.8", name="other"), slices("b", name="other")))
        assert sock.recv(100).decode().startswith("a ")


def test_a_removed_service_leaves_nothing(world: ProxyWorld) -> None:
    def listing() -> str:
        with world.inside("node"):
            nft = Libnftables()
            try:
                return nft.run(f"list table ip {TABLE}") + nft.run(f"list table ip6 {TABLE}")
            finally:
                nft.close()

    before = listing()
    world.apply((service(VIP4, VIP6, node_port=30080, session_affinity="ClientIP"), slices("a", "b")))
    assert listing() != before
    world.remove(service(VIP4))
    assert listing() == before


def test_two_services_with_one_external_address_take_turns(world: ProxyWorld) -> None:
    sh(f"ip -n {world.names['client']} route replace 198.51.100.0/24 via {NODE4}")
    first = service(VIP4, name="other", external_ips=("198.51.100.9",))
    second = service("10.96.7.8", name="web", external_ips=("198.51.100.9",))
    world.apply((second, slices("b", name="web")), (first, slices("a", name="other")))
    assert world.tcp("client", "198.51.100.9", 80).startswith("a ")
    world.remove(first)
    assert world.tcp("client", "198.51.100.9", 80).startswith("b ")
    assert world.dataplane.failures == 0


def test_a_table_spoiled_by_somebody_else_is_noticed_and_repaired(world: ProxyWorld) -> None:
    world.apply((service(VIP4), slices("b")))
    with world.inside("node"):
        assert world.dataplane.verify()
        nft = Libnftables()
        nft.run(f"delete table ip {TABLE}")
        nft.close()
        assert not world.dataplane.verify()
        assert world.dataplane.apply()
    assert world.tcp("a", VIP4, 80).startswith("b ")


def test_a_refused_change_is_answered_by_replacing_the_table(world: ProxyWorld) -> None:
    with world.inside("node"):
        nft = Libnftables()
        nft.run(f"delete table ip {TABLE}")
        nft.close()
    world.apply((service(VIP4), slices("b")))
    assert world.tcp("a", VIP4, 80).startswith("b ")
