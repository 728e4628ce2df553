"""The configuration's text: what a network engineer would check by eye, and that BIRD's parser takes all of it."""

import subprocess
import time

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from routing_worlds import (
    affinity,
    bgp_filter,
    configuration,
    node,
    password,
    peer,
    pool,
    world,
)

from tortie.model.v3 import bgp
from tortie.routing import writer
from tortie.routing.bird import render
from tortie.routing.confd import Confd
from tortie.routing.world import WorkloadPeer, World


def parses(text: str) -> str:
    """What BIRD's parser says; "" if it accepts the text."""
    result = subprocess.run(["bird", "-p", "-c", "/dev/stdin"], input=text, capture_output=True, text=True)
    return "" if result.returncode == 0 else result.stderr + result.stdout


def block(text: str, head: str) -> list[str]:
    """The lines of one top-level block, indentation removed."""
    lines = text.splitlines()
    start = lines.index(head)
    return [line.strip() for line in lines[start + 1 : lines.index("}", start)]]


def test_the_text_is_the_same_for_the_same_world():
    changes = {"pools": pool("b", "10.1.0.0/16") | pool("a", "10.2.0.0/16"), "affinities": (affinity("10.1.0.0/26"),)}
    again = {**changes, "pools": dict(reversed(changes["pools"].items()))}
    assert render(world(**changes)).text == render(world(**again)).text


def test_a_bare_node_has_a_configuration():
    text = render(world(nodes={"node-1": node(1)})).text
    assert parses(text) == ""
    assert "router id 172.30.0.11;" in text


def test_own_blocks_are_blackholes_unless_pending_and_aggregated_unless_leaving():
    affinities = (
        affinity("192.168.1.0/26"),
        affinity("192.168.1.64/26", state=""),
        affinity("192.168.1.128/26", state="pending"),
        affinity("192.168.1.192/26", state="pendingDeletion"),
        affinity("192.168.2.1/32"),
        affinity("192.168.9.0/26", node="node-2"),
    )
    text = render(world(pools=pool("p", "192.168.0.0/16"), affinities=affinities)).text
    assert [line for line in block(text, "protocol static static4 {") if line.startswith("route")] == [
        "route 192.168.1.0/26 blackhole;",
        "route 192.168.1.64/26 blackhole;",
        "route 192.168.1.192/26 blackhole;",
    ]
    assert "  if net ~ [ 192.168.1.0/26, 192.168.1.64/26, 192.168.2.1/32 ] then accept;" in text.splitlines()
    assert parses(text) == ""


@pytest.mark.parametrize(
    ("programs", "rules"),
    [
        ("", {"plain": "accept", "ipip": "reject", "cross": "reject", "vxlan": "reject"}),
        ("Disabled", {"plain": "reject", "ipip": "reject", "cross": "reject", "vxlan": "reject"}),
        ("EnabledIPIPOnly", {"plain": "reject", "ipip": "tunl0", "cross": "tunl0", "vxlan": "reject"}),
        ("Enabled", {"plain": "accept", "ipip": "tunl0", "cross": "tunl0", "vxlan": "reject"}),
    ],
)
def test_bird_and_felix_share_the_kernel_as_program_cluster_routes_says(programs, rules):
    pools = (
        pool("plain", "10.1.0.0/16")
        | pool("ipip", "10.2.0.0/16", ipip_mode="Always")
        | pool("cross", "10.3.0.0/16", ipip_mode="CrossSubnet")
        | pool("vxlan", "10.4.0.0/16", vxlan_mode="CrossSubnet")
    )
    text = render(world(pools=pools, configurations=configuration(program_cluster_routes=programs))).text
    lines = block(text, "filter calico_kernel_v4")
    found = {}
    for name, cidr in (("plain", "10.1"), ("ipip", "10.2"), ("cross", "10.3"), ("vxlan", "10.4")):
        start = next(i for i, line in enumerate(lines) if line.startswith(f"if net ~ [ {cidr}.0.0/16+ ]"))
        found[name] = next(w for line in lines[start:] for w in ("tunl0", "accept", "reject") if w in line)
    assert found == rules
    assert parses(text) == ""


def test_a_node_without_a_known_subnet_has_no_pool_rules():
    nodes = {"node-1": node(1, ipv4_cidr="")}
    text = render(world(nodes=nodes, pools=pool("v", "10.4.0.0/16", vxlan_mode="Always"))).text
    assert block(text, "filter calico_kernel_v4")[-2:] == ["}", "accept;"]


