"""Tiers, policies and profiles: who is asked first, who has the last word. (Match fields: test_policy_match.)"""

import pytest
from policy_worlds import ALLOW, DENY, LOG, PASS, allowed, ask, pod, policy, rule, tier, world

from tortie.model.dataplane import Profile, ProfileKey, Rule

A, B = "10.0.0.1", "10.0.0.2"
PODS = (pod("a", 1), pod("b", 2))


def decided(*items: object) -> str:
    """The policy (or tier, or profile) that decides ingress at b."""
    verdict = ask(world(*PODS, *items), A, B)  # type: ignore[arg-type]
    step = verdict.stages[-1].decided_by
    if step.policy is not None:
        return step.policy.name
    return step.tier or step.profile or "nothing"


def test_without_any_policy_the_namespaces_profile_allows() -> None:
    verdict = ask(world(*PODS), A, B)
    assert verdict.allowed
    assert [stage.direction for stage in verdict.stages] == ["egress", "ingress"]
    assert verdict.stages[0].decided_by.profile == "kns.red"


def test_a_policy_of_type_ingress_without_rules_isolates() -> None:
    assert decided(policy("isolate", applies_ingress=True)) == "default"
    assert not allowed(world(*PODS, policy("isolate", applies_ingress=True)), A, B)


def test_a_tier_with_only_egress_policies_leaves_ingress_untouched() -> None:
    made = world(*PODS, policy("out", selector="app == 'b'", egress=(DENY,)))
    assert allowed(made, A, B)
    assert not allowed(made, B, A)


def test_a_policy_without_types_applies_both_ways() -> None:
    made = world(*PODS, policy("both", selector="app == 'b'"))
    assert not allowed(made, A, B)
    assert not allowed(made, B, A)


def test_tiers_are_asked_by_order_then_by_name_and_unknown_ones_last() -> None:
    def at(name: str) -> object:
        return policy(f"in-{name}", tier=name, ingress=(ALLOW,))

    assert decided(tier("one", 1), tier("zero", 0), at("one"), at("zero")) == "in-zero"
    assert decided(tier("bbb", 5), tier("aaa", 5), at("aaa"), at("bbb")) == "in-aaa"
    assert decided(tier("none", None), at("none"), at("default")) == "in-default"
    assert decided(tier("none", None), at("none"), at("unknown")) == "in-none"


def test_an_unknown_tier_is_enforced_and_drops_at_its_end() -> None:
    assert not allowed(world(*PODS, policy("p", tier="unknown", applies_ingress=True)), A, B)


def test_policies_are_asked_by_order_and_zero_is_an_order() -> None:
    first, second = policy("first", order=0.0, ingress=(ALLOW,)), policy("second", order=1.0, ingress=(DENY,))
    assert decided(second, first) == "first"
    assert decided(policy("last", ingress=(DENY,)), policy("numbered", order=1e9, ingress=(ALLOW,))) == "numbered"


def test_equal_orders_are_settled_by_name_namespace_and_kind_as_one_string() -> None:
    assert decided(policy("x/y", ingress=(DENY,)), policy("x-y", ingress=(ALLOW,))) == "x-y"
    assert decided(policy("x", ingress=(DENY,)), policy("x.y", ingress=(ALLOW,))) == "x.y"
    red = "projectcalico.org/namespace == 'red'"
    namespaced = policy("p", kind="NetworkPolicy", space="red", selector=red, ingress=(DENY,))
    assert ask(world(*PODS, namespaced, policy("p", ingress=(ALLOW,))), A, B).allowed  # "p//…" before "p/red/…"


def test_pass_skips_the_rest_of_the_tier_and_from_the_last_one_leads_to_the_profiles() -> None:
    one = tier("one", 1)
    passing = policy("passing", tier="one", order=1.0, ingress=(PASS,))
    skipped = policy("skipped", tier="one", order=2.0, ingress=(DENY,))
    assert decided(one, passing, skipped) == "kns.red"
    assert decided(one, passing, skipped, policy("later", ingress=(DENY,))) == "later"


def test_a_tier_whose_default_is_pass_never_drops_at_its_end() -> None:
    assert decided(tier("soft", 1, "pass"), policy("p", tier="soft", ingress=(rule("deny", protocol=17),))) == "kns.red"


def test_staged_policies_are_not_asked_and_do_not_drop() -> None:
    staged = policy("p", kind="StagedGlobalNetworkPolicy", staged="Set", ingress=(DENY,))
    assert allowed(world(*PODS, staged), A, B)


def test_log_does_not_decide() -> None:
    verdict = ask(world(*PODS, policy("p", ingress=(LOG, DENY))), A, B)
    assert not verdict.allowed
    assert [step.outcome for step in verdict.stages[-1].steps] == ["log", "deny"]
    assert verdict.stages[-1].decided_by.rule == 1


def test_the_trace_names_every_policy_that_was_asked_and_the_ones_behind_a_default() -> None:
    one, two = policy("one", order=1.0, ingress=(rule(protocol=17),)), policy("two", order=2.0, applies_ingress=True)
    stage = ask(world(*PODS, one, two), A, B).stages[-1]
    assert [(step.outcome, step.policy and step.policy.name) for step in stage.steps] == [
        ("no-match", "one"),
        ("no-match", "two"),
        ("deny", None),
    ]
    assert [key.name for key in stage.decided_by.selected] == ["one", "two"]


# --- profiles ------------------------------------------------------------------------------------------------------


def profile(name: str, *rules: Rule) -> tuple[ProfileKey, Profile]:
    return ProfileKey(name), Profile(ingress=rules, egress=(ALLOW,))


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({"first": (ALLOW,), "second": (DENY,)}, True),
        ({"first": (DENY,), "second": (ALLOW,)}, False),
        ({"first": (), "second": (ALLOW,)}, True),
        ({"first": (PASS, DENY), "second": (ALLOW,)}, True),
        ({"first": (LOG,), "second": ()}, False),
        ({"second": (ALLOW,)}, False),  # the first does not exist
    ],
)
def test_profiles_are_asked_in_order_and_pass_ends_one_of_them(
    rules: dict[str, tuple[Rule, ...]], expected: bool
) -> None:
    target = pod("b", 2, profiles=("first", "second"))
    made = world(pod("a", 1), target, *(profile(name, *given) for name, given in rules.items()))
    assert allowed(made, A, B) is expected


def test_an_endpoint_without_profiles_denies_what_no_policy_allows() -> None:
    assert not allowed(world(pod("a", 1), pod("b", 2, profiles=())), A, B)


def test_a_profile_or_policy_that_does_not_parse_counts_as_absent() -> None:
    broken = rule("allow", src={"selector": "=="})
    assert decided(policy("broken", ingress=(broken,))) == "kns.red"
    assert decided(policy("broken", selector="==", ingress=(DENY,))) == "kns.red"
    target = pod("b", 2, profiles=("first",))
    assert not allowed(world(pod("a", 1), target, profile("first", ALLOW, broken)), A, B)
