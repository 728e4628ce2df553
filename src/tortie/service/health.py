"""Is this process alive, and is it ready? Reporters say so themselves; silence past a deadline counts as dead.

In: `report` calls from the process's loops (each beats on its own timer, not only on traffic), and HTTP requests from
the kubelet or an operator. Out: /liveness, /readiness, /metrics over HTTP (spec/felix.md 5.1).
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


@dataclass(slots=True)
class _Reporter:
    timeout: float | None
    liveness: bool
    readiness: bool
    live: bool = True
    ready: bool = False
    detail: str = ""
    at: float = 0.0
    reported: bool = False


@dataclass(frozen=True, slots=True)
class ReporterState:
    """What one reporter amounts to now. live and ready are None where the reporter does not speak of them."""

    name: str
    live: bool | None
    ready: bool | None
    age: float
    timed_out: bool
    detail: str


class HealthAggregator:
    """Collects the reports of a process's parts. Event-loop local; O(reporters) per question."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._reporters: dict[str, _Reporter] = {}

    def register(self, name: str, *, timeout: float | None, liveness: bool = True, readiness: bool = True) -> None:
        """Announces a reporter. It counts as live from now on and must report within `timeout` seconds (None: never
        times out); it is not ready before its first report says so."""
        self._reporters[name] = _Reporter(timeout, liveness, readiness, at=self._clock())

    def unregister(self, name: str) -> None:
        """Forgets a reporter whose part has stopped on purpose."""
        self._reporters.pop(name, None)

    def report(self, name: str, *, live: bool = True, ready: bool = True, detail: str = "") -> None:
        """A reporter's word, good for its timeout. Raises KeyError for a name that was not registered."""
        reporter = self._reporters[name]
        reporter.live, reporter.ready, reporter.detail = live, ready, detail
        reporter.at, reporter.reported = self._clock(), True

    def set_timeouts(self, overrides: Mapping[str, float]) -> None:
        """Changes deadlines while running; names that are not registered are ignored, 0 means no deadline."""
        for name, timeout in overrides.items():
            if name in self._reporters:
                self._reporters[name].timeout = timeout or None

    def states(self) -> list[ReporterState]:
        """One entry per reporter, in order of registration."""
        now = self._clock()
        result = []
        for name, r in self._reporters.items():
            late = r.timeout is not None and now - r.at > r.timeout
            result.append(
                ReporterState(
                    name=name,
                    live=(r.live and not late) if r.liveness else None,
                    ready=(r.ready and not late) if r.readiness else None,
                    age=now - r.at,
                    timed_out=late,
                    detail=r.detail if r.reported else "no report yet",
                )
            )
        return result

    @property
    def live(self) -> bool:
        """Every reporter that speaks of liveness is live and in time."""
        return all(s.live is not False for s in self.states())

    @property
    def ready(self) -> bool:
        """Every reporter that speaks of readiness is ready and in time."""
        return all(s.ready is not False for s in self.states())

    def table(self) -> str:
        """The reporters as a text table, for people."""
        rows = [("COMPONENT", "TIMEOUT", "LIVENESS", "READINESS", "DETAIL")]
        for state in self.states():
            timeout = self._reporters[state.name].timeout
            rows.append(
                (
                    state.name,
                    "-" if timeout is None else f"{timeout:g}s",
                    _word(state.live, "live", state),
                    _word(state.ready, "ready", state),
                    state.detail or "-",
                )
            )
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        return (
            "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows) + "\n"
        )


def _word(value: bool | None, word: str, state: ReporterState) -> str:
    if value is None:
        return "-"
    if value:
        return word
    return f"timed out {state.age:.0f}s ago" if state.timed_out else f"not {word}"


class HealthServer:
    """A running HTTP server; `await close()` ends it. `port` is the bound port (useful when 0 was asked for)."""

    def __init__(self, runner: object, port: int) -> None:
        self._runner = runner
        self.port = port

    async def close(self) -> None:
        """Stops listening and closes connections."""
        from aiohttp import web

        assert isinstance(self._runner, web.AppRunner)
        await self._runner.cleanup()


async def serve(
    aggregator: HealthAggregator,
    host: str,
    port: int,
    *,
    registry: "CollectorRegistry | None" = None,
) -> HealthServer:
    """Serves /liveness, /readiness (200 or 503, body: the table) and /metrics (Prometheus text; default registry
    unless given). Raises OSError naming the address when it cannot listen."""
    from aiohttp import web  # late: only processes that serve health pay for it
    from prometheus_client import REGISTRY, generate_latest
    from prometheus_client.exposition import CONTENT_TYPE_LATEST

    def answer(question: Callable[[], bool]) -> Callable[[web.Request], web.Response]:
        def handler(_request: web.Request) -> web.Response:
            return web.Response(status=200 if question() else 503, text=aggregator.table())

        return handler

    async def liveness(request: web.Request) -> web.Response:
        return answer(lambda: aggregator.live)(request)

    async def readiness(request: web.Request) -> web.Response:
        return answer(lambda: aggregator.ready)(request)

    async def metrics(_request: web.Request) -> web.Response:
        body = generate_latest(registry if registry is not None else REGISTRY)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.router.add_get("/liveness", liveness)
    app.router.add_get("/readiness", readiness)
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    try:
        await site.start()
    except OSError as error:
        await runner.cleanup()
        raise OSError(error.errno, f"health server cannot listen on {host}:{port}: {error.strerror}") from error
    return HealthServer(runner, runner.addresses[0][1])
