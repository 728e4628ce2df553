"""The kubelet's HTTPS server on port 10250: logs, exec, attach, port-forward, pods, health, metrics.

In: requests of the API server, known by its client certificate. Out: answers from the pods' units; upgraded connections
are handed to `execution` and `portforward`.
"""

import asyncio
import contextlib
import datetime
import ssl
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from tortie.kube import config as kube_config
from tortie.lab.kubelet import execution, launch, logs, portforward, tls
from tortie.lab.kubelet.manager import Manager
from tortie.lab.kubelet.runtime import Runtime
from tortie.lab.kubelet.streams import RawTunnel, SpdyStreams, StreamName, WebSocketStreams, WebSocketTunnel
from tortie.lab.kubelet.unit import Unit
from tortie.lab.kubelet.worker import Worker
from tortie.service import upgrade

_EXEC_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_TUNNEL_PROTOCOL = "SPDY/3.1+portforward.k8s.io"
_FORWARD_PROTOCOLS = (_TUNNEL_PROTOCOL, "v4.channel.k8s.io")
_SPDY_EXEC_PROTOCOLS = ("v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")
_STANDARD: tuple[StreamName, ...] = ("stdin", "stdout", "stderr")
_TRUE = ("1", "true", "True", "")


class Listen(msgspec.Struct, frozen=True, kw_only=True):
    """Where and with which certificates; without a certificate a self-signed one is made below root_dir."""

    address: str
    port: int
    certificate: Path | None
    key: Path | None
    client_ca: Path | None
    root_dir: Path
    kubeconfig: Path


class Missing(Exception):
    """No such pod or container here, or not in a state for what was asked; status: the HTTP one."""

    def __init__(self, message: str, status: int = 404) -> None:
        super().__init__(message)
        self.status = status


async def serve(manager: Manager, runtime: Runtime, listen: Listen) -> None:
    """Serves until cancelled. Raises OSError when the port is taken."""
    context = _tls_context(listen)
    handlers = Handlers(manager, runtime)
    application = web.Application(middlewares=[_only_the_api_server])
    application.add_routes(handlers.routes())
    runner = web.AppRunner(application, access_log=None, handle_signals=False)
    await runner.setup()
    site = web.TCPSite(runner, listen.address or None, listen.port, ssl_context=context, reuse_address=True)
    try:
        await site.start()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def _tls_context(listen: Listen) -> ssl.SSLContext:
    certificate, key = listen.certificate, listen.key
    if certificate is None or key is None:
        certificate, key = tls.self_signed(listen.root_dir / "pki")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    context.verify_mode = ssl.CERT_REQUIRED
    if listen.client_ca is not None:
        context.load_verify_locations(cafile=str(listen.client_ca))
        return context
    authority = kube_config.load(str(listen.kubeconfig)).ca
    if isinstance(authority, bytes):
        context.load_verify_locations(cadata=authority.decode("ascii"))
    elif authority is not None:
        context.load_verify_locations(cafile=str(authority))
    return context


@web.middleware
async def _only_the_api_server(request: web.Request, handler: Any) -> web.StreamResponse:
    certificate = request.transport.get_extra_info("peercert") if request.transport is not None else None
    if not tls.is_api_server(certificate):
        return web.Response(status=403, text="Forbidden: only the API server's client certificate is accepted\n")
    try:
        response: web.StreamResponse = await handler(request)
    except Missing as error:
        return web.Response(status=error.status, text=f"{error}\n")
    return response


