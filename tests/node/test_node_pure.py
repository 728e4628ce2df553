"""The decisions of the node's start, without kernel or API: settings, addresses, pools, probes' verdicts, status."""

import os
import socket
import threading
from ipaddress import ip_interface
from pathlib import Path

import pytest

from tortie.model.k8s import Node
from tortie.model.meta import Condition, ObjectMeta
from tortie.model.v3.ipam import IPPool, IPPoolSpec, IPPoolStatus
from tortie.node import health
from tortie.node.autodetect import Decision, Host, Interface, decide, detect
from tortie.node.credentials import next_renewal
from tortie.node.defaults import merged_type
from tortie.node.nodeobject import difference
from tortie.node.nodestatus import Observation, status
from tortie.node.pools import default_pools
from tortie.node.settings import from_environment, node_name
from tortie.node.tunnels import TUNNELS, qualifying
from tortie.routing.status import Daemon, Protocol, Route
from tortie.service.run import Fatal

# --- settings --------------------------------------------------------------------------------------------------


def test_the_defaults_are_calicos():
    settings = from_environment({"NODENAME": "n"})
    assert (settings.backend, settings.ip[4], settings.methods[4]) == ("bird", "", "first-found")
    assert (settings.pools[4].block_size, settings.pools[6].block_size) == (26, 122)
    assert (settings.pools[4].nat_outgoing, settings.pools[6].nat_outgoing) == (True, False)
    assert (settings.felix, settings.manage_cni, settings.file_logging, settings.ipv6_support) == (True,) * 4
    assert settings.felix_health == ("localhost", 9099)


def test_every_wrong_setting_is_named_at_once():
    with pytest.raises(Fatal) as caught:
        from_environment(
            {
                "CALICO_NETWORKING_BACKEND": "frr",
                "CALICO_IPV4POOL_BLOCK_SIZE": "33",
                "CALICO_IPV4POOL_IPIP": "sometimes",
                "AS": "banana",
                "DATASTORE_TYPE": "etcdv3",
                "CALICO_IPV6POOL_CIDR": "10.0.0.0/8",
            }
        )
    for word in ("'frr'", "'33'", "'sometimes'", "'banana'", "'etcdv3'", "'10.0.0.0/8'"):
        assert word in str(caught.value)


@pytest.mark.parametrize("value", ["true", "false", "0", "no"])
def test_any_value_of_calico_disable_felix_disables_it(value):
    assert not from_environment({"CALICO_DISABLE_FELIX": value}).felix


def test_legacy_calico_networking_false_means_no_backend():
    assert from_environment({"CALICO_NETWORKING": "false"}).backend == "none"


def test_the_nodes_name_comes_from_the_environment_then_the_file_then_the_host(tmp_path):
    file = tmp_path / "nodename"
    assert node_name({"HOSTNAME": "Host-1"}, file=file) == "host-1"
    file.write_text("from-file")
    assert node_name({"HOSTNAME": "Host-1"}, file=file) == "from-file"
    assert node_name({"NODENAME": " given ", "HOSTNAME": "x"}, file=file) == "given"
    file.unlink()
    assert node_name({}, file=file) == socket.gethostname().lower()


# --- addresses -------------------------------------------------------------------------------------------------


def host(*interfaces: tuple[str, str], internal=(), source="") -> Host:
    found = tuple(
        Interface(index, name, tuple(ip_interface(a) for a in addresses.split()))
        for index, (name, addresses) in enumerate(interfaces, 1)
    )
    return Host(interfaces=found, internal=tuple(internal), source_towards=lambda _d, _f: source)


TYPICAL = host(
    ("lo", "127.0.0.1/8 ::1/128"),
    ("eth0", "10.0.0.5/24 fe80::1/64 fd00::5/64"),
    ("eth1", "192.0.2.7/25"),
    ("docker0", "172.17.0.1/16"),
    ("cali123", "169.254.1.1/32"),
    ("vxlan.calico", "192.168.5.0/32"),
    internal=("10.0.0.5", "fd00::5"),
    source="10.0.0.5",
)


