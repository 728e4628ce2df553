"""What a cluster that serves Calico's definitions natively needs besides them: admission policies in CEL.

For deploy/manifests/calico-admission-policies*.yaml and the tests. In: the catalogue and the built-in tiers. Out:
Mutating- and ValidatingAdmissionPolicies with their bindings, as plain objects (spec/apiserver-controllers-clis.md
1.10). They fill in what depends on the rules of a policy, which no schema can, and keep the built-in tiers.
"""

from collections.abc import Iterator
from typing import Any

from tortie.model.catalog import CALICO_GROUP, POLICIES, STAGED_KUBERNETES_NETWORK_POLICIES, TIERS
from tortie.model.packing import TIER_LABEL
from tortie.model.resource import Resource
from tortie.model.v3.tier import BUILT_IN_TIERS, DEFAULT_TIER

Object = dict[str, Any]

MUTATING_VERSIONS = ("v1", "v1beta1", "v1alpha1")
"""Versions of admissionregistration.k8s.io that have MutatingAdmissionPolicies: from Kubernetes 1.36, 1.34 and 1.32."""

_GROUP = "admissionregistration.k8s.io"


def built_in_tiers() -> Iterator[Object]:
    """The tiers that every cluster has, for clusters where nothing else makes them."""
    for name, (order, action) in BUILT_IN_TIERS.items():
        yield {
            "apiVersion": TIERS.api_version,
            "kind": TIERS.kind,
            "metadata": {"name": name},
            "spec": {"order": int(order), "defaultAction": action},
        }


def native_policies(mutating_version: str = "v1") -> Iterator[Object]:
    """All of them. mutating_version: one of `MUTATING_VERSIONS`; what validates is v1 in every Kubernetes."""
    yield from _mutating(
        mutating_version,
        name=f"policytypes.policy.{CALICO_GROUP}",
        binding="set-policytypes-binding",
        resources=(*POLICIES, STAGED_KUBERNETES_NETWORK_POLICIES),
        conditions={
            "types-are-absent": "!has(object.spec) || (object.kind == 'StagedKubernetesNetworkPolicy'"
            " ? !has(object.spec.policyTypes) || object.spec.policyTypes.size() == 0"
            " : !has(object.spec.types) || object.spec.types.size() == 0)",
            # A staged deletion has nothing but the tier.
            "is-no-staged-deletion": "!has(object.spec) || !has(object.spec.stagedAction) ||"
            " object.spec.stagedAction != 'Delete'",
        },
        variables={
            "ingress": "has(object.spec) && has(object.spec.ingress)",
            "egress": "has(object.spec) && has(object.spec.egress)",
        },
        expression="object.kind == 'StagedKubernetesNetworkPolicy'"
        " ? Object{spec: Object.spec{policyTypes: variables.egress ? ['Ingress', 'Egress'] : ['Ingress']}}"
        " : Object{spec: Object.spec{types: !variables.egress ? ['Ingress'] :"
        " variables.ingress ? ['Ingress', 'Egress'] : ['Egress']}}",
    )
    yield from _mutating(
        mutating_version,
        name=f"tierlabel.policy.{CALICO_GROUP}",
        binding="set-tier-label-binding",
        resources=POLICIES,
        conditions={},
        variables={
            "tier": "has(object.spec) && has(object.spec.tier) && object.spec.tier != ''"
            f" ? object.spec.tier : '{DEFAULT_TIER}'"
        },
        expression=f"Object{{metadata: Object.metadata{{labels: {{'{TIER_LABEL}': variables.tier}}}},"
        " spec: Object.spec{tier: variables.tier}}",
    )
    names = ", ".join(f"'{name}'" for name in BUILT_IN_TIERS)
    name = f"protect-builtin-tiers.{CALICO_GROUP}"
    yield {
        "apiVersion": f"{_GROUP}/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [_rule((TIERS,), ["DELETE"])]},
            "validations": [
                {
                    "expression": f"!(oldObject.metadata.name in [{names}])",
                    "messageExpression": "'the built-in tier ' + oldObject.metadata.name + ' cannot be deleted'",
                    "message": "built-in tiers cannot be deleted",
                    "reason": "Forbidden",
                }
            ],
        },
    }
    yield {
        "apiVersion": f"{_GROUP}/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "protect-builtin-tiers-binding"},
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    }


def _mutating(
    version: str,
    *,
    name: str,
    binding: str,
    resources: tuple[Resource[Any], ...],
    conditions: dict[str, str],
    variables: dict[str, str],
    expression: str,
) -> Iterator[Object]:
    """A policy and its binding."""
    spec: Object = {
        "failurePolicy": "Fail",
        "reinvocationPolicy": "IfNeeded",
        "matchConstraints": {"resourceRules": [_rule(resources, ["CREATE", "UPDATE"])]},
    }
    if conditions:
        spec["matchConditions"] = [{"name": key, "expression": text} for key, text in conditions.items()]
    spec["variables"] = [{"name": key, "expression": text} for key, text in variables.items()]
    spec["mutations"] = [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}]
    yield {
        "apiVersion": f"{_GROUP}/{version}",
        "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": spec,
    }
    yield {
        "apiVersion": f"{_GROUP}/{version}",
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": binding},
        "spec": {"policyName": name},
    }


def _rule(resources: tuple[Resource[Any], ...], operations: list[str]) -> Object:
    return {
        "apiGroups": [CALICO_GROUP],
        "apiVersions": [resources[0].version],
        "operations": operations,
        "resources": [resource.plural for resource in resources],
    }
