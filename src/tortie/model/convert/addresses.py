"""Network sets, pools and blocks as the dataplane sees them (spec/resources.md 1.4 and 4.6).

For the syncer. In: API objects. Out: updates with canonical CIDRs; members that cannot be read are left out.
"""

from typing import Literal, cast

from tortie.model import formats
from tortie.model.convert.scopes import NAMESPACE_LABEL
from tortie.model.dataplane import Block, BlockKey, IPPool, IPPoolKey, NetworkSet, NetworkSetKey, Update
from tortie.model.meta import ObjectMeta
from tortie.model.names import namespace_profile
from tortie.model.v3.ipam import IPAMBlock
from tortie.model.v3.ipam import IPPool as ApiIPPool
from tortie.model.v3.networkset import GlobalNetworkSet, NetworkSetSpec
from tortie.model.v3.networkset import NetworkSet as ApiNetworkSet

Mode = Literal["Never", "Always", "CrossSubnet"]


def network_set(network_set: ApiNetworkSet) -> Update:
    """A set of a namespace carries its namespace's label and inherits its profile."""
    namespace = network_set.metadata.namespace
    labels = {**network_set.metadata.labels, NAMESPACE_LABEL: namespace}
    return _set(network_set.metadata, network_set.spec, namespace, labels, (namespace_profile(namespace),))


def global_network_set(network_set: GlobalNetworkSet) -> Update:
    return _set(network_set.metadata, network_set.spec, "", dict(network_set.metadata.labels), ())


def _set(
    metadata: ObjectMeta, spec: NetworkSetSpec, namespace: str, labels: dict[str, str], profiles: tuple[str, ...]
) -> Update:
    nets: list[str] = []
    errors: list[str] = []
    for net in spec.nets:
        try:
            nets.append(formats.canonical_net(net))
        except ValueError:
            errors.append(f"member {net!r} is left out: it is not an IP address or CIDR")
    value = NetworkSet(nets=tuple(nets), domains=spec.allowed_egress_domains, labels=labels, profiles=profiles)
    return Update(NetworkSetKey(namespace=namespace, name=metadata.name), value, tuple(errors))


def default_block_size(version: int) -> int:
    return 26 if version == 4 else 122


def ip_pool(pool: ApiIPPool) -> Update:
    """A pool whose CIDR cannot be read is absent."""
    key = IPPoolKey(pool.metadata.name)
    spec = pool.spec
    try:
        cidr = formats.canonical_net(spec.cidr)
    except ValueError:
        return Update(key, None, (f"the pool is not used: cidr {spec.cidr!r} is not a CIDR",))
    value = IPPool(
        cidr=cidr,
        block_size=spec.block_size or default_block_size(formats.version_of(cidr)),
        ipip_mode=_mode(spec.ipip_mode),
        vxlan_mode=_mode(spec.vxlan_mode),
        nat_outgoing=spec.nat_outgoing,
        disabled=spec.disabled,
        disable_bgp_export=spec.disable_bgp_export,
        node_selector=spec.node_selector or "all()",
        allowed_uses=spec.allowed_uses or ("Workload", "Tunnel"),
    )
    return Update(key, value)


def _mode(text: str) -> Mode:
    return cast(Mode, text) if text in ("Always", "CrossSubnet") else "Never"


def block(block: IPAMBlock) -> Update:
    """Who uses which address of the block; absent once the block is marked as deleted."""
    spec = block.spec
    try:
        network = formats.network(spec.cidr)
    except ValueError:
        return Update(BlockKey(spec.cidr), None, (f"the block is not used: cidr {spec.cidr!r} is not a CIDR",))
    key = BlockKey(network.with_prefixlen)
    if spec.deleted:
        return Update(key, None)
    allocated: list[tuple[str, str]] = []
    for ordinal, index in enumerate(spec.allocations):
        if index is None or not 0 <= index < len(spec.attributes) or ordinal >= network.num_addresses:
            continue
        attribute = spec.attributes[index]
        if attribute.released_at is None:
            allocated.append((str(network[ordinal]), attribute.secondary.get("node", "")))
    affinity = spec.affinity or ""
    node = affinity.removeprefix("host:") if affinity.startswith("host:") else ""
    return Update(key, Block(cidr=key.cidr, affinity_node=node, allocated=tuple(allocated)))
