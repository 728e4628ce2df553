"""The results of the CNI protocol, in every version of it.

For the agent, and for results of other IPAM plugins. In: a `Result`. Out: JSON as the version wants it, and back:
whatever is rendered here can be parsed again (spec/cni-ipam-node.md 1.6). Pure.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from tortie.cni.errors import DECODING_FAILURE, INCOMPATIBLE_VERSION, CNIError
from tortie.cni.netconf import Route


@dataclass(frozen=True, slots=True)
class Interface:
    """sandbox: the network namespace's path, "" for the host side."""

    name: str
    mac: str = ""
    sandbox: str = ""
    mtu: int = 0


@dataclass(frozen=True, slots=True)
class Address:
    """address: with prefix length. interface: index in the list of interfaces, None if it belongs to none."""

    address: str
    interface: int | None = None
    gateway: str = ""

    @property
    def version(self) -> int:
        return ipaddress.ip_interface(self.address).version


@dataclass(frozen=True, slots=True)
class Result:
    interfaces: tuple[Interface, ...] = ()
    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    dns: Mapping[str, Any] | None = None


def encode(result: Result, version: str) -> bytes:
    """Raises CNIError if the version cannot express the result."""
    if version.startswith(("0.1.", "0.2.")):
        body = _old(result)
    else:
        body = _current(result, with_family=not version.startswith("1."))
    return msgspec.json.format(msgspec.json.encode({"cniVersion": version, **body}), indent=4) + b"\n"


def _current(result: Result, *, with_family: bool) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if result.interfaces:
        body["interfaces"] = [_filled(name=i.name, mac=i.mac, sandbox=i.sandbox) for i in result.interfaces]
    if result.addresses:
        body["ips"] = [
            {
                **({"version": str(each.version)} if with_family else {}),
                **_filled(address=each.address, gateway=each.gateway),
                **({"interface": each.interface} if each.interface is not None else {}),
            }
            for each in result.addresses
        ]
    if result.routes:
        body["routes"] = [_filled(dst=route.dst, gw=route.gw) for route in result.routes]
    if with_family or result.dns:
        body["dns"] = dict(result.dns or {})
    return body


def _old(result: Result) -> dict[str, Any]:
    if not result.addresses:
        raise CNIError(INCOMPATIBLE_VERSION, "cannot convert the result: versions below 0.3.0 need an address")
    body: dict[str, Any] = {}
    for each in result.addresses:
        key = f"ip{each.version}"
        if key in body:
            continue
        routes = [
            _filled(dst=route.dst, gw=route.gw)
            for route in result.routes
            if ipaddress.ip_network(route.dst, strict=False).version == each.version
        ]
        body[key] = _filled(ip=each.address, gateway=each.gateway) | ({"routes": routes} if routes else {})
    body["dns"] = dict(result.dns or {})
    return body


def decode(body: Mapping[str, Any]) -> Result:
    """A result of any version, such as another plugin's answer or prevResult. Raises CNIError."""
    try:
        if "ip4" in body or "ip6" in body:
            return _decode_old(body)
        return Result(
            interfaces=tuple(
                Interface(i["name"], i.get("mac", ""), i.get("sandbox", ""), i.get("mtu", 0))
                for i in body.get("interfaces") or ()
            ),
            addresses=tuple(
                Address(_canonical(each["address"]), each.get("interface"), each.get("gateway", ""))
                for each in body.get("ips") or ()
            ),
            routes=tuple(Route(route["dst"], route.get("gw") or "") for route in body.get("routes") or ()),
            dns=body.get("dns") or None,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CNIError(DECODING_FAILURE, f"cannot read the CNI result: {error!r}") from error


def _decode_old(body: Mapping[str, Any]) -> Result:
    addresses = []
    routes = []
    for key in ("ip4", "ip6"):
        part = body.get(key)
        if part:
            addresses.append(Address(_canonical(part["ip"]), None, part.get("gateway", "")))
            routes += [Route(route["dst"], route.get("gw") or "") for route in part.get("routes") or ()]
    return Result(addresses=tuple(addresses), routes=tuple(routes), dns=body.get("dns") or None)


def _canonical(address: str) -> str:
    return str(ipaddress.ip_interface(address))


def _filled(**fields: Any) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value}
