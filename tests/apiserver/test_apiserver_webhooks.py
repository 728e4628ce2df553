"""Admission webhooks, against a real TLS webhook server. Quotas and limit ranges are in test_apiserver_quotas.py."""

import base64
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from apiserver_http import APPLY, MAPS, MERGE, PODS, Http, config_map, pod
from tools import ApiServer
from webhook_server import Raw, WebhookServer, allow, deny, patch, webhook_server

ADMISSION = "/apis/admissionregistration.k8s.io/v1"
CONFIGMAPS = {"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}
Configure = Callable[..., None]


@pytest.fixture(scope="module")
def http(shared_api_server: ApiServer) -> Http:
    return Http(shared_api_server)


@pytest.fixture(scope="module")
def hooks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebhookServer]:
    with webhook_server(tmp_path_factory.mktemp("hooks")) as server:
        yield server


@pytest.fixture
def configure(http: Http, hooks: WebhookServer) -> Iterator[Configure]:
    """configure("mutating", {"path": ..., webhook fields}, ...): makes a configuration, which goes after the test."""
    made: list[str] = []
    hooks.reviews.clear()
    hooks.answers.clear()

    def make(phase: str, *webhooks: dict[str, Any], name: str = "test") -> None:
        plural, kind = f"{phase}webhookconfigurations", f"{phase.capitalize()}WebhookConfiguration"
        full = []
        for index, given in enumerate(webhooks):
            own = dict(given)
            path = own.pop("path", f"/{phase}{index}")
            full.append(
                {
                    "name": f"hook{index}.test.example",
                    "clientConfig": hooks.client(path),
                    "rules": [CONFIGMAPS],
                    "sideEffects": "None",
                    "admissionReviewVersions": ["v1"],
                    "timeoutSeconds": 5,
                    **own,
                }
            )
        body = {"apiVersion": ADMISSION[6:], "kind": kind, "metadata": {"name": name}, "webhooks": full}
        http.ok("POST", f"{ADMISSION}/{plural}", body)
        made.append(f"{ADMISSION}/{plural}/{name}")

    yield make
    for path in made:
        http("DELETE", path)


def test_a_validating_webhook_is_told_everything_and_may_refuse(
    http: Http, hooks: WebhookServer, configure: Configure
) -> None:
    hooks.answers["/v"] = lambda _, r: deny(r, code=418, message="not on Tuesdays", reason="Teapot")
    configure("validating", {"path": "/v"})
    answer = http("POST", MAPS, config_map("refused", {"a": "b"}, key="value"))
    assert answer.status == 418
    assert answer.json["message"] == 'admission webhook "hook0.test.example" denied the request: not on Tuesdays'
    assert answer.json["reason"] == "Teapot"
    assert http("GET", f"{MAPS}/refused").status == 404
    where, review = hooks.reviews[0]
    assert (where, review["query"], review["kind"], review["apiVersion"]) == (
        "/v", "timeout=5s", "AdmissionReview", "admission.k8s.io/v1",
    )  # fmt: skip
    request = review["request"]
    assert request["kind"] == request["requestKind"] == {"group": "", "version": "v1", "kind": "ConfigMap"}
    assert request["resource"] == request["requestResource"] == {"group": "", "version": "v1", "resource": "configmaps"}
    assert (request["name"], request["namespace"], request["operation"]) == ("refused", "default", "CREATE")
    assert "system:masters" in request["userInfo"]["groups"]
    assert request["object"]["data"] == {"key": "value"} and request["oldObject"] is None
    assert request["object"]["metadata"]["uid"]
    assert request["options"]["kind"] == "CreateOptions" and request["dryRun"] is False


def test_a_refusal_without_a_reason_is_a_403(http: Http, hooks: WebhookServer, configure: Configure) -> None:
    hooks.answers["/v"] = lambda _, r: deny(r)
    configure("validating", {"path": "/v"})
    answer = http("POST", MAPS, config_map("refused"))
    assert (answer.status, answer.json["reason"]) == (403, "Forbidden")
    assert answer.json["message"].endswith("denied the request without explanation")


