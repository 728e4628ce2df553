"""Access, row by row: what a fresh server has, reviews of access, token requests, and how rules match.

Escalation, impersonation and certificates are in test_apiserver_security, front proxies in test_apiserver_front_proxy.
"""

import base64
import json
import time
from typing import Any

import pytest
from apiserver_http import PODS, Http, pod
from tools import ApiServer

from tortie.apiserver.pki import issue_client_certificate, load_authority
from tortie.apiserver.rbac import Attributes, allows, missing

RBAC = "/apis/rbac.authorization.k8s.io/v1"
AUTHORIZATION = "/apis/authorization.k8s.io/v1"
ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"


@pytest.fixture(scope="module")
def http(shared_api_server: ApiServer) -> Http:
    return Http(shared_api_server)


def _as(server: ApiServer, user: str, *groups: str) -> Http:
    keys = server.data_dir / "pki"
    pair = issue_client_certificate(load_authority(keys / "ca.crt", keys / "ca.key"), user, groups)
    return Http(server, certificate=(pair.certificate, pair.key))


def _may(
    http: Http, user: str, verb: str, resource: str, namespace: str = "", *, group: str = "", name: str = ""
) -> bool:
    base, _, sub = resource.partition("/")
    attributes = {"verb": verb, "group": group, "resource": base, "namespace": namespace}
    spec = {"user": user, "resourceAttributes": {**attributes, **({"subresource": sub} if sub else {})}}
    return bool(http.ok("POST", f"{AUTHORIZATION}/subjectaccessreviews", {"spec": spec})["status"]["allowed"])


# What a fresh server has ---------------------------------------------------------------------------------------------


def test_a_fresh_server_has_what_clients_look_for(http: Http, shared_api_server: ApiServer) -> None:
    namespaces = {n["metadata"]["name"] for n in http.ok("GET", "/api/v1/namespaces")["items"]}
    assert {"default", "kube-system", "kube-public", "kube-node-lease"} <= namespaces
    service = http.ok("GET", "/api/v1/namespaces/default/services/kubernetes")["spec"]
    assert (service["clusterIP"], service["ports"][0]["port"]) == ("10.96.0.1", 443)
    slices = http.ok(
        "GET",
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
        query={"labelSelector": "kubernetes.io/service-name=kubernetes"},
    )["items"]
    assert slices[0]["endpoints"][0]["addresses"] == ["127.0.0.1"]
    assert slices[0]["ports"][0]["port"] == shared_api_server.port
    ca = (shared_api_server.data_dir / "pki" / "ca.crt").read_text()
    for namespace in ("default", "kube-system"):
        place = f"/api/v1/namespaces/{namespace}"
        assert http.ok("GET", f"{place}/configmaps/kube-root-ca.crt")["data"] == {"ca.crt": ca}
        assert http.ok("GET", f"{place}/serviceaccounts/default")["metadata"]["name"] == "default"
    roles = {r["metadata"]["name"] for r in http.ok("GET", f"{RBAC}/clusterroles")["items"]}
    assert {
        "cluster-admin", "admin", "edit", "view", "system:auth-delegator", "system:discovery", "system:basic-user",
        "system:public-info-viewer",
    } <= roles  # fmt: skip
    reader = http.ok("GET", f"{RBAC}/namespaces/kube-system/roles/extension-apiserver-authentication-reader")
    assert reader["rules"][0]["resourceNames"] == ["extension-apiserver-authentication"]


