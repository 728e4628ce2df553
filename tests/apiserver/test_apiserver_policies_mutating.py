"""Mutating admission policies on a running server: apply configurations, JSON patches, order and reinvocation."""

from collections.abc import Iterator
from typing import Any

import pytest
from admission_policies import ADMISSION, CREATES, Bind, apply, binder, create, patches
from apiserver_http import APPLY, MAPS, PODS, Http, config_map, pod
from tools import ApiServer
from webhook_server import WebhookServer, patch, webhook_server


@pytest.fixture(scope="module")
def http(shared_api_server: ApiServer) -> Http:
    return Http(shared_api_server)


@pytest.fixture
def bind(http: Http) -> Iterator[Bind]:
    yield from binder(http)


POD_CREATES = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}


def test_an_apply_configuration_is_merged_item_by_item(http: Http, bind: Bind) -> None:
    sidecar = """Object{spec: Object.spec{
      initContainers: [Object.spec.initContainers{
        name: "mesh", image: "mesh:v1", args: ["proxy"], restartPolicy: "Always"}],
      containers: [Object.spec.containers{
        name: "main", env: [Object.spec.containers.env{name: "MESH", value: object.metadata.name}]}]}}"""
    bind({"matchConstraints": {"resourceRules": [POD_CREATES]}, "mutations": [apply(sidecar)]}, phase="Mutating")
    body = pod("sidecar", initContainers=[{"name": "first", "image": "i"}])
    body["spec"]["containers"][0]["env"] = [{"name": "OWN", "value": "1"}]
    made = http.ok("POST", PODS, body, query={"dryRun": "All"})
    assert {c["name"]: c["image"] for c in made["spec"]["initContainers"]} == {"first": "i", "mesh": "mesh:v1"}
    (main,) = made["spec"]["containers"]
    assert main["image"] == "agnhost"
    env = [{"name": "OWN", "value": "1"}, {"name": "MESH", "value": "sidecar"}]
    assert sorted(main["env"], key=str) == sorted(env, key=str)


def test_a_json_patch_is_carried_out(http: Http, bind: Bind) -> None:
    expression = """[
      JSONPatch{op: "test", path: "/data/k", value: "red"},
      JSONPatch{op: "replace", path: "/data/k", value: "green"},
      JSONPatch{op: "add", path: "/metadata/labels", value: {"a": "b"}},
      JSONPatch{op: "add", path: "/metadata/labels/" + jsonpatch.escapeKey("example.com/env"), value: "test"},
      JSONPatch{op: "copy", from: "/data/k", path: "/data/copy"}]"""
    bind({"mutations": [patches(expression)]}, phase="Mutating")
    made = create(http, k="red").json
    assert made["data"] == {"k": "green", "copy": "green"}
    assert made["metadata"]["labels"] == {"a": "b", "example.com/env": "test"}
    refused = create(http, "b", k="blue")
    assert refused.status == 422
    assert "MutatingAdmissionPolicy 'p' with binding 'p-binding' denied request: JSON patch" in refused.json["message"]


def test_mutations_follow_one_another_and_see_each_other(http: Http, bind: Bind) -> None:
    count = "has(object.metadata.labels) && has(object.metadata.labels.n) ? object.metadata.labels.n + 'x' : 'x'"
    one = apply(f"Object{{metadata: Object.metadata{{labels: {{'n': {count}}}}}}}")
    spec = {"mutations": [one, one]}
    bind(spec, phase="Mutating", name="first")
    bind(spec, phase="Mutating", name="second")
    assert create(http).json["metadata"]["labels"] == {"n": "xxxx"}


def test_a_policy_is_matched_with_what_those_before_it_made(http: Http, bind: Bind) -> None:
    label = apply("Object{metadata: Object.metadata{labels: {'team': 'net'}}}")
    bind({"mutations": [label]}, phase="Mutating", name="a-first")
    chosen = {"resourceRules": [CREATES], "objectSelector": {"matchLabels": {"team": "net"}}}
    seen = apply("Object{data: {'seen': 'yes'}}")
    bind({"matchConstraints": chosen, "mutations": [seen]}, phase="Mutating", name="b-second")
    assert create(http, k="v").json["data"] == {"k": "v", "seen": "yes"}


def test_reinvocation_shows_a_policy_what_came_after_it(http: Http, bind: Bind) -> None:
    seen = "string(has(object.data) && has(object.data.later))"
    look = apply(f"Object{{data: {{'seen': {seen}}}}}".replace("data: {", "data: {"))
    bind({"mutations": [look], "reinvocationPolicy": "IfNeeded"}, phase="Mutating", name="a")
    bind({"mutations": [apply("Object{data: {'later': 'yes'}}")]}, phase="Mutating", name="b")
    assert create(http).json["data"] == {"seen": "true", "later": "yes"}


