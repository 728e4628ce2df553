"""Rules of policies: what each field accepts, and which fields exclude each other (spec/resources.md 2.1 to 2.6).

For the checks of policies. In: decoded rules with their direction and scope. Out: problems with their paths.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tortie.model import formats
from tortie.model.admission.problems import Problems
from tortie.model.v3.policy import EntityRule, HTTPHeader, HTTPMatch, ICMPFields, Rule

_ONLY_GLOBAL = re.compile(r"[ \t]*global\([ \t]*\)[ \t]*")
_BAD_PATH = re.compile(r"[ ?#]")
_PORT_PROTOCOLS = "TCP, UDP or SCTP"


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a rule stands: its path, direction, and whether services need a namespace."""

    path: str
    egress: bool
    global_policy: bool


def check_rules(path: str, rules: Sequence[Rule], problems: Problems, *, egress: bool, global_policy: bool) -> None:
    for index, rule in enumerate(rules):
        _rule(rule, _Place(f"{path}[{index}]", egress, global_policy), problems)


def _rule(rule: Rule, place: _Place, problems: Problems) -> None:
    path = place.path
    if not rule.action:
        problems.required(f"{path}.action", "must be Allow, Deny, Log or Pass")
    protocol = _protocol(f"{path}.protocol", rule.protocol, rule, problems)
    _protocol(f"{path}.notProtocol", rule.not_protocol, rule, problems)
    _icmp(f"{path}.icmp", rule.icmp, problems)
    _icmp(f"{path}.notICMP", rule.not_icmp, problems)
    if rule.icmp is not None and protocol not in (1, 58):
        problems.add(f"{path}.icmp", _shown(rule.protocol), "needs a protocol of ICMP or ICMPv6")
    _families(rule, path, problems)
    for name, entity in (("source", rule.source), ("destination", rule.destination)):
        _entity(entity, f"{path}.{name}", problems)
        _ports(entity, rule, f"{path}.{name}", problems)
        _services(entity, place, name, problems)
        _domains(entity, rule, place, name, problems)
    if rule.http is not None:
        _http(rule.http, rule, place, problems)
    if rule.metadata is not None:
        problems.annotations(f"{path}.metadata.annotations", rule.metadata.annotations)


def _shown(value: int | str | None) -> int | str:
    return "" if value is None else value


def _protocol(path: str, value: int | str | None, rule: Rule, problems: Problems) -> int | None:
    if value is None:
        return None
    if message := formats.protocol_problem(value):
        problems.add(path, value, message)
        return None
    number = formats.protocol_number(value)
    if (number == 1 and rule.ip_version == 6) or (number == 58 and rule.ip_version == 4):
        problems.add(path, value, f"does not exist in IPv{rule.ip_version}, which ipVersion asks for")
    return number


def _icmp(path: str, icmp: ICMPFields | None, problems: Problems) -> None:
    if icmp is not None and icmp.code is not None and icmp.type is None:
        problems.add(f"{path}.code", icmp.code, "needs an ICMP type as well")


def _families(rule: Rule, path: str, problems: Problems) -> None:
    """All nets of a rule are of one family, and of the one that ipVersion names."""
    first: tuple[int, str] | None = None
    for side, entity in (("source", rule.source), ("destination", rule.destination)):
        for field, nets in (("nets", entity.nets), ("notNets", entity.not_nets)):
            for index, net in enumerate(nets):
                where = f"{path}.{side}.{field}[{index}]"
                try:
                    version = formats.network(net).version
                except ValueError:
                    continue
                if rule.ip_version is not None and version != rule.ip_version:
                    problems.add(where, net, f"is IPv{version}, but ipVersion is {rule.ip_version}")
                elif first is None:
                    first = (version, where)
                elif version != first[0]:
                    problems.add(where, net, f"is IPv{version}, but {first[1]} is IPv{first[0]}: use one rule for each")
                    return


def _entity(entity: EntityRule, path: str, problems: Problems) -> None:
    for field, nets in (("nets", entity.nets), ("notNets", entity.not_nets)):
        problems.texts(f"{path}.{field}", nets, lambda net: formats.net_problem(net, need_length=True))
    for index, net in enumerate(entity.not_nets):
        if _matches_everything(net):
            problems.add(f"{path}.notNets[{index}]", net, "excludes every address, so that the rule could never match")
    problems.selector(f"{path}.selector", entity.selector)
    problems.selector(f"{path}.notSelector", entity.not_selector)
    namespace_selector = entity.namespace_selector
    if "global(" in namespace_selector and not _ONLY_GLOBAL.fullmatch(namespace_selector):
        problems.add(f"{path}.namespaceSelector", namespace_selector, "global() cannot be combined with anything else")
    else:
        problems.selector(f"{path}.namespaceSelector", namespace_selector, allow_global=True)
    accounts = entity.service_accounts
    if accounts is not None:
        problems.texts(f"{path}.serviceAccounts.names", accounts.names, formats.name_problem)
        problems.selector(f"{path}.serviceAccounts.selector", accounts.selector)
    problems.texts(f"{path}.domains", entity.domains, formats.domain_problem)


