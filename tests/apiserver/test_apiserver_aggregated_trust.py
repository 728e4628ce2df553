"""Whom the aggregated server believes, whom it asks, and what it does when nobody answers.

Both servers are real; requests go straight to the aggregated one, with certificates of the front's authorities.
"""

import time
from pathlib import Path
from typing import Any

import pytest
from aggregated_world import V1, V3, World, grant, install_definitions, policy, start_aggregated, tier, until
from apiserver_http import Http
from tools import start_api_server

TIERS = f"{V3}/tiers"
MASTER = {"X-Remote-User": "root", "X-Remote-Group": "system:masters"}
REVIEW = f"{V3}/authenticationreviews"


@pytest.fixture(scope="module")
def reader(aggregated: World) -> str:
    """A user who may list tiers and ask who he is."""
    rules = [
        {"apiGroups": ["projectcalico.org"], "resources": ["tiers"], "verbs": ["get", "list"]},
        {"apiGroups": ["projectcalico.org"], "resources": ["authenticationreviews"], "verbs": ["create"]},
    ]
    grant(aggregated.admin, "trusted-reader", *rules)
    return "trusted-reader"


def who(http: Http, **headers: str) -> Any:
    sent = {key.replace("_", "-"): value for key, value in headers.items()}
    return http.ok("POST", REVIEW, {"metadata": {}, "spec": {}}, headers=sent)["status"]


def test_a_front_proxy_says_who_asks(aggregated: World, reader: str) -> None:
    headers = {"X-Remote-Uid": "u-1", "X-Remote-Extra-Example.com%2fScope": "a b"}
    status = who(aggregated.straight(), X_Remote_User=reader, X_Remote_Group="dev", **headers)
    assert status["name"] == reader
    assert set(status["groups"]) == {"dev", "system:authenticated"}
    assert status["uid"] == "u-1"
    assert status["extra"] == {"example.com/scope": ["a b"]}
    assert aggregated.straight()("GET", TIERS, headers=MASTER).status == 200


def test_the_api_server_in_front_passes_its_users_on(aggregated: World, reader: str) -> None:
    assert who(aggregated.as_user(reader, "ops"))["groups"] == ["ops", "system:authenticated"]


def test_headers_from_anybody_else_mean_nothing(aggregated: World, reader: str) -> None:
    by_certificate = aggregated.straight(reader, authority="ca")
    assert who(by_certificate, X_Remote_User="root", X_Remote_Group="system:masters")["name"] == reader
    assert by_certificate("DELETE", f"{TIERS}/default", headers=MASTER).status == 403
    assert aggregated.straight("front-proxy-client", authority="ca")("GET", TIERS, headers=MASTER).status == 403
    assert aggregated.straight("somebody-else")("GET", TIERS, headers=MASTER).status == 401
    assert aggregated.nobody()("GET", TIERS, headers=MASTER).status == 403


