"""The roles and bindings that every cluster begins with.

In: nothing. Out: ClusterRoles and bindings as trees, for bootstrap; the user-facing ones are aggregated from parts by
label, so that other products can add to them.
"""

from collections.abc import Iterable, Iterator
from typing import Any

Object = dict[str, Any]
_READ = ("get", "list", "watch")
_WRITE = ("create", "delete", "deletecollection", "patch", "update")
_ALL = ("*",)
_RBAC = "rbac.authorization.k8s.io"
_LABELS = {"kubernetes.io/bootstrapping": "rbac-defaults"}
_AGGREGATE = f"{_RBAC}/aggregate-to-"


def rule(groups: str, resources: str, verbs: Iterable[str]) -> Object:
    """A rule from words separated by spaces; `core` is the core group."""
    return {
        "apiGroups": ["" if g == "core" else g for g in groups.split()],
        "resources": resources.split(),
        "verbs": list(verbs),
    }


def _paths(*urls: str) -> Object:
    return {"nonResourceURLs": list(urls), "verbs": ["get"]}


def _role(name: str, rules: list[Object], **labels: str) -> Object:
    return {
        "metadata": {
            "name": name,
            "labels": {**_LABELS, **{k.replace("__", "/"): v for k, v in labels.items()}},
            "annotations": {f"{_RBAC}/autoupdate": "true"},
        },
        "rules": rules,
    }


