"""Probes and life-cycle hooks of a container: HTTP, TCP and exec actions, repeated as the spec says.

In: the probe, where the container is reachable, a way to run a command in it. Out: calls that tell the container's unit
it started, is (un)ready, or has failed its liveness probe.
"""

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable
from typing import Literal

import msgspec

from tortie.lab.kubelet.api import Container, HTTPGetAction, LifecycleHandler, Port, Probe

Execute = Callable[[list[str], float], Awaitable[tuple[int, bytes]]]
"""Runs a command in the container: (argv, timeout in seconds) -> (exit code, output). Raises TimeoutError."""

Kind = Literal["Startup", "Liveness", "Readiness"]
_OUTPUT_LIMIT = 10 * 1024
_EAGER = (0.05, 0.1, 0.2, 0.4, 0.8)


class Outcome(msgspec.Struct, frozen=True):
    ok: bool
    text: str


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where a container is: its pod's address, its named ports, a way in."""

    address: str
    container: Container
    execute: Execute

    def port(self, port: Port) -> int:
        """A port by number or by its name in the container. Raises ValueError."""
        if isinstance(port, int):
            return port
        if port.isdigit():
            return int(port)
        for known in self.container.ports:
            if known.name == port:
                return known.container_port
        raise ValueError(f"couldn't find port: {port!r} in container {self.container.name}")


async def attempt(probe: Probe | LifecycleHandler, target: Target, seconds: float) -> Outcome:
    """One try. Never raises for what the container does."""
    try:
        async with asyncio.timeout(seconds):
            if probe.exec is not None:
                code, output = await target.execute(list(probe.exec.command), seconds)
                return Outcome(code == 0, output.decode(errors="replace").strip()[:_OUTPUT_LIMIT])
            if probe.http_get is not None:
                return await _http(probe.http_get, target)
            if probe.tcp_socket is not None:
                host = probe.tcp_socket.host or target.address
                port = target.port(probe.tcp_socket.port)
                _, writer = await asyncio.open_connection(host, port)
                writer.close()
                return Outcome(True, "")
            if isinstance(probe, LifecycleHandler) and probe.sleep is not None:
                await asyncio.sleep(probe.sleep.seconds)
                return Outcome(True, "")
            if isinstance(probe, Probe) and probe.grpc is not None:
                # The lab checks that the port answers; the health protocol itself would need an HTTP/2 client.
                _, writer = await asyncio.open_connection(target.address, probe.grpc.port)
                writer.close()
                return Outcome(True, "")
    except TimeoutError:
        return Outcome(False, f"timed out after {seconds:g}s")
    except OSError as error:
        # asyncio's own text names every address tried; the reason is enough here.
        return Outcome(False, os.strerror(error.errno).lower() if error.errno else str(error))
    except ValueError as error:
        return Outcome(False, str(error))
    return Outcome(False, "the probe names no action: one of exec, httpGet, tcpSocket, grpc")


async def _http(action: HTTPGetAction, target: Target) -> Outcome:
    host = action.host or target.address
    port = target.port(action.port)
    shown = f"[{host}]" if ":" in host else host
    path = action.path if action.path.startswith("/") else f"/{action.path}"
    tls = None
    if action.scheme.upper() == "HTTPS":
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    headers = {header.name.title(): header.value for header in action.http_headers}
    headers = {"Host": f"{shown}:{port}", "User-Agent": "kube-probe/1.33", "Accept": "*/*", **headers}
    lines = [f"GET {path} HTTP/1.1", *(f"{key}: {value}" for key, value in headers.items()), "Connection: close"]
    reader, writer = await asyncio.open_connection(host, port, ssl=tls)
    try:
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
        words = (await reader.readline()).split(None, 2)
        if len(words) < 2 or not words[1].isdigit():
            return Outcome(False, f'Get "{action.scheme.lower()}://{shown}:{port}{path}": malformed HTTP response')
        status = int(words[1])
        if 200 <= status < 400:
            return Outcome(True, "")
        return Outcome(False, f"HTTP probe failed with statuscode: {status}")
    finally:
        writer.close()


class Reports(msgspec.Struct, frozen=True, kw_only=True):
    """What probes tell. on_failure(kind, text): one failed try, for events; on_unhealthy(kind): the threshold is
    reached and the container must be restarted."""

    on_started: Callable[[], None]
    on_ready: Callable[[bool], None]
    on_failure: Callable[[Kind, str], None]
    on_unhealthy: Callable[[Kind, Probe], None]


async def watch(container: Container, target: Target, reports: Reports, *, started: bool) -> None:
    """Runs all probes of one running container until cancelled. started: it has passed its startup probe before."""
    probe = container.startup_probe
    if probe is not None and not started and not await _until_started(probe, target, reports):
        return
    reports.on_started()
    async with asyncio.TaskGroup() as group:
        if container.readiness_probe is not None:
            group.create_task(_readiness(container.readiness_probe, target, reports))
        else:
            reports.on_ready(True)
        if container.liveness_probe is not None:
            group.create_task(_liveness(container.liveness_probe, target, reports))


async def _until_started(probe: Probe, target: Target, reports: Reports) -> bool:
    await asyncio.sleep(probe.initial_delay_seconds)
    failures = 0
    while True:
        outcome = await attempt(probe, target, max(1, probe.timeout_seconds))
        if outcome.ok:
            return True
        failures += 1
        reports.on_failure("Startup", outcome.text)
        if failures >= max(1, probe.failure_threshold):
            reports.on_unhealthy("Startup", probe)
            return False
        await asyncio.sleep(max(1, probe.period_seconds))


async def _readiness(probe: Probe, target: Target, reports: Reports) -> None:
    ready, streak, tries = False, 0, 0
    await asyncio.sleep(probe.initial_delay_seconds)
    while True:
        outcome = await attempt(probe, target, max(1, probe.timeout_seconds))
        tries += 1
        # A program that is still starting is asked again soon, so that it is ready when it is; that is no event yet.
        starting = not ready and not outcome.ok and tries <= len(_EAGER)
        if not outcome.ok and not starting:
            reports.on_failure("Readiness", outcome.text)
        streak = streak + 1 if outcome.ok != ready else 0
        needed = probe.success_threshold if outcome.ok else probe.failure_threshold
        if outcome.ok != ready and streak >= max(1, needed):
            ready, streak = outcome.ok, 0
            reports.on_ready(ready)
        period = max(1, probe.period_seconds)
        await asyncio.sleep(min(_EAGER[tries - 1], period) if starting else period)


async def _liveness(probe: Probe, target: Target, reports: Reports) -> None:
    failures = 0
    await asyncio.sleep(probe.initial_delay_seconds)
    while True:
        outcome = await attempt(probe, target, max(1, probe.timeout_seconds))
        failures = 0 if outcome.ok else failures + 1
        if not outcome.ok:
            reports.on_failure("Liveness", outcome.text)
        if failures >= max(1, probe.failure_threshold):
            reports.on_unhealthy("Liveness", probe)
            return
        await asyncio.sleep(max(1, probe.period_seconds))


async def run_hook(handler: LifecycleHandler, target: Target, seconds: float) -> Outcome:
    """A postStart or preStop hook."""
    return await attempt(handler, target, seconds)
