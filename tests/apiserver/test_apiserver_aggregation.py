"""APIServices: what is served here, what is passed on to another server and as whom, and what a sick server breaks.

The other server is a real one with TLS and front-proxy trust, `aggregated_backend`.
"""

import base64
import gzip
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aggregated_backend import GROUP, ROOT, VERSION, Backend, backend_for
from apiserver_http import MERGE, Http
from tools import ApiServer, api_server_in

from tortie.apiserver import requestheader
from tortie.apiserver.context import User
from tortie.apiserver.pki import issue_client_certificate, load_authority

SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
NAME = f"{VERSION}.{GROUP}"
READINGS = f"{ROOT}/namespaces/default/readings"
_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


@pytest.fixture(scope="module")
def http(shared_api_server: ApiServer) -> Http:
    return Http(shared_api_server)


@pytest.fixture(scope="module")
def backend(shared_api_server: ApiServer, http: Http, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """The other server, registered and healthy."""
    with backend_for(shared_api_server.data_dir / "pki", tmp_path_factory.mktemp("backend")) as running:
        _service(http, running.port)
        http.ok("POST", SERVICES, _api_service(running))
        _wait(http, "Passed")
        yield running


def _service(http: Http, port: int, name: str = "readings") -> None:
    spec = {"ports": [{"name": "https", "port": 443, "targetPort": port}]}
    http.ok("POST", "/api/v1/namespaces/default/services", {"metadata": {"name": name}, "spec": spec})
    subsets = [{"addresses": [{"ip": "127.0.0.1"}], "ports": [{"name": "https", "port": port}]}]
    http.ok("POST", "/api/v1/namespaces/default/endpoints", {"metadata": {"name": name}, "subsets": subsets})


def _api_service(backend: Backend, group: str = GROUP, service: str = "readings", **spec: Any) -> dict[str, Any]:
    trust = {} if spec.get("insecureSkipTLSVerify") else {"caBundle": base64.b64encode(backend.ca).decode()}
    return {
        "metadata": {"name": f"{VERSION}.{group}"},
        "spec": {
            "group": group,
            "version": VERSION,
            "groupPriorityMinimum": 1500,
            "versionPriority": 200,
            "service": {"namespace": "default", "name": service},
            **trust,
            **spec,
        },
    }


def _condition(http: Http, name: str = NAME) -> dict[str, Any]:
    conditions = http.ok("GET", f"{SERVICES}/{name}").get("status", {}).get("conditions", [])
    return next((c for c in conditions if c["type"] == "Available"), {})


def _wait(http: Http, reason: str, name: str = NAME) -> dict[str, Any]:
    _until(lambda: _condition(http, name).get("reason") == reason, f"{name} {reason}")
    return _condition(http, name)


def _until(true: Callable[[], bool], what: str, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"never true: {what}"
        time.sleep(0.05)


def _as(server: ApiServer, user: str, *groups: str) -> Http:
    keys = server.data_dir / "pki"
    pair = issue_client_certificate(load_authority(keys / "ca.crt", keys / "ca.key"), user, groups)
    return Http(server, certificate=(pair.certificate, pair.key))


# What is served here -------------------------------------------------------------------------------------------------


def test_every_group_version_of_the_server_is_a_local_api_service(http: Http) -> None:
    items = {i["metadata"]["name"]: i for i in http.ok("GET", SERVICES)["items"]}
    for name in ("v1.", "v1.apps", "v3.projectcalico.org"):
        assert items[name]["status"]["conditions"][0]["reason"] == "Local", name
        assert items[name]["metadata"]["labels"] == {"kube-aggregator.kubernetes.io/automanaged": "onstart"}
    assert "v1.apiregistration.k8s.io" not in items, "the registrar itself is nobody's to give away"
    assert items["v1.apps"]["spec"]["groupPriorityMinimum"] == 17800


def test_a_built_in_group_cannot_be_given_away(http: Http, backend: Backend) -> None:
    service = {"spec": {"service": {"namespace": "default", "name": "readings"}, "insecureSkipTLSVerify": True}}
    http.ok("PATCH", f"{SERVICES}/v1.apps", service, content=MERGE)
    assert http.ok("GET", "/apis/apps/v1/deployments")["kind"] == "DeploymentList"
    _until(lambda: "service" not in http.ok("GET", f"{SERVICES}/v1.apps")["spec"], "v1.apps is put back")
    http.ok("DELETE", f"{SERVICES}/v1.apps")
    _until(lambda: http("GET", f"{SERVICES}/v1.apps").status == 200, "v1.apps is made again")


def test_a_definition_brings_its_api_service_and_takes_it_away(http: Http) -> None:
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    definition = {
        "metadata": {"name": "parcels.post.example.com"},
        "spec": {
            "group": "post.example.com",
            "scope": "Namespaced",
            "names": {"plural": "parcels", "kind": "Parcel"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    http.ok("POST", path, definition)
    place = f"{SERVICES}/v1.post.example.com"
    _until(lambda: http("GET", place).status == 200, "the APIService is there")
    made = http.ok("GET", place)
    assert made["metadata"]["labels"]["kube-aggregator.kubernetes.io/automanaged"] == "true"
    assert (made["spec"]["groupPriorityMinimum"], made["spec"]["versionPriority"]) == (1000, 100)
    http.ok("DELETE", f"{path}/parcels.post.example.com")
    _until(lambda: http("GET", place).status == 404, "the APIService is gone")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"groupPriorityMinimum": 0}, "spec.groupPriorityMinimum"),
        ({"groupPriorityMinimum": 20001}, "spec.groupPriorityMinimum"),
        ({"versionPriority": 1001}, "spec.versionPriority"),
        ({"version": "V1"}, "spec.version"),
        ({"group": "other.example.com"}, "metadata.name"),
        ({"service": {"name": "x"}}, "spec.service.namespace"),
        ({"service": {"namespace": "x"}}, "spec.service.name"),
        ({"service": {"namespace": "x", "name": "x", "port": 70000}}, "spec.service.port"),
        ({"insecureSkipTLSVerify": True, "caBundle": "eA=="}, "spec.insecureSkipTLSVerify"),
        ({"caBundle": base64.b64encode(b"no certificate").decode()}, "spec.caBundle"),
        ({"service": None, "insecureSkipTLSVerify": True}, "spec.insecureSkipTLSVerify"),
    ],
)
def test_what_an_api_service_must_keep_to(http: Http, change: dict[str, Any], field: str) -> None:
    tree = _api_service(Backend(), "strict.example.com", insecureSkipTLSVerify=True)
    tree["spec"]["insecureSkipTLSVerify"] = False
    tree["spec"].update(change)
    refused = http("POST", SERVICES, tree)
    assert refused.status == 422, refused.data
    assert field in {c["field"] for c in refused.json["details"]["causes"]}


def test_extension_servers_find_whom_to_trust(http: Http, shared_api_server: ApiServer) -> None:
    data = http.ok("GET", "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication")["data"]
    keys = shared_api_server.data_dir / "pki"
    assert data["client-ca-file"] == (keys / "ca.crt").read_text()
    assert data["requestheader-client-ca-file"] == (keys / "front-proxy-ca.crt").read_text()
    assert data["requestheader-client-ca-file"] != data["client-ca-file"]
    lists = {k: json.loads(v) for k, v in data.items() if k.endswith(("names", "headers", "prefix"))}
    assert lists == {
        "requestheader-allowed-names": ["front-proxy-client"],
        "requestheader-username-headers": ["X-Remote-User"],
        "requestheader-group-headers": ["X-Remote-Group"],
        "requestheader-uid-headers": ["X-Remote-Uid"],
        "requestheader-extra-headers-prefix": ["X-Remote-Extra-"],
    }


# What is passed on ---------------------------------------------------------------------------------------------------


def test_requests_go_to_the_other_server_with_the_front_proxys_certificate(http: Http, backend: Backend) -> None:
    answer = http("GET", READINGS, query={"labelSelector": "a=b,c", "limit": "7"})
    assert [i["value"] for i in answer.json["items"]] == [0, 1, 2]
    assert answer.headers["Warning"] == '299 - "from the backend"'
    sent = backend.last(READINGS)
    assert sent["Test-Peer"] == "front-proxy-client"
    assert sent["Host"] == "readings.default.svc:443"


def test_the_other_server_learns_who_asks_and_nothing_of_what_the_client_claims(
    http: Http, backend: Backend, shared_api_server: ApiServer
) -> None:
    _allow(http, "reader-of-readings", "jane", "system:serviceaccount:default:default")
    lies = {
        "X-Remote-User": "admin",
        "X-Remote-Group": "system:masters",
        "x-remote-extra-scopes": "all",
        "X_Remote_User": "admin",
        "X-Remote-Uid": "1",
        "X-Forwarded-For": "192.0.2.1",
    }
    jane = _as(shared_api_server, "jane", "devs", "ops")
    assert jane("GET", READINGS, headers=lies).status == 200
    sent = backend.last(READINGS)
    assert sent.getall("X-Remote-User") == ["jane"]
    assert sent.getall("X-Remote-Group") == ["devs", "ops", "system:authenticated"]
    assert not [k for k in sent if k.lower() in {"x-remote-extra-scopes", "x-remote-uid"}]
    assert "X_Remote_User" not in sent, "some servers take it for X-Remote-User"
    assert sent["X-Forwarded-For"] == "192.0.2.1, 127.0.0.1"
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    path = "/api/v1/namespaces/default/serviceaccounts/default"
    token = http.ok("POST", f"{path}/token", body)["status"]["token"]
    assert Http(shared_api_server, token=token)("GET", READINGS).status == 200
    sent = backend.last(READINGS)
    assert "Authorization" not in sent, "the token stays here"
    assert sent["X-Remote-Uid"] == http.ok("GET", path)["metadata"]["uid"]
    assert sent["X-Remote-Extra-authentication.kubernetes.io%2Fcredential-id"].startswith("JTI=")


def test_who_acts_as_another_arrives_as_the_other(http: Http, backend: Backend) -> None:
    headers = {"Impersonate-User": "jane", "Impersonate-Group": "devs", "Impersonate-Extra-Scopes": "some"}
    assert http("GET", READINGS, headers=headers).status in {200, 403}
    _allow(http, "reader-for-impersonated", "jane")
    assert http("GET", READINGS, headers=headers).status == 200
    sent = backend.last(READINGS)
    assert sent["X-Remote-User"] == "jane"
    assert sent["X-Remote-Extra-scopes"] == "some"
    assert not [k for k in sent if k.lower().startswith("impersonate-")]


def test_keys_of_extra_are_escaped_in_header_names() -> None:
    user = User("u", ("g",), "7", {"a/b c%": ("1", "2"), "ä": ("3",)})
    assert requestheader.headers(user) == [
        ("X-Remote-User", "u"),
        ("X-Remote-Uid", "7"),
        ("X-Remote-Group", "g"),
        ("X-Remote-Extra-a%2Fb%20c%25", "1"),
        ("X-Remote-Extra-a%2Fb%20c%25", "2"),
        ("X-Remote-Extra-%C3%A4", "3"),
    ]


def _allow(http: Http, name: str, *users: str) -> None:
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    rule = {"apiGroups": [GROUP], "resources": ["readings"], "verbs": ["get", "list"]}
    http.ok("POST", f"{rbac}/clusterroles", {"metadata": {"name": name}, "rules": [rule]})
    binding = {
        "metadata": {"name": name},
        "roleRef": {"kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "User", "name": user} for user in users],
    }
    http.ok("POST", f"{rbac}/clusterrolebindings", binding)


def test_rbac_is_asked_before_anything_is_passed_on(http: Http, backend: Backend, shared_api_server: ApiServer) -> None:
    before = len(backend.seen)
    refused = _as(shared_api_server, "nobody-special")("GET", READINGS)
    assert refused.status == 403
    assert Http(shared_api_server, anonymous=True)("GET", READINGS).status == 403
    assert not [s for s in backend.seen[before:] if s[1] == READINGS]


@pytest.mark.parametrize("way", ["..", "%2e%2e", "%2E%2e/%2e%2e/readings", "./r", "", "a%2F..%2Fb", "//r"])
def test_paths_that_servers_might_read_differently_are_not_passed_on(http: Http, backend: Backend, way: str) -> None:
    before = len(backend.seen)
    assert http("GET", f"{READINGS}/{way}/status").status == 404
    assert not [s for s in backend.seen[before:] if "readings" in s[1]]


def test_a_url_with_a_host_in_it_goes_where_the_api_service_says(
    http: Http, backend: Backend, shared_api_server: ApiServer
) -> None:
    assert http("GET", f"https://192.0.2.1:9{READINGS}").status == 200
    assert backend.last(READINGS)["Host"] == "readings.default.svc:443"


def test_an_upgrade_cannot_make_the_other_server_drop_who_asks(http: Http, backend: Backend) -> None:
    headers = {"Connection": "Upgrade, X-Remote-User", "Upgrade": "something"}
    assert http("GET", READINGS, headers=headers).status == 200
    sent = backend.last(READINGS)
    assert (sent["Connection"], sent["X-Remote-User"]) == ("Upgrade", "kubernetes-admin")


def test_a_watch_that_never_answers_ends_with_its_client(http: Http, backend: Backend) -> None:
    before = backend.closed_watches
    with pytest.raises(TimeoutError):
        http("GET", READINGS, query={"watch": "1", "silent": "1"}, timeout=1)
    _until(lambda: backend.closed_watches > before, "the backend's side of the silent watch has ended")


def test_a_watch_arrives_line_by_line_and_ends_with_its_client(http: Http, backend: Backend) -> None:
    before = backend.closed_watches
    with http.watch(READINGS) as events:
        assert [next(events)["object"]["metadata"]["name"] for _ in range(2)] == ["r0", "r1"]
        assert backend.closed_watches == before
    _until(lambda: backend.closed_watches > before, "the backend's side of the watch has ended")


def test_large_bodies_are_passed_on_whole(http: Http, backend: Backend) -> None:
    body = b'{"x": "' + b"a" * (20 << 20) + b'"}'
    answer = http("POST", READINGS, body)
    assert (answer.status, answer.json["length"]) == (201, len(body))


def test_compressed_bodies_arrive_as_what_they_are(http: Http, backend: Backend) -> None:
    body = b'{"x": "' + b"a" * 100_000 + b'"}'
    answer = http("POST", READINGS, gzip.compress(body), headers={"Content-Encoding": "gzip"})
    assert (answer.status, answer.json["length"]) == (201, len(body))
    assert "Content-Encoding" not in backend.last(READINGS)
    connection = http._connect(10)
    connection.request("POST", READINGS, iter([b"12", b"3"]), {"Transfer-Encoding": "chunked"}, encode_chunked=True)
    assert json.loads(connection.getresponse().read())["length"] == 3
    connection.close()
    broken = http("POST", READINGS, b"no gzip", headers={"Content-Encoding": "gzip"})
    assert broken.status == 400, broken.data


def test_headers_that_are_no_text_are_refused_before_anything_is_passed_on(http: Http, backend: Backend) -> None:
    before = len(backend.seen)
    bytes_ = b"\xff\xfe".decode("latin-1")
    assert http("GET", READINGS, headers={"X-Own": bytes_}).status == 400
    assert http("GET", READINGS, headers={"X-Own": bytes_, "Connection": "Upgrade", "Upgrade": "x"}).status == 400
    assert not [s for s in backend.seen[before:] if s[1] == READINGS]
    assert http("GET", READINGS, headers={"X-Own": "ä".encode().decode("latin-1")}).status == 200
    assert backend.last(READINGS)["X-Own"] == "ä"


def test_a_websocket_goes_through_both_ways(shared_api_server: ApiServer, http: Http, backend: Backend) -> None:
    connection = http.tls.wrap_socket(
        socket.create_connection(("127.0.0.1", shared_api_server.port), 10), server_hostname="127.0.0.1"
    )
    head = (
        f"GET {ROOT}/namespaces/default/readings/r/socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Protocol: v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.c2VjcmV0\r\n\r\n"
    )
    connection.sendall(head.encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 101"), answer
    assert b"v5.channel.k8s.io" in answer
    mask, text = b"\x01\x02\x03\x04", b"hello"
    connection.sendall(b"\x81" + bytes([0x80 | len(text)]) + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(text)))
    received = b""
    while len(received) < 7:
        received += connection.recv(64)
    assert received == b"\x81\x05olleh"
    connection.close()
    sent = backend.last(f"{ROOT}/namespaces/default/readings/r/socket")
    assert sent["Sec-WebSocket-Protocol"] == "v5.channel.k8s.io", "a token in a sub-protocol stays here"


def test_an_upgrade_that_the_other_server_refuses_is_refused_here(http: Http, backend: Backend) -> None:
    headers = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1"}
    answer = http("GET", f"{READINGS}/r/redirect", headers=headers)
    assert answer.status == 302
    assert "Location" not in answer.headers
    backend.healthy = False
    try:
        assert http("GET", READINGS, headers=headers).status in {500, 503}
    finally:
        backend.healthy = True


def test_redirects_of_the_other_server_are_not_followed_or_shown(http: Http, backend: Backend) -> None:
    refused = http("GET", f"{READINGS}/redirect")
    assert refused.status == 502
    assert b"redirect" in refused.data


def test_an_endpoint_that_is_down_is_passed_over(http: Http, backend: Backend) -> None:
    group = "slices.example.com"
    spec = {"ports": [{"name": "https", "port": 443}, {"name": "other", "port": 444}]}
    http.ok("POST", "/api/v1/namespaces/default/services", {"metadata": {"name": "sliced"}, "spec": spec})
    addresses = {"127.0.0.1": None, "127.0.0.2": True, "127.0.0.3": False}  # the first listens; the last is not ready
    endpoints = [
        {"addresses": [a], "conditions": {} if ready is None else {"ready": ready}} for a, ready in addresses.items()
    ]
    place = {
        "metadata": {"name": "sliced-1", "labels": {"kubernetes.io/service-name": "sliced"}},
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{"name": "https", "port": backend.port}, {"name": "other", "port": 9}],
    }
    http.ok("POST", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", place)
    backend.instead = {f"/apis/{group}/v1": b"{}", f"/apis/{group}/v1/namespaces/default/things": b'{"kind": "Things"}'}
    try:
        http.ok("POST", SERVICES, _api_service(backend, group, "sliced", insecureSkipTLSVerify=True))
        _wait(http, "Passed", f"v1.{group}")
        for _ in range(12):
            assert http("GET", f"/apis/{group}/v1/namespaces/default/things").json == {"kind": "Things"}
            assert http("POST", f"/apis/{group}/v1/namespaces/default/things", {}).status == 200
    finally:
        backend.instead = {}
        http.ok("DELETE", f"{SERVICES}/v1.{group}")


def test_a_write_is_passed_on_once_even_if_its_answer_is_lost(http: Http, backend: Backend) -> None:
    for number in range(3):
        path = f"{ROOT}/namespaces/default/readings/r{number}/dropped"
        refused = http("POST", path, {"a": "b"})
        assert refused.status == 503
        assert b"error trying to reach service" in refused.data
        assert len([s for s in backend.seen if s[:2] == ("POST", path)]) == 1


def test_metrics_count_what_is_passed_on(http: Http, backend: Backend) -> None:
    def value(name: str) -> int:
        lines = http("GET", "/metrics").data.decode().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith(f"tortie_apiserver_aggregation_{name} ")))

    before = value("forwarded")
    http.ok("GET", READINGS)
    assert value("forwarded") == before + 1
    assert value("services") >= value("available") >= 1


