"""The dataplane over time: restarts without a gap, repairs, bad objects, endpoints that come, go, move and go down.

Which packets a rule matches is covered in test_dataplane_policy.py and test_differential_kernel.py.
"""

import socket
import subprocess
import threading
import time
from collections.abc import Iterator

import msgspec
import pytest
from dataplane_world import (
    ALLOW_ALL,
    EMPTY_PROFILE,
    Node,
    Pod,
    World,
    path_of,
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
    InSync,
    IPPort,
    IPSetDelta,
    IPSetRemove,
    IPSetUpdate,
    PolicyRemove,
    PoolUpdate,
    RouteUpdate,
    RuleSide,
    WorkloadEndpointRemove,
)
from tortie.model.dataplane import IPPool, PortRange
from tortie.net import namespace, sysctl

pytestmark = pytest.mark.netns


def allow_port(number: int) -> object:
    return rule("allow", protocol=6, dst=RuleSide(ports=(PortRange(number, number),), has_ports=True))


@pytest.fixture
def made() -> Iterator[World]:
    with world() as new:
        yield new


@pytest.fixture
def pair(made: World) -> tuple[Node, Pod, Pod]:
    """A started node with a client and a server that listens at 80 and 81; nothing programmed yet."""
    node = made.node()
    client, server = made.pod(node, "client"), made.pod(node, "server")
    server.listen(80, 81)
    node.start()
    return node, client, server


def test_nothing_is_written_before_the_snapshot_is_complete(pair: tuple[Node, Pod, Pod]) -> None:
    node, client, server = pair
    assert node.dataplane is not None
    node.dataplane.enqueue([ALLOW_ALL, client.endpoint(), server.endpoint()])
    until(lambda: node.dataplane.statistics()["messages"] == 3)  # type: ignore[union-attr]  # started
    assert "calico" not in node.ruleset()
    assert "10.65" not in tool(node.fd, "ip", "route")
    node.send(InSync())
    assert "table ip calico" in node.ruleset()
    assert client.tcp(server.ip, 80)


def test_an_endpoint_is_up_only_when_its_rules_routes_and_settings_are_in_place(pair: tuple[Node, Pod, Pod]) -> None:
    node, client, server = pair
    node.begin(ALLOW_ALL, client.endpoint(), server.endpoint())
    assert node.statuses[client.key].status == "up"
    assert f"{client.ip} dev {client.interface} scope link metric 1024" in tool(node.fd, "ip", "route")
    assert f"{client.ip6} dev {client.interface}" in tool(node.fd, "ip", "-6", "route")
    assert f"{client.ip} lladdr {client.mac} PERMANENT" in tool(
        node.fd, "ip", "neigh", "show", "dev", client.interface, "nud", "permanent"
    )
    with namespace.inside(node.fd):
        conf = f"ipv4/conf/{client.interface}"
        assert {name: sysctl.read(f"{conf}/{name}") for name in ("proxy_arp", "forwarding", "route_localnet")} == {
            "proxy_arp": "1",
            "forwarding": "1",
            "route_localnet": "1",
        }
        assert sysctl.read(f"ipv6/conf/{client.interface}/proxy_ndp") == "1"
        assert sysctl.read(f"ipv6/conf/{client.interface}/accept_ra") == "0"
        assert sysctl.read(f"ipv4/neigh/{client.interface}/proxy_delay") == "0"
        assert sysctl.read("ipv4/ip_forward") == "1"


def test_an_unknown_pod_interface_gets_nothing_through(pair: tuple[Node, Pod, Pod]) -> None:
    node, client, server = pair
    node.begin(ALLOW_ALL, server.endpoint())
    run(node.fd, f"route add {client.ip} dev {client.interface}")
    assert not client.tcp(server.ip, 80)
    node.send(client.endpoint())
    until(lambda: client.tcp(server.ip, 80))


def test_a_removed_endpoint_is_cut_off_and_its_route_goes(pair: tuple[Node, Pod, Pod]) -> None:
    node, client, server = pair
    node.begin(ALLOW_ALL, client.endpoint(), server.endpoint())
    assert client.tcp(server.ip, 80)
    node.send(WorkloadEndpointRemove(client.key))
    assert not client.tcp(server.ip, 80)
    assert client.ip not in tool(node.fd, "ip", "route")
    assert node.statuses[client.key].status == "down"
    assert client.interface not in node.ruleset()


