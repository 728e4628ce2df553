"""Who may do what: certificates, tokens, RBAC, escalation, impersonation, reviews."""

import re
import time
from typing import Any

import jwt
import pytest
from apiserver_http import MAPS, MERGE, PODS, Http, config_map, pod
from tools import ApiServer

from tortie.apiserver.pki import issue_client_certificate, load_authority

RBAC = "/apis/rbac.authorization.k8s.io/v1"
ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"


@pytest.fixture(scope="module")
def http(shared_api_server: ApiServer) -> Http:
    return Http(shared_api_server)


def _as(server: ApiServer, user: str, *groups: str) -> Http:
    keys = server.data_dir / "pki"
    pair = issue_client_certificate(load_authority(keys / "ca.crt", keys / "ca.key"), user, groups)
    return Http(server, certificate=(pair.certificate, pair.key))


def _grant(http: Http, user: str, name: str, *rules: dict[str, Any], namespace: str = "default") -> None:
    http.ok("POST", f"{RBAC}/namespaces/{namespace}/roles", {"metadata": {"name": name}, "rules": list(rules)})
    binding = {
        "metadata": {"name": name},
        "roleRef": {"kind": "Role", "name": name},
        "subjects": [{"kind": "User", "name": user}],
    }
    http.ok("POST", f"{RBAC}/namespaces/{namespace}/rolebindings", binding)


def _token(http: Http, account: str = "default", **spec: Any) -> str:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    return str(http.ok("POST", f"{ACCOUNTS}/{account}/token", body)["status"]["token"])


def test_nobody_sees_only_health_and_version(shared_api_server: ApiServer) -> None:
    nobody = Http(shared_api_server, anonymous=True)
    for path in ("/healthz", "/livez", "/readyz", "/version"):
        assert nobody("GET", path).status == 200
    for path in ("/api", "/apis", "/api/v1/pods", "/openapi/v2", "/metrics"):
        refused = nobody("GET", path)
        assert (refused.status, refused.json["reason"]) == (403, "Forbidden"), path
        assert 'User "system:anonymous" cannot' in refused.json["message"]


def test_nobody_may_be_given_rights(http: Http, shared_api_server: ApiServer) -> None:
    nobody = Http(shared_api_server, anonymous=True)
    _grant(http, "system:anonymous", "for-nobody", {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]})
    assert nobody("GET", MAPS).status == 200
    assert nobody("GET", PODS).status == 403


def test_a_bad_token_is_unauthorized(shared_api_server: ApiServer) -> None:
    assert Http(shared_api_server, token="not.a.token")("GET", PODS).status == 401


def test_credentials_and_names_that_are_no_text_are_refused(http: Http, shared_api_server: ApiServer) -> None:
    bytes_ = b"\xff\xfe".decode("latin-1")
    nobody = Http(shared_api_server, anonymous=True)
    assert nobody("GET", MAPS, headers={"Authorization": f"Bearer {bytes_}"}).status == 401
    for header in ("Impersonate-User", "Impersonate-Group", "Impersonate-Uid", "Impersonate-Extra-A"):
        headers = {"Impersonate-User": "jane", header: bytes_}
        assert http("GET", MAPS, headers=headers).status == 400, header


def test_a_program_is_known_by_what_its_name_has_of_text(http: Http) -> None:
    bytes_ = b"\xff\xfe".decode("latin-1")
    for agent, manager in ((f"tool{bytes_}/1", "tool"), (bytes_, "unknown"), ("x" * 200, "x" * 128)):
        made = http.ok(
            "POST", MAPS, {"metadata": {"generateName": "by-"}, "data": {"a": "b"}}, headers={"User-Agent": agent}
        )
        assert made["metadata"]["managedFields"][0]["manager"] == manager
    refused = http("POST", MAPS, {"metadata": {"generateName": "by-"}}, query={"fieldManager": "a\nb"})
    assert (refused.status, refused.json["details"]["causes"][0]["field"]) == (422, "fieldManager")


