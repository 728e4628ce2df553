"""Which pools a request may use, and in which order their blocks are tried.

For the allocator and the CNI plugin. In: the pools of the cluster, a node, a namespace, a use. Out: the usable pools,
and the candidate blocks of one. Pure (spec/cni-ipam-node.md 2.5 steps 3 and 7, 1.15).
"""

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Literal

from tortie.ipam.ranges import Ranges
from tortie.model import selector
from tortie.model.v3.ipam import IPPool

Use = Literal["Workload", "Tunnel", "LoadBalancer"]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_DEFAULT_USES = ("Workload", "Tunnel")


def network_of(pool: IPPool) -> Network:
    return parsed(pool.spec.cidr)


@lru_cache(maxsize=4096)
def parsed(cidr: str) -> Network:
    """A CIDR or address as a network, host bits cut off. Remembered: the same few are asked for all the time."""
    return ipaddress.ip_network(cidr, strict=False)


def block_prefix(pool: IPPool) -> int:
    """The prefix length of the pool's blocks; 26 and 122 where the pool does not say."""
    return pool.spec.block_size or (26 if network_of(pool).version == 4 else 122)


def is_enabled(pool: IPPool) -> bool:
    """New addresses may come from it: not disabled, not being deleted, and not found unallocatable."""
    conditions = pool.status.conditions if pool.status is not None else ()
    refused = any(each.type == "Allocatable" and each.status == "False" for each in conditions)
    return not pool.spec.disabled and pool.metadata.deletion_timestamp is None and not refused


def serves(pool: IPPool, use: Use) -> bool:
    return use in (pool.spec.allowed_uses or _DEFAULT_USES)


def selects_node(pool: IPPool, labels: Mapping[str, str]) -> bool:
    """A selector that does not parse selects nothing; admission refuses such pools."""
    return _matches(pool.spec.node_selector, labels)


def selects_namespace(pool: IPPool, labels: Mapping[str, str] | None) -> bool:
    """labels None: the request belongs to no namespace, so only a pool without namespace selector serves it."""
    if not pool.spec.namespace_selector:
        return True
    return labels is not None and _matches(pool.spec.namespace_selector, labels)


def usable(
    pools: Iterable[IPPool],
    *,
    version: int,
    use: Use,
    requested: Sequence[str] | None,
    node_labels: Mapping[str, str],
    namespace_labels: Mapping[str, str] | None,
) -> list[IPPool]:
    """The pools that a request may use, in order of name.

    requested: CIDRs, which then replace node selector, namespace selector and assignment mode, but neither `disabled`
    nor allowed uses; None or empty for no request.
    """
    enabled = [pool for pool in pools if is_enabled(pool) and network_of(pool).version == version]
    if requested:
        wanted = {str(ipaddress.ip_network(cidr, strict=False)) for cidr in requested}
        chosen = [pool for pool in enabled if str(network_of(pool)) in wanted]
    else:
        chosen = [
            pool
            for pool in enabled
            if (pool.spec.assignment_mode or "Automatic") == "Automatic"
            and selects_node(pool, node_labels)
            and selects_namespace(pool, namespace_labels)
        ]
    return sorted((pool for pool in chosen if serves(pool, use)), key=lambda pool: pool.metadata.name)


def resolve(items: Iterable[str], pools: Sequence[IPPool], *, version: int) -> list[str]:
    """Pool names or CIDRs, as annotations and network configurations give them, turned into CIDRs.

    Raises ValueError for an item that is no enabled pool (`does not exist`) or one of the other family.
    """
    enabled = [pool for pool in pools if is_enabled(pool)]
    by_name = {pool.metadata.name: pool for pool in enabled}
    by_cidr = {str(network_of(pool)): pool for pool in enabled}
    found = []
    for item in items:
        pool = by_name.get(item)
        if pool is None:
            try:
                pool = by_cidr.get(str(ipaddress.ip_network(item, strict=False)))
            except ValueError:
                pool = None
        if pool is None:
            known = ", ".join(sorted(by_name)) or "none"
            raise ValueError(f"IP pool {item!r} does not exist or is disabled; enabled pools: {known}")
        if network_of(pool).version != version:
            raise ValueError(f"IP pool {item!r} ({pool.spec.cidr}) is not an IPv{version} pool")
        found.append(str(network_of(pool)))
    return found


def pool_of(address: str, pools: Iterable[IPPool]) -> IPPool | None:
    """The pool that holds an address or block; the most specific one if pools overlap."""
    start = parsed(address).network_address
    holding = [pool for pool in pools if network_of(pool).version == start.version and start in network_of(pool)]
    return max(holding, key=lambda pool: network_of(pool).prefixlen, default=None)


def block_of(address: str, pool: IPPool) -> str:
    """The CIDR of the block that holds an address of the pool."""
    return str(ipaddress.ip_network(f"{address}/{block_prefix(pool)}", strict=False))


def candidates(pool: IPPool, *, seed: str, reserved: Ranges, clock_ns: int) -> Iterator[str]:
    """Every block of the pool, from a start that depends on the host and then in order, wrapping around.

    Different hosts so look in different places first. Blocks of a single address start by the clock instead, since
    one host asks for many of them. Blocks that are reserved as a whole are left out.
    """
    network = network_of(pool)
    prefix = block_prefix(pool)
    step = 1 << (network.max_prefixlen - prefix)
    total = 1 << max(prefix - network.prefixlen, 0)
    first = int(network.network_address)
    start = (clock_ns if step == 1 else fnv1_32(seed)) % total
    make = ipaddress.IPv4Address if network.version == 4 else ipaddress.IPv6Address
    position = 0
    while position < total:
        offset = (start + position) % total
        begin = first + offset * step
        cover = reserved.end_of_cover(begin)
        if cover is not None and cover >= begin + step - 1:
            # Skip all blocks that this reservation covers, up to the end of the pool where counting wraps.
            position += min(max((cover - begin + 1) // step, 1), total - offset)
            continue
        yield f"{make(begin)}/{prefix}"
        position += 1


def fnv1_32(text: str) -> int:
    value = 0x811C9DC5
    for byte in text.encode():
        value = (value * 0x01000193) & 0xFFFFFFFF ^ byte
    return value


def _matches(text: str, labels: Mapping[str, str]) -> bool:
    try:
        return selector.parse(text or "all()").matches(labels)
    except selector.SelectorError:
        return False
