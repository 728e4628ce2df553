"""Deployments: one ReplicaSet for each version of the pod template, and an orderly move from the old to the new.

In: Deployments and their ReplicaSets. Out: ReplicaSets created, scaled and, beyond the history limit, deleted; status
and conditions by which `kubectl rollout status`, `undo` and `history` work. How many pods each version has at a time
is worked out in `rollout`.
"""

import copy

from tortie.kube.errors import AlreadyExists
from tortie.lab.controllers.pods import claim, write_status
from tortie.lab.controllers.rollout import Size, limits, roll, template_hash
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
    selects,
)
from tortie.model.catalog import DEPLOYMENTS, PODS, REPLICA_SETS

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
_NOT_COPIED = frozenset({REVISION, "kubectl.kubernetes.io/last-applied-configuration"})
_COUNTS = ("replicas", "readyReplicas", "availableReplicas")


class Deployments:
    def __init__(self, world: World) -> None:
        self._world = world
        self._deployments = world.cache(DEPLOYMENTS)
        self._sets = world.cache(REPLICA_SETS)
        self._pods = world.cache(PODS)
        self.queue = Queue("deployment", self._reconcile)
        world.watch(self._deployments, lambda old, new: self.queue.add(key_of(new or old or {})))
        world.watch(self._sets, self._set_changed)
        world.watch(self._pods, self._pod_changed)

    def _set_changed(self, old: Object | None, new: Object | None) -> None:
        obj = new or old
        assert obj is not None
        owner = controller_of(obj)
        if owner is not None and owner["kind"] == "Deployment":
            self.queue.add((obj["metadata"]["namespace"], owner["name"]))
        elif owner is None and new is not None:
            for deployment in self._deployments.by_index("namespace", obj["metadata"]["namespace"]):
                if selects(deployment["spec"].get("selector"), obj["metadata"].get("labels", {})):
                    self.queue.add(key_of(deployment))

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        """The last pod of an old version is gone: a Deployment that replaces all pods at once waits for that."""
        if new is not None or old is None:
            return
        owner = controller_of(old)
        if owner is not None and owner["kind"] == "ReplicaSet":
            owning = self._sets.get(owner["name"], old["metadata"]["namespace"])
            if owning is not None:
                self._set_changed(None, owning)

    async def _reconcile(self, key: Key) -> None:
        current = self._deployments.get(key[1], key[0])
        if current is None or "deletionTimestamp" in current["metadata"]:
            return
        claimed = await claim(
            self._world, DEPLOYMENTS, current, self._sets, REPLICA_SETS, current["spec"].get("selector")
        )
        owned = [item for item in claimed if "deletionTimestamp" not in item["metadata"]]
        owned.sort(key=_revision)
        wanted_hash = template_hash(current["spec"]["template"])
        new = next((item for item in owned if item["metadata"]["labels"].get(HASH_LABEL) == wanted_hash), None)
        if current["spec"].get("paused"):
            await self._scale_paused(current, owned)
            await self._write_status(current, new, owned)
            return
        if new is None:
            new = await self._create(current, owned, wanted_hash)
            owned.append(new)
        old = [item for item in owned if item["metadata"]["uid"] != new["metadata"]["uid"]]
        await self._keep_revision(current, new, old)
        await self._scale(current, new, old)
        await self._write_status(current, new, owned)
        await self._clean_up(current, old)

    # --- the new ReplicaSet ----------------------------------------------------------------------------------------

    async def _create(self, current: Object, owned: list[Object], wanted_hash: str) -> Object:
        namespace, name = key_of(current)
        template = copy.deepcopy(current["spec"]["template"])
        template.setdefault("metadata", {}).setdefault("labels", {})[HASH_LABEL] = wanted_hash
        selector = copy.deepcopy(current["spec"]["selector"])
        selector.setdefault("matchLabels", {})[HASH_LABEL] = wanted_hash
        replicas = 0
        if not owned:
            replicas = current["spec"].get("replicas", 1)
        elif not _recreates(current):
            sizes = [_size(item) for item in owned]
            replicas, _ = roll(current["spec"].get("replicas", 1), limits(current), Size(0, 0), sizes)
        body = {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": f"{name}-{wanted_hash}",
                "namespace": namespace,
                "labels": template["metadata"]["labels"],
                "annotations": {**_annotations(current), REVISION: str(_latest_revision(owned) + 1)},
                "ownerReferences": [owner_reference(DEPLOYMENTS, current)],
            },
            "spec": {
                "replicas": replicas,
                "minReadySeconds": current["spec"].get("minReadySeconds", 0),
                "selector": selector,
                "template": template,
            },
        }
        try:
            created = await self._world.client.create(REPLICA_SETS.untyped(), body, namespace)
        except AlreadyExists:
            # Made by us a moment ago, or by the Deployment's predecessor of the same name; the latter gets removed.
            found = await self._world.client.get(REPLICA_SETS.untyped(), f"{name}-{wanted_hash}", namespace)
            owner = controller_of(found)
            if owner is None or owner["uid"] != current["metadata"]["uid"]:
                raise
            return found
        self._scaled(current, created, 0, replicas)
        return created

    async def _keep_revision(self, current: Object, new: Object, old: list[Object]) -> None:
        """The new ReplicaSet has the highest revision, and the Deployment carries it."""
        revision = _revision(new)
        highest = _latest_revision(old)
        namespace, name = key_of(current)
        wanted = {**_annotations(current), REVISION: str(max(revision, highest + 1))}
        annotations = new["metadata"].get("annotations", {})
        if any(annotations.get(key) != value for key, value in wanted.items()):
            patch: Object = {"metadata": {"annotations": wanted}}
            await self._world.client.patch(REPLICA_SETS, new["metadata"]["name"], patch, namespace=namespace)
        if current["metadata"].get("annotations", {}).get(REVISION) != wanted[REVISION]:
            patch = {"metadata": {"annotations": {REVISION: wanted[REVISION]}}}
            await self._world.client.patch(DEPLOYMENTS, name, patch, namespace=namespace)
        seconds = current["spec"].get("minReadySeconds", 0)
        if new["spec"].get("minReadySeconds", 0) != seconds:
            patch = {"spec": {"minReadySeconds": seconds}}
            await self._world.client.patch(REPLICA_SETS, new["metadata"]["name"], patch, namespace=namespace)

    # --- sizes -----------------------------------------------------------------------------------------------------

    async def _scale(self, current: Object, new: Object, old: list[Object]) -> None:
        wanted = current["spec"].get("replicas", 1)
        if _recreates(current):
            for item in old:
                await self._resize(current, item, 0)
            if not any(self._is_running(item) for item in old):
                await self._resize(current, new, wanted)
            return
        grown, sizes = roll(wanted, limits(current), _size(new), [_size(item) for item in old])
        await self._resize(current, new, grown)
        for item, size in zip(old, sizes, strict=True):
            await self._resize(current, item, size)

    async def _scale_paused(self, current: Object, owned: list[Object]) -> None:
        """While the move is paused, the latest version with pods takes up changes of the wanted number."""
        active = [item for item in owned if item["spec"].get("replicas", 0)] or owned[-1:]
        if active:
            others = sum(item["spec"].get("replicas", 0) for item in active[:-1])
            await self._resize(current, active[-1], max(0, current["spec"].get("replicas", 1) - others))

    def _is_running(self, item: Object) -> bool:
        pods = self._pods.by_index("owner", item["metadata"]["uid"])
        return any(pod.get("status", {}).get("phase") not in ("Succeeded", "Failed") for pod in pods)

    async def _resize(self, current: Object, item: Object, replicas: int) -> None:
        before = item["spec"].get("replicas", 0)
        if before == replicas:
            return
        namespace, name = key_of(item)
        # A write on top of what somebody else wrote meanwhile would break the promise about numbers.
        patch = {"metadata": {"resourceVersion": item["metadata"]["resourceVersion"]}, "spec": {"replicas": replicas}}
        await self._world.client.patch(REPLICA_SETS, name, patch, namespace=namespace)
        self._scaled(current, item, before, replicas)

    def _scaled(self, current: Object, item: Object, before: int, replicas: int) -> None:
        direction = "up" if replicas > before else "down"
        message = f"Scaled {direction} replica set {item['metadata']['name']} from {before} to {replicas}"
        self._world.event(DEPLOYMENTS, current, "Normal", "ScalingReplicaSet", message)

    # --- status ----------------------------------------------------------------------------------------------------

    async def _write_status(self, current: Object, new: Object | None, owned: list[Object]) -> None:
        wanted = current["spec"].get("replicas", 1)
        counts = {name: sum(item.get("status", {}).get(name, 0) for item in owned) for name in _COUNTS}
        updated = new.get("status", {}).get("replicas", 0) if new is not None else 0
        status = {
            **counts,
            "updatedReplicas": updated,
            "unavailableReplicas": max(0, wanted - counts["availableReplicas"]),
            "observedGeneration": current["metadata"].get("generation", 0),
        }
        complete = updated == counts["replicas"] == counts["availableReplicas"] == wanted
        moved = any(current.get("status", {}).get(name, 0) != status[name] for name in (*_COUNTS, "updatedReplicas"))
        unavailable = 0 if _recreates(current) else limits(current).unavailable
        available = (
            ("Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
            if counts["availableReplicas"] >= wanted - unavailable
            else ("Available", "False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
        )
        progress = self._progress(current, new, complete=complete, moved=moved)
        conditions = new_conditions(current, available, progress, updates=True)
        if moved:
            conditions[1]["lastUpdateTime"] = now()
        failures = [condition(item, "ReplicaFailure") for item in owned if condition(item, "ReplicaFailure")]
        if failures:
            failure = failures[-1]
            conditions += new_conditions(
                current, ("ReplicaFailure", "True", failure.get("reason", ""), failure.get("message", "")), updates=True
            )
        await write_status(self._world, DEPLOYMENTS, current, {**status, "conditions": conditions})

    def _progress(
        self, current: Object, new: Object | None, *, complete: bool, moved: bool
    ) -> tuple[str, str, str, str]:
        """The condition Progressing; when nothing has moved for too long, it says so."""
        if current["spec"].get("paused"):
            return "Progressing", "Unknown", "DeploymentPaused", "Deployment is paused"
        name = new["metadata"]["name"] if new is not None else ""
        if complete:
            return (
                "Progressing",
                "True",
                "NewReplicaSetAvailable",
                f'ReplicaSet "{name}" has successfully progressed.',
            )
        deadline = current["spec"].get("progressDeadlineSeconds") or 600
        before = condition(current, "Progressing")
        progressing = ("Progressing", "True", "ReplicaSetUpdated", f'ReplicaSet "{name}" is progressing.')
        # What the condition said about an earlier version does not count.
        if moved or name not in before.get("message", "") or before.get("reason") == "NewReplicaSetAvailable":
            self.queue.add_later(key_of(current), deadline + 0.5)
            return progressing
        left = deadline - age(before.get("lastUpdateTime"))
        if left <= 0:
            return (
                "Progressing",
                "False",
                "ProgressDeadlineExceeded",
                f'ReplicaSet "{name}" has timed out progressing.',
            )
        self.queue.add_later(key_of(current), left + 0.5)
        return progressing

    async def _clean_up(self, current: Object, old: list[Object]) -> None:
        limit = current["spec"].get("revisionHistoryLimit", 10)
        idle = [item for item in old if not item["spec"].get("replicas") and not item.get("status", {}).get("replicas")]
        for item in idle[: max(0, len(idle) - limit)]:
            namespace, name = key_of(item)
            await self._world.client.delete(REPLICA_SETS, name, namespace)


def _recreates(deployment: Object) -> bool:
    return bool(deployment["spec"].get("strategy", {}).get("type") == "Recreate")


def _size(item: Object) -> Size:
    return Size(item["spec"].get("replicas", 0), item.get("status", {}).get("availableReplicas", 0))


def _revision(item: Object) -> int:
    return int(item["metadata"].get("annotations", {}).get(REVISION, "0"))


def _latest_revision(items: list[Object]) -> int:
    return max((_revision(item) for item in items), default=0)


def _annotations(deployment: Object) -> Object:
    """The Deployment's annotations that its ReplicaSets carry too, such as the cause of a change."""
    annotations = deployment["metadata"].get("annotations", {})
    return {name: value for name, value in annotations.items() if name not in _NOT_COPIED}
