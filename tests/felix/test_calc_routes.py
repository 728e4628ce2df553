"""Routes, tunnel endpoints and encapsulations that follow from pools, blocks and nodes."""

from typing import Any

import pytest
from calc_worlds import NODE, OTHER, Item, Run

from tortie.felix.calc.hosts import vtep_mac
from tortie.felix.messages import Encapsulation, RouteUpdate, VTEPUpdate
from tortie.model.dataplane import Block, BlockKey, IPPool, IPPoolKey, Node, NodeKey

OURS = (NodeKey(NODE), Node(ipv4="172.30.0.11", ipv4_cidr="172.30.0.11/24", ipv6="fd00:30::11"))
NEAR = (NodeKey(OTHER), Node(ipv4="172.30.0.12", ipv4_cidr="172.30.0.12/24", ipv6="fd00:30::12"))
FAR = (NodeKey(OTHER), Node(ipv4="172.31.0.12", ipv4_cidr="172.31.0.12/24"))


def pool(cidr: str = "10.0.0.0/16", name: str = "pods", **fields: Any) -> Item:
    return IPPoolKey(name), IPPool(cidr, **fields)


def block(cidr: str, node: str, *used: tuple[str, str]) -> Item:
    return BlockKey(cidr), Block(cidr, node, used)


def route(run: Run, cidr: str) -> RouteUpdate | None:
    found = run.state.others.get(("Route", cidr))
    assert found is None or isinstance(found, RouteUpdate)
    return found


@pytest.mark.parametrize(
    ("mode", "near", "far"),
    [
        ({}, "none", "none"),
        ({"vxlan_mode": "Always"}, "vxlan", "vxlan"),
        ({"vxlan_mode": "CrossSubnet"}, "none", "vxlan"),
        ({"ipip_mode": "CrossSubnet"}, "none", "ipip"),
        ({"ipip_mode": "Always"}, "ipip", "ipip"),
    ],
)
def test_encapsulation_depends_on_the_pool_and_on_whether_we_share_a_subnet(
    mode: dict[str, Any], near: str, far: str
) -> None:
    for other, expected, same in ((NEAR, near, True), (FAR, far, False)):
        run = Run(OURS, other, pool(nat_outgoing=True, **mode), block("10.0.1.0/26", OTHER))
        found = route(run, "10.0.1.0/26")
        assert found is not None
        assert (found.kind, found.node, found.node_ip) == ("remote-block", OTHER, other[1].ipv4)
        assert (found.encapsulation, found.same_subnet, found.nat_outgoing) == (expected, same, True)


def test_our_own_block_is_local_and_needs_no_encapsulation() -> None:
    run = Run(OURS, pool(vxlan_mode="Always"), block("10.0.0.0/26", NODE))
    found = route(run, "10.0.0.0/26")
    assert found is not None
    assert (found.kind, found.encapsulation) == ("local-block", "none")


def test_a_borrowed_address_has_a_route_of_its_own_unless_we_are_the_borrower() -> None:
    used = (("10.0.1.5", NODE), ("10.0.1.6", OTHER), ("10.0.1.7", "node-c"), ("10.0.1.8", ""))
    run = Run(OURS, NEAR, (NodeKey("node-c"), Node(ipv4="172.30.0.13")), pool(), block("10.0.1.0/26", OTHER, *used))
    found = route(run, "10.0.1.7/32")
    assert found is not None and (found.kind, found.node) == ("borrowed", "node-c")
    for address in ("10.0.1.5/32", "10.0.1.6/32", "10.0.1.8/32"):
        assert route(run, address) is None


def test_a_block_that_nobody_owns_is_reached_address_by_address() -> None:
    run = Run(OURS, NEAR, pool(), block("10.0.1.0/26", "", ("10.0.1.5", OTHER)))
    assert route(run, "10.0.1.0/26") is None
    found = route(run, "10.0.1.5/32")
    assert found is not None and found.node == OTHER


def test_a_route_waits_for_its_node_and_goes_with_it() -> None:
    run = Run(OURS, pool(), block("10.0.1.0/26", OTHER))
    assert route(run, "10.0.1.0/26") is None
    run.give(NEAR)
    assert route(run, "10.0.1.0/26") is not None
    run.give((NEAR[0], None))
    assert route(run, "10.0.1.0/26") is None


def test_our_own_new_subnet_changes_every_route() -> None:
    run = Run(OURS, FAR, pool(vxlan_mode="CrossSubnet"), block("10.0.1.0/26", OTHER))
    run.give((OURS[0], Node(ipv4="172.31.0.11", ipv4_cidr="172.31.0.11/24")))
    found = route(run, "10.0.1.0/26")
    assert found is not None and found.encapsulation == "none"


def test_the_longest_pool_counts_and_of_twins_the_first_by_name() -> None:
    run = Run(OURS, NEAR, pool(), pool("10.0.1.0/24", "inner", vxlan_mode="Always"), block("10.0.1.0/26", OTHER))
    found = route(run, "10.0.1.0/26")
    assert found is not None and found.encapsulation == "vxlan"
    for first, second in ((("a", "Always"), ("b", "Never")), (("b", "Never"), ("a", "Always"))):
        twins = [pool(name=name, vxlan_mode=mode) for name, mode in (first, second)]
        found = route(Run(OURS, NEAR, *twins, block("10.0.1.0/26", OTHER)), "10.0.1.0/26")
        assert found is not None and found.encapsulation == "vxlan"


