"""The node services: everything calico-node does beside policy and routes, in one process.

For `tortie node monitor`. In: settings, the API, the host. Out: the Node's condition and addresses, tunnel addresses,
CNI files and credentials, status reports. A part that fails ends the process, and runit starts it again
(spec/cni-ipam-node.md 3.6).
"""

import asyncio
import os

from tortie.kube.cache import Cache
from tortie.kube.client import Client
from tortie.kube.config import load
from tortie.kube.errors import ApiError
from tortie.model import catalog, formats
from tortie.model.k8s import Node
from tortie.model.v3.ipam import IPPool
from tortie.node import credentials, health, interfaces
from tortie.node.cnifiles import install_cni, kubeconfig_path
from tortie.node.nodeobject import set_network_unavailable
from tortie.node.nodestatus import Reporter
from tortie.node.settings import FAMILIES, Settings
from tortie.node.startup import settle_addresses
from tortie.node.tunnels import TUNNELS, TunnelAddresses
from tortie.service.log import get_logger
from tortie.service.run import Service, freeze_garbage

_log = get_logger("node.monitor")

_READY_WITHIN = 300.0
_RETRY_TUNNELS = 30.0


async def monitor(service: Service, settings: Settings) -> None:
    """Runs until the service stops."""
    async with Client(load()) as client:
        tasks = [service.spawn(complete_startup(client, settings), "complete startup")]
        if settings.backend != "none":
            if any(settings.ip[family] == "autodetect" for family in FAMILIES):
                tasks.append(service.spawn(watch_addresses(client, settings), "addresses"))
            follower = PoolFollower(client, settings)
            tasks += [
                service.spawn(follower.follow_pools(), "watch ippools"),
                service.spawn(follower.follow_node(), "watch node"),
                service.spawn(follower.run(), "tunnel addresses"),
            ]
        tasks.append(service.spawn(Reporter(client, node=settings.node).run(), "status reporter"))
        if settings.manage_cni:
            every = _seconds(os.environ.get("CNI_TOKEN_REFRESH_INTERVAL", ""))
            refresh = credentials.keep_fresh(
                client, path=kubeconfig_path(), namespace=settings.namespace, override=every
            )
            tasks.append(service.spawn(refresh, "CNI credentials"))
        freeze_garbage()
        await service.stopping.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def complete_startup(client: Client, settings: Settings) -> None:
    """Once Felix and BIRD are ready, tells Kubernetes that the node's network is up."""
    if settings.backend == "none":
        return
    deadline = asyncio.get_running_loop().time() + _READY_WITHIN
    while True:
        complaint = await asyncio.to_thread(_complaint, settings)
        if not complaint:
            break
        if asyncio.get_running_loop().time() > deadline:
            raise TimeoutError(f"the node was not ready within {_READY_WITHIN:.0f} s: {complaint}")
        await asyncio.sleep(0.5)
    await set_network_unavailable(client, settings.node, unavailable=False)
    settings.shutdown_file.unlink(missing_ok=True)
    _log.info("the node's network is up", node=settings.node)


def _complaint(settings: Settings) -> str:
    host, port = settings.felix_health
    felix = health.felix("/readiness", host=host, port=port) if settings.felix else ""
    return felix or (health.bird_ready() if settings.bird else "")


async def watch_addresses(client: Client, settings: Settings) -> None:
    """Detects the node's addresses again from time to time and writes them when they have changed."""
    while True:
        await asyncio.sleep(settings.poll_seconds)
        for attempt in range(3):
            try:
                node = await client.get(catalog.NODES, settings.node)
                await settle_addresses(client, settings, node, interfaces.host(node))
                break
            except ApiError as e:
                if attempt == 2:
                    _log.warning("could not compare the node's addresses", reason=str(e))
                await asyncio.sleep(1.0)


class PoolFollower:
    """What depends on pools and on the node's labels: tunnel addresses, and the families in the CNI configuration."""

    def __init__(self, client: Client, settings: Settings) -> None:
        self._settings = settings
        self._changed = asyncio.Event()
        self._pools = Cache(client, catalog.IP_POOLS, on_event=lambda *_: self._changed.set())
        self._nodes = Cache(
            client, catalog.NODES, field_selector=f"metadata.name={settings.node}", on_event=self._node_event
        )
        self._tunnels = TunnelAddresses(client, node=settings.node)

    async def follow_pools(self) -> None:
        await self._pools.run()

    async def follow_node(self) -> None:
        await self._nodes.run()

    async def run(self) -> None:
        """Settles everything after each change; tries again after a failure."""
        await self._pools.wait_synced()
        await self._nodes.wait_synced()
        while True:
            self._changed.clear()
            pools = list(self._pools.items())
            good = True
            if not self._settings.use_pod_cidr:
                good = await self._settle(pools)
            if self._settings.manage_cni:
                install_cni(self._settings, pools)
            try:
                async with asyncio.timeout(None if good else _RETRY_TUNNELS):
                    await self._changed.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(0.2)  # what changes together is settled together

    async def _settle(self, pools: list[IPPool]) -> bool:
        try:
            return await self._tunnels.reconcile(pools=pools)
        except ApiError as e:
            _log.warning("tunnel addresses not settled", reason=str(e))
            return False

    def _node_event(self, _type: str, old: Node | None, new: Node | None) -> None:
        """Nodes change all the time (heartbeats); only labels and the tunnels' own annotations matter here."""
        if _relevant(old) != _relevant(new):
            self._changed.set()


def _relevant(node: Node | None) -> object:
    if node is None:
        return None
    annotations = {n: node.metadata.annotations.get(n) for t in TUNNELS for n in (t.annotation, t.mac, t.needs) if n}
    return node.metadata.labels, annotations


def _seconds(text: str) -> float:
    return formats.duration_seconds(text) if text and not formats.duration_problem(text) else 0.0
