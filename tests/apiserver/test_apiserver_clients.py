"""The official Python client, and memory with many objects."""

import asyncio
import threading
from pathlib import Path

import pytest
from apiserver_http import PODS, Http, pod
from kubernetes import client, config, dynamic, watch
from tools import ApiServer, start_api_server

from tortie.apiserver.journal import Journal
from tortie.apiserver.store import Store

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def api(shared_api_server: ApiServer) -> client.ApiClient:
    return config.new_client_from_config(str(shared_api_server.kubeconfig))


def test_typed_objects_round_trip(api: client.ApiClient) -> None:
    core = client.CoreV1Api(api)
    body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="typed"), data={"a": "b"})
    core.create_namespaced_config_map("default", body)
    assert core.read_namespaced_config_map("typed", "default").data == {"a": "b"}
    core.patch_namespaced_config_map("typed", "default", {"data": {"c": "d"}})
    assert core.list_namespaced_config_map("default", label_selector="!x").items
    core.delete_namespaced_config_map("typed", "default")
    with pytest.raises(client.ApiException) as caught:
        core.read_namespaced_config_map("typed", "default")
    assert caught.value.status == 404


def test_every_listed_kind_decodes(api: client.ApiClient, shared_api_server: ApiServer) -> None:
    Http(shared_api_server).ok("POST", PODS, pod("decodes"))
    core = client.CoreV1Api(api)
    assert core.list_pod_for_all_namespaces().items
    assert core.list_service_for_all_namespaces().items
    assert core.list_namespace().items
    assert client.RbacAuthorizationV1Api(api).list_cluster_role().items
    assert client.DiscoveryV1Api(api).list_endpoint_slice_for_all_namespaces().items
    assert client.SchedulingV1Api(api).list_priority_class().items
    assert client.VersionApi(api).get_code().major == "1"


def test_a_watch_of_the_client_sees_changes(api: client.ApiClient) -> None:
    core = client.CoreV1Api(api)
    version = core.list_namespaced_config_map("default").metadata.resource_version

    def write() -> None:
        for number in range(3):
            core.create_namespaced_config_map(
                "default", client.V1ConfigMap(metadata=client.V1ObjectMeta(name=f"w{number}"))
            )

    thread = threading.Thread(target=write)
    watcher = watch.Watch()
    thread.start()
    names = []
    stream = watcher.stream(core.list_namespaced_config_map, "default", resource_version=version, timeout_seconds=20)
    for event in stream:
        names.append(event["object"].metadata.name)
        if len(names) == 3:
            watcher.stop()
    thread.join()
    assert names == ["w0", "w1", "w2"]


def test_the_dynamic_client_finds_calico_kinds(api: client.ApiClient) -> None:
    found = dynamic.DynamicClient(api).resources.get(api_version="projectcalico.org/v3", kind="Tier")
    assert {t.metadata.name for t in found.get().items} >= {"default", "kube-admin", "kube-baseline"}


async def _fill(data_dir: Path, count: int) -> None:
    """Puts pods of ordinary size into a database that no server has open."""
    journal = Journal(data_dir / "store.db")
    store = Store(journal)
    store.load()
    journal.start(asyncio.get_running_loop())
    env = [{"name": f"SETTING_{i}", "value": "y" * 40} for i in range(20)]
    for start in range(0, count, 500):
        writes = []
        for number in range(start, start + 500):
            body = pod(
                f"pod-{number}", containers=[{"name": "main", "image": "x", "env": env}], nodeName=f"n{number % 50}"
            )
            body["metadata"] |= {"namespace": "default", "uid": f"u{number}", "managedFields": [{"fieldsV1": env}]}
            writes.append(store.put(store.collection("/pods"), ("default", f"pod-{number}"), body))
        await asyncio.gather(*writes)
    journal.close()


async def test_five_thousand_pods_fit_in_250_mib(tmp_path: Path) -> None:
    await _fill(tmp_path, 5000)
    server = start_api_server(tmp_path)
    try:
        http = Http(server)
        assert len(http.ok("GET", PODS)["items"]) == 5000
        accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
        assert len(http.ok("GET", PODS, headers={"Accept": accept})["rows"]) == 5000
        with http.watch(PODS, timeout=30) as events:
            assert len([next(events) for _ in range(5000)]) == 5000
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024
        assert resident < 250, f"{resident:.0f} MiB"
    finally:
        server.stop()