@pytest.mark.parametrize(
    ("method", "family", "address"),
    [
        ("first-found", 4, "192.0.2.7/25"),  # the highest index that is not excluded
        ("first-found", 6, "fd00::5/64"),
        ("interface=eth0", 4, "10.0.0.5/24"),
        ("interface=dock", 4, "172.17.0.1/16"),  # unanchored, and the built-in exclusions do not apply
        ("interface=wlan.*", 4, None),
        ("skip-interface=eth1", 4, "10.0.0.5/24"),  # the built-in exclusions still apply
        ("cidr=172.16.0.0/12,10.0.0.0/8", 4, "172.17.0.1/16"),
        ("can-reach=8.8.8.8", 4, "10.0.0.5/24"),
        ("kubernetes-internal-ip", 4, "10.0.0.5/24"),
        ("kubernetes-internal-ip", 6, "fd00::5/64"),
    ],
)
def test_detection_methods(method, family, address):
    found = detect(method, family, TYPICAL)
    assert (str(found) if found else None) == address


@pytest.mark.parametrize("method", ["guess", "interface=", "interface=[", "cidr=x", ""])
def test_methods_that_do_not_exist_are_refused(method):
    with pytest.raises(Fatal, match="autodetection method"):
        detect(method, 4, TYPICAL)


@pytest.mark.parametrize(
    ("wanted", "family", "present", "address"),
    [
        ("", 4, "10.9.9.9/24", "10.9.9.9/24"),  # unset keeps what is there
        ("", 4, "", "192.0.2.7/25"),
        ("", 6, "", ""),  # IPv6 is never detected unless asked for
        ("autodetect", 4, "10.9.9.9/24", "192.0.2.7/25"),
        ("autodetect", 6, "", "fd00::5/64"),
        ("none", 4, "10.9.9.9/24", "10.9.9.9/24"),  # not detected, not erased
        ("10.0.0.5", 4, "", "10.0.0.5/24"),  # the length comes from the interface
        ("10.8.8.8", 4, "", "10.8.8.8/32"),
        ("10.8.8.8/16", 4, "", "10.8.8.8/16"),
        ("fd00::5", 6, "", "fd00::5/128"),  # no look-up for IPv6
    ],
)
def test_what_ip_may_say(wanted, family, present, address):
    decision = decide(wanted=wanted, method="first-found", family=family, present=present, host=TYPICAL)
    assert decision.address == address


def test_detection_that_finds_nothing_keeps_the_present_address_and_says_so():
    decision = decide(wanted="autodetect", method="interface=wlan0", family=4, present="10.9.9.9/24", host=TYPICAL)
    assert decision == Decision(
        "10.9.9.9/24", ("IPv4 autodetection by interface=wlan0 found nothing; 10.9.9.9/24 stays",)
    )


def test_an_address_that_no_interface_has_is_a_warning():
    assert decide(wanted="10.8.8.8/16", method="", family=4, present="", host=TYPICAL).notes


@pytest.mark.parametrize("wanted", ["10.0.0.300", "fd00::5", "auto"])
def test_what_is_no_address_of_the_family_is_refused(wanted):
    with pytest.raises(Fatal, match="IP="):
        decide(wanted=wanted, method="first-found", family=4, present="", host=TYPICAL)


# --- pools and tunnels -----------------------------------------------------------------------------------------


def pools_for(environment=None, **arguments):
    settings = from_environment(environment or {})
    return {p["metadata"]["name"]: p["spec"] for p in default_pools(settings, existing=(), **arguments)}


def pool(cidr: str, **spec) -> IPPool:
    return IPPool(metadata=ObjectMeta(name=cidr), spec=IPPoolSpec(cidr=cidr, **spec))


def test_a_pool_for_each_family_unless_there_is_one():
    assert list(pools_for()) == ["default-ipv4-ippool", "default-ipv6-ippool"]
    settings = from_environment({})
    assert default_pools(settings, existing=(pool("10.0.0.0/8"), pool("fd00::/48"))) == []
    assert default_pools(from_environment({"NO_DEFAULT_POOLS": "true"}), existing=()) == []


def test_the_default_range_avoids_the_hosts_own_addresses():
    assert pools_for()["default-ipv4-ippool"]["cidr"] == "192.168.0.0/16"
    inside = pools_for(host_addresses=["192.168.1.7/24", "172.16.0.9/24"])
    assert inside["default-ipv4-ippool"]["cidr"] == "172.17.0.0/16"


