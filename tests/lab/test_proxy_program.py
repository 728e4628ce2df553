"""`tortie lab-proxy` as the lab starts it: the real API server, the real program, a node in a namespace.

What the rules do to packets: test_proxy_kernel.py.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from proxy_world import NODE4, PODS, PORT, ProxyWorld
from tools import ApiServer, api_server_in

from tortie.kube.client import Client
from tortie.kube.config import load
from tortie.lab.proxy.rules import TABLE
from tortie.model.catalog import ENDPOINT_SLICES, NAMESPACES, NODES, SERVICES
from tortie.net.libnftables import Libnftables

pytestmark = [pytest.mark.netns, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

VIP = "10.96.7.9"


@pytest.fixture
def world() -> Iterator[ProxyWorld]:
    w = ProxyWorld()
    try:
        w.build()
        yield w
    finally:
        w.destroy()


@pytest.fixture
def server(world: ProxyWorld, tmp_path: Path) -> Iterator[ApiServer]:
    """Inside the node's namespace, so that the proxy reaches it on loopback."""
    with world.inside("node"):
        context = api_server_in(tmp_path / "api")
        running = context.__enter__()
    yield running
    context.__exit__(None, None, None)


def start_proxy(world: ProxyWorld, server: ApiServer) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tortie.cli.main", "lab-proxy", "--node", "n1"]
    with world.inside("node"):
        return subprocess.Popen([*command, "--kubeconfig", str(server.kubeconfig)], stderr=subprocess.DEVNULL)


def until(world: ProxyWorld, want: str, *, within: float = 15.0) -> None:
    end = time.monotonic() + within
    while (got := world.tcp("a", VIP, 80, timeout=0.3).split()[0]) != want:
        assert time.monotonic() < end, f"{got} instead of {want}"
        time.sleep(0.02)


def in_node(world: ProxyWorld, server: ApiServer, work: Any) -> None:
    """Runs `await work(client)` on an event loop whose sockets are the node's."""

    async def session() -> None:
        async with Client(load(str(server.kubeconfig))) as client:
            await work(client)

    with world.inside("node"):
        asyncio.run(session())


def slice_body(pod: str) -> dict[str, Any]:
    return {
        "metadata": {"name": "web-x", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [PODS[pod][0]], "nodeName": "n1"}],
        "ports": [{"name": "", "port": PORT, "protocol": "TCP"}],
    }


def test_the_program_follows_the_api_and_leaves_services_working_when_it_dies(
    world: ProxyWorld, server: ApiServer
) -> None:
    async def prepare(client: Client) -> None:
        await client.create(NAMESPACES, {"metadata": {"name": "shop"}})
        await client.create(NODES, {"metadata": {"name": "n1"}})
        status = {"status": {"addresses": [{"type": "InternalIP", "address": NODE4}]}}
        await client.patch(NODES, "n1", status, subresource="status")
        spec = {"type": "NodePort", "clusterIP": VIP, "ports": [{"port": 80, "nodePort": 30080}]}
        await client.create(SERVICES, {"metadata": {"name": "web"}, "spec": spec}, "shop")
        await client.create(ENDPOINT_SLICES, slice_body("b"), "shop")

    async def move(client: Client) -> None:
        await client.patch(ENDPOINT_SLICES, "web-x", {"endpoints": slice_body("a")["endpoints"]}, namespace="shop")

    async def remove(client: Client) -> None:
        await client.delete(SERVICES, "web", "shop")
        await client.delete(ENDPOINT_SLICES, "web-x", "shop")

    in_node(world, server, prepare)
    proxy = start_proxy(world, server)
    try:
        until(world, "b")
        assert world.tcp("client", NODE4, 30080).startswith("b ")
        with world.inside("node"), urllib.request.urlopen("http://127.0.0.1:10256/metrics", timeout=5) as answer:
            assert b"tortie_lab_proxy_services " in answer.read()
        proxy.send_signal(signal.SIGKILL)
        proxy.wait()
        until(world, "b")
        in_node(world, server, move)
        proxy = start_proxy(world, server)
        until(world, "a")
        in_node(world, server, remove)
        until(world, "timeout")  # nobody answers for an address that is no service
        with world.inside("node"):
            nft = Libnftables()
            assert "shop/web" not in nft.run(f"list table ip {TABLE}")
            nft.close()
        proxy.send_signal(signal.SIGTERM)
        assert proxy.wait(10) == 0
    finally:
        proxy.kill()
        proxy.wait()
