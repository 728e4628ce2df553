"""The order in which policies apply to an endpoint: tiers, and policies within them (spec/felix.md 2.1, 2.4).

In: the policies that select an endpoint, and the tiers. Out: the lists of tiers that an endpoint message carries.
Pure functions over a table of sort keys.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from tortie.felix.messages import TierInfo
from tortie.model.dataplane import Policy, PolicyKey, Tier, TierKey

Tiers: TypeAlias = tuple[TierInfo, ...]
Selected: TypeAlias = Iterable[tuple[PolicyKey, Policy]]
SortKey: TypeAlias = tuple[bool, float, str, float, str]


def sort_key(key: PolicyKey, policy: Policy, tiers: Mapping[TierKey, Tier]) -> SortKey:
    """Orders policies as they are evaluated; a tier that does not exist comes after all that do."""
    tier = tiers.get(TierKey(policy.tier))
    tier_order = math.inf if tier is None or tier.order is None else tier.order
    policy_order = math.inf if policy.order is None else policy.order
    return (tier is None, tier_order, policy.tier, policy_order, key.sort_text)


def applies(policy: Policy) -> tuple[bool, bool]:
    """Whether a policy applies to ingress and to egress; one without any type applies to both (felix.md 2.2)."""
    if not policy.applies_ingress and not policy.applies_egress:
        return True, True
    return policy.applies_ingress, policy.applies_egress


def is_normal(policy: Policy) -> bool:
    """Policies of the ordinary list, the only one that workload endpoints have."""
    return not policy.do_not_track and not policy.pre_dnat


def is_forward(policy: Policy) -> bool:
    """Policies of a host endpoint's forward list."""
    return policy.apply_on_forward and is_normal(policy)


def is_untracked(policy: Policy) -> bool:
    """Policies of a host endpoint's untracked list."""
    return policy.do_not_track


def is_pre_dnat(policy: Policy) -> bool:
    """Policies of a host endpoint's pre-DNAT list."""
    return policy.pre_dnat


def select(
    ordered: Selected,
    wanted: Callable[[Policy], bool],
    tiers: Mapping[TierKey, Tier],
    *,
    always_pass: bool = False,
    egress: bool = True,
) -> Tiers:
    """The tiers of one list. ordered: the endpoint's policies, already sorted; wanted: which belong to the list.

    always_pass: nothing is dropped at the end of a tier (untracked and pre-DNAT lists). egress False: ingress only.
    A direction that a tier has no policy for stays empty, so that the tier's default does not apply to it.
    """
    found: dict[str, tuple[list[PolicyKey], list[PolicyKey]]] = {}
    for key, policy in ordered:
        if not wanted(policy):
            continue
        into_ingress, into_egress = applies(policy)
        if not into_ingress and not (into_egress and egress):
            continue
        lists = found.setdefault(policy.tier, ([], []))
        if into_ingress:
            lists[0].append(key)
        if into_egress and egress:
            lists[1].append(key)
    result: list[TierInfo] = []
    for name, (ingress_keys, egress_keys) in found.items():
        tier = tiers.get(TierKey(name))
        action = "deny" if tier is None else tier.default_action
        result.append(
            TierInfo(
                name=name,
                ingress=tuple(ingress_keys),
                egress=tuple(egress_keys),
                default_action="pass" if always_pass else action,
            )
        )
    return tuple(result)
