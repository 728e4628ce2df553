"""Kubernetes NetworkPolicies as the dataplane's policies (spec/resources.md 4.3).

For the syncer, and for admission of staged ones. In: networking.k8s.io/v1 objects. Out: updates in tier `default` with
order 1000: one Allow rule for each protocol and peer, ports merged into ranges.
"""

from collections.abc import Iterable, Sequence

from tortie.model import formats
from tortie.model.convert.rules import Direction
from tortie.model.convert.scopes import (
    IN_KUBERNETES,
    NAMESPACE_PREFIX,
    NAMESPACED,
    every,
    label,
    literal,
    own_namespace,
)
from tortie.model.dataplane import EntityMatch, Policy, PolicyKey, PortRange, Rule, Update
from tortie.model.k8s import (
    IPBlock,
    KubernetesNetworkPolicy,
    NetworkPolicyEgressRule,
    NetworkPolicyIngressRule,
    NetworkPolicyPeer,
    NetworkPolicyPort,
)
from tortie.model.meta import LabelSelector, ObjectMeta
from tortie.model.selector_nodes import And, Compare, Has, InSet, Node, Not, prefixed
from tortie.model.v3.policy import StagedKubernetesNetworkPolicy
from tortie.model.v3.tier import DEFAULT_TIER

ORDER = 1000.0
_PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}
_ANYTHING = EntityMatch()


def kubernetes_network_policy(policy: KubernetesNetworkPolicy) -> Update:
    spec = policy.spec
    return _update(
        "KubernetesNetworkPolicy",
        policy.metadata,
        pod_selector=spec.pod_selector,
        ingress=spec.ingress or (),
        egress=spec.egress or (),
        types=spec.policy_types or (),
        staged=None,
    )


def staged_kubernetes_network_policy(policy: StagedKubernetesNetworkPolicy) -> Update:
    """Absent if its action is Delete: there is nothing to evaluate."""
    spec = policy.spec
    return _update(
        "StagedKubernetesNetworkPolicy",
        policy.metadata,
        pod_selector=spec.pod_selector,
        ingress=spec.ingress,
        egress=spec.egress,
        types=spec.policy_types,
        staged=spec.staged_action or "Set",
    )


def _update(
    kind: str,
    metadata: ObjectMeta,
    *,
    pod_selector: LabelSelector,
    ingress: Sequence[NetworkPolicyIngressRule],
    egress: Sequence[NetworkPolicyEgressRule],
    types: Sequence[str],
    staged: str | None,
) -> Update:
    key = PolicyKey(kind=kind, namespace=metadata.namespace, name=metadata.name)
    if staged == "Delete":
        return Update(key, None)
    try:
        selector = every(pods(pod_selector), own_namespace(metadata.namespace))
    except ValueError as error:
        return Update(key, None, (f"the policy is not applied: {error}",))
    assert selector is not None
    errors: list[str] = []
    converted: dict[Direction, list[Rule]] = {"ingress": [], "egress": []}
    for index, rule in enumerate(ingress):
        converted["ingress"] += _rules("ingress", index, rule.from_, rule.ports, metadata.namespace, errors)
    for index, out in enumerate(egress):
        converted["egress"] += _rules("egress", index, out.to, out.ports, metadata.namespace, errors)
    policy = Policy(
        tier=DEFAULT_TIER,
        order=ORDER,
        selector=selector.text,
        # Without types the policy is about ingress alone, even if it has egress rules.
        applies_ingress=not types or "Ingress" in types,
        applies_egress="Egress" in types,
        ingress=tuple(converted["ingress"]),
        egress=tuple(converted["egress"]),
        staged=staged,
        generation=metadata.generation,
        resource_version=metadata.resource_version,
        errors=tuple(errors),
    )
    return Update(key, policy, tuple(errors))


def _rules(
    direction: Direction,
    index: int,
    peers: Sequence[NetworkPolicyPeer],
    ports: Sequence[NetworkPolicyPort],
    namespace: str,
    errors: list[str],
) -> list[Rule]:
    """One rule for each protocol and peer; none if the ports are wrong."""
    where = f"{direction} rule {index + 1}"
    try:
        groups = _by_protocol(ports)
    except ValueError as error:
        errors.append(f"{where} is left out: {error}")
        return []
    entities: list[EntityMatch] = []
    for position, peer in enumerate(peers):
        try:
            entities.append(_peer(peer, namespace, f"{where}, peer {position + 1}", errors))
        except ValueError as error:
            errors.append(f"{where}, peer {position + 1} is left out: {error}")
    if not peers:
        entities = [_ANYTHING]
    rules: list[Rule] = []
    for protocol, ranges, names in groups:
        target = EntityMatch(ports=ranges, named_ports=names)
        for entity in entities:
            if direction == "ingress":
                rules.append(Rule(action="allow", protocol=protocol, src=entity, dst=target))
            else:
                rules.append(Rule(action="allow", protocol=protocol, dst=_with_ports(entity, ranges, names)))
    return rules


def _with_ports(entity: EntityMatch, ranges: tuple[PortRange, ...], names: tuple[str, ...]) -> EntityMatch:
    return EntityMatch(
        nets=entity.nets, not_nets=entity.not_nets, ports=ranges, named_ports=names, selector=entity.selector
    )


