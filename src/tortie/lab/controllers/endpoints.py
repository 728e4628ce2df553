"""EndpointSlices: which pods stand behind a Service.

In: Services with a selector, pods. Out: EndpointSlices for each address family of a Service, and its Endpoints object
for clients that still read those.
"""

import contextlib
import json
from typing import Any

from tortie.kube.errors import AlreadyExists, NotFound
from tortie.lab.controllers.world import Key, Object, Queue, World, is_ready, key_of, owner_reference
from tortie.model.catalog import ENDPOINT_SLICES, ENDPOINTS, PODS, SERVICES

MANAGER = "endpointslice-controller.k8s.io"
SERVICE_LABEL = "kubernetes.io/service-name"
_MOST_ENDPOINTS = 100


class EndpointSlices:
    def __init__(self, world: World) -> None:
        self._world = world
        self._services = world.cache(SERVICES)
        self._pods = world.cache(PODS)
        self._slices = world.cache(
            ENDPOINT_SLICES,
            indexes={"service": lambda item: [item["metadata"].get("labels", {}).get(SERVICE_LABEL, "")]},
        )
        self._endpoints = world.cache(ENDPOINTS)
        self.queue = Queue("endpointslice", self._reconcile)
        world.watch(self._services, lambda old, new: self.queue.add(key_of(new or old or {})))
        world.watch(self._pods, self._pod_changed)
        world.watch(self._slices, self._slice_changed)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        namespace = ((new or old) or {})["metadata"]["namespace"]
        labels = [pod["metadata"].get("labels", {}) for pod in (old, new) if pod is not None]
        for service in self._services.by_index("namespace", namespace):
            selector = service["spec"].get("selector")
            if selector and any(selector.items() <= each.items() for each in labels):
                self.queue.add(key_of(service))

    def _slice_changed(self, old: Object | None, new: Object | None) -> None:
        item = new or old
        assert item is not None
        labels = item["metadata"].get("labels", {})
        if _is_ours(item) and SERVICE_LABEL in labels:
            self.queue.add((item["metadata"]["namespace"], labels[SERVICE_LABEL]))

    async def _reconcile(self, key: Key) -> None:
        service = self._services.get(key[1], key[0])
        if service is None or "deletionTimestamp" in service["metadata"]:
            return
        selector = service["spec"].get("selector")
        if not selector or service["spec"].get("type") == "ExternalName":
            return
        pods = [
            pod
            for pod in self._pods.by_index("namespace", key[0])
            if selector.items() <= pod["metadata"].get("labels", {}).items()
            and pod.get("status", {}).get("podIPs")
            and pod["status"].get("phase") not in ("Succeeded", "Failed")
        ]
        pods.sort(key=lambda pod: pod["metadata"]["name"])
        bodies = [
            body
            for family in service["spec"].get("ipFamilies") or ["IPv4"]
            for body in slices_for(service, family, pods)
        ]
        for body in bodies:
            old = self._slices.get(body["metadata"]["name"], key[0])
            await self._write(ENDPOINT_SLICES, old, body, ("endpoints", "ports"))
        names = {body["metadata"]["name"] for body in bodies}
        for item in self._slices.by_index("service", key[1]):
            if item["metadata"]["namespace"] == key[0] and _is_ours(item) and item["metadata"]["name"] not in names:
                with contextlib.suppress(NotFound):
                    await self._world.client.delete(ENDPOINT_SLICES, item["metadata"]["name"], key[0])
        await self._write_endpoints(service, pods)

    async def _write_endpoints(self, service: Object, pods: list[Object]) -> None:
        namespace, name = key_of(service)
        family = (service["spec"].get("ipFamilies") or ["IPv4"])[0]
        ready: list[Object] = []
        others: list[Object] = []
        ports: list[Object] | None = None
        for pod in pods:
            address = address_of(pod, family)
            own_ports = resolve_ports(service, pod)
            if address is None or own_ports is None:
                continue
            ports = ports or own_ports
            entry = {"ip": address, "nodeName": pod["spec"].get("nodeName", ""), "targetRef": _reference(pod)}
            (ready if is_ready(pod) or service["spec"].get("publishNotReadyAddresses") else others).append(entry)
        subset: Object = {"ports": ports or []}
        if ready:
            subset["addresses"] = ready
        if others:
            subset["notReadyAddresses"] = others
        body = {
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "labels": service["metadata"].get("labels", {}),
                "ownerReferences": [owner_reference(SERVICES, service)],
            },
            "subsets": [subset] if ready or others else [],
        }
        await self._write(ENDPOINTS, self._endpoints.get(name, namespace), body, ("subsets",))

    async def _write(self, resource: Any, old: Object | None, body: Object, fields: tuple[str, ...]) -> None:
        namespace, name = key_of(body)
        if old is None:
            try:
                await self._world.client.create(resource, body, namespace)
            except AlreadyExists:
                # The cache has not seen it yet; the event that brings it asks for another look.
                self.queue.add_later((namespace, name), 0.05)
            return
        metadata = {name: body["metadata"][name] for name in ("labels", "ownerReferences")}
        # Others may add labels of their own.
        same = (
            body["metadata"]["labels"].items() <= old["metadata"].get("labels", {}).items()
            and old["metadata"].get("ownerReferences") == body["metadata"]["ownerReferences"]
        )
        if same and all((old.get(field) or []) == (body[field] or []) for field in fields):
            return
        patch = {"metadata": metadata, **{field: body[field] for field in fields}}
        try:
            await self._world.client.patch(resource, name, patch, namespace=namespace)
        except NotFound:
            await self._world.client.create(resource, body, namespace)


