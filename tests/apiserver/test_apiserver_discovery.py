"""Discovery, version, health and OpenAPI documents on the wire."""

import pytest
from apiserver_http import Http
from tools import ApiServer

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList"


@pytest.fixture(scope="module")
def http(shared_api_server: ApiServer) -> Http:
    return Http(shared_api_server)


def test_health_is_plain_text_and_lists_checks_when_asked(http: Http) -> None:
    assert http("GET", "/readyz").data == b"ok"
    verbose = http("GET", "/livez", query={"verbose": ""}).data.decode()
    assert "[+]ping ok" in verbose
    assert "livez check passed" in verbose


def test_the_version_is_a_kubernetes_version(http: Http) -> None:
    version = http.ok("GET", "/version")
    assert version["major"] == "1"
    assert version["gitVersion"].startswith(f"v1.{version['minor']}.")
    assert version["platform"].startswith("linux/")


def test_legacy_discovery_lists_groups_in_order(http: Http) -> None:
    groups = [g["name"] for g in http.ok("GET", "/apis")["groups"]]
    assert groups.index("networking.k8s.io") < groups.index("projectcalico.org")
    assert http.ok("GET", "/api")["versions"] == ["v1"]
    assert http.ok("GET", "/apis/batch")["preferredVersion"]["version"] == "v1"


def test_resource_lists_name_what_clients_need(http: Http) -> None:
    resources = {r["name"]: r for r in http.ok("GET", "/api/v1")["resources"]}
    pods = resources["pods"]
    assert (pods["shortNames"], pods["categories"], pods["singularName"]) == (["po"], ["all"], "pod")
    assert pods["storageVersionHash"]
    assert resources["pods/eviction"]["kind"] == "Eviction"
    assert (resources["pods/eviction"]["group"], resources["pods/eviction"]["version"]) == ("policy", "v1")
    assert resources["serviceaccounts/token"]["kind"] == "TokenRequest"
    scale = {r["name"]: r for r in http.ok("GET", "/apis/apps/v1")["resources"]}["deployments/scale"]
    assert (scale["group"], scale["version"], scale["kind"]) == ("autoscaling", "v1", "Scale")


@pytest.mark.parametrize("version", ["v2", "v2beta1"])
def test_aggregated_discovery_echoes_its_media_type_and_has_an_etag(http: Http, version: str) -> None:
    accept = {"Accept": AGGREGATED.format(version) + ",application/json"}
    answer = http("GET", "/apis", headers=accept)
    assert answer.headers["Content-Type"] == AGGREGATED.format(version)
    assert answer.json["apiVersion"] == f"apidiscovery.k8s.io/{version}"
    group = next(i for i in answer.json["items"] if i["metadata"]["name"] == "projectcalico.org")
    tiers = next(r for r in group["versions"][0]["resources"] if r["resource"] == "tiers")
    assert (tiers["scope"], tiers["responseKind"]["kind"]) == ("Cluster", "Tier")
    assert group["versions"][0]["freshness"] == "Current"
    etag = answer.headers["ETag"]
    assert len(etag.strip('"')) == 128
    assert http("GET", "/apis", headers={**accept, "If-None-Match": etag}).status == 304


def test_profile_parameters_do_not_disturb_discovery(http: Http) -> None:
    accept = AGGREGATED.format("v2") + ";profile=nopeer," + AGGREGATED.format("v2")
    assert http("GET", "/api", headers={"Accept": accept}).json["kind"] == "APIGroupDiscoveryList"


def test_openapi_version_3_has_one_document_for_each_group_version(http: Http) -> None:
    paths = http.ok("GET", "/openapi/v3")["paths"]
    assert {"api/v1", "apis/apps/v1", "apis/projectcalico.org/v3"} <= set(paths)
    url = paths["apis/projectcalico.org/v3"]["serverRelativeURL"]
    answer = http("GET", url)
    assert "immutable" in answer.headers["Cache-Control"]
    schemas = answer.json["components"]["schemas"]
    policy = schemas["org.projectcalico.v3.GlobalNetworkPolicy"]
    assert policy["x-kubernetes-group-version-kind"] == [
        {"group": "projectcalico.org", "version": "v3", "kind": "GlobalNetworkPolicy"}
    ]
    assert http("GET", url, headers={"If-None-Match": answer.headers["ETag"]}).status == 304


def test_every_stored_kind_can_be_patched_and_validated_by_the_documents(http: Http) -> None:
    for name, entry in http.ok("GET", "/openapi/v3")["paths"].items():
        document = http.ok("GET", entry["serverRelativeURL"])
        root = f"/{name}"
        for resource in http.ok("GET", root)["resources"]:
            if "/" in resource["name"] or "patch" not in resource["verbs"]:
                continue
            scope = "/namespaces/{namespace}" if resource["namespaced"] else ""
            patch = document["paths"][f"{root}{scope}/{resource['name']}/{{name}}"]["patch"]
            assert {"fieldValidation", "dryRun"} <= {p["name"] for p in patch["parameters"]}
            assert patch["x-kubernetes-group-version-kind"]["kind"] == resource["kind"]
            types = patch["requestBody"]["content"]
            strategic = "application/strategic-merge-patch+json" in types
            assert strategic is not any(
                group in name for group in ("projectcalico.org", "tigera.io", "policy.networking")
            )


def test_references_in_the_documents_lead_somewhere(http: Http) -> None:
    for entry in http.ok("GET", "/openapi/v3")["paths"].values():
        document = http.ok("GET", entry["serverRelativeURL"])
        _follow(document, document["components"]["schemas"], "#/components/schemas/")
    document = http.ok("GET", "/openapi/v2")
    _follow(document, document["definitions"], "#/definitions/")


def _follow(tree: object, known: dict, prefix: str) -> None:
    if isinstance(tree, dict):
        reference = tree.get("$ref")
        if isinstance(reference, str):
            assert reference.removeprefix(prefix) in known, reference
        for value in tree.values():
            _follow(value, known, prefix)
    elif isinstance(tree, list):
        for value in tree:
            _follow(value, known, prefix)


def test_openapi_version_2_is_also_served_as_protobuf(http: Http) -> None:
    accept = {"Accept": "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"}
    data = http("GET", "/openapi/v2", headers=accept).data
    assert data.startswith(b"\x0a\x032.0")
    assert b"io.k8s.api.core.v1.Pod" in data
    assert http("GET", "/openapi/v2", headers={"Accept": "text/html"}).status == 406
