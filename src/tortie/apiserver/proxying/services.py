"""APIServices as data: which group version belongs to whom, and what their status says.

In: stored APIService trees, the registry. Out: `Target`s for forwarding, the trees of Local APIServices that the
server keeps for its own groups, and Available conditions. Pure.
"""

import base64
import binascii
from dataclasses import dataclass
from typing import Any

from tortie.apiserver import errors, objects
from tortie.apiserver.errors import Cause
from tortie.apiserver.registry import GroupVersion, group_priority

Object = dict[str, Any]
GROUP = "apiregistration.k8s.io"
COLLECTION = f"{GROUP}/apiservices"
MANAGED = "kube-aggregator.kubernetes.io/automanaged"
_BUILT_IN, _CUSTOM = "onstart", "true"
_MAX_PRIORITY = 20_000


@dataclass(frozen=True, slots=True)
class Target:
    """One APIService that names a Service: where its group version is served, and how it is trusted."""

    name: str
    group: str
    version: str
    namespace: str
    service: str
    port: int
    ca: bytes
    insecure: bool
    group_priority: int
    version_priority: int

    @property
    def server_name(self) -> str:
        """The name that the server's certificate must have."""
        return f"{self.service}.{self.namespace}.svc"

    @property
    def path(self) -> str:
        return f"/apis/{self.group}/{self.version}"


def read(obj: Object) -> Target | None:
    """The target of an APIService; None when it is served here."""
    spec = obj.get("spec") or {}
    service = spec.get("service")
    if not service:
        return None
    return Target(
        name=str(obj["metadata"]["name"]),
        group=str(spec.get("group", "")),
        version=str(spec.get("version", "")),
        namespace=str(service.get("namespace", "")),
        service=str(service.get("name", "")),
        port=int(service.get("port") or 443),
        ca=base64.b64decode(spec.get("caBundle") or ""),
        insecure=bool(spec.get("insecureSkipTLSVerify")),
        group_priority=int(spec.get("groupPriorityMinimum") or 0),
        version_priority=int(spec.get("versionPriority") or 0),
    )


def name_of(group: str, version: str) -> str:
    """`v1.apps`; the core group's is `v1.`."""
    return f"{version}.{group}"


def local(gv: GroupVersion) -> Object:
    """The APIService that the server keeps for a group version of its own."""
    custom = all(kind.definition for kind in gv.kinds.values())
    spec: Object = {
        "version": gv.version,
        "groupPriorityMinimum": group_priority(gv.group),
        "versionPriority": 99 + gv.priority if custom else (1 if not gv.group else 15 + gv.priority),
    }
    if gv.group:
        spec = {"group": gv.group, **spec}
    labels = {MANAGED: _CUSTOM if custom else _BUILT_IN}
    return {"metadata": {"name": name_of(gv.group, gv.version), "labels": labels}, "spec": spec}


def is_managed(obj: Object) -> bool:
    """Whether the server made this APIService for itself."""
    return (obj["metadata"].get("labels") or {}).get(MANAGED) in {_BUILT_IN, _CUSTOM}


def condition(status: bool, reason: str, message: str, now: str) -> Object:
    """The Available condition."""
    return {
        "type": "Available",
        "status": "True" if status else "False",
        "lastTransitionTime": now,
        "reason": reason,
        "message": message,
    }


def with_condition(obj: Object, wanted: Object) -> Object:
    """The object with that Available condition; the time of the transition stays while the status does."""
    status = obj.setdefault("status", {})
    others = []
    for found in status.get("conditions") or ():
        if found.get("type") != wanted["type"]:
            others.append(found)
        elif found.get("status") == wanted["status"]:
            wanted = {**wanted, "lastTransitionTime": found.get("lastTransitionTime") or wanted["lastTransitionTime"]}
    status["conditions"] = [*others, wanted]
    return obj


def available(obj: Object) -> bool:
    """Whether the last check found the server healthy."""
    conditions = objects.get(obj, "status", "conditions") or ()
    return any(c.get("type") == "Available" and c.get("status") == "True" for c in conditions)


def default(obj: Object) -> None:
    """Fills the port."""
    obj.setdefault("status", {})
    service = (obj.get("spec") or {}).get("service")
    if service and service.get("port") is None:
        service["port"] = 443


def validate(obj: Object, _old: Object | None) -> list[Cause]:
    """What an APIService must keep to."""
    spec = obj.get("spec") or {}
    causes: list[Cause] = []
    group, version = str(spec.get("group", "")), str(spec.get("version", ""))
    name = str(obj["metadata"].get("name", ""))
    if name != name_of(group, version):
        wanted = f'`spec.version+"."+spec.group`: {name_of(group, version)!r}'.replace("'", '"')
        causes.append(errors.invalid_value("metadata.name", name, f"must be {wanted}"))
    if not version:
        causes.append(errors.required("spec.version"))
    elif problem := objects.name_problem(version, "label1035"):
        causes.append(errors.invalid_value("spec.version", version, problem))
    if group and (problem := objects.name_problem(group, "subdomain")):
        causes.append(errors.invalid_value("spec.group", group, problem))
    causes += _priorities(spec)
    return causes + _connection(spec, group)


def _priorities(spec: Object) -> list[Cause]:
    causes: list[Cause] = []
    for field, limit in (("groupPriorityMinimum", _MAX_PRIORITY), ("versionPriority", 1000)):
        value = spec.get(field) or 0
        if not 0 < value <= limit:
            causes.append(
                errors.invalid_value(f"spec.{field}", value, f"must be positive and less than or equal to {limit}")
            )
    return causes


def _connection(spec: Object, group: str) -> list[Cause]:
    causes: list[Cause] = []
    service = spec.get("service")
    ca, insecure = spec.get("caBundle"), bool(spec.get("insecureSkipTLSVerify"))
    if service is None:
        if ca:
            causes.append(
                errors.invalid_value("spec.caBundle", f"{len(ca)} bytes", "local APIServices may not have a caBundle")
            )
        if insecure:
            causes.append(
                errors.invalid_value(
                    "spec.insecureSkipTLSVerify", insecure, "local APIServices may not have insecureSkipTLSVerify"
                )
            )
        return causes
    for field in ("namespace", "name"):
        if not service.get(field):
            causes.append(errors.required(f"spec.service.{field}"))
    port = service.get("port")
    if port is not None and not 1 <= port <= 65535:
        causes.append(errors.invalid_value("spec.service.port", port, "port is not valid: must be between 1 and 65535"))
    if not group:
        causes.append(errors.forbidden_field("spec.service", "the core group is always served here"))
    if insecure and ca:
        causes.append(
            errors.invalid_value("spec.insecureSkipTLSVerify", insecure, "may not be true if caBundle is present")
        )
    if ca and not _is_pem(ca):
        causes.append(errors.invalid_value("spec.caBundle", f"{len(ca)} bytes", "unable to load root certificates"))
    return causes


def _is_pem(text: str) -> bool:
    from cryptography import x509

    try:
        return bool(x509.load_pem_x509_certificates(base64.b64decode(text, validate=True)))
    except (ValueError, binascii.Error):
        return False
