"""Cron schedules: five fields, lists, ranges, steps, names and the words with @. Pure.

For the CronJob controller and the schedules of reports. In: the schedule's text and a time zone. Out: the next time it
is due. A day counts if it fits the day of the month and the day of the week, or either of them when both are
restricted.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_WORDS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day of month", 1, 31), ("month", 1, 12), ("day of week", 0, 7))
_SEARCH = timedelta(days=366 * 5)
_WINDOWS = (timedelta(minutes=2), timedelta(hours=2), timedelta(days=2), timedelta(days=62), _SEARCH)


@dataclass(frozen=True, slots=True)
class Schedule:
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool

    def next_after(self, moment: datetime, zone: tzinfo) -> datetime | None:
        """The first due time after the moment, None if there is none within five years."""
        local = moment.astimezone(zone).replace(second=0, microsecond=0) + timedelta(minutes=1)
        end = local + _SEARCH
        while local < end:
            if local.month not in self.months:
                local = (local.replace(day=1, hour=0, minute=0) + timedelta(days=32)).replace(day=1)
            elif not self._is_day(local):
                local = local.replace(hour=0, minute=0) + timedelta(days=1)
            elif local.hour not in self.hours:
                local = local.replace(minute=0) + timedelta(hours=1)
            elif local.minute not in self.minutes:
                local += timedelta(minutes=1)
            else:
                return local
        return None

    def latest(self, since: datetime, until: datetime, zone: tzinfo) -> datetime | None:
        """The last due time after `since` and not after `until`, None if there is none."""
        for window in _WINDOWS:
            found = self.next_after(max(since, until - window), zone)
            if found is not None and found <= until:
                # Nothing was due in the window before this one, so few steps lead to the last.
                while (following := self.next_after(found, zone)) is not None and following <= until:
                    found = following
                return found
            if until - window <= since:
                return None
        return None

    def _is_day(self, local: datetime) -> bool:
        in_month = local.day in self.days
        in_week = local.isoweekday() % 7 in self.weekdays
        return in_month or in_week if self.either_day else in_month and in_week


def parse(text: str) -> Schedule:
    """Raises ValueError, naming the field, for what is not a schedule."""
    parts = _WORDS.get(text.strip().lower(), text).split()
    if len(parts) != len(_FIELDS):
        raise ValueError(
            f"schedule {text!r} has {len(parts)} fields where 5 are expected, or is none of {list(_WORDS)}"
        )
    values = [_field(part, *field) for part, field in zip(parts, _FIELDS, strict=True)]
    weekdays = frozenset(day % 7 for day in values[4])
    restricted = not parts[2].startswith(("*", "?")) and not parts[4].startswith(("*", "?"))
    return Schedule(values[0], values[1], values[2], values[3], weekdays, restricted)


def _field(text: str, name: str, first: int, last: int) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        span, slash, step_text = part.partition("/")
        low_text, dash, high_text = span.partition("-")
        if span in ("*", "?"):
            low, high = first, last
        else:
            low = _number(low_text, name)
            high = _number(high_text, name) if dash else last if slash else low
        step = _number(step_text, name) if slash else 1
        if not first <= low <= high <= last or step < 1:
            raise ValueError(f"{name} {part!r} of a schedule is not within {first} to {last}")
        found.update(range(low, high + 1, step))
    return frozenset(found)


def _number(text: str, name: str) -> int:
    lowered = text.lower()
    if name == "month" and lowered in _MONTHS:
        return _MONTHS.index(lowered) + 1
    if name == "day of week" and lowered in _DAYS:
        return _DAYS.index(lowered)
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{name} {text!r} of a schedule is not a number")
    return int(text)
