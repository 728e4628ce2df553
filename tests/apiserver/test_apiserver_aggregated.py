"""The aggregated server for projectcalico.org/v3 behind an API server that knows only crd.projectcalico.org/v1.

What tiers allow is in test_apiserver_tiered_matrix.py; packing itself in tests/model/test_model_packing.py; who is
believed in test_apiserver_aggregated_trust.py.
"""

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aggregated_world import V1, V3, World, policy, tier, until, yaml_of
from apiserver_http import APPLY, JSON_PATCH, MERGE, STRATEGIC, Http

from tortie.kube import config as kube_config
from tortie.kube.cache import Cache
from tortie.kube.client import Client
from tortie.model.catalog import BLOCK_AFFINITIES
from tortie.model.meta import ObjectMeta
from tortie.model.names import reversed_uid
from tortie.model.v3 import BlockAffinity
from tortie.model.v3.ipam import BlockAffinitySpec

POLICIES = f"{V3}/namespaces/default/networkpolicies"


@pytest.fixture
def http(aggregated: World) -> Http:
    return aggregated.admin


@pytest.mark.parametrize("old", [False, True], ids=["new kubectl", "old kubectl"])
def test_kubectl_makes_changes_and_deletes_policies(aggregated: World, old: bool) -> None:
    name = f"kubectl-{'old' if old else 'new'}"
    kubectl = aggregated.front.kubectl
    made = {"apiVersion": "projectcalico.org/v3", "kind": "NetworkPolicy", **policy(name, labels={"a": "b"})}
    assert "created" in kubectl("apply", "-f", "-", stdin=yaml_of(made), old=old).stdout
    made["spec"]["order"] = 7
    assert "configured" in kubectl("apply", "-f", "-", stdin=yaml_of(made), old=old).stdout
    resource = "networkpolicies.projectcalico.org"
    assert kubectl("get", resource, name, "-o", "jsonpath={.spec.order}", old=old).stdout == "7"
    assert kubectl("get", resource, "-l", "projectcalico.org/tier=default,a=b", "-o", "name", old=old).stdout.strip()
    assert kubectl("get", resource, name, old=old).stdout.split()[:3] == ["NAME", "CREATED", "AT"]
    kubectl("patch", resource, name, "--type=json", '-p=[{"op":"remove","path":"/spec/order"}]', old=old)
    assert "deleted" in kubectl("delete", resource, name, old=old).stdout
    assert "NotFound" in kubectl("get", resource, name, old=old, check=False).stderr


def test_what_is_stored_is_packed_and_has_the_reversed_uid(http: Http) -> None:
    made = http.ok("POST", POLICIES, policy("packed", labels={"mine": "1"}, order=3))
    stored = http.ok("GET", f"{V1}/namespaces/default/networkpolicies/packed")
    assert made["metadata"]["uid"] == reversed_uid(stored["metadata"]["uid"])
    assert made["metadata"]["resourceVersion"] == stored["metadata"]["resourceVersion"]
    assert made["metadata"]["creationTimestamp"] == stored["metadata"]["creationTimestamp"]
    assert stored["metadata"]["labels"] == {"projectcalico.org/tier": "default"}
    packed = json.loads(stored["metadata"]["annotations"]["projectcalico.org/metadata"])
    assert packed["name"] == "packed"
    assert packed["labels"] == {"mine": "1", "projectcalico.org/tier": "default"}
    assert stored["spec"] == made["spec"]
    assert made == http.ok("GET", f"{POLICIES}/packed")


def test_what_others_write_behind_is_shown_at_once(http: Http) -> None:
    stored = {"metadata": {"name": "direct"}, "spec": {"order": 9}}
    http.ok("POST", f"{V1}/tiers", {"apiVersion": "crd.projectcalico.org/v1", "kind": "Tier", **stored})
    assert http.ok("GET", f"{V3}/tiers/direct")["spec"]["order"] == 9
    http.ok("PATCH", f"{V1}/tiers/direct", {"spec": {"order": 10}}, content=MERGE)
    listed = {t["metadata"]["name"]: t["spec"].get("order") for t in http.ok("GET", f"{V3}/tiers")["items"]}
    assert listed["direct"] == 10
    http.ok("DELETE", f"{V1}/tiers/direct")
    assert http("GET", f"{V3}/tiers/direct").status == 404


