"""What admission makes of policies and tiers: defaults, labels, names, flags, staged ones, and tiers that must exist.

Their rules are in test_model_rules.py.
"""

from collections.abc import Iterable
from typing import Any

import pytest

from tortie.model import catalog
from tortie.model.admission import Admission, ServingMode, admit, check_delete, cross_check
from tortie.model.resource import Resource

ALLOW = {"action": "Allow"}


def write(
    resource: Resource[Any],
    spec: Any,
    *,
    name: str = "p",
    mode: ServingMode = ServingMode.NATIVE,
    **metadata: Any,
) -> Admission:
    identity = {"name": name, "namespace": "ns"} if resource.namespaced else {"name": name}
    return admit(resource, {"metadata": {**identity, **metadata}, "spec": spec}, None, mode=mode)


def errors(resource: Resource[Any], spec: Any, *, mode: ServingMode = ServingMode.NATIVE, **metadata: Any) -> list[str]:
    return [str(error) for error in write(resource, spec, mode=mode, **metadata).errors]


@pytest.mark.parametrize("resource", catalog.POLICIES, ids=lambda r: r.kind)
@pytest.mark.parametrize(
    ("spec", "types"),
    [
        ({}, ["Ingress"]),
        ({"ingress": [ALLOW]}, ["Ingress"]),
        ({"egress": [ALLOW]}, ["Egress"]),
        ({"ingress": [ALLOW], "egress": [ALLOW]}, ["Ingress", "Egress"]),
        ({"types": ["Egress"], "ingress": [ALLOW]}, ["Egress"]),
    ],
)
def test_types_are_worked_out_from_the_rules_and_stored(resource: Resource[Any], spec: Any, types: list[str]) -> None:
    """Detail 15."""
    assert write(resource, spec).object["spec"]["types"] == types


@pytest.mark.parametrize(
    ("spec", "native", "aggregated"),
    [
        ({"egress": []}, ["Egress"], ["Ingress"]),
        ({"ingress": []}, ["Ingress"], ["Ingress"]),
        ({"ingress": [ALLOW], "egress": []}, ["Ingress", "Egress"], ["Ingress"]),
        ({"ingress": [], "egress": [ALLOW]}, ["Ingress", "Egress"], ["Egress"]),
        ({"egress": None}, ["Ingress"], ["Ingress"]),
    ],
    ids=str,
)
def test_an_empty_list_of_rules_counts_where_objects_are_stored_as_they_are(
    spec: Any, native: list[str], aggregated: list[str]
) -> None:
    """Detail 15."""
    obj = {"metadata": {"name": "p", "namespace": "ns"}, "spec": spec}
    for resource in catalog.POLICIES:
        assert admit(resource, obj, None).object["spec"]["types"] == native
        assert admit(resource, obj, None, mode=ServingMode.AGGREGATED).object["spec"]["types"] == aggregated
    staged = catalog.STAGED_KUBERNETES_NETWORK_POLICIES
    wanted = ["Ingress", "Egress"] if "Egress" in native else ["Ingress"]
    assert admit(staged, {**obj, "spec": _kubernetes(spec)}, None).object["spec"]["policyTypes"] == wanted


def _kubernetes(spec: Any) -> Any:
    """The same lists with rules that Kubernetes policies can have."""
    return {name: rules and [{}] for name, rules in spec.items()}


def test_a_tier_is_filled_in_and_its_label_forced() -> None:
    """Detail 18: another value of the label does not move the policy."""
    stored = write(catalog.NETWORK_POLICIES, {}, labels={"projectcalico.org/tier": "other", "a": "b"}).object
    assert stored["spec"]["tier"] == "default"
    assert stored["metadata"]["labels"] == {"projectcalico.org/tier": "default", "a": "b"}
    moved = write(catalog.GLOBAL_NETWORK_POLICIES, {"tier": "security"}).object
    assert moved["metadata"]["labels"] == {"projectcalico.org/tier": "security"}


@pytest.mark.parametrize("name", ["allow-dns", "security.allow-dns", "knp.default.a.b.c", "ossg.default.x", "1"])
def test_good_names_of_namespaced_policies(name: str) -> None:
    assert errors(catalog.NETWORK_POLICIES, {}, name=name) == []


@pytest.mark.parametrize(
    ("resource", "name"),
    [
        (catalog.NETWORK_POLICIES, "Upper"),
        (catalog.NETWORK_POLICIES, "a_b"),
        (catalog.NETWORK_POLICIES, "x" * 254),
        (catalog.STAGED_NETWORK_POLICIES, "a..b"),
        (catalog.TIERS, "a.b"),
        (catalog.TIERS, "x" * 64),
        (catalog.CLUSTER_INFORMATIONS, "other"),
        (catalog.IPAM_CONFIGURATIONS, "other"),
        (catalog.KUBE_CONTROLLERS_CONFIGURATIONS, "other"),
        (catalog.GLOBAL_NETWORK_SETS, "-x"),
    ],
)
def test_bad_names_are_refused(resource: Resource[Any], name: str) -> None:
    for mode in ServingMode:
        found = errors(resource, {"controllers": {}}, mode=mode, name=name)
        assert found[0].startswith("metadata.name: Invalid value")


