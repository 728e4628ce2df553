"""The addresses of a node's tunnel devices: taken from the pools, noted on the node, given back when not needed.

For start-up (once, before Felix) and the node services (whenever pools or labels change). In: pools, the node, IPAM's
allocator. Out: annotations of the node, and allocations under one handle per tunnel (spec/cni-ipam-node.md 2.9, 2.10).
"""

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from tortie.ipam import pools as pool_rules
from tortie.ipam.affinity import HOST_LABEL, Owner
from tortie.ipam.allocator import Allocator, Request
from tortie.ipam.block import ReleaseRequest
from tortie.ipam.errors import HandleNotFound, IPAMError
from tortie.ipam.view import DirectView
from tortie.kube.client import Client
from tortie.kube.errors import ApiError
from tortie.model import catalog
from tortie.model.convert import nodes as names
from tortie.model.k8s import Node
from tortie.model.names import vtep_mac
from tortie.model.v3.ipam import IPPool
from tortie.node.nodeobject import annotate
from tortie.service.log import get_logger

_log = get_logger("node.tunnels")

_WIREGUARD_IPV6 = f"{names.PREFIX}IPv6WireguardInterfaceAddr"
_WIREGUARD_KEY_V6 = f"{names.PREFIX}WireguardPublicKeyV6"


class Tunnel(msgspec.Struct, frozen=True, kw_only=True):
    """type: as IPAM's attributes name it. handle: its prefix. needs: an annotation without which the tunnel is off."""

    type: str
    handle: str
    annotation: str
    family: Literal[4, 6]
    encapsulation: Literal["ipip", "vxlan", ""]
    mac: str = ""
    needs: str = ""


TUNNELS = (
    Tunnel(
        type="wireguardTunnelAddress",
        handle="wireguard-tunnel-addr-",
        annotation=names.WIREGUARD_IPV4,
        family=4,
        encapsulation="",
        needs=names.WIREGUARD_PUBLIC_KEY,
    ),
    Tunnel(
        type="wireguardV6TunnelAddress",
        handle="wireguard-v6-tunnel-addr-",
        annotation=_WIREGUARD_IPV6,
        family=6,
        encapsulation="",
        needs=_WIREGUARD_KEY_V6,
    ),
    Tunnel(
        type="ipipTunnelAddress",
        handle="ipip-tunnel-addr-",
        annotation=names.IPIP_TUNNEL,
        family=4,
        encapsulation="ipip",
    ),
    Tunnel(
        type="vxlanTunnelAddress",
        handle="vxlan-tunnel-addr-",
        annotation=names.VXLAN_TUNNEL_V4,
        family=4,
        encapsulation="vxlan",
        mac=names.VXLAN_MAC_V4,
    ),
    Tunnel(
        type="vxlanV6TunnelAddress",
        handle="vxlan-v6-tunnel-addr-",
        annotation=names.VXLAN_TUNNEL_V6,
        family=6,
        encapsulation="vxlan",
        mac=names.VXLAN_MAC_V6,
    ),
)
"""In the order in which they get their addresses."""


def qualifying(tunnel: Tunnel, pools: Iterable[IPPool], node: Node) -> list[IPPool]:
    """The pools from which this tunnel may take its address; none if it is off."""
    if tunnel.needs and not node.metadata.annotations.get(tunnel.needs):
        return []
    found = []
    for pool in pools:
        mode = {"ipip": pool.spec.ipip_mode, "vxlan": pool.spec.vxlan_mode, "": "Always"}[tunnel.encapsulation]
        if (
            mode in ("Always", "CrossSubnet")
            and pool_rules.network_of(pool).version == tunnel.family
            and pool_rules.is_enabled(pool)
            and pool_rules.serves(pool, "Tunnel")
            and pool_rules.selects_node(pool, node.metadata.labels)
        ):
            found.append(pool)
    return sorted(found, key=lambda p: p.metadata.name)


