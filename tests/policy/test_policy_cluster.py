"""ClusterNetworkPolicies decide: the administrators' user stories of the Network Policy API, asked of the engine.

Each policy is written as its users write it and goes through conversion. Reading and refusing them is in
tests/model/test_model_cluster_policy.py.
"""

from typing import Any

import msgspec
import pytest
from policy_worlds import Item, allowed, ask, namespace, pod, policy, tier, world

from tortie.model import convert
from tortie.model.cluster_policy import ClusterNetworkPolicy
from tortie.model.convert import kubernetes_network_policy
from tortie.model.k8s import KubernetesNetworkPolicy

WEB, DB, MONITOR, BACKUP = "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"
OUTSIDE = "203.0.113.9"
EVERYBODY: dict[str, Any] = {"namespaces": {}}
ITEMS: tuple[Item, ...] = (
    tier("kube-admin", 1000, "pass"),
    tier("kube-baseline", 10_000_000, "pass"),
    namespace("shop", tenant="one"),
    namespace("bank", tenant="two", sensitive="true"),
    namespace("monitoring", system="yes"),
    pod("web", 1, namespace="shop"),
    pod("db", 2, namespace="bank"),
    pod("prometheus", 3, namespace="monitoring"),
    pod("backup", 4, namespace="bank"),
)


def cluster(name: str, *, tier: str = "Admin", priority: int = 10, subject: Any = None, **rules: Any) -> Item:
    spec = {"tier": tier, "priority": priority, "subject": subject or EVERYBODY, **rules}
    update = convert.cluster_network_policy(
        msgspec.convert({"metadata": {"name": name}, "spec": spec}, ClusterNetworkPolicy)
    )
    assert update.value is not None
    assert update.errors == ()
    return update.key, update.value


def kubernetes(name: str, space: str, spec: dict[str, Any]) -> Item:
    obj = {"metadata": {"name": name, "namespace": space}, "spec": spec}
    update = kubernetes_network_policy(msgspec.convert(obj, KubernetesNetworkPolicy))
    assert update.value is not None
    return update.key, update.value


def rule(action: str, *peers: Any, **more: Any) -> dict[str, Any]:
    return {"action": action, "from": list(peers), **more}


def labels(**wanted: str) -> dict[str, Any]:
    return {"namespaces": {"matchLabels": wanted}}


DENY_SENSITIVE = cluster("protect", subject=labels(sensitive="true"), ingress=[rule("Deny", EVERYBODY)])
ALLOW_MONITORING = cluster("monitoring", priority=5, ingress=[rule("Accept", labels(system="yes"))])
OPEN = kubernetes("open", "bank", {"podSelector": {}, "ingress": [{}]})
CLOSED = kubernetes("closed", "bank", {"podSelector": {}, "policyTypes": ["Ingress"]})


def test_an_admin_deny_holds_even_where_a_network_policy_allows() -> None:
    made = world(*ITEMS, DENY_SENSITIVE, OPEN)
    verdict = ask(made, WEB, DB)
    assert not verdict.allowed
    decided = verdict.stages[-1].decided_by
    assert (decided.tier, decided.policy and decided.policy.name) == ("kube-admin", "protect")
    assert allowed(made, DB, WEB)


def test_an_admin_accept_holds_even_where_a_network_policy_isolates() -> None:
    made = world(*ITEMS, ALLOW_MONITORING, CLOSED)
    assert allowed(made, MONITOR, DB)
    assert not allowed(made, WEB, DB)


def test_the_lower_priority_number_is_asked_first() -> None:
    assert allowed(world(*ITEMS, DENY_SENSITIVE, ALLOW_MONITORING), MONITOR, DB)
    late = cluster("monitoring", priority=11, ingress=[rule("Accept", labels(system="yes"))])
    assert not allowed(world(*ITEMS, DENY_SENSITIVE, late), MONITOR, DB)


def test_pass_leaves_the_decision_to_network_policies() -> None:
    delegate = cluster("delegate", priority=1, subject=labels(sensitive="true"), ingress=[rule("Pass", EVERYBODY)])
    assert allowed(world(*ITEMS, delegate, DENY_SENSITIVE, OPEN), WEB, DB)
    assert not allowed(world(*ITEMS, delegate, DENY_SENSITIVE, CLOSED), WEB, DB)


def test_what_no_rule_matches_goes_on_to_the_next_tier() -> None:
    only_system = cluster("system", ingress=[rule("Deny", labels(system="yes"))])
    assert allowed(world(*ITEMS, only_system), WEB, DB)
    assert not allowed(world(*ITEMS, only_system), MONITOR, DB)


BASELINE = cluster(
    "isolate-tenants",
    tier="Baseline",
    subject=labels(tenant="two"),
    ingress=[rule("Accept", labels(tenant="two")), rule("Deny", EVERYBODY)],
)


@pytest.mark.parametrize(("source", "expected"), [(WEB, False), (MONITOR, False), (BACKUP, True)])
def test_a_baseline_isolates_tenants_that_have_no_policy_of_their_own(source: str, expected: bool) -> None:
    verdict = ask(world(*ITEMS, BASELINE), source, DB)
    assert verdict.allowed is expected
    assert verdict.stages[-1].decided_by.tier == "kube-baseline"


def test_a_network_policy_overrides_the_baseline() -> None:
    assert allowed(world(*ITEMS, BASELINE, OPEN), WEB, DB)
    # It also isolates: the baseline's Accept comes too late.
    assert not allowed(world(*ITEMS, BASELINE, CLOSED), BACKUP, DB)


def test_an_admin_policy_decides_before_policies_of_the_default_tier() -> None:
    mine = policy("mine", tier="default", ingress=())
    assert allowed(world(*ITEMS, mine, ALLOW_MONITORING), MONITOR, WEB)


def test_egress_can_be_confined_to_networks_and_ports() -> None:
    made = world(
        *ITEMS,
        cluster(
            "egress",
            subject=labels(tenant="one"),
            egress=[
                {"action": "Accept", "to": [EVERYBODY]},
                {
                    "action": "Accept",
                    "to": [{"networks": ["203.0.113.0/24"]}],
                    "protocols": [{"tcp": {"destinationPort": {"range": {"start": 440, "end": 443}}}}],
                },
                {"action": "Deny", "to": [{"networks": ["0.0.0.0/0", "::/0"]}]},
            ],
        ),
    )
    assert allowed(made, WEB, DB)
    assert allowed(made, WEB, OUTSIDE, 443)
    assert not allowed(made, WEB, OUTSIDE, 444)
    assert not allowed(made, WEB, OUTSIDE, 443, protocol=17)
    assert not allowed(made, WEB, "198.51.100.1", 443)
    assert allowed(made, MONITOR, "198.51.100.1", 443)
