"""Host endpoints, judged by real packets: which policy sees which flow (spec/felix.md 2.4 to 2.6), failsafes, matching.

Random combinations are in test_differential_kernel.py; policy on pods in test_dataplane_policy.py.
"""

import socket
from collections.abc import Iterator

import pytest
from dataplane_world import (
    ALLOW_ALL,
    Host,
    Node,
    Pod,
    World,
    policy,
    rule,
    run,
    tier,
    tool,
    until,
    world,
)

from tortie.felix.dataplane import DataplaneConfig
from tortie.felix.dataplane.config import Failsafe, parse_failsafes
from tortie.felix.messages import CompiledRule, HostEndpointRemove, HostEndpointUpdate, RuleSide, TierInfo
from tortie.model.dataplane import HostEndpointKey, PortRange

pytestmark = pytest.mark.netns
KEY = HostEndpointKey("n1", "eth0-hep")


def endpoint(
    *tiers: TierInfo,
    interface: str = "eth0",
    name: str = "eth0-hep",
    expected: tuple[str, ...] = (),
    profiles: tuple[str, ...] = (),
    untracked: tuple[TierInfo, ...] = (),
    pre_dnat: tuple[TierInfo, ...] = (),
    forward: tuple[TierInfo, ...] = (),
) -> HostEndpointUpdate:
    return HostEndpointUpdate(
        key=HostEndpointKey("n1", name),
        interface=interface,
        expected_ips=expected,
        profiles=profiles,
        tiers=tiers,
        untracked_tiers=untracked,
        pre_dnat_tiers=pre_dnat,
        forward_tiers=forward,
    )


def port(action: str, number: int, protocol: int = 6) -> CompiledRule:
    return rule(action, protocol=protocol, dst=RuleSide(ports=(PortRange(number, number),), has_ports=True))


def source_port(action: str, number: int) -> CompiledRule:
    return rule(action, protocol=6, src=RuleSide(ports=(PortRange(number, number),), has_ports=True))


class Scene:
    def __init__(self, made: World) -> None:
        self.world = made
        self.node: Node = made.node()
        self.pod: Pod = made.pod(self.node, "pod")
        self.other: Pod = made.pod(self.node, "other")
        self.outside: Host = made.outside(9, via=self.node)
        for host in (self.node, self.pod, self.other, self.outside):
            host.listen(22, 80, 81)
        self.node.start()
        self.node.begin(ALLOW_ALL, self.pod.endpoint(), self.other.endpoint())

    def flows(self, number: int = 80) -> dict[str, bool]:
        node, pod, outside = self.node, self.pod, self.outside
        return {
            "in": outside.tcp(node.ip, number, timeout=0.1),
            "out": node.tcp(outside.ip, number, timeout=0.1),
            "to pod": outside.tcp(pod.ip, number, timeout=0.1),
            "from pod": pod.tcp(outside.ip, number, timeout=0.1),
            "pod to pod": pod.tcp(self.other.ip, number, timeout=0.1),
            "host to pod": node.tcp(pod.ip, number, timeout=0.1),
            "loopback": node.tcp("127.0.0.1", number, timeout=0.1),
            "in v6": outside.tcp(node.ip6, number, timeout=0.1),
        }

    def blocked(self, number: int = 80) -> set[str]:
        return {name for name, passed in self.flows(number).items() if not passed}


@pytest.fixture
def scene() -> Iterator[Scene]:
    with world() as made:
        yield Scene(made)


def test_without_host_endpoints_the_host_is_left_alone(scene: Scene) -> None:
    assert scene.blocked() == set()
    assert "filter-OUTPUT" not in scene.node.ruleset()


def test_an_endpoint_without_policy_or_profile_denies_host_traffic_except_failsafes(scene: Scene) -> None:
    scene.node.send(endpoint())
    assert scene.blocked() == {"in", "out", "in v6"}
    assert scene.blocked(22) == {"out"}
    scene.node.send(HostEndpointRemove(KEY))
    assert scene.blocked() == set()
    assert "cali-fh-" not in scene.node.ruleset()


def test_normal_policy_governs_the_hosts_own_traffic_only(scene: Scene) -> None:
    scene.node.send(
        policy("web", ingress=[port("allow", 80)], egress=[port("allow", 81)]),
        endpoint(tier(ingress=["web"], egress=["web"])),
    )
    assert scene.blocked(80) == {"out"}
    assert scene.blocked(81) == {"in", "in v6"}


def test_profiles_of_a_host_endpoint_apply_after_its_tiers(scene: Scene) -> None:
    scene.node.send(policy("p", ingress=[rule("pass")]), endpoint(tier(ingress=["p"]), profiles=("kns.default",)))
    assert scene.blocked() == set()