class TunnelAddresses:
    """Brings the tunnels of one node in line with the pools, each time `reconcile` is called."""

    def __init__(self, client: Client, *, node: str) -> None:
        self._client = client
        self._node = node
        self._allocator = Allocator(client, DirectView(client), owner=Owner(node))

    async def label_old_affinities(self) -> int:
        """Gives this node's block affinities the labels that earlier releases did not write; says how many."""
        old = await self._client.list(catalog.BLOCK_AFFINITIES, label_selector=f"!{HOST_LABEL}", limit=1)
        return await self._allocator.affinities.label_old_ones(self._allocator.owner) if old.items else 0

    async def reconcile(self, *, pools: Sequence[IPPool] | None = None) -> bool:
        """One pass over all tunnels; True if each is as it should be. pools: if they are known already."""
        node = await self._client.get(catalog.NODES, self._node)
        known = pools if pools is not None else (await self._client.list(catalog.IP_POOLS)).items
        good = True
        for tunnel in TUNNELS:
            try:
                node = await self._one(tunnel, known, node)
            except (IPAMError, ApiError) as e:
                good = False
                _log.error("tunnel address not settled", tunnel=tunnel.type, reason=str(e))
        return good

    async def _one(self, tunnel: Tunnel, pools: Sequence[IPPool], node: Node) -> Node:
        usable = qualifying(tunnel, pools, node)
        handle = tunnel.handle + self._node
        present = node.metadata.annotations.get(tunnel.annotation, "")
        held = await self._allocator.addresses_by_handle(handle)
        if not usable:
            if held:
                await self._release(handle)
                _log.info("tunnel address released", tunnel=tunnel.type, addresses=held)
            return await self._note(tunnel, node, "")
        good = [a for a in held if pool_rules.pool_of(a, usable) is not None]
        if present in good and await self._is_ours(tunnel, present):
            return await self._note(tunnel, node, present)
        # An address of an older release without handle, or one whose allocation was lost: keep it if it is free.
        known = present and present not in held and pool_rules.pool_of(present, usable) is not None
        if known and await self._take_over(tunnel, handle, present):
            return await self._note(tunnel, node, present)
        address = good[0] if good else await self._assign(tunnel, handle, usable)
        try:
            changed = await self._note(tunnel, node, address)
        except ApiError:
            if not good:
                await self._allocator.release.addresses([ReleaseRequest(address, handle)])
            raise
        stale = [ReleaseRequest(a, handle) for a in held if a != address]
        if stale:
            await self._allocator.release.addresses(stale)
        _log.info("tunnel address", tunnel=tunnel.type, address=address)
        return changed

    async def _note(self, tunnel: Tunnel, node: Node, address: str) -> Node:
        wanted = {tunnel.annotation: address}
        if tunnel.mac:
            wanted[tunnel.mac] = mac_for(self._node, tunnel, node) if address else ""
        return await annotate(self._client, node, wanted)

    async def _is_ours(self, tunnel: Tunnel, address: str) -> bool:
        holder = await self._allocator.holder(address)
        return holder is not None and dict(holder.attributes) == self._attributes(tunnel)

    async def _take_over(self, tunnel: Tunnel, handle: str, address: str) -> bool:
        holder = await self._allocator.holder(address)
        if holder is not None and (holder.handle or holder.attributes):
            return False  # somebody else's by now
        if holder is not None:
            await self._allocator.release.addresses([ReleaseRequest(address)])
        try:
            await self._allocator.assign_address(
                address, handle=handle, attributes=self._attributes(tunnel), use="Tunnel"
            )
        except IPAMError:
            return False
        return True

    async def _assign(self, tunnel: Tunnel, handle: str, usable: Sequence[IPPool]) -> str:
        cidrs = [p.spec.cidr for p in usable]
        v4 = tunnel.family == 4
        request = Request(
            handle=handle,
            attributes=self._attributes(tunnel),
            use="Tunnel",
            count_v4=int(v4),
            count_v6=int(not v4),
            pools_v4=cidrs if v4 else (),
            pools_v6=() if v4 else cidrs,
        )
        results = await self._allocator.auto_assign(request)
        result = results[0 if v4 else 1]
        if not result.addresses:
            why = "; ".join(result.messages) or "no free address"
            raise IPAMError(f"no address for {tunnel.type} in {', '.join(cidrs)}: {why}")
        return result.addresses[0].partition("/")[0]

    async def _release(self, handle: str) -> None:
        try:
            await self._allocator.release.handle(handle, sole_user=True)
        except HandleNotFound:
            return

    def _attributes(self, tunnel: Tunnel) -> dict[str, str]:
        return {"node": self._node, "type": tunnel.type}


def mac_for(name: str, tunnel: Tunnel, node: Node) -> str:
    """The tunnel device's MAC: the one on the node, since it may be somebody's choice, else the rule's."""
    return node.metadata.annotations.get(tunnel.mac, "") or vtep_mac(name if tunnel.family == 4 else f"{name}-v6")
