"""A pod's volumes as directories on the node, kept up to date while the pod runs.

In: the volumes of the pod's spec, objects and tokens from `sources`. Out: a directory (or host path) for each volume;
files from objects appear all at once through a `..data` link, as with any kubelet, and change when the object changes.
"""

import base64
import os
import shutil
from pathlib import Path
from typing import Protocol

import msgspec

from tortie.lab.kubelet import environment, linux, rootfs
from tortie.lab.kubelet.api import (
    ConfigMap,
    DownwardItem,
    KeyToPath,
    Pod,
    ProjectedVolume,
    Secret,
    TokenProjection,
    Volume,
)
from tortie.lab.kubelet.environment import MissingReference, PodFacts


class VolumeError(Exception):
    """A volume that cannot be provided; the pod waits with the event FailedMount."""


class File(msgspec.Struct, frozen=True, kw_only=True):
    content: bytes
    mode: int


class Source(Protocol):
    """Where objects come from; the kubelet's is `sources.Sources`."""

    async def config_map(self, namespace: str, name: str) -> ConfigMap | None: ...

    async def secret(self, namespace: str, name: str) -> Secret | None: ...

    async def token(self, pod: Pod, projection: TokenProjection) -> str: ...


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """Where a volume is on the node. writable: whether a mount of it may be. host: a path of the machine itself."""

    path: Path
    writable: bool
    host: bool = False


def select(
    data: dict[str, bytes], items: tuple[KeyToPath, ...], *, mode: int, optional: bool, what: str
) -> dict[str, File]:
    """The files of an object: all keys, or the named ones at their paths. Raises VolumeError for a missing key."""
    if not items:
        return {key: File(content=content, mode=mode) for key, content in data.items()}
    files = {}
    for item in items:
        if item.key not in data:
            if optional:
                continue
            raise VolumeError(f"references non-existent key {item.key!r} of {what}")
        files[_safe(item.path)] = File(content=data[item.key], mode=mode if item.mode is None else item.mode)
    return files


def _safe(path: str) -> str:
    parts = path.split("/")
    if path.startswith("/") or ".." in parts or not path:
        raise VolumeError(f"path {path!r} must be relative and without `..`")
    return path


def config_map_data(source: ConfigMap) -> dict[str, bytes]:
    return {
        **{key: text.encode() for key, text in source.data.items()},
        **{key: base64.b64decode(text) for key, text in source.binary_data.items()},
    }


def secret_data(source: Secret) -> dict[str, bytes]:
    return {key: base64.b64decode(text) for key, text in source.data.items()}


def write_files(directory: Path, files: dict[str, File]) -> bool:
    """Makes the directory hold exactly these files, by one rename. Returns whether anything changed."""
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o755)
    link = directory / "..data"
    if _same(directory, link, files):
        return False
    old = Path(os.readlink(link)).name if link.is_symlink() else None  # noqa: PTH115  # the text itself
    stamp = directory / f"..{os.urandom(6).hex()}"
    stamp.mkdir(mode=0o755)
    for name, file in files.items():
        path = stamp / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
        path.chmod(file.mode)
    fresh = directory / "..data_tmp"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(stamp.name)
    fresh.replace(link)
    tops = {name.split("/")[0] for name in files}
    for name in tops:
        entry = directory / name
        if not entry.is_symlink():
            entry.symlink_to(f"..data/{name}")
    for entry in directory.iterdir():
        if not entry.name.startswith("..") and entry.name not in tops:
            entry.unlink(missing_ok=True)
    if old:
        shutil.rmtree(directory / old, ignore_errors=True)
    return True


def _same(directory: Path, link: Path, files: dict[str, File]) -> bool:
    if not link.is_symlink():
        return False
    current = {str(path.relative_to(link.resolve())): path for path in link.resolve().rglob("*") if path.is_file()}
    if current.keys() != files.keys():
        return False
    return all(
        current[name].read_bytes() == file.content and current[name].stat().st_mode & 0o7777 == file.mode
        for name, file in files.items()
    )


