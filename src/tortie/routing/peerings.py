"""With whom this node speaks BGP: the mesh, the BGPPeers that apply to it, their reverse side, and local workloads.

For rendering. In: the `World` and the node's `Settings`. Out: `Peering`s sorted by name, problems, and the secrets that
were asked for (spec/bgp-typha.md A.2).
"""

from collections.abc import Iterator

import msgspec

from tortie.model.dataplane import Node
from tortie.model.selector import SelectorError, parse
from tortie.model.v3 import bgp
from tortie.routing.attributes import (
    MAX_RESTART_TIME,
    Attributes,
    Rejected,
    peer_attributes,
    resolve_password,
    restart_time,
    seconds,
)
from tortie.routing.settings import DEFAULT_PORT, GLOBAL, Settings, configuration, node_as, node_port
from tortie.routing.world import Problem, World, address

MESH, WORKLOAD = "Mesh", "Local_Workload"
_SCOPES = {"global": "Global", "node": "Node"}


class Peering(msgspec.Struct, frozen=True, kw_only=True):
    """One BGP session as BIRD shall hold it.

    owner: the object that asked for it, as (kind, name). port 0: BGP's own. source "": the kernel chooses.
    """

    name: str
    owner: tuple[str, str]
    family: int
    address: str
    port: int = 0
    remote_as: int
    local_as: int
    source: str = ""
    passive: bool = False
    cluster_id: str = ""
    attributes: Attributes = Attributes()

    @property
    def internal(self) -> bool:
        """Both ends are in one AS, as this end presents itself."""
        return self.remote_as == self.local_as


class Peerings(msgspec.Struct, frozen=True):
    peerings: tuple[Peering, ...]
    problems: tuple[Problem, ...]
    secrets: frozenset[str]


class _Candidate(msgspec.Struct, frozen=True):
    """A peer before the attributes of its BGPPeer are added. node: its name if it is one of ours."""

    scope: str
    peer: bgp.BGPPeer
    address: str
    family: int
    port: int
    remote_as: int
    by_address: bool
    cluster_id: str = ""


def peerings(world: World, settings: Settings) -> Peerings:
    """Every peering of this node; a BGPPeer that cannot be used becomes a problem and disturbs no other."""
    problems: list[Problem] = []
    secrets: set[str] = set()
    found: dict[tuple[str, int], Peering] = {}
    for peering in _explicit(world, settings, problems, secrets):
        found.setdefault((peering.address, peering.port), peering)
    for peering in _mesh(world, settings, problems, secrets):
        # Two sessions between the same two sockets would only fight; the one the user wrote stays.
        found.setdefault((peering.address, peering.port), peering)
    ordered = sorted(found.values(), key=lambda p: p.name)
    return Peerings(tuple(ordered), tuple(sorted(set(problems))), frozenset(secrets))


# --- the mesh --------------------------------------------------------------------------------------------------


def _mesh(world: World, settings: Settings, problems: list[Problem], secrets: set[str]) -> Iterator[Peering]:
    if not settings.mesh or settings.cluster_id:
        return
    spec = configuration(world, GLOBAL)
    password, kept_for = "", None
    try:
        kept_for = restart_time(spec.node_mesh_max_restart_time)
    except Rejected as e:
        problems.append(Problem("BGPConfiguration", GLOBAL, f"nodeMeshMaxRestartTime: {e}"))
    try:
        if spec.node_mesh_password is not None:
            password = resolve_password(world, spec.node_mesh_password, secrets)
    except Rejected as e:
        problems.append(Problem("BGPConfiguration", GLOBAL, f"nodeMeshPassword: {e}; the mesh has no sessions"))
        return
    attributes = Attributes(password=password, restart_time=kept_for)
    for name, node in sorted(world.nodes.items()):
        if node.route_reflector_cluster_id or ("Node", name) in world.excluded:
            continue
        for family, text in ((4, node.ipv4), (6, node.ipv6)):
            own = settings.addresses[family]
            if not text or not own or text == own:
                continue
            yield Peering(
                name=f"{MESH}_{_symbol(text)}",
                owner=("Node", name),
                family=family,
                address=text,
                port=node_port(world, name),
                remote_as=node_as(node, settings.local_as),
                local_as=settings.local_as,
                source=own,
                passive=text > own,  # as text: only one side dials
                attributes=attributes,
            )


# --- BGPPeers --------------------------------------------------------------------------------------------------


