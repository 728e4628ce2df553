"""A watch response's bytes, split into lines, whatever way they were cut in transit.

In: chunks from the HTTP stream. Out: complete lines, for the frame decoder. Pure.
"""

from collections.abc import Iterator

MAX_LINE = 64 * 1024 * 1024


class LineSplitter:
    """Feeds on chunks, yields whole lines without their newline. O(bytes) over the life of the stream: what has been
    searched once is not searched again."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The lines that this chunk completes; empty lines are left out. Raises ValueError for an endless line."""
        head, newline, rest = chunk.partition(b"\n")
        if not newline:
            self._parts.append(chunk)
            self._size += len(chunk)
            if self._size > MAX_LINE:
                raise ValueError(f"watch line exceeds {MAX_LINE} bytes")
            return
        if self._parts:
            self._parts.append(head)
            head = b"".join(self._parts)
            self._parts.clear()
            self._size = 0
        if head.strip():
            yield head
        *lines, tail = rest.split(b"\n")
        for line in lines:
            if line.strip():
                yield line
        if tail:
            self._parts.append(tail)
            self._size = len(tail)

    @property
    def pending(self) -> int:
        """Bytes of an unfinished line: more than 0 at the end of the stream means it was cut."""
        return self._size
