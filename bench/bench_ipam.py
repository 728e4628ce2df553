"""Address management: what one assignment costs in computing, in API writes, and against a real API server.

Run as `python bench/bench_ipam.py`. In: an in-memory API, and a `tortie apiserver` on loopback. Out: one JSON object
per line: name, value, unit, scale.
"""

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "ipam")]

from ipam_world import World, want  # noqa: E402  # found through the line above
from tools import api_server_in  # noqa: E402  # found through the line above

from tortie.ipam.affinity import Owner  # noqa: E402  # follows the path above
from tortie.ipam.allocator import Allocator  # noqa: E402  # follows the path above
from tortie.ipam.block import Draft, new_block  # noqa: E402  # follows the path above
from tortie.ipam.memory import MemoryApi  # noqa: E402  # follows the path above
from tortie.ipam.view import CachedView  # noqa: E402  # follows the path above
from tortie.kube import config  # noqa: E402  # follows the path above
from tortie.kube.client import Client  # noqa: E402  # follows the path above


def line(name: str, value: float, unit: str, scale: str) -> None:
    print(json.dumps({"name": name, "value": round(value, 3), "unit": unit, "scale": scale}), flush=True)


def arithmetic() -> None:
    spec = new_block("10.0.0.0/26", affinity="host:n", claimed_at=None, now_ns=1)
    began = time.perf_counter()
    for round_ in range(50):
        current = spec
        for number in range(64):
            draft = Draft(current)
            draft.allocate(1, handle=f"net.{round_}-{number}", attributes={"pod": str(number), "namespace": "default"})
            current = draft.finish()
    line("ipam_block_allocate", (time.perf_counter() - began) / (50 * 64) * 1e6, "us", "block of 64, filling")


async def in_memory() -> None:
    api = MemoryApi()
    world = World(api)
    await world.pool("p", "10.0.0.0/8")
    nodes = [await world.node(f"node-{number}") for number in range(1000)]
    began = time.perf_counter()
    await asyncio.gather(*(node.auto_assign(want(f"first-{number}")) for number, node in enumerate(nodes)))
    line("ipam_first_assignment", (time.perf_counter() - began) / len(nodes) * 1e3, "ms", "1000 nodes claim at once")
    began = time.perf_counter()
    for number, node in enumerate(nodes):
        await node.auto_assign(want(f"second-{number}"))
    line("ipam_assignment", (time.perf_counter() - began) / len(nodes) * 1e3, "ms", "no API latency, 1000 blocks")
    node = nodes[0]
    api.requests.clear()
    await asyncio.gather(*(node.auto_assign(want(f"burst-{number}")) for number in range(60)))
    writes = sum(verb not in ("get", "list") for verb, _, _ in api.requests)
    line("ipam_writes_per_assignment", writes / 60, "writes", "60 at once on one node")


async def on_server(kubeconfig: Path) -> None:
    async with Client(config.load(str(kubeconfig))) as client:
        world: Any = World(client)
        await world.node("n1")
        await world.pool("p", "10.0.0.0/16")
        view = CachedView(client, node="n1")
        running = asyncio.create_task(view.run())
        await view.wait_synced()
        allocator = Allocator(client, view, owner=Owner("n1"))
        await allocator.auto_assign(want("first"))
        times = []
        for number in range(60):
            began = time.perf_counter()
            await allocator.auto_assign(want(f"h{number}"))
            times.append((time.perf_counter() - began) * 1e3)
        line("ipam_server_assignment_p50", sorted(times)[30], "ms", "embedded API server, one at a time")
        began = time.perf_counter()
        await asyncio.gather(*(allocator.auto_assign(want(f"b{number}")) for number in range(200)))
        line("ipam_server_assignments", 200 / (time.perf_counter() - began), "1/s", "embedded API server, 200 at once")
        running.cancel()


def main() -> None:
    arithmetic()
    asyncio.run(in_memory())
    with tempfile.TemporaryDirectory() as directory, api_server_in(Path(directory) / "api") as server:
        asyncio.run(on_server(server.kubeconfig))


if __name__ == "__main__":
    main()
