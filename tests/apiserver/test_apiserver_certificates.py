"""CertificateSigningRequests: who may ask, approve and sign, what the signers issue, and when requests go.

What the issued certificate then stands for at the server is in test_apiserver_security and test_apiserver_front_proxy.
"""

import base64
import ipaddress
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from apiserver_http import MERGE, Http
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from tools import ApiServer

from tortie.apiserver.pki import issue_client_certificate, load_authority
from tortie.apiserver.signing import controller, requests
from tortie.apiserver.signing.requests import CLIENT, KUBELET_CLIENT, KUBELET_SERVING

CSRS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
USAGES = ["digital signature", "key encipherment", "client auth"]
SERVING = ["digital signature", "key encipherment", "server auth"]
_KEY = ec.generate_private_key(ec.SECP256R1())
_names = iter(range(1_000_000))


def _csr(
    common_name: str = "jane", *organizations: str, names: tuple[x509.GeneralName, ...] = (), key: Any = _KEY
) -> x509.CertificateSigningRequest:
    subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, o) for o in organizations]
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([*subject, x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else subject)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm)


def _encoded(request: x509.CertificateSigningRequest) -> str:
    return base64.b64encode(request.public_bytes(serialization.Encoding.PEM)).decode()


def _tree(request: x509.CertificateSigningRequest | str, signer: str = CLIENT, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": f"request-{next(_names)}"},
        "spec": {
            "request": request if isinstance(request, str) else _encoded(request),
            "signerName": signer,
            "usages": SERVING if signer == KUBELET_SERVING else USAGES,
            **spec,
        },
    }


def _as(server: ApiServer, user: str, *groups: str) -> Http:
    keys = server.data_dir / "pki"
    pair = issue_client_certificate(load_authority(keys / "ca.crt", keys / "ca.key"), user, groups)
    return Http(server, certificate=(pair.certificate, pair.key))


def _until(true: Callable[[], Any], what: str, seconds: float = 10) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, f"never true: {what}"
        time.sleep(0.02)
    return found


def _decide(http: Http, name: str, kind: str = "Approved") -> Any:
    tree = http.ok("GET", f"{CSRS}/{name}")
    conditions = tree.setdefault("status", {}).setdefault("conditions", [])
    conditions.append({"type": kind, "status": "True", "reason": "Test", "message": "said so"})
    return http("PUT", f"{CSRS}/{name}/approval", tree)


def _issued(http: Http, tree: dict[str, Any]) -> x509.Certificate:
    """The certificate of a request that is made, approved, and must be signed."""
    name = http.ok("POST", CSRS, tree)["metadata"]["name"]
    assert _decide(http, name).status == 200
    return _certificate(http, name)


def _certificate(http: Http, name: str) -> x509.Certificate:
    text = _until(lambda: http.ok("GET", f"{CSRS}/{name}").get("status", {}).get("certificate"), f"{name} is issued")
    return x509.load_pem_x509_certificate(base64.b64decode(text))


def _failed(http: Http, tree: dict[str, Any]) -> str:
    """Why an approved request is not signed."""
    name = http.ok("POST", CSRS, tree)["metadata"]["name"]
    assert _decide(http, name).status == 200

    def condition() -> Any:
        found = http.ok("GET", f"{CSRS}/{name}")
        assert not found["status"].get("certificate")
        return requests.condition(found, "Failed")

    return str(_until(condition, f"{name} failed")["message"])


@pytest.fixture(scope="module")
def http(shared_api_server: ApiServer) -> Http:
    return Http(shared_api_server)


