"""What a lab needs of this machine, checked before anything is changed.

In: nothing but the machine. Out: silence, or one LabError whose sentence says what is missing and what to do.
"""

import ctypes
import errno
import os
import platform
import shutil
import socket
import subprocess
from pathlib import Path

from tortie.lab.layout import STATE_ROOT
from tortie.lab.state import LabError

_PROGRAMS = {
    "ip": "iproute2",
    "nft": "nftables",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "runsvdir": "runit",
    "bwrap": "bubblewrap",
    "bird": "bird2",
    "conntrack": "conntrack",
}
_MINIMUM_FREE = 256 << 20


def check(*, api_port: int, api_running: bool) -> None:
    """Raises LabError naming the first thing that is missing. api_running: this lab's own server holds the port."""
    if platform.system() != "Linux":
        raise LabError(f"A lab needs Linux; this is {platform.system()}.")
    if os.geteuid() != 0:
        raise LabError("A lab needs root, for network namespaces and nftables: run the command as root.")
    os.environ["PATH"] = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"
    for name, package in _PROGRAMS.items():
        if shutil.which(name) is None:
            raise LabError(f"The program {name!r} is missing; `apt-get install {package}` brings it.")
    _check_namespaces()
    _check_nftables()
    _check_overlay()
    _check_space()
    if not api_running:
        _check_port(api_port)


def _check_namespaces() -> None:
    result = subprocess.run(
        ["unshare", "--mount", "--pid", "--net", "--fork", "true"], capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        raise LabError(
            "This kernel or container does not allow new mount, PID and network namespaces "
            f"({result.stderr.strip()}); run on a real or virtual machine, or in a privileged container."
        )


def _check_nftables() -> None:
    """Asks the kernel for every nftables feature that Felix's rules use, in a namespace that ends with the question."""
    rules = "\n".join(
        (
            "table inet t {",
            "map m { type ifname : verdict; }",
            "set s { type ipv4_addr; flags interval; }",
            "chain f { type filter hook forward priority 0; ct state established accept; iifname vmap @m; }",
            "chain n { type nat hook postrouting priority 100; ip saddr @s masquerade; }",
            "chain r { type filter hook prerouting priority -300; fib saddr . iif oif missing drop; }",
            "}",
            "",
        )
    )
    result = subprocess.run(
        ["unshare", "--net", "nft", "-f", "-"], input=rules, capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        first = (result.stderr.strip().splitlines() or ["no reason given"])[0]
        raise LabError(f"The kernel's nftables lacks a feature that policy enforcement needs: {first}")


def _check_overlay() -> None:
    if "overlay" not in Path("/proc/filesystems").read_text():
        libc = ctypes.CDLL(None, use_errno=True)
        # Mounting with no arguments loads the module where it is one; anything but ENODEV means that it is there.
        libc.mount(b"overlay", b"/nonexistent", b"overlay", 0, None)
        if ctypes.get_errno() == errno.ENODEV:
            raise LabError("The kernel has no overlay file system, which gives each node its own /etc and /opt.")


def _check_space() -> None:
    place = STATE_ROOT
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < _MINIMUM_FREE:
        raise LabError(
            f"{place} has {free >> 20} MiB free and a lab needs {_MINIMUM_FREE >> 20} MiB; free some, or set "
            "TORTIE_STATE_DIR to a directory elsewhere."
        )


def _check_port(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise LabError(
                f"Port {port} on 127.0.0.1 is taken ({error.strerror}); choose another with --api-port."
            ) from error
