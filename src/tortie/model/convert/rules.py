"""Rules of v3 policies and profiles as the dataplane's rules (spec/resources.md 2 and 4.5).

For the conversion of policies. In: rules as the API has them, and the policy's namespace ("" for global ones). Out:
rules whose selectors are complete, and errors in words for whatever had to be left out: one bad rule never takes the
others with it.
"""

from collections.abc import Iterable, Sequence
from typing import Literal

from tortie.model import formats
from tortie.model.convert.scopes import as_service_accounts, every, in_namespaces, own_namespace, read
from tortie.model.dataplane import Action, EntityMatch, HTTPMatch, Icmp, PortRange, Rule, ServiceKey
from tortie.model.v3.policy import EntityRule, ICMPFields
from tortie.model.v3.policy import HTTPMatch as ApiHTTPMatch
from tortie.model.v3.policy import Rule as ApiRule

Direction = Literal["ingress", "egress"]

_ACTIONS: dict[str, Action] = {"Allow": "allow", "Deny": "deny", "Pass": "pass", "Log": "log"}
_IMPLIED_VERSION = {1: 4, 58: 6}
_ANYTHING = EntityRule()
_NO_MATCH = EntityMatch()


def convert_rules(
    rules: Sequence[ApiRule], *, direction: Direction, namespace: str
) -> tuple[tuple[Rule, ...], tuple[str, ...]]:
    """The rules that can be applied, in order, and what is wrong with the others."""
    converted: list[Rule] = []
    errors: list[str] = []
    for index, rule in enumerate(rules):
        try:
            converted.append(_rule(rule, namespace=namespace))
        except ValueError as error:
            errors.append(f"{direction} rule {index + 1} is left out: {error}")
    return tuple(converted), tuple(errors)


def _rule(rule: ApiRule, *, namespace: str) -> Rule:
    if rule.action not in _ACTIONS:
        raise ValueError(f"action {rule.action!r} is none of {', '.join(_ACTIONS)}")
    protocol = None if rule.protocol is None else formats.protocol_number(rule.protocol)
    version = rule.ip_version
    implied = None if protocol is None else _IMPLIED_VERSION.get(protocol)
    if implied is not None:
        if version not in (None, implied):
            raise ValueError(f"protocol {rule.protocol} does not exist in IPv{version}")
        version = implied
    annotations = () if rule.metadata is None else tuple(sorted(rule.metadata.annotations.items()))
    return Rule(
        action=_ACTIONS[rule.action],
        ip_version=version,
        protocol=protocol,
        not_protocol=None if rule.not_protocol is None else formats.protocol_number(rule.not_protocol),
        icmp=_icmp(rule.icmp),
        not_icmp=_icmp(rule.not_icmp),
        src=_entity(rule.source, namespace=namespace),
        dst=_entity(rule.destination, namespace=namespace),
        http=_http(rule.http),
        annotations=annotations,
    )


def _icmp(icmp: ICMPFields | None) -> Icmp | None:
    if icmp is None or icmp.type is None:
        return None
    return Icmp(type=icmp.type, code=icmp.code)


def _http(http: ApiHTTPMatch | None) -> HTTPMatch | None:
    if http is None:
        return None
    paths = tuple(("exact", path.exact) if path.exact else ("prefix", path.prefix) for path in http.paths)
    headers = tuple((header.header, header.operator, header.values) for header in http.headers)
    return HTTPMatch(methods=http.methods, paths=paths, headers=headers)


def _entity(entity: EntityRule, *, namespace: str) -> EntityMatch:
    if entity == _ANYTHING:
        return _NO_MATCH
    ports, named_ports = split_ports(entity.ports)
    not_ports, not_named_ports = split_ports(entity.not_ports)
    service = None
    if entity.services is not None:
        service_namespace = entity.services.namespace or namespace
        if not service_namespace:
            raise ValueError(f"service {entity.services.name!r} needs a namespace in a global policy")
        service = ServiceKey(namespace=service_namespace, name=entity.services.name)
    not_selector = read(entity.not_selector)
    return EntityMatch(
        nets=_nets(entity.nets),
        not_nets=_nets(entity.not_nets),
        ports=ports,
        named_ports=named_ports,
        not_ports=not_ports,
        not_named_ports=not_named_ports,
        selector=_selector(entity, namespace=namespace),
        not_selector="" if not_selector is None else not_selector.text,
        service=service,
        domains=entity.domains,
    )


def _selector(entity: EntityRule, *, namespace: str) -> str:
    """The complete selector of a side. notSelector and service accounts bring the policy's namespace in as well."""
    selector = read(entity.selector)
    accounts = entity.service_accounts
    if accounts is not None:
        selector = every(as_service_accounts(accounts.selector, accounts.names), selector)
    if entity.namespace_selector:
        scope = in_namespaces(entity.namespace_selector)
    elif namespace and (selector is not None or entity.not_selector):
        scope = own_namespace(namespace)
    else:
        scope = None
    complete = every(scope, selector)
    return "" if complete is None else complete.text


def _nets(nets: Iterable[str]) -> tuple[str, ...]:
    return tuple(formats.canonical_net(net) for net in nets)


def split_ports(ports: Iterable[int | str]) -> tuple[tuple[PortRange, ...], tuple[str, ...]]:
    """Numbers and ranges, and names. Raises ValueError for what is neither."""
    ranges: list[PortRange] = []
    names: list[str] = []
    for value in ports:
        port = formats.parse_port(value)
        if isinstance(port, str):
            names.append(port)
        else:
            ranges.append(PortRange(first=port[0], last=port[1]))
    return tuple(ranges), tuple(names)
