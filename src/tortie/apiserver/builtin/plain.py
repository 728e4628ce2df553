"""Kinds with small rules of their own: Secrets, ConfigMaps, accounts, events, leases, RBAC objects, classes, nodes.

In: objects in writes. Out: defaults, conversions and causes for a 422.
"""

import base64
from typing import Any

from tortie.apiserver import errors
from tortie.apiserver.builtin.policies import selector
from tortie.apiserver.context import Call
from tortie.apiserver.errors import Cause
from tortie.apiserver.kinds import Hooks

Object = dict[str, Any]
RBAC = "rbac.authorization.k8s.io"
_SECRET_LIMIT = 1024 * 1024


def _default_secret(obj: Object) -> None:
    obj.setdefault("type", "Opaque")
    plain = obj.pop("stringData", None)
    if plain:
        data = obj.setdefault("data", {})
        for key, value in plain.items():
            data[key] = base64.b64encode(str(value).encode()).decode()


_SECRET_KEYS = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}


def _data_causes(obj: Object, old: Object | None) -> list[Cause]:
    causes = []
    size = 0
    for field in ("data", "binaryData"):
        for key, value in (obj.get(field) or {}).items():
            size += len(value)
            if not key or len(key) > 253 or not all(c.isalnum() or c in "-_." for c in key):
                causes.append(
                    errors.invalid_value(
                        f"{field}[{key}]",
                        key,
                        "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
                    )
                )
    if size > _SECRET_LIMIT * 4 // 3:
        causes.append(errors.too_long("data", _SECRET_LIMIT))
    if old is not None and old.get("immutable"):
        if not obj.get("immutable"):
            causes.append(errors.forbidden_field("immutable", "field is immutable when `immutable` is set"))
        for field in ("data", "binaryData"):
            if old.get(field) != obj.get(field):
                causes.append(errors.forbidden_field(field, "field is immutable when `immutable` is set"))
    return causes


def _validate_secret(obj: Object, old: Object | None) -> list[Cause]:
    causes = _data_causes(obj, old)
    kind = obj.get("type", "")
    for key in _SECRET_KEYS.get(kind, ()):
        if key not in (obj.get("data") or {}):
            causes.append(errors.required(f"data[{key}]"))
    if old is not None and old.get("type") != kind:
        causes.append(errors.invalid_value("type", kind, "field is immutable"))
    if kind == "kubernetes.io/service-account-token" and not (obj["metadata"].get("annotations") or {}).get(
        "kubernetes.io/service-account.name"
    ):
        causes.append(errors.required("metadata.annotations[kubernetes.io/service-account.name]"))
    return causes


def _prepare_secret(call: Call, obj: Object, old: Object | None) -> None:
    """Fills an old-style token secret, for those who still ask for one."""
    if obj.get("type") != "kubernetes.io/service-account-token" or (obj.get("data") or {}).get("token"):
        return
    name = (obj["metadata"].get("annotations") or {}).get("kubernetes.io/service-account.name")
    account = call.context.read("/serviceaccounts", obj["metadata"]["namespace"], name or "")
    if account is None:
        return
    token = call.context.tokens.legacy(account, obj)
    obj["metadata"].setdefault("annotations", {})["kubernetes.io/service-account.uid"] = account["metadata"]["uid"]

    def encoded(data: bytes) -> str:
        return base64.b64encode(data).decode()

    obj.setdefault("data", {}).update(
        {
            "token": encoded(token.encode()),
            "ca.crt": encoded(call.context.pki.authority.pem),
            "namespace": encoded(obj["metadata"]["namespace"].encode()),
        }
    )


def _validate_event(obj: Object, _old: Object | None) -> list[Cause]:
    involved = obj.get("involvedObject") or {}
    namespace = obj["metadata"].get("namespace")
    wanted = involved.get("namespace") or "default"
    if namespace != wanted:
        return [
            errors.invalid_value(
                "involvedObject.namespace", involved.get("namespace", ""), "does not match event.namespace"
            )
        ]
    return []


_EVENT_PAIRS = (
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
)


def event_out(obj: Object) -> Object:
    """A core Event as events.k8s.io/v1 shows it."""
    result = {**obj, "apiVersion": "events.k8s.io/v1"}
    for core, new in _EVENT_PAIRS:
        if core in result:
            result[new] = result.pop(core)
    return result


def event_in(obj: Object) -> Object:
    """An events.k8s.io/v1 Event as it is stored."""
    result = {**obj, "apiVersion": "v1"}
    for core, new in _EVENT_PAIRS:
        if new in result:
            result[core] = result.pop(new)
    result.setdefault("involvedObject", {})
    return result


def _default_binding(obj: Object) -> None:
    role = obj.setdefault("roleRef", {})
    role.setdefault("apiGroup", RBAC)
    for subject in obj.get("subjects") or ():
        if subject.get("kind") in {"User", "Group"}:
            subject.setdefault("apiGroup", RBAC)