def _peer(peer: NetworkPolicyPeer, namespace: str, where: str, errors: list[str]) -> EntityMatch:
    if peer.ip_block is not None:
        return _ip_block(peer.ip_block, where, errors)
    if peer.namespace_selector is None and peer.pod_selector is None:
        raise ValueError("it has neither podSelector, namespaceSelector nor ipBlock")
    if peer.namespace_selector is None:
        scope: Node = own_namespace(namespace)
    else:
        scope = namespaces(peer.namespace_selector)
    selected = IN_KUBERNETES if peer.pod_selector is None else pods(peer.pod_selector)
    complete = every(scope, selected)
    assert complete is not None
    return EntityMatch(selector=complete.text)


def _ip_block(block: IPBlock, where: str, errors: list[str]) -> EntityMatch:
    try:
        net = formats.canonical_net(block.cidr)
    except ValueError:
        errors.append(f"{where}: ipBlock.cidr {block.cidr!r} is not a CIDR; the peer stands for every address")
        return _ANYTHING
    exceptions: list[str] = []
    for cidr in block.except_:
        try:
            exceptions.append(formats.canonical_net(cidr))
        except ValueError:
            errors.append(f"{where}: ipBlock.except {cidr!r} is not a CIDR; it and the ones after it are left out")
            break
    return EntityMatch(nets=(net,), not_nets=tuple(exceptions))


# --- ports -----------------------------------------------------------------------------------------------------

_Group = tuple[int | None, tuple[PortRange, ...], tuple[str, ...]]


def _by_protocol(ports: Sequence[NetworkPolicyPort]) -> list[_Group]:
    """Protocol, merged ranges and names; sorted by the protocol's name. No ports at all: any protocol, any port."""
    if not ports:
        return [(None, (), ())]
    groups: dict[str, tuple[list[PortRange], list[str]]] = {}
    unlimited: set[str] = set()
    for port in ports:
        protocol = port.protocol or "TCP"
        if protocol not in _PROTOCOLS:
            raise ValueError(f"protocol {protocol!r} is none of {', '.join(_PROTOCOLS)}")
        ranges, names = groups.setdefault(protocol, ([], []))
        if port.port is None:
            unlimited.add(protocol)
            continue
        value = _port(port)
        if isinstance(value, PortRange):
            ranges.append(value)
        elif value not in names:
            names.append(value)
    return [
        (_PROTOCOLS[protocol], (), ())
        if protocol in unlimited
        else (_PROTOCOLS[protocol], merged(groups[protocol][0]), tuple(groups[protocol][1]))
        for protocol in sorted(groups)
    ]


def _port(port: NetworkPolicyPort) -> PortRange | str:
    assert port.port is not None
    if problem := formats.port_problem(port.port):
        raise ValueError(f"port {port.port!r} {problem}")
    parsed = formats.parse_port(port.port)
    if isinstance(parsed, str):
        if port.end_port is not None:
            raise ValueError(f"endPort {port.end_port} needs a port that is a number, not {parsed!r}")
        return parsed
    first, last = parsed
    if port.end_port is not None:
        if first != last or not first <= port.end_port <= 65535:
            raise ValueError(f"endPort {port.end_port} is not between port {port.port} and 65535")
        last = port.end_port
    return PortRange(first=first, last=last)


def merged(ranges: Iterable[PortRange]) -> tuple[PortRange, ...]:
    """The same ports in as few ranges as possible, ascending."""
    result: list[PortRange] = []
    for item in sorted(ranges):
        if result and item.first <= result[-1].last + 1:
            result[-1] = PortRange(first=result[-1].first, last=max(result[-1].last, item.last))
        else:
            result.append(item)
    return tuple(result)


# --- label selectors -------------------------------------------------------------------------------------------


def pods(selector: LabelSelector) -> Node:
    """Pods with the labels: the orchestrator first, then the requirements. Raises ValueError."""
    terms = _terms(selector)
    return And((IN_KUBERNETES, *terms)) if terms else IN_KUBERNETES


def namespaces(selector: LabelSelector) -> Node:
    """Endpoints in namespaces with the labels; an empty selector means any namespace. Raises ValueError."""
    terms = _terms(selector)
    if not terms:
        return NAMESPACED
    return prefixed(terms[0] if len(terms) == 1 else And(tuple(terms)), NAMESPACE_PREFIX)


def _terms(selector: LabelSelector) -> list[Node]:
    terms: list[Node] = [
        Compare(label(key), "==", literal(value)) for key, value in sorted(selector.match_labels.items())
    ]
    for requirement in selector.match_expressions:
        key, values = label(requirement.key), frozenset(map(literal, requirement.values))
        match requirement.operator:
            case "In":
                terms.append(InSet(key, values, negated=False))
            case "NotIn":
                terms.append(InSet(key, values, negated=True))
            case "Exists":
                terms.append(Has(key))
            case "DoesNotExist":
                terms.append(Not(Has(key)))
            case other:
                raise ValueError(f"operator {other!r} is none of In, NotIn, Exists, DoesNotExist")
    return terms
