"""Random small clusters full of policy, and packets to judge in them (hypothesis strategies).

For the differential tests: engine against calculation (test_calc_against_engine) and engine against the kernel. Every
name, label, port and address comes from a tiny alphabet, so that rules often match and order often matters. A failing
case shrinks, and its repr reads like a policy listing.
"""

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tortie.model.dataplane import (
    EndpointKey,
    EndpointSlice,
    EndpointSliceKey,
    EntityMatch,
    HostEndpoint,
    HostEndpointKey,
    HTTPMatch,
    Icmp,
    NamedPort,
    NetworkSet,
    NetworkSetKey,
    Policy,
    PolicyKey,
    PortRange,
    Profile,
    ProfileKey,
    Rule,
    ServiceKey,
    Tier,
    TierKey,
    Update,
    Value,
    WorkloadEndpoint,
    WorkloadEndpointKey,
)
from tortie.policy.packet import Packet
from tortie.policy.text import endpoint_text, protocol_text, rule_text

NODE = "node-a"
OTHER_NODE = "node-b"
NAMESPACES = ("red", "blue")
TIERS = ("first", "second", "default", "missing")
SERVICE = ServiceKey("red", "shop")
OUTSIDE_V4 = ("203.0.113.7", "198.51.100.9")
OUTSIDE_V6 = ("2001:db8::7", "2001:db8:1::9")
PORTS = (80, 443, 8080)
PORT_NAMES = ("http", "dns")
PORT_PROTOCOLS = (6, 17, 132)
ICMP_TYPES = (0, 8, 3)
ICMP_CODES = (0, 1)
NETS_V4 = ("10.0.0.0/24", "10.0.1.0/24", "10.0.0.2/32", "203.0.113.0/24", "0.0.0.0/0", "10.0.0.0/8")
NETS_V6 = ("fd00::/64", "fd00:0:0:1::/64", "fd00::2/128", "2001:db8::/64", "::/0", "fd00::/16")
SELECTORS = (
    "all()",
    "role == 'a'",
    "role != 'a'",
    "role in {'a', 'b'}",
    "role not in {'b'}",
    "has(env)",
    "!has(env)",
    "role == 'a' || env == 'x'",
    "role == 'b' && env == 'x'",
    "env starts with 'x'",
    "pcns.team == 'one'",
    "pcns.projectcalico.org/name in {'red'}",
    "has(projectcalico.org/namespace)",
    "!has(projectcalico.org/namespace)",
    "projectcalico.org/namespace == 'red'",
    "(role == 'c') && projectcalico.org/namespace == 'blue'",
)


@dataclass(frozen=True)
class Case:
    """A cluster and packets. updates: one for each object, in no particular order."""

    updates: tuple[Update, ...]
    packets: tuple[Packet, ...]
    node: str = NODE

    def values(self, kind: type[Value]) -> list[tuple[Any, Any]]:
        """The keys and values of one type."""
        return [(update.key, update.value) for update in self.updates if isinstance(update.value, kind)]

    def local_endpoints(self) -> list[EndpointKey]:
        """The endpoints of the case's node."""
        keys = [key for kind in (WorkloadEndpoint, HostEndpoint) for key, _ in self.values(kind)]
        return sorted((key for key in keys if key.node == self.node), key=str)

    def __repr__(self) -> str:
        return "\n" + "\n".join(self._lines())

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """How hypothesis prints a failing case."""
        printer.text(repr(self))

    def _lines(self) -> list[str]:
        lines: list[str] = []
        for key, tier in self.values(Tier):
            lines.append(f"tier {key.name}: order {tier.order}, default {tier.default_action}")
        for key, policy in sorted(self.values(Policy), key=lambda item: (item[1].tier, str(item[0]))):
            flags = [name for name in ("do_not_track", "pre_dnat", "apply_on_forward") if getattr(policy, name)]
            if policy.staged is not None:
                flags.append(f"staged {policy.staged}")
            types = [name for name in ("ingress", "egress") if getattr(policy, f"applies_{name}")]
            lines.append(
                f"{key} in tier {policy.tier}, order {policy.order}, {'+'.join(types) or 'no types'} "
                f"on {policy.selector} {' '.join(flags)}"
            )
            lines += _rule_lines(policy)
        for key, profile in self.values(Profile):
            lines.append(f"profile {key.name} labels {profile.labels}")
            lines += _rule_lines(profile)
        for key, workload in self.values(WorkloadEndpoint):
            ports = ", ".join(f"{port.name}={protocol_text(port.protocol)}/{port.port}" for port in workload.ports)
            addresses = ", ".join((*workload.ipv4_nets, *workload.ipv6_nets))
            lines.append(
                f"pod {endpoint_text(key)} on {key.node} [{addresses}] labels {workload.labels} ports {ports} "
                f"profiles {', '.join(workload.profiles)}{'' if workload.active else ' DOWN'}"
            )
        for key, host in self.values(HostEndpoint):
            lines.append(
                f"{endpoint_text(key)} interface {host.interface!r} [{', '.join(host.expected_ips)}] "
                f"labels {host.labels} profiles {', '.join(host.profiles)}"
            )
        for key, network_set in self.values(NetworkSet):
            lines.append(f"set {key.namespace}/{key.name} [{', '.join(network_set.nets)}] labels {network_set.labels}")
        for key, endpoint_slice in self.values(EndpointSlice):
            lines.append(f"slice {key.name} of {endpoint_slice.service.name}: {endpoint_slice}")
        for packet in self.packets:
            lines.append(f"packet {packet_text(packet)}")
        return lines


