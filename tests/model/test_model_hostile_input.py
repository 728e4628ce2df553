"""Whatever is written, admission answers with field errors, and its cost is bounded.

For every kind and both serving modes. What the server does about bodies as such is in tests/apiserver.
"""

import copy
import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from generated_objects import objects
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tortie.model import catalog as c
from tortie.model.admission import Admission, FieldError, ServingMode, admit
from tortie.model.resource import Resource

KINDS = [*c.CALICO, *c.UPSTREAM, *c.DERIVED, *c.REVIEWS]
IDENTITY = {"name": "default", "namespace": "ns"}
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(("9" * 5000, "1:" + "9" * 5000, "\0", "global(", "::/0", 2**70, -(2**70), 1e400, 10**400)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
QUICK = settings(
    max_examples=20,
    deadline=None,
    database=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)


def ask(resource: Resource[Any], obj: Any) -> list[Admission]:
    found = [admit(resource, obj, None, mode=mode) for mode in ServingMode]
    for admission in found:
        assert isinstance(admission.object, dict)
        assert all(isinstance(error, FieldError) and str(error) for error in admission.errors)
        assert len(admission.errors) <= 600
    return found


@pytest.mark.parametrize("resource", KINDS, ids=lambda resource: resource.kind)
def test_anything_at_all_is_answered_with_field_errors(resource: Resource[Any]) -> None:
    @QUICK
    @given(st.dictionaries(st.sampled_from(("metadata", "spec", "status", "kind", "apiVersion", "x")), ANYTHING))
    def each(obj: dict[str, Any]) -> None:
        ask(resource, obj)
        ask(resource, {**obj, "metadata": IDENTITY})

    each()


@pytest.mark.parametrize("resource", KINDS, ids=lambda resource: resource.kind)
def test_a_good_object_with_anything_in_one_place_is_answered_with_field_errors(resource: Resource[Any]) -> None:
    @QUICK
    @given(objects(resource), ANYTHING, st.randoms(use_true_random=False))
    def each(obj: dict[str, Any], value: Any, random: Any) -> None:
        broken = copy.deepcopy(obj)
        place: Any = broken
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                return
            key = random.choice(keys)
            if isinstance(place[key], dict | list) and place[key] and random.random() < 0.8:
                place = place[key]
                continue
            place[key] = value
            break
        ask(resource, broken)

    each()


# --- cost ----------------------------------------------------------------------------------------------------------

DEEP, WIDE, LONG = (100_000, 100_000, 1_000_000) if os.environ.get("TORTIE_LONG") else (20_000, 20_000, 200_000)


def nested(levels: int, step: Callable[[Any], Any]) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = step(value)
    return value


def nets(count: int) -> list[str]:
    return [f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}" for n in range(count)]


BEGIN = "-----BEGIN CERTIFICATE-----"
NAMES = [{"name": f"n{number}"} for number in range(WIDE)]
HOSTILE: list[tuple[str, Resource[Any], Any]] = [
    ("lists in a list", c.NETWORK_POLICIES, {"ingress": nested(DEEP, lambda inner: [inner])}),
    ("objects in a rule", c.NETWORK_POLICIES, {"ingress": [nested(DEEP, lambda inner: {"source": inner})]}),
    ("objects in an unknown field", c.TIERS, {"x": nested(DEEP, lambda inner: {"x": inner})}),
    ("objects in a selector", c.STAGED_KUBERNETES_NETWORK_POLICIES, {"podSelector": nested(DEEP, lambda i: {"a": i})}),
    ("lists of AS numbers", c.BGP_FILTERS, {"exportV4": [{"asPathPrefix": nested(DEEP, lambda inner: [inner])}]}),
    ("good nets", c.NETWORK_SETS, {"nets": nets(WIDE)}),
    ("bad nets", c.NETWORK_SETS, {"nets": [f"x{number}" for number in range(WIDE)]}),
    ("the same net", c.NETWORK_SETS, {"nets": ["10.0.0.0/8"] * WIDE}),
    ("nets that are objects", c.NETWORK_SETS, {"nets": [{}] * WIDE}),
    ("rules", c.NETWORK_POLICIES, {"ingress": [{}] * WIDE}),
    ("nets of a rule", c.NETWORK_POLICIES, {"ingress": [{"action": "Allow", "source": {"nets": nets(WIDE)}}]}),
    ("substitutions", c.GLOBAL_ALERTS, {"description": "d", "severity": 1, "dataSet": "dns", "substitutions": NAMES}),
    ("placeholders", c.GLOBAL_ALERTS, {"description": "${x}" * WIDE, "severity": 1, "dataSet": "dns"}),
    ("templates of reports", c.GLOBAL_REPORT_TYPES, {"downloadTemplates": NAMES}),
    ("settings", c.SECURITY_EVENT_WEBHOOKS, {"consumer": "Slack", "state": "Test", "query": "a=b", "config": NAMES}),
    ("destinations", c.EGRESS_GATEWAY_POLICIES, {"rules": [{}] * 20_000}),
    ("templates of host endpoints", c.KUBE_CONTROLLERS_CONFIGURATIONS, {
        "controllers": {"node": {"hostEndpoint": {"templates": [{"generateName": "a"}] * 20_000}}}
    }),
    ("hosts of a network", c.NETWORKS, {"vrf": {"hostConfig": [{"routeTableIndex": 1}] * WIDE}}),
    ("a long selector", c.PACKET_CAPTURES, {"selector": "a == 'b' && " * (LONG // 12)}),
    ("parentheses", c.PACKET_CAPTURES, {"selector": "(" * LONG}),
    ("negations", c.PACKET_CAPTURES, {"selector": "!" * LONG}),
    ("closed parentheses", c.PACKET_CAPTURES, {"selector": "(" * 50_000 + "has(a)" + ")" * 50_000}),
    ("a set", c.PACKET_CAPTURES, {"selector": f"a in {{{','.join(repr(str(n)) for n in range(WIDE))}}}"}),
    ("a long selector with a limit", c.NETWORK_POLICIES, {"selector": "a == 'b' && " * (LONG // 12)}),
    ("a long number", c.BGP_CONFIGURATIONS, {"communities": [{"name": "c", "value": "1:" + "9" * LONG}]}),
    ("a long AS number", c.BGP_PEERS, {"asNumber": "9" * LONG}),
    ("a long port", c.NETWORK_POLICIES, {"ingress": [{"action": "Allow", "destination": {"ports": ["9" * LONG]}}]}),
    ("a long address", c.BGP_PEERS, {"peerIP": "1.1.1.1:" + "9" * LONG}),
    ("a long server", c.FELIX_CONFIGURATIONS, {"dnsTrustedServers": ["1.1.1.1:" + "9" * LONG]}),
    ("a long duration", c.GLOBAL_ALERTS, {"description": "d", "severity": 1, "dataSet": "dns", "period": "9" * LONG}),
    ("a duration of parts", c.BGP_PEERS, {"maxRestartTime": "1h" * (LONG // 2)}),
    ("a long domain", c.NETWORK_SETS, {"allowedEgressDomains": ["a" + "-" * LONG]}),
    ("a domain of parts", c.NETWORK_SETS, {"allowedEgressDomains": ["a." * LONG]}),
    ("an expression of groups", c.FELIX_CONFIGURATIONS, {"mtuIfacePattern": "(" * WIDE + ")" * WIDE}),
    ("an expression of counts", c.FELIX_CONFIGURATIONS, {"mtuIfacePattern": "((a{100}){100}){100}"}),
    ("an expression that backtracks", c.FELIX_CONFIGURATIONS, {"mtuIfacePattern": "(a*)*" * 1000 + "b"}),
    ("exclusions", c.FELIX_CONFIGURATIONS, {"interfaceExclude": "/a/," * 50_000}),
    ("gates", c.FELIX_CONFIGURATIONS, {"featureGates": "a=b," * WIDE}),
    ("a long prefix", c.FELIX_CONFIGURATIONS, {"logPrefix": "a" * LONG + '"'}),
    ("a long schedule", c.GLOBAL_REPORTS, {"reportType": "a", "schedule": ",".join(["0-59/1"] * WIDE) + " * * * *"}),
    ("a certificate without an end", c.LICENSE_KEYS, {"token": "t", "certificate": BEGIN * (LONG // 27)}),
    ("a path", c.GLOBAL_THREAT_FEEDS, {
        "pull": {"http": {"url": "http://x", "format": {"json": {"path": "$" + ".a" * WIDE + "("}}}}
    }),
    ("a URL", c.GLOBAL_THREAT_FEEDS, {"pull": {"http": {"url": "http://" + "a" * LONG + " "}}}),
    ("a long name of a handle", c.IPAM_HANDLES, {"handleID": "h", "block": {"x" * LONG: "y"}}),
    ("numbers of assignments", c.IPAM_BLOCKS, {
        "cidr": "10.0.0.0/8", "allocations": [None] * WIDE, "unallocated": list(range(WIDE)), "attributes": [],
        "strictAffinity": False,
    }),
]  # fmt: skip


@pytest.mark.parametrize(("resource", "spec"), [pytest.param(r, s, id=words) for words, r, s in HOSTILE])
def test_the_cost_of_a_hostile_object_is_bounded(resource: Resource[Any], spec: Any) -> None:
    began = time.process_time()
    for admission in ask(resource, {"metadata": IDENTITY, "spec": spec}):
        assert sum(len(str(error)) for error in admission.errors) < 5_000_000
    assert time.process_time() - began < 3.0


@pytest.mark.parametrize(
    "metadata",
    [
        {"name": "x" * LONG},
        {"name": "a." * LONG},
        {"name": "x", "labels": {f"l{number}": "-" for number in range(WIDE)}},
        {"name": "x", "labels": {"a/" * LONG: "b"}},
        {"name": "x", "annotations": {"x" * LONG: "y"}},
        {"name": "x", "annotations": {"a": "y" * LONG}},
        {"name": "x", "annotations": nested(DEEP, lambda inner: {"a": inner})},
        {"name": "x", "managedFields": nested(500, lambda inner: [inner])},
        {"name": "x", "ownerReferences": [{}] * WIDE},
        {"name": "x", "finalizers": nested(DEEP, lambda inner: [inner])},
        {"name": ["x"]},
        {"name": {"a": "b"}, "labels": [], "annotations": "x"},
        {"name": None, "generateName": 5},
        [],
        "x",
        None,
    ],
    ids=lambda value: str(type(value))[:20],
)
def test_the_cost_of_hostile_metadata_is_bounded(metadata: Any) -> None:
    began = time.process_time()
    for resource in (c.GLOBAL_NETWORK_POLICIES, c.TIERS, c.UI_SETTINGS):
        ask(resource, {"metadata": metadata, "spec": {}})
    assert time.process_time() - began < 3.0


def test_an_object_with_a_million_mistakes_gets_an_answer_of_readable_length() -> None:
    bad = {"metadata": IDENTITY, "spec": {"nets": ["x"] * WIDE, "allowedEgressDomains": ["*"] * WIDE}}
    for admission in ask(c.NETWORK_SETS, bad):
        assert 100 < len(admission.errors) <= 512
