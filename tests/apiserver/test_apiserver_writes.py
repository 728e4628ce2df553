"""Writes on the wire: create, update, patch, delete and their refusals, in the words of the Kubernetes API."""

from typing import Any

import pytest
from apiserver_http import APPLY, JSON_PATCH, MAPS, MERGE, PODS, STRATEGIC, Http, config_map, pod
from tools import ApiServer

SERVICES = "/api/v1/namespaces/default/services"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
POLICIES = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies"


@pytest.fixture(scope="module")
def http(shared_api_server: ApiServer) -> Http:
    return Http(shared_api_server)


def _deployment(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": "nginx"}]},
            },
            **spec,
        },
    }


def _refusal(http: Http, method: str, path: str, body: Any = None, **options: Any) -> tuple[int, str, str]:
    answer = http(method, path, body, **options)
    status = answer.json
    assert status["kind"] == "Status"
    assert status["code"] == answer.status
    return answer.status, status.get("reason", ""), status["message"]


def test_create_sets_what_the_server_owns(http: Http) -> None:
    meta = http.ok("POST", MAPS, config_map("c1", k="v"))["metadata"]
    assert meta["uid"]
    assert meta["creationTimestamp"].endswith("Z")
    assert "generation" not in meta, "a ConfigMap has no generation"
    assert meta["managedFields"][0]["operation"] == "Update"
    assert "selfLink" not in meta


def test_a_generated_name_has_five_letters_more(http: Http) -> None:
    body = {"metadata": {"generateName": "gen-"}}
    names = {http.ok("POST", MAPS, body)["metadata"]["name"] for _ in range(5)}
    assert len(names) == 5
    assert all(len(n) == 9 and n.startswith("gen-") for n in names)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (config_map("c1"), (409, "AlreadyExists", 'configmaps "c1" already exists')),
        ({"metadata": {"name": "Bad_Name"}}, (422, "Invalid", 'Invalid value: "Bad_Name": a lowercase RFC 1123')),
        ({"metadata": {"name": "x", "namespace": "other"}}, (400, "BadRequest", "the namespace of the provided")),
        ({"kind": "Pod", "metadata": {"name": "x"}}, (400, "BadRequest", "does not match the expected kind")),
        ({"metadata": {}}, (422, "Invalid", "name or generateName is required")),
        ({"metadata": {"name": "x"}, "data": {"k": 5}}, (400, "BadRequest", "data.k: expected a string, got the")),
        ({"metadata": {"name": "x", "labels": {"a b": "c"}}}, (422, "Invalid", "metadata.labels: Invalid value")),
    ],
)  # fmt: skip
def test_bad_creates_are_refused(http: Http, body: dict, expected: tuple[int, str, str]) -> None:
    http("POST", MAPS, config_map("c1"))
    code, reason, message = _refusal(http, "POST", MAPS, body)
    assert (code, reason) == expected[:2]
    assert expected[2] in message


def test_a_missing_namespace_is_named(http: Http) -> None:
    refused = http("POST", "/api/v1/namespaces/nowhere/configmaps", {"metadata": {"name": "x"}})
    assert refused.status == 404
    assert refused.json["message"] == 'namespaces "nowhere" not found'
    assert refused.json["details"] == {"name": "nowhere", "kind": "namespaces"}


def test_a_body_that_is_no_json_is_a_bad_request(http: Http) -> None:
    assert _refusal(http, "POST", MAPS, b"{nope")[:2] == (400, "BadRequest")


def test_yaml_bodies_are_read_and_dates_stay_text(http: Http) -> None:
    body = b"metadata: {name: yaml}\ndata: {when: 2026-01-01}\n"
    assert http.ok("POST", MAPS, body, content="application/yaml")["data"] == {"when": "2026-01-01"}


