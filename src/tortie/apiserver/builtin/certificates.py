"""CertificateSigningRequests in writes: who asks, who may approve and sign, and what each subresource may change.

In: requests being created, approved, signed. Out: the requester's identity in the spec, 403 for signers that the user
has no say over, causes for a 422; the columns. The signing itself is done by `tortie.apiserver.signing`.
"""

import base64
import binascii
import re
from typing import Any

from cryptography import x509

from tortie.apiserver import errors, objects
from tortie.apiserver.builtin.columns import NONE, name, text
from tortie.apiserver.context import Call, User
from tortie.apiserver.errors import Cause
from tortie.apiserver.kinds import Hooks, Table
from tortie.apiserver.objects import get
from tortie.apiserver.rbac import Attributes
from tortie.apiserver.signing import requests
from tortie.apiserver.signing.requests import RequestError
from tortie.apiserver.tables import AGE, NAME, age, duration

Object = dict[str, Any]
GROUP, PLURAL = "certificates.k8s.io", "certificatesigningrequests"
COLLECTION = f"{GROUP}/{PLURAL}"
MIN_SECONDS = 600
_DECISIONS = ("Approved", "Denied")
_KNOWN = (*_DECISIONS, "Failed")
_BLOCK = re.compile(rb"-----BEGIN ([^-\n]*)-----\n(.*?)-----END \1-----", re.DOTALL)
_MASTERS = "system:masters"


def user_of(obj: Object) -> User:
    """Who asked."""
    spec = obj["spec"]
    extra = {key: tuple(values) for key, values in (spec.get("extra") or {}).items()}
    return User(spec.get("username", ""), tuple(spec.get("groups") or ()), spec.get("uid", ""), extra)


def _prepare(call: Call, obj: Object, old: Object | None) -> None:
    if old is None:
        _stamp_requester(call, obj)
        return
    obj["spec"] = old["spec"]
    match call.info.subresource:
        case "approval":
            _keep_certificate(obj, old)
            if _conditions(obj) != _conditions(old):
                _must(call, "approve", obj)
        case "status":
            if obj.get("status") != old.get("status"):
                _must(call, "sign", obj)
    _stamp_conditions(call, obj, old)
    causes = _changes(call.info.subresource, obj, old)
    if causes:
        raise errors.invalid(GROUP, "CertificateSigningRequest", call.info.name, causes)


def _stamp_requester(call: Call, obj: Object) -> None:
    """The server, not the client, says who asks."""
    spec, user = obj.setdefault("spec", {}), call.user
    for field, value in (
        ("username", user.name),
        ("uid", user.uid),
        ("groups", list(user.groups)),
        ("extra", {key: list(values) for key, values in user.extra.items()}),
    ):
        if value:
            spec[field] = value
        else:
            spec.pop(field, None)
    if spec.get("signerName") != requests.CLIENT:
        return
    try:
        request = requests.parse(spec.get("request"))
    except RequestError:
        return  # validation says so
    if _MASTERS in requests.organizations(request):
        why = f"use of {requests.CLIENT} signer with {_MASTERS} group is not allowed"
        raise errors.forbidden(GROUP, PLURAL, obj["metadata"].get("name", ""), why)


def _must(call: Call, verb: str, obj: Object) -> None:
    """The right to a signer, by its name or by all of its domain."""
    signer = str(obj["spec"]["signerName"])
    domain = signer.partition("/")[0]
    for granted in (signer, f"{domain}/*"):
        if call.context.authorizer.allowed(call.user, Attributes(verb, GROUP, "signers", "", granted)):
            return
    why = f'user not permitted to {verb} requests with signerName "{signer}"'
    raise errors.forbidden(GROUP, PLURAL, call.info.name, why)


def _keep_certificate(obj: Object, old: Object) -> None:
    status = obj.setdefault("status", {})
    before = get(old, "status", "certificate")
    if before is None:
        status.pop("certificate", None)
    else:
        status["certificate"] = before


def _conditions(obj: Object) -> list[Object]:
    return list(get(obj, "status", "conditions") or ())


def _stamp_conditions(call: Call, obj: Object, old: Object) -> None:
    now = objects.timestamp(call.context.now())
    before = {c.get("type"): c for c in _conditions(old)}
    for found in _conditions(obj):
        if not found.get("lastUpdateTime"):
            found["lastUpdateTime"] = now
        if not found.get("lastTransitionTime"):
            known = before.get(found.get("type")) or {}
            same = known.get("status") == found.get("status") and known.get("lastTransitionTime")
            found["lastTransitionTime"] = known["lastTransitionTime"] if same else now


def _changes(subresource: str, obj: Object, old: Object) -> list[Cause]:
    """What this write may not change."""
    path, causes = "status.conditions", []
    before, after = ({c.get("type"): c for c in _conditions(o)} for o in (old, obj))
    kept = {"approval": ("Failed",), "status": _DECISIONS}.get(subresource, _KNOWN)
    for kind in _KNOWN:
        if kind in before and kind not in after:
            causes.append(errors.forbidden_field(path, f'updates may not remove a condition of type "{kind}"'))
        elif kind in kept and kind in after and kind not in before:
            causes.append(errors.forbidden_field(path, f'updates may not add a condition of type "{kind}"'))
        elif kind in kept and before.get(kind) != after.get(kind):
            causes.append(errors.forbidden_field(path, f'updates may not modify a condition of type "{kind}"'))
    certificate = get(old, "status", "certificate")
    if certificate and certificate != get(obj, "status", "certificate"):
        causes.append(errors.forbidden_field("status.certificate", "a certificate that was issued does not change"))
    return causes


