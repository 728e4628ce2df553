"""A certificate for an accepted request.

In: the authority, the parsed request, its usages and lifetime, and the time. Out: the certificate in PEM. Of the
request's extensions only alternative names are taken over; a certificate that may sign others is never issued.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from tortie.apiserver.pki import Authority
from tortie.apiserver.signing import requests

MAX_SECONDS = 365 * 24 * 3600
_BACKDATED = timedelta(minutes=5)  # for clients whose clocks are behind
_EXTENDED = {"client auth": ExtendedKeyUsageOID.CLIENT_AUTH, "server auth": ExtendedKeyUsageOID.SERVER_AUTH}


def issue(
    authority: Authority,
    request: x509.CertificateSigningRequest,
    usages: Iterable[str],
    *,
    seconds: int | None,
    now: float,
) -> bytes:
    """The certificate that the request asks for, valid for `seconds` but at most a year and the authority's life."""
    wanted = set(usages)
    start = datetime.fromtimestamp(int(now), UTC)
    end = start + timedelta(seconds=min(seconds or MAX_SECONDS, MAX_SECONDS))
    builder = (
        x509.CertificateBuilder()
        .subject_name(request.subject)
        .issuer_name(authority.certificate.subject)
        .public_key(request.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - _BACKDATED)
        .not_valid_after(min(end, authority.certificate.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
    )
    if {"digital signature", "key encipherment"} & wanted:
        usage = x509.KeyUsage(
            digital_signature="digital signature" in wanted,
            key_encipherment="key encipherment" in wanted,
            content_commitment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=False,
            crl_sign=False,
            encipher_only=False,
            decipher_only=False,
        )
        builder = builder.add_extension(usage, critical=True)
    extended = [oid for name, oid in _EXTENDED.items() if name in wanted]
    builder = builder.add_extension(x509.ExtendedKeyUsage(extended), critical=False)
    names = requests.names(request)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=not list(request.subject))
    return builder.sign(authority.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def expires(encoded: bytes) -> float:
    """When the first certificate of a PEM text ends. Raises ValueError."""
    return x509.load_pem_x509_certificates(encoded)[0].not_valid_after_utc.timestamp()
