"""`kubectl exec` and `kubectl attach`: a command's streams joined to a client's.

In: a container's unit, what the client asked for, its streams. Out: the command run in the container (or the running
one attached to), bytes both ways, terminal sizes, and the final status with the exit code.
"""

import asyncio
import contextlib
import fcntl
import os
import struct
import termios
from typing import Any

import msgspec

from tortie.lab.kubelet import rootfs
from tortie.lab.kubelet.runtime import Runtime, StartError
from tortie.lab.kubelet.shim import container as frames
from tortie.lab.kubelet.streams import RemoteStreams, read_descriptor, write_descriptor
from tortie.lab.kubelet.unit import Unit

_DRAIN = 1.0


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What the client wants."""

    command: list[str] = []
    stdin: bool = False
    stdout: bool = True
    stderr: bool = True
    tty: bool = False


def success() -> dict[str, Any]:
    return {"metadata": {}, "status": "Success"}


def failure(message: str, *, code: int = 500, reason: str = "InternalError") -> dict[str, Any]:
    return {"metadata": {}, "status": "Failure", "message": message, "reason": reason, "code": code}


def exit_status(code: int) -> dict[str, Any]:
    """The status object of a command that ended."""
    if code == 0:
        return success()
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


class _Pipes:
    """Our ends and the command's ends of its streams."""

    def __init__(self, ask: Ask, pid: int) -> None:
        self.terminal: int | None = None
        self.stdin: int | None = None
        self.outputs: dict[int, str] = {}
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        if ask.tty:
            ours, theirs = rootfs.pseudo_terminal(pid)
            os.set_blocking(ours, False)
            self.terminal = ours
            self.stdin = ours if ask.stdin else None
            self.outputs[ours] = "stdout"
            self.theirs = (theirs, theirs, theirs)
            os.close(null)
            return
        their_in = null
        if ask.stdin:
            their_in, self.stdin = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(self.stdin, False)
        ends = []
        for name, wanted in (("stdout", ask.stdout), ("stderr", ask.stderr)):
            if not wanted:
                ends.append(os.dup(null))
                continue
            ours, theirs = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(ours, False)
            self.outputs[ours] = name
            ends.append(theirs)
        if their_in != null:
            os.close(null)
        self.theirs = (their_in, ends[0], ends[1])

    def close_theirs(self) -> None:
        for descriptor in set(self.theirs):
            os.close(descriptor)

    def close_stdin(self) -> None:
        if self.stdin is not None and self.stdin != self.terminal:
            os.close(self.stdin)
        self.stdin = None

    def close(self) -> None:
        self.close_stdin()
        for descriptor in self.outputs:
            os.close(descriptor)
        self.outputs.clear()

    def resize(self, data: bytes) -> None:
        with contextlib.suppress(ValueError, KeyError, OSError, msgspec.DecodeError):
            size = msgspec.json.decode(data)
            if self.terminal is not None:
                packed = struct.pack("HHHH", int(size["Height"]), int(size["Width"]), 0, 0)
                fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, packed)


async def execute(unit: Unit, ask: Ask, remote: RemoteStreams, runtime: Runtime) -> None:
    """Runs a command for a client, from its first byte to its exit status; a client that leaves ends the command."""
    process, record = unit.process, unit.record
    if process is None or record is None:
        await remote.finish(failure(f'container "{unit.spec.name}" is not running'))
        return
    try:
        pipes = _Pipes(ask, process.init_pid)
    except OSError as error:
        await remote.finish(failure(f"no terminal: {error}"))
        return
    request = rootfs.exec_request(record.isolation, process.init_pid, ask.command, tty=ask.tty)
    try:
        command = await runtime.execute(request, pipes.theirs)
    except StartError as error:
        pipes.close_theirs()
        pipes.close()
        await remote.finish(failure(f"error executing command in container: {error}"))
        return
    pipes.close_theirs()
    inputs = asyncio.create_task(_feed(pipes, remote))
    outputs = [asyncio.create_task(_drain(fd, name, remote)) for fd, name in pipes.outputs.items()]
    waiting = asyncio.create_task(command.wait())
    try:
        await asyncio.wait({waiting, inputs}, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            return  # the client is gone; closing ends the command
        await asyncio.wait(outputs, timeout=_DRAIN) if outputs else None
        await remote.finish(exit_status(waiting.result()))
    finally:
        command.close()
        await _cancel([inputs, waiting, *outputs])
        pipes.close()


async def _cancel(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _feed(pipes: _Pipes, remote: RemoteStreams) -> None:
    """The client's input to the command; returns when the client is gone."""
    async for item in remote.inputs():
        if item.stream == "resize":
            pipes.resize(item.data)
            continue
        if pipes.stdin is None:
            continue
        try:
            if item.data:
                await write_descriptor(pipes.stdin, item.data)
            if item.end:
                if pipes.stdin == pipes.terminal:
                    await write_descriptor(pipes.stdin, b"\x04")
                pipes.close_stdin()
        except OSError:
            pipes.close_stdin()


async def _drain(descriptor: int, name: str, remote: RemoteStreams) -> None:
    while data := await read_descriptor(descriptor):
        await remote.write("stderr" if name == "stderr" else "stdout", data)


async def attach(unit: Unit, ask: Ask, remote: RemoteStreams) -> None:
    """Joins a client to the container's own command."""
    process = unit.process
    if process is None:
        await remote.finish(failure(f'container "{unit.spec.name}" is not running'))
        return
    try:
        reader, writer, stdin = await process.attach(stdin=ask.stdin and unit.spec.stdin)
    except OSError as error:
        await remote.finish(failure(f'cannot attach to container "{unit.spec.name}": {error}'))
        return
    inputs = asyncio.create_task(_send_frames(writer, remote, stdin=stdin))
    outputs = asyncio.create_task(_receive_frames(reader, remote, ask))
    try:
        await asyncio.wait({inputs, outputs}, return_when=asyncio.FIRST_COMPLETED)
        if outputs.done() and outputs.exception() is None:
            await remote.finish(success())
    finally:
        await _cancel([inputs, outputs])
        writer.close()


async def _send_frames(writer: asyncio.StreamWriter, remote: RemoteStreams, *, stdin: bool) -> None:
    async for item in remote.inputs():
        kind = frames.RESIZE if item.stream == "resize" else frames.STDIN
        if item.stream == "stdin" and not stdin:
            continue
        with contextlib.suppress(ConnectionError):
            if item.data:
                writer.write(frames.FRAME.pack(kind, len(item.data)) + item.data)
            if item.end:
                writer.write(frames.FRAME.pack(frames.STDIN_CLOSE, 0))
            await writer.drain()


async def _receive_frames(reader: asyncio.StreamReader, remote: RemoteStreams, ask: Ask) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            kind, length = frames.FRAME.unpack(await reader.readexactly(frames.FRAME.size))
            data = await reader.readexactly(length)
            if kind == frames.STDOUT and ask.stdout:
                await remote.write("stdout", data)
            elif kind == frames.STDERR and ask.stderr:
                await remote.write("stderr", data)
