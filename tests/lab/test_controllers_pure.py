"""The pure parts of the controllers: rollouts, fitting, neighbours, Jobs' counts, cron schedules."""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tortie.lab.controllers.affinity import excluded, rejection
from tortie.lab.controllers.daemons import daemon_pod, runs_on, target_of
from tortie.lab.controllers.fitting import preference, refusal, seconds_tolerated
from tortie.lab.controllers.placement import Placement
from tortie.lab.controllers.rollout import Limits, Size, limits, roll, template_hash
from tortie.lab.controllers.tracking import FINALIZER, format_indexes, parse_indexes, tally
from tortie.model import cronexpr

# --- rollouts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("replicas", "rolling", "expected"),
    [
        (4, {}, Limits(1, 1)),
        (10, {"maxSurge": "25%", "maxUnavailable": "25%"}, Limits(3, 2)),
        (1, {}, Limits(1, 0)),
        (3, {"maxSurge": 0, "maxUnavailable": 0}, Limits(0, 1)),
        (3, {"maxSurge": 0, "maxUnavailable": "10%"}, Limits(0, 1)),
        (3, {"maxSurge": 2, "maxUnavailable": 0}, Limits(2, 0)),
    ],
)
def test_percentages_round_surge_up_and_unavailability_down(replicas: int, rolling: Any, expected: Limits) -> None:
    spec = {"replicas": replicas, "strategy": {"rollingUpdate": rolling}}
    assert limits({"spec": spec}) == expected


@given(
    st.integers(0, 8),
    st.integers(0, 4),
    st.integers(0, 4),
    st.lists(st.integers(0, 4), max_size=3),
    st.randoms(use_true_random=False),
)
def test_a_rolling_update_ends_and_never_breaks_its_promises(
    wanted: int, surge: int, unavailable: int, olds: list[int], random: Any
) -> None:
    """Whatever the order in which pods become available."""
    bounds = Limits(surge, unavailable if surge or unavailable else 1)
    new, available_new = 0, 0
    old = list(olds)
    available_old = list(olds)
    start = sum(old)
    for _ in range(200):
        before = available_new + sum(available_old)
        new, old = roll(
            wanted, bounds, Size(new, available_new), [Size(o, a) for o, a in zip(old, available_old, strict=True)]
        )
        assert 0 <= new <= wanted
        assert new + sum(old) <= max(wanted + bounds.surge, start)
        available_old = [min(a, o) for a, o in zip(available_old, old, strict=True)]
        available_new = min(available_new, new)
        after = available_new + sum(available_old)
        assert after >= min(before, wanted - bounds.unavailable)
        if random.random() < 0.7:
            available_new = min(new, available_new + random.randint(0, 2))
    assert (new, sum(old)) == (wanted, 0)


def test_broken_old_pods_go_before_any_new_one_is_ready() -> None:
    assert roll(3, Limits(1, 0), Size(1, 0), [Size(3, 3)]) == (1, [3])
    assert roll(3, Limits(1, 0), Size(1, 0), [Size(3, 1)])[1] == [3]
    assert roll(4, Limits(1, 1), Size(1, 0), [Size(4, 2)])[1] == [3]


def test_hashes_depend_on_the_whole_template_but_not_on_the_order_of_its_keys() -> None:
    assert template_hash({"a": 1, "b": 2}) == template_hash({"b": 2, "a": 1})
    assert template_hash({"a": 1}) != template_hash({"a": 2})
    assert len(template_hash({})) == 10


# --- fitting ---------------------------------------------------------------------------------------------------


def node(name: str = "n", *, ready: bool = True, labels: Any = None, **spec: Any) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": str(ready)}]
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
        "spec": spec,
        "status": {"conditions": conditions},
    }


