"""Starts that must fail: one clear sentence, exit code 1."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest


def _start(*args: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tortie.cli.main", "apiserver", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)  # type: ignore[call-overload,no-any-return]


def _says(done: subprocess.CompletedProcess[str], text: str) -> None:
    assert done.returncode == 1, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("tortie apiserver: ")
    assert text in lines[0]


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = _start("--data-dir", str(tmp_path / "d"), "--listen", f"127.0.0.1:{port}")
    _says(done, f"port {port} on 127.0.0.1 is taken")


def test_an_address_of_another_machine_is_named(tmp_path: Path) -> None:
    _says(_start("--data-dir", str(tmp_path / "d"), "--listen", "192.0.2.1:0"), "no address 192.0.2.1")


def test_a_damaged_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"no database" * 1000)
    _says(_start("--data-dir", str(tmp_path), "--listen", "127.0.0.1:0"), "is damaged")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    _says(_start("--data-dir", str(tmp_path / "file" / "d"), "--listen", "127.0.0.1:0"), "cannot use the data folder")


def test_a_damaged_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "pki").mkdir()
    for name in ("ca.crt", "ca.key"):
        (tmp_path / "pki" / name).write_text("not a key")
    _says(_start("--data-dir", str(tmp_path), "--listen", "127.0.0.1:0"), "cannot read the keys")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small file system")
@pytest.mark.netns
def test_a_full_disk_is_named_and_reading_goes_on(tmp_path: Path) -> None:
    """A tmpfs of one megabyte, in a mount namespace of its own."""
    small = tmp_path / "small"
    small.mkdir()
    script = f"""
mount -t tmpfs -o size=1m tmpfs {small}
head -c 1040000 /dev/zero > {small}/filler
{sys.executable} -m tortie.cli.main apiserver --data-dir {small}/d --listen 127.0.0.1:0
"""
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    _says(done, "no space is left")


@pytest.mark.parametrize(
    ("flag", "value", "says"),
    [
        ("--listen", "6443", "must be HOST:PORT"),
        ("--service-cidr", "10.96.0.1/16", "is not a network"),
        ("--service-cidr", "10.0.0.0/16,10.1.0.0/16", "at most one network of each IP family"),
        ("--advertise", "here", "is not an IP address"),
    ],
)
def test_bad_flags_are_refused_with_what_is_allowed(tmp_path: Path, flag: str, value: str, says: str) -> None:
    done = _start("--data-dir", str(tmp_path), flag, value)
    assert done.returncode == 2
    assert says in done.stderr
