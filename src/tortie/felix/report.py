"""What is not in force as the user wishes, told to the user: in the log, as a metric, as Kubernetes Events.

In: the calculation's and the dataplane's problems, object by object, whenever they may have changed. Out: one line and
one Event when a problem appears, changes or ends. Everything else stays enforced meanwhile.
"""

from collections.abc import Mapping

from tortie.kube.events import EventRecorder, Reference
from tortie.model.dataplane import HostEndpointKey, Key, PolicyKey, WorkloadEndpointKey
from tortie.service.log import get_logger

_V3 = "projectcalico.org/v3"
_API = {
    "NetworkPolicy": (_V3, "NetworkPolicy"),
    "GlobalNetworkPolicy": (_V3, "GlobalNetworkPolicy"),
    "KubernetesClusterNetworkPolicy": ("policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy"),
    "KubernetesNetworkPolicy": ("networking.k8s.io/v1", "NetworkPolicy"),
}
_log = get_logger("felix.report")


class Report:
    """Remembers what it said last. `problems`: what is wrong now, by object in the user's words."""

    def __init__(self, recorder: EventRecorder | None, *, node: str) -> None:
        self.problems: dict[str, str] = {}
        self._recorder = recorder
        self._node = node

    def update(self, *, refused: Mapping[str, str], failed: Mapping[str, str]) -> None:
        """Tells what is new, what changed and what ended; both arguments hold everything that is wrong now.

        refused: values that cannot be used, or not all of them. failed: what the kernel would not take; the dataplane
        has logged it.
        """
        problems = {**refused, **failed}
        for about, reason in problems.items():
            if self.problems.get(about) != reason:
                if about not in failed:
                    _log.error("cannot be used as it is", object=about, reason=reason)
                self._tell(about, wrong=True, text=f"not in force on node {self._node}: {reason}")
        for about in self.problems.keys() - problems.keys():
            self._tell(about, wrong=False, text=f"in force again on node {self._node}")
        self.problems = problems

    def _tell(self, name: str, *, wrong: bool, text: str) -> None:
        about = reference(name)
        if about is None or self._recorder is None:
            return
        if wrong:
            self._recorder.event(about, "Warning", "NotInForce", text)
        else:
            self._recorder.event(about, "Normal", "InForce", text)


def subject(key: Key) -> str:
    """An object in the user's words, the same for every source of problems."""
    if isinstance(key, PolicyKey):
        return str(key)
    if isinstance(key, WorkloadEndpointKey):
        return f"Pod {key.workload}"
    if isinstance(key, HostEndpointKey):
        return f"HostEndpoint {key.name}"
    name = getattr(key, "name", None) or getattr(key, "cidr", "")
    namespace = getattr(key, "namespace", "")
    kind = type(key).__name__.removesuffix("Key")
    return f"{kind} {namespace + '/' if namespace else ''}{name}"


def reference(text: str) -> Reference | None:
    """The API object that words of `subject` mean; None for what is no object of the API."""
    kind, _, full = text.partition(" ")
    namespace, slash, name = full.rpartition("/")
    if kind in _API:
        api_version, api_kind = _API[kind]
        return Reference(api_version, api_kind, name, namespace)
    if kind == "Pod" and slash:
        return Reference("v1", "Pod", name, namespace)
    if kind == "HostEndpoint":
        return Reference(_V3, "HostEndpoint", name)
    return None
