"""Kubernetes API requests as plain values: paths, verbs, queries, bodies. Pure.

In: a resource's descriptor and what to do with it. Out: a `Request` for the client's executor, which alone touches a
socket.
"""

from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import quote, urlencode

import msgspec

from tortie.model.packing import STORAGE_GROUP, is_direct, plain
from tortie.model.resource import Resource

PatchType = Literal["merge", "json", "strategic", "apply"]
PropagationPolicy = Literal["Background", "Foreground", "Orphan"]

_PATCH_CONTENT: dict[PatchType, str] = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """target: path and query, as they go on the request line. body: None for no body."""

    method: str
    target: str
    body: bytes | None = None
    content_type: str = "application/json"

    @property
    def what(self) -> str:
        """The request in words for errors and logs: method and path, no query."""
        return f"{self.method} {self.target.partition('?')[0]}"


def target(path: str, query: Mapping[str, str] | None = None) -> str:
    """Path plus query; parameters with an empty value are left out."""
    text = urlencode({k: v for k, v in (query or {}).items() if v != ""})
    return f"{path}?{text}" if text else path


def object_path(
    resource: Resource[Any], name: str, namespace: str | None = None, subresource: str | None = None
) -> str:
    """The path of one object. Raises ValueError for a namespaced resource without a namespace or an empty name."""
    if resource.namespaced and not namespace:
        raise ValueError(f"{resource.plural} {name!r}: namespace is missing; {resource.kind} is namespaced")
    if not name:
        raise ValueError(f"{resource.plural}: name is empty")
    return resource.path(quote(namespace, safe="") if namespace else None, quote(name, safe=":"), subresource)


def get(resource: Resource[Any], name: str, namespace: str | None = None, subresource: str | None = None) -> Request:
    """Reads one object."""
    return Request(method="GET", target=object_path(resource, name, namespace, subresource))


def list_(
    resource: Resource[Any],
    namespace: str | None = None,
    *,
    label_selector: str = "",
    field_selector: str = "",
    limit: int = 0,
    continue_: str = "",
    resource_version: str = "",
    resource_version_match: str = "",
) -> Request:
    """Reads a collection; namespace None means all namespaces; limit 0 means everything in one answer."""
    query = {
        "labelSelector": label_selector,
        "fieldSelector": field_selector,
        "limit": str(limit) if limit else "",
        "continue": continue_,
        "resourceVersion": resource_version,
        "resourceVersionMatch": resource_version_match,
    }
    return Request(method="GET", target=target(resource.path(namespace), query))


def watch(
    resource: Resource[Any],
    namespace: str | None = None,
    *,
    resource_version: str,
    label_selector: str = "",
    field_selector: str = "",
    timeout_seconds: int = 0,
    send_initial_events: bool = False,
) -> Request:
    """Follows a collection from a resource version ("" for: current state first), bookmarks allowed."""
    query = {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": resource_version,
        "labelSelector": label_selector,
        "fieldSelector": field_selector,
        "timeoutSeconds": str(timeout_seconds) if timeout_seconds else "",
        "sendInitialEvents": "true" if send_initial_events else "",
        "resourceVersionMatch": "NotOlderThan" if send_initial_events else "",
    }
    return Request(method="GET", target=target(resource.path(namespace), query))


def create(
    resource: Resource[Any],
    obj: Any,
    namespace: str | None = None,
    *,
    subresource: tuple[str, str] | None = None,
    field_manager: str = "",
) -> Request:
    """Creates an object; its namespace is the argument's, else its own. subresource: (parent name, subresource),
    as for TokenRequest or an eviction."""
    body = as_json(resource, obj)
    space = namespace or body.get("metadata", {}).get("namespace") or None
    if resource.namespaced and not space:
        raise ValueError(f"{resource.plural}: namespace is missing; {resource.kind} is namespaced")
    if subresource is not None:
        path = object_path(resource, subresource[0], space, subresource[1])
    else:
        path = resource.path(quote(space, safe="") if space else None)
    query = {"fieldManager": field_manager}
    return Request(method="POST", target=target(path, query), body=msgspec.json.encode(body))


def update(resource: Resource[Any], obj: Any, subresource: str | None = None, *, field_manager: str = "") -> Request:
    """Replaces an object; a resource version in it makes the write conditional."""
    body = as_json(resource, obj)
    metadata = body.get("metadata", {})
    path = object_path(resource, metadata.get("name", ""), metadata.get("namespace"), subresource)
    return Request(method="PUT", target=target(path, {"fieldManager": field_manager}), body=msgspec.json.encode(body))


def patch(
    resource: Resource[Any],
    name: str,
    patch: Any,
    *,
    namespace: str | None = None,
    patch_type: PatchType = "merge",
    subresource: str | None = None,
    field_manager: str | None = None,
    force: bool = False,
) -> Request:
    """Changes part of an object. patch: a mapping, or a list of operations for `json`; for `apply` the applied
    object, to which apiVersion and kind are added, and field_manager is required."""
    if patch_type == "apply":
        if not field_manager:
            raise ValueError("an apply patch needs a field_manager")
        patch = as_json(resource, patch)
        patch.setdefault("metadata", {}).setdefault("name", name)
    query = {"fieldManager": field_manager or "", "force": "true" if force else ""}
    return Request(
        method="PATCH",
        target=target(object_path(resource, name, namespace, subresource), query),
        body=msgspec.json.encode(patch),
        content_type=_PATCH_CONTENT[patch_type],
    )


def delete(
    resource: Resource[Any],
    name: str,
    namespace: str | None = None,
    *,
    grace_period_seconds: int | None = None,
    preconditions: Mapping[str, str] | None = None,
    propagation_policy: PropagationPolicy | None = None,
) -> Request:
    """Deletes an object. preconditions: `uid` and `resourceVersion` that must still hold."""
    options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
    if grace_period_seconds is not None:
        options["gracePeriodSeconds"] = grace_period_seconds
    if preconditions:
        options["preconditions"] = dict(preconditions)
    if propagation_policy is not None:
        options["propagationPolicy"] = propagation_policy
    body = msgspec.json.encode(options) if len(options) > 2 else None
    return Request(method="DELETE", target=object_path(resource, name, namespace), body=body)


_NOT_APPLIED = ("managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink")


def applied(resource: Resource[Any], obj: Any) -> dict[str, Any]:
    """An object as it is applied: without what the server owns. Raises ValueError for one without a name."""
    body = as_json(resource, obj)
    metadata = {k: v for k, v in dict(body.get("metadata") or {}).items() if k not in _NOT_APPLIED}
    if not metadata.get("name"):
        raise ValueError(f"{resource.plural}: an applied object needs metadata.name")
    return {**body, "metadata": metadata}


def as_json(resource: Resource[Any], obj: Any) -> dict[str, Any]:
    """An object as the JSON that is sent: apiVersion and kind first, from the resource when it has none."""
    data: dict[str, Any] = dict(obj) if isinstance(obj, Mapping) else msgspec.to_builtins(obj)
    if resource.group == STORAGE_GROUP and is_direct(resource):
        data = plain(resource, data)
    head = {"apiVersion": data.get("apiVersion") or resource.api_version, "kind": data.get("kind") or resource.kind}
    return {**head, **{key: value for key, value in data.items() if key not in head}}