def test_an_inactive_endpoint_is_denied_and_has_no_route(pair: tuple[Node, Pod, Pod]) -> None:
    node, client, server = pair
    node.begin(ALLOW_ALL, client.endpoint(active=False), server.endpoint())
    assert node.statuses[client.key].status == "down"
    assert client.ip not in tool(node.fd, "ip", "route")
    run(node.fd, f"route add {client.ip} dev {client.interface}")
    assert not client.tcp(server.ip, 80)


def test_an_endpoint_whose_interface_appears_later_is_programmed_then(made: World) -> None:
    node = made.node()
    server = made.pod(node, "server")
    server.listen(80)
    client = made.pod(node, "client")
    run(node.fd, f"link set {client.interface} down")
    node.start()
    node.begin(ALLOW_ALL, client.endpoint(), server.endpoint())
    assert node.statuses[client.key].status == "down"
    run(node.fd, f"link set {client.interface} up")
    until(lambda: node.statuses[client.key].status == "up")
    assert client.tcp(server.ip, 80)
    run(node.fd, f"link delete {client.interface}")
    until(lambda: node.statuses[client.key].status == "down")
    assert client.ip not in tool(node.fd, "ip", "route")


def test_of_two_endpoints_with_one_interface_the_lowest_id_counts(pair: tuple[Node, Pod, Pod]) -> None:
    node, client, server = pair
    other = msgspec.structs.replace(
        client.endpoint(tier(egress=["none"])), key=msgspec.structs.replace(client.key, workload="default/zzz")
    )
    node.begin(ALLOW_ALL, policy("none"), other, server.endpoint())
    assert not client.tcp(server.ip, 80)
    node.send(client.endpoint())
    assert client.tcp(server.ip, 80)
    assert node.statuses[other.key].error.endswith("belongs to default/client")
    node.send(WorkloadEndpointRemove(client.key))
    assert not client.tcp(server.ip, 80)


def test_an_established_connection_survives_a_stricter_policy_but_not_the_endpoint(pair: tuple[Node, Pod, Pod]) -> None:
    node, client, server = pair
    node.begin(ALLOW_ALL, client.endpoint(), server.endpoint())
    server.listen(82, accept=False)
    with client.open(socket.AF_INET, socket.SOCK_STREAM) as connection:
        connection.settimeout(1)
        connection.connect((server.ip, 82))
        accepted, _ = server.servers[-1].accept()
        accepted.settimeout(1)
        node.send(policy("deny", ingress=[rule("deny")]), server.endpoint(tier(ingress=["deny"])))
        connection.sendall(b"still here")
        assert accepted.recv(100) == b"still here"
        assert not client.tcp(server.ip, 80)
        assert "ESTABLISHED" in tool(node.fd, "conntrack", "-L")
        node.send(WorkloadEndpointRemove(server.key))
        assert server.ip not in tool(node.fd, "conntrack", "-L")
        accepted.close()


class Traffic(threading.Thread):
    """Connects again and again from one pod to an open and to a closed port, and counts surprises."""

    def __init__(self, client: Pod, server: Pod) -> None:
        super().__init__(daemon=True)
        self.client, self.server = client, server
        self.good = self.lost = self.leaked = 0
        self.halt = threading.Event()

    def run(self) -> None:
        while not self.halt.is_set():
            if self.client.tcp(self.server.ip, 80, timeout=2.5):
                self.good += 1
            else:
                self.lost += 1
            if self.client.tcp(self.server.ip, 81, timeout=0.004):
                self.leaked += 1

    def stop(self) -> None:
        self.halt.set()
        self.join(5)


def test_restarts_lose_nothing_that_is_allowed_and_let_nothing_through_that_is_not(
    pair: tuple[Node, Pod, Pod],
) -> None:
    node, client, server = pair
    desired = (
        ALLOW_ALL,
        policy("web", ingress=[allow_port(80)]),  # type: ignore[list-item]  # a rule
        client.endpoint(),
        server.endpoint(tier(ingress=["web"])),
    )
    node.begin(*desired)
    traffic = Traffic(client, server)
    traffic.start()
    for _ in range(8):
        before = traffic.good
        node.stop()
        until(lambda before=before: traffic.good > before + 5)  # type: ignore[misc]  # bound at once
        node.start()
        node.begin(*desired)
    traffic.stop()
    assert (traffic.lost, traffic.leaked) == (0, 0)
    assert traffic.good > 40


