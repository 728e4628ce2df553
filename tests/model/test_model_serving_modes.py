"""Where the two serving modes differ, one test for each difference that the sheets name, and that nothing else does.

(spec/resources.md 0.1, spec/apiserver-controllers-clis.md 1.1, 1.5, 1.6, 1.10.) Differences within one field are also
cases of the test_model_validation_*.py files.
"""

from collections.abc import Iterable
from typing import Any

import pytest
import test_model_validation_addresses as addresses
import test_model_validation_alerts as alerts
import test_model_validation_config_bgp as bgp
import test_model_validation_config_cluster as cluster
import test_model_validation_config_rules as rules
import test_model_validation_derived as derived
import test_model_validation_enterprise as enterprise
from validation_cases import Verdicts, named

from tortie.model import catalog as c
from tortie.model.admission import ServingMode, admit, check_delete, cross_check, server_fields
from tortie.model.resource import Resource

NATIVE, AGGREGATED = ServingMode.NATIVE, ServingMode.AGGREGATED
NOW = "2026-01-01T00:00:00Z"
TABLES = (addresses, alerts, bgp, cluster, rules, derived, enterprise)
Object = dict[str, Any]


def spec_of(resource: Resource[Any], spec: Object, mode: ServingMode, name: str = "default") -> Any:
    admission = admit(resource, named(resource, spec, name), None, mode=mode)
    assert admission.errors == []
    return admission.object["spec"]


def lister(**objects: list[Object]) -> Any:
    def listed(resource: Resource[Any]) -> Iterable[Object]:
        return objects.get(resource.plural, [])

    return listed


def tier(name: str, **metadata: Any) -> Object:
    return {"metadata": {"name": name, **metadata}, "spec": {}}


def policy(tier_name: str = "net") -> Object:
    return {"metadata": {"name": "p", "namespace": "ns"}, "spec": {"tier": tier_name}}


def paths(errors: Iterable[Any]) -> list[str]:
    return [error.path for error in errors]


def test_every_stored_kind_has_a_table_of_cases() -> None:
    covered = {resource.plural for table in TABLES for resource in table.CASES} | {"felixconfigurations"}
    assert {resource.plural for resource in (*c.CALICO, *c.DERIVED)} == covered


def test_the_cases_differ_by_mode_in_these_fields_alone() -> None:
    differing = {
        (resource.plural, words)
        for table in TABLES
        for resource, entries in table.CASES.items()
        for words, _, path in entries
        if isinstance(path, Verdicts) and path.native != path.aggregated
    }
    assert differing == {
        ("bgpconfigurations", "AS number as text"),
        ("bgpconfigurations", "AS number with a dot"),
        ("bgpconfigurations", "AS number with leading zeros"),
        ("bgppeers", "local AS number"),
        ("bgpfilters", "beginning as text"),
        ("ipamconfigurations", "more blocks"),
        ("ipamconfigurations", "most blocks of the old store"),
        ("blockaffinities", "marked as deleted"),
    }


def test_the_order_of_a_tier_is_written_by_the_aggregated_server_alone() -> None:
    assert spec_of(c.TIERS, {}, NATIVE, "t") == {"defaultAction": "Deny"}
    assert spec_of(c.TIERS, {}, AGGREGATED, "t") == {"defaultAction": "Deny", "order": 1_000_000}
    for mode in ServingMode:
        assert spec_of(c.TIERS, {}, mode, "kube-admin") == {"order": 1000, "defaultAction": "Pass"}


def test_the_defaults_of_the_controllers_are_written_by_the_aggregated_server_alone() -> None:
    written = {"controllers": {"node": {}}}
    assert spec_of(c.KUBE_CONTROLLERS_CONFIGURATIONS, written, NATIVE) == written
    complete = spec_of(c.KUBE_CONTROLLERS_CONFIGURATIONS, written, AGGREGATED)
    assert complete["logSeverityScreen"] == "Info"
    assert complete["controllers"]["node"]["leakGracePeriod"] == "15m"
    assert set(complete["controllers"]) == {"node"}, "a controller without a section stays off"


def test_a_staged_deletion_may_carry_the_default_types_to_the_aggregated_server() -> None:
    """Detail 21: what another client filled in is undone there; natively nothing may be left."""
    for resource, field in (
        (c.STAGED_NETWORK_POLICIES, "types"),
        (c.STAGED_KUBERNETES_NETWORK_POLICIES, "policyTypes"),
    ):
        filled = named(resource, {"stagedAction": "Delete", field: ["Ingress"]}, "p")
        aggregated = admit(resource, filled, None, mode=AGGREGATED)
        assert aggregated.errors == []
        assert field not in aggregated.object["spec"]
        assert paths(admit(resource, filled, None).errors) == [f"spec.{field}"]
        other = named(resource, {"stagedAction": "Delete", field: ["Egress"]}, "p")
        for mode in ServingMode:
            assert paths(admit(resource, other, None, mode=mode).errors) == [f"spec.{field}"]


