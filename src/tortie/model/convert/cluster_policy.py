"""ClusterNetworkPolicies as the dataplane's policies (spec/resources.md 4.4).

For the syncer. In: objects of policy.networking.k8s.io/v1alpha2. Out: updates in tier kube-admin or kube-baseline, with
the priority as order. What cannot be understood fails closed: such a Deny or Pass rule denies everything, such an
Accept rule is left out. A policy whose tier or subject cannot be understood is absent.
"""

from collections.abc import Sequence

from tortie.model import formats
from tortie.model.cluster_policy import (
    TIERS,
    ClusterNetworkPolicy,
    DestinationPort,
    EgressPeer,
    EgressRule,
    IngressPeer,
    IngressRule,
    NamespacedPods,
    Protocol,
    Subject,
)
from tortie.model.convert.kubernetes_policy import merged, namespaces, pods
from tortie.model.convert.rules import Direction
from tortie.model.convert.scopes import every
from tortie.model.dataplane import Action, EntityMatch, Policy, PolicyKey, PortRange, Rule, Update
from tortie.model.meta import LabelSelector
from tortie.model.selector_nodes import Node

KIND = "KubernetesClusterNetworkPolicy"
NAME_ANNOTATION = "name"

_ACTIONS: dict[str, Action] = {"Accept": "allow", "Deny": "deny", "Pass": "pass"}
_EVERY = LabelSelector()
_ANY_PORT = PortRange(first=1, last=65535)
_Group = tuple[int | None, tuple[PortRange, ...], tuple[str, ...]]


def cluster_network_policy(policy: ClusterNetworkPolicy) -> Update:
    """A policy without a rule that can be applied is absent as well: it has no effect."""
    spec, metadata = policy.spec, policy.metadata
    key = PolicyKey(kind=KIND, namespace="", name=metadata.name)
    try:
        if spec.tier not in TIERS:
            raise ValueError(f"tier {spec.tier!r} is none of {', '.join(TIERS)}")
        if spec.priority is None or not 0 <= spec.priority <= 1000:
            raise ValueError(f"priority {spec.priority} is not between 0 and 1000")
        if spec.subject is None:
            raise ValueError("it has no subject")
        subject = _selected(spec.subject)
    except ValueError as error:
        return Update(key, None, (f"the policy is not applied: {error}",))
    errors: list[str] = []
    ingress = _rules("ingress", spec.ingress, errors)
    egress = _rules("egress", spec.egress, errors)
    if not ingress and not egress:
        return Update(key, None, tuple(errors))
    converted = Policy(
        tier=TIERS[spec.tier],
        order=float(spec.priority),
        selector=subject.text,
        applies_ingress=bool(ingress),
        applies_egress=bool(egress),
        ingress=ingress,
        egress=egress,
        generation=metadata.generation,
        resource_version=metadata.resource_version,
        errors=tuple(errors),
    )
    return Update(key, converted, tuple(errors))


def _rules(direction: Direction, rules: Sequence[IngressRule | EgressRule], errors: list[str]) -> tuple[Rule, ...]:
    result: list[Rule] = []
    for index, rule in enumerate(rules):
        where = f"{direction} rule {index + 1}" + (f" ({rule.name})" if rule.name else "")
        try:
            result += _rule(direction, rule)
        except ValueError as error:
            if rule.action == "Accept":
                errors.append(f"{where} is left out: {error}")
            else:
                errors.append(f"{where} denies everything, because it cannot be understood: {error}")
                result.append(Rule(action="deny", annotations=_annotations(rule)))
    return tuple(result)


