"""Calico's API on an API server that knows nothing of it: definitions and admission policies alone, as in a cluster of
Kubernetes' own API server.

What the definitions check by themselves is covered in tests/model/test_model_definition_rules.py.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apiserver_http import APPLY, MERGE, Http
from tools import ApiServer, api_server_in

from tortie.model import catalog as c
from tortie.model.resource import Resource

sys.path.append(str(Path(__file__).parents[1] / "model"))

import test_model_validation_config_rules as policy_rules  # tables of cases
from validation_cases import Verdicts

DEPLOY = Path(__file__).parents[2] / "deploy"
TIER = "projectcalico.org/tier"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A server that serves projectcalico.org/v3 from deploy/ only, with the built-in tiers and one more."""
    with api_server_in(tmp_path_factory.mktemp("native") / "apiserver", args=["--api-mode", "aggregated"]) as found:
        assert "networkpolicies.projectcalico.org" not in _resources(found)
        found.kubectl("apply", "--server-side", "-f", str(DEPLOY / "crds/projectcalico.org.yaml"))
        found.kubectl("apply", "--server-side", "-f", str(DEPLOY / "manifests/calico-admission-policies.yaml"))
        found.kubectl("apply", "--server-side", "-f", str(DEPLOY / "manifests/calico-tiers.yaml"))
        tier = {"apiVersion": "projectcalico.org/v3", "kind": "Tier", "metadata": {"name": "security"}}
        found.kubectl("create", "-f", "-", stdin=json.dumps({**tier, "spec": {"order": 10}}))
        yield found


@pytest.fixture(scope="module")
def http(server: ApiServer) -> Http:
    return Http(server)


def _resources(server: ApiServer) -> set[str]:
    return set(server.kubectl("api-resources", "-o", "name").stdout.split())


def _body(resource: Resource[Any], spec: dict[str, Any] | None, name: str = "p") -> dict[str, Any]:
    body: dict[str, Any] = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": name}}
    return body if spec is None else {**body, "spec": spec}


def _created(http: Http, resource: Resource[Any], spec: dict[str, Any] | None, name: str = "p") -> dict[str, Any]:
    """What a create would store; nothing stays."""
    return dict(http.ok("POST", resource.path("default"), _body(resource, spec, name), query={"dryRun": "All"}))


def test_every_kind_is_served_with_its_short_names(server: ApiServer) -> None:
    served = _resources(server)
    for resource in c.CALICO:
        if resource.group == c.CALICO_GROUP:
            assert f"{resource.plural}.projectcalico.org" in served
    for short in ("gnp", "hep", "kcc", "ipamconfigs", "clusterinfos"):
        server.kubectl("get", short)


INGRESS, EGRESS = [{"action": "Allow"}], [{"action": "Deny"}]
TYPES = [
    (None, ["Ingress"]),
    ({"selector": "all()"}, ["Ingress"]),
    ({"ingress": INGRESS}, ["Ingress"]),
    ({"egress": EGRESS}, ["Egress"]),
    ({"egress": []}, ["Egress"]),
    ({"ingress": INGRESS, "egress": EGRESS}, ["Ingress", "Egress"]),
    ({"ingress": [], "egress": []}, ["Ingress", "Egress"]),
    ({"types": [], "egress": EGRESS}, ["Egress"]),
    ({"types": ["Egress"], "ingress": INGRESS}, ["Egress"]),
]


@pytest.mark.parametrize("resource", c.POLICIES, ids=lambda resource: resource.kind)
@pytest.mark.parametrize(("spec", "types"), TYPES, ids=str)
def test_types_are_filled_in_by_which_rules_are_written(
    http: Http, resource: Resource[Any], spec: dict[str, Any] | None, types: list[str]
) -> None:
    assert _created(http, resource, spec)["spec"]["types"] == types


@pytest.mark.parametrize(
    ("spec", "types"),
    [
        (None, ["Ingress"]),
        ({"podSelector": {}}, ["Ingress"]),
        ({"egress": []}, ["Ingress", "Egress"]),
        ({"egress": [], "policyTypes": ["Egress"]}, ["Egress"]),
    ],
    ids=str,
)
def test_staged_kubernetes_policies_have_types_of_their_own(
    http: Http, spec: dict[str, Any] | None, types: list[str]
) -> None:
    assert _created(http, c.STAGED_KUBERNETES_NETWORK_POLICIES, spec)["spec"]["policyTypes"] == types


def test_a_staged_deletion_gets_a_tier_and_nothing_else(http: Http) -> None:
    for resource in (c.STAGED_NETWORK_POLICIES, c.STAGED_GLOBAL_NETWORK_POLICIES):
        made = _created(http, resource, {"stagedAction": "Delete"})
        assert made["spec"] == {"stagedAction": "Delete", "tier": "default"}
    made = _created(http, c.STAGED_KUBERNETES_NETWORK_POLICIES, {"stagedAction": "Delete"})
    assert made["spec"] == {"stagedAction": "Delete"}


