"""CalicoNodeStatus: what a node reports about its BGP daemon, sessions and routes when an object asks it to.

For the node services. In: what BIRD says (`tortie.routing.status`). Out: a status for each family of the one daemon;
`Reporter` writes it at the object's pace (spec/bgp-typha.md A.5.4).
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from tortie.kube.cache import Cache
from tortie.kube.client import Client
from tortie.kube.errors import ApiError, Conflict, NotFound
from tortie.model import catalog
from tortie.model.v3.nodestatus import (
    AgentStatus,
    BGPDaemonStatus,
    BGPPeerStatus,
    BGPStatus,
    CalicoNodeStatus,
    CalicoNodeStatusStatus,
    RouteSource,
    RoutesStatus,
    RouteStatus,
)
from tortie.routing.birdc import BirdError, BirdUnreachable
from tortie.routing.status import (
    PEER_PREFIXES,
    WORKLOAD_PREFIX,
    Daemon,
    Protocol,
    Route,
    read_daemon,
    read_protocols,
    read_routes,
)
from tortie.service.log import Throttle, get_logger

_log = get_logger("node.status")


class Observation(msgspec.Struct, frozen=True):
    """What BIRD said; daemon None: it does not answer. routes: by family, empty if nobody asked."""

    daemon: Daemon | None = None
    protocols: tuple[Protocol, ...] = ()
    routes: dict[int, tuple[Route, ...]] = {}


def observe(classes: Iterable[str], *, control: Path | None = None) -> Observation:
    """Asks BIRD what the classes need. Raises BirdError if it answers and then fails."""
    try:
        daemon = read_daemon(control)
    except BirdUnreachable:
        return Observation()
    wanted = set(classes)
    protocols = tuple(read_protocols(control)) if wanted & {"BGP", "Routes"} else ()
    routes = {family: tuple(read_routes(family, control)) for family in (4, 6)} if "Routes" in wanted else {}
    return Observation(daemon, protocols, routes)


def status(classes: Iterable[str], seen: Observation) -> CalicoNodeStatusStatus:
    """The status without its time."""
    wanted = set(classes)
    return CalicoNodeStatusStatus(
        agent=_agent(seen) if "Agent" in wanted else None,
        bgp=_sessions(seen) if "BGP" in wanted else None,
        routes=_routes(seen) if "Routes" in wanted else None,
    )


def _agent(seen: Observation) -> AgentStatus:
    if seen.daemon is None:
        one = BGPDaemonStatus(state="NotReady")
    else:
        one = BGPDaemonStatus(
            state="Ready",
            version=seen.daemon.version,
            router_id=seen.daemon.router_id,
            last_boot_time=seen.daemon.last_boot,
            last_reconfiguration_time=seen.daemon.last_reconfiguration,
        )
    return AgentStatus(bird_v4=one, bird_v6=one)


def _sessions(seen: Observation) -> BGPStatus:
    peers: dict[int, list[BGPPeerStatus]] = {4: [], 6: []}
    up = {4: 0, 6: 0}
    for protocol in seen.protocols:
        if not protocol.is_peer:
            continue
        family = 6 if ":" in protocol.neighbor else 4
        up[family] += protocol.established
        peers[family].append(
            BGPPeerStatus(
                peer_ip=protocol.neighbor,
                type=next(t for prefix, t in PEER_PREFIXES.items() if protocol.name.startswith(prefix)),
                state=protocol.bgp_state,
                since=protocol.since,
            )
        )
    return BGPStatus(
        number_established_v4=up[4],
        number_established_v6=up[6],
        number_not_established_v4=len(peers[4]) - up[4],
        number_not_established_v6=len(peers[6]) - up[6],
        peers_v4=tuple(peers[4]),
        peers_v6=tuple(peers[6]),
    )


def _routes(seen: Observation) -> RoutesStatus:
    neighbors = {p.name: p.neighbor for p in seen.protocols}
    found = {
        family: tuple(one for route in seen.routes.get(family, ()) for one in _route(route, neighbors))
        for family in (4, 6)
    }
    return RoutesStatus(routes_v4=found[4], routes_v6=found[6])


def _route(route: Route, neighbors: dict[str, str]) -> Iterable[RouteStatus]:
    hops = route.hops or (("", route.kind),)
    for gateway, interface in hops:
        yield RouteStatus(
            type="FIB" if route.selected else "RIB",
            destination=route.destination,
            gateway=gateway or "N/A",
            interface=interface,
            learned_from=_source(route.protocol, neighbors),
        )


def _source(protocol: str, neighbors: dict[str, str]) -> RouteSource:
    kinds = {"kernel": "Kernel", "static": "Static", "direct": "Direct"}
    for prefix, kind in kinds.items():
        if protocol.startswith(prefix):
            return RouteSource(source_type=kind)
    mesh = protocol.startswith("Mesh_")
    known = mesh or protocol.startswith((*PEER_PREFIXES, WORKLOAD_PREFIX))
    kind = "NodeMesh" if mesh else "BGPPeer" if known else ""
    return RouteSource(source_type=kind, peer_ip=neighbors.get(protocol, ""))


class Reporter:
    """Writes the status of every CalicoNodeStatus that names this node: at once when its spec changes, then each
    updatePeriodSeconds. observe: what BIRD says about the classes."""

    def __init__(
        self,
        client: Client,
        *,
        node: str,
        observe: Callable[[Iterable[str]], Observation] = observe,
    ) -> None:
        self._client = client
        self._node = node
        self._observe = observe
        self._tasks: dict[str, tuple[int, asyncio.Task[None]]] = {}
        self._throttle = Throttle()
        self._cache = Cache(client, catalog.CALICO_NODE_STATUSES, on_event=self._event)

    async def run(self) -> None:
        """Follows the objects until cancelled."""
        try:
            await self._cache.run()
        finally:
            for _, task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*(task for _, task in self._tasks.values()), return_exceptions=True)

    def _event(self, _type: str, old: CalicoNodeStatus | None, new: CalicoNodeStatus | None) -> None:
        subject = new if new is not None else old
        assert subject is not None
        name = subject.metadata.name
        generation = new.metadata.generation if new is not None and new.spec.node == self._node else None
        running = self._tasks.get(name)
        if running is not None and running[0] == generation:
            return  # only the status changed, by our own hand
        if running is not None:
            del self._tasks[name]
            running[1].cancel()
        if generation is not None:
            task = asyncio.get_running_loop().create_task(self._report(name), name=f"status {name}")
            self._tasks[name] = (generation, task)

    async def _report(self, name: str) -> None:
        attempts = 0
        while True:
            found = self._cache.get(name)
            if found is None:
                return
            period = found.spec.update_period_seconds or 0
            try:
                await self._write(found)
                attempts = 0
            except NotFound:
                return
            except Conflict:
                await asyncio.sleep(0.1)
                continue
            except (ApiError, BirdError) as e:
                if self._throttle.allow(name) is not None:
                    _log.warning("node status not written", object=name, reason=str(e))
                attempts += 1
                if period > 30 and attempts < 3:
                    await asyncio.sleep(1.0)
                    continue
                attempts = 0
            if period == 0:
                return
            await asyncio.sleep(period)

    async def _write(self, found: CalicoNodeStatus) -> None:
        seen = await asyncio.to_thread(self._observe, found.spec.classes)
        wanted = status(found.spec.classes, seen)
        present = found.status or CalicoNodeStatusStatus()
        if wanted == msgspec.structs.replace(present, last_updated=None):
            return
        stamped = msgspec.structs.replace(wanted, last_updated=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
        await self._client.update(
            catalog.CALICO_NODE_STATUSES, msgspec.structs.replace(found, status=stamped), subresource="status"
        )
