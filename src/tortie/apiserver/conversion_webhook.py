"""Conversion of custom objects between versions by the webhook of their definition.

In: objects and the version they are wanted in. Out: the converted objects, from one ConversionReview
(apiextensions.k8s.io/v1) for many; what the webhook may not change is as it was. Anything else is a StatusError 500
with the webhook's reason.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from tortie.apiserver import objects
from tortie.apiserver.admission.client import CallError, WebhookClient, answer_of
from tortie.apiserver.admission.configurations import Reach
from tortie.apiserver.errors import StatusError
from tortie.apiserver.records import Record
from tortie.apiserver.schema.node import Node
from tortie.apiserver.schema.prune import prune

Object = dict[str, Any]
BATCH = 500
_API = "apiextensions.k8s.io/v1"
_KEPT = 512


def _version(record: Record) -> str:
    return str(msgspec.json.decode(record.data, type=_Head).apiVersion)


class _Head(msgspec.Struct):
    apiVersion: str = ""  # noqa: N815 - the API's name


class WebhookConverter:
    """The conversion of one definition by its webhook. storage: the apiVersion that objects are stored in."""

    def __init__(
        self,
        client: Callable[[], WebhookClient | None],
        reach: Reach,
        *,
        kind: str,
        storage: str,
        schemas: Mapping[str, Node],
    ) -> None:
        self._client, self._reach, self._kind, self._schemas = client, reach, kind, schemas
        self.storage = storage
        self._recent: dict[tuple[str, int, str], Record] = {}

    async def records(self, found: Sequence[Record], api_version: str) -> Sequence[Record]:
        """Records in a version. Those converted of late are kept, since watchers ask for the same ones together."""
        places = [(str(record.key), record.revision, api_version) for record in found]
        wanted = [
            record
            for record, place in zip(found, places, strict=True)
            if place not in self._recent and _version(record) != api_version
        ]
        made: dict[int, Record] = {}
        for start in range(0, len(wanted), BATCH):
            part = wanted[start : start + BATCH]
            trees = await self.convert([record.decode() for record in part], api_version)
            for record, tree in zip(part, trees, strict=True):
                data = msgspec.json.encode(objects.order(tree))
                made[id(record)] = Record(record.key, record.revision, data, record.labels, record.fields)
        result = [self._recent.get(p) or made.get(id(r)) or r for r, p in zip(found, places, strict=True)]
        if len(wanted) <= _KEPT // 8:
            for record in wanted:
                self._recent[(str(record.key), record.revision, api_version)] = made[id(record)]
            while len(self._recent) > _KEPT:
                del self._recent[next(iter(self._recent))]
        return result

    async def convert(self, objs: list[Object], api_version: str) -> list[Object]:
        """Objects in another version. Raises StatusError 500 with the webhook's reason."""
        if all(obj.get("apiVersion") == api_version for obj in objs):
            return objs
        client = self._client()
        if client is None:
            raise self._failure(objs[0], "this server calls no webhooks")
        uid = objects.new_uid()
        review = {"uid": uid, "desiredAPIVersion": api_version, "objects": objs}
        body = msgspec.json.encode({"kind": "ConversionReview", "apiVersion": _API, "request": review})
        try:
            changed = _converted(await client.post(self._reach, body), uid, len(objs))
            return [self._checked(old, new, api_version) for old, new in zip(objs, changed, strict=True)]
        except CallError as error:
            raise self._failure(objs[0], str(error)) from None

    def _failure(self, obj: Object, why: str) -> StatusError:
        gvk = f"{obj.get('apiVersion')}, Kind={self._kind}"
        return StatusError(500, "InternalError", f"conversion webhook for {gvk} failed: {why}")

    def _checked(self, old: Object, new: Any, api_version: str) -> Object:
        """A converted object: of the wanted version, the same one, its metadata as it was but for labels and
        annotations."""
        if not isinstance(new, dict) or not isinstance(new.get("metadata"), dict):
            raise CallError("invalid converted object: it is no object with metadata")
        if new.get("apiVersion") != api_version or new.get("kind") != old.get("kind"):
            got = f"{new.get('apiVersion')}, Kind={new.get('kind')}"
            raise CallError(f"invalid converted object: expected {api_version}, Kind={old.get('kind')}, got {got}")
        meta, before = new["metadata"], old["metadata"]
        for name in ("name", "namespace", "uid"):
            have, wanted = meta.get(name) or "", before.get(name) or ""
            if have != wanted:
                raise CallError(f"invalid converted object: metadata.{name} must stay {wanted!r}, got {have!r}")
        kept = dict(before)
        for name in ("labels", "annotations"):
            kept.pop(name, None)
            if meta.get(name) is not None:
                value = meta[name]
                if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
                    raise CallError(f"invalid converted object: metadata.{name} must be a map of texts")
                kept[name] = value
        new["metadata"] = kept
        schema = self._schemas.get(api_version)
        if schema is not None:
            prune(schema, new, [], strict_types=False)
        return new


def _converted(raw: bytes, uid: str, count: int) -> list[Any]:
    """The objects of an answer. Raises CallError."""
    response = answer_of(raw, uid, api=_API, kind="ConversionReview", absent="no response provided")
    result = response.get("result")
    if not isinstance(result, dict) or result.get("status") != "Success":
        message = result.get("message") if isinstance(result, dict) else None
        raise CallError(str(message or "the webhook did not say why"))
    changed = response.get("convertedObjects")
    if not isinstance(changed, list) or len(changed) != count:
        have = len(changed) if isinstance(changed, list) else 0
        raise CallError(f"webhook returned {have} objects, expected {count}")
    return changed
