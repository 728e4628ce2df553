"""The daemon behind `tortie confd`: whenever the world changes, BIRD's configuration follows.

In: the gathered `World`. Out: bird.cfg, reloads over the control socket, and reports (log and Event) about objects that
do not take effect. Whatever fails, the last configuration that BIRD accepted stays in force.
"""

import asyncio
import time
from pathlib import Path

import msgspec

from tortie.kube.events import EventRecorder, Reference
from tortie.routing import birdc, writer
from tortie.routing.bird import Owner, Rendered, render
from tortie.routing.gather import Gatherer
from tortie.routing.world import Problem, World
from tortie.service.log import Throttle, get_logger

_log = get_logger("routing.confd")

_DEBOUNCE = 0.05
_MIN_GAP = 0.25
_SECRET_WAIT = 3.0
_MAX_EXCLUSIONS = 100


class Confd:
    """config: the file to keep. control: BIRD's socket, None for the usual one. bird: the program that checks."""

    def __init__(
        self, *, config: Path, control: Path | None = None, recorder: EventRecorder | None = None, bird: str = "bird"
    ) -> None:
        self._config = config
        self._control = control
        self._recorder = recorder
        self._bird = bird
        self._dirty = asyncio.Event()
        self._reload = asyncio.Event()
        self._problems: frozenset[Problem] = frozenset()
        self._throttle = Throttle(period=60.0)
        self._renders = self._writes = self._reloads = self._refusals = 0
        self.gatherer: Gatherer | None = None

    def changed(self) -> None:
        """Something may have changed: render soon."""
        self._dirty.set()

    def statistics(self) -> dict[str, float]:
        """Counters for metrics and status commands."""
        return {
            "renders_total": self._renders,
            "writes_total": self._writes,
            "reloads_total": self._reloads,
            "refusals_total": self._refusals,
            "problems": len(self._problems),
        }

    async def run(self, gatherer: Gatherer) -> None:
        """Renders after every change, for ever."""
        self.gatherer = gatherer
        await gatherer.wait_synced()
        self._dirty.set()
        while True:
            await self._dirty.wait()
            await asyncio.sleep(_DEBOUNCE)  # what changes together is rendered together
            self._dirty.clear()
            started = time.monotonic()
            try:
                await self._follow(gatherer)
            except Exception as e:
                if self._throttle.allow(f"render {e!r}") is not None:
                    _log.exception("rendering failed; the last configuration stays in force")
                await asyncio.sleep(1.0)
                self._dirty.set()
            await asyncio.sleep(max(0.0, started + _MIN_GAP - time.monotonic()))

    async def reload_forever(self) -> None:
        """Has BIRD load the file after every change, and once at start in case an earlier confd ended in between."""
        if writer.current(self._config) is not None:
            self._reload.set()
        while True:
            await self._reload.wait()
            self._reload.clear()
            delay = 0.25
            while not await self._try_reload():
                # A BIRD that starts just now may have read the file before the last change: keep asking.
                await asyncio.sleep(delay)
                delay = min(delay * 1.5, 2.0)

    async def _follow(self, gatherer: Gatherer) -> None:
        world = gatherer.world()
        if not gatherer.synced:
            return  # its caches report when they are complete
        if not (world.own.ipv4 or world.own.ipv6):
            if self._throttle.allow("own node") is not None:
                _log.warning("this node has no address in the API; the last configuration stays", node=world.node)
            return
        rendered = render(world)
        if gatherer.refer_to(rendered.secrets):
            await gatherer.wait_secrets(_SECRET_WAIT)
            world = gatherer.world()
            rendered = render(world)
        self._renders += 1
        rendered, refused = await self.put_in_force(world, rendered)
        self._report({*rendered.problems, *refused})

    async def put_in_force(self, world: World, rendered: Rendered) -> tuple[Rendered, list[Problem]]:
        """Writes the configuration unless it is there already; what BIRD's parser refuses is left out by its object."""
        refused: list[Problem] = []
        excluded: set[Owner] = set()
        while True:
            if rendered.text == writer.current(self._config):
                return rendered, refused
            try:
                await writer.replace(self._config, rendered.text, bird=self._bird)
                break
            except writer.SyntaxRefused as e:
                self._refusals += 1
                owner = rendered.owner_of_line(e.line) if e.line else None
                if owner is None or owner in excluded or len(excluded) >= _MAX_EXCLUSIONS:
                    _log.error("BIRD refuses the configuration; the last one stays", line=e.line, reason=e.reason)
                    return rendered, refused
                excluded.add(owner)
                refused.append(Problem(*owner, f"BIRD does not accept it: {e.reason}"))
                rendered = render(msgspec.structs.replace(world, excluded=frozenset(excluded)))
        self._writes += 1
        self._reload.set()
        _log.info("configuration written", file=str(self._config), bytes=len(rendered.text))
        return rendered, refused

    async def _try_reload(self) -> bool:
        try:
            answer = await asyncio.to_thread(birdc.configure, self._config, path=self._control)
        except birdc.BirdUnreachable as e:
            suppressed = self._throttle.allow("unreachable")
            if suppressed is not None:
                _log.info("BIRD does not answer yet", reason=e.reason, suppressed=suppressed)
            return False
        except birdc.BirdRefused as e:
            _log.error("BIRD did not load the configuration; the one before stays active", reason=str(e))
            return True
        self._reloads += 1
        _log.info("configuration loaded", answer=answer)
        return True

    def _report(self, problems: set[Problem]) -> None:
        """Tells what is new among the problems, and what has gone."""
        current = frozenset(problems)
        for problem in sorted(current - self._problems):
            _log.warning("not in effect", kind=problem.kind, name=problem.name, reason=problem.message)
            self._event(problem)
        for problem in sorted(self._problems - current):
            _log.info("no longer a problem", kind=problem.kind, name=problem.name, reason=problem.message)
        self._problems = current

    def _event(self, problem: Problem) -> None:
        if self._recorder is None or self.gatherer is None:
            return
        obj = self.gatherer.find(problem.kind, problem.name)
        resource = self.gatherer.resource(problem.kind)
        if obj is not None and resource is not None:
            self._recorder.event(Reference.to(resource, obj), "Warning", "NotInEffect", problem.message)
