"""Front proxies in front of this server: whose word about the user counts, and what everybody else's headers are worth.

The other direction, this server as the front proxy, is in test_apiserver_aggregation.
"""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from apiserver_http import MAPS, Http
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from multidict import CIMultiDict
from tools import ApiServer

from tortie.apiserver import requestheader
from tortie.apiserver.certificates import Peers
from tortie.apiserver.context import User
from tortie.apiserver.pki import (
    Authority,
    issue_client_certificate,
    issue_server_certificate,
    load_authority,
    make_authority,
)
from tortie.apiserver.requestheader import HeaderError, Trust

WHO = ("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {"kind": "SelfSubjectReview"})
TRUST = Trust(
    allowed_names=("front-proxy-client",),
    username_headers=("X-Remote-User", "X-Other-User"),
    uid_headers=("X-Remote-Uid",),
    group_headers=("X-Remote-Group", "X-Other-Group"),
    extra_prefixes=("X-Remote-Extra-", "X-Other-Extra-"),
)


def _authority(server: ApiServer, name: str) -> Authority:
    keys = server.data_dir / "pki"
    return load_authority(keys / f"{name}.crt", keys / f"{name}.key")


def _proxy(server: ApiServer, common_name: str = "front-proxy-client", *groups: str, token: str = "") -> Http:
    pair = issue_client_certificate(_authority(server, "front-proxy-ca"), common_name, groups)
    return Http(server, certificate=(pair.certificate, pair.key), token=token)


def _user(client: Http, **headers: str) -> dict[str, Any]:
    answer = client(*WHO, headers={k.replace("_", "-"): v for k, v in headers.items()})
    assert answer.status == 201, answer.data
    info: dict[str, Any] = answer.json["status"]["userInfo"]
    return info


@pytest.fixture(scope="module")
def http(shared_api_server: ApiServer) -> Http:
    return Http(shared_api_server)


@pytest.fixture(scope="module")
def token(http: Http) -> str:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    path = "/api/v1/namespaces/default/serviceaccounts/default/token"
    return str(http.ok("POST", path, body)["status"]["token"])


# The headers, read alone ---------------------------------------------------------------------------------------------


def test_headers_name_user_groups_uid_and_extra() -> None:
    sent = CIMultiDict(
        [
            ("x-remote-user", "jane"),
            ("X-Remote-Group", "devs"),
            ("X-REMOTE-GROUP", "ops"),
            ("X-Other-Group", "more"),
            ("X-Remote-Uid", "7"),
            ("X-Remote-Extra-Scopes", "a"),
            ("X-Remote-Extra-scopes", "b"),
            ("X-Other-Extra-Scopes", "c"),
            ("X-Remote-Extra-Example.com%2FKey", "d"),
            ("X-Remote-Extra-Bad%zz", "e"),
            ("X-Forwarded-For", "192.0.2.1"),
        ]
    )
    assert requestheader.user(TRUST, sent.items()) == User(
        "jane",
        ("devs", "ops", "more", "system:authenticated"),
        "7",
        {"scopes": ("a", "b", "c"), "example.com/key": ("d",), "bad%zz": ("e",)},
    )
    assert list(requestheader.without(TRUST, sent.items())) == ["X-Forwarded-For"]


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({}, None),
        ({"X-Remote-Group": "system:masters"}, None),
        ({"X-Remote-User": ""}, None),
        ({"X-Other-User": "second"}, "second"),
        ({"X-Remote-User": "", "X-Other-User": "second"}, "second"),
        ({"X-Remote-User": "first", "X-Other-User": "second"}, "first"),
    ],
)
def test_the_first_header_with_a_name_counts_and_without_a_name_there_is_no_user(
    headers: dict[str, str], name: str | None
) -> None:
    found = requestheader.user(TRUST, headers.items())
    assert (found.name if found else None) == name


