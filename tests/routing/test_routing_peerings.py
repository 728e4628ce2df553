"""Who peers with whom. The text of a peering is covered by test_routing_render."""

import pytest
from routing_worlds import MESH_OFF, configuration, node, password, peer, world

from tortie.routing.peerings import Peering, Peerings, peerings, split_peer_ip
from tortie.routing.settings import router_id, settings
from tortie.routing.world import WorkloadPeer, World


def of(picture: World) -> Peerings:
    return peerings(picture, settings(picture)[0])


def named(picture: World) -> dict[str, Peering]:
    return {p.name: p for p in of(picture).peerings}


# --- the mesh --------------------------------------------------------------------------------------------------


def test_every_node_peers_with_every_other_node_in_both_families():
    assert sorted(named(world())) == [
        "Mesh_172_30_0_12",
        "Mesh_172_30_0_13",
        "Mesh_fd00_30__12",
        "Mesh_fd00_30__13",
    ]


def test_only_the_node_whose_address_sorts_first_as_text_waits_for_the_other_to_dial():
    nodes = {"a": node(1, ipv4="10.0.0.9"), "b": node(2, ipv4="10.0.0.10")}
    seen_from_a = named(world(node="a", nodes=nodes))["Mesh_10_0_0_10"]
    seen_from_b = named(world(node="b", nodes=nodes))["Mesh_10_0_0_9"]
    assert (seen_from_a.passive, seen_from_b.passive) == (False, True)


def test_a_node_without_an_as_number_is_taken_to_be_in_this_nodes_as():
    nodes = {"node-1": node(1, as_number=65001), "node-2": node(2)}
    found = named(world(nodes=nodes, configurations=configuration(as_number=64999)))["Mesh_172_30_0_12"]
    assert (found.local_as, found.remote_as, found.internal) == (65001, 65001, True)


def test_a_node_with_its_own_as_number_is_an_external_peer():
    nodes = {"node-1": node(1), "node-2": node(2, as_number=65002)}
    assert not named(world(nodes=nodes))["Mesh_172_30_0_12"].internal


def test_a_route_reflector_is_in_no_mesh_from_either_side():
    reflector = {"node-1": node(1), "node-2": node(2, route_reflector_cluster_id="1.0.0.1"), "node-3": node(3)}
    assert sorted(named(world(nodes=reflector))) == ["Mesh_172_30_0_13", "Mesh_fd00_30__13"]
    assert named(world(node="node-2", nodes=reflector)) == {}


def test_the_mesh_can_be_switched_off():
    assert named(world(configurations=MESH_OFF)) == {}


def test_a_family_without_an_own_address_has_no_peers():
    nodes = {"node-1": node(1, ipv6="", ipv6_cidr=""), "node-2": node(2)}
    assert list(named(world(nodes=nodes))) == ["Mesh_172_30_0_12"]


def test_an_ipv6_only_node_meshes_and_has_a_router_id_from_its_name():
    nodes = {f"node-{n}": node(n, ipv4="", ipv4_cidr="") for n in (1, 2)}
    picture = world(nodes=nodes)
    assert list(named(picture)) == ["Mesh_fd00_30__12"]
    assert settings(picture)[0].router_id.count(".") == 3


def test_the_mesh_follows_the_peers_own_listen_port():
    configurations = configuration(listen_port=1790) | configuration("node.node-2", listen_port=1791)
    found = named(world(configurations=configurations))
    assert (found["Mesh_172_30_0_12"].port, found["Mesh_172_30_0_13"].port) == (1791, 1790)


def test_the_mesh_password_comes_from_the_secret_and_a_bad_one_is_reported():
    configurations = configuration(node_mesh_password=password("bgp", "mesh"), node_mesh_max_restart_time="90.4s")
    picture = world(configurations=configurations, secrets={"bgp": {"mesh": "hunter2"}})
    attributes = named(picture)["Mesh_172_30_0_12"].attributes
    assert (attributes.password, attributes.restart_time) == ("hunter2", 90)
    assert of(picture).secrets == {"bgp"}
    broken = of(world(configurations=configurations, secrets={"bgp": {"mesh": 'a"b'}}))
    assert broken.peerings == ()
    assert "nodeMeshPassword" in broken.problems[0].message


