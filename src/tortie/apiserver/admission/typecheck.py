"""Type checking of admission policies: their expressions against the types of the built-in kinds they match.

In: a policy's spec and the registry. Out: `expressionWarnings` of its status, advice that never stops the policy. Rules
with wildcards and custom kinds are left out, and so is what comes after the tenth kind, as Kubernetes documents it.
"""

import functools
from collections.abc import Iterator, Mapping
from typing import Any

from tortie.apiserver import cel
from tortie.apiserver.admission.expressions import compiled
from tortie.apiserver.cel.types import DYN, Type
from tortie.apiserver.kinds import Kind
from tortie.apiserver.registry import Registry
from tortie.apiserver.schema import node as n
from tortie.apiserver.schema.node import Node

Object = dict[str, Any]
_KINDS = 10


@functools.lru_cache(maxsize=64)
def object_type(node: Node) -> Type:
    """The type of a built-in kind's objects."""
    return _type(node, "object", frozenset())


def _type(node: Node, name: str, above: frozenset[int]) -> Type:
    """Values with a format (times, quantities) are known only when they are met; a type inside itself likewise."""
    if node.type == n.ARRAY and node.items is not None:
        return cel.list_of(_type(node.items, f"{name}.@item", above))
    if node.type == n.OBJECT and node.values is not None:
        return cel.map_of(cel.STRING, _type(node.values, f"{name}.@value", above))
    if node.type == n.OBJECT and node.properties and id(node) not in above:
        inside = above | {id(node)}
        return cel.object_of(name, {k: _type(sub, f"{name}.{k}", inside) for k, sub in node.properties.items()})
    if node.format and node.type != n.INTEGER:
        return DYN
    return {n.STRING: cel.STRING, n.INTEGER: cel.INT, n.NUMBER: cel.DOUBLE, n.BOOLEAN: cel.BOOL}.get(node.type, DYN)


def _kinds(registry: Registry, spec: Mapping[str, Any]) -> Iterator[Kind]:
    places = {
        (group, version, resource)
        for rule in (spec.get("matchConstraints") or {}).get("resourceRules") or ()
        for group in rule.get("apiGroups") or ()
        for version in rule.get("apiVersions") or ()
        for resource in rule.get("resources") or ()
        if "*" not in (group, version) and "*" not in resource
    }
    for group, version, resource in sorted(places)[:_KINDS]:
        kind = registry.find(group, version, resource)
        if kind is not None and not kind.custom:
            yield kind


def warnings(registry: Registry, spec: Mapping[str, Any]) -> list[Object]:
    """One for each expression that does not fit some kind, in the order of the expressions."""
    found: dict[str, list[str]] = {}
    for kind in _kinds(registry, spec):
        for problem in compiled(spec, object_type=object_type(kind.schema)).problems:
            found.setdefault(problem.at, []).append(f"{kind.api_version}, Kind={kind.kind}: {problem.text}")
    return [{"fieldRef": at, "warning": "\n".join(texts)} for at, texts in found.items()]
