"""Watches and lists on the wire: resource versions, bookmarks, initial events, paging, selectors, many watchers."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from apiserver_http import MAPS, MERGE, PODS, Http, config_map, pod
from tools import ApiServer

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
PARTIAL = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"


@pytest.fixture(scope="module")
def http(shared_api_server: ApiServer) -> Http:
    return Http(shared_api_server)


@pytest.fixture(autouse=True)
def _clean(http: Http) -> Iterator[None]:
    yield
    http.ok("DELETE", MAPS, query={"labelSelector": "test"})


def _map(name: str, **labels: str) -> dict[str, Any]:
    return config_map(name, {"test": "yes", **labels})


def _version(http: Http) -> str:
    return str(http.ok("GET", MAPS)["metadata"]["resourceVersion"])


def _take(events: Iterator[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    return [next(events) for _ in range(count)]


def _short(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(e["type"], e["object"]["metadata"]["name"]) for e in events]


def test_a_watch_from_a_list_sees_what_came_after_and_nothing_else(http: Http) -> None:
    http.ok("POST", MAPS, _map("before"))
    with http.watch(MAPS, resourceVersion=_version(http), labelSelector="test") as events:
        http.ok("POST", MAPS, _map("a"))
        http.ok("PATCH", f"{MAPS}/a", {"data": {"k": "v"}}, content=MERGE)
        http.ok("DELETE", f"{MAPS}/a")
        seen = _take(events, 3)
    assert _short(seen) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]
    versions = [int(e["object"]["metadata"]["resourceVersion"]) for e in seen]
    assert versions == sorted(set(versions)), "a deletion has a revision of its own"


def test_a_watch_without_a_version_begins_with_what_is_there(http: Http) -> None:
    http.ok("POST", MAPS, _map("there"))
    for query in ({}, {"resourceVersion": "0"}):
        with http.watch(MAPS, labelSelector="test", **query) as events:
            http.ok("PATCH", f"{MAPS}/there", {"data": {"k": str(query)}}, content=MERGE)
            assert _short(_take(events, 2)) == [("ADDED", "there"), ("MODIFIED", "there")]


def test_objects_that_begin_and_cease_to_match_are_added_and_deleted(http: Http) -> None:
    http.ok("POST", MAPS, _map("m", colour="red"))
    with http.watch(MAPS, resourceVersion=_version(http), labelSelector="colour=blue") as events:
        for number, colour in enumerate(("blue", "blue", "blue", "red", "red")):
            patch = {"metadata": {"labels": {"colour": colour}}, "data": {"k": str(number)}}
            http.ok("PATCH", f"{MAPS}/m", patch, content=MERGE)
        seen = _take(events, 4)
    assert [e["type"] for e in seen] == ["ADDED", "MODIFIED", "MODIFIED", "DELETED"]
    assert seen[-1]["object"]["metadata"]["labels"]["colour"] == "blue", "the last state that matched"


def test_a_field_selector_watches_one_object(http: Http) -> None:
    with http.watch(MAPS, resourceVersion=_version(http), fieldSelector="metadata.name=one") as events:
        http.ok("POST", MAPS, _map("other"))
        http.ok("POST", MAPS, _map("one"))
        assert _short(_take(events, 1)) == [("ADDED", "one")]


def test_initial_events_end_with_a_marked_bookmark(http: Http) -> None:
    for name in ("a", "b"):
        http.ok("POST", MAPS, _map(name))
    options = {
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
        "allowWatchBookmarks": "true",
        "labelSelector": "test",
    }
    with http.watch(MAPS, **options) as events:
        seen = _take(events, 3)
        http.ok("POST", MAPS, _map("c"))
        after = next(events)
    assert _short(seen[:2]) == [("ADDED", "a"), ("ADDED", "b")]
    mark = seen[2]
    assert mark["type"] == "BOOKMARK"
    assert (mark["object"]["kind"], mark["object"]["apiVersion"]) == ("ConfigMap", "v1")
    assert mark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert int(mark["object"]["metadata"]["resourceVersion"]) > 0
    assert _short([after]) == [("ADDED", "c")]


def test_initial_events_need_the_right_match(http: Http) -> None:
    refused = http("GET", MAPS, query={"watch": "1", "sendInitialEvents": "true"})
    assert refused.status == 422
    assert refused.json["details"]["kind"] == "ListOptions"
    assert http("GET", MAPS, query={"sendInitialEvents": "true"}).status == 422


def test_a_version_from_the_future_times_out_with_a_hint(http: Http) -> None:
    refused = http("GET", MAPS, query={"resourceVersion": "99999999"})
    assert refused.status == 504
    assert refused.json["reason"] == "Timeout"
    assert refused.json["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


def test_list_options_that_contradict_are_refused(http: Http) -> None:
    for query in (
        {"resourceVersionMatch": "Exact"},
        {"resourceVersionMatch": "Exact", "resourceVersion": "0"},
        {"resourceVersionMatch": "Sometimes", "resourceVersion": "1"},
    ):
        assert http("GET", MAPS, query=query).status == 422, query
    assert http("GET", MAPS, query={"fieldSelector": "data.k=v"}).status == 400
    assert http("GET", MAPS, query={"labelSelector": "a in"}).status == 400


def test_pages_show_one_moment_even_while_objects_change(http: Http) -> None:
    for number in range(10):
        http.ok("POST", MAPS, _map(f"p{number}"))
    first = http.ok("GET", MAPS, query={"limit": "4"})
    assert first["metadata"]["remainingItemCount"] > 0
    http.ok("DELETE", f"{MAPS}/p9")
    http.ok("POST", MAPS, _map("p99"))
    names = [i["metadata"]["name"] for i in first["items"]]
    token = first["metadata"]["continue"]
    versions = {first["metadata"]["resourceVersion"]}
    while token:
        page = http.ok("GET", MAPS, query={"limit": "4", "continue": token})
        names += [i["metadata"]["name"] for i in page["items"]]
        versions.add(page["metadata"]["resourceVersion"])
        token = page["metadata"].get("continue")
    assert [n for n in names if n.startswith("p")] == [f"p{n}" for n in range(10)]
    assert len(versions) == 1


def test_an_exact_version_lists_the_past(http: Http) -> None:
    http.ok("POST", MAPS, _map("a"))
    pinned = _version(http)
    http.ok("POST", MAPS, _map("b"))
    query = {"resourceVersion": pinned, "resourceVersionMatch": "Exact", "labelSelector": "test"}
    assert [i["metadata"]["name"] for i in http.ok("GET", MAPS, query=query)["items"]] == ["a"]


def test_a_bad_continue_token_is_a_bad_request(http: Http) -> None:
    assert http("GET", MAPS, query={"continue": "nonsense!"}).status == 400


def test_an_empty_list_has_a_version_and_a_list_of_items(http: Http) -> None:
    tree = http.ok("GET", "/api/v1/namespaces/kube-public/secrets")
    assert tree["items"] == []
    assert tree["kind"] == "SecretList"
    assert int(tree["metadata"]["resourceVersion"]) > 0


def test_pods_are_selected_by_their_node(http: Http) -> None:
    for number in range(4):
        http.ok("POST", PODS, pod(f"on{number}", nodeName=f"n{number % 2}"))
    found = http.ok("GET", PODS, query={"fieldSelector": "spec.nodeName=n1,status.phase!=Running"})
    assert [i["metadata"]["name"] for i in found["items"]] == ["on1", "on3"]
    http.ok("DELETE", PODS, query={"gracePeriodSeconds": "0"})


def test_a_table_watch_sends_columns_once(http: Http) -> None:
    http.ok("POST", MAPS, _map("a"))
    with http.watch(MAPS, labelSelector="test", headers={"Accept": TABLE}) as events:
        http.ok("POST", MAPS, _map("b"))
        first, second = _take(events, 2)
    assert first["object"]["kind"] == "Table"
    assert [c["name"] for c in first["object"]["columnDefinitions"]] == ["Name", "Data", "Age"]
    assert second["object"]["columnDefinitions"] is None
    assert second["object"]["rows"][0]["cells"][:2] == ["b", "0"]


def test_metadata_only_lists_and_watches_carry_no_data(http: Http) -> None:
    http.ok("POST", MAPS, {**_map("a"), "data": {"secret": "x"}})
    accept = PARTIAL.replace("PartialObjectMetadata", "PartialObjectMetadataList")
    tree = http.ok("GET", MAPS, query={"labelSelector": "test"}, headers={"Accept": accept})
    assert tree["kind"] == "PartialObjectMetadataList"
    assert set(tree["items"][0]) == {"kind", "apiVersion", "metadata"}
    with http.watch(MAPS, labelSelector="test", headers={"Accept": PARTIAL}) as events:
        assert next(events)["object"]["kind"] == "PartialObjectMetadata"


def test_the_old_watch_paths_still_work(http: Http) -> None:
    http.ok("POST", MAPS, _map("old-path"))
    with http.watch("/api/v1/watch/namespaces/default/configmaps/old-path") as events:
        assert _short([next(events)]) == [("ADDED", "old-path")]


def test_two_hundred_watchers_see_every_change_in_the_same_order(http: Http) -> None:
    count, changes = 200, 30
    version = _version(http)
    seen: list[list[str]] = [[] for _ in range(count)]

    def follow(number: int) -> None:
        with http.watch(MAPS, timeout=60, resourceVersion=version, labelSelector="test") as events:
            for _ in range(changes):
                seen[number].append(next(events)["object"]["metadata"]["resourceVersion"])

    threads = [threading.Thread(target=follow, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for number in range(changes):
        http.ok("POST", MAPS, _map(f"w{number}"))
    for thread in threads:
        thread.join(60)
    assert len(seen[0]) == changes
    assert [int(v) for v in seen[0]] == sorted({int(v) for v in seen[0]})
    assert all(s == seen[0] for s in seen)


def test_a_watch_ends_when_its_time_is_up(http: Http) -> None:
    answer = http("GET", MAPS, query={"watch": "1", "resourceVersion": _version(http), "timeoutSeconds": "1"})
    assert answer.status == 200
    assert answer.data == b""


def test_answers_are_indented_for_people_and_compressed_when_large(http: Http) -> None:
    assert b"\n  " in http("GET", MAPS, query={"pretty": "true"}).data
    big = {**_map("big"), "data": {"k": "x" * 200_000}}
    http.ok("POST", MAPS, big)
    answer = http("GET", f"{MAPS}/big", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["Content-Encoding"] == "gzip"
    assert len(answer.data) < 10_000


def test_what_cannot_be_answered_or_read_is_refused(http: Http) -> None:
    refused = http("GET", MAPS, headers={"Accept": "application/cbor"})
    assert refused.status == 406
    assert refused.json["reason"] == "NotAcceptable"
    refused = http("POST", MAPS, b"\xd9", content="application/cbor")
    assert refused.status == 415
    assert refused.json["reason"] == "UnsupportedMediaType"
    refused = http("POST", MAPS, json.dumps({"data": {"k": "x" * (4 << 20)}}).encode())
    assert refused.status == 413
    assert http("GET", "/nothing/here").data == b"404 page not found\n"
    assert http("PUT", MAPS, {}).status == 405