# What clients discover -----------------------------------------------------------------------------------------------


def test_both_kinds_of_discovery_show_the_other_servers_group(
    http: Http, backend: Backend, shared_api_server: ApiServer
) -> None:
    groups = [g["name"] for g in http.ok("GET", "/apis")["groups"]]
    assert groups.index("apps") < groups.index(GROUP)
    assert http.ok("GET", f"/apis/{GROUP}")["preferredVersion"] == {"groupVersion": f"{GROUP}/v1", "version": "v1"}
    assert http.ok("GET", ROOT)["resources"][0]["kind"] == "Reading"
    tree = http.ok("GET", "/apis", headers={"Accept": _AGGREGATED})
    entry = next(i for i in tree["items"] if i["metadata"]["name"] == GROUP)["versions"][0]
    assert (entry["freshness"], entry["resources"][0]["shortNames"]) == ("Current", ["rd"])
    for old in (True, False):
        assert "readings" in shared_api_server.kubectl("api-resources", f"--api-group={GROUP}", old=old).stdout
        listed = shared_api_server.kubectl("get", "rd", "-o", "name", old=old).stdout.split()
        assert len(listed) == 3


def test_openapi_documents_are_merged_and_clashing_names_are_kept_apart(
    http: Http, backend: Backend, shared_api_server: ApiServer
) -> None:
    tree = http.ok("GET", "/openapi/v2")
    meta = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
    mine = tree["definitions"]["com.example.Reading"]
    assert mine["properties"]["metadata"] == {"$ref": f"#/definitions/{meta}_v2"}
    assert tree["definitions"][f"{meta}_v2"]["description"] == "Another one."
    assert tree["definitions"][meta]["description"] != "Another one."
    assert "unused" not in tree["definitions"]
    assert "/apis/foreign.example.com/v1/things" not in tree["paths"], "only of its own group version"
    place = http.ok("GET", "/openapi/v3")["paths"][ROOT.strip("/")]["serverRelativeURL"]
    assert place == f"/openapi/v3{ROOT}?hash=ABC"
    assert http.ok("GET", place)["openapi"] == "3.0.0"
    shown = shared_api_server.kubectl("explain", "readings", old=True).stdout
    assert "A value that was measured." in shown


