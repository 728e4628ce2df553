"""The cluster's names: what a question about `cluster.local` or a service's address is answered with. Pure.

In: Services, EndpointSlices and Namespaces, added, changed or gone. Out: an `Answer` for a name and a record type, by
the Kubernetes DNS specification 1.1 (services, headless services, named ports, pods, reverse lookups).
"""

import ipaddress
from dataclasses import dataclass, field
from typing import Literal

from tortie.kube.objects import ObjectKey
from tortie.model import k8s

RecordType = Literal["A", "AAAA", "CNAME", "SRV", "PTR", "TXT", "SOA", "NS"]
Outcome = Literal["found", "no-data", "no-name", "not-ours"]

SERVICE_LABEL = "kubernetes.io/service-name"
_REVERSE = (".in-addr.arpa", ".ip6.arpa")


@dataclass(frozen=True, slots=True)
class Record:
    """value: an address, a name, a text, or (priority, weight, port, target) for SRV. Names have no final dot."""

    name: str
    type: RecordType
    value: str | tuple[int, int, int, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """no-name: NXDOMAIN; no-data: the name exists without such a record; not-ours: ask somebody else."""

    outcome: Outcome
    records: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()


_NO_NAME = Answer("no-name")
_NO_DATA = Answer("no-data")
NOT_OURS = Answer("not-ours")


@dataclass(frozen=True, slots=True)
class _Backend:
    """One address of one endpoint. label: the name under the service; ports: (name, protocol, number)."""

    label: str
    address: str
    ports: tuple[tuple[str, str, int], ...]


@dataclass(slots=True)
class _Entry:
    service: k8s.Service | None = None
    slices: dict[ObjectKey, tuple[_Backend, ...]] = field(default_factory=dict)

    def backends(self) -> list[_Backend]:
        unique = {(b.label, b.address): b for backends in self.slices.values() for b in backends}
        return list(unique.values())


class Zone:
    """Event-loop local. Lookups cost O(records given)."""

    def __init__(self, domain: str = "cluster.local") -> None:
        self.domain = domain.lower().strip(".")
        self._entries: dict[ObjectKey, _Entry] = {}
        self._namespaces: set[str] = set()
        self._slice_owner: dict[ObjectKey, ObjectKey] = {}
        self._service_by_ip: dict[str, ObjectKey] = {}
        self._backends_by_ip: dict[str, dict[ObjectKey, tuple[str, ...]]] = {}

    # --- changes -------------------------------------------------------------------------------------------------

    def put_namespace(self, key: ObjectKey, namespace: object | None) -> None:
        """A namespace is there (or None: gone)."""
        if namespace is None:
            self._namespaces.discard(key[1])
        else:
            self._namespaces.add(key[1])

    def put_service(self, key: ObjectKey, service: k8s.Service | None) -> None:
        """A service as it is now, None for gone."""
        entry = self._entries.setdefault(key, _Entry())
        for address in _cluster_ips(entry.service):
            if self._service_by_ip.get(address) == key:
                del self._service_by_ip[address]
        entry.service = service
        for address in _cluster_ips(service):
            self._service_by_ip[address] = key
        self._tidy(key)

    def put_slice(self, key: ObjectKey, piece: k8s.EndpointSlice | None) -> None:
        """An EndpointSlice as it is now, None for gone."""
        owner = self._slice_owner.pop(key, None)
        if owner is not None:
            for backend in self._entries[owner].slices.pop(key, ()):
                self._backends_by_ip.get(backend.address, {}).pop(owner, None)
            self._tidy(owner)
        name = piece.metadata.labels.get(SERVICE_LABEL) if piece is not None else None
        if piece is None or not name or piece.address_type not in ("IPv4", "IPv6"):
            return
        owner = (key[0], name)
        self._slice_owner[key] = owner
        backends = _backends(piece)
        self._entries.setdefault(owner, _Entry()).slices[key] = backends
        for backend in backends:
            here = self._backends_by_ip.setdefault(backend.address, {})
            here[owner] = (*here.get(owner, ()), backend.label)

    def _tidy(self, key: ObjectKey) -> None:
        entry = self._entries.get(key)
        if entry is not None and entry.service is None and not entry.slices:
            del self._entries[key]

    def statistics(self) -> dict[str, float]:
        """Sizes, for metrics."""
        return {"services": len(self._entries), "namespaces": len(self._namespaces), "slices": len(self._slice_owner)}

    # --- questions -----------------------------------------------------------------------------------------------

    def lookup(self, name: str, type_: str) -> Answer:
        """name: lower case, without a final dot. type_: `A`, `SRV`, …; `ANY` gives every address record."""
        if name.endswith(_REVERSE):
            return self._reverse(name, type_)
        if name == self.domain:
            return self._apex(type_)
        if not name.endswith("." + self.domain):
            return NOT_OURS
        labels = name[: -len(self.domain) - 1].split(".")
        if labels == ["dns-version"]:
            return _of_type(type_, [Record(name, "TXT", "1.1.0")])
        if labels == ["ns", "dns"]:
            return _NO_DATA
        kind = labels[-1]
        if kind == "svc":
            return self._service(name, labels[:-1], type_)
        if kind == "pod":
            return self._pod(name, labels[:-1], type_)
        return _NO_NAME

    def soa(self) -> Record:
        """The start-of-authority record that goes with negative answers."""
        return Record(self.domain, "SOA", f"ns.dns.{self.domain} hostmaster.{self.domain}")

    def _apex(self, type_: str) -> Answer:
        records = [self.soa(), Record(self.domain, "NS", f"ns.dns.{self.domain}")]
        return _of_type(type_, records)

    def _service(self, name: str, labels: list[str], type_: str) -> Answer:
        if not labels:
            return _NO_DATA
        namespace = labels[-1]
        if len(labels) == 1:
            return _NO_DATA if namespace in self._namespaces else _NO_NAME
        key = (namespace, labels[-2])
        entry = self._entries.get(key)
        if entry is None or entry.service is None:
            return _NO_NAME
        rest = labels[:-2]
        base = f"{labels[-2]}.{namespace}.svc.{self.domain}"
        spec = entry.service.spec
        if spec.type == "ExternalName":
            target = spec.external_name.rstrip(".").lower()
            return Answer("found", (Record(name, "CNAME", target),)) if not rest and target else _NO_NAME
        headless = spec.cluster_ip == "None"
        if len(rest) == 2 and rest[0].startswith("_") and rest[1].startswith("_"):
            return self._named_port(name, base, entry, rest[0][1:], rest[1][1:], type_, headless=headless)
        if len(rest) == 1:
            addresses = [b.address for b in entry.backends() if b.label == rest[0]]
            return _of_type(type_, _addresses(name, addresses)) if addresses else _NO_NAME
        if rest:
            return _NO_NAME
        if type_ == "SRV":
            return self._all_ports(name, base, entry, headless=headless)
        if headless:
            addresses = list(dict.fromkeys(b.address for b in entry.backends()))
            return _of_type(type_, _addresses(name, addresses)) if addresses else _NO_NAME
        return _of_type(type_, _addresses(name, list(_cluster_ips(entry.service))))

    def _named_port(
        self, name: str, base: str, entry: _Entry, port: str, protocol: str, type_: str, *, headless: bool
    ) -> Answer:
        assert entry.service is not None
        if headless:
            matches = [
                (backend, number)
                for backend in entry.backends()
                for port_name, port_protocol, number in backend.ports
                if port_name == port and port_protocol.lower() == protocol
            ]
            if not matches:
                return _NO_NAME
            return self._srv(name, type_, [(f"{b.label}.{base}", number, [b.address]) for b, number in matches])
        numbers = [
            p.port for p in entry.service.spec.ports if p.name == port and (p.protocol or "TCP").lower() == protocol
        ]
        if not numbers:
            return _NO_NAME
        return self._srv(name, type_, [(base, number, list(_cluster_ips(entry.service))) for number in numbers])

    def _all_ports(self, name: str, base: str, entry: _Entry, *, headless: bool) -> Answer:
        assert entry.service is not None
        if headless:
            targets = [(f"{b.label}.{base}", number, [b.address]) for b in entry.backends() for _, _, number in b.ports]
        else:
            addresses = list(_cluster_ips(entry.service))
            targets = [(base, port.port, addresses) for port in entry.service.spec.ports]
        return self._srv(name, "SRV", targets) if targets else _NO_DATA

    def _srv(self, name: str, type_: str, targets: list[tuple[str, int, list[str]]]) -> Answer:
        if type_ not in ("SRV", "ANY"):
            return _NO_DATA
        weight = max(1, 100 // len(targets))
        records = dict.fromkeys(Record(name, "SRV", (0, weight, port, target)) for target, port, _ in targets)
        extra = dict.fromkeys(r for target, _, addresses in targets for r in _addresses(target, addresses))
        return Answer("found", tuple(records), tuple(extra))

    def _pod(self, name: str, labels: list[str], type_: str) -> Answer:
        if not labels:
            return _NO_DATA
        if labels[-1] not in self._namespaces:
            return _NO_NAME
        if len(labels) == 1:
            return _NO_DATA
        address = _dashed_address(labels[0]) if len(labels) == 2 else None
        return _of_type(type_, _addresses(name, [address])) if address is not None else _NO_NAME

    def _reverse(self, name: str, type_: str) -> Answer:
        address = _reversed_address(name)
        if address is None:
            return NOT_OURS
        key = self._service_by_ip.get(address)
        if key is not None:
            return _of_type(type_, [Record(name, "PTR", f"{key[1]}.{key[0]}.svc.{self.domain}")])
        owners = self._backends_by_ip.get(address)
        if not owners:
            return NOT_OURS
        targets = [
            f"{label}.{service}.{namespace}.svc.{self.domain}"
            for (namespace, service), labels in owners.items()
            for label in dict.fromkeys(labels)
        ]
        return _of_type(type_, [Record(name, "PTR", target) for target in targets])


def _of_type(type_: str, records: list[Record]) -> Answer:
    chosen = tuple(r for r in records if type_ in ("ANY", r.type))
    return Answer("found", chosen) if chosen else _NO_DATA


def _addresses(name: str, addresses: list[str]) -> list[Record]:
    return [Record(name, "AAAA" if ":" in address else "A", address) for address in addresses]


def _cluster_ips(service: k8s.Service | None) -> tuple[str, ...]:
    if service is None or service.spec.type == "ExternalName":
        return ()
    addresses = service.spec.cluster_ips or (service.spec.cluster_ip,)
    return tuple(normal for a in addresses if (normal := _normal(a)) is not None)


def _backends(piece: k8s.EndpointSlice) -> tuple[_Backend, ...]:
    ports = tuple((p.name, p.protocol or "TCP", p.port) for p in piece.ports or () if p.port)
    result = []
    for endpoint in piece.endpoints or ():
        if endpoint.conditions.ready is False:
            continue
        for text in endpoint.addresses[:1]:
            address = _normal(text)
            if address is not None:
                label = (endpoint.hostname or address.replace(".", "-").replace(":", "-")).lower()
                result.append(_Backend(label, address, ports))
    return tuple(result)


def _normal(text: str) -> str | None:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None


def _dashed_address(label: str) -> str | None:
    return _normal(label.replace("-", ".")) or _normal(label.replace("-", ":"))


def _reversed_address(name: str) -> str | None:
    if name.endswith(".in-addr.arpa"):
        parts = name.removesuffix(".in-addr.arpa").split(".")
        return _normal(".".join(reversed(parts))) if len(parts) == 4 else None
    nibbles = name.removesuffix(".ip6.arpa").split(".")
    if len(nibbles) != 32:
        return None
    digits = "".join(reversed(nibbles))
    return _normal(":".join(digits[i : i + 4] for i in range(0, 32, 4)))
