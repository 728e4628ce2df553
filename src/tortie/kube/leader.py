"""Leader election on a coordination.k8s.io Lease: of several replicas, one works.

In: a client, the Lease's name and this process's identity. Out: a coroutine that runs while this process leads and is
cancelled before another one may begin. Clocks of different machines are never compared: what counts is how long ago
this process saw the Lease change.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tortie.kube.client import Client
from tortie.kube.errors import AlreadyExists, ApiError, Conflict, NotFound
from tortie.model.resource import Resource
from tortie.service.log import get_logger

_LEASES: Resource[dict[str, Any]] = Resource(
    group="coordination.k8s.io", version="v1", kind="Lease", plural="leases", namespaced=True, type=dict[str, Any]
)

_log = get_logger("kube.leader")


class LeadershipLost(Exception):
    """The Lease could not be renewed in time, or somebody else holds it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds. duration: how long a silent leader keeps the Lease; deadline: how long the leader tries to renew before
    it stops working (must be shorter); retry: between attempts."""

    duration: float = 15.0
    deadline: float = 10.0
    retry: float = 2.0

    def __post_init__(self) -> None:
        if not self.duration > self.deadline > self.retry > 0:
            raise ValueError(f"leader election needs duration > deadline > retry > 0, got {self}")


class LeaderElector:
    """One candidate. `run` returns only by exception or cancellation."""

    def __init__(
        self,
        client: Client,
        *,
        namespace: str,
        name: str,
        identity: str,
        timing: Timing | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._timing = timing or Timing()
        self._clock = clock
        self._now = now
        self._seen: tuple[str, str, int] | None = None
        self._seen_at = 0.0
        self.leading = False
        self.leader = ""

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Waits for leadership, then runs `work` beside the renewals. Raises LeadershipLost when it ends (work has
        been cancelled by then): the usual answer is to end the process. A return or error of work ends it too."""
        while True:
            began = self._clock()
            if await self._attempt():
                break
            await asyncio.sleep(self._timing.retry * (1.0 + 0.2 * random.random()))  # noqa: S311 - jitter, no secret
        _log.info("leading", lease=f"{self._namespace}/{self._name}", identity=self._identity)
        self.leading = True
        worker = asyncio.ensure_future(work())
        keeper = asyncio.ensure_future(self._keep(began))
        try:
            await asyncio.wait({worker, keeper}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.leading = False
            for task in (worker, keeper):
                task.cancel()
            await asyncio.gather(worker, keeper, return_exceptions=True)
            if keeper.cancelled():
                await self._release()
        if not worker.cancelled() and (error := worker.exception()) is not None:
            raise error
        if not keeper.cancelled() and (error := keeper.exception()) is not None:
            raise error

    async def _keep(self, renewed: float) -> None:
        """Renews until that fails for too long. renewed: when the last good attempt began: others may count from the
        moment the server stored it, which the answer's arrival says nothing about."""
        while True:
            await asyncio.sleep(self._timing.retry)
            began = self._clock()
            remaining = self._timing.deadline - (self._clock() - renewed)
            try:
                async with asyncio.timeout(max(remaining, 0.01)):
                    if await self._attempt():
                        renewed = began
                        continue
            except TimeoutError:
                pass
            if self.leader and self.leader != self._identity:
                raise LeadershipLost(f"lease {self._namespace}/{self._name} is held by {self.leader}")
            if self._clock() - renewed >= self._timing.deadline:
                raise LeadershipLost(
                    f"lease {self._namespace}/{self._name} not renewed for {self._timing.deadline:g} s"
                )

    async def _attempt(self) -> bool:
        """Takes or renews the Lease if that is ours to do. False: not now."""
        try:
            try:
                lease = await self._client.get(_LEASES, self._name, self._namespace)
            except NotFound:
                body = {"metadata": {"name": self._name, "namespace": self._namespace}, "spec": self._spec(None)}
                await self._client.create(_LEASES, body, self._namespace)
                self.leader = self._identity
                return True
            spec = lease.get("spec") or {}
            holder = spec.get("holderIdentity") or ""
            self.leader = holder
            seen = (holder, spec.get("renewTime") or "", spec.get("leaseTransitions") or 0)
            if seen != self._seen:
                self._seen, self._seen_at = seen, self._clock()
            duration = float(spec.get("leaseDurationSeconds") or self._timing.duration)
            if holder not in ("", self._identity) and self._clock() - self._seen_at < duration:
                return False
            await self._client.update(_LEASES, {**lease, "spec": self._spec(spec)})
            self.leader = self._identity
            return True
        except (AlreadyExists, Conflict):
            return False
        except ApiError as error:
            _log.warning("lease not updated", lease=f"{self._namespace}/{self._name}", error=str(error))
            return False

    def _spec(self, old: dict[str, Any] | None) -> dict[str, Any]:
        stamp = self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        mine = old is not None and old.get("holderIdentity") == self._identity
        transitions = int((old or {}).get("leaseTransitions") or 0)
        return {
            **(old or {}),
            "holderIdentity": self._identity,
            "leaseDurationSeconds": round(self._timing.duration),
            "acquireTime": (old or {}).get("acquireTime", stamp) if mine else stamp,
            "renewTime": stamp,
            "leaseTransitions": transitions if mine or old is None else transitions + 1,
        }

    async def _release(self) -> None:
        """Gives the Lease up at an orderly end, so that the next leader need not wait for it to expire."""
        try:
            async with asyncio.timeout(2.0):
                lease = await self._client.get(_LEASES, self._name, self._namespace)
                if (lease.get("spec") or {}).get("holderIdentity") == self._identity:
                    spec = {**lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
                    await self._client.update(_LEASES, {**lease, "spec": spec})
        except (ApiError, TimeoutError):
            pass  # it expires by itself
