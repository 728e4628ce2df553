"""An API server in a dictionary: typed objects with resource versions, UIDs and preconditions, and nothing else.

For tests of code that needs only `tortie.ipam.api.Api`. In: the calls of `tortie.kube.client.Client`. Out: the same
results and errors. `before` is called ahead of every request and may raise, wait or change objects: that is how tests
make races and crashes happen at an exact point.
"""

import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar, cast

import msgspec

from tortie.kube.errors import AlreadyExists, Conflict, NotFound
from tortie.kube.objects import ObjectList
from tortie.model.resource import Resource

T = TypeVar("T")

Before = Callable[[str, str, str], Awaitable[None]]
"""Gets the verb, the resource's plural, and the object's name ("" for a list)."""


class MemoryApi:
    def __init__(self) -> None:
        self._objects: dict[str, dict[tuple[str, str], Any]] = {}
        self._version = 0
        self.before: Before | None = None
        self.requests: list[tuple[str, str, str]] = []

    async def get(self, resource: Resource[T], name: str, namespace: str | None = None) -> T:
        await self._hook("get", resource, name)
        return self._present(resource, name, namespace)

    async def find(self, resource: Resource[T], name: str, namespace: str | None = None) -> T | None:
        try:
            return await self.get(resource, name, namespace)
        except NotFound:
            return None

    async def list(
        self,
        resource: Resource[T],
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
    ) -> ObjectList[T]:
        await self._hook("list", resource, "")
        wanted = dict(part.split("=", 1) for part in label_selector.split(",") if part)
        items = [
            found
            for (in_namespace, _), found in sorted(self._of(resource).items(), key=lambda entry: entry[0])
            if namespace in (None, in_namespace) and wanted.items() <= (found.metadata.labels or {}).items()
        ]
        return ObjectList(cast("list[T]", items), str(self._version))

    async def create(self, resource: Resource[T], obj: Any, namespace: str | None = None) -> T:
        name = obj.metadata.name
        await self._hook("create", resource, name)
        key = self._key(resource, name, namespace or obj.metadata.namespace)
        if key in self._of(resource):
            raise AlreadyExists(409, "AlreadyExists", f"{resource.plural} {name!r} already exists")
        return self._put(resource, key, obj, uid=str(uuid.uuid4()))

    async def update(self, resource: Resource[T], obj: Any) -> T:
        name = obj.metadata.name
        await self._hook("update", resource, name)
        present: Any = self._present(resource, name, obj.metadata.namespace)
        if obj.metadata.resource_version not in ("", present.metadata.resource_version):
            raise Conflict(409, "Conflict", f"{resource.plural} {name!r} has been modified")
        key = self._key(resource, name, obj.metadata.namespace)
        return self._put(resource, key, obj, uid=present.metadata.uid)

    async def delete(
        self,
        resource: Resource[Any],
        name: str,
        namespace: str | None = None,
        *,
        preconditions: Mapping[str, str] | None = None,
    ) -> None:
        await self._hook("delete", resource, name)
        present = self._present(resource, name, namespace)
        for field, wanted in (preconditions or {}).items():
            held = present.metadata.uid if field == "uid" else present.metadata.resource_version
            if held != wanted:
                raise Conflict(409, "Conflict", f"precondition failed: {field} is {held}, not {wanted}")
        del self._of(resource)[self._key(resource, name, namespace)]
        self._version += 1

    async def _hook(self, verb: str, resource: Resource[Any], name: str) -> None:
        self.requests.append((verb, resource.plural, name))
        if self.before is not None:
            await self.before(verb, resource.plural, name)

    def _present(self, resource: Resource[T], name: str, namespace: str | None) -> T:
        try:
            return cast(T, self._of(resource)[self._key(resource, name, namespace)])
        except KeyError:
            raise NotFound(404, "NotFound", f"{resource.plural} {name!r} not found") from None

    def _put(self, resource: Resource[T], key: tuple[str, str], obj: Any, *, uid: str) -> T:
        self._version += 1
        metadata = msgspec.structs.replace(obj.metadata, uid=uid, resource_version=str(self._version), namespace=key[0])
        # Through JSON, so that what cannot be stored is noticed.
        whole = msgspec.json.encode(msgspec.structs.replace(obj, metadata=metadata))
        stored = msgspec.json.decode(whole, type=resource.type)
        self._of(resource)[key] = stored
        return stored

    def _of(self, resource: Resource[Any]) -> dict[tuple[str, str], Any]:
        return self._objects.setdefault(resource.plural, {})

    @staticmethod
    def _key(resource: Resource[Any], name: str, namespace: str | None) -> tuple[str, str]:
        return ((namespace or "") if resource.namespaced else "", name)