def test_routes_to_nodes_with_an_encrypted_tunnel_are_felixs():
    nodes = {
        n: node(i, wireguard_ipv4="10.9.0.1" if i < 3 else "") for i, n in ((1, "node-1"), (2, "node-2"), (3, "c"))
    }
    lines = block(render(world(nodes=nodes)).text, "filter calico_kernel_v4")
    assert [line for line in lines if "bgp_next_hop" in line] == [
        "if source = RTS_BGP && bgp_next_hop = 172.30.0.12 then reject;"
    ]


def test_the_interfaces_to_ignore_come_before_the_workloads():
    text = render(world(configurations=configuration(ignored_interfaces=("eth9", "wl*")))).text
    assert '  interface -"eth9", -"wl*", -"cali*", -"kube-ipvs*", "*";' in text.splitlines()


def test_an_interface_name_that_would_break_the_text_is_left_out_and_reported():
    rendered = render(world(configurations=configuration(ignored_interfaces=('x"; } #', "*", "eth9"))))
    assert '  interface -"eth9", -"cali*", -"kube-ipvs*", "*";' in rendered.text.splitlines()
    assert [p.kind for p in rendered.problems] == ["BGPConfiguration", "BGPConfiguration"]


@pytest.mark.parametrize(("severity", "expected"), [("", 2), ("Info", 2), ("Debug", 2), ("Warning", 0), ("fatal", 0)])
def test_birds_own_logging_follows_the_severity(severity, expected):
    text = render(world(configurations=configuration(log_severity_screen=severity))).text
    assert text.count("debug { states") + text.count("debug all") >= expected
    assert ("debug all" in text) == (severity == "Debug")
    if not expected:
        assert "debug" not in text


def test_listening_on_the_nodes_address_only_is_said_at_every_peer():
    text = render(world(configurations=configuration(bind_mode="NodeIP", listen_port=1790))).text
    assert text.count("strict bind on;") == 4
    assert "local 172.30.0.11 port 1790 as 64512;" in text
    assert parses(text) == ""


def test_a_nodes_own_listen_port_and_advertisements_replace_the_clusters():
    configurations = configuration(
        listen_port=1790,
        communities=(bgp.Community(name="blue", value="1:1"),),
        prefix_advertisements=(bgp.PrefixAdvertisement(cidr="10.0.0.0/8", communities=("blue",)),),
    ) | configuration(
        "node.node-1",
        listen_port=1791,
        as_number=65099,
        prefix_advertisements=(bgp.PrefixAdvertisement(cidr="11.0.0.0/8", communities=("2:2", "blue", "nonsense")),),
    )
    rendered = render(world(configurations=configurations))
    assert "port 1791 as 64512;" in rendered.text, "only port, advertisements and log level are the node's"
    assert "10.0.0.0/8" not in rendered.text
    assert "if net ~ [ 11.0.0.0/8+ ] then { bgp_community.add((1,1)); bgp_community.add((2,2)); }" in rendered.text
    assert "nonsense" in rendered.problems[0].message


def test_a_line_leads_back_to_the_object_that_asked_for_it():
    rendered = render(world(peers=peer("tor", peer_ip="10.0.0.1", as_number=65000)))
    lines = rendered.text.splitlines()
    at = {text: rendered.owner_of_line(lines.index(text) + 1) for text in lines}
    assert at["  neighbor 10.0.0.1 as 65000;"] == ("BGPPeer", "tor")
    assert at["  neighbor 172.30.0.12 as 64512;"] == ("Node", "node-2")
    assert at["router id 172.30.0.11;"] is None


# --- what BIRD itself refuses ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec",
    [{"ttl_security": 999}, {"as_number": 2**33}, {"keepalive_time": "30h"}],
)
async def test_a_peer_that_birds_parser_refuses_is_left_out_alone(spec, tmp_path):
    peers = peer("bad", **{"peer_ip": "10.0.0.1", "as_number": 65000, **spec}) | peer(
        "good", peer_ip="10.0.0.2", as_number=65000
    )
    picture = world(peers=peers)
    confd = Confd(config=tmp_path / "bird.cfg")
    _, refused = await confd.put_in_force(picture, render(picture))
    assert [(p.kind, p.name) for p in refused] == [("BGPPeer", "bad")]
    text = (tmp_path / "bird.cfg").read_text()
    assert "10.0.0.2" in text
    assert "10.0.0.1 " not in text
    assert parses(text) == ""


