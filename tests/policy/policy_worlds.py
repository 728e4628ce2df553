"""Small worlds for tests of the policy engine, in few words."""

from typing import Any

from tortie.model.dataplane import (
    EntityMatch,
    HostEndpoint,
    HostEndpointKey,
    IPPool,
    IPPoolKey,
    Key,
    NamedPort,
    Node,
    NodeKey,
    Policy,
    PolicyKey,
    PortRange,
    Profile,
    ProfileKey,
    Rule,
    Tier,
    TierKey,
    Update,
    Value,
    WorkloadEndpoint,
    WorkloadEndpointKey,
)
from tortie.policy import Packet, Verdict, World, evaluate
from tortie.policy.packet import Settings

TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58
Item = tuple[Key, Value]
ALLOW, DENY, PASS, LOG = (Rule(action=action) for action in ("allow", "deny", "pass", "log"))  # type: ignore[arg-type]


def pod(name: str, number: int, *, node: str = "n1", namespace: str = "red", **more: Any) -> Item:
    """A pod at 10.0.0.NUMBER and fd00::NUMBER."""
    labels = {"app": name, "projectcalico.org/namespace": namespace, "projectcalico.org/orchestrator": "k8s"}
    fields: dict[str, Any] = {
        "interface": f"cali{number}",
        "ipv4_nets": (f"10.0.0.{number}/32",),
        "ipv6_nets": (f"fd00::{number}/128",),
        "profiles": (f"kns.{namespace}",),
        **more,
    }
    fields["labels"] = labels | more.get("labels", {})
    return WorkloadEndpointKey(node, "k8s", f"{namespace}/{name}", "eth0"), WorkloadEndpoint(**fields)


def namespace(name: str = "red", **labels: str) -> Item:
    values = {f"pcns.{key}": value for key, value in {"projectcalico.org/name": name, **labels}.items()}
    return ProfileKey(f"kns.{name}"), Profile(ingress=(ALLOW,), egress=(ALLOW,), labels=values)


def node(name: str, number: int) -> Item:
    """A node at 172.30.0.NUMBER."""
    return NodeKey(name), Node(
        ipv4=f"172.30.0.{number}",
        ipv4_cidr=f"172.30.0.{number}/24",
        ipv6=f"fd00:30::{number}",
        ipv6_cidr=f"fd00:30::{number}/64",
        vxlan_tunnel_ipv4=f"10.9.0.{number}",
    )


def tier(name: str, order: float | None = None, default: Any = "deny") -> Item:
    return TierKey(name), Tier(order, default)


def policy(name: str, *, kind: str = "GlobalNetworkPolicy", space: str = "", **fields: Any) -> Item:
    """A policy; ingress and egress imply their types unless applies_* say otherwise."""
    fields.setdefault("applies_ingress", "ingress" in fields)
    fields.setdefault("applies_egress", "egress" in fields)
    return PolicyKey(kind, space, name), Policy(**fields)


def host_endpoint(name: str, *, node: str = "n1", interface: str = "eth0", **fields: Any) -> Item:
    return HostEndpointKey(node, name), HostEndpoint(interface=interface, **fields)


def pool(**fields: Any) -> Item:
    return IPPoolKey("pods"), IPPool("10.0.0.0/16", **fields)


def rule(action: Any = "allow", **fields: Any) -> Rule:
    """src and dst as dictionaries."""
    for side in ("src", "dst"):
        if side in fields:
            fields[side] = EntityMatch(**fields[side])
    return Rule(action=action, **fields)


def ports(*numbers: int) -> tuple[PortRange, ...]:
    return tuple(PortRange(number, number) for number in numbers)


def port(name: str, number: int, protocol: int = TCP) -> NamedPort:
    return NamedPort(name, protocol, number)


def world(*items: Item) -> World:
    """Two nodes, namespaces red and blue, a default tier, and what is given."""
    base = [node("n1", 11), node("n2", 12), namespace("red", team="one"), namespace("blue"), tier("default", 1e6)]
    return World(Update(key, value) for key, value in {**dict(base), **dict(items)}.items())


def packet(source: str, target: str, dst_port: int | None = 80, **fields: Any) -> Packet:
    """A TCP packet unless said otherwise."""
    fields.setdefault("protocol", TCP)
    has_ports = fields["protocol"] in (TCP, UDP, 132)
    fields.setdefault("src_port", 40000 if has_ports else None)
    return Packet(src_ip=source, dst_ip=target, dst_port=dst_port if has_ports else None, **fields)


def ask(made: World, source: str, target: str, dst_port: int | None = 80, **fields: Any) -> Verdict:
    settings = fields.pop("settings", Settings())
    return evaluate(made, packet(source, target, dst_port, **fields), settings)


def allowed(made: World, source: str, target: str, dst_port: int | None = 80, **fields: Any) -> bool:
    return ask(made, source, target, dst_port, **fields).allowed
