"""How a Job counts its pods: each end once, even if the pod is gone the next moment. Pure.

For the Job controller. In: a Job and its pods. Out: a `Tally` of what is there and what has newly ended. Every pod
carries a finalizer until its end is in the Job's status; the uids of pods that are counted but still carry it are in
the status too, so that a crash between the two writes counts nothing twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tortie.lab.controllers.world import Object, is_ready

FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX_ANNOTATION = "batch.kubernetes.io/job-completion-index"


@dataclass(slots=True)
class Tally:
    """active: pods that run or will. succeeded, failed: counts over the Job's life. ended: pods whose finalizer can go
    once the counts are stored; uncounted_*: their uids. indexes: completion indexes that have succeeded."""

    active: list[Object] = field(default_factory=list)
    ready: int = 0
    succeeded: int = 0
    failed: int = 0
    ended: list[Object] = field(default_factory=list)
    uncounted_succeeded: list[str] = field(default_factory=list)
    uncounted_failed: list[str] = field(default_factory=list)
    indexes: set[int] = field(default_factory=set)
    last_failure: str = ""


def tally(job: Object, pods: Sequence[Object]) -> Tally:
    """What the pods say on top of what the status has recorded."""
    status = job.get("status", {})
    result = Tally(
        succeeded=status.get("succeeded", 0),
        failed=status.get("failed", 0),
        indexes=parse_indexes(status.get("completedIndexes", "")),
    )
    recorded = status.get("uncountedTerminatedPods") or {}
    counted = {*recorded.get("succeeded", ()), *recorded.get("failed", ())}
    for pod in pods:
        phase = pod.get("status", {}).get("phase")
        going = "deletionTimestamp" in pod["metadata"]
        if phase not in ("Succeeded", "Failed") and not going:
            result.active.append(pod)
            result.ready += is_ready(pod)
            continue
        if phase == "Failed":
            result.last_failure = max(result.last_failure, _end_time(pod))
        if FINALIZER not in pod["metadata"].get("finalizers", ()):
            continue
        uid = pod["metadata"]["uid"]
        result.ended.append(pod)
        succeeded = phase == "Succeeded"
        (result.uncounted_succeeded if succeeded else result.uncounted_failed).append(uid)
        if uid not in counted:
            result.succeeded += succeeded
            result.failed += not succeeded
        index = index_of(pod)
        if succeeded and index is not None:
            result.indexes.add(index)
    return result


def index_of(pod: Object) -> int | None:
    """The completion index of a pod of an Indexed Job."""
    text = pod["metadata"].get("annotations", {}).get(INDEX_ANNOTATION, "")
    return int(text) if text.isdecimal() else None


def parse_indexes(text: str) -> set[int]:
    """`0,2-4` -> {0, 2, 3, 4}"""
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first:
            found.update(range(int(first), int(last or first) + 1))
    return found


def format_indexes(indexes: set[int]) -> str:
    """{0, 2, 3, 4} -> `0,2-4`"""
    parts: list[list[int]] = []
    for index in sorted(indexes):
        if parts and index == parts[-1][1] + 1:
            parts[-1][1] = index
        else:
            parts.append([index, index])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)


def _end_time(pod: Object) -> str:
    times = [
        status.get("state", {}).get("terminated", {}).get("finishedAt") or ""
        for status in pod.get("status", {}).get("containerStatuses", ())
    ]
    return max(times, default="") or pod["metadata"].get("creationTimestamp", "")
