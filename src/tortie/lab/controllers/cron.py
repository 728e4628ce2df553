"""CronJobs: a Job each time the schedule is due.

In: CronJobs and the Jobs they own. Out: Jobs named after the minute that they are for, so that none is made twice; old
Jobs removed beyond the history limits; the CronJob's status.
"""

import copy
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tortie.kube.errors import AlreadyExists, NotFound
from tortie.lab.controllers.jobs import finished
from tortie.lab.controllers.pods import owner_key, write_status
from tortie.lab.controllers.world import Key, Object, Queue, World, controller_of, key_of, owner_reference
from tortie.model import cronexpr
from tortie.model.catalog import CRON_JOBS, JOBS


class CronJobs:
    def __init__(self, world: World) -> None:
        self._world = world
        self._crons = world.cache(CRON_JOBS)
        self._jobs = world.cache(JOBS)
        self.queue = Queue("cronjob", self._reconcile)
        world.watch(self._crons, lambda old, new: self.queue.add(key_of(new or old or {})))
        world.watch(self._jobs, self._job_changed)

    def _job_changed(self, old: Object | None, new: Object | None) -> None:
        job = new or old
        assert job is not None
        owner = controller_of(job)
        key = owner_key(job)
        if owner is not None and key is not None and owner["kind"] == "CronJob":
            self.queue.add(key)

    async def _reconcile(self, key: Key) -> None:
        current = self._crons.get(key[1], key[0])
        if current is None or "deletionTimestamp" in current["metadata"]:
            return
        jobs = self._jobs.by_index("owner", current["metadata"]["uid"])
        active = [job for job in jobs if not finished(job) and "deletionTimestamp" not in job["metadata"]]
        await self._trim(current, jobs)
        last = current.get("status", {}).get("lastScheduleTime")
        if not current["spec"].get("suspend"):
            try:
                due, upcoming = _due(current, last)
            except ValueError as error:
                self._world.event(CRON_JOBS, current, "Warning", "UnparseableSchedule", str(error))
                return
            if due is not None:
                active, last = await self._start(current, active, due, last)
            if upcoming is not None:
                self.queue.add_later(key, max(0.05, (upcoming - datetime.now(UTC)).total_seconds() + 0.05))
        await self._write_status(current, jobs, active, last)

    async def _start(
        self, current: Object, active: list[Object], due: datetime, last: str | None
    ) -> tuple[list[Object], str | None]:
        """Makes the Job of a due time, as the concurrency policy allows; gives the active Jobs and the last time."""
        namespace = current["metadata"]["namespace"]
        policy = current["spec"].get("concurrencyPolicy", "Allow")
        if active and policy == "Forbid":
            message = "Not starting job because prior execution is running and concurrency policy is Forbid"
            self._world.event(CRON_JOBS, current, "Normal", "JobAlreadyActive", message)
            return active, last
        if active and policy == "Replace":
            for job in active:
                await self._delete(current, job)
            active = []
        job = cron_job(current, due)
        try:
            created = await self._world.client.create(JOBS, job, namespace)
        except AlreadyExists:
            return active, _stamp(due)
        message = f"Created job {created['metadata']['name']}"
        self._world.event(CRON_JOBS, current, "Normal", "SuccessfulCreate", message)
        return [*active, created], _stamp(due)

    async def _trim(self, current: Object, jobs: list[Object]) -> None:
        for type_, field, default in (
            ("Complete", "successfulJobsHistoryLimit", 3),
            ("Failed", "failedJobsHistoryLimit", 1),
        ):
            ended = [job for job in jobs if finished(job).get("type") == type_]
            ended.sort(key=lambda job: job.get("status", {}).get("startTime") or "")
            for job in ended[: max(0, len(ended) - current["spec"].get(field, default))]:
                await self._delete(current, job)

    async def _delete(self, current: Object, job: Object) -> None:
        namespace, name = key_of(job)
        try:
            await self._world.client.delete(JOBS, name, namespace, propagation_policy="Background")
        except NotFound:
            return
        self._world.event(CRON_JOBS, current, "Normal", "SuccessfulDelete", f"Deleted job {name}")

    async def _write_status(self, current: Object, jobs: list[Object], active: list[Object], last: str | None) -> None:
        successes = [
            job.get("status", {}).get("completionTime") for job in jobs if finished(job).get("type") == "Complete"
        ]
        before = current.get("status", {}).get("lastSuccessfulTime")
        status = {
            "active": [_reference(job) for job in sorted(active, key=lambda job: job["metadata"]["name"])],
            "lastScheduleTime": last,
            "lastSuccessfulTime": max((time for time in [*successes, before] if time), default=None),
        }
        await write_status(self._world, CRON_JOBS, current, status)


def _due(current: Object, last: str | None) -> tuple[datetime | None, datetime | None]:
    """The latest time that is due and has no Job yet, and the next one. Raises ValueError for a bad schedule."""
    spec = current["spec"]
    schedule, zone = cronexpr.parse(spec["schedule"]), _zone(spec.get("timeZone"))
    now = datetime.now(UTC)
    since = datetime.fromisoformat(last or current["metadata"]["creationTimestamp"])
    deadline = spec.get("startingDeadlineSeconds")
    if deadline is not None:
        since = max(since, datetime.fromtimestamp(now.timestamp() - deadline, UTC))
    return schedule.latest(since, now, zone), schedule.next_after(now, zone)


def _zone(name: str | None) -> tzinfo:
    if not name:
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"time zone {name!r} is not known") from error


def cron_job(current: Object, due: datetime) -> Object:
    """The Job for a due time."""
    namespace, name = key_of(current)
    template = current["spec"]["jobTemplate"]
    metadata = template.get("metadata", {})
    stamp = {"batch.kubernetes.io/cronjob-scheduled-timestamp": _stamp(due)}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": f"{name}-{int(due.timestamp()) // 60}",
            "namespace": namespace,
            "labels": dict(metadata.get("labels", {})),
            "annotations": {**metadata.get("annotations", {}), **stamp},
            "ownerReferences": [owner_reference(CRON_JOBS, current)],
        },
        "spec": copy.deepcopy(template["spec"]),
    }


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _reference(job: Object) -> Object:
    namespace, name = key_of(job)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "namespace": namespace,
        "name": name,
        "uid": job["metadata"]["uid"],
    }