def _is_ours(item: Object) -> bool:
    labels = item["metadata"].get("labels", {})
    return bool(labels.get("endpointslice.kubernetes.io/managed-by") == MANAGER)


def slices_for(service: Object, family: str, pods: list[Object]) -> list[Object]:
    """The slices of one address family: one for pods that serve the same ports, at most _MOST_ENDPOINTS in each."""
    namespace, name = key_of(service)
    publish = bool(service["spec"].get("publishNotReadyAddresses"))
    groups: dict[str, tuple[list[Object], list[Object]]] = {}
    for pod in pods:
        address, ports = address_of(pod, family), resolve_ports(service, pod)
        if address is not None and ports is not None:
            groups.setdefault(json.dumps(ports), (ports, []))[1].append(_entry(pod, address, publish))
    chunks = [
        (ports, entries[start : start + _MOST_ENDPOINTS])
        for ports, entries in groups.values()
        for start in range(0, len(entries), _MOST_ENDPOINTS)
    ] or [([], [])]
    labels = {
        **service["metadata"].get("labels", {}),
        SERVICE_LABEL: name,
        "endpointslice.kubernetes.io/managed-by": MANAGER,
        **({"service.kubernetes.io/headless": ""} if service["spec"].get("clusterIP") == "None" else {}),
    }
    return [
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"{name}-{family.lower()}" + (f"-{number}" if number else ""),
                "namespace": namespace,
                "labels": labels,
                "ownerReferences": [owner_reference(SERVICES, service)],
            },
            "addressType": family,
            "endpoints": entries,
            "ports": ports,
        }
        for number, (ports, entries) in enumerate(chunks)
    ]


def address_of(pod: Object, family: str) -> str | None:
    """The pod's address of a family (IPv4 or IPv6)."""
    for entry in pod["status"]["podIPs"]:
        if (":" in entry["ip"]) == (family == "IPv6"):
            address: str = entry["ip"]
            return address
    return None


def resolve_ports(service: Object, pod: Object) -> list[Object] | None:
    """The Service's ports as this pod serves them; None if it names a port that the pod does not have."""
    ports = []
    for port in service["spec"].get("ports", ()):
        target = port.get("targetPort", port["port"])
        protocol = port.get("protocol", "TCP")
        if isinstance(target, str):
            number = next(
                (
                    own["containerPort"]
                    for container in pod["spec"]["containers"]
                    for own in container.get("ports", ())
                    if own.get("name") == target and own.get("protocol", "TCP") == protocol
                ),
                None,
            )
            if number is None:
                return None
            target = number
        ports.append({"name": port.get("name", ""), "port": target, "protocol": protocol})
    return ports


def _entry(pod: Object, address: str, publish: bool) -> Object:
    ready, terminating = is_ready(pod), "deletionTimestamp" in pod["metadata"]
    entry: Object = {
        "addresses": [address],
        "conditions": {"ready": (ready and not terminating) or publish, "serving": ready, "terminating": terminating},
        "nodeName": pod["spec"].get("nodeName", ""),
        "targetRef": _reference(pod),
    }
    if pod["spec"].get("hostname") and pod["spec"].get("subdomain"):
        entry["hostname"] = pod["spec"]["hostname"]
    return entry


def _reference(pod: Object) -> Object:
    namespace, name = key_of(pod)
    return {"kind": "Pod", "namespace": namespace, "name": name, "uid": pod["metadata"]["uid"]}
