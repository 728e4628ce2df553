"""Reachability between pods as a matrix: what a policy should allow, and what real connections say.

Pods are two in each of three namespaces, one on each of two nodes, all serving TCP and UDP echo on two ports. In: a
predicate over (source, destination, protocol, port). Out: an assertion that lists every cell that is wrong.
"""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from lab_client import Lab

PORTS = (80, 81)
PROTOCOLS = ("tcp", "udp")


@dataclass(frozen=True)
class Pod:
    namespace: str
    name: str
    node: str
    addresses: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


Expected = Callable[[Pod, Pod, str, int], bool]


@dataclass(frozen=True)
class Cell:
    source: Pod
    destination: Pod
    protocol: str
    address: str
    port: int

    def __str__(self) -> str:
        same = "same node" if self.source.node == self.destination.node else "across nodes"
        return f"{self.source} -> {self.destination} {self.protocol} [{self.address}]:{self.port} ({same})"


def manifest(namespaces: Iterable[str], *, nodes: tuple[str, str] = ("node-1", "node-2")) -> str:
    """Namespaces with label ns=NAME and team, and pods a and b with label pod=NAME, each on a node of its own."""
    documents = []
    for namespace in namespaces:
        documents.append(
            f'apiVersion: v1\nkind: Namespace\nmetadata: {{name: "{namespace}", labels: {{ns: "{namespace}"}}}}\n'
        )
        for name, node in zip(("a", "b"), nodes, strict=True):
            documents.append(
                f"""apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: "{namespace}", labels: {{pod: {name}, app: {namespace}-{name}}}}}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 0
  containers:
    - name: echo
      image: tortie/echo
      args: ["80", "81"]
      ports:
        - {{name: serve-80, containerPort: 80, protocol: TCP}}
        - {{name: serve-81, containerPort: 81, protocol: TCP}}
        - {{name: serve-80-udp, containerPort: 80, protocol: UDP}}
"""
            )
    return "---\n".join(documents)


class Matrix:
    """The pods of a manifest, once they are ready."""

    def __init__(self, lab: Lab, namespaces: Iterable[str]) -> None:
        self.lab = lab
        self.pods = []
        for namespace in namespaces:
            for item in lab.get("pods", "-n", namespace)["items"]:
                addresses = tuple(entry["ip"] for entry in item["status"]["podIPs"])
                self.pods.append(Pod(namespace, item["metadata"]["name"], item["spec"]["nodeName"], addresses))

    def pod(self, text: str) -> Pod:
        return next(pod for pod in self.pods if str(pod) == text)

    def cells(self, source: Pod) -> list[Cell]:
        return [
            Cell(source, destination, protocol, address, port)
            for destination in self.pods
            if destination != source
            for address in destination.addresses
            for protocol in PROTOCOLS
            for port in PORTS
        ]

    def measure(self, *, timeout: float = 1.0) -> dict[Cell, str]:
        """Tries every cell; all sources at once."""

        def one(source: Pod) -> list[tuple[Cell, str]]:
            cells = self.cells(source)
            words = self.lab.probe(
                source.namespace,
                source.name,
                [(cell.protocol, cell.address, cell.port) for cell in cells],
                timeout=timeout,
            )
            return list(zip(cells, words, strict=True))

        with ThreadPoolExecutor(len(self.pods)) as pool:
            return {cell: word for result in pool.map(one, self.pods) for cell, word in result}

    def check(self, expected: Expected, *, seconds: float = 15.0) -> None:
        """Waits until every cell is as expected; denied cells must time out, not be refused."""
        deadline = time.monotonic() + seconds
        while True:
            wrong = []
            for cell, word in self.measure().items():
                want = "ok" if expected(cell.source, cell.destination, cell.protocol, cell.port) else "timeout"
                if word != want:
                    wrong.append(f"{cell}: {word}, expected {want}")
            if not wrong:
                return
            if time.monotonic() > deadline:
                raise AssertionError(f"{len(wrong)} cells are wrong:\n" + "\n".join(wrong[:20]))