_VIEWED = [
    rule("core", "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods serviceaccounts "
         "replicationcontrollers replicationcontrollers/scale services services/status", _READ),
    rule("core", "bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status "
         "resourcequotas resourcequotas/status", _READ),
    rule("core", "namespaces", _READ),
    rule("discovery.k8s.io", "endpointslices", _READ),
    rule("apps", "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status "
         "replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status", _READ),
    rule("autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status", _READ),
    rule("batch", "cronjobs cronjobs/status jobs jobs/status", _READ),
    rule("policy", "poddisruptionbudgets poddisruptionbudgets/status", _READ),
    rule("networking.k8s.io", "ingresses ingresses/status networkpolicies", _READ),
    rule("coordination.k8s.io", "leases", _READ),
]  # fmt: skip
_EDITED = [
    rule("core", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy", _READ),
    rule("core", "serviceaccounts", ("impersonate",)),
    rule("core", "pods pods/attach pods/exec pods/portforward pods/proxy", _WRITE),
    rule("core", "pods/eviction", ("create",)),
    rule("core", "configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets "
         "serviceaccounts services services/proxy", _WRITE),
    rule("core", "serviceaccounts/token", ("create",)),
    rule("apps", "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale "
         "statefulsets statefulsets/scale", _WRITE),
    rule("autoscaling", "horizontalpodautoscalers", _WRITE),
    rule("batch", "cronjobs jobs", _WRITE),
    rule("policy", "poddisruptionbudgets", _WRITE),
    rule("networking.k8s.io", "ingresses networkpolicies", _WRITE),
    rule("coordination.k8s.io", "leases", _WRITE),
]  # fmt: skip
_ADMINISTERED = [
    rule("authorization.k8s.io", "localsubjectaccessreviews", ("create",)),
    rule(_RBAC, "rolebindings roles", (*_READ, *_WRITE)),
]
_NODE = [
    rule("authentication.k8s.io", "tokenreviews", ("create",)),
    rule("authorization.k8s.io", "localsubjectaccessreviews subjectaccessreviews", ("create",)),
    rule("core", "services endpoints configmaps secrets persistentvolumes persistentvolumeclaims", _READ),
    rule("core", "nodes", ("create", *_READ, "delete", "patch", "update")),
    rule("core", "nodes/status", ("patch", "update")),
    rule("core", "events", ("create", "patch", "update")),
    rule("core", "pods", ("create", *_READ, "delete")),
    rule("core", "pods/status", ("patch", "update")),
    rule("core", "pods/eviction", ("create",)),
    rule("core", "serviceaccounts", _READ),
    rule("core", "serviceaccounts/token", ("create",)),
    rule("coordination.k8s.io", "leases", ("create", "get", "delete", "patch", "update")),
    rule("certificates.k8s.io", "certificatesigningrequests", ("create", *_READ)),
    rule("node.k8s.io", "runtimeclasses", _READ),
    rule("storage.k8s.io", "csidrivers", _READ),
]
_DISCOVERY = (
    "/api",
    "/api/*",
    "/apis",
    "/apis/*",
    "/healthz",
    "/livez",
    "/openapi",
    "/openapi/*",
    "/readyz",
    "/version",
    "/version/",
)


def cluster_roles() -> Iterator[Object]:
    """Every default ClusterRole."""
    yield _role("cluster-admin", [rule("*", "*", _ALL), {"nonResourceURLs": ["*"], "verbs": ["*"]}])
    for name in ("admin", "edit", "view"):
        role = _role(
            name, [], **({} if name == "admin" else {f"{_AGGREGATE}{'admin' if name == 'edit' else 'edit'}": "true"})
        )
        role["aggregationRule"] = {"clusterRoleSelectors": [{"matchLabels": {f"{_AGGREGATE}{name}": "true"}}]}
        yield role
    yield _role("system:aggregate-to-admin", _ADMINISTERED, **{f"{_AGGREGATE}admin": "true"})
    yield _role("system:aggregate-to-edit", _EDITED, **{f"{_AGGREGATE}edit": "true"})
    yield _role("system:aggregate-to-view", _VIEWED, **{f"{_AGGREGATE}view": "true"})
    yield _role("system:discovery", [_paths(*_DISCOVERY)])
    yield _role("system:public-info-viewer", [_paths("/healthz", "/livez", "/readyz", "/version", "/version/")])
    yield _role(
        "system:basic-user",
        [
            rule("authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews", ("create",)),
            rule("authentication.k8s.io", "selfsubjectreviews", ("create",)),
        ],
    )
    yield _role(
        "system:auth-delegator",
        [
            rule("authentication.k8s.io", "tokenreviews", ("create",)),
            rule("authorization.k8s.io", "subjectaccessreviews", ("create",)),
        ],
    )
    yield _role(
        "system:service-account-issuer-discovery", [_paths("/.well-known/openid-configuration", "/openid/v1/jwks")]
    )
    yield _role(
        "system:monitoring",
        [_paths("/healthz", "/healthz/*", "/livez", "/livez/*", "/metrics", "/readyz", "/readyz/*")],
    )
    yield from _certificate_roles()
    yield _role("system:node", _NODE)
    yield _role(
        "system:node-proxier",
        [
            rule("core", "endpoints services", ("list", "watch")),
            rule("core", "nodes", _READ),
            rule("core events.k8s.io", "events", ("create", "patch", "update")),
            rule("discovery.k8s.io", "endpointslices", ("list", "watch")),
        ],
    )
    yield _role(
        "system:kube-scheduler",
        [
            rule("core events.k8s.io", "events", ("create", "patch", "update")),
            rule("coordination.k8s.io", "leases", ("create", "get", "list", "watch", "update", "patch")),
            rule("core", "nodes pods services namespaces configmaps persistentvolumes persistentvolumeclaims", _READ),
            rule("core", "pods", ("delete",)),
            rule("core", "bindings pods/binding", ("create",)),
            rule("core", "pods/status", ("patch", "update")),
            rule("apps", "replicasets statefulsets", _READ),
            rule("policy", "poddisruptionbudgets", _READ),
        ],
    )
    yield _role(
        "system:kube-controller-manager",
        [rule("*", "*", _ALL), {"nonResourceURLs": ["*"], "verbs": ["get"]}],
    )
    yield _role(
        "system:kube-dns",
        [
            rule("core", "endpoints services namespaces", ("list", "watch")),
            rule("discovery.k8s.io", "endpointslices", ("list", "watch")),
        ],
    )


def _certificate_roles() -> Iterator[Object]:
    """Who may have a kubelet's certificate unseen, and who may approve for which signer."""
    asked = "system:certificates.k8s.io:certificatesigningrequests"
    for name in ("nodeclient", "selfnodeclient"):
        yield _role(f"{asked}:{name}", [rule("certificates.k8s.io", f"certificatesigningrequests/{name}", ("create",))])
    for name in ("kube-apiserver-client", "kube-apiserver-client-kubelet", "kubelet-serving", "legacy-unknown"):
        approve = rule("certificates.k8s.io", "signers", ("approve",))
        approve["resourceNames"] = [f"kubernetes.io/{name}"]
        yield _role(f"system:certificates.k8s.io:{name}-approver", [approve])
    bootstrap = rule("certificates.k8s.io", "certificatesigningrequests", ("create", "get", "list", "watch"))
    yield _role("system:node-bootstrapper", [bootstrap])


def _binding(name: str, role: str, kind: str, *subjects: str) -> Object:
    return {
        "metadata": {"name": name, "labels": dict(_LABELS), "annotations": {f"{_RBAC}/autoupdate": "true"}},
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": _RBAC, "kind": kind, "name": s} for s in subjects],
    }


def cluster_role_bindings() -> Iterator[Object]:
    """Every default ClusterRoleBinding."""
    yield _binding("cluster-admin", "cluster-admin", "Group", "system:masters")
    yield _binding("system:discovery", "system:discovery", "Group", "system:authenticated")
    yield _binding("system:basic-user", "system:basic-user", "Group", "system:authenticated")
    yield _binding(
        "system:public-info-viewer",
        "system:public-info-viewer",
        "Group",
        "system:authenticated",
        "system:unauthenticated",
    )
    yield _binding(
        "system:service-account-issuer-discovery",
        "system:service-account-issuer-discovery",
        "Group",
        "system:serviceaccounts",
    )
    yield _binding("system:monitoring", "system:monitoring", "Group", "system:monitoring")
    yield _binding("system:node", "system:node", "Group", "system:nodes")
    yield _binding("system:node-proxier", "system:node-proxier", "User", "system:kube-proxy")
    yield _binding("system:kube-scheduler", "system:kube-scheduler", "User", "system:kube-scheduler")
    yield _binding(
        "system:kube-controller-manager", "system:kube-controller-manager", "User", "system:kube-controller-manager"
    )


def authentication_reader() -> tuple[Object, Object]:
    """The Role and RoleBinding (in kube-system) that let extension API servers read how clients are authenticated."""
    name = "extension-apiserver-authentication-reader"
    read = rule("core", "configmaps", _READ)
    read["resourceNames"] = ["extension-apiserver-authentication"]
    role = {"metadata": {"name": name, "namespace": "kube-system", "labels": dict(_LABELS)}, "rules": [read]}
    binding = {
        "metadata": {
            "name": "system::extension-apiserver-authentication-reader",
            "namespace": "kube-system",
            "labels": dict(_LABELS),
        },
        "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": name},
        "subjects": [
            {"apiGroup": _RBAC, "kind": "User", "name": u}
            for u in ("system:kube-controller-manager", "system:kube-scheduler")
        ],
    }
    return role, binding