def test_a_policy_of_the_default_tier_is_found_under_its_old_stored_name(http: Http) -> None:
    where = f"{V1}/namespaces/default/networkpolicies"
    body = {"spec": {"selector": "all()", "types": ["Ingress"], "order": 1}}
    old = {"apiVersion": "crd.projectcalico.org/v1", "kind": "NetworkPolicy", **body}
    http.ok("POST", where, {**old, "metadata": {"name": "default.legacy"}})
    shown = http.ok("GET", f"{POLICIES}/legacy")
    assert shown["metadata"]["labels"]["projectcalico.org/tier"] == "default"
    http.ok("PATCH", f"{POLICIES}/legacy", {"spec": {"order": 2}}, content=MERGE)
    assert http.ok("GET", f"{where}/default.legacy")["spec"]["order"] == 2
    http.ok("POST", where, {**old, "metadata": {"name": "legacy"}, "spec": {**body["spec"], "order": 5}})
    assert http.ok("GET", f"{POLICIES}/legacy")["spec"]["order"] == 5
    http.ok("DELETE", f"{POLICIES}/legacy")
    assert http.ok("GET", f"{POLICIES}/legacy")["spec"]["order"] == 2
    http.ok("DELETE", f"{POLICIES}/legacy")
    assert http("GET", f"{POLICIES}/legacy").status == 404


def test_lists_are_whole_whatever_their_limit(http: Http) -> None:
    for name in ("list-a", "list-b", "list-c"):
        http.ok("POST", f"{V3}/globalnetworksets", {"metadata": {"name": name, "labels": {"n": name}}, "spec": {}})
    listed = http.ok("GET", f"{V3}/globalnetworksets", query={"limit": 1})
    assert len(listed["items"]) == 3
    assert "continue" not in listed["metadata"]
    assert listed["kind"] == "GlobalNetworkSetList"
    chosen = http.ok("GET", f"{V3}/globalnetworksets", query={"labelSelector": "n in (list-a,list-c)"})
    assert [i["metadata"]["name"] for i in chosen["items"]] == ["list-a", "list-c"]
    one = http.ok("GET", f"{V3}/globalnetworksets", query={"fieldSelector": "metadata.name=list-b"})
    assert len(one["items"]) == 1


@pytest.mark.parametrize("field", ["spec.order", "status.phase", "metadata.uid"])
def test_other_fields_cannot_be_selected(http: Http, field: str) -> None:
    assert http("GET", POLICIES, query={"fieldSelector": f"{field}=1"}).status == 400
    assert http("GET", f"{V3}/tiers", query={"fieldSelector": "spec.tier=default"}).status == 400


def test_a_watch_goes_on_from_a_list_and_turns_changes_of_matching_into_additions_and_deletions(http: Http) -> None:
    at = http.ok("GET", f"{V3}/globalnetworksets")["metadata"]["resourceVersion"]
    http.ok("POST", f"{V3}/globalnetworksets", {"metadata": {"name": "w", "labels": {"on": "yes"}}, "spec": {}})
    http.ok("PATCH", f"{V3}/globalnetworksets/w", {"metadata": {"labels": {"on": "no"}}}, content=MERGE)
    http.ok("PATCH", f"{V3}/globalnetworksets/w", {"metadata": {"labels": {"on": "yes"}}}, content=MERGE)
    http.ok("PATCH", f"{V3}/globalnetworksets/w", {"spec": {"nets": ["10.0.0.0/8"]}}, content=MERGE)
    http.ok("DELETE", f"{V3}/globalnetworksets/w")
    with http.watch(f"{V3}/globalnetworksets", resourceVersion=at, labelSelector="on=yes") as events:
        seen = [next(events) for _ in range(5)]
    assert [e["type"] for e in seen] == ["ADDED", "DELETED", "ADDED", "MODIFIED", "DELETED"]
    versions = [int(e["object"]["metadata"]["resourceVersion"]) for e in seen]
    assert versions == sorted(set(versions))
    assert seen[-1]["object"]["spec"]["nets"] == ["10.0.0.0/8"]


