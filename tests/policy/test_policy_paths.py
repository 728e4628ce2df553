"""Which lists a packet meets on its way, for every kind of source and destination (spec/felix.md 2.4 to 2.7)."""

import pytest
from policy_worlds import (
    ALLOW,
    DENY,
    ICMPV6,
    UDP,
    Item,
    allowed,
    ask,
    host_endpoint,
    pod,
    policy,
    pool,
    ports,
    rule,
    tier,
    world,
)

from tortie.policy.packet import Failsafe, Settings

A, B, C = "10.0.0.1", "10.0.0.2", "10.0.0.3"
HOST1, HOST2, OUTSIDE = "172.30.0.11", "172.30.0.12", "203.0.113.7"
PODS = (pod("a", 1), pod("b", 2), pod("c", 3, node="n2"))
HOSTS = "!has(projectcalico.org/namespace)"


def way(source: str, target: str, *items: Item, **fields: object) -> list[str]:
    verdict = ask(world(*PODS, *items), source, target, **fields)  # type: ignore[arg-type]
    return [f"{stage.list} {stage.direction} {stage.node}" for stage in verdict.stages]


def hep(name: str = "hep", **fields: object) -> Item:
    return host_endpoint(name, profiles=("kns.red",), **fields)  # type: ignore[arg-type]


def test_pod_to_pod_meets_egress_then_ingress_wherever_they_are() -> None:
    assert way(A, B) == ["workload egress n1", "workload ingress n1"]
    assert way(A, C) == ["workload egress n1", "workload ingress n2"]


def test_a_pod_reaches_itself_unless_it_goes_through_a_service() -> None:
    deny = policy("p", ingress=(DENY,))
    assert way(A, A) == []
    assert allowed(world(*PODS, deny), A, A)
    assert not allowed(world(*PODS, deny), A, A, service_ip="10.96.0.1", service_port=80)


def test_a_node_reaches_its_own_pods_whatever_they_say() -> None:
    made = world(*PODS, policy("p", ingress=(DENY,)))
    assert allowed(made, HOST1, A)
    assert not allowed(made, HOST2, A)


def test_strangers_are_not_policed() -> None:
    assert way(OUTSIDE, "198.51.100.1") == []


# --- pod to its own node -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("action", "expected"), [("drop", False), ("accept", True), ("return", True)])
def test_pod_to_its_own_node_is_subject_to_egress_then_to_the_hosts_action(action: str, expected: bool) -> None:
    settings = Settings(endpoint_to_host_action=action)  # type: ignore[arg-type]
    assert allowed(world(*PODS), A, HOST1, settings=settings) is expected
    denied = world(*PODS, policy("p", egress=(DENY,)))
    assert not allowed(denied, A, HOST1, settings=settings)


def test_pod_to_its_own_node_does_not_meet_the_hosts_normal_policy() -> None:
    assert way(A, HOST1, hep()) == ["workload egress n1"]
    assert way(A, HOST2, hep(node="n2"))[-1] == "normal ingress n2"


@pytest.mark.parametrize(("kind", "expected"), [(135, True), (133, True), (128, False)])
def test_neighbour_discovery_toward_the_node_is_exempt(kind: int, expected: bool) -> None:
    made = world(*PODS, policy("p", egress=(DENY,)))
    packet = {"protocol": ICMPV6, "icmp_type": kind, "icmp_code": 0}
    assert allowed(made, "fd00::1", "fd00:30::11", **packet) is expected


# --- encapsulation and inactive endpoints --------------------------------------------------------------------------


def test_pods_may_not_encapsulate_unless_told_so() -> None:
    made = world(*PODS)
    assert not allowed(made, A, OUTSIDE, 4789, protocol=UDP)
    assert not allowed(made, A, OUTSIDE, None, protocol=4)
    free = Settings(allow_vxlan_from_workloads=True, allow_ipip_from_workloads=True)
    assert allowed(made, A, OUTSIDE, 4789, protocol=UDP, settings=free)
    assert allowed(made, A, OUTSIDE, None, protocol=4, settings=free)


def test_an_endpoint_that_is_down_denies_both_ways() -> None:
    made = world(pod("a", 1, active=False), pod("b", 2))
    assert not allowed(made, A, B)
    assert not allowed(made, B, A)


# --- host endpoints ------------------------------------------------------------------------------------------------


def test_traffic_from_outside_meets_the_lists_of_the_nodes_host_endpoint() -> None:
    assert way(OUTSIDE, HOST1, hep()) == ["untracked ingress n1", "pre-dnat ingress n1", "normal ingress n1"]
    assert way(OUTSIDE, A, hep()) == [
        "untracked ingress n1",
        "pre-dnat ingress n1",
        "forward ingress n1",
        "workload ingress n1",
    ]
    assert way(HOST1, OUTSIDE, hep()) == ["untracked egress n1", "normal egress n1"]
    assert way(A, OUTSIDE, hep()) == ["workload egress n1", "forward egress n1"]


def test_without_a_host_endpoint_a_node_is_not_policed() -> None:
    assert way(OUTSIDE, HOST1) == []
    assert way(HOST1, OUTSIDE) == []


def test_a_host_endpoint_without_policy_and_profile_denies_all_but_failsafe_ports_and_forwarding() -> None:
    made = world(*PODS, host_endpoint("hep"))
    assert not allowed(made, OUTSIDE, HOST1, 80)
    assert allowed(made, OUTSIDE, HOST1, 22)
    assert not allowed(made, HOST1, OUTSIDE, 80)
    assert allowed(made, HOST1, OUTSIDE, 53, protocol=UDP)
    assert allowed(made, OUTSIDE, A)


