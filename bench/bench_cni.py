"""CNI as kubelet feels it: the whole ADD and DEL, process start included, one at a time and many at once.

Run as root: `python bench/bench_cni.py`. In: a node of its own (network namespace, API server, agent), as in the
plugin's tests. Out: one JSON object per line: name, value, unit, scale.
"""

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "cni")]

from cni_harness import Node, container_id, dual  # noqa: E402  # found through the line above

SERIAL, BURST = 60, 100


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def report(name: str, values: list[float], scale: str) -> None:
    for label, share in (("p50", 0.5), ("p99", 0.99)):
        line = {"name": f"{name}_{label}", "value": round(percentile(values, share), 2), "unit": "ms", "scale": scale}
        print(json.dumps(line), flush=True)


class Pod:
    def __init__(self, node: Node, name: str) -> None:
        self.sandbox = node.sandbox()
        self.container = container_id()
        self.name = name
        self.uid = node.pod(name)["metadata"]["uid"]

    def environment(self, node: Node, command: str) -> dict[str, str]:
        return node.environment(command, container=self.container, netns=self.sandbox, pod=self.name, uid=self.uid)


async def call(node: Node, pod: Pod, command: str, config: bytes, gate: asyncio.Semaphore) -> float:
    async with gate:
        began = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            str(node.bin / "calico"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=pod.environment(node, command),
        )
        out, _ = await process.communicate(config)
        took = (time.perf_counter() - began) * 1e3
    assert process.returncode == 0, out
    return took


async def run(node: Node, pods: list[Pod], command: str, config: bytes, width: int) -> tuple[list[float], float]:
    gate = asyncio.Semaphore(width)
    began = time.perf_counter()
    times = await asyncio.gather(*(call(node, pod, command, config, gate) for pod in pods))
    return list(times), time.perf_counter() - began


def shape(node: Node, kind: str, config: dict[str, Any]) -> None:
    text = json.dumps(config).encode()
    alone = [Pod(node, f"{kind}-alone-{number}") for number in range(SERIAL)]
    times, _ = asyncio.run(run(node, alone, "ADD", text, 1))
    report(f"cni_add_{kind}", times, "one at a time")
    times, _ = asyncio.run(run(node, alone, "DEL", text, 1))
    report(f"cni_del_{kind}", times, "one at a time")
    for width in (5, 10):
        burst = [Pod(node, f"{kind}-burst-{width}-{number}") for number in range(BURST)]
        times, total = asyncio.run(run(node, burst, "ADD", text, width))
        report(f"cni_add_{kind}", times, f"{width} at once")
        rate = {"name": f"cni_add_{kind}_rate", "value": round(BURST / total, 1), "unit": "1/s"}
        print(json.dumps({**rate, "scale": f"{width} at once"}), flush=True)
        times, _ = asyncio.run(run(node, burst, "DEL", text, width))
        report(f"cni_del_{kind}", times, f"{width} at once")


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        node = Node(Path(directory))
        try:
            node.start()
            shape(node, "ipv4", node.config())
            shape(node, "dual", dual(node))
        finally:
            node.close()


if __name__ == "__main__":
    main()
