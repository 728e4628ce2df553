"""v3 and Kubernetes policies as the dataplane sees them: scopes, rules, ports, staged ones, and what is left out."""

from typing import Any

import msgspec
import pytest

from tortie.model import catalog, convert
from tortie.model.dataplane import EntityMatch, Icmp, Policy, PolicyKey, PortRange, Rule, ServiceKey, Tier, TierKey
from tortie.model.resource import Resource
from tortie.model.selector import parse

FUNCTIONS: dict[str, Any] = {
    "NetworkPolicy": (catalog.NETWORK_POLICIES, convert.network_policy),
    "GlobalNetworkPolicy": (catalog.GLOBAL_NETWORK_POLICIES, convert.global_network_policy),
    "StagedNetworkPolicy": (catalog.STAGED_NETWORK_POLICIES, convert.staged_network_policy),
    "StagedGlobalNetworkPolicy": (catalog.STAGED_GLOBAL_NETWORK_POLICIES, convert.staged_global_network_policy),
    "KubernetesNetworkPolicy": (catalog.KUBERNETES_NETWORK_POLICIES, convert.kubernetes_network_policy),
    "StagedKubernetesNetworkPolicy": (
        catalog.STAGED_KUBERNETES_NETWORK_POLICIES,
        convert.staged_kubernetes_network_policy,
    ),
}


def struct(resource: Resource[Any], spec: Any, **metadata: Any) -> Any:
    identity = {"name": "p", "namespace": "ns"} if resource.namespaced else {"name": "p"}
    return msgspec.convert({"metadata": {**identity, **metadata}, "spec": spec}, resource.type)


def policy(kind: str, spec: Any) -> Policy:
    resource, function = FUNCTIONS[kind]
    value = function(struct(resource, spec)).value
    assert isinstance(value, Policy)
    return value


def same(selector: str, text: str) -> bool:
    """Whether the selector is the canonical form of the text."""
    return selector == parse(text).canonical


# --- scopes ----------------------------------------------------------------------------------------------------

NS = "projectcalico.org/namespace == 'ns'"


@pytest.mark.parametrize(
    ("kind", "spec", "expected"),
    [
        ("NetworkPolicy", {}, NS),
        ("NetworkPolicy", {"selector": "a == 'b' && has(c)"}, f"(a == 'b' && has(c)) && {NS}"),
        ("NetworkPolicy", {"serviceAccountSelector": "x == 'y'"}, f"({NS}) && pcsa.x == 'y'"),
        (
            "NetworkPolicy",
            {"selector": "has(a)", "serviceAccountSelector": "has(b) || has(c)"},
            f"((has(a)) && {NS}) && (has(pcsa.b) || has(pcsa.c))",
        ),
        ("GlobalNetworkPolicy", {}, "all()"),
        ("GlobalNetworkPolicy", {"selector": "all()"}, "all()"),
        ("GlobalNetworkPolicy", {"namespaceSelector": "x == 'y'"}, "pcns.x == 'y'"),
        ("GlobalNetworkPolicy", {"namespaceSelector": "all()"}, "has(projectcalico.org/namespace)"),
        # Detail 8: the policy's own all() shrinks to namespaced endpoints as well.
        (
            "GlobalNetworkPolicy",
            {"selector": "all()", "namespaceSelector": "x == 'y'"},
            "has(projectcalico.org/namespace) && pcns.x == 'y'",
        ),
        (
            "GlobalNetworkPolicy",
            {"selector": "has(a)", "serviceAccountSelector": "all()"},
            "has(a) && has(projectcalico.org/serviceaccount)",
        ),
        ("StagedGlobalNetworkPolicy", {"namespaceSelector": "has(x)"}, "has(pcns.x)"),
    ],
)
def test_a_policys_selector_carries_its_scope(kind: str, spec: Any, expected: str) -> None:
    assert same(policy(kind, spec).selector, expected)


