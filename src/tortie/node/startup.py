"""What a node does before its services start: it introduces itself and prepares the ground.

For `tortie node start` and `tortie node startup`. In: settings and a client. Out: the Node's annotations, default pools
and objects, directories, CNI files, tunnel addresses, and last the nodename file (spec/cni-ipam-node.md 3.1).
"""

import asyncio
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tortie.kube.client import Client
from tortie.kube.errors import AlreadyExists, ApiError, NotFound, Unauthorized
from tortie.model import catalog
from tortie.model.k8s import Node
from tortie.model.v3.ipam import IPPool
from tortie.node import defaults, interfaces
from tortie.node.autodetect import Decision, Host, decide
from tortie.node.cnifiles import install_cni
from tortie.node.nodeobject import ADDRESS, AS_NUMBER, annotate
from tortie.node.pools import default_pools
from tortie.node.settings import FAMILIES, NODENAME_FILE, Settings
from tortie.node.tunnels import TunnelAddresses
from tortie.service.log import get_logger
from tortie.service.run import Fatal

_log = get_logger("node.startup")

DIRECTORIES = ("/var/run/calico", "/var/lib/calico", "/etc/calico/confd/config")
_NODE_WAIT = 30.0


async def startup(client: Client, settings: Settings) -> None:
    """Raises Fatal with a reason for the operator, or ApiError."""
    began = time.monotonic()
    node = await _reach(client, settings)
    if settings.backend != "none":
        node = await settle_addresses(client, settings, node, interfaces.host(node))
    _directories(settings)
    pools, created = await asyncio.gather(
        _pools(client, settings), defaults.ensure(client, cluster_type=settings.cluster_type)
    )
    for name in created:
        _log.info("created", object=name)
    if not settings.use_pod_cidr and settings.backend != "none":
        tunnels = TunnelAddresses(client, node=settings.node)
        labelled = await tunnels.label_old_affinities()
        if labelled:
            _log.info("labelled block affinities of an earlier release", count=labelled)
        await tunnels.reconcile(pools=pools)
    if settings.manage_cni:
        install_cni(settings, pools)
    write_nodename(settings.node)
    _log.info("node is prepared", node=settings.node, seconds=round(time.monotonic() - began, 3))


async def _reach(client: Client, settings: Settings) -> Node:
    """The node's own object, once the API answers. Waits for ever with WAIT_FOR_DATASTORE; credentials that are not
    accepted never get better."""
    deadline = time.monotonic() + _NODE_WAIT
    delay, told = 0.05, 0.0
    while True:
        try:
            return await client.get(catalog.NODES, settings.node)
        except Unauthorized as e:
            raise Fatal(f"the API server at {client.config.server} does not accept our credentials: {e}") from e
        except NotFound as e:
            reason = f"node {settings.node!r} does not exist in the API; is NODENAME the node's name?"
            if not settings.wait_for_datastore and time.monotonic() > deadline:
                raise Fatal(reason) from e
        except ApiError as e:
            reason = str(e)
            if not settings.wait_for_datastore:
                raise Fatal(f"the API server cannot be used: {e}; set WAIT_FOR_DATASTORE=true to wait for it") from e
        if time.monotonic() - told > 10.0:
            told = time.monotonic()
            _log.info("waiting for the API", reason=reason)
        await asyncio.sleep(delay)
        delay = min(delay * 1.5, 1.0)


# --- addresses -------------------------------------------------------------------------------------------------


