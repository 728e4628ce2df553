"""The calculation of one node: everything the cluster says in, everything this node's dataplane needs out.

In, from the syncer: updates in any order, repeated or outdated; only the last value of a key counts. Out, at a flush:
the messages of `tortie.felix.messages` that bring the dataplane from the last flush to now, ordered so that nothing is
referenced before it is announced or removed while referenced (spec/felix.md 1.5). No clock, no I/O: the result is a
function of the last values alone.
"""

from collections.abc import Callable, Iterable
from typing import Any

from tortie.felix.calc import addresses
from tortie.felix.calc.active import MISSING_PROFILE, ActiveRules
from tortie.felix.calc.channel import Channel
from tortie.felix.calc.hosts import Hosts
from tortie.felix.calc.matching import Lists, Matching
from tortie.felix.calc.members import Contribution, Membership
from tortie.felix.calc.routes import Routes
from tortie.felix.messages import (
    HostEndpointRemove,
    HostEndpointUpdate,
    InSync,
    Message,
    NodeRemove,
    PolicyRemove,
    PoolRemove,
    ProfileRemove,
    RouteRemove,
    ServiceRemove,
    VTEPRemove,
    WorkloadEndpointRemove,
    WorkloadEndpointUpdate,
)
from tortie.model.dataplane import (
    BGPConfig,
    BGPConfigKey,
    Block,
    BlockKey,
    EndpointKey,
    EndpointSlice,
    EndpointSliceKey,
    HostEndpoint,
    HostEndpointKey,
    IPPool,
    IPPoolKey,
    Key,
    NetworkSet,
    NetworkSetKey,
    Node,
    NodeKey,
    Policy,
    PolicyKey,
    Profile,
    ProfileKey,
    Service,
    ServiceKey,
    Tier,
    TierKey,
    Update,
    Value,
    WorkloadEndpoint,
    WorkloadEndpointKey,
)