# --- BGPPeers --------------------------------------------------------------------------------------------------


def test_a_peer_without_node_or_selector_is_for_every_node():
    for name in ("node-1", "node-2"):
        found = named(
            world(node=name, configurations=MESH_OFF, peers=peer("tor", peer_ip="172.30.0.254", as_number=65000))
        )
        assert list(found) == ["Global_172_30_0_254"]
        assert found["Global_172_30_0_254"].owner == ("BGPPeer", "tor")


def test_a_node_peer_is_for_that_node_alone():
    peers = peer("tor", node="node-2", peer_ip="172.30.0.254", as_number=65000)
    assert named(world(configurations=MESH_OFF, peers=peers)) == {}
    assert list(named(world(node="node-2", configurations=MESH_OFF, peers=peers))) == ["Node_172_30_0_254"]


def test_a_node_selector_picks_nodes_by_their_labels():
    peers = peer("tor", node_selector="name == 'node-1'", peer_ip="172.30.0.254", as_number=65000)
    assert list(named(world(configurations=MESH_OFF, peers=peers))) == ["Node_172_30_0_254"]
    assert named(world(node="node-2", configurations=MESH_OFF, peers=peers)) == {}


def test_a_peer_selector_makes_peers_of_nodes_and_the_selected_nodes_dial_back():
    peers = peer("to-rr", node_selector="all()", peer_selector="has(rr)")
    nodes = {
        "node-1": node(1),
        "node-2": node(2, labels={"rr": "yes"}, route_reflector_cluster_id="1.0.0.1"),
        "node-3": node(3),
    }
    picture = {"nodes": nodes, "configurations": MESH_OFF, "peers": peers}
    assert list(named(world(**picture))) == ["Node_172_30_0_12", "Node_fd00_30__12"]
    reflector = named(world(node="node-2", **picture))
    assert [n for n in reflector if "172" in n] == ["Node_172_30_0_11", "Node_172_30_0_13"]
    assert all(p.cluster_id == "1.0.0.1" for p in reflector.values()), "its peers are its clients"


def test_manual_reverse_peering_leaves_the_other_side_alone():
    peers = peer("to-rr", node="node-1", peer_selector="name == 'node-2'", reverse_peering="Manual")
    assert named(world(node="node-2", configurations=MESH_OFF, peers=peers)) == {}


def test_a_peer_ip_that_is_a_node_is_dialled_back_in_that_family_only():
    peers = peer("direct", node="node-1", peer_ip="172.30.0.12", as_number=64512)
    assert list(named(world(node="node-2", configurations=MESH_OFF, peers=peers))) == ["Node_172_30_0_11"]


def test_a_peer_ip_with_another_as_or_port_than_the_node_has_is_not_dialled_back():
    for spec in ({"peer_ip": "172.30.0.12", "as_number": 65000}, {"peer_ip": "172.30.0.12:1790", "as_number": 64512}):
        peers = peer("direct", node="node-1", **spec)
        assert named(world(node="node-2", configurations=MESH_OFF, peers=peers)) == {}


def test_reflectors_of_one_cluster_are_plain_peers_and_of_different_clusters_clients_of_each_other():
    def cluster_id_towards(other: str) -> str:
        nodes = {
            "node-1": node(1, route_reflector_cluster_id="1.0.0.1"),
            "node-2": node(2, route_reflector_cluster_id=other),
        }
        peers = peer("rr", node_selector="all()", peer_selector="all()")
        return named(world(nodes=nodes, peers=peers))["Node_172_30_0_12"].cluster_id

    assert cluster_id_towards("1.0.0.1") == ""
    assert cluster_id_towards("1.0.0.2") == "1.0.0.1"


