"""Puts the kubelet together and runs it.

In: flags from `command`. Out: a registered node, running pods, the HTTPS server; on SIGTERM it ends and leaves the pods
running, as a kubelet does.
"""

import os
from pathlib import Path

from tortie.kube import config as kube_config
from tortie.kube.client import Client
from tortie.kube.events import EventRecorder
from tortie.lab.images import layer
from tortie.lab.kubelet import node, server
from tortie.lab.kubelet.cni import Runner
from tortie.lab.kubelet.environment import PodFacts
from tortie.lab.kubelet.manager import Manager
from tortie.lab.kubelet.node_services import Config, NodeServices
from tortie.lab.kubelet.runtime import Runtime
from tortie.lab.kubelet.sources import Sources
from tortie.service.run import Service


async def run(service: Service, config: Config, *, kubeconfig: Path, listen: server.Listen) -> None:
    """Until the service stops."""
    config.root_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
    layers = layer.build(config.root_dir / "images")
    settings = kube_config.load(str(kubeconfig))
    async with Client(settings, user_agent="tortie-lab-kubelet") as client:
        recorder = EventRecorder(client, "kubelet", host=config.node)
        managers: list[Manager] = []
        sources = Sources(client, lambda namespace: managers[0].objects_changed(namespace))
        runtime = Runtime()
        services = NodeServices(
            config,
            client=client,
            recorder=recorder,
            runtime=runtime,
            runner=Runner(bin_dirs=config.cni_bin_dirs, cache=config.cni_cache_dir),
            sources=sources,
            layers=layers,
        )
        facts = PodFacts(host_ips=tuple(config.node_ips), node_cpu=os.cpu_count() or 1, node_memory=node.memory_bytes())
        manager = Manager(services, facts)
        managers.append(manager)
        status = node.NodeStatus(config, client, port=listen.port, ready=lambda: manager.synced)
        service.spawn(recorder.run(), "events")
        service.spawn(sources.run(), "sources")
        service.spawn(status.run(), "node status")
        service.spawn(manager.run(), "pods")
        service.spawn(server.serve(manager, runtime, listen), "server")
        service.on_stop(manager.stop)
        try:
            await service.stopping.wait()
        finally:
            runtime.close()
