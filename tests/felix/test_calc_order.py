"""Whatever the order, repetition and batching of updates, the calculation ends in the same state, and on the way never
refers to anything it has not announced. (What that state means is covered in test_calc_against_engine.)"""

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from message_state import MessageState
from policy_cases import NODE, OTHER_NODE, Case, cases

from tortie.felix.calc import Calculation
from tortie.model.dataplane import (
    BGPConfig,
    BGPConfigKey,
    Block,
    BlockKey,
    IPPool,
    IPPoolKey,
    Key,
    Node,
    NodeKey,
    Service,
    ServiceKey,
    Update,
    Value,
)

NETWORK: tuple[Update, ...] = (
    Update(NodeKey(NODE), Node(ipv4="172.30.0.11", ipv4_cidr="172.30.0.11/24", vxlan_tunnel_ipv4="10.0.0.1")),
    Update(NodeKey(NODE), Node(ipv4="172.30.0.11", ipv4_cidr="172.30.0.11/30", ipv6="fd00:30::11")),
    Update(
        NodeKey(OTHER_NODE), Node(ipv4="172.30.0.12", vxlan_tunnel_ipv4="10.0.1.1", vxlan_mac_v4="02:00:00:00:00:01")
    ),
    Update(NodeKey(OTHER_NODE), Node(ipv4="172.30.0.13", ipv6="fd00:30::12", vxlan_tunnel_ipv6="fd00:0:0:1::1")),
    Update(NodeKey("node-c"), Node(ipv4="172.30.0.13")),
    Update(IPPoolKey("pods"), IPPool("10.0.0.0/16", vxlan_mode="CrossSubnet", nat_outgoing=True)),
    Update(IPPoolKey("pods"), IPPool("10.0.0.0/16", ipip_mode="Always")),
    Update(IPPoolKey("six"), IPPool("fd00::/48", block_size=122, vxlan_mode="Always")),
    Update(IPPoolKey("twin"), IPPool("10.0.0.0/16")),
    Update(BlockKey("10.0.0.0/24"), Block("10.0.0.0/24", NODE, (("10.0.0.9", OTHER_NODE), ("10.0.0.2", NODE)))),
    Update(BlockKey("10.0.0.0/24"), Block("10.0.0.0/24", "", (("10.0.0.9", NODE), ("10.0.0.8", "node-c")))),
    Update(BlockKey("10.0.1.0/24"), Block("10.0.1.0/24", OTHER_NODE, (("10.0.1.1", OTHER_NODE),))),
    Update(BlockKey("fd00:0:0:1::/64"), Block("fd00:0:0:1::/64", OTHER_NODE)),
    Update(ServiceKey("red", "shop"), Service(cluster_ips=("10.96.0.1",))),
    Update(BGPConfigKey("default"), BGPConfig(service_cluster_cidrs=("10.96.0.0/16",))),
)


def settled(values: dict[Key, Value]) -> MessageState:
    """The state that follows from the final values alone."""
    calculation = Calculation(NODE)
    calculation.update(Update(key, value) for key, value in values.items())
    calculation.in_sync()
    state = MessageState()
    state.apply(calculation.flush())
    return state


@given(
    before=cases(most_packets=1),
    after=cases(most_packets=1),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=150, deadline=None)
def test_any_order_repetition_and_batching_ends_in_the_same_state(before: Case, after: Case, seed: int) -> None:
    choose = random.Random(seed)
    network = [update for update in NETWORK if choose.random() < 0.7]
    history = [*before.updates, *after.updates, *network]
    history += [Update(update.key, None) for update in history if choose.random() < 0.4]
    history += choose.choices(history, k=len(history) // 2)
    choose.shuffle(history)
    final: dict[Key, Value] = {}
    for update in history:
        final.pop(update.key, None)
        if update.value is not None:
            final[update.key] = update.value

    calculation = Calculation(NODE)
    state = MessageState()
    in_sync_at = choose.randrange(len(history))
    for position, update in enumerate(history):
        calculation.update((update,))
        if position == in_sync_at:
            calculation.in_sync()
        if choose.random() < 0.3:
            messages = calculation.flush()
            assert position >= in_sync_at or not messages, "spoke before the snapshot was complete"
            state.apply(messages)
    state.apply(calculation.flush())

    expected = settled(final)
    assert state.endpoints == expected.endpoints
    assert state.policies == expected.policies
    assert state.profiles == expected.profiles
    assert state.sets == expected.sets
    assert state.others == expected.others
    assert state.in_sync == 1
    assert calculation.flush() == [], "the same state was said twice"


@given(case=cases(most_packets=1))
@settings(max_examples=60, deadline=None)
def test_taking_everything_away_leaves_nothing(case: Case) -> None:
    calculation = Calculation(NODE)
    state = MessageState()
    calculation.update((*case.updates, *NETWORK))
    calculation.in_sync()
    state.apply(calculation.flush())
    calculation.update(Update(update.key, None) for update in (*case.updates, *NETWORK))
    state.apply(calculation.flush())
    assert not state.endpoints
    assert not state.policies
    assert not state.profiles
    assert not state.sets
    assert {kind for kind, _ in state.others} <= {"Encapsulation", "ServiceCIDRs"}
    assert calculation.problems == {}