@pytest.mark.parametrize("resource", c.POLICIES, ids=lambda resource: resource.kind)
def test_the_tier_has_a_default_and_its_label_follows_it(http: Http, resource: Resource[Any]) -> None:
    for spec, tier in ((None, "default"), ({"tier": ""}, "default"), ({"tier": "security"}, "security")):
        made = _created(http, resource, spec)
        assert (made["spec"]["tier"], made["metadata"]["labels"][TIER]) == (tier, tier)
    body = _body(resource, {"tier": "security"}, name="moves")
    body["metadata"]["labels"] = {TIER: "other", "mine": "kept"}
    http.ok("POST", resource.path("default"), body)
    path = resource.path("default", "moves")
    assert http.ok("GET", path)["metadata"]["labels"] == {TIER: "security", "mine": "kept"}
    moved = http.ok("PATCH", path, {"spec": {"tier": "default"}}, content=MERGE)
    assert moved["metadata"]["labels"][TIER] == "default"
    stripped = http.ok("PATCH", path, {"metadata": {"labels": None}}, content=MERGE)
    assert stripped["metadata"]["labels"] == {TIER: "default"}
    http.ok("DELETE", path)


def test_policies_are_selected_by_tier(http: Http) -> None:
    path = c.GLOBAL_NETWORK_POLICIES.path()
    for name, tier in (("one", "default"), ("two", "security")):
        http.ok("POST", path, _body(c.GLOBAL_NETWORK_POLICIES, {"tier": tier}, name))
    for query in ({"fieldSelector": "spec.tier=security"}, {"labelSelector": f"{TIER}=security"}):
        assert [item["metadata"]["name"] for item in http.ok("GET", path, query=query)["items"]] == ["two"]
    for name in ("one", "two"):
        http.ok("DELETE", f"{path}/{name}")


def test_types_stay_when_rules_are_changed_by_a_patch(http: Http) -> None:
    path = c.GLOBAL_NETWORK_POLICIES.path(name="patched")
    applied = _body(c.GLOBAL_NETWORK_POLICIES, {"ingress": INGRESS}, "patched")
    made = http.ok("PATCH", path, applied, content=APPLY, query={"fieldManager": "me"})
    assert made["spec"]["types"] == ["Ingress"]
    assert http.ok("PATCH", path, {"spec": {"egress": EGRESS}}, content=MERGE)["spec"]["types"] == ["Ingress"]
    http.ok("DELETE", path)


def test_built_in_tiers_stay_and_others_go(server: ApiServer, http: Http) -> None:
    for name in ("default", "kube-admin", "kube-baseline"):
        done = server.kubectl("delete", "tier", name, check=False)
        assert done.returncode == 1
        assert f"the built-in tier {name} cannot be deleted" in done.stderr
        assert "denied request" in done.stderr
        changed = http("PATCH", c.TIERS.path(name=name), {"spec": {"order": 5}}, content=MERGE)
        assert changed.status == 422
        assert "must have order" in changed.json["message"]
    http.ok("POST", c.TIERS.path(), _body(c.TIERS, {}, "passing"))
    http.ok("DELETE", c.TIERS.path(name="passing"))


def test_the_cases_of_admission_are_judged_the_same(http: Http) -> None:
    """By definitions and policies together; what they cannot say is in test_model_definition_rules.py."""
    resource, different = c.NETWORK_POLICIES, []
    for words, spec, expected in policy_rules.CASES[resource]:
        path = expected.native if isinstance(expected, Verdicts) else expected
        answer = http("POST", resource.path("default"), _body(resource, spec), query={"dryRun": "All"})
        if (answer.status == 201) != (path is None):
            different.append((words, path, answer.json.get("message")))
    assert {words for words, _, _ in different} <= {
        "more annotations",
        "annotation with a blank",
        "header by a broken expression",
    }, different


def test_an_error_names_the_field_and_the_reason(server: ApiServer) -> None:
    policy = _body(c.NETWORK_POLICIES, {"ingress": [{"action": "Deny", "http": {"methods": ["GET"]}}]})
    done = server.kubectl("create", "-f", "-", stdin=json.dumps(policy), check=False)
    assert done.stderr.strip() == (
        'The NetworkPolicy "p" is invalid: spec.ingress[0].http: Forbidden: HTTP can be matched in Allow rules only'
    )


def test_columns_are_those_of_the_kinds(server: ApiServer) -> None:
    lines = server.kubectl("get", "tiers").stdout.splitlines()
    assert lines[0].split() == ["NAME", "ORDER", "DEFAULTACTION", "STATUS"]
    assert "kube-admin 1000 Pass" in [" ".join(line.split()) for line in lines]


def test_manifests_that_are_there_differ_in_nothing(server: ApiServer) -> None:
    for name in (
        "crds/projectcalico.org.yaml",
        "manifests/calico-admission-policies.yaml",
        "manifests/calico-tiers.yaml",
    ):
        assert server.kubectl("diff", "--server-side", "-f", str(DEPLOY / name)).stdout == ""
