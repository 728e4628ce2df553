"""Jobs: pods that run to their end, a given number of times.

In: Jobs and the pods they own. Out: pods created while there is work, the Job's status and its end (Complete, Failed,
or removal after ttlSecondsAfterFinished).
"""

from tortie.kube.errors import NotFound
from tortie.lab.controllers.pods import PodControl, pod_from_template, write_status
from tortie.lab.controllers.tracking import (
    FINALIZER,
    INDEX_ANNOTATION,
    Tally,
    format_indexes,
    index_of,
    tally,
)
from tortie.lab.controllers.world import (
    Key,
    Object,
    Queue,
    World,
    age,
    condition,
    controller_of,
    key_of,
    new_conditions,
    now,
    owner_reference,
)
from tortie.model.catalog import JOBS, PODS

_FIRST_DELAY, _LAST_DELAY = 10.0, 360.0
_AT_ONCE = 16


class Jobs:
    def __init__(self, world: World) -> None:
        self._world = world
        self._jobs = world.cache(JOBS)
        self.queue = Queue("job", self._reconcile)
        # The versions of Jobs whose counts we have written: an older one would count again.
        self._written: dict[str, int] = {}
        self._control = PodControl(world, JOBS, self._jobs)
        self._control.feed(self.queue)
        world.watch(self._jobs, self._changed)

    def _changed(self, old: Object | None, new: Object | None) -> None:
        job = new or old
        assert job is not None
        if new is None:
            self._written.pop(job["metadata"]["uid"], None)
            self._control.forget(job["metadata"]["uid"])
        self.queue.add(key_of(job))

    async def _reconcile(self, key: Key) -> None:
        current = self._jobs.get(key[1], key[0])
        if current is None or "deletionTimestamp" in current["metadata"]:
            await self._release_all(key)
            return
        uid = current["metadata"]["uid"]
        if int(current["metadata"]["resourceVersion"]) < self._written.get(uid, 0):
            return
        if end := finished(current):
            await self._after_the_end(current, end)
            return
        pods = await self._control.owned(current)
        found = tally(current, pods)
        verdict = self._verdict(current, found)
        if verdict is not None or current["spec"].get("suspend"):
            for pod in found.active:
                await self._control.delete(current, pod)
            active: list[Object] = []
        else:
            active = [pod for pod in found.active if not self._control.is_going(pod)]
            await self._run(current, found, active)
        await self._write_status(current, found, active, verdict)
        for pod in found.ended:
            await self._release(pod)

    # --- work --------------------------------------------------------------------------------------------------

    async def _run(self, current: Object, found: Tally, active: list[Object]) -> None:
        """Brings the number of running pods to what is wanted now."""
        spec = current["spec"]
        pending = self._control.pending(current)
        completions = spec.get("completions")
        wanted: int = spec.get("parallelism", 1)
        if completions is not None:
            wanted = min(wanted, completions - (len(found.indexes) if _indexed(current) else found.succeeded))
        elif found.succeeded:
            wanted = len(active)  # a work queue: the first success means that there is nothing left to start
        if len(active) > wanted:
            for pod in sorted(active, key=lambda pod: bool(pod["spec"].get("nodeName")))[: len(active) - wanted]:
                await self._control.delete(current, pod)
            return
        missing = wanted - len(active) - pending
        if missing <= 0:
            return
        if (wait := self._backoff(found)) > 0:
            self.queue.add_later(key_of(current), wait)
            return
        # Names of pods that are on their way are not known by index, so indexes wait until all of them are seen.
        if _indexed(current) and pending:
            return
        await self._create(current, found, active, min(missing, _AT_ONCE))
        if missing > _AT_ONCE:
            self.queue.add(key_of(current))

    def _backoff(self, found: Tally) -> float:
        """Seconds to wait after a failure: ten, doubled with each further one."""
        if not found.failed or not found.last_failure:
            return 0.0
        delay = min(_LAST_DELAY, _FIRST_DELAY * 2.0 ** (found.failed - 1))
        return delay - age(found.last_failure)

    async def _create(self, current: Object, found: Tally, active: list[Object], count: int) -> None:
        if not _indexed(current):
            await self._control.create(current, [job_pod(current, None)] * count)
            return
        busy = found.indexes | {index for pod in active if (index := index_of(pod)) is not None}
        free = [index for index in range(current["spec"]["completions"]) if index not in busy]
        await self._control.create(current, [job_pod(current, index) for index in free[:count]])

    # --- the end -----------------------------------------------------------------------------------------------

    def _verdict(self, current: Object, found: Tally) -> tuple[str, str, str] | None:
        """Condition, reason and message of the Job's end, None while it goes on."""
        spec = current["spec"]
        failures = found.failed + sum(_restarts(pod) for pod in found.active)
        if failures > spec.get("backoffLimit", 6):
            return "Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit"
        deadline, started = spec.get("activeDeadlineSeconds"), current.get("status", {}).get("startTime")
        if deadline is not None and started and not spec.get("suspend"):
            left = deadline - age(started)
            if left <= 0:
                return "Failed", "DeadlineExceeded", "Job was active longer than specified deadline"
            self.queue.add_later(key_of(current), left + 0.1)
        completions = spec.get("completions")
        done = len(found.indexes) if _indexed(current) else found.succeeded
        if completions is None:
            complete = bool(done) and not found.active and not self._control.pending(current)
        else:
            complete = done >= completions
        return ("Complete", "CompletionsReached", "Reached expected number of succeeded pods") if complete else None

    async def _after_the_end(self, current: Object, end: Object) -> None:
        for pod in await self._control.owned(current):
            await self._release(pod)
        seconds = current["spec"].get("ttlSecondsAfterFinished")
        if seconds is None:
            return
        left = seconds - age(end.get("lastTransitionTime"))
        if left > 0:
            self.queue.add_later(key_of(current), left + 0.1)
            return
        namespace, name = key_of(current)
        try:
            await self._world.client.delete(JOBS, name, namespace, propagation_policy="Background")
        except NotFound:
            return

    async def _release_all(self, key: Key) -> None:
        """The Job is gone or going: nobody will count its pods any more."""
        for pod in self._control.pods.by_index("namespace", key[0]):
            owner = controller_of(pod)
            if owner is not None and owner["kind"] == "Job" and owner["name"] == key[1]:
                current = self._jobs.get(key[1], key[0])
                if current is None or current["metadata"]["uid"] == owner["uid"]:
                    await self._release(pod)

    async def _release(self, pod: Object) -> None:
        """Takes the finalizer off a pod whose end is counted, or does not matter."""
        finalizers = pod["metadata"].get("finalizers", ())
        if FINALIZER not in finalizers:
            return
        namespace, name = key_of(pod)
        kept = [entry for entry in finalizers if entry != FINALIZER]
        patch = {"metadata": {"uid": pod["metadata"]["uid"], "finalizers": kept or None}}
        try:
            await self._world.client.patch(PODS.untyped(), name, patch, namespace=namespace)
        except NotFound:
            return

    # --- status ------------------------------------------------------------------------------------------------

    async def _write_status(
        self, current: Object, found: Tally, active: list[Object], verdict: tuple[str, str, str] | None
    ) -> None:
        old = current.get("status", {})
        suspended = bool(current["spec"].get("suspend"))
        conditions = _other_conditions(current)
        status: Object = {
            "active": len(active) + (0 if verdict or suspended else self._control.pending(current)),
            "ready": found.ready if active else 0,
            "succeeded": found.succeeded,
            "failed": found.failed,
            "uncountedTerminatedPods": {
                name: uids
                for name, uids in (("succeeded", found.uncounted_succeeded), ("failed", found.uncounted_failed))
                if uids
            },
            "startTime": old.get("startTime") or (None if suspended else now()),
        }
        if _indexed(current):
            status["completedIndexes"] = format_indexes(found.indexes)
        if suspended != (condition(current, "Suspended").get("status") == "True"):
            reason = "JobSuspended" if suspended else "JobResumed"
            message = "Job suspended" if suspended else "Job resumed"
            conditions += new_conditions(current, ("Suspended", str(suspended), reason, message))
            status["startTime"] = None if suspended else now()
            self._world.event(JOBS, current, "Normal", reason.removeprefix("Job"), message)
        elif condition(current, "Suspended"):
            conditions.append(condition(current, "Suspended"))
        if verdict is not None:
            kind, reason, message = verdict
            before = "SuccessCriteriaMet" if kind == "Complete" else "FailureTarget"
            conditions += new_conditions(current, (before, "True", reason, message), (kind, "True", reason, message))
            if kind == "Complete":
                status["completionTime"] = now()
                self._world.event(JOBS, current, "Normal", "Completed", "Job completed")
            else:
                self._world.event(JOBS, current, "Warning", reason, message)
        if conditions:
            status["conditions"] = conditions
        stored = await write_status(self._world, JOBS, current, status, exact=True)
        if stored is not None:
            self._written[current["metadata"]["uid"]] = int(stored["metadata"]["resourceVersion"])


