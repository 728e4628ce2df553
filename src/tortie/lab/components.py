"""Faults on purpose: restarts and kills one supervised component of a machine.

In: a machine and a component's name. Out: a signal to exactly that process, through the supervisor that owns it.
"""

import subprocess

from tortie.lab import machines
from tortie.lab.layout import CONTROL, Layout
from tortie.lab.state import LabError

# Where each component's runit service is, as its machine sees it.
_CALICO: tuple[str, ...] = ("felix", "bird", "confd", "cni", "node-services")
_HOST: tuple[str, ...] = ("kubelet", "proxy", "calico-node")


def service_directory(layout: Layout, machine: str, component: str) -> str:
    """The runit service directory of a component. Raises LabError naming the known ones."""
    if machine == CONTROL:
        known: tuple[str, ...] = ("apiserver", "controllers")
        if layout.spec.aggregated:
            known = (*known, "calico-apiserver")
        if component in known:
            return str(layout.machine_dir(CONTROL) / "services" / component)
    elif machine in layout.spec.node_names:
        known = _HOST + _CALICO
        if component in _HOST:
            return f"/etc/lab/services/{component}"
        if component in _CALICO:
            return f"/etc/service/enabled/{component}"
    else:
        raise LabError(f"{machine!r} is not a machine of lab {layout.spec.name!r}: {_machines(layout)}.")
    raise LabError(f"{machine} has no component {component!r}; it has {', '.join(known)}.")


def restart(layout: Layout, machine: str, component: str) -> None:
    """TERM, then start again; returns when the supervisor has started it."""
    _sv(layout, machine, ["sv", "-w", "10", "restart", service_directory(layout, machine, component)])


def kill(layout: Layout, machine: str, component: str) -> None:
    """SIGKILL; the supervisor notices and starts it again."""
    _sv(layout, machine, ["sv", "kill", service_directory(layout, machine, component)])


def _sv(layout: Layout, machine: str, argv: list[str]) -> None:
    result = subprocess.run(machines.enter_command(layout, machine, argv), capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise LabError(f"{machine}: {result.stdout.strip() or result.stderr.strip()}")


def _machines(layout: Layout) -> str:
    return ", ".join((CONTROL, *layout.spec.node_names))
