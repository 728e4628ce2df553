"""projectcalico.org/v3 as the API server serves it. The rules themselves are tested in the model's room."""

import pytest
from apiserver_http import MERGE, Http
from tools import ApiServer

from tortie.model import catalog

V3 = "/apis/projectcalico.org/v3"


@pytest.fixture(scope="module")
def http(shared_api_server: ApiServer) -> Http:
    return Http(shared_api_server)


def _policy(name: str, **spec: object) -> dict:
    return {
        "apiVersion": "projectcalico.org/v3",
        "kind": "GlobalNetworkPolicy",
        "metadata": {"name": name},
        "spec": spec,
    }


def test_the_built_in_tiers_are_there_and_stay(http: Http) -> None:
    tiers = {t["metadata"]["name"]: t["spec"] for t in http.ok("GET", f"{V3}/tiers")["items"]}
    assert tiers["default"] == {"order": 1_000_000, "defaultAction": "Deny"}
    assert tiers["kube-admin"] == {"order": 1000, "defaultAction": "Pass"}
    assert tiers["kube-baseline"] == {"order": 10_000_000, "defaultAction": "Pass"}
    refused = http("DELETE", f"{V3}/tiers/default")
    assert refused.status == 403
    assert "built-in tier" in refused.json["message"]
    assert http("PATCH", f"{V3}/tiers/default", {"spec": {"order": 5}}, content=MERGE).status == 422


def test_a_policy_gets_tier_label_and_types(http: Http) -> None:
    made = http.ok("POST", f"{V3}/globalnetworkpolicies", _policy("a", selector="all()", egress=[{"action": "Allow"}]))
    assert made["spec"]["tier"] == "default"
    assert made["spec"]["types"] == ["Egress"]
    assert made["metadata"]["labels"] == {"projectcalico.org/tier": "default"}
    gone = {"metadata": {"labels": {"projectcalico.org/tier": None}}}
    kept = http.ok("PATCH", f"{V3}/globalnetworkpolicies/a", gone, content=MERGE)
    assert kept["metadata"]["labels"] == {"projectcalico.org/tier": "default"}


def test_policies_are_selected_by_tier(http: Http) -> None:
    http.ok("POST", f"{V3}/tiers", {"metadata": {"name": "platform"}, "spec": {"order": 50}})
    http.ok("POST", f"{V3}/globalnetworkpolicies", _policy("in-platform", tier="platform", selector="all()"))
    for query in ({"fieldSelector": "spec.tier=platform"}, {"labelSelector": "projectcalico.org/tier=platform"}):
        items = http.ok("GET", f"{V3}/globalnetworkpolicies", query=query)["items"]
        assert [i["metadata"]["name"] for i in items] == ["in-platform"]
    refused = http("DELETE", f"{V3}/tiers/platform")
    assert refused.status == 403
    assert "in-platform" in refused.json["message"]
    http.ok("DELETE", f"{V3}/globalnetworkpolicies/in-platform")
    http.ok("DELETE", f"{V3}/tiers/platform")


def test_a_bad_policy_names_every_bad_field(http: Http) -> None:
    spec = {
        "selector": "a ==",
        "tier": "default",
        "ingress": [{"action": "Maybe"}, {"action": "Allow", "protocol": "XYZ"}],
    }
    refused = http("POST", f"{V3}/globalnetworkpolicies", _policy("bad", **spec))
    assert refused.status == 422
    details = refused.json["details"]
    assert (details["group"], details["kind"], details["name"]) == ("projectcalico.org", "GlobalNetworkPolicy", "bad")
    fields = {c["field"] for c in details["causes"]}
    assert {"spec.selector", "spec.ingress[0].action", "spec.ingress[1].protocol"} <= fields


def test_a_policy_in_a_missing_tier_is_refused(http: Http) -> None:
    refused = http("POST", f"{V3}/globalnetworkpolicies", _policy("lost", tier="nowhere", selector="all()"))
    assert refused.status == 422
    assert "nowhere" in refused.json["message"]