def test_tokens_are_reviewed_by_the_api_server_behind(aggregated: World) -> None:
    http = aggregated.admin
    http.ok("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "asker"}})
    request = {"spec": {"expirationSeconds": 600}}
    where = "/api/v1/namespaces/default/serviceaccounts/asker/token"
    token = http.ok("POST", where, request)["status"]["token"]
    with_token = Http(aggregated.aggregated, token=token)
    assert with_token("GET", TIERS).status == 403
    assert "system:serviceaccount:default:asker" in with_token("GET", TIERS).json["message"]
    assert Http(aggregated.aggregated, token=token[:-6] + "forged")("GET", TIERS).status == 401
    assert Http(aggregated.aggregated, token="x" * 30)("GET", TIERS).status == 401


def test_nobody_may_look_whether_the_server_is_alive_and_no_more(aggregated: World) -> None:
    nobody = aggregated.nobody()
    assert [nobody("GET", path).status for path in ("/healthz", "/livez", "/readyz")] == [200, 200, 200]
    refused = nobody("GET", TIERS)
    assert (refused.status, refused.json["reason"]) == (403, "Forbidden")
    assert 'User "system:anonymous" cannot list resource "tiers"' in refused.json["message"]
    assert nobody("GET", "/metrics").status == 403


def test_impersonation_is_for_the_server_in_front(aggregated: World, reader: str) -> None:
    straight = aggregated.straight(reader, authority="ca")
    assert straight("GET", TIERS, headers={"Impersonate-User": "root"}).status == 403
    admin = aggregated.admin
    status = who(admin, Impersonate_User=reader, Impersonate_Group="night")
    assert (status["name"], "night" in status["groups"]) == (reader, True)


def test_rights_count_within_ten_seconds_of_their_change(aggregated: World) -> None:
    user = aggregated.as_user("late")
    assert user("GET", TIERS).status == 403
    grant(aggregated.admin, "late", {"apiGroups": ["projectcalico.org"], "resources": ["tiers"], "verbs": ["list"]})
    until(lambda: user("GET", TIERS).status == 200, 12, "the answer was forgotten")


def test_a_change_of_trust_ends_the_process_and_a_touch_does_not(tmp_path: Path) -> None:
    where = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
    merge = "application/merge-patch+json"
    data = tmp_path / "front"
    data.mkdir()
    front = start_api_server(data, args=("--api-mode", "aggregated"))
    try:
        http = Http(front)
        server = start_aggregated(front, tmp_path, ready=False)
        try:
            until(lambda: "serving" in (tmp_path / "calico-apiserver.log").read_text(), 20, "it serves")
            http.ok("PATCH", where, {"metadata": {"annotations": {"touched": "yes"}}}, content=merge)
            assert Http(server)("GET", "/livez").status == 200
            other = {"data": {"requestheader-group-headers": '["X-Remote-Group","X-Other-Group"]'}}
            http.ok("PATCH", where, other, content=merge)
            assert server.process.wait(15) == 1
            text = (tmp_path / "calico-apiserver.log").read_text()
            assert text.count("extension-apiserver-authentication has changed") == 1
        finally:
            server.stop()
    finally:
        front.stop()


def test_without_its_api_server_requests_fail_at_once_and_go_on_when_it_is_back(tmp_path: Path) -> None:
    data = tmp_path / "front"
    data.mkdir()
    front = start_api_server(data, args=("--api-mode", "aggregated"))
    try:
        server = start_aggregated(front, tmp_path, ready=False)
        try:
            until(lambda: "serving" in (tmp_path / "calico-apiserver.log").read_text(), 20, "it serves")
            http = Http(server)
            began = time.monotonic()
            early = http("GET", TIERS)
            assert (early.status, early.json["reason"]) == (503, "ServiceUnavailable")
            assert "CustomResourceDefinition" in early.json["message"]
            assert http("POST", TIERS, tier("early")).status == 503
            assert time.monotonic() - began < 12
            install_definitions(Http(front))
            until(lambda: http("GET", f"{TIERS}/default").status == 200, 20, "the definitions are noticed")
            front.kill()
            began = time.monotonic()
            for method, path, body in (
                ("GET", f"{TIERS}/default", None),
                ("GET", TIERS, None),
                ("POST", f"{V3}/namespaces/default/networkpolicies", policy("p")),
                ("DELETE", f"{TIERS}/other", None),
            ):
                answer = http(method, path, body)
                assert answer.status in {503, 504}, answer.data
                assert answer.json["kind"] == "Status"
            assert time.monotonic() - began < 15
            front = start_api_server(data, port=front.port, args=("--api-mode", "aggregated"))
            until(lambda: http("GET", f"{TIERS}/default").status == 200, 20, "it goes on")
            http.ok("POST", TIERS, tier("later"))
            assert Http(front).ok("GET", f"{V1}/tiers/later")["spec"]["order"] == 50
        finally:
            server.stop()
    finally:
        front.stop()
