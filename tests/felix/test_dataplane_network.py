"""Between nodes: VXLAN, same-subnet and blackhole routes, and whose routes are whose.

The calculation that decides which route is wanted is covered in its own tests.
"""

from collections.abc import Iterator

import msgspec
import pytest
from dataplane_world import ALLOW_ALL, Node, Pod, World, rule, run, tool, until, world

from tortie.felix.dataplane import DataplaneConfig
from tortie.felix.messages import (
    Encapsulation,
    Message,
    NodeUpdate,
    PoolUpdate,
    ProfileUpdate,
    RouteRemove,
    RouteUpdate,
    VTEPRemove,
    VTEPUpdate,
)
from tortie.model.dataplane import IPPool, NodeKey

pytestmark = pytest.mark.netns


@pytest.fixture
def made() -> Iterator[World]:
    with world() as new:
        yield new


def vtep(node: Node) -> VTEPUpdate:
    number = node.ip.rpartition(".")[2]
    return VTEPUpdate(
        node=node.name,
        mac_v4=f"66:04:00:00:00:{int(number):02x}",
        tunnel_ipv4=f"10.65.{number}.0",
        parent_ipv4=node.ip,
        mac_v6=f"66:06:00:00:00:{int(number):02x}",
        tunnel_ipv6=f"fd65:{number}::",
        parent_ipv6=node.ip6,
    )


def blocks(node: Node) -> tuple[str, str]:
    number = node.ip.rpartition(".")[2]
    return f"10.65.{number}.0/26", f"fd65:{number}::/122"


def network(me: Node, nodes: list[Node], *, encapsulation: str = "vxlan", mode: str = "Always") -> list[Message]:
    result: list[Message] = [
        Encapsulation(vxlan=encapsulation == "vxlan", vxlan_v6=encapsulation == "vxlan", ipip=False),
        PoolUpdate("v4", IPPool(cidr="10.65.0.0/16", vxlan_mode=mode)),  # type: ignore[arg-type]  # a mode
        PoolUpdate("v6", IPPool(cidr="fd65::/16", vxlan_mode=mode)),  # type: ignore[arg-type]  # a mode
    ]
    for node in nodes:
        result += [NodeUpdate(NodeKey(node.name), node.ip, node.ip6), vtep(node)]
        for block in blocks(node):
            result.append(
                RouteUpdate(
                    cidr=block,
                    kind="local-block" if node is me else "remote-block",
                    node=node.name,
                    node_ip=node.ip6 if ":" in block else node.ip,
                    encapsulation="none" if node is me else encapsulation,  # type: ignore[arg-type]  # one of its words
                    same_subnet=True,
                )
            )
    return result


def two(made: World) -> tuple[list[Node], list[Pod]]:
    """Two nodes with a pod each, whose addresses lie in their node's blocks."""
    nodes = [made.node(1), made.node(2)]
    pods = []
    for number, node in enumerate(nodes, 1):
        pod = made.pod(node, ip=f"10.65.{number}.5", ip6=f"fd65:{number}::5")
        pod.listen(80)
        pods.append(pod)
    return nodes, pods


def test_pods_reach_each_other_through_vxlan_in_both_families(made: World) -> None:
    nodes, pods = two(made)
    for node, pod in zip(nodes, pods, strict=True):
        node.start()
        node.begin(ALLOW_ALL, *network(node, nodes), pod.endpoint())
    for node in nodes:
        until(
            lambda node=node: (
                "vxlan.calico" in tool(node.fd, "ip", "route")
                and "vxlan-v6.calico" in tool(node.fd, "ip", "-6", "route")
            )
        )  # type: ignore[misc]  # bound at once
    until(lambda: pods[0].tcp(pods[1].ip, 80))
    until(lambda: pods[0].tcp(pods[1].ip6, 80))
    assert pods[1].tcp(pods[0].ip, 80)
    routes = tool(nodes[0].fd, "ip", "route")
    assert "10.65.2.0/26 via 10.65.2.0 dev vxlan.calico proto 80 onlink" in routes
    assert "blackhole 10.65.1.0/26 proto 80" in routes
    assert "10.65.1.0/32" in tool(nodes[0].fd, "ip", "-o", "addr", "show", "vxlan.calico")
    # What a node sends through the tunnel bears the tunnel's address, so that the answer comes back through it.
    pods[1].listen(81)
    assert nodes[0].tcp(pods[1].ip, 81)
    # Encapsulated packets from strangers are dropped, and VXLAN is not tracked.
    assert "dport=4789" not in tool(nodes[0].fd, "conntrack", "-L")
    stranger = made.outside(7)
    stranger.listen(53)
    before = dropped(nodes[0], "VXLAN from elsewhere")
    stranger.udp(nodes[0].ip, 4789, timeout=0.05)
    assert dropped(nodes[0], "VXLAN from elsewhere") == before + 1


def dropped(node: Node, comment: str) -> int:
    for line in tool(node.fd, "nft", "list", "chain", "ip", "calico", "filter-INPUT").splitlines():
        if comment in line:
            return int(line.partition("packets ")[2].partition(" ")[0])
    raise AssertionError(f"no rule {comment}")