def pod(name: str = "p", *, app: str = "x", owner: str = "", namespace: str = "ns", **spec: Any) -> dict[str, Any]:
    owners = [{"uid": owner, "controller": True, "kind": "ReplicaSet", "name": owner}] if owner else []
    metadata = {"name": name, "namespace": namespace, "labels": {"app": app}, "ownerReferences": owners}
    return {"metadata": metadata, "spec": {"containers": [], **spec}}


TAINT = {"key": "k", "value": "v", "effect": "NoSchedule"}


def term(*expressions: Any, **fields: Any) -> dict[str, Any]:
    terms = {"nodeSelectorTerms": [{"matchExpressions": list(expressions), **fields}]}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}


def has(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"key": key, "operator": operator, "values": list(values)}


@pytest.mark.parametrize(
    ("spec", "at", "fits"),
    [
        ({}, node(), True),
        ({}, node(ready=False), False),
        ({"tolerations": [{"operator": "Exists"}]}, node(ready=False), True),
        ({}, node(unschedulable=True), False),
        ({"nodeSelector": {"a": "b"}}, node(), False),
        ({"nodeSelector": {"a": "b"}}, node(labels={"a": "b"}), True),
        ({"nodeName": "other"}, node(), False),
        (term(has("a", "In", "b", "c")), node(labels={"a": "c"}), True),
        (term(has("a", "NotIn", "b")), node(), True),
        (term(has("a", "Exists")), node(), False),
        (term(has("a", "DoesNotExist")), node(), True),
        (term(has("n", "Gt", "3")), node(labels={"n": "4"}), True),
        (term(has("n", "Lt", "3")), node(labels={"n": "4"}), False),
        (term(matchFields=[has("metadata.name", "In", "n")]), node(), True),
        (term(matchFields=[has("metadata.name", "In", "m")]), node(), False),
        (term(), node(), False),
        ({}, node(taints=[TAINT]), False),
        ({"tolerations": [{"key": "k", "value": "v"}]}, node(taints=[TAINT]), True),
        ({"tolerations": [{"key": "k", "operator": "Exists", "effect": "NoSchedule"}]}, node(taints=[TAINT]), True),
        ({"tolerations": [{"key": "k", "value": "other"}]}, node(taints=[TAINT]), False),
        ({"tolerations": [{"key": "k", "operator": "Exists", "effect": "NoExecute"}]}, node(taints=[TAINT]), False),
        ({}, node(taints=[{**TAINT, "effect": "PreferNoSchedule"}]), True),
    ],
    ids=str,
)
def test_a_pod_fits_a_node_or_not(spec: Any, at: Any, fits: bool) -> None:
    assert (refusal(pod(**spec), at) == "") is fits


def test_preferences_add_up_and_soft_taints_count_against_a_node() -> None:
    preferred = [
        {"weight": 5, "preference": {"matchExpressions": [has("a", "Exists")]}},
        {"weight": 3, "preference": {"matchExpressions": [has("b", "Exists")]}},
    ]
    spec = {"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}}
    assert preference(spec, node(labels={"a": "", "b": ""})) == 8
    assert preference(spec, node(labels={"b": ""}, taints=[{**TAINT, "effect": "PreferNoSchedule"}])) == -97


def test_how_long_a_running_pod_bears_a_taint() -> None:
    taint = {"key": "k", "effect": "NoExecute"}
    assert seconds_tolerated({}, taint) == 0.0
    assert seconds_tolerated({"tolerations": [{"key": "k", "operator": "Exists"}]}, taint) is None
    limited = {"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
    assert seconds_tolerated({"tolerations": [limited]}, taint) == 300.0


def test_a_daemons_pod_is_tied_to_its_node_and_tolerates_what_daemons_do() -> None:
    daemon = {
        "metadata": {"name": "agent", "namespace": "ns"},
        "spec": {"template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": []}}},
    }
    made = daemon_pod(daemon, {"uid": "u"}, "rev", "n")
    assert target_of(made) == "n"
    assert refusal(made, node("n", ready=False, unschedulable=True)) == ""
    assert refusal(made, node("m")) != ""
    assert runs_on(daemon, node("n", ready=False))
    assert not runs_on(daemon, node("n", taints=[TAINT]))


