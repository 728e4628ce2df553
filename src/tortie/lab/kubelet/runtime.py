"""Starts containers and keeps in touch with the running ones, across restarts of the kubelet.

In: from `containers`, a command with its isolation arguments, and directories of containers that ran before. Out: to
`shim` one message per start or exec; back to the caller a `Process` that tells of the end, takes signals, attaches.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import msgspec

import tortie
from tortie.lab.kubelet.shim.log import timestamp

_PARENT = (
    f"import sys; sys.path.insert(0, {str(Path(tortie.__file__).parent.parent)!r}); "
    "from tortie.lab.kubelet.shim.parent import main; main()"
)


class StartError(Exception):
    """The container's command could not be started; the text says why."""


class ProcessSpec(msgspec.Struct, frozen=True, kw_only=True):
    """argv: absolute program first, visible in process lists. args: options for bwrap, never visible there (they hold
    the environment). socket: path of the control socket, at most 100 characters."""

    argv: list[str]
    args: list[str]
    socket: str
    log: str
    tty: bool = False
    stdin: bool = False
    stdin_once: bool = False


class Exit(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How a container ended. lost: its shim went without leaving word, so the code is a guess."""

    exit_code: int
    finished_at: str
    lost: bool = False


class Process:
    """A container that was started, by this kubelet or one before it."""

    def __init__(self, directory: Path, control: str, init_pid: int) -> None:
        self.directory = directory
        self.init_pid = init_pid
        self._control = control
        self._watcher: asyncio.Task[Exit] | None = None

    @property
    def pid(self) -> int:
        """The container's own first command (bwrap's init is its parent); 0 once it is gone."""
        try:
            children = Path(f"/proc/{self.init_pid}/task/{self.init_pid}/children").read_text().split()
        except OSError:
            return 0
        return int(children[0]) if children else 0

    def exited(self) -> asyncio.Task[Exit]:
        """The one task that ends when the container has ended."""
        if self._watcher is None:
            self._watcher = asyncio.get_running_loop().create_task(self._watch())
        return self._watcher

    async def _watch(self) -> Exit:
        with contextlib.suppress(OSError):
            reader, writer, _ = await self._command({"op": "wait"})
            with contextlib.suppress(OSError):
                await reader.read()
            writer.close()
        return read_exit(self.directory)

    async def signal(self, number: int) -> None:
        """Signals the container's own command; SIGKILL goes to its whole PID namespace. A gone container is fine."""
        target = "all" if number == signal.SIGKILL else "main"
        with contextlib.suppress(OSError):
            _, writer, _ = await self._command({"op": "signal", "signal": number, "target": target})
            writer.close()

    async def attach(self, *, stdin: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bool]:
        """The container's streams in shim frames, and whether it takes standard input. Raises OSError when ended."""
        reader, writer, reply = await self._command({"op": "attach", "stdin": stdin})
        return reader, writer, bool(reply.get("stdin"))

    async def _command(
        self, command: dict[str, Any]
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, dict[str, Any]]:
        reader, writer = await asyncio.open_unix_connection(self._control)
        writer.write(json.dumps(command).encode() + b"\n")
        line = await reader.readline()
        if not line:
            writer.close()
            raise ConnectionResetError("the container has ended")
        reply = json.loads(line)
        self.init_pid = reply.get("pid", self.init_pid)
        return reader, writer, reply


def read_exit(directory: Path) -> Exit:
    """The end as the shim wrote it, or a lost one with the code of SIGKILL."""
    try:
        return msgspec.json.decode((directory / "exit.json").read_bytes(), type=Exit)
    except (OSError, msgspec.DecodeError):
        return Exit(exit_code=137, finished_at=timestamp(), lost=True)


class Runtime:
    """The door to the forking parent of all shims; it is started on first use and again should it die."""

    def __init__(self) -> None:
        self._channel: socket.socket | None = None
        self._parent: subprocess.Popen[bytes] | None = None
        self._waiting: dict[str, asyncio.Future[int]] = {}

    def statistics(self) -> dict[str, int]:
        """Counts for metrics."""
        return {"starting": len(self._waiting)}

    async def start(self, directory: Path, spec: ProcessSpec) -> Process:
        """Starts a container whose files live in `directory`. Raises StartError."""
        name = str(directory)
        path = directory / "spec.json"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(spec))
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting[name] = future
        try:
            self._open().send(json.dumps({"op": "start", "id": name}).encode())
            async with asyncio.timeout(30):
                pid = await future
        except (OSError, TimeoutError) as error:
            raise StartError(f"the container's shim did not start: {error or 'no answer in 30 s'}") from error
        finally:
            self._waiting.pop(name, None)
            path.unlink(missing_ok=True)
        return Process(directory, spec.socket, pid)

    async def execute(self, request: dict[str, Any], streams: tuple[int, int, int]) -> "Command":
        """Runs a command in a container (`rootfs.exec_request`). streams: its stdin, stdout and stderr, which this
        process keeps open copies of until the caller closes them. Raises StartError."""
        status, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            try:
                socket.send_fds(self._open(), [json.dumps(request).encode()], [*streams, theirs.fileno()])
            except OSError as error:
                status.close()
                raise StartError(f"the command could not be handed over: {error}") from error
        status.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=status)
        command = Command(reader, writer)
        await command.started()
        return command

    def close(self) -> None:
        """Lets the forking parent end; running containers stay."""
        if self._channel is not None:
            asyncio.get_running_loop().remove_reader(self._channel.fileno())
            self._channel.close()
            self._channel = None
        if self._parent is not None:
            self._parent.wait()
            self._parent = None

    def _open(self) -> socket.socket:
        if self._parent is not None and self._parent.poll() is not None:
            self.close()
        if self._channel is not None:
            return self._channel
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._parent = subprocess.Popen(
                ["/usr/bin/python3", "-I", "-S", "-c", _PARENT],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                start_new_session=True,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            )
        ours.setblocking(False)
        asyncio.get_running_loop().add_reader(ours.fileno(), self._receive)
        self._channel = ours
        return ours

    def _receive(self) -> None:
        assert self._channel is not None
        try:
            message = self._channel.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if not message:  # it died; the next start finds out and makes a new one
            asyncio.get_running_loop().remove_reader(self._channel.fileno())
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(StartError("the process that starts containers ended"))
            return
        reply = json.loads(message)
        future_of = self._waiting.get(reply["id"])
        if future_of is None or future_of.done():
            return
        if "error" in reply:
            future_of.set_exception(StartError(reply["error"]))
        else:
            future_of.set_result(reply["pid"])


class Command:
    """A command that runs in a container by way of `execute`; closing it ends the command."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def started(self) -> None:
        """Returns once the command's process exists. Raises StartError with the reason otherwise."""
        reply = await self._read()
        if "pid" not in reply:
            self.close()
            raise StartError(reply.get("error", "the command did not start"))

    async def wait(self) -> int:
        """The exit code, 128 + number after a signal."""
        reply = await self._read()
        self.close()
        return int(reply.get("exitCode", 137))

    def close(self) -> None:
        """Lets go; a command that still runs is killed."""
        self._writer.close()

    async def _read(self) -> dict[str, Any]:
        try:
            line = await self._reader.readline()
            return dict(json.loads(line)) if line else {}
        except (OSError, ValueError):
            return {}