def test_a_mutating_webhook_changes_what_is_stored_for_each_kind_of_write(
    http: Http, hooks: WebhookServer, configure: Configure
) -> None:
    def stamp(_: str, review: dict[str, Any]) -> Any:
        operation = review["request"]["operation"]
        labels = review["request"]["object"]["metadata"].get("labels")
        start = [] if labels is not None else [{"op": "add", "path": "/metadata/labels", "value": {}}]
        return patch(review, *start, {"op": "add", "path": "/metadata/labels/seen", "value": operation.lower()})

    hooks.answers["/m"] = stamp
    configure("mutating", {"path": "/m", "rules": [{**CONFIGMAPS, "operations": ["CREATE", "UPDATE"]}]})
    made = http.ok("POST", MAPS, config_map("changed"))
    assert made["metadata"]["labels"] == {"seen": "create"}
    assert http.ok("GET", f"{MAPS}/changed")["metadata"]["labels"] == {"seen": "create"}
    made["data"] = {"a": "1"}
    assert http.ok("PUT", f"{MAPS}/changed", made)["metadata"]["labels"] == {"seen": "update"}
    done = http.ok("PATCH", f"{MAPS}/changed", {"data": {"b": "2"}}, content=MERGE)
    assert (done["data"], done["metadata"]["labels"]) == ({"a": "1", "b": "2"}, {"seen": "update"})
    applied = http.ok(
        "PATCH", f"{MAPS}/applied", config_map("applied", x="y"), content=APPLY, query={"fieldManager": "me"}
    )
    assert applied["metadata"]["labels"] == {"seen": "create"}
    owners = {e["manager"]: e for e in applied["metadata"]["managedFields"] if e["operation"] == "Apply"}
    assert "f:labels" not in owners["me"]["fieldsV1"].get("f:metadata", {})
    operations = [r["operation"] for r in hooks.seen("/m")]
    assert operations == ["CREATE", "UPDATE", "UPDATE", "CREATE"]
    assert hooks.seen("/m")[2]["options"]["kind"] == "PatchOptions"
    for name in ("changed", "applied"):
        http.ok("DELETE", f"{MAPS}/{name}")


def test_deletions_are_asked_about_one_by_one(http: Http, hooks: WebhookServer, configure: Configure) -> None:
    for name in ("one", "two", "kept"):
        http.ok("POST", MAPS, config_map(name, {"group": "deletions"}))
    hooks.answers["/v"] = lambda _, r: deny(r, message="keep it") if r["request"]["name"] == "kept" else allow(r)
    configure("validating", {"path": "/v", "rules": [{**CONFIGMAPS, "operations": ["DELETE"]}]})
    assert http("DELETE", f"{MAPS}/kept").status == 403
    http.ok("DELETE", f"{MAPS}/one", {"gracePeriodSeconds": 3, "kind": "DeleteOptions", "apiVersion": "v1"})
    request = hooks.seen("/v")[-1]
    assert request["object"] is None and request["oldObject"]["metadata"]["name"] == "one"
    assert request["options"] == {"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1", "gracePeriodSeconds": 3}
    answer = http("DELETE", MAPS, query={"labelSelector": "group=deletions"})
    assert answer.status == 403
    assert http("GET", f"{MAPS}/kept").status == 200
    http.ok("DELETE", MAPS, query={"labelSelector": "group=deletions", "fieldSelector": "metadata.name!=kept"})
    assert {r["name"] for r in hooks.seen("/v")} == {"kept", "one", "two"}
    assert http("GET", f"{MAPS}/two").status == 404


