"""Addresses that a killed agent left behind are given back.

For the agent, from time to time. In: the addresses that this node's blocks hold for its pods, the pods in the API, the
node's interfaces. Out: releases of those whose pod is gone from the API and whose interface is gone from the node, both
for a whole grace period. Cluster-wide leaks are the business of kube-controllers (spec/cni-ipam-node.md 2.12).
"""

import asyncio
import os
import time
from concurrent.futures import Executor
from dataclasses import dataclass

from tortie.cni import interface
from tortie.cni.cluster import Cluster
from tortie.ipam.allocator import Allocator
from tortie.ipam.block import BlockError, ReleaseRequest, allocations_of
from tortie.ipam.errors import IPAMError
from tortie.kube.errors import ApiError
from tortie.model.names import workload_interface_name
from tortie.service.log import get_logger

_log = get_logger("cni.reconcile")


@dataclass(frozen=True, slots=True)
class _Suspect:
    address: str
    handle: str
    sequence: int | None
    namespace: str
    pod: str


class Reconciler:
    """grace: seconds that an address must look abandoned; period: seconds between looks."""

    def __init__(
        self,
        cluster: Cluster,
        allocator: Allocator,
        *,
        executor: Executor,
        grace: float = 60.0,
        period: float = 300.0,
    ) -> None:
        self._cluster = cluster
        self._allocator = allocator
        self._executor = executor
        self._grace = grace
        self._period = period
        self._since: dict[_Suspect, float] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.step()
            except (ApiError, IPAMError, BlockError, OSError) as error:
                _log.warning("cannot look for abandoned addresses", error=str(error))
            await asyncio.sleep(self._grace if self._since else self._period)

    async def step(self) -> list[str]:
        """One look; gives the addresses that were released."""
        now = time.monotonic()
        suspects = await self._suspects()
        self._since = {suspect: self._since.get(suspect, now) for suspect in suspects}
        released: list[str] = []
        for suspect, since in list(self._since.items()):
            if now - since < self._grace or await self._cluster.find_pod(suspect.namespace, suspect.pod) is not None:
                continue
            try:
                result = await self._allocator.release.addresses(
                    [ReleaseRequest(suspect.address, suspect.handle, suspect.sequence)]
                )
            except BlockError:
                continue  # assigned anew meanwhile
            del self._since[suspect]
            released += result.released
            _log.info(
                "released an abandoned address", address=suspect.address, pod=f"{suspect.namespace}/{suspect.pod}"
            )
        return released

    async def _suspects(self) -> list[_Suspect]:
        present = {(pod.metadata.namespace, pod.metadata.name) for pod in self._cluster.remembered_pods()}
        found = []
        for cidr in self._allocator.search.owned:
            block = await self._allocator.blocks.read(cidr)
            for each in allocations_of(block.spec) if block is not None else ():
                namespace, pod = each.attributes.get("namespace", ""), each.attributes.get("pod", "")
                if not namespace or not pod or each.attributes.get("node") != self._cluster.node:
                    continue
                if (namespace, pod) in present or await self._has_interface(namespace, pod):
                    continue
                found.append(_Suspect(each.address, each.handle, each.sequence, namespace, pod))
        return found

    async def _has_interface(self, namespace: str, pod: str) -> bool:
        name = workload_interface_name(namespace, pod, prefix=os.environ.get("FELIX_INTERFACEPREFIX") or "cali")
        return await asyncio.get_running_loop().run_in_executor(self._executor, interface.exists_on_host, name)
