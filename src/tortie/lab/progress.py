"""Progress of `up` and `down`: a line for each step, with its time; a live spinner on a terminal.

In: steps as context managers. Out: text on stderr, so that stdout stays for results.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console


class Progress:
    """quiet: no output at all, for callers that only want the effect."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = Console(stderr=True, quiet=quiet, highlight=False)
        self._live = sys.stderr.isatty() and not quiet

    @contextmanager
    def step(self, text: str) -> Iterator["Step"]:
        """One step; prints its outcome when the block ends, whether it did anything or failed."""
        started = time.monotonic()
        step = Step()
        if self._live:
            with self._console.status(text):
                yield step
        else:
            yield step
        seconds = time.monotonic() - started
        note = f" ({step.note})" if step.note else ""
        self._console.print(f"  [green]ok[/green] {text}{note} [dim]{seconds:.1f} s[/dim]")

    def say(self, text: str) -> None:
        self._console.print(text)


class Step:
    """note: shown behind the step's text."""

    note: str = ""