class Handlers:
    """Answers; one method for each kind of request."""

    def __init__(self, manager: Manager, runtime: Runtime) -> None:
        self._manager = manager
        self._runtime = runtime

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/healthz", self._healthz),
            web.get("/pods", self._pods),
            web.get("/metrics", self._metrics),
            web.get("/containerLogs/{namespace}/{pod}/{container}", self._logs),
            *_both("/exec/{namespace}/{pod}/{container}", self._exec),
            *_both("/exec/{namespace}/{pod}", self._exec),
            *_both("/attach/{namespace}/{pod}/{container}", self._attach),
            *_both("/attach/{namespace}/{pod}", self._attach),
            *_both("/portForward/{namespace}/{pod}", self._forward),
        ]

    # small ones --------------------------------------------------------------------------------------------------

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def _pods(self, _request: web.Request) -> web.Response:
        items = [
            {**msgspec.to_builtins(worker.pod), "status": msgspec.to_builtins(worker.status())}
            for worker in self._manager.workers()
        ]
        body = msgspec.json.encode({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})
        return web.Response(body=body, content_type="application/json")

    async def _metrics(self, _request: web.Request) -> web.Response:
        numbers = {**self._manager.statistics(), **self._runtime.statistics()}
        lines = [f"# TYPE kubelet_{name} gauge\nkubelet_{name} {value}\n" for name, value in numbers.items()]
        return web.Response(text="".join(lines))

    # logs --------------------------------------------------------------------------------------------------------

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        worker, unit = await self._find(request.match_info)
        query = request.query
        record = unit.record
        if record is None:
            reason = unit.waiting.reason or "ContainerCreating"
            text = f'container "{unit.spec.name}" in pod "{worker.pod.metadata.name}" is waiting to start: {reason}'
            raise Missing(text, 400)
        previous = query.get("previous", "false") in _TRUE
        attempt = record.attempt - 1 if previous else record.attempt
        path = launch.log_path(worker.directory / "containers" / unit.spec.name, attempt)
        if attempt < 0 or not path.exists():
            name = unit.spec.name
            raise Missing(f'previous terminated container "{name}" in pod "{worker.pod.metadata.name}" not found', 400)
        options = _log_options(query)
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        response.enable_chunked_encoding()
        await response.prepare(request)

        def running() -> bool:
            return unit.running and unit.record is record and not previous

        with contextlib.suppress(ConnectionError):
            async for chunk in logs.read(path, options, running):
                await response.write(chunk)
            await response.write_eof()
        return response

    # streams -----------------------------------------------------------------------------------------------------

    async def _exec(self, request: web.Request) -> web.StreamResponse:
        _, unit = await self._find(request.match_info)
        ask = _ask(request.query)
        if not ask.command:
            raise Missing("query parameter `command` is missing: the command to run", 400)
        if upgrade.asks_for(request, "SPDY/3.1"):
            return await self._spdy(request, unit, attach=False)
        socket = await _websocket(request, _EXEC_PROTOCOLS)
        streams = WebSocketStreams(socket)
        await streams.greet("stdout")
        await execution.execute(unit, ask, streams, self._runtime)
        return socket

    async def _attach(self, request: web.Request) -> web.StreamResponse:
        _, unit = await self._find(request.match_info)
        ask = _ask(request.query)
        if upgrade.asks_for(request, "SPDY/3.1"):
            return await self._spdy(request, unit, attach=True)
        socket = await _websocket(request, _EXEC_PROTOCOLS)
        streams = WebSocketStreams(socket)
        await streams.greet("stdout")
        await execution.attach(unit, ask, streams)
        return socket

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        worker = await self._worker(request.match_info)
        netns = _netns(worker)
        if upgrade.asks_for(request, "SPDY/3.1"):
            return await self._spdy_forward(request, netns)
        socket = await _websocket(request, _FORWARD_PROTOCOLS)
        if socket.ws_protocol == _TUNNEL_PROTOCOL:
            await portforward.SpdyForwarder(WebSocketTunnel(socket), netns).run()
            return socket
        values = [*request.query.getall("ports", []), *request.query.getall("port", [])]
        ports = [int(text) for value in values for text in value.split(",") if text.isdigit()]
        await portforward.serve_channels(socket, netns, ports)
        return socket

    # SPDY, as kubectl before 1.31 speaks it ------------------------------------------------------------------------

    async def _spdy(self, request: web.Request, unit: Unit, *, attach: bool) -> web.StreamResponse:
        ask = _ask(request.query)
        offered = _protocols(request)
        chosen = next((name for name in _SPDY_EXEC_PROTOCOLS if name in offered), None)
        if chosen is None:
            raise Missing(f"none of {offered} is one of {', '.join(_SPDY_EXEC_PROTOCOLS)}", 403)
        reader, writer = upgrade.take_over(request)
        streams = SpdyStreams(RawTunnel(reader, writer))
        expected: set[StreamName] = {"error"}
        expected |= {name for name in _STANDARD if getattr(ask, name)}
        try:
            _switch(writer, chosen)
            await streams.open(expected)
            if attach:
                await execution.attach(unit, ask, streams)
            else:
                await execution.execute(unit, ask, streams, self._runtime)
        except (ConnectionError, TimeoutError):
            pass  # the client went away
        finally:
            writer.close()
        return web.Response()

    async def _spdy_forward(self, request: web.Request, netns: Path | None) -> web.StreamResponse:
        reader, writer = upgrade.take_over(request)
        try:
            _switch(writer, "portforward.k8s.io")
            await portforward.SpdyForwarder(RawTunnel(reader, writer), netns).run()
        except ConnectionError:
            pass  # the client went away
        finally:
            writer.close()
        return web.Response()

    # finding -----------------------------------------------------------------------------------------------------

    async def _worker(self, info: Any) -> Worker:
        try:
            await self._manager.wait_synced()
        except TimeoutError:
            raise Missing("the kubelet does not know its pods yet: the API server has not told", 503) from None
        worker = self._manager.find(info["namespace"], info["pod"])
        if worker is None:
            raise Missing(f'pod "{info["namespace"]}/{info["pod"]}" does not run on this node')
        return worker

    async def _find(self, info: Any) -> tuple[Worker, Unit]:
        worker = await self._worker(info)
        name = info.get("container") or worker.pod.spec.containers[0].name
        unit = worker.unit(name)
        if unit is None:
            names = ", ".join(unit.spec.name for unit in worker.units)
            raise Missing(f'container "{name}" is not one of the pod\'s: {names}')
        return worker, unit


