"""A node's own BGP settings: which configuration resource, annotation or environment variable wins.

For peerings and rendering. In: the `World`. Out: `Settings` with every default filled in (spec/bgp-typha.md A.1.4,
A.2.1).
"""

import hashlib
import re
from collections.abc import Iterable

import msgspec

from tortie.model.dataplane import Node
from tortie.model.v3 import bgp
from tortie.routing.world import FAMILIES, Network, Problem, World, address, network, networks

DEFAULT_AS = 64512
DEFAULT_PORT = 179
NORMAL_PRIORITY = 1024
TOP_PREFERENCE = 2147483647
"""local_pref and kernel metric mirror each other around 2^31 - 1."""

GLOBAL = "default"
INTERFACE = re.compile(r"[A-Za-z0-9_.*-]{1,15}")
"""A pattern of interface names, as ignoredInterfaces and filter rules take it."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """port 0: BGP's own. log: `debug`, `info` or `none`. priority: the normal route priority by family.

    subnet: the node's subnet by family, None if unknown. programs_ipip, programs_plain: whether BIRD, not Felix, writes
    the routes of such pools to the kernel.
    """

    node: str
    addresses: dict[int, str]
    subnet: dict[int, Network | None]
    local_as: int
    global_as: int
    router_id: str
    cluster_id: str
    port: int
    bind_node_ip: bool
    log: str
    mesh: bool
    priority: dict[int, int]
    ignored_interfaces: tuple[str, ...]
    programs_ipip: bool
    programs_plain: bool


def settings(world: World) -> tuple[Settings, list[Problem]]:
    """The node's effective settings, and what in them could not be used."""
    own = world.own
    shared = configuration(world, GLOBAL)
    mine = configuration(world, f"node.{world.node}")
    global_as = shared.as_number or DEFAULT_AS
    problems: list[Problem] = []
    cluster_id = own.route_reflector_cluster_id
    if cluster_id and not _is_ipv4(cluster_id):
        problems.append(
            Problem("Node", world.node, f"route reflector cluster id {cluster_id!r} is not an IPv4 address")
        )
        cluster_id = ""
    programs = shared.program_cluster_routes or "EnabledNoEncapOnly"
    if programs not in ("Enabled", "Disabled", "EnabledIPIPOnly", "EnabledNoEncapOnly"):
        problems.append(
            Problem(
                "BGPConfiguration",
                GLOBAL,
                f"programClusterRoutes {programs!r} is none of Enabled, Disabled, EnabledIPIPOnly, EnabledNoEncapOnly",
            )
        )
        programs = "EnabledNoEncapOnly"
    ignored = [name for name in shared.ignored_interfaces if name != "*" and INTERFACE.fullmatch(name)]
    problems += [
        Problem("BGPConfiguration", GLOBAL, f"ignoredInterfaces: {name!r} is not 1 to 15 of letters, digits, _ . * -")
        for name in shared.ignored_interfaces
        if name not in ignored
    ]
    result = Settings(
        node=world.node,
        addresses={4: own.ipv4, 6: own.ipv6},
        subnet={4: network(own.ipv4_cidr), 6: network(own.ipv6_cidr)},
        local_as=own.as_number or global_as,
        global_as=global_as,
        router_id=router_id(node=world.node, wanted=world.router_id, ipv4=own.ipv4),
        cluster_id=cluster_id,
        port=mine.listen_port or shared.listen_port or 0,
        bind_node_ip=shared.bind_mode == "NodeIP",
        log=_log_level(mine.log_severity_screen or shared.log_severity_screen),
        mesh=shared.node_to_node_mesh_enabled is not False,
        priority={
            4: shared.ipv4_normal_route_priority or NORMAL_PRIORITY,
            6: shared.ipv6_normal_route_priority or NORMAL_PRIORITY,
        },
        ignored_interfaces=tuple(ignored),
        programs_ipip=programs in ("Enabled", "EnabledIPIPOnly"),
        programs_plain=programs in ("Enabled", "EnabledNoEncapOnly"),
    )
    return result, problems


def configuration(world: World, name: str) -> bgp.BGPConfigurationSpec:
    """The BGPConfiguration of that name, blank if there is none."""
    found = world.configurations.get(name)
    return found.spec if found is not None else bgp.BGPConfigurationSpec()


