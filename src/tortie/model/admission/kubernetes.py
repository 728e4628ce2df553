"""The parts of Kubernetes NetworkPolicies: what the Kubernetes API accepts in them.

For admission of staged Kubernetes policies, and for an API server that serves NetworkPolicies. In: decoded rules and
selectors. Out: problems with their paths.
"""

from collections.abc import Sequence

from tortie.model import formats
from tortie.model.admission.problems import Problems
from tortie.model.k8s import (
    IPBlock,
    NetworkPolicyEgressRule,
    NetworkPolicyIngressRule,
    NetworkPolicyPeer,
    NetworkPolicyPort,
)
from tortie.model.meta import LabelSelector

_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")
_PROTOCOLS = ("TCP", "UDP", "SCTP")
_SUPPORTED = "supported values: TCP, UDP, SCTP"


def check_label_selector(path: str, selector: LabelSelector, problems: Problems) -> None:
    problems.labels(f"{path}.matchLabels", selector.match_labels)
    for index, requirement in enumerate(selector.match_expressions):
        where = f"{path}.matchExpressions[{index}]"
        problems.text(f"{where}.key", requirement.key, formats.qualified_name_problem)
        if requirement.operator not in _OPERATORS:
            problems.add(f"{where}.operator", requirement.operator, f"must be one of {', '.join(_OPERATORS)}")
        elif requirement.operator in ("In", "NotIn") and not requirement.values:
            problems.required(f"{where}.values", "must be specified when operator is In or NotIn")
        elif requirement.operator in ("Exists", "DoesNotExist") and requirement.values:
            problems.forbidden(f"{where}.values", "may not be specified when operator is Exists or DoesNotExist")
        problems.texts(f"{where}.values", requirement.values, formats.label_value_problem)


def check_kubernetes_rules(
    ingress: Sequence[NetworkPolicyIngressRule], egress: Sequence[NetworkPolicyEgressRule], problems: Problems
) -> None:
    for index, rule in enumerate(ingress):
        _peers(f"spec.ingress[{index}].from", rule.from_, problems)
        _ports(f"spec.ingress[{index}].ports", rule.ports, problems)
    for index, out in enumerate(egress):
        _peers(f"spec.egress[{index}].to", out.to, problems)
        _ports(f"spec.egress[{index}].ports", out.ports, problems)


def _peers(path: str, peers: Sequence[NetworkPolicyPeer], problems: Problems) -> None:
    for index, peer in enumerate(peers):
        where = f"{path}[{index}]"
        if peer.pod_selector is None and peer.namespace_selector is None and peer.ip_block is None:
            problems.required(where, "must specify a peer: podSelector, namespaceSelector or ipBlock")
        if peer.ip_block is not None and (peer.pod_selector is not None or peer.namespace_selector is not None):
            problems.forbidden(where, "may not specify both ipBlock and another peer")
        if peer.pod_selector is not None:
            check_label_selector(f"{where}.podSelector", peer.pod_selector, problems)
        if peer.namespace_selector is not None:
            check_label_selector(f"{where}.namespaceSelector", peer.namespace_selector, problems)
        if peer.ip_block is not None:
            _ip_block(f"{where}.ipBlock", peer.ip_block, problems)


def _ip_block(path: str, block: IPBlock, problems: Problems) -> None:
    if not block.cidr:
        problems.required(f"{path}.cidr")
        return
    if message := _cidr_problem(block.cidr):
        problems.add(f"{path}.cidr", block.cidr, message)
        return
    whole = formats.network(block.cidr)
    for index, text in enumerate(block.except_):
        where = f"{path}.except[{index}]"
        if message := _cidr_problem(text):
            problems.add(where, text, message)
            continue
        part = formats.network(text)
        inside = part.version == whole.version and part.prefixlen > whole.prefixlen and part.overlaps(whole)
        if not inside:
            problems.add(where, text, f"must be a strict subset of cidr {block.cidr}")


def _cidr_problem(text: str) -> str:
    return formats.net_problem(text, need_length=True, host_bits=True)


def _ports(path: str, ports: Sequence[NetworkPolicyPort], problems: Problems) -> None:
    for index, port in enumerate(ports):
        where = f"{path}[{index}]"
        if port.protocol and port.protocol not in _PROTOCOLS:
            problems.add(
                f"{where}.protocol", port.protocol, "supported values: " + ", ".join(_PROTOCOLS), "NotSupported"
            )
        if port.port is None:
            if port.end_port is not None:
                problems.required(f"{where}.port", "must be specified when endPort is")
            continue
        if isinstance(port.port, int):
            if not 1 <= port.port <= 65535:
                problems.add(f"{where}.port", port.port, "must be between 1 and 65535, inclusive")
            elif port.end_port is not None and not port.port <= port.end_port <= 65535:
                problems.add(f"{where}.endPort", port.end_port, f"must be between {port.port} and 65535, inclusive")
        else:
            problems.text(f"{where}.port", port.port, formats.port_name_problem)
            if port.end_port is not None:
                problems.forbidden(f"{where}.endPort", "may not be specified when port is a name")