def test_kubeadms_range_and_the_environments_win_over_the_default():
    assert pools_for(kubeadm_cidrs=("10.244.0.0/16", "fd77::/48"))["default-ipv6-ippool"]["cidr"] == "fd77::/48"
    given = pools_for({"CALICO_IPV4POOL_CIDR": "10.5.0.0/16"}, kubeadm_cidrs=("10.244.0.0/16",))
    assert given["default-ipv4-ippool"]["cidr"] == "10.5.0.0/16"


def test_a_family_can_be_left_out():
    assert list(pools_for({"CALICO_IPV4POOL_CIDR": "none"})) == ["default-ipv6-ippool"]
    assert list(pools_for({"FELIX_IPV6SUPPORT": "false"})) == ["default-ipv4-ippool"]
    assert list(pools_for(kernel_has_ipv6=False)) == ["default-ipv4-ippool"]


def test_the_ipv6_default_is_a_unique_local_range():
    assert pools_for(random_bits=0x123456789A)["default-ipv6-ippool"]["cidr"] == "fd12:3456:789a::/48"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"vxlan_mode": "Always"}, 1),
        ({"vxlan_mode": "CrossSubnet"}, 1),
        ({"vxlan_mode": "Never"}, 0),
        ({"ipip_mode": "Always"}, 0),
        ({"vxlan_mode": "Always", "disabled": True}, 0),
        ({"vxlan_mode": "Always", "allowed_uses": ("Workload",)}, 0),
        ({"vxlan_mode": "Always", "node_selector": "has(x)"}, 0),
    ],
)
def test_which_pools_give_the_vxlan_device_its_address(spec, expected):
    vxlan = next(t for t in TUNNELS if t.type == "vxlanTunnelAddress")
    assert len(qualifying(vxlan, [pool("10.0.0.0/16", **spec)], Node())) == expected


def test_a_pool_that_cannot_be_allocated_from_gives_no_tunnel_address():
    refused = IPPoolStatus(conditions=(Condition(type="Allocatable", status="False", reason="CIDROverlap"),))
    one = IPPool(
        metadata=ObjectMeta(name="p"), spec=IPPoolSpec(cidr="10.0.0.0/16", vxlan_mode="Always"), status=refused
    )
    vxlan = next(t for t in TUNNELS if t.type == "vxlanTunnelAddress")
    assert qualifying(vxlan, [one], Node()) == []


def test_wireguard_waits_for_the_nodes_public_key():
    wireguard = TUNNELS[0]
    keyed = Node(metadata=ObjectMeta(annotations={"projectcalico.org/WireguardPublicKey": "k"}))
    assert qualifying(wireguard, [pool("10.0.0.0/16")], Node()) == []
    assert len(qualifying(wireguard, [pool("10.0.0.0/16")], keyed)) == 1


def test_annotations_are_written_only_when_they_differ_and_removed_when_empty():
    node = Node(metadata=ObjectMeta(annotations={"a": "1", "b": "2"}))
    assert difference(node, {"a": "1", "b": "", "c": "", "d": "4"}) == {"b": None, "d": "4"}


def test_cluster_types_are_merged_with_kdd_last():
    assert merged_type("k8s,kdd", "bgp,k8s") == "k8s,bgp,kdd"
    assert merged_type("", "") == "kdd"


def test_tokens_are_renewed_after_a_quarter_to_half_of_their_life():
    day = 24 * 3600
    assert next_renewal(day, 0.0) == day / 4
    assert next_renewal(day, 1.0) == day / 2
    assert next_renewal(-5, 0.5) == 5


# --- probes ----------------------------------------------------------------------------------------------------

READY = b"1000-BIRD 2.0.12\n0013 Daemon is up and running\n"
RECOVERING = b"1000-BIRD 2.0.12\n0024-Graceful restart recovery in progress\n0013 Daemon is up and running\n"


def protocols(*states: tuple[str, str]) -> bytes:
    rows = "".join(
        f"1002-{name} BGP ---        {'up' if s == 'Established' else 'start'} 02:08:43.314  {s}   \n"
        for name, s in states
    )
    return f"2002-Name       Proto      Table      State  Since         Info\n{rows}0000 \n".encode()


