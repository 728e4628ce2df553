"""What address assignment reads: pools, reservations, settings, and a node's labels.

For the allocator. `DirectView` asks the API each time, for commands that run once. `CachedView` keeps watches open, for
the node agent, so that an assignment costs no read at all. In: the API. Out: the same four answers.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tortie.ipam.api import Api
from tortie.ipam.ranges import NOTHING, Ranges
from tortie.kube.cache import Cache
from tortie.kube.client import Client
from tortie.model.catalog import IP_POOLS, IP_RESERVATIONS, IPAM_CONFIGURATIONS, NODES
from tortie.model.k8s import Node
from tortie.model.v3.ipam import IPAMConfigurationSpec, IPPool, IPReservation

CONFIGURATION_NAME = "default"
DEFAULTS = IPAMConfigurationSpec()


@dataclass(frozen=True, slots=True)
class Reservations:
    ipv4: Ranges = NOTHING
    ipv6: Ranges = NOTHING

    def of(self, version: int) -> Ranges:
        return self.ipv4 if version == 4 else self.ipv6


class View(Protocol):
    async def pools(self, *, fresh: bool = False) -> Sequence[IPPool]:
        """fresh: as the API has them now, for a caller that misses one."""

    async def reservations(self) -> Reservations: ...

    async def settings(self) -> IPAMConfigurationSpec: ...

    async def node_labels(self, node: str) -> Mapping[str, str] | None:
        """None: there is no such node."""


def reservations_of(objects: Iterable[IPReservation]) -> Reservations:
    texts = [cidr for each in objects for cidr in each.spec.reserved_cidrs]
    if not texts:
        return Reservations()
    return Reservations(Ranges(texts, version=4), Ranges(texts, version=6))


class DirectView:
    """Reads from the API at every question."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def pools(self, *, fresh: bool = False) -> Sequence[IPPool]:
        return (await self._api.list(IP_POOLS)).items

    async def reservations(self) -> Reservations:
        return reservations_of((await self._api.list(IP_RESERVATIONS)).items)

    async def settings(self) -> IPAMConfigurationSpec:
        found = await self._api.find(IPAM_CONFIGURATIONS, CONFIGURATION_NAME)
        return found.spec if found is not None else DEFAULTS

    async def node_labels(self, node: str) -> Mapping[str, str] | None:
        found = await self._api.find(NODES, node)
        return found.metadata.labels if found is not None else None


class CachedView:
    """Answers from watches. Call `run` as a task and `wait_synced` before the first question."""

    def __init__(self, client: Client, *, node: str) -> None:
        self._client = client
        self._node = node
        self._reservations: Reservations | None = None
        self._pools = Cache(client, IP_POOLS)
        self._reserved = Cache(client, IP_RESERVATIONS, on_event=self._forget_reservations)
        self._settings = Cache(client, IPAM_CONFIGURATIONS)
        self._nodes: Cache[Node] = Cache(client, NODES, field_selector=f"metadata.name={node}")

    @property
    def waiting_for(self) -> list[str]:
        """Resources that have not been seen yet."""
        caches = (self._pools, self._reserved, self._settings, self._nodes)
        return [cache.resource.plural for cache in caches if not cache.synced]

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for cache in (self._pools, self._reserved, self._settings, self._nodes):
                group.create_task(cache.run())

    async def wait_synced(self) -> None:
        for cache in (self._pools, self._reserved, self._settings, self._nodes):
            await cache.wait_synced()

    async def pools(self, *, fresh: bool = False) -> Sequence[IPPool]:
        if fresh:
            return (await self._client.list(IP_POOLS)).items
        return list(self._pools.items())

    async def reservations(self) -> Reservations:
        if self._reservations is None:
            self._reservations = reservations_of(self._reserved.items())
        return self._reservations

    async def settings(self) -> IPAMConfigurationSpec:
        found = self._settings.get(CONFIGURATION_NAME)
        return found.spec if found is not None else DEFAULTS

    async def node_labels(self, node: str) -> Mapping[str, str] | None:
        found = self._nodes.get(node) if node == self._node else None
        if found is None:
            found = await self._client.find(NODES, node)
        return found.metadata.labels if found is not None else None

    def _forget_reservations(self, *_: object) -> None:
        self._reservations = None
