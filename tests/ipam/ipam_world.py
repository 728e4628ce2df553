"""A cluster for tests of address management: nodes, pools, and allocators of several nodes on one API."""

import itertools
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from tortie.ipam.affinity import Owner
from tortie.ipam.allocator import Allocator, Assigned, Request
from tortie.ipam.api import Api
from tortie.ipam.block import allocations_of
from tortie.ipam.view import DirectView
from tortie.model import k8s, v3
from tortie.model.catalog import (
    BLOCK_AFFINITIES,
    IP_POOLS,
    IP_RESERVATIONS,
    IPAM_BLOCKS,
    IPAM_CONFIGURATIONS,
    IPAM_HANDLES,
    NODES,
)
from tortie.model.meta import ObjectMeta
from tortie.model.v3.ipam import IPAMBlock, IPAMConfigurationSpec, IPPoolSpec, IPReservationSpec

_numbers = itertools.count()


class World:
    def __init__(self, api: Api) -> None:
        self.api = api
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def wait(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)

    async def node(self, name: str, **labels: str) -> Allocator:
        node: Any = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
        if type(self.api).__name__ == "MemoryApi":
            node = k8s.Node(metadata=ObjectMeta(name=name, labels=labels))
        await self.api.create(NODES, node)
        return self.allocator(name)

    def allocator(self, name: str, *, virtual: bool = False) -> Allocator:
        return Allocator(self.api, DirectView(self.api), owner=Owner(name, virtual=virtual), now=lambda: self.time)

    async def pool(self, name: str, cidr: str, **spec: Any) -> v3.IPPool:
        return await self.api.create(
            IP_POOLS, v3.IPPool(metadata=ObjectMeta(name=name), spec=IPPoolSpec(cidr=cidr, **spec))
        )

    async def settings(self, **spec: Any) -> None:
        await self.api.create(
            IPAM_CONFIGURATIONS,
            v3.IPAMConfiguration(metadata=ObjectMeta(name="default"), spec=IPAMConfigurationSpec(**spec)),
        )

    async def reserve(self, *cidrs: str) -> None:
        await self.api.create(
            IP_RESERVATIONS,
            v3.IPReservation(
                metadata=ObjectMeta(name=f"r{next(_numbers)}"), spec=IPReservationSpec(reserved_cidrs=cidrs)
            ),
        )

    async def blocks(self) -> dict[str, IPAMBlock]:
        return {block.spec.cidr: block for block in (await self.api.list(IPAM_BLOCKS)).items}

    async def handles(self) -> dict[str, dict[str, int]]:
        return {each.spec.handle_id: dict(each.spec.block) for each in (await self.api.list(IPAM_HANDLES)).items}

    async def affinities(self) -> dict[str, tuple[str, str]]:
        """cidr -> (node, state)"""
        found = (await self.api.list(BLOCK_AFFINITIES)).items
        return {each.spec.cidr: (each.spec.node, each.spec.state) for each in found}

    async def held(self) -> dict[str, str]:
        """address -> handle; fails if one address is held twice."""
        pairs = [
            (each.address, each.handle)
            for block in (await self.blocks()).values()
            for each in allocations_of(block.spec)
        ]
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    async def assert_sound(self, *, exact: bool = True) -> None:
        """Handles count what blocks hold (or more, unless exact); every owned block has its confirmed affinity."""
        holding: Counter[tuple[str, str]] = Counter()
        for block in (await self.blocks()).values():
            for each in allocations_of(block.spec):
                holding[each.handle, block.spec.cidr] += 1
        counted = {(h, cidr): n for h, blocks in (await self.handles()).items() for cidr, n in blocks.items()}
        for key, number in holding.items():
            assert counted.get(key, 0) >= number, f"handle {key} counts too little"
        if exact:
            assert counted == dict(holding)


def want(handle: str, *, v4: int = 1, v6: int = 0, use: Any = "Workload", **more: Any) -> Request:
    return Request(handle=handle, use=use, count_v4=v4, count_v6=v6, **more)


async def take(allocator: Allocator, handle: str, **how: Any) -> list[str]:
    """Bare addresses."""
    v4, v6 = await allocator.auto_assign(want(handle, **how))
    return [address.partition("/")[0] for address in (*v4.addresses, *v6.addresses)]


def messages(result: tuple[Assigned, Assigned]) -> str:
    return " ".join(message for part in result for message in part.messages)


def writes(requests: list[tuple[str, str, str]]) -> list[tuple[str, str]]:
    return [(verb, plural) for verb, plural, _ in requests if verb not in ("get", "list")]


def reads(requests: list[tuple[str, str, str]]) -> Mapping[str, int]:
    return Counter(plural for verb, plural, _ in requests if verb in ("get", "list"))
