"""`kubectl explain`: every field of every served kind has a description that reads as a sentence.

The walk is over the server's own OpenAPI documents, of both versions; kubectl, new and old, is asked for a sample.
"""

import os
import re
from collections.abc import Iterator
from typing import Any

import pytest
from apiserver_http import Http
from tools import ApiServer

from tortie.apiserver.schema import dsl

_BAD = re.compile(r"todo|fixme|tbd|xxx|lorem|placeholder|description of|  |\.\.$|\( |<nil>", re.IGNORECASE)
_NOT_SENTENCES = frozenset({"io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1"})


@pytest.fixture(scope="module")
def http(shared_api_server: ApiServer) -> Http:
    return Http(shared_api_server)


@pytest.fixture(scope="module")
def documents(http: Http) -> dict[str, dict[str, Any]]:
    """Group and version -> the schemas of its OpenAPI v3 document."""
    paths = http.ok("GET", "/openapi/v3")["paths"]
    return {
        path: http.ok("GET", f"/openapi/v3/{path}")["components"]["schemas"] for path in paths if path.startswith("api")
    }


def _fields(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field at and below a schema, references not followed."""
    for name, field in schema.get("properties", {}).items():
        yield f"{path}.{name}", field
        yield from _fields(field, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from _fields(schema[key], path)


def _reads_badly(schema: dict[str, Any]) -> bool:
    text = str(schema.get("description", "")).strip()
    return len(text) < 4 or not text.endswith((".", ".)")) or not text[0].isalnum() or bool(_BAD.search(text))


def test_every_field_of_every_served_kind_is_described(documents: dict[str, dict[str, Any]]) -> None:
    total, bad = 0, set()
    for schemas in documents.values():
        for name, schema in schemas.items():
            if name in _NOT_SENTENCES:
                continue
            if _reads_badly(schema):
                bad.add(name)
            for path, field in _fields(schema, name):
                total += 1
                # Some texts begin with a value or a sign, such as * or "".
                if _reads_badly(field) and not str(field.get("description", "")).startswith(('"', "*", "$")):
                    bad.add(path)
    assert not bad, sorted(bad)
    assert total > 5000


def test_no_description_is_of_a_type_or_field_that_is_not_there() -> None:
    known = dsl.types()
    for key in dsl.descriptions():
        name, _, field = key.partition(".")
        if name != "*":
            assert name in known, key
            assert not field or field in known[name].properties, key


def test_two_fields_of_one_type_are_not_told_in_the_same_words() -> None:
    for name, node in dsl.types().items():
        if name == "EphemeralContainer":
            continue
        texts = [dsl.description(name, field) for field in node.properties]
        doubles = {text for text in texts if texts.count(text) > 1 and not text.startswith("Not ")}
        assert not doubles, f"{name}: {doubles}"


def _kinds(http: Http) -> list[tuple[str, str]]:
    """Group and version, and plural, of what can be read."""
    found = [("v1", "/api/v1")]
    for group in http.ok("GET", "/apis")["groups"]:
        found += [(version["groupVersion"], f"/apis/{version['groupVersion']}") for version in group["versions"]]
    return [
        (version, resource["name"])
        for version, path in found
        for resource in http.ok("GET", path)["resources"]
        if "/" not in resource["name"] and "get" in resource["verbs"]
    ]


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("networkpolicies.projectcalico.org.spec.ingress.source.nets", "Ranges of addresses in CIDR notation"),
        ("globalnetworkpolicies.spec.egress.destination.domains", "Domain names"),
        ("felixconfigurations.spec.logPrefix", "Prefix"),
        ("ippools.spec.blockSize", "Prefix length of the blocks"),
        ("pods.spec.containers.livenessProbe.grpc.service", "The service whose health is asked for"),
        ("deployments.spec.strategy.rollingUpdate.maxSurge", "beyond the number wanted"),
        ("networkpolicies.networking.k8s.io.spec.egress.to.ipBlock.except", "left out"),
        ("customresourcedefinitions.spec.versions.selectableFields.jsonPath", "Where the field is"),
        ("clusternetworkpolicies.spec.priority", "lower"),
        ("persistentvolumeclaims.spec.accessModes", "ReadWriteOnce"),
    ],
)
@pytest.mark.parametrize("old", [False, True], ids=["newest", "1.20"])
def test_kubectl_explains_a_field(shared_api_server: ApiServer, path: str, wanted: str, *, old: bool) -> None:
    resource, _, rest = path.partition(".spec.")
    name, _, group = resource.partition(".")
    api: list[str] = []
    if group:
        api = [f"--api-version={'projectcalico.org/v3' if group == 'projectcalico.org' else group + '/v1'}"]
    shown = shared_api_server.kubectl("explain", f"{name}.spec.{rest}", *api, old=old).stdout
    assert wanted in " ".join(shown.split()), shown
    assert "<empty>" not in shown


def test_kubectl_explains_kinds(shared_api_server: ApiServer, http: Http) -> None:
    """Every one with TORTIE_LONG=1, else every sixth."""
    kinds = _kinds(http)
    assert len(kinds) > 80
    for version, name in kinds[:: 1 if os.environ.get("TORTIE_LONG") else 6]:
        shown = shared_api_server.kubectl("explain", name, f"--api-version={version}").stdout
        assert "FIELDS:" in shown
        assert shown.partition("DESCRIPTION:")[2].partition("FIELDS:")[0].strip().endswith("."), shown
        assert "<empty>" not in shown