def test_nodes_and_their_tunnel_addresses_are_routes() -> None:
    other = Node(ipv4="172.30.0.12", vxlan_tunnel_ipv4="10.0.1.1", ipv6="fd00:30::12", vxlan_tunnel_ipv6="fd00::1")
    run = Run(
        (OURS[0], Node(ipv4="172.30.0.11", vxlan_tunnel_ipv4="10.0.0.1")),
        (NodeKey(OTHER), other),
        pool(vxlan_mode="Always"),
        block("10.0.1.0/26", OTHER, ("10.0.1.1", OTHER)),
    )
    found = {cidr: message.kind for (kind, cidr), message in run.state.others.items() if kind == "Route"}
    assert found == {
        "172.30.0.12/32": "remote-host",
        "fd00:30::12/128": "remote-host",
        "10.0.0.1/32": "local-tunnel",
        "10.0.1.1/32": "remote-tunnel",
        "fd00::1/128": "remote-tunnel",
        "10.0.1.0/26": "remote-block",
    }


def test_of_several_claims_on_an_address_the_strongest_counts_then_the_first_node_by_name() -> None:
    nodes: list[Item] = [(NodeKey(f"node-{number}"), Node(ipv4="172.30.0.50")) for number in range(9, 2, -1)]
    run = Run(OURS, pool(), *nodes)
    found = route(run, "172.30.0.50/32")
    assert found is not None and found.node == "node-3"
    tunnel = (NodeKey(OTHER), Node(ipv4="172.30.0.12", vxlan_tunnel_ipv4="10.0.2.1"))
    run = Run(OURS, tunnel, nodes[0], pool(), block("10.0.2.0/26", "node-9", ("10.0.2.1", OTHER)))
    found = route(run, "10.0.2.1/32")
    assert found is not None and (found.kind, found.node) == ("remote-tunnel", OTHER)
    run.give((NodeKey(OTHER), Node(ipv4="172.30.0.12")))
    found = route(run, "10.0.2.1/32")
    assert found is not None and found.kind == "borrowed"


def test_a_zero_length_block_is_no_route() -> None:
    assert route(Run(OURS, NEAR, block("0.0.0.0/0", OTHER)), "0.0.0.0/0") is None


def test_a_node_with_a_bad_address_is_absent_and_reported() -> None:
    run = Run(OURS, (NodeKey(OTHER), Node(ipv4="300.1.1.1")), pool(), block("10.0.1.0/26", OTHER))
    assert route(run, "10.0.1.0/26") is None
    assert "300.1.1.1" in run.calculation.problems[NodeKey(OTHER)]


# --- tunnels -------------------------------------------------------------------------------------------------------


def test_a_tunnel_endpoint_needs_a_tunnel_address_and_the_nodes_address_of_that_family() -> None:
    def vtep(**fields: Any) -> VTEPUpdate | None:
        found = Run((NodeKey(OTHER), Node(**fields))).state.others.get(("VTEP", OTHER))
        assert found is None or isinstance(found, VTEPUpdate)
        return found

    assert vtep(ipv4="172.30.0.12") is None
    assert vtep(vxlan_tunnel_ipv4="10.0.1.1") is None
    assert vtep(ipv4="172.30.0.12", vxlan_tunnel_ipv6="fd00::1") is None
    assert vtep(ipv4="172.30.0.12", vxlan_tunnel_ipv4="10.0.1.1") == VTEPUpdate(
        node=OTHER, mac_v4=vtep_mac(OTHER), tunnel_ipv4="10.0.1.1", parent_ipv4="172.30.0.12"
    )
    both = vtep(
        ipv4="1.1.1.1", vxlan_tunnel_ipv4="10.0.1.1", ipv6="fd30::1", vxlan_tunnel_ipv6="fd00::1", vxlan_mac_v4="02::"
    )
    assert both is not None
    assert (both.mac_v4, both.mac_v6) == ("02::", vtep_mac(f"{OTHER}-v6"))


def test_a_tunnel_endpoints_mac_is_a_local_unicast_one_that_follows_from_the_name() -> None:
    macs = {vtep_mac(f"node-{number}") for number in range(200)}
    assert len(macs) == 200
    assert all(int(mac[:2], 16) & 0b11 == 0b10 for mac in macs)


def test_encapsulations_in_use_follow_from_all_pools_the_disabled_ones_too() -> None:
    def used(*pools: Item) -> Encapsulation:
        found = Run(*pools).state.others["Encapsulation", None]
        assert isinstance(found, Encapsulation)
        return found

    assert used() == Encapsulation(vxlan=False, vxlan_v6=False, ipip=False)
    assert used(pool(vxlan_mode="CrossSubnet", disabled=True)) == Encapsulation(vxlan=True, vxlan_v6=False, ipip=False)
    assert used(pool(ipip_mode="Always"), pool("fd00::/48", "six", vxlan_mode="Always")) == Encapsulation(
        vxlan=False, vxlan_v6=True, ipip=True
    )
