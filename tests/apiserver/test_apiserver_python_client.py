"""The official Python client under churn, while the server is killed and started again on the same data.

Its informer and its dynamic client follow two kinds; a ledger that the writers keep says what they must have seen: each
change once, in order. Its leader election runs beside them. About 15 s by default; TORTIE_LONG=1 makes it ten minutes.
"""

import itertools
import logging
import os
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import urllib3
from apiserver_http import MERGE, Http
from kubernetes import client, config, dynamic, watch
from kubernetes.informer.informer import SharedInformer
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock
from tools import ApiServer, start_api_server

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
LONG = os.environ.get("TORTIE_LONG") == "1"
SECONDS, KILL_EVERY = (600, 8.0) if LONG else (13, 3.5)
SPACE = "ledger"
KINDS = {
    "configmaps": (f"/api/v1/namespaces/{SPACE}/configmaps", "v1", "ConfigMap"),
    "networksets": (f"/apis/projectcalico.org/v3/namespaces/{SPACE}/networksets", "projectcalico.org/v3", "NetworkSet"),
}
_GONE = (OSError, urllib3.exceptions.HTTPError)


class Machine:
    """A server that is killed and started again on the same port and data, and one connection maker for its clients."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.server = start_api_server(folder)
        self.restarts = 0

    def api(self) -> client.ApiClient:
        made = config.new_client_from_config(str(self.server.kubeconfig))
        made.configuration.retries = False
        return made

    def crash(self) -> None:
        folder, port = self.server.data_dir, self.server.port
        self.server.kill()
        self.server = start_api_server(folder, port=port)
        self.restarts += 1

    def stop(self) -> None:
        self.server.stop()


@contextmanager
def running(work: list[Callable[[threading.Event], None]]) -> Iterator[threading.Event]:
    """Each function in a thread of its own until the block ends; what one raises fails the test."""
    stop, failures = threading.Event(), []

    def guard(function: Callable[[threading.Event], None]) -> None:
        try:
            function(stop)
        except BaseException as error:  # raised again in the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=guard, args=(f,), daemon=True) for f in work]
    for thread in threads:
        thread.start()
    try:
        yield stop
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)
    if failures:
        raise failures[0]
    assert not any(t.is_alive() for t in threads), "a client hangs"


@dataclass
class Writer:
    """Changes objects of one kind, whose names are its own, and keeps the ledger.

    A write that was not acknowledged is resolved by reading the object: it is durable, or it never happened.
    """

    server: ApiServer
    plural: str
    number: int
    ledger: list[tuple[str, str, int]] = field(default_factory=list)
    unanswered: int = 0
    durable: int = 0

    def __post_init__(self) -> None:
        self.path, self.version, self.kind = KINDS[self.plural]
        self.http = Http(self.server)
        self.state: dict[str, int] = {}
        self.random = random.Random(self.number)
        self.steps = itertools.count(1)

    def _call(self, stop: threading.Event, method: str, path: str, body: Any = None, **options: Any) -> Any:
        while True:
            try:
                return self.http(method, path, body, timeout=10, **options)
            except OSError:
                if method != "GET":
                    raise
                time.sleep(0.1)

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self.step(stop)
            time.sleep(0.004)

    def step(self, stop: threading.Event) -> None:
        name = f"w{self.number}-{self.random.randrange(25)}"
        mark = str(next(self.steps))
        try:
            if name not in self.state:
                body = {
                    "apiVersion": self.version, "kind": self.kind,
                    "metadata": {"name": name, "labels": {"ledger": "yes"}, "annotations": {"mark": mark}},
                }  # fmt: skip
                answer, change = self._call(stop, "POST", self.path, body), "ADDED"
            elif self.random.random() < 0.3:
                answer, change = self._call(stop, "DELETE", f"{self.path}/{name}"), "DELETED"
            else:
                body = {"metadata": {"annotations": {"mark": mark}}}
                answer = self._call(stop, "PATCH", f"{self.path}/{name}", body, content=MERGE)
                change = "MODIFIED"
        except OSError:
            self.unanswered += 1
            self._resolve(stop, name, mark)
            return
        assert answer.status in {200, 201}, answer.data
        self._note(change, name, 0 if change == "DELETED" else int(answer.json["metadata"]["resourceVersion"]))

    def _resolve(self, stop: threading.Event, name: str, mark: str) -> None:
        answer = self._call(stop, "GET", f"{self.path}/{name}")
        if answer.status == 404:
            if name in self.state:
                self.durable += 1
                self._note("DELETED", name, 0)
            return
        version = int(answer.json["metadata"]["resourceVersion"])
        if answer.json["metadata"]["annotations"]["mark"] == mark:
            self.durable += 1
            self._note("MODIFIED" if name in self.state else "ADDED", name, version)
        else:
            assert self.state[name] == version, "an acknowledged write was lost"

    def _note(self, change: str, name: str, version: int) -> None:
        self.ledger.append((change, name, version))
        if change == "DELETED":
            del self.state[name]
        else:
            self.state[name] = version


def check(writers: list[Writer], seen: list[tuple[str, str, int]], final: dict[str, int], who: str) -> None:
    """What a follower saw against the ledgers: every change once, in order, nothing else."""
    versions = [version for _, _, version in seen]
    repeated = [(a, b) for a, b in itertools.pairwise(versions) if b <= a]
    assert not repeated, f"{who}: events repeated or out of order: {repeated[:5]}"
    by_name: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for change, name, version in seen:
        by_name[name].append((change, version))
    for writer in writers:
        wanted: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for change, name, version in writer.ledger:
            wanted[name].append((change, version))
        for name, history in wanted.items():
            got = [(c, 0 if c == "DELETED" else v) for c, v in by_name.pop(name, [])]
            assert got == history, f"{who}: {name}: ledger and events part at {_part(history, got)}"
    assert not by_name, f"{who}: events that nobody caused: {list(by_name)[:5]}"
    state = {name: version for writer in writers for name, version in writer.state.items()}
    assert final == state, f"{who}: the last list differs from the ledger"


def _part(wanted: list[Any], got: list[Any]) -> str:
    for index, pair in enumerate(itertools.zip_longest(wanted, got)):
        if pair[0] != pair[1]:
            return f"{index}: ledger {pair[0]}, seen {pair[1]}"
    return "nowhere"


class Follower:
    """The dynamic client's watch of one kind, resumed at the last version after every break."""

    def __init__(self, machine: Machine, plural: str) -> None:
        _, version, kind = KINDS[plural]
        self.machine, self.version, self.kind = machine, version, kind
        self.seen: list[tuple[str, str, int]] = []
        self.breaks = self.gone = 0
        self.watcher = watch.Watch()
        self.resource = dynamic.DynamicClient(machine.api()).resources.get(api_version=version, kind=kind)
        self.start = self.resource.get(namespace=SPACE, label_selector="ledger=yes").metadata.resourceVersion

    def run(self, stop: threading.Event) -> None:
        last = self.start
        while not stop.is_set():
            try:
                for event in self.resource.watch(
                    namespace=SPACE, label_selector="ledger=yes", resource_version=last, timeout=20,
                    watcher=self.watcher, allow_watch_bookmarks=True,
                ):  # fmt: skip
                    meta = event["raw_object"]["metadata"]
                    last = meta["resourceVersion"]
                    if event["type"] != "BOOKMARK":
                        self.seen.append((event["type"], meta["name"], int(last)))
            except client.ApiException as error:
                self.gone += error.status == 410
                self.breaks += 1
                time.sleep(0.05)
            except (*_GONE, dynamic.exceptions.DynamicApiError):
                self.breaks += 1
                time.sleep(0.05)


