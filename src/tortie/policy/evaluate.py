"""One endpoint's verdict: tiers, policies, rules, defaults and profiles in their order (spec/felix.md 2.3).

In, from the engine: an endpoint, a direction, which of its lists is asked, and a packet. Out: a `Stage`, with every
policy that was asked and what decided.
"""

from collections.abc import Iterator

from tortie.model.dataplane import (
    EndpointKey,
    HostEndpoint,
    Policy,
    PolicyKey,
    Profile,
    ProfileKey,
    Rule,
    WorkloadEndpoint,
)
from tortie.policy.match import rule_matches
from tortie.policy.packet import Direction, Outcome, Packet, PolicyList, Stage, Step
from tortie.policy.text import rule_text
from tortie.policy.world import TierPolicies, World, rules_valid


def judge(world: World, endpoint: EndpointKey, direction: Direction, which: PolicyList, packet: Packet) -> Stage:
    """What one list of an endpoint says about a packet in one direction."""
    steps = list(_steps(world, endpoint, direction, which, packet))
    return Stage(
        endpoint=endpoint,
        node=endpoint.node,
        list=which,
        direction=direction,
        steps=tuple(steps),
        allowed=steps[-1].outcome != "deny",
    )


def belongs(policy: Policy, which: PolicyList) -> bool:
    """Whether a policy stands in a list (felix.md 2.4)."""
    match which:
        case "untracked":
            return policy.do_not_track
        case "pre-dnat":
            return policy.pre_dnat
        case "forward":
            return policy.apply_on_forward and not policy.do_not_track and not policy.pre_dnat
        case _:
            return not policy.do_not_track and not policy.pre_dnat


def _applies(policy: Policy, direction: Direction) -> bool:
    if not policy.applies_ingress and not policy.applies_egress:
        return True  # no type at all: both directions (felix.md 2.2)
    return policy.applies_ingress if direction == "ingress" else policy.applies_egress


def _steps(
    world: World, endpoint: EndpointKey, direction: Direction, which: PolicyList, packet: Packet
) -> Iterator[Step]:
    """Ends with the step that decides."""
    has_default = which in ("workload", "normal", "forward")
    any_policy = False
    for tier in world.tiers_selecting(endpoint):
        policies = [
            (key, policy) for key, policy in tier.policies if belongs(policy, which) and _applies(policy, direction)
        ]
        if not policies:
            continue
        any_policy = True
        outcome: Outcome = "no-match"
        for key, policy in policies:
            for step in _policy_steps(world, tier, key, policy, direction, packet):
                yield step
                outcome = step.outcome
            if outcome in ("allow", "deny"):
                return
            if outcome == "pass":
                break
        if outcome != "pass" and has_default:
            selected = tuple(key for key, _ in policies)
            if tier.default_action != "pass":
                yield Step(
                    outcome="deny",
                    tier=tier.name,
                    selected=selected,
                    text="no rule matched; the tier's default action is Deny",
                )
                return
            yield Step(
                outcome="pass",
                tier=tier.name,
                selected=selected,
                text="no rule matched; the tier's default action is Pass",
            )
    if which in ("untracked", "pre-dnat"):
        yield Step(outcome="pass", text="no rule matched; the packet goes on to the next list")
    elif which == "forward":
        reason = "no rule decided" if any_policy else "no policy applies to forwarded traffic in this direction"
        yield Step(outcome="allow", text=f"{reason}; forwarded traffic is allowed")
    else:
        yield from _profile_steps(world, endpoint, direction, packet)


def _policy_steps(
    world: World, tier: TierPolicies, key: PolicyKey, policy: Policy, direction: Direction, packet: Packet
) -> Iterator[Step]:
    """Log steps, then the step of the rule that ends the policy, or one that says that none matched."""
    rules = policy.ingress if direction == "ingress" else policy.egress
    for index, rule in _matching(world, rules, packet):
        yield Step(outcome=rule.action, tier=tier.name, policy=key, rule=index, text=rule_text(rule))
        if rule.action != "log":
            return
    reason = "no rule matches" if rules else f"it has no {direction} rules"
    yield Step(outcome="no-match", tier=tier.name, policy=key, text=reason)


def _profile_steps(world: World, endpoint: EndpointKey, direction: Direction, packet: Packet) -> Iterator[Step]:
    value = world.get(endpoint)
    profiles = value.profiles if isinstance(value, WorkloadEndpoint | HostEndpoint) else ()
    for name in profiles:
        profile = world.get(ProfileKey(name))
        if not isinstance(profile, Profile) or not rules_valid(profile):
            yield Step(outcome="deny", profile=name, text="the profile does not exist or is invalid")
            return
        rules = profile.ingress if direction == "ingress" else profile.egress
        for index, rule in _matching(world, rules, packet):
            yield Step(outcome=rule.action, profile=name, rule=index, text=rule_text(rule))
            if rule.action in ("allow", "deny"):
                return
            if rule.action == "pass":
                break
        else:
            yield Step(outcome="no-match", profile=name, text="no rule matches")
    reason = "no profile decided" if profiles else "the endpoint has no profile"
    yield Step(outcome="deny", text=f"{reason}, and what nothing allows is denied")


def _matching(world: World, rules: tuple[Rule, ...], packet: Packet) -> Iterator[tuple[int, Rule]]:
    for index, rule in enumerate(rules):
        if rule_matches(world, rule, packet):
            yield index, rule
