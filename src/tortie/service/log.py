"""Structured logging for every component: one line per event that an operator would want.

In: the component's name and a level at start, then events with fields from any module. Out: lines on stderr, to the
operator's terminal (human form) or to the supervisor's log files (one JSON object per line).
"""

import logging
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO, cast

_hidden = "rich" not in sys.modules
if _hidden:  # structlog would import rich for its tracebacks: 50 ms of start-up that no daemon needs
    sys.modules["rich"] = None  # type: ignore[assignment]  # None hides a module
try:
    import structlog
finally:
    if _hidden:
        del sys.modules["rich"]

Logger = structlog.typing.FilteringBoundLogger

LEVELS = ("debug", "info", "warning", "error", "critical")
_SECRETS = ("token", "password", "secret", "authorization", "private_key", "client_key")


def configure(component: str, level: str = "info", *, stream: TextIO | None = None) -> None:
    """Sets up logging for this process; called once, by a program's entry point.

    component: in every line. level: one of LEVELS, case-insensitive; raises ValueError otherwise. stream: stderr
    unless given. Libraries' own standard-library log records of level warning and above come out in the same form.
    """
    if level.lower() not in LEVELS:
        raise ValueError(f"log level {level!r} is not one of {', '.join(LEVELS)}")
    number = getattr(logging, level.upper())
    out = stream if stream is not None else sys.stderr
    human = out.isatty()
    shared: list[Any] = [_add_component(component), structlog.stdlib.add_log_level, _redact]
    renderer: list[Any] = (
        [
            structlog.processors.TimeStamper(fmt="%H:%M:%S.%f", utc=False),
            structlog.dev.ConsoleRenderer(
                colors=True, exception_formatter=structlog.dev.plain_traceback, pad_event_to=40, sort_keys=False
            ),
        ]
        if human
        else [_timestamp, structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
    )
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=stream is None,
    )
    handler = _Forward()
    handler.setLevel(max(number, logging.WARNING))
    root = logging.getLogger()
    for old in [h for h in root.handlers if isinstance(h, _Forward)]:
        root.removeHandler(old)
    root.addHandler(handler)


def get_logger(name: str) -> Logger:
    """A logger whose lines carry `module: name`; methods debug, info, warning, error, exception take an event
    and fields. Before `configure` it writes in structlog's own default form."""
    return cast(Logger, structlog.get_logger(module=name))


class Throttle:
    """Says whether an event that can repeat may be logged now: the first of a key at once, then once per `period`
    seconds, with the number suppressed in between. Holds at most `limit` keys."""

    def __init__(self, *, period: float = 60.0, limit: int = 1000, clock: Callable[[], float] = time.monotonic) -> None:
        self._period = period
        self._limit = limit
        self._clock = clock
        self._seen: dict[str, tuple[float, int]] = {}

    def allow(self, key: str) -> int | None:
        """None: stay silent. A number: log, and this many were suppressed since the last one."""
        now = self._clock()
        last, suppressed = self._seen.get(key, (float("-inf"), 0))
        if now - last < self._period:
            self._seen[key] = (last, suppressed + 1)
            return None
        if key not in self._seen and len(self._seen) >= self._limit:
            self._seen.pop(next(iter(self._seen)))
        self._seen[key] = (now, 0)
        return suppressed


def _add_component(component: str) -> Callable[..., Any]:
    def add(_logger: object, _method: str, event: dict[str, Any]) -> dict[str, Any]:
        return {"event": event.pop("event", ""), "component": component, **event}

    return add


def _timestamp(_logger: object, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    now = time.time()
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1e6):06d}Z"
    return {"time": text, "level": event.pop("level", ""), **event}


def _redact(_logger: object, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    for key in event:
        if key.lower() in _SECRETS:
            event[key] = "(redacted)"
    return event


class _Forward(logging.Handler):
    """Passes the standard library's log records on in our form."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            logger = structlog.get_logger(module=record.name)
            method = getattr(logger, record.levelname.lower(), logger.warning)
            fields = {"exc_info": record.exc_info} if record.exc_info else {}
            method(record.getMessage().replace("\n", " "), **fields)
        except Exception:
            self.handleError(record)
