"""The scheduler: gives each pending pod a node.

In: pods without a node, nodes. Out: a binding for each pod that fits somewhere; for others the condition PodScheduled
False and an Event that counts the reasons. Fits: node selector, required node affinity, taints, readiness, being
schedulable. Of those that fit, the node with the fewest pods of the same owner, then the fewest pods, wins.
"""

from collections import Counter
from datetime import UTC, datetime

from tortie.lab.controllers.world import (
    Key,
    Object,
    Queue,
    World,
    condition,
    controller_of,
    is_active,
    is_ready,
    key_of,
    selects,
)
from tortie.model.catalog import NODES, PODS

NAME = "default-scheduler"


class Scheduler:
    def __init__(self, world: World) -> None:
        self._world = world
        self._pods = world.cache(PODS, indexes={"node": lambda pod: [pod.get("spec", {}).get("nodeName", "")]})
        self._nodes = world.cache(NODES)
        self._assumed: dict[Key, str] = {}
        # One worker: each decision must see the one before.
        self.queue = Queue("scheduler", self._reconcile, workers=1)
        world.watch(self._pods, self._pod_changed)
        world.watch(self._nodes, self._node_changed)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        pod = new or old
        assert pod is not None
        if new is None or new.get("spec", {}).get("nodeName"):
            self._assumed.pop(key_of(pod), None)
        elif new is not None:
            self.queue.add(key_of(new))

    def _node_changed(self, _old: Object | None, _new: Object | None) -> None:
        for pod in self._pods.by_index("node", ""):
            self.queue.add(key_of(pod))

    async def _reconcile(self, key: Key) -> None:
        pod = self._pods.get(key[1], key[0])
        if pod is None or pod["spec"].get("nodeName") or not is_active(pod) or key in self._assumed:
            return
        if pod["spec"].get("schedulerName", NAME) != NAME:
            return
        refusals: Counter[str] = Counter()
        fitting = []
        for node in self._nodes.items():
            reason = refusal(pod, node)
            if reason:
                refusals[reason] += 1
            else:
                fitting.append(node)
        if not fitting:
            await self._cannot(pod, refusals)
            return
        chosen = min(fitting, key=lambda node: self._load(node["metadata"]["name"], pod))["metadata"]["name"]
        self._assumed[key] = chosen
        try:
            await self._world.client.raw(
                "POST",
                PODS.path(key[0], key[1], "binding"),
                body={
                    "apiVersion": "v1",
                    "kind": "Binding",
                    "metadata": {"name": key[1], "namespace": key[0]},
                    "target": {"apiVersion": "v1", "kind": "Node", "name": chosen},
                },
            )
        except BaseException:
            self._assumed.pop(key, None)
            raise
        message = f"Successfully assigned {key[0]}/{key[1]} to {chosen}"
        self._world.event(PODS, pod, "Normal", "Scheduled", message)

    def _load(self, node: str, pod: Object) -> tuple[int, int, str]:
        """Pods of the same owner on the node, all pods on the node, its name."""
        owner = (controller_of(pod) or {}).get("uid")
        on_node = [other for other in self._pods.by_index("node", node) if is_active(other)]
        siblings = sum(1 for other in on_node if owner and (controller_of(other) or {}).get("uid") == owner)
        assumed = [key for key, name in self._assumed.items() if name == node]
        for key in assumed:
            other = self._pods.get(key[1], key[0])
            if other is not None and owner and (controller_of(other) or {}).get("uid") == owner:
                siblings += 1
        return siblings, len(on_node) + len(assumed), node

    async def _cannot(self, pod: Object, refusals: Counter[str]) -> None:
        total = sum(refusals.values())
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(refusals.items()))
        message = f"0/{total} nodes are available: {reasons}." if total else "no nodes available to schedule pods"
        if condition(pod, "PodScheduled").get("message") == message:
            return
        namespace, name = key_of(pod)
        await self._world.client.patch(
            PODS.untyped(),
            name,
            {
                "status": {
                    "conditions": [
                        {
                            "type": "PodScheduled",
                            "status": "False",
                            "reason": "Unschedulable",
                            "message": message,
                            "lastTransitionTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                        }
                    ]
                }
            },
            namespace=namespace,
            patch_type="strategic",
            subresource="status",
        )
        self._world.event(PODS, pod, "Warning", "FailedScheduling", message)


def refusal(pod: Object, node: Object) -> str:
    """Why the pod cannot run on the node, "" if it can."""
    spec, labels = pod["spec"], node["metadata"].get("labels", {})
    if not is_ready(node):
        return "node(s) were not ready"
    if node.get("spec", {}).get("unschedulable") and not _tolerated(_UNSCHEDULABLE, spec):
        return "node(s) were unschedulable"
    for key, value in (spec.get("nodeSelector") or {}).items():
        if labels.get(key) != value:
            return "node(s) didn't match Pod's node affinity/selector"
    affinity = (spec.get("affinity") or {}).get("nodeAffinity", {})
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is not None and not any(_term(term, node) for term in required.get("nodeSelectorTerms", ())):
        return "node(s) didn't match Pod's node affinity/selector"
    for taint in node.get("spec", {}).get("taints", ()):
        if taint.get("effect") in ("NoSchedule", "NoExecute") and not _tolerated(taint, spec):
            return f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"
    return ""


_UNSCHEDULABLE = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


def _term(term: Object, node: Object) -> bool:
    fields = term.get("matchFields", ())
    expressions = term.get("matchExpressions", ())
    if not fields and not expressions:
        return False
    return selects({"matchExpressions": expressions}, node["metadata"].get("labels", {})) and selects(
        {"matchExpressions": fields}, {"metadata.name": node["metadata"]["name"]}
    )


def _tolerated(taint: Object, spec: Object) -> bool:
    for toleration in spec.get("tolerations") or ():
        if toleration.get("effect") not in (None, "", taint.get("effect")):
            continue
        key = toleration.get("key", "")
        if toleration.get("operator", "Equal") == "Exists":
            if key in ("", taint["key"]):
                return True
        elif key == taint["key"] and toleration.get("value", "") == taint.get("value", ""):
            return True
    return False
