"""Up, again, broken, repaired, down: a lab of its own, with a second one beside it running all the while."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator

import pytest
from lab_client import eventually, tortie
from machine_state import differences, snapshot

from tortie.lab import machines, state, underlay

NAME = "life"

pytestmark = [pytest.mark.lab, pytest.mark.slow]


@pytest.fixture
def clean() -> Iterator[None]:
    tortie("lab", "down", "--name", NAME, "--quiet")
    yield
    tortie("lab", "down", "--name", NAME, "--quiet")


def test_down_leaves_the_machine_as_it_was_before_up(clean: None) -> None:
    before = snapshot()
    tortie("lab", "up", "--name", NAME, "--nodes", "1", "--no-demo", "--quiet")
    during = snapshot()
    assert during != before
    tortie("lab", "down", "--name", NAME)
    assert differences(before, snapshot()) == {}


def test_up_again_changes_nothing_and_repairs_what_is_missing(clean: None) -> None:
    tortie("lab", "up", "--name", NAME, "--nodes", "1", "--no-demo", "--quiet")
    layout = state.require(NAME)
    first = {machine: machines.pid(layout, machine) for machine in ("control", "outside", "node-1")}
    assert all(first.values())
    tortie("lab", "up", "--name", NAME, "--quiet")
    assert {machine: machines.pid(layout, machine) for machine in first} == first

    killed = first["outside"]
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: machines.pid(layout, "outside") is None)
    tortie("lab", "up", "--name", NAME, "--quiet")
    assert machines.pid(layout, "outside") not in (None, killed)
    assert machines.pid(layout, "node-1") == first["node-1"]

    report = json.loads(tortie("lab", "status", "--name", NAME, "-o", "json").stdout)
    assert report["problems"] == []
    assert [node["name"] for node in report["nodes"]] == ["node-1"]
    assert report["urls"]["api"].startswith("https://127.0.0.1:")


def test_down_cleans_up_even_when_the_state_is_lost(clean: None) -> None:
    before = snapshot()
    tortie("lab", "up", "--name", NAME, "--nodes", "1", "--no-demo", "--quiet")
    layout = state.require(NAME)
    layout.spec_file.unlink()
    tortie("lab", "down", "--name", NAME)
    assert machines.stray_processes(NAME) == []
    assert [name for name in underlay.namespaces() if f"-{NAME}-" in name] == []
    assert not layout.state.exists()
    assert differences(before, snapshot()) == {}


def test_a_taken_port_is_one_clear_sentence(clean: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = tortie("lab", "up", "--name", NAME, "--api-port", str(port), check=False)
    assert result.returncode == 1
    assert f"Port {port} on 127.0.0.1 is taken" in result.stderr
    assert "Traceback" not in result.stderr
    assert state.load(NAME) is None


def test_without_root_up_says_so_in_one_sentence() -> None:
    result = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--", *_program(), "lab", "up"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HOME": "/nonexistent"},
    )
    assert result.returncode == 1
    assert "root" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_unknown_lab_node_and_component_are_named_with_what_exists() -> None:
    result = tortie("lab", "status", "--name", "nowhere", check=False)
    assert result.returncode == 1
    assert "There is no lab 'nowhere'" in result.stderr
    result = tortie("lab", "up", "--name", "Bad_Name", check=False)
    assert result.returncode == 1
    assert "a lab's name is" in result.stderr


def _program() -> list[str]:
    import sys
    from pathlib import Path

    return [sys.executable, str(Path(sys.executable).with_name("tortie"))]