def test_a_global_peering_suppresses_the_nodes_own_to_the_same_address_and_port():
    peers = peer("a", node="node-1", peer_ip="10.0.0.1", as_number=1) | peer("b", peer_ip="10.0.0.1:179", as_number=2)
    found = named(world(configurations=MESH_OFF, peers=peers))
    assert {name: p.remote_as for name, p in found.items()} == {"Global_10_0_0_1": 2}


def test_another_port_is_another_peering():
    peers = peer("a", peer_ip="10.0.0.1", as_number=1) | peer("b", peer_ip="10.0.0.1:1790", as_number=1)
    assert list(named(world(configurations=MESH_OFF, peers=peers))) == ["Global_10_0_0_1", "Global_10_0_0_1_port_1790"]


def test_of_two_peers_with_the_same_address_the_first_name_wins():
    peers = peer("b", peer_ip="10.0.0.1", as_number=2) | peer("a", peer_ip="10.0.0.1", as_number=1)
    assert named(world(configurations=MESH_OFF, peers=peers))["Global_10_0_0_1"].owner == ("BGPPeer", "a")


def test_an_explicit_peering_replaces_the_meshs_to_the_same_node():
    peers = peer("direct", node="node-1", peer_ip="172.30.0.12", as_number=64512)
    assert [n for n in named(world(peers=peers)) if "172" in n] == ["Mesh_172_30_0_13", "Node_172_30_0_12"]


def test_a_node_never_peers_with_itself():
    peers = peer("all", peer_selector="all()")
    assert [n for n in named(world(configurations=MESH_OFF, peers=peers)) if "172" in n] == [
        "Global_172_30_0_12",
        "Global_172_30_0_13",
    ]


def test_a_global_peer_that_is_a_node_waits_if_its_address_sorts_after_ours():
    peers = peer("n2", peer_ip="172.30.0.12", as_number=64512)
    assert named(world(configurations=MESH_OFF, peers=peers))["Global_172_30_0_12"].passive
    outside = peer("tor", peer_ip="172.30.0.99", as_number=64512)
    assert not named(world(configurations=MESH_OFF, peers=outside))["Global_172_30_0_99"].passive


def test_a_local_as_number_decides_whether_the_peer_is_internal():
    peers = peer("tor", peer_ip="10.0.0.1", as_number=65000, local_as_number=65000, keep_original_next_hop=True)
    found = named(world(configurations=MESH_OFF, peers=peers))["Global_10_0_0_1"]
    assert found.internal
    assert found.attributes.next_hop == "", "keepOriginalNextHop is for eBGP"


@pytest.mark.parametrize(
    ("spec", "next_hop"),
    [
        ({"as_number": 65000}, ""),
        ({"as_number": 65000, "keep_original_next_hop": True}, "keep"),
        ({"as_number": 65000, "keep_original_next_hop": True, "next_hop_mode": "Self"}, "self"),
        ({"as_number": 64512, "next_hop_mode": "Keep"}, "keep"),
        ({"as_number": 64512, "next_hop_mode": "Auto"}, ""),
    ],
)
def test_next_hop_mode_wins_over_keep_original_next_hop(spec, next_hop):
    peers = peer("tor", peer_ip="10.0.0.1", **spec)
    assert named(world(configurations=MESH_OFF, peers=peers))["Global_10_0_0_1"].attributes.next_hop == next_hop


def test_own_as_allowance_and_local_as_do_not_apply_to_selected_peers():
    peers = peer("all", peer_selector="all()", local_as_number=65111, num_allowed_local_as_numbers=2)
    found = named(world(configurations=MESH_OFF, peers=peers))["Global_172_30_0_12"]
    assert (found.local_as, found.attributes.own_as_allowed) == (64512, 0)