_REWRITTEN = frozenset({"Suspended", "SuccessCriteriaMet", "FailureTarget", "Complete", "Failed"})


def _other_conditions(job: Object) -> list[Object]:
    return [entry for entry in job.get("status", {}).get("conditions", ()) if entry["type"] not in _REWRITTEN]


def finished(job: Object) -> Object:
    """The condition that says how the Job ended; empty while it goes on."""
    for type_ in ("Complete", "Failed"):
        found = condition(job, type_)
        if found.get("status") == "True":
            return found
    return {}


def _indexed(job: Object) -> bool:
    return bool(job["spec"].get("completionMode") == "Indexed")


def _restarts(pod: Object) -> int:
    """With restartPolicy OnFailure, restarts inside the pod count as failures."""
    if pod["spec"].get("restartPolicy") != "OnFailure":
        return 0
    return sum(status.get("restartCount", 0) for status in pod.get("status", {}).get("containerStatuses", ()))


def job_pod(job: Object, index: int | None) -> Object:
    """A pod of the Job; index: its completion index if the Job is Indexed."""
    namespace, name = key_of(job)
    owner = owner_reference(JOBS, job)
    generate = f"{name}-" if index is None else f"{name}-{index}-"
    pod = pod_from_template(job["spec"]["template"], namespace=namespace, owner=owner, generate_name=generate)
    pod["metadata"]["finalizers"] = [*pod["metadata"].get("finalizers", ()), FINALIZER]
    if index is not None:
        pod["metadata"]["annotations"][INDEX_ANNOTATION] = str(index)
        pod["metadata"]["labels"][INDEX_ANNOTATION] = str(index)
        pod["spec"]["hostname"] = f"{name}-{index}"
        source = {"fieldRef": {"fieldPath": f"metadata.annotations['{INDEX_ANNOTATION}']"}}
        for container in (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]):
            others = [entry for entry in container.get("env", ()) if entry["name"] != "JOB_COMPLETION_INDEX"]
            container["env"] = [*others, {"name": "JOB_COMPLETION_INDEX", "valueFrom": source}]
    return pod
