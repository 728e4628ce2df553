"""Objects that pods refer to: ConfigMaps, Secrets, service account tokens and Services.

In: names from `volumes` and `environment`. Out: the objects, from a watch of the namespace where a volume shows them
(so that changes reach the pod), by a read otherwise; tokens bound to the pod and renewed in time.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from tortie.kube.cache import Cache
from tortie.kube.client import Client
from tortie.kube.errors import NotFound
from tortie.lab.kubelet.api import ConfigMap, Pod, Secret, Service, TokenProjection
from tortie.model.resource import Resource

T = TypeVar("T")

CONFIG_MAPS: Resource[ConfigMap] = Resource(
    group="", version="v1", kind="ConfigMap", plural="configmaps", namespaced=True, type=ConfigMap
)
SECRETS: Resource[Secret] = Resource(
    group="", version="v1", kind="Secret", plural="secrets", namespaced=True, type=Secret
)
SERVICES: Resource[Service] = Resource(
    group="", version="v1", kind="Service", plural="services", namespaced=True, type=Service
)


class _Token(msgspec.Struct, frozen=True):
    text: str
    renew_at: float


class Sources:
    """on_change(namespace): called when an object that may show in a volume of that namespace has changed."""

    def __init__(self, client: Client, on_change: Callable[[str], None]) -> None:
        self._client = client
        self._on_change = on_change
        self._caches: dict[tuple[str, str], tuple[Cache[Any], asyncio.Task[None]]] = {}
        self._services: Cache[Service] = Cache(
            client, SERVICES, indexes={"namespace": lambda service: [service.metadata.namespace]}
        )
        self._tokens: dict[tuple[str, str, str], _Token] = {}

    def statistics(self) -> dict[str, int]:
        """Counts for metrics."""
        return {"watched_collections": len(self._caches), "tokens": len(self._tokens)}

    async def run(self) -> None:
        """Follows the Services until cancelled."""
        try:
            await self._services.run()
        finally:
            for _, task in self._caches.values():
                task.cancel()

    async def config_map(self, namespace: str, name: str) -> ConfigMap | None:
        """A ConfigMap, from then on followed with its namespace."""
        return await self._followed(CONFIG_MAPS, namespace, name)

    async def secret(self, namespace: str, name: str) -> Secret | None:
        """A Secret, from then on followed with its namespace."""
        return await self._followed(SECRETS, namespace, name)

    async def read(
        self, namespace: str, maps: set[str], secrets: set[str]
    ) -> tuple[dict[str, ConfigMap | None], dict[str, Secret | None]]:
        """The objects of an environment, as they are now."""
        found_maps: dict[str, ConfigMap | None] = {}
        for name in sorted(maps):
            config_map = await self._find(CONFIG_MAPS, namespace, name)
            found_maps[name] = config_map
        found_secrets: dict[str, Secret | None] = {}
        for name in sorted(secrets):
            secret = await self._find(SECRETS, namespace, name)
            found_secrets[name] = secret
        return found_maps, found_secrets

    async def services(self, namespace: str, *, links: bool) -> list[Service]:
        """The Services whose variables a pod gets: those of its namespace, and always the API server's."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await self._services.wait_synced()
        found = self._services.by_index("namespace", namespace) if links else []
        api = self._services.get("kubernetes", "default")
        if api is not None and not any(s.metadata.name == "kubernetes" for s in found):
            found = [*found, api]
        return found

    async def token(self, pod: Pod, projection: TokenProjection) -> str:
        """A service account token bound to the pod; the same until four fifths of its life are over."""
        key = (pod.uid, projection.audience, projection.path)
        held = self._tokens.get(key)
        if held is not None and time.time() < held.renew_at:
            return held.text
        namespace, name = pod.metadata.namespace, pod.spec.service_account_name or "default"
        reference = {"kind": "Pod", "apiVersion": "v1", "name": pod.metadata.name, "uid": pod.uid}
        spec: dict[str, Any] = {"expirationSeconds": projection.expiration_seconds, "boundObjectRef": reference}
        if projection.audience:
            spec["audiences"] = [projection.audience]
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        answer = await self._client.raw(
            "POST", f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token", body=body
        )
        text: str = msgspec.json.decode(answer)["status"]["token"]
        self._tokens[key] = _Token(text, time.time() + projection.expiration_seconds * 0.8)
        return text

    def tokens_due(self, uid: str) -> float | None:
        """Seconds until a token of the pod must be renewed, None without one."""
        times = [token.renew_at for key, token in self._tokens.items() if key[0] == uid]
        return max(0.0, min(times) - time.time()) if times else None

    def forget(self, uid: str, namespace: str, *, last_of_namespace: bool) -> None:
        """The pod is gone; with the last one of a namespace its watches end."""
        self._tokens = {key: token for key, token in self._tokens.items() if key[0] != uid}
        if last_of_namespace:
            for key in [key for key in self._caches if key[1] == namespace]:
                _, task = self._caches.pop(key)
                task.cancel()

    async def _followed(self, resource: Resource[T], namespace: str, name: str) -> T | None:
        key = (resource.plural, namespace)
        if key not in self._caches:
            made = Cache(self._client, resource, namespace=namespace, on_event=lambda *_: self._on_change(namespace))
            self._caches[key] = (made, asyncio.get_running_loop().create_task(made.run()))
        cache: Cache[T] = self._caches[key][0]
        async with asyncio.timeout(20):
            await cache.wait_synced()
        found = cache.get(name, namespace)
        if found is None:  # an object made a moment ago may be ahead of the watch
            found = await self._find(resource, namespace, name)
        return found

    async def _find(self, resource: Resource[T], namespace: str, name: str) -> T | None:
        try:
            return await self._client.get(resource, name, namespace)
        except NotFound:
            return None
