"""ControllerRevisions: the versions of a pod template that a DaemonSet or StatefulSet has had.

For the two controllers. In: an owner and its template. Out: the revision of the current template, newest of all, and
old ones removed beyond the history limit; `kubectl rollout history` and `undo` read them.
"""

from collections.abc import Iterable
from typing import Any

from tortie.kube.errors import AlreadyExists
from tortie.lab.controllers.rollout import template_hash
from tortie.lab.controllers.world import Object, World, controller_of, key_of, owner_reference
from tortie.model.catalog import CONTROLLER_REVISIONS
from tortie.model.resource import Resource

HASH_LABEL = "controller-revision-hash"


class Revisions:
    """The revisions of one kind of owner."""

    def __init__(self, world: World, resource: Resource[Any]) -> None:
        self._world = world
        self._resource = resource
        self.cache = world.cache(CONTROLLER_REVISIONS)

    def of(self, owner: Object) -> list[Object]:
        """All revisions of the owner, oldest first."""
        owned = self.cache.by_index("owner", owner["metadata"]["uid"])
        return sorted(owned, key=lambda revision: int(revision["revision"]))

    async def current(self, owner: Object) -> Object:
        """The revision of the owner's template; made, or made the newest, if it is not."""
        namespace, name = key_of(owner)
        known = self.of(owner)
        hash_ = template_hash(owner["spec"]["template"])
        newest = int(known[-1]["revision"]) if known else 0
        found = next((item for item in known if item["metadata"]["labels"].get(HASH_LABEL) == hash_), None)
        if found is not None and int(found["revision"]) == newest:
            return found
        if found is not None:
            patch = {"revision": newest + 1}
            return await self._world.client.patch(
                CONTROLLER_REVISIONS, found["metadata"]["name"], patch, namespace=namespace
            )
        body = {
            "apiVersion": "apps/v1",
            "kind": "ControllerRevision",
            "metadata": {
                "name": f"{name}-{hash_}",
                "namespace": namespace,
                "labels": {**owner["spec"]["template"].get("metadata", {}).get("labels", {}), HASH_LABEL: hash_},
                "annotations": _annotations(owner),
                "ownerReferences": [owner_reference(self._resource, owner)],
            },
            "data": {"spec": {"template": {**owner["spec"]["template"], "$patch": "replace"}}},
            "revision": newest + 1,
        }
        try:
            return await self._world.client.create(CONTROLLER_REVISIONS, body, namespace)
        except AlreadyExists:
            # Made by us a moment ago, or by the owner's predecessor of the same name; the latter gets removed.
            made = await self._world.client.get(CONTROLLER_REVISIONS, f"{name}-{hash_}", namespace)
            reference = controller_of(made)
            if reference is None or reference["uid"] != owner["metadata"]["uid"]:
                raise
            return made

    async def clean_up(self, owner: Object, in_use: Iterable[str]) -> None:
        """Deletes the oldest revisions beyond the history limit; in_use: hashes that pods still carry."""
        used = set(in_use)
        idle = [item for item in self.of(owner)[:-1] if hash_of(item) not in used]
        limit = owner["spec"].get("revisionHistoryLimit", 10)
        for item in idle[: max(0, len(idle) - limit)]:
            namespace, name = key_of(item)
            await self._world.client.delete(CONTROLLER_REVISIONS, name, namespace)


def hash_of(obj: Object) -> str:
    """The template's hash that a revision or a pod carries."""
    text: str = obj["metadata"].get("labels", {}).get(HASH_LABEL, "")
    return text


def _annotations(owner: Object) -> Object:
    annotations = owner["metadata"].get("annotations", {})
    return {
        name: value for name, value in annotations.items() if name != "kubectl.kubernetes.io/last-applied-configuration"
    }
