"""Users of an OpenID provider: which ID tokens are taken, whom they stand for, and what a provider may do meanwhile.

The provider is a real one with TLS and keys of its own.
"""

import base64
import json
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from apiserver_http import MAPS, Http
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from tools import ApiServer, api_server_in

from tortie.apiserver.context import User
from tortie.apiserver.oidc import OidcError, OidcSettings, check, issuer_of, user_of
from tortie.apiserver.pki import issue_server_certificate, make_authority

WHO = ("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {"kind": "SelfSubjectReview"})
REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"


class Provider:
    """A provider in a thread of its own."""

    def __init__(self, folder: Path) -> None:
        self.keys: dict[str, Any] = {"one": rsa.generate_private_key(65537, 2048)}
        self.requests: list[str] = []
        self.extra_keys: list[Any] = []
        authority = make_authority("provider-ca")
        pair = issue_server_certificate(authority, "localhost", ["localhost"])
        self.ca_file = folder / "provider-ca.crt"
        self.ca_file.write_bytes(authority.pem)
        for suffix, data in (("crt", pair.certificate), ("key", pair.key)):
            (folder / f"provider.{suffix}").write_bytes(data)
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.requests.append(self.path)
                body = json.dumps(provider.answer(self.path)).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Nothing is printed."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(folder / "provider.crt", folder / "provider.key")
        self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.issuer = f"https://localhost:{self.server.server_port}/realm"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def answer(self, path: str) -> Any:
        if path.endswith("/.well-known/openid-configuration"):
            return {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/keys"}
        found = list(self.extra_keys)
        for name, key in self.keys.items():
            algorithm = (
                jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
            )
            found.append({**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": name, "use": "sig"})
        return {"keys": found}

    def token(self, *, key: Any = None, kid: str | None = "one", algorithm: str = "RS256", **claims: Any) -> str:
        body = {
            "iss": self.issuer,
            "aud": "tortie",
            "sub": "1234",
            "exp": int(time.time()) + 600,
            "email": "jane@example.com",
            "groups": ["devs", "ops"],
            "department": "post",
            **claims,
        }
        body = {k: v for k, v in body.items() if v is not None}
        headers = {"kid": kid} if kid else {}
        return jwt.encode(body, key or self.keys["one"], algorithm=algorithm, headers=headers)

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    running = Provider(tmp_path_factory.mktemp("provider"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def server(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    args = [
        f"--oidc-issuer-url={provider.issuer}", "--oidc-client-id=tortie", f"--oidc-ca-file={provider.ca_file}",
        "--oidc-username-claim=email", "--oidc-username-prefix=oidc:", "--oidc-groups-claim=groups",
        "--oidc-groups-prefix=oidc:", "--oidc-required-claim=department=post", "--oidc-signing-algs=RS256,ES256",
    ]  # fmt: skip
    with api_server_in(tmp_path_factory.mktemp("apiserver"), args=args) as running:
        yield running


def _user(server: ApiServer, token: str) -> dict[str, Any]:
    answer = Http(server, token=token)(*WHO)
    assert answer.status == 201, answer.data
    found: dict[str, Any] = answer.json["status"]["userInfo"]
    return found


# The claims, read alone ----------------------------------------------------------------------------------------------

SETTINGS = OidcSettings("https://issuer.example.com", "tortie")


@pytest.mark.parametrize(
    ("change", "claims", "name", "groups"),
    [
        ({}, {"sub": "7"}, "https://issuer.example.com#7", ()),
        ({"username_prefix": "-"}, {"sub": "7"}, "7", ()),
        ({"username_prefix": "x:"}, {"sub": "7"}, "x:7", ()),
        ({"username_claim": "email"}, {"email": "a@b.c"}, "a@b.c", ()),
        ({"username_claim": "email"}, {"email": "a@b.c", "email_verified": True}, "a@b.c", ()),
        ({"username_prefix": "-", "groups_claim": "g"}, {"sub": "7", "g": "one"}, "7", ("one",)),
        ({"username_prefix": "-", "groups_claim": "g", "groups_prefix": "p:"}, {"sub": "7", "g": ["a", "b"]}, "7",
         ("p:a", "p:b")),
        ({"username_prefix": "-", "groups_claim": "g"}, {"sub": "7"}, "7", ()),
        ({"username_prefix": "-", "required_claims": {"a": "b"}}, {"sub": "7", "a": "b"}, "7", ()),
    ],
)  # fmt: skip
def test_claims_make_a_user(change: dict[str, Any], claims: dict[str, Any], name: str, groups: tuple[str, ...]) -> None:
    settings = OidcSettings(SETTINGS.issuer, SETTINGS.client_id, **change)
    assert user_of(settings, claims) == User(name, (*groups, "system:authenticated"))


@pytest.mark.parametrize(
    ("change", "claims"),
    [
        ({}, {}),
        ({}, {"sub": ""}),
        ({}, {"sub": 7}),
        ({"username_claim": "email"}, {"email": "a@b.c", "email_verified": False}),
        ({"username_claim": "email"}, {"email": "a@b.c", "email_verified": "true"}),
        ({"groups_claim": "g"}, {"sub": "7", "g": [1]}),
        ({"groups_claim": "g"}, {"sub": "7", "g": {"a": 1}}),
        ({"required_claims": {"a": "b"}}, {"sub": "7", "a": "c"}),
        ({"required_claims": {"a": "b"}}, {"sub": "7"}),
    ],
)
def test_claims_that_make_none(change: dict[str, Any], claims: dict[str, Any]) -> None:
    with pytest.raises(OidcError):
        user_of(OidcSettings(SETTINGS.issuer, SETTINGS.client_id, **change), claims)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (OidcSettings("http://issuer.example.com", "x"), "--oidc-issuer-url"),
        (OidcSettings("https://issuer.example.com", ""), "--oidc-client-id"),
        (OidcSettings("https://issuer.example.com", "x", algorithms=("none",)), "--oidc-signing-algs"),
        (OidcSettings("https://issuer.example.com", "x", algorithms=("HS256",)), "--oidc-signing-algs"),
        (OidcSettings("https://issuer.example.com", "x", ca_file=Path("/nonexistent")), "--oidc-ca-file"),
    ],
)
def test_settings_that_cannot_work_are_named(settings: OidcSettings, named: str) -> None:
    with pytest.raises(OidcError, match=named):
        check(settings)


def test_a_server_with_bad_flags_says_so_and_does_not_start(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tortie.cli.main", "apiserver", "--data-dir", str(tmp_path)]
    for flags, said in (
        (["--oidc-issuer-url=http://x", "--oidc-client-id=y"], "must begin with https://"),
        (["--oidc-client-id=y"], "means nothing without --oidc-issuer-url"),
        (["--oidc-required-claim=nonsense"], "must be NAME=VALUE"),
    ):
        done = subprocess.run([*command, *flags], capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode != 0
        assert said in done.stderr


_HEADER = "eyJhbGciOiJFUzI1NiJ9"
_NESTED = base64.urlsafe_b64encode(b'{"a":' + b"[" * 4000).decode().rstrip("=")


@pytest.mark.parametrize("token", ["", "a", "a.b.c", f"{_NESTED}.e30.AAAA", f"{_HEADER}.{_NESTED}.AAAA"])
def test_what_is_no_token_has_no_issuer(token: str) -> None:
    assert issuer_of(token) == ""


# At the server -------------------------------------------------------------------------------------------------------


def test_an_id_token_is_a_user_for_the_server_and_for_kubectl(server: ApiServer, provider: Provider) -> None:
    token = provider.token(jti="t-1")
    assert _user(server, token) == {
        "username": "oidc:jane@example.com",
        "groups": ["oidc:devs", "oidc:ops", "system:authenticated"],
        "extra": {"authentication.kubernetes.io/credential-id": ["JTI=t-1"]},
    }
    assert Http(server, token=token)("GET", MAPS).status == 403
    server.kubectl("create", "rolebinding", "devs", "--clusterrole=view", "--group=oidc:devs")
    for old in (True, False):
        mine = (
            f"--server={server.url}", f"--certificate-authority={server.data_dir / 'pki' / 'ca.crt'}",
            f"--token={token}", "--kubeconfig=/dev/null", "get", "configmaps", "-o", "name",
        )  # fmt: skip
        assert "kube-root-ca.crt" in server.kubectl(*mine, old=old).stdout


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": int(time.time()) - 10},
        {"exp": None},
        {"nbf": int(time.time()) + 3600},
        {"aud": "another"},
        {"aud": None},
        {"department": "other"},
        {"email_verified": False},
        {"email": None},
        {"algorithm": "RS512"},
        {"kid": "unknown"},
        {"key": rsa.generate_private_key(65537, 2048)},
        {"iss": "https://localhost:1/realm"},
    ],
)
def test_tokens_that_are_refused(server: ApiServer, provider: Provider, claims: dict[str, Any]) -> None:
    refused = Http(server, token=provider.token(**claims))(*WHO)
    assert (refused.status, refused.json["reason"]) == (401, "Unauthorized")


def test_forged_tokens_are_refused(server: ApiServer, provider: Provider) -> None:
    claims = jwt.decode(provider.token(), options={"verify_signature": False})
    public = json.dumps(provider.answer("/keys")["keys"][0]).encode()
    forged = [
        jwt.encode(claims, None, algorithm="none"),
        jwt.encode(claims, base64.b64encode(public).decode(), algorithm="HS256", headers={"kid": "one"}),
        provider.token()[:-8] + "AAAAAAAA",
        provider.token(iss="https://kubernetes.default.svc.cluster.local"),
        f"{_NESTED}.e30.AAAA",
        f"{_HEADER}.{_NESTED}.AAAA",
    ]
    for token in forged:
        assert Http(server, token=token)(*WHO).status == 401, token[:60]


def test_a_tokens_audiences_may_be_several_and_its_key_unnamed(server: ApiServer, provider: Provider) -> None:
    assert _user(server, provider.token(aud=["a", "tortie"]))["username"] == "oidc:jane@example.com"
    assert _user(server, provider.token(kid=None))["username"] == "oidc:jane@example.com"


def test_service_account_tokens_work_beside_it_and_reviews_know_both(server: ApiServer, provider: Provider) -> None:
    http = Http(server)
    path = "/api/v1/namespaces/default/serviceaccounts/default/token"
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    own = http.ok("POST", path, body)["status"]["token"]
    assert _user(server, own)["username"] == "system:serviceaccount:default:default"

    def review(token: str, *audiences: str) -> Any:
        spec = {"token": token, **({"audiences": list(audiences)} if audiences else {})}
        return http.ok("POST", REVIEWS, {"kind": "TokenReview", "spec": spec})["status"]

    found = review(provider.token())
    assert (found["authenticated"], found["user"]["username"]) == (True, "oidc:jane@example.com")
    assert found["audiences"] == ["https://kubernetes.default.svc.cluster.local"]
    assert not review(provider.token(), "somebody-else").get("authenticated")
    assert not review(provider.token(aud="another")).get("authenticated")


def test_a_provider_may_start_late_and_change_its_keys(tmp_path: Path, provider: Provider) -> None:
    args = [f"--oidc-issuer-url={provider.issuer}", "--oidc-client-id=tortie", f"--oidc-ca-file={provider.ca_file}",
            "--oidc-username-prefix=-", "--oidc-signing-algs=ES256,RS256"]  # fmt: skip
    answer, provider.answer = provider.answer, lambda _path: {"issuer": "https://somebody-else"}  # type: ignore[method-assign] # a broken provider
    try:
        with api_server_in(tmp_path / "a", args=args) as server:
            assert Http(server, token=provider.token())(*WHO).status == 401
            provider.answer = answer  # type: ignore[method-assign] # repaired
            provider.extra_keys = [{"kty": "RSA", "kid": "broken"}, "nonsense", {"kty": "oct", "k": "c2VjcmV0"}]
            _until_taken(server, provider.token(), "1234")
            new = provider.keys["two"] = ec.generate_private_key(ec.SECP256R1())
            _until_taken(server, provider.token(key=new, kid="two", algorithm="ES256", sub="5"), "5")
            before = len(provider.requests)
            stranger = rsa.generate_private_key(65537, 2048)
            for number in range(20):
                assert Http(server, token=provider.token(key=stranger, kid=f"k{number}"))(*WHO).status == 401
            assert len(provider.requests) - before <= 2, "invented keys do not make the server ask again and again"
    finally:
        provider.answer = answer  # type: ignore[method-assign] # as it was
        provider.extra_keys = []


def _until_taken(server: ApiServer, token: str, name: str) -> None:
    deadline = time.monotonic() + 20
    while (answer := Http(server, token=token)(*WHO)).status == 401:
        assert time.monotonic() < deadline, "the token is never taken"
        time.sleep(0.2)
    assert answer.json["status"]["userInfo"]["username"] == name
