"""What a CertificateSigningRequest asks for, and whether the cluster's own signers may grant it. Pure.

In: the PEM of spec.request, the signer's name and the usages. Out: the parsed request; `RequestError` for what is no
request, and a sentence from `problem` for what a signer must not sign.
"""

import base64
import binascii
import re
from collections.abc import Iterable
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

Object = dict[str, Any]
CLIENT = "kubernetes.io/kube-apiserver-client"
KUBELET_CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"
KUBELET_SERVING = "kubernetes.io/kubelet-serving"
SIGNERS = frozenset({CLIENT, KUBELET_CLIENT, KUBELET_SERVING})
LEGACY = "kubernetes.io/legacy-unknown"
USAGES = (
    "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment",
    "decipher only", "digital signature", "email protection", "encipher only", "ipsec end system", "ipsec tunnel",
    "ipsec user", "key agreement", "key encipherment", "microsoft sgc", "netscape sgc", "ocsp signing", "s/mime",
    "server auth", "signing", "timestamping",
)  # fmt: skip
_BASIC = frozenset({"digital signature", "key encipherment"})
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")
_NODE = "system:node:"
_NODES = ("system:nodes",)


class RequestError(ValueError):
    """Why the bytes are no certificate request."""


def parse(encoded: Any) -> x509.CertificateSigningRequest:
    """The certificate request in spec.request (base64 of PEM). Raises RequestError."""
    try:
        pem = base64.b64decode(str(encoded), validate=True)
    except (binascii.Error, ValueError):
        raise RequestError("must be base64") from None
    found = _BLOCK.search(pem)
    if found is None or found[1] != b"CERTIFICATE REQUEST":
        raise RequestError("PEM block type must be CERTIFICATE REQUEST")
    try:
        request = x509.load_pem_x509_csr(pem)
        _ = request.subject, [extension.oid for extension in request.extensions]
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.UnsupportedGeneralNameType) as error:
        raise RequestError(f"cannot be parsed: {error or type(error).__name__}") from None
    except x509.DuplicateExtension as error:
        raise RequestError(f"has an extension twice: {error.oid.dotted_string}") from None
    return request


def _subject(request: x509.CertificateSigningRequest, oid: x509.ObjectIdentifier) -> tuple[str, ...]:
    return tuple(str(a.value) for a in request.subject.get_attributes_for_oid(oid))


def common_name(request: x509.CertificateSigningRequest) -> str:
    """The name that the API server would take for the user's: the last, if there are several."""
    names = _subject(request, NameOID.COMMON_NAME)
    return names[-1] if names else ""


def organizations(request: x509.CertificateSigningRequest) -> tuple[str, ...]:
    """The groups that the API server would see."""
    return _subject(request, NameOID.ORGANIZATION_NAME)


def names(request: x509.CertificateSigningRequest) -> list[x509.GeneralName]:
    """The alternative names that a signer may copy: DNS, addresses, e-mail and URIs."""
    try:
        found = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    kinds = (x509.DNSName, x509.IPAddress, x509.RFC822Name, x509.UniformResourceIdentifier)
    return [name for name in found if isinstance(name, kinds)]


def problem(signer: str, request: x509.CertificateSigningRequest, usages: Iterable[str]) -> str:
    """Why the signer must not sign; empty if it may."""
    if not request.is_signature_valid:
        return "the request is not signed by its own key"
    try:
        key = request.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        return f"the public key cannot be used: {error}"
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
        return "the public key must be RSA, ECDSA or Ed25519"
    purpose = "server auth" if signer == KUBELET_SERVING else "client auth"
    found = set(usages)
    if purpose not in found:
        return f'usages must include "{purpose}"'
    allowed = {*_BASIC, purpose}
    if found - allowed:
        return f"usages may only be {_listed(allowed)}, not {_listed(found - allowed)}"
    if signer == CLIENT:
        return ""
    if "digital signature" not in found:
        return 'usages must include "digital signature"'
    return node_problem(signer, request)


def node_problem(signer: str, request: x509.CertificateSigningRequest) -> str:
    """Why subject and alternative names are not those of a node; empty if they are."""
    if organizations(request) != _NODES:
        return f"the subject's organization must be system:nodes alone, not {_listed(organizations(request))}"
    name = common_name(request)
    if not name.startswith(_NODE) or name == _NODE or len(_subject(request, NameOID.COMMON_NAME)) != 1:
        return f'the subject\'s common name must be "{_NODE}" and a node\'s name, not "{name}"'
    found = names(request)
    if signer == KUBELET_CLIENT:
        return "a kubelet's client certificate has no alternative names" if _has_names(request) else ""
    if any(not isinstance(n, x509.DNSName | x509.IPAddress) for n in found):
        return "alternative names may only be DNS names and IP addresses"
    if not found:
        return "at least one DNS name or IP address is needed as an alternative name"
    return ""


def _has_names(request: x509.CertificateSigningRequest) -> bool:
    try:
        return bool(list(request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value))
    except x509.ExtensionNotFound:
        return False


def _listed(values: Iterable[str]) -> str:
    return ", ".join(f'"{v}"' for v in sorted(values)) or "nothing"


def condition(obj: Object, kind: str) -> Object | None:
    """The condition of a type."""
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return next((c for c in conditions if c.get("type") == kind), None)