@pytest.mark.parametrize(
    ("role", "allowed", "denied"),
    [
        ("view", ["list pods", "get configmaps", "get deployments.apps"], ["get secrets", "create pods", "get roles"]),
        ("edit", ["get secrets", "create pods", "create pods/exec", "delete deployments.apps"],
         ["create rolebindings.rbac.authorization.k8s.io", "update resourcequotas", "create nodes"]),
        ("admin", ["get secrets", "create rolebindings.rbac.authorization.k8s.io",
                   "create localsubjectaccessreviews.authorization.k8s.io"], ["update resourcequotas", "delete nodes"]),
        ("cluster-admin", ["get secrets", "update resourcequotas", "create anything.example.com"], []),
    ],
)  # fmt: skip
def test_the_default_roles_give_what_their_names_say(
    http: Http, role: str, allowed: list[str], denied: list[str]
) -> None:
    user = f"has-{role}"
    binding = {
        "metadata": {"name": user},
        "roleRef": {"kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "User", "name": user}],
    }
    http.ok("POST", f"{RBAC}/namespaces/default/rolebindings", binding)
    for wanted, texts in ((True, allowed), (False, denied)):
        for text in texts:
            verb, _, place = text.partition(" ")
            resource, _, group = place.partition(".")
            assert _may(http, user, verb, resource, "default", group=group) is wanted, text
            assert not _may(http, user, verb, resource, "kube-system", group=group), "its own namespace alone"


# Reviews -------------------------------------------------------------------------------------------------------------


def test_each_review_of_access_answers_for_whom_it_is_made(http: Http, shared_api_server: ApiServer) -> None:
    binding = {
        "metadata": {"name": "reviewed"},
        "roleRef": {"kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "User", "name": "reviewed"}],
    }
    http.ok("POST", f"{RBAC}/namespaces/default/rolebindings", binding)
    mine = _as(shared_api_server, "reviewed")
    pods = {"verb": "list", "resource": "pods", "namespace": "default"}
    for namespace, wanted in (("default", True), ("kube-system", False)):
        spec = {"resourceAttributes": {**pods, "namespace": namespace}}
        own = mine.ok("POST", f"{AUTHORIZATION}/selfsubjectaccessreviews", {"spec": spec})
        assert own["status"]["allowed"] is wanted
        local = {"spec": {**spec, "user": "reviewed"}}
        place = f"{AUTHORIZATION}/namespaces/{namespace}/localsubjectaccessreviews"
        assert http.ok("POST", place, local)["status"]["allowed"] is wanted
        rules = mine.ok("POST", f"{AUTHORIZATION}/selfsubjectrulesreviews", {"spec": {"namespace": namespace}})
        found = [r for r in rules["status"]["resourceRules"] if "pods" in r["resources"] and "list" in r["verbs"]]
        assert bool(found) is wanted
        assert rules["status"]["incomplete"] is False
    assert http("POST", f"{AUTHORIZATION}/selfsubjectrulesreviews", {"spec": {}}).status == 400
    assert mine("POST", f"{AUTHORIZATION}/subjectaccessreviews", {"spec": spec}).status == 403, "of others: a right"


@pytest.mark.parametrize(
    ("path", "user", "allowed"),
    [
        ("/healthz", "anybody", False),
        ("/healthz", "known", True),
        ("/apis/apps", "known", True),
        ("/metrics", "known", False),
    ],
)
def test_paths_that_are_no_resources_are_reviewed_too(http: Http, path: str, user: str, allowed: bool) -> None:
    groups = ["system:authenticated"] if user == "known" else ["some"]
    spec = {"user": user, "groups": groups, "nonResourceAttributes": {"verb": "get", "path": path}}
    assert http.ok("POST", f"{AUTHORIZATION}/subjectaccessreviews", {"spec": spec})["status"]["allowed"] is allowed


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"user": "x"}, "spec.resourceAttributes"),
        ({"user": "x", "resourceAttributes": {}, "nonResourceAttributes": {}}, "spec.nonResourceAttributes"),
        ({"resourceAttributes": {"verb": "get"}}, "spec.user"),
    ],
)
def test_reviews_that_ask_nothing_or_too_much_are_refused(http: Http, spec: dict[str, Any], field: str) -> None:
    refused = http("POST", f"{AUTHORIZATION}/subjectaccessreviews", {"spec": spec})
    assert refused.status == 422
    assert field in {c["field"] for c in refused.json["details"]["causes"]}