def test_local_workloads_are_passive_peers_without_a_source_address():
    peers = peer("pods", local_workload_selector="color == 'red'", as_number=64600, filters=("f",))
    found = named(
        world(
            configurations=MESH_OFF,
            peers=peers,
            workload_peers=(WorkloadPeer("pods", "192.168.1.5", "fd00::5"), WorkloadPeer("other", "192.168.1.6")),
        )
    )
    assert list(found) == ["Local_Workload_192_168_1_5", "Local_Workload_fd00__5"]
    one = found["Local_Workload_192_168_1_5"]
    assert (one.passive, one.source, one.remote_as, one.attributes.filters) == (True, "", 64600, ("f",))


# --- what cannot be used -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"peer_ip": "10.0.0.1"}, "asNumber is missing"),
        ({"peer_ip": "10.0.0.300", "as_number": 1}, "peerIP '10.0.0.300'"),
        ({"peer_ip": "10.0.0.1:70000", "as_number": 1}, "peerIP '10.0.0.1:70000'"),
        ({"peer_selector": "has(("}, "selector"),
        ({"node_selector": "==", "peer_ip": "10.0.0.1", "as_number": 1}, "selector"),
        ({"peer_ip": "10.0.0.1", "as_number": 1, "reachable_by": "fd00::1"}, "reachableBy"),
        ({"peer_ip": "10.0.0.1", "as_number": 1, "max_restart_time": "soon"}, "'soon' is not a duration"),
        ({"peer_ip": "10.0.0.1", "as_number": 1, "password": password("long")}, "longer than 80"),
        ({"peer_ip": "10.0.0.1", "as_number": 1, "password": password("newline")}, "line break"),
        ({"local_workload_selector": "all()"}, "asNumber is missing"),
    ],
)
def test_a_bad_peer_is_reported_and_stops_no_other(spec, words):
    peers = peer("bad", **spec) | peer("good", peer_ip="10.9.9.9", as_number=65000)
    secrets = {"long": {"password": "x" * 81}, "newline": {"password": "secret\n"}}
    found = of(world(configurations=MESH_OFF, peers=peers, secrets=secrets))
    assert [p.name for p in found.peerings] == ["Global_10_9_9_9"]
    assert [(p.kind, p.name) for p in found.problems] == [("BGPPeer", "bad")]
    assert words in found.problems[0].message
    assert "secret\n" not in found.problems[0].message


def test_a_missing_secret_leaves_the_peering_without_password_and_says_so():
    peers = peer("tor", peer_ip="10.0.0.1", as_number=1, password=password("absent"))
    found = of(world(configurations=MESH_OFF, peers=peers))
    assert found.peerings[0].attributes.password == ""
    assert found.secrets == {"absent"}
    assert "absent" in found.problems[0].message


def test_a_restart_time_that_bgp_cannot_express_is_cut_and_reported():
    found = of(
        world(configurations=MESH_OFF, peers=peer("tor", peer_ip="10.0.0.1", as_number=1, max_restart_time="2h"))
    )
    assert found.peerings[0].attributes.restart_time == 4095
    assert "2h is cut to 4095s" in found.problems[0].message


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("10.0.0.1", ("10.0.0.1", 0, 4)),
        ("10.0.0.1:1790", ("10.0.0.1", 1790, 4)),
        ("fd00::1", ("fd00::1", 0, 6)),
        ("FD00:0::1", ("fd00::1", 0, 6)),
        ("[fd00::1]:1790", ("fd00::1", 1790, 6)),
        ("[fd00::1]", ("fd00::1", 0, 6)),
    ],
)
def test_peer_ip_forms(text, parts):
    assert split_peer_ip(text) == parts


def test_a_router_id_by_hash_is_a_unicast_address():
    ids = {router_id(node=f"node-{n}", wanted="hash", ipv4="10.0.0.1") for n in range(200)}
    assert len(ids) == 200
    assert all(int(i.split(".")[0]) <= 223 for i in ids)
    assert router_id(node="x", wanted="9.9.9.9", ipv4="10.0.0.1") == "9.9.9.9"
    assert router_id(node="x", wanted="", ipv4="10.0.0.1") == "10.0.0.1"
