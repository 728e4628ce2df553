"""ClusterNetworkPolicies: what the API accepts, and how they reach the dataplane.

How such a policy decides about packets is in tests/policy/test_policy_cluster.py.
"""

from typing import Any

import msgspec
import pytest

from tortie.model import convert
from tortie.model.admission import admit
from tortie.model.catalog import CLUSTER_NETWORK_POLICIES
from tortie.model.dataplane import EntityMatch, Policy, PolicyKey, PortRange, Rule, Update
from tortie.model.selector import parse

RED = {"matchLabels": {"color": "red"}}
NAMESPACES = {"namespaces": RED}
PODS = {"pods": {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "db"}}}}
IN_K8S = "projectcalico.org/orchestrator == 'k8s'"
IN_RED = f"pcns.color == 'red' && {IN_K8S}"


def spec(**fields: Any) -> dict[str, Any]:
    return {"tier": "Admin", "priority": 10, "subject": {"namespaces": {}}, **fields}


def ingress(*peers: Any, action: str = "Deny", **fields: Any) -> dict[str, Any]:
    return spec(ingress=[{"action": action, "from": list(peers), **fields}])


def egress(*peers: Any, action: str = "Deny", **fields: Any) -> dict[str, Any]:
    return spec(egress=[{"action": action, "to": list(peers), **fields}])


def tcp(**port: Any) -> dict[str, Any]:
    return {"tcp": {"destinationPort": port}}


# --- admission -----------------------------------------------------------------------------------------------------

ACCEPTED: list[dict[str, Any]] = [
    spec(),
    spec(tier="Baseline", priority=0),
    spec(priority=1000, subject=PODS),
    spec(subject={"pods": {"podSelector": {}}}),
    ingress(NAMESPACES, PODS, name="x" * 100),
    egress({"networks": ["10.0.0.0/8", "fd00::/8"]}, action="Accept"),
    egress(PODS, action="Pass", protocols=[tcp(number=443), tcp(range={"start": 1, "end": 65535})]),
    egress(PODS, protocols=[{"udp": {}}, {"sctp": {}}, {"destinationNamedPort": "dns"}]),
    ingress(*[NAMESPACES] * 25, protocols=[tcp(number=1)] * 25),
    spec(ingress=[{"action": "Deny", "from": [NAMESPACES]}] * 25),
]

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"priority": 1, "subject": {"namespaces": {}}}, "spec.tier"),
    ({"tier": "Admin", "subject": {"namespaces": {}}}, "spec.priority"),
    ({"tier": "Admin", "priority": 1}, "spec.subject"),
    (spec(tier="admin"), "spec.tier"),
    (spec(tier="NetworkPolicy"), "spec.tier"),
    (spec(priority=1001), "spec.priority"),
    (spec(priority=-1), "spec.priority"),
    (spec(priority="1"), "spec.priority"),
    (spec(subject={}), "spec.subject"),
    (spec(subject={**NAMESPACES, **PODS}), "spec.subject"),
    (spec(subject={"namespaces": {"matchLabels": {"a b": "c"}}}), "spec.subject.namespaces.matchLabels"),
    (ingress(), "spec.ingress[0].from"),
    (ingress(*[NAMESPACES] * 26), "spec.ingress[0].from"),
    (ingress({}), "spec.ingress[0].from[0]"),
    (ingress({**NAMESPACES, **PODS}), "spec.ingress[0].from[0]"),
    # Networks and the peers of the experimental channel have no place in ingress: what is left is an empty peer.
    (ingress({"networks": ["10.0.0.0/8"]}), "spec.ingress[0].from[0]"),
    (egress({"domainNames": ["example.com"]}), "spec.egress[0].to[0]"),
    (egress({"nodes": {}}), "spec.egress[0].to[0]"),
    (egress({"networks": ["10.0.0.1"]}), "spec.egress[0].to[0].networks[0]"),
    (egress({"networks": ["10.0.0.0/8", "10.0.0.0/8"]}), "spec.egress[0].to[0].networks[1]"),
    (egress({"networks": []}), "spec.egress[0].to[0].networks"),
    (egress({"networks": ["10.0.0.0/8"] * 26}), "spec.egress[0].to[0].networks"),
    (ingress(NAMESPACES, action="Allow"), "spec.ingress[0].action"),
    (ingress(NAMESPACES, action="Log"), "spec.ingress[0].action"),
    (ingress(NAMESPACES, name="x" * 101), "spec.ingress[0].name"),
    (ingress(NAMESPACES, protocols=[tcp(number=1)] * 26), "spec.ingress[0].protocols"),
    (ingress(NAMESPACES, protocols=[{}]), "spec.ingress[0].protocols[0]"),
    (ingress(NAMESPACES, protocols=[{"tcp": {}, "udp": {}}]), "spec.ingress[0].protocols[0]"),
    (ingress(NAMESPACES, protocols=[tcp(number=0)]), "spec.ingress[0].protocols[0].tcp.destinationPort.number"),
    (ingress(NAMESPACES, protocols=[tcp()]), "spec.ingress[0].protocols[0].tcp.destinationPort"),
    (
        egress(PODS, protocols=[tcp(range={"start": 2, "end": 1})]),
        "spec.egress[0].protocols[0].tcp.destinationPort.range",
    ),
    (
        egress(PODS, protocols=[{"destinationNamedPort": "Not_A_Name"}]),
        "spec.egress[0].protocols[0].destinationNamedPort",
    ),
    (spec(ingress=[{"action": "Deny", "from": [NAMESPACES]}] * 26), "spec.ingress"),
    (spec(egress=[{"to": [NAMESPACES]}]), "spec.egress[0].action"),
]