def test_a_local_review_is_of_its_own_namespace(http: Http) -> None:
    spec = {"user": "x", "resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "kube-system"}}
    refused = http("POST", f"{AUTHORIZATION}/namespaces/default/localsubjectaccessreviews", {"spec": spec})
    assert refused.json["details"]["causes"][0]["field"] == "spec.resourceAttributes.namespace"


def test_reviews_are_not_stored(http: Http) -> None:
    for path in (
        f"{AUTHORIZATION}/subjectaccessreviews",
        f"{AUTHORIZATION}/selfsubjectrulesreviews",
        "/apis/authentication.k8s.io/v1/tokenreviews",
        "/apis/authentication.k8s.io/v1/selfsubjectreviews",
    ):
        assert http("GET", path).status == 405
        assert http("DELETE", path).status == 405


# Tokens --------------------------------------------------------------------------------------------------------------


def _request(http: Http, account: str = "default", **spec: Any) -> Any:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    return http("POST", f"{ACCOUNTS}/{account}/token", body)


def _claims(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def test_a_token_says_what_it_is_for_and_how_long(http: Http) -> None:
    issuer = "https://kubernetes.default.svc.cluster.local"
    made = _request(http).json
    assert made["spec"]["audiences"] == [issuer]
    assert made["spec"]["expirationSeconds"] == 3600
    claims = _claims(made["status"]["token"])
    uid = http.ok("GET", f"{ACCOUNTS}/default")["metadata"]["uid"]
    assert (claims["iss"], claims["aud"]) == (issuer, [issuer])
    assert claims["sub"] == "system:serviceaccount:default:default"
    assert claims["kubernetes.io"] == {"namespace": "default", "serviceaccount": {"name": "default", "uid": uid}}
    assert claims["exp"] - claims["iat"] == 3600
    assert claims["nbf"] == claims["iat"] <= time.time() + 1
    assert claims["jti"] != _claims(_request(http).json["status"]["token"])["jti"]


def test_a_pods_token_names_pod_and_node_and_when_to_renew(http: Http) -> None:
    http.ok("POST", "/api/v1/nodes", {"metadata": {"name": "for-tokens"}})
    made = http.ok("POST", PODS, pod("with-token", nodeName="for-tokens", serviceAccountName="default"))
    reference = {"kind": "Pod", "apiVersion": "v1", "name": "with-token", "uid": made["metadata"]["uid"]}
    claims = _claims(_request(http, expirationSeconds=3607, boundObjectRef=reference).json["status"]["token"])
    own = claims["kubernetes.io"]
    assert own["pod"] == {"name": "with-token", "uid": made["metadata"]["uid"]}
    assert own["node"]["name"] == "for-tokens"
    assert own["warnafter"] == claims["iat"] + 3607
    assert claims["exp"] - claims["iat"] == 365 * 86400


@pytest.mark.parametrize(
    ("account", "spec", "code"),
    [
        ("default", {"expirationSeconds": 599}, 422),
        ("default", {"expirationSeconds": (1 << 32) + 1}, 422),
        ("nobody", {}, 404),
        ("default", {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "absent"}}, 404),
        ("default", {"boundObjectRef": {"kind": "ConfigMap", "apiVersion": "v1", "name": "x"}}, 422),
        ("default", {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "of-another"}}, 400),
        ("other", {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "of-another", "uid": "wrong"}}, 409),
        ("other", {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "of-another"}}, 201),
    ],
)
def test_token_requests_are_checked_against_what_they_name(
    http: Http, account: str, spec: dict[str, Any], code: int
) -> None:
    if http("GET", f"{ACCOUNTS}/other").status == 404:
        http.ok("POST", ACCOUNTS, {"metadata": {"name": "other"}})
        http.ok("POST", PODS, pod("of-another", serviceAccountName="other"))
    assert _request(http, account, **spec).status == code


# Rules ---------------------------------------------------------------------------------------------------------------

_PODS = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}


