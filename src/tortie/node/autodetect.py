"""Which of a host's addresses is the node's: the rules of IP and IP_AUTODETECTION_METHOD.

For start-up and the address monitor. In: the settings' texts, the host's interfaces, the node's present address. Out: a
decision with words for the log. Pure; `tortie.node.interfaces` supplies the facts (spec/cni-ipam-node.md 3.2).
"""

import re
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_interface, ip_network

import msgspec

from tortie.service.run import Fatal

HostAddress = IPv4Interface | IPv6Interface

EXCLUDED = (
    *("docker.*", "cbr.*", "dummy.*", "podman.*", "virbr.*", "lxcbr.*", "veth.*", "lo", "br-.*", "cali.*", "tunl.*"),
    *("flannel.*", "kube-ipvs.*", "cni.*", r"vxlan\.calico.*", r"vxlan-v6\.calico.*", r"wireguard\.cali.*"),
    *(r"wg-v6\.cali.*", "nodelocaldns.*"),
)
"""Interfaces that are never a node's own, each pattern anchored at its start."""

METHODS = "first-found, interface=, skip-interface=, cidr=, can-reach=, kubernetes-internal-ip"


class Interface(msgspec.Struct, frozen=True):
    """addresses: with the length of their subnets."""

    index: int
    name: str
    addresses: tuple[HostAddress, ...]


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """internal: the Kubernetes node's internal addresses. source_towards: the address from which the kernel would
    reach a destination, "" if it would not."""

    interfaces: tuple[Interface, ...]
    internal: tuple[str, ...] = ()
    source_towards: Callable[[str, int], str] = lambda _destination, _family: ""


class Decision(msgspec.Struct, frozen=True):
    """address: with length, "" for none. notes: for the log."""

    address: str
    notes: tuple[str, ...] = ()


def detect(method: str, family: int, host: Host) -> HostAddress | None:
    """The address that a method finds, None if none. Raises Fatal for a method that does not exist."""
    name, _, argument = method.partition("=")
    arguments = [part for part in argument.split(",") if part]
    excluded = [re.compile(pattern) for pattern in EXCLUDED]
    if method == "first-found":
        return next(_usable(host, family, lambda i: not any(e.match(i) for e in excluded)), None)
    if name == "interface" and arguments:
        wanted = _patterns(arguments, method)
        return next(_usable(host, family, lambda i: any(w.search(i) for w in wanted)), None)
    if name == "skip-interface" and arguments:
        skipped = _patterns(arguments, method)
        return next(
            _usable(
                host, family, lambda i: not any(e.match(i) for e in excluded) and not any(s.search(i) for s in skipped)
            ),
            None,
        )
    if name == "cidr" and arguments:
        try:
            ranges = [ip_network(text, strict=False) for text in arguments]
        except ValueError as e:
            raise Fatal(f"autodetection method {method!r}: {e}") from e
        return next((a for a in _usable(host, family, lambda _: True) if any(a.ip in r for r in ranges)), None)
    if name == "can-reach" and arguments:
        source = host.source_towards(arguments[0], family)
        return _owned(host, source) if source else None
    if method == "kubernetes-internal-ip":
        for text in host.internal:
            if ip_interface(text).version == family:
                return _owned(host, text)
        return None
    raise Fatal(f"autodetection method {method!r} is not known; allowed: {METHODS}")


def decide(*, wanted: str, method: str, family: int, present: str, host: Host) -> Decision:
    """The node's address of a family. wanted: the value of IP or IP6. present: the one it has now, with length.

    Raises Fatal for a value that is no address of the family.
    """
    if wanted == "none":
        return Decision(present)
    if wanted in ("", "autodetect"):
        if wanted == "" and (present or family == 6):
            return Decision(present)
        found = detect(method, family, host)
        if found is not None:
            return Decision(str(found))
        if present:
            return Decision(present, (f"IPv{family} autodetection by {method} found nothing; {present} stays",))
        return Decision("", (f"IPv{family} autodetection by {method} found no address",))
    return _given(wanted, family, host)


def _given(wanted: str, family: int, host: Host) -> Decision:
    variable = "IP" if family == 4 else "IP6"
    try:
        parsed = ip_interface(wanted)
        if parsed.version != family:
            raise ValueError
    except ValueError as e:
        raise Fatal(f"{variable}={wanted!r} is not an IPv{family} address or CIDR, autodetect, or none") from e
    if "/" not in wanted and family == 4:
        parsed = _owned(host, wanted) or parsed
    local = _owned(host, str(parsed.ip)) is not None
    notes = () if local else (f"{variable}={wanted} is on no interface of this host",)
    return Decision(str(parsed), notes)


def _usable(host: Host, family: int, accept: Callable[[str], bool]) -> Iterator[HostAddress]:
    """Addresses of accepted interfaces, from the highest index down."""
    for interface in sorted(host.interfaces, key=lambda i: i.index, reverse=True):
        if accept(interface.name):
            yield from (a for a in interface.addresses if a.version == family and _is_global_unicast(a.ip))


def _owned(host: Host, text: str) -> HostAddress | None:
    """A local address as its interface has it, with the subnet's length."""
    wanted = ip_interface(text).ip
    for interface in sorted(host.interfaces, key=lambda i: i.index, reverse=True):
        for address in interface.addresses:
            if address.ip == wanted:
                return address
    return None


def _is_global_unicast(ip: IPv4Address | IPv6Address) -> bool:
    return not (ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified)


def _patterns(texts: list[str], method: str) -> list[re.Pattern[str]]:
    try:
        return [re.compile(text) for text in texts]
    except re.error as e:
        raise Fatal(f"autodetection method {method!r}: {e}") from e
