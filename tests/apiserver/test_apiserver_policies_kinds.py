"""Admission policies and bindings as objects: what is wrong with them, who may make them, their status, kubectl."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from admission_policies import ADMISSION, CREATES, PLURALS, Bind, apply, binder, patches
from apiserver_http import Http
from tools import ApiServer


@pytest.fixture(scope="module")
def http(shared_api_server: ApiServer) -> Http:
    return Http(shared_api_server)


@pytest.fixture
def bind(http: Http) -> Iterator[Bind]:
    yield from binder(http)


GOOD = {"matchConstraints": {"resourceRules": [CREATES]}}
VALIDATION = {"validations": [{"expression": "true"}]}
MUTATION = {"reinvocationPolicy": "Never", "mutations": [apply("Object{}")]}


@pytest.mark.parametrize(
    ("phase", "spec", "field"),
    [
        ("Validating", {**GOOD}, "spec.validations"),
        ("Validating", {**VALIDATION}, "spec.matchConstraints"),
        ("Validating", {**VALIDATION, "matchConstraints": {}}, "spec.matchConstraints.resourceRules"),
        ("Validating", {**GOOD, **VALIDATION, "failurePolicy": "Maybe"}, "spec.failurePolicy"),
        ("Validating", {**GOOD, "validations": [{"expression": " "}]}, "spec.validations[0].expression"),
        ("Validating", {**GOOD, "validations": [{"expression": "1"}]}, "spec.validations[0].expression"),
        ("Validating", {**GOOD, "validations": [{"expression": "object.x >"}]}, "spec.validations[0].expression"),
        (
            "Validating",
            {**GOOD, "validations": [{"expression": "request.nam == ''"}]},
            "spec.validations[0].expression",
        ),
        ("Validating", {**GOOD, "validations": [{"expression": "params.x"}]}, "spec.validations[0].expression"),
        ("Validating", {**GOOD, "validations": [{"expression": "variables.x"}]}, "spec.validations[0].expression"),
        (
            "Validating",
            {**GOOD, "validations": [{"expression": "true", "reason": "Odd"}]},
            "spec.validations[0].reason",
        ),
        (
            "Validating",
            {**GOOD, "validations": [{"expression": "true", "message": "a\nb"}]},
            "spec.validations[0].message",
        ),
        (
            "Validating",
            {**GOOD, "validations": [{"expression": "true", "messageExpression": "1"}]},
            "spec.validations[0].messageExpression",
        ),
        (
            "Validating",
            {**GOOD, "validations": [{"expression": "true", "messageExpression": "string(authorizer)"}]},
            "spec.validations[0].messageExpression",
        ),
        (
            "Validating",
            {**GOOD, **VALIDATION, "variables": [{"name": "a-b", "expression": "1"}]},
            "spec.variables[0].name",
        ),
        (
            "Validating",
            {
                **GOOD,
                **VALIDATION,
                "variables": [{"name": "a", "expression": "variables.b"}, {"name": "b", "expression": "1"}],
            },
            "spec.variables[0].expression",
        ),
        (
            "Validating",
            {**GOOD, **VALIDATION, "matchConditions": [{"name": "a", "expression": "'text'"}]},
            "spec.matchConditions[0].expression",
        ),
        (
            "Validating",
            {**GOOD, **VALIDATION, "paramKind": {"apiVersion": "a/b/c", "kind": "K"}},
            "spec.paramKind.apiVersion",
        ),
        (
            "Validating",
            {**GOOD, "auditAnnotations": [{"key": "k", "valueExpression": "1"}]},
            "spec.auditAnnotations[0].valueExpression",
        ),
        ("Mutating", {**GOOD, "reinvocationPolicy": "Never"}, "spec.mutations"),
        ("Mutating", {**GOOD, **MUTATION, "reinvocationPolicy": "Often"}, "spec.reinvocationPolicy"),
        ("Mutating", {**GOOD, **MUTATION, "mutations": [{"patchType": "Odd"}]}, "spec.mutations[0].patchType"),
        ("Mutating", {**GOOD, **MUTATION, "mutations": [{"patchType": "JSONPatch"}]}, "spec.mutations[0].jsonPatch"),
        (
            "Mutating",
            {**GOOD, **MUTATION, "mutations": [apply("{'a': 'b'}")]},
            "spec.mutations[0].applyConfiguration.expression",
        ),
        (
            "Mutating",
            {**GOOD, **MUTATION, "mutations": [patches("[Object{}]")]},
            "spec.mutations[0].jsonPatch.expression",
        ),
        (
            "Mutating",
            {**GOOD, **MUTATION, "mutations": [apply("Object{spec: Object.other{}}")]},
            "spec.mutations[0].applyConfiguration.expression",
        ),
        (
            "Mutating",
            {**MUTATION, "matchConstraints": {"resourceRules": [{**CREATES, "operations": ["DELETE"]}]}},
            "spec.matchConstraints.resourceRules[0].operations[0]",
        ),
    ],
)
def test_a_wrong_policy_is_refused_with_the_place_of_its_mistake(
    http: Http, phase: str, spec: dict[str, Any], field: str
) -> None:
    answer = http("POST", f"{ADMISSION}/{PLURALS[phase]}", {"metadata": {"name": "wrong"}, "spec": spec})
    assert answer.status == 422, answer.data
    assert [cause["field"] for cause in answer.json["details"]["causes"]] == [field]


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"validationActions": ["Deny"]}, "spec.policyName"),
        ({"policyName": "p"}, "spec.validationActions"),
        ({"policyName": "p", "validationActions": ["Deny", "Warn"]}, "spec.validationActions"),
        ({"policyName": "p", "validationActions": ["Odd"]}, "spec.validationActions[0]"),
        (
            {"policyName": "p", "validationActions": ["Deny"], "paramRef": {"parameterNotFoundAction": "Deny"}},
            "spec.paramRef",
        ),
        (
            {"policyName": "p", "validationActions": ["Deny"], "paramRef": {"name": "a"}},
            "spec.paramRef.parameterNotFoundAction",
        ),
        (
            {
                "policyName": "p",
                "validationActions": ["Deny"],
                "paramRef": {"name": "a", "selector": {}, "parameterNotFoundAction": "Deny"},
            },
            "spec.paramRef.name",
        ),
    ],
)
def test_a_wrong_binding_is_refused(http: Http, spec: dict[str, Any], field: str) -> None:
    path = f"{ADMISSION}/validatingadmissionpolicybindings"
    answer = http("POST", path, {"metadata": {"name": "wrong"}, "spec": spec})
    assert answer.status == 422, answer.data
    assert [cause["field"] for cause in answer.json["details"]["causes"]] == [field]


def test_conditions_are_evaluated_before_the_variables_and_cannot_name_them(http: Http) -> None:
    conditions = [{"name": "c", "expression": "variables.a == 1"}]
    spec = {**GOOD, **VALIDATION, "variables": [{"name": "a", "expression": "1"}], "matchConditions": conditions}
    answer = http("POST", f"{ADMISSION}/validatingadmissionpolicies", {"metadata": {"name": "wrong"}, "spec": spec})
    assert "undeclared reference to 'variables'" in answer.json["message"]


def test_a_mutating_binding_cannot_be_about_deletions(http: Http) -> None:
    match = {"resourceRules": [{**CREATES, "operations": ["DELETE"]}]}
    body = {"metadata": {"name": "wrong"}, "spec": {"policyName": "p", "matchResources": match}}
    answer = http("POST", f"{ADMISSION}/mutatingadmissionpolicybindings", body)
    assert [c["field"] for c in answer.json["details"]["causes"]] == [
        "spec.matchResources.resourceRules[0].operations[0]"
    ]


def test_type_checking_ends_up_in_the_status(http: Http, bind: Bind) -> None:
    rule = {
        "operations": ["*"],
        "apiGroups": ["apps"],
        "apiVersions": ["v1"],
        "resources": ["deployments", "replicasets"],
    }
    bind({"matchConstraints": {"resourceRules": [rule]}, "validations": [{"expression": "object.replicas > 1"}]})
    status = _until(lambda: http.ok("GET", f"{ADMISSION}/validatingadmissionpolicies/p").get("status"))
    lines = "ERROR: <input>:1:7: undefined field 'replicas'\n | object.replicas > 1\n | ......^"
    text = f"apps/v1, Kind=Deployment: {lines}\napps/v1, Kind=ReplicaSet: {lines}"
    warnings = [{"fieldRef": "spec.validations[0].expression", "warning": text}]
    assert status == {"observedGeneration": 1, "typeChecking": {"expressionWarnings": warnings}}


def _until(get: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 10
    while not (value := get()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return value


def test_who_may_not_read_the_parameters_may_not_use_them(shared_api_server: ApiServer, http: Http, bind: Bind) -> None:
    kubectl = shared_api_server.kubectl
    kubectl("create", "serviceaccount", "author")
    rules = "--verb=create,get,list", "--resource=validatingadmissionpolicies,validatingadmissionpolicybindings"
    kubectl("create", "clusterrole", "author", *rules)
    kubectl("create", "clusterrolebinding", "author", "--clusterrole=author", "--serviceaccount=default:author")
    token = kubectl("create", "token", "author").stdout.strip()
    author = Http(shared_api_server, token=token)
    spec = {**GOOD, **VALIDATION, "paramKind": {"apiVersion": "v1", "kind": "Secret"}}
    answer = author("POST", f"{ADMISSION}/validatingadmissionpolicies", {"metadata": {"name": "s"}, "spec": spec})
    assert answer.status == 403
    assert 'does not have "get" permission on the object referenced by paramKind' in answer.json["message"]
    answer = author(
        "POST", f"{ADMISSION}/validatingadmissionpolicies", {"metadata": {"name": "s"}, "spec": {**GOOD, **VALIDATION}}
    )
    assert answer.status == 201
    http.ok("DELETE", f"{ADMISSION}/validatingadmissionpolicies/s")


# --- kubectl -------------------------------------------------------------------------------------------------------

DOCUMENTED = """
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: demo-policy.example.com}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
    - {apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}
  validations:
  - expression: object.spec.replicas <= 5
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: demo-binding-test.example.com}
spec:
  policyName: demo-policy.example.com
  validationActions: [Deny]
  matchResources:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: default}}
