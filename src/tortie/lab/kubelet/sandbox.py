"""A pod's sandbox: its network namespace, its attachment to the network, and the files that all its containers share.

In: the pod, the node's DNS settings, the CNI runner. Out: a namespace with addresses, resolv.conf and hosts; recorded
in `sandbox.json`, so that a kubelet that starts again finds what one before it made.
"""

import contextlib
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

import msgspec

from tortie.lab.kubelet import cni, linux
from tortie.lab.kubelet.api import Pod

NETNS_DIRECTORY = Path("/run/netns")
_CLUSTER_DOMAIN = "cluster.local"
# Sysctls that a pod may set for itself: those of its own namespaces that harm nobody else.
SAFE_SYSCTLS = (
    *("net.ipv4.ip_unprivileged_port_start", "net.ipv4.ping_group_range", "net.ipv4.ip_local_port_range"),
    *("net.ipv4.tcp_syncookies", "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_keepalive_intvl"),
    *("net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_fin_timeout", "net.ipv4.ip_local_reserved_ports"),
    *("net.core.somaxconn", "net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"),
)


class SandboxError(Exception):
    """The sandbox could not be made; the pod waits with the event FailedCreatePodSandBox."""


class SandboxState(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What is kept on disk. netns: "" for a pod on the host's network. attached: ADD has succeeded."""

    id: str
    namespace: str
    name: str
    uid: str
    netns: str = ""
    addresses: list[str] = []
    attached: bool = False
    start_time: str = ""
    capabilities: dict[str, Any] = {}


class DNSSettings(msgspec.Struct, frozen=True, kw_only=True):
    """cluster: addresses of the cluster's DNS service."""

    cluster: list[str]
    domain: str = _CLUSTER_DOMAIN


def load(directory: Path) -> SandboxState | None:
    """The recorded sandbox of a pod directory, None without a readable record."""
    try:
        return msgspec.json.decode((directory / "sandbox.json").read_bytes(), type=SandboxState)
    except (OSError, msgspec.DecodeError):
        return None


def save(directory: Path, state: SandboxState) -> None:
    """Records the sandbox, all or nothing."""
    temporary = directory / ".sandbox.json.new"
    temporary.write_bytes(msgspec.json.encode(state))
    temporary.replace(directory / "sandbox.json")


def attachment(state: SandboxState) -> cni.Attachment:
    """As the CNI runner wants it; a namespace that is gone is the empty string."""
    netns = state.netns if state.netns and linux.is_network_namespace(Path(state.netns)) else ""
    return cni.Attachment(
        container_id=state.id,
        netns=netns,
        namespace=state.namespace,
        pod=state.name,
        uid=state.uid,
        capabilities=state.capabilities,
    )


def port_mappings(pod: Pod) -> list[dict[str, Any]]:
    """The pod's host ports as CNI's portMappings capability takes them."""
    return [
        {
            "hostPort": port.host_port,
            "containerPort": port.container_port,
            "protocol": port.protocol.lower(),
            **({"hostIP": port.host_ip} if port.host_ip else {}),
        }
        for container in pod.spec.containers
        for port in container.ports
        if port.host_port
    ]


async def create(pod: Pod, directory: Path, *, runner: cni.Runner, conf_dir: Path, start_time: str) -> SandboxState:
    """Makes the namespace and attaches it. Raises SandboxError; what was made so far is recorded and taken away by
    `destroy`."""
    state = SandboxState(
        id=os.urandom(32).hex(),
        namespace=pod.metadata.namespace,
        name=pod.metadata.name,
        uid=pod.uid,
        start_time=start_time,
        netns="" if pod.spec.host_network else str(NETNS_DIRECTORY / f"cni-{uuid.uuid4()}"),
        capabilities={"portMappings": mappings} if (mappings := port_mappings(pod)) else {},
    )
    save(directory, state)
    if pod.spec.host_network:
        return state
    network = cni.find(conf_dir)
    if network is None:
        raise SandboxError(f"no valid CNI configuration in {conf_dir}: the network plugin is not ready")
    path = Path(state.netns)
    try:
        linux.create_network_namespace(path)
        _set_sysctls(pod, path)
        result = await runner.add(network, attachment(state))
    except cni.CNIError as error:
        plugin = f'plugin type="{error.plugin}" ' if error.plugin else ""
        message = f'failed to setup network for sandbox "{state.id}": {plugin}failed (add): {error}'
        raise SandboxError(message) from error
    except OSError as error:
        raise SandboxError(f"failed to create the network namespace: {error}") from error
    state = msgspec.structs.replace(state, addresses=cni.addresses(result), attached=True)
    save(directory, state)
    return state


def _set_sysctls(pod: Pod, path: Path) -> None:
    # As container runtimes do by default: low ports and ping for everybody in the pod.
    wanted = {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"}
    if pod.spec.security_context is not None:
        for sysctl in pod.spec.security_context.sysctls:
            name = sysctl.name.replace("/", ".")
            if name not in SAFE_SYSCTLS:
                raise SandboxError(f"sysctl {sysctl.name!r} is not one of {', '.join(SAFE_SYSCTLS)}")
            wanted[name] = sysctl.value
    for name, value in wanted.items():
        try:
            linux.write_sysctl_in_namespace(path, name, value)
        except OSError as error:
            raise SandboxError(f"sysctl {name}={value}: {error.strerror}") from error


async def destroy(state: SandboxState, *, runner: cni.Runner, conf_dir: Path) -> None:
    """Detaches and removes the namespace. Raises SandboxError when the plugin refuses; repeating is safe."""
    if not state.netns:
        return
    try:
        await runner.delete(cni.find(conf_dir), attachment(state))
    except cni.CNIError as error:
        plugin = f'plugin type="{error.plugin}" ' if error.plugin else ""
        raise SandboxError(f'failed to destroy network for sandbox "{state.id}": {plugin}{error}') from error
    with contextlib.suppress(OSError):
        linux.remove_network_namespace(Path(state.netns))


def forget(directory: Path) -> None:
    """Removes a pod's directory with everything still mounted below it."""
    for mount in linux.mounts_under(directory):
        linux.unmount(mount)
    shutil.rmtree(directory, ignore_errors=True)


def resolv_conf(pod: Pod, settings: DNSSettings, host: str) -> str:
    """The resolver configuration by the pod's dnsPolicy. host: the node's own /etc/resolv.conf."""
    servers, search, options = _parse_resolver(host)
    policy = pod.spec.dns_policy
    clustered = policy == "ClusterFirstWithHostNet" or (policy == "ClusterFirst" and not pod.spec.host_network)
    if clustered and settings.cluster:
        domain = settings.domain
        servers = list(settings.cluster)
        search = [f"{pod.metadata.namespace}.svc.{domain}", f"svc.{domain}", domain]
        options = ["ndots:5"]
    elif policy == "None":
        servers, search, options = [], [], []
    config = pod.spec.dns_config
    if config is not None:
        servers = list(dict.fromkeys([*servers, *config.nameservers]))
        search = list(dict.fromkeys([*search, *config.searches]))
        given = [f"{o.name}:{o.value}" if o.value is not None else o.name for o in config.options]
        names = {option.split(":")[0] for option in given}
        options = [*(option for option in options if option.split(":")[0] not in names), *given]
    lines = [f"search {' '.join(search)}"] if search else []
    lines += [f"nameserver {server}" for server in servers[:3]]
    lines += [f"options {' '.join(options)}"] if options else []
    return "\n".join(lines) + "\n"


def _parse_resolver(text: str) -> tuple[list[str], list[str], list[str]]:
    servers, search, options = [], [], []
    for words in (line.split() for line in text.splitlines()):
        if words[:1] == ["nameserver"]:
            servers += words[1:2]
        elif words[:1] == ["search"]:
            search = words[1:]
        elif words[:1] == ["options"]:
            options = words[1:]
    return servers, search, options


def hostname(pod: Pod) -> str:
    """The pod's host name: spec.hostname, else its name, cut to what the kernel takes."""
    return (pod.spec.hostname or pod.metadata.name)[:63].rstrip("-.")


def hosts_file(pod: Pod, addresses: list[str], domain: str = _CLUSTER_DOMAIN) -> str:
    """The pod's /etc/hosts."""
    lines = [
        "# Kubernetes-managed hosts file.",
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        "fe00::0\tip6-localnet",
        "fe00::0\tip6-mcastprefix",
        "fe00::1\tip6-allnodes",
        "fe00::2\tip6-allrouters",
    ]
    name = hostname(pod)
    names = name
    if pod.spec.subdomain:
        names = f"{name}.{pod.spec.subdomain}.{pod.metadata.namespace}.svc.{domain}\t{name}"
    lines += [f"{address}\t{names}" for address in addresses]
    if pod.spec.host_aliases:
        lines += ["", "# Entries added by HostAliases."]
        lines += ["\t".join([alias.ip, *alias.hostnames]) for alias in pod.spec.host_aliases]
    return "\n".join(lines) + "\n"