def _validate(obj: Object, old: Object | None) -> list[Cause]:
    causes = [] if old is not None else _validate_spec(obj.get("spec") or {})
    return causes + _validate_conditions(_conditions(obj)) + _validate_certificate(get(obj, "status", "certificate"))


def _validate_spec(spec: Object) -> list[Cause]:
    causes: list[Cause] = []
    try:
        requests.parse(spec.get("request") or "")
    except RequestError as problem:
        causes.append(errors.invalid_value("spec.request", "<request>", str(problem)))
    causes += _validate_signer(str(spec.get("signerName") or ""))
    usages = spec.get("usages") or []
    if not usages:
        causes.append(errors.required("spec.usages"))
    for index, usage in enumerate(usages):
        if usage not in requests.USAGES:
            causes.append(errors.not_supported(f"spec.usages[{index}]", usage, requests.USAGES))
        elif usage in usages[:index]:
            causes.append(errors.duplicate(f"spec.usages[{index}]", usage))
    seconds = spec.get("expirationSeconds")
    if seconds is not None and not MIN_SECONDS <= seconds < 1 << 31:
        causes.append(
            errors.invalid_value(
                "spec.expirationSeconds", seconds, f"may not specify a duration less than {MIN_SECONDS} seconds"
                if seconds < MIN_SECONDS else "must fit in 32 bits",
            )
        )  # fmt: skip
    return causes


def _validate_signer(signer: str) -> list[Cause]:
    if not signer:
        return [errors.required("spec.signerName")]
    if signer == requests.LEGACY:
        return [
            errors.invalid_value("spec.signerName", signer, f"this signer is not allowed for API version {GROUP}/v1")
        ]
    domain, slash, path = signer.partition("/")
    bad = not slash or "/" in path or "." not in domain or len(signer) > 571
    if bad or objects.name_problem(domain, "subdomain") or objects.name_problem(path, "subdomain"):
        wanted = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        return [errors.invalid_value("spec.signerName", signer, wanted)]
    return []


def _validate_conditions(conditions: list[Object]) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, found in enumerate(conditions):
        at, kind, status = f"status.conditions[{index}]", str(found.get("type") or ""), found.get("status") or ""
        if not kind:
            causes.append(errors.required(f"{at}.type"))
        elif kind in seen:
            causes.append(errors.duplicate(f"{at}.type", kind))
        allowed = ("True",) if kind in _KNOWN else ("False", "True", "Unknown")
        if not status:
            causes.append(errors.required(f"{at}.status"))
        elif status not in allowed:
            causes.append(errors.not_supported(f"{at}.status", status, allowed))
        if kind in _DECISIONS and seen & set(_DECISIONS) - {kind}:
            causes.append(
                errors.invalid_value(f"{at}.type", kind, "Approved and Denied conditions are mutually exclusive")
            )
        seen.add(kind)
    return causes


def _validate_certificate(encoded: Any) -> list[Cause]:
    if not encoded:
        return []
    problem = _certificate_problem(str(encoded))
    return [errors.invalid_value("status.certificate", "<certificate data>", problem)] if problem else []


def _certificate_problem(encoded: str) -> str:
    try:
        pem = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return "must be base64"
    blocks = list(_BLOCK.finditer(pem))
    if not blocks:
        return "must contain at least one PEM block"
    for block in blocks:
        if block[1] != b"CERTIFICATE":
            return f"only CERTIFICATE PEM blocks are allowed, found {block[1].decode(errors='replace')!r}"
        if b":" in block[2]:
            return "no PEM block headers are permitted"
        try:
            x509.load_pem_x509_certificate(block[0])
        except ValueError:
            return "a PEM block is no X.509 certificate"
    return ""


def _requested(obj: Object) -> str:
    seconds = get(obj, "spec", "expirationSeconds")
    return duration(float(seconds)) if isinstance(seconds, int) else NONE


def _state(obj: Object) -> str:
    found = {c.get("type") for c in _conditions(obj)}
    shown = ["Denied"] if "Denied" in found else ["Approved"] if "Approved" in found else ["Pending"]
    if "Failed" in found:
        shown.append("Failed")
    if get(obj, "status", "certificate"):
        shown.append("Issued")
    return ",".join(shown)


def _cells(obj: Object) -> list[Any]:
    spec = obj["spec"]
    return [name(obj), age(obj), spec["signerName"], spec.get("username") or "", _requested(obj), _state(obj)]


HOOKS = Hooks(prepare=_prepare, validate=_validate)
TABLE = Table((NAME, AGE, text("SignerName"), text("Requestor"), text("RequestedDuration"), text("Condition")), _cells)
