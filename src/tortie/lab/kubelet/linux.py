"""The few kernel calls that the kubelet needs and Python 3.11 does not offer: mounts and network namespaces.

In: paths, from `sandbox`, `rootfs` and `portforward`. Out: namespaces held by a bind mount, overlay and tmpfs mounts,
sockets that live in a pod's namespace. Failures are OSError with the path in them.
"""

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_libc = ctypes.CDLL(None, use_errno=True)

_CLONE_NEWNET = 0x40000000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_BIND = 0x1, 0x2, 0x4, 0x1000
_MNT_DETACH = 2
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1


def _check(result: int, action: str, path: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{action}: {os.strerror(number)}", path)


def mount(source: str, target: Path, kind: str, options: str = "", *, bind: bool = False) -> None:
    """Mounts; without devices and set-uid programs unless it is a bind mount."""
    flags = _MS_BIND if bind else _MS_NOSUID | _MS_NODEV
    result = _libc.mount(source.encode(), bytes(target), kind.encode(), flags, options.encode() or None)
    _check(result, f"mount {kind or 'bind'}", str(target))


def unmount(target: Path) -> None:
    """Takes a mount away as soon as its last user ends; one that is not there is fine."""
    with contextlib.suppress(OSError):
        _check(_libc.umount2(bytes(target), _MNT_DETACH), "umount", str(target))


def mounts_under(directory: Path) -> list[Path]:
    """The mount points below a directory, the deepest first."""
    prefix = f"{directory}/"
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split()[4].encode().decode("unicode_escape")
        if point.startswith(prefix):
            found.append(Path(point))
    return sorted(found, reverse=True)


def in_thread(work: Callable[[], T]) -> T:
    """Runs work in a thread of its own, which may change its namespace since it ends right after."""
    result: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            result.append(work())
        except BaseException as error:  # raised again below
            failure.append(error)

    thread = threading.Thread(target=run, name="namespace")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return result[0]


def create_network_namespace(path: Path) -> None:
    """Makes a network namespace with its loopback up, held by a bind mount at `path` and by no process."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))

    def work() -> None:
        _check(_libc.unshare(_CLONE_NEWNET), "unshare(CLONE_NEWNET)", str(path))
        mount("/proc/thread-self/ns/net", path, "", bind=True)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
            request = struct.pack("16sh22x", b"lo", 0)
            flags = struct.unpack_from("16sh", fcntl.ioctl(handle, _SIOCGIFFLAGS, request))[1]
            fcntl.ioctl(handle, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | _IFF_UP))

    try:
        in_thread(work)
    except BaseException:
        remove_network_namespace(path)
        raise


def remove_network_namespace(path: Path) -> None:
    """Lets go of a namespace; one that is not there is fine."""
    unmount(path)
    path.unlink(missing_ok=True)


def is_network_namespace(path: Path) -> bool:
    """Whether a namespace is still held at `path`; a bare file is what a reboot leaves behind."""
    try:
        return path.stat().st_dev != path.parent.stat().st_dev
    except OSError:
        return False


def socket_in_namespace(path: Path | None, family: int, kind: int) -> socket.socket:
    """A non-blocking socket of the network namespace at `path` (None: this process's own)."""

    def work() -> socket.socket:
        if path is not None:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                _check(_libc.setns(handle, _CLONE_NEWNET), "setns", str(path))
            finally:
                os.close(handle)
        made = socket.socket(family, kind)
        made.setblocking(False)
        return made

    return in_thread(work)


def write_sysctl_in_namespace(path: Path, name: str, value: str) -> None:
    """Sets one net.* sysctl of a network namespace."""
    target = Path("/proc/sys") / name.replace(".", "/")

    def work() -> None:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _check(_libc.setns(handle, _CLONE_NEWNET), "setns", str(path))
        finally:
            os.close(handle)
        target.write_text(value)

    in_thread(work)