def test_failsafe_ports_can_be_limited_to_peers_and_emptied() -> None:
    made = world(*PODS, host_endpoint("hep"))
    near = Settings(failsafe_inbound=(Failsafe(6, 22, "203.0.113.0/24"),))
    assert allowed(made, OUTSIDE, HOST1, 22, settings=near)
    assert not allowed(made, "198.51.100.1", HOST1, 22, settings=near)
    assert not allowed(made, OUTSIDE, HOST1, 22, settings=Settings(failsafe_inbound=()))


def test_forwarded_traffic_is_allowed_by_a_host_endpoint_with_only_normal_policy() -> None:
    normal = policy("normal", selector=HOSTS, ingress=(DENY,))
    assert allowed(world(*PODS, hep(), normal), OUTSIDE, A)
    forward = policy("forward", selector=HOSTS, apply_on_forward=True, ingress=(DENY,))
    assert not allowed(world(*PODS, hep(), forward), OUTSIDE, A)
    assert not allowed(world(*PODS, hep(), forward), OUTSIDE, HOST1)


def test_a_forward_list_that_falls_through_allows() -> None:
    nothing = policy("f", selector=HOSTS, apply_on_forward=True, tier="soft", ingress=(rule("deny", protocol=UDP),))

    assert allowed(world(*PODS, hep(), nothing, tier("soft", 1, "pass")), OUTSIDE, A)


@pytest.mark.parametrize("flag", ["pre_dnat", "do_not_track"])
def test_early_lists_go_on_when_nothing_matches_and_spare_later_host_policy_when_they_allow(flag: str) -> None:
    deny = policy("normal", selector=HOSTS, ingress=(DENY,), egress=(DENY,))
    early = {"selector": HOSTS, "apply_on_forward": True, flag: True}
    nothing = policy("early", ingress=(rule("deny", protocol=UDP),), **early)
    accept = policy("early", ingress=(ALLOW,), **early)
    refuse = policy("early", ingress=(DENY,), **early)
    assert not allowed(world(*PODS, hep(), deny, nothing), OUTSIDE, HOST1)
    assert allowed(world(*PODS, hep(), deny, accept), OUTSIDE, HOST1)
    assert not allowed(world(*PODS, hep(), refuse), OUTSIDE, HOST1)
    assert allowed(world(*PODS, hep(), refuse), OUTSIDE, HOST1, 22), "a failsafe port was closed"


def test_an_early_allow_never_spares_the_pods_own_policy() -> None:
    accept = policy("early", selector=HOSTS, apply_on_forward=True, pre_dnat=True, ingress=(ALLOW,))
    own = policy("own", selector="app == 'a'", ingress=(DENY,))
    assert not allowed(world(*PODS, hep(), accept, own), OUTSIDE, A)


def test_pre_dnat_policy_sees_the_address_before_translation_and_the_pod_the_one_after() -> None:
    node_port = {"service_ip": HOST1, "service_port": 30080}
    early = policy(
        "early",
        selector=HOSTS,
        apply_on_forward=True,
        pre_dnat=True,
        ingress=(rule("deny", protocol=6, dst={"ports": ports(30080)}),),
    )
    assert not allowed(world(*PODS, hep(), early), OUTSIDE, A, **node_port)
    assert allowed(world(*PODS, hep(), early), OUTSIDE, A)
    own = policy("own", selector="app == 'a'", ingress=(rule("allow", protocol=6, dst={"ports": ports(80)}),))
    assert allowed(world(*PODS, hep(), own), OUTSIDE, A, **node_port)


def test_workloads_ignore_untracked_and_pre_dnat_policy() -> None:
    for flag in ("pre_dnat", "do_not_track"):
        assert allowed(world(*PODS, policy("p", apply_on_forward=True, ingress=(DENY,), **{flag: True})), A, B)


# --- which host endpoint -------------------------------------------------------------------------------------------


def test_a_wildcard_covers_pods_interfaces_for_forwarded_traffic() -> None:
    wildcard = hep(interface="*")
    assert way(A, B, wildcard) == [
        "pre-dnat ingress n1",
        "forward ingress n1",
        "workload egress n1",
        "workload ingress n1",
        "forward egress n1",
    ]
    forward = policy("forward", selector=HOSTS, apply_on_forward=True, egress=(DENY,))
    assert not allowed(world(*PODS, wildcard, forward), A, B)


def test_a_named_endpoint_replaces_the_wildcard_for_its_device_only() -> None:
    both = (hep("named", interface="eth0"), hep("star", interface="*"))
    verdict = ask(world(*PODS, *both), A, OUTSIDE)
    names = [(stage.list, getattr(stage.endpoint, "name", "")) for stage in verdict.stages]
    assert names == [("pre-dnat", "star"), ("forward", "star"), ("workload", ""), ("forward", "named")]


def test_an_endpoint_is_found_by_expected_address_and_the_first_by_name_wins() -> None:
    found = (hep("b", interface="", expected_ips=(HOST1,)), hep("a", interface="", expected_ips=(HOST1,)))
    verdict = ask(world(*PODS, *found), OUTSIDE, HOST1)
    assert {getattr(stage.endpoint, "name", "") for stage in verdict.stages} == {"a"}
    assert way(OUTSIDE, HOST1, hep(interface="", expected_ips=("192.0.2.1",))) == []


def test_tunnelled_traffic_does_not_meet_the_uplinks_host_endpoint() -> None:
    both = (hep("n1-eth0"), hep("n2-eth0", node="n2"))
    assert "forward egress n1" in way(A, C, *both, pool())
    assert "forward egress n1" not in way(A, C, *both, pool(vxlan_mode="Always"))
    assert "forward egress n1" in way(A, C, *both, pool(vxlan_mode="CrossSubnet"))
