"""Custom objects in several versions: by strategy None, and by a real conversion webhook."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from apiserver_http import APPLY, MERGE, Http
from tools import ApiServer
from webhook_server import Raw, Review, WebhookServer, webhook_server

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
STRING = {"type": "string"}
GROUP = "conversion.example.com"
# v1 has one field `hostPort: host:port`, which v2, the version for storage, has as two.
SCHEMAS = {
    "v1": {"hostPort": {"type": "string", "pattern": ":"}},
    "v2": {"host": STRING, "port": STRING, "extra": {"type": "string", "default": "none"}},
}


def _definition(plural: str, conversion: dict[str, Any] | None, **storage: str) -> dict[str, Any]:
    stored = storage.get("storage", "v2")
    versions = [
        {
            "name": name,
            "served": True,
            "storage": name == stored,
            "schema": {
                "openAPIV3Schema": {
                    "type": "object",
                    "properties": {
                        "spec": {"type": "object", "properties": fields},
                        "status": {"type": "object", "properties": {"ok": STRING}},
                    },
                }
            },
            "subresources": {"status": {}},
            "additionalPrinterColumns": [
                {"name": field, "type": "string", "jsonPath": f".spec.{field}"} for field in fields
            ],
        }
        for name, fields in SCHEMAS.items()
    ]
    spec = {
        "group": GROUP,
        "scope": "Namespaced",
        "names": {"plural": plural, "kind": plural.capitalize()[:-1]},
        "versions": versions,
        **({"conversion": conversion} if conversion else {}),
    }
    return {"metadata": {"name": f"{plural}.{GROUP}"}, "spec": spec}


def convert(obj: dict[str, Any], version: str) -> dict[str, Any]:
    """What the webhook of these tests does with one object."""
    spec = dict(obj.get("spec") or {})
    if version.endswith("/v1"):
        spec = {"hostPort": f"{spec.get('host', '')}:{spec.get('port', '')}"}
    else:
        host, _, port = spec.get("hostPort", "").partition(":")
        spec = {"host": host, "port": port}
    return {**obj, "apiVersion": version, "spec": spec}


def answer(review: Review, objects: list[Any] | None = None, *, failed: str = "", **more: Any) -> Review:
    request = review["request"]
    if objects is None:
        objects = [convert(obj, request["desiredAPIVersion"]) for obj in request["objects"]]
    result = {"status": "Failed", "message": failed} if failed else {"status": "Success"}
    response = {"uid": request["uid"], "result": result, "convertedObjects": objects, **more}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response": response}


@pytest.fixture(scope="module")
def http(shared_api_server: ApiServer) -> Http:
    return Http(shared_api_server)


@pytest.fixture(scope="module")
def hooks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebhookServer]:
    with webhook_server(tmp_path_factory.mktemp("conversion")) as server:
        yield server


def _webhook(hooks: WebhookServer) -> dict[str, Any]:
    return {
        "strategy": "Webhook",
        "webhook": {"clientConfig": hooks.client("/convert"), "conversionReviewVersions": ["v1"]},
    }


@pytest.fixture
def routes(http: Http, hooks: WebhookServer) -> Iterator[dict[str, str]]:
    """The paths of a kind with a conversion webhook by version; a fresh kind for each test."""
    hooks.reviews.clear()
    hooks.answers["/convert"] = lambda _, r: answer(r)
    http.ok("POST", DEFINITIONS, _definition("routes", _webhook(hooks)))
    yield {version: f"/apis/{GROUP}/{version}/namespaces/default/routes" for version in SCHEMAS}
    hooks.answers["/convert"] = lambda _, r: answer(r)
    http("DELETE", f"{DEFINITIONS}/routes.{GROUP}")
    _gone(http)


def _gone(http: Http) -> None:
    deadline = time.monotonic() + 10
    while http("GET", f"{DEFINITIONS}/routes.{GROUP}").status == 200:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _route(name: str, host_port: str = "a:1", **meta: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, **meta}, "spec": {"hostPort": host_port}}


def test_an_object_is_stored_in_one_version_and_shown_in_each(
    http: Http, hooks: WebhookServer, routes: dict[str, str]
) -> None:
    made = http.ok("POST", routes["v1"], _route("a", labels={"x": "y"}))
    assert (made["apiVersion"], made["spec"]) == (f"{GROUP}/v1", {"hostPort": "a:1"})
    shown = http.ok("GET", f"{routes['v2']}/a")
    assert (shown["apiVersion"], shown["spec"]) == (f"{GROUP}/v2", {"host": "a", "port": "1", "extra": "none"})
    count = len(hooks.reviews)
    again = http.ok("GET", f"{routes['v1']}/a")
    assert (again["spec"], again["metadata"]) == (made["spec"], made["metadata"])
    _, review = hooks.reviews[count]
    assert (review["kind"], review["apiVersion"]) == ("ConversionReview", "apiextensions.k8s.io/v1")
    assert review["request"]["desiredAPIVersion"] == f"{GROUP}/v1"
    assert [o["apiVersion"] for o in review["request"]["objects"]] == [f"{GROUP}/v2"]


def test_every_write_goes_through_the_version_of_its_path(http: Http, routes: dict[str, str]) -> None:
    made = http.ok("POST", routes["v2"], {"metadata": {"name": "a"}, "spec": {"host": "h", "port": "1"}})
    http.ok("PATCH", f"{routes['v1']}/a", {"spec": {"hostPort": "h:2"}}, content=MERGE)
    assert http.ok("GET", f"{routes['v2']}/a")["spec"]["port"] == "2"
    query = {"fieldManager": "me", "force": "true"}
    body = {"apiVersion": f"{GROUP}/v1", "kind": "Route", **_route("a", "h:3")}
    assert http.ok("PATCH", f"{routes['v1']}/a", body, content=APPLY, query=query)["spec"] == {"hostPort": "h:3"}
    stale = http("PUT", f"{routes['v1']}/a", {**made, "apiVersion": f"{GROUP}/v1", "spec": {"hostPort": "h:4"}})
    assert stale.status == 409
    current = http.ok("GET", f"{routes['v1']}/a")
    assert http.ok("PUT", f"{routes['v1']}/a", {**current, "spec": {"hostPort": "h:4"}})["metadata"]["generation"] == 4
    assert http("PATCH", f"{routes['v1']}/a", {"spec": {"hostPort": "none"}}, content=MERGE).status == 422
    http.ok("PATCH", f"{routes['v1']}/a/status", {"status": {"ok": "yes"}}, content=MERGE)
    shown = http.ok("GET", f"{routes['v2']}/a")
    assert (shown["spec"]["port"], shown["status"]) == ("4", {"ok": "yes"})
    same = http.ok("PATCH", f"{routes['v1']}/a", {"spec": {"hostPort": "h:4"}}, content=MERGE)
    assert same["metadata"]["resourceVersion"] == shown["metadata"]["resourceVersion"]


def test_a_list_is_converted_in_one_review(http: Http, hooks: WebhookServer, routes: dict[str, str]) -> None:
    for index in range(5):
        http.ok("POST", routes["v2"], {"metadata": {"name": f"r{index}"}, "spec": {"host": "h", "port": str(index)}})
    hooks.reviews.clear()
    items = http.ok("GET", routes["v1"])["items"]
    assert [i["spec"]["hostPort"] for i in items] == [f"h:{n}" for n in range(5)]
    assert {i["apiVersion"] for i in items} == {f"{GROUP}/v1"}
    assert [len(review["request"]["objects"]) for _, review in hooks.reviews] == [5]
    table = http.ok("GET", routes["v1"], headers={"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"})
    assert [row["cells"] for row in table["rows"]] == [[f"r{n}", f"h:{n}"] for n in range(5)]
    page = http.ok("GET", routes["v1"], query={"limit": 2})
    assert [i["spec"]["hostPort"] for i in page["items"]] == ["h:0", "h:1"]


def test_a_watch_shows_the_version_it_was_asked_in(http: Http, routes: dict[str, str]) -> None:
    http.ok("POST", routes["v2"], {"metadata": {"name": "old"}, "spec": {"host": "h", "port": "1"}})
    with http.watch(routes["v1"]) as events, http.watch(routes["v1"]) as others:
        http.ok("POST", routes["v1"], _route("new", "n:1"))
        http.ok("PATCH", f"{routes['v2']}/new", {"spec": {"port": "2"}}, content=MERGE)
        http.ok("DELETE", f"{routes['v2']}/new")
        wanted = [("ADDED", "h:1"), ("ADDED", "n:1"), ("MODIFIED", "n:2"), ("DELETED", "n:2")]
        for stream in (events, others):
            seen = [next(stream) for _ in wanted]
            assert [(e["type"], e["object"]["spec"]["hostPort"]) for e in seen] == wanted
            assert {e["object"]["apiVersion"] for e in seen} == {f"{GROUP}/v1"}


def test_a_deletion_that_waits_answers_in_its_version(http: Http, routes: dict[str, str]) -> None:
    http.ok("POST", routes["v1"], _route("held", finalizers=["example.com/hold"]))
    assert http.ok("DELETE", f"{routes['v1']}/held")["spec"] == {"hostPort": "a:1"}
    http.ok("PATCH", f"{routes['v1']}/held", {"metadata": {"finalizers": None}}, content=MERGE)
    assert http("GET", f"{routes['v1']}/held").status == 404


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (lambda r: answer(r, failed="no way back"), "no way back"),
        (lambda r: answer(r, []), "webhook returned 0 objects, expected 1"),
        (lambda r: answer(r, uid="other"), "expected response.uid="),
        (lambda r: answer(r, r["request"]["objects"]), "invalid converted object: expected conversion.example.com/v1"),
        (lambda r: answer(r, ["text"]), "it is no object with metadata"),
        (lambda r: answer(r, [{**convert(r["request"]["objects"][0], f"{GROUP}/v1"), "metadata": {"name": "b"}}]),
         "metadata.name must stay 'a', got 'b'"),
        (lambda r: {"kind": "Odd"}, "Kind=ConversionReview, got"),
        (lambda r: Raw(500, b"broken"), "the webhook answered 500: broken"),
        (lambda r: Raw(200, b"{"), "the webhook's answer is not JSON"),
    ],
)  # fmt: skip
def test_a_conversion_that_fails_says_why(
    http: Http, hooks: WebhookServer, routes: dict[str, str], reply: Any, why: str
) -> None:
    http.ok("POST", routes["v2"], {"metadata": {"name": "a"}, "spec": {"host": "h", "port": "1"}})
    hooks.answers["/convert"] = lambda _, r: reply(r)
    for path in (routes["v1"], f"{routes['v1']}/a"):
        failed = http("GET", path)
        assert (failed.status, failed.json["reason"]) == (500, "InternalError")
        assert failed.json["message"].startswith(
            "conversion webhook for conversion.example.com/v2, Kind=Route failed: "
        )
        assert why in failed.json["message"]
    assert http("PATCH", f"{routes['v1']}/a", {"spec": {"hostPort": "h:2"}}, content=MERGE).status == 500
    assert http("POST", routes["v1"], _route("new")).status == 500
    assert http.ok("GET", f"{routes['v2']}/a")["spec"]["host"] == "h", "the stored version needs nobody"


def test_without_its_webhook_nothing_is_deleted_by_accident_and_a_definition_still_goes(
    http: Http, hooks: WebhookServer, routes: dict[str, str]
) -> None:
    for name in ("a", "b"):
        http.ok("POST", routes["v2"], {"metadata": {"name": name}, "spec": {"host": "h", "port": "1"}})
    hooks.answers["/convert"] = lambda _, r: Raw(500)
    assert http("DELETE", f"{routes['v1']}/a").status == 500
    assert http("DELETE", routes["v1"]).status == 500
    assert len(http.ok("GET", routes["v2"])["items"]) == 2
    http.ok("DELETE", f"{DEFINITIONS}/routes.{GROUP}")
    _gone(http)


def test_a_watch_ends_with_an_error_when_its_conversion_fails(
    http: Http, hooks: WebhookServer, routes: dict[str, str]
) -> None:
    with http.watch(routes["v1"]) as events:
        http.ok("POST", routes["v1"], _route("a"))
        assert next(events)["type"] == "ADDED"
        hooks.answers["/convert"] = lambda _, r: answer(r, failed="no")
        http.ok("POST", routes["v2"], {"metadata": {"name": "b"}, "spec": {"host": "h", "port": "1"}})
        event = next(events)
        assert (event["type"], event["object"]["code"]) == ("ERROR", 500)
        assert list(events) == []


def test_what_a_webhook_may_not_change_stays(http: Http, hooks: WebhookServer, routes: dict[str, str]) -> None:
    made = http.ok("POST", routes["v2"], {"metadata": {"name": "a"}, "spec": {"host": "h", "port": "1"}})

    def meddle(_path: str, review: Review) -> Review:
        (obj,) = review["request"]["objects"]
        changed = convert(obj, review["request"]["desiredAPIVersion"])
        changed["metadata"] = {**obj["metadata"], "labels": {"l": "x"}, "finalizers": ["f/f"], "generation": 99}
        changed["spec"]["unknown"] = "pruned"
        return answer(review, [changed])

    hooks.answers["/convert"] = meddle
    shown = http.ok("GET", f"{routes['v1']}/a")
    assert shown["metadata"] == {**made["metadata"], "labels": {"l": "x"}}
    assert shown["spec"] == {"hostPort": "h:1"}


def test_admission_sees_an_object_in_the_version_of_its_rule(
    http: Http, hooks: WebhookServer, routes: dict[str, str]
) -> None:
    admission = "/apis/admissionregistration.k8s.io/v1"
    rule = {"operations": ["*"], "apiGroups": [GROUP], "apiVersions": ["v1"], "resources": ["routes"]}
    spec = {
        "matchConstraints": {"resourceRules": [rule]},
        "validations": [
            {"expression": "object.spec.hostPort.endsWith(':1')", "messageExpression": "object.apiVersion"}
        ],
    }
    http.ok("POST", f"{admission}/validatingadmissionpolicies", {"metadata": {"name": "v1-only"}, "spec": spec})
    bound = {"policyName": "v1-only", "validationActions": ["Deny"]}
    http.ok("POST", f"{admission}/validatingadmissionpolicybindings", {"metadata": {"name": "v1-only"}, "spec": bound})
    try:
        refused = http("POST", routes["v2"], {"metadata": {"name": "b"}, "spec": {"host": "h", "port": "2"}})
        assert refused.json["message"].endswith(f"denied request: {GROUP}/v1")
        http.ok("POST", routes["v2"], {"metadata": {"name": "a"}, "spec": {"host": "h", "port": "1"}})
    finally:
        http("DELETE", f"{admission}/validatingadmissionpolicybindings/v1-only")
        http("DELETE", f"{admission}/validatingadmissionpolicies/v1-only")


def test_by_strategy_none_only_the_version_changes(http: Http) -> None:
    made = http.ok("POST", DEFINITIONS, _definition("plains", None, storage="v1"))
    assert made["status"]["storedVersions"] == ["v1"]
    paths = {version: f"/apis/{GROUP}/{version}/namespaces/default/plains" for version in SCHEMAS}
    http.ok("POST", paths["v1"], _route("a"))
    assert http.ok("GET", f"{paths['v2']}/a")["apiVersion"] == f"{GROUP}/v2"
    for version in made["spec"]["versions"]:
        version["storage"] = version["name"] == "v2"
    current = http.ok("GET", f"{DEFINITIONS}/plains.{GROUP}")
    current["spec"]["versions"] = made["spec"]["versions"]
    moved = http.ok("PUT", f"{DEFINITIONS}/plains.{GROUP}", current)
    assert moved["status"]["storedVersions"] == ["v1", "v2"]
    moved["spec"]["versions"] = [v for v in moved["spec"]["versions"] if v["name"] == "v2"]
    dropped = http("PUT", f"{DEFINITIONS}/plains.{GROUP}", moved)
    assert [c["field"] for c in dropped.json["details"]["causes"]] == ["status.storedVersions[0]"]
    current = http.ok("GET", f"{DEFINITIONS}/plains.{GROUP}")
    current["status"]["storedVersions"] = ["v2"]
    http.ok("PUT", f"{DEFINITIONS}/plains.{GROUP}/status", current)
    moved["metadata"].pop("resourceVersion")
    current = http.ok("GET", f"{DEFINITIONS}/plains.{GROUP}")
    current["spec"] = moved["spec"]
    http.ok("PUT", f"{DEFINITIONS}/plains.{GROUP}", current)
    assert http("GET", paths["v1"]).status == 404


@pytest.mark.parametrize(
    ("conversion", "field"),
    [
        ({"strategy": "Odd"}, "spec.conversion.strategy"),
        ({"strategy": "Webhook"}, "spec.conversion.webhook"),
        ({"strategy": "None", "webhook": {"conversionReviewVersions": ["v1"]}}, "spec.conversion.webhook"),
        ({"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"]}},
         "spec.conversion.webhook.clientConfig"),
        ({"strategy": "Webhook", "webhook": {"clientConfig": {"url": "https://a"}}},
         "spec.conversion.webhook.conversionReviewVersions"),
        ({"strategy": "Webhook", "webhook": {"clientConfig": {"url": "https://a"},
          "conversionReviewVersions": ["v1beta1"]}}, "spec.conversion.webhook.conversionReviewVersions"),
        ({"strategy": "Webhook", "webhook": {"clientConfig": {"url": "http://a"}, "conversionReviewVersions": ["v1"]}},
         "spec.conversion.webhook.clientConfig.url"),
    ],
)  # fmt: skip
def test_a_wrong_conversion_is_refused(http: Http, conversion: dict[str, Any], field: str) -> None:
    refused = http("POST", DEFINITIONS, _definition("wrongs", conversion))
    assert refused.status == 422, refused.data
    assert [c["field"] for c in refused.json["details"]["causes"]] == [field]
