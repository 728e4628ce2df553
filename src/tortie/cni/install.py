"""Puts the executables and the network configuration where the container runtime looks for them.

For `tortie cni install`. In: directories and options. Out: `calico` and `calico-ipam`, then the configuration list,
each by rename, so that the runtime never sees half a file; the list comes last, since its presence tells kubelet that
the node's network is ready (spec/cni-ipam-node.md 1.5, 3.8).
"""

import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec

import tortie
from tortie.cni import plugin
from tortie.cni.call import CALICO, CALICO_IPAM

CONF_NAME = "10-calico.conflist"
NETWORK = "k8s-pod-network"
_SYSTEM_PYTHON = "/usr/bin/python3"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """kubeconfig: as the list names it; the agent uses its own credentials. socket: where the agent listens.
    policy_timeout: seconds that a pod's start waits for its policy, 0 to not wait. interpreter "": the system's."""

    kubeconfig: str = "/etc/cni/net.d/calico-kubeconfig"
    assign_ipv4: bool = True
    assign_ipv6: bool = False
    mtu: int = 0
    policy_timeout: int = 10
    log_level: str = "Info"
    socket: str = plugin.SOCKET
    interpreter: str = ""


def executable(options: Options) -> bytes:
    """The text of both executables."""
    source = Path(plugin.__file__).read_text()
    source = source.replace(f'SOCKET = "{plugin.SOCKET}"', f"SOCKET = {options.socket!r}", 1)
    source = source.replace(f'VERSION = "{plugin.VERSION}"', f"VERSION = {tortie.__version__!r}", 1)
    return f"#!{options.interpreter or _interpreter()} -IS\n{source}".encode()


def _interpreter() -> str:
    """The system's Python, which starts fastest; where there is none, the one that runs now."""
    return _SYSTEM_PYTHON if Path(_SYSTEM_PYTHON).exists() else os.path.realpath(sys.executable)


def conflist(options: Options) -> bytes:
    """The configuration list with one plugin."""
    calico = {
        "type": CALICO,
        "log_level": options.log_level,
        "datastore_type": "kubernetes",
        "mtu": options.mtu,
        "policy_setup_timeout_seconds": options.policy_timeout,
        "ipam": {
            "type": CALICO_IPAM,
            "assign_ipv4": str(options.assign_ipv4).lower(),
            "assign_ipv6": str(options.assign_ipv6).lower(),
        },
        "policy": {"type": "k8s"},
        "kubernetes": {"kubeconfig": options.kubeconfig},
    }
    body = {"name": NETWORK, "cniVersion": "1.0.0", "plugins": [calico]}
    return msgspec.json.format(msgspec.json.encode(body), indent=2) + b"\n"


def install(*, bin_dir: Path, conf_dir: Path | None, options: Options) -> list[Path]:
    """Gives the paths that changed. conf_dir None: no configuration list."""
    changed = []
    bin_dir.mkdir(parents=True, exist_ok=True)
    for name in (CALICO, CALICO_IPAM):
        changed += _put(bin_dir / name, executable(options), mode=0o755)
    if conf_dir is not None:
        conf_dir.mkdir(parents=True, exist_ok=True)
        changed += _put(conf_dir / CONF_NAME, conflist(options), mode=0o600)
    return changed


def _put(path: Path, content: bytes, *, mode: int) -> list[Path]:
    """Replaces by rename, which also works for a program that is being executed; the same content stays untouched."""
    try:
        if path.read_bytes() == content and stat.S_IMODE(path.stat().st_mode) == mode:
            return []
    except FileNotFoundError:
        pass
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(content)
        temporary.rename(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return [path]
