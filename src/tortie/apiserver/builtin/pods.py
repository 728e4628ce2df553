"""Pods and service accounts' part in them: defaults, admission, what may change, binding.

In: pod objects in writes. Out: defaulted and admitted pods (service account, token volume, tolerations, priority,
initial status), and causes for what an update may not change.
"""

import secrets
from typing import Any

from tortie.apiserver import errors
from tortie.apiserver.builtin.podspec import containers, default_spec, qos, validate_spec
from tortie.apiserver.context import Call
from tortie.apiserver.errors import Cause
from tortie.apiserver.kinds import Hooks

Object = dict[str, Any]
TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - a path, not a secret
_TOLERATED = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"


def default(pod: Object) -> None:
    """Fills a pod's absent fields."""
    spec = pod.setdefault("spec", {})
    default_spec(spec)
    spec.setdefault("enableServiceLinks", True)
    for _, container in containers(spec, "initContainers", "containers"):
        resources = container["resources"]
        if resources.get("limits"):
            resources["requests"] = {**resources["limits"], **(resources.get("requests") or {})}
    status = pod.setdefault("status", {})
    status.setdefault("phase", "Pending")
    status.setdefault("qosClass", qos(spec))


def prepare(call: Call, pod: Object, old: Object | None) -> None:
    """Admission on create: priority, service account, token volume, tolerations."""
    if old is not None:
        return
    spec = pod["spec"]
    if call.info.verb == "create":
        _priority(call, spec, pod)
        _service_account(call, pod)
    if not spec.get("priorityClassName", "").startswith("system-"):
        _tolerations(spec)


def _priority(call: Call, spec: Object, pod: Object) -> None:
    name = spec.get("priorityClassName")
    if name:
        found = call.context.read("scheduling.k8s.io/priorityclasses", "", name)
        if found is None:
            raise errors.forbidden(
                "", "pods", pod["metadata"].get("name", ""), f"no PriorityClass with name {name} was found"
            )
        spec["priority"] = found.get("value", 0)
        spec["preemptionPolicy"] = found.get("preemptionPolicy", "PreemptLowerPriority")
    else:
        spec.setdefault("priority", 0)
        spec.setdefault("preemptionPolicy", "PreemptLowerPriority")


def _service_account(call: Call, pod: Object) -> None:
    spec, meta = pod["spec"], pod["metadata"]
    if "kubernetes.io/config.mirror" in (meta.get("annotations") or {}):
        return
    name = spec.get("serviceAccountName") or "default"
    spec["serviceAccountName"] = spec["serviceAccount"] = name
    account = call.context.read("/serviceaccounts", meta["namespace"], name)
    if account is None:
        raise errors.forbidden(
            "",
            "pods",
            meta.get("name", ""),
            f'error looking up service account {meta["namespace"]}/{name}: serviceaccount "{name}" not found',
        )
    if account.get("imagePullSecrets") and not spec.get("imagePullSecrets"):
        spec["imagePullSecrets"] = account["imagePullSecrets"]
    automount = spec.get("automountServiceAccountToken", account.get("automountServiceAccountToken", True))
    if automount:
        _token_volume(spec)


def _token_volume(spec: Object) -> None:
    """The projected volume with token, CA and namespace, mounted in every container that has none there."""
    volume = "kube-api-access-" + "".join(secrets.choice(_LETTERS) for _ in range(5))
    used = False
    for _, container in containers(spec, "initContainers", "containers"):
        mounts = container.setdefault("volumeMounts", [])
        if not any(m.get("mountPath") == TOKEN_PATH for m in mounts):
            mounts.append({"name": volume, "readOnly": True, "mountPath": TOKEN_PATH})
            used = True
    if not used:
        return
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    spec.setdefault("volumes", []).append(
        {
            "name": volume,
            "projected": {
                "sources": [
                    {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                    {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                    {"downwardAPI": {"items": [namespace]}},
                ],
                "defaultMode": 420,
            },
        }
    )


def _tolerations(spec: Object) -> None:
    found = spec.setdefault("tolerations", [])
    for key in _TOLERATED:
        if not any(t.get("key") in {key, None, ""} and t.get("effect") in {"NoExecute", None, ""} for t in found):
            found.append({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300})


_CHANGEABLE = (
    "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,"
    "`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` "
    "(allow it to be set to 1 if it was previously negative)"
)


def validate(pod: Object, old: Object | None) -> list[Cause]:
    """Causes on create and update."""
    causes = validate_spec(pod["spec"], "spec")
    if old is None or causes:
        return causes
    if _fixed(pod["spec"]) != _fixed(old["spec"]):
        changed = sorted(
            k
            for k in {*_fixed(pod["spec"]), *_fixed(old["spec"])}
            if _fixed(pod["spec"]).get(k) != _fixed(old["spec"]).get(k)
        )
        causes.append(
            errors.forbidden_field(
                "spec", f"pod updates may not change fields other than {_CHANGEABLE} (changed: {', '.join(changed)})"
            )
        )
    have = pod["spec"].get("tolerations") or []
    for toleration in old["spec"].get("tolerations") or ():
        if toleration not in have:
            causes.append(
                errors.forbidden_field(
                    "spec.tolerations", "existing toleration can not be modified except its tolerationSeconds"
                )
            )
    return causes


def _fixed(spec: Object) -> Object:
    """The spec without what an update may change."""
    rest = {
        k: v
        for k, v in spec.items()
        if k
        not in {
            "activeDeadlineSeconds",
            "tolerations",
            "terminationGracePeriodSeconds",
            "ephemeralContainers",
            "nodeName",
            "schedulingGates",
        }
    }
    for name in ("containers", "initContainers"):
        if rest.get(name):
            rest[name] = [
                {k: v for k, v in c.items() if k not in {"image", "imagePullPolicy", "resources"}} for c in rest[name]
            ]
    return {k: v for k, v in rest.items() if v not in (None, [], {})}


HOOKS = Hooks(default=default, prepare=prepare, validate=validate)
