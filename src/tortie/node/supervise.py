"""The service directories that runit supervises in calico-node, and the process that holds it all.

For `tortie node start`. In: settings. Out: /etc/service/available and enabled, and an `exec` into a small shell that
runs runsvdir; when told to stop, it stops the services and leaves the dataplane as it is (spec/cni-ipam-node.md 3.6).
"""

import errno
import os
import shlex
import subprocess
import sys
from pathlib import Path

import msgspec

from tortie.node.settings import Settings

AVAILABLE = Path("/etc/service/available")
ENABLED = Path("/etc/service/enabled")
LOGS = Path("/var/log/calico")
BIRD_CONFIG = "/etc/calico/confd/config/bird.cfg"
BIRD_CONTROL = "/var/run/calico/bird.ctl"
_STOP_SECONDS = 7

# A BIRD that ends in order tells its peers, and they drop our routes; one that is killed is waited for (graceful
# restart). So its service is always stopped with KILL. Its kernel routes persist either way.
_BIRD_STOP = '#!/bin/sh\nkill -KILL "$(cat supervise/pid)"\n'

# -R makes BIRD wait for its peers before it touches the kernel's routes. That is right when there are some from before
# (protocol 12 is BIRD's), and would only delay the first ones when there are none.
_BIRD = f"""while [ ! -s {BIRD_CONFIG} ]; do sleep 0.1; done
recover=
[ -z "$(ip -4 route show proto 12; ip -6 route show proto 12)" ] || recover=-R
exec bird $recover -f -c {BIRD_CONFIG} -s {BIRD_CONTROL}"""

# runsvdir is told to end with HUP, which it passes on as TERM to every runsv, if this shell dies without a word.
_SUPERVISOR = """#!/bin/sh
# Runs and supervises the services of calico-node; written by tortie node start.
setpriv --pdeathsig HUP runsvdir -P {enabled} &
child=$!
stop() {{
  trap '' TERM INT
  kill -TERM "$child" 2>/dev/null
  sv -w {seconds} force-shutdown {enabled}/* >/dev/null 2>&1
  exit 0
}}
trap stop TERM INT
wait "$child"
code=$?
sv -w {seconds} force-shutdown {enabled}/* >/dev/null 2>&1
exit "$code"
"""


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """script: shell lines that end in exec. stop: a script that replaces the TERM signal, "" for none."""

    name: str
    script: str
    stop: str = ""


def program() -> list[str]:
    """How to run this installation's `tortie`."""
    beside = Path(sys.executable).with_name("tortie")
    return [str(beside)] if beside.exists() else [sys.executable, "-m", "tortie.cli.main"]


def services(settings: Settings) -> list[Service]:
    """What this node runs, as its settings say."""
    tortie = shlex.join(program())
    result = []
    if settings.felix:
        result.append(Service(name="felix", script=f"exec {tortie} felix"))
    if settings.bird:
        result.append(Service(name="confd", script=f"exec {tortie} confd"))
        result.append(Service(name="bird", script=_BIRD, stop=_BIRD_STOP))
    if settings.manage_cni:
        result.append(Service(name="cni", script=f"exec {tortie} cni agent"))
    result.append(Service(name="node-services", script=f"exec {tortie} node monitor"))
    return result


def render(
    wanted: list[Service],
    *,
    file_logging: bool,
    available: Path = AVAILABLE,
    enabled: Path = ENABLED,
    logs: Path = LOGS,
) -> None:
    """Writes the service directories and enables exactly the wanted ones. No supervisor may be running on them."""
    available.mkdir(parents=True, exist_ok=True)
    enabled.mkdir(parents=True, exist_ok=True)
    for link in enabled.iterdir():
        link.unlink()
    for service in wanted:
        base = available / service.name
        base.mkdir(exist_ok=True)
        _script(base / "run", f"#!/bin/sh\nexec 2>&1\n{service.script}\n")
        if service.stop:
            (base / "control").mkdir(exist_ok=True)
            _script(base / "control" / "t", service.stop)
        log = base / "log"
        if file_logging:
            log.mkdir(exist_ok=True)
            target = logs / service.name
            target.mkdir(parents=True, exist_ok=True)
            # 10 MB, five old files; every line goes to calico-node's own output as well.
            (target / "config").write_text("s10000000\nn5\ne*\n")
            _script(log / "run", f"#!/bin/sh\nexec 2>&1\nexec svlogd {shlex.quote(str(target))}\n")
        elif (log / "run").exists():
            (log / "run").unlink()
            _remove_empty(log)
        (enabled / service.name).symlink_to(base)
    # runsvdir waits a second before it trusts a directory that has changed in the present one.
    os.utime(enabled, (0, 0))


def stop_leftovers(enabled: Path = ENABLED, *, seconds: int = _STOP_SECONDS) -> list[str]:
    """Ends services of an earlier calico-node whose supervisor is still alive; gives their names."""
    found = sorted(d.name for d in enabled.iterdir() if _is_supervised(d)) if enabled.is_dir() else []
    if found:
        command = ["sv", "-w", str(seconds), "force-shutdown", *(str(enabled / name) for name in found)]
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return found


def supervise(enabled: Path = ENABLED) -> None:
    """Becomes the supervisor; does not return."""
    script = enabled.parent / "supervisor"
    _script(script, _SUPERVISOR.format(enabled=shlex.quote(str(enabled)), seconds=_STOP_SECONDS))
    os.execv("/bin/sh", ["calico-node", str(script)])  # noqa: S606 - replaces this process


def _is_supervised(service: Path) -> bool:
    """Whether a runsv reads the service's control pipe."""
    try:
        os.close(os.open(service / "supervise" / "ok", os.O_WRONLY | os.O_NONBLOCK))
    except OSError as e:
        return e.errno not in (errno.ENXIO, errno.ENOENT, errno.ENOTDIR)
    return True


def _script(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text)
    temporary.chmod(0o755)
    temporary.replace(path)


def _remove_empty(log: Path) -> None:
    """A log directory without run script would make runsv start a logger that does not exist."""
    for child in (log / "supervise").glob("*"):
        child.unlink()
    for directory in (log / "supervise", log):
        if directory.is_dir():
            directory.rmdir()
