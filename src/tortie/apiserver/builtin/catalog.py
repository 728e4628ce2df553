"""The table of built-in kinds: names, scope, subresources, selectable fields.

In: type trees from `schema.dsl`, hooks and tables from the group modules beside this one. Out: `Kind`s for the
registry, in order. What a kind does beyond being stored is in the module of its group.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tortie.apiserver.builtin import behaviour
from tortie.apiserver.kinds import ALL_VERBS, Kind, Subresource
from tortie.apiserver.objects import text
from tortie.apiserver.schema import dsl

_WRITE = ("get", "patch", "update")
_STATUS = "status"
_SCALE = "scale"


@dataclass(frozen=True, slots=True)
class _Row:
    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool
    short: str = ""
    subresources: str = ""
    generation: bool = False
    categories: str = ""
    verbs: tuple[str, ...] = ALL_VERBS
    stored: bool = True
    type: str = ""
    name_rule: str = "subdomain"
    collection: str = ""
    version_priority: int = 0
    singular: str = ""


_RBAC = "rbac.authorization.k8s.io"
_ADMISSION = "admissionregistration.k8s.io"
_CREATE = ("create",)

_ROWS = (
    _Row("", "v1", "Namespace", "namespaces", False, "ns", "status finalize", name_rule="label",
         verbs=tuple(v for v in ALL_VERBS if v != "deletecollection")),
    _Row("", "v1", "Node", "nodes", False, "no", "status"),
    _Row("", "v1", "Pod", "pods", True, "po",
         "status binding eviction log exec attach portforward ephemeralcontainers resize", True, "all"),
    _Row("", "v1", "PodTemplate", "podtemplates", True),
    _Row("", "v1", "Service", "services", True, "svc", "status", categories="all", name_rule="label1035"),
    _Row("", "v1", "Endpoints", "endpoints", True, "ep", singular="endpoints"),
    _Row("", "v1", "ConfigMap", "configmaps", True, "cm"),
    _Row("", "v1", "Secret", "secrets", True),
    _Row("", "v1", "ServiceAccount", "serviceaccounts", True, "sa", "token"),
    _Row("", "v1", "Event", "events", True, "ev"),
    _Row("", "v1", "ReplicationController", "replicationcontrollers", True, "rc", "status scale", True, "all"),
    _Row("", "v1", "PersistentVolume", "persistentvolumes", False, "pv", "status"),
    _Row("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", True, "pvc", "status"),
    _Row("", "v1", "LimitRange", "limitranges", True, "limits"),
    _Row("", "v1", "ResourceQuota", "resourcequotas", True, "quota", "status"),
    _Row("", "v1", "Binding", "bindings", True, verbs=_CREATE, stored=False),
    _Row("apps", "v1", "Deployment", "deployments", True, "deploy", "status scale", True, "all"),
    _Row("apps", "v1", "ReplicaSet", "replicasets", True, "rs", "status scale", True, "all"),
    _Row("apps", "v1", "DaemonSet", "daemonsets", True, "ds", "status", True, "all"),
    _Row("apps", "v1", "StatefulSet", "statefulsets", True, "sts", "status scale", True, "all"),
    _Row("apps", "v1", "ControllerRevision", "controllerrevisions", True),
    _Row("events.k8s.io", "v1", "Event", "events", True, "ev", type="EventsEvent", collection="/events"),
    _Row("authentication.k8s.io", "v1", "TokenReview", "tokenreviews", False, verbs=_CREATE, stored=False),
    _Row("authentication.k8s.io", "v1", "SelfSubjectReview", "selfsubjectreviews", False, verbs=_CREATE, stored=False),
    _Row("authorization.k8s.io", "v1", "LocalSubjectAccessReview", "localsubjectaccessreviews", True, verbs=_CREATE,
         stored=False),
    _Row("authorization.k8s.io", "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", False, verbs=_CREATE,
         stored=False),
    _Row("authorization.k8s.io", "v1", "SelfSubjectRulesReview", "selfsubjectrulesreviews", False, verbs=_CREATE,
         stored=False),
    _Row("authorization.k8s.io", "v1", "SubjectAccessReview", "subjectaccessreviews", False, verbs=_CREATE,
         stored=False),
    _Row("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", True, "hpa", "status",
         categories="all"),
    _Row("batch", "v1", "Job", "jobs", True, "", "status", True, "all"),
    _Row("batch", "v1", "CronJob", "cronjobs", True, "cj", "status", True, "all"),
    _Row("batch", "v1beta1", "CronJob", "cronjobs", True, "cj", "status", True, "all"),  # what kubectl 1.20 asks for
    _Row("certificates.k8s.io", "v1", "CertificateSigningRequest", "certificatesigningrequests", False, "csr",
         "status approval", name_rule="path"),
    _Row("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", True, "netpol", "", True),
    _Row("networking.k8s.io", "v1", "Ingress", "ingresses", True, "ing", "status", True),
    _Row("networking.k8s.io", "v1", "IngressClass", "ingressclasses", False, "", "", True),
    _Row("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", True, "pdb", "status", True),
    _Row(_RBAC, "v1", "ClusterRole", "clusterroles", False, name_rule="path"),
    _Row(_RBAC, "v1", "ClusterRoleBinding", "clusterrolebindings", False, name_rule="path"),
    _Row(_RBAC, "v1", "Role", "roles", True, name_rule="path"),
    _Row(_RBAC, "v1", "RoleBinding", "rolebindings", True, name_rule="path"),
    _Row("storage.k8s.io", "v1", "StorageClass", "storageclasses", False, "sc"),
    _Row(_ADMISSION, "v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", False, "", "", True),
    _Row(_ADMISSION, "v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", False, "", "", True),
    _Row(_ADMISSION, "v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies", False, "", "status", True),
    _Row(_ADMISSION, "v1", "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", False, "", "",
         True),
    *(
        _Row(_ADMISSION, version, kind, plural, False, "", "", True)
        for version in ("v1", "v1beta1", "v1alpha1")
        for kind, plural in (
            ("MutatingAdmissionPolicy", "mutatingadmissionpolicies"),
            ("MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings"),
        )
    ),
    _Row("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", False, "crd crds",
         "status", True, "api-extensions"),
    _Row("apiregistration.k8s.io", "v1", "APIService", "apiservices", False, "", "status", categories="api-extensions",
         name_rule="path"),
    _Row("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", False, "pc", "", True),
    _Row("coordination.k8s.io", "v1", "Lease", "leases", True),
    _Row("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses", False),
    _Row("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", True, "", "", True),
)  # fmt: skip

_SELECTABLE: Mapping[str, Mapping[str, Any]] = {
    "/pods": {
        "spec.nodeName": text("spec", "nodeName"),
        "spec.restartPolicy": text("spec", "restartPolicy"),
        "spec.schedulerName": text("spec", "schedulerName"),
        "spec.serviceAccountName": text("spec", "serviceAccountName"),
        "spec.hostNetwork": behaviour.flag("spec", "hostNetwork"),
        "status.phase": text("status", "phase"),
        "status.podIP": text("status", "podIP"),
        "status.podIPs": behaviour.pod_ips,
        "status.nominatedNodeName": text("status", "nominatedNodeName"),
    },
    "/nodes": {"spec.unschedulable": behaviour.flag("spec", "unschedulable")},
    "/namespaces": {"status.phase": text("status", "phase")},
    "/services": {"spec.clusterIP": text("spec", "clusterIP"), "spec.type": text("spec", "type")},
    "/secrets": {"type": text("type")},
    "/events": {
        **{
            f"involvedObject.{key}": text("involvedObject", key)
            for key in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
        },
        "reason": text("reason"),
        "reportingComponent": text("reportingComponent"),
        "source": behaviour.event_source,
        "type": text("type"),
    },
    "apps/replicasets": {"status.replicas": behaviour.number("status", "replicas")},
    "/replicationcontrollers": {"status.replicas": behaviour.number("status", "replicas")},
    "batch/jobs": {"status.successful": behaviour.number("status", "succeeded")},
    "certificates.k8s.io/certificatesigningrequests": {"spec.signerName": text("spec", "signerName")},
}

_CONNECT = {
    "log": ("Pod", ("get",)),
    "exec": ("PodExecOptions", ("create", "get")),
    "attach": ("PodAttachOptions", ("create", "get")),
    "portforward": ("PodPortForwardOptions", ("create", "get")),
}


def _subresource(row: _Row, name: str) -> Subresource:
    if name == _SCALE:
        return Subresource(name, "Scale", _WRITE, "autoscaling", "v1")
    if name == "eviction":
        return Subresource(name, "Eviction", _CREATE, "policy", "v1")
    if name == "binding":
        return Subresource(name, "Binding", _CREATE)
    if name == "token":
        return Subresource(name, "TokenRequest", _CREATE, "authentication.k8s.io", "v1")
    if name == "finalize":
        return Subresource(name, row.kind, ("update",))
    if name in _CONNECT:
        kind, verbs = _CONNECT[name]
        return Subresource(name, kind, verbs)
    return Subresource(name, row.kind, _WRITE)


def _retyped(row: _Row, version: str) -> Callable[[dict[str, Any]], dict[str, Any]] | None:
    """Old versions differ from v1 in nothing but their name."""
    if not row.version.startswith(("v1alpha", "v1beta")):
        return None
    return lambda obj: {**obj, "apiVersion": f"{row.group}/{version}"}


def kinds() -> Iterator[tuple[Kind, int]]:
    """Every built-in kind with the priority of its version."""
    types = dsl.types()
    for row in _ROWS:
        collection = row.collection or f"{row.group}/{row.plural}"
        own = behaviour.of(row.group, row.kind)
        names = row.subresources.split()
        yield (
            Kind(
                group=row.group,
                version=row.version,
                kind=row.kind,
                plural=row.plural,
                namespaced=row.namespaced,
                schema=types[row.type or row.kind],
                singular=row.singular or row.kind.lower(),
                short_names=tuple(row.short.split()),
                categories=tuple(row.categories.split()),
                verbs=row.verbs,
                subresources={name: _subresource(row, name) for name in names},
                selectable=_SELECTABLE.get(collection, {}),
                table=own.table,
                hooks=own.hooks,
                collection=collection,
                stored=row.stored,
                has_status=_STATUS in names,
                has_generation=row.generation,
                unconditional_update=row.plural not in {"customresourcedefinitions", "apiservices"},
                status_on_create=row.kind == "Node",
                graceful=row.kind == "Pod",
                orphan_by_default=False,
                convert_in=own.convert_in or _retyped(row, "v1"),
                convert_out=own.convert_out or _retyped(row, row.version),
                name_rule=row.name_rule,
            ),
            row.version_priority,
        )
