"""Who a client's TLS certificate is from and for.

In: the peer's certificate of a connection, and the authorities that may have signed it. Out: a `Peer`. The handshake
has checked that some trusted authority signed it; which one decides whether its subject is a user or a front proxy.
"""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_KEPT = 4096


@dataclass(frozen=True, slots=True)
class Peer:
    """authority: the name under which the signer is known, empty for an unknown one."""

    authority: str
    common_name: str
    organizations: tuple[str, ...]
    fingerprint: str
    expires: float


class Peers:
    """Reads peers' certificates; each is parsed and its signature checked once."""

    def __init__(self, authorities: Mapping[str, list[x509.Certificate]], now: Callable[[], float] = time.time) -> None:
        self._authorities = authorities
        self._now = now
        self._seen: OrderedDict[bytes, Peer] = OrderedDict()

    def of(self, transport: Any) -> Peer | None:
        """The peer at the other end of a connection; None when it showed no certificate."""
        tls = transport.get_extra_info("ssl_object") if transport is not None else None
        der = tls.getpeercert(binary_form=True) if tls is not None else None
        if not der:
            return None
        found = self._seen.get(der)
        if found is None:
            found = self._seen[der] = self.read(der)
            if len(self._seen) > _KEPT:
                self._seen.popitem(last=False)
        if found.expires < self._now():
            return Peer("", found.common_name, found.organizations, found.fingerprint, found.expires)
        return found

    def read(self, der: bytes) -> Peer:
        """Parses a certificate and finds its signer."""
        certificate = x509.load_der_x509_certificate(der)
        subject = certificate.subject
        names = [str(a.value) for a in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        return Peer(
            authority=self._signer(certificate) if _for_clients(certificate) else "",
            common_name=names[-1] if names else "",
            organizations=tuple(str(a.value) for a in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)),
            fingerprint=hashlib.sha256(der).hexdigest(),
            expires=certificate.not_valid_after_utc.timestamp(),
        )

    def _signer(self, certificate: x509.Certificate) -> str:
        for name, authorities in self._authorities.items():
            for authority in authorities:
                try:
                    certificate.verify_directly_issued_by(authority)
                except (ValueError, TypeError, InvalidSignature):
                    continue
                return name
        return ""


def _for_clients(certificate: x509.Certificate) -> bool:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    except ValueError:
        return False
    return ExtendedKeyUsageOID.CLIENT_AUTH in usage or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usage