def packet_text(packet: Packet) -> str:
    """A packet in one line."""
    text = f"{protocol_text(packet.protocol)} {packet.src_ip}:{packet.src_port} -> {packet.dst_ip}:{packet.dst_port}"
    if packet.icmp_type is not None:
        text += f" type {packet.icmp_type} code {packet.icmp_code}"
    return text


def _rule_lines(owner: Policy | Profile) -> list[str]:
    return [
        f"    {direction} {index}: {rule_text(rule)}"
        for direction, rules in (("ingress", owner.ingress), ("egress", owner.egress))
        for index, rule in enumerate(rules)
    ]


# --- pieces ------------------------------------------------------------------------------------------------------

selectors = st.sampled_from(SELECTORS)
maybe = st.sampled_from((False, False, False, True))
"""True one time in four; shrinks to False."""

_SIDE_FEATURES = (
    "nets",
    "not_nets",
    "selector",
    "selector",
    "not_selector",
    "ports",
    "not_ports",
    "named_ports",
    "not_named_ports",
    "service",
)
_RULE_FEATURES = (
    *("protocol", "protocol", "not_protocol", "ip_version", "icmp", "not_icmp", "http"),
    *(f"src.{name}" for name in _SIDE_FEATURES),
    *(f"dst.{name}" for name in _SIDE_FEATURES),
)


def some(values: tuple[Any, ...], most: int = 2) -> st.SearchStrategy[tuple[Any, ...]]:
    """One to `most` different values of a tuple."""
    return st.lists(st.sampled_from(values), min_size=1, max_size=most, unique=True).map(tuple)


_port_ranges = some((*(PortRange(port, port) for port in PORTS), PortRange(70, 90), PortRange(1, 65535)))
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "selector": selectors,
    "not_selector": selectors,
    "ports": _port_ranges,
    "not_ports": _port_ranges,
    "named_ports": some(PORT_NAMES),
    "not_named_ports": some(PORT_NAMES),
    "icmp": st.builds(Icmp, st.sampled_from(ICMP_TYPES), st.sampled_from((None, *ICMP_CODES))),
    "nets4": some(NETS_V4, 3),
    "nets6": some(NETS_V6, 3),
    "not_nets4": some(tuple(net for net in NETS_V4 if net != "0.0.0.0/0")),
    "not_nets6": some(tuple(net for net in NETS_V6 if net != "::/0")),
}


