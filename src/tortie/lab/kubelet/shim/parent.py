"""The forking parent of all shims of a node: warm, small, and gone with the kubelet that started it.

In: on descriptor 0, one message per container to start or command to run in one. Out: a forked process for each, which
answers the kubelet itself (`container`, `execute`). Forking costs a millisecond where starting Python costs fifteen.
"""

import contextlib
import gc
import json
import os
import signal
import socket

from tortie.lab.kubelet.shim import container, execute


def main() -> None:
    """Serves until the kubelet's end of the channel closes."""
    channel = socket.socket(fileno=0)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies, without waiting
    null = os.open("/dev/null", os.O_RDWR)
    gc.disable()
    gc.freeze()
    while True:
        message, descriptors, _, _ = socket.recv_fds(channel, 262144, 4)
        if not message:
            return
        if os.fork() == 0:
            try:
                _serve(json.loads(message), descriptors, channel, null)
            finally:
                os._exit(0)  # the fork must not return to the loop, whatever happened
        for descriptor in descriptors:
            os.close(descriptor)


def _serve(request: dict[str, object], descriptors: list[int], channel: socket.socket, null: int) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    answers = socket.socket(fileno=os.dup(channel.detach()))
    for standard in (0, 1, 2):  # the kubelet's own descriptors may go away before this process does
        os.dup2(null, standard)
    if request["op"] == "start":
        container.run(str(request["id"]), answers)
        return
    answers.close()
    try:
        execute.run(dict(request), descriptors)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.write(descriptors[3], json.dumps({"error": str(error)}).encode() + b"\n")
