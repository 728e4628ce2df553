"""ADD, DEL and CHECK of the plugin `calico`: the order of steps, and what is undone when one fails.

For the agent. In: a call, the pod's network namespace as a descriptor, what the agent knows of the cluster. Out: the
CNI result, with everything in place; or CNIError, with nothing left behind (spec/cni-ipam-node.md 1.7 to 1.9).
"""

import asyncio
import ipaddress
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tortie.cni import addresses, annotations, delegate, gates, interface, netconf, verify
from tortie.cni.addresses import HostLock
from tortie.cni.annotations import Wishes
from tortie.cni.call import Call
from tortie.cni.cluster import Cluster
from tortie.cni.errors import CNIError, PluginError
from tortie.cni.interface import Attachment, Connected
from tortie.cni.netconf import NetConf, Route
from tortie.cni.result import Address, Interface, Result
from tortie.cni.status_files import StatusFiles, file_name
from tortie.ipam.affinity import Owner
from tortie.ipam.allocator import Allocator
from tortie.ipam.block import BlockError, ReleaseRequest
from tortie.ipam.errors import IPAMError
from tortie.kube.errors import ApiError
from tortie.model.k8s import Pod
from tortie.model.names import workload_interface_name
from tortie.service.log import get_logger

T = TypeVar("T")

CALICO_IPAM = "calico-ipam"
_DISCONNECT_SECONDS = 20.0
_log = get_logger("cni")


@dataclass(slots=True)
class Stages:
    """When each stage of a call was done, in milliseconds since its start: for logs and benchmarks."""

    start: float = field(default_factory=time.perf_counter)
    done: dict[str, float] = field(default_factory=dict)

    def mark(self, stage: str) -> None:
        self.done[stage] = round((time.perf_counter() - self.start) * 1e3, 2)


