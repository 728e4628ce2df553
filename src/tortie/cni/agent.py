"""The node agent: answers the executables' calls over a Unix socket.

For `tortie cni agent`. In: connections from `calico` and `calico-ipam`, each with one call and the descriptor of the
pod's network namespace. Out: the answer and the exit code. Calls of different pods run at the same time, calls of one
pod one after the other; an agent that is killed leaves nothing that the repeated call does not clean up.
"""

import asyncio
import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from tortie.cni import call as calls
from tortie.cni.attach import Plugin
from tortie.cni.call import CALICO, CALICO_IPAM, Call
from tortie.cni.cluster import Cluster
from tortie.cni.errors import (
    COMMAND_LINE,
    HOST_NAMESPACE,
    INVALID_ENVIRONMENT,
    PLUGIN,
    TRY_AGAIN_LATER,
    CNIError,
    PluginError,
)
from tortie.cni.result import encode
from tortie.kube.errors import ApiError
from tortie.service.log import get_logger

_MAGIC = b"tcni"
_HEADER = 20
_LARGEST = 8 << 20
_SYNC_SECONDS = 60.0
_log = get_logger("cni.agent")


class Agent:
    def __init__(self, plugin: Plugin, cluster: Cluster) -> None:
        self._plugin = plugin
        self._cluster = cluster
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._counts: dict[tuple[str, str], int] = {}
        self._slowest = 0.0

    def statistics(self) -> dict[str, float]:
        return {
            "calls_running": len(self._running),
            "slowest_call_seconds": round(self._slowest, 3),
            **{f"calls_total_{command}_{outcome}": count for (command, outcome), count in self._counts.items()},
            **self._plugin.statistics(),
        }

    async def serve(self, listener: socket.socket) -> None:
        """Accepts until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(listener)
            task = loop.create_task(self._converse(connection), name="cni call")
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def drain(self) -> None:
        """Returns once no call is running."""
        while self._running:
            await asyncio.wait(set(self._running))

    async def _converse(self, connection: socket.socket) -> None:
        descriptors: list[int] = []
        try:
            with connection:
                connection.setblocking(False)
                request = await _receive(connection, descriptors)
                status, out, err = await self._answer(request, descriptors[0] if descriptors else None)
                lengths = (status, len(out), len(err))
                head = b"".join(number.to_bytes(4, "big") for number in lengths)
                await asyncio.get_running_loop().sock_sendall(connection, head + out + err)
        except (OSError, ValueError) as error:
            _log.warning("a call ended early", error=str(error))
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    async def _answer(self, request: "_Request", netns: int | None) -> tuple[int, bytes, bytes]:
        begun = time.perf_counter()
        version = _version_of(request.stdin)
        command = request.environment.get("CNI_COMMAND", "")
        outcome = "ok"
        try:
            try:
                return 0, await self._perform(request, netns), b""
            except (CNIError, asyncio.CancelledError):
                raise
            except ApiError as error:
                raise PluginError(f"the Kubernetes API refused: {error}") from error
            except Exception as error:
                _log.exception("a call failed unexpectedly", command=command)
                raise CNIError(PLUGIN, f"internal error: {error!r}") from error
        except CNIError as error:
            outcome = "error"
            _log.warning(
                "call failed",
                command=command,
                container=request.environment.get("CNI_CONTAINERID", ""),
                code=error.code,
                error=error.message,
            )
            return 1, error.encode(version), b""
        finally:
            self._counts[command, outcome] = self._counts.get((command, outcome), 0) + 1
            self._slowest = max(self._slowest, time.perf_counter() - begun)

    async def _perform(self, request: "_Request", netns: int | None) -> bytes:
        await self._synced()
        if request.arguments:
            return await self._tool(request)
        call = calls.parse(
            plugin=request.name, environment=request.environment, stdin=request.stdin, attempt=request.attempt
        )
        _refuse_own_namespace(call, netns)
        async with _Turn(self._locks, _order_key(call)):
            if call.plugin == CALICO_IPAM:
                return await self._ipam(call)
            if call.plugin != CALICO:
                raise CNIError(INVALID_ENVIRONMENT, f"started as {call.plugin!r}; known are calico and calico-ipam")
            return await self._calico(call, netns)

    async def _calico(self, call: Call, netns: int | None) -> bytes:
        if call.command == "DEL":
            await self._plugin.delete(call, netns)
            return b""
        if netns is None:
            raise PluginError(f"cannot open network namespace {call.netns!r} (CNI_NETNS): it does not exist")
        if call.command == "CHECK":
            await self._plugin.check(call, netns)
            return b""
        return encode(await self._plugin.add(call, netns), call.version)

    async def _ipam(self, call: Call) -> bytes:
        if call.command == "ADD":
            return encode(await self._plugin.ipam_add(call), call.version)
        if call.command == "DEL":
            await self._plugin.ipam_del(call)
        return b""

    async def _tool(self, request: "_Request") -> bytes:
        """`calico -t`: is the datastore readable and ready?"""
        if request.name == CALICO and request.arguments == ["-t"]:
            try:
                await self._cluster.require_ready()
            except CNIError as error:
                raise CNIError(COMMAND_LINE, error.message) from error
            return b""
        raise CNIError(COMMAND_LINE, f"unknown arguments {request.arguments}; known: -v, and for calico -t")

    async def _synced(self) -> None:
        try:
            async with asyncio.timeout(_SYNC_SECONDS):
                await self._cluster.wait_synced()
        except TimeoutError:
            waiting = ", ".join(self._cluster.waiting_for)
            raise CNIError(
                TRY_AGAIN_LATER,
                f"the CNI agent could not read {waiting} from the Kubernetes API within {_SYNC_SECONDS:.0f} s",
                "its log says why: the API is down, or its credentials may not list and watch them",
            ) from None


class _Request(msgspec.Struct, frozen=True):
    name: str
    arguments: list[str]
    environment: dict[str, str]
    stdin: bytes
    attempt: int


class _Turn:
    """Waits until no other call has the same key; forgets the key when nobody wants it any more."""

    def __init__(self, locks: dict[str, tuple[asyncio.Lock, int]], key: str) -> None:
        self._locks = locks
        self._key = key

    async def __aenter__(self) -> None:
        lock, users = self._locks.get(self._key, (None, 0))
        lock = lock or asyncio.Lock()
        self._locks[self._key] = (lock, users + 1)
        try:
            await lock.acquire()
        except BaseException:
            self._leave()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._locks[self._key][0].release()
        self._leave()

    def _leave(self) -> None:
        lock, users = self._locks[self._key]
        if users == 1:
            del self._locks[self._key]
        else:
            self._locks[self._key] = (lock, users - 1)


async def _receive(connection: socket.socket, descriptors: list[int]) -> _Request:
    """One request; descriptors that came with it are appended to the list, whatever happens then."""
    data = b""
    while len(data) < _HEADER or len(data) < _length(data):
        chunk = await _recv(connection, descriptors)
        if not chunk:
            raise ValueError(f"the caller went away after {len(data)} bytes of its request")
        data += chunk
    sizes = [int.from_bytes(data[at : at + 4], "big") for at in (8, 12, 16)]
    name_end = _HEADER + sizes[0]
    environment_end = name_end + sizes[1]
    name, *arguments = data[_HEADER:name_end].decode(errors="surrogateescape").split("\0")
    pairs = data[name_end:environment_end].decode(errors="surrogateescape").split("\0")
    return _Request(
        name=name,
        arguments=arguments,
        environment=dict(pair.split("=", 1) for pair in pairs if "=" in pair),
        stdin=data[environment_end:],
        attempt=int.from_bytes(data[4:8], "big"),
    )


def _length(data: bytes) -> int:
    if not data.startswith(_MAGIC):
        raise ValueError("not a call of the CNI plugin")
    total = _HEADER + sum(int.from_bytes(data[at : at + 4], "big") for at in (8, 12, 16))
    if total > _LARGEST:
        raise ValueError(f"a call of {total} bytes is larger than {_LARGEST}")
    return total


async def _recv(connection: socket.socket, descriptors: list[int]) -> bytes:
    loop = asyncio.get_running_loop()
    while True:
        try:
            data, passed, _, _ = socket.recv_fds(connection, 65536, 4)
        except BlockingIOError:
            ready: asyncio.Future[None] = loop.create_future()
            loop.add_reader(connection, _set, ready)
            try:
                await ready
            finally:
                loop.remove_reader(connection)
            continue
        for descriptor in passed:
            os.set_inheritable(descriptor, False)
        descriptors.extend(passed)
        return data


def _set(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def _order_key(call: Call) -> str:
    namespace, pod = call.arguments.get("K8S_POD_NAMESPACE", ""), call.arguments.get("K8S_POD_NAME", "")
    return f"{namespace}/{pod}" if namespace and pod else call.container_id


def _refuse_own_namespace(call: Call, netns: int | None) -> None:
    if netns is None or call.environment.get("CNI_NETNS_OVERRIDE", "").upper() in ("1", "TRUE"):
        return
    theirs, ours = os.fstat(netns), Path("/proc/self/ns/net").stat()
    if (theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino):
        raise CNIError(HOST_NAMESPACE, "plugin's netns and netns from CNI_NETNS should not be the same", call.netns)


def _version_of(stdin: bytes) -> str:
    """For an error's answer, which needs the version even if nothing else can be read."""
    with suppress(msgspec.DecodeError, UnicodeDecodeError):
        body: Mapping[str, object] = msgspec.json.decode(stdin, type=dict[str, object])
        if isinstance(version := body.get("cniVersion"), str):
            return version
    return ""


def listen(path: Path) -> socket.socket:
    """The agent's socket, for root alone. An old one of an agent that is gone is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    try:
        previous = os.umask(0o177)
        try:
            listener.bind(str(temporary))
        finally:
            os.umask(previous)
        listener.listen(512)
        listener.setblocking(False)
        temporary.rename(path)
    except OSError:
        listener.close()
        temporary.unlink(missing_ok=True)
        raise
    return listener
