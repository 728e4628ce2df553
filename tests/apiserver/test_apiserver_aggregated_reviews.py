"""The console's side of the aggregated server: its settings, and reviews of what a user may do where."""

from typing import Any

import pytest
from aggregated_world import V3, World, grant, tier
from apiserver_http import MERGE, Http

CALICO = "projectcalico.org"
SETTINGS = f"{V3}/uisettings"
GROUPS = f"{V3}/uisettingsgroups"
ALL = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"]


def rule(resources: str, verbs: list[str], *names: str, group: str = CALICO) -> dict[str, Any]:
    found: dict[str, Any] = {"apiGroups": [group], "resources": resources.split(), "verbs": verbs}
    return {**found, "resourceNames": list(names)} if names else found


@pytest.fixture(scope="module")
def admin(aggregated: World) -> Http:
    return aggregated.admin


@pytest.fixture(scope="module")
def console(aggregated: World, admin: Http) -> World:
    """Users ann and ben, who may use both groups of settings; cy may use the common one, dee none."""
    passthrough = rule("uisettings", ALL)
    for user, groups in (
        ("ann", ("cluster-settings", "user-settings")),
        ("ben", ("cluster-settings", "user-settings")),
        ("cy", ("cluster-settings",)),
        ("dee", ()),
    ):
        rules = [passthrough]
        if groups:
            rules += [rule("uisettingsgroups", ["get"], *groups), rule("uisettingsgroups/data", ALL, *groups)]
        grant(admin, user, *rules)
    return aggregated


def setting(name: str, group: str, **spec: Any) -> dict[str, Any]:
    layer = {"nodes": [{"id": "a", "name": "a", "type": "ns"}]}
    return {"metadata": {"name": name}, "spec": {"group": group, "description": "d", "layer": layer, **spec}}


def names(http: Http, **query: str) -> set[str]:
    return {i["metadata"]["name"] for i in http.ok("GET", SETTINGS, query=query)["items"]}


def test_a_setting_belongs_to_its_group_and_to_its_maker(console: World, admin: Http) -> None:
    ann, ben = console.as_user("ann"), console.as_user("ben")
    mine = ann.ok("POST", SETTINGS, setting("user-settings.a", "user-settings", user="ben"))
    assert mine["spec"]["user"] == "ann"
    group = admin.ok("GET", f"{GROUPS}/user-settings")
    assert [o["uid"] for o in mine["metadata"]["ownerReferences"]] == [group["metadata"]["uid"]]
    common = ann.ok("POST", SETTINGS, setting("cluster-settings.a", "cluster-settings"))
    assert "user" not in common["spec"]
    assert names(ann) >= {"user-settings.a", "cluster-settings.a"}
    assert "user-settings.a" not in names(ben)
    assert "cluster-settings.a" in names(ben)
    assert ben("GET", f"{SETTINGS}/user-settings.a").status == 404
    assert ben("DELETE", f"{SETTINGS}/user-settings.a").status == 404
    moved = {"spec": {"group": "cluster-settings"}}
    assert ann("PATCH", f"{SETTINGS}/user-settings.a", moved, content=MERGE).status == 422
    assert ann("PATCH", f"{SETTINGS}/user-settings.a", {"spec": {"user": "ben"}}, content=MERGE).status == 422
    ann.ok("PATCH", f"{SETTINGS}/user-settings.a", {"spec": {"description": "e"}}, content=MERGE)
    ann.ok("DELETE", f"{SETTINGS}/user-settings.a")


def test_a_setting_is_named_after_an_existing_group_and_is_one_thing(console: World) -> None:
    ann = console.as_user("ann")
    assert ann("POST", SETTINGS, setting("other.a", "cluster-settings")).status == 422
    assert ann("POST", SETTINGS, setting("cluster-settings.b", "cluster-settings", dashboard={})).status == 422
    admin = console.admin
    assert admin("POST", SETTINGS, setting("no-group.a", "no-group")).status == 422


def test_the_right_to_a_setting_is_the_right_to_its_groups_data(console: World, admin: Http) -> None:
    cy, dee = console.as_user("cy"), console.as_user("dee")
    admin.ok("POST", SETTINGS, setting("cluster-settings.c", "cluster-settings"))
    assert names(cy, fieldSelector="spec.group=cluster-settings") >= {"cluster-settings.c"}
    assert cy("GET", SETTINGS, query={"fieldSelector": "spec.group=user-settings"}).status == 403
    assert cy("POST", SETTINGS, setting("user-settings.c", "user-settings")).status == 403
    for method, path in (("GET", SETTINGS), ("GET", f"{SETTINGS}/cluster-settings.c"),
                         ("DELETE", f"{SETTINGS}/cluster-settings.c")):  # fmt: skip
        assert dee(method, path).status == 403