@st.composite
def rules(draw: st.DrawFn, *, ingress: bool) -> Rule:
    """A rule that admission would accept: a few match fields, and what those need."""
    action = draw(st.sampled_from(("allow", "deny", "pass", "log", "allow", "deny")))
    features = set(draw(_feature_sets))
    fields: dict[str, Any] = {"action": action}
    version: int | None = None
    if {"icmp", "not_icmp"} & features:
        fields["protocol"] = draw(st.sampled_from((1, 58)))
    elif {"src.ports", "src.not_ports", "dst.ports", "dst.not_ports"} & features:
        fields["protocol"] = draw(st.sampled_from(PORT_PROTOCOLS))
    elif "protocol" in features:
        fields["protocol"] = draw(st.sampled_from((*PORT_PROTOCOLS, 1, 58, 47)))
    protocol = fields.get("protocol")
    if protocol in (1, 58):
        version = fields["ip_version"] = 4 if protocol == 1 else 6
        fields |= {name: draw(_VALUES["icmp"]) for name in ("icmp", "not_icmp") if name in features}
    elif "ip_version" in features:
        version = fields["ip_version"] = draw(st.sampled_from((4, 6)))
    if "not_protocol" in features:
        fields["not_protocol"] = draw(st.sampled_from((*PORT_PROTOCOLS, 47)))
    takes_names = protocol is None or protocol in PORT_PROTOCOLS
    for name in ("src", "dst"):
        wanted = [feature.partition(".")[2] for feature in sorted(features) if feature.startswith(name)]
        side: dict[str, Any] = {}
        for feature in wanted:
            if feature == "service":
                if (name == "src") == ingress and wanted == ["service"]:
                    side["service"] = SERVICE
            elif feature in ("nets", "not_nets"):
                version = version or draw(st.sampled_from((4, 6)))
                side[feature] = draw(_VALUES[f"{feature}{version}"])
            elif not feature.endswith("named_ports") or takes_names:
                side[feature] = draw(_VALUES[feature])
        fields[name] = EntityMatch(**side)
    if "http" in features and action == "allow" and ingress and protocol in (None, 6):
        fields["http"] = HTTPMatch(methods=("GET",))
    return Rule(**fields)


_feature_sets = st.lists(st.sampled_from(_RULE_FEATURES), max_size=3)


@st.composite
def rule_lists(draw: st.DrawFn, *, ingress: bool) -> tuple[Rule, ...]:
    return tuple(draw(rules(ingress=ingress)) for _ in range(draw(st.sampled_from((0, 1, 1, 2, 3)))))


orders = st.sampled_from((None, 0.0, 1.0, 1.5, 1000.0, -5.0))
_directions = st.sampled_from(((True, True), (True, False), (False, True), (False, False)))


@st.composite
def policies(draw: st.DrawFn, *, host_lists: bool) -> tuple[PolicyKey, Policy]:
    kind = draw(st.sampled_from(("NetworkPolicy", "GlobalNetworkPolicy", "KubernetesNetworkPolicy")))
    fields: dict[str, Any] = {}
    if kind == "GlobalNetworkPolicy":
        namespace = ""
        selector = draw(selectors)
        if host_lists and draw(maybe):
            flag = draw(st.sampled_from(("apply_on_forward", "do_not_track", "pre_dnat")))
            fields |= {"apply_on_forward": True, flag: True}
    else:
        namespace = draw(st.sampled_from(NAMESPACES))
        own = draw(st.sampled_from(("", "", "role == 'a'", "has(env)", "role != 'b'")))
        scope = f"projectcalico.org/namespace == '{namespace}'"
        selector = f"({own}) && {scope}" if own else scope
    if draw(st.integers(0, 15)) == 15:
        kind = f"Staged{kind}"
        fields["staged"] = "Set"
    directions = (True, False) if fields.get("pre_dnat") else draw(_directions)
    policy = Policy(
        tier=draw(st.sampled_from(TIERS)),
        order=draw(orders),
        selector=selector,
        applies_ingress=directions[0],
        applies_egress=directions[1],
        ingress=draw(rule_lists(ingress=True)),
        egress=() if fields.get("pre_dnat") else draw(rule_lists(ingress=False)),
        **fields,
    )
    return PolicyKey(kind, namespace, draw(st.sampled_from(("p", "p-1", "p.1", "q", "z")))), policy


