"""Backups of an API server's data folder: one file with every object at one revision, and the cluster's keys.

In: the folder of a server that may be running: SQLite shows a reader one moment, whatever is written meanwhile. Out: an
SQLite file, mode 0600, with the tables `revisions` (the newest state of each object, no history), `files` (what is in
`pki/`: without its keys nobody could sign in to the restored cluster, and every service account token would be void)
and `settings`, with a digest of it all. `restore` turns it into a data folder again.
"""

import hashlib
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

import msgspec

from tortie.apiserver.journal import FORMAT, check, explain, no_space

Progress = Callable[[int, int], None]  # done, of how many
BACKUP_FORMAT = 1
PENDING = ".restore"  # a restore that is decided, and not yet in place (see `restore`)
_APPLICATION = 0x54525442  # what SQLite's header says of such a file: "TRTB"
_TABLES = {"revisions", "settings", "files"}
_WRONG = {
    "revisions": "typeof(revision) != 'integer' OR typeof(collection) != 'text' OR typeof(namespace) != 'text' "
    "OR typeof(name) != 'text' OR typeof(data) != 'blob'",
    "files": "typeof(path) != 'text' OR typeof(mode) != 'integer' OR typeof(data) != 'blob'",
    "settings": "name IN ('revision', 'made') AND value NOT GLOB '[0-9]*'",
}
_PIECE = 500  # rows between two reports of progress


class BackupError(Exception):
    """Why there is no backup, or no restore; one sentence for the operator."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a backup holds. made: seconds since 1970."""

    revision: int
    objects: int
    files: int
    size: int
    made: int


def quiet(_done: int, _of: int) -> None:
    """Nobody looks."""


def write(data_dir: Path, target: Path, *, force: bool = False, progress: Progress = quiet) -> Summary:
    """Makes a backup, checks it, and only then gives it its name. Raises BackupError."""
    if target.exists() and not force:
        raise BackupError(f"{target} exists already; choose another name, or overwrite it with --force")
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        create(part, 0o600).close()
        with open_data(data_dir) as source:
            digest = _copy(source, data_dir, part, progress)
        summary = verify(part)
        with _reading(part) as written:
            if _setting(written, "digest") != digest:
                raise BackupError(f"{target} could not be written: what is on the disk differs from what was written")
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(target)
        sync_folder(target.parent)
    except (sqlite3.Error, OSError) as error:
        if no_space(error, part):
            raise BackupError(f"cannot write {target}: no space is left on its disk") from error
        reason = error.strerror if isinstance(error, OSError) else error
        raise BackupError(f"cannot make a backup of {data_dir} in {target}: {reason}") from error
    finally:
        part.unlink(missing_ok=True)
    return summary


@contextmanager
def open_data(data_dir: Path) -> Iterator[sqlite3.Connection]:
    """The database of a data folder, to read one moment of it. Raises BackupError."""
    path = data_dir / "store.db"
    if (data_dir / PENDING).exists():
        raise BackupError(f"a restore into {data_dir} was interrupted; start the server once, which finishes it")
    if not path.is_file():
        raise BackupError(f"{data_dir} has no store.db: it is not the data folder of an API server")
    with _reading(path) as db:
        try:
            db.execute("BEGIN")
            found = int(_setting(db, "format") or 1)
        except sqlite3.Error as error:
            raise BackupError(explain(error, path)) from error
        if found > FORMAT:
            raise BackupError(f"{path} has format {found}, but this version reads up to format {FORMAT}")
        yield db


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    uri = f"file:{quote(str(path.absolute()))}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, isolation_level=None, timeout=10.0)) as db:
        db.execute("PRAGMA trusted_schema=OFF")
        yield db


def _setting(db: sqlite3.Connection, name: str) -> str:
    row = db.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
    return str(row[0]) if row else ""


def newest_revision(db: sqlite3.Connection) -> int:
    """The newest revision that the server of this database gave to anything."""
    last = db.execute("SELECT max(revision) FROM revisions").fetchone()[0]
    return max(int(last or 1), int(_setting(db, "compacted") or 0))


