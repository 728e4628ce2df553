"""A daemon's life and death, seen from outside: exit status and the reason line."""

import io
import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import structlog

from tortie.service.config import from_environment
from tortie.service.log import Throttle, configure, get_logger
from tortie.service.run import Fatal


def program(tmp_path: Path, body: str) -> list[str]:
    text = "import asyncio\nfrom tortie.service.log import configure\nfrom tortie.service.run import Fatal, run\n"
    text += "configure('demo')\n" + textwrap.dedent(body) + "\nrun(main, component='demo', drain_timeout=1.0)\n"
    file = tmp_path / "program.py"
    file.write_text(text)
    return [sys.executable, str(file)]


def finish(command: list[str]) -> tuple[int, list[dict[str, object]]]:
    result = subprocess.run(command, capture_output=True, text=True, timeout=30)
    return result.returncode, [json.loads(line) for line in result.stderr.splitlines()]


def test_a_failing_task_ends_the_process_with_one_reason_line(tmp_path: Path) -> None:
    status, lines = finish(
        program(
            tmp_path,
            """
            async def bad():
                raise ValueError("no such node")
            async def main(service):
                service.spawn(bad(), "watcher")
                await asyncio.sleep(60)
            """,
        )
    )
    assert status == 1
    [line] = lines
    assert (line["task"], line["reason"], line["component"]) == ("watcher", "ValueError: no such node", "demo")
    assert "Traceback" in str(line["exception"])


def test_a_fatal_error_has_no_traceback(tmp_path: Path) -> None:
    status, [line] = finish(program(tmp_path, "async def main(service):\n    raise Fatal('port 53 is taken')"))
    assert status == 1
    assert line["reason"] == "port 53 is taken" and "exception" not in line


def test_a_normal_return_ends_with_success(tmp_path: Path) -> None:
    assert finish(program(tmp_path, "async def main(service):\n    pass")) == (0, [])


def test_sigterm_runs_the_stop_hooks_then_cancels_and_exits_with_success(tmp_path: Path) -> None:
    command = program(
        tmp_path,
        """
        async def forever():
            try:
                await asyncio.Event().wait()
            finally:
                print("task cancelled", flush=True)
        async def main(service):
            async def drain():
                print("drained", flush=True)
            service.on_stop(drain)
            service.spawn(forever(), "forever")
            await asyncio.sleep(0)
            print("up", flush=True)
            await service.stopping.wait()
            await asyncio.Event().wait()
        """,
    )
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        os.kill(process.pid, signal.SIGTERM)
        assert process.stdout.read().splitlines() == ["drained", "task cancelled"]
        assert process.wait(10) == 0


def test_a_task_that_will_not_end_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    command = program(
        tmp_path,
        """
        async def stubborn():
            while True:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    pass
        async def main(service):
            service.spawn(stubborn(), "stubborn")
            service.stop()
            await asyncio.sleep(60)
        """,
    )
    status, lines = finish(command)
    assert status == 0
    assert lines[-1]["event"] == "did not drain in time"


@pytest.fixture
def own_logging() -> Iterator[None]:
    """What a test configures ends with it."""
    handlers = list(logging.getLogger().handlers)
    yield
    structlog.reset_defaults()
    logging.getLogger().handlers[:] = handlers


@pytest.mark.usefixtures("own_logging")
def test_secrets_are_redacted_and_levels_respected() -> None:
    out = io.StringIO()
    configure("demo", "warning", stream=out)
    log = get_logger("x")
    log.info("not shown")
    log.warning("shown", token="abc", node="n1")
    [line] = [json.loads(text) for text in out.getvalue().splitlines()]
    assert line["token"] == "(redacted)" and line["node"] == "n1" and line["module"] == "x"
    with pytest.raises(ValueError, match="'loud' is not one of debug, info"):
        configure("demo", "loud")


def test_a_repeated_event_is_let_through_once_per_period_with_a_count() -> None:
    now = [0.0]
    throttle = Throttle(period=10, clock=lambda: now[0])
    assert [throttle.allow("a"), throttle.allow("a"), throttle.allow("a")] == [0, None, None]
    now[0] = 10
    assert throttle.allow("a") == 2


class Settings(msgspec.Struct):
    node_name: str
    port: int = 9099
    enabled: bool = False
    families: tuple[str, ...] = ()


def test_settings_come_typed_from_the_environment() -> None:
    env = {"T_NODE_NAME": "n1", "T_PORT": "80", "T_ENABLED": "yes", "T_FAMILIES": "ipv4, ipv6"}
    assert from_environment(Settings, prefix="T_", environ=env) == Settings("n1", 80, True, ("ipv4", "ipv6"))


def test_every_wrong_setting_is_named_with_its_value() -> None:
    with pytest.raises(Fatal) as caught:
        from_environment(Settings, environ={"PORT": "eighty", "ENABLED": "perhaps"})
    text = str(caught.value)
    assert "NODE_NAME is not set" in text and "PORT='eighty'" in text and "ENABLED='perhaps'" in text