def router_id(*, node: str, wanted: str, ipv4: str) -> str:
    """A literal CALICO_ROUTER_ID, else the IPv4 address; without one, or on `hash`, four bytes of the name's hash."""
    if wanted and wanted != "hash" and _is_ipv4(wanted):
        return wanted
    if ipv4 and wanted != "hash":
        return ipv4
    octets = list(hashlib.sha256(node.encode()).digest()[:4])
    if octets[0] > 223:
        octets[0] -= 32
    if not any(octets):
        octets[3] = 1
    return ".".join(map(str, octets))


def node_as(node: Node, default: int) -> int:
    """The AS number of a node, or the default if it has none of its own."""
    return node.as_number or default


def node_port(world: World, node: str) -> int:
    """The port on which another node listens for BGP; 0 for BGP's own."""
    port = configuration(world, f"node.{node}").listen_port or configuration(world, GLOBAL).listen_port or 0
    return 0 if port == DEFAULT_PORT else port


class Advertisement(msgspec.Struct, frozen=True):
    """Routes inside `net` are announced with these communities, each as its numbers."""

    net: Network
    communities: tuple[tuple[int, ...], ...]


def advertisements(world: World) -> tuple[dict[int, list[Advertisement]], list[Problem]]:
    """The prefix advertisements of each family; the node's own list replaces the global one (spec A.3.5)."""
    shared = configuration(world, GLOBAL)
    mine = configuration(world, f"node.{world.node}")
    source, name = (mine, f"node.{world.node}") if mine.prefix_advertisements else (shared, GLOBAL)
    named = {c.name: c.value for c in (*shared.communities, *mine.communities)}
    result: dict[int, list[Advertisement]] = {family: [] for family in FAMILIES}
    problems: list[Problem] = []
    for entry in source.prefix_advertisements:
        net = network(entry.cidr)
        if net is None:
            problems.append(Problem("BGPConfiguration", name, f"prefixAdvertisements: {entry.cidr!r} is not a CIDR"))
            continue
        values, bad = _communities(entry.communities, named)
        problems += [
            Problem(
                "BGPConfiguration", name, f"prefixAdvertisements: {text!r} is neither a community nor a name of one"
            )
            for text in bad
        ]
        if values:
            result[net.version].append(Advertisement(net, values))
    return result, problems


def community(text: str) -> tuple[int, ...] | None:
    """`aa:nn` or `aa:nn:mm` as numbers within BGP's limits, or None."""
    parts = text.split(":")
    if len(parts) not in (2, 3) or not all(p.isascii() and p.isdigit() for p in parts):
        return None
    numbers = tuple(map(int, parts))
    limit = 0xFFFF if len(parts) == 2 else 0xFFFFFFFF
    return numbers if max(numbers) <= limit else None


def service_networks(world: World, family: int) -> dict[str, list[Network]]:
    """The advertised service ranges by source: `cluster`, `external`, `balancer`."""
    spec = configuration(world, GLOBAL)
    cluster = [world.advertise_cluster_ips] if world.advertise_cluster_ips else _cidrs(spec.service_cluster_ips)
    return {
        "cluster": networks(cluster, family),
        "external": networks(_cidrs(spec.service_external_ips), family),
        "balancer": networks(_cidrs(spec.service_load_balancer_ips), family),
    }


def _cidrs(entries: Iterable[bgp.ServiceCIDR]) -> list[str]:
    return [entry.cidr for entry in entries if entry.cidr]


def _communities(texts: Iterable[str], named: dict[str, str]) -> tuple[tuple[tuple[int, ...], ...], list[str]]:
    good: set[str] = set()
    bad: list[str] = []
    for text in texts:
        value = named.get(text, text)
        if community(value) is None:
            bad.append(text)
        else:
            good.add(value)
    return tuple(c for c in map(community, sorted(good)) if c is not None), bad


def _log_level(severity: str) -> str:
    return {"": "info", "info": "info", "debug": "debug", "trace": "debug"}.get(severity.lower(), "none")


def _is_ipv4(text: str) -> bool:
    parsed = address(text)
    return parsed is not None and parsed.version == 4