class Plugin:
    """The work of `calico` and `calico-ipam` on one node. Calls for different pods run beside each other; the agent
    keeps those of one pod in order."""

    def __init__(self, cluster: Cluster, *, executor: Executor, state_directory: Any = netconf.STATE_DIRECTORY) -> None:
        self._cluster = cluster
        self._executor = executor
        self._state_directory = state_directory
        self._lock = HostLock()
        self._allocators: dict[str, Allocator] = {}
        self._status_files: dict[str, StatusFiles] = {}

    def allocator(self, node: str) -> Allocator:
        found = self._allocators.get(node)
        if found is None:
            found = self._allocators[node] = Allocator(self._cluster.client, self._cluster.view, owner=Owner(node))
        return found

    def close(self) -> None:
        for files in self._status_files.values():
            files.close()

    def statistics(self) -> dict[str, float]:
        totals: dict[str, float] = {}
        for allocator in self._allocators.values():
            for name, value in allocator.statistics().items():
                totals[f"ipam_{name}"] = totals.get(f"ipam_{name}", 0) + value
        totals["waiting_for_policy"] = sum(files.waiting for files in self._status_files.values())
        return totals

    # --- calico-ipam -----------------------------------------------------------------------------------------

    async def ipam_add(self, call: Call) -> Result:
        conf = netconf.parse(call.config)
        node = netconf.node_name(conf, state_directory=self._state_directory)
        namespace, pod = _identity(call)
        labels = await self._namespace_labels(conf, namespace) if pod else None
        if call.attempt:
            await addresses.give_back(self.allocator(node), call)
        async with self._lock.held(conf.ipam_lock_file):
            return await addresses.assign(
                self.allocator(node),
                call,
                annotations.without_pod(conf),
                namespace=namespace,
                pod=pod,
                namespace_labels=labels,
            )

    async def ipam_del(self, call: Call) -> None:
        conf = netconf.parse(call.config)
        node = netconf.node_name(conf, state_directory=self._state_directory)
        async with self._lock.held(conf.ipam_lock_file):
            await addresses.give_back(self.allocator(node), call, legacy=addresses.legacy_handles(call))

    # --- ADD -------------------------------------------------------------------------------------------------

    async def add(self, call: Call, netns: int) -> Result:
        """netns: descriptor of the pod's namespace. Raises CNIError."""
        stages = Stages()
        conf = netconf.parse(call.config)
        node = netconf.node_name(conf, state_directory=self._state_directory)
        mtu = netconf.effective_mtu(conf, state_directory=self._state_directory)
        await self._cluster.require_ready()
        await gates.wait(conf.readiness_gates)
        namespace, name = _identity(call)
        pod: Pod | None = None
        wishes = annotations.without_pod(conf)
        labels: Mapping[str, str] | None = None
        if name:
            pod = await self._cluster.pod(namespace, name, uid=call.arguments.get("K8S_POD_UID", ""))
            if conf.policy.type == "k8s":
                owner = await self._cluster.namespace(namespace)
                wishes = annotations.wishes(conf, pod=pod.metadata.annotations, namespace=owner.metadata.annotations)
                labels = {**owner.metadata.labels, "projectcalico.org/name": namespace}
            else:
                labels = await self._namespace_labels(conf, namespace)
        stages.mark("looked_up")
        if call.attempt:
            # The attempt before this one ended with the agent; its answer reached nobody.
            await self._release(call, conf, node)
        elif pod is None and (again := await self._existing(call, node, netns)) is not None:
            return again
        ipam = await self._assign(call, conf, wishes, node=node, pod=pod, labels=labels)
        stages.mark("assigned")
        try:
            result = await self._connect(call, conf, wishes, ipam, netns=netns, mtu=mtu, pod=pod)
        except BaseException:
            await self._undo(call, conf, wishes, node=node, pod=pod)
            raise
        stages.mark("connected")
        await self._wait_for_policy(conf, namespace, name, result)
        stages.mark("policy")
        _log.info("pod connected", pod=f"{namespace}/{name}", container=call.container_id, ms=stages.done)
        return result

    async def _assign(
        self,
        call: Call,
        conf: NetConf,
        wishes: Wishes,
        *,
        node: str,
        pod: Pod | None,
        labels: Mapping[str, str] | None,
    ) -> Result:
        if wishes.unmanaged:
            return Result(addresses=tuple(Address(_host_prefix(each)) for each in wishes.unmanaged))
        if conf.ipam.type != CALICO_IPAM:
            return await self._delegated(call, conf, node)
        namespace, name = (pod.metadata.namespace, pod.metadata.name) if pod is not None else ("", "")
        allocator = self.allocator(node)
        async with self._lock.held(conf.ipam_lock_file):
            if wishes.fixed and pod is not None:
                await self._release_present(allocator, pod)
            found = await addresses.assign(
                allocator, call, wishes, namespace=namespace, pod=name, namespace_labels=labels
            )
        # Addresses that the pod asks for come without routes: Felix sets the node's.
        return Result(addresses=found.addresses) if wishes.fixed else found

    async def _delegated(self, call: Call, conf: NetConf, node: str) -> Result:
        config: Mapping[str, Any] = call.config
        if delegate.uses_pod_cidr(config):
            config = delegate.with_pod_cidrs(config, await self._cluster.pod_cidrs(conf.kubernetes.node_name or node))
        found = await delegate.run(conf.ipam.type, call, config, command="ADD")
        if found is None or not found.addresses:
            raise PluginError(f"IPAM plugin {conf.ipam.type} gave no address")
        return found

    async def _release_present(self, allocator: Allocator, pod: Pod) -> None:
        """Frees the addresses that the pod has now, so that a pod that asks for an address can have it again."""
        present = pod.metadata.annotations.get(annotations.POD_IPS, "")
        for text in filter(None, present.split(",")):
            address = text.partition("/")[0]
            holder = await allocator.holder(address)
            if holder is None or holder.attributes.get("pod") != pod.metadata.name:
                continue
            if holder.attributes.get("namespace") == pod.metadata.namespace:
                await allocator.release.addresses([ReleaseRequest(address, holder.handle, holder.sequence)])

    async def _connect(
        self,
        call: Call,
        conf: NetConf,
        wishes: Wishes,
        ipam: Result,
        *,
        netns: int,
        mtu: int,
        pod: Pod | None,
    ) -> Result:
        hosts = [_host_prefix(each.address) for each in ipam.addresses]
        annotations.check_floating(wishes.floating, hosts)
        attachment = self._attachment(call, conf, wishes, ipam, netns=netns, mtu=mtu, pod=pod)
        kernel = asyncio.ensure_future(self._in_thread(interface.connect, attachment))
        try:
            if pod is not None:
                # Beside the kernel's work: Felix then learns of the pod while its interface is being made.
                await self._cluster.record(pod, addresses=hosts, container_id=call.container_id)
            connected = await kernel
        except BaseException:
            with suppress(Exception):
                await asyncio.shield(kernel)
                await self._in_thread(interface.disconnect, netns, call.interface)
            raise
        return _result(call, attachment, connected, ipam)

    def _attachment(
        self, call: Call, conf: NetConf, wishes: Wishes, ipam: Result, *, netns: int, mtu: int, pod: Pod | None
    ) -> Attachment:
        hosts = [_host_prefix(each.address) for each in ipam.addresses]
        routes: tuple[Route, ...] | None = None
        if conf.ipam.type != CALICO_IPAM and conf.ipam.routes:
            routes = conf.ipam.routes
            if conf.include_default_routes:
                routes = (*routes, Route("0.0.0.0/0"), Route("::/0"))
        routed = {ipaddress.ip_network(route.dst, strict=False) for route in ipam.routes}
        return Attachment(
            netns=netns,
            name=call.interface,
            host_name=host_interface(call),
            addresses=hosts,
            routes=routes,
            host_routes=[each for each in hosts if _is_routed(each, routed) or conf.ipam.type != CALICO_IPAM],
            mtu=mtu,
            queues=conf.queues,
            mac=wishes.mac,
            forwarding=conf.container_settings.allow_ip_forwarding,
            device=conf.device_type or "veth",
        )

    async def _undo(self, call: Call, conf: NetConf, wishes: Wishes, *, node: str, pod: Pod | None) -> None:
        """After a failure: this container's addresses are free again, and the pod does not name them. Best effort;
        kubelet's DEL follows."""
        try:
            if pod is not None:
                await self._cluster.erase(pod.metadata.namespace, pod.metadata.name, container_id=call.container_id)
            if not wishes.unmanaged:
                await self._release(call, conf, node)
        except (CNIError, ApiError) as error:
            _log.warning("cannot undo a failed ADD", container=call.container_id, error=str(error))

    async def _release(self, call: Call, conf: NetConf, node: str, *, legacy: bool = False) -> None:
        if conf.ipam.type == CALICO_IPAM:
            async with self._lock.held(conf.ipam_lock_file):
                older = addresses.legacy_handles(call) if legacy else ()
                await addresses.give_back(self.allocator(node), call, legacy=older)
        elif conf.ipam.type:
            await delegate.run(conf.ipam.type, call, delegate.with_pod_cidrs(call.config, None), command="DEL")

    async def _existing(self, call: Call, node: str, netns: int) -> Result | None:
        """Outside Kubernetes a repeated ADD gives the addresses that the container has, and changes nothing."""
        held = await self.allocator(node).addresses_by_handle(addresses.handle_of(call))
        if not held:
            return None
        link = await self._in_thread(interface.present, netns, call.interface)
        if link is None:
            return None
        return Result(
            interfaces=(Interface(host_interface(call)), Interface(call.interface, link.mac, call.netns, link.mtu)),
            addresses=tuple(Address(_host_prefix(each), 1) for each in held),
        )

    async def _wait_for_policy(self, conf: NetConf, namespace: str, name: str, result: Result) -> None:
        if not conf.policy_setup_timeout_seconds or not name:
            return
        files = self._status_files.get(conf.endpoint_status_dir)
        if files is None:
            files = self._status_files[conf.endpoint_status_dir] = StatusFiles(conf.endpoint_status_dir)
        file = file_name(orchestrator="k8s", workload=f"{namespace}/{name}", endpoint="eth0")
        wanted = [each.address for each in result.addresses]
        if not await files.wait(file, wanted, seconds=conf.policy_setup_timeout_seconds):
            _log.warning(
                "policy was not set up in time; the pod starts all the same",
                pod=f"{namespace}/{name}",
                seconds=conf.policy_setup_timeout_seconds,
                directory=conf.endpoint_status_dir,
            )

    # --- DEL -------------------------------------------------------------------------------------------------

    async def delete(self, call: Call, netns: int | None) -> None:
        """netns None: the namespace has vanished, or the runtime named none. Raises CNIError."""
        conf = netconf.parse(call.config)
        node = netconf.node_name(conf, state_directory=self._state_directory)
        await self._cluster.require_ready()
        namespace, name = _identity(call)
        if not name:
            error: CNIError | None = None
            try:
                await self._release(call, conf, node, legacy=True)
            except CNIError as failure:
                error = failure
            await self._disconnect(call, netns, mine=True)
            if error is not None:
                raise error
            return
        try:
            mine = await self._cluster.erase(namespace, name, container_id=call.container_id)
        except ApiError as failure:
            raise PluginError(f"cannot clear the addresses of pod {namespace}/{name}: {failure}") from failure
        await self._disconnect(call, netns, mine=mine)
        # Last, so that no other pod gets the address while routes to this one exist.
        await self._release(call, conf, node, legacy=True)
        _log.info("pod disconnected", pod=f"{namespace}/{name}", container=call.container_id)

    async def _disconnect(self, call: Call, netns: int | None, *, mine: bool) -> None:
        # With the namespace gone the kernel removes the pair by and by; at once if no newer container has the name.
        host_name = host_interface(call) if netns is None and mine else None
        work = self._in_thread(lambda: interface.disconnect(netns, call.interface, host_name=host_name))
        try:
            async with asyncio.timeout(_DISCONNECT_SECONDS):
                await work
        except TimeoutError:
            raise PluginError(
                f"interface {call.interface} was not removed within {_DISCONNECT_SECONDS:.0f} s"
            ) from None
        except OSError as error:
            raise PluginError(f"cannot remove interface {call.interface}: {error}") from error

    # --- CHECK -----------------------------------------------------------------------------------------------

    async def check(self, call: Call, netns: int) -> None:
        """Compares what ADD answered with the kernel, the pod and IPAM. Raises CNIError that lists every difference."""
        conf = netconf.parse(call.config)
        node = netconf.node_name(conf, state_directory=self._state_directory)
        await self._cluster.require_ready()
        expected = verify.expectation(call, conf, host_interface(call))
        faults = list(await self._in_thread(verify.kernel, netns, expected))
        namespace, name = _identity(call)
        if name:
            pod = await self._cluster.pod(namespace, name, uid=call.arguments.get("K8S_POD_UID", ""))
            faults += verify.pod_record(pod, call, expected)
        if conf.ipam.type == CALICO_IPAM:
            try:
                held = await self.allocator(node).addresses_by_handle(addresses.handle_of(call))
            except (IPAMError, BlockError, ApiError) as error:
                raise PluginError(f"cannot read the addresses of {addresses.handle_of(call)}: {error}") from error
            faults += verify.held(held, call, expected, managed=True)
        elif conf.ipam.type:
            await delegate.run(conf.ipam.type, call, delegate.with_pod_cidrs(call.config, None), command="CHECK")
        if faults:
            raise PluginError(f"the pod's network differs from what ADD set up: {'; '.join(faults)}")

    # --- parts -----------------------------------------------------------------------------------------------

    async def _namespace_labels(self, conf: NetConf, namespace: str) -> Mapping[str, str] | None:
        if not namespace or not (conf.kubernetes.kubeconfig or conf.policy.type == "k8s"):
            return None
        found = await self._cluster.namespace(namespace)
        return {**found.metadata.labels, "projectcalico.org/name": namespace}

    async def _in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, function, *arguments)