def _matches_everything(net: str) -> bool:
    if net == "0.0.0.0/0":
        return True
    try:
        parsed = formats.network(net)
    except ValueError:
        return False
    return parsed.version == 6 and parsed.prefixlen == 0


def _ports(entity: EntityRule, rule: Rule, path: str, problems: Problems) -> None:
    for field, ports in (("ports", entity.ports), ("notPorts", entity.not_ports)):
        if not ports:
            continue
        numeric: int | str | None = None
        for index, port in enumerate(ports):
            if message := formats.port_problem(port):
                problems.add(f"{path}.{field}[{index}]", port, message)
            elif numeric is None and not isinstance(formats.parse_port(port), str):
                numeric = port
        if rule.protocol is None:
            if numeric is not None:
                problems.add(
                    f"{path}.{field}", numeric, f"port numbers need a protocol of {_PORT_PROTOCOLS} in the same rule"
                )
        elif not _has_ports(rule.protocol):
            problems.add(f"{path}.{field}", rule.protocol, f"ports need a protocol of {_PORT_PROTOCOLS}")


def _has_ports(protocol: int | str) -> bool:
    try:
        return formats.protocol_number(protocol) in formats.PORT_PROTOCOLS
    except ValueError:
        return True  # Reported as a bad protocol already.


def _services(entity: EntityRule, place: _Place, side: str, problems: Problems) -> None:
    services = entity.services
    if services is None:
        return
    path = f"{place.path}.{side}"
    if not services.name:
        problems.required(f"{path}.services.name", "the name of a Service is required")
    if place.global_policy and not services.namespace:
        problems.required(f"{path}.services.namespace", "a global policy must name the namespace of the Service")
    if side != ("destination" if place.egress else "source"):
        wanted = "destination of an egress rule" if place.egress else "source of an ingress rule"
        problems.forbidden(f"{path}.services", f"Services can be matched only as the {wanted} here")
    if side == "destination" and (entity.ports or entity.not_ports):
        field = "ports" if entity.ports else "notPorts"
        problems.forbidden(f"{path}.{field}", "cannot be combined with services, whose ports are those of the Service")
    others = {
        "selector": entity.selector,
        "notSelector": entity.not_selector,
        "namespaceSelector": entity.namespace_selector,
        "serviceAccounts": entity.service_accounts,
        "nets": entity.nets,
        "notNets": entity.not_nets,
    }
    for field, value in others.items():
        if value:
            problems.forbidden(f"{path}.{field}", "cannot be combined with services")


def _domains(entity: EntityRule, rule: Rule, place: _Place, side: str, problems: Problems) -> None:
    if not entity.domains:
        return
    path = f"{place.path}.{side}"
    if not place.egress or side != "destination" or rule.action != "Allow":
        problems.forbidden(f"{path}.domains", "domains are for the destination of Allow rules in egress only")
    for field, value in (("nets", entity.nets), ("selector", entity.selector)):
        if value:
            problems.forbidden(f"{path}.{field}", "cannot be combined with domains")


def _http(http: HTTPMatch, rule: Rule, place: _Place, problems: Problems) -> None:
    path = f"{place.path}.http"
    if rule.action != "Allow":
        problems.forbidden(path, f"HTTP can be matched in Allow rules only, not in {rule.action or 'others'}")
    if place.egress:
        problems.forbidden(path, "HTTP can be matched in ingress rules only")
    if rule.protocol is not None and rule.protocol not in ("TCP", "6", 6):
        problems.add(f"{place.path}.protocol", rule.protocol, "a rule that matches HTTP needs protocol TCP or none")
    for index, entry in enumerate(http.paths):
        where = f"{path}.paths[{index}]"
        problems.one_of(where, entry)
        if bool(entry.exact) == bool(entry.prefix):
            continue
        field, value = ("exact", entry.exact) if entry.exact else ("prefix", entry.prefix)
        if not value.startswith("/") or _BAD_PATH.search(value):
            problems.add(f"{where}.{field}", value, "must begin with / and contain no space, ? or #")
    for index, header in enumerate(http.headers):
        _header(header, f"{path}.headers[{index}]", problems)


def _header(header: HTTPHeader, path: str, problems: Problems) -> None:
    if not header.header:
        problems.required(f"{path}.header", "the name of a header is required")
    if header.operator in ("Exists", "DoesNotExist"):
        if header.values:
            problems.forbidden(f"{path}.values", f"must be empty when operator is {header.operator}")
    elif not header.values:
        problems.required(f"{path}.values", f"operator {header.operator} needs at least one value")
    if header.operator == "MatchesRegex":
        problems.texts(f"{path}.values", header.values, formats.regex_problem)
