"""The question and the answer of policy evaluation: a packet that opens a connection, and what becomes of it.

In: whoever asks makes a `Packet`. Out: the engine answers with a `Verdict`, an ordered trace of every place where
policy was asked, of every policy asked there, and of what decided.
"""

from typing import Literal, TypeAlias

import msgspec

from tortie.model.dataplane import EndpointKey, PolicyKey

Direction: TypeAlias = Literal["ingress", "egress"]
PolicyList: TypeAlias = Literal["workload", "normal", "forward", "untracked", "pre-dnat"]
Outcome: TypeAlias = Literal["allow", "deny", "pass", "log", "no-match"]


class Packet(msgspec.Struct, frozen=True, kw_only=True):
    """The first packet of a connection, after service addresses were translated.

    protocol: IANA number. Ports are None for protocols without. src, dst: which endpoint sends and receives; None: it
    follows from the address (a workload's, a node's, or nobody's that we know). service_ip, service_port: what the
    packet was addressed to before translation, "" and None if it was not translated.
    """

    src_ip: str
    dst_ip: str
    protocol: int
    src_port: int | None = None
    dst_port: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None
    src: EndpointKey | None = None
    dst: EndpointKey | None = None
    service_ip: str = ""
    service_port: int | None = None

    @property
    def version(self) -> int:
        """The IP version: 4 or 6."""
        return 6 if ":" in self.dst_ip else 4


class Failsafe(msgspec.Struct, frozen=True):
    """A port that host endpoints always allow; net "": for any peer."""

    protocol: int
    port: int
    net: str = ""


_TCP, _UDP = 6, 17
_TCP_BOTH_WAYS = (179, 2379, 2380, 5473, 6443, 6666, 6667)
INBOUND_FAILSAFES = (Failsafe(_TCP, 22), Failsafe(_UDP, 68), *(Failsafe(_TCP, port) for port in _TCP_BOTH_WAYS))
OUTBOUND_FAILSAFES = (Failsafe(_UDP, 53), Failsafe(_UDP, 67), *(Failsafe(_TCP, port) for port in _TCP_BOTH_WAYS))


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The Felix parameters that decide verdicts, with Felix's defaults."""

    endpoint_to_host_action: Literal["accept", "drop", "return"] = "drop"
    failsafe_inbound: tuple[Failsafe, ...] = INBOUND_FAILSAFES
    failsafe_outbound: tuple[Failsafe, ...] = OUTBOUND_FAILSAFES
    allow_vxlan_from_workloads: bool = False
    allow_ipip_from_workloads: bool = False
    vxlan_port: int = 4789


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was asked: a policy, a tier's default, a profile, or a fixed rule of Felix.

    policy and rule: which rule matched (rule None: no rule did). profile: set instead of policy for a profile.
    selected: for a tier's default, the policies that select the endpoint there. text: the rule, or the reason.
    """

    outcome: Outcome
    tier: str = ""
    policy: PolicyKey | None = None
    profile: str = ""
    rule: int | None = None
    text: str = ""
    selected: tuple[PolicyKey, ...] = ()


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """One place on the packet's way. steps: in the order in which they were asked; the last one decided."""

    endpoint: EndpointKey | None
    node: str
    list: PolicyList
    direction: Direction
    steps: tuple[Step, ...]
    allowed: bool

    @property
    def decided_by(self) -> Step:
        """The step that settled this stage."""
        return self.steps[-1]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Allowed when every stage allows. note: why nothing was asked, when there is no stage."""

    allowed: bool
    stages: tuple[Stage, ...]
    note: str = ""

    @property
    def decided_by(self) -> Stage | None:
        """The first stage that denies; if all allow, the last one; None when nothing was asked."""
        for stage in self.stages:
            if not stage.allowed:
                return stage
        return self.stages[-1] if self.stages else None