label_sets = st.fixed_dictionaries(
    {}, optional={"role": st.sampled_from(("a", "b", "c")), "env": st.sampled_from(("x", "xy", ""))}
)
named_ports = st.lists(
    st.builds(NamedPort, st.sampled_from(PORT_NAMES), st.sampled_from((6, 6, *PORT_PROTOCOLS)), st.sampled_from(PORTS)),
    max_size=3,
    unique=True,
).map(tuple)


@st.composite
def workloads(draw: st.DrawFn, number: int, *, all_local: bool) -> tuple[WorkloadEndpointKey, WorkloadEndpoint]:
    """Pod `number` of the case; pods 0 and 1 are always local. Its addresses end in number + 2."""
    namespace = draw(st.sampled_from(NAMESPACES))
    node = NODE if all_local or number < 2 else draw(st.sampled_from((NODE, OTHER_NODE)))
    subnet = 0 if node == NODE else 1
    profiles = [f"kns.{namespace}"]
    if draw(maybe):
        profiles.append(draw(st.sampled_from(("extra", "gone"))))
    # Two endpoints may have one address for a moment, but then they are on different nodes.
    host = 2 if number == 2 and node == OTHER_NODE and draw(maybe) else number + 2
    if number == 2 and node == OTHER_NODE and host == 2:
        subnet = 0
    return WorkloadEndpointKey(node, "k8s", f"{namespace}/pod-{number}", "eth0"), WorkloadEndpoint(
        interface=f"calipod{number}",
        ipv4_nets=(f"10.0.{subnet}.{host}/32",),
        ipv6_nets=(f"fd00:0:0:{subnet}::{host:x}/128" if subnet else f"fd00::{host:x}/128",),
        profiles=tuple(profiles),
        labels={
            **draw(label_sets),
            "projectcalico.org/namespace": namespace,
            "projectcalico.org/orchestrator": "k8s",
        },
        ports=draw(named_ports),
        active=draw(st.integers(0, 31)) != 31,
    )


@st.composite
def host_endpoints(draw: st.DrawFn, number: int) -> tuple[HostEndpointKey, HostEndpoint]:
    node = draw(st.sampled_from((NODE, OTHER_NODE)))
    expected = draw(st.sampled_from(((), ("172.30.0.11",), ("172.30.0.11", "fd00:30::11"))))
    return HostEndpointKey(node, f"hep-{number}"), HostEndpoint(
        interface=draw(st.sampled_from(("*", "eth0", ""))),
        expected_ips=expected,
        profiles=draw(st.sampled_from(((), ("extra",)))),
        labels=draw(label_sets),
        ports=draw(named_ports),
    )


@st.composite
def profiles(draw: st.DrawFn) -> list[tuple[ProfileKey, Profile]]:
    """kns.red and kns.blue, mostly allowing all as the real ones do; `extra`; `gone` never exists."""
    allow = (Rule(action="allow"),)
    found = []
    for namespace in NAMESPACES:
        unusual = draw(maybe) and draw(st.booleans())
        labels = {"pcns.projectcalico.org/name": namespace, "pcns.team": draw(st.sampled_from(("one", "two")))}
        inherited = draw(st.sampled_from(("", "", "x", "inherited")))
        if inherited:
            labels["env"] = inherited
        found.append(
            (
                ProfileKey(f"kns.{namespace}"),
                Profile(
                    ingress=draw(rule_lists(ingress=True)) if unusual else allow,
                    egress=draw(rule_lists(ingress=False)) if unusual else allow,
                    labels=labels,
                ),
            )
        )
    if draw(st.booleans()):
        extra = Profile(ingress=draw(rule_lists(ingress=True)), egress=(), labels={"role": "b"})
        found.append((ProfileKey("extra"), extra))
    return found


@st.composite
def network_sets(draw: st.DrawFn, number: int) -> tuple[NetworkSetKey, NetworkSet]:
    namespace = draw(st.sampled_from(("", *NAMESPACES)))
    labels = draw(label_sets)
    if namespace:
        labels = {**labels, "projectcalico.org/namespace": namespace}
    return NetworkSetKey(namespace, f"set-{number}"), NetworkSet(
        nets=draw(some((*NETS_V4, *NETS_V6), 4)),
        labels=labels,
        profiles=(f"kns.{namespace}",) if namespace else (),
    )


