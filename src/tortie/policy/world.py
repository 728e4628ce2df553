"""A policy world: everything that verdicts depend on, held as the dataplane's keys and values.

In: updates, from a syncer, from files, or from a test. Out, to the engine: labels with inheritance, who holds an
address, which policies select an endpoint and in which order. Written for clearness, not to be incremental: answers
are worked out when asked and forgotten at the next update. It shares nothing but the selector language with Felix's
calculation, so that the two can be tested against each other.
"""

import ipaddress
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, TypeAlias, TypeVar

from tortie.model import selector
from tortie.model.dataplane import (
    EndpointKey,
    EndpointSlice,
    HostEndpoint,
    Key,
    NamedPort,
    NetworkSet,
    Node,
    Policy,
    PolicyKey,
    Profile,
    ProfileKey,
    ServiceKey,
    Tier,
    TierKey,
    Update,
    Value,
    WorkloadEndpoint,
)

V = TypeVar("V")
Labelled: TypeAlias = WorkloadEndpoint | HostEndpoint | NetworkSet
Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


class TierPolicies(NamedTuple):
    """The policies of one tier that select an endpoint, in order; default_action holds at its end."""

    name: str
    default_action: str
    policies: tuple[tuple[PolicyKey, Policy], ...]


class World:
    """A mapping of keys to values, with the questions that evaluation asks.

    source_spoofing: WorkloadSourceSpoofing is Any; otherwise endpoints with allowed source prefixes do not count.
    """

    def __init__(self, updates: Iterable[Update] = (), *, source_spoofing: bool = False) -> None:
        self._values: dict[Key, Value] = {}
        self._source_spoofing = source_spoofing
        self._holders: tuple[dict[Address, list[Labelled]], list[tuple[Network, Labelled]]] | None = None
        self._selecting: dict[EndpointKey, list[TierPolicies]] = {}
        self.apply(updates)

    # --- contents ------------------------------------------------------------------------------------------------

    def apply(self, updates: Iterable[Update]) -> None:
        """Takes updates over; a value of None removes its key."""
        for update in updates:
            if update.value is None:
                self._values.pop(update.key, None)
            else:
                self._values[update.key] = update.value
        self._holders = None
        self._selecting.clear()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Key) -> Value | None:
        """The value of a key, None if absent."""
        return self._values.get(key)

    def of(self, kind: type[V]) -> Iterator[tuple[Key, V]]:
        """All keys whose value is of one type, with their values."""
        for key, value in self._values.items():
            if isinstance(value, kind):
                yield key, value

    def workload(self, key: Key) -> WorkloadEndpoint | None:
        """A workload endpoint that can be enforced: one with an interface and without forbidden source prefixes."""
        value = self._values.get(key)
        return value if isinstance(value, WorkloadEndpoint) and self._usable(value) else None

    def _usable(self, value: Labelled) -> bool:
        if not isinstance(value, WorkloadEndpoint):
            return True
        return bool(value.interface) and (self._source_spoofing or not value.allowed_source_prefixes)

    # --- labels and addresses ------------------------------------------------------------------------------------

    def labels(self, value: Labelled) -> Mapping[str, str]:
        """Labels with inheritance: the object's own, then those of its profiles, the first that has a key wins."""
        result = dict(value.labels)
        for name in value.profiles:
            profile = self._values.get(ProfileKey(name))
            if isinstance(profile, Profile):
                for key, text in profile.labels.items():
                    result.setdefault(key, text)
        return result

    def holders(self, address: str) -> list[Labelled]:
        """The endpoints that have an address and the network sets that contain it."""
        if self._holders is None:
            self._holders = self._index_addresses()
        exact, nets = self._holders
        wanted = ipaddress.ip_address(address)
        return exact.get(wanted, []) + [value for net, value in nets if wanted in net]

    def matches(self, address: str, wanted: str, unwanted: str = "") -> bool:
        """Whether some holder of an address matches one selector and not the other ("": no such selector)."""
        positive = selector.parse(wanted or "all()")
        negative = selector.parse(unwanted) if unwanted else None
        for value in self.holders(address):
            labels = self.labels(value)
            if positive.matches(labels) and not (negative is not None and negative.matches(labels)):
                return True
        return False

    def named_ports(self, address: str, wanted: str, unwanted: str = "") -> Iterator[NamedPort]:
        """The named ports of the endpoints that have an address and match the selectors, as in `matches`."""
        positive = selector.parse(wanted or "all()")
        negative = selector.parse(unwanted) if unwanted else None
        for value in self.holders(address):
            labels = self.labels(value)
            if (
                not isinstance(value, NetworkSet)
                and positive.matches(labels)
                and not (negative is not None and negative.matches(labels))
            ):
                yield from value.ports

    def service_endpoints(self, service: ServiceKey) -> Iterator[EndpointSlice]:
        """The endpoint slices of a service."""
        for _, value in self.of(EndpointSlice):
            if value.service == service:
                yield value

    def node_of(self, address: str) -> str:
        """The name of the node that has an address as its own, tunnel addresses included; "" if none has."""
        names = [
            str(getattr(key, "name", ""))
            for key, node in self.of(Node)
            if address in (node.ipv4, node.ipv6, node.vxlan_tunnel_ipv4, node.vxlan_tunnel_ipv6, node.ipip_tunnel_ipv4)
        ]
        return min(names, default="")

    def _index_addresses(self) -> tuple[dict[Address, list[Labelled]], list[tuple[Network, Labelled]]]:
        exact: dict[Address, list[Labelled]] = {}
        nets: list[tuple[Network, Labelled]] = []
        for value in self._values.values():
            if isinstance(value, NetworkSet):
                texts: Iterable[str] = value.nets
            elif isinstance(value, HostEndpoint):
                texts = value.expected_ips
            elif isinstance(value, WorkloadEndpoint) and self._usable(value):
                texts = (*value.ipv4_nets, *value.ipv6_nets)
            else:
                continue
            for text in texts:
                net = ipaddress.ip_network(text, strict=False)
                if net.prefixlen == net.max_prefixlen:
                    exact.setdefault(net.network_address, []).append(value)
                else:
                    nets.append((net, value))
        return exact, nets

    # --- policies ------------------------------------------------------------------------------------------------

    def tiers_selecting(self, endpoint: EndpointKey) -> list[TierPolicies]:
        """The enforced policies that select an endpoint, by tier, in the order of evaluation (felix.md 2.1)."""
        found = self._selecting.get(endpoint)
        if found is None:
            found = self._selecting[endpoint] = list(self._tiers_selecting(endpoint))
        return found

    def _tiers_selecting(self, endpoint: EndpointKey) -> Iterator[TierPolicies]:
        value = self._values.get(endpoint)
        if not isinstance(value, WorkloadEndpoint | HostEndpoint):
            return
        labels = self.labels(value)
        by_tier: dict[str, list[tuple[PolicyKey, Policy]]] = {}
        for key, policy in self.of(Policy):
            if policy.staged is None and _selects(policy, labels):
                assert isinstance(key, PolicyKey)
                by_tier.setdefault(policy.tier, []).append((key, policy))
        for name in sorted(by_tier, key=self._tier_rank):
            tier = self._values.get(TierKey(name))
            default = tier.default_action if isinstance(tier, Tier) else "deny"
            yield TierPolicies(name, default, tuple(sorted(by_tier[name], key=_policy_rank)))

    def _tier_rank(self, name: str) -> tuple[bool, float, str]:
        tier = self._values.get(TierKey(name))
        if not isinstance(tier, Tier):
            return (True, math.inf, name)
        return (False, math.inf if tier.order is None else tier.order, name)


def _selects(policy: Policy, labels: Mapping[str, str]) -> bool:
    """An invalid policy counts as absent (felix.md 1.2)."""
    try:
        return selector.parse(policy.selector).matches(labels) and rules_valid(policy)
    except selector.SelectorError:
        return False


def rules_valid(value: Policy | Profile) -> bool:
    """Whether every selector in the rules of a policy or profile parses."""
    try:
        for rule in (*value.ingress, *value.egress):
            for text in (rule.src.selector, rule.src.not_selector, rule.dst.selector, rule.dst.not_selector):
                selector.parse(text)
    except selector.SelectorError:
        return False
    return True


def _policy_rank(item: tuple[PolicyKey, Policy]) -> tuple[float, bytes]:
    key, policy = item
    order = math.inf if policy.order is None else policy.order
    return (order, f"{key.name}/{key.namespace}/{key.kind}".encode())
