"""Rights by tier on running servers: verbs × tiers × old and new names × selectors × each kind of grant.

The expected answers are those of `tiered_oracle`. The aggregated server judges every verb; in native mode the embedded
server and the webhook for real clusters judge creations, updates and deletions. Everything that writes is a dry run,
so that each question is asked of the same policies. By default one kind of policy is asked about, and a second
namespace only where a grant names one; TORTIE_LONG=1 asks about everything.
"""

import base64
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from aggregated_world import World, until
from apiserver_http import Http
from tiered_oracle import CONTRADICTION, GRANTS, KINDS, SELECTORS, scope
from tiered_requests import (
    HAS_EVERY_TIER,
    LONG,
    MOVES,
    NAMES,
    NAMESPACES,
    PLURALS,
    Session,
    many,
    one,
    patch,
    path_of,
    places_of,
    populate,
    user,
    watched,
    where_to,
)
from tools import ROOT, ApiServer, api_server_in, free_port

from tortie.apiserver import pki
from tortie.apiserver.calico import BUILT_IN_TIERS
from tortie.model.definitions import definitions


@pytest.fixture(scope="module")
def matrix(aggregated: World) -> World:
    populate(aggregated.admin)
    return aggregated


@pytest.mark.parametrize("plural", PLURALS)
@pytest.mark.parametrize("name", GRANTS)
def test_the_aggregated_server_judges_requests_on_one_policy(matrix: World, plural: str, name: str) -> None:
    grant, ask = GRANTS[name], aggregated_session(matrix, name, plural)
    wrong = []
    for namespace in places_of(plural, grant):
        for in_tier, policies in NAMES.items():
            for policy_name in policies:
                for verb, wanted in (("get", 200), ("update", 200), ("patch", 200), ("delete", 200), ("create", 201)):
                    expected = wanted if grant.allows(verb, in_tier, policy_name, namespace) else 403
                    if verb == "create" and expected == 201:
                        expected = 409  # it is there; who may not create is not told
                    got = one(ask, verb, plural, namespace, policy_name, in_tier)
                    if got != expected:
                        wrong.append((verb, namespace, in_tier, policy_name, got, expected))
                made = f"{policy_name}x"
                expected = 201 if grant.allows("create", in_tier, made, namespace) else 403
                got = one(ask, "create", plural, namespace, made, in_tier)
                if got != expected:
                    wrong.append(("create", namespace, in_tier, made, got, expected))
        for old, new in MOVES:
            moved = NAMES[old][0]
            may = all(grant.allows("patch", t, moved, namespace) for t in (old, new))
            got = patch(ask, plural, namespace, moved, {"spec": {"tier": new}})
            if got != (200 if may else 403):
                wrong.append(("move", namespace, old, new, got, may))
        for method in ("GET", "DELETE"):  # what is not there is not found, whatever its tier would have been
            got = ask(method, path_of(plural, namespace, "mx-net.absent"))[0]
            if got != (404 if grant.outer else 403):
                wrong.append((method, namespace, "absent", got))
    assert not wrong


@pytest.mark.parametrize("plural", PLURALS)
@pytest.mark.parametrize("name", GRANTS)
def test_the_aggregated_server_judges_requests_on_collections(matrix: World, plural: str, name: str) -> None:
    grant, ask = GRANTS[name], aggregated_session(matrix, name, plural)
    wrong = []
    for namespace in dict.fromkeys((*places_of(plural, grant), "")):
        for selectors in SELECTORS:
            for verb in ("list", "watch", "deletecollection"):
                if verb == "deletecollection" and not namespace and KINDS[plural]:
                    continue
                expected = scope(grant, verb, selectors, namespace, HAS_EVERY_TIER)
                shown: Any = expected
                if isinstance(expected, set):
                    places = [namespace] if namespace or not KINDS[plural] else list(NAMESPACES)
                    tiers = () if selectors == CONTRADICTION else expected
                    shown = {(p, n) for p in places for t in tiers for n in NAMES.get(t, ())}
                if verb == "watch":
                    got = watched(ask, where_to(plural, namespace), selectors, shown)
                else:
                    got = many(ask, verb, plural, namespace, selectors)
                if got != shown:
                    wrong.append((verb, namespace, selectors, got, shown))
    assert not wrong


