"""ResourceQuotas, LimitRanges, and the arithmetic of quantities. Their wording is Kubernetes' documentation's."""

import threading
from fractions import Fraction
from typing import Any

import pytest
from apiserver_http import MERGE, Http, pod
from hypothesis import given
from hypothesis import strategies as st
from tools import ApiServer

from tortie.apiserver.quantity import Quantity, parse


@pytest.fixture(scope="module")
def http(shared_api_server: ApiServer) -> Http:
    return Http(shared_api_server)


def space(http: Http, name: str) -> str:
    http.ok("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    return f"/api/v1/namespaces/{name}"


def quota(http: Http, at: str, name: str = "bound", **spec: Any) -> None:
    http.ok("POST", f"{at}/resourcequotas", {"metadata": {"name": name}, "spec": spec})


def until(http: Http, path: str, used: dict[str, str]) -> None:
    """Waits until the status of a quota says so."""
    with http.watch(path.rpartition("/")[0], fieldSelector=f"metadata.name={path.rpartition('/')[2]}") as events:
        for event in events:
            if {k: event["object"].get("status", {}).get("used", {}).get(k) for k in used} == used:
                return
    raise AssertionError(f"{path} never said {used}")


def sized(name: str, **resources: Any) -> dict[str, Any]:
    made = pod(name)
    made["spec"]["containers"][0]["resources"] = resources
    return made


@pytest.mark.parametrize(
    ("text", "value", "shown"),
    [
        ("500m", "1/2", "500m"), ("0.5", "1/2", "500m"), ("1e3", "1000", "1k"), ("1Gi", str(2**30), "1Gi"),
        ("1.5Gi", str(3 * 2**29), "1536Mi"), ("128974848", "128974848", "128974848"), ("0", "0", "0"),
        ("1000", "1000", "1k"), ("100M", "100000000", "100M"), ("2E", str(2 * 10**18), "2E"), ("1u", "1/1000000", "1u"),
    ],
)  # fmt: skip
def test_quantities_are_exact_and_shown_canonically(text: str, value: str, shown: str) -> None:
    assert parse(text).value == Fraction(value)
    assert str(parse(text)) == shown


@pytest.mark.parametrize("text", ["", "x", "1 Gi", "1gi", "--1", "1.2.3", "0x1", "1eE3", True])
def test_what_is_not_a_quantity_is_refused(text: Any) -> None:
    with pytest.raises(ValueError, match="not a quantity"):
        parse(text)


@given(st.fractions(min_value=0, max_value=10**15, max_denominator=1000).filter(lambda f: 1000 % f.denominator == 0),
       st.booleans())  # fmt: skip
def test_quantities_survive_being_written_and_read(value: Fraction, binary: bool) -> None:
    assert parse(str(Quantity(value, binary))).value == value


def test_a_quota_counts_objects_and_refuses_one_too_many(http: Http) -> None:
    at = space(http, "counted")
    quota(
        http,
        at,
        hard={"configmaps": "3", "count/secrets": "1", "services.nodeports": "1", "count/deployments.apps": "0"},
    )
    until(http, f"{at}/resourcequotas/bound", {"configmaps": "1", "count/secrets": "0"})  # kube-root-ca.crt
    for name in ("a", "b"):
        http.ok("POST", f"{at}/configmaps", {"metadata": {"name": name}})
    answer = http("POST", f"{at}/configmaps", {"metadata": {"name": "c"}})
    assert answer.status == 403
    assert answer.json["message"] == (
        'configmaps "c" is forbidden: exceeded quota: bound, requested: configmaps=1, used: configmaps=3, '
        "limited: configmaps=3"
    )
    until(http, f"{at}/resourcequotas/bound", {"configmaps": "3"})
    http.ok("DELETE", f"{at}/configmaps/a")
    until(http, f"{at}/resourcequotas/bound", {"configmaps": "2"})
    http.ok("POST", f"{at}/configmaps", {"metadata": {"name": "c"}})
    http.ok("POST", f"{at}/secrets", {"metadata": {"name": "s"}}, query={"dryRun": "All"})
    http.ok("POST", f"{at}/secrets", {"metadata": {"name": "s"}})
    assert http("POST", f"{at}/secrets", {"metadata": {"name": "t"}}).status == 403
    service = {"metadata": {"name": "n"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}}
    http.ok("POST", f"{at}/services", service)
    plain = {"metadata": {"name": "m"}, "spec": {"ports": [{"port": 80}]}}
    http.ok("POST", f"{at}/services", plain)
    answer = http("PATCH", f"{at}/services/m", {"spec": {"type": "NodePort"}}, content=MERGE)
    assert answer.status == 403 and "services.nodeports=1" in answer.json["message"]


def test_many_writers_at_once_do_not_slip_past_a_quota(http: Http) -> None:
    at = space(http, "raced")
    quota(http, at, hard={"configmaps": "11"})
    codes: list[int] = []

    def write(number: int) -> None:
        codes.append(http("POST", f"{at}/configmaps", {"metadata": {"name": f"m{number}"}}).status)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (codes.count(201), codes.count(403)) == (10, 20)
    until(http, f"{at}/resourcequotas/bound", {"configmaps": "11"})


def test_a_quota_sums_what_pods_ask_for_and_wants_it_stated(http: Http) -> None:
    at = space(http, "summed")
    quota(http, at, hard={"requests.cpu": "1", "limits.memory": "1Gi", "pods": "2"})
    answer = http("POST", f"{at}/pods", sized("vague", requests={"cpu": "1"}))
    assert answer.status == 403
    assert answer.json["message"] == (
        'pods "vague" is forbidden: failed quota: bound: must specify limits.memory for: main'
    )
    http.ok("POST", f"{at}/pods", sized("one", requests={"cpu": "600m"}, limits={"memory": "300Mi"}))
    answer = http("POST", f"{at}/pods", sized("two", requests={"cpu": "500m"}, limits={"memory": "300Mi"}))
    assert answer.json["message"] == (
        'pods "two" is forbidden: exceeded quota: bound, requested: requests.cpu=500m, used: requests.cpu=600m, '
        "limited: requests.cpu=1"
    )
    until(http, f"{at}/resourcequotas/bound", {"requests.cpu": "600m", "limits.memory": "300Mi", "pods": "1"})
    http.ok("PATCH", f"{at}/pods/one/status", {"status": {"phase": "Succeeded"}}, content=MERGE)
    until(http, f"{at}/resourcequotas/bound", {"requests.cpu": "0", "limits.memory": "0", "pods": "0"})
    http.ok("POST", f"{at}/pods", sized("two", requests={"cpu": "1"}, limits={"memory": "300Mi"}))


def test_scopes_choose_the_pods_that_a_quota_is_about(http: Http) -> None:
    at = space(http, "scoped")
    quota(http, at, "effortless", hard={"pods": "1"}, scopes=["BestEffort"])
    quota(http, at, "timed", hard={"pods": "0"}, scopes=["Terminating"])
    http.ok("POST", f"{at}/pods", pod("a"))
    assert "effortless" in http("POST", f"{at}/pods", pod("b")).json["message"]
    http.ok("POST", f"{at}/pods", sized("c", requests={"cpu": "1m"}))
    answer = http(
        "POST",
        f"{at}/pods",
        {**pod("d"), "spec": {**sized("d", requests={"cpu": "1"})["spec"], "activeDeadlineSeconds": 5}},
    )
    assert "timed" in answer.json["message"]


def test_a_limit_range_gives_defaults_and_bounds(http: Http) -> None:
    at = space(http, "limited")
    limits = [
        {"type": "Container", "min": {"cpu": "100m"}, "max": {"cpu": "800m"}, "default": {"memory": "512Mi"},
         "maxLimitRequestRatio": {"cpu": "4"}},
        {"type": "Pod", "max": {"cpu": "1"}},
        {"type": "PersistentVolumeClaim", "max": {"storage": "2Gi"}},
    ]  # fmt: skip
    made = http.ok("POST", f"{at}/limitranges", {"metadata": {"name": "range"}, "spec": {"limits": limits}})
    assert made["spec"]["limits"][0]["default"] == {"memory": "512Mi", "cpu": "800m"}
    assert made["spec"]["limits"][0]["defaultRequest"] == {"memory": "512Mi", "cpu": "800m"}
    default = http.ok("POST", f"{at}/pods", pod("default"))
    assert default["spec"]["containers"][0]["resources"] == {
        "limits": {"memory": "512Mi", "cpu": "800m"}, "requests": {"memory": "512Mi", "cpu": "800m"},
    }  # fmt: skip
    assert default["status"]["qosClass"] == "Guaranteed"
    assert default["metadata"]["annotations"]["kubernetes.io/limit-ranger"].startswith("LimitRanger plugin set:")
    answer = http("POST", f"{at}/pods", sized("large", limits={"cpu": "1500m"}, requests={"cpu": "500m"}))
    assert answer.status == 403
    assert "maximum cpu usage per Container is 800m, but limit is 1500m" in answer.json["message"]
    assert "maximum cpu usage per Pod is 1, but limit is 1500m" in answer.json["message"]
    answer = http("POST", f"{at}/pods", sized("small", limits={"cpu": "800m"}, requests={"cpu": "50m"}))
    assert "minimum cpu usage per Container is 100m, but request is 50m" in answer.json["message"]
    assert "cpu max limit to request ratio per Container is 4, but provided ratio is 16" in answer.json["message"]
    claim = {
        "metadata": {"name": "c"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "3Gi"}}},
    }
    answer = http("POST", f"{at}/persistentvolumeclaims", claim)
    assert "maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi" in answer.json["message"]


