"""Messages become rules: golden files that a network engineer can read, next to the input that made them.

Run with TORTIE_UPDATE_GOLDEN=1 to write them afresh. That the kernel form of every part says the same as its text is
proven in tests/net/test_net_nft.py; what the rules do to packets in test_dataplane_policy.py and its neighbours.
"""

import os
from pathlib import Path

import pytest
from dataplane_world import gnp, policy, rule, tier

from tortie.felix.dataplane import DataplaneConfig, static
from tortie.felix.dataplane.chain import Chain
from tortie.felix.dataplane.endpoints import ANY_INTERFACE, host_chains, workload_chains
from tortie.felix.dataplane.policies import flow_prefix, join_ports, policy_chains, profile_chains
from tortie.felix.dataplane.static import Situation
from tortie.felix.messages import HostEndpointUpdate, PolicyUpdate, ProfileUpdate, RuleSide, WorkloadEndpointUpdate
from tortie.model.dataplane import HostEndpointKey, Icmp, PolicyKey, PortRange, WorkloadEndpointKey

GOLDEN = Path(__file__).parent / "golden"
CONFIG = DataplaneConfig(node="n1")


def ports(*numbers: int) -> tuple[PortRange, ...]:
    return tuple(PortRange(number, number) for number in numbers)


POLICY = PolicyUpdate(
    key=PolicyKey("NetworkPolicy", "shop", "default.web"),
    tier="default",
    ingress=(
        rule("allow", protocol=6, src=RuleSide(set_ids=("s:clients",)), dst=RuleSide(ports=ports(80), has_ports=True)),
        rule(
            "allow",
            protocol=6,
            src=RuleSide(nets=("10.0.0.0/8", "10.1.0.0/16", "192.0.2.7/32", "fd00::/64")),
            dst=RuleSide(ports=(*ports(443, 8443), PortRange(9000, 9100)), port_set_ids=("n:http",), has_ports=True),
        ),
        rule("allow", ip_version=4, protocol=1, icmp=Icmp(8, 0)),
        rule("pass", protocol=17, src=RuleSide(not_nets=("10.0.0.0/8", "fd00::/8"), not_set_ids=("s:enemies",))),
        rule("log"),
        rule("deny"),
    ),
    egress=(
        rule("allow", dst=RuleSide(service_set_ids=("svc:dns",))),
        rule("allow", not_protocol=6, dst=RuleSide(nets=("0.0.0.0/0",))),
        rule("deny", protocol=6, dst=RuleSide(has_ports=True)),
    ),
)
PROFILE = ProfileUpdate("kns.shop", ingress=(rule("allow"),), egress=(rule("allow"),))
WORKLOAD = WorkloadEndpointUpdate(
    key=WorkloadEndpointKey("n1", "k8s", "shop/web-0", "eth0"),
    interface="cali0123456789a",
    mac="ee:ee:ee:ee:ee:01",
    ipv4_nets=("10.65.0.1/32",),
    ipv6_nets=("fd65::1/128",),
    profiles=("kns.shop", "ksa.shop.default"),
    tiers=(
        tier("security", ingress=["a"], egress=["a"], default="pass"),
        tier("default", ingress=["b", "c", "d", "e", "f", "g", "h"]),
    ),
)
HOST = HostEndpointUpdate(
    key=HostEndpointKey("n1", "uplink"),
    interface="eth0",
    expected_ips=("172.30.0.11",),
    profiles=("projectcalico-default-allow",),
    tiers=(tier(ingress=["a"], egress=["a"]),),
    untracked_tiers=(tier(ingress=["u"], egress=["u"]),),
    pre_dnat_tiers=(tier(ingress=["p"]),),
    forward_tiers=(tier(ingress=["f"]),),
)
BUSY = Situation(
    vxlan=True,
    masquerade=True,
    service_cidrs=True,
    host_dispatch=(
        ("filter-cali-from-host-endpoint", "filter-cali-fh-any-interface"),
        ("filter-cali-from-hep-forward", ""),
        ("filter-cali-to-host-endpoint", ""),
        ("filter-cali-to-hep-forward", ""),
        ("mangle-cali-from-host-endpoint", ""),
        ("raw-cali-from-host-endpoint", ""),
        ("raw-cali-to-host-endpoint", ""),
    ),
    spoofing=(("cali1", "198.51.100.0/24"),),
)

