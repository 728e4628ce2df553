"""The rules of the generated CustomResourceDefinitions judge as admission does, but for a known list of differences.

The cases are those of the test_model_validation_*.py files, the evaluation is the API server's own for custom kinds.
That a server enforces them together with admission policies is covered in tests/apiserver/test_apiserver_native.py.
"""

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
import test_model_validation_config_bgp as bgp
import test_model_validation_config_cluster as cluster
import test_model_validation_config_felix as felix
import test_model_validation_config_rules as policy_rules
import test_model_validation_enterprise as enterprise
from validation_cases import Case, Verdicts

from tortie.apiserver.schema import costs, dsl, rules
from tortie.apiserver.schema.default import apply_defaults
from tortie.apiserver.schema.node import Node, from_openapi
from tortie.apiserver.schema.validate import validate
from tortie.model import catalog as c
from tortie.model.definitions import definition
from tortie.model.packing import STORAGE_GROUP
from tortie.model.resource import Resource

TABLES: list[Mapping[Resource[Any], Sequence[Case]]] = [
    bgp.CASES,
    cluster.CASES,
    {felix.FELIX: [*felix.TABLE, *felix.SPECIAL]},
    policy_rules.CASES,
    enterprise.CASES,
]

REFUSED_IN_DEFINITIONS_ONLY = {"staged "}
"""An enumeration of a schema has no empty word, with which clients of typed languages write what is absent."""

BEYOND_DEFINITIONS = {
    # What a rule cannot say: the grammar of selectors, regular expressions and queries.
    "grammar": re.compile(
        r"selector|expression|pattern|query|certificate (that is none|of nonsense)| \( ", re.IGNORECASE
    ),
    # What would cost too much: a member against all others of an unlimited list, keys of maps, networks without limit.
    "cost": re.compile(
        r"nobody defines|annotation|template label|destinations are unique|IPs with host bits|range with"
    ),
    # What no pattern says: numbers compared inside a text, and addresses inside others.
    "text": re.compile(r"backwards|mapped|below a millisecond|DNS at port 0"),
}


@functools.cache
def _schema(resource: Resource[Any], group: str = c.CALICO_GROUP) -> tuple[Node, rules.Rules | None]:
    source = definition(resource, group=group)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    node = from_openapi(source, metadata=dsl.types()["ObjectMeta"], top=True)
    problems: list[Any] = []
    compiled = rules.compile_rules(node, problems=problems)
    assert problems == []
    assert costs.problems(node, "") == []
    return node, compiled


def judged(resource: Resource[Any], obj: dict[str, Any], old: dict[str, Any] | None = None) -> list[str]:
    """Paths at which the definition refuses an object, after its defaults."""
    node, compiled = _schema(resource)
    for item in filter(None, (obj, old)):
        apply_defaults(node, item)
    found = validate(node, obj, "", old)
    if not found and compiled is not None:
        found = rules.check(compiled, obj, old)
    return [cause.field for cause in found]


def _object(resource: Resource[Any], spec: Mapping[str, Any], name: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "ns"} if resource.namespaced else {"name": name}
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, "spec": _copy(spec)}


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _copy(item) for name, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list | tuple) else value


def _name(resource: Resource[Any]) -> str:
    if resource is c.UI_SETTINGS:
        return "g.one"
    return "one" if resource is c.MANAGED_CLUSTERS else "default"


def cases() -> Iterator[tuple[Resource[Any], str, dict[str, Any], str | None]]:
    for table in TABLES:
        for resource, entries in table.items():
            if resource in c.CALICO:
                for words, spec, path in entries:
                    yield resource, words, spec, path.native if isinstance(path, Verdicts) else path


@pytest.mark.parametrize("resource", c.CALICO, ids=lambda resource: resource.kind)
@pytest.mark.parametrize("group", [c.CALICO_GROUP, STORAGE_GROUP])
def test_every_rule_compiles_and_cannot_cost_too_much(resource: Resource[Any], group: str) -> None:
    _schema(resource, group if resource.group == c.CALICO_GROUP else resource.group)


@functools.cache
def verdicts() -> list[tuple[str, str, str | None, list[str]]]:
    """Kind, words, the field at fault for admission, and those for the definition, of every case."""
    return [
        (resource.kind, words, path, judged(resource, _object(resource, spec, _name(resource))))
        for resource, words, spec, path in cases()
    ]


def test_what_admission_accepts_the_definitions_accept() -> None:
    for kind, words, path, found in verdicts():
        if path is None and words not in REFUSED_IN_DEFINITIONS_ONLY:
            assert found == [], f"{kind}: {words}"


def test_what_admission_refuses_the_definitions_refuse_but_for_what_no_rule_can_say() -> None:
    for kind, words, path, found in verdicts():
        if path is not None and not any(p.search(f"{words} {path}") for p in BEYOND_DEFINITIONS.values()):
            assert found, f"{kind}: {words}: {path}"