def _validate_binding(obj: Object, old: Object | None) -> list[Cause]:
    causes = []
    role = obj["roleRef"]
    allowed = ["ClusterRole"] if obj["kind"] == "ClusterRoleBinding" else ["Role", "ClusterRole"]
    if role.get("apiGroup") != RBAC:
        causes.append(errors.not_supported("roleRef.apiGroup", role.get("apiGroup"), [RBAC]))
    if role.get("kind") not in allowed:
        causes.append(errors.not_supported("roleRef.kind", role.get("kind", ""), allowed))
    if not role.get("name"):
        causes.append(errors.required("roleRef.name"))
    for index, subject in enumerate(obj.get("subjects") or ()):
        at = f"subjects[{index}]"
        if not subject.get("name"):
            causes.append(errors.required(f"{at}.name"))
        if subject.get("kind") not in {"User", "Group", "ServiceAccount"}:
            causes.append(errors.not_supported(f"{at}.kind", subject.get("kind"), ["ServiceAccount", "User", "Group"]))
        if subject.get("kind") == "ServiceAccount" and not subject.get("namespace"):
            if obj["kind"] == "RoleBinding":
                subject["namespace"] = obj["metadata"].get("namespace")
            else:
                causes.append(errors.required(f"{at}.namespace"))
    if old is not None and old["roleRef"] != role:
        causes.append(errors.invalid_value("roleRef", role, "cannot change roleRef"))
    return causes


def _validate_role(obj: Object, _old: Object | None) -> list[Cause]:
    causes = []
    for index, rule in enumerate(obj.get("rules") or ()):
        at = f"rules[{index}]"
        if not rule.get("verbs"):
            causes.append(errors.required(f"{at}.verbs", "verbs must contain at least one value"))
        if rule.get("nonResourceURLs"):
            if obj["kind"] == "Role":
                causes.append(
                    errors.invalid_value(
                        f"{at}.nonResourceURLs",
                        rule["nonResourceURLs"],
                        "namespaced rules cannot apply to non-resource URLs",
                    )
                )
            continue
        if not rule.get("apiGroups"):
            causes.append(errors.required(f"{at}.apiGroups", "resource rules must supply at least one api group"))
        if not rule.get("resources"):
            causes.append(errors.required(f"{at}.resources", "resource rules must supply at least one resource"))
    return causes


def _default_role(obj: Object) -> None:
    if obj.get("rules") is None:
        obj["rules"] = []


def _default_node(obj: Object) -> None:
    obj.setdefault("spec", {})
    obj.setdefault("status", {})
    labels = obj["metadata"].setdefault("labels", {})
    if obj["metadata"].get("name"):
        labels.setdefault("kubernetes.io/hostname", obj["metadata"]["name"])
    status = obj["status"]
    if status.get("capacity") and not status.get("allocatable"):
        status["allocatable"] = dict(status["capacity"])


def _validate_node(obj: Object, old: Object | None) -> list[Cause]:
    causes = []
    if old is not None:
        before = old["spec"].get("podCIDR")
        if before and obj["spec"].get("podCIDR") != before:
            causes.append(
                errors.forbidden_field("spec.podCIDR", 'node updates may not change podCIDR except from "" to valid')
            )
    for index, taint in enumerate(obj["spec"].get("taints") or ()):
        if not taint.get("key"):
            causes.append(errors.required(f"spec.taints[{index}].key"))
        if taint.get("effect") not in {"NoSchedule", "PreferNoSchedule", "NoExecute"}:
            causes.append(
                errors.not_supported(
                    f"spec.taints[{index}].effect", taint.get("effect"), ["NoSchedule", "PreferNoSchedule", "NoExecute"]
                )
            )
    return causes


def _default_volume(obj: Object) -> None:
    obj.setdefault("spec", {}).setdefault("persistentVolumeReclaimPolicy", "Retain")
    obj["spec"].setdefault("volumeMode", "Filesystem")
    obj.setdefault("status", {}).setdefault("phase", "Pending")


def _default_claim(obj: Object) -> None:
    obj.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
    obj.setdefault("status", {}).setdefault("phase", "Pending")


def _default_priority(obj: Object) -> None:
    obj.setdefault("preemptionPolicy", "PreemptLowerPriority")


def _validate_budget(obj: Object, _old: Object | None) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes = selector(spec.get("selector"), "spec.selector")
    if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
        causes.append(errors.invalid_value("spec", {}, "minAvailable and maxUnavailable cannot be both set"))
    return causes


def _validate_lease(obj: Object, _old: Object | None) -> list[Cause]:
    seconds = (obj.get("spec") or {}).get("leaseDurationSeconds")
    if seconds is not None and seconds <= 0:
        return [errors.invalid_value("spec.leaseDurationSeconds", seconds, "must be greater than 0")]
    return []


def _default_storage_class(obj: Object) -> None:
    obj.setdefault("reclaimPolicy", "Delete")
    obj.setdefault("volumeBindingMode", "Immediate")


SECRET = Hooks(default=_default_secret, prepare=_prepare_secret, validate=_validate_secret)
CONFIG_MAP = Hooks(validate=_data_causes)
EVENT = Hooks(validate=_validate_event)
BINDING = Hooks(default=_default_binding, validate=_validate_binding)
ROLE = Hooks(default=_default_role, validate=_validate_role)
NODE = Hooks(default=_default_node, validate=_validate_node)
VOLUME = Hooks(default=_default_volume)
CLAIM = Hooks(default=_default_claim)
PRIORITY = Hooks(default=_default_priority)
BUDGET = Hooks(validate=_validate_budget)
LEASE = Hooks(validate=_validate_lease)
STORAGE_CLASS = Hooks(default=_default_storage_class)
