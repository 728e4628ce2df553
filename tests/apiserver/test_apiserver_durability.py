"""What a killed server owes its clients: every acknowledged write, nothing half-written, watches that go on."""

import http.client
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from apiserver_http import MAPS, MERGE, Http, config_map
from tools import ApiServer, start_api_server


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def _write_until_it_dies(
    server: ApiServer, writer: int, acknowledged: dict[str, str], stop: threading.Event, first: int
) -> None:
    """first: higher than any number of an earlier round, since a write that was never acknowledged may land too."""
    client = Http(server)
    number = first
    while not stop.is_set():
        name = f"w{writer}-{number % 7}"
        body = config_map(name, {"test": "yes"}, number=str(number), filler="x" * 3000)
        try:
            answer = client(
                "PUT" if name in acknowledged else "POST", f"{MAPS}/{name}" if name in acknowledged else MAPS, body
            )
        except (OSError, http.client.HTTPException):
            return
        assert answer.status in {200, 201}, answer.data
        acknowledged[name] = answer.json["data"]["number"]
        number += 1


def test_every_acknowledged_write_survives_a_kill(data_dir: Path) -> None:
    server = start_api_server(data_dir)
    rounds: dict[str, str] = {}
    for turn in range(3):
        stop = threading.Event()
        written: list[dict[str, str]] = [{k: v for k, v in rounds.items() if k.startswith(f"w{n}-")} for n in range(6)]
        threads = [
            threading.Thread(target=_write_until_it_dies, args=(server, n, written[n], stop, turn * 1_000_000))
            for n in range(6)
        ]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 10
        while sum(map(len, written)) < 30 and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.3)
        server.kill()
        stop.set()
        for thread in threads:
            thread.join(10)
        for part in written:
            rounds.update(part)
        server = start_api_server(data_dir, port=server.port)
        found = {
            i["metadata"]["name"]: i["data"]
            for i in Http(server).ok("GET", MAPS, query={"labelSelector": "test"})["items"]
        }
        for name, number in rounds.items():
            assert int(found[name]["number"]) >= int(number), f"{name} lost an acknowledged write"
        assert all(len(d["filler"]) == 3000 for d in found.values()), "an object was half-written"
        rounds = {name: data["number"] for name, data in found.items()}
    server.stop()


def test_a_watch_goes_on_where_it_was_after_a_kill(data_dir: Path) -> None:
    server = start_api_server(data_dir)
    client = Http(server)
    version = client.ok("POST", MAPS, config_map("a"))["metadata"]["resourceVersion"]
    client.ok("PATCH", f"{MAPS}/a", {"data": {"k": "1"}}, content=MERGE)
    client.ok("DELETE", f"{MAPS}/a")
    last = client.ok("POST", MAPS, config_map("b"))["metadata"]["resourceVersion"]
    server.kill()
    again = start_api_server(data_dir, port=server.port)
    try:
        client = Http(again)
        with client.watch(MAPS, resourceVersion=version) as events:
            seen = [next(events) for _ in range(3)]
            assert [(e["type"], e["object"]["metadata"]["name"]) for e in seen] == [
                ("MODIFIED", "a"), ("DELETED", "a"), ("ADDED", "b"),
            ]  # fmt: skip
            assert seen[2]["object"]["metadata"]["resourceVersion"] == last
            made = client.ok("POST", MAPS, config_map("c"))
            assert int(made["metadata"]["resourceVersion"]) > int(last)
            assert next(events)["object"]["metadata"]["name"] == "c"
    finally:
        again.stop()


def test_a_version_from_before_the_compaction_is_gone(data_dir: Path) -> None:
    server = start_api_server(data_dir)
    Http(server).ok("POST", MAPS, config_map("a"))
    server.stop()
    _compact(data_dir)
    again = start_api_server(data_dir, port=server.port)
    try:
        client = Http(again)
        refused = client("GET", MAPS, query={"watch": "1", "resourceVersion": "3"})
        assert refused.status == 410
        assert refused.json["reason"] == "Expired"
        assert refused.json["message"].startswith("too old resource version: 3 (")
        exact = client("GET", MAPS, query={"resourceVersion": "3", "resourceVersionMatch": "Exact"})
        assert (exact.status, exact.json["reason"]) == (410, "Expired")
        token = _continue_token(3)
        late = client("GET", MAPS, query={"limit": "1", "continue": token})
        assert late.status == 410
        rest = client.ok("GET", MAPS, query={"limit": "5", "continue": late.json["metadata"]["continue"]})
        assert [i["metadata"]["name"] for i in rest["items"]] == ["kube-root-ca.crt"]
    finally:
        again.stop()


def _continue_token(revision: int) -> str:
    import base64

    body: dict[str, Any] = {"v": "meta.k8s.io/v1", "rv": revision, "start": ["default", "a"]}
    return base64.urlsafe_b64encode(json.dumps(body).encode()).decode()


def _compact(data_dir: Path) -> None:
    """What the server does after five minutes."""
    from tortie.apiserver.journal import Journal
    from tortie.apiserver.store import Store

    journal = Journal(data_dir / "store.db")
    store = Store(journal, clock=lambda: 0.0)
    store.load()
    store.clock = lambda: 10_000.0
    import asyncio

    async def run() -> None:
        journal.start(asyncio.get_running_loop())
        store.compact()
        journal.close()

    asyncio.run(run())


def test_keys_and_identities_survive_a_restart(data_dir: Path) -> None:
    server = start_api_server(data_dir)
    before = server.kubeconfig.read_text()
    token = Http(server).ok("POST", "/api/v1/namespaces/default/serviceaccounts/default/token", {"spec": {}})
    server.stop()
    again = start_api_server(data_dir, port=server.port)
    try:
        assert again.kubeconfig.read_text() == before
        robot = Http(again, token=token["status"]["token"])
        assert robot("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {}).status == 201
    finally:
        again.stop()
