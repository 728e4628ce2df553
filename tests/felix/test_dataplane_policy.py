"""Policy on pods, judged by real packets: every rule field, tiers, Pass, profiles, fixed rules, NAT.

Random combinations of the same are in test_differential_kernel.py; host endpoints in test_dataplane_hosts.py.
"""

import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from dataplane_world import (
    ALLOW_ALL,
    EMPTY_PROFILE,
    Host,
    Node,
    Pod,
    World,
    policy,
    rule,
    run,
    tier,
    tool,
    until,
    world,
)

from tortie.felix.dataplane import DataplaneConfig
from tortie.felix.messages import (
    CompiledRule,
    Encapsulation,
    IPPort,
    IPSetUpdate,
    PoolUpdate,
    ProfileUpdate,
    RuleSide,
    ServiceCIDRs,
)
from tortie.model.dataplane import Icmp, IPPool, PortRange

pytestmark = pytest.mark.netns
TCP, UDP, ICMP, ICMP6, SCTP = 6, 17, 1, 58, 132


def ports(*spans: int | tuple[int, int]) -> tuple[PortRange, ...]:
    return tuple(PortRange(span, span) if isinstance(span, int) else PortRange(*span) for span in spans)


class Scene:
    """A client and a server pod on one node; both families, TCP 80 and 81, UDP 53 and 54."""

    def __init__(self, made: World) -> None:
        self.world = made
        self.node: Node = made.node()
        self.client: Pod = made.pod(self.node, "client")
        self.server: Pod = made.pod(self.node, "server")
        self.server.listen(80, 81)
        self.server.listen(53, 54, kind=socket.SOCK_DGRAM)
        self.node.start()
        client = self.client
        self.node.begin(
            ALLOW_ALL,
            IPSetUpdate("s:client", "net", frozenset({f"{client.ip}/32", f"{client.ip6}/128"})),
            IPSetUpdate("s:others", "net", frozenset({"10.0.0.0/16", "fd99::/64"})),
            IPSetUpdate("s:empty", "net", frozenset()),
            IPSetUpdate(
                "n:http", "ip-port", frozenset({IPPort(self.server.ip, TCP, 80), IPPort(self.server.ip6, TCP, 80)})
            ),
            IPSetUpdate(
                "n:source", "ip-port", frozenset({IPPort(client.ip, TCP, 7777), IPPort(client.ip6, TCP, 7777)})
            ),
            client.endpoint(),
            self.server.endpoint(),
        )

    def ingress(self, *rules: CompiledRule) -> None:
        self.node.send(policy("p", ingress=rules), self.server.endpoint(tier(ingress=["p"])))

    def open(self) -> set[str]:
        """What gets through, such as tcp80/4."""
        # A port that an earlier probe used would count as established.
        tool(self.node.fd, "conntrack", "-F")
        probes = {}
        with ThreadPoolExecutor(10) as pool:
            for family, ip in (("4", self.server.ip), ("6", self.server.ip6)):
                for port in (80, 81):
                    probes[f"tcp{port}/{family}"] = pool.submit(self.client.tcp, ip, port, timeout=0.15)
                for port in (53, 54):
                    probes[f"udp{port}/{family}"] = pool.submit(self.client.udp, ip, port, timeout=0.15)
                probes[f"ping/{family}"] = pool.submit(self.client.ping, ip, timeout=0.15)
            return {name for name, probe in probes.items() if probe.result()}


EVERYTHING = {f"{what}/{family}" for what in ("tcp80", "tcp81", "udp53", "udp54", "ping") for family in "46"}


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with world() as made:
        yield Scene(made)


def only(*wanted: str) -> set[str]:
    return {item for item in EVERYTHING if any(item.startswith(start) for start in wanted)}


def but(*unwanted: str) -> set[str]:
    return EVERYTHING - only(*unwanted)


def dst(**fields: object) -> RuleSide:
    return RuleSide(**fields, has_ports=bool(fields.get("ports") or fields.get("port_set_ids")))  # type: ignore[arg-type]