@pytest.mark.parametrize(
    ("plural", "spec", "field"),
    [
        ("limitranges", {"limits": [{"type": "Node"}]}, "spec.limits[0].type"),
        ("limitranges", {"limits": [{"type": "Pod", "default": {"cpu": "1"}}]}, "spec.limits[0].default"),
        ("limitranges", {"limits": [{"type": "Container", "min": {"cpu": "2"}, "max": {"cpu": "1"}}]},
         "spec.limits[0].min[cpu]"),
        ("limitranges", {"limits": [{"type": "Container", "max": {"cpu": "lots"}}]}, "spec.limits[0].max[cpu]"),
        ("limitranges", {"limits": [{"type": "Container", "maxLimitRequestRatio": {"cpu": "500m"}}]},
         "spec.limits[0].maxLimitRequestRatio[cpu]"),
        ("limitranges", {"limits": [{"type": "PersistentVolumeClaim"}]}, "spec.limits[0].limits"),
        ("resourcequotas", {"hard": {"pods": "-1"}}, "spec.hard[pods]"),
        ("resourcequotas", {"scopes": ["Sometimes"]}, "spec.scopes[0]"),
        ("resourcequotas", {"scopes": ["Terminating", "NotTerminating"]}, "spec.scopes"),
        ("resourcequotas", {"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In"}]}},
         "spec.scopeSelector.matchExpressions[0].values"),
    ],
)  # fmt: skip
def test_a_wrong_bound_is_refused_with_the_field(http: Http, plural: str, spec: Any, field: str) -> None:
    answer = http("POST", f"/api/v1/namespaces/default/{plural}", {"metadata": {"name": "wrong"}, "spec": spec})
    assert answer.status == 422, answer.data
    assert field in [c["field"] for c in answer.json["details"]["causes"]]
