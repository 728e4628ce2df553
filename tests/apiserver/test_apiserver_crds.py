"""Calico's generated CustomResourceDefinitions on a real API server: accepted, established, and served as they say.

Their contents are covered in tests/model/test_model_definitions.py.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from tools import ApiServer

CRDS = Path(__file__).parents[2] / "deploy" / "crds"


@pytest.fixture(scope="module")
def server(shared_api_server: ApiServer) -> ApiServer:
    shared_api_server.kubectl("apply", "--server-side", "-f", str(CRDS / "crd.projectcalico.org.yaml"))
    return shared_api_server


def _json(server: ApiServer, *args: str) -> dict[str, Any]:
    return dict(json.loads(server.kubectl(*args, "-o", "json").stdout))


def test_the_storage_definitions_are_all_established(server: ApiServer) -> None:
    items = _json(server, "get", "customresourcedefinitions")["items"]
    ours = [item for item in items if item["spec"]["group"] == "crd.projectcalico.org"]
    assert len(ours) == 41
    for item in ours:
        states = {c["type"]: c["status"] for c in item["status"]["conditions"]}
        assert states["NamesAccepted"] == states["Established"] == "True", item["metadata"]["name"]
        assert states.get("NonStructuralSchema", "False") == "False"


def test_a_dry_run_and_a_diff_of_unchanged_definitions_find_no_change(server: ApiServer) -> None:
    path = str(CRDS / "crd.projectcalico.org.yaml")
    before = server.kubectl("get", "crd", "-o", "jsonpath={.items[*].metadata.resourceVersion}").stdout
    done = server.kubectl("apply", "--server-side", "--dry-run=server", "-f", path)
    assert done.stdout.count("serverside-applied (server dry run)") == 41
    assert server.kubectl("diff", "--server-side", "-f", path).stdout == ""
    assert server.kubectl("get", "crd", "-o", "jsonpath={.items[*].metadata.resourceVersion}").stdout == before


def test_a_dry_run_by_the_client_makes_nothing(server: ApiServer) -> None:
    """For definitions that are not there yet: with others kubectl 1.37 fails (kubernetes/kubernetes#139538)."""
    path = str(CRDS / "projectcalico.org.yaml")
    done = server.kubectl("apply", "--dry-run=client", "-f", path)
    assert done.stdout.count("created (dry run)") == 41
    assert server.kubectl("get", "crd", "tiers.projectcalico.org", check=False).returncode == 1


def test_stored_objects_keep_what_they_were_given(server: ApiServer) -> None:
    tier = {
        "apiVersion": "crd.projectcalico.org/v1",
        "kind": "Tier",
        "metadata": {"name": "security"},
        "spec": {"order": 10},
    }
    server.kubectl("create", "-f", "-", stdin=json.dumps(tier))
    stored = _json(server, "get", "tiers.crd.projectcalico.org", "security")
    assert stored["spec"] == {"order": 10, "defaultAction": "Deny"}
    affinity = {
        "apiVersion": "crd.projectcalico.org/v1",
        "kind": "BlockAffinity",
        "metadata": {"name": "one-192-168-0-0-26"},
        "spec": {"state": "confirmed", "node": "one", "cidr": "192.168.0.0/26", "deleted": "false"},
    }
    server.kubectl("create", "-f", "-", stdin=json.dumps(affinity))
    assert (
        _json(server, "get", "blockaffinities.crd.projectcalico.org", "one-192-168-0-0-26")["spec"]
        == (affinity["spec"])
    )
