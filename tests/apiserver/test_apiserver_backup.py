"""Backup of a running server, and restore: one moment, whole or not at all, and never backwards for a client."""

import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from apiserver_http import MAPS, Http, config_map
from tools import ApiServer, start_api_server

from tortie.apiserver import backup, restore
from tortie.apiserver.backup import BackupError
from tortie.apiserver.journal import FORMAT, Journal
from tortie.apiserver.store import Store

WEEK = 7 * 24 * 3600


def _tortie(*args: Any, check: bool = True) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tortie.cli.main", "apiserver", *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if check:
        assert done.returncode == 0, done.stderr
    return done


def _fill(data_dir: Path, values: dict[str, int], *, gone: int = 0) -> int:
    """A data folder with objects and keys, without the cost of a server; returns its newest revision."""
    (data_dir / "pki").mkdir(parents=True, exist_ok=True)
    (data_dir / "pki/ca.key").write_text("a secret")
    (data_dir / "pki/ca.key").chmod(0o600)
    store = Store(Journal(data_dir / "store.db"))
    store.load()

    async def run() -> None:
        store.journal.start(asyncio.get_running_loop())
        things = store.collection("/things")

        async def fill(name: str, value: int) -> None:
            for step in (-1, value):
                obj: dict[str, Any] = {"metadata": {"name": name}, "value": step}
                have = things.get(("", name))
                if have is not None:
                    obj["metadata"]["resourceVersion"] = str(have.revision)
                await store.put(things, ("", name), obj)

        await asyncio.gather(*(fill(name, value) for name, value in values.items()))
        for number in range(gone):
            await store.put(things, ("", f"gone-{number}"), {"metadata": {"name": "gone"}})
            await store.remove(things, ("", f"gone-{number}"))
        await store.close()

    asyncio.run(run())
    return store.revision


def _content(data_dir: Path) -> tuple[dict[str, int], int, int]:
    """Values by name, the newest and the oldest revision, as a starting server would find them."""
    store = Store(Journal(data_dir / "store.db"))
    store.load()
    things = store.collection("/things")
    found = {r.key[1]: r.decode()["value"] for r in things.select(None)}
    store.journal.close()
    return found, store.revision, store.oldest(things)