def review(http: Http, *asked: tuple[str, str, list[str]], **spec: Any) -> dict[tuple[str, str], Any]:
    attributes = [{"apiGroup": g, "resources": [r], "verbs": v} for g, r, v in asked]
    body = {"metadata": {}, "spec": {"resourceAttributes": attributes, **spec}}
    answer = http.ok("POST", f"{V3}/authorizationreviews", body)
    return {
        (entry["resource"], verb["verb"]): verb.get("resourceGroups")
        for entry in answer["status"]["authorizedResourceVerbs"]
        for verb in entry["verbs"]
    }


@pytest.fixture(scope="module")
def reviewed(aggregated: World, admin: Http) -> World:
    for name in ("red", "blue"):
        admin.ok("POST", f"{V3}/tiers", tier(name))
        admin.ok("POST", "/api/v1/namespaces", {"metadata": {"name": f"{name}-ns"}})
    grant(
        admin,
        "eve",
        rule("authorizationreviews", ["create"]),
        rule("tiers", ["get"], "red"),
        rule("tier.networkpolicies", ["get", "list"], "red.*"),
        rule("tier.globalnetworkpolicies", ALL),
        rule("hostendpoints", ["list"]),
        rule("pods", ["list"], group=""),
    )
    grant(admin, "eve", rule("tier.networkpolicies", ["create"]), rule("networksets", ["list"]), namespace="blue-ns")
    return aggregated


def test_an_authorization_review_lists_places(reviewed: World) -> None:
    eve = reviewed.as_user("eve")
    found = review(
        eve,
        (CALICO, "networkpolicies", ["get", "create", "delete"]),
        (CALICO, "globalnetworkpolicies", ["delete"]),
        (CALICO, "tiers", ["get", "list", "watch"]),
        (CALICO, "hostendpoints", ["list", "get"]),
        (CALICO, "networksets", ["list"]),
        ("", "pods", ["list"]),
        ("", "namespaces", ["get"]),
    )
    assert found == {
        ("networkpolicies", "get"): [{"tier": "red"}],
        ("networkpolicies", "create"): [{"tier": "red", "namespace": "blue-ns"}],
        ("networkpolicies", "delete"): None,
        ("globalnetworkpolicies", "delete"): [{"tier": "red"}],
        ("tiers", "get"): [{"tier": "red"}],
        ("tiers", "list"): None,
        ("tiers", "watch"): None,
        ("hostendpoints", "list"): [{}],
        ("hostendpoints", "get"): None,
        ("networksets", "list"): [{"namespace": "blue-ns"}],
        ("pods", "list"): [{}],
        ("namespaces", "get"): None,
    }


def test_an_authorization_review_may_be_about_another_user(reviewed: World, admin: Http) -> None:
    asked = (CALICO, "tiers", ["get"])
    everything = {t["tier"] for t in review(admin, asked)["tiers", "get"]}
    assert everything >= {"red", "blue", "default"}
    assert review(admin, asked, user="eve") == {("tiers", "get"): [{"tier": "red"}]}
    assert review(admin, asked, user="nobody-known") == {("tiers", "get"): None}
    named = review(admin, ("", "namespaces", ["get", "list", "watch"]), user="x", groups=["system:masters"])
    assert {"namespace": "red-ns"} in named["namespaces", "get"]
    assert named["namespaces", "list"] == named["namespaces", "watch"] == [{}]


def test_settings_are_reviewed_by_group(console: World) -> None:
    found = review(console.admin, (CALICO, "uisettings", ["get"]), user="cy")
    assert found == {("uisettings", "get"): [{"uiSettingsGroup": "cluster-settings"}]}


def test_a_review_of_what_does_not_exist_is_an_error(reviewed: World, admin: Http) -> None:
    for group, resource, verb in ((CALICO, "unicorns", "get"), ("no.group", "pods", "get"), ("", "pods", "fly")):
        spec = {"resourceAttributes": [{"apiGroup": group, "resources": [resource], "verbs": [verb]}]}
        assert admin("POST", f"{V3}/authorizationreviews", {"metadata": {}, "spec": spec}).status == 422


def test_reviews_are_not_kept(admin: Http) -> None:
    assert admin("GET", f"{V3}/authorizationreviews").status == 405
