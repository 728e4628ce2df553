"""Rendered configurations in real BIRDs on a real LAN: what ends up in the kernels."""

import signal
import subprocess
import time

import msgspec
import pytest
from lan import BirdNode, eventually
from routing_worlds import (
    MESH_OFF,
    affinity,
    bgp_filter,
    configuration,
    node,
    password,
    peer,
    pool,
    rule,
    world,
)

from tortie.model.v3 import bgp
from tortie.routing import birdc
from tortie.routing.status import read_routes
from tortie.routing.world import World

pytestmark = pytest.mark.netns

POOLS = pool("v4", "192.168.0.0/16") | pool("v6", "fd00:10:244::/48")


def seen_from(number: int, **changes) -> World:
    """The world as a node sees it, with one block of each family per node."""
    blocks = (
        affinity(f"192.168.{number}.0/26", node=f"node-{number}"),
        affinity(f"fd00:10:244:{number}::/122", node=f"node-{number}"),
    )
    values = {"node": f"node-{number}", "pools": POOLS, "affinities": blocks}
    return world(**{**values, **changes})


def start(hosts: list[BirdNode], **changes) -> None:
    for one in hosts:
        one.configure(seen_from(one.number, **changes))
        one.start_bird()


def two(**changes):
    return {"nodes": {f"node-{n}": node(n) for n in (1, 2)}, **changes}


def test_a_mesh_exchanges_the_blocks_of_both_families_within_seconds(lan):
    nodes = lan(3)
    began = time.monotonic()
    start(nodes)
    for one in nodes:
        others = [n for n in (1, 2, 3) if n != one.number]
        v4 = {f"192.168.{n}.0/26" for n in others} | {f"blackhole 192.168.{one.number}.0/26"}
        eventually(lambda one=one, v4=v4: one.routes() == v4)
        v6 = {f"fd00:10:244:{n}::/122" for n in others} | {f"blackhole fd00:10:244:{one.number}::/122"}
        eventually(lambda one=one, v6=v6: one.routes(6) == v6)
        assert len(one.established()) == 4
    assert time.monotonic() - began < 10
    assert "via 172.30.0.12 dev eth0" in nodes[0].ip("route", "show", "192.168.2.0/26")
    assert "via fd00:30::12 dev eth0" in nodes[0].ip("-6", "route", "show", "fd00:10:244:2::/122")
    assert "metric 1024" in nodes[0].ip("route", "show", "192.168.2.0/26")


def test_a_node_that_comes_later_is_reached_within_seconds(lan):
    first, second = lan(2)
    start([first], **two())
    time.sleep(3)  # the first one dials into the void meanwhile
    began = time.monotonic()
    start([second], **two())
    eventually(lambda: first.established() == {"Mesh_172_30_0_12", "Mesh_fd00_30__12"})
    assert time.monotonic() - began < 8


def test_killing_bird_keeps_traffic_flowing_on_both_sides(lan):
    first, second = lan(2)
    start([first, second], **two())
    for one in (first, second):
        one.ip("address", "add", f"192.168.{one.number}.1/32", "dev", "lo")
    eventually(lambda: "192.168.2.0/26" in first.routes() and "192.168.1.0/26" in second.routes())
    with subprocess.Popen(
        ["ip", "netns", "exec", first.namespace, "ping", "-i", "0.05", "-I", "192.168.1.1", "192.168.2.1"],
        stdout=subprocess.PIPE,
        text=True,
    ) as ping:
        first.stop_bird(signal.SIGKILL)
        time.sleep(0.5)
        assert {"192.168.2.0/26", "blackhole 192.168.1.0/26"} <= first.routes()
        assert "192.168.1.0/26" in second.routes()
        first.start_bird(recover=True)
        eventually(lambda: len(first.established()) == 2)
        eventually(lambda: b"Graceful restart done" in (first.directory / "bird.log").read_bytes())
        time.sleep(2.5)  # one more scan of the kernel's table
        ping.send_signal(signal.SIGINT)
        summary = ping.communicate()[0].splitlines()[-2]
    assert " 0% packet loss" in summary, summary
    assert "192.168.2.0/26" in first.routes()