def test_unknown_and_repeated_fields_warn_or_refuse(http: Http) -> None:
    body = b'{"metadata":{"name":"strict"},"extra":1,"data":{"a":"1","a":"2"}}'
    refused = _refusal(http, "POST", MAPS, body, query={"fieldValidation": "Strict"})
    assert refused[:2] == (400, "BadRequest")
    assert 'unknown field "extra"' in refused[2]
    assert 'duplicate field "a"' in refused[2]
    warned = http("POST", MAPS, body, query={"fieldValidation": "Warn"})
    assert warned.status == 201
    assert warned.headers.get_all("Warning") == ['299 - "unknown field \\"extra\\""', '299 - "duplicate field \\"a\\""']
    assert http("DELETE", f"{MAPS}/strict").status == 200
    assert not http("POST", MAPS, body, query={"fieldValidation": "Ignore"}).headers.get_all("Warning")


def test_an_update_with_an_old_version_conflicts(http: Http) -> None:
    old = http.ok("POST", MAPS, config_map("stale"))
    http.ok("PATCH", f"{MAPS}/stale", {"data": {"a": "1"}}, content=MERGE)
    code, reason, message = _refusal(http, "PUT", f"{MAPS}/stale", old)
    assert (code, reason) == (409, "Conflict")
    assert message == (
        'Operation cannot be fulfilled on configmaps "stale": the object has been modified; please apply your changes '
        "to the latest version and try again"
    )
    old["metadata"].pop("resourceVersion")
    http.ok("PUT", f"{MAPS}/stale", old)


