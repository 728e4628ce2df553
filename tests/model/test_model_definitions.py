"""CustomResourceDefinitions of Calico's kinds: names, what is where, and that the files under deploy/ are current.

That API servers take them is covered in tests/apiserver/test_apiserver_crds.py.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tortie.apiserver.schema import structural
from tortie.cli.generated import files
from tortie.model import catalog
from tortie.model.definitions import GROUPS, definition, definitions
from tortie.model.packing import STORAGE_GROUP
from tortie.model.resource import Resource

DEPLOY = Path(__file__).parents[2] / "deploy"
NATIVE, STORED = catalog.CALICO_GROUP, STORAGE_GROUP
EVERY = [pytest.param(item, id=item["metadata"]["name"]) for group in GROUPS for item in definitions(group)]


def _version(item: dict[str, Any]) -> dict[str, Any]:
    (version,) = item["spec"]["versions"]
    return dict(version)


def _fields(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every place of a schema with its path."""
    yield path, schema
    for name, field in schema.get("properties", {}).items():
        yield from _fields(field, f"{path}.{name}")
    for key, step in (("items", "[]"), ("additionalProperties", "{}")):
        if isinstance(schema.get(key), dict):
            yield from _fields(schema[key], path + step)


@pytest.mark.parametrize("item", EVERY)
def test_every_schema_is_structural_and_says_nothing_of_metadata(item: dict[str, Any]) -> None:
    schema = _version(item)["schema"]["openAPIV3Schema"]
    assert structural.check(schema, "", top=True) == []
    metadata = schema["properties"]["metadata"]
    assert metadata.pop("properties", {"name": {"type": "string"}}) == {"name": {"type": "string"}}
    assert metadata == {"type": "object"}
    for path, field in _fields(schema):
        assert set(field.get("required", ())) <= set(field.get("properties", ())), path
        assert "default" not in field or path, path


@pytest.mark.parametrize("item", EVERY)
def test_every_field_has_a_description(item: dict[str, Any]) -> None:
    missing = [
        path
        for path, field in _fields(_version(item)["schema"]["openAPIV3Schema"])
        if not path.endswith(("[]", "{}"))
        and not path.startswith(".metadata")
        and not field.get("description", "").endswith(".")
    ]
    assert missing == []


@pytest.mark.parametrize("item", EVERY)
def test_a_definition_is_small_enough_for_client_side_apply(item: dict[str, Any]) -> None:
    """kubectl apply without --server-side notes the whole object down in an annotation, of 256 KiB at most."""
    assert len(json.dumps(item)) < 200_000


def test_the_native_group_has_every_stored_kind_and_no_derived_one() -> None:
    plurals = [item["spec"]["names"]["plural"] for item in definitions(NATIVE)]
    assert plurals == [resource.plural for resource in catalog.CALICO if resource.group == NATIVE]
    for absent in ("profiles", "workloadendpoints", "nodes", "authorizationreviews"):
        assert absent not in plurals


def test_the_storage_group_has_the_same_kinds_with_one_by_another_name() -> None:
    native = {item["spec"]["names"]["plural"]: item["spec"] for item in definitions(NATIVE)}
    stored = {item["spec"]["names"]["plural"]: item["spec"] for item in definitions(STORED)}
    assert native.keys() - stored.keys() == {"ipamconfigurations"}
    assert stored.keys() - native.keys() == {"ipamconfigs"}
    assert stored["ipamconfigs"]["names"] == {
        "kind": "IPAMConfig",
        "listKind": "IPAMConfigList",
        "plural": "ipamconfigs",
        "singular": "ipamconfig",
    }
    for plural in stored.keys() & native.keys():
        assert "shortNames" not in stored[plural]["names"], plural
        assert stored[plural]["scope"] == native[plural]["scope"], plural
        assert stored[plural]["versions"][0]["name"] == "v1", plural
        assert "selectableFields" not in stored[plural]["versions"][0], plural


def test_two_fields_differ_where_an_aggregated_server_stores_them() -> None:
    def field(resource: Resource[Any], group: str, name: str) -> dict[str, Any]:
        schema = _version(definition(resource, group=group))["schema"]["openAPIV3Schema"]
        return dict(schema["properties"]["spec"]["properties"][name])

    assert field(catalog.BLOCK_AFFINITIES, NATIVE, "deleted")["type"] == "boolean"
    assert field(catalog.BLOCK_AFFINITIES, STORED, "deleted")["type"] == "string"
    assert field(catalog.IPAM_CONFIGURATIONS, NATIVE, "maxBlocksPerHost")["maximum"] == 1_000_000
    assert field(catalog.IPAM_CONFIGURATIONS, STORED, "maxBlocksPerHost")["maximum"] == 2_147_483_647


def test_policies_can_be_selected_by_tier_and_ui_settings_by_group_and_user() -> None:
    selectable = {
        item["spec"]["names"]["plural"]: [field["jsonPath"] for field in _version(item)["selectableFields"]]
        for item in definitions(NATIVE)
        if "selectableFields" in _version(item)
    }
    assert selectable == {
        **{resource.plural: [".spec.tier"] for resource in catalog.POLICIES},
        "uisettings": [".spec.group", ".spec.user"],
    }


def test_a_derived_kind_and_an_unknown_group_are_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match=r"Profile of projectcalico\.org/v3 has no CustomResourceDefinition"):
        definition(catalog.PROFILES)
    with pytest.raises(ValueError, match=r"'example\.com': must be projectcalico\.org or crd"):
        definition(catalog.TIERS, group="example.com")


def test_changing_a_definition_changes_no_other() -> None:
    first = definition(catalog.TIERS)
    first["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"].clear()
    assert definition(catalog.TIERS) != first


def test_the_files_under_deploy_are_what_make_manifests_writes() -> None:
    for path, text in files():
        assert (DEPLOY / path).read_text() == text, f"{path} is not current: run make manifests"
