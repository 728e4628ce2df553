"""Builders of small worlds for the routing tests: three nodes on one subnet, and objects from a few words."""

from typing import Any

from tortie.model.dataplane import Node
from tortie.model.meta import ObjectMeta, SecretKeySelector
from tortie.model.v3 import bgp, ipam
from tortie.routing.world import World


def node(number: int, **changes: Any) -> Node:
    """Node n of the subnet 172.30.0.0/24, fd00:30::/64."""
    values: dict[str, Any] = {
        "ipv4": f"172.30.0.1{number}",
        "ipv4_cidr": f"172.30.0.1{number}/24",
        "ipv6": f"fd00:30::1{number}",
        "ipv6_cidr": f"fd00:30::1{number}/64",
        "labels": {"name": f"node-{number}"},
    }
    return Node(**{**values, **changes})


def world(**changes: Any) -> World:
    """Three nodes, seen from node-1."""
    values: dict[str, Any] = {"node": "node-1", "nodes": {f"node-{n}": node(n) for n in (1, 2, 3)}}
    return World(**{**values, **changes})


def configuration(name: str = "default", **spec: Any) -> dict[str, bgp.BGPConfiguration]:
    return {
        name: bgp.BGPConfiguration(metadata=ObjectMeta(name=name), spec=bgp.BGPConfigurationSpec(**spec)),
    }


def peer(name: str, **spec: Any) -> dict[str, bgp.BGPPeer]:
    return {name: bgp.BGPPeer(metadata=ObjectMeta(name=name), spec=bgp.BGPPeerSpec(**spec))}


def bgp_filter(name: str, **lists: Any) -> dict[str, bgp.BGPFilter]:
    return {name: bgp.BGPFilter(metadata=ObjectMeta(name=name), spec=bgp.BGPFilterSpec(**lists))}


def rule(action: str, **fields: Any) -> bgp.BGPFilterRule:
    return bgp.BGPFilterRule(action=action, **fields)


def pool(name: str, cidr: str, **spec: Any) -> dict[str, ipam.IPPool]:
    return {name: ipam.IPPool(metadata=ObjectMeta(name=name), spec=ipam.IPPoolSpec(cidr=cidr, **spec))}


def affinity(cidr: str, *, node: str = "node-1", state: str = "confirmed") -> ipam.BlockAffinity:
    spec = ipam.BlockAffinitySpec(node=node, cidr=cidr, state=state)
    return ipam.BlockAffinity(metadata=ObjectMeta(name=f"{node}-{cidr}"), spec=spec)


def password(secret: str, key: str = "password") -> bgp.BGPPassword:
    return bgp.BGPPassword(secret_key_ref=SecretKeySelector(name=secret, key=key))


MESH_OFF = configuration(node_to_node_mesh_enabled=False)
