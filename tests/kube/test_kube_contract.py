"""The client and its caches against the real embedded API server, deaths of the server included."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from kube_fake_api import eventually
from tools import ApiServer, start_api_server

from tortie.kube.cache import Backoff, Cache
from tortie.kube.client import Client
from tortie.kube.config import load
from tortie.kube.errors import AlreadyExists, Conflict, Invalid, NotFound
from tortie.kube.events import EventRecorder, Reference
from tortie.kube.leader import LeaderElector, Timing
from tortie.model.catalog import (
    CONFIG_MAPS,
    EVENTS,
    GLOBAL_NETWORK_POLICIES,
    LEASES,
    NAMESPACES,
    NODES,
    PODS,
    SERVICE_ACCOUNTS,
)


@pytest.fixture
async def client(shared_api_server: ApiServer) -> AsyncIterator[Client]:
    async with Client(load(str(shared_api_server.kubeconfig))) as c:
        yield c


@pytest.fixture
async def namespace(client: Client) -> str:
    created = await client.create(NAMESPACES, {"metadata": {"generateName": "kube-"}})
    return created.metadata.name


async def test_create_read_change_and_delete(client: Client, namespace: str) -> None:
    made = await client.create(CONFIG_MAPS, {"metadata": {"name": "c"}, "data": {"a": "1"}}, namespace)
    with pytest.raises(AlreadyExists):
        await client.create(CONFIG_MAPS, {"metadata": {"name": "c"}}, namespace)
    assert (await client.get(CONFIG_MAPS, "c", namespace))["data"] == {"a": "1"}
    made["data"]["b"] = "2"
    updated = await client.update(CONFIG_MAPS, made)
    with pytest.raises(Conflict):
        await client.update(CONFIG_MAPS, {**made, "data": {}})
    assert updated["metadata"]["resourceVersion"] != made["metadata"]["resourceVersion"]
    await client.delete(CONFIG_MAPS, "c", namespace)
    assert await client.find(CONFIG_MAPS, "c", namespace) is None
    with pytest.raises(NotFound):
        await client.delete(CONFIG_MAPS, "c", namespace)


async def test_every_kind_of_patch(client: Client, namespace: str) -> None:
    await client.create(CONFIG_MAPS, {"metadata": {"name": "p"}, "data": {"a": "1"}}, namespace)

    async def patched(patch: Any, **options: Any) -> dict[str, str]:
        result = await client.patch(CONFIG_MAPS, "p", patch, namespace=namespace, **options)
        data: dict[str, str] = result["data"]
        return data

    assert await patched({"data": {"b": "2"}}) == {"a": "1", "b": "2"}
    assert await patched({"data": {"a": None}}, patch_type="strategic") == {"b": "2"}
    operations = [{"op": "replace", "path": "/data/b", "value": "3"}]
    assert await patched(operations, patch_type="json") == {"b": "3"}
    applied = await patched({"data": {"c": "4"}}, patch_type="apply", field_manager="me", force=True)
    assert applied == {"b": "3", "c": "4"}


async def test_structs_are_written_as_they_are(client: Client) -> None:
    created = await client.create(
        GLOBAL_NETWORK_POLICIES, {"metadata": {"name": "from-struct"}, "spec": {"selector": "all()"}}
    )
    again = await client.update(GLOBAL_NETWORK_POLICIES, created)
    assert again.spec.selector == "all()"
    await client.delete(GLOBAL_NETWORK_POLICIES, created.metadata.name)


async def test_an_invalid_object_is_refused_with_causes(client: Client) -> None:
    with pytest.raises(Invalid) as caught:
        await client.create(GLOBAL_NETWORK_POLICIES, {"metadata": {"name": "bad"}, "spec": {"selector": "all( =="}})
    details = caught.value.details
    assert details is not None and details.causes


async def test_pages_lead_through_a_collection(client: Client, namespace: str) -> None:
    for number in range(5):
        await client.create(CONFIG_MAPS, {"metadata": {"name": f"page-{number}"}}, namespace)
    seen: list[str] = []
    token = ""
    while True:
        page = await client.list(CONFIG_MAPS, namespace, limit=2, continue_=token)
        seen += [item["metadata"]["name"] for item in page.items]
        token = page.continue_
        if not token:
            break
    assert [name for name in seen if name.startswith("page-")] == [f"page-{n}" for n in range(5)]


@pytest.mark.parametrize("initial_events", [False, True])
async def test_a_cache_follows_the_server(client: Client, namespace: str, initial_events: bool) -> None:
    await client.create(CONFIG_MAPS, {"metadata": {"name": "a", "labels": {"x": "y"}}}, namespace)
    log: list[str] = []

    def note(type_: str, old: dict[str, Any] | None, new: dict[str, Any] | None) -> None:
        log.append(f"{type_} {(new or old or {})['metadata']['name']}")

    cache = Cache(
        client,
        CONFIG_MAPS,
        namespace=namespace,
        label_selector="x=y",
        on_event=note,
        initial_events=initial_events,
    )
    task = asyncio.create_task(cache.run())
    await cache.wait_synced()
    assert log == ["added a"]
    await client.create(CONFIG_MAPS, {"metadata": {"name": "b", "labels": {"x": "y"}}}, namespace)
    await client.create(CONFIG_MAPS, {"metadata": {"name": "other"}}, namespace)
    await client.patch(CONFIG_MAPS, "b", {"data": {"k": "v"}}, namespace=namespace)
    await client.patch(CONFIG_MAPS, "b", {"metadata": {"labels": {"x": None}}}, namespace=namespace)
    await client.delete(CONFIG_MAPS, "a", namespace)
    await eventually(lambda: len(log) >= 5, what=str(log))
    assert log == ["added a", "added b", "modified b", "deleted b", "deleted a"]
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_change_reaches_the_cache_in_milliseconds(client: Client, namespace: str) -> None:
    """From the moment the write is sent; median."""
    cache = Cache(client, CONFIG_MAPS, namespace=namespace)
    task = asyncio.create_task(cache.run())
    await cache.wait_synced()
    await client.create(CONFIG_MAPS, {"metadata": {"name": "t"}}, namespace)
    delays: list[float] = []
    for number in range(30):
        start = time.perf_counter()
        await client.patch(CONFIG_MAPS, "t", {"data": {"n": str(number)}}, namespace=namespace)

        def arrived(want: str = str(number)) -> bool:
            held = cache.get("t", namespace)
            return held is not None and (held.get("data") or {}).get("n") == want

        await cache.wait_for(arrived)
        delays.append(time.perf_counter() - start)
    task.cancel()
    assert sorted(delays)[15] < 0.1


async def test_service_account_tokens_and_status_subresources(client: Client, namespace: str) -> None:
    await eventually_async(lambda: client.find(SERVICE_ACCOUNTS, "default", namespace))
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}}
    token: Any = await client.raw("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts/default/token", body=request)
    assert b'"token"' in token
    node = await client.create(NODES, {"metadata": {"name": f"n-{namespace}"}})
    change = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    changed = await client.patch(NODES, node.metadata.name, change, subresource="status", patch_type="strategic")
    assert changed.status.conditions[0].status == "True"
    await client.delete(NODES, node.metadata.name)


async def test_events_are_counted_on_the_server(client: Client, namespace: str) -> None:
    pod = await client.create(
        PODS, {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "busybox"}]}}, namespace
    )
    recorder = EventRecorder(client, "test", host="n1")
    task = asyncio.create_task(recorder.run())
    for _ in range(3):
        recorder.event(Reference.to(PODS, pod), "Warning", "Unwell", "something hurts")
    await recorder.flush()
    found = await client.list(EVENTS, namespace, field_selector="involvedObject.name=p,reason=Unwell")
    assert [(e["count"], e["involvedObject"]["uid"]) for e in found.items] == [(3, pod.metadata.uid)]
    task.cancel()


async def test_leadership_passes_over_on_the_real_server(client: Client, namespace: str) -> None:
    timing = Timing(duration=3, deadline=2, retry=0.1)
    order: list[str] = []

    def candidate(name: str) -> asyncio.Task[None]:
        async def work() -> None:
            order.append(name)
            await asyncio.Event().wait()

        elector = LeaderElector(client, namespace=namespace, name="lock", identity=name, timing=timing)
        return asyncio.create_task(elector.run(work))

    first = candidate("a")
    await eventually(lambda: order == ["a"])
    second = candidate("b")
    first.cancel()
    await eventually(lambda: order == ["a", "b"])
    second.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    lease = await client.get(LEASES, "lock", namespace)
    assert lease["spec"]["holderIdentity"] == ""


async def test_caches_survive_kill_9_of_the_server_again_and_again(tmp_path: Path) -> None:
    """Nothing missed, nothing repeated: the journal must be a possible history and end where the server is."""
    data = tmp_path / "api"
    data.mkdir()
    server = start_api_server(data)
    state: dict[str, str] = {}

    def note(type_: str, old: dict[str, Any] | None, new: dict[str, Any] | None) -> None:
        if type_ == "deleted":
            assert old is not None
            del state[old["metadata"]["name"]]
            return
        assert new is not None
        name = new["metadata"]["name"]
        assert (name in state) == (type_ == "modified")
        assert state.get(name) != new["metadata"]["resourceVersion"]
        state[name] = new["metadata"]["resourceVersion"]

    try:
        async with Client(load(str(server.kubeconfig)), timeout=10) as client:
            cache = Cache(
                client, CONFIG_MAPS, namespace="default", on_event=note, backoff=Backoff(first=0.05, limit=0.2)
            )
            task = asyncio.create_task(cache.run())
            await cache.wait_synced()
            for life in range(3):
                for number in range(8):
                    await client.create(
                        CONFIG_MAPS, {"metadata": {"name": f"c-{life}-{number}"}, "data": {}}, "default"
                    )
                await client.delete(CONFIG_MAPS, f"c-{life}-0", "default")
                await asyncio.to_thread(server.kill)
                server = await asyncio.to_thread(start_api_server, data, port=server.port)
                await client.delete(CONFIG_MAPS, f"c-{life}-1", "default")
                listed = await client.list(CONFIG_MAPS, "default")
                want = {o["metadata"]["name"]: o["metadata"]["resourceVersion"] for o in listed.items}
                await eventually(lambda want=want: state == want, what=f"life {life}")
            assert not task.done()
            task.cancel()
    finally:
        server.stop()


async def eventually_async(question: Any, *, within: float = 10.0) -> None:
    async with asyncio.timeout(within):
        while not await question():
            await asyncio.sleep(0.02)
