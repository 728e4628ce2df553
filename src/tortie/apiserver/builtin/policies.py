"""Kubernetes NetworkPolicies: defaults and validation.

In: networking.k8s.io/v1 NetworkPolicy objects. Out: policy types and protocols filled in, and causes for a 422. Pure.
"""

import ipaddress
import re
from typing import Any

from tortie.apiserver import errors
from tortie.apiserver.errors import Cause
from tortie.apiserver.kinds import Hooks
from tortie.apiserver.objects import validate_labels
from tortie.apiserver.selectors import valid_label_key

Object = dict[str, Any]
_PORT_NAME = re.compile(r"^(?=.*[a-z])[a-z0-9]([a-z0-9-]*[a-z0-9])?$")
_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


def default(policy: Object) -> None:
    spec = policy.setdefault("spec", {})
    spec.setdefault("podSelector", {})
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", *(["Egress"] if spec.get("egress") else [])]
    for rule in [*(spec.get("ingress") or ()), *(spec.get("egress") or ())]:
        for port in rule.get("ports") or ():
            port.setdefault("protocol", "TCP")


def validate(policy: Object, _old: Object | None) -> list[Cause]:
    spec = policy["spec"]
    causes = selector(spec.get("podSelector"), "spec.podSelector")
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for index, rule in enumerate(spec.get(direction) or ()):
            at = f"spec.{direction}[{index}]"
            for place, port in enumerate(rule.get("ports") or ()):
                causes += _port(port, f"{at}.ports[{place}]")
            for place, peer in enumerate(rule.get(peers) or ()):
                causes += _peer(peer, f"{at}.{peers}[{place}]")
    types = spec.get("policyTypes") or []
    if len(types) > 2:
        causes.append(errors.invalid_value("spec.policyTypes", types, "may not specify more than two policyTypes"))
    for index, kind in enumerate(types):
        if kind not in {"Ingress", "Egress"}:
            causes.append(errors.not_supported(f"spec.policyTypes[{index}]", kind, ["Egress", "Ingress"]))
    return causes


def selector(value: Any, at: str) -> list[Cause]:
    """Causes for a label selector; None is fine."""
    if not isinstance(value, dict):
        return []
    causes = validate_labels(value.get("matchLabels"), f"{at}.matchLabels")
    for index, term in enumerate(value.get("matchExpressions") or ()):
        place = f"{at}.matchExpressions[{index}]"
        operator, values = term.get("operator"), term.get("values") or []
        if operator in {"In", "NotIn"} and not values:
            causes.append(errors.required(f"{place}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
        elif operator in {"Exists", "DoesNotExist"} and values:
            causes.append(
                errors.forbidden_field(
                    f"{place}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                )
            )
        elif operator not in _OPERATORS:
            causes.append(errors.invalid_value(f"{place}.operator", operator, "not a valid selector operator"))
        if not valid_label_key(str(term.get("key", ""))):
            causes.append(errors.invalid_value(f"{place}.key", term.get("key", ""), "must be a valid label key"))
    return causes


def _port(port: Object, at: str) -> list[Cause]:
    causes = []
    if port.get("protocol") not in {"TCP", "UDP", "SCTP"}:
        causes.append(errors.not_supported(f"{at}.protocol", port.get("protocol"), ["SCTP", "TCP", "UDP"]))
    number, end = port.get("port"), port.get("endPort")
    if isinstance(number, int):
        if not 1 <= number <= 65535:
            causes.append(errors.invalid_value(f"{at}.port", number, "must be between 1 and 65535, inclusive"))
        if end is not None and end < number:
            causes.append(errors.invalid_value(f"{at}.endPort", end, "must be greater than or equal to `port`"))
        if end is not None and not 1 <= end <= 65535:
            causes.append(errors.invalid_value(f"{at}.endPort", end, "must be between 1 and 65535, inclusive"))
    elif isinstance(number, str):
        if len(number) > 15 or "--" in number or not _PORT_NAME.match(number):
            causes.append(
                errors.invalid_value(
                    f"{at}.port",
                    number,
                    "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-), at most 15, with a letter",
                )
            )
        if end is not None:
            causes.append(errors.invalid_value(f"{at}.endPort", end, "may not be specified when `port` is non-numeric"))
    elif end is not None:
        causes.append(errors.required(f"{at}.port", "must be specified when `endPort` is specified"))
    return causes


def _peer(peer: Object, at: str) -> list[Cause]:
    causes = selector(peer.get("podSelector"), f"{at}.podSelector")
    causes += selector(peer.get("namespaceSelector"), f"{at}.namespaceSelector")
    block = peer.get("ipBlock")
    given = [k for k in ("podSelector", "namespaceSelector", "ipBlock") if peer.get(k) is not None]
    if not given:
        return [*causes, errors.required(at, "must specify a peer")]
    if block is None:
        return causes
    if len(given) > 1:
        causes.append(errors.forbidden_field(at, "may not specify both ipBlock and another peer"))
    network = _cidr(block.get("cidr", ""))
    if not block.get("cidr"):
        causes.append(errors.required(f"{at}.ipBlock.cidr"))
    elif network is None:
        causes.append(
            errors.invalid_value(
                f"{at}.ipBlock.cidr", block["cidr"], "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
            )
        )
    for index, text in enumerate(block.get("except") or ()):
        inner = _cidr(text)
        place = f"{at}.ipBlock.except[{index}]"
        if inner is None:
            causes.append(
                errors.invalid_value(place, text, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)")
            )
        elif network is not None and not (
            inner.version == network.version
            and inner.prefixlen > network.prefixlen
            and inner.network_address in network
        ):
            causes.append(errors.invalid_value(place, text, "must be a strict subset of `cidr`"))
    return causes


def _cidr(text: Any) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    if not isinstance(text, str) or "/" not in text:
        return None
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


HOOKS = Hooks(default=default, validate=validate)