@pytest.mark.parametrize(
    ("resource", "name"),
    [
        (catalog.NETWORK_POLICIES, "a.b.c"),
        (catalog.NETWORK_POLICIES, "x" * 64),
        (catalog.NETWORK_POLICIES, "knp.other.x"),
        (catalog.STAGED_NETWORK_POLICIES, "a.b.c.d"),
        (catalog.GLOBAL_NETWORK_POLICIES, "knp.default.x"),
        (catalog.STAGED_GLOBAL_NETWORK_POLICIES, "a.b.c"),
    ],
)
def test_only_the_aggregated_server_knows_that_names_of_policies_have_parts(resource: Any, name: str) -> None:
    assert errors(resource, {}, name=name) == []
    found = errors(resource, {}, mode=ServingMode.AGGREGATED, name=name)
    assert found[0].startswith("metadata.name: Invalid value")


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"selector": "global()"}, "spec.selector"),
        ({"selector": "a == 'global('"}, "spec.selector"),
        ({"selector": "a ="}, "spec.selector"),
        ({"serviceAccountSelector": "global()"}, "spec.serviceAccountSelector"),
        ({"namespaceSelector": "global()"}, "spec.namespaceSelector"),
        ({"types": ["Ingress", "Ingress"]}, "spec.types[1]"),
        ({"types": ["ingress"]}, "spec.types[0]"),
        ({"order": "1"}, "spec.order"),
        ({"tier": "UPPER"}, "spec.tier"),
        ({"performanceHints": ["Other"]}, "spec.performanceHints[0]"),
        ({"doNotTrack": True}, "spec.applyOnForward"),
        ({"preDNAT": True}, "spec.applyOnForward"),
        ({"doNotTrack": True, "preDNAT": True, "applyOnForward": True}, "spec.doNotTrack"),
        ({"preDNAT": True, "applyOnForward": True, "egress": [ALLOW]}, "spec.egress"),
        ({"preDNAT": True, "applyOnForward": True, "types": ["Egress"]}, "spec.types"),
        ({"ingress": [ALLOW] * 1025}, "spec.ingress"),
    ],
)
def test_a_wrong_policy_is_refused_at_the_field_that_is_wrong(spec: Any, path: str) -> None:
    """Detail 7."""
    assert errors(catalog.GLOBAL_NETWORK_POLICIES, spec)[0].partition(": ")[0] == path


@pytest.mark.parametrize(
    "spec",
    [
        {"order": -1.5, "selector": "all()", "namespaceSelector": "x == 'y'", "serviceAccountSelector": "all()"},
        {"doNotTrack": True, "applyOnForward": True, "types": ["Ingress", "Egress"]},
        {"preDNAT": True, "applyOnForward": True, "ingress": [ALLOW]},
        {"performanceHints": ["AssumeNeededOnEveryNode"], "order": 0},
    ],
)
def test_a_correct_policy_is_accepted(spec: Any) -> None:
    assert errors(catalog.GLOBAL_NETWORK_POLICIES, spec) == []


# --- staged policies -------------------------------------------------------------------------------------------


def test_a_staged_action_is_set_by_default_and_one_of_four() -> None:
    assert write(catalog.STAGED_NETWORK_POLICIES, {}).object["spec"]["stagedAction"] == "Set"
    for action in ("Set", "Delete", "Learn", "Ignore"):
        assert errors(catalog.STAGED_GLOBAL_NETWORK_POLICIES, {"stagedAction": action}) == []
    assert errors(catalog.STAGED_NETWORK_POLICIES, {"stagedAction": "set"})[0].startswith("spec.stagedAction: Unsupp")


def test_a_staged_deletion_names_its_tier_and_nothing_else() -> None:
    """Detail 21: types are not filled in either."""
    admission = write(catalog.STAGED_GLOBAL_NETWORK_POLICIES, {"stagedAction": "Delete", "tier": "security"})
    assert admission.errors == []
    assert "types" not in admission.object["spec"]
    assert errors(catalog.STAGED_NETWORK_POLICIES, {"stagedAction": "Delete", "order": 1, "egress": [ALLOW]}) == [
        "spec.order: Forbidden: must be empty when stagedAction is Delete",
        "spec.egress: Forbidden: must be empty when stagedAction is Delete",
    ]
    assert errors(catalog.STAGED_KUBERNETES_NETWORK_POLICIES, {"stagedAction": "Delete", "podSelector": {}}) == []
    selected = {"stagedAction": "Delete", "podSelector": {"matchLabels": {"a": "b"}}}
    assert errors(catalog.STAGED_KUBERNETES_NETWORK_POLICIES, selected)[0].startswith("spec.podSelector: Forbidden")


