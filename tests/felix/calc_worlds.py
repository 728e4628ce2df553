"""A calculation with a few words for feeding it, and a dictionary dataplane that follows it."""

from typing import Any

from message_state import MessageState

from tortie.felix.calc import Calculation
from tortie.felix.messages import HostEndpointUpdate, Message, WorkloadEndpointUpdate
from tortie.model.dataplane import (
    EntityMatch,
    HostEndpoint,
    HostEndpointKey,
    Key,
    NetworkSet,
    NetworkSetKey,
    Policy,
    PolicyKey,
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

NODE, OTHER = "node-a", "node-b"
Item = tuple[Key, Value | None]
ALLOW_ALL = Profile(ingress=(Rule(action="allow"),), egress=(Rule(action="allow"),))


class Run:
    """A calculation that is in sync with nothing at first; `give` returns the messages of one flush."""

    def __init__(self, *items: Item, **options: Any) -> None:
        self.calculation = Calculation(NODE, **options)
        self.state = MessageState()
        self.calculation.update(Update(key, value) for key, value in items)
        self.calculation.in_sync()
        self.first = self.flush()

    def flush(self) -> list[Message]:
        messages = self.calculation.flush()
        self.state.apply(messages)
        return messages

    def give(self, *items: Item) -> list[Message]:
        self.calculation.update(Update(key, value) for key, value in items)
        return self.flush()

    def members(self) -> list[set[Any]]:
        """The members of every set."""
        return [set(members) for _, members in self.state.sets.values()]

    def workload(self, name: str = "a") -> WorkloadEndpointUpdate:
        found = self.state.endpoints[pod_key(name)]
        assert isinstance(found, WorkloadEndpointUpdate)
        return found

    def host(self, name: str = "hep") -> HostEndpointUpdate:
        found = self.state.endpoints[HostEndpointKey(NODE, name)]
        assert isinstance(found, HostEndpointUpdate)
        return found

    def order(self, name: str = "a") -> list[tuple[str, list[str], list[str]]]:
        """Tier, ingress and egress policies of a pod."""
        return [
            (tier.name, [key.name for key in tier.ingress], [key.name for key in tier.egress])
            for tier in self.workload(name).tiers
        ]


def pod_key(name: str, node: str = NODE) -> WorkloadEndpointKey:
    return WorkloadEndpointKey(node, "k8s", f"red/{name}", "eth0")


def pod(name: str = "a", number: int = 1, *, node: str = NODE, **fields: Any) -> Item:
    """A pod at 10.0.0.NUMBER in namespace red, label app=NAME."""
    labels = {"app": name, "projectcalico.org/namespace": "red"} | fields.pop("labels", {})
    values: dict[str, Any] = {
        "interface": f"cali{name}",
        "ipv4_nets": (f"10.0.0.{number}/32",),
        "profiles": ("kns.red",),
        **fields,
    }
    return pod_key(name, node), WorkloadEndpoint(labels=labels, **values)


def profile(name: str = "kns.red", **labels: str) -> Item:
    return ProfileKey(name), Profile(ingress=ALLOW_ALL.ingress, egress=ALLOW_ALL.egress, labels=labels)


def host(name: str = "hep", node: str = NODE, **fields: Any) -> Item:
    return HostEndpointKey(node, name), HostEndpoint(interface="eth0", **fields)


def policy_key(name: str) -> PolicyKey:
    return PolicyKey("GlobalNetworkPolicy", "", name)


def policy(name: str = "p", **fields: Any) -> Item:
    return policy_key(name), Policy(**fields)


def network_set(*nets: str, name: str = "s", **labels: str) -> Item:
    return NetworkSetKey("", name), NetworkSet(nets=nets, labels=labels)


def tier(name: str, order: float | None, default: Any = "deny") -> Item:
    return TierKey(name), Tier(order, default)


def rule(action: Any = "allow", **fields: Any) -> Rule:
    """src and dst as dictionaries."""
    for side in ("src", "dst"):
        if side in fields:
            fields[side] = EntityMatch(**fields[side])
    return Rule(action=action, **fields)


def from_selector(text: str, **fields: Any) -> Rule:
    return rule(src={"selector": text, **fields})
