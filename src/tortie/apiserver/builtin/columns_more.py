"""Columns of workloads, RBAC and the rest of the built-in kinds.

In: objects. Out: `Table`s. Pure.
"""

from datetime import datetime
from typing import Any

from tortie.apiserver.builtin.columns import NONE, name, selector_text, text, wide
from tortie.apiserver.kinds import Table
from tortie.apiserver.objects import get
from tortie.apiserver.tables import AGE, CREATED, NAME, Since, age, duration

Object = dict[str, Any]
_CONTAINERS, _IMAGES, _SELECTOR = wide("Containers"), wide("Images"), wide("Selector")


def _containers(obj: Object, *path: str) -> list[str]:
    found = get(obj, *(path or ("spec", "template", "spec")), "containers") or []
    return [",".join(str(c.get("name")) for c in found), ",".join(str(c.get("image")) for c in found)]


def _number(obj: Object, *path: str) -> int:
    value = get(obj, *path)
    return value if isinstance(value, int) else 0


def _deployment(o: Object) -> list[Any]:
    return [
        name(o),
        f"{_number(o, 'status', 'readyReplicas')}/{_number(o, 'spec', 'replicas')}",
        _number(o, "status", "updatedReplicas"),
        _number(o, "status", "availableReplicas"),
        age(o),
        *_containers(o),
        selector_text(get(o, "spec", "selector")),
    ]


DEPLOYMENTS = Table(
    (
        NAME, text("Ready"), text("Up-to-date", "integer"), text("Available", "integer"), AGE, _CONTAINERS, _IMAGES,
        _SELECTOR,
    ),
    _deployment,
)  # fmt: skip


def _replicaset(o: Object) -> list[Any]:
    return [
        name(o),
        _number(o, "spec", "replicas"),
        _number(o, "status", "replicas"),
        _number(o, "status", "readyReplicas"),
        age(o),
        *_containers(o),
        selector_text(get(o, "spec", "selector")),
    ]


REPLICASETS = Table(
    (
        NAME, text("Desired", "integer"), text("Current", "integer"), text("Ready", "integer"), AGE, _CONTAINERS,
        _IMAGES, _SELECTOR,
    ),
    _replicaset,
)  # fmt: skip


def _daemonset(o: Object) -> list[Any]:
    return [
        name(o),
        _number(o, "status", "desiredNumberScheduled"),
        _number(o, "status", "currentNumberScheduled"),
        _number(o, "status", "numberReady"),
        _number(o, "status", "updatedNumberScheduled"),
        _number(o, "status", "numberAvailable"),
        selector_text(get(o, "spec", "template", "spec", "nodeSelector")),
        age(o),
        *_containers(o),
        selector_text(get(o, "spec", "selector")),
    ]


DAEMONSETS = Table(
    (
        NAME, text("Desired", "integer"), text("Current", "integer"), text("Ready", "integer"),
        text("Up-to-date", "integer"), text("Available", "integer"), text("Node Selector"), AGE, _CONTAINERS, _IMAGES,
        _SELECTOR,
    ),
    _daemonset,
)  # fmt: skip
STATEFULSETS = Table(
    (NAME, text("Ready"), AGE, _CONTAINERS, _IMAGES),
    lambda o: [
        name(o),
        f"{_number(o, 'status', 'readyReplicas')}/{_number(o, 'spec', 'replicas')}",
        age(o),
        *_containers(o),
    ],
)


def _seconds(first: Any, last: Any) -> Any:
    if not first:
        return ""
    if not last:
        return Since(first)
    return duration((datetime.fromisoformat(str(last)) - datetime.fromisoformat(str(first))).total_seconds())