@pytest.mark.parametrize(
    ("spec", "types"), [({}, ["Ingress"]), ({"egress": [{}]}, ["Ingress", "Egress"]), ({"ingress": [{}]}, ["Ingress"])]
)
def test_staged_kubernetes_policies_get_policy_types(spec: Any, types: list[str]) -> None:
    """Detail 21."""
    assert write(catalog.STAGED_KUBERNETES_NETWORK_POLICIES, spec).object["spec"]["policyTypes"] == types


@pytest.mark.parametrize(
    ("rule", "path"),
    [
        ({"from": [{"ipBlock": {"cidr": "nonsense"}}]}, "spec.ingress[0].from[0].ipBlock.cidr"),
        (
            {"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/8"]}}]},
            "spec.ingress[0].from[0].ipBlock.ex",
        ),
        ({"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}]}, "spec.ingress[0].from[0]"),
        ({"from": [{}]}, "spec.ingress[0].from[0]"),
        ({"ports": [{"port": 0}]}, "spec.ingress[0].ports[0].port"),
        ({"ports": [{"port": "x_y"}]}, "spec.ingress[0].ports[0].port"),
        ({"ports": [{"port": 80, "endPort": 79}]}, "spec.ingress[0].ports[0].endPort"),
        ({"ports": [{"port": "http", "endPort": 79}]}, "spec.ingress[0].ports[0].endPort"),
        ({"ports": [{"endPort": 79}]}, "spec.ingress[0].ports[0].port"),
        ({"ports": [{"protocol": "ICMP"}]}, "spec.ingress[0].ports[0].protocol"),
        (
            {"from": [{"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}]},
            "spec.ingress[0].from[0].podSelector.matchExpressions[0].values",
        ),
    ],
)
def test_a_wrong_staged_kubernetes_policy_is_refused(rule: Any, path: str) -> None:
    found = errors(catalog.STAGED_KUBERNETES_NETWORK_POLICIES, {"ingress": [rule]})
    assert found[0].startswith(path)


# --- tiers -----------------------------------------------------------------------------------------------------


def test_a_tier_denies_at_its_end_by_default() -> None:
    assert write(catalog.TIERS, None).object["spec"] == {"defaultAction": "Deny"}
    assert errors(catalog.TIERS, {"defaultAction": "Allow"})[0].startswith("spec.defaultAction: Unsupported")


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("default", {"order": 1000000, "defaultAction": "Deny"}),
        ("kube-admin", {"order": 1000, "defaultAction": "Pass"}),
        ("kube-baseline", {"order": 10000000, "defaultAction": "Pass"}),
    ],
)
def test_the_built_in_tiers_have_one_order_and_action(name: str, spec: dict[str, Any]) -> None:
    assert write(catalog.TIERS, {}, name=name).object["spec"] == spec
    assert errors(catalog.TIERS, spec, name=name) == []
    other = "Pass" if spec["defaultAction"] == "Deny" else "Deny"
    wrong = errors(catalog.TIERS, {"order": 1, "defaultAction": other}, name=name)
    assert [error.partition(":")[0] for error in wrong] == ["spec.order", "spec.defaultAction"]


class Cluster:
    """Existing objects, by plural."""

    def __init__(self, **objects: list[dict[str, Any]]) -> None:
        self.objects = objects

    def __call__(self, resource: Resource[Any]) -> Iterable[dict[str, Any]]:
        return self.objects.get(resource.plural, [])


def named(name: str, spec: Any = None, **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, **metadata}, "spec": spec or {}}


def test_a_policys_tier_must_exist_and_stay() -> None:
    cluster = Cluster(tiers=[named("default"), named("old", deletionTimestamp="2026-01-01T00:00:00Z")])
    assert cross_check(catalog.NETWORK_POLICIES, named("p"), cluster) == []
    assert cross_check(catalog.NETWORK_POLICIES, named("p", {"tier": "default"}), cluster) == []
    missing = cross_check(catalog.GLOBAL_NETWORK_POLICIES, named("p", {"tier": "new"}), cluster)
    assert str(missing[0]) == (
        'spec.tier: Invalid value: "new": tier new does not exist; the existing tiers are: default, old'
    )
    ending = cross_check(catalog.STAGED_NETWORK_POLICIES, named("p", {"tier": "old"}), cluster)
    assert "is being deleted" in ending[0].message
    assert cross_check(catalog.STAGED_KUBERNETES_NETWORK_POLICIES, named("p"), Cluster())


def test_built_in_tiers_and_tiers_with_policies_cannot_be_deleted() -> None:
    cluster = Cluster(
        networkpolicies=[named("p", {"tier": "security"}, namespace="ns")],
        stagedkubernetesnetworkpolicies=[named("s", namespace="ns")],
    )
    for name in ("default", "kube-admin", "kube-baseline"):
        assert check_delete(catalog.TIERS, named(name), cluster)[0].type == "Forbidden"
    refused = check_delete(catalog.TIERS, named("security"), cluster)
    assert "Cannot delete a non-empty tier" in refused[0].message
    assert "NetworkPolicy ns/p" in refused[0].message
    assert check_delete(catalog.TIERS, named("empty"), cluster) == []
    assert check_delete(catalog.NETWORK_SETS, named("any"), cluster) == []
