"""Restores: a backup becomes the data folder of an API server again, wholly or not at all.

In: a file of `backup`, and a folder whose server does not run. Out: the folder with the backup's objects and keys; what
was there before is kept in a folder beside them. Everything is made ready under `.restore-part` first; renaming that to
`.restore` decides, and whoever comes next (this program, or the server at its start) moves it into place. So a crash at
any moment leaves the old state or the new one.

Revisions never go backwards for a client. Nobody knows how far the server counted after the backup was made, so the
restored one goes on beyond what it can have reached, and the past counts as compacted: watches and pages that began
before are answered with 410, and their clients list again.
"""

import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path, PurePosixPath

from tortie.apiserver import backup
from tortie.apiserver.backup import PENDING, BackupError, Progress, Summary, sync_folder
from tortie.apiserver.journal import JournalError, Lock, explain, upgrade

PART = ".restore-part"
_DATABASE = ("store.db-wal", "store.db-shm", "store.db")  # in this order: an old log must not meet a new database
_ITEMS = ("pki", "admin.kubeconfig", *_DATABASE)
_IGNORED = {"lost+found", "store.lock", PART}
_OLD = "old"
_AHEAD = 1_000_000
_A_SECOND = 10_000  # more revisions than a server gives in a second


def restore(
    source: Path,
    data_dir: Path,
    *,
    force: bool = False,
    now: Callable[[], float] = time.time,
    progress: Progress = backup.quiet,
) -> tuple[Summary, Path | None]:
    """Puts a backup into a folder; returns what it held, and where the old content is kept. Raises BackupError."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = Lock(data_dir / "store.db")
    except JournalError:
        raise BackupError(f"an API server is running with {data_dir}; stop it first") from None
    except OSError as error:
        raise BackupError(f"cannot use {data_dir}: {error.strerror or error}") from error
    try:
        _finish(data_dir, now)
        present = sorted({path.name for path in data_dir.iterdir()} - _IGNORED)
        if present and not force:
            raise BackupError(
                f"{data_dir} is not empty ({', '.join(present[:3])}); choose another folder, or use --force, which "
                "keeps the old content beside the new one"
            )
        summary = _prepare(source, data_dir, now, progress)
        (data_dir / PART).rename(data_dir / PENDING)
        sync_folder(data_dir)
        return summary, _finish(data_dir, now)
    except sqlite3.Error as error:
        raise BackupError(explain(error, data_dir / "store.db")) from error
    except OSError as error:
        raise BackupError(f"cannot restore into {data_dir}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(data_dir / PART, ignore_errors=True)
        lock.close()


def finish(data_dir: Path, *, now: Callable[[], float] = time.time) -> None:
    """Ends a restore that was interrupted after it was decided; called before a server opens its folder.

    Raises JournalError when another process uses the folder, and OSError.
    """
    if not (data_dir / PENDING).exists():
        return
    lock = Lock(data_dir / "store.db")
    try:
        _finish(data_dir, now)
    finally:
        lock.close()


def _finish(data_dir: Path, now: Callable[[], float]) -> Path | None:
    """Moves what `.restore` holds into place; may be interrupted and called again at any point."""
    ready = data_dir / PENDING
    if not ready.exists():
        return None
    old = ready / _OLD
    old.mkdir(mode=0o700, exist_ok=True)
    for name in _ITEMS:
        new, here = ready / name, data_dir / name
        replaces = new.exists() or (name in _DATABASE and (ready / "store.db").exists()) or name == "admin.kubeconfig"
        if replaces and here.exists() and not (old / name).exists():
            here.rename(old / name)
        if new.exists():
            new.rename(here)
    sync_folder(data_dir)
    kept: Path | None = None
    if any(old.iterdir()):
        kept = _free_name(data_dir, now)
        old.rename(kept)
    else:
        old.rmdir()
    ready.rmdir()
    sync_folder(data_dir)
    return kept


def _free_name(data_dir: Path, now: Callable[[], float]) -> Path:
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now()))
    name = data_dir / f"before-restore-{stamp}"
    number = 1
    while name.exists():
        number += 1
        name = data_dir / f"before-restore-{stamp}-{number}"
    return name


def _prepare(source: Path, data_dir: Path, now: Callable[[], float], progress: Progress) -> Summary:
    """Everything as it is to be, complete and on the disk, in `.restore-part`."""
    part = data_dir / PART
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700)
    path = part / "store.db"
    _copy(source, path, progress)
    summary = backup.verify(path)
    used = max(summary.revision, _used(data_dir))
    first = used + _AHEAD + _A_SECOND * max(0, int(now()) - summary.made)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA trusted_schema=OFF")
        db.execute("PRAGMA secure_delete=ON")  # the keys in it
        for name, mode, data in db.execute("SELECT path, mode, data FROM files ORDER BY path"):
            _place(part, str(name), int(mode), bytes(data))
        db.execute("BEGIN")
        db.execute("DROP TABLE files")
        db.execute("DELETE FROM settings WHERE name != 'format'")
        db.execute("INSERT INTO settings VALUES ('compacted', ?)", (str(first),))
        db.execute("COMMIT")
        db.execute("PRAGMA application_id=0")
        upgrade(db, path)
    for folder, _, files in os.walk(part):
        for file in files:
            with (Path(folder) / file).open("rb") as opened:
                os.fsync(opened.fileno())
        sync_folder(Path(folder))
    return summary


def _copy(source: Path, target: Path, progress: Progress) -> None:
    total, done = source.stat().st_size, 0
    with source.open("rb") as read, backup.create(target, 0o600) as write:
        while data := read.read(1 << 20):
            write.write(data)
            done += len(data)
            progress(done, total)


def _place(part: Path, name: str, mode: int, data: bytes) -> None:
    """Writes a file of the backup, which may be anybody's, where such files belong and nowhere else."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or path.parts[:1] != ("pki",) or len(path.parts) < 2:
        raise BackupError(f"the backup has a file {name!r}, but only files in pki/ are restored")
    target = part / path
    target.parent.mkdir(parents=True, exist_ok=True)
    with backup.create(target, mode & 0o644) as file:
        file.write(data)


def _used(data_dir: Path) -> int:
    """The newest revision of what is in the folder now; 0 if that cannot be read."""
    try:
        with backup.open_data(data_dir) as db:
            return backup.newest_revision(db)
    except (BackupError, sqlite3.Error):
        return 0
