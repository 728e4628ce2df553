"""Reads container logs as `kubectl logs` wants them: the end, since a time, following.

In: a log file in the CRI format, written by the container's shim, with at most one old file beside it. Out: lines of
text, with or without their times, as long as the reader wants more.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import msgspec

_BLOCK = 64 * 1024
_FOLLOW_INTERVAL = 0.1


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """tail: lines from the end, None for all. since: RFC 3339 text to compare with, "" for all. stream: stdout, stderr
    or "" for both. limit: bytes, None without."""

    follow: bool = False
    tail: int | None = None
    since: str = ""
    timestamps: bool = False
    limit: int | None = None
    stream: str = ""


def _normal(time: str) -> str:
    """RFC 3339 in UTC with nine digits, so that times compare as text."""
    head, _, rest = time.partition(".")
    if rest:
        return f"{head}.{rest.rstrip('Z').ljust(9, '0')[:9]}"
    return f"{head.rstrip('Z')}.000000000"


def render(line: bytes, options: Options) -> bytes | None:
    """One line of the file as the reader wants it, None if it is not wanted."""
    parts = line.split(b" ", 3)
    if len(parts) < 4:
        return None
    time, stream, flag, text = parts
    if options.stream and stream != options.stream.encode():
        return None
    if options.since and _normal(time.decode()) < _normal(options.since):
        return None
    text = text[:-1] if text.endswith(b"\n") and flag == b"P" else text
    return time + b" " + text if options.timestamps else text


def _tail_offset(file: int, size: int, lines: int) -> int:
    """Where the last `lines` whole lines of a file begin."""
    if lines == 0:
        return size
    position, count = size, 0
    while position > 0:
        start = max(0, position - _BLOCK)
        block = os.pread(file, position - start, start)
        index = len(block)
        while (index := block.rfind(b"\n", 0, index)) >= 0:
            # The line end at the very end of the file closes the last line; it begins none.
            if start + index + 1 < size:
                count += 1
                if count == lines:
                    return start + index + 1
        position = start
    return 0


def _starts(path: Path, options: Options) -> list[tuple[Path, int]]:
    """Files to read and the offset to begin at, the oldest first."""
    old = path.with_name(f"{path.name}.1")
    files = [file for file in (old, path) if file.exists()]
    if options.tail is None:
        return [(file, 0) for file in files]
    result: list[tuple[Path, int]] = []
    left = options.tail
    for file in reversed(files):
        handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(handle).st_size
            offset = _tail_offset(handle, size, left)
            result.insert(0, (file, offset))
            left -= sum(block.count(b"\n") for block in _blocks(handle, offset))
        finally:
            os.close(handle)
        if left <= 0:
            break
    return result


def _blocks(handle: int, offset: int) -> Iterator[bytes]:
    position = offset
    while block := os.pread(handle, _BLOCK, position):
        yield block
        position += len(block)


async def read(path: Path, options: Options, running: Callable[[], bool]) -> AsyncIterator[bytes]:
    """Chunks of rendered lines. running: while it holds and `follow` is set, new lines are waited for."""
    sent = 0
    for file, start in _starts(path, options):
        last, offset = file == path, start
        handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            rest = b""
            while True:
                alive = running()  # asked before the read, so that what a dying container wrote last is read
                block = os.pread(handle, _BLOCK, offset)
                if block:
                    offset += len(block)
                    *lines, rest = (rest + block).split(b"\n")
                    rendered = b"".join(filter(None, (render(line + b"\n", options) for line in lines)))
                    if options.limit is not None:
                        rendered = rendered[: options.limit - sent]
                    sent += len(rendered)
                    if rendered:
                        yield rendered
                    if options.limit is not None and sent >= options.limit:
                        return
                    await asyncio.sleep(0)
                    continue
                if not (options.follow and last):
                    break
                if _rotated(path, handle):
                    os.close(handle)
                    handle, offset, rest = os.open(path, os.O_RDONLY | os.O_CLOEXEC), 0, b""
                    continue
                if not alive:
                    break
                await asyncio.sleep(_FOLLOW_INTERVAL)
        finally:
            os.close(handle)


def _rotated(path: Path, handle: int) -> bool:
    try:
        return path.stat().st_ino != os.fstat(handle).st_ino
    except OSError:
        return False


def last_lines(path: Path, *, lines: int, limit: int) -> str:
    """The end of a log as text; "" when there is none."""
    options = Options(tail=lines)
    try:
        chunks = []
        for file, offset in _starts(path, options):
            handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
            try:
                chunks += list(_blocks(handle, offset))
            finally:
                os.close(handle)
    except OSError:
        return ""
    text = b"".join(filter(None, (render(line + b"\n", options) for line in b"".join(chunks).split(b"\n") if line)))
    return text[-limit:].decode(errors="replace")
