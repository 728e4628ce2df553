"""The configuration a running Felix goes by, and what a change of it means (spec/felix.md 6.2).

In: local sources at start, then every FelixConfiguration, the ClusterInformation and the labels of this node as they
change. Out: the effective parameters once they are complete, and afterwards a decision: nothing, live, or restart.
"""

from typing import Literal, NamedTuple

from tortie.felix.config import LIVE, Effective, Source, difference, merge, resources
from tortie.model.dataplane import ClusterInfoKey, ConfigValues, FelixConfigKey, Node, NodeKey, Update

_CLUSTER = "default"


class Decision(NamedTuple):
    """What follows from the last changes. reason: for the log."""

    action: Literal["nothing", "live", "restart"]
    reason: str = ""


class Settings:
    """local: environment, then file. `settle` once everything has arrived, then `decide` after every batch."""

    def __init__(self, local: list[Source], *, node: str) -> None:
        self._local = local
        self._node = node
        self._configurations: dict[str, ConfigValues] = {}
        self._cluster: ConfigValues | None = None
        self._labels: dict[str, str] = {}
        self._changed = False
        self.effective: Effective = merge(local)

    def take(self, update: Update) -> None:
        """Notes an update if it concerns configuration."""
        key, value = update.key, update.value
        if isinstance(key, FelixConfigKey):
            if isinstance(value, ConfigValues):
                self._configurations[key.name] = value
            else:
                self._configurations.pop(key.name, None)
        elif isinstance(key, ClusterInfoKey) and key.name == _CLUSTER:
            self._cluster = value if isinstance(value, ConfigValues) else None
        elif isinstance(key, NodeKey) and key.name == self._node:
            labels = value.labels if isinstance(value, Node) else {}
            if labels == self._labels:
                return
            self._labels = labels
        else:
            return
        self._changed = True

    @property
    def datastore_ready(self) -> bool:
        """False only while ClusterInformation says so: during an upgrade or migration of the datastore."""
        return self._cluster is None or self._cluster.values.get("DatastoreReady", "true") == "true"

    def settle(self) -> Effective:
        """The effective parameters as of now, to start with. Raises Fatal."""
        self._changed = False
        self.effective = self._merge()
        return self.effective

    def decide(self) -> Decision:
        """What the changes since the last call mean. Raises Fatal."""
        if not self._changed:
            return Decision("nothing")
        self._changed = False
        if not self.datastore_ready:
            return Decision("restart", "ClusterInformation says that the datastore is not ready")
        new = self._merge()
        names = [name for name in difference(self.effective, new) if name != "datastoreready"]
        self.effective = new
        if not names:
            return Decision("nothing")
        if LIVE.issuperset(names):
            return Decision("live", ", ".join(names))
        return Decision("restart", "changed: " + ", ".join(name for name in names if name not in LIVE))

    def _merge(self) -> Effective:
        stored = resources(self._configurations, self._cluster, node=self._node, labels=self._labels)
        return merge([*self._local, *stored])
