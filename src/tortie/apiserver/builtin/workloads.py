"""apps/v1 and batch/v1: defaults, selectors, and what may not change.

In: Deployments, ReplicaSets, DaemonSets, StatefulSets, Jobs, CronJobs and ReplicationControllers in writes. Out: their
defaults and causes for a 422.
"""

import re
from collections.abc import Mapping
from typing import Any

from tortie.apiserver import errors
from tortie.apiserver.builtin.podspec import default_spec, validate_spec
from tortie.apiserver.builtin.policies import selector as validate_selector
from tortie.apiserver.context import Call
from tortie.apiserver.errors import Cause
from tortie.apiserver.kinds import Hooks
from tortie.apiserver.objects import get, validate_labels

Object = dict[str, Any]
_PERCENT = re.compile(r"^\d+%$")


def _template(spec: Object) -> Object:
    template: Object = spec.setdefault("template", {})
    template.setdefault("metadata", {}).setdefault("creationTimestamp", None)
    template["metadata"].pop("creationTimestamp")
    default_spec(template.setdefault("spec", {}))
    return template


def default_deployment(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    _template(spec)
    spec.setdefault("replicas", 1)
    strategy = spec.setdefault("strategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    obj.setdefault("status", {})


def default_replicaset(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    _template(spec)
    spec.setdefault("replicas", 1)
    obj.setdefault("status", {}).setdefault("replicas", 0)


def default_controller(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    template = _template(spec)
    spec.setdefault("replicas", 1)
    labels = template["metadata"].get("labels")
    if labels:
        spec.setdefault("selector", dict(labels))
    obj.setdefault("status", {}).setdefault("replicas", 0)


def default_daemonset(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    _template(spec)
    strategy = spec.setdefault("updateStrategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", 1)
        rolling.setdefault("maxSurge", 0)
    spec.setdefault("revisionHistoryLimit", 10)
    status = obj.setdefault("status", {})
    for key in ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady"):
        status.setdefault(key, 0)


def default_statefulset(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    _template(spec)
    spec.setdefault("replicas", 1)
    spec.setdefault("podManagementPolicy", "OrderedReady")
    strategy = spec.setdefault("updateStrategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        strategy.setdefault("rollingUpdate", {}).setdefault("partition", 0)
    spec.setdefault("revisionHistoryLimit", 10)
    retention = spec.setdefault("persistentVolumeClaimRetentionPolicy", {})
    retention.setdefault("whenDeleted", "Retain")
    retention.setdefault("whenScaled", "Retain")
    status = obj.setdefault("status", {})
    status.setdefault("replicas", 0)
    status.setdefault("availableReplicas", 0)


def default_job(obj: Object) -> None:
    default_job_spec(obj.setdefault("spec", {}))
    obj.setdefault("status", {})


def default_job_spec(spec: Object) -> None:
    _template(spec)
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    spec.setdefault("backoffLimit", 6)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    spec.setdefault("podReplacementPolicy", "TerminatingOrFailed")


def default_cronjob(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("concurrencyPolicy", "Allow")
    spec.setdefault("suspend", False)
    spec.setdefault("successfulJobsHistoryLimit", 3)
    spec.setdefault("failedJobsHistoryLimit", 1)
    job = spec.setdefault("jobTemplate", {}).setdefault("spec", {})
    template: Object = job.setdefault("template", {})
    template.setdefault("metadata", {})
    default_spec(template.setdefault("spec", {}))
    obj.setdefault("status", {})


def prepare_job(call: Call, obj: Object, old: Object | None) -> None:
    """Gives a new job its selector and the labels that tie its pods to it."""
    spec = obj["spec"]
    if old is not None or spec.get("manualSelector"):
        return
    meta = obj["metadata"]
    labels = spec["template"].setdefault("metadata", {}).setdefault("labels", {})
    uid, name = meta["uid"], meta.get("name", "")
    for prefix in ("", "batch.kubernetes.io/"):
        labels[f"{prefix}controller-uid"] = uid
        labels[f"{prefix}job-name"] = name
    spec["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}


def matches(selector: Object, labels: Mapping[str, Any]) -> bool:
    """Whether a LabelSelector matches labels."""
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for term in selector.get("matchExpressions") or ():
        have = labels.get(term.get("key"))
        values = term.get("values") or []
        good = {
            "In": have in values,
            "NotIn": have not in values,
            "Exists": have is not None,
            "DoesNotExist": have is None,
        }.get(term.get("operator"), False)
        if not good:
            return False
    return True


def _validate_workload(obj: Object, old: Object | None) -> list[Cause]:
    spec = obj["spec"]
    causes: list[Cause] = []
    chosen = spec.get("selector")
    labels = get(spec, "template", "metadata", "labels") or {}
    if not chosen:
        causes.append(errors.required("spec.selector"))
    else:
        causes += validate_selector(chosen, "spec.selector")
        if not chosen.get("matchLabels") and not chosen.get("matchExpressions"):
            causes.append(errors.invalid_value("spec.selector", chosen, "empty selector is invalid for deployment"))
        elif not matches(chosen, labels):
            causes.append(
                errors.invalid_value(
                    "spec.template.metadata.labels", labels, "`selector` does not match template `labels`"
                )
            )
    if old is not None and old["spec"].get("selector") != chosen:
        causes.append(errors.invalid_value("spec.selector", chosen, "field is immutable"))
    replicas = spec.get("replicas")
    if isinstance(replicas, int) and replicas < 0:
        causes.append(errors.invalid_value("spec.replicas", replicas, "must be greater than or equal to 0"))
    causes += _validate_template(spec, "spec.template", {"Always"})
    return causes


def _validate_template(spec: Object, at: str, restart: set[str]) -> list[Cause]:
    template = spec.get("template") or {}
    causes = validate_labels(get(template, "metadata", "labels"), f"{at}.metadata.labels")
    causes += validate_spec(template.get("spec") or {}, f"{at}.spec", template=True)
    policy = get(template, "spec", "restartPolicy")
    if policy not in restart and policy in {"Always", "OnFailure", "Never"}:
        causes.append(errors.not_supported(f"{at}.spec.restartPolicy", policy, sorted(restart)))
    return causes


def _validate_deployment(obj: Object, old: Object | None) -> list[Cause]:
    causes = _validate_workload(obj, old)
    strategy = obj["spec"].get("strategy") or {}
    if strategy.get("type") not in {"Recreate", "RollingUpdate"}:
        causes.append(errors.not_supported("spec.strategy.type", strategy.get("type"), ["Recreate", "RollingUpdate"]))
    rolling = strategy.get("rollingUpdate")
    if strategy.get("type") == "Recreate" and rolling:
        causes.append(
            errors.forbidden_field(
                "spec.strategy.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'"
            )
        )
    elif rolling:
        for key in ("maxUnavailable", "maxSurge"):
            value = rolling.get(key)
            if isinstance(value, str) and not _PERCENT.match(value):
                causes.append(
                    errors.invalid_value(
                        f"spec.strategy.rollingUpdate.{key}",
                        value,
                        "a valid percent string must be a number followed by '%'",
                    )
                )
        if str(rolling.get("maxUnavailable")) in {"0", "0%"} and str(rolling.get("maxSurge")) in {"0", "0%"}:
            causes.append(
                errors.invalid_value(
                    "spec.strategy.rollingUpdate.maxUnavailable",
                    rolling["maxUnavailable"],
                    "may not be 0 when `maxSurge` is 0",
                )
            )
    return causes


def _validate_job(obj: Object, old: Object | None) -> list[Cause]:
    causes = _validate_template(obj["spec"], "spec.template", {"Never", "OnFailure"})
    if old is not None:
        for key in ("completions", "selector", "completionMode"):
            if old["spec"].get(key) != obj["spec"].get(key):
                causes.append(errors.invalid_value(f"spec.{key}", obj["spec"].get(key), "field is immutable"))
        if old["spec"].get("template") != obj["spec"].get("template") and not old["spec"].get("suspend"):
            causes.append(errors.invalid_value("spec.template", {}, "field is immutable"))
    return causes


def _validate_cronjob(obj: Object, _old: Object | None) -> list[Cause]:
    spec = obj["spec"]
    causes = []
    schedule = spec.get("schedule", "")
    if not schedule:
        causes.append(errors.required("spec.schedule"))
    elif not schedule.startswith("@") and len(schedule.split()) != 5:
        causes.append(
            errors.invalid_value(
                "spec.schedule", schedule, f"expected exactly 5 fields, found {len(schedule.split())}: [{schedule}]"
            )
        )
    if spec["concurrencyPolicy"] not in {"Allow", "Forbid", "Replace"}:
        causes.append(
            errors.not_supported("spec.concurrencyPolicy", spec["concurrencyPolicy"], ["Allow", "Forbid", "Replace"])
        )
    job = get(spec, "jobTemplate", "spec") or {}
    return causes + _validate_template(job, "spec.jobTemplate.spec.template", {"Never", "OnFailure"})


_STATEFUL_CHANGEABLE = frozenset(
    {
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    }
)


def _validate_statefulset(obj: Object, old: Object | None) -> list[Cause]:
    causes = _validate_workload(obj, None)
    if old is not None:
        changed = {k for k in {*obj["spec"], *old["spec"]} if obj["spec"].get(k) != old["spec"].get(k)}
        if changed - _STATEFUL_CHANGEABLE:
            causes.append(
                errors.forbidden_field(
                    "spec",
                    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', "
                    "'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and "
                    "'minReadySeconds' are forbidden",
                )
            )
    return causes


DEPLOYMENT = Hooks(default=default_deployment, validate=_validate_deployment)
REPLICASET = Hooks(default=default_replicaset, validate=_validate_workload)
DAEMONSET = Hooks(default=default_daemonset, validate=_validate_workload)
STATEFULSET = Hooks(default=default_statefulset, validate=_validate_statefulset)
JOB = Hooks(default=default_job, prepare=prepare_job, validate=_validate_job)
CRONJOB = Hooks(default=default_cronjob, validate=_validate_cronjob)
CONTROLLER = Hooks(default=default_controller)
