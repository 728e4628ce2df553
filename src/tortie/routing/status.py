"""BIRD's own account of its state, as data: the daemon, its protocols, its routes.

For readiness, the node status and the command line. In: replies of the control socket (`tortie.routing.birdc`). Out:
structs; the parsers are pure, `read_*` ask the daemon first (spec/bgp-typha.md A.5.3, A.5.4).
"""

import re
from collections.abc import Iterable
from pathlib import Path

import msgspec

from tortie.routing.birdc import Line, ask

PEER_PREFIXES = {"Mesh_": "NodeMesh", "Node_": "NodePeer", "Global_": "GlobalPeer"}
"""Prefixes of the protocol names that count as peers, and what the API calls such a peer."""

WORKLOAD_PREFIX = "Local_Workload_"
BGP_STATES = ("Idle", "Connect", "Active", "OpenSent", "OpenConfirm", "Established", "Close")

_RECOVERY = 24
_PROTOCOL_ROW, _PROTOCOL_DETAIL, _ROUTE = 1002, 1006, 1007
_ROUTE_LINE = re.compile(
    r"(?P<destination>\S+)?\s+(?P<kind>unicast|blackhole|unreachable|prohibited)\s+"
    r"\[(?P<protocol>\S+) (?P<since>[^\]]*?)(?: from (?P<origin>[^\s\]]+))?\](?P<flag> \*| !)?"
)
_NEXT_HOP = re.compile(r"\s+(?:via (?P<gateway>\S+) on (?P<on>\S+)|dev (?P<dev>\S+))")


class Daemon(msgspec.Struct, frozen=True, kw_only=True):
    """Times are as BIRD writes them. recovering: a graceful restart is in progress."""

    version: str = ""
    router_id: str = ""
    last_boot: str = ""
    last_reconfiguration: str = ""
    recovering: bool = False


class Protocol(msgspec.Struct, frozen=True, kw_only=True):
    """kind: `BGP`, `Kernel`, `Static`, …. info: for BGP the session's state and its last error."""

    name: str
    kind: str
    state: str
    since: str = ""
    info: str = ""
    neighbor: str = ""

    @property
    def bgp_state(self) -> str:
        """The session's state as the API names it, "" for anything else."""
        word = self.info.split(" ", 1)[0]
        return word if word in BGP_STATES else ""

    @property
    def is_peer(self) -> bool:
        """A session that readiness and the node status count."""
        return self.kind == "BGP" and self.name.startswith(tuple(PEER_PREFIXES))

    @property
    def established(self) -> bool:
        return self.state == "up"


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One route of one table. hops: (gateway or "", interface). selected: it is the best for its destination.
    refused: the kernel did not take it."""

    destination: str
    kind: str
    protocol: str
    hops: tuple[tuple[str, str], ...] = ()
    selected: bool = False
    refused: bool = False


def read_daemon(path: Path | None = None, *, timeout: float = 2.0) -> Daemon:
    """Raises BirdUnreachable."""
    return parse_daemon(ask("show status", path=path, timeout=timeout))


def read_protocols(path: Path | None = None, *, timeout: float = 2.0) -> list[Protocol]:
    """Raises BirdUnreachable."""
    return parse_protocols(ask("show protocols all", path=path, timeout=timeout))


def read_routes(family: int, path: Path | None = None, *, timeout: float = 10.0) -> list[Route]:
    """The routes of one family's main table. Raises BirdUnreachable."""
    return parse_routes(ask(f"show route table master{family}", path=path, timeout=timeout))


def parse_daemon(lines: Iterable[Line]) -> Daemon:
    """`show status`."""
    version = router = boot = configured = ""
    recovering = False
    for line in lines:
        text = line.text.strip()
        if line.code == _RECOVERY:
            recovering = True
        elif text.startswith("BIRD "):
            version = text.removeprefix("BIRD ").removeprefix("v").split(" ")[0]
        elif text.startswith("Router ID is "):
            router = text.removeprefix("Router ID is ")
        elif text.startswith("Last reboot on "):
            boot = text.removeprefix("Last reboot on ")
        elif text.startswith("Last reconfiguration on "):
            configured = text.removeprefix("Last reconfiguration on ")
    return Daemon(
        version=version, router_id=router, last_boot=boot, last_reconfiguration=configured, recovering=recovering
    )


def parse_protocols(lines: Iterable[Line]) -> list[Protocol]:
    """`show protocols` or `show protocols all`."""
    found: list[Protocol] = []
    for line in lines:
        if line.code == _PROTOCOL_ROW:
            parts = line.text.split(None, 5)
            if len(parts) >= 4:
                name, kind, _table, state, *rest = parts
                info = " ".join(rest[1].split()) if len(rest) > 1 else ""
                found.append(Protocol(name=name, kind=kind, state=state, since=rest[0] if rest else "", info=info))
        elif line.code == _PROTOCOL_DETAIL and found:
            text = line.text.strip()
            if text.startswith("Neighbor address:"):
                neighbor = text.removeprefix("Neighbor address:").strip()
                found[-1] = msgspec.structs.replace(found[-1], neighbor=neighbor)
    return found


def parse_routes(lines: Iterable[Line]) -> list[Route]:
    """`show route`; a line without a destination is one more route to the destination above it."""
    found: list[Route] = []
    destination = ""
    for line in lines:
        if line.code != _ROUTE:
            continue
        match = _ROUTE_LINE.match(line.text)
        if match:
            destination = match["destination"] or destination
            found.append(
                Route(
                    destination=destination,
                    kind=match["kind"],
                    protocol=match["protocol"],
                    selected=match["flag"] is not None,
                    refused=match["flag"] == " !",
                )
            )
            continue
        hop = _NEXT_HOP.match(line.text)
        if hop and found:
            gateway, interface = hop["gateway"] or "", hop["on"] or hop["dev"]
            found[-1] = msgspec.structs.replace(found[-1], hops=(*found[-1].hops, (gateway, interface)))
    return found