# The whole way -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("old", [True, False])
def test_a_user_whose_certificate_was_approved_with_kubectl_works_with_it(
    shared_api_server: ApiServer, http: Http, tmp_path: Path, old: bool
) -> None:
    kubectl, user = shared_api_server.kubectl, f"jane-{'old' if old else 'new'}"
    key = ec.generate_private_key(ec.SECP256R1())
    tree = _tree(_csr(user, "devs", key=key), expirationSeconds=3600)
    name = tree["metadata"]["name"]
    kubectl("apply", "-f", "-", stdin=yaml.safe_dump(tree), old=old)
    shown = kubectl("get", "csr", old=old).stdout
    row = next(line.split() for line in shown.splitlines() if line.startswith(f"{name} "))
    assert row[2:] == [CLIENT, "kubernetes-admin", "60m", "Pending"]
    assert "approved" in kubectl("certificate", "approve", name, old=old).stdout
    _certificate(http, name)
    assert kubectl("get", "csr", name, "--no-headers", old=old).stdout.split()[-1] == "Approved,Issued"
    described = kubectl("describe", "csr", name, old=old).stdout
    assert ["Common", "Name:", user] in [line.split() for line in described.splitlines()]
    (tmp_path / "user.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    encoded = kubectl("get", "csr", name, "-o", "jsonpath={.status.certificate}", old=old).stdout
    (tmp_path / "user.crt").write_bytes(base64.b64decode(encoded))
    mine = [
        f"--client-certificate={tmp_path / 'user.crt'}", f"--client-key={tmp_path / 'user.key'}",
        f"--server=https://127.0.0.1:{shared_api_server.port}",
        f"--certificate-authority={shared_api_server.data_dir / 'pki' / 'ca.crt'}", "--kubeconfig=/dev/null",
    ]  # fmt: skip
    refused = kubectl(*mine, "get", "configmaps", old=old, check=False)
    assert f'User "{user}" cannot list resource "configmaps"' in refused.stderr
    kubectl("create", "rolebinding", name, "--clusterrole=view", "--group=devs", old=old)
    assert kubectl(*mine, "get", "configmaps", "-o", "name", old=old).stdout
    if not old:
        assert ["Username", user] in [line.split() for line in kubectl(*mine, "auth", "whoami").stdout.splitlines()]
    kubectl("delete", "rolebinding", name, old=old)


def test_a_denied_request_is_never_signed(shared_api_server: ApiServer, http: Http) -> None:
    tree = http.ok("POST", CSRS, _tree(_csr()))
    name = tree["metadata"]["name"]
    assert "denied" in shared_api_server.kubectl("certificate", "deny", name).stdout
    other = _issued(http, _tree(_csr()))  # made later, signed by now
    assert other.issuer
    found = http.ok("GET", f"{CSRS}/{name}")
    assert "certificate" not in found["status"]
    assert shared_api_server.kubectl("get", "csr", name, "--no-headers").stdout.split()[-1] == "Denied"
    refused = _decide(http, name)
    assert refused.status == 422
    assert "mutually exclusive" in refused.json["message"]


# What is issued ------------------------------------------------------------------------------------------------------


def test_a_client_certificate_says_what_was_asked_and_signs_nobody_else(
    http: Http, shared_api_server: ApiServer
) -> None:
    names = (x509.DNSName("jane.example.com"), x509.RFC822Name("jane@example.com"))
    before = time.time()
    made = _issued(http, _tree(_csr("jane", "devs", "ops", names=names), expirationSeconds=900))
    made.verify_directly_issued_by(
        x509.load_pem_x509_certificate((shared_api_server.data_dir / "pki" / "ca.crt").read_bytes())
    )
    assert made.subject.rfc4514_string() == "CN=jane,O=ops,O=devs"
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = made.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.digital_signature, usage.key_encipherment, usage.key_cert_sign) == (True, True, False)
    assert list(made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.CLIENT_AUTH
    ]
    assert set(made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value) == set(names)
    assert abs(made.not_valid_after_utc.timestamp() - before - 900) < 30
    assert 0 <= before - made.not_valid_before_utc.timestamp() < 330