def test_few_of_the_refusals_are_beyond_the_definitions() -> None:
    refused = [found for _, _, path, found in verdicts() if path is not None]
    assert len(refused) > 1000
    assert sum(not found for found in refused) < len(refused) / 20


def test_an_error_of_a_definition_stands_at_the_field_that_admission_names_or_above_it() -> None:
    for kind, words, path, found in verdicts():
        if path is not None and found:
            assert any(path.startswith(place) or place.startswith(path) for place in found), (kind, words, path, found)


@pytest.mark.parametrize(
    ("resource", "old", "new", "path"),
    [
        (c.IP_POOLS, {"cidr": "10.0.0.0/16"}, {"cidr": "10.0.0.0/16", "disabled": True}, None),
        (c.IP_POOLS, {"cidr": "fd00:0::/64"}, {"cidr": "fd00::/64"}, None),
        (c.IP_POOLS, {"cidr": "10.0.0.0/16"}, {"cidr": "10.0.0.0/17"}, "spec.cidr"),
        (c.IP_POOLS, {"cidr": "10.0.0.0/16"}, {"cidr": "10.0.0.0/16", "blockSize": 26}, None),
        (c.IP_POOLS, {"cidr": "10.0.0.0/16"}, {"cidr": "10.0.0.0/16", "blockSize": 27}, "spec.blockSize"),
        (
            c.IP_POOLS,
            {"cidr": "10.0.0.0/16", "allowedUses": ["LoadBalancer"]},
            {"cidr": "10.0.0.0/16", "allowedUses": ["Workload"]},
            "spec.allowedUses",
        ),
        (c.NETWORKS, enterprise.vrf(), enterprise.vrf(routeTableIndex=6), None),
        (c.NETWORKS, enterprise.vrf(), enterprise.bridge(), "spec"),
        (c.UI_SETTINGS, enterprise.UI, {**enterprise.UI, "description": "e"}, None),
        (c.UI_SETTINGS, enterprise.UI, {**enterprise.UI, "user": "me"}, "spec.user"),
        (c.UI_SETTINGS, {**enterprise.UI, "group": "h"}, enterprise.UI, "spec.group"),
        (c.MANAGED_CLUSTERS, {"installationManifest": "m"}, {}, None),
        (c.MANAGED_CLUSTERS, {"installationManifest": "m"}, {"installationManifest": "n"}, "spec.installationManifest"),
    ],
    ids=str,
)
def test_what_cannot_be_changed(resource: Resource[Any], old: Any, new: Any, path: str | None) -> None:
    name = "g.one" if resource is c.UI_SETTINGS else "one"
    found = judged(resource, _object(resource, new, name), _object(resource, old, name))
    assert found == ([] if path is None else [path])


@pytest.mark.parametrize(
    ("resource", "spec", "good", "bad"),
    [
        (c.IPAM_CONFIGURATIONS, {}, ["default"], ["other"]),
        (c.CLUSTER_INFORMATIONS, {}, ["default"], ["other"]),
        (c.KUBE_CONTROLLERS_CONFIGURATIONS, {"controllers": {}}, ["default"], ["other"]),
        (c.LICENSE_KEYS, {"token": "t"}, ["default"], ["other"]),
        (c.POLICY_RECOMMENDATION_SCOPES, {}, ["default"], ["other"]),
        (c.GLOBAL_WAF_POLICIES, {}, ["default"], ["other"]),
        (c.MANAGED_CLUSTERS, {}, ["east"], ["cluster"]),
        (c.TIERS, {"order": 5}, ["security", "t" * 63], ["a.b", "t" * 64]),
        (c.TIERS, {"order": 1_000_000, "defaultAction": "Deny"}, ["default"], ["kube-admin", "kube-baseline"]),
        (c.TIERS, {"order": 1_000, "defaultAction": "Pass"}, ["kube-admin"], ["default", "kube-baseline"]),
        (c.TIERS, {"order": 10_000_000, "defaultAction": "Pass"}, ["kube-baseline"], ["default", "kube-admin"]),
        (c.BGP_CONFIGURATIONS, {"asNumber": 65000}, ["default"], ["node.one"]),
        (c.FELIX_CONFIGURATIONS, {"nodeSelector": "all()"}, ["racks"], ["default", "node.one"]),
        (c.UI_SETTINGS, enterprise.UI, ["g.one"], ["h.one"]),
    ],
    ids=str,
)
def test_names_that_are_fixed_or_taken(resource: Resource[Any], spec: Any, good: list[str], bad: list[str]) -> None:
    assert {name: judged(resource, _object(resource, spec, name)) for name in good} == {name: [] for name in good}
    assert [name for name in bad if not judged(resource, _object(resource, spec, name))] == []
