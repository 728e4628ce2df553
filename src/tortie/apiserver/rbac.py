"""RBAC as plain functions: do rules allow a request, do rules cover other rules.

In: PolicyRules as trees, and the attributes of a request. Out: yes or no. Pure.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Rule = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a request wants to do."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""
    namespace: str = ""
    path: str = ""  # non-resource requests

    @property
    def full_resource(self) -> str:
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


def _has(values: Any, wanted: str) -> bool:
    return bool(values) and ("*" in values or wanted in values)


def _resource(values: Any, wanted: Attributes) -> bool:
    if not values:
        return False
    if "*" in values or wanted.full_resource in values:
        return True
    return bool(wanted.subresource) and f"*/{wanted.subresource}" in values


def _path(values: Any, path: str) -> bool:
    return any(v == "*" or v == path or (v.endswith("*") and path.startswith(v[:-1])) for v in values or ())


def allows(rule: Rule, wanted: Attributes) -> bool:
    """Whether one rule allows the request."""
    if not _has(rule.get("verbs"), wanted.verb):
        return False
    if wanted.path:
        return _path(rule.get("nonResourceURLs"), wanted.path)
    if not _has(rule.get("apiGroups"), wanted.group) or not _resource(rule.get("resources"), wanted):
        return False
    names = rule.get("resourceNames")
    return not names or (bool(wanted.name) and wanted.name in names)


def _single(rule: Rule) -> Iterable[Rule]:
    """A rule as rules of one verb, group, resource and name each."""
    for verb in rule.get("verbs") or ():
        for path in rule.get("nonResourceURLs") or ():
            yield {"verbs": [verb], "nonResourceURLs": [path]}
        for group in rule.get("apiGroups") or ():
            for resource in rule.get("resources") or ():
                for name in rule.get("resourceNames") or ("",):
                    single: dict[str, Any] = {"verbs": [verb], "apiGroups": [group], "resources": [resource]}
                    if name:
                        single["resourceNames"] = [name]
                    yield single


def _covers(owner: Rule, single: Rule) -> bool:
    verb = single["verbs"][0]
    if not _has(owner.get("verbs"), verb):
        return False
    if "nonResourceURLs" in single:
        wanted = single["nonResourceURLs"][0]
        return any(
            have in ("*", wanted) or (have.endswith("*") and wanted.startswith(have[:-1]))
            for have in owner.get("nonResourceURLs") or ()
        )
    resource = single["resources"][0]
    base, _, sub = resource.partition("/")
    wanted_attributes = Attributes(verb, single["apiGroups"][0], base, sub)
    if not _has(owner.get("apiGroups"), wanted_attributes.group):
        return False
    if not _resource(owner.get("resources"), wanted_attributes):
        return False
    names = owner.get("resourceNames")
    return not names or single.get("resourceNames", [""])[0] in names


def missing(owned: Iterable[Rule], wanted: Iterable[Rule]) -> list[Rule]:
    """The single rules among `wanted` that `owned` does not cover: what would be an escalation."""
    have = list(owned)
    return [single for rule in wanted for single in _single(rule) if not any(_covers(o, single) for o in have)]


def text(rule: Rule) -> str:
    """A rule as the escalation message writes it."""
    parts = []
    for key, label in (
        ("apiGroups", "APIGroups"),
        ("resources", "Resources"),
        ("resourceNames", "ResourceNames"),
        ("nonResourceURLs", "NonResourceURLs"),
        ("verbs", "Verbs"),
    ):
        if rule.get(key):
            parts.append(f"{label}:[{', '.join(repr(v).replace(chr(39), chr(34)) for v in rule[key])}]")
    return "{" + ", ".join(parts) + "}"
