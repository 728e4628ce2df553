"""Validating admission policies on a running server: what they match, which parameters they get, what they decide.

The language is in test_apiserver_cel.py, webhooks are in test_apiserver_webhooks.py.
"""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from admission_policies import ADMISSION, CREATES, Bind, binder, create
from apiserver_http import MAPS, MERGE, PODS, Answer, Http, config_map, pod
from tools import ApiServer


@pytest.fixture(scope="module")
def http(shared_api_server: ApiServer) -> Http:
    return Http(shared_api_server)


@pytest.fixture
def bind(http: Http) -> Iterator[Bind]:
    yield from binder(http)


def _warnings(answer: Answer) -> list[str]:
    return answer.headers.get_all("Warning") or []


def test_a_failed_validation_denies_in_the_documented_words(http: Http, bind: Bind) -> None:
    bind({"validations": [{"expression": "object.data.size() <= 1"}]})
    answer = create(http, a="1", b="2")
    who = "ValidatingAdmissionPolicy 'p' with binding 'p-binding'"
    text = f"{who} denied request: failed expression: object.data.size() <= 1"
    assert (answer.status, answer.json["reason"]) == (422, "Invalid")
    assert answer.json["message"] == f'configmaps "a" is forbidden: {text}'
    assert answer.json["details"]["causes"] == [{"message": text}]
    assert create(http, a="1").status == 201
    assert "tortie_apiserver_admission_policies_refused 1\n" in http("GET", "/metrics").data.decode()


@pytest.mark.parametrize(
    ("reason", "code"), [("Unauthorized", 401), ("Forbidden", 403), ("Invalid", 422), ("RequestEntityTooLarge", 413)]
)
def test_a_validation_chooses_its_reason_and_its_code(http: Http, bind: Bind, reason: str, code: int) -> None:
    bind({"validations": [{"expression": "false", "message": "no", "reason": reason}]})
    answer = create(http)
    assert (answer.status, answer.json["reason"], answer.json["code"]) == (code, reason, code)


@pytest.mark.parametrize(
    ("validation", "said"),
    [
        ({"expression": "false", "message": "plain"}, "plain"),
        ({"expression": "false", "message": "m", "messageExpression": "'about ' + object.metadata.name"}, "about a"),
        ({"expression": "false", "message": "m", "messageExpression": "object.data.missing"}, "m"),
        ({"expression": "false", "messageExpression": "'two\\nlines'"}, "failed expression: false"),
        ({"expression": "object.no == 1"}, "expression 'object.no == 1' resulted in error: no such key: no"),
    ],
)
def test_what_a_refusal_says(http: Http, bind: Bind, validation: dict[str, str], said: str) -> None:
    bind({"validations": [validation]})
    assert create(http).json["message"].endswith(f"denied request: {said}")


@pytest.mark.parametrize(
    "expression",
    [
        "object.metadata.labels['x'] == 'y' && oldObject == null",
        "request.operation == 'CREATE' && request.kind.kind == 'ConfigMap' && request.name == 'a'",
        "request.resource.resource == 'configmaps' && request.namespace == 'default' && !request.dryRun",
        "'system:masters' in request.userInfo.groups",
        "namespaceObject.metadata.name == 'default' && namespaceObject.status.phase == 'Active'",
        "authorizer.group('').resource('pods').namespace('default').check('create').allowed()",
        "authorizer.path('/healthz').check('get').allowed()",
        "!authorizer.serviceAccount('default', 'default').group('').resource('pods').check('create').allowed()",
        "authorizer.requestResource.check('delete').allowed() && authorizer.requestResource.check('x').reason() == ''",
        "variables.two == variables.one + 1",
        "has(variables.one) && !has(object.spec)",
    ],
)
def test_what_expressions_see(http: Http, bind: Bind, expression: str) -> None:
    variables = [{"name": "one", "expression": "1"}, {"name": "two", "expression": "variables.one * 2"}]
    bind({"variables": variables, "validations": [{"expression": expression}]})
    answer = create(http, labels={"x": "y"})
    assert answer.status == 201, answer.json["message"]


def test_updates_and_deletes_see_the_old_object(http: Http, bind: Bind) -> None:
    everything = {**CREATES, "operations": ["*"]}
    deleted = "object == null && oldObject.data.k != 'keep'"
    rule = f"request.operation == 'DELETE' ? {deleted} : oldObject == null || has(object.data)"
    bind({"matchConstraints": {"resourceRules": [everything]}, "validations": [{"expression": rule}]})
    create(http, k="keep")
    assert http("DELETE", f"{MAPS}/a").status == 422
    assert http("PATCH", f"{MAPS}/a", {"data": None}, content=MERGE).status == 422
    http.ok("PATCH", f"{MAPS}/a", {"data": {"k": "go"}}, content=MERGE)
    http.ok("DELETE", f"{MAPS}/a")


