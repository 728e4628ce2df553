"""The Kubernetes Node as calico-node writes it: annotations with addresses, and the condition of the network.

For start-up, tunnels, the monitor and shutdown. In: what a node should say of itself. Out: patches of `nodes/status`,
sent only when something differs (spec/cni-ipam-node.md 3.3, 3.9).
"""

import time
from collections.abc import Mapping
from typing import Any

from tortie.kube.client import Client
from tortie.model import catalog
from tortie.model.convert import nodes as names
from tortie.model.k8s import Node

ADDRESS = {4: names.IPV4_ADDRESS, 6: names.IPV6_ADDRESS}
AS_NUMBER = names.AS_NUMBER


def difference(node: Node, wanted: Mapping[str, str]) -> dict[str, str | None]:
    """The annotations to change; an empty value removes one."""
    present = node.metadata.annotations
    changes: dict[str, str | None] = {}
    for name, value in wanted.items():
        if value and present.get(name) != value:
            changes[name] = value
        elif not value and name in present:
            changes[name] = None
    return changes


async def annotate(client: Client, node: Node, wanted: Mapping[str, str]) -> Node:
    """Makes the annotations so and gives the node as it is then; no request if they are."""
    changes = difference(node, wanted)
    if not changes:
        return node
    patch = {"metadata": {"annotations": changes}}
    return await client.patch(catalog.NODES, node.metadata.name, patch, subresource="status")


async def set_network_unavailable(client: Client, node: str, *, unavailable: bool) -> None:
    """Tells the scheduler and the node controller whether pods can be reached on this node."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    condition: dict[str, Any] = {
        "type": "NetworkUnavailable",
        "status": "True" if unavailable else "False",
        "reason": "CalicoIsDown" if unavailable else "CalicoIsUp",
        "message": "Calico is shutting down on this node" if unavailable else "Calico is running on this node",
        "lastTransitionTime": now,
        "lastHeartbeatTime": now,
    }
    patch = {"status": {"conditions": [condition]}}
    await client.patch(catalog.NODES, node, patch, patch_type="strategic", subresource="status")
