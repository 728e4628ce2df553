"""Kubernetes' functions on IP addresses, networks and URLs.

In: calls from compiled expressions. Out: values of the types net.IP, net.CIDR and url.URL.
"""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, parse_qs, quote, urlsplit

from tortie.apiserver.cel.registry import define
from tortie.apiserver.cel.values import CelError

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Interface | ipaddress.IPv6Interface


@dataclass(frozen=True, slots=True)
class Ip:
    """An address."""

    address: _Address

    @property
    def cel_type(self) -> str:
        return "net.IP"

    def __str__(self) -> str:
        return str(self.address)


@dataclass(frozen=True, slots=True)
class Cidr:
    """A network with the address it was written with."""

    interface: _Network

    @property
    def cel_type(self) -> str:
        return "net.CIDR"

    def __str__(self) -> str:
        return str(self.interface)


@dataclass(frozen=True, slots=True)
class Url:
    """An absolute URL or path."""

    parts: SplitResult

    @property
    def cel_type(self) -> str:
        return "kubernetes.URL"

    def __str__(self) -> str:
        return self.parts.geturl()


@define("ip", "(string) -> net.IP")
def ip(text: str) -> Ip:
    """An address. Raises CelError."""
    if "%" in text:
        raise CelError(f"IP address {text!r} with zone value is not allowed")
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise CelError(f"IP Address {text!r} parse error during conversion from string") from None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        raise CelError(f"IPv4-mapped IPv6 address {text!r} is not allowed")
    return Ip(address)


@define("cidr", "(string) -> net.CIDR")
def cidr(text: str) -> Cidr:
    """A network. Raises CelError."""
    address, slash, length = text.partition("/")
    if not slash or not length.isdecimal() or not length.isascii() or (len(length) > 1 and length.startswith("0")):
        raise CelError(f"network address parse error during conversion from string: {text!r}")
    ip(address)
    try:
        return Cidr(ipaddress.ip_interface(text))
    except ValueError:
        raise CelError(f"network address parse error during conversion from string: {text!r}") from None


def succeeds(convert: Callable[..., Any]) -> Callable[..., bool]:
    """The function that says whether a conversion would succeed."""

    def run(*arguments: Any) -> bool:
        try:
            convert(*arguments)
        except CelError:
            return False
        return True

    return run


define("isIP", "(string) -> bool")(succeeds(ip))
define("isCIDR", "(string) -> bool")(succeeds(cidr))
define("ip.isCanonical", "(string) -> bool")(lambda text: str(ip(text)) == text)
define("family", "net.IP.() -> int")(lambda a: a.address.version)
define("isUnspecified", "net.IP.() -> bool")(lambda a: a.address.is_unspecified)
define("isLoopback", "net.IP.() -> bool")(lambda a: a.address.is_loopback)
define("isLinkLocalUnicast", "net.IP.() -> bool")(lambda a: a.address.is_link_local)


@define("isLinkLocalMulticast", "net.IP.() -> bool")
def _link_local_multicast(value: Ip) -> bool:
    block = "224.0.0.0/24" if value.address.version == 4 else "ff02::/16"
    return value.address in ipaddress.ip_network(block)


@define("isGlobalUnicast", "net.IP.() -> bool")
def _global_unicast(value: Ip) -> bool:
    address = value.address
    broadcast = address.version == 4 and int(address) == 0xFFFFFFFF
    return not (
        address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local or broadcast
    )


@define("containsIP", "net.CIDR.(string) -> bool", "net.CIDR.(net.IP) -> bool")
def _contains_ip(network: Cidr, value: Any) -> bool:
    address = (ip(value) if isinstance(value, str) else value).address
    return address.version == network.interface.version and address in network.interface.network


@define("containsCIDR", "net.CIDR.(string) -> bool", "net.CIDR.(net.CIDR) -> bool")
def _contains_cidr(network: Cidr, value: Any) -> bool:
    inner = (cidr(value) if isinstance(value, str) else value).interface
    outer = network.interface.network
    return bool(inner.version == outer.version and inner.ip in outer and inner.network.prefixlen >= outer.prefixlen)


define("ip", "net.CIDR.() -> net.IP")(lambda n: Ip(n.interface.ip))
define("masked", "net.CIDR.() -> net.CIDR")(lambda n: Cidr(ipaddress.ip_interface(str(n.interface.network))))
define("prefixLength", "net.CIDR.() -> int")(lambda n: n.interface.network.prefixlen)


@define("url", "(string) -> kubernetes.URL")
def url(text: str) -> Url:
    """An absolute URL or path. Raises CelError."""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        raise CelError(f"URL parse error during conversion from string: {error}") from None
    if any(char <= " " or char == "\x7f" for char in text) or not (parts.scheme or text.startswith("/")):
        raise CelError(f"URL parse error during conversion from string: parse {text!r}: invalid URI for request")
    return Url(parts)


define("isURL", "(string) -> bool")(succeeds(url))
define("getScheme", "kubernetes.URL.() -> string")(lambda u: u.parts.scheme)
define("getHost", "kubernetes.URL.() -> string")(lambda u: u.parts.netloc.rpartition("@")[2])
define("getPort", "kubernetes.URL.() -> string")(lambda u: "" if u.parts.port is None else str(u.parts.port))
define("getEscapedPath", "kubernetes.URL.() -> string")(lambda u: quote(u.parts.path, safe="/%:@!$&'()*+,;=~-._"))
define("getQuery", "kubernetes.URL.() -> map(string, list(string))")(
    lambda u: parse_qs(u.parts.query, keep_blank_values=True)
)


@define("getHostname", "kubernetes.URL.() -> string")
def _hostname(value: Url) -> str:
    host = value.parts.netloc.rpartition("@")[2]
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