CASES: list[tuple[str, CompiledRule, set[str]]] = [
    ("an empty match", rule("allow"), EVERYTHING),
    ("IPv4 only", rule("allow", ip_version=4), {item for item in EVERYTHING if item.endswith("4")}),
    ("a protocol", rule("allow", protocol=UDP), only("udp")),
    ("all but a protocol", rule("allow", not_protocol=TCP), but("tcp")),
    ("a port", rule("allow", protocol=TCP, dst=dst(ports=ports(80))), only("tcp80")),
    ("a port range", rule("allow", protocol=TCP, dst=dst(ports=ports((79, 81)))), only("tcp")),
    ("a list of ports", rule("allow", protocol=UDP, dst=dst(ports=ports(5, 54, (60, 70)))), only("udp54")),
    ("all but a port", rule("allow", protocol=TCP, dst=dst(not_ports=ports(80))), only("tcp81")),
    ("all but several ports", rule("allow", protocol=TCP, dst=dst(not_ports=ports(80, (90, 99)))), only("tcp81")),
    ("a named port", rule("allow", protocol=TCP, dst=dst(port_set_ids=("n:http",))), only("tcp80")),
    (
        "a named port or a number",
        rule("allow", protocol=TCP, dst=dst(port_set_ids=("n:http",), ports=ports(81))),
        only("tcp"),
    ),
    ("all but a named port", rule("allow", protocol=TCP, dst=dst(not_port_set_ids=("n:http",))), only("tcp81")),
    ("a named port nobody has", rule("allow", protocol=TCP, dst=RuleSide(has_ports=True)), set()),
    ("a service", rule("allow", dst=dst(service_set_ids=("n:http",))), only("tcp80")),
    ("a selector that matches", rule("allow", src=RuleSide(set_ids=("s:client",))), EVERYTHING),
    ("a selector that does not", rule("allow", src=RuleSide(set_ids=("s:others",))), set()),
    ("two selectors", rule("allow", src=RuleSide(set_ids=("s:client", "s:empty"))), set()),
    ("a negated selector", rule("allow", src=RuleSide(not_set_ids=("s:others",))), EVERYTHING),
    ("a negated selector that hits", rule("allow", src=RuleSide(not_set_ids=("s:client",))), set()),
    ("a negated empty selector", rule("allow", src=RuleSide(not_set_ids=("s:empty",))), EVERYTHING),
    (
        "a net of one family",
        rule("allow", src=RuleSide(nets=("10.65.0.0/16",))),
        {i for i in EVERYTHING if i[-1] == "4"},
    ),
    (
        "nets that overlap",
        rule("allow", src=RuleSide(nets=("10.0.0.0/8", "10.65.0.0/16", "fd65::/64", "192.0.2.0/24"))),
        EVERYTHING,
    ),
    ("every address", rule("allow", src=RuleSide(nets=("0.0.0.0/0", "::/0"))), EVERYTHING),
    (
        "not a net",
        rule("allow", src=RuleSide(not_nets=("10.65.0.0/16", "fd99::/64"))),
        {i for i in EVERYTHING if i[-1] == "6"},
    ),
    ("not every address", rule("allow", src=RuleSide(not_nets=("0.0.0.0/0", "::/0"))), set()),
    ("ICMP echo", rule("allow", ip_version=4, protocol=ICMP, icmp=Icmp(8)), {"ping/4"}),
    ("ICMP echo with its code", rule("allow", protocol=ICMP, icmp=Icmp(8, 0)), {"ping/4"}),
    ("ICMP with another code", rule("allow", protocol=ICMP, icmp=Icmp(8, 1)), set()),
    ("ICMP type 0 is not every type", rule("allow", protocol=ICMP, icmp=Icmp(0)), set()),
    ("not an ICMP type", rule("allow", protocol=ICMP, not_icmp=Icmp(0)), {"ping/4"}),
    ("not a pair of type and code", rule("allow", protocol=ICMP, not_icmp=Icmp(8, 1)), {"ping/4"}),
    ("ICMPv6 echo", rule("allow", ip_version=6, protocol=ICMP6, icmp=Icmp(128)), {"ping/6"}),
    (
        "several fields at once",
        rule(
            "allow", protocol=TCP, src=RuleSide(set_ids=("s:client",), nets=("10.0.0.0/8",)), dst=dst(ports=ports(81))
        ),
        {"tcp81/4"},
    ),
]


