"""Rights by tier as pure functions, over RBAC rules: who may do what in which tier, and what selectors name.

How the embedded server applies them is in test_apiserver_calico.py.
"""

import pytest

from tortie.apiserver import tiered
from tortie.apiserver.errors import StatusError
from tortie.apiserver.rbac import Rule, allows

VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
UNNAMED = ("list", "watch", "deletecollection")


def rule(resource: str, *names: str, verbs: tuple[str, ...] = VERBS) -> Rule:
    found = {"apiGroups": ["projectcalico.org"], "resources": [resource], "verbs": list(verbs)}
    return {**found, "resourceNames": list(names)} if names else found


GETS_TIER = rule("tiers", "net", verbs=("get",))

# grant: (rules, what is allowed in tier net by bare name, by the name net.p, without a name)
GRANTS: dict[str, tuple[list[Rule], bool, bool, bool]] = {
    "nothing": ([], False, False, False),
    "only get on the tier": ([GETS_TIER], False, False, False),
    "every policy but no tier": ([rule("tier.networkpolicies")], False, False, False),
    "every policy of every gettable tier": ([GETS_TIER, rule("tier.networkpolicies")], True, True, True),
    "the tier's own name": ([GETS_TIER, rule("tier.networkpolicies", "net.*")], True, True, True),
    "the name of another tier": ([GETS_TIER, rule("tier.networkpolicies", "other.*")], False, False, False),
    "an asterisk that is no glob": (
        [GETS_TIER, rule("tier.networkpolicies", "net.p*", "*", "n*")],
        False,
        False,
        False,
    ),
    "one policy by its bare name": ([GETS_TIER, rule("tier.networkpolicies", "p")], True, False, False),
    "one policy by its old name": ([GETS_TIER, rule("tier.networkpolicies", "net.p")], False, True, False),
    "the plain resource": ([GETS_TIER, rule("networkpolicies")], False, False, False),
    "another kind of policy": ([GETS_TIER, rule("tier.globalnetworkpolicies")], False, False, False),
    "every tier and policy": ([rule("tiers", verbs=("get",)), rule("tier.networkpolicies")], True, True, True),
    "list on the tier instead of get": (
        [rule("tiers", verbs=("list", "watch")), rule("tier.networkpolicies")],
        False,
        False,
        False,
    ),
}


def decide(rules: list[Rule], verb: str, name: str, tier: str = "net") -> tiered.Decision:
    asked = tiered.checks(verb, "networkpolicies", tier, name=name, namespace="shop")
    return tiered.decide([any(allows(r, question) for r in rules) for question in asked])


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("grant", GRANTS)
def test_each_grant_allows_exactly_what_it_names(grant: str, verb: str) -> None:
    rules, bare, prefixed, unnamed = GRANTS[grant]
    if verb in UNNAMED:
        assert decide(rules, verb, "").allowed is unnamed
    else:
        assert decide(rules, verb, "p").allowed is bare
        assert decide(rules, verb, "net.p").allowed is prefixed


@pytest.mark.parametrize("verb", VERBS)
def test_a_grant_of_one_verb_allows_no_other(verb: str) -> None:
    rules = [GETS_TIER, rule("tier.networkpolicies", "net.*", verbs=(verb,))]
    assert [v for v in VERBS if decide(rules, v, "" if v in UNNAMED else "p").allowed] == [verb]


def test_rights_in_one_tier_give_none_in_another() -> None:
    rules, *_ = GRANTS["every policy of every gettable tier"]
    assert decide(rules, "update", "p", tier="other") == tiered.Decision(allowed=False, gets_tier=False)


def test_the_questions_carry_names_to_the_letter() -> None:
    tier, policy, whole = tiered.checks(
        "update", "networkpolicies", "net", name="net.p", namespace="shop", subresource="status"
    )
    assert (tier.verb, tier.resource, tier.name, tier.namespace, tier.subresource) == ("get", "tiers", "net", "", "")
    assert (policy.verb, policy.full_resource, policy.name) == ("update", "tier.networkpolicies/status", "net.p")
    assert (whole.name, whole.namespace, whole.subresource) == ("net.*", "shop", "status")


def test_the_refusal_says_who_lacks_what() -> None:
    error = tiered.refusal("ann", "update", "networkpolicies", "net", name="p", namespace="shop", gets_tier=False)
    assert (error.code, error.reason) == (403, "Forbidden")
    assert error.message == (
        'networkpolicies.projectcalico.org "p" is forbidden: User "ann" cannot update '
        'networkpolicies.projectcalico.org in tier "net" and namespace "shop" (user cannot get tier)'
    )
    plain = tiered.refusal("ann", "list", "globalnetworkpolicies", "net")
    assert plain.message.endswith('cannot list globalnetworkpolicies.projectcalico.org in tier "net"')


@pytest.mark.parametrize(
    ("labels", "fields", "tiers"),
    [
        ("", "", None),
        ("app=shop", "metadata.name=p", None),
        ("projectcalico.org/tier=net", "", ["net"]),
        ("projectcalico.org/tier==net,app", "", ["net"]),
        ("projectcalico.org/tier in (net, dev)", "", ["dev", "net"]),
        ("projectcalico.org/tier in (net, dev),projectcalico.org/tier=net", "", ["net"]),
        ("", "spec.tier=net", ["net"]),
        ("", "metadata.name=p,spec.tier==net", ["net"]),
        ("", "spec.tier=net,spec.tier=dev", []),
        ("projectcalico.org/tier=dev", "spec.tier=net", ["net"]),
        ("projectcalico.org/tier!=dev", "spec.tier=net", ["net"]),
    ],
)
def test_selectors_name_tiers_and_the_field_wins(labels: str, fields: str, tiers: list[str] | None) -> None:
    assert tiered.selected_tiers(labels, fields) == tiers


@pytest.mark.parametrize(
    ("labels", "fields"),
    [
        ("projectcalico.org/tier!=net", ""),
        ("projectcalico.org/tier notin (net)", ""),
        ("projectcalico.org/tier", ""),
        ("!projectcalico.org/tier", ""),
        ("", "spec.tier!=net"),
        ("", "spec.tier"),
    ],
)
def test_selectors_that_name_no_tier_but_speak_of_it_are_refused(labels: str, fields: str) -> None:
    with pytest.raises(StatusError) as refused:
        tiered.selected_tiers(labels, fields)
    assert refused.value.code == 400


@pytest.mark.parametrize(
    ("policy", "tier"),
    [({}, "default"), ({"spec": None}, "default"), ({"spec": {"tier": ""}}, "default"), ({"spec": {"tier": "a"}}, "a")],
)
def test_a_policy_that_names_no_tier_is_in_default(policy: dict[str, object], tier: str) -> None:
    assert tiered.tier_of(policy) == tier