def _job(o: Object) -> list[Any]:
    spec, status = o.get("spec") or {}, o.get("status") or {}
    conditions = {c.get("type") for c in status.get("conditions") or () if c.get("status") == "True"}
    word = "Running"
    if "Complete" in conditions:
        word = "Complete"
    elif "Failed" in conditions:
        word = "Failed"
    elif o["metadata"].get("deletionTimestamp"):
        word = "Terminating"
    elif "Suspended" in conditions:
        word = "Suspended"
    elif "FailureTarget" in conditions:
        word = "FailureTarget"
    elif "SuccessCriteriaMet" in conditions:
        word = "SuccessCriteriaMet"
    done = _number(status, "succeeded")
    wanted = spec.get("completions")
    if wanted is not None:
        completions = f"{done}/{wanted}"
    else:
        parallel = _number(spec, "parallelism")
        completions = f"{done}/1 of {parallel}" if parallel > 1 else f"{done}/1"
    return [
        name(o),
        word,
        completions,
        _seconds(status.get("startTime"), status.get("completionTime")),
        age(o),
        *_containers(o),
        selector_text(spec.get("selector")),
    ]


JOBS = Table((NAME, text("Status"), text("Completions"), text("Duration"), AGE, _CONTAINERS, _IMAGES, _SELECTOR), _job)
CRONJOBS = Table(
    (
        NAME, text("Schedule"), text("Timezone"), text("Suspend", "boolean"), text("Active", "integer"),
        text("Last Schedule"), AGE, _CONTAINERS, _IMAGES, _SELECTOR,
    ),
    lambda o: [
        name(o),
        get(o, "spec", "schedule") or "",
        get(o, "spec", "timeZone") or NONE,
        "True" if get(o, "spec", "suspend") else "False",
        len(get(o, "status", "active") or ()),
        Since(get(o, "status", "lastScheduleTime")) if get(o, "status", "lastScheduleTime") else NONE,
        age(o),
        *_containers(o, "spec", "jobTemplate", "spec", "template", "spec"),
        selector_text(get(o, "spec", "jobTemplate", "spec", "selector")),
    ],
)  # fmt: skip


def _binding(o: Object) -> list[Any]:
    role = o.get("roleRef") or {}
    subjects = o.get("subjects") or []

    def of(kind: str) -> str:
        return ", ".join(
            f"{s.get('namespace')}/{s.get('name')}" if kind == "ServiceAccount" else str(s.get("name"))
            for s in subjects
            if s.get("kind") == kind
        )

    return [name(o), f"{role.get('kind')}/{role.get('name')}", age(o), of("User"), of("Group"), of("ServiceAccount")]


ROLES = Table((NAME, CREATED), lambda o: [name(o), o["metadata"].get("creationTimestamp")])
BINDINGS = Table((NAME, text("Role"), AGE, wide("Users"), wide("Groups"), wide("ServiceAccounts")), _binding)
DEFINITIONS = Table((NAME, CREATED), lambda o: [name(o), o["metadata"].get("creationTimestamp")])


def _api_service(o: Object) -> list[Any]:
    service = get(o, "spec", "service")
    available = "Unknown"
    for condition in get(o, "status", "conditions") or ():
        if condition.get("type") == "Available":
            available = condition.get("status", "Unknown")
            if available != "True":
                available += f" ({condition.get('reason')})"
    return [name(o), f"{service.get('namespace')}/{service.get('name')}" if service else "Local", available, age(o)]


API_SERVICES = Table((NAME, text("Service"), text("Available"), AGE), _api_service)
PRIORITY_CLASSES = Table(
    (NAME, text("Value", "integer"), text("Global-default", "boolean"), AGE, text("PreemptionPolicy")),
    lambda o: [
        name(o), o.get("value", 0), bool(o.get("globalDefault")), age(o),
        o.get("preemptionPolicy", "PreemptLowerPriority"),
    ],
)  # fmt: skip


def _ingress(o: Object) -> list[Any]:
    hosts = [str(r.get("host") or "*") for r in get(o, "spec", "rules") or ()]
    shown = ",".join(hosts[:3]) + (f" + {len(hosts) - 3} more..." if len(hosts) > 3 else "")
    addresses = [str(i.get("ip") or i.get("hostname")) for i in get(o, "status", "loadBalancer", "ingress") or ()]
    return [
        name(o),
        get(o, "spec", "ingressClassName") or NONE,
        shown or "*",
        ",".join(addresses),
        "80, 443" if get(o, "spec", "tls") else "80",
        age(o),
    ]