def test_a_tunnel_follows_its_peers_and_goes_when_it_is_no_longer_wanted(made: World) -> None:
    nodes, pods = two(made)
    node, peer = nodes
    node.start()
    node.begin(ALLOW_ALL, *network(node, nodes), pods[0].endpoint())
    fdb = lambda: tool(node.fd, "bridge", "fdb", "show", "dev", "vxlan.calico")  # noqa: E731  # used thrice
    until(lambda: f"66:04:00:00:00:02 dst {peer.ip}" in fdb())
    node.send(msgspec.structs.replace(vtep(peer), parent_ipv4="172.31.0.77"))
    until(lambda: "dst 172.31.0.77" in fdb() and f"dst {peer.ip}" not in fdb())
    node.send(VTEPRemove(peer.name), RouteRemove(blocks(peer)[0]))
    until(lambda: "66:04:00:00:00:02" not in fdb())
    assert "10.65.2.0/26" not in tool(node.fd, "ip", "route")
    node.send(Encapsulation(vxlan=False, vxlan_v6=False, ipip=False))
    until(lambda: "vxlan" not in tool(node.fd, "ip", "link"))
    assert "4789" not in tool(node.fd, "nft", "list", "chain", "ip", "calico", "filter-INPUT")


def test_a_tunnel_that_somebody_changed_or_deleted_is_made_anew(made: World) -> None:
    nodes, pods = two(made)
    node = nodes[0]
    node.start()
    node.begin(ALLOW_ALL, *network(node, nodes), pods[0].endpoint())
    until(lambda: "vxlan.calico" in tool(node.fd, "ip", "route"))
    run(node.fd, "link delete vxlan.calico")
    until(lambda: "dev vxlan.calico" in tool(node.fd, "ip", "route"))
    assert "66:04:00:00:00:02 dst" in tool(node.fd, "bridge", "fdb", "show", "dev", "vxlan.calico")
    run(node.fd, "link set vxlan.calico down")
    until(lambda: "state UNKNOWN" in tool(node.fd, "ip", "link", "show", "vxlan.calico"))
    until(lambda: "dev vxlan.calico" in tool(node.fd, "ip", "route"))


def test_a_cross_subnet_pool_has_direct_routes_within_the_subnet(made: World) -> None:
    nodes, pods = two(made)
    for node, pod in zip(nodes, pods, strict=True):
        node.start()
        messages = network(node, nodes, encapsulation="none", mode="CrossSubnet")
        node.begin(ALLOW_ALL, *messages, pod.endpoint())
    assert "10.65.2.0/26 via 172.31.0.2 dev eth0 proto 80 onlink" in tool(nodes[0].fd, "ip", "route")
    until(lambda: pods[0].tcp(pods[1].ip, 80))
    until(lambda: pods[0].tcp(pods[1].ip6, 80))


def test_without_encapsulation_block_routes_are_birds_business(made: World) -> None:
    nodes, pods = two(made)
    node = nodes[0]
    run(node.fd, "route add 10.65.2.0/26 via 172.31.0.2 proto bird")
    node.start()
    node.begin(ALLOW_ALL, *network(node, nodes, encapsulation="none", mode="Never"), pods[0].endpoint())
    routes = tool(node.fd, "ip", "route")
    assert "10.65.2.0/26 via 172.31.0.2 dev eth0 proto bird" in routes
    assert "proto 80" not in routes.replace("blackhole 10.65.1.0/26 proto 80", "")


def test_cluster_routes_are_programmed_if_the_operator_says_so(made: World) -> None:
    nodes, pods = two(made)
    node = nodes[0]
    node.start(DataplaneConfig(node="n1", program_cluster_routes=True))
    node.begin(ALLOW_ALL, *network(node, nodes, encapsulation="none", mode="Never"), pods[0].endpoint())
    assert "10.65.2.0/26 via 172.31.0.2 dev eth0 proto 80 onlink" in tool(node.fd, "ip", "route")


def test_a_blackhole_stops_what_no_pod_claims_but_no_single_address_gets_one(made: World) -> None:
    node = made.node()
    pod = made.pod(node)
    node.start()
    node.begin(
        ALLOW_ALL,
        pod.endpoint(),
        RouteUpdate("10.65.0.0/26", "local-block", "n1", node.ip, "none", True),
        RouteUpdate("10.65.9.9/32", "local-block", "n1", node.ip, "none", True),
    )
    routes = tool(node.fd, "ip", "route")
    assert "blackhole 10.65.0.0/26 proto 80" in routes and "10.65.9.9" not in routes
    pod.listen(80)
    assert node.tcp(pod.ip, 80)
    node.send(RouteRemove("10.65.0.0/26"))
    assert "blackhole" not in tool(node.fd, "ip", "route")


def test_an_address_that_moves_between_local_pods_moves_its_route(made: World) -> None:
    node = made.node()
    old, new = made.pod(node, "old"), made.pod(node, "new")
    node.start()
    node.begin(ALLOW_ALL, old.endpoint(), new.endpoint())
    ip = old.ip
    new.ip = ip
    node.send(new.endpoint())
    old.ip = "10.65.0.99"
    node.send(old.endpoint())
    routes = tool(node.fd, "ip", "route")
    assert f"{ip} dev {new.interface} scope link" in routes
    assert f"10.65.0.99 dev {old.interface} scope link" in routes
    assert routes.count(f"{ip} dev") == 1


def test_foreign_routes_on_a_new_pod_interface_have_a_grace_and_then_go(
    made: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tortie.felix.dataplane import routes

    monkeypatch.setattr(routes, "EXTERNAL_GRACE", 0.6)
    node = made.node()
    pod = made.pod(node)
    run(node.fd, f"route add 10.65.7.7 dev {pod.interface}\nroute add 10.65.8.8 dev eth0")
    node.start()
    node.begin(ALLOW_ALL, pod.endpoint(), ProfileUpdate("x", ingress=(rule("allow"),), egress=()))
    assert "10.65.7.7" in tool(node.fd, "ip", "route")
    until(lambda: "10.65.7.7" not in tool(node.fd, "ip", "route"))
    assert "10.65.8.8" in tool(node.fd, "ip", "route")