async def settle_addresses(client: Client, settings: Settings, node: Node, host: Host) -> Node:
    """Decides on the node's addresses and AS number and writes them if they changed. Raises Fatal."""
    present = {family: node.metadata.annotations.get(ADDRESS[family], "") for family in FAMILIES}
    decisions: dict[int, Decision] = {}
    for family in FAMILIES:
        decisions[family] = decide(
            wanted=settings.ip[family],
            method=settings.methods[family],
            family=family,
            present=present[family],
            host=host,
        )
        for note in decisions[family].notes:
            _log.warning(note)
    auto = [family for family in FAMILIES if settings.ip[family] in ("", "autodetect")]
    failed = [family for family in auto if settings.ip[family] == "autodetect" and not decisions[family].address]
    if failed or not any(d.address for d in decisions.values()):
        await _clear(client, node, [f for f in auto if settings.ip[f] == "autodetect"])
        names = " and ".join(f"IPv{family}" for family in failed) or "IPv4 or IPv6"
        seen = ", ".join(sorted(i.name for i in host.interfaces))
        raise Fatal(
            f"no {names} address found for this node (methods {settings.methods[4]}, {settings.methods[6]};"
            f" interfaces {seen}); set IP, IP6 or IP_AUTODETECTION_METHOD"
        )
    wanted = {ADDRESS[family]: decisions[family].address for family in FAMILIES}
    if settings.as_number:
        wanted[AS_NUMBER] = settings.as_number
    changed = [f for f in FAMILIES if decisions[f].address and decisions[f].address != present[f]]
    if changed and settings.check_addresses:
        await _refuse_duplicates(client, settings, node, {f: decisions[f].address for f in changed}, auto)
    return await annotate(client, node, wanted)


async def _refuse_duplicates(
    client: Client, settings: Settings, node: Node, addresses: dict[int, str], auto: list[int]
) -> None:
    bare = {family: text.partition("/")[0] for family, text in addresses.items()}
    for other in (await client.list(catalog.NODES)).items:
        if other.metadata.name == settings.node:
            continue
        for family, text in bare.items():
            if other.metadata.annotations.get(ADDRESS[family], "").partition("/")[0] == text:
                if family in auto:
                    await _clear(client, node, [family])
                raise Fatal(
                    f"IPv{family} address {text} is already that of node {other.metadata.name}; give each node its own"
                    " (IP, IP_AUTODETECTION_METHOD), or set DISABLE_NODE_IP_CHECK=true"
                )


async def _clear(client: Client, node: Node, families: Iterable[int]) -> None:
    """Frees autodetected addresses that this node cannot claim, so that the other node can."""
    try:
        await annotate(client, node, {ADDRESS[family]: "" for family in families})
    except ApiError as e:
        _log.warning("could not clear the node's addresses", reason=str(e))


# --- pools, files ----------------------------------------------------------------------------------------------


async def _pools(client: Client, settings: Settings) -> list[IPPool]:
    """All pools, after the default ones exist."""
    existing = (await client.list(catalog.IP_POOLS)).items
    if settings.no_default_pools:
        return existing
    missing = default_pools(settings, existing=existing, random_bits=0)
    if not missing:
        return existing
    wanted = default_pools(
        settings,
        existing=existing,
        kubeadm_cidrs=await _kubeadm_cidrs(client),
        host_addresses=[str(a) for i in interfaces.interfaces() for a in i.addresses],
        kernel_has_ipv6=interfaces.kernel_has_ipv6(),
    )
    for pool in wanted:
        try:
            await client.create(catalog.IP_POOLS.untyped(), pool)
            _log.info("created", object=f"IPPool {pool['metadata']['name']}", cidr=pool["spec"]["cidr"])
        except AlreadyExists:
            continue  # another node was quicker
    return (await client.list(catalog.IP_POOLS)).items


async def _kubeadm_cidrs(client: Client) -> tuple[str, ...]:
    """networking.podSubnet of kubeadm's settings, if kubeadm made the cluster."""
    try:
        found = await client.find(catalog.CONFIG_MAPS, "kubeadm-config", "kube-system")
    except ApiError:
        return ()
    text = ((found or {}).get("data") or {}).get("ClusterConfiguration", "")
    if not text:
        return ()
    import yaml  # late: few clusters need it

    try:
        document: Any = yaml.safe_load(text)
        subnet = str((document.get("networking") or {}).get("podSubnet") or "")
    except (yaml.YAMLError, AttributeError):
        return ()
    return tuple(part for part in subnet.split(",") if part)


def _directories(settings: Settings) -> None:
    names = [*DIRECTORIES, *(["/var/log/calico"] if settings.file_logging else [])]
    for name in names:
        Path(name).mkdir(parents=True, exist_ok=True)


def write_nodename(node: str, *, file: Path = NODENAME_FILE) -> None:
    """The name for the CNI plugin, which takes the file as it is; its time is the clock of BIRD's readiness."""
    temporary = file.with_name(f".{file.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(node)
    temporary.replace(file)


def write_shutdown_time(file: Path) -> None:
    """When calico-node was told to stop."""
    file.write_text(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
