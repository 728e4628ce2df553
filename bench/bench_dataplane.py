"""What the dataplane costs: a change of policy until it is in the kernel, and what its rules cost packets.

Run as root: `python bench/bench_dataplane.py`. In: namespaces of its own, messages made by hand. Out: one JSON object
per line: name, value, unit, scale. The throughput ratio compares 100 policies on a pod with no table at all.
"""

import json
import logging
import os
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import structlog

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "felix")]

from dataplane_world import ALLOW_ALL, Host, World, new_namespace, policy, rule, tier, tool, world  # noqa: E402

from tortie.felix.dataplane import Dataplane, DataplaneConfig  # noqa: E402
from tortie.felix.messages import (  # noqa: E402
    ConfigUpdate,
    InSync,
    IPSetDelta,
    IPSetUpdate,
    Message,
    PolicyUpdate,
    RuleSide,
    WorkloadEndpointUpdate,
)
from tortie.model.dataplane import PortRange, WorkloadEndpointKey  # noqa: E402
from tortie.net import namespace  # noqa: E402

RULES_A_POLICY, PODS, POLICIES_A_POD = 10, 100, 5


def emit(name: str, value: float, unit: str, scale: str) -> None:
    print(json.dumps({"name": name, "value": round(value, 4), "unit": unit, "scale": scale}), flush=True)


def some_policy(number: int, sets: int, turn: int = 0) -> PolicyUpdate:
    """Each rule has a selector; most have one port, every third a list of ports that other policies have as well. From
    turn to turn one rule changes."""
    rules = []
    for index in range(RULES_A_POLICY):
        port = 1000 + index if index != 4 else 2000 + turn
        ports = [PortRange(port, port)]
        if index % 3 == 0:
            ports = [PortRange(80, 80), PortRange(443, 443), PortRange(8000 + index, 8100)]
        rules.append(
            rule(
                "allow",
                protocol=6,
                src=RuleSide(set_ids=(f"s:{(number * RULES_A_POLICY + index) % sets}",)),
                dst=RuleSide(ports=tuple(ports), has_ports=True),
            )
        )
    return policy(f"p{number}", ingress=rules)


def some_pod(number: int, policies: int, *, dual: bool) -> WorkloadEndpointUpdate:
    names = [f"p{(number * 7 + step) % policies}" for step in range(min(POLICIES_A_POD, policies))]
    return WorkloadEndpointUpdate(
        key=WorkloadEndpointKey("n1", "k8s", f"default/pod-{number}", "eth0"),
        interface=f"cali{number:08x}",
        mac="",
        ipv4_nets=(f"10.65.{number >> 8}.{number & 255}/32",),
        ipv6_nets=(f"fd65::{number:x}/128",) if dual else (),
        profiles=("kns.default",),
        tiers=(tier(ingress=names),),
    )


def desired(rules: int, *, dual: bool) -> list[Message]:
    policies = rules // RULES_A_POLICY
    sets = policies
    result: list[Message] = [ConfigUpdate({}), ALLOW_ALL]
    for number in range(sets):
        members = frozenset(f"10.{number >> 6 & 63}.{number & 63}.{host}/32" for host in range(20))
        result.append(IPSetUpdate(f"s:{number}", "net", members))
    result += [some_policy(number, sets) for number in range(policies)]
    result += [some_pod(number, policies, dual=dual) for number in range(PODS)]
    return [*result, InSync()]


def settled(dataplane: Dataplane, messages: list[Message]) -> float:
    """Milliseconds from the messages to the kernel."""
    started = time.perf_counter()
    dataplane.enqueue(messages)
    while not dataplane.work():
        pass
    return (time.perf_counter() - started) * 1e3


def median(times: int, measure: Callable[[int], float]) -> float:
    values = []
    for turn in range(times):
        values.append(measure(turn))
        time.sleep(0.005)
    return statistics.median(values)


def changes(rules: int, *, dual: bool) -> None:
    families = "dual stack" if dual else "IPv4"
    scale = f"{rules} rules, {rules // RULES_A_POLICY} policies, {PODS} pods with {POLICIES_A_POD} each, {families}"
    fd = new_namespace()
    with namespace.inside(fd):
        first = Dataplane(DataplaneConfig(node="n1"))
        kernel = first.open()
        emit("dataplane_start", settled(first, desired(rules, dual=dual)), "ms", scale)
        kernel.close()
        dataplane = Dataplane(DataplaneConfig(node="n1"))
        kernel = dataplane.open()
        emit("dataplane_restart_unchanged", settled(dataplane, desired(rules, dual=dual)), "ms", scale)
        assert dataplane._writer is not None
        dataplane._writer.repair(whole=True)
        emit("dataplane_restart_replace", settled(dataplane, [ALLOW_ALL]), "ms", scale)
        sets = rules // RULES_A_POLICY
        emit(
            "dataplane_policy_change",
            median(40, lambda turn: settled(dataplane, [some_policy(3, sets, turn + 1)])),
            "ms",
            scale,
        )
        emit(
            "dataplane_endpoint_change",
            median(40, lambda turn: settled(dataplane, [some_pod(5 + turn % 2, sets - turn % 3, dual=dual)])),
            "ms",
            scale,
        )

        def member(turn: int) -> float:
            new = frozenset({f"192.0.2.{turn}/32"})
            return settled(dataplane, [IPSetDelta("s:3", new, frozenset())])

        emit("dataplane_set_member", median(40, member), "ms", scale)
        kernel.close()
    os.close(fd)