def test_the_tier_of_a_policy_is_looked_up_at_creation_and_natively_at_every_update_too() -> None:
    nothing = lister(tiers=[tier("default")])
    for mode in ServingMode:
        assert paths(cross_check(c.NETWORK_POLICIES, policy(), nothing, mode=mode)) == ["spec.tier"]
    assert paths(cross_check(c.NETWORK_POLICIES, policy(), nothing, old=policy(), mode=NATIVE)) == ["spec.tier"]
    assert cross_check(c.NETWORK_POLICIES, policy(), nothing, old=policy(), mode=AGGREGATED) == []


def test_a_tier_that_is_being_deleted_takes_no_policies_natively() -> None:
    going = lister(tiers=[tier("net", deletionTimestamp=NOW), tier("default", deletionTimestamp=NOW)])
    staged = named(c.STAGED_KUBERNETES_NETWORK_POLICIES, {}, "p")
    for resource, obj in ((c.NETWORK_POLICIES, policy()), (c.STAGED_KUBERNETES_NETWORK_POLICIES, staged)):
        (error,) = cross_check(resource, obj, going, mode=NATIVE)
        assert "is being deleted" in error.message
        assert cross_check(resource, obj, going, mode=AGGREGATED) == []


def test_the_deletion_of_a_tier_with_policies_is_refused_or_waits_behind_its_finalizer() -> None:
    full = lister(networkpolicies=[policy()])
    bare, held = tier("net"), tier("net", finalizers=["projectcalico.org/tier-controller"])
    for mode in ServingMode:
        (error,) = check_delete(c.TIERS, bare, full, mode=mode)
        assert error.message.startswith("Cannot delete a non-empty tier")
        assert check_delete(c.TIERS, bare, lister(), mode=mode) == []
        assert paths(check_delete(c.TIERS, tier("default", finalizers=held["metadata"]["finalizers"]), full, mode=mode))
    assert check_delete(c.TIERS, held, full, mode=NATIVE) == []
    assert paths(check_delete(c.TIERS, held, full, mode=AGGREGATED)) == ["metadata.name"]


def test_staged_kubernetes_policies_do_not_hold_a_tier() -> None:
    staged = named(c.STAGED_KUBERNETES_NETWORK_POLICIES, {}, "p")
    for mode in ServingMode:
        assert check_delete(c.TIERS, tier("net"), lister(stagedkubernetesnetworkpolicies=[staged]), mode=mode) == []