@pytest.mark.parametrize(
    ("kind", "entity", "expected"),
    [
        ("NetworkPolicy", {"nets": ["10.0.0.0/8"]}, ""),
        ("NetworkPolicy", {"selector": "has(a)"}, f"{NS} && has(a)"),
        # Detail 13: notSelector brings the namespace in, and is itself not confined to it.
        ("NetworkPolicy", {"notSelector": "has(a)"}, NS),
        ("NetworkPolicy", {"namespaceSelector": "all()"}, "has(projectcalico.org/namespace)"),
        ("NetworkPolicy", {"namespaceSelector": "global()"}, "!has(projectcalico.org/namespace)"),
        ("NetworkPolicy", {"namespaceSelector": "x == 'y'", "selector": "has(a)"}, "pcns.x == 'y' && has(a)"),
        # Detail 14: accounts by name are looked for in the namespace of the rule's scope.
        (
            "NetworkPolicy",
            {"serviceAccounts": {"names": ["b", "a"]}},
            f"{NS} && projectcalico.org/serviceaccount in {{'a', 'b'}}",
        ),
        (
            "GlobalNetworkPolicy",
            {"serviceAccounts": {"names": ["a"], "selector": "x == 'y'"}, "selector": "has(c)"},
            "(pcsa.x == 'y' && projectcalico.org/serviceaccount in {'a'}) && has(c)",
        ),
        ("GlobalNetworkPolicy", {"selector": "has(a)"}, "has(a)"),
        ("GlobalNetworkPolicy", {"serviceAccounts": {"selector": "all()"}}, "has(projectcalico.org/serviceaccount)"),
    ],
)
def test_a_rules_selector_carries_its_scope(kind: str, entity: Any, expected: str) -> None:
    rule = policy(kind, {"ingress": [{"action": "Allow", "source": entity}]}).ingress[0]
    assert rule.src.selector == (parse(expected).canonical if expected else "")
    assert rule.src.not_selector == entity.get("notSelector", "")


def test_services_fall_back_to_the_policys_own_namespace() -> None:
    rule = {"action": "Allow", "destination": {"services": {"name": "db"}}}
    converted = policy("NetworkPolicy", {"egress": [rule]})
    assert converted.egress[0].dst.service == ServiceKey("ns", "db")
    assert "needs a namespace" in policy("GlobalNetworkPolicy", {"egress": [rule]}).errors[0]


# --- rules -----------------------------------------------------------------------------------------------------


def test_a_rule_becomes_numbers_ranges_and_canonical_nets() -> None:
    rule = {
        "action": "Pass",
        "protocol": "UDP",
        "notProtocol": 1,
        "source": {"nets": ["10.1.2.3/8"], "notNets": ["10.0.0.0/16"]},
        "destination": {"ports": [80, "1:2", "dns"], "notPorts": ["53"]},
        "metadata": {"annotations": {"b": "2", "a": "1"}},
    }
    assert policy("NetworkPolicy", {"ingress": [rule]}).ingress[0] == Rule(
        action="pass",
        protocol=17,
        not_protocol=1,
        src=EntityMatch(nets=("10.0.0.0/8",), not_nets=("10.0.0.0/16",)),
        dst=EntityMatch(
            ports=(PortRange(80, 80), PortRange(1, 2)), named_ports=("dns",), not_ports=(PortRange(53, 53),)
        ),
        annotations=(("a", "1"), ("b", "2")),
    )


@pytest.mark.parametrize(("protocol", "version"), [("ICMP", 4), (1, 4), ("ICMPv6", 6), (58, 6), ("TCP", None)])
def test_icmp_implies_the_ip_version(protocol: Any, version: int | None) -> None:
    assert (
        policy("NetworkPolicy", {"ingress": [{"action": "Allow", "protocol": protocol}]}).ingress[0].ip_version
        == version
    )


def test_icmp_type_and_code_zero_are_values() -> None:
    rule = {"action": "Allow", "protocol": "ICMP", "icmp": {"type": 0, "code": 0}, "notICMP": {"type": 8}}
    converted = policy("NetworkPolicy", {"ingress": [rule]}).ingress[0]
    assert (converted.icmp, converted.not_icmp) == (Icmp(0, 0), Icmp(8))


def test_one_bad_rule_is_left_out_and_named_while_the_others_stay() -> None:
    rules = [
        {"action": "Allow"},
        {"action": "Wrong"},
        {"action": "Allow", "source": {"selector": "not a selector"}},
        {"action": "Deny", "source": {"nets": ["nonsense"]}},
        {"action": "Allow", "protocol": "ICMP", "ipVersion": 6},
        {"action": "Deny"},
    ]
    converted = policy("NetworkPolicy", {"egress": rules})
    assert [rule.action for rule in converted.egress] == ["allow", "deny"]
    assert [error.split(" is ")[0] for error in converted.errors] == [f"egress rule {n}" for n in (2, 3, 4, 5)]