def test_without_a_wish_and_with_a_long_one_a_certificate_lasts_a_year(http: Http) -> None:
    for spec in ({}, {"expirationSeconds": 10 * 365 * 86400 // 10 * 10}):
        made = _issued(http, _tree(_csr(), **spec))
        assert abs(made.not_valid_after_utc.timestamp() - time.time() - 365 * 86400) < 60


@pytest.mark.parametrize("make", [lambda: rsa.generate_private_key(65537, 2048), ed25519.Ed25519PrivateKey.generate])
def test_other_kinds_of_keys_are_signed_too(http: Http, make: Callable[[], Any]) -> None:
    key = make()
    assert _issued(http, _tree(_csr(key=key))).public_key() == key.public_key()


def test_a_kubelets_serving_certificate_has_its_names(http: Http) -> None:
    names = (x509.DNSName("node-1"), x509.IPAddress(ipaddress.ip_address("192.0.2.7")))
    made = _issued(http, _tree(_csr("system:node:node-1", "system:nodes", names=names), KUBELET_SERVING))
    assert set(made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value) == set(names)
    assert list(made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.SERVER_AUTH
    ]


NODE = ("system:node:n", "system:nodes")
DNS = (x509.DNSName("n"),)


@pytest.mark.parametrize(
    ("signer", "request_", "usages", "why"),
    [
        (CLIENT, _csr(), ["client auth"], ""),
        (CLIENT, _csr(), ["digital signature"], 'must include "client auth"'),
        (CLIENT, _csr(), [*USAGES, "server auth"], 'not "server auth"'),
        (CLIENT, _csr(), [*USAGES, "cert sign"], 'not "cert sign"'),
        (CLIENT, _csr(key=dsa.generate_private_key(2048)), USAGES, "must be RSA"),
        (KUBELET_CLIENT, _csr(*NODE), USAGES, ""),
        (KUBELET_CLIENT, _csr(*NODE), ["digital signature", "client auth"], ""),
        (KUBELET_CLIENT, _csr(*NODE), ["key encipherment", "client auth"], 'must include "digital signature"'),
        (KUBELET_CLIENT, _csr(*NODE, names=DNS), USAGES, "no alternative names"),
        (KUBELET_CLIENT, _csr("system:node:n"), USAGES, "organization"),
        (KUBELET_CLIENT, _csr(*NODE, "system:masters"), USAGES, "organization"),
        (KUBELET_CLIENT, _csr("jane", "system:nodes"), USAGES, "common name"),
        (KUBELET_CLIENT, _csr("system:node:", "system:nodes"), USAGES, "common name"),
        (KUBELET_SERVING, _csr(*NODE, names=DNS), SERVING, ""),
        (KUBELET_SERVING, _csr(*NODE, names=DNS), ["digital signature", "server auth"], ""),
        (KUBELET_SERVING, _csr(*NODE, names=DNS), USAGES, 'must include "server auth"'),
        (KUBELET_SERVING, _csr(*NODE), SERVING, "at least one"),
        (KUBELET_SERVING, _csr(*NODE, names=(*DNS, x509.RFC822Name("a@b.c"))), SERVING, "may only be"),
        (KUBELET_SERVING, _csr(*NODE, names=(x509.UniformResourceIdentifier("http://x"),)), SERVING, "may only be"),
        (KUBELET_SERVING, _csr("n", "system:nodes", names=DNS), SERVING, "common name"),
    ],
)
def test_each_signer_has_its_rules(
    signer: str, request_: x509.CertificateSigningRequest, usages: list[str], why: str
) -> None:
    found = requests.problem(signer, request_, usages)
    assert (why in found) if why else not found


def test_what_a_signer_must_not_sign_is_said_so_in_a_condition(http: Http, shared_api_server: ApiServer) -> None:
    tree = _tree(_csr("jane"), KUBELET_CLIENT)
    assert "organization" in _failed(http, tree)
    shown = shared_api_server.kubectl("get", "csr", tree["metadata"]["name"], "--no-headers").stdout
    assert shown.split()[-1] == "Approved,Failed"


def test_a_request_that_is_not_signed_by_its_own_key_fails(http: Http) -> None:
    pem = _csr("jane").public_bytes(serialization.Encoding.DER)
    forged = pem.replace(b"jane", b"root")
    text = (
        b"-----BEGIN CERTIFICATE REQUEST-----\n" + base64.encodebytes(forged) + b"-----END CERTIFICATE REQUEST-----\n"
    )
    assert "own key" in _failed(http, _tree(base64.b64encode(text).decode()))


def test_signers_of_others_are_left_to_them(http: Http) -> None:
    name = http.ok("POST", CSRS, _tree(_csr(), "example.com/own", usages=["code signing"]))["metadata"]["name"]
    assert _decide(http, name).status == 200
    _issued(http, _tree(_csr()))
    found = http.ok("GET", f"{CSRS}/{name}")
    assert "certificate" not in found["status"]
    certificate = base64.b64encode(_pem(http)).decode()
    found["status"]["certificate"] = certificate
    assert http.ok("PUT", f"{CSRS}/{name}/status", found)["status"]["certificate"] == certificate


def _pem(http: Http) -> bytes:
    return (http.server.data_dir / "pki" / "admin.crt").read_bytes()


# Who may ask and decide ----------------------------------------------------------------------------------------------


def _grant(http: Http, name: str, user: str, *rules: dict[str, Any]) -> None:
    http.ok("POST", f"{RBAC}/clusterroles", {"metadata": {"name": name}, "rules": list(rules)})
    binding = {
        "metadata": {"name": name},
        "roleRef": {"kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "User", "name": user}],
    }
    http.ok("POST", f"{RBAC}/clusterrolebindings", binding)


def _rule(resources: str, *verbs: str, names: tuple[str, ...] = ()) -> dict[str, Any]:
    rule = {"apiGroups": ["certificates.k8s.io"], "resources": resources.split(), "verbs": list(verbs)}
    return {**rule, "resourceNames": list(names)} if names else rule


def test_the_server_says_who_asks(http: Http, shared_api_server: ApiServer) -> None:
    _grant(http, "asks", "asker", _rule("certificatesigningrequests", "create"))
    lies = {"username": "root", "uid": "0", "groups": ["system:masters"], "extra": {"a": ["b"]}}
    made = _as(shared_api_server, "asker", "devs").ok("POST", CSRS, _tree(_csr(), **lies))["spec"]
    assert (made["username"], made["groups"]) == ("asker", ["devs", "system:authenticated"])
    assert "uid" not in made
    assert list(made["extra"]) == ["authentication.kubernetes.io/credential-id"]


def test_nobody_gets_the_masters_group_from_the_client_signer(http: Http) -> None:
    refused = http("POST", CSRS, _tree(_csr("jane", "devs", "system:masters")))
    assert refused.status == 403
    assert "system:masters" in refused.json["message"]
    http.ok("POST", CSRS, _tree(_csr("jane", "system:masters"), "example.com/own"))


@pytest.mark.parametrize(
    ("names", "allowed"),
    [((), True), ((CLIENT,), True), (("kubernetes.io/*",), True), ((KUBELET_CLIENT,), False), (("*",), False)],
)
def test_approving_needs_a_say_over_the_signer(
    http: Http, shared_api_server: ApiServer, names: tuple[str, ...], allowed: bool
) -> None:
    user = f"approver-{next(_names)}"
    rules = [_rule("certificatesigningrequests", "get"), _rule("certificatesigningrequests/approval", "update")]
    _grant(http, user, user, *rules, _rule("signers", "approve", names=names))
    name = http.ok("POST", CSRS, _tree(_csr()))["metadata"]["name"]
    answer = _decide(_as(shared_api_server, user), name)
    assert answer.status == (200 if allowed else 403)
    if not allowed:
        assert f'user not permitted to approve requests with signerName "{CLIENT}"' in answer.json["message"]
        assert not requests.condition(http.ok("GET", f"{CSRS}/{name}"), "Approved")


def test_signing_needs_a_say_over_the_signer(http: Http, shared_api_server: ApiServer) -> None:
    user = f"signer-{next(_names)}"
    _grant(http, user, user, _rule("certificatesigningrequests/status", "update"), _rule("signers", "approve"))
    tree = http.ok("POST", CSRS, _tree(_csr(), "example.com/own"))
    tree["status"] = {"certificate": base64.b64encode(_pem(http)).decode()}
    signer = _as(shared_api_server, user)
    refused = signer("PUT", f"{CSRS}/{tree['metadata']['name']}/status", tree)
    assert refused.status == 403
    assert 'not permitted to sign requests with signerName "example.com/own"' in refused.json["message"]
    _grant(http, f"{user}-2", user, _rule("signers", "sign", names=("example.com/*",)))
    assert signer("PUT", f"{CSRS}/{tree['metadata']['name']}/status", tree).status == 200


# What may change -----------------------------------------------------------------------------------------------------


def test_each_way_of_writing_changes_its_own_part(http: Http) -> None:
    tree = http.ok("POST", CSRS, {**_tree(_csr(), "example.com/own"), "status": {"certificate": "eA=="}})
    place = f"{CSRS}/{tree['metadata']['name']}"
    assert not tree.get("status"), "a new request has none"
    patch = {"metadata": {"labels": {"a": "b"}}, "spec": {"usages": ["any"]}, "status": {"certificate": "eA=="}}
    changed = http.ok("PATCH", place, patch, content=MERGE)
    assert changed["metadata"]["labels"] == {"a": "b"}
    assert changed["spec"] == tree["spec"]
    assert not changed.get("status")
    approved = {"type": "Approved", "status": "True", "reason": "Test"}
    both = {"status": {"conditions": [approved], "certificate": base64.b64encode(_pem(http)).decode()}}
    decided = http.ok("PATCH", f"{place}/approval", both, content=MERGE)
    assert "certificate" not in decided["status"]
    (condition,) = decided["status"]["conditions"]
    assert condition["lastUpdateTime"] == condition["lastTransitionTime"] != ""
    assert decided["metadata"]["managedFields"][-1]["subresource"] == "approval"


def _refusals(http: Http, place: str, status: dict[str, Any]) -> str:
    refused = http("PATCH", place, {"status": status}, content=MERGE)
    assert refused.status == 422, refused.data
    return str(refused.json["message"])


def test_decisions_stay_and_come_from_where_they_belong(http: Http) -> None:
    tree = http.ok("POST", CSRS, _tree(_csr(), "example.com/own"))
    place = f"{CSRS}/{tree['metadata']['name']}"
    approved = {"type": "Approved", "status": "True", "reason": "Test"}
    failed = {"type": "Failed", "status": "True", "reason": "Test"}
    assert 'add a condition of type "Approved"' in _refusals(http, f"{place}/status", {"conditions": [approved]})
    assert 'add a condition of type "Failed"' in _refusals(http, f"{place}/approval", {"conditions": [failed]})
    wrong = {"conditions": [{**approved, "status": "False"}]}
    assert 'supported values: "True"' in _refusals(http, f"{place}/approval", wrong)
    twice = {"conditions": [{"type": "Other", "status": "True"}, {"type": "Other", "status": "False"}]}
    assert "Duplicate value" in _refusals(http, f"{place}/approval", twice)
    http.ok("PATCH", f"{place}/approval", {"status": {"conditions": [approved]}}, content=MERGE)
    assert 'remove a condition of type "Approved"' in _refusals(http, f"{place}/approval", {"conditions": []})
    changed = {"conditions": [{**approved, "reason": "Another"}]}
    assert 'modify a condition of type "Approved"' in _refusals(http, f"{place}/status", changed)
    for bad, why in (
        (b"nothing", "at least one PEM block"),
        (_pem(http).replace(b"CERTIFICATE", b"RSA KEY"), "only CERTIFICATE"),
        (_pem(http)[:120] + b"\n-----END CERTIFICATE-----\n", "no X.509"),
    ):
        assert why in _refusals(http, f"{place}/status", {"certificate": base64.b64encode(bad).decode()})
    good = {"certificate": base64.b64encode(b"A text.\n" + _pem(http)).decode()}
    http.ok("PATCH", f"{place}/status", {"status": good}, content=MERGE)
    other = {"certificate": base64.b64encode(_pem(http)).decode()}
    assert "does not change" in _refusals(http, f"{place}/status", other)


@pytest.mark.parametrize(
    ("spec", "field", "why"),
    [
        ({"request": "eA=="}, "spec.request", "CERTIFICATE REQUEST"),
        ({"signerName": ""}, "spec.signerName", "Required"),
        ({"signerName": "kubernetes.io/legacy-unknown"}, "spec.signerName", "not allowed"),
        ({"signerName": "kubernetes.io"}, "spec.signerName", "fully qualified"),
        ({"signerName": "local/name"}, "spec.signerName", "fully qualified"),
        ({"signerName": "example.com/a/b"}, "spec.signerName", "fully qualified"),
        ({"signerName": "Example.com/a"}, "spec.signerName", "fully qualified"),
        ({"usages": []}, "spec.usages", "Required"),
        ({"usages": ["client auth", "client auth"]}, "spec.usages[1]", "Duplicate"),
        ({"usages": ["eating"]}, "spec.usages[0]", "Unsupported"),
        ({"expirationSeconds": 599}, "spec.expirationSeconds", "less than 600"),
        ({"expirationSeconds": 1 << 31}, "spec.expirationSeconds", "32 bits"),
    ],
)
def test_what_a_request_must_be(http: Http, spec: dict[str, Any], field: str, why: str) -> None:
    tree = _tree(_csr())
    tree["spec"].update(spec)
    refused = http("POST", CSRS, tree)
    assert refused.status == 422, refused.data
    found = {c["field"]: c["message"] for c in refused.json["details"]["causes"]}
    assert why in found[field]


def test_requests_are_found_by_their_signer(http: Http) -> None:
    http.ok("POST", CSRS, _tree(_csr(), "example.com/found"))
    found = http.ok("GET", CSRS, query={"fieldSelector": "spec.signerName=example.com/found"})["items"]
    assert [i["spec"]["signerName"] for i in found] == ["example.com/found"]


# Kubelets and old requests -------------------------------------------------------------------------------------------


def test_a_kubelet_with_the_right_to_it_gets_its_client_certificate_unseen(
    http: Http, shared_api_server: ApiServer
) -> None:
    binding = {
        "metadata": {"name": "nodes-renew"},
        "roleRef": {
            "kind": "ClusterRole",
            "name": "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        },
        "subjects": [{"kind": "Group", "name": "system:nodes"}],
    }
    http.ok("POST", f"{RBAC}/clusterrolebindings", binding)
    kubelet = _as(shared_api_server, "system:node:n", "system:nodes")
    name = kubelet.ok("POST", CSRS, _tree(_csr("system:node:n", "system:nodes"), KUBELET_CLIENT))["metadata"]["name"]
    made = _certificate(http, name)
    assert made.subject.rfc4514_string() == "CN=system:node:n,O=system:nodes"
    approval = requests.condition(http.ok("GET", f"{CSRS}/{name}"), "Approved")
    assert approval is not None
    assert approval["reason"] == "AutoApproved"
    other = kubelet.ok("POST", CSRS, _tree(_csr("system:node:m", "system:nodes"), KUBELET_CLIENT))["metadata"]["name"]
    serving = _csr("system:node:n", "system:nodes", names=DNS)
    third = kubelet.ok("POST", CSRS, _tree(serving, KUBELET_SERVING))["metadata"]["name"]
    _issued(http, _tree(_csr()))
    for waiting in (other, third):
        assert not http.ok("GET", f"{CSRS}/{waiting}").get("status"), "another node's, and serving, wait for approval"


def _aged(created: str, *conditions: tuple[str, str], certificate: bytes = b"") -> dict[str, Any]:
    found = [{"type": kind, "status": "True", "lastUpdateTime": at} for kind, at in conditions]
    status = {"conditions": found, **({"certificate": base64.b64encode(certificate).decode()} if certificate else {})}
    return {"metadata": {"creationTimestamp": created}, "status": status if conditions else {}}


def test_old_requests_go(http: Http) -> None:
    at = 1_800_000_000.0  # 2027-01-15T08:00:00Z
    assert controller.outlived(_aged("2027-01-14T08:00:01Z"), at) == ""
    assert "nobody decided" in controller.outlived(_aged("2027-01-14T07:59:59Z"), at)
    for kind in ("Approved", "Denied", "Failed"):
        assert controller.outlived(_aged("2027-01-01T00:00:00Z", (kind, "2027-01-15T07:00:01Z")), at) == ""
        assert kind.lower() in controller.outlived(_aged("2027-01-01T00:00:00Z", (kind, "2027-01-15T06:59:59Z")), at)
    assert controller.outlived(_aged("2027-01-01T00:00:00Z", ("Denied", "rubbish")), at)
    issued = _aged("2027-01-15T07:50:00Z", ("Approved", "2027-01-15T07:55:00Z"), certificate=_pem(http))
    assert controller.outlived(issued, at) == ""
    assert "expired" in controller.outlived(
        _aged("2037-01-15T07:50:00Z", ("Approved", "2037-01-15T07:55:00Z"), certificate=_pem(http)), at + 315_576_000
    )


async def test_the_server_removes_them_itself(tmp_path: Path) -> None:
    from tortie.apiserver import writes
    from tortie.apiserver.context import SYSTEM, Call
    from tortie.apiserver.requests import RequestInfo
    from tortie.apiserver.server import Server, Settings

    server = Server(Settings(tmp_path, (("127.0.0.1", 0),)))
    await server.start()
    try:
        context = server.context
        kind = context.registry.find("certificates.k8s.io", "v1", "certificatesigningrequests")
        assert kind is not None
        for signer in (CLIENT, "example.com/own"):
            info = RequestInfo(True, "create", "", kind.group, "v1", "", kind.plural)
            await writes.create(Call(context, SYSTEM, info, kind, {}, "test"), _tree(_csr(), signer))
        signer_ = controller.Signer(context)
        assert await signer_.sweep() == []
        start = time.time()
        context.now = lambda: start + 86_401
        assert len(await signer_.sweep()) == 2
        assert not list(context.store.collection(kind.collection).select(None))
    finally:
        await server.stop()
