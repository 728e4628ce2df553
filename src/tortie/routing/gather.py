"""Keeps the `World` current: caches of the API objects, the referenced secrets, and Felix's endpoint status files.

In: a client and the node's name. Out: `on_change()` after anything that can matter to the configuration, and `world()`
when asked. Services are watched only while a range is configured, each secret only while a peering refers to it.
"""

import asyncio
import base64
import contextlib
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any

import msgspec

from tortie.kube.cache import Cache
from tortie.kube.client import Client
from tortie.model import catalog, convert
from tortie.model.dataplane import Node
from tortie.model.k8s import Node as KubernetesNode
from tortie.model.meta import ObjectMeta
from tortie.model.names import hostname_hash
from tortie.model.resource import Resource
from tortie.routing.services import wants_services
from tortie.routing.world import WorkloadPeer, World

_POLL_SECONDS = 1.0
_HOSTNAME_LABEL = "projectcalico.org/hostname-hash"


class _Secret(msgspec.Struct, frozen=True):
    metadata: ObjectMeta = ObjectMeta()
    data: dict[str, str] | None = None


_SECRETS = Resource(group="", version="v1", kind="Secret", plural="secrets", namespaced=True, type=_Secret)


class _EndpointStatus(msgspec.Struct, frozen=True, rename="camel"):
    bgp_peer_name: str = ""
    ipv4_nets: tuple[str, ...] = msgspec.field(default=(), name="ipv4Nets")
    ipv6_nets: tuple[str, ...] = msgspec.field(default=(), name="ipv6Nets")


class Gatherer:
    """namespace: where the secrets are. status_dir: Felix's endpoint status files."""

    def __init__(
        self,
        client: Client,
        *,
        node: str,
        namespace: str,
        status_dir: Path,
        on_change: Callable[[], None],
        router_id: str = "",
        advertise_cluster_ips: str = "",
        endpoint_node: str = "",
    ) -> None:
        self._client = client
        self._node = node
        self._namespace = namespace
        self._status_dir = status_dir
        self._on_change = on_change
        self._fixed = World(
            node=node,
            router_id=router_id,
            advertise_cluster_ips=advertise_cluster_ips,
            endpoint_node=endpoint_node,
        )
        self._nodes: dict[str, Node] = {}
        self._node_cache = Cache(client, catalog.NODES, on_event=self._node_event)
        self._configurations = self._cache(catalog.BGP_CONFIGURATIONS)
        self._peers = self._cache(catalog.BGP_PEERS)
        self._filters = self._cache(catalog.BGP_FILTERS)
        self._pools = self._cache(catalog.IP_POOLS)
        self._affinities = Cache(
            client,
            catalog.BLOCK_AFFINITIES,
            label_selector=f"{_HOSTNAME_LABEL}={hostname_hash(node)}",
            on_event=self._changed,
        )
        self._services: Cache[Any] | None = None
        self._slices: Cache[Any] | None = None
        self._secrets: dict[str, tuple[Cache[_Secret], asyncio.Task[None]]] = {}
        self._workloads: tuple[WorkloadPeer, ...] = ()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._spawner: Callable[[Any, str], asyncio.Task[Any]] | None = None

    def start(self, spawn: Callable[[Any, str], asyncio.Task[Any]]) -> None:
        """Begins following everything; spawn runs a coroutine whose failure ends the process."""
        self._spawner = spawn
        for cache in self._always():
            self._spawn(cache.run(), f"watch {cache.resource.plural}")
        self._spawn(self._poll_status_files(), "endpoint status files")

    async def stop(self) -> None:
        """Ends all that `start` began; to be awaited before the client is closed."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _spawn(self, coro: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        assert self._spawner is not None, "start comes first"
        task = self._spawner(coro, name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    @property
    def synced(self) -> bool:
        """Whether all objects that are needed have been seen; until then a rendering would lack some."""
        optional = [c for c in (self._services, self._slices) if c is not None]
        return all(c.synced for c in (*self._always(), *optional))

    async def wait_secrets(self, seconds: float) -> None:
        """Waits until every referenced secret has been looked for, but not longer: one may be out of reach."""
        waits = [cache.wait_synced() for cache, _ in self._secrets.values()]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.gather(*waits)

    async def wait_synced(self) -> None:
        """Returns when everything that is always needed has been seen once."""
        for cache in self._always():
            await cache.wait_synced()

    def world(self) -> World:
        """The picture as it is now. Begins to watch services if a service range has come up (then not `synced`)."""
        world = msgspec.structs.replace(
            self._fixed,
            nodes=dict(self._nodes),
            configurations={o.metadata.name: o for o in self._configurations.items()},
            peers={o.metadata.name: o for o in self._peers.items()},
            filters={o.metadata.name: o for o in self._filters.items()},
            pools={o.metadata.name: o for o in self._pools.items()},
            affinities=tuple(sorted(self._affinities.items(), key=lambda o: o.metadata.name)),
            secrets={name: _decoded(cache.get(name, self._namespace)) for name, (cache, _) in self._secrets.items()},
            workload_peers=self._workloads,
        )
        if not wants_services(world):
            return world
        if self._services is None or self._slices is None:
            self._services = self._cache(catalog.SERVICES)
            self._slices = self._cache(catalog.ENDPOINT_SLICES)
            for cache in (self._services, self._slices):
                self._spawn(_announce(cache, self._on_change), f"first {cache.resource.plural}")
                self._spawn(cache.run(), f"watch {cache.resource.plural}")
        return msgspec.structs.replace(
            world, services=tuple(self._services.items()), slices=tuple(self._slices.items())
        )

    def refer_to(self, secrets: Iterable[str]) -> bool:
        """Watches exactly these secrets from now on; True if one is new: its value is still to come."""
        wanted = set(secrets)
        for name in set(self._secrets) - wanted:
            _, task = self._secrets.pop(name)
            task.cancel()
        fresh = wanted - set(self._secrets)
        for name in sorted(fresh):
            cache = Cache(
                self._client,
                _SECRETS,
                namespace=self._namespace,
                field_selector=f"metadata.name={name}",
                on_event=self._changed,
            )
            task = self._spawn(cache.run(), f"watch secret {name}")
            self._spawn(_announce(cache, self._on_change), f"first secret {name}")
            self._secrets[name] = (cache, task)
        return bool(fresh)

    def find(self, kind: str, name: str) -> Any:
        """An API object by kind and name, to report about it; None if it is gone."""
        caches: dict[str, Cache[Any]] = {c.resource.kind: c for c in self._always()}
        cache = caches.get(kind)
        return cache.get(name) if cache is not None else None

    def resource(self, kind: str) -> Resource[Any] | None:
        """The resource of a kind that `find` knows."""
        return next((c.resource for c in self._always() if c.resource.kind == kind), None)

    # --- changes -----------------------------------------------------------------------------------------------

    def _always(self) -> tuple[Cache[Any], ...]:
        return (
            self._node_cache,
            self._configurations,
            self._peers,
            self._filters,
            self._pools,
            self._affinities,
        )

    def _cache(self, resource: Resource[Any]) -> Cache[Any]:
        return Cache(self._client, resource, on_event=self._changed)

    def _changed(self, _type: str, _old: object, _new: object) -> None:
        self._on_change()

    def _node_event(self, _type: str, old: KubernetesNode | None, new: KubernetesNode | None) -> None:
        """Nodes change all the time (heartbeats); only their addresses, labels and AS numbers matter here."""
        subject = new if new is not None else old
        assert subject is not None
        name = subject.metadata.name
        value = _routing_node(new) if new is not None else None
        if value == self._nodes.get(name):
            return
        if value is None:
            del self._nodes[name]
        else:
            self._nodes[name] = value
        self._on_change()

    async def _poll_status_files(self) -> None:
        """Reads Felix's files again when their directory has changed, as long as some peer is a local workload."""
        seen: object = None
        while True:
            if any(p.spec.local_workload_selector for p in self._peers.items()):
                stamp = _stamp(self._status_dir)
                if stamp != seen:
                    seen = stamp
                    self._set_workloads(read_workload_peers(self._status_dir))
            elif self._workloads:
                seen = None
                self._set_workloads(())
            await asyncio.sleep(_POLL_SECONDS)

    def _set_workloads(self, workloads: tuple[WorkloadPeer, ...]) -> None:
        if workloads != self._workloads:
            self._workloads = workloads
            self._on_change()