def _copy(source: sqlite3.Connection, data_dir: Path, target: Path, progress: Progress) -> str:
    """Copies the newest state of each object, and the keys; returns the digest of what was read."""
    newest = {
        tuple(row[:3]): row[3]
        for row in source.execute("SELECT collection, namespace, name, revision FROM revisions ORDER BY revision")
    }
    rows = source.execute("SELECT * FROM revisions WHERE data IS NOT NULL ORDER BY revision")
    columns = [column[0] for column in rows.description]
    place = [columns.index(name) for name in ("collection", "namespace", "name")]
    which = columns.index("revision")
    current = (row for row in rows if newest[tuple(row[i] for i in place)] == row[which])
    schema = source.execute("SELECT sql FROM sqlite_master WHERE name = 'revisions'").fetchone()[0]
    total, done = len(newest), 0
    digest = _Digest()
    with closing(sqlite3.connect(target, isolation_level=None)) as out:
        out.execute(f"PRAGMA application_id={_APPLICATION}")
        out.execute("PRAGMA auto_vacuum=INCREMENTAL")  # as the server wants it; only before the first table
        out.execute("PRAGMA journal_mode=OFF")  # a part that was interrupted is thrown away
        out.execute("BEGIN")
        out.execute(schema)
        out.execute("CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
        out.execute("CREATE TABLE files (path TEXT PRIMARY KEY, mode INTEGER NOT NULL, data BLOB NOT NULL)")
        insert = f"INSERT INTO revisions VALUES ({','.join('?' * len(columns))})"  # noqa: S608 - only marks
        while piece := list(islice(current, _PIECE)):
            out.executemany(insert, piece)
            digest.add(piece)
            done += len(piece)
            progress(done, total)
        files = list(_files(data_dir))
        out.executemany("INSERT INTO files VALUES (?, ?, ?)", files)
        digest.add(files)
        settings = {
            "format": _setting(source, "format") or "1",
            "backup": BACKUP_FORMAT,
            "revision": newest_revision(source),
            "made": int(time.time()),
        }
        out.executemany("INSERT INTO settings VALUES (?, ?)", [(k, str(v)) for k, v in settings.items()])
        digest.add(sorted((k, str(v)) for k, v in settings.items()))
        out.execute("INSERT INTO settings VALUES ('digest', ?)", (digest.text(),))
        out.execute("COMMIT")
    progress(total, total)
    return digest.text()


def _files(data_dir: Path) -> Iterator[tuple[str, int, bytes]]:
    for path in sorted((data_dir / "pki").rglob("*")):
        if path.is_file():
            yield str(path.relative_to(data_dir)), stat.S_IMODE(path.stat().st_mode), path.read_bytes()


class _Digest:
    """SHA-256 of rows."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, rows: Iterable[tuple[object, ...]]) -> None:
        for row in rows:
            self._hash.update(msgspec.msgpack.encode(row))

    def text(self) -> str:
        return self._hash.hexdigest()


def verify(path: Path) -> Summary:
    """Reads a whole backup and checks it. Raises BackupError."""
    try:
        with _reading(path) as db:
            return _verify(db, path)
    except sqlite3.Error as error:
        text = "is damaged" if "malformed" in str(error) else "is not a backup"
        raise BackupError(f"{path} {text}: {error}") from error


def _verify(db: sqlite3.Connection, path: Path) -> Summary:
    if db.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION:
        raise BackupError(f"{path} is not a backup made by `tortie apiserver backup`")
    problem = check(db)
    if problem:
        raise BackupError(f"{path} is damaged: {problem}")
    tables = {name for name, kind in db.execute("SELECT name, type FROM sqlite_master") if kind != "index"}
    if tables != _TABLES:
        raise BackupError(f"{path} is not a backup: its tables are {', '.join(sorted(map(str, tables)))}")
    for name, highest in (("backup", BACKUP_FORMAT), ("format", FORMAT)):
        found = _setting(db, name)
        if not found.isdigit() or int(found) > highest:
            raise BackupError(f"{path} has {name} format {found or 'none'}, but this version reads up to {highest}")
    for table, wrong in _WRONG.items():
        if db.execute(f"SELECT count(*) FROM {table} WHERE {wrong}").fetchone()[0]:  # noqa: S608 - constants
            raise BackupError(f"{path} is damaged: its table {table} has values of another type than it should")
    digest = _Digest()
    objects = files = 0
    rows = db.execute("SELECT * FROM revisions ORDER BY revision")
    while piece := rows.fetchmany(_PIECE):
        digest.add(piece)
        objects += len(piece)
    rows = db.execute("SELECT path, mode, data FROM files ORDER BY path")
    while piece := rows.fetchmany(_PIECE):
        digest.add(piece)
        files += len(piece)
    digest.add(db.execute("SELECT name, value FROM settings WHERE name != 'digest' ORDER BY name").fetchall())
    if digest.text() != _setting(db, "digest"):
        raise BackupError(f"{path} is damaged: its content does not match its digest")
    return Summary(int(_setting(db, "revision")), objects, files, path.stat().st_size, int(_setting(db, "made")))


def create(path: Path, mode: int) -> BinaryIO:
    """A new file that has its mode from the first moment. Raises OSError."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb")


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable."""
    with suppress(OSError):  # not every file system can
        place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(place)
        finally:
            os.close(place)
