"""What the calculation says, when, and in which order. (Verdicts: test_calc_against_engine; order of updates:
test_calc_order; routes and tunnels: test_calc_routes.)"""

import pytest
from calc_worlds import (
    NODE,
    OTHER,
    Run,
    from_selector,
    host,
    network_set,
    pod,
    pod_key,
    policy,
    policy_key,
    profile,
    rule,
    tier,
)

from tortie.felix.calc import Calculation
from tortie.felix.calc.rules import SelectorSource, SetSpec
from tortie.felix.calc.sets import SetTable
from tortie.felix.messages import (
    HostEndpointUpdate,
    InSync,
    IPPort,
    IPSetDelta,
    IPSetRemove,
    IPSetUpdate,
    PolicyRemove,
    PolicyUpdate,
    ProfileRemove,
    ProfileUpdate,
    WorkloadEndpointRemove,
    WorkloadEndpointUpdate,
)
from tortie.model.dataplane import (
    BGPConfig,
    BGPConfigKey,
    EndpointSlice,
    EndpointSliceKey,
    FelixConfigKey,
    NamedPort,
    Policy,
    PolicyKey,
    PortRange,
    ServiceKey,
    Update,
)
from tortie.model.selector import parse

CLIENT = ("app == 'client'", "10.0.0.9/32")


def kinds(messages: list[object]) -> list[str]:
    found: list[str] = []
    for message in messages:
        name = type(message).__name__
        if not found or found[-1] != name:
            found.append(name)
    return found


# --- when and in which order ---------------------------------------------------------------------------------------


def test_nothing_is_said_before_the_snapshot_is_complete_and_in_sync_once_after_it() -> None:
    calculation = Calculation(NODE)
    calculation.update(Update(*item) for item in (pod(), profile()))  # type: ignore[arg-type]
    assert calculation.flush() == []
    calculation.in_sync()
    messages = calculation.flush()
    assert messages[-1] == InSync()
    assert sum(isinstance(message, InSync) for message in messages) == 1
    calculation.update([Update(*policy())])
    assert not any(isinstance(message, InSync) for message in calculation.flush())


def test_announcements_come_sets_first_and_endpoints_last() -> None:
    run = Run(pod(), profile(), policy(ingress=(from_selector("app == 'x'"),)))
    wanted = ["IPSetUpdate", "PolicyUpdate", "ProfileUpdate", "WorkloadEndpointUpdate"]
    assert kinds(run.first)[:4] == wanted  # type: ignore[arg-type]


def test_removals_come_endpoints_first_and_sets_last() -> None:
    run = Run(pod(), profile(), policy(ingress=(from_selector("app == 'x'"),)))
    messages = run.give((pod_key("a"), None))
    assert kinds(messages) == [  # type: ignore[arg-type]
        "WorkloadEndpointRemove",
        "ProfileRemove",
        "PolicyRemove",
        "IPSetRemove",
    ]


def test_a_replaced_set_is_announced_before_the_policy_and_the_old_one_removed_after_it() -> None:
    run = Run(pod(), profile(), policy(ingress=(from_selector("app == 'x'"),)))
    messages = run.give(policy(ingress=(from_selector("app == 'y'"),)))
    assert [type(message) for message in messages] == [IPSetUpdate, PolicyUpdate, IPSetRemove]


def test_the_same_value_again_says_nothing() -> None:
    run = Run(pod(), profile(), policy())
    assert run.give(pod(), profile(), policy()) == []


def test_what_comes_and_goes_between_two_flushes_is_not_mentioned() -> None:
    run = Run(pod(), profile(), policy(ingress=(from_selector(CLIENT[0]),)))
    run.calculation.update([Update(*pod("client", 9, node=OTHER)), Update(pod_key("client", OTHER), None)])
    assert run.flush() == []
    run.give(pod("client", 9, node=OTHER))
    run.calculation.update([Update(pod_key("client", OTHER), None), Update(*pod("client", 9, node=OTHER))])
    assert run.flush() == []


