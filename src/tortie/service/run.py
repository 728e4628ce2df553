"""The frame a daemon runs in: event loop, signals, tasks, end.

In: a daemon's main coroutine from its command. Out: an exit status to the supervisor: 0 after SIGTERM or SIGINT or a
normal return, non-zero with one reason line when main or any spawned task fails.
"""

import asyncio
import contextlib
import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

from tortie.service.log import get_logger


class Fatal(Exception):
    """An error whose text says everything: wrong setting, taken port. Ends the process without a traceback."""


class Service:
    """What a daemon's main gets: tasks that may not die quietly, hooks for an orderly stop."""

    def __init__(self, *, component: str, drain_timeout: float = 10.0) -> None:
        self.component = component
        self.stopping = asyncio.Event()
        self.stuck: list[str] = []
        self._drain_timeout = drain_timeout
        self._tasks: dict[asyncio.Task[Any], str] = {}
        self._hooks: list[Callable[[], Awaitable[None]]] = []
        self._failed: asyncio.Future[tuple[str, BaseException]] = asyncio.get_running_loop().create_future()
        self._log = get_logger("service")

    def spawn(self, coro: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Runs a coroutine beside main. An exception in it ends the process; a normal return does not."""
        task = asyncio.get_running_loop().create_task(coro, name=name)
        self._tasks[task] = name
        task.add_done_callback(self._ended)
        return task

    def on_stop(self, hook: Callable[[], Awaitable[None]]) -> None:
        """Registers a drain step, run at stop before any task is cancelled; the last registered runs first."""
        self._hooks.append(hook)

    def stop(self) -> None:
        """Asks for an orderly end, as SIGTERM does."""
        self.stopping.set()

    def statistics(self) -> dict[str, int]:
        """Counts for metrics and support bundles."""
        return {"tasks": len(self._tasks)}

    def _ended(self, task: asyncio.Task[Any]) -> None:
        name = self._tasks.pop(task, "?")
        if not task.cancelled() and (error := task.exception()) is not None and not self._failed.done():
            self._failed.set_result((name, error))

    async def _run(self, main: Callable[["Service"], Awaitable[None]]) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(NotImplementedError, ValueError):  # not the main thread: a test
                loop.add_signal_handler(number, self.stop)
        main_task = loop.create_task(_as_coroutine(main(self)), name="main")
        stop_task = loop.create_task(self.stopping.wait(), name="stop")
        waited: set[asyncio.Future[Any]] = {main_task, stop_task, self._failed}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        status = 0
        if self._failed.done():
            status = self._explain(*self._failed.result())
        elif main_task.done() and not main_task.cancelled() and (error := main_task.exception()) is not None:
            status = self._explain("main", error)
        elif self.stopping.is_set():
            self._log.info("stopping")
        self.stopping.set()
        await self._drain(main_task)
        stop_task.cancel()
        if status == 0 and self._failed.done():
            status = self._explain(*self._failed.result())
        return status

    async def _drain(self, main_task: asyncio.Task[Any]) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._drain_timeout
        for hook in reversed(self._hooks):
            try:
                async with asyncio.timeout_at(end):
                    await hook()
            except Exception:
                self._log.exception("a stop hook failed", hook=getattr(hook, "__qualname__", str(hook)))
        rest = {task for task in (main_task, *self._tasks) if not task.done()}
        for task in rest:
            task.cancel()
        if rest:
            _, stuck = await asyncio.wait(rest, timeout=max(0.1, end - loop.time()))
            self.stuck = [task.get_name() for task in stuck]
        if self.stuck:
            self._log.warning("did not drain in time", seconds=self._drain_timeout, tasks=self.stuck)

    def _explain(self, name: str, error: BaseException) -> int:
        error = _cause(error)
        reason = f"{type(error).__name__}: {error}" if not isinstance(error, Fatal) else str(error)
        known = isinstance(error, (Fatal, OSError))
        self._log.error("stopped by a failed task", task=name, reason=reason, exc_info=None if known else error)
        return 1


def _cause(error: BaseException) -> BaseException:
    """The first real error inside the groups that task groups make."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _as_coroutine(awaitable: Awaitable[None]) -> None:
    await awaitable


def run(
    main: Callable[[Service], Awaitable[None]], *, component: str, drain_timeout: float = 10.0, status_exit: bool = True
) -> int:
    """Runs main on a uvloop event loop until it returns, a task fails, or SIGTERM or SIGINT arrives.

    Returns the exit status; with status_exit (the default) leaves the process with it when it is not 0.
    drain_timeout: seconds that hooks and cancelled tasks together may take.
    """
    import uvloop

    async def body() -> int:
        service = Service(component=component, drain_timeout=drain_timeout)
        status = await service._run(main)
        if service.stuck and status_exit:
            # Closing the loop would wait for the tasks that did not end, without limit.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        return status

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        status = runner.run(body())
    if status and status_exit:
        sys.exit(status)
    return status


def freeze_garbage() -> None:
    """Takes everything allocated so far out of the garbage collector's view; to be called after the first snapshot
    is loaded, so that later collections do not walk it."""
    gc.collect()
    gc.freeze()


@contextlib.contextmanager
def garbage_paused() -> Iterator[None]:
    """No garbage collection inside the block: for building many objects that stay, where each collection would only
    walk them again (loading a list of 10,000 pods takes a third of the time). Do not await inside."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
