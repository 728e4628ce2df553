"""API objects in and out of bytes: typed decoding, lists, watch frames, and what every object has.

In: response bodies and watch lines from the client. Out: typed objects; an object that does not decode becomes an
`Undecodable` of its own, so that it never takes its neighbours with it. Pure.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Generic, Literal, TypeVar, cast

import msgspec

from tortie.kube.errors import Status
from tortie.model.packing import STORAGE_GROUP
from tortie.model.resource import Resource
from tortie.service.run import garbage_paused

T = TypeVar("T")

ObjectKey = tuple[str, str]
"""(namespace, name); namespace is "" for cluster-scoped kinds."""

WatchType = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR", "UNDECODABLE"]
_CHANGES = ("ADDED", "MODIFIED", "DELETED")


class BareMetadata(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    annotations: dict[str, str] | None = None


class BareObject(msgspec.Struct, frozen=True):
    metadata: BareMetadata = BareMetadata()


class Undecodable(msgspec.Struct, frozen=True):
    """An object whose JSON does not fit its struct. error names the field and what was expected."""

    key: ObjectKey
    resource_version: str
    error: str


class ObjectList(msgspec.Struct, Generic[T], frozen=True):
    """What a list gives. continue_: token of the next page, "" at the end."""

    items: list[T]
    resource_version: str
    continue_: str = ""
    undecodable: tuple[Undecodable, ...] = ()


class WatchEvent(msgspec.Struct, Generic[T], frozen=True):
    """One frame of a watch. object: for ADDED, MODIFIED, DELETED. resource_version: of the object or bookmark.
    initial_events_end: on the bookmark that closes the initial events. status: for ERROR. undecodable: for UNDECODABLE,
    an addition or change whose object could not be decoded."""

    type: WatchType
    object: T | None = None
    resource_version: str = ""
    status: Status | None = None
    undecodable: Undecodable | None = None
    initial_events_end: bool = False


class _ListMeta(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(name="continue", default="")


class _RawList(msgspec.Struct, frozen=True):
    metadata: _ListMeta = _ListMeta()
    items: list[msgspec.Raw] | None = None


class _RawFrame(msgspec.Struct, frozen=True):
    type: str
    object: msgspec.Raw = msgspec.Raw(b"null")


class Codec(Generic[T]):
    """Decoders for one struct type, built once per type (see `codec`). strict False: text that says a number or a
    truth value stands for it."""

    def __init__(self, type_: type[T], *, strict: bool = True) -> None:
        self.one: msgspec.json.Decoder[T] = msgspec.json.Decoder(type_, strict=strict)
        self._list: Any = msgspec.json.Decoder(
            msgspec.defstruct(
                "List",
                [("metadata", _ListMeta, _ListMeta()), ("items", list[type_] | None, None)],  # type: ignore[valid-type]  # a type made at run time
            ),
            strict=strict,
        )
        self._frame: Any = msgspec.json.Decoder(
            msgspec.defstruct("Frame", [("type", str), ("object", type_)]), strict=strict
        )

    def list(self, body: bytes) -> ObjectList[T]:
        """Decodes a list; objects that do not fit are reported beside the others. Raises msgspec.DecodeError when
        the body is not a list at all."""
        try:
            with garbage_paused():
                whole = self._list.decode(body)
            return ObjectList(whole.items or [], whole.metadata.resource_version, whole.metadata.continue_)
        except msgspec.ValidationError:
            raw = _raw_list.decode(body)
        items: list[T] = []
        bad: list[Undecodable] = []
        for part in raw.items or ():
            try:
                items.append(self.one.decode(part))
            except msgspec.ValidationError as error:
                bad.append(_undecodable(bytes(part), error))
        return ObjectList(items, raw.metadata.resource_version, raw.metadata.continue_, tuple(bad))

    def frame(self, line: bytes) -> WatchEvent[T]:
        """Decodes one line of a watch. Raises msgspec.DecodeError when it is not JSON of a frame."""
        head = line[:24]
        if b"BOOKMARK" not in head and b"ERROR" not in head:
            try:
                frame = self._frame.decode(line)
                if frame.type in _CHANGES:
                    return WatchEvent(frame.type, frame.object, resource_version(frame.object))
            except msgspec.ValidationError:
                pass
        return self._other(_raw_frame.decode(line))

    def _other(self, frame: _RawFrame) -> WatchEvent[T]:
        body = bytes(frame.object)
        if frame.type == "ERROR":
            return WatchEvent("ERROR", status=_status.decode(body))
        if frame.type == "BOOKMARK":
            metadata = _bare.decode(body).metadata
            end = (metadata.annotations or {}).get("k8s.io/initial-events-end") == "true"
            return WatchEvent("BOOKMARK", resource_version=metadata.resource_version, initial_events_end=end)
        if frame.type not in _CHANGES:
            raise msgspec.ValidationError(f"watch frame of unknown type {frame.type!r}")
        try:
            obj = self.one.decode(body)
        except msgspec.ValidationError as error:
            bad = _undecodable(body, error)
            if frame.type == "DELETED":
                # Only the identity matters for a deletion.
                return WatchEvent("DELETED", None, bad.resource_version, undecodable=bad)
            return WatchEvent("UNDECODABLE", None, bad.resource_version, undecodable=bad)
        return WatchEvent(cast(WatchType, frame.type), obj, resource_version(obj))


_raw_list = msgspec.json.Decoder(_RawList)
_raw_frame = msgspec.json.Decoder(_RawFrame)
_bare = msgspec.json.Decoder(BareObject)
_status = msgspec.json.Decoder(Status)


@lru_cache(maxsize=256)
def _codec(type_: Any, strict: bool) -> Codec[Any]:
    return Codec(type_, strict=strict)


def codec(resource: Resource[T]) -> Codec[T]:
    """The codec of a resource's struct."""
    type_: Any = resource.type
    return cast(Codec[T], _codec(type_, resource.group != STORAGE_GROUP))


def key_of(obj: Any) -> ObjectKey:
    """(namespace, name) of a struct or of plain JSON."""
    metadata = _metadata(obj)
    if isinstance(metadata, Mapping):
        return metadata.get("namespace") or "", metadata.get("name") or ""
    return metadata.namespace or "", metadata.name


def resource_version(obj: Any) -> str:
    """metadata.resourceVersion of a struct or of plain JSON; "" if it has none."""
    metadata = _metadata(obj)
    if isinstance(metadata, Mapping):
        return metadata.get("resourceVersion") or ""
    return metadata.resource_version or ""


def uid_of(obj: Any) -> str:
    """metadata.uid of a struct or of plain JSON; "" if it has none."""
    metadata = _metadata(obj)
    if isinstance(metadata, Mapping):
        return metadata.get("uid") or ""
    return metadata.uid or ""


def _metadata(obj: Any) -> Any:
    return obj.get("metadata") or {} if isinstance(obj, Mapping) else obj.metadata


def _undecodable(body: bytes, error: Exception) -> Undecodable:
    try:
        metadata = _bare.decode(body).metadata
    except msgspec.DecodeError:
        return Undecodable(("", ""), "", str(error))
    return Undecodable((metadata.namespace, metadata.name), metadata.resource_version, str(error))