def test_a_policy_whose_own_selector_cannot_be_read_is_absent_and_says_so() -> None:
    update = convert.network_policy(struct(catalog.NETWORK_POLICIES, {"selector": "a ="}))
    assert update.value is None
    assert "a =" in update.errors[0]


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        ([], (True, True)),
        (["Ingress"], (True, False)),
        (["Egress"], (False, True)),
        (["Egress", "Ingress"], (True, True)),
    ],
)
def test_types_say_which_directions_a_policy_governs(types: list[str], expected: tuple[bool, bool]) -> None:
    converted = policy("NetworkPolicy", {"types": types})
    assert (converted.applies_ingress, converted.applies_egress) == expected


def test_flags_order_tier_and_origin_are_carried_over() -> None:
    spec = {"tier": "t", "order": 0, "doNotTrack": True, "applyOnForward": True, "types": ["Ingress"]}
    obj = struct(catalog.GLOBAL_NETWORK_POLICIES, spec, generation=3, resourceVersion="42")
    update = convert.global_network_policy(obj)
    assert update.key == PolicyKey("GlobalNetworkPolicy", "", "p")
    assert isinstance(update.value, Policy)
    assert (update.value.tier, update.value.order, update.value.generation) == ("t", 0, 3)
    assert (update.value.do_not_track, update.value.pre_dnat, update.value.apply_on_forward) == (True, False, True)
    assert update.value.resource_version == "42"


# --- staged policies and tiers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [kind for kind in FUNCTIONS if kind.startswith("Staged")])
def test_staged_policies_are_tagged_and_staged_deletions_absent(kind: str) -> None:
    assert policy(kind, {}).staged == "Set"
    assert policy(kind, {"stagedAction": "Learn"}).staged == "Learn"
    resource, function = FUNCTIONS[kind]
    update = function(struct(resource, {"stagedAction": "Delete"}))
    assert update.value is None
    assert update.key.kind == kind


def test_a_tier_without_an_order_sorts_like_the_default_tier() -> None:
    """Detail 16."""
    update = convert.tier(struct(catalog.TIERS, {"defaultAction": "Pass"}))
    assert (update.key, update.value) == (TierKey("p"), Tier(order=1_000_000.0, default_action="pass"))
    assert convert.tier(struct(catalog.TIERS, {"order": 0})).value == Tier(order=0.0, default_action="deny")


# --- Kubernetes policies ---------------------------------------------------------------------------------------

K8S = "projectcalico.org/orchestrator == 'k8s'"


def kubernetes(**spec: Any) -> Policy:
    return policy("KubernetesNetworkPolicy", spec)


def test_a_kubernetes_policy_lives_in_the_default_tier_with_order_1000() -> None:
    converted = kubernetes(podSelector={})
    assert (converted.tier, converted.order, converted.staged) == ("default", 1000.0, None)
    assert same(converted.selector, f"{K8S} && {NS}")


def test_label_selectors_become_text_in_a_fixed_order() -> None:
    selector = {
        "matchLabels": {"b": "1", "a": "2"},
        "matchExpressions": [
            {"key": "k", "operator": "NotIn", "values": ["z", "y"]},
            {"key": "l", "operator": "In", "values": ["x"]},
            {"key": "m", "operator": "Exists"},
            {"key": "n", "operator": "DoesNotExist"},
        ],
    }
    requirements = "a == '2' && b == '1' && k not in { 'y', 'z' } && l in { 'x' } && has(m) && ! has(n)"
    assert same(kubernetes(podSelector=selector).selector, f"({K8S} && {requirements}) && {NS}")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, (True, False)),
        ({"egress": [{}]}, (True, False)),
        ({"policyTypes": ["Egress"]}, (False, True)),
        ({"policyTypes": ["Ingress", "Egress"]}, (True, True)),
    ],
)
def test_without_policy_types_a_kubernetes_policy_is_about_ingress_alone(
    spec: Any, expected: tuple[bool, bool]
) -> None:
    """Detail 24."""
    converted = kubernetes(**spec)
    assert (converted.applies_ingress, converted.applies_egress) == expected


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ({"podSelector": {}}, f"{NS} && {K8S}"),
        ({"podSelector": {"matchLabels": {"a": "b"}}}, f"{NS} && ({K8S} && a == 'b')"),
        ({"namespaceSelector": {}}, f"has(projectcalico.org/namespace) && {K8S}"),
        ({"namespaceSelector": {"matchLabels": {"a": "b"}}}, f"pcns.a == 'b' && {K8S}"),
        (
            {"namespaceSelector": {"matchLabels": {"a": "b", "c": "d"}}, "podSelector": {"matchLabels": {"e": "f"}}},
            f"(pcns.a == 'b' && pcns.c == 'd') && ({K8S} && e == 'f')",
        ),
    ],
)
def test_peers_become_selectors(peer: Any, expected: str) -> None:
    rules = kubernetes(ingress=[{"from": [peer]}]).ingress
    assert len(rules) == 1
    assert same(rules[0].src.selector, expected)