INGRESSES = Table((NAME, text("Class"), text("Hosts"), text("Address"), text("Ports"), AGE), _ingress)
INGRESS_CLASSES = Table(
    (NAME, text("Controller"), text("Parameters"), AGE),
    lambda o: [name(o), get(o, "spec", "controller") or "", NONE, age(o)],
)
BUDGETS = Table(
    (NAME, text("Min Available"), text("Max Unavailable"), text("Allowed Disruptions", "integer"), AGE),
    lambda o: [
        name(o),
        str(get(o, "spec", "minAvailable") if get(o, "spec", "minAvailable") is not None else "N/A"),
        str(get(o, "spec", "maxUnavailable") if get(o, "spec", "maxUnavailable") is not None else "N/A"),
        _number(o, "status", "disruptionsAllowed"),
        age(o),
    ],
)
VOLUMES = Table(
    (NAME, text("Capacity"), text("Access Modes"), text("Reclaim Policy"), text("Status"), text("Claim"),
     text("StorageClass"), AGE),
    lambda o: [
        name(o),
        get(o, "spec", "capacity", "storage") or "",
        ",".join(get(o, "spec", "accessModes") or ()),
        get(o, "spec", "persistentVolumeReclaimPolicy") or "",
        get(o, "status", "phase") or "",
        "/".join(str(get(o, "spec", "claimRef", k)) for k in ("namespace", "name") if get(o, "spec", "claimRef")),
        get(o, "spec", "storageClassName") or "",
        age(o),
    ],
)  # fmt: skip
CLAIMS = Table(
    (NAME, text("Status"), text("Volume"), text("Capacity"), text("Access Modes"), text("StorageClass"), AGE),
    lambda o: [
        name(o),
        get(o, "status", "phase") or "Pending",
        get(o, "spec", "volumeName") or "",
        get(o, "status", "capacity", "storage") or "",
        ",".join(get(o, "status", "accessModes") or ()),
        get(o, "spec", "storageClassName") or "",
        age(o),
    ],
)
STORAGE_CLASSES = Table(
    (
        NAME, text("Provisioner"), text("ReclaimPolicy"), text("VolumeBindingMode"),
        text("AllowVolumeExpansion", "boolean"), AGE,
    ),
    lambda o: [
        name(o), o.get("provisioner", ""), o.get("reclaimPolicy", "Delete"), o.get("volumeBindingMode", "Immediate"),
        bool(o.get("allowVolumeExpansion")), age(o),
    ],
)  # fmt: skip
REVISIONS = Table(
    (NAME, text("Controller"), text("Revision", "integer"), AGE),
    lambda o: [
        name(o),
        next(
            (
                f"{str(w.get('kind')).lower()}.{str(w.get('apiVersion')).partition('/')[0]}/{w.get('name')}"
                for w in o["metadata"].get("ownerReferences") or ()
                if w.get("controller")
            ),
            NONE,
        ),
        o.get("revision", 0),
        age(o),
    ],
)
WEBHOOKS = Table((NAME, text("Webhooks", "integer"), AGE), lambda o: [name(o), len(o.get("webhooks") or ()), age(o)])
_UNSET = "<unset>"


def _policy(counted: str) -> Table:
    """An admission policy: how many of its expressions decide or change, and what its parameters are."""
    return Table(
        (NAME, text(counted.capitalize(), "integer"), text("ParamKind"), AGE),
        lambda o: [
            name(o),
            len(get(o, "spec", counted) or ()),
            "/".join(str(get(o, "spec", "paramKind", k) or "") for k in ("apiVersion", "kind"))
            if get(o, "spec", "paramKind")
            else _UNSET,
            age(o),
        ],
    )


def _parameters(o: Object) -> str:
    reference = get(o, "spec", "paramRef")
    if not reference:
        return _UNSET
    shown = reference.get("name") or selector_text(reference.get("selector")) or "*"
    return f"{reference.get('namespace') or '*'}/{shown}"


VALIDATING_POLICIES = _policy("validations")
MUTATING_POLICIES = _policy("mutations")
POLICY_BINDINGS = Table(
    (NAME, text("PolicyName"), text("ParamRef"), AGE),
    lambda o: [name(o), get(o, "spec", "policyName") or "", _parameters(o), age(o)],
)
