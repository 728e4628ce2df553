"""Objects that got past admission, or were never seen by it, convert to something or to nothing: they never raise.

In: objects made from each kind's schema, with texts that often look right and often do not.
"""

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tortie.model import catalog, convert
from tortie.model.dataplane import Policy, Rule, Update
from tortie.model.resource import Resource
from tortie.model.schema import openapi_schema
from tortie.model.selector import parse

texts = st.sampled_from(
    [
        *("", "a", "all()", "global()", "a == 'b'", "!(", "é", "\x00", 'it\'s "both"', "x" * 300),
        *("10.0.0.0/8", "10.1.2.3/33", "fd00::/64", "10.0.0.1", "::1%lo", "host:n", "Always", "1.5s"),
        *("80", "80:90", "90:80", "http", "TCP", "tcp", "ICMP", "ICMPv6", "300", "Allow", "Deny", "Set", "Delete"),
    ]
)
numbers = st.sampled_from([-1, 0, 1, 4, 6, 26, 80, 255, 65535, 65536, 2**31, 2**40])


def values(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values of the schema's types, whatever its limits."""
    if schema.get("x-kubernetes-int-or-string"):
        return texts | numbers
    match schema.get("type"):
        case "object" if "properties" in schema:
            fields = {name: values(inner) for name, inner in schema["properties"].items()}
            chosen = st.lists(st.sampled_from(sorted(fields)), max_size=6, unique=True)
            return chosen.flatmap(lambda names: st.fixed_dictionaries({name: fields[name] for name in names}))
        case "object":
            return st.dictionaries(texts, values(schema["additionalProperties"]), max_size=2)
        case "array":
            return st.lists(values(schema["items"]), max_size=2)
        case "boolean":
            return st.booleans()
        case "integer":
            return numbers
        case "number":
            return st.floats(allow_nan=False)
    return texts


KINDS: list[tuple[Resource[Any], Any]] = [
    (catalog.TIERS, convert.tier),
    (catalog.NETWORK_POLICIES, convert.network_policy),
    (catalog.GLOBAL_NETWORK_POLICIES, convert.global_network_policy),
    (catalog.STAGED_NETWORK_POLICIES, convert.staged_network_policy),
    (catalog.STAGED_GLOBAL_NETWORK_POLICIES, convert.staged_global_network_policy),
    (catalog.STAGED_KUBERNETES_NETWORK_POLICIES, convert.staged_kubernetes_network_policy),
    (catalog.NETWORK_SETS, convert.network_set),
    (catalog.GLOBAL_NETWORK_SETS, convert.global_network_set),
    (catalog.HOST_ENDPOINTS, convert.host_endpoint),
    (catalog.PROFILES, convert.profile),
    (catalog.IP_POOLS, convert.ip_pool),
    (catalog.IPAM_BLOCKS, convert.block),
    (catalog.FELIX_CONFIGURATIONS, convert.felix_configuration),
    (catalog.CLUSTER_INFORMATIONS, convert.cluster_information),
    (catalog.BGP_CONFIGURATIONS, convert.bgp_configuration),
]
SPECS = {resource.kind: values(openapi_schema(resource)["properties"]["spec"]) for resource, _ in KINDS}


@pytest.mark.parametrize(("resource", "function"), KINDS, ids=lambda item: getattr(item, "kind", ""))
@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_every_object_converts_without_an_exception(
    resource: Resource[Any], function: Any, data: st.DataObject
) -> None:
    spec = data.draw(SPECS[resource.kind])
    obj = msgspec.convert({"metadata": {"name": "x", "namespace": "ns"}, "spec": spec}, resource.type)
    update = function(obj)
    assert isinstance(update, Update)
    if isinstance(update.value, Policy):
        check_selectors(update.value)


def check_selectors(policy: Policy) -> None:
    """Whatever a policy carries can be read by the ones who evaluate it."""
    parse(policy.selector)
    for rule in (*policy.ingress, *policy.egress):
        assert isinstance(rule, Rule)
        for side in (rule.src, rule.dst):
            parse(side.selector)
            parse(side.not_selector)


annotations = st.dictionaries(
    st.sampled_from(
        ["IPv4Address", "IPv6Address", "ASNumber", "IPv4VXLANTunnelAddr", "VXLANTunnelMACAddr", "labels"]
    ).map(lambda name: f"projectcalico.org/{name}")
    | st.sampled_from(["cni.projectcalico.org/podIPs", "cni.projectcalico.org/allowedSourcePrefixes"]),
    texts | st.sampled_from(['{"a": 1}', '["10.0.0.0/8"]', "[1]", "10.0.0.1/24"]),
    max_size=4,
)


@given(annotations, texts)
def test_annotations_of_nodes_and_pods_may_hold_anything(annotated: dict[str, str], text: str) -> None:
    metadata = {"name": "x", "namespace": "ns", "annotations": annotated}
    addresses = [{"type": "InternalIP", "address": text}]
    node = msgspec.convert({"metadata": metadata, "status": {"addresses": addresses}}, catalog.NODES.type)
    assert convert.node(node).value is not None
    pod = {"metadata": metadata, "spec": {"nodeName": "n"}, "status": {"podIP": text}}
    convert.pod_to_workload_endpoint(msgspec.convert(pod, catalog.PODS.type))