def test_reloading_an_unchanged_configuration_touches_no_session(lan):
    first, second = lan(2)
    start([first, second], **two())
    eventually(lambda: len(first.established()) == 2)
    changes = first.log().count("State changed")
    first.configure(seen_from(1, **two()))
    first.configure(seen_from(1, **two(pools=POOLS | pool("new", "10.50.0.0/16"))))
    time.sleep(0.3)
    assert first.log().count("State changed") == changes, first.log()


def test_what_pools_say_decides_what_is_announced_and_what_is_programmed(lan):
    first, second = lan(2)
    pools = (
        POOLS
        | pool("hidden", "10.51.0.0/16", disable_bgp_export=True)
        | pool("vxlan", "10.52.0.0/16", vxlan_mode="Always")
    )
    blocks = tuple(affinity(c) for c in ("192.168.1.0/26", "10.51.1.0/26", "10.52.1.0/26", "192.168.99.7/32"))
    first.configure(seen_from(1, **two(pools=pools, affinities=blocks)))
    second.configure(seen_from(2, **two(pools=pools)))
    first.start_bird()
    second.start_bird()
    eventually(lambda: "192.168.1.0/26" in second.routes())
    in_bird = second_table(second)
    assert "10.51.1.0/26" not in in_bird, "a pool with disableBGPExport is not announced"
    assert "10.52.1.0/26" in in_bird, "a VXLAN pool is announced"
    assert "10.52.1.0/26" not in second.routes(), "but its routes are Felix's"
    assert "blackhole 10.51.1.0/26" in first.routes()
    assert "blackhole 10.52.1.0/26" not in first.routes()
    assert "192.168.99.7/32" not in first.routes(), "a block of one address is no blackhole"


def second_table(one: BirdNode) -> set[str]:
    return {r.destination for r in read_routes(4, one.control)}


def test_pod_routes_are_aggregated_except_borrowed_and_raised_ones(lan):
    first, second = lan(2)
    start([first, second], **two())
    first.ip("link", "add", "cali1", "type", "veth", "peer", "name", "pod1")
    first.ip("link", "set", "cali1", "up")
    first.ip("link", "set", "pod1", "up")
    for destination, metric in (
        ("192.168.1.5", "1024"),  # in the own block
        ("192.168.1.6", "0"),  # the same, of a Felix that sets no metric
        ("192.168.2.9", "1024"),  # borrowed from node-2's block
        ("192.168.1.7", "512"),  # raised, as for a live migration
        ("172.31.0.1", "1024"),  # in no pool
    ):
        first.ip("route", "add", f"{destination}/32", "dev", "cali1", "proto", "80", "metric", metric)
    eventually(lambda: {"192.168.1.7", "192.168.2.9"} <= second.routes())
    assert second.routes() == {"192.168.1.0/26", "192.168.1.7", "192.168.2.9", "blackhole 192.168.2.0/26"}
    assert "metric 512" in second.ip("route", "show", "192.168.1.7")
    first.ip("route", "del", "192.168.2.9/32")
    eventually(lambda: "192.168.2.9" not in second.routes())


