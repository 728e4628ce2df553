"""CHECK: whether a pod's network is still what ADD answered.

For the agent. In: prevResult, the kernel's view from the pod and from the node, the pod's record, the addresses that
IPAM holds. Out: every difference in words; nothing is changed (spec/cni-ipam-node.md 1.8: the reference plugin verifies
nothing here).
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from tortie.cni.annotations import CONTAINER_ID, POD_IPS
from tortie.cni.call import Call
from tortie.cni.errors import INVALID_NETWORK_CONFIG, CNIError
from tortie.cni.interface import GATEWAY_V4, GATEWAY_V6, HOST_MAC
from tortie.cni.netconf import NetConf
from tortie.cni.result import decode
from tortie.model.k8s import Pod
from tortie.net import veth
from tortie.net.veth import RouteSocket


@dataclass(frozen=True, slots=True)
class Expectation:
    """addresses: /32 and /128. default_routes: False where the configuration names routes of its own."""

    name: str
    mac: str
    host_name: str
    addresses: tuple[str, ...]
    default_routes: bool
    host_routes: bool


def expectation(call: Call, conf: NetConf, host_name: str) -> Expectation:
    """From prevResult. Raises CNIError if it is missing."""
    if conf.prev_result is None:
        raise CNIError(INVALID_NETWORK_CONFIG, "CHECK needs prevResult, the result of ADD")
    previous = decode(conf.prev_result)
    inner = next((each for each in previous.interfaces if each.sandbox and each.name == call.interface), None)
    if inner is None:
        raise CNIError(INVALID_NETWORK_CONFIG, f"prevResult has no interface {call.interface} inside a sandbox")
    index = previous.interfaces.index(inner)
    mine = [each.address for each in previous.addresses if each.interface in (index, None)]
    return Expectation(
        name=inner.name,
        mac=inner.mac.lower(),
        host_name=host_name,
        addresses=tuple(_host_prefix(address) for address in mine),
        default_routes=not conf.ipam.routes or conf.include_default_routes,
        host_routes=bool(previous.routes),
    )


def kernel(netns: int, expected: Expectation) -> Sequence[str]:
    """Runs in a worker thread. Looks at both ends of the pair."""
    faults: list[str] = []
    with veth.inside(netns):
        pod = RouteSocket()
    with pod, RouteSocket() as host:
        inner, outer = pod.link(expected.name), host.link(expected.host_name)
        if inner is None:
            faults.append(f"interface {expected.name} is missing in the pod")
        else:
            faults += _inside(pod, inner, expected)
        if outer is None:
            faults.append(f"interface {expected.host_name} is missing on the node")
        else:
            faults += _outside(host, outer, expected)
        if inner is not None and outer is not None and outer.parent is not None and outer.parent != inner.index:
            faults.append(f"interface {expected.host_name} is not the other end of {expected.name}")
    return faults


def pod_record(pod: Pod, call: Call, expected: Expectation) -> Sequence[str]:
    """What the pod's annotations say."""
    recorded = pod.metadata.annotations.get(CONTAINER_ID, "")
    if recorded != call.container_id:
        return [f"the pod names container {recorded or 'none'}, not {call.container_id}"]
    listed = set(filter(None, pod.metadata.annotations.get(POD_IPS, "").split(",")))
    if listed != set(expected.addresses):
        return [f"the pod names addresses {sorted(listed) or 'none'}, not {sorted(expected.addresses)}"]
    return []


def held(addresses: Sequence[str], call: Call, expected: Expectation, *, managed: bool) -> Sequence[str]:
    """What IPAM holds for the container."""
    wanted = {each.partition("/")[0] for each in expected.addresses}
    missing = sorted(wanted - set(addresses)) if managed else []
    return [f"IPAM does not hold {address} for container {call.container_id}" for address in missing]


def _inside(pod: RouteSocket, link: veth.Link, expected: Expectation) -> list[str]:
    faults = []
    if not link.up:
        faults.append(f"interface {expected.name} is down in the pod")
    if expected.mac and link.mac != expected.mac:
        faults.append(f"interface {expected.name} has MAC {link.mac}, not {expected.mac}")
    present = set(pod.addresses(link.index))
    faults += [f"address {address} is missing in the pod" for address in expected.addresses if address not in present]
    for version, gateway, default in ((4, GATEWAY_V4, "0.0.0.0/0"), (6, GATEWAY_V6, "::/0")):
        if not expected.default_routes or not _has_family(expected, version):
            continue
        routes = pod.routes(version=version, index=link.index)
        if not any(route.destination == default and route.gateway == gateway for route in routes):
            faults.append(f"route {default} via {gateway} is missing in the pod")
    return faults


def _outside(host: RouteSocket, link: veth.Link, expected: Expectation) -> list[str]:
    faults = []
    if not link.up:
        faults.append(f"interface {expected.host_name} is down on the node")
    if link.mac != HOST_MAC:
        faults.append(f"interface {expected.host_name} has MAC {link.mac}, not {HOST_MAC}")
    for address in expected.addresses if expected.host_routes else ():
        route = host.route(address)
        if route is None or route.interface_index != link.index:
            faults.append(f"the node has no route {address} through {expected.host_name}")
    return faults


def _has_family(expected: Expectation, version: int) -> bool:
    return any(ipaddress.ip_interface(each).version == version for each in expected.addresses)


def _host_prefix(address: str) -> str:
    parsed = ipaddress.ip_interface(address)
    return f"{parsed.ip}/{parsed.max_prefixlen}"
