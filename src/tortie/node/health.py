"""The probes of calico-node: is Felix alive and ready, do BIRD and its sessions work.

For kubelet, which runs `tortie node ready` and `live` every few seconds, and for the node services. In: Felix's health
port, runit's service directories, BIRD's control socket. Out: "" or what is wrong. Imports little: a probe is a process
of its own (spec/cni-ipam-node.md 3.7, spec/bgp-typha.md A.5.3).
"""

import os
import socket
import time
from pathlib import Path

from tortie.routing.birdc import BirdError
from tortie.routing.status import read_daemon, read_protocols

SERVICES = Path("/etc/service/enabled")
_NODENAME_FILE = Path("/var/lib/calico/nodename")
_MAX_ANSWER = 65536


def felix(path: str, *, host: str = "", port: int = 0, timeout: float = 5.0) -> str:
    """Asks Felix's health port. path: `/liveness` or `/readiness`; host and port from the environment if not given."""
    host = host or os.environ.get("FELIX_HEALTHHOST", "") or "localhost"
    port = port or int(os.environ.get("FELIX_HEALTHPORT", "") or 9099)
    word = "ready" if path == "/readiness" else "live"
    try:
        with socket.create_connection((host, port), timeout=timeout) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while len(answer) < _MAX_ANSWER and (chunk := connection.recv(_MAX_ANSWER)):
                answer += chunk
    except OSError as e:
        return f"Felix is not {word}: no answer at {host}:{port}: {e.strerror or e}"
    status = answer.split(b" ", 2)[1:2]
    if status and status[0].isdigit() and 200 <= int(status[0]) < 400:
        return ""
    body = " ".join(answer.partition(b"\r\n\r\n")[2].decode(errors="replace").split())
    return f"Felix is not {word}: {body[:500] or 'unexpected answer'}"


def bird_live(*, services: Path = SERVICES, control: Path | None = None) -> str:
    """BIRD and confd are supervised and running, and BIRD answers."""
    for name in ("confd", "bird"):
        if not is_running(services / name):
            return f"BIRD is not live: service {name} is not running"
    try:
        version = read_daemon(control).version
    except BirdError as e:
        return f"BIRD is not live: {e}"
    return "" if version else "BIRD is not live: unexpected answer to `show status`"


def bird_ready(
    *,
    threshold: float = 30.0,
    family: int = 0,
    control: Path | None = None,
    started: Path = _NODENAME_FILE,
    now: float | None = None,
) -> str:
    """Sessions are established: all of them within `threshold` seconds after the node's start, then at least one.

    family: 0 for the peers of both. started: the file whose time is the node's start. No peers count as ready.
    """
    try:
        peers = [p for p in read_protocols(control) if p.is_peer]
        recovering = read_daemon(control).recovering
    except BirdError as e:
        return f"BIRD is not ready: {e}"
    if family:
        peers = [p for p in peers if (":" in p.neighbor) == (family == 6)]
    missing = sorted(p.neighbor or p.name for p in peers if not p.established)
    complaint = f"BIRD is not ready: BGP not established with {', '.join(missing)}"
    if _age(started, now) <= threshold:
        if missing:
            return complaint
        return "BIRD is not ready: graceful restart in progress" if recovering and peers else ""
    return complaint if peers and len(missing) == len(peers) else ""


def is_running(service: Path) -> bool:
    """Whether runit says that the service runs."""
    try:
        return (service / "supervise" / "stat").read_text().startswith("run")
    except OSError:
        return False


def _age(file: Path, now: float | None) -> float:
    """Seconds since the file was written; without it the node has only begun to start."""
    try:
        return (time.time() if now is None else now) - file.stat().st_mtime
    except OSError:
        return 0.0