def test_forward_policy_governs_what_passes_through(scene: Scene) -> None:
    scene.node.send(
        policy("fw", ingress=[port("deny", 80), rule("allow")], egress=[port("deny", 81), rule("allow")]),
        endpoint(profiles=("kns.default",), forward=(tier(ingress=["fw"], egress=["fw"]),)),
    )
    assert scene.blocked(80) == {"to pod"}
    assert scene.blocked(81) == {"from pod"}


def test_the_end_of_a_forward_tier_denies_but_no_forward_policy_allows(scene: Scene) -> None:
    scene.node.send(policy("fw", ingress=[port("allow", 80)]), endpoint(forward=(tier(ingress=["fw"]),)))
    assert {"to pod", "from pod"} & scene.blocked(80) == set()
    assert {"to pod", "from pod"} & scene.blocked(81) == {"to pod"}


def test_the_wildcard_covers_every_interface_pods_included_but_only_for_forwarding(scene: Scene) -> None:
    scene.node.send(
        policy("fw", ingress=[port("deny", 81), rule("allow")]),
        endpoint(interface="*", forward=(tier(ingress=["fw"]),)),
    )
    assert scene.blocked(80) == {"in", "out", "in v6"}
    assert scene.blocked(81) == {"in", "out", "in v6", "to pod", "from pod", "pod to pod"}


def test_an_endpoint_of_its_own_replaces_the_wildcard_on_its_interface(scene: Scene) -> None:
    scene.node.send(
        policy("fw", ingress=[rule("deny")]),
        endpoint(interface="*", name="all", forward=(tier(ingress=["fw"]),), pre_dnat=(tier(ingress=["pre"]),)),
        policy("pre", ingress=[rule("deny", protocol=6)], pre_dnat=True),
        endpoint(profiles=("kns.default",)),
    )
    assert scene.blocked() == {"from pod", "pod to pod"}


def test_an_endpoint_with_addresses_takes_the_interface_that_has_one(scene: Scene) -> None:
    node = scene.node
    node.send(endpoint(interface="", expected=("192.0.2.1", node.ip)))
    assert scene.blocked() == {"in", "out", "in v6"}
    assert node.statuses[KEY].status == "up"
    run(node.fd, f"address delete {node.ip}/24 dev eth0")
    until(lambda: node.statuses[KEY].status == "error")
    assert node.statuses[KEY].error == f"no interface for it: 192.0.2.1, {node.ip}"
    run(node.fd, f"address add {node.ip}/24 dev eth0\nroute add default via 172.31.0.254")
    until(lambda: node.statuses[KEY].status == "up")
    assert scene.blocked() == {"in", "out", "in v6"}


def test_an_address_that_is_replaced_in_quick_succession_does_not_open_the_host(scene: Scene) -> None:
    node = scene.node
    node.send(endpoint(interface="", expected=(node.ip,)))
    for _ in range(3):
        run(node.fd, f"address delete {node.ip}/24 dev eth0\naddress add {node.ip}/24 dev eth0")
    assert node.statuses[KEY].status == "up"
    assert not scene.outside.tcp(node.ip, 80)


def test_the_lowest_name_wins_an_interface_and_a_missing_interface_is_an_error(scene: Scene) -> None:
    node = scene.node
    node.send(endpoint(name="b"), endpoint(name="a", profiles=("kns.default",)), endpoint(name="c", interface="eth7"))
    assert scene.blocked() == set()
    assert node.statuses[HostEndpointKey("n1", "b")].status == "error"
    assert node.statuses[HostEndpointKey("n1", "c")].error == "no interface eth7"


def test_untracked_policy_bypasses_connection_tracking_and_needs_a_rule_for_the_way_back(scene: Scene) -> None:
    node = scene.node
    node.send(
        policy("fast", ingress=[port("allow", 80)], egress=[source_port("allow", 80)], do_not_track=True),
        endpoint(untracked=(tier(ingress=["fast"], egress=["fast"]),)),
    )
    tool(node.fd, "conntrack", "-F")
    assert scene.outside.tcp(node.ip, 80)
    assert f"src={scene.outside.ip}" not in tool(node.fd, "conntrack", "-L")
    assert not scene.outside.tcp(node.ip, 81)
    node.send(
        policy("fast", ingress=[port("allow", 80)], egress=[rule("deny")], do_not_track=True),
    )
    assert not scene.outside.tcp(node.ip, 80)
    assert scene.outside.tcp(node.ip, 22)


