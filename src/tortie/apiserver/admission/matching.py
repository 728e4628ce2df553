"""Which requests a rule of admissionregistration means.

In: rules and selectors as their objects have them, and a request's attributes. Out: whether they match, and in which
version of the resource. Webhooks and admission policies share it. Pure.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from tortie.apiserver.admission.attributes import Attributes
from tortie.apiserver.builtin.workloads import matches
from tortie.apiserver.kinds import Kind

Object = dict[str, Any]
GROUP = "admissionregistration.k8s.io"
# A mistake in one of these must stay repairable, so no webhook and no policy is asked about them.
EXEMPT = frozenset(
    {
        "mutatingwebhookconfigurations",
        "validatingwebhookconfigurations",
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
        "mutatingadmissionpolicies",
        "mutatingadmissionpolicybindings",
    }
)


def exempt(group: str, plural: str) -> bool:
    """Whether requests on the resource never reach webhooks and policies."""
    return group == GROUP and plural in EXEMPT


def _among(values: Iterable[str], value: str) -> bool:
    return any(v in {"*", value} for v in values)


def _resource(wanted: Iterable[str], plural: str, subresource: str) -> bool:
    for text in wanted:
        resource, slash, sub = text.partition("/")
        if resource not in {"*", plural}:
            continue
        if not slash and not subresource:
            return True
        if slash and sub in {"*", subresource} and (subresource or resource == "*"):
            return True
    return False


def rule_matches(
    rule: Mapping[str, Any], operation: str, kind: Kind, subresource: str, *, name: str | None = None
) -> bool:
    """One rule against one version of a resource. name: of the object, for `resourceNames` (None: not asked)."""
    if not _among(rule.get("operations") or (), operation):
        return False
    if not _among(rule.get("apiGroups") or (), kind.group) or not _among(rule.get("apiVersions") or (), kind.version):
        return False
    if not _resource(rule.get("resources") or (), kind.plural, subresource):
        return False
    scope = rule.get("scope") or "*"
    if scope != "*" and (scope == "Namespaced") is not kind.namespaced:
        return False
    wanted = rule.get("resourceNames") or ()
    return name is None or not wanted or name in wanted


def match_rules(
    rules: Iterable[Mapping[str, Any]],
    operation: str,
    kind: Kind,
    versions: Iterable[Kind],
    subresource: str,
    *,
    equivalent: bool,
    name: str | None = None,
) -> Kind | None:
    """The version of the resource in which a rule matches: the request's own first, then, if equivalents count, the
    others. None: no rule does. name: of the object, where rules may list names."""
    rules = list(rules)
    if any(rule_matches(rule, operation, kind, subresource, name=name) for rule in rules):
        return kind
    if equivalent:
        for rule in rules:
            for other in versions:
                if rule_matches(rule, operation, other, subresource, name=name):
                    return other
    return None


def namespace_matches(selector: Object, attributes: Attributes, namespace_labels: Mapping[str, str] | None) -> bool:
    """A namespaceSelector. namespace_labels: of the request's namespace, None for objects outside namespaces, which
    it never leaves out. A Namespace is judged by its own labels."""
    if not selector:
        return True
    if attributes.place.plural == "namespaces" and not attributes.place.group:
        return matches(selector, attributes.labels[0] if attributes.labels else {})
    return namespace_labels is None or matches(selector, namespace_labels)


def object_matches(selector: Object, attributes: Attributes) -> bool:
    """An objectSelector: one of the two objects must match; what can have no labels does not."""
    if not selector:
        return True
    return any(matches(selector, labels) for labels in attributes.labels)
