"""A policy world to ask questions of, from a cluster or from manifests.

In: a kubeconfig, or YAML files. Out: `Loaded`: the world that the policy engine evaluates, the Felix parameters that
decide verdicts, and notes about everything that could not be read or had to be assumed.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tortie.felix.config import Effective, merge, resources
from tortie.felix.dataplane.config import Failsafe as FelixFailsafe
from tortie.felix.dataplane.config import parse_failsafes
from tortie.kube.client import Client
from tortie.kube.config import ClusterConfig
from tortie.kube.errors import ApiError
from tortie.model.dataplane import ClusterInfoKey, ConfigValues, FelixConfigKey, Node, NodeKey, Update
from tortie.model.k8s import Pod
from tortie.policy.packet import Failsafe, Settings
from tortie.policy.world import World
from tortie.syncer.sources import BUILTIN, FELIX, Source


@dataclass
class Loaded:
    """host_pods: pods that share their node's network, by `namespace/name`, with their node and address."""

    world: World
    host_pods: dict[str, tuple[str, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def settings(self, node: str) -> Settings:
        """The Felix parameters of a node as resources tell; its environment may say otherwise."""
        return _settings(_effective(self.world, node))


async def from_cluster(config: ClusterConfig) -> Loaded:
    """Everything that policy depends on, read once. Raises ApiError if nothing can be read at all."""
    async with Client(config) as client:
        lists = await asyncio.gather(*(_list(client, source) for source in FELIX))
    failures = [found for found in lists if isinstance(found, ApiError)]
    if len(failures) == len(lists):
        raise failures[0]
    objects: list[tuple[Source, Any]] = []
    notes: list[str] = []
    for source, found in zip(FELIX, lists, strict=True):
        if isinstance(found, ApiError):
            notes.append(f"{source.resource.plural} are left out: {found.message}")
        else:
            objects += [(source, item) for item in found]
    loaded = build(objects)
    loaded.notes[:0] = notes
    return loaded


async def _list(client: Client, source: Source) -> list[Any] | ApiError:
    try:
        return (await client.list(source.resource)).items
    except ApiError as error:
        return error


def build(objects: Iterable[tuple[Source, Any]]) -> Loaded:
    """A world from decoded objects. An object that does not convert is left out, with a note."""
    updates: list[Update] = list(BUILTIN)
    host_pods: dict[str, tuple[str, str]] = {}
    notes: list[str] = []
    for source, item in objects:
        if isinstance(item, Pod) and item.spec.host_network:
            name = f"{item.metadata.namespace}/{item.metadata.name}"
            host_pods[name] = (item.spec.node_name, item.status.pod_ip or item.status.host_ip)
        try:
            update = source.convert(item)
        except (ValueError, TypeError) as error:
            notes.append(f"{source.resource.kind} {item.metadata.name} is left out: {error}")
            continue
        notes += [f"{source.resource.kind} {item.metadata.name}: {text}" for text in update.errors]
        updates.append(update)
    world = World(updates)
    # Whether spoofed sources are allowed is itself configuration, so the world is made twice when they are.
    if _effective(world, "").text("WorkloadSourceSpoofing").lower() == "any":
        world = World(updates, source_spoofing=True)
    return Loaded(world=world, host_pods=host_pods, notes=notes)


def source_of(api_version: str, kind: str) -> Source | None:
    """How objects of a kind enter the world; None for kinds that policy does not depend on."""
    for source in FELIX:
        if source.resource.api_version == api_version and source.resource.kind == kind:
            return source
    return None


def _effective(world: World, node: str) -> Effective:
    configurations: dict[str, ConfigValues] = {}
    cluster: ConfigValues | None = None
    for key, value in world.of(ConfigValues):
        if isinstance(key, FelixConfigKey):
            configurations[key.name] = value
        elif isinstance(key, ClusterInfoKey) and key.name == "default":
            cluster = value
    own = world.get(NodeKey(node))
    labels = own.labels if isinstance(own, Node) else {}
    return merge(resources(configurations, cluster, node=node, labels=labels))


def _settings(effective: Effective) -> Settings:
    return Settings(
        endpoint_to_host_action=_host_action(effective.text("DefaultEndpointToHostAction")),
        failsafe_inbound=_failsafes(parse_failsafes(effective.text("FailsafeInboundHostPorts"))),
        failsafe_outbound=_failsafes(parse_failsafes(effective.text("FailsafeOutboundHostPorts"))),
        allow_vxlan_from_workloads=effective.boolean("AllowVXLANPacketsFromWorkloads"),
        allow_ipip_from_workloads=effective.boolean("AllowIPIPPacketsFromWorkloads"),
        vxlan_port=effective.integer("VXLANPort"),
    )


def _host_action(text: str) -> Any:
    return text.lower()


def _failsafes(found: Iterable[FelixFailsafe]) -> tuple[Failsafe, ...]:
    return tuple(Failsafe(protocol=entry.protocol, port=entry.port, net=entry.net) for entry in found)
