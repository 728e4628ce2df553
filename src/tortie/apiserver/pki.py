"""The cluster's certificates and keys, made at the first start and kept in DIR/pki.

In: a folder, names and addresses to serve. Out: PEM files (keys 0600), an admin kubeconfig, and
`issue_client_certificate` for whoever needs an identity (the lab's nodes, the kubelet client).
"""

import base64
import ipaddress
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_CA_DAYS = 3650
_DAYS = 365
_RENEW_DAYS = 90
FRONT_PROXY_CLIENT = "front-proxy-client"  # its file, and its common name


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority: what signs, and its certificate in PEM."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes


def _write(path: Path, data: bytes, mode: int) -> None:
    """Writes a whole file or none of it."""
    temporary = path.with_name(path.name + ".new")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.chmod(mode)
    temporary.replace(path)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _name(common_name: str, organizations: Iterable[str] = ()) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, o) for o in organizations]
    return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(subject: x509.Name, issuer: x509.Name, days: int) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=days))
    )


def make_authority(common_name: str) -> Authority:
    """A new self-signed certificate authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(common_name)
    certificate = (
        _builder(name, name, _CA_DAYS)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_usage(ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(key, certificate)


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not ca,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _issue(
    authority: Authority, subject: x509.Name, usage: x509.ObjectIdentifier, names: Sequence[x509.GeneralName], days: int
) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        _builder(subject, authority.certificate.subject, days)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificate = builder.sign(authority.key, hashes.SHA256())
    return Pair(certificate.public_bytes(serialization.Encoding.PEM), _key_pem(key))


def issue_client_certificate(
    authority: Authority, common_name: str, organizations: Iterable[str] = (), *, days: int = _DAYS
) -> Pair:
    """A certificate that the API server takes as user `common_name` in groups `organizations`."""
    return _issue(authority, _name(common_name, organizations), ExtendedKeyUsageOID.CLIENT_AUTH, (), days)


def issue_server_certificate(
    authority: Authority,
    common_name: str,
    hosts: Iterable[str],
    organizations: Iterable[str] = (),
    *,
    days: int = _DAYS,
) -> Pair:
    """A certificate to serve TLS under the given DNS names and addresses."""
    names: list[x509.GeneralName] = []
    for host in dict.fromkeys(hosts):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    return _issue(authority, _name(common_name, organizations), ExtendedKeyUsageOID.SERVER_AUTH, names, days)


def load_authority(certificate: Path, key: Path) -> Authority:
    """Reads a certificate authority from its PEM files."""
    loaded = serialization.load_pem_private_key(key.read_bytes(), None)
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{key} is not an elliptic-curve key")  # noqa: TRY004 - a bad file, not a bad type
    return Authority(loaded, x509.load_pem_x509_certificate(certificate.read_bytes()))


@dataclass(frozen=True, slots=True)
class Pki:
    """The files of DIR/pki. front_proxy signs the certificate that this server shows to aggregated API servers."""

    folder: Path
    authority: Authority
    front_proxy: Authority

    @property
    def ca(self) -> Path:
        return self.folder / "ca.crt"

    def pair(self, name: str) -> tuple[Path, Path]:
        return self.folder / f"{name}.crt", self.folder / f"{name}.key"


def ensure(data_dir: Path, hosts: Sequence[str]) -> Pki:
    """Makes what is missing or about to expire in DIR/pki; keeps the rest."""
    folder = data_dir / "pki"
    folder.mkdir(parents=True, exist_ok=True, mode=0o755)
    authority = _ensure_authority(folder, "ca", "tortie-ca")
    front_proxy = _ensure_authority(folder, "front-proxy-ca", "front-proxy-ca")
    pki = Pki(folder, authority, front_proxy)
    if not (folder / "sa.key").exists():
        _write(folder / "sa.key", _key_pem(ec.generate_private_key(ec.SECP256R1())), 0o600)
    if not _good(folder / "apiserver.crt", hosts):
        _save(pki, "apiserver", issue_server_certificate(authority, "kube-apiserver", hosts))
    for name, common_name, organizations in (
        ("admin", "kubernetes-admin", ("system:masters",)),
        ("apiserver-kubelet-client", "kube-apiserver-kubelet-client", ("system:masters",)),
    ):
        if not _good(folder / f"{name}.crt", ()):
            _save(pki, name, issue_client_certificate(authority, common_name, organizations))
    if not _good(folder / f"{FRONT_PROXY_CLIENT}.crt", ()):
        _save(pki, FRONT_PROXY_CLIENT, issue_client_certificate(front_proxy, FRONT_PROXY_CLIENT))
    return pki


def _ensure_authority(folder: Path, name: str, common_name: str) -> Authority:
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    if not key.exists() or not certificate.exists():
        made = make_authority(common_name)
        _write(certificate, made.pem, 0o644)
        _write(key, _key_pem(made.key), 0o600)
    return load_authority(certificate, key)


def _save(pki: Pki, name: str, pair: Pair) -> None:
    certificate, key = pki.pair(name)
    _write(key, pair.key, 0o600)
    _write(certificate, pair.certificate, 0o644)


def _good(path: Path, hosts: Sequence[str]) -> bool:
    """Whether the certificate is there, is not about to expire, and covers the hosts."""
    if not path.exists() or not path.with_suffix(".key").exists():
        return False
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError:
        return False
    if certificate.not_valid_after_utc - datetime.now(UTC) < timedelta(days=_RENEW_DAYS):
        return False
    if not hosts:
        return True
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    have = {str(n) for n in names.get_values_for_type(x509.IPAddress)} | set(names.get_values_for_type(x509.DNSName))
    return set(hosts) <= have


def kubeconfig(server: str, ca: bytes, pair: Pair, *, cluster: str = "tortie", user: str = "admin") -> str:
    """A kubeconfig with everything embedded."""

    def text(data: bytes) -> str:
        return base64.b64encode(data).decode()

    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": cluster, "cluster": {"server": server, "certificate-authority-data": text(ca)}}],
            "users": [
                {
                    "name": user,
                    "user": {
                        "client-certificate-data": text(pair.certificate),
                        "client-key-data": text(pair.key),
                    },
                }
            ],
            "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": user}}],
            "current-context": cluster,
        },
        sort_keys=False,
    )


def write_admin_kubeconfig(pki: Pki, path: Path, server: str) -> None:
    """DIR/admin.kubeconfig, readable by its owner only."""
    certificate, key = pki.pair("admin")
    pair = Pair(certificate.read_bytes(), key.read_bytes())
    _write(path, kubeconfig(server, pki.authority.pem, pair).encode(), 0o600)
