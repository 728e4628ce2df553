"""What the agent knows of the cluster without asking: pods of its node, namespaces, readiness; and the pod's record.

For ADD, DEL and CHECK. In: watches, and a read where the watch may lag. Out: the pod and namespace of a call, whether
the datastore is ready, and the annotations by which a pod tells its addresses (spec/cni-ipam-node.md 1.7, 1.12).
"""

import asyncio
from collections.abc import Mapping, Sequence

from tortie.cni.annotations import CONTAINER_ID, POD_IP, POD_IPS
from tortie.cni.errors import PluginError
from tortie.ipam.view import CachedView
from tortie.kube.cache import Cache
from tortie.kube.client import Client
from tortie.kube.errors import Conflict, NotFound, Temporary
from tortie.model.catalog import CLUSTER_INFORMATIONS, NAMESPACES, NODES, PODS
from tortie.model.k8s import Namespace, Pod
from tortie.service.log import get_logger

_DELETE_ATTEMPTS = 6
_PATCH_ATTEMPTS = 4
_log = get_logger("cni.cluster")


class Cluster:
    """Use `run` as a task; questions wait until the first lists have arrived."""

    def __init__(self, client: Client, *, node: str) -> None:
        self.client = client
        self.node = node
        self.view = CachedView(client, node=node)
        self._pods = Cache(client, PODS, field_selector=f"spec.nodeName={node}")
        self._namespaces = Cache(client, NAMESPACES)
        self._information = Cache(client, CLUSTER_INFORMATIONS)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.view.run())
            for cache in (self._pods, self._namespaces, self._information):
                group.create_task(cache.run())

    async def wait_synced(self) -> None:
        await self.view.wait_synced()
        for cache in (self._pods, self._namespaces, self._information):
            await cache.wait_synced()

    @property
    def waiting_for(self) -> list[str]:
        """Resources that have not been seen yet; empty once everything is known."""
        caches = (self._pods, self._namespaces, self._information)
        return [*self.view.waiting_for, *(cache.resource.plural for cache in caches if not cache.synced)]

    async def require_ready(self) -> None:
        """Raises PluginError unless ClusterInformation `default` says that the datastore is ready."""
        found = self._information.get("default")
        if found is None or found.spec.datastore_ready is not True:
            found = await self.client.find(CLUSTER_INFORMATIONS, "default")  # the watch may lag
        if found is None or found.spec.datastore_ready is None:
            raise PluginError(
                "ClusterInformation default has no datastoreReady; is calico-node set up in this cluster?"
            )
        if not found.spec.datastore_ready:
            raise PluginError("the Calico datastore is not ready to process requests (datastoreReady is false)")

    async def pod(self, namespace: str, name: str, *, uid: str = "") -> Pod:
        """The pod of this call. uid: as the runtime gives it; without, a remembered pod might be an earlier one of the
        same name, so the API is asked. Raises PluginError."""
        found = self._pods.get(name, namespace)
        if found is not None and uid and found.metadata.uid == uid:
            return found
        try:
            pod = await self.client.get(PODS, name, namespace)
        except NotFound as error:
            raise PluginError(f"pod {namespace}/{name} does not exist") from error
        if uid and pod.metadata.uid != uid:
            raise PluginError(f"pod {namespace}/{name} has UID {pod.metadata.uid} by now, the runtime set up {uid}")
        return pod

    async def find_pod(self, namespace: str, name: str) -> Pod | None:
        """The pod as the API has it now."""
        return await self.client.find(PODS, name, namespace)

    def remembered_pods(self) -> Sequence[Pod]:
        return list(self._pods.items())

    async def namespace(self, name: str) -> Namespace:
        found = self._namespaces.get(name)
        if found is None:
            try:
                found = await self.client.get(NAMESPACES, name)
            except NotFound as error:
                raise PluginError(f"namespace {name} does not exist") from error
        return found

    async def pod_cidrs(self, node: str) -> Sequence[str]:
        found = await self.client.get(NODES, node)
        return found.spec.pod_cidrs or ((found.spec.pod_cidr,) if found.spec.pod_cidr else ())

    async def record(self, pod: Pod, *, addresses: Sequence[str], container_id: str) -> None:
        """Writes the endpoint into the pod: addresses with prefix length, and the container. Raises PluginError if the
        pod has been replaced by another of its name."""
        annotations = {POD_IP: addresses[0], POD_IPS: ",".join(addresses), CONTAINER_ID: container_id}
        try:
            await self._annotate(pod.metadata.namespace, pod.metadata.name, annotations, uid=pod.metadata.uid)
        except (NotFound, Conflict) as error:
            raise PluginError(
                f"pod {pod.metadata.namespace}/{pod.metadata.name} was deleted meanwhile: {error}"
            ) from error

    async def erase(self, namespace: str, name: str, *, container_id: str) -> bool:
        """Empties the pod's addresses, if the pod still names this container; False if it names another one.

        The container's ID stays. An absent pod counts as done. Raises errors of the API.
        """
        remembered = self._pods.get(name, namespace)
        for attempt in range(_DELETE_ATTEMPTS):
            pod = remembered if attempt == 0 and remembered is not None else await self.find_pod(namespace, name)
            if pod is None:
                return True
            annotations = pod.metadata.annotations
            if annotations.get(CONTAINER_ID, "") != container_id:
                if pod is remembered:
                    continue  # perhaps the watch lags
                return False
            if not annotations.get(POD_IP) and not annotations.get(POD_IPS) and POD_IP in annotations:
                return True
            try:
                await self._annotate(
                    namespace,
                    name,
                    {POD_IP: "", POD_IPS: ""},
                    uid=pod.metadata.uid,
                    resource_version=pod.metadata.resource_version,
                )
                return True
            except NotFound:
                return True
            except Conflict:
                continue
        raise PluginError(
            f"pod {namespace}/{name}: {_DELETE_ATTEMPTS} attempts to clear its addresses met other changes"
        )

    async def _annotate(
        self, namespace: str, name: str, annotations: Mapping[str, str], *, uid: str, resource_version: str = ""
    ) -> None:
        metadata: dict[str, object] = {"annotations": dict(annotations), "uid": uid}
        if resource_version:
            metadata["resourceVersion"] = resource_version
        for attempt in range(_PATCH_ATTEMPTS):
            try:
                await self.client.patch(
                    PODS,
                    name,
                    {"metadata": metadata},
                    namespace=namespace,
                    patch_type="strategic",
                    subresource="status",
                )
                return
            except Temporary:  # such as a connection that an API server closed when it restarted
                if attempt + 1 == _PATCH_ATTEMPTS:
                    raise
                await asyncio.sleep(0.05 * 3**attempt)