async def test_the_file_is_private_and_replaced_only_by_text_that_parses(tmp_path):
    path = tmp_path / "conf" / "bird.cfg"
    await writer.replace(path, "protocol device {}\n")
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(writer.SyntaxRefused) as caught:
        await writer.replace(path, "protocol device {}\n\nrouter id nonsense;\n")
    assert caught.value.line == 3
    assert path.read_text() == "protocol device {}\n"


def test_a_secret_with_odd_characters_reaches_bird_unchanged():
    peers = peer("tor", peer_ip="10.0.0.1", as_number=65000, password=password("s"))
    odd = r"pa ss#{};'\\n$é"
    text = render(world(peers=peers, secrets={"s": {"password": odd}})).text
    assert f'  password "{odd}";' in text.splitlines()
    assert parses(text) == ""


# --- any world ---------------------------------------------------------------------------------------------------

_words = st.text(st.characters(codec="utf-8"), max_size=12)
_cidrs4 = st.builds(
    lambda a, length: f"10.{a % 256}.{a // 256 % 256}.{a % 7}/{length}", st.integers(0), st.integers(0, 32)
)
_cidrs6 = st.builds(lambda a, length: f"fd00:{a % 65536:x}::{a % 9}/{length}", st.integers(0), st.integers(0, 128))
_cidrs = st.one_of(_cidrs4, _cidrs6, _words)
_numbers = st.one_of(st.none(), st.integers(0, 2**32 - 1))
_communities = st.one_of(st.sampled_from(["1:2", "65535:0", "1:2:3", "70000:1", ""]), _words)
_rules = st.builds(
    bgp.BGPFilterRule,
    action=st.sampled_from(["Accept", "Reject", ""]),
    cidr=_cidrs,
    match_operator=st.sampled_from(["Equal", "NotEqual", "In", "NotIn", ""]),
    prefix_length=st.one_of(st.none(), st.builds(bgp.PrefixLength, min=st.integers(0, 128), max=st.integers(0, 128))),
    source=st.sampled_from(["", "RemotePeers", "x"]),
    interface=st.one_of(st.just(""), _words),
    peer_type=st.sampled_from(["", "eBGP", "iBGP"]),
    communities=st.one_of(st.none(), st.builds(bgp.CommunityMatch, values=st.tuples(_communities))),
    as_path_prefix=st.lists(st.integers(0, 2**32 - 1), max_size=3).map(tuple),
    priority=st.one_of(st.none(), st.integers(-5, 2**31)),
    operations=st.lists(
        st.one_of(
            st.builds(lambda v: bgp.BGPFilterOperation(add_community=bgp.AddCommunity(value=v)), _communities),
            st.builds(
                lambda v: bgp.BGPFilterOperation(prepend_as_path=bgp.PrependASPath(prefix=tuple(v))),
                st.lists(st.integers(0, 2**32 - 1), max_size=3),
            ),
            st.builds(lambda v: bgp.BGPFilterOperation(set_priority=bgp.SetPriority(value=v)), st.integers(-1, 2**31)),
        ),
        max_size=3,
    ).map(tuple),
)
_peers = st.builds(
    bgp.BGPPeerSpec,
    node=st.sampled_from(["", "node-1", "node-2"]),
    node_selector=st.sampled_from(["", "all()", "has(x", "name == 'node-1'"]),
    peer_ip=st.one_of(
        st.sampled_from(["", "10.0.0.1", "10.0.0.1:1790", "172.30.0.12", "fd00::9", "[fd00::9]:1790"]), _words
    ),
    as_number=_numbers,
    local_as_number=_numbers,
    peer_selector=st.sampled_from(["", "", "all()", "!all()"]),
    local_workload_selector=st.sampled_from(["", "", "all()"]),
    keep_original_next_hop=st.booleans(),
    next_hop_mode=st.sampled_from(["", "Auto", "Self", "Keep"]),
    source_address=st.sampled_from(["", "None", "UseNodeIP"]),
    max_restart_time=st.sampled_from([None, "0s", "10s", "1m30s", "0.4s", "x"]),
    keepalive_time=st.sampled_from([None, "0s", "10s", "500ms"]),
    num_allowed_local_as_numbers=st.one_of(st.none(), st.integers(-3, 10)),
    ttl_security=st.one_of(st.none(), st.integers(0, 255)),
    reachable_by=st.sampled_from(["", "", "172.30.0.1", "fd00:30::1", "x"]),
    filters=st.lists(st.sampled_from(["f", "long" * 30, "absent"]), max_size=3).map(tuple),
    password=st.sampled_from([None, password("s"), password("t")]),
)


