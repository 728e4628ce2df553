"""Names that several components must compute alike, and their test vectors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tortie.model import names


def test_a_pods_interface_is_the_first_prefix_and_eleven_hex_digits() -> None:
    name = names.workload_interface_name("default", "web-0", prefix="tap,cali")
    assert name.startswith("tap")
    assert len(name) == 14
    assert names.workload_interface_name("default", "web-0") == "cali" + name[3:]


def test_a_workload_endpoints_name_doubles_the_dashes_inside_its_parts() -> None:
    assert names.workload_endpoint_name(node="node-1", pod="pod-name", endpoint="eth0") == "node--1-k8s-pod--name-eth0"
    assert names.workload_endpoint_name(node="n", orchestrator="cni", container_id="c1", endpoint="e") == "n-cni-c1-e"
    assert (
        names.workload_endpoint_name(node="n", orchestrator="libnetwork", endpoint="e") == "n-libnetwork-libnetwork-e"
    )
    assert names.workload_endpoint_name(node="n", orchestrator="os", workload="w", endpoint="e") == "n-os-w-e"


@pytest.mark.parametrize("pod", ["", "-a", "a-"])
def test_a_part_that_is_empty_or_has_a_dash_at_an_end_is_refused(pod: str) -> None:
    with pytest.raises(ValueError, match="workload"):
        names.workload_endpoint_name(node="n", pod=pod, endpoint="eth0")


part = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)


@given(part, part, part)
def test_an_endpoints_name_can_be_taken_apart_again(node: str, pod: str, endpoint: str) -> None:
    name = names.workload_endpoint_name(node=node, pod=pod, endpoint=endpoint)
    assert names.split_workload_endpoint_name(name) == (node, "k8s", pod, endpoint)


def test_block_names_replace_dots_colons_and_the_slash() -> None:
    assert names.cidr_name("192.168.10.64/26") == "192-168-10-64-26"
    assert names.cidr_name("fd80:50::/122") == "fd80-50---122"


def test_affinity_names_are_cut_and_hashed_when_they_get_too_long() -> None:
    assert names.affinity_name("node-1", "10.0.0.0/26") == "node-1-10-0-0-0-26"
    long = names.affinity_name("n" * 253, "10.0.0.0/26")
    assert len(long) == 253
    assert "-10-0-0-0-26-" in long
    assert long != names.affinity_name("n" * 252, "10.0.0.0/26")
    assert len(names.affinity_name("n" * 240, "10.0.0.0/26")) == 252


def test_length_limited_ids_follow_the_vectors() -> None:
    assert names.limited_id("felix", "12345678910", 13) == "felix_Y2QCZIS"
    assert names.limited_id("felix", "_2345", 10) == "felix_kMQI"
    assert names.limited_id("felix", "12345", 10) == "felix12345"
    assert names.limited_id("felix", "", 13) == "felix_"


def test_the_hostname_hash_is_52_characters_of_base32() -> None:
    assert len(names.hostname_hash("node-1")) == 52
    assert names.hostname_hash("node-1").isupper()


def test_derived_uids_reverse_bits_but_keep_version_and_variant() -> None:
    """Detail 20."""
    uid = "01020304-0506-4788-99aa-bbccddeeff00"
    derived = names.reversed_uid(uid)
    assert derived == "8040c020-a060-47 11-99 55-dd33bb77ff00".replace(" ", "")
    assert names.reversed_uid(derived) == uid


def test_service_account_profiles_fall_back_to_the_default_namespace() -> None:
    assert names.service_account_profile("", "a.b") == "ksa.default.a.b"
    assert names.namespace_profile("kube-system") == "kns.kube-system"