def test_a_restart_removes_what_is_no_longer_wanted(pair: tuple[Node, Pod, Pod]) -> None:
    node, client, server = pair
    node.begin(
        ALLOW_ALL,
        policy("old", ingress=[rule("allow", src=RuleSide(set_ids=("s:old",)))]),
        IPSetUpdate("s:old", "net", frozenset({"1.2.3.4/32"})),
        client.endpoint(),
        server.endpoint(tier(ingress=["old"])),
    )
    node.stop()
    assert "gnp/old" in node.ruleset()
    node.start()
    node.begin(ALLOW_ALL, client.endpoint())
    rules = node.ruleset()
    assert "gnp/old" not in rules and "s-old" not in rules and server.interface not in rules
    assert server.ip not in tool(node.fd, "ip", "route")
    assert client.ip in tool(node.fd, "ip", "route")


def test_a_restart_with_nothing_new_writes_nothing_and_keeps_the_counters(pair: tuple[Node, Pod, Pod]) -> None:
    node, client, server = pair
    desired = (
        ALLOW_ALL,
        IPSetUpdate("s:clients", "net", frozenset({f"{client.ip}/32", "10.66.0.0/16"})),
        policy("web", ingress=[rule("allow", src=RuleSide(set_ids=("s:clients",)))]),
        client.endpoint(),
        server.endpoint(tier(ingress=["web"])),
    )
    node.begin(*desired)
    assert client.tcp(server.ip, 80)
    before = node.ruleset()
    assert "counter packets 1 bytes 60 meta mark" in before
    node.stop()
    node.start()
    node.begin(*desired)
    assert node.dataplane is not None and node.dataplane._kernel is not None
    assert node.dataplane._kernel.nft.transactions == 0
    assert node.ruleset() == before


def test_a_restart_writes_only_what_differs(pair: tuple[Node, Pod, Pod]) -> None:
    node, client, server = pair
    members = frozenset({f"{client.ip}/32"})
    web = policy("web", ingress=[rule("allow", protocol=6, src=RuleSide(set_ids=("s:clients",)))])
    node.begin(
        ALLOW_ALL,
        IPSetUpdate("s:clients", "net", frozenset({"10.66.0.0/16"})),
        web,
        client.endpoint(),
        server.endpoint(tier(ingress=["web"])),
    )
    assert not client.tcp(server.ip, 80)
    node.stop()
    tool(
        node.fd,
        "nft",
        "add element ip calico filter-cali-from-wl-dispatch { cali99 : goto filter-cali-tw-" + server.interface + " }",
    )
    tool(node.fd, "nft", "add set ip calico leftover { type ipv4_addr; }")
    node.start()
    node.begin(
        ALLOW_ALL,
        IPSetUpdate("s:clients", "net", members),
        web,
        client.endpoint(),
        server.endpoint(tier(ingress=["web"])),
    )
    assert client.tcp(server.ip, 80)
    rules = node.ruleset()
    assert "cali99" not in rules and "leftover" not in rules and "10.66.0.0" not in rules


def test_a_table_that_cannot_be_adopted_is_replaced_in_one_go(pair: tuple[Node, Pod, Pod]) -> None:
    node, client, server = pair
    tool(
        node.fd,
        "nft",
        "add table ip calico; add chain ip calico filter-FORWARD { type filter hook forward priority 77; };"
        "add set ip calico cali40s-clients { type ipv4_addr; }; add rule ip calico filter-FORWARD drop",
    )
    node.begin(ALLOW_ALL, client.endpoint(), server.endpoint())
    assert "priority 77" not in node.ruleset()
    assert client.tcp(server.ip, 80)


