"""Logs, exec and port-forward through the API server, against a kubelet that this test plays.

SPDY, and the lab's own kubelet, are tested in the lab's room.
"""

import json
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import WSMsgType, web
from apiserver_http import MERGE, PODS, Http, pod
from tools import ApiServer, free_port

from tortie.apiserver.pki import issue_server_certificate, load_authority

_ASKED: list[str] = []


async def _log(request: web.Request) -> web.StreamResponse:
    _ASKED.append(request.path_qs)
    response = web.StreamResponse()
    await response.prepare(request)
    for number in range(3):
        await response.write(f"line {number}\n".encode())
    return response


async def _exec(request: web.Request) -> web.StreamResponse:
    """Echoes what is typed (channel 0) to the output (channel 1), and ends well (channel 3)."""
    _ASKED.append(request.path_qs)
    peer = request.transport.get_extra_info("peercert") if request.transport else None
    socket = web.WebSocketResponse(protocols=("v5.channel.k8s.io", "v4.channel.k8s.io"))
    await socket.prepare(request)
    subject = dict(rdn[0] for rdn in peer["subject"])["commonName"] if peer else "nobody"
    await socket.send_bytes(b"\x01" + f"hello {subject}\n".encode())
    if request.query.get("stdin") == "true":
        async for message in socket:
            if message.type != WSMsgType.BINARY or message.data[:1] == b"\xff":
                break
            await socket.send_bytes(b"\x01" + message.data[1:])
    await socket.send_bytes(b"\x03" + json.dumps({"status": "Success", "metadata": {}}).encode())
    await socket.close()
    return socket


class _Kubelet:
    """An HTTPS server in a thread."""

    def __init__(self, server: ApiServer, folder: Path) -> None:
        self.port = free_port()
        keys = server.data_dir / "pki"
        pair = issue_server_certificate(load_authority(keys / "ca.crt", keys / "ca.key"), "kubelet", ["127.0.0.1"])
        (folder / "k.crt").write_bytes(pair.certificate)
        (folder / "k.key").write_bytes(pair.key)
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(folder / "k.crt", folder / "k.key")
        self.tls.load_verify_locations(keys / "ca.crt")
        self.tls.verify_mode = ssl.CERT_REQUIRED
        self.started = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        import asyncio

        async def main() -> None:
            self.stop = asyncio.Event()
            self.loop = asyncio.get_running_loop()
            app = web.Application()
            app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", _log)
            app.router.add_get("/exec/{namespace}/{pod}/{container}", _exec)
            runner = web.AppRunner(app)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", self.port, ssl_context=self.tls).start()
            self.started.set()
            await self.stop.wait()
            await runner.cleanup()

        asyncio.run(main())


@pytest.fixture(scope="module")
def http(shared_api_server: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Http]:
    kubelet = _Kubelet(shared_api_server, tmp_path_factory.mktemp("kubelet"))
    kubelet.thread.start()
    assert kubelet.started.wait(10)
    client = Http(shared_api_server)
    client.ok("POST", "/api/v1/nodes", {"metadata": {"name": "n1"}})
    status: dict[str, Any] = {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet.port}},
    }
    client.ok("PATCH", "/api/v1/nodes/n1/status", {"status": status}, content=MERGE)
    client.ok("POST", PODS, pod("p", nodeName="n1"))
    client.ok("PATCH", f"{PODS}/p/status", {"status": {"phase": "Running"}}, content=MERGE)
    yield client
    kubelet.loop.call_soon_threadsafe(kubelet.stop.set)
    kubelet.thread.join(10)


@pytest.mark.parametrize("old", [True, False], ids=["1.20", "newest"])
def test_kubectl_logs_streams_the_kubelets_log(http: Http, old: bool) -> None:
    done = http.server.kubectl("logs", "p", "--tail=3", old=old)
    assert done.stdout == "line 0\nline 1\nline 2\n"
    assert "tailLines=3" in _ASKED[-1]
    assert _ASKED[-1].startswith("/containerLogs/default/p/main?")


def test_kubectl_exec_runs_through_a_websocket(http: Http) -> None:
    done = http.server.kubectl("exec", "p", "--", "echo", "x y")
    assert done.stdout == "hello kube-apiserver-kubelet-client\n"
    assert _ASKED[-1].startswith("/exec/default/p/main?")
    assert "command=echo&command=x+y" in _ASKED[-1]


def test_kubectl_exec_passes_what_is_typed(http: Http) -> None:
    done = http.server.kubectl("exec", "-i", "p", "--", "cat", stdin="some text\n")
    assert done.stdout == "hello kube-apiserver-kubelet-client\nsome text\n"


def test_a_client_without_an_upgrade_is_told_what_would_work(http: Http) -> None:
    refused = http("GET", f"{PODS}/p/exec", query={"command": "true"})
    assert (refused.status, refused.json["reason"]) == (400, "BadRequest")
    assert "needs a WebSocket or SPDY/3.1" in refused.json["message"]


def test_a_missing_container_is_named(http: Http) -> None:
    refused = http("GET", f"{PODS}/p/log", query={"container": "nope"})
    assert (refused.status, refused.json["message"]) == (400, "container nope is not valid for pod p")


def test_an_unplaced_pod_has_no_log(http: Http) -> None:
    http.ok("POST", PODS, pod("unplaced"))
    refused = http("GET", f"{PODS}/unplaced/log")
    assert "does not have a host assigned" in refused.json["message"]


def test_a_kubelet_that_is_away_is_reported(http: Http) -> None:
    http.ok("POST", "/api/v1/nodes", {"metadata": {"name": "away"}})
    status = {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": free_port()}},
    }
    http.ok("PATCH", "/api/v1/nodes/away/status", {"status": status}, content=MERGE)
    http.ok("POST", PODS, pod("far", nodeName="away"))
    refused = http("GET", f"{PODS}/far/log")
    assert refused.status == 500
    assert "cannot reach the kubelet" in refused.json["message"]