def test_there_are_no_initial_events_on_request(http: Http) -> None:
    query = {"watch": "1", "sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
    assert http("GET", f"{V3}/tiers", query=query).status == 422


def test_a_new_tier_ends_the_policy_watches_that_name_no_tier(http: Http) -> None:
    with (
        http.watch(POLICIES) as every,
        http.watch(POLICIES, fieldSelector="spec.tier=default") as one,
    ):
        http.ok("POST", POLICIES, policy("seen"))
        assert any(e["object"]["metadata"]["name"] == "seen" for e in every)
        assert any(e["object"]["metadata"]["name"] == "seen" for e in one)
        http.ok("POST", f"{V3}/tiers", tier("brand-new"))
        assert list(every) == []
        http.ok("DELETE", f"{POLICIES}/seen")
        assert next(one)["type"] == "DELETED"


def test_updates_name_the_state_that_they_replace(http: Http) -> None:
    made = http.ok("POST", POLICIES, policy("replaced"))
    bare = json.loads(json.dumps(made))
    del bare["metadata"]["resourceVersion"]
    assert http("PUT", f"{POLICIES}/replaced", bare).status == 422
    assert http("POST", POLICIES, {**made, "metadata": {"name": "other", "resourceVersion": "1"}}).status >= 400
    assert http("PUT", f"{POLICIES}/absent", {**made, "metadata": {**made["metadata"], "name": "absent"}}).status == 404
    same = http.ok("PUT", f"{POLICIES}/replaced", made)
    assert same["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    made["spec"]["order"] = 4
    changed = http.ok("PUT", f"{POLICIES}/replaced", made)
    assert int(changed["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])
    stale = http("PUT", f"{POLICIES}/replaced", {**made, "spec": {**made["spec"], "order": 5}})
    assert (stale.status, stale.json["reason"]) == (409, "Conflict")


def test_every_kind_of_patch_but_the_strategic_one(http: Http) -> None:
    http.ok("POST", POLICIES, policy("patched"))
    path = f"{POLICIES}/patched"
    assert http.ok("PATCH", path, {"spec": {"order": 1}}, content=MERGE)["spec"]["order"] == 1
    replaced = [{"op": "replace", "path": "/spec/order", "value": 2}]
    assert http.ok("PATCH", path, replaced, content=JSON_PATCH)["spec"]["order"] == 2
    assert http("PATCH", path, {"spec": {}}, content=STRATEGIC).status == 415
    mine = {"apiVersion": "projectcalico.org/v3", "kind": "NetworkPolicy", "metadata": {"name": "patched"}}
    query = {"fieldManager": "me"}
    body = {**mine, "spec": {"order": 3}}
    assert http("PATCH", path, body, content=APPLY, query=query).status == 409
    applied = http.ok("PATCH", path, body, content=APPLY, query={**query, "force": "true"})
    assert applied["spec"]["order"] == 3
    assert {m["manager"] for m in applied["metadata"]["managedFields"]} >= {"me"}
    made = {**mine, "metadata": {"name": "applied"}, "spec": {"selector": "all()", "types": ["Egress"]}}
    answer = http("PATCH", f"{POLICIES}/applied", made, content=APPLY, query=query)
    assert (answer.status, answer.json["spec"]["tier"]) == (201, "default")
    gone = {"metadata": {"labels": {"projectcalico.org/tier": None}}}
    kept = http.ok("PATCH", path, gone, content=MERGE)
    assert kept["metadata"]["labels"]["projectcalico.org/tier"] == "default"


def test_patches_of_many_at_once_are_all_made(aggregated: World, http: Http) -> None:
    http.ok("POST", POLICIES, policy("busy"))

    def label(number: int) -> None:
        change = {"metadata": {"labels": {f"n{number}": "x"}}}
        http.ok("PATCH", f"{POLICIES}/busy", change, content=MERGE)
        http.ok("PATCH", f"{V1}/namespaces/default/networkpolicies/busy", {"metadata": {"annotations": {
            f"projectcalico.org/{number}": "y"}}}, content=MERGE)  # fmt: skip

    threads = [threading.Thread(target=label, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    meta = http.ok("GET", f"{POLICIES}/busy")["metadata"]
    assert {f"n{n}" for n in range(8)} <= set(meta["labels"])
    assert {f"projectcalico.org/{n}" for n in range(8)} <= set(meta["annotations"])


def test_protobuf_is_refused(http: Http) -> None:
    kind = "application/vnd.kubernetes.protobuf"
    assert http("POST", POLICIES, b"k8s\0", content=kind).status == 415
    assert http("GET", POLICIES, headers={"Accept": kind}).status == 406


def test_a_dry_run_changes_nothing(http: Http) -> None:
    dry = {"dryRun": "All"}
    assert http.ok("POST", POLICIES, policy("dry"), query=dry)["spec"]["tier"] == "default"
    assert http("GET", f"{POLICIES}/dry").status == 404
    http.ok("POST", POLICIES, policy("wet"))
    http.ok("PATCH", f"{POLICIES}/wet", {"spec": {"order": 8}}, content=MERGE, query=dry)
    http.ok("DELETE", f"{POLICIES}/wet", query=dry)
    assert "order" not in http.ok("GET", f"{POLICIES}/wet")["spec"]


def test_deletions_heed_their_preconditions_and_finalizers(http: Http) -> None:
    made = http.ok("POST", POLICIES, policy("held"))
    for wrong in ({"uid": "8a3b3a1c-1111-4222-8333-444455556666"}, {"resourceVersion": "1"}):
        assert http("DELETE", f"{POLICIES}/held", {"preconditions": wrong}).status == 409
    right = {"uid": made["metadata"]["uid"], "resourceVersion": made["metadata"]["resourceVersion"]}
    held = {"metadata": {"finalizers": ["example.com/hold"]}}
    at = http.ok("PATCH", f"{POLICIES}/held", held, content=MERGE)["metadata"]["resourceVersion"]
    marked = http.ok("DELETE", f"{POLICIES}/held", {"preconditions": {**right, "resourceVersion": at}})
    assert marked["metadata"]["deletionTimestamp"]
    stored = http.ok("GET", f"{V1}/namespaces/default/networkpolicies/held")
    assert stored["metadata"]["deletionTimestamp"]
    http.ok("PATCH", f"{POLICIES}/held", {"metadata": {"finalizers": None}}, content=MERGE)
    assert http("GET", f"{POLICIES}/held").status == 404


def test_owner_references_name_what_is_stored(http: Http) -> None:
    owner = http.ok("POST", f"{V3}/globalnetworksets", {"metadata": {"name": "owner"}, "spec": {}})
    reference = {"apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkSet", "name": "owner",
                 "uid": owner["metadata"]["uid"]}  # fmt: skip
    owned = {"metadata": {"name": "owned", "ownerReferences": [reference]}, "spec": {}}
    assert http.ok("POST", f"{V3}/globalnetworksets", owned)["metadata"]["ownerReferences"] == [reference]
    stored = http.ok("GET", f"{V1}/globalnetworksets/owned")["metadata"]["ownerReferences"][0]
    assert stored["apiVersion"] == "crd.projectcalico.org/v1"
    assert stored["uid"] == http.ok("GET", f"{V1}/globalnetworksets/owner")["metadata"]["uid"]


def test_mistakes_are_named_field_by_field(http: Http) -> None:
    bad = http("POST", f"{V3}/ippools", {"metadata": {"name": "bad"}, "spec": {"cidr": "10.1.2.3/16", "blockSize": 99}})
    assert (bad.status, bad.json["reason"]) == (422, "Invalid")
    assert {c["field"] for c in bad.json["details"]["causes"]} >= {"spec.cidr"}
    lost = http("POST", POLICIES, policy("lost", tier="nowhere"))
    assert lost.status == 422
    assert "nowhere" in lost.json["message"]
    absent = http("POST", f"{V3}/namespaces/absent/networkpolicies", policy("p"))
    assert (absent.status, absent.json["details"]["kind"]) == (404, "namespaces")
    again = http("POST", f"{V3}/tiers", tier("default"))
    assert (again.status, again.json["reason"]) == (409, "AlreadyExists")


def test_a_namespace_counts_as_soon_as_it_exists(http: Http) -> None:
    for n in range(5):
        http.ok("POST", "/api/v1/namespaces", {"metadata": {"name": f"fresh-{n}"}})
        http.ok("POST", f"{V3}/namespaces/fresh-{n}/networkpolicies", policy("p"))


def test_built_in_tiers_and_tiers_with_policies_stay(http: Http) -> None:
    assert http("DELETE", f"{V3}/tiers/kube-admin").status == 403
    http.ok("POST", f"{V3}/tiers", tier("full"))
    http.ok("POST", POLICIES, policy("in-full", tier="full"))
    refused = http("DELETE", f"{V3}/tiers/full")
    assert "Cannot delete a non-empty tier" in refused.json["message"]
    http.ok("DELETE", f"{V1}/namespaces/default/networkpolicies/in-full")  # behind the server's back
    http.ok("DELETE", f"{V3}/tiers/full")


def test_a_status_is_written_apart(http: Http) -> None:
    spec = {"node": "node-1", "classes": ["Agent", "BGP", "Routes"], "updatePeriodSeconds": 10}
    status = {
        "lastUpdated": "2026-01-01T00:00:00Z",
        "agent": {"birdV4": {"state": "Ready"}, "birdV6": {"state": "Ready"}},
        "bgp": {"numberEstablishedV4": 2, "numberNotEstablishedV4": 1, "numberEstablishedV6": 0,
                "numberNotEstablishedV6": 0},
        "routes": {"routesV4": [{"type": "FIB", "destination": "10.0.0.0/8"}]},
    }  # fmt: skip
    where = f"{V3}/caliconodestatuses"
    made = http.ok("POST", where, {"metadata": {"name": "n1"}, "spec": spec, "status": status})
    assert not made.get("status")
    written = http.ok("PUT", f"{where}/n1/status", {**made, "spec": {**spec, "node": "other"}, "status": status})
    assert (written["spec"]["node"], written["status"]["bgp"]["numberEstablishedV4"]) == ("node-1", 2)
    kept = http.ok("PUT", f"{where}/n1", {**written, "spec": {**spec, "node": "node-2"}, "status": {}})
    assert (kept["spec"]["node"], kept["status"]["agent"]["birdV4"]["state"]) == ("node-2", "Ready")


def test_node_statuses_are_printed_with_their_own_columns(aggregated: World, http: Http) -> None:
    if http("GET", f"{V3}/caliconodestatuses/n1").status == 404:
        test_a_status_is_written_apart(http)
    plain, wide = (
        aggregated.front.kubectl("get", "caliconodestatuses.v3.projectcalico.org", "n1", *more).stdout
        for more in ((), ("-o", "wide"))
    )
    assert plain.splitlines()[0].split() == ["NAME", "NODE", "CLASSES", "UPDATE", "INTERVAL", "AGE", "LAST", "UPDATED"]
    cells = plain.splitlines()[1]
    assert "Agent,BGP,Routes" in cells
    assert "10s" in cells
    assert cells.rstrip().endswith("ago")
    row = wide.splitlines()[1]
    assert "v4(Ready) v6(Ready)" in row
    assert "2/3" in row
    assert "0/0" in row


def test_profiles_follow_namespaces_and_service_accounts_and_are_read_only(http: Http) -> None:
    at = http.ok("GET", f"{V3}/profiles")["metadata"]["resourceVersion"]
    labels = {"team": "red"}
    http.ok("POST", "/api/v1/namespaces", {"metadata": {"name": "profiled", "labels": labels}})
    with http.watch(f"{V3}/profiles", resourceVersion=at) as events:
        found = next(e for e in events if e["object"]["metadata"]["name"] == "kns.profiled")
    assert found["object"]["spec"]["labelsToApply"]["pcns.team"] == "red"
    assert found["object"]["spec"]["ingress"] == [{"action": "Allow"}]
    account = until(lambda: http("GET", f"{V3}/profiles/ksa.default.default").json)
    assert account["spec"]["labelsToApply"] == {"pcsa.projectcalico.org/name": "default"}
    assert http("POST", f"{V3}/profiles", {"metadata": {"name": "mine"}, "spec": {}}).status == 405
    assert http("DELETE", f"{V3}/profiles/kns.default").status == 405


def test_a_pool_that_goes_is_disabled_and_its_claims_are_released(http: Http) -> None:
    pool = {"metadata": {"name": "pool"}, "spec": {"cidr": "10.55.0.0/16", "blockSize": 26}}
    made = http.ok("POST", f"{V3}/ippools", pool)
    overlap = http("POST", f"{V3}/ippools", {"metadata": {"name": "pool-2"}, "spec": {"cidr": "10.55.8.0/24"}})
    assert overlap.status == 422
    group = {"apiVersion": "crd.projectcalico.org/v1"}
    empty = {"cidr": "10.55.0.0/26", "affinity": "host:node-1", "allocations": [None] * 64, "attributes": [],
             "unallocated": list(range(64)), "deleted": False, "strictAffinity": False}  # fmt: skip
    used = {**empty, "cidr": "10.55.0.64/26", "allocations": [0] + [None] * 63, "attributes": [{"handle_id": "h"}],
            "unallocated": list(range(1, 64))}  # fmt: skip
    for name, spec in (("10-55-0-0-26", empty), ("10-55-0-64-26", used)):
        http.ok("POST", f"{V1}/ipamblocks", {**group, "kind": "IPAMBlock", "metadata": {"name": name}, "spec": spec})
        claim = {"cidr": spec["cidr"], "node": "node-1", "state": "confirmed", "deleted": "false", "type": "host"}
        meta = {"name": f"node-1-{name}"}
        http.ok("POST", f"{V1}/blockaffinities", {**group, "kind": "BlockAffinity", "metadata": meta, "spec": claim})
    at = http.ok("GET", f"{V3}/ippools")["metadata"]["resourceVersion"]
    wanted = {"preconditions": {"resourceVersion": made["metadata"]["resourceVersion"]}}
    http.ok("DELETE", f"{V3}/ippools/pool", wanted)
    with http.watch(f"{V3}/ippools", resourceVersion=at) as events:
        first, second = next(events), next(events)
    assert (first["type"], first["object"]["spec"]["disabled"], second["type"]) == ("MODIFIED", True, "DELETED")
    assert http.ok("GET", f"{V1}/blockaffinities")["items"] == []
    blocks = {b["metadata"]["name"]: b["spec"] for b in http.ok("GET", f"{V1}/ipamblocks")["items"]}
    assert set(blocks) == {"10-55-0-64-26"}
    assert "affinity" not in blocks["10-55-0-64-26"]


async def test_address_management_is_stored_beside_the_server(aggregated: World, http: Http) -> None:
    meta, spec = ObjectMeta(name="n-9"), BlockAffinitySpec(node="n", cidr="10.9.0.0/26", state="pending")
    async with Client(kube_config.load(str(aggregated.front.kubeconfig))) as client:
        seen: list[bool] = []
        cache = Cache(client, BLOCK_AFFINITIES, on_change=lambda _key, new: seen.append(bool(new and new.spec.deleted)))
        following = asyncio.create_task(cache.run())
        made = await client.create(BLOCK_AFFINITIES, BlockAffinity(metadata=meta, spec=spec))
        assert http.ok("GET", f"{V1}/blockaffinities/n-9")["spec"]["deleted"] == "false"
        assert http.ok("GET", f"{V3}/blockaffinities/n-9")["spec"]["node"] == "n"
        await client.update(
            BLOCK_AFFINITIES, msgspec.structs.replace(made, spec=msgspec.structs.replace(spec, deleted=True))
        )
        assert (await client.get(BLOCK_AFFINITIES, "n-9")).spec.deleted
        assert http.ok("GET", f"{V3}/blockaffinities/n-9")["spec"]["deleted"] is True
        async with asyncio.timeout(10):
            await cache.wait_for(lambda: True in seen)
        await client.delete(BLOCK_AFFINITIES, "n-9", preconditions={"uid": made.metadata.uid})
        assert not [a for a in (await client.list(BLOCK_AFFINITIES)).items if a.metadata.name == "n-9"]
        following.cancel()


def test_the_api_server_in_front_describes_what_is_served_behind(aggregated: World, http: Http) -> None:
    assert "action of the tier" in aggregated.front.kubectl("explain", "tier.spec").stdout
    v3 = http.ok("GET", "/openapi/v3")["paths"]
    assert "apis/projectcalico.org/v3" in v3
    resources: dict[str, Any] = {r["name"]: r for r in http.ok("GET", V3)["resources"]}
    assert {"tiers/status", "ippools/status", "caliconodestatuses/status"} <= set(resources)
    assert resources["networkpolicies"]["shortNames"] == ["cnp", "caliconetworkpolicy", "caliconetworkpolicies"]
    assert resources["authorizationreviews"]["verbs"] == ["create"]
    assert "ipamblocks" not in resources


def test_the_swagger_document_is_printed_without_a_cluster(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from tortie.apiserver.aggregated.command import command

    target = tmp_path / "swagger.json"
    done = CliRunner().invoke(command, ["--print-swagger", "--swagger-file-path", str(target)])
    assert done.exit_code == 0
    document = json.loads(target.read_bytes())
    assert f"{V3}/namespaces/{{namespace}}/networkpolicies/{{name}}" in document["paths"]