def test_unknown_fields_of_a_policy_warn_and_are_dropped(http: Http) -> None:
    answer = http("POST", f"{V3}/globalnetworkpolicies", _policy("odd", selector="all()", colour="red"))
    assert answer.status == 201
    assert "colour" not in answer.json["spec"]
    assert any("colour" in w for w in answer.headers.get_all("Warning"))
    strict = http(
        "POST", f"{V3}/globalnetworkpolicies", _policy("odd2", colour="red"), query={"fieldValidation": "Strict"}
    )
    assert strict.status == 400


def test_a_pool_that_overlaps_another_is_stored_but_assigns_nothing(http: Http) -> None:
    def pool(name: str, cidr: str) -> dict:
        return {"metadata": {"name": name}, "spec": {"cidr": cidr}}

    made = http.ok("POST", f"{V3}/ippools", pool("one", "10.10.0.0/16"))
    assert made["spec"]["blockSize"] == 26
    assert "status" not in made
    loser = http.ok("POST", f"{V3}/ippools", pool("two", "10.10.4.0/24"))
    (condition,) = loser["status"]["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == ("Allocatable", "False", "CIDROverlap")
    assert "overlaps with pool one" in condition["message"]
    relabelled = {"metadata": {"labels": {"a": "b"}}}
    kept = http.ok("PATCH", f"{V3}/ippools/two", relabelled, content=MERGE)
    assert kept["status"] == loser["status"]
    changed = http("PATCH", f"{V3}/ippools/one", {"spec": {"cidr": "10.11.0.0/16"}}, content=MERGE)
    assert changed.status == 422


def test_a_setting_of_the_console_belongs_to_its_group_and_user(http: Http) -> None:
    group = {"metadata": {"name": "mine"}, "spec": {"description": "d", "filterType": "User"}}
    owner = http.ok("POST", f"{V3}/uisettingsgroups", group)
    layer = {"group": "mine", "description": "d", "layer": {"nodes": []}, "user": "somebody-else"}
    made = http.ok("POST", f"{V3}/uisettings", {"metadata": {"name": "mine.a"}, "spec": layer})
    assert made["spec"]["user"] == "kubernetes-admin"
    assert [(o["kind"], o["name"], o["uid"]) for o in made["metadata"]["ownerReferences"]] == [
        ("UISettingsGroup", "mine", owner["metadata"]["uid"])
    ]
    other = {"spec": {"user": "somebody-else"}}
    assert http("PATCH", f"{V3}/uisettings/mine.a", other, content=MERGE).status == 422
    layer.pop("user")
    replaced = {**made, "spec": {**layer, "description": "e"}}
    assert http.ok("PUT", f"{V3}/uisettings/mine.a", replaced)["spec"]["user"] == "kubernetes-admin"


def test_a_managed_cluster_is_unknown_at_first(http: Http) -> None:
    made = http.ok("POST", f"{V3}/managedclusters", {"metadata": {"name": "east"}, "spec": {}})
    (condition,) = made["status"]["conditions"]
    assert (condition["type"], condition["status"]) == ("ManagedClusterConnected", "Unknown")


def test_the_kinds_of_the_catalogue_that_have_a_status_serve_it(http: Http) -> None:
    names = {r["name"] for r in http.ok("GET", V3)["resources"]}
    assert {n.removesuffix("/status") for n in names if n.endswith("/status")} == {
        resource.plural
        for resource in catalog.CALICO
        if resource.facts.status and resource.group == "projectcalico.org"
    }
    assert {"tiers/status", "ippools/status", "packetcaptures/status", "managedclusters/status"} <= names
    assert not {"profiles", "networkpolicies/status", "uisettings/status"} & names


def test_calico_columns_are_shown(http: Http) -> None:
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    table = http.ok("GET", f"{V3}/tiers", headers={"Accept": accept})
    assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Order", "DefaultAction", "Status"]
    assert ["default", 1000000, "Deny", None] in [r["cells"] for r in table["rows"]]


def test_an_unconditional_update_of_a_calico_kind_needs_a_version(http: Http) -> None:
    tier = http.ok("GET", f"{V3}/tiers/default")
    tier["metadata"].pop("resourceVersion")
    refused = http("PUT", f"{V3}/tiers/default", tier)
    assert refused.status == 422
    assert "metadata.resourceVersion" in refused.json["message"]