def aggregated_session(world: World, grant: str, plural: str) -> Session:
    """A user of the matrix, as the front proxy announces it."""
    admin = {"X-Remote-User": "root", "X-Remote-Group": "system:masters"}
    return Session(world.aggregated.port, world.straight().tls, {"X-Remote-User": user(grant, plural)}, admin)


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """The embedded server in native mode."""
    with api_server_in(tmp_path_factory.mktemp("native")) as server:
        populate(Http(server))
        yield server


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """An API server that knows Calico only from CustomResourceDefinitions, with `tortie webhooks` beside it."""
    folder = tmp_path_factory.mktemp("plain")
    with api_server_in(folder, args=("--api-mode", "aggregated")) as server:
        http = Http(server)
        for definition in definitions("projectcalico.org"):
            http.ok("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
        for built_in in BUILT_IN_TIERS:
            http.ok("POST", "/apis/projectcalico.org/v3/tiers", built_in)
        populate(http)
        authority = pki.load_authority(folder / "pki/ca.crt", folder / "pki/ca.key")
        pair = pki.issue_server_certificate(authority, "calico-webhooks", ["127.0.0.1"])
        (folder / "tls.crt").write_bytes(pair.certificate)
        (folder / "tls.key").write_bytes(pair.key)
        port = free_port()
        (folder / "webhooks.port").write_text(str(port))
        process = subprocess.Popen(
            [sys.executable, "-m", "tortie.cli.main", "webhooks", "--bind-address", "127.0.0.1", "--port", str(port),
             "--tls-cert-file", str(folder / "tls.crt"), "--tls-private-key-file", str(folder / "tls.key"),
             "--kubeconfig", str(server.kubeconfig)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=(folder / "webhooks.log").open("wb"),
        )  # fmt: skip
        try:
            until(lambda: _ready(server), 20, "the webhooks are ready")
            http.ok("POST", f"{_ADMISSION}/validatingwebhookconfigurations", _configuration(port, authority.pem))
            yield server
        finally:
            process.terminate()
            process.wait(10)


_ADMISSION = "/apis/admissionregistration.k8s.io/v1"


def webhooks_of(server: ApiServer) -> Http:
    """Requests to the webhooks beside a server."""
    port = int((server.data_dir / "webhooks.port").read_text())
    return Http(ApiServer("", server.kubeconfig, server.data_dir, port, server.process))


def _ready(server: ApiServer) -> bool:
    try:
        return webhooks_of(server)("GET", "/readyz").status == 200
    except OSError:
        return False


def _configuration(port: int, authority: bytes) -> dict[str, Any]:
    """The configuration of the manifest for real clusters, leading to loopback."""
    manifest = Path(ROOT / "deploy/manifests/calico-webhooks.yaml").read_text()
    found: dict[str, Any] = next(
        d for d in yaml.safe_load_all(manifest) if d["kind"] == "ValidatingWebhookConfiguration"
    )
    for webhook in found["webhooks"]:
        path = webhook["clientConfig"]["service"]["path"]
        webhook["clientConfig"] = {
            "url": f"https://127.0.0.1:{port}{path}",
            "caBundle": base64.b64encode(authority).decode(),
        }
    return found


def native_session(server: ApiServer, grant: str, plural: str) -> Session:
    """A user of the matrix, impersonated by the administrator."""
    return Session(server.port, Http(server).tls, {"Impersonate-User": user(grant, plural)}, {})


@pytest.mark.parametrize("plural", PLURALS)
@pytest.mark.parametrize("name", GRANTS)
def test_the_embedded_server_judges_writes_in_native_mode(native: ApiServer, plural: str, name: str) -> None:
    assert not wrong_writes(native_session(native, name, plural), plural, name)


@pytest.mark.parametrize("plural", PLURALS)
@pytest.mark.parametrize("name", GRANTS if LONG else list(GRANTS)[::2])
def test_the_webhook_judges_writes_on_a_server_with_definitions_alone(plain: ApiServer, plural: str, name: str) -> None:
    assert not wrong_writes(native_session(plain, name, plural), plural, name)


def test_the_webhook_wants_tiers_that_exist_and_stay(plain: ApiServer) -> None:
    http = Http(plain)
    body = {"metadata": {"name": "lost"}, "spec": {"tier": "nowhere", "selector": "all()"}}
    where = path_of("networkpolicies", "mx-a")
    refused = http("POST", where, body)
    assert (refused.status, refused.json["reason"]) == (403, "Forbidden")
    assert "tier nowhere does not exist" in refused.json["message"]
    held = {"metadata": {"name": "ending", "finalizers": ["example.com/hold"]}, "spec": {}}
    http.ok("POST", "/apis/projectcalico.org/v3/tiers", held)
    http.ok("DELETE", "/apis/projectcalico.org/v3/tiers/ending")
    body["spec"]["tier"] = "ending"
    until(lambda: "is being deleted" in http("POST", where, body).json.get("message", ""), 5, "the tier ends")


def test_what_is_no_admission_review_is_refused(plain: ApiServer) -> None:
    hooks = webhooks_of(plain)
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": "u"}}
    assert hooks("POST", "/rbac", review).status == 400
    assert hooks("POST", "/rbac", {**review, "apiVersion": "admission.k8s.io/v1beta1"}).status == 400
    assert hooks("POST", "/rbac", b"[" * 100_000).status == 400
    assert hooks("POST", "/rbac", b"{}", content="application/yaml").status == 415
    assert hooks("POST", "/rbac", b"x" * (3 * 1024 * 1024 + 1)).status == 413
    assert hooks("GET", "/rbac").status == 405
    assert hooks("POST", "/elsewhere", review).status == 404
    resource = {"group": "apps", "version": "v1", "resource": "deployments"}
    other = {"uid": "u", "operation": "CREATE", "userInfo": {}, "resource": resource, "object": {}}
    answer = hooks.ok("POST", "/rbac", {**review, "request": other})
    assert answer["response"] == {"uid": "u", "allowed": True}


def test_cluster_information_is_written_by_calico_alone(plain: ApiServer) -> None:
    http = Http(plain)
    where = "/apis/projectcalico.org/v3/clusterinformations"
    body = {"metadata": {"name": "default"}, "spec": {"datastoreReady": True}}
    refused = http("POST", where, body)
    assert (refused.status, refused.json["reason"]) == (405, "MethodNotAllowed")
    node = {
        "Impersonate-User": "system:serviceaccount:calico-system:calico-node",
        "Impersonate-Group": "system:masters",
    }
    assert http("POST", where, body, headers=node).status == 201


def wrong_writes(ask: Session, plural: str, name: str) -> list[Any]:
    """What a server in native mode answers otherwise than the rules say."""
    grant = GRANTS[name]
    wrong = []
    for namespace in places_of(plural, grant):
        for in_tier, policies in NAMES.items():
            for policy_name in policies:
                for verb, asked, wanted in (
                    ("get", "", 200),
                    ("update", "update", 200),
                    ("patch", "update", 200),
                    ("delete", "delete", 200),
                ):
                    may = grant.outer and (not asked or grant.allows(asked, in_tier, policy_name, namespace))
                    got = one(ask, verb, plural, namespace, policy_name, in_tier)
                    if got != (wanted if may else 403):
                        wrong.append((verb, namespace, in_tier, policy_name, got, may))
                made = f"{policy_name}x"
                may = grant.allows("create", in_tier, made, namespace)
                got = one(ask, "create", plural, namespace, made, in_tier)
                if got != (201 if may else 403):
                    wrong.append(("create", namespace, in_tier, made, got, may))
        for old, new in MOVES:
            moved = NAMES[old][0]
            may = all(grant.allows("update", t, moved, namespace) for t in (old, new))
            got = patch(ask, plural, namespace, moved, {"spec": {"tier": new}})
            if got != (200 if may else 403):
                wrong.append(("move", namespace, old, new, got, may))
        everything = {(namespace, n) for names in NAMES.values() for n in names}
        listed = many(ask, "list", plural, namespace, ("", ""))
        if listed != (everything if grant.outer else 403):
            wrong.append(("list", namespace, listed))
        may = grant.outer and all(grant.allows("delete", t, n, namespace) for t, names in NAMES.items() for n in names)
        deleted = many(ask, "deletecollection", plural, namespace, ("mx", ""))
        if deleted != (everything if may else 403):
            wrong.append(("deletecollection", namespace, deleted, may))
    return wrong


def test_the_matrix_is_about_something() -> None:
    """A check of the oracle itself: what the sheet says in words."""
    every, named = GRANTS["one-tier-by-get"], GRANTS["one-tier-by-name"]
    assert every.allows("get", "mx-net", "x", "")
    assert not every.allows("get", "mx-dev", "x", "")
    assert named.allows("list", "mx-net", "", "")
    assert not GRANTS["all-rights-no-tier"].allows("get", "default", "x", "")
    assert GRANTS["bare-name"].allows("get", "mx-dev", "p", "")
    assert not GRANTS["bare-name"].allows("get", "mx-net", "mx-net.p", "")
    assert scope(GRANTS["two-tiers"], "list", ("", ""), "", HAS_EVERY_TIER) == {"mx-net", "default"}
    assert scope(GRANTS["only-the-tier"], "list", ("", ""), "", HAS_EVERY_TIER) == 403