def read_workload_peers(directory: Path) -> tuple[WorkloadPeer, ...]:
    """The local workloads that name a BGPPeer; files that do not parse are left for the next look."""
    found = []
    for path in sorted(directory.glob("*")) if directory.is_dir() else []:
        try:
            status = msgspec.json.decode(path.read_bytes(), type=_EndpointStatus)
        except (OSError, msgspec.DecodeError):
            continue
        if status.bgp_peer_name:
            first = [nets[0].split("/")[0] if nets else "" for nets in (status.ipv4_nets, status.ipv6_nets)]
            found.append(WorkloadPeer(status.bgp_peer_name, *first))
    return tuple(sorted(found))


def _routing_node(node: KubernetesNode) -> Node:
    """The node as BGP sees it: with the addresses that calico-node announces, never the kubelet's.

    A node on which calico-node has not started yet has none, so nobody waits for a session with it.
    """
    value = convert.node(node).value
    assert isinstance(value, Node)
    return msgspec.structs.replace(
        value, ipv4=value.ipv4 if value.ipv4_cidr else "", ipv6=value.ipv6 if value.ipv6_cidr else ""
    )


def _decoded(secret: _Secret | None) -> dict[str, str]:
    values: dict[str, str] = {}
    for key, text in (secret.data or {}).items() if secret is not None else ():
        try:
            values[key] = base64.b64decode(text, validate=True).decode(errors="surrogateescape")
        except ValueError:
            continue
    return values


def _stamp(directory: Path) -> object:
    """Changes whenever a file of the directory is made, removed or rewritten."""
    try:
        return tuple(sorted((e.name, e.stat().st_mtime_ns) for e in directory.iterdir()))
    except OSError:
        return None


async def _announce(cache: Cache[Any], on_change: Callable[[], None]) -> None:
    await cache.wait_synced()
    on_change()
