"""The calculation's messages and the policy engine, two implementations of one specification, agree on verdicts."""

from typing import Literal

from hypothesis import given, settings
from message_state import List, MessageState
from policy_cases import Case, cases

from tortie.felix.calc import Calculation
from tortie.model.dataplane import EndpointKey, HostEndpointKey
from tortie.policy.evaluate import judge
from tortie.policy.packet import Packet, PolicyList
from tortie.policy.world import World

_HOST_LISTS: tuple[tuple[PolicyList, List], ...] = (
    ("normal", "tiers"),
    ("forward", "forward_tiers"),
    ("untracked", "untracked_tiers"),
    ("pre-dnat", "pre_dnat_tiers"),
)
_DIRECTIONS: tuple[Literal["ingress", "egress"], ...] = ("ingress", "egress")


@given(case=cases())
@settings(max_examples=300, deadline=None)
def test_the_calculation_and_the_engine_agree_on_every_verdict(case: Case) -> None:
    calculation = Calculation(case.node)
    calculation.update(case.updates)
    calculation.in_sync()
    state = MessageState()
    state.apply(calculation.flush())
    world = World(case.updates)
    for packet in case.packets:
        for endpoint in case.local_endpoints():
            lists: tuple[tuple[PolicyList, List], ...] = (("workload", "tiers"),)
            if isinstance(endpoint, HostEndpointKey):
                lists = _HOST_LISTS
            for name, attribute in lists:
                for direction in _DIRECTIONS:
                    assert state.allows(endpoint, direction, attribute, packet) == _engine(
                        world, endpoint, direction, name, packet
                    ), (name, direction, endpoint, packet)


def _engine(
    world: World, endpoint: EndpointKey, direction: Literal["ingress", "egress"], which: PolicyList, packet: Packet
) -> str:
    workload = world.workload(endpoint)
    if workload is not None and not workload.active:
        return "deny"
    return judge(world, endpoint, direction, which, packet).decided_by.outcome
