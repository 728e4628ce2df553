"""Services, Endpoints and EndpointSlices: defaults, addresses, ports, validation.

In: service objects in writes, the allocators. Out: services with cluster addresses and node ports, and causes.
"""

import ipaddress
import re
from typing import Any

from tortie.apiserver import errors
from tortie.apiserver.allocate import AllocationError, Allocators, owner_of
from tortie.apiserver.context import Call
from tortie.apiserver.errors import Cause
from tortie.apiserver.kinds import Hooks
from tortie.apiserver.objects import name_problem, validate_labels

Object = dict[str, Any]
_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_PORT_NAME = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
_PROTOCOLS = ("SCTP", "TCP", "UDP")


def default(service: Object) -> None:
    """Fills a service's absent fields."""
    spec = service.setdefault("spec", {})
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    kind = spec["type"]
    if spec["sessionAffinity"] == "ClientIP":
        spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {}).setdefault("timeoutSeconds", 10800)
    elif spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    for port in spec.get("ports") or ():
        port.setdefault("protocol", "TCP")
        if not port.get("targetPort") and port.get("targetPort") != 0:
            port["targetPort"] = port.get("port")
    if kind in {"NodePort", "LoadBalancer"}:
        spec.setdefault("externalTrafficPolicy", "Cluster")
    elif not spec.get("externalIPs"):
        spec.pop("externalTrafficPolicy", None)
    if kind == "ExternalName":
        for key in ("internalTrafficPolicy", "ipFamilies", "ipFamilyPolicy", "clusterIPs"):
            spec.pop(key, None)
    else:
        spec.setdefault("internalTrafficPolicy", "Cluster")
    if kind == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
    service.setdefault("status", {}).setdefault("loadBalancer", {})


def prepare(call: Call, service: Object, old: Object | None) -> None:
    """Reserves addresses and node ports, and settles the IP families."""
    if call.info.subresource == "status":
        return
    allocators = call.context.allocators
    spec = service["spec"]
    before = (old or {}).get("spec") or {}
    try:
        if spec["type"] == "ExternalName":
            spec.pop("clusterIP", None)
        else:
            _keep_unset(spec, before)
            _families(spec, before, allocators)
            _addresses(service, spec, before, allocators)
        _node_ports(service, spec, before, allocators)
    except _Refused as refused:
        undo(call, service, old)
        raise errors.invalid("", "Service", service["metadata"].get("name", ""), [refused.cause]) from None


class _Refused(Exception):
    def __init__(self, cause: Cause) -> None:
        super().__init__(cause.message)
        self.cause = cause


def _keep_unset(spec: Object, before: Object) -> None:
    """An update that leaves out what the server chose keeps it."""
    if not before or before.get("type") == "ExternalName":
        return
    if not spec.get("clusterIP") and not spec.get("clusterIPs"):
        for key in ("clusterIP", "clusterIPs"):
            if key in before:
                spec[key] = before[key]
    for key in ("ipFamilies", "ipFamilyPolicy"):
        if not spec.get(key) and key in before:
            spec[key] = before[key]


def _families(spec: Object, before: Object, allocators: Allocators) -> None:
    ips = [ip for ip in spec.get("clusterIPs") or [spec.get("clusterIP")] if ip and ip != "None"]
    asked = list(spec.get("ipFamilies") or ())
    policy = spec.get("ipFamilyPolicy")
    for index, ip in enumerate(ips):
        try:
            family = f"IPv{ipaddress.ip_address(ip).version}"
        except ValueError:
            raise _Refused(
                errors.invalid_value("spec.clusterIPs", ip, "must be a valid IPv4 or IPv6 address")
            ) from None
        if index >= len(asked):
            asked.append(family)
    headless_free = spec.get("clusterIP") == "None" and not spec.get("selector")
    for index, family in enumerate(asked):
        if family not in {"IPv4", "IPv6"}:
            raise _Refused(errors.not_supported(f"spec.ipFamilies[{index}]", family, ["IPv4", "IPv6"]))
        if family not in allocators.families and not headless_free:
            raise _Refused(errors.invalid_value(f"spec.ipFamilies[{index}]", family, "not configured on this cluster"))
    if len(asked) != len(set(asked)):
        raise _Refused(errors.duplicate("spec.ipFamilies[1]", asked[1]))
    if policy is None:
        policy = "RequireDualStack" if headless_free and len(asked) == 2 else "SingleStack"
        if len(asked) == 2:
            policy = "RequireDualStack"
    if policy not in {"SingleStack", "PreferDualStack", "RequireDualStack"}:
        raise _Refused(
            errors.not_supported("spec.ipFamilyPolicy", policy, ["PreferDualStack", "RequireDualStack", "SingleStack"])
        )
    if policy == "RequireDualStack" and len(allocators.families) < 2 and not headless_free:
        raise _Refused(
            errors.invalid_value(
                "spec.ipFamilyPolicy", policy, "this cluster is not configured for dual-stack services"
            )
        )
    if not asked:
        asked = allocators.families[:1]
    if policy != "SingleStack":
        asked += [f for f in allocators.families if f not in asked]
    elif len(asked) > 1:
        if before.get("ipFamilyPolicy") not in {None, "SingleStack"}:
            asked = asked[:1]
            spec["clusterIPs"] = (spec.get("clusterIPs") or [])[:1]
        else:
            raise _Refused(
                errors.invalid_value(
                    "spec.ipFamilyPolicy",
                    policy,
                    "must be RequireDualStack or PreferDualStack when two families are given",
                )
            )
    spec["ipFamilies"], spec["ipFamilyPolicy"] = asked[:2], policy


