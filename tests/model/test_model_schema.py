"""Schemas that explain every field, printer columns, and objects that survive reading and writing."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tortie.model import catalog, names, v3
from tortie.model.admission import admit
from tortie.model.fields import json_name
from tortie.model.resource import Resource
from tortie.model.schema import openapi_schema, printer_columns
from tortie.model.v3.felix_parameters import BY_NAME, PARAMETERS, snake_case

ALL = (*catalog.CALICO, catalog.PROFILES, catalog.WORKLOAD_ENDPOINTS)
by_kind = pytest.mark.parametrize("resource", ALL, ids=lambda resource: resource.kind)


def fields(schema: dict[str, Any], path: str = "") -> list[tuple[str, dict[str, Any]]]:
    """Every field of the schema with its path."""
    found: list[tuple[str, dict[str, Any]]] = []
    for name, inner in schema.get("properties", {}).items():
        found.append((f"{path}.{name}", inner))
        found += fields(inner, f"{path}.{name}")
    if "items" in schema:
        found += fields(schema["items"], f"{path}[]")
    return found


@by_kind
def test_every_field_has_a_type_and_a_sentence_that_explains_it(resource: Resource[Any]) -> None:
    schema = openapi_schema(resource)
    assert schema["description"].endswith(".")
    for path, field in fields(schema):
        if path.startswith((".spec.qosControls.", ".metadata.")):
            continue
        assert "type" in field or field.get("x-kubernetes-int-or-string"), path
        assert field["description"].endswith("."), path


@by_kind
def test_a_schema_is_structural_and_plain_json(resource: Resource[Any]) -> None:
    schema = openapi_schema(resource)
    assert json.loads(json.dumps(schema)) == schema
    assert list(schema["properties"])[:3] == ["apiVersion", "kind", "metadata"]
    assert "$ref" not in json.dumps(schema)
    for path, field in fields(schema):
        if field.get("type") == "array":
            assert "items" in field, path
        for name in field.get("required", ()):
            assert name in field["properties"], path


def test_int_or_string_fields_say_so_instead_of_a_type() -> None:
    spec = openapi_schema(catalog.NETWORK_POLICIES)["properties"]["spec"]["properties"]
    rule = spec["ingress"]["items"]["properties"]
    assert rule["protocol"]["x-kubernetes-int-or-string"] is True
    ports = rule["destination"]["properties"]["ports"]
    assert ports["items"] == {"x-kubernetes-int-or-string": True}
    assert ports["maxItems"] == 50
    assert rule["action"]["enum"] == ["Allow", "Deny", "Log", "Pass"]
    assert spec["ingress"]["items"]["required"] == ["action"]


def test_printer_columns_show_what_matters_or_the_age() -> None:
    assert [column["name"] for column in printer_columns(catalog.GLOBAL_NETWORK_POLICIES)] == ["Tier", "Order", "Age"]
    assert [column["name"] for column in printer_columns(catalog.NETWORK_SETS)] == ["Age"]
    for resource in ALL:
        for column in printer_columns(resource):
            assert set(column) == {"name", "type", "jsonPath"}


def test_resources_have_distinct_urls_and_short_names() -> None:
    paths = [resource.path() for resource in ALL]
    assert len(set(paths)) == len(paths)
    short = [
        name for resource in catalog.CALICO for name in {resource.singular, resource.plural, *resource.short_names}
    ]
    assert len(set(short)) == len(short)


@by_kind
def test_api_version_and_kind_are_always_written_and_absent_fields_never(resource: Resource[Any]) -> None:
    written = msgspec.to_builtins(resource.type())
    assert (written["apiVersion"], written["kind"]) == (resource.api_version, resource.kind)
    assert "metadata" not in written


@pytest.mark.parametrize(
    ("attribute", "name"),
    [
        ("expected_ips", "expectedIPs"),
        ("pre_dnat", "preDNAT"),
        ("as_number", "asNumber"),
        ("local_as_number", "localASNumber"),
        ("disable_bgp_export", "disableBGPExport"),
        ("service_cluster_ips", "serviceClusterIPs"),
        ("from_", "from"),
        ("uid", "uid"),
        ("pod_ips", "podIPs"),
    ],
)
def test_json_names_follow_the_apis_spelling(attribute: str, name: str) -> None:
    assert json_name(attribute) == name


def test_fields_that_kubernetes_spells_its_own_way_are_read() -> None:
    spec = openapi_schema(catalog.BGP_CONFIGURATIONS)["properties"]["spec"]["properties"]
    assert {"localWorkloadPeeringIPV4", "ipv4NormalRoutePriority", "nodeToNodeMeshEnabled"} <= set(spec)
    felix = openapi_schema(catalog.FELIX_CONFIGURATIONS)["properties"]["spec"]["properties"]
    assert set(felix) == set(PARAMETERS)


def test_felix_parameters_have_attributes_and_names_of_their_own() -> None:
    assert len({snake_case(field) for field in PARAMETERS}) == len(PARAMETERS)
    assert len(BY_NAME) == len(PARAMETERS)
    assert BY_NAME["ipinipmtu"].field == "ipipMTU"
    assert BY_NAME["iptableslockprobeintervalmillis"].field == "iptablesLockProbeInterval"
    assert BY_NAME["netlinktimeoutsecs"].field == "netlinkTimeout"
    assert snake_case("vxlanMTUV6") == "vxlan_mtu_v6"
    assert snake_case("bpfDSROptoutCIDRs") == "bpf_dsr_optout_cidrs"


def test_fields_that_the_schema_of_a_block_requires_are_written_even_if_empty() -> None:
    spec = v3.IPAMBlock().spec
    assert json.loads(msgspec.json.encode(spec)) == {
        "allocations": [],
        "unallocated": [],
        "attributes": [],
        "sequenceNumber": 0,
        "strictAffinity": False,
    }


# --- round trips -----------------------------------------------------------------------------------------------

word = st.sampled_from(["a", "b-c", "x1"])
selectors = st.sampled_from(["", "all()", "has(a)", "a == 'b' && !has(c)", "x in {'y'}"])
nets = st.lists(st.sampled_from(["10.0.0.0/8", "10.1.2.3/32", "192.168.0.0/16"]), unique=True, max_size=3)
ports = st.lists(st.one_of(st.integers(1, 65535), st.sampled_from(["80:90", "http", "dns"])), max_size=3)
entities = st.fixed_dictionaries(
    {}, optional={"nets": nets, "notNets": nets, "selector": selectors, "ports": ports, "notPorts": ports}
)
rules = st.fixed_dictionaries(
    {"action": st.sampled_from(["Allow", "Deny", "Log", "Pass"]), "protocol": st.sampled_from(["TCP", "UDP", 6, 132])},
    optional={"ipVersion": st.just(4), "source": entities, "destination": entities},
)
policy_specs = st.fixed_dictionaries(
    {},
    optional={
        "tier": word,
        "order": st.one_of(st.integers(-5, 5), st.floats(-10, 10)),
        "selector": selectors,
        "namespaceSelector": selectors,
        "ingress": st.lists(rules, max_size=3),
        "egress": st.lists(rules, max_size=3),
        "applyOnForward": st.booleans(),
    },
)


def without_empty(value: Any) -> Any:
    """The value without fields that say the same as their absence."""
    if isinstance(value, dict):
        inner = {name: without_empty(item) for name, item in value.items()}
        return {name: item for name, item in inner.items() if item not in ("", [], {}, None) and item is not False}
    return [without_empty(item) for item in value] if isinstance(value, list) else value


@given(policy_specs, word)
def test_an_accepted_policy_survives_reading_writing_and_admission(spec: dict[str, Any], name: str) -> None:
    resource = catalog.GLOBAL_NETWORK_POLICIES
    first = admit(resource, {"metadata": {"name": name}, "spec": spec}, None)
    assert first.errors == []
    again = admit(resource, first.object, first.object)
    assert (again.object, again.errors, again.unknown_fields) == (first.object, [], [])
    decoded = msgspec.json.decode(msgspec.json.encode(first.object), type=resource.type)
    assert without_empty(json.loads(msgspec.json.encode(decoded))) == without_empty(first.object)


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.recursive(
            st.none() | st.booleans() | st.text(max_size=3),
            lambda inner: (
                st.lists(inner, max_size=2)
                | st.dictionaries(st.sampled_from(["tier", "ingress", "source", "nets"]), inner, max_size=3)
            ),
        ),
        max_size=4,
    )
)
def test_any_json_is_either_accepted_or_refused(spec: dict[str, Any]) -> None:
    """Whatever is sent, admission answers instead of failing."""
    for resource in (catalog.NETWORK_POLICIES, catalog.IP_POOLS, catalog.BGP_FILTERS, catalog.FELIX_CONFIGURATIONS):
        admit(resource, {"metadata": {"name": names.limited_id("a", "b", 9)}, "spec": spec}, None)


@given(st.sampled_from(catalog.CALICO), st.data())
def test_mangled_specs_of_every_kind_are_answered(resource: Resource[Any], data: st.DataObject) -> None:
    fields = openapi_schema(resource)["properties"]["spec"]["properties"]
    junk = st.sampled_from([None, "", "x", 0, -1, 1.5, True, [], {}, ["x"], [{}], {"x": "y"}, [None], [{"action": []}]])
    chosen = st.dictionaries(st.sampled_from(sorted(fields)), junk, max_size=4)
    admit(resource, {"metadata": {"name": "x"}, "spec": data.draw(chosen)}, None)