def test_reinvocation_shows_a_policy_what_webhooks_made(
    http: Http, bind: Bind, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with webhook_server(tmp_path_factory.mktemp("policies")) as server:
        _webhook(http, server)
        try:
            look = apply("Object{data: {'seen': string(has(object.data.hook))}}")
            bind({"mutations": [look], "reinvocationPolicy": "IfNeeded"}, phase="Mutating", name="again")
            never = apply("Object{data: {'never': string(has(object.data.hook))}}")
            bind({"mutations": [never]}, phase="Mutating", name="never")
            assert create(http, k="v").json["data"] == {"k": "v", "seen": "true", "never": "false", "hook": "yes"}
        finally:
            http("DELETE", f"{ADMISSION}/mutatingwebhookconfigurations/policies")


def _webhook(http: Http, server: WebhookServer) -> None:
    server.answers["/m"] = lambda _, r: patch(r, {"op": "add", "path": "/data/hook", "value": "yes"})
    hook = {"name": "m.policies.test", "clientConfig": server.client("/m"), "rules": [CREATES], "sideEffects": "None",
            "admissionReviewVersions": ["v1"]}  # fmt: skip
    http.ok(
        "POST", f"{ADMISSION}/mutatingwebhookconfigurations", {"metadata": {"name": "policies"}, "webhooks": [hook]}
    )


@pytest.mark.parametrize(
    ("mutation", "why"),
    [
        (apply("Object{spec: Object.spec{x: 1}}"), ".spec: field not declared in schema"),
        (apply("Object{data: Object.data{k: 1}}"), "data.k: expected a string"),
        (apply("Object{metadata: Object.metadata{labels: {'a': object.data.missing}}}"), "no such key"),
        (patches("[JSONPatch{op: 'remove', path: '/data/none'}]"), "JSON patch cannot be applied"),
        (patches("[JSONPatch{op: 'odd', path: '/data/none'}]"), "JSON patch cannot be applied"),
        (patches("[JSONPatch{op: 'replace', path: '/data/k', value: 1}]"), "data.k: expected a string"),
        (patches("[JSONPatch{op: 'replace', path: '/metadata/name', value: 'b'}]"), "metadata.name may not be changed"),
        (patches("[JSONPatch{op: 'replace', path: '', value: [1]}]"), "something that is not an object"),
    ],
)
def test_a_mutation_that_cannot_be_made_fails_the_request(
    http: Http, bind: Bind, mutation: dict[str, Any], why: str
) -> None:
    bind({"mutations": [mutation]}, phase="Mutating")
    answer = create(http, k="v")
    assert answer.status == 422
    assert why in answer.json["message"]
    bind({"mutations": [mutation], "failurePolicy": "Ignore"}, phase="Mutating", name="q")
    http.ok("DELETE", f"{ADMISSION}/mutatingadmissionpolicies/p")
    assert create(http, k="v").json["data"] == {"k": "v"}


def test_atomic_lists_are_not_for_apply_configurations(http: Http, bind: Bind) -> None:
    expression = "Object{spec: Object.spec{tolerations: [Object.spec.tolerations{key: 'a'}]}}"
    bind({"matchConstraints": {"resourceRules": [POD_CREATES]}, "mutations": [apply(expression)]}, phase="Mutating")
    answer = http("POST", PODS, pod("atomic"))
    assert "may not mutate atomic arrays, maps or structs: .spec.tolerations" in answer.json["message"]


def test_a_mutating_policy_takes_parameters_and_conditions(http: Http, bind: Bind) -> None:
    http.ok("POST", MAPS, config_map("owner", owner="net"))
    bind(
        {
            "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
            "matchConditions": [{"name": "new", "expression": "!has(object.metadata.labels)"}],
            "mutations": [apply("Object{metadata: Object.metadata{labels: {'owner': params.data.owner}}}")],
        },
        {"paramRef": {"name": "owner", "parameterNotFoundAction": "Deny"}},
        phase="Mutating",
    )
    assert create(http, "a").json["metadata"]["labels"] == {"owner": "net"}
    assert create(http, "b", {"mine": "x"}).json["metadata"]["labels"] == {"mine": "x"}


def test_a_server_side_apply_is_changed_too_and_validated_after(http: Http, bind: Bind) -> None:
    bind({"mutations": [apply("Object{data: {'added': 'yes'}}")]}, phase="Mutating", name="m")
    bind({"validations": [{"expression": "object.data.added == 'yes' && object.data.k == 'v'"}]}, name="v")
    query = {"fieldManager": "me"}
    made = http.ok("PATCH", f"{MAPS}/applied", config_map("applied", k="v"), content=APPLY, query=query)
    assert made["data"] == {"k": "v", "added": "yes"}
    assert http("PATCH", f"{MAPS}/applied", config_map("applied", k="w"), content=APPLY, query=query).status == 422
