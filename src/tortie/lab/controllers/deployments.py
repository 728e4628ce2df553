"""Deployments: one ReplicaSet for each version of the pod template, and an orderly move from the old to the new.

In: Deployments and their ReplicaSets. Out: ReplicaSets created, scaled and, beyond the history limit, deleted; status
and conditions by which `kubectl rollout status`, `undo` and `history` work.
"""

import hashlib
import json
import math
from datetime import UTC, datetime

from tortie.kube.errors import AlreadyExists
from tortie.lab.controllers.world import Key, Object, Queue, World, condition, controller_of, key_of, owner_reference
from tortie.model.catalog import DEPLOYMENTS, PODS, REPLICA_SETS

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
# Letters and digits that cannot spell words.
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


class Deployments:
    def __init__(self, world: World) -> None:
        self._world = world
        self._deployments = world.cache(DEPLOYMENTS)
        self._sets = world.cache(REPLICA_SETS)
        self._pods = world.cache(PODS)
        self.queue = Queue("deployment", self._reconcile)
        world.watch(self._deployments, lambda old, new: self.queue.add(key_of(new or old or {})))
        world.watch(self._sets, self._set_changed)

    def _set_changed(self, old: Object | None, new: Object | None) -> None:
        obj = new or old
        assert obj is not None
        owner = controller_of(obj)
        if owner is not None and owner["kind"] == "Deployment":
            self.queue.add((obj["metadata"]["namespace"], owner["name"]))

    async def _reconcile(self, key: Key) -> None:
        current = self._deployments.get(key[1], key[0])
        if current is None or "deletionTimestamp" in current["metadata"]:
            return
        owned = [
            item
            for item in self._sets.by_index("owner", current["metadata"]["uid"])
            if "deletionTimestamp" not in item["metadata"]
        ]
        wanted_hash = template_hash(current["spec"]["template"])
        new = next((item for item in owned if item["metadata"]["labels"].get(HASH_LABEL) == wanted_hash), None)
        if new is None:
            if current["spec"].get("paused"):
                return
            new = await self._create(current, owned, wanted_hash)
            owned.append(new)
        old = [item for item in owned if item is not new]
        await self._keep_revision(current, new, old)
        await self._scale(current, new, old)
        await self._write_status(current, new, owned)
        await self._clean_up(current, old)

    async def _create(self, current: Object, owned: list[Object], wanted_hash: str) -> Object:
        namespace, name = key_of(current)
        template = json.loads(json.dumps(current["spec"]["template"]))
        template.setdefault("metadata", {}).setdefault("labels", {})[HASH_LABEL] = wanted_hash
        selector = json.loads(json.dumps(current["spec"]["selector"]))
        selector.setdefault("matchLabels", {})[HASH_LABEL] = wanted_hash
        surge, _ = limits(current)
        total = sum(item["spec"].get("replicas", 0) for item in owned)
        replicas = current["spec"].get("replicas", 1)
        if owned and not _recreates(current):
            replicas = max(0, min(replicas, replicas + surge - total))
        elif owned:
            replicas = 0
        body = {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": f"{name}-{wanted_hash}",
                "namespace": namespace,
                "labels": template["metadata"]["labels"],
                "annotations": {REVISION: str(_latest_revision(owned) + 1)},
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
            created: Object = await self._world.client.create(REPLICA_SETS, body, namespace)
        except AlreadyExists:
            return await self._world.client.get(REPLICA_SETS, f"{name}-{wanted_hash}", namespace)
        self._scaled(current, created, "up", replicas)
        return created

    async def _keep_revision(self, current: Object, new: Object, old: list[Object]) -> None:
        """The new ReplicaSet has the highest revision, and the Deployment carries it."""
        revision = int(new["metadata"].get("annotations", {}).get(REVISION, "0"))
        highest = _latest_revision(old)
        namespace, name = key_of(current)
        if revision <= highest:
            revision = highest + 1
            patch = {"metadata": {"annotations": {REVISION: str(revision)}}}
            await self._world.client.patch(REPLICA_SETS, new["metadata"]["name"], patch, namespace=namespace)
        if current["metadata"].get("annotations", {}).get(REVISION) != str(revision):
            patch = {"metadata": {"annotations": {REVISION: str(revision)}}}
            await self._world.client.patch(DEPLOYMENTS, name, patch, namespace=namespace)

    async def _scale(self, current: Object, new: Object, old: list[Object]) -> None:
        wanted = current["spec"].get("replicas", 1)
        size = new["spec"].get("replicas", 0)
        if _recreates(current):
            for item in old:
                await self._resize(current, item, 0)
            if not any(self._pods.by_index("owner", item["metadata"]["uid"]) for item in old):
                await self._resize(current, new, wanted)
            return
        surge, unavailable = limits(current)
        total = size + sum(item["spec"].get("replicas", 0) for item in old)
        if size > wanted:
            await self._resize(current, new, wanted)
            size = wanted
        elif size < wanted:
            grow = min(wanted - size, max(0, wanted + surge - total))
            await self._resize(current, new, size + grow)
            size += grow
        total = size + sum(item["spec"].get("replicas", 0) for item in old)
        new_unavailable = size - _available(new)
        can_go = total - (wanted - unavailable) - new_unavailable
        # Pods of old versions that do not work go first: removing them costs nothing.
        for item in sorted(old, key=lambda item: item["metadata"].get("creationTimestamp", "")):
            replicas = item["spec"].get("replicas", 0)
            broken = min(max(0, can_go), replicas - _available(item))
            if replicas and broken > 0:
                await self._resize(current, item, replicas - broken)
                item["spec"]["replicas"] = replicas - broken
                can_go -= broken
        available = _available(new) + sum(min(_available(item), item["spec"].get("replicas", 0)) for item in old)
        can_go = available - (wanted - unavailable)
        for item in old:
            replicas = item["spec"].get("replicas", 0)
            count = min(max(0, can_go), replicas)
            if count > 0:
                await self._resize(current, item, replicas - count)
                can_go -= count

    async def _resize(self, current: Object, item: Object, replicas: int) -> None:
        before = item["spec"].get("replicas", 0)
        if before == replicas:
            return
        namespace, name = key_of(item)
        await self._world.client.patch(REPLICA_SETS, name, {"spec": {"replicas": replicas}}, namespace=namespace)
        self._scaled(current, item, "up" if replicas > before else "down", replicas)

    def _scaled(self, current: Object, item: Object, direction: str, replicas: int) -> None:
        message = f"Scaled {direction} replica set {item['metadata']['name']} to {replicas}"
        self._world.event(DEPLOYMENTS, current, "Normal", "ScalingReplicaSet", message)

    async def _write_status(self, current: Object, new: Object, owned: list[Object]) -> None:
        wanted = current["spec"].get("replicas", 1)
        _, unavailable = limits(current)
        counts = {name: sum(item.get("status", {}).get(name, 0) for item in owned) for name in _COUNTS}
        updated = new.get("status", {}).get("replicas", 0)
        enough = counts["availableReplicas"] >= wanted - unavailable
        complete = (
            updated == wanted
            and counts["replicas"] == wanted
            and new.get("status", {}).get("availableReplicas", 0) == wanted
        )
        name = new["metadata"]["name"]
        progress = (
            ("NewReplicaSetAvailable", f'ReplicaSet "{name}" has successfully progressed.')
            if complete
            else ("ReplicaSetUpdated", f'ReplicaSet "{name}" is progressing.')
        )
        available = (
            ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
            if enough
            else ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
        )
        status = {
            **counts,
            "updatedReplicas": updated,
            "unavailableReplicas": max(0, wanted - counts["availableReplicas"]),
            "observedGeneration": current["metadata"].get("generation", 0),
        }
        conditions = [
            _condition(current, "Available", *available),
            _condition(current, "Progressing", "True", *progress),
        ]
        old = current.get("status", {})
        if all(old.get(key, 0) == value for key, value in status.items()) and old.get("conditions") == conditions:
            return
        namespace, own = key_of(current)
        await self._world.client.patch(
            DEPLOYMENTS,
            own,
            {"status": {**status, "conditions": conditions}},
            namespace=namespace,
            subresource="status",
        )

    async def _clean_up(self, current: Object, old: list[Object]) -> None:
        limit = current["spec"].get("revisionHistoryLimit", 10)
        idle = [item for item in old if not item["spec"].get("replicas") and not item.get("status", {}).get("replicas")]
        idle.sort(key=_revision)
        for item in idle[: max(0, len(idle) - limit)]:
            namespace, name = key_of(item)
            await self._world.client.delete(REPLICA_SETS, name, namespace)


_COUNTS = ("replicas", "readyReplicas", "availableReplicas")


def template_hash(template: Object) -> str:
    """Ten characters that depend on the whole pod template."""
    text = json.dumps(template, sort_keys=True, separators=(",", ":")).encode()
    number = int.from_bytes(hashlib.sha256(text).digest()[:8])
    letters = []
    for _ in range(10):
        number, rest = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[rest])
    return "".join(letters)


