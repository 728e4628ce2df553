"""v3 policies and tiers as the dataplane's policies (spec/resources.md 1.4 and 4.5).

For the syncer. In: API objects of any scope, enforced or staged. Out: updates whose policy carries a complete selector;
a policy whose own selector cannot be read is absent, because any other reading would apply it to the wrong endpoints.
"""

from collections.abc import Sequence

from tortie.model.convert.rules import convert_rules
from tortie.model.convert.scopes import (
    NAMESPACED,
    SERVICE_ACCOUNT_LABEL,
    as_service_accounts,
    every,
    in_namespaces,
    own_namespace,
    read,
    replaced,
)
from tortie.model.dataplane import Policy, PolicyKey, Tier, TierKey, Update
from tortie.model.meta import ObjectMeta
from tortie.model.selector_nodes import All, Has, Node
from tortie.model.v3.policy import (
    AnyPolicySpec,
    GlobalNetworkPolicy,
    GlobalNetworkPolicySpec,
    NetworkPolicy,
    NetworkPolicySpec,
    StagedGlobalNetworkPolicy,
    StagedGlobalNetworkPolicySpec,
    StagedNetworkPolicy,
    StagedNetworkPolicySpec,
)
from tortie.model.v3.tier import DEFAULT_TIER, DEFAULT_TIER_ORDER
from tortie.model.v3.tier import Tier as ApiTier

_EVERYTHING = All()
_WITH_SERVICE_ACCOUNT = Has(SERVICE_ACCOUNT_LABEL)


def tier(tier: ApiTier) -> Update:
    """A tier without an order counts as having the default tier's."""
    order = DEFAULT_TIER_ORDER if tier.spec.order is None else tier.spec.order
    passes = tier.spec.default_action == "Pass"
    return Update(TierKey(tier.metadata.name), Tier(order=order, default_action="pass" if passes else "deny"))


def network_policy(policy: NetworkPolicy) -> Update:
    return _update("NetworkPolicy", policy.metadata, policy.spec, staged=None)


def global_network_policy(policy: GlobalNetworkPolicy) -> Update:
    return _update("GlobalNetworkPolicy", policy.metadata, policy.spec, staged=None)


def staged_network_policy(policy: StagedNetworkPolicy) -> Update:
    """Absent if its action is Delete: there is nothing to evaluate."""
    return _update("StagedNetworkPolicy", policy.metadata, policy.spec, staged=policy.spec.staged_action or "Set")


def staged_global_network_policy(policy: StagedGlobalNetworkPolicy) -> Update:
    """Absent if its action is Delete: there is nothing to evaluate."""
    return _update("StagedGlobalNetworkPolicy", policy.metadata, policy.spec, staged=policy.spec.staged_action or "Set")


def _update(kind: str, metadata: ObjectMeta, spec: AnyPolicySpec, *, staged: str | None) -> Update:
    namespaced = isinstance(spec, NetworkPolicySpec | StagedNetworkPolicySpec)
    namespace = metadata.namespace if namespaced else ""
    key = PolicyKey(kind=kind, namespace=namespace, name=metadata.name)
    if staged == "Delete":
        return Update(key, None)
    try:
        selector = _namespaced_scope(spec, namespace) if namespaced else _global_scope(spec)
    except ValueError as error:
        return Update(key, None, (f"the policy is not applied: {error}",))
    ingress, ingress_errors = convert_rules(spec.ingress, direction="ingress", namespace=namespace)
    egress, egress_errors = convert_rules(spec.egress, direction="egress", namespace=namespace)
    errors = (*ingress_errors, *egress_errors)
    applies_ingress, applies_egress = directions(spec.types)
    flags = spec if isinstance(spec, GlobalNetworkPolicySpec | StagedGlobalNetworkPolicySpec) else None
    policy = Policy(
        tier=spec.tier or DEFAULT_TIER,
        order=spec.order,
        selector=selector.text,
        applies_ingress=applies_ingress,
        applies_egress=applies_egress,
        ingress=ingress,
        egress=egress,
        do_not_track=flags is not None and flags.do_not_track,
        pre_dnat=flags is not None and flags.pre_dnat,
        apply_on_forward=flags is not None and flags.apply_on_forward,
        staged=staged,
        performance_hints=spec.performance_hints,
        generation=metadata.generation,
        resource_version=metadata.resource_version,
        errors=errors,
    )
    return Update(key, policy, errors)


def directions(types: Sequence[str]) -> tuple[bool, bool]:
    """Whether a policy governs ingress and egress. Types are filled in on write; without them it governs both."""
    if not types:
        return True, True
    return "Ingress" in types, "Egress" in types


def _namespaced_scope(spec: AnyPolicySpec, namespace: str) -> Node:
    scope = every(read(spec.selector), own_namespace(namespace))
    return every(scope, _service_accounts(spec)) or _EVERYTHING


def _global_scope(spec: AnyPolicySpec) -> Node:
    assert isinstance(spec, GlobalNetworkPolicySpec | StagedGlobalNetworkPolicySpec)
    scope = read(spec.selector)
    # all() shrinks to what the added part is about, in the user's own selector as well.
    if spec.namespace_selector:
        scope = every(scope, in_namespaces(spec.namespace_selector))
        scope = None if scope is None else replaced(scope, NAMESPACED)
    if spec.service_account_selector:
        scope = every(scope, _service_accounts(spec))
        scope = None if scope is None else replaced(scope, _WITH_SERVICE_ACCOUNT)
    return scope or _EVERYTHING


def _service_accounts(spec: AnyPolicySpec) -> Node | None:
    return as_service_accounts(spec.service_account_selector)
