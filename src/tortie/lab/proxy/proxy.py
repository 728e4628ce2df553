"""The lab's kube-proxy: service addresses made to work on one node.

In: Services, EndpointSlices and the own Node from the API. Out: rules for the `Dataplane`. What arrives together is
written together; until every resource has been seen once, the rules of an earlier run stay in force.
"""

import asyncio
import ipaddress
from typing import Any

from tortie.kube.cache import Cache
from tortie.kube.client import Client
from tortie.kube.objects import ObjectKey
from tortie.lab.proxy.dataplane import Dataplane
from tortie.lab.proxy.endpoints import FAMILIES, SERVICE_LABEL, VERSIONS, Family, ip_version, plan
from tortie.lab.proxy.rules import EMPTY, service_rules
from tortie.model import k8s
from tortie.model.catalog import ENDPOINT_SLICES, NODES, SERVICES
from tortie.service.health import HealthAggregator
from tortie.service.log import Throttle, get_logger

_log = get_logger("lab.proxy")


class Proxy:
    """node: whose traffic is handled. cluster_cidrs: the pods' ranges. settle: seconds in which changes gather."""

    def __init__(
        self,
        client: Client,
        dataplane: Dataplane,
        *,
        node: str,
        cluster_cidrs: tuple[str, ...],
        health: HealthAggregator,
        settle: float = 0.01,
        verify_every: float = 30.0,
    ) -> None:
        self._dataplane = dataplane
        self._node = node
        self._cidrs: dict[Family, tuple[str, ...]] = {
            family: tuple(c for c in cluster_cidrs if ipaddress.ip_network(c).version == version)
            for family, version in VERSIONS.items()
        }
        self._health = health
        self._settle = settle
        self._verify_every = verify_every
        self._dirty: dict[ObjectKey, None] = {}
        self._woken = asyncio.Event()
        self._throttle = Throttle(period=60.0)
        self._services: Cache[k8s.Service] = Cache(client, SERVICES, on_event=self._service_changed)
        self._slices: Cache[k8s.EndpointSlice] = Cache(
            client, ENDPOINT_SLICES, on_event=self._slice_changed, indexes={"service": _service_index}
        )
        self._nodes: Cache[k8s.Node] = Cache(
            client, NODES, field_selector=f"metadata.name={node}", on_event=self._node_changed
        )
        health.register("proxy", timeout=None)

    def statistics(self) -> dict[str, float]:
        """Counters for metrics."""
        return {"services": len(self._services), "slices": len(self._slices), **self._dataplane.statistics()}

    async def run(self) -> None:
        """Works until cancelled."""
        caches: tuple[Cache[Any], ...] = (self._services, self._slices, self._nodes)
        async with asyncio.TaskGroup() as group:
            for cache in caches:
                group.create_task(cache.run())
            for cache in caches:
                await cache.wait_synced()
            await self._work()

    async def _work(self) -> None:
        self._health.set_timeouts({"proxy": max(60.0, 4 * self._verify_every)})
        self._woken.set()
        while True:
            try:
                async with asyncio.timeout(self._verify_every):
                    await self._woken.wait()
                await asyncio.sleep(self._settle)
            except TimeoutError:
                self._dataplane.verify()
            self._woken.clear()
            self._render()
            if self._dataplane.apply():
                self._health.report("proxy")
            else:
                self._health.report("proxy", ready=False, detail="nftables refuses the rules")
                asyncio.get_running_loop().call_later(1.0, self._woken.set)

    def _render(self) -> None:
        dirty, self._dirty = list(self._dirty), {}
        for key in dirty:
            namespace, name = key
            service = self._services.get(name, namespace)
            slices = self._slices.by_index("service", f"{namespace}/{name}")
            for family in FAMILIES:
                wanted = EMPTY
                if service is not None:
                    try:
                        plans = plan(service, slices, node=self._node, family=family)
                        if plans:
                            wanted = service_rules(plans, family=family, cluster_cidrs=self._cidrs[family])
                    except Exception as error:  # one bad object must not stop the others
                        if self._throttle.allow(f"{namespace}/{name}") is not None:
                            _log.error("service left out", namespace=namespace, name=name, error=str(error))
                self._dataplane.set(family, key, wanted)

    def _mark(self, namespace: str, name: str) -> None:
        self._dirty[(namespace, name)] = None
        self._woken.set()

    def _service_changed(self, _type: str, old: k8s.Service | None, new: k8s.Service | None) -> None:
        service = new or old
        assert service is not None
        self._mark(service.metadata.namespace, service.metadata.name)

    def _slice_changed(self, _type: str, old: k8s.EndpointSlice | None, new: k8s.EndpointSlice | None) -> None:
        for piece in (old, new):
            if piece is not None and SERVICE_LABEL in piece.metadata.labels:
                self._mark(piece.metadata.namespace, piece.metadata.labels[SERVICE_LABEL])

    def _node_changed(self, _type: str, _old: k8s.Node | None, new: k8s.Node | None) -> None:
        addresses = [a.address for a in new.status.addresses if a.type == "InternalIP"] if new is not None else []
        for family, version in VERSIONS.items():
            self._dataplane.set_node_addresses(family, frozenset(a for a in addresses if ip_version(a) == version))
        self._woken.set()


def _service_index(piece: k8s.EndpointSlice) -> list[str]:
    name = piece.metadata.labels.get(SERVICE_LABEL)
    return [f"{piece.metadata.namespace}/{name}"] if name else []
