"""What built-in kinds do beyond being stored: which hooks and which table each has.

In: the group modules. Out: `of(group, kind)` for the catalogue, and the readers of selectable fields.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tortie.apiserver.builtin import (
    admission_policies,
    bounds,
    certificates,
    columns,
    columns_more,
    definitions,
    namespaces,
    plain,
    pods,
    policies,
    roles,
    services,
    webhooks,
    workloads,
)
from tortie.apiserver.kinds import Hooks, Table
from tortie.apiserver.objects import get
from tortie.apiserver.proxying import services as api_services

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Behaviour:
    hooks: Hooks = field(default_factory=Hooks)
    table: Table | None = None
    convert_in: Callable[[Object], Object] | None = None
    convert_out: Callable[[Object], Object] | None = None


def flag(*path: str) -> Callable[[Object], str]:
    """A boolean field that reads false when absent."""

    def read(obj: Object) -> str:
        return "true" if get(obj, *path) else "false"

    return read


def number(*path: str) -> Callable[[Object], str]:
    """A count that reads 0 when absent."""

    def read(obj: Object) -> str:
        return str(get(obj, *path) or 0)

    return read


def pod_ips(obj: Object) -> str:
    return ",".join(str(p.get("ip", "")) for p in get(obj, "status", "podIPs") or ())


def event_source(obj: Object) -> str:
    return str(get(obj, "source", "component") or obj.get("reportingComponent") or "")


_NONE = Behaviour()
API_SERVICE = Hooks(default=api_services.default, validate=api_services.validate)
_RBAC = "rbac.authorization.k8s.io"
_NETWORKING = "networking.k8s.io"
_ADMISSION = "admissionregistration.k8s.io"
_ALL: dict[tuple[str, str], Behaviour] = {
    ("", "Namespace"): Behaviour(namespaces.HOOKS, columns.NAMESPACES),
    ("", "Node"): Behaviour(plain.NODE, columns.NODES),
    ("", "Pod"): Behaviour(pods.HOOKS, columns.PODS),
    ("", "Service"): Behaviour(services.HOOKS, columns.SERVICES),
    ("", "Endpoints"): Behaviour(services.ENDPOINTS_HOOKS, columns.ENDPOINTS),
    ("", "ConfigMap"): Behaviour(plain.CONFIG_MAP, columns.CONFIGMAPS),
    ("", "Secret"): Behaviour(plain.SECRET, columns.SECRETS),
    ("", "ServiceAccount"): Behaviour(table=columns.SERVICE_ACCOUNTS),
    ("", "Event"): Behaviour(plain.EVENT, columns.EVENTS),
    ("", "ReplicationController"): Behaviour(workloads.CONTROLLER, columns_more.REPLICASETS),
    ("", "LimitRange"): Behaviour(bounds.LIMITS),
    ("", "ResourceQuota"): Behaviour(bounds.QUOTA),
    ("", "PersistentVolume"): Behaviour(plain.VOLUME, columns_more.VOLUMES),
    ("", "PersistentVolumeClaim"): Behaviour(plain.CLAIM, columns_more.CLAIMS),
    ("apps", "Deployment"): Behaviour(workloads.DEPLOYMENT, columns_more.DEPLOYMENTS),
    ("apps", "ReplicaSet"): Behaviour(workloads.REPLICASET, columns_more.REPLICASETS),
    ("apps", "DaemonSet"): Behaviour(workloads.DAEMONSET, columns_more.DAEMONSETS),
    ("apps", "StatefulSet"): Behaviour(workloads.STATEFULSET, columns_more.STATEFULSETS),
    ("apps", "ControllerRevision"): Behaviour(table=columns_more.REVISIONS),
    ("events.k8s.io", "Event"): Behaviour(
        table=columns.EVENTS_NEW, convert_in=plain.event_in, convert_out=plain.event_out
    ),
    (certificates.GROUP, "CertificateSigningRequest"): Behaviour(certificates.HOOKS, certificates.TABLE),
    ("batch", "Job"): Behaviour(workloads.JOB, columns_more.JOBS),
    ("batch", "CronJob"): Behaviour(workloads.CRONJOB, columns_more.CRONJOBS),
    (_NETWORKING, "NetworkPolicy"): Behaviour(policies.HOOKS, columns.POLICIES),
    (_NETWORKING, "Ingress"): Behaviour(table=columns_more.INGRESSES),
    (_NETWORKING, "IngressClass"): Behaviour(table=columns_more.INGRESS_CLASSES),
    ("policy", "PodDisruptionBudget"): Behaviour(plain.BUDGET, columns_more.BUDGETS),
    (_RBAC, "ClusterRole"): Behaviour(roles.CLUSTER_ROLE, columns_more.ROLES),
    (_RBAC, "ClusterRoleBinding"): Behaviour(roles.BINDING, columns_more.BINDINGS),
    (_RBAC, "Role"): Behaviour(roles.ROLE, columns_more.ROLES),
    (_RBAC, "RoleBinding"): Behaviour(roles.BINDING, columns_more.BINDINGS),
    ("storage.k8s.io", "StorageClass"): Behaviour(plain.STORAGE_CLASS, columns_more.STORAGE_CLASSES),
    (_ADMISSION, "MutatingWebhookConfiguration"): Behaviour(webhooks.HOOKS, columns_more.WEBHOOKS),
    (_ADMISSION, "ValidatingWebhookConfiguration"): Behaviour(webhooks.HOOKS, columns_more.WEBHOOKS),
    (_ADMISSION, "MutatingAdmissionPolicy"): Behaviour(admission_policies.MUTATING, columns_more.MUTATING_POLICIES),
    (_ADMISSION, "MutatingAdmissionPolicyBinding"): Behaviour(admission_policies.BINDING, columns_more.POLICY_BINDINGS),
    (_ADMISSION, "ValidatingAdmissionPolicy"): Behaviour(
        admission_policies.VALIDATING, columns_more.VALIDATING_POLICIES
    ),
    (_ADMISSION, "ValidatingAdmissionPolicyBinding"): Behaviour(
        admission_policies.BINDING, columns_more.POLICY_BINDINGS
    ),
    ("apiextensions.k8s.io", "CustomResourceDefinition"): Behaviour(definitions.HOOKS, columns_more.DEFINITIONS),
    ("apiregistration.k8s.io", "APIService"): Behaviour(API_SERVICE, columns_more.API_SERVICES),
    ("scheduling.k8s.io", "PriorityClass"): Behaviour(plain.PRIORITY, columns_more.PRIORITY_CLASSES),
    ("coordination.k8s.io", "Lease"): Behaviour(plain.LEASE, columns.LEASES),
    ("discovery.k8s.io", "EndpointSlice"): Behaviour(services.SLICE_HOOKS, columns.SLICES),
}


def of(group: str, kind: str) -> Behaviour:
    return _ALL.get((group, kind), _NONE)
