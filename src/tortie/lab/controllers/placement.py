"""Which pods hold places on which nodes, decisions that the cache does not show yet included. Pure.

For the scheduler. In: pods as they come, go and get nodes. Out: counts by node in O(1), and the pods themselves for the
few questions that need them.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator

from tortie.lab.controllers.affinity import excludes
from tortie.lab.controllers.world import Key, Object, controller_of, is_active, key_of


class Placement:
    def __init__(self) -> None:
        self._node_of: dict[Key, str] = {}
        self._pods: dict[str, dict[Key, Object]] = defaultdict(dict)
        self._siblings: dict[str, Counter[str]] = defaultdict(Counter)
        # The few pods that say who may not join them.
        self._excluding: dict[Key, tuple[Object, str]] = {}

    def put(self, pod: Object, node: str) -> None:
        """The pod has a place on the node; a pod that has finished or is being deleted has none."""
        key = key_of(pod)
        self.drop(key)
        if not node or not is_active(pod):
            return
        self._node_of[key] = node
        self._pods[node][key] = pod
        if owner := controller_of(pod):
            self._siblings[node][owner["uid"]] += 1
        if excludes(pod):
            self._excluding[key] = (pod, node)

    def drop(self, key: Key) -> None:
        node = self._node_of.pop(key, None)
        if node is None:
            return
        pod = self._pods[node].pop(key)
        if owner := controller_of(pod):
            self._siblings[node][owner["uid"]] -= 1
        self._excluding.pop(key, None)

    def count(self, node: str) -> int:
        return len(self._pods[node])

    def siblings(self, pod: Object, node: str) -> int:
        """How many pods on the node have the same controller."""
        owner = controller_of(pod)
        return self._siblings[node][owner["uid"]] if owner else 0

    def everywhere(self) -> Iterator[tuple[Object, str]]:
        for node, pods in self._pods.items():
            for pod in pods.values():
                yield pod, node

    def excluding(self) -> list[tuple[Object, str]]:
        """The pods with required anti-affinity, and their nodes."""
        return list(self._excluding.values())
