"""Network namespaces: entering one for a moment, and opening sockets in one without moving the process.

Callers give a path such as /proc/PID/ns/net or /run/netns/NAME, or a descriptor of it. What they get back works in that
namespace for ever, since a socket keeps the namespace in which it was made.
"""

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_T = TypeVar("_T")


def setns(descriptor: int) -> None:
    """Moves the calling thread into the network namespace behind `descriptor`. Raises OSError."""
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"entering a network namespace: {os.strerror(number)}")


def unshare_network() -> None:
    """Gives the calling thread a new, empty network namespace. Raises OSError."""
    if _libc.unshare(CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"making a network namespace: {os.strerror(number)}")


@contextmanager
def inside(namespace: str | Path | int) -> Iterator[None]:
    """The calling thread stands in `namespace` within the block. Do not await in it: the thread is the event loop's."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if isinstance(namespace, int):
            setns(namespace)
        else:
            target = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
            try:
                setns(target)
            finally:
                os.close(target)
        try:
            yield
        finally:
            setns(own)
    finally:
        os.close(own)


def call(namespace: str | Path | int, function: Callable[[], _T]) -> _T:
    """The result of `function` run inside `namespace`."""
    with inside(namespace):
        return function()