def test_a_server_without_aggregated_discovery_is_read_the_old_way(http: Http, backend: Backend) -> None:
    backend.aggregated = False
    try:
        http.ok("POST", SERVICES, _api_service(backend, "old.example.com"))
        _wait(http, "FailedDiscoveryCheck", "v1.old.example.com")  # it serves another group only
        http.ok("DELETE", f"{SERVICES}/v1.old.example.com")
        http.ok("PATCH", f"{SERVICES}/{NAME}", {"spec": {"versionPriority": 201}}, content=MERGE)

        def found() -> bool:
            tree = http.ok("GET", "/apis", headers={"Accept": _AGGREGATED})
            entry = next(i for i in tree["items"] if i["metadata"]["name"] == GROUP)["versions"][0]
            resources = entry.get("resources") or [{}]
            return bool(resources[0].get("responseKind") == {"group": GROUP, "version": "v1", "kind": "Reading"})

        _until(found, "discovery from the old documents")
    finally:
        backend.aggregated = True


_MINE = ROOT.strip("/")
_BAD = b'{"items": [{"metadata": {"name": "metrics.example.com"}, "versions": [{"version": "v1", "resources": [7]}]}]}'


@pytest.mark.parametrize(
    ("path", "body", "discovered"),
    [
        ("/openapi/v2", b"{", True),
        ("/openapi/v2", b"[1, 2]", True),
        ("/openapi/v2", b"[" * 100_000, True),
        ("/openapi/v2", b'{"definitions": ["x"], "paths": {"%s": {"$ref": "#/definitions/x"}}}' % ROOT.encode(), True),
        ("/openapi/v2", b'{"paths": {"%s/x": {"get": 7}}}' % ROOT.encode(), True),
        ("/openapi/v3", b'{"paths": {"%s": 3}}' % _MINE.encode(), True),
        ("/openapi/v3", b"null", True),
        ("/apis", _BAD, False),
        ("/apis", b'{"items": 3}', False),
        ("/apis", b"\xff\xfe", False),
    ],
)  # fmt: skip
def test_documents_that_make_no_sense_spoil_nobody_elses(
    http: Http, backend: Backend, path: str, body: bytes, discovered: bool
) -> None:
    def entry() -> dict[str, Any]:
        tree = http.ok("GET", "/apis", headers={"Accept": _AGGREGATED})
        found: dict[str, Any] = next(i for i in tree["items"] if i["metadata"]["name"] == GROUP)["versions"][0]
        return found

    backend.instead = {path: body}
    try:
        before = len(backend.seen)
        spec = http.ok("GET", f"{SERVICES}/{NAME}")["spec"]
        changed = {"spec": {"versionPriority": spec["versionPriority"] % 1000 + 1}}
        http.ok("PATCH", f"{SERVICES}/{NAME}", changed, content=MERGE)
        _until(lambda: path in {s[1] for s in backend.seen[before:]}, "the document is read")
        _until(lambda: (entry()["freshness"] == "Current") is discovered, f"discovered: {discovered}")
        assert _wait(http, "Passed")["status"] == "True", "it answers, which is what counts"
        assert len(http.ok("GET", "/openapi/v2")["definitions"]) > 100
        pb = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
        assert http("GET", "/openapi/v2", headers={"Accept": pb}).status == 200
        assert "api/v1" in http.ok("GET", "/openapi/v3")["paths"]
        assert http("GET", READINGS).status == 200
    finally:
        backend.instead = {}
    http.ok("PATCH", f"{SERVICES}/{NAME}", {"spec": {"versionPriority": 200}}, content=MERGE)
    _until(lambda: entry().get("resources"), "all is well again")