def errors(written: dict[str, Any]) -> list[str]:
    return [e.path for e in admit(CLUSTER_NETWORK_POLICIES, {"metadata": {"name": "p"}, "spec": written}, None).errors]


@pytest.mark.parametrize("written", ACCEPTED, ids=str)
def test_a_correct_policy_is_accepted(written: dict[str, Any]) -> None:
    assert errors(written) == []


@pytest.mark.parametrize(("written", "path"), REFUSED, ids=str)
def test_a_wrong_policy_is_refused_at_the_field_that_is_wrong(written: dict[str, Any], path: str) -> None:
    assert errors(written)[0] == path


# --- conversion ----------------------------------------------------------------------------------------------------


def converted(written: dict[str, Any]) -> Update:
    obj = {"metadata": {"name": "p"}, "spec": written}
    return convert.cluster_network_policy(msgspec.convert(obj, CLUSTER_NETWORK_POLICIES.type))


def policy(written: dict[str, Any]) -> Policy:
    value = converted(written).value
    assert isinstance(value, Policy)
    return value


def rules(written: dict[str, Any]) -> list[tuple[int | None, tuple[PortRange, ...], tuple[str, ...]]]:
    return [(rule.protocol, rule.dst.ports, rule.dst.named_ports) for rule in policy(written).egress]


def selector(text: str) -> str:
    return parse(text).canonical


@pytest.mark.parametrize(("tier", "name"), [("Admin", "kube-admin"), ("Baseline", "kube-baseline")])
def test_the_tier_and_priority_become_tier_and_order(tier: str, name: str) -> None:
    written = {**ingress(NAMESPACES), "tier": tier, "priority": 7}
    assert converted(written).key == PolicyKey("KubernetesClusterNetworkPolicy", "", "p")
    assert (policy(written).tier, policy(written).order) == (name, 7.0)


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ({"namespaces": {}}, f"has(projectcalico.org/namespace) && {IN_K8S}"),
        (NAMESPACES, IN_RED),
        (
            {"pods": {"namespaceSelector": RED, "podSelector": {"matchLabels": {"app": "db"}}}},
            f"pcns.color == 'red' && ({IN_K8S} && app == 'db')",
        ),
    ],
)
def test_the_subject_becomes_the_selector(subject: Any, expected: str) -> None:
    assert policy({**ingress(NAMESPACES), "subject": subject}).selector == selector(expected)


