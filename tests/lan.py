"""A small LAN of network namespaces, with a real BIRD in each where a test starts one.

For the tests of routing and of the node. In: a directory. Out: hosts that the test drives; all is removed at the end.
"""

import contextlib
import itertools
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tortie.routing import birdc
from tortie.routing.bird import render
from tortie.routing.status import Protocol, read_protocols
from tortie.routing.world import World

_serial = itertools.count()


def run(*command: str, check: bool = True) -> str:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if check and result.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: {result.stderr.strip() or result.stdout.strip()}")
    return result.stdout


def eventually(condition: Callable[[], object], *, within: float = 15.0, what: str = "") -> None:
    """Polls until the condition is true; an exception in it counts as not yet."""
    deadline = time.monotonic() + within
    error: object = None
    while time.monotonic() < deadline:
        try:
            error = condition()
            if error:
                return
        except (AssertionError, birdc.BirdError, OSError) as e:
            error = e
        time.sleep(0.05)
    raise AssertionError(f"{what or 'condition'} did not hold within {within} s; last: {error!r}")


class BirdNode:
    """One host of the LAN: 172.30.0.1<n>/24 and fd00:30::1<n>/64 on eth0, and a BIRD when started."""

    def __init__(self, number: int, namespace: str, directory: Path) -> None:
        self.number = number
        self.namespace = namespace
        self.directory = directory
        self.config = directory / "bird.cfg"
        self.control = directory / "bird.ctl"
        self.process: subprocess.Popen[bytes] | None = None

    def ip(self, *arguments: str, check: bool = True) -> str:
        return run("ip", "-n", self.namespace, *arguments, check=check)

    def execute(self, *command: str, check: bool = True) -> str:
        return run("ip", "netns", "exec", self.namespace, *command, check=check)

    def configure(self, world: World) -> None:
        """Renders; has a running BIRD load it."""
        self.config.write_text(render(world).text)
        if self.process is not None:
            birdc.configure(self.config, path=self.control)

    def start_bird(self, *, recover: bool = False) -> None:
        command = ["ip", "netns", "exec", self.namespace, "bird", "-f", "-c", str(self.config), "-s", str(self.control)]
        with (self.directory / "bird.log").open("ab") as log:
            self.process = subprocess.Popen([*command, *(["-R"] if recover else [])], stderr=log)
        eventually(lambda: birdc.ask("show status", path=self.control), within=5, what="BIRD's start")

    def stop_bird(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, number)
            self.process.wait()
            self.process = None

    def protocols(self) -> dict[str, Protocol]:
        return {p.name: p for p in read_protocols(self.control)}

    def established(self) -> set[str]:
        return {p.name for p in self.protocols().values() if p.is_peer and p.bgp_state == "Established"}

    def routes(self, family: int = 4, *, protocol: str = "bird") -> set[str]:
        """Destinations in the kernel, blackholes marked."""
        lines = self.ip(f"-{family}", "route", "show", "proto", protocol).splitlines()
        words = (line.split() for line in lines)
        return {f"{w[0]} {w[1]}" if w[0] == "blackhole" else w[0] for w in words if w and w[0] != "nexthop"}

    def log(self) -> str:
        return (self.directory / "bird.log").read_text()


@contextmanager
def lan_in(directory: Path) -> Iterator[Callable[[int], list[BirdNode]]]:
    """Gives a function that makes n hosts on one bridge; the bridge's own namespace is `<prefix>-lan`."""
    prefix = f"tt-rt-{os.getpid()}-{next(_serial)}"
    made: list[str] = []
    nodes: list[BirdNode] = []

    def add(name: str) -> str:
        run("ip", "netns", "add", f"{prefix}-{name}")
        made.append(f"{prefix}-{name}")
        run("ip", "-n", made[-1], "link", "set", "lo", "up")
        return made[-1]

    def make(count: int) -> list[BirdNode]:
        switch = add("lan")
        run("ip", "-n", switch, "link", "add", "br0", "type", "bridge")
        run("ip", "-n", switch, "link", "set", "br0", "up")
        for number in range(1, count + 1):
            namespace = add(f"n{number}")
            run("ip", "-n", switch, "link", "add", f"p{number}", "type", "veth", "peer", "eth0", "netns", namespace)
            run("ip", "-n", switch, "link", "set", f"p{number}", "master", "br0", "up")
            run("ip", "-n", namespace, "address", "add", f"172.30.0.1{number}/24", "dev", "eth0")
            run("ip", "-n", namespace, "address", "add", f"fd00:30::1{number}/64", "dev", "eth0", "nodad")
            run("ip", "-n", namespace, "link", "set", "eth0", "up")
            own = directory / f"n{number}"
            own.mkdir()
            nodes.append(BirdNode(number, namespace, own))
        return nodes

    try:
        yield make
    finally:
        for node in nodes:
            node.stop_bird(signal.SIGKILL)
        for namespace in made:
            run("ip", "netns", "delete", namespace, check=False)
