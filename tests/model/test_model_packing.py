"""v3 objects in their v1 storage form and back (spec/resources.md 1.2, 1.3). That the aggregated server stores them
so is covered with that server."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tortie.model import catalog
from tortie.model.packing import (
    METADATA_ANNOTATION,
    PackingError,
    convert_uid,
    pack,
    storage_names,
    storage_resource,
    unpack,
)
from tortie.model.resource import Resource

UID, STORED_UID = "01020304-0506-4708-a90a-0b0c0d0e0f10", "8040c020-a060-4710-a950-d030b070f008"


def packed_metadata(stored: dict[str, Any]) -> dict[str, Any]:
    inner: dict[str, Any] = json.loads(stored["metadata"]["annotations"][METADATA_ANNOTATION])
    return inner


POOL: dict[str, Any] = {
    "apiVersion": "projectcalico.org/v3",
    "kind": "IPPool",
    "metadata": {
        "name": "pool",
        "uid": UID,
        "resourceVersion": "7",
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "labels": {"team": "a", "projectcalico.org/x": "1"},
        "annotations": {"note": "n", "operator.tigera.io/y": "2"},
        "finalizers": ["projectcalico.org/ippool-finalizer"],
        "managedFields": [{"manager": "m"}],
    },
    "spec": {"cidr": "10.0.0.0/16"},
    "status": {"conditions": []},
}


def test_a_uid_is_reversed_bit_by_bit_except_version_and_variant() -> None:
    assert convert_uid(UID) == STORED_UID
    assert convert_uid(STORED_UID) == UID
    with pytest.raises(PackingError, match="not a UUID"):
        convert_uid("nonsense")


def test_the_stored_form_has_the_metadata_packed_and_only_system_keys_outside() -> None:
    stored = pack(catalog.IP_POOLS, POOL)
    assert (stored["apiVersion"], stored["kind"]) == ("crd.projectcalico.org/v1", "IPPool")
    outer = stored["metadata"]
    assert (outer["name"], outer["resourceVersion"], outer["uid"]) == ("pool", "7", STORED_UID)
    assert outer["labels"] == {"projectcalico.org/x": "1"}
    assert set(outer["annotations"]) == {"operator.tigera.io/y", METADATA_ANNOTATION}
    inner = packed_metadata(stored)
    assert not {"name", "uid", "resourceVersion", "namespace"} & set(inner)
    assert inner["labels"] == POOL["metadata"]["labels"]
    assert (stored["spec"], stored["status"]) == (POOL["spec"], POOL["status"])


def test_only_policies_keep_their_name_in_the_packed_metadata() -> None:
    for resource in catalog.CALICO:
        if resource.group == "projectcalico.org":
            inner = packed_metadata(pack(resource, {"metadata": {"name": "x", "namespace": "n"}, "spec": {}}))
            assert inner == ({"name": "x"} if resource in catalog.POLICIES else {}), resource.kind


@pytest.mark.parametrize(
    ("metadata", "tier", "name"),
    [
        ({"name": "default.allow"}, "default", "allow"),
        ({"name": "default.allow"}, "", "allow"),
        ({"name": "default.default.allow"}, "default", "default.allow"),
        ({"name": "allow"}, "default", "allow"),
        ({"name": "net.allow"}, "net", "net.allow"),
        ({"name": "default.allow"}, "net", "default.allow"),
        ({"name": "default.x", "annotations": {METADATA_ANNOTATION: '{"name":"default.x"}'}}, "default", "default.x"),
        ({"name": "default.x", "annotations": {METADATA_ANNOTATION: "{}"}}, "default", "x"),
    ],
)
def test_a_legacy_prefix_goes_only_from_default_tier_policies_without_a_packed_name(
    metadata: dict[str, Any], tier: str, name: str
) -> None:
    for resource in catalog.POLICIES:
        assert unpack(resource, {"metadata": metadata, "spec": {"tier": tier}})["metadata"]["name"] == name
    kept = unpack(catalog.NETWORK_SETS, {"metadata": {"name": "default.allow"}})["metadata"]["name"]
    assert kept == "default.allow"


def test_the_tier_label_always_names_the_tier_of_the_policy() -> None:
    for spec, tier in (({}, "default"), ({"tier": "net"}, "net")):
        stored = {"metadata": {"name": "p", "labels": {"projectcalico.org/tier": "other"}}, "spec": spec}
        assert unpack(catalog.NETWORK_POLICIES, stored)["metadata"]["labels"] == {"projectcalico.org/tier": tier}


def test_inner_labels_override_outer_ones_and_the_outer_identity_wins() -> None:
    inner = {
        "labels": {"a": "in"},
        "annotations": {"b": "in"},
        "uid": "x",
        "resourceVersion": "1",
        "namespace": "wrong",
    }
    stored = {
        "metadata": {
            "name": "s",
            "namespace": "ns",
            "uid": STORED_UID,
            "resourceVersion": "9",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"a": "out", "c": "out"},
            "annotations": {"b": "out", METADATA_ANNOTATION: json.dumps(inner)},
        },
    }
    metadata = unpack(catalog.NETWORK_SETS, stored)["metadata"]
    assert metadata["labels"] == {"a": "in", "c": "out"}
    assert metadata["annotations"] == {"b": "in"}
    assert (metadata["namespace"], metadata["resourceVersion"], metadata["uid"]) == ("ns", "9", UID)
    assert metadata["creationTimestamp"] == "2026-01-01T00:00:00Z"


def test_legacy_annotations_with_labels_and_annotations_are_merged() -> None:
    annotations = {"projectcalico.org/labels": '{"a":"1"}', "projectcalico.org/annotations": '{"b":"2"}', "c": "3"}
    metadata = unpack(catalog.IP_POOLS, {"metadata": {"name": "p", "annotations": annotations}})["metadata"]
    assert metadata == {"name": "p", "labels": {"a": "1"}, "annotations": {"b": "2", "c": "3"}}


def test_owner_references_of_calico_kinds_are_converted_and_others_kept() -> None:
    ours = {"apiVersion": "projectcalico.org/v3", "kind": "IPAMConfiguration", "name": "g", "uid": UID}
    pod = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": UID}
    obj = {"metadata": {"name": "x", "ownerReferences": [ours, pod]}, "spec": {}}
    stored = pack(catalog.NETWORK_SETS, obj)
    assert stored["metadata"]["ownerReferences"] == [
        {"apiVersion": "crd.projectcalico.org/v1", "kind": "IPAMConfig", "name": "g", "uid": STORED_UID},
        pod,
    ]
    assert unpack(catalog.NETWORK_SETS, stored)["metadata"]["ownerReferences"] == [ours, pod]


def test_what_the_storing_server_removed_is_gone_for_users_too() -> None:
    stored = pack(catalog.IP_POOLS, POOL)
    del stored["metadata"]["finalizers"]
    stored["metadata"] |= {"deletionTimestamp": "2026-01-02T00:00:00Z", "managedFields": [{"manager": "storage"}]}
    metadata = unpack(catalog.IP_POOLS, stored)["metadata"]
    assert "finalizers" not in metadata
    assert metadata["deletionTimestamp"] == "2026-01-02T00:00:00Z"
    assert metadata["managedFields"] == [{"manager": "m"}]


def test_ipam_configuration_and_block_affinity_are_stored_in_their_own_way() -> None:
    stored = storage_resource(catalog.IPAM_CONFIGURATIONS)
    assert (stored.kind, stored.plural, stored.api_version) == ("IPAMConfig", "ipamconfigs", "crd.projectcalico.org/v1")
    affinity = {"metadata": {"name": "a"}, "spec": {"node": "n", "deleted": False}}
    packed = pack(catalog.BLOCK_AFFINITIES, affinity)
    assert packed["spec"]["deleted"] == "false"
    assert unpack(catalog.BLOCK_AFFINITIES, packed)["spec"] == affinity["spec"]
    packed["spec"]["deleted"] = "true"
    assert unpack(catalog.BLOCK_AFFINITIES, packed)["spec"]["deleted"] is True


def test_policies_are_looked_for_under_their_old_name_too() -> None:
    assert storage_names(catalog.GLOBAL_NETWORK_POLICIES, "p") == ("p", "default.p")
    assert storage_names(catalog.IP_POOLS, "p") == ("p",)
    stored = pack(catalog.GLOBAL_NETWORK_POLICIES, {"metadata": {"name": "p"}}, stored_name="default.p")
    assert stored["metadata"]["name"] == "default.p"
    assert unpack(catalog.GLOBAL_NETWORK_POLICIES, stored)["metadata"]["name"] == "p"


@pytest.mark.parametrize("text", ["{", "[]", '"x"', None])
def test_metadata_that_cannot_be_read_is_an_error_that_names_the_annotation(text: Any) -> None:
    with pytest.raises(PackingError, match=METADATA_ANNOTATION):
        unpack(catalog.IP_POOLS, {"metadata": {"name": "p", "annotations": {METADATA_ANNOTATION: text}}})


words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)
keys = st.sampled_from(["a", "projectcalico.org/b", "operator.tigera.io/c", "x/y"])
metadata = st.fixed_dictionaries(
    {"name": words},
    optional={
        "labels": st.dictionaries(keys, words, min_size=1),
        "annotations": st.dictionaries(keys, words, min_size=1),
        "uid": st.uuids().map(str),
        "resourceVersion": st.integers(1).map(str),
        "creationTimestamp": st.just("2026-01-01T00:00:00Z"),
        "generateName": words,
        "finalizers": st.lists(words, min_size=1),
        "managedFields": st.lists(st.dictionaries(words, words), min_size=1),
    },
)


@given(st.sampled_from(catalog.CALICO), metadata, st.dictionaries(words, words))
def test_whatever_is_packed_is_unpacked_unchanged(
    resource: Resource[Any], metadata: dict[str, Any], spec: dict[str, Any]
) -> None:
    obj = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, "spec": spec}
    if resource.plural == "blockaffinities":
        spec["deleted"] = False
    if resource in catalog.POLICIES:
        spec["tier"] = "t"
        metadata["labels"] = {**metadata.get("labels", {}), "projectcalico.org/tier": "t"}
    before = json.dumps(obj)
    assert unpack(resource, json.loads(json.dumps(pack(resource, obj)))) == obj
    assert json.dumps(obj) == before