# Sick servers --------------------------------------------------------------------------------------------------------


def test_a_sick_server_is_said_so_marked_stale_and_harms_nobody_else(
    http: Http, backend: Backend, shared_api_server: ApiServer
) -> None:
    backend.healthy = False
    http.ok("PATCH", f"{SERVICES}/{NAME}", {"spec": {"versionPriority": 150}}, content=MERGE)
    try:
        condition = _wait(http, "FailedDiscoveryCheck")
        assert "bad status" in condition["message"]
        refused = http("GET", READINGS)
        assert (refused.status, refused.data) == (503, b"service unavailable\n")
        shown = shared_api_server.kubectl("get", "--raw", READINGS, check=False)
        assert "the server is currently unable to handle the request" in shown.stderr
        assert http("GET", ROOT).status == 503
        tree = http.ok("GET", "/apis", headers={"Accept": _AGGREGATED})
        assert next(i for i in tree["items"] if i["metadata"]["name"] == GROUP)["versions"][0]["freshness"] == "Stale"
        listed = shared_api_server.kubectl("get", "pods", "-A")
        assert listed.returncode == 0
        for old in (True, False):
            shown = shared_api_server.kubectl("api-resources", "--cached=false", old=old, check=False)
            assert "deployments" in shown.stdout, "what works is listed"
            assert "readings" not in shown.stdout
            assert (f"{GROUP}/{VERSION}: the server is currently unable" in shown.stderr) is old
        row = shared_api_server.kubectl("get", "apiservice", NAME).stdout
        assert "default/readings   False (FailedDiscoveryCheck)" in row
    finally:
        backend.healthy = True
    shared_api_server.kubectl("wait", "--for=condition=Available", f"apiservice/{NAME}", "--timeout=20s", old=True)
    assert _condition(http)["reason"] == "Passed"
    assert http("GET", READINGS).status == 200


