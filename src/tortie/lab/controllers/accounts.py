"""What every namespace gets: a service account called `default` and the cluster's certificate authority.

In: namespaces; what they hold of the two objects. Out: the objects, created again when someone removes them.
"""

import contextlib

from tortie.kube.errors import AlreadyExists
from tortie.lab.controllers.world import Key, Object, Queue, World
from tortie.model.catalog import CONFIG_MAPS, NAMESPACES, SERVICE_ACCOUNTS

ROOT_CA = "kube-root-ca.crt"


class Accounts:
    """authority: the certificate of the cluster's authority, PEM."""

    def __init__(self, world: World, *, authority: str) -> None:
        self._world = world
        self._authority = authority
        self._namespaces = world.cache(NAMESPACES)
        self._accounts = world.cache(SERVICE_ACCOUNTS)
        self._configs = world.cache(CONFIG_MAPS, field_selector=f"metadata.name={ROOT_CA}", name="root-ca")
        self.queue = Queue("accounts", self._reconcile)
        world.watch(self._namespaces, lambda old, new: self.queue.add(("", ((new or old) or {})["metadata"]["name"])))
        for cache in (self._accounts, self._configs):
            world.watch(cache, self._content_changed)

    def _content_changed(self, old: Object | None, new: Object | None) -> None:
        obj = new or old
        assert obj is not None
        self.queue.add(("", obj["metadata"]["namespace"]))

    async def _reconcile(self, key: Key) -> None:
        namespace = self._namespaces.get(key[1])
        if namespace is None or "deletionTimestamp" in namespace["metadata"]:
            return
        if self._accounts.get("default", key[1]) is None:
            body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": key[1]}}
            with contextlib.suppress(AlreadyExists):
                await self._world.client.create(SERVICE_ACCOUNTS.untyped(), body, key[1])
        config = self._configs.get(ROOT_CA, key[1])
        data = {"ca.crt": self._authority}
        if config is None:
            body = {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": ROOT_CA, "namespace": key[1]},
                "data": data,
            }
            with contextlib.suppress(AlreadyExists):
                await self._world.client.create(CONFIG_MAPS, body, key[1])
        elif config.get("data") != data:
            await self._world.client.patch(CONFIG_MAPS, ROOT_CA, {"data": data}, namespace=key[1])