@pytest.mark.parametrize(("rules", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_rule_matches_by(scene: Scene, rules: CompiledRule, expected: set[str]) -> None:
    scene.ingress(rules)
    assert scene.open() == expected


def test_a_source_port_matches_by_number_and_by_name(scene: Scene) -> None:
    for side in (RuleSide(ports=ports(7777), has_ports=True), RuleSide(port_set_ids=("n:source",), has_ports=True)):
        scene.ingress(rule("allow", protocol=TCP, src=side))
        for ip in (scene.server.ip, scene.server.ip6):
            assert scene.client.tcp(ip, 80, source_port=7777)
            assert not scene.client.tcp(ip, 80, source_port=7778, timeout=0.06)


def test_rules_are_evaluated_in_order_and_log_does_not_end_it(scene: Scene) -> None:
    scene.ingress(rule("log"), rule("deny", protocol=TCP, dst=dst(ports=ports(80))), rule("allow", protocol=TCP))
    assert scene.open() == only("tcp81")


def test_policies_and_tiers_are_evaluated_in_order(scene: Scene) -> None:
    node, server = scene.node, scene.server
    node.send(
        policy(
            "first-passes-dns",
            ingress=[rule("pass", protocol=UDP), rule("deny", protocol=TCP, dst=dst(ports=ports(81)))],
        ),
        policy("second-allows-tcp", ingress=[rule("allow", protocol=TCP)]),
        policy("never", ingress=[rule("deny")]),
        policy("last-allows-53", ingress=[rule("allow", protocol=UDP, dst=dst(ports=ports(53)))]),
        server.endpoint(
            tier("one", ingress=["first-passes-dns", "second-allows-tcp"]),
            tier("two", ingress=["last-allows-53"]),
        ),
    )
    assert scene.open() == only("tcp80", "udp53")


def test_many_policies_in_a_tier_are_all_reached_until_one_decides(scene: Scene) -> None:
    names = [f"many-{number}" for number in range(13)]
    node, server = scene.node, scene.server
    policies = [policy(name, ingress=[rule("deny", protocol=99)]) for name in names]
    policies[2] = policy(names[2], ingress=[rule("allow", protocol=TCP, dst=dst(ports=ports(80)))])
    policies[7] = policy(names[7], ingress=[rule("pass", protocol=UDP)])
    policies[12] = policy(
        names[12], ingress=[rule("allow", protocol=TCP, dst=dst(ports=ports(81))), rule("deny", protocol=UDP)]
    )
    node.send(*policies, server.endpoint(tier(ingress=names)))
    assert scene.open() == only("tcp", "udp")


def test_pass_in_the_last_tier_goes_to_the_profiles(scene: Scene) -> None:
    node, server = scene.node, scene.server
    node.send(
        policy("p", ingress=[rule("pass", protocol=TCP)]),
        ProfileUpdate("only-80", ingress=(rule("allow", protocol=TCP, dst=dst(ports=ports(80))),), egress=()),
        server.endpoint(tier(ingress=["p"]), profiles=["only-80"]),
    )
    assert scene.open() == only("tcp80")


def test_a_tier_whose_default_is_pass_never_drops_at_its_end(scene: Scene) -> None:
    scene.node.send(
        policy("p", ingress=[rule("deny", protocol=UDP)]), scene.server.endpoint(tier(ingress=["p"], default="pass"))
    )
    assert scene.open() == but("udp")


def test_a_tier_with_policies_for_the_other_direction_only_leaves_this_one_alone(scene: Scene) -> None:
    scene.node.send(policy("p"), scene.server.endpoint(tier(egress=["p"])))
    assert scene.open() == EVERYTHING
    assert not scene.server.ping(scene.client.ip, timeout=0.06)


def test_profiles_are_evaluated_in_order_and_nothing_matched_denies(scene: Scene) -> None:
    scene.node.send(
        ProfileUpdate(
            "a", ingress=(rule("pass", protocol=UDP), rule("deny", protocol=TCP, dst=dst(ports=ports(81)))), egress=()
        ),
        ProfileUpdate("b", ingress=(rule("allow", protocol=TCP), rule("allow", protocol=UDP)), egress=()),
        scene.server.endpoint(profiles=["a", "b"]),
    )
    assert scene.open() == only("tcp80", "udp")
    scene.node.send(scene.server.endpoint(profiles=[]))
    assert scene.open() == set()


def test_egress_of_the_source_and_ingress_of_the_destination_both_count(scene: Scene) -> None:
    node, client, server = scene.node, scene.client, scene.server
    node.send(
        policy("out", egress=[rule("allow", protocol=TCP)]),
        policy("in", ingress=[rule("allow", dst=dst(ports=ports(80)), protocol=TCP), rule("allow", protocol=UDP)]),
        client.endpoint(tier(egress=["out"])),
        server.endpoint(tier(ingress=["in"])),
    )
    assert scene.open() == only("tcp80")
    node.send(client.endpoint())


def sctp_arrives(client: Host, server: Host, port: int) -> bool:
    """A crafted INIT; the kernel has no SCTP here, so the receiver reads the raw packet."""
    receiver = server.open(socket.AF_INET, socket.SOCK_RAW, SCTP)
    sender = client.open(socket.AF_INET, socket.SOCK_RAW, SCTP)
    with receiver, sender:
        receiver.settimeout(0.1)
        chunk = struct.pack(">BBHIIHHI", 1, 0, 20, 7, 65535, 1, 1, 1)
        head = struct.pack(">HHI", 4000, port, 0)
        crc = struct.pack("<I", _crc32c(head + b"\0\0\0\0" + chunk))
        sender.sendto(head + crc + chunk, (server.ip, 0))
        try:
            return receiver.recv(1000)[22:24] == struct.pack(">H", port)
        except TimeoutError:
            return False


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def test_sctp_ports_match(scene: Scene) -> None:
    scene.ingress(rule("allow", protocol=SCTP, dst=dst(ports=ports(9999))))
    assert sctp_arrives(scene.client, scene.server, 9999)
    assert not sctp_arrives(scene.client, scene.server, 9998)


def test_encapsulation_from_inside_a_pod_is_blocked_even_if_policy_allows_all(scene: Scene) -> None:
    scene.server.listen(4789, kind=socket.SOCK_DGRAM)
    scene.node.send(scene.server.endpoint(), scene.client.endpoint())
    assert not scene.client.udp(scene.server.ip, 4789, timeout=0.06)
    assert scene.client.udp(scene.server.ip, 53)


def test_a_denied_packet_vanishes_without_an_answer(scene: Scene) -> None:
    scene.ingress(rule("deny"))
    with scene.client.open(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            sock.connect((scene.server.ip, 80))


# --- toward the host, NAT, loops: each with a node of its own ----------------------------------------------------


@pytest.fixture
def made() -> Iterator[World]:
    with world() as new:
        yield new


@pytest.mark.parametrize(("action", "reachable"), [("drop", False), ("return", True), ("accept", True)])
def test_traffic_to_the_node_itself_follows_the_endpoint_to_host_action(
    made: World, action: str, reachable: bool
) -> None:
    node = made.node()
    pod = made.pod(node)
    node.listen(8080)
    node.start(DataplaneConfig(node="n1", endpoint_to_host_action=action))  # type: ignore[arg-type]  # parametrised
    node.begin(ALLOW_ALL, pod.endpoint())
    assert pod.tcp(node.ip, 8080) == reachable
    assert pod.tcp(node.ip6, 8080) == reachable
    # Neighbour discovery goes on in any case, and the node reaches its pods always.
    pod.listen(80)
    node.send(EMPTY_PROFILE, pod.endpoint())
    assert node.tcp(pod.ip, 80) and node.tcp(pod.ip6, 80)
    assert not pod.tcp(node.ip, 8080)


def test_traffic_that_leaves_the_pools_is_masqueraded_and_the_rest_is_not(made: World) -> None:
    node = made.node()
    a, b = made.pod(node), made.pod(node)
    outside = made.outside(9, via=node)
    outside.listen(53, kind=socket.SOCK_DGRAM)
    b.listen(53, kind=socket.SOCK_DGRAM)
    node.start()
    pools = (
        PoolUpdate("v4", IPPool(cidr="10.65.0.0/16", nat_outgoing=True)),
        PoolUpdate("v6", IPPool(cidr="fd65::/64", nat_outgoing=False)),
    )
    node.begin(ALLOW_ALL, a.endpoint(), b.endpoint(), *pools)
    assert seen_source(a, outside, outside.ip) == node.ip
    assert seen_source(a, outside, outside.ip6) == a.ip6
    assert seen_source(a, b, b.ip) == a.ip
    node.send(
        PoolUpdate("v6", IPPool(cidr="fd65::/64", nat_outgoing=True)),
        PoolUpdate("other", IPPool(cidr="172.31.0.0/24", disabled=True)),
    )
    assert seen_source(a, outside, outside.ip6) == node.ip6
    tool(node.fd, "conntrack", "-F")
    assert seen_source(a, outside, outside.ip) == a.ip


def seen_source(client: Host, server: Host, ip: str) -> str:
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    with server.open(family, socket.SOCK_DGRAM) as receiver, client.open(family, socket.SOCK_DGRAM) as sender:
        receiver.bind((ip, 0))
        receiver.settimeout(2)
        sender.sendto(b"x", receiver.getsockname()[:2])
        return str(receiver.recvfrom(10)[1][0])


def test_masqueraded_ports_stay_within_the_range_and_off_the_vxlan_port(made: World) -> None:
    node = made.node()
    pod = made.pod(node)
    outside = made.outside(9, via=node)
    node.start(DataplaneConfig(node="n1", nat_first_port=4700, nat_last_port=4800))
    node.begin(
        ALLOW_ALL,
        pod.endpoint(),
        PoolUpdate("v4", IPPool(cidr="10.65.0.0/16", nat_outgoing=True)),
        Encapsulation(vxlan=True, vxlan_v6=False, ipip=False),
    )
    with outside.open(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind((outside.ip, 5000))
        receiver.settimeout(1)
        for port in (4789, 4750, 60000):
            with pod.open(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.bind((pod.ip, port))
                sender.sendto(b"x", (outside.ip, 5000))
                assert 4700 <= receiver.recvfrom(10)[1][1] <= 4788


def test_service_addresses_that_nobody_translated_do_not_loop(made: World) -> None:
    node = made.node()
    pod = made.pod(node)
    outside = made.outside(9, via=node)
    run(outside.fd, "address add 10.96.0.1/32 dev eth0")
    run(node.fd, "route add 10.96.0.0/16 via 172.31.0.9")
    outside.listen(80)
    node.start()
    node.begin(ALLOW_ALL, pod.endpoint())
    assert pod.tcp("10.96.0.1", 80)
    node.send(ServiceCIDRs(("10.96.0.0/16",)))
    assert not pod.tcp("10.96.0.1", 80)
    assert pod.tcp(outside.ip, 80)


def test_denials_may_be_rejected_or_only_logged_if_the_operator_says_so(made: World) -> None:
    node = made.node()
    a, b = made.pod(node), made.pod(node)
    b.listen(80)
    node.start(DataplaneConfig(node="n1", reject_denied=True))
    node.begin(ALLOW_ALL, policy("deny", ingress=[rule("deny")]), a.endpoint(), b.endpoint(tier(ingress=["deny"])))
    with pytest.raises(ConnectionRefusedError):
        a.tcp(b.ip, 80)
    node.stop()
    node.start(DataplaneConfig(node="n1", drop_override="LogAndAccept"))
    node.begin(ALLOW_ALL, policy("deny", ingress=[rule("deny")]), a.endpoint(), b.endpoint(tier(ingress=["deny"])))
    until(lambda: a.tcp(b.ip, 80))
