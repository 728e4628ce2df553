"""Waiting until Felix has programmed a pod's policy, by the file that Felix then writes.

For the agent's ADD. In: a directory and the pod's identity. Out: True once the file is there and names the pod's
addresses, False after the time is up; the caller goes on either way (spec/cni-ipam-node.md 1.13). One inotify watch
serves all waiting calls, so that a pod starts the moment its policy is in force.
"""

import asyncio
import ctypes
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import msgspec

_IN_CLOSE_WRITE, _IN_MOVED_TO, _IN_DELETE_SELF = 0x8, 0x80, 0x400
_WATCHED = _IN_CLOSE_WRITE | _IN_MOVED_TO | _IN_DELETE_SELF
_POLL_WATCHED, _POLL_UNWATCHED = 0.5, 0.02
_libc = ctypes.CDLL(None, use_errno=True)


class _Status(msgspec.Struct, frozen=True, rename="camel"):
    ipv4_nets: tuple[str, ...] | None = None
    ipv6_nets: tuple[str, ...] | None = None


def file_name(*, orchestrator: str, workload: str, endpoint: str) -> str:
    """The three identifiers, each escaped as a part of a URL path, with one blank between."""
    return " ".join(quote(part, safe="") for part in (orchestrator, workload, endpoint))


class StatusFiles:
    """The status files of one directory, which need not exist yet."""

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory)
        self._changed = asyncio.Event()
        self._inotify: int | None = None
        self.waiting = 0

    def close(self) -> None:
        if self._inotify is not None:
            asyncio.get_running_loop().remove_reader(self._inotify)
            os.close(self._inotify)
            self._inotify = None

    async def wait(self, name: str, addresses: Sequence[str], *, seconds: float) -> bool:
        """addresses: with prefix length; all must be in the file, so that a file about an earlier pod of the same name
        does not count."""
        deadline = asyncio.get_running_loop().time() + seconds
        self.waiting += 1
        try:
            while True:
                watching = self._watch()
                self._changed.clear()
                if self._is_up(name, addresses):
                    return True
                left = deadline - asyncio.get_running_loop().time()
                if left <= 0:
                    return False
                try:
                    async with asyncio.timeout(min(left, _POLL_WATCHED if watching else _POLL_UNWATCHED)):
                        await self._changed.wait()
                except TimeoutError:
                    pass
        finally:
            self.waiting -= 1

    def _is_up(self, name: str, addresses: Sequence[str]) -> bool:
        try:
            status = msgspec.json.decode((self._directory / name).read_bytes(), type=_Status)
        except OSError:
            return False
        except msgspec.DecodeError:
            return False  # being written; the event at its end follows
        if status.ipv4_nets is None and status.ipv6_nets is None:
            return True
        listed = {*(status.ipv4_nets or ()), *(status.ipv6_nets or ())}
        return listed.issuperset(addresses)

    def _watch(self) -> bool:
        if self._inotify is not None:
            return True
        if not self._directory.is_dir():
            return False
        descriptor = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if descriptor < 0:
            return False
        if _libc.inotify_add_watch(descriptor, os.fsencode(self._directory), _WATCHED) < 0:
            os.close(descriptor)
            return False
        self._inotify = descriptor
        asyncio.get_running_loop().add_reader(descriptor, self._readable)
        return True

    def _readable(self) -> None:
        assert self._inotify is not None
        try:
            os.read(self._inotify, 65536)
        except BlockingIOError:
            return
        self._changed.set()
        if not self._directory.is_dir():
            self.close()
