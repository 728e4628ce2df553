"""What admission knows about one request, and how a webhook is told.

In: a call with the object it would store, and the object it would replace. Out: `Attributes` for rules and conditions,
and the `request` of an AdmissionReview (admission.k8s.io/v1).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tortie.apiserver import objects
from tortie.apiserver.context import Call, User
from tortie.apiserver.conversion import between
from tortie.apiserver.kinds import Kind
from tortie.apiserver.registry import Registry

Object = dict[str, Any]
Operation = Literal["CREATE", "UPDATE", "DELETE", "CONNECT"]
_OPTIONS = {
    "create": "CreateOptions",
    "update": "UpdateOptions",
    "patch": "PatchOptions",
    "delete": "DeleteOptions",
    "deletecollection": "DeleteOptions",
}


@dataclass(frozen=True, slots=True)
class Place:
    """A resource in one version, and the kind of its objects there (a subresource may have another one)."""

    group: str
    version: str
    plural: str
    object_group: str
    object_version: str
    object_kind: str


@dataclass(frozen=True, slots=True)
class Attributes:
    """obj is None for a delete, old is None for a create and a connect."""

    operation: Operation
    place: Place
    subresource: str
    namespaced: bool
    namespace: str
    name: str
    user: User
    obj: Object | None
    old: Object | None
    options: Object | None
    dry_run: bool
    labels: tuple[Mapping[str, str], ...] = ()
    """Labels of obj and old, those of the two that can have labels."""
    kind: Kind | None = field(default=None, repr=False)


def place_of(kind: Kind, subresource: str) -> Place:
    """The resource of a kind, or of one of its subresources, with the kind of its objects."""
    sub = kind.subresources.get(subresource) if subresource else None
    if sub is None or sub.kind == kind.kind:
        return Place(kind.group, kind.version, kind.plural, kind.group, kind.version, kind.kind)
    version = sub.version or kind.version
    return Place(kind.group, kind.version, kind.plural, sub.group, version, sub.kind)


def equivalents(registry: Registry, kind: Kind) -> tuple[Kind, ...]:
    """The other versions in which the same stored objects are served."""
    return tuple(k for k in registry.kinds() if k.collection == kind.collection and k is not kind)


def of(
    call: Call,
    operation: Operation,
    obj: Object | None,
    old: Object | None,
    *,
    subresource: str = "",
    name: str = "",
    options: Object | None = None,
) -> Attributes:
    """The attributes of a call."""
    kind = call.kind
    shown = obj if obj is not None else old
    namespace = call.info.namespace if kind.namespaced else ""
    if kind.plural == "namespaces" and not kind.group:
        namespace = name or call.info.name or str(objects.get(shown, "metadata", "name") or "")
    return Attributes(
        operation=operation,
        place=place_of(kind, subresource),
        subresource=subresource,
        namespaced=kind.namespaced,
        namespace=namespace,
        name=name or call.info.name or str(objects.get(shown, "metadata", "name") or ""),
        user=call.user,
        obj=obj,
        old=old,
        options=options if options is not None else _options(call),
        dry_run=call.dry_run,
        labels=tuple(
            o["metadata"].get("labels") or {}
            for o in (obj, old)
            if o is not None and isinstance(o.get("metadata"), dict)
        ),
        kind=kind,
    )


def _options(call: Call) -> Object | None:
    kind = _OPTIONS.get(call.info.verb)
    if kind is None:
        return None
    options: Object = {"kind": kind, "apiVersion": "meta.k8s.io/v1"}
    if call.dry_run:
        options["dryRun"] = ["All"]
    if kind != "DeleteOptions":
        if call.manager:
            options["fieldManager"] = call.manager
        options["fieldValidation"] = call.field_validation
    if kind == "PatchOptions" and "force" in call.query:
        options["force"] = call.query["force"] in {"1", "true", "True"}
    return options


def user_info(user: User) -> Object:
    """The user as TokenReview and AdmissionReview show one."""
    info: Object = {"username": user.name}
    if user.uid:
        info["uid"] = user.uid
    if user.groups:
        info["groups"] = list(user.groups)
    if user.extra:
        info["extra"] = {key: list(values) for key, values in user.extra.items()}
    return info


async def request(attributes: Attributes, matched: Kind | None, uid: str) -> Object:
    """`request` of an AdmissionReview. matched: the version of the resource that a rule named (None: the call's)."""
    own, kind = attributes.place, attributes.kind
    place, obj, old = own, attributes.obj, attributes.old
    if matched is not None and kind is not None and matched is not kind:
        place = place_of(matched, attributes.subresource)
        obj, old = await between(obj, kind, matched), await between(old, kind, matched)
    result: Object = {
        "uid": uid,
        "kind": {"group": place.object_group, "version": place.object_version, "kind": place.object_kind},
        "resource": {"group": place.group, "version": place.version, "resource": place.plural},
        "requestKind": {"group": own.object_group, "version": own.object_version, "kind": own.object_kind},
        "requestResource": {"group": own.group, "version": own.version, "resource": own.plural},
        "operation": attributes.operation,
        "userInfo": user_info(attributes.user),
        "object": obj,
        "oldObject": old,
        "dryRun": attributes.dry_run,
        "options": attributes.options,
    }
    if attributes.subresource:
        result["subResource"] = result["requestSubResource"] = attributes.subresource
    if attributes.name:
        result["name"] = attributes.name
    if attributes.namespace:
        result["namespace"] = attributes.namespace
    return result