@pytest.mark.parametrize(
    "vandalism",
    [
        "flush ruleset",
        "delete table ip calico",
        "flush table ip6 calico",
        "flush chain ip calico filter-FORWARD",
        "insert rule ip calico filter-FORWARD accept",
        "add chain ip calico foreign",
    ],
)
def test_foreign_changes_to_the_tables_are_repaired(pair: tuple[Node, Pod, Pod], vandalism: str) -> None:
    node, client, server = pair
    node.begin(
        ALLOW_ALL,
        policy("web", ingress=[allow_port(80)]),  # type: ignore[list-item]  # a rule
        client.endpoint(),
        server.endpoint(tier(ingress=["web"])),
    )

    def shape() -> list[str]:
        return [tool(node.fd, "nft", "-s", "list", "table", family, "calico") for family in ("ip", "ip6")]

    before = shape()
    tool(node.fd, "nft", *vandalism.split())
    until(lambda: node.dataplane.statistics()["repairs"] == 1, 8)  # type: ignore[union-attr]  # started
    until(lambda: shape() == before)
    assert client.tcp(server.ip, 80)
    assert not client.tcp(server.ip, 81)


def test_other_tables_are_none_of_our_business(pair: tuple[Node, Pod, Pod]) -> None:
    node, client, server = pair
    node.begin(ALLOW_ALL, client.endpoint(), server.endpoint())
    tool(node.fd, "nft", "add", "table", "ip", "kube-proxy")
    time.sleep(1.3)  # a full check follows a foreign change after a second
    assert node.dataplane is not None
    assert node.dataplane.statistics()["repairs"] == 0
    node.stop()
    node.start()
    node.begin(ALLOW_ALL, client.endpoint(), server.endpoint())
    assert "kube-proxy" in node.ruleset()


def test_foreign_changes_to_routes_are_repaired(pair: tuple[Node, Pod, Pod]) -> None:
    node, client, server = pair
    node.begin(ALLOW_ALL, client.endpoint(), server.endpoint())
    run(node.fd, f"route delete {server.ip} dev {server.interface} metric 1024")
    until(lambda: server.ip in tool(node.fd, "ip", "route"))
    assert client.tcp(server.ip, 80)
    run(node.fd, "route add 10.99.0.0/16 via 172.31.0.9 proto bird\nroute add 10.98.0.0/16 via 172.31.0.9 proto static")
    node.stop()
    node.start()
    node.begin(ALLOW_ALL, client.endpoint())
    routes = tool(node.fd, "ip", "route")
    assert "10.99.0.0/16" in routes and "10.98.0.0/16" in routes


def test_a_policy_the_kernel_refuses_is_denied_and_everything_else_works(pair: tuple[Node, Pod, Pod]) -> None:
    node, client, server = pair
    # The kernel takes no log prefix longer than 127 characters; the renderer cuts, so go behind its back.
    too_long = rule("allow", protocol=400)
    node.begin(
        ALLOW_ALL,
        policy("bad", ingress=[too_long]),
        policy("good", ingress=[allow_port(80)]),  # type: ignore[list-item]  # a rule
        client.endpoint(),
        server.endpoint(tier(ingress=["bad"])),
    )
    assert not client.tcp(server.ip, 80)
    assert node.dataplane is not None
    assert "protocol 400" in node.dataplane.problems()["GlobalNetworkPolicy bad"]
    node.send(server.endpoint(tier(ingress=["good"])))
    assert client.tcp(server.ip, 80)
    node.send(policy("bad", ingress=[allow_port(80)]), server.endpoint(tier(ingress=["bad"])))  # type: ignore[list-item]  # a rule
    assert client.tcp(server.ip, 80)
    assert node.dataplane.problems() == {}


def test_a_set_the_kernel_refuses_closes_what_uses_it_and_nothing_else(pair: tuple[Node, Pod, Pod]) -> None:
    node, client, server = pair
    # Two equal prefixes written differently pass every check but the kernel's.
    node.begin(
        ALLOW_ALL,
        IPSetUpdate("s:good", "net", frozenset({f"{client.ip}/32"})),
        policy("uses-missing", ingress=[rule("deny", src=RuleSide(set_ids=("s:missing",))), rule("allow")]),
        policy("good", ingress=[rule("allow", src=RuleSide(set_ids=("s:good",)))]),
        client.endpoint(),
        server.endpoint(tier(ingress=["good"])),
    )
    assert client.tcp(server.ip, 80)
    assert node.dataplane is not None
    node.send(server.endpoint(tier(ingress=["uses-missing"])))
    assert not client.tcp(server.ip, 80)
    assert "GlobalNetworkPolicy uses-missing" in node.dataplane.problems()
    node.send(
        IPSetUpdate("s:missing", "net", frozenset()),
        policy("uses-missing", ingress=[rule("deny", src=RuleSide(set_ids=("s:missing",))), rule("allow")]),
    )
    until(lambda: client.tcp(server.ip, 80))