def test_filters_decide_in_both_directions(lan):
    first, second = lan(2)
    filters = bgp_filter(
        "no.hidden-ones",
        export_v4=(rule("Reject", cidr="192.168.1.64/26", match_operator="Equal"),),
        import_v4=(
            rule("Reject", cidr="192.168.2.64/26", match_operator="In", peer_type="iBGP"),
            rule("Reject", cidr="192.168.2.128/26", match_operator="In", peer_type="eBGP"),
        ),
    )
    peers = peer("n2", node="node-1", peer_ip="172.30.0.12", as_number=64512, filters=("no.hidden-ones", "absent"))
    common = two(configurations=MESH_OFF, peers=peers, filters=filters)
    blocks = {n: tuple(affinity(f"192.168.{n}.{o}/26", node=f"node-{n}") for o in (0, 64, 128)) for n in (1, 2)}
    without = {"n2": msgspec.structs.replace(peers["n2"], spec=msgspec.structs.replace(peers["n2"].spec, filters=()))}
    first.configure(seen_from(1, **{**common, "affinities": blocks[1]}))
    second.configure(seen_from(2, **{**common, "affinities": blocks[2], "peers": without}))
    first.start_bird()
    second.start_bird()
    eventually(lambda: "192.168.2.0/26" in first.routes() and "192.168.1.0/26" in second.routes())
    assert {r for r in first.routes() if r.startswith("192.168.2")} == {"192.168.2.0/26", "192.168.2.128/26"}
    assert {r for r in second.routes() if r.startswith("192.168.1")} == {"192.168.1.0/26", "192.168.1.128/26"}


def test_a_session_needs_the_same_password_on_both_sides(lan):
    first, second = lan(2)

    def mesh(secret: str) -> dict:
        return two(configurations=configuration(node_mesh_password=password("s")), secrets={"s": {"password": secret}})

    first.configure(seen_from(1, **mesh("open sesame")))
    second.configure(seen_from(2, **mesh("open barley")))
    first.start_bird()
    second.start_bird()
    time.sleep(4)
    assert first.established() == set()
    second.configure(seen_from(2, **mesh("open sesame")))
    eventually(lambda: len(first.established()) == 2)


def test_a_route_reflector_passes_blocks_between_its_clients_and_keeps_their_next_hops(lan):
    nodes = lan(3)
    everyone = {f"node-{n}": node(n, route_reflector_cluster_id="1.0.0.1" if n == 1 else "") for n in (1, 2, 3)}
    peers = peer("rr", node_selector="all()", peer_selector="name == 'node-1'")
    start(nodes, nodes=everyone, configurations=MESH_OFF, peers=peers)
    eventually(lambda: "192.168.3.0/26" in nodes[1].routes())
    assert "via 172.30.0.13" in nodes[1].ip("route", "show", "192.168.3.0/26")
    eventually(lambda: nodes[1].established() == {"Node_172_30_0_11", "Node_fd00_30__11"})


def test_a_peer_on_another_port_and_as_gets_communities_and_reaches_through_its_gateway(lan):
    first, second = lan(2)
    ours = configuration(
        node_to_node_mesh_enabled=False,
        communities=(bgp.Community(name="pods", value="64512:100"),),
        prefix_advertisements=(bgp.PrefixAdvertisement(cidr="192.168.0.0/16", communities=("pods", "1:2:3")),),
        service_cluster_ips=(bgp.ServiceCIDR(cidr="10.96.0.0/16"),),
    )
    tor = peer("tor", peer_ip="172.30.0.12:1790", as_number=65000, max_restart_time="30s", keepalive_time="10s")
    first.configure(seen_from(1, configurations=ours, peers=tor, nodes={"node-1": node(1)}))
    theirs = configuration(node_to_node_mesh_enabled=False, listen_port=1790, as_number=65000)
    back = peer("node", peer_ip="172.30.0.11", as_number=64512)
    second.configure(seen_from(2, configurations=theirs, peers=back, nodes={"node-2": node(2)}))
    first.start_bird()
    second.start_bird()
    eventually(lambda: {"192.168.1.0/26", "10.96.0.0/16"} <= second.routes())
    assert first.established() == {"Global_172_30_0_12_port_1790"}
    text = "\n".join(line.text for line in birdc.ask("show route all 192.168.1.0/26", path=second.control))
    assert "(64512,100)" in text
    assert "(1, 2, 3)" in text
    assert "10.96.0.0/16" not in first.routes(), "service ranges never reach the node's own kernel"
