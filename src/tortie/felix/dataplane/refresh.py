"""When the dataplane looks whether the kernel still has what was written (spec/felix.md 1.7).

The driver asks what is due; intervals come from the configuration, jittered by a tenth so that nodes do not march
in step. After somebody else changed rules, a full check follows soon, but never so often that checks take more than
a fiftieth of the time.
"""

import random

from tortie.felix.dataplane.config import DataplaneConfig
from tortie.felix.dataplane.table import TableState
from tortie.felix.dataplane.writer import TableWriter

_SOON = 1.0
_SHARE = 50
_LONG = 0.01
_SETS_A_ROUND = 20


class Refreshes:
    def __init__(self, config: DataplaneConfig) -> None:
        self._intervals = {
            "interfaces": config.interface_refresh,
            "routes": config.route_refresh,
            "tables": config.nft_refresh,
            "sets": config.set_refresh,
        }
        self._next: dict[str, float] = {}
        self._verify_seconds: float | None = None
        self._cursor = 0

    def start(self, now: float) -> None:
        for name, interval in self._intervals.items():
            if interval > 0:
                self._next[name] = now + self._jittered(interval)

    @staticmethod
    def _jittered(interval: float) -> float:
        return interval * random.uniform(0.9, 1.1)  # noqa: S311  # spreads load, hides nothing

    @property
    def next_time(self) -> float:
        return min(self._next.values(), default=float("inf"))

    def due(self, now: float) -> set[str]:
        result = {name for name, when in self._next.items() if when <= now}
        for name in result:
            interval = self._intervals[name]
            if interval > 0:
                self._next[name] = now + self._jittered(interval)
            else:
                del self._next[name]
        return result

    def takes_long(self, now: float) -> bool:
        """Whether a check is due that would hold up the event loop."""
        due = min(self._next.get("tables", now + 1), self._next.get("sets", now + 1)) <= now
        return due and (self._verify_seconds is None or self._verify_seconds > _LONG)

    def suspect(self, now: float) -> None:
        """Somebody else has changed rules, though not visibly ours: have a full look soon."""
        pause = (self._verify_seconds or 0.0) * _SHARE
        soon = now + max(_SOON, min(pause, self._intervals["tables"] or _SOON))
        self._next["tables"] = min(self._next.get("tables", soon), soon)

    def verified(self, seconds: float) -> None:
        self._verify_seconds = seconds

    def check_sets(self, tables: list[TableState], writer: TableWriter) -> str:
        """Looks at some sets, going round from call to call; the name of one that differs, or ""."""
        every = [(table, name) for table in tables for name in table.set_names()]
        if not every:
            return ""
        for step in range(min(_SETS_A_ROUND, len(every))):
            table, name = every[(self._cursor + step) % len(every)]
            if not writer.verify_set(table, name):
                return name
        self._cursor = (self._cursor + _SETS_A_ROUND) % len(every)
        return ""