def test_deleting_what_was_never_there_and_keys_of_others_are_tolerated() -> None:
    run = Run()
    assert run.give((pod_key("ghost"), None), (policy_key("ghost"), None), (FelixConfigKey("default"), None)) == []


# --- only what local endpoints need --------------------------------------------------------------------------------


def test_a_policy_is_active_while_it_selects_a_local_endpoint() -> None:
    run = Run(pod("b", node=OTHER), profile(), policy(selector="app in {'a', 'b'}"))
    assert run.state.policies == {}
    run.give(pod("a"))
    assert set(run.state.policies) == {policy_key("p")}
    messages = run.give((pod_key("a"), None))
    assert any(isinstance(message, PolicyRemove) for message in messages)


def test_a_policy_that_asks_to_be_everywhere_is_active_without_endpoints() -> None:
    run = Run(policy(performance_hints=("AssumeNeededOnEveryNode",)))
    assert set(run.state.policies) == {policy_key("p")}


@pytest.mark.parametrize("flag", ["do_not_track", "pre_dnat"])
def test_host_only_policies_are_not_active_for_pods(flag: str) -> None:
    only = policy(apply_on_forward=True, **{flag: True})
    run = Run(pod(), profile(), only)
    assert run.state.policies == {}
    run.give(host())
    assert set(run.state.policies) == {policy_key("p")}


def test_staged_policies_are_never_active() -> None:
    run = Run(pod(), profile(), policy(staged="Set"))
    assert run.state.policies == {}
    assert run.workload().tiers == ()


def test_endpoints_of_other_nodes_only_fill_sets() -> None:
    run = Run(pod(), pod("client", 9, node=OTHER), profile(), policy(ingress=(from_selector(CLIENT[0]),)))
    assert set(run.state.endpoints) == {pod_key("a")}
    assert run.members() == [{CLIENT[1]}]


# --- profiles ------------------------------------------------------------------------------------------------------


def test_a_missing_profile_is_stood_in_for_by_one_that_denies() -> None:
    run = Run(pod())
    stand_in = run.state.profiles["kns.red"]
    assert [found.action for found in (*stand_in.ingress, *stand_in.egress)] == ["deny", "deny"]
    messages = run.give(profile())
    [update] = messages
    assert isinstance(update, ProfileUpdate)
    assert update.ingress[0].action == "allow"
    messages = run.give((profile()[0], None))
    assert isinstance(messages[0], ProfileUpdate)
    assert messages[0].ingress[0].action == "deny"


def test_an_invalid_profile_denies_and_is_reported() -> None:
    key, value = profile()
    broken = (key, type(value)(ingress=(from_selector("=="),)))  # type: ignore[misc, call-arg]
    run = Run(pod(), broken)
    assert run.state.profiles["kns.red"].ingress[0].action == "deny"
    assert "==" in run.calculation.problems[key]
    run.give(profile())
    assert run.calculation.problems == {}


def test_a_profile_lives_as_long_as_a_local_endpoint_names_it() -> None:
    run = Run(pod(), pod("b", 2), profile())
    run.give((pod_key("a"), None))
    assert set(run.state.profiles) == {"kns.red"}
    messages = run.give((pod_key("b"), None))
    assert [type(message) for message in messages] == [WorkloadEndpointRemove, ProfileRemove]


# --- values that cannot be used ------------------------------------------------------------------------------------


def test_a_policy_that_turns_invalid_is_as_if_deleted_and_the_rest_stays() -> None:
    run = Run(pod(), profile(), policy(), policy("q"))
    run.give(policy(ingress=(from_selector("a =="),)))
    assert set(run.state.policies) == {policy_key("q")}
    assert run.order() == [("default", ["q"], [])]
    assert "a ==" in run.calculation.problems[policy_key("p")]
    run.give(policy(selector="b =="))
    assert "b ==" in run.calculation.problems[policy_key("p")]
    run.give(policy())
    assert run.order() == [("default", ["p", "q"], [])]
    assert run.calculation.problems == {}


