"""Routes of the main table and others: listing them by table, replacing and deleting many at once.

Callers pass an open `Netlink` socket and `Route`s, plain frozen data that compare equal when the kernel would treat
them as the same; messages are built without a library, since a node may have 65,000 of them.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from tortie.net.link import family_of, ip_bytes, ip_text
from tortie.net.netlink import CREATE, REPLACE, Netlink, NetlinkError, attribute, attributes, u32

RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
MAIN_TABLE = 254
UNICAST, LOCAL, BLACKHOLE, UNREACHABLE, PROHIBIT, THROW = 1, 2, 6, 7, 8, 9
SCOPE_UNIVERSE, SCOPE_LINK = 0, 253
PROTOCOL_KERNEL, PROTOCOL_BOOT, PROTOCOL_STATIC, PROTOCOL_BIRD = 2, 3, 4, 12
ONLINK = 4

_MESSAGE = struct.Struct("=BBBBBBBBI")
_U32 = struct.Struct("=I")
_DST, _OIF, _GATEWAY, _PRIORITY, _PREFSRC, _METRICS, _MULTIPATH, _TABLE = 1, 4, 5, 6, 7, 8, 9, 15


@dataclass(frozen=True, slots=True)
class Route:
    """cidr: canonical; interface: index, 0 for none; gateway: "" for on-link; metric 0: the family's default."""

    cidr: str
    interface: int = 0
    gateway: str = ""
    kind: int = UNICAST
    scope: int = SCOPE_UNIVERSE
    protocol: int = PROTOCOL_STATIC
    onlink: bool = False
    source: str = ""
    metric: int = 0
    table: int = MAIN_TABLE

    @property
    def key(self) -> tuple[str, int, int]:
        """What the kernel identifies a route by, near enough: destination, metric, table."""
        return self.cidr, self.metric, self.table


def parse(body: bytes) -> Route:
    family, length, _, _, table, protocol, scope, kind, flags = _MESSAGE.unpack_from(body)
    values = attributes(body, 12)
    if _DST in values:
        destination = ip_text(values[_DST])
    else:
        destination = "0.0.0.0" if family == 2 else "::"  # noqa: S104  # a destination, nothing listens
    metric = _U32.unpack(values[_PRIORITY])[0] if _PRIORITY in values else 0
    return Route(
        cidr=f"{destination}/{length}",
        interface=_U32.unpack(values[_OIF])[0] if _OIF in values else 0,
        gateway=ip_text(values[_GATEWAY]) if _GATEWAY in values else "",
        kind=kind,
        scope=scope,
        protocol=protocol,
        onlink=bool(flags & ONLINK),
        source=ip_text(values[_PREFSRC]) if _PREFSRC in values else "",
        metric=metric,
        table=_U32.unpack(values[_TABLE])[0] if _TABLE in values else table,
    )


def encode(route: Route) -> bytes:
    address, _, length = route.cidr.partition("/")
    table = route.table if route.table < 256 else 0
    body = _MESSAGE.pack(
        family_of(address),
        int(length),
        0,
        0,
        table,
        route.protocol,
        route.scope,
        route.kind,
        ONLINK if route.onlink else 0,
    )
    body += attribute(_DST, ip_bytes(address)) + u32(_TABLE, route.table)
    if route.interface:
        body += u32(_OIF, route.interface)
    if route.gateway:
        body += attribute(_GATEWAY, ip_bytes(route.gateway))
    if route.source:
        body += attribute(_PREFSRC, ip_bytes(route.source))
    if route.metric:
        body += u32(_PRIORITY, route.metric)
    return body


def routes(sock: Netlink, family: int, *, table: int = MAIN_TABLE) -> list[Route]:
    """All routes of one table. family: socket.AF_INET or AF_INET6."""
    body = _MESSAGE.pack(family, 0, 0, 0, table if table < 256 else 0, 0, 0, 0, 0) + u32(_TABLE, table)
    try:
        replies = sock.dump(RTM_GETROUTE, body, f"listing routes of table {table}")
    except NetlinkError as error:
        if error.errno == 2:  # ENOENT: nobody has used the table yet
            return []
        raise
    return [parse(reply.body) for reply in replies]


def replace(sock: Netlink, wanted: Iterable[Route]) -> list[NetlinkError | None]:
    """Adds each route or takes the place of the one with its key; one result for each."""
    requests = [(RTM_NEWROUTE, CREATE | REPLACE, encode(route)) for route in wanted]
    return sock.request_many(requests, "writing a route")


def delete(sock: Netlink, unwanted: Iterable[Route]) -> list[NetlinkError | None]:
    requests = [(RTM_DELROUTE, 0, encode(route)) for route in unwanted]
    return sock.request_many(requests, "deleting a route")
