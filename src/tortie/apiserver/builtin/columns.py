"""Columns of the core kinds, as `kubectl get` users know them.

In: objects. Out: `Table`s with the cells of each row. Pure: ages are marked here and counted when printed.
"""

from typing import Any

from tortie.apiserver.builtin import plain
from tortie.apiserver.kinds import Column, Table
from tortie.apiserver.objects import get
from tortie.apiserver.tables import AGE, NAME, Since, age

Object = dict[str, Any]
NONE = "<none>"


def name(obj: Object) -> str:
    return str(obj["metadata"]["name"])


def wide(label: str, kind: str = "string") -> Column:
    return Column(label, kind, "", 1)


def text(label: str, kind: str = "string") -> Column:
    return Column(label, kind)


def selector_text(value: Any) -> str:
    """A LabelSelector or plain map on one line."""
    if not isinstance(value, dict) or not value:
        return NONE
    if "matchLabels" not in value and "matchExpressions" not in value:
        return ",".join(f"{k}={v}" for k, v in sorted(value.items()))
    parts = [f"{k}={v}" for k, v in sorted((value.get("matchLabels") or {}).items())]
    for term in value.get("matchExpressions") or ():
        key, operator, values = term.get("key"), term.get("operator"), ",".join(sorted(term.get("values") or ()))
        parts.append(
            {
                "In": f"{key} in ({values})",
                "NotIn": f"{key} notin ({values})",
                "Exists": f"{key}",
                "DoesNotExist": f"!{key}",
            }.get(str(operator), str(key))
        )
    return ",".join(parts) or NONE


# Pods ---------------------------------------------------------------------------------------------------------------


def _init_status(pod: Object) -> str:
    """`Init:1/2`, `Init:Error`, … while init containers run; empty when they are done."""
    statuses = get(pod, "status", "initContainerStatuses") or []
    sidecars = {c["name"] for c in pod["spec"].get("initContainers") or () if c.get("restartPolicy") == "Always"}
    for index, status in enumerate(statuses):
        state = status.get("state") or {}
        ended = state.get("terminated")
        if ended and ended.get("exitCode") == 0:
            continue
        if status.get("name") in sidecars and status.get("started"):
            continue
        if ended:
            if ended.get("reason"):
                return f"Init:{ended['reason']}"
            return f"Init:Signal:{ended['signal']}" if ended.get("signal") else f"Init:ExitCode:{ended.get('exitCode')}"
        waiting = (state.get("waiting") or {}).get("reason", "")
        if waiting and waiting != "PodInitializing":
            return f"Init:{waiting}"
        return f"Init:{index}/{len(pod['spec'].get('initContainers') or ())}"
    return ""


def pod_status(pod: Object) -> str:
    """The word in the STATUS column."""
    status = pod.get("status") or {}
    reason = status.get("reason") or status.get("phase") or "Unknown"
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "SchedulingGated":
            reason = "SchedulingGated"
    initializing = _init_status(pod)
    if initializing:
        reason = initializing
    else:
        running = False
        for container in reversed(status.get("containerStatuses") or ()):
            state = container.get("state") or {}
            waiting, ended = state.get("waiting") or {}, state.get("terminated")
            if waiting.get("reason"):
                reason = waiting["reason"]
            elif ended and ended.get("reason"):
                reason = ended["reason"]
            elif ended:
                reason = f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode')}"
            elif container.get("ready") and "running" in state:
                running = True
        if reason == "Completed" and running:
            reason = "Running" if _ready(pod) else "NotReady"
    if pod["metadata"].get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            return "Unknown"
        if status.get("phase") not in {"Failed", "Succeeded"}:
            return "Terminating"
    return str(reason)


def _ready(pod: Object) -> bool:
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in get(pod, "status", "conditions") or ())


