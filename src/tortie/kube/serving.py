"""Where Calico's objects are, as the API serves them: natively, or through an aggregated API server.

For the client. In: CALICO_API_GROUP, else what the API server serves. Out: the mode, and for each resource the one to
send requests for: address management stores its blocks, handles and affinities beside the aggregated server, in
crd.projectcalico.org (spec/apiserver-controllers-clis.md 1.1).
"""

from typing import Any, TypeVar

import msgspec

from tortie.kube.errors import ApiError, Temporary
from tortie.model.catalog import CALICO_GROUP
from tortie.model.packing import STORAGE_GROUP, is_direct, storage_resource
from tortie.model.resource import Resource
from tortie.model.serving import ServingMode

T = TypeVar("T")
SETTING = "CALICO_API_GROUP"
NATIVE_VALUE = f"{CALICO_GROUP}/v3"


class _Group(msgspec.Struct):
    name: str = ""


class _Groups(msgspec.Struct):
    groups: list[_Group] = []


def told(setting: str) -> ServingMode | None:
    """The mode that the setting names; None if it names none and the API server must be asked."""
    if not setting.strip():
        return None
    return ServingMode.NATIVE if setting.strip().lower() == NATIVE_VALUE else ServingMode.AGGREGATED


def seen(groups: bytes) -> ServingMode:
    """The mode that /apis shows. Raises msgspec.DecodeError."""
    names = {group.name for group in msgspec.json.decode(groups, type=_Groups).groups}
    native = CALICO_GROUP in names and STORAGE_GROUP not in names
    return ServingMode.NATIVE if native else ServingMode.AGGREGATED


def refused(error: ApiError) -> ServingMode:
    """The mode when /apis cannot be read. Raises the error while it may pass: a guess would last."""
    if isinstance(error, Temporary):
        raise error
    return ServingMode.AGGREGATED


def concerned(resource: Resource[Any]) -> bool:
    """Whether the mode makes a difference for requests on the resource."""
    return resource.group == CALICO_GROUP and is_direct(resource)


def served(resource: Resource[T], mode: ServingMode) -> Resource[T]:
    """The resource to send requests for."""
    if mode is ServingMode.NATIVE or not concerned(resource):
        return resource
    stored = storage_resource(resource)
    return Resource(
        stored.group, stored.version, stored.kind, stored.plural, stored.namespaced, resource.type, stored.singular
    )
