"""Namespaces and what each begins with: the root CA ConfigMap and the default ServiceAccount.

In: namespace objects in writes. Out: their defaults, their finalizer, and the two objects that pods in them need,
made before the create is answered.
"""

from typing import Any

from tortie.apiserver import errors
from tortie.apiserver.context import SYSTEM, Call, Context
from tortie.apiserver.kinds import Hooks
from tortie.apiserver.requests import RequestInfo

Object = dict[str, Any]
PROTECTED = frozenset({"default", "kube-system", "kube-public", "kube-node-lease"})


def default(namespace: Object) -> None:
    meta = namespace["metadata"]
    if meta.get("name"):
        meta.setdefault("labels", {})["kubernetes.io/metadata.name"] = meta["name"]
    namespace.setdefault("spec", {})
    namespace.setdefault("status", {}).setdefault("phase", "Active")


def prepare(call: Call, namespace: Object, old: Object | None) -> None:
    if old is None:
        finalizers = namespace["spec"].setdefault("finalizers", [])
        if "kubernetes" not in finalizers:
            finalizers.append("kubernetes")
    elif call.info.subresource != "finalize":
        namespace["spec"] = old.get("spec", {})


async def committed(call: Call, namespace: Object, old: Object | None) -> None:
    if old is None:
        await furnish(call.context, namespace["metadata"]["name"])


def check_delete(call: Call, namespace: Object) -> None:
    name = namespace["metadata"]["name"]
    if name in PROTECTED:
        raise errors.forbidden("", "namespaces", name, "this namespace may not be deleted")


async def furnish(context: Context, namespace: str) -> None:
    """Makes the ServiceAccount default and the ConfigMap kube-root-ca.crt where they are missing."""
    ca = context.pki.authority.pem.decode()
    await _ensure(context, "configmaps", namespace, {"metadata": {"name": "kube-root-ca.crt"}, "data": {"ca.crt": ca}})
    await _ensure(context, "serviceaccounts", namespace, {"metadata": {"name": "default"}})


async def _ensure(context: Context, plural: str, namespace: str, obj: Object) -> None:
    from tortie.apiserver import writes

    kind = context.registry.find("", "v1", plural)
    assert kind is not None
    if context.collection(kind).get((namespace, obj["metadata"]["name"])) is not None:
        return
    info = RequestInfo(True, "create", "", "", "v1", namespace, plural)
    try:
        await writes.create(Call(context, SYSTEM, info, kind, {}, "kube-controller-manager"), obj)
    except errors.StatusError as error:
        if error.reason != "AlreadyExists":  # a controller was faster
            raise


HOOKS = Hooks(default=default, prepare=prepare, committed=committed, check_delete=check_delete)
