"""Which addresses and named ports belong to the sets made from selectors and services (spec/felix.md 1.3, 2.9).

In: all endpoints and network sets with their labels, profiles' labels, endpoint slices, and the sets to fill. Out:
members counted into and out of those sets.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from tortie.felix.calc import addresses
from tortie.felix.calc.labels import Item, LabelIndex
from tortie.felix.calc.rules import DomainSource, NamedPortSource, SelectorSource, ServiceSource, SetSpec
from tortie.felix.calc.selectors import requirements
from tortie.felix.calc.sets import MemberSet
from tortie.felix.messages import IPPort, Member
from tortie.model.dataplane import EndpointSlice, EndpointSliceKey, NamedPort, ServiceKey


class Contribution(NamedTuple):
    """What one endpoint or network set brings into a set that selects it. nets: canonical CIDRs."""

    nets: tuple[str, ...]
    ports: tuple[NamedPort, ...] = ()


class _Consumer(NamedTuple):
    """A set that is filled from a selector; named None: with addresses, else with that named port."""

    members: MemberSet
    named: NamedPortSource | None

    def of(self, contribution: Contribution) -> Iterable[Member]:
        named = self.named
        if named is None:
            return contribution.nets
        return [
            IPPort(addresses.host(net), port.protocol, port.port)
            for port in contribution.ports
            if port.name == named.name and (named.protocol is None or named.protocol == port.protocol)
            for net in contribution.nets
        ]


class Membership:
    """Fills sets of every source; a set is filled when it is attached and kept right until it is detached."""

    def __init__(self) -> None:
        self._index = LabelIndex()
        self._contributions: dict[Item, Contribution] = {}
        self._consumers: dict[str, list[_Consumer]] = {}
        self._services = _Services()

    # --- sets ----------------------------------------------------------------------------------------------------

    def attach(self, spec: SetSpec, members: MemberSet) -> None:
        """Fills a new set and keeps it filled."""
        source = spec.source
        if isinstance(source, ServiceSource):
            self._services.attach(source, members)
        elif not isinstance(source, DomainSource):
            identifier = source.selector.unique_id
            consumer = _Consumer(members, source if isinstance(source, NamedPortSource) else None)
            consumers = self._consumers.get(identifier)
            if consumers is None:
                self._consumers[identifier] = [consumer]
                groups = self._index.add(identifier, source.selector, requirements(source.selector))
            else:
                consumers.append(consumer)
                groups = self._index.items(identifier)
            for items in groups:
                for item in items:
                    members.add(consumer.of(self._contributions[item]))

    def detach(self, spec: SetSpec, members: MemberSet) -> None:
        """Leaves a set alone from now on."""
        source = spec.source
        if isinstance(source, ServiceSource):
            self._services.detach(source)
        elif isinstance(source, SelectorSource | NamedPortSource):
            identifier = source.selector.unique_id
            left = [consumer for consumer in self._consumers[identifier] if consumer.members is not members]
            if left:
                self._consumers[identifier] = left
            else:
                del self._consumers[identifier]
                self._index.remove(identifier)

    # --- contributors --------------------------------------------------------------------------------------------

    def set_item(
        self, item: Item, labels: Mapping[str, str], profiles: tuple[str, ...], contribution: Contribution
    ) -> None:
        """Adds or changes an endpoint or network set."""
        old = self._contributions.get(item)
        self._contributions[item] = contribution
        before, after = self._index.assign(item, labels, profiles)
        if old is None or old == contribution:
            if before is not after:
                self._count_out(before - after, contribution)
                self._count_in(after - before, contribution)
        else:
            self._count_in(after, contribution)
            self._count_out(before, old)

    def remove_item(self, item: Item) -> None:
        """Removes an endpoint or network set if it is there."""
        old = self._contributions.pop(item, None)
        if old is not None:
            self._count_out(self._index.discard(item), old)

    def set_profile_labels(self, profile: str, labels: Mapping[str, str]) -> None:
        """Sets the labels that a profile hands down; {} when there is no such profile."""
        for change in self._index.set_parent(profile, labels):
            for consumer in self._consumers[change.selector]:
                count = consumer.members.add if change.matched else consumer.members.remove
                for item in change.items:
                    count(consumer.of(self._contributions[item]))

    def set_slice(self, key: EndpointSliceKey, value: EndpointSlice | None) -> None:
        """Adds, changes or removes an endpoint slice."""
        self._services.set_slice(key, value)

    def _count_in(self, selectors: Iterable[str], contribution: Contribution) -> None:
        for identifier in selectors:
            for consumer in self._consumers[identifier]:
                consumer.members.add(consumer.of(contribution))

    def _count_out(self, selectors: Iterable[str], contribution: Contribution) -> None:
        for identifier in selectors:
            for consumer in self._consumers[identifier]:
                consumer.members.remove(consumer.of(contribution))

    def statistics(self) -> dict[str, int]:
        """The label index's sizes and work."""
        return self._index.statistics()


class _Services:
    """Fills sets from the endpoint slices of services."""

    def __init__(self) -> None:
        self._slices: dict[EndpointSliceKey, EndpointSlice] = {}
        self._of_service: dict[ServiceKey, set[EndpointSliceKey]] = {}
        self._sets: dict[ServiceSource, MemberSet] = {}

    def attach(self, source: ServiceSource, members: MemberSet) -> None:
        self._sets[source] = members
        for key in self._of_service.get(source.service, ()):
            members.add(_slice_members(self._slices[key], with_ports=source.with_ports))

    def detach(self, source: ServiceSource) -> None:
        del self._sets[source]

    def set_slice(self, key: EndpointSliceKey, value: EndpointSlice | None) -> None:
        old = self._slices.get(key)
        if value is not None:
            self._slices[key] = value
            self._of_service.setdefault(value.service, set()).add(key)
            for members, with_ports in self._sets_of(value.service):
                members.add(_slice_members(value, with_ports=with_ports))
        else:
            self._slices.pop(key, None)
        if old is not None:
            for members, with_ports in self._sets_of(old.service):
                members.remove(_slice_members(old, with_ports=with_ports))
            if value is None or value.service != old.service:
                keys = self._of_service[old.service]
                keys.discard(key)
                if not keys:
                    del self._of_service[old.service]

    def _sets_of(self, service: ServiceKey) -> Iterable[tuple[MemberSet, bool]]:
        for with_ports in (True, False):
            members = self._sets.get(ServiceSource(service, with_ports))
            if members is not None:
                yield members, with_ports


def _slice_members(endpoint_slice: EndpointSlice, *, with_ports: bool) -> list[Member]:
    if not with_ports:
        return [addresses.single(address) for address in endpoint_slice.addresses]
    return [
        IPPort(address, protocol, port)
        for address in endpoint_slice.addresses
        for _, protocol, port in endpoint_slice.ports
    ]
