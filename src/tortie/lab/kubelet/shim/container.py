"""One small process per container that outlives the kubelet.

In: `spec.json` in the container's directory, from the kubelet's `runtime`. Out: the running command, its log, a control
socket (wait, signal, attach), and at the end `exit.json`. Imports next to nothing: there is one of these per container.
"""

import contextlib
import errno
import fcntl
import json
import os
import select
import signal
import socket
import struct
import termios
import time
from typing import Any

from tortie.lab.kubelet.shim.log import Log, timestamp, write_atomically

CHUNK = 65536
CLIENT_LIMIT = 4 * 1024 * 1024

# Frames on an attached connection: one byte of type, four of length (big-endian), payload.
FRAME = struct.Struct(">BI")
STDIN, STDOUT, STDERR, RESIZE, STDIN_CLOSE = 0, 1, 2, 4, 255


def _first_child(pid: int) -> int:
    """The oldest child of a process, 0 without one."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:  # noqa: PTH123  # no pathlib here
            return int((file.read().split() or ["0"])[0])
    except OSError:
        return 0


class Client:
    """A connection to the control socket. role: new, wait, or attach."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.role = "new"
        self.stdin = False
        self.inbox = bytearray()
        self.outbox = bytearray()


class Shim:
    """Runs one container. spec: argv, args (for bwrap's --args descriptor), tty, stdin, stdin_once, socket, log."""

    def __init__(self, directory: str, spec: dict[str, Any]) -> None:
        self._directory = directory
        self._spec = spec
        self._log = Log(spec["log"])
        self._poll = select.poll()
        self._clients: dict[int, Client] = {}
        self._outputs: dict[int, str] = {}
        self._stdin: int | None = None
        self._stdin_buffer = bytearray()
        self._terminal: int | None = None
        self._status: int | None = None
        self._init_pid = 0
        self._attached_once = False

    # starting ---------------------------------------------------------------------------------------------------

    def start(self) -> int:
        """Starts the command and returns the pid of the first process of its PID namespace; 0 if it died at once."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._spec["socket"])  # noqa: PTH108  # no pathlib here
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        mask = os.umask(0o177)
        self._listener.bind(self._spec["socket"])
        os.umask(mask)
        self._listener.listen(64)
        self._listener.setblocking(False)
        stdin, stdout, stderr = self._open_streams()
        status_read, status_write = os.pipe2(os.O_CLOEXEC)
        arguments = os.memfd_create("arguments", 0)
        os.write(arguments, b"".join(text.encode() + b"\0" for text in self._spec["args"]))
        os.lseek(arguments, 0, os.SEEK_SET)
        self._child = os.fork()
        if self._child == 0:
            self._become_container(stdin, stdout, stderr, arguments, status_write)
        for descriptor in {stdin, stdout, stderr, arguments, status_write}:
            os.close(descriptor)
        self._status = status_read
        self._init_pid = self._read_init_pid()
        return self._init_pid

    def _open_streams(self) -> tuple[int, int, int]:
        spec = self._spec
        if spec["tty"]:
            self._terminal, inner = os.openpty()
            os.set_inheritable(self._terminal, False)
            self._outputs[self._terminal] = "stdout"
            if spec["stdin"]:
                self._stdin = self._terminal
            return inner, inner, inner
        if spec["stdin"]:
            stdin, self._stdin = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(self._stdin, False)
        else:
            stdin = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        out_read, out_write = os.pipe2(os.O_CLOEXEC)
        err_read, err_write = os.pipe2(os.O_CLOEXEC)
        self._outputs[out_read] = "stdout"
        self._outputs[err_read] = "stderr"
        return stdin, out_write, err_write

    def _become_container(self, stdin: int, stdout: int, stderr: int, arguments: int, status: int) -> None:
        try:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            os.setsid()
            if self._spec["tty"]:
                fcntl.ioctl(stdin, termios.TIOCSCTTY, 0)
            # Numbers above the standard three, so that no duplicate overwrites a source that is still needed.
            moved = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, 10) for descriptor in (stdin, stdout, stderr)]
            for target, descriptor in enumerate(moved):
                os.dup2(descriptor, target)
                os.close(descriptor)
            moved = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, 10) for descriptor in (arguments, status)]
            for target, descriptor in zip((3, 4), moved, strict=True):
                os.dup2(descriptor, target)
            os.closerange(5, 1024)
            os.chdir("/")
            argv = self._spec["argv"]
            os.execve(argv[0], argv, {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})  # noqa: S606  # the kubelet's own words
        except BaseException as error:  # nothing above may run twice
            os.write(2, f"cannot start the container: {error}\n".encode())
        os._exit(128)

    def _read_init_pid(self) -> int:
        """Waits for bwrap's first status line, which names the child."""
        assert self._status is not None
        text = b""
        while b"\n" not in text:
            chunk = os.read(self._status, 4096)
            if not chunk:
                return 0
            text += chunk
        pid = int(json.loads(text.split(b"\n", 1)[0])["child-pid"])
        # The line comes before the file system is in place; the first child of that process comes after.
        for _ in range(10000):
            if _first_child(pid) or os.waitid(os.P_PID, self._child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                break
            time.sleep(0.0005)
        return pid

    # running ----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serves until the command has ended; then writes exit.json and closes every connection."""
        wake_read, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._poll.register(wake_read, select.POLLIN)
        self._poll.register(self._listener, select.POLLIN)
        for descriptor in self._outputs:
            os.set_blocking(descriptor, False)
            self._poll.register(descriptor, select.POLLIN)
        status = self._reap()
        while status is None:
            for descriptor, event in self._poll.poll():
                if descriptor == wake_read:
                    with contextlib.suppress(BlockingIOError):
                        os.read(wake_read, 4096)
                elif descriptor == self._listener.fileno():
                    self._accept()
                elif descriptor in self._outputs:
                    self._read_output(descriptor)
                elif descriptor in self._clients:
                    self._serve(self._clients[descriptor], event)
                elif descriptor == self._stdin:
                    self._flush_stdin()
            status = self._reap()
        self._finish(status)

    def _reap(self) -> int | None:
        pid, status = os.waitpid(self._child, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else None

    def _finish(self, code: int) -> None:
        for descriptor in list(self._outputs):
            while descriptor in self._outputs and self._read_output(descriptor):
                pass
        self._log.finish()
        # bwrap reports a signal as 128 + number; its own death by a signal (die-with-parent, kill) looks alike.
        code = 128 - code if code < 0 else code
        with contextlib.suppress(OSError):
            write_atomically(f"{self._directory}/exit.json", {"exitCode": code, "finishedAt": timestamp()})
        with contextlib.suppress(OSError):
            os.unlink(self._spec["socket"])  # noqa: PTH108  # no pathlib here
        for client in list(self._clients.values()):
            client.connection.setblocking(True)
            client.connection.settimeout(2)
            with contextlib.suppress(OSError):
                client.connection.sendall(client.outbox)
            self._drop(client)

    def _read_output(self, descriptor: int) -> bool:
        """Passes on one chunk. Returns whether there may be more at once."""
        stream = self._outputs[descriptor]
        try:
            data = os.read(descriptor, CHUNK)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno != errno.EIO:  # EIO: the terminal's other side is closed
                raise
            data = b""
        if not data:
            self._poll.unregister(descriptor)
            del self._outputs[descriptor]
            if descriptor != self._stdin:
                os.close(descriptor)
            return False
        self._log.write(stream, data)
        kind = STDOUT if stream == "stdout" else STDERR
        for client in list(self._clients.values()):
            if client.role == "attach":
                client.outbox += FRAME.pack(kind, len(data)) + data
                self._flush(client)
        return True

    # connections ------------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            connection, _ = self._listener.accept()
            connection.setblocking(False)
            self._clients[connection.fileno()] = Client(connection)
            self._poll.register(connection, select.POLLIN)

    def _drop(self, client: Client) -> None:
        descriptor = client.connection.fileno()
        if self._clients.pop(descriptor, None) is None:
            return
        self._poll.unregister(descriptor)
        client.connection.close()
        if client.role == "attach" and client.stdin and self._spec["stdin_once"]:
            self._close_stdin()

    def _flush(self, client: Client) -> None:
        try:
            while client.outbox:
                del client.outbox[: client.connection.send(client.outbox)]
        except BlockingIOError:
            pass
        except OSError:
            self._drop(client)
            return
        if len(client.outbox) > CLIENT_LIMIT:
            self._drop(client)
            return
        self._poll.modify(client.connection, select.POLLIN | (select.POLLOUT if client.outbox else 0))

    def _serve(self, client: Client, event: int) -> None:
        if event & select.POLLOUT:
            self._flush(client)
        if not event & (select.POLLIN | select.POLLHUP | select.POLLERR) or client.connection.fileno() < 0:
            return
        try:
            data = client.connection.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(client)
            return
        client.inbox += data
        if client.role == "attach":
            self._take_frames(client)
        while client.role != "attach" and b"\n" in client.inbox:
            line, _, rest = client.inbox.partition(b"\n")
            client.inbox = bytearray(rest)
            self._command(client, json.loads(line))

    def _command(self, client: Client, command: dict[str, Any]) -> None:
        operation = command["op"]
        reply: dict[str, Any] = {"ok": True, "pid": self._init_pid}
        if operation == "wait":
            client.role = "wait"
        elif operation == "attach":
            client.role = "attach"
            client.stdin = bool(command.get("stdin")) and self._stdin is not None
            reply["stdin"] = client.stdin
        elif operation == "signal":
            self._signal(int(command["signal"]), everything=command.get("target") == "all")
        else:
            reply = {"ok": False, "error": f"unknown operation {operation!r}; known: wait, attach, signal"}
        client.outbox += json.dumps(reply).encode() + b"\n"
        self._flush(client)
        if client.role == "attach" and client.inbox:
            self._take_frames(client)

    def _signal(self, number: int, *, everything: bool) -> None:
        """To the command itself, or to the first process of its namespace: its end is the end of all others."""
        with contextlib.suppress(OSError):
            if everything or not self._init_pid:
                os.kill(self._init_pid or self._child, number)
                return
            os.kill(_first_child(self._init_pid) or self._init_pid, number)

    def _take_frames(self, client: Client) -> None:
        inbox = client.inbox
        while len(inbox) >= FRAME.size:
            kind, length = FRAME.unpack_from(inbox)
            if len(inbox) < FRAME.size + length:
                return
            payload = bytes(inbox[FRAME.size : FRAME.size + length])
            del inbox[: FRAME.size + length]
            if kind == STDIN and client.stdin:
                self._stdin_buffer += payload
                self._flush_stdin()
            elif kind == STDIN_CLOSE and client.stdin and self._spec["stdin_once"]:
                self._close_stdin()
            elif kind == RESIZE and self._terminal is not None:
                size = json.loads(payload)
                packed = struct.pack("HHHH", int(size["Height"]), int(size["Width"]), 0, 0)
                with contextlib.suppress(OSError):
                    fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, packed)

    # standard input -----------------------------------------------------------------------------------------------

    def _flush_stdin(self) -> None:
        """Writes what the command takes; the rest waits until it reads again."""
        if self._stdin is None:
            self._stdin_buffer.clear()
            return
        try:
            while self._stdin_buffer:
                del self._stdin_buffer[: os.write(self._stdin, self._stdin_buffer)]
        except BlockingIOError:
            pass
        except OSError:
            self._stdin_buffer.clear()
            self._stdin_closing = True
        waiting = bool(self._stdin_buffer)
        if self._stdin == self._terminal:
            if self._stdin in self._outputs:
                self._poll.modify(self._stdin, select.POLLIN | (select.POLLOUT if waiting else 0))
        elif waiting:
            self._poll.register(self._stdin, select.POLLOUT)
        else:
            with contextlib.suppress(KeyError):
                self._poll.unregister(self._stdin)
            if self._stdin_closing:
                os.close(self._stdin)
                self._stdin = None

    _stdin_closing = False

    def _close_stdin(self) -> None:
        if self._stdin is None or self._stdin_closing:
            return
        if self._stdin == self._terminal:
            self._stdin_buffer += b"\x04"  # end of file, as a person would type it
        else:
            self._stdin_closing = True
        self._flush_stdin()


def run(directory: str, channel: socket.socket) -> None:
    """The life of a shim: start, tell the kubelet, serve, write the end."""
    spec_path = f"{directory}/spec.json"
    try:
        with open(spec_path, encoding="utf-8") as file:  # noqa: PTH123  # no pathlib here
            spec = json.load(file)
        os.unlink(spec_path)  # noqa: PTH108  # it may hold secrets
        shim = Shim(directory, spec)
        reply = {"id": directory, "pid": shim.start()}
    except Exception as error:
        channel.send(json.dumps({"id": directory, "error": f"{type(error).__name__}: {error}"}).encode())
        raise
    with contextlib.suppress(OSError):
        channel.send(json.dumps(reply).encode())
    channel.close()
    try:
        shim.run()
    except BaseException as error:
        with contextlib.suppress(OSError):
            write_atomically(f"{directory}/shim-error.json", {"error": repr(error), "time": timestamp()})
        raise
