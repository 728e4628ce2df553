"""Rules and keys in words, for people who read a verdict.

In: the dataplane's rules and keys. Out: one line of text each; what a rule does not ask for is left out.
"""

from tortie.model.dataplane import EntityMatch, HostEndpointKey, Icmp, PortRange, Rule, WorkloadEndpointKey
from tortie.model.selector import SelectorError, parse
from tortie.model.selector_nodes import All, And, Compare, Has, InSet, Node, Not

_NAMESPACE = "projectcalico.org/namespace"
_ORCHESTRATOR = "projectcalico.org/orchestrator"
_PROTOCOLS = {1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPv6", 132: "SCTP", 136: "UDPLite"}


def protocol_text(protocol: int) -> str:
    """The name of an IANA protocol number as policies spell it, or the number."""
    return _PROTOCOLS.get(protocol, str(protocol))


def endpoint_text(key: WorkloadEndpointKey | HostEndpointKey) -> str:
    """`namespace/pod` for a workload, `host endpoint name (node …)` for a host endpoint."""
    if isinstance(key, WorkloadEndpointKey):
        return key.workload
    return f"host endpoint {key.name} (node {key.node})"


def rule_text(rule: Rule) -> str:
    """A rule in one line, such as `allow TCP from app == "web" in namespace shop to ports 80, 8000-8080`."""
    parts: list[str] = [rule.action]
    if rule.ip_version is not None and rule.protocol not in (1, 58):
        parts.append(f"IPv{rule.ip_version}")
    if rule.protocol is not None:
        parts.append(protocol_text(rule.protocol))
    if rule.not_protocol is not None:
        parts.append(f"not {protocol_text(rule.not_protocol)}")
    if rule.icmp is not None:
        parts.append(_icmp_text(rule.icmp))
    if rule.not_icmp is not None:
        parts.append(f"not {_icmp_text(rule.not_icmp)}")
    for word, side in (("from", rule.src), ("to", rule.dst)):
        text = _side_text(side)
        if text:
            parts.append(f"{word} {text}")
    if rule.http is not None:
        methods = ", ".join(rule.http.methods)
        paths = ", ".join(f"{kind} {path}" for kind, path in rule.http.paths)
        headers = ", ".join(
            f"header {name} {_header_text(operator, values)}" for name, operator, values in rule.http.headers
        )
        parts.append("HTTP " + " ".join(filter(None, (methods, paths, headers))))
    if len(parts) == 1:
        parts.append("anything")
    return " ".join(parts)


def _header_text(operator: str, values: tuple[str, ...]) -> str:
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in operator).strip()
    return " ".join(filter(None, (words, ", ".join(values))))


def selector_text(text: str) -> str:
    """A complete selector as the user thinks of it: what conversion put in for the scope is said in words."""
    try:
        root = parse(text).root
    except SelectorError:
        return f"selector {text}"
    labels: list[str] = []
    places: list[str] = []
    for term in _terms(root):
        place = _place(term)
        if place is not None:
            places.append(place)
        elif not (isinstance(term, Compare) and term.label == _ORCHESTRATOR) and not isinstance(term, All):
            labels.append(term.text)
    if not labels and places == ["that has no namespace"]:
        return "anything that has no namespace"
    return " ".join([" && ".join(labels) or "anything", *places])


def _terms(node: Node) -> list[Node]:
    if isinstance(node, And):
        return [term for operand in node.operands for term in _terms(operand)]
    return [node]


def _place(term: Node) -> str | None:
    match term:
        case Compare(label, "==", value) if label == _NAMESPACE:
            return f"in namespace {value}"
        case InSet(label, values, negated=False) if label == _NAMESPACE:
            return f"in namespaces {', '.join(sorted(values))}"
        case Has(label) if label == _NAMESPACE:
            return "in any namespace"
        case Not(Has(label)) if label == _NAMESPACE:
            return "that has no namespace"
        case Compare("pcns.projectcalico.org/name", "==", value):
            return f"in namespace {value}"
        case Compare() | InSet() | Has() if term.label.startswith("pcns."):
            return f"in namespaces with {term.text.replace('pcns.', '', 1)}"
        case Compare() | InSet() | Has() if term.label.startswith("pcsa."):
            return f"with a service account with {term.text.replace('pcsa.', '', 1)}"
    return None


def _icmp_text(icmp: Icmp) -> str:
    return f"type {icmp.type}" + ("" if icmp.code is None else f" code {icmp.code}")


def _side_text(side: EntityMatch) -> str:
    parts: list[str] = []
    if side.nets:
        parts.append("nets " + ", ".join(side.nets))
    if side.not_nets:
        parts.append("not nets " + ", ".join(side.not_nets))
    if side.selector:
        parts.append(selector_text(side.selector))
    if side.not_selector:
        parts.append(f"but not {selector_text(side.not_selector)}")
    if side.service is not None:
        parts.append(f"service {side.service.namespace}/{side.service.name}")
    if side.domains:
        parts.append("domains " + ", ".join(side.domains))
    if side.ports or side.named_ports:
        parts.append("ports " + _ports_text(side.ports, side.named_ports))
    if side.not_ports or side.not_named_ports:
        parts.append("not ports " + _ports_text(side.not_ports, side.not_named_ports))
    return ", ".join(parts)


def _ports_text(ranges: tuple[PortRange, ...], names: tuple[str, ...]) -> str:
    numbers = [str(r.first) if r.first == r.last else f"{r.first}-{r.last}" for r in ranges]
    return ", ".join([*names, *numbers])
