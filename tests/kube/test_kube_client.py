"""The client's requests, credentials and errors. Caches and watches: test_kube_cache.py."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kube_fake_api import FakeApi, answer, reset
from structlog.testing import capture_logs

from tortie.kube import requests
from tortie.kube.client import Client
from tortie.kube.config import ClusterConfig, TokenSource
from tortie.kube.errors import (
    AlreadyExists,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    from_response,
)
from tortie.kube.objects import codec
from tortie.kube.watch import LineSplitter
from tortie.model.catalog import CONFIG_MAPS, NAMESPACES, NODES, PODS, TIERS


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    server = FakeApi()
    await server.start()
    yield server
    await server.stop()


# --- requests as values ------------------------------------------------------------------------------------------


def test_paths_follow_group_version_namespace_name_and_subresource() -> None:
    assert requests.get(PODS, "p", "n").target == "/api/v1/namespaces/n/pods/p"
    assert requests.get(NODES, "a", subresource="status").target == "/api/v1/nodes/a/status"
    assert requests.get(TIERS, "default").target == "/apis/projectcalico.org/v3/tiers/default"
    assert requests.list_(PODS).target == "/api/v1/pods"
    listed = requests.list_(PODS, "n", field_selector="spec.nodeName=a", limit=5)
    assert listed.target == "/api/v1/namespaces/n/pods?fieldSelector=spec.nodeName%3Da&limit=5"


def test_names_cannot_break_out_of_the_path() -> None:
    assert requests.get(PODS, "../x", "a/b").target == "/api/v1/namespaces/a%2Fb/pods/..%2Fx"
    with pytest.raises(ValueError, match="namespace is missing"):
        requests.get(PODS, "p")
    with pytest.raises(ValueError, match="name is empty"):
        requests.get(NODES, "")


def test_what_is_written_carries_api_version_and_kind() -> None:
    request = requests.create(CONFIG_MAPS, {"metadata": {"name": "c"}}, "n")
    assert request.target == "/api/v1/namespaces/n/configmaps"
    assert msgspec.json.decode(request.body or b"") == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "c"},
    }


def test_an_apply_patch_needs_a_manager_and_gets_name_and_kind() -> None:
    with pytest.raises(ValueError, match="field_manager"):
        requests.patch(NAMESPACES, "n", {}, patch_type="apply")
    request = requests.patch(NAMESPACES, "n", {}, patch_type="apply", field_manager="me", force=True)
    assert request.target == "/api/v1/namespaces/n?fieldManager=me&force=true"
    assert request.content_type == "application/apply-patch+yaml"
    assert msgspec.json.decode(request.body or b"")["metadata"] == {"name": "n"}


def test_delete_options_are_sent_only_when_there_are_any() -> None:
    assert requests.delete(PODS, "p", "n").body is None
    body = msgspec.json.decode(requests.delete(PODS, "p", "n", grace_period_seconds=0).body or b"")
    assert body == {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0}


# --- bytes -------------------------------------------------------------------------------------------------------


def test_lines_come_out_whole_however_the_bytes_were_cut() -> None:
    text = b'{"a":1}\n\n{"b":"\xc3\xa9"}\n{"c":3}\n{"unfinished"'
    for size in range(1, len(text) + 1):
        splitter = LineSplitter()
        lines = [line for i in range(0, len(text), size) for line in splitter.feed(text[i : i + size])]
        assert lines == [b'{"a":1}', b'{"b":"\xc3\xa9"}', b'{"c":3}']
        assert splitter.pending == len(b'{"unfinished"')


def test_frames_decode_to_typed_events() -> None:
    frame = codec(PODS).frame
    added = frame(b'{"type":"ADDED","object":{"metadata":{"name":"p","resourceVersion":"7"},"spec":{"nodeName":"n"}}}')
    assert added.type == "ADDED" and added.object is not None and added.object.spec.node_name == "n"
    assert added.resource_version == "7"
    mark = frame(
        b'{"object":{"metadata":{"resourceVersion":"9","annotations":{"k8s.io/initial-events-end":"true"}}},"type":"BOOKMARK"}'
    )
    assert (mark.type, mark.resource_version, mark.initial_events_end) == ("BOOKMARK", "9", True)
    bad = frame(b'{"type":"MODIFIED","object":{"metadata":{"name":"p","namespace":"n"},"spec":[]}}')
    assert bad.type == "UNDECODABLE" and bad.undecodable is not None and bad.undecodable.key == ("n", "p")
    assert "spec" in bad.undecodable.error
    gone = frame(b'{"type":"DELETED","object":{"metadata":{"name":"p","namespace":"n"},"spec":[]}}')
    assert gone.type == "DELETED" and gone.undecodable is not None
    with pytest.raises(msgspec.DecodeError):
        frame(b'{"type":"PUZZLED","object":{}}')


# --- errors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (401, "Unauthorized", Unauthorized),
        (403, "Forbidden", Forbidden),
        (404, "NotFound", NotFound),
        (409, "Conflict", Conflict),
        (409, "AlreadyExists", AlreadyExists),
        (410, "Expired", Gone),
        (422, "Invalid", Invalid),
        (429, "TooManyRequests", TooManyRequests),
        (500, "InternalError", Unavailable),
        (503, "ServiceUnavailable", Unavailable),
    ],
)
async def test_statuses_become_typed_errors(api: FakeApi, code: int, reason: str, kind: type[Exception]) -> None:
    api.other_faults.extend([answer(code, reason, name="x")] * 2)
    async with Client(api.config, retries=0) as client:
        with pytest.raises(kind) as caught:
            await client.get(NODES, "x")
    error: Any = caught.value
    assert (error.status, error.reason, error.details.name) == (code, reason, "x")


def test_an_answer_that_is_not_a_status_still_explains_itself() -> None:
    error = from_response(502, b"<html>Bad Gateway</html>", what="GET /api/v1/nodes")
    assert isinstance(error, Unavailable)
    assert str(error) == "GET /api/v1/nodes: HTTP 502 <html>Bad Gateway</html>"


async def test_too_many_requests_is_repeated_after_the_time_the_server_names(api: FakeApi) -> None:
    api.other_faults.extend([answer(429, "TooManyRequests", retry_after="0.05")] * 3)
    async with Client(api.config) as client:
        loop = asyncio.get_running_loop()
        start = loop.time()
        await client.raw("GET", "/api/v1/nodes/x")
        assert loop.time() - start >= 0.15
    assert len(api.requests) == 4


async def test_no_answer_is_unavailable_with_the_address_in_the_text(api: FakeApi) -> None:
    api.other_faults.append(reset)
    async with Client(api.config) as client:
        with pytest.raises(Unavailable, match=f"127.0.0.1:{api.port}"):
            await client.create(NAMESPACES, {"metadata": {"name": "n"}})
        await api.stop()
        with pytest.raises(Unavailable) as caught:
            await client.get(NODES, "x")
        assert caught.value.status == 0


async def test_a_pause_ends_soon_after_a_server_that_was_away_answers_again(api: FakeApi) -> None:
    async with Client(api.config) as client:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        await client.pause(0.05)
        assert loop.time() - begin >= 0.05
        await api.stop()
        with capture_logs() as logs:
            for _ in range(3):
                with pytest.raises(Unavailable):
                    await client.get(NODES, "x")
            pause = asyncio.create_task(client.pause(60))
            await asyncio.sleep(0)
            await api.start()
            await asyncio.wait_for(pause, 2)
        assert [line["event"] for line in logs] == ["the API server does not answer", "the API server answers again"]


# --- credentials -------------------------------------------------------------------------------------------------


async def test_a_refused_token_is_read_again_from_its_file_once(api: FakeApi, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("old\n")
    config = ClusterConfig(server=api.config.server, token_file=token)
    async with Client(config) as client:
        await client.raw("GET", "/api/v1/nodes/x")
        token.write_text("new\n")
        api.other_faults.append(answer(401, "Unauthorized"))
        await client.raw("GET", "/api/v1/nodes/x")
        assert [h["Authorization"] for h in api.headers] == ["Bearer old", "Bearer old", "Bearer new"]
        api.other_faults.append(answer(401, "Unauthorized"))
        with pytest.raises(Unauthorized):
            await client.raw("GET", "/api/v1/nodes/x")


def test_a_token_file_is_read_again_after_its_age_and_survives_a_moment_without_file(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("one")
    tokens = TokenSource(ClusterConfig(server="https://x", token_file=path), max_age=10)
    assert tokens.authorization(now=0) == "Bearer one"
    path.write_text("two")
    assert tokens.authorization(now=9) == "Bearer one"
    assert tokens.authorization(now=10) == "Bearer two"
    path.unlink()
    assert tokens.authorization(now=100) == "Bearer two"


def test_the_configuration_never_shows_its_secrets() -> None:
    config = ClusterConfig(server="https://x", token="s3cret", client_key=b"-----KEY", password="pw")
    assert "s3cret" not in repr(config) and "KEY" not in repr(config) and "pw" not in repr(config)


def test_a_tls_context_verifies_by_default() -> None:
    context = ClusterConfig(server="https://x").ssl_context()
    assert context is not None and context.verify_mode == ssl.CERT_REQUIRED and context.check_hostname
    assert ClusterConfig(server="http://x").ssl_context() is None
