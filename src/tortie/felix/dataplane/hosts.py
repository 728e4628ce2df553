"""Host endpoints: which of them has which interface, and the dispatch to their chains (spec/felix.md 2.5).

Endpoint messages and interface changes come in through the driver; chains and dispatch maps go to the tables. An
endpoint with a name takes the interface of that name, one with addresses the interface that has one of them, the
wildcard all the rest; of several candidates the lowest name wins.
"""

from tortie.felix.dataplane.chain import Chain
from tortie.felix.dataplane.config import DataplaneConfig
from tortie.felix.dataplane.endpoints import ANY_INTERFACE, host_chains
from tortie.felix.dataplane.interfaces import Interfaces
from tortie.felix.dataplane.table import TableState
from tortie.felix.messages import EndpointStatus, HostEndpointUpdate
from tortie.model.dataplane import HostEndpointKey
from tortie.net.nft.statement import COUNTER, RETURN, Rule

WILDCARD = "*"
_LONGEST_NAME = 15


class HostEndpoints:
    def __init__(self, config: DataplaneConfig, interfaces: Interfaces, tables: list[TableState]) -> None:
        self._config = config
        self._interfaces = interfaces
        self._tables = tables
        self._endpoints: dict[HostEndpointKey, HostEndpointUpdate] = {}
        self._assigned: dict[str, HostEndpointUpdate] = {}
        self._dirty = False
        self.dispatch: tuple[tuple[str, str], ...] = ()
        """dispatch chain -> chain of the wildcard endpoint or "", for `static.Situation`"""

    def update(self, message: HostEndpointUpdate) -> None:
        self._endpoints[message.key] = message
        self._dirty = True

    def remove(self, key: HostEndpointKey) -> None:
        if self._endpoints.pop(key, None) is not None:
            self._dirty = True

    def interface_changed(self, name: str) -> None:
        if self._endpoints and not self._config.is_workload(name):
            self._dirty = True

    @property
    def pending(self) -> bool:
        return self._dirty

    def resolve(self) -> None:
        if not self._dirty:
            return
        self._dirty = False
        assigned = self._assign()
        maps: dict[str, dict[str, str]] = {}
        wildcards: dict[str, str] = {}
        for table in self._tables:
            maps, wildcards = {}, {}
            for name in self._assigned.keys() - assigned.keys():
                table.drop(f"hep:{name}")
            for name, endpoint in assigned.items():
                interface = ANY_INTERFACE if name == WILDCARD else name
                rendered = host_chains(endpoint, interface, table.version, self._config)
                table.put(f"hep:{name}", rendered.chains)
                for dispatch, chain in rendered.dispatch.items():
                    entries = maps.setdefault(dispatch, {})
                    if name == WILDCARD:
                        wildcards[dispatch] = chain
                    else:
                        entries[name] = chain
            self._keep_wildcard_off(assigned, maps, wildcards, table)
            for dispatch, _ in self.dispatch:
                if dispatch not in maps:
                    table.put_map(dispatch, None)
            for dispatch, entries in maps.items():
                table.put_map(dispatch, entries)
        self._assigned = assigned
        self.dispatch = tuple((name, wildcards.get(name, "")) for name in sorted(maps))

    def _keep_wildcard_off(
        self,
        assigned: dict[str, HostEndpointUpdate],
        maps: dict[str, dict[str, str]],
        wildcards: dict[str, str],
        table: TableState,
    ) -> None:
        """An endpoint of its own replaces the wildcard on its interface, also where it has no policy itself."""
        if not wildcards:
            table.drop("hep:nothing")
            return
        needed: list[Chain] = []
        for dispatch in wildcards:
            layer = dispatch.partition("-")[0]
            nothing = f"{layer}-cali-no-policy"
            missing = [name for name in assigned if name != WILDCARD and name not in maps[dispatch]]
            for name in missing:
                maps[dispatch][name] = nothing
            if missing and all(chain.name != nothing for chain in needed):
                needed.append(Chain(name=nothing, rules=(Rule((COUNTER, RETURN), "endpoint without such policy"),)))
        table.put("hep:nothing", needed)

    def _assign(self) -> dict[str, HostEndpointUpdate]:
        """interface, or *, -> endpoint"""
        result: dict[str, HostEndpointUpdate] = {}
        for key in sorted(self._endpoints, key=lambda item: item.name):
            endpoint = self._endpoints[key]
            if endpoint.interface == WILDCARD:
                result.setdefault(WILDCARD, endpoint)
            elif len(endpoint.interface.encode()) > _LONGEST_NAME:
                continue  # no interface can have such a name; the status says so
            elif endpoint.interface:
                # Also before the interface exists, so that it is policed from its first packet on.
                result.setdefault(endpoint.interface, endpoint)
            else:
                for ip in endpoint.expected_ips:
                    link = self._interfaces.with_address(ip.partition("/")[0])
                    if link is not None and not self._config.is_workload(link.name):
                        result.setdefault(link.name, endpoint)
        return result

    def statuses(self, problems: dict[str, str]) -> list[EndpointStatus]:
        result: dict[HostEndpointKey, EndpointStatus] = {}
        for name, endpoint in self._assigned.items():
            result.setdefault(endpoint.key, self._status(name, endpoint, problems))
        for key, endpoint in self._endpoints.items():
            if key not in result:
                what = endpoint.interface or ", ".join(endpoint.expected_ips) or "no interface and no address"
                result[key] = EndpointStatus(key, "error", f"no interface for it: {what}")
        return list(result.values())

    def _status(self, name: str, endpoint: HostEndpointUpdate, problems: dict[str, str]) -> EndpointStatus:
        title = f"HostEndpoint {endpoint.key.name}"
        for owner, reason in problems.items():
            if owner == title:
                return EndpointStatus(endpoint.key, "error", reason)
        link = self._interfaces.get(name) if name != WILDCARD else None
        if name != WILDCARD and link is None:
            return EndpointStatus(endpoint.key, "error", f"no interface {name}")
        if link is not None and not link.up:
            return EndpointStatus(endpoint.key, "down", f"interface {name} is down")
        if name == WILDCARD and endpoint.untracked_tiers:
            return EndpointStatus(
                endpoint.key, "up", "untracked policy is ignored: it needs an endpoint with an interface of its own"
            )
        return EndpointStatus(endpoint.key, "up")

    def statistics(self) -> dict[str, int]:
        return {"endpoints": len(self._endpoints), "interfaces": len(self._assigned)}
