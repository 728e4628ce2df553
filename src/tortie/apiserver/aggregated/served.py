"""Which resources the cluster has, and whether they are in namespaces.

In: discovery of this server and of the API server behind. Out: the answer for one resource; discovery is read again at
most once in the refresh interval (MIN_RESOURCE_REFRESH_INTERVAL).
"""

import time
from collections.abc import Callable
from typing import Any

import msgspec

from tortie.apiserver import errors
from tortie.apiserver.errors import StatusError
from tortie.apiserver.registry import Registry
from tortie.kube.client import Client
from tortie.kube.errors import ApiError, NotFound


class Served:
    """seconds: the refresh interval."""

    def __init__(
        self, client: Client, registry: Registry, *, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._registry = registry
        self._seconds = seconds
        self._clock = clock
        self._groups: dict[str, tuple[float, dict[str, bool]]] = {}

    async def namespaced(self, group: str, plural: str) -> bool:
        """Whether the resource is in namespaces. Raises StatusError 422 if there is none."""
        for kind in self._registry.kinds():
            if (kind.group, kind.plural) == (group, plural):
                return kind.namespaced
        found = self._groups.get(group)
        if found is None or found[0] <= self._clock():
            found = self._groups[group] = (self._clock() + self._seconds, await self._read(group))
        if plural not in found[1]:
            raise self._unknown(group, plural)
        return found[1][plural]

    async def _read(self, group: str) -> dict[str, bool]:
        try:
            version = "v1"
            if group:
                described = await self._get(f"/apis/{group}")
                version = described["preferredVersion"]["version"]
            listed = await self._get(f"/apis/{group}/{version}" if group else "/api/v1")
        except NotFound:
            return {}
        except (ApiError, KeyError, TypeError, msgspec.DecodeError) as error:
            raise errors.unavailable(f"the resources of group {group!r} cannot be read: {error}") from None
        return {entry["name"]: bool(entry.get("namespaced")) for entry in listed.get("resources") or ()}

    async def _get(self, path: str) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.json.decode(await self._client.raw("GET", path), type=dict[str, Any])
        return found

    def _unknown(self, group: str, plural: str) -> StatusError:
        cause = errors.invalid_value("spec.resourceAttributes.resources", plural, f"no resource of group {group!r}")
        return errors.invalid("projectcalico.org", "AuthorizationReview", "", [cause])
