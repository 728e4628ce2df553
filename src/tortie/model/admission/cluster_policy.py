"""ClusterNetworkPolicies: the rules that go beyond their schema (spec/resources.md 4.4).

For admission. In: decoded objects. Out: problems with their paths.
"""

from tortie.model import formats
from tortie.model.admission.kubernetes import check_label_selector
from tortie.model.admission.problems import Problems
from tortie.model.cluster_policy import (
    ClusterNetworkPolicy,
    DestinationPort,
    EgressPeer,
    IngressPeer,
    NamespacedPods,
    Protocol,
    Subject,
)


def check_cluster_network_policy(policy: ClusterNetworkPolicy, problems: Problems) -> None:
    spec = policy.spec
    if spec.subject is not None:
        _selection(spec.subject, "spec.subject", problems)
    for index, rule in enumerate(spec.ingress):
        for position, peer in enumerate(rule.from_):
            _selection(peer, f"spec.ingress[{index}].from[{position}]", problems)
        for position, protocol in enumerate(rule.protocols):
            _protocol(protocol, f"spec.ingress[{index}].protocols[{position}]", problems)
    for index, out in enumerate(spec.egress):
        for position, target in enumerate(out.to):
            _selection(target, f"spec.egress[{index}].to[{position}]", problems)
        for position, protocol in enumerate(out.protocols):
            _protocol(protocol, f"spec.egress[{index}].protocols[{position}]", problems)


def _selection(peer: Subject | IngressPeer | EgressPeer, path: str, problems: Problems) -> None:
    problems.one_of(path, peer)
    if peer.namespaces is not None:
        check_label_selector(f"{path}.namespaces", peer.namespaces, problems)
    if peer.pods is not None:
        _pods(peer.pods, f"{path}.pods", problems)


def _pods(pods: NamespacedPods, path: str, problems: Problems) -> None:
    for field, selector in (("namespaceSelector", pods.namespace_selector), ("podSelector", pods.pod_selector)):
        if selector is not None:
            check_label_selector(f"{path}.{field}", selector, problems)


def _protocol(protocol: Protocol, path: str, problems: Problems) -> None:
    problems.one_of(path, protocol)
    for field, ports in (("tcp", protocol.tcp), ("udp", protocol.udp), ("sctp", protocol.sctp)):
        if ports is not None and ports.destination_port is not None:
            _port(ports.destination_port, f"{path}.{field}.destinationPort", problems)
    if protocol.destination_named_port is not None:
        name = protocol.destination_named_port
        if message := formats.port_name_problem(name):
            problems.add(f"{path}.destinationNamedPort", name, message)


def _port(port: DestinationPort, path: str, problems: Problems) -> None:
    problems.one_of(path, port)
    if port.range is not None and port.range.start > port.range.end:
        problems.add(f"{path}.range", f"{port.range.start}-{port.range.end}", "start must not be greater than end")