def _explicit(world: World, settings: Settings, problems: list[Problem], secrets: set[str]) -> Iterator[Peering]:
    """Peerings of BGPPeers in the order in which they win over each other: global, node, reverse."""
    peers = [p for name, p in sorted(world.peers.items()) if ("BGPPeer", name) not in world.excluded]
    global_keys: set[tuple[str, int]] = set()
    for one_pass in (_global_pass, _node_pass, _reverse_pass):
        for peer in peers:
            try:
                for candidate in one_pass(world, settings, peer):
                    key = (candidate.address, candidate.port)
                    if candidate.scope == "global":
                        global_keys.add(key)
                    elif key in global_keys:
                        continue
                    own = settings.addresses[candidate.family]
                    if candidate.address != own and (own or candidate.by_address):
                        peering = _finish(world, settings, candidate, secrets)
                        problems += _reservations(peer, peering)
                        yield peering
            except (Rejected, SelectorError) as e:
                problems.append(_problem(peer, e))
    for peer in peers:
        try:
            yield from _workloads(world, settings, peer)
        except (Rejected, SelectorError) as e:
            problems.append(_problem(peer, e))


def _reservations(peer: bgp.BGPPeer, peering: Peering) -> list[Problem]:
    """What of the BGPPeer a peering that works all the same does not follow."""
    name, spec, found = peer.metadata.name, peer.spec, []
    if spec.password is not None and not peering.attributes.password:
        reference = spec.password.secret_key_ref
        what = f"key {reference.key} of secret {reference.name}" if reference is not None else "password.secretKeyRef"
        found.append(Problem("BGPPeer", name, f"{what} is missing or cannot be read: the peering has no password"))
    if (seconds(spec.max_restart_time) or 0) > MAX_RESTART_TIME:
        limit = f"maxRestartTime {spec.max_restart_time} is cut to {MAX_RESTART_TIME}s, the most that BGP can express"
        found.append(Problem("BGPPeer", name, limit))
    return found


def _problem(peer: bgp.BGPPeer, error: Exception) -> Problem:
    prefix = "a selector does not parse: " if isinstance(error, SelectorError) else ""
    return Problem("BGPPeer", peer.metadata.name, f"{prefix}{error}")


def _applies(world: World, peer: bgp.BGPPeer) -> str:
    """`global`, `node` if the peer is for this node among others, or "" if it is not."""
    spec = peer.spec
    if not spec.node and not spec.node_selector:
        return "global"
    if spec.node:
        return "node" if spec.node == world.node else ""
    return "node" if world.node in world.nodes and parse(spec.node_selector).matches(world.own.labels) else ""


def _global_pass(world: World, settings: Settings, peer: bgp.BGPPeer) -> Iterator[_Candidate]:
    if _applies(world, peer) == "global":
        yield from _remote_side(world, settings, peer, "global")


def _node_pass(world: World, settings: Settings, peer: bgp.BGPPeer) -> Iterator[_Candidate]:
    if _applies(world, peer) == "node":
        yield from _remote_side(world, settings, peer, "node")


def _remote_side(world: World, settings: Settings, peer: bgp.BGPPeer, scope: str) -> Iterator[_Candidate]:
    spec = peer.spec
    if spec.local_workload_selector:
        return
    if spec.peer_selector:
        selector = parse(spec.peer_selector)
        for name, node in sorted(world.nodes.items()):
            if selector.matches(node.labels):
                yield from _node_candidates(world, settings, peer, scope, name, node, (4, 6))
        return
    text, port, family = split_peer_ip(spec.peer_ip)
    if not spec.as_number:
        raise Rejected("asNumber is missing; it must be the AS number of the peer, 1 to 4294967295")
    explicit_port = port
    if not port:
        match = _node_with(world, settings, text, family, spec.as_number)
        explicit_port = node_port(world, match) if match else 0
    yield _Candidate(scope, peer, text, family, _canonical_port(explicit_port), spec.as_number, by_address=True)


def _reverse_pass(world: World, settings: Settings, peer: bgp.BGPPeer) -> Iterator[_Candidate]:
    """Where this node is on the remote side of a BGPPeer, it dials every node of the local side back."""
    spec = peer.spec
    if spec.reverse_peering == "Manual" or spec.local_workload_selector or world.node not in world.nodes:
        return
    families: tuple[int, ...] = (4, 6)
    if spec.peer_selector:
        if not parse(spec.peer_selector).matches(world.own.labels):
            return
    else:
        text, port, family = split_peer_ip(spec.peer_ip)
        own_as = node_as(world.own, settings.global_as)
        if text != settings.addresses[family] or (spec.as_number or settings.global_as) != own_as:
            return
        if port and _canonical_port(port) != node_port(world, world.node):
            return
        families = (family,)
    selector = parse(spec.node_selector) if spec.node_selector else None
    for name, node in sorted(world.nodes.items()):
        if spec.node and name != spec.node:
            continue
        if not spec.node and selector is not None and not selector.matches(node.labels):
            continue
        yield from _node_candidates(world, settings, peer, "node", name, node, families)