def test_what_conversion_left_out_of_an_active_policy_is_told() -> None:
    run = Run(pod(), profile(), policy(errors=("rule 1 is left out: no such port",)), policy("q", selector="has(none)"))
    assert run.calculation.incomplete == {policy_key("p"): "rule 1 is left out: no such port"}
    run.give(policy())
    assert run.calculation.incomplete == {}


def test_a_selector_of_a_namespace_is_judged_when_an_endpoint_meets_it() -> None:
    bad = policy(selector="a == && projectcalico.org/namespace == 'red'")
    run = Run(bad, profile())
    assert run.calculation.problems == {}
    run.give(pod())
    assert run.state.policies == {}
    assert "a ==" in run.calculation.problems[policy_key("p")]


def test_an_endpoint_without_an_interface_or_with_forbidden_sources_is_absent() -> None:
    run = Run(pod(interface=""), pod("b", 2, allowed_source_prefixes=("192.0.2.0/24",)), profile())
    assert run.state.endpoints == {}
    assert len(run.calculation.problems) == 2
    free = Run(pod("b", 2, allowed_source_prefixes=("192.0.2.0/24",)), profile(), source_spoofing=True)
    assert free.workload("b").allowed_source_prefixes == ("192.0.2.0/24",)


def test_a_network_set_with_a_bad_net_is_absent_and_reported() -> None:
    run = Run(pod(), profile(), policy(ingress=(from_selector("role == 'x'"),)), network_set("10.0.0.0/8", role="x"))
    assert run.members() == [{"10.0.0.0/8"}]
    run.give(network_set("10.0.0.0/8", "nonsense", role="x"))
    assert run.members() == [set()]
    assert "nonsense" in next(iter(run.calculation.problems.values()))


# --- tiers and order -----------------------------------------------------------------------------------------------


def test_a_tiers_new_order_is_told_to_every_endpoint_that_has_policies() -> None:
    run = Run(pod(), profile(), tier("one", 1), tier("two", 2), policy("p", tier="one"), policy("q", tier="two"))
    assert [name for name, _, _ in run.order()] == ["one", "two"]
    messages = run.give(tier("one", 3))
    assert [type(message) for message in messages] == [WorkloadEndpointUpdate]
    assert [name for name, _, _ in run.order()] == ["two", "one"]


def test_a_tier_without_an_object_comes_last_and_denies() -> None:
    run = Run(pod(), profile(), tier("known", None, "pass"), policy("p", tier="gone"), policy("q", tier="known"))
    assert [(found.name, found.default_action) for found in run.workload().tiers] == [
        ("known", "pass"),
        ("gone", "deny"),
    ]


def test_a_policy_that_moves_to_another_tier_is_one_update() -> None:
    run = Run(pod(), profile(), tier("one", 1), tier("two", 2), policy(tier="one"))
    messages = run.give(policy(tier="two"))
    assert [type(message) for message in messages] == [PolicyUpdate, WorkloadEndpointUpdate]
    assert run.order() == [("two", ["p"], [])]


def test_order_zero_is_first_and_no_order_last_and_ties_are_one_string() -> None:
    run = Run(
        pod(),
        profile(),
        policy("none"),
        policy("zero", order=0.0),
        policy("big", order=1e9),
        policy("x/y"),
        policy("x-y"),
    )
    assert run.order()[0][1] == ["zero", "big", "none", "x-y", "x/y"]


def test_types_decide_the_direction_and_none_at_all_means_both() -> None:
    run = Run(
        pod(),
        profile(),
        policy("both", applies_ingress=False, applies_egress=False),
        policy("out", applies_ingress=False, applies_egress=True),
    )
    assert run.order() == [("default", ["both"], ["both", "out"])]


def test_a_change_of_rules_alone_is_not_told_to_endpoints() -> None:
    run = Run(pod(), profile(), policy())
    messages = run.give(policy(ingress=(rule("deny"),)))
    assert [type(message) for message in messages] == [PolicyUpdate]


