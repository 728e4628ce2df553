"""Removes a lab: every process, namespace, interface, mount, route and file that `up` made.

In: a lab's name; its state may be missing or broken, after an interrupted `up` or `down`. Out: a machine as before.
"""

import contextlib
import os
import shutil
import signal
import time
from pathlib import Path

from tortie.lab import machines, state, underlay
from tortie.lab.layout import CONTROL, OUTSIDE, STATE_ROOT, LabSpec, Layout
from tortie.lab.progress import Progress
from tortie.lab.state import LabError


def down(name: str, *, quiet: bool = False) -> None:
    """Removes the lab of that name; a lab that does not exist is no error."""
    state.check_name(name)
    if os.geteuid() != 0:
        raise LabError("A lab needs root: run the command as root.")
    progress = Progress(quiet=quiet)
    try:
        layout = state.load(name)
    except LabError:
        layout = None
    known = layout is not None
    layout = layout or Layout(LabSpec(name=name))
    with progress.step(f"stopping the machines of lab {name!r}"):
        for machine in [*layout.spec.node_names, OUTSIDE, CONTROL]:
            machines.kill(layout, machine)
        _end_strays(name)
    with progress.step("removing namespaces, links and routes"):
        _release_namespaces(name)
        if known:
            underlay.remove(layout)
        else:
            # Its index is lost with its state: what no other lab of this machine claims was its own.
            underlay.remove_namespaces(name)
            underlay.remove_blackholes(_unclaimed_metrics(name))
    with progress.step("removing files"):
        shutil.rmtree(layout.state, ignore_errors=True)
        if layout.state.exists():
            raise LabError(f"{layout.state} could not be removed; something still uses it.")
        with contextlib.suppress(OSError):
            STATE_ROOT.rmdir()


def _unclaimed_metrics(name: str) -> set[int]:
    others = []
    for other in state.names():
        if other != name:
            with contextlib.suppress(LabError):
                others.append(state.load(other))
    claimed = {layout.spec.index for layout in others if layout is not None}
    return {Layout(LabSpec(index=index)).blackhole_metric for index in range(100) if index not in claimed}


def _end_strays(name: str) -> None:
    for number in machines.stray_processes(name):
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while machines.stray_processes(name):
        if time.monotonic() > deadline:
            raise LabError(f"Processes {machines.stray_processes(name)} of lab {name!r} do not end.")
        time.sleep(0.05)


def _release_namespaces(name: str) -> None:
    """Ends what still runs in the lab's namespaces, such as a shell that someone opened on a node."""
    inodes = {}
    for namespace in underlay.namespaces():
        if namespace.startswith(f"tortie-{name}-"):
            with contextlib.suppress(OSError):
                inodes[Path(f"/run/netns/{namespace}").stat().st_ino] = namespace
    if not inodes:
        return
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if Path(f"/proc/{entry.name}/ns/net").stat().st_ino in inodes:
                os.kill(int(entry.name), signal.SIGKILL)