@st.composite
def slices(draw: st.DrawFn, addresses: tuple[str, ...]) -> tuple[EndpointSliceKey, EndpointSlice]:
    ports = st.tuples(st.sampled_from(PORT_NAMES), st.sampled_from((6, 17)), st.sampled_from(PORTS))
    return EndpointSliceKey("red", draw(st.sampled_from(("shop-1", "shop-2")))), EndpointSlice(
        service=SERVICE,
        addresses=draw(some(addresses, 3)),
        ports=tuple(draw(st.lists(ports, max_size=2, unique=True))),
    )


@st.composite
def packets(draw: st.DrawFn, pods: tuple[tuple[WorkloadEndpointKey, WorkloadEndpoint], ...]) -> Packet:
    """A packet that has a local pod at one end at least."""
    version = draw(st.sampled_from((4, 6)))

    def address(value: WorkloadEndpoint) -> str:
        return (value.ipv4_nets if version == 4 else value.ipv6_nets)[0].partition("/")[0]

    local = [item for item in pods if item[0].node == NODE]
    key, value = draw(st.sampled_from(local))
    peers: list[tuple[WorkloadEndpointKey | None, str]] = [
        (peer_key, address(peer)) for peer_key, peer in pods if peer_key != key and address(peer) != address(value)
    ]
    peers += [(None, outside) for outside in (OUTSIDE_V4 if version == 4 else OUTSIDE_V6)]
    peer_key, peer_address = draw(st.sampled_from(peers))
    ends = ((key, address(value)), (peer_key, peer_address))
    if draw(st.booleans()):
        ends = (ends[1], ends[0])
    (src, src_ip), (dst, dst_ip) = ends
    protocol = draw(st.sampled_from((6, 6, 6, *PORT_PROTOCOLS, 1 if version == 4 else 58)))
    fields: dict[str, Any] = {}
    if protocol in PORT_PROTOCOLS:
        fields["src_port"] = draw(st.sampled_from((33333, *PORTS)))
        fields["dst_port"] = draw(st.sampled_from(PORTS))
    else:
        fields["icmp_type"] = draw(st.sampled_from(ICMP_TYPES))
        fields["icmp_code"] = draw(st.sampled_from(ICMP_CODES))
    return Packet(src_ip=src_ip, dst_ip=dst_ip, protocol=protocol, src=src, dst=dst, **fields)


@st.composite
def cases(
    draw: st.DrawFn,
    *,
    pods: int = 4,
    most_packets: int = 8,
    all_local: bool = False,
    host_lists: bool = True,
) -> Case:
    """A whole case. all_local: every pod is on the case's node. host_lists: with host endpoints, and policies with
    their flags."""
    chosen = tuple(draw(workloads(number, all_local=all_local)) for number in range(draw(st.integers(2, pods))))
    objects: dict[Any, Any] = dict(chosen)
    objects.update(draw(profiles()))
    for number in range(draw(st.integers(0, 2))):
        objects.update([draw(network_sets(number))])
    if host_lists:
        for number in range(draw(st.integers(0, 2))):
            objects.update([draw(host_endpoints(number))])
    addresses = tuple(net.partition("/")[0] for _, value in chosen for net in (*value.ipv4_nets, *value.ipv6_nets))
    if draw(st.booleans()):
        objects.update([draw(slices((*addresses, OUTSIDE_V4[0])))])
    for name in TIERS[:3]:
        if draw(st.booleans()):
            objects[TierKey(name)] = Tier(draw(orders), draw(st.sampled_from(("deny", "pass"))))
    for _ in range(draw(st.sampled_from((0, 1, 2, 3, 3, 4, 4, 5, 5, 6)))):
        objects.update([draw(policies(host_lists=host_lists))])
    return Case(
        updates=tuple(Update(key=key, value=value) for key, value in objects.items()),
        packets=tuple(draw(packets(chosen)) for _ in range(draw(st.integers(1, most_packets)))),
    )