---
apiVersion: admissionregistration.k8s.io/v1beta1
kind: MutatingAdmissionPolicy
metadata: {name: team.example.com}
spec:
  matchConstraints:
    resourceRules:
    - {apiGroups: [apps], apiVersions: [v1], operations: [CREATE], resources: [deployments]}
  failurePolicy: Fail
  reinvocationPolicy: Never
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration: {expression: "Object{metadata: Object.metadata{annotations: {'team': 'net'}}}"}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: team}
spec: {policyName: team.example.com}
"""


def test_kubectl_applies_policies_and_shows_what_they_do(api_server: ApiServer) -> None:
    kubectl = api_server.kubectl
    made = kubectl("apply", "-f", "-", stdin=DOCUMENTED).stdout
    assert made.count("created") == 4
    shown = kubectl(
        "get", "validatingadmissionpolicies,validatingadmissionpolicybindings,mutatingadmissionpolicies"
    ).stdout
    assert "demo-policy.example.com   1             <unset>" in shown
    assert "demo-binding-test.example.com   demo-policy.example.com   <unset>" in shown
    assert "team.example.com   1           <unset>" in shown
    denied = kubectl("create", "deployment", "six", "--image=i", "--replicas=6", check=False)
    assert denied.returncode == 1
    assert (
        "ValidatingAdmissionPolicy 'demo-policy.example.com' with binding 'demo-binding-test.example.com' denied "
        "request: failed expression: object.spec.replicas <= 5"
    ) in denied.stderr
    kubectl("create", "deployment", "five", "--image=i", "--replicas=5")
    deployment = yaml.safe_load(kubectl("get", "deployment", "five", "-o", "yaml").stdout)
    assert deployment["metadata"]["annotations"]["team"] == "net"
    assert kubectl("scale", "deployment", "five", "--replicas=6", check=False).returncode == 0, (
        "scale is another resource"
    )
    assert "FIELD: mutations" in kubectl("explain", "mutatingadmissionpolicies.spec.mutations").stdout
