"""A container's file system and isolation: overlay mounts below, bubblewrap's options above.

In: the image's layers, the container's directory, its mounts, environment, user and capabilities. Out: mounted overlays
and the argument lists for `runtime`; the argument lists are made by a pure function.
"""

import fcntl
import os
import struct
import sys
from pathlib import Path
from typing import Any

import msgspec

import tortie
from tortie.lab.images.layer import Layers
from tortie.lab.kubelet import linux
from tortie.lab.kubelet.api import PodSecurityContext, SecurityContext

# Numbers as in linux/capability.h.
CAPABILITY_NUMBERS = {
    name: number
    for number, name in enumerate(
        (
            *("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP"),
            *("LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER"),
            *("SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE"),
            *("SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL"),
            *("SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ"),
            *("PERFMON", "BPF", "CHECKPOINT_RESTORE"),
        )
    )
}
# What a container runtime grants by default, without the right to make device nodes.
DEFAULT_CAPABILITIES = (
    *("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "NET_RAW", "SETFCAP", "SETGID"),
    *("SETPCAP", "SETUID", "SYS_CHROOT", "AUDIT_WRITE"),
)
# Capabilities that act inside the pod's own namespaces only, or on nothing but the process itself.
GRANTABLE = (*DEFAULT_CAPABILITIES, "NET_ADMIN", "NET_BROADCAST", "SYS_NICE", "SYS_RESOURCE", "IPC_LOCK", "SYS_PTRACE")
# What a trusted pod may have besides. Never the loading of modules, raw devices, the clock or a reboot.
TRUSTED = (*GRANTABLE, "SYS_ADMIN", "MKNOD", "BPF", "PERFMON", "SYSLOG", "LEASE", "IPC_OWNER", "DAC_READ_SEARCH")

_READ_ONLY_PROC = ("sys", "fs", "bus", "irq", "sysrq-trigger")
_HIDDEN_PROC = ("kcore", "keys", "timer_list", "kmsg", "latency_stats", "sched_debug")

# Parts of the machine that hold its secrets; a hostPath volume never shows them.
SECRET_DIRECTORIES = (
    *("/root", "/home", "/var/lib/tortie", "/var/lib/kubelet", "/var/lib/calico", "/var/lib/kube-proxy"),
    *("/etc/calico", "/etc/cni", "/etc/shadow", "/etc/gshadow", "/etc/ssh", "/etc/ssl/private", "/etc/kubernetes"),
    *("/var/run/calico", "/run/calico", "/run/secrets"),
)


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    """A bind mount into the container."""

    source: str
    target: str
    read_only: bool = True


class User(msgspec.Struct, frozen=True, kw_only=True):
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()


class Isolation(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that makes a container out of a command. netns: None for pods on the host's network."""

    root: str
    usr: str
    usr_writable: bool
    netns: str | None
    hostname: str | None
    environment: dict[str, str]
    mounts: list[Mount]
    hidden: list[str]
    working_dir: str
    user: User
    capabilities: tuple[str, ...]
    read_only_root: bool = False


def user_of(container: SecurityContext | None, pod: PodSecurityContext | None, image_user: int) -> User:
    """The user of a container: its own context first, then the pod's, then the image's."""
    uid = next(
        (c.run_as_user for c in (container, pod) if c is not None and c.run_as_user is not None),
        image_user,
    )
    gid = next((c.run_as_group for c in (container, pod) if c is not None and c.run_as_group is not None), 0)
    groups: tuple[int, ...] = ()
    if pod is not None:
        groups = (*pod.supplemental_groups, *([pod.fs_group] if pod.fs_group is not None else []))
    return User(uid=uid, gid=gid, groups=groups)


def capabilities_of(context: SecurityContext | None, *, trusted: bool) -> tuple[str, ...]:
    """The capability set of root in a container. trusted: the pod may have what reaches beyond its namespaces."""
    allowed = TRUSTED if trusted else GRANTABLE
    if context is None:
        return DEFAULT_CAPABILITIES
    if context.privileged:
        return tuple(dict.fromkeys(allowed))
    wanted = context.capabilities
    add = [name.removeprefix("CAP_") for name in wanted.add] if wanted else []
    drop = [name.removeprefix("CAP_") for name in wanted.drop] if wanted else []
    base = () if "ALL" in drop else tuple(name for name in DEFAULT_CAPABILITIES if name not in drop)
    extra = allowed if "ALL" in add else tuple(name for name in add if name in allowed)
    return tuple(dict.fromkeys((*base, *extra)))


def secret(path: Path) -> bool:
    """Whether a path of the machine is, or is below, one that holds its secrets."""
    resolved = path.resolve()
    return any(resolved.is_relative_to(directory) for directory in SECRET_DIRECTORIES)


def secrets_below(source: Path, target: str) -> list[str]:
    """Where the machine's secrets would show in a bind mount of `source` at `target`; directories end with a slash."""
    base = source.resolve()
    found = []
    for text in SECRET_DIRECTORIES:
        path = Path(text)
        if path.exists() and not path.is_symlink() and path.is_relative_to(base) and path != base:
            inside = "/" + f"{target}/{path.relative_to(base)}".strip("/")
            found.append(f"{inside}/" if path.is_dir() else inside)
    return found


def mount_overlays(layers: Layers, directory: Path) -> tuple[Path, Path, bool]:
    """Mounts a container's own writable / and /usr below its directory; returns them and whether /usr is writable."""
    root = _overlay(directory, "root", [layers.root])
    assert root is not None
    usr = _overlay(directory, "usr", [layers.usr, Path("/usr")])
    return root, usr or Path("/usr"), usr is not None


def _overlay(directory: Path, name: str, lower: list[Path]) -> Path | None:
    paths = {part: directory / f"{name}-{part}" for part in ("upper", "work", "merged")}
    for path in paths.values():
        path.mkdir(exist_ok=True)
    # A container that a kubelet before this one failed to start may have left its mount.
    if paths["merged"].is_mount():
        linux.unmount(paths["merged"])
    options = f"lowerdir={':'.join(map(str, lower))},upperdir={paths['upper']},workdir={paths['work']}"
    linux.mount("overlay", paths["merged"], "overlay", options)
    return paths["merged"]


def unmount_overlays(directory: Path) -> None:
    """The container's view of its files lasts as long as its processes; this only drops the kubelet's handle on it."""
    for name in ("root", "usr"):
        linux.unmount(directory / f"{name}-merged")


def python_mounts() -> list[Mount]:
    """The interpreter environment that runs this program, at its own place, for programs that use it."""
    package = Path(tortie.__file__).resolve().parent
    paths = {sys.prefix, str(package.parent)}
    if not sys.base_prefix.startswith("/usr"):
        paths.add(sys.base_prefix)
    return [
        Mount(source=path, target=path) for path in sorted(paths) if not path.startswith("/usr/") and path != "/usr"
    ]


def bwrap_arguments(isolation: Isolation) -> list[str]:
    """Bubblewrap's options; they reach it through a descriptor since they hold the environment."""
    arguments = ["--unshare-pid", "--unshare-ipc", "--die-with-parent", "--json-status-fd", "4"]
    if isolation.hostname is not None:
        arguments += ["--unshare-uts", "--hostname", isolation.hostname]
    arguments += ["--bind", isolation.root, "/"]
    arguments += ["--bind" if isolation.usr_writable else "--ro-bind", isolation.usr, "/usr"]
    arguments += ["--proc", "/proc"]
    for name in _READ_ONLY_PROC:
        if Path("/proc", name).exists():
            arguments += ["--ro-bind", f"/proc/{name}", f"/proc/{name}"]
    for name in _HIDDEN_PROC:
        if Path("/proc", name).exists():
            arguments += ["--ro-bind", "/dev/null", f"/proc/{name}"]
    arguments += ["--dev", "/dev"]
    for mount in isolation.mounts:
        arguments += ["--ro-bind" if mount.read_only else "--bind", mount.source, mount.target]
    for path in isolation.hidden:
        if path.endswith("/"):
            arguments += ["--tmpfs", path, "--remount-ro", path]
        else:
            arguments += ["--ro-bind", "/dev/null", path]
    if isolation.working_dir and isolation.working_dir != "/":
        arguments += ["--dir", isolation.working_dir]
    if isolation.read_only_root:
        arguments += ["--remount-ro", "/usr", "--remount-ro", "/"]
    arguments += ["--chdir", isolation.working_dir or "/"]
    arguments += ["--cap-drop", "ALL"]
    # Changing to another user takes these two; that user keeps none.
    needed = ("SETUID", "SETGID") if isolation.user.uid else ()
    for name in dict.fromkeys((*isolation.capabilities, *needed)):
        arguments += ["--cap-add", f"CAP_{name}"]
    arguments += ["--clearenv"]
    for name, value in isolation.environment.items():
        arguments += ["--setenv", name, value]
    return arguments


def start_command(isolation: Isolation, command: list[str]) -> list[str]:
    """The visible command line of a container: into the pod's network, then the isolation, then the user's command."""
    enter = [] if isolation.netns is None else ["/usr/bin/nsenter", f"--net={isolation.netns}", "--"]
    return [*enter, "/usr/bin/bwrap", "--args", "3", "--", *become(isolation.user), *command]


def become(user: User) -> list[str]:
    """The prefix that turns root into a container's user."""
    if not user.uid and not user.gid and not user.groups:
        return []
    groups = f"--groups={','.join(map(str, user.groups))}" if user.groups else "--clear-groups"
    return ["/usr/bin/setpriv", f"--reuid={user.uid}", f"--regid={user.gid}", groups, "--"]


def exec_request(isolation: Isolation, pid: int, command: list[str], *, tty: bool) -> dict[str, Any]:
    """What `shim.execute` needs to run one more command in a running container, with the rights that it has."""
    namespaces = ["ipc", *(["uts"] if isolation.hostname is not None else []), "net", "pid", "mnt"]
    environment = isolation.environment
    if tty and "TERM" not in environment:
        environment = {**environment, "TERM": "xterm"}
    return {
        "op": "exec",
        "target": pid,
        "namespaces": namespaces,
        "argv": command,
        "env": environment,
        "cwd": isolation.working_dir or "/",
        "uid": isolation.user.uid,
        "gid": isolation.user.gid,
        "groups": list(isolation.user.groups),
        "capabilities": [CAPABILITY_NUMBERS[name] for name in isolation.capabilities],
        "tty": tty,
    }


def pseudo_terminal(pid: int) -> tuple[int, int]:
    """A terminal pair from the container's own /dev/pts: (our side, the command's side)."""
    ours = os.open(f"/proc/{pid}/root/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(ours, 0x40045431, struct.pack("i", 0))  # TIOCSPTLCK: unlock
        theirs = fcntl.ioctl(ours, 0x5441, os.O_RDWR | os.O_NOCTTY)  # TIOCGPTPEER
    except OSError:
        os.close(ours)
        raise
    return ours, theirs