@pytest.mark.parametrize(
    ("name", "groups", "wanted"),
    [
        ("jane", (), ("system:authenticated",)),
        ("jane", ("system:authenticated",), ("system:authenticated",)),
        ("system:anonymous", ("system:unauthenticated",), ("system:unauthenticated",)),
        ("x", ("system:unauthenticated",), ("system:unauthenticated",)),
    ],
)
def test_known_users_are_authenticated_and_unknown_ones_stay_so(
    name: str, groups: tuple[str, ...], wanted: tuple[str, ...]
) -> None:
    headers = [("X-Remote-User", name), *(("X-Remote-Group", g) for g in groups)]
    found = requestheader.user(TRUST, headers)
    assert found is not None
    assert found.groups == wanted


@pytest.mark.parametrize("text", ["a\tb", "a\x7f", "a\udcff"])
def test_names_that_no_user_can_have_are_refused_both_ways(text: str) -> None:
    with pytest.raises(HeaderError):
        requestheader.user(TRUST, [("X-Remote-User", text)])
    with pytest.raises(HeaderError):
        requestheader.headers(User("jane", (text,)))


def test_what_a_proxy_writes_the_server_behind_it_reads_back() -> None:
    user = User("Jäne Ø", ("a b", "system:authenticated"), "u-1", {"a/b c%": ("1", "2"), "ä": ("3",), "x%2fy": ("4",)})
    assert requestheader.user(TRUST, requestheader.headers(user)) == user


def test_the_trust_survives_its_config_map() -> None:
    full = replace(TRUST, authority="one", client_authority="two")
    assert requestheader.read(requestheader.write(full)) == full
    assert requestheader.read({}) == Trust()
    for text in ("nonsense", '"a"', "[1]"):
        with pytest.raises(ValueError, match="requestheader-allowed-names"):
            requestheader.read({"requestheader-allowed-names": text})
    assert Trust().allows("anybody"), "no name in the list means every name"
    assert not TRUST.allows("anybody")


def test_a_certificate_is_known_by_who_signed_it_and_until_it_expires() -> None:
    ours, theirs, same_name = make_authority("ca"), make_authority("proxy-ca"), make_authority("ca")
    time = datetime.now(UTC).timestamp()
    clock = [time]
    peers = Peers({"us": [ours.certificate], "them": [theirs.certificate]}, lambda: clock[0])

    def of(pem: bytes) -> str:
        der = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
        found = peers.of(_Connection(der))
        assert found is not None
        return found.authority

    good = issue_client_certificate(ours, "u", days=2).certificate
    assert of(good) == "us"
    assert of(issue_client_certificate(theirs, "u").certificate) == "them"
    assert of(issue_client_certificate(same_name, "u").certificate) == "", "a name is no signature"
    assert of(issue_server_certificate(ours, "u", ["u"]).certificate) == "", "servers are no clients"
    clock[0] = time + 3 * 86400
    assert of(good) == ""
    assert peers.of(_Connection(b"")) is None


class _Connection:
    """As much of a TLS connection as tells its peer."""

    def __init__(self, der: bytes) -> None:
        self.der = der

    def get_extra_info(self, _key: str) -> "_Connection":
        return self

    def getpeercert(self, *, binary_form: bool) -> bytes:
        return self.der if binary_form else b""


# At the server -------------------------------------------------------------------------------------------------------


def test_a_front_proxy_speaks_for_its_users(shared_api_server: ApiServer, http: Http) -> None:
    proxy = _proxy(shared_api_server)
    found = _user(proxy, X_Remote_User="jane", X_Remote_Group="devs", X_Remote_Uid="7", X_Remote_Extra_Scopes="some")
    assert found == {
        "username": "jane",
        "uid": "7",
        "groups": ["devs", "system:authenticated"],
        "extra": {"scopes": ["some"]},
    }
    assert proxy("GET", MAPS, headers={"X-Remote-User": "jane"}).status == 403, "RBAC is asked for the user"
    masters = {"X-Remote-User": "root", "X-Remote-Group": "system:masters"}
    assert proxy("GET", MAPS, headers=masters).status == 200


