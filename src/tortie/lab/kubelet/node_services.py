"""What every pod of a node shares: configuration, the way to the API server, the runtime, CNI, images.

In: built once by `daemon`. Out: passed to workers and units; also the few helpers that all of them need.
"""

import asyncio
import datetime
from pathlib import Path
from typing import Literal, cast

import msgspec

from tortie.kube.client import Client
from tortie.kube.events import EventRecorder, Reference
from tortie.lab.images.layer import Layers
from tortie.lab.kubelet.api import Pod
from tortie.lab.kubelet.cni import Runner
from tortie.lab.kubelet.runtime import Runtime
from tortie.lab.kubelet.sandbox import DNSSettings
from tortie.lab.kubelet.sources import Sources
from tortie.model.resource import Resource

PODS: Resource[Pod] = Resource(group="", version="v1", kind="Pod", plural="pods", namespaced=True, type=Pod)

TRUST_ANNOTATION = "lab.tortie.io/privileged"
"""On a pod: "true" lets it write to hostPath volumes and have capabilities that reach beyond its namespaces."""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The kubelet's settings, from its flags."""

    node: str
    root_dir: Path
    cni_bin_dirs: list[Path]
    cni_conf_dir: Path
    cni_cache_dir: Path
    node_ips: list[str]
    dns: DNSSettings
    max_pods: int = 250
    parallel_starts: int = 2


class NodeServices:
    """Shared by all pods of the node."""

    def __init__(
        self,
        config: Config,
        *,
        client: Client,
        recorder: EventRecorder,
        runtime: Runtime,
        runner: Runner,
        sources: Sources,
        layers: Layers,
    ) -> None:
        self.config = config
        self.client = client
        self.recorder = recorder
        self.runtime = runtime
        self.runner = runner
        self.sources = sources
        self.layers = layers
        self.starts = asyncio.Semaphore(config.parallel_starts)

    def event(self, pod: Pod, kind: str, reason: str, message: str, *, field_path: str = "") -> None:
        """Reports an event about a pod."""
        about = Reference.to(PODS, pod, field_path=field_path)
        self.recorder.event(about, cast(Literal["Normal", "Warning"], kind), reason, message)

    def pod_directory(self, uid: str) -> Path:
        return self.config.root_dir / "pods" / uid


def now() -> str:
    """The time as the API writes it."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def trusted(pod: Pod) -> bool:
    return pod.metadata.annotations.get(TRUST_ANNOTATION) == "true"
