"""Puts a BIRD configuration in force: checked by BIRD's own parser, replaced in one step, loaded by the running daemon.

For confd. In: a text. Out: the file, or `SyntaxRefused` with the offending line while the old file stays as it was.
"""

import asyncio
import os
import re
from pathlib import Path

_WHERE = re.compile(r":(\d+):\d+ (.*)")


class SyntaxRefused(Exception):
    """BIRD's parser refuses the text; line counts from 1, 0 if it did not say."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}" if line else reason)
        self.line = line
        self.reason = reason


def current(path: Path) -> str | None:
    """The configuration in the file, None if there is none."""
    try:
        return path.read_text(errors="surrogateescape")
    except OSError:
        return None


async def replace(path: Path, text: str, *, bird: str = "bird") -> None:
    """Writes the file, readable by root alone since it may hold passwords. Raises SyntaxRefused, OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.new")
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", errors="surrogateescape") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    await check(staged, bird=bird)
    staged.replace(path)


async def check(path: Path, *, bird: str = "bird") -> None:
    """Has BIRD parse the file. Raises SyntaxRefused."""
    process = await asyncio.create_subprocess_exec(
        bird, "-p", "-c", str(path), stdin=asyncio.subprocess.DEVNULL, stdout=-1, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    if process.returncode == 0:
        return
    text = output.decode(errors="replace").strip()
    match = _WHERE.search(text)
    if match:
        raise SyntaxRefused(int(match[1]), match[2])
    raise SyntaxRefused(0, text or f"{bird} ended with status {process.returncode}")
