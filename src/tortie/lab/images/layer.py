"""Puts the images' programs and a small root file system where overlay mounts can use them as lower layers.

In: this package's programs and the host's /usr and /etc. Out: below one directory, `root` (what a container sees at /
apart from /usr) and `usr` (laid over the host's /usr); built at each start of a kubelet, cheap when unchanged.
"""

import contextlib
import os
import shutil
from pathlib import Path

import msgspec

import tortie

_START = """#!/usr/bin/python3 -IS
import sys
sys.path.insert(0, {source!r})
from tortie.lab.images.programs.{program} import main
main()
"""

# Program -> where it is installed below /usr; names below bin give way to the host's own program.
_INSTALL: dict[str, tuple[str, ...]] = {
    "nginx": ("libexec/tortie/nginx", "sbin/nginx", "sbin/httpd-foreground"),
    "agnhost": ("libexec/tortie/agnhost",),
    "http_echo": ("libexec/tortie/http-echo",),
    "echo": ("libexec/tortie/echo",),
    "client": ("libexec/tortie/client",),
    "shop": ("libexec/tortie/shop",),
    "curl": ("libexec/tortie/curl", "bin/curl"),
    "wget": ("libexec/tortie/wget", "bin/wget"),
    "nc": ("libexec/tortie/nc", "bin/nc"),
    "nslookup": ("libexec/tortie/nslookup", "bin/nslookup"),
}
_YIELDING = ("bin/curl", "bin/wget", "bin/nc", "bin/nslookup")

_DIRECTORIES = {
    "tmp": 0o1777,
    "var/tmp": 0o1777,
    "root": 0o700,
    **dict.fromkeys(
        (
            *("usr", "etc", "run", "run/lock", "home", "opt", "srv", "mnt", "media", "proc", "sys", "dev"),
            *("var", "var/log", "var/log/nginx", "var/lib", "var/cache", "var/cache/nginx", "var/spool", "var/www"),
            *("etc/ssl", "etc/nginx", "etc/nginx/conf.d", "data", "etc/alternatives"),
        ),
        0o755,
    ),
}
_LINKS = {
    "bin": "usr/bin",
    "sbin": "usr/sbin",
    "lib": "usr/lib",
    "lib32": "usr/lib32",
    "lib64": "usr/lib64",
    "libx32": "usr/libx32",
    "var/run": "../run",
    "var/lock": "../run/lock",
    "agnhost": "usr/libexec/tortie/agnhost",
    "pause": "usr/libexec/tortie/pause",
    "etc/mtab": "../proc/self/mounts",
}
# Harmless files of the host's /etc; nothing else of it is seen in a container.
_HOST_ETC = (
    *("debian_version", "ld.so.cache", "ld.so.conf", "mime.types", "protocols", "services", "rpc", "ethertypes"),
    *("localtime", "timezone", "host.conf", "bash.bashrc", "profile", "inputrc", "gai.conf", "os-release"),
)
_USERS = """root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
bin:x:2:2:bin:/bin:/usr/sbin/nologin
www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin
nginx:x:101:101:nginx:/var/cache/nginx:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
"""
_GROUP = """root:x:0:
daemon:x:1:
bin:x:2:
tty:x:5:
www-data:x:33:
nginx:x:101:
nogroup:x:65534:
"""
_NSSWITCH = (
    "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\nprotocols: files\nservices: files\n"
)
_INDEX = """<!DOCTYPE html>
<html>
<head><title>Welcome to nginx!</title></head>
<body>
<h1>Welcome to nginx!</h1>
<p>This is the small web server of a Tortie lab. Put files into /usr/share/nginx/html to change this page.</p>
</body>
</html>
"""


class Layers(msgspec.Struct, frozen=True, kw_only=True):
    """Lower directories for overlay mounts."""

    root: Path
    usr: Path


def build(directory: Path) -> Layers:
    """Writes the layers below `directory`. Existing ones are replaced file by file, running containers keep theirs."""
    root, usr = directory / "root", directory / "usr"
    for name, mode in _DIRECTORIES.items():
        path = root / name
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(mode)
    for name, target in _LINKS.items():
        if not (root / name).is_symlink() and (name[:3] != "lib" or Path("/", target).exists()):
            (root / name).symlink_to(target)
    for name in _HOST_ETC:
        source = Path("/etc") / name
        if source.is_file():
            _write(root / "etc" / name, source.read_bytes(), 0o644)
    _copy_tree(Path("/etc/ssl/certs"), root / "etc/ssl/certs")
    _copy_tree(Path("/etc/alternatives"), root / "etc/alternatives")
    _copy_tree(Path("/etc/ld.so.conf.d"), root / "etc/ld.so.conf.d")
    for name, text in (("passwd", _USERS), ("group", _GROUP), ("nsswitch.conf", _NSSWITCH)):
        _write(root / "etc" / name, text.encode(), 0o644)
    for program, targets in _INSTALL.items():
        text = _START.format(source=str(Path(tortie.__file__).resolve().parent.parent), program=program)
        for target in targets:
            if target in _YIELDING and Path("/usr", target).exists():
                continue
            _write(usr / target, text.encode(), 0o755)
    _write(
        usr / "libexec/tortie/pause",
        b"#!/bin/sh\ntrap 'exit 0' TERM INT\nwhile :; do sleep 2147483647 & wait; done\n",
        0o755,
    )
    _write(usr / "share/nginx/html/index.html", _INDEX.encode(), 0o644)
    if not Path("/usr/bin/python").exists() and not (usr / "bin/python").is_symlink():
        (usr / "bin").mkdir(exist_ok=True)
        (usr / "bin/python").symlink_to("python3")
    return Layers(root=root, usr=usr)


def _write(path: Path, content: bytes, mode: int) -> None:
    with contextlib.suppress(OSError):
        if path.read_bytes() == content:
            return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(content)
    temporary.chmod(mode)
    os.replace(temporary, path)  # noqa: PTH105  # also over a link


def _copy_tree(source: Path, target: Path) -> None:
    """Copies once; symbolic links stay links, what cannot be read is left out."""
    if target.is_dir() and any(target.iterdir()):
        return
    with contextlib.suppress(OSError, shutil.Error):
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