def _pod_cells(pod: Object) -> list[Any]:
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    statuses = status.get("containerStatuses") or []
    sidecars = {c["name"] for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"}
    counted = [*statuses, *[s for s in status.get("initContainerStatuses") or () if s.get("name") in sidecars]]
    ready = sum(1 for s in counted if s.get("ready") and "running" in (s.get("state") or {}))
    total = len(spec.get("containers") or ()) + len(sidecars)
    restarts = sum(int(s.get("restartCount", 0)) for s in counted)
    last = max((get(s, "lastState", "terminated", "finishedAt") or "" for s in counted), default="")
    shown: Any = _Restarts(restarts, last) if restarts and last else str(restarts)
    gates = spec.get("readinessGates") or []
    true = {c.get("type") for c in status.get("conditions") or () if c.get("status") == "True"}
    gate_text = f"{sum(1 for g in gates if g.get('conditionType') in true)}/{len(gates)}" if gates else NONE
    return [
        name(pod),
        f"{ready}/{total}",
        pod_status(pod),
        shown,
        age(pod),
        status.get("podIP") or NONE,
        spec.get("nodeName") or NONE,
        status.get("nominatedNodeName") or NONE,
        gate_text,
    ]


class _Restarts(Since):
    """A restart count with the time since the last one."""

    __slots__ = ("count",)

    def __init__(self, count: int, at: str) -> None:
        super().__init__(at)
        self.count = count

    def text(self, since: str) -> str:
        return f"{self.count} ({since} ago)"


def _pod_conditions(pod: Object) -> list[Object]:
    phase = get(pod, "status", "phase")
    if phase in {"Succeeded", "Failed"}:
        return [{"type": "Completed", "status": "True", "reason": phase, "message": ""}]
    return []


PODS = Table(
    (
        NAME, text("Ready"), text("Status"), text("Restarts"), AGE, wide("IP"), wide("Node"), wide("Nominated Node"),
        wide("Readiness Gates"),
    ),
    _pod_cells,
    _pod_conditions,
)  # fmt: skip


# Nodes, namespaces --------------------------------------------------------------------------------------------------


def _node_cells(node: Object) -> list[Any]:
    meta, status = node["metadata"], node.get("status") or {}
    words = [
        "Ready" if c.get("status") == "True" else "NotReady"
        for c in status.get("conditions") or ()
        if c.get("type") == "Ready"
    ] or ["Unknown"]
    if get(node, "spec", "unschedulable"):
        words.append("SchedulingDisabled")
    roles = set()
    for key, value in (meta.get("labels") or {}).items():
        if key.startswith("node-role.kubernetes.io/"):
            roles.add(key.removeprefix("node-role.kubernetes.io/"))
        elif key == "kubernetes.io/role" and value:
            roles.add(value)
    addresses: dict[str, str] = {}
    for entry in status.get("addresses") or ():
        addresses.setdefault(str(entry.get("type")), str(entry.get("address")))
    info = status.get("nodeInfo") or {}
    return [
        name(node),
        ",".join(words),
        ",".join(sorted(roles)) or NONE,
        age(node),
        info.get("kubeletVersion", ""),
        addresses.get("InternalIP", NONE),
        addresses.get("ExternalIP", NONE),
        info.get("osImage") or "<unknown>",
        info.get("kernelVersion") or "<unknown>",
        info.get("containerRuntimeVersion") or "<unknown>",
    ]


NODES = Table(
    (
        NAME, text("Status"), text("Roles"), AGE, text("Version"), wide("Internal-IP"), wide("External-IP"),
        wide("OS-Image"), wide("Kernel-Version"), wide("Container-Runtime"),
    ),
    _node_cells,
)  # fmt: skip

NAMESPACES = Table((NAME, text("Status"), AGE), lambda o: [name(o), get(o, "status", "phase") or "", age(o)])


# Services and endpoints ---------------------------------------------------------------------------------------------


def _service_cells(service: Object) -> list[Any]:
    spec = service.get("spec") or {}
    kind = spec.get("type", "ClusterIP")
    external = list(spec.get("externalIPs") or ())
    if kind == "LoadBalancer":
        external += [
            str(i.get("ip") or i.get("hostname")) for i in get(service, "status", "loadBalancer", "ingress") or ()
        ]
    outside = ",".join(external) or ("<pending>" if kind == "LoadBalancer" else NONE)
    if kind == "ExternalName":
        outside = spec.get("externalName", NONE)
    ports = []
    for port in spec.get("ports") or ():
        shown = f"{port.get('port')}:{port['nodePort']}" if port.get("nodePort") else f"{port.get('port')}"
        ports.append(f"{shown}/{port.get('protocol', 'TCP')}")
    return [
        name(service),
        kind,
        spec.get("clusterIP") or NONE,
        outside,
        ",".join(ports) or NONE,
        age(service),
        selector_text(spec.get("selector")),
    ]


SERVICES = Table(
    (NAME, text("Type"), text("Cluster-IP"), text("External-IP"), text("Port(s)"), AGE, wide("Selector")),
    _service_cells,
)


def _more(parts: list[str]) -> str:
    if not parts:
        return NONE
    return ",".join(parts[:3]) + (f" + {len(parts) - 3} more..." if len(parts) > 3 else "")


def _endpoints_cells(obj: Object) -> list[Any]:
    parts = []
    for subset in obj.get("subsets") or ():
        for port in subset.get("ports") or [{}]:
            for address in subset.get("addresses") or ():
                ip = str(address.get("ip"))
                shown = f"[{ip}]" if ":" in ip and port else ip
                parts.append(f"{shown}:{port['port']}" if port.get("port") else ip)
    return [name(obj), _more(parts), age(obj)]


ENDPOINTS = Table((NAME, text("Endpoints"), AGE), _endpoints_cells)


def _slice_cells(obj: Object) -> list[Any]:
    ports = [str(p.get("port") or "*") for p in obj.get("ports") or ()]
    addresses = [str(a) for e in obj.get("endpoints") or () for a in e.get("addresses") or ()]
    shown = _more(addresses) if addresses else "<unset>"
    return [name(obj), obj.get("addressType", ""), _more(ports) if ports else "<unset>", shown, age(obj)]


SLICES = Table((NAME, text("AddressType"), text("Ports"), text("Endpoints"), AGE), _slice_cells)


# Configuration, accounts, events ------------------------------------------------------------------------------------

CONFIGMAPS = Table(
    (NAME, text("Data"), AGE),
    lambda o: [name(o), str(len(o.get("data") or ()) + len(o.get("binaryData") or ())), age(o)],
)
SECRETS = Table(
    (NAME, text("Type"), text("Data", "integer"), AGE),
    lambda o: [name(o), o.get("type", ""), len(o.get("data") or ()), age(o)],
)
SERVICE_ACCOUNTS = Table((NAME, text("Secrets"), AGE), lambda o: [name(o), str(len(o.get("secrets") or ())), age(o)])


def _event_cells(event: Object) -> list[Any]:
    involved = event.get("involvedObject") or {}
    series = event.get("series") or {}
    first = event.get("firstTimestamp") or event.get("eventTime")
    last = series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime") or first
    count = series.get("count") or event.get("count") or 1
    source = get(event, "source", "component") or event.get("reportingComponent") or ""
    host = get(event, "source", "host") or event.get("reportingInstance")
    target = f"{str(involved.get('kind', '')).lower()}/{involved.get('name', '')}"
    return [
        Since(last),
        event.get("type", ""),
        event.get("reason", ""),
        target,
        involved.get("fieldPath", ""),
        f"{source}, {host}" if source and host else source,
        str(event.get("message", "")).strip(),
        Since(first),
        count,
        name(event),
    ]


EVENTS = Table(
    (
        text("Last Seen"), text("Type"), text("Reason"), text("Object"), wide("Subobject"), wide("Source"),
        text("Message"), wide("First Seen"), wide("Count", "integer"), Column("Name", "string", "name", 1),
    ),
    _event_cells,
)  # fmt: skip


def _new_event_cells(event: Object) -> list[Any]:
    return _event_cells(plain.event_in(event))


EVENTS_NEW = Table(EVENTS.columns, _new_event_cells)
LEASES = Table((NAME, text("Holder"), AGE), lambda o: [name(o), get(o, "spec", "holderIdentity") or "", age(o)])
POLICIES = Table(
    (NAME, text("Pod-Selector"), AGE), lambda o: [name(o), selector_text(get(o, "spec", "podSelector")), age(o)]
)
