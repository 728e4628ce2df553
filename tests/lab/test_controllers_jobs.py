"""Jobs and CronJobs on a cluster without machines. The pure parts are in test_controllers_pure.py."""

from collections.abc import Iterator
from typing import Any

import pytest
from controllers_world import Api, Cluster, cluster_in, template

from tortie.model.catalog import CRON_JOBS, JOBS, PODS


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster_in(tmp_path_factory.mktemp("cluster"), nodes=2) as running:
        yield running


def job(behaviour: str = "succeed", **fields: Any) -> dict[str, Any]:
    return {"template": template("job", behaviour=behaviour, restartPolicy="Never"), **fields}


async def ends(api: Api, namespace: str, name: str, type_: str) -> dict[str, Any]:
    """Waits for the Job's end; gives its status."""

    async def ended() -> Any:
        status = (await api.get(JOBS, namespace, name)).get("status", {})
        found = [c for c in status.get("conditions", ()) if c["type"] == type_ and c["status"] == "True"]
        return status if found else None

    status: dict[str, Any] = await api.eventually(ended)
    return status


async def test_a_job_runs_to_its_end(cluster: Cluster) -> None:
    async with cluster.client() as api:
        ns = await api.namespace("jobs")
        await api.create(JOBS, ns, "once", job())
        status = await ends(api, ns, "once", "Complete")
        assert status["succeeded"] == 1
        assert status["startTime"] <= status["completionTime"]
        assert not status.get("active")
        cluster.server.kubectl("-n", ns, "wait", "--for=condition=complete", "job/once", "--timeout=5s")
        pods = await api.pods(ns, 1, phase="Succeeded")

        async def released() -> bool:
            return not (await api.get(PODS, ns, pods[0]["metadata"]["name"]))["metadata"].get("finalizers")

        await api.eventually(released)
        assert await api.events(ns, "Completed")


async def test_a_job_runs_as_often_as_asked_and_no_more(cluster: Cluster) -> None:
    async with cluster.client() as api:
        ns = await api.namespace("many")
        await api.create(JOBS, ns, "many", job(completions=12, parallelism=4))
        status = await ends(api, ns, "many", "Complete")
        assert status["succeeded"] == 12
        assert len(await api.items(PODS, ns)) == 12


async def test_a_pod_that_is_removed_after_its_end_is_still_counted(cluster: Cluster) -> None:
    async with cluster.client() as api:
        ns = await api.namespace("removed")
        await api.create(JOBS, ns, "j", job(completions=3, parallelism=1))

        async def remove_the_ended() -> bool:
            for pod in await api.items(PODS, ns):
                if pod["status"].get("phase") == "Succeeded" and "deletionTimestamp" not in pod["metadata"]:
                    await api.client.delete(PODS, pod["metadata"]["name"], ns)
            return bool((await api.get(JOBS, ns, "j")).get("status", {}).get("completionTime"))

        await api.eventually(remove_the_ended)
        assert (await api.get(JOBS, ns, "j"))["status"]["succeeded"] == 3
        assert len(await api.events(ns, "SuccessfulCreate")) == 3