# --- neighbours ------------------------------------------------------------------------------------------------

HOST = "kubernetes.io/hostname"


def beside(app: str, *, kind: str = "podAffinity", key: str = HOST) -> dict[str, Any]:
    chosen = {"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": key}
    return {"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [chosen]}}}


def test_ports_of_the_node_belong_to_one_pod_each() -> None:
    spec = {"containers": [{"ports": [{"hostPort": 80, "containerPort": 8080}]}]}
    placed = [(pod("a", **spec), node("n"))]
    assert "free ports" in rejection(pod("b", **spec), node("n"), placed)
    assert rejection(pod("b", **spec), node("m"), placed) == ""


def test_affinity_joins_pods_and_lets_the_first_of_a_group_begin() -> None:
    placed = [(pod("a", app="db"), node("n"))]
    assert rejection(pod("b", app="web", **beside("db")), node("n"), placed) == ""
    assert "pod affinity" in rejection(pod("b", app="web", **beside("db")), node("m"), placed)
    assert rejection(pod("b", app="new", **beside("new")), node("m"), placed) == ""
    assert "pod affinity" in rejection(pod("b", app="web", namespace="other", **beside("db")), node("n"), placed)


def test_anti_affinity_binds_both_sides() -> None:
    lonely = beside("db", kind="podAntiAffinity")
    placed = [(pod("a", app="db"), node("n"))]
    assert "anti-affinity" in rejection(pod("b", **lonely), node("n"), placed)
    assert rejection(pod("b", **lonely), node("m"), placed) == ""
    assert "existing" in excluded(pod("b", app="db"), node("n"), [(pod("a", **lonely), node("n"))])
    assert excluded(pod("b", app="web"), node("n"), [(pod("a", **lonely), node("n"))]) == ""


def test_topology_spread_keeps_the_difference_small() -> None:
    constraint = {
        "maxSkew": 1,
        "topologyKey": "zone",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "x"}},
    }
    east, west = node("e", labels={"zone": "east"}), node("w", labels={"zone": "west"})
    placed = [(pod("a"), east), (pod("b", app="other"), west)]
    new = pod("c", topologySpreadConstraints=[constraint])
    assert "spread" in rejection(new, east, placed)
    assert rejection(new, west, placed) == ""
    assert "spread" in rejection(new, node("none"), placed)


def test_placement_counts_pods_and_siblings_and_forgets_those_that_end() -> None:
    placement = Placement()
    first, second = pod("a", owner="o"), pod("b", owner="o")
    placement.put(first, "n")
    placement.put(second, "n")
    placement.put(pod("c", **beside("x", kind="podAntiAffinity")), "m")
    assert (placement.count("n"), placement.siblings(first, "n"), placement.count("m")) == (2, 2, 1)
    assert len(placement.excluding()) == 1
    placement.put({**second, "status": {"phase": "Succeeded"}}, "n")
    assert (placement.count("n"), placement.siblings(first, "n")) == (1, 1)
    placement.drop(("ns", "a"))
    placement.drop(("ns", "c"))
    assert (placement.count("n"), placement.excluding(), list(placement.everywhere())) == (0, [], [])


# --- Jobs ------------------------------------------------------------------------------------------------------


def ended(uid: str, phase: str, *, finalizer: bool = True) -> dict[str, Any]:
    metadata = {"uid": uid, "name": uid, "namespace": "ns", "finalizers": [FINALIZER] if finalizer else []}
    return {"metadata": metadata, "status": {"phase": phase}, "spec": {}}