def test_the_condition_says_what_is_missing(http: Http, backend: Backend) -> None:
    name, group = "v1.lost.example.com", "lost.example.com"
    services, endpoints = ("/api/v1/namespaces/default/services", "/api/v1/namespaces/default/endpoints")
    http.ok("POST", SERVICES, _api_service(backend, group, "lost"))
    assert 'service/lost in "default" is not present' in _wait(http, "ServiceNotFound", name)["message"]
    spec = {"ports": [{"name": "https", "port": 8443}]}
    http.ok("POST", services, {"metadata": {"name": "lost"}, "spec": spec})
    _wait(http, "ServicePortError", name)
    http.ok("PATCH", f"{services}/lost", {"spec": {"ports": [{"name": "https", "port": 443}]}}, content=MERGE)
    _wait(http, "EndpointsNotFound", name)
    http.ok("POST", endpoints, {"metadata": {"name": "lost"}})
    _wait(http, "MissingEndpoints", name)
    assert http("GET", f"/apis/{group}/v1/things").status == 503
    http.ok("DELETE", f"{SERVICES}/{name}")
    assert http("GET", f"/apis/{group}/v1/things").status == 404


def test_a_certificate_for_another_name_is_refused_unless_not_verified(
    http: Http, backend: Backend, shared_api_server: ApiServer
) -> None:
    _service(http, backend.port, "alias")
    http.ok("DELETE", f"{SERVICES}/{NAME}")
    http.ok("POST", SERVICES, _api_service(backend, service="alias"))
    condition = _wait(http, "FailedDiscoveryCheck")
    assert "certificate verify failed" in condition["message"]
    http.ok("DELETE", f"{SERVICES}/{NAME}")
    http.ok("POST", SERVICES, _api_service(backend, service="alias", insecureSkipTLSVerify=True))
    _wait(http, "Passed")
    assert http("GET", READINGS).status == 200