def test_only_directions_with_rules_are_governed() -> None:
    assert (policy(ingress(NAMESPACES)).applies_ingress, policy(ingress(NAMESPACES)).applies_egress) == (True, False)
    assert (policy(egress(NAMESPACES)).applies_ingress, policy(egress(NAMESPACES)).applies_egress) == (False, True)
    assert converted(spec()).value is None


@pytest.mark.parametrize(("action", "expected"), [("Accept", "allow"), ("Deny", "deny"), ("Pass", "pass")])
def test_actions_are_translated_and_names_kept(action: str, expected: Any) -> None:
    [rule] = policy(ingress(NAMESPACES, action=action, name="tenants")).ingress
    assert rule == Rule(action=expected, src=EntityMatch(selector=selector(IN_RED)), annotations=(("name", "tenants"),))


def test_networks_become_one_rule_for_each_family() -> None:
    made = policy(egress({"networks": ["10.1.2.3/8", "fd00::/8", "192.0.2.0/24"]})).egress
    assert [rule.dst.nets for rule in made] == [("10.0.0.0/8", "192.0.2.0/24"), ("fd00::/8",)]


def test_protocols_multiply_with_peers_and_named_ports_come_first() -> None:
    protocols = [{"udp": {}}, tcp(number=81), {"destinationNamedPort": "dns"}, tcp(range={"start": 80, "end": 80})]
    assert rules(egress(NAMESPACES, PODS, protocols=protocols)) == [
        *[(None, (), ("dns",))] * 2,
        *[(6, (PortRange(80, 81),), ())] * 2,
        *[(17, (), ())] * 2,
    ]


def test_a_protocol_without_a_port_covers_all_of_its_ports() -> None:
    assert rules(egress(PODS, protocols=[tcp(number=80), {"tcp": {}}])) == [(6, (), ())]


BROKEN: list[dict[str, Any]] = [
    egress({}),
    egress(NAMESPACES, {"domainNames": ["example.com"]}),
    egress({"networks": ["nonsense"]}),
    egress({"networks": ["10.0.0.0/8"], **NAMESPACES}),
    egress(PODS, protocols=[{}]),
    egress(PODS, protocols=[{"icmp": {}}]),
    egress(PODS, protocols=[tcp(range={"start": 9, "end": 8})]),
    egress(PODS, protocols=[{"destinationNamedPort": "_"}]),
    egress({"namespaces": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}),
]


@pytest.mark.parametrize("action", ["Deny", "Pass"])
@pytest.mark.parametrize("written", BROKEN, ids=str)
def test_a_deny_or_pass_rule_that_cannot_be_understood_denies_everything(written: Any, action: str) -> None:
    """Detail 26."""
    written = spec(egress=[{**written["egress"][0], "action": action}])
    assert policy(written).egress == (Rule(action="deny"),)
    assert "denies everything" in policy(written).errors[0]


@pytest.mark.parametrize("written", BROKEN, ids=str)
def test_an_accept_rule_that_cannot_be_understood_is_left_out(written: Any) -> None:
    """Detail 26."""
    broken = {**written["egress"][0], "action": "Accept", "name": "broken"}
    good = {"action": "Accept", "to": [NAMESPACES]}
    assert converted(spec(egress=[broken])).value is None
    made = policy(spec(egress=[broken, good]))
    assert [rule.dst.selector for rule in made.egress] == [selector(IN_RED)]
    assert made.errors[0].startswith("egress rule 1 (broken) is left out")


@pytest.mark.parametrize(
    "wrong", [{"tier": "Other"}, {"subject": {}}, {"subject": {**NAMESPACES, **PODS}}, {"priority": 1001}], ids=str
)
def test_a_policy_without_a_proper_tier_priority_or_subject_is_absent(wrong: dict[str, Any]) -> None:
    update = converted({**ingress(NAMESPACES), **wrong})
    assert update.value is None
    assert update.errors
