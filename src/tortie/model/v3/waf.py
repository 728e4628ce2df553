"""The web application firewall: plugins, policies and checks of policies, for one namespace and for all.

For admission and the gateways. In: JSON of applicationlayer.projectcalico.org/v3. Out: immutable structs; all kinds are
of the Enterprise edition (spec/resources.md 1.4).
"""

from typing import Annotated

from tortie.model.fields import ApiStruct, Object, constant, doc
from tortie.model.meta import Condition, LabelSelector, ObjectMeta

_API_VERSION = "applicationlayer.projectcalico.org/v3"


class WAFStatus(ApiStruct, frozen=True, kw_only=True):
    conditions: Annotated[tuple[Condition, ...], doc("Whether the object is in force.")] = ()


class WAFPluginSpec(ApiStruct, frozen=True, kw_only=True):
    """At least one of config, before, rules and after is set."""

    description: Annotated[str, doc("What the plugin is for.", maxLength=1024)] = ""
    config: Annotated[str, doc("Directives that set up the plugin.", maxLength=65536)] = ""
    before: Annotated[str, doc("Directives that come before the core rules.", maxLength=65536)] = ""
    rules: Annotated[str, doc("Directives with rules of the plugin.", maxLength=65536)] = ""
    after: Annotated[str, doc("Directives that come after the core rules.", maxLength=65536)] = ""


class CoreRuleSet(ApiStruct, frozen=True, kw_only=True):
    state: Annotated[str, doc("Whether the core rules are used.", enum=["Enabled", "Disabled"], default="Enabled")] = ""
    paranoia_level: Annotated[int, doc("How strict the core rules are.", minimum=1, maximum=4, default=1)] = 0


class WAFPluginReference(ApiStruct, frozen=True, kw_only=True):
    kind: Annotated[str, doc("WAFPlugin or GlobalWAFPlugin.", enum=["WAFPlugin", "GlobalWAFPlugin"])] = ""
    name: Annotated[str, doc("Name of the plugin.", required=True)] = ""


class GlobalWAFPolicySpec(ApiStruct, frozen=True, kw_only=True):
    default_action: Annotated[
        str, doc("Whether attacks are only reported, or blocked.", enum=["Detect", "Block"], default="Detect")
    ] = ""
    core_rule_set: Annotated[CoreRuleSet | None, doc("Settings of the core rules.")] = None
    plugins: Annotated[tuple[WAFPluginReference, ...], doc("Plugins in use, in order.", maxItems=64)] = ()


class WAFTargetReference(ApiStruct, frozen=True, kw_only=True):
    group: Annotated[str, doc("Group of the target.")] = ""
    kind: Annotated[str, doc("Kind of the target.", enum=["Gateway", "HTTPRoute"], required=True)] = ""
    name: Annotated[str, doc("Name of the target.", required=True)] = ""
    section_name: Annotated[str, doc("Part of the target that is meant; all of it if absent.")] = ""


class WAFPolicySpec(ApiStruct, frozen=True, kw_only=True):
    target_refs: Annotated[
        tuple[WAFTargetReference, ...],
        doc("Gateways and routes that the policy is for.", minItems=1, maxItems=16, required=True),
    ] = ()
    action: Annotated[str, doc("Whether attacks are only reported, or blocked.", enum=["Detect", "Block"])] = ""
    core_rule_set: Annotated[CoreRuleSet | None, doc("Settings of the core rules.")] = None
    plugins: Annotated[
        tuple[WAFPluginReference, ...], doc("Plugins of the namespace in use, in order.", maxItems=64)
    ] = ()


class WAFValidationRule(ApiStruct, frozen=True, kw_only=True):
    name: Annotated[str, doc("Name of the rule.", maxLength=63, required=True)] = ""
    rego: Annotated[str, doc("The rule, in the language Rego.", maxLength=16384, required=True)] = ""
    severity: Annotated[
        str, doc("How bad a violation is.", enum=["info", "warning", "critical"], default="warning")
    ] = ""
    message: Annotated[str, doc("What is said about a violation.", maxLength=1024)] = ""


class WAFValidationPolicySpec(ApiStruct, frozen=True, kw_only=True):
    rules: Annotated[
        tuple[WAFValidationRule, ...], doc("What WAF policies must fulfil.", minItems=1, required=True)
    ] = ()


class GlobalWAFValidationPolicySpec(ApiStruct, frozen=True, kw_only=True):
    rules: Annotated[
        tuple[WAFValidationRule, ...], doc("What WAF policies must fulfil.", minItems=1, required=True)
    ] = ()
    enforcement_mode: Annotated[
        str, doc("Whether violations are only reported, or refused.", enum=["Audit", "Enforce"], default="Audit")
    ] = ""
    namespace_selector: Annotated[LabelSelector | None, doc("Namespaces that it is for; all if absent.")] = None


class GlobalWAFPlugin(Object, frozen=True, kw_only=True):
    """Directives for the firewall that policies of all namespaces may use."""

    api_version: str = constant(_API_VERSION)
    kind: str = constant("GlobalWAFPlugin")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[WAFPluginSpec, doc("What it holds.")] = WAFPluginSpec()
    status: Annotated[WAFStatus | None, doc("What the system observes of it.")] = None


class WAFPlugin(Object, frozen=True, kw_only=True):
    """Directives for the firewall that policies of the namespace may use."""

    api_version: str = constant(_API_VERSION)
    kind: str = constant("WAFPlugin")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[WAFPluginSpec, doc("What it holds.")] = WAFPluginSpec()
    status: Annotated[WAFStatus | None, doc("What the system observes of it.")] = None


class GlobalWAFPolicy(Object, frozen=True, kw_only=True):
    """Settings of the firewall for all gateways. The only object is named default."""

    api_version: str = constant(_API_VERSION)
    kind: str = constant("GlobalWAFPolicy")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[GlobalWAFPolicySpec, doc("What it holds.")] = GlobalWAFPolicySpec()
    status: Annotated[WAFStatus | None, doc("What the system observes of it.")] = None


class WAFPolicy(Object, frozen=True, kw_only=True):
    """Settings of the firewall for some gateways or routes of the namespace."""

    api_version: str = constant(_API_VERSION)
    kind: str = constant("WAFPolicy")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[WAFPolicySpec, doc("What it holds.")] = WAFPolicySpec()
    status: Annotated[WAFStatus | None, doc("What the system observes of it.")] = None


class GlobalWAFValidationPolicy(Object, frozen=True, kw_only=True):
    """What WAF policies of all namespaces must fulfil."""

    api_version: str = constant(_API_VERSION)
    kind: str = constant("GlobalWAFValidationPolicy")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[GlobalWAFValidationPolicySpec, doc("What it holds.")] = GlobalWAFValidationPolicySpec()
    status: Annotated[WAFStatus | None, doc("What the system observes of it.")] = None


class WAFValidationPolicy(Object, frozen=True, kw_only=True):
    """What WAF policies of the namespace must fulfil."""

    api_version: str = constant(_API_VERSION)
    kind: str = constant("WAFValidationPolicy")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[WAFValidationPolicySpec, doc("What it holds.")] = WAFValidationPolicySpec()
    status: Annotated[WAFStatus | None, doc("What the system observes of it.")] = None
