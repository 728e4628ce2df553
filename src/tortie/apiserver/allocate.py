"""Service addresses and node ports: who has which, and which is free.

In: Services as they are stored (through the store's events) and wishes of new ones. Out: reservations, which the
service hooks make before a write and take back when the write fails. All in memory, rebuilt at start.
"""

import ipaddress
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]
Key = tuple[str, str]
NODE_PORTS = range(30000, 32768)


class AllocationError(ValueError):
    """Why a wish cannot be met."""


@dataclass(slots=True)
class Range:
    """The addresses of one service network."""

    network: ipaddress.IPv4Network | ipaddress.IPv6Network
    used: dict[int, Key] = field(default_factory=dict)

    @property
    def family(self) -> str:
        return f"IPv{self.network.version}"

    @property
    def size(self) -> int:
        return min(self.network.num_addresses, 1 << 16)

    def _offset(self, address: str) -> int:
        parsed = ipaddress.ip_address(address)
        if parsed not in self.network:
            raise AllocationError(
                f"the provided IP ({address}) is not in the valid range. The range of valid IPs is {self.network}"
            )
        return int(parsed) - int(self.network.network_address)

    def take(self, address: str, owner: Key) -> None:
        """Reserves a given address."""
        offset = self._offset(address)
        holder = self.used.get(offset)
        if holder is not None and holder != owner:
            raise AllocationError("failed to allocate IP: provided IP is already allocated")
        self.used[offset] = owner

    def next(self, owner: Key) -> str:
        """Reserves a free address from the upper part of the range; the lower part is left for fixed wishes."""
        last = self.size - (1 if self.network.version == 4 else 0)
        band = min(max(16, self.size // 16), 256)
        for low, high in ((band, last), (1, min(band, last))):
            if high <= low:
                continue
            start = random.randrange(low, high)  # noqa: S311 - spreads addresses, no secret
            for step in range(high - low):
                offset = low + (start - low + step) % (high - low)
                if offset not in self.used:
                    self.used[offset] = owner
                    return str(self.network[offset])
        raise AllocationError(f"the range {self.network} is full")

    def release(self, address: str, owner: Key) -> None:
        try:
            offset = self._offset(address)
        except (AllocationError, ValueError):
            return
        if self.used.get(offset) == owner:
            del self.used[offset]


class Allocators:
    """Every range of the cluster, and the node ports."""

    def __init__(self, service_cidrs: Sequence[str]) -> None:
        self.ranges = [Range(ipaddress.ip_network(c)) for c in service_cidrs]
        self.ports: dict[tuple[str, int], Key] = {}

    @property
    def families(self) -> list[str]:
        return [r.family for r in self.ranges]

    def range(self, family: str) -> Range | None:
        return next((r for r in self.ranges if r.family == family), None)

    def take_port(self, protocol: str, port: int, owner: Key) -> None:
        """Reserves a given node port."""
        if port not in NODE_PORTS:
            raise AllocationError(
                "provided port is not in the valid range. The range of valid ports is "
                f"{NODE_PORTS.start}-{NODE_PORTS.stop - 1}"
            )
        holder = self.ports.get((protocol, port))
        if holder is not None and holder != owner:
            raise AllocationError("provided port is already allocated")
        self.ports[(protocol, port)] = owner

    def next_port(self, protocol: str, owner: Key) -> int:
        """Reserves a free node port."""
        start = random.randrange(len(NODE_PORTS))  # noqa: S311 - spreads ports, no secret
        for step in range(len(NODE_PORTS)):
            port = NODE_PORTS[(start + step) % len(NODE_PORTS)]
            if (protocol, port) not in self.ports:
                self.ports[(protocol, port)] = owner
                return port
        raise AllocationError(f"the node ports {NODE_PORTS.start}-{NODE_PORTS.stop - 1} are all taken")

    def held(self, service: Object) -> tuple[set[str], set[tuple[str, int]]]:
        """The addresses and node ports that a Service has."""
        spec = service.get("spec") or {}
        addresses = {a for a in (spec.get("clusterIPs") or [spec.get("clusterIP")]) if a and a != "None"}
        ports = {(p.get("protocol", "TCP"), p["nodePort"]) for p in spec.get("ports") or () if p.get("nodePort")}
        if spec.get("healthCheckNodePort"):
            ports.add(("TCP", spec["healthCheckNodePort"]))
        return addresses, ports

    def remember(self, service: Object) -> None:
        """Notes what a stored Service has, at start."""
        owner = owner_of(service)
        addresses, ports = self.held(service)
        for address in addresses:
            for one in self.ranges:
                if ipaddress.ip_address(address) in one.network:
                    one.take(address, owner)
        for key in ports:
            self.ports.setdefault(key, owner)

    def release(self, owner: Key, addresses: Iterable[str], ports: Iterable[tuple[str, int]]) -> None:
        """Frees what `owner` holds of these."""
        for address in addresses:
            for one in self.ranges:
                one.release(address, owner)
        for key in ports:
            if self.ports.get(key) == owner:
                del self.ports[key]

    def release_difference(self, old: Object | None, new: Object | None) -> None:
        """Frees what `old` held and `new` does not."""
        if old is None:
            return
        addresses, ports = self.held(old)
        if new is not None:
            kept_addresses, kept_ports = self.held(new)
            addresses -= kept_addresses
            ports -= kept_ports
        self.release(owner_of(old), addresses, ports)


def owner_of(service: Object) -> Key:
    meta = service["metadata"]
    return meta.get("namespace", ""), meta.get("name", "")
