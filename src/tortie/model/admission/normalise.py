"""Scalars that may be written in several ways, in the one way in which they are stored (spec/resources.md 2.4).

For admission, before types are checked. In: the spec of an object as JSON. Out: the same with the scalars rewritten;
the argument is not changed. What cannot be read is left as it is, for the checks to name.
"""

from collections.abc import Callable
from typing import Any

from tortie.model import formats

Object = dict[str, Any]


def ports(spec: Object) -> Object:
    """Ports and protocols of rules: numeric text becomes a number, `80:80` too."""
    return _each_rule(spec, ("ingress", "egress"), _rule)


def as_numbers(spec: Object) -> Object:
    """AS numbers of BGP resources: `65001` as text and `1.10` become numbers."""
    spec = _changed(spec, ("asNumber", "localASNumber"), formats.as_number)
    return _each_rule(spec, ("exportV4", "importV4", "exportV6", "importV6"), _filter_rule)


def node(spec: Object) -> Object:
    """The AS number of a node as Calico sees it."""
    bgp = spec.get("bgp")
    return {**spec, "bgp": _changed(bgp, ("asNumber",), formats.as_number)} if isinstance(bgp, dict) else spec


def early_nodes(spec: Object) -> Object:
    """AS numbers of nodes and switches before Kubernetes runs."""
    return _each_rule(spec, ("nodes",), _early_node)


def _early_node(item: Object) -> Object:
    item = _changed(item, ("asNumber",), formats.as_number)
    return _each_rule(item, ("peerings",), lambda peering: _changed(peering, ("peerASNumber",), formats.as_number))


def _rule(rule: Object) -> Object:
    rule = _changed(rule, ("protocol", "notProtocol"), _protocol)
    for side in ("source", "destination"):
        if isinstance(entity := rule.get(side), dict):
            rule[side] = _changed(entity, ("ports", "notPorts"), formats.canonical_port)
    return rule


def _filter_rule(rule: Object) -> Object:
    rule = _changed(rule, ("asPathPrefix",), formats.as_number)
    if isinstance(operations := rule.get("operations"), list):
        rule["operations"] = [_operation(item) if isinstance(item, dict) else item for item in operations]
    return rule


def _operation(operation: Object) -> Object:
    path = operation.get("prependASPath")
    if not isinstance(path, dict):
        return operation
    return {**operation, "prependASPath": _changed(path, ("prefix",), formats.as_number)}


def _protocol(value: int | str) -> int | str:
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 3 else value


def _each_rule(spec: Object, fields: tuple[str, ...], change: Callable[[Object], Object]) -> Object:
    spec = dict(spec)
    for field in fields:
        if isinstance(rules := spec.get(field), list):
            spec[field] = [change(rule) if isinstance(rule, dict) else rule for rule in rules]
    return spec


def _changed(part: Object, fields: tuple[str, ...], convert: Callable[[Any], Any]) -> Object:
    """A copy in which these fields, or the items of these lists, are converted."""
    part = dict(part)
    for field in fields:
        value = part.get(field)
        if isinstance(value, list):
            part[field] = [_attempt(convert, item) for item in value]
        elif field in part:
            part[field] = _attempt(convert, value)
    return part


def _attempt(convert: Callable[[Any], Any], value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | str):
        return value
    try:
        return convert(value)
    except ValueError:
        return value