def test_a_certificate_names_user_and_groups(shared_api_server: ApiServer) -> None:
    review = _as(shared_api_server, "jane", "devs", "ops")(
        "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {"kind": "SelfSubjectReview"}
    ).json
    info = review["status"]["userInfo"]
    assert (info["username"], info["groups"]) == ("jane", ["devs", "ops", "system:authenticated"])
    (credential,) = info["extra"]["authentication.kubernetes.io/credential-id"]
    assert re.fullmatch("X509SHA256=[0-9a-f]{64}", credential)


def test_a_refusal_names_user_verb_resource_group_and_scope(shared_api_server: ApiServer) -> None:
    jane = _as(shared_api_server, "jane-refused")
    refused = jane("GET", "/apis/apps/v1/namespaces/default/deployments").json
    assert refused["message"] == (
        'deployments.apps is forbidden: User "jane-refused" cannot list resource "deployments" in API group "apps" in '
        'the namespace "default"'
    )
    refused = jane("DELETE", "/api/v1/nodes/n1").json
    assert refused["message"] == (
        'nodes "n1" is forbidden: User "jane-refused" cannot delete resource "nodes" in API group "" at the cluster '
        "scope"
    )
    assert jane("GET", "/metrics").json["message"] == 'forbidden: User "jane-refused" cannot get path "/metrics"'


def test_roles_hold_in_their_namespace_and_for_their_names(http: Http, shared_api_server: ApiServer) -> None:
    rule = {
        "apiGroups": [""],
        "resources": ["configmaps"],
        "resourceNames": ["mine"],
        "verbs": ["get", "create", "list"],
    }
    _grant(http, "names", "names", rule)
    names = _as(shared_api_server, "names")
    http.ok("POST", MAPS, config_map("mine"))
    assert names("GET", f"{MAPS}/mine").status == 200
    assert names("GET", f"{MAPS}/other").status == 403
    assert names("POST", MAPS, config_map("mine")).status == 403, "names never grant create"
    assert names("GET", MAPS).status == 403
    assert names("GET", MAPS, query={"fieldSelector": "metadata.name=mine"}).status == 200
    assert names("GET", "/api/v1/namespaces/kube-system/configmaps/mine").status == 403


def test_subresources_are_rights_of_their_own(http: Http, shared_api_server: ApiServer) -> None:
    _grant(http, "status-only", "status-only", {"apiGroups": [""], "resources": ["pods/status"], "verbs": ["patch"]})
    http.ok("POST", PODS, pod("st"))
    user = _as(shared_api_server, "status-only")
    assert user("PATCH", f"{PODS}/st/status", {"status": {"message": "x"}}, content=MERGE).status == 200
    assert user("PATCH", f"{PODS}/st", {"metadata": {"labels": {"a": "b"}}}, content=MERGE).status == 403