async def test_an_indexed_job_gives_every_index_once(cluster: Cluster) -> None:
    async with cluster.client() as api:
        ns = await api.namespace("indexed")
        await api.create(JOBS, ns, "i", job(completions=5, parallelism=2, completionMode="Indexed"))
        status = await ends(api, ns, "i", "Complete")
        assert status["completedIndexes"] == "0-4"
        pods = await api.items(PODS, ns)
        indexes = sorted(pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"] for pod in pods)
        assert indexes == ["0", "1", "2", "3", "4"]
        assert pods[0]["spec"]["hostname"].startswith("i-")


async def test_a_job_that_keeps_failing_ends_at_its_backoff_limit(cluster: Cluster) -> None:
    async with cluster.client() as api:
        ns = await api.namespace("failing")
        await api.create(JOBS, ns, "f", job("fail", backoffLimit=0))
        status = await ends(api, ns, "f", "Failed")
        assert status["failed"] == 1
        assert [c["reason"] for c in status["conditions"] if c["type"] == "Failed"] == ["BackoffLimitExceeded"]


async def test_a_job_ends_at_its_deadline_and_its_pods_with_it(cluster: Cluster) -> None:
    async with cluster.client() as api:
        ns = await api.namespace("deadline")
        await api.create(JOBS, ns, "d", job("run", activeDeadlineSeconds=1))
        status = await ends(api, ns, "d", "Failed")
        assert [c["reason"] for c in status["conditions"] if c["type"] == "Failed"] == ["DeadlineExceeded"]
        await api.pods(ns, 0)


async def test_a_suspended_job_waits_and_a_finished_one_can_remove_itself(cluster: Cluster) -> None:
    async with cluster.client() as api:
        ns = await api.namespace("suspended")
        await api.create(JOBS, ns, "s", job(suspend=True, ttlSecondsAfterFinished=1))

        async def suspended() -> bool:
            conditions = (await api.get(JOBS, ns, "s")).get("status", {}).get("conditions", ())
            return any(c["type"] == "Suspended" and c["status"] == "True" for c in conditions)

        await api.eventually(suspended)
        assert await api.items(PODS, ns) == []
        await api.patch(JOBS, ns, "s", {"spec": {"suspend": False}})
        await ends(api, ns, "s", "Complete")

        async def gone() -> bool:
            return await api.client.find(JOBS, "s", ns) is None and not await api.items(PODS, ns)

        await api.eventually(gone)


async def test_deleting_a_job_takes_its_pods_along(cluster: Cluster) -> None:
    async with cluster.client() as api:
        ns = await api.namespace("deleted")
        await api.create(JOBS, ns, "j", job("run", completions=2, parallelism=2))
        await api.pods(ns, 2)
        cluster.server.kubectl("-n", ns, "delete", "job", "j", "--wait=true")

        async def gone() -> bool:
            return not await api.items(PODS, ns)

        await api.eventually(gone)


async def test_counts_survive_the_controllers_death(cluster: Cluster) -> None:
    async with cluster.client() as api:
        ns = await api.namespace("crash")
        await api.create(JOBS, ns, "c", job(completions=30, parallelism=3))

        async def under_way() -> bool:
            return (await api.get(JOBS, ns, "c")).get("status", {}).get("succeeded", 0) > 3

        await api.eventually(under_way)
        cluster.kill("controllers")
        cluster.start_controllers()
        status = await ends(api, ns, "c", "Complete")
        assert status["succeeded"] == 30
        assert len(await api.items(PODS, ns)) == 30


async def test_a_cronjob_makes_the_job_that_is_due_once(cluster: Cluster) -> None:
    async with cluster.client() as api:
        ns = await api.namespace("cron")
        spec = {"schedule": "* * * * *", "jobTemplate": {"spec": job()}, "suspend": True}
        await api.create(CRON_JOBS, ns, "c", spec)
        # As if the last run had been a few minutes ago.
        past = {"status": {"lastScheduleTime": "2026-01-01T00:00:00Z"}}
        await api.client.patch(CRON_JOBS, "c", past, namespace=ns, subresource="status")
        assert await api.items(JOBS, ns) == []
        await api.patch(CRON_JOBS, ns, "c", {"spec": {"suspend": False}})
        made = await api.eventually(lambda: api.items(JOBS, ns))
        assert made[0]["metadata"]["ownerReferences"][0]["kind"] == "CronJob"
        await ends(api, ns, made[0]["metadata"]["name"], "Complete")

        async def recorded() -> bool:
            status = (await api.get(CRON_JOBS, ns, "c"))["status"]
            return bool(status.get("lastSuccessfulTime")) and not status.get("active")

        await api.eventually(recorded)
        assert (await api.get(CRON_JOBS, ns, "c"))["status"]["lastScheduleTime"] > "2026-01-01T00:00:00Z"
        assert len(await api.items(JOBS, ns)) <= 2  # a minute may have passed


async def test_a_bad_schedule_is_reported(cluster: Cluster) -> None:
    async with cluster.client() as api:
        ns = await api.namespace("badcron")
        await api.create(CRON_JOBS, ns, "c", {"schedule": "99 * * * *", "jobTemplate": {"spec": job()}})
        await api.eventually(lambda: api.events(ns, "UnparseableSchedule"))