def _addresses(service: Object, spec: Object, before: Object, allocators: Allocators) -> None:
    first = spec.get("clusterIP")
    ips = [ip for ip in spec.get("clusterIPs") or () if ip]
    if first == "None" or ips == ["None"]:
        spec["clusterIP"], spec["clusterIPs"] = "None", ["None"]
        return
    if not ips and first:
        ips = [first]
    if first and ips and ips[0] != first:
        raise _Refused(errors.invalid_value("spec.clusterIPs", ips, "first value must match `clusterIP`"))
    old_first = before.get("clusterIP")
    if old_first and before.get("type") != "ExternalName" and (not ips or ips[0] != old_first):
        raise _Refused(errors.invalid_value("spec.clusterIPs[0]", ips[:1], "may not change once set"))
    owner = owner_of(service)
    result = []
    for index, family in enumerate(spec["ipFamilies"]):
        network = allocators.range(family)
        assert network is not None
        try:
            if index < len(ips):
                network.take(ips[index], owner)
                result.append(str(ipaddress.ip_address(ips[index])))
            else:
                result.append(network.next(owner))
        except AllocationError as error:
            wish = ips[index] if index < len(ips) else None
            raise _Refused(errors.invalid_value("spec.clusterIPs", [wish] if wish else [], str(error))) from None
    spec["clusterIP"], spec["clusterIPs"] = result[0], result


def _node_ports(service: Object, spec: Object, before: Object, allocators: Allocators) -> None:
    wanted = spec["type"] == "NodePort" or (
        spec["type"] == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts", True)
    )
    owner = owner_of(service)
    had = {(p.get("protocol"), p.get("port")): p.get("nodePort") for p in before.get("ports") or ()}
    for index, port in enumerate(spec.get("ports") or ()):
        protocol = port.get("protocol", "TCP")
        if not wanted:
            left = spec["type"] in {"ClusterIP", "ExternalName"} and before.get("type") in {"NodePort", "LoadBalancer"}
            if left and port.get("nodePort") == had.get((protocol, port.get("port"))):
                port.pop("nodePort", None)
            continue
        number = port.get("nodePort") or had.get((protocol, port.get("port")))
        try:
            if number:
                allocators.take_port(protocol, number, owner)
            else:
                number = allocators.next_port(protocol, owner)
        except AllocationError as error:
            raise _Refused(errors.invalid_value(f"spec.ports[{index}].nodePort", number, str(error))) from None
        port["nodePort"] = number
    if spec["type"] == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local":
        number = spec.get("healthCheckNodePort") or before.get("healthCheckNodePort")
        try:
            if number:
                allocators.take_port("TCP", number, owner)
            else:
                number = allocators.next_port("TCP", owner)
        except AllocationError as error:
            raise _Refused(errors.invalid_value("spec.healthCheckNodePort", number, str(error))) from None
        spec["healthCheckNodePort"] = number


def undo(call: Call, service: Object, old: Object | None) -> None:
    """Frees what this write reserved beyond what is stored."""
    allocators = call.context.allocators
    stored = call.context.read("/services", *owner_of(service))
    allocators.release_difference(service, stored)


