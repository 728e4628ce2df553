"""Policies and tiers: defaults and checks (spec/resources.md 1.2, 1.4).

For admission. In: objects as JSON for defaults, decoded ones for checks. Out: completed JSON, and problems.
"""

from typing import Any

from tortie.model import formats
from tortie.model.admission.kubernetes import check_kubernetes_rules, check_label_selector
from tortie.model.admission.naming import TIER_LABEL
from tortie.model.admission.problems import Problems
from tortie.model.admission.rules import check_rules
from tortie.model.serving import ServingMode
from tortie.model.v3.policy import (
    AnyPolicy,
    GlobalNetworkPolicy,
    GlobalNetworkPolicySpec,
    StagedGlobalNetworkPolicy,
    StagedGlobalNetworkPolicySpec,
    StagedKubernetesNetworkPolicy,
    StagedNetworkPolicySpec,
)
from tortie.model.v3.tier import BUILT_IN_TIERS, DEFAULT_TIER, DEFAULT_TIER_ORDER, Tier

Object = dict[str, Any]


# --- defaults --------------------------------------------------------------------------------------------------


def default_policy(obj: Object, mode: ServingMode) -> None:
    """The tier and its label, and types from the rules; a staged deletion gets no types, which it may not have."""
    spec = obj["spec"]
    spec["tier"] = spec.get("tier") or DEFAULT_TIER
    metadata = obj.setdefault("metadata", {})
    if isinstance(metadata, dict) and isinstance(metadata.get("labels") or {}, dict):
        metadata["labels"] = {**(metadata.get("labels") or {}), TIER_LABEL: spec["tier"]}
    ingress, egress = (_counts(spec, direction, mode) for direction in ("ingress", "egress"))
    types = ["Ingress", "Egress"] if ingress and egress else ["Egress"] if egress else ["Ingress"]
    _default_types(spec, "types", types, mode)


def default_staged_kubernetes_policy(obj: Object, mode: ServingMode) -> None:
    spec = obj["spec"]
    types = ["Ingress", "Egress"] if _counts(spec, "egress", mode) else ["Ingress"]
    _default_types(spec, "policyTypes", types, mode)


def _counts(spec: Object, direction: str, mode: ServingMode) -> bool:
    """Whether there are rules for a direction. In native mode an empty list of them counts, if it is written."""
    return direction in spec if mode is ServingMode.NATIVE else bool(spec.get(direction))


def _default_types(spec: Object, field: str, types: list[str], mode: ServingMode) -> None:
    if spec.get("stagedAction") != "Delete":
        spec[field] = spec.get(field) or types
    elif mode is ServingMode.AGGREGATED and spec.get(field) == types:
        # What another client filled in by the same rule is no wish of the user's.
        del spec[field]


def default_built_in_tier(obj: Object) -> None:
    """The built-in tiers get the order and action that they must have, unless others are written."""
    metadata = obj.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if isinstance(name, str) and name in BUILT_IN_TIERS and isinstance(obj.get("spec"), dict):
        order, action = BUILT_IN_TIERS[name]
        spec = obj["spec"]
        spec["order"] = int(order) if spec.get("order") is None else spec["order"]
        spec["defaultAction"] = spec.get("defaultAction") or action


def default_tier(obj: Object, mode: ServingMode) -> None:
    """The order that an absent one counts as is written by the aggregated server alone."""
    if mode is ServingMode.AGGREGATED:
        obj["spec"].setdefault("order", int(DEFAULT_TIER_ORDER))


# --- checks ----------------------------------------------------------------------------------------------------


def check_tier(tier: Tier, problems: Problems) -> None:
    name = tier.metadata.name
    if name not in BUILT_IN_TIERS:
        return
    order, action = BUILT_IN_TIERS[name]
    if tier.spec.order != order:
        problems.add("spec.order", tier.spec.order, f"the order of the built-in tier {name} must be {order:.0f}")
    if tier.spec.default_action != action:
        problems.add(
            "spec.defaultAction", tier.spec.default_action, f"the action of the built-in tier {name} must be {action}"
        )


def check_policy(policy: AnyPolicy, problems: Problems) -> None:
    spec = policy.spec
    if isinstance(spec, StagedNetworkPolicySpec | StagedGlobalNetworkPolicySpec) and spec.staged_action == "Delete":
        _nothing_but(spec, ("staged_action", "tier"), problems)
        return
    global_policy = isinstance(policy, GlobalNetworkPolicy | StagedGlobalNetworkPolicy)
    problems.text("spec.tier", spec.tier, formats.name_problem)
    problems.selector("spec.selector", spec.selector)
    problems.selector("spec.serviceAccountSelector", spec.service_account_selector)
    check_rules("spec.ingress", spec.ingress, problems, egress=False, global_policy=global_policy)
    check_rules("spec.egress", spec.egress, problems, egress=True, global_policy=global_policy)
    if isinstance(spec, GlobalNetworkPolicySpec | StagedGlobalNetworkPolicySpec):
        problems.selector("spec.namespaceSelector", spec.namespace_selector)
        _host_flags(spec, problems)


def _host_flags(spec: GlobalNetworkPolicySpec | StagedGlobalNetworkPolicySpec, problems: Problems) -> None:
    if spec.do_not_track and spec.pre_dnat:
        problems.add("spec.doNotTrack", True, "cannot be true together with preDNAT")
    for field, value in (("doNotTrack", spec.do_not_track), ("preDNAT", spec.pre_dnat)):
        if value and not spec.apply_on_forward:
            problems.add("spec.applyOnForward", False, f"must be true when {field} is true")
    if spec.pre_dnat and spec.egress:
        problems.forbidden("spec.egress", "a policy with preDNAT true cannot have egress rules")
    elif spec.pre_dnat and "Egress" in spec.types:
        problems.add("spec.types", "Egress", "a policy with preDNAT true cannot have type Egress")


def _nothing_but(spec: Any, allowed: tuple[str, ...], problems: Problems) -> None:
    """A staged deletion names the policy to delete, and nothing else."""
    empty = type(spec)()
    for attribute, name in zip(spec.__struct_fields__, spec.__struct_encode_fields__, strict=True):
        if attribute not in allowed and getattr(spec, attribute) != getattr(empty, attribute):
            problems.forbidden(f"spec.{name}", "must be empty when stagedAction is Delete")


def check_staged_kubernetes_policy(policy: StagedKubernetesNetworkPolicy, problems: Problems) -> None:
    spec = policy.spec
    if spec.staged_action == "Delete":
        _nothing_but(spec, ("staged_action",), problems)
        return
    check_label_selector("spec.podSelector", spec.pod_selector, problems)
    check_kubernetes_rules(spec.ingress, spec.egress, problems)
