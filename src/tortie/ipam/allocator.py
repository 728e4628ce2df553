"""Address assignment for one node or owner: the public face of `tortie.ipam`.

For the CNI agent, the tunnel addresses of calico-node, controllers and calicoctl. In: requests for addresses, for one
named address, or to give addresses back. Out: addresses, once the datastore holds them; never one twice, and after a
crash at any point no address is lost, only handles may count too much (spec/cni-ipam-node.md 2.5 to 2.8).

The usual assignment costs two writes: the handle, then the block. The search for another block is in `search`, giving
back in `release`.
"""

import asyncio
import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from tortie.ipam import pools as pool_rules
from tortie.ipam.affinity import Affinities, Owner
from tortie.ipam.api import ATTEMPTS, Api
from tortie.ipam.block import Allocation, AlreadyAssigned, Draft, ReleaseRequest, addresses_of, allocations_of
from tortie.ipam.blocks import BlockGone, Blocks
from tortie.ipam.errors import (
    AddressInUse,
    AddressNotInPool,
    AffinityLost,
    IPAMError,
    NotOwner,
    NoUsablePool,
    TooMuchContention,
)
from tortie.ipam.handles import Handles
from tortie.ipam.pools import Use
from tortie.ipam.release import Releaser
from tortie.ipam.search import Found, Search, Wanted
from tortie.ipam.view import View
from tortie.kube.errors import ApiError, Temporary
from tortie.model.v3.ipam import IPAMConfigurationSpec, IPPool

