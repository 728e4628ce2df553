"""Runs one more command inside a running container, as `kubectl exec` and exec probes want it.

In: a request and four descriptors (stdin, stdout, stderr, status) from the kubelet's `runtime`, by way of `parent`.
Out: on the status descriptor one JSON line with the command's pid and one with its exit code. The namespaces are
entered and the rights dropped here, before any file of the container is opened: what it left there cannot misuse them.
"""

import ctypes
import errno
import fcntl
import json
import os
import select
import signal
import termios
from typing import Any

_libc = ctypes.CDLL(None, use_errno=True)
_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 24, 38
_LAST_CAPABILITY = 40
_CLONE = {"ipc": 0x08000000, "uts": 0x04000000, "net": 0x40000000, "pid": 0x20000000, "mnt": 0x00020000}


def run(request: dict[str, Any], descriptors: list[int]) -> None:
    """Called in a fresh fork; returns when the command has ended. request: target (a pid in the container), namespaces,
    argv, env, cwd, uid, gid, groups, capabilities (numbers), tty."""
    stdin, stdout, stderr, status = descriptors
    handles = [(name, os.open(f"/proc/{request['target']}/ns/{name}", os.O_RDONLY)) for name in request["namespaces"]]
    for name, handle in handles:
        if _libc.setns(handle, _CLONE[name]) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter the container's {name} namespace")
        os.close(handle)
    child = os.fork()  # the first fork after setns is the one inside the PID namespace
    if child == 0:
        try:
            _become(request, stdin, stdout, stderr)
        except OSError as error:
            name = request["argv"][0]
            missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
            reason = (
                "executable file not found in $PATH" if missing and "/" not in name else os.strerror(error.errno or 0)
            )
            os.write(2, f"exec: {json.dumps(name)}: {reason.lower() if '/' in name else reason}\n".encode())
            os._exit(127 if missing else 126)
        finally:
            os._exit(128)
    for descriptor in {stdin, stdout, stderr}:
        os.close(descriptor)
    os.write(status, json.dumps({"pid": child}).encode() + b"\n")
    code = _wait(child, status)
    os.write(status, json.dumps({"exitCode": code}).encode() + b"\n")


def _become(request: dict[str, Any], stdin: int, stdout: int, stderr: int) -> None:
    os.setsid()
    if request["tty"]:
        fcntl.ioctl(stdin, termios.TIOCSCTTY, 0)
    moved = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, 20) for descriptor in (stdin, stdout, stderr)]
    for target, descriptor in enumerate(moved):
        os.dup2(descriptor, target)
    os.closerange(3, 64)
    kept = set(request["capabilities"])
    for number in range(_LAST_CAPABILITY + 1):
        if number not in kept:
            _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)
    os.setgroups(request["groups"])
    os.setresgid(request["gid"], request["gid"], request["gid"])
    os.setresuid(request["uid"], request["uid"], request["uid"])
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "PR_SET_NO_NEW_PRIVS")
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGPIPE, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    os.chdir(request["cwd"])
    os.execvpe(request["argv"][0], request["argv"], request["env"])  # noqa: S606  # the user's own command


def _wait(child: int, status: int) -> int:
    """The exit code as a shell counts it. Should the kubelet go away, so does the command."""
    handle = os.pidfd_open(child)
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    poll.register(status, select.POLLRDHUP)
    ended = False
    while not ended:
        for descriptor, _ in poll.poll():
            if descriptor == handle:
                ended = True
            else:
                os.kill(child, signal.SIGKILL)
                poll.unregister(status)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return 128 - code if code < 0 else code