def _rule(direction: Direction, rule: IngressRule | EgressRule) -> list[Rule]:
    """One rule for each peer, family and protocol. Raises ValueError."""
    if rule.action not in _ACTIONS:
        raise ValueError(f"action {rule.action!r} is none of {', '.join(_ACTIONS)}")
    peers = rule.from_ if isinstance(rule, IngressRule) else rule.to
    if not peers:
        raise ValueError("it has no peers")
    entities = [entity for peer in peers for entity in _entities(peer)]
    annotations = _annotations(rule)
    result: list[Rule] = []
    for protocol, ranges, names in _groups(rule.protocols):
        for entity in entities:
            source, target = (entity, EntityMatch()) if direction == "ingress" else (EntityMatch(), entity)
            target = EntityMatch(nets=target.nets, selector=target.selector, ports=ranges, named_ports=names)
            result.append(
                Rule(action=_ACTIONS[rule.action], protocol=protocol, src=source, dst=target, annotations=annotations)
            )
    return result


def _annotations(rule: IngressRule | EgressRule) -> tuple[tuple[str, str], ...]:
    return ((NAME_ANNOTATION, rule.name),) if rule.name else ()


# --- peers -----------------------------------------------------------------------------------------------------


def _entities(peer: IngressPeer | EgressPeer) -> list[EntityMatch]:
    """The peer as matches: one, or one for each family of its networks. Raises ValueError."""
    networks = peer.networks if isinstance(peer, EgressPeer) else None
    if networks is None:
        return [EntityMatch(selector=_selected(peer).text)]
    if peer.namespaces is not None or peer.pods is not None or not networks:
        raise ValueError("a peer must have exactly one of its fields, and networks must not be empty")
    nets = [formats.canonical_net(net) for net in networks]
    families = [tuple(net for net in nets if formats.version_of(net) == version) for version in (4, 6)]
    return [EntityMatch(nets=family) for family in families if family]


def _selected(choice: Subject | IngressPeer | EgressPeer) -> Node:
    """The selector of a subject or peer. Raises ValueError."""
    if (choice.namespaces is None) == (choice.pods is None):
        raise ValueError("exactly one of namespaces and pods is needed; other kinds of peers are not supported")
    chosen = NamespacedPods(namespace_selector=choice.namespaces) if choice.pods is None else choice.pods
    node = every(namespaces(chosen.namespace_selector or _EVERY), pods(chosen.pod_selector or _EVERY))
    assert node is not None
    return node


# --- protocols -------------------------------------------------------------------------------------------------


def _groups(protocols: Sequence[Protocol]) -> list[_Group]:
    """Protocol number, merged ports and names; named ports, which have no protocol, first. Raises ValueError."""
    if not protocols:
        return [(None, (), ())]
    names: list[str] = []
    numbered: dict[int, list[PortRange]] = {}
    unlimited: set[int] = set()
    for protocol in protocols:
        kinds = ((6, protocol.tcp), (17, protocol.udp), (132, protocol.sctp))
        present = [(number, ports) for number, ports in kinds if ports is not None]
        if len(present) + (protocol.destination_named_port is not None) != 1:
            raise ValueError("a protocol must be exactly one of tcp, udp, sctp and destinationNamedPort")
        if protocol.destination_named_port is not None:
            name = protocol.destination_named_port
            if problem := formats.port_name_problem(name):
                raise ValueError(f"destinationNamedPort {name!r} {problem}")
            if name not in names:
                names.append(name)
            continue
        number, ports = present[0]
        ranges = numbered.setdefault(number, [])
        if ports.destination_port is None:
            unlimited.add(number)
        else:
            ranges.append(_range(ports.destination_port))
    groups: list[_Group] = [(None, (), tuple(names))] if names else []
    order = sorted(numbered, key=[132, 6, 17].index)  # by the protocols' names
    return groups + [(number, () if number in unlimited else merged(numbered[number]), ()) for number in order]


def _range(port: DestinationPort) -> PortRange:
    if (port.number is None) == (port.range is None):
        raise ValueError("a destinationPort must have exactly one of number and range")
    first, last = (port.range.start, port.range.end) if port.range is not None else (port.number or 0, port.number or 0)
    if not _ANY_PORT.first <= first <= last <= _ANY_PORT.last:
        raise ValueError(f"destinationPort {first}-{last} is not a range between 1 and 65535")
    return PortRange(first=first, last=last)