def test_every_end_is_counted_once() -> None:
    """Also when the status was stored and the finalizer was not yet taken off, or the pod is gone."""
    pods = [ended("a", "Succeeded"), ended("b", "Failed"), ended("c", "Running")]
    first = tally({"status": {}}, pods)
    assert (first.succeeded, first.failed, len(first.active), len(first.ended)) == (1, 1, 1, 2)
    stored = {"succeeded": 1, "failed": 1, "uncountedTerminatedPods": {"succeeded": ["a"], "failed": ["b"]}}
    again = tally({"status": stored}, [*pods, ended("d", "Succeeded")])
    assert (again.succeeded, again.failed, len(again.ended)) == (2, 1, 3)
    later = tally({"status": {"succeeded": 2, "failed": 1}}, [ended("a", "Succeeded", finalizer=False)])
    assert (later.succeeded, later.failed, later.ended) == (2, 1, [])


def test_a_pod_that_is_deleted_before_its_end_has_failed() -> None:
    going = ended("a", "Running")
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert tally({}, [going]).failed == 1


@given(st.sets(st.integers(0, 30)))
def test_completed_indexes_are_written_as_ranges_and_read_back(indexes: set[int]) -> None:
    assert parse_indexes(format_indexes(indexes)) == indexes


# --- cron ------------------------------------------------------------------------------------------------------


def after(text: str, moment: str, zone: str = "UTC") -> str:
    found = cronexpr.parse(text).next_after(datetime.fromisoformat(moment).replace(tzinfo=UTC), ZoneInfo(zone))
    assert found is not None
    return found.astimezone(UTC).strftime("%Y-%m-%d %H:%M")


@pytest.mark.parametrize(
    ("text", "moment", "expected"),
    [
        ("* * * * *", "2026-01-01 00:00:00", "2026-01-01 00:01"),
        ("*/15 * * * *", "2026-01-01 00:15:30", "2026-01-01 00:30"),
        ("5 4 * * *", "2026-01-01 04:05:00", "2026-01-02 04:05"),
        ("0 0 1 * *", "2026-01-31 12:00:00", "2026-02-01 00:00"),
        ("0 0 29 2 *", "2026-01-01 00:00:00", "2028-02-29 00:00"),
        ("0 9 * * mon-fri", "2026-01-02 10:00:00", "2026-01-05 09:00"),
        ("0 9 * * 7", "2026-01-01 00:00:00", "2026-01-04 09:00"),
        ("0 0 13 * fri", "2026-01-10 00:00:00", "2026-01-13 00:00"),
        ("0 12 * feb,nov *", "2026-03-01 00:00:00", "2026-11-01 12:00"),
        ("10-20/5 8 * * *", "2026-01-01 08:11:00", "2026-01-01 08:15"),
        ("3/20 * * * *", "2026-01-01 00:30:00", "2026-01-01 00:43"),
        ("@hourly", "2026-01-01 00:30:00", "2026-01-01 01:00"),
        ("@weekly", "2026-01-01 00:00:00", "2026-01-04 00:00"),
    ],
)
def test_a_schedule_is_due_next(text: str, moment: str, expected: str) -> None:
    assert after(text, moment) == expected


def test_schedules_follow_their_time_zone() -> None:
    assert after("0 9 * * *", "2026-01-01 00:00:00", "America/New_York") == "2026-01-01 14:00"
    assert after("0 9 * * *", "2026-07-01 00:00:00", "America/New_York") == "2026-07-01 13:00"


def test_of_many_missed_times_only_the_last_is_due() -> None:
    schedule = cronexpr.parse("30 * * * *")
    now = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
    assert schedule.latest(datetime(2026, 1, 1, tzinfo=UTC), now, UTC) == datetime(2026, 6, 1, 11, 30, tzinfo=UTC)
    assert schedule.latest(datetime(2026, 6, 1, 11, 30, tzinfo=UTC), now, UTC) is None
    yearly = cronexpr.parse("@yearly")
    assert yearly.latest(datetime(2025, 6, 1, tzinfo=UTC), now, UTC) == datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "a * * * *", "*/0 * * * *",
                                  "5-1 * * * *", "* * * * * *", "@never"])  # fmt: skip
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="schedule"):
        cronexpr.parse(text)
