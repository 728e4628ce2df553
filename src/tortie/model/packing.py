"""Objects of projectcalico.org/v3 as stored in crd.projectcalico.org/v1, and back (spec/resources.md 1.2, 1.3).

For the aggregated server and for tools that read a v1 store. In: one object as plain JSON, and its resource. Out: a
new object in the other form; the arguments are not changed. Nothing here checks whether an object is valid.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tortie.model.catalog import BLOCK_AFFINITIES, CALICO, CALICO_GROUP, IPAM_BLOCKS, IPAM_HANDLES, POLICIES
from tortie.model.facts import Facts
from tortie.model.names import reversed_uid
from tortie.model.resource import Resource
from tortie.model.v3.tier import DEFAULT_TIER

Object = dict[str, Any]

STORAGE_GROUP, STORAGE_VERSION = "crd.projectcalico.org", "v1"
METADATA_ANNOTATION = "projectcalico.org/metadata"
_LEGACY = {"labels": "projectcalico.org/labels", "annotations": "projectcalico.org/annotations"}
_OUTSIDE = ("projectcalico.org/", "operator.tigera.io/")
_LEGACY_PREFIX = f"{DEFAULT_TIER}."
_TIERED = frozenset(resource.plural for resource in POLICIES)

# What the storing server decides: it is authoritative outside, and what is inside may be of an earlier time.
_SERVERS_OWN = ("deletionTimestamp", "deletionGracePeriodSeconds", "generation")


TIER_LABEL = "projectcalico.org/tier"


class PackingError(ValueError):
    """A stored object whose packed metadata or UID cannot be read."""


def storage_resource(resource: Resource[Any]) -> Resource[dict[str, Any]]:
    """Where objects of a v3 resource are stored; the same resource for groups that are stored as they are."""
    if resource.group != CALICO_GROUP:
        return resource.untyped()
    kind = resource.facts.storage_kind or resource.kind
    return replace(
        resource.untyped(),
        group=STORAGE_GROUP,
        version=STORAGE_VERSION,
        kind=kind,
        plural=resource.facts.storage_plural or resource.plural,
        singular=kind.lower(),
        short_names=(),
        facts=Facts(columns=resource.facts.columns, status=resource.facts.status),
    )


_DIRECT = frozenset({IPAM_BLOCKS.plural, IPAM_HANDLES.plural, BLOCK_AFFINITIES.plural})


def is_direct(resource: Resource[Any]) -> bool:
    """Whether clients of an aggregated API server read and write the resource where it is stored, past that server."""
    return resource.plural in _DIRECT and resource.group in (CALICO_GROUP, STORAGE_GROUP)


def plain(resource: Resource[Any], obj: Object) -> Object:
    """An object of such a resource (its storing form), as address management stores it: with nothing packed."""
    result = {**obj, "apiVersion": resource.api_version, "kind": resource.kind}
    if resource.plural == BLOCK_AFFINITIES.plural and isinstance(result.get("spec"), dict):
        result["spec"] = _deleted_as_text(result["spec"])
    return result


def _deleted_as_text(spec: Object) -> Object:
    """A stored affinity says in words whether it is being deleted."""
    deleted = spec.get("deleted")
    return {**spec, "deleted": "true" if deleted is True or deleted == "true" else "false"}


def storage_names(resource: Resource[Any], name: str) -> tuple[str, ...]:
    """Under which names an object may be stored, the current one first: policies of tier default once had a prefix."""
    if resource.plural in _TIERED and resource.group == CALICO_GROUP:
        return name, _LEGACY_PREFIX + name
    return (name,)


def convert_uid(uid: str) -> str:
    """The v3 UID of a stored one, and the stored one of a v3 UID. Raises PackingError if it is not a UUID."""
    try:
        return reversed_uid(uid)
    except ValueError as error:
        raise PackingError(str(error)) from error


def pack(resource: Resource[Any], obj: Object, *, stored_name: str | None = None) -> Object:
    """A v3 object as it is stored. Raises PackingError for a UID that is not a UUID.

    stored_name: the name of the stored object that this one replaces, if that is an old one (`storage_names`).
    """
    stored = storage_resource(resource)
    if stored.group == resource.group:
        return obj
    metadata: Object = obj.get("metadata") or {}
    hidden = {"namespace", "resourceVersion", "uid"}
    if resource.plural not in _TIERED:
        hidden.add("name")
    inner = {field: value for field, value in metadata.items() if field not in hidden}
    outer: Object = {
        field: metadata[field] for field in ("name", "namespace", "resourceVersion") if metadata.get(field)
    }
    if stored_name is not None:
        outer["name"] = stored_name
    if metadata.get("uid"):
        outer["uid"] = convert_uid(metadata["uid"])
    if labels := _outside(metadata.get("labels")):
        outer["labels"] = labels
    # The storing server collects garbage and waits for finalizers, so it must see both.
    if metadata.get("ownerReferences"):
        outer["ownerReferences"] = [_owner(owner, to_storage=True) for owner in metadata["ownerReferences"]]
    if metadata.get("finalizers"):
        outer["finalizers"] = list(metadata["finalizers"])
    outer["annotations"] = {
        **_outside(metadata.get("annotations")),
        METADATA_ANNOTATION: json.dumps(inner, separators=(",", ":"), sort_keys=True, ensure_ascii=False),
    }
    rest = {field: value for field, value in obj.items() if field not in ("apiVersion", "kind", "metadata")}
    if resource.plural == BLOCK_AFFINITIES.plural and isinstance(rest.get("spec"), dict):
        rest["spec"] = _deleted_as_text(rest["spec"])
    return {"apiVersion": stored.api_version, "kind": stored.kind, "metadata": outer, **rest}


def unpack(resource: Resource[Any], stored: Object) -> Object:
    """A stored object as users see it in v3. Raises PackingError if its packed metadata or a UID cannot be read."""
    if storage_resource(resource).group == resource.group:
        return stored
    outer: Object = dict(stored.get("metadata") or {})
    annotations = dict(outer.pop("annotations", None) or {})
    labels = dict(outer.pop("labels", None) or {})
    packed = METADATA_ANNOTATION in annotations
    inner = _mapping(annotations.pop(METADATA_ANNOTATION), METADATA_ANNOTATION) if packed else {}
    for target, key in ((labels, _LEGACY["labels"]), (annotations, _LEGACY["annotations"])):
        if key in annotations:
            target.update(_mapping(annotations.pop(key), key))
    labels |= inner.get("labels") or {}
    annotations |= inner.get("annotations") or {}
    metadata = {**outer, **inner}
    for field in ("labels", "annotations"):
        metadata.pop(field, None)
    for field in ("name", "namespace", "resourceVersion", "uid", *_SERVERS_OWN):
        metadata.pop(field, None)
        if outer.get(field):
            metadata[field] = outer[field]
    metadata["name"] = _name(resource, stored, inner)
    if packed and "finalizers" in inner and not outer.get("finalizers"):
        del metadata["finalizers"]
    elif outer.get("finalizers"):
        metadata["finalizers"] = list(outer["finalizers"])
    if not metadata.get("creationTimestamp"):
        metadata["creationTimestamp"] = outer.get("creationTimestamp")
    if metadata["creationTimestamp"] is None:
        del metadata["creationTimestamp"]
    if packed:
        # What the storing server tracks is the packed form; the owners of v3 fields are packed with the rest.
        metadata.pop("managedFields", None)
        if "managedFields" in inner:
            metadata["managedFields"] = inner["managedFields"]
    if metadata.get("uid"):
        metadata["uid"] = convert_uid(metadata["uid"])
    if outer.get("ownerReferences"):
        metadata["ownerReferences"] = [_owner(owner, to_storage=False) for owner in outer["ownerReferences"]]
    else:
        metadata.pop("ownerReferences", None)
    rest = {field: value for field, value in stored.items() if field not in ("apiVersion", "kind", "metadata")}
    if resource.plural in _TIERED:
        labels[TIER_LABEL] = (rest.get("spec") or {}).get("tier") or DEFAULT_TIER
    if labels:
        metadata["labels"] = labels
    if annotations:
        metadata["annotations"] = annotations
    if resource.plural == BLOCK_AFFINITIES.plural and isinstance(rest.get("spec"), dict):
        rest["spec"] = {**rest["spec"], "deleted": str(rest["spec"].get("deleted")).lower() == "true"}
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, **rest}


def _name(resource: Resource[Any], stored: Object, inner: Object) -> str:
    """The packed name if there is one; else that of the stored object, less the prefix of old default-tier policies."""
    if inner.get("name"):
        return str(inner["name"])
    name = str((stored.get("metadata") or {}).get("name", ""))
    if resource.plural in _TIERED and ((stored.get("spec") or {}).get("tier") or DEFAULT_TIER) == DEFAULT_TIER:
        return name.removeprefix(_LEGACY_PREFIX)
    return name


def _outside(mapping: Mapping[str, str] | None) -> dict[str, str]:
    """The labels or annotations that are kept on the stored object too."""
    return {key: value for key, value in (mapping or {}).items() if any(part in key for part in _OUTSIDE)}


def _owner(owner: Object, *, to_storage: bool) -> Object:
    """An owner reference in the other form; owners of other groups stay as they are."""
    v3, v1 = f"{CALICO_GROUP}/v3", f"{STORAGE_GROUP}/{STORAGE_VERSION}"
    old, new = (v3, v1) if to_storage else (v1, v3)
    if owner.get("apiVersion") != old:
        return owner
    kind = _KINDS.get(owner.get("kind", ""), owner.get("kind")) if to_storage else _kind_of_storage(owner.get("kind"))
    return {**owner, "apiVersion": new, "kind": kind, "uid": convert_uid(str(owner.get("uid", "")))}


_KINDS = {resource.kind: resource.facts.storage_kind for resource in CALICO if resource.facts.storage_kind}


def _kind_of_storage(kind: Any) -> Any:
    return next((v3 for v3, stored in _KINDS.items() if stored == kind), kind)


def _mapping(text: Any, key: str) -> Object:
    try:
        value = json.loads(text)
    except (TypeError, ValueError) as error:
        raise PackingError(f"annotation {key} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise PackingError(f"annotation {key} is not a JSON object")
    return value