def test_a_host_endpoint_has_four_lists() -> None:
    flags = {"apply_on_forward": True, "applies_egress": True}
    run = Run(
        host(),
        policy("normal", applies_egress=True),
        policy("forward", **flags),
        policy("untracked", do_not_track=True, **flags),
        policy("early", pre_dnat=True, **flags),
    )
    found = run.host()
    lists = {
        name: [(key.name) for tier_info in getattr(found, name) for key in tier_info.ingress]
        for name in ("tiers", "forward_tiers", "untracked_tiers", "pre_dnat_tiers")
    }
    assert lists == {
        "tiers": ["forward", "normal"],
        "forward_tiers": ["forward"],
        "untracked_tiers": ["untracked"],
        "pre_dnat_tiers": ["early"],
    }
    assert found.pre_dnat_tiers[0].egress == ()
    assert {tier_info.default_action for tier_info in (*found.untracked_tiers, *found.pre_dnat_tiers)} == {"pass"}
    assert [type(message) for message in run.first if isinstance(message, HostEndpointUpdate)] == [HostEndpointUpdate]


# --- sets ----------------------------------------------------------------------------------------------------------


def test_a_set_is_known_by_its_selectors_canonical_text_and_shared_everywhere() -> None:
    run = Run(
        pod(),
        profile(),
        policy("p", ingress=(from_selector("app=='x'"),), egress=(rule(dst={"selector": "( app == 'x' )"}),)),
        policy("q", ingress=(from_selector('app == "x"'),)),
    )
    assert list(run.state.sets) == [parse("app == 'x'").unique_id]
    run.give((policy_key("p"), None))
    assert len(run.state.sets) == 1
    run.give((policy_key("q"), None))
    assert run.state.sets == {}


def test_an_empty_set_exists_all_the_same() -> None:
    run = Run(pod(), profile(), policy(ingress=(from_selector("app == 'nobody'"),)))
    assert run.members() == [set()]


def test_an_address_that_two_endpoints_have_stays_until_both_are_gone() -> None:
    run = Run(
        pod(),
        profile(),
        policy(ingress=(from_selector("app == 'twin'"),)),
        pod("twin", 9, node=OTHER),
        (pod_key("twin", "node-c"), pod("twin", 9)[1]),
    )
    assert run.members() == [{"10.0.0.9/32"}]
    assert run.give((pod_key("twin", OTHER), None)) == []
    [delta] = run.give((pod_key("twin", "node-c"), None))
    assert isinstance(delta, IPSetDelta)
    assert delta.removed == {"10.0.0.9/32"}


def test_a_positive_and_a_negated_selector_become_one_set_and_a_negated_one_alone_stays_negated() -> None:
    both = from_selector("has(app)", not_selector="app == 'b'")
    run = Run(pod(), pod("b", 2), profile(), policy(ingress=(both, rule(src={"not_selector": "app == 'b'"}))))
    first, second = run.state.policies[policy_key("p")].ingress
    assert run.state.sets[first.src.set_ids[0]][1] == {"10.0.0.1/32"}
    assert first.src.not_set_ids == ()
    assert second.src.set_ids == ()
    assert run.state.sets[second.src.not_set_ids[0]][1] == {"10.0.0.2/32"}


def test_a_named_port_is_a_set_of_its_selector_protocol_and_name() -> None:
    ports = (NamedPort("http", 6, 80), NamedPort("http", 6, 8080), NamedPort("http", 17, 80), NamedPort("dns", 6, 53))
    named = rule(protocol=6, dst={"named_ports": ("http",), "selector": "app == 'b'"})
    run = Run(pod(), pod("b", 2, ports=ports), profile(), policy(ingress=(named,)))
    [side] = [found.dst for found in run.state.policies[policy_key("p")].ingress]
    assert side.set_ids == (), "the named port already says which endpoints"
    [identifier] = side.port_set_ids
    assert identifier.startswith("n:")
    assert run.state.sets[identifier] == ("ip-port", {IPPort("10.0.0.2", 6, 80), IPPort("10.0.0.2", 6, 8080)})
    run.give(pod("b", 2, ports=ports[:1]))
    assert run.state.sets[identifier][1] == {IPPort("10.0.0.2", 6, 80)}