@st.composite
def _worlds(draw: st.DrawFn) -> World:
    nodes = {
        f"node-{n}": node(
            n,
            as_number=draw(st.sampled_from([None, None, 65001])),
            route_reflector_cluster_id=draw(st.sampled_from(["", "", "1.0.0.1", "x"])),
            ipv4=draw(st.sampled_from(["", f"172.30.0.1{n}"])),
            ipv6=draw(st.sampled_from(["", f"fd00:30::1{n}"])),
            wireguard_ipv4=draw(st.sampled_from(["", "10.9.0.9"])),
        )
        for n in (1, 2, 3)
    }
    filters = {}
    for name in ("f", "long" * 30):
        lists = {
            f"{direction}_v{family}": tuple(draw(st.lists(_rules, max_size=3)))
            for direction in ("import", "export")
            for family in (4, 6)
        }
        filters |= bgp_filter(name, **lists)
    peers = {}
    for index, spec in enumerate(draw(st.lists(_peers, max_size=5))):
        peers |= peer(f"p{index}", **{f: getattr(spec, f) for f in spec.__struct_fields__})
    pools = {}
    for index, cidr in enumerate(draw(st.lists(_cidrs, max_size=4))):
        encapsulation = draw(st.sampled_from([{}, {"vxlan_mode": "Always"}, {"ipip_mode": "CrossSubnet"}]))
        pools |= pool(f"pool{index}", cidr, disable_bgp_export=draw(st.booleans()), **encapsulation)
    configurations = configuration(
        node_to_node_mesh_enabled=draw(st.sampled_from([None, True, False])),
        as_number=draw(st.sampled_from([None, 65010])),
        bind_mode=draw(st.sampled_from(["", "NodeIP"])),
        program_cluster_routes=draw(st.sampled_from(["", "Enabled", "x"])),
        ignored_interfaces=tuple(draw(st.lists(_words, max_size=2))),
        service_cluster_ips=tuple(bgp.ServiceCIDR(cidr=c) for c in draw(st.lists(_cidrs, max_size=2))),
        prefix_advertisements=tuple(
            bgp.PrefixAdvertisement(cidr=c, communities=("1:2", "1:2:3", draw(_communities)))
            for c in draw(st.lists(_cidrs, max_size=2))
        ),
    )
    affinities = tuple(
        affinity(c, state=draw(st.sampled_from(["", "pending"]))) for c in draw(st.lists(_cidrs, max_size=3))
    )
    return world(
        nodes=nodes,
        filters=filters,
        peers=peers,
        pools=pools,
        configurations=configurations,
        affinities=affinities,
        secrets={"s": {"password": draw(_words)}},
        workload_peers=(WorkloadPeer("p0", "192.168.0.5", "fd00::5"),),
    )


@hypothesis_settings(max_examples=80, deadline=None)
@given(_worlds())
def test_bird_accepts_what_is_rendered_from_any_world(picture):
    rendered = render(picture)
    assert parses(rendered.text) == "", rendered.text


@hypothesis_settings(max_examples=30, deadline=None)
@given(_worlds())
def test_no_secret_appears_in_a_problem(picture):
    secret = picture.secrets["s"]["password"]
    for problem in render(picture).problems:
        if len(secret) > 6:
            assert secret not in problem.message


def test_rendering_a_hundred_nodes_takes_milliseconds():
    nodes = {f"n{n}": node(1, ipv4=f"172.30.{n // 250}.{n % 250 + 1}", ipv6="") for n in range(100)}
    picture = world(node="n0", nodes=nodes, pools=pool("p", "192.168.0.0/16"), configurations={})
    began = time.process_time()
    assert len(render(picture).sections) > 100
    assert time.process_time() - began < 0.5