def _node_candidates(
    world: World,
    settings: Settings,
    peer: bgp.BGPPeer,
    scope: str,
    name: str,
    node: Node,
    families: tuple[int, ...],
) -> Iterator[_Candidate]:
    for family, text in ((4, node.ipv4), (6, node.ipv6)):
        if text and family in families:
            yield _Candidate(
                scope,
                peer,
                text,
                family,
                node_port(world, name),
                node_as(node, settings.global_as),
                by_address=False,
                cluster_id=node.route_reflector_cluster_id,
            )


def _finish(world: World, settings: Settings, candidate: _Candidate, secrets: set[str]) -> Peering:
    spec = candidate.peer.spec
    own = settings.addresses[candidate.family]
    if not own:
        raise Rejected(f"this node has no IPv{candidate.family} address to reach {candidate.address} from")
    local_as = settings.local_as
    if candidate.by_address and spec.local_as_number:
        local_as = spec.local_as_number
    internal = candidate.remote_as == local_as
    port_text = f"_port_{candidate.port}" if candidate.port else ""
    reflects = internal and settings.cluster_id and candidate.cluster_id != settings.cluster_id
    known_node = any(candidate.address in (n.ipv4, n.ipv6) for n in world.nodes.values())
    return Peering(
        name=f"{_SCOPES[candidate.scope]}_{_symbol(candidate.address)}{port_text}",
        owner=("BGPPeer", candidate.peer.metadata.name),
        family=candidate.family,
        address=candidate.address,
        port=candidate.port,
        remote_as=candidate.remote_as,
        local_as=local_as,
        source="" if spec.source_address == "None" else own,
        passive=candidate.by_address and candidate.scope == "global" and known_node and candidate.address > own,
        cluster_id=settings.cluster_id if reflects else "",
        attributes=peer_attributes(
            world,
            candidate.peer,
            internal=internal,
            family=candidate.family,
            by_address=candidate.by_address,
            secrets=secrets,
        ),
    )


def _workloads(world: World, settings: Settings, peer: bgp.BGPPeer) -> Iterator[Peering]:
    """One passive peering per family for each local workload that the BGPPeer names (spec A.2.4, A.6 32)."""
    spec = peer.spec
    if not spec.local_workload_selector or not _applies(world, peer):
        return
    if not spec.as_number:
        raise Rejected("asNumber is missing; localWorkloadSelector needs the AS number of the workloads")
    name = peer.metadata.name
    for workload in world.workload_peers:
        if workload.peer != name:
            continue
        for family, text in ((4, workload.ipv4), (6, workload.ipv6)):
            if text:
                yield Peering(
                    name=f"{WORKLOAD}_{_symbol(text)}",
                    owner=("BGPPeer", name),
                    family=family,
                    address=text,
                    remote_as=spec.as_number,
                    local_as=spec.local_as_number or settings.local_as,
                    passive=True,
                    attributes=Attributes(filters=tuple(spec.filters)),
                )


def split_peer_ip(text: str) -> tuple[str, int, int]:
    """`10.0.0.1`, `10.0.0.1:1790`, `fd00::1` or `[fd00::1]:1790` as (address, port or 0, family)."""
    host, port = text, ""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    parsed = address(host)
    good_port = not port or (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535)
    if parsed is None or not good_port:
        raise Rejected(f"peerIP {text!r} is not an IP address, IPv4:port or [IPv6]:port")
    return str(parsed), int(port or 0), parsed.version


def _node_with(world: World, settings: Settings, text: str, family: int, as_number: int) -> str:
    """The name of the node that has this address and AS number, or ""."""
    for name, node in sorted(world.nodes.items()):
        if text == (node.ipv4 if family == 4 else node.ipv6) and node_as(node, settings.global_as) == as_number:
            return name
    return ""


def _canonical_port(port: int) -> int:
    return 0 if port == DEFAULT_PORT else port


def _symbol(text: str) -> str:
    return text.replace(".", "_").replace(":", "_")
