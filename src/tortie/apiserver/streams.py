"""Logs, exec, attach and port-forward: passed through to the kubelet of the pod's node.

In: requests on pod subresources. Out: the kubelet's answer, streamed; WebSocket messages and the bytes of SPDY (which
kubectl before 1.31 speaks) copied both ways unchanged.
"""

import asyncio
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

import aiohttp
from aiohttp import web

from tortie.apiserver import errors, objects
from tortie.apiserver.context import Call, Context
from tortie.apiserver.errors import StatusError
from tortie.service import upgrade

if TYPE_CHECKING:
    from tortie.apiserver.http import Api

Object = dict[str, Any]
KUBELET_PORT = 10250
_VERSIONS = "X-Stream-Protocol-Version"
_PATHS = {"exec": "exec", "attach": "attach", "portforward": "portForward"}


def _tls(context: Context) -> ssl.SSLContext:
    tls = ssl.create_default_context(cafile=str(context.pki.ca))
    tls.check_hostname = False  # kubelets are reached by address; the CA alone identifies them
    tls.load_cert_chain(*context.pki.pair("apiserver-kubelet-client"))
    return tls


def _pod(call: Call) -> Object:
    pod = call.context.read("/pods", call.info.namespace, call.info.name)
    if pod is None:
        raise errors.not_found("", "pods", call.info.name)
    return pod


def kubelet(call: Call, pod: Object) -> str:
    """https://ADDRESS:PORT of the pod's kubelet. Raises StatusError."""
    node_name = objects.get(pod, "spec", "nodeName")
    if not node_name:
        raise errors.bad_request(f"pod {call.info.name} does not have a host assigned")
    node = call.context.read("/nodes", "", node_name)
    if node is None:
        raise errors.not_found("", "nodes", node_name)
    port = objects.get(node, "status", "daemonEndpoints", "kubeletEndpoint", "Port") or KUBELET_PORT
    for kind in ("InternalIP", "ExternalIP", "Hostname"):
        for address in objects.get(node, "status", "addresses") or ():
            if address.get("type") == kind:
                host = str(address["address"])
                return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    raise errors.internal(f"no preferred addresses found for node {node_name}; known addresses: []")


def container(call: Call, pod: Object) -> str:
    """The container that the request means. Raises StatusError 400."""
    spec = pod["spec"]
    names = [c["name"] for key in ("containers", "initContainers", "ephemeralContainers") for c in spec.get(key) or ()]
    wanted = call.query.get("container", "")
    if not wanted:
        if len(names) == 1:
            return str(names[0])
        default = (pod["metadata"].get("annotations") or {}).get("kubectl.kubernetes.io/default-container")
        if default in names:
            return str(default)
        main = [c["name"] for c in spec.get("containers") or ()]
        if len(main) == 1 and call.info.subresource == "log":
            return str(main[0])
        raise errors.bad_request(
            f"a container name must be specified for pod {call.info.name}, choose one of: [{' '.join(names)}]"
        )
    if wanted not in names:
        raise errors.bad_request(f"container {wanted} is not valid for pod {call.info.name}")
    return wanted


def _unreachable(base: str, error: Exception) -> StatusError:
    return errors.internal(
        f"error dialing backend: cannot reach the kubelet at {base}: {error or type(error).__name__}"
    )


async def log(call: Call, request: web.Request, api: "Api") -> web.StreamResponse:
    """Streams a container's log."""
    pod = _pod(call)
    name = container(call, pod)
    base = kubelet(call, pod)
    path = f"/containerLogs/{quote(call.info.namespace)}/{quote(call.info.name)}/{quote(name)}"
    query = urlencode(
        [(k, v) for k, v in request.query.items() if k not in {"container", "insecureSkipTLSVerifyBackend"}]
    )
    timeout = aiohttp.ClientTimeout(total=None, connect=10)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        try:
            answer = await session.get(f"{base}{path}?{query}", ssl=_tls(call.context))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unreachable(base, error) from None
        async with answer:
            if answer.status != 200:
                text = (await answer.text()).strip()
                if answer.status in {400, 404}:
                    raise errors.bad_request(text or f"the kubelet has no log of container {name}")
                raise errors.internal(f"the kubelet at {base} answered {answer.status}: {text}")
            response = web.StreamResponse(headers={"Content-Type": "text/plain"})
            response.enable_chunked_encoding()
            await response.prepare(request)
            try:
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
            except (ConnectionError, aiohttp.ClientError):
                return response
            return response


