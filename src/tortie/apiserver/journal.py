"""The durable half of the store: an append-only table of revisions in SQLite, written by one thread.

In: rows from the store, in order of revision. Out: an answer on the event loop once the rows are on the disk.
Every batch is one transaction with synchronous=FULL: a write that was acknowledged survives a killed process and a
lost machine; what arrives while the disk works shares the next transaction (group commit).
"""

import asyncio
import errno
import fcntl
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

_SCHEMA = """
CREATE TABLE IF NOT EXISTS revisions (
  revision INTEGER PRIMARY KEY, collection TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, data BLOB,
  at INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
FORMAT = 2
# What makes format N of format N-1; times of changes came with format 2.
UPGRADES = {2: "ALTER TABLE revisions ADD COLUMN at INTEGER NOT NULL DEFAULT 0"}
_BATCH = 512  # rows of one transaction
_DROP_AT_ONCE = 2000  # rows of one transaction of a compaction, so that writes do not wait long for it
_MARGIN = 64 * 1024  # free bytes below which an I/O error is taken for a full disk


class Row(NamedTuple):
    """One revision of one object; data None records its deletion. at: seconds since 1970."""

    revision: int
    collection: str
    namespace: str
    name: str
    data: bytes | None
    at: int = 0


class JournalError(Exception):
    """The database cannot be used; the text is one sentence for the operator."""


@dataclass(slots=True)
class _Write:
    rows: Sequence[Row]
    done: Callable[[Exception | None], None]


@dataclass(slots=True)
class _Compact:
    upto: int
    revisions: Sequence[int]


class Journal:
    """One SQLite file and its writer thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._queue: queue.SimpleQueue[_Write | _Compact | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._upto = 0
        self._garbage: list[int] = []
        self.commits = 0
        self.rows_written = 0
        self.failures = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._own = Lock(path)
            try:
                self._db = _open(path)
            except (sqlite3.Error, OSError, JournalError):
                self._own.close()
                raise
        except (sqlite3.Error, OSError) as error:
            raise JournalError(explain(error, path)) from error

    def load(self) -> Iterator[Row]:
        """Every kept revision, oldest first."""
        try:
            for row in self._db.execute(
                "SELECT revision, collection, namespace, name, data, at FROM revisions ORDER BY revision"
            ):
                yield Row(*row)
        except sqlite3.Error as error:
            raise JournalError(explain(error, self.path)) from error

    def compacted(self) -> int:
        """The revision up to which history has been dropped."""
        row = self._db.execute("SELECT value FROM settings WHERE name = 'compacted'").fetchone()
        return int(row[0]) if row else 0

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Hands the database to the writer thread; answers come back on `loop`."""
        self._loop = loop
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def write(self, rows: Sequence[Row], done: Callable[[Exception | None], None]) -> None:
        """Queues rows for the next transaction; `done` is called on the loop, in the order of the calls."""
        self._queue.put(_Write(rows, done))

    def compact(self, upto: int, revisions: Sequence[int]) -> None:
        """Queues the removal of revisions that nothing newer than `upto` needs."""
        self._queue.put(_Compact(upto, revisions))

    def close(self) -> None:
        """Finishes what is queued and closes the file."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None
        self._db.close()
        self._own.close()

    def statistics(self) -> dict[str, int]:
        """Counts for metrics and diagnostics."""
        return {
            "commits": self.commits,
            "rows_written": self.rows_written,
            "failed_commits": self.failures,
            "uncollected_revisions": len(self._garbage),
        }

    def _run(self) -> None:
        while True:
            # While there is garbage, a quiet moment is used to remove some of it.
            try:
                item = self._queue.get(timeout=0.05 if self._garbage else None)
            except queue.Empty:
                if not self._drop():
                    item = self._queue.get()  # the disk is full: with the next message there may be space
                else:
                    continue
            writes: list[_Write] = []
            stop = False
            while True:
                if item is None:
                    stop = True
                elif isinstance(item, _Write):
                    writes.append(item)
                else:
                    self._upto = max(self._upto, item.upto)
                    self._garbage += item.revisions
                if stop or len(writes) >= _BATCH:
                    break
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
            if writes:
                self._commit(writes)
            if stop or len(self._garbage) > 10 * _DROP_AT_ONCE:
                self._drop()
            if stop:
                while self._garbage and self._drop():
                    pass
                return

    def _commit(self, writes: list[_Write]) -> None:
        error = self._insert(writes)
        if error is not None and len(writes) > 1:
            # One that cannot be stored must not fail the others that happened to arrive with it.
            answers = [([write], self._insert([write])) for write in writes]
        else:
            answers = [(writes, error)]
        assert self._loop is not None
        try:
            for some, reason in answers:
                self._loop.call_soon_threadsafe(_answer, some, reason)
        except RuntimeError:
            return  # the loop has closed: nobody waits for the answer any more

    def _insert(self, writes: list[_Write]) -> Exception | None:
        """Makes the rows durable, all or none; returns why not. This thread must outlive whatever goes wrong."""
        rows = [row for write in writes for row in write.rows]
        try:
            # One statement is one transaction, and one wait for the interpreter lock instead of many.
            values = ",".join(("(?,?,?,?,?,?)",) * len(rows))
            self._db.execute(f"INSERT INTO revisions VALUES {values}", tuple(chain.from_iterable(rows)))  # noqa: S608 - only marks
        except Exception as error:
            self.failures += 1
            self._rollback()
            return error
        self.commits += 1
        self.rows_written += len(rows)
        return None

    def _rollback(self) -> None:
        if self._db.in_transaction:
            try:
                self._db.execute("ROLLBACK")
            except sqlite3.Error:
                return

    def _drop(self) -> bool:
        """Removes some revisions that nobody needs; False when the disk does not let it, to be tried again."""
        now, later = self._garbage[:_DROP_AT_ONCE], self._garbage[_DROP_AT_ONCE:]
        try:
            self._db.execute("BEGIN IMMEDIATE")
            _set(self._db, "compacted", self._upto)
            # One statement again: between statements this thread would wait for the interpreter lock.
            self._db.execute(f"DELETE FROM revisions WHERE revision IN ({','.join(map(str, now))})")  # noqa: S608 - numbers
            self._db.execute("COMMIT")
            self._garbage = later
            self._db.execute("PRAGMA incremental_vacuum(2000)").fetchall()
        except sqlite3.Error:
            self._rollback()
            return self._garbage is later
        return True


def _answer(writes: list[_Write], error: Exception | None) -> None:
    for write in writes:
        write.done(error)


class Lock:
    """Makes this process the only owner of the database until it ends, however that is. Raises JournalError."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise JournalError(f"the database {path} is in use by another process; stop that one first") from None

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _open(path: Path) -> sqlite3.Connection:
    """The database, checked and in the current format. Raises sqlite3.Error or JournalError."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    path.chmod(0o600)  # the log beside it gets the same mode
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
    try:
        db.execute("PRAGMA auto_vacuum=INCREMENTAL")  # only before the first table
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("PRAGMA cache_size=-2048")
        db.execute("PRAGMA journal_size_limit=67108864")
        problem = check(db)
        if problem:
            raise JournalError(
                f"the database {path} is damaged ({problem}); restore a backup with `tortie apiserver restore`, or "
                "move it away to start empty"
            )
        upgrade(db, path)
    except BaseException:
        db.close()
        raise
    return db


def check(db: sqlite3.Connection) -> str:
    """What SQLite finds wrong in the database, in its own words; empty when it is sound."""
    rows = [str(row[0]) for row in db.execute("PRAGMA quick_check(3)")]
    return "" if rows == ["ok"] else "; ".join(rows)


def upgrade(db: sqlite3.Connection, path: Path) -> None:
    """Makes the tables, or brings those of an older version to the current format, all or nothing."""
    db.execute("BEGIN IMMEDIATE")
    try:
        known = db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'settings'").fetchone()[0]
        found = _get(db, "format", 1) if known else FORMAT
        if found > FORMAT:
            raise JournalError(f"{path} has format {found}, but this version reads up to format {FORMAT}")
        for statement in _SCHEMA.split(";"):
            db.execute(statement)
        for number in range(found + 1, FORMAT + 1):
            db.execute(UPGRADES[number])
        _set(db, "format", FORMAT)
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _get(db: sqlite3.Connection, name: str, default: int) -> int:
    row = db.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
    return int(row[0]) if row else default


def _set(db: sqlite3.Connection, name: str, value: int) -> None:
    db.execute(
        "INSERT INTO settings VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (name, str(value)),
    )


def no_space(error: Exception, path: Path) -> bool:
    """Whether the disk being full is why the database could not be written."""
    if "disk is full" in str(error) or getattr(error, "errno", None) in {errno.ENOSPC, errno.EDQUOT}:
        return True
    if "disk I/O error" not in str(error):
        return False
    try:
        state = os.statvfs(path.parent)
    except OSError:
        return False
    return state.f_bavail * state.f_frsize < _MARGIN


def explain(error: Exception, path: Path) -> str:
    """One sentence for an operator about why the database file cannot be used."""
    text = str(error)
    if isinstance(error, PermissionError) or "readonly" in text or "unable to open" in text:
        return f"cannot open the database {path}: no permission to write it, or its folder is missing ({text})"
    if no_space(error, path):
        return f"cannot write the database {path}: no space is left on its disk"
    if "not a database" in text or "malformed" in text:
        return (
            f"the database {path} is damaged ({text}); restore a backup with `tortie apiserver restore`, or move it "
            "away to start empty"
        )
    if "locked" in text:
        return f"the database {path} is in use by another process; stop that one first"
    return f"cannot use the database {path}: {text}"
