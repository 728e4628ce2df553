"""policy.networking.k8s.io/v1alpha2 as the API server serves it. The rules are tested in the model's room."""

from typing import Any

import pytest
from apiserver_http import MERGE, Http
from tools import ApiServer

GROUP = "/apis/policy.networking.k8s.io/v1alpha2"
POLICIES = f"{GROUP}/clusternetworkpolicies"
TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}


@pytest.fixture(scope="module")
def http(shared_api_server: ApiServer) -> Http:
    return Http(shared_api_server)


def written(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "policy.networking.k8s.io/v1alpha2",
        "kind": "ClusterNetworkPolicy",
        "metadata": {"name": name},
        "spec": {"tier": "Baseline", "priority": 3, "subject": {"namespaces": {}}, **spec},
    }


def test_discovery_names_it_with_its_short_name_and_status(http: Http) -> None:
    resources = {item["name"]: item for item in http.ok("GET", GROUP)["resources"]}
    assert resources["clusternetworkpolicies"]["shortNames"] == ["cnp"]
    assert resources["clusternetworkpolicies"]["namespaced"] is False
    assert "clusternetworkpolicies/status" in resources


def test_a_policy_is_stored_shown_and_reported_on(http: Http) -> None:
    rule = {"action": "Deny", "name": "all", "from": [{"namespaces": {}}]}
    made = http.ok("POST", POLICIES, written("baseline", ingress=[rule]))
    assert made["spec"]["ingress"] == [rule]
    table = http.ok("GET", POLICIES, headers=TABLE)
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Tier", "Priority", "Age"]
    assert table["rows"][0]["cells"][:3] == ["baseline", "Baseline", 3]
    condition = {
        "type": "Accepted",
        "status": "True",
        "reason": "Enforced",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    status = {"status": {"conditions": [condition]}, "spec": {"priority": 9}}
    shown = http.ok("PATCH", f"{POLICIES}/baseline/status", status, content=MERGE)
    assert shown["status"]["conditions"] == [condition]
    assert shown["spec"]["priority"] == 3
    http.ok("DELETE", f"{POLICIES}/baseline")


def test_a_wrong_policy_is_refused_with_every_field_at_fault(http: Http) -> None:
    refused = http("POST", POLICIES, written("bad", priority=2000, egress=[{"action": "Deny", "to": [{}]}]))
    assert refused.status == 422
    fields = {cause["field"] for cause in refused.json["details"]["causes"]}
    assert fields == {"spec.priority", "spec.egress[0].to[0]"}
