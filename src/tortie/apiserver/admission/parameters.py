"""The parameters of an admission policy: the objects that a binding's paramRef names.

In: paramKind of the policy, paramRef of the binding, the request. Out: the objects, one evaluation for each; None once
for a policy without parameters. `ParameterError` says what is wrong with the configuration.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from tortie.apiserver.admission.attributes import Attributes
from tortie.apiserver.builtin.workloads import matches
from tortie.apiserver.context import Context
from tortie.apiserver.kinds import Kind
from tortie.apiserver.records import Record
from tortie.apiserver.registry import Registry

Object = dict[str, Any]


class ParameterError(Exception):
    """The parameters of a policy cannot be found."""


def kind_of(registry: Registry, param_kind: Mapping[str, Any]) -> Kind | None:
    """The kind that a paramKind names, if it is served."""
    group, _, version = str(param_kind.get("apiVersion", "")).rpartition("/")
    return registry.by_kind(group, version, str(param_kind.get("kind", "")))


def resolve(
    context: Context,
    param_kind: Mapping[str, Any] | None,
    reference: Mapping[str, Any] | None,
    attributes: Attributes,
) -> Iterator[Object | None]:
    """The parameter objects. Nothing at all when none is found and the binding allows that."""
    if not param_kind or not reference:
        yield None
        return
    kind = kind_of(context.registry, param_kind)
    if kind is None:
        named = f"{param_kind.get('apiVersion')}, Kind={param_kind.get('kind')}"
        raise ParameterError(f"failed to find resource referenced by paramKind: '{named}'")
    namespace = str(reference.get("namespace") or "")
    if not kind.namespaced and namespace:
        raise ParameterError("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
    if kind.namespaced and not namespace:
        namespace = attributes.namespace if attributes.namespaced else ""
        if not namespace:
            raise ParameterError(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
            )
    found = list(_records(context, kind, reference, namespace))
    if not found and reference.get("parameterNotFoundAction", "Deny") != "Allow":
        raise ParameterError("no params found for policy binding with `Deny` parameterNotFoundAction")
    for record in found:
        obj = record.decode()
        yield kind.convert_out(obj) if kind.convert_out else obj


def _records(context: Context, kind: Kind, reference: Mapping[str, Any], namespace: str) -> Iterator[Record]:
    collection = context.collection(kind)
    name = reference.get("name")
    if name:
        record = collection.get((namespace, str(name)))
        if record is not None:
            yield record
        return
    selector = reference.get("selector") or {}
    for record in collection.select(namespace if kind.namespaced else None):
        if matches(selector, record.labels):
            yield record