def test_a_named_port_beside_numbers_keeps_the_selectors_set() -> None:
    mixed = rule(protocol=6, dst={"named_ports": ("http",), "ports": (PortRange(80, 80),), "selector": "app == 'b'"})
    run = Run(pod(), profile(), policy(ingress=(mixed,)))
    [side] = [found.dst for found in run.state.policies[policy_key("p")].ingress]
    assert side.set_ids == (parse("app == 'b'").unique_id,)
    assert len(side.port_set_ids) == 1


def test_a_named_port_of_a_protocol_without_ports_matches_nothing() -> None:
    run = Run(pod(), profile(), policy(ingress=(rule(protocol=1, dst={"named_ports": ("http",)}),)))
    [side] = [found.dst for found in run.state.policies[policy_key("p")].ingress]
    assert side.has_ports and not side.ports and not side.port_set_ids


def test_a_service_is_a_set_with_ports_as_destination_and_without_as_source() -> None:
    service = ServiceKey("red", "web")
    slices = (EndpointSliceKey("red", "web-1"), EndpointSlice(service, ("10.0.0.2", "fd00::2"), (("http", 6, 80),)))
    run = Run(
        pod(),
        profile(),
        slices,
        policy(
            ingress=(rule(src={"service": service}),), egress=(rule(dst={"service": service}),), applies_egress=True
        ),
    )
    update = run.state.policies[policy_key("p")]
    [source] = update.ingress[0].src.set_ids
    [destination] = update.egress[0].dst.service_set_ids
    assert source.startswith("svcnoport:") and destination.startswith("svc:")
    assert run.state.sets[source][1] == {"10.0.0.2/32", "fd00::2/128"}
    assert run.state.sets[destination][1] == {IPPort("10.0.0.2", 6, 80), IPPort("fd00::2", 6, 80)}
    run.give((slices[0], EndpointSlice(service, ("10.0.0.3",), ())))
    assert run.state.sets[source][1] == {"10.0.0.3/32"}
    assert run.state.sets[destination][1] == set()
    run.give((slices[0], EndpointSlice(ServiceKey("red", "other"), ("10.0.0.3",), ())))
    assert run.state.sets[source][1] == set()


def test_domains_are_a_set_that_stays_empty_rather_than_no_match_at_all() -> None:
    run = Run(pod(), profile(), policy(egress=(rule(dst={"domains": ("example.com",)}),), applies_egress=True))
    [side] = [found.dst for found in run.state.policies[policy_key("p")].egress]
    assert run.state.sets[side.set_ids[0]] == ("net", frozenset())


def test_a_net_of_all_addresses_is_two_halves() -> None:
    run = Run(
        pod(), profile(), policy(ingress=(from_selector("role == 'x'"),)), network_set("0.0.0.0/0", "::/0", role="x")
    )
    assert run.members() == [{"0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"}]


def test_host_endpoints_contribute_expected_addresses_only() -> None:
    run = Run(
        pod(),
        profile(),
        policy(ingress=(from_selector("role == 'host'"),)),
        host("one", OTHER, labels={"role": "host"}, expected_ips=("172.30.0.12",)),
        host("two", OTHER, labels={"role": "host"}),
    )
    assert run.members() == [{"172.30.0.12/32"}]


def test_a_namespaces_new_label_moves_its_pods_in_and_out_of_sets() -> None:
    run = Run(pod(), profile(**{"pcns.team": "one"}), policy(ingress=(from_selector("pcns.team == 'two'"),)))
    assert run.members() == [set()]
    messages = run.give(profile(**{"pcns.team": "two"}))
    assert [type(message) for message in messages] == [IPSetDelta]
    assert run.members() == [{"10.0.0.1/32"}]
    run.give((profile()[0], None))
    assert run.members() == [set()]


# --- rules ---------------------------------------------------------------------------------------------------------


