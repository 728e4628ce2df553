"""Routes that follow from pools, blocks and nodes (spec/felix.md 1.3: L3 route resolver, 3.9).

In: all IP pools, IPAM blocks and nodes. Out: for every CIDR that is reached through a node, which node, by which
encapsulation, and whether it shares our subnet; CrossSubnet is resolved here.
"""

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from tortie.felix.calc import addresses
from tortie.felix.calc.addresses import PrefixTable
from tortie.felix.calc.channel import Channel
from tortie.felix.messages import RouteKind, RouteUpdate
from tortie.model.dataplane import Block, BlockKey, IPPool, IPPoolKey, Node, NodeKey

_PRECEDENCE: tuple[RouteKind, ...] = (
    "local-tunnel",
    "remote-tunnel",
    "borrowed",
    "local-block",
    "remote-block",
    "remote-host",
)
"""When several sources speak of one CIDR, the first kind wins; among equals the first node by name."""


class _Claim(NamedTuple):
    """One source's word on a CIDR."""

    precedence: int
    node: str
    source: str


class Routes:
    """Call `settle` before draining `channel`."""

    def __init__(self, node: str) -> None:
        self.channel: Channel[str, RouteUpdate] = Channel()
        self._node = node
        self._nodes: dict[str, Node] = {}
        self._pools: dict[IPPoolKey, IPPool] = {}
        self._pool_table: PrefixTable[IPPool] = PrefixTable()
        self._claims: dict[str, set[_Claim]] = {}
        self._claimed_by: dict[BlockKey | NodeKey, set[tuple[str, _Claim]]] = {}
        self._by_node: dict[str, set[str]] = {}
        self._dirty: set[str] = set()

    # --- input ---------------------------------------------------------------------------------------------------

    def set_pool(self, key: IPPoolKey, pool: IPPool | None) -> None:
        """Adds, changes or removes a pool; every route inside it is worked out again."""
        if pool is None:
            self._pools.pop(key, None)
        else:
            self._pools[key] = pool
        # Of two pools with one CIDR the first by name counts, whatever the order of arrival.
        ordered = sorted(self._pools.items(), reverse=True)
        self._pool_table.replace({addresses.parse(known.cidr): known for _, known in ordered})
        self._dirty |= self._claims.keys()

    def set_block(self, key: BlockKey, block: Block | None) -> None:
        """Adds, changes or removes a block."""
        self._claim(key, () if block is None else self._block_claims(block))

    def set_node(self, key: NodeKey, node: Node | None) -> None:
        """Adds, changes or removes a node; every route to it is worked out again, and if it is ours, every route.

        Raises ValueError for an address that is none."""
        name = key.name
        if node is not None:
            for text in filter(None, (node.ipv4, node.ipv4_cidr, node.ipv6, node.ipv6_cidr)):
                addresses.parse(text)
        if node is None:
            self._nodes.pop(name, None)
        else:
            self._nodes[name] = node
        self._claim(key, () if node is None else self._node_claims(name, node))
        self._dirty |= self._claims.keys() if name == self._node else self._by_node.get(name, set())

    # --- output --------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Works out every route that something changed about."""
        for cidr in self._dirty:
            self.channel.want(cidr, self._route(cidr))
        self._dirty.clear()

    def _route(self, cidr: str) -> RouteUpdate | None:
        for claim in sorted(self._claims.get(cidr, ())):
            node = self._nodes.get(claim.node)
            prefix = addresses.parse(cidr)
            node_ip = "" if node is None else node.ipv4 if prefix.version == 4 else node.ipv6
            if not prefix.length or not node_ip:
                continue  # the route waits until the node's address is known
            kind = _PRECEDENCE[claim.precedence]
            pool = self._pool_table.covering(prefix)
            same_subnet = self._shares_subnet(node_ip)
            local = claim.node == self._node
            return RouteUpdate(
                cidr=cidr,
                kind=kind,
                node=claim.node,
                node_ip=node_ip,
                encapsulation="none"
                if local or kind == "remote-host"
                else _encapsulation(pool, same_subnet=same_subnet),
                same_subnet=same_subnet,
                nat_outgoing=pool is not None and pool.nat_outgoing,
            )
        return None

    def _shares_subnet(self, address: str) -> bool:
        ours = self._nodes.get(self._node)
        if ours is None:
            return False
        subnet = ours.ipv6_cidr if ":" in address else ours.ipv4_cidr
        return bool(subnet) and addresses.parse(subnet).contains(addresses.parse(address))

    # --- claims --------------------------------------------------------------------------------------------------

    def _block_claims(self, block: Block) -> Iterator[tuple[str, RouteKind, str]]:
        owner = block.affinity_node
        if owner:
            yield str(addresses.parse(block.cidr)), "local-block" if owner == self._node else "remote-block", owner
        for address, user in block.allocated:
            # A borrower's own workloads have routes of their own.
            if user and user not in (owner, self._node):
                yield str(addresses.parse(address)), "borrowed", user

    def _node_claims(self, name: str, node: Node) -> Iterator[tuple[str, RouteKind, str]]:
        local = name == self._node
        if not local:
            for address in filter(None, (node.ipv4, node.ipv6)):
                yield str(addresses.parse(address)), "remote-host", name
        for address in filter(None, (node.vxlan_tunnel_ipv4, node.vxlan_tunnel_ipv6, node.ipip_tunnel_ipv4)):
            yield str(addresses.parse(address)), "local-tunnel" if local else "remote-tunnel", name

    def _claim(self, source: BlockKey | NodeKey, wanted: Iterable[tuple[str, RouteKind, str]]) -> None:
        """Replaces everything that one source claims."""
        claims = {(cidr, _Claim(_PRECEDENCE.index(kind), node, str(source))) for cidr, kind, node in wanted}
        old = self._claimed_by.pop(source, set())
        if claims:
            self._claimed_by[source] = claims
        for cidr, claim in old - claims:
            self._claims[cidr].discard(claim)
            if not self._claims[cidr]:
                del self._claims[cidr]
            self._forget_node(claim.node, cidr)
            self._dirty.add(cidr)
        for cidr, claim in claims - old:
            self._claims.setdefault(cidr, set()).add(claim)
            self._by_node.setdefault(claim.node, set()).add(cidr)
            self._dirty.add(cidr)

    def _forget_node(self, node: str, cidr: str) -> None:
        if any(claim.node == node for claim in self._claims.get(cidr, ())):
            return
        cidrs = self._by_node[node]
        cidrs.discard(cidr)
        if not cidrs:
            del self._by_node[node]


def _encapsulation(pool: IPPool | None, *, same_subnet: bool) -> Literal["none", "vxlan", "ipip"]:
    if pool is None:
        return "none"
    if pool.vxlan_mode == "Always" or (pool.vxlan_mode == "CrossSubnet" and not same_subnet):
        return "vxlan"
    if pool.ipip_mode == "Always" or (pool.ipip_mode == "CrossSubnet" and not same_subnet):
        return "ipip"
    return "none"