def test_objects_with_impossible_values_count_as_absent_and_are_named(pair: tuple[Node, Pod, Pod]) -> None:
    node, client, server = pair
    bad_net = rule("allow", src=RuleSide(nets=("10.0.0.0/33",)))
    node.begin(
        ALLOW_ALL,
        policy("bad", ingress=[bad_net]),
        IPSetUpdate("s:bad", "net", frozenset({"10.0.0.1/32", "nonsense"})),
        policy("uses-bad-set", ingress=[rule("deny", src=RuleSide(set_ids=("s:bad",))), rule("allow")]),
        RouteUpdate("10.65.0.x/26", "local-block", "n1", node.ip, "none", True),
        PoolUpdate("bad-pool", IPPool(cidr="everything")),
        client.endpoint(),
        server.endpoint(tier(ingress=["bad"])),
    )
    assert node.dataplane is not None
    assert node.dataplane.problems().keys() >= {"GlobalNetworkPolicy bad", "s:bad", "10.65.0.x/26", "bad-pool"}
    assert not client.tcp(server.ip, 80)
    node.send(server.endpoint(tier(ingress=["uses-bad-set"])))
    assert not client.tcp(server.ip, 80)
    node.send(server.endpoint())
    assert client.tcp(server.ip, 80)
    node.send(msgspec.structs.replace(server.endpoint(), ipv4_nets=("10.65.0.300/32",)))
    assert not client.tcp(server.ip, 80)
    assert server.ip not in tool(node.fd, "ip", "route")
    node.send(
        policy("bad", ingress=[rule("allow")]),
        IPSetUpdate("s:bad", "net", frozenset()),
        server.endpoint(tier(ingress=["bad"])),
    )
    until(lambda: client.tcp(server.ip, 80))
    assert node.dataplane.problems().keys() == {"10.65.0.x/26", "bad-pool"}


def test_chains_that_loop_are_found_by_halving(pair: tuple[Node, Pod, Pod]) -> None:
    """The kernel names no culprit for a loop; it is found by trying."""
    from tortie.felix.dataplane.chain import Chain
    from tortie.net.nft.statement import Rule, Verdict

    node, client, server = pair
    node.begin(ALLOW_ALL, client.endpoint(), server.endpoint())
    assert node.dataplane is not None
    for table in node.dataplane._tables:
        table.put(
            "test", [Chain("filter-loop", (Rule((Verdict("jump", "filter-cali-pri-kns.default"),)),), owner="loop")]
        )
        chain = Chain(
            "filter-cali-pri-kns.default", (Rule((Verdict("jump", "filter-loop"),)),), owner="Profile kns.default"
        )
        table.put(
            "profile:kns.default",
            [chain, *[c for c in table.graph.chains.values() if c.name.endswith("pro-kns.default")]],
        )
    node.send(policy("good", ingress=[allow_port(80)]), server.endpoint(tier(ingress=["good"])))  # type: ignore[list-item]  # a rule
    assert client.tcp(server.ip, 80)
    assert node.dataplane.problems().keys() & {"loop", "Profile kns.default"}


def test_a_missing_profile_or_policy_denies(pair: tuple[Node, Pod, Pod]) -> None:
    node, client, server = pair
    node.begin(ALLOW_ALL, client.endpoint(), server.endpoint(profiles=["nowhere"]))
    assert not client.tcp(server.ip, 80)
    node.send(server.endpoint(tier(ingress=["nowhere"])))
    assert not client.tcp(server.ip, 80)
    node.send(policy("nowhere", ingress=[rule("allow")]))
    assert client.tcp(server.ip, 80)


