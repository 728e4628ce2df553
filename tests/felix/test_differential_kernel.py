"""The kernel under Felix's rules and the policy engine agree: random clusters, real packets, one verdict.

More examples: TORTIE_DIFFERENTIAL_EXAMPLES=20000. The seed is printed; TORTIE_DIFFERENTIAL_SEED repeats a run. A
failing case shrinks to a listing that can be read like `calicoctl get`.
"""

import os
import random
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, note, seed, settings
from hypothesis import strategies as st
from kernel_judge import NODE, NODE_IP4, NODE_IP6, NODES, UPLINK, KernelJudge
from policy_cases import OUTSIDE_V4, OUTSIDE_V6, PORTS, Case, cases

from tortie.model.dataplane import EndpointKey, WorkloadEndpoint, WorkloadEndpointKey
from tortie.policy.engine import evaluate
from tortie.policy.packet import Packet
from tortie.policy.world import World

pytestmark = pytest.mark.netns

EXAMPLES = int(os.environ.get("TORTIE_DIFFERENTIAL_EXAMPLES", "240"))
SEED = int(os.environ.get("TORTIE_DIFFERENTIAL_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
_settings = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)
judged = {"forwarded": 0, "host": 0}


@pytest.fixture(scope="module")
def judge() -> Iterator[KernelJudge]:
    print(f"\nTORTIE_DIFFERENTIAL_SEED={SEED}")
    kernel = KernelJudge()
    yield kernel
    kernel.close()


def _interface(case: Case, key: EndpointKey | None) -> str:
    """By which of node-a's interfaces an end is reached."""
    for candidate, value in case.values(WorkloadEndpoint):
        if candidate == key and key.node == NODE:
            return str(value.interface)
    return UPLINK


def _ambiguous(case: Case, packet: Packet) -> bool:
    """The receiver is elsewhere but has the address of a pod here, where the kernel would deliver."""
    if packet.dst is not None and packet.dst.node == NODE:
        return False
    for key, value in case.values(WorkloadEndpoint):
        if isinstance(key, WorkloadEndpointKey) and key.node == NODE:
            addresses = {net.partition("/")[0] for net in (*value.ipv4_nets, *value.ipv6_nets)}
            if packet.dst_ip in addresses:
                return True
    return False


@seed(SEED)
@given(case=cases(most_packets=14))
@_settings
def test_packets_of_pods_get_the_same_verdict_from_kernel_and_engine(judge: KernelJudge, case: Case) -> None:
    world = World((*NODES, *case.updates))
    with judge.dataplane(case.updates) as dataplane:
        assert not dataplane.problems()
        for packet in case.packets:
            if _ambiguous(case, packet):
                continue
            verdict = evaluate(world, packet)
            expected = all(stage.allowed for stage in verdict.stages if stage.node == NODE)
            found = judge.passes(packet, _interface(case, packet.src), _interface(case, packet.dst))
            judged["forwarded"] += 1
            if found != expected:
                note(str(verdict))
            assert found == expected, f"kernel {found}, engine {expected}: {packet}"


@st.composite
def host_packets(draw: st.DrawFn) -> Packet:
    """Between the node itself and the outside, or from a pod to its node."""
    version = draw(st.sampled_from((4, 6)))
    own = NODE_IP4 if version == 4 else NODE_IP6
    peer = draw(st.sampled_from(OUTSIDE_V4 if version == 4 else OUTSIDE_V6))
    src, dst = draw(st.sampled_from(((own, peer), (peer, own))))
    protocol = draw(st.sampled_from((6, 17, 132, 1 if version == 4 else 58)))
    if protocol in (1, 58):
        kind = draw(st.sampled_from((8, 3) if version == 4 else (128, 3)))
        return Packet(src_ip=src, dst_ip=dst, protocol=protocol, icmp_type=kind, icmp_code=0)
    port = draw(st.sampled_from((*PORTS, 22, 53, 68, 6443)))
    return Packet(src_ip=src, dst_ip=dst, protocol=protocol, src_port=33333, dst_port=port)


@seed(SEED)
@given(case=cases(most_packets=1), packets=st.lists(host_packets(), min_size=4, max_size=14))
@_settings
def test_packets_of_the_node_itself_get_the_same_verdict(judge: KernelJudge, case: Case, packets: list[Packet]) -> None:
    world = World((*NODES, *case.updates))
    with judge.dataplane(case.updates):
        for packet in packets:
            verdict = evaluate(world, packet)
            outbound = packet.src_ip in (NODE_IP4, NODE_IP6)
            found = judge.passes(packet, "" if outbound else UPLINK, UPLINK if outbound else "")
            judged["host"] += 1
            if found != verdict.allowed:
                note(str(verdict))
            assert found == verdict.allowed, f"kernel {found}, engine {verdict.allowed}: {packet}"


@seed(SEED)
@given(walk=st.lists(cases(most_packets=3), min_size=2, max_size=4))
@settings(_settings, max_examples=EXAMPLES // 8)
def test_going_from_world_to_world_by_differences_ends_where_a_fresh_start_would(
    judge: KernelJudge, walk: list[Case]
) -> None:
    with judge.walking() as walking:
        for case in walk:
            walking.go(case.updates)
            assert walking.differs() == ""
        chains, elements = walking.chains(), walking.elements()
        world = World((*NODES, *walk[-1].updates))
        for packet in walk[-1].packets:
            if not _ambiguous(walk[-1], packet):
                expected = all(stage.allowed for stage in evaluate(world, packet).stages if stage.node == NODE)
                found = judge.passes(packet, _interface(walk[-1], packet.src), _interface(walk[-1], packet.dst))
                judged["forwarded"] += 1
                assert found == expected, f"kernel {found}, engine {expected}: {packet}"
    with judge.walking() as fresh:
        fresh.go(walk[-1].updates)
        assert fresh.differs() == ""
        assert chains == fresh.chains()
        assert elements == fresh.elements()


def test_enough_was_judged() -> None:
    print(judged)
    if EXAMPLES >= 240:
        assert judged["forwarded"] + judged["host"] >= 2000
