"""What a lab could leave behind on this machine, as comparable text; for the tests of `tortie lab down`."""

import os
import subprocess
from pathlib import Path


def snapshot() -> dict[str, list[str]]:
    """Namespaces, links, addresses, routes, nftables, mounts, processes and state files, each as sorted lines.

    What other tests' namespaces (prefix tt-) show is left out.
    """
    return {
        "ip netns": [line for line in _lines("ip", "netns") if not line.startswith("tt-")],
        "ip link": sorted(line.split(":")[1].strip() for line in _lines("ip", "-o", "link")),
        "ip addr": sorted(" ".join(line.split()[1:4]) for line in _lines("ip", "-o", "addr")),
        "ip route": _lines("ip", "-4", "route", "show", "table", "all"),
        "ip -6 route": _lines("ip", "-6", "route", "show", "table", "all"),
        "ip rule": _lines("ip", "rule"),
        "nft": _lines("nft", "list", "ruleset"),
        "mounts": sorted(line for line in Path("/proc/self/mounts").read_text().splitlines() if "/tt-" not in line),
        "processes": _lab_processes(),
        "cgroups": sorted(str(path) for path in Path("/sys/fs/cgroup").glob("**/*tortie*")),
        "files": sorted(
            str(path)
            for pattern in ("/var/lib/tortie*", "/run/tortie*", "/etc/calico", "/var/lib/calico", "/run/calico")
            for path in Path("/").glob(pattern.lstrip("/"))
        ),
    }


def differences(before: dict[str, list[str]], after: dict[str, list[str]]) -> dict[str, list[str]]:
    """What `after` has or lacks against `before`, by kind. Other labs of the machine may start and end processes of
    theirs meanwhile, so of processes only new ones count."""
    found = {}
    for what, lines in before.items():
        new = [f"new: {line}" for line in after[what] if line not in lines]
        gone = [f"gone: {line}" for line in lines if line not in after[what] and what != "processes"]
        if new or gone:
            found[what] = new + gone
    return found


def _lines(*argv: str) -> list[str]:
    result = subprocess.run(argv, capture_output=True, text=True, check=False)
    return sorted(line.rstrip() for line in result.stdout.splitlines())


def _lab_processes() -> list[str]:
    """Command lines of processes that belong to a lab: its programs, and whatever runs in its namespaces."""
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            line = Path(f"/proc/{entry.name}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "tortie-lab:" in line or "runsv" in line or "bwrap" in line or "svlogd" in line:
            found.append(line)
    return sorted(found)