def large_set() -> None:
    fd = new_namespace()
    with namespace.inside(fd):
        dataplane = Dataplane(DataplaneConfig(node="n1"))
        kernel = dataplane.open()
        members = frozenset(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}/32" for n in range(50_000))
        messages = [ConfigUpdate({}), IPSetUpdate("s:big", "net", members), InSync()]
        emit("dataplane_set_create", settled(dataplane, messages), "ms", "50000 members")
        emit(
            "dataplane_set_member",
            median(
                40,
                lambda turn: settled(dataplane, [IPSetDelta("s:big", frozenset({f"192.0.2.{turn}/32"}), frozenset())]),
            ),
            "ms",
            "one of 50000",
        )
        kernel.close()
    os.close(fd)


# --- packets -----------------------------------------------------------------------------------------------------


def throughput(client: Host, server: Host, *, seconds: float = 0.7) -> float:
    """Gbit of one TCP connection per second of processor time, so that a busy machine does not blur the comparison."""
    listener = server.open(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind((server.ip, 0))
    listener.listen(1)
    received = [0]

    def receive() -> None:
        accepted, _ = listener.accept()
        buffer = bytearray(1 << 20)
        while count := accepted.recv_into(buffer):
            received[0] += count
        accepted.close()

    thread = threading.Thread(target=receive)
    thread.start()
    started = time.process_time()
    with client.open(socket.AF_INET, socket.SOCK_STREAM) as sender:
        sender.connect(listener.getsockname())
        data = bytes(1 << 18)
        deadline = time.perf_counter() + seconds
        while time.perf_counter() < deadline:
            sender.sendall(data)
    thread.join()
    spent = time.process_time() - started
    listener.close()
    return received[0] * 8 / spent / 1e9


def round_trips(client: Host, server: Host, *, count: int = 10_000) -> float:
    """Microseconds of processor time for a UDP packet on a known connection: what every single packet pays."""
    with (
        server.open(socket.AF_INET, socket.SOCK_DGRAM) as there,
        client.open(socket.AF_INET, socket.SOCK_DGRAM) as here,
    ):
        there.bind((server.ip, 0))
        here.connect(there.getsockname())
        here.send(b"x")
        there.connect(there.recvfrom(10)[1])
        started = time.process_time()
        for _ in range(count):
            there.send(b"x")
            here.recv(10)
        return (time.process_time() - started) / count * 1e6


def first_packets(client: Host, server: Host, *, count: int = 2000) -> float:
    """Microseconds of processor time for the first packet of a new flow."""
    with server.open(socket.AF_INET, socket.SOCK_DGRAM) as there:
        there.bind((server.ip, 0))
        target = there.getsockname()
        total = 0.0
        for _ in range(count):
            with client.open(socket.AF_INET, socket.SOCK_DGRAM) as here:
                started = time.process_time()
                here.sendto(b"x", target)
                there.recv(10)
                total += time.process_time() - started
        return total / count * 1e6


def packets(made: World) -> None:
    node = made.node()
    client, server = made.pod(node), made.pod(node)
    names = [f"p{number}" for number in range(100)]
    policies = [
        policy(
            name,
            ingress=[
                rule(
                    "allow",
                    protocol=6,
                    src=RuleSide(set_ids=("s:other",)),
                    dst=RuleSide(ports=(PortRange(n, n),), has_ports=True),
                )
                for n in (80, 443, 8080)
            ],
        )
        for name in names
    ]
    policies[-1] = policy(names[-1], ingress=[rule("allow")])
    desired = (
        ALLOW_ALL,
        IPSetUpdate("s:other", "net", frozenset(f"10.9.{n}.1/32" for n in range(100))),
        *policies,
        server.endpoint(tier(ingress=names)),
        client.endpoint(),
    )
    measured: dict[str, dict[str, list[float]]] = {"with": {}, "without": {}}
    for _ in range(5):
        for state in ("with", "without"):
            node.start()
            node.begin(*desired)
            node.stop()
            if state == "without":
                tool(node.fd, "nft", "flush", "ruleset")
            found = measured[state]
            found.setdefault("throughput", []).append(throughput(client, server))
            found.setdefault("packet", []).append(round_trips(client, server))
            found.setdefault("first", []).append(first_packets(client, server))
    scale = "100 policies of 3 rules on a pod, the last one allows"

    def best(state: str, what: str) -> float:
        values = measured[state][what]
        return max(values) if what == "throughput" else min(values)

    emit("dataplane_throughput", best("with", "throughput"), "Gbit/s", scale + "; per second of processor time")
    emit("dataplane_throughput_ratio", best("with", "throughput") / best("without", "throughput"), "ratio", scale)
    emit("dataplane_packet_cost", best("with", "packet") - best("without", "packet"), "us", scale)
    emit("dataplane_first_packet_cost", best("with", "first") - best("without", "first"), "us", scale)


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    for rules in (1_000, 10_000):
        for dual in (False, True):
            changes(rules, dual=dual)
    large_set()
    with world() as made:
        packets(made)


if __name__ == "__main__":
    main()
