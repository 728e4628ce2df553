"""The lab's machines: each a process tree in a PID namespace; nodes have a network and mount namespace too.

The first process of a machine is runsvdir, so that what dies is started again, and killing it ends the whole tree.
In: service definitions. Out: running machines; whether one runs is read from /proc, never believed from a file alone.
"""

import contextlib
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tortie.lab.layout import CONTROL, Layout
from tortie.lab.state import LabError


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceDefinition:
    """One supervised program of a machine. log False: the program keeps logs itself. wait_for: start it only when
    this file exists."""

    name: str
    argv: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    log: bool = True
    wait_for: Path | None = None


def write_services(directory: Path, services: list[ServiceDefinition], *, log_dir: str) -> None:
    """Writes runit service directories, and removes those of services that are no longer wanted.

    log_dir: where the machine's own processes see the logs.
    """
    directory.mkdir(parents=True, exist_ok=True)
    wanted = {service.name for service in services}
    for entry in directory.iterdir():
        if entry.name not in wanted:
            _remove_tree(entry)
    for service in services:
        base = directory / service.name
        base.mkdir(exist_ok=True)
        exports = "".join(f"export {key}={shlex.quote(value)}\n" for key, value in sorted(service.environment.items()))
        wait = f"while [ ! -e {shlex.quote(str(service.wait_for))} ]; do sleep 0.1; done\n" if service.wait_for else ""
        _write_script(base / "run", f"#!/bin/sh\nexec 2>&1\n{wait}{exports}exec {shlex.join(service.argv)}\n")
        if service.log:
            (base / "log").mkdir(exist_ok=True)
            target = f"{log_dir}/{service.name}"
            _write_script(
                base / "log" / "run",
                f"#!/bin/sh\nmkdir -p {shlex.quote(target)}\n"
                f"printf 's10000000\\nn5\\n' >{shlex.quote(target)}/config\nexec svlogd -tt {shlex.quote(target)}\n",
            )


def start(layout: Layout, machine: str, services: Path, *, setup: str = "") -> None:
    """Starts a machine unless it runs. setup: shell commands that its first process runs before the services."""
    if pid(layout, machine) is not None:
        return
    directory = layout.machine_dir(machine)
    directory.mkdir(parents=True, exist_ok=True)
    script = f"set -e\n{setup}\nexec runsvdir -P {shlex.quote(str(services))}\n"
    init = directory / "init"
    _write_script(init, f"#!/bin/sh\n{script}")
    command = [
        "unshare",
        "--uts",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child=KILL",
        "--mount-proc",
        "--propagation",
        "private",
    ]
    if machine != CONTROL:
        command = ["nsenter", f"--net=/run/netns/{layout.namespace(machine)}", *command]
    with (directory / "console").open("wb") as console:
        # The marker after the script lets `down` find the process even if the record of it was never written.
        process = subprocess.Popen(
            [*command, "--", "/bin/sh", str(init), _marker(layout, machine)],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            start_new_session=True,
            cwd="/",
            env=_clean_environment(),
        )
    (directory / "pid").write_text(f"{process.pid} {_start_time(process.pid)}\n")
    time.sleep(0.02)
    if process.poll() is not None:
        reason = (directory / "console").read_text(errors="replace").strip().splitlines()
        raise LabError(f"Machine {machine!r} of the lab did not start: {reason[-1] if reason else 'no output'}")


def pid(layout: Layout, machine: str) -> int | None:
    """The machine's outer process on this host if it runs, else None."""
    try:
        number, started = (layout.machine_dir(machine) / "pid").read_text().split()
    except (OSError, ValueError):
        return None
    if _start_time(int(number)) != started or _state(int(number)) == "Z":
        return None
    return int(number)


def init_pid(layout: Layout, machine: str) -> int | None:
    """The machine's first process, as this host numbers it: whose namespaces are the machine's."""
    outer = pid(layout, machine)
    if outer is None:
        return None
    try:
        children = Path(f"/proc/{outer}/task/{outer}/children").read_text().split()
    except OSError:
        return None
    return int(children[0]) if children else None


def stop(layout: Layout, machine: str, *, grace: float = 5.0) -> None:
    """Ends a machine with everything in it: first its services in order (TERM), then the rest (KILL)."""
    outer = pid(layout, machine)
    if outer is None:
        return
    first = init_pid(layout, machine)
    if first is not None and grace > 0:
        # HUP makes runsvdir send TERM to every runsv, which ends its service, and then exit.
        with contextlib.suppress(ProcessLookupError):
            os.kill(first, signal.SIGHUP)
        _wait_until(lambda: pid(layout, machine) is None, grace)
    kill(layout, machine)


def kill(layout: Layout, machine: str) -> None:
    """Ends a machine at once, as a power cut would."""
    outer = pid(layout, machine)
    if outer is not None:
        first = init_pid(layout, machine)
        for number in filter(None, (first, outer)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        if not _wait_until(lambda: pid(layout, machine) is None, 10.0):
            raise LabError(f"Process {outer} (machine {machine!r}) does not end; the kernel holds it.")
    (layout.machine_dir(machine) / "pid").unlink(missing_ok=True)


def enter_command(layout: Layout, machine: str, argv: list[str]) -> list[str]:
    """The command line that runs argv inside a machine. Raises LabError if the machine does not run."""
    first = init_pid(layout, machine)
    if first is None:
        raise LabError(f"{machine} is not running; `tortie lab node start {machine}` starts it.")
    return ["nsenter", f"--target={first}", "--mount", "--uts", "--net", "--pid", "--", *argv]


def stray_processes(lab: str) -> list[int]:
    """Outer processes of machines of a lab, found by their command line; for `down` after an interrupted `up`."""
    prefix = f"tortie-lab:{lab}:".encode()
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            arguments = Path(f"/proc/{entry.name}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if any(argument.startswith(prefix) for argument in arguments):
            found.append(int(entry.name))
    return found


def _marker(layout: Layout, machine: str) -> str:
    return f"tortie-lab:{layout.spec.name}:{machine}"


def _clean_environment() -> dict[str, str]:
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/root"}


def _stat_fields(number: int) -> list[str]:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _start_time(number: int) -> str:
    fields = _stat_fields(number)
    return fields[19] if fields else "gone"


def _state(number: int) -> str:
    fields = _stat_fields(number)
    return fields[0] if fields else "gone"


def _wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
        time.sleep(0.02)
    return True


def _write_script(path: Path, text: str) -> None:
    if path.exists() and path.read_text() == text:
        return
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text)
    temporary.chmod(0o755)
    temporary.replace(path)


def _remove_tree(path: Path) -> None:
    subprocess.run(["rm", "-rf", "--", str(path)], check=True)