def bird_saying(path: Path, protocol_reply: bytes, status_reply: bytes) -> None:
    """A control socket that answers the probe's two questions."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        with listener:
            for reply in (protocol_reply, status_reply):
                connection, _ = listener.accept()
                with connection:
                    connection.sendall(b"0001 BIRD 2.0.12 ready.\n")
                    connection.recv(1000)
                    connection.sendall(reply)

    threading.Thread(target=serve, daemon=True).start()


UP, DOWN = ("Mesh_10_0_0_1", "Established"), ("Node_10_0_0_2", "Active")


@pytest.mark.parametrize(
    ("peers", "status_reply", "age", "complaint"),
    [
        ((), READY, 0, ""),
        ((), RECOVERING, 0, ""),  # nobody to recover from
        ((UP,), READY, 0, ""),
        ((UP, DOWN), READY, 0, "BGP not established with Node_10_0_0_2"),
        ((UP, DOWN), READY, 100, ""),
        ((DOWN,), READY, 100, "BGP not established with Node_10_0_0_2"),
        ((UP,), RECOVERING, 0, "graceful restart in progress"),
        ((UP,), RECOVERING, 100, ""),
        ((UP, ("Local_Workload_10_0_0_9", "Active")), READY, 0, ""),
    ],
)
def test_bird_is_strict_at_first_and_content_with_one_session_later(tmp_path, peers, status_reply, age, complaint):
    bird_saying(tmp_path / "ctl", protocols(*peers), status_reply)
    started = tmp_path / "nodename"
    started.write_text("n")
    os.utime(started, (1000, 1000))
    found = health.bird_ready(control=tmp_path / "ctl", started=started, now=1000 + age)
    assert found.endswith(complaint)
    assert bool(found) == bool(complaint)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nfine", ""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", ""),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\ncalc: not in sync", "Felix is not ready: calc: not in sync"),
        (b"", "Felix is not ready: unexpected answer"),
    ],
)
def test_felix_is_asked_over_http(answer, words):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        assert health.felix("/readiness", host="127.0.0.1", port=server.getsockname()[1]) == words


# --- node status -------------------------------------------------------------------------------------------------


def route(
    destination: str, protocol: str, *hops: tuple[str, str], kind: str = "unicast", selected: bool = False
) -> Route:
    return Route(destination=destination, kind=kind, protocol=protocol, hops=hops, selected=selected)


def test_the_status_splits_the_one_daemon_by_family():
    seen = Observation(
        Daemon(version="2.0.12", router_id="10.0.0.1", last_boot="then", last_reconfiguration="now"),
        (
            Protocol(name="Mesh_10_0_0_2", kind="BGP", state="up", since="1", info="Established", neighbor="10.0.0.2"),
            Protocol(name="Node_fd00__2", kind="BGP", state="start", since="2", info="Active x", neighbor="fd00::2"),
            Protocol(name="Local_Workload_10_0_0_9", kind="BGP", state="up", info="Established", neighbor="10.0.0.9"),
        ),
        {
            4: (
                route("10.1.0.0/26", "Mesh_10_0_0_2", ("10.0.0.2", "eth0"), selected=True),
                route("10.2.0.0/26", "static4", kind="blackhole", selected=True),
                route("10.3.0.1/32", "Local_Workload_10_0_0_9", ("", "cali1")),
            ),
            6: (),
        },
    )
    found = status(["Agent", "BGP", "Routes"], seen)
    assert found.agent is not None and found.bgp is not None and found.routes is not None
    assert (found.agent.bird_v4.state, found.agent.bird_v6.router_id) == ("Ready", "10.0.0.1")
    assert (found.bgp.number_established_v4, found.bgp.number_not_established_v6) == (1, 1)
    assert [(p.peer_ip, p.type, p.state) for p in found.bgp.peers_v4] == [("10.0.0.2", "NodeMesh", "Established")]
    assert [(p.peer_ip, p.type, p.state) for p in found.bgp.peers_v6] == [("fd00::2", "NodePeer", "Active")]
    routes = [(r.type, r.gateway, r.interface, r.learned_from.source_type) for r in found.routes.routes_v4]
    assert routes == [
        ("FIB", "10.0.0.2", "eth0", "NodeMesh"),
        ("FIB", "N/A", "blackhole", "Static"),
        ("RIB", "N/A", "cali1", "BGPPeer"),
    ]
    assert found.routes.routes_v4[0].learned_from.peer_ip == "10.0.0.2"


def test_a_daemon_that_does_not_answer_is_not_ready_and_has_no_sessions():
    found = status(["Agent", "BGP"], Observation())
    assert found.agent is not None and found.agent.bird_v4.state == "NotReady"
    assert found.bgp is not None and found.bgp.number_established_v4 == 0
    assert found.routes is None