def test_sets_follow_their_members_and_disappear_after_their_last_user(pair: tuple[Node, Pod, Pod]) -> None:
    node, client, server = pair
    from_set = [rule("allow", src=RuleSide(set_ids=("s:clients",)))]
    node.begin(
        EMPTY_PROFILE,
        ALLOW_ALL,
        IPSetUpdate("s:clients", "net", frozenset()),
        policy("p", ingress=from_set),
        client.endpoint(),
        server.endpoint(tier(ingress=["p"])),
    )
    both = frozenset({f"{client.ip}/32", f"{client.ip6}/128"})
    assert not client.tcp(server.ip, 80)
    node.send(IPSetDelta("s:clients", both, frozenset()))
    assert client.tcp(server.ip, 80) and client.tcp(server.ip6, 80)
    node.send(IPSetDelta("s:clients", frozenset({"10.65.0.0/16"}), both))
    assert client.tcp(server.ip, 80) and not client.tcp(server.ip6, 80)
    node.send(IPSetDelta("s:clients", both, frozenset({"10.65.0.0/16"})))
    assert client.tcp(server.ip, 80)
    node.send(IPSetDelta("s:clients", frozenset(), both))
    assert not client.tcp(server.ip, 80)
    node.send(server.endpoint(), PolicyRemove(policy("p").key), IPSetRemove("s:clients"))
    assert "s-clients" not in node.ruleset()


def test_named_port_sets_match_address_protocol_and_port(pair: tuple[Node, Pod, Pod]) -> None:
    node, client, server = pair
    node.begin(
        ALLOW_ALL,
        IPSetUpdate("n:http", "ip-port", frozenset({IPPort(server.ip, 6, 80), IPPort(server.ip6, 6, 80)})),
        policy("p", ingress=[rule("allow", protocol=6, dst=RuleSide(port_set_ids=("n:http",), has_ports=True))]),
        client.endpoint(),
        server.endpoint(tier(ingress=["p"])),
    )
    assert client.tcp(server.ip, 80) and client.tcp(server.ip6, 80)
    assert not client.tcp(server.ip, 81) and not client.tcp(server.ip6, 81)
    node.send(IPSetDelta("n:http", frozenset({IPPort(server.ip, 6, 81)}), frozenset({IPPort(server.ip, 6, 80)})))
    assert not client.tcp(server.ip, 80) and client.tcp(server.ip, 81)


def test_a_pod_cannot_borrow_an_address(pair: tuple[Node, Pod, Pod]) -> None:
    node, client, server = pair
    node.begin(ALLOW_ALL, client.endpoint(), server.endpoint())
    run(client.fd, "address add 10.65.0.77/32 dev eth0\naddress add fd65::77/128 dev eth0 nodad")
    run(node.fd, f"route add 10.65.0.77 via 172.31.0.9\nroute add fd65::77 dev {server.interface}")
    assert not client.tcp(server.ip, 80, source="10.65.0.77")
    assert not client.tcp(server.ip6, 80, source="fd65::77")
    assert client.tcp(server.ip, 80, source=client.ip)
    assert "source address is not the workload's" in node.ruleset()


def test_a_pod_may_send_from_allowed_prefixes_if_the_operator_says_so(made: World) -> None:
    node = made.node()
    client, server = made.pod(node), made.pod(node)
    server.listen(80)
    run(client.fd, "address add 10.65.0.77/32 dev eth0")
    run(node.fd, f"route add 10.65.0.77 dev {client.interface} metric 5 proto bird")
    node.start(DataplaneConfig(node="n1", workload_source_spoofing=True))
    node.begin(ALLOW_ALL, client.endpoint(spoof=["10.65.0.64/26"]), server.endpoint())
    assert client.tcp(server.ip, 80, source="10.65.0.77")


def test_without_rights_one_sentence_says_what_is_missing(made: World) -> None:
    node = made.node()
    code = (
        "import asyncio; from tortie.felix.dataplane import *; from tortie.felix.messages import InSync;"
        "d = Dataplane(DataplaneConfig(prepare_host=False)); d.enqueue([InSync()]); asyncio.run(d.run())"
    )
    done = subprocess.run(
        [
            "nsenter",
            f"--net={path_of(node.fd)}",
            "setpriv",
            "--bounding-set=-net_admin",
            "--inh-caps=-net_admin",
            "--ambient-caps=-all",
            "--reuid=1000",
            "--clear-groups",
            ".venv/bin/python",
            "-c",
            code,
        ],
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert "needs the capability CAP_NET_ADMIN (run as root)" in done.stderr.splitlines()[-1]
