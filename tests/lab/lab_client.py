"""How the lab tests see a lab: kubectl, commands on nodes, and probes from inside pods.

In: a lab's name. Out: answers, as a user of kubectl would get them, and reachability between pods measured by real
connections from their network namespaces.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tortie.lab import machines, state
from tortie.lab.layout import Layout

PROGRAM = str(Path(sys.executable).with_name("tortie"))
PROBER = Path(__file__).with_name("prober.py")


def tortie(
    *arguments: str, check: bool = True, timeout: float = 240, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Runs `tortie …` as a user would."""
    result = subprocess.run(
        [PROGRAM, *arguments], capture_output=True, text=True, check=False, timeout=timeout, **options
    )
    if check and result.returncode != 0:
        raise AssertionError(
            f"tortie {' '.join(arguments)} exited {result.returncode}:\n{result.stdout}{result.stderr}"
        )
    return result


@dataclass
class Lab:
    """A running lab."""

    layout: Layout
    kubectl_program: str
    _probers: dict[tuple[str, str], subprocess.Popen[str]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    # kubectl ----------------------------------------------------------------------------------------------------

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "KUBECONFIG": str(self.layout.kubeconfig)}

    def kubectl(
        self,
        *arguments: str,
        text: str | None = None,
        check: bool = True,
        program: str | None = None,
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        result = subprocess.run(
            [program or self.kubectl_program, *arguments],
            input=text,
            capture_output=True,
            text=True,
            check=False,
            env=self.environment,
            timeout=timeout,
        )
        if check and result.returncode != 0:
            command = f"kubectl {' '.join(arguments)}"
            raise AssertionError(f"{command} exited {result.returncode}:\n{result.stdout}{result.stderr}")
        return result

    def apply(self, text: str) -> None:
        self.kubectl("apply", "-f", "-", text=text)

    def get(self, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", *arguments, "-o", "json").stdout)

    def wait_for_pods(self, namespace: str, *, seconds: float = 60) -> None:
        self.kubectl("wait", "--for=condition=Ready", "pod", "--all", "-n", namespace, f"--timeout={seconds:.0f}s")

    def delete_namespaces(self, *names: str) -> None:
        self.kubectl("delete", "ns", *names, "--ignore-not-found", "--timeout=60s", timeout=90)

    # nodes ------------------------------------------------------------------------------------------------------

    def on_node(self, node: str, *argv: str, check: bool = True) -> str:
        line = machines.enter_command(self.layout, node, list(argv))
        result = subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)
        if check and result.returncode != 0:
            raise AssertionError(
                f"{node}: {' '.join(argv)} exited {result.returncode}:\n{result.stdout}{result.stderr}"
            )
        return result.stdout

    # probes -----------------------------------------------------------------------------------------------------

    def namespace_of_pod(self, namespace: str, pod: str) -> tuple[str, str]:
        """The node of a pod, and the path of its network namespace there."""
        found = self.get("pod", pod, "-n", namespace)
        node, address = found["spec"]["nodeName"], found["status"]["podIP"]
        script = (
            'for f in /run/netns/*; do nsenter --net="$f" ip -o addr show 2>/dev/null | grep -qF " $0/" '
            '&& echo "$f" && exit 0; done; exit 1'
        )
        return node, self.on_node(node, "/bin/sh", "-c", script, address).strip()

    def probe(
        self, namespace: str, pod: str, probes: Iterable[tuple[str, str, int]], *, timeout: float = 1.0
    ) -> list[str]:
        """One word for each (protocol, address, port), tried all at once from inside the pod's namespace."""
        with self._lock:
            prober = self._probers.get((namespace, pod))
            if prober is None or prober.poll() is not None:
                node, path = self.namespace_of_pod(namespace, pod)
                inner = ["nsenter", f"--net={path}", "--", "/usr/bin/python3", "-I", "-S", str(PROBER)]
                prober = subprocess.Popen(
                    machines.enter_command(self.layout, node, inner),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
                self._probers[(namespace, pod)] = prober
        assert prober.stdin is not None and prober.stdout is not None
        prober.stdin.write(json.dumps({"probes": list(probes), "timeout": timeout}) + "\n")
        prober.stdin.flush()
        line = prober.stdout.readline()
        assert line, f"the prober in {namespace}/{pod} ended"
        words: list[str] = json.loads(line)
        return words

    def close(self) -> None:
        for prober in self._probers.values():
            assert prober.stdin is not None
            prober.stdin.close()
            prober.wait(10)
        self._probers.clear()

    def forget_probers(self, *namespaces: str) -> None:
        """Ends the probers of pods that are about to go."""
        for key in [key for key in self._probers if key[0] in namespaces]:
            prober = self._probers.pop(key)
            assert prober.stdin is not None
            prober.stdin.close()
            prober.wait(10)


def open_lab(name: str, kubectl_program: str) -> Lab:
    return Lab(layout=state.require(name), kubectl_program=kubectl_program)


def eventually(condition: Callable[[], Any], *, seconds: float = 10.0, what: str = "the condition") -> Any:
    """Polls until the condition gives something true, and returns it; fails with its last value."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true in {seconds:.0f} s; last: {value!r}")
        time.sleep(0.05)
