"""What a daemon pays before its first line of work: nothing heavy comes in by accident."""

import subprocess
import sys

import pytest

HEAVY = ("rich", "yaml", "pyroute2", "kubernetes_asyncio", "dnslib", "jinja2", "requests", "aiohttp.web")


@pytest.mark.parametrize(
    ("modules", "allowed"),
    [
        ("tortie.service.log, tortie.service.run, tortie.service.health, tortie.service.config", ()),
        ("tortie.kube.client, tortie.kube.cache, tortie.kube.config, tortie.kube.events, tortie.kube.leader", ()),
        ("tortie.syncer", ()),
    ],
)
def test_importing_a_room_brings_in_nothing_heavy(modules: str, allowed: tuple[str, ...]) -> None:
    text = f"import sys, {modules}; print([m for m in {HEAVY!r} if m in sys.modules and m not in {allowed!r}])"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_frame_costs_less_than_a_tenth_of_a_second_of_cpu() -> None:
    text = "import time, tortie.service.log, tortie.service.run, tortie.service.health; print(time.process_time())"
    costs = [
        float(subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout)
        for _ in range(3)
    ]
    assert min(costs) < 0.15, "Python itself needs about 0.02 of it"
