"""A container's log file in the CRI format, and the small file habits of a shim.

In: chunks of output from `container`. Out: lines `<time> <stream> <F|P> <text>` in a file that `logs` serves, one old
file kept beside it. Imports next to nothing: every container has a process with this in it.
"""

import contextlib
import json
import os
import time
from typing import Any

LINE_LIMIT = 16384
LOG_LIMIT = 10 * 1024 * 1024


def timestamp() -> str:
    """Now, as RFC 3339 in UTC with nanoseconds, as the CRI log format wants it."""
    nanoseconds = time.time_ns()
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09d}Z"


def write_atomically(path: str, content: dict[str, Any]) -> None:
    """Writes JSON so that a reader sees all of it or the previous state."""
    temporary = f"{path}.new"
    with open(temporary, "w", encoding="utf-8") as file:  # noqa: PTH123  # no pathlib here
        json.dump(content, file)
    os.rename(temporary, path)  # noqa: PTH104  # no pathlib here


class Log:
    """The container's log file: `<time> <stream> <F|P> <text>` per line, one old file kept beside it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._pending: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        self._size = os.fstat(self._file).st_size

    def write(self, stream: str, data: bytes) -> None:
        """Appends output; a line without its end waits for the rest, up to LINE_LIMIT bytes."""
        pending = self._pending[stream]
        pending += data
        prefix = f"{timestamp()} {stream} ".encode()
        out = bytearray()
        start = 0
        while (end := pending.find(b"\n", start)) >= 0:
            while end - start > LINE_LIMIT:
                out += prefix + b"P " + pending[start : start + LINE_LIMIT] + b"\n"
                start += LINE_LIMIT
            out += prefix + b"F " + pending[start : end + 1]
            start = end + 1
        while len(pending) - start > LINE_LIMIT:
            out += prefix + b"P " + pending[start : start + LINE_LIMIT] + b"\n"
            start += LINE_LIMIT
        del pending[:start]
        self._append(out)

    def finish(self) -> None:
        """Writes lines that never got their end."""
        for stream, pending in self._pending.items():
            if pending:
                self._append(f"{timestamp()} {stream} F ".encode() + pending + b"\n")
                pending.clear()

    def _append(self, data: bytes | bytearray) -> None:
        if not data:
            return
        if self._size > LOG_LIMIT:
            # A full disk or a vanished directory must not stop the container.
            with contextlib.suppress(OSError):
                os.rename(self._path, f"{self._path}.1")  # noqa: PTH104  # no pathlib here
                fresh = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
                os.close(self._file)
                self._file, self._size = fresh, 0
        with contextlib.suppress(OSError):
            self._size += os.write(self._file, data)