def test_an_update_that_changes_nothing_keeps_the_version(http: Http) -> None:
    made = http.ok("POST", MAPS, config_map("same", k="v"))
    assert http.ok("PUT", f"{MAPS}/same", made)["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    patched = http.ok("PATCH", f"{MAPS}/same", {"data": {"k": "v"}}, content=MERGE)
    assert patched["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


def test_generation_counts_changes_of_what_is_wanted_only(http: Http) -> None:
    path = f"{DEPLOYMENTS}/gen"
    assert http.ok("POST", DEPLOYMENTS, _deployment("gen"))["metadata"]["generation"] == 1
    labelled = http.ok("PATCH", path, {"metadata": {"labels": {"a": "b"}}}, content=MERGE)
    assert labelled["metadata"]["generation"] == 1
    status = http.ok("PATCH", f"{path}/status", {"status": {"replicas": 1}, "spec": {"replicas": 9}}, content=MERGE)
    assert (status["metadata"]["generation"], status["spec"]["replicas"], status["status"]["replicas"]) == (1, 1, 1)
    scaled = http.ok("PATCH", path, {"spec": {"replicas": 2}, "status": {"replicas": 7}}, content=MERGE)
    assert (scaled["metadata"]["generation"], scaled["status"]["replicas"]) == (2, 1)


def test_status_writes_are_owned_under_the_subresource(http: Http) -> None:
    http.ok("POST", DEPLOYMENTS, _deployment("owned"))
    http.ok("PATCH", f"{DEPLOYMENTS}/owned/status", {"status": {"replicas": 1}}, content=MERGE)
    entries = http.ok("GET", f"{DEPLOYMENTS}/owned")["metadata"]["managedFields"]
    assert [e.get("subresource") for e in entries] == [None, "status"]


def test_patches_of_each_kind_and_what_they_refuse(http: Http) -> None:
    http.ok("POST", DEPLOYMENTS, _deployment("patched"))
    path = f"{DEPLOYMENTS}/patched"
    strategic = {"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "busybox"}]}}}}
    both = http.ok("PATCH", path, strategic, content=STRATEGIC)["spec"]["template"]["spec"]["containers"]
    assert [c["name"] for c in both] == ["main", "side"]
    operations = [
        {"op": "test", "path": "/spec/replicas", "value": 1},
        {"op": "replace", "path": "/spec/replicas", "value": 4},
    ]
    assert http.ok("PATCH", path, operations, content=JSON_PATCH)["spec"]["replicas"] == 4
    assert _refusal(http, "PATCH", path, operations, content=JSON_PATCH)[0] == 422
    assert _refusal(http, "PATCH", path, {}, content="application/json")[0] == 415
    assert _refusal(http, "PATCH", f"{DEPLOYMENTS}/none", {}, content=MERGE)[0] == 404
    refused = _refusal(http, "PATCH", path, {"spec": {"selector": {"matchLabels": {"app": "x"}}}}, content=MERGE)
    assert "field is immutable" in refused[2]


def test_calico_kinds_take_no_strategic_patch(http: Http) -> None:
    refused = http("PATCH", "/apis/projectcalico.org/v3/tiers/default", {}, content=STRATEGIC)
    assert refused.status == 415


def test_server_side_apply_owns_conflicts_and_gives_up(http: Http) -> None:
    path = f"{MAPS}/ssa"

    def apply(manager: str, *, force: str = "false", **data: str) -> Any:
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ssa"}, "data": data}
        return http("PATCH", path, body, content=APPLY, query={"fieldManager": manager, "force": force})

    assert apply("one", a="1", b="1").status == 201
    assert apply("two", c="1").status == 200
    refused = apply("two", a="2", b="2", c="1")
    assert refused.status == 409
    causes = refused.json["details"]["causes"]
    assert [(c["reason"], c["field"], c["message"]) for c in causes] == [
        ("FieldManagerConflict", ".data.a", 'conflict with "one"'),
        ("FieldManagerConflict", ".data.b", 'conflict with "one"'),
    ]
    assert refused.json["message"].startswith('Apply failed with 2 conflicts: conflict with "one":')
    assert apply("two", force="true", a="2", c="1").json["data"] == {"a": "2", "b": "1", "c": "1"}
    assert apply("one", b="1").json["data"] == {"a": "2", "b": "1", "c": "1"}, "one no longer owns a"
    assert apply("one").json["data"] == {"a": "2", "c": "1"}, "what only one owned is gone"
    before = http.ok("GET", path)["metadata"]["resourceVersion"]
    assert apply("two", a="2", c="1").json["metadata"]["resourceVersion"] == before
    nobody = http("PATCH", path, {"apiVersion": "v1", "kind": "ConfigMap"}, content=APPLY)
    assert nobody.status == 422


def test_dry_run_checks_everything_and_stores_nothing(http: Http) -> None:
    dry = {"dryRun": "All"}
    made = http("POST", MAPS, config_map("dry"), query=dry)
    assert made.status == 201
    assert http("GET", f"{MAPS}/dry").status == 404
    assert _refusal(http, "POST", MAPS, {"metadata": {"name": "A"}}, query=dry)[0] == 422
    assert _refusal(http, "POST", MAPS, config_map("dry"), query={"dryRun": "Some"})[0] == 422
    http.ok("POST", MAPS, config_map("dry"))
    http.ok("DELETE", f"{MAPS}/dry", query=dry)
    assert http("GET", f"{MAPS}/dry").status == 200


def test_deletion_honours_preconditions(http: Http) -> None:
    made = http.ok("POST", MAPS, config_map("guarded"))
    wrong = {"preconditions": {"uid": "not-this-one"}}
    assert _refusal(http, "DELETE", f"{MAPS}/guarded", wrong)[:2] == (409, "Conflict")
    right = {"preconditions": {"uid": made["metadata"]["uid"], "resourceVersion": made["metadata"]["resourceVersion"]}}
    status = http.ok("DELETE", f"{MAPS}/guarded", right)
    assert status["status"] == "Success"
    assert status["details"] == {"name": "guarded", "kind": "configmaps", "uid": made["metadata"]["uid"]}


def test_finalizers_keep_an_object_until_the_last_is_gone(http: Http) -> None:
    body = config_map("held")
    body["metadata"]["finalizers"] = ["example.com/a"]
    http.ok("POST", MAPS, body)
    version = http.ok("GET", MAPS)["metadata"]["resourceVersion"]
    with http.watch(MAPS, resourceVersion=version) as events:
        marked = http.ok("DELETE", f"{MAPS}/held")
        assert marked["metadata"]["deletionTimestamp"]
        more = {"metadata": {"finalizers": ["example.com/a", "example.com/b"]}}
        refused = _refusal(http, "PATCH", f"{MAPS}/held", more, content=MERGE)
        assert "no new finalizers can be added" in refused[2]
        http.ok("PATCH", f"{MAPS}/held", {"metadata": {"finalizers": None}}, content=MERGE)
        assert [next(events)["type"] for _ in range(2)] == ["MODIFIED", "DELETED"]
    assert http("GET", f"{MAPS}/held").status == 404


def test_propagation_policies_become_finalizers_for_the_garbage_collector(http: Http) -> None:
    for policy, finalizer, code in (("Foreground", "foregroundDeletion", 202), ("Orphan", "orphan", 200)):
        name = policy.lower()
        http.ok("POST", DEPLOYMENTS, _deployment(name))
        answer = http("DELETE", f"{DEPLOYMENTS}/{name}", {"propagationPolicy": policy})
        assert answer.status == code
        assert answer.json["metadata"]["finalizers"] == [finalizer]
        http.ok("PATCH", f"{DEPLOYMENTS}/{name}", {"metadata": {"finalizers": []}}, content=MERGE)
        assert http("GET", f"{DEPLOYMENTS}/{name}").status == 404


def test_a_bound_pod_ends_gracefully_and_the_kubelet_finishes(http: Http) -> None:
    http.ok("POST", PODS, pod("graceful", nodeName="n1", terminationGracePeriodSeconds=20))
    marked = http.ok("DELETE", f"{PODS}/graceful")
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 20
    shorter = http.ok("DELETE", f"{PODS}/graceful", {"gracePeriodSeconds": 5})
    assert shorter["metadata"]["deletionGracePeriodSeconds"] == 5
    longer = http.ok("DELETE", f"{PODS}/graceful", {"gracePeriodSeconds": 60})
    assert longer["metadata"]["deletionGracePeriodSeconds"] == 5
    http.ok("DELETE", f"{PODS}/graceful", {"gracePeriodSeconds": 0})
    assert http("GET", f"{PODS}/graceful").status == 404
    http.ok("POST", PODS, pod("unbound"))
    http.ok("DELETE", f"{PODS}/unbound")
    assert http("GET", f"{PODS}/unbound").status == 404


def test_a_pod_is_bound_once(http: Http) -> None:
    http.ok("POST", PODS, pod("b"))
    binding = {"metadata": {"name": "b"}, "target": {"kind": "Node", "name": "n1"}}
    assert http("POST", f"{PODS}/b/binding", binding).status == 201
    bound = http.ok("GET", f"{PODS}/b")
    assert bound["spec"]["nodeName"] == "n1"
    assert [(c["type"], c["status"]) for c in bound["status"]["conditions"]] == [("PodScheduled", "True")]
    assert _refusal(http, "POST", f"{PODS}/b/binding", binding)[:2] == (409, "Conflict")


def test_pods_get_defaults_and_a_token_volume(http: Http) -> None:
    made = http.ok("POST", PODS, pod("defaults"))
    spec = made["spec"]
    assert (spec["serviceAccountName"], spec["restartPolicy"], spec["terminationGracePeriodSeconds"]) == (
        "default",
        "Always",
        30,
    )
    mounts = [m["mountPath"] for m in spec["containers"][0]["volumeMounts"]]
    assert mounts == ["/var/run/secrets/kubernetes.io/serviceaccount"]
    assert spec["volumes"][0]["projected"]["sources"][0] == {
        "serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}
    }
    assert made["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    refused = _refusal(http, "POST", PODS, pod("nobody", serviceAccountName="missing"))
    assert refused[:2] == (403, "Forbidden")
    assert 'serviceaccount "missing" not found' in refused[2]


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"containers": []}, "spec.containers"),
        ({"containers": [{"name": "a"}]}, "spec.containers[0].image"),
        ({"containers": [{"name": "A", "image": "x"}]}, "spec.containers[0].name"),
        ({"containers": [{"name": "a", "image": "x"}, {"name": "a", "image": "x"}]}, "spec.containers[1].name"),
        (
            {"containers": [{"name": "a", "image": "x", "ports": [{"containerPort": 0}]}]},
            "spec.containers[0].ports[0].containerPort",
        ),
        (
            {"containers": [{"name": "a", "image": "x", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]},
            "spec.containers[0].volumeMounts[0].name",
        ),
        ({"restartPolicy": "Perhaps"}, "spec.restartPolicy"),
    ],
)  # fmt: skip
def test_bad_pods_name_the_field(http: Http, spec: dict, field: str) -> None:
    answer = http("POST", PODS, pod("bad", **spec))
    assert answer.status == 422
    assert field in [c["field"] for c in answer.json["details"]["causes"]]


def test_a_pods_spec_is_fixed_except_for_images(http: Http) -> None:
    http.ok("POST", PODS, pod("fixed"))
    http.ok("PATCH", f"{PODS}/fixed", {"spec": {"containers": [{"name": "main", "image": "other"}]}}, content=STRATEGIC)
    refused = _refusal(http, "PATCH", f"{PODS}/fixed", {"spec": {"hostNetwork": True}}, content=MERGE)
    assert "pod updates may not change fields other than" in refused[2]


def test_services_get_addresses_and_ports_that_nobody_else_has(http: Http) -> None:
    made = [
        http.ok(
            "POST", SERVICES, {"metadata": {"name": f"s{n}"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}}
        )
        for n in range(5)
    ]
    assert len({s["spec"]["clusterIP"] for s in made}) == 5
    assert len({s["spec"]["ports"][0]["nodePort"] for s in made}) == 5
    spec = made[0]["spec"]
    assert spec["clusterIPs"] == [spec["clusterIP"]]
    assert spec["ports"][0]["targetPort"] == 80
    taken = {"metadata": {"name": "taken"}, "spec": {"clusterIP": spec["clusterIP"], "ports": [{"port": 80}]}}
    assert "provided IP is already allocated" in _refusal(http, "POST", SERVICES, taken)[2]
    http.ok("DELETE", f"{SERVICES}/s0")
    assert http.ok("POST", SERVICES, taken)["spec"]["clusterIP"] == spec["clusterIP"], "a freed address is free"


def test_an_update_keeps_the_service_address_it_does_not_mention(http: Http) -> None:
    body = {"metadata": {"name": "kept"}, "spec": {"ports": [{"port": 80}]}}
    made = http.ok("POST", SERVICES, body)
    again = http.ok("PUT", f"{SERVICES}/kept", {**body, "spec": {"ports": [{"port": 81}]}})
    assert again["spec"]["clusterIP"] == made["spec"]["clusterIP"]
    changed = {"spec": {"clusterIP": "10.96.9.9", "clusterIPs": ["10.96.9.9"]}}
    assert "may not change once set" in _refusal(http, "PATCH", f"{SERVICES}/kept", changed, content=MERGE)[2]


def test_headless_and_external_services_have_no_address(http: Http) -> None:
    headless = http.ok(
        "POST", SERVICES, {"metadata": {"name": "headless"}, "spec": {"clusterIP": "None", "selector": {"a": "b"}}}
    )
    assert headless["spec"]["clusterIPs"] == ["None"]
    outside = {"metadata": {"name": "ext"}, "spec": {"type": "ExternalName", "externalName": "example.com"}}
    assert "clusterIP" not in http.ok("POST", SERVICES, outside)["spec"]


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"ports": [{"port": 70000}]}, "spec.ports[0].port"),
        ({"ports": [{"port": 80}, {"port": 81}]}, "spec.ports[0].name"),
        ({"type": "Magic", "ports": [{"port": 80}]}, "spec.type"),
        ({"ports": [{"port": 80, "protocol": "ICMP"}]}, "spec.ports[0].protocol"),
        ({}, "spec.ports"),
        ({"ports": [{"port": 80}], "ipFamilies": ["IPv6"]}, "spec.ipFamilies[0]"),
        ({"clusterIP": "192.0.2.1", "ports": [{"port": 80}]}, "spec.clusterIPs"),
    ],
)
def test_bad_services_name_the_field(http: Http, spec: dict, field: str) -> None:
    answer = http("POST", SERVICES, {"metadata": {"name": "bad"}, "spec": spec})
    assert answer.status == 422, answer.data
    assert field in [c["field"] for c in answer.json["details"]["causes"]]