class Calculation:
    """Feed with `update`, tell once that the snapshot is complete with `in_sync`, take messages with `flush`.

    node: this node's name; only its endpoints are programmed. source_spoofing: whether workloads may be allowed other
    source addresses than their own (WorkloadSourceSpoofing=Any); may be set until the first flush.
    """

    def __init__(self, node: str, *, source_spoofing: bool = False) -> None:
        self.updates_processed = 0
        self._node = node
        self.source_spoofing = source_spoofing
        self._values: dict[Key, Value] = {}
        self._dirty: dict[type, set[Key]] = {kind: set() for kind in _ORDER}
        self._counts: dict[type, int] = dict.fromkeys(_ORDER, 0)
        self._local: dict[EndpointKey, WorkloadEndpoint | HostEndpoint] = {}
        self._profile_users: dict[str, set[EndpointKey]] = {}
        self._profiles_to_check: set[str] = set()
        self._refused: dict[Key, str] = {}
        self._broken: dict[Key, str] = {}
        self._incomplete: dict[PolicyKey, str] = {}
        self._membership = Membership()
        self._matching = Matching()
        self._active = ActiveRules(self._membership)
        self._routes = Routes(node)
        self._hosts = Hosts()
        self._workloads: Channel[WorkloadEndpointKey, WorkloadEndpointUpdate] = Channel()
        self._host_endpoints: Channel[HostEndpointKey, HostEndpointUpdate] = Channel()
        self._in_sync = False
        self._in_sync_sent = False

    def update(self, updates: Iterable[Update]) -> None:
        """Takes new values; they have their effect at the next flush."""
        values = self._values
        for update in updates:
            kind = type(update.key)
            dirty = self._dirty.get(kind)
            if dirty is None:
                continue  # configuration is the daemon's business
            self.updates_processed += 1
            old = values.get(update.key)
            if old == update.value:
                continue
            dirty.add(update.key)
            if update.value is None:
                del values[update.key]
                self._counts[kind] -= 1
            else:
                values[update.key] = update.value
                self._counts[kind] += old is None

    @property
    def problems(self) -> dict[Key, str]:
        """For every key whose value cannot be used and so counts as absent, why."""
        return self._refused | self._broken

    @property
    def incomplete(self) -> dict[PolicyKey, str]:
        """For every active policy of which conversion had to leave something out, what."""
        return dict(self._incomplete)

    def in_sync(self) -> None:
        """Everything that exists has been delivered once; from now on `flush` answers."""
        self._in_sync = True

    def flush(self) -> list[Message]:
        """The messages since the last flush, in order; nothing before `in_sync`."""
        if not self._in_sync:
            return []
        for kind, handle in _ORDER.items():
            keys = self._dirty[kind]
            if keys:
                self._dirty[kind] = set()
                for key in keys:
                    self._handle(key, handle)
        self._settle_rules()
        self._settle_endpoints()
        self._routes.settle()
        messages = self._messages()
        if not self._in_sync_sent:
            self._in_sync_sent = True
            messages.append(InSync())
        return messages

    def statistics(self) -> dict[str, int]:
        """Numbers for metrics: what is active here, what the cluster has, work done."""
        numbers = {name: self._counts[kind] for kind, name in _COUNTED.items()}
        numbers["local_endpoints"] = len(self._local)
        numbers |= {f"active_{name}": number for name, number in self._active.statistics().items()}
        numbers |= {f"labels_{name}": number for name, number in self._membership.statistics().items()}
        numbers["updates_processed"] = self.updates_processed
        return numbers

    # --- input, kind by kind -------------------------------------------------------------------------------------

    def _handle(self, key: Key, handle: "_Handler") -> None:
        """Applies the last value of a key; a value that cannot be used counts as absent (felix.md 1.2, 7.1)."""
        value = self._values.get(key)
        self._refused.pop(key, None)
        try:
            handle(self, key, value)
        except ValueError as error:
            self._refused[key] = str(error)
            handle(self, key, None)

    def _tier(self, key: TierKey, value: Tier | None) -> None:
        self._matching.set_tier(key, value)

    def _policy(self, key: PolicyKey, value: Policy | None) -> None:
        self._matching.set_policy(key, value)

    def _profile(self, key: ProfileKey, value: Profile | None) -> None:
        labels = {} if value is None else value.labels
        self._membership.set_profile_labels(key.name, labels)
        self._matching.set_profile_labels(key.name, labels)
        self._profiles_to_check.add(key.name)

    def _network_set(self, key: NetworkSetKey, value: NetworkSet | None) -> None:
        if value is None:
            self._membership.remove_item(key)
        else:
            nets = addresses.set_members(value.nets)
            self._membership.set_item(key, value.labels, value.profiles, Contribution(nets))

    def _workload(self, key: WorkloadEndpointKey, value: WorkloadEndpoint | None) -> None:
        if value is not None:
            if not value.interface:
                raise ValueError("interfaceName is empty; the endpoint is ignored")
            if value.allowed_source_prefixes and not self.source_spoofing:
                raise ValueError(
                    f"allowedSourcePrefixes is {', '.join(value.allowed_source_prefixes)}, which needs "
                    "workloadSourceSpoofing: Any in FelixConfiguration; the endpoint is ignored"
                )
        nets = () if value is None else value.ipv4_nets + value.ipv6_nets
        self._endpoint(key, value, nets)

    def _host_endpoint(self, key: HostEndpointKey, value: HostEndpoint | None) -> None:
        nets = () if value is None else tuple(map(addresses.single, value.expected_ips))
        self._endpoint(key, value, nets)

    def _endpoint(self, key: EndpointKey, value: WorkloadEndpoint | HostEndpoint | None, nets: tuple[str, ...]) -> None:
        if value is None:
            self._membership.remove_item(key)
        else:
            self._membership.set_item(key, value.labels, value.profiles, Contribution(nets, value.ports))
        if key.node != self._node:
            return
        old = self._local.pop(key, None)
        old_profiles = set() if old is None else set(old.profiles)
        new_profiles = set() if value is None else set(value.profiles)
        for profile in old_profiles - new_profiles:
            self._profile_users[profile].discard(key)
        for profile in new_profiles - old_profiles:
            self._profile_users.setdefault(profile, set()).add(key)
        self._profiles_to_check |= old_profiles ^ new_profiles
        if value is None:
            self._matching.remove_endpoint(key)
            if isinstance(key, WorkloadEndpointKey):
                self._workloads.want(key, None)
            else:
                self._host_endpoints.want(key, None)
        else:
            self._local[key] = value
            self._matching.set_endpoint(key, value.labels, value.profiles)

    def _slice(self, key: EndpointSliceKey, value: EndpointSlice | None) -> None:
        self._membership.set_slice(key, value)

    def _service(self, key: ServiceKey, value: Service | None) -> None:
        self._hosts.set_service(key, value)

    def _pool(self, key: IPPoolKey, value: IPPool | None) -> None:
        self._routes.set_pool(key, value)
        self._hosts.set_pool(key, value)

    def _block(self, key: BlockKey, value: Block | None) -> None:
        self._routes.set_block(key, value)

    def _node_resource(self, key: NodeKey, value: Node | None) -> None:
        self._routes.set_node(key, value)
        self._hosts.set_node(key, value)

    def _bgp_config(self, key: BGPConfigKey, value: BGPConfig | None) -> None:
        self._hosts.set_bgp_config(key, value)

    # --- at a flush ----------------------------------------------------------------------------------------------

    def _settle_rules(self) -> None:
        matching = self._matching
        recheck, matching.recheck = matching.recheck, set()
        for key in recheck:
            policy = matching.get(key) if matching.is_needed(key) else None
            was_broken = self._broken.pop(key, None) is not None
            self._incomplete.pop(key, None)
            if policy is not None and policy.errors:
                self._incomplete[key] = "; ".join(policy.errors)
            try:
                self._active.set_policy(key, policy)
            except ValueError as error:
                self._broken[key] = str(error)
            if was_broken != (key in self._broken):
                matching.mark_selected(key)
        for selector, problem in matching.bad_selectors:
            self._refused |= dict.fromkeys(matching.having_selector(selector), problem)
        matching.bad_selectors.clear()
        to_check, self._profiles_to_check = self._profiles_to_check, set()
        for name in to_check:
            self._broken.pop(ProfileKey(name), None)
            if not self._profile_users.get(name):
                self._profile_users.pop(name, None)
                self._active.set_profile(name, None)
                continue
            value = self._values.get(ProfileKey(name))
            try:
                self._active.set_profile(name, value if isinstance(value, Profile) else MISSING_PROFILE)
            except ValueError as error:
                self._broken[ProfileKey(name)] = str(error)

    def _settle_endpoints(self) -> None:
        dirty, self._matching.dirty = self._matching.dirty, set()
        cache: dict[tuple[int, bool], Lists] = {}
        for key in dirty:
            lists = self._matching.lists(key, self._broken, cache)
            value = self._local[key]
            if isinstance(key, WorkloadEndpointKey):
                assert isinstance(value, WorkloadEndpoint)
                self._workloads.want(key, _workload_message(key, value, lists))
            else:
                assert isinstance(value, HostEndpoint)
                self._host_endpoints.want(key, _host_message(key, value, lists))

    def _messages(self) -> list[Message]:
        set_updates, set_removes = self._active.set_messages()
        policies, policies_gone = self._active.policies.drain()
        profiles, profiles_gone = self._active.profiles.drain()
        workloads, workloads_gone = self._workloads.drain()
        hosts, hosts_gone = self._host_endpoints.drain()
        routes, routes_gone = self._routes.channel.drain()
        vteps, vteps_gone = self._hosts.vteps.drain()
        nodes, nodes_gone = self._hosts.nodes.drain()
        pools, pools_gone = self._hosts.pools.drain()
        services, services_gone = self._hosts.services.drain()
        return [
            *set_updates,
            *policies,
            *profiles,
            *workloads,
            *hosts,
            *(WorkloadEndpointRemove(key=key) for key in workloads_gone),
            *(HostEndpointRemove(key=key) for key in hosts_gone),
            *(ProfileRemove(name=name) for name in profiles_gone),
            *(PolicyRemove(key=key) for key in policies_gone),
            *set_removes,
            *(RouteRemove(cidr=cidr) for cidr in routes_gone),
            *(VTEPRemove(node=name) for name in vteps_gone),
            *vteps,
            *routes,
            *(NodeRemove(key=key) for key in nodes_gone),
            *nodes,
            *(PoolRemove(name=name) for name in pools_gone),
            *pools,
            *self._hosts.encapsulation.drain()[0],
            *self._hosts.service_cidrs.drain()[0],
            *(ServiceRemove(key=key) for key in services_gone),
            *services,
        ]


