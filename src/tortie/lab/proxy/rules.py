"""Service ports as nftables chains, map elements and sets. Pure.

In: `PortPlan`s and the node's addresses. Out: `Rules`: one service's share of the table, and the frame that all share.
A packet to a service costs two map lookups however many services there are; see `FRAME_CHAINS` for the way it takes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tortie.lab.proxy.endpoints import Backend, Family, PortPlan

TABLE = "kube-proxy"
MASQUERADE_MARK = 0x4000

MAPS = {
    "service-ips": "{address} . inet_proto . inet_service : verdict",
    "service-nodeports": "inet_proto . inet_service : verdict",
    "no-endpoint-services": "{address} . inet_proto . inet_service : verdict",
    "no-endpoint-nodeports": "inet_proto . inet_service : verdict",
    "firewall-ips": "{address} . inet_proto . inet_service : verdict",
}
SETS = ("cluster-ips", "nodeport-ips")

_ADDRESS_TYPE: dict[Family, str] = {"ip": "ipv4_addr", "ip6": "ipv6_addr"}


@dataclass(frozen=True, slots=True)
class Rules:
    """chains: name -> rules; maps and sets: name -> elements (for maps with their verdict); affinity: sets of clients,
    name -> seconds. udp: for each address and port that UDP clients use, the backends that are right for it."""

    chains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    maps: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    sets: Mapping[str, frozenset[str]] = field(default_factory=dict)
    affinity: Mapping[str, int] = field(default_factory=dict)
    udp: Mapping[tuple[str, int], frozenset[str]] = field(default_factory=dict)


EMPTY = Rules()


def frame(family: Family) -> Rules:
    """The chains that every packet meets, services or none.

    Destination NAT happens at priority -100, so checks that want the address the client used stand at -110 where NAT
    comes in the same hook, and those that want packets which no NAT took stand behind it: in forward and input, and
    at -90 in output.
    """
    address = "ip daddr" if family == "ip" else "ip6 daddr"
    service = f"{address} . meta l4proto . th dport vmap"
    node_port = f"{address} @nodeport-ips meta l4proto . th dport vmap"
    checks = (
        "ct state new jump endpoints-check",
        f"ct state new {address} @cluster-ips goto reject-chain",
    )
    return Rules(
        chains={
            "services": (f"{service} @service-ips", f"{node_port} @service-nodeports"),
            "endpoints-check": (f"{service} @no-endpoint-services", f"{node_port} @no-endpoint-nodeports"),
            # A reset for TCP: the kernel limits ICMP errors to about one a second for each client.
            "reject-chain": ("meta l4proto tcp reject with tcp reset", "reject"),
            "mark-for-masquerade": (f"meta mark set meta mark or 0x{MASQUERADE_MARK:x}",),
            "masquerading": (
                f"meta mark and 0x{MASQUERADE_MARK:x} == 0 return",
                f"meta mark set meta mark xor 0x{MASQUERADE_MARK:x}",
                "masquerade fully-random",
            ),
            "firewall-check": (f"{service} @firewall-ips",),
            "nat-prerouting": ("type nat hook prerouting priority -100;", "jump services"),
            "nat-output": ("type nat hook output priority -100;", "jump services"),
            "nat-postrouting": ("type nat hook postrouting priority 100;", "jump masquerading"),
            "filter-prerouting": (
                "type filter hook prerouting priority -110;",
                "ct state new jump firewall-check",
            ),
            "filter-output": ("type filter hook output priority -110;", "ct state new jump firewall-check"),
            "filter-input": ("type filter hook input priority -110;", "ct state new jump endpoints-check"),
            "filter-forward": ("type filter hook forward priority -110;", *checks),
            "filter-output-post-dnat": ("type filter hook output priority -90;", *checks),
        }
    )


def nodes(addresses: Iterable[str]) -> Rules:
    """This node's own addresses, on which node ports answer."""
    return Rules(sets={"nodeport-ips": frozenset(addresses)})


def service_rules(plans: Iterable[PortPlan], *, family: Family, cluster_cidrs: tuple[str, ...]) -> Rules:
    """What one service adds to the table. cluster_cidrs: the pods' ranges in this family; traffic to a cluster IP from
    elsewhere is masqueraded, so that answers come back through this node."""
    chains: dict[str, tuple[str, ...]] = {}
    maps: dict[str, dict[str, str]] = {}
    cluster_ips: set[str] = set()
    affinity: dict[str, int] = {}
    udp: dict[tuple[str, int], frozenset[str]] = {}
    for plan in plans:
        _port_rules(plan, family, cluster_cidrs, chains, maps, affinity)
        cluster_ips.update(plan.cluster_ips)
        if plan.protocol == "udp":
            for address in plan.cluster_ips:
                udp[(address, plan.port)] = frozenset(b.ip for b in plan.internal)
            reachable = frozenset(b.ip for b in (*plan.external, *plan.cluster))
            for address in (*plan.external_ips, *plan.load_balancer_ips):
                udp[(address, plan.port)] = reachable
            if plan.node_port:
                udp[("", plan.node_port)] = reachable
    return Rules(chains=chains, maps=maps, sets={"cluster-ips": frozenset(cluster_ips)}, affinity=affinity, udp=udp)


