"""Certificates of the kubelet's server: its own, and whose it accepts.

In: the peer's certificate as the TLS library gives it. Out: whether it is the API server's; a self-signed serving
certificate where none was given, as a kubelet makes one.
"""

import datetime
import os
import socket
from pathlib import Path
from typing import Any

_CLIENT_NAME = "kube-apiserver-kubelet-client"
_CLIENT_GROUP = "system:masters"


def is_api_server(certificate: dict[str, Any] | None) -> bool:
    """Whether a verified client certificate is the API server's (by name) or an administrator's (by group)."""
    if not certificate:
        return False
    names = [pair for part in certificate.get("subject", ()) for pair in part]
    return ("commonName", _CLIENT_NAME) in names or ("organizationName", _CLIENT_GROUP) in names


def self_signed(directory: Path) -> tuple[Path, Path]:
    """Certificate and key, made once and kept."""
    certificate, key = directory / "kubelet.crt", directory / "kubelet.key"
    if certificate.exists() and key.exists():
        return certificate, key
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, socket.gethostname()[:64])])
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=3650))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(socket.gethostname())]), critical=False)
        .sign(private, hashes.SHA256())
    )
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(
            private.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return certificate, key