def test_an_ip_block_becomes_nets_and_exceptions() -> None:
    block = {"cidr": "10.1.2.3/8", "except": ["10.1.0.0/16", "10.2.3.4/16"]}
    rule = kubernetes(egress=[{"to": [{"ipBlock": block}]}]).egress[0]
    assert (rule.dst.nets, rule.dst.not_nets) == (("10.0.0.0/8",), ("10.1.0.0/16", "10.2.0.0/16"))


def test_a_bad_ip_block_widens_to_any_peer_and_is_reported() -> None:
    """Detail 24. The API server refuses such objects, so this is about ones that got past it."""
    converted = kubernetes(ingress=[{"from": [{"ipBlock": {"cidr": "nonsense"}}]}])
    assert converted.ingress[0].src == EntityMatch()
    assert "nonsense" in converted.errors[0]
    excepted = kubernetes(
        ingress=[{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "x", "y"]}}]}]
    )
    assert excepted.ingress[0].src.not_nets == ("10.1.0.0/16",)
    assert len(excepted.errors) == 1


def test_a_bad_port_drops_the_rule_but_not_the_policy() -> None:
    """Detail 24."""
    converted = kubernetes(ingress=[{"ports": [{"port": "bad_name"}]}, {"ports": [{"port": 80}]}])
    assert [rule.dst.ports for rule in converted.ingress] == [(PortRange(80, 80),)]
    assert converted.errors[0].startswith("ingress rule 1 is left out")


@pytest.mark.parametrize(
    ("ports", "expected"),
    [
        ([], [(None, (), ())]),
        ([{"port": 80}], [(6, ((80, 80),), ())]),
        ([{"protocol": "UDP"}], [(17, (), ())]),
        ([{"port": 80}, {"protocol": "TCP"}], [(6, (), ())]),
        # Detail 25: numbers are sorted and merged; names are kept.
        (
            [{"port": 82}, {"port": "http"}, {"port": 80}, {"port": 81}, {"port": 90, "endPort": 95}],
            [(6, ((80, 82), (90, 95)), ("http",))],
        ),
        (
            [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}, {"protocol": "SCTP", "port": 1}],
            [(132, ((1, 1),), ()), (6, ((53, 53),), ()), (17, ((53, 53),), ())],
        ),
    ],
)
def test_ports_are_grouped_by_protocol_and_merged(ports: Any, expected: Any) -> None:
    rules = kubernetes(ingress=[{"ports": ports}]).ingress
    found = [(r.protocol, tuple((p.first, p.last) for p in r.dst.ports), r.dst.named_ports) for r in rules]
    assert found == expected


def test_rules_multiply_protocols_by_peers_and_ports_are_those_of_the_destination() -> None:
    """Detail 25."""
    spec = {
        "to": [{"podSelector": {}}, {"ipBlock": {"cidr": "10.0.0.0/8"}}],
        "ports": [{"port": 1}, {"protocol": "UDP"}],
    }
    rules = kubernetes(egress=[spec]).egress
    assert [(rule.protocol, bool(rule.dst.selector), len(rule.dst.ports)) for rule in rules] == [
        (6, True, 1),
        (6, False, 1),
        (17, True, 0),
        (17, False, 0),
    ]
    assert all(rule.src == EntityMatch() for rule in rules)