def _both(path: str, handler: Any) -> list[web.RouteDef]:
    return [web.get(path, handler), web.post(path, handler)]


def _netns(worker: Worker) -> Path | None:
    state = worker.sandbox
    if state is None:
        raise Missing(f"pod {worker.pod.key} has no sandbox yet", 400)
    return Path(state.netns) if state.netns else None


def _protocols(request: web.Request) -> list[str]:
    """The stream protocols that a SPDY client offers."""
    lines = request.headers.getall("X-Stream-Protocol-Version", [_SPDY_EXEC_PROTOCOLS[-1]])
    return [name.strip() for line in lines for name in line.split(",")]


def _switch(writer: asyncio.StreamWriter, protocol: str) -> None:
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
        b"X-Stream-Protocol-Version: " + protocol.encode() + b"\r\n\r\n"
    )


async def _websocket(request: web.Request, protocols: tuple[str, ...]) -> web.WebSocketResponse:
    if request.headers.get("Upgrade", "").lower() != "websocket":
        raise Missing("unable to upgrade: expected a WebSocket or SPDY/3.1 request", 400)
    socket = web.WebSocketResponse(protocols=protocols, max_msg_size=0, compress=False, heartbeat=None)
    await socket.prepare(request)
    return socket


def _ask(query: Any) -> execution.Ask:
    """The API's parameter names, and the kubelet's own (input, output, error)."""

    def flag(*names: str) -> bool:
        return any(query.get(name, "false") in _TRUE for name in names)

    tty = flag("tty")
    return execution.Ask(
        command=list(query.getall("command", [])),
        stdin=flag("stdin", "input"),
        stdout=flag("stdout", "output"),
        stderr=flag("stderr", "error") and not tty,
        tty=tty,
    )


def _log_options(query: Any) -> logs.Options:
    def number(name: str) -> int | None:
        text = query.get(name)
        if text is None:
            return None
        if not text.isdigit():
            raise Missing(f"query parameter {name}={text!r} must be a number of 0 or more", 400)
        return int(text)

    since = query.get("sinceTime", "")
    seconds = number("sinceSeconds")
    if seconds is not None:
        moment = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=seconds)
        since = moment.strftime("%Y-%m-%dT%H:%M:%S.%f") + "Z"
    elif since:
        try:
            moment = datetime.datetime.fromisoformat(since.replace("Z", "+00:00")).astimezone(datetime.UTC)
        except ValueError:
            raise Missing(
                f"query parameter sinceTime={since!r} must be a time such as 2024-05-01T10:00:00Z", 400
            ) from None
        since = moment.strftime("%Y-%m-%dT%H:%M:%S.%f") + "Z"
    stream = query.get("stream", "")
    return logs.Options(
        follow=query.get("follow", "false") in _TRUE,
        tail=number("tailLines"),
        since=since,
        timestamps=query.get("timestamps", "false") in _TRUE,
        limit=number("limitBytes"),
        stream={"Stdout": "stdout", "Stderr": "stderr"}.get(stream, ""),
    )