def test_actions_warn_and_audit_without_denying(http: Http, bind: Bind) -> None:
    bind({"validations": [{"expression": "false", "message": "not good"}]}, {"validationActions": ["Warn", "Audit"]})
    answer = create(http)
    assert answer.status == 201
    warning = "Validation failed for ValidatingAdmissionPolicy 'p' with binding 'p-binding': not good"
    assert _warnings(answer) == [f'299 - "{warning}"']


def test_a_failure_counts_as_the_failure_policy_says(http: Http, bind: Bind) -> None:
    broken = {"validations": [{"expression": "object.missing > 1"}]}
    bind({**broken, "failurePolicy": "Ignore"}, name="lenient")
    assert create(http).status == 201
    bind(broken, name="strict")
    assert create(http, "b").status == 422
    conditions = [{"name": "c", "expression": "object.missing > 1"}]
    bind({"validations": [{"expression": "true"}], "matchConditions": conditions}, name="conditional")
    assert "failed to evaluate match conditions" in create(http, "c").json["message"]


def test_a_false_match_condition_wins_over_errors(http: Http, bind: Bind) -> None:
    conditions = [{"name": "e", "expression": "object.missing > 1"}, {"name": "f", "expression": "request.name != 'a'"}]
    bind({"matchConditions": conditions, "validations": [{"expression": "false"}]})
    assert create(http).status == 201
    assert create(http, "b").status == 422