@pytest.mark.parametrize("policy", ["Fail", "Ignore"])
@pytest.mark.parametrize("phase", ["mutating", "validating"])
def test_a_webhook_that_fails_stops_the_write_or_not_as_its_policy_says(
    http: Http, hooks: WebhookServer, configure: Configure, phase: str, policy: str
) -> None:
    uid = "00000000-0000-0000-0000-000000000000"
    bad: dict[str, Any] = {
        "garbage": Raw(body=b"\x00\xff garbage"),
        "empty": Raw(body=b""),
        "nested": Raw(body=b"[" * 100_000),
        "html": Raw(body=b"<html></html>", headers={"Content-Type": "text/html"}),
        "no response": {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"},
        "beta": {"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview", "response": {}},
        "error": Raw(500, b"I fell over"),
        "redirect": Raw(302, headers={"Location": f"https://127.0.0.1:{hooks.port}/good"}),
        "huge": Raw(body=b'{"x":"' + b"x" * (9 << 20) + b'"}'),
    }
    for name, answer in bad.items():
        hooks.answers[f"/{name.replace(' ', '-')}"] = lambda _, r, answer=answer: answer
    hooks.answers["/other-uid"] = lambda _, r: {
        **allow(r), "response": {"uid": uid, "allowed": True},
    }  # fmt: skip
    hooks.answers["/no-type"] = lambda _, r: allow(r, patch=base64.b64encode(b"[]").decode())
    for path in [*(f"/{n.replace(' ', '-')}" for n in bad), "/other-uid", "/no-type"]:
        configure(phase, {"path": path, "failurePolicy": policy}, name="bad")
        name = f"fails{path.replace('/', '-')}"
        answer = http("POST", MAPS, config_map(name))
        if policy == "Fail":
            assert answer.status == 500, (path, answer.data)
            assert 'failed calling webhook "hook0.test.example"' in answer.json["message"], path
            assert http("GET", f"{MAPS}/{name}").status == 404
        else:
            assert answer.status == 201, (path, answer.data)
            http.ok("DELETE", f"{MAPS}/{name}")
        http.ok("DELETE", f"{ADMISSION}/{phase}webhookconfigurations/bad")
    assert not hooks.seen("/good")


def test_a_hanging_webhook_is_given_up_after_its_time_while_others_are_served(
    http: Http, hooks: WebhookServer, configure: Configure
) -> None:
    def hang(_: str, review: dict[str, Any]) -> Any:
        time.sleep(3)
        return allow(review)

    hooks.answers["/slow"] = hang
    configure("validating", {"path": "/slow", "timeoutSeconds": 1})
    started = time.monotonic()
    answer = http("POST", MAPS, config_map("late"))
    took = time.monotonic() - started
    assert answer.status == 500 and "context deadline exceeded" in answer.json["message"]
    assert 0.9 < took < 2.5


def test_certificates_that_do_not_fit_are_refused(
    http: Http, hooks: WebhookServer, configure: Configure, tmp_path: Any
) -> None:
    other = base64.b64encode(WebhookServer(tmp_path).ca).decode()
    url = f"https://127.0.0.1:{hooks.port}/v"
    configure("validating", {"clientConfig": {"url": url, "caBundle": other}}, name="foreign")
    answer = http("POST", MAPS, config_map("untrusted"))
    assert answer.status == 500 and "certificate" in answer.json["message"]
    http.ok("DELETE", f"{ADMISSION}/validatingwebhookconfigurations/foreign")
    configure("validating", {"clientConfig": {"url": url}}, name="system")
    assert http("POST", MAPS, config_map("untrusted")).status == 500
    http.ok("DELETE", f"{ADMISSION}/validatingwebhookconfigurations/system")
    with webhook_server(tmp_path, expired=True) as late, webhook_server(tmp_path, names=["other.example"]) as wrong:
        for name, server in (("expired", late), ("misnamed", wrong)):
            configure("validating", {"clientConfig": server.client("/v")}, name=name)
            answer = http("POST", MAPS, config_map("untrusted"))
            assert answer.status == 500 and "certificate" in answer.json["message"], name
            http.ok("DELETE", f"{ADMISSION}/validatingwebhookconfigurations/{name}")
    assert not hooks.reviews


def test_a_webhook_behind_a_service_is_found_through_its_endpoint_slice(
    http: Http, configure: Configure, tmp_path: Any
) -> None:
    with webhook_server(tmp_path, names=["hook.default.svc"]) as server:
        server.answers["/check"] = lambda _, r: deny(r, message="found me")
        http.ok(
            "POST",
            "/api/v1/namespaces/default/services",
            {"metadata": {"name": "hook"}, "spec": {"ports": [{"name": "https", "port": 8443, "targetPort": 1}]}},
        )
        client = {
            "service": {"namespace": "default", "name": "hook", "path": "/check", "port": 8443},
            "caBundle": base64.b64encode(server.ca).decode(),
        }
        configure("validating", {"clientConfig": client})
        answer = http("POST", MAPS, config_map("asked"))
        assert answer.status == 500 and "endpoint" in answer.json["message"]
        http.ok(
            "POST",
            "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
            {
                "metadata": {"name": "hook-1", "labels": {"kubernetes.io/service-name": "hook"}},
                "addressType": "IPv4",
                "ports": [{"name": "https", "port": server.port}],
                "endpoints": [{"addresses": ["127.0.0.1"]}],
            },
        )
        answer = http("POST", MAPS, config_map("asked"))
        assert answer.status == 403 and answer.json["message"].endswith("found me")
        assert server.reviews[0][1]["host"] == "hook.default.svc:8443"


def test_rules_and_selectors_choose_what_a_webhook_sees(http: Http, hooks: WebhookServer, configure: Configure) -> None:
    http.ok("POST", "/api/v1/namespaces", {"metadata": {"name": "chosen", "labels": {"hooked": "yes"}}})
    configure(
        "validating",
        {"path": "/namespace", "namespaceSelector": {"matchLabels": {"hooked": "yes"}}},
        {"path": "/object", "objectSelector": {"matchExpressions": [{"key": "x", "operator": "In", "values": ["1"]}]}},
        {"path": "/cluster", "rules": [{**CONFIGMAPS, "resources": ["*"], "scope": "Cluster"}]},
        {"path": "/all", "rules": [{**CONFIGMAPS, "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}]},
        {"path": "/sub", "rules": [{**CONFIGMAPS, "resources": ["pods/*"]}]},
        {"path": "/status", "rules": [{**CONFIGMAPS, "apiGroups": ["*"], "resources": ["*/status"]}]},
    )
    http.ok("POST", "/api/v1/namespaces/chosen/configmaps", {"metadata": {"name": "a"}})
    http.ok("POST", MAPS, config_map("labelled", {"x": "1"}))
    http.ok("PATCH", f"{MAPS}/labelled", {"metadata": {"labels": {"x": "2"}}}, content=MERGE)  # the old one matches
    http.ok("PATCH", f"{MAPS}/labelled", {"metadata": {"labels": {"x": "3"}}}, content=MERGE)  # neither does
    http.ok("POST", "/api/v1/namespaces", {"metadata": {"name": "unchosen"}})
    http.ok("POST", PODS, pod("sub"))
    http.ok("PATCH", f"{PODS}/sub/status", {"status": {"message": "hello"}}, content=MERGE)
    assert [(r["name"], r["namespace"]) for r in hooks.seen("/namespace")] == [("a", "chosen")]
    assert [r["operation"] for r in hooks.seen("/object")] == ["CREATE", "UPDATE"]
    assert [r["name"] for r in hooks.seen("/cluster")] == ["unchosen"]
    assert {r["resource"]["resource"] for r in hooks.seen("/all")} == {"configmaps", "namespaces", "pods"}
    assert [(r["name"], r["subResource"]) for r in hooks.seen("/sub")] == [("sub", "status")]
    assert [r["subResource"] for r in hooks.seen("/status")] == ["status"]


def test_other_versions_of_a_resource_match_unless_the_policy_is_exact(
    http: Http, hooks: WebhookServer, configure: Configure
) -> None:
    rule = {"operations": ["CREATE"], "apiGroups": ["batch"], "apiVersions": ["v1"], "resources": ["cronjobs"]}
    hooks.answers["/equivalent"] = lambda _, r: patch(r, {"op": "replace", "path": "/spec/suspend", "value": True})
    configure(
        "mutating",
        {"path": "/equivalent", "rules": [rule]},
        {"path": "/exact", "rules": [rule], "matchPolicy": "Exact"},
    )
    template = {"spec": {"containers": [{"name": "a", "image": "b"}], "restartPolicy": "Never"}}
    job = {
        "metadata": {"name": "nightly"},
        "spec": {"schedule": "0 0 * * *", "suspend": False, "jobTemplate": {"spec": {"template": template}}},
    }
    made = http.ok("POST", "/apis/batch/v1beta1/namespaces/default/cronjobs", job)
    assert (made["apiVersion"], made["spec"]["suspend"]) == ("batch/v1beta1", True)
    request = hooks.seen("/equivalent")[0]
    assert (request["resource"]["version"], request["requestResource"]["version"]) == ("v1", "v1beta1")
    assert request["object"]["apiVersion"] == "batch/v1"
    assert not hooks.seen("/exact")


def test_a_webhook_that_asks_for_it_sees_the_changes_of_later_ones(
    http: Http, hooks: WebhookServer, configure: Configure
) -> None:
    def count(_: str, review: dict[str, Any]) -> Any:
        number = str(int(review["request"]["object"]["data"].get("count", "0")) + 1)
        return patch(review, {"op": "add", "path": "/data/count", "value": number})

    hooks.answers["/count"] = count
    hooks.answers["/late"] = lambda _, r: patch(r, {"op": "add", "path": "/data/late", "value": "yes"})
    configure("mutating", {"path": "/count", "reinvocationPolicy": "IfNeeded"}, {"path": "/never"}, {"path": "/late"})
    made = http.ok("POST", MAPS, config_map("turns", a="b"))
    assert made["data"] == {"a": "b", "count": "2", "late": "yes"}
    assert len(hooks.seen("/count")) == 2 and len(hooks.seen("/never")) == len(hooks.seen("/late")) == 1
    assert hooks.seen("/count")[1]["object"]["data"]["late"] == "yes"


def test_match_conditions_decide_before_the_webhook_is_called(
    http: Http, hooks: WebhookServer, configure: Configure
) -> None:
    def when(*expressions: str) -> list[dict[str, str]]:
        return [{"name": f"c{i}", "expression": e} for i, e in enumerate(expressions)]

    may = "authorizer.group('').resource('pods').namespace('default').check('create').allowed()"
    configure(
        "validating",
        {"path": "/true", "matchConditions": when("request.operation == 'CREATE'", "object.data.a == 'b'", may)},
        {"path": "/false", "matchConditions": when("object.data.missing == 'b'", "oldObject != null")},
        {"path": "/ignored", "matchConditions": when("object.data.missing == 'b'"), "failurePolicy": "Ignore"},
    )
    http.ok("POST", MAPS, config_map("conditions", a="b"))
    assert [path for path, _ in hooks.reviews] == ["/true"]
    http.ok("DELETE", f"{ADMISSION}/validatingwebhookconfigurations/test")
    configure("validating", {"path": "/error", "matchConditions": when("object.data.missing == 'b'")}, name="error")
    answer = http("POST", MAPS, config_map("unevaluated", a="b"))
    assert answer.status == 403 and "match conditions" in answer.json["message"]
    assert not hooks.seen("/error")


def test_warnings_and_dry_run_are_passed_on(http: Http, hooks: WebhookServer, configure: Configure) -> None:
    hooks.answers["/v"] = lambda _, r: allow(r, warnings=["old\nfield", "x" * 1000], auditAnnotations={"k": "v"})
    configure("validating", {"path": "/v"})
    answer = http("POST", MAPS, config_map("warned"), query={"dryRun": "All"})
    assert answer.status == 201
    found = answer.headers.get_all("Warning")
    assert found is not None and found[0] == '299 - "old field"' and len(found[1]) < 280
    request = hooks.seen("/v")[0]
    assert request["dryRun"] is True and request["options"]["dryRun"] == ["All"]
    assert http("GET", f"{MAPS}/warned").status == 404


def test_exec_is_a_connect_on_the_pod(http: Http, hooks: WebhookServer, configure: Configure) -> None:
    http.ok("POST", PODS, pod("entered"))
    hooks.answers["/v"] = lambda _, r: deny(r, message="no shells")
    rule = {"operations": ["CONNECT"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods/exec"]}
    configure("validating", {"path": "/v", "rules": [rule]})
    answer = http("POST", f"{PODS}/entered/exec?command=sh&command=-c&stdin=true&container=main")
    assert answer.status == 403 and answer.json["message"].endswith("no shells")
    request = hooks.seen("/v")[0]
    assert (request["operation"], request["subResource"], request["name"]) == ("CONNECT", "exec", "entered")
    assert request["kind"]["kind"] == "PodExecOptions"
    assert request["object"]["command"] == ["sh", "-c"] and request["object"]["stdin"] is True


def test_bindings_evictions_and_scales_are_shown_as_what_they_are(
    http: Http, hooks: WebhookServer, configure: Configure
) -> None:
    http.ok("POST", PODS, pod("moved"))
    labels = {"app": "scaled"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "a", "image": "b"}]}}
    deployment = {"metadata": {"name": "scaled"}, "spec": {"selector": {"matchLabels": labels}, "template": template}}
    http.ok("POST", "/apis/apps/v1/namespaces/default/deployments", deployment)
    rule = {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["pods/*", "deployments/scale"]}
    hooks.answers["/m"] = lambda _, r: (
        patch(r, {"op": "replace", "path": "/spec/replicas", "value": 2})
        if r["request"].get("subResource") == "scale"
        else allow(r)
    )
    configure("mutating", {"path": "/m", "rules": [rule]})
    http.ok("POST", f"{PODS}/moved/binding", {"metadata": {"name": "moved"}, "target": {"kind": "Node", "name": "n"}})
    http.ok("POST", f"{PODS}/moved/eviction", {"metadata": {"name": "moved"}})
    scale = "/apis/apps/v1/namespaces/default/deployments/scaled/scale"
    assert http.ok("PATCH", scale, {"spec": {"replicas": 7}}, content=MERGE)["spec"]["replicas"] == 2
    told = [(r["operation"], r["subResource"], r["kind"]["kind"]) for r in hooks.seen("/m")]
    assert told == [
        ("CREATE", "binding", "Binding"), ("CREATE", "eviction", "Eviction"), ("UPDATE", "scale", "Scale"),
    ]  # fmt: skip
    assert hooks.seen("/m")[2]["object"]["spec"]["replicas"] == 7


def test_webhooks_are_never_asked_about_webhook_configurations(
    http: Http, hooks: WebhookServer, configure: Configure
) -> None:
    hooks.answers["/v"] = lambda _, r: deny(r)
    rule = {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}
    configure("validating", {"path": "/v", "rules": [rule]})
    configure("mutating", {"path": "/v", "rules": [rule]}, name="another")
    assert http("POST", MAPS, config_map("stuck")).status == 403
    http.ok("DELETE", f"{ADMISSION}/validatingwebhookconfigurations/test")
    http.ok("DELETE", f"{ADMISSION}/mutatingwebhookconfigurations/another")
    http.ok("POST", MAPS, config_map("unstuck"))


def test_a_webhook_that_writes_the_object_it_is_asked_about_does_not_hang(
    http: Http, hooks: WebhookServer, configure: Configure
) -> None:
    http.ok("POST", MAPS, config_map("busy", n="0"))
    told: list[int] = []

    def meddle(_: str, review: dict[str, Any]) -> Any:
        if "meddled" not in review["request"]["object"]["data"] and not told:
            told.append(http("PATCH", f"{MAPS}/busy", {"data": {"meddled": "0"}}, content=MERGE).status)
        return allow(review)

    hooks.answers["/m"] = meddle
    configure("mutating", {"path": "/m"})
    started = time.monotonic()
    done = http.ok("PATCH", f"{MAPS}/busy", {"data": {"n": "1"}}, content=MERGE)
    assert time.monotonic() - started < 4
    assert done["data"] == {"n": "1", "meddled": "0"} and told == [200]
    stale = {**done, "data": {"n": "2"}}
    http.ok("PATCH", f"{MAPS}/busy", {"data": {"n": "3"}}, content=MERGE)
    assert http("PUT", f"{MAPS}/busy", stale).status == 409


def test_a_patch_that_breaks_the_object_or_renames_it_is_an_error(
    http: Http, hooks: WebhookServer, configure: Configure
) -> None:
    for path, operation in {
        "/rename": {"op": "replace", "path": "/metadata/name", "value": "elsewhere"},
        "/broken": {"op": "replace", "path": "/data", "value": "text"},
        "/absent": {"op": "remove", "path": "/nothing"},
        "/whole": {"op": "replace", "path": "", "value": [1]},
    }.items():
        hooks.answers[path] = lambda _, r, operation=operation: patch(r, operation)
        configure("mutating", {"path": path, "failurePolicy": "Fail"}, name="bad")
        answer = http("POST", MAPS, config_map("victim", a="b"))
        assert answer.status >= 400, path
        http.ok("DELETE", f"{ADMISSION}/mutatingwebhookconfigurations/bad")
    hooks.answers["/owned"] = lambda _, r: patch(
        r,
        {"op": "replace", "path": "/metadata/uid", "value": "mine"},
        {"op": "add", "path": "/unknown", "value": 1},
        {"op": "add", "path": "/data/c", "value": "d"},
    )
    configure("mutating", {"path": "/owned"})
    made = http.ok("POST", MAPS, config_map("victim", a="b"))
    assert made["data"] == {"a": "b", "c": "d"} and made["metadata"]["uid"] != "mine" and "unknown" not in made


_GOOD = {
    "name": "a.b.c", "sideEffects": "None", "admissionReviewVersions": ["v1"], "rules": [CONFIGMAPS],
    "clientConfig": {"url": "https://example.com/hook"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "short"}, "webhooks[0].name"),
        ({"sideEffects": "Some"}, "webhooks[0].sideEffects"),
        ({"sideEffects": None}, "webhooks[0].sideEffects"),
        ({"admissionReviewVersions": ["v1beta1"]}, "webhooks[0].admissionReviewVersions"),
        ({"admissionReviewVersions": []}, "webhooks[0].admissionReviewVersions"),
        ({"timeoutSeconds": 31}, "webhooks[0].timeoutSeconds"),
        ({"timeoutSeconds": 0}, "webhooks[0].timeoutSeconds"),
        ({"failurePolicy": "Maybe"}, "webhooks[0].failurePolicy"),
        ({"matchPolicy": "Maybe"}, "webhooks[0].matchPolicy"),
        ({"reinvocationPolicy": "Always"}, "webhooks[0].reinvocationPolicy"),
        ({"clientConfig": {}}, "webhooks[0].clientConfig"),
        ({"clientConfig": {"url": "http://example.com"}}, "webhooks[0].clientConfig.url"),
        ({"clientConfig": {"url": "https://u:p@example.com"}}, "webhooks[0].clientConfig.url"),
        ({"clientConfig": {"url": "https://example.com?a=b"}}, "webhooks[0].clientConfig.url"),
        ({"clientConfig": {"service": {"namespace": "a"}}}, "webhooks[0].clientConfig.service.name"),
        ({"clientConfig": {"service": {"namespace": "a", "name": "b", "port": 0}}},
         "webhooks[0].clientConfig.service.port"),
        ({"clientConfig": {"service": {"namespace": "a", "name": "b", "path": "x"}}},
         "webhooks[0].clientConfig.service.path"),
        ({"clientConfig": {"url": "https://a", "caBundle": "eA=="}}, "webhooks[0].clientConfig.caBundle"),
        ({"rules": [{**CONFIGMAPS, "operations": ["*", "CREATE"]}]}, "webhooks[0].rules[0].operations"),
        ({"rules": [{**CONFIGMAPS, "operations": ["READ"]}]}, "webhooks[0].rules[0].operations[0]"),
        ({"rules": [{**CONFIGMAPS, "apiGroups": []}]}, "webhooks[0].rules[0].apiGroups"),
        ({"rules": [{**CONFIGMAPS, "resources": ["*", "pods"]}]}, "webhooks[0].rules[0].resources"),
        ({"rules": [{**CONFIGMAPS, "scope": "Global"}]}, "webhooks[0].rules[0].scope"),
        ({"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}},
         "webhooks[0].namespaceSelector.matchExpressions[0].operator"),
        ({"matchConditions": [{"name": "x", "expression": "1 +"}]}, "webhooks[0].matchConditions[0].expression"),
        ({"matchConditions": [{"name": "x", "expression": "1"}]}, "webhooks[0].matchConditions[0].expression"),
        ({"matchConditions": [{"expression": "true"}]}, "webhooks[0].matchConditions[0].name"),
    ],
)  # fmt: skip
def test_a_wrong_configuration_is_refused_with_the_field(http: Http, change: dict[str, Any], field: str) -> None:
    webhook = {k: v for k, v in {**_GOOD, **change}.items() if v is not None}
    body = {"metadata": {"name": "wrong"}, "webhooks": [webhook]}
    answer = http("POST", f"{ADMISSION}/mutatingwebhookconfigurations", body)
    assert answer.status == 422, answer.data
    assert field in [c["field"] for c in answer.json["details"]["causes"]]


def test_defaults_of_a_configuration_are_filled_in(http: Http) -> None:
    service = {**_GOOD, "clientConfig": {"service": {"namespace": "a", "name": "b"}}}
    url = f"{ADMISSION}/mutatingwebhookconfigurations"
    made = http.ok("POST", url, {"metadata": {"name": "defaults"}, "webhooks": [service]}, query={"dryRun": "All"})
    hook = made["webhooks"][0]
    wanted = {
        "failurePolicy": "Fail", "matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {},
        "timeoutSeconds": 10, "reinvocationPolicy": "Never",
    }  # fmt: skip
    assert {k: hook[k] for k in wanted} == wanted
    assert hook["rules"][0]["scope"] == "*" and hook["clientConfig"]["service"]["port"] == 443
