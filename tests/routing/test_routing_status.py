"""What BIRD says, read back. The replies are of BIRD 2.0.12; that they still are is checked in test_routing_netns."""

import socket
import threading
from pathlib import Path

import pytest

from tortie.routing import birdc
from tortie.routing.birdc import BirdRefused, BirdUnreachable, Line, parse_reply
from tortie.routing.status import parse_daemon, parse_protocols, parse_routes

STATUS = b"""1000-BIRD 2.0.12
1011-Router ID is 10.9.0.1
 Hostname is vm
 Current server time is 2026-11-25 02:08:47.520
 Last reboot on 2026-11-25 02:08:41.517
 Last reconfiguration on 2026-11-25 02:08:42.517
0024-Graceful restart recovery in progress
   Waiting for 1 channels to recover
   Wait timer is 53.997/60
0013 Daemon is up and running
"""

PROTOCOLS = b"""2002-Name       Proto      Table      State  Since         Info
1002-device1    Device     ---        up     02:08:41.517  \n\
 static4    Static     master4    up     02:08:41.517  \n\
 Mesh_10_9_0_2 BGP        ---        up     02:08:43.314  Established   \n\
1006-  BGP state:          Established
     Neighbor address: 10.9.0.2
     Neighbor AS:      64512
 \n\
1002-Node_10_9_0_77 BGP        ---        start  2026-11-24    Active        Socket: No route to host
1006-  BGP state:          Active
     Neighbor address: 10.9.0.77
0000 \n\
"""

ROUTES = b"""1007-Table master4:
 10.6.1.0/24          blackhole [static4 02:08:41.517] * (200)
 10.6.2.0/24          unicast [Mesh_10_9_0_2 02:08:43.402] * (100) [i]
 \tvia 10.9.0.2 on eth0
                      unicast [Mesh_10_9_0_3 02:08:43.402 from 10.9.0.3] (100) [i]
 \tvia 10.9.0.3 on eth0
 10.9.0.0/24          unicast [direct1 02:08:41.518] * (240)
 \tdev eth0
 10.55.0.0/24         unicast [kernel4 02:09:08.898] ! (10)
 \tvia 10.9.0.2 on eth0 weight 1
 \tvia 10.9.0.3 on eth1 weight 1
 10.44.0.0/24         unreachable [kernel4 02:09:08.896] * (10)
0000 \n\
"""


def test_the_daemons_state_is_read():
    daemon = parse_daemon(parse_reply(STATUS))
    assert (daemon.version, daemon.router_id, daemon.recovering) == ("2.0.12", "10.9.0.1", True)
    assert daemon.last_boot == "2026-11-25 02:08:41.517"
    assert daemon.last_reconfiguration == "2026-11-25 02:08:42.517"


def test_protocols_are_read_with_their_neighbours():
    found = {p.name: p for p in parse_protocols(parse_reply(PROTOCOLS))}
    assert list(found) == ["device1", "static4", "Mesh_10_9_0_2", "Node_10_9_0_77"]
    good, bad = found["Mesh_10_9_0_2"], found["Node_10_9_0_77"]
    assert (good.established, good.bgp_state, good.neighbor) == (True, "Established", "10.9.0.2")
    assert (bad.established, bad.bgp_state, bad.since) == (False, "Active", "2026-11-24")
    assert bad.info == "Active Socket: No route to host"
    assert not found["static4"].is_peer


def test_routes_are_read_and_a_blank_destination_means_the_one_above():
    routes = parse_routes(parse_reply(ROUTES))
    assert [(r.destination, r.kind, r.selected) for r in routes] == [
        ("10.6.1.0/24", "blackhole", True),
        ("10.6.2.0/24", "unicast", True),
        ("10.6.2.0/24", "unicast", False),
        ("10.9.0.0/24", "unicast", True),
        ("10.55.0.0/24", "unicast", True),
        ("10.44.0.0/24", "unreachable", True),
    ]
    assert routes[2].protocol == "Mesh_10_9_0_3"
    assert routes[3].hops == (("", "eth0"),)
    assert routes[4].hops == (("10.9.0.2", "eth0"), ("10.9.0.3", "eth1"))
    assert routes[4].refused


def test_a_continuation_line_carries_the_code_before_it():
    assert parse_reply(b"1002-a\n b\n0000 \n") == [Line(1002, "a"), Line(1002, "b"), Line(0, "")]


def serve(path: Path, *chunks: bytes) -> None:
    """A control socket that greets and answers one command, in pieces."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def answer() -> None:
        connection, _ = listener.accept()
        with connection, listener:
            connection.sendall(b"0001 BIRD 2.0.12 ready.\n")
            if connection.recv(1000):
                for chunk in chunks:
                    connection.sendall(chunk)

    threading.Thread(target=answer, daemon=True).start()


def test_a_reply_may_arrive_in_pieces(tmp_path):
    serve(tmp_path / "s", STATUS[:30], STATUS[30:31], STATUS[31:])
    assert birdc.ask("show status", path=tmp_path / "s") == parse_reply(STATUS)


def test_a_refusal_carries_birds_words(tmp_path):
    serve(tmp_path / "s", b"0002-Reading configuration from x\n8002 x:3:1 syntax error\n")
    with pytest.raises(BirdRefused, match=r"x:3:1 syntax error \(code 8002\)"):
        birdc.configure(Path("x"), path=tmp_path / "s")


def test_no_daemon_a_closed_connection_and_silence_are_all_unreachable(tmp_path):
    with pytest.raises(BirdUnreachable, match="No such file"):
        birdc.ask("show status", path=tmp_path / "none")
    serve(tmp_path / "closed", b"1000-BIRD")
    with pytest.raises(BirdUnreachable, match="closed"):
        birdc.ask("show status", path=tmp_path / "closed")
    silent = socket.socket(socket.AF_UNIX)
    silent.bind(str(tmp_path / "silent"))
    silent.listen()
    with silent, pytest.raises(BirdUnreachable, match="no answer in time"):
        birdc.ask("show status", path=tmp_path / "silent", timeout=0.05)
