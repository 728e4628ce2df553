"""StatefulSets: pods with names of their own, made and replaced one after another.

In: StatefulSets and the pods they own. Out: pods `<name>-0` and so on, created in order and deleted in reverse, new
versions rolled out from the last to the first, claims for their volumes, the StatefulSet's status.
"""

import copy

from tortie.kube.errors import AlreadyExists
from tortie.lab.controllers.pods import PodControl, pod_from_template, seconds_to_available, write_status
from tortie.lab.controllers.revisions import HASH_LABEL, Revisions, hash_of
from tortie.lab.controllers.world import Key, Object, Queue, World, is_ready, key_of, owner_reference
from tortie.model.catalog import PERSISTENT_VOLUME_CLAIMS, STATEFUL_SETS

NAME_LABEL = "statefulset.kubernetes.io/pod-name"
INDEX_LABEL = "apps.kubernetes.io/pod-index"


class StatefulSets:
    def __init__(self, world: World) -> None:
        self._world = world
        self._sets = world.cache(STATEFUL_SETS)
        self._revisions = Revisions(world, STATEFUL_SETS)
        self.queue = Queue("statefulset", self._reconcile)
        self._control = PodControl(world, STATEFUL_SETS, self._sets)
        self._control.feed(self.queue)
        world.watch(self._sets, lambda old, new: self.queue.add(key_of(new or old or {})))

    async def _reconcile(self, key: Key) -> None:
        current = self._sets.get(key[1], key[0])
        if current is None:
            return
        if "deletionTimestamp" in current["metadata"]:
            self._control.forget(current["metadata"]["uid"])
            return
        update = hash_of(await self._revisions.current(current))
        # The revision that pods have while an update is under way; the update's own once it is complete.
        stable = current.get("status", {}).get("currentRevision", "").rpartition("-")[2] or update
        owned = await self._control.owned(current)
        pods = {ordinal: pod for pod in owned if (ordinal := ordinal_of(current, pod)) is not None}
        if not self._control.pending(current):
            await self._step(current, pods, stable=stable, update=update)
        await self._write_status(current, list(pods.values()), stable=stable, update=update)
        await self._revisions.clean_up(current, {stable, update, *(hash_of(pod) for pod in pods.values())})

    async def _step(self, current: Object, pods: dict[int, Object], *, stable: str, update: str) -> None:
        """Takes the next step: missing pods first, then surplus ones, then old versions."""
        ordered = current["spec"].get("podManagementPolicy", "OrderedReady") == "OrderedReady"
        start = (current["spec"].get("ordinals") or {}).get("start", 0)
        wanted = range(start, start + current["spec"].get("replicas", 1))
        first_new = start + _partition(current)
        for ordinal in wanted:
            pod = pods.get(ordinal)
            if pod is None:
                # Pods below the partition come back as they were.
                await self._create(current, ordinal, stable=stable, update=update, old=ordinal < first_new)
            elif _finished(pod) and not self._control.is_going(pod):
                await self._control.delete(current, pod, reason="RecreatingTerminatedPod")
            elif self._healthy(current, pod):
                continue
            if ordered:
                return
        surplus = sorted((ordinal for ordinal in pods if ordinal not in wanted), reverse=True)
        for ordinal in surplus:
            await self._control.delete(current, pods[ordinal])
            if ordered:
                return
        if surplus or current["spec"].get("updateStrategy", {}).get("type", "RollingUpdate") != "RollingUpdate":
            return
        for ordinal in sorted(wanted, reverse=True):
            pod = pods.get(ordinal)
            if pod is None or ordinal < first_new:
                return
            if hash_of(pod) != update:
                await self._control.delete(current, pod)
                return
            if not self._healthy(current, pod):
                return

    def _healthy(self, current: Object, pod: Object) -> bool:
        if self._control.is_going(pod):
            return False
        wait = seconds_to_available(pod, current["spec"].get("minReadySeconds", 0))
        if wait:
            self.queue.add_later(key_of(current), wait + 0.01)
        return wait == 0.0

    async def _create(self, current: Object, ordinal: int, *, stable: str, update: str, old: bool) -> None:
        template, revision = current["spec"]["template"], update
        if old and stable != update:
            found = next((item for item in self._revisions.of(current) if hash_of(item) == stable), None)
            if found is not None:
                template, revision = found["data"]["spec"]["template"], stable
        pod = stateful_pod(current, template, revision, ordinal)
        for claim in volume_claims(current, pod["metadata"]["name"], ordinal):
            try:
                await self._world.client.create(PERSISTENT_VOLUME_CLAIMS, claim, current["metadata"]["namespace"])
            except AlreadyExists:
                continue
        await self._control.create(current, [pod])

    async def _write_status(self, current: Object, pods: list[Object], *, stable: str, update: str) -> None:
        name = current["metadata"]["name"]
        alive = [pod for pod in pods if not _finished(pod)]
        least = current["spec"].get("minReadySeconds", 0)
        updated = sum(hash_of(pod) == update for pod in alive)
        ready = sum(is_ready(pod) for pod in alive)
        replicas = current["spec"].get("replicas", 1)
        if _partition(current) == 0 and updated == ready == len(alive) == replicas:
            stable = update
        status = {
            "replicas": len(alive),
            "readyReplicas": ready,
            "availableReplicas": sum(seconds_to_available(pod, least) == 0.0 for pod in alive),
            "currentReplicas": sum(hash_of(pod) == stable for pod in alive),
            "updatedReplicas": updated,
            "currentRevision": f"{name}-{stable}",
            "updateRevision": f"{name}-{update}",
            "observedGeneration": current["metadata"].get("generation", 0),
            "collisionCount": 0,
        }
        await write_status(self._world, STATEFUL_SETS, current, status)