class Volumes:
    """The volumes of one pod. directory: where they live; facts: for the downward API."""

    def __init__(self, pod: Pod, directory: Path, source: Source) -> None:
        self._pod = pod
        self._directory = directory
        self._source = source
        self.prepared: dict[str, Prepared] = {}

    def update(self, pod: Pod) -> None:
        """A newer version of the pod: its labels and annotations may show in files."""
        self._pod = pod

    @property
    def follows_objects(self) -> bool:
        """Whether any volume shows objects that may change."""
        return any(v.config_map or v.secret or v.projected or v.downward_api for v in self._pod.spec.volumes)

    async def prepare(self, facts: PodFacts, *, trusted: bool) -> None:
        """Makes every volume ready. Raises VolumeError naming the first that cannot be."""
        for volume in self._pod.spec.volumes:
            try:
                self.prepared[volume.name] = await self._prepare(volume, facts, trusted=trusted)
            except (VolumeError, MissingReference, OSError) as error:
                raise VolumeError(f'MountVolume.SetUp failed for volume "{volume.name}" : {error}') from error
        self._own()

    async def refresh(self, facts: PodFacts) -> None:
        """Brings files that come from objects up to date. Raises VolumeError."""
        for volume in self._pod.spec.volumes:
            if volume.config_map or volume.secret or volume.projected or volume.downward_api:
                self.prepared[volume.name] = await self._prepare(volume, facts, trusted=False)
        self._own()

    def remove(self) -> None:
        """Deletes everything; host paths stay."""
        for mount in linux.mounts_under(self._directory):
            linux.unmount(mount)
        shutil.rmtree(self._directory, ignore_errors=True)

    async def _prepare(self, volume: Volume, facts: PodFacts, *, trusted: bool) -> Prepared:
        path = self._directory / volume.name
        if volume.host_path is not None:
            return _host_path(volume.host_path.path, volume.host_path.type, trusted=trusted)
        if volume.empty_dir is not None:
            if not path.exists():
                path.mkdir(parents=True)
                if volume.empty_dir.medium == "Memory":
                    linux.mount("tmpfs", path, "tmpfs", "mode=0777")
                path.chmod(0o777)
            return Prepared(path=path, writable=True)
        files = await self._files(volume, facts)
        write_files(path, files)
        return Prepared(path=path, writable=False)

    async def _files(self, volume: Volume, facts: PodFacts) -> dict[str, File]:
        namespace = self._pod.metadata.namespace
        if volume.config_map is not None:
            map_ = volume.config_map
            return await self._config_map(namespace, map_.name, map_.items, _mode(map_.default_mode), map_.optional)
        if volume.secret is not None:
            secret = volume.secret
            mode = _mode(secret.default_mode)
            return await self._secret(namespace, secret.secret_name, secret.items, mode, secret.optional)
        if volume.downward_api is not None:
            return self._downward(volume.downward_api.items, _mode(volume.downward_api.default_mode), facts)
        if volume.projected is not None:
            return await self._projected(volume.projected, facts)
        raise VolumeError(
            "the lab offers the volume types emptyDir, configMap, secret, projected, downwardAPI and hostPath"
        )

    async def _config_map(
        self, namespace: str, name: str, items: tuple[KeyToPath, ...], mode: int, optional: bool
    ) -> dict[str, File]:
        found = await self._source.config_map(namespace, name)
        if found is None:
            if optional:
                return {}
            raise VolumeError(f'configmap "{name}" not found')
        return select(config_map_data(found), items, mode=mode, optional=optional, what=f"configmap {name}")

    async def _secret(
        self, namespace: str, name: str, items: tuple[KeyToPath, ...], mode: int, optional: bool
    ) -> dict[str, File]:
        found = await self._source.secret(namespace, name)
        if found is None:
            if optional:
                return {}
            raise VolumeError(f'secret "{name}" not found')
        return select(secret_data(found), items, mode=mode, optional=optional, what=f"secret {name}")

    def _downward(self, items: tuple[DownwardItem, ...], mode: int, facts: PodFacts) -> dict[str, File]:
        files = {}
        for item in items:
            if item.field_ref is not None:
                text = environment.field(self._pod, item.field_ref.field_path, facts)
            elif item.resource_field_ref is not None:
                text = environment.resource_field(self._pod.spec.containers, None, item.resource_field_ref, facts)
            else:
                raise VolumeError(f"item {item.path!r} needs fieldRef or resourceFieldRef")
            files[_safe(item.path)] = File(content=text.encode(), mode=mode if item.mode is None else item.mode)
        return files

    async def _projected(self, volume: ProjectedVolume, facts: PodFacts) -> dict[str, File]:
        namespace = self._pod.metadata.namespace
        mode = _mode(volume.default_mode)
        files: dict[str, File] = {}
        for source in volume.sources:
            if source.config_map is not None:
                map_ = source.config_map
                files |= await self._config_map(namespace, map_.name, map_.items, mode, map_.optional)
            elif source.secret is not None:
                files |= await self._secret(
                    namespace, source.secret.name, source.secret.items, mode, source.secret.optional
                )
            elif source.downward_api is not None:
                files |= self._downward(source.downward_api.items, mode, facts)
            elif source.service_account_token is not None:
                token = await self._source.token(self._pod, source.service_account_token)
                files[_safe(source.service_account_token.path)] = File(content=token.encode(), mode=mode)
        return files

    def _own(self) -> None:
        """fsGroup: files belong to the group, and the group may read what the owner may."""
        context = self._pod.spec.security_context
        if context is None or context.fs_group is None:
            return
        for prepared in self.prepared.values():
            if prepared.host:
                continue
            for path in (prepared.path, *prepared.path.rglob("*")):
                if not path.is_symlink():
                    os.chown(path, -1, context.fs_group)
                    mode = path.stat().st_mode & 0o7777
                    path.chmod(mode | (mode & 0o600) >> 3 | (0o2070 if path.is_dir() and prepared.writable else 0))


def _mode(value: int | None) -> int:
    return 0o644 if value is None else value


def _host_path(text: str, kind: str, *, trusted: bool) -> Prepared:
    path = Path(text)
    if not path.is_absolute() or ".." in path.parts:
        raise VolumeError(f"hostPath {text!r} must be absolute and without `..`")
    if not trusted and rootfs.secret(path):
        raise VolumeError(f"hostPath {text!r} holds secrets of the machine; the lab shows it to trusted pods only")
    if kind in ("DirectoryOrCreate", "FileOrCreate") and not path.exists():
        if not trusted:
            raise VolumeError(f"hostPath {text!r} does not exist, and only trusted pods may create it")
        if kind == "DirectoryOrCreate":
            path.mkdir(parents=True)
        else:
            path.touch()
    checks = {"Directory": path.is_dir, "File": path.is_file, "Socket": path.is_socket}
    check = checks.get(kind.removesuffix("OrCreate"))
    if check is not None and not check():
        raise VolumeError(f"hostPath type check failed: {text} is not a {kind.removesuffix('OrCreate').lower()}")
    if not path.exists():
        raise VolumeError(f"hostPath {text!r} does not exist on this node")
    return Prepared(path=path, writable=trusted, host=True)