CASES: dict[str, list[Chain]] = {
    "policy-v4": list(policy_chains(POLICY, 4, CONFIG)),
    "policy-v6": list(policy_chains(POLICY, 6, CONFIG)),
    "policy-flow-logs": list(policy_chains(POLICY, 4, DataplaneConfig(node="n1", flow_logs=True))),
    "profile-v4": list(profile_chains(PROFILE, 4, CONFIG)),
    "workload-v4": workload_chains(WORKLOAD, 4, CONFIG),
    "workload-v6": workload_chains(WORKLOAD, 6, CONFIG),
    "host-endpoint-v4": list(host_chains(HOST, "eth0", 4, CONFIG).chains),
    "host-endpoint-any-v6": list(host_chains(HOST, ANY_INTERFACE, 6, CONFIG).chains),
    "frame-idle-v4": static.chains(Situation(), 4, CONFIG),
    "frame-idle-v6": static.chains(Situation(), 6, CONFIG),
    "frame-busy-v4": static.chains(BUSY, 4, CONFIG),
}


@pytest.mark.parametrize("name", CASES)
def test_rules_are_as_the_golden_file_says(name: str) -> None:
    path = GOLDEN / f"{name}.nft"
    text = "\n\n".join(chain.text() for chain in CASES[name]) + "\n"
    if os.environ.get("TORTIE_UPDATE_GOLDEN"):
        path.write_text(text)
    assert path.read_text() == text


def test_every_chain_can_be_encoded_and_names_what_it_refers_to() -> None:
    for chains in CASES.values():
        for chain in chains:
            assert len(chain.encoded) == len(chain.rules)
            assert {content.name for content in chain.sets} <= chain.uses


def test_a_rules_comment_tells_whether_everything_before_it_is_the_same() -> None:
    first, _ = policy_chains(POLICY, 4, CONFIG)
    import msgspec

    changed = msgspec.structs.replace(
        POLICY, ingress=(*POLICY.ingress[:4], rule("deny", protocol=99), POLICY.ingress[5])
    )
    second, _ = policy_chains(changed, 4, CONFIG)
    same = [a == b for a, b in zip(first.user_data, second.user_data, strict=True)]
    assert same == [True] * (len(same) - 2) + [False, False]


def test_an_ipv4_only_rule_leaves_nothing_behind_in_ipv6() -> None:
    chain, _ = policy_chains(
        policy("p", ingress=[rule("allow", src=RuleSide(nets=("10.0.0.0/8",))), rule("allow", ip_version=4)]), 6, CONFIG
    )
    assert chain.rules == ()


def test_port_lists_become_one_lookup_however_long() -> None:
    many = tuple(PortRange(port, port) for port in range(1000, 1100, 2))
    chain, _ = policy_chains(
        policy("p", ingress=[rule("allow", protocol=6, dst=RuleSide(ports=many, has_ports=True))]), 4, CONFIG
    )
    assert len(chain.rules) == 1
    assert len(chain.sets) == 1


def test_ranges_of_ports_that_touch_are_joined() -> None:
    assert join_ports((PortRange(5, 9), PortRange(1, 4), PortRange(7, 12), PortRange(20, 20))) == (
        PortRange(1, 12),
        PortRange(20, 20),
    )


def test_equal_lists_of_policies_share_one_group_chain() -> None:
    import msgspec

    other = msgspec.structs.replace(WORKLOAD, interface="cali9")
    groups = [
        {chain.name for chain in workload_chains(endpoint, 4, CONFIG) if "cali-gi-" in chain.name}
        for endpoint in (WORKLOAD, other)
    ]
    assert groups[0] == groups[1] and len(groups[0]) == 1


def test_log_prefixes_fill_in_their_specifiers_and_keep_to_the_limit() -> None:
    config = DataplaneConfig(node="n1", log_prefix="%t %k %n %p")
    chain, _ = policy_chains(POLICY, 4, config)
    assert 'log prefix "default np default.web shop/default.web: "' in chain.text()
    long = policy_chains(POLICY, 4, DataplaneConfig(node="n1", log_prefix="x" * 300))[0]
    assert f'"{"x" * 127}"' in long.text()


def test_flow_log_prefixes_are_shortened_so_that_names_stay_distinct() -> None:
    assert flow_prefix("A", "P", inbound=True, index=0, flow_id="GlobalNetworkPolicy/default.x") == (
        "API0|GlobalNetworkPolicy/default.x"
    )
    long = {
        flow_prefix(
            "D", "P", inbound=False, index=12, flow_id="NetworkPolicy/ns/default." + "x" * 80 + end + "tail-of-it"
        )
        for end in "ab"
    }
    assert len(long) == 2
    assert all(len(prefix) < 63 for prefix in long)


@pytest.mark.parametrize("name", ["default.a b", "default." + "x" * 300, 'default."quoted"'])
def test_names_that_nft_cannot_write_become_hashes(name: str) -> None:
    chain, _ = policy_chains(PolicyUpdate(gnp(name), "default", (), ()), 4, CONFIG)
    assert chain.name.startswith("filter-cali-pi-_") and len(chain.name) < 60