def test_a_rules_id_depends_on_its_owner_its_direction_and_all_rules_before_it() -> None:
    def ids(*rules: object, name: str = "p") -> list[str]:
        made: Policy = Policy(ingress=rules, egress=rules, applies_egress=True)  # type: ignore[arg-type]
        run = Run(pod(), profile(), (policy_key(name), made))
        update = run.state.policies[policy_key(name)]
        return [found.rule_id for found in (*update.ingress, *update.egress)]

    one, two = rule("allow"), rule("deny")
    first = ids(one, two)
    assert first == ids(one, two)
    assert all(len(identifier) == 16 for identifier in first)
    assert len(set(first)) == 4
    assert first[0] == ids(one)[0]
    assert first[1] != ids(two, two)[1]
    assert set(first).isdisjoint(ids(one, two, name="q"))


def test_a_policys_generation_travels_with_it() -> None:
    run = Run(pod(), profile(), policy(generation=3, resource_version="12"))
    [update] = run.give(policy(generation=4, resource_version="13"))
    assert isinstance(update, PolicyUpdate)
    assert (update.generation, update.resource_version) == (4, "13")


def test_a_policy_and_its_namesakes_of_other_kinds_live_side_by_side() -> None:
    keys = [PolicyKey(kind, "red", "p") for kind in ("NetworkPolicy", "KubernetesNetworkPolicy")]
    run = Run(pod(), profile(), *((key, Policy()) for key in keys))
    assert run.workload().tiers[0].ingress == tuple(sorted(keys, key=lambda key: key.sort_text))


# --- the rest ------------------------------------------------------------------------------------------------------


def test_service_ranges_come_from_the_default_bgp_configuration() -> None:
    value = BGPConfig(("10.96.0.0/16",), ("192.0.2.0/24",), ("198.51.100.0/24",))
    run = Run((BGPConfigKey("default"), value), (BGPConfigKey("node.x"), BGPConfig(("1.0.0.0/8",))))
    assert run.state.others["ServiceCIDRs", None].cidrs == ("10.96.0.0/16", "192.0.2.0/24", "198.51.100.0/24")


def test_statistics_count_what_there_is() -> None:
    run = Run(pod(), pod("b", 2, node=OTHER), host(), profile(), policy(ingress=(from_selector("app == 'x'"),)))
    numbers = run.calculation.statistics()
    assert numbers["cluster_workload_endpoints"] == 2
    assert numbers["local_endpoints"] == 2
    assert numbers["active_policies"] == numbers["active_sets"] == 1
    run.give((pod_key("a"), None), (policy_key("p"), None))
    assert run.calculation.statistics()["cluster_workload_endpoints"] == 1
    assert run.calculation.statistics()["active_policies"] == 0


def test_a_pod_that_loses_its_label_leaves_the_set() -> None:
    run = Run(pod(), profile(), policy(ingress=(from_selector(CLIENT[0]),)), pod("client", 9, node=OTHER))
    assert run.members() == [{CLIENT[1]}]
    [delta] = run.give((pod_key("client", OTHER), pod("other", 9)[1]))
    assert isinstance(delta, IPSetDelta)
    assert (delta.added, delta.removed) == (frozenset(), {CLIENT[1]})


def test_every_named_port_of_a_rule_counts() -> None:
    ports = (NamedPort("http", 6, 80), NamedPort("dns", 6, 53))
    named = rule(protocol=6, dst={"named_ports": ("http", "dns"), "not_named_ports": ("dns", "http")})
    run = Run(pod(ports=ports), profile(), policy(ingress=(named,)))
    [side] = [found.dst for found in run.state.policies[policy_key("p")].ingress]
    assert side.port_set_ids == tuple(reversed(side.not_port_set_ids))
    assert run.members() == [{IPPort("10.0.0.1", 6, 80)}, {IPPort("10.0.0.1", 6, 53)}]


def test_a_member_that_one_endpoint_takes_over_from_another_is_not_mentioned() -> None:
    table = SetTable()
    members = table.use(SetSpec("s:x", "net", SelectorSource(parse("all()"))))
    assert members is not None
    members.add(("10.0.0.1/32", "10.0.0.2/32"))
    table.messages()
    members.remove(("10.0.0.1/32",))
    members.add(("10.0.0.1/32",))
    members.add(("10.0.0.3/32",))
    members.remove(("10.0.0.3/32",))
    assert table.messages() == []
    assert members.full().members == {"10.0.0.1/32", "10.0.0.2/32"}