def _partition(current: Object) -> int:
    rolling = current["spec"].get("updateStrategy", {}).get("rollingUpdate") or {}
    partition: int = rolling.get("partition", 0)
    return partition


def _finished(pod: Object) -> bool:
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def ordinal_of(owner: Object, pod: Object) -> int | None:
    """The number at the end of the pod's name, None if the name is not one that the owner gives."""
    name, _, number = pod["metadata"]["name"].rpartition("-")
    return int(number) if name == owner["metadata"]["name"] and number.isdecimal() else None


def stateful_pod(owner: Object, template: Object, revision: str, ordinal: int) -> Object:
    """The pod of an ordinal: its name is its host name, and its claims are its volumes."""
    namespace, set_name = key_of(owner)
    name = f"{set_name}-{ordinal}"
    reference = owner_reference(STATEFUL_SETS, owner)
    pod = pod_from_template(template, namespace=namespace, owner=reference, name=name)
    pod["metadata"]["labels"].update({HASH_LABEL: revision, NAME_LABEL: name, INDEX_LABEL: str(ordinal)})
    spec = pod["spec"]
    spec["hostname"] = name
    if owner["spec"].get("serviceName"):
        spec["subdomain"] = owner["spec"]["serviceName"]
    claimed = [claim["metadata"]["name"] for claim in owner["spec"].get("volumeClaimTemplates") or ()]
    if claimed:
        kept = [volume for volume in spec.get("volumes") or () if volume["name"] not in claimed]
        spec["volumes"] = kept + [
            {"name": claim, "persistentVolumeClaim": {"claimName": f"{claim}-{name}"}} for claim in claimed
        ]
    return pod


def volume_claims(owner: Object, pod_name: str, ordinal: int) -> list[Object]:
    """The claims of one pod. They outlive it, so that its successor finds its data."""
    claims = []
    labels = owner["spec"].get("selector", {}).get("matchLabels", {})
    for template in owner["spec"].get("volumeClaimTemplates") or ():
        metadata = template["metadata"]
        claims.append(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {
                    "name": f"{metadata['name']}-{pod_name}",
                    "namespace": owner["metadata"]["namespace"],
                    "labels": {**metadata.get("labels", {}), **labels, INDEX_LABEL: str(ordinal)},
                },
                "spec": copy.deepcopy(template["spec"]),
            }
        )
    return claims