def validate(service: Object, old: Object | None) -> list[Cause]:
    """Causes for a service."""
    spec = service["spec"]
    causes: list[Cause] = []
    if spec["type"] not in _TYPES:
        causes.append(errors.not_supported("spec.type", spec["type"], _TYPES))
    ports = spec.get("ports") or []
    if not ports and spec["type"] != "ExternalName" and spec.get("clusterIP") != "None":
        causes.append(errors.required("spec.ports"))
    if spec["type"] == "ExternalName":
        name = spec.get("externalName", "")
        if not name:
            causes.append(errors.required("spec.externalName"))
        elif name_problem(name.rstrip("."), "subdomain"):
            causes.append(errors.invalid_value("spec.externalName", name, name_problem(name, "subdomain")))
    if spec.get("sessionAffinity") not in {"None", "ClientIP"}:
        causes.append(errors.not_supported("spec.sessionAffinity", spec.get("sessionAffinity"), ["ClientIP", "None"]))
    causes += _validate_ports(ports)
    causes += validate_labels(spec.get("selector"), "spec.selector")
    for index, text in enumerate(spec.get("externalIPs") or ()):
        try:
            ipaddress.ip_address(text)
        except ValueError:
            causes.append(errors.invalid_value(f"spec.externalIPs[{index}]", text, "must be a valid IP address"))
    for key in ("internalTrafficPolicy", "externalTrafficPolicy"):
        if spec.get(key) not in {None, "Cluster", "Local"}:
            causes.append(errors.not_supported(f"spec.{key}", spec[key], ["Cluster", "Local"]))
    return causes


def _validate_ports(ports: list[Object]) -> list[Cause]:
    causes: list[Cause] = []
    names: set[str] = set()
    numbers: set[tuple[Any, Any]] = set()
    for index, port in enumerate(ports):
        at = f"spec.ports[{index}]"
        name = port.get("name", "")
        if not name and len(ports) > 1:
            causes.append(errors.required(f"{at}.name"))
        elif name and (len(name) > 63 or not _PORT_NAME.match(name)):
            causes.append(errors.invalid_value(f"{at}.name", name, name_problem(name, "label")))
        if name and name in names:
            causes.append(errors.duplicate(f"{at}.name", name))
        names.add(name)
        number = port.get("port")
        if not isinstance(number, int) or not 1 <= number <= 65535:
            causes.append(errors.invalid_value(f"{at}.port", number, "must be between 1 and 65535, inclusive"))
        target = port.get("targetPort")
        if isinstance(target, int) and not 1 <= target <= 65535:
            causes.append(errors.invalid_value(f"{at}.targetPort", target, "must be between 1 and 65535, inclusive"))
        elif isinstance(target, str) and (
            len(target) > 15 or not _PORT_NAME.match(target) or not re.search("[a-z]", target)
        ):
            causes.append(
                errors.invalid_value(
                    f"{at}.targetPort", target, "must contain at least one letter (a-z), and no more than 15 characters"
                )
            )
        protocol = port.get("protocol")
        if protocol not in _PROTOCOLS:
            causes.append(errors.not_supported(f"{at}.protocol", protocol, _PROTOCOLS))
        if (protocol, number) in numbers:
            causes.append(errors.duplicate(at, {"port": number, "protocol": protocol}))
        numbers.add((protocol, number))
    return causes


def validate_slice(obj: Object, old: Object | None) -> list[Cause]:
    """Causes for an EndpointSlice."""
    causes: list[Cause] = []
    family = obj.get("addressType")
    if family not in {"IPv4", "IPv6", "FQDN"}:
        causes.append(errors.not_supported("addressType", family, ["IPv4", "IPv6", "FQDN"]))
    elif old is not None and old.get("addressType") != family:
        causes.append(errors.invalid_value("addressType", family, "field is immutable"))
    endpoints = obj.get("endpoints") or []
    if len(endpoints) > 1000:
        causes.append(
            Cause("FieldValueTooMany", "endpoints", f"Too many: {len(endpoints)}: must have at most 1000 items")
        )
    for index, endpoint in enumerate(endpoints):
        if not endpoint.get("addresses"):
            causes.append(errors.required(f"endpoints[{index}].addresses", "must contain at least 1 address"))
        for place, address in enumerate(endpoint.get("addresses") or ()):
            if family in {"IPv4", "IPv6"} and not _is_address(address, family):
                causes.append(
                    errors.invalid_value(
                        f"endpoints[{index}].addresses[{place}]", address, f"must be a valid {family} address"
                    )
                )
    return causes


def _is_address(text: str, family: str) -> bool:
    try:
        return f"IPv{ipaddress.ip_address(text).version}" == family
    except ValueError:
        return False


def default_slice(obj: Object) -> None:
    for port in obj.get("ports") or ():
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")
    if obj.get("endpoints") is None:
        obj["endpoints"] = []


def default_endpoints(obj: Object) -> None:
    for subset in obj.get("subsets") or ():
        for port in subset.get("ports") or ():
            port.setdefault("protocol", "TCP")


HOOKS = Hooks(default=default, prepare=prepare, validate=validate, undo=undo)
SLICE_HOOKS = Hooks(default=default_slice, validate=validate_slice)
ENDPOINTS_HOOKS = Hooks(default=default_endpoints)