class Lock(LeaseLock):
    """The client's lock on a Lease. It lets errors of the network through, which end an election; here they are failed
    attempts like others. `cut`: this candidate cannot reach the server at all."""

    def __init__(self, machine: Machine, identity: str) -> None:
        super().__init__("elected", SPACE, identity)
        self.api_instance = client.CoordinationV1Api(machine.api())
        self.cut = False

    def _safe(self, work: Callable[[], Any], failed: Any) -> Any:
        if self.cut:
            return failed
        try:
            return work()
        except _GONE:
            return failed

    def get(self, name: str, namespace: str) -> Any:
        get = super().get
        return self._safe(lambda: get(name, namespace), (False, client.ApiException(0, "unreachable")))

    def create(self, name: str, namespace: str, election_record: Any) -> Any:
        create = super().create
        return self._safe(lambda: create(name, namespace, election_record), False)

    def update(self, name: str, namespace: str, updated_record: Any) -> Any:
        update = super().update
        return self._safe(lambda: update(name, namespace, updated_record), False)


class Election:
    """Three candidates; terms: (identity, began, ended) by one clock."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.terms: list[tuple[str, float, float]] = []
        self.locks = {name: Lock(machine, name) for name in ("anna", "berta", "clara")}
        self.leading: dict[str, float] = {}
        self.over = False

    def candidate(self, name: str) -> Callable[[threading.Event], None]:
        def run() -> None:
            while not self.over:
                settings = electionconfig.Config(
                    self.locks[name], lease_duration=4, renew_deadline=3, retry_period=1,
                    onstarted_leading=lambda: self._start(name), onstopped_leading=lambda: self._stop(name),
                )  # fmt: skip
                leaderelection.LeaderElection(settings).run()

        def wait(stop: threading.Event) -> None:
            thread = threading.Thread(target=run, daemon=True)  # the library has no way to end a candidate
            thread.start()
            stop.wait()
            self.over = True
            assert thread.is_alive(), "a candidate gave up"

        return wait

    def _start(self, name: str) -> None:
        self.leading[name] = time.monotonic()

    def _stop(self, name: str) -> None:
        self.terms.append((name, self.leading.pop(name, time.monotonic()), time.monotonic()))

    def all_terms(self) -> list[tuple[str, float, float]]:
        now = time.monotonic()
        return sorted([*self.terms, *((n, t, now) for n, t in self.leading.items())], key=lambda t: t[1])


@pytest.mark.timeout(SECONDS + 120)
def test_informers_dynamic_watches_and_elections_survive_crashes_without_a_missed_or_repeated_event(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("kubernetes.informer.informer", "leaderelection", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    machine = Machine(tmp_path / "server")
    try:
        Http(machine.server).ok("POST", "/api/v1/namespaces", {"metadata": {"name": SPACE}})
        writers = {plural: [Writer(machine.server, plural, n) for n in range(2)] for plural in KINDS}
        followers = {plural: Follower(machine, plural) for plural in KINDS}
        informed: list[tuple[str, str, int]] = []
        relisted: list[Any] = []
        informer = SharedInformer(
            client.CoreV1Api(machine.api()).list_namespaced_config_map, SPACE, label_selector="ledger=yes"
        )
        for kind in ("ADDED", "MODIFIED", "DELETED"):
            informer.add_event_handler(
                kind,
                lambda o, kind=kind: informed.append((kind, o.metadata.name, int(o.metadata.resource_version))),
            )
        informer.add_event_handler("ERROR", lambda e: relisted.append(e) if getattr(e, "status", 0) == 410 else None)
        informer.start()
        election = Election(machine)
        deadline = time.monotonic() + SECONDS
        following = [f.run for f in followers.values()]
        with running([*following, *(election.candidate(name) for name in election.locks)]) as _:
            with running([w.run for group in writers.values() for w in group]):
                _upset(machine, election, deadline)
            _settle(writers, followers, informed)
            for follower in followers.values():
                follower.watcher.stop()
        informer.stop()
        finals = {plural: _list(machine, plural) for plural in KINDS}
        cached = {o.metadata.name: int(o.metadata.resource_version) for o in informer.cache.list()}
        for plural, follower in followers.items():
            assert not follower.gone
            check(writers[plural], follower.seen, finals[plural], f"dynamic watch of {plural}")
        assert not relisted
        check(writers["configmaps"], informed, finals["configmaps"], "informer")
        assert cached == finals["configmaps"]
        _check_election(election)
        everyone = [w for group in writers.values() for w in group]
        with capsys.disabled():
            print(
                f"\n{SECONDS} s, {machine.restarts} kills: {sum(len(w.ledger) for w in everyone)} writes "
                f"({sum(w.unanswered for w in everyone)} unanswered, {sum(w.durable for w in everyone)} of them kept); "
                f"informer {len(informed)} events, dynamic watches "
                f"{' + '.join(str(len(f.seen)) for f in followers.values())} events over "
                f"{sum(f.breaks for f in followers.values())} failed attempts; {len(election.all_terms())} terms of "
                f"leaders: nothing missed, nothing repeated, never two leaders"
            )
    finally:
        machine.stop()


def _upset(machine: Machine, election: Election, deadline: float) -> None:
    """Kills the server every few seconds, and now and then cuts off the leader."""
    cut = random.Random(1)
    turn = 0
    while time.monotonic() + KILL_EVERY < deadline:
        time.sleep(KILL_EVERY * cut.uniform(0.6, 1.2))
        machine.crash()
        turn += 1
        for lock in election.locks.values():
            lock.cut = False
        if turn % 4 == 2:
            for name in list(election.leading):
                election.locks[name].cut = True
    time.sleep(max(0.0, deadline - time.monotonic()))
    for lock in election.locks.values():
        lock.cut = False


def _settle(writers: dict[str, list[Writer]], followers: dict[str, Follower], informed: list[Any]) -> None:
    """Waits until every follower has as many events as there were writes; what is too many shows in the check."""
    wanted = {plural: sum(len(w.ledger) for w in group) for plural, group in writers.items()}
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        if len(informed) >= wanted["configmaps"] and all(
            len(f.seen) >= wanted[plural] for plural, f in followers.items()
        ):
            break
        time.sleep(0.05)
    time.sleep(0.5)


def _list(machine: Machine, plural: str) -> dict[str, int]:
    answer = Http(machine.server).ok("GET", KINDS[plural][0], query={"labelSelector": "ledger=yes"})
    return {o["metadata"]["name"]: int(o["metadata"]["resourceVersion"]) for o in answer["items"]}


def _check_election(election: Election) -> None:
    terms = election.all_terms()
    assert terms, "nobody ever led"
    for before, after in itertools.pairwise(terms):
        assert after[1] >= before[2], f"two leaders at once: {before}, {after}"
    if LONG:
        assert len({name for name, _, _ in terms}) > 1, "leadership never moved"
