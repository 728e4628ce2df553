"""Starts one attempt of a container: directories, mounts, environment, isolation, process, record.

In: the container's spec and image, the pod's circumstances, the node's services. Out: a running `Process` and the
`Record` of it on disk (below <pod>/containers/<name>/<attempt>), from which a later kubelet takes over.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec

from tortie.lab.images.catalog import Image
from tortie.lab.kubelet import environment, logs, rootfs
from tortie.lab.kubelet.api import Container, Pod
from tortie.lab.kubelet.environment import PodFacts, References
from tortie.lab.kubelet.node_services import NodeServices, trusted
from tortie.lab.kubelet.rootfs import Isolation, Mount
from tortie.lab.kubelet.runtime import Process, ProcessSpec
from tortie.lab.kubelet.sandbox import hostname
from tortie.lab.kubelet.shim.log import timestamp
from tortie.lab.kubelet.volumes import Prepared, VolumeError

KEPT_ATTEMPTS = 2


class Circumstances(msgspec.Struct, frozen=True, kw_only=True):
    """The pod around a container. netns: None on the host's network."""

    pod: Pod
    netns: str | None
    addresses: list[str]
    facts: PodFacts
    volumes: dict[str, Prepared]
    pod_directory: Path


class Record(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What is kept of an attempt; readable for root only, since the isolation holds the environment. started: it has
    passed its startup probe."""

    id: str
    name: str
    attempt: int
    image: str
    image_id: str
    started_at: str
    socket: str
    init_pid: int
    isolation: Isolation
    started: bool = False


def attempt_directory(directory: Path, attempt: int) -> Path:
    return directory / str(attempt)


def log_path(directory: Path, attempt: int) -> Path:
    return directory / f"{attempt}.log"


def save(directory: Path, record: Record) -> None:
    """Writes the record, all or nothing."""
    path = attempt_directory(directory, record.attempt) / "container.json"
    temporary = path.with_suffix(".new")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(msgspec.json.encode(record))
    temporary.replace(path)


def records(directory: Path) -> list[Record]:
    """The attempts on record, the oldest first."""
    found = []
    for path in directory.glob("*/container.json"):
        try:
            found.append(msgspec.json.decode(path.read_bytes(), type=Record))
        except (OSError, msgspec.DecodeError):
            continue
    return sorted(found, key=lambda record: record.attempt)


async def launch(
    spec: Container,
    image: Image,
    directory: Path,
    attempt: int,
    around: Circumstances,
    services: NodeServices,
    created: Callable[[], None],
) -> tuple[Record, Process]:
    """Starts the container. Raises MissingReference, VolumeError, StartError, OSError; nothing stays mounted then."""
    pod = around.pod
    maps, secrets = environment.referenced(spec)
    refs = References()
    if maps or secrets:
        found_maps, found_secrets = await services.sources.read(pod.metadata.namespace, maps, secrets)
        refs = References(config_maps=found_maps, secrets=found_secrets)
    cluster_services = await services.sources.services(pod.metadata.namespace, links=pod.spec.enable_service_links)
    name = services.config.node if pod.spec.host_network else hostname(pod)
    values = environment.build(
        pod, spec, image, hostname=name, services=cluster_services, refs=refs, facts=around.facts
    )
    command = environment.command_line(spec, image, values)

    where = attempt_directory(directory, attempt)
    _clear_old(directory, attempt)
    where.mkdir(mode=0o700, parents=True, exist_ok=True)
    identity = os.urandom(32).hex()
    control = services.config.root_dir / "ctl" / f"{identity[:20]}.sock"
    control.parent.mkdir(mode=0o700, exist_ok=True)
    root, usr, writable = rootfs.mount_overlays(services.layers, where)
    try:
        mounts, hidden = _mounts(spec, where, values, around)
        isolation = Isolation(
            root=str(root),
            usr=str(usr),
            usr_writable=writable,
            netns=around.netns,
            hostname=None if pod.spec.host_network else name,
            environment=values,
            mounts=mounts,
            hidden=hidden,
            working_dir=environment.expand(spec.working_dir, values) or image.working_dir,
            user=rootfs.user_of(spec.security_context, pod.spec.security_context, image.user),
            capabilities=rootfs.capabilities_of(spec.security_context, trusted=trusted(pod)),
            read_only_root=bool(spec.security_context and spec.security_context.read_only_root_filesystem),
        )
        record = Record(
            id=identity,
            name=spec.name,
            attempt=attempt,
            image=spec.image,
            image_id=image.id,
            started_at=timestamp(),
            socket=str(control),
            init_pid=0,
            isolation=isolation,
        )
        # On record before it runs: a kubelet that dies in between must not leave a container that nobody knows.
        save(directory, record)
        created()
        process = await services.runtime.start(
            where,
            ProcessSpec(
                argv=rootfs.start_command(isolation, command),
                args=rootfs.bwrap_arguments(isolation),
                socket=str(control),
                log=str(log_path(directory, attempt)),
                tty=spec.tty,
                stdin=spec.stdin,
                stdin_once=spec.stdin_once,
            ),
        )
    except Exception:
        (where / "container.json").unlink(missing_ok=True)
        raise
    finally:
        # A running container keeps its own view of its files; the node's handle on it is not needed any more.
        rootfs.unmount_overlays(where)
    record = msgspec.structs.replace(record, init_pid=process.init_pid, started_at=timestamp())
    save(directory, record)
    return record, process


def _clear_old(directory: Path, attempt: int) -> None:
    """Keeps log and end of the attempt before this one, for `logs --previous`; its files go, older attempts wholly."""
    for path in directory.glob("*"):
        number = path.name.split(".")[0]
        if not number.isdigit() or int(number) >= attempt:
            continue
        if path.is_dir():
            old = [path] if int(number) <= attempt - KEPT_ATTEMPTS else path.glob("*-upper")
            for part in old:
                shutil.rmtree(part, ignore_errors=True)
        elif int(number) <= attempt - KEPT_ATTEMPTS:
            path.unlink(missing_ok=True)


def _mounts(
    spec: Container, where: Path, values: dict[str, str], around: Circumstances
) -> tuple[list[Mount], list[str]]:
    """The container's bind mounts, the outer before the inner, and places of the machine to cover again."""
    termination = where / "termination-log"
    termination.touch(mode=0o666)
    termination.chmod(0o666)
    mounts = [
        *rootfs.python_mounts(),
        Mount(source=str(around.pod_directory / "resolv.conf"), target="/etc/resolv.conf", read_only=False),
        Mount(source=str(around.pod_directory / "hosts"), target="/etc/hosts", read_only=False),
        Mount(source=str(termination), target=spec.termination_message_path or "/dev/termination-log", read_only=False),
    ]
    hidden: list[str] = []
    asked = []
    for mount in spec.volume_mounts:
        prepared = around.volumes.get(mount.name)
        if prepared is None:
            raise VolumeError(f"volumeMount {mount.mount_path!r} names volume {mount.name!r}, which the pod has not")
        if not mount.mount_path.startswith("/") and not mount.mount_path:
            raise VolumeError(f"mountPath {mount.mount_path!r} must be absolute")
        source = prepared.path
        sub = environment.expand(mount.sub_path_expr, values) if mount.sub_path_expr else mount.sub_path
        if sub:
            source = _sub_path(prepared, sub)
        target = "/" + mount.mount_path.strip("/")
        if prepared.host and not trusted(around.pod):
            hidden += rootfs.secrets_below(source, target)
        asked.append(Mount(source=str(source), target=target, read_only=mount.read_only or not prepared.writable))
    return [*mounts, *sorted(asked, key=lambda m: m.target.count("/") if m.target != "/" else 0)], hidden


def _sub_path(prepared: Prepared, sub: str) -> Path:
    if sub.startswith("/") or ".." in sub.split("/"):
        raise VolumeError(f"subPath {sub!r} must be relative and without `..`")
    source = prepared.path / sub
    if not source.exists():
        if not prepared.writable:
            raise VolumeError(f"subPath {sub!r} does not exist in the volume")
        source.mkdir(parents=True)
        source.chmod(0o777)
    resolved = source.resolve()
    if not resolved.is_relative_to(prepared.path.resolve()):
        raise VolumeError(f"subPath {sub!r} leads out of the volume")
    return resolved


def missing_program(directory: Path, attempt: int) -> str:
    """bwrap's complaint about a command that does not exist, in the words users know; "" if nothing of the kind."""
    text = logs.last_lines(log_path(directory, attempt), lines=1, limit=1024).strip()
    if not text.startswith("bwrap: execvp "):
        return ""
    program, _, reason = text.removeprefix("bwrap: execvp ").partition(": ")
    where = (
        "executable file not found in $PATH" if "/" not in program and reason.startswith("No such") else reason.lower()
    )
    return f'failed to start container "{directory.name}": exec: "{program}": {where}'