def _workload_message(key: WorkloadEndpointKey, value: WorkloadEndpoint, lists: Lists) -> WorkloadEndpointUpdate:
    return WorkloadEndpointUpdate(
        key=key,
        interface=value.interface,
        mac=value.mac,
        ipv4_nets=value.ipv4_nets,
        ipv6_nets=value.ipv6_nets,
        profiles=value.profiles,
        tiers=lists.normal,
        active=value.active,
        allowed_source_prefixes=value.allowed_source_prefixes,
        annotations=value.annotations,
    )


def _host_message(key: HostEndpointKey, value: HostEndpoint, lists: Lists) -> HostEndpointUpdate:
    return HostEndpointUpdate(
        key=key,
        interface=value.interface,
        expected_ips=value.expected_ips,
        profiles=value.profiles,
        tiers=lists.normal,
        untracked_tiers=lists.untracked,
        pre_dnat_tiers=lists.pre_dnat,
        forward_tiers=lists.forward,
    )


_COUNTED: dict[type, str] = {
    TierKey: "cluster_tiers",
    PolicyKey: "cluster_policies",
    ProfileKey: "cluster_profiles",
    WorkloadEndpointKey: "cluster_workload_endpoints",
    HostEndpointKey: "cluster_host_endpoints",
    NodeKey: "cluster_hosts",
}
_Handler = Callable[[Calculation, Any, Any], None]
_ORDER: dict[type, _Handler] = {
    ProfileKey: Calculation._profile,
    TierKey: Calculation._tier,
    NetworkSetKey: Calculation._network_set,
    WorkloadEndpointKey: Calculation._workload,
    HostEndpointKey: Calculation._host_endpoint,
    EndpointSliceKey: Calculation._slice,
    PolicyKey: Calculation._policy,
    ServiceKey: Calculation._service,
    IPPoolKey: Calculation._pool,
    BlockKey: Calculation._block,
    NodeKey: Calculation._node_resource,
    BGPConfigKey: Calculation._bgp_config,
}
"""Which method takes which kind of key. The order only saves work; the result does not depend on it."""
