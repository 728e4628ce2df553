"""The durable half of the store: an append-only table of revisions in SQLite, written by one thread.

In: rows from the store, in order of revision. Out: an answer on the event loop once the rows are on the disk.
Every batch is one transaction with synchronous=FULL: a write that was acknowledged survives a killed process and a
lost machine; what arrives while the disk works shares the next transaction (group commit).
"""

import asyncio
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
  revision INTEGER PRIMARY KEY, collection TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, data BLOB
);
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_FORMAT = "1"


class Row(NamedTuple):
    """One revision of one object; data None records its deletion."""

    revision: int
    collection: str
    namespace: str
    name: str
    data: bytes | None


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
        self.commits = 0
        self.rows_written = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1.0)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._db.execute("PRAGMA auto_vacuum=INCREMENTAL")
            self._db.execute("PRAGMA cache_size=-2048")
            self._db.executescript(_SCHEMA)
            self._db.execute("INSERT OR IGNORE INTO settings VALUES ('format', ?)", (_FORMAT,))
            (found,) = self._db.execute("SELECT value FROM settings WHERE name = 'format'").fetchone()
        except (sqlite3.Error, OSError) as error:
            raise JournalError(explain(error, path)) from error
        path.chmod(0o600)
        if found != _FORMAT:
            raise JournalError(f"{path} has format {found}, but this version reads format {_FORMAT}")

    def load(self) -> Iterator[Row]:
        """Every kept revision, oldest first."""
        try:
            for row in self._db.execute(
                "SELECT revision, collection, namespace, name, data FROM revisions ORDER BY revision"
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

    def _run(self) -> None:
        while True:
            first = self._queue.get()
            writes: list[_Write] = []
            compacts: list[_Compact] = []
            stop = False
            item: _Write | _Compact | None = first
            while True:
                if item is None:
                    stop = True
                elif isinstance(item, _Write):
                    writes.append(item)
                else:
                    compacts.append(item)
                if stop or len(writes) >= 512:
                    break
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
            if writes:
                self._commit(writes)
            for compaction in compacts:
                self._drop(compaction)
            if stop:
                return

    def _commit(self, writes: list[_Write]) -> None:
        rows = [row for write in writes for row in write.rows]
        error: Exception | None = None
        try:
            # One statement is one transaction, and one wait for the interpreter lock instead of many.
            values = ",".join(("(?,?,?,?,?)",) * len(rows))
            self._db.execute(f"INSERT INTO revisions VALUES {values}", tuple(chain.from_iterable(rows)))  # noqa: S608 - only marks
            self.commits += 1
            self.rows_written += len(rows)
        except sqlite3.Error as caught:
            error = caught
            self._rollback()
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(_answer, writes, error)
        except RuntimeError:
            return  # the loop has closed: nobody waits for the answer any more

    def _rollback(self) -> None:
        if self._db.in_transaction:
            try:
                self._db.execute("ROLLBACK")
            except sqlite3.Error:
                return

    def _drop(self, compaction: _Compact) -> None:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute(
                "INSERT INTO settings VALUES ('compacted', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (str(compaction.upto),),
            )
            self._db.executemany("DELETE FROM revisions WHERE revision = ?", [(r,) for r in compaction.revisions])
            self._db.execute("COMMIT")
            self._db.execute("PRAGMA incremental_vacuum(256)").fetchall()
        except sqlite3.Error:
            self._rollback()  # a full disk: the next compaction tries again


def _answer(writes: list[_Write], error: Exception | None) -> None:
    for write in writes:
        write.done(error)


def explain(error: Exception, path: Path) -> str:
    """One sentence for an operator about why the database file cannot be used."""
    text = str(error)
    if isinstance(error, PermissionError) or "readonly" in text or "unable to open" in text:
        return f"cannot open the database {path}: no permission to write it, or its folder is missing ({text})"
    if "disk is full" in text or getattr(error, "errno", None) == 28:
        return f"cannot write the database {path}: no space is left on its disk"
    if "not a database" in text or "malformed" in text:
        return f"the database {path} is damaged ({text}); restore it from a copy, or move it away to start empty"
    if "locked" in text:
        return f"the database {path} is in use by another process; stop that one first"
    return f"cannot use the database {path}: {text}"