def test_pools_that_overlap_are_refused_by_the_aggregated_server_and_natively_get_a_condition() -> None:
    """Detail 29."""
    others = lister(ippools=[named(c.IP_POOLS, {"cidr": "10.0.0.0/16"}, "one")])
    new = admit(c.IP_POOLS, named(c.IP_POOLS, {"cidr": "10.0.128.0/17"}, "two"), None).object
    (error,) = cross_check(c.IP_POOLS, new, others, mode=AGGREGATED)
    assert (error.path, error.value) == ("spec.cidr", "10.0.128.0/17")
    assert cross_check(c.IP_POOLS, new, others, mode=NATIVE) == []
    server_fields(c.IP_POOLS, new, None, others, user="u", now=NOW, mode=AGGREGATED)
    assert "status" not in new
    server_fields(c.IP_POOLS, new, None, others, user="u", now=NOW, mode=NATIVE)
    (condition,) = new["status"]["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == ("Allocatable", "False", "CIDROverlap")
    assert admit(c.IP_POOLS, new, None).errors == [], "the condition fits the schema"
    apart = admit(c.IP_POOLS, named(c.IP_POOLS, {"cidr": "10.1.0.0/16"}, "three"), None).object
    server_fields(c.IP_POOLS, apart, None, others, user="u", now=NOW, mode=NATIVE)
    assert "status" not in apart


@pytest.mark.parametrize("mode", ServingMode)
def test_a_pool_may_be_respelt_but_not_moved(mode: ServingMode) -> None:
    """Detail 29."""

    def change(old: Object, new: Object) -> list[str]:
        stored = admit(c.IP_POOLS, named(c.IP_POOLS, old, "p"), None, mode=mode).object
        return paths(admit(c.IP_POOLS, named(c.IP_POOLS, new, "p"), stored, mode=mode).errors)

    assert change({"cidr": "fd00::/64"}, {"cidr": "fd00:0:0:0::/64"}) == []
    assert change({"cidr": "10.0.0.0/16"}, {"cidr": "10.1.0.0/16"}) == ["spec.cidr"]
    assert change({"cidr": "10.0.0.0/16"}, {"cidr": "10.0.0.0/16", "blockSize": 26}) == []
    assert change({"cidr": "10.0.0.0/16"}, {"cidr": "10.0.0.0/16", "blockSize": 27}) == ["spec.blockSize"]
    balanced = {"cidr": "10.0.0.0/16", "allowedUses": ["LoadBalancer"]}
    assert change(balanced, {**balanced, "allowedUses": ["Workload"]}) == ["spec.allowedUses"]


@pytest.mark.parametrize("mode", ServingMode)
def test_sets_refuse_what_is_there_twice(mode: ServingMode) -> None:
    """Detail 30: in both modes the schema does."""
    twice = named(c.NETWORK_SETS, {"nets": ["10.0.0.0/8", "10.0.0.0/8"]}, "s")
    assert paths(admit(c.NETWORK_SETS, twice, None, mode=mode).errors) == ["spec.nets[1]"]


@pytest.mark.parametrize("mode", ServingMode)
def test_the_label_of_a_tier_is_forced_in_both_modes(mode: ServingMode) -> None:
    """Detail 18, and detail 11 of the API servers: it cannot be removed."""
    for labels in ({}, {"projectcalico.org/tier": "other"}, None):
        obj = named(c.GLOBAL_NETWORK_POLICIES, {"tier": "net"}, "p")
        obj["metadata"]["labels"] = labels
        stored = admit(c.GLOBAL_NETWORK_POLICIES, obj, None, mode=mode).object
        assert stored["metadata"]["labels"] == {"projectcalico.org/tier": "net"}


# --- what the server writes itself ---------------------------------------------------------------------------------


def group(filter_type: str) -> Object:
    return {"metadata": {"name": "g", "uid": "7"}, "spec": {"description": "d", "filterType": filter_type}}


def setting(**spec: Any) -> Object:
    return named(c.UI_SETTINGS, {"group": "g", "description": "d", "layer": {}, **spec}, "g.x")


@pytest.mark.parametrize(
    ("filter_type", "given", "user"),
    [("User", None, "me"), ("User", "you", "me"), ("None", "you", None), ("None", None, None)],
)
def test_a_setting_gets_its_user_and_its_owner_from_the_server(filter_type: str, given: Any, user: Any) -> None:
    obj = setting(**({"user": given} if given else {}))
    groups = lister(uisettingsgroups=[group(filter_type)])
    server_fields(c.UI_SETTINGS, obj, None, groups, user="me", now=NOW)
    assert obj["spec"].get("user") == user
    owner = {"apiVersion": "projectcalico.org/v3", "kind": "UISettingsGroup", "name": "g", "uid": "7"}
    assert obj["metadata"]["ownerReferences"] == [owner]
    other = {**owner, "kind": "ConfigMap", "apiVersion": "v1"}
    obj["metadata"]["ownerReferences"] = [other]
    server_fields(c.UI_SETTINGS, obj, obj, groups, user="you", now=NOW)
    assert obj["spec"].get("user") == user, "an update does not change the user"
    assert obj["metadata"]["ownerReferences"] == [other, owner]


def test_a_setting_of_a_group_that_is_missing_is_left_for_the_check_to_refuse() -> None:
    obj = setting()
    server_fields(c.UI_SETTINGS, obj, None, lister(), user="me", now=NOW)
    assert "ownerReferences" not in obj["metadata"]
    assert paths(cross_check(c.UI_SETTINGS, obj, lister())) == ["spec.group"]


def test_an_update_need_not_repeat_the_user_but_cannot_change_it() -> None:
    stored = setting(user="me")
    kept = admit(c.UI_SETTINGS, setting(), stored)
    assert (kept.errors, kept.object["spec"]["user"]) == ([], "me")
    assert paths(admit(c.UI_SETTINGS, setting(user="you"), stored).errors) == ["spec.user"]


def test_a_managed_cluster_begins_as_unknown_and_keeps_what_it_became() -> None:
    """Detail 49 of the API servers is about its manifest: see the enterprise cases."""
    obj = named(c.MANAGED_CLUSTERS, {}, "east")
    server_fields(c.MANAGED_CLUSTERS, obj, None, lister(), user="me", now=NOW)
    (condition,) = obj["status"]["conditions"]
    assert (condition["type"], condition["status"]) == ("ManagedClusterConnected", "Unknown")
    assert admit(c.MANAGED_CLUSTERS, obj, None).errors == []
    changed = named(c.MANAGED_CLUSTERS, {}, "east")
    server_fields(c.MANAGED_CLUSTERS, changed, obj, lister(), user="me", now=NOW)
    assert "status" not in changed


def test_every_refusal_names_the_field_the_value_and_what_is_allowed() -> None:
    for table in TABLES:
        for resource, entries in table.CASES.items():
            for _, spec, path in entries:
                if path is None or isinstance(path, Verdicts):
                    continue
                for error in admit(resource, named(resource, spec, "default"), None).errors:
                    assert error.path
                    assert error.message or error.type == "Required", (resource.kind, error.path)
                    assert error.value is not None or error.type in ("Required", "Forbidden"), str(error)
                    assert len(error.message) < 400 or error.path.endswith("elector"), str(error)