def test_a_backup_of_a_busy_server_shows_one_moment_and_a_restored_one_goes_on_from_it(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    server = start_api_server(data)
    try:
        ledger, stop = _churn(server)
        made = [tmp_path / f"{number}.backup" for number in range(2)]
        for path in made:
            _wait(lambda: len(ledger) > 100 * (1 + made.index(path)))  # noqa: B023 - asked at once
            _tortie("backup", "--data-dir", data, path)
        stop()
        token = Http(server).ok("POST", "/api/v1/namespaces/default/serviceaccounts/default/token", {"spec": {}})
        newest = int(Http(server).ok("GET", MAPS)["metadata"]["resourceVersion"])
    finally:
        server.stop()
    for path in made:
        summary = backup.verify(path)
        with sqlite3.connect(path) as db:
            rows = db.execute("SELECT name, revision FROM revisions WHERE name LIKE 'churn-%'").fetchall()
        expected: dict[str, int] = {}
        for revision, name, there in sorted(ledger):
            if revision <= summary.revision:
                expected.pop(name, None)
                if there:
                    expected[name] = revision
        assert dict(rows) == expected, "the backup is the state at its revision, nothing older or newer in it"
    _check_restored(tmp_path / "restored", made[-1], server, newest, token["status"]["token"])


def _check_restored(folder: Path, path: Path, server: ApiServer, newest: int, token: str) -> None:
    assert "objects of resourceVersion" in _tortie("restore", path, "--data-dir", folder).stdout
    again = start_api_server(folder, port=server.port)
    try:
        client = Http(server)  # the administrator of before: the keys are the same
        assert Http(again, token=token)("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {}).status == 201
        assert int(client.ok("GET", MAPS)["metadata"]["resourceVersion"]) > newest, "clients never go back"
        refused = client("GET", MAPS, query={"watch": "1", "resourceVersion": str(newest)})
        assert (refused.status, refused.json["reason"]) == (410, "Expired")
        assert int(client.ok("POST", MAPS, config_map("new"))["metadata"]["resourceVersion"]) > newest
        name = next(i["metadata"]["name"] for i in client.ok("GET", MAPS)["items"] if i["metadata"]["name"] != "new")
        assert client("PUT", f"{MAPS}/{name}", config_map(name, changed="yes")).status == 200
    finally:
        again.stop()


def _churn(server: ApiServer) -> tuple[list[tuple[int, str, bool]], Callable[[], None]]:
    """Clients that create, change and delete; the ledger has what they were told."""
    ledger: list[tuple[int, str, bool]] = []
    over = threading.Event()

    def work(writer: int) -> None:
        client = Http(server)
        there: set[str] = set()
        for turn in range(1_000_000):
            if over.is_set():
                return
            name = f"churn-{writer}-{turn % 5}"
            if name in there and turn % 3 == 0:
                client.ok("DELETE", f"{MAPS}/{name}")
                there.discard(name)
                continue  # a Status does not tell the revision: the next creation of the name decides
            body = config_map(name, number=str(turn))
            answer = client.ok(*(("PUT", f"{MAPS}/{name}") if name in there else ("POST", MAPS)), body)
            there.add(name)
            ledger.append((int(answer["metadata"]["resourceVersion"]), name, True))

    def deletions() -> None:
        version = Http(server).ok("GET", MAPS)["metadata"]["resourceVersion"]
        started.set()
        with Http(server).watch(MAPS, timeout=60, resourceVersion=version, timeoutSeconds="60") as events:
            for event in events:
                meta = event["object"]["metadata"]
                if meta["name"] == "the-end":
                    return
                if event["type"] == "DELETED":
                    ledger.append((int(meta["resourceVersion"]), meta["name"], False))

    started = threading.Event()
    threads = [threading.Thread(target=deletions)]
    threads[0].start()
    assert started.wait(10)
    threads += [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads[1:]:
        thread.start()

    def stop() -> None:
        over.set()
        for thread in threads[1:]:
            thread.join(20)
        Http(server).ok("POST", MAPS, config_map("the-end"))
        threads[0].join(20)

    return ledger, stop


def _wait(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.01)


def test_a_backup_is_for_its_owner_alone_and_overwrites_only_by_force(tmp_path: Path) -> None:
    _fill(tmp_path / "data", {"a": 1})
    path = tmp_path / "b"
    backup.write(tmp_path / "data", path)
    assert path.stat().st_mode & 0o777 == 0o600
    first = path.read_bytes()
    refused = _tortie("backup", "--data-dir", tmp_path / "data", path, check=False)
    assert refused.returncode == 1
    assert "exists already" in refused.stderr
    assert "--force" in refused.stderr
    assert path.read_bytes() == first
    _fill(tmp_path / "data", {"b": 2})
    assert backup.write(tmp_path / "data", path, force=True).objects == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b", "data"], "no part is left behind"


def test_a_backup_has_no_history_and_reports_its_progress(tmp_path: Path) -> None:
    revision = _fill(tmp_path / "data", {f"n{n}": n for n in range(700)}, gone=20)
    seen: list[tuple[int, int]] = []
    made = backup.write(tmp_path / "data", tmp_path / "b", progress=lambda done, of: seen.append((done, of)))
    assert (made.objects, made.revision, made.files) == (700, revision, 1)
    assert len(seen) > 2
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == seen[-1][1]


def test_what_is_no_data_folder_has_no_backup(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="not the data folder of an API server"):
        backup.write(tmp_path, tmp_path / "b")
    (tmp_path / "store.db").write_bytes(b"nonsense" * 1000)
    with pytest.raises(BackupError, match="is damaged"):
        backup.write(tmp_path, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_running_servers_folder_is_not_restored_into(tmp_path: Path) -> None:
    _fill(tmp_path / "data", {"a": 1})
    backup.write(tmp_path / "data", tmp_path / "b")
    owner = Journal(tmp_path / "data/store.db")
    try:
        refused = _tortie("restore", tmp_path / "b", "--data-dir", tmp_path / "data", "--force", check=False)
        assert refused.returncode == 1
        assert "an API server is running" in refused.stderr
    finally:
        owner.close()


def test_a_folder_that_is_not_empty_is_replaced_only_by_force_and_its_content_is_kept(tmp_path: Path) -> None:
    data = tmp_path / "data"
    _fill(data, {"a": 1})
    backup.write(data, tmp_path / "b")
    later = _fill(data, {"a": 2, "b": 3})
    (data / "pki/ca.key").write_text("another secret")
    (data / "notes").write_text("not the server's")
    with pytest.raises(BackupError, match=r"is not empty \(notes, pki, store.db\).*--force"):
        restore.restore(tmp_path / "b", data)
    assert _content(data)[0] == {"a": 2, "b": 3}
    _, kept = restore.restore(tmp_path / "b", data, force=True)
    values, revision, oldest = _content(data)
    assert values == {"a": 1}
    assert revision == oldest > later, "what is in the folder counts too, not only the backup's revision"
    assert (data / "pki/ca.key").read_text() == "a secret"
    assert (data / "pki/ca.key").stat().st_mode & 0o777 == 0o600
    assert (data / "notes").read_text() == "not the server's"
    assert kept is not None
    assert kept.stat().st_mode & 0o777 == 0o700
    assert (kept / "pki/ca.key").read_text() == "another secret"
    assert _content(kept)[0] == {"a": 2, "b": 3}
    _, kept_too = restore.restore(tmp_path / "b", data, force=True)
    assert kept_too != kept


def test_a_backup_that_is_restored_twice_goes_further_each_time(tmp_path: Path) -> None:
    _fill(tmp_path / "data", {"a": 1})
    made = backup.write(tmp_path / "data", tmp_path / "b")
    restore.restore(tmp_path / "b", tmp_path / "one", now=lambda: made.made + WEEK)
    restore.restore(tmp_path / "b", tmp_path / "two", now=lambda: made.made + 2 * WEEK)
    first, second = _content(tmp_path / "one")[1], _content(tmp_path / "two")[1]
    assert second - first >= WEEK * 5000, "beyond what a server writes in that time"


class _Crash(BaseException):
    """The process ends here."""


def test_a_restore_that_is_interrupted_anywhere_leaves_the_old_state_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fill(tmp_path / "source", {"new": 1})
    (tmp_path / "source/pki/ca.key").write_text("new")
    backup.write(tmp_path / "source", tmp_path / "b")
    steps, outcomes = 0, []
    while True:
        steps += 1
        data = tmp_path / f"data-{steps}"
        _fill(data, {"old": 1})
        (data / "pki/ca.key").write_text("old")
        (data / "store.db-wal").touch()
        left = steps
        with monkeypatch.context() as patch:

            def step(original: Any) -> Any:
                def run(*args: Any, **options: Any) -> Any:
                    nonlocal left
                    left -= 1
                    if not left:
                        raise _Crash
                    return original(*args, **options)

                return run

            for name in ("rename", "mkdir", "rmdir"):
                patch.setattr(Path, name, step(getattr(Path, name)))
            patch.setattr(sqlite3, "connect", step(sqlite3.connect))
            patch.setattr(os, "fsync", step(os.fsync))
            patch.setattr(restore.shutil, "rmtree", lambda *_args, **_options: None)  # the dead clean nothing up
            try:
                restore.restore(tmp_path / "b", data, force=True)
            except _Crash:
                pass
            else:
                break
        restore.finish(data)  # what the server does first
        values, _, _ = _content(data)
        key = (data / "pki/ca.key").read_text()
        outcomes.append(key)
        assert values == {key: 1}, f"after step {steps} objects and keys are of different states"
        if key == "new":
            assert [p.name for p in data.iterdir() if p.name.startswith("before-restore-")], "the old state is kept"
    assert set(outcomes) == {"old", "new"}
    assert outcomes == sorted(outcomes, reverse=True), "from the decision on it is the new one"


def test_a_server_finishes_an_interrupted_restore_when_it_starts(tmp_path: Path) -> None:
    _fill(tmp_path / "source", {"new": 1})
    backup.write(tmp_path / "source", tmp_path / "b")
    data = tmp_path / "data"
    _fill(data, {"old": 1})
    (data / restore.PART).mkdir()
    restore.restore(tmp_path / "b", tmp_path / "ready")
    pending = data / backup.PENDING
    (data / restore.PART).rename(pending)
    (tmp_path / "ready/store.db").rename(pending / "store.db")
    with pytest.raises(BackupError, match="start the server once"):
        backup.write(data, tmp_path / "b2")
    server = start_api_server(data)
    server.stop()
    assert not pending.exists()
    assert _content(data)[0] == {"new": 1}


def _damage(path: Path, change: str) -> None:
    with sqlite3.connect(path) as db:
        db.execute(change)
    db.close()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "UPDATE revisions SET data = CAST(replace(CAST(data AS TEXT), '1', '2') AS BLOB)",
            "does not match its digest",
        ),
        ("DELETE FROM revisions", "does not match its digest"),
        ("UPDATE files SET data = x'00'", "does not match its digest"),
        ("UPDATE settings SET value = '1' WHERE name = 'revision'", "does not match its digest"),
        ("UPDATE settings SET value = '99' WHERE name = 'format'", f"has format format 99.*up to {FORMAT}"),
        ("UPDATE settings SET value = '99' WHERE name = 'backup'", "has backup format 99"),
        ("UPDATE files SET mode = 'x'", "values of another type"),
        ("CREATE TRIGGER t AFTER DELETE ON settings BEGIN DELETE FROM revisions; END", "its tables are"),
        ("PRAGMA application_id = 0", "is not a backup made by"),
    ],
)
def test_a_damaged_or_foreign_backup_is_refused_and_nothing_is_touched(
    tmp_path: Path, change: str, message: str
) -> None:
    _fill(tmp_path / "data", {"a": 1})
    backup.write(tmp_path / "data", tmp_path / "b")
    _damage(tmp_path / "b", change)
    with pytest.raises(BackupError, match=message):
        backup.verify(tmp_path / "b")
    before = sorted(p.name for p in (tmp_path / "data").iterdir())
    with pytest.raises(BackupError, match=message):
        restore.restore(tmp_path / "b", tmp_path / "data", force=True)
    assert sorted(p.name for p in (tmp_path / "data").iterdir() if p.name not in before) == []
    assert _content(tmp_path / "data")[0] == {"a": 1}


def test_a_truncated_backup_is_refused(tmp_path: Path) -> None:
    _fill(tmp_path / "data", {f"n{n}": n for n in range(100)})
    backup.write(tmp_path / "data", tmp_path / "b")
    data = (tmp_path / "b").read_bytes()
    for share in (0, 100, len(data) // 2, len(data) - 100):
        (tmp_path / "b").write_bytes(data[:share])
        with pytest.raises(BackupError, match=r"is damaged|is not a backup"):
            restore.restore(tmp_path / "b", tmp_path / "new")
    assert not (tmp_path / "new/store.db").exists()


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "pki/../../evil", "pki", "store.db-wal", "pki/./../evil"])
def test_a_backup_writes_no_file_outside_its_place(tmp_path: Path, name: str) -> None:
    data = tmp_path / "data"
    _fill(data, {"a": 1})
    path = tmp_path / "b"
    original = backup._files
    backup._files = lambda folder: iter([(name, 0o4777, b"x")])
    try:
        backup.write(data, path)
    finally:
        backup._files = original
    with pytest.raises(BackupError, match="only files in pki/ are restored"):
        restore.restore(path, tmp_path / "deep/new")
    assert not list(tmp_path.rglob("evil"))


def test_the_backup_of_an_older_format_is_upgraded_when_it_is_restored(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with sqlite3.connect(data / "store.db") as db:
        db.execute(
            "CREATE TABLE revisions (revision INTEGER PRIMARY KEY, collection TEXT NOT NULL, namespace TEXT NOT NULL, "
            "name TEXT NOT NULL, data BLOB)"
        )
        db.execute("CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
        db.execute("INSERT INTO revisions VALUES (7, '/things', '', 'a', ?)", (b'{"metadata":{"name":"a"},"value":3}',))
    db.close()
    made = backup.write(data, tmp_path / "b")
    assert (made.objects, made.revision, made.files) == (1, 7, 0)
    restore.restore(tmp_path / "b", tmp_path / "new")
    values, revision, _ = _content(tmp_path / "new")
    assert values == {"a": 3}
    assert revision > 7
    with sqlite3.connect(tmp_path / "new/store.db") as db:
        assert db.execute("SELECT value FROM settings WHERE name = 'format'").fetchone() == (str(FORMAT),)
        tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert tables == {"revisions", "settings"}, "no keys stay in the database"
    db.close()