@pytest.mark.parametrize(
    ("match", "refused"),
    [
        ({"resourceRules": [{**CREATES, "resourceNames": ["a"]}]}, ["a"]),
        ({"resourceRules": [CREATES], "excludeResourceRules": [{**CREATES, "resourceNames": ["a"]}]}, ["b", "c"]),
        ({"resourceRules": [CREATES], "objectSelector": {"matchLabels": {"l": "b"}}}, ["b"]),
        ({"resourceRules": [CREATES], "namespaceSelector": {"matchLabels": {"no": "where"}}}, []),
        ({"resourceRules": [{**CREATES, "scope": "Cluster"}]}, []),
        ({"resourceRules": [{**CREATES, "operations": ["DELETE"]}]}, []),
        (
            {"resourceRules": [{**CREATES, "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}]},
            ["a", "b", "c"],
        ),
    ],
)
def test_which_requests_a_policy_means(http: Http, bind: Bind, match: dict[str, Any], refused: list[str]) -> None:
    bind({"matchConstraints": match, "validations": [{"expression": "false"}]}, name="policy")
    assert [n for n in "abc" if create(http, n, {"l": n}).status == 422] == refused


@pytest.mark.parametrize(
    ("match", "refused"),
    [
        ({"resourceRules": [{**CREATES, "resourceNames": ["a"]}]}, ["a"]),
        ({"objectSelector": {"matchExpressions": [{"key": "l", "operator": "NotIn", "values": ["b"]}]}}, ["a", "c"]),
        ({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}}, ["a", "b", "c"]),
        ({"excludeResourceRules": [{**CREATES, "resourceNames": ["a", "b"]}]}, ["c"]),
    ],
)
def test_which_requests_a_binding_means(http: Http, bind: Bind, match: dict[str, Any], refused: list[str]) -> None:
    bind({"validations": [{"expression": "false"}]}, {"matchResources": match})
    assert [n for n in "abc" if create(http, n, {"l": n}).status == 422] == refused


def test_a_policy_without_a_binding_and_a_binding_without_a_policy_do_nothing(http: Http, bind: Bind) -> None:
    bind({"validations": [{"expression": "false"}]}, {"policyName": "another"})
    assert create(http).status == 201


@pytest.mark.parametrize(
    ("reference", "created"),
    [
        ({"name": "limit", "parameterNotFoundAction": "Deny"}, {"small": 201, "big": 422}),
        ({"name": "limit", "namespace": "kube-system", "parameterNotFoundAction": "Deny"}, {"small": 422, "big": 422}),
        ({"name": "limit", "namespace": "kube-system", "parameterNotFoundAction": "Allow"}, {"small": 201, "big": 201}),
        (
            {"selector": {"matchLabels": {"limits": "yes"}}, "parameterNotFoundAction": "Deny"},
            {"small": 201, "big": 422},
        ),
        (
            {"selector": {"matchLabels": {"limits": "no"}}, "parameterNotFoundAction": "Allow"},
            {"small": 201, "big": 201},
        ),
    ],
)
def test_parameters_are_found_by_name_or_labels(
    http: Http, bind: Bind, reference: dict[str, Any], created: dict[str, int]
) -> None:
    http.ok("POST", MAPS, config_map("limit", {"limits": "yes"}, max="1"))
    http.ok("POST", MAPS, config_map("other", {"limits": "yes"}, max="2"))
    rule = {"expression": "params != null && object.data.size() <= int(params.data.max)"}
    kind = {"apiVersion": "v1", "kind": "ConfigMap"}
    bind({"paramKind": kind, "validations": [rule]}, {"paramRef": reference})
    assert {"small": create(http, "small", a="1").status, "big": create(http, "big", a="", b="").status} == created


def test_a_parameter_kind_that_is_not_served_is_a_failure(http: Http, bind: Bind) -> None:
    kind = {"apiVersion": "example.com/v1", "kind": "Nothing"}
    reference = {"name": "x", "parameterNotFoundAction": "Allow"}
    bind({"paramKind": kind, "validations": [{"expression": "true"}]}, {"paramRef": reference})
    text = "failed to find resource referenced by paramKind: 'example.com/v1, Kind=Nothing'"
    assert create(http).json["message"].endswith(text)


def test_an_equivalent_version_is_shown_to_the_policy_in_its_own_version(http: Http, bind: Bind) -> None:
    rule = {"operations": ["CREATE"], "apiGroups": ["batch"], "apiVersions": ["v1beta1"], "resources": ["cronjobs"]}
    expression = "object.apiVersion == 'nothing' || request.kind.version != 'v1beta1'"
    job = {"metadata": {"name": "j"}, "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": {"spec": {
        "restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}}}}  # fmt: skip
    path = "/apis/batch/v1/namespaces/default/cronjobs"
    spec = {"validations": [{"expression": expression, "messageExpression": "object.apiVersion"}]}
    bind({"matchConstraints": {"resourceRules": [rule]}, **spec}, name="same")
    assert http("POST", path, job).json["message"].endswith("denied request: batch/v1beta1")
    bind({"matchConstraints": {"resourceRules": [rule], "matchPolicy": "Exact"}, **spec}, name="exact")
    http.ok("DELETE", f"{ADMISSION}/validatingadmissionpolicies/same")
    assert http("POST", path, job, query={"dryRun": "All"}).status == 201


def test_a_subresource_is_matched_by_its_own_rule(http: Http, bind: Bind) -> None:
    rule = {"operations": ["UPDATE"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments/scale"]}
    expression = "object.spec.replicas <= 3 && request.subResource == 'scale' && object.kind == 'Scale'"
    bind({"matchConstraints": {"resourceRules": [rule]}, "validations": [{"expression": expression}]})
    deployments = "/apis/apps/v1/namespaces/default/deployments"
    template = {"metadata": {"labels": {"a": "b"}}, "spec": pod("x")["spec"]}
    spec = {"replicas": 9, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    http.ok("POST", deployments, {"metadata": {"name": "d"}, "spec": spec})
    assert http("PATCH", f"{deployments}/d/scale", {"spec": {"replicas": 4}}, content=MERGE).status == 422
    http.ok("PATCH", f"{deployments}/d/scale", {"spec": {"replicas": 2}}, content=MERGE)
    http.ok("DELETE", f"{deployments}/d")


def test_policies_are_never_asked_about_policies(http: Http, bind: Bind) -> None:
    everything = {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}
    bind({"matchConstraints": {"resourceRules": [everything]}, "validations": [{"expression": "false"}]}, name="all")
    assert create(http).status == 422
    http.ok("DELETE", f"{ADMISSION}/validatingadmissionpolicies/all")
    assert create(http).status == 201


def test_an_expression_without_end_fails_in_bounded_time(http: Http, bind: Bind) -> None:
    loop = "[1,2,3,4,5,6,7,8,9]"
    nested = f"{loop}.all(a, {loop}.all(b, {loop}.all(c, {loop}.all(d, {loop}.all(e, {loop}.all(f, true))))))"
    bind({"validations": [{"expression": nested}]})
    started = time.monotonic()
    assert "cost limit exceeded" in create(http).json["message"]
    assert time.monotonic() - started < 10


def test_connects_and_evictions_are_requests_too(http: Http, bind: Bind) -> None:
    rules = [
        {"operations": ["CONNECT"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods/exec"]},
        {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods/eviction"]},
    ]
    said = "request.operation + ' ' + object.kind + ' ' + request.subResource + ' of ' + request.name"
    validation = {"expression": "false", "messageExpression": said, "reason": "Forbidden"}
    bind({"matchConstraints": {"resourceRules": rules}, "validations": [validation]})
    http.ok("POST", PODS, pod("target"))
    exec_ = http("POST", f"{PODS}/target/exec", query={"command": "id", "stdout": "1"})
    assert (exec_.status, exec_.json["message"].rpartition(": ")[2]) == (403, "CONNECT PodExecOptions exec of target")
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "target"}}
    evicted = http("POST", f"{PODS}/target/eviction", eviction)
    assert (evicted.status, evicted.json["message"].rpartition(": ")[2]) == (403, "CREATE Eviction eviction of target")
    http.ok("DELETE", f"{PODS}/target", query={"gracePeriodSeconds": "0"})


def test_an_audit_annotation_is_evaluated_beside_the_validations(http: Http, bind: Bind) -> None:
    notes = [{"key": "size", "valueExpression": "object.data.size() > 1 ? dyn('big') : null"}]
    bind({"auditAnnotations": notes, "validations": [{"expression": "true"}]})
    assert [create(http, "small", a="1").status, create(http, "big", a="1", b="2").status] == [201, 201]
    broken = http("POST", MAPS, {"metadata": {"name": "none"}})
    assert "audit annotation resulted in error: no such key: data" in broken.json["message"]