def host_interface(call: Call) -> str:
    """The node's end of the pair: from the pod's name, outside Kubernetes from the container's ID."""
    prefixes = call.environment.get("FELIX_INTERFACEPREFIX") or os.environ.get("FELIX_INTERFACEPREFIX") or "cali"
    prefix = prefixes.split(",", 1)[0].strip()
    namespace, name = _identity(call)
    if name:
        return workload_interface_name(namespace, name, prefix=prefix)
    return prefix + call.container_id[:11]


def _identity(call: Call) -> tuple[str, str]:
    """(namespace, pod) in Kubernetes, else (`default`, "")."""
    namespace, name = call.arguments.get("K8S_POD_NAMESPACE", ""), call.arguments.get("K8S_POD_NAME", "")
    if namespace and name:
        return namespace, name
    return call.arguments.get("CNI_TEST_NAMESPACE") or "default", ""


def _host_prefix(address: str) -> str:
    """The bare address as /32 or /128."""
    parsed = ipaddress.ip_interface(address)
    return f"{parsed.ip}/{parsed.max_prefixlen}"


def _is_routed(host: str, routed: set[Any]) -> bool:
    address = ipaddress.ip_interface(host).ip
    return any(network.version == address.version and address in network for network in routed)


def _result(call: Call, attachment: Attachment, connected: Connected, ipam: Result) -> Result:
    return Result(
        interfaces=(
            Interface(attachment.host_name),
            Interface(attachment.name, connected.mac, call.netns, connected.mtu),
        ),
        addresses=tuple(Address(each, 1) for each in attachment.addresses),
        routes=ipam.routes,
        dns=ipam.dns,
    )