_UNDO_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request for addresses. handle: who holds them. attributes: stored beside them.

    pools_v4, pools_v6: CIDRs that replace the pools' selectors; empty for any. namespace_labels: None if the request
    belongs to no namespace. max_blocks: a further limit of blocks for the owner, 0 for none.
    """

    handle: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    use: Use
    count_v4: int = 0
    count_v6: int = 0
    pools_v4: Sequence[str] = ()
    pools_v6: Sequence[str] = ()
    namespace_labels: Mapping[str, str] | None = None
    max_blocks: int = 0


@dataclass(slots=True)
class Assigned:
    """The result for one family: addresses with the prefix length of their block, and why there are too few."""

    wanted: int
    addresses: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        return len(self.addresses) >= self.wanted


@dataclass(slots=True)
class _Family:
    """What is still to be done for one family of a request."""

    version: int
    wanted: Wanted
    result: Assigned
    tried: set[str] = field(default_factory=set)


class Allocator:
    """owner: whose blocks are used. All methods may run concurrently in one event loop."""

    def __init__(
        self, api: Api, view: View, *, owner: Owner, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.owner = owner
        self.view = view
        self.now = now
        self.blocks = Blocks(api, now=now)
        self.handles = Handles(api)
        self.affinities = Affinities(api, self.blocks, now=now)
        self.search = Search(self.blocks, self.affinities, owner=owner, now=now)
        self.release = Releaser(
            blocks=self.blocks,
            handles=self.handles,
            affinities=self.affinities,
            view=view,
            now=now,
            on_disowned=self.search.forget,
        )
        self._requests = 0
        self._failures = 0

    def statistics(self) -> dict[str, float]:
        return {
            "requests_total": self._requests,
            "failures_total": self._failures,
            **self.blocks.statistics(),
            **self.handles.statistics(),
            **self.affinities.statistics(),
            **self.search.statistics(),
        }

    async def warm(self) -> None:
        """Reads the owner's blocks, so that the first request finds them known."""
        await self.settings()
        await self.search.warm()

    async def settings(self) -> IPAMConfigurationSpec:
        """The settings in force; also tells the blocks how long addresses cool down."""
        settings = await self.view.settings()
        self.blocks.cooldown = timedelta(seconds=settings.ip_cooldown_seconds)
        return settings

    # --- automatic assignment --------------------------------------------------------------------------------

    async def auto_assign(self, request: Request) -> tuple[Assigned, Assigned]:
        """Assigns count_v4 and count_v6 addresses, and gives the results for IPv4 and IPv6.

        Too few addresses are no error: the result says how many and why. Raises NoUsablePool and BlockLimitReached,
        after giving back what it had assigned, and errors of the API.
        """
        self._requests += 1
        results = {4: Assigned(request.count_v4), 6: Assigned(request.count_v6)}
        try:
            settings = await self.settings()
            families = [
                await self._family(request, version, results[version], settings)
                for version in (4, 6)
                if results[version].wanted > 0
            ]
            await self._fill(request, families)
        except BaseException:
            self._failures += 1
            await self._undo(request.handle, [address for result in results.values() for address in result.addresses])
            raise
        return results[4], results[6]

    async def _family(
        self, request: Request, version: int, result: Assigned, settings: IPAMConfigurationSpec
    ) -> _Family:
        labels: Mapping[str, str] = {}
        if not self.owner.virtual:
            found = await self.view.node_labels(self.owner.name)
            if found is None:
                raise NoUsablePool(f"node {self.owner.name} does not exist in the API")
            labels = found
        requested = request.pools_v4 if version == 4 else request.pools_v6
        chosen: Sequence[IPPool] = ()
        for fresh in (False, True):
            all_pools = await self.view.pools(fresh=fresh)
            chosen = pool_rules.usable(
                all_pools,
                version=version,
                use=request.use,
                requested=requested,
                node_labels=labels,
                namespace_labels=request.namespace_labels,
            )
            if chosen:
                break
        else:
            raise NoUsablePool(
                f"no enabled IPv{version} pool with use {request.use} for node {self.owner.name}"
                + (f" among the requested {', '.join(requested)}" if requested else "")
            )
        limits = [limit for limit in (settings.max_blocks_per_host, request.max_blocks) if limit > 0]
        deselected = [
            pool
            for pool in all_pools
            if pool_rules.network_of(pool).version == version
            and not self.owner.virtual
            and not pool_rules.selects_node(pool, labels)
        ]
        wanted = Wanted(
            version=version,
            pools=chosen,
            deselected=deselected,
            reserved=(await self.view.reservations()).of(version),
            strict=settings.strict_affinity,
            may_claim=settings.auto_allocate_blocks,
            max_blocks=min(limits, default=20),
        )
        return _Family(version, wanted, result)

    async def _fill(self, request: Request, families: list[_Family]) -> None:
        """Round by round: a block for every family, one write of the handle, then the blocks at the same time."""
        for _ in range(10 * ATTEMPTS):
            open_families = [family for family in families if not family.result.complete]
            if not open_families:
                return
            picks: list[tuple[_Family, Found, int]] = []
            try:
                for family in open_families:
                    found = await self.search.block_for(family.wanted, skip=family.tried)
                    if isinstance(found, str):
                        family.result.messages.append(found)
                        families = [each for each in families if each is not family]
                        continue
                    missing = family.result.wanted - len(family.result.addresses)
                    count = min(missing, found.free)
                    self.blocks.promise(found.cidr, count)
                    picks.append((family, found, count))
                if picks:
                    await self._take(request, picks)
            finally:
                for _, found, count in picks:
                    self.blocks.promise(found.cidr, -count)
        raise TooMuchContention(f"handle {request.handle}: no address after {10 * ATTEMPTS} rounds of assignment")

    async def _take(self, request: Request, picks: list[tuple[_Family, Found, int]]) -> None:
        counts: dict[str, int] = {}
        for _, found, count in picks:
            counts[found.cidr] = counts.get(found.cidr, 0) + count
        await self.handles.add(request.handle, counts)
        outcomes = await asyncio.gather(
            *(self._take_from(request, family, found, count) for family, found, count in picks), return_exceptions=True
        )
        surplus: dict[str, int] = {}
        failure: BaseException | None = None
        for (family, found, count), outcome in zip(picks, outcomes, strict=True):
            if isinstance(outcome, list):
                family.result.addresses.extend(outcome)
                if len(outcome) < count:
                    family.tried.add(found.cidr)
                    surplus[found.cidr] = surplus.get(found.cidr, 0) + count - len(outcome)
                continue
            if isinstance(outcome, BlockGone | AffinityLost):
                self.search.forget(found.cidr)
            else:
                failure = outcome
            if not isinstance(outcome, Temporary):  # then the write may have happened: better count too much
                surplus[found.cidr] = surplus.get(found.cidr, 0) + count
        if surplus:
            await self.handles.subtract(request.handle, surplus)
        if failure is not None:
            raise failure

    async def _take_from(self, request: Request, family: _Family, found: Found, count: int) -> list[str]:
        def operation(draft: Draft) -> list[str]:
            if not found.borrowed and draft.affinity != self.owner.affinity:
                raise AffinityLost(f"block {found.cidr} belongs to {draft.affinity or 'nobody'} by now")
            return draft.allocate(
                count, handle=request.handle, attributes=request.attributes, reserved=family.wanted.reserved
            )

        return await self.blocks.change(found.cidr, operation)

    async def _undo(self, handle: str, addresses: list[str]) -> None:
        if addresses:
            requests = [ReleaseRequest(address.partition("/")[0], handle) for address in addresses]
            await asyncio.shield(asyncio.wait_for(self.release.addresses(requests), timeout=_UNDO_SECONDS))

    # --- one named address -----------------------------------------------------------------------------------

    async def assign_address(
        self, address: str, *, handle: str, attributes: Mapping[str, str], use: Use | None = None
    ) -> None:
        """Assigns exactly this address (spec 2.7): selectors, reservations, the limit of blocks and automatic claiming
        do not matter. Raises AddressNotInPool, NotOwner, AddressInUse, and errors of the API."""
        self._requests += 1
        address = str(ipaddress.ip_address(address))
        settings = await self.settings()
        pool: IPPool | None = None
        for fresh in (False, True):
            pools = await self.view.pools(fresh=fresh)
            pool = pool_rules.pool_of(address, [each for each in pools if pool_rules.is_enabled(each)])
            if pool is not None:
                break
        else:
            raise AddressNotInPool(f"address {address} is not in a configured pool that is enabled")
        if use is not None and not pool_rules.serves(pool, use):
            raise AddressNotInPool(f"address {address} is in pool {pool.metadata.name}, which is not for use {use}")
        cidr = pool_rules.block_of(address, pool)
        for _ in range(ATTEMPTS):
            if await self._assign_in(cidr, address, settings.strict_affinity, handle, attributes):
                return
        raise TooMuchContention(f"address {address}: {ATTEMPTS} attempts to assign it met other writers' changes")

    async def _assign_in(
        self, cidr: str, address: str, strict: bool, handle: str, attributes: Mapping[str, str]
    ) -> bool:
        block = await self.blocks.read(cidr)
        if block is None:
            try:
                block = await self.affinities.claim(self.owner, cidr)
            except AffinityLost:
                return False
            self.search.add(cidr)

        def operation(draft: Draft) -> None:
            if strict and draft.affinity != self.owner.affinity:
                raise NotOwner(
                    f"address {address}: block {cidr} belongs to {draft.affinity or 'nobody'}, not to"
                    f" {self.owner.affinity}, and strict affinity is on"
                )
            draft.assign(address, handle=handle, attributes=attributes)

        await self.handles.add(handle, {cidr: 1})
        try:
            await self.blocks.change(cidr, operation)
        except BlockGone:
            await self.handles.subtract(handle, {cidr: 1})
            return False
        except AlreadyAssigned as error:
            await self.handles.subtract(handle, {cidr: 1})
            raise AddressInUse(str(error)) from error
        except (IPAMError, ApiError) as error:
            if not isinstance(error, Temporary):
                await self.handles.subtract(handle, {cidr: 1})
            raise
        return True

    # --- reading ---------------------------------------------------------------------------------------------

    async def holder(self, address: str) -> Allocation | None:
        """Who holds the address, None if nobody does or it is in no pool."""
        pool = pool_rules.pool_of(address, await self.view.pools())
        block = await self.blocks.read(pool_rules.block_of(address, pool)) if pool is not None else None
        if block is None:
            return None
        return next((each for each in allocations_of(block.spec) if each.address == address), None)

    async def addresses_by_handle(self, handle: str) -> list[str]:
        """Bare addresses that the handle holds, in order of block; none if there is no such handle."""
        found = await self.handles.read(handle, fresh=True)
        addresses: list[str] = []
        for cidr in sorted(found.spec.block) if found is not None else ():
            block = await self.blocks.read(cidr)
            if block is not None:
                addresses += addresses_of(block.spec, handle)
        return addresses
