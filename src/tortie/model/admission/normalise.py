"""Scalars that may be written in several ways, in the one way in which they are stored (spec/resources.md 2.4).

For admission, before types are checked. In: the spec of an object as JSON; it is changed in place. Out: nothing. What
cannot be read is left as it is, for the checks to name.
"""

from collections.abc import Callable, Iterator
from typing import Any

from tortie.model import formats

Object = dict[str, Any]


def normalise_ports(obj: Object) -> None:
    """Ports and protocols of rules: numeric text becomes a number, `80:80` too."""
    spec = obj["spec"]
    for direction in ("ingress", "egress"):
        for rule in _objects(spec.get(direction)):
            for field in ("protocol", "notProtocol"):
                if field in rule:
                    rule[field] = _attempt(_protocol, rule[field])
            for side in ("source", "destination"):
                entity = rule.get(side)
                if not isinstance(entity, dict):
                    continue
                for field in ("ports", "notPorts"):
                    if isinstance(entity.get(field), list):
                        entity[field] = [_attempt(formats.canonical_port, port) for port in entity[field]]


def normalise_as_numbers(obj: Object) -> None:
    """AS numbers of BGP resources: `65001` as text and `1.10` become numbers."""
    spec = obj["spec"]
    for field in ("asNumber", "localASNumber"):
        if field in spec:
            spec[field] = _attempt(formats.as_number, spec[field])
    for direction in ("exportV4", "importV4", "exportV6", "importV6"):
        for rule in _objects(spec.get(direction)):
            if isinstance(rule.get("asPathPrefix"), list):
                rule["asPathPrefix"] = [_attempt(formats.as_number, number) for number in rule["asPathPrefix"]]
            for operation in _objects(rule.get("operations")):
                path = operation.get("prependASPath")
                if isinstance(path, dict) and isinstance(path.get("prefix"), list):
                    path["prefix"] = [_attempt(formats.as_number, number) for number in path["prefix"]]


def _protocol(value: int | str) -> int | str:
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 3 else value


def _objects(value: Any) -> Iterator[Object]:
    if isinstance(value, list):
        yield from (item for item in value if isinstance(item, dict))


def _attempt(convert: Callable[[Any], Any], value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | str):
        return value
    try:
        return convert(value)
    except ValueError:
        return value
