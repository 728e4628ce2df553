"""Where the client sends requests on Calico's address management: it depends on how the cluster serves the API.

Pure; on real servers it is tested in tests/ipam/test_ipam_server.py and tests/apiserver/test_apiserver_aggregated.py.
"""

import json

import msgspec
import pytest

from tortie.kube import requests, serving
from tortie.kube.errors import Forbidden, Unavailable
from tortie.kube.objects import codec
from tortie.model.catalog import BLOCK_AFFINITIES, IPAM_BLOCKS, IPAM_HANDLES, PODS, TIERS
from tortie.model.meta import ObjectMeta
from tortie.model.serving import ServingMode
from tortie.model.v3 import BlockAffinity
from tortie.model.v3.ipam import BlockAffinitySpec

NATIVE, AGGREGATED = ServingMode.NATIVE, ServingMode.AGGREGATED


@pytest.mark.parametrize(
    ("setting", "mode"),
    [
        ("", None),
        (" ", None),
        ("projectcalico.org/v3", NATIVE),
        ("ProjectCalico.org/V3", NATIVE),
        ("crd.projectcalico.org/v1", AGGREGATED),
        ("something-else", AGGREGATED),
    ],
)
def test_the_setting_wins(setting: str, mode: ServingMode | None) -> None:
    assert serving.told(setting) is mode


@pytest.mark.parametrize(
    ("groups", "mode"),
    [
        (("apps", "projectcalico.org"), NATIVE),
        (("projectcalico.org", "crd.projectcalico.org"), AGGREGATED),
        (("crd.projectcalico.org",), AGGREGATED),
        (("apps",), AGGREGATED),
    ],
)
def test_else_the_groups_decide(groups: tuple[str, ...], mode: ServingMode) -> None:
    body = json.dumps({"kind": "APIGroupList", "groups": [{"name": name, "versions": []} for name in groups]})
    assert serving.seen(body.encode()) is mode


def test_a_server_that_is_away_is_no_answer() -> None:
    with pytest.raises(Unavailable):
        serving.refused(Unavailable(0, "Unreachable", "away"))
    assert serving.refused(Forbidden(403, "Forbidden", "no")) is AGGREGATED


@pytest.mark.parametrize("resource", [IPAM_BLOCKS, IPAM_HANDLES, BLOCK_AFFINITIES])
def test_only_address_management_goes_past_the_aggregated_server(resource: object) -> None:
    moved = serving.served(resource, AGGREGATED)  # type: ignore[type-var]  # three kinds of resource
    assert moved.path() == f"/apis/crd.projectcalico.org/v1/{moved.plural}"
    assert serving.served(resource, NATIVE) is resource  # type: ignore[comparison-overlap]  # three kinds of resource
    assert serving.served(TIERS, AGGREGATED) is TIERS
    assert not serving.concerned(PODS)


def test_an_affinity_says_in_words_whether_it_is_being_deleted() -> None:
    stored = serving.served(BLOCK_AFFINITIES, AGGREGATED)
    affinity = BlockAffinity(metadata=ObjectMeta(name="a"), spec=BlockAffinitySpec(node="n", deleted=True))
    body = msgspec.json.decode(requests.create(stored, affinity).body or b"")
    assert (body["apiVersion"], body["spec"]["deleted"]) == ("crd.projectcalico.org/v1", "true")
    for text, deleted in (("true", True), ("false", False)):
        body["spec"]["deleted"] = text
        assert codec(stored).one.decode(json.dumps(body).encode()).spec.deleted is deleted
    native = msgspec.json.decode(requests.create(BLOCK_AFFINITIES, affinity).body or b"")
    assert (native["apiVersion"], native["spec"]["deleted"]) == ("projectcalico.org/v3", True)
