"""The plugin `calico-ipam`: addresses for one container from Calico's IPAM.

For the agent, called for the executable `calico-ipam` and, in process, for `calico`. In: a call and what the pod
wishes. Out: addresses with routes, or PluginError after everything was given back (spec/cni-ipam-node.md 1.15).
"""

import asyncio
import fcntl
import ipaddress
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from tortie.cni.annotations import Wishes
from tortie.cni.call import Call
from tortie.cni.errors import PluginError
from tortie.cni.netconf import Route
from tortie.cni.result import Address, Result
from tortie.ipam import pools as pool_rules
from tortie.ipam.allocator import Allocator, Assigned, Request
from tortie.ipam.block import BlockError
from tortie.ipam.errors import HandleNotFound, IPAMError
from tortie.kube.errors import ApiError
from tortie.service.log import get_logger

_BUDGET = 90.0
_LOCK_POLL = 0.01
_log = get_logger("cni.ipam")


class HostLock:
    """The lock file that all IPAM plugins of a node share. This process holds it while any of its calls is inside, so
    that they run beside each other, but not beside another program's (spec 1.15). Best effort, as the plugin's is."""

    def __init__(self) -> None:
        self._holders: dict[str, int] = {}
        self._descriptors: dict[str, int] = {}
        self._gate = asyncio.Lock()

    @asynccontextmanager
    async def held(self, path: str) -> AsyncIterator[None]:
        async with self._gate:
            if not self._holders.get(path):
                await self._take(path)
            self._holders[path] = self._holders.get(path, 0) + 1
        try:
            yield
        finally:
            self._holders[path] -= 1
            if not self._holders[path] and (descriptor := self._descriptors.pop(path, None)) is not None:
                os.close(descriptor)

    async def _take(self, path: str) -> None:
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            _log.warning("cannot open the IPAM lock file", path=path, error=str(error))
            return
        try:
            while not _locked(descriptor, path):  # noqa: ASYNC110  # locks send no event
                await asyncio.sleep(_LOCK_POLL)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptors[path] = descriptor


def _locked(descriptor: int, path: str) -> bool:
    """True when the lock is ours, or cannot be had at all, which is only logged."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        _log.warning("cannot lock the IPAM lock file", path=path, error=str(error))
    return True


def handle_of(call: Call) -> str:
    """`<network>.<container>`: the interface's name is not part of it."""
    return f"{call.network}.{call.container_id}"


async def assign(
    allocator: Allocator,
    call: Call,
    wishes: Wishes,
    *,
    namespace: str,
    pod: str,
    namespace_labels: Mapping[str, str] | None,
) -> Result:
    """Addresses for the container. namespace, pod: "" outside Kubernetes. Raises PluginError."""
    attributes = {"node": allocator.owner.name, "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds")}
    if pod:
        attributes |= {"pod": pod, "namespace": namespace}
    try:
        async with asyncio.timeout(_BUDGET):
            if fixed := call.arguments.get("IP", ""):
                return await assign_fixed(allocator, call, (fixed,), attributes)
            if wishes.fixed:
                return await assign_fixed(allocator, call, wishes.fixed, attributes)
            return await _assign_automatic(allocator, call, wishes, attributes, namespace_labels)
    except TimeoutError:
        raise PluginError(f"no address within {_BUDGET:.0f} s") from None
    except (IPAMError, BlockError, ApiError) as error:
        raise PluginError(f"cannot assign an address: {error}") from error


async def _assign_automatic(
    allocator: Allocator,
    call: Call,
    wishes: Wishes,
    attributes: Mapping[str, str],
    namespace_labels: Mapping[str, str] | None,
) -> Result:
    if not wishes.ipv4 and not wishes.ipv6:
        raise PluginError("neither IPv4 nor IPv6 is wanted; set ipam.assign_ipv4 or ipam.assign_ipv6 to true")
    request = Request(
        handle=handle_of(call),
        attributes=attributes,
        use="Workload",
        count_v4=int(wishes.ipv4),
        count_v6=int(wishes.ipv6),
        pools_v4=await _pools(allocator, wishes.ipv4_pools, version=4) if wishes.ipv4 else (),
        pools_v6=await _pools(allocator, wishes.ipv6_pools, version=6) if wishes.ipv6 else (),
        namespace_labels=namespace_labels,
    )
    results = await allocator.auto_assign(request)
    addresses = [address for result in results for address in result.addresses]
    if not all(result.complete for result in results):
        await give_back(allocator, call)
        raise PluginError("; ".join(_shortage(v, r) for v, r in zip((4, 6), results, strict=True) if not r.complete))
    return Result(
        addresses=tuple(Address(address) for address in addresses),
        routes=tuple(Route(str(ipaddress.ip_interface(address))) for address in addresses),
    )


async def _pools(allocator: Allocator, items: Sequence[str], *, version: int) -> Sequence[str]:
    """The ranges of pools given by name or range. Raises PluginError for one that does not exist."""
    if not items:
        return ()
    try:
        return pool_rules.resolve(items, await allocator.view.pools(), version=version)
    except ValueError:
        pass  # perhaps made a moment ago
    try:
        return pool_rules.resolve(items, await allocator.view.pools(fresh=True), version=version)
    except ValueError as error:
        raise PluginError(str(error)) from error


async def assign_fixed(
    allocator: Allocator, call: Call, wanted: Sequence[str], attributes: Mapping[str, str]
) -> Result:
    """Exactly these addresses, all or none; the result has host prefixes."""
    taken: list[str] = []
    try:
        for text in wanted:
            try:
                address = str(ipaddress.ip_address(text.partition("/")[0]))
            except ValueError:
                raise PluginError(f"IP argument {text!r} is not an address") from None
            await allocator.assign_address(address, handle=handle_of(call), attributes=attributes, use="Workload")
            taken.append(address)
    except BaseException:
        if taken:
            await give_back(allocator, call)
        raise
    hosts = [f"{each}/{32 if ':' not in each else 128}" for each in taken]
    return Result(
        addresses=tuple(Address(each) for each in hosts),
        routes=tuple(Route(each) for each in hosts),
    )


async def give_back(allocator: Allocator, call: Call, *, legacy: Sequence[str] = ()) -> tuple[str, ...]:
    """Releases what the container holds; legacy: older forms of the handle, tried if the present one is unknown.
    Nothing held is fine. Raises PluginError."""
    try:
        async with asyncio.timeout(_BUDGET):
            await allocator.settings()
            for handle in (handle_of(call), *legacy):
                try:
                    return await allocator.release.handle(handle, sole_user=True)
                except HandleNotFound:
                    continue
            return ()
    except TimeoutError:
        raise PluginError(f"addresses of {handle_of(call)} were not released within {_BUDGET:.0f} s") from None
    except (IPAMError, BlockError, ApiError) as error:
        raise PluginError(f"cannot release the addresses of {handle_of(call)}: {error}") from error


def legacy_handles(call: Call) -> tuple[str, ...]:
    """The handles that old versions used: `<namespace>.<pod>` in Kubernetes, else the bare container ID."""
    namespace, pod = call.arguments.get("K8S_POD_NAMESPACE", ""), call.arguments.get("K8S_POD_NAME", "")
    return (f"{namespace}.{pod}",) if namespace and pod else (call.container_id,)


def _shortage(version: int, result: Assigned) -> str:
    reasons = "; ".join(dict.fromkeys(result.messages)) or "no reason known"
    return f"only {len(result.addresses)} of {result.wanted} IPv{version} addresses assigned: {reasons}"