@pytest.mark.parametrize(
    ("rule", "wanted", "allowed"),
    [
        (_PODS, Attributes("get", "", "pods"), True),
        (_PODS, Attributes("delete", "", "pods"), False),
        (_PODS, Attributes("get", "apps", "pods"), False),
        (_PODS, Attributes("get", "", "pods", "log"), False),
        ({**_PODS, "resources": ["pods/log"]}, Attributes("get", "", "pods", "log"), True),
        ({**_PODS, "resources": ["pods/log"]}, Attributes("get", "", "pods"), False),
        ({**_PODS, "resources": ["*/log"]}, Attributes("get", "", "pods", "log"), True),
        ({**_PODS, "resources": ["*/log"]}, Attributes("get", "", "pods", "exec"), False),
        ({**_PODS, "resources": ["*"]}, Attributes("get", "", "pods", "exec"), True),
        ({**_PODS, "resources": ["pods/*"]}, Attributes("get", "", "pods", "exec"), False),
        ({**_PODS, "apiGroups": ["*"]}, Attributes("get", "any.example.com", "pods"), True),
        ({**_PODS, "verbs": ["*"]}, Attributes("frobnicate", "", "pods"), True),
        ({**_PODS, "resourceNames": ["a"]}, Attributes("get", "", "pods", name="a"), True),
        ({**_PODS, "resourceNames": ["a"]}, Attributes("get", "", "pods", name="b"), False),
        ({**_PODS, "resourceNames": ["a"]}, Attributes("list", "", "pods"), False),
        ({**_PODS, "resourceNames": ["a.*"]}, Attributes("get", "", "pods", name="a.b"), False),
        ({**_PODS, "resourceNames": ["*"]}, Attributes("get", "", "pods", name="a"), False),
        ({"nonResourceURLs": ["/a/*"], "verbs": ["get"]}, Attributes("get", path="/a/b/c"), True),
        ({"nonResourceURLs": ["/a/*"], "verbs": ["get"]}, Attributes("get", path="/a"), False),
        ({"nonResourceURLs": ["/a"], "verbs": ["get"]}, Attributes("get", path="/a/b"), False),
        ({"nonResourceURLs": ["*"], "verbs": ["get"]}, Attributes("get", path="/x"), True),
        (_PODS, Attributes("get", path="/api"), False),
    ],
)
def test_how_a_rule_matches(rule: dict[str, Any], wanted: Attributes, allowed: bool) -> None:
    assert allows(rule, wanted) is allowed


@pytest.mark.parametrize(
    ("owned", "wanted", "lacking"),
    [
        ([_PODS], [_PODS], 0),
        ([_PODS], [{**_PODS, "verbs": ["get", "delete"]}], 1),
        ([_PODS], [{**_PODS, "resources": ["*"]}], 2),
        ([{**_PODS, "resourceNames": ["a"]}], [_PODS], 2),
        ([_PODS], [{**_PODS, "resourceNames": ["a", "b"]}], 0),
        ([{**_PODS, "resources": ["*/log"]}], [{**_PODS, "resources": ["pods/log"]}], 0),
        ([{**_PODS, "resources": ["pods/log"]}], [{**_PODS, "resources": ["*/log"]}], 2),
        ([{**_PODS, "resources": ["pods"]}], [{**_PODS, "resources": ["pods/log"]}], 2),
        ([{"nonResourceURLs": ["/a/*"], "verbs": ["*"]}], [{"nonResourceURLs": ["/a/b", "/b"], "verbs": ["get"]}], 1),
        ([{**_PODS, "verbs": ["get"]}, {**_PODS, "verbs": ["list"]}], [_PODS], 0),
    ],
)
def test_what_would_be_an_escalation(owned: list[dict[str, Any]], wanted: list[dict[str, Any]], lacking: int) -> None:
    assert len(missing(owned, wanted)) == lacking


def test_resource_names_grant_a_list_of_that_name_alone(http: Http, shared_api_server: ApiServer) -> None:
    rule = {
        "apiGroups": [""],
        "resources": ["configmaps"],
        "verbs": ["list", "watch", "create"],
        "resourceNames": ["one"],
    }
    http.ok("POST", f"{RBAC}/namespaces/default/roles", {"metadata": {"name": "one-map"}, "rules": [rule]})
    binding = {
        "metadata": {"name": "one-map"},
        "roleRef": {"kind": "Role", "name": "one-map"},
        "subjects": [{"kind": "User", "name": "one-map"}],
    }
    http.ok("POST", f"{RBAC}/namespaces/default/rolebindings", binding)
    user, path = _as(shared_api_server, "one-map"), "/api/v1/namespaces/default/configmaps"
    assert user("GET", path).status == 403
    assert user("GET", path, query={"fieldSelector": "metadata.name=one"}).status == 200
    assert user("GET", path, query={"fieldSelector": "metadata.name=two"}).status == 403
    assert (
        user("GET", path, query={"fieldSelector": "metadata.name=one", "watch": "1", "timeoutSeconds": "1"}).status
        == 200
    )
    assert user("POST", path, {"metadata": {"name": "one"}}).status == 403, "a name is no reason to create"