def limits(deployment: Object) -> tuple[int, int]:
    """How many pods may exist beyond the wanted number, and how many may be missing; not both 0."""
    replicas = deployment["spec"].get("replicas", 1)
    rolling = deployment["spec"].get("strategy", {}).get("rollingUpdate") or {}
    surge = _share(rolling.get("maxSurge", "25%"), replicas, up=True)
    unavailable = _share(rolling.get("maxUnavailable", "25%"), replicas, up=False)
    return (surge, unavailable) if surge or unavailable else (surge, 1)


def _share(value: int | str, total: int, *, up: bool) -> int:
    if isinstance(value, int):
        return value
    part = total * int(value.rstrip("%")) / 100
    return math.ceil(part) if up else math.floor(part)


def _recreates(deployment: Object) -> bool:
    return bool(deployment["spec"].get("strategy", {}).get("type") == "Recreate")


def _available(item: Object) -> int:
    count: int = item.get("status", {}).get("availableReplicas", 0)
    return count


def _revision(item: Object) -> int:
    return int(item["metadata"].get("annotations", {}).get(REVISION, "0"))


def _latest_revision(items: list[Object]) -> int:
    return max((_revision(item) for item in items), default=0)


def _condition(current: Object, type_: str, status: str, reason: str, message: str) -> Object:
    old = condition(current, type_)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    same = old.get("status") == status and old.get("reason") == reason and old.get("message") == message
    return {
        "type": type_,
        "status": status,
        "reason": reason,
        "message": message,
        "lastUpdateTime": old.get("lastUpdateTime", now) if same else now,
        "lastTransitionTime": old.get("lastTransitionTime", now) if old.get("status") == status else now,
    }