def test_untracked_deny_stops_forwarded_traffic_too_but_not_failsafe_ports(scene: Scene) -> None:
    scene.node.send(
        policy("block", ingress=[rule("deny", protocol=6)], do_not_track=True),
        endpoint(profiles=("kns.default",), untracked=(tier(ingress=["block"]),)),
    )
    # The way back of connections that the node or a pod opens is denied as well: nothing is tracked here.
    assert scene.blocked(80) == {"in", "out", "to pod", "from pod", "in v6"}
    assert {"in", "in v6", "to pod"} & scene.blocked(22) == set()


def test_pre_dnat_policy_sees_the_address_before_translation(scene: Scene) -> None:
    node, pod, outside = scene.node, scene.pod, scene.outside
    tool(
        node.fd,
        "nft",
        "add table ip kube-proxy; add chain ip kube-proxy pre { type nat hook prerouting priority -100; };"
        f"add rule ip kube-proxy pre tcp dport 30080 dnat to {pod.ip}:80",
    )
    assert outside.tcp(node.ip, 30080)
    node.send(
        policy("pre", ingress=[port("deny", 30080)], pre_dnat=True),
        endpoint(profiles=("kns.default",), pre_dnat=(tier(ingress=["pre"]),)),
    )
    assert not outside.tcp(node.ip, 30080)
    assert outside.tcp(pod.ip, 80)


def test_accept_before_translation_skips_host_policy_but_never_pod_policy(scene: Scene) -> None:
    node, pod, outside = scene.node, scene.pod, scene.outside
    node.send(
        policy("pre", ingress=[port("allow", 80)], pre_dnat=True),
        policy("fw", ingress=[rule("deny")]),
        policy("pod", ingress=[port("deny", 80), rule("allow")]),
        endpoint(pre_dnat=(tier(ingress=["pre"]),), forward=(tier(ingress=["fw"]),)),
    )
    assert outside.tcp(node.ip, 80) and not outside.tcp(node.ip, 81)
    assert outside.tcp(pod.ip, 80) and not outside.tcp(pod.ip, 81)
    node.send(pod.endpoint(tier(ingress=["pod"])))
    assert not outside.tcp(pod.ip, 80)


def test_translated_traffic_of_the_host_is_judged_by_where_it_really_goes(scene: Scene) -> None:
    node, outside = scene.node, scene.outside
    tool(
        node.fd,
        "nft",
        "add table ip kube-proxy; add chain ip kube-proxy out { type nat hook output priority -100; };"
        f"add rule ip kube-proxy out ip daddr 10.96.0.1 tcp dport 443 dnat to {outside.ip}:80",
    )
    node.send(policy("out", egress=[port("allow", 80)]), endpoint(tier(egress=["out"])))
    assert node.tcp("10.96.0.1", 443)
    node.send(policy("out", egress=[port("allow", 443)]))
    assert not node.tcp("10.96.0.1", 443)


def test_failsafe_ports_can_be_chosen_and_limited_to_networks(scene: Scene) -> None:
    node, outside = scene.node, scene.outside
    node.stop()
    node.start(
        DataplaneConfig(
            node="n1", failsafe_in=parse_failsafes("tcp:172.31.0.0/24:81,tcp:192.0.2.0/24:80"), failsafe_out=()
        )
    )
    node.begin(ALLOW_ALL, endpoint())
    assert outside.tcp(node.ip, 81)
    assert not outside.tcp(node.ip, 80) and not outside.tcp(node.ip, 22)


def test_failsafe_ports_are_read_in_every_form() -> None:
    assert parse_failsafes("22") == (Failsafe(6, 22),)
    assert parse_failsafes("udp:53, tcp:10.0.0.0/8:179") == (Failsafe(17, 53), Failsafe(6, 179, "10.0.0.0/8"))
    assert parse_failsafes("tcp:[fd00::/8]:22") == (Failsafe(6, 22, "fd00::/8"),)
    assert parse_failsafes("none") == parse_failsafes("[]") == ()
    with pytest.raises(ValueError, match="failsafe port 'tcp:http'"):
        parse_failsafes("tcp:http")


def test_an_interface_is_policed_from_its_first_packet_on(scene: Scene) -> None:
    node = scene.node
    node.send(endpoint(interface="eth1"))
    assert '"eth1" : goto' in node.ruleset()
    run(node.fd, "link add eth1 type veth peer name far")
    run(node.fd, "link set eth1 up\nlink set far up")
    until(lambda: node.statuses[KEY].status == "up")


def test_udp_of_the_host_is_governed_like_tcp(scene: Scene) -> None:
    node, outside = scene.node, scene.outside
    node.listen(5353, kind=socket.SOCK_DGRAM)
    node.send(policy("dns", ingress=[port("allow", 5353, 17)]), endpoint(tier(ingress=["dns"])))
    assert outside.udp(node.ip, 5353)
    node.listen(5354, kind=socket.SOCK_DGRAM)
    assert not outside.udp(node.ip, 5354)