def test_nobody_grants_more_than_they_have(http: Http, shared_api_server: ApiServer) -> None:
    roles = {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"], "verbs": ["create"]}
    _grant(http, "climber", "climber", roles, {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]})
    climber = _as(shared_api_server, "climber")
    path = f"{RBAC}/namespaces/default/roles"
    fine = {"metadata": {"name": "fine"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}
    assert climber("POST", path, fine).status == 201
    more = {"metadata": {"name": "more"}, "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]}
    refused = climber("POST", path, more)
    assert refused.status == 403
    assert "is attempting to grant RBAC permissions not currently held" in refused.json["message"]
    assert '{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}' in refused.json["message"]
    binding = {
        "metadata": {"name": "up"},
        "roleRef": {"kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "User", "name": "climber"}],
    }
    assert climber("POST", f"{RBAC}/namespaces/default/rolebindings", binding).status == 403


def test_cluster_roles_are_gathered_by_label(http: Http) -> None:
    rule = {"apiGroups": ["example.com"], "resources": ["widgets"], "verbs": ["get"]}
    labels = {"rbac.authorization.k8s.io/aggregate-to-view": "true"}
    http.ok("POST", f"{RBAC}/clusterroles", {"metadata": {"name": "widgets", "labels": labels}, "rules": [rule]})
    for name in ("view", "edit", "admin"):
        assert rule in http.ok("GET", f"{RBAC}/clusterroles/{name}")["rules"], name
    http.ok("DELETE", f"{RBAC}/clusterroles/widgets")


def test_roles_that_gather_one_another_do_no_harm(http: Http) -> None:
    def role(name: str, chooses: str, *rules: dict[str, Any]) -> dict[str, Any]:
        chosen = {"clusterRoleSelectors": [{"matchLabels": {"circle": chooses}}]}
        return {"metadata": {"name": name, "labels": {"circle": name}}, "aggregationRule": chosen, "rules": list(rules)}

    rule = {"apiGroups": ["example.com"], "resources": ["circles"], "verbs": ["get"]}
    leaf = {"metadata": {"name": "leaf", "labels": {"circle": "left"}}, "rules": [rule]}
    for body in (role("left", "right"), role("right", "left"), leaf):
        http.ok("POST", f"{RBAC}/clusterroles", body)
    assert http.ok("GET", f"{RBAC}/clusterroles/right")["rules"] == [rule]
    for name in ("left", "right", "leaf"):
        http.ok("DELETE", f"{RBAC}/clusterroles/{name}")


def test_a_binding_cannot_change_its_role(http: Http) -> None:
    path = f"{RBAC}/clusterrolebindings/cluster-admin"
    refused = http("PATCH", path, {"roleRef": {"name": "view"}}, content=MERGE)
    assert refused.status == 422
    assert "cannot change roleRef" in refused.json["message"]


def test_a_token_is_its_account_with_its_groups(http: Http, shared_api_server: ApiServer) -> None:
    robot = Http(shared_api_server, token=_token(http))
    review = robot.ok("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {})
    info = review["status"]["userInfo"]
    assert info["username"] == "system:serviceaccount:default:default"
    assert info["groups"] == ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"]
    assert robot("GET", PODS).status == 403


def test_a_token_dies_with_its_account_and_with_its_pod(http: Http, shared_api_server: ApiServer) -> None:
    http.ok("POST", ACCOUNTS, {"metadata": {"name": "mortal"}})
    alone = Http(shared_api_server, token=_token(http, "mortal"))
    made = http.ok("POST", PODS, pod("mortal", serviceAccountName="mortal"))
    reference = {"kind": "Pod", "apiVersion": "v1", "name": "mortal", "uid": made["metadata"]["uid"]}
    bound = Http(shared_api_server, token=_token(http, "mortal", boundObjectRef=reference))
    who = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    extra = bound.ok("POST", who, {})["status"]["userInfo"]["extra"]
    assert extra["authentication.kubernetes.io/pod-name"] == ["mortal"]
    http.ok("DELETE", f"{PODS}/mortal")
    assert bound("POST", who, {}).status == 401
    assert alone("POST", who, {}).status == 201
    http.ok("DELETE", f"{ACCOUNTS}/mortal")
    assert alone("POST", who, {}).status == 401
    http.ok("POST", ACCOUNTS, {"metadata": {"name": "mortal"}})
    assert alone("POST", who, {}).status == 401, "an account of the same name is another account"


def test_token_requests_are_checked(http: Http) -> None:
    path = f"{ACCOUNTS}/default/token"
    assert http("POST", path, {"spec": {"expirationSeconds": 60}}).status == 422
    assert http("POST", f"{ACCOUNTS}/nobody/token", {"spec": {}}).status == 404
    status = http.ok("POST", path, {"spec": {"expirationSeconds": 600}})["status"]
    assert status["expirationTimestamp"] > time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 500))


def test_token_review_tells_audiences_apart(http: Http) -> None:
    token = _token(http, audiences=["vault"])
    path = "/apis/authentication.k8s.io/v1/tokenreviews"
    good = http.ok("POST", path, {"spec": {"token": token, "audiences": ["vault", "x"]}})["status"]
    assert (good["authenticated"], good["audiences"]) == (True, ["vault"])
    bad = http.ok("POST", path, {"spec": {"token": token}})["status"]
    assert not bad.get("authenticated")
    assert bad["error"]


def test_a_token_bound_to_a_node_dies_with_it(http: Http, shared_api_server: ApiServer) -> None:
    node = http.ok("POST", "/api/v1/nodes", {"metadata": {"name": "bound-to"}})
    token = _token(http, boundObjectRef={"kind": "Node", "apiVersion": "v1", "name": "bound-to"})
    bound = Http(shared_api_server, token=token)
    who = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    info = bound.ok("POST", who, {})["status"]["userInfo"]
    assert info["extra"]["authentication.kubernetes.io/node-uid"] == [node["metadata"]["uid"]]
    http.ok("DELETE", "/api/v1/nodes/bound-to")
    assert bound("POST", who, {}).status == 401
    http.ok("POST", "/api/v1/nodes", {"metadata": {"name": "bound-to"}})
    assert bound("POST", who, {}).status == 401, "a node of the same name is another node"


def test_what_is_being_deleted_keeps_its_token_for_a_while(http: Http, shared_api_server: ApiServer) -> None:
    made = pod("leaving-with-token", serviceAccountName="default", nodeName="somewhere")
    http.ok("POST", PODS, made)
    bound = Http(
        shared_api_server,
        token=_token(http, boundObjectRef={"kind": "Pod", "apiVersion": "v1", "name": "leaving-with-token"}),
    )
    http.ok("DELETE", f"{PODS}/leaving-with-token")
    assert "deletionTimestamp" in http.ok("GET", f"{PODS}/leaving-with-token")["metadata"]
    who = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    assert bound("POST", who, {}).status == 201, "its grace period runs"
    http.ok("DELETE", f"{PODS}/leaving-with-token", query={"gracePeriodSeconds": "0"})
    assert bound("POST", who, {}).status == 401


def test_others_can_verify_tokens_with_the_published_keys(http: Http, shared_api_server: ApiServer) -> None:
    document = http.ok("GET", "/.well-known/openid-configuration")
    assert document["issuer"] == "https://kubernetes.default.svc.cluster.local"
    place = document["jwks_uri"]
    assert place == f"https://127.0.0.1:{shared_api_server.port}/openid/v1/jwks"
    answer = http("GET", "/openid/v1/jwks")
    assert answer.headers["Content-Type"] == "application/jwk-set+json"
    key = answer.json["keys"][0]
    assert (key["alg"], key["use"], key["kty"]) == ("ES256", "sig", "EC")
    token = _token(http, audiences=["vault"], expirationSeconds=900)
    verifier = jwt.PyJWKClient(place, headers={"Authorization": f"Bearer {_token(http)}"}, ssl_context=http.tls)
    signing = verifier.get_signing_key_from_jwt(token)
    claims = jwt.decode(token, signing.key, algorithms=["ES256"], audience="vault", issuer=document["issuer"])
    assert claims["sub"] == "system:serviceaccount:default:default"
    assert claims["exp"] - claims["iat"] == 900
    assert claims["kubernetes.io"]["serviceaccount"]["name"] == "default"
    with pytest.raises(jwt.InvalidAudienceError):
        jwt.decode(token, signing.key, algorithms=["ES256"], audience="somebody else")


def test_an_old_style_token_secret_is_filled(http: Http, shared_api_server: ApiServer) -> None:
    secret = {
        "metadata": {"name": "old", "annotations": {"kubernetes.io/service-account.name": "default"}},
        "type": "kubernetes.io/service-account-token",
    }
    data = http.ok("POST", "/api/v1/namespaces/default/secrets", secret)["data"]
    assert set(data) == {"token", "ca.crt", "namespace"}


def test_impersonation_needs_the_right_to_it(http: Http, shared_api_server: ApiServer) -> None:
    who = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    headers = {"Impersonate-User": "bob", "Impersonate-Group": "devs"}
    info = http.ok("POST", who, {}, headers=headers)["status"]["userInfo"]
    assert (info["username"], info["groups"]) == ("bob", ["devs", "system:authenticated"])
    account = http.ok("POST", who, {}, headers={"Impersonate-User": "system:serviceaccount:default:x"})
    assert "system:serviceaccounts:default" in account["status"]["userInfo"]["groups"]
    extra = {"Impersonate-User": "bob", "Impersonate-Extra-Example.com%2FScope": "a", "Impersonate-Uid": "7"}
    info = http.ok("POST", who, {}, headers=extra)["status"]["userInfo"]
    assert (info["uid"], info["extra"]) == ("7", {"example.com/scope": ["a"]})
    refused = _as(shared_api_server, "plain")("POST", who, {}, headers=headers)
    assert refused.status == 403
    assert 'cannot impersonate resource "users"' in refused.json["message"]


def test_access_reviews_answer_for_a_user(http: Http) -> None:
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    attributes = {"verb": "list", "resource": "nodes"}
    allowed = http.ok(
        "POST", path, {"spec": {"user": "n", "groups": ["system:nodes"], "resourceAttributes": attributes}}
    )
    assert allowed["status"]["allowed"] is True
    denied = http.ok("POST", path, {"spec": {"user": "someone", "resourceAttributes": attributes}})
    assert denied["status"]["allowed"] is False
    assert http("POST", path, {"spec": {"user": "x"}}).status == 422


def test_private_keys_are_for_their_owner_only(shared_api_server: ApiServer) -> None:
    files = [*(shared_api_server.data_dir / "pki").glob("*.key"), shared_api_server.kubeconfig]
    files.append(shared_api_server.data_dir / "store.db")
    assert {oct(f.stat().st_mode & 0o777) for f in files} == {"0o600"}


V3 = "/apis/projectcalico.org/v3"


def _cluster_grant(http: Http, user: str, *rules: dict[str, Any]) -> None:
    name = f"tier-{user}"
    http.ok("POST", f"{RBAC}/clusterroles", {"metadata": {"name": name}, "rules": list(rules)})
    binding = {
        "metadata": {"name": name},
        "roleRef": {"kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "User", "name": user}],
    }
    http.ok("POST", f"{RBAC}/clusterrolebindings", binding)


def test_policies_are_written_by_who_has_the_tier(http: Http, shared_api_server: ApiServer) -> None:
    group = {"apiGroups": ["projectcalico.org"]}
    plain = {**group, "resources": ["globalnetworkpolicies"], "verbs": ["*"]}
    get_tier = {**group, "resources": ["tiers"], "resourceNames": ["default"], "verbs": ["get"]}
    in_tier = {**group, "resources": ["tier.globalnetworkpolicies"], "resourceNames": ["default.*"], "verbs": ["*"]}
    _cluster_grant(http, "plain-only", plain)
    _cluster_grant(http, "no-tier", plain, in_tier)
    _cluster_grant(http, "tiered", plain, get_tier, in_tier)
    http.ok("POST", f"{V3}/tiers", {"metadata": {"name": "other"}, "spec": {"order": 7}})

    def policy(tier: str) -> dict[str, Any]:
        return {"metadata": {"name": "p"}, "spec": {"tier": tier, "selector": "all()"}}

    path = f"{V3}/globalnetworkpolicies"
    refused = _as(shared_api_server, "plain-only")("POST", path, policy("default"))
    assert refused.status == 403
    assert refused.json["message"] == (
        'globalnetworkpolicies.projectcalico.org "p" is forbidden: User "plain-only" cannot create '
        'globalnetworkpolicies.projectcalico.org in tier "default" (user cannot get tier)'
    )
    assert (
        "(user cannot get tier)" in _as(shared_api_server, "no-tier")("POST", path, policy("default")).json["message"]
    )
    tiered = _as(shared_api_server, "tiered")
    assert tiered("POST", path, policy("default")).status == 201
    moved = tiered("PATCH", f"{path}/p", {"spec": {"tier": "other"}}, content=MERGE)
    assert moved.status == 403, "moving a policy needs both tiers"
    assert tiered("DELETE", f"{path}/missing").status == 404
    assert tiered("DELETE", f"{path}/p").status == 200
