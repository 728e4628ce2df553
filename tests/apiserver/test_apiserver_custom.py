"""CustomResourceDefinitions: serving, schemas, versions, subresources, deletion."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from apiserver_http import APPLY, MERGE, STRATEGIC, Http
from tools import ApiServer

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["spec"],
    "properties": {
        "spec": {
            "type": "object",
            "required": ["size"],
            "properties": {
                "size": {"type": "integer", "minimum": 1, "maximum": 10},
                "mode": {"type": "string", "enum": ["fast", "slow"], "default": "slow"},
                "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 5},
                "ports": {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["port"],
                    "items": {
                        "type": "object",
                        "required": ["port"],
                        "properties": {"port": {"type": "integer"}, "name": {"type": "string"}},
                    },
                },
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "either": {"x-kubernetes-int-or-string": True},
                "replicas": {"type": "integer", "default": 1},
                "address": {"type": "string", "format": "ipv4"},
            },
        },
        "status": {"type": "object", "properties": {"replicas": {"type": "integer"}}},
    },
}


@pytest.fixture(scope="module")
def http(shared_api_server: ApiServer) -> Http:
    return Http(shared_api_server)


def _definition(plural: str, kind: str, **version: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": f"{plural}.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": SCHEMA},
                    "subresources": {
                        "status": {},
                        "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
                    },
                    **version,
                }
            ],
        },
    }


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def widgets(http: Http) -> str:
    http.ok("POST", DEFINITIONS, _definition("widgets", "Widget"))
    return "/apis/example.com/v1/namespaces/default/widgets"


def test_a_definition_is_established_and_served_at_once(http: Http) -> None:
    made = http.ok("POST", DEFINITIONS, _definition("gizmos", "Gizmo"))
    conditions = {c["type"]: c["status"] for c in made["status"]["conditions"]}
    assert conditions == {"NamesAccepted": "True", "Established": "True"}
    assert made["status"]["storedVersions"] == ["v1"]
    assert made["spec"]["names"]["listKind"] == "GizmoList"
    assert http.ok("GET", "/apis/example.com/v1/namespaces/default/gizmos")["items"] == []
    assert "gizmos/scale" in {r["name"] for r in http.ok("GET", "/apis/example.com/v1")["resources"]}
    document = http.ok("GET", "/openapi/v3/apis/example.com/v1")
    patch = document["paths"]["/apis/example.com/v1/namespaces/{namespace}/gizmos/{name}"]["patch"]
    assert "fieldValidation" in {p["name"] for p in patch["parameters"]}


def test_objects_are_pruned_and_defaulted(http: Http, widgets: str) -> None:
    spec = {"size": 3, "unknown": 1, "free": {"kept": {"deep": True}}, "either": "80%"}
    made = http.ok("POST", widgets, {"metadata": {"name": "a"}, "spec": spec})
    assert made["spec"] == {"size": 3, "free": {"kept": {"deep": True}}, "either": "80%", "mode": "slow", "replicas": 1}
    assert made["metadata"]["generation"] == 1


@pytest.mark.parametrize(
    ("spec", "field", "reason"),
    [
        ({}, "spec.size", "FieldValueRequired"),
        ({"size": "3"}, "spec.size", "FieldValueTypeInvalid"),
        ({"size": 11}, "spec.size", "FieldValueInvalid"),
        ({"size": 1, "mode": "other"}, "spec.mode", "FieldValueNotSupported"),
        ({"size": 1, "name": "A1"}, "spec.name", "FieldValueInvalid"),
        ({"size": 1, "name": "toolong"}, "spec.name", "FieldValueTooLong"),
        ({"size": 1, "ports": [{"port": 1}, {"port": 1}]}, "spec.ports[1]", "FieldValueDuplicate"),
        ({"size": 1, "either": {}}, "spec.either", "FieldValueTypeInvalid"),
        ({"size": 1, "address": "::1"}, "spec.address", "FieldValueInvalid"),
    ],
)
def test_values_are_checked(http: Http, widgets: str, spec: dict, field: str, reason: str) -> None:
    refused = http("POST", widgets, {"metadata": {"name": "bad"}, "spec": spec})
    assert refused.status == 422, refused.data
    assert (reason, field) in [(c["reason"], c["field"]) for c in refused.json["details"]["causes"]]


def test_an_update_tolerates_what_was_wrong_before(http: Http, widgets: str) -> None:
    http.ok("POST", widgets, {"metadata": {"name": "ratchet"}, "spec": {"size": 9}})
    path = f"{DEFINITIONS}/widgets.example.com"
    definition = http.ok("GET", path)
    size = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["size"]
    size["maximum"] = 5
    http.ok("PUT", path, definition)
    http.ok("PATCH", f"{widgets}/ratchet", {"spec": {"mode": "fast"}}, content=MERGE)
    assert http("PATCH", f"{widgets}/ratchet", {"spec": {"size": 8}}, content=MERGE).status == 422
    definition = http.ok("GET", path)
    size = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["size"]
    size["maximum"] = 10
    http.ok("PUT", path, definition)


def test_status_and_scale_are_apart_from_the_rest(http: Http, widgets: str) -> None:
    http.ok("POST", widgets, {"metadata": {"name": "s"}, "spec": {"size": 1}, "status": {"replicas": 5}})
    assert "status" not in http.ok("GET", f"{widgets}/s")
    http.ok("PATCH", f"{widgets}/s/status", {"status": {"replicas": 2}, "spec": {"size": 9}}, content=MERGE)
    now = http.ok("GET", f"{widgets}/s")
    assert (now["status"], now["spec"]["size"], now["metadata"]["generation"]) == ({"replicas": 2}, 1, 1)
    scale = http.ok("GET", f"{widgets}/s/scale")
    assert (scale["spec"]["replicas"], scale["status"]["replicas"]) == (1, 2)


def test_strategic_patches_are_refused_and_apply_merges_lists_by_key(http: Http, widgets: str) -> None:
    http.ok("POST", widgets, {"metadata": {"name": "l"}, "spec": {"size": 1, "ports": [{"port": 1, "name": "x"}]}})
    assert http("PATCH", f"{widgets}/l", {}, content=STRATEGIC).status == 415
    body = {
        "apiVersion": "example.com/v1",
        "kind": "Widget",
        "metadata": {"name": "l"},
        "spec": {"size": 1, "ports": [{"port": 2}]},
    }
    applied = http.ok("PATCH", f"{widgets}/l", body, content=APPLY, query={"fieldManager": "m"})
    assert applied["spec"]["ports"] == [{"port": 1, "name": "x"}, {"port": 2}]


def test_versions_show_the_same_objects(http: Http) -> None:
    definition = _definition("books", "Book")
    first = definition["spec"]["versions"][0]
    definition["spec"]["versions"].append({**first, "name": "v2", "storage": False})
    http.ok("POST", DEFINITIONS, definition)
    old, new = (f"/apis/example.com/{v}/namespaces/default/books" for v in ("v1", "v2"))
    http.ok("POST", new, {"metadata": {"name": "b"}, "spec": {"size": 1}})
    assert http.ok("GET", f"{old}/b")["apiVersion"] == "example.com/v1"
    assert http.ok("GET", f"{new}/b")["apiVersion"] == "example.com/v2"
    assert {i["apiVersion"] for i in http.ok("GET", new)["items"]} == {"example.com/v2"}
    with http.watch(new) as events:
        assert next(events)["object"]["apiVersion"] == "example.com/v2"
    patched = http.ok("PATCH", f"{new}/b", {"spec": {"size": 2}}, content=MERGE)
    assert patched["apiVersion"] == "example.com/v2"


def test_declared_fields_can_be_selected_and_columns_are_shown(http: Http) -> None:
    columns = [
        {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
        {"name": "Since", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]
    version = {"selectableFields": [{"jsonPath": ".spec.mode"}], "additionalPrinterColumns": columns}
    http.ok("POST", DEFINITIONS, _definition("tools", "Tool", **version))
    path = "/apis/example.com/v1/namespaces/default/tools"
    for name, mode in (("a", "fast"), ("b", "slow")):
        http.ok("POST", path, {"metadata": {"name": name}, "spec": {"size": 1, "mode": mode}})
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    table = http.ok("GET", path, query={"fieldSelector": "spec.mode=fast"}, headers={"Accept": accept})
    assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Size", "Since"]
    assert [r["cells"][:2] for r in table["rows"]] == [["a", 1]]
    assert table["rows"][0]["cells"][2].endswith("s")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda d: d["metadata"].update(name="wrong.example.com"), "metadata.name"),
        (lambda d: d["spec"].update(scope="Galaxy"), "spec.scope"),
        (lambda d: d["spec"]["versions"][0].update(storage=False), "spec.versions"),
        (lambda d: d["spec"]["versions"][0].pop("schema"), "spec.versions[0].schema.openAPIV3Schema"),
        (
            lambda d: d["spec"]["versions"][0].update(
                schema={"openAPIV3Schema": {"type": "object", "properties": {"a": {}}}}
            ),
            "spec.versions[0].schema.openAPIV3Schema.properties[a].type",
        ),
    ],
)
def test_bad_definitions_name_the_field(http: Http, change: Callable[[dict], object], field: str) -> None:
    definition = _definition("bads", "Bad")
    change(definition)
    refused = http("POST", DEFINITIONS, definition)
    assert refused.status == 422
    assert field in [c["field"] for c in refused.json["details"]["causes"]]


def test_a_taken_name_is_not_accepted(http: Http, widgets: str) -> None:
    made = http.ok("POST", DEFINITIONS, _definition("widgetz", "Widget"))
    conditions = {c["type"]: c["status"] for c in made["status"]["conditions"]}
    assert conditions == {"NamesAccepted": "False", "Established": "False"}
    assert http("GET", "/apis/example.com/v1/namespaces/default/widgetz").status == 404


def test_deleting_a_definition_deletes_its_objects(http: Http) -> None:
    http.ok("POST", DEFINITIONS, _definition("toys", "Toy"))
    path = "/apis/example.com/v1/namespaces/default/toys"
    http.ok("POST", path, {"metadata": {"name": "free"}, "spec": {"size": 1}})
    http.ok("POST", path, {"metadata": {"name": "held", "finalizers": ["example.com/x"]}, "spec": {"size": 1}})
    http.ok("DELETE", f"{DEFINITIONS}/toys.example.com")
    _until(lambda: http("GET", f"{path}/free").status == 404)
    assert http("GET", f"{path}/held").status == 200
    assert http("GET", f"{DEFINITIONS}/toys.example.com").status == 200
    http.ok("PATCH", f"{path}/held", {"metadata": {"finalizers": None}}, content=MERGE)
    _until(lambda: http("GET", f"{DEFINITIONS}/toys.example.com").status == 404)
    assert http("GET", path).status == 404


def test_a_calico_definition_does_not_replace_the_native_kind(http: Http) -> None:
    definition = _definition("tiers", "Tier")
    definition["metadata"]["name"] = "tiers.projectcalico.org"
    definition["spec"].update(group="projectcalico.org", scope="Cluster")
    definition["spec"]["versions"][0]["name"] = "v3"
    http.ok("POST", DEFINITIONS, definition)
    assert {t["metadata"]["name"] for t in http.ok("GET", "/apis/projectcalico.org/v3/tiers")["items"]} >= {"default"}
    http.ok("DELETE", f"{DEFINITIONS}/tiers.projectcalico.org")
    _until(lambda: http("GET", f"{DEFINITIONS}/tiers.projectcalico.org").status == 404)
    assert http("GET", "/apis/projectcalico.org/v3/tiers").status == 200