def test_network_policies_get_types_and_protocols(http: Http) -> None:
    spec = {"podSelector": {}, "egress": [{"ports": [{"port": 53}]}]}
    made = http.ok("POST", POLICIES, {"metadata": {"name": "p"}, "spec": spec})["spec"]
    assert made["policyTypes"] == ["Ingress", "Egress"]
    assert made["egress"][0]["ports"] == [{"port": 53, "protocol": "TCP"}]


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        ({"ports": [{"port": 70000}]}, "spec.ingress[0].ports[0].port"),
        ({"ports": [{"port": 80, "endPort": 70}]}, "spec.ingress[0].ports[0].endPort"),
        ({"ports": [{"port": "http", "endPort": 70}]}, "spec.ingress[0].ports[0].endPort"),
        ({"ports": [{"endPort": 70}]}, "spec.ingress[0].ports[0].port"),
        ({"from": [{}]}, "spec.ingress[0].from[0]"),
        ({"from": [{"ipBlock": {"cidr": "10.0.0.0"}}]}, "spec.ingress[0].from[0].ipBlock.cidr"),
        (
            {"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}}]},
            "spec.ingress[0].from[0].ipBlock.except[0]",
        ),
        ({"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}]}, "spec.ingress[0].from[0]"),
        (
            {"from": [{"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}]},
            "spec.ingress[0].from[0].podSelector.matchExpressions[0].values",
        ),
    ],
)  # fmt: skip
def test_bad_network_policies_name_the_field(http: Http, rule: dict, field: str) -> None:
    answer = http("POST", POLICIES, {"metadata": {"name": "bad"}, "spec": {"podSelector": {}, "ingress": [rule]}})
    assert answer.status == 422
    assert field in [c["field"] for c in answer.json["details"]["causes"]]


def test_scale_reads_and_writes_replicas(http: Http) -> None:
    http.ok("POST", DEPLOYMENTS, _deployment("scaled"))
    scale = http.ok("GET", f"{DEPLOYMENTS}/scaled/scale")
    assert (scale["kind"], scale["spec"]["replicas"], scale["status"]["selector"]) == ("Scale", 1, "app=scaled")
    scale["spec"]["replicas"] = 0
    assert http.ok("PUT", f"{DEPLOYMENTS}/scaled/scale", scale)["spec"]["replicas"] == 0
    assert http.ok("GET", f"{DEPLOYMENTS}/scaled")["spec"]["replicas"] == 0
    assert _refusal(http, "PUT", f"{DEPLOYMENTS}/scaled/scale", scale)[0] == 409


def test_events_are_the_same_in_both_groups(http: Http) -> None:
    body = {
        "metadata": {"name": "ev"},
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
        "message": "m",
    }
    http.ok("POST", "/api/v1/namespaces/default/events", body)
    new = http.ok("GET", "/apis/events.k8s.io/v1/namespaces/default/events/ev")
    assert (new["note"], new["regarding"]["name"], new["apiVersion"]) == ("m", "p", "events.k8s.io/v1")


def test_lease_times_keep_their_microseconds(http: Http) -> None:
    leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
    spec = {"holderIdentity": "me", "renewTime": "2026-01-01T00:00:00.123456Z", "leaseDurationSeconds": 15}
    assert http.ok("POST", leases, {"metadata": {"name": "l"}, "spec": spec})["spec"] == spec


def test_eviction_respects_a_budget(http: Http) -> None:
    running = pod("evicted", nodeName="n1")
    http.ok("POST", PODS, running)
    http.ok("PATCH", f"{PODS}/evicted/status", {"status": {"phase": "Running"}}, content=MERGE)
    budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "evicted"}}}
    http.ok("POST", budgets, {"metadata": {"name": "b"}, "spec": spec})
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "evicted"}}
    refused = http("POST", f"{PODS}/evicted/eviction", eviction)
    assert refused.status == 429
    assert refused.headers["Retry-After"] == "10"
    http.ok("PATCH", f"{budgets}/b/status", {"status": {"disruptionsAllowed": 1}}, content=MERGE)
    assert http("POST", f"{PODS}/evicted/eviction", eviction).status == 201
    assert http.ok("GET", f"{PODS}/evicted")["metadata"]["deletionTimestamp"]