def test_an_external_name_is_taken_as_it_is(http: Http, backend: Backend) -> None:
    spec = {"type": "ExternalName", "externalName": "localhost"}
    http.ok("POST", "/api/v1/namespaces/default/services", {"metadata": {"name": "outside"}, "spec": spec})
    http.ok("DELETE", f"{SERVICES}/{NAME}")
    outside = {"namespace": "default", "name": "outside", "port": backend.port}
    http.ok("POST", SERVICES, _api_service(backend, insecureSkipTLSVerify=True, service=outside["name"]))
    http.ok("PATCH", f"{SERVICES}/{NAME}", {"spec": {"service": outside}}, content=MERGE)
    _wait(http, "Passed")
    assert http("GET", READINGS).status == 200


def test_the_server_stops_at_once_whatever_is_being_passed_on(tmp_path: Path) -> None:
    with api_server_in(tmp_path / "a") as server, backend_for(server.data_dir / "pki", tmp_path) as other:
        http = Http(server)
        _service(http, other.port)
        http.ok("POST", SERVICES, _api_service(other))
        _wait(http, "Passed")
        connection = http.tls.wrap_socket(
            socket.create_connection(("127.0.0.1", server.port), 10), server_hostname="127.0.0.1"
        )
        head = (
            f"GET {READINGS}/r/socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        connection.sendall(head.encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 101")
        with http.watch(READINGS) as events:
            next(events)
            server.process.terminate()
            assert server.process.wait(10) == 0
        connection.close()


def test_aggregated_mode_leaves_the_calico_group_to_another_server(tmp_path: Path) -> None:
    with api_server_in(tmp_path / "a", args=["--api-mode", "aggregated"]) as server:
        http = Http(server)
        assert http("GET", "/apis/projectcalico.org/v3/tiers").status == 404
        assert http("GET", f"{SERVICES}/v3.projectcalico.org").status == 404
        with backend_for(server.data_dir / "pki", tmp_path, "calico-api.calico-system.svc") as other:
            assert isinstance(http.tls, ssl.SSLContext)
            tree = _api_service(other, "projectcalico.org")
            tree["metadata"]["name"] = "v3.projectcalico.org"
            tree["spec"]["version"] = "v3"
            http.ok("POST", SERVICES, tree)
            assert http("GET", "/apis/projectcalico.org/v3/tiers").status == 503