async def connect(call: Call, request: web.Request, api: "Api") -> web.StreamResponse:
    """Proxies a WebSocket or SPDY connection to the kubelet: exec, attach, port-forward."""
    spdy = upgrade.asks_for(request, "SPDY/3.1")
    if not spdy and not upgrade.asks_for(request, "websocket"):
        raise errors.bad_request(f"unable to upgrade: {call.info.subresource} needs a WebSocket or SPDY/3.1 connection")
    pod = _pod(call)
    base = kubelet(call, pod)
    path = f"/{_PATHS[call.info.subresource]}/{quote(call.info.namespace)}/{quote(call.info.name)}"
    if call.info.subresource != "portforward":
        if objects.get(pod, "status", "phase") in {"Succeeded", "Failed"}:
            raise errors.bad_request(
                f"cannot exec into a container in a completed pod; current phase is {pod['status']['phase']}"
            )
        path += f"/{quote(container(call, pod))}"
    query = urlencode([(k, v) for k, v in request.query.items() if k != "container"])
    if spdy:
        return await _connect_spdy(call, request, base, f"{path}?{query}")
    wanted = [p.strip() for p in request.headers.get("Sec-WebSocket-Protocol", "").split(",") if p.strip()]
    timeout = aiohttp.ClientTimeout(total=None, connect=10)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        try:
            backend = await session.ws_connect(
                f"{base}{path}?{query}", protocols=wanted, ssl=_tls(call.context), max_msg_size=0, autoclose=False,
                autoping=False,
            )  # fmt: skip
        except aiohttp.WSServerHandshakeError as error:
            raise StatusError(
                error.status if error.status >= 400 else 500,
                "NotFound" if error.status == 404 else "InternalError",
                f"the kubelet at {base} refused the {call.info.subresource}: {error.message}",
            ) from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unreachable(base, error) from None
        client = web.WebSocketResponse(
            protocols=[backend.protocol] if backend.protocol else (), max_msg_size=0, autoclose=False, autoping=False,
            compress=False,
        )  # fmt: skip
        await client.prepare(request)
        await _copy_both(client, backend)
        return client


async def _connect_spdy(call: Call, request: web.Request, base: str, target: str) -> web.StreamResponse:
    """The same for SPDY: the kubelet's answer to the upgrade, then bytes both ways."""
    address = urlsplit(base)
    lines = [f"POST {target} HTTP/1.1", f"Host: {address.netloc}", "Connection: Upgrade", "Upgrade: SPDY/3.1"]
    lines += [f"{_VERSIONS}: {value}" for value in request.headers.getall(_VERSIONS, []) if value.isascii()]
    try:
        async with asyncio.timeout(10):
            back, to_kubelet = await asyncio.open_connection(address.hostname, address.port, ssl=_tls(call.context))
            to_kubelet.write("\r\n".join(lines).encode() + b"\r\nContent-Length: 0\r\n\r\n")
            head = await back.readuntil(b"\r\n\r\n")
    except (OSError, EOFError) as error:
        raise _unreachable(base, error) from None
    try:
        status = int(head.split(b" ", 2)[1])
        if status != 101:
            text = (await back.read(4096)).decode(errors="replace").strip()
            reason = "NotFound" if status == 404 else "InternalError"
            raise StatusError(status, reason, f"the kubelet at {base} refused the {call.info.subresource}: {text}")
        client, to_client = upgrade.take_over(request)
        to_client.write(head)
        await upgrade.both_ways(client, to_client, back, to_kubelet)
    finally:
        to_kubelet.close()
    return web.Response()


async def _copy_both(client: web.WebSocketResponse, backend: aiohttp.ClientWebSocketResponse) -> None:
    """Copies until both sides said goodbye, or one is gone."""
    tasks = {
        asyncio.create_task(_copy(client, backend), name="client to kubelet"),
        asyncio.create_task(_copy(backend, client), name="kubelet to client"),
    }
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.exception()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await backend.close()
        await client.close()


async def _copy(source: Any, target: Any) -> None:
    while True:
        message = await source.receive()
        match message.type:
            case aiohttp.WSMsgType.BINARY:
                await target.send_bytes(message.data)
            case aiohttp.WSMsgType.TEXT:
                await target.send_str(message.data)
            case aiohttp.WSMsgType.PING:
                await target.ping(message.data)
            case aiohttp.WSMsgType.PONG:
                await target.pong(message.data)
            case aiohttp.WSMsgType.CLOSE:
                await target.close(code=message.data or 1000, message=(message.extra or "").encode())
                return
            case _:
                return