def test_headers_of_anybody_else_mean_nothing(shared_api_server: ApiServer, http: Http, token: str) -> None:
    lies = {"X_Remote_User": "root", "X_Remote_Group": "system:masters", "X_Remote_Extra_Scopes": "all"}
    keys = issue_client_certificate(_authority(shared_api_server, "ca"), "front-proxy-client", ["devs"])
    same_name = Http(shared_api_server, certificate=(keys.certificate, keys.key))
    found = _user(same_name, **lies)
    assert (found["username"], found["groups"]) == ("front-proxy-client", ["devs", "system:authenticated"])
    assert "scopes" not in found["extra"]
    bearer = Http(shared_api_server, token=token)
    assert _user(bearer, **lies)["username"] == "system:serviceaccount:default:default"
    nobody = Http(shared_api_server, anonymous=True)
    refused = nobody("GET", MAPS, headers={k.replace("_", "-"): v for k, v in lies.items()})
    assert refused.status == 403
    assert 'User "system:anonymous"' in refused.json["message"]


def test_a_front_proxy_of_another_name_is_not_believed_and_may_still_have_a_token(
    shared_api_server: ApiServer, token: str
) -> None:
    lies = {"X-Remote-User": "root", "X-Remote-Group": "system:masters"}
    assert _proxy(shared_api_server, "somebody")("GET", MAPS, headers=lies).status == 401
    other = _proxy(shared_api_server, "somebody", token=token)
    assert _user(other, X_Remote_User="root")["username"] == "system:serviceaccount:default:default"


def test_a_front_proxys_certificate_is_nobodys_own_identity(shared_api_server: ApiServer) -> None:
    for name in ("front-proxy-client", "kubernetes-admin"):
        assert _proxy(shared_api_server, name, "system:masters")("GET", MAPS).status == 401


def test_the_front_proxys_word_comes_before_a_token(shared_api_server: ApiServer, token: str) -> None:
    proxy = _proxy(shared_api_server, token=token)
    assert _user(proxy, X_Remote_User="jane")["username"] == "jane"
    assert _user(proxy)["username"] == "system:serviceaccount:default:default", "no name given: the next way counts"


def test_a_front_proxys_user_may_act_as_another_if_he_has_the_right(shared_api_server: ApiServer) -> None:
    proxy = _proxy(shared_api_server)
    plain = proxy(*WHO, headers={"X-Remote-User": "jane", "Impersonate-User": "joe"})
    assert plain.status == 403
    masters = {"X-Remote-User": "jane", "X-Remote-Group": "system:masters", "Impersonate-User": "joe"}
    assert proxy(*WHO, headers=masters).json["status"]["userInfo"]["username"] == "joe"


def test_a_front_proxy_that_sends_rubbish_is_refused(shared_api_server: ApiServer) -> None:
    proxy = _proxy(shared_api_server)
    assert proxy("GET", MAPS, headers={"X-Remote-User": b"\xff\xfe".decode("latin-1")}).status == 401


def test_who_may_read_the_trust(shared_api_server: ApiServer, http: Http) -> None:
    path = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
    binding = {
        "metadata": {"name": "reads-the-trust"},
        "roleRef": {"kind": "Role", "name": "extension-apiserver-authentication-reader"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}],
    }
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    given = http.ok("POST", "/api/v1/namespaces/default/serviceaccounts/default/token", body)["status"]["token"]
    reader = Http(shared_api_server, token=given)
    assert reader("GET", path).status == 403
    http.ok("POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/kube-system/rolebindings", binding)
    data = reader.ok("GET", path)["data"]
    assert requestheader.read(data).allows("front-proxy-client")
    assert reader("GET", "/api/v1/namespaces/kube-system/configmaps").status == 403, "that one alone"