def _port_rules(
    plan: PortPlan,
    family: Family,
    cluster_cidrs: tuple[str, ...],
    chains: dict[str, tuple[str, ...]],
    maps: dict[str, dict[str, str]],
    affinity: dict[str, int],
) -> None:
    source = "ip saddr" if family == "ip" else "ip6 saddr"
    outside = f"{source} != {{ {', '.join(cluster_cidrs)} }}" if cluster_cidrs else ""
    externals = (*plan.external_ips, *plan.load_balancer_ips)
    where = f"{plan.protocol} . {plan.port}"
    node_key = f"{plan.protocol} . {plan.node_port}"
    used: set[Backend] = set()

    def balance(kind: str, backends: tuple[Backend, ...]) -> str:
        name = f"{kind}-{plan.title}"
        used.update(backends)
        lines: list[str] = []
        if outside and backends == plan.internal:
            word = "ip daddr" if family == "ip" else "ip6 daddr"
            lines += [f"{word} {ip} {outside} jump mark-for-masquerade" for ip in plan.cluster_ips]
        if plan.affinity:
            lines += [f"{source} @{_affinity_name(plan, b)} goto {_backend_name(plan, b)}" for b in backends]
        choices = ", ".join(f"{i} : goto {_backend_name(plan, b)}" for i, b in enumerate(backends))
        lines.append(f"numgen random mod {len(backends)} vmap {{ {choices} }}")
        chains[name] = tuple(lines)
        return name

    def put(map_: str, key: str, verdict: str) -> None:
        maps.setdefault(map_, {})[key] = verdict

    dead = "drop" if plan.cluster or plan.local else "goto reject-chain"
    cluster_chain = balance("cluster", plan.cluster) if plan.cluster else ""
    local_wanted = plan.internal_local or plan.external_local
    local_chain = balance("local", plan.local) if plan.local and local_wanted else ""
    internal_chain = local_chain if plan.internal_local else cluster_chain
    for ip in plan.cluster_ips:
        if internal_chain:
            put("service-ips", f"{ip} . {where}", f"goto {internal_chain}")
        else:
            put("no-endpoint-services", f"{ip} . {where}", dead)
    if externals or plan.node_port:
        target = local_chain if plan.external_local else cluster_chain
        if cluster_chain:
            external = f"external-{plan.title}"
            chains[external] = _external_chain(plan, source, cluster_cidrs, cluster_chain, target)
            for ip in externals:
                put("service-ips", f"{ip} . {where}", f"goto {external}")
            if plan.node_port:
                put("service-nodeports", node_key, f"goto {external}")
        if not target:
            for ip in externals:
                put("no-endpoint-services", f"{ip} . {where}", dead)
            if plan.node_port:
                put("no-endpoint-nodeports", node_key, dead)
    if plan.source_ranges and plan.load_balancer_ips:
        firewall = f"firewall-{plan.title}"
        allowed = ", ".join(plan.source_ranges)
        chains[firewall] = (f"{source} {{ {allowed} }} return", "drop")
        for ip in plan.load_balancer_ips:
            put("firewall-ips", f"{ip} . {where}", f"goto {firewall}")
    for backend in used:
        lines = [f"{source} {backend.ip} jump mark-for-masquerade"]
        if plan.affinity:
            affinity[_affinity_name(plan, backend)] = plan.affinity
            lines.append(f"update @{_affinity_name(plan, backend)} {{ {source} }}")
        at = backend.ip if family == "ip" else f"[{backend.ip}]"
        lines.append(f"meta l4proto {plan.protocol} dnat to {at}:{backend.port}")
        chains[_backend_name(plan, backend)] = tuple(lines)


def _external_chain(
    plan: PortPlan, source: str, cluster_cidrs: tuple[str, ...], cluster_chain: str, target: str
) -> tuple[str, ...]:
    if not plan.external_local:
        return ("jump mark-for-masquerade", f"goto {target}")
    lines = []
    if cluster_cidrs:  # pods reach the service as if by its cluster IP, wherever the backends are
        lines.append(f"{source} {{ {', '.join(cluster_cidrs)} }} goto {cluster_chain}")
    lines += [
        "fib saddr type local jump mark-for-masquerade",
        f"fib saddr type local goto {cluster_chain}",
    ]
    return (*lines, f"goto {target}") if target else tuple(lines)


def _backend_name(plan: PortPlan, backend: Backend) -> str:
    return f"endpoint-{plan.title}__{backend.ip.replace(':', '.')}/{backend.port}"


def _affinity_name(plan: PortPlan, backend: Backend) -> str:
    """The timeout is in the name: the kernel cannot change it in place."""
    return f"affinity-{plan.affinity}-{plan.title}__{backend.ip.replace(':', '.')}/{backend.port}"


def map_type(name: str, family: Family) -> str:
    """The type of a map, for its declaration."""
    return MAPS[name].format(address=_ADDRESS_TYPE[family])


def address_type(family: Family) -> str:
    """The type of the address sets."""
    return _ADDRESS_TYPE[family]
